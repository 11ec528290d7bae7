package store

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"unicode/utf8"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// How values are written out:
//
//	type                       JSON                                            text and CSV
//	boolean                    true, false                                     true, false
//	integers, DECIMAL          number with all its digits (see BigNumbersAsText) the same
//	FLOAT, DOUBLE              shortest number; "NaN", "Infinity", "-Infinity"   the same without quotes
//	VARCHAR, ENUM, UUID, BIT   string                                          as it is
//	JSON                       the JSON itself, on one line                    as it is
//	DATE, TIME, TIMESTAMP      string as PostgreSQL's to_json: 2024-02-29T12:00:00.5+00:00, "infinity", " BC"   as PostgreSQL prints them: 2024-02-29 12:00:00.5+00
//	INTERVAL                   string as PostgreSQL prints it: 1 year 2 mons -03:00:00   the same
//	BLOB, GEOMETRY             string, base64                                  \x and hexadecimal
//	LIST, ARRAY                array                                           its JSON
//	STRUCT                     object                                          its JSON
//	UNION                      its member's value                              the same
//	MAP                        object, when the keys are text; else [{"key": …, "value": …}]  its JSON
//	NULL                       null                                            nothing
//
// CSV follows RFC 4180; an empty string is "" and so differs from NULL.

// AppendJSON appends the value as JSON, without any line break.
func (c *ResultChunk) AppendJSON(dst []byte, col, row int) []byte {
	return c.cols[col].json(dst, row, c.bigText)
}

// AppendText appends the value as text; nothing for NULL.
func (c *ResultChunk) AppendText(dst []byte, col, row int) []byte {
	return c.cols[col].text(dst, row)
}

// AppendCSV appends the value as a field of CSV.
func (c *ResultChunk) AppendCSV(dst []byte, col, row int) []byte {
	v := &c.cols[col]
	if v.IsNull(row) {
		return dst
	}
	at := len(dst)
	dst = v.text(dst, row)
	field := dst[at:]
	if len(field) > 0 && bytes.IndexByte(field, '"') < 0 && bytes.IndexByte(field, ',') < 0 && bytes.IndexByte(field, '\n') < 0 && bytes.IndexByte(field, '\r') < 0 {
		return dst
	}
	if n := bytes.Count(field, []byte{'"'}); n > 0 {
		field = bytes.ReplaceAll(field, []byte{'"'}, []byte(`""`))
	} else {
		field = bytes.Clone(field)
	}
	return append(append(append(dst[:at], '"'), field...), '"')
}

// doubleDigits is how many decimal digits every double holds.
const doubleDigits = 15

func (v *vector) json(dst []byte, i int, bigText bool) []byte {
	if v.IsNull(i) {
		return append(dst, "null"...)
	}
	at := len(dst)
	switch v.typ.id {
	case duck.TypeSQLNull:
		return append(dst, "null"...)
	case duck.TypeBoolean, duck.TypeTinyInt, duck.TypeSmallInt, duck.TypeInteger, duck.TypeUTinyInt, duck.TypeUSmallInt, duck.TypeUInteger:
		return v.text(dst, i)
	case duck.TypeBigInt, duck.TypeUBigInt, duck.TypeHugeInt, duck.TypeUHugeInt, duck.TypeBigNum, duck.TypeDecimal:
		dst = v.text(dst, i)
		if bigText && !exactInDouble(dst[at:]) {
			dst = append(dst, 0, '"')
			copy(dst[at+1:], dst[at:len(dst)-2])
			dst[at] = '"'
		}
		return dst
	case duck.TypeFloat, duck.TypeDouble:
		f := v.float(i)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return append(v.text(append(dst, '"'), i), '"')
		}
		return v.text(dst, i)
	case duck.TypeVarchar:
		s := change.At[change.String](&v.Vector, i).Bytes()
		if v.typ.alias == "JSON" {
			b := bytes.NewBuffer(dst)
			if json.Compact(b, s) == nil {
				return b.Bytes()
			}
			dst = dst[:at]
		}
		return appendJSONString(dst, s)
	case duck.TypeEnum:
		return appendJSONString(dst, []byte(v.enum(i)))
	case duck.TypeBlob, duck.TypeGeometry:
		dst = base64.StdEncoding.AppendEncode(append(dst, '"'), change.At[change.String](&v.Vector, i).Bytes())
		return append(dst, '"')
	case duck.TypeTimestamp, duck.TypeTimestampS, duck.TypeTimestampMS, duck.TypeTimestampNS, duck.TypeTimestampTZ:
		return append(v.timestamp(append(dst, '"'), i, 'T', "+00:00"), '"')
	case duck.TypeList, duck.TypeArray:
		dst = append(dst, '[')
		from, to := v.span(i)
		for k := from; k < to; k++ {
			if k > from {
				dst = append(dst, ',')
			}
			dst = v.kids[0].json(dst, k, bigText)
		}
		return append(dst, ']')
	case duck.TypeStruct:
		dst = append(dst, '{')
		for k := range v.kids {
			if k > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSONString(dst, []byte(v.typ.names[k])), ':')
			dst = v.kids[k].json(dst, i, bigText)
		}
		return append(dst, '}')
	case duck.TypeMap:
		return v.jsonMap(dst, i, bigText)
	case duck.TypeUnion:
		if m := v.member(i); m != nil {
			return m.json(dst, i, bigText)
		}
		return append(dst, "null"...)
	}
	// Dates, times, intervals, UUIDs, bit strings: text without anything to escape.
	return append(v.text(append(dst, '"'), i), '"')
}

func (v *vector) jsonMap(dst []byte, i int, bigText bool) []byte {
	pair := &v.kids[0]
	key, val := &pair.kids[0], &pair.kids[1]
	from, to := v.span(i)
	object := key.typ.id == duck.TypeVarchar || key.typ.id == duck.TypeEnum
	open, end := byte('['), byte(']')
	if object {
		open, end = '{', '}'
	}
	dst = append(dst, open)
	for k := from; k < to; k++ {
		if k > from {
			dst = append(dst, ',')
		}
		if object {
			dst = appendJSONString(dst, key.text(nil, k))
			dst = val.json(append(dst, ':'), k, bigText)
			continue
		}
		dst = key.json(append(dst, `{"key":`...), k, bigText)
		dst = append(val.json(append(dst, `,"value":`...), k, bigText), '}')
	}
	return append(dst, end)
}

// exactInDouble says whether a double surely holds the digits of number.
func exactInDouble(number []byte) bool {
	digits, dot := 0, false
	for _, b := range number {
		switch {
		case b >= '0' && b <= '9':
			digits++
		case b == '.':
			dot = true
		}
	}
	if digits <= doubleDigits {
		return true
	}
	if dot {
		return false
	}
	n, err := strconv.ParseInt(string(number), 10, 64)
	return err == nil && n >= -1<<53 && n <= 1<<53
}

const hexDigits = "0123456789abcdef"

// appendJSONString escapes what JSON demands, and replaces what is not UTF-8.
func appendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += n
			continue
		}
		if b >= ' ' && b != '"' && b != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

func (v *vector) float(i int) float64 {
	if v.typ.id == duck.TypeFloat {
		return float64(*change.At[float32](&v.Vector, i))
	}
	return *change.At[float64](&v.Vector, i)
}

func (v *vector) text(dst []byte, i int) []byte {
	if v.IsNull(i) {
		return dst
	}
	d := &v.Vector
	switch v.typ.id {
	case duck.TypeBoolean:
		return strconv.AppendBool(dst, *change.At[byte](d, i) != 0)
	case duck.TypeTinyInt:
		return strconv.AppendInt(dst, int64(*change.At[int8](d, i)), 10)
	case duck.TypeSmallInt:
		return strconv.AppendInt(dst, int64(*change.At[int16](d, i)), 10)
	case duck.TypeInteger:
		return strconv.AppendInt(dst, int64(*change.At[int32](d, i)), 10)
	case duck.TypeBigInt:
		return strconv.AppendInt(dst, *change.At[int64](d, i), 10)
	case duck.TypeUTinyInt:
		return strconv.AppendUint(dst, uint64(*change.At[uint8](d, i)), 10)
	case duck.TypeUSmallInt:
		return strconv.AppendUint(dst, uint64(*change.At[uint16](d, i)), 10)
	case duck.TypeUInteger:
		return strconv.AppendUint(dst, uint64(*change.At[uint32](d, i)), 10)
	case duck.TypeUBigInt:
		return strconv.AppendUint(dst, *change.At[uint64](d, i), 10)
	case duck.TypeHugeInt:
		return appendHuge(dst, *change.At[change.HugeInt](d, i), 0)
	case duck.TypeUHugeInt:
		h := change.At[change.HugeInt](d, i)
		return append128(dst, uint64(h.Hi), h.Lo, 0)
	case duck.TypeBigNum:
		return appendBigNum(dst, change.At[change.String](d, i).Bytes())
	case duck.TypeDecimal:
		scale := int(v.typ.scale)
		switch v.typ.inner {
		case duck.TypeSmallInt:
			return appendScaled(dst, int64(*change.At[int16](d, i)), scale)
		case duck.TypeInteger:
			return appendScaled(dst, int64(*change.At[int32](d, i)), scale)
		case duck.TypeBigInt:
			return appendScaled(dst, *change.At[int64](d, i), scale)
		}
		return appendHuge(dst, *change.At[change.HugeInt](d, i), scale)
	case duck.TypeFloat:
		return appendFloat(dst, v.float(i), 32)
	case duck.TypeDouble:
		return appendFloat(dst, v.float(i), 64)
	case duck.TypeVarchar:
		return append(dst, change.At[change.String](d, i).Bytes()...)
	case duck.TypeEnum:
		return append(dst, v.enum(i)...)
	case duck.TypeBlob, duck.TypeGeometry:
		return hex.AppendEncode(append(dst, '\\', 'x'), change.At[change.String](d, i).Bytes())
	case duck.TypeBit:
		return appendBits(dst, change.At[change.String](d, i).Bytes())
	case duck.TypeUUID:
		return appendUUID(dst, change.At[change.HugeInt](d, i))
	case duck.TypeDate:
		switch days := *change.At[int32](d, i); days {
		case math.MaxInt32:
			return append(dst, "infinity"...)
		case -math.MaxInt32:
			return append(dst, "-infinity"...)
		default:
			return types.AppendDate(dst, int64(days))
		}
	case duck.TypeTime:
		return types.AppendClock(dst, *change.At[uint64](d, i), 1e6)
	case duck.TypeTimeNS:
		return types.AppendClock(dst, *change.At[uint64](d, i), 1e9)
	case duck.TypeTimeTZ:
		return types.AppendTimeTZ(dst, *change.At[uint64](d, i))
	case duck.TypeTimestamp, duck.TypeTimestampS, duck.TypeTimestampMS, duck.TypeTimestampNS, duck.TypeTimestampTZ:
		return v.timestamp(dst, i, ' ', "+00")
	case duck.TypeInterval:
		return types.AppendInterval(dst, change.At[change.Interval](d, i))
	case duck.TypeUnion:
		if m := v.member(i); m != nil {
			return m.text(dst, i)
		}
		return dst
	}
	return v.json(dst, i, false)
}

// timestamp appends infinities by name, else date, sep, time, and zone for a TIMESTAMPTZ.
func (v *vector) timestamp(dst []byte, i int, sep byte, zone string) []byte {
	t := *change.At[int64](&v.Vector, i)
	switch t {
	case math.MaxInt64:
		return append(dst, "infinity"...)
	case -math.MaxInt64:
		return append(dst, "-infinity"...)
	}
	unit := int64(1e6)
	switch v.typ.id {
	case duck.TypeTimestampS:
		unit = 1
	case duck.TypeTimestampMS:
		unit = 1e3
	case duck.TypeTimestampNS:
		unit = 1e9
	}
	if v.typ.id != duck.TypeTimestampTZ {
		zone = ""
	}
	return types.AppendTimestamp(dst, t, unit, sep, zone)
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
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

// appendScaled appends x / 10^scale.
func appendScaled(dst []byte, x int64, scale int) []byte {
	u := uint64(x)
	if x < 0 {
		dst, u = append(dst, '-'), -u
	}
	return append128(dst, 0, u, scale)
}

func appendHuge(dst []byte, h change.HugeInt, scale int) []byte {
	hi, lo := uint64(h.Hi), h.Lo
	if h.Hi < 0 {
		dst = append(dst, '-')
		hi, lo = ^hi, -lo
		if lo == 0 {
			hi++
		}
	}
	return append128(dst, hi, lo, scale)
}

// append128 appends an unsigned number of 128 bits with its decimal point scale digits from the right.
func append128(dst []byte, hi, lo uint64, scale int) []byte {
	var b [64]byte
	var digits []byte
	if hi == 0 {
		digits = strconv.AppendUint(b[:0], lo, 10)
	} else {
		n := new(big.Int).SetUint64(hi)
		digits = n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(lo)).Append(b[:0], 10)
	}
	if scale == 0 {
		return append(dst, digits...)
	}
	whole := len(digits) - scale
	if whole <= 0 {
		dst = append(dst, '0', '.')
		for range -whole {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	return append(append(append(dst, digits[:whole]...), '.'), digits[whole:]...)
}

// appendBigNum reads DuckDB's BIGNUM: three bytes of header, whose first bit is the sign, then the big-endian absolute value; all bits are
// flipped when it is negative.
func appendBigNum(dst, b []byte) []byte {
	const header = 3
	if len(b) < header {
		return append(dst, '0')
	}
	abs := bytes.Clone(b[header:])
	negative := b[0]&0x80 == 0
	if negative {
		for i := range abs {
			abs[i] = ^abs[i]
		}
	}
	n := new(big.Int).SetBytes(abs)
	if negative {
		n.Neg(n)
	}
	return n.Append(dst, 10)
}

// appendBits reads DuckDB's BIT: how many bits at the front are padding, then the bits.
func appendBits(dst, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	for i := int(b[0]); i < 8*(len(b)-1); i++ {
		dst = append(dst, '0'+b[1+i/8]>>(7-i%8)&1)
	}
	return dst
}

func appendUUID(dst []byte, h *change.HugeInt) []byte {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(h.Hi)^1<<63)
	binary.BigEndian.PutUint64(b[8:], h.Lo)
	for i, n := range [...]int{0, 4, 6, 8, 10} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, b[n:[...]int{4, 6, 8, 10, 16}[i]])
	}
	return dst
}
