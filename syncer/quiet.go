package syncer

import (
	"context"
	"errors"
	"time"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/source"
)

// quietLook is how long a wait for the end of quiet hours goes on without a look at the clock, which may be set meanwhile.
const quietLook = time.Minute

// QuietUntil is the first moment from at on at which something heavy may begin on a dataset's source; at itself where that
// is one.
func (s *Syncer) QuietUntil(dataset string, at time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.cfg.Datasets[dataset]; d != nil {
		if src := s.cfg.Sources[d.Source]; src != nil {
			return src.Quiet.Until(at)
		}
	}
	return at
}

// heldUntil is when a run begins that waits for the end of quiet hours; nil is one that waits for nothing but its time.
func (s *Syncer) heldUntil(dataset string, next *time.Time) *time.Time {
	if next == nil || !s.QuietUntil(dataset, next.Add(-1)).Equal(*next) {
		return nil
	}
	return next
}

// AwaitQuiet waits until something heavy may begin on a dataset's source.
func (s *Syncer) AwaitQuiet(ctx context.Context, dataset string) error {
	for {
		s.mu.Lock()
		updated := s.updated
		s.mu.Unlock()
		now := time.Now()
		until := s.QuietUntil(dataset, now)
		if !until.After(now) {
			return ctx.Err()
		}
		look := time.NewTimer(min(until.Sub(now), quietLook))
		select {
		case <-look.C:
		case <-updated:
		case <-ctx.Done():
		}
		look.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// ErrQuiet is the cause of what was not done because it waits for the end of quiet hours.
var ErrQuiet = errors.New("the source has quiet hours")

// SyncDue is SyncWait of a sync that nobody has asked for: in quiet hours there is none, and the error is ErrQuiet. A replica is
// waited for then too, as far as it has its tables; the copies that it needs come later by themselves.
func (s *Syncer) SyncDue(ctx context.Context, dataset string, full bool) error {
	d, _, err := s.dataset(dataset)
	if err != nil {
		return err
	}
	now := time.Now()
	quiet := s.QuietUntil(dataset, now).After(now)
	switch {
	case d.Form == config.FormCDC && quiet:
		return s.resumed(ctx, d)
	case d.Form == config.FormCDC:
		_, err = s.wait(ctx, dataset, syncKind(full), nil, s.replicaTask(full, false))
	case quiet:
		err = ErrQuiet
	default:
		_, err = s.SyncWait(ctx, dataset, full, nil)
	}
	return err
}

// resumed waits until a replica of a server has caught up with the tables that it has. It is no run: one that somebody asks
// for may come meanwhile.
func (s *Syncer) resumed(ctx context.Context, d *config.Dataset) error {
	s.mu.Lock()
	err := s.startReplica(d) //nolint:contextcheck // It follows for as long as the process serves.
	r := s.replicas[d.Name]
	s.mu.Unlock()
	if err != nil || r == nil {
		return err
	}
	server, err := r.src.Identify(ctx)
	if err != nil {
		return err
	}
	return r.caughtUp(ctx, server.LSN, r.lookAgain())
}

// quiet says whether tables that have to be copied wait for the end of the source's quiet hours, and notes until when. It is
// called by the replica's goroutine.
func (r *replica) quiet() bool {
	now := time.Now()
	until := r.s.QuietUntil(r.d.Name, now)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !until.After(now) || r.urgent || r.stream != nil && len(r.needs) == 0 {
		until = time.Time{}
	}
	if !until.Equal(r.quietUntil) {
		r.quietUntil = until
		r.signal()
		if !until.IsZero() {
			r.log.Info("copies wait for the end of the source's quiet hours", "until", until)
		}
	}
	return !until.IsZero()
}

// prompting notes that somebody has asked for copies of these: they do not wait.
func (r *replica) prompting(targets []string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range targets {
		r.prompted[t] = true
	}
}

// prompt says whether a table that has to be copied does not wait. r.mu is held.
func (r *replica) prompt() bool {
	for target := range r.needs {
		if r.prompted[target] {
			return true
		}
	}
	return false
}

// allWait says whether every table that has to be copied waits for the end of quiet hours.
func (r *replica) allWait() bool {
	if !r.quiet() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.prompt()
}

// sleepOut waits out the quiet hours in which nothing can be followed before everything is copied.
func (r *replica) sleepOut(ctx context.Context) error {
	r.mu.Lock()
	r.failure, r.addFailure = nil, nil
	r.mu.Unlock()
	for r.quiet() {
		r.mu.Lock()
		until := r.quietUntil
		r.mu.Unlock()
		if err := r.rest(ctx, min(time.Until(until), quietLook)); err != nil {
			return err
		}
		if err := r.answer(ctx); err != nil {
			r.log.Warn("what was asked for was not done", "error", err)
		}
	}
	return nil
}

// wake has the replica look whether what it waits for has changed.
func (r *replica) wake() { r.ask(func(context.Context) error { return nil }) }

// SourceStatus is what a source has to do with this process.
type SourceStatus struct {
	source.Load
	QuietUntil time.Time // zero: it has no quiet hours now
}

// Sources tells of every configured source. It asks nobody, so it does not wait.
func (s *Syncer) Sources() map[string]SourceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]SourceStatus{}
	now := time.Now()
	for name, c := range s.cfg.Sources {
		st := SourceStatus{Load: source.Load{Share: -1}}
		if src, ok := s.sources[name].(source.Loaded); ok {
			st.Load = src.Load()
		}
		if until := c.Quiet.Until(now); until.After(now) {
			st.QuietUntil = until
		}
		all[name] = st
	}
	return all
}
