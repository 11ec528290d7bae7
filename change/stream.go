package change

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// LSN is a place in PostgreSQL's write-ahead log. Zero is none.
type LSN uint64

// ParseLSN reads PostgreSQL's form of it, such as 0/16B3748.
func ParseLSN(s string) (LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	hi, err1 := strconv.ParseUint(high, 16, 32)
	lo, err2 := strconv.ParseUint(low, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%q is no LSN: want two hexadecimal numbers such as 0/16B3748", s)
	}
	return LSN(hi<<32 | lo), nil
}

func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// Position says how far a copy follows its source: all transactions whose commit record lies before LSN, and none after.
type Position struct {
	LSN         LSN
	CommittedAt time.Time // of the last transaction applied, by the source's clock
	System      string    // the source's system_identifier
	Timeline    int32
}

// OpColumn is the first column of staged changes, an Op. UnchangedPrefix and a column's number, from 0, name the BOOLEAN
// columns that follow the table's own: set in a row that came without that column's value, because it had not changed and
// is stored out of line (TOAST). Only columns of which such a row is staged have one.
const (
	OpColumn        = "_pintail_op"
	UnchangedPrefix = "_pintail_unchanged_"
)

// Op is what a staged row does to the copy's row of its key. A batch has one row a key.
type Op = int8

// The ops. An insert's key is not in the copy; an upsert's and a delete's may be. A move is a delete and an insert or upsert.
const (
	OpInsert Op = 1
	OpUpsert Op = 2
	OpDelete Op = 3
)

// TableChanges is what a batch does to one table.
type TableChanges struct {
	Table     uint32 // the source's OID of it
	Lost      string // why the table can no longer be followed, from this batch on: the other fields are empty
	Truncate  bool   // all rows of before go first
	Rows      int    // to be staged; 0 has no Feed
	Deletes   int    // of them, those whose key may be in the copy: upserts and deletes
	Unchanged []int  // columns with an UnchangedPrefix column
	// Feed gives the staged rows: OpColumn, the table's columns in the order of its description, the columns for Unchanged.
	Feed Feed
	// Inserts, Updates and Removals count the source's changes, of which Rows is what remains.
	Inserts, Updates, Removals int64
}

// Batch is a run of whole transactions. It stays valid until the next one is asked for.
type Batch struct {
	Tables       []TableChanges
	Position     Position // after its last transaction
	Transactions int
	Bytes        int64 // received
	Received     time.Time
}

// Stream gives batches in commit order. One goroutine uses it, but for Ack.
type Stream interface {
	// Next waits for the next batch; one without tables only moves the position on.
	Next(ctx context.Context) (*Batch, error)
	// Ack tells the source that everything before lsn is durable. It does not wait.
	Ack(lsn LSN)
	Close() error
}
