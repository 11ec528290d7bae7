package httpapi

import (
	"context"
	"fmt"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/syncer"
)

type datasetInput struct {
	Dataset string `path:"dataset" doc:"Name of the dataset." example:"monitoring"`
}

type syncAllInput struct {
	Full bool `query:"full" doc:"Rebuild everything instead of reading what is new."`
}

type syncInput struct {
	Dataset string `path:"dataset" doc:"Name of the dataset." example:"monitoring"`
	Full    bool   `query:"full" doc:"Rebuild everything instead of reading what is new."`
}

type resetInput struct {
	Dataset string `path:"dataset" doc:"Name of the dataset." example:"monitoring"`
	Table   string `query:"table" doc:"Only this table's watermark."`
}

// Done is the answer of what was done at once.
type Done struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

type doneOutput struct{ Body Done }

func done(format string, args ...any) *doneOutput {
	return &doneOutput{Body: Done{Success: true, Message: fmt.Sprintf(format, args...)}}
}

// Started is the answer of what was started.
type Started struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
	RunID   string `json:"run_id" doc:"GET /api/store/runs/{run_id} follows it."`
}

type startedOutput struct{ Body Started }

// StartedAll is the answer of a sync of every dataset.
type StartedAll struct {
	Success        bool                   `json:"success"`
	Message        string                 `json:"message"`
	RunIDs         map[string]string      `json:"run_ids" doc:"Run started, by dataset."`
	AlreadyRunning []string               `json:"already_running" doc:"Datasets whose run under way was left alone."`
	NotStarted     map[string]ErrorDetail `json:"not_started,omitempty" doc:"Why others were not started, by dataset."`
}

type startedAllOutput struct{ Body StartedAll }

func mode(full bool) string {
	if full {
		return "full rebuild"
	}
	return "incremental (if available)"
}

func (s *Server) syncAll(ctx context.Context, in *syncAllInput) (*startedAllOutput, error) {
	out := &startedAllOutput{Body: StartedAll{Success: true, RunIDs: map[string]string{}, AlreadyRunning: []string{}, NotStarted: map[string]ErrorDetail{}}}
	who := infoOf(ctx).who
	var denied, busy, failed error
	for _, dataset := range s.opts.Syncer.Datasets() {
		if err := s.opts.Access.CanSync(who, dataset); err != nil {
			denied = err
			continue
		}
		id, err := s.opts.Syncer.Sync(dataset, in.Full)
		switch fault.CodeOf(err) {
		case "":
			out.Body.RunIDs[dataset] = id
		case fault.Running:
			out.Body.AlreadyRunning = append(out.Body.AlreadyRunning, dataset)
			busy = err
		default:
			failed = fault.Wrap(err, "sync %s", dataset)
			out.Body.NotStarted[dataset] = s.fail(ctx, err).Detail
		}
	}
	switch {
	case len(out.Body.RunIDs) > 0:
	case failed != nil:
		return nil, failed
	case busy != nil:
		return nil, busy
	case denied != nil:
		return nil, denied
	}
	out.Body.Message = fmt.Sprintf("Sync started in background (%s)", mode(in.Full))
	return out, nil
}

func (s *Server) sync(ctx context.Context, in *syncInput) (*startedOutput, error) {
	return s.start(ctx, in.Dataset, fmt.Sprintf("Sync started for %s (%s)", in.Dataset, mode(in.Full)),
		func(dataset string) (string, error) { return s.opts.Syncer.Sync(dataset, in.Full) })
}

func (s *Server) verify(ctx context.Context, in *datasetInput) (*startedOutput, error) {
	return s.start(ctx, in.Dataset, "Verification started for "+in.Dataset, s.opts.Syncer.Verify)
}

func (s *Server) reconcile(ctx context.Context, in *datasetInput) (*startedOutput, error) {
	return s.start(ctx, in.Dataset, "Reconciliation started for "+in.Dataset, s.opts.Syncer.Reconcile)
}

func (s *Server) start(ctx context.Context, dataset, message string, start func(dataset string) (string, error)) (*startedOutput, error) {
	if err := s.opts.Access.CanSync(infoOf(ctx).who, dataset); err != nil {
		return nil, err
	}
	id, err := start(dataset)
	if err != nil {
		return nil, err
	}
	return &startedOutput{Body: Started{Success: true, Message: message, RunID: id}}, nil
}

// ResetDone is the answer of a watermark reset.
type ResetDone struct {
	Done
	Tables []string `json:"tables" doc:"Whose watermarks were cleared."`
}

type resetOutput struct{ Body ResetDone }

func (s *Server) resetWatermark(ctx context.Context, in *resetInput) (*resetOutput, error) {
	if err := s.opts.Access.CanSync(infoOf(ctx).who, in.Dataset); err != nil {
		return nil, err
	}
	tables, err := s.opts.Syncer.ResetWatermark(ctx, in.Dataset, in.Table)
	if err != nil {
		return nil, err
	}
	if tables == nil {
		tables = []string{}
	}
	what := in.Dataset
	if in.Table != "" {
		what = in.Table
	}
	return &resetOutput{Body: ResetDone{Done: done("Watermarks cleared for %s. Next sync will do a full rebuild.", what).Body, Tables: tables}}, nil
}

func (s *Server) pause(ctx context.Context, in *datasetInput) (*doneOutput, error) {
	return s.setPaused(ctx, in.Dataset, true)
}

func (s *Server) resume(ctx context.Context, in *datasetInput) (*doneOutput, error) {
	return s.setPaused(ctx, in.Dataset, false)
}

func (s *Server) setPaused(ctx context.Context, dataset string, paused bool) (*doneOutput, error) {
	if err := s.opts.Access.CanSync(infoOf(ctx).who, dataset); err != nil {
		return nil, err
	}
	if err := s.opts.Syncer.Pause(dataset, paused); err != nil {
		return nil, err
	}
	if paused {
		return done("%s is paused: it is not scheduled until it is resumed", dataset), nil
	}
	return done("%s is scheduled again", dataset), nil
}

// ReloadOptions say how far a reload may go. Without Confirm one that drops tables is refused as a whole, with fault.Usage.
type ReloadOptions struct{ DryRun, Confirm bool }

// ReloadPlan is what a reload changes.
type ReloadPlan struct {
	Changes  []string `json:"changes" doc:"What is different now, or would be, one line each."`
	Drops    []string `json:"drops" doc:"Tables and views that go away."`
	Rebuilds []string `json:"rebuilds" doc:"Datasets that the next sync rebuilds; their present rows stay readable until then."`
}

// Reloaded is the answer of a reload.
type Reloaded struct {
	Done
	ReloadPlan
	DryRun bool `json:"dry_run" doc:"Nothing was done."`
}

type reloadInput struct {
	DryRun  bool `query:"dry_run" doc:"Only say what would change."`
	Confirm bool `query:"confirm" doc:"Drop tables and views that the configuration does not make any more. Without it a reload that would drop some is refused, and changes nothing."`
}

type reloadOutput struct{ Body Reloaded }

func (s *Server) reload(ctx context.Context, in *reloadInput) (*reloadOutput, error) {
	if err := s.opts.Access.CanAdmin(infoOf(ctx).who); err != nil {
		return nil, err
	}
	if s.opts.Reload == nil {
		return nil, fault.New(fault.NotFound, "restart it", "this server cannot reload its configuration")
	}
	plan, err := s.opts.Reload(ctx, ReloadOptions(*in))
	if err != nil {
		return nil, err
	}
	for _, list := range []*[]string{&plan.Changes, &plan.Drops, &plan.Rebuilds} {
		if *list == nil {
			*list = []string{}
		}
	}
	changes := fmt.Sprintf("%d changes", len(plan.Changes))
	if len(plan.Changes) == 1 {
		changes = "1 change"
	}
	message := "Configuration read again, " + changes
	if in.DryRun {
		message = "Nothing is done; a reload would make " + changes
	}
	return &reloadOutput{Body: Reloaded{Done: done("%s", message).Body, ReloadPlan: plan, DryRun: in.DryRun}}, nil
}

// Status is the answer to "how is everything".
type Status struct {
	Success  bool                     `json:"success"`
	Enabled  bool                     `json:"enabled"`
	Datasets map[string]DatasetStatus `json:"datasets" doc:"By status key: the dataset's view, or else each of its tables."`
	Sources  map[string]SourceStatus  `json:"sources" doc:"By name: those of these datasets."`
}

// SourceStatus is what a source has to do with this server.
type SourceStatus struct {
	QuietUntil *time.Time `json:"quiet_until" doc:"End of the quiet hours that the source has now."`
	Seconds    float64    `json:"seconds" doc:"How long statements of ours were active on it since the server started or connected anew, those at the same time added up."`
	LoadShare  *float64   `json:"load_share" minimum:"0" maximum:"1" doc:"Share of ours in how long all sessions of its database were active within the last minute; null when it is not known."`
}

// DatasetStatus is the state of a dataset. The first members have the names that clients of the original runbook know.
type DatasetStatus struct {
	State                  string             `json:"state" enum:"not_synced,syncing,ready,error" doc:"Of the last sync; the data of the last good one stays readable whatever it is."`
	Rows                   int64              `json:"rows" doc:"Of the view, or of the table."`
	SyncType               *string            `json:"sync_type" doc:"full or incremental; null before the first sync."`
	LastSync               *time.Time         `json:"last_sync" doc:"End of the last good sync."`
	LastIncremental        *time.Time         `json:"last_incremental"`
	IncrementalRows        int64              `json:"incremental_rows" doc:"That the last incremental sync brought."`
	Watermarks             map[string]*string `json:"watermarks" doc:"By table: the largest value of the incremental column in the copy."`
	Truncated              bool               `json:"truncated" doc:"max_sync_rows was reached; the next run goes on."`
	Error                  *string            `json:"error" doc:"Why the last sync failed."`
	RefreshIntervalMinutes float64            `json:"refresh_interval_minutes" doc:"0: not scheduled by an interval."`
	IncrementalColumn      *string            `json:"incremental_column"`

	Dataset   string        `json:"dataset"`
	Code      string        `json:"code,omitempty" doc:"Kind of the error."`
	Hint      string        `json:"hint,omitempty" doc:"What to do about the error."`
	RunID     string        `json:"run_id,omitempty" doc:"The run under way, or the last one."`
	Progress  float64       `json:"progress" minimum:"0" maximum:"1" doc:"Of the run under way."`
	Paused    bool          `json:"paused"`
	LastFull  *time.Time    `json:"last_full"`
	NextRun   *time.Time    `json:"next_run"`
	Quiet     *time.Time    `json:"quiet_until" doc:"next_run, or copies of tables that mode: cdc needs, wait until then for the end of the source's quiet hours."`
	Source    string        `json:"source,omitempty" doc:"Name of the source in the configuration."`
	Refresh   string        `json:"refresh,omitempty" doc:"The schedule as configured."`
	Guarantee string        `json:"guarantee,omitempty" doc:"What incremental syncs of it can promise."`
	Tables    []TableStatus `json:"tables"`

	Replica *ReplicaStatus `json:"replica,omitempty" doc:"Of a dataset of mode: cdc."`
	Table   *ReplicaTable  `json:"table,omitempty" doc:"Of a dataset of mode: cdc."`
}

// TableStatus is the state of one table of a dataset.
type TableStatus struct {
	Name           string  `json:"name"`
	Rows           int64   `json:"rows"`
	Watermark      *string `json:"watermark"`
	Method         string  `json:"method,omitempty" doc:"How late commits are caught."`
	Guarantee      string  `json:"guarantee,omitempty"`
	OutOfRangeText bool    `json:"out_of_range_text" doc:"The table keeps values out of DuckDB's range as text, in _pintail_text."`
}

type statusOutput struct{ Body Status }

func (s *Server) status(ctx context.Context, _ *struct{}) (*statusOutput, error) {
	all, err := s.opts.Syncer.Status(ctx)
	if err != nil {
		return nil, err
	}
	out := &statusOutput{Body: Status{Success: true, Enabled: s.opts.Enabled, Datasets: map[string]DatasetStatus{}, Sources: map[string]SourceStatus{}}}
	who := infoOf(ctx).who
	sources := s.opts.Syncer.Sources()
	for key, st := range all {
		if !s.opts.Access.Visible(who, st.Dataset) {
			continue
		}
		out.Body.Datasets[key] = statusOf(st)
		if src, ok := sources[st.Source]; ok {
			out.Body.Sources[st.Source] = sourceOf(src)
		}
	}
	return out, nil
}

func sourceOf(s syncer.SourceStatus) SourceStatus {
	out := SourceStatus{QuietUntil: orNoTime(s.QuietUntil), Seconds: s.Worked.Seconds()}
	if s.Share >= 0 {
		out.LoadShare = &s.Share
	}
	return out
}

func statusOf(st syncer.Status) DatasetStatus {
	out := DatasetStatus{
		State: st.State, Rows: st.Rows, SyncType: orNull(st.SyncType), LastSync: st.LastSync, LastIncremental: st.LastIncremental,
		IncrementalRows: st.IncrementalRows, Watermarks: map[string]*string{}, Truncated: st.Truncated, Error: orNull(st.Error),
		RefreshIntervalMinutes: st.RefreshMinutes, IncrementalColumn: orNull(st.IncrementalColumn),
		Dataset: st.Dataset, Code: st.Code, Hint: st.Hint, RunID: st.RunID, Progress: st.Progress, Paused: st.Paused,
		LastFull: st.LastFull, NextRun: st.NextRun, Quiet: st.QuietUntil, Source: st.Source, Refresh: st.Refresh, Guarantee: st.Guarantee, Tables: []TableStatus{},
		Replica: replicaOf(st.Replica), Table: replicaTableOf(st.Table),
	}
	for _, t := range st.Tables {
		out.Watermarks[t.Name] = orNull(t.Watermark)
		out.Tables = append(out.Tables, TableStatus{Name: t.Name, Rows: t.Rows, Watermark: orNull(t.Watermark), Method: t.Method,
			Guarantee: t.Guarantee, OutOfRangeText: t.OutOfRangeText})
	}
	for table, w := range st.Watermarks {
		out.Watermarks[table] = orNull(w)
	}
	return out
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
