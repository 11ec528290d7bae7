package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// connect is a plain connection for a test's own statements.
func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c.Close(ctx)
	})
	return c
}

func exec(t testing.TB, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func openSource(t testing.TB, c Config) *Source {
	t.Helper()
	if c.Name == "" {
		c.Name = "test"
	}
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func snapshotOf(t testing.TB, s *Source) *Snapshot {
	t.Helper()
	n, err := s.snapshot(t.Context(), source.SnapshotOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// testChunk is a chunk in Go's memory, lent as the store lends DuckDB's.
type testChunk struct {
	change.Chunk
	types []types.Type
	keep  [][]change.HugeInt
}

func newChunk(ts []types.Type) *testChunk {
	c := &testChunk{Chunk: change.Chunk{Vectors: make([]change.Vector, len(ts))}, types: ts}
	for i := range ts {
		c.vector(&c.Vectors[i], &ts[i], change.ChunkRows)
	}
	return c
}

func (c *testChunk) memory(n int) unsafe.Pointer {
	m := make([]change.HugeInt, n)
	c.keep = append(c.keep, m)
	return unsafe.Pointer(unsafe.SliceData(m))
}

func (c *testChunk) vector(v *change.Vector, t *types.Type, n int) {
	v.Data, v.Valid, v.Cap = c.memory(n), make([]uint64, (n+63)/64), n
	if t.Kind != types.List {
		return
	}
	v.Child = &change.Vector{}
	c.vector(v.Child, t.Elem, n)
	v.Grow = func(want int) error {
		old := unsafe.Slice((*byte)(v.Child.Data), v.Cap*16)
		want = max(want, 2*v.Cap)
		v.Child.Data = c.memory(want)
		copy(unsafe.Slice((*byte)(v.Child.Data), want*16), old)
		valid := make([]uint64, (want+63)/64)
		for i := range valid {
			valid[i] = math.MaxUint64
		}
		copy(valid, v.Child.Valid)
		v.Child.Valid, v.Cap = valid, want
		return nil
	}
}

// lend resets what the store resets before every chunk.
func (c *testChunk) lend() {
	var reset func(v *change.Vector)
	reset = func(v *change.Vector) {
		for i := range v.Valid {
			v.Valid[i] = math.MaxUint64
		}
		v.HasNull, v.Len = false, 0
		if v.Child != nil {
			reset(v.Child)
		}
	}
	for i := range c.Vectors {
		reset(&c.Vectors[i])
	}
}

// drain reads a feed with as many goroutines as it wants and gives each row, re-encoded as PostgreSQL's COPY sends it,
// to row. Rows come one at a time.
func drain(ctx context.Context, f change.Feed, ts []types.Type, row func([]byte)) error {
	var mu sync.Mutex
	var all sync.WaitGroup
	errs := make([]error, f.Workers())
	for w := range errs {
		all.Go(func() {
			c := newChunk(ts)
			for {
				r, err := f.Next(ctx)
				if err != nil {
					if !errors.Is(err, io.EOF) {
						errs[w] = err
					}
					return
				}
				for {
					c.lend()
					n, err := r.Read(&c.Chunk)
					if err != nil {
						errs[w] = errors.Join(err, r.Close())
						return
					}
					if n == 0 {
						break
					}
					if row == nil {
						continue
					}
					mu.Lock()
					for i := range n {
						b := binary.BigEndian.AppendUint16(nil, uint16(len(ts)))
						for k := range ts {
							b = types.AppendField(b, &ts[k], &c.Vectors[k], i)
						}
						row(b)
					}
					mu.Unlock()
				}
				if err := r.Close(); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// readAll reads q within r and returns its rows, sorted.
func readAll(t testing.TB, n *Snapshot, q source.Query, r source.Range, workers int) [][]byte {
	t.Helper()
	d, err := n.Describe(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	return readDescribed(t, n, d, r, workers)
}

func readDescribed(t testing.TB, n *Snapshot, d *source.Description, r source.Range, workers int) [][]byte {
	t.Helper()
	f, err := n.Read(t.Context(), d, r, workers, nil)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]byte
	if err := drain(t.Context(), f, d.Types(), func(b []byte) { rows = append(rows, b) }); err != nil {
		t.Fatal(err)
	}
	sortRows(rows)
	return rows
}

func sortRows(rows [][]byte) {
	slices.SortFunc(rows, bytes.Compare)
}

// copied are the rows of a query as the server's own COPY BINARY sends them, sorted.
func copied(t testing.TB, c *pgx.Conn, query string) [][]byte {
	t.Helper()
	w := &copyRows{}
	if _, err := c.PgConn().CopyTo(t.Context(), w, "COPY ("+query+") TO STDOUT (FORMAT binary)"); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	rows, err := w.rows()
	if err != nil {
		t.Fatal(err)
	}
	sortRows(rows)
	return rows
}

type copyRows struct{ b []byte }

func (w *copyRows) Write(b []byte) (int, error) {
	w.b = append(w.b, b...)
	return len(b), nil
}

func (w *copyRows) rows() ([][]byte, error) {
	b, err := copyHeader(w.b)
	if err != nil {
		return nil, err
	}
	var rows [][]byte
	for {
		n := int(int16(binary.BigEndian.Uint16(b)))
		if n < 0 {
			return rows, nil
		}
		at := 2
		for range n {
			l := int(int32(binary.BigEndian.Uint32(b[at:])))
			at += 4 + max(l, 0)
		}
		rows = append(rows, b[:at:at])
		b = b[at:]
	}
}

// equalRows compares two sorted lists of rows.
func equalRows(t testing.TB, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d rows, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if string(got[i]) != string(want[i]) {
			t.Fatalf("row %d:\n got %x\nwant %x", i, got[i], want[i])
		}
	}
}

func table(name string) source.Query { return source.Query{Table: name} }

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}
