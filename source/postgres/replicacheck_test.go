package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
)

// quiet are settings under which a server gives no cause for a warning.
func quiet(more ...string) map[string]string {
	m := map[string]string{"max_slot_wal_keep_size": "10GB"}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

func checked(t *testing.T, url string, o ReplicationCheck) ReplicationReport {
	t.Helper()
	if o.Patterns == nil {
		o.Patterns = []string{"public.*"}
	}
	r, err := openSource(t, Config{URL: url}).CheckReplication(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\nhint: %s", err, fault.HintOf(err))
	}
	return r
}

// codes lists findings as "code" or "code table".
func codes(fs []ReplicationFinding) string {
	var list []string
	for _, f := range fs {
		list = append(list, strings.TrimSpace(f.Code+" "+f.Table))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// expect compares all problems and warnings, as codes gives them.
func expect(t *testing.T, r ReplicationReport, problems, warnings string) {
	t.Helper()
	if got := codes(r.Problems); got != problems {
		t.Errorf("problems: %s\n want %s\n%+v", got, problems, r.Problems)
	}
	if got := codes(r.Warnings); got != warnings {
		t.Errorf("warnings: %s\n want %s\n%+v", got, warnings, r.Warnings)
	}
}

// found is the finding of a code, and of a table where one is given.
func found(t *testing.T, fs []ReplicationFinding, code, table string) ReplicationFinding {
	t.Helper()
	for _, f := range fs {
		if f.Code == code && f.Table == table {
			return f
		}
	}
	t.Errorf("no finding %s %s in %+v", code, table, fs)
	return ReplicationFinding{}
}

// says demands parts of a finding's message and fix.
func says(t *testing.T, f ReplicationFinding, message, fix string) {
	t.Helper()
	if !strings.Contains(f.Message, message) || !strings.Contains(f.Fix, fix) {
		t.Errorf("%s:\n%s\n  fix: %s\nwant %s\n  fix: %s", f.Code, f.Message, f.Fix, message, fix)
	}
}

// replicator makes a role that may do all that a replica of the tables of public needs, and returns it and its URL.
func replicator(t *testing.T, c *pgx.Conn, url string) (name, as string) {
	t.Helper()
	as = role(t, c, url)
	name, _, _ = strings.Cut(strings.TrimPrefix(as, "postgres://"), ":")
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, c, "ALTER ROLE "+name+" REPLICATION; GRANT CREATE ON DATABASE "+ident(config.Database)+" TO "+name)
	rows, err := c.Query(t.Context(), "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')")
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		exec(t, c, "ALTER TABLE "+ident(table)+" OWNER TO "+name)
	}
	return name, as
}

// Where nothing is found wrong, a role with these rights alone makes publication and slot.
func TestCheckReplicationFindsNothing(t *testing.T) {
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			s := pgtest.StartT(t, pgtest.Options{Major: major, Settings: quiet()})
			url := s.DB(t)
			c := connect(t, url)
			exec(t, c, `CREATE TABLE orders (id bigint PRIMARY KEY, status text NOT NULL, amount numeric(10,2), at timestamptz);
				CREATE TABLE events (body text); ALTER TABLE events REPLICA IDENTITY FULL;
				CREATE TABLE parts (id int, day date, PRIMARY KEY (day, id)) PARTITION BY RANGE (day); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
				CREATE TABLE "Odd, Name" ("Key" uuid NOT NULL, v int); CREATE UNIQUE INDEX odd ON "Odd, Name" ("Key"); ALTER TABLE "Odd, Name" REPLICA IDENTITY USING INDEX odd;
				INSERT INTO orders SELECT i, 'new', i, now() FROM generate_series(1, 500) i; ANALYZE orders`)
			_, as := replicator(t, c, url)
			o := ReplicationCheck{Patterns: []string{"public.*"}, Publication: "pintail_ready", Slot: "pintail_ready", Columns: map[string][]string{"public.orders": {"status", "id"}, "public.events": nil}}
			r := checked(t, as, o)
			expect(t, r, "", "")
			var got []string
			for _, table := range r.Tables {
				got = append(got, fmt.Sprintf("%s %s %s %v %d %v", table.Name, table.Kind, table.Identity, table.Key, table.Rows, table.Reason))
			}
			for i, want := range []string{"public.Odd, Name table index [Key]", "public.events table full []", "public.orders table default [id] 500", "public.parts partitioned default [day id]"} {
				if i >= len(got) || !strings.HasPrefix(got[i], want) || len(got) != 4 {
					t.Fatalf("tables:\n%s", strings.Join(got, "\n"))
				}
			}
			if cols := fmt.Sprint(r.Tables[2].Columns); cols != "[{id bigint BIGINT true} {status text VARCHAR true}]" {
				t.Errorf("columns of orders: %s", cols)
			}
			if len(r.Tables[3].Columns) != 2 || r.Tables[3].Columns[1].DuckDB != "DATE" {
				t.Errorf("%+v", r.Tables[3])
			}

			src := openSource(t, Config{URL: as})
			tables, err := src.ReplicaTables(t.Context(), o.Patterns)
			if err == nil {
				err = src.Publish(t.Context(), o.Publication, tables)
			}
			if err != nil {
				t.Fatal(err)
			}
			slot, err := src.CreateSlot(t.Context(), o.Slot, false)
			if err != nil {
				t.Fatal(err)
			}
			slot.Close(t.Context())
			expect(t, checked(t, as, o), "", "slot_idle")
			if err := src.DropSlot(t.Context(), o.Slot); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCheckReplicationSettings(t *testing.T) {
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			settings := map[string]string{"wal_level": "replica", "max_replication_slots": "1", "max_wal_senders": "2", "wal_sender_timeout": "0"}
			warnings := "max_replication_slots, max_slot_wal_keep_size, wal_sender_timeout"
			if major >= 18 {
				settings["idle_replication_slot_timeout"] = "1h"
				warnings = "idle_replication_slot_timeout, " + warnings
			}
			s := pgtest.StartT(t, pgtest.Options{Major: major, Settings: settings})
			url := s.DB(t)
			c := connect(t, url)
			exec(t, c, "CREATE TABLE t (id int PRIMARY KEY)")
			r := checked(t, url, ReplicationCheck{})
			expect(t, r, "wal_level", warnings)
			says(t, found(t, r.Problems, "wal_level", ""), "wal_level is replica", "ALTER SYSTEM SET wal_level = 'logical'")
			says(t, found(t, r.Warnings, "max_slot_wal_keep_size", ""), "disk is full", "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'")
			says(t, found(t, r.Warnings, "wal_sender_timeout", ""), "is off", "= '60s'")
			says(t, found(t, r.Warnings, "max_replication_slots", ""), "0 of 1 replication slots", "ALTER SYSTEM SET max_replication_slots = 10")
			if major >= 18 {
				says(t, found(t, r.Warnings, "idle_replication_slot_timeout", ""), "1h0m0s", "= 0")
			}

			// Services that set it by another name.
			for name, fix := range map[string]string{"rds.logical_replication": "parameter group", "cloudsql.logical_decoding": "flag", "azure.extensions": "server parameter"} {
				exec(t, c, "ALTER ROLE postgres SET "+name+" = 'off'")
				says(t, found(t, checked(t, url, ReplicationCheck{}).Problems, "wal_level", ""), "wal_level", fix)
				exec(t, c, "ALTER ROLE postgres RESET "+name)
			}

			// All slots and connections for replication in use.
			exec(t, c, "SELECT pg_create_physical_replication_slot('theirs', true)")
			for range 2 {
				conn, err := openSource(t, Config{URL: url}).dialReplication(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer hangUp(context.Background(), conn)
				if _, err := identify(t.Context(), conn); err != nil {
					t.Fatal(err)
				}
			}
			r = checked(t, url, ReplicationCheck{})
			says(t, found(t, r.Problems, "max_replication_slots", ""), "all 1 replication slots", "ALTER SYSTEM SET max_replication_slots")
			says(t, found(t, r.Problems, "max_wal_senders", ""), "all 2 connections", "ALTER SYSTEM SET max_wal_senders")
			if got := codes(r.Problems); got != "max_replication_slots, max_wal_senders, wal_level" {
				t.Error(got)
			}
			// The slot that is counted is the replica's own one, and not what it needs.
			r = checked(t, url, ReplicationCheck{Slot: "theirs"})
			says(t, found(t, r.Problems, "slot_name", ""), "not made for this: physical", "another name")
			found(t, r.Warnings, "max_replication_slots", "")

			for _, sql := range []string{"ALTER ROLE postgres SET wal_sender_timeout = '2s'", "ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'", "SELECT pg_reload_conf()"} {
				exec(t, c, sql)
			}
			until(t, c, "SELECT setting = '64' FROM pg_settings WHERE name = 'max_slot_wal_keep_size'")
			r = checked(t, url, ReplicationCheck{})
			says(t, found(t, r.Warnings, "max_slot_wal_keep_size", ""), "64 MB: after a short stop", "ALTER SYSTEM")
		})
	}
}

// until asks until the answer is yes.
func until(t *testing.T, c *pgx.Conn, sql string) {
	t.Helper()
	ctx, cancel := contextFor(20 * time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var yes bool
		if err := c.QueryRow(ctx, sql).Scan(&yes); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if yes {
			return
		}
		<-tick.C
	}
}

// Each right that is missing is named, and what it is needed for fails without it.
func TestCheckReplicationRights(t *testing.T) {
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			s := pgtest.StartT(t, pgtest.Options{Major: major, Settings: quiet()})
			url := s.DB(t)
			c := connect(t, url)
			exec(t, c, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE ROLE app; ALTER TABLE b OWNER TO app")
			t.Cleanup(func() {
				ctx, cancel := contextFor(5 * time.Second)
				defer cancel()
				c.Exec(ctx, "DROP OWNED BY app; DROP ROLE app")
			})
			as := role(t, c, url)
			name, _, _ := strings.Cut(strings.TrimPrefix(as, "postgres://"), ":")
			src := openSource(t, Config{URL: as})
			o := ReplicationCheck{Patterns: []string{"public.*"}, Publication: "pintail_rights", Slot: "pintail_rights"}
			publish := func() error {
				tables, err := src.ReplicaTables(t.Context(), o.Patterns)
				if err == nil {
					err = src.Publish(t.Context(), o.Publication, tables)
				}
				return err
			}
			r := checked(t, as, o)
			expect(t, r, "create, owner, replication_role", "")
			says(t, found(t, r.Problems, "replication_role", ""), "may not replicate", "ALTER ROLE "+name+" REPLICATION")
			says(t, found(t, r.Problems, "create", ""), "may not make a publication", "GRANT CREATE ON DATABASE ")
			owner := found(t, r.Problems, "owner", "")
			says(t, owner, "2 of 2 tables: public.a, public.b", "GRANT app TO "+name+"; ALTER TABLE public.a OWNER TO "+name)
			beforehand := `CREATE PUBLICATION pintail_rights FOR TABLE ONLY public.a, ONLY public.b WITH (publish_via_partition_root = true)`
			says(t, owner, "", "or have an administrator run: "+beforehand)
			if strings.Contains(found(t, checked(t, as, ReplicationCheck{}).Problems, "owner", "").Fix, "administrator") {
				t.Error("a publication without a name is proposed")
			}
			if err := publish(); fault.CodeOf(err) != fault.SourcePrivilege {
				t.Errorf("publishing: %v", err)
			}
			if slot, err := src.CreateSlot(t.Context(), "pintail_no", true); err == nil {
				slot.Close(t.Context())
				t.Error("a role without REPLICATION made a slot")
			}

			// A service whose role gives the right.
			exec(t, c, "CREATE ROLE rds_replication")
			says(t, found(t, checked(t, as, o).Problems, "replication_role", ""), "", "GRANT rds_replication TO "+name)
			exec(t, c, "DROP ROLE rds_replication; ALTER ROLE "+name+" REPLICATION")
			expect(t, checked(t, as, o), "create, owner", "")

			// What an administrator makes beforehand is enough.
			exec(t, c, beforehand)
			expect(t, checked(t, as, o), "", "")
			if err := publish(); err != nil {
				t.Error(err)
			}
			exec(t, c, "CREATE TABLE c (id int PRIMARY KEY); GRANT SELECT ON c TO "+name)
			r = checked(t, as, o)
			expect(t, r, "owner, publication", "")
			says(t, found(t, r.Problems, "publication", ""), "belongs to postgres", "ALTER PUBLICATION pintail_rights OWNER TO "+name+"; or have an administrator run: ALTER PUBLICATION pintail_rights SET TABLE ONLY public.a, ONLY public.b, ONLY public.c")
			exec(t, c, "ALTER PUBLICATION pintail_rights SET TABLE ONLY public.a, ONLY public.b, ONLY public.c")
			expect(t, checked(t, as, o), "", "")
			if major >= 15 {
				exec(t, c, "ALTER PUBLICATION pintail_rights SET TABLE ONLY public.a WHERE (id > 1), ONLY public.b, ONLY public.c")
				says(t, found(t, checked(t, as, o).Problems, "publication", ""), "holds back columns or rows of a", "DROP PUBLICATION pintail_rights")
			}
			exec(t, c, "DROP PUBLICATION pintail_rights; CREATE PUBLICATION pintail_rights FOR ALL TABLES")
			says(t, found(t, checked(t, as, o).Problems, "publication", ""), "not made for this", "DROP PUBLICATION pintail_rights")
			exec(t, c, "DROP PUBLICATION pintail_rights")
			if major >= 18 { // generated columns are in no copy
				exec(t, c, beforehand[:len(beforehand)-1]+", publish_generated_columns = stored)")
				says(t, found(t, checked(t, as, o).Problems, "publication", ""), "not made for this", "DROP PUBLICATION pintail_rights")
				exec(t, c, "DROP PUBLICATION pintail_rights")
			}

			// The statements of the fixes are what it takes.
			for _, sql := range []string{"GRANT CREATE ON DATABASE " + ident(connectedTo(t, url)) + " TO " + name, "GRANT app TO " + name, "ALTER TABLE public.a OWNER TO " + name, "ALTER TABLE public.c OWNER TO " + name} {
				exec(t, c, sql)
			}
			expect(t, checked(t, as, o), "", "")
			if err := publish(); err != nil {
				t.Error(err)
			}

			// SELECT, and USAGE of the schema.
			exec(t, c, "CREATE SCHEMA hidden; CREATE TABLE hidden.t (id int PRIMARY KEY); CREATE TABLE unread (id int PRIMARY KEY)")
			r = checked(t, as, ReplicationCheck{Patterns: []string{"public.unread", "hidden.*"}, Publication: "pintail_none"})
			expect(t, r, "no_select hidden.t, no_select public.unread, schema hidden.t", "")
			says(t, found(t, r.Problems, "no_select", "public.unread"), "may not read it", `GRANT SELECT ON "public"."unread" TO `+name+`; or leave it out: "!public.unread"`)
			says(t, found(t, r.Problems, "schema", "hidden.t"), "may not use its schema", "GRANT USAGE ON SCHEMA hidden TO "+name)
			exec(t, c, "GRANT SELECT ON hidden.t TO "+name)
			expect(t, checked(t, as, ReplicationCheck{Patterns: []string{"hidden.*"}}), "schema hidden.t", "")
		})
	}
}

func connectedTo(t *testing.T, url string) string {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return config.Database
}
