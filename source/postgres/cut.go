package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

// recentMax is how many transactions are remembered for a cut. One is visible to snapshots a moment after it was sent, as
// long as a synchronous standby takes to confirm it: this is six seconds at ten thousand a second.
const recentMax = 1 << 16

// control is what other goroutines ask of the receiving one: where to hold, and a cut.
type control struct {
	poked chan struct{} // something was asked
	turn  chan struct{} // holds the one cut that there may be

	mu     sync.Mutex
	hold   change.LSN // StreamOptions.Until
	cut    *cut
	recent []uint32 // xids of the transactions gathered last, in a ring
	oldest int      // of recent, once it is full

	eager bool // of the receiving goroutine: someone waits for a keepalive
}

func (c *control) init(until change.LSN) {
	c.poked, c.turn, c.hold = make(chan struct{}, 1), make(chan struct{}, 1), until
}

func (c *control) until() change.LSN {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hold
}

// remember notes a transaction that was gathered.
func (c *control) remember(xid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.recent) < recentMax {
		c.recent = append(c.recent, xid)
		return
	}
	c.recent[c.oldest] = xid
	c.oldest = (c.oldest + 1) % recentMax
}

// Extend is source.Stream's.
func (s *changeStream) Extend(until change.LSN) {
	s.mu.Lock()
	s.hold = until
	s.mu.Unlock()
	s.poke()
	s.ask()
}

// phase is how far a cut is.
type phase int

const (
	cutWanted  phase = iota
	cutHeld          // the stream stands still between two transactions
	cutResumed       // it goes on towards the boundary
	cutPlaced        // the boundary is placed, and the snapshot's end not passed yet
	cutEnded
)

// cut is a source.Cut. The stream's mu guards it.
type cut struct {
	id     uint64
	stream *changeStream
	phase  phase
	view   source.View
	still  chan struct{} // closed when held
	done   chan struct{} // closed when ended
	err    error         // why without success
}

// cuts counts them, so that none is taken for another one.
var cuts atomic.Uint64

// ID is source.Cut's.
func (c *cut) ID() uint64 { return c.id }

var errCutClosed = errors.New("the cut was given up")

// Cut is source.Stream's.
func (s *changeStream) Cut(ctx context.Context) (source.Cut, error) {
	select {
	case s.turn <- struct{}{}:
	case <-s.over:
		return nil, s.failure
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c := &cut{id: cuts.Add(1), stream: s, still: make(chan struct{}), done: make(chan struct{})}
	s.mu.Lock()
	s.cut = c
	s.mu.Unlock()
	s.poke()
	select {
	case <-c.still:
		return c, nil
	case <-s.over:
		c.Close()
		return nil, s.failure
	case <-ctx.Done():
		c.Close()
		return nil, context.Cause(ctx)
	}
}

// Resume is source.Cut's.
func (c *cut) Resume(v source.View) bool {
	s := c.stream
	s.mu.Lock()
	if c.phase != cutHeld {
		s.mu.Unlock()
		return true // it was given up, as Settled says
	}
	for _, xid := range s.recent {
		if !v.Sees(xid) {
			s.mu.Unlock()
			return false
		}
	}
	// All that came so far is visible for good.
	s.recent, s.oldest = s.recent[:0], 0
	c.view, c.phase = v, cutResumed
	s.mu.Unlock()
	s.poke()
	s.ask()
	return true
}

// Settled is source.Cut's.
func (c *cut) Settled(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-c.stream.over:
		return c.stream.failure
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close is source.Cut's.
func (c *cut) Close() {
	c.stream.mu.Lock()
	c.end(errCutClosed)
	c.stream.mu.Unlock()
	c.stream.poke()
}

// end lets the next cut come. The caller holds mu.
func (c *cut) end(err error) {
	if c.phase == cutEnded {
		return
	}
	c.phase, c.err, c.stream.cut = cutEnded, err, nil
	close(c.done)
	<-c.stream.turn
}

// misplaced is why a cut did not come about.
func misplaced() error {
	return fault.New(fault.SourceConflict, "This is tried again.",
		"two transactions became visible to a snapshot in another order than the log has them")
}

// next judges where the stream stands: everything whose commit record lies before end was received, and tx is the
// transaction that comes next, or nil. still says that the stream is to stand still, place that the batch is to be closed
// with the boundary, hold that tx does not lie before StreamOptions.Until.
func (s *changeStream) next(end change.LSN, tx *beginMessage) (still, place, hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.cut; c != nil {
		switch c.phase {
		case cutWanted:
			c.phase = cutHeld
			close(c.still)
			still = true
		case cutHeld:
			still = true
		case cutResumed:
			place = end >= c.view.End || tx != nil && !c.view.Sees(tx.xid)
		case cutPlaced:
			if end >= c.view.End {
				c.end(nil)
			} else if tx != nil && c.view.Sees(tx.xid) {
				c.end(misplaced())
			}
		case cutEnded:
		}
	}
	hold = tx != nil && s.hold != 0 && tx.commit >= s.hold
	s.eager = s.cut != nil && s.cut.phase >= cutResumed || s.hold != 0 && end < s.hold
	return still, place, hold
}

// notice tells a cut that the stream stands still, when it waits between two transactions for another reason.
func (s *changeStream) notice() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.cut; c != nil && c.phase == cutWanted {
		c.phase = cutHeld
		close(c.still)
	}
}

// between does what is due between two transactions; in one it does nothing. It returns when the stream may go on.
func (s *changeStream) between() error {
	if s.begun {
		return nil
	}
	for {
		s.move(s.passed)
		still, place, _ := s.next(s.passed, nil)
		switch {
		case place:
			if err := s.boundary(); err != nil {
				return err
			}
		case still:
			if err := s.pause(); err != nil {
				return err
			}
		default:
			return s.offer()
		}
	}
}

// gate lets a transaction begin.
func (s *changeStream) gate(tx *beginMessage) error {
	for {
		s.passed = max(s.passed, tx.commit)
		s.move(s.passed)
		still, place, hold := s.next(tx.commit, tx)
		var err error
		switch {
		case place:
			err = s.boundary()
		case still || hold:
			err = s.pause()
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pause stands still until something is asked. What was gathered is handed over in its time.
func (s *changeStream) pause() error {
	var want chan struct{}
	var due <-chan time.Time
	if wait, ok := s.due(); ok && wait == 0 {
		want = s.want
	} else if ok {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-want:
		return s.hand()
	case <-due:
	case <-s.poked:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	return nil
}

// boundary closes the batch where the cut's snapshot stands.
func (s *changeStream) boundary() error {
	for {
		select {
		case <-s.want:
			s.mu.Lock()
			if c := s.cut; c != nil && c.phase == cutResumed {
				c.phase = cutPlaced
				s.now.batch.Cut = c.id
			}
			s.mu.Unlock()
			return s.hand()
		case <-s.poked:
			s.mu.Lock()
			given := s.cut == nil || s.cut.phase != cutResumed
			s.mu.Unlock()
			if given {
				return nil
			}
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}
