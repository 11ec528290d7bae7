package postgres

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

// keyed is a copy of a table (id bigint first, then the incremental column), kept by increments as the syncer keeps one.
type keyed struct {
	t      *testing.T
	src    *Source
	q      source.Query
	o      source.LateOptions
	limit  int64
	rows   map[int64][]byte // id → the incremental column's field
	mark   *source.Watermark
	read   int // rows of the last sync
	late   source.Late
	capped bool
}

func newKeyed(t *testing.T, src *Source, q source.Query) *keyed {
	return &keyed{t: t, src: src, q: q, rows: map[int64][]byte{}, o: source.LateOptions{Keyed: true}}
}

// sync is one run, the first one full.
func (k *keyed) sync() {
	t := k.t
	t.Helper()
	n, err := k.src.snapshot(t.Context(), source.SnapshotOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	d, err := n.Describe(t.Context(), k.q)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.late, err = n.Late(t.Context(), d, k.mark, k.o); err != nil {
		t.Fatal(err)
	}
	r := k.late.Range
	r.Limit = k.limit
	rows := readDescribed(t, n, d, r, 2)
	k.read = len(rows)
	col := &d.Columns[1]
	last := ""
	for _, b := range rows {
		field := fields(b)[1]
		k.rows[int64(binary.BigEndian.Uint64(fields(b)[0]))] = field
		if field != nil {
			if last, err = greatest(&col.Type, last, fieldText(&col.Type, field)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if k.capped = k.limit > 0 && int64(k.read) >= k.limit; !k.capped {
		last = ""
	}
	high := ""
	for _, f := range k.rows {
		if f != nil {
			if high, err = greatest(&col.Type, high, fieldText(&col.Type, f)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w, err := k.late.Next(t.Context(), high, last)
	if err != nil {
		t.Fatal(err)
	}
	// As the store keeps it.
	b, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	k.mark = &source.Watermark{}
	if err := json.Unmarshal(b, k.mark); err != nil {
		t.Fatal(err)
	}
}

func fields(row []byte) [][]byte {
	out := make([][]byte, binary.BigEndian.Uint16(row))
	at := 2
	for i := range out {
		n := int(int32(binary.BigEndian.Uint32(row[at:])))
		at += 4
		if n >= 0 {
			out[i] = row[at : at+n]
			at += n
		}
	}
	return out
}

func fieldText(t *types.Type, f []byte) string {
	switch t.Kind {
	case types.Timestamp, types.TimestampTZ:
		return formatTime(t, int64(binary.BigEndian.Uint64(f)))
	case types.Int64:
		return fmt.Sprint(int64(binary.BigEndian.Uint64(f)))
	case types.Int32:
		return fmt.Sprint(int32(binary.BigEndian.Uint32(f)))
	case types.Date:
		return formatTime(t, int64(int32(binary.BigEndian.Uint32(f))))
	}
	return string(f)
}

func (k *keyed) has(ids ...int64) {
	k.t.Helper()
	for _, id := range ids {
		if _, ok := k.rows[id]; !ok {
			k.t.Errorf("row %d is lost; watermark %+v", id, *k.mark)
		}
	}
}

func (k *keyed) lacks(ids ...int64) {
	k.t.Helper()
	for _, id := range ids {
		if _, ok := k.rows[id]; ok {
			k.t.Errorf("row %d is there already: the race did not happen", id)
		}
	}
}

// same says that the copy is what the source has.
func (k *keyed) same(c *pgx.Conn, query string) {
	k.t.Helper()
	rows, err := c.Query(k.t.Context(), query)
	if err != nil {
		k.t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		k.t.Fatal(err)
	}
	k.has(ids...)
	if len(ids) != len(k.rows) {
		k.t.Errorf("the copy has %d rows, the source %d", len(k.rows), len(ids))
	}
}

// role makes a role that may read the test's tables and nothing else, and returns its URL.
func role(t *testing.T, c *pgx.Conn, url string) string {
	t.Helper()
	name := fmt.Sprintf("reader_%d", time.Now().UnixNano())
	exec(t, c, "CREATE ROLE "+name+" LOGIN PASSWORD 'secret'")
	t.Cleanup(func() {
		ctx, cancel := contextFor(5 * time.Second)
		defer cancel()
		c.Exec(ctx, "DROP OWNED BY "+name)
		c.Exec(ctx, "DROP ROLE "+name)
	})
	exec(t, c, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+name)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://%s:secret@%s:%d/%s?sslmode=disable", name, config.Host, config.Port, config.Database)
}

func safeTime(t *testing.T, w *source.Watermark) int64 {
	t.Helper()
	if w.Safe == "" {
		t.Fatalf("nothing is safe: %+v", *w)
	}
	x, err := parseTime(&instant, w.Safe)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

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

// A number given by hand far ahead of the sequence does not hide those that are drawn afterwards.
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

// What the last read has brought is not read again, although reads go back further than its end: only new row versions are.
func TestLateSeen(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c, writer := connect(t, url), connect(t, url)
		for _, tc := range []struct {
			name, column string
			method       source.Method
		}{
			{"clock", "timestamptz DEFAULT now()", source.MethodXactStart},
			{"application", "timestamptz", source.MethodLookback},
			{"text", "text", source.MethodLookback},
		} {
			exec(t, c, "DROP TABLE IF EXISTS e CASCADE; CREATE TABLE e (id bigint PRIMARY KEY, at "+tc.column+", n int)")
			exec(t, c, "INSERT INTO e SELECT i, now() FROM generate_series(1, 1000) i; INSERT INTO e VALUES (2000, NULL)")
			k := newKeyed(t, openSource(t, Config{URL: url}), source.Query{Table: "e", IncrementalColumn: "at"})
			reads := func(want int, what string) {
				t.Helper()
				k.sync()
				k.same(c, "SELECT id FROM e")
				if k.read != want {
					t.Errorf("%s: %s: %d rows read, want %d", tc.name, what, k.read, want)
				}
			}
			reads(1001, "first")
			if k.late.Method != tc.method {
				t.Fatalf("%s: %s", tc.name, k.late.Method)
			}
			reads(0, "nothing changed in the server")
			exec(t, c, "SELECT txid_current()")
			reads(0, "nothing changed in the table")
			exec(t, c, "UPDATE e SET n = 1 WHERE id IN (7, 2000)")
			reads(2, "an update of a row and of one without a value")
			// A transaction that is under way at a read comes below its largest value.
			exec(t, writer, "BEGIN; INSERT INTO e VALUES (3000, now())")
			exec(t, c, "INSERT INTO e VALUES (3001, now() + interval '10 ms')")
			k.sync()
			k.has(3001)
			k.lacks(3000)
			exec(t, writer, "COMMIT")
			if tc.name == "text" { // has no lookback
				k.sync()
				k.lacks(3000)
				k.mark.Safe = ""
				exec(t, c, "SELECT txid_current()")
				k.sync()
				k.has(3000)
				continue
			}
			k.sync()
			k.same(c, "SELECT id FROM e")
			// An id from the future is another server's, or this one's before it was set back.
			k.mark.Seen = "999999999999"
			k.sync()
			if k.late.Range.Seen != nil || k.read < 1000 {
				t.Errorf("%s: after the server was set back: %d rows read", tc.name, k.read)
			}
			reads(0, "afterwards")
			exec(t, c, "ALTER TABLE e RENAME TO old; CREATE TABLE e (LIKE old) PARTITION BY RANGE (id); ALTER TABLE e ATTACH PARTITION old DEFAULT")
			k.sync()
			if k.sync(); k.late.Range.Seen != nil {
				t.Errorf("%s: a partition may come with rows that it had before: %+v", tc.name, k.late.Range)
			}
			exec(t, c, "DROP TABLE e")
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

// A capped read goes on where it stopped, loses nothing to equal values or NULLs, and ends.
func TestLateCapped(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE clock (id bigint PRIMARY KEY, at timestamptz DEFAULT now());
			CREATE TABLE app (id bigint PRIMARY KEY, at timestamptz);
			CREATE TABLE seq (id bigserial PRIMARY KEY, k bigint);
			CREATE TABLE vers (id bigint PRIMARY KEY, at timestamptz)`)
		rows := "SELECT i, '2020-01-01'::timestamptz + (i / 40) * interval '1 second' FROM generate_series(1, 1000) i"
		exec(t, c, "INSERT INTO clock "+rows+"; INSERT INTO app "+rows+"; INSERT INTO vers "+rows)
		exec(t, c, "INSERT INTO seq (k) SELECT i FROM generate_series(1, 1000) i")
		for _, name := range []string{"clock", "app", "vers"} {
			exec(t, c, "INSERT INTO "+name+" VALUES (2000, NULL), (2001, NULL)")
		}
		for _, tc := range []struct {
			q    source.Query
			mode string
		}{
			{source.Query{Table: "clock", IncrementalColumn: "at"}, ""},
			{source.Query{Table: "app", IncrementalColumn: "at"}, ""},
			{source.Query{SQL: "SELECT id, id AS n FROM seq", IncrementalColumn: "n"}, ""},
			{source.Query{Table: "vers", IncrementalColumn: "at"}, "xmin"},
		} {
			k := newKeyed(t, openSource(t, Config{URL: url}), tc.q)
			k.limit, k.o.Mode = 30, tc.mode // fewer than there are of one value
			name := tc.q.Table
			if name == "" {
				name = "seq"
			}
			runs := 0
			for k.sync(); k.capped; k.sync() {
				if runs++; runs > 200 {
					t.Fatalf("%s: no end after %d runs: %+v", name, runs, *k.mark)
				}
			}
			k.same(c, "SELECT id FROM "+name)
		}
	})
}

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
