package access

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Random nests of CTEs, subqueries and set operations over few names: every table that DuckDB's plan scans must be
// among those that the walker saw. The plan is the judge of what a CTE hides.
func TestWalkerSeesWhatThePlanScans(t *testing.T) {
	d := newDuck(t, `CREATE TABLE a AS SELECT 1 AS id`, `CREATE TABLE b AS SELECT 2 AS id`, `CREATE TABLE c AS SELECT 3 AS id`,
		`PRAGMA disable_optimizer`)
	ctx := context.Background()
	planned, scanned := 0, 0
	table := regexp.MustCompile(`"Table": "memory\.main\.([abc])"`)
	rapid.Check(t, func(rt *rapid.T) {
		q := genQuery(rt, 3)
		ast, err := d.SerializeSQL(ctx, q)
		require.NoError(rt, err)
		p, err := ParseAST(ast)
		require.NoError(rt, err, q)
		var kind, plan string
		if err := d.conn.QueryRowContext(ctx, "EXPLAIN (FORMAT json) "+q).Scan(&kind, &plan); err != nil {
			return // a circular reference and the like: DuckDB runs nothing
		}
		planned++
		for _, m := range table.FindAllStringSubmatch(plan, -1) {
			scanned++
			require.True(rt, slices.ContainsFunc(p.Tables, func(o Object) bool { return fold(o.Name) == m[1] }),
				"the plan scans %s, the walker saw %v:\n%s", m[1], p.Tables, q)
		}
	})
	require.Greater(t, planned, 20, "too few of the statements were valid")
	require.Greater(t, scanned, 20)
}

func genQuery(t *rapid.T, depth int) string {
	pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }
	name := func() string { return []string{"a", "b", "c", "A", `"b"`}[pick(5)] }
	sub := func() string {
		if depth <= 0 || pick(3) > 0 {
			return "SELECT id FROM " + name()
		}
		return genQuery(t, depth-1)
	}
	alias := 0
	ref := func() string {
		alias++
		as := fmt.Sprintf(" AS r%d(id)", alias)
		switch pick(9) {
		case 0:
			return "main." + []string{"a", "b", "c"}[pick(3)] + as
		case 1, 2:
			return "(" + sub() + ")" + as
		case 3:
			return "LATERAL (" + sub() + ")" + as
		case 4:
			return "range((SELECT max(id)::BIGINT FROM " + name() + "))" + as
		case 5:
			return "(SELECT 1 AS id FROM (SUMMARIZE " + name() + "))" + as
		case 6:
			return "(SELECT 1 AS id FROM (SUMMARIZE " + sub() + "))" + as
		}
		return name() + as
	}
	body := func() string {
		q := "SELECT r1.id FROM " + ref()
		if pick(3) == 0 {
			q += ", " + ref()
		}
		switch pick(5) {
		case 0:
			q += " WHERE r1.id IN (" + sub() + ")"
		case 1:
			q += " WHERE EXISTS (" + sub() + ")"
		}
		alias = 0
		return q
	}
	var b strings.Builder
	if pick(2) == 0 {
		recursive := pick(3) == 0
		b.WriteString("WITH ")
		if recursive {
			b.WriteString("RECURSIVE ")
		}
		first := pick(3)
		for i := range 1 + pick(3) {
			if i > 0 {
				b.WriteString(", ")
			}
			n := []string{"a", "B", `"c"`, "d"}[(first+i)%4]
			b.WriteString(n + "(id) AS " + []string{"", "MATERIALIZED ", "NOT MATERIALIZED "}[pick(3)] + "(")
			if recursive && pick(2) == 0 {
				b.WriteString(body() + []string{" UNION ", " UNION ALL "}[pick(2)] + "SELECT id + 1 FROM " + n + " WHERE id < 3")
				if pick(2) == 0 {
					b.WriteString(" AND id IN (" + sub() + ")")
				}
			} else {
				b.WriteString(sub())
			}
			b.WriteString(") ")
		}
	}
	b.WriteString(body())
	if pick(3) == 0 {
		b.WriteString([]string{" UNION ALL ", " EXCEPT ", " INTERSECT "}[pick(3)] + []string{body(), "(" + sub() + ")"}[pick(2)])
	} else if pick(3) == 0 {
		b.WriteString(" LIMIT (SELECT max(id) FROM " + name() + ")")
	}
	return b.String()
}

// Whatever comes, the walker answers without panic, and lets nothing through that is not a syntax tree.
func FuzzParseAST(f *testing.F) {
	d := newDuck(f, gateSetup...)
	for _, q := range slices.Concat(legitimate, hostile) {
		if ast, err := d.SerializeSQL(context.Background(), strings.ToValidUTF8(q, "?")); err == nil {
			f.Add(ast)
		}
	}
	f.Add(`{"error":false,"statements":[{"node":{"type":"NEW_NODE"}}]}`)
	f.Add(strings.Repeat(`{"a":[`, 20000))
	f.Fuzz(func(t *testing.T, ast string) {
		p, err := ParseAST(ast)
		if err != nil {
			require.Zero(t, p.Statements)
			return
		}
		for _, o := range p.Tables {
			require.NotEmpty(t, o.Name)
		}
		for _, f := range slices.Concat(p.Functions, p.TableFunctions) {
			require.NotEmpty(t, f)
		}
	})
}

func TestParseASTRefusesWhatItDoesNotKnow(t *testing.T) {
	wrap := func(node string) string { return `{"error":false,"statements":[{"node":` + node + `}]}` }
	for _, ast := range []string{
		``, `x`, `[]`, `null`, `{`, `{}`, `{"error":false}`, `{"statements":[]}`, `{"error":false,"statements":[{}]}`, `{"error":false,"statements":[1]}`, `{"error":false,"statements":[{"node":{"type":"SELECT_NODE"}}]} x`,
		wrap(`{"type":"CTE_NODE"}`), wrap(`{"type":"NEW_NODE"}`), wrap(`{"type":"SELECT_NODE","new":{"type":"COLUMN_DATA"}}`), wrap(`{"type":"SELECT_NODE","a":[[{"class":"NEW","type":"X"}]]}`),
		wrap(`{"type":"BASE_TABLE","schema_name":"s"}`), wrap(`{"class":"FUNCTION","type":"FUNCTION"}`), wrap(`{"type":"TABLE_FUNCTION"}`), wrap(`{"type":"TABLE_FUNCTION","function":{"class":"CONSTANT","type":"X"}}`),
		wrap(`{"type":"RECURSIVE_CTE_NODE","cte_name":"x"}`), wrap(`{"type":"SELECT_NODE","cte_map":{"map":[{"key":"x"}]}}`), wrap(`{"type":"PIVOT","pivots":[{"pivot_enum":"mood"}]}`),
		wrap(strings.Repeat(`{"type":"SELECT_NODE","a":`, 20000) + `{}` + strings.Repeat(`}`, 20000)),
	} {
		_, err := ParseAST(ast)
		require.Error(t, err, clip(ast))
	}
	p, err := ParseAST(wrap(`{"type":"SELECT_NODE","where":{"class":"SUBQUERY","type":"SUBQUERY","deep":[[{"type":"BASE_TABLE","table_name":"T"}]]}}`))
	require.NoError(t, err)
	require.Equal(t, []Object{{Name: "T"}}, p.Tables)
}

// A statement of a hundred thousand constants is read without a hundred bytes of memory for each of its nodes' fields.
func TestParseASTDropsConstants(t *testing.T) {
	d := newDuck(t)
	ast, err := d.SerializeSQL(context.Background(), "SELECT 1 IN ("+strings.Repeat("12345,", 100_000)+"1)")
	require.NoError(t, err)
	root, err := decodeAST(ast)
	require.NoError(t, err)
	list := root.child("statements").items[0].child("node").list("select_list")[0].child("children")
	require.Equal(t, 100_002, list.length)
	require.Empty(t, list.items[0].fields)
	require.Empty(t, list.items[0].text)
	require.Equal(t, "CONSTANT", list.items[0].class)
}

// A constant beyond a double is written as a bare Infinity: it hides nothing, and texts that look like it stay texts.
func TestInfiniteConstants(t *testing.T) {
	d := newDuck(t)
	for _, q := range []string{
		`SELECT 1e400::double FROM a`, `SELECT -1e400, 1e999 FROM a WHERE 1e400 > (SELECT max(x) FROM b)`, `SELECT 'Infinity', '\"Infinity', 'NaN"' AS "Na""N", 1e400 FROM a`,
		`SELECT 1e400 FROM "Infinity" JOIN a USING ("NaN")`, `SELECT 'a\', 1e400, '\' FROM a`,
	} {
		ast, err := d.SerializeSQL(t.Context(), q)
		require.NoError(t, err)
		p, err := ParseAST(ast)
		require.NoError(t, err, "%s\n%s", q, ast)
		require.Contains(t, p.Tables, Object{Name: "a"}, q)
		require.Equal(t, strings.Contains(q, "FROM b"), slices.Contains(p.Tables, Object{Name: "b"}), q)
		require.Equal(t, strings.Contains(q, `FROM "Inf`), slices.Contains(p.Tables, Object{Name: "Infinity"}), q)
	}
}
