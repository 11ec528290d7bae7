package query

import (
	"context"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"go.opentelemetry.io/otel/trace"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Session is one client's: who it is, and what its statements have of their own. One goroutine uses it. It holds nothing
// that would have to be closed, but its statements do.
type Session struct {
	core *Core
	door string
	who  access.Principal
	set  store.Settings

	pid       uint32 // 0: it is no backend
	since     time.Time
	remote    string
	terminate func()
}

// Session makes one for p, who came through door.
func (c *Core) Session(door string, p access.Principal, set store.Settings) *Session {
	return &Session{core: c, door: door, who: p, set: set}
}

// Run is Core.Run with the session's settings.
func (s *Session) Run(ctx context.Context, req Request) (*Result, error) {
	req.Door, req.from = s.door, s
	return s.core.run(ctx, s.who, s.set, nil, req)
}

// Set gives statements that are prepared or run from now on other settings. fault.InvalidSQL for those that cannot be; they
// stay as they were then.
func (s *Session) Set(ctx context.Context, set store.Settings) error {
	se, err := s.core.connect(ctx, set)
	if err != nil {
		return err
	}
	se.Close()
	s.set = set
	return nil
}

// Settings are those of now.
func (s *Session) Settings() store.Settings { return s.set }

// Statement is a prepared statement. It holds a connection until Close.
type Statement struct {
	s       *Session
	set     store.Settings
	gated   access.Statement
	session *store.Session
	stmt    *store.Stmt
	columns []store.ResultColumn
	schema  *arrow.Schema
	mark    uint64 // the store's when it was planned
	settled bool
	closed  bool
	busy    bool // its connection runs it

	spans  *spans            // while it is prepared
	traced trace.SpanContext // of its preparing
	ran    bool
}

// Prepare gates a statement and says what parameters it takes and what columns it gives. It runs nothing, and waits for nobody.
func (s *Session) Prepare(ctx context.Context, sql string) (*Statement, error) {
	st := &Statement{s: s, set: s.set}
	ctx, done := s.tracePrepare(ctx, sql, st)
	err := st.prepare(ctx, sql)
	done(err)
	if err != nil {
		st.Close()
		s.refused(ctx, sql, err)
		return nil, err
	}
	return st, nil
}

func (st *Statement) prepare(ctx context.Context, sql string) (err error) {
	c := st.s.core
	if st.session, err = c.connect(ctx, st.set); err != nil {
		return err
	}
	st.spans.enter(stageGate)
	if st.gated, err = c.access.Gate(ctx, st.s.who, sql, st.session); err != nil {
		return err
	}
	st.spans.enter(stagePlan)
	if err := st.plan(ctx); err != nil {
		return err
	}
	st.schema = st.stmt.ArrowSchema()
	if st.columns = st.stmt.Columns; len(st.columns) == 1 && st.columns[0] == store.UnknownColumn {
		st.columns = nil
	}
	return nil
}

// plan prepares the statement on its connection, again where it was before.
func (st *Statement) plan(ctx context.Context) error {
	mark, settled := st.s.core.store.Mark()
	stmt, err := planOn(ctx, st.session, st.s.who, st.gated)
	if err != nil {
		return err
	}
	if st.stmt != nil {
		st.stmt.Close()
	}
	st.stmt, st.mark, st.settled = stmt, mark, settled
	return nil
}

// asPlanned runs the statement with the plan that it has. There are no rows where something was committed since it was made: the plan may
// leave out what came with that.
func (st *Statement) asPlanned(ctx context.Context, req Request) (*store.Rows, error) {
	current := func() bool {
		mark, _ := st.s.core.store.Mark()
		return st.settled && mark == st.mark
	}
	if !current() {
		return nil, nil
	}
	rows, err := st.stmt.Query(ctx, req.Params, req.Named)
	if current() {
		return rows, err
	}
	if rows != nil {
		rows.Close()
	}
	return nil, nil
}

// Params are the statement's parameters, in the order of their first use.
func (st *Statement) Params() []store.Param { return st.stmt.Params }

// Columns are the result's; nil when they are known only with the parameters, as those of SELECT $1.
func (st *Statement) Columns() []store.ResultColumn { return st.columns }

// Run runs the statement like Core.Run; req.SQL only names it in lists and logs. fault.ResultChanged when its columns are not those
// of Columns any more. Results of one statement may be open side by side.
func (st *Statement) Run(ctx context.Context, req Request) (*Result, error) {
	if st.closed {
		return nil, fault.New(fault.Internal, "", "the statement is closed")
	}
	if req.SQL == "" {
		req.SQL = st.gated.SQL
	}
	req.Door, req.from = st.s.door, st.s
	return st.s.core.run(ctx, st.s.who, st.set, st, req)
}

// free gives the connection back after a result; inTransaction says that there is a transaction to be ended.
func (st *Statement) free(inTransaction bool) {
	if inTransaction {
		// The statement can go on only if this succeeds, which it does unless DuckDB is about to end.
		_ = st.session.Rollback()
	}
	st.busy = false
	if st.closed {
		st.Close()
	}
}

// Close frees the connection, as soon as its result is closed too. It may be called twice.
func (st *Statement) Close() {
	st.closed = true
	if st.busy || st.session == nil {
		return
	}
	st.session.Close()
	st.session = nil
}
