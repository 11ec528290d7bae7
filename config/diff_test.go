package config

import (
	"slices"
	"strings"
	"testing"
)

const diffBase = `sources:
  shop: {url: "postgres://u:old@h/d"}
  other: {url: "postgres://u@h2/d"}
datasets:
  m: {source: shop, dataset_query: SELECT 1 AS dataset_id, results_query: SELECT 2 AS dataset_id, refresh: 30s}
  q: {source: other, queries: {a: {sql: SELECT 1}, b: {sql: SELECT 2}}, view: SELECT 3}
  t: {source: other, table: public.t, key: [id]}
users: {a: {token: x, role: reader}}
roles: {reader: {read: ["*"]}}
duckdb: {threads: 2}
`

func TestDiff(t *testing.T) {
	base := parseText(t, diffBase)
	if changes := Diff(base, parseText(t, "# moved a line down\n"+diffBase)); len(changes) != 0 {
		t.Errorf("the same file differs: %v", changes)
	}
	for _, tc := range []struct {
		name, old, new string
		effects        []Effect
		drops          []string
		texts          []string
	}{
		{"added", "  t: {", "  t2: {source: other, table: public.t2}\n  t: {", []Effect{EffectBuild}, nil, []string{"dataset t2 is added: a first full sync builds t2"}},
		{"removed", "  m: {source: shop, dataset_query: SELECT 1 AS dataset_id, results_query: SELECT 2 AS dataset_id, refresh: 30s}\n", "",
			[]Effect{EffectDrop}, []string{"m_dataset", "m_results", "m_data"}, []string{"dataset m is removed: m_dataset, m_results, m_data are dropped and watermarks forgotten"}},
		{"query", "SELECT 2 AS", "SELECT 22 AS", []Effect{EffectRebuild}, nil, []string{"dataset m: results_query changed: rebuilt by a full sync, the present rows stay readable until then"}},
		{"only a comment", "SELECT 2 AS dataset_id", "SELECT 2 AS dataset_id ; -- x", nil, nil, nil},
		{"schedule", "refresh: 30s", "refresh: 1m, query_timeout: 5", []Effect{EffectApplied}, nil, []string{"dataset m: query_timeout, refresh changed: in force from the next run, tables are kept"}},
		{"join", "refresh: 30s", "refresh: 30s, join: full", []Effect{EffectView}, nil, []string{"dataset m: join changed: the view m_data is made anew, tables are kept"}},
		{"pause", "key: [id]", "key: [id], paused: true", []Effect{EffectApplied}, nil, []string{"dataset t: paused: tables are kept as they are, nothing is synced"}},
		{"key and column", "key: [id]", "key: [id, x], columns: [id, x]", []Effect{EffectRebuild}, nil, []string{"dataset t: columns, key changed: rebuilt by a full sync, the present rows stay readable until then"}},
		{"query removed", "b: {sql: SELECT 2}", "", []Effect{EffectDrop}, []string{"q_b"}, []string{"dataset q: the rest is kept; dropped: q_b"}},
		{"query added", "b: {sql: SELECT 2}", "b: {sql: SELECT 2}, c: {sql: SELECT 3}", []Effect{EffectRebuild}, nil, []string{"dataset q: new table q_c changed: rebuilt"}},
		{"view removed", ", view: SELECT 3", "", []Effect{EffectDrop}, []string{"q"}, []string{"dataset q: the rest is kept; dropped: q"}},
		{"view changed", "view: SELECT 3", "view: SELECT 4", []Effect{EffectView}, nil, []string{"dataset q: view changed: the view q is made anew"}},
		{"form", "table: public.t, key: [id]", "queries: {x: {sql: SELECT 1}}", []Effect{EffectRebuild}, []string{"t"}, []string{"form, new table t_x changed", "dropped: t"}},
		{"password", "u:old@", "u:new@", []Effect{EffectApplied}, nil, []string{"source shop: url changed: the next run connects anew"}},
		{"host", "@h/d", "@h9/d", []Effect{EffectRebuild, EffectApplied}, nil, []string{"dataset m: the source's url changed: rebuilt", "source shop: url"}},
		{"bandwidth", "u:old@h/d\"", "u:old@h/d\", bandwidth: 1MB", []Effect{EffectApplied}, nil, []string{"source shop: bandwidth changed: the next run connects anew"}},
		{"quiet hours", "u:old@h/d\"", "u:old@h/d\", quiet_hours: ['08:00-18:00']", []Effect{EffectApplied}, nil, []string{"source shop: quiet_hours changed: in force at once"}},
		{"role", `read: ["*"]`, `read: ["m.*"]`, []Effect{EffectApplied}, nil, []string{"role reader is changed"}},
		{"user", "token: x", "token: y", []Effect{EffectApplied}, nil, []string{"user a is changed"}},
		{"restart", "threads: 2", "threads: 3", []Effect{EffectRestart}, nil, []string{"duckdb.threads changed: needs a restart"}},
		{"cap", "threads: 2", "threads: 2, max_sync_rows: 9", []Effect{EffectApplied, EffectApplied, EffectApplied}, nil, []string{"dataset m: max_sync_rows changed", "dataset q", "dataset t"}},
		{"door", "duckdb:", "server: {http: {listen: 'localhost:1'}}\nduckdb:", []Effect{EffectRestart}, nil, []string{"server.http.listen changed: needs a restart"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !strings.Contains(diffBase, tc.old) {
				t.Fatal("nothing to replace")
			}
			changes := Diff(base, parseText(t, strings.Replace(diffBase, tc.old, tc.new, 1)))
			var effects []Effect
			var drops []string
			for i, c := range changes {
				effects = append(effects, c.Effect)
				drops = append(drops, c.Drops...)
				if i < len(tc.texts) && !strings.HasPrefix(c.Text, tc.texts[i]) && !strings.Contains(c.Text, tc.texts[i]) {
					t.Errorf("%q, want %q", c.Text, tc.texts[i])
				}
				if strings.Contains(c.Text, "new@") {
					t.Errorf("a secret in %q", c.Text)
				}
			}
			if !slices.Equal(effects, tc.effects) {
				t.Errorf("effects %v, want %v: %v", effects, tc.effects, changes)
			}
			equal(t, "drops", drops, tc.drops)
		})
	}
}
