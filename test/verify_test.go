package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// verified is a table of a dataset that is damaged behind Pintail's back, and has to be found out and mended.
type verified struct {
	dataset, table, query string
	key                   []string // of the comparison
	row                   string   // DuckDB condition of one old row
	names                 string   // what names that row in verify's output
	column, damage        string   // a column of it, and the SQL of a value that is wrong by one byte
	keyless               bool     // in the configuration
}

const verifySQL = `
	CREATE TABLE big (id bigint PRIMARY KEY, note text, at timestamptz NOT NULL DEFAULT now(), price numeric(12,2), f float8, b bytea, tags text[]);
	INSERT INTO big SELECT g, 'note ' || g, '2026-01-01'::timestamptz + g * interval '1 s', g / 100.0, g / 3.0, decode(md5(g::text), 'hex'), ARRAY['a' || g, NULL] FROM generate_series(1, 30000) g;
	CREATE TABLE worded (word text PRIMARY KEY, n int, at timestamptz DEFAULT now()); INSERT INTO worded SELECT md5(g::text), g, '2026-01-01'::timestamptz + g * interval '1 s' FROM generate_series(1, 3000) g;
	CREATE TABLE pairs (a int, b text, v jsonb, PRIMARY KEY (a, b)); INSERT INTO pairs SELECT g % 50, 'b' || g / 50, jsonb_build_object('g', g) FROM generate_series(1, 2000) g;
	CREATE TABLE floats (f float8 PRIMARY KEY, note text); INSERT INTO floats SELECT g / 7.0, 'n' || g FROM generate_series(1, 500) g;
	CREATE TABLE plain (n int, note text); INSERT INTO plain SELECT g % 100, 'same ' || g % 100 FROM generate_series(1, 1000) g;` + tracesSQL + `
	UPDATE traces SET created_at = '2026-01-01'; UPDATE results SET created_at = '2026-01-01';`

const verifyDatasets = `datasets:
  big: {source: pg, table: public.big, key: [id], incremental_column: at}
  big_nokey: {source: pg, table: public.big, incremental_column: at}
  worded: {source: pg, queries: {q: {sql: SELECT * FROM worded, key: [word], incremental_column: at}, all: {sql: "SELECT n FROM worded"}}, view: SELECT word FROM worded_q}
  pairs: {source: pg, table: public.pairs, key: [a, b]}
  floats: {source: pg, table: public.floats, key: [f]}
  plain: {source: pg, table: public.plain}
  keyed: {source: pg, dataset_query: "` + datasetQuery + `", results_query: "` + resultsQuery + `", key: {dataset: [dataset_id], results: [dataset_id, metric]}, incremental_column: created_at}
  keyless: {source: pg, dataset_query: "` + datasetQuery + `", results_query: "` + resultsQuery + `", incremental_column: created_at}
`

var verifiedTables = []verified{
	{"big", "big", "SELECT * FROM big", []string{"id"}, "id = 12345", "id=12345", "note", "'note 12346'", false},
	{"big_nokey", "big_nokey", "SELECT * FROM big", []string{"id"}, "id = 7", "id=7", "b", `'\x00'::BLOB`, true},
	{"worded", "worded_q", "SELECT * FROM worded", []string{"word"}, "n = 2000", "word=08f90c1a417155361a5c4b8d297e0d78", "n", "2001", false},
	{"worded", "worded_all", "SELECT n FROM worded", nil, "n = 99", "n=99", "n", "-99", true},
	{"pairs", "pairs", "SELECT * FROM pairs", []string{"a", "b"}, "a = 7 AND b = 'b3'", "a=7, b=b3", "v", `'{"g": 158}'`, false},
	{"floats", "floats", "SELECT * FROM floats", []string{"f"}, "note = 'n7'", "f=1", "note", "'N7'", false},
	{"plain", "plain", "SELECT * FROM plain", nil, "rowid = 500", "n=", "note", "note || ' '", true},
	{"keyed", "keyed_dataset", datasetQuery, []string{"dataset_id"}, "dataset_id = 'T9'", "dataset_id=T9", "latency", "latency + 0.001", false},
	{"keyed", "keyed_results", resultsQuery, []string{"dataset_id", "metric"}, "dataset_id = 'T9' AND metric = 'relevant'", "dataset_id=T9, metric=relevant", "notes", "''", false},
	{"keyless", "keyless_results", resultsQuery, []string{"dataset_id", "metric"}, "dataset_id = 'T19' AND metric = 'faithful'", "dataset_id=T19", "score", "NULL", true},
}

// One altered byte, one missing row, one doubled row and one row too many: verify finds and names each, in every form of
// dataset, and ends with exit code 3; repaired, the copy is the source again.
func TestVerify(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, verifySQL)
		p := harness.With(t, url, verifyDatasets)
		p.OK("sync")
		f := harness.File(p.DB)
		out := p.OK("verify")
		require.Equal(t, 11, strings.Count(out, ": equal, "), out)
		for _, kind := range []string{"changed", "missing", "doubled"} {
			for _, v := range verifiedTables {
				f.Exec(t, map[string]string{
					"changed": fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s", v.table, v.column, v.damage, v.row),
					"missing": fmt.Sprintf("DELETE FROM %s WHERE %s", v.table, v.row),
					"doubled": fmt.Sprintf("INSERT INTO %[1]s SELECT * FROM %[1]s WHERE %s", v.table, v.row),
				}[kind])
			}
			r := p.Code(3, "verify")
			contains(t, r.Stderr, "hint:")
			for _, v := range verifiedTables {
				count := "1 " + kind
				if kind == "changed" && v.keyless {
					count = "1 missing, 1 extra"
				}
				_, found, _ := strings.Cut("\n"+r.Stdout, "\n"+v.table+": ")
				line, samples, _ := strings.Cut(found, "\n")
				samples, _, _ = strings.Cut(samples, "(source ")
				contains(t, line, count)
				contains(t, samples, v.names)
				if count == "1 changed" {
					contains(t, samples, v.column+" is ")
				}
				for _, other := range []string{"changed", "missing", "doubled", "extra"} {
					if !strings.Contains(count, other) {
						contains(t, line, "0 "+other)
					}
				}
			}
			p.OK("verify", "--repair")
			for _, v := range verifiedTables {
				harness.Compare(t, url, v.query, f, v.table, v.key...)
			}
			require.Equal(t, 11, strings.Count(p.OK("verify"), ": equal, "))
		}
		// Smaller than what a comparison of texts or of rounded numbers sees.
		for _, c := range []struct{ sql, column string }{
			{"UPDATE big SET f = f + 0.0000000000000001 WHERE id = 1", "f is"}, {"UPDATE big SET tags = ['a29999', ''] WHERE id = 29999", "tags is"},
			{"UPDATE big SET \"at\" = \"at\" + INTERVAL 1 MICROSECOND WHERE id = 15000", "at is"},
		} {
			f.Exec(t, c.sql)
			contains(t, p.Code(3, "verify", "big").Stdout, "1 changed", c.column)
			p.OK("verify", "--repair", "big")
			harness.Compare(t, url, "SELECT * FROM big", f, "big", "id")
		}
		// A view over repaired tables still answers.
		harness.Compare(t, url, joined("LEFT", "d.dataset_id"), f, "keyed_data")
		harness.Compare(t, url, "SELECT word FROM worded", f, "worded")

		// Many differences at once, spread over all ranges, and rows that the source never had.
		f.Exec(t, `DELETE FROM big WHERE id % 100 = 0`, `UPDATE big SET note = 'x' WHERE id % 100 = 1`, `INSERT INTO big SELECT -id, note, "at", price, f, "b", "tags" FROM big WHERE id <= 50 AND id % 100 > 1`)
		r := p.Code(3, "verify", "big", "--json")
		var run struct {
			State, Code string
			Detail      struct {
				Equal  bool
				Tables []struct {
					Missing, Extra, Changed, Doubled int64
					Samples                          []any
				}
			}
		}
		require.NoError(t, json.Unmarshal([]byte(r.Stdout), &run), r.Stdout)
		require.Equal(t, "differences", run.Code)
		require.False(t, run.Detail.Equal)
		require.EqualValues(t, 300, run.Detail.Tables[0].Missing)
		require.EqualValues(t, 300, run.Detail.Tables[0].Changed)
		require.EqualValues(t, 49, run.Detail.Tables[0].Extra)
		require.NotEmpty(t, run.Detail.Tables[0].Samples)
		p.OK("verify", "--repair", "big")
		harness.Compare(t, url, "SELECT * FROM big", f, "big", "id")

		// The whole copy is gone, or empty: told in words.
		f.Exec(t, `DELETE FROM pairs`)
		contains(t, p.Code(3, "verify", "pairs").Stdout, "2000 missing")
		p.OK("verify", "--repair")
		harness.Compare(t, url, "SELECT * FROM pairs", f, "pairs", "a", "b")
	})
}

// What the source did since the last sync is no difference where a column shows it; else the difference is told with its
// likely cause.
func TestVerifyOfAChangingSource(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, verifySQL)
		p := manual(t, url, verifyDatasets)
		r := p.Code(1, "verify", "big")
		contains(t, r.Stderr, "has not been synced yet", "pintail sync")
		p.OK("sync")
		harness.PG(t, url, `INSERT INTO big (id, note) SELECT 100000 + g, 'new' FROM generate_series(1, 500) g`, `UPDATE pairs SET v = '{}' WHERE a = 1`)
		s := p.Serve()
		contains(t, p.OK("verify", "big"), "big: equal, 30500 rows")
		harness.Compare(t, url, "SELECT * FROM big", s, "big", "id")
		r = p.Code(3, "verify", "pairs")
		contains(t, r.Stdout, "40 changed", "no incremental column")
		// A verification is shown as one for as long as it runs, and in the history.
		id := s.Begin("/api/store/verify/big")
		require.Equal(t, "verify", s.RunByID(id).Kind)
		run := s.Follow(id)
		require.Equal(t, "verify", run.Kind)
		require.Equal(t, "ready", run.State)
		require.EqualValues(t, 30500, s.Status("big").Rows)
		require.Equal(t, "ready", s.Status("pairs").State, "a difference is no failed sync")
		for range 25 {
			s.Follow(s.Begin("/api/store/verify/floats"))
		}
		require.Equal(t, "ready", s.Status("floats").State, "nor do many verifications hide the sync")
	})
}

// reconcile: on a schedule finds deleted rows, rows that left a sliding condition, and changes that no watermark shows.
func TestScheduledReconcile(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, `CREATE TABLE messages (id bigserial PRIMARY KEY, status text, created_at timestamptz DEFAULT now(), expires timestamptz);
			INSERT INTO messages (status, created_at, expires) SELECT 's' || g % 3, now() - interval '1 day', now() + CASE WHEN g % 2 = 0 THEN interval '3 s' ELSE interval '1 day' END FROM generate_series(1, 500) g`)
		p := manual(t, url, `datasets:
  messages: {source: pg, table: public.messages, key: [id], incremental_column: created_at, refresh: 1s, reconcile: 1s}
  living: {source: pg, table: public.messages, where: expires > now(), key: [id], incremental_column: created_at, refresh: 1s, reconcile: 1s}
  nokey: {source: pg, queries: {q: {sql: "SELECT id, status FROM messages", incremental_column: id}}, reconcile: 1s}
`)
		s := p.Serve()
		for _, d := range []string{"messages", "living", "nokey"} {
			s.Sync(d)
		}
		require.NotEqual(t, "0", s.One("SELECT count(*) FROM living"))
		harness.PG(t, url, `DELETE FROM messages WHERE id % 10 = 0`, `UPDATE messages SET status = 'quietly' WHERE id % 7 = 0`, `INSERT INTO messages (status, created_at) VALUES ('late', '2020-01-01')`)
		equal := func(query, table string) func() bool {
			return func() bool {
				_, diffs, err := harness.Diff(t.Context(), url, query, s, table, "id")
				require.NoError(t, err)
				return len(diffs) == 0
			}
		}
		harness.Eventually(t, 20*time.Second, "messages is mended", equal("SELECT * FROM messages", "messages"))
		harness.Eventually(t, 20*time.Second, "nokey is mended", equal("SELECT id, status FROM messages", "nokey_q"))
		harness.Eventually(t, 20*time.Second, "rows leave the sliding condition", func() bool {
			return equal("SELECT * FROM messages WHERE expires > now()", "living")() && s.One("SELECT count(*) FROM living WHERE id % 2 = 0") == "0"
		})
		for _, r := range s.Runs("messages") {
			require.NotEqual(t, "error", r.State, harness.Show(r))
			if r.Kind == "reconcile" && strings.Contains(string(r.Detail), "50 deleted") {
				return // the numbers are reported
			}
		}
		t.Fatalf("no run reports the 50 deleted rows: %s", harness.Show(s.Runs("messages")))
	})
}
