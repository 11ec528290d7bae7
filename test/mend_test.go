package test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// A copy that does not fit its source any more, for whatever reason, is rebuilt by the next sync without a person, once.
func TestMendsItself(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, reloadSQL)
		p := manual(t, url, `datasets:
  a: {source: pg, table: public.a, key: [id], incremental_column: at}
  s: {source: pg, dataset_query: "SELECT id AS dataset_id, n, at FROM a", results_query: "SELECT id AS dataset_id, at FROM b", key: {dataset: [dataset_id], results: [dataset_id]}, incremental_column: at}
`)
		f := harness.File(p.DB)
		p.OK("sync")
		for i, damage := range []string{
			`ALTER TABLE a DROP COLUMN n`, `ALTER TABLE a ALTER n TYPE VARCHAR`, `ALTER TABLE a RENAME n TO m`, `DROP TABLE a`, `DROP VIEW s_data`,
			`DROP TABLE s_results`, `DELETE FROM _pintail.tables`, `UPDATE _pintail.tables SET watermark = '{}'`, `UPDATE _pintail.tables SET columns = '[]'`, `UPDATE _pintail.tables SET watermark = '"nonsense"'`,
		} {
			f.Exec(t, damage)
			harness.PG(t, url, `INSERT INTO a SELECT max(id) + 1, 1 FROM a`, `INSERT INTO b SELECT max(id) + 1 FROM b`, `UPDATE a SET at = now() WHERE id = 3`)
			if r := p.Run("sync"); r.Code != 0 {
				t.Errorf("%s: %s", damage, r)
				p.OK("sync", "--full")
			}
			harness.Compare(t, url, "SELECT * FROM a", f, "a", "id")
			harness.Compare(t, url, "SELECT id AS dataset_id, b.at, n, a.at AS dataset_at FROM a LEFT JOIN b USING (id)", f, "s_data", "dataset_id")
			contains(t, p.OK("sync"), "a: incremental sync")
			if i == 0 {
				contains(t, p.OK("verify"), "a: equal")
			}
		}
		// The file itself is gone.
		require.NoError(t, os.Remove(p.DB))
		contains(t, p.OK("sync"), "a: full sync (a: first sync)")
		harness.Compare(t, url, "SELECT * FROM a", f, "a", "id")
	})
}
