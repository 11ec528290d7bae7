package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/serve/httpapi"
	"github.com/pintaildb/pintail/store"
)

// runBody is a run as HTTP shows it, with the detail as it came.
type runBody struct {
	httpapi.Run
	Detail json.RawMessage `json:"detail,omitempty"`
}

func (b *runBody) run() store.Run {
	r := store.Run{ID: b.ID, Dataset: b.Dataset, Kind: b.Kind, State: b.State, Reason: b.Reason, StartedAt: b.StartedAt, RowsRead: b.RowsRead,
		RowsWritten: b.RowsWritten, Bytes: b.Bytes, Progress: b.Progress, Code: b.Code, Hint: b.Hint, Detail: b.Detail}
	if b.EndedAt != nil {
		r.EndedAt = *b.EndedAt
	}
	if b.Error != nil {
		r.Error = *b.Error
	}
	return r
}

func runJSON(r store.Run) runBody {
	b := runBody{Run: httpapi.Run{ID: r.ID, Dataset: r.Dataset, Kind: r.Kind, State: r.State, Reason: r.Reason, StartedAt: r.StartedAt, RowsRead: r.RowsRead,
		RowsWritten: r.RowsWritten, Bytes: r.Bytes, Progress: r.Progress, Code: r.Code, Hint: r.Hint}, Detail: r.Detail}
	if !r.EndedAt.IsZero() {
		b.EndedAt = &r.EndedAt
	}
	if r.Error != "" {
		b.Error = &r.Error
	}
	return b
}

func (a *app) runsCmd() *cobra.Command {
	var dataset, state string
	var limit int
	var asJSON bool
	c := &cobra.Command{
		Use:   "runs [RUN_ID]",
		Short: "Show the history of runs, or one run with all its details",
		Long:  "Show the history of runs, newest first, or one run with all its details.\n\n" + exitHelp,
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, done, err := a.ask(ctx)
			if err != nil {
				return err
			}
			defer done()
			if len(args) == 1 {
				var one json.RawMessage
				if err := c.get(ctx, http.MethodGet, "/api/store/runs/"+url.PathEscape(args[0]), nil, &one); err != nil {
					return err
				}
				return a.printJSON(one)
			}
			q := url.Values{"limit": {fmt.Sprint(limit)}}
			if dataset != "" {
				q.Set("dataset", dataset)
			}
			if state != "" {
				q.Set("state", state)
			}
			var page struct {
				Runs []runBody `json:"runs"`
			}
			if err := c.get(ctx, http.MethodGet, "/api/store/runs?"+q.Encode(), nil, &page); err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(page.Runs)
			}
			t := a.table("started", "dataset", "kind", "state", "rows read", "written", "bytes", "took", "reason or error", "run")
			for _, b := range page.Runs {
				r := b.run()
				end := r.EndedAt
				if end.IsZero() {
					end = time.Now()
				}
				note := r.Reason
				if r.Error != "" {
					note = r.Error
				}
				t.AppendRow(table.Row{r.StartedAt.Local().Format(time.DateTime), r.Dataset, r.Kind, r.State, count(r.RowsRead), count(r.RowsWritten), bytesText(r.Bytes),
					end.Sub(r.StartedAt).Round(time.Millisecond), shorten(note, 60), r.ID})
			}
			t.Render()
			return nil
		},
	}
	c.Flags().StringVar(&dataset, "dataset", "", "only runs of this dataset")
	c.Flags().StringVar(&state, "state", "", "only runs in this state: running, ready, error, cancelled")
	c.Flags().IntVar(&limit, "limit", 20, "how many runs")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
