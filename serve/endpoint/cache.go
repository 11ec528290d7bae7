package endpoint

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// Answer is a computed answer. Nothing in it is changed.
type Answer struct {
	Body        []byte
	ContentType string
	ETag        string            // "" is none
	Header      map[string]string // more of the answer's header
	Version     string            // of what it was read from; "" is not known
	Rows        int64
}

// Found is an answer, and how old it may be.
type Found struct {
	*Answer
	At     time.Time // what the answer says held then
	Cached bool      // it was there already, or another request's
}

// ErrTooLarge is the answer of Do for what is not kept: the caller computes it for itself.
var ErrTooLarge = errors.New("the answer is too large to be kept")

// Cache keeps answers, and has one computation under way for many who wait for the same. Its methods may be called from any goroutine.
type Cache struct {
	bytesMax int64

	mu      sync.Mutex
	bytes   int64
	entries map[string]*list.Element // of *entry
	recent  *list.List               // the least recently used at the back
	flights map[string]*flight
}

type entry struct {
	key    string
	answer *Answer   // nil: it is too large
	at     time.Time // as Found.At
	bytes  int64
}

// flight is a computation under way.
type flight struct {
	began  time.Time
	cancel context.CancelFunc
	refs   int           // those who wait; mu of the Cache
	done   chan struct{} // closed when answer and err are there
	answer *Answer
	err    error
}

// entryBytes is what an entry takes beside its body and key.
const entryBytes = 1 << 10

// NewCache keeps bytesMax bytes at most.
func NewCache(bytesMax int64) *Cache {
	return &Cache{bytesMax: bytesMax, entries: map[string]*list.Element{}, recent: list.New(), flights: map[string]*flight{}}
}

// AnswerMax is how long the body of an answer may be that is kept.
func (c *Cache) AnswerMax() int64 { return c.bytesMax / 8 }

// Bytes is what the kept answers take.
func (c *Cache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// Do gives an answer that held within ttl before it was called, or later. version names the state of what is read, now; "" is not known.
// compute gets a context that ends when nobody waits any more, whoever was first; its answer's version holds for the whole of it. An
// error is nobody's but of those who waited for it: it is not kept, except for ErrTooLarge, which is for ttl.
func (c *Cache) Do(ctx context.Context, key string, ttl time.Duration, version func() string, compute func(ctx context.Context) (*Answer, error)) (Found, error) {
	now := time.Now()
	c.mu.Lock()
	if el := c.entries[key]; el != nil {
		e := el.Value.(*entry)
		c.recent.MoveToFront(el)
		switch {
		case now.Sub(e.at) <= ttl && e.answer == nil:
			c.mu.Unlock()
			return Found{}, ErrTooLarge
		case now.Sub(e.at) <= ttl:
			found := Found{e.answer, e.at, true}
			c.mu.Unlock()
			return found, nil
		case e.answer != nil && e.answer.Version != "":
			c.mu.Unlock()
			same := version() == e.answer.Version
			c.mu.Lock()
			if same { // it holds at now as well
				if now.After(e.at) {
					e.at = now
				}
				found := Found{e.answer, e.at, true}
				c.mu.Unlock()
				return found, nil
			}
		}
	}
	f := c.flights[key]
	first := f == nil || now.Sub(f.began) > ttl
	if first {
		f = c.fly(ctx, key, now, compute)
	}
	f.refs++
	c.mu.Unlock()

	select {
	case <-f.done:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.refs--; f.refs == 0 {
		f.cancel()
		if c.flights[key] == f {
			delete(c.flights, key)
		}
	}
	select {
	case <-f.done:
		return Found{f.answer, f.began, !first}, f.err
	default:
		return Found{}, context.Cause(ctx)
	}
}

// fly starts a computation; mu is held.
func (c *Cache) fly(ctx context.Context, key string, now time.Time, compute func(ctx context.Context) (*Answer, error)) *flight {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{began: now, cancel: cancel, done: make(chan struct{})}
	c.flights[key] = f
	go func() {
		defer cancel()
		defer c.land(key, f)
		defer func() {
			if p := recover(); p != nil { // nobody else is on this goroutine to recover
				f.err = fmt.Errorf("the computation of an answer panicked: %v\n%s", p, debug.Stack())
			}
		}()
		f.answer, f.err = compute(run)
	}()
	return f
}

// land keeps what a computation has given, and tells those who wait.
func (c *Cache) land(key string, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[key] == f {
		delete(c.flights, key)
	}
	e := &entry{key: key, answer: f.answer, at: f.began, bytes: entryBytes + int64(len(key))}
	switch {
	case f.err == nil:
		e.bytes += int64(len(f.answer.Body))
		c.keep(e)
	case errors.Is(f.err, ErrTooLarge):
		e.answer = nil
		c.keep(e)
	}
	close(f.done)
}

func (c *Cache) keep(e *entry) {
	if el := c.entries[e.key]; el != nil {
		if el.Value.(*entry).at.After(e.at) {
			return
		}
		c.drop(el)
	}
	if e.bytes > c.bytesMax {
		return
	}
	c.entries[e.key] = c.recent.PushFront(e)
	c.bytes += e.bytes
	for c.bytes > c.bytesMax {
		c.drop(c.recent.Back())
	}
}

func (c *Cache) drop(el *list.Element) {
	e := el.Value.(*entry)
	c.recent.Remove(el)
	delete(c.entries, e.key)
	c.bytes -= e.bytes
}
