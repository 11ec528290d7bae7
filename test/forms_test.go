package test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// tracesSQL is the pair of tables that split datasets read. created_at is the server's clock, so that an increment may
// go by it; timestamp and notes are in both, so that they overlap.
const tracesSQL = `
	CREATE TABLE traces (trace_id text PRIMARY KEY, created_at timestamptz DEFAULT now(), timestamp timestamptz, prompt text, notes text, latency numeric(10,3));
	CREATE TABLE results (trace_id text NOT NULL, metric text NOT NULL, score float8, notes text, created_at timestamptz DEFAULT now(), PRIMARY KEY (trace_id, metric));
	INSERT INTO traces (trace_id, timestamp, prompt, notes, latency) SELECT 'T' || g, '2026-01-01'::timestamptz + g * interval '7 min', 'prompt ' || g, CASE WHEN g % 3 = 0 THEN 'n' || g END, g * 1.001 FROM generate_series(1, 300) g;
	INSERT INTO results (trace_id, metric, score, notes) SELECT 'T' || g, m, g / 7.0, 'r' || g FROM generate_series(1, 280) g, unnest(ARRAY['faithful', 'relevant']) m WHERE g % 10 <> 0;
	INSERT INTO results (trace_id, metric, score) VALUES ('orphan', 'faithful', 0.5);`

const (
	datasetQuery = "SELECT trace_id AS dataset_id, created_at, timestamp, prompt AS query, notes, latency FROM traces"
	resultsQuery = "SELECT trace_id AS dataset_id, metric, score, notes, created_at FROM results"
)

// joined is the view that a split dataset promises, as PostgreSQL makes it.
func joined(join, id string) string {
	return "SELECT " + id + ` AS dataset_id, r.metric, r.score, r.notes, r.created_at, d.created_at AS dataset_created_at, d.timestamp, d.query, d.notes AS dataset_notes, d.latency
		FROM (` + datasetQuery + ") d " + join + " JOIN (" + resultsQuery + ") r ON r.dataset_id = d.dataset_id"
}

func TestSplitJoins(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, tracesSQL)
		p := harness.With(t, url, `datasets:
  kept: {source: pg, dataset_query: "`+datasetQuery+` ;\n -- the end\n;", results_query: "`+resultsQuery+`;"}
  inner: {source: pg, join: inner, dataset_query: "`+datasetQuery+`", results_query: "`+resultsQuery+` /* all of them */ ; "}
  fuller: {source: pg, join: full, dataset_query: "`+datasetQuery+` ORDER BY timestamp DESC", results_query: "`+resultsQuery+`"}
`)
		p.OK("sync")
		f := harness.File(p.DB)
		kept := harness.Compare(t, url, joined("LEFT", "d.dataset_id"), f, "kept_data")
		inner := harness.Compare(t, url, joined("", "d.dataset_id"), f, "inner_data")
		fuller := harness.Compare(t, url, joined("FULL", "coalesce(d.dataset_id, r.dataset_id)"), f, "fuller_data")
		require.Greater(t, kept, inner, "records without results are not lost")
		require.Equal(t, kept+1, fuller, "the orphan result is kept")
		for _, name := range []string{"kept", "inner", "fuller"} {
			harness.Compare(t, url, datasetQuery, f, name+"_dataset", "dataset_id")
			harness.Compare(t, url, resultsQuery, f, name+"_results", "dataset_id", "metric")
		}
	})
}

// A split dataset through its life: first load, new rows, updates, a late result, NULLs in the incremental column,
// deletes, each step compared with PostgreSQL.
func TestSplitLifecycle(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, tracesSQL)
		p := manual(t, url, `datasets:
  monitoring:
    source: pg
    dataset_query: `+datasetQuery+`
    results_query: `+resultsQuery+`
    key: {dataset: [dataset_id], results: [dataset_id, metric]}
    incremental_column: created_at
    partition_column: created_at
`)
		s := p.Serve()
		same := func(t *testing.T) {
			t.Helper()
			harness.Compare(t, url, datasetQuery, s, "monitoring_dataset", "dataset_id")
			harness.Compare(t, url, resultsQuery, s, "monitoring_results", "dataset_id", "metric")
			n := harness.Compare(t, url, joined("LEFT", "d.dataset_id"), s, "monitoring_data")
			require.EqualValues(t, n, s.Status("monitoring_data").Rows)
		}
		r := s.Sync("monitoring")
		require.Equal(t, "full", r.Kind)
		same(t)

		for _, step := range []struct{ name, sql string }{
			{"nothing new", `SELECT`},
			{"new rows", `INSERT INTO traces (trace_id, prompt) SELECT 'N' || g, 'new' FROM generate_series(1, 20) g;
				INSERT INTO results (trace_id, metric) SELECT 'N' || g, 'faithful' FROM generate_series(1, 10) g`},
			{"updates", `UPDATE traces SET prompt = 'changed', created_at = now() WHERE trace_id IN ('T5', 'N2'); UPDATE results SET score = NULL, created_at = now() WHERE trace_id = 'T6'`},
			{"late results of an old trace", `INSERT INTO results (trace_id, metric, score) VALUES ('T290', 'faithful', 1), ('T10', 'relevant', 0)`},
			{"only one half changes", `INSERT INTO traces (trace_id) VALUES ('alone')`},
			{"NULL in the incremental column", `INSERT INTO traces (trace_id, created_at, prompt) VALUES ('null', NULL, 'a'); INSERT INTO results (trace_id, metric, created_at) VALUES ('null', 'm', NULL)`},
			{"that row changes", `UPDATE traces SET prompt = 'b' WHERE trace_id = 'null'`},
			{"and gets a time", `UPDATE traces SET created_at = now() WHERE trace_id = 'null'`},
			{"the same values again", `UPDATE traces SET created_at = now() WHERE trace_id < 'T3'`},
		} {
			harness.PG(t, url, step.sql)
			if r := s.Sync("monitoring"); r.Kind != "incremental" {
				t.Fatalf("%s: want an incremental run: %s", step.name, harness.Show(r))
			}
			t.Log(step.name)
			same(t)
		}
		harness.PG(t, url, `DELETE FROM results WHERE trace_id = 'T7'; DELETE FROM traces WHERE trace_id IN ('T7', 'T300')`)
		require.Equal(t, "ready", s.Follow(s.Begin("/api/store/reconcile/monitoring")).State)
		same(t)
	})
}

// Without a key new rows come in, and none twice, however often they are read again.
func TestSplitWithoutKey(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, tracesSQL)
		p := manual(t, url, `datasets:
  monitoring: {source: pg, incremental_column: created_at, dataset_query: "`+datasetQuery+`", results_query: "`+resultsQuery+`"}
`)
		s := p.Serve()
		s.Sync("monitoring")
		for i := range 4 {
			harness.PG(t, url, `INSERT INTO traces (trace_id, prompt, created_at) SELECT 'N`+string(rune('a'+i))+`' || g, 'new', CASE WHEN g % 5 > 0 THEN now() END FROM generate_series(1, 20) g`,
				`INSERT INTO results (trace_id, metric) SELECT 'N`+string(rune('a'+i))+`' || g, 'faithful' FROM generate_series(1, 10) g`)
			require.Equal(t, "incremental", s.Sync("monitoring").Kind)
			harness.Compare(t, url, joined("LEFT", "d.dataset_id"), s, "monitoring_data")
			harness.Compare(t, url, datasetQuery, s, "monitoring_dataset", "dataset_id")
		}
	})
}

const messagesSQL = `
	CREATE SCHEMA "Inte.gration";
	CREATE TABLE "Inte.gration"."Messages ""x""" ("Id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "a column" text, status text, "Größe" numeric(20,4), secret text, updated_at timestamptz NOT NULL DEFAULT now());
	INSERT INTO "Inte.gration"."Messages ""x""" ("a column", status, "Größe", secret) SELECT 'row ' || g, (ARRAY['done', 'failed', 'new'])[1 + g % 3], g * 1.5, 'no' FROM generate_series(1, 500) g;`

const messagesTable = `"Inte.gration"."Messages ""x"""`

// One table with chosen columns and a condition, everything of which needs quotes.
func TestTableLifecycle(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, messagesSQL)
		p := manual(t, url, `datasets:
  messages:
    source: pg
    table: '`+messagesTable+`'
    columns: [Id, a column, status, Größe, updated_at]
    where: status <> 'new' -- not yet
    key: [Id]
    incremental_column: updated_at
  everything: {source: pg, table: '`+messagesTable+`', key: [Id], incremental_column: Id}
  renamed: {source: pg, table: '`+messagesTable+`', columns: {Id: id, "a column": text, updated_at: changed}, key: [Id], incremental_column: updated_at}
`)
		s := p.Serve()
		const query = `SELECT "Id", "a column", status, "Größe", updated_at FROM ` + messagesTable + ` WHERE status <> 'new'`
		same := func() {
			t.Helper()
			harness.Compare(t, url, query, s, "messages", "Id")
			harness.Compare(t, url, `SELECT "Id" AS id, "a column" AS text, updated_at AS changed FROM `+messagesTable, s, "renamed", "id")
		}
		s.Sync("messages")
		s.Sync("everything")
		s.Sync("renamed")
		same()
		harness.Compare(t, url, "SELECT * FROM "+messagesTable, s, "everything", "Id")
		for _, sql := range []string{
			`INSERT INTO ` + messagesTable + ` ("a column", status) SELECT 'later', 'done' FROM generate_series(1, 30)`,
			`UPDATE ` + messagesTable + ` SET status = 'done', updated_at = now() WHERE status = 'new' AND "Id" < 50`,
			`UPDATE ` + messagesTable + ` SET "Größe" = -"Größe", updated_at = clock_timestamp() WHERE "Id" % 7 = 0`,
		} {
			harness.PG(t, url, sql)
			require.Equal(t, "incremental", s.Sync("messages").Kind)
			require.Equal(t, "incremental", s.Sync("renamed").Kind)
			same()
		}
		require.Equal(t, "incremental", s.Sync("everything").Kind)
		require.Equal(t, "530", s.One(`SELECT count(*) FROM everything`), "inserts are followed by the number")
		// Rows that the condition lets go, and deleted ones, are the reconciliation's to find.
		harness.PG(t, url, `UPDATE `+messagesTable+` SET status = 'new', updated_at = now() WHERE "Id" BETWEEN 100 AND 120`, `DELETE FROM `+messagesTable+` WHERE "Id" BETWEEN 200 AND 230`)
		for _, d := range []string{"messages", "everything", "renamed"} {
			require.Equal(t, "ready", s.Follow(s.Begin("/api/store/reconcile/"+d)).State)
		}
		same()
		harness.Compare(t, url, "SELECT * FROM "+messagesTable, s, "everything", "Id")
	})
}

// Named queries, each with its own key and column or none, under one view.
func TestQueriesLifecycle(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, `CREATE TABLE partners (id int PRIMARY KEY, name text); INSERT INTO partners SELECT g, 'partner ' || g FROM generate_series(1, 9) g;
			CREATE TABLE messages (id bigserial PRIMARY KEY, partner_id int, status text, error text, created_at timestamptz DEFAULT now(), payload jsonb);
			INSERT INTO messages (partner_id, status, error, payload) SELECT 1 + g % 9, CASE WHEN g % 4 = 0 THEN 'failed' ELSE 'done' END, CASE WHEN g % 4 = 0 THEN 'E' || g END, jsonb_build_object('n', g) FROM generate_series(1, 400) g`)
		p := manual(t, url, `datasets:
  errors:
    source: pg
    queries:
      failed: {sql: "SELECT id, partner_id, error, created_at FROM messages WHERE status = 'failed';", key: [id], incremental_column: created_at}
      partners: {sql: "SELECT id AS partner_id, name FROM partners"}
      daily: {sql: "SELECT date_trunc('day', created_at) AS day, status, count(*) AS n, sum(id) AS ids FROM messages GROUP BY 1, 2"}
    columns: {name: partner_name}
    view: SELECT f.*, p.partner_name FROM errors_failed f JOIN errors_partners p USING (partner_id);
  loose:
    source: pg
    queries:
      a: {sql: SELECT id FROM partners}
      b: {sql: SELECT id FROM messages, incremental_column: id}
`)
		s := p.Serve()
		same := func() {
			t.Helper()
			harness.Compare(t, url, `SELECT id, partner_id, error, created_at FROM messages WHERE status = 'failed'`, s, "errors_failed", "id")
			harness.Compare(t, url, `SELECT id AS partner_id, name AS partner_name FROM partners`, s, "errors_partners", "partner_id")
			harness.Compare(t, url, `SELECT date_trunc('day', created_at) AS day, status, count(*) AS n, sum(id) AS ids FROM messages GROUP BY 1, 2`, s, "errors_daily")
			harness.Compare(t, url, `SELECT m.id, m.partner_id, m.error, m.created_at, p.name AS partner_name FROM messages m JOIN partners p ON p.id = m.partner_id WHERE status = 'failed'`, s, "errors", "id")
			harness.Compare(t, url, `SELECT id FROM partners`, s, "loose_a", "id")
			harness.Compare(t, url, `SELECT id FROM messages`, s, "loose_b", "id")
		}
		sync := func() harness.Run { s.Sync("loose"); return s.Sync("errors") }
		require.Equal(t, "full", sync().Kind)
		same()
		harness.PG(t, url, `UPDATE partners SET name = name || ' Ltd' WHERE id > 5; DELETE FROM partners WHERE id = 9; INSERT INTO messages (partner_id, status, error) SELECT 3, 'failed', 'later' FROM generate_series(1, 40)`)
		r := sync()
		require.Equal(t, "incremental", r.Kind)
		contains(t, r.Reason, "errors_partners", "no incremental column")
		same()
		st := s.Statuses()
		require.Contains(t, st, "errors")
		require.Contains(t, st, "loose_a")
		require.Contains(t, st, "loose_b")
		require.NotContains(t, st, "loose")
		require.Equal(t, "ready", s.Follow(s.Begin("/api/store/verify/errors")).State)
	})
}
