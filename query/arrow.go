package query

import (
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/pintaildb/pintail/store"
)

// ArrowOptions of an ArrowReader; zero values are the defaults named.
type ArrowOptions struct {
	Memory  memory.Allocator // of the batches; ArrowMemory
	Rows    int              // of a batch at most; 32,768
	Bytes   int              // of a batch, about: it may have up to three times as many; 1 MiB
	Parquet bool             // types that Parquet does not have become some that it has
}

// Defaults of ArrowOptions. Many gRPC clients refuse messages of more than 4 MiB.
const (
	arrowRows  = 32 << 10
	arrowBytes = 1 << 20
)

// arrowPatience is how long rows wait for others to be sent with them.
const arrowPatience = 50 * time.Millisecond

// ArrowReader gives a Result as record batches. One goroutine uses it, and must Release it before it closes the Result.
type ArrowReader struct {
	r     *Result
	o     ArrowOptions
	batch *store.ArrowBatch
	chunk *store.ResultChunk // of which rows at to n are not in a batch yet
	at, n int
	any   bool // a batch was handed out
	err   error

	patience time.Duration // how long rows wait for others
}

// Arrow reads what is left of the result as record batches. Next must not be called any more.
func (r *Result) Arrow(o ArrowOptions) *ArrowReader {
	if o.Memory == nil {
		o.Memory = ArrowMemory
	}
	if o.Rows <= 0 {
		o.Rows = arrowRows
	}
	if o.Bytes <= 0 {
		o.Bytes = arrowBytes
	}
	form := store.ArrowPlain
	if o.Parquet {
		form = store.ArrowParquet
	}
	return &ArrowReader{r: r, o: o, batch: r.stream.ArrowBatch(o.Memory, form), patience: arrowPatience}
}

// Schema of the batches, also when there are none.
func (a *ArrowReader) Schema() *arrow.Schema { return a.batch.Schema() }

// Next gives the next batch, the caller's to Release; nil at the end. Only a batch of a single row may be larger than
// ArrowOptions says. The first batch has what the first chunk of the result has, and rows wait for others only while they come
// quickly. The bytes are counted with Sent: a batch that the role's limit refuses is not handed out.
func (a *ArrowReader) Next() (arrow.RecordBatch, error) {
	if a.err != nil {
		return nil, a.err
	}
	batch, err := a.next()
	if err != nil {
		a.err = err
		a.Release()
	}
	return batch, err
}

func (a *ArrowReader) next() (arrow.RecordBatch, error) {
	begin := time.Now()
	for {
		if a.at < a.n {
			to := min(a.n, a.at+a.o.Rows-a.batch.Rows())
			n, err := a.batch.Append(a.chunk, a.at, to, 3*a.o.Bytes)
			if err != nil {
				return nil, a.r.failed(err)
			}
			a.at += n
		}
		have := a.batch.Rows()
		if a.at < a.n || have >= a.o.Rows || a.batch.Bytes() >= a.o.Bytes || have > 0 && (!a.any || time.Since(begin) > a.patience) {
			return a.take()
		}
		var err error
		if a.chunk, a.n, err = a.r.Next(); err != nil {
			return nil, err
		}
		a.at = 0
		if a.chunk == nil {
			if have > 0 {
				return a.take()
			}
			return nil, nil
		}
	}
}

func (a *ArrowReader) take() (arrow.RecordBatch, error) {
	if err := a.r.Sent(a.batch.Bytes()); err != nil {
		return nil, err
	}
	a.any = true
	return a.batch.Take(), nil
}

// Release frees what was not handed out. It may be called twice.
func (a *ArrowReader) Release() {
	a.batch.Release()
	a.chunk, a.at, a.n = nil, 0, 0
}

// failed ends the statement because its rows cannot be given in the form that was asked for.
func (r *Result) failed(err error) error {
	if r.err == nil {
		r.err = err
		r.cancel(err)
	}
	return r.err
}

// ArrowSchema has the result's columns.
func (r *Result) ArrowSchema() *arrow.Schema { return r.stream.ArrowSchema() }

// ArrowSchema has the statement's columns as its Results will have them; nil when they are known only with the parameters.
func (st *Statement) ArrowSchema() *arrow.Schema { return st.schema }
