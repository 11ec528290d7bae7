package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

const relationsSQL = `
	CREATE TABLE plain (id bigserial PRIMARY KEY, note text, at timestamptz NOT NULL DEFAULT now());
	INSERT INTO plain (note) SELECT 'n' || g FROM generate_series(1, 2000) g;
	CREATE TABLE ranged (id bigserial, day date NOT NULL, region text, note text, at timestamptz NOT NULL DEFAULT now()) PARTITION BY RANGE (day);
	CREATE TABLE ranged_26a PARTITION OF ranged FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
	CREATE TABLE ranged_26b (note text, at timestamptz NOT NULL DEFAULT now(), extra int, region text, id bigint NOT NULL, day date NOT NULL) PARTITION BY LIST (region); -- other order, other numbers
	ALTER TABLE ranged_26b DROP COLUMN extra;
	ALTER TABLE ranged ATTACH PARTITION ranged_26b FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
	CREATE TABLE ranged_26b_eu PARTITION OF ranged_26b FOR VALUES IN ('eu');
	CREATE TABLE ranged_26b_other PARTITION OF ranged_26b DEFAULT;
	CREATE TABLE ranged_default PARTITION OF ranged DEFAULT;
	CREATE TABLE ranged_empty PARTITION OF ranged FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
	INSERT INTO ranged (day, region, note) SELECT '2026-01-01'::date + g % 90, (ARRAY['eu', 'us', NULL])[1 + g % 3], 'n' || g FROM generate_series(1, 3000) g;
	CREATE TABLE parent (id bigserial PRIMARY KEY, note text, at timestamptz DEFAULT now());
	CREATE TABLE child (own int) INHERITS (parent);
	CREATE TABLE grandchild (more int) INHERITS (child);
	INSERT INTO parent (note) SELECT 'p' FROM generate_series(1, 50); INSERT INTO child (note, own) SELECT 'c', g FROM generate_series(1, 50) g; INSERT INTO grandchild (note) SELECT 'g' FROM generate_series(1, 50);
	CREATE VIEW shown AS SELECT id, upper(note) AS note, at FROM plain WHERE id % 2 = 0;
	CREATE MATERIALIZED VIEW stored AS SELECT note, count(*) AS n FROM ranged GROUP BY note;
	CREATE UNLOGGED TABLE unlogged (id int); INSERT INTO unlogged VALUES (1), (NULL);
	CREATE TABLE generated (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, at timestamptz DEFAULT now()); INSERT INTO generated SELECT g FROM generate_series(1, 9) g;
	CREATE TABLE empty (id int PRIMARY KEY, a text[], j jsonb);`

// Every kind of relation that PostgreSQL has can be a dataset, whole and by increments.
func TestRelations(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		u, err := pgx.ParseConfig(url)
		require.NoError(t, err)
		harness.PG(t, url, relationsSQL, fmt.Sprintf(`CREATE EXTENSION postgres_fdw;
			CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '%d', dbname '%s');
			CREATE USER MAPPING FOR CURRENT_USER SERVER loop OPTIONS (user 'postgres', password '%s');
			CREATE FOREIGN TABLE far (id bigint, note text, at timestamptz) SERVER loop OPTIONS (table_name 'plain')`, u.Port, u.Database, u.Password))
		relations := []struct{ name, more string }{
			{"plain", "key: [id], incremental_column: at"},
			{"ranged", "key: [id], incremental_column: at"},
			{"ranged_26b", "key: [id], incremental_column: at"},
			{"parent", "key: [id], incremental_column: at"},
			{"shown", "key: [id], incremental_column: at"},
			{"far", "key: [id], incremental_column: at"},
			{"stored", ""},
			{"unlogged", ""},
			{"generated", "key: [id], incremental_column: at"},
			{"empty", "key: [id]"},
		}
		yaml := "datasets:\n"
		for _, r := range relations {
			yaml += fmt.Sprintf("  t_%s: {source: pg, table: public.%s, %s}\n", r.name, r.name, r.more)
			yaml += fmt.Sprintf("  q_%s: {source: pg, queries: {q: {sql: SELECT * FROM %s, %s}}}\n", r.name, r.name, r.more)
		}
		yaml = strings.ReplaceAll(strings.ReplaceAll(yaml, ", }", "}"), ",}", "}")
		p := harness.With(t, url, yaml)
		f := harness.File(p.DB)
		same := func() {
			t.Helper()
			for _, r := range relations {
				harness.Compare(t, url, "SELECT * FROM "+r.name, f, "t_"+r.name)
				harness.Compare(t, url, "SELECT * FROM "+r.name, f, "q_"+r.name+"_q")
			}
		}
		p.OK("check")
		p.OK("sync")
		same()
		harness.PG(t, url, `INSERT INTO plain (note) SELECT 'new' FROM generate_series(1, 20); UPDATE plain SET note = 'changed', at = now() WHERE id < 10`,
			`INSERT INTO ranged (day, region, note) SELECT '2026-01-25'::date + g, (ARRAY['eu', 'us', NULL])[1 + g % 3], 'new' FROM generate_series(1, 60) g; UPDATE ranged SET day = '2030-06-01', at = now() WHERE id = 5; UPDATE ranged SET region = 'eu', at = now() WHERE day = '2026-02-15'`,
			`INSERT INTO grandchild (note) VALUES ('new'); UPDATE child SET note = 'changed', at = now() WHERE own < 5; UPDATE ONLY parent SET at = now()`,
			`REFRESH MATERIALIZED VIEW stored; INSERT INTO unlogged VALUES (2); INSERT INTO generated SELECT g FROM generate_series(10, 12) g; INSERT INTO empty VALUES (1, '{}', '[]')`)
		p.OK("sync")
		same()
		out := p.OK("verify")
		require.Equal(t, 2*len(relations), strings.Count(out, ": equal"), out)
		// Partitions come, go and change places.
		harness.PG(t, url, `CREATE TABLE later PARTITION OF ranged FOR VALUES FROM ('2031-01-01') TO ('2032-01-01'); INSERT INTO ranged (day, note) VALUES ('2031-05-05', 'later')`)
		p.OK("sync", "t_ranged", "q_ranged")
		harness.Compare(t, url, "SELECT * FROM ranged", f, "t_ranged")
		harness.PG(t, url, `ALTER TABLE ranged DETACH PARTITION ranged_26a; TRUNCATE ranged_26b_eu`)
		p.OK("verify", "--repair", "t_ranged", "q_ranged")
		harness.Compare(t, url, "SELECT * FROM ranged", f, "t_ranged")
		harness.Compare(t, url, "SELECT * FROM ranged", f, "q_ranged_q")
	})
}

// A query is split by any kind of column, skewed or with NULLs, and each row is read once; a plain table is split by its
// blocks. The source sees that several connections read at once, all under one snapshot.
func TestPartitionColumns(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, `CREATE TABLE wide (id int PRIMARY KEY, big bigint, day date, at timestamptz, local timestamp, u uuid, word text, accent text COLLATE "en-x-icu", price numeric(12,2), loose numeric, f float8, same int, clumped int, small smallint, never int, pad text);
			INSERT INTO wide SELECT g, g * 1000000007::bigint, '2026-01-01'::date + g % 5000, '2026-01-01'::timestamptz + g * interval '1.5 s', '2026-01-01'::timestamp + g * interval '1 s', md5(g::text)::uuid, md5(g::text), chr(97 + g % 26) || chr(224 + g % 20) || g, g / 100.0, g / 7.0, g / 3.0, 7,
				CASE WHEN g % 100 < 97 THEN 5 ELSE g END, g % 30000, NULL, repeat('x', 150) FROM generate_series(1, 60000) g;
			UPDATE wide SET big = NULL, day = NULL, at = NULL, local = NULL, u = NULL, word = NULL, accent = NULL, price = NULL, loose = NULL, f = NULL, clumped = NULL, small = NULL WHERE id % 10 = 3;
			ANALYZE wide`)
		columns := []string{"id", "big", "day", "at", "local", "u", "word", "accent", "price", "loose", "f", "same", "clumped", "small", "never"}
		yaml := "datasets:\n  blocks: {source: pg, table: public.wide}\n  some: {source: pg, table: public.wide, columns: [id, at]}\n"
		for _, c := range columns {
			yaml += fmt.Sprintf("  by_%[1]s: {source: pg, queries: {q: {sql: \"SELECT id, %[2]s same FROM wide\", partition_column: %[1]s}}}\n", c, map[bool]string{true: "", false: c + ","}[c == "id" || c == "same"])
		}
		p := manual(t, url, yaml)
		s := p.Serve()
		s.Sync("blocks")
		s.Sync("some")
		harness.Compare(t, url, "SELECT id, at FROM wide", s, "some", "id")
		for _, c := range columns {
			s.Sync("by_" + c)
			// Counting and summing is enough here: values are other tests' matter.
			want := one(t, url, fmt.Sprintf("SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || sum(id) || ' ' || count(%s) FROM wide", c))
			require.Equal(t, want, s.One(fmt.Sprintf(`SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || sum(id) || ' ' || count("%s") FROM by_%s_q`, c, c)), c)
		}
	})
}

// Every table and every partition of a dataset is read under one snapshot: while money moves between rows and tables, each
// copy holds the same sum, and no result without its dataset row.
func TestOneSnapshot(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, `CREATE TABLE accounts (id int PRIMARY KEY, branch int, amount bigint NOT NULL, pad text);
			INSERT INTO accounts SELECT g, g % 2, 100, repeat('x', 400) FROM generate_series(1, 60000) g;
			CREATE TABLE ledger (id bigserial PRIMARY KEY, account int, amount bigint NOT NULL); ANALYZE`)
		p := manual(t, url, `datasets:
  bank:
    source: pg
    queries:
      even: {sql: "SELECT id, amount FROM accounts WHERE branch = 0", partition_column: id}
      odd: {sql: "SELECT id, amount FROM accounts WHERE branch = 1", partition_column: id}
      ledger: {sql: SELECT * FROM ledger}
    view: SELECT (SELECT sum(amount) FROM bank_even) + (SELECT sum(amount) FROM bank_odd) AS total, (SELECT sum(amount) FROM bank_odd) - (SELECT coalesce(sum(amount), 0) FROM bank_ledger) AS odd
  table: {source: pg, table: public.accounts, columns: [id, amount]}
`)
		s := p.Serve()
		stop, done := make(chan struct{}), make(chan int)
		go func() {
			moves := 0
			defer func() { done <- moves }()
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close(t.Context())
			for {
				select {
				case <-stop:
					return
				default:
				}
				// From one branch to the other, far apart in the table, booked in the ledger.
				_, err := conn.Exec(t.Context(), fmt.Sprintf(`BEGIN; UPDATE accounts SET amount = amount - 1 WHERE id IN (%[1]d, %[1]d + 2); UPDATE accounts SET amount = amount + 1 WHERE id IN (60001 - %[1]d, 59999 - %[1]d);
					INSERT INTO ledger (account, amount) VALUES (%[1]d, 2); COMMIT`, 2+2*(moves%10000)))
				if err != nil {
					t.Error(err)
					return
				}
				moves++
			}
		}()
		for range 3 {
			s.Sync("bank")
			s.Sync("table")
			require.Equal(t, [][]any{{"6000000", "3000000"}}, texts(s.SQL("SELECT total, odd FROM bank")))
			require.Equal(t, "6000000", s.One("SELECT sum(amount) FROM \"table\""))
		}
		close(stop)
		require.Greater(t, <-done, 10, "the source changed meanwhile")
		s.Sync("bank")
		harness.Compare(t, url, "SELECT * FROM ledger", s, "bank_ledger", "id")
	})
}

// Readers that loop while a dataset is rebuilt see all of the old or all of the new, and never that a table is missing.
func TestReadersDuringRebuilds(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, `CREATE TABLE a (id int, generation int); CREATE TABLE b (id int, generation int);
			INSERT INTO a SELECT g, 0 FROM generate_series(1, 5000) g; INSERT INTO b SELECT g, 0 FROM generate_series(1, 5000) g`)
		p := manual(t, url, `datasets:
  m: {source: pg, dataset_query: "SELECT id AS dataset_id, generation AS dg FROM a", results_query: "SELECT id AS dataset_id, generation AS rg FROM b"}
`)
		s := p.Serve()
		s.Sync("m")
		stop, done := make(chan struct{}), make(chan map[string]int)
		for range 2 {
			go func() {
				seen := map[string]int{}
				defer func() { done <- seen }()
				for {
					select {
					case <-stop:
						return
					default:
					}
					status, body := s.Do("POST", "/v0/sql", map[string]any{"sql": "SELECT count(*), min(dg), max(dg), min(rg), max(rg), (SELECT count(*) FROM m_dataset), (SELECT max(generation) FROM (SELECT dg AS generation FROM m_dataset)) FROM m_data"})
					if status != 200 {
						t.Errorf("a reader got %d %s", status, body)
						return
					}
					var res struct{ Rows [][]int }
					decode(t, string(body), &res)
					g := res.Rows[0][1]
					if want := []int{5000, g, g, g, g, 5000, g}; fmt.Sprint(res.Rows[0]) != fmt.Sprint(want) {
						t.Errorf("a reader saw a mix: %v", res.Rows[0])
						return
					}
					seen[fmt.Sprint(g)]++
				}
			}()
		}
		for g := 1; g <= 8; g++ {
			harness.PG(t, url, fmt.Sprintf("BEGIN; UPDATE a SET generation = %[1]d; UPDATE b SET generation = %[1]d; COMMIT", g))
			s.SyncFull("m")
		}
		close(stop)
		for range 2 {
			require.Greater(t, len(<-done), 3, "generations seen by a reader")
		}
	})
}
