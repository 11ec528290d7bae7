package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

var update = flag.Bool("update", false, "write the golden files anew")

// testEnv is the environment of every file in testdata.
func testEnv(name string) (string, bool) {
	value, ok := map[string]string{
		"SHOP_PASSWORD": "p@ss/w:rd?#%", "GRAFANA_PASSWORD": "grafana-secret", "LOADER_TOKEN": "loader-secret", "DB_PASSWORD": "axis secret",
		"HOSTILE": "a: b\n\"] # ${SHOP_PASSWORD}", "POOL": "12", "PAUSED": "true", "EMPTY": "",
		"KPI_DB_HOST": "kpi-host", "KPI_DB_PORT": "6543", "KPI_DB_NAME": "kpis", "KPI_DB_USER": "kpi", "KPI_DB_PASSWORD": "k@pi", "KPI_DB_SSL_MODE": "require",
		"BADPORT_DB_PORT": "http",
	}[name]
	return value, ok
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./config -update writes it)", err)
	}
	if string(want) != got {
		t.Errorf("%s differs (go test ./config -update writes it)\n--- want\n%s\n--- got\n%s", path, want, got)
	}
}

func parseFile(t *testing.T, path string) (*Config, []Warning, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return Parse(filepath.Base(path), data, testEnv)
}

func parseText(t *testing.T, text string) *Config {
	t.Helper()
	c, _, err := Parse("pintail.yaml", []byte(text), testEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every bad file fails with exactly its message; no message shows a secret.
func TestBadFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.bad.yml")
	if len(files) < 25 {
		t.Fatalf("%d bad files", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, _, err := parseFile(t, file)
			if err == nil || c != nil {
				t.Fatal("accepted")
			}
			if fault.CodeOf(err) != fault.Config || fault.ExitCode(err) != fault.ExitConfig {
				t.Errorf("code %s", fault.CodeOf(err))
			}
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("no Problems in %T", err)
			}
			for _, p := range problems {
				if p.Line == 0 || p.Col == 0 {
					t.Errorf("no place: %s", p)
				}
			}
			golden(t, strings.TrimSuffix(file, ".yml")+".txt", err.Error()+"\n")
		})
	}
}

// Every good file parses; its warnings are golden.
func TestGoodFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.good.yml")
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, warnings, err := parseFile(t, file)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, w := range warnings {
				text.WriteString(w.String() + "\n")
			}
			golden(t, strings.TrimSuffix(file, ".yml")+".txt", text.String())
		})
	}
}

func TestExample(t *testing.T) {
	c, _, err := parseFile(t, "testdata/example.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "names", c.DatasetNames(), []string{"errors", "messages_by_partner", "monitoring", "shop"})
	equal(t, "url", c.Sources["shop"].URL.Reveal(), "postgres://pintail:p%40ss%2Fw%3Ard%3F%23%25@db.internal:5432/shop?sslmode=verify-full")
	equal(t, "duckdb", []any{c.DuckDB.Path, c.DuckDB.MemoryLimit, c.DuckDB.Threads, c.DuckDB.SyncMode, c.DuckDB.SyncWorkers, c.DuckDB.QueryConcurrency, c.DuckDB.Enabled, c.DuckDB.SyncChunkSize},
		[]any{"data/pintail.duckdb", Size(4e9), 4, "startup", 4, 8, true, 10000})

	m := c.Datasets["monitoring"]
	equal(t, "monitoring", []any{m.Form, m.Mode, m.Source, m.Join, m.ViewName, m.View, m.Refresh, m.QueryTimeout, m.MaxSyncRows, m.AutoLoad, m.Runbook, m.OutOfRange, m.LateCommits, m.Line},
		[]any{FormSplit, "query", "shop", "left", "monitoring_data", "", Schedule{Every: 15 * time.Minute}, 2 * time.Minute, int64(0), true, false, "text", "auto", 19})
	equal(t, "tables", m.Tables(), []string{"monitoring_dataset", "monitoring_results"})
	equal(t, "results", []any{m.Parts[1].Name, m.Parts[1].Key, m.Parts[1].IncrementalColumn, m.Parts[1].PartitionColumn}, []any{"results", []string{"dataset_id", "metric_name"}, "created_at", "created_at"})

	p := c.Datasets["messages_by_partner"]
	equal(t, "messages_by_partner", []any{p.Form, p.Parts[0].Table, p.Parts[0].Target, p.Parts[0].Columns, p.Parts[0].Where, p.Parts[0].Key, *p.Lookback, p.Refresh, p.Reconcile, p.ViewName},
		[]any{FormTable, "public.messages", "messages_by_partner", []string{"id", "partner_id", "status", "created_at", "updated_at"}, "created_at > now() - interval '90 days'",
			[]string{"id"}, 5 * time.Minute, Schedule{Every: 30 * time.Second}, Schedule{Cron: "0 3 * * *"}, ""})

	e := c.Datasets["errors"]
	equal(t, "errors", []any{e.Form, e.Tables(), e.ViewName, e.Parts[0].IncrementalColumn, e.Parts[1].IncrementalColumn},
		[]any{FormQueries, []string{"errors_failed", "errors_partners"}, "errors", "created_at", ""})

	s := c.Datasets["shop"]
	equal(t, "shop", []any{s.Form, s.Mode, s.CDC.Tables, s.CDC.Batch, s.CDC.TableOptions["public.orders"].Deletes, len(s.Parts)},
		[]any{FormCDC, "cdc", []string{"public.*", "!public.audit_*"}, CDCBatch{200 * time.Millisecond, 64 << 20, 100000}, "history", 0})
	kept := func(table string) []any { deletes, lsn := s.CDC.Kept(table); return []any{deletes, lsn} }
	equal(t, "kept", [][]any{kept("public.orders"), kept("public.others")}, [][]any{{"history", false}, {"hard", false}})

	equal(t, "server", []any{c.Server.HTTP.Listen, c.Server.Flight.Listen, c.Server.PGWire.Listen, c.Server.JWT.RoleClaim, c.Server.JWT.Enabled()}, []any{"127.0.0.1:8500", "127.0.0.1:8815", "127.0.0.1:5439", "role", false})
	equal(t, "user", []any{c.Users["grafana"].Password.Reveal(), c.Users["loader"].Token.Reveal(), c.Users["loader"].Role}, []any{"grafana-secret", "loader-secret", "loader"})
	equal(t, "limits", c.Roles["reader"].Limits, Limits{Time: 30 * time.Second, Rows: 1000000, ResultBytes: 1e9, Concurrency: 4})
	equal(t, "admin", c.Roles["admin"].Admin, true)
}

func TestRunbook(t *testing.T) {
	c, _, err := parseFile(t, "testdata/runbook.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	m := c.Datasets["monitoring"]
	equal(t, "monitoring", []any{m.Form, m.Source, m.Join, m.ViewName, m.Refresh.Every, m.QueryTimeout, m.MaxSyncRows, m.AutoLoad, m.Runbook, m.Tables()},
		[]any{FormSplit, "monitoring_db", "inner", "monitoring_data", 15 * time.Minute, 2 * time.Minute, int64(2_000_000), true, true, []string{"monitoring_dataset", "monitoring_results"}})
	equal(t, "url", c.Sources["monitoring_db"].URL.Reveal(), "postgresql://axis_reader:axis%20secret@prod-db.internal:5432/observability")
	if !strings.HasSuffix(m.Parts[0].SQL, "ORDER BY timestamp DESC") {
		t.Errorf("sql: %q", m.Parts[0].SQL)
	}

	c, _, err = parseFile(t, "testdata/runbook-all-keys.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "names", c.DatasetNames(), []string{"kpi", "monitoring"})
	equal(t, "sync mode", c.DuckDB.SyncMode, "manual")
	m, k := c.Datasets["monitoring"], c.Datasets["kpi"]
	equal(t, "defaults", []any{m.AutoLoad, m.QueryTimeout, m.Refresh.IsZero(), m.Parts[0].Rename["timestamp"], m.Parts[1].Rename["timestamp"]}, []any{false, time.Minute, true, "created_at", "created_at"})
	equal(t, "sql", []string{m.Parts[0].SQL, m.Parts[1].SQL, k.Parts[0].SQL}, []string{"SELECT trace_id AS dataset_id, timestamp FROM traces", "SELECT trace_id AS dataset_id, score FROM results", "SELECT * FROM kpi"})
	equal(t, "made url", c.Sources["monitoring_db"].URL.Reveal(), "postgresql://axis_reader:axis%20secret@prod-db.internal:5432/observability?sslmode=prefer")
	equal(t, "kpi", []any{k.Form, k.Tables(), k.ViewName, k.MaxSyncRows}, []any{FormQueries, []string{"kpi"}, "", int64(50000)})
	equal(t, "url of the environment", c.Sources["kpi_db"].URL.Reveal(), "postgresql://kpi:k%40pi@kpi-host:6543/kpis?sslmode=require")
}

// A key of the file comes before its variable.
func TestRunbookEnvironment(t *testing.T) {
	env := func(vars ...string) Env {
		return func(name string) (string, bool) {
			for i := 0; i < len(vars); i += 2 {
				if vars[i] == name {
					return vars[i+1], true
				}
			}
			return "", false
		}
	}
	for _, tc := range []struct {
		keys string
		env  Env
		want string
	}{
		{"", env("X_DB_URL", "postgres://e/d"), "postgres://e/d"},
		{", url: postgres://f/d", env("X_DB_URL", "postgres://e/d"), "postgres://f/d"},
		{", host: f", env("X_DB_URL", "postgres://e/d", "X_DB_NAME", "n"), "postgresql://f:5432/n?sslmode=prefer"},
		{", host: f, port: 1", env("X_DB_PORT", "2"), "postgresql://f:1/?sslmode=prefer"},
		{", host: /run/pg, username: u", env(), "postgresql://u@/?host=%2Frun%2Fpg&port=5432&sslmode=prefer"},
		{", host: '::1', database: d", env(), "postgresql://[::1]:5432/d?sslmode=prefer"},
		{", url: postgres://f/d?a=b, ssl_mode: require", env(), "postgres://f/d?a=b&sslmode=require"},
		{", url: 'postgres://f/d?sslmode=disable', ssl_mode: require", env(), "postgres://f/d?sslmode=disable"},
	} {
		c, _, err := Parse("p", []byte("x_db: {enabled: true, query: SELECT 1"+tc.keys+"}"), tc.env)
		if err != nil {
			t.Errorf("%s: %v", tc.keys, err)
			continue
		}
		equal(t, tc.keys, c.Sources["x_db"].URL.Reveal(), tc.want)
	}
}

func TestMaxSyncRows(t *testing.T) {
	const block = "x_db: {enabled: true, url: postgres://h/d, query: SELECT 1}\n"
	for text, want := range map[string]int64{
		block:                                2_000_000,
		block + "duckdb: {max_sync_rows: 7}": 7,
		block + "duckdb: {max_sync_rows: 0}": 0,
		strings.Replace(block, "}", ", max_sync_rows: 5}", 1) + "duckdb: {max_sync_rows: 7}": 5,
	} {
		equal(t, text, parseText(t, text).Datasets["x"].MaxSyncRows, want)
	}
}

// Values of variables never become structure, and a value for a number is read as a number.
func TestHostileValues(t *testing.T) {
	c, _, err := parseFile(t, "testdata/hostile-values.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	hostile, _ := testEnv("HOSTILE")
	a := c.Datasets["a"]
	equal(t, "a", []any{a.Parts[0].Where, a.Paused, a.QueryTimeout, c.Sources["shop"].Pool}, []any{hostile, true, 45 * time.Second, 12})
	equal(t, "sql", c.Datasets["b"].Parts[0].SQL, "SELECT '${NOT_A_VARIABLE}' AS a, $$ ; $$ AS b")
	equal(t, "url", c.Sources["shop"].URL.Reveal(), "postgres://"+percentEncode(hostile)+":"+percentEncode(hostile)+"@localhost/shop?application_name=x")
}

func TestAnchors(t *testing.T) {
	c, _, err := parseFile(t, "testdata/anchors.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	a, b := c.Datasets["a"], c.Datasets["b"]
	equal(t, "own key first", []Schedule{a.Refresh, b.Refresh}, []Schedule{{Cron: "@hourly"}, {Every: 5 * time.Minute}})
	equal(t, "chosen by renames", []any{b.Parts[0].Columns, b.Parts[0].Rename["Name"]}, []any{[]string{"ID", "Name"}, "name"})
}

func TestDefaults(t *testing.T) {
	c := parseText(t, "sources: {s: {url: postgres://h/d}}\ndatasets: {t: {source: s, table: public.t}}\n")
	d := c.Datasets["t"]
	equal(t, "duckdb", []any{c.DuckDB.SyncWorkers, c.DuckDB.Threads, c.DuckDB.QueryConcurrency, c.DuckDB.MaxSyncRows}, []any{max(2, runtime.NumCPU()), runtime.NumCPU(), 8, int64(0)})
	equal(t, "source", []any{c.Sources["s"].Pool, c.Sources["s"].Read}, []any{max(8, c.DuckDB.SyncWorkers+2), "auto"})
	equal(t, "dataset", []any{d.Refresh.IsZero(), d.QueryTimeout, d.Lookback == nil, d.AutoLoad, d.OutOfRange, d.LateCommits, d.Parts[0].Columns == nil}, []any{true, time.Duration(0), true, true, "text", "auto", true})
	equal(t, "http", c.Server.HTTP.Listen, "127.0.0.1:8500")
	equal(t, "closed", c.Server.Flight.Listen+c.Server.PGWire.Listen, "")
	if m := c.DuckDB.MemoryLimit; m <= 0 || m > machineMemory()/2 {
		t.Errorf("memory_limit %s of %s", m, machineMemory())
	}
}

func TestListen(t *testing.T) {
	const guard = "users: {a: {token: t, role: admin}}\n"
	for text, ok := range map[string]bool{
		"server: {http: {listen: 'localhost:1'}}":                        true,
		"server: {http: {listen: '[::1]:1'}}":                            true,
		"server: {http: {listen: '127.8.8.8:0'}}":                        true,
		"server: {http: {listen: ':1'}}":                                 false,
		"server: {http: {listen: 'db.internal:1'}}":                      false,
		"server: {flight: {listen: '0.0.0.0:1'}}":                        false,
		"server: {http: {listen: ':1'}, insecure: true}":                 true,
		guard + "server: {http: {listen: ':1'}}":                         false,
		guard + "server: {http: {listen: ':1'}, tls: {cert: c, key: k}}": true,
		"server: {http: {listen: ':1'}, tls: {cert: c, key: k}}":         false,
		"server: {http: {listen: ':1'}, tls: {cert: c, key: k}, jwt: {jwks_url: https://x/y, audience: a, issuer: i}}": true,
	} {
		if _, _, err := Parse("p", []byte(text), testEnv); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pintail.yaml")
	if _, _, err := Load(path, nil); fault.CodeOf(err) != fault.Config || fault.HintOf(err) == "" {
		t.Errorf("absent: %v", err)
	}
	if _, _, err := Load(dir, nil); fault.CodeOf(err) != fault.Config {
		t.Errorf("folder: %v", err)
	}
	if err := os.WriteFile(path, []byte("\xef\xbb\xbfduckdb:\r\n  path: ${PINTAIL_TEST_PATH}\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PINTAIL_TEST_PATH", "x.duckdb")
	c, _, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "loaded", []string{c.Path, c.DuckDB.Path}, []string{path, "x.duckdb"})
	if err := os.WriteFile(path, []byte(strings.Repeat("#", fileBytesMax+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path, nil); fault.CodeOf(err) != fault.Config {
		t.Errorf("large: %v", err)
	}
}
