package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// A table changes its form in the middle of a transaction that writes it, before and after, and others: the rows of both are
// right in the end.
func TestReplicaSchemaChanges(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, `
			CREATE TABLE items (id int PRIMARY KEY, name text, n int, gone text, big text);
			ALTER TABLE items ALTER big SET STORAGE EXTERNAL;
			CREATE TABLE others (id int PRIMARY KEY, v int);
			INSERT INTO items SELECT g, 'item ' || g, g, 'gone', repeat(md5(g::text), 200) FROM generate_series(1, 200) g;
			INSERT INTO others SELECT g, g FROM generate_series(1, 200) g`)
		p, r := replica(t, url, "")
		s := p.Serve()
		s.Same(r)
		for i, ddl := range []string{
			"ALTER TABLE items ADD COLUMN added int DEFAULT 5",
			"ALTER TABLE items ADD COLUMN computed text DEFAULT md5(random()::text)",
			"ALTER TABLE items DROP COLUMN gone",
			"ALTER TABLE items RENAME COLUMN name TO title",
			"ALTER TABLE items ALTER n TYPE bigint",
			"ALTER TABLE items ALTER n TYPE text USING 'n' || n",
			"ALTER TABLE items ADD COLUMN gone numeric(10,3) DEFAULT 1.5",
			"ALTER TABLE items DROP COLUMN added; ALTER TABLE items ADD COLUMN added text DEFAULT 'same name'",
			"ALTER TABLE items RENAME COLUMN title TO was; ALTER TABLE items RENAME COLUMN n TO title; ALTER TABLE items RENAME COLUMN was TO n",
			"ALTER TABLE items DROP CONSTRAINT items_pkey; ALTER TABLE items ADD COLUMN key2 int NOT NULL DEFAULT 7; ALTER TABLE items ADD PRIMARY KEY (id, key2)",
		} {
			harness.PG(t, url, fmt.Sprintf(`BEGIN; UPDATE others SET v = v + 1; INSERT INTO items (id) VALUES (%[1]d); UPDATE items SET id = id + 10000 WHERE id = 10 + %[2]d;
				%[3]s;
				INSERT INTO items (id) VALUES (%[1]d + 1); DELETE FROM items WHERE id = 50 + %[2]d; INSERT INTO others VALUES (%[1]d, 0); COMMIT`, 1000+10*i, i, ddl))
			if i%2 == 0 {
				// More of it before the copy has followed.
				harness.PG(t, url, fmt.Sprintf("UPDATE others SET v = -v; INSERT INTO items (id) VALUES (%d)", 1005+10*i))
			}
			s.Await(r)
			diffs, err := r.Diff(t.Context(), s)
			require.NoError(t, err)
			require.Empty(t, diffs, "after %s", ddl)
		}
	})
}

// What changes rows, or a table's form, without a word in the stream arrives as well: it is found by looking.
func TestReplicaSilentChanges(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		changes := map[string]string{
			"added":     "ALTER TABLE added ADD COLUMN c int DEFAULT 7",
			"dropped":   "ALTER TABLE dropped DROP COLUMN v",
			"renamed":   "ALTER TABLE renamed RENAME COLUMN v TO w",
			"widened":   "ALTER TABLE widened ALTER v TYPE bigint",
			"rewritten": "ALTER TABLE rewritten ALTER v TYPE int USING v * 2", // of the same type, so nothing tells later either
			"packed":    "VACUUM FULL packed",
		}
		harness.PG(t, url, "CREATE TYPE mood AS ENUM ('sad', 'happy')", "CREATE TABLE other (id int PRIMARY KEY)")
		for table := range changes {
			harness.PG(t, url, "CREATE TABLE "+table+" (id int PRIMARY KEY, v int, m mood DEFAULT 'sad')", "INSERT INTO "+table+" SELECT g, g FROM generate_series(1, 50) g")
		}
		p, r := replica(t, url, "")
		s := p.Serve()
		s.Same(r)
		for _, change := range changes {
			harness.PG(t, url, change)
		}
		s.Becomes(r)
		for table := range changes {
			harness.PG(t, url, "DELETE FROM "+table+" WHERE id < 5", "INSERT INTO "+table+" (id) VALUES (100)")
		}
		s.Same(r)
	})
}

// Tables come and go while others are followed without a pause.
func TestReplicaTablesComeAndGo(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		const make = "CREATE TABLE %[1]s (id int PRIMARY KEY, v text); INSERT INTO %[1]s SELECT g, '%[1]s ' || g FROM generate_series(1, 50) g"
		for _, name := range []string{"tick", "swap_a", "swap_b", "anew", "leaves"} {
			harness.PG(t, url, fmt.Sprintf(make, name))
		}
		harness.PG(t, url, "CREATE SCHEMA more", "CREATE TABLE more.from_more (id int PRIMARY KEY); INSERT INTO more.from_more SELECT generate_series(1, 100000)")
		p, r := replica(t, url, "")
		s := p.Serve()
		s.Same(r)
		n := 50
		slowest := time.Duration(0)
		// tick writes one row, and waits until it has arrived.
		tick := func() {
			t.Helper()
			n++
			harness.PG(t, url, fmt.Sprintf("INSERT INTO tick VALUES (%d, 'tick')", n))
			begun := time.Now()
			harness.Eventually(t, 20*time.Second, "the tick arrives", func() bool { return s.One("SELECT count(*) FROM shop.tick") == fmt.Sprint(n) })
			slowest = max(slowest, time.Since(begun))
		}
		full := func() string {
			return s.One("SELECT watermark->>'after' FROM _pintail.tables WHERE target = 'shop.tick'")
		}
		copied := full()

		// Found by looking: one made, one made anew, two swapped, one gone.
		harness.PG(t, url, fmt.Sprintf(make, "made"), "INSERT INTO made SELECT g, repeat('x', 100) FROM generate_series(1000, 100000) g", "DROP TABLE anew", "CREATE TABLE anew (v int, id text PRIMARY KEY)",
			"INSERT INTO anew VALUES (1, 'one')", "ALTER TABLE swap_a RENAME TO swap_old; ALTER TABLE swap_b RENAME TO swap_a", "UPDATE swap_a SET v = 'was b'", "UPDATE swap_old SET v = 'was a'", "DROP TABLE leaves")
		begun := time.Now()
		harness.Eventually(t, harness.ReplicaTimeout, "the tables are as in the source", func() bool {
			tick()
			diffs, err := r.Diff(t.Context(), s)
			require.NoError(t, err)
			return len(diffs) == 0
		})
		t.Logf("after %s; the slowest of %d ticks took %s", time.Since(begun).Round(time.Millisecond), n-50, slowest.Round(time.Millisecond))
		harness.PG(t, url, "INSERT INTO made VALUES (-1, 'later')", "UPDATE anew SET v = 2", "DELETE FROM swap_a WHERE id < 10", "DELETE FROM swap_old WHERE id > 40")
		s.Same(r)

		// One table is asked for anew.
		var reset struct{ Tables []string }
		s.JSON(200, "POST", "/api/store/sync/shop/reset-watermark?table=shop.made", nil, &reset)
		require.Equal(t, []string{"shop.made"}, reset.Tables)
		for range 5 {
			tick()
		}
		s.Same(r)

		// Through the configuration: one is added, one goes.
		p.Write(p.Head(url) + "datasets:\n  shop: {source: pg, mode: cdc, tables: [public.*, more.*, \"!public.made\"]}\n")
		p.OK("reload", "--yes")
		tick()
		harness.Eventually(t, harness.ReplicaTimeout, "the other schema's table is copied", func() bool {
			tick()
			st, ok := s.Statuses()["shop.from_more"]
			return ok && st.State == "ready"
		})
		harness.PG(t, url, "INSERT INTO more.from_more VALUES (0)", "UPDATE made SET v = 'not followed' WHERE id = 1")
		more := harness.Replica{URL: url, Schema: "more", Dataset: "shop", Except: []string{"tick", "swap_a", "swap_old", "anew"}}
		s.Same(more)
		r.Except = []string{"made", "from_more"}
		s.Same(r)
		require.Equal(t, "0", s.One("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'made'"))
		require.Equal(t, copied, full(), "tick was copied once")
		require.Less(t, slowest, 10*time.Second)
		require.False(t, strings.Contains(r.Slot(t), ","), "no slot is left of the tables that joined")
	})
}

// A table that cannot be followed is told with what to do, the source's own statements work as before, and the others go on.
func TestReplicaRefusedTables(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, `CREATE TABLE good (id int PRIMARY KEY, v int); CREATE TABLE keyless (id int, v int); CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
			CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING; CREATE TABLE whole (id int, v int); ALTER TABLE whole REPLICA IDENTITY FULL;
			INSERT INTO keyless VALUES (1, 1), (1, 1); INSERT INTO whole VALUES (1, 1), (1, 1), (NULL, NULL), (NULL, NULL); INSERT INTO good VALUES (1, 1)`)
		p, r := replica(t, url, "")
		r.Except = []string{"keyless", "unlogged", "nothing"}
		s := p.Serve()
		s.Same(r)
		for table, parts := range map[string][]string{"keyless": {"no primary key", "ADD PRIMARY KEY"}, "unlogged": {"unlogged", "SET LOGGED"}, "nothing": {"NOTHING", "REPLICA IDENTITY"}} {
			st := s.Status("shop." + table)
			require.Equal(t, "error", st.State, table)
			require.NotNil(t, st.Error, table)
			contains(t, *st.Error+" "+st.Hint, append(parts, "public."+table, "!public."+table)...)
		}
		harness.PG(t, url, "UPDATE keyless SET v = 2", "DELETE FROM keyless WHERE v = 2", "INSERT INTO keyless VALUES (5, 5)", "INSERT INTO unlogged VALUES (1)", "INSERT INTO nothing VALUES (1)", "DELETE FROM nothing", "UPDATE good SET v = 2",
			// Without a key, one of some equal rows goes or changes.
			"DELETE FROM whole WHERE ctid = (SELECT min(ctid) FROM whole WHERE id = 1)", "UPDATE whole SET v = 5 WHERE ctid = (SELECT max(ctid) FROM whole WHERE id IS NULL)", "INSERT INTO whole VALUES (1, 1), (2, 2), (2, 2)")
		s.Same(r)
		// Mended, they are taken up: at once when the dataset is resumed.
		again := func() {
			t.Helper()
			s.JSON(200, "POST", "/api/store/datasets/shop/pause", nil, nil)
			s.JSON(200, "POST", "/api/store/datasets/shop/resume", nil, nil)
		}
		harness.PG(t, url, "ALTER TABLE keyless ADD PRIMARY KEY (id)", "ALTER TABLE unlogged SET LOGGED", "ALTER TABLE nothing REPLICA IDENTITY DEFAULT", "INSERT INTO keyless VALUES (6, 6)")
		r.Except = nil
		again()
		s.Same(r)
		harness.PG(t, url, "UPDATE keyless SET v = 7", "UPDATE whole SET v = 6 WHERE id = 2", "DELETE FROM whole WHERE id = 1", "DELETE FROM unlogged")
		s.Same(r)
		// A key is lost and comes back, while nobody looks and while the table is left out.
		harness.PG(t, url, "ALTER TABLE good REPLICA IDENTITY FULL", "ALTER TABLE good DROP CONSTRAINT good_pkey", "UPDATE good SET v = 3", "INSERT INTO good VALUES (1, 9)")
		again()
		s.Same(r)
		harness.PG(t, url, "DELETE FROM good WHERE v = 9", "ALTER TABLE good REPLICA IDENTITY DEFAULT")
		again()
		harness.Eventually(t, harness.ReplicaTimeout, "the lost key is told", func() bool {
			return s.Status("shop.good").State == "error" && one(t, url, "SELECT count(*)::text FROM pg_publication_tables WHERE tablename = 'good'") == "0"
		})
		harness.PG(t, url, "UPDATE good SET v = 8", "ALTER TABLE good ADD PRIMARY KEY (id)")
		again()
		s.Same(r)
	})
}

// A table as wide as PostgreSQL makes them.
func TestReplicaWideTable(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		var defs []string
		for i := 1; i < 1600; i++ {
			defs = append(defs, fmt.Sprintf("c%d int2", i))
		}
		harness.PG(t, url, "CREATE TABLE wide (id int PRIMARY KEY, "+strings.Join(defs, ", ")+")", "INSERT INTO wide (id, c1, c1599) SELECT g, g, g FROM generate_series(1, 50) g")
		p, r := replica(t, url, "")
		// DuckDB takes a block of 256 KiB for each column of each of the tables that take part.
		p.Write(strings.Replace(p.Head(url), "512MiB", "3GiB", 1) + harness.ReplicaYAML("shop", ""))
		s := p.Serve()
		s.Same(r)
		harness.PG(t, url, "UPDATE wide SET c800 = id, c1599 = -1 WHERE id % 2 = 0", "INSERT INTO wide (id, c777) SELECT g, 7 FROM generate_series(100, 110) g", "DELETE FROM wide WHERE id < 5")
		s.Same(r)
	})
}
