package access

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

// policyTables is a Resolver that knows its views.
type policyTables struct{ Tables }

func (policyTables) View(schema, name string) bool { return schema == "main" && fold(name) == "m_data" }

func policyAccess(t testing.TB, roles ...Role) *Access {
	t.Helper()
	a, err := New(Config{Roles: roles, Catalog: "memory", Resolver: policyTables{gateTables()}}, nil, nil)
	require.NoError(t, err)
	return a
}

var policySetup = append(gateSetup[:len(gateSetup):len(gateSetup)],
	`CREATE MACRO _pintail.claim(name) AS json_extract_string(nullif(getvariable('pintail_claims'), '')::JSON, '/' || replace(replace(name, '~', '~0'), '/', '~1'))`,
	`INSERT INTO m_dataset SELECT i, i % 3, i % 5, 'name' || i, TIMESTAMPTZ '2026-01-01' + to_days(i), '{"a": 1}', [i], {'x': i} FROM range(20) r(i)`,
	`INSERT INTO m_results SELECT i, i / 2 FROM range(0, 20, 2) r(i)`,
	`INSERT INTO shop.orders SELECT i, i * 100 FROM range(10) r(i)`)

// rows runs a gated statement as query does.
func (d *duck) rows(t testing.TB, p Principal, s Statement) (string, error) {
	t.Helper()
	ctx := context.Background()
	if s.Audience != "" {
		_, err := d.conn.ExecContext(ctx, "SET VARIABLE "+ClaimsVariable+" = '"+strings.ReplaceAll(p.Claims, "'", "''")+"'")
		require.NoError(t, err)
		require.NoError(t, s.CreateViews(ctx, p, d))
	}
	return d.text(s.SQL)
}

func (d *duck) text(q string) (string, error) {
	rows, err := d.conn.QueryContext(context.Background(), q)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()
	names, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var out []string
	for rows.Next() {
		vals, ptrs := make([]any, len(names)), make([]any, len(names))
		for i := range vals {
			ptrs[i] = &vals[i]
		}
		if err := rows.Scan(ptrs...); err != nil {
			return "", err
		}
		out = append(out, fmt.Sprint(vals))
	}
	slices.Sort(out)
	return strings.Join(out, "\n"), rows.Err()
}

// A statement means the same when views stand for its tables that show all of them.
func TestPolicyKeepsMeaning(t *testing.T) {
	d := newDuck(t, policySetup...)
	a := policyAccess(t, Role{Name: "reader", Read: []string{"*"}, RowFilters: map[string]string{"m.*": "true", "shop.orders": "true", "errors.*": "true"}})
	shielded := 0
	for _, q := range legitimate {
		if strings.Contains(strings.ToLower(q), "explain") {
			continue
		}
		s, err := a.Gate(context.Background(), reader, q, d)
		if !assert.NoError(t, err, q) {
			continue
		}
		if len(s.Views) == 0 {
			require.Equal(t, q, s.SQL)
			continue
		}
		shielded++
		want, wantErr := d.text(q)
		got, gotErr := d.rows(t, reader, s)
		assert.Equal(t, wantErr == nil, gotErr == nil, "%s\n%v\n%v", q, wantErr, gotErr)
		if wantErr == nil && gotErr == nil && !regexp.MustCompile(`SAMPLE|uuid|now\(|lag\(|LIMIT|list\(a\)|POSITIONAL`).MatchString(q) { // those give other rows each time
			assert.Equal(t, want, got, "%s\n%s", q, s.SQL)
		}
	}
	require.Greater(t, shielded, 60)
}

var tenants = Role{Name: "tenant", Read: []string{"m.*", "shop.*", "errors.partners"},
	RowFilters: map[string]string{"m.*": "a = _pintail.claim('a')::INT", "m.m_results": "v > 3", "shop.orders": "id < 5 -- the first\n OR id = 9"},
	Masks:      map[string]map[string]string{"m.m_dataset": {"Name": "left(name, 1) || '***'", "j": "NULL"}, "shop.salaries": {"amount": "NULL"}}}

func TestPolicies(t *testing.T) {
	d, a := newDuck(t, append(policySetup, `INSERT INTO shop.salaries VALUES (1, 5000)`, `DROP VIEW m_data`, `CREATE VIEW m_data AS SELECT * FROM m_dataset`,
		`ALTER TABLE m_results ADD COLUMN a INT DEFAULT 1`)...), policyAccess(t, tenants)
	ctx := context.Background()
	who := Principal{User: "u", Role: "tenant", Claims: `{"a":1,"https://example.com/x~y":"it's"}`}
	get := func(p Principal, q string) string {
		t.Helper()
		s, err := a.Gate(ctx, p, q, d)
		require.NoError(t, err, q)
		got, err := d.rows(t, p, s)
		require.NoError(t, err, "%s\n%s", q, s.SQL)
		return got
	}
	none := who
	none.Claims = ""
	for _, c := range []struct{ q, want, without string }{
		{`SELECT string_agg(id, ' ' ORDER BY id) FROM m_dataset`, "[1 4 7 10 13 16 19]", "[<nil>]"},
		{`SELECT name, j FROM m_dataset WHERE id = 1`, "[n*** <nil>]", ""},
		{`SELECT count(*) FROM m_dataset WHERE name = 'name1'`, "[0]", "[0]"},
		{`SELECT "main"."m_dataset"."id", memory.main.m_dataset.name, Main.M_Dataset.j.a FROM "main"."m_dataset" WHERE main.m_dataset.id = 4`, "[4 n*** <nil>]", ""},
		{`SELECT x.id FROM memory.m_dataset AS x JOIN main.m_dataset y USING (id) WHERE id = 7`, "[7]", ""},
		{`SELECT count(*) FROM m_data`, "[7]", "[0]"},
		{`SELECT v FROM m_results ORDER BY v`, "[4]\n[5]\n[6]\n[7]\n[8]\n[9]", ""},
		{`SELECT id FROM shop.orders`, "[0]\n[1]\n[2]\n[3]\n[4]\n[9]", "[0]\n[1]\n[2]\n[3]\n[4]\n[9]"},
		{`SELECT * FROM shop.salaries`, "[1 <nil>]", "[1 <nil>]"},
		{`SELECT sum(amount) FROM shop.salaries`, "[<nil>]", "[<nil>]"},
		{`SELECT id FROM errors_partners`, "", ""},
		{`SELECT _pintail.claim('https://example.com/x~y')`, "[it's]", "[<nil>]"},
		{`SELECT _pintail.claim('nothing')`, "[<nil>]", "[<nil>]"},
		// What stands around a table does not change what the filter means.
		{`SELECT count(*) FROM (SELECT 0 AS a, 1 AS id) x, shop.orders`, "[6]", "[6]"},
		{`WITH m_dataset AS (SELECT 17 AS id) SELECT * FROM m_dataset`, "[17]", "[17]"},
		{`WITH m_dataset AS (SELECT 17 AS id) SELECT count(*) FROM main.m_dataset`, "[7]", "[0]"},
		{`WITH RECURSIVE r AS (SELECT id FROM m_dataset UNION SELECT id FROM r) SELECT count(*) FROM r`, "[7]", "[0]"},
		{`SELECT (SELECT max(id) FROM m_dataset), EXISTS (FROM m_dataset WHERE id = 0)`, "[19 false]", "[<nil> false]"},
		{`SELECT count(*) FROM m_dataset UNION ALL SELECT count(*) FROM shop.orders`, "[6]\n[7]", "[0]\n[6]"},
		{`FROM (PIVOT m_dataset ON a IN (0, 1, 2) USING count(*) GROUP BY l) SELECT sum("0"), sum("1"), sum("2")`, "[0 7 0]", "[<nil> <nil> <nil>]"},
		{`SELECT "count" FROM (SUMMARIZE shop.orders) WHERE column_name = 'id'`, "[6]", "[6]"},
	} {
		require.Equal(t, c.want, get(who, c.q), c.q)
		require.Equal(t, c.without, get(none, c.q), c.q)
	}

	// An expression that fails on other rows does not tell of them.
	require.Equal(t, "[0]", get(who, `SELECT count(*) FROM m_dataset WHERE CASE WHEN a <> 1 THEN error('there is ' || id) END IS NOT NULL`))
	for _, q := range []string{
		`EXPLAIN SELECT * FROM m_dataset`, `EXPLAIN ANALYZE SELECT * FROM shop.orders`, `SELECT stats(id) FROM m_dataset`,
		`FROM m_dataset_at('2026-01-01')`, `FROM m_dataset, main.m_dataset_at(now())`, `FROM temp.main."main.m_dataset"`, `FROM temp."main.m_dataset"`, `FROM "main.m_dataset"`,
		`SELECT 1e400 FROM m_dataset`,
	} {
		_, err := a.Gate(ctx, who, q, d)
		require.Equal(t, fault.Forbidden, fault.CodeOf(err), "%s: %v", q, err)
	}

	// A view beside filtered tables needs a filter of its own.
	narrow := tenants
	narrow.RowFilters = map[string]string{"m.m_dataset": "a = 1"}
	require.NoError(t, a.Update(Config{Roles: []Role{narrow}, Catalog: "memory", Resolver: policyTables{gateTables()}}))
	_, err := a.Gate(ctx, who, `FROM m_data`, d)
	require.ErrorContains(t, err, "a view may show the rest")
	require.Equal(t, "[10]", get(who, `SELECT count(*) FROM m_results`))

	// What does not fit the table closes it.
	narrow.RowFilters = map[string]string{"shop.orders": "tenant = 1"}
	require.NoError(t, a.Update(Config{Roles: []Role{narrow}, Catalog: "memory", Resolver: policyTables{gateTables()}}))
	for _, q := range []string{`FROM shop.orders`, `FROM (SELECT 1 AS tenant) t, shop.orders`} {
		_, err = a.Gate(ctx, who, q, d)
		require.ErrorContains(t, err, `the row filters and masks of role "tenant" do not fit table shop.orders`, q)
		require.Equal(t, fault.Forbidden, fault.CodeOf(err))
	}
}

// Who may run a statement gets answers of one's own: what is kept of another's has another name.
func TestPolicyAudience(t *testing.T) {
	d, a := newDuck(t, policySetup...), policyAccess(t, tenants, Role{Name: "reader", Read: []string{"*"}})
	ctx := context.Background()
	gate := func(p Principal, q string) Statement {
		t.Helper()
		s, err := a.Gate(ctx, p, q, d)
		require.NoError(t, err)
		return s
	}
	one, two := Principal{Role: "tenant", Claims: `{"a":1}`}, Principal{Role: "tenant", Claims: `{"a":2}`}
	const q = `SELECT * FROM shop.orders`
	require.Empty(t, gate(Principal{Role: "reader", Claims: `{"a":1}`}, q).Audience)
	require.NotEqual(t, gate(one, q).Audience, gate(two, q).Audience)
	require.NotEqual(t, gate(one, `SELECT _pintail.claim('a')`).Audience, gate(two, `SELECT _pintail.claim('a')`).Audience)
	require.Empty(t, gate(one, `SELECT 1`).Audience)
	require.True(t, gate(one, q).Stable())

	// A statement that was let through before is given the role's views of now, and whoever else asks theirs.
	s := gate(one, q)
	again, err := a.Again(one, s)
	require.NoError(t, err)
	require.True(t, again.SameViews(s))
	require.Equal(t, s.Audience, again.Audience)
	other := tenants
	other.RowFilters = map[string]string{"shop.orders": "false"}
	require.NoError(t, a.Update(Config{Roles: []Role{other}, Catalog: "memory", Resolver: policyTables{gateTables()}}))
	again, err = a.Again(one, s)
	require.NoError(t, err)
	require.False(t, again.SameViews(s))
	require.NotEqual(t, s.Audience, again.Audience)
}

func TestPolicyConfig(t *testing.T) {
	for want, r := range map[string]Role{
		"sees every row":       {Admin: true, RowFilters: map[string]string{"m.*": "true"}},
		"has no condition":     {RowFilters: map[string]string{"m.*": " "}},
		`"m.a*" is not`:        {RowFilters: map[string]string{"m.a*": "true"}},
		"is not a table":       {Masks: map[string]map[string]string{"m.*": {"a": "1"}}},
		"of \"m.m_data\" does": {RowFilters: map[string]string{"m.m_data": "v > 3) OR (true"}},
		"m_data.a does not":    {Masks: map[string]map[string]string{"m.m_data": {"a": "1; DROP TABLE m_data"}}},
		"has no value":         {Masks: map[string]map[string]string{"m.m_data": {"a": ""}}},
	} {
		r.Name = "r"
		_, err := New(Config{Roles: []Role{r}}, nil, nil)
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.Config, fault.CodeOf(err))
	}
}
