package test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// With the event trigger that `pintail init --ddl-trigger` prints, several schema changes in a row are followed where they stand, with
// rows between them and none, while nobody reads and in one transaction, and no table is copied anew.
func TestReplicaDDLTrigger(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		p, r := replica(t, url, "")
		trigger := p.OK("init", "--ddl-trigger")
		harness.PG(t, url, trigger, `
			CREATE TABLE items (id int PRIMARY KEY, a text, b text, n int);
			CREATE TABLE marked (id int PRIMARY KEY, a text);
			CREATE TABLE parts (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
			CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000);
			INSERT INTO items SELECT g, 'a' || g, 'b' || g, g FROM generate_series(1, 100) g;
			INSERT INTO marked SELECT g, 'a' || g FROM generate_series(1, 100) g;
			INSERT INTO parts SELECT g, g FROM generate_series(1, 100) g`)
		s := p.Serve()
		s.Same(r)
		copies := func() (n int) {
			for _, run := range s.Runs("shop") {
				if run.Kind == "full" {
					n++
				}
			}
			return n
		}
		before := copies()

		// Nobody reads meanwhile: the catalog is far ahead of the stream.
		s.Stop()
		for _, sql := range []string{
			"ALTER TABLE items RENAME COLUMN a TO x", "INSERT INTO items VALUES (201, 'x', 'b', 1)",
			"ALTER TABLE items RENAME COLUMN b TO a", "UPDATE items SET a = 'was b' WHERE id < 10",
			"ALTER TABLE items RENAME COLUMN x TO b", "UPDATE items SET b = 'was a' WHERE id BETWEEN 5 AND 15",
			"ALTER TABLE items ADD COLUMN passing text DEFAULT 'for a while'", "INSERT INTO items (id, passing) VALUES (202, 'seen by nobody')",
			"ALTER TABLE items ADD COLUMN kept int DEFAULT 7", "INSERT INTO items (id, kept) VALUES (203, 8)",
			"ALTER TABLE items DROP COLUMN passing", "DELETE FROM items WHERE id = 20",
			"ALTER TABLE items RENAME COLUMN kept TO holds", "UPDATE items SET holds = 9 WHERE id = 30",
			"BEGIN; INSERT INTO items (id) VALUES (204); ALTER TABLE items DROP COLUMN n; INSERT INTO items (id) VALUES (205); ALTER TABLE items ADD COLUMN n bigint DEFAULT 3; INSERT INTO items (id) VALUES (206); COMMIT",
			"BEGIN; ALTER TABLE items DROP COLUMN a; ROLLBACK",
			"BEGIN; SAVEPOINT s; ALTER TABLE items DROP COLUMN a; INSERT INTO items (id) VALUES (207); ROLLBACK TO s; INSERT INTO items (id) VALUES (208); COMMIT",
			"ALTER TABLE parts RENAME COLUMN v TO w", "UPDATE parts SET w = -w", "ALTER TABLE parts ADD COLUMN more int DEFAULT 1", "INSERT INTO parts VALUES (500, 1, 2)",
			// What a person may have written with the trigger's prefix says nothing.
			"SELECT pg_logical_emit_message(true, 'pintail_ddl', '{\"table\": '), pg_logical_emit_message(true, 'pintail_ddl', '{\"table\": 1, \"columns\": [{}]}'), pg_logical_emit_message(false, 'pintail_ddl', 'x')",
		} {
			harness.PG(t, url, sql)
		}
		s = p.Serve()
		s.Same(r)
		require.Equal(t, before, copies(), "tables were copied anew: %+v", s.Runs("shop"))

		// No row comes after it, and nobody waits for the catalog to be looked at.
		begun := time.Now()
		harness.PG(t, url, "ALTER TABLE marked ADD COLUMN told int DEFAULT 4", "ALTER TABLE marked RENAME COLUMN a TO b", "ALTER TABLE marked SET (fillfactor = 90)")
		harness.Eventually(t, 8*time.Second, "the columns change", func() bool {
			return s.One("SELECT string_agg(column_name, ' ' ORDER BY column_index) FROM duckdb_columns() WHERE schema_name = 'shop' AND table_name = 'marked'") == "id b told"
		})
		t.Logf("after %v", time.Since(begun))
		s.Same(r)
		require.Equal(t, before, copies(), "tables were copied anew: %+v", s.Runs("shop"))

		// A rewrite is none that can be followed.
		harness.PG(t, url, "ALTER TABLE marked ALTER told TYPE text USING 'n' || told", "INSERT INTO marked VALUES (900, 'x', 'y')")
		s.Same(r)
		require.Greater(t, copies(), before)
	})
}

// PostgreSQL keeps what rows of before have in a new column beside each partition, not beside the partitioned table.
func TestReplicaPartitionedColumnAdded(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, `
			CREATE TABLE parts (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
			CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000);
			CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (1000) TO (3000) PARTITION BY RANGE (id);
			CREATE TABLE parts_2_1 (gone int, v int, id int NOT NULL);
			ALTER TABLE parts_2_1 DROP COLUMN gone;
			ALTER TABLE parts_2 ATTACH PARTITION parts_2_1 FOR VALUES FROM (1000) TO (2000);
			INSERT INTO parts SELECT g, g FROM generate_series(1, 1500) g`)
		p, r := replica(t, url, "")
		s := p.Serve()
		s.Same(r)
		harness.PG(t, url, "ALTER TABLE parts ADD COLUMN told int DEFAULT 7", "INSERT INTO parts VALUES (600, 1, 2) ON CONFLICT (id) DO UPDATE SET told = 3")
		s.Same(r)
		require.Equal(t, "1499", s.One("SELECT count(*) FROM shop.parts WHERE told = 7"))
		harness.PG(t, url, "ALTER TABLE parts ADD COLUMN silent text DEFAULT 'x'")
		s.Becomes(r)
		require.Equal(t, "1500", s.One("SELECT count(*) FROM shop.parts WHERE silent = 'x'"))
		// Each partition has another default, which rows of before do not get.
		harness.PG(t, url, "ALTER TABLE parts ADD COLUMN late int", "ALTER TABLE parts_1 ALTER late SET DEFAULT 1", "ALTER TABLE parts ALTER late SET DEFAULT 2", "INSERT INTO parts (id) VALUES (501), (1600) ON CONFLICT DO NOTHING")
		s.Same(r)
		require.Len(t, s.Runs("shop"), 1, "it was copied anew")
	})
}
