package pgsql

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A statement that nests too deep for its tree goes to DuckDB as it is, and does not end the process.
func TestDeepStatements(t *testing.T) {
	o := open(t, empSetup, nil)
	many := strings.Repeat
	for name, pattern := range map[string]func(n int) string{
		"casts":           func(n int) string { return "SELECT 1" + many("::int", n) },
		"sums":            func(n int) string { return "SELECT 1" + many("+1", n) },
		"texts":           func(n int) string { return "SELECT 'a'" + many("||'b'", n) },
		"unions":          func(n int) string { return "SELECT 1" + many(" UNION ALL SELECT 1", n) },
		"unions of lists": func(n int) string { return "SELECT 1, 2" + many(" EXCEPT SELECT 1, 2", n) },
		"joins":           func(n int) string { return "SELECT count(*) FROM emp" + many(" NATURAL JOIN emp", n) },
		"joins on":        func(n int) string { return "SELECT 1 FROM a" + many(" JOIN b ON x = 1 AND y = 2", n) },
		"joins using":     func(n int) string { return "SELECT 1 FROM a" + many(" LEFT JOIN b USING (x, y)", n) },
		"is null":         func(n int) string { return "SELECT a" + many(" IS NULL", n) },
		"collations":      func(n int) string { return "SELECT 'a'" + many(` COLLATE "C"`, n) },
		"zones":           func(n int) string { return "SELECT now()" + many(" AT TIME ZONE 'UTC'", n) },
		"casts in lists":  func(n int) string { return "SELECT 1, ((1" + many("::int", n/2) + "), 2), 3)" + many("::int", n/2) },
		"parentheses": func(n int) string {
			return "SELECT " + many("(", n/8) + "1" + many(")::int::int::int::int::int::int::int", n/8)
		},
		"minus":             func(n int) string { return "SELECT " + many("- ", n) + "1" },
		"texts that escape": func(n int) string { return `SELECT E'\'', 1` + many("+1", n) + ", E'\\''" },
		"dollars":           func(n int) string { return `SELECT $a$'$a$, 1` + many("+1", n) + ", $a$'$a$" },
	} {
		for _, n := range []int{1500, 6000, 15_000, 60_000} {
			sql := pattern(n)
			if len(sql) > 1<<20 {
				continue
			}
			out, err := o.t.Translate(t.Context(), sql)
			require.NoError(t, err, "%s of %d", name, n)
			if n >= 6000 {
				require.True(t, deep(sql), "%s of %d", name, n)
				require.Equal(t, sql, out, "%s of %d", name, n)
			}
		}
	}
	for _, sql := range []string{many("/*", 300_000) + many("*/", 300_000) + "SELECT 7 / 2", "SELECT 7 / 2 --" + many("-", 2000), "SELECT 7 / 2, '" + many("x", longBytes) + "'"} {
		out, err := o.t.Translate(t.Context(), sql)
		require.NoError(t, err)
		require.Equal(t, sql, out)
	}
	// What is long without being deep is translated like everything else.
	var rows, terms []string
	for i := range 5000 {
		rows = append(rows, fmt.Sprintf("(%d::bigint, 'it''s ' || %d, -%d + 1)", i, i, i))
		terms = append(terms, fmt.Sprintf("id / 2 = %d OR name = E'\\'%d'", i, i))
	}
	for _, sql := range []string{"SELECT id FROM emp WHERE id IN (" + many("1::int, ", 20_000) + "2)", "SELECT * FROM (VALUES " + strings.Join(rows, ", ") + ") v", "SELECT count(*) FROM emp WHERE " + strings.Join(terms, " OR "), "SELECT " + many("/* a + b */ 1, ", 20_000) + "7 / 2", "SELECT 7 / 2 --" + many("-", 1000) + many("\n-- =======", 1000)} {
		require.Greater(t, len(sql), shortBytes)
		require.False(t, beyond(sql), "%.60s", sql)
	}
}
