package syncer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

// syncTask is one run: attempts until one succeeds, the failure is not transient, or the time for retries is over. A copy
// that contradicts the source is rebuilt within the run, at most once per cause.
func (s *Syncer) syncTask(full bool) task {
	return func(ctx context.Context, d *config.Dataset, src source.Source, a *active) error {
		if d.Form == config.FormCDC {
			return s.replicaTask(full, true)(ctx, d, src, a)
		}
		rebuild := map[string]string{}
		if full {
			for _, p := range d.Parts {
				rebuild[p.Target] = "asked for"
			}
		}
		return s.retry(ctx, d, a, func() error {
			err := s.attempt(ctx, d, src, a, rebuild)
			if code := fault.CodeOf(err); code == fault.ShapeMismatch || code == fault.DataMismatch {
				if again := s.rebuildOnce(d, err, rebuild); again {
					err = s.attempt(ctx, d, src, a, rebuild)
				}
			}
			return err
		})
	}
}

func (s *Syncer) retry(ctx context.Context, d *config.Dataset, a *active, try func() error) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 250*time.Millisecond, 15*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		a.progress.Rows.Store(0)
		a.progress.Bytes.Store(0)
		err := try()
		if err != nil && (!fault.Transient(err) || ctx.Err() != nil) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(s.retryMax), backoff.WithNotify(func(err error, after time.Duration) {
		s.log.Warn("run will be tried again", "dataset", d.Name, "run", a.run.ID, "error", err, "after", after)
	}))
	var p *backoff.PermanentError
	if errors.As(err, &p) {
		return p.Unwrap()
	}
	return err
}

// rebuildsMax bounds the rebuilds of a table without a good increment between them, should the causes' texts differ each
// time.
const rebuildsMax = 5

// rebuildOnce marks the tables of the dataset for a rebuild, unless there was one for the same cause already.
func (s *Syncer) rebuildOnce(d *config.Dataset, cause error, rebuild map[string]string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := false
	for _, p := range d.Parts {
		causes := s.rebuilt[p.Target]
		if rebuild[p.Target] == "" && !slices.Contains(causes, cause.Error()) && len(causes) < rebuildsMax {
			s.rebuilt[p.Target] = append(causes, cause.Error())
			rebuild[p.Target] = cause.Error()
			again = true
		}
	}
	return again
}
