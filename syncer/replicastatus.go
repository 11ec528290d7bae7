package syncer

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// ReplicaStatus is how a dataset of mode: cdc follows its source.
type ReplicaStatus struct {
	State       string // copying | waiting | following | failed | stopped
	Slot        string
	LSN         change.LSN // the copy has all transactions whose commit record lies before
	CommittedAt time.Time  // of the last transaction applied, by the source's clock
	AsOf        time.Time  // the source's clock that the copy holds as of
	LagBytes    int64      // of the source's log, not applied yet; -1 is not known
	LagSeconds  float64    // since AsOf; -1 is not known
	Server      source.SlotState
	ServerAt    time.Time // when the server was asked; zero is never
	SpoolBytes  int64
	SnapshotAt  time.Time // when a copy under way took its snapshot; zero is none
}

// lag computes LagSeconds; the source's clock is ahead of ours by skew.
func (st *ReplicaStatus) lag(skew time.Duration) {
	st.LagSeconds = -1
	if !st.AsOf.IsZero() {
		st.LagSeconds = max(0, time.Since(st.AsOf)+skew).Seconds()
	}
}

// ReplicaTable is how one table of it does.
type ReplicaTable struct {
	Source, State                        string // State: copying | waiting | following | error; "" while nothing follows the dataset
	Reason                               string // why it is copied anew
	Inserts, Updates, Deletes, Truncates int64  // since the process began
	Code, Error, Hint                    string
	Quarantined                          *time.Time // since when it is set aside, until somebody takes it up again
}

// States of a replica.
const (
	replicaCopying   = "copying"
	replicaWaiting   = "waiting" // for the end of quiet hours, to copy
	replicaFollowing = "following"
	replicaFailed    = "failed"
	replicaStopped   = "stopped"
)

// addReplica adds the tables of a replica to the status: those in the file, and those that are to come.
func (s *Syncer) addReplica(all map[string]Status, d *config.Dataset, base Status, states map[string]store.TableState, saved change.Position, aside []store.Quarantined) {
	s.mu.Lock()
	r := s.replicas[d.Name]
	s.mu.Unlock()
	base.Replica = &ReplicaStatus{State: replicaStopped, LSN: saved.LSN, CommittedAt: saved.CommittedAt, LagBytes: -1, AsOf: s.SyncedAt()[d.Name]}
	base.Replica.lag(0)
	var tables map[string]ReplicaTable
	if r != nil {
		tables = r.status(base.Replica, &base)
	}
	names := map[string]bool{}
	for target, t := range states {
		if t.Dataset == d.Name {
			names[target] = true
		}
	}
	for target := range tables {
		names[target] = true
	}
	quarantined := map[string]*store.Quarantined{}
	for i := range aside {
		if q := &aside[i]; q.Dataset == d.Name {
			quarantined[q.Target], names[q.Target] = q, true
		}
	}
	for _, target := range slices.Sorted(maps.Keys(names)) {
		st, t := base, states[target]
		st.Key, st.Watermarks = target, map[string]string{}
		s.addTable(&st, config.Part{Target: target}, t)
		m, copied := readMark(t.Watermark)
		if copied {
			st.Watermarks[target] = max(m.After, saved.LSN).String()
			st.Tables[0].Watermark = st.Watermarks[target]
		}
		info, known := tables[target]
		if !known {
			info = ReplicaTable{Source: t.Part}
			if base.Replica.State == replicaWaiting {
				info.State = tableWaiting
			}
		}
		if q := quarantined[target]; q != nil {
			info.Quarantined = &q.At
			if r == nil {
				info.State, info.Error, info.Code, info.Hint = tableError, q.Reason, q.Code, hintRetry(d.Name)
			}
		}
		st.Table = &info
		switch {
		case info.State == tableError:
			st.State, st.Error, st.Code, st.Hint = StateError, info.Error, info.Code, info.Hint
		case base.Replica.State == replicaFailed:
		case info.State == tableCopying:
			st.State = "syncing"
		case info.State == tableFollowing, copied && r == nil:
			st.State, st.Error, st.Code, st.Hint = StateReady, "", "", ""
		}
		all[target] = st
	}
	if len(names) == 0 { // nothing is known of its tables yet
		base.Key, base.Watermarks = d.Name, map[string]string{}
		all[d.Name] = base
	}
}

// status tells how the replica does.
func (r *replica) status(to *ReplicaStatus, base *Status) map[string]ReplicaTable {
	r.mu.Lock()
	a := r.copying
	r.mu.Unlock()
	if a != nil { // under no other lock: starting a run takes them in the other order
		l := r.s.live(a)
		base.RunID, base.Progress = l.Run.ID, l.Run.Progress
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	to.Slot, to.Server, to.ServerAt, to.SnapshotAt = r.claimed.Slot, r.slot, r.slotAt, r.snapshotAt
	if !r.asOf.IsZero() {
		to.AsOf = r.asOf
	}
	to.lag(r.skew)
	if r.at.LSN > to.LSN {
		to.LSN, to.CommittedAt = r.at.LSN, r.at.CommittedAt
	}
	end := r.slot.Current
	if r.stream != nil {
		end = max(end, r.stream.Received())
		to.SpoolBytes = r.stream.SpoolBytes()
	}
	if end > 0 && to.LSN > 0 {
		to.LagBytes = max(0, int64(end)-int64(to.LSN))
	}
	to.State = replicaCopying
	switch {
	case r.failure != nil:
		to.State = replicaFailed
		base.State, base.Error, base.Code, base.Hint = StateError, r.failure.Error(), string(fault.CodeOf(r.failure)), fault.HintOf(r.failure)
	case r.stream != nil && len(r.needs) == 0:
		to.State = replicaFollowing
	case !r.quietUntil.IsZero() && !r.prompt():
		to.State = replicaWaiting
	}
	if until := r.quietUntil; !until.IsZero() && (r.stream == nil || len(r.needs) > 0) {
		base.QuietUntil = &until
	}
	tables := map[string]ReplicaTable{}
	for target, h := range r.tables {
		t := ReplicaTable{Source: h.table, State: h.state, Reason: h.lost, Inserts: h.counts.inserts, Updates: h.counts.updates, Deletes: h.counts.deletes, Truncates: h.counts.truncates}
		if toCopy := h.state == tableCopying || h.state == tableFollowing && r.stream == nil; toCopy && base.QuietUntil != nil && !r.prompted[target] {
			t.State = tableWaiting
		}
		if h.err != nil {
			t.Error, t.Code, t.Hint = h.err.Error(), string(fault.CodeOf(h.err)), fault.HintOf(h.err)
		}
		tables[target] = t
	}
	return tables
}

// watchEvery is how often the source is asked how the slot does.
const watchEvery = 5 * time.Second

// slotMargin is how much of what the slot may keep has to be left; below it is an alarm.
const slotMargin = 1 << 30

// clockEvery is how often the clocks of the source and of this machine are compared.
const clockEvery = 10 * time.Minute

func (r *replica) clock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()
	before := time.Now()
	snap, err := r.src.Snapshot(ctx, source.SnapshotOptions{})
	if err != nil {
		return // it is only for metrics
	}
	r.lookAtClock(snap.Now(), before, time.Now())
	_ = snap.Close()
}

// watch asks the source how the slot does until ctx ends, and says when it is about to be lost.
func (r *replica) watch(ctx context.Context) {
	var compared time.Time
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	warned := false
	for {
		if time.Since(compared) > clockEvery {
			r.clock(ctx)
			compared = time.Now()
		}
		asking, cancel := context.WithTimeout(ctx, watchEvery)
		slots, err := r.src.Slots(asking, r.claim.Slot)
		cancel()
		if err == nil {
			for _, sl := range slots {
				if sl.Name != r.claim.Slot {
					continue
				}
				r.mu.Lock()
				r.slot, r.slotAt = sl, time.Now()
				r.mu.Unlock()
				near := sl.WALStatus == "unreserved" || sl.SafeBytes >= 0 && sl.SafeBytes < slotMargin
				if near && !warned {
					r.log.Error("the replication slot is about to be lost", "slot", sl.Name, "wal_status", sl.WALStatus, "bytes_left", sl.SafeBytes, "lag_bytes", sl.LagBytes(),
						"hint", "raise max_slot_wal_keep_size on the source, or find out why the copy falls behind; once it is lost, everything is copied anew")
				}
				warned = near
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// RetainedBytes is how much log the source keeps for the slot.
func (st *ReplicaStatus) RetainedBytes() int64 { return retained(&st.Server) }
