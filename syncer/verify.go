package syncer

import (
	"context"
	"fmt"
	"time"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// Verdict is what a comparison found, one per table. It is the `detail` of a verify or reconcile run.
type Verdict struct {
	Tables []TableVerdict `json:"tables"`
	Equal  bool           `json:"equal"`
	LSN    string         `json:"lsn,omitempty"` // of a replica: both sides are as of it
}

// TableVerdict compares one table with the source at one snapshot.
type TableVerdict struct {
	Table           string   `json:"table"`
	SourceRows      int64    `json:"source_rows"`
	CopyRows        int64    `json:"copy_rows"`
	Ranges          int      `json:"ranges"`
	DifferingRanges int      `json:"differing_ranges"`
	Missing         int64    `json:"missing"`                        // in the source, not in the copy
	Extra           int64    `json:"extra"`                          // in the copy, not in the source
	Changed         int64    `json:"changed"`                        // same key, other values
	Doubled         int64    `json:"doubled"`                        // more often in the copy than in the source
	Overlaps        int64    `json:"overlapping_versions,omitempty"` // with deletes: history
	Partial         bool     `json:"partial,omitempty"`
	Samples         []Sample `json:"samples,omitempty"`
	Note            string   `json:"note,omitempty"`
	Repair          string   `json:"repair,omitempty"`
}

// Sample is one differing row.
type Sample struct {
	Kind    string            `json:"kind"` // missing | extra | changed | doubled
	Key     string            `json:"key"`
	Columns []string          `json:"columns,omitempty"` // that differ
	Source  map[string]string `json:"source,omitempty"`
	Copy    map[string]string `json:"copy,omitempty"`
}

func (t *TableVerdict) equal() bool { return t.DifferingRanges == 0 && t.Overlaps == 0 }

// String is the verdict in one line.
func (t *TableVerdict) String() string {
	if t.equal() {
		return fmt.Sprintf("%s: equal, %s in %s", t.Table, plural(t.CopyRows, "row"), plural(t.Ranges, "range"))
	}
	if t.DifferingRanges == 0 {
		return fmt.Sprintf("%s: equal, but %s of rows overlap the next", t.Table, plural(t.Overlaps, "former version"))
	}
	atLeast := ""
	if t.Partial {
		atLeast = "at least " // there are too many to tell them all apart
	}
	return fmt.Sprintf("%s: %s%d missing, %d extra, %d changed, %d doubled (source %s, copy %s, %d of %s differ)",
		t.Table, atLeast, t.Missing, t.Extra, t.Changed, t.Doubled, plural(t.SourceRows, "row"), plural(t.CopyRows, "row"), t.DifferingRanges, plural(t.Ranges, "range"))
}

// plural is a number with its noun.
func plural[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// verifyTask compares a dataset's tables with the source. Tables with an incremental column are first brought to the very
// snapshot that they are compared at, so that what the source did since the last run is no difference; the others are
// compared as they stand.
func (s *Syncer) verifyTask(repair bool) task {
	return func(ctx context.Context, d *config.Dataset, src source.Source, a *active) error {
		return s.retry(ctx, d, a, func() error {
			if d.Form == config.FormCDC {
				return s.verifyReplica(ctx, d, src, a, repair)
			}
			return s.verify(ctx, d, src, a, repair)
		})
	}
}

func (s *Syncer) verify(ctx context.Context, d *config.Dataset, src source.Source, a *active, repair bool) error {
	states, err := s.store.Tables(ctx)
	if err != nil {
		return err
	}
	synced := map[string]bool{}
	for _, t := range states {
		synced[t.Target] = !t.LastSync.IsZero()
	}
	for _, p := range d.Parts {
		if !synced[p.Target] {
			return fault.New(fault.NotFound, "run `pintail sync "+d.Name+"` first", "verify %s: table %s has not been synced yet", d.Name, p.Target)
		}
	}
	snap, err := src.Snapshot(ctx, source.SnapshotOptions{StatementTimeout: d.QueryTimeout})
	if err != nil {
		return fault.Wrap(err, "verify %s", d.Name)
	}
	defer func() { _ = snap.Close() }()

	incremental := *d
	incremental.Parts = nil
	for _, p := range d.Parts {
		if p.IncrementalColumn != "" {
			incremental.Parts = append(incremental.Parts, p)
		}
	}
	kind := a.run.Kind
	var caught []*part
	if len(incremental.Parts) == len(d.Parts) {
		if caught, err = s.catchUp(ctx, snap, d, a, nil); err != nil {
			return fault.Wrap(err, "verify %s: catching up", d.Name)
		}
	} else if len(incremental.Parts) > 0 {
		if d.Form == config.FormSplit {
			incremental.ViewName = "" // made of both halves
		}
		if caught, err = s.catchUp(ctx, snap, &incremental, a, nil); err != nil {
			return fault.Wrap(err, "verify %s: catching up", d.Name)
		}
	}
	s.note(a, func(r *store.Run) { r.Kind = kind })

	verdict := Verdict{Equal: true}
	parts, err := s.plan(ctx, snap, d, nil)
	if err != nil {
		return fault.Wrap(err, "verify %s", d.Name)
	}
	s.note(a, func(*store.Run) {
		a.guess = a.progress.Rows.Load()
		for _, p := range parts {
			a.guess += p.state.Rows
		}
	})
	rebuild := map[string]string{}
	for _, p := range parts {
		c := newComparison(s.store, snap, p, s.cfg.DuckDB.SyncWorkers, &a.progress)
		t, err := c.run(ctx)
		if err != nil {
			return fault.Wrap(err, "verify %s: table %s", d.Name, p.cfg.Target)
		}
		if !t.equal() && p.inc == "" {
			t.Note = "it has no incremental column: what the source changed since the sync of " + p.state.LastSync.Format(time.RFC3339) + " differs"
		}
		if !t.equal() && repair {
			if t.Repair, err = s.repair(ctx, c, t, rebuild); err != nil {
				return fault.Wrap(err, "reconcile %s: table %s", d.Name, p.cfg.Target)
			}
		}
		verdict.Equal = verdict.Equal && (t.equal() || repair)
		verdict.Tables = append(verdict.Tables, *t)
		s.log.Info("compared with the source", "dataset", d.Name, "run", a.run.ID, "table", t.Table, "result", t.String(), "repair", t.Repair)
	}
	if len(rebuild) > 0 {
		if _, err := s.catchUp(ctx, snap, d, a, rebuild); err != nil {
			return fault.Wrap(err, "reconcile %s: rebuilding", d.Name)
		}
		s.note(a, func(r *store.Run) { r.Kind = kind })
	}
	if err := s.afterwards(ctx, d, append(caught, parts...)); err != nil {
		return err
	}
	return s.judged(d.Name, a, &verdict)
}

// judged ends a run with its verdict.
func (s *Syncer) judged(dataset string, a *active, verdict *Verdict) error {
	s.note(a, func(r *store.Run) {
		r.Detail = toJSON(verdict)
		if verdict.Equal {
			r.State, r.Progress = StateReady, 1
		}
	})
	if !verdict.Equal {
		text := ""
		for _, t := range verdict.Tables {
			if !t.equal() {
				text += "; " + t.String()
			}
		}
		return fault.New(fault.Differences, "`pintail sync "+dataset+" --full` rebuilds it; `reconcile:` in the configuration repairs on a schedule",
			"verify %s: the copy differs from the source%s", dataset, text)
	}
	return nil
}

// repairRangesMax is how many ranges are mended one by one; with more, the table is read again as a whole.
const repairRangesMax = 32

// repair mends the differing ranges of a table at the comparison's snapshot: their rows are read again, merged by key, and
// what the source does not have is deleted. Tables without a key whose order both sides share are marked for a rebuild.
func (s *Syncer) repair(ctx context.Context, c *comparison, t *TableVerdict, rebuild map[string]string) (string, error) {
	ranges, ok := c.differing()
	if !ok || len(ranges) > repairRangesMax || len(c.part.key) == 0 {
		rebuild[t.Table] = "reconcile found differences: " + t.String()
		return "rebuilt", nil
	}
	for _, r := range ranges {
		feed, err := c.snap.Read(ctx, c.part.desc, r, c.workers, c.progress)
		if err != nil {
			return "", err
		}
		st, err := s.store.Stage(ctx, t.Table, c.part.columns(), feed, false)
		if err != nil {
			return "", err
		}
		defer s.store.Discard(context.WithoutCancel(ctx), st)
		if err := s.store.CheckKey(ctx, st, c.part.key); err != nil {
			return "", err
		}
		err = s.store.Commit(ctx, func(tx *store.Tx) error {
			ins, upd, err := tx.Merge(t.Table, st, c.part.key, c.part.columns())
			if err != nil {
				return err
			}
			del, err := tx.DeleteMissing(t.Table, st, c.part.key, store.KeyRange{Column: r.Column, Low: r.Low, High: r.High})
			if err != nil {
				return err
			}
			c.part.inserted, c.part.updated, c.part.deleted = c.part.inserted+ins, c.part.updated+upd, c.part.deleted+del
			state := c.part.state
			state.Rows += c.part.inserted - c.part.deleted
			return tx.SaveTable(state)
		})
		if err != nil {
			return "", err
		}
	}
	p := c.part
	return fmt.Sprintf("%d inserted, %d updated, %d deleted in %s", p.inserted, p.updated, p.deleted, plural(len(ranges), "range")), nil
}
