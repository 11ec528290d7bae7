package postgres

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/pintaildb/pintail/source"
)

// load measures how much the server works for us. A statement counts from when it is sent until the server is ready for the
// next one: that is the time for which pg_stat_activity calls its session active.
//
// The server's own sum, pg_stat_database.active_time, is of the same kind, but has a session's time only when its transaction
// is over, or has ended with it; that of parallel workers and walsenders never. So what of ours it does not have yet is added.
type load struct {
	every, window time.Duration // loadEvery and loadWindow

	mu      sync.Mutex
	epoch   time.Time
	ended   time.Duration // of all statements that have ended
	unsent  time.Duration // of those in transactions that are still open
	running int           // statements under way
	begun   time.Duration // the sum of when those began, since epoch
	used    time.Time     // when the last one ended that was not loadQuery

	on, watching bool
	marks        []loadMark // by time
	watch        context.Context
	stop         context.CancelFunc
	wait         sync.WaitGroup
}

// loadMark is what was measured at one moment, all since some beginning.
type loadMark struct {
	at          time.Time
	ours, total time.Duration
	server      time.Duration // active_time
}

const (
	// loadEvery is how often the server is asked for active_time while statements of ours run.
	loadEvery = 15 * time.Second
	// loadWindow is over how long the share is told.
	loadWindow = time.Minute
	// loadLate is how late the server tells of what has ended; 14 does by half a second.
	loadLate = time.Second
)

func (l *load) init() {
	l.every, l.window, l.epoch = loadEvery, loadWindow, time.Now()
	l.watch, l.stop = context.WithCancel(context.Background())
}

// stint is a session's part in the load.
type stint struct {
	began time.Time     // of the statement under way; zero is none
	open  time.Duration // of the statements of its transaction that have ended
	own   bool          // it is loadQuery
}

// begun counts a statement that is sent now.
func (s *Source) begun(c *session) {
	l, now := &s.load, time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	c.stint.began = now
	l.running++
	l.begun += now.Sub(l.epoch)
	if !c.stint.own && l.on && !l.watching && l.watch.Err() == nil {
		l.watching = true
		l.wait.Go(s.watchLoad)
	}
}

// ready ends the statement, if one is counted. With over its transaction is over too, or its connection.
func (s *Source) ready(c *session, over bool) {
	l, now := &s.load, time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := &c.stint; !t.began.IsZero() {
		took := now.Sub(t.began)
		l.running--
		l.begun -= t.began.Sub(l.epoch)
		l.ended += took
		l.unsent += took
		t.open += took
		t.began = time.Time{}
		if !t.own {
			l.used = now
		}
	}
	if over {
		l.unsent -= c.stint.open
		c.stint.open = 0
	}
}

// worked is how long statements of ours were active, and how much of that active_time does not have. l.mu is held.
func (l *load) worked(now time.Time) (all, unsent time.Duration) {
	running := time.Duration(l.running)*now.Sub(l.epoch) - l.begun
	return l.ended + running, l.unsent + running
}

// WatchLoad has the source ask for active_time from now on, while statements of ours run.
func (s *Source) WatchLoad() {
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	s.load.on = true
}

// watchLoad measures until a mark has all that has run of ours.
func (s *Source) watchLoad() {
	l := &s.load
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	for {
		marked := time.Now()
		if !s.mark() {
			l.mu.Lock()
			l.on, l.watching, l.marks = false, false, nil
			l.mu.Unlock()
			return
		}
		select {
		case <-tick.C:
		case <-l.watch.Done():
			return
		}
		l.mu.Lock()
		if l.running == 0 && marked.Sub(l.used) > loadLate {
			l.watching = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

const loadQuery = `SELECT active_time, current_setting('track_activities') FROM pg_stat_database WHERE datname = current_database()`

// mark measures once. Where no connection is free it leaves it for the next time; false is that the server does not tell.
func (s *Source) mark() bool {
	select {
	case s.slots <- struct{}{}:
	default:
		return true
	}
	defer s.releaseSlot()
	ctx, cancel := context.WithTimeout(s.load.watch, s.load.every)
	defer cancel()
	var rs []result
	c, err := s.begin(ctx, func(c *session) (err error) {
		c.stint.own = true
		rs, err = c.run(ctx, []statement{stmt(loadQuery)})
		c.stint.own = false
		return err
	})
	if err != nil {
		if state := sqlstate(err); state != "" && state[:2] == "42" { // older than 14, or kept from the role
			s.log.Info("the source does not tell how much it works: the share of its load that is ours is not known", "reason", s.redact(err).Error())
			return false
		}
		return true
	}
	s.keep(c)
	if len(rs[0].rows) != 1 || rs[0].rows[0][0] == nil || rs[0].text(0, 1) != "on" {
		s.log.Info("the source does not track its activity (track_activities): the share of its load that is ours is not known")
		return false
	}
	ms, err := strconv.ParseFloat(rs[0].text(0, 0), 64)
	if err != nil {
		return false
	}
	s.load.add(time.Duration(ms * float64(time.Millisecond)))
	return true
}

// add notes active_time.
func (l *load) add(server time.Duration) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.marks); n > 0 && l.marks[n-1].server > server {
		l.marks = nil // the statistics were reset
	}
	ours, unsent := l.worked(now)
	l.marks = append(l.marks, loadMark{at: now, ours: ours, total: server + unsent, server: server})
	l.forget(now)
}

// forget drops the marks that say nothing of the present any more: those before the last one that lies a window back.
func (l *load) forget(now time.Time) {
	from := 0
	for i, m := range l.marks {
		if age := now.Sub(m.at); age >= 2*l.window {
			from = i + 1
		} else if age >= l.window {
			from = i
		}
	}
	l.marks = l.marks[from:]
}

// Load is source.Loaded's.
func (s *Source) Load() source.Load {
	l, now := &s.load, time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	ours, _ := l.worked(now)
	return source.Load{Worked: ours, Share: l.share(now)}
}

// share is -1 where it is not known. l.mu is held.
func (l *load) share(now time.Time) float64 {
	l.forget(now)
	switch {
	case !l.on:
		return -1
	case l.running == 0 && now.Sub(l.used) >= l.window:
		return 0
	case len(l.marks) < 2:
		return -1
	}
	first, last := l.marks[0], l.marks[len(l.marks)-1]
	ours := last.ours - first.ours
	// The server tells what it has a moment late, so the whole may seem less than its part.
	total := max(last.total-first.total, ours)
	if total <= 0 {
		return 0
	}
	return float64(ours) / float64(total)
}

// end stops the measuring.
func (l *load) end() {
	l.stop()
	l.wait.Wait()
}
