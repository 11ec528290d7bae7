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

// Columns that follow those, where there are any: LSNColumn (UBIGINT) and CommittedColumn of the last transaction that
// changed the row (Keep.Stamped), then CountColumn (INTEGER), of a table without a key, says how many equal rows are meant.
const (
	LSNColumn       = "_pintail_lsn"
	CommittedColumn = "_pintail_committed_at"
	CountColumn     = "_pintail_count"
)

// Columns that a copy may have beside the source's, as well as LSNColumn and CommittedColumn: see Keep.
const (
	DeletedColumn = "_pintail_deleted_at"
	FromColumn    = "_pintail_valid_from"
	ToColumn      = "_pintail_valid_to"
)

// Keep says what a table of the copy has beside the source's present rows.
type Keep struct {
	Deletes Deletes
	// Stamps are LSNColumn and CommittedColumn. DeletesHistory has LSNColumn always, and FromColumn for the other.
	Stamps bool
}

// Deletes is what becomes of a row that is deleted in the source, or changed.
type Deletes uint8

// The kinds. A soft delete leaves the row's last values, with DeletedColumn: it is NULL in a row that is there. History
// leaves each version, of which FromColumn is the commit time, and ToColumn that of the next one; NULL is the present version.
const (
	DeletesHard Deletes = iota
	DeletesSoft
	DeletesHistory
)

// Stamped says whether staged changes have LSNColumn and CommittedColumn.
func (k Keep) Stamped() bool { return k.Stamps || k.Deletes != DeletesHard }

// Stamp is a transaction: where its commit record begins, and its commit time, which in a stream never goes back.
type Stamp struct {
	LSN LSN
	At  time.Time
}

// Op is what a staged row does to the copy's row of its key. A batch has one row a key; with DeletesHistory one a key and
// transaction.
type Op = int8

// The ops. An insert's key is not in the copy; an upsert's and a delete's may be. A move is a delete and an insert or upsert.
// With DeletesSoft there are no inserts, as a deleted row may have the key; a delete means the values that the copy has, and a
// bury is an upsert of a row that is deleted after that. A table without a key has inserts and deletes.
const (
	OpInsert Op = 1
	OpUpsert Op = 2
	OpDelete Op = 3
	OpBury   Op = 4
)

// SourceColumn is a column as the source sends it.
type SourceColumn struct {
	Name   string
	Type   uint32 // OID
	Typmod int32
	Attnum uint16 // which column it is, whatever its name; 0 where the source does not say
}

// TableChanges is what a batch does to one table.
type TableChanges struct {
	Table uint32 // the source's OID of it
	Lost  string // why the table can no longer be followed, from this batch on: the other fields are empty
	// Reshaped are the table's columns in the changes that come after this batch, when they are others than before; the other
	// fields are empty then, and the batch has More. The stream waits until it is told what to do (source.Stream).
	Reshaped  []SourceColumn
	Truncate  bool  // all rows of before go first
	Truncated Stamp // the transaction that did
	Rows      int   // to be staged; 0 has no Feed
	Deletes   int   // of them, those whose key may be in the copy: all but inserts
	Unchanged []int // columns with an UnchangedPrefix column
	// Feed gives the staged rows: OpColumn, the table's columns in the order of its description, the columns for Unchanged,
	// LSNColumn and CommittedColumn, CountColumn.
	Feed Feed
	// Inserts, Updates and Removals count the source's changes, of which Rows is what remains.
	Inserts, Updates, Removals int64
}

// Batch is a run of whole transactions. It stays valid until the next one is asked for.
type Batch struct {
	Tables   []TableChanges
	Position Position // after its last transaction
	// More says that the last transaction goes on in the next batch, with other rows of the same tables, to be applied in this
	// order: only together with that may it be seen. Position is then one before it.
	More bool
	Cut  uint64 // the number of the source.Cut that this batch ends with; 0 is none
	// AsOf is the source's clock at Position; Oldest is the commit time of the first transaction.
	AsOf, Oldest time.Time
	Transactions int
	Bytes        int64 // received
	Received     time.Time
}

// Stream gives batches in commit order. One goroutine uses it, but for Ack.
type Stream interface {
	// Next waits for the next batch; one without tables only moves the position on, or AsOf alone.
	Next(ctx context.Context) (*Batch, error)
	// Ack tells the source that everything before lsn is durable. It does not wait.
	Ack(lsn LSN)
	Close() error
}
