package query

import (
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// Pause says that no rows will be taken for a while: a cursor is left open between two fetches. The slot is given to others; Next
// waits for one again, as a statement does that arrives.
func (r *Result) Pause() {
	if !r.admitted || r.paused || r.closed {
		return
	}
	r.paused = true
	r.spans.event("paused")
	r.core.admission.release(r.who.Role)
}

// resume waits for a slot after a Pause.
func (r *Result) resume() error {
	if !r.paused {
		return nil
	}
	c := r.core
	wait := time.AfterFunc(c.opts.Wait, func() {
		r.cancel(fault.New(fault.Unavailable, "try again shortly", "the statement waited %s for others to end", c.opts.Wait))
	})
	defer wait.Stop()
	if err := c.admission.acquire(r.ctx, r.who.Role, r.limits.Concurrency); err != nil {
		return r.reason(err)
	}
	r.paused = false
	r.spans.event("resumed")
	return nil
}
