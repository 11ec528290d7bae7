package syncer

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// startReplica begins to follow a dataset for as long as the process serves. s.mu is held.
func (s *Syncer) startReplica(d *config.Dataset) error {
	if serving := s.base != nil && s.base.Err() == nil; !serving || s.replicas[d.Name] != nil {
		return nil
	}
	src, ok := s.sources[d.Source].(source.Replicator)
	if !ok {
		return fault.New(fault.Config, "", "source %s cannot be followed", d.Source)
	}
	r := newReplica(s, d, src)
	var ctx context.Context
	ctx, r.stop = context.WithCancelCause(s.base)
	s.replicas[d.Name] = r
	s.wg.Go(func() { r.run(ctx) })
	return nil
}

// stopReplica ends it and waits. s.mu is not held.
func (s *Syncer) stopReplica(name string) {
	s.mu.Lock()
	r := s.replicas[name]
	s.mu.Unlock()
	if r == nil {
		return
	}
	r.stop(errStopping)
	<-r.over // until then no other one may begin: both would write
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replicas[name] == r {
		delete(s.replicas, name)
	}
}

// startReplicas follows every dataset that is to be followed from the start, and those that were until now.
func (s *Syncer) startReplicas(also map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.cfg.DatasetNames() {
		d := s.cfg.Datasets[name]
		if d.Form != config.FormCDC || s.paused[name] {
			continue
		}
		if !also[name] && (!d.AutoLoad || s.cfg.DuckDB.SyncMode != "startup") {
			continue
		}
		if err := s.startReplica(d); err != nil {
			s.log.Error("the dataset is not followed", "dataset", name, "error", err)
		}
	}
}

// replica is the one that follows the dataset; without a server it is one for the caller alone, which release ends. What is
// urgent does not wait for the end of quiet hours.
func (s *Syncer) replica(ctx context.Context, d *config.Dataset, src source.Source, a *active, full, urgent bool) (r *replica, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base != nil {
		err := s.startReplica(d) //nolint:contextcheck // It follows for as long as the process serves.
		r := s.replicas[d.Name]
		if err == nil && r == nil {
			err = errStopping
		}
		if err != nil {
			return nil, nil, err
		}
		r.led(a, urgent)
		if full {
			r.copyAll("asked for")
		}
		return r, func() { r.led(nil, false) }, nil
	}
	rep, ok := src.(source.Replicator)
	if !ok {
		return nil, nil, fault.New(fault.Config, "", "source %s cannot be followed", d.Source)
	}
	r = newReplica(s, d, rep)
	r.led(a, urgent)
	if full {
		r.anew = "asked for"
	}
	ctx, r.stop = context.WithCancelCause(ctx)
	s.wg.Go(func() { r.run(ctx) })
	return r, func() { r.stop(errStopping); <-r.over }, nil
}

// led has copies counted in a run that waits for them, and begun in quiet hours too where it is urgent.
func (r *replica) led(a *active, urgent bool) {
	r.mu.Lock()
	r.lead, r.urgent = a, urgent
	if urgent {
		r.quietUntil = time.Time{}
	}
	r.mu.Unlock()
	if urgent {
		r.wake()
	}
}

// copyAll has every table copied anew.
func (r *replica) copyAll(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stream == nil {
		r.anew, r.failure = why, nil
	} else {
		for target, h := range r.tables {
			if h.state == tableFollowing || h.state == tableCopying {
				r.needs[target] = why
			}
		}
	}
	if r.ring != nil {
		r.ring()
	}
}

// replicaTask waits until the replica stands where the source is now; with full all tables are copied anew before.
func (s *Syncer) replicaTask(full, urgent bool) task {
	return func(ctx context.Context, d *config.Dataset, src source.Source, a *active) error {
		r, release, err := s.replica(ctx, d, src, a, full, urgent)
		if err != nil {
			return err
		}
		defer release()
		r.forgive()
		before := r.totals()
		server, err := r.src.Identify(ctx)
		if err != nil {
			return fault.Wrap(err, "sync %s", d.Name)
		}
		if err := r.caughtUp(ctx, server.LSN, r.lookAgain()); err != nil {
			return fault.Wrap(err, "sync %s", d.Name)
		}
		s.note(a, func(run *store.Run) {
			run.State, run.Progress = StateReady, 1
			run.RowsWritten += r.totals() - before
		})
		return nil
	}
}

// forgive has what failed before tried again now.
func (r *replica) forgive() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure, r.addFailure = nil, nil
	if r.ring != nil {
		r.ring()
	}
}

// lookAgain has the source's tables listed, and returns what looks is after that.
func (r *replica) lookAgain() int {
	r.mu.Lock()
	looks := r.looks
	r.mu.Unlock()
	r.ask(func(ctx context.Context) error {
		if r.stream == nil || r.looks > looks {
			return nil // a session begins with it
		}
		_, err := r.look(ctx)
		return err
	})
	return looks + 1
}

// totals counts the changes applied so far.
func (r *replica) totals() (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.tables {
		n += h.counts.inserts + h.counts.updates + h.counts.deletes
	}
	return n
}

// caughtUp waits until the copy is at lsn and no table is missing, as of that many listings of the source's tables. What keeps it
// from that for too long is its error, and so is a table that is set aside, or waits for the end of quiet hours.
func (r *replica) caughtUp(ctx context.Context, lsn change.LSN, looks int) error {
	limit := time.NewTimer(r.s.retryMax)
	defer limit.Stop()
	var failing error
	for {
		r.mu.Lock()
		there := r.looks >= looks && r.at.LSN >= lsn && r.stream != nil && len(r.needs) == 0 && r.doubts == 0 && r.anew == ""
		moved, failure := r.moved, r.failure
		if failure == nil {
			failure = r.addFailure
		}
		var waits error
		if !r.quietUntil.IsZero() && (r.stream == nil || len(r.needs) > 0 && r.at.LSN >= lsn) {
			waits = fault.New(fault.Unavailable, "pintail sync "+r.d.Name+" does not wait", "%w: tables are copied from %s on", ErrQuiet, r.quietUntil.Format(time.RFC3339))
		}
		var aside error
		for _, name := range slices.Sorted(maps.Keys(r.tables)) {
			if h := r.tables[name]; h.state == tableError {
				aside = h.err
				break
			}
		}
		r.mu.Unlock()
		switch {
		case there:
			return aside
		case failure != nil && !fault.Transient(failure):
			return failure
		case waits != nil:
			return waits
		case failure == nil:
			limit.Reset(r.s.retryMax)
		}
		failing = failure
		select {
		case <-moved:
		case <-limit.C:
			if failing != nil {
				return failing
			}
		case <-r.over:
			return errStopping
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// copyAgain has tables of a dataset copied anew: those of targets, or all. Whether a replica runs now or later, it finds that.
func (s *Syncer) copyAgain(ctx context.Context, d *config.Dataset, table, why string) ([]string, error) {
	states, err := s.store.Tables(ctx)
	if err != nil {
		return nil, err
	}
	var targets, all []string
	for _, t := range states {
		if t.Dataset != d.Name {
			continue
		}
		all = append(all, t.Target)
		if table == "" || table == t.Target || table == t.Part {
			targets = append(targets, t.Target)
		}
	}
	if len(targets) == 0 {
		return nil, fault.New(fault.NotFound, "leave table out to copy all of them", "dataset %s has no table %q; it has %v", d.Name, table, all)
	}
	s.mu.Lock()
	r := s.replicas[d.Name]
	s.mu.Unlock()
	slices.Sort(targets)
	r.prompting(targets)
	return targets, s.copyTargets(ctx, d.Name, r, targets, why)
}

// copyTargets notes in the file that tables are to be copied anew, those in quarantine too, and has the replica do it, if one runs.
func (s *Syncer) copyTargets(ctx context.Context, dataset string, r *replica, targets []string, why string) error {
	err := s.store.Commit(ctx, func(tx *store.Tx) error {
		for _, t := range targets {
			if err := tx.Unquarantine(dataset, t); err != nil {
				return err
			}
		}
		return unmark(tx, targets)
	})
	if err == nil && r != nil {
		r.ask(func(context.Context) error {
			for _, t := range targets {
				r.judge(t, tableCopying, nil)
				r.need(t, why)
			}
			return nil
		})
	}
	return err
}
