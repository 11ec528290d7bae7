package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

const troubleSQL = "CREATE TABLE items (id int PRIMARY KEY, v int); INSERT INTO items SELECT g, g FROM generate_series(1, 200) g; CREATE TABLE others (id int PRIMARY KEY); INSERT INTO others SELECT generate_series(1, 50)"

// away takes the replica's slot away, whoever uses it.
func away(t testing.TB, url, slot string) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, "the slot is dropped", func() bool {
		conn := harness.Conn(t, url)
		if _, err := conn.Exec(t.Context(), "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = $1 AND active", slot); err != nil {
			return false
		}
		_, err := conn.Exec(t.Context(), "SELECT pg_drop_replication_slot($1)", slot)
		return err == nil
	})
}

// The slot goes while the replica runs, and while it does not; it is made again under its name, so that changes are missing.
// Everything is copied anew, or that is left to a person, as configured.
func TestReplicaSlotIsLost(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, troubleSQL)
		p, r := replica(t, url, "")
		s := p.Serve()
		s.Same(r)
		slot := r.Slot(t)
		again := func(name string) {
			t.Helper()
			harness.PG(t, url, "SELECT pg_create_logical_replication_slot('"+name+"', 'pgoutput')")
		}
		// While it runs.
		away(t, url, slot)
		harness.PG(t, url, "UPDATE items SET v = -1 WHERE id < 20; DELETE FROM others WHERE id < 5")
		s.Same(r)
		require.NotContains(t, r.Slot(t), ",")
		// While it does not run.
		s.Stop()
		harness.PG(t, url, "UPDATE items SET v = -2 WHERE id < 10")
		away(t, url, r.Slot(t))
		harness.PG(t, url, "DELETE FROM items WHERE id = 100")
		p.OK("sync", "shop")
		r.Compare(t, harness.File(p.DB))
		// Made again: what was written before is not in it.
		slot = r.Slot(t)
		harness.PG(t, url, "UPDATE items SET v = -3 WHERE id < 10")
		away(t, url, slot)
		harness.PG(t, url, "DELETE FROM items WHERE id = 101")
		again(slot)
		harness.PG(t, url, "DELETE FROM items WHERE id = 102")
		p.OK("sync", "shop")
		r.Compare(t, harness.File(p.DB))
		// Somebody else reads from it.
		slot = r.Slot(t)
		harness.PG(t, url, "DELETE FROM items WHERE id = 103", "SELECT count(*) FROM pg_logical_slot_get_binary_changes('"+slot+"', NULL, NULL, 'proto_version', '1', 'publication_names', '"+slot+"')")
		harness.PG(t, url, "DELETE FROM items WHERE id = 104")
		p.OK("sync", "shop")
		r.Compare(t, harness.File(p.DB))

		// on_lost_slot: stop. The last good rows stay readable.
		p.Write(p.Head(url) + harness.ReplicaYAML("shop", ", on_lost_slot: stop"))
		s = p.Serve()
		s.Same(r)
		away(t, url, r.Slot(t))
		harness.PG(t, url, "UPDATE items SET v = -4")
		harness.Eventually(t, time.Minute, "the lost slot is told", func() bool {
			st := s.Status("shop.items")
			return st.State == "error" && st.Code == "slot_lost"
		})
		contains(t, s.Status("shop.items").Hint, "pintail sync shop --full")
		require.Equal(t, "0", s.One("SELECT count(*) FROM shop.items WHERE v = -4"))
		require.Positive(t, len(s.SQL("SELECT * FROM shop.items")))
		s.SyncFails("shop", "slot_lost")
		require.Equal(t, "full", s.SyncFull("shop").Kind)
		s.Same(r)
		harness.PG(t, url, "UPDATE items SET v = -5")
		s.Same(r)
	})
}

// The publication goes, or a table goes from it: what was not published is missing in the stream.
func TestReplicaPublicationIsChanged(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, troubleSQL)
		p, r := replica(t, url, "")
		s := p.Serve()
		s.Same(r)
		name := r.Slot(t)
		harness.PG(t, url, "ALTER PUBLICATION "+name+" DROP TABLE items", "UPDATE items SET v = -1 WHERE id < 20", "DELETE FROM others WHERE id = 1")
		s.Sync("shop") // looks at once what is published
		s.Same(r)
		harness.PG(t, url, "UPDATE items SET v = -2 WHERE id < 10")
		s.Same(r)
		harness.PG(t, url, "DROP PUBLICATION "+name, "UPDATE items SET v = -3 WHERE id < 30", "DELETE FROM others WHERE id = 2")
		s.Sync("shop") // looks at once what is published
		s.Same(r)
		harness.PG(t, url, "UPDATE items SET v = -4 WHERE id < 5")
		s.Same(r)
	})
}

// The server is restarted, and crashes, while it is written and followed.
func TestReplicaServerRestarts(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprintf("pg%d", major), func(t *testing.T) {
			t.Parallel()
			server := pgtest.StartT(t, pgtest.Options{Major: major})
			url := server.DB(t)
			harness.PG(t, url, harness.LoadSQL)
			p, r := replica(t, url, "")
			s := p.Serve()
			s.Same(r)
			slot := r.Slot(t)
			// Of docs large values may be missing in the stream, so it may be copied again.
			const full = "SELECT string_agg(target || ' ' || last_full, ', ' ORDER BY target) FROM _pintail.tables WHERE target <> 'shop.docs'"
			copied := s.One(full)
			load := harness.StartPatientLoad(t, url, seed(t), 3)
			for _, mode := range []pgtest.StopMode{pgtest.Fast, pgtest.Immediate, pgtest.Immediate} {
				written(t, load, 60)
				require.NoError(t, server.Stop(mode))
				require.NoError(t, server.Restart(t.Context()))
				invariants(t, s)
			}
			written(t, load, 60)
			load.Stop(t)
			t.Log(load)
			s.Same(r)
			require.Equal(t, slot, r.Slot(t), "the slot took it on")
			require.Equal(t, copied, s.One(full), "nothing was copied anew")
		})
	}
}

// The network is cut in the middle of messages, stalls, and is away for a while.
func TestReplicaNetworkIsCut(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, server *pgtest.Server) {
		t.Parallel()
		url := server.DB(t)
		harness.PG(t, url, harness.LoadSQL)
		proxy := pgtest.NewProxy(t, server)
		_, database, _ := strings.Cut(strings.TrimPrefix(url, "postgres://"), "/")
		database, _, _ = strings.Cut(database, "?")
		p, r := replica(t, proxy.URL(database), "")
		r.URL = url
		proxy.CutAfter(100_000) // in the first copy
		s := p.Serve()
		s.Same(r)
		require.Equal(t, 1, proxy.Cuts())
		load := harness.StartLoad(t, url, seed(t), 3)
		for i, after := range []int64{10, 777, 5_001, 20_003, 60_007} {
			proxy.CutAfter(after)
			harness.Eventually(t, time.Minute, "the wire is cut", func() bool { return proxy.Cuts() == i+2 })
			invariants(t, s)
		}
		proxy.Stall()
		written(t, load, 30)
		proxy.Flow()
		proxy.Refuse()
		proxy.Cut()
		written(t, load, 30)
		require.NoError(t, proxy.Accept())
		load.Stop(t)
		t.Log(load)
		s.Same(r)
		invariants(t, s)
	})
}

// The server drops the log that the slot needs while nothing runs: everything is copied anew.
func TestReplicaLogIsLost(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprintf("pg%d", major), func(t *testing.T) {
			t.Parallel()
			server := pgtest.StartT(t, pgtest.Options{Major: major, Settings: map[string]string{"max_slot_wal_keep_size": "16MB", "max_wal_size": "48MB", "min_wal_size": "32MB"}})
			url := server.DB(t)
			harness.PG(t, url, troubleSQL)
			p, r := replica(t, url, "")
			p.OK("sync")
			r.Compare(t, harness.File(p.DB))
			harness.PG(t, url, "UPDATE items SET v = -1 WHERE id < 10")
			harness.Eventually(t, time.Minute, "the log is lost", func() bool {
				harness.PG(t, url, "SELECT pg_switch_wal() FROM (SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000)) FROM generate_series(1, 2000)) x LIMIT 1", "SELECT pg_switch_wal()", "CHECKPOINT")
				return one(t, url, "SELECT wal_status FROM pg_replication_slots WHERE NOT temporary") == "lost"
			})
			p.OK("sync")
			r.Compare(t, harness.File(p.DB))
			harness.PG(t, url, "UPDATE items SET v = -2 WHERE id < 10")
			p.OK("sync")
			r.Compare(t, harness.File(p.DB))
		})
	}
}
