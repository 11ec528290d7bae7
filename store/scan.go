package store

import (
	"context"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// Scan reads rows of the copy back in the form in which they came. One goroutine uses it.
type Scan struct {
	se     *Session
	alone  bool // the session is of this scan only, and ends with it
	closed bool
	st     duck.PreparedStatement
	stream *stream
	cols   []types.Type
	chunk  change.Chunk
}

// Scan runs one of Pintail's own statements, whose columns must have the types cols; fault.ShapeMismatch if not. Memory does not
// grow with the number of rows, unless the statement sorts or groups.
func (s *Store) Scan(ctx context.Context, sql string, cols []types.Type) (*Scan, error) {
	se, err := s.connect(own)
	if err != nil {
		return nil, err
	}
	sc, err := se.scan(ctx, sql, cols)
	if err != nil {
		se.Close()
		return nil, err
	}
	sc.alone = true
	return sc, nil
}

func (se *Session) scan(ctx context.Context, sql string, cols []types.Type) (_ *Scan, err error) {
	sc := &Scan{se: se, cols: cols, chunk: change.Chunk{Vectors: make([]change.Vector, len(cols))}}
	defer func() {
		if err != nil {
			sc.Close()
		}
	}()
	if duck.Prepare(se.c, sql, &sc.st) == duck.StateError {
		return nil, se.failure(ctx, duck.PrepareError(sc.st))
	}
	if n := int(duck.PreparedStatementColumnCount(sc.st)); n != len(cols) {
		return nil, fault.New(fault.ShapeMismatch, "rebuild the table with a full sync", "the copy has %d columns, not %d", n, len(cols))
	}
	for i := range cols {
		have, want := duck.PreparedStatementColumnLogicalType(sc.st, duck.IdxT(i)), logicalType(&cols[i])
		h, w := describe(have), describe(want)
		duck.DestroyLogicalType(&have)
		duck.DestroyLogicalType(&want)
		if h.name() != w.name() {
			return nil, fault.New(fault.ShapeMismatch, "rebuild the table with a full sync", "column %s of the copy is %s, not %s",
				duck.PreparedStatementColumnName(sc.st, duck.IdxT(i)), h.name(), w.name())
		}
	}
	if sc.stream, err = se.start(ctx, sc.st); err != nil {
		return nil, err
	}
	return sc, nil
}

// Next returns the next rows, in vectors that are DuckDB's own memory and hold until the next call; nil at the end.
func (sc *Scan) Next() (*change.Chunk, error) {
	n, err := sc.stream.next()
	if err != nil || n == 0 {
		return nil, err
	}
	for i := range sc.cols {
		show(&sc.chunk.Vectors[i], &sc.cols[i], duck.DataChunkGetVector(sc.stream.chunk, duck.IdxT(i)), n)
	}
	sc.chunk.Rows = n
	return &sc.chunk, nil
}

func show(v *change.Vector, t *types.Type, d duck.Vector, n int) {
	borrow(v, d, n)
	if t.Kind == types.List {
		if v.Child == nil {
			v.Child = &change.Vector{}
		}
		v.Len = int(duck.ListVectorGetSize(d))
		v.Cap = v.Len
		show(v.Child, t.Elem, duck.ListVectorGetChild(d), v.Len)
	}
}

// Close ends the scan, at its end or before; it may be called twice.
func (sc *Scan) Close() {
	sc.closed = true
	if sc.stream != nil {
		sc.stream.close()
	}
	duck.DestroyPrepare(&sc.st)
	if sc.alone {
		sc.se.Close()
	}
}
