package test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// Every run that ended has an end, whatever its kind and however it went.
func TestRunsHaveAnEnd(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, reloadSQL)
		p := manual(t, url, "datasets:\n  a: {source: pg, table: public.a, key: [id], incremental_column: at}\n  b: {source: pg, table: public.b, key: [id]}\n")
		p.OK("sync")
		p.OK("verify")
		p.OK("verify", "--repair")
		harness.PG(t, url, `DELETE FROM a WHERE id < 5`)
		p.Code(3, "verify", "a")
		p.OK("verify", "--repair", "a")
		s := p.Serve()
		for _, path := range []string{"/api/store/verify/b", "/api/store/reconcile/b", "/api/store/sync/b"} {
			s.Follow(s.Begin(path))
		}
		s.Stop()
		s = p.Serve()
		kinds := map[string]int{}
		for _, r := range append(s.Runs("a"), s.Runs("b")...) {
			kinds[r.Kind+" "+r.State]++
			require.NotNil(t, r.EndedAt, harness.Show(r))
			require.False(t, r.EndedAt.Before(r.StartedAt), harness.Show(r))
		}
		require.Equal(t, map[string]int{"full ready": 3, "verify ready": 3, "reconcile ready": 4, "verify error": 1}, kinds)
	})
}

// A run that failed before it knew what to read is recorded as what it would have been.
func TestKindOfAFailedRun(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, reloadSQL)
		p := manual(t, url, "datasets:\n  a: {source: pg, table: public.a, key: [id], incremental_column: at}\n  b: {source: pg, table: public.b, key: [id]}\n")
		last := func(dataset string) string {
			t.Helper()
			var runs []harness.Run
			decode(t, p.OK("runs", "--json", "--limit", "1", "--dataset", dataset), &runs)
			return runs[0].Kind + " " + runs[0].State
		}
		harness.PG(t, url, `ALTER TABLE a RENAME TO a_away; ALTER TABLE b RENAME TO b_away`)
		p.Code(1, "sync")
		require.Equal(t, "full error", last("a"), "never synced")
		require.Equal(t, "full error", last("b"), "never synced")
		harness.PG(t, url, `ALTER TABLE a_away RENAME TO a; ALTER TABLE b_away RENAME TO b`)
		p.OK("sync")
		harness.PG(t, url, `ALTER TABLE a RENAME TO a_away; ALTER TABLE b RENAME TO b_away`)
		p.Code(1, "sync")
		require.Equal(t, "incremental error", last("a"), "it has a watermark")
		require.Equal(t, "full error", last("b"), "no incremental column")
		p.Code(1, "sync", "--full", "a")
		require.Equal(t, "full error", last("a"), "asked for")
	})
}

// What the last run said outlives the process, stopped or killed: a server that starts after a failed run shows the state, the
// error with its hint, and the rows of the last good one.
func TestRestartAfterAFailedRun(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, reloadSQL)
		p := manual(t, url, `datasets:
  a: {source: pg, table: public.a, key: [id], incremental_column: at}
  s: {source: pg, dataset_query: SELECT id AS dataset_id FROM a, results_query: SELECT id AS dataset_id FROM b}
  never: {source: pg, table: public.a_away}
`)
		s := p.Serve()
		s.Sync("a")
		s.Sync("s")
		harness.PG(t, url, `ALTER TABLE a RENAME TO away`)
		for _, d := range []string{"a", "s", "never"} {
			s.SyncFails(d, "source_sql")
		}
		st := s.Statuses()
		for key, rows := range map[string]int64{"a": 100, "s_data": 100, "never": 0} {
			require.Equal(t, "error", st[key].State, key)
			require.NotEmpty(t, st[key].Hint, key)
			require.Contains(t, *st[key].Error, "does not exist", key)
			require.Equal(t, rows, st[key].Rows, key)
			require.Equal(t, rows > 0, st[key].LastSync != nil, key)
		}
		for _, end := range []func(){func() { s.Stop() }, func() { s.Crash() }} {
			end()
			s = p.Serve()
			now := s.Statuses()
			for key, was := range st {
				is := now[key]
				is.Guarantee, was.Guarantee = "", "" // it is decided by each run
				require.Equal(t, harness.Show(was), harness.Show(is), key)
			}
			require.Equal(t, "100", s.One("SELECT count(*) FROM a"))
			require.Equal(t, "100", s.One("SELECT count(*) FROM s_data"))
			require.Len(t, s.Runs("a"), 2)
			require.Equal(t, "error", s.Runs("a")[0].State)
		}
		harness.PG(t, url, `ALTER TABLE away RENAME TO a`)
		s.Sync("a")
		require.Equal(t, "ready", s.Status("a").State)
		require.Nil(t, s.Status("a").Error)
		harness.Compare(t, url, "SELECT * FROM a", s, "a", "id")
	})
}

// auto_load: true in a NAME_db block means a sync at every start, without a word from anybody; without it there is none.
func TestAutoLoad(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, reloadSQL)
		p := harness.New(t)
		quoted, err := json.Marshal(url)
		require.NoError(t, err)
		block := "_db: {enabled: true, url: " + string(quoted) + ", incremental_column: at, dataset_query: \"SELECT id, id AS dataset_id, at FROM a\", results_query: \"SELECT id, id AS dataset_id, at FROM b\", key: {dataset: [id], results: [id]}"
		p.Write("loaded" + block + ", auto_load: true}\nquiet" + block + ", auto_load: false}\nsilent" + block + "}\nduckdb: {path: data/pintail.duckdb, memory_limit: 512MiB}\nserver: {http: {listen: " + p.Listen + "}}\n")
		for i, kind := range []string{"full", "incremental"} {
			s := p.Serve()
			runs := s.Runs("loaded")
			require.Len(t, runs, i+1)
			require.Equal(t, kind+" ready", runs[0].Kind+" "+runs[0].State)
			harness.Compare(t, url, "SELECT id, id AS dataset_id, at FROM a", s, "loaded_dataset", "id")
			for _, d := range []string{"quiet", "silent"} {
				require.Equal(t, "not_synced", s.Status(d+"_data").State)
				require.Empty(t, s.Runs(d))
			}
			s.Stop()
			harness.PG(t, url, `INSERT INTO a SELECT max(id) + 1, 1 FROM a`)
		}
	})
}
