package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/logtest"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/store"
	"github.com/pintaildb/pintail/syncer"
)

// kit is a running server over a real store and real access; only the syncer is a fake.
type kit struct {
	t      *testing.T
	srv    *Server
	store  *store.Store
	access *access.Access
	core   *query.Core
	syncer *fakeSyncer
	log    *logtest.Watch
	url    string
	stop   func() error // ends the server and returns what Run returned
}

var syncedAt = time.Date(2026, 2, 13, 10, 15, 0, 0, time.UTC)

// users of the kits that have any: their tokens are their names, doubled.
var (
	kitUsers = []access.User{
		{Name: "admin", Token: "admin-admin", Role: "admin"},
		{Name: "reader", Token: "reader-reader", Password: "readable", Role: "reader"},
		{Name: "other", Token: "other-other", Role: "reader"},
		{Name: "loader", Token: "loader-loader", Role: "loader"},
		{Name: "small", Token: "small-small", Role: "small"},
	}
	kitRoles = []access.Role{
		{Name: "reader", Read: []string{"m.*"}},
		{Name: "loader", Write: []string{"m.*"}},
		{Name: "small", Read: []string{"*"}, Limits: access.Limits{Time: 300 * time.Millisecond, Rows: 3, ResultBytes: 2000, Concurrency: 1}},
	}
)

type kitOptions struct {
	users  bool
	server func(o *Options)
	core   query.Options
	change func(s *Server)
}

func newKit(t *testing.T, o kitOptions) *kit {
	t.Helper()
	k := &kit{t: t, log: &logtest.Watch{}, syncer: newFakeSyncer()}
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "pintail.duckdb")
	var err error
	k.store, err = store.Open(ctx, store.Options{Path: path, MemoryLimit: 1 << 30, Threads: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.store.Close(ctx)) })
	require.NoError(t, k.store.Commit(ctx, func(tx *store.Tx) error {
		for _, sql := range kitData {
			if _, err := tx.Exec(sql); err != nil {
				return err
			}
		}
		return nil
	}))
	tables := access.Tables{}
	for _, name := range []string{"m_dataset", "m_results", "m_data"} {
		tables.Add("main", name, "m")
	}
	tables.Add("main", "e_a", "e")
	tables.Add("main", "e_b", "e")
	tables.Add("main", "never", "never")
	cfg := access.Config{Catalog: "pintail", Resolver: tables}
	if o.users {
		cfg.Users, cfg.Roles = kitUsers, kitRoles
	}
	k.access, err = access.New(cfg, nil, nil)
	require.NoError(t, err)
	registry := prometheus.NewRegistry()
	o.core.Log, o.core.Registerer = slog.New(k.log), registry
	k.core = query.New(k.store, k.access, o.core)
	opts := Options{Listen: "127.0.0.1:0", Access: k.access, Queries: k.core, Syncer: k.syncer, Enabled: true,
		SyncedAt: func() map[string]time.Time { return map[string]time.Time{"m": syncedAt, "e": syncedAt} },
		Reload: func(_ context.Context, o ReloadOptions) (ReloadPlan, error) {
			if !o.DryRun && !o.Confirm {
				return ReloadPlan{}, fault.New(fault.Usage, "confirm", "x would be dropped")
			}
			return ReloadPlan{Changes: []string{"dataset x is removed"}, Drops: []string{"x"}}, nil
		},
		Ready:    func(context.Context) map[string]error { return map[string]error{"store": nil} },
		Gatherer: registry, Registerer: registry, Log: slog.New(k.log)}
	if o.server != nil {
		o.server(&opts)
	}
	k.srv, err = New(opts)
	require.NoError(t, err)
	if o.change != nil {
		o.change(k.srv)
	}
	require.NoError(t, k.srv.Listen(t.Context()))
	k.url = "http://" + k.srv.Addr().String()
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- k.srv.Run(running) }()
	k.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { require.NoError(t, k.stop()) })
	return k
}

var kitData = []string{
	`CREATE TABLE m_dataset AS SELECT i AS dataset_id, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_hours(i) AS created_at,
		CASE WHEN i % 10 = 0 THEN NULL WHEN i % 3 = 0 THEN 'failed' ELSE 'ok' END AS status,
		'text ' || i || CASE WHEN i = 7 THEN ' 100% Pure_Gold' ELSE '' END AS query, (i * 1.25)::DECIMAL(12,2) AS amount, i % 2 = 0 AS even,
		[i, NULL] AS list, CASE WHEN i % 4 = 0 THEN 'hot' ELSE 'cold' END::ENUM('hot', 'cold') AS mood, (i * 10)::DOUBLE AS latency FROM range(120) r(i)`,
	`CREATE TABLE m_results AS SELECT i AS dataset_id, 'accuracy' AS metric_name, i / 100.0::DOUBLE AS metric_score FROM range(100) r(i)`,
	`CREATE VIEW m_data AS SELECT r.metric_name, r.metric_score, d.* FROM m_dataset d LEFT JOIN m_results r USING (dataset_id)`,
	`CREATE TABLE e_a AS SELECT i AS id, i % 5 AS part FROM range(40) r(i)`,
	`CREATE TABLE e_b("odd ""name" INTEGER, "select" VARCHAR, page INTEGER)`,
	`CREATE TABLE secret AS SELECT 'hidden' AS word`,
}

// call sends a request and returns the answer, whose body was read.
func (k *kit) call(method, path, token, body string, header ...string) *answer {
	k.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, k.url+path, r)
	require.NoError(k.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(k.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return &answer{t: k.t, status: res.StatusCode, header: res.Header, trailer: res.Trailer, body: b, err: err}
}

func (k *kit) get(path string) *answer { k.t.Helper(); return k.call("GET", path, "", "") }

func (k *kit) sql(body map[string]any) *answer {
	k.t.Helper()
	return k.sqlAs("", body)
}

func (k *kit) sqlAs(token string, body map[string]any, header ...string) *answer {
	k.t.Helper()
	b, err := json.Marshal(body)
	require.NoError(k.t, err)
	return k.call("POST", "/v0/sql", token, string(b), header...)
}

type answer struct {
	t       *testing.T
	status  int
	header  http.Header
	trailer http.Header
	body    []byte
	err     error // of reading the body
}

// ok decodes a good answer.
func (a *answer) ok(status int, into any) {
	a.t.Helper()
	require.NoError(a.t, a.err)
	require.Equal(a.t, status, a.status, "%s", a.body)
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber()
	require.NoError(a.t, d.Decode(into), "%s", a.body)
}

// json decodes a good answer into plain values.
func (a *answer) json(status int) map[string]any {
	a.t.Helper()
	var m map[string]any
	a.ok(status, &m)
	return m
}

// fails checks that the answer is an error in the one form, and returns its message.
func (a *answer) fails(status int, code fault.Code) string {
	a.t.Helper()
	require.NoError(a.t, a.err)
	require.Equal(a.t, status, a.status, "%s", a.body)
	require.Equal(a.t, "application/json", a.header.Get("Content-Type"))
	var m map[string]map[string]string
	require.NoError(a.t, json.Unmarshal(a.body, &m), "%s", a.body)
	require.Len(a.t, m, 1)
	require.Len(a.t, m["error"], 3, "%s", a.body)
	require.Equal(a.t, string(code), m["error"]["code"], "%s", a.body)
	require.NotEmpty(a.t, m["error"]["message"])
	return m["error"]["message"]
}

// fakeSyncer stands in for the syncer: datasets m (with a view), e (two tables, no view) and never (not synced).
type fakeSyncer struct {
	mu      sync.Mutex
	calls   []string
	running map[string]bool
	broken  string // the dataset that cannot start
	runs    []store.Run
	status  map[string]syncer.Status
	aside   []store.Quarantined
	slots   []syncer.Slot
	sources map[string]syncer.SourceStatus
	fail    error
}

func newFakeSyncer() *fakeSyncer {
	at := syncedAt
	s := &fakeSyncer{running: map[string]bool{}, status: map[string]syncer.Status{
		"m_data": {Dataset: "m", Key: "m_data", State: "ready", SyncType: "incremental", Rows: 120, IncrementalRows: 12, LastSync: &at, LastFull: &at,
			LastIncremental: &at, RunID: "run-2", RefreshMinutes: 15, Refresh: "15m0s", IncrementalColumn: "created_at", Guarantee: "late commits are read",
			Watermarks: map[string]string{"m_dataset": "2026-01-05 23:00:00+00"},
			Tables:     []syncer.TableStatus{{Name: "m_dataset", Rows: 120, Watermark: "2026-01-05 23:00:00+00", Method: "lookback"}, {Name: "m_results", Rows: 100}}},
		"e_a":   {Dataset: "e", Key: "e_a", State: "error", Rows: 40, LastSync: &at, SyncType: "full", Error: "the server is gone", Code: "source_unavailable", Hint: "start it"},
		"e_b":   {Dataset: "e", Key: "e_b", State: "ready", LastSync: &at, SyncType: "full"},
		"never": {Dataset: "never", Key: "never", State: "not_synced"},
	}}
	for i := range 7 {
		dataset := []string{"m", "e"}[i%2]
		s.runs = append(s.runs, store.Run{ID: fmt.Sprintf("run-%d", i), Dataset: dataset, Kind: "full", State: "ready", Reason: "asked for", StartedAt: at, EndedAt: at,
			RowsRead: 10, RowsWritten: 9, Bytes: 8, Progress: 1})
	}
	s.runs[6].State, s.runs[6].EndedAt, s.runs[6].Progress = "running", time.Time{}, 0.5
	s.runs[1].State, s.runs[1].Error, s.runs[1].Code = "error", "boom", "internal"
	s.runs[2].Kind, s.runs[2].Detail = "verify", json.RawMessage(`{"differences":[]}`)
	return s
}

func (s *fakeSyncer) called(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

func (s *fakeSyncer) Datasets() []string { return []string{"e", "m", "never"} }

func (s *fakeSyncer) start(kind, dataset string) (string, error) {
	if !slices.Contains(s.Datasets(), dataset) {
		return "", fault.New(fault.NotFound, "", "there is no dataset %q", dataset)
	}
	if s.running[dataset] {
		return "", fault.New(fault.Running, "wait", "a run of %s is under way", dataset)
	}
	if dataset == s.broken {
		return "", fault.New(fault.Config, "leave it out", "%s cannot be synced", dataset)
	}
	s.called("%s %s", kind, dataset)
	return kind + "-of-" + dataset, s.fail
}

func (s *fakeSyncer) Sync(dataset string, full bool) (string, error) {
	return s.start(map[bool]string{true: "full", false: "sync"}[full], dataset)
}
func (s *fakeSyncer) Verify(dataset string) (string, error)    { return s.start("verify", dataset) }
func (s *fakeSyncer) Reconcile(dataset string) (string, error) { return s.start("reconcile", dataset) }

func (s *fakeSyncer) Status(context.Context) (map[string]syncer.Status, error) {
	return s.status, s.fail
}

func (s *fakeSyncer) Sources() map[string]syncer.SourceStatus { return s.sources }

func (s *fakeSyncer) ResetWatermark(_ context.Context, dataset, table string) ([]string, error) {
	if _, err := s.start("reset "+table, dataset); err != nil {
		return nil, err
	}
	if table != "" {
		return []string{table}, nil
	}
	return []string{"m_dataset", "m_results"}, nil
}

func (s *fakeSyncer) Cancel(id string) error { s.called("cancel %s", id); return s.fail }

func (s *fakeSyncer) Run(_ context.Context, id string) (store.Run, bool, error) {
	for _, r := range s.runs {
		if r.ID == id {
			return r, true, nil
		}
	}
	return store.Run{}, false, s.fail
}

func (s *fakeSyncer) Runs(_ context.Context, f store.RunFilter) ([]store.Run, error) {
	var out []store.Run
	for i := len(s.runs) - 1; i >= 0; i-- {
		r := s.runs[i]
		if (f.Dataset == "" || r.Dataset == f.Dataset) && (f.State == "" || r.State == f.State) && (f.Before == "" || r.ID < f.Before) && len(out) < f.Limit {
			out = append(out, r)
		}
	}
	return out, s.fail
}

func (s *fakeSyncer) Pause(dataset string, paused bool) error {
	_, err := s.start(fmt.Sprintf("paused=%t", paused), dataset)
	return err
}

func (s *fakeSyncer) Slots(context.Context) ([]syncer.Slot, map[string]error, error) {
	return s.slots, map[string]error{"away": fault.New(fault.SourceUnavailable, "start it", "connection refused")}, s.fail
}

func (s *fakeSyncer) DropSlot(_ context.Context, source, slot string, force bool) (syncer.Slot, error) {
	for _, sl := range s.slots {
		switch {
		case sl.Name != slot:
		case sl.Followed && !force:
			return sl, fault.New(fault.Usage, "pause it", "dataset %s follows it", sl.Dataset)
		default:
			s.called("drop %s of %q", slot, source)
			return sl, s.fail
		}
	}
	return syncer.Slot{}, fault.New(fault.NotFound, "", "there is no slot %q", slot)
}

func (s *fakeSyncer) Quarantine(context.Context) ([]store.Quarantined, error) { return s.aside, s.fail }

func (s *fakeSyncer) Retry(_ context.Context, dataset, table string) ([]string, error) {
	if _, err := s.start("retry "+table, dataset); err != nil {
		return nil, err
	}
	if table != "" {
		return []string{table}, nil
	}
	return []string{"m_dataset", "m_results"}, nil
}
