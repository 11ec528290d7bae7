package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/serve/httpapi"
)

// Of a replica the table says how it follows and how far it is behind, and beneath what keeps it, once.
func TestStatusOfReplicas(t *testing.T) {
	text := func(s string) *string { return &s }
	number := func(n float64) *float64 { return &n }
	bytesOf := func(n int64) *int64 { return &n }
	at := time.Now()
	following := &httpapi.ReplicaStatus{State: "following", LagSeconds: number(0.25), LagBytes: bytesOf(2048)}
	failed := &httpapi.ReplicaStatus{State: "failed"}
	var out bytes.Buffer
	a := &app{out: &out, errOut: &out}
	a.printStatus(httpapi.Status{Datasets: map[string]httpapi.DatasetStatus{
		"m":       {Dataset: "m", State: "ready", NextRun: &at},
		"shop.a":  {Dataset: "shop", State: "ready", Replica: following, Table: &httpapi.ReplicaTable{State: "following"}},
		"shop.b":  {Dataset: "shop", State: "syncing", Progress: 0.5, Replica: following, Table: &httpapi.ReplicaTable{State: "copying", Reason: "its columns changed"}},
		"shop.c":  {Dataset: "shop", State: "error", Error: text("out of range"), Hint: "pintail retry shop", Replica: following, Table: &httpapi.ReplicaTable{State: "error", Error: text("out of range"), Quarantined: &at}},
		"other.a": {Dataset: "other", State: "error", Error: text("connection refused"), Hint: "start it", Replica: failed, Table: &httpapi.ReplicaTable{State: "following"}},
		"other.b": {Dataset: "other", State: "error", Error: text("connection refused"), Hint: "start it", Replica: failed, Table: &httpapi.ReplicaTable{State: "following"}},
		"idle":    {Dataset: "idle", State: "not_synced", Paused: true, Replica: &httpapi.ReplicaStatus{State: "stopped"}},
	}})
	lines := map[string]string{}
	for line := range strings.Lines(out.String()) {
		if cells := strings.Split(line, "│"); len(cells) > 8 {
			lines[strings.TrimSpace(cells[2])] = strings.Join([]string{strings.TrimSpace(cells[1]), strings.TrimSpace(cells[3]), strings.TrimSpace(cells[8])}, "|")
		}
	}
	require.Equal(t, map[string]string{
		"table or view": "|state|next run or lag", "m": "●|ready|now", "shop.a": "●|following|300ms, 2 KiB behind", "shop.b": "◐|copying █████░░░░░ 50 %|300ms, 2 KiB behind",
		"shop.c": "✗|failed, in quarantine|300ms, 2 KiB behind", "other.a": "✗|failed|", "other.b": "✗|failed|", "idle": "○|stopped, paused|",
	}, lines)
	_, below, _ := strings.Cut(out.String(), "╯\n")
	require.Equal(t, "other: connection refused\n  hint: start it\nshop.b: copied anew: its columns changed\nshop.c: out of range\n  hint: pintail retry shop\n", below)
}

// What waits for the end of quiet hours is told with its time, once for a dataset, and a source that works for a good part for us.
func TestStatusOfQuietHours(t *testing.T) {
	end := time.Now().Add(time.Hour).Truncate(time.Minute)
	share := func(n float64) *float64 { return &n }
	waiting := &httpapi.ReplicaStatus{State: "waiting"}
	var out bytes.Buffer
	a := &app{out: &out, errOut: &out}
	require.NoError(t, a.printStatus(httpapi.Status{
		Datasets: map[string]httpapi.DatasetStatus{
			"m":      {Dataset: "m", State: "ready", NextRun: &end, Quiet: &end},
			"n":      {Dataset: "n", State: "ready", NextRun: &end},
			"shop.a": {Dataset: "shop", State: "ready", Quiet: &end, Replica: waiting, Table: &httpapi.ReplicaTable{State: "following"}},
			"shop.b": {Dataset: "shop", State: "not_synced", Quiet: &end, Replica: waiting, Table: &httpapi.ReplicaTable{State: "waiting", Reason: "it is new"}},
			"shop.c": {Dataset: "shop", State: "ready", Quiet: &end, Replica: waiting, Table: &httpapi.ReplicaTable{State: "waiting", Reason: "its columns changed"}},
			"first":  {Dataset: "first", State: "not_synced", Quiet: &end, Replica: waiting},
		},
		Sources: map[string]httpapi.SourceStatus{"busy": {LoadShare: share(0.424)}, "idle": {LoadShare: share(0.09)}, "blind": {}},
	}))
	states := map[string]string{}
	for line := range strings.Lines(out.String()) {
		if cells := strings.Split(line, "│"); len(cells) > 8 {
			states[strings.TrimSpace(cells[2])] = strings.TrimSpace(cells[3]) + "|" + strings.TrimSpace(cells[8])
		}
	}
	require.Equal(t, "waiting|", states["shop.b"])
	require.Equal(t, "waiting|", states["first"])
	require.Equal(t, "following|", states["shop.a"])
	require.Contains(t, states["m"], ", after quiet hours")
	require.NotContains(t, states["n"], "quiet")
	_, below, _ := strings.Cut(out.String(), "╯\n")
	at := clock(end)
	require.Equal(t, "first: quiet hours until "+at+"\nm: quiet hours until "+at+"\nshop: quiet hours until "+at+", 2 tables to copy then\n"+
		"source busy: 42 % of its load within the last minute is Pintail's\n", below)
	now := time.Now()
	noon := time.Date(now.Year(), now.Month(), now.Day(), 12, 30, 0, 0, time.Local)
	require.Equal(t, "12:30", clock(noon))
	require.Equal(t, noon.AddDate(0, 0, 3).Format("Mon")+" 12:30", clock(noon.AddDate(0, 0, 3)))
}
