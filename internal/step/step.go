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
