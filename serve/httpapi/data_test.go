package httpapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

func (k *kit) data(query string) (ids []string, got map[string]any) {
	k.t.Helper()
	got = k.get("/api/store/data/m?" + query).json(200)
	for _, row := range got["data"].([]any) {
		ids = append(ids, fmt.Sprint(row.(map[string]any)["dataset_id"]))
	}
	return ids, got
}

func TestData(t *testing.T) {
	k := newKit(t, kitOptions{})
	ids, got := k.data("page_size=3")
	require.Equal(t, []string{"119", "118", "117"}, ids) // newest first
	require.Equal(t, true, got["success"])
	require.Equal(t, json.Number("120"), got["total"])
	require.Equal(t, json.Number("1"), got["page"])
	require.Equal(t, json.Number("3"), got["page_size"])
	b, err := json.Marshal(got["data"].([]any)[2])
	require.NoError(t, err)
	require.JSONEq(t, `{"metric_name":null,"metric_score":null,"dataset_id":117,"created_at":"2026-01-05T21:00:00+00:00","status":"failed","query":"text 117",
		"amount":146.25,"even":false,"list":[117,null],"mood":"cold","latency":1170.0}`, string(b))

	_, got = k.data("")
	require.Len(t, got["data"], 50)
	ids, _ = k.data("page_size=50&page=3")
	require.Len(t, ids, 20)
	ids, got = k.data("page_size=50&page=4") // beyond the end
	require.Empty(t, ids)
	require.Equal(t, []any{}, got["data"])
	require.Equal(t, json.Number("120"), got["total"])

	// Pages fit together, whatever they are sorted by.
	for _, sort := range []string{"status", "even", "metric_name", "mood", "list", "amount"} {
		seen := map[string]bool{}
		for page := 1; page <= 5; page++ {
			ids, _ := k.data(fmt.Sprintf("page_size=25&page=%d&sort_by=%s&sort_dir=asc", page, sort))
			for _, id := range ids {
				require.False(t, seen[id], "%s twice by %s", id, sort)
				seen[id] = true
			}
		}
		require.Len(t, seen, 120)
	}
	ids, _ = k.data("sort_by=amount&sort_dir=asc&page_size=2")
	require.Equal(t, []string{"0", "1"}, ids)
	ids, _ = k.data("sort_by=status&page_size=500") // NULLs last, also downwards
	require.Len(t, ids, 120)
	require.Equal(t, "110", ids[119])

	_, got = k.data("columns=status,%20dataset_id,status&page_size=1")
	require.Equal(t, []any{map[string]any{"status": "ok", "dataset_id": json.Number("119")}}, got["data"])
}

func TestDataFilters(t *testing.T) {
	k := newKit(t, kitOptions{})
	for query, want := range map[string][]string{
		"dataset_id=7":                                  {"7"},
		"dataset_id=7&dataset_id=9":                     {"9", "7"},
		"dataset_id=7&status=failed":                    nil,
		"dataset_id=9&status=failed":                    {"9"},
		"amount=8.7500":                                 {"7"}, // compared as a number
		"even=true&dataset_id=8":                        {"8"},
		"mood=hot&dataset_id=8":                         {"8"},
		"list=[8,%20NULL]":                              {"8"},
		"created_at=2026-01-01T05:00:00Z":               {"5"},
		"created_at=2026-01-01%2007:00:00%2B02:00":      {"5"},
		"metric_name=accuracy&dataset_id=3":             {"3"},
		"metric_name=accuracy&dataset_id=103":           nil,
		"status=":                                       nil,
		"query=" + url.QueryEscape("text 7' OR 1=1 --"): nil,
		"search=" + url.QueryEscape("' OR 1=1 --"):      nil,
		"search=100%25+pure":                            {"7"},
		"search=PURE_GOLD":                              {"7"},
		"search=pureXgold":                              nil, // _ is no wildcard
		"search=%25%25%25":                              nil,
		"search=text+11&page_size=3":                    {"119", "118", "117"},
		"time_start=2026-01-01T02:00:00Z&time_end=2026-01-01T04:00:00Z":        {"4", "3", "2"},
		"time_end=2026-01-01T00:30:00Z":                                        {"0"},
		"time_start=2026-01-05T23:00:00%2B00:00":                               {"119"},
		"time_start=2026-01-01&time_end=2026-01-01&sort_by=query&sort_dir=asc": {"0"},
	} {
		ids, got := k.data(query)
		require.Equal(t, want, ids, query)
		if len(want) != 3 {
			require.Equal(t, json.Number(fmt.Sprint(len(want))), got["total"], query)
		}
	}
	for query, says := range map[string]string{
		"page=0": "page", "page=-1": "page", "page=x": "page", "page_size=0": "page_size", "page_size=501": "page_size", "page=99999999999999999999": "page",
		"sort_by=nothing": `no column "nothing"`, "sort_by=amount%3BDROP": "no column", "sort_dir=sideways": "sort_dir", "columns=status,nothing": `no column "nothing"`, "columns=,": "no column",
		"colour=red": `no column "colour"`, "dataset_id=x": "does not fit", "time_start=yesterday": "does not fit", "amount=much": "does not fit", "page=1&page=2": "twice",
		"sort_by=" + url.QueryEscape(`"; DROP TABLE m_dataset; --`): "no column",
	} {
		require.Contains(t, k.get("/api/store/data/m?"+query).fails(400, fault.Usage), says, query)
	}
}

func TestDataOfOtherForms(t *testing.T) {
	k := newKit(t, kitOptions{})
	require.Contains(t, k.get("/api/store/data/e").fails(400, fault.Usage), "2 tables")
	got := k.get("/api/store/data/e_a?page_size=2&part=3").json(200)
	require.Equal(t, json.Number("8"), got["total"])
	require.Equal(t, []any{map[string]any{"id": json.Number("3"), "part": json.Number("3")}, map[string]any{"id": json.Number("8"), "part": json.Number("3")}}, got["data"])
	require.Contains(t, k.get("/api/store/data/e_a?time_start=2026-01-01").fails(400, fault.Usage), "no column of times")
	require.Contains(t, k.get("/api/store/data/e_a?search=x").fails(400, fault.Usage), "no text columns")
	got = k.get("/api/store/data/e_b?select=x&" + url.QueryEscape(`odd "name`) + "=1&columns=" + url.QueryEscape(`odd "name`)).json(200)
	require.Equal(t, []any{}, got["data"])
	require.Contains(t, k.get("/api/store/data/never").fails(503, fault.Unavailable), "not been synced")
	st := k.syncer.status["never"]
	st.State = "syncing"
	k.syncer.status["never"] = st
	require.Contains(t, k.get("/api/store/data/never").fails(503, fault.Unavailable), "syncing for the first time")
	k.get("/api/store/data/none").fails(404, fault.NotFound)
	k.get("/api/store/data/secret").fails(404, fault.NotFound) // a table, but no dataset
	k.get("/api/store/data/_pintail.runs").fails(404, fault.NotFound)
}

func TestMetadata(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	get := func() map[string]any {
		got := k.call("GET", "/api/store/metadata/m", "reader-reader", "").json(200)
		require.Equal(t, true, got["success"])
		require.Equal(t, "m", got["dataset"])
		return got["metadata"].(map[string]any)
	}
	m := get()
	stats := m["summary_stats"].(map[string]any)
	for name, want := range map[string]float64{"total_records": 100, "avg_score": 0.495, "pass_rate": 50, "p50_latency": 495, "p95_latency": 940.5, "p99_latency": 980.1} {
		got, err := stats[name].(json.Number).Float64()
		require.NoError(t, err)
		require.InDelta(t, want, got, 1e-9, name)
	}
	require.Len(t, stats, 6)
	delete(m, "summary_stats")
	b, err := json.Marshal(m)
	require.NoError(t, err)
	require.JSONEq(t, `{"row_count":120,"columns":[{"column_name":"metric_name","column_type":"VARCHAR"},{"column_name":"metric_score","column_type":"DOUBLE"},
		{"column_name":"dataset_id","column_type":"BIGINT"},{"column_name":"created_at","column_type":"TIMESTAMP WITH TIME ZONE"},{"column_name":"status","column_type":"VARCHAR"},
		{"column_name":"query","column_type":"VARCHAR"},{"column_name":"amount","column_type":"DECIMAL(12,2)"},{"column_name":"even","column_type":"BOOLEAN"},
		{"column_name":"list","column_type":"BIGINT[]"},{"column_name":"mood","column_type":"ENUM('hot', 'cold')"},{"column_name":"latency","column_type":"DOUBLE"}],
		"filter_values":{"metric_name":["accuracy"],"status":["failed","ok"],"even":[false,true],"mood":["hot","cold"],"query":`+queryValues(t, m)+`},
		"time_range":{"min":"2026-01-01T00:00:00+00:00","max":"2026-01-05T23:00:00+00:00"}}`, string(b))

	// Computed once for each state of the data, and shown only to those who may read it.
	statements := func() (n int) {
		for _, r := range k.log.All() {
			if len(r) > 20 && r[:20] == "DEBUG query started " {
				n++
			}
		}
		return n
	}
	before := statements()
	again := get()
	delete(again, "summary_stats")
	require.Equal(t, m, again)
	require.Equal(t, 1, statements()-before) // the columns
	k.call("GET", "/api/store/metadata/m", "loader-loader", "").fails(403, fault.Forbidden)
	st := k.syncer.status["m_data"]
	later := st.LastSync.Add(1)
	st.LastSync = &later
	k.syncer.status["m_data"] = st
	before = statements()
	get()
	require.Greater(t, statements()-before, 1)

	m = k.call("GET", "/api/store/metadata/e_b", "admin-admin", "").json(200)["metadata"].(map[string]any)
	require.Equal(t, json.Number("0"), m["row_count"])
	require.Nil(t, m["time_range"])
	require.NotContains(t, m, "summary_stats")
	require.Equal(t, map[string]any{"select": []any{}}, m["filter_values"])
	k.call("GET", "/api/store/metadata/e", "admin-admin", "").fails(400, fault.Usage)
	k.call("GET", "/api/store/metadata/never", "admin-admin", "").fails(503, fault.Unavailable)
	k.call("GET", "/api/store/metadata/m?x=1", "admin-admin", "").fails(400, fault.Usage)
}

// queryValues are the 120 texts, whose order is the text's.
func queryValues(t *testing.T, m map[string]any) string {
	values := m["filter_values"].(map[string]any)["query"].([]any)
	require.Len(t, values, 120)
	require.Equal(t, "text 0", values[0])
	require.Equal(t, "text 1", values[1])
	require.Equal(t, "text 10", values[2])
	b, err := json.Marshal(values)
	require.NoError(t, err)
	return string(b)
}
