package httpapi

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/syncer"
)

func TestSync(t *testing.T) {
	k := newKit(t, kitOptions{})
	require.Equal(t, map[string]any{"success": true, "message": "Sync started for m (incremental (if available))", "run_id": "sync-of-m"},
		k.call("POST", "/api/store/sync/m", "", "").json(202))
	require.Equal(t, "full-of-m", k.call("POST", "/api/store/sync/m?full=true", "", "").json(202)["run_id"])
	require.Equal(t, "sync-of-m", k.call("POST", "/api/store/sync/m?full=false", "", "{}").json(202)["run_id"])
	k.call("POST", "/api/store/sync/nothing", "", "").fails(404, fault.NotFound)
	require.Contains(t, k.call("POST", "/api/store/sync/m?fulll=true", "", "").fails(400, fault.Usage), "fulll")
	k.call("POST", "/api/store/sync/m?full=perhaps", "", "").fails(400, fault.Usage)
	k.syncer.running["m"] = true
	require.Contains(t, k.call("POST", "/api/store/sync/m", "", "").fails(409, fault.Running), "under way")
}

func TestSyncAll(t *testing.T) {
	k := newKit(t, kitOptions{})
	require.Equal(t, map[string]any{"success": true, "message": "Sync started in background (full rebuild)", "already_running": []any{},
		"run_ids": map[string]any{"e": "full-of-e", "m": "full-of-m", "never": "full-of-never"}}, k.call("POST", "/api/store/sync?full=true", "", "").json(202))
	k.syncer.broken = "e"
	got := k.call("POST", "/api/store/sync", "", "").json(202)
	require.Equal(t, map[string]any{"m": "sync-of-m", "never": "sync-of-never"}, got["run_ids"])
	require.Equal(t, map[string]any{"e": map[string]any{"code": "config", "message": "e cannot be synced", "hint": "leave it out"}}, got["not_started"])
	k.syncer.running["m"], k.syncer.running["never"] = true, true
	k.call("POST", "/api/store/sync", "", "").fails(400, fault.Config)
	k.syncer.broken, k.syncer.running = "", map[string]bool{"m": true}
	got = k.call("POST", "/api/store/sync", "", "").json(202)
	require.Equal(t, []any{"m"}, got["already_running"])
	require.Equal(t, map[string]any{"e": "sync-of-e", "never": "sync-of-never"}, got["run_ids"])
	k.syncer.running["e"], k.syncer.running["never"] = true, true
	k.call("POST", "/api/store/sync", "", "").fails(409, fault.Running)
}

func TestResetWatermark(t *testing.T) {
	k := newKit(t, kitOptions{})
	require.Equal(t, map[string]any{"success": true, "message": "Watermarks cleared for m. Next sync will do a full rebuild.", "tables": []any{"m_dataset", "m_results"}},
		k.call("POST", "/api/store/sync/m/reset-watermark", "", "").json(200))
	require.Equal(t, []any{"m_results"}, k.call("POST", "/api/store/sync/m/reset-watermark?table=m_results", "", "").json(200)["tables"])
	require.Equal(t, []string{"reset  m", "reset m_results m"}, k.syncer.calls)
	k.call("POST", "/api/store/sync/nothing/reset-watermark", "", "").fails(404, fault.NotFound)
}

func TestVerifyReconcilePause(t *testing.T) {
	k := newKit(t, kitOptions{})
	require.Equal(t, "verify-of-e", k.call("POST", "/api/store/verify/e", "", "").json(202)["run_id"])
	require.Equal(t, "reconcile-of-e", k.call("POST", "/api/store/reconcile/e", "", "").json(202)["run_id"])
	require.Equal(t, true, k.call("POST", "/api/store/datasets/e/pause", "", "").json(200)["success"])
	require.Equal(t, true, k.call("POST", "/api/store/datasets/e/resume", "", "").json(200)["success"])
	require.Equal(t, []string{"verify e", "reconcile e", "paused=true e", "paused=false e"}, k.syncer.calls)
	for _, path := range []string{"verify/x", "reconcile/x", "datasets/x/pause", "datasets/x/resume"} {
		k.call("POST", "/api/store/"+path, "", "").fails(404, fault.NotFound)
	}
	k.syncer.running["e"] = true
	k.call("POST", "/api/store/verify/e", "", "").fails(409, fault.Running)
	k.call("POST", "/api/store/reconcile/e", "", "").fails(409, fault.Running)
}

func TestReload(t *testing.T) {
	k := newKit(t, kitOptions{})
	k.call("POST", "/api/store/reload", "", "").fails(400, fault.Usage)
	k.call("POST", "/api/store/reload?yes=true", "", "").fails(400, fault.Usage)
	for query, dry := range map[string]bool{"?confirm=true": false, "?dry_run=true": true} {
		got := k.call("POST", "/api/store/reload"+query, "", "").json(200)
		require.Equal(t, dry, got["dry_run"])
		require.Equal(t, []any{"dataset x is removed"}, got["changes"])
		require.Equal(t, []any{"x"}, got["drops"])
		require.Equal(t, []any{}, got["rebuilds"])
		require.Contains(t, got["message"], "1 change")
	}
	k.srv.opts.Reload = nil
	k.call("POST", "/api/store/reload", "", "").fails(404, fault.NotFound)
}

func TestStatus(t *testing.T) {
	k := newKit(t, kitOptions{})
	got := k.get("/api/store/status").json(200)
	require.Equal(t, true, got["success"])
	require.Equal(t, true, got["enabled"])
	datasets := got["datasets"].(map[string]any)
	require.Len(t, datasets, 4)
	b, err := json.Marshal(datasets["m_data"])
	require.NoError(t, err)
	require.JSONEq(t, `{"state":"ready","rows":120,"sync_type":"incremental","last_sync":"2026-02-13T10:15:00Z","last_incremental":"2026-02-13T10:15:00Z","incremental_rows":12,
		"watermarks":{"m_dataset":"2026-01-05 23:00:00+00","m_results":null},"truncated":false,"error":null,"refresh_interval_minutes":15,"incremental_column":"created_at",
		"dataset":"m","run_id":"run-2","progress":0,"paused":false,"last_full":"2026-02-13T10:15:00Z","next_run":null,"quiet_until":null,"refresh":"15m0s","guarantee":"late commits are read",
		"tables":[{"name":"m_dataset","rows":120,"watermark":"2026-01-05 23:00:00+00","method":"lookback","out_of_range_text":false},
			{"name":"m_results","rows":100,"watermark":null,"out_of_range_text":false}]}`, string(b))
	require.Equal(t, "the server is gone", datasets["e_a"].(map[string]any)["error"])
	require.Equal(t, "source_unavailable", datasets["e_a"].(map[string]any)["code"])
	never := datasets["never"].(map[string]any)
	require.Equal(t, "not_synced", never["state"])
	require.Nil(t, never["last_sync"])
	require.Nil(t, never["sync_type"])
	require.Empty(t, got["sources"])
}

// Of sources those are shown whose datasets are.
func TestStatusOfSources(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	k.syncer.status = map[string]syncer.Status{
		"m_data": {Dataset: "m", Source: "pg", State: "ready", NextRun: &syncedAt, QuietUntil: &syncedAt},
		"e_a":    {Dataset: "e", Source: "other", State: "ready"},
	}
	k.syncer.sources = map[string]syncer.SourceStatus{
		"pg":     {Load: source.Load{Worked: 1500 * time.Millisecond, Share: 0.25}, QuietUntil: syncedAt},
		"other":  {Load: source.Load{Share: -1}},
		"unused": {},
	}
	sources := func(token string) string {
		b, err := json.Marshal(k.call("GET", "/api/store/status", token, "").json(200)["sources"])
		require.NoError(t, err)
		return string(b)
	}
	const pg = `"pg":{"quiet_until":"2026-02-13T10:15:00Z","seconds":1.5,"load_share":0.25}`
	require.JSONEq(t, `{`+pg+`}`, sources("reader-reader"))
	require.JSONEq(t, `{`+pg+`,"other":{"quiet_until":null,"seconds":0,"load_share":null}}`, sources("admin-admin"))
	m := k.call("GET", "/api/store/status", "reader-reader", "").json(200)["datasets"].(map[string]any)["m_data"].(map[string]any)
	require.Equal(t, "2026-02-13T10:15:00Z", m["quiet_until"])
	require.Equal(t, "pg", m["source"])
}

func TestRuns(t *testing.T) {
	k := newKit(t, kitOptions{})
	ids := func(path string) (out []string, next any) {
		got := k.get(path).json(200)
		for _, r := range got["runs"].([]any) {
			out = append(out, r.(map[string]any)["id"].(string))
		}
		return out, got["next"]
	}
	all, next := ids("/api/store/runs")
	require.Equal(t, []string{"run-6", "run-5", "run-4", "run-3", "run-2", "run-1", "run-0"}, all)
	require.Nil(t, next)
	page, next := ids("/api/store/runs?limit=3")
	require.Equal(t, []string{"run-6", "run-5", "run-4"}, page)
	page, next = ids("/api/store/runs?limit=3&before=" + next.(string))
	require.Equal(t, []string{"run-3", "run-2", "run-1"}, page)
	page, next = ids("/api/store/runs?limit=3&before=" + next.(string))
	require.Equal(t, []string{"run-0"}, page)
	require.Nil(t, next)
	page, _ = ids("/api/store/runs?dataset=e&state=error")
	require.Equal(t, []string{"run-1"}, page)
	for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "state=odd", "colour=red"} {
		k.get("/api/store/runs?"+bad).fails(400, fault.Usage)
	}

	run := k.get("/api/store/runs/run-6").json(200)["run"].(map[string]any)
	b, err := json.Marshal(run)
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"run-6","dataset":"m","kind":"full","state":"running","reason":"asked for","started_at":"2026-02-13T10:15:00Z","ended_at":null,
		"rows_read":10,"rows_written":9,"bytes":8,"progress":0.5,"error":null}`, string(b))
	run = k.get("/api/store/runs/run-2").json(200)["run"].(map[string]any)
	require.Equal(t, map[string]any{"differences": []any{}}, run["detail"])
	require.Equal(t, "boom", k.get("/api/store/runs/run-1").json(200)["run"].(map[string]any)["error"])
	k.get("/api/store/runs/none").fails(404, fault.NotFound)

	require.Equal(t, "run-6", k.call("POST", "/api/store/runs/run-6/cancel", "", "").json(202)["run_id"])
	require.Equal(t, []string{"cancel run-6"}, k.syncer.calls)
	k.call("POST", "/api/store/runs/none/cancel", "", "").fails(404, fault.NotFound)
	k.syncer.fail = fault.New(fault.NotFound, "", "run run-1 has ended")
	k.call("POST", "/api/store/runs/run-1/cancel", "", "").fails(404, fault.NotFound)
}

// What goes wrong below keeps its code; a defect of ours is not explained to everybody.
func TestErrorsOfTheSyncer(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	k.syncer.fail = fault.New(fault.OutOfMemory, "raise it", "no memory")
	require.Equal(t, "no memory", k.call("GET", "/api/store/status", "reader-reader", "").fails(507, fault.OutOfMemory))
	k.syncer.fail = errors.New("/secret/path is odd")
	require.Contains(t, k.call("GET", "/api/store/status", "admin-admin", "").fails(500, fault.Internal), "/secret/path")
	require.NotContains(t, k.call("GET", "/api/store/status", "reader-reader", "").fails(500, fault.Internal), "/secret/path")
	k.log.Wait(t, "request failed", "/secret/path is odd")
}
