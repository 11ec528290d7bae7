package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

// metered is a source that measures its load often.
func metered(t *testing.T, c Config) *Source {
	t.Helper()
	s := openSource(t, c)
	s.load.every, s.load.window = 200*time.Millisecond, 30*time.Second
	s.WatchLoad()
	return s
}

// atRest waits until no statement is counted as under way, and all was told by the server.
func atRest(t *testing.T, s *Source) {
	t.Helper()
	eventually(t, "the meter stops", func() bool {
		s.load.mu.Lock()
		defer s.load.mu.Unlock()
		return !s.load.watching
	})
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	if l := &s.load; l.running != 0 || l.begun != 0 || l.unsent != 0 {
		t.Errorf("at rest %d statements run, begun at %s, and %s are untold", l.running, l.begun, l.unsent)
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

const slowQuery = "SELECT g FROM tasks, generate_series(1, 250) g WHERE pg_sleep(0.02) IS NOT NULL"

// Beside somebody who works all the time, one connection of ours is half of the load while it reads, and as long as that is
// within the window; then it is none, and the server is not asked any more.
func TestLoad(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, server *pgtest.Server) {
		t.Parallel()
		url := server.DB(t)
		working, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		other := connect(t, url)
		exec(t, other, "CREATE TABLE tasks AS SELECT 1 AS id") // the server flushes no statistics of what touches no table
		go func() {
			for {
				if _, err := other.Exec(working, "SELECT pg_sleep(0.25) FROM tasks"); err != nil {
					ended <- err
					return
				}
			}
		}()
		t.Cleanup(func() { stop(); <-ended })
		unwatched := openSource(t, Config{URL: url})
		readAll(t, snapshotOf(t, unwatched), source.Query{SQL: "SELECT 1 AS x"}, source.Range{}, 1)
		if l := unwatched.Load(); l.Share != -1 || l.Worked <= 0 || l.Worked > 10*time.Second {
			t.Errorf("unwatched: %+v", l)
		}

		s := metered(t, Config{URL: url})
		if l := s.Load(); l != (source.Load{}) {
			t.Errorf("before anything was read: %+v", l)
		}
		half := func(when string) {
			t.Helper()
			if share := s.Load().Share; share < 0.3 || share > 0.7 {
				t.Errorf("%s the share is %.2f", when, share)
			}
		}
		begin := time.Now()
		read := make(chan struct{})
		go func() {
			defer close(read)
			n := snapshotOf(t, s)
			readAll(t, n, source.Query{SQL: slowQuery}, source.Range{}, 1)
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}()
		// The other's time comes with every second.
		eventually(t, "the share is measured while it reads", func() bool { return time.Since(begin) > 4*time.Second && s.Load().Share > 0 })
		select {
		case <-read:
			t.Error("it has read too fast")
		default:
		}
		half("while it reads")
		if worked := s.Load().Worked; worked < time.Since(begin)*8/10 || worked > time.Since(begin)*12/10 {
			t.Errorf("worked for %s of %s", worked, time.Since(begin))
		}
		<-read
		took := time.Since(begin)
		atRest(t, s)
		half("after it has read")
		worked := s.Load().Worked
		if worked < took*8/10 || worked > took*12/10 {
			t.Errorf("worked for %s of %s", worked, took)
		}
		s.load.mu.Lock()
		s.load.window = time.Second
		s.load.mu.Unlock()
		eventually(t, "the share is 0", func() bool { return s.Load().Share == 0 })
		if again := s.Load().Worked; again != worked {
			t.Errorf("at rest it has worked for %s, then for %s", worked, again)
		}
	})
}

// Alone at the server, what is read is all of the load: over several connections, through a cursor, in transactions that are
// still open, and in some that have ended badly.
func TestLoadOfOursAlone(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	c := connect(t, url)
	exec(t, c, "CREATE TABLE wide (id int, v text); ALTER TABLE wide ALTER v SET STORAGE PLAIN; INSERT INTO wide SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 10000) i")
	for _, how := range []string{"copy", "cursor"} {
		t.Run(how, func(t *testing.T) {
			s := metered(t, Config{URL: url, Read: how, FetchRows: 100})
			eventually(t, "the share is measured", func() bool {
				n := snapshotOf(t, s)
				readAll(t, n, source.Query{Table: "wide", PartitionColumn: "id"}, source.Range{}, 3)
				readAll(t, n, source.Query{SQL: "SELECT g FROM generate_series(1, 25) g WHERE pg_sleep(0.02) IS NOT NULL"}, source.Range{}, 1)
				if err := n.Close(); err != nil {
					t.Fatal(err)
				}
				return s.Load().Share > 0.5
			})
			if share := s.Load().Share; share > 1 {
				t.Errorf("the share is %.2f", share)
			}
			atRest(t, s)

			// A read that is left before its end, on the coordinator and on another session; a statement that is refused; a connection
			// that breaks; a query that is cancelled.
			n := snapshotOf(t, s)
			d, err := n.Describe(t.Context(), source.Query{Table: "wide"})
			if err != nil {
				t.Fatal(err)
			}
			f, err := n.Read(t.Context(), d, source.Range{}, 3, nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				r, err := f.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ch := newChunk(d.Types())
				if _, err := r.Read(&ch.Chunk); err != nil {
					t.Fatal(err)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := n.ask(t.Context(), stmt("SELECT nothing")); err == nil {
				t.Error("nothing was selected")
			}
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			n = snapshotOf(t, s)
			cancelled, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := n.ask(cancelled, stmt("SELECT pg_sleep(30)")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the query ended with %v", err)
			}
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			n = snapshotOf(t, s)
			exec(t, c, "SELECT pg_terminate_backend("+n.coord.pid+")")
			if _, err := n.ask(t.Context(), stmt("SELECT 1")); err == nil {
				t.Error("a session that was ended has answered")
			}
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			atRest(t, s)
		})
	}
}

// Without the server's figures there is no share, and it is not asked again.
func TestLoadIsNotTold(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	c := connect(t, url)
	for _, sql := range []string{"SET track_activities = off", "SET search_path = hidden, pg_catalog"} {
		var db string
		if err := c.QueryRow(t.Context(), "SELECT current_database()").Scan(&db); err != nil {
			t.Fatal(err)
		}
		exec(t, c, "CREATE SCHEMA IF NOT EXISTS hidden; CREATE OR REPLACE VIEW hidden.pg_stat_database AS SELECT 1 AS x")
		exec(t, c, "ALTER DATABASE "+pgx.Identifier{db}.Sanitize()+" RESET ALL")
		exec(t, c, "ALTER DATABASE "+pgx.Identifier{db}.Sanitize()+" "+sql)
		s := metered(t, Config{URL: url})
		n := snapshotOf(t, s)
		eventually(t, sql, func() bool {
			readAll(t, n, source.Query{SQL: "SELECT 1 AS x"}, source.Range{}, 1)
			return s.Load().Share == -1
		})
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		atRest(t, s)
		if l := s.Load(); l.Share != -1 || l.Worked <= 0 {
			t.Errorf("%+v", l)
		}
	}
}
