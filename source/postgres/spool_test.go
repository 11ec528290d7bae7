package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

// spools are the files in a folder.
func spools(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+spoolExt))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// streaming has the server send transactions of a database while they run, and returns how.
func streaming(t *testing.T, s *pgtest.Server, c *pgx.Conn, how string) {
	t.Helper()
	set := "logical_decoding_work_mem = '64kB'"
	if how == "immediate" {
		set = "debug_logical_replication_streaming = 'immediate'"
	}
	var name string
	if err := c.QueryRow(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	exec(t, c, "ALTER DATABASE "+ident(name)+" SET "+set)
}

// running is one session with a transaction of any size and depth, over rows of its own.
type running struct {
	c          *pgx.Conn
	first      int // of its thousand ids
	savepoints int
	open       bool
	name       string
}

func (r *running) step(t *testing.T, rng *rand.Rand) {
	t.Helper()
	if !r.open {
		exec(t, r.c, "BEGIN")
		r.open, r.savepoints = true, 0
	}
	from := r.first + rng.IntN(900)
	to := from + rng.IntN(100)
	if rng.IntN(3) == 0 { // large enough to be sent while it runs
		to = r.first + 1000
	}
	between := fmt.Sprintf("id BETWEEN %d AND %d", from, to-1)
	switch rng.IntN(12) {
	case 0, 1, 2:
		exec(t, r.c, fmt.Sprintf(`INSERT INTO a SELECT i, i, repeat('n', %d), repeat('b', 2500) FROM generate_series(%d, %d) i ON CONFLICT (id) DO UPDATE SET n = a.n + 1`, rng.IntN(200), from, to-1))
	case 3:
		exec(t, r.c, "UPDATE a SET n = n + 1 WHERE "+between) // big is not sent again
	case 4:
		exec(t, r.c, fmt.Sprintf("UPDATE a SET big = 'short', note = NULL WHERE id = %d", from))
	case 5:
		exec(t, r.c, "DELETE FROM a WHERE "+between)
	case 6, 7:
		r.savepoints++
		exec(t, r.c, fmt.Sprintf("SAVEPOINT s%d", r.savepoints))
	case 8:
		if r.savepoints > 0 {
			r.savepoints = rng.IntN(r.savepoints) + 1
			exec(t, r.c, fmt.Sprintf("ROLLBACK TO s%d", r.savepoints))
		}
	case 9:
		if r.savepoints > 0 {
			n := rng.IntN(r.savepoints) + 1
			exec(t, r.c, fmt.Sprintf("RELEASE s%d", n))
			r.savepoints = n - 1
		}
	case 10:
		id := r.first + rng.IntN(500)
		exec(t, r.c, fmt.Sprintf("UPDATE a SET id = id + 500, big = 'moved' WHERE id = %d AND NOT EXISTS (SELECT FROM a x WHERE x.id = %d)", id, id+500))
	default:
		r.end(t, rng)
	}
}

func (r *running) end(t *testing.T, rng *rand.Rand) {
	t.Helper()
	if !r.open {
		return
	}
	r.open = false
	exec(t, r.c, []string{"COMMIT", "COMMIT", "COMMIT", "ROLLBACK",
		"PREPARE TRANSACTION '" + r.name + "'; ", "PREPARE TRANSACTION '" + r.name + "'"}[rng.IntN(6)])
	var prepared int
	if err := r.c.QueryRow(t.Context(), "SELECT count(*) FROM pg_prepared_xacts WHERE gid = $1", r.name).Scan(&prepared); err != nil {
		t.Fatal(err)
	}
	if prepared > 0 {
		exec(t, r.c, []string{"COMMIT", "ROLLBACK"}[rng.IntN(2)]+" PREPARED '"+r.name+"'")
	}
}

// histories are the ways of streaming that a server has, one for each seed.
func histories(s *pgtest.Server) []string {
	ways := []string{"small", "immediate"}
	if s.Major < 16 {
		ways = ways[:1]
	}
	if os.Getenv("PINTAIL_TEST_LONG") != "" {
		for range 4 {
			ways = append(ways, ways...)
		}
	}
	return ways
}

// Large transactions that run beside each other, with subtransactions, come whole and in the order of their commits, in
// bounded memory, over streams that are cut at any place.
func TestStreamRunning(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		for seed, how := range histories(s) {
			t.Run(fmt.Sprintf("%s_%d", how, seed), func(t *testing.T) {
				url := s.DB(t)
				c := connect(t, url)
				exec(t, c, `CREATE TABLE a (id int PRIMARY KEY, n int, note text, big text); ALTER TABLE a ALTER COLUMN big SET STORAGE EXTERNAL; CREATE TABLE other (id int)`)
				streaming(t, s, c, how)
				proxy := pgtest.NewProxy(t, s)
				m := newMirror(t, openSource(t, Config{URL: url}), fmt.Sprintf("running_%d", seed), "public.a")
				m.via = openSource(t, Config{URL: proxied(t, proxy, url)})
				dir := filepath.Join(t.TempDir(), "spool")
				rng := rand.New(rand.NewPCG(uint64(seed), uint64(s.Major)))
				sessions := make([]*running, 3)
				for i := range sessions {
					sessions[i] = &running{c: connect(t, url), first: 1000 * i, name: fmt.Sprintf("%s_%s_%d", t.Name(), m.slot, i)}
				}
				follow := func() {
					m.follow(source.StreamOptions{Text: rng.IntN(2) == 0, Spool: dir, Memory: 1 << (12 + rng.IntN(12)),
						Batch: source.BatchLimits{Time: time.Millisecond, Bytes: 1 + rng.IntN(1<<18), Rows: 1 + rng.IntN(500)}})
				}
				follow()
				cuts, spooled := 0, false
				for round := range 10 {
					if round%3 == 2 {
						proxy.CutAfter(int64(rng.IntN(1 << 20)))
					}
					for range 20 {
						sessions[rng.IntN(len(sessions))].step(t, rng)
						spooled = spooled || m.stream.(*changeStream).SpoolBytes() > 0
					}
					if round%2 == 1 {
						for _, r := range sessions {
							r.end(t, rng)
						}
					}
					cuts += m.across(currentLSN(t, c), follow)
					m.same(c)
				}
				for _, r := range sessions {
					r.end(t, rng)
				}
				cuts += m.across(currentLSN(t, c), follow)
				m.same(c)
				if n := m.stream.(*changeStream).SpoolBytes(); n != 0 {
					t.Errorf("%d bytes of the spool are counted after the last commit", n)
				}
				if left := spools(t, dir); len(left) > 0 {
					t.Error("files are left:", left)
				}
				if m.parts == 0 || !spooled || cuts == 0 || len(m.lost) > 0 {
					t.Errorf("%d parts, %d cuts, spooled: %t, lost: %v", m.parts, cuts, spooled, m.lost)
				}
				t.Logf("%d parts, %d cuts", m.parts, cuts)
			})
		}
	})
}

// proxied is url through a proxy.
func proxied(t *testing.T, p *pgtest.Proxy, url string) string {
	t.Helper()
	return p.URL(url[strings.LastIndexByte(url, '/')+1 : strings.IndexByte(url, '?')])
}

// across is until with streams that break.
func (m *mirror) across(lsn change.LSN, follow func()) (breaks int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	for m.at < lsn {
		b, err := m.stream.Next(ctx)
		if err == nil {
			m.apply(b)
			continue
		}
		if fault.CodeOf(err) != fault.SourceUnavailable {
			m.t.Fatalf("at %s of %s: %v", m.at, lsn, err)
		}
		breaks++
		_ = m.stream.Close()
		m.stream = nil
		follow()
	}
	return breaks
}

// A running transaction of many rows is kept on disk until it commits; one that is rolled back leaves nothing, and so does a
// stream that is closed.
func TestStreamSpool(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c, w := connect(t, url), connect(t, url)
		exec(t, c, `CREATE TABLE a (id int PRIMARY KEY, n int, note text)`)
		streaming(t, s, c, "small")
		m := newMirror(t, openSource(t, Config{URL: url}), "spools", "public.a")
		dir := filepath.Join(t.TempDir(), "deep", "spool")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "7"+spoolExt), []byte("of a former stream"), 0o600); err != nil {
			t.Fatal(err)
		}
		open := func() *changeStream {
			m.follow(source.StreamOptions{Spool: dir, Memory: 1 << 20, Batch: small})
			return m.stream.(*changeStream)
		}
		st := open()
		if left := spools(t, dir); len(left) > 0 {
			t.Error("files of a former stream are left:", left)
		}
		rows := func(from, to int) string {
			return fmt.Sprintf("INSERT INTO a SELECT i, i, repeat('x', 100) FROM generate_series(%d, %d) i", from, to)
		}
		// grown waits until the spool holds n bytes.
		grown := func(n int64) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for st.SpoolBytes() < n {
				m.next(ctx, 0)
			}
			if len(m.rows[m.tables[0].OID]) != 0 {
				t.Fatal("rows of a transaction that runs")
			}
		}
		exec(t, w, "BEGIN; "+rows(1, 5000))
		grown(500 << 10)
		if files := spools(t, dir); len(files) != 1 {
			t.Error("files:", files)
		} else if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(info.Mode(), err)
		}
		exec(t, w, "SAVEPOINT s; "+rows(5001, 20000))
		grown(2 << 20)
		exec(t, w, "ROLLBACK TO s; UPDATE a SET n = 0 WHERE id < 10; "+rows(5001, 5010)+"; COMMIT")
		m.same(c)
		if st.SpoolBytes() != 0 || len(m.rows[m.tables[0].OID]) != 5010 {
			t.Error(st.SpoolBytes(), len(m.rows[m.tables[0].OID]))
		}
		exec(t, c, "DELETE FROM a")
		m.same(c)
		exec(t, w, "BEGIN; "+rows(1, 5000))
		grown(500 << 10)
		exec(t, w, "ROLLBACK")
		m.same(c)
		if st.SpoolBytes() != 0 || len(spools(t, dir)) != 0 {
			t.Error("a rollback leaves", st.SpoolBytes(), spools(t, dir))
		}
		// What is confirmed while the transaction runs does not lose its beginning.
		exec(t, w, "BEGIN; "+rows(1, 5000))
		grown(500 << 10)
		for range 3 {
			exec(t, c, "INSERT INTO a VALUES (-1, 0, NULL); DELETE FROM a WHERE id = -1")
			m.same(c)
		}
		m.close()
		if left := spools(t, dir); len(left) > 0 {
			t.Error("files of a closed stream are left:", left)
		}
		st = open()
		exec(t, w, rows(5001, 7000)) // what was written before is sent together with what comes after
		grown(700 << 10)
		// The folder is gone: the stream ends, and the next one brings everything.
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		exec(t, w, rows(7001, 20000))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var err error
		for err == nil {
			_, err = m.stream.Next(ctx)
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "running transaction") {
			t.Fatal(err)
		}
		_ = m.stream.Close()
		st = open()
		exec(t, w, "COMMIT")
		m.same(c)
	})
}

// A full disk has its own code, and a hint that names the folder.
func TestSpoolDiskFull(t *testing.T) {
	s, err := openSpool(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	s.create = func(name string) (*os.File, error) {
		f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if errors.Is(err, os.ErrNotExist) { // not Linux
			err = &os.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
		}
		return f, err
	}
	x, err := s.start(1, true)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil && i < 1<<20; i++ {
		err = x.add(1, 'I', make([]byte, 1000))
	}
	if fault.CodeOf(err) != fault.DiskFull || !strings.Contains(fault.HintOf(err), s.dir) {
		t.Error(err, fault.HintOf(err))
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// The spool gives back what it was given, without what was rolled back, wherever the edge between memory and disk lies.
func TestSpoolAborts(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 300 {
		s, err := openSpool(t.TempDir(), int64(1+rng.IntN(4000)))
		if err != nil {
			t.Fatal(err)
		}
		x, err := s.start(1, true)
		if err != nil {
			t.Fatal(err)
		}
		y, err := s.start(1000, true)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		var stack []uint32 // open subtransactions
		var marks []int    // how much was wanted when each began
		current, next := uint32(1), uint32(2)
		for range rng.IntN(60) {
			switch rng.IntN(5) {
			case 0:
				stack, marks, current = append(stack, current), append(marks, len(want)), next
				next++
			case 1:
				if n := len(stack); n > 0 {
					err = x.abort(current)
					want, current, stack, marks = want[:marks[n-1]], stack[n-1], stack[:n-1], marks[:n-1]
				}
			default:
				body := strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(300))
				if err = x.add(current, 'I', []byte(body)); err == nil {
					err = y.add(1000, 'U', []byte(body))
				}
				want = append(want, body)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		var have []string
		if err := x.each(func(kind byte, body []byte) error { have = append(have, string(body)); return nil }); err != nil {
			t.Fatal(err)
		}
		if strings.Join(have, "|") != strings.Join(want, "|") {
			t.Fatalf("%d messages, want %d", len(have), len(want))
		}
		if err := errors.Join(x.drop(), y.drop()); err != nil || s.bytes.Load() != 0 || s.buffered != 0 {
			t.Fatal(err, s.bytes.Load(), s.buffered)
		}
		if left := spools(t, s.dir); len(left) > 0 {
			t.Fatal(left)
		}
	}
}

// A transaction that does not fit is handed over in parts, which together do what it does: rows that one part puts in and
// the next changes, moves, removes; a table that is emptied; a table that is lost in the middle.
func TestStreamParts(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE a (id int PRIMARY KEY, n int, note text); INSERT INTO a SELECT i, i, 'first' FROM generate_series(1, 1000) i; CREATE TABLE b (id int PRIMARY KEY)`)
		m := newMirror(t, openSource(t, Config{URL: url}), "parts", "public.*")
		m.follow(source.StreamOptions{Memory: 64 << 10, Batch: source.BatchLimits{Time: time.Hour, Bytes: 1 << 20, Rows: 1 << 20}})
		whole := func(sql string) {
			t.Helper()
			parts, at := m.parts, m.at
			exec(t, c, "BEGIN; "+sql+"; COMMIT")
			lsn := currentLSN(t, c)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			m.stream.SetBatchTime(time.Millisecond)
			for m.at < lsn {
				b := m.next(ctx, lsn)
				if b.More && (b.Position.LSN < at || b.Position.LSN >= lsn || b.Oldest.IsZero()) {
					t.Errorf("a part stands at %s, of a transaction of %s", b.Position.LSN, b.Oldest)
				}
			}
			if m.parts < parts+3 {
				t.Errorf("%d parts of %s", m.parts-parts, sql)
			}
			m.same(c)
		}
		insert := `INSERT INTO a SELECT i, i, repeat('x', 50) FROM generate_series(2001, 3000) i`
		whole(insert + `; UPDATE a SET n = n + 1; DELETE FROM a WHERE id % 3 = 0; INSERT INTO a SELECT i, 0, 'again' FROM generate_series(1, 3000) i ON CONFLICT DO NOTHING`)
		whole(`UPDATE a SET id = id + 10000; UPDATE a SET id = id - 10000 WHERE id % 2 = 0; DELETE FROM a WHERE id > 12000`)
		whole(`INSERT INTO b SELECT generate_series(1, 1000); TRUNCATE a; ` + insert + `; TRUNCATE a; INSERT INTO a SELECT i, i, 'last' FROM generate_series(1, 500) i`)
		exec(t, c, `BEGIN; INSERT INTO a SELECT i, i, 'before' FROM generate_series(501, 1500) i; ALTER TABLE a ADD COLUMN more int;
			INSERT INTO a SELECT i, i, 'after' FROM generate_series(1501, 2500) i; INSERT INTO b SELECT generate_series(1001, 3000); COMMIT`)
		lsn, told := currentLSN(t, c), 0
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for m.at < lsn {
			b := m.next(ctx, lsn)
			for _, x := range b.Tables {
				if x.Lost != "" {
					told++
					if have := len(m.rows[x.Table]); !b.More || have <= 500 || have > 1500 {
						t.Errorf("lost in a part of %d rows, with %d before", x.Rows, have)
					}
				}
			}
		}
		if told != 1 {
			t.Errorf("the loss was told %d times", told)
		}
		for i, f := range m.tables {
			if f.Desc.Query.Table == `"public"."b"` {
				m.tables = m.tables[i : i+1]
				break
			}
		}
		m.same(c)
	})
}

// A value of many megabytes passes, running or not, and its memory is given back.
func TestStreamLargeValue(t *testing.T) {
	s := pgtest.Get(t, pgtest.Majors()[0])
	url := s.DB(t)
	c := connect(t, url)
	exec(t, c, `CREATE TABLE a (id int PRIMARY KEY, b bytea, n int); ALTER TABLE a ALTER COLUMN b SET STORAGE EXTERNAL`)
	streaming(t, s, c, "small")
	m := newMirror(t, openSource(t, Config{URL: url}), "large", "public.a")
	for spool, mib := range map[string]int{"": 64, t.TempDir(): 16} {
		m.follow(source.StreamOptions{Memory: 1 << 20, Spool: spool, Batch: small})
		exec(t, c, `INSERT INTO a VALUES ($1, $2, 0)`, mib, []byte(strings.Repeat("0123456789abcdef", mib<<16)))
		exec(t, c, `UPDATE a SET n = 1; INSERT INTO a SELECT i, 'small', 0 FROM generate_series(1001, 1010) i; UPDATE a SET n = 2`)
		m.same(c)
		if have := len(m.stream.(*changeStream).wire.buf); have > 2*bufferBytes {
			t.Errorf("the stream keeps a buffer of %d bytes", have)
		}
		exec(t, c, `DELETE FROM a`)
		m.same(c)
		m.close()
	}
}
