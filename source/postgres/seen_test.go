package postgres

import (
	"testing"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

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
