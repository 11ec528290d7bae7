package syncer

import (
	"context"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Leftover is what the file holds of a dataset, and the configuration does not name any more.
type Leftover struct {
	Dataset       string
	Tables, Views []string
}

// String says what it is, for the sentence that tells what is done with it.
func (l Leftover) String() string {
	names := append(slices.Clone(l.Views), l.Tables...)
	return "the configuration does not make " + strings.Join(names, ", ") + " of dataset " + l.Dataset + " any more"
}

// Leftovers finds the tables and views of datasets that were taken out of the configuration, or changed their form, while
// no server ran that would have dropped them with the reload. What another dataset is called by now is not among them: its
// first sync replaces it.
func (s *Syncer) Leftovers(ctx context.Context) ([]Leftover, error) {
	states, err := s.store.Tables(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	cfg := s.cfg
	s.mu.Unlock()
	named := map[string]bool{}
	for _, d := range cfg.Datasets {
		for _, t := range d.Tables() {
			named[t] = true
		}
		named[d.ViewName] = true
	}
	var left []Leftover
	for _, t := range states {
		if d := cfg.Datasets[t.Dataset]; named[t.Target] || d != nil && d.Form == config.FormCDC {
			continue // which tables a replica has is its source's affair
		}
		i := slices.IndexFunc(left, func(l Leftover) bool { return l.Dataset == t.Dataset })
		if i < 0 {
			left, i = append(left, Leftover{Dataset: t.Dataset}), len(left)
		}
		if t.Part == "view" && len(t.Columns) == 0 { // a table has columns, whatever its part is called
			left[i].Views = append(left[i].Views, t.Target)
		} else {
			left[i].Tables = append(left[i].Tables, t.Target)
		}
	}
	return left, nil
}

// Drop drops tables and views with their state, all in one transaction.
func (s *Syncer) Drop(ctx context.Context, left []Leftover) error {
	return s.store.Commit(ctx, func(tx *store.Tx) error {
		for _, l := range left {
			for _, v := range l.Views {
				if err := tx.DropView(v); err != nil {
					return err
				}
				if err := tx.DeleteTable(v); err != nil {
					return err
				}
			}
			for _, t := range l.Tables {
				if err := tx.DropTable(t); err != nil {
					return err
				}
				if err := tx.DeleteTable(t); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Forget drops the tables, view and state of a dataset that is no longer configured.
func (s *Syncer) Forget(ctx context.Context, d *config.Dataset) error {
	s.mu.Lock()
	a := s.running[d.Name]
	s.mu.Unlock()
	if a != nil {
		// Its end would make the tables anew.
		a.cancel(fault.New(fault.Cancelled, "", "the dataset was taken out of the configuration, or changed its form"))
		select {
		case <-a.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	l := Leftover{Dataset: d.Name, Tables: d.Tables()}
	if d.ViewName != "" {
		l.Views = []string{d.ViewName}
	}
	return s.Drop(ctx, []Leftover{l})
}
