package store

import (
	"encoding/binary"
	"math"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// Between 1970, from which DuckDB counts, and 2000, from which PostgreSQL does.
const (
	pgEpochDays    = 10957
	pgEpochSeconds = pgEpochDays * 86400
)

func (v *vector) pgBinary(dst []byte, i int) []byte {
	be := binary.BigEndian
	d := &v.Vector
	switch v.typ.id {
	case duck.TypeBoolean:
		return append(dst, *change.At[byte](d, i)&1)
	case duck.TypeTinyInt:
		return be.AppendUint16(dst, uint16(*change.At[int8](d, i)))
	case duck.TypeUTinyInt:
		return be.AppendUint16(dst, uint16(*change.At[uint8](d, i)))
	case duck.TypeSmallInt:
		return be.AppendUint16(dst, *change.At[uint16](d, i))
	case duck.TypeUSmallInt:
		return be.AppendUint32(dst, uint32(*change.At[uint16](d, i)))
	case duck.TypeInteger:
		return be.AppendUint32(dst, *change.At[uint32](d, i))
	case duck.TypeUInteger:
		return be.AppendUint64(dst, uint64(*change.At[uint32](d, i)))
	case duck.TypeBigInt:
		return be.AppendUint64(dst, *change.At[uint64](d, i))
	case duck.TypeUBigInt:
		return types.AppendNumeric(dst, change.HugeInt{Lo: *change.At[uint64](d, i)}, 0)
	case duck.TypeHugeInt:
		return appendPGHuge(dst, *change.At[change.HugeInt](d, i), 0)
	case duck.TypeUHugeInt, duck.TypeBigNum:
		var b [64]byte
		return appendPGDigits(dst, v.text(b[:0], i))
	case duck.TypeDecimal:
		return v.pgDecimal(dst, i)
	case duck.TypeFloat:
		f := *change.At[float32](d, i)
		if f != f {
			return be.AppendUint32(dst, 0x7fc00000)
		}
		return be.AppendUint32(dst, math.Float32bits(f))
	case duck.TypeDouble:
		f := *change.At[float64](d, i)
		if f != f {
			return be.AppendUint64(dst, 0x7ff8000000000000)
		}
		return be.AppendUint64(dst, math.Float64bits(f))
	case duck.TypeVarchar, duck.TypeBlob, duck.TypeGeometry:
		return append(dst, change.At[change.String](d, i).Bytes()...)
	case duck.TypeBit:
		return appendPGBits(dst, change.At[change.String](d, i).Bytes())
	case duck.TypeUUID:
		u := change.At[change.HugeInt](d, i)
		return be.AppendUint64(be.AppendUint64(dst, uint64(u.Hi)^1<<63), u.Lo)
	case duck.TypeDate:
		return be.AppendUint32(dst, uint32(pgDate(*change.At[int32](d, i))))
	case duck.TypeTime:
		return be.AppendUint64(dst, *change.At[uint64](d, i))
	case duck.TypeTimeNS:
		return be.AppendUint64(dst, *change.At[uint64](d, i)/1000)
	case duck.TypeTimeTZ:
		return types.Append(dst, &types.Type{Kind: types.TimeTZ}, d, i)
	case duck.TypeTimestamp, duck.TypeTimestampS, duck.TypeTimestampMS, duck.TypeTimestampNS, duck.TypeTimestampTZ:
		return be.AppendUint64(dst, uint64(pgMicros(*change.At[int64](d, i), unitOf(v.typ.id))))
	case duck.TypeInterval:
		in := change.At[change.Interval](d, i)
		dst = be.AppendUint64(dst, uint64(in.Micros))
		return be.AppendUint32(be.AppendUint32(dst, uint32(in.Days)), uint32(in.Months))
	case duck.TypeList, duck.TypeArray:
		if !v.kids[0].typ.scalar() {
			return v.json(dst, i, false)
		}
		return v.pgArrayBinary(dst, i)
	case duck.TypeStruct, duck.TypeMap, duck.TypeUnion:
		switch {
		case v.typ.record():
			return v.pgRecordBinary(dst, i)
		case v.typ.form != pgPlain:
			return v.pgFormBinary(dst, i)
		}
		return v.json(dst, i, false)
	}
	return v.text(dst, i)
}

func pgDate(days int32) int32 {
	switch days {
	case math.MaxInt32:
		return days
	case -math.MaxInt32:
		return math.MinInt32
	}
	return days - pgEpochDays
}

// pgMicros are microseconds since 2000, cut where a value is finer and held at the ends where it is out of their range.
func pgMicros(t, unit int64) int64 {
	switch t {
	case math.MaxInt64:
		return t
	case -math.MaxInt64:
		return math.MinInt64
	}
	seconds, micros := splitSeconds(t, unit)
	seconds -= pgEpochSeconds
	switch {
	case seconds > math.MaxInt64/1000000-1:
		return math.MaxInt64 - 1
	case seconds < math.MinInt64/1000000+1:
		return math.MinInt64 + 1
	}
	return seconds*1e6 + micros
}

func (v *vector) pgDecimal(dst []byte, i int) []byte {
	scale := int(v.typ.scale)
	switch v.typ.inner {
	case duck.TypeSmallInt:
		return appendPGDecimal(dst, int64(*change.At[int16](&v.Vector, i)), scale)
	case duck.TypeInteger:
		return appendPGDecimal(dst, int64(*change.At[int32](&v.Vector, i)), scale)
	case duck.TypeBigInt:
		return appendPGDecimal(dst, *change.At[int64](&v.Vector, i), scale)
	}
	return appendPGHuge(dst, *change.At[change.HugeInt](&v.Vector, i), scale)
}

func appendPGHuge(dst []byte, h change.HugeInt, scale int) []byte {
	if x := int64(h.Lo); scale <= 18 && h.Hi == x>>63 && x != math.MinInt64 {
		return appendPGDecimal(dst, x, scale)
	}
	if h.Hi == math.MinInt64 && h.Lo == 0 {
		var b [64]byte
		return appendPGDigits(dst, appendHuge(b[:0], h, 0)) // its absolute value has no 127 bits
	}
	return types.AppendNumeric(dst, h, scale)
}

var powers10 = func() (p [19]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

// appendPGDecimal appends x / 10^scale as a numeric: groups of four digits counted from the decimal point.
func appendPGDecimal(dst []byte, x int64, scale int) []byte {
	u, sign := uint64(x), uint16(0)
	if x < 0 {
		u, sign = -u, 0x4000
	}
	var groups [12]uint16 // least significant first
	n, decimals := 0, (scale+3)/4
	if pad := powers10[4*decimals-scale]; u <= math.MaxUint64/pad {
		// Divisions by a constant are the cheap ones.
		for u *= pad; u > 0; n++ {
			groups[n] = uint16(u % 10000)
			u /= 10000
		}
		n = max(n, decimals)
	} else {
		whole := u / powers10[scale]
		fraction := u - whole*powers10[scale]
		if rest := scale % 4; rest != 0 {
			cut := powers10[rest]
			groups[0], n = uint16(fraction%cut*powers10[4-rest]), 1
			fraction /= cut
		}
		for n < decimals {
			groups[n] = uint16(fraction % 10000)
			fraction /= 10000
			n++
		}
		for ; whole > 0; n++ {
			groups[n] = uint16(whole % 10000)
			whole /= 10000
		}
	}
	first := 0
	for n > 0 && groups[n-1] == 0 {
		n--
	}
	for first < n && groups[first] == 0 {
		first++
	}
	weight := n - 1 - decimals
	if first == n {
		weight = 0
	}
	be := binary.BigEndian
	dst = be.AppendUint16(dst, uint16(n-first))
	dst = be.AppendUint16(dst, uint16(int16(weight)))
	dst = be.AppendUint16(dst, sign)
	dst = be.AppendUint16(dst, uint16(scale))
	for k := n - 1; k >= first; k-- {
		dst = be.AppendUint16(dst, groups[k])
	}
	return dst
}

// appendPGDigits appends a whole number, given by its digits, as a numeric.
func appendPGDigits(dst, digits []byte) []byte {
	be := binary.BigEndian
	sign := uint16(0)
	if len(digits) > 0 && digits[0] == '-' {
		sign, digits = 0x4000, digits[1:]
	}
	for len(digits) > 0 && digits[0] == '0' {
		digits = digits[1:]
	}
	count := (len(digits) + 3) / 4
	weight := max(count-1, 0)
	kept := len(digits)
	for kept > 0 && digits[kept-1] == '0' {
		kept--
	}
	if kept == 0 {
		sign = 0
	}
	// Groups count from the end, so the first may be short; those that are all zeros at the end are left out.
	last := count - (len(digits)-kept)/4
	dst = be.AppendUint16(dst, uint16(last))
	dst = be.AppendUint16(dst, uint16(weight))
	dst = be.AppendUint16(dst, sign)
	dst = be.AppendUint16(dst, 0)
	from := 0
	for g := range last {
		to := len(digits) - 4*(count-1-g)
		group := uint16(0)
		for _, b := range digits[from:to] {
			group = group*10 + uint16(b-'0')
		}
		dst = be.AppendUint16(dst, group)
		from = to
	}
	return dst
}

// appendPGBits turns DuckDB's BIT, padded at its front, into a varbit, which is padded at its end.
func appendPGBits(dst, b []byte) []byte {
	if len(b) == 0 {
		return binary.BigEndian.AppendUint32(dst, 0)
	}
	pad, b := int(b[0]), b[1:]
	n := 8*len(b) - pad
	dst = binary.BigEndian.AppendUint32(dst, uint32(n))
	at := len(dst)
	for range (n + 7) / 8 {
		dst = append(dst, 0)
	}
	for i := range n {
		from := i + pad
		dst[at+i/8] |= b[from/8] >> (7 - from%8) & 1 << (7 - i%8)
	}
	return dst
}

// pgElements are the OIDs of arrays' elements, as query/pgtype has them; the others are text.
var pgElements = map[duck.Type]uint32{
	duck.TypeBoolean: 16, duck.TypeTinyInt: 21, duck.TypeSmallInt: 21, duck.TypeInteger: 23, duck.TypeBigInt: 20, duck.TypeUTinyInt: 21,
	duck.TypeUSmallInt: 23, duck.TypeUInteger: 20, duck.TypeUBigInt: 1700, duck.TypeHugeInt: 1700, duck.TypeUHugeInt: 1700, duck.TypeBigNum: 1700,
	duck.TypeDecimal: 1700, duck.TypeFloat: 700, duck.TypeDouble: 701, duck.TypeBlob: 17, duck.TypeGeometry: 17, duck.TypeBit: 1562,
	duck.TypeUUID: 2950, duck.TypeDate: 1082, duck.TypeTime: 1083, duck.TypeTimeNS: 1083, duck.TypeTimeTZ: 1266, duck.TypeTimestamp: 1114,
	duck.TypeTimestampS: 1114, duck.TypeTimestampMS: 1114, duck.TypeTimestampNS: 1114, duck.TypeTimestampTZ: 1184, duck.TypeInterval: 1186,
}

func (r *resultType) pgElement() uint32 {
	if r.alias == "JSON" {
		return 114
	}
	if oid, ok := pgElements[r.id]; ok {
		return oid
	}
	return 25
}

func (v *vector) pgArrayBinary(dst []byte, i int) []byte {
	be := binary.BigEndian
	kid := &v.kids[0]
	from, to := v.span(i)
	dimensions, nulls := uint32(1), uint32(0)
	if from == to {
		dimensions = 0
	}
	for k := from; k < to && nulls == 0; k++ {
		if kid.IsNull(k) {
			nulls = 1
		}
	}
	dst = be.AppendUint32(dst, dimensions)
	dst = be.AppendUint32(dst, nulls)
	dst = be.AppendUint32(dst, kid.typ.pgElement())
	if from == to {
		return dst
	}
	dst = be.AppendUint32(dst, uint32(to-from))
	dst = be.AppendUint32(dst, 1)
	for k := from; k < to; k++ {
		if kid.IsNull(k) {
			dst = be.AppendUint32(dst, math.MaxUint32)
			continue
		}
		at := len(dst)
		dst = kid.pgBinary(append(dst, 0, 0, 0, 0), k)
		be.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	return dst
}
