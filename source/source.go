// Package source is what the syncer needs of a database that it copies from: a snapshot, the description of a query, and
// its rows in partitions that are read in parallel.
package source

import (
	"context"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// Query is what one table of a dataset reads: SQL, or Table with Columns and Where.
type Query struct {
	SQL     string
	Table   string   // as written in the configuration: "messages" or "public.messages"
	Columns []string // of Table; nil is all
	Where   string   // of Table
	// Rename maps a selected column to its name in the copy. All other column names here and below are names in the copy.
	// With RenameSome it may hold columns that are not there, those of the dataset's other tables.
	Rename            map[string]string
	RenameSome        bool
	Types             map[string]string // column → DuckDB type asked for; columns that are not there are passed over
	PartitionColumn   string
	IncrementalColumn string
	// Text adds change.TextColumn: the source then sends NULL for values out of range, and their text there.
	Text bool
}

// Column is one column of a Query.
type Column struct {
	Name     string // in the copy
	PGType   string // format_type of it, for people
	Type     types.Type
	Table    uint32 // OID and attribute number of the base column, 0 for a computed one
	Attnum   uint16
	NotNull  bool   // proven by the catalog: a table's own column declared NOT NULL
	Default  string // pg_get_expr of the base column's default, "" if none
	TypeOID  uint32 // the base column's own type, a domain say, and modifier; 0 for a computed one
	Typmod   int32
	Sequence bool // the default is nextval of a sequence, or an identity, that only counts up by itself, uncached
}

// Exact says whether values of the column that PostgreSQL calls equal are equal in the copy too, as a key has to be.
func (c *Column) Exact() bool { return c.Type.Exact() && c.PGType != "citext" }

// Description is a Query as the source understands it at a snapshot.
type Description struct {
	Query     Query
	Columns   []Column
	RowsGuess int64  // the planner's estimate
	Kind      string // "table", "partitioned", "foreign", "view", "query"
	Impl      any    // the source's own plan of how to read it
	// Facts are what may change rows that are not written: the file of each base table, a view's definition, an enum's labels.
	// One that has another value than before makes older rows worthless; one that is new or gone does not, but a table that
	// is new and among Filled brings rows that were written at any time.
	Facts  map[string]string
	Filled map[string]bool
}

// Facts about where a snapshot was taken. They are missing where the server does not tell.
const (
	FactServer   = "server"   // of one initdb, and its database
	FactTimeline = "timeline" // another one after a failover or a restore
	FactLSN      = "lsn"      // of a primary: it only grows, unless the server was set back
)

// Column finds a column by its name in the copy; nil if there is none.
func (d *Description) Column(name string) *Column {
	for i := range d.Columns {
		if d.Columns[i].Name == name {
			return &d.Columns[i]
		}
	}
	return nil
}

// Types are the columns' types in order.
func (d *Description) Types() []types.Type {
	ts := make([]types.Type, len(d.Columns))
	for i := range d.Columns {
		ts[i] = d.Columns[i].Type
	}
	return ts
}

// Range restricts a read. The zero Range is everything. Its parts are combined with AND, but OrNull and Xmin, which add
// rows to those of Low.
type Range struct {
	Column string // of Low, High, OrNull and Limit
	Low    string // PostgreSQL's text of a value: rows with Column >= Low; "" is no bound
	High   string // rows with Column < High; "" is no bound. Texts compare under COLLATE "C".
	OrNull bool   // rows whose Column is NULL as well
	Xmin   string // rows whose row version a transaction not older than this xid wrote as well (tables only)
	Seen   *Seen  // leaves out what an earlier read has brought (tables only)
	Limit  int64  // at most so many rows in the order of Column, ties with the last one included, or any rows without a Column; 0 is no limit
}

// Seen are the row versions that transactions older than Xmin wrote, as far as their Column is at most High, or NULL.
type Seen struct{ Xmin, High string }

// Snapshot is one consistent view of the source. It reads nothing until Describe; between the last Describe and the first
// Read, Seal proves that no DDL slipped in between the snapshot and the locks that Describe took.
type Snapshot interface {
	// Now is the source's clock when the snapshot was taken.
	Now() time.Time
	Describe(ctx context.Context, q Query) (*Description, error)
	Seal(ctx context.Context) error
	// Read plans the partitions of d within r and returns their feed; at most workers connections read at once, the
	// largest partitions first. p is counted up by the readers. Every read of a snapshot sees the same rows.
	Read(ctx context.Context, d *Description, r Range, workers int, p *change.Progress) (change.Feed, error)
	// Count is how many rows d has, asked for in one statement that knows of no partitions and ranges.
	Count(ctx context.Context, d *Description) (int64, error)
	// Late decides how far back the next incremental read of d must go: see Watermark.
	Late(ctx context.Context, d *Description, prev *Watermark, o LateOptions) (Late, error)
	// Unique says whether the source itself proves that key has no NULL and no value twice among the rows of d.
	Unique(ctx context.Context, d *Description, key []string) (bool, error)
	// Least is the smaller of two values of a column, in PostgreSQL's text and order; "" counts as the largest.
	Least(ctx context.Context, c *Column, a, b string) (string, error)
	Close() error
}

// RewrittenError is Seal's: these tables, partitioned ones by their root, cannot be read under the snapshot. Zero is one that is
// gone.
type RewrittenError struct {
	Tables map[uint32]bool // OIDs
	Names  string
}

func (e *RewrittenError) Error() string {
	return e.Names + " was rewritten or made anew (ALTER TABLE, TRUNCATE, VACUUM FULL) while the snapshot was taken"
}

// SnapshotOptions hold for every session of a snapshot.
type SnapshotOptions struct {
	StatementTimeout time.Duration // 0 is none
	ApplicationName  string
}

// Source opens snapshots. It keeps its connections warm between them.
type Source interface {
	Snapshot(ctx context.Context, o SnapshotOptions) (Snapshot, error)
	Close()
}

// Method names how late commits are kept from being lost.
type Method string

// The methods, from the surest; docs/guarantees.md says what each one guarantees for which column, source and privilege.
const (
	MethodXactStart Method = "xact_start" // server clock; the oldest running transaction's start is visible to the role
	MethodRunning   Method = "running"    // server clock; bounds wait until the transactions that ran then have ended
	MethodSequence  Method = "sequence"   // a sequence's numbers; bounds wait for the table's writers of then
	MethodXmin      Method = "xmin"       // the row versions' own transaction ids, by a scan of the table
	MethodLookback  Method = "lookback"   // nothing is proven: a fixed time back
)

// LateOptions are the dataset's wishes.
type LateOptions struct {
	Lookback *time.Duration // nil is the default of the method
	Mode     string         // auto | xmin | lookback
	Keyed    bool           // rows are merged by a key: a part of a range may be read
}

// Watermark is the state of one table's incremental reads, stored with its rows.
type Watermark struct {
	Column string `json:"column"`
	High   string `json:"high"`             // the largest finite value in the copy, PostgreSQL's text
	Safe   string `json:"safe"`             // all rows below were visible when the copy was last read
	Method Method `json:"method"`           //
	Xmin   string `json:"xmin,omitempty"`   // of the last snapshot, for MethodXmin
	Cursor string `json:"cursor,omitempty"` // the last value of a capped read: the next one goes on behind it
	// Seen is the xmin of the last snapshot, or after capped reads of the first one's: once the last is done, the copy has all
	// older row versions from From on; "" is all rows.
	Seen    string    `json:"seen,omitempty"`
	From    string    `json:"from,omitempty"`
	Pending []Pending `json:"pending,omitempty"` // bounds not yet proven
}

// Pending is a bound that becomes Safe once none of its holders runs any more.
type Pending struct {
	Bound   string   `json:"bound"`
	Holders []string `json:"holders"` // virtual transaction ids; nil: to be filled by the next run
}

// Late is a decision: what to read now, and how the watermark goes on.
type Late struct {
	Range     Range
	Method    Method
	Guarantee string // one sentence for check and status
	Proven    bool
	Held      bool // this read ends a pass of capped reads, and what the bound holds back is yet to be read again
	// Next is the watermark after this read, given the largest finite value that was read ("" when there is none) and,
	// for a capped read, the last value read ("" when the read was whole).
	Next func(ctx context.Context, high, last string) (Watermark, error)
}

// Load is how much a source works for this process.
type Load struct {
	Worked time.Duration // statements of ours were active there for so long, those at the same time added up
	// Share of that in what all sessions of the source's database were active within the last minute, 0 to 1; -1 is not known.
	Share float64
}

// Loaded is a source that knows its load. Load asks nobody.
type Loaded interface{ Load() Load }
