package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

// feedOf describes and reads a table.
func feedOf(t testing.TB, n *Snapshot, q source.Query, workers int) (*source.Description, change.Feed) {
	t.Helper()
	d, err := n.Describe(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	f, err := n.Read(t.Context(), d, source.Range{}, workers, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d, f
}

func database(t testing.TB, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

const rowsSQL = "CREATE TABLE a AS SELECT i AS id, repeat('x', 300) AS s FROM generate_series(1, 60000) i"

// The connection is cut in the middle of the rows: a clear, transient error, and the next snapshot works.
func TestCut(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	u := s.DB(t)
	exec(t, connect(t, u), rowsSQL)
	for _, mode := range []string{"copy", "cursor"} {
		for _, workers := range []int{1, 3} {
			proxy := pgtest.NewProxy(t, s)
			src := openSource(t, Config{URL: proxy.URL(database(t, u)), Read: mode, FetchRows: 5000})
			n := snapshotOf(t, src)
			d, f := feedOf(t, n, table("a"), workers)
			proxy.CutAfter(5 << 20)
			err := drain(t.Context(), f, d.Types(), nil)
			if proxy.Cuts() != 1 || fault.CodeOf(err) != fault.SourceUnavailable || !fault.Transient(err) || !strings.Contains(err.Error(), "table a") || fault.HintOf(err) == "" {
				t.Errorf("%s, %d workers, %d cuts: %s %v", mode, workers, proxy.Cuts(), fault.CodeOf(err), err)
			}
			if err := n.Close(); err != nil {
				t.Error(err)
			}
			n = snapshotOf(t, src)
			if rows := readAll(t, n, table("a"), source.Range{}, workers); len(rows) != 60000 {
				t.Errorf("afterwards: %d rows", len(rows))
			}
			n.Close()
			if len(src.slots) != 0 {
				t.Errorf("%d slots are lost", len(src.slots))
			}
		}
	}
}

// The server restarts between two runs: warm connections are dead, and the next snapshot does not notice. While it is
// down the error is transient.
func TestRestart(t *testing.T) {
	s := pgtest.StartT(t, pgtest.Options{Major: pgtest.Newest})
	u := s.DB(t)
	exec(t, connect(t, u), rowsSQL)
	src := openSource(t, Config{URL: u})
	read := func() {
		t.Helper()
		n := snapshotOf(t, src)
		if rows := readAll(t, n, table("a"), source.Range{}, 3); len(rows) != 60000 {
			t.Errorf("%d rows", len(rows))
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	read()
	if len(src.idle) < 2 {
		t.Errorf("%d warm connections", len(src.idle))
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	read()
	n := snapshotOf(t, src)
	d, f := feedOf(t, n, table("a"), 2)
	if err := s.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	if err := drain(t.Context(), f, d.Types(), nil); !fault.Transient(err) {
		t.Errorf("reading from a stopped server: %s %v", fault.CodeOf(err), err)
	}
	n.Close()
	if _, err := src.Snapshot(t.Context(), source.SnapshotOptions{}); !fault.Transient(err) {
		t.Errorf("a stopped server: %s %v", fault.CodeOf(err), err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	read()
}

func TestStatementTimeout(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		src := openSource(t, Config{URL: s.DB(t)})
		for _, q := range []source.Query{{SQL: "SELECT 1 AS a, pg_sleep(30)::text AS b"}, {SQL: "SELECT i AS a, CASE WHEN i = 3000 THEN pg_sleep(30)::text END AS b FROM generate_series(1, 3000) i"}} {
			n, err := src.snapshot(t.Context(), source.SnapshotOptions{StatementTimeout: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			d, f := feedOf(t, n, q, 1)
			err = drain(t.Context(), f, d.Types(), nil)
			if fault.CodeOf(err) != fault.SourceTimeout || !strings.Contains(fault.HintOf(err), "query_timeout") {
				t.Errorf("%s %v (%s)", fault.CodeOf(err), err, fault.HintOf(err))
			}
			n.Close()
		}
	})
}

// A cancelled context ends a read within a second, whether rows flow or not, and the server stops working on it.
func TestCancel(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	u := s.DB(t)
	c := connect(t, u)
	exec(t, c, rowsSQL)
	for name, q := range map[string]source.Query{
		"no row yet": {SQL: "SELECT 1 AS a, pg_sleep(60)::text AS b"},
		"rows stop":  {SQL: "SELECT i AS a, CASE WHEN i = 200000 THEN pg_sleep(60)::text END AS b FROM generate_series(1, 200000) i"},
		"rows flow":  {SQL: "SELECT 1 AS a FROM a, a b"},
	} {
		for _, mode := range []string{"copy", "cursor"} {
			src := openSource(t, Config{URL: u, Read: mode})
			n := snapshotOf(t, src)
			d, f := feedOf(t, n, q, 1)
			ctx, cancel := context.WithCancel(t.Context())
			errs := make(chan error, 1)
			go func() { errs <- drain(ctx, f, d.Types(), nil) }()
			for running := false; !running; {
				if err := c.QueryRow(t.Context(), "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'").Scan(&running); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			cancel()
			err := <-errs
			if took := time.Since(start); took > time.Second {
				t.Errorf("%s, %s: %s", name, mode, took)
			}
			if fault.CodeOf(err) != fault.Cancelled {
				t.Errorf("%s, %s: %v", name, mode, err)
			}
			n.Close()
			deadline := time.Now().Add(5 * time.Second)
			for running := true; running; {
				if err := c.QueryRow(t.Context(), "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'").Scan(&running); err != nil {
					t.Fatal(err)
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s, %s: the server still works on it", name, mode)
				}
			}
		}
	}
}

// Close ends readers that nobody reads any more.
func TestCloseEndsReaders(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	src := openSource(t, Config{URL: s.DB(t)})
	n := snapshotOf(t, src)
	d, f := feedOf(t, n, source.Query{SQL: "SELECT 1 AS a, pg_sleep(60)::text AS b"}, 1)
	r := make(chan error, 1)
	go func() { r <- drain(t.Context(), f, d.Types(), nil) }()
	for busy := false; !busy; {
		n.mu.Lock()
		busy = len(n.out) > 0
		n.mu.Unlock()
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := <-r; err == nil {
		t.Error("the read did not end")
	}
}

// Large values and many columns.
func TestLarge(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		u := s.DB(t)
		c := connect(t, u)
		exec(t, c, "CREATE TABLE big (id int, v text, b bytea)")
		exec(t, c, "INSERT INTO big SELECT 1, repeat('0123456789', 4000000), NULL UNION ALL SELECT i, 'small ' || repeat('x', i), decode(repeat('ff', i), 'hex') FROM generate_series(2, 3000) i")
		want := copied(t, c, "SELECT * FROM big")
		var cols []string
		for i := range 1600 {
			cols = append(cols, fmt.Sprintf("%d AS c%d", i, i))
		}
		wide := "SELECT " + strings.Join(cols, ", ") + " FROM generate_series(1, 3000)"
		for _, mode := range []string{"copy", "cursor"} {
			src := openSource(t, Config{URL: u, Read: mode, FetchRows: 100})
			n := snapshotOf(t, src)
			equalRows(t, readAll(t, n, table("big"), source.Range{}, 2), want)
			rows := readAll(t, n, source.Query{SQL: wide}, source.Range{}, 2)
			if len(rows) != 3000 || len(fields(rows[0])) != 1600 {
				t.Errorf("%d rows", len(rows))
			}
			n.Close()
			for _, c := range src.idle {
				if len(c.wire.buf) > bufferBytes+100 {
					t.Errorf("a buffer of %d bytes is kept", len(c.wire.buf))
				}
			}
		}
		// A text expression for many columns: functions take a hundred arguments.
		exec(t, c, "CREATE TABLE stamps ("+columnsOf(300, "timestamptz")+"); INSERT INTO stamps (c0, c299) VALUES ('294276-12-31 00:00+00', '294276-12-31 00:00+00')")
		n := snapshotOf(t, openSource(t, Config{URL: u}))
		rows := readAll(t, n, source.Query{Table: "stamps", Text: true}, source.Range{}, 1)
		f := fields(rows[0])
		if want := `{"c0": "294276-12-31 00:00:00+00", "c299": "294276-12-31 00:00:00+00"}`; string(f[300]) != want {
			t.Errorf("%s", f[300])
		}
	})
}

func columnsOf(n int, typ string) string {
	var cols []string
	for i := range n {
		cols = append(cols, fmt.Sprintf("c%d %s", i, typ))
	}
	return strings.Join(cols, ", ")
}

// TLS and UNIX sockets carry the same rows.
func TestTransports(t *testing.T) {
	s := pgtest.StartT(t, pgtest.Options{Major: 14, TLS: true})
	u := s.DB(t)
	c := connect(t, u)
	exec(t, c, rowsSQL)
	want := copied(t, c, "SELECT * FROM a")
	db := database(t, u)
	secure := strings.Replace(u, "sslmode=disable", "sslmode=verify-full&sslrootcert="+url.QueryEscape(s.CAFile()), 1)
	if secure == u {
		secure = u + "&sslmode=verify-full&sslrootcert=" + url.QueryEscape(s.CAFile())
	}
	for name, target := range map[string]string{"tls": secure, "socket": s.SocketURL(db)} {
		src := openSource(t, Config{URL: target})
		for range 2 {
			n := snapshotOf(t, src)
			equalRows(t, readAll(t, n, table("a"), source.Range{}, 3), want)
			n.Close()
		}
		n := snapshotOf(t, src)
		d, f := feedOf(t, n, source.Query{SQL: "SELECT 1 AS a, pg_sleep(60)::text AS b"}, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		if err := drain(ctx, f, d.Types(), nil); err == nil || time.Since(start) > 2*time.Second {
			t.Errorf("%s: %v after %s", name, err, time.Since(start))
		}
		cancel()
	}
	// Without the CA's certificate the server is not believed.
	src := openSource(t, Config{URL: strings.Replace(secure, url.QueryEscape(s.CAFile()), "", 1)})
	if _, err := src.Snapshot(t.Context(), source.SnapshotOptions{}); fault.CodeOf(err) != fault.SourceUnavailable || !strings.Contains(fault.HintOf(err), "sslrootcert") {
		t.Errorf("%v (%s)", err, fault.HintOf(err))
	}
}

// A second connection that cannot see the snapshot, as behind a load balancer: all is read over the first, and said so.
func TestSnapshotNotImported(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	u := s.DB(t)
	exec(t, connect(t, u), rowsSQL)
	var log syncBuffer
	src := openSource(t, Config{URL: u, Log: slog.New(slog.NewTextHandler(&log, nil))})
	n := snapshotOf(t, src)
	n.id = "00000003-0000001B-1"
	if rows := readAll(t, n, table("a"), source.Range{}, 4); len(rows) != 60000 {
		t.Errorf("%d rows", len(rows))
	}
	if got := log.String(); strings.Count(got, "one connection only") != 1 || !strings.Contains(got, "load balancer") {
		t.Error(got)
	}
	n.Close()
	if len(src.slots) != 0 {
		t.Errorf("%d slots are lost", len(src.slots))
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// DDL that waits for the coordinator's lock makes workers wait behind it: the coordinator reads what they cannot.
func TestSchemaChangeWaits(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	u := s.DB(t)
	c, ddl := connect(t, u), connect(t, u)
	exec(t, c, rowsSQL)
	n := snapshotOf(t, openSource(t, Config{URL: u}))
	d, err := n.Describe(t.Context(), table("a"))
	if err != nil {
		t.Fatal(err)
	}
	altered := make(chan error, 1)
	go func() {
		_, err := ddl.Exec(context.Background(), "ALTER TABLE a ADD COLUMN more int")
		altered <- err
	}()
	for waiting := false; !waiting; {
		if err := c.QueryRow(t.Context(), "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'a'::regclass").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if rows := readDescribed(t, n, d, source.Range{}, 3); len(rows) != 60000 {
		t.Errorf("%d rows", len(rows))
	}
	n.Close()
	if err := <-altered; err != nil {
		t.Error(err)
	}
}

// A table that is locked for good is a timeout with a hint, not a wait without end.
func TestLocked(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	u := s.DB(t)
	c := connect(t, u)
	exec(t, c, "CREATE TABLE a (x int); CREATE TABLE b (x int)")
	exec(t, c, "BEGIN; LOCK TABLE a")
	n := snapshotOf(t, openSource(t, Config{URL: u}))
	start := time.Now()
	_, err := n.Describe(t.Context(), table("a"))
	if fault.CodeOf(err) != fault.SourceTimeout || time.Since(start) > 2*coordinatorLock || !strings.Contains(fault.HintOf(err), "ALTER TABLE") {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	if _, err := n.Describe(t.Context(), table("b")); err != nil {
		t.Error(err)
	}
}

// The pool bounds connections; one snapshot after the other gets its turn.
func TestPool(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	u := s.DB(t)
	c := connect(t, u)
	exec(t, c, rowsSQL)
	src := openSource(t, Config{URL: u, Pool: 2})
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			n, err := src.snapshot(t.Context(), source.SnapshotOptions{ApplicationName: "pool test"})
			if err != nil {
				t.Error(err)
				return
			}
			defer n.Close()
			d, err := n.Describe(t.Context(), table("a"))
			if err != nil {
				t.Error(err)
				return
			}
			f, err := n.Read(t.Context(), d, source.Range{}, 4, nil)
			if err == nil {
				err = drain(t.Context(), f, d.Types(), nil)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var open int
	if err := c.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").Scan(&open); err != nil || open > 2 {
		t.Errorf("%d connections with a pool of 2: %v", open, err)
	}
	n := snapshotOf(t, src)
	m := snapshotOf(t, src)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := src.Snapshot(ctx, source.SnapshotOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third: %v", err)
	}
	n.Close()
	m.Close()
	src.Close()
	if _, err := src.Snapshot(t.Context(), source.SnapshotOptions{}); fault.CodeOf(err) != fault.Cancelled {
		t.Errorf("of a closed source: %v", err)
	}
}

// What every transaction sets for itself.
func TestPins(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		u := s.DB(t)
		c := connect(t, u)
		for _, set := range []string{"idle_in_transaction_session_timeout = 1000", "statement_timeout = 77000", "xmloption = 'document'", "lc_monetary = 'C'", "lock_timeout = 0"} {
			exec(t, c, "ALTER DATABASE "+ident(c.Config().Database)+" SET "+set)
		}
		src := openSource(t, Config{URL: u})
		n, err := src.snapshot(t.Context(), source.SnapshotOptions{StatementTimeout: 90 * time.Second, ApplicationName: "pintail test"})
		if err != nil {
			t.Fatal(err)
		}
		names := []string{"transaction_read_only", "transaction_isolation", "DateStyle", "IntervalStyle", "TimeZone", "extra_float_digits", "bytea_output", "lc_monetary", "client_encoding", "xmloption",
			"idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout", "application_name"}
		var list []string
		for _, name := range names {
			list = append(list, "current_setting('"+name+"')")
		}
		rs, err := n.ask(t.Context(), stmt("SELECT "+strings.Join(list, ", ")))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range names {
			got = append(got, rs[0].text(0, i))
		}
		want := "on|repeatable read|ISO, MDY|postgres|UTC|3|hex|C|UTF8|content|0|5s|90s|pintail test"
		if strings.Join(got, "|") != want {
			t.Errorf("%s\nwant %s", strings.Join(got, "|"), want)
		}
		if _, err := n.ask(t.Context(), stmt("SAVEPOINT pintail"), stmt("CREATE TABLE x (a int)")); sqlstate(err) != "25006" {
			t.Errorf("a write: %v", err)
		}
		n.Close()
		// Nothing of it stays on the connection.
		n = snapshotOf(t, src)
		rs, err = n.ask(t.Context(), stmt("SELECT current_setting('application_name'), current_setting('statement_timeout')"))
		if err != nil || rs[0].text(0, 0) != "pintail" || rs[0].text(0, 1) != "77s" {
			t.Errorf("%v: %v", rs, err)
		}
	})
}

// slowConn takes longer to write than pgconn waits before it begins to read in the background.
type slowConn struct{ net.Conn }

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(20 * time.Millisecond)
	return c.Conn.Write(b)
}

// What pgconn reads in the background after a slow write is not lost for the rows that follow.
func TestSlowWrites(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	u := s.DB(t)
	c := connect(t, u)
	exec(t, c, "CREATE TABLE a AS SELECT i AS id, 'x' || i AS s FROM generate_series(1, 1000) i")
	want := copied(t, c, "SELECT * FROM a")
	src := openSource(t, Config{URL: u})
	dial := src.config.DialFunc
	src.config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return slowConn{c}, err
	}
	for range 5 {
		n := snapshotOf(t, src)
		equalRows(t, readAll(t, n, table("a"), source.Range{}, 1), want)
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A read that fails or is left before its end does not cost the other tables their snapshot.
func TestSnapshotOutlivesReads(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		u := s.DB(t)
		c := connect(t, u)
		exec(t, c, rowsSQL)
		exec(t, c, "CREATE TABLE n (id int, v numeric(5,2), s text)")
		exec(t, c, "INSERT INTO n SELECT i, 1, repeat('x', 300) FROM generate_series(1, 60000) i; UPDATE n SET v = 'NaN' WHERE id = 40000")
		want, numbers := copied(t, c, "SELECT * FROM a"), copied(t, c, "SELECT id, v, s FROM n WHERE id <> 40000")
		for _, mode := range []string{"auto", "cursor"} {
			for _, workers := range []int{1, 3} {
				src := openSource(t, Config{URL: u, Read: mode, FetchRows: 7000})
				n := snapshotOf(t, src)
				exec(t, c, "INSERT INTO a VALUES (-1, 'after the snapshot')")
				for name, q := range map[string]source.Query{
					"out of range":  table("n"),
					"error at once": {SQL: "SELECT 1 / (id - id) AS x FROM a"},
					"error later":   {SQL: "SELECT 1 / (id - 50000) AS x, s FROM a ORDER BY id"},
				} {
					d, f := feedOf(t, n, q, workers)
					if err := drain(t.Context(), f, d.Types(), nil); err == nil {
						t.Errorf("%s: no error", name)
					}
				}
				// Left by its consumer, in the middle of a row's message and before any.
				for range 2 {
					d, f := feedOf(t, n, source.Query{SQL: "SELECT a.* FROM a, a b"}, workers)
					ctx, cancel := context.WithCancel(t.Context())
					r, err := f.Next(ctx)
					if err != nil {
						t.Fatal(err)
					}
					chunk := newChunk(d.Types())
					chunk.lend()
					if _, err := r.Read(&chunk.Chunk); err != nil {
						t.Fatal(err)
					}
					cancel()
					start := time.Now()
					if err := r.Close(); err != nil || time.Since(start) > goodbye {
						t.Errorf("left: %v after %s", err, time.Since(start))
					}
				}
				equalRows(t, readAll(t, n, table("a"), source.Range{}, workers), want)
				rows := readAll(t, n, source.Query{Table: "n", Text: true}, source.Range{}, workers)
				var kept [][]byte
				for _, row := range rows {
					if f := fields(row); f[3] == nil {
						kept = append(kept, tuple(f[:3]...))
					} else if string(f[3]) != `{"v": "NaN"}` {
						t.Errorf("%s", f[3])
					}
				}
				sortRows(kept)
				equalRows(t, kept, numbers)
				if err := n.Close(); err != nil {
					t.Error(err)
				}
				exec(t, c, "DELETE FROM a WHERE id = -1")
				if len(src.slots) != 0 {
					t.Errorf("%d slots are lost", len(src.slots))
				}
			}
		}
	})
}
