package httpapi

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

// A reader sees the plan of what it may read, as text and as JSON, estimated and measured; and of nothing else.
func TestExplain(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	const statement = "SELECT status, count(*) FROM m_dataset WHERE amount > 10 GROUP BY status"
	plan := func(explain string) string {
		t.Helper()
		a := k.sqlAs("reader-reader", map[string]any{"sql": explain + " " + statement}).json(200)
		columns := a["columns"].([]any)
		require.Equal(t, "explain_value", columns[len(columns)-1].(map[string]any)["name"], explain)
		rows := a["rows"].([]any)
		require.NotEmpty(t, rows, explain)
		text := ""
		for _, r := range rows {
			r := r.([]any)
			text += r[len(r)-1].(string) + "\n"
		}
		return text
	}
	for _, explain := range []string{"EXPLAIN", "EXPLAIN ANALYZE", "explain (format text)", "EXPLAIN (ANALYZE)"} {
		text := plan(explain)
		require.Contains(t, text, "m_dataset", explain)
		require.Greater(t, strings.Count(text, "\n"), 10, "a tree of lines")
		require.Equal(t, strings.Contains(strings.ToLower(explain), "analyze"), strings.Contains(text, "Total Time"), explain)
	}
	for _, explain := range []string{"EXPLAIN (FORMAT JSON)", "EXPLAIN (ANALYZE, FORMAT json)"} {
		text := plan(explain)
		require.True(t, json.Valid([]byte(text)), "%s: %s", explain, text)
		require.Contains(t, text, "m_dataset", explain)
	}
	for _, explain := range []string{"EXPLAIN", "EXPLAIN ANALYZE", "EXPLAIN (FORMAT JSON)"} {
		k.sqlAs("reader-reader", map[string]any{"sql": explain + " SELECT * FROM e_a"}).fails(403, fault.Forbidden)
	}
}
