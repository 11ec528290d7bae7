package crash

import (
	"context"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// gate holds readers of the source in the middle of their COPY: one that comes to the gate's row waits until it is open.
type gate struct {
	t    *testing.T
	conn *pgx.Conn
}

const (
	bigTable = `
	CREATE TABLE big (id bigint PRIMARY KEY, pad text, updated_at timestamptz NOT NULL DEFAULT now());
	INSERT INTO big SELECT g, 'first' FROM generate_series(1, 500) g;
	CREATE TABLE small (id int PRIMARY KEY);
	INSERT INTO small SELECT generate_series(1, 100);
	CREATE FUNCTION gate(id bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN
		IF id = 25000 THEN PERFORM pg_advisory_lock_shared(7041); PERFORM pg_advisory_unlock_shared(7041); END IF;
		RETURN true;
	END $$`
	bigFill     = `INSERT INTO big SELECT g, repeat(md5(g::text), 8) FROM generate_series(501, 50000) g`
	bigDatasets = `
datasets:
  big: {source: pg, table: public.big, where: gate(id), key: [id], incremental_column: updated_at}
  small: {source: pg, table: public.small}
`
)

var bigObjects = []object{{"big", "SELECT * FROM big", []string{"id"}}}

func newGate(t *testing.T, url string) *gate { return &gate{t, harness.Conn(t, url)} }

func (g *gate) exec(sql string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := g.conn.Exec(ctx, sql); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gate) close() { g.t.Helper(); g.exec("SELECT pg_advisory_lock(7041)") }
func (g *gate) open()  { g.t.Helper(); g.exec("SELECT pg_advisory_unlock_all()") }

func (g *gate) count(sql string) (n int) {
	g.t.Helper()
	if err := g.conn.QueryRow(context.Background(), sql).Scan(&n); err != nil {
		g.t.Fatal(err)
	}
	return n
}

// reached waits until a reader stands before the gate.
func (g *gate) reached() {
	g.t.Helper()
	harness.Eventually(g.t, harness.RunTimeout, "the load is in its middle", func() bool {
		return g.count("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") > 0
	})
}

// left waits until no session of Pintail is on the database any more.
func (g *gate) left() {
	g.t.Helper()
	harness.Eventually(g.t, 5*time.Second, "no session is left on the source", func() bool {
		return g.count("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pintail' AND datname = current_database()") == 0
	})
}

// halted is a project whose copy has the first rows of a source that has many more by now, behind a closed gate, and a
// proxy before the source.
func halted(t *testing.T) (*harness.Project, *gate, *pgtest.Proxy, string) {
	t.Helper()
	server := pgtest.Get(t, pgtest.Newest)
	url := server.DB(t)
	harness.PG(t, url, bigTable)
	proxy := pgtest.NewProxy(t, server)
	p := with(t, proxy.URL(url[strings.LastIndexByte(url, '/')+1:strings.IndexByte(url, '?')]), bigDatasets)
	p.OK("sync")
	harness.PG(t, url, bigFill)
	g := newGate(t, url)
	g.close()
	return p, g, proxy, url
}

// SIGTERM in the middle of a big load: the server is gone within 10 seconds and says that all is well, readers have the
// data from before, nothing is left behind, and the next start takes the run up again by itself.
func TestSigtermInTheMiddleOfALoad(t *testing.T) {
	for _, c := range []struct {
		name   string
		full   bool
		before func(g *gate, proxy *pgtest.Proxy) // the signal
		after  func(g *gate, proxy *pgtest.Proxy) // the end of the process
	}{
		{"the server waits", true, func(*gate, *pgtest.Proxy) {}, func(g *gate, _ *pgtest.Proxy) { g.left(); g.open() }},
		{"increment", false, func(*gate, *pgtest.Proxy) {}, func(g *gate, _ *pgtest.Proxy) { g.left(); g.open() }},
		{"the network stalls", true, func(_ *gate, proxy *pgtest.Proxy) { proxy.Stall() }, func(g *gate, proxy *pgtest.Proxy) { proxy.Flow(); g.open() }},
		{"rows flow", true, func(g *gate, _ *pgtest.Proxy) { g.open() }, func(g *gate, _ *pgtest.Proxy) { g.left() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, g, proxy, url := halted(t)
			before := dump(t, p, bigObjects)
			s := p.Serve()
			path := "/api/store/sync/big"
			if c.full {
				path += "?full=true"
			}
			id := s.Begin(path)
			g.reached()
			c.before(g, proxy)
			if r := s.Stop(); r.Took > 10*time.Second {
				t.Errorf("it took %s to stop", r.Took)
			}
			c.after(g, proxy)
			clean(t, p, "big", "small")
			unchanged(t, p, bigObjects, before)

			s = p.Serve()
			kind := "incremental"
			if c.full {
				kind = "full"
			}
			runs := s.Runs("big")
			if len(runs) < 3 || runs[1].ID != id || runs[1].State == "ready" || runs[1].State == "running" || runs[1].EndedAt == nil {
				t.Fatalf("want the stopped run in the history, and one after it: %s", harness.Show(runs))
			}
			if runs[0].State != "ready" || runs[0].Kind != kind {
				t.Errorf("want a run of kind %s that was taken up at the start, got %s", kind, harness.Show(runs[0]))
			}
			if n := len(s.Runs("small")); n != 1 {
				t.Errorf("small was not running, yet it has %d runs", n)
			}
			same(t, url, s, bigObjects)
		})
	}
}

// The server is killed in the middle of a full rebuild that was asked for: the next start rebuilds, and does not only
// read what is new.
func TestKilledRebuildIsTakenUp(t *testing.T) {
	t.Parallel()
	p, g, _, url := halted(t)
	s := p.Serve()
	id := s.Begin("/api/store/sync/big?full=true")
	g.reached()
	s.Crash()
	g.open()
	harness.PG(t, url, "DELETE FROM big WHERE id % 3 = 0") // which only a rebuild sees
	s = p.Serve()
	runs := s.Runs("big")
	if runs[1].ID != id || runs[1].State != "error" || runs[1].Kind != "full" || runs[0].State != "ready" || runs[0].Kind != "full" {
		t.Errorf("want a full run after the one that was killed, got %s", harness.Show(runs[:2]))
	}
	same(t, url, s, bigObjects)
}

// Ctrl-C on `pintail sync`: exit code 130, and nothing has happened.
func TestInterruptedSync(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			p, g, _, url := halted(t)
			before := dump(t, p, bigObjects)
			pr := p.Start("sync", "big")
			g.reached()
			begun := time.Now()
			pr.Signal(sig)
			r := end(t, pr)
			if took := time.Since(begun); r.Code != fault.ExitInterrupted || took > 10*time.Second {
				t.Errorf("want exit code 130 within 10 s, after %s: %s", took, r)
			}
			contains(t, r.Stderr, "stopped by "+sig.String())
			g.left()
			clean(t, p, "big", "small")
			unchanged(t, p, bigObjects, before)
			if runs := history(t, p, "big"); runs[0].State != "cancelled" || runs[0].EndedAt == nil {
				t.Errorf("want the run as cancelled, got %s", harness.Show(runs[0]))
			}
			g.open()
			synced(t, p, "big")
			same(t, url, harness.File(p.DB), bigObjects)
		})
	}
}

// A second signal ends the process at once, whatever it waits for.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	p, g, proxy, url := halted(t)
	before := dump(t, p, bigObjects)
	s := p.Serve()
	// A client that takes nothing more keeps the door open for a while.
	openReading(t, s, "SELECT 1 AS a, 1 AS b, repeat('x', 1000) AS pad FROM range(100000)")
	id := s.Begin("/api/store/sync/big?full=true")
	g.reached()
	proxy.Stall()
	s.Signal(syscall.SIGTERM)
	harness.Eventually(t, 5*time.Second, "the server refuses new requests", func() bool {
		res, err := http.Get(s.Base + "/readyz")
		if err == nil {
			_ = res.Body.Close()
		}
		return err != nil || res.StatusCode != http.StatusOK
	})
	if s.Ended() {
		t.Fatal("the first signal was enough: the test needs something to wait for")
	}
	begun := time.Now()
	s.Signal(syscall.SIGTERM)
	r, ok := s.Wait(harness.StopTimeout)
	if took := time.Since(begun); !ok || r.Code != fault.ExitInterrupted || took > 2*time.Second {
		t.Errorf("want the end at once with exit code 130, got %d after %s", r.Code, took)
	}
	s.Crash() // it has ended
	proxy.Flow()
	g.open()
	status(t, p, "big")
	clean(t, p, "big", "small")
	unchanged(t, p, bigObjects, before)
	s = p.Serve()
	if runs := s.Runs("big"); runs[1].ID != id || runs[1].State == "ready" {
		t.Errorf("want the stopped run in the history, got %s", harness.Show(runs[:2]))
	}
	s.Stop()

	g.close()
	pr := p.Start("sync", "--full", "big")
	g.reached()
	proxy.Stall()
	pr.Signal(syscall.SIGINT)
	begun = time.Now()
	pr.Signal(syscall.SIGTERM) // the kernel would make one of two that are the same
	if r := end(t, pr); r.Code != fault.ExitInterrupted || time.Since(begun) > 2*time.Second {
		t.Errorf("want the end at once with exit code 130, after %s: %s", time.Since(begun), r)
	}
	proxy.Flow()
	g.open()
	synced(t, p, "big")
	same(t, url, harness.File(p.DB), bigObjects)
}
