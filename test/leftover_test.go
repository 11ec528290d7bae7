package test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

const (
	leftoverA = "  a: {source: pg, table: public.a, key: [id], incremental_column: at}\n"
	leftoverB = "  b: {source: pg, queries: {view: {sql: SELECT * FROM b}, more: {sql: SELECT 1 AS one}}, view: SELECT * FROM b_view}\n" +
		"  s: {source: pg, dataset_query: SELECT id AS dataset_id FROM a, results_query: SELECT id AS dataset_id FROM b}\n"
)

// objects are the tables and views of the copy.
func objects(t testing.TB, f harness.File) string {
	t.Helper()
	return f.One(t, `SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'main'`)
}

// Datasets that were taken out while nothing ran leave no stale tables behind: check and sync say so beforehand, and
// the next start of the server drops them, as a reload would have done.
func TestLeftovers(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, reloadSQL)
		p := manual(t, url, "datasets:\n"+leftoverA+leftoverB)
		f := harness.File(p.DB)
		const all = "a b b_more b_view s_data s_dataset s_results"
		p.OK("sync")
		require.Equal(t, all, objects(t, f))
		require.NotContains(t, p.OK("check", "--brief"), "any more")

		p.Write(p.Head(url) + "datasets:\n" + leftoverA)
		says := []string{"b, b_more, b_view of dataset b", "s_data, s_dataset, s_results of dataset s"}
		contains(t, p.OK("check", "--brief"), append(says, "3 warnings", "1 table,", "drops it")...)
		var found []checkJSON
		decode(t, p.OK("check", "--json"), &found)
		require.Len(t, found, 3)
		for _, args := range [][]string{{"status"}, {"runs"}, {"verify"}, {"query", "SELECT 1"}} {
			p.OK(args...)
		}
		require.Equal(t, all, objects(t, f), "only looked at")
		r := p.Code(0, "sync", "a")
		contains(t, r.Stderr, append(says, "the next start of serve drops it")...)
		require.Equal(t, all, objects(t, f), "a command drops nothing")

		// A dataset may also have changed its form.
		p.Write(p.Head(url) + "datasets:\n" + leftoverA + "  b: {source: pg, queries: {view: {sql: SELECT * FROM b}}}\n")
		s := p.Serve()
		contains(t, s.Log(), "dropping what is left", "b, b_more of dataset b", says[1])
		require.Equal(t, "a", s.One("SELECT string_agg(DISTINCT dataset, ' ') FROM _pintail.tables WHERE dataset <> 'b'"))
		require.Equal(t, "a b_view", s.One(`SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'main'`))
		fresh := func() []string {
			var of []string
			_, body := s.Do(http.MethodGet, "/metrics", nil)
			for line := range strings.Lines(string(body)) {
				if strings.HasPrefix(line, "pintail_dataset_freshness_seconds{") {
					of = append(of, strings.Split(line, `"`)[1])
				}
			}
			return of
		}
		require.Equal(t, []string{"a", "b"}, fresh(), "nothing of s")
		p.Write(p.Head(url) + "datasets:\n" + leftoverA)
		s.JSON(http.StatusOK, http.MethodPost, "/api/store/reload?confirm=true", nil, nil)
		require.Equal(t, []string{"a"}, fresh(), "nothing of b after the reload")
		harness.Compare(t, url, "SELECT * FROM a", s, "a", "id")
	})
}
