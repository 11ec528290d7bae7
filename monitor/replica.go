package monitor

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pintaildb/pintail/syncer"
)

// replicas are the metrics of datasets that follow their source's log: those of the batches applied.
type replicas struct {
	readable *prometheus.HistogramVec
	changes  *prometheus.CounterVec
	rows     *prometheus.HistogramVec
	seconds  *prometheus.HistogramVec
}

func newReplicas(reg prometheus.Registerer) *replicas {
	dataset := []string{"dataset"}
	r := &replicas{
		readable: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "pintail_commit_to_readable_seconds",
			Help:    "From the commit of a batch's oldest transaction in the source until readers see it, by the source's clock.",
			Buckets: []float64{.01, .025, .05, .1, .2, .35, .5, .75, 1, 2, 5, 10, 30, 60}}, dataset),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_changes_total", Help: "Changes of the source applied to the copy, by table of the copy and kind: insert, update, delete or truncate."},
			[]string{"dataset", "table", "kind"}),
		rows: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "pintail_batch_rows", Help: "Rows that a batch of changes inserted, replaced or deleted in the copy.",
			Buckets: []float64{1, 10, 100, 1000, 10_000, 100_000, 1_000_000}}, dataset),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "pintail_batch_apply_seconds", Help: "From the first row of a batch that was staged to the end of its commit.",
			Buckets: []float64{.005, .01, .025, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300}}, dataset),
	}
	reg.MustRegister(r.readable, r.changes, r.rows, r.seconds)
	return r
}

// BatchApplied counts a batch of changes.
func (m *Monitor) BatchApplied(b syncer.AppliedBatch) {
	r := m.replicas
	r.rows.WithLabelValues(b.Dataset).Observe(float64(b.Rows))
	r.seconds.WithLabelValues(b.Dataset).Observe(b.Took.Seconds())
	r.readable.WithLabelValues(b.Dataset).Observe(b.Latency.Seconds())
	for _, t := range b.Tables {
		for _, c := range []struct {
			kind string
			n    int64
		}{{"insert", t.Inserts}, {"update", t.Updates}, {"delete", t.Deletes}, {"truncate", t.Truncates}} {
			if c.n > 0 {
				r.changes.WithLabelValues(b.Dataset, t.Target, c.kind).Add(float64(c.n))
			}
		}
	}
}

// WatchReplicas registers what is asked for of each replica at each scrape. What is not known has no value.
func (m *Monitor) WatchReplicas(gauges func() []syncer.ReplicaGauge) {
	m.registry.MustRegister(replicaGauges{gauges})
}

type replicaGauges struct {
	gauges func() []syncer.ReplicaGauge
}

func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"dataset"}, labels...), nil)
}

var (
	stateDesc       = newDesc("pintail_replication_state", "1 for the state that the replica is in, 0 for the others.", "state")
	lagBytesDesc    = newDesc("pintail_replication_lag_bytes", "How much of the source's log is not applied to the copy.")
	lagSecondsDesc  = newDesc("pintail_replication_lag_seconds", "Age of the moment, by the source's clock, as of which the copy has everything.")
	spoolDesc       = newDesc("pintail_spool_bytes", "On disk, of transactions that are not complete yet.")
	slotDesc        = newDesc("pintail_slot_info", "1; the labels name the replica's slot and its source.", "source", "slot")
	walStatusDesc   = newDesc("pintail_slot_wal_status", "1 for the wal_status of the replica's slot, 0 for the others.", "slot", "status")
	retainedDesc    = newDesc("pintail_slot_retained_bytes", "Log that the source keeps for the replica's slot.", "slot")
	safeDesc        = newDesc("pintail_slot_safe_bytes", "Log that the source may still write before the slot is lost; no value when that is without bound.", "slot")
	snapshotDesc    = newDesc("pintail_snapshot_age_seconds", "Age of the snapshot under which tables are being copied; 0 when none are. While it is held the source removes no dead rows.")
	quarantinedDesc = newDesc("pintail_quarantined", "Tables that are not followed because something is wrong with them.")
)

var (
	replicaStates = []string{"copying", "waiting", "following", "failed", "stopped"}
	walStatuses   = []string{"reserved", "extended", "unreserved", "lost"}
)

func (replicaGauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{stateDesc, lagBytesDesc, lagSecondsDesc, spoolDesc, slotDesc, walStatusDesc, retainedDesc, safeDesc, snapshotDesc, quarantinedDesc} {
		ch <- d
	}
}

func (g replicaGauges) Collect(ch chan<- prometheus.Metric) {
	for _, r := range g.gauges() {
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{r.Dataset}, labels...)...)
		}
		oneOf := func(d *prometheus.Desc, is string, all []string, labels ...string) {
			for _, name := range all {
				v := 0.0
				if name == is {
					v = 1
				}
				gauge(d, v, append(labels[:len(labels):len(labels)], name)...)
			}
		}
		oneOf(stateDesc, r.State, replicaStates)
		if r.LagBytes >= 0 {
			gauge(lagBytesDesc, float64(r.LagBytes))
		}
		if r.LagSeconds >= 0 {
			gauge(lagSecondsDesc, r.LagSeconds)
		}
		gauge(spoolDesc, float64(r.SpoolBytes))
		gauge(snapshotDesc, r.SnapshotAge.Seconds())
		gauge(quarantinedDesc, float64(r.Quarantined))
		if r.Slot == "" {
			continue
		}
		gauge(slotDesc, 1, r.Source, r.Slot)
		if r.WALStatus != "" {
			oneOf(walStatusDesc, r.WALStatus, walStatuses, r.Slot)
		}
		if r.RetainedBytes >= 0 {
			gauge(retainedDesc, float64(r.RetainedBytes), r.Slot)
		}
		if r.SafeBytes >= 0 {
			gauge(safeDesc, float64(r.SafeBytes), r.Slot)
		}
	}
}
