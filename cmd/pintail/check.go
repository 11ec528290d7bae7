package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/source/postgres"
	"github.com/pintaildb/pintail/syncer"
)

// tableCheck is what check found of one table.
type tableCheck struct {
	Dataset  string               `json:"dataset"`
	Table    string               `json:"table"`
	Report   postgres.CheckReport `json:"report"`
	Key      []string             `json:"key,omitempty"`
	KeyProof string               `json:"key_proof,omitempty"`
	Problems []problem            `json:"problems,omitempty"`

	// Of datasets that follow the write-ahead log. The first entry of such a dataset has no table.
	Replica     bool      `json:"replica,omitempty"`
	SourceTable string    `json:"source_table,omitempty"`
	Identity    string    `json:"identity,omitempty"` // default | index | full | nothing
	Warnings    []problem `json:"warnings,omitempty"` // beside those of the report
}

type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (a *app) checkCmd() *cobra.Command {
	var asJSON, brief bool
	c := &cobra.Command{
		Use:   "check [DATASET...]",
		Short: "Prove the configuration against the live source, before anything runs",
		Long: `Prove the configuration against the live source: every query is prepared, its columns and their DuckDB types listed,
missing columns and privileges named, rows estimated, and it is said what keeps late commits from being lost. For mode: cdc
also the server's settings, the role's rights, the way to the server and each table are looked at. Nothing is copied and
nothing written. Exit code 3 says that something has to be mended first. It is also said which tables the next
start of the server drops, because no dataset makes them any more, unless a server holds the file: then
pintail reload --dry-run tells what a reload would do. The files of endpoints and the row filters and masks of roles are
looked into as well.

` + exitHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			warnings := 0
			cfg, err := a.load(func(w config.Warning) { a.warn(w); warnings++ })
			if err != nil {
				return err
			}
			found, err := a.check(cmd.Context(), cfg, args)
			if err != nil {
				return err
			}
			tables := 0
			for _, t := range found {
				if !t.Replica || t.Table != "" {
					tables++
				}
			}
			if len(args) == 0 {
				left, err := a.checkFile(cmd.Context(), cfg)
				if err != nil {
					return err
				}
				found = append(found, left...)
				published, err := a.checkCopy(cmd.Context(), cfg)
				if err != nil {
					return err
				}
				found = append(found, published...)
			}
			problems := 0
			for _, t := range found {
				problems += len(t.Problems)
				warnings += len(t.Report.Warnings) + len(t.Warnings)
			}
			if !asJSON {
				a.printChecks(found, brief)
			} else {
				if err := a.printJSON(found); err != nil {
					return err
				}
			}
			if problems > 0 {
				return fault.New(fault.Differences, "the problems are listed above, each with what to do", "%s: %s", cfg.Path, plural(problems, "problem"))
			}
			if !asJSON {
				listed := ""
				if warnings > 0 {
					listed = ", " + plural(warnings, "warning") + " listed above"
				}
				fmt.Fprintf(a.out, "%s: %s, no problems%s. Next: pintail sync\n", cfg.Path, plural(tables, "table"), listed)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&brief, "brief", false, "leave the columns out")
	return c
}

// check looks at every table of the datasets named, or of all. An error is a source that cannot be reached at all.
func (a *app) check(ctx context.Context, cfg *config.Config, names []string) ([]tableCheck, error) {
	log, err := a.logger("error")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = cfg.DatasetNames()
	}
	sources, err := openSources(cfg, nil, nil, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, s := range sources {
			s.Close()
		}
	}()
	var found []tableCheck
	for _, name := range names {
		d := cfg.Datasets[name]
		if d == nil {
			return nil, fault.New(fault.Usage, "the configuration has: "+strings.Join(cfg.DatasetNames(), ", "), "there is no dataset %q in %s", name, cfg.Path)
		}
		if d.Form == config.FormCDC {
			mine, err := checkReplica(ctx, sources[d.Source].(replicaChecker), cfg, d)
			if err != nil {
				return nil, fault.Wrap(err, "check %s", name)
			}
			found = append(found, mine...)
			continue
		}
		for _, p := range d.Parts {
			// A snapshot for each table: after an error within it, nothing more can be asked of it.
			t, err := checkTable(ctx, sources[d.Source], d, p)
			if err != nil {
				return nil, fault.Wrap(err, "check %s", name)
			}
			found = append(found, t)
		}
		mine := found[len(found)-len(d.Parts):]
		has := func(c string) bool {
			return slices.ContainsFunc(mine, func(t tableCheck) bool { return t.has(c) || len(t.Report.Columns) == 0 })
		}
		for _, c := range syncer.UnknownRenames(d, has) {
			mine[0].Problems = append(mine[0].Problems, problem{Code: string(fault.Config), Message: fmt.Sprintf("columns: there is no column %q to rename", c), Hint: "columns names columns as the query gives them"})
		}
		for _, c := range syncer.UnknownTypes(d, has) {
			mine[0].Problems = append(mine[0].Problems, problem{Code: string(fault.Config), Message: fmt.Sprintf("types: there is no column %q", c), Hint: "types names columns as the query gives them"})
		}
	}
	return found, nil
}

// checkFile says what the next start drops. A file that is not there yet, or that another process holds, has nothing to say.
func (a *app) checkFile(ctx context.Context, cfg *config.Config) ([]tableCheck, error) {
	_, err := os.Stat(cfg.DuckDB.Path)
	if errors.Is(err, fs.ErrNotExist) || !cfg.DuckDB.Enabled {
		return nil, nil
	}
	log, err := a.logger("error")
	if err != nil {
		return nil, err
	}
	in, err := a.open(ctx, cfg, log, syncer.Options{})
	if err != nil {
		if fault.CodeOf(err) == fault.Locked {
			err = nil
		}
		return nil, err
	}
	left, err := in.syncer.Leftovers(ctx)
	if err = errors.Join(err, in.close(ctx)); err != nil {
		return nil, err
	}
	var found []tableCheck
	for _, l := range left {
		found = append(found, tableCheck{Dataset: l.Dataset, Report: postgres.CheckReport{Warnings: []string{l.String() + ": the next start of the server drops it"}}})
	}
	return found, nil
}

func checkTable(ctx context.Context, src source.Source, d *config.Dataset, p config.Part) (tableCheck, error) {
	t := tableCheck{Dataset: d.Name, Table: p.Target}
	snap, err := src.Snapshot(ctx, source.SnapshotOptions{StatementTimeout: d.QueryTimeout})
	if err != nil {
		return t, err
	}
	defer func() { _ = snap.Close() }()
	t.Report, err = snap.(*postgres.Snapshot).Check(ctx, syncer.Query(p), source.LateOptions{Lookback: d.Lookback, Mode: d.LateCommits})
	switch {
	case err != nil && (fault.Transient(err) || ctx.Err() != nil):
		return t, err
	case err != nil:
		t.Problems = append(t.Problems, problemOf(err))
	}
	if len(t.Report.Columns) == 0 {
		return t, nil
	}
	for _, k := range p.Key {
		if to := p.Rename[k]; to != "" {
			k = to
		}
		t.Key = append(t.Key, k)
		if !t.has(k) {
			t.Problems = append(t.Problems, problem{Code: string(fault.Config), Message: fmt.Sprintf("the key column %q is not among the columns", k), Hint: "select it, or change key"})
		}
	}
	if len(t.Key) > 0 {
		t.KeyProof = "each sync checks that it is unique"
		for _, u := range t.Report.Keys {
			if !slices.ContainsFunc(u, func(c string) bool { return !slices.Contains(t.Key, c) }) {
				t.KeyProof = "unique by the source's own index"
			}
		}
	}
	if d.Form == config.FormSplit && !t.has("dataset_id") {
		t.Problems = append(t.Problems, problem{Code: string(fault.SourceSQL), Message: "the query has no column dataset_id", Hint: "alias the column that joins both queries: AS dataset_id"})
	}
	for _, r := range t.Report.Relations {
		if !r.Readable {
			t.Problems = append(t.Problems, problem{Code: string(fault.SourcePrivilege), Message: "the role may not read " + r.Name, Hint: "GRANT SELECT ON " + r.Name + " TO the role of the source's url"})
		}
	}
	if p.IncrementalColumn != "" && len(p.Key) == 0 {
		t.Report.Warnings = append(t.Report.Warnings, "no key: new rows are followed; updated and deleted ones need a key, or reconcile")
	}
	return t, nil
}

func (t *tableCheck) has(column string) bool {
	return slices.ContainsFunc(t.Report.Columns, func(c postgres.CheckColumn) bool { return c.Name == column })
}

func problemOf(err error) problem {
	return problem{Code: string(fault.CodeOf(err)), Message: err.Error(), Hint: fault.HintOf(err)}
}

// printChecks prints each table, and what belongs to a replica together.
func (a *app) printChecks(found []tableCheck, brief bool) {
	for len(found) > 0 {
		n := 1
		if !found[0].Replica {
			a.printCheck(found[0], brief)
		} else {
			for n < len(found) && found[n].Replica && found[n].Table != "" {
				n++
			}
			a.printReplica(found[:n], brief)
		}
		found = found[n:]
	}
}

func (a *app) printCheck(t tableCheck, brief bool) {
	r := &t.Report
	mark := "●"
	if len(t.Problems) > 0 {
		mark = "✗"
	}
	name := t.Dataset
	if t.Replica {
		name = t.SourceTable
	}
	fmt.Fprintf(a.out, "%s %s", mark, name)
	if t.Table != "" && t.Table != t.Dataset {
		fmt.Fprintf(a.out, " → %s", t.Table)
	}
	if r.Kind != "" {
		fmt.Fprintf(a.out, " (%s, about %s rows)", r.Kind, count(r.Rows))
	}
	fmt.Fprintln(a.out)
	if len(r.Columns) > 0 && !brief {
		tw := a.table("column", "PostgreSQL", "DuckDB", "")
		for _, c := range r.Columns {
			note := ""
			if c.NotNull {
				note = "not null"
			}
			if slices.Contains(t.Key, c.Name) {
				note = strings.TrimSpace("key " + note)
			}
			tw.AppendRow(table.Row{c.Name, c.PGType, c.DuckDB, note})
		}
		tw.Render()
	}
	if t.Replica {
		fmt.Fprintf(a.out, "  key: %s; replica identity %s\n", t.keyText(), t.Identity)
	}
	if t.KeyProof != "" {
		fmt.Fprintf(a.out, "  key %s: %s\n", strings.Join(t.Key, ", "), t.KeyProof)
	}
	if r.Guarantee != "" {
		sure := "not proven"
		if r.Proven {
			sure = "proven"
		}
		fmt.Fprintf(a.out, "  late commits: %s (%s): %s\n", r.Method, sure, r.Guarantee)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(a.out, "  warning: %s\n", w)
	}
	a.printFindings(t, "")
	if r.Corrected != "" {
		fmt.Fprintf(a.out, "  the query with them:\n%s\n", indent(r.Corrected))
	}
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ")
}
