package schedule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pintaildb/pintail/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder notes when a job starts, in seconds since the bubble's beginning.
type recorder struct {
	mu     sync.Mutex
	from   time.Time
	starts []int
}

func record() *recorder { return &recorder{from: time.Now()} }

func (r *recorder) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts = append(r.starts, int(time.Since(r.from)/time.Second))
}

func (r *recorder) take() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.starts
	r.starts = nil
	return s
}

// job notes its starts, lasts some time, and fails with *err when that is set.
func (r *recorder) job(name string, every, lasts time.Duration, err *atomic.Pointer[error]) Job {
	return Job{Name: name, Every: every, Run: func(ctx context.Context) error {
		r.start()
		if lasts > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(lasts):
			}
		}
		if err != nil {
			if e := err.Load(); e != nil {
				return *e
			}
		}
		return nil
	}}
}

// run starts s in the bubble; the returned function stops it and waits.
func run(t *testing.T, s *Scheduler) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

// pass lets d go by, and everything that is due in it be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

var exact = Options{Jitter: -1}

func TestIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, never, old, fresh := New(nil, exact), record(), record(), record()
		j1, j2, j3 := never.job("never", time.Minute, 0, nil), old.job("old", time.Minute, 0, nil), fresh.job("fresh", time.Minute, 0, nil)
		j2.LastRun = time.Now().Add(-time.Hour)
		j3.LastRun = time.Now().Add(-20 * time.Second)
		require.NoError(t, s.Set([]Job{j1, j2, j3}))
		pass(time.Second)
		require.Empty(t, never.take(), "nothing runs before Run")
		defer run(t, s)()
		pass(3 * time.Minute)
		require.Equal(t, []int{1, 60, 120, 180}, never.take(), "the beat is that of the plan")
		require.Equal(t, []int{1, 60, 120, 180}, old.take(), "an overdue job runs at once, and once")
		require.Equal(t, []int{40, 100, 160}, fresh.take())
		next, ok := s.Next("fresh")
		require.True(t, ok)
		require.WithinDuration(t, time.Now().Add(39*time.Second), next, time.Second)
		st, ok := s.State("fresh")
		require.True(t, ok)
		require.Equal(t, 160*time.Second, st.LastRun.Sub(fresh.from))
		_, ok = s.Next("nobody")
		require.False(t, ok)
	})
}

func TestLastRunFromAnotherClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := New(nil, exact), record()
		j := r.job("a", time.Minute, 0, nil)
		j.LastRun = time.Now().Add(48 * time.Hour)
		require.NoError(t, s.Set([]Job{j}))
		defer run(t, s)()
		pass(61 * time.Second)
		require.Equal(t, []int{60}, r.take())
	})
}

func TestNoRunOnTopOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := New(nil, exact), record()
		require.NoError(t, s.Set([]Job{r.job("slow", 10*time.Second, 35*time.Second, nil)}))
		defer run(t, s)()
		pass(34 * time.Second)
		st, _ := s.State("slow")
		require.True(t, st.Running)
		require.Equal(t, 3, st.Skipped, "the ticks at 10, 20 and 30")
		require.Equal(t, fault.Running, fault.CodeOf(s.Trigger("slow")))
		pass(30 * time.Second)
		require.Equal(t, []int{0, 40}, r.take(), "after the skipped ticks it keeps its beat")
	})
}

func TestSideBySideUpToTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := New(nil, Options{MaxConcurrent: 2, Jitter: -1}), record()
		var now, most atomic.Int32
		var jobs []Job
		for i := range 5 {
			j := Job{Name: fmt.Sprint("j", i), Every: time.Hour, Run: func(context.Context) error {
				r.start()
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(10 * time.Second)
				now.Add(-1)
				return nil
			}}
			jobs = append(jobs, j)
		}
		require.NoError(t, s.Set(jobs))
		defer run(t, s)()
		pass(time.Minute)
		require.Equal(t, []int{0, 0, 10, 10, 20}, r.take())
		require.EqualValues(t, 2, most.Load())
	})
}

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		every time.Duration
		want  []int // minutes and seconds as seconds
	}{
		{10 * time.Second, []int{0, 10, 30, 70, 150, 310, 630, 1270, 2550, 4350, 6150}},
		{5 * time.Minute, []int{0, 30, 90, 210, 450, 930, 1890, 3690, 5490}},
		{time.Hour, []int{0, 30, 90, 210, 450, 930, 1890, 3810, 7410}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			s, r := New(slog.New(slog.NewTextHandler(&log, nil)), exact), record()
			var fails atomic.Pointer[error]
			broken := error(fault.New(fault.SourceSQL, "fix the query", "column gone"))
			fails.Store(&broken)
			require.NoError(t, s.Set([]Job{r.job("a", c.every, 0, &fails)}))
			stop := run(t, s)
			pass(time.Duration(c.want[len(c.want)-1])*time.Second + time.Second)
			require.Equal(t, c.want, r.take(), "%s", c.every)
			st, _ := s.State("a")
			require.Equal(t, len(c.want), st.Failures)
			require.Equal(t, fault.SourceSQL, fault.CodeOf(st.LastErr))
			require.True(t, st.Next.After(time.Now()))
			require.Contains(t, log.String(), "column gone")
			require.Contains(t, log.String(), "fix the query")

			fails.Store(nil)
			at := st.Next
			pass(time.Until(at) + time.Second)
			require.Len(t, r.take(), 1)
			st, _ = s.State("a")
			require.Zero(t, st.Failures)
			require.NoError(t, st.LastErr)
			require.Equal(t, at.Add(c.every), st.Next, "then the plain interval again")
			stop()
		})
	}
}

// A retry does not push a daily job past its hour.
func TestBackoffKeepsTheDailyTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble begins at midnight UTC
		s, r := New(nil, exact), record()
		var fails atomic.Pointer[error]
		broken := errors.New("down")
		fails.Store(&broken)
		j := r.job("a", 0, 0, &fails)
		j.Cron, j.TZ = "0 3 * * *", time.UTC
		require.NoError(t, s.Set([]Job{j}))
		defer run(t, s)()
		pass(27*time.Hour + time.Second)
		starts := r.take()
		require.Equal(t, 3*3600, starts[0])
		require.Equal(t, 27*3600, starts[len(starts)-1])
		require.Equal(t, 3*3600+30, starts[1])
	})
}

func TestWhatIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := New(nil, exact), record()
		var err atomic.Pointer[error]
		require.NoError(t, s.Set([]Job{r.job("a", time.Minute, 0, &err)}))
		defer run(t, s)()
		for i, e := range []error{fault.New(fault.Running, "", "by hand"), fault.New(fault.Cancelled, "", "by a person"), fmt.Errorf("x: %w", context.Canceled)} {
			err.Store(&e)
			if i == 0 {
				pass(time.Second)
			} else {
				pass(time.Minute)
			}
			require.Equal(t, []int{60 * i}, r.take())
			st, _ := s.State("a")
			require.Zero(t, st.Failures, "%v", e)
			require.Equal(t, 1, st.Skipped, "somebody else's run is a skipped tick")
		}
	})
}

func TestPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := New(nil, exact), record()
		require.NoError(t, s.Set([]Job{{Name: "bad", Every: time.Minute, Run: func(context.Context) error { panic("nil map") }}, r.job("good", time.Minute, 0, nil)}))
		defer run(t, s)()
		pass(time.Second)
		st, _ := s.State("bad")
		require.Equal(t, 1, st.Failures)
		require.ErrorContains(t, st.LastErr, "nil map")
		require.Equal(t, []int{0}, r.take())
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := New(nil, exact), record()
		var ended atomic.Bool
		require.NoError(t, s.Set([]Job{{Name: "a", Every: time.Second, Run: func(ctx context.Context) error {
			r.start()
			<-ctx.Done()
			time.Sleep(5 * time.Second) // rolls back
			ended.Store(true)
			return ctx.Err()
		}}}))
		stop := run(t, s)
		pass(10 * time.Second)
		stop()
		require.True(t, ended.Load(), "Run waits for what runs")
		pass(time.Minute)
		require.Equal(t, []int{0}, r.take())
		st, _ := s.State("a")
		require.Zero(t, st.Failures)
		require.Error(t, s.Run(context.Background()), "a second Run is refused")
	})
}

func TestSetWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, kept, changed, dropped, added := New(nil, exact), record(), record(), record(), record()
		require.NoError(t, s.Set([]Job{kept.job("kept", time.Minute, 0, nil), changed.job("changed", time.Minute, 0, nil), dropped.job("dropped", time.Minute, time.Hour, nil)}))
		defer run(t, s)()
		pass(30 * time.Second)
		newRun := record()
		require.NoError(t, s.Set([]Job{newRun.job("kept", time.Minute, 0, nil), changed.job("changed", 40*time.Second, 0, nil), added.job("added", time.Minute, 0, nil)}))
		_, ok := s.State("dropped")
		require.False(t, ok)
		pass(31 * time.Second)
		require.Equal(t, []int{0}, kept.take())
		require.Equal(t, []int{30}, newRun.take(), "an unchanged job keeps its time and takes the new work")
		require.Equal(t, []int{0, 40}, changed.take())
		require.Equal(t, []int{30}, added.take())
		require.Equal(t, []int{0}, dropped.take())
		require.Empty(t, s.entries["dropped"], "its run was cancelled and is gone")

		for _, bad := range [][]Job{
			{added.job("x", time.Minute, 0, nil), added.job("x", time.Minute, 0, nil)}, {added.job("", time.Minute, 0, nil)}, {{Name: "x", Every: time.Minute}},
			{{Name: "x", Cron: "61 * * * *", Run: added.job("", 0, 0, nil).Run}}, {{Name: "x", Cron: "0 0 30 2 *", Run: added.job("", 0, 0, nil).Run}}, {{Name: "x", Cron: "* * * * *", Every: 1, Run: added.job("", 0, 0, nil).Run}}, {added.job("x", -1, 0, nil)},
		} {
			require.Error(t, s.Set(bad))
			_, ok := s.Next("kept")
			require.True(t, ok, "a refused set changes nothing")
		}
	})
}

// A dataset that leaves the configuration and comes back while its run is still being cancelled.
func TestRemovedAndAddedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := New(nil, exact), record()
		var now, most atomic.Int32
		j := Job{Name: "a", Every: time.Hour, Run: func(ctx context.Context) error {
			r.start()
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			if len(r.starts) == 1 {
				<-ctx.Done()
				time.Sleep(20 * time.Second)
			}
			return ctx.Err()
		}}
		require.NoError(t, s.Set([]Job{j}))
		defer run(t, s)()
		pass(10 * time.Second)
		require.NoError(t, s.Set(nil))
		require.Equal(t, fault.NotFound, fault.CodeOf(s.Trigger("a")))
		require.NoError(t, s.Set([]Job{j}))
		pass(time.Minute)
		require.EqualValues(t, 1, most.Load())
		require.Equal(t, []int{0, 30}, r.take(), "it waits for the old run's end, then starts as new")
	})
}

func TestPausedAndTriggered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, manual := New(nil, exact), record(), record()
		j, m := r.job("a", time.Minute, 0, nil), manual.job("m", 0, 0, nil)
		j.Paused = true
		require.NoError(t, s.Set([]Job{j, m}))
		defer run(t, s)()
		pass(90 * time.Second)
		require.Empty(t, r.take())
		_, ok := s.Next("a")
		require.False(t, ok)
		st, _ := s.State("a")
		require.True(t, st.Paused)
		require.NoError(t, s.Trigger("a"))
		require.NoError(t, s.Trigger("m"))
		require.Equal(t, fault.NotFound, fault.CodeOf(s.Trigger("nobody")))
		pass(5 * time.Minute)
		require.Equal(t, []int{90}, r.take(), "once, and paused again")
		require.Equal(t, []int{90}, manual.take())
		j.Paused = false
		require.NoError(t, s.Set([]Job{j, m}))
		pass(30 * time.Second)
		require.Equal(t, []int{390}, r.take(), "overdue since its last run")
		require.NoError(t, s.Trigger("a"))
		pass(time.Minute)
		require.Equal(t, []int{420, 480}, r.take(), "the interval counts from the trigger")
	})
}

// A job that is held up starts when it is free, once, and is counted on from there; Next says so. Trigger does not wait.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble begins at midnight UTC
		var until atomic.Int64 // of the hour, in minutes, nothing starts
		until.Store(40)
		hold := func(at time.Time) time.Time {
			if free := at.Truncate(time.Hour).Add(time.Duration(until.Load()) * time.Minute); at.Before(free) {
				return free
			}
			return at
		}
		s, interval, cron, fails, free := New(nil, exact), record(), record(), record(), record()
		var err atomic.Pointer[error]
		broken := errors.New("down")
		err.Store(&broken)
		jobs := []Job{interval.job("interval", 15*time.Minute, 0, nil), cron.job("cron", 0, 0, nil), fails.job("fails", time.Hour, 0, &err), free.job("free", 30*time.Minute, 0, nil)}
		jobs[1].Cron, jobs[1].TZ = "30 * * * *", time.UTC
		for i := range jobs[:3] {
			jobs[i].Hold = hold
		}
		require.NoError(t, s.Set(jobs))
		defer run(t, s)()
		minutes := func(r *recorder) (m []int) {
			for _, at := range r.take() {
				m = append(m, at/60)
			}
			return m
		}
		pass(39 * time.Minute)
		require.Empty(t, append(append(interval.take(), cron.take()...), fails.take()...))
		next, ok := s.Next("interval")
		require.True(t, ok)
		require.Equal(t, interval.from.Add(40*time.Minute), next)
		st, _ := s.State("interval")
		require.Zero(t, st.Skipped, "what waits is not skipped")
		require.NoError(t, s.Trigger("cron"))
		pass(80 * time.Minute)
		require.Equal(t, []int{40, 55, 100, 115}, minutes(interval), "one that would come at 70 waits until 100")
		require.Equal(t, []int{39, 100}, minutes(cron), "what was triggered does not run again at the end of the hold")
		require.Equal(t, []int{40, 40, 41, 43, 47, 55, 100}, minutes(fails), "retries wait too")
		require.Equal(t, []int{0, 30, 60, 90}, minutes(free))
		until.Store(0)
		require.NoError(t, s.Set(jobs))
		pass(16 * time.Minute)
		require.Equal(t, []int{130}, minutes(interval), "the hold is asked for anew")
	})
}

func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := func(seed uint64) []int {
			s, r := New(nil, Options{Seed: seed}), record()
			var jobs []Job
			for i := range 20 {
				j := r.job(fmt.Sprint("j", i), time.Minute, 0, nil)
				jobs = append(jobs, j)
			}
			for i := range jobs {
				jobs[i].LastRun = time.Now()
			}
			require.NoError(t, s.Set(jobs))
			stop := run(t, s)
			pass(10 * time.Minute)
			stop()
			return r.take()
		}
		a := starts(1)
		distinct := map[int]bool{}
		for _, at := range a {
			distinct[at] = true
			require.LessOrEqual(t, at%60, 6, "10 % of the interval at most, and it does not add up")
		}
		require.Greater(t, len(distinct), 20)
		require.InDelta(t, 190, len(a), 10)
	})
}

func TestCron(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble begins at 2000-01-01 00:00 UTC
		s, every5, missed, fresh := New(nil, exact), record(), record(), record()
		cron := func(r *recorder, name, line string, last time.Time) Job {
			j := r.job(name, 0, 0, nil)
			j.Cron, j.TZ, j.LastRun = line, time.UTC, last
			return j
		}
		require.NoError(t, s.Set([]Job{
			cron(every5, "every5", "*/5 * * * *", time.Time{}),
			cron(missed, "missed", "0 3 * * *", time.Now().Add(-48*time.Hour)),
			cron(fresh, "fresh", "0 3 * * *", time.Now().Add(-20*time.Hour)),
		}))
		defer run(t, s)()
		pass(16 * time.Minute)
		require.Equal(t, []int{300, 600, 900}, every5.take())
		require.Equal(t, []int{0}, missed.take(), "what was missed runs once at the start")
		pass(24 * time.Hour)
		require.Equal(t, []int{3 * 3600}, missed.take())
		require.Equal(t, []int{3 * 3600}, fresh.take())
	})
}

func TestNextTick(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	for _, c := range []struct{ line, from, want string }{
		{"*/5 * * * *", "2026-03-01T10:02:30+01:00", "2026-03-01T10:05:00+01:00"},
		{"30 2 * * *", "2026-03-28T03:00:00+01:00", "2026-03-29T03:30:00+02:00"}, // 02:30 does not exist
		{"30 2 * * *", "2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00"},
		{"*/5 * * * *", "2026-03-29T01:58:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"0 * * * *", "2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"30 2 * * *", "2026-10-25T01:00:00+02:00", "2026-10-25T02:30:00+01:00"}, // 02:30 comes twice
		{"30 2 * * *", "2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00"},
		{"@daily", "2026-03-28T12:00:00+01:00", "2026-03-29T00:00:00+01:00"},
		{"0 0 29 2 *", "2026-03-01T00:00:00+01:00", "2028-02-29T00:00:00+01:00"},
		{"0 3 * * 1-5", "2026-03-27T04:00:00+01:00", "2026-03-30T03:00:00+02:00"},
	} {
		from, err := time.Parse(time.RFC3339, c.from)
		require.NoError(t, err)
		got, err := nextTick(c.line, berlin, from)
		require.NoError(t, err)
		require.Equal(t, c.want, got.Format(time.RFC3339), "%s after %s", c.line, c.from)
	}
	_, err = nextTick("0 0 30 2 *", berlin, time.Now())
	require.Error(t, err)
}
