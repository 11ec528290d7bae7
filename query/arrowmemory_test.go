package query

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestArrowMemory(t *testing.T) {
	m := &recycler{}
	for _, size := range []int{0, 1, 63, 64, 65, 4095, 4096, 4097, 100_000, 1 << 20, 1<<20 + 1, 8 << 20, 8<<20 + 1, 20 << 20} {
		b := m.Allocate(size)
		require.Len(t, b, size)
		if size > 0 {
			require.Zero(t, uintptr(unsafe.Pointer(unsafe.SliceData(b)))%64, "%d bytes", size)
			b[0], b[size-1] = 1, 1
		}
		larger := m.Reallocate(3*size+1, b)
		require.Len(t, larger, 3*size+1)
		if size > 0 {
			require.Equal(t, byte(1), larger[0])
			require.Equal(t, byte(1), larger[size-1])
		}
		smaller := m.Reallocate(size, larger)
		require.Len(t, smaller, size)
		m.Free(smaller)
	}
	// Two that are in use at once are never the same.
	a, b := m.Allocate(5000), m.Allocate(5000)
	m.Free(a)
	c := m.Allocate(6000)
	require.NotSame(t, unsafe.SliceData(b), unsafe.SliceData(c))
	m.Free(nil)
}
