package types

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/pintaildb/pintail/change"
)

// AppendText appends row's value of v as PostgreSQL prints it under the settings that every source session has (ISO dates
// in UTC, shortest floats, hex bytea). It serves messages, watermarks and bounds.
func AppendText(dst []byte, t *Type, v *change.Vector, row int) []byte {
	switch t.Kind {
	case Text, JSON, JSONB:
		return append(dst, change.At[change.String](v, row).Bytes()...)
	case Blob:
		return hex.AppendEncode(append(dst, `\x`...), change.At[change.String](v, row).Bytes())
	case Bool:
		return append(dst, "ft"[*change.At[byte](v, row)&1])
	case Int16:
		return strconv.AppendInt(dst, int64(*change.At[int16](v, row)), 10)
	case Int32:
		return strconv.AppendInt(dst, int64(*change.At[int32](v, row)), 10)
	case Int64:
		return strconv.AppendInt(dst, *change.At[int64](v, row), 10)
	case UInt32:
		return strconv.AppendUint(dst, uint64(*change.At[uint32](v, row)), 10)
	case UInt64:
		return strconv.AppendUint(dst, *change.At[uint64](v, row), 10)
	case Float32:
		return appendFloat(dst, float64(*change.At[float32](v, row)), 32)
	case Float64:
		return appendFloat(dst, *change.At[float64](v, row), 64)
	case Decimal16:
		return appendDecimal(dst, int64(*change.At[int16](v, row)), int(t.Scale))
	case Decimal32:
		return appendDecimal(dst, int64(*change.At[int32](v, row)), int(t.Scale))
	case Decimal64:
		return appendDecimal(dst, *change.At[int64](v, row), int(t.Scale))
	case Decimal128:
		x := *change.At[change.HugeInt](v, row)
		s := x.Big().String()
		return appendPoint(dst, s, int(t.Scale))
	case UUID:
		var b [16]byte
		raw := Append(b[:0], t, v, row)
		return fmt.Appendf(dst, "%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
	case Date:
		switch d := *change.At[int32](v, row); d {
		case math.MaxInt32:
			return append(dst, "infinity"...)
		case -math.MaxInt32:
			return append(dst, "-infinity"...)
		default:
			return AppendDate(dst, int64(d))
		}
	case Time:
		return AppendClock(dst, *change.At[uint64](v, row), 1e6)
	case TimeTZ:
		return AppendTimeTZ(dst, *change.At[uint64](v, row))
	case Timestamp:
		return appendMicros(dst, *change.At[int64](v, row), "")
	case TimestampTZ:
		return appendMicros(dst, *change.At[int64](v, row), "+00")
	case Interval:
		return AppendInterval(dst, change.At[change.Interval](v, row))
	case List:
		return appendArray(dst, t, v, row)
	}
	return fmt.Appendf(dst, "?kind %d", t.Kind)
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	// PostgreSQL switches to exponents where the decimal form would need more digits than the type has.
	e := strconv.AppendFloat(nil, f, 'e', -1, bits)
	exp, _ := strconv.Atoi(string(e[strings.IndexByte(string(e), 'e')+1:]))
	limit := 15
	if bits == 32 {
		limit = 6
	}
	if f != 0 && (exp < -4 || exp >= limit) {
		return append(dst, e...)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

func appendDecimal(dst []byte, x int64, scale int) []byte {
	return appendPoint(dst, strconv.FormatInt(x, 10), scale)
}

func appendPoint(dst []byte, digits string, scale int) []byte {
	if digits[0] == '-' {
		dst, digits = append(dst, '-'), digits[1:]
	}
	if scale == 0 {
		return append(dst, digits...)
	}
	if n := scale + 1 - len(digits); n > 0 {
		digits = strings.Repeat("0", n) + digits
	}
	at := len(digits) - scale
	return append(append(append(dst, digits[:at]...), '.'), digits[at:]...)
}

// appendMicros appends microseconds since 1970, or an infinity.
func appendMicros(dst []byte, us int64, zone string) []byte {
	switch us {
	case math.MaxInt64:
		return append(dst, "infinity"...)
	case -math.MaxInt64:
		return append(dst, "-infinity"...)
	}
	return AppendTimestamp(dst, us, 1e6, ' ', zone)
}

func appendArray(dst []byte, t *Type, v *change.Vector, row int) []byte {
	e := change.At[change.ListEntry](v, row)
	dst = append(dst, '{')
	for i := range int(e.Length) {
		if i > 0 {
			dst = append(dst, ',')
		}
		at := int(e.Offset) + i
		if v.Child.IsNull(at) {
			dst = append(dst, "NULL"...)
			continue
		}
		dst = appendElement(dst, string(AppendText(nil, t.Elem, v.Child, at)))
	}
	return append(dst, '}')
}

func appendElement(dst []byte, s string) []byte {
	if s != "" && !strings.EqualFold(s, "null") && !strings.ContainsAny(s, "{},\"\\ \t\n\r\v\f") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}
