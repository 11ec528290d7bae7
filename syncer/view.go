package syncer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// datasetID is the column on which the two halves of a split dataset are joined.
const datasetID = "dataset_id"

// viewState is what is known of a dataset's view: its SQL and how many rows it has. A LastSync of zero asks for a new count.
func (s *Syncer) viewState(ctx context.Context, d *config.Dataset) (store.TableState, error) {
	states, err := s.store.Tables(ctx)
	if err != nil {
		return store.TableState{}, err
	}
	for _, t := range states {
		if t.Target == d.ViewName {
			return t, nil
		}
	}
	return store.TableState{Dataset: d.Name, Part: "view", Target: d.ViewName}, nil
}

// commitView makes the view anew when its definition or the columns under it have changed, and notes, in the transaction
// that changes the rows, that they are to be counted again. Until then, and should the process end before, the old count
// stands.
func (s *Syncer) commitView(ctx context.Context, tx *store.Tx, d *config.Dataset, parts []*part) error {
	if d.ViewName == "" {
		return nil
	}
	v, err := s.viewState(ctx, d)
	if err != nil {
		return err
	}
	sql, err := viewSQL(d, parts)
	if err != nil {
		return err
	}
	anew := v.Definition != sql || slices.ContainsFunc(parts, func(p *part) bool { return p.full || p.drift.any() })
	if anew {
		if err := makeView(tx, d, sql); err != nil {
			return err
		}
	}
	if !anew && !changed(parts) {
		return nil
	}
	v.Definition, v.LastSync = sql, time.Time{}
	return tx.SaveTable(v)
}

// countView counts the view's rows if they may have changed since they were counted.
func (s *Syncer) countView(ctx context.Context, d *config.Dataset, changed bool) error {
	v, err := s.viewState(ctx, d)
	if err != nil || !changed && !v.LastSync.IsZero() {
		return err
	}
	if v.Rows, err = s.store.CountRows(ctx, d.ViewName); err != nil {
		return err
	}
	v.LastSync = time.Now().UTC()
	return s.store.Commit(ctx, func(tx *store.Tx) error { return tx.SaveTable(v) })
}

func viewSQL(d *config.Dataset, parts []*part) (string, error) {
	if d.Form == config.FormSplit {
		return joinView(d, parts[0], parts[1])
	}
	return d.View, nil
}

func makeView(tx *store.Tx, d *config.Dataset, sql string) error {
	err := tx.View(d.ViewName, sql)
	if d.Form != config.FormSplit && fault.CodeOf(err) == fault.ShapeMismatch {
		// It was written by a person: no rebuild can mend it.
		return fault.New(fault.Config, "correct `view` of the dataset: it reads the tables "+strings.Join(d.Tables(), ", ")+" with the columns that their queries give",
			"view %s: %w", d.ViewName, err)
	}
	return fault.Wrap(err, "view %s", d.ViewName)
}

// joinView joins the halves of a split dataset. The results' columns keep their names; a dataset column that is called like
// one of them becomes dataset_<name>, with the prefix once more where that is taken too (id: dataset_id is the join's).
func joinView(d *config.Dataset, dataset, results *part) (string, error) {
	taken := map[string]bool{strings.ToLower(datasetID): true}
	id := map[string]string{"left": "d", "inner": "d", "full": ""}[d.Join]
	cols := []string{"coalesce(d.dataset_id, r.dataset_id) AS dataset_id"}
	if id != "" {
		cols[0] = id + ".dataset_id"
	}
	for _, half := range []*part{dataset, results} {
		if half.desc.Column(datasetID) == nil {
			return "", fault.New(fault.SourceSQL, "alias or include a column named dataset_id in the query", "table %s has no column dataset_id", half.cfg.Target)
		}
	}
	for _, c := range results.desc.Columns {
		if c.Name != datasetID {
			cols = append(cols, "r."+quote(c.Name))
			taken[strings.ToLower(c.Name)] = true
		}
	}
	for _, c := range dataset.desc.Columns {
		if c.Name == datasetID {
			continue
		}
		name := c.Name
		for taken[strings.ToLower(name)] {
			name = "dataset_" + name
		}
		taken[strings.ToLower(name)] = true
		cols = append(cols, "d."+quote(c.Name)+" AS "+quote(name))
	}
	join := map[string]string{"left": "LEFT JOIN", "inner": "JOIN", "full": "FULL JOIN"}[d.Join]
	return fmt.Sprintf("SELECT %s FROM main.%s AS d %s main.%s AS r ON d.dataset_id = r.dataset_id",
		strings.Join(cols, ", "), quote(dataset.cfg.Target), join, quote(results.cfg.Target)), nil
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
