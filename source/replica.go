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
	// ReplicaTables lists the tables that the patterns mean, by name. A pattern is schema.table with * and ?, or ! and such a
	// pattern, which takes away; later ones win.
	ReplicaTables(ctx context.Context, patterns []string) ([]ReplicaTable, error)
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
}

// Stream is a change.Stream from a known server.
type Stream interface {
	change.Stream
	Server() Server
	// Received is how far the log was received.
	Received() change.LSN
}

// Server is what a source says of itself.
type Server struct {
	System   string // system_identifier: of one initdb
	Timeline int32
	LSN      change.LSN // where its log ends now
}

// Slot is a replication slot just made, and the session on which its snapshot lives.
type Slot interface {
	// Point divides: the snapshot sees every transaction whose commit record lies before it, and the slot sends all others.
	Point() change.LSN
	Server() Server
	// Snapshot must be taken before anything else is done with the slot, and holds until Close.
	Snapshot(ctx context.Context, o SnapshotOptions) (Snapshot, error)
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
}

// String is the table's name as configurations write it.
func (t *ReplicaTable) String() string { return t.Schema + "." + t.Name }

var quoted = strings.NewReplacer(`"`, `""`)

// Query reads the table.
func (t *ReplicaTable) Query() Query {
	quote := func(s string) string { return `"` + quoted.Replace(s) + `"` }
	return Query{Table: quote(t.Schema) + "." + quote(t.Name), Columns: t.Columns}
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
	Tables            []StreamTable
	Batch             BatchLimits
	Text              bool // values come in their text form even where all types have a binary one
}

// StreamTable is a table of the stream, as it was copied.
type StreamTable struct {
	OID   uint32
	Desc  *Description
	Key   []string   // names of the key's columns
	After change.LSN // transactions whose commit record lies before are in the copy
}

// BatchLimits close a batch, at the end of a transaction: the first one reached. While the last batch is still being
// applied, only Bytes and Rows do.
type BatchLimits struct {
	Time  time.Duration
	Bytes int
	Rows  int
}
