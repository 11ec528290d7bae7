package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
	"github.com/pintaildb/pintail/syncer"
)

// runner runs a dataset to its end, telling watch now and then how far it is: in this process, or in a server's.
type runner interface {
	run(ctx context.Context, kind, dataset string, full bool, watch func(syncer.Live)) (store.Run, error)
	close(ctx context.Context) error
}

func (in *instance) run(ctx context.Context, kind, dataset string, full bool, watch func(syncer.Live)) (store.Run, error) {
	switch kind {
	case syncer.KindVerify, syncer.KindReconcile:
		return in.syncer.VerifyWait(ctx, dataset, kind == syncer.KindReconcile, watch)
	}
	return in.syncer.SyncWait(ctx, dataset, full, watch)
}

// runner opens the file, or finds the server that holds it.
func (a *app) runner(ctx context.Context, cfg *config.Config) (runner, error) {
	log, err := a.logger("error")
	if err != nil {
		return nil, err
	}
	if a.server != "" {
		return a.client(cfg)
	}
	in, err := a.open(ctx, cfg, log, syncer.Options{Quiet: a.logLevel == ""})
	if fault.CodeOf(err) == fault.Locked {
		if c, clientErr := a.client(cfg); clientErr == nil && c.alive(ctx) {
			return c, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return in, in.syncer.Restore(ctx)
}

func (a *app) syncCmd() *cobra.Command {
	var full, asJSON bool
	c := &cobra.Command{
		Use:   "sync [DATASET...]",
		Short: "Bring datasets up to date once: all, or those named",
		Long: `Bring datasets up to date once: all that are configured, or those named. Where a watermark exists the run is
incremental, else full. While a server holds the file, the server does it.

` + exitHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runAll(cmd.Context(), args, syncer.KindIncremental, full, asJSON)
		},
	}
	c.Flags().BoolVar(&full, "full", false, "rebuild from scratch, whatever the watermarks say")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per finished run")
	return c
}

func (a *app) verifyCmd() *cobra.Command {
	var repair, asJSON bool
	c := &cobra.Command{
		Use:   "verify [DATASET...]",
		Short: "Compare the copy with the source row by row, at one snapshot",
		Long: `Compare the copy with the source: counts and checksums by key ranges at one snapshot, then the rows of the
ranges that differ. Tables with an incremental column are first brought to that snapshot. With --repair the
differences are mended, as the scheduled reconcile does.

` + exitHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind := syncer.KindVerify
			if repair {
				kind = syncer.KindReconcile
			}
			return a.runAll(cmd.Context(), args, kind, false, asJSON)
		},
	}
	c.Flags().BoolVar(&repair, "repair", false, "repair what differs")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per finished run")
	return c
}

// runAll runs datasets one after the other and goes on after a failure; the first error decides the exit code, but a
// difference found only when nothing failed.
func (a *app) runAll(ctx context.Context, names []string, kind string, full, asJSON bool) (err error) {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = cfg.DatasetNames()
	}
	for _, n := range names {
		if cfg.Datasets[n] == nil {
			return fault.New(fault.Usage, "the configuration has: "+strings.Join(cfg.DatasetNames(), ", "), "there is no dataset %q in %s", n, cfg.Path)
		}
	}
	r, err := a.runner(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := r.close(ctx); err == nil {
			err = closeErr
		}
	}()
	if in, ok := r.(*instance); ok && kind == syncer.KindIncremental {
		// Dropping is the server's: a command may have been given another configuration by mistake.
		left, err := in.syncer.Leftovers(ctx)
		if err != nil {
			return err
		}
		for _, l := range left {
			fmt.Fprintf(a.errOut, "pintail: %s: the next start of serve drops it\n", l)
		}
	}
	var first error
	for _, name := range names {
		p := newProgress(a, name, kind, asJSON)
		run, err := r.run(ctx, kind, name, full, p.watch)
		p.done(run, err)
		if err != nil {
			a.printError(failure(name, run, err))
			err = &toldError{err}
		}
		if err != nil && (first == nil || fault.CodeOf(first) == fault.Differences) {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first
}

// failure is a run's error with what it was an error of.
func failure(dataset string, run store.Run, err error) error {
	if run.State == "" || fault.CodeOf(err) == fault.Differences {
		return err
	}
	return fault.Wrap(err, "%s: %s after %s", dataset, run.State, run.EndedAt.Sub(run.StartedAt).Round(time.Millisecond))
}

// progress shows a run: a bar on a terminal, a line every few seconds elsewhere, nothing but the end with --json.
type progress struct {
	app      *app
	dataset  string
	kind     string
	json     bool
	bar      *progressbar.ProgressBar
	guess    int64 // what the bar was made for
	lastLine time.Time
}

const lineEvery = 5 * time.Second

func newProgress(a *app, dataset, kind string, asJSON bool) *progress {
	return &progress{app: a, dataset: dataset, kind: kind, json: asJSON, lastLine: time.Now()}
}

func (p *progress) watch(l syncer.Live) {
	if p.json {
		return
	}
	took := time.Since(l.Run.StartedAt)
	if !isTerminal(p.app.errOut) {
		if time.Since(p.lastLine) >= lineEvery {
			p.lastLine = time.Now()
			fmt.Fprintf(p.app.errOut, "%s: %s rows, %s, %s rows/s%s\n", p.dataset, count(l.Run.RowsRead), bytesText(l.Run.Bytes), rate(l.Run.RowsRead, took), eta(l, took))
		}
		return
	}
	if l.Guess == 0 && l.Run.RowsRead == 0 {
		return // nothing is planned yet
	}
	if p.bar == nil || l.Guess > p.guess {
		p.guess = l.Guess
		total := l.Guess
		if total == 0 {
			total = -1
		}
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.app.errOut), progressbar.OptionSetDescription(p.dataset), progressbar.OptionShowCount(),
			progressbar.OptionSetItsString("rows"), progressbar.OptionShowIts(), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond))
	}
	if l.Guess > 0 && l.Run.RowsRead > p.bar.GetMax64() {
		p.bar.ChangeMax64(l.Run.RowsRead)
	}
	p.bar.Describe(fmt.Sprintf("%s %s", p.dataset, bytesText(l.Run.Bytes)))
	_ = p.bar.Set64(l.Run.RowsRead) // a terminal that cannot be written to is not the run's failure
}

func (p *progress) done(run store.Run, err error) {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
	if p.json {
		_ = json.NewEncoder(p.app.out).Encode(runJSON(run)) // as above
		return
	}
	took := run.EndedAt.Sub(run.StartedAt)
	if p.kind == syncer.KindVerify || p.kind == syncer.KindReconcile {
		p.verdict(run)
	}
	if err != nil || p.kind == syncer.KindVerify {
		return
	}
	reason := ""
	if run.Reason != "" {
		reason = " (" + run.Reason + ")"
	}
	fmt.Fprintf(p.app.out, "%s: %s sync%s: %s read, %s written, %s in %s (%s rows/s)\n", p.dataset, run.Kind, reason, plural(run.RowsRead, "row"),
		count(run.RowsWritten), bytesText(run.Bytes), took.Round(time.Millisecond), rate(run.RowsRead, took))
}

// verdict prints what a comparison found, a line a table and one for each row named.
func (p *progress) verdict(run store.Run) {
	var v syncer.Verdict
	if json.Unmarshal(run.Detail, &v) != nil {
		return // a run that failed before it compared has none
	}
	for _, t := range v.Tables {
		fmt.Fprintln(p.app.out, t.String())
		for _, s := range t.Samples {
			fmt.Fprintf(p.app.out, "  %s: %s", s.Kind, s.Key)
			for _, c := range s.Columns {
				fmt.Fprintf(p.app.out, "; %s is %q, in the source %q", c, s.Copy[c], s.Source[c])
			}
			fmt.Fprintln(p.app.out)
		}
		if t.Note != "" {
			fmt.Fprintf(p.app.out, "  note: %s\n", t.Note)
		}
		if t.Repair != "" {
			fmt.Fprintf(p.app.out, "  repaired: %s\n", t.Repair)
		}
	}
}

func rate(rows int64, took time.Duration) string {
	if took <= 0 {
		return "0"
	}
	return count(int64(float64(rows) / took.Seconds()))
}

func eta(l syncer.Live, took time.Duration) string {
	if l.Guess <= l.Run.RowsRead || l.Run.RowsRead == 0 {
		return ""
	}
	left := time.Duration(float64(took) / float64(l.Run.RowsRead) * float64(l.Guess-l.Run.RowsRead))
	return fmt.Sprintf(", %d %%, about %s left", 100*l.Run.RowsRead/l.Guess, left.Round(time.Second))
}

// plural is a number with its noun: 1 row, 1,234 rows.
func plural[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(int64(n)) + " " + noun + "s"
}

// count groups a number's digits: 1,234,567.
func count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func bytesText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.0f GiB", float64(n)/(1<<30))
	case n >= 10<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
}
