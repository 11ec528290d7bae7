package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/monitor"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/source/postgres"
	"github.com/pintaildb/pintail/store"
	"github.com/pintaildb/pintail/syncer"
)

// app is one command line: its flags, and where it prints.
type app struct {
	configPath, server  string
	logLevel, logFormat string
	out, errOut         io.Writer
}

func (a *app) printError(err error) {
	fmt.Fprintf(a.errOut, "pintail: %v\n", err)
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintf(a.errOut, "  hint: %s\n", hint)
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *app) logger(level string) (*slog.Logger, error) {
	if a.logLevel != "" {
		level = a.logLevel
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, &usageError{fmt.Errorf("--log-level %q: want debug, info, warn or error", level)}
	}
	o := &slog.HandlerOptions{Level: l}
	switch {
	case a.logFormat == "json", a.logFormat == "auto" && !isTerminal(a.errOut):
		return slog.New(monitor.TraceLog(slog.NewJSONHandler(a.errOut, o))), nil
	case a.logFormat == "text", a.logFormat == "auto":
		return slog.New(monitor.TraceLog(slog.NewTextHandler(a.errOut, o))), nil
	}
	return nil, &usageError{fmt.Errorf("--log-format %q: want text, json or auto", a.logFormat)}
}

// load reads the configuration. Its warnings are for those commands that are about the configuration, and for the server's
// log; with nil they are left out.
func (a *app) load(warn func(config.Warning)) (*config.Config, error) {
	cfg, warnings, err := config.Load(a.configPath, os.LookupEnv)
	if warn != nil {
		for _, w := range warnings {
			warn(w)
		}
	}
	return cfg, err
}

func (a *app) warn(w config.Warning) { fmt.Fprintf(a.errOut, "pintail: warning: %s\n", w) }

// instance is the file opened by this process, and the sources it copies from.
type instance struct {
	cfg     *config.Config
	store   *store.Store
	sources map[string]source.Source
	syncer  *syncer.Syncer
	access  *access.Access
	log     *slog.Logger
}

// open opens the file. It fails with fault.Locked while another process has it.
func (a *app) open(ctx context.Context, cfg *config.Config, log *slog.Logger, o syncer.Options) (*instance, error) {
	if !cfg.DuckDB.Enabled {
		return nil, fault.New(fault.Config, "set duckdb.enabled: true", "%s: duckdb.enabled is false, so there is no file to open", cfg.Path)
	}
	// A reader that waits for its socket keeps a processor of the Go scheduler: the others get as many as without it.
	if want := runtime.NumCPU() + cfg.DuckDB.SyncWorkers; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	keepPrivate()
	st, err := store.Open(ctx, store.Options{Path: cfg.DuckDB.Path, MemoryLimit: cfg.DuckDB.MemoryLimit.Bytes(), TempLimit: cfg.DuckDB.TempLimit.Bytes(), Threads: cfg.DuckDB.Threads, Profile: cfg.Server.SlowProfile, Log: log})
	if err != nil {
		return nil, err
	}
	in := &instance{cfg: cfg, store: st, log: log}
	if in.sources, err = openSources(cfg, nil, nil, log); err != nil {
		return nil, errors.Join(err, st.Close(ctx))
	}
	o.Store, o.Sources, o.Config, o.Log = st, in.sources, cfg, log
	in.syncer = syncer.New(o)
	if in.access, err = access.New(in.accessConfig(cfg), nil, log); err != nil {
		return nil, errors.Join(err, in.close(ctx))
	}
	return in, nil
}

// dropLeftovers does what a reload would have done: it drops what datasets left that are not configured any more, after
// saying so.
func (in *instance) dropLeftovers(ctx context.Context, say func(what string)) error {
	if err := in.syncer.ReleaseLeftovers(ctx); err != nil {
		return err
	}
	left, err := in.syncer.Leftovers(ctx)
	if err != nil || len(left) == 0 {
		return err
	}
	for _, l := range left {
		say(l.String() + ": dropped, watermarks forgotten")
	}
	return fault.Wrap(in.syncer.Drop(ctx, left), "drop what former datasets left")
}

// closeTimeout is how long what still uses the file may take to let it go.
const closeTimeout = 3 * time.Second

func (in *instance) close(ctx context.Context) error {
	for _, s := range in.sources {
		s.Close()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return in.store.Close(ctx)
}

// openSources opens the configured sources, keeping those of have whose configuration is the same as in old.
func openSources(cfg, old *config.Config, have map[string]source.Source, log *slog.Logger) (map[string]source.Source, error) {
	sources := map[string]source.Source{}
	for name, s := range cfg.Sources {
		if old != nil && have[name] != nil && old.Sources[name] != nil {
			if s.ConnectsAs(old.Sources[name]) {
				sources[name] = have[name]
				continue
			}
		}
		src, err := postgres.Open(postgres.Config{Name: name, URL: s.URL.Reveal(), Pool: s.Pool, Read: s.Read, Bandwidth: s.Bandwidth.Bytes(), FetchRows: cfg.DuckDB.SyncChunkSize, Log: log})
		if err != nil {
			return nil, fault.Wrap(err, "source %s", name)
		}
		sources[name] = src
	}
	return sources, nil
}

// accessConfig is what access needs of the configuration.
func (in *instance) accessConfig(cfg *config.Config) access.Config {
	c := access.Config{
		Catalog:  in.store.Catalog(),
		Resolver: resolver{configured(cfg), configuredViews(cfg), replicaSchemas(cfg), in.syncer},
		Clients:  in.store,
		JWT:      access.JWT{Issuer: cfg.Server.JWT.Issuer, Audience: cfg.Server.JWT.Audience, JWKSURL: cfg.Server.JWT.JWKSURL, RoleClaim: cfg.Server.JWT.RoleClaim},
	}
	for _, name := range sortedKeys(cfg.Users) {
		u := cfg.Users[name]
		c.Users = append(c.Users, access.User{Name: name, Password: u.Password.Reveal(), Token: u.Token.Reveal(), Role: u.Role, Claims: u.Claims})
	}
	for _, name := range sortedKeys(cfg.Roles) {
		r := cfg.Roles[name]
		c.Roles = append(c.Roles, access.Role{Name: name, Admin: r.Admin, Read: r.Read, Write: r.Write, RowFilters: r.RowFilters, Masks: r.Masks, Limits: access.Limits{
			Time: r.Limits.Time, Rows: r.Limits.Rows, ResultBytes: r.Limits.ResultBytes.Bytes(), Concurrency: r.Limits.Concurrency,
			PutRows: r.Limits.PutRows, PutBytes: r.Limits.PutBytes.Bytes()}})
	}
	return c
}

// resolver knows which dataset a table or view belongs to: those that the configuration names, and those of replicas, which
// are the source's.
type resolver struct {
	access.Tables
	views   map[string]bool   // those of Tables that are views, in lower case
	schemas map[string]string // of replicas, in lower case → the dataset
	syncer  *syncer.Syncer
}

// Dataset implements access.Resolver.
func (r resolver) Dataset(schema, table string) (string, bool) {
	if d, ok := r.Tables.Dataset(schema, table); ok {
		return d, true
	}
	return r.syncer.Replicated(schema, table)
}

// View implements access.Views.
func (r resolver) View(schema, name string) bool {
	return strings.EqualFold(schema, "main") && r.views[strings.ToLower(name)]
}

func configuredViews(cfg *config.Config) map[string]bool {
	views := map[string]bool{}
	for _, d := range cfg.Datasets {
		if d.ViewName != "" {
			views[strings.ToLower(d.ViewName)] = true
		}
	}
	return views
}

// SchemaOf implements access.Schemas. Where a replica's tables go by the names of their source, it is known of the schemas in which there
// are some.
func (r resolver) SchemaOf(schema string) (string, bool) {
	d, ok := r.schemas[strings.ToLower(schema)]
	return d, ok
}

func replicaSchemas(cfg *config.Config) map[string]string {
	all := map[string]string{}
	for name, d := range cfg.Datasets {
		if d.Form == config.FormCDC && strings.HasPrefix(d.CDC.Into, "{dataset}.") {
			all[strings.ToLower(name)] = name
		}
	}
	return all
}

func configured(cfg *config.Config) access.Tables {
	r := access.Tables{}
	for name, d := range cfg.Datasets {
		for _, t := range d.Tables() {
			r.Add("main", t, name)
		}
		if d.ViewName != "" {
			r.Add("main", d.ViewName, name)
		}
	}
	return r
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
