package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/internal/fault"
)

// Session is a connection of its own. One goroutine uses it, for one statement or one stream of rows at a time.
type Session struct {
	s     *Store
	c     duck.Connection
	from  origin
	stmts []*Stmt // prepared and perhaps still open
	zone  *zone   // nil: UTC
}

// unbounded is for statements that take no time and must not be cut off.
var unbounded = context.Background()

// connect costs about 90 µs, so a connection is made for each piece of work and none is kept.
func (s *Store) connect(from origin) (*Session, error) {
	se, err := s.connectOpen(from)
	if err != nil || !s.attached {
		return se, err
	}
	// Not under s.mu, which whoever this statement might have to wait for may need.
	if err := se.script(unbounded, use(s.catalog)); err != nil {
		se.Close()
		return nil, err
	}
	return se, nil
}

// connectOpen waits while the gate is shut.
func (s *Store) connectOpen(from origin) (*Session, error) {
	s.mu.Lock()
	for s.gate != nil && !s.closing {
		gate := s.gate
		s.mu.Unlock()
		<-gate
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	return s.connectLocked(from)
}

// connectLocked needs s.mu. Unqualified names do not mean those of the file yet.
func (s *Store) connectLocked(from origin) (*Session, error) {
	if s.closing {
		return nil, errClosing()
	}
	se := &Session{s: s, from: from}
	if duck.Connect(s.db, &se.c) == duck.StateError {
		return nil, fault.New(fault.Internal, "", "DuckDB refused a connection")
	}
	s.open[se] = struct{}{}
	return se, nil
}

func errClosing() error {
	return fault.New(fault.Unavailable, "", "the store is closed or closing")
}

// Close closes the session with its statements and rows; an open transaction is rolled back. It may be called twice.
func (se *Session) Close() {
	for len(se.stmts) > 0 {
		se.stmts[0].Close()
	}
	s := se.s
	s.mu.Lock()
	if _, ok := s.open[se]; !ok {
		s.mu.Unlock()
		return
	}
	// Out of the set first, so that Store.Close does not interrupt a freed connection.
	delete(s.open, se)
	last := s.closing && len(s.open) == 0
	s.mu.Unlock()
	duck.Disconnect(&se.c)
	if last {
		close(s.drained)
	}
}

// interruptEvery repeats an interrupt, since DuckDB forgets one that comes before the statement has begun.
const interruptEvery = 5 * time.Millisecond

// guard interrupts the connection from the moment ctx ends until release is called.
func (se *Session) guard(ctx context.Context) (release func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		t := time.NewTicker(interruptEvery)
		defer t.Stop()
		for {
			duck.Interrupt(se.c)
			select {
			case <-done:
				return
			case <-t.C:
			}
		}
	})
	return func() {
		close(done)
		if !stop() {
			<-ended
		}
	}
}

func (se *Session) failure(ctx context.Context, text string) error {
	err := failure(ctx, text, se.from)
	if relieve := se.s.relieve.Load(); relieve != nil && se.from == own && short(err) && (*relieve)() {
		return fault.New(fault.Unavailable, "it is tried again; "+fault.HintOf(err), "a reader was cancelled to make room: %w", errors.Unwrap(err))
	}
	if fault.CodeOf(err) == fault.Cancelled && ctx.Err() == nil {
		se.s.mu.Lock()
		defer se.s.mu.Unlock()
		if se.s.closing {
			return errClosing()
		}
	}
	return err
}

// script runs several statements.
func (se *Session) script(ctx context.Context, sql string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer se.guard(ctx)()
	var res duck.Result
	defer duck.DestroyResult(&res)
	if duck.Query(se.c, sql, &res) == duck.StateError {
		return se.failure(ctx, duck.ResultError(&res))
	}
	return nil
}

// exec runs one statement and returns how many rows it changed.
func (se *Session) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if strings.IndexByte(sql, 0) >= 0 {
		return 0, fault.New(fault.InvalidSQL, "", "%w", errNUL)
	}
	defer se.guard(ctx)()
	var st duck.PreparedStatement
	defer duck.DestroyPrepare(&st)
	if duck.Prepare(se.c, sql, &st) == duck.StateError {
		return 0, se.failure(ctx, duck.PrepareError(st))
	}
	if err := bindOwn(st, args); err != nil {
		return 0, err
	}
	var res duck.Result
	defer duck.DestroyResult(&res)
	if err := se.execute(ctx, duck.PendingPrepared, st, &res); err != nil {
		return 0, err
	}
	return int64(duck.RowsChanged(&res)), nil
}

// Between a worker's tasks, which take about a millisecond.
const (
	idleMin = 20 * time.Microsecond
	idleMax = time.Millisecond
)

// execute runs a bound statement: one that pending.begins. DuckDB's own loop spins at the cost of a core while worker threads
// have all that is left to do; this one sleeps.
func (se *Session) execute(ctx context.Context, pending func(duck.PreparedStatement, *duck.PendingResult) duck.State, st duck.PreparedStatement, res *duck.Result) error {
	var p duck.PendingResult
	defer duck.DestroyPending(&p)
	if pending(st, &p) == duck.StateError {
		return se.failure(ctx, duck.PendingError(p))
	}
	idle := idleMin
	for state := duck.PendingExecuteTask(p); ; state = duck.PendingExecuteTask(p) {
		if state == duck.PendingStateNoTasksAvailable {
			// DuckDB tells nobody when a task has ended.
			if idle < idleMax {
				nap(idle)
			} else {
				time.Sleep(idle) //nolint:forbidigo // As above; unlike nap it keeps no thread.
			}
			idle = min(2*idle, idleMax)
		} else if state == duck.PendingStateResultNotReady {
			idle = idleMin
		} else {
			break
		}
	}
	if text := duck.PendingError(p); text != "" {
		return se.failure(ctx, text)
	}
	if duck.ExecutePending(p, res) == duck.StateError {
		return se.failure(ctx, duck.ResultError(res))
	}
	return nil
}

// bindOwn binds the arguments of Pintail's own statements. A zero time is NULL.
func bindOwn(st duck.PreparedStatement, args []any) error {
	for i, a := range args {
		n := duck.IdxT(i + 1)
		var state duck.State
		switch a := a.(type) {
		case nil:
			state = duck.BindNull(st, n)
		case string:
			state = duck.BindVarchar(st, n, a)
		case json.RawMessage:
			if a == nil {
				state = duck.BindNull(st, n)
			} else {
				state = duck.BindVarchar(st, n, string(a))
			}
		case []byte:
			state = duck.BindBlob(st, n, a)
		case bool:
			state = duck.BindBoolean(st, n, a)
		case int:
			state = duck.BindInt64(st, n, int64(a))
		case int64:
			state = duck.BindInt64(st, n, a)
		case float64:
			state = duck.BindDouble(st, n, a)
		case time.Time:
			if a.IsZero() {
				state = duck.BindNull(st, n)
			} else {
				state = duck.BindTimestampTZ(st, n, duck.NewTimestamp(a.UnixMicro()))
			}
		default:
			return fmt.Errorf("argument %d: no binding for %T", i+1, a)
		}
		if state == duck.StateError {
			return fmt.Errorf("argument %d (%T): the statement has no such parameter", i+1, a)
		}
	}
	return nil
}

// query runs one of Pintail's own statements and hands each row to fn. Its columns are BIGINT, VARCHAR, BOOLEAN or DOUBLE.
func (se *Session) query(ctx context.Context, sql string, args []any, fn func(r ownRow) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer se.guard(ctx)()
	var st duck.PreparedStatement
	defer duck.DestroyPrepare(&st)
	if duck.Prepare(se.c, sql, &st) == duck.StateError {
		return se.failure(ctx, duck.PrepareError(st))
	}
	if err := bindOwn(st, args); err != nil {
		return err
	}
	var res duck.Result
	defer duck.DestroyResult(&res)
	if err := se.execute(ctx, duck.PendingPrepared, st, &res); err != nil {
		return err
	}
	for {
		c := duck.FetchChunk(res)
		if c.Ptr == nil {
			if text := duck.ResultError(&res); text != "" {
				return se.failure(ctx, text)
			}
			return nil
		}
		n := int(duck.DataChunkGetSize(c))
		for i := range n {
			if err := fn(ownRow{c, i}); err != nil {
				duck.DestroyDataChunk(&c)
				return err
			}
		}
		duck.DestroyDataChunk(&c)
		if n == 0 {
			return nil
		}
	}
}

// queryInt is query for one number; NULL is 0.
func (se *Session) queryInt(ctx context.Context, sql string, args ...any) (n int64, err error) {
	err = se.query(ctx, sql, args, func(r ownRow) error { n = r.int(0); return nil })
	return n, err
}

// with runs fn on a connection for Pintail's own statements.
func (s *Store) with(fn func(se *Session) error) error {
	se, err := s.connect(own)
	if err != nil {
		return err
	}
	defer se.Close()
	return fn(se)
}
