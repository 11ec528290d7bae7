package syncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/step"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// handOver makes the slot and copies all tables under its snapshot. Each is readable as soon as it is copied, and stays so
// should the rest fail: what is missing then is added later.
func (r *replica) handOver(ctx context.Context, all []candidate, why string) (err error) {
	a, end, err := r.beginCopy(ctx, why)
	if err != nil {
		return err
	}
	defer func() { end(err) }()
	ctx = a.within(ctx)
	// From here on nothing of before counts: neither position nor tables fit the new slot.
	targets := make([]string, len(all))
	for i := range all {
		targets[i] = all[i].target
	}
	if err := r.s.store.Commit(ctx, func(tx *store.Tx) error {
		if err := unmark(tx, targets); err != nil {
			return err
		}
		return tx.DeletePosition(r.d.Name)
	}); err != nil {
		return err
	}
	// From here on it is a first copy: should it fail, the tables that are finished stay.
	r.mu.Lock()
	r.anew = ""
	r.mu.Unlock()
	if err := r.src.DropSlot(ctx, r.claim.Slot); err != nil {
		return err
	}
	slot, err := r.src.CreateSlot(ctx, r.claim.Slot, false)
	if err != nil {
		return err
	}
	defer slot.Close(context.WithoutCancel(ctx))
	step.Reached(step.SlotMade)
	snap, err := slot.Snapshot(ctx, source.SnapshotOptions{StatementTimeout: r.d.QueryTimeout})
	if err != nil {
		return err
	}
	defer func() { _ = snap.Close() }()
	defer r.holding()()
	at := change.Position{LSN: slot.Point(), CommittedAt: snap.Now(), System: slot.Server().System, Timeline: slot.Server().Timeline}
	began(all, at)
	var mu sync.Mutex
	var tables []*followed
	if err := r.copy(ctx, snap, all, a, func(c *candidate, p *part) error {
		defer func() { r.s.store.Discard(context.WithoutCancel(ctx), p.staged) }()
		f := p.followed(c)
		last, err := r.past(ctx, f, p, c.by)
		if err != nil {
			return err
		}
		mu.Lock()
		at.CommittedAt = laterOf(at.CommittedAt, last)
		at := at
		mu.Unlock()
		err = r.s.store.Commit(ctx, func(tx *store.Tx) error {
			if err := f.swap(tx, p.staged); err != nil {
				return err
			}
			if err := tx.SaveTable(r.newState(p, f, at)); err != nil {
				return err
			}
			if err := tx.Unquarantine(r.d.Name, f.target); err != nil {
				return err
			}
			return tx.SavePosition(r.d.Name, at)
		})
		if err != nil {
			return err
		}
		step.Reached(step.TableCopied)
		mu.Lock()
		defer mu.Unlock()
		tables = append(tables, f)
		r.s.note(a, func(run *store.Run) { run.RowsWritten += f.rows })
		return nil
	}); err != nil {
		return err
	}
	r.saved = at
	for _, f := range tables {
		r.follows(f)
	}
	r.mu.Lock()
	r.at, r.asOf = at, snap.Now()
	r.mu.Unlock()
	r.s.heldAsOf(r.d.Name, snap.Now())
	return nil
}

func (p *part) followed(c *candidate) *followed {
	return &followed{table: c.table, target: c.target, key: p.key, desc: p.desc, cols: p.columns(), left: c.left, definition: c.definition, keep: c.keep, rows: p.staged.Rows}
}

// newState is the state of a table that stands at a position.
func (r *replica) newState(p *part, f *followed, at change.Position) store.TableState {
	t := p.newState(r.d.Name, time.Now().UTC(), at.CommittedAt)
	t.Rows, t.Watermark = f.rows, toJSON(mark{OID: f.table.OID, After: at.LSN, Form: f.table.Form, Files: f.table.Files})
	t.Definition = f.definition
	return t
}

// copy reads tables at a snapshot into staging tables, some at once, and hands each to done. A table that cannot be copied is
// set aside, and the others go on.
func (r *replica) copy(ctx context.Context, snap source.Snapshot, all []candidate, a *active, done func(*candidate, *part) error) error {
	if err := r.s.store.Commit(ctx, func(tx *store.Tx) error {
		for i := range all {
			if schema, _, ok := strings.Cut(all[i].target, "."); ok {
				if err := tx.MakeSchema(schema); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	all = slices.Clone(all)
	parts := make([]*part, len(all))
	var err error
	for i := range all {
		p := newPart(all[i].cfg, all[i].state)
		p.full, p.keep, p.by = true, all[i].keep, all[i].by
		if p.desc, err = snap.Describe(ctx, p.query); err != nil {
			return fault.Wrap(err, "table %s", all[i].target)
		}
		parts[i] = p
	}
	// The snapshot does not see what a rewriting ALTER TABLE has left of a table that it came before.
	var rewritten *source.RewrittenError
	if err := snap.Seal(ctx); errors.As(err, &rewritten) && !rewritten.Tables[0] {
		before := len(all)
		for i := len(all) - 1; i >= 0; i-- {
			if rewritten.Tables[all[i].table.OID] {
				r.need(all[i].target, "it was rewritten while it was to be copied")
				all, parts = slices.Delete(all, i, i+1), slices.Delete(parts, i, i+1)
			}
		}
		if len(all) == 0 || len(all) == before {
			return err
		}
		r.log.Info("tables are left for the next copy", "reason", rewritten)
	} else if err != nil {
		return err
	}
	r.s.note(a, func(*store.Run) {
		for _, p := range parts {
			a.guess += p.desc.RowsGuess
		}
	})
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return int(min(max(parts[y].desc.RowsGuess-parts[x].desc.RowsGuess, -1), 1)) })
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(partsAtOnce)
	for _, i := range order {
		g.Go(func() error {
			c, p := &all[i], parts[i]
			err := p.require()
			if err == nil {
				err = r.s.stage(gctx, snap, a, p)
			}
			if err == nil && p.outOfRange != nil && r.d.OutOfRange == "text" && !p.query.Text {
				err = r.copyTexts(gctx, snap, a, p)
			}
			if err == nil && p.outOfRange != nil {
				err = fault.New(fault.OutOfRange, "leave the column out in table_options, or mend the value", "%w", p.outOfRange)
			}
			switch fault.CodeOf(err) {
			case "":
				return fault.Wrap(done(c, p), "table %s", c.target)
			case fault.OutOfRange, fault.Config, fault.SchemaLost:
				return r.setAside(gctx, c.target, fault.Wrap(err, "table %s", c.target))
			}
			return fault.Wrap(err, "table %s", c.target)
		})
	}
	return g.Wait()
}

// copyTexts reads a table once more, with the text of the values that DuckDB cannot hold.
func (r *replica) copyTexts(ctx context.Context, snap source.Snapshot, a *active, p *part) (err error) {
	r.log.Info("a value does not fit its DuckDB type: the table is read again with the text of such values", "table", p.cfg.Target, "value", p.outOfRange)
	p.query.Text, p.outOfRange = true, nil
	if p.desc, err = snap.Describe(ctx, p.query); err != nil {
		return err
	}
	return r.s.stage(ctx, snap, a, p)
}

// setAside puts a table into quarantine: it stays as it is, until a person has it taken up again.
func (r *replica) setAside(ctx context.Context, target string, err error) error {
	r.log.Error("a table is set aside", "table", target, "error", err, "hint", fault.HintOf(err))
	r.mu.Lock()
	lsn := r.at.LSN
	if h := r.tables[target]; h != nil {
		h.state, h.err, h.lost = tableError, err, ""
	}
	delete(r.needs, target)
	delete(r.prompted, target)
	r.signal()
	r.mu.Unlock()
	return r.s.store.Commit(ctx, func(tx *store.Tx) error {
		if err := unmark(tx, []string{target}); err != nil {
			return err
		}
		if err := tx.Unquarantine(r.d.Name, target); err != nil {
			return err
		}
		return tx.Quarantine(store.Quarantined{Dataset: r.d.Name, Target: target, LSN: lsn, Reason: err.Error(), Code: string(fault.CodeOf(err)), At: time.Now().UTC()})
	})
}

// beginCopy records a run of the kind full, or takes the run that waits for this replica.
func (r *replica) beginCopy(ctx context.Context, why string) (*active, func(error), error) {
	r.mu.Lock()
	a := r.lead
	r.mu.Unlock()
	if a != nil {
		r.s.note(a, func(run *store.Run) { run.Kind, run.Reason = KindFull, why })
		return a, func(error) {}, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, nil, err
	}
	a = &active{run: store.Run{ID: id.String(), Dataset: r.d.Name, Kind: KindFull, State: StateRunning, Reason: why, StartedAt: time.Now().UTC()}, cancel: func(error) {}, done: make(chan struct{})}
	if err := r.s.store.SaveRun(ctx, a.run); err != nil {
		return nil, nil, err
	}
	r.s.traceRun(ctx, a)
	r.mu.Lock()
	r.copying = a
	r.mu.Unlock()
	return a, func(err error) {
		r.mu.Lock()
		r.copying = nil
		r.mu.Unlock()
		r.s.note(a, func(run *store.Run) { run.State, run.Progress = StateReady, 1 })
		_ = r.s.conclude(context.WithoutCancel(ctx), a, err, true)
		close(a.done)
	}, nil
}

// addition copies tables beside the stream: under the snapshot of a temporary slot into tables that nobody sees, then it
// brings those, by that slot's own stream, to where the replica stands.
type addition struct {
	r      *replica
	all    []candidate
	parts  map[uint32]*part
	stream source.Stream
	apply  applier
	at     change.LSN
	// committed is the time of the last transaction, or of the copy.
	committed time.Time
	server    source.Server
	ctx       context.Context
	cancel    context.CancelFunc
	over      chan struct{}
	end       func(error)
	spoiled   map[uint32]bool // OIDs of tables that have left the publication meanwhile
}

// surveyEvery is how often it is looked for tables that have come and gone.
const surveyEvery = 10 * time.Second

// add begins to copy the tables that need it, and looks now and then which do.
func (r *replica) add(ctx context.Context) error {
	if r.apply.inside {
		return nil
	}
	if err := r.judgeSuspects(ctx); err != nil {
		return err
	}
	if r.adding != nil && time.Since(r.looked) >= surveyEvery {
		_, err := r.look(ctx)
		return err
	}
	if r.adding != nil || time.Now().Before(r.addAt) {
		return nil
	}
	if (!r.needy() || r.allWait()) && time.Since(r.looked) < surveyEvery {
		return nil
	}
	all, err := r.look(ctx)
	if err != nil {
		return err
	}
	quiet := r.quiet()
	r.mu.Lock()
	needs := maps.Clone(r.needs)
	if quiet {
		maps.DeleteFunc(needs, func(target, _ string) bool { return !r.prompted[target] })
	}
	r.mu.Unlock()
	var chosen []candidate
	var reasons []string
	for _, c := range all {
		if why := needs[c.target]; why != "" {
			chosen = append(chosen, c)
			reasons = append(reasons, c.target+": "+why)
		}
	}
	if chosen == nil {
		return nil
	}
	slices.Sort(reasons)
	a, end, err := r.beginCopy(ctx, few(reasons))
	if err != nil {
		return err
	}
	ad := &addition{r: r, all: chosen, spoiled: map[uint32]bool{}, parts: map[uint32]*part{}, apply: applier{store: r.s.store, tables: map[uint32]*followed{}, pressed: map[string]int{}}, over: make(chan struct{}), end: end}
	ad.ctx, ad.cancel = context.WithCancel(a.within(ctx))
	r.adding = ad
	go ad.run(a) //nolint:contextcheck // It has the context of the session.
	return nil
}

// few joins the first of many texts.
func few(texts []string) string {
	const most = 5
	if len(texts) > most {
		return strings.Join(texts[:most], "; ") + fmt.Sprintf("; and %d more", len(texts)-most)
	}
	return strings.Join(texts, "; ")
}

func (ad *addition) run(a *active) {
	defer close(ad.over)
	err := ad.catchUp(a)
	ad.r.ask(func(ctx context.Context) error {
		if ad.r.adding != ad {
			return nil
		}
		if err == nil {
			err = ad.join(ctx)
		}
		ad.finish(err) //nolint:contextcheck // As with the session.
		if err != nil && ad.r.stream == nil {
			return err // it is to be opened again
		}
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		pause := ad.r.wait.NextBackOff()
		ad.r.addAt = time.Now().Add(pause)
		ad.r.log.Warn("tables could not be copied; it will be tried again", "error", err, "hint", fault.HintOf(err), "after", pause.Round(time.Millisecond))
		ad.r.mu.Lock()
		ad.r.addFailure = err
		ad.r.signal()
		ad.r.mu.Unlock()
		return nil
	})
}

// catchUp copies, and follows until it is about where the replica is.
func (ad *addition) catchUp(a *active) error {
	r, ctx := ad.r, ad.ctx
	slot, err := r.src.CreateSlot(ctx, r.claim.Slot+sideSlot, true)
	if err != nil {
		return err
	}
	closeSlot := func() { slot.Close(context.WithoutCancel(ctx)) }
	defer func() { closeSlot() }()
	ad.at, ad.server = slot.Point(), slot.Server()
	snap, err := slot.Snapshot(ctx, source.SnapshotOptions{StatementTimeout: r.d.QueryTimeout})
	if err != nil {
		return err
	}
	ad.committed = snap.Now()
	began(ad.all, change.Position{LSN: ad.at, CommittedAt: ad.committed})
	var mu sync.Mutex
	held := r.holding()
	err = r.copy(ctx, snap, ad.all, a, func(c *candidate, p *part) error {
		mu.Lock()
		defer mu.Unlock()
		f := p.followed(c)
		f.into = p.staged
		ad.apply.tables[f.table.OID], ad.parts[f.table.OID] = f, p
		return nil
	})
	_ = snap.Close()
	held()
	if err != nil {
		return err
	}
	name := r.claim.Slot + sideSlot
	o := source.StreamOptions{Slot: name, Publication: r.claim.Slot, From: ad.at, FromAt: ad.committed, Until: ad.at, Batch: r.limits(), Memory: r.d.CDC.Memory.Bytes() / 4, Spool: r.spool(name)}
	for _, f := range ad.apply.tables {
		o.Tables = append(o.Tables, f.streamed(ad.at))
	}
	if ad.stream, err = slot.Stream(ctx, o); err != nil {
		return err
	}
	closeSlot = func() {}
	step.Reached(step.SideCopied)
	for range sideRounds {
		at, err := r.reached(ctx, ad.at)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := ad.drain(ctx, at); err != nil {
			return err
		}
		if time.Since(begin) < sideGap {
			break
		}
	}
	return nil
}

// The tables join in when the last round took less than sideGap: about as long does the replica then stand still. With a
// source that writes faster than that they join after sideRounds.
const (
	sideGap    = 200 * time.Millisecond
	sideRounds = 30
)

// drain brings the tables to exactly the position at.
func (ad *addition) drain(ctx context.Context, at change.LSN) error {
	ad.stream.Extend(at)
	for ad.at < at {
		b, err := ad.stream.Next(ctx)
		if err != nil {
			return err
		}
		if err := ad.apply.stage(ctx, ad.stream, b); err != nil {
			return err
		}
		if b.More {
			continue
		}
		if ad.apply.some() {
			done, err := ad.apply.commit(ctx, func(*store.Tx, []applied) error { return nil })
			if err != nil {
				return err
			}
			for _, d := range done {
				d.table.rows = d.table.into.Rows
			}
		}
		ad.at, ad.committed = b.Position.LSN, laterOf(ad.committed, b.Position.CommittedAt)
		ad.stream.Ack(ad.at)
	}
	return nil
}

// join has the tables take part, in one transaction, at the replica's position.
func (ad *addition) join(ctx context.Context) error {
	r := ad.r
	at := r.position()
	if ad.server.System != at.System || ad.server.Timeline != at.Timeline {
		return fault.New(fault.SourceConflict, "", "connections to source %s lead to different servers", r.d.Source)
	}
	if err := ad.drain(ctx, at.LSN); err != nil {
		return err
	}
	if lost := ad.apply.takeLost(); len(lost) > 0 {
		r.addAt = time.Now().Add(r.wait.NextBackOff())
		if err := r.lost(ctx, lost); err != nil {
			return err
		}
	}
	for oid := range ad.spoiled {
		delete(ad.apply.tables, oid)
	}
	at.CommittedAt = laterOf(at.CommittedAt, ad.committed)
	for oid, f := range ad.apply.tables {
		last, err := r.past(ctx, f, ad.parts[oid], madeAt(at))
		if err != nil {
			return fault.Wrap(err, "table %s", f.target)
		}
		at.CommittedAt = laterOf(at.CommittedAt, last)
	}
	if err := r.s.store.Commit(ctx, func(tx *store.Tx) error {
		for oid, f := range ad.apply.tables {
			if err := f.swap(tx, f.into); err != nil {
				return err
			}
			if err := tx.SaveTable(r.newState(ad.parts[oid], f, at)); err != nil {
				return err
			}
			if err := tx.Unquarantine(r.d.Name, f.target); err != nil {
				return err
			}
		}
		return tx.SavePosition(r.d.Name, at)
	}); err != nil {
		return err
	}
	step.Reached(step.Joined)
	r.saved, r.savedAt = at, time.Now()
	for _, f := range ad.apply.tables {
		// Another table may have had its place.
		maps.DeleteFunc(r.apply.tables, func(_ uint32, old *followed) bool { return old.target == f.target })
		f.into = nil
		r.follows(f)
		r.log.Info("a table takes part", "table", f.target, "rows", f.rows, "lsn", at.LSN.String())
	}
	r.wait.Reset()
	r.mu.Lock()
	r.addFailure = nil
	r.mu.Unlock()
	return r.reopen(ctx)
}

// finish ends the addition; what did not join is dropped.
func (ad *addition) finish(err error) {
	ad.close()
	ad.end(err)
	ad.r.adding = nil
}

func (ad *addition) close() {
	ad.cancel()
	<-ad.over
	if ad.stream != nil {
		_ = ad.stream.Close() // the slot goes with its connection
	}
	ctx := context.WithoutCancel(ad.ctx)
	ad.apply.drop(ctx)
	for _, p := range ad.parts {
		ad.r.s.store.Discard(ctx, p.staged)
	}
}

// reached waits until the replica is at lsn or beyond, and says where it is.
func (r *replica) reached(ctx context.Context, lsn change.LSN) (change.LSN, error) {
	for {
		r.mu.Lock()
		at, moved := r.at.LSN, r.moved
		r.mu.Unlock()
		if at >= lsn {
			return at, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}
