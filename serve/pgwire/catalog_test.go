package pgwire

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
)

// A statement that was prepared before a table was there sees it: drivers keep those that read the catalog.
func TestPreparedCatalogStatements(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	c := k.connect("user=ann")
	ctx := t.Context()
	tables := func() (n int) {
		require.NoError(t, c.QueryRow(ctx, "SELECT count(*) FROM pg_tables WHERE tablename = $1", "late").Scan(&n))
		return n
	}
	require.Equal(t, 0, tables())
	k.run("CREATE TABLE late AS SELECT 1 AS i")
	require.Eventually(t, func() bool { return tables() == 1 }, 10*time.Second, 10*time.Millisecond)
}

func TestSearchPath(t *testing.T) {
	k := newKit(t, kitOptions{writes: true, access: func(c *access.Config) {
		tables := c.Resolver.(access.Tables)
		tables.Add("other", "t", "other")
		tables.Add("other", "own", "other")
	}})
	k.run("CREATE SCHEMA other", "CREATE TABLE other.t AS SELECT 'other' AS word", "CREATE TABLE other.own AS SELECT 1 AS i")
	c := k.connect("user=ann")
	ctx := t.Context()
	one := func(sql string, args ...any) (v string) {
		t.Helper()
		require.NoError(t, c.QueryRow(ctx, sql, args...).Scan(&v), sql)
		return v
	}
	exec := func(sql string) error {
		_, err := c.Exec(ctx, sql)
		return err
	}
	// The catalog has the new tables within a second.
	require.Eventually(t, func() bool { return one("SELECT count(*)::text FROM pg_tables WHERE schemaname = 'other'") == "2" }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, "public", one("SELECT current_schema()"))
	require.Equal(t, "row 1", one("SELECT word FROM t WHERE i = 1"))
	require.NoError(t, exec("SET search_path = other, public"))
	require.Equal(t, "other", one("SELECT current_schema()"))
	require.Equal(t, "other", one("SELECT current_schema"))
	require.Equal(t, "{pg_catalog,other,public}", one("SELECT current_schemas(true)::text"))
	require.Equal(t, "{other,public}", one("SELECT current_schemas(false)::text"))
	require.Equal(t, "other", one("SELECT word FROM t LIMIT 1"))
	require.Equal(t, "row 1", one("SELECT word FROM public.t WHERE i = $1", 1))
	require.Equal(t, "1", one("SELECT (SELECT o.i FROM own o)::text"))
	require.Equal(t, "300000", one("SELECT count(*)::text FROM big"), "in the second schema")
	require.Equal(t, "true", one("SELECT pg_table_is_visible(oid)::text FROM pg_class WHERE relname = 'own'"))
	require.NoError(t, exec(`SET search_path = "nowhere", other`))
	require.Equal(t, "other", one("SELECT current_schema()"), "the first that is there")
	require.Equal(t, "42P01", state(t, exec("SELECT * FROM big")))
	require.Equal(t, "1", one("WITH big AS (SELECT 1 AS i) SELECT i::text FROM big"))
	require.NoError(t, exec("RESET search_path"))
	require.Equal(t, "row 1", one("SELECT word FROM t WHERE i = 1 "))
	c = k.connect("user=ann search_path=other")
	require.Equal(t, "other", one("SELECT word FROM t"))
}

// Drivers send arrays without saying of what they are.
func TestArrayParameters(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	c := k.connect("user=ann")
	for sql, args := range map[string][]any{
		"SELECT count(*) FROM t WHERE i = ANY($1)":               {[]int32{1, 2, 20000}},
		"SELECT count(*) FROM t WHERE word = ANY($1)":            {[]string{"row 1", "row 2", "none"}},
		"SELECT count(*) FROM t WHERE i < 3 AND i <> ALL($1)":    {[]int32{1, 5}},
		"SELECT count(*) FROM t WHERE i < $2 AND word = ANY($1)": {[]string{"row 1", "row 2", "row 3"}, 3},
	} {
		var n int
		require.NoError(t, c.QueryRow(t.Context(), sql, args...).Scan(&n), sql)
		require.Equal(t, 2, n, sql)
	}
}
