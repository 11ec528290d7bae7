package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/internal/pgtest"
)

// Each kind of table that cannot be followed is named with a reason and what to do.
func TestCheckReplicationTables(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE good (id int PRIMARY KEY);
			CREATE TABLE keyless (v int);
			CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
			CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
			CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
			CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (v int) INHERITS (parent);
			CREATE TABLE inexact (k numeric PRIMARY KEY, v int);
			CREATE TABLE docs (k jsonb PRIMARY KEY);
			CREATE TABLE computed (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, thrice int GENERATED ALWAYS AS (a * 3) STORED);
			CREATE TABLE computed_key (a int, k int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY);
			CREATE TABLE twins (id int PRIMARY KEY, "Name" text, name text);
			CREATE TABLE needless (id int PRIMARY KEY); ALTER TABLE needless REPLICA IDENTITY FULL;
			CREATE TABLE wide (v text); ALTER TABLE wide REPLICA IDENTITY FULL; INSERT INTO wide SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 200) i, generate_series(1, 60) j GROUP BY i; ANALYZE wide;
			CREATE TABLE plain (id int PRIMARY KEY, n numeric);
			CREATE TABLE bare (); ALTER TABLE bare REPLICA IDENTITY FULL`)
		r := checked(t, url, ReplicationCheck{})
		problems := "identity public.child, identity public.keyless, identity public.nothing, inherited public.parent, key_deferrable public.late, key_generated public.computed_key, " +
			"key_type public.docs, key_type public.inexact, no_columns public.bare, source_sql public.twins, unlogged public.unlogged"
		expect(t, r, problems, "generated public.computed, generated public.computed_key, identity_full public.needless, identity_full public.wide, max_slot_wal_keep_size, numeric public.inexact, numeric public.plain")
		says(t, found(t, r.Problems, "identity", "public.keyless"), "no primary key", `ALTER TABLE "public"."keyless" REPLICA IDENTITY FULL; or leave it out: "!public.keyless"`)
		says(t, found(t, r.Problems, "identity", "public.nothing"), "NOTHING", `REPLICA IDENTITY DEFAULT`)
		says(t, found(t, r.Problems, "unlogged", "public.unlogged"), "unlogged", `ALTER TABLE "public"."unlogged" SET LOGGED; or leave it out: "!public.unlogged"`)
		says(t, found(t, r.Problems, "key_deferrable", "public.late"), "deferrable", `ALTER TABLE "public"."late" REPLICA IDENTITY FULL`)
		says(t, found(t, r.Problems, "inherited", "public.parent"), "(public.child)", "NO INHERIT")
		says(t, found(t, r.Problems, "key_type", "public.inexact"), `"k" is a numeric`, "REPLICA IDENTITY USING INDEX")
		says(t, found(t, r.Problems, "key_generated", "public.computed_key"), `generated column "k"`, "USING INDEX")
		says(t, found(t, r.Problems, "source_sql", "public.twins"), "equal but for case", "leave it out")
		says(t, found(t, r.Warnings, "generated", "public.computed"), "twice, thrice", "view")
		says(t, found(t, r.Warnings, "identity_full", "public.needless"), "although it has a primary key", "REPLICA IDENTITY DEFAULT")
		says(t, found(t, r.Warnings, "identity_full", "public.wide"), "wide", "ADD PRIMARY KEY")
		says(t, found(t, r.Warnings, "numeric", "public.plain"), ": n", "precision")
		for _, table := range r.Tables {
			bad := slices.ContainsFunc(r.Problems, func(f ReplicationFinding) bool { return f.Table == table.Name })
			if bad != (table.Reason != "") || bad != (table.Fix != "") {
				t.Errorf("%+v", table)
			}
		}

		// With the bad ones taken away, as the fixes propose, no problem is left, and the application is not hurt.
		o := ReplicationCheck{Patterns: []string{"public.*"}}
		for _, p := range r.Problems {
			o.Patterns = append(o.Patterns, "!"+p.Table)
		}
		expect(t, checked(t, url, o), "", "generated public.computed, identity_full public.needless, identity_full public.wide, max_slot_wal_keep_size, numeric public.plain")
		src := openSource(t, Config{URL: url})
		tables, err := src.ReplicaTables(t.Context(), o.Patterns)
		if err == nil {
			err = src.Publish(t.Context(), "pintail_tables", tables)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, sql := range []string{"INSERT INTO computed VALUES (1, 2); UPDATE computed SET a = 3; DELETE FROM computed", "UPDATE wide SET v = ''; DELETE FROM wide", "DELETE FROM child", "UPDATE late SET id = 1"} {
			exec(t, c, sql)
		}
		// What the check calls a deferrable key is true: published, the application's updates fail.
		exec(t, c, "INSERT INTO late VALUES (1); ALTER PUBLICATION pintail_tables ADD TABLE late")
		if _, err := c.Exec(t.Context(), "UPDATE late SET id = 2"); sqlstate(err) != "55000" {
			t.Errorf("an update of a published table without an identity: %v", err)
		}
	})
}

// Partitions have identities and files of their own.
func TestCheckReplicationPartitions(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
			CREATE TABLE good (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k); CREATE TABLE good_1 PARTITION OF good FOR VALUES IN (1);
			CREATE TABLE distant (id int, k int) PARTITION BY LIST (k); ALTER TABLE distant REPLICA IDENTITY FULL;
			CREATE FOREIGN TABLE distant_1 PARTITION OF distant FOR VALUES IN (1) SERVER far;
			CREATE TABLE light (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k); CREATE UNLOGGED TABLE light_1 PARTITION OF light FOR VALUES IN (1);
			CREATE TABLE fully (id int, k int) PARTITION BY LIST (k); ALTER TABLE fully REPLICA IDENTITY FULL;
			CREATE TABLE fully_1 PARTITION OF fully FOR VALUES IN (1); CREATE TABLE fully_2 PARTITION OF fully FOR VALUES IN (2); ALTER TABLE fully_2 REPLICA IDENTITY FULL;
			CREATE TABLE other (id int, k int, n int NOT NULL, PRIMARY KEY (id, k)) PARTITION BY LIST (k); CREATE TABLE other_1 PARTITION OF other FOR VALUES IN (1);
			CREATE UNIQUE INDEX other_n ON other_1 (n); ALTER TABLE other_1 REPLICA IDENTITY USING INDEX other_n`)
		r := checked(t, url, ReplicationCheck{})
		expect(t, r, "foreign_partition public.distant, partition_identity public.fully, partition_identity public.other, unlogged_partition public.light", "max_slot_wal_keep_size")
		says(t, found(t, r.Problems, "foreign_partition", "public.distant"), "(public.distant_1)", `ALTER TABLE "public"."distant" DETACH PARTITION public.distant_1 `)
		says(t, found(t, r.Problems, "unlogged_partition", "public.light"), "(public.light_1)", "ALTER TABLE public.light_1 SET LOGGED")
		says(t, found(t, r.Problems, "partition_identity", "public.other"), "(public.other_1)", "ALTER TABLE public.other_1 REPLICA IDENTITY DEFAULT")
		fully := found(t, r.Problems, "partition_identity", "public.fully")
		says(t, fully, "(public.fully_1)", "ALTER TABLE public.fully_1 REPLICA IDENTITY FULL; or")

		// It is true, and the fix mends it.
		exec(t, c, "CREATE PUBLICATION p FOR TABLE fully WITH (publish_via_partition_root = true); INSERT INTO fully VALUES (1, 1), (1, 2)")
		exec(t, c, "UPDATE fully SET id = 2 WHERE k = 2")
		if _, err := c.Exec(t.Context(), "UPDATE fully SET id = 2 WHERE k = 1"); sqlstate(err) != "55000" {
			t.Errorf("an update of a partition without an identity: %v", err)
		}
		fix, _, _ := strings.Cut(fully.Fix, "; or")
		exec(t, c, fix)
		exec(t, c, "UPDATE fully SET id = 2 WHERE k = 1")
		if r := checked(t, url, ReplicationCheck{Patterns: []string{"public.fully"}}); len(r.Problems) != 0 {
			t.Errorf("%+v", r.Problems)
		}
	})
}

func TestCheckReplicationRowSecurity(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, "CREATE TABLE t (id int PRIMARY KEY)")
		name, as := replicator(t, c, url)
		exec(t, c, "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY half ON t USING (id % 2 = 0)")
		expect(t, checked(t, as, ReplicationCheck{}), "", "max_slot_wal_keep_size") // it does not hold for the owner
		exec(t, c, "ALTER TABLE t FORCE ROW LEVEL SECURITY; INSERT INTO t SELECT generate_series(1, 10)")
		r := checked(t, as, ReplicationCheck{})
		expect(t, r, "row_security public.t", "max_slot_wal_keep_size")
		says(t, found(t, r.Problems, "row_security", "public.t"), "hides rows", "ALTER ROLE "+name+" BYPASSRLS")
		exec(t, c, "ALTER ROLE "+name+" BYPASSRLS")
		expect(t, checked(t, as, ReplicationCheck{}), "", "max_slot_wal_keep_size")
	})
}

// Patterns and options that mean nothing are named, with what was meant.
func TestCheckReplicationPatterns(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	url := s.DB(t)
	c := connect(t, url)
	exec(t, c, `CREATE TABLE orders (id int PRIMARY KEY, "Status" text, twice int GENERATED ALWAYS AS (id * 2) STORED); CREATE VIEW recent AS SELECT * FROM orders; CREATE TABLE items (id int PRIMARY KEY);
		CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); CREATE MATERIALIZED VIEW sums AS SELECT 1 AS a`)
	keep := "max_slot_wal_keep_size"
	r := checked(t, url, ReplicationCheck{Patterns: []string{"public.orders", "public.order", "public.recent", "public.parts_?", "public.sum*", "shop.*", "!audit.*"}})
	expect(t, r, "", "generated public.orders, "+keep+", pattern, pattern, pattern, pattern, pattern, pattern")
	var got []string
	for _, w := range r.Warnings {
		if w.Code == "pattern" {
			got = append(got, w.Message+" – "+w.Fix)
		}
	}
	want := []string{`tables: "public.order" means no table – Did you mean public.orders?`, `tables: "public.recent" means no table – public.recent is a view`,
		`tables: "public.parts_?" means no table – public.parts_1 is a partition of public.parts, which is followed as a whole`, `tables: "public.sum*" means no table – public.sums is a materialized view`,
		`tables: "shop.*" means no table – There are: public.items, public.orders, public.parts.`, `tables: "!audit.*" takes no table away – take it away, or correct it`}
	if !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	r = checked(t, url, ReplicationCheck{Patterns: []string{"public.nothing"}})
	expect(t, r, "no_tables", keep+", pattern")

	r = checked(t, url, ReplicationCheck{Patterns: []string{"public.orders", "public.parts"}, Columns: map[string][]string{"public.order": nil, "public.items": {"id"}, "public.orders": {"status", "twice"}, "public.parts": {"id"}}})
	expect(t, r, "generated public.orders, key_left_out public.orders, table_options, table_options, unknown_column public.orders", keep)
	says(t, found(t, r.Problems, "key_left_out", "public.orders"), `leaves out "id"`, "table_options: {public.orders: {columns: [id, status, twice]}}")
	says(t, found(t, r.Problems, "unknown_column", "public.orders"), `no column "status"`, "Did you mean Status?")
	says(t, found(t, r.Problems, "generated", "public.orders"), `"twice" is generated`, "view")
	for _, p := range r.Problems {
		if p.Code == "table_options" && !strings.Contains(fmt.Sprint(p.Message, p.Fix), "public.order") {
			t.Errorf("%+v", p)
		}
	}
	// The columns chosen are those that the copy has.
	r = checked(t, url, ReplicationCheck{Patterns: []string{"public.orders"}, Columns: map[string][]string{"public.orders": {"Status", "id"}}})
	if fmt.Sprint(r.Tables[0].Columns) != "[{id integer INTEGER true} {Status text VARCHAR false}]" || len(r.Problems) != 0 {
		t.Errorf("%+v", r)
	}
}

// Slots that nobody follows are named with what they keep, and those of the configuration are told from others.
func TestCheckReplicationSlots(t *testing.T) {
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			s := pgtest.StartT(t, pgtest.Options{Major: major, Settings: quiet()})
			url := s.DB(t)
			c := connect(t, url)
			exec(t, c, `CREATE TABLE t (id int PRIMARY KEY)`)
			for _, name := range []string{"pintail_mine_1", "pintail_old_1", "theirs_1", "pintail_used_1"} {
				exec(t, c, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name)
			}
			exec(t, c, "CREATE PUBLICATION p FOR TABLE t; INSERT INTO t SELECT generate_series(1, 200000)")
			src := openSource(t, Config{URL: url})
			conn, err := src.dialReplication(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			h := follow(t, conn)
			defer h.Conn.Close()
			until(t, c, "SELECT active FROM pg_replication_slots WHERE slot_name = 'pintail_used_1'")
			own := func(name string) bool { return strings.HasPrefix(name, "pintail_mine_") }
			r := checked(t, url, ReplicationCheck{OwnSlots: own})
			expect(t, r, "", "slot_idle, slot_left")
			says(t, found(t, r.Warnings, "slot_idle", ""), "nobody follows slot pintail_mine_1 now: it keeps ", "start pintail serve")
			left := found(t, r.Warnings, "slot_left", "")
			says(t, left, "slot pintail_old_1: it keeps ", "SELECT pg_drop_replication_slot('pintail_old_1'), or: pintail slots drop pintail_old_1")
			if !strings.Contains(left.Message, " MB of log") {
				t.Error(left.Message)
			}
			exec(t, c, "SELECT pg_drop_replication_slot('pintail_old_1')")
			expect(t, checked(t, url, ReplicationCheck{OwnSlots: own}), "", "slot_idle")
		})
	}
}

// A slot that the server has given up keeps nothing, and still takes a place.
func TestCheckReplicationLostSlots(t *testing.T) {
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			s := pgtest.StartT(t, pgtest.Options{Major: major, Settings: map[string]string{"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB", "min_wal_size": "32MB"}})
			url := s.DB(t)
			c := connect(t, url)
			exec(t, c, "CREATE TABLE t (id int PRIMARY KEY)")
			exec(t, c, "SELECT pg_create_logical_replication_slot('pintail_mine_1', 'pgoutput'), pg_create_logical_replication_slot('pintail_old_1', 'pgoutput')")
			for range 6 {
				exec(t, c, "INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t")
				exec(t, c, "SELECT pg_switch_wal()")
			}
			exec(t, c, "CHECKPOINT")
			until(t, c, "SELECT count(*) = 2 FROM pg_replication_slots WHERE wal_status = 'lost'")
			r := checked(t, url, ReplicationCheck{Slot: "pintail_mine_1"})
			expect(t, r, "", "max_slot_wal_keep_size, slot_left, slot_lost")
			says(t, found(t, r.Warnings, "max_slot_wal_keep_size", ""), "1 MB: after a short stop", "")
			says(t, found(t, r.Warnings, "slot_lost", ""), "has given up slot pintail_mine_1", "on_lost_slot")
			says(t, found(t, r.Warnings, "slot_left", ""), "still counts for max_replication_slots", "pintail_old_1")
		})
	}
}

// follow starts the stream of pintail_used_1.
func follow(t *testing.T, conn *pgconn.PgConn) *pgconn.HijackedConn {
	t.Helper()
	h, err := conn.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	first := stream{hijack: h}
	if err := first.send("START_REPLICATION SLOT pintail_used_1 LOGICAL 0/0 (proto_version '1', publication_names 'p')"); err != nil {
		t.Fatal(err)
	}
	return h
}
