package syncer

import (
	"fmt"
	"strings"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// datasetID is the column on which the two halves of a split dataset are joined.
const datasetID = "dataset_id"

// view makes the dataset's view anew when the columns under it may have changed.
func (s *Syncer) view(tx *store.Tx, d *config.Dataset, parts []*part) error {
	if d.ViewName == "" {
		return nil
	}
	needed := false
	for _, p := range parts {
		needed = needed || p.full || p.drift.any()
	}
	if !needed {
		return nil
	}
	sql := d.View
	if d.Form == config.FormSplit {
		var err error
		if sql, err = joinView(d, parts[0], parts[1]); err != nil {
			return err
		}
	}
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
