// Package crash breaks the real pintail where it hurts most, and proves that nothing is lost: it is killed at every named
// step of a run and at random, stopped and interrupted, cut off from its source, left without disk, and read from while
// tables are swapped. Each test ends with harness.Compare, which knows nothing of Pintail.
package crash

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gofrs/flock"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// longEnv asks for the long form of the tests that have one.
const longEnv = "PINTAIL_TEST_LONG"

func long() bool { return os.Getenv(longEnv) != "" }

// database is a database of the test's own on the newest server.
func database(t *testing.T) string {
	t.Helper()
	return pgtest.Get(t, pgtest.Newest).DB(t)
}

// with is a project that syncs only when the test says so. datasets is YAML that begins with "datasets:".
func with(t *testing.T, url, datasets string) *harness.Project {
	t.Helper()
	p := harness.New(t)
	p.DuckDB = "sync_mode: manual"
	p.Write(p.Head(url) + datasets)
	return p
}

// object is a table or view of the copy, and what PostgreSQL holds in its place.
type object struct {
	name, query string
	key         []string
}

// same compares objects with PostgreSQL, row by row.
func same(t *testing.T, url string, c harness.Copy, objects []object) {
	t.Helper()
	for _, o := range objects {
		harness.Compare(t, url, o.query, c, o.name, o.key...)
	}
}

// look runs statements on a closed file, which it opens once: opening it costs more than most of them. Each gives its rows'
// first column as text.
func look(t *testing.T, p *harness.Project, stmts ...string) [][]string {
	t.Helper()
	db, err := sql.Open("duckdb", p.DB+"?access_mode=READ_ONLY")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := make([][]string, len(stmts))
	for i, stmt := range stmts {
		rows, err := db.QueryContext(t.Context(), stmt)
		if err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
		defer rows.Close()
		for rows.Next() {
			var v any
			if err := rows.Scan(&v); err != nil {
				t.Fatalf("%s: %v", stmt, err)
			}
			all[i] = append(all[i], fmt.Sprint(v))
		}
		if err := rows.Err(); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
	return all
}

// contents is what a closed file holds: the rows of each object, and what is known of the tables.
type contents struct {
	rows  map[string][]string // sorted
	state []string            // counts, watermarks, times
}

func dump(t *testing.T, p *harness.Project, objects []object) (c contents) {
	t.Helper()
	stmts := []string{"SELECT CAST(t AS VARCHAR) FROM _pintail.tables AS t ORDER BY 1"}
	for _, o := range objects {
		stmts = append(stmts, `SELECT CAST(t AS VARCHAR) FROM "`+o.name+`" AS t ORDER BY 1`)
	}
	found := look(t, p, stmts...)
	c.state, c.rows = found[0], map[string][]string{}
	for i, o := range objects {
		c.rows[o.name] = found[i+1]
	}
	return c
}

// unchanged fails unless the file holds exactly what it held before.
func unchanged(t *testing.T, p *harness.Project, objects []object, before contents) {
	t.Helper()
	now := dump(t, p, objects)
	for _, o := range objects {
		if !slices.Equal(now.rows[o.name], before.rows[o.name]) {
			t.Errorf("%s is not as before: %d rows, %d before", o.name, len(now.rows[o.name]), len(before.rows[o.name]))
		}
	}
	if !slices.Equal(now.state, before.state) {
		t.Errorf("watermarks and counts changed from\n%v\nto\n%v", before.state, now.state)
	}
}

// ownTables are those of schema _pintail.
var ownTables = []string{"_pintail.client_tables", "_pintail.meta", "_pintail.positions", "_pintail.quarantine", "_pintail.runs", "_pintail.tables"}

// clean fails unless the closed file's folder holds nothing but the file and its free lock, and the file no table but
// these and Pintail's own.
func clean(t *testing.T, p *harness.Project, tables ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(p.DB))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name != filepath.Base(p.DB) && name != filepath.Base(p.DB)+".lock" {
			t.Errorf("left behind: %s", name)
		}
	}
	free(t, p.DB)
	want := slices.Clone(ownTables)
	for _, name := range tables {
		want = append(want, "main."+name)
	}
	slices.Sort(want)
	have := look(t, p, "SELECT schema_name || '.' || table_name FROM duckdb_tables()")[0]
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Errorf("the file has the tables %v, want %v", have, want)
	}
}

// free fails unless nobody holds the file's lock.
func free(t *testing.T, db string) {
	t.Helper()
	l := flock.New(db + ".lock")
	got, err := l.TryLock()
	if err != nil || !got {
		t.Errorf("the lock is not free: %v", err)
	}
	_ = l.Unlock()
	if text, err := os.ReadFile(db + ".lock"); err != nil && !errors.Is(err, fs.ErrNotExist) || strings.TrimSpace(string(text)) != "" {
		t.Errorf("the lock file names a process: %q %v", text, err)
	}
}

// status is what `pintail status` says of one status key.
func status(t *testing.T, p *harness.Project, key string) harness.Status {
	t.Helper()
	var all struct{ Datasets map[string]harness.Status }
	decode(t, p.OK("status", "--json"), &all)
	st, ok := all.Datasets[key]
	if !ok {
		t.Fatalf("there is no status of %s in %s", key, harness.Show(all))
	}
	return st
}

// history is what `pintail runs` says of a dataset, newest first.
func history(t *testing.T, p *harness.Project, dataset string) []harness.Run {
	t.Helper()
	var runs []harness.Run
	decode(t, p.OK("runs", "--json", "--limit", "1000", "--dataset", dataset), &runs)
	return runs
}

// synced is the run of a `pintail sync` that has to succeed.
func synced(t *testing.T, p *harness.Project, args ...string) harness.Run {
	t.Helper()
	var r harness.Run
	decode(t, p.OK(append([]string{"sync", "--json"}, args...)...), &r)
	if r.State != "ready" {
		t.Fatalf("the run is not ready: %s", harness.Show(r))
	}
	return r
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// killed fails unless a signal ended the process, which a crash does and nothing else.
func killed(t *testing.T, r harness.Result) {
	t.Helper()
	if r.Code != -1 {
		t.Fatalf("the process was not killed: %s", r)
	}
}

// contains fails unless text holds every part.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("want %q in:\n%s", part, text)
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return "<nil>"
	}
	return *s
}

// end waits for a process and returns how it ended; it may take as long as the product promises.
func end(t *testing.T, pr *harness.Process) harness.Result {
	t.Helper()
	r, ok := pr.Wait(harness.StopTimeout)
	if !ok {
		t.Fatalf("did not end within %s: %s", harness.StopTimeout, r)
	}
	return r
}
