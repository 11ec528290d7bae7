package store

import (
	"context"

	duck "github.com/duckdb/duckdb-go-bindings"
)

// stream is a result that DuckDB computes while it is read. Its transaction is open until close: while it is, the space of
// tables dropped since is not freed.
type stream struct {
	se      *Session
	ctx     context.Context
	res     duck.Result
	chunk   duck.DataChunk
	release func()
	done    bool
}

// start executes a bound statement up to its first rows.
func (se *Session) start(ctx context.Context, st duck.PreparedStatement) (_ *stream, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &stream{se: se, ctx: ctx, release: se.guard(ctx)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	// Deprecated in DuckDB without a replacement: all else computes the whole result first.
	if err := se.execute(ctx, duck.PendingPreparedStreaming, st, &s.res); err != nil {
		return nil, err
	}
	return s, nil
}

// next fetches the next chunk into s.chunk and returns how many rows it has; 0 is the end.
func (s *stream) next() (int, error) {
	for !s.done {
		duck.DestroyDataChunk(&s.chunk)
		s.chunk = duck.FetchChunk(s.res)
		if s.chunk.Ptr == nil {
			s.done = true
			if text := duck.ResultError(&s.res); text != "" {
				return 0, s.se.failure(s.ctx, text)
			}
			break
		}
		if n := int(duck.DataChunkGetSize(s.chunk)); n > 0 {
			return n, nil
		}
	}
	return 0, nil
}

// close may come before the end; what is left is then not computed.
func (s *stream) close() {
	s.done = true
	duck.DestroyDataChunk(&s.chunk)
	duck.DestroyResult(&s.res)
	if s.release != nil {
		s.release()
		s.release = nil
	}
}
