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
	"runtime/debug"
	"sync"
	"sync/atomic"
	"unsafe"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// feedFunction is the table function through which rows enter DuckDB. Its one argument is a feed's number.
const feedFunction = "_pintail_feed"

// Column is a column of a table that a load makes.
type Column struct {
	Name string
	Type types.Type
	// Tells is set for a column in which a changed row mostly differs, a time of change say: a merge looks there first.
	Tells bool
}

// feed is a load under way: what the table function's callbacks find by its number.
type feed struct {
	ctx    context.Context // of the readers; ends with the first failure
	cancel context.CancelCauseFunc
	src    change.Feed
	cols   []Column
	direct direct // in the place of src and cols
	rows   atomic.Int64

	mu      sync.Mutex
	err     error // the first failure of a reader, with its type, which does not survive DuckDB's error text
	workers []*worker
}

// direct is a feed that fills DuckDB's vectors itself. Several threads read it at once, each with a reader of its own.
type direct interface {
	columns() (names []string, types []resultType)
	threads() int
	// reader returns a function that returns how many rows it has written; 0 is the end.
	reader(ctx context.Context) func(out duck.DataChunk) (int, error)
}

// fail keeps the first error; the others are its consequences.
func (f *feed) fail(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	f.cancel(err)
}

func (f *feed) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// end closes the readers that DuckDB left open. It is called when the statement is over, and so no thread is in a callback.
func (f *feed) end() {
	f.cancel(nil)
	f.mu.Lock()
	ws := f.workers
	f.mu.Unlock()
	for _, w := range ws {
		w.close()
	}
}

// worker is one DuckDB thread's part in a feed.
type worker struct {
	feed  *feed
	chunk change.Chunk
	done  bool
	fill  func(out duck.DataChunk) (int, error) // of a direct feed

	mu     sync.Mutex
	reader change.Reader
}

var (
	feeds   sync.Map // int64 → *feed
	workers sync.Map // int64 → *worker
	lastID  atomic.Int64
)

// number keeps an id in C memory, since DuckDB holds only pointers.
func number(id int64) unsafe.Pointer {
	p := C.malloc(8)
	*(*int64)(p) = id
	return p
}

// rescue turns a panic of Go code under DuckDB's threads, which nothing above would catch, into an error.
func rescue(report func(err error)) {
	if p := recover(); p != nil {
		report(fault.New(fault.Internal, "this is a defect of Pintail: please report it with the log", "panic while loading: %v\n%s", p, debug.Stack()))
	}
}

func registerFeed(conn duck.Connection) error {
	f := duck.CreateTableFunction()
	defer duck.DestroyTableFunction(&f)
	duck.TableFunctionSetName(f, feedFunction)
	t := duck.CreateLogicalType(duck.TypeBigInt)
	defer duck.DestroyLogicalType(&t)
	duck.TableFunctionAddParameter(f, t)
	duck.TableFunctionSetBind(f, unsafe.Pointer(C.pintail_callback_1(C.pintail_feed_bind)))
	duck.TableFunctionSetInit(f, unsafe.Pointer(C.pintail_callback_1(C.pintail_feed_init)))
	duck.TableFunctionSetLocalInit(f, unsafe.Pointer(C.pintail_callback_1(C.pintail_feed_local_init)))
	duck.TableFunctionSetFunction(f, unsafe.Pointer(C.pintail_callback_2(C.pintail_feed_read)))
	if duck.RegisterTableFunction(conn, f) == duck.StateError {
		return errors.New("DuckDB refused the table function " + feedFunction)
	}
	return nil
}

//export pintail_feed_bind
func pintail_feed_bind(p unsafe.Pointer) {
	info := duck.BindInfo{Ptr: p}
	defer rescue(func(err error) { duck.BindSetError(info, err.Error()) })
	v := duck.BindGetParameter(info, 0)
	defer duck.DestroyValue(&v)
	id := duck.GetInt64(v)
	f, ok := feeds.Load(id)
	if !ok {
		duck.BindSetError(info, feedFunction+" is internal: there is no such feed")
		return
	}
	add := func(name string, t duck.LogicalType) {
		duck.BindAddResultColumn(info, name, t)
		duck.DestroyLogicalType(&t)
	}
	for _, c := range f.(*feed).cols {
		add(c.Name, logicalType(&c.Type))
	}
	if d := f.(*feed).direct; d != nil {
		names, types := d.columns()
		for i := range types {
			add(names[i], types[i].logical())
		}
	}
	duck.BindSetBindData(info, number(id), unsafe.Pointer(C.pintail_callback_1(C.free)))
}

//export pintail_feed_init
func pintail_feed_init(p unsafe.Pointer) {
	info := duck.InitInfo{Ptr: p}
	f, ok := feeds.Load(*(*int64)(duck.InitGetBindData(info)))
	if !ok {
		duck.InitSetError(info, feedFunction+": the load is over")
		return
	}
	defer rescue(func(err error) { f.(*feed).fail(err); duck.InitSetError(info, err.Error()) })
	threads := 0
	if d := f.(*feed).direct; d != nil {
		threads = d.threads()
	} else {
		threads = f.(*feed).src.Workers()
	}
	duck.InitSetMaxThreads(info, duck.IdxT(max(1, threads)))
}

//export pintail_feed_local_init
func pintail_feed_local_init(p unsafe.Pointer) {
	info := duck.InitInfo{Ptr: p}
	v, ok := feeds.Load(*(*int64)(duck.InitGetBindData(info)))
	if !ok {
		duck.InitSetError(info, feedFunction+": the load is over")
		return
	}
	f := v.(*feed)
	defer rescue(func(err error) { f.fail(err); duck.InitSetError(info, err.Error()) })
	w := &worker{feed: f, chunk: change.Chunk{Vectors: make([]change.Vector, len(f.cols))}}
	for i := range w.chunk.Vectors {
		initVector(&w.chunk.Vectors[i], &f.cols[i].Type)
	}
	if f.direct != nil {
		w.fill = f.direct.reader(f.ctx)
	}
	f.mu.Lock()
	f.workers = append(f.workers, w)
	f.mu.Unlock()
	id := lastID.Add(1)
	workers.Store(id, w)
	duck.InitSetInitData(info, number(id), unsafe.Pointer(C.pintail_callback_1(C.pintail_feed_free_worker)))
}

//export pintail_feed_free_worker
func pintail_feed_free_worker(p unsafe.Pointer) {
	if w, ok := workers.LoadAndDelete(*(*int64)(p)); ok {
		w.(*worker).close()
	}
	C.free(p)
}

// close is for a reader that was not read to its end: the load has failed already, and a further error tells nothing.
func (w *worker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reader != nil {
		defer rescue(func(error) {})
		r := w.reader
		w.reader = nil
		_ = r.Close()
	}
}

//export pintail_feed_read
func pintail_feed_read(p, chunk unsafe.Pointer) {
	info := duck.FunctionInfo{Ptr: p}
	v, _ := workers.Load(*(*int64)(duck.FunctionGetLocalInitData(info)))
	w := v.(*worker)
	report := func(err error) {
		w.feed.fail(err)
		duck.FunctionSetError(info, err.Error())
	}
	defer rescue(report)
	out := duck.DataChunk{Ptr: chunk}
	n, err := w.read(out)
	if err != nil {
		report(err)
		return
	}
	duck.DataChunkSetSize(out, duck.IdxT(n))
	w.feed.rows.Add(int64(n))
}

// read fills out from the worker's reader, taking the next one where it ends; 0 rows is the end of this worker.
func (w *worker) read(out duck.DataChunk) (int, error) {
	if w.fill != nil {
		return w.fill(out)
	}
	if w.done {
		return 0, nil
	}
	for i := range w.chunk.Vectors {
		lend(&w.chunk.Vectors[i], duck.DataChunkGetVector(out, duck.IdxT(i)))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
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
				settle(&w.chunk.Vectors[i], duck.DataChunkGetVector(out, duck.IdxT(i)), n)
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
func lend(v *change.Vector, d duck.Vector) {
	v.Data = duck.VectorGetData(d)
	if v.HasNull {
		fill(v.Valid)
		v.HasNull = false
	}
	if v.Child == nil {
		return
	}
	v.Len, v.Cap = 0, change.ChunkRows
	duck.ListVectorReserve(d, change.ChunkRows)
	lend(v.Child, duck.ListVectorGetChild(d))
	v.Grow = func(n int) error { return growList(v, d, n) }
}

// growList doubles a list's room: DuckDB moves the elements, the validity words are ours.
func growList(v *change.Vector, d duck.Vector, n int) error {
	if n < 2*v.Cap {
		n = 2 * v.Cap
	}
	// DuckDB keeps as many elements as the list's size says when it moves them.
	if duck.ListVectorSetSize(d, duck.IdxT(v.Len)) == duck.StateError ||
		duck.ListVectorReserve(d, duck.IdxT(n)) == duck.StateError {
		return fmt.Errorf("no memory for a list vector of %d elements", n)
	}
	v.Child.Data = duck.VectorGetData(duck.ListVectorGetChild(d))
	if words := (n + 63) / 64; words > len(v.Child.Valid) {
		more := make([]uint64, words)
		fill(more[copy(more, v.Child.Valid):])
		v.Child.Valid = more
	}
	v.Cap = n
	return nil
}

// settle hands the NULLs of n rows, and a list's length, to DuckDB.
func settle(v *change.Vector, d duck.Vector, n int) {
	if v.HasNull {
		duck.VectorEnsureValidityWritable(d)
		words := (n + 63) / 64
		copy(unsafe.Slice((*uint64)(duck.VectorGetValidity(d)), words), v.Valid[:words])
	}
	if v.Child != nil {
		duck.ListVectorSetSize(d, duck.IdxT(v.Len))
		settle(v.Child, duck.ListVectorGetChild(d), v.Len)
	}
}

var duckTypes = [...]duck.Type{
	types.Text: duck.TypeVarchar, types.Bool: duck.TypeBoolean, types.Int16: duck.TypeSmallInt, types.Int32: duck.TypeInteger,
	types.Int64: duck.TypeBigInt, types.UInt32: duck.TypeUInteger, types.UInt64: duck.TypeUBigInt, types.Float32: duck.TypeFloat,
	types.Float64: duck.TypeDouble, types.Blob: duck.TypeBlob, types.UUID: duck.TypeUUID, types.Date: duck.TypeDate,
	types.Time: duck.TypeTime, types.TimeTZ: duck.TypeTimeTZ, types.Timestamp: duck.TypeTimestamp, types.TimestampTZ: duck.TypeTimestampTZ,
	types.Interval: duck.TypeInterval, types.JSON: duck.TypeVarchar, types.JSONB: duck.TypeVarchar,
}

// logicalType must be destroyed by the caller.
func logicalType(t *types.Type) duck.LogicalType {
	switch t.Kind {
	case types.Decimal16, types.Decimal32, types.Decimal64, types.Decimal128:
		return duck.CreateDecimalType(t.Width, t.Scale)
	case types.List:
		e := logicalType(t.Elem)
		defer duck.DestroyLogicalType(&e)
		return duck.CreateListType(e)
	case opKind:
		return duck.CreateLogicalType(duck.TypeTinyInt)
	}
	l := duck.CreateLogicalType(duckTypes[t.Kind])
	if t.Kind == types.JSON || t.Kind == types.JSONB {
		duck.LogicalTypeSetAlias(l, "JSON")
	}
	return l
}
