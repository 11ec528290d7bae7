package test

import (
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
