package store

import (
	"encoding/hex"
	"math"
	"strconv"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// How values are written for clients of PostgreSQL's protocol, by query/pgtype's types: as PostgreSQL itself writes a value of that type, in
// text (DateStyle ISO, IntervalStyle postgres, bytea_output hex) and in binary.
//
//	type                            text                                binary
//	TINYINT, UTINYINT               as int2                             int2
//	USMALLINT, UINTEGER             as int4, int8                       int4, int8
//	UBIGINT, HUGEINT, BIGNUM, …     as numeric                          numeric
//	TIME_NS, TIMESTAMP_NS           cut to microseconds                 the same
//	TIMESTAMPTZ                     in the session's time zone          microseconds since 2000
//	LIST, ARRAY of plain values     {…}                                 an array of one dimension
//	rows without names: ROW(1, 'a') (1,a)                               a record
//	other LISTs, STRUCT, MAP, UNION json                                json
//	ENUM                            text                                text
//	STRUCTs of pgForms              as numeric, oid                     numeric, oid

// AppendPGText appends a value that is not NULL in PostgreSQL's text format.
func (c *ResultChunk) AppendPGText(dst []byte, col, row int) []byte {
	return c.cols[col].pgText(dst, row, c.zone)
}

// AppendPGBinary appends a value that is not NULL in PostgreSQL's binary format, without a length.
func (c *ResultChunk) AppendPGBinary(dst []byte, col, row int) []byte {
	return c.cols[col].pgBinary(dst, row)
}

func (v *vector) pgText(dst []byte, i int, z *zone) []byte {
	d := &v.Vector
	switch v.typ.id {
	case duck.TypeBoolean:
		if *change.At[byte](d, i) != 0 {
			return append(dst, 't')
		}
		return append(dst, 'f')
	case duck.TypeInteger:
		return strconv.AppendInt(dst, int64(*change.At[int32](d, i)), 10)
	case duck.TypeBigInt:
		return strconv.AppendInt(dst, *change.At[int64](d, i), 10)
	case duck.TypeVarchar:
		return append(dst, change.At[change.String](d, i).Bytes()...)
	case duck.TypeFloat:
		return appendPGFloat(dst, v.float(i), 32)
	case duck.TypeDouble:
		return appendPGFloat(dst, v.float(i), 64)
	case duck.TypeDecimal:
		if v.typ.inner == duck.TypeBigInt {
			return appendPGScaled(dst, *change.At[int64](d, i), int(v.typ.scale))
		}
	case duck.TypeBlob, duck.TypeGeometry:
		return hex.AppendEncode(append(dst, '\\', 'x'), change.At[change.String](d, i).Bytes())
	case duck.TypeDate:
		return appendPGDate(dst, *change.At[int32](d, i))
	case duck.TypeTimeNS:
		return types.AppendClock(dst, *change.At[uint64](d, i)/1000, 1e6)
	case duck.TypeTimestamp, duck.TypeTimestampS, duck.TypeTimestampMS, duck.TypeTimestampNS:
		return appendPGTimestamp(dst, *change.At[int64](d, i), unitOf(v.typ.id), nil, false)
	case duck.TypeTimestampTZ:
		return appendPGTimestamp(dst, *change.At[int64](d, i), 1e6, z, true)
	case duck.TypeList, duck.TypeArray:
		if !v.kids[0].typ.scalar() {
			return v.json(dst, i, false)
		}
		return v.pgArrayText(dst, i, z)
	case duck.TypeStruct, duck.TypeMap, duck.TypeUnion:
		switch {
		case v.typ.record():
			return v.pgRecordText(dst, i, z)
		case v.typ.form != pgPlain:
			return v.pgFormText(dst, i)
		}
		return v.json(dst, i, false)
	}
	return v.text(dst, i)
}

// scalar says whether values of the type have no parts.
func (r *resultType) scalar() bool {
	switch r.id {
	case duck.TypeList, duck.TypeArray, duck.TypeStruct, duck.TypeMap, duck.TypeUnion:
		return false
	}
	return true
}

func (v *vector) pgArrayText(dst []byte, i int, z *zone) []byte {
	kid := &v.kids[0]
	dst = append(dst, '{')
	from, to := v.span(i)
	for k := from; k < to; k++ {
		if k > from {
			dst = append(dst, ',')
		}
		if kid.IsNull(k) {
			dst = append(dst, "NULL"...)
			continue
		}
		at := len(dst)
		dst = quoteElement(kid.pgText(dst, k, z), at)
	}
	return append(dst, '}')
}

// quoteElement puts the element at the end of dst, from at on, into quotes where an array needs it.
func quoteElement(dst []byte, at int) []byte {
	elem := dst[at:]
	needed, escapes := len(elem) == 0 || isNullWord(elem), 0
	for _, b := range elem {
		switch b {
		case '"', '\\':
			escapes++
		case '{', '}', ',', ' ', '\t', '\n', '\r', '\v', '\f':
			needed = true
		}
	}
	if !needed && escapes == 0 {
		return dst
	}
	n := len(dst)
	for range escapes + 2 {
		dst = append(dst, '"')
	}
	to := len(dst) - 1
	for from := n - 1; from >= at; from-- {
		to--
		dst[to] = dst[from]
		if b := dst[from]; b == '"' || b == '\\' {
			to--
			dst[to] = '\\'
		}
	}
	dst[at], dst[len(dst)-1] = '"', '"'
	return dst
}

func isNullWord(b []byte) bool {
	return len(b) == 4 && b[0]|0x20 == 'n' && b[1]|0x20 == 'u' && b[2]|0x20 == 'l' && b[3]|0x20 == 'l'
}

// appendPGFloat writes the shortest digits that give the number back, with an exponent where float8out has one.
func appendPGFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	// A decimal of at most 15 digits that is nearest to f is the shortest of all: for usual numbers it is found without a search.
	if x := math.RoundToEven(f * 1e4); bits == 64 && math.Abs(x) < 1e15 && x/1e4 == f && f != 0 {
		dst = appendPGScaled(dst, int64(x), 4)
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
		if dst[len(dst)-1] == '.' {
			dst = dst[:len(dst)-1]
		}
		return dst
	}
	low, high := 1e-4, 1e15
	if bits == 32 {
		low, high = float64(float32(1e-4)), 1e6
	}
	if a := math.Abs(f); a != 0 && (a < low || a >= high) {
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

func unitOf(id duck.Type) int64 {
	switch id {
	case duck.TypeTimestampS:
		return 1
	case duck.TypeTimestampMS:
		return 1e3
	case duck.TypeTimestampNS:
		return 1e9
	}
	return 1e6
}

// appendPGScaled appends x / 10^scale with all its decimals; scale is 18 at most.
func appendPGScaled(dst []byte, x int64, scale int) []byte {
	u := uint64(x)
	if x < 0 {
		dst, u = append(dst, '-'), -u
	}
	// Zeros before the digits are there already: the fraction's, and one before the point.
	b := [20]byte{'0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0'}
	at := len(b)
	for u >= 100 {
		at -= 2
		rest := u % 100
		u /= 100
		b[at], b[at+1] = twoDigits[2*rest], twoDigits[2*rest+1]
	}
	if u >= 10 {
		at--
		b[at] = byte('0' + u%10)
		u /= 10
	}
	if u > 0 {
		at--
		b[at] = byte('0' + u)
	}
	point := len(b) - scale
	dst = append(dst, b[min(at, point-1):point]...)
	if scale == 0 {
		return dst
	}
	return append(append(dst, '.'), b[point:]...)
}
