package schedule

import (
	"fmt"
	"time"

	"github.com/adhocore/gronx"
)

// planFirst plans a job that is new or has new times, from its last run.
func (s *Scheduler) planFirst(e *entry, now time.Time) {
	e.plan, e.next, e.again = time.Time{}, time.Time{}, false
	last := e.lastRun
	if last.After(now) { // another clock's
		last = now
	}
	switch {
	case e.job.Paused:
		return
	case e.job.Every > 0:
		e.plan = now
		if !last.IsZero() {
			// Counted from now's reading, so that a clock that is set later does not move it.
			e.plan = now.Add(max(0, e.job.Every-now.Sub(last)))
		}
	case e.job.Cron != "":
		from := last
		if from.IsZero() {
			from = now
		}
		e.plan = s.cronAfter(e, from)
		if e.plan.Before(now) {
			e.plan = now
		}
	default:
		return
	}
	e.next = e.plan
	if e.plan.After(now) {
		e.next = s.jittered(e, e.plan)
	}
}

// planAfter plans the tick after the one that starts now. Ticks that are over by then are left out.
func (s *Scheduler) planAfter(e *entry, from, now time.Time) {
	switch {
	case e.job.Paused:
		e.plan, e.next = time.Time{}, time.Time{}
		return
	case e.job.Every > 0:
		e.plan = from.Add(e.job.Every)
		if !e.plan.After(now) {
			e.plan = now.Add(e.job.Every)
		}
	case e.job.Cron != "":
		e.plan = s.cronAfter(e, now)
	default:
		e.plan, e.next = time.Time{}, time.Time{}
		return
	}
	e.next = s.jittered(e, e.plan)
}

// retryAt is when a job that failed just now runs again: after 30 s (or its interval, when that is shorter), then twice
// as long each time, up to 30 min or its interval, whichever is longer. A tick that comes earlier is taken when the
// interval is the longer one.
func (s *Scheduler) retryAt(e *entry, now time.Time) time.Time {
	interval := s.interval(e)
	wait := min(interval, backoffMin)
	most := max(interval, backoffMax)
	for i := 1; i < e.failures && wait < most; i++ {
		wait *= 2
	}
	wait = min(wait, most)
	at := now.Add(wait + s.jitter(wait))
	if interval >= backoffMax && e.plan.After(now) && e.plan.Before(at) {
		return e.plan
	}
	return at
}

func (s *Scheduler) interval(e *entry) time.Duration {
	if e.job.Every > 0 {
		return e.job.Every
	}
	return s.cronAfter(e, e.plan).Sub(e.plan)
}

func (s *Scheduler) jittered(e *entry, at time.Time) time.Time {
	return at.Add(s.jitter(s.interval(e)))
}

func (s *Scheduler) jitter(of time.Duration) time.Duration {
	most := min(jitterMax, time.Duration(float64(of)*s.opts.Jitter))
	if most <= 0 {
		return 0
	}
	return time.Duration(s.rng.Int64N(int64(most)))
}

// cronAfter is the line's next tick after t. Set has refused lines without one; should a line run out of ticks
// nevertheless (a line with a year), the job is looked at again in a day.
func (s *Scheduler) cronAfter(e *entry, t time.Time) time.Time {
	next, err := nextTick(e.job.Cron, e.job.TZ, t)
	if err != nil {
		return t.Add(24 * time.Hour)
	}
	return next
}

// nextTick is the first tick of the line after t. A tick whose time the clocks jump over in spring comes as much
// later as they jump; in autumn, one that would come twice comes once.
func nextTick(line string, tz *time.Location, t time.Time) (time.Time, error) {
	tz = location(tz)
	t = t.Round(0).In(tz)
	next, err := gronx.NextTickAfter(line, t, false)
	if err != nil {
		return time.Time{}, fmt.Errorf("cron line %q: %w", line, err)
	}
	_, offset := t.Zone()
	unjumped, err := gronx.NextTickAfter(line, t.In(time.FixedZone("", offset)), false)
	if err == nil && unjumped.Before(next) {
		y, m, d := unjumped.Date()
		if there := time.Date(y, m, d, unjumped.Hour(), unjumped.Minute(), unjumped.Second(), 0, tz); there.Hour() != unjumped.Hour() || there.Minute() != unjumped.Minute() {
			return unjumped.In(tz), nil
		}
	}
	return next, nil
}

func location(tz *time.Location) *time.Location {
	if tz == nil {
		return time.Local
	}
	return tz
}
