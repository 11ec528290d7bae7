package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/internal/fault"
)

const (
	connectTimeout = 15 * time.Second
	// slotWait bounds the wait for one of the pool's connections: longer than most syncs of other datasets.
	slotWait = 10 * time.Minute
	// idleMax is how long a connection is kept for the next snapshot.
	idleMax = 5 * time.Minute
	// goodbye bounds what is done to end a connection properly.
	goodbye = 2 * time.Second
)

// session is one connection and its reading buffer. One goroutine uses it at a time.
type session struct {
	src       *Source
	conn      *pgconn.PgConn
	wire      *wire
	pid       string // of the backend that runs the open transaction; behind a pooler it is not the connection's
	used      bool   // taken from the idle ones: it may be dead without having said so
	timer     *time.Timer
	savepoint bool // pintail_copy is set in the open transaction
	stint     stint
}

// statement is one SQL statement with its bound values. prepare only parses it and describes its result.
type statement struct {
	sql     string
	args    []string
	prepare bool
}

func stmt(sql string, args ...string) statement { return statement{sql: sql, args: args} }

// result is what a statement gave; a nil cell is NULL.
type result struct {
	fields []pgconn.FieldDescription
	rows   [][][]byte
}

func (r *result) text(row, column int) string { return string(r.rows[row][column]) }
func (r *result) bool(row, column int) bool   { return string(r.rows[row][column]) == "t" }

// run sends all statements in one round trip. Each group ends with a Sync: outside of a transaction block it is a
// transaction of its own, and its failure does not keep the next group from running. The results of the statements before
// the first failure come with its error.
func (c *session) run(ctx context.Context, groups ...[]statement) ([]result, error) {
	c.src.begun(c)
	defer func() { c.src.ready(c, c.conn.IsClosed() || c.conn.TxStatus() == 'I') }()
	p := c.conn.StartPipeline(ctx)
	for _, g := range groups {
		for _, st := range g {
			if st.prepare {
				p.SendPrepare("", st.sql, nil)
				continue
			}
			args := make([][]byte, len(st.args))
			for i := range st.args {
				args[i] = []byte(st.args[i])
			}
			p.SendQueryParams(st.sql, args, nil, nil, nil)
		}
		p.SendPipelineSync()
	}
	if err := p.Flush(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	var results []result
	var first error
	for {
		got, err := p.GetResults()
		if err == nil && got == nil {
			break
		}
		var r result
		switch got := got.(type) {
		case *pgconn.StatementDescription:
			r.fields = got.Fields
		case *pgconn.ResultReader:
			full := got.Read()
			err, r.rows = full.Err, full.Rows
		case *pgconn.PipelineSync:
			continue
		}
		if err != nil {
			if first == nil {
				first = err
			}
			var pg *pgconn.PgError
			if !errors.As(err, &pg) {
				break // the connection is gone
			}
		}
		if first == nil {
			results = append(results, r)
		}
	}
	if err := p.Close(); first == nil {
		first = err
	}
	return results, first
}

// end closes the connection, cancelled or not.
func (c *session) end(ctx context.Context) {
	if c.timer != nil {
		c.timer.Stop()
	}
	ctx, cancel := lastly(ctx)
	defer cancel()
	_ = c.conn.Close(ctx)
	select {
	case <-c.conn.CleanupDone(): // a cancelled statement ends its connection in the background
	case <-ctx.Done():
	}
	c.wire.release()
	c.src.ready(c, true)
}

// lastly is the context of what is done in the end, whether ctx was cancelled or not.
func lastly(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), goodbye)
}

// dial opens a new connection.
func (s *Source) dial(ctx context.Context) (*session, error) {
	conn, err := pgconn.ConnectConfig(ctx, s.config)
	if err != nil {
		return nil, err
	}
	w := newWire()
	w.limit = s.limit
	return &session{src: s, conn: conn, wire: w}, nil
}

// acquire waits for one of the pool's slots.
func (s *Source) acquire(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(slotWait)
	defer timer.Stop()
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return fault.New(fault.SourceUnavailable, "Raise `pool` of this source, or let fewer datasets sync at once.",
			"no connection became free within %s: all %d are in use", slotWait, cap(s.slots))
	}
}

// tryAcquire takes up to n slots without waiting. Where the pool is not tiny it leaves one free, so that a long full sync
// does not keep the increments of other datasets waiting.
func (s *Source) tryAcquire(n int) int {
	spare := 0
	if cap(s.slots) > 2 {
		spare = 1
	}
	for got := 0; ; got++ {
		if got == n || cap(s.slots)-len(s.slots) <= spare {
			return got
		}
		select {
		case s.slots <- struct{}{}:
		default:
			return got
		}
	}
}

func (s *Source) releaseSlot() { <-s.slots }

// session is an idle connection, or a new one. The caller holds a slot.
func (s *Source) session(ctx context.Context) (*session, error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, fault.New(fault.Cancelled, "", "the source is closed")
		}
		n := len(s.idle)
		if n == 0 {
			s.mu.Unlock()
			return s.dial(ctx)
		}
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		if c.timer.Stop() && !c.conn.IsClosed() {
			c.used = true
			return c, nil
		}
		c.end(ctx)
	}
}

// begin runs do on an idle connection, or on a new one where there is none or where it had died. do must leave nothing
// behind that a second run would trip over.
func (s *Source) begin(ctx context.Context, do func(*session) error) (*session, error) {
	for {
		c, err := s.session(ctx)
		if err != nil {
			return nil, err
		}
		if err = do(c); err == nil {
			return c, nil
		}
		c.end(ctx)
		if !c.used || ctx.Err() != nil || (sqlstate(err) != "" && !strings.HasPrefix(sqlstate(err), "57P")) {
			return nil, err
		}
	}
}

// keep puts a connection back; it must be outside of any transaction. The caller then releases the slot.
func (s *Source) keep(c *session) {
	if c.conn.IsClosed() || c.conn.TxStatus() != 'I' {
		c.end(context.Background())
		return
	}
	c.wire.shrink()
	s.mu.Lock()
	closed := s.closed
	if !closed {
		c.timer = time.AfterFunc(idleMax, func() { s.drop(c) })
		s.idle = append(s.idle, c)
	}
	s.mu.Unlock()
	if closed {
		c.end(context.Background())
	}
}

// drop ends c if it is still idle.
func (s *Source) drop(c *session) {
	s.mu.Lock()
	for i := range s.idle {
		if s.idle[i] == c {
			s.idle = append(s.idle[:i], s.idle[i+1:]...)
			s.mu.Unlock()
			c.end(context.Background())
			return
		}
	}
	s.mu.Unlock()
}

// pins are what every transaction of ours sets for itself. It is done within the transaction, not for the session, so that
// it holds behind a pooler that moves transactions between connections, and leaves nothing behind there.
func (s *Source) pins(c *session, o snapshotPins) statement {
	set := [][2]string{
		{"DateStyle", "ISO"}, {"IntervalStyle", "postgres"}, {"TimeZone", "UTC"}, {"extra_float_digits", "3"},
		{"bytea_output", "hex"}, {"lc_monetary", "C"}, {"client_encoding", "UTF8"}, {"xmloption", "content"},
		{"idle_in_transaction_session_timeout", "0"},
		{"lock_timeout", fmt.Sprint(o.lock.Milliseconds())},
		{"application_name", o.name},
	}
	if o.statement > 0 {
		set = append(set, [2]string{"statement_timeout", fmt.Sprint(o.statement.Milliseconds())})
	}
	if major(c.conn.ParameterStatus("server_version")) >= 17 {
		set = append(set, [2]string{"transaction_timeout", "0"})
	}
	var sql strings.Builder
	sql.WriteString("SELECT pg_backend_pid()")
	for _, kv := range set {
		sql.WriteString(", set_config(" + literal(kv[0]) + "," + literal(kv[1]) + ",true)")
	}
	return stmt(sql.String())
}

type snapshotPins struct {
	lock, statement time.Duration
	name            string
}

// major reads the leading number of a version such as "17.2 (Debian 17.2-1)"; 0 when there is none.
func major(version string) int {
	n := 0
	for _, r := range version {
		if r < '0' || r > '9' {
			break
		}
		n = n*10 + int(r-'0')
	}
	return n
}
