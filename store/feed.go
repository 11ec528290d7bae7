package store

/*
#include <stdlib.h>

void pintail_feed_bind(void *info);
void pintail_feed_init(void *info);
void pintail_feed_local_init(void *info);
void pintail_feed_read(void *info, void *chunk);
void pintail_feed_free_worker(void *data);
typedef void (*pintail_callback_1)(void *);
typedef void (*pintail_callback_2)(void *, void *);
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// feedFunction is the table function through which rows enter DuckDB. Its one argument is a feed's number.
const feedFunction = "_pintail_feed"

// Column is a column of a table that a load makes.
type Column struct {
	Name string
	Type types.Type
}

// feed is a load under way: what the table function's callbacks find by its number.
type feed struct {
	ctx  context.Context
	src  change.Feed
	cols []Column
	rows atomic.Int64

	mu  sync.Mutex
	err error // the first failure of a reader, with its type, which does not survive DuckDB's error text
}

func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil || errors.Is(f.err, context.Canceled) {
		f.err = err
	}
}

func (f *feed) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// worker is one DuckDB thread's part in a feed.
type worker struct {
	feed   *feed
	reader change.Reader
	chunk  change.Chunk
	done   bool
}

var (
	feeds   sync.Map // uint64 → *feed
	workers sync.Map // uint64 → *worker
	lastID  atomic.Uint64
)

// number keeps an id in C memory, since DuckDB holds only pointers.
func number(id uint64) unsafe.Pointer {
	p := C.malloc(8)
	*(*uint64)(p) = id
	return p
}

func registerFeed(conn mapping.Connection) error {
	f := mapping.CreateTableFunction()
	defer mapping.DestroyTableFunction(&f)
	mapping.TableFunctionSetName(f, feedFunction)
	t := mapping.CreateLogicalType(mapping.TypeBigInt)
	defer mapping.DestroyLogicalType(&t)
	mapping.TableFunctionAddParameter(f, t)
	mapping.TableFunctionSetBind(f, unsafe.Pointer(C.pintail_callback_1(C.pintail_feed_bind)))
	mapping.TableFunctionSetInit(f, unsafe.Pointer(C.pintail_callback_1(C.pintail_feed_init)))
	mapping.TableFunctionSetLocalInit(f, unsafe.Pointer(C.pintail_callback_1(C.pintail_feed_local_init)))
	mapping.TableFunctionSetFunction(f, unsafe.Pointer(C.pintail_callback_2(C.pintail_feed_read)))
	if mapping.RegisterTableFunction(conn, f) == mapping.StateError {
		return errors.New("DuckDB refused the table function " + feedFunction)
	}
	return nil
}

//export pintail_feed_bind
func pintail_feed_bind(p unsafe.Pointer) {
	info := mapping.BindInfo{Ptr: p}
	v := mapping.BindGetParameter(info, 0)
	defer mapping.DestroyValue(&v)
	id := uint64(mapping.GetInt64(v))
	f, ok := feeds.Load(id)
	if !ok {
		mapping.BindSetError(info, fmt.Sprintf("%s is internal: there is no feed %d", feedFunction, id))
		return
	}
	for _, c := range f.(*feed).cols {
		t := logicalType(&c.Type)
		mapping.BindAddResultColumn(info, c.Name, t)
		mapping.DestroyLogicalType(&t)
	}
	mapping.BindSetBindData(info, number(id), unsafe.Pointer(C.pintail_callback_1(C.free)))
}

//export pintail_feed_init
func pintail_feed_init(p unsafe.Pointer) {
	info := mapping.InitInfo{Ptr: p}
	f, _ := feeds.Load(*(*uint64)(mapping.InitGetBindData(info)))
	mapping.InitSetMaxThreads(info, mapping.IdxT(f.(*feed).src.Workers()))
}

//export pintail_feed_local_init
func pintail_feed_local_init(p unsafe.Pointer) {
	info := mapping.InitInfo{Ptr: p}
	v, _ := feeds.Load(*(*uint64)(mapping.InitGetBindData(info)))
	f := v.(*feed)
	w := &worker{feed: f, chunk: change.Chunk{Vectors: make([]change.Vector, len(f.cols))}}
	for i := range w.chunk.Vectors {
		initVector(&w.chunk.Vectors[i], &f.cols[i].Type)
	}
	id := lastID.Add(1)
	workers.Store(id, w)
	mapping.InitSetInitData(info, number(id), unsafe.Pointer(C.pintail_callback_1(C.pintail_feed_free_worker)))
}

//export pintail_feed_free_worker
func pintail_feed_free_worker(p unsafe.Pointer) {
	if w, ok := workers.LoadAndDelete(*(*uint64)(p)); ok {
		w.(*worker).close()
	}
	C.free(p)
}

func (w *worker) close() {
	if w.reader != nil {
		if err := w.reader.Close(); err != nil {
			w.feed.fail(err)
		}
		w.reader = nil
	}
}

//export pintail_feed_read
func pintail_feed_read(p, chunk unsafe.Pointer) {
	info := mapping.FunctionInfo{Ptr: p}
	v, _ := workers.Load(*(*uint64)(mapping.FunctionGetLocalInitData(info)))
	w := v.(*worker)
	out := mapping.DataChunk{Ptr: chunk}
	n, err := w.read(out)
	if err != nil {
		w.feed.fail(err)
		mapping.FunctionSetError(info, err.Error())
		return
	}
	mapping.DataChunkSetSize(out, mapping.IdxT(n))
	w.feed.rows.Add(int64(n))
}

// read fills out from the worker's reader, taking the next one where it ends; 0 rows is the end of this worker.
func (w *worker) read(out mapping.DataChunk) (int, error) {
	if w.done {
		return 0, nil
	}
	for i := range w.chunk.Vectors {
		lend(&w.chunk.Vectors[i], mapping.DataChunkGetVector(out, mapping.IdxT(i)))
	}
	for {
		if w.reader == nil {
			r, err := w.feed.src.Next(w.feed.ctx)
			if errors.Is(err, io.EOF) {
				w.done = true
				return 0, nil
			}
			if err != nil {
				return 0, err
			}
			w.reader = r
		}
		n, err := w.reader.Read(&w.chunk)
		if err != nil {
			return 0, err
		}
		if n > 0 {
			for i := range w.chunk.Vectors {
				settle(&w.chunk.Vectors[i], mapping.DataChunkGetVector(out, mapping.IdxT(i)), n)
			}
			return n, nil
		}
		err = w.reader.Close()
		w.reader = nil
		if err != nil {
			return 0, err
		}
	}
}

const chunkWords = change.ChunkRows / 64

func initVector(v *change.Vector, t *types.Type) {
	v.Valid = make([]uint64, chunkWords)
	fill(v.Valid)
	if t.Kind == types.List {
		v.Child = &change.Vector{}
		initVector(v.Child, t.Elem)
	}
}

func fill(words []uint64) {
	for i := range words {
		words[i] = math.MaxUint64
	}
}

// lend points v at a DuckDB vector's memory and forgets the NULLs of the chunk before.
func lend(v *change.Vector, d mapping.Vector) {
	v.Data = mapping.VectorGetData(d)
	if v.HasNull {
		fill(v.Valid)
		v.HasNull = false
	}
	if v.Child == nil {
		return
	}
	v.Len, v.Cap = 0, change.ChunkRows
	mapping.ListVectorReserve(d, change.ChunkRows)
	lend(v.Child, mapping.ListVectorGetChild(d))
	v.Grow = func(n int) error { return growList(v, d, n) }
}

// growList doubles a list's room: DuckDB moves the elements, the validity words are ours.
func growList(v *change.Vector, d mapping.Vector, n int) error {
	if n < 2*v.Cap {
		n = 2 * v.Cap
	}
	// DuckDB keeps as many elements as the list's size says when it moves them.
	if mapping.ListVectorSetSize(d, mapping.IdxT(v.Len)) == mapping.StateError ||
		mapping.ListVectorReserve(d, mapping.IdxT(n)) == mapping.StateError {
		return fmt.Errorf("no memory for a list vector of %d elements", n)
	}
	v.Child.Data = mapping.VectorGetData(mapping.ListVectorGetChild(d))
	if words := (n + 63) / 64; words > len(v.Child.Valid) {
		more := make([]uint64, words)
		fill(more[copy(more, v.Child.Valid):])
		v.Child.Valid = more
	}
	v.Cap = n
	return nil
}

// settle hands the NULLs of n rows, and a list's length, to DuckDB.
func settle(v *change.Vector, d mapping.Vector, n int) {
	if v.HasNull {
		mapping.VectorEnsureValidityWritable(d)
		words := (n + 63) / 64
		copy(unsafe.Slice((*uint64)(mapping.VectorGetValidity(d)), words), v.Valid[:words])
	}
	if v.Child != nil {
		mapping.ListVectorSetSize(d, mapping.IdxT(v.Len))
		settle(v.Child, mapping.ListVectorGetChild(d), v.Len)
	}
}

var duckTypes = [...]mapping.Type{
	types.Text: mapping.TypeVarchar, types.Bool: mapping.TypeBoolean, types.Int16: mapping.TypeSmallInt, types.Int32: mapping.TypeInteger,
	types.Int64: mapping.TypeBigInt, types.UInt32: mapping.TypeUInteger, types.UInt64: mapping.TypeUBigInt, types.Float32: mapping.TypeFloat,
	types.Float64: mapping.TypeDouble, types.Blob: mapping.TypeBlob, types.UUID: mapping.TypeUUID, types.Date: mapping.TypeDate,
	types.Time: mapping.TypeTime, types.TimeTZ: mapping.TypeTimeTZ, types.Timestamp: mapping.TypeTimestamp, types.TimestampTZ: mapping.TypeTimestampTZ,
	types.Interval: mapping.TypeInterval, types.JSON: mapping.TypeVarchar, types.JSONB: mapping.TypeVarchar,
}

// logicalType must be destroyed by the caller.
func logicalType(t *types.Type) mapping.LogicalType {
	switch t.Kind {
	case types.Decimal16, types.Decimal32, types.Decimal64, types.Decimal128:
		return mapping.CreateDecimalType(t.Width, t.Scale)
	case types.List:
		e := logicalType(t.Elem)
		defer mapping.DestroyLogicalType(&e)
		return mapping.CreateListType(e)
	}
	l := mapping.CreateLogicalType(duckTypes[t.Kind])
	if t.Kind == types.JSON || t.Kind == types.JSONB {
		mapping.LogicalTypeSetAlias(l, "JSON")
	}
	return l
}
