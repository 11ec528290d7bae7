package access

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// What DuckDB itself calls volatile, or the same only within one statement, is in the list.
func TestVolatileFunctions(t *testing.T) {
	d := newDuck(t)
	rows, err := d.conn.QueryContext(context.Background(), `SELECT DISTINCT lower(function_name), stability FROM duckdb_functions()
		WHERE function_type = 'scalar' AND stability <> 'CONSISTENT'`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	n := 0
	for rows.Next() {
		var name, stability string
		require.NoError(t, rows.Scan(&name, &stability))
		if !volatileFunctions[name] {
			t.Errorf("%s is %s", name, stability)
		}
		n++
	}
	require.NoError(t, rows.Err())
	require.Greater(t, n, 10)
}

func TestVolatile(t *testing.T) {
	for sql, want := range map[string]bool{
		"SELECT * FROM t WHERE day > current_date": true, "SELECT NOW ()": true, "SELECT now/* x */()": true, `SELECT "random"()`: true, "SELECT * FROM t USING SAMPLE 3": true,
		"SELECT a FROM t TABLESAMPLE 10%": true, "SELECT now FROM t": false, "SELECT id::uuid, age FROM t WHERE renow(3)": false, "": false, "SELECT current_dates FROM t": false,
	} {
		require.Equal(t, want, Volatile(sql), sql)
	}
}
