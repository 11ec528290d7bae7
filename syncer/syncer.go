// Package syncer carries rows from a source to the store: it decides what a dataset's run reads, loads it, commits rows,
// watermarks and history in one transaction, and proves or repairs the copy.
//
// It knows the store concretely: what a run commits is a sequence of the store's own transaction, and an interface over it
// would only repeat it.
package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/step"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// Kinds of a run.
const (
	KindFull        = "full"
	KindIncremental = "incremental"
	KindReconcile   = "reconcile"
	KindVerify      = "verify"
)

// States of a run, and of a dataset beside not_synced and syncing.
const (
	StateRunning   = "running"
	StateReady     = "ready"
	StateError     = "error"
	StateCancelled = "cancelled"
)

// Observer is told of every run's end. Calls come from the run's goroutine.
type Observer interface {
	RunEnded(run store.Run, took time.Duration)
}

// Options are what a Syncer needs.
type Options struct {
	Store    *store.Store
	Sources  map[string]source.Source
	Config   *config.Config
	Log      *slog.Logger
	Observer Observer // may be nil
	// RetryMax bounds how long transient failures of one run are retried; 0 is two minutes.
	RetryMax time.Duration
	// Quiet leaves the ends of runs out of the log, for callers that tell them themselves.
	Quiet bool
	// NextRun tells when the scheduler will run a dataset again; may be nil.
	NextRun func(dataset string) (time.Time, bool)
	Tracer  trace.Tracer // nil: runs are not traced
}

// Syncer runs datasets: at most one run of a dataset at a time.
type Syncer struct {
	store    *store.Store
	log      *slog.Logger
	observer Observer
	quiet    bool
	retryMax time.Duration
	nextRun  func(string) (time.Time, bool)
	tracer   trace.Tracer

	mu         sync.Mutex
	base       context.Context // of background runs; nil before Serve
	sources    map[string]source.Source
	cfg        *config.Config
	running    map[string]*active  // by dataset
	replicas   map[string]*replica // by dataset, of mode: cdc
	released   map[string]bool     // by dataset: its replica ran until what it had on its source was given back
	replicated map[string]string   // target, folded → dataset of mode: cdc
	keys       map[string][]string // of those: the columns that are unique; nil where rows have no key, or each has several versions
	paused     map[string]bool
	rebuilt    map[string][]string  // target → the causes of its automatic rebuilds since an increment went well
	verdicts   map[string]string    // target → the guarantee sentence of its last run
	asOf       map[string]time.Time // dataset → the source's clock that its copy holds as of
	updated    chan struct{}        // closed with the next Update
	wg         sync.WaitGroup
}

// active is a run under way.
type active struct {
	run      store.Run
	progress change.Progress
	guess    int64 // rows expected; 0 when not known
	cancel   context.CancelCauseFunc
	done     chan struct{}
	span     trace.Span // nil: none
}

// New makes a Syncer. Datasets of a mode that this version does not run are refused when they are started.
func New(o Options) *Syncer {
	s := &Syncer{updated: make(chan struct{}), store: o.Store, log: o.Log, observer: o.Observer, quiet: o.Quiet, retryMax: o.RetryMax, nextRun: o.NextRun, tracer: o.Tracer, sources: o.Sources, cfg: o.Config,
		running: map[string]*active{}, replicas: map[string]*replica{}, released: map[string]bool{}, replicated: map[string]string{}, keys: map[string][]string{}, paused: map[string]bool{}, rebuilt: map[string][]string{}, verdicts: map[string]string{}, asOf: map[string]time.Time{}}
	if s.retryMax == 0 {
		s.retryMax = 2 * time.Minute
	}
	for name, d := range o.Config.Datasets {
		s.paused[name] = d.Paused
	}
	return s
}

// Restore reads the state that the file holds from before: it closes the records of runs that the end of a process cut
// off, and learns as of when the copies hold. It is called once, before Serve.
func (s *Syncer) Restore(ctx context.Context) error {
	if _, err := s.store.FailInterrupted(ctx); err != nil {
		return err
	}
	return s.Recall(ctx)
}

// Recall is Restore but for the runs: it writes nothing.
func (s *Syncer) Recall(ctx context.Context) error {
	tables, err := s.store.Tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		s.holds(t.Dataset, t.SourceAsOf)
		if len(t.Watermark) == 0 {
			continue
		}
		s.mu.Lock()
		if d := s.cfg.Datasets[t.Dataset]; d != nil && d.Form == config.FormCDC {
			s.replicated[foldName(t.Target)] = t.Dataset
		}
		s.mu.Unlock()
	}
	return nil
}

// CutOff are the datasets whose last sync was cut off by the end of a server, whoever has opened the file since; true is a
// full one. Runs that a person has cancelled are not among them.
func (s *Syncer) CutOff(ctx context.Context) (map[string]bool, error) {
	cut := map[string]bool{}
	for _, name := range s.Datasets() {
		last, err := s.store.Runs(ctx, store.RunFilter{Dataset: name, Limit: statusRuns})
		if err != nil {
			return nil, err
		}
		for _, r := range last {
			if r.Kind == KindFull || r.Kind == KindIncremental {
				if r.State == StateError && r.Code == string(fault.Cancelled) {
					cut[name] = r.Kind == KindFull
				}
				break
			}
		}
	}
	return cut, nil
}

// heldAsOf notes that a dataset's copy holds as of a moment.
func (s *Syncer) heldAsOf(dataset string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asOf[dataset] = at
}

// holds notes as of when a dataset's copy holds: the oldest of its tables.
func (s *Syncer) holds(dataset string, asOf time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.asOf[dataset]; !asOf.IsZero() && (!ok || asOf.Before(old)) {
		s.asOf[dataset] = asOf
	}
}

// SyncedAt says as of when, on the source's clock, each configured dataset holds that was synced.
func (s *Syncer) SyncedAt() map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.asOf)
	maps.DeleteFunc(all, func(dataset string, _ time.Time) bool { return s.cfg.Datasets[dataset] == nil })
	return all
}

// Serve allows runs in the background until ctx ends, then cancels them and waits for them.
func (s *Syncer) Serve(ctx context.Context) error {
	s.mu.Lock()
	s.base = ctx
	s.mu.Unlock()
	s.startReplicas(nil) //nolint:contextcheck // They have the context of the server.
	<-ctx.Done()
	s.mu.Lock()
	for _, a := range s.running {
		a.cancel(errStopping)
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

var errStopping = fault.New(fault.Cancelled, "the next start of the server takes it up again", "the process is stopping")

// Update takes over a reloaded configuration. Runs under way end with the configuration they began with. The tables of a
// removed dataset stay until they are dropped with Forget.
func (s *Syncer) Update(cfg *config.Config, sources map[string]source.Source) {
	stopped := s.stopChanged(cfg, sources)
	s.update(cfg, sources)
	maps.Copy(stopped, s.stopChanged(cfg, sources)) // what a request has started meanwhile
	s.mu.Lock()
	maps.Copy(stopped, s.released)
	clear(s.released)
	s.mu.Unlock()
	s.startReplicas(stopped)
}

func (s *Syncer) update(cfg *config.Config, sources map[string]source.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, d := range cfg.Datasets {
		if old := s.cfg.Datasets[name]; old == nil || old.Paused != d.Paused {
			s.paused[name] = d.Paused
		}
	}
	s.cfg, s.sources = cfg, sources
	close(s.updated)
	s.updated = make(chan struct{})
	for _, r := range s.replicas {
		r.wake()
	}
	maps.DeleteFunc(s.asOf, func(dataset string, _ time.Time) bool { return cfg.Datasets[dataset] == nil })
}

// Datasets lists the configured datasets, sorted.
func (s *Syncer) Datasets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.DatasetNames()
}

func (s *Syncer) dataset(name string) (*config.Dataset, source.Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.cfg.Datasets[name]
	if d == nil {
		return nil, nil, fault.New(fault.NotFound, "GET /api/store/status or `pintail status` lists the datasets", "there is no dataset %q", name)
	}
	return d, s.sources[d.Source], nil
}

// begin claims a dataset for one run.
func (s *Syncer) begin(ctx context.Context, name, kind string) (context.Context, *active, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.running[name]; a != nil {
		return nil, nil, fault.New(fault.Running, "wait for it, or cancel it: POST /api/store/runs/"+a.run.ID+"/cancel",
			"dataset %s has a %s run under way since %s", name, a.run.Kind, a.run.StartedAt.Format(time.TimeOnly))
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a := &active{run: store.Run{ID: id.String(), Dataset: name, Kind: kind, State: StateRunning, StartedAt: time.Now().UTC()}, cancel: cancel, done: make(chan struct{})}
	ctx = s.traceRun(ctx, a)
	s.running[name] = a
	s.wg.Add(1)
	return ctx, a, nil
}

func (s *Syncer) end(a *active) {
	s.mu.Lock()
	delete(s.running, a.run.Dataset)
	s.mu.Unlock()
	a.cancel(nil)
	close(a.done)
	s.wg.Done()
}

type task func(ctx context.Context, d *config.Dataset, src source.Source, a *active) error

// start runs t in the background.
func (s *Syncer) start(name, kind string, t task) (string, error) {
	d, src, err := s.dataset(name)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	base := s.base
	s.mu.Unlock()
	if base == nil || base.Err() != nil {
		return "", fault.New(fault.Unavailable, "try again in a moment", "runs are not accepted now")
	}
	ctx, a, err := s.begin(base, name, kind)
	if err != nil {
		return "", err
	}
	id := a.run.ID
	go func() { _ = s.execute(ctx, d, src, a, t) }()
	return id, nil
}

// wait runs t and returns its run.
func (s *Syncer) wait(ctx context.Context, name, kind string, watch func(Live), t task) (store.Run, error) {
	d, src, err := s.dataset(name)
	if err != nil {
		return store.Run{}, err
	}
	ctx, a, err := s.begin(ctx, name, kind)
	if err != nil {
		return store.Run{}, err
	}
	if watch != nil {
		stop := make(chan struct{})
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					watch(s.live(a))
				case <-stop:
					return
				}
			}
		}()
		defer func() { close(stop); <-watched }()
	}
	err = s.execute(ctx, d, src, a, t)
	return a.run, err
}

// execute runs t with its record: running before, its end afterwards in every case.
func (s *Syncer) execute(ctx context.Context, d *config.Dataset, src source.Source, a *active, t task) error {
	defer s.end(a)
	err := s.expect(ctx, d, a)
	if err == nil {
		err = s.store.SaveRun(ctx, a.run)
	}
	step.Reached(step.Recorded)
	if err == nil {
		err = t(ctx, d, src, a)
	}
	return s.conclude(ctx, a, err, d.Form == config.FormCDC || a.run.Kind == KindVerify || a.run.Kind == KindReconcile)
}

// conclude records how a run ended, with save a good end too: that of a sync is committed with its rows.
func (s *Syncer) conclude(ctx context.Context, a *active, err error, save bool) error {
	log := s.log.With("dataset", a.run.Dataset, "run", a.run.ID)
	s.mu.Lock()
	a.run.RowsRead, a.run.Bytes = a.progress.Rows.Load(), a.progress.Bytes.Load()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil && !errors.Is(err, cause) {
			err = fault.New(fault.Cancelled, fault.HintOf(cause), "%w", cause)
		}
		a.run.State = StateError
		a.run.Error, a.run.Code, a.run.Hint = err.Error(), string(fault.CodeOf(err)), fault.HintOf(err)
		switch {
		case fault.CodeOf(err) != fault.Cancelled:
		case s.base != nil && s.base.Err() != nil:
			a.run.Hint = errStopping.Hint
		default:
			a.run.State = StateCancelled
		}
	}
	if a.run.EndedAt.IsZero() {
		a.run.EndedAt = time.Now().UTC()
	}
	run := a.run
	s.mu.Unlock()
	took := run.EndedAt.Sub(run.StartedAt)
	if err != nil || save {
		// Even when the run was cancelled.
		if saveErr := s.store.SaveRun(context.WithoutCancel(ctx), run); saveErr != nil {
			log.Error("the end of the run could not be recorded", "error", saveErr)
		}
	}
	switch {
	case s.quiet:
	case err != nil:
		log.ErrorContext(a.within(ctx), "run failed", "kind", run.Kind, "error", err, "code", run.Code, "hint", run.Hint, "took", took)
	default:
		log.InfoContext(a.within(ctx), "run done", "kind", run.Kind, "reason", run.Reason, "rows_read", run.RowsRead, "rows_written", run.RowsWritten, "bytes", run.Bytes, "took", took)
	}
	if s.observer != nil {
		s.observer.RunEnded(run, took)
	}
	a.endTrace(run, err)
	return err
}

// expect corrects what a sync is taken for until it has planned: without a watermark there is nothing that an increment
// could go on from.
func (s *Syncer) expect(ctx context.Context, d *config.Dataset, a *active) error {
	if a.run.Kind != KindIncremental || d.Form == config.FormCDC {
		return nil
	}
	tables, err := s.store.Tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.Dataset == d.Name && len(t.Watermark) > 0 && slices.Contains(d.Tables(), t.Target) {
			return nil
		}
	}
	s.note(a, func(r *store.Run) { r.Kind = KindFull })
	return nil
}

// Sync starts a run in the background and returns its id.
func (s *Syncer) Sync(dataset string, full bool) (string, error) {
	return s.start(dataset, syncKind(full), s.syncTask(full))
}

// SyncWait runs a dataset once and returns its finished run. watch, if not nil, is called about ten times a second.
func (s *Syncer) SyncWait(ctx context.Context, dataset string, full bool, watch func(Live)) (store.Run, error) {
	return s.wait(ctx, dataset, syncKind(full), watch, s.syncTask(full))
}

// syncKind is what a run is taken for before the state of its tables is read.
func syncKind(full bool) string {
	if full {
		return KindFull
	}
	return KindIncremental
}

// Verify starts a comparison in the background.
func (s *Syncer) Verify(dataset string) (string, error) {
	return s.start(dataset, KindVerify, s.verifyTask(false))
}

// Reconcile starts a comparison with repair in the background.
func (s *Syncer) Reconcile(dataset string) (string, error) {
	return s.start(dataset, KindReconcile, s.verifyTask(true))
}

// VerifyWait compares, and with repair mends; differences that remain are a fault.Differences.
func (s *Syncer) VerifyWait(ctx context.Context, dataset string, repair bool, watch func(Live)) (store.Run, error) {
	kind := KindVerify
	if repair {
		kind = KindReconcile
	}
	return s.wait(ctx, dataset, kind, watch, s.verifyTask(repair))
}

// Cancel stops a run under way.
func (s *Syncer) Cancel(runID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.running {
		if a.run.ID == runID {
			a.cancel(fault.New(fault.Cancelled, "", "cancelled by request"))
			return nil
		}
	}
	return fault.New(fault.NotFound, "GET /api/store/runs?state=running lists the runs under way", "run %s is not under way", runID)
}

// Pause stops the scheduled runs of a dataset, or lets them go on. A run under way is not touched.
func (s *Syncer) Pause(dataset string, paused bool) error {
	d, _, err := s.dataset(dataset)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.paused[dataset] = paused
	s.mu.Unlock()
	if d.Form != config.FormCDC {
		return nil
	}
	if paused {
		s.stopReplica(dataset)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startReplica(d)
}

// Paused says whether a dataset's scheduled runs are held back.
func (s *Syncer) Paused(dataset string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paused[dataset]
}

// ResetWatermark forgets the watermarks of a dataset, or of one of its tables, so that the next run rebuilds it. It returns
// the tables concerned.
func (s *Syncer) ResetWatermark(ctx context.Context, dataset, table string) ([]string, error) {
	d, _, err := s.dataset(dataset)
	if err != nil {
		return nil, err
	}
	if d.Form == config.FormCDC {
		return s.copyAgain(ctx, d, table, "asked for")
	}
	var targets []string
	for _, p := range d.Parts {
		if table == "" || table == p.Target || table == p.Name {
			targets = append(targets, p.Target)
		}
	}
	if len(targets) == 0 {
		return nil, fault.New(fault.NotFound, "leave table out to reset all of them", "dataset %s has no table %q; it has %v", dataset, table, d.Tables())
	}
	ctx, a, err := s.begin(ctx, dataset, "reset-watermark")
	if err != nil {
		return nil, err
	}
	defer s.end(a)
	return targets, s.store.Commit(ctx, func(tx *store.Tx) error {
		for _, t := range targets {
			if err := tx.SetWatermark(t, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// Run reads one run: the one under way with its present progress, else from the history.
func (s *Syncer) Run(ctx context.Context, id string) (store.Run, bool, error) {
	s.mu.Lock()
	for _, a := range s.running {
		if a.run.ID == id {
			s.mu.Unlock()
			return s.underWay(a), true, nil
		}
	}
	s.mu.Unlock()
	return s.store.RunByID(ctx, id)
}

// Runs reads the history, newest first, runs under way with their present progress.
func (s *Syncer) Runs(ctx context.Context, f store.RunFilter) ([]store.Run, error) {
	runs, err := s.store.Runs(ctx, f)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	live := map[string]*active{}
	for _, a := range s.running {
		live[a.run.ID] = a
	}
	s.mu.Unlock()
	for i := range runs {
		if a := live[runs[i].ID]; a != nil {
			runs[i] = s.underWay(a)
		}
	}
	return runs, nil
}

// Live is a run under way.
type Live struct {
	Run   store.Run
	Guess int64 // rows expected, the planner's estimate; 0 when not known
}

func (s *Syncer) live(a *active) Live {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := Live{Run: a.run, Guess: a.guess}
	l.Run.RowsRead, l.Run.Bytes = a.progress.Rows.Load(), a.progress.Bytes.Load()
	if l.Run.State == StateRunning && a.guess > 0 {
		l.Run.Progress = min(float64(l.Run.RowsRead)/float64(a.guess), 0.99)
	}
	return l
}

// underWay is a run as others see it: it runs until the dataset is free for the next one, though its rows may be committed.
func (s *Syncer) underWay(a *active) store.Run {
	r := s.live(a).Run
	r.State, r.EndedAt = StateRunning, time.Time{}
	return r
}

// note changes a run's record under the lock that live reads it with.
func (s *Syncer) note(a *active, f func(r *store.Run)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&a.run)
}

func toJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only plain structs of this package are passed
	}
	return b
}
