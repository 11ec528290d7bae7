package test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// The runbook's sample, word for word but for the host.
const runbookSample = `monitoring_db:
  enabled: true
  auto_load: true
  url: "postgresql://axis_reader:${DB_PASSWORD}@{{host}}/{{db}}"

  dataset_query: |
    SELECT
      trace_id AS dataset_id,
      timestamp,
      prompt AS query,
      completion AS actual_output,
      deployment_env AS environment,
      service_name AS source_name,
      component_name AS source_component,
      response_time_ms AS latency
    FROM llm_traces
    ORDER BY timestamp DESC

  results_query: |
    SELECT
      trace_id AS dataset_id,
      metric_name,
      metric_value AS metric_score,
      metric_category,
      explanation
    FROM llm_metric_results
    ORDER BY created_at DESC

  # Performance tuning
  partition_column: "id"              # Enables parallel COPY reads
  incremental_column: "created_at"    # Enables watermark-based incremental sync
  refresh_interval_minutes: 15        # Auto-sync every 15 minutes
  query_timeout: 120

duckdb:
  sync_mode: "startup"    # Initial full sync on boot
  sync_workers: 4         # Parallel COPY readers
`

const runbookSource = `
	CREATE TABLE llm_traces (id bigserial PRIMARY KEY, trace_id text NOT NULL UNIQUE, timestamp timestamptz NOT NULL, prompt text, completion text, deployment_env text,
		service_name text, component_name text, response_time_ms int, created_at timestamptz NOT NULL DEFAULT now());
	CREATE TABLE llm_metric_results (id bigserial PRIMARY KEY, trace_id text NOT NULL, metric_name text NOT NULL, metric_value float8, metric_category text, explanation text,
		created_at timestamptz NOT NULL DEFAULT now());
	INSERT INTO llm_traces (trace_id, timestamp, prompt, completion, deployment_env, service_name, component_name, response_time_ms)
		SELECT 'trace-' || g, '2026-02-13'::timestamptz + g * interval '1 min', 'What is ' || g || '?', 'It is ' || g, (ARRAY['prod', 'staging'])[1 + g % 2], 'svc-' || g % 5, 'llm', 100 + g FROM generate_series(1, 500) g;
	INSERT INTO llm_metric_results (trace_id, metric_name, metric_value, metric_category, explanation)
		SELECT 'trace-' || g, m, (g % 100) / 100.0, 'score', CASE WHEN g % 3 = 0 THEN 'because ' || g END FROM generate_series(1, 480) g, unnest(ARRAY['faithfulness', 'relevancy', 'toxicity']) m;`

// A password that a URL cannot hold as it is.
const runbookPassword = `p@ss/w:rd?#%&$${x} {}`

// runbook is a project with the runbook's file over a database that holds the runbook's tables, and a role that may only
// read them. correct makes the two additions that the sample needs to work.
func runbook(t *testing.T, pgURL string, correct bool) *harness.Project {
	t.Helper()
	u, err := url.Parse(pgURL)
	require.NoError(t, err)
	harness.PG(t, pgURL, runbookSource,
		`DO $$ BEGIN CREATE ROLE axis_reader LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$`,
		`DO $do$ BEGIN ALTER ROLE axis_reader PASSWORD $p$`+runbookPassword+`$p$; EXCEPTION WHEN OTHERS THEN END $do$`, // another test sets the same
		`GRANT SELECT ON llm_traces, llm_metric_results TO axis_reader`)
	text := strings.NewReplacer("{{host}}", u.Host, "{{db}}", strings.TrimPrefix(u.Path, "/")).Replace(runbookSample)
	if correct {
		text = strings.Replace(text, "      trace_id AS dataset_id,\n      timestamp", "      id, created_at,\n      trace_id AS dataset_id,\n      timestamp", 1)
		text = strings.Replace(text, "      trace_id AS dataset_id,\n      metric_name", "      id, created_at,\n      trace_id AS dataset_id,\n      metric_name", 1)
		text = strings.Replace(text, "  query_timeout: 120\n", "  query_timeout: 120\n  key: {dataset: [id], results: [id]}\n", 1)
	}
	p := harness.New(t)
	p.Env = []string{"DB_PASSWORD=" + runbookPassword}
	p.Write(text + "  path: data/pintail.duckdb\n  memory_limit: 512MiB\nserver: {http: {listen: \"" + p.Listen + "\"}}\n")
	return p
}

const (
	runbookDataset = `SELECT id, created_at, trace_id AS dataset_id, timestamp, prompt AS query, completion AS actual_output, deployment_env AS environment,
		service_name AS source_name, component_name AS source_component, response_time_ms AS latency FROM llm_traces`
	runbookResults = `SELECT id, created_at, trace_id AS dataset_id, metric_name, metric_value AS metric_score, metric_category, explanation FROM llm_metric_results`
	runbookView    = `SELECT d.dataset_id, r.id, r.created_at, r.metric_name, r.metric_score, r.metric_category, r.explanation, d.id AS dataset_dataset_id, d.created_at AS dataset_created_at, d.timestamp,
		d.query, d.actual_output, d.environment, d.source_name, d.source_component, d.latency FROM (` + runbookDataset + `) d JOIN (` + runbookResults + `) r USING (dataset_id)`
)

// The sample as printed selects neither of the columns that it goes by. It loads; check names exactly these, and prints
// queries that work.
func TestRunbookSampleAsPrinted(t *testing.T) {
	each(t, func(t *testing.T, pgURL string) {
		p := runbook(t, pgURL, false)
		r := p.Code(3, "check")
		out := r.Stdout + r.Stderr
		contains(t, out, `"id"`, `"created_at"`, "monitoring_dataset", "monitoring_results", "llm_traces", "llm_metric_results")
		for _, other := range []string{`"timestamp" and`, "panic", runbookPassword} {
			require.NotContains(t, out, other)
		}
		// What check proposes is put into the file, and works.
		var report []checkJSON
		jr := p.Code(3, "check", "--json")
		require.NoError(t, json.Unmarshal([]byte(jr.Stdout), &report), jr.Stdout)
		text := readFile(t, p.Config)
		corrected := map[string]string{}
		for _, part := range report {
			missing := slices.Clone(part.Report.Missing)
			slices.Sort(missing)
			require.Equal(t, []string{"created_at", "id"}, missing, part.Table)
			require.NotEmpty(t, part.Report.Corrected)
			contains(t, flat(out), flat(part.Report.Corrected))
			corrected[part.Table] = part.Report.Corrected
		}
		require.Len(t, corrected, 2)
		text = replaceBlock(t, text, "dataset_query", corrected["monitoring_dataset"])
		text = replaceBlock(t, text, "results_query", corrected["monitoring_results"])
		p.Write(text)
		p.OK("check")
		p.OK("sync")
		f := harness.File(p.DB)
		harness.Compare(t, pgURL, runbookDataset, f, "monitoring_dataset", "id")
		harness.Compare(t, pgURL, runbookResults, f, "monitoring_results", "id")
		require.Equal(t, 1440, harness.Compare(t, pgURL, runbookView, f, "monitoring_data", "id"))
	})
}

// The corrected sample, walked through the runbook's six steps with nothing but HTTP.
func TestRunbookWalk(t *testing.T) {
	each(t, func(t *testing.T, pgURL string) {
		p := runbook(t, pgURL, true)
		s := p.ServeNow()
		same := func() {
			t.Helper()
			harness.Compare(t, pgURL, runbookDataset, s, "monitoring_dataset", "id")
			harness.Compare(t, pgURL, runbookResults, s, "monitoring_results", "id")
			n := s.One(`SELECT count(*) FROM monitoring_data`)
			require.Equal(t, n, s.One(`SELECT count(*) FROM monitoring_results r JOIN monitoring_dataset d USING (dataset_id)`))
		}

		// 2) The initial backfill: the server starts it, and the state becomes ready.
		harness.Eventually(t, 30*time.Second, "monitoring_data is ready", func() bool {
			st := s.Status("monitoring_data")
			require.Contains(t, []string{"not_synced", "syncing", "ready"}, st.State)
			return st.State == "ready"
		})
		same()
		var raw struct {
			Success, Enabled *bool
			Datasets         map[string]map[string]any
		}
		s.JSON(http.StatusOK, http.MethodGet, "/api/store/status", nil, &raw)
		require.True(t, *raw.Success && *raw.Enabled)
		require.Len(t, raw.Datasets, 1)
		st := raw.Datasets["monitoring_data"]
		for _, name := range []string{"state", "rows", "sync_type", "last_sync", "last_incremental", "incremental_rows", "watermarks", "truncated", "error", "refresh_interval_minutes", "incremental_column"} {
			require.Contains(t, st, name)
		}
		require.Equal(t, "full", st["sync_type"])
		require.Equal(t, json.Number("1440"), st["rows"])
		require.Nil(t, st["last_incremental"])
		require.Nil(t, st["error"])
		require.Equal(t, false, st["truncated"])
		require.Equal(t, json.Number("15"), st["refresh_interval_minutes"])
		require.Equal(t, "created_at", st["incremental_column"])
		marks := st["watermarks"].(map[string]any)
		require.Len(t, marks, 2)
		first := s.Status("monitoring_data")
		require.NotNil(t, first.NextRun, "the schedule is on")
		require.WithinDuration(t, time.Now().Add(15*time.Minute), *first.NextRun, 2*time.Minute)

		// 3) Incremental from now on.
		harness.PG(t, pgURL, `INSERT INTO llm_traces (trace_id, timestamp, prompt) SELECT 'new-' || g, now(), 'new' FROM generate_series(1, 10) g;
			INSERT INTO llm_metric_results (trace_id, metric_name, metric_value) SELECT 'new-' || g, 'faithfulness', 0.9 FROM generate_series(1, 5) g`)
		run := s.Sync("monitoring")
		require.Equal(t, "incremental", run.Kind)
		same()
		now := s.Status("monitoring_data")
		require.Equal(t, "incremental", *now.SyncType)
		require.NotNil(t, now.LastIncremental)
		require.EqualValues(t, 15, now.IncrementalRows, "rows that arrived, not rows of the view")
		require.EqualValues(t, 1445, now.Rows)
		for table, mark := range now.Watermarks {
			require.NotNil(t, mark, table)
			require.Greater(t, *mark, *first.Watermarks[table], "the watermark of %s goes on", table)
		}
		s.Sync("monitoring")
		require.EqualValues(t, 0, s.Status("monitoring_data").IncrementalRows, "a quiet source")
		same()

		// A re-sent row replaces: the joined result does not double.
		harness.PG(t, pgURL, `UPDATE llm_traces SET prompt = 'again', created_at = now() WHERE trace_id = 'trace-1'; UPDATE llm_metric_results SET metric_value = 0.1, created_at = now() WHERE trace_id = 'trace-2'`)
		s.Sync("monitoring")
		require.Equal(t, "3", s.One(`SELECT count(*) FROM monitoring_data WHERE dataset_id = 'trace-1'`))
		same()

		// 6) Watermarks: shown, reset as a whole and one by one, and full rebuilds.
		var reset struct {
			Success bool
			Message string
			Tables  []string
		}
		s.JSON(http.StatusOK, http.MethodPost, "/api/store/sync/monitoring/reset-watermark", nil, &reset)
		require.True(t, reset.Success)
		require.Equal(t, "Watermarks cleared for monitoring. Next sync will do a full rebuild.", reset.Message)
		require.ElementsMatch(t, []string{"monitoring_dataset", "monitoring_results"}, reset.Tables)
		for table, mark := range s.Status("monitoring_data").Watermarks {
			require.Nil(t, mark, table)
		}
		require.Equal(t, "1445", s.One(`SELECT count(*) FROM monitoring_data`), "the data stays readable")
		require.Equal(t, "full", s.Sync("monitoring").Kind)
		same()
		require.Equal(t, "incremental", s.Sync("monitoring").Kind)
		s.JSON(http.StatusOK, http.MethodPost, "/api/store/sync/monitoring/reset-watermark?table=monitoring_results", nil, &reset)
		require.Equal(t, []string{"monitoring_results"}, reset.Tables)
		run = s.Sync("monitoring")
		contains(t, run.Reason, "monitoring_results", "no watermark")
		require.NotContains(t, run.Reason, "monitoring_dataset")
		same()
		run = s.SyncFull("monitoring")
		require.Equal(t, "full", run.Kind)
		require.Equal(t, "full", *s.Status("monitoring_data").SyncType)
		require.Equal(t, "incremental", s.Sync("monitoring").Kind, "full=true holds for one run")
		same()

		// 7) All at once, and what is refused.
		var all struct {
			Success bool
			RunIDs  map[string]string `json:"run_ids"`
		}
		s.JSON(http.StatusAccepted, http.MethodPost, "/api/store/sync", nil, &all)
		require.Contains(t, all.RunIDs, "monitoring")
		require.Equal(t, "ready", s.Follow(all.RunIDs["monitoring"]).State)
		for _, c := range []struct {
			status       int
			method, path string
		}{
			{404, "POST", "/api/store/sync/nothing"},
			{404, "POST", "/api/store/sync/nothing/reset-watermark"},
			{404, "POST", "/api/store/sync/monitoring/reset-watermark?table=nothing"},
			{404, "GET", "/api/store/metadata/nothing"},
			{404, "GET", "/api/store/data/nothing"},
			{404, "GET", "/api/store/runs/nothing"},
			{404, "POST", "/api/store/runs/nothing/cancel"},
			{400, "POST", "/api/store/sync/monitoring?ful=true"},
			{400, "POST", "/api/store/sync/monitoring?full=perhaps"},
			{400, "GET", "/api/store/status?x=1"},
			{400, "GET", "/api/store/data/monitoring?sort_by=nothing"},
			{400, "GET", "/api/store/data/monitoring?page_size=501"},
			{400, "GET", "/api/store/runs?limit=0"},
			{405, "GET", "/api/store/sync/monitoring"},
			{404, "GET", "/api/store/nothing"},
		} {
			e := s.Refused(c.status, c.method, c.path, nil)
			if e.Error.Hint == "" && c.status != 405 {
				t.Errorf("%s %s: no hint: %+v", c.method, c.path, e)
			}
		}

		// A run under way: 409, its state in the status, and it can be cancelled. The good data stays.
		lock := harness.Conn(t, pgURL)
		_, err := lock.Exec(t.Context(), `BEGIN; LOCK TABLE llm_traces IN ACCESS EXCLUSIVE MODE`)
		require.NoError(t, err)
		id := s.Begin("/api/store/sync/monitoring")
		e := s.Refused(http.StatusConflict, http.MethodPost, "/api/store/sync/monitoring", nil)
		require.Equal(t, "already_running", e.Error.Code)
		contains(t, e.Error.Hint, id)
		s.Refused(http.StatusConflict, http.MethodPost, "/api/store/sync", nil)
		s.Refused(http.StatusConflict, http.MethodPost, "/api/store/sync/monitoring/reset-watermark", nil)
		require.Equal(t, "syncing", s.Status("monitoring_data").State)
		require.Equal(t, "running", s.RunByID(id).State)
		same2 := s.One(`SELECT count(*) FROM monitoring_data`)
		s.JSON(http.StatusAccepted, http.MethodPost, "/api/store/runs/"+id+"/cancel", nil, nil)
		require.Equal(t, "cancelled", s.Follow(id).State)
		require.Equal(t, same2, s.One(`SELECT count(*) FROM monitoring_data`))
		_, err = lock.Exec(t.Context(), `ROLLBACK`)
		require.NoError(t, err)
		s.Sync("monitoring")

		// What is known outlives the process.
		before, history := s.Status("monitoring_data"), s.Runs("monitoring")
		s.Stop()
		p.Write(strings.Replace(readFile(t, p.Config), `sync_mode: "startup"`, `sync_mode: "manual"`, 1))
		s = p.Serve()
		after := s.Status("monitoring_data")
		require.Equal(t, before.State, after.State)
		require.Equal(t, before.Rows, after.Rows)
		require.Equal(t, before.LastSync, after.LastSync)
		require.Equal(t, before.Watermarks, after.Watermarks)
		require.Equal(t, history, s.Runs("monitoring"))
		require.Equal(t, "incremental", s.Sync("monitoring").Kind)
		same()
	})
}

// An external scheduler calls with a bearer token; nobody else gets in.
func TestRunbookExternalTrigger(t *testing.T) {
	newest(t, func(t *testing.T, pgURL string) {
		p := runbook(t, pgURL, true)
		text := strings.Replace(readFile(t, p.Config), "refresh_interval_minutes: 15 ", "refresh_interval_minutes: 0 ", 1)
		p.Env = append(p.Env, "SCHEDULER_TOKEN=a-token-of-forty-characters-at-the-least-1")
		p.Write(text + `
users: {scheduler: {token: "${SCHEDULER_TOKEN}", role: trigger}}
roles: {trigger: {write: ["monitoring.*"]}}
`)
		s := p.ServeNow()
		s.AwaitReady()
		s.Refused(http.StatusUnauthorized, http.MethodPost, "/api/store/sync/monitoring", nil)
		s.Token = "a-token-of-forty-characters-at-the-least-2"
		s.Refused(http.StatusUnauthorized, http.MethodPost, "/api/store/sync/monitoring", nil)
		s.Token = "a-token-of-forty-characters-at-the-least-1"
		require.Equal(t, "ready", s.Sync("monitoring").State)
		st := s.Status("monitoring_data")
		require.Equal(t, "ready", st.State)
		require.Zero(t, st.RefreshIntervalMinutes)
		require.Nil(t, st.NextRun)
		s.Refused(http.StatusForbidden, http.MethodPost, "/v0/sql", map[string]any{"sql": "SELECT * FROM monitoring_data"})
		s.Refused(http.StatusForbidden, http.MethodPost, "/api/store/reload", nil)
	})
}

// Paging, order, filters and metadata of the data endpoints.
func TestRunbookData(t *testing.T) {
	newest(t, func(t *testing.T, pgURL string) {
		p := runbook(t, pgURL, true)
		s := p.Serve()
		type page struct {
			Success     bool
			Data        []map[string]any
			Total, Page int64
			PageSize    int64 `json:"page_size"`
		}
		get := func(query string) (pg page) {
			t.Helper()
			s.JSON(http.StatusOK, http.MethodGet, "/api/store/data/monitoring"+query, nil, &pg)
			return pg
		}
		first := get("")
		require.Len(t, first.Data, 50)
		require.EqualValues(t, 1440, first.Total)
		seen := map[string]bool{}
		for n := 1; ; n++ {
			pg := get("?page_size=500&sort_by=metric_score&sort_dir=asc&columns=id,metric_score&page=" + string(rune('0'+n)))
			for _, row := range pg.Data {
				require.Len(t, row, 2)
				id := row["id"].(json.Number).String()
				require.False(t, seen[id], "row %s is on two pages", id)
				seen[id] = true
			}
			if len(pg.Data) < 500 {
				break
			}
		}
		require.Len(t, seen, 1440)
		require.EqualValues(t, 480, get("?metric_name=toxicity").Total)
		require.EqualValues(t, 960, get("?metric_name=toxicity&metric_name=relevancy").Total)
		require.EqualValues(t, 3, get("?dataset_id=trace-7").Total)
		require.EqualValues(t, 0, get("?dataset_id="+url.QueryEscape("x' OR '1'='1")).Total)
		require.EqualValues(t, 3, get("?search="+url.QueryEscape("what is 7?")).Total)
		require.EqualValues(t, 0, get("?search="+url.QueryEscape("100%")).Total)
		require.EqualValues(t, 0, get("?time_end=2000-01-01").Total)
		var meta struct {
			Metadata struct {
				RowCount     int64 `json:"row_count"`
				Columns      []map[string]string
				FilterValues map[string][]any `json:"filter_values"`
				TimeRange    map[string]any   `json:"time_range"`
				SummaryStats map[string]any   `json:"summary_stats"`
			}
		}
		s.JSON(http.StatusOK, http.MethodGet, "/api/store/metadata/monitoring", nil, &meta)
		require.EqualValues(t, 1440, meta.Metadata.RowCount)
		require.Equal(t, []any{"prod", "staging"}, meta.Metadata.FilterValues["environment"])
		require.NotEmpty(t, meta.Metadata.Columns[0]["column_type"])
		require.NotNil(t, meta.Metadata.TimeRange["min"])
		require.Equal(t, json.Number("1440"), meta.Metadata.SummaryStats["total_records"])
	})
}

// The other blocks and keys of the runbook's form: renamed columns beside an incremental one, a single query, connections
// from the environment, blocks that are off, and ones that are not loaded at start-up.
func TestRunbookForms(t *testing.T) {
	newest(t, func(t *testing.T, pgURL string) {
		u, err := url.Parse(pgURL)
		require.NoError(t, err)
		password, _ := u.User.Password()
		harness.PG(t, pgURL, runbookSource)
		p := harness.New(t)
		p.Env = []string{"HUMAN_SIGNALS_DB_HOST=127.0.0.1", "HUMAN_SIGNALS_DB_PORT=" + u.Port(), "HUMAN_SIGNALS_DB_NAME=" + strings.TrimPrefix(u.Path, "/"), "HUMAN_SIGNALS_DB_USER=postgres", "HUMAN_SIGNALS_DB_PASSWORD=" + password,
			"EVAL_DB_URL=" + pgURL}
		p.Write(`
monitoring_db:
  enabled: true
  auto_load: true
  url: "` + pgURL + `"
  dataset_query: SELECT id, trace_id AS dataset_id, timestamp, created_at FROM llm_traces;
  results_query: SELECT id, trace_id AS dataset_id, metric_value, created_at FROM llm_metric_results;
  columns: {created_at: timestamp_of_row, metric_value: metric_score}
  key: {dataset: [id], results: [id]}
  partition_column: created_at
  incremental_column: created_at
human_signals_db:
  enabled: true
  auto_load: true
  dataset_query: SELECT trace_id AS dataset_id, prompt FROM llm_traces
  results_query: SELECT trace_id AS dataset_id, metric_name FROM llm_metric_results
eval_db:
  enabled: true
  dataset_query: SELECT trace_id AS dataset_id FROM llm_traces
  results_query: SELECT trace_id AS dataset_id FROM llm_metric_results
kpi_db: {enabled: true, auto_load: true, host: 127.0.0.1, port: ` + u.Port() + `, database: "` + strings.TrimPrefix(u.Path, "/") + `", username: postgres, password: "` + password + `", query: "SELECT metric_name, avg(metric_value) AS mean FROM llm_metric_results GROUP BY 1"}
off_db: {enabled: false, url: "postgres://nowhere/", dataset_query: SELECT 1, results_query: SELECT 2}
duckdb: {path: data/pintail.duckdb, memory_limit: 512MiB}
server: {http: {listen: "` + p.Listen + `"}}
`)
		s := p.Serve()
		st := s.Statuses()
		require.Equal(t, "ready", st["monitoring_data"].State)
		require.Equal(t, "ready", st["human_signals_data"].State)
		require.Equal(t, "ready", st["kpi"].State)
		require.Equal(t, "not_synced", st["eval_data"].State, "auto_load is off")
		require.NotContains(t, st, "off_data")
		contains(t, s.Stderr(), "off_db", "not enabled")
		s.Sync("eval")
		harness.Compare(t, pgURL, "SELECT trace_id AS dataset_id FROM llm_traces", s, "eval_dataset")
		harness.Compare(t, pgURL, "SELECT metric_name, avg(metric_value) AS mean FROM llm_metric_results GROUP BY 1", s, "kpi")
		harness.Compare(t, pgURL, "SELECT trace_id AS dataset_id, metric_name, prompt FROM llm_traces JOIN llm_metric_results USING (trace_id)", s, "human_signals_data")
		same := func() {
			t.Helper()
			harness.Compare(t, pgURL, "SELECT id, trace_id AS dataset_id, timestamp, created_at AS timestamp_of_row FROM llm_traces", s, "monitoring_dataset", "id")
			harness.Compare(t, pgURL, "SELECT id, trace_id AS dataset_id, metric_value AS metric_score, created_at AS timestamp_of_row FROM llm_metric_results", s, "monitoring_results", "id")
		}
		same()
		harness.PG(t, pgURL, `INSERT INTO llm_traces (trace_id, timestamp) VALUES ('more', now()); INSERT INTO llm_metric_results (trace_id, metric_name) VALUES ('more', 'm')`)
		require.Equal(t, "incremental", s.Sync("monitoring").Kind)
		same()
		require.Len(t, s.Status("monitoring_data").Watermarks, 2)
		require.NotNil(t, s.Status("monitoring_data").Watermarks["monitoring_results"])
		// A column that neither query gives cannot be renamed.
		p.Write(strings.Replace(readFile(t, p.Config), "metric_value: metric_score", "metric_valeu: metric_score", 1))
		p.OK("reload")
		contains(t, *s.SyncFails("monitoring", "config").Error, "metric_valeu")
		contains(t, p.Code(3, "check", "monitoring").Stdout, `"metric_valeu"`)
	})
}
