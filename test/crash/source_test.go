package crash

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// touch changes rows on both sides of the gate and makes some, so that an increment has something to bring.
const touch = `UPDATE big SET pad = 'touched', updated_at = now() WHERE id % 10 = 0; INSERT INTO big SELECT max(id) + 1, 'new' FROM big`

// watermarks is what the file has for the table big.
func watermarks(t *testing.T, p *harness.Project) string {
	t.Helper()
	return harness.File(p.DB).One(t, "SELECT watermark FROM _pintail.tables WHERE target = 'big'")
}

// The connection is cut after so many bytes: while connecting, while the tables are described, and in the middle of a
// COPY. The run is tried again and ends well.
func TestConnectionIsCut(t *testing.T) {
	t.Parallel()
	p, g, proxy, url := halted(t)
	g.open()
	cuts := 0
	for _, after := range []int64{0, 300, 2_500, 9_000, 100_000, 3_000_000} {
		for _, kind := range []string{"incremental", "full"} {
			if kind == "incremental" && after > 1_000_000 {
				continue // it is not that big
			}
			harness.PG(t, url, touch)
			args := []string{"big"}
			if kind == "full" {
				args = append(args, "--full")
			}
			proxy.CutAfter(after)
			r := synced(t, p, args...)
			cuts++
			if proxy.Cuts() != cuts {
				t.Fatalf("after %d bytes nothing was cut", after)
			}
			if r.Kind != kind {
				t.Errorf("cut after %d bytes: want a run of kind %s, got %s", after, kind, harness.Show(r))
			}
			same(t, url, harness.File(p.DB), bigObjects)
		}
	}
	clean(t, p, "big", "small")
}

// The source is away in the middle of a COPY and refuses connections for a while: readers have the last good data, the run
// goes on when the source is back, and it is still an increment.
func TestSourceIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	p, g, proxy, url := halted(t)
	s := p.Serve()
	before := s.SQL("SELECT count(*), sum(id), max(updated_at) FROM big")
	proxy.RefuseAfter(2 << 20)
	g.open()
	id := s.Begin("/api/store/sync/big")
	harness.Eventually(t, harness.RunTimeout, "the run is tried again", func() bool {
		return strings.Contains(s.Log(), "run will be tried again")
	})
	if r := s.RunByID(id); r.State != "running" {
		t.Errorf("want the run to wait for the source, got %s", harness.Show(r))
	}
	if now := s.SQL("SELECT count(*), sum(id), max(updated_at) FROM big"); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("readers see %v, before it was %v", now, before)
	}
	if status, body := s.Do(http.MethodGet, "/readyz", nil); status != http.StatusOK {
		t.Errorf("the server is not ready: %s", body)
	}
	if err := proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	if r := s.Follow(id); r.State != "ready" || r.Kind != "incremental" || r.RowsRead == 0 {
		t.Errorf("want an increment, got %s", harness.Show(r))
	}
	same(t, url, s, bigObjects)
	s.Stop()
	clean(t, p, "big", "small")
}

// The server crashes in the middle of a COPY and comes back, with recovery.
func TestServerCrashesInTheMiddle(t *testing.T) {
	majors := []int{pgtest.Newest}
	if long() {
		majors = pgtest.Majors()
	}
	for _, major := range majors {
		t.Run(fmt.Sprintf("pg%d", major), func(t *testing.T) {
			t.Parallel()
			server := pgtest.StartT(t, pgtest.Options{Major: major})
			url := server.DB(t)
			harness.PG(t, url, bigTable)
			p := with(t, url, bigDatasets)
			s := p.Serve()
			s.Sync("big")
			harness.PG(t, url, bigFill)
			for _, kind := range []string{"incremental", "full"} {
				g := newGate(t, url) // its session ends with the server
				g.close()
				path := "/api/store/sync/big"
				if kind == "full" {
					path += "?full=true"
				}
				id := s.Begin(path)
				g.reached()
				if err := server.Stop(pgtest.Immediate); err != nil {
					t.Fatal(err)
				}
				if err := server.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				if r := s.Follow(id); r.State != "ready" || r.Kind != kind {
					t.Errorf("want a good run of kind %s, got %s", kind, harness.Show(r))
				}
				same(t, url, s, bigObjects)
			}
			s.Stop()
			clean(t, p, "big")
		})
	}
}

// Someone ends Pintail's sessions on the source while they read: all of them, only the one that reads, only the others.
func TestSessionsAreTerminated(t *testing.T) {
	t.Parallel()
	p, g, _, url := halted(t)
	s := p.Serve()
	const waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
	for _, c := range []struct{ name, which string }{
		{"all", ""},
		{"the reader", " AND pid IN (" + waiting + ")"},
		{"the others", " AND pid NOT IN (" + waiting + ")"},
	} {
		for _, kind := range []string{"incremental", "full"} {
			path := "/api/store/sync/big"
			if kind == "full" {
				path += "?full=true"
			}
			harness.PG(t, url, touch)
			id := s.Begin(path)
			g.reached()
			n := g.count("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'pintail' AND datname = current_database()" + c.which)
			g.open()
			r := s.Follow(id)
			if r.State != "ready" || r.Kind != kind {
				t.Errorf("%s (%d sessions): want a good run of kind %s, got %s", c.name, n, kind, harness.Show(r))
			}
			same(t, url, s, bigObjects)
			g.close()
		}
	}
	s.Stop()
	clean(t, p, "big", "small")
}

// A statement that takes longer than query_timeout, or that someone cancels, is an error that says so and is not tried
// again; the watermark and the last good data stay, and the next run is an increment again.
func TestStatementsAreCancelled(t *testing.T) {
	t.Parallel()
	p, g, _, url := halted(t)
	p.Write(strings.Replace(p.Head(url)+bigDatasets, "incremental_column: updated_at}", "incremental_column: updated_at, query_timeout: 3s}", 1))
	g.open()
	synced(t, p, "big")
	for _, c := range []struct {
		name, code, hint string
		cause            func()
	}{
		{"timeout", "source_timeout", "query_timeout", func() {}},
		{"cancelled", "source_timeout", "cancelled", func() {
			g.reached()
			g.count("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE application_name = 'pintail' AND datname = current_database()")
		}},
	} {
		before, mark := dump(t, p, bigObjects), watermarks(t, p)
		harness.PG(t, url, touch)
		g.close()
		pr := p.Start("sync", "big", "--json")
		c.cause()
		r, ok := pr.Wait(harness.CommandTimeout)
		if !ok || r.Code != 1 {
			t.Fatalf("%s: want exit code 1: %s", c.name, r)
		}
		var run harness.Run
		decode(t, r.Stdout, &run)
		if run.State != "error" || run.Code != c.code || !strings.Contains(run.Hint, c.hint) {
			t.Errorf("%s: want code %s and a hint about %s, got %s", c.name, c.code, c.hint, harness.Show(run))
		}
		contains(t, r.Stderr, "big", "hint: ")
		unchanged(t, p, bigObjects, before)
		if now := watermarks(t, p); now != mark {
			t.Errorf("%s: the watermark changed from %s to %s", c.name, mark, now)
		}
		if st := status(t, p, "big"); st.State != "error" || st.Code != c.code || st.Rows == 0 {
			t.Errorf("%s: want the status to say so, got %s", c.name, harness.Show(st))
		}
		clean(t, p, "big", "small")
		g.open()
		if r := synced(t, p, "big"); r.Kind != "incremental" {
			t.Errorf("%s: want an increment afterwards, got %s", c.name, harness.Show(r))
		}
		same(t, url, harness.File(p.DB), bigObjects)
	}
}
