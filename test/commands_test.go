package test

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

const commandsSQL = `CREATE TABLE items (id int PRIMARY KEY, name text, price numeric(10,2), at timestamptz DEFAULT now());
	INSERT INTO items SELECT g, CASE WHEN g = 2 THEN NULL WHEN g = 3 THEN '' WHEN g = 4 THEN 'a,"b"' ELSE 'item ' || g END, g * 1.5, '2026-01-01' FROM generate_series(1, 40) g;
	CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1);`

const commandsYAML = `datasets:
  items: {source: pg, table: public.items, key: [id], incremental_column: at}
  other: {source: pg, table: public.other, key: [id]}
`

// A command line that cannot be understood ends with 2, says why, and points to the help.
func TestUsage(t *testing.T) {
	t.Parallel()
	p := harness.New(t)
	p.Write("sources: {pg: {url: postgres://localhost:1/x}}\n" + commandsYAML)
	help := p.OK()
	for _, command := range []string{"serve", "sync", "check", "init", "status", "runs", "query", "verify", "reload", "reference"} {
		contains(t, help, "  "+command)
		own := p.OK(command, "--help")
		contains(t, own, "Usage:")
		if command != "reference" {
			contains(t, own, "130 interrupted")
		}
	}
	contains(t, p.OK("--version"), "pintail")
	contains(t, p.OK("reference", "markdown"), "incremental_column", "refresh_interval_minutes")
	var schema map[string]any
	decode(t, p.OK("reference", "schema"), &schema)
	require.Contains(t, schema, "$schema")
	for _, args := range [][]string{
		{"nonsense"}, {"sync", "--nonsense"}, {"query"}, {"query", "a", "b"}, {"query", "--format", "xml", "SELECT 1"}, {"query", "--limit", "x", "SELECT 1"}, {"init", "a", "b"},
		{"serve", "now"}, {"status", "items"}, {"runs", "a", "b"}, {"reload", "x"}, {"reference"}, {"reference", "pdf"}, {"sync", "nothing"}, {"verify", "nothing"}, {"check", "nothing"},
		{"status", "--log-level", "loud"}, {"status", "--log-format", "xml"}, {"status", "--server", "not a url"}, {"status", "-c", "missing.yaml"}, {"sync", "--config", "missing.yaml"},
	} {
		r := p.Run(args...)
		if r.Code != 2 || !strings.HasPrefix(r.Stderr, "pintail: ") || strings.Contains(r.Stderr, "goroutine") || r.Stdout != "" {
			t.Errorf("want exit code 2 and a reason: %s", r)
		}
	}
	contains(t, p.Run("sync", "nothing").Stderr, "items, other")
	contains(t, p.Run("sync", "-c", "missing.yaml").Stderr, "pintail init")
	p.Write("sources: {pg: {url: postgres://localhost:1/x}}\n" + strings.Replace(commandsYAML, "key: [id], incremental", "key: [id], incrementl", 1))
	contains(t, p.Code(2, "check").Stderr, "pintail.yaml:3:", "datasets.items.incrementl_column", `did you mean "incremental_column"`)
}

// sync, status, runs, query and verify on the file itself, and again through the server that holds it.
func TestCommands(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, commandsSQL)
		p := manual(t, url, commandsYAML)
		f := harness.File(p.DB)

		// Nothing is there yet.
		var status struct {
			Datasets map[string]harness.Status
		}
		decode(t, p.OK("status", "--json"), &status)
		require.Equal(t, "not_synced", status.Datasets["items"].State)
		contains(t, p.Code(1, "query", "SELECT * FROM items").Stderr, "items")
		decode(t, p.OK("runs", "--json"), new([]any))

		out := p.OK("sync")
		contains(t, out, "items: full sync (items: first sync): 40 rows read, 40 written", "other: full sync")
		harness.Compare(t, url, "SELECT * FROM items", f, "items", "id")
		harness.PG(t, url, `INSERT INTO items VALUES (100, 'later', 1, now())`)
		contains(t, p.OK("sync", "items"), "items: incremental sync: 1 row read, 1 written")
		contains(t, p.OK("sync", "items", "--full"), "items: full sync (items: asked for): 41 rows read")
		lines := strings.Split(strings.TrimSpace(p.OK("sync", "--json")), "\n")
		require.Len(t, lines, 2)
		for _, line := range lines {
			var run harness.Run
			decode(t, line, &run)
			require.Equal(t, "ready", run.State)
			require.NotEmpty(t, run.ID)
		}

		s := (*harness.Server)(nil)
		for _, how := range []string{"file", "server"} {
			if how == "server" {
				s = p.Serve()
				harness.PG(t, url, `INSERT INTO items VALUES (101, 'later', 1, now())`)
				contains(t, p.OK("sync", "items"), "items: incremental sync")
				contains(t, p.OK("sync", "items", "--full"), "items: full sync (items: asked for)")
				contains(t, p.OK("verify"), "items: equal", "other: equal")
				harness.Compare(t, url, "SELECT * FROM items", s, "items", "id")
			}
			decode(t, p.OK("status", "--json"), &status)
			require.Equal(t, "ready", status.Datasets["items"].State)
			require.GreaterOrEqual(t, status.Datasets["items"].Rows, int64(41))
			contains(t, p.OK("status"), "items", "ready", "other", "2026-")
			var runs []harness.Run
			decode(t, p.OK("runs", "--json"), &runs)
			require.GreaterOrEqual(t, len(runs), 6)
			contains(t, p.OK("runs"), runs[0].ID, "full", "incremental")
			decode(t, p.OK("runs", "--json", "--dataset", "other", "--state", "ready", "--limit", "1"), &runs)
			require.Len(t, runs, 1)
			require.Equal(t, "other", runs[0].Dataset)
			var one struct{ Run harness.Run }
			decode(t, p.OK("runs", runs[0].ID), &one)
			require.Equal(t, runs[0].ID, one.Run.ID)
			contains(t, p.Code(1, "runs", "no-such-run").Stderr, "no-such-run")
			p.Code(2, "runs", "--state", "sleeping")

			rows, err := csv.NewReader(strings.NewReader(p.OK("query", "--format", "csv", "SELECT id, name, price FROM items WHERE id <= 4 ORDER BY id"))).ReadAll()
			require.NoError(t, err)
			require.Equal(t, [][]string{{"id", "name", "price"}, {"1", "item 1", "1.50"}, {"2", "", "3.00"}, {"3", "", "4.50"}, {"4", `a,"b"`, "6.00"}}, rows)
			contains(t, p.OK("query", "--format", "csv", "SELECT NULL AS a, '' AS b"), "a,b\n,\"\"\n")
			sc := bufio.NewScanner(strings.NewReader(p.OK("query", "--format", "json", "SELECT id, name FROM items ORDER BY id LIMIT 3")))
			n := 0
			for sc.Scan() {
				var row map[string]any
				decode(t, sc.Text(), &row)
				require.Len(t, row, 2)
				n++
			}
			require.Equal(t, 3, n)
			out = p.OK("query", "SELECT id, name FROM items WHERE id < 3 ORDER BY id")
			contains(t, out, "item 1", "NULL", "2 rows in ")
			contains(t, p.OK("query", "--limit", "5", "SELECT id FROM items"), "5 rows in ", "more exist")
			contains(t, p.OK("query", "--format", "csv", "-p", "7", "-p", "x' OR 1=1 --", "SELECT id FROM items WHERE id = $1 OR name = $2"), "id\n7\n")
			contains(t, p.RunInput("SELECT 40 + 2 AS answer;\n", "query", "-").Stdout, "42")
			for sql, want := range map[string]string{"SELECT nothing FROM items": "nothing", "SELEC 1": "syntax", "DROP TABLE items": "SELECT", "SELECT 1; SELECT 2": "2 statements", "": "", "SELECT * FROM read_csv('/etc/passwd')": "read_csv"} {
				r := p.Run("query", sql)
				if r.Code != 1 && !(sql == "" && r.Code == 2) {
					t.Errorf("%s: %s", how, r)
				}
				contains(t, r.Stderr, want)
			}
		}
		s.Stop()
		p.OK("verify")
		harness.Compare(t, url, "SELECT * FROM items", f, "items", "id")
	})
}

// One dataset's failure does not keep the others from being synced; the exit code tells it.
func TestSyncGoesOnAfterAFailure(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, commandsSQL)
		p := harness.With(t, url, commandsYAML+"  broken: {source: pg, table: public.missing}\n  also: {source: pg, queries: {q: {sql: SELECT 1/0 AS x}}}\n")
		r := p.Code(1, "sync")
		contains(t, r.Stdout, "items: full sync", "other: full sync")
		contains(t, r.Stderr, "broken: error", "also: error", "hint:")
		// Each is told once, in words.
		for _, text := range []string{"division by zero", "does not exist"} {
			require.Equal(t, 1, strings.Count(r.Stdout+r.Stderr, text), r)
		}
		require.NotContains(t, r.Stderr, `{"`)
		contains(t, p.Run("sync", "broken", "--log-level", "info").Stderr, `"run failed"`)
		harness.Compare(t, url, "SELECT * FROM items", harness.File(p.DB), "items", "id")
		r = p.Code(3, "check")
		contains(t, r.Stdout, "✗ broken", "● items")
		// A source that is not there at all.
		p.Write(strings.Replace(p.Head("postgres://nobody@127.0.0.1:1/none"), "sources:", "sources:", 1) + commandsYAML)
		r = p.Code(1, "check")
		contains(t, r.Stderr, "127.0.0.1", "hint:")
	})
}

// slow is a query of about two seconds for each thousand rows.
const slowYAML = `datasets:
  slow: {source: pg, queries: {q: {sql: "SELECT g AS id FROM generate_series(1, 20000) g WHERE pg_sleep(0.002) IS NOT NULL"}}}
`

// The first process holds the file; a second one that cannot ask it over HTTP ends with 4 and names the holder.
func TestSecondProcess(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, commandsSQL)
		p := harness.With(t, url, slowYAML+strings.TrimPrefix(commandsYAML, "datasets:\n"))
		holder := p.Start("sync", "slow")
		harness.Eventually(t, 20*time.Second, "the first process holds the file", func() bool {
			return strings.TrimSpace(tryRead(p.DB+".lock")) == fmt.Sprint(holder.Pid())
		})
		for _, args := range [][]string{{"sync", "items"}, {"serve"}, {"status"}, {"query", "SELECT 1"}, {"verify"}, {"runs"}} {
			r := p.Code(4, args...)
			contains(t, r.Stderr, fmt.Sprint(holder.Pid()), "hint:")
		}
		p.OK("check") // opens no file
		holder.Signal(syscall.SIGINT)
		r, ok := holder.Wait(15 * time.Second)
		require.True(t, ok)
		require.Equal(t, 130, r.Code, r)

		// A server that is reached under another address than the configuration's.
		s := p.ServeNow()
		config := readFile(t, p.Config)
		p.Write(strings.Replace(config, p.Listen, harness.FreePort(t), 1))
		contains(t, p.Code(4, "status").Stderr, fmt.Sprint(s.Pid()))
		contains(t, p.OK("status", "--server", s.Base), "items")
		p.Env = []string{"PINTAIL_SERVER=" + s.Base}
		contains(t, p.OK("status"), "items")
		p.Env = []string{"PINTAIL_SERVER=http://" + harness.FreePort(t)}
		contains(t, p.Code(1, "status").Stderr, "pintail serve")
		p.Env = nil
		p.Write(config)
		second := p.Code(4, "serve")
		contains(t, second.Stderr, fmt.Sprint(s.Pid()))
	})
}

func tryRead(path string) string {
	b, _ := os.ReadFile(path) // not there yet
	return string(b)
}

// Ctrl-C ends a sync with 130 and leaves the last good data; a second one ends it at once.
func TestInterrupt(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, commandsSQL)
		quick := strings.Replace(slowYAML, "pg_sleep(0.002) IS NOT NULL", "g < 100", 1)
		p := harness.With(t, url, quick)
		p.OK("sync")
		p.Write(p.Head(url) + slowYAML)
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			pr := p.Start("sync", "--full")
			busy(t, url, 1)
			pr.Signal(sig)
			r, ok := pr.Wait(10 * time.Second)
			require.True(t, ok)
			require.Equal(t, 130, r.Code, r)
			contains(t, r.Stdout+r.Stderr, "cancelled")
			contains(t, p.OK("query", "--format", "csv", "SELECT count(*) AS n FROM slow_q"), "n\n99\n")
			busy(t, url, 0) // the source is not left working for nobody
		}
		contains(t, p.OK("runs"), "cancelled")
		leftovers(t, p)

		pr := p.Start("sync", "--full")
		busy(t, url, 1)
		pr.Signal(syscall.SIGINT)
		pr.Signal(syscall.SIGINT)
		r, ok := pr.Wait(5 * time.Second)
		require.True(t, ok)
		require.Equal(t, 130, r.Code)
		p.Write(p.Head(url) + quick)
		p.OK("sync")
		harness.Compare(t, url, "SELECT g AS id FROM generate_series(1, 99) g", harness.File(p.DB), "slow_q", "id")
		leftovers(t, p)

		// Against a server the command cancels the run that it started there.
		p.DuckDB = "sync_mode: manual"
		p.Write(p.Head(url) + slowYAML)
		s := p.Serve()
		pr = p.Start("sync", "--full")
		busy(t, url, 1)
		pr.Signal(syscall.SIGINT)
		r, ok = pr.Wait(10 * time.Second)
		require.True(t, ok)
		require.Equal(t, 130, r.Code, r)
		harness.Eventually(t, 10*time.Second, "the server's run is cancelled", func() bool { return s.Runs("slow")[0].State == "cancelled" })
	})
}

// busy waits until the source runs that many slow statements.
func busy(t testing.TB, url string, n int) {
	t.Helper()
	conn := harness.Conn(t, url)
	harness.Eventually(t, 20*time.Second, fmt.Sprintf("%d slow statements run", n), func() bool {
		var got int
		if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid() AND query ~ '^COPY.*pg_sleep'`).Scan(&got); err != nil {
			t.Fatal(err)
		}
		return got == n
	})
}

// leftovers fails when a closed project has staging tables or temporary files.
func leftovers(t testing.TB, p *harness.Project) {
	t.Helper()
	if n := harness.File(p.DB).One(t, "SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE '\\_pintail\\_stage%' ESCAPE '\\'"); n != "0" {
		t.Errorf("%s staging tables were left", n)
	}
	files, err := filepath.Glob(p.DB + "*")
	require.NoError(t, err)
	for _, f := range files {
		if f != p.DB && f != p.DB+".lock" {
			entries, _ := os.ReadDir(f)
			if info, err := os.Stat(f); err == nil && (!info.IsDir() || len(entries) > 0) {
				t.Errorf("%s was left", f)
			}
		}
	}
}

// SIGTERM in the middle of a load: the server ends well within ten seconds, the load is rolled back, and the next start
// takes it up again by itself.
func TestStopDuringLoad(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, commandsSQL)
		p := manual(t, url, slowYAML+"  items: {source: pg, table: public.items, key: [id], incremental_column: at}\n")
		s := p.Serve()
		s.Sync("items")
		id := s.Begin("/api/store/sync/slow")
		busy(t, url, 1)
		r := s.Stop()
		require.Less(t, r.Took, 10*time.Second)
		require.Equal(t, 0, r.Code)
		busy(t, url, 0)
		leftovers(t, p)
		require.Equal(t, "0", harness.File(p.DB).One(t, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'slow_q'"))

		// Killed in the middle, the run is started again.
		p.Write(p.Head(url) + strings.Replace(slowYAML, "pg_sleep(0.002) IS NOT NULL", "g < 100", 1) + "  items: {source: pg, table: public.items, key: [id], incremental_column: at}\n")
		s = p.Serve()
		require.Contains(t, []string{"cancelled", "error"}, s.RunByID(id).State)
		s.Sync("slow")
		s.Stop()
		p.Write(p.Head(url) + slowYAML)
		s = p.Serve()
		id = s.Begin("/api/store/sync/slow?full=true")
		busy(t, url, 1)
		s.Crash()
		busy(t, url, 0)
		p.Write(p.Head(url) + strings.Replace(slowYAML, "pg_sleep(0.002) IS NOT NULL", "g < 200", 1))
		s = p.Serve()
		require.Equal(t, "error", s.RunByID(id).State)
		harness.Compare(t, url, "SELECT g AS id FROM generate_series(1, 199) g", s, "slow_q", "id")
		s.Stop()
		leftovers(t, p)
	})
}

// Elsewhere than on a terminal progress is plain lines, on a terminal a bar, with --json nothing but the end.
func TestProgress(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, `CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 3000); ANALYZE t`)
		yaml := `datasets: {slow: {source: pg, queries: {q: {sql: "SELECT id FROM t WHERE pg_sleep(0.0021) IS NOT NULL"}}}}` + "\n"
		p := harness.With(t, url, yaml)
		terminal := p.StartTerminal("sync")
		r, ok := terminal.Wait(60 * time.Second)
		require.True(t, ok)
		require.Equal(t, 0, r.Code, r)
		contains(t, r.Stderr, "slow", "%", "rows/s", "\r")
		plain := p.Code(0, "sync")
		contains(t, plain.Stderr, "slow: ", " rows, ", " KiB, ", " rows/s")
		require.NotContains(t, plain.Stderr, "\r")
		contains(t, plain.Stdout, "slow: full sync", "3,000 rows read")
		quiet := p.Code(0, "sync", "--json")
		require.Empty(t, quiet.Stderr)
		var run harness.Run
		decode(t, quiet.Stdout, &run)
		require.EqualValues(t, 3000, run.RowsRead)
	})
}

// init writes a file from the live catalog that check accepts and sync fills, whatever the tables are called; it keeps the
// password out, and never overwrites.
func TestInit(t *testing.T) {
	each(t, func(t *testing.T, pgURL string) {
		u, err := url.Parse(pgURL)
		require.NoError(t, err)
		db := strings.TrimPrefix(u.Path, "/")
		role := "init_" + db
		harness.PG(t, pgURL, commandsSQL, relationsSQL, messagesSQL, `
			CREATE SCHEMA other; CREATE TABLE other.items (id int PRIMARY KEY, updated_at timestamptz DEFAULT now(), created_at timestamptz); INSERT INTO other.items VALUES (1);
			CREATE TABLE "MAIN" (a int); CREATE TABLE "main" (b int); CREATE TABLE pintail (c int); CREATE TABLE "1st" (d int); CREATE TABLE "yes" (id int PRIMARY KEY); CREATE TABLE "null" (id int);
			CREATE TABLE "with: colon # and 'quotes'" ("a: b" int PRIMARY KEY, "# c" text, "- d" timestamptz); CREATE TABLE "`+strings.Repeat("ä", 31)+`" (id int); CREATE TABLE "😀" (id int); CREATE TABLE "a.b" ("c.d" int PRIMARY KEY);
			CREATE TABLE _pintail_x (id int); CREATE TABLE "line
break" (id int); CREATE TABLE "tab	here" (id int); CREATE TABLE "${HOME}" (id int); CREATE TABLE "back\slash" ("x\y" int PRIMARY KEY);
			CREATE TABLE composite (a int, "B" text, updated_at timestamp, PRIMARY KEY ("B", a)); CREATE TABLE secret (id int); CREATE TABLE "hidden
  injected: {source: main_db, table: public.items}
#" (id int);
			CREATE ROLE `+role+` LOGIN PASSWORD 'p@ss/word#%'; GRANT USAGE ON SCHEMA other, "Inte.gration" TO `+role+`; GRANT SELECT ON ALL TABLES IN SCHEMA public, other, "Inte.gration" TO `+role+`; REVOKE ALL ON secret, "hidden
  injected: {source: main_db, table: public.items}
#" FROM `+role)
		t.Cleanup(func() { harness.PG(t, pgURL, `DROP OWNED BY `+role, `DROP ROLE `+role) })
		u.User = url.UserPassword(role, "p@ss/word#%")
		p := harness.New(t)
		out := p.OK("init", u.String())
		contains(t, out, "Wrote pintail.yaml", "pintail check")
		text := readFile(t, p.Config)
		contains(t, text, "key: [id]", "incremental_column: updated_at", "${PGPASSWORD}", "secret", "GRANT SELECT")
		require.NotContains(t, text, "p@ss")
		require.NotContains(t, text, "p%40ss")
		again := p.Code(2, "init", u.String())
		contains(t, again.Stderr, "not overwritten")
		require.Equal(t, text, readFile(t, p.Config))

		p.Env = []string{"PGPASSWORD=p@ss/word#%"}
		p.OK("check", "--brief")
		p.OK("sync")
		var found []checkJSON
		decode(t, p.OK("check", "--json"), &found)
		f := harness.File(p.DB)
		tables := 0
		for _, c := range found {
			_, after, ok := strings.Cut(text, "\n  "+c.Dataset+":")
			require.True(t, ok, c.Dataset)
			_, after, _ = strings.Cut(after, "table: ")
			name, _, _ := strings.Cut(after, "\n")
			if strings.HasPrefix(name, `"`) {
				name = strings.ReplaceAll(yamlText(t, name), "$${", "${")
			}
			harness.Compare(t, pgURL, "SELECT * FROM "+name, f, c.Table)
			tables++
		}
		require.Greater(t, tables, 25)
		require.NotContains(t, p.OK("status"), "injected")
		p.OK("sync")
		p.OK("verify")

		// The variables of libpq lead there as well; --schema chooses; and a server that is not there is an error.
		p = harness.New(t)
		p.Env = []string{"PGHOST=127.0.0.1", "PGPORT=" + u.Port(), "PGDATABASE=" + db, "PGUSER=" + role, "PGPASSWORD=p@ss/word#%", "PGSSLMODE=disable"}
		contains(t, p.OK("init", "--schema", "other"), "with 1 table.")
		text = readFile(t, p.Config)
		contains(t, text, "table: other.items")
		p.OK("sync")
		require.Equal(t, "1", harness.File(p.DB).One(t, "SELECT count(*) FROM items"))
		p = harness.New(t)
		r := p.Code(1, "init", "postgres://x@127.0.0.1:1/x")
		contains(t, r.Stderr, "hint:")
		_, err = os.Stat(p.Config)
		require.ErrorIs(t, err, os.ErrNotExist)
		r = p.Code(1, "init", strings.Replace(u.String(), "%25", "", 1))
		contains(t, r.Stderr, "password")
		require.NotContains(t, r.Stderr, "p@ss")
	})
}

// yamlText reads a double-quoted YAML scalar of the forms that init writes.
func yamlText(t testing.TB, s string) string {
	t.Helper()
	var v string
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}

// The configuration's variables, key/value connection texts, a socket, TLS with verification, and a passfile.
func TestConnections(t *testing.T) {
	t.Parallel()
	s := pgtest.StartT(t, pgtest.Options{Major: pgtest.Newest, TLS: true})
	pgURL := s.DB(t)
	harness.PG(t, pgURL, commandsSQL)
	u, err := url.Parse(pgURL)
	require.NoError(t, err)
	db := strings.TrimPrefix(u.Path, "/")
	port := u.Port()
	p := harness.New(t)
	passfile := filepath.Join(p.Dir, "pgpass")
	require.NoError(t, os.WriteFile(passfile, []byte("127.0.0.1:"+port+":*:postgres:"+pgtest.Password+"\n"), 0o600))
	for _, c := range []struct {
		url, fails string
		env        []string
		code       int // of check
	}{
		{"postgres://postgres:${PW}@localhost:" + port + "/" + db + "?sslmode=verify-full&sslrootcert=" + s.CAFile(), "", []string{"PW=" + pgtest.Password}, 0},
		{"postgres://postgres:${PW:-" + pgtest.Password + "}@127.0.0.1:" + port + "/" + db + "?sslmode=require", "", nil, 0},
		{"host=127.0.0.1 port=" + port + " user=postgres password=" + pgtest.Password + " dbname=" + db, "", nil, 0},
		{"postgres://postgres@127.0.0.1:" + port + "/" + db, "", []string{"PGPASSFILE=" + passfile}, 0},
		{s.SocketURL(db), "", nil, 0},
		{"postgres:///", "", []string{"PGHOST=127.0.0.1", "PGPORT=" + port, "PGUSER=postgres", "PGPASSWORD=" + pgtest.Password, "PGDATABASE=" + db}, 0},
		{"postgres://postgres:" + pgtest.Password + "@localhost:" + port + "/" + db + "?sslmode=verify-full", "certificate", nil, 1},
		{"postgres://postgres:wrong@127.0.0.1:" + port + "/" + db, "password", nil, 1},
		{"postgres://postgres:" + pgtest.Password + "@127.0.0.1:" + port + "/nowhere", "nowhere", nil, 2},
	} {
		p.Env = c.env
		p.Write(p.Head(c.url) + commandsYAML)
		if c.fails == "" {
			p.OK("sync", "--full")
			harness.Compare(t, pgURL, "SELECT * FROM items", harness.File(p.DB), "items", "id")
			continue
		}
		r := p.Code(c.code, "check")
		contains(t, r.Stderr, c.fails, "hint:")
		require.NotContains(t, r.Stderr, pgtest.Password)
		require.NotContains(t, r.Stderr, "wrong@")
	}
}

// A password that init was given is not written down, and the user is told how to give it: the next command needs it.
func TestInitPassword(t *testing.T) {
	newest(t, func(t *testing.T, pgURL string) {
		harness.PG(t, pgURL, `CREATE TABLE things (id int PRIMARY KEY)`)
		p := harness.New(t)
		out := p.OK("init", pgURL)
		contains(t, out, "Wrote pintail.yaml with 1 table.", "The password was left out", "Next: export PGPASSWORD=…, then pintail check")
		contains(t, readFile(t, p.Config), "# the password was left out", "${PGPASSWORD}")
		contains(t, p.Code(2, "check").Stderr, "PGPASSWORD")
		p.Env = []string{"PGPASSWORD=" + pgtest.Password}
		contains(t, p.OK("check"), "1 table, no problems. Next")

		// None was given in the URL.
		u, err := url.Parse(pgURL)
		require.NoError(t, err)
		u.User = url.User(u.User.Username())
		p = harness.New(t)
		p.Env = []string{"PGPASSWORD=" + pgtest.Password}
		contains(t, p.OK("init", u.String()), "Wrote pintail.yaml with 1 table. Next: pintail check")
		p.OK("check")
	})
}

// Warnings about the configuration are told by the commands that are about it, once each.
func TestWarningsAreToldOnce(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, commandsSQL)
		p := harness.With(t, url, `datasets:
  items: {source: pg, table: public.items, incremental_column: at}
  other: {source: pg, table: public.other, lookback: 1h}
`)
		r := p.Code(0, "check")
		require.Equal(t, 1, strings.Count(r.Stdout+r.Stderr, "no key"), r)
		require.Equal(t, 1, strings.Count(r.Stdout+r.Stderr, "lookback"), r)
		contains(t, r.Stdout, "2 tables, no problems, ", " warnings listed above")
		for _, args := range [][]string{{"sync"}, {"status"}, {"runs"}, {"verify"}, {"query", "SELECT 1"}} {
			require.Empty(t, p.Code(0, args...).Stderr, args)
		}
		s := p.Serve()
		require.Equal(t, 1, strings.Count(s.Log(), "has no effect without incremental_column"))
		p.Write(strings.Replace(readFile(t, p.Config), ", lookback: 1h", "", 1))
		require.Empty(t, p.Code(0, "reload").Stderr)
		contains(t, p.OK("query", "SELECT 1 AS x"), "1 row in ")
		contains(t, p.OK("verify", "other"), "other: equal, 1 row in ")
	})
}
