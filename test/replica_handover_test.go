package test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// A transaction that is open while the slot is made, and commits right then, is in the copy once.
func TestReplicaCommitWhileSlotIsMade(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, "CREATE TABLE items (id int PRIMARY KEY, v int); INSERT INTO items SELECT g, g FROM generate_series(1, 100) g")
		p, r := replica(t, url, "")
		conn := harness.Conn(t, url)
		exec := func(sql string) {
			t.Helper()
			_, err := conn.Exec(t.Context(), sql)
			require.NoError(t, err, sql)
		}
		exec("BEGIN")
		exec("INSERT INTO items VALUES (1000, 1); UPDATE items SET v = -1 WHERE id = 5; DELETE FROM items WHERE id = 6")
		s := p.ServeNow()
		harness.Eventually(t, time.Minute, "the slot waits for the transaction", func() bool {
			return one(t, url, "SELECT count(*)::text FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid WHERE s.database = current_database() AND a.wait_event_type = 'Lock'") != "0"
		})
		require.NotContains(t, s.Statuses()["shop.items"].State, "ready")
		exec("COMMIT")
		exec("UPDATE items SET v = v + 1")
		s.AwaitReady()
		s.Same(r)
	})
}

// Tables change their form, go, or are emptied between the moment at which the snapshot was taken and the moment at which
// they are locked: the snapshot reads such a table as empty, which is noticed.
func TestReplicaTablesChangeUnderSnapshot(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, server *pgtest.Server) {
		t.Parallel()
		url := server.DB(t)
		proxy := pgtest.NewProxy(t, server)
		const tables = 40
		var stmts []string
		for i := range tables {
			stmts = append(stmts, fmt.Sprintf("CREATE TABLE t%02d (id int PRIMARY KEY, v int); INSERT INTO t%02d SELECT g, g FROM generate_series(1, 30) g", i, i))
		}
		harness.PG(t, url, stmts...)
		database := url[strings.LastIndex(url, "/")+1:]
		database, _, _ = strings.Cut(database, "?")
		p, r := replica(t, proxy.URL(database), "")
		r.URL = url
		conn := harness.Conn(t, url)
		s := p.ServeNow()
		harness.Eventually(t, time.Minute, "the slot is made", func() bool {
			var made bool
			require.NoError(t, conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE database = current_database() AND confirmed_flush_lsn IS NOT NULL)").Scan(&made))
			if made {
				proxy.Stall()
			}
			return made
		})
		changed := 0
		for i := range tables {
			ddl := []string{"ALTER TABLE %s ALTER v TYPE bigint", "TRUNCATE %s", "ALTER TABLE %s ALTER v TYPE int USING v * 2", "DROP TABLE %s", "ALTER TABLE %s ADD COLUMN w int DEFAULT 3", "ALTER TABLE %s RENAME COLUMN v TO w"}[i%6]
			_, err := conn.Exec(t.Context(), "SET lock_timeout = '10ms'; "+fmt.Sprintf(ddl, fmt.Sprintf("t%02d", i)))
			if err == nil {
				changed++
			}
			_, err = conn.Exec(t.Context(), fmt.Sprintf("INSERT INTO t%02d (id) VALUES (99)", i))
			_ = err // one that was dropped, or is locked
		}
		t.Logf("%d of %d tables changed under the snapshot", changed, tables)
		proxy.Flow()
		s.AwaitReady()
		s.Same(r)
	})
}

// The connections of the copy are ended in the middle: what was copied is not copied again, and the rest follows.
func TestReplicaCopyIsInterrupted(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		for i := range 4 {
			harness.PG(t, url, fmt.Sprintf("CREATE TABLE small_%d (id int PRIMARY KEY, v int); INSERT INTO small_%d SELECT g, g FROM generate_series(1, 100) g", i, i))
		}
		harness.PG(t, url, "CREATE TABLE large (id int PRIMARY KEY, pad text); INSERT INTO large SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 150000) g", "ANALYZE")
		p, r := replica(t, url, "")
		conn := harness.Conn(t, url)
		// All sessions are ended while the large one is copied, and once more while it is copied beside the stream.
		end := func() {
			t.Helper()
			harness.Eventually(t, time.Minute, "the large table is being copied", func() bool {
				var pids int
				require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
					AND EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%large%')
					AND (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%small%') = 0`).Scan(&pids))
				return pids > 0
			})
		}
		s := p.ServeNow()
		end()
		end()
		harness.Eventually(t, time.Minute, "the small tables are there", func() bool { return s.Statuses()["shop.small_3"].State == "ready" })
		const copied = "SELECT string_agg(target || ' ' || last_full, ', ' ORDER BY target) FROM _pintail.tables WHERE target LIKE 'shop.small%'"
		before := s.One(copied)
		require.Contains(t, before, "shop.small_0")
		harness.PG(t, url, "UPDATE small_1 SET v = 0", "UPDATE large SET pad = 'changed' WHERE id % 1000 = 0", "INSERT INTO large VALUES (-1, 'new')")
		s.Same(r)
		require.Equal(t, before, s.One(copied), "the small ones were copied once")
	})
}

// Rows and tables go while they are copied.
func TestReplicaWritesDuringCopy(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		for _, name := range []string{"truncated", "dropped", "remade", "altered", "written"} {
			harness.PG(t, url, fmt.Sprintf("CREATE TABLE %[1]s (id int PRIMARY KEY, pad text, v int); INSERT INTO %[1]s SELECT g, repeat(md5(g::text), 5), g FROM generate_series(1, 20000) g", name))
		}
		p, r := replica(t, url, "")
		s := p.ServeNow()
		harness.Eventually(t, time.Minute, "the copy runs", func() bool {
			return one(t, url, "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%'") != "0" || s.Statuses()["shop.written"].State == "ready"
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // they wait for the copy's locks
		defer cancel()
		for _, ddl := range []string{"TRUNCATE truncated", "DROP TABLE dropped", "DROP TABLE remade; CREATE TABLE remade (v int, id text PRIMARY KEY); INSERT INTO remade VALUES (1, 'a')", "ALTER TABLE altered ALTER v TYPE text",
			"UPDATE written SET v = -v WHERE id % 2 = 0", "DELETE FROM written WHERE id % 5 = 0", "INSERT INTO truncated VALUES (1, 'x', 1)", "UPDATE altered SET v = v || 'x' WHERE id < 50"} {
			_, err := harness.Conn(t, url).Exec(ctx, ddl)
			require.NoError(t, err, ddl)
		}
		s.AwaitReady()
		s.Becomes(r)
	})
}

// The same history, taken in by replicas that differ in the size of their batches, in their memory, and in how often they
// are started, leads to the same tables.
func TestReplicaSameHistoryOtherBatches(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, "ALTER DATABASE "+one(t, url, "SELECT quote_ident(current_database())")+" SET logical_decoding_work_mem = '64kB'", harness.LoadSQL)
		options := map[string]string{"usual": "", "single": ", batch: {rows: 1}", "slow": ", batch: {rows: 100000, time: 2s}", "tight": ", memory: 1MiB, batch: {bytes: 64KiB}"}
		datasets := "datasets:\n"
		var all []harness.Replica
		for name, more := range options {
			datasets += strings.TrimPrefix(harness.ReplicaYAML(name, more), "datasets:\n")
			all = append(all, harness.Replica{URL: url, Dataset: name})
		}
		p := harness.With(t, url, datasets)
		s := p.Serve()
		stopped, r := replica(t, url, ", batch: {rows: 20}")
		stopped.OK("sync")
		chosen := seed(t)
		for n := range uint64(4) {
			load := harness.StartLoad(t, url, chosen+n, 3)
			written(t, load, 80)
			load.Stop(t)
			t.Log(load)
			stopped.OK("sync")
		}
		for _, one := range all {
			s.Same(one)
		}
		r.Compare(t, harness.File(stopped.DB))
	})
}
