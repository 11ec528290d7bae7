package pgsql

import (
	"strings"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"
	"github.com/stretchr/testify/require"
)

func TestNeeded(t *testing.T) {
	for _, sql := range []string{
		"SELECT * FROM orders", "select id, name from customers where id = $1", "SELECT a.id AS x, b.name y FROM a JOIN b ON a.id = b.id WHERE a.n >= 5 AND b.name = 'x' ORDER BY a.id DESC LIMIT 10 OFFSET 5",
		"SELECT name FROM t WHERE name LIKE 'a%' AND id IN (1, 2, 3) AND NOT (x IS NULL OR y = 'it''s')", "SELECT t.* FROM t WHERE id BETWEEN 1 AND 2", `SELECT "Total" FROM t`, "SELECT * FROM t -- a comment\n",
		"SELECT DISTINCT a, b FROM s.t GROUP BY a, b HAVING a = 1", "SELECT a FROM t UNION ALL SELECT b FROM u",
	} {
		require.False(t, needed(sql), sql)
	}
	for _, sql := range []string{
		"SELECT 1", "SELECT 'a'", "SELECT count(*) FROM t", "SELECT a / b FROM t", "SELECT a FROM t WHERE a / b > 1", "SELECT a::text FROM t", "SELECT a FROM t WHERE a ~ 'x'", "SELECT a FROM pg_class", "SELECT a FROM information_schema.tables",
		"SELECT a FROM public.t", "SELECT a FROM t FOR UPDATE", "SELECT a FROM t WHERE a = ANY('{1}')", "SELECT a FROM t WHERE a LIKE 'x\\_y'", "SELECT a AS Total FROM t", "SELECT current_user", "SELECT a FROM t LIMIT all_ FETCH FIRST 1 ROW ONLY",
		"SELECT a = 1 FROM t", "SELECT a * 2 FROM t", "SELECT $1", "SELECT a[1] FROM t", "SELECT $$x$$", "SELECT a FROM t WHERE b = E'x'", "VALUES (1)", "SELECT a FROM t /* x */", "SELECT a FROM t WHERE a = '{1}'", "SELECT NULL FROM t", "SELECT a || b FROM t",
		"SELECT a - 1 FROM t", "TABLE t", "SELECT user", "SELECT a IS NULL FROM t", "SELECT a FROM t WHERE b SIMILAR TO 'x'", "SELECT EXISTS (SELECT a FROM t)", "SELECT a FROM t, generate_series(1, 2) g",
	} {
		require.True(t, needed(sql), sql)
	}
}

// What DuckDB alone understands goes to it as it is.
func TestDuckDBsDialect(t *testing.T) {
	o := open(t, empSetup, nil)
	for _, sql := range []string{"FROM emp SELECT id", "SELECT * EXCLUDE (doc) FROM emp", "SELECT id FROM emp QUALIFY row_number() OVER (ORDER BY id) = 1", "SUMMARIZE emp", "DESCRIBE emp", "SELECT {'a': 1}", "PIVOT emp ON dept IN ('ops') USING count(*)", "SELECT [x + 1 FOR x IN [1, 2]]"} {
		out, err := o.t.Translate(t.Context(), sql)
		require.NoError(t, err)
		require.Equal(t, sql, out)
		require.NoError(t, o.ask(t.Context(), ann, sql).err, sql)
	}
}

func TestErrorsAreClear(t *testing.T) {
	o := open(t, empSetup, nil)
	for sql, want := range map[string]string{
		"SELECT 1 / 0": "division by zero", "SELECT id % 0 FROM emp": "division by zero", "SELECT 1.5 / 0": "division by zero", "SELECT 1::float8 / 0": "division by zero", "SELECT id / (id - id) FROM emp": "division by zero",
		"SELECT mod(1, 0)": "division by zero", "SELECT to_char(now(), 'J')": "to_char() does not know", "SELECT '{1,2'::int[]": "malformed array literal", "SELECT 'x' SIMILAR TO name FROM emp": "constant pattern",
		"SELECT 'nosuch'::regclass": `relation "nosuch" does not exist`, "SELECT current_setting('no.such')": "unrecognized configuration parameter", "SELECT substr('abc', 1, -1)": "negative substring length",
	} {
		require.ErrorContains(t, o.ask(t.Context(), ann, sql).err, want, sql)
	}
}

// FuzzTranslate: no statement brings the translator down, and what comes of one SELECT is one statement.
func FuzzTranslate(f *testing.F) {
	o := open(f, empSetup, nil)
	seeds := []string{"SELECT 1; DROP TABLE emp", "SELECT '", "SELECT $$;$$", "SELECT 1 --", "SELECT ((((1))))", "SELECT a.b.c.d.e FROM x", "SELECT FROM emp", "SELECT * FROM (VALUES (1), (1, 2)) v", "SELECT extract(year)", "SELECT date_part()",
		"SELECT round()", "SELECT to_char(1)", "SELECT substring('a')", "SELECT position('a')", "SELECT '{'::int[]", "SELECT format('%', 1)", "SELECT regexp_match('a')", "SELECT unnest()", "SELECT generate_series(1)", "SELECT f() FROM g() AS (a int)",
		"SELECT x FROM ROWS FROM (a(1), b(2)) x", "SELECT timezone('a')", "SELECT log()", "SELECT trunc()", "SELECT pg_typeof()", "SELECT format()", "SELECT encode('a')", "SELECT json_extract_path()", "SELECT sum()", "SELECT substring()"}
	seeds = append(seeds, differentialSeeds()...)
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		out, _, err := o.t.rewrite(o.t.state.Load(), sql, false)
		if err != nil || out == sql {
			return
		}
		ours := strings.NewReplacer(" PERCENT)", ")").Replace(out) // DuckDB's word in a TABLESAMPLE
		tree, err := pg.Parse(strings.TrimPrefix(strings.TrimPrefix(ours, "EXPLAIN (FORMAT json) "), "EXPLAIN ANALYZE "))
		if err != nil {
			t.Fatalf("%q became %q, which cannot be parsed: %v", sql, out, err)
		}
		if len(tree.Stmts) != 1 {
			t.Fatalf("%q became %d statements: %q", sql, len(tree.Stmts), out)
		}
	})
}

func BenchmarkTranslate(b *testing.B) {
	o := open(b, empSetup, nil)
	for name, sql := range map[string]string{
		"same":   "SELECT id, name, price FROM emp WHERE dept = 'ops' AND id > 5 ORDER BY id LIMIT 100",
		"cached": "SELECT dept, count(*), sum(id) FROM emp GROUP BY dept ORDER BY 2 DESC",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = o.t.Translate(b.Context(), sql)
			}
		})
	}
	for name, sql := range map[string]string{
		"rewritten": "SELECT dept, count(*), sum(id) FROM emp GROUP BY dept ORDER BY 2 DESC",
		"catalog":   "SELECT n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r','p','') AND n.nspname !~ '^pg_toast' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = o.t.rewrite(o.t.state.Load(), sql, false)
			}
		})
	}
	b.Run("tables/asked", func(b *testing.B) {
		for b.Loop() {
			a := o.ask(b.Context(), ann, "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r','p','') AND n.nspname !~ '^pg_toast' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2")
			if a.err != nil {
				b.Fatal(a.err)
			}
		}
	})
	b.Run("refresh/unchanged", func(b *testing.B) {
		for b.Loop() {
			_ = o.t.Refresh(b.Context())
		}
	})
}
