package flightsql

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/pintaildb/pintail/internal/fault"
)

// A reader sees the plan of what it may read, as text and as JSON, estimated and measured; and of nothing else.
func TestExplain(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	c, ctx := k.client("reader-reader"), t.Context()
	plan := func(explain string) string {
		t.Helper()
		info, err := c.Execute(ctx, explain+" SELECT even, count(*) FROM m_dataset GROUP BY even")
		require.NoError(t, err, explain)
		schema, rows, err := read(ctx, c, info)
		require.NoError(t, err, explain)
		require.Equal(t, "explain_value", schema.Field(schema.NumFields()-1).Name)
		require.NotEmpty(t, rows)
		return strings.Join(rows, "\n")
	}
	for _, explain := range []string{"EXPLAIN", "EXPLAIN ANALYZE"} {
		text := plan(explain)
		require.Contains(t, text, "m_dataset")
		require.Greater(t, strings.Count(text, "\n"), 10, "a tree of lines")
		require.Equal(t, explain == "EXPLAIN ANALYZE", strings.Contains(text, "Total Time"))
	}
	_, text, _ := strings.Cut(plan("EXPLAIN (FORMAT json)"), "|")
	require.True(t, json.Valid([]byte(text)), text)
	_, err := c.Execute(ctx, "EXPLAIN ANALYZE SELECT * FROM secret")
	refused(t, err, codes.PermissionDenied, fault.Forbidden)
}
