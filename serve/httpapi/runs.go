package httpapi

import (
	"context"
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Run is one run as HTTP shows it.
type Run struct {
	ID          string     `json:"id"`
	Dataset     string     `json:"dataset"`
	Kind        string     `json:"kind" enum:"full,incremental,reconcile,verify"`
	State       string     `json:"state" enum:"running,ready,error,cancelled"`
	Reason      string     `json:"reason" doc:"Why it was started, and why as this kind."`
	StartedAt   time.Time  `json:"started_at"`
	EndedAt     *time.Time `json:"ended_at"`
	RowsRead    int64      `json:"rows_read"`
	RowsWritten int64      `json:"rows_written"`
	Bytes       int64      `json:"bytes" doc:"Read from the source."`
	Progress    float64    `json:"progress" minimum:"0" maximum:"1"`
	Error       *string    `json:"error"`
	Code        string     `json:"code,omitempty" doc:"Kind of the error."`
	Hint        string     `json:"hint,omitempty"`
	Detail      detail     `json:"detail,omitempty" doc:"What the run found or did, by its kind."`
}

// detail is JSON that the syncer wrote.
type detail json.RawMessage

func (d detail) MarshalJSON() ([]byte, error) { return json.RawMessage(d).MarshalJSON() }

// Schema is any value.
func (detail) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

func runOf(r store.Run) Run {
	out := Run{ID: r.ID, Dataset: r.Dataset, Kind: r.Kind, State: r.State, Reason: r.Reason, StartedAt: r.StartedAt, RowsRead: r.RowsRead,
		RowsWritten: r.RowsWritten, Bytes: r.Bytes, Progress: r.Progress, Error: orNull(r.Error), Code: r.Code, Hint: r.Hint, Detail: detail(r.Detail)}
	if !r.EndedAt.IsZero() {
		out.EndedAt = &r.EndedAt
	}
	return out
}

type runsInput struct {
	Dataset string `query:"dataset" doc:"Only of this dataset."`
	State   string `query:"state" enum:"running,ready,error,cancelled" doc:"Only in this state."`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Before  string `query:"before" doc:"Only runs older than the one with this id: the next of the page before."`
}

// Runs is a page of the history.
type Runs struct {
	Success bool    `json:"success"`
	Runs    []Run   `json:"runs"`
	Next    *string `json:"next" doc:"Hand it in as before for the next page; null at the end."`
}

type runsOutput struct{ Body Runs }

func (s *Server) runs(ctx context.Context, in *runsInput) (*runsOutput, error) {
	out := &runsOutput{Body: Runs{Success: true, Runs: []Run{}}}
	who := infoOf(ctx).who
	f := store.RunFilter{Dataset: in.Dataset, State: in.State, Limit: in.Limit + 1, Before: in.Before}
	// Runs of datasets that the caller may not know of are left out, so a page may take more than one step.
	for {
		page, err := s.opts.Syncer.Runs(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			if !s.opts.Access.Visible(who, r.Dataset) {
				continue
			}
			if n := len(out.Body.Runs); n == in.Limit {
				out.Body.Next = &out.Body.Runs[n-1].ID
				return out, nil
			}
			out.Body.Runs = append(out.Body.Runs, runOf(r))
		}
		if len(page) < f.Limit {
			return out, nil
		}
		f.Before = page[len(page)-1].ID
	}
}

type runInput struct {
	ID string `path:"id"`
}

// OneRun is the answer about one run.
type OneRun struct {
	Success bool `json:"success"`
	Run     Run  `json:"run"`
}

type runOutput struct{ Body OneRun }

// find returns a run that the caller may know of.
func (s *Server) find(ctx context.Context, id string) (store.Run, error) {
	r, ok, err := s.opts.Syncer.Run(ctx, id)
	if err != nil {
		return r, err
	}
	if !ok || !s.opts.Access.Visible(infoOf(ctx).who, r.Dataset) {
		return r, fault.New(fault.NotFound, "GET /api/store/runs lists them; the newest 1,000 of a dataset are kept", "there is no run %q", id)
	}
	return r, nil
}

func (s *Server) run(ctx context.Context, in *runInput) (*runOutput, error) {
	r, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &runOutput{Body: OneRun{Success: true, Run: runOf(r)}}, nil
}

func (s *Server) cancelRun(ctx context.Context, in *runInput) (*startedOutput, error) {
	r, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.opts.Access.CanSync(infoOf(ctx).who, r.Dataset); err != nil {
		return nil, err
	}
	if err := s.opts.Syncer.Cancel(in.ID); err != nil {
		return nil, err
	}
	return &startedOutput{Body: Started{Success: true, Message: "The run is being cancelled; the last good data stays", RunID: in.ID}}, nil
}
