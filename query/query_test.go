package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

var reader = access.Principal{User: "ann", Role: "reader"}

func newCore(t testing.TB, o Options, limits access.Limits) (*Core, *store.Store) {
	t.Helper()
	ctx := context.Background()
	st, err := store.Open(ctx, store.Options{Path: filepath.Join(t.TempDir(), "q.duckdb"), MemoryLimit: 1 << 30, Threads: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close(ctx)) })
	require.NoError(t, st.Commit(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec("CREATE TABLE t AS SELECT i, 'row ' || i AS word FROM range(10000) r(i)")
		return err
	}))
	tables := access.Tables{}
	tables.Add("main", "t", "t")
	tables.Add("main", "hidden", "hidden")
	acc, err := access.New(access.Config{Catalog: "q", Resolver: tables, Users: []access.User{{Name: "ann", Password: "x", Role: "reader"}},
		Roles: []access.Role{{Name: "reader", Read: []string{"t"}, Limits: limits}}}, nil, nil)
	require.NoError(t, err)
	return New(st, acc, o), st
}

// all reads a result to its end.
func all(t *testing.T, r *Result) (rows [][]string, err error) {
	t.Helper()
	defer r.Close()
	for {
		chunk, n, err := r.Next()
		if chunk == nil || err != nil {
			return rows, err
		}
		require.LessOrEqual(t, n, chunk.Len())
		for i := range n {
			var row []string
			for c := range r.Columns() {
				row = append(row, string(chunk.AppendJSON(nil, c, i)))
			}
			rows = append(rows, row)
		}
	}
}

func run(t *testing.T, c *Core, req Request) ([][]string, *Result, error) {
	t.Helper()
	r, err := c.Run(t.Context(), reader, req)
	if err != nil {
		return nil, nil, err
	}
	rows, err := all(t, r)
	return rows, r, err
}

// slow never ends by itself and gives no row.
const slow = "SELECT count(*) FROM range(1000000000000) a, t"

func TestRun(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c, _ := newCore(t, Options{Registerer: reg}, access.Limits{})
	rows, r, err := run(t, c, Request{SQL: "SELECT i, word FROM t WHERE i IN ($1, $2) ORDER BY i", Params: []any{json.Number("7"), "9"}})
	require.NoError(t, err)
	require.Equal(t, [][]string{{"7", `"row 7"`}, {"9", `"row 9"`}}, rows)
	require.Equal(t, []store.ResultColumn{{Name: "i", Type: "BIGINT"}, {Name: "word", Type: "VARCHAR"}}, r.Columns())
	require.Equal(t, []string{"t"}, r.Datasets())
	require.False(t, r.Truncated())

	rows, _, err = run(t, c, Request{SQL: "SELECT count(*) FROM t WHERE i < $top", Named: map[string]any{"top": json.Number("50")}})
	require.NoError(t, err)
	require.Equal(t, [][]string{{"50"}}, rows)

	_, _, err = run(t, c, Request{SQL: "SELECT * FROM hidden"})
	require.Equal(t, fault.Forbidden, fault.CodeOf(err))
	_, _, err = run(t, c, Request{SQL: "SELEC 1"})
	require.Equal(t, fault.InvalidSQL, fault.CodeOf(err))
	_, _, err = run(t, c, Request{SQL: "SELECT i FROM t WHERE i = $1"})
	require.Equal(t, fault.InvalidSQL, fault.CodeOf(err))
	_, _, err = run(t, c, Request{SQL: "DELETE FROM t"})
	require.Equal(t, fault.Forbidden, fault.CodeOf(err))
	_, _, err = run(t, c, Request{SQL: "SELECT CAST(word AS INTEGER) FROM t"}) // fails while it runs
	require.Equal(t, fault.InvalidSQL, fault.CodeOf(err))

	require.Empty(t, c.List())
	running, waiting := c.admission.counts()
	require.Equal(t, [2]int{}, [2]int{running, waiting})
	require.Equal(t, 2.0, testutil.ToFloat64(c.metrics.ends.WithLabelValues("ok")))
	require.Equal(t, 3.0, testutil.ToFloat64(c.metrics.ends.WithLabelValues("invalid_sql")))
	require.Equal(t, 2.0, testutil.ToFloat64(c.metrics.ends.WithLabelValues("forbidden")))
	require.Equal(t, 3.0, testutil.ToFloat64(c.metrics.rows))
}

// truncated says whether there was more, not merely that the limit was reached.
func TestRowLimit(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{Rows: 5000})
	for _, k := range []struct {
		n, limit, want int64
		truncated      bool
	}{
		{10, 0, 10, false}, {10, 10, 10, false}, {10, 9, 9, true}, {5000, 0, 5000, false}, {5001, 0, 5000, true}, {10000, 6000, 5000, true},
		{4096, 2048, 2048, true}, {2048, 2048, 2048, false}, {4096, 4096, 4096, false}, {10000, 1, 1, true}, {0, 5, 0, false},
	} {
		rows, r, err := run(t, c, Request{SQL: fmt.Sprintf("SELECT i FROM t WHERE i < %d", k.n), Limit: k.limit})
		require.NoError(t, err)
		require.Len(t, rows, int(k.want), "%+v", k)
		require.Equal(t, k.truncated, r.Truncated(), "%+v", k)
		require.Equal(t, k.want, r.Rows())
	}
}

func TestTimeLimits(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{Time: 50 * time.Millisecond})
	_, _, err := run(t, c, Request{SQL: slow})
	require.Equal(t, fault.Limit, fault.CodeOf(err))
	require.ErrorContains(t, err, `longer than role "reader" may: 50ms`)

	c, _ = newCore(t, Options{}, access.Limits{})
	_, _, err = run(t, c, Request{SQL: slow, Deadline: 50 * time.Millisecond})
	require.Equal(t, fault.Limit, fault.CodeOf(err))
	require.ErrorContains(t, err, "within its deadline of 50ms")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Run(ctx, reader, Request{SQL: slow})
	require.Equal(t, fault.Limit, fault.CodeOf(err))
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = c.Run(ctx, reader, Request{SQL: slow})
	require.Equal(t, fault.Cancelled, fault.CodeOf(err))
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, c.List())
}

// The limit holds also for a result whose reader takes its time between rows.
func TestTimeLimitWhileStreaming(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{Time: 50 * time.Millisecond})
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT * FROM range(1000000000000)"})
	require.NoError(t, err)
	defer r.Close()
	for err == nil {
		_, _, err = r.Next()
	}
	require.Equal(t, fault.Limit, fault.CodeOf(err))
	require.Positive(t, r.Rows())
	_, _, again := r.Next()
	require.Equal(t, err, again)
}

func TestResultBytes(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{ResultBytes: 100})
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT i FROM t"})
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, r.Sent(100))
	err = r.Sent(1)
	require.Equal(t, fault.Limit, fault.CodeOf(err))
	_, _, next := r.Next()
	require.Equal(t, err, next)
}

func TestListAndKill(t *testing.T) {
	c, _ := newCore(t, Options{Concurrency: 1}, access.Limits{})
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT * FROM range(1000000000000)"})
	require.NoError(t, err)
	defer r.Close()
	_, n, err := r.Next()
	require.NoError(t, err)
	require.NoError(t, r.Sent(17))

	waited := make(chan error, 1)
	go func() {
		_, err := c.Run(t.Context(), reader, Request{SQL: "SELECT 1"})
		waited <- err
	}()
	require.Eventually(t, func() bool { return len(c.List()) == 2 }, 10*time.Second, time.Millisecond)
	list := c.List()
	require.Equal(t, Running{ID: r.ID(), User: "ann", Role: "reader", SQL: "SELECT * FROM range(1000000000000)", Since: list[0].Since, Started: time.Unix(0, r.started.Load()), Rows: int64(n), Bytes: 17}, list[0])
	require.True(t, list[1].Waiting)

	require.NoError(t, c.Kill(list[1].ID, "root")) // while it waits
	err = <-waited
	require.Equal(t, fault.Cancelled, fault.CodeOf(err))
	require.ErrorContains(t, err, "killed by root")

	require.NoError(t, c.Kill(r.ID(), "root")) // while it runs
	for err = nil; err == nil; {
		_, _, err = r.Next()
	}
	require.ErrorContains(t, err, "killed by root")
	r.Close()
	r.Close()
	require.Equal(t, fault.NotFound, fault.CodeOf(c.Kill(r.ID(), "root")))
}

func TestWaiting(t *testing.T) {
	c, _ := newCore(t, Options{Concurrency: 1, Queue: 1, Wait: 50 * time.Millisecond}, access.Limits{})
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT 1"})
	require.NoError(t, err)
	_, err = c.Run(t.Context(), reader, Request{SQL: "SELECT 2"})
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	require.ErrorContains(t, err, "waited 50ms")
	r.Close()
	rows, _, err := run(t, c, Request{SQL: "SELECT 3"})
	require.NoError(t, err)
	require.Equal(t, [][]string{{"3"}}, rows)
}

func TestRoleConcurrency(t *testing.T) {
	c, _ := newCore(t, Options{Concurrency: 4, Wait: 50 * time.Millisecond}, access.Limits{Concurrency: 1})
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT 1"})
	require.NoError(t, err)
	defer r.Close()
	_, err = c.Run(t.Context(), reader, Request{SQL: "SELECT 2"})
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	other, err := c.Run(t.Context(), access.Local(), Request{SQL: "SELECT 2"})
	require.NoError(t, err)
	other.Close()
}

// Readers go on while tables are swapped under them, and each result is of one state.
func TestReadersBesideAWriter(t *testing.T) {
	c, st := newCore(t, Options{Concurrency: 4}, access.Limits{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for i := 0; gctx.Err() == nil; i++ {
			err := st.Commit(context.WithoutCancel(gctx), func(tx *store.Tx) error {
				_, err := tx.Exec(fmt.Sprintf("CREATE OR REPLACE TABLE t AS SELECT %d AS i, 'x' AS word FROM range(5000)", i))
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	readers, rctx := errgroup.WithContext(gctx)
	for range 8 {
		readers.Go(func() error {
			for range 30 {
				r, err := c.Run(rctx, reader, Request{SQL: "SELECT count(DISTINCT i) = 1 OR count(*) = 10000 FROM t"})
				if err != nil {
					return err
				}
				rows, err := all(t, r)
				if err != nil {
					return err
				}
				if len(rows) != 1 || rows[0][0] != "true" {
					return fmt.Errorf("a mix of states: %v", rows)
				}
			}
			return nil
		})
	}
	require.NoError(t, readers.Wait())
	stop()
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		require.NoError(t, err)
	}
}

func TestShorten(t *testing.T) {
	long := ""
	for len(long) < 3000 {
		long += "é"
	}
	got := shorten(long)
	require.Contains(t, got, "… (3000 bytes)")
	require.Equal(t, long[:2000], got[:2000])
	require.Equal(t, "SELECT 1", shorten("SELECT 1"))
}

// DuckDB's threads interrupt each other when one fails; the reader is told why all the same.
func TestReasonOfAFailure(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	for range 100 {
		_, _, err := run(t, c, Request{SQL: "SELECT CASE WHEN i < 100000 THEN i ELSE CAST('x' || i AS INTEGER) END FROM range(400000) r(i)"})
		require.Equal(t, fault.InvalidSQL, fault.CodeOf(err))
		if err.Error() != "the statement failed while it ran" { // after the first rows there is no second try
			require.ErrorContains(t, err, "Could not convert string")
		}
		_, _, err = run(t, c, Request{SQL: "SELECT max(CASE WHEN i < 300000 THEN i ELSE CAST('x' || i AS INTEGER) END) FROM range(400000) r(i)"})
		require.ErrorContains(t, err, "Could not convert string")
	}
}
