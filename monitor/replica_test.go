package monitor

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/syncer"
)

// A Syncer tells the monitor of batches by itself.
var _ interface {
	syncer.Observer
	syncer.BatchObserver
} = (*Monitor)(nil)

func TestBatchMetrics(t *testing.T) {
	m := New("")
	tables := []syncer.AppliedTable{{Target: "shop.orders", Inserts: 2, Updates: 1}, {Target: "shop.lines", Deletes: 4, Truncates: 1}}
	m.BatchApplied(syncer.AppliedBatch{Dataset: "shop", Rows: 7, Took: 30 * time.Millisecond, Latency: 150 * time.Millisecond, Tables: tables})
	m.BatchApplied(syncer.AppliedBatch{Dataset: "shop", Rows: 7000, Took: 30 * time.Millisecond, Latency: 3 * time.Second, Tables: tables[:1]})
	require.NoError(t, testutil.GatherAndCompare(m.Gatherer(), strings.NewReader(`
# HELP pintail_changes_total Changes of the source applied to the copy, by table of the copy and kind: insert, update, delete or truncate.
# TYPE pintail_changes_total counter
pintail_changes_total{dataset="shop",kind="delete",table="shop.lines"} 4
pintail_changes_total{dataset="shop",kind="insert",table="shop.orders"} 4
pintail_changes_total{dataset="shop",kind="truncate",table="shop.lines"} 1
pintail_changes_total{dataset="shop",kind="update",table="shop.orders"} 2
# HELP pintail_commit_to_readable_seconds From the commit of a batch's oldest transaction in the source until readers see it, by the source's clock.
# TYPE pintail_commit_to_readable_seconds histogram
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="0.01"} 0
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="0.025"} 0
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="0.05"} 0
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="0.1"} 0
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="0.2"} 1
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="0.35"} 1
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="0.5"} 1
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="0.75"} 1
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="1"} 1
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="2"} 1
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="5"} 2
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="10"} 2
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="30"} 2
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="60"} 2
pintail_commit_to_readable_seconds_bucket{dataset="shop",le="+Inf"} 2
pintail_commit_to_readable_seconds_sum{dataset="shop"} 3.15
pintail_commit_to_readable_seconds_count{dataset="shop"} 2
`), "pintail_changes_total", "pintail_commit_to_readable_seconds"))
	n, err := testutil.GatherAndCount(m.Gatherer(), "pintail_batch_rows", "pintail_batch_apply_seconds")
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

func TestReplicaGauges(t *testing.T) {
	m := New("")
	m.WatchReplicas(func() []syncer.ReplicaGauge {
		return []syncer.ReplicaGauge{
			{Dataset: "shop", Source: "pg", State: "following", Slot: "pintail_shop_1", WALStatus: "extended", LagBytes: 100, LagSeconds: 0.5, SpoolBytes: 7, RetainedBytes: 300, SafeBytes: 900,
				SnapshotAge: 3 * time.Second, Quarantined: 2},
			{Dataset: "idle", Source: "pg", State: "stopped", LagBytes: -1, LagSeconds: -1, RetainedBytes: -1, SafeBytes: -1},
		}
	})
	require.NoError(t, testutil.GatherAndCompare(m.Gatherer(), strings.NewReader(`
# HELP pintail_quarantined Tables that are not followed because something is wrong with them.
# TYPE pintail_quarantined gauge
pintail_quarantined{dataset="idle"} 0
pintail_quarantined{dataset="shop"} 2
# HELP pintail_replication_lag_bytes How much of the source's log is not applied to the copy.
# TYPE pintail_replication_lag_bytes gauge
pintail_replication_lag_bytes{dataset="shop"} 100
# HELP pintail_replication_lag_seconds Age of the moment, by the source's clock, as of which the copy has everything.
# TYPE pintail_replication_lag_seconds gauge
pintail_replication_lag_seconds{dataset="shop"} 0.5
# HELP pintail_replication_state 1 for the state that the replica is in, 0 for the others.
# TYPE pintail_replication_state gauge
pintail_replication_state{dataset="idle",state="copying"} 0
pintail_replication_state{dataset="idle",state="failed"} 0
pintail_replication_state{dataset="idle",state="following"} 0
pintail_replication_state{dataset="idle",state="stopped"} 1
pintail_replication_state{dataset="idle",state="waiting"} 0
pintail_replication_state{dataset="shop",state="copying"} 0
pintail_replication_state{dataset="shop",state="failed"} 0
pintail_replication_state{dataset="shop",state="following"} 1
pintail_replication_state{dataset="shop",state="stopped"} 0
pintail_replication_state{dataset="shop",state="waiting"} 0
# HELP pintail_slot_info 1; the labels name the replica's slot and its source.
# TYPE pintail_slot_info gauge
pintail_slot_info{dataset="shop",slot="pintail_shop_1",source="pg"} 1
# HELP pintail_slot_retained_bytes Log that the source keeps for the replica's slot.
# TYPE pintail_slot_retained_bytes gauge
pintail_slot_retained_bytes{dataset="shop",slot="pintail_shop_1"} 300
# HELP pintail_slot_safe_bytes Log that the source may still write before the slot is lost; no value when that is without bound.
# TYPE pintail_slot_safe_bytes gauge
pintail_slot_safe_bytes{dataset="shop",slot="pintail_shop_1"} 900
# HELP pintail_slot_wal_status 1 for the wal_status of the replica's slot, 0 for the others.
# TYPE pintail_slot_wal_status gauge
pintail_slot_wal_status{dataset="shop",slot="pintail_shop_1",status="extended"} 1
pintail_slot_wal_status{dataset="shop",slot="pintail_shop_1",status="lost"} 0
pintail_slot_wal_status{dataset="shop",slot="pintail_shop_1",status="reserved"} 0
pintail_slot_wal_status{dataset="shop",slot="pintail_shop_1",status="unreserved"} 0
# HELP pintail_snapshot_age_seconds Age of the snapshot under which tables are being copied; 0 when none are. While it is held the source removes no dead rows.
# TYPE pintail_snapshot_age_seconds gauge
pintail_snapshot_age_seconds{dataset="idle"} 0
pintail_snapshot_age_seconds{dataset="shop"} 3
# HELP pintail_spool_bytes On disk, of transactions that are not complete yet.
# TYPE pintail_spool_bytes gauge
pintail_spool_bytes{dataset="idle"} 0
pintail_spool_bytes{dataset="shop"} 7
`), "pintail_quarantined", "pintail_replication_lag_bytes", "pintail_replication_lag_seconds", "pintail_replication_state", "pintail_slot_info", "pintail_slot_retained_bytes",
		"pintail_slot_safe_bytes", "pintail_slot_wal_status", "pintail_snapshot_age_seconds", "pintail_spool_bytes"))
}
