package syncer

import (
	"maps"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/config"
)

// BatchObserver is told of every batch of changes once readers see it. An Observer that is one too is told, from the replica's
// goroutine: it must not wait.
type BatchObserver interface {
	BatchApplied(b AppliedBatch)
}

// AppliedBatch is a batch of changes that was committed.
type AppliedBatch struct {
	Dataset string
	Rows    int64         // inserted, replaced or deleted in the copy
	Took    time.Duration // from the first row staged to the end of the commit
	// Latency is from the commit of the batch's oldest transaction in the source until readers see it, by the source's clock as far
	// as it is known: see replica.lookAtClock.
	Latency time.Duration
	Tables  []AppliedTable
}

// AppliedTable counts the source's changes of one table.
type AppliedTable struct {
	Target                               string
	Inserts, Updates, Deletes, Truncates int64
}

// meter measures the batch under way; a transaction in several parts is one. It is of the replica's goroutine.
type meter struct {
	more   bool      // the last part is yet to come
	begun  time.Time // when the first one came
	oldest time.Time // commit of the first transaction, by the source's clock
}

func (m *meter) staging(b *change.Batch) {
	if !m.more {
		m.begun, m.oldest = time.Now(), b.Oldest
	}
	m.more = b.More
}

// measured tells of a committed batch.
func (r *replica) measured(done []applied) {
	m := &r.meter
	to, ok := r.s.observer.(BatchObserver)
	if !ok || len(done) == 0 {
		return
	}
	now := time.Now()
	b := AppliedBatch{Dataset: r.d.Name, Took: now.Sub(m.begun), Tables: make([]AppliedTable, len(done))}
	for i, a := range done {
		b.Rows += a.inserted + a.updated + a.deleted
		b.Tables[i] = AppliedTable{Target: a.table.target, Inserts: a.counts.inserts, Updates: a.counts.updates, Deletes: a.counts.deletes, Truncates: a.counts.truncates}
	}
	if !m.oldest.IsZero() {
		r.mu.Lock()
		skew := r.skew
		r.mu.Unlock()
		b.Latency = max(0, now.Add(skew).Sub(m.oldest))
	}
	to.BatchApplied(b)
}

// holding notes since when a copy under way holds a snapshot of the source, which keeps it from removing dead rows, until the
// function that it returns is called.
func (r *replica) holding() func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshotAt = time.Now()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.snapshotAt = time.Time{}
	}
}

// lookAtClock learns by how much the source's clock is ahead of ours. A snapshot has its time; as far as that lies within the
// time that taking it took, the clocks count as the same.
func (r *replica) lookAtClock(now, before, after time.Time) {
	var skew time.Duration
	switch {
	case now.Before(before):
		skew = now.Sub(before)
	case now.After(after):
		skew = now.Sub(after)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skew = skew
}

// ReplicaGauge is how a dataset of mode: cdc does, for metrics.
type ReplicaGauge struct {
	Dataset, Source, State string // State: as ReplicaStatus has it
	Slot, WALStatus        string // "" while not known
	LagBytes               int64  // -1 is not known
	LagSeconds             float64
	SpoolBytes             int64
	RetainedBytes          int64         // of the source's log, for the slot; -1 is not known
	SafeBytes              int64         // that may still be written before the slot is lost; -1 is without bound or not known
	SnapshotAge            time.Duration // of a copy under way; 0 is none
	Quarantined            int           // tables that are not followed because something is wrong with them
}

// ReplicaGauges tells of every dataset of mode: cdc. It asks nobody, so it does not wait.
func (s *Syncer) ReplicaGauges() []ReplicaGauge {
	s.mu.Lock()
	cfg, replicas := s.cfg, maps.Clone(s.replicas)
	s.mu.Unlock()
	var all []ReplicaGauge
	for _, name := range cfg.DatasetNames() {
		d := cfg.Datasets[name]
		if d.Form != config.FormCDC {
			continue
		}
		st := ReplicaStatus{State: replicaStopped, LagBytes: -1, LagSeconds: -1, AsOf: s.SyncedAt()[name]}
		st.lag(0)
		g := ReplicaGauge{Dataset: name, Source: d.Source, RetainedBytes: -1, SafeBytes: -1}
		if r := replicas[name]; r != nil {
			for _, t := range r.status(&st, &Status{}) {
				if t.State == tableError {
					g.Quarantined++
				}
			}
		}
		g.State, g.Slot, g.LagBytes, g.LagSeconds, g.SpoolBytes = st.State, st.Slot, st.LagBytes, st.LagSeconds, st.SpoolBytes
		if !st.ServerAt.IsZero() {
			g.WALStatus, g.RetainedBytes, g.SafeBytes = st.Server.WALStatus, st.RetainedBytes(), st.Server.SafeBytes
		}
		if !st.SnapshotAt.IsZero() {
			g.SnapshotAge = time.Since(st.SnapshotAt)
		}
		all = append(all, g)
	}
	return all
}
