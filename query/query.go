// Package query is the one way to run a reader's SQL: the statement gate, admission, the limits of the reader's role,
// streaming, the list of what runs, and its log. Every protocol goes through Core.Run; nothing here writes.
package query

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Options of a Core; zero values are the defaults named.
type Options struct {
	Concurrency int           // statements that run at once; 8
	Queue       int           // statements that wait at most; 64
	Wait        time.Duration // that a statement waits at most; 30 s
	Slow        time.Duration // above it a statement is logged as a warning; 10 s; below 0: none is
	TimeMax     time.Duration // of one statement, whatever its role: an old reader keeps dropped tables' space taken; 0 is none
	Log         *slog.Logger
	Registerer  prometheus.Registerer // nil: no metrics
	Replicas    Replicas              // nil: there are none
	Audit       *slog.Logger          // has a line for the start and one for the end of each statement; nil: none
	Tracer      trace.Tracer          // nil: nothing is traced
	TraceText   string                // what traces tell of a statement's text; TextRedacted
}

// Core runs statements. Its methods may be called from any goroutine.
type Core struct {
	store     *store.Store
	access    *access.Access
	admission *admission
	opts      Options
	log       *slog.Logger
	metrics   *metrics

	mu       sync.Mutex
	open     map[string]*Result
	backends map[uint32]*Session // by process id
	lastPID  uint32              // of a statement without a backend
}

// New makes a Core over an open store.
func New(st *store.Store, acc *access.Access, o Options) *Core {
	if o.Concurrency <= 0 {
		o.Concurrency = 8
	}
	if o.Queue <= 0 {
		o.Queue = 64
	}
	if o.Wait <= 0 {
		o.Wait = 30 * time.Second
	}
	if o.Slow == 0 {
		o.Slow = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Core{store: st, access: acc, admission: newAdmission(o.Concurrency, o.Queue), opts: o, log: o.Log, open: map[string]*Result{}, backends: map[uint32]*Session{}}
	c.metrics = newMetrics(o.Registerer, c.admission)
	st.OnShortage(c.relieve)
	return c
}

// Request is one statement.
type Request struct {
	SQL      string
	Door     string         // it came through, for logs; that of a Session's is the Session's
	Params   []any          // for $1, $2 or ?; values as JSON gives them: nil, bool, int64, float64, json.Number, string, []any
	Named    map[string]any // for $name
	Limit    int64          // rows at most; 0 is only the role's limit
	Deadline time.Duration  // from now to the last row, waiting included; 0 is only the role's limit
	// MinLSN is how far datasets are to be in their source's log before the statement reads, by name. They are waited for until
	// the deadline, one minute at most; without a deadline 5 s. ErrBehind is then in the error's chain.
	MinLSN map[string]change.LSN
	// Positions asks for those of the Result, as MinLSN does. It costs the reading of them, and a transaction.
	Positions bool

	from *Session // nil: of none
}

// Result is a statement under way. One goroutine uses it, and must Close it.
type Result struct {
	id        string
	core      *Core
	who       access.Principal
	sql       string
	door      string
	remote    string
	from      *Session // nil: of none
	pid       uint32   // as clients of PostgreSQL know it
	limits    access.Limits
	rowsMax   int64 // 0: none
	arrived   time.Time
	started   atomic.Int64 // Unix nanoseconds; 0 while it waits
	rows      atomic.Int64
	bytes     atomic.Int64
	datasets  []string
	gated     access.Statement
	version   string              // of what it reads, before it began; "" is none
	positions map[string]Position // of the replicas among datasets

	ctx      context.Context
	cancel   context.CancelCauseFunc
	timers   []*time.Timer
	admitted bool
	paused   bool // its slot is given back meanwhile
	session  *store.Session
	within   bool       // it has begun a transaction
	prepared *Statement // whose session it is; nil for one of the Result's own
	execute  func() (*store.Rows, error)
	attempts int
	stream   *store.Rows
	columns  []store.ResultColumn

	spans              *spans
	executing, flowing time.Time     // since it was planned, and since its first rows were there
	fetched            time.Duration // that DuckDB took for the rows after the first
	operators          []store.Operator

	truncated bool
	ended     bool // the stream has given its last row
	closed    bool
	err       error
}

// Run gates, admits and starts a statement of p. The returned Result streams: its first chunk is there before the last
// is computed. When ctx ends, so does the statement. Errors: what the gate says (fault.InvalidSQL, fault.Forbidden),
// fault.Unavailable when too many wait, fault.Limit, fault.Cancelled, and what DuckDB says of the statement.
func (c *Core) Run(ctx context.Context, p access.Principal, req Request) (*Result, error) {
	return c.run(ctx, p, store.Settings{}, nil, req)
}

// run runs req's SQL, or st, which may be nil.
func (c *Core) run(ctx context.Context, p access.Principal, set store.Settings, st *Statement, req Request) (*Result, error) {
	r := &Result{id: uuid.Must(uuid.NewV7()).String(), core: c, who: p, sql: req.SQL, limits: c.access.Limits(p), door: req.Door, remote: access.Remote(ctx), arrived: time.Now()}
	r.rowsMax = req.Limit
	if r.limits.Rows > 0 && (r.rowsMax == 0 || r.rowsMax > r.limits.Rows) {
		r.rowsMax = r.limits.Rows
	}
	ctx, r.cancel = context.WithCancelCause(r.traced(ctx, st))
	r.ctx = ctx
	if req.Deadline > 0 {
		r.cancelAfter(req.Deadline, fault.New(fault.Limit, "give it a later deadline, or ask for less", "the statement did not end within its deadline of %s", req.Deadline))
	}
	r.from = req.from
	c.mu.Lock()
	if c.open[r.id] = r; r.from == nil || r.from.pid == 0 {
		c.lastPID += 2 // those of backends are odd
		r.pid = c.lastPID & math.MaxInt32
	} else {
		r.pid = r.from.pid
	}
	c.mu.Unlock()
	r.audit("start")
	if r.err = r.await(ctx, req.MinLSN, req.Deadline); r.err == nil {
		r.err = r.reason(r.start(set, st, req))
	}
	if r.err != nil {
		r.Close()
		return nil, r.err
	}
	return r, nil
}

func (r *Result) start(set store.Settings, st *Statement, req Request) error {
	c := r.core
	r.spans.enter(stageWait)
	wait := r.cancelAfter(c.opts.Wait, fault.New(fault.Unavailable, "try again shortly", "the statement waited %s for others to end", c.opts.Wait))
	if err := c.admission.acquire(r.ctx, r.who.Role, r.limits.Concurrency); err != nil {
		return err
	}
	r.admitted = true
	wait.Stop()
	r.started.Store(time.Now().UnixNano())
	r.spans.event("started")
	r.spans.enter(stageGate)
	if r.limits.Time > 0 {
		r.cancelAfter(r.limits.Time, fault.New(fault.Limit, "ask for less; the role's limits: time says how long", "the statement ran longer than role %q may: %s", r.who.Role, r.limits.Time))
	}
	if limit := c.opts.TimeMax; limit > 0 {
		r.cancelAfter(limit, fault.New(fault.Limit, "take the rows sooner, or ask for less; duckdb.query_max_time says how long", "the statement and the taking of its rows lasted longer than any may: %s", limit))
	}
	c.log.LogAttrs(r.ctx, slog.LevelDebug, "query started", r.attrs()...)

	gated, err := r.ready(set, st, req.SQL)
	if err != nil {
		return err
	}
	r.datasets, r.gated = gated.Datasets, gated
	if r.version, err = c.Version(r.ctx, gated); err != nil {
		return err
	}
	var known map[string]standing
	if req.Positions || len(req.MinLSN) > 0 {
		known = c.standings(gated.Datasets)
	}
	r.execute = func() (*store.Rows, error) {
		if r.prepared != nil && len(known) == 0 && r.attempts == 1 {
			r.executing = time.Now()
			r.spans.enter(stageExecute)
			if rows, err := r.prepared.asPlanned(r.ctx, req); rows != nil || err != nil {
				return rows, err
			}
		}
		r.spans.enter(stagePlan)
		if err := r.transact(); err != nil {
			return nil, err
		}
		if err := r.place(known, gated.Targets, req.MinLSN); err != nil {
			return nil, err
		}
		stmt, err := r.plan(gated)
		if err != nil {
			return nil, err
		}
		r.executing = time.Now()
		r.spans.enter(stageExecute)
		return stmt.Query(r.ctx, req.Params, req.Named)
	}
	if err := r.begin(); err != nil {
		return err
	}
	if r.columns = r.stream.Columns(); st != nil && st.columns != nil && !slices.Equal(r.columns, st.columns) {
		return fault.New(fault.ResultChanged, "prepare it again", "the statement's columns have changed since it was prepared")
	}
	return nil
}

// ready finds the session where the statement is to run, the prepared one's own if it is free, and decides whether it may.
func (r *Result) ready(set store.Settings, st *Statement, sql string) (gated access.Statement, err error) {
	c := r.core
	if st != nil {
		if gated, err = c.access.Again(r.who, st.gated); err != nil {
			return gated, err
		}
		if !gated.SameViews(st.gated) {
			return gated, fault.New(fault.ResultChanged, "prepare it again", "what role %q sees of the tables has changed", r.who.Role)
		}
		if !st.busy {
			st.busy, r.prepared, r.session = true, st, st.session
			return gated, nil
		}
	}
	if r.session, err = c.connect(r.ctx, set); err != nil || st != nil {
		return gated, err
	}
	return c.access.Gate(r.ctx, r.who, sql, r.session)
}

// transact begins the transaction in which the statement is planned and runs. DuckDB plans with what it knows of the values in the
// tables: what was planned before a commit can leave out the rows that came with it.
func (r *Result) transact() error {
	if r.within { // a failed execution has spoilt it
		if err := r.session.Rollback(); err != nil {
			return err
		}
	}
	r.within = true
	return r.session.Begin(r.ctx)
}

// plan prepares the statement, for the prepared one too.
func (r *Result) plan(gated access.Statement) (*store.Stmt, error) {
	if r.prepared == nil {
		return planOn(r.ctx, r.session, r.who, gated)
	}
	err := r.prepared.plan(r.ctx)
	return r.prepared.stmt, err
}

// planOn prepares a gated statement on a connection, where p's claims and what stands there for tables are known then.
func planOn(ctx context.Context, se *store.Session, p access.Principal, gated access.Statement) (*store.Stmt, error) {
	if gated.Audience != "" {
		if err := se.SetVariable(ctx, access.ClaimsVariable, p.Claims); err != nil {
			return nil, err
		}
		if err := gated.CreateViews(ctx, p, se); err != nil {
			return nil, err
		}
	}
	return se.Prepare(ctx, gated.SQL)
}

func (c *Core) connect(ctx context.Context, set store.Settings) (*store.Session, error) {
	se, err := c.store.Session(ctx)
	if err != nil {
		return nil, err
	}
	if err := se.Set(ctx, set); err != nil {
		se.Close()
		return nil, err
	}
	return se, nil
}

// attemptsMax bounds how often a statement is executed to learn why it fails.
const attemptsMax = 4

// begin executes the statement. When one of DuckDB's threads fails, it interrupts the others, and now and then one of
// those reports first: what is then seen is an interrupt that nobody asked for, and the reason is lost. As long as no
// row was handed out, executing it again finds the reason.
func (r *Result) begin() error {
	for {
		if r.stream != nil {
			r.stream.Close()
		}
		r.attempts++
		var err error
		if r.stream, err = r.execute(); !r.again(err) {
			if err == nil {
				r.flowing = time.Now()
				r.spans.enter(stageStream)
			}
			return err
		}
	}
}

func (r *Result) again(err error) bool {
	return r.reasonLost(err) && r.rows.Load() == 0 && r.attempts < attemptsMax
}

func (r *Result) reasonLost(err error) bool {
	return fault.CodeOf(err) == fault.Cancelled && r.ctx.Err() == nil
}

func (r *Result) cancelAfter(d time.Duration, cause error) *time.Timer {
	t := time.AfterFunc(d, func() { r.cancel(cause) })
	r.timers = append(r.timers, t)
	return t
}

// reason prefers why the statement was stopped to what DuckDB says about being stopped.
func (r *Result) reason(err error) error {
	if err == nil {
		return nil
	}
	if r.reasonLost(err) {
		return fault.New(fault.InvalidSQL, "run it again: DuckDB did not keep the reason", "the statement failed while it ran")
	}
	if r.ctx.Err() == nil {
		return err
	}
	cause := context.Cause(r.ctx)
	if errors.Is(cause, context.Canceled) {
		return fault.New(fault.Cancelled, "", "the statement was cancelled: %w", cause)
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		return fault.New(fault.Limit, "", "the statement ran into its deadline: %w", cause)
	}
	return cause
}

// ID names the statement in lists and logs.
func (r *Result) ID() string { return r.id }

// Columns of the result.
func (r *Result) Columns() []store.ResultColumn { return r.columns }

// Datasets that the statement reads, sorted.
func (r *Result) Datasets() []string { return r.datasets }

// Positions says how far in their sources' logs the replicas are that the statement reads, by dataset. One that has no position,
// because it is copied for the first time, is left out.
func (r *Result) Positions() map[string]Position { return r.positions }

// Truncated says, once Next has returned no chunk, that the row limit cut rows off.
func (r *Result) Truncated() bool { return r.truncated }

// Rows handed out so far.
func (r *Result) Rows() int64 { return r.rows.Load() }

// Elapsed is the time since the statement arrived.
func (r *Result) Elapsed() time.Duration { return time.Since(r.arrived) }

// Next gives the next rows: the first n of chunk, which is valid until the next call. A nil chunk is the end.
func (r *Result) Next() (chunk *store.ResultChunk, n int, err error) {
	if r.err == nil {
		r.err = r.resume()
	}
	for !r.ended && r.err == nil {
		began := time.Now()
		chunk, err := r.stream.Next()
		r.fetched += time.Since(began)
		switch {
		case r.again(err):
			if err := r.begin(); err != nil {
				r.err = r.reason(err)
			}
		case err != nil:
			r.err = r.reason(err)
		case chunk == nil:
			r.ended = true
		case chunk.Len() == 0:
		default:
			have := r.rows.Load()
			n := chunk.Len()
			if r.rowsMax > 0 && have+int64(n) > r.rowsMax {
				n = int(r.rowsMax - have)
				r.truncated, r.ended = true, true
			}
			if n > 0 {
				r.rows.Add(int64(n))
				r.spans.firstRows()
				return chunk, n, nil
			}
		}
	}
	return nil, 0, r.err
}

// Sent counts bytes of the answer, as the protocol encodes it, against the role's limit: fault.Limit beyond it.
func (r *Result) Sent(n int) error {
	total := r.bytes.Add(int64(n))
	if r.limits.ResultBytes > 0 && total > r.limits.ResultBytes && r.err == nil {
		r.err = fault.New(fault.Limit, "ask for fewer rows or columns", "the answer has more bytes than role %q may have: %d", r.who.Role, r.limits.ResultBytes)
		r.cancel(r.err)
	}
	return r.err
}

// Close ends the statement, which need not have given all its rows, and frees its slot. It may be called twice.
func (r *Result) Close() {
	if r.closed {
		return
	}
	r.closed = true
	for _, t := range r.timers {
		t.Stop()
	}
	if r.stream != nil {
		r.stream.Close()
		if r.slow() {
			r.operators = r.session.Profile(operatorsTold)
		}
	}
	switch {
	case r.prepared != nil:
		r.prepared.free(r.within)
	case r.session != nil:
		r.session.Close()
	}
	r.cancel(nil) // only now: it would interrupt what has ended anyway
	c := r.core
	if r.admitted && !r.paused {
		c.admission.release(r.who.Role)
	}
	c.mu.Lock()
	delete(c.open, r.id)
	c.mu.Unlock()
	r.report()
}

// Running is a statement that waits or runs.
type Running struct {
	ID, User, Role, SQL string
	Door, Remote        string
	Waiting             bool
	Since, Started      time.Time // its arrival, and the end of its waiting: zero while it waits
	Rows, Bytes         int64     // handed out so far
}

// List is what waits and runs, oldest first.
func (c *Core) List() []Running {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Running, 0, len(c.open))
	for _, r := range c.open {
		s := Running{ID: r.id, User: r.who.User, Role: r.who.Role, SQL: shorten(r.sql), Door: r.door, Remote: r.remote, Waiting: true,
			Since: r.arrived, Rows: r.rows.Load(), Bytes: r.bytes.Load()}
		if at := r.started.Load(); at != 0 {
			s.Waiting, s.Started = false, time.Unix(0, at)
		}
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// relieve cancels the reader that has run longest, as memory is short for a sync: DuckDB does not tell how much each one takes. It
// says whether there was one.
func (c *Core) relieve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var oldest *Result
	for _, r := range c.open {
		if at := r.started.Load(); at != 0 && r.ctx.Err() == nil && (oldest == nil || at < oldest.started.Load()) {
			oldest = r
		}
	}
	if oldest == nil {
		return false
	}
	oldest.cancel(fault.New(fault.Unavailable, "try again later, or ask for less; duckdb.memory_limit and temp_limit say how much there is", "the statement was cancelled: a sync needs the memory"))
	c.log.LogAttrs(oldest.ctx, slog.LevelWarn, "a reader was cancelled: memory is short for a sync", oldest.attrs()...)
	return true
}

// Kill interrupts the statement; by is named to its reader. fault.NotFound when it has ended already.
func (c *Core) Kill(id, by string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.open[id]
	if r == nil {
		return fault.New(fault.NotFound, "it may have ended; list what runs", "there is no statement %q under way", id)
	}
	r.cancel(fault.New(fault.Cancelled, "", "the statement was killed by %s", by))
	return nil
}
