package syncer

import (
	"context"
	"slices"
	"time"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Quarantine is what was set aside of all datasets, oldest first.
func (s *Syncer) Quarantine(ctx context.Context) ([]store.Quarantined, error) {
	all, err := s.store.Quarantined(ctx, "")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(all, func(q store.Quarantined) bool { return s.cfg.Datasets[q.Dataset] == nil }), nil
}

// Retry takes tables of a dataset out of quarantine, all or the one named as in the copy or in the source, and has them
// copied anew: at once where the dataset is followed, else when it is again. It returns their names in the copy.
func (s *Syncer) Retry(ctx context.Context, dataset, table string) ([]string, error) {
	d, _, err := s.dataset(dataset)
	if err != nil {
		return nil, err
	}
	if d.Form != config.FormCDC {
		return nil, fault.New(fault.Usage, "POST /api/store/sync/"+dataset, "dataset %s has no quarantine: it is not of mode: cdc", dataset)
	}
	aside, err := s.store.Quarantined(ctx, dataset)
	if err != nil {
		return nil, err
	}
	states, err := s.store.Tables(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	r := s.replicas[dataset]
	s.mu.Unlock()
	var targets, all []string
	for _, q := range aside {
		if slices.Contains(all, q.Target) {
			continue
		}
		all = append(all, q.Target)
		if table == "" || table == q.Target || table == sourceTable(states, r, q.Target) {
			targets = append(targets, q.Target)
		}
	}
	if len(targets) == 0 {
		if r != nil {
			// What was left out because of its form in the source is looked at now, not only in a while.
			r.ask(func(context.Context) error { r.looked = time.Time{}; return nil })
		}
		if len(all) == 0 {
			return nil, fault.New(fault.NotFound, "GET /api/store/status says what else keeps a table from being followed; a table whose form was mended is noticed by itself", "nothing of dataset %s is in quarantine", dataset)
		}
		return nil, fault.New(fault.NotFound, "leave table out for all of them", "table %q of dataset %s is not in quarantine; these are: %v", table, dataset, all)
	}
	slices.Sort(targets)
	r.prompting(targets)
	return targets, s.copyTargets(ctx, dataset, r, targets, "taken out of quarantine")
}

// sourceTable is the name in the source of a table of the copy, "" when it is not known.
func sourceTable(states []store.TableState, r *replica, target string) string {
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if h := r.tables[target]; h != nil {
			return h.table
		}
	}
	if i := slices.IndexFunc(states, func(t store.TableState) bool { return t.Target == target }); i >= 0 {
		return states[i].Part
	}
	return ""
}

func hintRetry(dataset string) string { return "mend what is wrong, then: pintail retry " + dataset }
