package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
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
	server := source.Server{System: string(rows[0][0]), Timeline: int32(timeline), LSN: lsn}
	if rows, err = replicate(ctx, c, "SELECT pg_is_in_recovery()"); err != nil {
		return source.Server{}, err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return source.Server{}, errProtocol
	}
	server.Standby = string(rows[0][0]) == "t"
	return server, errors.Join(err1, err2)
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

// Switched is source.Replicator's, from the timeline's history file.
func (s *Source) Switched(ctx context.Context, timeline int32) (change.LSN, error) {
	lsn, err := s.switched(ctx, timeline)
	return lsn, s.failed(ctx, err, "reading the timeline's history")
}

func (s *Source) switched(ctx context.Context, timeline int32) (change.LSN, error) {
	c, err := s.dialReplication(ctx)
	if err != nil {
		return 0, err
	}
	defer hangUp(ctx, c)
	server, err := identify(ctx, c)
	if err != nil {
		return 0, err
	}
	if server.Timeline <= timeline {
		return 0, nil
	}
	rows, err := replicate(ctx, c, fmt.Sprintf("TIMELINE_HISTORY %d", server.Timeline))
	if err != nil {
		return 0, err
	}
	if len(rows) != 1 || len(rows[0]) < 2 {
		return 0, errProtocol
	}
	// A line is: timeline, where it was left, why.
	for line := range strings.Lines(string(rows[0][1])) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == strconv.Itoa(int(timeline)) {
			return change.ParseLSN(f[1])
		}
	}
	return 0, nil
}

func hangUp(ctx context.Context, c *pgconn.PgConn) {
	ctx, cancel := lastly(ctx)
	defer cancel()
	_ = c.Close(ctx)
}

// slot is a source.Slot.
type slot struct {
	src      *Source
	conn     *pgconn.PgConn // nil once a stream has it, or it is closed
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
func (l *slot) Close(ctx context.Context) {
	if l.conn != nil {
		hangUp(ctx, l.conn)
		l.conn = nil
	}
}

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
	kind, options, standby := "", " LOGICAL pgoutput EXPORT_SNAPSHOT", inRecovery(c)
	switch version := c.ParameterStatus("server_version"); {
	case temporary:
		kind = " TEMPORARY"
	case major(version) >= 17 && !standby:
		// Standbys with sync_replication_slots keep the slot too, so that the stream goes on after a failover.
		options = " LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER)"
	}
	if l.server, err = identify(ctx, c); err == nil {
		// A snapshot made by pg_create_logical_replication_slot would not fit the slot's LSN: a transaction that commits meanwhile
		// would be in neither.
		var rows [][][]byte
		if rows, err = replicate(ctx, c, "CREATE_REPLICATION_SLOT "+ident(name)+kind+options); err == nil {
			if len(rows) != 1 || len(rows[0]) < 3 {
				err = errProtocol
			} else {
				l.snapshot = string(rows[0][2])
				l.point, err = change.ParseLSN(string(rows[0][1]))
			}
		}
	}
	if err == nil && standby && !inRecovery(c) {
		// The timeline is not the one of the slot's point, and the slot is none that this server's standbys keep.
		err = fault.New(fault.SourceUnavailable, "", "the server was a standby, and was promoted meanwhile; this is tried again")
	}
	if err != nil {
		hangUp(ctx, c)
		return nil, err
	}
	return l, nil
}

// inRecovery says whether the server was a standby when it last answered.
func inRecovery(c *pgconn.PgConn) bool { return c.ParameterStatus("in_hot_standby") == "on" }

// feedbackEvery is how often the server hears from us: wal_sender_timeout is a minute by default.
const feedbackEvery = time.Second

// startReplication begins the stream from a place on; it ends with the connection. With running the server sends changes of
// large transactions while they run.
func startReplication(ctx context.Context, c *pgconn.PgConn, o source.StreamOptions, running bool) (*pgconn.HijackedConn, *wire, error) {
	version := "proto_version '1'"
	if running {
		version = "proto_version '2', streaming 'on'"
	}
	plugin := []string{version, "publication_names " + literal(ident(o.Publication)), "messages 'true'"}
	if !o.Text && streamsBinary(o.Tables) {
		plugin = append(plugin, "binary 'true'")
	}
	standby := inRecovery(c)
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
			err := serverSays(body)
			var pg *pgconn.PgError
			if standby && errors.As(err, &pg) && pg.Code == "55000" {
				err = fault.New(fault.SourceUnavailable, "It goes on when the standby is promoted, or when the source's address leads to the primary again.",
					"the server is a standby, and its slot cannot be read yet: %w", &serverError{PgError: pg})
			}
			return fail(err)
		case kind != 'N' && kind != 'S':
			return fail(errProtocol)
		}
	}
}

// streamsBinary says whether all values that may come can be decoded from their binary form.
func streamsBinary(tables []source.StreamTable) bool {
	for _, t := range tables {
		if textColumn(t.Desc) >= 0 {
			return false // the text of values out of range is kept
		}
		for i := range t.Desc.Columns {
			if !t.Desc.Columns[i].Type.StreamsBinary() {
				return false
			}
		}
	}
	return true
}

// status is a Standby status update: how far the stream was received, and how far it is durable. With ask the server
// answers with a keepalive, which tells how far it has sent.
func status(received, durable change.LSN, ask bool) []byte {
	b := make([]byte, 0, 39)
	b = append(b, 'd', 0, 0, 0, 38, 'r')
	b = binary.BigEndian.AppendUint64(b, uint64(max(received, durable)))
	b = binary.BigEndian.AppendUint64(b, uint64(durable)) // flushed
	b = binary.BigEndian.AppendUint64(b, uint64(durable)) // applied
	b = binary.BigEndian.AppendUint64(b, uint64(time.Now().UnixMicro()-epoch2000))
	if ask {
		return append(b, 1)
	}
	return append(b, 0)
}

// followed is a table of the stream: how its rows lie in the messages, and in the copy.
type followed struct {
	source.StreamTable
	relation *relationMessage
	early    *relationMessage      // what came last in transactions before After
	columns  []int                 // of the stream's columns: the number in the description; -1 is left out
	altered  []change.SourceColumn // the form that its next row has, where DDLTrigger has told it
	lost     string                // why it can no longer be followed
	reported bool
}

// match compares a relation of the stream with the table as it was copied. Batches that are being applied have the columns
// of before: another slice is made for others.
func (f *followed) match(r *relationMessage) {
	d := f.Desc
	columns, left, extra := make([]int, 0, len(r.columns)), 0, 0
	if textColumn(d) >= 0 {
		extra = 1
	}
	for _, c := range r.columns {
		i := index(d, c.name)
		if i < 0 && slices.Contains(f.Left, c.name) {
			columns = append(columns, -1)
			left++
			continue
		}
		if i < 0 {
			f.lose("column %q is new", c.name)
			return
		}
		if c.oid != d.Columns[i].TypeOID || c.typmod != d.Columns[i].Typmod {
			f.lose("column %q has another type than it was copied with", c.name)
			return
		}
		columns = append(columns, i)
	}
	if key := r.key(); r.identity != 'f' && len(key) > 0 && !sameNames(key, f.Key) {
		f.lose("its replica identity changed in the source")
		return
	}
	switch {
	case len(columns)-left != len(d.Columns)-extra:
		f.lose("a column is gone")
		return
	case f.relation != nil && !slices.Equal(columns, f.columns):
		f.lose("a column was made anew") // the last of its table now, and without the values of before
		return
	}
	f.relation, f.columns = r, columns
}

func (f *followed) lose(format string, args ...any) {
	if f.lost == "" {
		f.lost = fmt.Sprintf(format, args...)
	}
}

// keys are the numbers of the key's columns in the stream's tuples, ascending; of all that are copied without a key.
func (f *followed) keys() []int {
	var keys []int
	for i, d := range f.columns {
		if d >= 0 && len(f.Key) == 0 {
			keys = append(keys, i)
		}
		for _, k := range f.Key {
			if d >= 0 && f.Desc.Columns[d].Name == k {
				keys = append(keys, i)
			}
		}
	}
	return keys
}

// key are the columns of the replica identity.
func (r *relationMessage) key() []string {
	var key []string
	for _, c := range r.columns {
		if c.key {
			key = append(key, c.name)
		}
	}
	return key
}

func sameNames(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(name string) bool { return !slices.Contains(b, name) })
}
