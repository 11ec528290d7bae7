package query

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// batches reads a result as record batches and calls f with each.
func batches(t *testing.T, r *Result, o ArrowOptions, f func(b arrow.RecordBatch)) error {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	defer r.Close()
	o.Memory = mem
	a := r.Arrow(o)
	defer a.Release()
	a.patience = time.Hour // whatever else the machine does
	for {
		b, err := a.Next()
		if b == nil || err != nil {
			return err
		}
		require.True(t, b.Schema().Equal(a.Schema()))
		f(b)
		b.Release()
	}
}

func TestArrowBatches(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT i, 'text ' || i AS s FROM range(200000) r(i)"})
	require.NoError(t, err)
	require.Equal(t, "i: int64", r.ArrowSchema().Field(0).Name+": "+r.ArrowSchema().Field(0).Type.String())
	var sizes []int64
	next := int64(0)
	require.NoError(t, batches(t, r, ArrowOptions{}, func(b arrow.RecordBatch) {
		for i, v := range b.Column(0).(*array.Int64).Int64Values() {
			require.Equal(t, next, v)
			require.Equal(t, fmt.Sprintf("text %d", v), b.Column(1).(*array.String).Value(i))
			next++
		}
		sizes = append(sizes, b.NumRows())
	}))
	require.Equal(t, int64(200000), next)
	require.Equal(t, int64(2048), sizes[0], "the first batch is the first chunk")
	require.Equal(t, int64(32768), sizes[1])
	require.Less(t, len(sizes), 12)
	require.Equal(t, int64(200000), r.Rows())
	require.Greater(t, r.bytes.Load(), int64(200000*17))
}

func TestArrowBatchesOfWideRows(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT repeat('x', CASE WHEN i = 1000 THEN 5000000 ELSE 3000 END) AS s FROM range(20000) r(i)"})
	require.NoError(t, err)
	rows, large := int64(0), 0
	require.NoError(t, batches(t, r, ArrowOptions{}, func(b arrow.RecordBatch) {
		rows += b.NumRows()
		if size := b.Column(0).Data().SizeInBytes(); size > 3<<20+1<<10 {
			require.Equal(t, int64(1), b.NumRows(), "%d bytes", size)
			large++
		}
	}))
	require.Equal(t, int64(20000), rows)
	require.Equal(t, 1, large)
}

func TestArrowLimits(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{Rows: 5000})
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT * FROM range(10000)"})
	require.NoError(t, err)
	rows := int64(0)
	require.NoError(t, batches(t, r, ArrowOptions{Rows: 300}, func(b arrow.RecordBatch) {
		require.LessOrEqual(t, b.NumRows(), int64(300))
		rows += b.NumRows()
	}))
	require.Equal(t, int64(5000), rows)
	require.True(t, r.Truncated())

	c, _ = newCore(t, Options{}, access.Limits{ResultBytes: 100000})
	r, err = c.Run(t.Context(), reader, Request{SQL: "SELECT * FROM range(1000000)"})
	require.NoError(t, err)
	rows = 0
	err = batches(t, r, ArrowOptions{}, func(b arrow.RecordBatch) { rows += b.NumRows() })
	require.Equal(t, fault.Limit, fault.CodeOf(err))
	require.LessOrEqual(t, rows*8, int64(100000))
}

func TestArrowOfNoRows(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT i, word FROM t WHERE false"})
	require.NoError(t, err)
	require.NoError(t, batches(t, r, ArrowOptions{}, func(arrow.RecordBatch) { t.Error("a batch") }))
	require.Equal(t, "schema:\n  fields: 2\n    - i: type=int64, nullable\n    - word: type=utf8, nullable", r.ArrowSchema().String())
}

func TestArrowEndsWithTheStatement(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	// Fails while it runs.
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT CASE WHEN i < 900000 THEN i ELSE CAST('x' || i AS INTEGER) END FROM range(1000000) r(i)"})
	require.NoError(t, err)
	n := 0
	err = batches(t, r, ArrowOptions{}, func(arrow.RecordBatch) { n++ })
	require.Equal(t, fault.InvalidSQL, fault.CodeOf(err))
	require.Positive(t, n)
	// Has a value that Arrow cannot hold: the statement is said to have failed.
	r, err = c.Run(t.Context(), reader, Request{SQL: "SELECT INTERVAL '1 hour' * 9000000 AS long"})
	require.NoError(t, err)
	err = batches(t, r, ArrowOptions{}, func(arrow.RecordBatch) { t.Error("a batch") })
	require.Equal(t, fault.InvalidSQL, fault.CodeOf(err))
	require.Equal(t, err, r.err)
	// Is left in the middle.
	r, err = c.Run(t.Context(), reader, Request{SQL: "SELECT i, 'text ' || i FROM range(1000000) r(i)"})
	require.NoError(t, err)
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	a := r.Arrow(ArrowOptions{Memory: mem, Rows: 3000})
	for range 2 {
		b, err := a.Next()
		require.NoError(t, err)
		b.Release()
	}
	a.Release()
	a.Release()
	r.Close()
	mem.AssertSize(t, 0)
	require.Empty(t, c.List())
}

// Rows that have waited long enough go without others.
func TestArrowBatchesOfSlowRows(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT * FROM range(20000)"})
	require.NoError(t, err)
	defer r.Close()
	a := r.Arrow(ArrowOptions{})
	defer a.Release()
	a.patience = 0 // each chunk has come later than that
	for {
		b, err := a.Next()
		require.NoError(t, err)
		if b == nil {
			break
		}
		require.LessOrEqual(t, b.NumRows(), int64(2048))
		b.Release()
	}
	require.Equal(t, int64(20000), r.Rows())
}

// The first batch does not wait for a second chunk, which may take long.
func TestFirstArrowBatchIsEarly(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	st, err := c.Session("test", reader, store.Settings{}).Prepare(t.Context(), "SELECT i FROM range(300000000) r(i)")
	require.NoError(t, err)
	defer st.Close()
	require.Equal(t, "int64", st.ArrowSchema().Field(0).Type.String())
	r, err := st.Run(t.Context(), Request{})
	require.NoError(t, err)
	defer r.Close()
	a := r.Arrow(ArrowOptions{})
	defer a.Release()
	b, err := a.Next()
	require.NoError(t, err)
	defer b.Release()
	require.Equal(t, int64(2048), b.NumRows())
	require.Equal(t, int64(2048), r.Rows())
	unknown, err := c.Session("test", reader, store.Settings{}).Prepare(t.Context(), "SELECT $1")
	require.NoError(t, err)
	defer unknown.Close()
	require.Nil(t, unknown.ArrowSchema())
}
