package types

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/pintaildb/pintail/change"
)

// Append appends row's value of v in PostgreSQL's binary format, without a length: what the source would send for it.
// The value must not be NULL. It is the inverse of the decoder, and so the canonical form in which both sides are compared.
func Append(dst []byte, t *Type, v *change.Vector, row int) []byte {
	be := binary.BigEndian
	switch t.Kind {
	case Text, JSON, Blob:
		return append(dst, change.At[change.String](v, row).Bytes()...)
	case JSONB:
		return append(append(dst, 1), change.At[change.String](v, row).Bytes()...)
	case Bool:
		return append(dst, *change.At[byte](v, row))
	case Int16:
		return be.AppendUint16(dst, *change.At[uint16](v, row))
	case Int32, UInt32, Float32:
		return be.AppendUint32(dst, *change.At[uint32](v, row))
	case Int64, UInt64, Float64, Time:
		return be.AppendUint64(dst, *change.At[uint64](v, row))
	case Date:
		days := *change.At[int32](v, row)
		switch days {
		case math.MaxInt32:
		case -math.MaxInt32:
			days = math.MinInt32
		default:
			days -= epochDays
		}
		return be.AppendUint32(dst, uint32(days))
	case Timestamp, TimestampTZ:
		us := *change.At[int64](v, row)
		switch us {
		case math.MaxInt64:
		case -math.MaxInt64:
			us = math.MinInt64
		default:
			us -= epochMicros
		}
		return be.AppendUint64(dst, uint64(us))
	case TimeTZ:
		x := *change.At[uint64](v, row)
		dst = be.AppendUint64(dst, x>>24)
		return be.AppendUint32(dst, uint32(int32(x&0xffffff)-maxOffset))
	case Interval:
		i := change.At[change.Interval](v, row)
		dst = be.AppendUint64(dst, uint64(i.Micros))
		dst = be.AppendUint32(dst, uint32(i.Days))
		return be.AppendUint32(dst, uint32(i.Months))
	case UUID:
		u := change.At[change.HugeInt](v, row)
		dst = be.AppendUint64(dst, uint64(u.Hi)^1<<63)
		return be.AppendUint64(dst, u.Lo)
	case Decimal16:
		return appendSmall(dst, int64(*change.At[int16](v, row)), t)
	case Decimal32:
		return appendSmall(dst, int64(*change.At[int32](v, row)), t)
	case Decimal64:
		return appendSmall(dst, *change.At[int64](v, row), t)
	case Decimal128:
		return appendNumeric(dst, *change.At[change.HugeInt](v, row), int(t.Scale))
	case List:
		return appendList(dst, t, v, row)
	}
	panic(fmt.Sprintf("types: no encoder for kind %d", t.Kind))
}

func appendSmall(dst []byte, x int64, t *Type) []byte {
	return appendNumeric(dst, change.HugeInt{Lo: uint64(x), Hi: x >> 63}, int(t.Scale))
}

func appendList(dst []byte, t *Type, v *change.Vector, row int) []byte {
	be := binary.BigEndian
	e := change.At[change.ListEntry](v, row)
	elem := t.Elem.OID
	if e.Length == 0 {
		dst = be.AppendUint32(dst, 0)
		dst = be.AppendUint32(dst, 0)
		return be.AppendUint32(dst, elem)
	}
	nulls := uint32(0)
	for i := range int(e.Length) {
		if v.Child.IsNull(int(e.Offset) + i) {
			nulls = 1
			break
		}
	}
	dst = be.AppendUint32(dst, 1)
	dst = be.AppendUint32(dst, nulls)
	dst = be.AppendUint32(dst, elem)
	dst = be.AppendUint32(dst, uint32(e.Length))
	dst = be.AppendUint32(dst, 1)
	for i := range int(e.Length) {
		dst = AppendField(dst, t.Elem, v.Child, int(e.Offset)+i)
	}
	return dst
}

// AppendField appends row's value with its 32-bit length before it, -1 for NULL, as in a tuple of COPY BINARY.
func AppendField(dst []byte, t *Type, v *change.Vector, row int) []byte {
	if v.IsNull(row) {
		return binary.BigEndian.AppendUint32(dst, math.MaxUint32)
	}
	at := len(dst)
	dst = Append(append(dst, 0, 0, 0, 0), t, v, row)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}
