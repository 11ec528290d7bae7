package httpapi

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
	"github.com/pintaildb/pintail/syncer"
)

// standingReplicas says that dataset e follows a log and stands at 0/C8.
type standingReplicas struct{ behind map[string]string }

func (standingReplicas) at() change.Position {
	return change.Position{LSN: 200, CommittedAt: syncedAt, System: "7", Timeline: 1}
}

func (r standingReplicas) Standing(dataset string) (change.Position, map[string]string, bool) {
	return r.at(), r.behind, dataset == "e"
}

func (r standingReplicas) WaitFor(ctx context.Context, _ string, lsn change.LSN) error {
	if lsn > 200 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func TestSQLPosition(t *testing.T) {
	r := standingReplicas{behind: map[string]string{"e_b": "it is in quarantine"}}
	k := newKit(t, kitOptions{users: true, core: query.Options{Replicas: r}})
	require.NoError(t, k.store.Commit(t.Context(), func(tx *store.Tx) error { return tx.SavePosition("e", r.at()) }))
	at := map[string]any{"synced_at": "2026-02-13T10:15:00Z", "lsn": "0/C8", "committed_at": "2026-02-13T10:15:00Z"}
	ask := func(sql string, more ...any) *answer {
		body := map[string]any{"sql": sql}
		for i := 0; i < len(more); i += 2 {
			body[more[i].(string)] = more[i+1]
		}
		return k.sqlAs("small-small", body)
	}
	a := ask("SELECT count(*) FROM e_a, m_dataset")
	require.Equal(t, "e=0/C8", a.header.Get("X-Pintail-Position"))
	require.Equal(t, map[string]any{"e": at, "m": map[string]any{"synced_at": "2026-02-13T10:15:00Z"}}, a.json(200)["position"])
	for _, format := range []string{"csv", "ndjson"} {
		a = ask("SELECT count(*) FROM e_a", "format", format, "min_lsn", map[string]string{"e": "0/C8"})
		require.Equal(t, 200, a.status)
		require.Equal(t, "e=0/C8", a.header.Get("X-Pintail-Position"), format)
	}
	require.Empty(t, ask("SELECT 1").header.Values("X-Pintail-Position"))
	a = ask("SELECT count(*) FROM e_a, e_b")
	require.Empty(t, a.header.Values("X-Pintail-Position"))
	at["behind"] = []any{"e_b"}
	require.Equal(t, map[string]any{"e": at}, a.json(200)["position"])
	require.Contains(t, ask("FROM e_b", "min_lsn", map[string]string{"e": "0/1"}).fails(503, fault.Unavailable), "quarantine")

	require.Contains(t, ask("FROM e_a", "min_lsn", map[string]string{"e": "0/C9"}, "deadline", "50ms").fails(504, fault.Limit), "it is at 0/C8 after 50ms")
	texts := map[string]bool{}
	for _, dataset := range []string{"e", "m", "x"} { // not granted, of another mode, none
		texts[k.sqlAs("reader-reader", map[string]any{"sql": "SELECT 1", "min_lsn": map[string]string{dataset: "0/1"}}).fails(400, fault.Usage)[:30]] = true
	}
	require.Len(t, texts, 1)
	require.Equal(t, []any{[]any{"e", "0/C8", "2026-02-13T10:15:00+00:00"}}, ask("SELECT * FROM _pintail.position()").json(200)["rows"])
	require.Empty(t, k.sqlAs("reader-reader", map[string]any{"sql": "SELECT * FROM _pintail.position()"}).json(200)["rows"])
}

func TestReplicaStatus(t *testing.T) {
	k := newKit(t, kitOptions{})
	asked := syncedAt.Add(time.Second)
	replica := &syncer.ReplicaStatus{State: "following", Slot: "pintail_shop_1", LSN: 200, CommittedAt: syncedAt, AsOf: asked, LagBytes: 56, LagSeconds: 0.5, ServerAt: asked, SpoolBytes: 7,
		Server: source.SlotState{Name: "pintail_shop_1", Active: true, Restart: 100, Confirmed: 200, Current: 256, WALStatus: "reserved", SafeBytes: -1}}
	k.syncer.status = map[string]syncer.Status{
		"shop.orders": {Dataset: "shop", Key: "shop.orders", State: "ready", Replica: replica, Table: &syncer.ReplicaTable{Source: "public.orders", State: "following", Inserts: 1, Updates: 2, Deletes: 3, Truncates: 4}},
		"shop.lines": {Dataset: "shop", Key: "shop.lines", State: "error", Error: "out of range", Replica: replica,
			Table: &syncer.ReplicaTable{Source: "public.lines", State: "error", Error: "out of range", Code: "out_of_range", Hint: "mend it", Quarantined: &asked}},
		"later": {Dataset: "later", Key: "later", State: "not_synced", Replica: &syncer.ReplicaStatus{State: "stopped", LagBytes: -1, LagSeconds: -1}},
	}
	datasets := k.get("/api/store/status").json(200)["datasets"].(map[string]any)
	is := func(want, key, member string) {
		t.Helper()
		b, err := json.Marshal(datasets[key].(map[string]any)[member])
		require.NoError(t, err)
		require.JSONEq(t, want, string(b))
	}
	is(`{"state":"following","lsn":"0/C8","committed_at":"2026-02-13T10:15:00Z","as_of":"2026-02-13T10:15:01Z","lag_bytes":56,"lag_seconds":0.5,"slot":"pintail_shop_1","active":true,
		"wal_status":"reserved","restart_lsn":"0/64","confirmed_lsn":"0/C8","retained_bytes":156,"safe_wal_bytes":null,"checked_at":"2026-02-13T10:15:01Z","spool_bytes":7,"snapshot_age_seconds":null}`,
		"shop.orders", "replica")
	is(`{"source":"public.orders","state":"following","inserts":1,"updates":2,"deletes":3,"truncates":4,"error":null,"quarantined":null}`, "shop.orders", "table")
	is(`{"source":"public.lines","state":"error","inserts":0,"updates":0,"deletes":0,"truncates":0,"error":"out of range","code":"out_of_range","hint":"mend it","quarantined":"2026-02-13T10:15:01Z"}`,
		"shop.lines", "table")
	is(`{"state":"stopped","lsn":null,"committed_at":null,"as_of":null,"lag_bytes":null,"lag_seconds":null,"active":false,"restart_lsn":null,"confirmed_lsn":null,"retained_bytes":null,
		"safe_wal_bytes":null,"checked_at":null,"spool_bytes":0,"snapshot_age_seconds":null}`, "later", "replica")
	is(`null`, "later", "table")
}

func TestSlots(t *testing.T) {
	k := newKit(t, kitOptions{})
	k.syncer.slots = []syncer.Slot{
		{Source: "pg", Name: "pintail_shop_1", Dataset: "shop", Followed: true, Active: true, PID: 12, Confirmed: 200, Restart: 100, LagBytes: 56, RetainedBytes: 156, WALStatus: "reserved", SafeBytes: -1},
		{Source: "pg", Name: "pintail_old_2", Confirmed: 1, Restart: 1, WALStatus: "lost", SafeBytes: 5},
	}
	b, err := json.Marshal(k.get("/api/store/slots").json(200))
	require.NoError(t, err)
	require.JSONEq(t, `{"success":true,"failed":{"away":{"code":"source_unavailable","message":"connection refused","hint":"start it"}},"slots":[
		{"source":"pg","slot":"pintail_shop_1","dataset":"shop","owned":true,"followed":true,"active":true,"pid":12,"lag_bytes":56,"retained_bytes":156,"wal_status":"reserved","safe_wal_bytes":null,"confirmed_lsn":"0/C8","restart_lsn":"0/64"},
		{"source":"pg","slot":"pintail_old_2","dataset":null,"owned":false,"followed":false,"active":false,"lag_bytes":0,"retained_bytes":0,"wal_status":"lost","safe_wal_bytes":5,"confirmed_lsn":"0/1","restart_lsn":"0/1"}]}`, string(b))
	k.call("DELETE", "/api/store/slots/pintail_shop_1", "", "").fails(400, fault.Usage)
	require.Contains(t, k.call("DELETE", "/api/store/slots/pintail_shop_1?force=true&source=pg", "", "").json(200)["message"], "source pg")
	k.call("DELETE", "/api/store/slots/pintail_old_2", "", "").json(200)
	k.call("DELETE", "/api/store/slots/none", "", "").fails(404, fault.NotFound)
	k.call("DELETE", "/api/store/slots/pintail_old_2?yes=true", "", "").fails(400, fault.Usage)
	require.Equal(t, []string{`drop pintail_shop_1 of "pg"`, `drop pintail_old_2 of ""`}, k.syncer.calls)
	k.syncer.fail = fault.New(fault.SourceUnavailable, "", "connection refused")
	k.call("DELETE", "/api/store/slots/pintail_old_2", "", "").fails(502, fault.SourceUnavailable)
}

func TestQuarantine(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	k.syncer.aside = []store.Quarantined{
		{Dataset: "m", Target: "m_dataset", LSN: 200, Reason: "a date is out of range", Code: "out_of_range", At: syncedAt},
		{Dataset: "e", Target: "e_a", LSN: 300, Reason: "r", Code: "config", At: syncedAt},
	}
	b, err := json.Marshal(k.call("GET", "/api/store/quarantine", "reader-reader", "").json(200))
	require.NoError(t, err)
	require.JSONEq(t, `{"success":true,"quarantine":[{"dataset":"m","table":"m_dataset","lsn":"0/C8","at":"2026-02-13T10:15:00Z","reason":"a date is out of range","code":"out_of_range"}]}`, string(b))
	require.Len(t, k.call("GET", "/api/store/quarantine", "admin-admin", "").json(200)["quarantine"], 2)
	got := k.call("POST", "/api/store/retry/m", "loader-loader", "").json(200)
	require.Equal(t, []any{"m_dataset", "m_results"}, got["tables"])
	require.Contains(t, got["message"], "2 tables of m are out of quarantine")
	require.Contains(t, k.call("POST", "/api/store/retry/m?table=m_dataset", "loader-loader", "").json(200)["message"], "Table m_dataset is out of quarantine")
	k.call("POST", "/api/store/retry/none", "admin-admin", "").fails(404, fault.NotFound)
	require.Equal(t, []string{"retry  m", "retry m_dataset m"}, k.syncer.calls)
}

func TestEndpointMinPosition(t *testing.T) {
	r := standingReplicas{}
	k := publish(t, kitOptions{users: true, core: query.Options{Replicas: r}}, map[string]string{
		"n.sql":    "SELECT count(*) AS n FROM e_a",
		"kept.sql": "-- cache: 1h\nSELECT count(*) AS n FROM e_a",
	})
	require.NoError(t, k.store.Commit(t.Context(), func(tx *store.Tx) error { return tx.SavePosition("e", r.at()) }))
	ask := func(name, least string) *answer {
		t.Helper()
		return k.call("GET", "/v0/endpoints/"+name+".csv", "small-small", "", "X-Pintail-Min-Position", least)
	}
	for _, name := range []string{"n", "kept"} {
		require.Equal(t, 200, ask(name, "").status)
		a := ask(name, " e=0/C8 ,")
		require.Equal(t, 200, a.status)
		require.Equal(t, "e=0/C8", a.header.Get("X-Pintail-Position"))
		require.Empty(t, a.header.Get("Age"), "not from the cache")
		require.Contains(t, ask(name, "e=0/C9").fails(504, fault.Limit), "it is at 0/C8")
		for _, wrong := range []string{"e", "e=x", "e=0/1, e=0/2", "m=0/1", "nothing=0/1", "=0/1"} {
			require.Equal(t, 400, ask(name, wrong).status, wrong)
		}
	}
}
