package query

import (
	"math/bits"
	"sync"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// ArrowMemory is memory for record batches that is used again once they are released: batches come and go at the rate of the rows, and
// left to the garbage collector they cost as much as filling them. What it hands out holds anything.
var ArrowMemory memory.Allocator = &recycler{}

// Sizes that are kept are powers of two, which the runtime aligns to 64 bytes as Arrow wants it.
const (
	recycledMin = 12 // 4 KiB
	recycledMax = 23 // 8 MiB
)

type recycler struct {
	free [recycledMax + 1]sync.Pool // of unsafe.Pointer, by the logarithm of the size
	memory.GoAllocator
}

func (r *recycler) Allocate(size int) []byte {
	class := bits.Len(uint(max(size, 1) - 1))
	if class < recycledMin || class > recycledMax {
		return r.GoAllocator.Allocate(size)
	}
	if p, ok := r.free[class].Get().(unsafe.Pointer); ok {
		return unsafe.Slice((*byte)(p), 1<<class)[:size]
	}
	return make([]byte, 1<<class)[:size]
}

func (r *recycler) Reallocate(size int, b []byte) []byte {
	if class := classOf(b); class > 0 && size <= cap(b) && 2*size > cap(b) {
		return b[:size]
	}
	out := r.Allocate(size)
	copy(out, b)
	r.Free(b)
	return out
}

func (r *recycler) Free(b []byte) {
	if class := classOf(b); class > 0 {
		r.free[class].Put(unsafe.Pointer(unsafe.SliceData(b)))
	}
}

// classOf is 0 for what was not allocated here.
func classOf(b []byte) int {
	class := bits.Len(uint(cap(b))) - 1
	if class < recycledMin || class > recycledMax || cap(b) != 1<<class {
		return 0
	}
	return class
}
