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
// in UTC, shortest floats, hex bytea). It serves messages, watermarks and bounds; the data path never goes through text.
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
			return appendDate(dst, int64(d))
		}
	case Time:
		return appendClock(dst, *change.At[int64](v, row))
	case TimeTZ:
		x := *change.At[uint64](v, row)
		return appendZone(appendClock(dst, int64(x>>24)), maxOffset-int(x&0xffffff))
	case Timestamp:
		return appendTimestamp(dst, *change.At[int64](v, row), "")
	case TimestampTZ:
		return appendTimestamp(dst, *change.At[int64](v, row), "+00")
	case Interval:
		return appendInterval(dst, change.At[change.Interval](v, row))
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

const dayMicros = 86400 * 1000000

func appendTimestamp(dst []byte, us int64, zone string) []byte {
	switch us {
	case math.MaxInt64:
		return append(dst, "infinity"...)
	case -math.MaxInt64:
		return append(dst, "-infinity"...)
	}
	days, clock := us/dayMicros, us%dayMicros
	if clock < 0 {
		days, clock = days-1, clock+dayMicros
	}
	y, m, d := civil(days)
	era := ""
	if y <= 0 {
		y, era = 1-y, " BC"
	}
	dst = fmt.Appendf(dst, "%04d-%02d-%02d ", y, m, d)
	return append(append(appendClock(dst, clock), zone...), era...)
}

func appendDate(dst []byte, days int64) []byte {
	y, m, d := civil(days)
	if y <= 0 {
		return fmt.Appendf(dst, "%04d-%02d-%02d BC", 1-y, m, d)
	}
	return fmt.Appendf(dst, "%04d-%02d-%02d", y, m, d)
}

// civil is the proleptic Gregorian date of a day counted from 1970-01-01; the year before 1 is 0.
func civil(days int64) (year int64, month, day int) {
	z := days + 719468
	era := z / 146097
	if z < 0 {
		era = (z - 146096) / 146097
	}
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	month = int(mp + 3)
	year = yoe + era*400
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

func appendClock(dst []byte, us int64) []byte {
	s := us / 1000000
	dst = fmt.Appendf(dst, "%02d:%02d:%02d", s/3600, s/60%60, s%60)
	if frac := us % 1000000; frac != 0 {
		dst = append(dst, strings.TrimRight(fmt.Sprintf(".%06d", frac), "0")...)
	}
	return dst
}

func appendZone(dst []byte, east int) []byte {
	sign := byte('+')
	if east < 0 {
		sign, east = '-', -east
	}
	dst = fmt.Appendf(append(dst, sign), "%02d", east/3600)
	if east%3600 != 0 {
		dst = fmt.Appendf(dst, ":%02d", east/60%60)
	}
	if east%60 != 0 {
		dst = fmt.Appendf(dst, ":%02d", east%60)
	}
	return dst
}

// appendInterval follows IntervalStyle postgres: a part after a negative one shows its plus sign.
func appendInterval(dst []byte, i *change.Interval) []byte {
	start, before := len(dst), false
	part := func(n int64, unit string) {
		if n == 0 {
			return
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		if before && n > 0 {
			dst = append(dst, '+')
		}
		dst = fmt.Appendf(dst, "%d %s", n, unit)
		if n != 1 {
			dst = append(dst, 's')
		}
		before = n < 0
	}
	part(int64(i.Months/12), "year")
	part(int64(i.Months%12), "mon")
	part(int64(i.Days), "day")
	if i.Micros == 0 && len(dst) > start {
		return dst
	}
	if len(dst) > start {
		dst = append(dst, ' ')
	}
	us := i.Micros
	if us < 0 {
		dst = append(dst, '-')
		us = -us
	} else if before {
		dst = append(dst, '+')
	}
	return appendClock(dst, us)
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
