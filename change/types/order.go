package types

import (
	"encoding/binary"

	"github.com/pintaildb/pintail/change"
)

// AppendOrder appends bytes that compare as the values do in both databases (text: under the "C" collation). Only types
// that are Ordered have them.
func AppendOrder(dst []byte, t *Type, v *change.Vector, row int) []byte {
	signed := func(x int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(x)^1<<63) }
	switch t.Kind {
	case Int16, Decimal16:
		return signed(int64(*change.At[int16](v, row)))
	case Int32, Decimal32, Date:
		return signed(int64(*change.At[int32](v, row)))
	case Int64, Decimal64, Timestamp, TimestampTZ:
		return signed(*change.At[int64](v, row))
	case UInt32:
		return signed(int64(*change.At[uint32](v, row)))
	case Decimal128:
		x := change.At[change.HugeInt](v, row)
		dst = signed(x.Hi)
		return binary.BigEndian.AppendUint64(dst, x.Lo)
	}
	return Append(dst, t, v, row) // uuid and text: their bytes
}
