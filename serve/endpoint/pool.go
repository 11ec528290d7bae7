package endpoint

import (
	"context"
	"sync"
	"time"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/store"
)

// Pool keeps prepared statements between requests, by endpoint and caller: preparing takes longer than a point query. Its methods may be
// called from any goroutine.
type Pool struct {
	core *query.Core

	mu    sync.Mutex
	idle  []idle // the longest unused first
	timer *time.Timer
}

type idle struct {
	key   poolKey
	st    *query.Statement
	since time.Time
}

type poolKey struct {
	revision string
	who      access.Principal
}

// A statement holds a connection, and the plan over tables as they were.
const (
	idleMax  = 64
	idleTime = 30 * time.Second
)

// NewPool is empty.
func NewPool(core *query.Core) *Pool { return &Pool{core: core} }

// Take gives a statement to one request, which gives it back with Put once its result is closed.
func (p *Pool) Take(ctx context.Context, e *Endpoint, who access.Principal) (*query.Statement, error) {
	key := poolKey{e.Revision, who}
	p.mu.Lock()
	for i := len(p.idle) - 1; i >= 0; i-- {
		if p.idle[i].key == key {
			st := p.idle[i].st
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			p.mu.Unlock()
			return st, nil
		}
	}
	p.mu.Unlock()
	return p.core.Session("http", who, store.Settings{}).Prepare(ctx, e.SQL)
}

// Put takes a statement back; one that is not to be used again is closed by the caller instead.
func (p *Pool) Put(e *Endpoint, who access.Principal, st *query.Statement) {
	p.mu.Lock()
	p.idle = append(p.idle, idle{poolKey{e.Revision, who}, st, time.Now()})
	drop := p.cut(len(p.idle) - idleMax)
	if p.timer == nil {
		p.timer = time.AfterFunc(idleTime, func() { p.Sweep(false) })
	}
	p.mu.Unlock()
	for _, d := range drop {
		d.st.Close()
	}
}

// Sweep closes what nobody has used for a while; all of it with all.
func (p *Pool) Sweep(all bool) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && (all || time.Since(p.idle[n].since) > idleTime) {
		n++
	}
	drop := p.cut(n)
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if len(p.idle) > 0 {
		p.timer = time.AfterFunc(idleTime, func() { p.Sweep(false) })
	}
	p.mu.Unlock()
	for _, d := range drop {
		d.st.Close()
	}
}

// cut takes the first n out.
func (p *Pool) cut(n int) []idle {
	if n <= 0 {
		return nil
	}
	drop := append([]idle(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	return drop
}
