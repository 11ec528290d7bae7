package flightsql

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/store"
)

const (
	planLife     = 10 * time.Minute // of a query between GetFlightInfo and DoGet, from its last use on
	preparedLife = time.Hour        // of a prepared statement, the same

	handlesMax     = 20_000
	handlesUserMax = 2_000
)

// kind of a handle; it is the first letter of its id.
type kind byte

const (
	kindPlan        kind = 'q' // a planned query: its ticket
	kindPrepared    kind = 'p' // a prepared statement
	kindBound       kind = 'b' // a prepared statement with parameters
	kindTransaction kind = 't'
)

var kindNames = map[kind]string{kindPlan: "query", kindPrepared: "prepared statement", kindBound: "prepared statement", kindTransaction: "transaction"}

// handle is what a client holds between two calls.
type handle struct {
	id     string
	kind   kind
	who    access.Principal
	until  time.Time
	life   time.Duration
	keep   bool       // when it was read to its end
	st     *statement // nil: a transaction
	rows   [][]any    // parameters, for each of which the statement runs; nil: it runs once, without
	bound  []*handle  // of a prepared statement: those with parameters, the last one last
	parent *handle    // of one with parameters: the prepared statement

	running map[int]context.CancelCauseFunc
	next    int
	idle    chan struct{} // closed when nothing is running; nil when nothing was
}

// handles are those of all clients.
type handles struct {
	mu     sync.Mutex
	all    map[string]*handle
	byUser map[string]int
	now    func() time.Time
}

func newHandles() *handles {
	return &handles{all: map[string]*handle{}, byUser: map[string]int{}, now: time.Now}
}

func (h *handles) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

func (h *handles) add(who access.Principal, k kind, life time.Duration, st *statement, rows [][]any) (*handle, error) {
	id := make([]byte, 16)
	rand.Read(id) // never fails
	e := &handle{id: string(k) + hex.EncodeToString(id), kind: k, who: who, life: life, st: st, rows: rows, running: map[int]context.CancelCauseFunc{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) >= handlesMax || h.byUser[who.User] >= handlesUserMax {
		return nil, fault.New(fault.Limit, "close prepared statements, and read what was planned; unused ones end by themselves",
			"there are too many open statements: at most %d for a user, %d for all", handlesUserMax, handlesMax)
	}
	e.until = h.now().Add(life)
	h.all[e.id] = e
	h.byUser[who.User]++
	return e, nil
}

// get finds a handle of who, and lets it live on. Those of others are not told from those that do not exist.
func (h *handles) get(who access.Principal, id []byte, kinds ...kind) (*handle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.all[string(id)]
	if e != nil && e.who == who && e.until.After(h.now()) {
		for _, k := range kinds {
			if e.kind == k {
				for ; e != nil; e = e.parent {
					e.until = h.now().Add(e.life)
				}
				return h.all[string(id)], nil
			}
		}
	}
	what := kindNames[kinds[0]]
	return nil, fault.New(fault.NotFound, "begin again: after some time without use they end", "there is no such %s, or it has ended", what)
}

// drop ends a handle. What runs of it goes on.
func (h *handles) drop(e *handle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropLocked(e)
}

func (h *handles) dropLocked(e *handle) {
	if h.all[e.id] != e {
		return
	}
	delete(h.all, e.id)
	if h.byUser[e.who.User]--; h.byUser[e.who.User] == 0 {
		delete(h.byUser, e.who.User)
	}
	for _, b := range e.bound {
		h.dropLocked(b)
	}
}

// bind adds a handle with parameters to a prepared one. The last few stay, since clients may keep their first handle and forget the
// ones that they were given.
func (h *handles) bind(parent *handle, rows [][]any) (*handle, error) {
	b, err := h.add(parent.who, kindBound, preparedLife, parent.st, rows)
	if err != nil {
		return nil, err
	}
	const kept = 8
	h.mu.Lock()
	defer h.mu.Unlock()
	b.parent = parent
	parent.bound = append(parent.bound, b)
	if len(parent.bound) > kept {
		h.dropLocked(parent.bound[0])
		parent.bound = parent.bound[1:]
	}
	return b, nil
}

// latest is e, or what was bound to it last: clients may keep their first handle.
func (h *handles) latest(e *handle) *handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(e.bound); n > 0 {
		return e.bound[n-1]
	}
	return e
}

// renew lets e live on, and keeps it when it has been read. It returns until when.
func (h *handles) renew(e *handle) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.keep, e.until = true, h.now().Add(e.life)
	return e.until
}

// read says that a planned query was read to its end: it ends, unless it was renewed.
func (h *handles) read(e *handle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.kind == kindPlan && !e.keep {
		h.dropLocked(e)
	}
}

// run makes a context for running e, which cancel ends; done must be called.
func (h *handles) run(ctx context.Context, e *handle) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	n := e.next
	e.next++
	e.running[n] = cancel
	if e.idle == nil {
		e.idle = make(chan struct{})
	}
	return ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(e.running, n)
		if len(e.running) == 0 {
			close(e.idle)
			e.idle = nil
		}
		e.until = h.now().Add(e.life)
		cancel(nil)
	}
}

// cancel interrupts what runs of e; a planned query ends. idle is closed when all has ended; nil when nothing ran.
func (h *handles) cancel(e *handle, cause error) (idle <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range e.running {
		c(cause)
	}
	idle = e.idle
	if e.kind == kindPlan {
		h.dropLocked(e)
	}
	return idle
}

func (h *handles) sweep(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.all {
		if len(e.running) == 0 && !e.until.After(now) {
			h.dropLocked(e)
		}
	}
}

func (h *handles) closeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.all {
		h.dropLocked(e)
	}
}

// doorName is this door's in the query log.
const doorName = "flight"

// statement is a SELECT that was let through the gate, with what it needs and gives. It is prepared again for each run, so that the many
// handles of clients hold no connection.
type statement struct {
	session *query.Session
	sql     string
	schema  *arrow.Schema // nil: known only with parameters
	params  []store.Param
}

// prepare makes a statement. Its errors are the gate's and DuckDB's.
func prepare(ctx context.Context, core *query.Core, who access.Principal, set store.Settings, sql string) (*statement, error) {
	if strings.TrimSpace(sql) == "" {
		return nil, fault.New(fault.InvalidSQL, "send one SELECT", "the statement is empty")
	}
	se := core.Session(doorName, who, set)
	p, err := se.Prepare(ctx, sql)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return &statement{session: se, sql: sql, schema: p.ArrowSchema(), params: p.Params()}, nil
}

// run executes it. fault.ResultChanged when its columns are not those that were announced.
func (st *statement) run(ctx context.Context, params []any) (*query.Result, error) {
	res, err := st.session.Run(ctx, query.Request{SQL: st.sql, Params: params})
	if err != nil {
		return nil, err
	}
	if st.schema != nil && !st.schema.Equal(res.ArrowSchema()) {
		res.Close()
		return nil, fault.New(fault.ResultChanged, "prepare it again", "the statement's columns have changed since it was prepared")
	}
	return res, nil
}

// errKilled is why a query ends that its client cancelled.
var errKilled = fault.New(fault.Cancelled, "", "the query was cancelled by its client: %w", errors.New("CancelFlightInfo"))
