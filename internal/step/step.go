// Package step names the moments of a run at which a crash is most telling, so that tests can kill the real process there.
package step

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// The steps of a run, in order.
const (
	Recorded  = "recorded"  // the run is in the history as running
	Planned   = "planned"   // the snapshot is open, nothing is read yet
	Loading   = "loading"   // the first rows of a table are read
	Staged    = "staged"    // all rows are in staging tables, committed, not visible
	Followed  = "followed"  // the tables' columns are as the source's
	Applied   = "applied"   // all rows are applied in the transaction, which is not committed
	Committed = "committed" // the transaction is committed
	Reclaimed = "reclaimed" // the view is counted, the file checkpointed
)

// All lists the steps.
var All = []string{Recorded, Planned, Loading, Staged, Followed, Applied, Committed, Reclaimed}

// The steps of a replica: of its first copy, of every batch of changes, and of tables that join in later.
const (
	SlotMade       = "slot_made"       // the slot is there, nothing is copied yet
	TableCopied    = "table_copied"    // one table is copied and committed
	BatchStaged    = "batch_staged"    // a batch's changes are in staging tables
	BatchApplied   = "batch_applied"   // they are applied in the transaction, which is not committed
	BatchCommitted = "batch_committed" // the transaction is committed, the source does not know yet
	Acked          = "acked"           // the source is told with the next status update
	SideCopied     = "side_copied"     // tables are copied beside the stream
	Joined         = "joined"          // they take part, committed
)

// Replica lists the steps of a replica.
var Replica = []string{SlotMade, TableCopied, BatchStaged, BatchApplied, BatchCommitted, Acked, SideCopied, Joined}

// The steps of a put.
const (
	PutStaged    = "put_staged"    // some of its rows are staged
	PutApplied   = "put_applied"   // all are in the transaction, which is not committed
	PutCommitted = "put_committed" // the transaction is committed
)

// Put lists the steps of a put.
var Put = []string{PutStaged, PutApplied, PutCommitted}

// Variable arms one step: PINTAIL_KILL_AT=staged, or staged:3 for the third time it is reached.
const Variable = "PINTAIL_KILL_AT"

var (
	name, after = parse(os.Getenv(Variable))
	left        atomic.Int64
)

func init() { left.Store(after) }

func parse(s string) (string, int64) {
	name, n, _ := strings.Cut(s, ":")
	if i, err := strconv.ParseInt(n, 10, 64); err == nil {
		return name, i
	}
	return name, 1
}

// Reached kills the process, as a crash would, when the step is armed.
func Reached(s string) {
	if name == s && left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // there is nobody left to tell of a failure
		select {}
	}
}
