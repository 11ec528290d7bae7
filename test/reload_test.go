package test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

const reloadSQL = `CREATE TABLE a (id int PRIMARY KEY, n int, at timestamptz DEFAULT now()); CREATE TABLE b (id int PRIMARY KEY, at timestamptz DEFAULT now());
	INSERT INTO a SELECT g, g FROM generate_series(1, 100) g; INSERT INTO b SELECT g FROM generate_series(1, 50) g`

// A running server takes a changed file over: datasets come, go, change, are paused and resumed. What happens to their tables
// is said, and the ones not concerned are not touched. SIGHUP, the command and HTTP do the same.
func TestReload(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, reloadSQL)
		const a, b = "  a: {source: pg, table: public.a, key: [id], incremental_column: at}\n", "  b: {source: pg, table: public.b, key: [id], incremental_column: at}\n"
		p := manual(t, url, "datasets:\n"+a)
		s := p.Serve()
		s.Sync("a")
		runsOfA := len(s.Runs("a"))
		var r struct {
			Success bool
			Message string
			Changes []string
		}
		reload := func(yaml string) string {
			t.Helper()
			p.Write(p.Head(url) + yaml)
			r.Changes = nil
			s.JSON(http.StatusOK, http.MethodPost, "/api/store/reload", nil, &r)
			return strings.Join(r.Changes, "\n")
		}
		require.Empty(t, reload("datasets:\n"+a), "nothing changed")

		// Added.
		contains(t, reload("datasets:\n"+a+b), "dataset b is added", "full sync")
		require.Equal(t, "not_synced", s.Status("b").State)
		s.Sync("b")
		harness.Compare(t, url, "SELECT * FROM b", s, "b", "id")
		require.Len(t, s.Runs("a"), runsOfA, "a is not touched")

		// Changed: the old rows stay readable until the rebuild.
		contains(t, reload("datasets:\n"+strings.Replace(a, "incremental", "where: id > 50, incremental", 1)+b), "dataset a", "where", "rebuilt by a full sync")
		require.Equal(t, "100", s.One("SELECT count(*) FROM a"))
		require.Equal(t, "full", s.Sync("a").Kind)
		harness.Compare(t, url, "SELECT * FROM a WHERE id > 50", s, "a", "id")
		contains(t, reload("datasets:\n"+strings.Replace(a, "incremental", "where: id > 50, lookback: 1h, incremental", 1)+b), "lookback", "tables are kept")
		require.Equal(t, "incremental", s.Sync("a").Kind)

		// Paused and resumed, by file and by API.
		contains(t, reload("datasets:\n"+a+strings.Replace(b, "incremental", "refresh: 1s, paused: true, incremental", 1)), "paused")
		require.True(t, s.Status("b").Paused)
		harness.PG(t, url, `INSERT INTO b VALUES (1000)`)
		contains(t, reload("datasets:\n"+a+strings.Replace(b, "incremental", "refresh: 1s, incremental", 1)), "resumed")
		follows := func() {
			t.Helper()
			harness.Eventually(t, 20*time.Second, "b follows", func() bool {
				return s.One("SELECT count(*) FROM b") == one(t, url, "SELECT count(*)::text FROM b")
			})
		}
		follows()
		s.JSON(http.StatusOK, http.MethodPost, "/api/store/datasets/b/pause", nil, nil)
		require.True(t, s.Status("b").Paused)
		require.Nil(t, s.Status("b").NextRun)
		s.JSON(http.StatusOK, http.MethodPost, "/api/store/datasets/b/resume", nil, nil)
		harness.PG(t, url, `INSERT INTO b VALUES (1001)`)
		follows()
		s.Refused(http.StatusNotFound, http.MethodPost, "/api/store/datasets/nothing/pause", nil)

		// A broken file changes nothing, whichever way it is handed over.
		p.Write(p.Head(url) + "datasets:\n  a: {source: pg, tabel: public.a}\n")
		e := s.Refused(http.StatusBadRequest, http.MethodPost, "/api/store/reload", nil)
		contains(t, e.Error.Message, "tabel", "table")
		s.Signal(syscall.SIGHUP)
		harness.Eventually(t, 10*time.Second, "the refusal is logged", func() bool { return strings.Contains(s.Stderr(), "the old one stays") })
		p.Code(2, "reload")
		s.Sync("a")
		require.Contains(t, s.Statuses(), "b")

		// Removed: its tables go, the other's stay. By signal.
		p.Write(p.Head(url) + "datasets:\n" + a)
		s.Signal(syscall.SIGHUP)
		harness.Eventually(t, 10*time.Second, "b is gone", func() bool { _, there := s.Statuses()["b"]; return !there })
		contains(t, s.Stderr(), "dataset b is removed")
		s.Refused(http.StatusNotFound, http.MethodPost, "/api/store/sync/b", nil)
		harness.Eventually(t, 10*time.Second, "its table is dropped", func() bool { return s.One("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'b'") == "0" })
		s.Sync("a")
		harness.Compare(t, url, "SELECT * FROM a", s, "a", "id")

		// Another form of the same name drops what it does not need any more. By command.
		p.Write(p.Head(url) + "datasets:\n  a: {source: pg, queries: {x: {sql: SELECT id FROM a}, y: {sql: SELECT id FROM b}}}\n")
		contains(t, p.OK("reload", "--yes"), "a", "dropped")
		s.Sync("a")
		harness.Compare(t, url, "SELECT id FROM a", s, "a_x", "id")
		require.Equal(t, "a_x,a_y", s.One("SELECT string_agg(table_name, ',' ORDER BY table_name) FROM duckdb_tables() WHERE schema_name = 'main'"))

		// What needs a restart is said.
		p.DuckDB = "sync_mode: manual, query_concurrency: 3"
		contains(t, reload("datasets:\n  a: {source: pg, queries: {x: {sql: SELECT id FROM a}, y: {sql: SELECT id FROM b}}}\n"), "query_concurrency", "restart")
	})
}

// A dataset that is removed, or changes its form, in the middle of a run leaves nothing behind; a view follows the file
// although its tables are only read by increments.
func TestReloadDuringRun(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, reloadSQL+`; UPDATE a SET at = '2026-01-01'`)
		keep := `  kept: {source: pg, queries: {q: {sql: SELECT * FROM a, key: [id], incremental_column: at}}, view: "SELECT id FROM kept_q"}
  joined: {source: pg, dataset_query: SELECT id AS dataset_id FROM a, results_query: SELECT id AS dataset_id FROM b, key: {dataset: [dataset_id], results: [dataset_id]}, incremental_column: dataset_id}
`
		p := manual(t, url, slowYAML+keep)
		s := p.Serve()
		s.Sync("kept")
		s.Sync("joined")
		id := s.Begin("/api/store/sync/slow")
		busy(t, url, 1)
		p.Write(p.Head(url) + "datasets:\n" + keep)
		p.OK("reload", "--yes")
		require.Equal(t, "cancelled", s.RunByID(id).State)
		busy(t, url, 0)
		require.Equal(t, "0", s.One("SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE '%slow%'"))

		p.Write(p.Head(url) + "datasets:\n" + strings.Replace(strings.Replace(keep, "SELECT id FROM kept_q", "SELECT id, -n AS less FROM kept_q", 1), "source: pg, dataset_query", "source: pg, join: inner, dataset_query", 1))
		contains(t, p.OK("reload"), "view", "join")
		for _, d := range []string{"kept", "joined"} {
			require.Equal(t, "incremental", s.Sync(d).Kind)
		}
		harness.Compare(t, url, "SELECT id, -n AS less FROM a", s, "kept", "id")
		harness.Compare(t, url, "SELECT a.id AS dataset_id FROM a JOIN b USING (id)", s, "joined_data")
		require.EqualValues(t, 50, s.Status("joined_data").Rows)
	})
}

// What a reload does to tables is said before it is done: to whoever asks for it, and nothing is dropped that nobody agreed to.
func TestReloadSaysBefore(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, reloadSQL)
		const a, b = "  a: {source: pg, table: public.a, key: [id], incremental_column: at}\n", "  b: {source: pg, queries: {q: {sql: SELECT * FROM b}}, view: SELECT id FROM b_q}\n"
		p := manual(t, url, "datasets:\n"+a+b)
		s := p.Serve()
		s.Sync("a")
		s.Sync("b")
		var r struct {
			Message                  string
			DryRun                   bool `json:"dry_run"`
			Changes, Drops, Rebuilds []string
		}
		there := func() {
			t.Helper()
			require.Equal(t, "50", s.One("SELECT count(*) FROM b"))
			require.Contains(t, s.Statuses(), "b")
		}
		p.Write(p.Head(url) + "datasets:\n" + strings.Replace(a, "incremental", "where: id > 50, incremental", 1))
		s.JSON(http.StatusOK, http.MethodPost, "/api/store/reload?dry_run=true", nil, &r)
		require.True(t, r.DryRun)
		require.Equal(t, []string{"b_q", "b"}, r.Drops)
		require.Equal(t, []string{"a"}, r.Rebuilds)
		contains(t, strings.Join(r.Changes, "\n"), "dataset a: where changed: rebuilt", "dataset b is removed: b_q, b are dropped")
		contains(t, p.OK("reload", "--dry-run"), "2 changes", "dataset b is removed")
		there()
		for _, path := range []string{"/api/store/reload", "/api/store/reload?confirm=false"} {
			e := s.Refused(http.StatusBadRequest, http.MethodPost, path, nil)
			contains(t, e.Error.Message+e.Error.Hint, "would drop b_q, b", "nothing was changed", "confirm=true", "--yes")
		}
		contains(t, p.Code(2, "reload").Stderr, "would drop b_q, b", "--yes")
		there()

		// On a terminal it is asked.
		for _, answer := range []string{"n\n", "\n"} {
			pr := p.StartTerminal("reload")
			harness.Eventually(t, 20*time.Second, "it asks", func() bool { return strings.Contains(pr.Stderr(), "[y/N]") })
			pr.Type(t, answer)
			res, ok := pr.Wait(20 * time.Second)
			require.True(t, ok)
			require.Equal(t, 130, res.Code, res)
			harness.Eventually(t, 10*time.Second, "the terminal shows the end", func() bool { return strings.Contains(pr.Stderr(), "nothing was changed") })
			contains(t, pr.Stderr(), "dataset b is removed")
			there()
		}
		pr := p.StartTerminal("reload")
		harness.Eventually(t, 20*time.Second, "it asks", func() bool { return strings.Contains(pr.Stderr(), "[y/N]") })
		pr.Type(t, "y\n")
		res, ok := pr.Wait(20 * time.Second)
		require.True(t, ok)
		require.Equal(t, 0, res.Code, res)
		require.NotContains(t, s.Statuses(), "b")
		require.Equal(t, "0", s.One("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'b_q'"))

		// What drops and rebuilds nothing needs no word, and SIGHUP says before what it drops.
		p.Write(p.Head(url) + "datasets:\n" + a + b)
		p.OK("reload", "--yes")
		s.Sync("b")
		p.Write(p.Head(url) + "datasets:\n" + strings.Replace(a, "incremental", "lookback: 1h, incremental", 1) + b)
		require.Equal(t, 0, p.Run("reload").Code)
	})
}
