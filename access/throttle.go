package access

import (
	"sync"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

const (
	failuresFree = 5                // before the first wait
	waitMin      = time.Second      // after that many, doubling with each more
	waitMax      = time.Minute      //
	forgetAfter  = 10 * time.Minute // without a failure
	entriesMax   = 4096             // of one address and one name each; the oldest goes
)

// throttle counts failed logins by address and user together, so that nobody can lock another one out from elsewhere.
type throttle struct {
	mu      sync.Mutex
	entries map[throttleKey]*throttleEntry
	now     func() time.Time
}

type throttleKey struct{ remote, user string }

type throttleEntry struct {
	failures int
	last     time.Time
	until    time.Time
}

func newThrottle() *throttle {
	return &throttle{entries: map[throttleKey]*throttleEntry{}, now: time.Now}
}

func key(remote, user string) throttleKey {
	if len(user) > 64 {
		user = user[:64]
	}
	return throttleKey{remote, user}
}

// blocked is how long the next attempt has to wait; 0: go ahead.
func (t *throttle) blocked(remote, user string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.entries[key(remote, user)]; e != nil {
		return max(0, e.until.Sub(t.now()))
	}
	return 0
}

// failed counts a failure, and returns the wait that follows and whether it is to be logged: an attempt made while
// waiting neither lengthens the wait nor fills the log.
func (t *throttle) failed(remote, user string) (wait time.Duration, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, k := t.now(), key(remote, user)
	e := t.entries[k]
	if e == nil || now.Sub(e.last) > forgetAfter {
		if e == nil && len(t.entries) >= entriesMax {
			t.evict(now)
		}
		e = &throttleEntry{}
		t.entries[k] = e
	}
	if left := e.until.Sub(now); left > 0 {
		return left, false
	}
	e.failures++
	e.last = now
	if over := e.failures - failuresFree; over >= 0 {
		wait = min(waitMax, waitMin<<min(over, 10))
		e.until = now.Add(wait)
	}
	return wait, true
}

func (t *throttle) forget(remote, user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.entries, key(remote, user))
}

// evict makes room: everything old, else the oldest.
func (t *throttle) evict(now time.Time) {
	var oldest throttleKey
	var at time.Time
	for k, e := range t.entries {
		if now.Sub(e.last) > forgetAfter {
			delete(t.entries, k)
		} else if at.IsZero() || e.last.Before(at) {
			oldest, at = k, e.last
		}
	}
	if len(t.entries) >= entriesMax {
		delete(t.entries, oldest)
	}
}

func tooMany(wait time.Duration) error {
	return fault.New(fault.Limit, "wait, then send the right credentials", "too many failed logins; try again in %s", wait.Round(time.Second))
}
