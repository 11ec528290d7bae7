package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

// A transaction fixes its now(), waits beyond a sync, and inserts then: at the sync it holds no lock and has no id.
func TestLateServerClock(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c, writer := connect(t, url), connect(t, url)
		exec(t, c, "CREATE TABLE e (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())")
		exec(t, c, "INSERT INTO e SELECT i, now() - interval '1 day' FROM generate_series(1, 1000) i")
		reader := role(t, c, url)
		for _, tc := range []struct {
			url    string
			method source.Method
			q      source.Query
		}{
			{url, source.MethodXactStart, source.Query{Table: "e", IncrementalColumn: "at"}},
			{url, source.MethodXactStart, source.Query{SQL: "SELECT id, at FROM e WHERE id > 0 ORDER BY at", IncrementalColumn: "at"}},
			{reader, source.MethodRunning, source.Query{Table: "e", IncrementalColumn: "at"}},
			{reader, source.MethodRunning, source.Query{SQL: "SELECT id, at FROM e", IncrementalColumn: "at"}},
		} {
			name := fmt.Sprintf("%s table=%t", tc.method, tc.q.Table != "")
			t.Run(name, func(t *testing.T) {
				exec(t, c, "DELETE FROM e WHERE id IN (5001, 5002)")
				k := newKeyed(t, openSource(t, Config{URL: tc.url}), tc.q)
				k.sync()
				if k.late.Method != tc.method || !k.late.Proven {
					t.Fatalf("method %s, proven %t: %s", k.late.Method, k.late.Proven, k.late.Guarantee)
				}
				exec(t, writer, "BEGIN")
				exec(t, writer, "SELECT now()")
				// A second later by the clock of the column, without waiting: other rows are dated ahead of the writer's.
				exec(t, c, "INSERT INTO e VALUES (5002, now() + interval '10 s')")
				k.sync()
				k.has(5002)
				k.lacks(5001)
				exec(t, writer, "INSERT INTO e (id) VALUES (5001)")
				exec(t, writer, "COMMIT")
				k.sync()
				k.has(5001, 5002)
				k.sync()
				k.same(c, "SELECT id FROM e")
				if k.read > 10 {
					t.Errorf("an increment without changes read %d rows", k.read)
				}
			})
		}
	})
}

// A long transaction that has nothing to do with the table only holds the bound back; when it ends, the bound moves on.
func TestLateLongTransactionDelays(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c, idle := connect(t, url), connect(t, url)
		exec(t, c, "CREATE TABLE e (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now()); CREATE TABLE other (x int)")
		exec(t, c, "INSERT INTO e SELECT i, now() - interval '1 day' FROM generate_series(1, 1000) i")
		for _, u := range []string{url, role(t, c, url)} {
			k := newKeyed(t, openSource(t, Config{URL: u}), source.Query{Table: "e", IncrementalColumn: "at"})
			k.sync()
			first := safeTime(t, k.mark)
			exec(t, idle, "BEGIN")
			exec(t, idle, "INSERT INTO other VALUES (1)")
			var began time.Time
			if err := idle.QueryRow(t.Context(), "SELECT now()").Scan(&began); err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				exec(t, c, "DELETE FROM e WHERE id = $1", 2000+i)
				exec(t, c, "INSERT INTO e VALUES ($1)", 2000+i)
				k.sync()
				k.has(int64(2000 + i))
				if at := safeTime(t, k.mark); at > timeOf(&instant, began) || at < first {
					t.Errorf("%s: with a transaction open since %s the bound is %s", k.late.Method, began, k.mark.Safe)
				}
			}
			exec(t, idle, "ROLLBACK")
			k.sync()
			if at := safeTime(t, k.mark); at < timeOf(&instant, began.Add(-clockMargin)) {
				t.Errorf("%s: after the transaction's end the bound is still %s", k.late.Method, k.mark.Safe)
			}
			k.same(c, "SELECT id FROM e")
		}
	})
}

// While a transaction is prepared no bound of time moves: nobody knows when it began.
func TestLatePrepared(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c, writer := connect(t, url), connect(t, url)
		exec(t, c, "CREATE TABLE e (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())")
		for i, u := range []string{url, role(t, c, url)} {
			id := 10 * (i + 1)
			k := newKeyed(t, openSource(t, Config{URL: u}), source.Query{Table: "e", IncrementalColumn: "at"})
			k.sync()
			before := k.mark.Safe
			exec(t, writer, "BEGIN")
			exec(t, writer, "INSERT INTO e VALUES ($1)", id)
			exec(t, writer, fmt.Sprintf("PREPARE TRANSACTION 'p%d'", id))
			exec(t, c, "INSERT INTO e VALUES ($1, now() + interval '10 s')", id+1)
			k.sync()
			k.sync()
			if k.mark.Safe != before {
				t.Errorf("%s: the bound moved from %s to %s beside a prepared transaction", k.late.Method, before, k.mark.Safe)
			}
			exec(t, c, fmt.Sprintf("COMMIT PREPARED 'p%d'", id))
			k.sync()
			k.has(int64(id), int64(id+1))
			k.sync()
			if k.mark.Safe == before {
				t.Errorf("%s: the bound stays at %s after the prepared transaction", k.late.Method, before)
			}
		}
	})
}

// Number 5 is drawn and open, 6 commits, a sync, then 5 commits: strictly greater than 6 would never find it.
func TestLateSequence(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c, writer := connect(t, url), connect(t, url)
		exec(t, c, `CREATE TABLE plain (id bigserial PRIMARY KEY, x int);
			CREATE TABLE ident (id bigint GENERATED ALWAYS AS IDENTITY, x int);
			CREATE TABLE parts (id bigserial, x int) PARTITION BY RANGE (x);
			CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000000)`)
		reader := role(t, c, url)
		for _, name := range []string{"plain", "ident", "parts"} {
			for _, u := range []string{url, reader} {
				for _, prepared := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s superuser=%t prepared=%t", name, u == url, prepared), func(t *testing.T) {
						exec(t, c, "TRUNCATE "+name+" RESTART IDENTITY")
						exec(t, c, "INSERT INTO "+name+" (x) SELECT i FROM generate_series(1, 4) i")
						q := source.Query{SQL: "SELECT id, id AS k, x FROM " + name, IncrementalColumn: "k"}
						k := newKeyed(t, openSource(t, Config{URL: u}), q)
						k.sync()
						if k.late.Method != source.MethodSequence || !k.late.Proven {
							t.Fatalf("method %s, proven %t", k.late.Method, k.late.Proven)
						}
						exec(t, writer, "BEGIN")
						exec(t, writer, "INSERT INTO "+name+" (x) VALUES (5)")
						exec(t, c, "INSERT INTO "+name+" (x) VALUES (6)")
						k.sync()
						k.lacks(5)
						k.has(6)
						k.sync()
						k.sync()
						if prepared {
							exec(t, writer, "PREPARE TRANSACTION 'seq'")
							k.sync()
							k.lacks(5)
							k.sync()
							exec(t, c, "COMMIT PREPARED 'seq'")
						} else {
							exec(t, writer, "COMMIT")
						}
						k.sync()
						k.has(5, 6)
						k.sync()
						k.sync()
						if k.read != 0 {
							t.Errorf("an increment without changes read %d rows; watermark %+v", k.read, *k.mark)
						}
						exec(t, c, "INSERT INTO "+name+" (x) VALUES (7)")
						k.sync()
						k.has(7)
						if k.read != 1 {
							t.Errorf("one new row, %d read", k.read)
						}
					})
				}
			}
		}
	})
}

// A number is drawn for a partition under the lock of the table that the statement names.
func TestLateSequenceOfAPartition(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c, writer := connect(t, url), connect(t, url)
		exec(t, c, `CREATE TABLE p (id bigserial, v int) PARTITION BY RANGE (v); CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (100);
			CREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN PERFORM pg_advisory_lock(n); PERFORM pg_advisory_unlock(n); RETURN n; END $$;
			INSERT INTO p (v) VALUES (1), (2)`)
		k := newKeyed(t, openSource(t, Config{URL: url}), source.Query{Table: "p0", IncrementalColumn: "id"})
		k.sync()
		if k.late.Method != source.MethodSequence {
			t.Fatal(k.late.Method)
		}
		exec(t, c, "SELECT pg_advisory_lock(6)")
		done := make(chan error, 1)
		go func() { // draws its number, and waits before the row goes to its partition
			_, err := writer.Exec(context.Background(), "INSERT INTO p (v) VALUES (slow(6))")
			done <- err
		}()
		for waiting := 0; waiting == 0; {
			if err := c.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(&waiting); err != nil {
				t.Fatal(err)
			}
		}
		exec(t, c, "INSERT INTO p (v) VALUES (4), (5)")
		for range 3 {
			k.sync()
		}
		exec(t, c, "SELECT pg_advisory_unlock(6)")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		k.sync()
		k.same(c, "SELECT id FROM p0")
	})
}

// A number given by hand far ahead of the sequence does not hide those that are drawn afterwards.
func TestLateSequenceNumberByHand(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, "CREATE TABLE e (id bigserial PRIMARY KEY, k bigint)")
		k := newKeyed(t, openSource(t, Config{URL: url}), source.Query{SQL: "SELECT id, id AS n FROM e", IncrementalColumn: "n"})
		exec(t, c, "INSERT INTO e (k) VALUES (1), (2)")
		k.sync()
		exec(t, c, "INSERT INTO e (id) VALUES (1000000)")
		k.sync()
		k.sync()
		k.sync()
		exec(t, c, "INSERT INTO e (k) VALUES (3)")
		k.sync()
		k.same(c, "SELECT id FROM e")
	})
}

// What an application dates by itself is promised no more than the lookback.
func TestLateLookback(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, "CREATE TABLE e (id bigint PRIMARY KEY, at timestamptz)")
		exec(t, c, "INSERT INTO e SELECT i, now() - i * interval '1 minute' FROM generate_series(1, 1000) i")
		exec(t, c, "INSERT INTO e VALUES (2000, 'infinity'), (2001, '-infinity'), (2002, NULL), (2003, now() + interval '1 year')")
		k := newKeyed(t, openSource(t, Config{URL: url}), source.Query{Table: "e", IncrementalColumn: "at"})
		k.sync()
		if k.late.Method != source.MethodLookback || k.late.Proven || !strings.Contains(k.late.Guarantee, "5m0s") {
			t.Fatalf("%s, proven %t: %s", k.late.Method, k.late.Proven, k.late.Guarantee)
		}
		exec(t, c, "INSERT INTO e VALUES (3001, now() - interval '3 minutes'), (3002, now() - interval '20 minutes'), (3003, NULL)")
		k.sync()
		k.has(3001, 3003)
		k.lacks(3002)
		if k.read > 20 {
			t.Errorf("a lookback of five minutes read %d rows", k.read)
		}
		hour := time.Hour
		k.o.Lookback = &hour
		k.sync()
		k.sync()
		k.has(3002)
		if !strings.Contains(k.late.Guarantee, "1h0m0s") {
			t.Error(k.late.Guarantee)
		}
	})
}

// A lookback given for a column with the server's clock is added to what is proven anyway.
func TestLateExplicitLookback(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	url := s.DB(t)
	c := connect(t, url)
	exec(t, c, "CREATE TABLE e (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())")
	k := newKeyed(t, openSource(t, Config{URL: url}), source.Query{Table: "e", IncrementalColumn: "at"})
	hour := time.Hour
	k.o.Lookback = &hour
	exec(t, c, "INSERT INTO e VALUES (1)")
	k.sync()
	exec(t, c, "INSERT INTO e VALUES (2, now() - interval '50 minutes'), (3, now() - interval '2 hours')")
	k.sync()
	k.has(1, 2)
	k.lacks(3)
	if k.late.Method != source.MethodXactStart {
		t.Error(k.late.Method)
	}
}

// By row versions every insert and update is found, whatever the column holds, and without one.
func TestLateXmin(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c, writer := connect(t, url), connect(t, url)
		exec(t, c, "CREATE TABLE e (id bigint PRIMARY KEY, v bigint); CREATE VIEW v AS SELECT * FROM e")
		exec(t, c, "INSERT INTO e SELECT i, 0 FROM generate_series(1, 1000) i")
		for _, column := range []string{"", "v"} {
			k := newKeyed(t, openSource(t, Config{URL: url}), source.Query{Table: "e", IncrementalColumn: column})
			k.o.Mode = "xmin"
			k.sync()
			if k.read < 1000 || !k.late.Proven || k.late.Method != source.MethodXmin {
				t.Fatalf("first: %d rows, %s", k.read, k.late.Method)
			}
			exec(t, writer, "BEGIN")
			exec(t, writer, "UPDATE e SET v = v + 1 WHERE id = 7")
			exec(t, c, "UPDATE e SET v = v + 1 WHERE id = 8")
			k.sync()
			exec(t, writer, "COMMIT")
			k.sync()
			if got := fieldText(&int8Type, k.rows[7]); got == "0" {
				t.Errorf("the late update of row 7 was not found")
			}
			if k.read > 3 {
				t.Errorf("two changes, %d rows read", k.read)
			}
			k.sync()
			if k.read != 0 {
				t.Errorf("no changes, %d rows read", k.read)
			}
		}
		n := snapshotOf(t, openSource(t, Config{URL: url}))
		d, err := n.Describe(t.Context(), source.Query{Table: "v", IncrementalColumn: "v"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Late(t.Context(), d, nil, source.LateOptions{Mode: "xmin"}); err == nil || !strings.Contains(err.Error(), "plain tables only") {
			t.Errorf("xmin of a view: %v", err)
		}
	})
}

var int8Type = types.Of(20, -1, nil)

// A role that may not look at running transactions syncs all the same, by lookback.
func TestLateBlind(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, "CREATE TABLE e (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now()); INSERT INTO e VALUES (1)")
		exec(t, c, "REVOKE ALL ON pg_locks FROM PUBLIC")
		k := newKeyed(t, openSource(t, Config{URL: role(t, c, url)}), source.Query{Table: "e", IncrementalColumn: "at"})
		for range 2 {
			k.sync()
			k.has(1)
			if k.late.Method != source.MethodLookback || k.late.Proven || !strings.Contains(k.late.Guarantee, "pg_locks") {
				t.Errorf("%s, proven %t: %s", k.late.Method, k.late.Proven, k.late.Guarantee)
			}
		}
		n := snapshotOf(t, k.src)
		exec(t, c, "TRUNCATE e")
		if _, err := n.Describe(t.Context(), table("e")); err != nil {
			t.Fatal(err)
		}
		if err := n.Seal(t.Context()); fault.CodeOf(err) != fault.SourceConflict {
			t.Errorf("a truncated table: %v", err)
		}
		n.Close()
		if len(k.src.slots) != 0 {
			t.Errorf("%d slots are lost", len(k.src.slots))
		}
	})
}

func TestThin(t *testing.T) {
	var p []source.Pending
	for i := range 100 {
		p = thin(append(p, source.Pending{Bound: fmt.Sprint(i)}))
	}
	if len(p) != pendingMax || p[0].Bound != "0" || p[len(p)-1].Bound != "99" || !slices.IsSortedFunc(p, func(a, b source.Pending) int {
		return len(a.Bound)*1000 - len(b.Bound)*1000 + strings.Compare(a.Bound, b.Bound)
	}) {
		t.Error(p)
	}
}
