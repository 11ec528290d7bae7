package httpapi

import (
	"io"

	"github.com/pintaildb/pintail/query"
)

// sink is where an answer goes. After an error it takes nothing any more.
type sink interface {
	io.Writer
	// Flush sends on what was written.
	Flush() error
}

// outgoing is a result on its way to a client in one of the formats. Its methods are called in their order, and it must be closed before
// the result is.
type outgoing interface {
	contentType() string
	// first gets the first rows, which decides the status: until then an error is an ordinary one.
	first() error
	// send writes up to max rows, 0 is all, and stops after about bytesMax bytes, 0 is never. The error is the statement's; that of the sink
	// the sink keeps. It may be called again for the rows that follow, each time for an answer of its own, after end.
	send(to sink, max int64, bytesMax int) error
	// more says whether there are rows after those sent. It may have to wait for them.
	more() (bool, error)
	// rows of this answer that were sent.
	rows() int64
	// end writes what closes the answer. The error is not the sink's.
	end(to sink, s summary) error
	// fail ends the answer early; true says that the transfer must be broken off too, because the format cannot say so.
	fail(to sink, s summary, e ErrorDetail) (cut bool)
	// close frees what was not sent.
	close()
}

// newOutgoing needs a result of which nothing was read. Batches of arrow and parquet have batchRows at most; 0 is the usual.
func newOutgoing(res *query.Result, format string, batchRows int) outgoing {
	switch format {
	case "arrow", "parquet":
		return newBatches(res, format, batchRows)
	}
	return &rowwise{res: res, encoder: newEncoder(format, res.Columns())}
}

// rowwise sends a result row by row.
type rowwise struct {
	res *query.Result
	encoder
	chunk  rowChunk // of which rows at to n are not sent yet; nil at the end
	at, n  int
	buf    []byte // not yet sent
	sent   int64
	failed error
}

// chunkBytes is when a part of a chunk of long rows is sent on by itself.
const chunkBytes = 64 << 10

func (r *rowwise) first() error { return r.next() }

func (r *rowwise) next() error {
	if r.failed != nil {
		return r.failed
	}
	chunk, n, err := r.res.Next()
	if err != nil || chunk == nil {
		r.chunk, r.at, r.n, r.failed = nil, 0, 0, err
		return err
	}
	r.chunk, r.at, r.n = chunk, 0, n
	return nil
}

func (r *rowwise) more() (bool, error) {
	if r.chunk != nil && r.at == r.n {
		if err := r.next(); err != nil {
			return false, err
		}
	}
	return r.chunk != nil, r.failed
}

// send sends each chunk as it comes, so that a slow statement's rows are not held back. Rows that the role's limit on bytes refuses are
// not sent, not even in part.
func (r *rowwise) send(to sink, most int64, bytesMax int) error {
	r.sent, r.buf = 0, r.begin(r.buf[:0])
	written := 0
	for {
		if more, err := r.more(); err != nil || !more {
			return err
		}
		var rows int64
		for r.at < r.n {
			r.buf = r.row(r.buf, r.chunk, r.at)
			r.at++
			rows++
			full := most > 0 && r.sent+rows >= most || bytesMax > 0 && written+len(r.buf) >= bytesMax
			if len(r.buf) < chunkBytes && r.at < r.n && !full {
				continue
			}
			if r.failed = r.res.Sent(len(r.buf)); r.failed != nil {
				return r.failed
			}
			n, err := to.Write(r.buf)
			if err != nil {
				return nil //nolint:nilerr // The client is gone: the body keeps that.
			}
			written += n
			r.buf, r.sent, rows = r.buf[:0], r.sent+rows, 0
			if full {
				return nil
			}
		}
		if to.Flush() != nil {
			return nil //nolint:nilerr // Likewise.
		}
	}
}

func (r *rowwise) rows() int64 { return r.sent }

func (r *rowwise) end(to sink, s summary) error {
	_, _ = to.Write(r.encoder.end(r.buf, s)) // the sink keeps its error
	r.buf = r.buf[:0]
	return nil
}

func (r *rowwise) fail(to sink, s summary, e ErrorDetail) bool {
	end, cut := r.encoder.fail(nil, s, e)
	_, _ = to.Write(end) // as above
	return cut
}

func (*rowwise) close() {}
