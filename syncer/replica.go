package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/step"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// replica follows the tables of one dataset of mode: cdc. One goroutine runs it: it copies the tables under the snapshot of a
// replication slot, then applies the slot's stream, batch by batch, each in one transaction with the position that it leads
// to. Tables that have to be copied anew are copied beside it (addition) and join in at a moment at which both stand at the
// same position.
type replica struct {
	s    *Syncer
	d    *config.Dataset
	src  source.Replicator
	log  *slog.Logger
	stop context.CancelCauseFunc
	over chan struct{} // closed when its goroutine has ended

	// Of its goroutine.
	claim     claim
	saved     change.Position // as the file has it
	savedAt   time.Time
	apply     applier             // the tables that are followed
	stream    source.Stream       // changed under mu
	adding    *addition           // under way
	wait      backoff.BackOff     // between additions that failed
	addAt     time.Time           // not before
	suspected map[uint32]suspect  // by OID
	opened    bool                // the session has opened the stream
	worked    bool                // and committed what came
	looked    time.Time           // when the source's tables were listed
	causes    map[string][]string // target → the contradictions that a new copy has not mended, or was to
	texts     map[string]bool     // targets that get change.TextColumn with their next copy
	meter     meter

	mu         sync.Mutex
	at         change.Position         // the copy's, which may be ahead of the saved one where nothing was to be applied
	asOf       time.Time               // the source's clock at it
	moved      chan struct{}           // closed with the next move of any of these
	tables     map[string]*tableHealth // by target
	needs      map[string]string       // target → why it is to be copied
	prompted   map[string]bool         // targets of which somebody has asked for a copy
	urgent     bool                    // somebody waits for copies, in quiet hours too
	quietUntil time.Time               // copies wait until then; zero is that they do not
	anew       string                  // why everything is to be copied under a new slot
	startsOver bool                    // the session knows of anew
	failedAt   time.Time               // when it was logged
	failure    error                   // of the last session; nil while one goes well
	addFailure error                   // of the last addition; nil once one went well
	mail       []func(context.Context) error
	doubts     int    // how many tables are suspected
	looks      int    // how often the source's tables were listed
	ring       func() // interrupts the wait for the next batch
	lead       *active
	copying    *active
	claimed    claim
	slot       source.SlotState // as the source said at slotAt
	slotAt     time.Time
	skew       time.Duration // by which the source's clock is ahead of ours, as far as that is known
	snapshotAt time.Time     // when a copy under way took its snapshot
	pinned     chan *pin     // gets the copy's state at the cut of this number
	pinnedAt   uint64
}

// tableHealth is what is told of a table.
type tableHealth struct {
	table  string // its name in the source
	rows   int64
	state  string // copying | following | error
	err    error
	lost   string // why it was not followed any further, until it is copied
	counts changeCounts
}

type changeCounts struct{ inserts, updates, deletes, truncates int64 }

// States of a table that is followed.
const (
	tableCopying   = "copying"
	tableWaiting   = "waiting" // as status calls one that is to be copied once quiet hours are over
	tableFollowing = "following"
	tableError     = "error"
)

func newReplica(s *Syncer, d *config.Dataset, src source.Replicator) *replica {
	r := &replica{s: s, d: d, src: src, log: s.log.With("dataset", d.Name), over: make(chan struct{}), moved: make(chan struct{}),
		tables: map[string]*tableHealth{}, needs: map[string]string{}, prompted: map[string]bool{}, causes: map[string][]string{}, texts: map[string]bool{}, apply: applier{store: s.store, pressed: map[string]int{}}}
	r.apply.reshape, r.apply.texts = r.reshape, d.OutOfRange == "text"
	r.wait = newBackoff()
	return r
}

func newBackoff() *backoff.ExponentialBackOff {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 250*time.Millisecond, 15*time.Second
	return wait
}

// permanentPause is how long a failure that a person has to mend is left alone.
const permanentPause = 15 * time.Second

// run follows until ctx ends.
func (r *replica) run(ctx context.Context) {
	defer close(r.over)
	wait := newBackoff()
	for {
		err := r.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if r.worked || errors.Is(err, ErrQuiet) {
			wait.Reset()
		}
		if errors.Is(err, ErrQuiet) {
			if err := r.sleepOut(ctx); err != nil {
				return
			}
			continue
		}
		pause := wait.NextBackOff()
		switch code := fault.CodeOf(err); {
		case code == fault.SlotLost && r.mendsItself(err):
			continue
		case code == fault.Config, code == fault.SlotLost, code == fault.SourcePrivilege:
			pause = permanentPause
		}
		// Without a stream what was asked for is quickly done, and must not end the pause again and again.
		if err := r.answer(ctx); err != nil {
			r.log.Warn("what was asked for was not done", "error", err)
		}
		r.fail(err, pause) //nolint:contextcheck // It only logs.
		if err := r.rest(ctx, pause); err != nil {
			return
		}
	}
}

// mendsItself says whether the next session copies everything, because of this failure or because it was asked for while the
// session that has failed did not know it yet.
func (r *replica) mendsItself(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.anew != "" {
		return !r.startsOver
	}
	if !r.opened || r.d.CDC.OnLostSlot == "stop" {
		return false
	}
	r.anew = err.Error()
	return true
}

// rest waits, or until somebody asks for something.
func (r *replica) rest(ctx context.Context, pause time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	woken := false
	r.ring = func() { woken = true; cancel() }
	if len(r.mail) > 0 {
		r.ring()
	}
	r.mu.Unlock()
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring = nil
	if woken {
		return nil
	}
	return ctx.Err()
}

// repeatAfter is when a failure that goes on is logged again.
const repeatAfter = time.Minute

func (r *replica) fail(err error, pause time.Duration) {
	r.mu.Lock()
	again := r.failure != nil && r.failure.Error() == err.Error() && time.Since(r.failedAt) < repeatAfter
	if !again {
		r.failedAt = time.Now()
	}
	r.failure = err
	r.signal()
	r.mu.Unlock()
	level := slog.LevelError
	if again {
		level = slog.LevelDebug
	} else if fault.Transient(err) {
		level = slog.LevelWarn
	}
	r.log.Log(context.Background(), level, "replication stopped; it will be taken up again", "error", err, "code", fault.CodeOf(err), "hint", fault.HintOf(err), "after", pause.Round(time.Millisecond))
}

// signal tells all who wait that something has moved. r.mu is held.
func (r *replica) signal() {
	close(r.moved)
	r.moved = make(chan struct{})
}

// ask has f called by the replica's goroutine, between two transactions.
func (r *replica) ask(f func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mail = append(r.mail, f)
	if r.ring != nil {
		r.ring()
	}
}

// answer calls what was asked for.
func (r *replica) answer(ctx context.Context) error {
	for {
		r.mu.Lock()
		if len(r.mail) == 0 {
			r.mu.Unlock()
			return nil
		}
		f := r.mail[0]
		r.mail = slices.Delete(r.mail, 0, 1)
		r.mu.Unlock()
		if err := f(ctx); err != nil {
			return err
		}
	}
}

// session goes on from where the file stands until something fails.
func (r *replica) session(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() { r.leave(err) }() //nolint:contextcheck // What a session holds is let go after its context has ended.
	defer cancel()
	r.opened, r.worked = false, false
	r.mu.Lock()
	r.startsOver = false
	r.mu.Unlock()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(ctx) })
	defer watching.Wait()
	defer cancel()
	for {
		if !r.apply.inside {
			if err := r.answer(ctx); err != nil {
				return err
			}
		}
		if why := r.startOver(); why != "" {
			return fault.New(fault.Unavailable, "", "%s: everything is copied anew", why)
		}
		if err := r.add(ctx); err != nil {
			return err
		}
		b, err := r.next(ctx)
		if err != nil {
			return err
		}
		if b == nil {
			continue
		}
		if err := r.batch(ctx, b); err != nil {
			return err
		}
	}
}

// startOver says whether everything is to be copied.
func (r *replica) startOver() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.anew
}

// leave ends what a session holds.
func (r *replica) leave(why error) {
	if r.adding != nil {
		if errors.Is(why, context.Canceled) {
			why = errStopping
		}
		r.adding.finish(why)
	}
	r.apply.drop(context.Background())
	r.meter = meter{}
	r.mu.Lock()
	st := r.stream
	if r.pinned != nil {
		close(r.pinned)
	}
	r.stream, r.pinned = nil, nil
	r.signal()
	r.mu.Unlock()
	if st != nil {
		_ = st.Close() // what was applied is saved; the server learns it with the next session
	}
}

// next waits for a batch; nil when there is something else to do.
func (r *replica) next(ctx context.Context) (*change.Batch, error) {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	if len(r.mail) > 0 && !r.apply.inside {
		r.mu.Unlock()
		return nil, nil
	}
	if !r.apply.inside {
		r.ring = cancel
	}
	quiet := r.quietUntil
	r.mu.Unlock()
	if until := time.Until(r.addAt); until > 0 && r.adding == nil && r.needy() {
		defer time.AfterFunc(until, cancel).Stop()
	}
	if until := time.Until(quiet); until > 0 && r.adding == nil {
		defer time.AfterFunc(min(until, quietLook), cancel).Stop()
	}
	b, err := r.stream.Next(wait)
	r.mu.Lock()
	r.ring = nil
	r.mu.Unlock()
	if err != nil && wait.Err() != nil && ctx.Err() == nil {
		return nil, nil
	}
	return b, err
}

// positionEvery is how often the position is saved while nothing has to be applied.
const positionEvery = 10 * time.Second

// batch applies a batch, and saves how far it leads.
func (r *replica) batch(ctx context.Context, b *change.Batch) error {
	r.meter.staging(b)
	if err := r.apply.stage(ctx, r.stream, b); err != nil {
		return err
	}
	if b.More {
		return nil
	}
	step.Reached(step.BatchStaged)
	idle := !r.apply.some()
	if idle && len(r.apply.lost) == 0 && b.Cut == 0 && time.Since(r.savedAt) < positionEvery {
		r.advance(b, nil)
		return nil
	}
	begin := time.Now()
	done, err := r.apply.commit(ctx, func(tx *store.Tx, done []applied) error {
		for _, s := range r.apply.shapes {
			if err := tx.SaveTable(r.newState(s.part, s.to, b.Position)); err != nil {
				return err
			}
		}
		for _, a := range done {
			if err := tx.Progress(a.table.target, a.table.rows+a.inserted-a.deleted, a.inserted+a.updated+a.deleted, nil, b.AsOf); err != nil {
				return err
			}
		}
		// Beyond this position these are not the source's any more.
		var lost []string
		for _, l := range r.apply.lost {
			lost = append(lost, l.target)
		}
		if err := unmark(tx, lost); err != nil {
			return err
		}
		step.Reached(step.BatchApplied)
		return tx.SavePosition(r.d.Name, b.Position)
	})
	if err != nil {
		return fault.Wrap(err, "apply changes up to %s", b.Position.LSN)
	}
	step.Reached(step.BatchCommitted)
	r.saved, r.savedAt, r.worked = b.Position, time.Now(), true
	if b.Cut != 0 {
		if err := r.pin(ctx, b.Cut, b.Position.LSN); err != nil {
			return err
		}
	}
	r.advance(b, done)
	r.measured(done)
	r.stream.Ack(b.Position.LSN)
	step.Reached(step.Acked)
	if !idle {
		r.pace(time.Since(begin))
	}
	return r.lost(ctx, r.apply.takeLost())
}

// The time that changes are gathered, where the configuration does not say: as long as they take to be applied, so that a
// copy that falls behind gathers more at once.
const (
	batchTimeMin = 50 * time.Millisecond
	batchTimeMax = 500 * time.Millisecond
	// A copy that is far behind gathers as much as a batch may have: what it costs to find the rows is spread over more of them.
	behindBytes     = 64 << 20 // of the source's log
	batchTimeBehind = time.Second
)

func (r *replica) pace(took time.Duration) {
	if r.d.CDC.Batch.Time != 0 {
		return
	}
	wait := min(max(took, batchTimeMin), batchTimeMax)
	r.mu.Lock()
	if r.slot.Current > r.at.LSN+behindBytes {
		wait = batchTimeBehind
	}
	r.mu.Unlock()
	r.stream.SetBatchTime(wait)
}

// advance notes how far the copy is.
func (r *replica) advance(b *change.Batch, done []applied) {
	if !b.AsOf.IsZero() {
		r.s.heldAsOf(r.d.Name, b.AsOf)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.asOf, r.failure = b.Position, b.AsOf, nil
	for _, a := range done {
		a.table.rows += a.inserted - a.deleted
		if h := r.tables[a.table.target]; h != nil {
			h.rows = a.table.rows
			h.counts.add(&a.counts)
		}
	}
	r.signal()
}

func (c *changeCounts) add(o *changeCounts) {
	c.inserts += o.inserts
	c.updates += o.updates
	c.deletes += o.deletes
	c.truncates += o.truncates
}

// lost has tables copied anew, or sets them aside where a new copy has not mended the same before.
func (r *replica) lost(ctx context.Context, lost []lostTable) error {
	for _, l := range lost {
		if l.texts {
			r.texts[l.target] = true
		}
		if l.err != nil && (!l.mend || slices.Contains(r.causes[l.target], l.why)) {
			if err := r.setAside(ctx, l.target, l.err); err != nil {
				return err
			}
			continue
		}
		if l.err != nil {
			r.causes[l.target] = append(r.causes[l.target], l.why)
		}
		r.need(l.target, l.why)
	}
	return nil
}

// need has a table copied anew.
func (r *replica) need(target, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.needs[target] == "" {
		r.log.Info("a table is to be copied", "table", target, "reason", why)
	}
	r.needs[target] = why
	if h := r.tables[target]; h != nil {
		h.state, h.err, h.lost = tableCopying, nil, why
	}
	r.signal()
}

func (r *replica) needy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.needs) > 0
}

// pin hands the copy's present state to who waits for the cut.
func (r *replica) pin(ctx context.Context, cut uint64, at change.LSN) error {
	r.mu.Lock()
	to := r.pinned
	if r.pinnedAt != cut {
		to = nil // of a cut that was given up
	}
	if to != nil {
		r.pinned = nil
	}
	r.mu.Unlock()
	if to == nil {
		return nil
	}
	p, err := r.s.store.Pin(ctx)
	if err != nil {
		close(to)
		return err
	}
	tables := make([]followed, 0, len(r.apply.tables))
	for _, f := range r.apply.tables {
		tables = append(tables, *f)
	}
	slices.SortFunc(tables, func(a, b followed) int { return strings.Compare(a.target, b.target) })
	to <- &pin{Pinned: p, at: at, tables: tables}
	return nil
}

// mark is what is kept with a table beside its shape; a table without one is to be copied.
type mark struct {
	OID   uint32     `json:"oid"`
	After change.LSN `json:"after"` // of the snapshot that it was copied at
	Form  string     `json:"form"`  // source.ReplicaTable's, as are Files
	Files string     `json:"files"`
}

// unmark takes tables' marks away: whoever opens the file next has them copied.
func unmark(tx *store.Tx, targets []string) error {
	for _, t := range targets {
		if err := tx.SetWatermark(t, nil); err != nil && fault.CodeOf(err) != fault.NotFound {
			return err
		}
	}
	return nil
}

func readMark(b json.RawMessage) (m mark, ok bool) {
	return m, len(b) > 0 && json.Unmarshal(b, &m) == nil && m.OID != 0
}
