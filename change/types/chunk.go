package types

import (
	"math"
	"unsafe"

	"github.com/pintaildb/pintail/change"
)

// NewChunk makes a chunk in Go's memory for columns of these types: for readers whose rows do not go to the store.
func NewChunk(ts []Type) *change.Chunk {
	c := &change.Chunk{Vectors: make([]change.Vector, len(ts))}
	for i := range ts {
		initVector(&c.Vectors[i], &ts[i], change.ChunkRows)
	}
	return c
}

// ResetChunk forgets the rows of a chunk made by NewChunk, so that it can be lent again.
func ResetChunk(c *change.Chunk) {
	c.Rows = 0
	for i := range c.Vectors {
		resetVector(&c.Vectors[i])
	}
}

func resetVector(v *change.Vector) {
	if v.HasNull {
		setAll(v.Valid)
		v.HasNull = false
	}
	if v.Child != nil {
		v.Len = 0
		resetVector(v.Child)
	}
}

// initVector gives every value 16 bytes, the widest kind's size, so that the memory fits any type and is aligned.
func initVector(v *change.Vector, t *Type, n int) {
	v.Data = unsafe.Pointer(unsafe.SliceData(make([]change.HugeInt, n)))
	v.Valid = make([]uint64, (n+63)/64)
	setAll(v.Valid)
	if t.Kind != List {
		return
	}
	v.Child = &change.Vector{}
	v.Cap = change.ChunkRows
	initVector(v.Child, t.Elem, v.Cap)
	v.Grow = func(n int) error {
		n = max(n, 2*v.Cap)
		old := *v.Child
		initVector(v.Child, t.Elem, n)
		copy(unsafe.Slice((*change.HugeInt)(v.Child.Data), n), unsafe.Slice((*change.HugeInt)(old.Data), v.Cap))
		copy(v.Child.Valid, old.Valid)
		v.Child.HasNull = old.HasNull
		v.Cap = n
		return nil
	}
}

func setAll(words []uint64) {
	for i := range words {
		words[i] = math.MaxUint64
	}
}
