package access

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

var catalogSetup = append([]string{
	`CREATE SCHEMA memory._pg`, `CREATE SCHEMA memory._pgbase`, `CREATE TABLE memory._pgbase.relations(oid INTEGER, name VARCHAR)`,
	`CREATE VIEW memory._pg.pg_class AS SELECT * FROM memory._pgbase.relations`, `CREATE MACRO memory._pg._version() AS 'x'`, `CREATE MACRO memory._pg._add(a, b) AS a + b`,
	`CREATE MACRO memory._pg.peek() AS (SELECT max(password) FROM main.secrets)`, `CREATE MACRO main._peek(x) AS (SELECT max(password) FROM main.secrets)`,
}, gateSetup...)

// The catalog of PostgreSQL clients is open to every role; what it is made from, and whatever only looks like it, to none.
func TestGateOfTheCatalog(t *testing.T) {
	a := gateAccess(t)
	// The tests' tables lie in memory too, so the setup comes in the order that makes them.
	d := newDuck(t, append(gateSetup, catalogSetup[:len(catalogSetup)-len(gateSetup)]...)...)
	for _, role := range []string{"reader", "none", "all"} {
		p := Principal{User: "u", Role: role}
		for _, q := range []string{`SELECT * FROM memory._pg.pg_class`, `SELECT memory._pg._version()`, `SELECT memory._pg._add(1, 2) FROM memory._pg.pg_class c WHERE c.name = memory._pg._version()`,
			`WITH x AS (SELECT * FROM memory._pg.pg_class) SELECT * FROM x`, `SELECT * FROM MEMORY._PG.pg_class`} {
			_, err := a.Gate(t.Context(), p, q, d)
			require.NoError(t, err, q)
		}
		for _, q := range []string{
			`SELECT * FROM memory._pgbase.relations`, `SELECT * FROM "memory"."_pgbase"."relations"`, `SELECT * FROM _pg.pg_class`, `SELECT * FROM _pgbase.relations`, `SELECT * FROM memory._pg."x.csv"`, `SELECT * FROM memory._pg."../x"`,
			`SELECT * FROM other._pg.pg_class`, `SELECT * FROM temp._pg.pg_class`, `SELECT memory._pg.peek()`, `SELECT memory._pg.getenv('HOME')`, `SELECT memory._pg.getenv() FROM (SELECT 'HOME' AS _pg) memory`,
			`SELECT memory._pg.current_setting() FROM (SELECT 'threads' AS _pg) AS memory`, `SELECT memory._pgbase._version()`, `SELECT memory.main._peek(1)`, `SELECT main._peek(1)`, `SELECT _peek(1)`, `SELECT _pg._version()`, `SELECT _version()`,
			`SELECT * FROM memory._pg._tables()`, `FROM memory._pg.read_text('/etc/passwd')`, `SELECT memory._pg._version() FROM memory._pgbase.relations`, `SELECT memory._pg._add((SELECT max(oid) FROM memory._pgbase.relations), 1)`,
			`SELECT memory._pg._add(getenv('HOME'), 1)`, `SELECT memory._pg._add(1, 1) OVER ()`, `WITH pg_class AS (SELECT * FROM memory._pgbase.relations) SELECT * FROM pg_class`, `DESCRIBE memory._pgbase.relations`, `SELECT * FROM (DESCRIBE memory._pgbase.relations)`,
		} {
			_, err := a.Gate(t.Context(), p, q, d)
			require.Error(t, err, "%s as %s", q, role)
			code := fault.CodeOf(err)
			require.Contains(t, []fault.Code{fault.Forbidden, fault.InvalidSQL}, code, q)
		}
	}
	for _, q := range []string{`CREATE VIEW memory._pg.pg_more AS SELECT 1`, `INSERT INTO memory._pg.pg_class VALUES (1)`, `DROP VIEW memory._pg.pg_class`} {
		_, err := a.Gate(t.Context(), Principal{User: "u", Role: "admin"}, q, d)
		require.Equal(t, fault.Forbidden, fault.CodeOf(err), q)
	}
}

// A function that is not there must not be found under its name elsewhere: DuckDB has none that begins with an underscore.
func TestNoFunctionOfDuckDBBeginsWithAnUnderscore(t *testing.T) {
	for name := range functionAdmin {
		require.False(t, strings.HasPrefix(name, "_"), name)
	}
	for name := range functionsRefused {
		require.False(t, strings.HasPrefix(name, "_"), name)
	}
	for name := range tableFunctionAdmin {
		require.False(t, strings.HasPrefix(name, "_"), name)
	}
}
