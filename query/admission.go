package query

import (
	"context"
	"sync"

	"github.com/pintaildb/pintail/internal/fault"
)

// admission hands out slots, first come first served. DuckDB runs one statement on all its threads, so more of them at
// once are not faster, only later: they wait here, where they cost nothing. A waiter whose role already has its own
// number of statements under way is passed by, so that it holds up nobody else.
type admission struct {
	slots, queueMax int

	mu      sync.Mutex
	running int
	byRole  map[string]int
	waiting []*waiter // in order of arrival; at most queueMax
}

type waiter struct {
	role    string
	roleMax int           // 0: no limit of its own
	ready   chan struct{} // closed when the slot is its own
}

func newAdmission(slots, queueMax int) *admission {
	return &admission{slots: slots, queueMax: queueMax, byRole: map[string]int{}}
}

// acquire waits for a slot until ctx ends; its error is then ctx's cause. With a full queue it returns
// fault.Unavailable at once.
func (a *admission) acquire(ctx context.Context, role string, roleMax int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w := &waiter{role: role, roleMax: roleMax, ready: make(chan struct{})}
	a.mu.Lock()
	if len(a.waiting) >= a.queueMax && !a.fits(w) {
		a.mu.Unlock()
		return fault.New(fault.Unavailable, "try again shortly", "%d statements run and %d wait already", a.slots, a.queueMax)
	}
	a.waiting = append(a.waiting, w)
	a.admit()
	a.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, other := range a.waiting {
		if other == w {
			a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
			return context.Cause(ctx)
		}
	}
	a.free(role) // it was admitted in the same moment
	return context.Cause(ctx)
}

func (a *admission) release(role string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free(role)
}

// free, fits and admit need mu.
func (a *admission) free(role string) {
	a.running--
	if a.byRole[role]--; a.byRole[role] == 0 {
		delete(a.byRole, role)
	}
	a.admit()
}

func (a *admission) fits(w *waiter) bool {
	return a.running < a.slots && (w.roleMax == 0 || a.byRole[w.role] < w.roleMax)
}

func (a *admission) admit() {
	rest := a.waiting[:0]
	for _, w := range a.waiting {
		if !a.fits(w) {
			rest = append(rest, w)
			continue
		}
		a.running++
		a.byRole[w.role]++
		close(w.ready)
	}
	clear(a.waiting[len(rest):])
	a.waiting = rest
}

func (a *admission) counts() (running, waiting int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running, len(a.waiting)
}
