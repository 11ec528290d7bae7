package source

import (
	"context"
	"strings"
	"time"

	"github.com/pintaildb/pintail/change"
)

// Replicator is a source whose tables can be followed through its write-ahead log.
type Replicator interface {
	Source
	// Identify asks the server who it is.
	Identify(ctx context.Context) (Server, error)
	// Switched is where the server's history left a timeline; zero when that is not among those it came through.
	Switched(ctx context.Context, timeline int32) (change.LSN, error)
	// ReplicaTables lists the tables that the patterns mean, by name. A pattern is schema.table with * and ?, or ! and such a
	// pattern, which takes away; later ones win.
	ReplicaTables(ctx context.Context, patterns []string) ([]ReplicaTable, error)
	// Published lists the tables whose changes a publication has as a whole: without conditions and column lists.
	Published(ctx context.Context, publication string) (map[uint32]bool, error)
	// Publish makes the publication hold exactly these tables.
	Publish(ctx context.Context, publication string, tables []ReplicaTable) error
	Unpublish(ctx context.Context, publication string) error
	// CreateSlot makes a slot. The server first waits until all transactions that are writing have ended. A temporary slot
	// goes with Close.
	CreateSlot(ctx context.Context, name string, temporary bool) (Slot, error)
	// Slots lists the slots whose name begins with prefix.
	Slots(ctx context.Context, prefix string) ([]SlotState, error)
	// DropSlot drops a slot, if it is there. One in use is freed first.
	DropSlot(ctx context.Context, name string) error
	Stream(ctx context.Context, o StreamOptions) (Stream, error)
	// FilledAtBirth says whether a table has rows of the transaction that made it. It may read the whole table.
	FilledAtBirth(ctx context.Context, oid string) (bool, error)
	// AddedValues reads one row: what rows that were written before columns of d were added have in them.
	AddedValues(d *Description, columns []string) Query
	// DDLTrigger is the OID of the event trigger that tells the stream of schema changes; 0 when there is none, or it is disabled.
	DDLTrigger(ctx context.Context) (uint32, error)
	// View says which transactions a snapshot of this source sees.
	View(ctx context.Context, s Snapshot) (View, error)
}

// Stream is a change.Stream from a known server. Its methods but Next may be called from any goroutine.
type Stream interface {
	change.Stream
	Server() Server
	// Received is how far the log was received.
	Received() change.LSN
	// SpoolBytes is how much is kept of transactions that still run, on disk or not yet.
	SpoolBytes() int64
	// Reshape answers change.TableChanges.Reshaped: the changes that follow are of the form to; nil gives the table up.
	Reshape(table uint32, to *StreamTable)
	// SetBatchTime changes BatchLimits.Time.
	SetBatchTime(d time.Duration)
	// Extend moves StreamOptions.Until on.
	Extend(until change.LSN)
	// Cut holds the gathering of batches between two transactions, so that a snapshot can be taken that is no older than what
	// was gathered. There is one cut at a time; a second call waits.
	Cut(ctx context.Context) (Cut, error)
}

// Cut makes one batch end exactly where a snapshot stands: all transactions that it sees are in that batch and those
// before, and no others. That batch has Batch.Cut set; it may be an empty one.
type Cut interface {
	// ID is the number that Batch.Cut has, of all cuts of the process.
	ID() uint64
	// Resume lets the stream go on towards the cut. ok is false when transactions that were gathered before are not in the
	// snapshot yet, because the server makes a transaction visible only a moment after it was logged: the stream is still held,
	// and a newer snapshot is needed.
	Resume(v View) (ok bool)
	// Settled waits until all transactions of the snapshot have been seen in the stream, for which Next has to be called on by
	// another goroutine. It is an error of code source_conflict when they did not come in one run, which happens when two commit
	// at the same moment: then the batch with Batch.Cut was none, and another cut can be tried. Without an error that batch may
	// still be on its way to Next.
	Settled(ctx context.Context) error
	// Close gives the cut up; after Settled it does nothing.
	Close()
}

// View tells which transactions a snapshot sees.
type View struct {
	Sees func(xid uint32) bool // of a committed transaction
	End  change.LSN            // the commit records of all that are seen lie before
}

// Server is what a source says of itself.
type Server struct {
	System   string // system_identifier: of one initdb
	Timeline int32
	LSN      change.LSN // where its log ends now
	Standby  bool
}

// Slot is a replication slot just made, and the session on which its snapshot lives.
type Slot interface {
	// Point divides: the snapshot sees every transaction whose commit record lies before it, and the slot sends all others.
	Point() change.LSN
	Server() Server
	// Snapshot must be taken before anything else is done with the slot, and holds until Close.
	Snapshot(ctx context.Context, o SnapshotOptions) (Snapshot, error)
	// Stream follows the slot on its own session, as a temporary one's needs it; snapshots taken before are not valid any more.
	// Closing the stream closes the slot.
	Stream(ctx context.Context, o StreamOptions) (Stream, error)
	// Close ends the session; a slot that is not temporary stays.
	Close(ctx context.Context)
}

// ReplicaTable is a table that can be followed.
type ReplicaTable struct {
	OID          uint32
	Schema, Name string
	Partitioned  bool
	Identity     byte     // pg_class.relreplident: d default, n nothing, f full, i index
	Key          []string // of the primary key, or of the index of identity i; nil is none
	Columns      []string // without generated ones, which are not in the stream
	Readable     bool
	Unlogged     bool // writes nothing to the log
	Inherited    bool // other tables inherit from it: reading it reads their rows too, which are not published with it
	Hidden       bool // row security hides rows from the role, and not from the stream
	// Form changes when columns, or what rows have in them without being written, may have changed; Files tells leaf tables and
	// their files, as oid:file, divided by blanks, with + behind a leaf that may have rows from before it became one.
	Form, Files string
	Leaf        string // a partition that cannot be followed: foreign, not logged, or without an identity
}

// String is the table's name as configurations write it.
func (t *ReplicaTable) String() string { return t.Schema + "." + t.Name }

var quoted = strings.NewReplacer(`"`, `""`)

// SQLName is the table's name as statements have it.
func (t *ReplicaTable) SQLName() string {
	quote := func(s string) string { return `"` + quoted.Replace(s) + `"` }
	return quote(t.Schema) + "." + quote(t.Name)
}

// Query reads the table.
func (t *ReplicaTable) Query() Query { return Query{Table: t.SQLName(), Columns: t.Columns} }

// Unusable says why the table cannot be followed, and what to do about it; "" when it can. One that publishes changes without
// an identity makes the application's own UPDATE and DELETE fail, so it must not get into a publication.
func (t *ReplicaTable) Unusable() (reason, fix string) {
	name := t.SQLName()
	switch {
	case t.Unlogged:
		return "it is unlogged: its changes are not in the write-ahead log", "ALTER TABLE " + name + " SET LOGGED"
	case !t.Readable:
		return "the role may not read it", "GRANT SELECT ON " + name + " TO the role of the source's url"
	case t.Inherited:
		return "other tables inherit from it, whose rows would be copied and not followed", "follow the tables that inherit from it"
	case t.Hidden:
		return "row security hides rows from the role, and the stream has them all", "ALTER ROLE … BYPASSRLS, or a policy that shows the role all rows"
	case t.Leaf != "":
		return "its partition " + t.Leaf + " cannot be followed: it is foreign, unlogged, or has neither a primary key nor another replica identity of its own", "ALTER TABLE " + t.Leaf + " REPLICA IDENTITY FULL, or SET LOGGED, or leave the partitioned table out"
	case t.Identity == 'n':
		return "its replica identity is NOTHING: updates and deletes could not be followed, and would fail in the source", "ALTER TABLE " + name + " REPLICA IDENTITY DEFAULT, with a primary key, or FULL without"
	case len(t.Key) == 0 && t.Identity != 'f':
		return "it has no primary key and no other replica identity: its updates and deletes would fail in the source once it is published", "ALTER TABLE " + name + " ADD PRIMARY KEY (…), or ALTER TABLE " + name + " REPLICA IDENTITY FULL"
	}
	return "", ""
}

// SlotState is what the server says of a slot.
type SlotState struct {
	Name, Database, Plugin string
	Active                 bool
	PID                    int
	Restart, Confirmed     change.LSN // WAL is kept from Restart on; what ended before Confirmed is not sent again
	Current                change.LSN // where the log ends
	WALStatus              string     // reserved | extended | unreserved | lost
	SafeBytes              int64      // that may still be written before the slot is lost; -1 is without bound
}

// LagBytes is how much log lies between what was confirmed and its end.
func (s *SlotState) LagBytes() int64 { return max(0, int64(s.Current)-int64(s.Confirmed)) }

// StreamOptions say what is followed.
type StreamOptions struct {
	Slot, Publication string
	From              change.LSN // transactions that ended before are not sent
	FromAt            time.Time  // the commit time of the last of those, if known: none that come have an earlier one
	Tables            []StreamTable
	Batch             BatchLimits
	Text              bool // values come in their text form even where all types have a binary one
	// Until holds the stream before the first transaction whose commit record does not lie before it; 0 is no hold. Once all of
	// before are handed over, a batch has exactly this position.
	Until change.LSN
	// Memory bounds what is held of changes, in bytes, beside what one large value takes; 0 is 512 MiB. Spool is the folder, of
	// this stream alone, for changes of transactions that the server sends while they run; "" is none.
	Memory int64
	Spool  string
	// Reshapes says that the consumer answers with Stream.Reshape when a table's columns change; without it the table is lost.
	Reshapes bool
}

// StreamTable is a table of the stream, as it was copied.
type StreamTable struct {
	OID   uint32
	Desc  *Description
	Key   []string // names of the key's columns; nil is all columns, which rows of replica identity FULL tell
	Left  []string // columns that are not copied
	Keep  change.Keep
	After change.LSN // transactions whose commit record lies before are in the copy
}

// BatchLimits close a batch, at the end of a transaction: the first one reached. While the last batch is still being
// applied, only Bytes and Rows do.
type BatchLimits struct {
	Time  time.Duration
	Bytes int
	Rows  int
}
