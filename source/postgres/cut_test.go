package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

// writers commit transactions, most of them small, on several connections until stop, which waits for them.
// Each value of the channel is good for one.
func writers(t *testing.T, url string, n int) (allow chan struct{}, stop func()) {
	t.Helper()
	allow = make(chan struct{}, 1000)
	ctx := t.Context()
	var all sync.WaitGroup
	for w := range n {
		c := connect(t, url)
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			for range allow {
				id := rng.IntN(400)
				sql := fmt.Sprintf(`BEGIN; INSERT INTO a VALUES (%d, %d) ON CONFLICT (id) DO UPDATE SET n = excluded.n; DELETE FROM a WHERE id = %d; COMMIT`, id, rng.IntN(1000), (id+7)%400)
				if id%10 == 0 {
					sql = fmt.Sprintf(`BEGIN; SAVEPOINT s; INSERT INTO a VALUES (%d, 0) ON CONFLICT DO NOTHING; ROLLBACK TO s; UPDATE a SET n = n + 1 WHERE id = %d; SET LOCAL synchronous_commit = off; COMMIT`, id, id)
				}
				if id%50 == 1 {
					sql = fmt.Sprintf(`BEGIN; INSERT INTO a SELECT i, 0 FROM generate_series(%d, %d) i; SAVEPOINT s; DELETE FROM a WHERE id >= 1000; ROLLBACK TO s; DELETE FROM a WHERE id = %d; COMMIT`,
						1000*(w+1), 1000*(w+1)+500, 1000*(w+1)+7)
				}
				if id%50 == 2 {
					sql = fmt.Sprintf(`BEGIN; DELETE FROM a WHERE id BETWEEN %d AND %d; COMMIT`, 1000*(w+1), 1000*(w+1)+500)
				}
				if _, err := c.Exec(ctx, sql); err != nil {
					if state := sqlstate(err); state != "40P01" && state != "23505" { // a deadlock, and a row that is there
						t.Error(err)
						return
					}
					_, _ = c.Exec(ctx, "ROLLBACK")
				}
			}
		})
	}
	return allow, func() { close(allow); all.Wait() }
}

// eachWay runs fn on every server, and once more with transactions that are sent while they run.
func eachWay(t *testing.T, fn func(t *testing.T, s *pgtest.Server, how string)) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		ways := histories(s)
		for _, how := range []string{"", ways[len(ways)-1]} {
			t.Run("way="+how, func(t *testing.T) { fn(t, s, how) })
		}
	})
}

// A cut's batch ends exactly where a snapshot stands, while other sessions commit.
func TestStreamCut(t *testing.T) {
	eachWay(t, func(t *testing.T, s *pgtest.Server, how string) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE a (id int PRIMARY KEY, n int); INSERT INTO a SELECT i, i FROM generate_series(1, 200) i`)
		o := source.StreamOptions{Batch: source.BatchLimits{Time: 5 * time.Millisecond, Bytes: 1 << 20, Rows: 1000}}
		if how != "" {
			streaming(t, s, c, how)
			o.Memory, o.Spool = 1<<17, t.TempDir()
		}
		m := newMirror(t, openSource(t, Config{URL: url}), "cuts", "public.a")
		m.follow(o)
		allow, stop := writers(t, url, 4)
		good, misplaced, again := 0, 0, 0
		for range 15 {
			for len(allow) < 200 { // a server that sends all transactions while they run is slower than its writers
				allow <- struct{}{}
			}
			switch n, ok := m.cut(t); {
			case ok:
				good++
				again += n
			default:
				misplaced++
			}
		}
		stop()
		t.Logf("%d cuts, %d misplaced, %d snapshots too old", good, misplaced, again)
		if good < 5 {
			t.Errorf("%d of 15 cuts came about", good)
		}
		good = 0
		for range 3 { // and where nothing is written
			if _, ok := m.cut(t); ok {
				good++
			}
		}
		if good != 3 {
			t.Errorf("%d of 3 cuts of an idle server came about", good)
		}
		m.same(c)
	})
}

// cut makes one, and compares; ok is false when it was misplaced. retries are snapshots that were too old.
func (m *mirror) cut(t *testing.T) (retries int, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	type settled struct {
		snapshot source.Snapshot
		err      error
	}
	done := make(chan settled, 1)
	batches, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer stop()
		var n source.Snapshot
		cut, err := m.stream.Cut(ctx)
		for err == nil {
			if n, err = m.src.Snapshot(ctx, source.SnapshotOptions{}); err != nil {
				break
			}
			var v source.View
			if v, err = m.src.View(ctx, n); err != nil || cut.Resume(v) {
				break
			}
			retries++
			n.Close()
		}
		if err == nil {
			err = cut.Settled(ctx)
		}
		done <- settled{n, err}
	}()
	var rows map[uint32]map[string][]string
	take := func(b *change.Batch) {
		m.apply(b)
		if b.Cut != 0 {
			rows = cloned(m.rows)
		}
	}
	for batches.Err() == nil {
		b, err := m.stream.Next(batches)
		if err == nil {
			take(b)
		} else if batches.Err() == nil || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	r := <-done
	if r.snapshot != nil {
		defer r.snapshot.Close()
	}
	if fault.CodeOf(r.err) == fault.SourceConflict {
		return retries, false
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	for rows == nil { // it may be on its way
		b, err := m.stream.Next(ctx)
		if err != nil {
			t.Fatal("settled, and no batch with the cut:", err)
		}
		take(b)
	}
	m.equals(r.snapshot, rows)
	return retries, true
}

// A cut that is given up lets the stream go on, and the next cut come; a second one waits for the first.
func TestStreamCutClosed(t *testing.T) {
	s := pgtest.Get(t, pgtest.Majors()[0])
	url := s.DB(t)
	c := connect(t, url)
	exec(t, c, `CREATE TABLE a (id int PRIMARY KEY, n int)`)
	m := newMirror(t, openSource(t, Config{URL: url}), "given_up", "public.a")
	m.open(true, small)
	first, err := m.stream.Cut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := m.stream.Cut(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("a second cut:", err)
	}
	exec(t, c, "INSERT INTO a VALUES (1, 1)")
	if b, err := m.stream.Next(ctx); err == nil && b.Transactions > 0 {
		t.Fatal("a batch goes on beyond a cut")
	}
	first.Close()
	if err := first.Settled(t.Context()); !errors.Is(err, errCutClosed) {
		t.Error(err)
	}
	m.same(c)
	// What was gathered is not in an older snapshot.
	old := snapshotOf(t, m.src)
	exec(t, c, "INSERT INTO a VALUES (2, 2)")
	m.same(c)
	second, err := m.stream.Cut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, err := m.src.View(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	if second.Resume(v) {
		t.Error("a cut at a snapshot that lacks what was gathered")
	}
	second.Close()
	m.same(c)
	third, err := m.stream.Cut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.close()
	m.open(true, small)
	if err := third.Settled(t.Context()); err == nil {
		t.Error("a cut of a stream that has ended is settled")
	}
	m.same(c)
}

// A stream holds exactly where it is told to, and goes on when that is moved.
func TestStreamUntil(t *testing.T) {
	eachWay(t, func(t *testing.T, s *pgtest.Server, how string) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE a (id int PRIMARY KEY, n int); CREATE TABLE other (id int)`)
		spool := ""
		if how != "" {
			streaming(t, s, c, how)
			spool = t.TempDir()
		}
		m := newMirror(t, openSource(t, Config{URL: url}), "holds", "public.a")
		lsn := func() (l change.LSN) {
			var text string
			if err := c.QueryRow(t.Context(), "SELECT pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
				t.Fatal(err)
			}
			l, err := change.ParseLSN(text)
			if err != nil {
				t.Fatal(err)
			}
			return recordEnd(l)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		reach := func(until change.LSN) {
			t.Helper()
			for m.at < until {
				m.next(ctx, until)
			}
			if m.at != until {
				t.Fatalf("the stream stands at %s, want %s", m.at, until)
			}
		}
		exec(t, c, "INSERT INTO a VALUES (1, 1)")
		exec(t, c, "INSERT INTO other VALUES (1)") // the hold lies where no transaction of the table ends
		first := lsn()
		exec(t, c, "INSERT INTO a VALUES (2, 2)")
		exec(t, c, "INSERT INTO a VALUES (3, 3)")
		m.follow(source.StreamOptions{Batch: source.BatchLimits{Time: time.Hour, Bytes: 1 << 20, Rows: 1000}, Until: first, Spool: spool})
		began := time.Now()
		reach(first)
		if len(m.rows[m.tables[0].OID]) != 1 {
			t.Error("held at another transaction")
		}
		// Nothing of the table lies before the next ones; then nothing lies behind.
		exec(t, c, "INSERT INTO other VALUES (1)")
		second := lsn()
		m.stream.Extend(second)
		reach(second)
		if len(m.rows[m.tables[0].OID]) != 3 {
			t.Error("not all transactions before the hold came")
		}
		for range 20 {
			exec(t, c, "INSERT INTO other VALUES (1)")
			l := lsn()
			m.stream.Extend(l)
			reach(l)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("%s for 22 holds", d)
		}
		// A stream that begins where it is to hold says so.
		m.close()
		m.follow(source.StreamOptions{Batch: small, Until: m.at, Spool: spool})
		if b := m.next(ctx, m.at); b.Position.LSN != m.at {
			t.Error(b.Position)
		}
		exec(t, c, "INSERT INTO a VALUES (4, 4)")
		m.stream.Extend(0)
		m.same(c)
		if m.asOf.IsZero() {
			t.Error("no time")
		}
	})
}

// The time up to which the copy is known to hold goes on while nothing is written, and is the time of the last look, no later.
func TestStreamAsOf(t *testing.T) {
	s := pgtest.Get(t, pgtest.Majors()[0])
	url := s.DB(t)
	c := connect(t, url)
	exec(t, c, `CREATE TABLE a (id int PRIMARY KEY, n int)`)
	m := newMirror(t, openSource(t, Config{URL: url}), "as_of", "public.a")
	m.open(true, small)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	exec(t, c, `INSERT INTO a VALUES (1, 1)`)
	wrote := time.Now() // the server's clock is this machine's
	for m.asOf.Before(wrote.Add(500 * time.Millisecond)) {
		b := m.next(ctx, 0)
		if b.AsOf.After(time.Now()) {
			t.Fatal("a time to come:", b.AsOf)
		}
		if b.Transactions > 0 && (b.Oldest.After(wrote) || b.Oldest.Before(wrote.Add(-5*time.Second))) {
			t.Error("the oldest transaction is of", b.Oldest)
		}
	}
	m.same(c)
}

// A temporary slot is followed on the session that made it.
func TestStreamTemporary(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE a (id int PRIMARY KEY, n int)`)
		src := openSource(t, Config{URL: url})
		m := newMirror(t, src, "lasting", "public.a")
		slot, err := src.CreateSlot(t.Context(), "passing", true)
		if err != nil {
			t.Fatal(err)
		}
		defer slot.Close(t.Context())
		exec(t, c, `INSERT INTO a SELECT i, i FROM generate_series(1, 10) i`)
		m.at = slot.Point()
		m.stream, err = slot.Stream(t.Context(), source.StreamOptions{Slot: "passing", Publication: "lasting", From: slot.Point(), Tables: m.tables, Batch: small})
		if err != nil {
			t.Fatal(err)
		}
		m.same(c)
		if _, err := slot.Stream(t.Context(), source.StreamOptions{Slot: "passing"}); err == nil {
			t.Error("a second stream on one session")
		}
		m.close()
		if left, err := src.Slots(t.Context(), "passing"); err != nil || len(left) > 0 {
			t.Error("the slot is left:", left, err)
		}
	})
}

func TestVisible(t *testing.T) {
	v, err := parseVisible("4294967290:4294967301:4294967292,4294967298")
	if err != nil {
		t.Fatal(err)
	}
	for xid, want := range map[uint32]bool{
		4294967000: true, 4294967289: true, 4294967290: true, 4294967292: false, 4294967293: true, // before the ids wrap
		0: true, 2: false, 4: true, 5: false, 100: false,
	} {
		if v.sees(xid) != want {
			t.Errorf("%d is seen: %t", xid, !want)
		}
	}
	if v, err = parseVisible("7:7:"); err != nil || !v.sees(6) || v.sees(7) {
		t.Error(v, err)
	}
	for _, bad := range []string{"", "7", "7:8", "a:8:", "7:8:x"} {
		if _, err := parseVisible(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
