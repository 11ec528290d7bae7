package test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/test/harness"
)

const driftSQL = `
	CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (x int, feels mood[]);
	CREATE TABLE t (id int PRIMARY KEY, name text, amount numeric(8,2), n smallint, at timestamptz DEFAULT now(), note varchar(10), kind char(3) NOT NULL DEFAULT 'k', p pair);
	INSERT INTO t SELECT g, 'name ' || g, g * 1.25, g, '2026-01-01'::timestamptz + g * interval '1 min', 'n' || g, 'k' || g % 9, ROW(g, '{ok,sad}')::pair FROM generate_series(1, 300) g;`

// The source's columns change between two syncs; the copy follows, by name, whatever the form of the dataset. Some changes
// are made in place, others by a rebuild; both end in what PostgreSQL holds.
func TestDrift(t *testing.T) {
	cases := []struct {
		name, sql string
		reason    string // of the following run of the table form; "" is an increment without one
	}{
		{"column added", `ALTER TABLE t ADD COLUMN extra int`, `column "extra" was added`},
		{"column added with a default for old rows", `ALTER TABLE t ADD COLUMN extra text NOT NULL DEFAULT 'old'`, `column "extra" was added`},
		{"column dropped", `ALTER TABLE t DROP COLUMN note`, ""},
		{"column renamed", `ALTER TABLE t RENAME COLUMN note TO remark`, ""},
		{"two columns swap their names", `ALTER TABLE t RENAME COLUMN note TO x; ALTER TABLE t RENAME COLUMN name TO note; ALTER TABLE t RENAME COLUMN x TO name`, "dropped and made again"},
		{"integer widened", `ALTER TABLE t ALTER COLUMN n TYPE bigint; UPDATE t SET n = 4000000000, at = now() WHERE id = 1`, "rewritten"},
		{"numeric widened", `ALTER TABLE t ALTER COLUMN amount TYPE numeric(14,2); UPDATE t SET amount = 123456789012.12, at = now() WHERE id = 1`, ""},
		{"numeric scaled", `ALTER TABLE t ALTER COLUMN amount TYPE numeric(14,4); UPDATE t SET amount = 1234567890.1234, at = now() WHERE id = 1`, "rewritten"},
		{"widened by an expression", `ALTER TABLE t ALTER COLUMN amount TYPE numeric(14,2) USING amount + 1`, "rewritten"},
		{"the same type by an expression", `ALTER TABLE t ALTER COLUMN note TYPE text USING 'n' || note`, "rewritten"},
		{"text by an expression", `ALTER TABLE t ALTER COLUMN name TYPE text USING upper(name)`, "rewritten"},
		{"truncated", `TRUNCATE t`, "rewritten"},
		{"an enum's label renamed", `ALTER TYPE mood RENAME VALUE 'sad' TO 'unhappy'`, "label"},
		{"an enum's label added", `ALTER TYPE mood ADD VALUE 'proud'`, ""},
		{"a composite's attribute added", `ALTER TYPE pair ADD ATTRIBUTE z int`, "composite"},
		{"text widened", `ALTER TABLE t ALTER COLUMN note TYPE text; UPDATE t SET note = 'longer than ten letters', at = now() WHERE id = 1`, ""},
		{"numeric narrowed", `ALTER TABLE t ALTER COLUMN amount TYPE numeric(7,1)`, "changed its type"},
		{"integer narrowed", `ALTER TABLE t ALTER COLUMN id TYPE smallint`, "changed its type"},
		{"retyped", `ALTER TABLE t ALTER COLUMN n TYPE text USING 'n' || n`, "changed its type"},
		{"text to integer", `ALTER TABLE t ALTER COLUMN note TYPE int USING substr(note, 2)::int`, "changed its type"},
		{"timestamptz to timestamp", `ALTER TABLE t ALTER COLUMN at TYPE timestamp USING at AT TIME ZONE 'Asia/Tokyo'`, "changed its type"},
		{"padding added", `ALTER TABLE t ALTER COLUMN kind TYPE char(5)`, "changed its type"},
		{"seconds rounded", `ALTER TABLE t ALTER COLUMN at TYPE timestamptz(0)`, "changed its type"},
		{"nullable", `ALTER TABLE t ALTER COLUMN kind DROP NOT NULL; INSERT INTO t (id, kind) VALUES (1000, NULL)`, ""},
		{"not nullable", `ALTER TABLE t ALTER COLUMN note SET NOT NULL`, ""},
		{"dropped and made again", `ALTER TABLE t DROP COLUMN n; ALTER TABLE t ADD COLUMN n smallint DEFAULT 5`, "dropped and made again"},
		{"several at once", `ALTER TABLE t DROP COLUMN n; ALTER TABLE t RENAME COLUMN name TO title; ALTER TABLE t ALTER COLUMN amount TYPE numeric(20,2)`, ""},
		{"everything at once", `ALTER TABLE t DROP COLUMN n, ADD COLUMN z uuid, ALTER COLUMN amount TYPE text; ALTER TABLE t RENAME COLUMN name TO title`, ""},
		{"everything is another table", `DROP TABLE t; CREATE TABLE t (at timestamptz DEFAULT now(), id int PRIMARY KEY, other text); INSERT INTO t SELECT '2026-01-01', g, 'o' FROM generate_series(1, 20) g`, ""},
	}
	each(t, func(t *testing.T, url string) {
		config := "datasets:\n"
		for i := range cases {
			schema := fmt.Sprintf("c%d", i)
			harness.PG(t, url, "CREATE SCHEMA "+schema+"; SET search_path = "+schema+";"+driftSQL)
			config += strings.ReplaceAll(`
  c0_tabled: {source: pg, table: c0.t, key: [id], incremental_column: at}
  c0_keyless: {source: pg, table: c0.t, incremental_column: at}
  c0_queried: {source: pg, queries: {q: {sql: SELECT * FROM c0.t WHERE id > 0, key: [id], incremental_column: at}}, view: SELECT * FROM c0_queried_q}
`, "c0", schema)
		}
		s := manual(t, url, config).Serve()
		for i, c := range cases {
			schema := fmt.Sprintf("c%d", i)
			t.Run(c.name, func(t *testing.T) {
				s := s.For(t)
				sync := func(form string) harness.Run { t.Helper(); return s.Sync(schema + "_" + form) }
				forms := []string{"tabled", "keyless", "queried"}
				for _, form := range forms {
					sync(form)
				}
				harness.PG(t, url, "SET search_path = "+schema+";"+c.sql, `INSERT INTO t (id, at) SELECT 2000 + g, now() FROM generate_series(1, 3) g
					WHERE NOT EXISTS (SELECT FROM information_schema.columns WHERE table_schema = '`+schema+`' AND is_nullable = 'NO' AND column_default IS NULL AND column_name <> 'id')`)
				for _, form := range forms {
					r := sync(form)
					// Of several reasons for a rebuild it does not matter which comes first.
					if form == "tabled" && !strings.Contains(c.name, "everything") {
						contains(t, r.Reason, c.reason)
						require.Equal(t, c.reason == "", r.Kind == "incremental", r.Reason)
					}
				}
				same := func(table string) {
					t.Helper()
					harness.Compare(t, url, "SELECT * FROM "+schema+".t", s, schema+"_"+table, "id")
				}
				same("tabled")
				same("queried")
				// And on from there by increments.
				harness.PG(t, url, `UPDATE `+schema+`.t SET at = now() WHERE id % 50 = 0`)
				for _, form := range forms {
					require.Equal(t, "incremental", sync(form).Kind)
				}
				same("tabled")
				require.Equal(t, "ready", s.Follow(s.Begin("/api/store/verify/"+schema+"_queried")).State)
			})
		}
	})
}

// Columns of a query change their order: values keep their columns.
func TestReorderedColumns(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, driftSQL)
		config := func(columns string) string {
			return `datasets:
  q: {source: pg, queries: {q: {sql: "SELECT ` + columns + ` FROM t", key: [id], incremental_column: at}}}
  v: {source: pg, table: public.v, key: [id], incremental_column: at}
`
		}
		harness.PG(t, url, `CREATE VIEW v AS SELECT id, name, note, kind, at FROM t`)
		p := manual(t, url, config("id, name, note, kind, at"))
		p.OK("sync")
		harness.PG(t, url, `DROP VIEW v; CREATE VIEW v AS SELECT note, kind, at, id, name FROM t`, `INSERT INTO t (id, name, note, kind) VALUES (1000, 'a name', 'a note', 'kkk')`)
		p.Write(p.Head(url) + config("note, at, kind, id, name"))
		f := harness.File(p.DB)
		for range 2 {
			p.OK("sync")
			harness.Compare(t, url, "SELECT id, name, note, kind, at FROM t", f, "q_q", "id")
			harness.Compare(t, url, "SELECT * FROM v", f, "v", "id")
			harness.PG(t, url, `UPDATE t SET note = 'new', name = 'newer', at = now() WHERE id < 10`)
		}
	})
}

// A key or incremental column that is gone cannot be followed: refused, with what to do, and the last good data stays
// readable. When it is back, so is the sync.
func TestLostColumns(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, driftSQL, `ALTER TABLE t DROP CONSTRAINT t_pkey`)
		p := manual(t, url, `datasets:
  tabled: {source: pg, table: public.t, key: [id], incremental_column: at}
  queried: {source: pg, queries: {q: {sql: SELECT * FROM t, key: [id], incremental_column: at}}, view: SELECT count(*) AS n FROM queried_q}
`)
		s := p.Serve()
		s.Sync("tabled")
		s.Sync("queried")
		for _, c := range []struct{ column, break_, mend string }{
			{"id", `ALTER TABLE t RENAME COLUMN id TO ident`, `ALTER TABLE t RENAME COLUMN ident TO id`},
			{"at", `ALTER TABLE t RENAME COLUMN at TO moment`, `ALTER TABLE t RENAME COLUMN moment TO at`},
		} {
			harness.PG(t, url, c.break_)
			for d, key := range map[string]string{"tabled": "tabled", "queried": "queried"} {
				r := s.SyncFails(d, "schema_lost")
				contains(t, *r.Error, `"`+c.column+`"`, d)
				require.NotEmpty(t, r.Hint)
				st := s.Status(key)
				require.Equal(t, "error", st.State)
				require.Equal(t, *r.Error, *st.Error)
				require.NotZero(t, st.Rows, "what is there is still counted")
				require.NotNil(t, st.LastSync)
			}
			require.Equal(t, "300", s.One("SELECT count(*) FROM tabled"))
			require.Equal(t, "300", s.One("SELECT n FROM queried"))
			contains(t, p.Code(3, "check").Stdout, `"`+c.column+`"`)
			harness.PG(t, url, c.mend)
			s.Sync("tabled")
			s.Sync("queried")
			harness.Compare(t, url, "SELECT * FROM t", s, "tabled", "id")
			harness.Compare(t, url, "SELECT * FROM t", s, "queried_q", "id")
			require.Equal(t, "ready", s.Status("tabled").State)
		}
	})
}

// Definitions change in the file: the table is rebuilt by what they say now, at the next sync.
func TestDefinitionChanges(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, driftSQL)
		p := manual(t, url, "")
		f := harness.File(p.DB)
		for _, c := range []struct{ dataset, query, key, kind string }{
			{"table: public.t, key: [id], incremental_column: at", "SELECT * FROM t", "id", "full"},
			{"table: public.t, key: [id], incremental_column: at", "SELECT * FROM t", "id", "incremental"},
			{"table: public.t, key: [id], incremental_column: at, where: id > 100", "SELECT * FROM t WHERE id > 100", "id", "full"},
			{"table: public.t, key: [id], incremental_column: at, where: id > 100, columns: [id, at, amount]", "SELECT id, at, amount FROM t WHERE id > 100", "id", "full"},
			{"table: public.t, key: [id], incremental_column: at, columns: {id: ident, at: moment}", "SELECT id AS ident, at AS moment FROM t", "ident", "full"},
			{"table: public.t, key: [id], incremental_column: at, columns: {id: ident, at: moment}", "SELECT id AS ident, at AS moment FROM t", "ident", "incremental"},
			{"table: public.t, key: [id], incremental_column: id, columns: {id: ident, at: moment}", "SELECT id AS ident, at AS moment FROM t", "ident", "full"},
			{"table: public.t, key: [id, at], incremental_column: id, columns: {id: ident, at: moment}", "SELECT id AS ident, at AS moment FROM t", "ident", "full"},
			{"table: public.t, key: [id], incremental_column: at, types: {amount: VARCHAR}", "SELECT id, name, amount::text, n, at, note, kind, p FROM t", "id", "full"},
			{"table: public.t, key: [id], incremental_column: at, types: {amount: VARCHAR}, lookback: 1h, query_timeout: 30", "SELECT id, name, amount::text, n, at, note, kind, p FROM t", "id", "incremental"},
			{"table: public.t, key: [id]", "SELECT * FROM t", "id", "full"},
		} {
			p.Write(p.Head(url) + "datasets:\n  d: {source: pg, " + c.dataset + "}\n")
			var run harness.Run
			decode(t, p.OK("sync", "--json"), &run)
			require.Equal(t, c.kind, run.Kind, "%s: %s", c.dataset, run.Reason)
			harness.Compare(t, url, c.query, f, "d", c.key)
			harness.PG(t, url, `UPDATE t SET name = name || '.', at = now() WHERE id % 9 = 0`)
		}
		// Another form under the same name takes the place of the first one's objects.
		p.Write(p.Head(url) + "datasets:\n  d: {source: pg, queries: {q: {sql: SELECT id FROM t}}, view: SELECT id + 1 AS id FROM d_q}\n")
		p.OK("sync")
		harness.Compare(t, url, "SELECT id + 1 AS id FROM t", f, "d", "id")
		p.Write(p.Head(url) + "datasets:\n  d: {source: pg, queries: {q: {sql: SELECT id FROM t}}, view: SELECT id + 2 AS id FROM d_q}\n")
		p.OK("sync")
		harness.Compare(t, url, "SELECT id + 2 AS id FROM t", f, "d", "id")
	})
}

// The file follows another database under the same name of a dataset: a clone, whose tables and row versions look the same.
func TestAnotherServer(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, `CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz NOT NULL DEFAULT now()); INSERT INTO t SELECT g, 'one' FROM generate_series(1, 20) g`)
		p := manual(t, url, "datasets:\n  d: {source: pg, table: public.t, key: [id], incremental_column: at}\n")
		p.OK("sync")
		config, err := pgx.ParseConfig(url)
		require.NoError(t, err)
		clone := config.Database + "_clone"
		admin := strings.Replace(url, "/"+config.Database, "/postgres", 1)
		harness.PG(t, admin, "CREATE DATABASE "+clone+" TEMPLATE "+config.Database)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if c, err := pgx.Connect(ctx, admin); err == nil {
				_, _ = c.Exec(ctx, "DROP DATABASE "+clone+" WITH (FORCE)")
				_ = c.Close(ctx)
			}
		})
		other := strings.Replace(url, "/"+config.Database, "/"+clone, 1)
		harness.PG(t, other, `UPDATE t SET v = 'two'`)
		p.Write(p.Head(other) + "datasets:\n  d: {source: pg, table: public.t, key: [id], incremental_column: at}\n")
		var run harness.Run
		decode(t, p.OK("sync", "--json"), &run)
		contains(t, run.Reason, "another server or database")
		harness.Compare(t, other, "SELECT * FROM t", harness.File(p.DB), "d", "id")
		decode(t, p.OK("sync", "--json"), &run)
		require.Equal(t, "incremental", run.Kind, run.Reason)
	})
}

// A key whose equal values have several texts would be several rows.
func TestLooseKeys(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, `CREATE TABLE t (k numeric PRIMARY KEY, v text, at timestamptz NOT NULL DEFAULT now()); INSERT INTO t VALUES (1.0, 'a')`,
			`CREATE TABLE j (k jsonb PRIMARY KEY, at timestamptz NOT NULL DEFAULT now()); INSERT INTO j VALUES ('1.0')`)
		p := manual(t, url, `
datasets:
  t: {source: pg, table: public.t, key: [k], incremental_column: at}
  j: {source: pg, table: public.j, key: [k], incremental_column: at}
`)
		for _, d := range []string{"t", "j"} {
			r := p.Code(fault.ExitConfig, "sync", d)
			contains(t, r.Stderr, `key column "k"`, "several texts", "hint: give it a type")
		}
		p.Write(p.Head(url) + `
datasets:
  t: {source: pg, table: public.t, key: [k], incremental_column: at, types: {k: "DECIMAL(20,4)"}}
`)
		p.OK("sync")
		harness.PG(t, url, `UPDATE t SET k = 1.00, v = 'b', at = now()`)
		p.OK("sync")
		require.Equal(t, "1", harness.File(p.DB).One(t, "SELECT count(*) FROM t"))
	})
}
