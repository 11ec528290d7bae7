package crash

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/step"
	"github.com/pintaildb/pintail/test/harness"
)

// moments are where a run is killed: each named step, and the second table's first rows where there are two tables.
func (f *form) moments() []string {
	m := slices.Clone(step.All)
	if len(f.tables) > 1 {
		m = append(m, step.Loading+":2")
	}
	return m
}

// visible says whether a run that was killed there had committed.
func visible(moment string) bool { return moment == step.Committed || moment == step.Reclaimed }

// killAt runs a command that is killed at a step.
func killAt(t *testing.T, p *harness.Project, moment string, args ...string) {
	t.Helper()
	p.Env = []string{step.Variable + "=" + moment}
	r := p.Run(args...)
	p.Env = nil
	killed(t, r)
}

// The first sync of all is killed at each step: there is nothing to read then, or everything.
func TestKillFirstSync(t *testing.T) {
	for _, f := range forms {
		if f.name != "split" && f.name != "keyless" {
			continue // beside their number, tables are all alike here
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			url := database(t)
			harness.PG(t, url, f.schema)
			for _, moment := range f.moments() {
				t.Run(moment, func(t *testing.T) {
					p := with(t, url, "datasets:\n  "+f.name+": "+f.dataset+"\n")
					killAt(t, p, moment, "sync")
					st := status(t, p, f.status)
					if visible(moment) {
						clean(t, p, f.tables...)
						same(t, url, harness.File(p.DB), f.objects)
					} else {
						clean(t, p)
						if st.LastSync != nil || st.Rows != 0 {
							t.Errorf("nothing was synced: %s", harness.Show(st))
						}
					}
					f.interrupted(t, p, st, moment)
					f.recovers(t, p, url)
				})
			}
		})
	}
}

// A run over existing data, incremental and full, is killed at each step: readers have all of the old, or all of the new.
func TestKillSync(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			url := database(t)
			harness.PG(t, url, f.schema)
			p := with(t, url, "datasets:\n  "+f.name+": "+f.dataset+"\n")
			p.OK("sync")
			file := harness.File(p.DB)
			n, failed := 0, 0
			for _, kind := range []string{"incremental", "full"} {
				for _, moment := range f.moments() {
					n++
					if !visible(moment) {
						failed++
					}
					t.Run(kind+"/"+moment, func(t *testing.T) {
						before := dump(t, p, f.objects)
						harness.PG(t, url, f.change(n)...)
						if kind == "full" {
							killAt(t, p, moment, "sync", "--full")
						} else {
							killAt(t, p, moment, "sync")
						}
						st := status(t, p, f.status)
						clean(t, p, f.tables...)
						if visible(moment) {
							same(t, url, file, f.objects)
						} else {
							unchanged(t, p, f.objects, before)
						}
						f.interrupted(t, p, st, moment)
						f.recovers(t, p, url)
					})
				}
			}
			inHistory := 0
			for _, r := range history(t, p, f.name) {
				if r.State == "error" && strings.Contains(deref(r.Error), "interrupted") {
					inHistory++
				}
			}
			if inHistory != failed {
				t.Errorf("%d runs were interrupted, the history has %d", failed, inHistory)
			}
		})
	}
}

// interrupted checks what status and history say of a run that was killed: an error unless its rows were committed.
func (f *form) interrupted(t *testing.T, p *harness.Project, st harness.Status, moment string) {
	t.Helper()
	want := "interrupted by a stop of the process"
	state := "error"
	if visible(moment) {
		want, state = "", "ready"
	}
	run := look(t, p, "SELECT concat_ws('; ', state, error, ended_at IS NOT NULL) FROM _pintail.runs ORDER BY id DESC LIMIT 1")[0]
	if wanted := state + "; " + want + "; true"; len(run) != 1 || run[0] != wanted {
		t.Errorf("want the run as %q, got %q", wanted, run)
	}
	if st.State != state || strings.TrimPrefix(deref(st.Error), "<nil>") != want {
		t.Errorf("want status %s, got %s", state, harness.Show(st))
	}
}

// recovers runs the next sync, which needs no help: the copy is what PostgreSQL holds.
func (f *form) recovers(t *testing.T, p *harness.Project, url string) {
	t.Helper()
	r := synced(t, p)
	file := harness.File(p.DB)
	same(t, url, file, f.objects)
	clean(t, p, f.tables...)
	n := look(t, p, "SELECT rows FROM _pintail.tables WHERE target = '"+f.status+"'", `SELECT count(*) FROM "`+f.status+`"`)
	if counted, rows := n[0][0], n[1][0]; counted != rows {
		t.Errorf("the status counts %s rows, the copy has %s; the run was %s", counted, rows, harness.Show(r))
	}
}

// A column that the source renamed, dropped or widened is followed in place; killed right after that, the view over the
// table still answers, and the next sync brings everything.
func TestKillWhileFollowing(t *testing.T) {
	for _, c := range []struct{ name, ddl string }{
		{"rename", "ALTER TABLE traces RENAME COLUMN cost TO price"},
		{"drop", "ALTER TABLE traces DROP COLUMN cost"},
		{"widen", "ALTER TABLE traces ALTER COLUMN cost TYPE numeric(18,4)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := database(t)
			harness.PG(t, url, splitSchema)
			p := with(t, url, `datasets:
  split: {source: pg, dataset_query: "SELECT id AS dataset_id, t.* FROM traces t", results_query: "`+splitResults+`",
    key: {dataset: [dataset_id], results: [dataset_id, metric]}, incremental_column: created_at}
`)
			file := harness.File(p.DB)
			objects := []object{{"split_dataset", "SELECT id AS dataset_id, t.* FROM traces t", []string{"dataset_id"}}, {"split_results", splitResults, nil}}
			p.OK("sync")
			rows := file.One(t, "SELECT count(*) FROM split_data")
			harness.PG(t, url, c.ddl)
			harness.PG(t, url, forms[0].change(1)...)
			killAt(t, p, step.Followed, "sync")
			status(t, p, "split_data")
			if now := p.OK("query", "--format", "csv", "SELECT count(prompt) - count(prompt) + count(*) FROM split_data"); now != "" {
				contains(t, now, rows)
			}
			p.OK("sync")
			same(t, url, file, objects)
			clean(t, p, "split_dataset", "split_results")
		})
	}
}

// A view of one's own that names a column which the source has renamed: the run fails, and the last good data stays
// readable through that view, until the column is back.
func TestViewThatCannotFollow(t *testing.T) {
	t.Parallel()
	url := database(t)
	harness.PG(t, url, "CREATE TABLE m (id int PRIMARY KEY, error text, at timestamptz NOT NULL DEFAULT now()); INSERT INTO m SELECT g, 'e' || g FROM generate_series(1, 100) g")
	p := with(t, url, `datasets:
  q: {source: pg, queries: {m: {sql: SELECT * FROM m, key: [id], incremental_column: at}}, view: "SELECT id, error FROM q_m"}
`)
	p.OK("sync")
	objects := []object{{"q", "SELECT id, error FROM m", []string{"id"}}, {"q_m", "SELECT * FROM m", []string{"id"}}}
	before := dump(t, p, objects)
	harness.PG(t, url, "ALTER TABLE m RENAME COLUMN error TO failure", "INSERT INTO m VALUES (101, 'new')")
	for range 2 {
		r := p.Code(fault.ExitConfig, "sync")
		contains(t, r.Stderr, "view q", `"error" not found`, "hint: correct `view` of the dataset")
		unchanged(t, p, objects, before)
		clean(t, p, "q_m")
	}
	harness.PG(t, url, "ALTER TABLE m RENAME COLUMN failure TO error")
	p.OK("sync")
	same(t, url, harness.File(p.DB), objects)
}

// A view that the configuration changes is made anew by the next run, which is killed before: until then it is the old one.
func TestChangedViewIsMadeAnew(t *testing.T) {
	t.Parallel()
	url := database(t)
	harness.PG(t, url, splitSchema, "INSERT INTO traces (id) VALUES ('alone')")
	const datasets = `datasets:
  split: {source: pg, dataset_query: "` + splitDataset + `", results_query: "` + splitResults + `",
    key: {dataset: [dataset_id], results: [dataset_id, metric]}, incremental_column: created_at, join: left}
`
	p := with(t, url, datasets)
	p.OK("sync")
	left := object{"split_data", splitView, nil}
	inner := object{"split_data", strings.Replace(splitView, "LEFT JOIN", "JOIN", 1), nil}
	file := harness.File(p.DB)
	same(t, url, file, []object{left})
	p.Write(p.Head(url) + strings.Replace(datasets, "join: left", "join: inner", 1))
	killAt(t, p, step.Applied, "sync")
	status(t, p, "split_data")
	same(t, url, file, []object{left})
	killAt(t, p, step.Committed, "sync")
	status(t, p, "split_data")
	same(t, url, file, []object{inner})
	if r := synced(t, p); r.Kind != "incremental" {
		t.Errorf("want no rebuild, got %s", harness.Show(r))
	}
	same(t, url, file, []object{inner})
	if st := status(t, p, "split_data"); st.Rows != 2400 {
		t.Errorf("want the view's 2400 rows, got %s", harness.Show(st))
	}
	clean(t, p, "split_dataset", "split_results")
}

// A reconciliation is killed: whatever it had done by then, the next one ends with what PostgreSQL holds, and rows that it
// would have deleted are neither lost nor doubled before.
func TestKillReconcile(t *testing.T) {
	for _, c := range []struct {
		form    string
		deletes []string
		moments []string
	}{
		{"split", []string{"DELETE FROM scores WHERE trace_id LIKE '%%%d'", "DELETE FROM traces WHERE id LIKE '%%%d'"}, []string{step.Planned, step.Loading + ":2", step.Staged, step.Applied, step.Committed, step.Reclaimed}},
		// Without a key it is built anew, after it was brought up to date.
		{"keyless", []string{"DELETE FROM keyless WHERE id %% 10 = %d"}, []string{step.Applied, step.Committed, step.Staged + ":2", step.Applied + ":2", step.Committed + ":2"}},
	} {
		f := forms[slices.IndexFunc(forms, func(f form) bool { return f.name == c.form })]
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			url := database(t)
			harness.PG(t, url, f.schema)
			p := with(t, url, "datasets:\n  "+f.name+": "+f.dataset+"\n")
			p.OK("sync")
			for n, moment := range c.moments {
				t.Run(moment, func(t *testing.T) {
					harness.PG(t, url, f.change(n)...)
					for _, sql := range c.deletes {
						harness.PG(t, url, fmt.Sprintf(sql, n%10))
					}
					killAt(t, p, moment, "verify", "--repair")
					status(t, p, f.status)
					clean(t, p, f.tables...)
					if runs := history(t, p, f.name); runs[0].Kind != "reconcile" || runs[0].State != "error" || runs[0].EndedAt == nil {
						t.Errorf("want the reconciliation as an error, got %s", harness.Show(runs[0]))
					}
					// Nothing that the source has is missing after a sync, whatever the reconciliation had done.
					f.recoversBut(t, p, url, "extra")
					p.OK("verify", "--repair")
					f.recovers(t, p, url)
				})
			}
		})
	}
}

// recoversBut runs the next sync; then the copy differs from PostgreSQL in this way at most.
func (f *form) recoversBut(t *testing.T, p *harness.Project, url, kind string) {
	t.Helper()
	synced(t, p)
	for _, o := range f.objects {
		_, diffs, err := harness.Diff(t.Context(), url, o.query, harness.File(p.DB), o.name, o.key...)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range diffs {
			if d.Kind != kind {
				t.Errorf("%s: %s", o.name, d)
			}
		}
	}
}
