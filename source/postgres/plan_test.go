package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

// Whatever the way in which rows are split, each comes exactly once.
func TestPartitions(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE empty (id int, s text);
			CREATE TABLE small AS SELECT i AS id, 's' || i AS s FROM generate_series(1, 100) i;
			CREATE TABLE large AS SELECT i AS id, repeat('x', 300) || i AS s FROM generate_series(1, 60000) i;
			DELETE FROM large WHERE id % 3 = 0;
			CREATE TABLE parts (id int, gone int, k int, s text) PARTITION BY RANGE (k);
			CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (0) TO (10);
			CREATE TABLE parts_b (s text, k int, x int, id int); ALTER TABLE parts DROP COLUMN gone; ALTER TABLE parts_b DROP COLUMN x;
			ALTER TABLE parts ATTACH PARTITION parts_b FOR VALUES FROM (10) TO (20);
			CREATE TABLE parts_c PARTITION OF parts FOR VALUES FROM (20) TO (30) PARTITION BY LIST (k);
			CREATE TABLE "parts c""1" PARTITION OF parts_c FOR VALUES IN (21, 22); CREATE TABLE parts_cd PARTITION OF parts_c DEFAULT;
			CREATE TABLE parts_d PARTITION OF parts DEFAULT;
			INSERT INTO parts SELECT i, i % 40, repeat('y', 200) || i FROM generate_series(1, 60000) i; INSERT INTO parts VALUES (0, NULL, 'null');
			CREATE TABLE mother (id int, s text); CREATE TABLE child (more int) INHERITS (mother); CREATE TABLE grandchild () INHERITS (child);
			INSERT INTO mother SELECT i, 'm' FROM generate_series(1, 100) i; INSERT INTO child SELECT i, 'c', 1 FROM generate_series(1, 30000) i;
			INSERT INTO grandchild SELECT i, 'g', 2 FROM generate_series(1, 200) i;
			CREATE VIEW v AS SELECT id, s FROM large; CREATE MATERIALIZED VIEW mv AS SELECT * FROM large;
			CREATE TABLE keys AS SELECT i AS id, CASE WHEN i % 7 = 0 THEN NULL WHEN i % 2 = 0 THEN 42 ELSE i END AS skew, md5(i::text)::uuid AS u,
				md5(i::text) || 'ä' AS t, now() - i * interval '1 minute' AS at, (now() - i * interval '1 hour')::date AS d, (i * 0.5)::numeric(10,1) AS n,
				CASE i % 100 WHEN 0 THEN 'NaN' WHEN 1 THEN 'Infinity' ELSE i::float8 END AS f, 7 AS same, NULL::int AS nothing, '{}'::json AS j
				FROM generate_series(1, 60000) i;
			INSERT INTO keys (id, at, d) VALUES (-1, 'infinity', 'infinity'), (-2, '-infinity', '-infinity'), (-3, NULL, NULL);
			CREATE INDEX ON keys (u); ANALYZE`)
		src := openSource(t, Config{URL: url})
		n := snapshotOf(t, src)
		count := func(q source.Query, workers int) int {
			t.Helper()
			d, err := n.Describe(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			parts, err := n.parts(t.Context(), d, source.Range{}, workers)
			if err != nil {
				t.Fatal(err)
			}
			return len(parts)
		}
		for _, tc := range []struct {
			q    source.Query
			want string
			more bool // than one piece
		}{
			{table("empty"), "SELECT * FROM empty", false},
			{table("small"), "SELECT * FROM small", false},
			{table("large"), "SELECT * FROM large", true},
			{source.Query{Table: "large", Where: "large.id < 1000 -- few", Columns: []string{"s"}}, "SELECT s FROM large WHERE id < 1000", true},
			{table("parts"), "SELECT * FROM parts", true},
			{source.Query{Table: "parts", Where: "parts.k IS NULL OR k > 15", Columns: []string{"s", "id"}}, "SELECT s, id FROM parts WHERE k IS NULL OR k > 15", true},
			{table("mother"), "SELECT * FROM mother", true},
			{table("child"), "SELECT * FROM child", true},
			{table("v"), "SELECT * FROM v", false},
			{source.Query{Table: "v", PartitionColumn: "id"}, "SELECT * FROM v", false}, // fewer rows than are worth it
			{table("mv"), "SELECT * FROM mv", true},
			{source.Query{SQL: "SELECT * FROM keys"}, "SELECT * FROM keys", false},
		} {
			name := tc.q.Table + tc.q.SQL
			equalRows(t, readAll(t, n, tc.q, source.Range{}, 4), copied(t, c, tc.want))
			equalRows(t, readAll(t, n, tc.q, source.Range{}, 1), copied(t, c, tc.want))
			if got := count(tc.q, 4); (got > 1) != tc.more {
				t.Errorf("%s: %d pieces", name, got)
			}
		}
		for i, column := range []string{"id", "skew", "u", "t", "at", "d", "n", "f", "same", "nothing"} {
			for k, sql := range []string{"SELECT * FROM keys", "SELECT * FROM keys UNION ALL SELECT id, u, c FROM extra", "SELECT * FROM keys k LEFT JOIN (SELECT id AS other FROM small) s ON other = id"} {
				if k > 0 && i%3 != k { // the other forms with some of the columns
					continue
				}
				sql = strings.Replace(sql, "*", "id, u, "+column+" AS c", 1)
				sql = strings.Replace(sql, "FROM extra", "FROM (SELECT id, u, "+column+" AS c FROM keys WHERE id < 100) extra", 1)
				q := source.Query{SQL: sql, PartitionColumn: "c"}
				want := copied(t, c, sql)
				equalRows(t, readAll(t, n, q, source.Range{}, 3), want)
				if got := count(q, 3); got < 2 && column != "nothing" {
					t.Errorf("%s by %s: %d pieces", sql, column, got)
				}
			}
		}
		// A column without an order is read in one piece, not refused.
		equalRows(t, readAll(t, n, source.Query{SQL: "SELECT * FROM keys", PartitionColumn: "j"}, source.Range{}, 3), copied(t, c, "SELECT * FROM keys"))
		q := source.Query{SQL: "SELECT * FROM keys", PartitionColumn: "Key", Rename: map[string]string{"skew": "Key"}}
		equalRows(t, readAll(t, n, q, source.Range{}, 3), copied(t, c, "SELECT * FROM keys"))

		// The pieces by an evenly spread column are about equal, although half of the rows have one value of another.
		d, err := n.Describe(t.Context(), source.Query{SQL: "SELECT * FROM keys", PartitionColumn: "u"})
		if err != nil {
			t.Fatal(err)
		}
		parts, err := n.parts(t.Context(), d, source.Range{}, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			var rows int
			if err := c.QueryRow(t.Context(), "SELECT count(*) FROM ("+p.query+") q").Scan(&rows); err != nil || rows > 60000*2/(len(parts)-1) {
				t.Errorf("a piece of %d has %d rows: %v", len(parts), rows, err)
			}
		}
	})
}

// Row security and missing rights on partitions: read through the parent, the rows are those that the role may see.
func TestPartitionRights(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE p (id int, k int) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
			INSERT INTO p SELECT i, 1 + i % 2 FROM generate_series(1, 1000) i; CREATE TABLE cols (a int, b int); INSERT INTO cols SELECT i, i FROM generate_series(1, 100000) i`)
		reader := role(t, c, url)
		name := strings.Split(strings.TrimPrefix(reader, "postgres://"), ":")[0]
		exec(t, c, "REVOKE ALL ON p2, cols FROM "+name+"; GRANT SELECT (a) ON cols TO "+name)
		n := snapshotOf(t, openSource(t, Config{URL: reader}))
		if rows := readAll(t, n, table("p"), source.Range{}, 2); len(rows) != 1000 {
			t.Errorf("through the parent: %d rows", len(rows))
		}
		if rows := readAll(t, n, source.Query{Table: "cols", Columns: []string{"a"}}, source.Range{}, 4); len(rows) != 100000 {
			t.Errorf("with a right on a column: %d rows", len(rows))
		}
		n.Close()
		exec(t, c, "GRANT SELECT ON p2 TO "+name+"; ALTER TABLE p ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON p USING (id <= 10)")
		n = snapshotOf(t, openSource(t, Config{URL: reader}))
		if rows := readAll(t, n, table("p"), source.Range{}, 2); len(rows) != 10 {
			t.Errorf("with a policy: %d rows", len(rows))
		}
	})
}

// Ranges read what their conditions say, in every kind of dataset.
func TestRanges(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE r (id int, "K" int, t text COLLATE "en-x-icu", at timestamptz, c char(3));
			INSERT INTO r SELECT i, CASE WHEN i % 10 > 0 THEN i / 3 END, chr(64 + i % 60), '2020-01-01'::timestamptz + i * interval '1 hour', 'x' FROM generate_series(1, 1000) i;
			CREATE TABLE rp (LIKE r) PARTITION BY HASH (id); CREATE TABLE rp0 PARTITION OF rp FOR VALUES WITH (MODULUS 2, REMAINDER 0);
			CREATE TABLE rp1 PARTITION OF rp FOR VALUES WITH (MODULUS 2, REMAINDER 1); INSERT INTO rp SELECT * FROM r; CREATE VIEW rv AS SELECT * FROM r`)
		n := snapshotOf(t, openSource(t, Config{URL: url}))
		for _, q := range []source.Query{table("r"), table("rp"), table("rv"), {SQL: "SELECT * FROM r"}} {
			q.Rename = map[string]string{"K": "k"}
			for _, tc := range []struct {
				r    source.Range
				want string
			}{
				{source.Range{Column: "k", Low: "100"}, `"K" >= 100`},
				{source.Range{Column: "k", Low: "100", High: "200"}, `"K" >= 100 AND "K" < 200`},
				{source.Range{Column: "k", High: "200"}, `"K" < 200`},
				{source.Range{Column: "k", Low: "100", OrNull: true}, `"K" >= 100 OR "K" IS NULL`},
				{source.Range{Column: "k", Low: "100", High: "120", OrNull: true}, `"K" >= 100 AND "K" < 120 OR "K" IS NULL`},
				{source.Range{Column: "k", OrNull: true}, "true"},
				{source.Range{Column: "at", Low: "2020-01-10 00:00:00+00"}, "at >= '2020-01-10 00:00:00+00'"},
				{source.Range{Column: "t", Low: "Z", High: "a"}, `t COLLATE "C" >= 'Z' AND t COLLATE "C" < 'a'`},
				{source.Range{Column: "t", Low: `\'`, High: "'' OR true --"}, `t COLLATE "C" >= E'\\''' AND t COLLATE "C" < ''''' OR true --'`},
				{source.Range{Column: "k", Limit: 100}, `"K" IS NULL OR "K" <= (SELECT "K" FROM r WHERE "K" IS NOT NULL ORDER BY "K" OFFSET 99 LIMIT 1)`},
				{source.Range{Column: "k", Low: "50", Limit: 10}, `"K" >= 50 AND "K" <= (SELECT "K" FROM r WHERE "K" >= 50 ORDER BY "K" OFFSET 9 LIMIT 1)`},
				{source.Range{Column: "k", Low: "50", OrNull: true, Limit: 10}, `"K" IS NULL OR "K" >= 50 AND "K" <= (SELECT "K" FROM r WHERE "K" >= 50 ORDER BY "K" OFFSET 9 LIMIT 1)`},
				{source.Range{Column: "t", Low: "b", Limit: 50}, `t COLLATE "C" >= 'b' AND t COLLATE "C" <= (SELECT t FROM r WHERE t COLLATE "C" >= 'b' ORDER BY t COLLATE "C" OFFSET 49 LIMIT 1) COLLATE "C"`},
				{source.Range{Column: "k", Limit: 100000}, "true"},
			} {
				got := readAll(t, n, q, tc.r, 3)
				want := copied(t, c, "SELECT * FROM r WHERE "+tc.want)
				if len(got) != len(want) || len(want) == 0 && !strings.Contains(tc.want, "OR true --") {
					t.Errorf("%s%s, %+v: %d rows, want %d", q.Table, q.SQL, tc.r, len(got), len(want))
					continue
				}
				equalRows(t, got, want)
			}
		}
		d, err := n.Describe(t.Context(), table("r"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Read(t.Context(), d, source.Range{Column: "gone", Low: "1"}, 1, nil); err == nil {
			t.Error("a column that is not there")
		}
	})
}

// A large increment is split as a full read is, a small one is not.
func TestIncrementPieces(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	c := connect(t, url)
	exec(t, c, `CREATE TABLE big AS SELECT i AS id, repeat('x', 200) AS s FROM generate_series(1, 200000) i; CREATE INDEX ON big (id); ANALYZE big`)
	n := snapshotOf(t, openSource(t, Config{URL: url}))
	d, err := n.Describe(t.Context(), table("big"))
	if err != nil {
		t.Fatal(err)
	}
	for low, more := range map[int]bool{199000: false, 10000: true} {
		parts, err := n.parts(t.Context(), d, source.Range{Column: "id", Low: fmt.Sprint(low)}, 2)
		if err != nil || (len(parts) > 1) != more {
			t.Errorf("from %d: %d pieces (%v)", low, len(parts), err)
		}
	}
	if got := len(readDescribed(t, n, d, source.Range{Column: "id", Low: "10000"}, 2)); got != 190001 {
		t.Errorf("%d rows", got)
	}
}

// All readers see one snapshot, whatever commits meanwhile.
func TestOneSnapshot(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE a AS SELECT i AS id, repeat('x', 300) AS s FROM generate_series(1, 60000) i; CREATE TABLE b AS SELECT 1 AS x`)
		wantA, wantB := copied(t, c, "SELECT * FROM a"), copied(t, c, "SELECT * FROM b")
		n := snapshotOf(t, openSource(t, Config{URL: url}))
		exec(t, c, "UPDATE a SET id = -id WHERE id % 2 = 0; DELETE FROM a WHERE id % 5 = 0; INSERT INTO a SELECT 1, 'new' FROM generate_series(1, 1000); INSERT INTO b VALUES (2)")
		d, err := n.Describe(t.Context(), table("a"))
		if err != nil {
			t.Fatal(err)
		}
		f, err := n.Read(t.Context(), d, source.Range{}, 3, nil)
		if err != nil {
			t.Fatal(err)
		}
		if f.Workers() != 3 {
			t.Errorf("%d workers", f.Workers())
		}
		first, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		exec(t, c, "UPDATE a SET s = 'later'")
		exec(t, c, "VACUUM a")
		var got [][]byte
		if err := drain(t.Context(), &prepended{Feed: f, first: first}, d.Types(), func(b []byte) { got = append(got, b) }); err != nil {
			t.Fatal(err)
		}
		sortRows(got)
		equalRows(t, got, wantA)
		equalRows(t, readAll(t, n, table("b"), source.Range{}, 2), wantB)
	})
}

// Two feeds of one snapshot may be read at the same time, also by more workers than there are connections.
func TestFeedsSideBySide(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	c := connect(t, url)
	exec(t, c, `CREATE TABLE a AS SELECT i AS id, repeat('x', 300) AS s FROM generate_series(1, 40000) i`)
	want := copied(t, c, "SELECT * FROM a")
	for _, pool := range []int{1, 2, 8} {
		src := openSource(t, Config{URL: url, Pool: pool})
		n := snapshotOf(t, src)
		errs := make(chan error)
		for range 3 {
			go func() {
				errs <- func() error {
					d, err := n.Describe(t.Context(), table("a"))
					if err != nil {
						return err
					}
					f, err := n.Read(t.Context(), d, source.Range{}, 4, nil)
					if err != nil {
						return err
					}
					rows := 0
					err = drain(t.Context(), f, d.Types(), func([]byte) { rows++ })
					if err == nil && rows != len(want) {
						err = fmt.Errorf("%d rows, want %d", rows, len(want))
					}
					return err
				}()
			}()
		}
		for range 3 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if len(src.slots) != 0 {
			t.Errorf("%d slots are still taken", len(src.slots))
		}
		if len(src.idle) > pool {
			t.Errorf("%d idle connections with a pool of %d", len(src.idle), pool)
		}
	}
}

// Planning one table does not wait for the rows of another.
func TestPlanBesideRead(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	c := connect(t, url)
	exec(t, c, "CREATE TABLE a AS SELECT i AS id FROM generate_series(1, 100000) i; ANALYZE a")
	n := snapshotOf(t, openSource(t, Config{URL: url}))
	slow, err := n.Describe(t.Context(), source.Query{SQL: "SELECT 1 AS a, pg_sleep(60)::text AS b"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := n.Describe(t.Context(), source.Query{SQL: "SELECT id FROM a", PartitionColumn: "id"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := n.Read(t.Context(), slow, source.Range{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- drain(ctx, f, slow.Types(), nil) }()
	for busy := false; !busy; {
		n.mu.Lock()
		busy = len(n.out) > 0
		n.mu.Unlock()
	}
	if rows := readDescribed(t, n, d, source.Range{Column: "id", Low: "1000"}, 2); len(rows) != 99001 {
		t.Errorf("%d rows", len(rows))
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("the slow read ended by itself")
	}
}

// A source that does not let us COPY is read through a cursor; it is found out once.
func TestCopyRefused(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, "CREATE TABLE a AS SELECT i AS id, repeat('x', 300) AS s FROM generate_series(1, 40000) i")
		want := copied(t, c, "SELECT * FROM a")
		defer func(f func(string) string) { copySQL = f }(copySQL)
		copySQL = func(q string) string { return "COPIE (" + q + ") TO STDOUT (FORMAT binary)" } // as a server that knows no COPY sees it
		src := openSource(t, Config{URL: url, FetchRows: 1000})
		for range 2 {
			n := snapshotOf(t, src)
			equalRows(t, readAll(t, n, table("a"), source.Range{}, 3), want)
			equalRows(t, readAll(t, n, source.Query{SQL: "SELECT * FROM a WHERE id < 0"}, source.Range{}, 3), nil)
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}
		if src.copies.Load() != copyRefused {
			t.Error("it was not noted")
		}
		src = openSource(t, Config{URL: url, Read: "copy"})
		n := snapshotOf(t, src)
		d, err := n.Describe(t.Context(), table("a"))
		if err != nil {
			t.Fatal(err)
		}
		f, err := n.Read(t.Context(), d, source.Range{}, 1, nil)
		if err == nil {
			err = drain(t.Context(), f, d.Types(), nil)
		}
		if err == nil || !strings.Contains(err.Error(), "COPIE") {
			t.Errorf("read: copy does not fall back: %v", err)
		}
	})
}

// prepended is a feed whose first reader was taken already.
type prepended struct {
	change.Feed
	first change.Reader
}

func (p *prepended) Workers() int { return 1 }

func (p *prepended) Next(ctx context.Context) (change.Reader, error) {
	if r := p.first; r != nil {
		p.first = nil
		return r, nil
	}
	return p.Feed.Next(ctx)
}
