package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/serve/httpapi"
	"github.com/pintaildb/pintail/syncer"
)

// ask is a client for reading: of the server that holds the file, or of one that this process opens on the file for the
// length of the command, on a free loopback port that only it has the token of.
func (a *app) ask(ctx context.Context) (*client, func(), error) {
	log, err := a.logger("error")
	if err != nil {
		return nil, nil, err
	}
	cfg, err := a.load(nil)
	if err != nil {
		return nil, nil, err
	}
	nothing := func() {}
	if a.server != "" {
		c, err := a.client(cfg)
		return c, nothing, err
	}
	in, err := a.open(ctx, cfg, log, syncer.Options{})
	if fault.CodeOf(err) == fault.Locked {
		if c, clientErr := a.client(cfg); clientErr == nil && c.alive(ctx) {
			return c, nothing, nil
		}
	}
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (*client, func(), error) {
		_ = in.close(ctx) // the first error is the one to show
		return nil, nil, err
	}
	token := rand.Text()
	own := in.accessConfig(cfg)
	own.Users = []access.User{{Name: "local", Token: token, Role: "admin"}}
	if in.access, err = access.New(own, nil, log); err != nil {
		return fail(err)
	}
	if err := in.syncer.Restore(ctx); err != nil {
		return fail(err)
	}
	door, err := httpapi.New(httpapi.Options{Listen: "127.0.0.1:0", Access: in.access, Queries: query.New(in.store, in.access, query.Options{Log: log, Replicas: in.syncer}),
		Syncer: in.syncer, SyncedAt: in.syncer.SyncedAt, Enabled: true, Log: log})
	if err == nil {
		err = door.Listen(ctx)
	}
	if err != nil {
		return fail(err)
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = door.Run(serving) // the request's own error says more
	}()
	c := &client{base: "http://" + door.Addr().String(), token: token, http: newHTTP()}
	return c, func() {
		c.http.CloseIdleConnections()
		stop()
		<-ended
		if err := in.close(ctx); err != nil {
			a.printError(err)
		}
	}, nil
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// show asks for what path has and prints it: as JSON as it came, or by print.
func show[T any](ctx context.Context, a *app, c *client, path string, asJSON bool, print func(T) error) error {
	if asJSON {
		var raw json.RawMessage
		if err := c.get(ctx, http.MethodGet, path, nil, &raw); err != nil {
			return err
		}
		return a.printJSON(raw)
	}
	var answer T
	if err := c.get(ctx, http.MethodGet, path, nil, &answer); err != nil {
		return err
	}
	return print(answer)
}

func (a *app) table(header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(a.out)
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row(header))
	return t
}

func (a *app) statusCmd() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show every dataset: state, rows, freshness, watermarks",
		Long: "Show every dataset: state, rows, freshness, watermarks, next run. A table of mode: cdc has its source's log for a\n" +
			"watermark, and instead of a next run how far it is behind.\n\n" + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			c, done, err := a.ask(ctx)
			if err != nil {
				return err
			}
			defer done()
			return show(ctx, a, c, "/api/store/status", asJSON, a.printStatus)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

var stateMarks = map[string]string{"ready": "●", "following": "●", "syncing": "◐", "copying": "◐", "waiting": "○", "error": "✗", "failed": "✗", "not_synced": "○", "stopped": "○"}

func (a *app) printStatus(s httpapi.Status) error {
	next := "next run"
	for _, d := range s.Datasets {
		if d.Replica != nil {
			next = "next run or lag"
		}
	}
	t := a.table("", "table or view", "state", "rows", "last sync", "type", "watermark", next)
	for _, key := range sortedKeys(s.Datasets) {
		d := s.Datasets[key]
		state, next := d.State, until(d.NextRun)
		if d.Replica != nil {
			state, next = replicaState(d), lag(d.Replica)
		}
		mark := stateMarks[state]
		if state == "syncing" || state == "copying" && d.Progress > 0 {
			state = fmt.Sprintf("%s %s", state, bar(d.Progress))
		}
		if d.Table != nil && d.Table.Quarantined != nil {
			state += ", in quarantine"
		}
		if d.Paused {
			state += ", paused"
		}
		if d.Truncated {
			state += ", truncated"
		}
		if d.Quiet != nil && d.NextRun != nil {
			next += ", after quiet hours"
		}
		t.AppendRow(table.Row{mark, key, state, count(d.Rows), ago(d.LastSync), deref(d.SyncType), watermark(d), next})
	}
	t.Render()
	a.printQuiet(s)
	told := map[string]bool{} // what keeps a whole replica is the error of each of its tables
	for _, key := range sortedKeys(s.Datasets) {
		d := s.Datasets[key]
		switch {
		case d.Error != nil:
		case d.Table != nil && d.Table.State == "copying" && d.Table.Reason != "":
			fmt.Fprintf(a.out, "%s: copied anew: %s\n", key, d.Table.Reason)
			continue
		default:
			continue
		}
		if d.Replica != nil && d.Replica.State == "failed" && (d.Table == nil || d.Table.Error == nil) {
			key = d.Dataset
		}
		line := fmt.Sprintf("%s: %s\n", key, *d.Error)
		if d.Hint != "" {
			line += fmt.Sprintf("  hint: %s\n", d.Hint)
		}
		if !told[line] {
			fmt.Fprint(a.out, line)
		}
		told[line] = true
	}
	return nil
}

// loadTold is the share of a source's load from which on it is told.
const loadTold = 0.1

// printQuiet tells what waits for the end of quiet hours, and whose load is ours to a good part.
func (a *app) printQuiet(s httpapi.Status) {
	waiting := map[string]int{} // tables of replicas, by dataset
	quiet := map[string]time.Time{}
	for _, d := range s.Datasets {
		if d.Quiet == nil {
			continue
		}
		quiet[d.Dataset] = *d.Quiet
		if d.Table != nil && d.Table.State == "waiting" {
			waiting[d.Dataset]++
		}
	}
	for _, name := range sortedKeys(quiet) {
		what := ""
		if n := waiting[name]; n > 0 {
			what = ", " + plural(n, "table") + " to copy then"
		}
		fmt.Fprintf(a.out, "%s: quiet hours until %s%s\n", name, clock(quiet[name]), what)
	}
	for _, name := range sortedKeys(s.Sources) {
		if share := s.Sources[name].LoadShare; share != nil && *share >= loadTold {
			fmt.Fprintf(a.out, "source %s: %.0f %% of its load within the last minute is Pintail's\n", name, 100**share)
		}
	}
}

// clock is a time of today or within a week, as a clock on this wall shows it.
func clock(t time.Time) string {
	t = t.Local()
	if t.Format(time.DateOnly) == time.Now().Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("Mon 15:04")
}

// replicaState is how a table of mode: cdc does, or its dataset while nothing is known of its tables.
func replicaState(d httpapi.DatasetStatus) string {
	switch {
	case d.Table != nil && d.Table.State == "error", d.Replica.State == "failed":
		return "failed"
	case d.Table != nil && d.Replica.State != "stopped":
		return d.Table.State
	}
	return d.Replica.State
}

// lag is how far a replica is behind its source.
func lag(r *httpapi.ReplicaStatus) string {
	var parts []string
	if r.LagSeconds != nil {
		parts = append(parts, (time.Duration(*r.LagSeconds*1000) * time.Millisecond).Round(100*time.Millisecond).String())
	}
	if r.LagBytes != nil {
		parts = append(parts, bytesText(*r.LagBytes))
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + " behind"
}

func bar(p float64) string {
	const width = 10
	full := int(p * width)
	s := ""
	for i := range width {
		if i < full {
			s += "█"
		} else {
			s += "░"
		}
	}
	return fmt.Sprintf("%s %.0f %%", s, 100*p)
}

// watermark is the lowest of a dataset's: how far all of its tables are.
func watermark(d httpapi.DatasetStatus) string {
	low := ""
	for _, w := range d.Watermarks {
		if w != nil && (low == "" || *w < low) {
			low = *w
		}
	}
	return low
}

func ago(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return time.Since(*t).Round(time.Second).String() + " ago"
}

func until(t *time.Time) string {
	if t == nil {
		return "on demand"
	}
	if d := time.Until(*t); d > 0 {
		return "in " + d.Round(time.Second).String()
	}
	return "now"
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
