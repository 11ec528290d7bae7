package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

const runbookDataset = `SELECT
  trace_id AS dataset_id,
  timestamp,
  prompt AS query,
  completion AS actual_output,
  deployment_env AS environment,
  service_name AS source_name,
  component_name AS source_component,
  response_time_ms AS latency
FROM llm_traces
ORDER BY timestamp DESC
`

const runbookResults = `SELECT
  trace_id AS dataset_id,
  metric_name,
  metric_value AS metric_score,
  metric_category,
  explanation
FROM llm_metric_results
ORDER BY created_at DESC
`

const runbookSchema = `CREATE TABLE llm_traces (id bigserial PRIMARY KEY, trace_id uuid NOT NULL DEFAULT gen_random_uuid(), timestamp timestamptz NOT NULL DEFAULT now(),
		prompt text, completion text, deployment_env text, service_name text, component_name text, response_time_ms int, created_at timestamptz NOT NULL DEFAULT now());
	CREATE TABLE llm_metric_results (id bigserial PRIMARY KEY, trace_id uuid, metric_name text, metric_value double precision, metric_category text, explanation text,
		created_at timestamptz NOT NULL DEFAULT now());
	CREATE INDEX ON llm_traces (created_at); CREATE INDEX ON llm_metric_results (created_at);
	INSERT INTO llm_traces (prompt) SELECT 'p' || i FROM generate_series(1, 100) i;
	INSERT INTO llm_metric_results (trace_id, metric_name) SELECT trace_id, 'faithfulness' FROM llm_traces`

// The runbook's sample as printed selects neither id nor created_at.
func TestCheckRunbookSample(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, runbookSchema)
		for _, sql := range []string{runbookDataset, runbookResults} {
			q := source.Query{SQL: sql, PartitionColumn: "id", IncrementalColumn: "created_at"}
			n := snapshotOf(t, openSource(t, Config{URL: url}))
			_, err := n.Describe(t.Context(), q)
			if fault.CodeOf(err) != fault.SourceSQL || !strings.Contains(err.Error(), `does not give the columns "id" and "created_at"`) {
				t.Fatalf("Describe: %v", err)
			}
			r, err := n.Check(t.Context(), q, source.LateOptions{})
			if err == nil || !slices.Equal(r.Missing, []string{"id", "created_at"}) || len(r.Columns) < 5 || r.Corrected == "" {
				t.Fatalf("Check: %+v, %v", r, err)
			}
			q.SQL = r.Corrected
			r, err = n.Check(t.Context(), q, source.LateOptions{})
			if err != nil || r.Missing != nil || r.Method != source.MethodXactStart || !r.Proven {
				t.Fatalf("the corrected query:\n%s\n%+v, %v", q.SQL, r, err)
			}
			if rows := readAll(t, n, q, source.Range{}, 2); len(rows) != 100 {
				t.Errorf("the corrected query gives %d rows", len(rows))
			}
			if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "ORDER BY costs") }) {
				t.Errorf("no word on ORDER BY: %q", r.Warnings)
			}
			if !slices.ContainsFunc(r.Keys, func(k []string) bool { return slices.Equal(k, []string{"id"}) }) {
				t.Errorf("keys %v", r.Keys)
			}
		}
	})
}

func TestAddColumns(t *testing.T) {
	for in, want := range map[string]string{
		"SELECT a FROM t": "SELECT a, x, y FROM t",
		"select a, b -- the last\nfrom t -- a FROM b\n":                                      "select a, b, x, y -- the last\nfrom t -- a FROM b\n",
		"SELECT a,\n    b\nFROM t":                                                           "SELECT a,\n    b,\n    x,\n    y\nFROM t",
		"SELECT (SELECT 1 FROM u) FROM t":                                                    "SELECT (SELECT 1 FROM u), x, y FROM t",
		"SELECT extract(year FROM d) AS n, a IS DISTINCT FROM b FROM t":                      "SELECT extract(year FROM d) AS n, a IS DISTINCT FROM b, x, y FROM t",
		"WITH c AS (SELECT 1 AS a FROM z) SELECT a FROM c":                                   "WITH c AS (SELECT 1 AS a FROM z) SELECT a, x, y FROM c",
		"SELECT 'FROM' AS \"from\", $$ FROM $$, E'\\' FROM ' /* FROM /* x */ FROM */ FROM t": "SELECT 'FROM' AS \"from\", $$ FROM $$, E'\\' FROM ', x, y /* FROM /* x */ FROM */ FROM t",
		"SELECT a FROM t UNION SELECT b FROM u":                                              "",
		"SELECT DISTINCT a FROM t":                                                           "",
		"SELECT a, count(*) FROM t GROUP BY a":                                               "",
		"VALUES (1)":                                                                         "",
		"SELECT 1":                                                                           "",
		"SELECT 'open FROM t":                                                                "",
		"":                                                                                   "",
	} {
		got, ok := addColumns(in, []string{"x", "y"})
		if got != want || ok != (want != "") {
			t.Errorf("%s\ngives %q\n want %q", in, got, want)
		}
	}
}

func TestCheckReport(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	url := s.DB(t)
	c := connect(t, url)
	exec(t, c, `CREATE TABLE big (id bigint PRIMARY KEY, tenant int NOT NULL, code text NOT NULL, amount numeric, at timestamptz, seen timestamptz, UNIQUE (tenant, code));
		CREATE INDEX ON big (seen);
		INSERT INTO big SELECT i, i, i, i, now(), now() FROM generate_series(1, 60000) i;
		INSERT INTO big VALUES (0, 0, '0', 0, now(), '2999-01-01'), (-1, -1, '-1', 0, now(), 'infinity');
		ANALYZE big`)
	n := snapshotOf(t, openSource(t, Config{URL: url}))
	check := func(q source.Query, o source.LateOptions) CheckReport {
		t.Helper()
		r, err := n.Check(t.Context(), q, o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	warns := func(r CheckReport, part string) {
		t.Helper()
		if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, part) }) {
			t.Errorf("no warning with %q: %q", part, r.Warnings)
		}
	}
	r := check(source.Query{Table: "big", IncrementalColumn: "at"}, source.LateOptions{})
	warns(r, `"at" has no index: every run scans the table; CREATE INDEX CONCURRENTLY ON public.big (at)`)
	warns(r, `incremental_column "at" may be NULL`)
	warns(r, `column "amount" is a numeric without precision`)
	if fmt.Sprint(r.Keys) != "[[id] [tenant code]]" || r.Kind != "table" || r.Method != source.MethodLookback || r.Proven || r.Rows < 50000 {
		t.Errorf("%+v", r)
	}
	if len(r.Relations) != 1 || r.Relations[0].Name != "public.big" || !r.Relations[0].Readable || r.Relations[0].Rows < 50000 || r.Relations[0].Bytes == 0 {
		t.Errorf("%+v", r.Relations)
	}
	if len(r.Columns) != 6 || r.Columns[3] != (CheckColumn{"amount", "numeric", "VARCHAR", false}) || r.Columns[4].DuckDB != "TIMESTAMP WITH TIME ZONE" || !r.Columns[0].NotNull {
		t.Errorf("%+v", r.Columns)
	}
	warns(check(source.Query{Table: "big", IncrementalColumn: "seen"}, source.LateOptions{}), "in the future, up to 2999-01-01")
	warns(check(source.Query{SQL: "SELECT * FROM big LIMIT 10", IncrementalColumn: "seen"}, source.LateOptions{}), "LIMIT")
	warns(check(source.Query{SQL: "SELECT a.* FROM big a, generate_series(1, 100)"}, source.LateOptions{}), "partition_column lets several share")
	r = check(source.Query{SQL: "SELECT a.id, b.at FROM big a JOIN big b ON b.tenant = a.tenant", IncrementalColumn: "at"}, source.LateOptions{})
	if len(r.Keys) != 0 {
		t.Errorf("keys of a join: %v", r.Keys)
	}
	if r := check(source.Query{Table: "big"}, source.LateOptions{}); r.Method != "" {
		t.Errorf("a method without a column: %s", r.Method)
	}
	if _, err := n.Check(t.Context(), source.Query{Table: "big", IncrementalColumn: "amount"}, source.LateOptions{}); fault.CodeOf(err) != fault.Config {
		t.Errorf("a column without order: %v", err)
	}

	// A role without a right on the table: the error names it.
	exec(t, c, "CREATE TABLE hidden (x int)")
	reader := role(t, c, url)
	exec(t, c, "REVOKE ALL ON hidden FROM "+strings.Split(strings.TrimPrefix(reader, "postgres://"), ":")[0])
	n = snapshotOf(t, openSource(t, Config{URL: reader}))
	for _, q := range []source.Query{{Table: "hidden"}, {SQL: "SELECT * FROM big, hidden"}} {
		_, err := n.Check(t.Context(), q, source.LateOptions{})
		if fault.CodeOf(err) != fault.SourcePrivilege || !strings.Contains(err.Error(), "hidden") || !strings.Contains(fault.HintOf(err), "GRANT SELECT ON hidden TO reader_") {
			t.Errorf("%+v: %v (%s)", q, err, fault.HintOf(err))
		}
	}
	// One refused query does not spoil the snapshot for the next.
	r, err := n.Check(t.Context(), source.Query{Table: "big", IncrementalColumn: "seen"}, source.LateOptions{})
	if err != nil || !r.Relations[0].Readable {
		t.Errorf("%+v: %v", r, err)
	}
}

func TestDescribeErrors(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	url := s.DB(t)
	c := connect(t, url)
	long := strings.Repeat("x", 60) + "äé" // 64 bytes, cut to 62 by the server
	exec(t, c, `CREATE TABLE messages (id int, "Created At" timestamptz, "we""ird" text);
		CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."T.x" ("A" int, `+ident(long)+` int);
		CREATE VIEW v AS SELECT 1 AS a; CREATE SEQUENCE sq`)
	n := snapshotOf(t, openSource(t, Config{URL: url}))
	for _, tc := range []struct {
		q          source.Query
		code       fault.Code
		text, hint string
	}{
		{source.Query{Table: "mesages"}, fault.SourceSQL, `relation "mesages" does not exist`, "Did you mean public.messages?"},
		{source.Query{Table: "nowhere.at_all"}, fault.SourceSQL, "does not exist", "schema"},
		{source.Query{Table: "a.b.c"}, fault.Config, "not a table's name", ""},
		{source.Query{Table: `messages; DROP TABLE messages`}, fault.Config, "not a table's name", ""},
		{source.Query{Table: "sq"}, fault.SourceSQL, "sq is none", "table"},
		{source.Query{Table: "messages", Columns: []string{"id", "created at"}}, fault.SourceSQL, "created at", "Did you mean Created At?"},
		{source.Query{Table: "messages", Columns: []string{"id"}, Where: "stat = 'x'"}, fault.SourceSQL, `"stat"`, ""},
		{source.Query{SQL: "SELECT id,\n  nam FROM messages"}, fault.SourceSQL, "line 2, column 3 of the query", ""},
		{source.Query{SQL: "SELECT 1 AS a; DELETE FROM messages"}, fault.SourceSQL, "", ""},
		{source.Query{SQL: "SELECT 1 AS a) AS q; DELETE FROM messages; --"}, fault.SourceSQL, "", ""},
		{source.Query{SQL: "DELETE FROM messages RETURNING *"}, fault.SourceSQL, "", ""},
		{source.Query{SQL: "SELECT id, id FROM messages"}, fault.SourceSQL, `two columns are named "id"`, "AS name"},
		{source.Query{SQL: `SELECT id, 1 AS "ID" FROM messages`}, fault.SourceSQL, "equal but for case", "capitals"},
		{source.Query{SQL: "SELECT id, 1 FROM messages"}, fault.SourceSQL, "column 2 has no name", "AS name"},
		{source.Query{SQL: "SELECT 1 AS _pintail_text"}, fault.SourceSQL, "_pintail_text", ""},
		{source.Query{SQL: "SELECT FROM messages"}, fault.SourceSQL, "no columns", ""},
		{source.Query{Table: "messages", Rename: map[string]string{"ident": "x"}}, fault.Config, `"ident"`, "There are"},
		{source.Query{Table: "messages", Rename: map[string]string{"id": "we\"ird"}}, fault.SourceSQL, "two columns", ""},
		{source.Query{Table: "messages", Types: map[string]string{"id": "DECIMAL(10,2)"}}, fault.Config, "DECIMAL", ""},
		{source.Query{Table: "messages", IncrementalColumn: "created_at"}, fault.SourceSQL, `the column "created_at"`, "Did you mean Created At?"},
		{source.Query{SQL: "SELECT 1/0 AS x"}, fault.SourceSQL, "division by zero", ""},
	} {
		_, err := n.Describe(t.Context(), tc.q)
		if fault.CodeOf(err) != tc.code || !strings.Contains(fmt.Sprint(err), tc.text) || !strings.Contains(fault.HintOf(err), tc.hint) {
			t.Errorf("%+v\n%s: %v\nhint: %s", tc.q, fault.CodeOf(err), err, fault.HintOf(err))
		}
	}
	// After all these the snapshot still reads.
	d, err := n.Describe(t.Context(), source.Query{Table: `"My Schema"."T.x"`, IncrementalColumn: "A"})
	if err != nil || d.Kind != "table" || len(d.Columns) != 2 || d.Columns[1].Name != long[:len(long)-2] {
		t.Errorf("%+v: %v", d, err)
	}
	for _, q := range []source.Query{{Table: "MESSAGES"}, {Table: `"messages"`}, {Table: " public . messages "}, {Table: "v"}, {Table: "pg_catalog.pg_class"},
		{Table: "messages", Where: "messages.id > 0 -- all"}, {SQL: "VALUES (1)"}, {SQL: "TABLE messages;;\n; "}, {SQL: "WITH a AS (SELECT 1 AS b) SELECT * FROM a /* x */"}} {
		if rows, err := n.Describe(t.Context(), q); err != nil {
			t.Errorf("%+v: %v", rows, err)
		}
	}
}

func TestDescribeColumns(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE SEQUENCE cached CACHE 10; CREATE SEQUENCE down INCREMENT -1; CREATE SEQUENCE round CYCLE;
			CREATE DOMAIN amount AS numeric(10,2) NOT NULL; CREATE TYPE mood AS ENUM ('sad', 'ok');
			CREATE TABLE t (id bigserial PRIMARY KEY, a bigint GENERATED ALWAYS AS IDENTITY, b bigint GENERATED BY DEFAULT AS IDENTITY (CACHE 5),
				c bigint DEFAULT nextval('cached'), d bigint DEFAULT nextval('down'), e bigint DEFAULT nextval('round'), f bigint DEFAULT nextval('cached') + 1,
				g int DEFAULT 7, h smallserial, i timestamptz DEFAULT now(), j timestamp DEFAULT (now() AT TIME ZONE 'utc'), k timestamptz DEFAULT CURRENT_TIMESTAMP(3),
				l timestamp DEFAULT now(), m amount, n mood, o int GENERATED ALWAYS AS (g + 1) STORED, p varchar(20)[], q timestamptz DEFAULT clock_timestamp(),
				r timestamp DEFAULT timezone('UTC', now()), s timestamptz DEFAULT now() - interval '1 day', u timestamptz DEFAULT transaction_timestamp());
			CREATE VIEW v AS SELECT * FROM t`)
		n := snapshotOf(t, openSource(t, Config{URL: url}))
		d, err := n.Describe(t.Context(), table("t"))
		if err != nil {
			t.Fatal(err)
		}
		var seqs, notNull, clocks []string
		for _, col := range d.Columns {
			if col.Sequence {
				seqs = append(seqs, col.Name)
			}
			if col.NotNull {
				notNull = append(notNull, col.Name)
			}
			if serverClock(&col) {
				clocks = append(clocks, col.Name)
			}
		}
		if got := strings.Join(seqs, " "); got != "id a h" {
			t.Errorf("sequences: %s", got)
		}
		if got := strings.Join(notNull, " "); got != "id a b h" {
			t.Errorf("not null: %s", got)
		}
		if got := strings.Join(clocks, " "); got != "i j k q r u" {
			t.Errorf("server clocks: %s", got)
		}
		for name, want := range map[string]string{"m": "DECIMAL(10,2)", "n": "VARCHAR", "p": "VARCHAR[]", "h": "SMALLINT"} {
			if got := d.Column(name).Type.SQL; got != want {
				t.Errorf("%s is a %s", name, got)
			}
		}
		if got := d.Column("p").PGType; got != "character varying(20)[]" {
			t.Error(got)
		}
		// A view proves nothing of its columns, a query what is the table's own.
		d, err = n.Describe(t.Context(), table("v"))
		if err != nil || d.Kind != "view" || d.Column("id").NotNull || d.Column("id").Sequence || d.Column("i").Default != "" {
			t.Errorf("%+v: %v", d.Columns[0], err)
		}
		d, err = n.Describe(t.Context(), source.Query{SQL: "SELECT id AS n, i AS at, id + 1 AS more FROM (SELECT * FROM t WHERE g > 1) x", Rename: map[string]string{"n": "Number"}})
		if err != nil || !d.Column("Number").Sequence || d.Column("Number").NotNull || !serverClock(d.Column("at")) || d.Column("more").Sequence {
			t.Errorf("%+v: %v", d.Columns, err)
		}
	})
}

// DDL between the snapshot and the locks: the snapshot would see no row and no error.
func TestSeal(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		for _, tc := range []struct{ ddl, read string }{
			{"ALTER TABLE t ALTER COLUMN a TYPE bigint", "SELECT * FROM t"},
			{"TRUNCATE t", "SELECT * FROM t"},
			{"ALTER TABLE p1 ALTER COLUMN b TYPE bigint", "SELECT * FROM p1"},
			{"TRUNCATE p1", "SELECT * FROM p"},
			{"DROP TABLE t; CREATE TABLE t AS SELECT i AS a FROM generate_series(1, 10) i", "SELECT * FROM t"},
			{"ALTER TABLE t ALTER COLUMN a TYPE bigint", "SELECT * FROM v"},
		} {
			exec(t, c, `DROP TABLE IF EXISTS t, p, p1 CASCADE; CREATE TABLE t AS SELECT i AS a FROM generate_series(1, 10) i; CREATE VIEW v AS SELECT 1 AS one FROM t;
				CREATE TABLE p (a int, b int) PARTITION BY LIST (a); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); INSERT INTO p VALUES (1, 1)`)
			if strings.Contains(tc.ddl, "p1 ALTER") {
				exec(t, c, "ALTER TABLE p DETACH PARTITION p1")
			}
			q := source.Query{SQL: tc.read}
			if name, ok := strings.CutPrefix(tc.read, "SELECT * FROM "); ok && name != "v" {
				q = table(name)
			}
			src := openSource(t, Config{URL: url})
			n := snapshotOf(t, src)
			exec(t, c, strings.ReplaceAll(tc.ddl, "DROP TABLE t;", "DROP TABLE t CASCADE;"))
			if _, err := n.Describe(t.Context(), q); err != nil {
				n.Close()
				if fault.CodeOf(err) != fault.SourceConflict && !strings.Contains(err.Error(), "does not exist") {
					t.Errorf("%s: Describe: %v", tc.ddl, err)
				}
				continue
			}
			if err := n.Seal(t.Context()); fault.CodeOf(err) != fault.SourceConflict {
				t.Errorf("%s: Seal: %v", tc.ddl, err)
			}
			n.Close()
			n = snapshotOf(t, src)
			if _, err := n.Describe(t.Context(), q); err != nil {
				t.Errorf("%s: the next snapshot: %v", tc.ddl, err)
			}
			if err := n.Seal(t.Context()); err != nil {
				t.Errorf("%s: the next snapshot: %v", tc.ddl, err)
			}
			n.Close()
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, tc := range []struct{ url, read, text string }{
		{"postgres://u:s3cret@host:notaport/db", "", "url"},
		{"host=x password='s3cret' port=abc", "", "url"},
		{"postgres://u@h/db", "both", "read"},
		{"postgres://u:s3cret@h/db?sslmode=sometimes", "", "url"},
	} {
		_, err := Open(Config{Name: "shop", URL: tc.url, Read: tc.read})
		if fault.CodeOf(err) != fault.Config || !strings.Contains(err.Error(), "source shop: "+tc.text) || strings.Contains(err.Error(), "s3cret") || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", tc.url, err)
		}
	}
}

// Servers that do not answer, passwords and names that are wrong, pools that are used up.
func TestConnectErrors(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	url := s.DB(t)
	c := connect(t, url)
	good := role(t, c, url)
	proxy := pgtest.NewProxy(t, s)
	proxy.Refuse()
	for _, tc := range []struct {
		url  string
		code fault.Code
		text string
	}{
		{proxy.URL("postgres"), fault.SourceUnavailable, "connect"},
		{strings.Replace(good, c.Config().Database, "nosuchdb", 1), fault.Config, "nosuchdb"},
		{"postgres://nobody:s3cret@" + strings.SplitN(strings.SplitN(url, "@", 2)[1], "?", 2)[0] + "?sslmode=disable", fault.SourcePrivilege, "nobody"},
		{"postgres://u:s3cret@no.such.host.invalid/db", fault.SourceUnavailable, "no.such.host.invalid"},
		{strings.Replace(good, "sslmode=disable", "sslmode=require", 1), fault.SourceUnavailable, "TLS"},
	} {
		src := openSource(t, Config{URL: tc.url})
		_, err := src.Snapshot(t.Context(), source.SnapshotOptions{})
		if fault.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.text) || fault.HintOf(err) == "" || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %s: %v (%s)", tc.url, fault.CodeOf(err), err, fault.HintOf(err))
		}
	}
}
