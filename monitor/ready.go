package monitor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// Checks are what must hold for the server to be ready. Add may be called at any time, Run from any goroutine.
type Checks struct {
	timeout time.Duration // of each

	mu  sync.Mutex
	all map[string]*check
}

type check struct {
	fn      func(ctx context.Context) error
	running chan struct{} // holds one token while fn runs
}

// NewChecks makes an empty list; each check gets timeout.
func NewChecks(timeout time.Duration) *Checks {
	return &Checks{timeout: timeout, all: map[string]*check{}}
}

// Add adds or replaces a check. Its errors are shown to anybody who asks whether the server is ready, so they name
// neither hosts nor people.
func (c *Checks) Add(name string, fn func(ctx context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[name] = &check{fn: fn, running: make(chan struct{}, 1)}
}

// Run runs all checks side by side and returns each one's result; nil is good. A check that does not return in time, or
// still hangs from before, has failed: nothing waits for it, and it is not started a second time.
func (c *Checks) Run(ctx context.Context) map[string]error {
	c.mu.Lock()
	all := make(map[string]*check, len(c.all))
	for name, ch := range c.all {
		all[name] = ch
	}
	c.mu.Unlock()
	out := make(map[string]error, len(all))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, ch := range all {
		wg.Go(func() {
			err := ch.run(ctx, c.timeout)
			mu.Lock()
			out[name] = err
			mu.Unlock()
		})
	}
	wg.Wait()
	return out
}

func (ch *check) run(ctx context.Context, timeout time.Duration) error {
	ctx, stop := context.WithTimeout(ctx, timeout)
	select {
	case ch.running <- struct{}{}:
	case <-ctx.Done():
		stop()
		return fault.New(fault.Unavailable, "", "no answer for more than %s", timeout)
	}
	result := make(chan error, 1)
	go func() {
		defer stop()
		defer func() { <-ch.running }()
		defer func() {
			if p := recover(); p != nil {
				result <- fmt.Errorf("the check panicked: %v", p)
			}
		}()
		result <- ch.fn(ctx)
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result: // the check's end cancels its context
		return err
	default:
		return fault.New(fault.Unavailable, "", "no answer within %s", timeout)
	}
}
