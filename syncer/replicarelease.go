package syncer

import (
	"context"
	"errors"
	"reflect"
	"strings"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// stopChanged stops the replicas whose configuration or source is another one in cfg, and returns their names.
func (s *Syncer) stopChanged(cfg *config.Config, sources map[string]source.Source) map[string]bool {
	s.mu.Lock()
	changed := map[string]bool{}
	for name, r := range s.replicas {
		d := cfg.Datasets[name]
		if d != nil && d.Form == config.FormCDC && !d.Paused {
			was, is := *r.d, *d
			was.Line, is.Line = 0, 0
			if reflect.DeepEqual(was, is) && sources[d.Source] == source.Source(r.src) {
				continue
			}
		}
		changed[name] = true
	}
	s.mu.Unlock()
	for name := range changed {
		s.stopReplica(name)
	}
	return changed
}

// Release gives back what a dataset of mode: cdc has on its source, slot and publication, and with tables what it has in the
// file. A source that cannot be reached keeps them; the error says what to run there.
func (s *Syncer) Release(ctx context.Context, dataset string, src source.Source, tables bool) error {
	s.mu.Lock()
	if s.replicas[dataset] != nil {
		s.released[dataset] = true
	}
	s.mu.Unlock()
	s.stopReplica(dataset)
	c, err := readClaim(ctx, s.store, dataset)
	if err != nil {
		return err
	}
	states, err := s.store.Tables(ctx)
	if err != nil {
		return err
	}
	err = s.store.Commit(ctx, func(tx *store.Tx) error {
		for _, t := range states {
			if t.Dataset != dataset {
				continue
			}
			if !tables {
				if err := tx.SetWatermark(t.Target, nil); err != nil {
					return err
				}
				continue
			}
			if err := tx.DropTable(t.Target); err != nil {
				return err
			}
			if err := tx.DeleteTable(t.Target); err != nil {
				return err
			}
			if err := tx.Unquarantine(dataset, t.Target); err != nil {
				return err
			}
		}
		return tx.DeletePosition(dataset)
	})
	if err != nil {
		return fault.Wrap(err, "drop the tables of %s", dataset)
	}
	if tables {
		s.dropSchemas(ctx, states, dataset)
	}
	if c.Slot == "" {
		return nil
	}
	released := releaseClaim(ctx, c, src)
	err = s.store.Commit(ctx, func(tx *store.Tx) error {
		if released != nil { // tried again by the next start, whatever the dataset claims by then
			if err := tx.SetMeta(leftPrefix+c.Slot, string(toJSON(c))); err != nil {
				return err
			}
		}
		return tx.DeleteMeta(claimPrefix + dataset)
	})
	return errors.Join(released, err)
}

// dropSchemas drops the schemas in which nothing is left.
func (s *Syncer) dropSchemas(ctx context.Context, states []store.TableState, dataset string) {
	err := s.store.Commit(ctx, func(tx *store.Tx) error {
		for _, t := range states {
			if schema, _, ok := strings.Cut(t.Target, "."); ok && t.Dataset == dataset {
				if err := tx.DropSchema(schema); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		s.log.Warn("an empty schema stays", "dataset", dataset, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range states {
		if t.Dataset == dataset {
			delete(s.replicated, foldName(t.Target))
			delete(s.keys, foldName(t.Target))
		}
	}
}

// ReleaseLeftovers does so for datasets that were taken out of the configuration while no server ran. What cannot be given
// back is told, and tried again by the next start.
func (s *Syncer) ReleaseLeftovers(ctx context.Context) error {
	all, err := s.claims(ctx)
	if err != nil {
		return err
	}
	if err := s.releaseLeft(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	cfg, sources := s.cfg, s.sources
	s.mu.Unlock()
	for dataset, c := range all {
		d := cfg.Datasets[dataset]
		if d != nil && d.Form == config.FormCDC && d.Source == c.Source {
			continue
		}
		if err := s.Release(ctx, dataset, sources[c.Source], d == nil || d.Form != config.FormCDC); err != nil {
			s.log.Error("a former dataset's slot is left on its source", "dataset", dataset, "error", err, "hint", fault.HintOf(err))
		}
	}
	return nil
}

// releaseLeft gives back what could not be given back before.
func (s *Syncer) releaseLeft(ctx context.Context) error {
	left, err := readClaims(ctx, s.store, leftPrefix)
	if err != nil {
		return err
	}
	for name, c := range left {
		s.mu.Lock()
		src := s.sources[c.Source]
		s.mu.Unlock()
		if err := releaseClaim(ctx, c, src); err != nil {
			s.log.Error("a former slot is left on its source", "error", err, "hint", fault.HintOf(err))
			continue
		}
		if err := s.store.Commit(ctx, func(tx *store.Tx) error { return tx.DeleteMeta(name) }); err != nil {
			return err
		}
	}
	return nil
}

// folded is the target that a table of the copy is, as DuckDB compares names.
func folded(schema, table string) string {
	if foldName(schema) == "main" {
		return foldName(table)
	}
	return foldName(schema + "." + table)
}

// Replicated says which dataset of mode: cdc a table of the copy belongs to. Names are compared as DuckDB does.
func (s *Syncer) Replicated(schema, table string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dataset, ok := s.replicated[folded(schema, table)]
	if d := s.cfg.Datasets[dataset]; !ok || d == nil || d.Form != config.FormCDC {
		return "", false
	}
	return dataset, true
}

// Key is which columns of a table of the copy are unique, as the dataset's key or the source's table has it; nil for none.
func (s *Syncer) Key(schema, table string) []string {
	target := folded(schema, table)
	s.mu.Lock()
	defer s.mu.Unlock()
	if key, ok := s.keys[target]; ok {
		return key
	}
	for _, d := range s.cfg.Datasets {
		for _, p := range d.Parts {
			if foldName(p.Target) == target {
				var key []string
				for _, name := range p.Key {
					key = append(key, renamed(p, name))
				}
				return key
			}
		}
	}
	return nil
}
