package syncer

import (
	"context"
	"maps"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
)

// Standing is how far a dataset's copy is now, and why single tables of it are not, by target: their rows are older. at is zero
// while nothing follows the dataset: then the position counts that the file has. ok is false unless it is one of mode: cdc.
func (s *Syncer) Standing(dataset string) (at change.Position, behind map[string]string, ok bool) {
	s.mu.Lock()
	d, r := s.cfg.Datasets[dataset], s.replicas[dataset]
	s.mu.Unlock()
	if d == nil || d.Form != config.FormCDC {
		return at, nil, false
	}
	if r == nil {
		return at, nil, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	behind = maps.Clone(r.needs)
	for target, h := range r.tables {
		if h.state == tableError && h.err != nil {
			behind[target] = h.err.Error()
		}
	}
	return r.at, behind, true
}

// WaitFor waits until a dataset's copy has all transactions whose commit record lies before lsn. When ctx ends first the error is
// why the copy does not come on, or ctx's cause while it does.
func (s *Syncer) WaitFor(ctx context.Context, dataset string, lsn change.LSN) error {
	s.mu.Lock()
	d, r, serving := s.cfg.Datasets[dataset], s.replicas[dataset], s.base != nil
	s.mu.Unlock()
	if d == nil || d.Form != config.FormCDC {
		return fault.New(fault.NotFound, "", "dataset %q follows no log", dataset)
	}
	if r == nil {
		return s.stands(ctx, dataset, lsn, serving)
	}
	for {
		r.mu.Lock()
		at, moved, failure := r.at.LSN, r.moved, r.failure
		r.mu.Unlock()
		if at >= lsn {
			return nil
		}
		select {
		case <-moved:
		case <-r.over:
			return fault.New(fault.Unavailable, "ask again", "dataset %s is at %s, not at %s, and is not followed any more", dataset, at, lsn)
		case <-ctx.Done():
			if failure != nil {
				return fault.New(fault.Unavailable, fault.HintOf(failure), "dataset %s is at %s, not at %s: %w", dataset, at, lsn, failure)
			}
			return context.Cause(ctx)
		}
	}
}

// stands is WaitFor for a dataset that nothing follows now: it comes no further.
func (s *Syncer) stands(ctx context.Context, dataset string, lsn change.LSN, serving bool) error {
	positions, err := s.store.Positions(ctx)
	if err != nil {
		return err
	}
	at := positions[dataset].LSN
	if at >= lsn {
		return nil
	}
	hint := "`pintail sync " + dataset + "` brings it up to date once, and while `pintail serve` runs it is followed"
	if serving {
		hint = "POST /api/store/datasets/" + dataset + "/resume when it is paused, or POST /api/store/sync/" + dataset
	}
	return fault.New(fault.Unavailable, hint, "dataset %s is at %s, not at %s, and is not followed now", dataset, at, lsn)
}
