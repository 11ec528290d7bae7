// Package rig is what the benchmark programs have in common: flags, a PostgreSQL server with the table, pintail's
// configuration and commands, and the end, where results are printed and written.
package rig

import (
	"context"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pintaildb/pintail/bench/internal/report"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
)

// Spec is one benchmark program. Rows and Rounds are its full size; smaller ones try whether it works.
type Spec struct {
	Name   string
	Title  string
	About  string // what is compared with what, and how it is measured
	Rows   int
	Rounds int
	Run    func(ctx context.Context, b *Bench) error

	Settings map[string]string // of the server, over the rig's own
}

// Bench is one run of a program.
type Bench struct {
	Rows   int
	Rounds int
	Root   string // of the module
	Binary string // pintail
	Dir    string // for what this run makes; removed at its end
	Source *Source
	Report *report.Report
}

type flags struct {
	rows, rounds, major int
	keep, strict        bool
	binary, out         string
}

// Main runs a benchmark as a program: it never returns.
func Main(s Spec) {
	var f flags
	flag.IntVar(&f.rows, "rows", s.Rows, "rows of the table")
	flag.IntVar(&f.rounds, "rounds", s.Rounds, "rounds that are measured")
	flag.IntVar(&f.major, "pg", pgtest.Newest, "PostgreSQL's major")
	flag.BoolVar(&f.keep, "keep", true, "keep the server's tables in the cache for the next run")
	flag.BoolVar(&f.strict, "strict", false, "exit with 1 when a target is missed")
	flag.StringVar(&f.binary, "bin", "", "pintail's binary (default bin/pintail of this module)")
	flag.StringVar(&f.out, "out", "", "folder for the results (default docs/bench, which takes none of smaller runs)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	met, err := run(ctx, s, f)
	stop()
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench %s: %v\n", s.Name, err)
		if hint := fault.HintOf(err); hint != "" {
			fmt.Fprintln(os.Stderr, "hint:", hint)
		}
		os.Exit(1)
	case !met && f.strict:
		fmt.Fprintf(os.Stderr, "bench %s: a target was missed\n", s.Name)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, s Spec, f flags) (met bool, err error) {
	switch {
	case flag.NArg() > 0:
		return false, fault.New(fault.Usage, "-help lists the flags", "unknown argument %q", flag.Arg(0))
	case f.rows < 1000 || f.rounds < 1:
		return false, fault.New(fault.Usage, "", "-rows %d -rounds %d: at least 1000 rows and one round are needed", f.rows, f.rounds)
	}
	b := &Bench{Rows: f.rows, Rounds: f.rounds}
	if b.Root, err = moduleRoot(); err != nil {
		return false, err
	}
	if b.Binary, err = findBinary(b.Root, f.binary); err != nil {
		return false, err
	}
	command := "make bench NAME=" + s.Name
	if f.rows != s.Rows || f.rounds != s.Rounds {
		command += fmt.Sprintf(` ARGS="-rows %d -rounds %d"`, f.rows, f.rounds)
	}
	b.Report = &report.Report{Name: s.Name, Title: s.Title, About: s.About, Command: command, Rows: f.rows, Rounds: f.rounds, Machine: report.ThisMachine()}
	if b.Source, err = openSource(ctx, f.major, f.keep, s.Settings); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, b.Source.close()) }()
	b.Dir = b.Source.work
	if err := errors.Join(os.RemoveAll(b.Dir), os.Mkdir(b.Dir, 0o755)); err != nil { // a killed run may have left it
		return false, err
	}
	defer os.RemoveAll(b.Dir)
	if err := b.versions(ctx); err != nil {
		return false, err
	}
	if err := s.Run(ctx, b); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return false, err
	}
	fmt.Println()
	fmt.Print(b.Report.Markdown())
	out := f.out
	if out == "" && f.rows >= s.Rows && f.rounds >= s.Rounds {
		out = filepath.Join(b.Root, "docs", "bench")
	}
	if out != "" {
		if err := b.Report.Write(out); err != nil {
			return false, err
		}
	}
	return b.Report.Met(), nil
}

// Progress prints one line of what is going on.
func (b *Bench) Progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// versions completes the line about the machine.
func (b *Bench) versions(ctx context.Context) error {
	c, err := b.NewCopy("version", CopyOptions{URL: b.Source.URL("postgres")})
	if err != nil {
		return err
	}
	defer c.Remove()
	m := &b.Report.Machine
	row, err := c.Query(ctx, "SELECT version() AS version")
	if err != nil {
		return fmt.Errorf("ask for DuckDB's version: %w", err)
	}
	m.DuckDB = row["version"]
	if m.PostgreSQL, err = b.Source.version(ctx); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(b.Binary)
	if err != nil {
		return fmt.Errorf("read how %s was built: %w", b.Binary, err)
	}
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	if revision := set["vcs.revision"]; len(revision) >= 10 {
		m.Pintail = revision[:10]
		if set["vcs.modified"] == "true" {
			m.Pintail += " and changes"
		}
	}
	return nil
}

// moduleRoot is the folder of go.mod, here or above.
func moduleRoot() (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := here; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module github.com/pintaildb/pintail\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fault.New(fault.Usage, "run it from pintail's checkout", "find the module: %s is not in it", here)
		}
	}
}

func findBinary(root, given string) (string, error) {
	path := given
	if path == "" {
		path = filepath.Join(root, "bin", "pintail")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fault.New(fault.Usage, "`make build` builds it; -bin names another", "find pintail's binary: %w", err)
	}
	return path, nil
}
