package httpapi

import (
	"time"

	"github.com/pintaildb/pintail/syncer"
)

// ReplicaStatus is how a dataset of mode: cdc follows its source's log.
type ReplicaStatus struct {
	State          string     `json:"state" enum:"copying,waiting,following,failed,stopped" doc:"waiting: for the end of quiet hours, to copy. stopped: paused, or no server follows it."`
	LSN            *string    `json:"lsn" doc:"The copy has all transactions whose commit record lies before, and none after; null before the first copy."`
	CommittedAt    *time.Time `json:"committed_at" doc:"Commit of the last transaction applied, by the source's clock."`
	AsOf           *time.Time `json:"as_of" doc:"The copy has everything that had committed then, by the source's clock."`
	LagBytes       *int64     `json:"lag_bytes" doc:"Of the source's log, not applied yet; null when it is not known."`
	LagSeconds     *float64   `json:"lag_seconds" doc:"Since as_of."`
	Slot           string     `json:"slot,omitempty" doc:"Replication slot, and publication, on the source."`
	Active         bool       `json:"active" doc:"The slot is in use."`
	WALStatus      string     `json:"wal_status,omitempty" doc:"Of the slot: reserved, extended, unreserved or lost."`
	RestartLSN     *string    `json:"restart_lsn" doc:"The source keeps its log from here on for the slot."`
	ConfirmedLSN   *string    `json:"confirmed_lsn" doc:"What ended before is not sent again."`
	RetainedBytes  *int64     `json:"retained_bytes" doc:"Log that the source keeps for the slot."`
	SafeWALBytes   *int64     `json:"safe_wal_bytes" doc:"Log that the source may still write before the slot is lost; null when that is without bound."`
	CheckedAt      *time.Time `json:"checked_at" doc:"When the source was asked about the slot."`
	SpoolBytes     int64      `json:"spool_bytes" doc:"On disk, of transactions that are not complete yet."`
	SnapshotAgeSec *float64   `json:"snapshot_age_seconds" doc:"Of the snapshot under which tables are being copied; null when none are."`
}

// ReplicaTable is how one table of it does.
type ReplicaTable struct {
	Source      string     `json:"source" doc:"Its name in the source."`
	State       string     `json:"state" enum:"copying,waiting,following,error,stopped" doc:"waiting: it is copied when the source's quiet hours are over."`
	Reason      string     `json:"reason,omitempty" doc:"Why it is copied anew."`
	Inserts     int64      `json:"inserts" doc:"Changes of the source applied since the server started, as the next ones."`
	Updates     int64      `json:"updates"`
	Deletes     int64      `json:"deletes"`
	Truncates   int64      `json:"truncates"`
	Error       *string    `json:"error" doc:"Why it is not followed."`
	Code        string     `json:"code,omitempty"`
	Hint        string     `json:"hint,omitempty"`
	Quarantined *time.Time `json:"quarantined" doc:"Since when it is set aside; POST /api/store/retry/{dataset} takes it up again."`
}

func replicaOf(r *syncer.ReplicaStatus) *ReplicaStatus {
	if r == nil {
		return nil
	}
	out := &ReplicaStatus{State: r.State, CommittedAt: orNoTime(r.CommittedAt), AsOf: orNoTime(r.AsOf), Slot: r.Slot, SpoolBytes: r.SpoolBytes}
	if r.LSN > 0 {
		out.LSN = orNull(r.LSN.String())
	}
	if r.LagBytes >= 0 {
		out.LagBytes = &r.LagBytes
	}
	if r.LagSeconds >= 0 {
		out.LagSeconds = &r.LagSeconds
	}
	if !r.SnapshotAt.IsZero() {
		age := time.Since(r.SnapshotAt).Seconds()
		out.SnapshotAgeSec = &age
	}
	if r.ServerAt.IsZero() {
		return out
	}
	retained := r.RetainedBytes()
	out.Active, out.WALStatus, out.RetainedBytes, out.CheckedAt = r.Server.Active, r.Server.WALStatus, &retained, &r.ServerAt
	if r.Server.Restart > 0 {
		out.RestartLSN = orNull(r.Server.Restart.String())
	}
	if r.Server.Confirmed > 0 {
		out.ConfirmedLSN = orNull(r.Server.Confirmed.String())
	}
	if r.Server.SafeBytes >= 0 {
		out.SafeWALBytes = &r.Server.SafeBytes
	}
	return out
}

func replicaTableOf(t *syncer.ReplicaTable) *ReplicaTable {
	if t == nil {
		return nil
	}
	state := t.State
	if state == "" {
		state = "stopped"
	}
	return &ReplicaTable{Source: t.Source, State: state, Reason: t.Reason, Inserts: t.Inserts, Updates: t.Updates, Deletes: t.Deletes, Truncates: t.Truncates,
		Error: orNull(t.Error), Code: t.Code, Hint: t.Hint, Quarantined: t.Quarantined}
}

func orNoTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
