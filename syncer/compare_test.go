package syncer

import (
	"math"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// The two zeros are one value in a comparison, alone and in lists; no other number is touched.
func TestUnsignZeros(t *testing.T) {
	numbers := []float64{0, math.Copysign(0, -1), -1, 1, -math.SmallestNonzeroFloat64, math.Inf(-1), math.NaN()}
	for _, n := range numbers {
		bits := math.Float64bits(n)
		v := change.Vector{Data: unsafe.Pointer(&bits)}
		double := types.Of(701, -1, nil)
		field := types.AppendField(nil, &double, &v, 0)
		want := append([]byte(nil), field...)
		if n == 0 {
			want[4] = 0
		}
		unsignZeros(field, &double)
		require.Equal(t, want, field, n)
	}
	list := types.Of(1022, -1, nil)
	c := types.NewChunk([]types.Type{list})
	v := &c.Vectors[0]
	for i, n := range numbers {
		*change.At[float64](v.Child, i) = n
	}
	v.Child.SetNull(3)
	v.Len = len(numbers)
	*change.At[change.ListEntry](v, 0) = change.ListEntry{Offset: 0, Length: uint64(len(numbers))}
	field := types.AppendField(nil, &list, v, 0)
	unsignZeros(field, &list)
	*change.At[float64](v.Child, 1) = 0
	require.Equal(t, types.AppendField(nil, &list, v, 0), field)
}
