// Package schedule says when things run: syncs, reconciles and whatever else has an interval or a cron line. Due jobs
// run side by side up to a limit, never on top of themselves, a little spread out, and later and later while they fail.
package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// Job is one thing that runs again and again. With neither Every nor Cron, or Paused, it runs by Trigger only.
type Job struct {
	Name  string
	Every time.Duration  // from one planned start to the next
	Cron  string         // five fields, or @daily and its like
	TZ    *time.Location // of Cron; nil is the machine's

	Paused bool
	// LastRun is when it last started, as far as the caller knows (its history); zero is never. A job that is overdue
	// by it runs at once, once, however many times it missed; an interval job that never ran is overdue too, a cron
	// job that never ran waits for its line.
	LastRun time.Time
	// Hold puts a start off: it returns the first moment from at on that is free, at itself where that is one. nil is always
	// free. It is asked again and again while the job waits, holds up no Trigger, and must not call the Scheduler.
	Hold func(at time.Time) time.Time
	// Run does the work until it is done or ctx ends, in a goroutine of its own, never twice at once. An error counts
	// as a failure, but for fault.Running (somebody else runs it now: a skipped tick) and fault.Cancelled.
	Run func(ctx context.Context) error
}

// Options of a Scheduler; the zero value is usable.
type Options struct {
	MaxConcurrent int     // jobs at once; 0 is 4
	Jitter        float64 // share of the interval that a start may come later, 10 s at most; 0 is 0.1, below 0 none
	Seed          uint64  // of the jitter; 0 is random
}

const (
	jitterMax      = 10 * time.Second
	backoffMin     = 30 * time.Second // first wait after a failure, or the interval when that is shorter
	backoffMax     = 30 * time.Minute // longest wait, or the interval when that is longer
	lookAgainAfter = time.Minute      // so that a changed clock is noticed
)

// State of a job.
type State struct {
	Next     time.Time // zero: it does not run by itself
	LastRun  time.Time // start of the last run; zero: never
	LastErr  error     // of the last run that failed, nil after a good one
	Failures int       // in a row; above 0, Next is the retry
	Skipped  int       // ticks that came while it was running
	Running  bool
	Paused   bool
}

// Scheduler runs jobs. Its methods may be called from any goroutine, before, during and after Run.
type Scheduler struct {
	log  *slog.Logger
	opts Options
	wake chan struct{} // holds one: something changed
	wg   sync.WaitGroup

	mu      sync.Mutex
	rng     *rand.Rand
	entries map[string]*entry
	running int
	started bool
}

type entry struct {
	job      Job
	plan     time.Time // the tick that next stands for, without jitter and backoff
	next     time.Time // when to start; zero: never
	lastRun  time.Time
	lastErr  error
	failures int
	skipped  int
	cancel   context.CancelFunc // of the run under way; nil: none
	again    bool               // a Trigger is waiting for its start
	gone     bool               // removed by Set while running
	replan   bool               // added again by Set before that run ended: planned at its end
}

// New makes a Scheduler without jobs.
func New(log *slog.Logger, opts Options) *Scheduler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if opts.MaxConcurrent <= 0 {
		opts.MaxConcurrent = 4
	}
	if opts.Jitter == 0 {
		opts.Jitter = 0.1
	}
	if opts.Seed == 0 {
		opts.Seed = rand.Uint64()
	}
	return &Scheduler{log: log, opts: opts, wake: make(chan struct{}, 1), entries: map[string]*entry{}, rng: rand.New(rand.NewPCG(opts.Seed, 0))}
}

// Set replaces the jobs. A job whose times are unchanged keeps its next start, its failures and its run; one with new
// times is planned again from its last run. The run of a job that is not among them any more is cancelled; it still
// keeps a job of its name from starting until it has ended. An error changes nothing.
func (s *Scheduler) Set(jobs []Job) error {
	now := time.Now()
	seen := map[string]bool{}
	for _, j := range jobs {
		switch {
		case j.Name == "" || seen[j.Name]:
			return fault.New(fault.Internal, "", "schedule: job %q is named twice or not at all", j.Name)
		case j.Run == nil:
			return fault.New(fault.Internal, "", "schedule: job %q has nothing to run", j.Name)
		case j.Every < 0 || j.Every > 0 && j.Cron != "":
			return fault.New(fault.Config, "give an interval or a cron line", "schedule %s: every %s and %q do not go together", j.Name, j.Every, j.Cron)
		case j.Cron != "":
			if _, err := nextTick(j.Cron, j.TZ, now); err != nil {
				return fault.New(fault.Config, "write minute hour day month weekday, or @daily and its like", "schedule %s: %w", j.Name, err)
			}
		}
		seen[j.Name] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, e := range s.entries {
		if seen[name] {
			continue
		}
		if e.cancel == nil {
			delete(s.entries, name)
			continue
		}
		e.gone, e.next, e.again = true, time.Time{}, false
		e.cancel()
	}
	for _, j := range jobs {
		e := s.entries[j.Name]
		if e == nil {
			e = &entry{}
			s.entries[j.Name] = e
		}
		known := e.job.Run != nil && !e.gone
		if e.gone {
			*e = entry{cancel: e.cancel, replan: true}
		}
		same := known && sameTimes(e.job, j)
		e.job = j
		if j.LastRun.After(e.lastRun) {
			e.lastRun = j.LastRun
		}
		if !same && !e.replan {
			e.failures, e.skipped = 0, 0
			s.planFirst(e, now)
		}
	}
	s.poke()
	return nil
}

func sameTimes(a, b Job) bool {
	return a.Every == b.Every && a.Cron == b.Cron && a.Paused == b.Paused && location(a.TZ).String() == location(b.TZ).String()
}

// Run starts due jobs until ctx ends; then it cancels those that run, waits for them, and returns nil.
func (s *Scheduler) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.started {
		s.mu.Unlock()
		return fault.New(fault.Internal, "", "schedule: Run was called twice")
	}
	s.started = true
	s.mu.Unlock()
	defer s.wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return nil
		}
		timer.Reset(s.startDue(ctx))
	}
}

// due is when e starts: next, unless its job holds that up.
func (e *entry) due() time.Time {
	if e.job.Hold == nil || e.again || e.next.IsZero() {
		return e.next
	}
	return e.job.Hold(e.next)
}

// startDue starts what is due, the longest overdue first, and returns how long there is nothing to do.
func (s *Scheduler) startDue(ctx context.Context) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for {
		var first *entry
		var due time.Time
		for _, e := range s.entries {
			if e.next.IsZero() || e.cancel != nil {
				continue
			}
			if at := e.due(); first == nil || at.Before(due) || at.Equal(due) && e.job.Name < first.job.Name {
				first, due = e, at
			}
		}
		if first == nil || s.running >= s.opts.MaxConcurrent {
			return lookAgainAfter // the end of a run wakes
		}
		if wait := due.Sub(now); wait > 0 {
			return min(wait, lookAgainAfter)
		}
		s.start(ctx, first, now)
	}
}

// skipTicks counts the ticks that came while e was running, and plans the next one after them. It is called when the
// run ends, and when somebody asks before.
func (s *Scheduler) skipTicks(e *entry, now time.Time) {
	for !e.plan.IsZero() && !e.plan.After(now) {
		e.skipped++
		s.log.Debug("still running, tick skipped", "job", e.job.Name, "planned", e.plan)
		if e.job.Every > 0 {
			since := now.Sub(e.plan)
			e.skipped += int(since / e.job.Every)
			e.plan = now.Add(e.job.Every - since%e.job.Every)
		} else {
			e.plan = s.cronAfter(e, now)
		}
		e.next = s.jittered(e, e.plan)
	}
}

// start runs e; its next tick is planned from this one, so that neither jitter nor the length of runs adds up.
func (s *Scheduler) start(ctx context.Context, e *entry, now time.Time) {
	from := e.plan
	if e.again || from.IsZero() || e.failures > 0 || from.After(now) {
		from = now
	}
	e.again = false
	e.lastRun = now
	s.planAfter(e, from, now)
	ctx, e.cancel = context.WithCancel(ctx)
	s.running++
	run, name := e.job.Run, e.job.Name
	s.wg.Go(func() {
		err := protect(ctx, name, run)
		s.ended(ctx, e, err)
	})
}

// protect turns a panic of a job into its error: one broken dataset must not stop the others.
func protect(ctx context.Context, name string, run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Internal, "please report this", "job %s panicked: %v\n%s", name, p, debug.Stack())
		}
	}()
	return run(ctx)
}

func (s *Scheduler) ended(ctx context.Context, e *entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stopped := ctx.Err() != nil
	e.cancel()
	e.cancel = nil
	s.running--
	now := time.Now()
	s.skipTicks(e, now)
	switch code := fault.CodeOf(err); {
	case e.gone:
		delete(s.entries, e.job.Name)
	case e.replan:
		e.replan = false
		s.planFirst(e, now)
	case err == nil:
		e.failures, e.lastErr = 0, nil
	case stopped || code == fault.Cancelled || errors.Is(err, context.Canceled):
		// Neither good nor bad: the next tick tries again.
	case code == fault.Running:
		e.skipped++
	default:
		e.failures++
		e.lastErr = err
		if !e.next.IsZero() && !e.again {
			e.next = s.retryAt(e, now)
		}
		s.log.Warn("scheduled run failed", "job", e.job.Name, "error", err, "hint", fault.HintOf(err),
			"failures", e.failures, "transient", fault.Transient(err), "next", e.due())
	}
	s.poke()
}

// Trigger starts a job now, or as soon as MaxConcurrent lets it; its interval counts from there.
func (s *Scheduler) Trigger(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[name]
	switch {
	case e == nil || e.gone:
		return fault.New(fault.NotFound, "", "schedule: there is no job %q", name)
	case e.cancel != nil:
		return fault.New(fault.Running, "wait for its end", "job %s is running", name)
	}
	e.again, e.next = true, time.Now()
	s.poke()
	return nil
}

// Next is when a job starts next; false when it does not run by itself or is not there.
func (s *Scheduler) Next(name string) (time.Time, bool) {
	st, ok := s.State(name)
	return st.Next, ok && !st.Next.IsZero()
}

// State of a job; false when it is not there.
func (s *Scheduler) State(name string) (State, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[name]
	if e == nil || e.gone {
		return State{}, false
	}
	if e.cancel != nil {
		s.skipTicks(e, time.Now())
	}
	return State{Next: e.due(), LastRun: e.lastRun, LastErr: e.lastErr, Failures: e.failures, Skipped: e.skipped, Running: e.cancel != nil, Paused: e.job.Paused}, true
}

func (s *Scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// String is the job's times, for logs.
func (j Job) String() string {
	switch {
	case j.Every > 0:
		return fmt.Sprintf("%s every %s", j.Name, j.Every)
	case j.Cron != "":
		return fmt.Sprintf("%s at %q", j.Name, j.Cron)
	}
	return j.Name
}
