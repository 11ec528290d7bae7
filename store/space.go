package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// The space of dropped tables and deleted rows is given back by checkpoints, under conditions:
//
//   - A table dropped by a swap is freed unless a transaction that began before is open. The checkpoint then fails, and is
//     tried again by the next Commit, Discard and Stage. So the file holds the new rows, the old ones and those being loaded.
//   - Deleted rows are only squeezed out when no transaction at all is open. With readers whose statements overlap all day this
//     never happens by itself; so when too much of a table is dead, new sessions wait a moment.
//
// FORCE CHECKPOINT is no way: it blocks all new transactions, readers too, until the last old one ends.

const (
	// checkpointLimit bounds the checkpoint after a swap, which only waits long when another checkpoint is at work.
	checkpointLimit = 30 * time.Second
	// quietWait is how long new sessions wait at most for the open ones to end.
	quietWait = time.Second
	// quietHold is how long after its begin they come in again.
	quietHold = 50 * time.Millisecond
	// quietAgain is how long it takes at least from one such wait to the next.
	quietAgain = time.Minute
	// deadRows is how many rows may be dead in any table; in a large one, half as many as are alive.
	deadRows = 200_000
)

// freeSpace gives back the space of dropped tables, if there are any and nobody needs them any more.
func (s *Store) freeSpace(ctx context.Context) {
	if !s.reclaim.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkpointLimit)
	defer cancel()
	if err := s.Checkpoint(ctx); err != nil {
		s.log.Debug("the space of dropped tables is not free yet", "error", err)
	}
}

// squeeze is called by the writer after a commit with the number of rows that it deleted in each table.
func (s *Store) squeeze(ctx context.Context, deleted map[string]int64) {
	dead := false
	for table, n := range deleted {
		if s.deleted[table] += n; s.deleted[table] < deadRows {
			continue
		}
		err := s.with(func(se *Session) error {
			// Row ids are positions, and given anew when dead rows are squeezed out.
			return se.query(ctx, fmt.Sprintf("SELECT count(*), coalesce(max(rowid) + 1, 0) FROM %s", s.table(table)), nil, func(r ownRow) error {
				live, positions := r.int(0), r.int(1)
				if positions-live > max(deadRows, live/2) {
					dead = true
				}
				s.deleted[table] = 0
				return nil
			})
		})
		if err != nil {
			delete(s.deleted, table) // dropped meanwhile
		}
	}
	if !dead || time.Since(s.quieted) < quietAgain {
		return
	}
	s.quieted = time.Now()
	if err := s.quietly(ctx); err != nil {
		s.log.Info("the space of deleted rows is not free yet", "error", err)
	}
}

// quietly begins a checkpoint at a moment when no session is open. New ones wait for that, and no longer.
func (s *Store) quietly(ctx context.Context) error {
	s.mu.Lock()
	if s.loads > 0 {
		s.mu.Unlock()
		return fault.New(fault.Unavailable, "", "a load is under way")
	}
	gate := make(chan struct{})
	s.gate = gate
	s.mu.Unlock()
	open := sync.OnceFunc(func() {
		s.mu.Lock()
		s.gate = nil
		s.mu.Unlock()
		close(gate)
	})
	defer open()
	t := time.NewTicker(quietWait / 500)
	defer t.Stop()
	for begin := time.Now(); ; {
		se, n, err := s.connectAlone()
		if err != nil {
			return err
		}
		if se != nil {
			defer se.Close()
			// What the checkpoint does is decided as it begins; who comes later does not disturb it.
			defer time.AfterFunc(quietHold, open).Stop()
			_, err = se.exec(ctx, "CHECKPOINT "+quote(s.catalog))
			return err
		}
		if time.Since(begin) > quietWait {
			return fault.New(fault.Unavailable, "", "%d sessions did not end within %s", n, quietWait)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// connectAlone connects past the gate when no session is open, else it says how many are.
func (s *Store) connectAlone() (*Session, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.open); n > 0 {
		return nil, n, nil
	}
	se, err := s.connectLocked(own)
	return se, 0, err
}
