package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/monitor"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/schedule"
	"github.com/pintaildb/pintail/serve/certs"
	"github.com/pintaildb/pintail/serve/httpapi"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/source/postgres"
	"github.com/pintaildb/pintail/syncer"
)

func (a *app) serveCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Keep the datasets in sync and answer HTTP",
		Long: `Keep the datasets in sync and answer HTTP, until SIGTERM or Ctrl-C: then the running load is rolled back, requests
under way get a few seconds, and the file is closed. A second signal ends the process at once; the next start cleans
up. SIGHUP reads the configuration again.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context()) },
	}
}

// stopTimeout is how long everything together may take to stop; with closeTimeout it makes the 10 seconds that are promised.
const stopTimeout = 7 * time.Second

// server is the long-running process: who starts what, in which order, is in serve.
type server struct {
	*instance
	app       *app
	scheduler *schedule.Scheduler
	tracer    trace.Tracer // nil: nothing is traced
	core      *query.Core
	started   atomic.Bool // the start-up syncs are over
	owed      sync.Map    // datasets whose start-up sync waits for the end of quiet hours
	reloading sync.Mutex
}

func (a *app) serve(ctx context.Context) error {
	log, err := a.logger("info")
	if err != nil {
		return err
	}
	cfg, err := a.load(func(w config.Warning) { log.Warn("configuration", "warning", w.String()) })
	if err != nil {
		return err
	}
	metrics := monitor.New(version)
	traces, err := tracing(ctx, cfg.Server.Tracing, metrics.Registerer(), log)
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesTimeout)
		defer cancel()
		_ = traces.Shutdown(last) // what the collector does not take now is lost
	}()
	s := &server{app: a, tracer: traces.Tracer(), scheduler: schedule.New(log, schedule.Options{MaxConcurrent: 4})}
	s.instance, err = a.open(ctx, cfg, log, syncer.Options{Observer: metrics, NextRun: s.nextRun, Tracer: s.tracer})
	if err != nil {
		return err
	}
	metrics.Watch(s.syncer.SyncedAt, s.store.Size)
	metrics.WatchReplicas(s.syncer.ReplicaGauges)
	metrics.WatchSources(s.syncer.Sources)
	watchLoads(s.sources)
	err = s.run(ctx, metrics)
	if closeErr := s.close(ctx); err == nil {
		err = closeErr
	}
	if err == nil {
		log.Info("stopped")
	}
	return err
}

func (s *server) run(ctx context.Context, metrics *monitor.Monitor) error {
	if err := s.syncer.Restore(ctx); err != nil {
		return err
	}
	if err := s.dropLeftovers(ctx, func(what string) { s.log.Warn("dropping what is left of a former configuration", "what", what) }); err != nil {
		return err
	}
	cut, err := s.syncer.CutOff(ctx)
	if err != nil {
		return err
	}
	cfg := s.cfg
	audit, closeAudit, err := queryLog(cfg.Server.QueryLog)
	if err != nil {
		return err
	}
	defer closeAudit() //nolint:errcheck // Its last line is there, or the disk is full.
	core := query.New(s.store, s.access, query.Options{Concurrency: cfg.DuckDB.QueryConcurrency, TimeMax: cfg.DuckDB.QueryMaxTime, Log: s.log, Registerer: metrics.Registerer(), Replicas: s.syncer, Audit: audit,
		Slow: cmp.Or(cfg.Server.SlowQuery, -1), Tracer: s.tracer, TraceText: cfg.Server.Tracing.Statements})
	s.core = core
	s.warnMisfits(ctx)
	s.store.SetHost(core.Answer)
	endpoints := s.endpoints(ctx, core)
	certificates, err := certs.Load(certs.Files{Cert: cfg.Server.TLS.Cert, Key: cfg.Server.TLS.Key, ClientCA: cfg.Server.TLS.ClientCA}, s.log)
	if err != nil {
		return err
	}
	api, err := httpapi.New(httpapi.Options{
		Listen: cfg.Server.HTTP.Listen, Hosts: cfg.Server.HTTP.Hosts, TLS: certificates,
		Access: s.access, Queries: core, Syncer: s.syncer, SyncedAt: s.syncer.SyncedAt, Reload: s.reload, Ready: s.checks().Run,
		Endpoints: endpoints, EndpointCache: cfg.Endpoints.CacheMemory.Bytes(),
		Enabled: cfg.DuckDB.Enabled, MetricsOpen: cfg.Server.MetricsOpen, Gatherer: metrics.Gatherer(), Registerer: metrics.Registerer(), Log: s.log,
	})
	if err != nil {
		return err
	}
	doors, err := s.otherDoors(ctx, cfg, core, certificates, metrics.Registerer())
	if err != nil {
		return err
	}
	doors = append(doors, api)
	// A port that is taken is noticed before any sync starts.
	for _, d := range doors {
		if err := d.Listen(ctx); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.syncer.Serve(gctx) })
	for _, d := range doors {
		g.Go(func() error { return d.Run(gctx) })
	}
	g.Go(func() error { return s.hangups(gctx) })
	if endpoints != nil {
		g.Go(func() error { return endpoints.Run(gctx) })
	}
	g.Go(func() error {
		// Scheduled runs wait for the start-up ones: they would meet in the same datasets. They are planned afterwards, so
		// that what was synced just now is not due at once.
		later := s.startup(gctx, cfg, cut)
		g.Go(func() error { return s.catchUp(gctx, later) })
		s.reloading.Lock()
		err := s.scheduler.Set(s.jobs(s.cfg))
		s.reloading.Unlock()
		if err != nil {
			return err
		}
		return s.scheduler.Run(gctx)
	})
	done := make(chan error, 1)
	go func() { done <- g.Wait() }()
	select {
	case err = <-done:
	case <-gctx.Done():
		s.log.Info("stopping", "reason", context.Cause(ctx))
		select {
		case err = <-done:
		case <-time.After(stopTimeout):
			return fault.New(fault.Internal, "the next start cleans up", "not everything stopped within %s", stopTimeout)
		}
	}
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled) || fault.CodeOf(err) == fault.Cancelled) {
		return nil
	}
	return err
}

// startupAtOnce is how many datasets are synced at once at the start.
const startupAtOnce = 4

// startup syncs what sync_mode: startup asks for, and what the end of the last server cut off: as a full sync where it was
// one. It returns what is left for the end of quiet hours.
func (s *server) startup(ctx context.Context, cfg *config.Config, cut map[string]bool) (later map[string]bool) {
	var mu sync.Mutex
	later = map[string]bool{}
	due := map[string]bool{}
	for name, d := range cfg.Datasets {
		_, again := cut[name]
		due[name] = (again || cfg.DuckDB.SyncMode == "startup" && d.AutoLoad) && !d.Paused
		if d.Form == config.FormCDC {
			again = false // its tables know what they lack
		}
		if again && due[name] {
			s.log.Info("a sync was cut off by the end of the process; it is started again", "dataset", name, "full", cut[name])
		}
	}
	var g errgroup.Group
	g.SetLimit(startupAtOnce)
	for _, name := range cfg.DatasetNames() {
		if due[name] {
			g.Go(func() error {
				err := s.syncer.SyncDue(ctx, name, cut[name]) // a failure is logged and kept with the run; the schedule tries again
				if errors.Is(err, syncer.ErrQuiet) && cfg.Datasets[name].Form != config.FormCDC {
					s.log.Info("the sync at the start waits for the end of the source's quiet hours", "dataset", name, "until", s.syncer.QuietUntil(name, time.Now()))
					s.owed.Store(name, true)
					mu.Lock()
					defer mu.Unlock()
					later[name] = cut[name]
				}
				return nil
			})
		}
	}
	_ = g.Wait()
	s.started.Store(true)
	return later
}

// catchUp runs the start-up syncs that were left for the end of quiet hours; true is a full one.
func (s *server) catchUp(ctx context.Context, later map[string]bool) error {
	slots := make(chan struct{}, startupAtOnce)
	var g errgroup.Group
	for name, full := range later {
		g.Go(func() error {
			defer s.owed.Delete(name)
			for {
				if err := s.syncer.AwaitQuiet(ctx, name); err != nil {
					return nil // the process stops
				}
				slots <- struct{}{}
				var err error
				if !s.syncer.Paused(name) {
					err = s.syncer.SyncDue(ctx, name, full) // as at the start
				}
				<-slots
				if !errors.Is(err, syncer.ErrQuiet) {
					return nil
				}
			}
		})
	}
	return g.Wait()
}

// nextRun is when a dataset is synced next without anybody asking.
func (s *server) nextRun(dataset string) (time.Time, bool) {
	next, ok := s.scheduler.Next(dataset)
	if _, owed := s.owed.Load(dataset); !owed {
		return next, ok
	}
	return s.syncer.QuietUntil(dataset, time.Now()), true
}

// watchLoads has the sources measure the share of their load that is ours.
func watchLoads(sources map[string]source.Source) {
	for _, src := range sources {
		if src, ok := src.(*postgres.Source); ok {
			src.WatchLoad()
		}
	}
}

// jobs are the scheduled runs of a configuration.
func (s *server) jobs(cfg *config.Config) []schedule.Job {
	asOf := s.syncer.SyncedAt()
	var jobs []schedule.Job
	for _, name := range cfg.DatasetNames() {
		d := cfg.Datasets[name]
		hold := func(at time.Time) time.Time { return s.syncer.QuietUntil(name, at) }
		if !d.Refresh.IsZero() {
			jobs = append(jobs, schedule.Job{Name: name, Every: d.Refresh.Every, Cron: d.Refresh.Cron, LastRun: asOf[name], Hold: hold, Run: func(ctx context.Context) error {
				if _, owed := s.owed.Load(name); owed || s.syncer.Paused(name) {
					return nil // what is owed runs now as well
				}
				_, err := s.syncer.SyncWait(ctx, name, false, nil)
				return err
			}})
		}
		if !d.Reconcile.IsZero() {
			jobs = append(jobs, schedule.Job{Name: name + " (reconcile)", Every: d.Reconcile.Every, Cron: d.Reconcile.Cron, LastRun: time.Now(), Hold: hold, Run: func(ctx context.Context) error {
				if s.syncer.Paused(name) {
					return nil
				}
				_, err := s.syncer.VerifyWait(ctx, name, true, nil)
				return err
			}})
		}
	}
	return jobs
}

// checkTimeout bounds each readiness check.
const checkTimeout = 3 * time.Second

// checks say what keeps the process from serving.
func (s *server) checks() *monitor.Checks {
	c := monitor.NewChecks(checkTimeout)
	c.Add("store", func(ctx context.Context) error {
		_, err := s.store.Tables(ctx)
		return err
	})
	c.Add("first_sync", func(context.Context) error {
		if !s.started.Load() {
			return errors.New("the start-up syncs are under way")
		}
		return nil
	})
	return c
}

// hangups reloads the configuration on SIGHUP.
func (s *server) hangups(ctx context.Context) error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	defer signal.Stop(c)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c:
			// Like a start, a signal has nobody who could be asked: what is dropped is logged before.
			if _, err := s.reload(ctx, httpapi.ReloadOptions{Confirm: true}); err != nil {
				s.log.Error("the configuration was not reloaded; the old one stays", "error", err, "hint", fault.HintOf(err))
			}
		}
	}
}

// reload takes over the configuration file as it is now, if it may. It returns what changes and what that does.
func (s *server) reload(ctx context.Context, o httpapi.ReloadOptions) (httpapi.ReloadPlan, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	cfg, warnings, err := config.Load(s.app.configPath, os.LookupEnv)
	if err != nil {
		return httpapi.ReloadPlan{}, err
	}
	old := s.cfg
	changes := config.Diff(old, cfg)
	plan := reloadPlan(changes)
	if o.DryRun {
		return plan, nil
	}
	if len(plan.Drops) > 0 && !o.Confirm {
		return plan, fault.New(fault.Usage, "to drop them: `pintail reload --yes`, or confirm=true; `paused: true` in a dataset keeps its tables without syncing them",
			"the reload would drop %s; nothing was changed", strings.Join(plan.Drops, ", "))
	}
	for _, w := range warnings {
		s.log.Warn("configuration", "warning", w.String())
	}
	for _, c := range changes {
		s.log.Info("configuration changes", "change", c.Text, "effect", c.Effect)
	}
	if err := s.take(ctx, cfg, changes); err != nil {
		return plan, err
	}
	s.warnMisfits(ctx)
	return plan, nil
}

// warnMisfits logs which row filters and masks keep a role from a table. Those of tables that come later are noticed when they are read.
func (s *server) warnMisfits(ctx context.Context) {
	misfits, err := s.core.Misfits(ctx)
	if err != nil {
		misfits = append(misfits, err)
	}
	for _, m := range misfits {
		s.log.Warn("a role is refused a table", "reason", m, "hint", fault.HintOf(m))
	}
}

// reloadPlan is what changes do, for those who decide whether to make them.
func reloadPlan(changes []config.Change) httpapi.ReloadPlan {
	var p httpapi.ReloadPlan
	for _, c := range changes {
		p.Changes = append(p.Changes, c.Text)
		p.Drops = append(p.Drops, c.Drops...)
		switch {
		case c.Effect == config.EffectRebuild:
			p.Rebuilds = append(p.Rebuilds, c.Dataset)
		case c.Effect == config.EffectDrop && len(c.Drops) == 0: // of a replica, whose tables the configuration does not know
			p.Drops = append(p.Drops, "schema "+c.Dataset)
		}
	}
	return p
}

// take puts cfg in force.
func (s *server) take(ctx context.Context, cfg *config.Config, changes []config.Change) error {
	old := s.cfg
	sources, err := openSources(cfg, old, s.sources, s.log)
	if err != nil {
		return err
	}
	if err := s.access.Update(s.accessConfig(cfg)); err != nil {
		return err
	}
	for name, d := range old.Datasets {
		if now := cfg.Datasets[name]; d.Form == config.FormCDC && (now == nil || now.Form != config.FormCDC || now.Source != d.Source) {
			if err := s.syncer.Release(ctx, name, s.sources[d.Source], now == nil || now.Form != config.FormCDC); err != nil {
				s.log.Error("a former dataset's slot is left on its source", "dataset", name, "error", err, "hint", fault.HintOf(err))
			}
		}
	}
	s.syncer.Update(cfg, sources) //nolint:contextcheck // What it starts outlives the request.
	if err := s.scheduler.Set(s.jobs(cfg)); err != nil {
		return err
	}
	for name, src := range s.sources {
		if sources[name] != src {
			defer src.Close() // runs under way keep the connections they have
		}
	}
	s.cfg, s.sources = cfg, sources
	watchLoads(sources)
	for _, c := range changes {
		if len(c.Drops) > 0 {
			if err := s.syncer.Forget(ctx, only(old.Datasets[c.Dataset], c.Drops)); err != nil {
				return fault.Wrap(err, "drop what dataset %s left", c.Dataset)
			}
		}
	}
	return nil
}

// only is a dataset reduced to these of its tables and its view.
func only(d *config.Dataset, objects []string) *config.Dataset {
	less := *d
	less.Parts = slices.DeleteFunc(slices.Clone(d.Parts), func(p config.Part) bool { return !slices.Contains(objects, p.Target) })
	if !slices.Contains(objects, d.ViewName) {
		less.ViewName = ""
	}
	return &less
}
