package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// Keys that move, come and go within one transaction or one batch, under every replica identity, with large values that the
// source does not send again.
func TestReplicaKeys(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		const columns = "(a int NOT NULL, b text NOT NULL, v int, big text, more bytea, other int NOT NULL, "
		identities := map[string]string{"by_default": "PRIMARY KEY (a, b))", "by_full": "PRIMARY KEY (a, b)); ALTER TABLE by_full REPLICA IDENTITY FULL",
			"by_index": "PRIMARY KEY (a, b)); CREATE UNIQUE INDEX by_index_other ON by_index (other); ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_other",
			"by_large": "PRIMARY KEY (b))"} // a key that is stored out of line
		all := func(stmts ...string) {
			t.Helper()
			for table := range identities {
				var mine []string
				for _, stmt := range stmts {
					mine = append(mine, strings.ReplaceAll(stmt, "{T}", table))
				}
				harness.PG(t, url, mine...)
			}
		}
		for table, rest := range identities {
			harness.PG(t, url, "CREATE TABLE "+table+" "+columns+rest)
		}
		all("ALTER TABLE {T} ALTER big SET STORAGE EXTERNAL, ALTER more SET STORAGE EXTERNAL")
		harness.PG(t, url, "ALTER TABLE by_large ALTER b SET STORAGE EXTERNAL", "ALTER TABLE by_large ADD COLUMN pad text DEFAULT 'x'")
		const row = "SELECT g, 'k' || g, g, repeat(md5(g::text), 300), decode(repeat(md5(g::text), 300), 'hex'), 1000 + g"
		all("INSERT INTO {T} (a, b, v, big, more, other) " + row + " FROM generate_series(1, 60) g")
		harness.PG(t, url, "UPDATE by_large SET b = b || repeat('z', 2300) WHERE a % 5 = 0")
		harness.PG(t, url, "CREATE TABLE parents (id int PRIMARY KEY, v int)", "CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents, v text)",
			"INSERT INTO parents SELECT g, g FROM generate_series(1, 20) g", "INSERT INTO children SELECT g, 1 + g % 20, 'c' FROM generate_series(1, 60) g")
		p, r := replica(t, url, "")
		s := p.Serve()
		s.Same(r)

		for i, steps := range [][]string{
			{"UPDATE {T} SET v = v + 1"}, // big and more are not sent
			{"UPDATE {T} SET big = big || 'x' WHERE a % 2 = 0", "UPDATE {T} SET more = NULL WHERE a % 3 = 0", "UPDATE {T} SET v = -v"},
			{"UPDATE {T} SET b = b || 'moved', other = other + 5000 WHERE a <= 20"}, // keys move, large values stay
			{"UPDATE {T} SET a = a + 100 WHERE a <= 5", "UPDATE {T} SET a = a - 100 WHERE a > 100"},
			// Rows that are new in the same transaction are changed, moved, and go.
			{"BEGIN; INSERT INTO {T} (a, b, v, big, more, other) " + row + " FROM generate_series(200, 230) g; UPDATE {T} SET v = 7 WHERE a >= 200; UPDATE {T} SET b = b || 'm' WHERE a >= 210; UPDATE {T} SET big = 'short' WHERE a = 215; DELETE FROM {T} WHERE a > 225; COMMIT"},
			// One key goes and comes back, once and twice; it moves away and another one takes its place.
			{"BEGIN; DELETE FROM {T} WHERE a = 30; INSERT INTO {T} (a, b, v, other) VALUES (30, 'k30', 1, 9030); COMMIT",
				"BEGIN; INSERT INTO {T} (a, b, v, other) VALUES (500, 'k500', 1, 9500); DELETE FROM {T} WHERE a = 500; INSERT INTO {T} (a, b, v, big, other) VALUES (500, 'k500', 2, repeat('y', 9000), 9501); DELETE FROM {T} WHERE a = 500; COMMIT",
				"BEGIN; UPDATE {T} SET b = 'gone', other = 9999 WHERE a = 31; INSERT INTO {T} (a, b, v, other) VALUES (31, 'k31', 99, 8999); COMMIT",
				"BEGIN; UPDATE {T} SET b = 'swap', other = 7001 WHERE a = 32; UPDATE {T} SET a = 32, b = 'k32', other = 1032 WHERE a = 33; UPDATE {T} SET a = 33, b = 'k33', other = 1033 WHERE b = 'swap'; COMMIT"},
			{"BEGIN; UPDATE {T} SET v = 1; SAVEPOINT s; UPDATE {T} SET v = 2; DELETE FROM {T} WHERE a < 50; ROLLBACK TO s; UPDATE {T} SET v = v + 5 WHERE a > 50; COMMIT", "BEGIN; DELETE FROM {T}; ROLLBACK"},
			{"DELETE FROM {T} WHERE a % 4 = 0", "UPDATE {T} SET v = NULL WHERE a % 4 = 1"},
			{"BEGIN; INSERT INTO {T} (a, b, v, other) VALUES (600, 'k600', 1, 9600); TRUNCATE {T}; INSERT INTO {T} (a, b, v, big, more, other) " + row + " FROM generate_series(1, 10) g; UPDATE {T} SET v = 3; COMMIT"},
			{"TRUNCATE {T}", "INSERT INTO {T} (a, b, v, big, more, other) " + row + " FROM generate_series(5, 9) g"},
		} {
			all(steps...)
			s.Await(r)
			diffs, err := r.Diff(t.Context(), s)
			require.NoError(t, err)
			require.Empty(t, diffs, "after step %d: %v", i, steps)
		}

		// The identity changes while the table is followed.
		harness.PG(t, url, "ALTER TABLE by_default REPLICA IDENTITY FULL", "ALTER TABLE by_full REPLICA IDENTITY DEFAULT")
		all("UPDATE {T} SET v = 11", "UPDATE {T} SET b = 'n' || b, other = other + 20000 WHERE a < 7", "DELETE FROM {T} WHERE a = 9")
		s.Same(r)
		// TRUNCATE of one, of several, and of what refers to it.
		harness.PG(t, url, "TRUNCATE parents CASCADE", "INSERT INTO parents VALUES (1, 1)", "INSERT INTO children VALUES (1, 1, 'again')", "TRUNCATE by_full, by_default")
		s.Same(r)
		require.Equal(t, "1", s.One("SELECT count(*) FROM shop.children"))
	})
}

// Partitions are one table: rows move between them, their columns stand in another order, and what happens to a partition
// alone (the stream says nothing of it) arrives as well.
func TestReplicaPartitions(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, `
			CREATE TABLE events (id int, day int, what text, big text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
			CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
			CREATE TABLE events_2 (big text, gone int, day int NOT NULL, what text, id int NOT NULL);
			ALTER TABLE events_2 DROP gone;
			ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM (10) TO (20);
			CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (20) TO (40) PARTITION BY LIST (day);
			CREATE TABLE events_3_20 PARTITION OF events_3 FOR VALUES IN (20, 21);
			CREATE TABLE events_default PARTITION OF events DEFAULT;
			CREATE TABLE other (id int PRIMARY KEY);
			ALTER TABLE events ALTER big SET STORAGE EXTERNAL;
			INSERT INTO events SELECT g, g % 22, 'first', repeat(md5(g::text), 200) FROM generate_series(1, 220) g`)
		p, r := replica(t, url, "")
		s := p.Serve()
		s.Same(r)
		harness.PG(t, url, "UPDATE events SET day = (day + 7) % 22 WHERE id % 3 = 0", "UPDATE events SET what = 'changed' WHERE id % 5 = 0", "DELETE FROM events WHERE id % 7 = 0",
			"INSERT INTO events SELECT g, 100 + g, 'far', 'x' FROM generate_series(1, 20) g", "BEGIN; UPDATE events SET day = 15 WHERE day = 5; UPDATE events SET day = 5 WHERE day = 15; COMMIT")
		s.Same(r)
		// A partition that is made empty and filled through the root is followed.
		harness.PG(t, url, "CREATE TABLE events_4 PARTITION OF events FOR VALUES FROM (40) TO (50)", "INSERT INTO events VALUES (1, 45, 'new', NULL)", "UPDATE events SET day = 46 WHERE day = 45",
			"INSERT INTO events_4 VALUES (2, 47, 'into the partition itself', 'y')")
		s.Same(r)
		harness.PG(t, url, "TRUNCATE events", "INSERT INTO events SELECT g, g % 22, 'again', 'z' FROM generate_series(1, 100) g")
		s.Same(r)
	})
}

// What changes a partitioned table without a word in the stream: a partition that comes with rows, one that goes with its
// rows, and one that is truncated alone.
func TestReplicaPartitionsComeAndGo(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		for _, table := range []string{"attached", "detached", "emptied", "dropped"} {
			harness.PG(t, url, fmt.Sprintf(`CREATE TABLE %[1]s (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE %[1]s_1 PARTITION OF %[1]s FOR VALUES FROM (0) TO (10);
				CREATE TABLE %[1]s_2 PARTITION OF %[1]s FOR VALUES FROM (10) TO (20); INSERT INTO %[1]s SELECT g FROM generate_series(1, 19) g`, table))
		}
		p := harness.With(t, url, "datasets:\n  shop: {source: pg, mode: cdc, tables: [public.*, \"!public.*_2\"]}\n")
		r := harness.Replica{URL: url, Dataset: "shop", Except: []string{"detached_2"}}
		s := p.Serve()
		s.Same(r)
		harness.PG(t, url, "CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later SELECT g FROM generate_series(20, 29) g; ALTER TABLE attached ATTACH PARTITION later FOR VALUES FROM (20) TO (30)",
			"ALTER TABLE detached DETACH PARTITION detached_2", "TRUNCATE emptied_2", "DROP TABLE dropped_2")
		s.Sync("shop") // looks at once how the tables are made
		s.Same(r)
		for i, table := range []string{"attached", "detached", "emptied", "dropped"} {
			harness.PG(t, url, fmt.Sprintf("DELETE FROM %s WHERE id = %d", table, 2+i))
		}
		s.Same(r)
	})
}

// Transactions that overlap, that are prepared first, that are larger than what the server keeps in memory: each arrives
// whole, at its commit, and in the order of commits.
func TestReplicaTransactions(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, "ALTER DATABASE "+one(t, url, "SELECT quote_ident(current_database())")+" SET logical_decoding_work_mem = '64kB'",
			harness.LoadSQL, "CREATE TABLE pairs (id int PRIMARY KEY, v text)")
		p, r := replica(t, url, ", memory: 16MiB, batch: {time: 50ms}")
		s := p.Serve()
		s.Same(r)
		a, b := harness.Conn(t, url), harness.Conn(t, url)
		exec := func(sql ...string) {
			t.Helper()
			for i, stmt := range sql {
				conn := a
				if strings.HasPrefix(stmt, "b:") {
					conn, stmt = b, stmt[2:]
				}
				_, err := conn.Exec(t.Context(), stmt)
				require.NoError(t, err, "%d: %s", i, stmt)
			}
		}
		// The first to write is the last to commit, and both write the same rows one after the other.
		exec("BEGIN", "b:BEGIN", "INSERT INTO pairs VALUES (1, 'a')", "b:INSERT INTO pairs VALUES (2, 'b')", "b:UPDATE accounts SET balance = balance + 1 WHERE id = 1", "b:COMMIT",
			"UPDATE pairs SET v = 'a over b' WHERE id = 2", "UPDATE accounts SET balance = balance - 1 WHERE id = 1")
		s.Await(r)
		require.Equal(t, "[[2 b]]", fmt.Sprint(s.SQL("SELECT * FROM shop.pairs")), "what is not committed is not there")
		exec("COMMIT")
		s.Same(r)
		// Prepared, then committed or rolled back much later.
		exec("BEGIN", "INSERT INTO pairs SELECT g, 'prepared' FROM generate_series(10, 19) g", "PREPARE TRANSACTION 'replica_one_"+fmt.Sprint(harness.LSN(t, url))+"'")
		gid := one(t, url, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
		exec("INSERT INTO pairs VALUES (3, 'between')")
		s.Await(r)
		require.Equal(t, "3", s.One("SELECT count(*) FROM shop.pairs"))
		exec("COMMIT PREPARED '" + gid + "'")
		s.Same(r)
		require.Equal(t, "13", s.One("SELECT count(*) FROM shop.pairs"))
		exec("BEGIN", "DELETE FROM pairs", "PREPARE TRANSACTION '"+gid+"'", "ROLLBACK PREPARED '"+gid+"'")
		// Large ones that overlap: the server sends them while they run. Parts of one are rolled back, one is as a whole.
		const fill = "INSERT INTO orders SELECT g, 1, 'large', 1, repeat('x', 500) FROM generate_series(%d, %d) g"
		exec("BEGIN", "b:BEGIN", fmt.Sprintf(fill, 200001, 203000), "b:"+fmt.Sprintf(fill, 300001, 302000), "SAVEPOINT one", fmt.Sprintf(fill, 203001, 205000), "UPDATE orders SET note = 'rolled back' WHERE id > 200000",
			"ROLLBACK TO one", "SAVEPOINT two", "UPDATE orders SET status = 'kept' WHERE id BETWEEN 200001 AND 200500", "RELEASE two", "DELETE FROM orders WHERE id BETWEEN 200501 AND 200600",
			"b:TRUNCATE scratch", "b:UPDATE orders SET id = id + 100000 WHERE id = 300500")
		s.Await(r)
		require.Equal(t, "0", s.One("SELECT count(*) FROM shop.orders WHERE id > 200000"))
		exec("COMMIT", "b:COMMIT")
		s.Same(r)
		exec("BEGIN", fmt.Sprintf(fill, 700001, 703000), "UPDATE docs SET small = 0", "ROLLBACK", "BEGIN", fmt.Sprintf(fill, 703001, 703010), "COMMIT")
		s.Same(r)
		// A transaction greater than a batch and than the memory, in one.
		exec("BEGIN", "INSERT INTO orders SELECT g, 1, 'huge', 1, repeat(md5(g::text), 20) FROM generate_series(500001, 530000) g", "UPDATE orders SET status = 'huge 2' WHERE id > 510000", "DELETE FROM orders WHERE id > 525000", "COMMIT")
		s.Same(r)
	})
}

// A transaction is there as a whole or not at all: a reader that looks all the time never sees a child without its parent,
// nor money that is under way.
func TestReplicaReadersSeeWholeTransactions(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, harness.LoadSQL)
		p, r := replica(t, url, ", batch: {rows: 50}")
		s := p.Serve()
		s.Same(r)
		load := harness.StartLoad(t, url, seed(t), 3)
		states := map[string]bool{}
		looked := 0
		for end := load.Transactions() + 400; load.Transactions() < end; looked++ {
			// All at one moment: one statement, one snapshot.
			got := s.SQL(`SELECT (SELECT count(*) FROM shop.lines l ANTI JOIN shop.orders o ON o.id = l.order_id),
				(SELECT 2 * count(*) FROM shop.orders) - (SELECT count(*) FROM shop.lines), (SELECT sum(balance) FROM shop.accounts), (SELECT count(*) FROM shop.orders)`)[0]
			require.Equal(t, "[0 0 100000]", fmt.Sprint(got[:3]), "look %d", looked)
			states[fmt.Sprint(got[3])] = true
		}
		load.Stop(t)
		t.Logf("%d looks, %d different states, %s", looked, len(states), load)
		require.Greater(t, len(states), 3, "the reader saw the copy move")
		s.Same(r)
	})
}

// Generated columns are not in the stream, and are left out of the copy. An enum gets a label in a transaction that writes rows too,
// and rows with it follow at once.
func TestReplicaGeneratedColumnsAndEnums(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, `
			CREATE TYPE mood AS ENUM ('sad', 'happy');
			CREATE TABLE computed (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, b text);
			CREATE TABLE moody (id int PRIMARY KEY, m mood, several mood[]);
			INSERT INTO computed (id, a, b) SELECT g, g, 'b' FROM generate_series(1, 50) g;
			INSERT INTO moody SELECT g, 'sad', '{happy,sad}' FROM generate_series(1, 50) g`)
		p, r := replica(t, url, "")
		s := p.Serve()
		s.Same(r)
		for i, sql := range []string{
			"UPDATE computed SET a = -a WHERE id < 10; INSERT INTO computed (id, a) VALUES (51, 1); DELETE FROM computed WHERE id = 20",
			"BEGIN; INSERT INTO moody VALUES (51, 'happy', '{}'); ALTER TYPE mood ADD VALUE 'calm' BEFORE 'happy'; UPDATE moody SET m = 'happy' WHERE id < 5; COMMIT",
			"UPDATE moody SET m = 'calm', several = '{calm,sad}' WHERE id BETWEEN 3 AND 9; INSERT INTO moody VALUES (52, 'calm', NULL)",
			"ALTER TABLE computed ADD COLUMN more int GENERATED ALWAYS AS (a + 1) STORED; INSERT INTO computed (id, a) VALUES (61, 7); UPDATE computed SET b = 'c' WHERE id = 30",
			"BEGIN; CREATE TYPE made AS ENUM ('x', 'y'); ALTER TABLE moody ADD COLUMN n made DEFAULT 'y'; INSERT INTO moody (id, n) VALUES (53, 'x'); COMMIT",
			"ALTER TABLE computed DROP COLUMN twice; DELETE FROM computed WHERE id = 31",
		} {
			harness.PG(t, url, sql)
			s.Await(r)
			diffs, err := r.Diff(t.Context(), s)
			require.NoError(t, err)
			require.Empty(t, diffs, "after step %d: %s", i, sql)
		}
		require.Equal(t, "id,a,b", s.One("SELECT string_agg(column_name, ',' ORDER BY column_index) FROM duckdb_columns() WHERE schema_name = 'shop' AND table_name = 'computed'"))
	})
}
