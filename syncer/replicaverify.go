package syncer

import (
	"context"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// pin is the copy as it was when a batch that ends with a cut was applied.
type pin struct {
	*store.Pinned
	at     change.LSN
	tables []followed
}

const (
	cutTries = 5
	// cutLimit is how long the stream is held for a snapshot that sees all that it has gathered.
	cutLimit = 10 * time.Second
	// verifyTries is how often tables that change their form meanwhile are looked at again.
	verifyTries = 3
)

// verifyReplica compares a replica's tables with the source at one snapshot and the position that belongs to it. The replica
// goes on meanwhile.
func (s *Syncer) verifyReplica(ctx context.Context, d *config.Dataset, src source.Source, a *active, repair bool) error {
	r, release, err := s.replica(ctx, d, src, nil, false, true)
	if err != nil {
		return err
	}
	defer release()
	r.forgive()
	var verdict Verdict
	for try := 1; ; try++ {
		if verdict, err = r.compare(ctx, a); fault.CodeOf(err) != fault.SourceConflict || try == verifyTries || ctx.Err() != nil {
			break
		}
		s.log.Info("the comparison begins anew", "dataset", d.Name, "reason", err)
	}
	if err != nil {
		return fault.Wrap(err, "verify %s", d.Name)
	}
	if !verdict.Equal && repair {
		if err := r.mend(ctx, &verdict); err != nil {
			return fault.Wrap(err, "reconcile %s", d.Name)
		}
	}
	return s.judged(d.Name, a, &verdict)
}

// mend copies the tables that differ anew.
func (r *replica) mend(ctx context.Context, v *Verdict) error {
	for i := range v.Tables {
		t := &v.Tables[i]
		if t.equal() {
			continue
		}
		if err := r.s.copyTargets(ctx, r.d.Name, r, []string{t.Table}, "reconcile found differences: "+t.String()); err != nil {
			return err
		}
		t.Repair = "copied anew"
	}
	// After what was asked for above.
	asked := make(chan struct{})
	r.ask(func(context.Context) error { close(asked); return nil })
	select {
	case <-asked:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	v.Equal = true
	return r.caughtUp(ctx, 0, 0)
}

// compare compares all tables once.
func (r *replica) compare(ctx context.Context, a *active) (Verdict, error) {
	verdict := Verdict{Equal: true}
	server, err := r.src.Identify(ctx)
	if err == nil {
		err = r.caughtUp(ctx, server.LSN, 0)
	}
	if err != nil {
		return verdict, err
	}
	snap, p, err := r.cut(ctx)
	if err != nil {
		return verdict, err
	}
	defer func() { _ = snap.Close() }()
	defer p.Close()
	verdict.LSN = p.at.String()
	parts := make([]*part, len(p.tables))
	for i, f := range p.tables {
		q := newPart(config.Part{Name: f.table.String(), Target: f.target, Table: f.table.SQLName(), Columns: f.desc.Query.Columns, Key: f.key}, store.TableState{Target: f.target, Rows: f.rows, OutOfRangeText: f.desc.Column(change.TextColumn) != nil})
		if q.desc, err = snap.Describe(ctx, q.query); err != nil {
			return verdict, fault.Wrap(err, "table %s", f.target)
		}
		if old := compareShapes(f.desc, q.desc); old != "" {
			return verdict, fault.New(fault.SourceConflict, "", "table %s: %s", f.target, old)
		}
		parts[i] = q
	}
	if err := snap.Seal(ctx); err != nil {
		return verdict, err
	}
	r.s.note(a, func(*store.Run) {
		a.guess = 0
		for _, q := range parts {
			a.guess += q.state.Rows
		}
	})
	for i, q := range parts {
		c := newComparison(p, snap, q, r.s.cfg.DuckDB.SyncWorkers, &a.progress)
		c.keep = p.tables[i].keep
		t, err := c.run(ctx)
		if err != nil {
			return verdict, fault.Wrap(err, "table %s", q.cfg.Target)
		}
		verdict.Equal = verdict.Equal && t.equal()
		verdict.Tables = append(verdict.Tables, *t)
		r.log.Info("compared with the source", "run", a.run.ID, "table", t.Table, "lsn", verdict.LSN, "result", t.String())
	}
	return verdict, nil
}

// compareShapes says how a table's columns differ from those that are followed; "" when they are the same.
func compareShapes(followed, now *source.Description) string {
	d := compare(fingerprints(followed), fingerprints(now))
	if d.rebuild == "" && d.any() {
		return "its columns changed in the source"
	}
	return d.rebuild
}

// cut brings a snapshot of the source and the copy to the same moment.
func (r *replica) cut(ctx context.Context) (source.Snapshot, *pin, error) {
	for try := 1; ; try++ {
		snap, p, err := r.cutOnce(ctx)
		if err == nil || try == cutTries || fault.CodeOf(err) != fault.SourceConflict || ctx.Err() != nil {
			return snap, p, err
		}
	}
}

func (r *replica) cutOnce(ctx context.Context) (_ source.Snapshot, _ *pin, err error) {
	r.mu.Lock()
	st := r.stream
	r.mu.Unlock()
	if st == nil {
		return nil, nil, fault.New(fault.SourceConflict, "", "the stream was closed meanwhile")
	}
	cut, err := st.Cut(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer cut.Close()
	pins := make(chan *pin, 1)
	r.mu.Lock()
	if r.pinned != nil {
		close(r.pinned)
	}
	r.pinned, r.pinnedAt = pins, cut.ID()
	r.mu.Unlock()
	snap, err := r.sight(ctx, cut)
	if err == nil {
		err = cut.Settled(ctx)
	}
	var p *pin
	if err == nil {
		select {
		case p = <-pins: // closed without one when there will be none
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		r.mu.Lock()
		if r.pinned == pins {
			r.pinned = nil
			close(pins)
		}
		r.mu.Unlock()
		p = <-pins // what was on its way
	}
	if err == nil && p == nil {
		err = fault.New(fault.SourceConflict, "", "the stream ended meanwhile")
	}
	if err == nil {
		return snap, p, nil
	}
	if p != nil {
		p.Close()
	}
	if snap != nil {
		_ = snap.Close()
	}
	return nil, nil, err
}

// sight takes a snapshot that sees all that the stream has gathered.
func (r *replica) sight(ctx context.Context, cut source.Cut) (source.Snapshot, error) {
	const pauseMin = time.Millisecond
	for pause, begin := pauseMin, time.Now(); ; pause *= 2 {
		snap, err := r.src.Snapshot(ctx, source.SnapshotOptions{StatementTimeout: r.d.QueryTimeout})
		if err != nil {
			return nil, err
		}
		view, err := r.src.View(ctx, snap)
		if err == nil && cut.Resume(view) {
			return snap, nil
		}
		_ = snap.Close()
		switch {
		case err != nil:
			return nil, err
		case time.Since(begin) > cutLimit:
			return nil, fault.New(fault.SourceConflict, "a standby of synchronous_standby_names may be slow", "transactions that were sent %s ago are still not visible in the source", cutLimit)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
