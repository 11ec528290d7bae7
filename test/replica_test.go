package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// replica is a project with one dataset shop of mode: cdc with all tables of schema public; more is put into it.
func replica(t testing.TB, url, more string) (*harness.Project, harness.Replica) {
	t.Helper()
	return harness.With(t, url, harness.ReplicaYAML("shop", more)), harness.Replica{URL: url, Dataset: "shop"}
}

// seedEnv repeats the choices of a load.
const seedEnv = "PINTAIL_TEST_SEED"

func seed(t *testing.T) uint64 {
	s := rand.Uint64()
	if text := os.Getenv(seedEnv); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
		s = n
	}
	t.Logf("%s=%d repeats this choice of writes", seedEnv, s)
	return s
}

// written waits until a load has committed so many more transactions.
func written(t testing.TB, l *harness.Load, more int64) {
	t.Helper()
	want := l.Transactions() + more
	harness.Eventually(t, time.Minute, "the load goes on", func() bool { return l.Transactions() >= want })
}

// invariants fail unless the copy is one that the source once was.
func invariants(t testing.TB, s *harness.Server) {
	t.Helper()
	for _, q := range harness.LoadInvariants {
		q = fmt.Sprintf(q, "shop")
		require.Equal(t, "0", s.One(q), q)
	}
}

// Tables are copied while several sessions write, and followed: in the end every row is there, and at every moment what is
// read is what the source once was. A dataset that goes leaves nothing on the source.
func TestReplicaFollows(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, harness.LoadSQL)
		p, r := replica(t, url, "")
		load := harness.StartLoad(t, url, seed(t), 4)
		s := p.Serve()
		harness.Eventually(t, harness.ReplicaTimeout, "the tables are copied", func() bool {
			return s.Statuses()["shop.orders"].State == "ready" && s.Statuses()["shop.lines"].State == "ready"
		})
		for range 5 {
			written(t, load, 60)
			invariants(t, s)
		}
		load.Stop(t)
		t.Log(load)
		s.Same(r)
		runs := s.Runs("shop")
		require.NotEmpty(t, runs)
		require.Equal(t, "full", runs[len(runs)-1].Kind)
		require.NotEmpty(t, r.Slot(t))

		// By reload.
		p.Write(p.Head(url) + "datasets:\n  other: {source: pg, table: public.orders, key: [id], incremental_column: id}\n")
		p.OK("reload", "--yes")
		harness.Eventually(t, 20*time.Second, "nothing is left on the source", func() bool { return len(r.Leftovers(t)) == 0 })
		require.Equal(t, "0", s.One("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'shop'"))

		// While nothing runs.
		p.Write(p.Head(url) + harness.ReplicaYAML("shop", ""))
		p.OK("reload", "--yes")
		s.Same(r)
		s.Stop()
		require.NotEmpty(t, r.Leftovers(t), "a stopped server keeps its slot")
		p.Write(p.Head(url) + "datasets:\n  other: {source: pg, table: public.orders, key: [id], incremental_column: id}\n")
		s = p.Serve()
		harness.Eventually(t, 20*time.Second, "nothing is left on the source", func() bool { return len(r.Leftovers(t)) == 0 })
		require.Equal(t, "0", s.One("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'shop'"))
	})
}

// Commands without a server: the first copy, changes since, and everything anew.
func TestReplicaCommands(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, harness.LoadSQL)
		p, r := replica(t, url, "")
		f := harness.File(p.DB)
		synced := func(kind string, args ...string) harness.Run {
			t.Helper()
			var run harness.Run
			decode(t, p.OK(append([]string{"sync", "shop", "--json"}, args...)...), &run)
			require.Equal(t, "ready", run.State, harness.Show(run))
			require.Equal(t, kind, run.Kind, harness.Show(run))
			r.Compare(t, f)
			return run
		}
		first := synced("full")
		require.Positive(t, first.RowsWritten)
		slot := r.Slot(t)
		harness.PG(t, url, `UPDATE orders SET status = 'later' WHERE id % 3 = 0; DELETE FROM lines WHERE order_id = 5; DELETE FROM orders WHERE id = 5;
			INSERT INTO docs VALUES (1000, 1, 'x', NULL); DELETE FROM scratch`, `UPDATE docs SET id = 1001 WHERE id = 1000`)
		require.Positive(t, synced("incremental").RowsWritten)
		require.Equal(t, slot, r.Slot(t), "the same slot takes it on")
		synced("incremental")
		harness.PG(t, url, `UPDATE orders SET note = 'anew'`)
		synced("full", "--full")
		harness.PG(t, url, `UPDATE orders SET note = 'and on'`)
		synced("incremental")

		// A server takes over where a command stood, and the other way round.
		harness.PG(t, url, `UPDATE accounts SET balance = balance + 1`)
		s := p.Serve()
		s.Same(r)
		harness.PG(t, url, `UPDATE accounts SET balance = balance - 1`)
		contains(t, p.OK("sync", "shop"), "shop")
		r.Compare(t, s)
		s.Sync("shop")
		require.Equal(t, "full", s.SyncFull("shop").Kind)
		s.Same(r)
		s.Stop()
		harness.PG(t, url, `DELETE FROM accounts WHERE id > 90`)
		synced("incremental")
		require.NotContains(t, slot, ",")
		require.NotContains(t, r.Slot(t), ",", "one slot")
	})
}

// Every type with its extremes arrives by the first copy, by inserts and by updates in the stream, with every replica identity.
func TestReplicaTypes(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, server *pgtest.Server) {
		t.Parallel()
		url := server.DB(t)
		cols := typeTable(t, url, server.Major)
		harness.PG(t, url, "CREATE TABLE inserted (LIKE types INCLUDING ALL)", "CREATE TABLE whole (LIKE types INCLUDING ALL)", "ALTER TABLE whole REPLICA IDENTITY FULL",
			"CREATE TABLE addresses (id int PRIMARY KEY, ip inet)")
		p, r := replica(t, url, "")
		// An inet is what its cast to text gives, which always shows the mask.
		r.Text = map[string]string{"ip": "ip::text"}
		s := p.Serve()
		s.Same(r)
		harness.PG(t, url, "INSERT INTO inserted SELECT * FROM types", "INSERT INTO whole SELECT * FROM types",
			"INSERT INTO addresses VALUES (1, '192.168.0.1'), (2, '192.168.0.1/24'), (3, '::1'), (4, '::ffff:1.2.3.4/96')")
		s.Same(r)
		var sets []string
		for _, c := range cols {
			sets = append(sets, c.name+" = p."+c.name)
		}
		for _, table := range []string{"types", "inserted", "whole"} {
			harness.PG(t, url, "UPDATE "+table+" t SET v = 2, "+strings.Join(sets, ", ")+" FROM types p WHERE p.id = (t.id + 1) % 12")
		}
		harness.PG(t, url, "UPDATE whole SET v = 3", "UPDATE types SET v = 3", "UPDATE inserted SET id = id + 5000 WHERE id % 2 = 0", "UPDATE addresses SET ip = '10.0.0.0/8' WHERE id = 1")
		s.Same(r)
		harness.PG(t, url, "DELETE FROM whole WHERE id % 3 = 0", "DELETE FROM types WHERE id % 3 = 1")
		s.Same(r)
		s.Stop()
		p.OK("verify")
	})
}

// Names as long and as odd as PostgreSQL takes them, of tables and of columns.
func TestReplicaNames(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		names := []string{strings.Repeat("n", 63), strings.Repeat("é", 31) + "x", `with "quotes"`, "it's", "a.b", "select", "Ünï code 😀", "$1", "{}", "a;b", "--", "CamelCase", " leading", "tab\there", "100%", `back\slash`, "rowid", "_pintail"}
		var quoted, defs []string
		for _, n := range names {
			q := `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
			quoted, defs = append(quoted, q), append(defs, q+" text")
		}
		var make []string
		for i, q := range quoted {
			make = append(make, "CREATE TABLE "+q+" ("+strings.Join(defs, ", ")+", PRIMARY KEY ("+quoted[i]+", "+quoted[(i+2)%len(quoted)]+"))")
		}
		change := func(sql string) {
			t.Helper()
			var all []string
			for _, q := range quoted {
				all = append(all, strings.ReplaceAll(strings.ReplaceAll(sql, "TABLE", q), "FIRST", quoted[0]))
			}
			harness.PG(t, url, strings.Join(all, ";\n"))
		}
		harness.PG(t, url, make...)
		row := "SELECT " + strings.TrimSuffix(strings.Repeat("PREFIX || g, ", len(names)), ", ") + " FROM generate_series(1, 20) g"
		change("INSERT INTO TABLE " + strings.ReplaceAll(row, "PREFIX", "'a'"))
		p, r := replica(t, url, "")
		s := p.Serve()
		s.Same(r)
		change("INSERT INTO TABLE " + strings.ReplaceAll(row, "PREFIX", "'b'"))
		change("UPDATE TABLE SET FIRST = FIRST || 'x' WHERE FIRST LIKE 'a1%'; DELETE FROM TABLE WHERE FIRST = 'b7'")
		s.Same(r)
		// A table of another schema that would fall into the place of one that is there.
		harness.PG(t, url, `CREATE SCHEMA "Other"; CREATE TABLE "Other"."a.b" (id int PRIMARY KEY); INSERT INTO "Other"."a.b" VALUES (1)`)
		p.Write(p.Head(url) + "datasets:\n  shop: {source: pg, mode: cdc, tables: [public.*, \"Other.*\"]}\n")
		p.OK("reload", "--yes")
		harness.Eventually(t, 30*time.Second, "the collision is told", func() bool {
			for _, st := range s.Statuses() {
				if st.Error != nil && strings.Contains(*st.Error, "would both become") {
					contains(t, st.Hint, "{dataset}_{schema}.{table}")
					return true
				}
			}
			return false
		})
		p.Write(p.Head(url) + "datasets:\n  shop: {source: pg, mode: cdc, tables: [public.*]}\n  two: {source: pg, mode: cdc, tables: [Other.*], into: \"{dataset}_{schema}.{table}\"}\n")
		p.OK("reload", "--yes")
		harness.PG(t, url, `INSERT INTO "Other"."a.b" VALUES (2)`)
		s.Same(r)
		harness.Eventually(t, 30*time.Second, "the other one is followed", func() bool {
			return s.One("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'two_Other'") == "1" && s.One(`SELECT count(*) FROM "two_Other"."a.b"`) == "2"
		})
	})
}
