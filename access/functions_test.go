package access

import (
	"context"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write functions.txt from the linked DuckDB; look at the difference before committing it")

// The list is DuckDB's own functions but for those refused, so that a new version's are looked at before they open.
func TestFunctionList(t *testing.T) {
	d := newDuck(t)
	rows, err := d.conn.QueryContext(context.Background(), `SELECT DISTINCT lower(function_name) FROM duckdb_functions()
		WHERE function_type IN ('scalar', 'aggregate', 'macro') AND internal ORDER BY 1`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	names := []string{"unnest", "unlist"} // the binder knows these by itself
	seen := map[string]bool{}
	for rows.Next() {
		var n string
		require.NoError(t, rows.Scan(&n))
		seen[n] = true
		if functionsRefused[n] == "" && !strings.HasPrefix(n, "__internal") {
			names = append(names, n)
		}
	}
	require.NoError(t, rows.Err())
	slices.Sort(names)
	var b strings.Builder
	for _, n := range slices.Compact(names) {
		b.WriteString(n)
		if functionsAdmin[n] {
			b.WriteString(" admin")
		}
		b.WriteByte('\n')
	}
	if *update {
		require.NoError(t, os.WriteFile("functions.txt", []byte(b.String()), 0o644))
	}
	require.Equal(t, b.String(), functionList, "run go test ./access -run TestFunctionList -update, and look at the difference")

	for n := range functionsAdmin {
		require.True(t, seen[n], "%s is no function of this DuckDB", n)
	}
	for n := range functionAdmin {
		require.NotContains(t, functionsRefused, n)
	}
}

// Every table function that may be called exists; all others of DuckDB are closed.
func TestTableFunctionList(t *testing.T) {
	d := newDuck(t)
	rows, err := d.conn.QueryContext(context.Background(), `SELECT DISTINCT lower(function_name) FROM duckdb_functions()
		WHERE function_type IN ('table', 'table_macro')`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	seen := map[string]bool{}
	for rows.Next() {
		var n string
		require.NoError(t, rows.Scan(&n))
		seen[n] = true
		if strings.HasPrefix(n, "read_") || strings.HasPrefix(n, "parquet_") || strings.Contains(n, "query") || strings.Contains(n, "secret") {
			require.NotContains(t, tableFunctionAdmin, n)
		}
		require.False(t, strings.HasSuffix(n, atSuffix), "%s would be taken for a table as it was", n)
	}
	require.NoError(t, rows.Err())
	for n := range tableFunctionAdmin {
		require.True(t, seen[n], "%s is no table function of this DuckDB", n)
	}
}
