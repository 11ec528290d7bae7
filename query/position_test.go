package query

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// fakeReplicas has one replica: t.
type fakeReplicas struct {
	mu     sync.Mutex
	at     change.Position
	behind map[string]string
	moved  chan struct{}
	broken error // why it does not come on
}

func newFakeReplicas() *fakeReplicas { return &fakeReplicas{moved: make(chan struct{})} }

func (f *fakeReplicas) Standing(dataset string) (change.Position, map[string]string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at, f.behind, dataset == "t" || dataset == "hidden"
}

func (f *fakeReplicas) WaitFor(ctx context.Context, _ string, lsn change.LSN) error {
	for {
		f.mu.Lock()
		at, moved := f.at.LSN, f.moved
		f.mu.Unlock()
		if at >= lsn {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			if f.broken != nil {
				return f.broken
			}
			return context.Cause(ctx)
		}
	}
}

func (f *fakeReplicas) move(at change.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = at
	close(f.moved)
	f.moved = make(chan struct{})
}

func position(lsn change.LSN) change.Position {
	return change.Position{LSN: lsn, CommittedAt: time.UnixMicro(int64(lsn) * 1000).UTC(), System: "7", Timeline: 1}
}

// save puts lsn into the table's only row and beside it, as a batch does.
func save(t testing.TB, st *store.Store, lsn change.LSN) {
	require.NoError(t, st.Commit(context.Background(), func(tx *store.Tx) error {
		if _, err := tx.Exec("UPDATE t SET i = ?", int64(lsn)); err != nil {
			return err
		}
		return tx.SavePosition("t", position(lsn))
	}))
}

// The position told is exactly that of the rows read, however fast the copy moves on.
func TestPositionIsThatOfTheRows(t *testing.T) {
	f := newFakeReplicas()
	c, st := newCore(t, Options{Replicas: f}, access.Limits{})
	require.NoError(t, st.Commit(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("DELETE FROM t WHERE i > 0")
		return err
	}))
	save(t, st, 10)
	stop := atomic.Bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for lsn := change.LSN(20); !stop.Load(); lsn += 10 {
			save(t, st, lsn)
			f.move(position(lsn))
			f.move(position(lsn + 5)) // nothing to be applied
		}
	})
	defer wg.Wait()
	defer stop.Store(true)
	seen := map[string]bool{}
	for range 300 {
		rows, r, err := run(t, c, Request{SQL: "SELECT i FROM t", Positions: true})
		require.NoError(t, err)
		i, err := strconv.ParseUint(rows[0][0], 10, 64)
		require.NoError(t, err)
		got := r.Positions()["t"]
		require.Contains(t, []change.LSN{change.LSN(i), change.LSN(i) + 5}, got.LSN, "the row says %d", i)
		require.Equal(t, position(got.LSN).CommittedAt, got.CommittedAt)
		require.Empty(t, got.Behind)
		seen[rows[0][0]] = true

		want := got.LSN + 7
		_, r, err = run(t, c, Request{SQL: "SELECT i FROM t", MinLSN: map[string]change.LSN{"t": want}})
		require.NoError(t, err)
		require.GreaterOrEqual(t, r.Positions()["t"].LSN, want)
	}
	require.Greater(t, len(seen), 10)
}

func TestMinLSN(t *testing.T) {
	f := newFakeReplicas()
	c, st := newCore(t, Options{Replicas: f}, access.Limits{})
	ask := func(req Request) (map[string]Position, error) {
		t.Helper()
		req.Positions = true
		if req.SQL == "" {
			req.SQL = "SELECT count(*) FROM t"
		}
		_, r, err := run(t, c, req)
		if err != nil {
			return nil, err
		}
		return r.Positions(), nil
	}
	at := func(lsn change.LSN) map[string]change.LSN { return map[string]change.LSN{"t": lsn} }

	got, err := ask(Request{})
	require.NoError(t, err)
	require.Empty(t, got, "it is not copied yet")
	_, err = ask(Request{MinLSN: at(0)})
	require.NoError(t, err, "nothing is asked for")
	save(t, st, 100)
	f.move(position(100))
	got, err = ask(Request{MinLSN: at(100)})
	require.NoError(t, err)
	require.Equal(t, map[string]Position{"t": {LSN: 100, CommittedAt: position(100).CommittedAt}}, got)
	got, err = ask(Request{SQL: "SELECT 1", MinLSN: at(100)})
	require.NoError(t, err)
	require.Empty(t, got)

	// Later ones are waited for, and told of when they do not come.
	_, err = ask(Request{MinLSN: at(200), Deadline: 50 * time.Millisecond})
	require.ErrorIs(t, err, ErrBehind)
	require.Equal(t, fault.Limit, fault.CodeOf(err))
	require.ErrorContains(t, err, "read dataset t at 0/C8 or later: it is at 0/64 after 50ms")
	f.broken = fault.New(fault.Unavailable, "start it", "the source is away")
	_, err = ask(Request{MinLSN: at(200), Deadline: 50 * time.Millisecond})
	require.Equal(t, f.broken, err)
	f.broken = nil
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fault.New(fault.Cancelled, "", "the client is gone"))
	_, err = c.Run(ctx, reader, Request{SQL: "SELECT 1", MinLSN: at(200)})
	require.Equal(t, fault.Cancelled, fault.CodeOf(err))
	done := make(chan error, 1)
	go func() {
		_, err := ask(Request{MinLSN: at(200), Deadline: 20 * time.Second})
		done <- err
	}()
	require.Eventually(t, func() bool { return len(c.List()) == 1 && c.List()[0].Waiting }, 10*time.Second, time.Millisecond)
	save(t, st, 200)
	f.move(position(200))
	require.NoError(t, <-done)

	// What may not be known of, follows nothing or does not exist reads the same.
	texts := map[string]bool{}
	for _, name := range []string{"hidden", "nothing"} {
		_, err = ask(Request{MinLSN: map[string]change.LSN{name: 1}})
		require.Equal(t, fault.Usage, fault.CodeOf(err))
		texts[fmt.Sprint(err.Error()[:20], fault.HintOf(err))] = true
	}
	require.Len(t, texts, 1)

	// Another source's positions are not compared.
	other := position(9000)
	other.System = "8"
	f.move(other)
	got, err = ask(Request{})
	require.NoError(t, err)
	require.Equal(t, change.LSN(200), got["t"].LSN)
	_, err = ask(Request{MinLSN: at(300)})
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	f.move(position(200))

	// Tables that are older than the position.
	for _, how := range []string{"known", "in the file"} {
		if how == "known" {
			f.behind = map[string]string{"T": "it is in quarantine"}
		} else {
			f.behind = nil
			require.NoError(t, st.Commit(t.Context(), func(tx *store.Tx) error { return tx.SaveTable(store.TableState{Target: "t", Dataset: "t"}) }))
		}
		got, err = ask(Request{SQL: "SELECT count(*) FROM T"})
		require.NoError(t, err)
		require.Equal(t, []string{"t"}, got["t"].Behind, how)
		_, err = ask(Request{MinLSN: at(100)})
		require.Equal(t, fault.Unavailable, fault.CodeOf(err), how)
	}
	require.NoError(t, st.Commit(t.Context(), func(tx *store.Tx) error { return tx.SetWatermark("t", []byte(`{"oid":1}`)) }))
	_, err = ask(Request{MinLSN: at(100)})
	require.NoError(t, err)

	// All is copied anew.
	require.NoError(t, st.Commit(t.Context(), func(tx *store.Tx) error { return tx.DeletePosition("t") }))
	_, err = ask(Request{MinLSN: at(100)})
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))

	without, _ := newCore(t, Options{}, access.Limits{})
	_, _, err = run(t, without, Request{SQL: "SELECT 1", MinLSN: at(1)})
	require.Equal(t, fault.Usage, fault.CodeOf(err))
}

// A statement that fails in its transaction is tried in another one.
func TestPositionAfterAFailure(t *testing.T) {
	f := newFakeReplicas()
	c, st := newCore(t, Options{Replicas: f}, access.Limits{})
	save(t, st, 100)
	_, _, err := run(t, c, Request{SQL: "SELECT CAST(word AS INTEGER) FROM t"})
	require.Equal(t, fault.InvalidSQL, fault.CodeOf(err))
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT count(*) FROM t", Positions: true})
	require.NoError(t, err)
	defer r.Close()
	save(t, st, 200)
	r.stream.Close()
	require.Error(t, r.each("SELECT CAST(word AS INTEGER) FROM t", func(*store.ResultChunk, int) error { return nil }), "spoils the transaction")
	r.stream, err = r.execute() // as after a failure whose reason was lost
	require.NoError(t, err)
	require.Equal(t, change.LSN(200), r.Positions()["t"].LSN)
	_, n, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, 1, n)
}
