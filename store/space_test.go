package store

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// Readers whose statements overlap all the time must not keep deleted rows in the file for ever.
func TestDeletedRowsAreSqueezedOutUnderReaders(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{Threads: 2})
	load(t, s, "a", plainFeed(6, 50000, 2, 0))
	cols := plainFeed(1, 1, 1, 1).cols

	// Two readers, each with a transaction that ends only after the other has begun its next one.
	ends := make([]chan struct{}, 2)
	for i := range ends {
		ends[i] = make(chan struct{}, 1)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range ends {
		wg.Go(func() {
			for {
				err := s.with(func(se *Session) error {
					if _, err := se.exec(ctx, "BEGIN"); err != nil {
						return err
					}
					if n, err := se.queryInt(ctx, "SELECT count(*) FROM a"); err != nil || n != 300000 {
						t.Error(n, err)
					}
					select {
					case ends[1-i] <- struct{}{}:
					default:
					}
					select {
					case <-ends[i]:
					case <-time.After(20 * time.Millisecond): // the other one waits for its turn
					case <-stop:
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	most := int64(0)
	positions := func() (n int64) {
		if err := s.with(func(se *Session) (err error) {
			n, err = se.queryInt(ctx, "SELECT max(rowid) + 1 FROM a")
			return err
		}); err != nil {
			t.Error(err)
		}
		return n
	}
	for i := range 10 {
		f := plainFeed(1, 30000, 1, int64(i+1))
		row := f.row
		f.row = func(p, k int) [][]byte {
			r := row(p, k)
			r[0] = i64(int64((k*10 + i*7919) % 300000))
			return r
		}
		st := mustStage(t, s, "a", f, false)
		if err := s.Commit(ctx, func(tx *Tx) error {
			_, _, err := tx.Merge("a", st, []string{"id"}, cols)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		s.Discard(ctx, st)
		most = max(most, positions())
	}
	if s.quieted.IsZero() {
		t.Error("nobody was asked to wait")
	}
	if now := positions(); now >= most || now > 500000 {
		t.Errorf("%d rows take %d places; they took %d at most", 300000, now, most)
	}
	close(stop)
	wg.Wait()
}

// Nobody waits for long, and a load is never waited for.
func TestWaitingForQuietEnds(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	se := session(t, s)
	begin := time.Now()
	if err := s.quietly(ctx); fault.CodeOf(err) != fault.Unavailable {
		t.Error(err)
	}
	if d := time.Since(begin); d < quietWait || d > 5*quietWait {
		t.Errorf("it waited %v", d)
	}
	if _, err := s.CountRows(ctx, "none"); fault.CodeOf(err) != fault.ShapeMismatch {
		t.Error("the gate stayed closed", err)
	}
	se.Close()
	s.loading(1)
	begin = time.Now()
	if err := s.quietly(ctx); fault.CodeOf(err) != fault.Unavailable || time.Since(begin) > quietWait {
		t.Error(err, time.Since(begin))
	}
	s.loading(-1)
	if err := s.quietly(ctx); err != nil {
		t.Error(err)
	}
}
