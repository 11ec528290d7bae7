package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// keepSlots is the first major whose standbys keep logical slots.
const keepSlots = 17

// slotKeepers runs fn on the majors under test whose standbys keep slots, and on one of them at least.
func slotKeepers(t *testing.T, fn func(t *testing.T, major int)) {
	t.Parallel()
	majors := slices.DeleteFunc(pgtest.Majors(), func(major int) bool { return major < keepSlots })
	if len(majors) == 0 {
		majors = []int{pgtest.Newest}
	}
	for _, major := range majors {
		t.Run(fmt.Sprintf("pg%d", major), func(t *testing.T) { t.Parallel(); fn(t, major) })
	}
}

// behindPair is a replica whose source is the address of a pair; it is compared with one of the servers.
func behindPair(t *testing.T, pair *harness.Pair, more string) (p *harness.Project, before, after harness.Replica) {
	t.Helper()
	p, before = replica(t, pair.URL(), more)
	after = before
	before.URL, after.URL = pair.At(pair.Primary), pair.At(pair.Standby)
	return p, before, after
}

// copies are the runs that copied tables, newest first.
func copies(s *harness.Server) []harness.Run {
	return slices.DeleteFunc(s.Runs("shop"), func(r harness.Run) bool { return r.Kind != "full" })
}

// The standby has all that the copy has, and the slot: the replica goes on as if nothing had happened.
func TestReplicaFailover(t *testing.T) {
	slotKeepers(t, func(t *testing.T, major int) {
		pair := harness.StartPair(t, harness.PairOptions{Major: major, Slots: true, Safe: true})
		// Keys that move without their large values would have docs copied anew.
		harness.PG(t, pair.At(pair.Primary), harness.LoadSQL, "ALTER TABLE docs REPLICA IDENTITY FULL")
		p, before, after := behindPair(t, pair, "")
		s := p.Serve()
		s.Same(before)
		slot := before.Slot(t)
		require.Equal(t, "true", one(t, before.URL, "SELECT failover::text FROM pg_replication_slots WHERE slot_name = '"+slot+"'"))
		copied := copies(s)
		require.NotEmpty(t, copied)

		load := harness.StartPatientLoad(t, pair.URL(), seed(t), 3)
		written(t, load, 60)
		// The file of a table, which is another one now, is looked up when it is taken up again.
		harness.PG(t, before.URL, "TRUNCATE scratch")
		pair.Kept(slot)
		written(t, load, 60)
		require.NoError(t, pair.Primary.Stop(pgtest.Immediate))
		invariants(t, s)
		// The address is ahead of the promotion: a standby's slot cannot be read, and nothing is given up for that.
		pair.Lead(pair.Standby)
		harness.Eventually(t, 30*time.Second, "it is told what is waited for", func() bool {
			st := s.Status("shop.orders")
			return st.Error != nil && strings.Contains(*st.Error, "is a standby") && strings.Contains(st.Hint, "promoted")
		})
		pair.Promote()
		written(t, load, 60)
		load.Stop(t)
		t.Log(load)
		s.Same(after)
		invariants(t, s)
		// What is compared with the catalog is not taken for another server's either.
		harness.PG(t, after.URL, "ALTER TABLE accounts ADD COLUMN currency text DEFAULT 'EUR'", "UPDATE accounts SET currency = 'USD' WHERE id = 1", "VACUUM FULL lines",
			"TRUNCATE scratch", "INSERT INTO scratch VALUES (1, 'after the failover')")
		s.Sync("shop") // looks at once how the tables are made
		s.Same(after)
		require.Equal(t, slot, after.Slot(t), "the slot took it on")
		require.Equal(t, harness.Show(copied), harness.Show(copies(s)), "nothing was copied anew")
	})
}

// ghosts are new rows, changes, deletions and a TRUNCATE that the primary takes with it.
const ghosts = `BEGIN; INSERT INTO items SELECT g, -1 FROM generate_series(1001, 1100) g; UPDATE items SET v = -1 WHERE id < 20; DELETE FROM items WHERE id BETWEEN 100 AND 119; TRUNCATE others; COMMIT`

// The standby has the slot, but not all that the copy has: it is copied anew, or left to a person, as configured, also where the
// new primary's log has gone beyond the copy's position.
func TestReplicaFailoverLosesTransactions(t *testing.T) {
	slotKeepers(t, func(t *testing.T, major int) {
		pair := harness.StartPair(t, harness.PairOptions{Major: major, Slots: true})
		harness.PG(t, pair.At(pair.Primary), troubleSQL)
		p, before, after := behindPair(t, pair, "")
		again := p.Serve()
		again.Same(before)
		p, _, _ = behindPair(t, pair, ", on_lost_slot: stop")
		stops := p.Serve()
		stops.Same(before)
		for _, name := range strings.Split(before.Slot(t), ",") {
			pair.Kept(name)
		}
		pair.Received()
		require.NoError(t, pair.Standby.Stop(pgtest.Immediate))
		harness.PG(t, before.URL, ghosts, "CREATE TABLE gone (id int PRIMARY KEY)", "INSERT INTO gone VALUES (1)")
		for _, s := range []*harness.Server{again, stops} {
			s.Sync("shop") // looks at once for new tables
			s.Same(before)
		}
		end := harness.LSN(t, before.URL)
		copied := copies(again)
		require.NoError(t, pair.Primary.Stop(pgtest.Immediate))
		require.NoError(t, pair.Standby.Restart(t.Context()))
		pair.Promote()
		harness.PG(t, after.URL, "INSERT INTO items SELECT g, 7 FROM generate_series(1051, 1060) g", "DELETE FROM items WHERE id = 3", "SELECT pg_switch_wal()", "UPDATE items SET v = 8 WHERE id = 4")
		require.Greater(t, harness.LSN(t, after.URL), end, "the position alone does not tell")
		pair.Lead(pair.Standby)

		again.Same(after)
		require.Equal(t, "0", again.One("SELECT count(*) FROM shop.items WHERE v = -1"))
		runs := copies(again)
		require.Len(t, runs, len(copied)+1)
		contains(t, runs[0].Reason, "timeline", "a standby took its place")
		harness.Eventually(t, time.Minute, "the lost transactions are told", func() bool {
			st := stops.Status("shop.items")
			return st.State == "error" && st.Code == "slot_lost"
		})
		st := stops.Status("shop.items")
		contains(t, *st.Error, "a standby took its place", "timeline")
		contains(t, st.Hint, "pintail sync shop --full")
		stops.SyncFails("shop", "slot_lost")
		require.Equal(t, "119 1", fmt.Sprint(stops.One("SELECT count(*) FROM shop.items WHERE v = -1"), " ", stops.One("SELECT count(*) FROM shop.gone")), "the last rows stay, and are told to be old")
		require.Equal(t, "full", stops.SyncFull("shop").Kind)
		for _, s := range []*harness.Server{again, stops} {
			harness.PG(t, after.URL, "UPDATE items SET v = v + 1 WHERE id < 50", "DELETE FROM others WHERE id < 5", "INSERT INTO others VALUES (1)")
			s.Same(after)
		}
		require.Equal(t, "2", one(t, after.URL, "SELECT count(*)::text FROM pg_replication_slots WHERE failover AND active AND confirmed_flush_lsn > '"+fmt.Sprintf("%X/%X", end>>32, uint32(end))+"'"))
	})
}

// The standby has no such slot, because it does not keep any: everything is copied anew, once, with a slot that other standbys may
// keep. The address leads there before it is promoted, or afterwards.
func TestReplicaFailoverWithoutSlot(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("pg%d early=%t", major, early), func(t *testing.T) {
				t.Parallel()
				pair := harness.StartPair(t, harness.PairOptions{Major: major})
				harness.PG(t, pair.At(pair.Primary), troubleSQL)
				p, before, after := behindPair(t, pair, "")
				s := p.Serve()
				s.Same(before)
				copied := copies(s)
				pair.Received()
				require.NoError(t, pair.Standby.Stop(pgtest.Immediate))
				harness.PG(t, before.URL, ghosts)
				s.Same(before)
				require.NoError(t, pair.Primary.Stop(pgtest.Immediate))
				require.NoError(t, pair.Standby.Restart(t.Context()))
				if early {
					pair.Lead(pair.Standby)
					standsBy(t, s)
				}
				pair.Promote()
				pair.Lead(pair.Standby)
				harness.PG(t, after.URL, "INSERT INTO items SELECT g, 7 FROM generate_series(1051, 1060) g", "SELECT pg_switch_wal()", "UPDATE items SET v = 8 WHERE id = 4", "CHECKPOINT")
				s.Same(after)
				require.Equal(t, "0", s.One("SELECT count(*) FROM shop.items WHERE v = -1"))
				done := slices.DeleteFunc(copies(s), func(r harness.Run) bool { return r.State != "ready" })
				require.Len(t, done, len(copied)+1, "copied once: %s", harness.Show(done))
				if major >= keepSlots {
					require.Equal(t, "true", one(t, after.URL, "SELECT failover::text FROM pg_replication_slots"))
				}
				harness.PG(t, after.URL, "UPDATE items SET v = v + 1 WHERE id < 50", "DELETE FROM others WHERE id < 5")
				s.Same(after)
			})
		}
	}
}

// standsBy waits until the replica tells that its source's address leads to a standby that does not have the slot.
func standsBy(t *testing.T, s *harness.Server) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, "it is told what is waited for", func() bool {
		st := s.Status("shop.items")
		return st.Error != nil && strings.Contains(*st.Error, "is a standby without replication slot") && strings.Contains(st.Hint, "lead to the primary")
	})
}

// An address that leads to a standby for a while costs nothing but the while.
func TestReplicaAddressLeadsToAStandby(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprintf("pg%d", major), func(t *testing.T) {
			t.Parallel()
			pair := harness.StartPair(t, harness.PairOptions{Major: major})
			harness.PG(t, pair.At(pair.Primary), troubleSQL)
			p, before, _ := behindPair(t, pair, "")
			s := p.Serve()
			s.Same(before)
			slot, copied := before.Slot(t), copies(s)
			pair.Received()
			pair.Lead(pair.Standby)
			harness.PG(t, before.URL, "UPDATE items SET v = 9 WHERE id < 50", "DELETE FROM others WHERE id < 5")
			standsBy(t, s)
			pair.Lead(pair.Primary)
			s.Same(before)
			require.Equal(t, slot, before.Slot(t))
			require.Equal(t, harness.Show(copied), harness.Show(copies(s)), "nothing was copied anew")
		})
	}
}
