package syncer

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// Status is what is known of a dataset, under its status key: the view's name, or the table's.
type Status struct {
	Dataset, Source, Key, State, SyncType, Error, Code, Hint, RunID string
	Rows, IncrementalRows                                           int64
	Progress                                                        float64
	LastSync, LastFull, LastIncremental, NextRun                    *time.Time
	QuietUntil                                                      *time.Time        // NextRun, or copies of a replica, wait until then for the end of quiet hours
	Watermarks                                                      map[string]string // table → the largest value in the copy
	Truncated, Paused                                               bool
	RefreshMinutes                                                  float64
	Refresh, IncrementalColumn, Guarantee                           string
	Tables                                                          []TableStatus
	Replica                                                         *ReplicaStatus // of mode: cdc
	Table                                                           *ReplicaTable  // likewise
}

// TableStatus is one table of a dataset.
type TableStatus struct {
	Name                         string
	Rows                         int64
	Watermark, Method, Guarantee string
	OutOfRangeText               bool
}

// statusRuns is how far back in the history a dataset's last sync is looked for, among its verifications.
const statusRuns = 20

// Status reads all datasets, by status key. Everything but a run under way comes from the file, so it outlives a restart.
func (s *Syncer) Status(ctx context.Context) (map[string]Status, error) {
	// Before the tables: one that is lost loses its mark with the batch that moves the position on.
	positions, err := s.store.Positions(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	replicas := maps.Clone(s.replicas)
	s.mu.Unlock()
	for name, r := range replicas {
		if at := r.position(); at.LSN > positions[name].LSN {
			positions[name] = at
		}
	}
	tables, err := s.store.Tables(ctx)
	if err != nil {
		return nil, err
	}
	byTarget := map[string]store.TableState{}
	for _, t := range tables {
		byTarget[t.Target] = t
	}
	aside, err := s.store.Quarantined(ctx, "")
	if err != nil {
		return nil, err
	}
	// Before the history: a run that ends meanwhile is in one of them as under way, or in the other with its end.
	s.mu.Lock()
	cfg, running := s.cfg, maps.Clone(s.running)
	s.mu.Unlock()
	all := map[string]Status{}
	for _, name := range cfg.DatasetNames() {
		d := cfg.Datasets[name]
		last, err := s.store.Runs(ctx, store.RunFilter{Dataset: name, Limit: statusRuns})
		if err != nil {
			return nil, err
		}
		base := s.shared(d, last, running[name])
		if d.Form == config.FormCDC {
			s.addReplica(all, d, base, byTarget, positions[name], aside)
			continue
		}
		if d.ViewName != "" {
			st := base
			st.Key, st.Watermarks = d.ViewName, map[string]string{}
			for _, p := range d.Parts {
				s.addTable(&st, p, byTarget[p.Target])
			}
			if v := byTarget[d.ViewName]; v.Rows > 0 || !v.LastSync.IsZero() { // it was counted
				st.Rows = v.Rows
			}
			all[st.Key] = st
			continue
		}
		for _, p := range d.Parts {
			st := base
			st.Key, st.Watermarks = p.Target, map[string]string{}
			s.addTable(&st, p, byTarget[p.Target])
			all[st.Key] = st
		}
	}
	return all, nil
}

// shared is the part of the status that all tables of a dataset share.
func (s *Syncer) shared(d *config.Dataset, last []store.Run, a *active) Status {
	st := Status{Dataset: d.Name, Source: d.Source, State: "not_synced", Paused: s.Paused(d.Name), Refresh: d.Refresh.Cron}
	if d.Refresh.Every > 0 {
		st.RefreshMinutes, st.Refresh = d.Refresh.Every.Minutes(), d.Refresh.Every.String()
	}
	for _, p := range d.Parts {
		if p.IncrementalColumn != "" {
			st.IncrementalColumn = p.IncrementalColumn
			break
		}
	}
	if s.nextRun != nil {
		if t, ok := s.nextRun(d.Name); ok && !st.Paused {
			st.NextRun, st.QuietUntil = &t, s.heldUntil(d.Name, &t)
		}
	}
	for _, r := range last {
		if r.Kind != KindFull && r.Kind != KindIncremental || r.State == StateRunning {
			continue
		}
		st.State, st.Error, st.Code, st.Hint, st.RunID = r.State, r.Error, r.Code, r.Hint, r.ID
		if r.State == StateCancelled {
			st.State = StateError
		}
		break
	}
	if a != nil {
		if l := s.live(a); l.Run.Kind == KindFull || l.Run.Kind == KindIncremental {
			st.State, st.RunID, st.Progress = "syncing", l.Run.ID, l.Run.Progress
		}
	}
	return st
}

func (s *Syncer) addTable(st *Status, p config.Part, t store.TableState) {
	var w source.Watermark
	if len(t.Watermark) > 0 {
		_ = json.Unmarshal(t.Watermark, &w) // written by us; an unreadable one is shown as none and rebuilt by the next run
	}
	s.mu.Lock()
	guarantee := s.verdicts[p.Target]
	s.mu.Unlock()
	st.Tables = append(st.Tables, TableStatus{Name: p.Target, Rows: t.Rows, Watermark: w.High, Method: string(w.Method), Guarantee: guarantee, OutOfRangeText: t.OutOfRangeText})
	if w.High != "" {
		st.Watermarks[p.Target] = w.High
	}
	if st.Guarantee == "" {
		st.Guarantee = guarantee
	}
	st.Rows += t.Rows
	st.IncrementalRows += t.IncrementalRows
	st.Truncated = st.Truncated || t.Truncated
	if t.SyncType != "" && (st.SyncType == "" || t.SyncType == KindIncremental) {
		st.SyncType = t.SyncType
	}
	if st.State == "not_synced" && !t.LastSync.IsZero() {
		st.State = StateReady // its last sync is beyond the history looked at
	}
	latest(&st.LastSync, t.LastSync)
	latest(&st.LastFull, t.LastFull)
	latest(&st.LastIncremental, t.LastIncremental)
}

func latest(p **time.Time, t time.Time) {
	if !t.IsZero() && (*p == nil || t.After(**p)) {
		*p = &t
	}
}
