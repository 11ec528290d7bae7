package httpapi

import (
	"context"
	"fmt"
	"time"

	"github.com/pintaildb/pintail/store"
)

// Slot is a replication slot that a Pintail has made in the database of a configured source.
type Slot struct {
	Source        string  `json:"source"`
	Slot          string  `json:"slot"`
	Dataset       *string `json:"dataset" doc:"Of this file, whose slot it is; null when another file's Pintail has made it."`
	Owned         bool    `json:"owned" doc:"It is this file's."`
	Followed      bool    `json:"followed" doc:"Its dataset is configured here and not paused; dropping it needs force."`
	Active        bool    `json:"active" doc:"It is in use."`
	PID           int     `json:"pid,omitempty" doc:"Process of the source's server that serves it."`
	LagBytes      int64   `json:"lag_bytes" doc:"From what was confirmed to the end of the source's log."`
	RetainedBytes int64   `json:"retained_bytes" doc:"Log that the source keeps for it."`
	WALStatus     string  `json:"wal_status" doc:"reserved, extended, unreserved or lost."`
	SafeWALBytes  *int64  `json:"safe_wal_bytes" doc:"Log that the source may still write before it is lost; null when that is without bound."`
	ConfirmedLSN  string  `json:"confirmed_lsn"`
	RestartLSN    string  `json:"restart_lsn"`
}

// Slots is the answer about all of them.
type Slots struct {
	Success bool                   `json:"success"`
	Slots   []Slot                 `json:"slots" doc:"By source and name."`
	Failed  map[string]ErrorDetail `json:"failed" doc:"Why a source could not be asked, by its name."`
}

type slotsOutput struct{ Body Slots }

func (s *Server) slots(ctx context.Context, _ *struct{}) (*slotsOutput, error) {
	if err := s.opts.Access.CanAdmin(infoOf(ctx).who); err != nil {
		return nil, err
	}
	all, failed, err := s.opts.Syncer.Slots(ctx)
	if err != nil {
		return nil, err
	}
	out := &slotsOutput{Body: Slots{Success: true, Slots: []Slot{}, Failed: map[string]ErrorDetail{}}}
	for _, sl := range all {
		slot := Slot{Source: sl.Source, Slot: sl.Name, Dataset: orNull(sl.Dataset), Owned: sl.Dataset != "", Followed: sl.Followed, Active: sl.Active, PID: sl.PID,
			LagBytes: sl.LagBytes, RetainedBytes: sl.RetainedBytes, WALStatus: sl.WALStatus, ConfirmedLSN: sl.Confirmed.String(), RestartLSN: sl.Restart.String()}
		if sl.SafeBytes >= 0 {
			slot.SafeWALBytes = &sl.SafeBytes
		}
		out.Body.Slots = append(out.Body.Slots, slot)
	}
	for name, err := range failed {
		out.Body.Failed[name] = s.fail(ctx, err).Detail
	}
	return out, nil
}

type dropSlotInput struct {
	Slot   string `path:"slot" example:"pintail_shop_1a2b3c4d"`
	Source string `query:"source" doc:"Where it is; without it all sources are looked through."`
	Force  bool   `query:"force" doc:"Though a dataset follows it, or it is in use elsewhere: all tables of that dataset are then copied anew."`
}

func (s *Server) dropSlot(ctx context.Context, in *dropSlotInput) (*doneOutput, error) {
	if err := s.opts.Access.CanAdmin(infoOf(ctx).who); err != nil {
		return nil, err
	}
	sl, err := s.opts.Syncer.DropSlot(ctx, in.Source, in.Slot, in.Force)
	if err != nil {
		return nil, err
	}
	return done("Slot and publication %s are dropped from source %s", sl.Name, sl.Source), nil
}

// Quarantined is a table that was set aside because it could not be followed.
type Quarantined struct {
	Dataset string    `json:"dataset"`
	Table   string    `json:"table" doc:"In the copy. Its rows stay as they were."`
	LSN     string    `json:"lsn" doc:"Where the dataset was in the source's log."`
	At      time.Time `json:"at"`
	Reason  string    `json:"reason"`
	Code    string    `json:"code"`
}

// Quarantine is the answer about all of them.
type Quarantine struct {
	Success    bool          `json:"success"`
	Quarantine []Quarantined `json:"quarantine" doc:"Oldest first."`
}

type quarantineOutput struct{ Body Quarantine }

func (s *Server) quarantine(ctx context.Context, _ *struct{}) (*quarantineOutput, error) {
	all, err := s.opts.Syncer.Quarantine(ctx)
	if err != nil {
		return nil, err
	}
	out := &quarantineOutput{Body: Quarantine{Success: true, Quarantine: []Quarantined{}}}
	who := infoOf(ctx).who
	for _, q := range all {
		if s.opts.Access.Visible(who, q.Dataset) {
			out.Body.Quarantine = append(out.Body.Quarantine, quarantinedOf(q))
		}
	}
	return out, nil
}

func quarantinedOf(q store.Quarantined) Quarantined {
	return Quarantined{Dataset: q.Dataset, Table: q.Target, LSN: q.LSN.String(), At: q.At, Reason: q.Reason, Code: q.Code}
}

type retryInput struct {
	Dataset string `path:"dataset" doc:"Name of the dataset." example:"shop"`
	Table   string `query:"table" doc:"Only this one, named as in the copy or in the source."`
}

// RetryDone is the answer of a retry.
type RetryDone struct {
	Done
	Tables []string `json:"tables" doc:"That are copied anew."`
}

type retryOutput struct{ Body RetryDone }

func (s *Server) retry(ctx context.Context, in *retryInput) (*retryOutput, error) {
	if err := s.opts.Access.CanSync(infoOf(ctx).who, in.Dataset); err != nil {
		return nil, err
	}
	tables, err := s.opts.Syncer.Retry(ctx, in.Dataset, in.Table)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("%d tables of %s are", len(tables), in.Dataset)
	if len(tables) == 1 {
		what = "Table " + tables[0] + " is"
	}
	return &retryOutput{Body: RetryDone{Done: done("%s out of quarantine, to be copied anew while the dataset is followed", what).Body, Tables: tables}}, nil
}
