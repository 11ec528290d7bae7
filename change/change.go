// Package change holds the words of the data path: the memory in which rows travel from a source to the store,
// and the description of their columns. Data only, no I/O.
package change

import (
	"context"
	"errors"
	"math/big"
	"sync/atomic"
	"unsafe"
)

// ChunkRows is how many rows a Chunk holds: the size of a DuckDB vector.
const ChunkRows = 2048

// Chunk is memory lent by its consumer for up to ChunkRows rows, one Vector a column. Its filler sets Rows; what the
// vectors point at must stay untouched until the filler is called again.
type Chunk struct {
	Vectors []Vector
	Rows    int
}

// Vector is one column of a Chunk, in DuckDB's layout: Data is an array of fixed-width values (bool 1 byte, integers,
// floats, 16-byte hugeints, intervals, String or ListEntry), Valid has one bit a row, set when the value is not NULL.
type Vector struct {
	Data    unsafe.Pointer
	Valid   []uint64 // nil means all valid; a filler gets it with all bits set
	HasNull bool     // a filler sets it together with the first cleared bit

	// For lists: the elements of all rows one after the other.
	Child *Vector
	Len   int // elements in use
	Cap   int // elements that fit
	// Grow makes room for at least n elements, keeps the first Len, and updates Data, Valid and Cap.
	Grow func(n int) error
}

// SetNull clears row's validity bit.
func (v *Vector) SetNull(row int) {
	v.Valid[row>>6] &^= 1 << (row & 63)
	v.HasNull = true
}

// SetValid sets row's validity bit again.
func (v *Vector) SetValid(row int) {
	v.Valid[row>>6] |= 1 << (row & 63)
}

// IsNull reads row's validity bit.
func (v *Vector) IsNull(row int) bool {
	return v.Valid != nil && v.Valid[row>>6]&(1<<(row&63)) == 0
}

// At is the address of row's value of type T.
func At[T any](v *Vector, row int) *T {
	var zero T
	return (*T)(unsafe.Add(v.Data, uintptr(row)*unsafe.Sizeof(zero)))
}

// String is DuckDB's string_t: up to 12 bytes inline, else a 4-byte prefix and a pointer to memory that is not Go's or
// is pinned.
type String struct {
	Head uint64 // length in the low 32 bits, then the first 4 bytes
	Tail uint64 // the next 8 bytes, or the address of all
}

// InlineMax is the longest string that a String holds within itself.
const InlineMax = 12

// Bytes is the string's content; for an inlined one it points into s.
func (s *String) Bytes() []byte {
	n := int(uint32(s.Head))
	if n <= InlineMax {
		return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(s), 4)), n)
	}
	p := *(*unsafe.Pointer)(unsafe.Pointer(&s.Tail))
	return unsafe.Slice((*byte)(p), n)
}

// ListEntry says which elements of the child a row has.
type ListEntry struct{ Offset, Length uint64 }

// HugeInt is a 128-bit two's complement integer.
type HugeInt struct {
	Lo uint64
	Hi int64
}

// Big is the number as a big.Int.
func (h HugeInt) Big() *big.Int {
	b := new(big.Int).Lsh(big.NewInt(h.Hi), 64)
	return b.Add(b, new(big.Int).SetUint64(h.Lo))
}

// Interval has PostgreSQL's and DuckDB's three independent parts.
type Interval struct {
	Months, Days int32
	Micros       int64
}

// Reader fills chunks with the rows of one or more partitions, in no particular order. One goroutine or thread uses it.
type Reader interface {
	// Read fills c from its first row and returns how many rows it wrote; 0 is the end. Fewer rows than ChunkRows is no
	// sign of the end. Strings may point into the reader's own buffer, which stays as it is until the next Read or Close.
	Read(c *Chunk) (int, error)
	Close() error
}

// Feed gives a load its rows. Next hands out the next reader, and io.EOF when there is none left; several threads call it
// at once. Workers is how many readers are useful at the same time.
type Feed interface {
	Next(ctx context.Context) (Reader, error)
	Workers() int
}

// Progress counts what a read has brought so far; readers add to it.
type Progress struct{ Rows, Bytes atomic.Int64 }

// TextColumn is the column that a table gets when, with out_of_range: text, a row holds a value its DuckDB type cannot
// hold: a JSON object of column name → PostgreSQL's own text of the value, NULL for all other rows. The value's own
// column is NULL in such a row.
const TextColumn = "_pintail_text"

// ErrOutOfRange is the cause of every failure on a value that its DuckDB type cannot hold.
var ErrOutOfRange = errors.New("value out of the range of its DuckDB type")
