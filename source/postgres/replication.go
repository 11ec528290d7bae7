package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/source"
)

// dialReplication opens a connection to a walsender, with the settings that decide how values are printed.
func (s *Source) dialReplication(ctx context.Context) (*pgconn.PgConn, error) {
	config := s.config.Copy()
	config.RuntimeParams = maps.Clone(config.RuntimeParams)
	maps.Copy(config.RuntimeParams, map[string]string{
		"replication": "database", "datestyle": "ISO", "intervalstyle": "postgres", "timezone": "UTC", "extra_float_digits": "3",
		"bytea_output": "hex", "lc_monetary": "C", "idle_in_transaction_session_timeout": "0", "statement_timeout": "0",
	})
	return pgconn.ConnectConfig(ctx, config)
}

// replicate runs one command of the replication protocol and returns its rows.
func replicate(ctx context.Context, c *pgconn.PgConn, sql string) ([][][]byte, error) {
	rs, err := c.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rs) == 0 {
		return nil, errProtocol
	}
	return rs[0].Rows, rs[0].Err
}

func identify(ctx context.Context, c *pgconn.PgConn) (source.Server, error) {
	rows, err := replicate(ctx, c, "IDENTIFY_SYSTEM")
	if err != nil {
		return source.Server{}, err
	}
	if len(rows) != 1 || len(rows[0]) < 3 {
		return source.Server{}, errProtocol
	}
	timeline, err1 := strconv.ParseInt(string(rows[0][1]), 10, 32)
	lsn, err2 := change.ParseLSN(string(rows[0][2]))
	return source.Server{System: string(rows[0][0]), Timeline: int32(timeline), LSN: lsn}, errors.Join(err1, err2)
}

// Identify is source.Replicator's.
func (s *Source) Identify(ctx context.Context) (source.Server, error) {
	c, err := s.dialReplication(ctx)
	if err != nil {
		return source.Server{}, s.failed(ctx, err, "connecting for replication")
	}
	defer hangUp(ctx, c)
	server, err := identify(ctx, c)
	return server, s.failed(ctx, err, "identifying the server")
}

func hangUp(ctx context.Context, c *pgconn.PgConn) {
	ctx, cancel := lastly(ctx)
	defer cancel()
	_ = c.Close(ctx)
}

// slot is a source.Slot.
type slot struct {
	src      *Source
	conn     *pgconn.PgConn
	server   source.Server
	point    change.LSN
	snapshot string
}

func (l *slot) Point() change.LSN     { return l.point }
func (l *slot) Server() source.Server { return l.server }

// Snapshot is source.Slot's.
func (l *slot) Snapshot(ctx context.Context, o source.SnapshotOptions) (source.Snapshot, error) {
	n, err := l.src.importSnapshot(ctx, l.snapshot, o)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// Close is source.Slot's.
func (l *slot) Close(ctx context.Context) { hangUp(ctx, l.conn) }

// CreateSlot is source.Replicator's, for pgoutput.
func (s *Source) CreateSlot(ctx context.Context, name string, temporary bool) (source.Slot, error) {
	l, err := s.createSlot(ctx, name, temporary)
	if err != nil {
		return nil, s.failed(ctx, err, "making replication slot %s", name)
	}
	return l, nil
}

func (s *Source) createSlot(ctx context.Context, name string, temporary bool) (*slot, error) {
	c, err := s.dialReplication(ctx)
	if err != nil {
		return nil, err
	}
	l := &slot{src: s, conn: c}
	kind := ""
	if temporary {
		kind = " TEMPORARY"
	}
	if l.server, err = identify(ctx, c); err == nil {
		// A snapshot made by pg_create_logical_replication_slot would not fit the slot's LSN: a transaction that commits meanwhile
		// would be in neither.
		var rows [][][]byte
		if rows, err = replicate(ctx, c, "CREATE_REPLICATION_SLOT "+ident(name)+kind+" LOGICAL pgoutput EXPORT_SNAPSHOT"); err == nil {
			if len(rows) != 1 || len(rows[0]) < 3 {
				err = errProtocol
			} else {
				l.snapshot = string(rows[0][2])
				l.point, err = change.ParseLSN(string(rows[0][1]))
			}
		}
	}
	if err != nil {
		hangUp(ctx, c)
		return nil, err
	}
	return l, nil
}

// feedbackEvery is how often the server hears from us: wal_sender_timeout is a minute by default.
const feedbackEvery = time.Second

// startReplication begins the stream from a place on; it ends with the connection.
func startReplication(ctx context.Context, c *pgconn.PgConn, o source.StreamOptions) (*pgconn.HijackedConn, *wire, error) {
	plugin := []string{"proto_version '1'", "publication_names " + literal(ident(o.Publication)), "messages 'true'"}
	if !o.Text && streamsBinary(o.Tables) {
		plugin = append(plugin, "binary 'true'")
	}
	h, err := c.Hijack()
	if err != nil {
		return nil, nil, err
	}
	w := newWire()
	w.ctx, w.net = ctx, h.Conn
	fail := func(err error) (*pgconn.HijackedConn, *wire, error) {
		w.release()
		_ = h.Conn.Close()
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = h.Conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	sql := fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL %s (%s)", ident(o.Slot), o.From, strings.Join(plugin, ", "))
	first := stream{hijack: h}
	if err := first.send(sql); err != nil {
		return fail(err)
	}
	for {
		kind, body, err := w.wait()
		switch {
		case err != nil:
			return fail(err)
		case kind == 'W':
			if !stop() {
				return fail(context.Cause(ctx))
			}
			return h, w, nil
		case kind == 'E':
			return fail(serverSays(body))
		case kind != 'N' && kind != 'S':
			return fail(errProtocol)
		}
	}
}

// streamsBinary says whether all values that may come can be decoded from their binary form.
func streamsBinary(tables []source.StreamTable) bool {
	for _, t := range tables {
		for i := range t.Desc.Columns {
			if !t.Desc.Columns[i].Type.StreamsBinary() {
				return false
			}
		}
	}
	return true
}

// status is a Standby status update: how far the stream was received, and how far it is durable.
func status(received, durable change.LSN) []byte {
	b := make([]byte, 0, 39)
	b = append(b, 'd', 0, 0, 0, 38, 'r')
	b = binary.BigEndian.AppendUint64(b, uint64(max(received, durable)))
	b = binary.BigEndian.AppendUint64(b, uint64(durable)) // flushed
	b = binary.BigEndian.AppendUint64(b, uint64(durable)) // applied
	b = binary.BigEndian.AppendUint64(b, uint64(time.Now().UnixMicro()-epoch2000))
	return append(b, 1) // asks for a keepalive, which tells where the log ends
}

// followed is a table of the stream: how its rows lie in the messages, and in the copy.
type followed struct {
	source.StreamTable
	relation *relationMessage
	columns  []int  // of the stream's columns: the number in the description
	lost     string // why it can no longer be followed
	reported bool
}

// match compares a relation of the stream with the table as it was copied.
func (f *followed) match(r *relationMessage) {
	f.relation, f.columns = r, f.columns[:0]
	d := f.Desc
	seen := 0
	for _, c := range r.columns {
		i := index(d, c.name)
		if i < 0 {
			f.lose("column %q is new", c.name)
			return
		}
		if c.oid != d.Columns[i].TypeOID || c.typmod != d.Columns[i].Typmod {
			f.lose("column %q has another type than it was copied with", c.name)
			return
		}
		f.columns = append(f.columns, i)
		seen++
	}
	if seen != len(d.Columns) {
		f.lose("a column is gone")
	}
}

func (f *followed) lose(format string, args ...any) {
	if f.lost == "" {
		f.lost = fmt.Sprintf(format, args...)
	}
}

// keys are the numbers of the key's columns in the stream's tuples, ascending.
func (f *followed) keys() []int {
	var keys []int
	for i, d := range f.columns {
		for _, k := range f.Key {
			if f.Desc.Columns[d].Name == k {
				keys = append(keys, i)
			}
		}
	}
	return keys
}
