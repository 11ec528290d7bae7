package store

import (
	"math"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"
	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
)

// layout is how a column's values get from DuckDB's memory to Arrow's.
type layout uint8

const (
	asNull    layout = iota
	asBits           // bytes to bits
	asFixed          // the same bytes in both
	asDecimal        // widened to 128 bits
	asMicros         // seconds to microseconds
	asPeriod         // an interval
	asBytes          // strings
	asName           // an enum's names
	asText           // as vector.text writes it
	asList           // lists, maps
	asArray          // as many elements in every row
	asStruct
	asMembers // a union as a struct of its members
	asUnion
)

// arrowColumn is a column of Arrow that grows.
type arrowColumn struct {
	typ     arrow.DataType
	mem     memory.Allocator
	layout  layout
	width   int // bytes of a value in Arrow
	n       int // rows
	nulls   int
	valid   growing // only when there are nulls
	offsets growing
	data    growing // an union's tags
	kids    []arrowColumn
	scratch []byte
}

func newArrowColumn(t *resultType, typ arrow.DataType, mem memory.Allocator, form ArrowForm) arrowColumn {
	c := arrowColumn{typ: typ, mem: mem}
	kid := func(i int, typ arrow.DataType) {
		c.kids = append(c.kids, newArrowColumn(&t.kids[i], typ, mem, form))
	}
	fields := func() {
		for i, f := range typ.(arrow.NestedType).Fields() {
			kid(i, f.Type)
		}
	}
	switch t.id {
	case duck.TypeSQLNull:
		c.layout = asNull
	case duck.TypeBoolean:
		c.layout = asBits
	case duck.TypeDecimal:
		c.layout, c.width = asDecimal, 16
		if t.inner == duck.TypeHugeInt {
			c.layout = asFixed
		}
	case duck.TypeVarchar, duck.TypeBlob, duck.TypeGeometry:
		c.layout = asBytes
	case duck.TypeEnum:
		c.layout = asName
	case duck.TypeList:
		c.layout = asList
		kid(0, typ.(arrow.ListLikeType).Elem())
	case duck.TypeMap:
		m := typ.(*arrow.MapType)
		pair := arrowColumn{typ: m.Elem(), mem: mem, layout: asStruct}
		pair.kids = append(pair.kids, newArrowColumn(&t.kids[0], m.KeyType(), mem, form), newArrowColumn(&t.kids[1], m.ItemType(), mem, form))
		c.layout, c.kids = asList, []arrowColumn{pair}
	case duck.TypeArray:
		c.layout, c.width = asArray, t.size
		if form == ArrowParquet {
			c.layout = asList
		}
		kid(0, typ.(arrow.ListLikeType).Elem())
	case duck.TypeStruct:
		c.layout = asStruct
		fields()
	case duck.TypeUnion:
		c.layout = asUnion
		if form == ArrowParquet {
			c.layout = asMembers
		}
		fields()
	default:
		switch fixed, isFixed := typ.(arrow.FixedWidthDataType); {
		case !isFixed:
			c.layout = asText
		case t.id == duck.TypeInterval:
			c.layout, c.width = asPeriod, 16
		case t.id == duck.TypeTimestampS && form == ArrowParquet:
			c.layout, c.width = asMicros, 8
		default:
			c.layout, c.width = asFixed, fixed.Bytes()
		}
	}
	return c
}

// textBytes is about what asText needs for a value that is not as long as its column's strings.
const textBytes = 40

// size is how many bytes rows from to to will take.
func (c *arrowColumn) size(v *vector, from, to int) int {
	n := to - from
	sum := n / 8
	switch c.layout {
	case asNull:
		return 0
	case asBits:
		sum += n / 8
	case asFixed, asDecimal, asMicros, asPeriod:
		sum += n * c.width
	case asBytes:
		return sum + n*4 + stringBytes(v, from, to)
	case asName:
		sum += n * 4
		for i := from; i < to; i++ {
			if !v.IsNull(i) {
				sum += len(v.enum(i))
			}
		}
	case asText:
		sum += n * (4 + textBytes)
		if v.typ.id == duck.TypeBit || v.typ.id == duck.TypeBigNum {
			sum += 8 * stringBytes(v, from, to)
		}
	case asList:
		sum += n * 4
		v.spans(from, to, func(a, b int) { sum += c.kids[0].size(&v.kids[0], a, b) })
	case asArray:
		sum += c.kids[0].size(&v.kids[0], from*c.width, to*c.width)
	case asStruct:
		for i := range c.kids {
			sum += c.kids[i].size(&v.kids[i], from, to)
		}
	case asMembers, asUnion:
		sum += n
		for i := range c.kids {
			sum += c.kids[i].size(&v.kids[1+i], from, to)
		}
	}
	return sum
}

func stringBytes(v *vector, from, to int) (sum int) {
	for i := from; i < to; i++ {
		if !v.IsNull(i) {
			sum += int(uint32(change.At[change.String](&v.Vector, i).Head))
		}
	}
	return sum
}

// spans calls f with the elements of rows from to to, in their order, as few ranges as there are.
func (v *vector) spans(from, to int, f func(from, to int)) {
	begin, end := 0, 0
	for i := from; i < to; i++ {
		if v.IsNull(i) {
			continue
		}
		a, b := v.span(i)
		if a != end {
			if end > begin {
				f(begin, end)
			}
			begin = a
		}
		end = b
	}
	if end > begin {
		f(begin, end)
	}
}

// append copies rows from to to of v.
func (c *arrowColumn) append(v *vector, from, to int) error {
	n := to - from
	if n == 0 {
		return nil
	}
	mask := &v.Vector
	switch c.layout {
	case asNull:
		c.n += n
		c.nulls += n
		return nil
	case asUnion:
		mask = nil
	case asMembers:
		mask = &v.kids[0].Vector
	}
	nulls := 0
	if mask != nil {
		nulls = c.appendValid(mask, from, n)
	}
	var err error
	switch c.layout {
	case asBits:
		c.appendBits(v, from, n)
	case asFixed:
		if v.typ.id == duck.TypeHugeInt {
			if err := fitsDecimal(v, from, to); err != nil {
				return err
			}
		}
		dst := c.data.extend(c.mem, n*c.width)
		copy(dst, unsafe.Slice((*byte)(unsafe.Add(v.Data, from*c.width)), n*c.width))
		if nulls > 0 {
			clearNulls(dst, v, from, n, c.width)
		}
	case asDecimal:
		c.appendDecimals(v, from, n)
	case asMicros:
		c.appendMicros(v, from, n)
	case asPeriod:
		err = c.appendPeriods(v, from, n)
	case asBytes:
		err = c.appendStrings(v, from, n)
	case asName, asText:
		err = c.appendText(v, from, n)
	case asList:
		err = c.appendLists(v, from, n)
	case asArray:
		err = c.kids[0].append(&v.kids[0], from*c.width, to*c.width)
	case asStruct:
		for i := 0; i < len(c.kids) && err == nil; i++ {
			err = c.kids[i].append(&v.kids[i], from, to)
		}
	case asUnion, asMembers:
		err = c.appendUnion(v, from, to)
	}
	c.n += n
	return err
}

// appendValid copies n bits of validity and says how many of them are NULL.
func (c *arrowColumn) appendValid(v *change.Vector, from, n int) (nulls int) {
	var src []byte
	if v.Valid != nil {
		src = unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v.Valid))), 8*len(v.Valid))
		nulls = n - bitutil.CountSetBits(src, from, n)
	}
	if nulls == 0 && c.nulls == 0 {
		return 0
	}
	c.nulls += nulls
	if c.valid.len() == 0 && c.n > 0 {
		c.valid.extend(c.mem, int(bitutil.BytesForBits(int64(c.n))))
		bitutil.SetBitsTo(c.valid.bytes(), 0, int64(c.n), true)
	}
	clear(c.valid.extend(c.mem, int(bitutil.BytesForBits(int64(c.n+n)))-c.valid.len()))
	if nulls == 0 {
		bitutil.SetBitsTo(c.valid.bytes(), int64(c.n), int64(n), true)
	} else {
		bitutil.CopyBitmap(src, from, n, c.valid.bytes(), c.n)
	}
	return nulls
}

// 10^38, the first number that a decimal128 does not promise to hold.
const (
	hugeHi = 0x4B3B4CA85A86C47A
	hugeLo = 0x098A224000000000
)

// fitsDecimal refuses numbers of 39 digits: there are readers that would take them for NULL.
func fitsDecimal(v *vector, from, to int) error {
	for i := from; i < to; i++ {
		h := change.At[change.HugeInt](&v.Vector, i)
		if h.Hi < hugeHi && h.Hi > -hugeHi || v.IsNull(i) {
			continue
		}
		hi, lo := uint64(h.Hi), h.Lo
		if h.Hi < 0 {
			if hi, lo = ^hi, -lo; lo == 0 {
				hi++
			}
		}
		if hi > hugeHi || hi == hugeHi && lo >= hugeLo {
			return fault.New(fault.InvalidSQL, "cast it to VARCHAR", "the number %s has more digits than the %d of Arrow's decimals", v.text(nil, i), hugeDigits)
		}
	}
	return nil
}

// clearNulls overwrites what lies below NULLs: left-overs of whatever DuckDB used the memory for, which are not the reader's.
func clearNulls(dst []byte, v *vector, from, n, width int) {
	for i := range n {
		if v.IsNull(from + i) {
			clear(dst[i*width : (i+1)*width])
		}
	}
}

func (c *arrowColumn) appendBits(v *vector, from, n int) {
	clear(c.data.extend(c.mem, int(bitutil.BytesForBits(int64(c.n+n)))-c.data.len()))
	bits := c.data.bytes()
	src := unsafe.Slice((*byte)(unsafe.Add(v.Data, from)), n)
	for i, b := range src {
		if at := c.n + i; b != 0 && !v.IsNull(from+i) {
			bits[at>>3] |= 1 << (at & 7)
		} else {
			bits[at>>3] &^= 1 << (at & 7)
		}
	}
}

func (c *arrowColumn) appendDecimals(v *vector, from, n int) {
	dst := cast[change.HugeInt](c.data.extend(c.mem, n*c.width))
	switch v.typ.inner {
	case duck.TypeSmallInt:
		widen[int16](dst, v, from)
	case duck.TypeInteger:
		widen[int32](dst, v, from)
	default:
		widen[int64](dst, v, from)
	}
}

func widen[T int16 | int32 | int64](dst []change.HugeInt, v *vector, from int) {
	src := unsafe.Slice(change.At[T](&v.Vector, from), len(dst))
	for i, x := range src {
		if v.IsNull(from + i) {
			x = 0
		}
		dst[i] = change.HugeInt{Lo: uint64(int64(x)), Hi: int64(x) >> 63}
	}
}

func (c *arrowColumn) appendMicros(v *vector, from, n int) {
	dst := cast[int64](c.data.extend(c.mem, n*c.width))
	for i := range dst {
		dst[i] = 0
		if v.IsNull(from + i) {
			continue
		}
		s := *change.At[int64](&v.Vector, from+i)
		if s != math.MaxInt64 && s != -math.MaxInt64 {
			s *= 1e6
		}
		dst[i] = s
	}
}

func (c *arrowColumn) appendPeriods(v *vector, from, n int) error {
	dst := cast[arrow.MonthDayNanoInterval](c.data.extend(c.mem, n*c.width))
	for i := range dst {
		dst[i] = arrow.MonthDayNanoInterval{}
		if v.IsNull(from + i) {
			continue
		}
		p := change.At[change.Interval](&v.Vector, from+i)
		if p.Micros > math.MaxInt64/1000 || p.Micros < math.MinInt64/1000 {
			return fault.New(fault.InvalidSQL, "cast it to VARCHAR", "the interval %s has more nanoseconds than Arrow can hold", v.text(nil, from+i))
		}
		dst[i] = arrow.MonthDayNanoInterval{Months: p.Months, Days: p.Days, Nanoseconds: p.Micros * 1000}
	}
	return nil
}

// ends makes room for the ends of n values more, the first of all after a zero.
func (c *arrowColumn) ends(n int) []int32 {
	if c.offsets.len() == 0 {
		clear(c.offsets.extend(c.mem, 4))
	}
	return cast[int32](c.offsets.extend(c.mem, 4*n))
}

func errTooLong() error {
	return fault.New(fault.InvalidSQL, "ask for less in one row", "one row has more than Arrow's 2 GiB in a column")
}

func (c *arrowColumn) appendStrings(v *vector, from, n int) error {
	ends := c.ends(n)
	begin := c.data.len()
	end := begin
	src := unsafe.Slice(change.At[change.String](&v.Vector, from), n)
	for i := range src {
		if !v.IsNull(from + i) {
			end += int(uint32(src[i].Head))
		}
		if end > math.MaxInt32 {
			return errTooLong()
		}
		ends[i] = int32(end)
	}
	dst := c.data.extend(c.mem, end-begin)
	for i := range src {
		if !v.IsNull(from + i) {
			dst = dst[copy(dst, src[i].Bytes()):]
		}
	}
	return nil
}

func (c *arrowColumn) appendText(v *vector, from, n int) error {
	ends := c.ends(n)
	for i := range ends {
		if !v.IsNull(from + i) {
			if c.layout == asName {
				name := v.enum(from + i)
				copy(c.data.extend(c.mem, len(name)), name)
			} else {
				c.scratch = v.text(c.scratch[:0], from+i)
				copy(c.data.extend(c.mem, len(c.scratch)), c.scratch)
			}
		}
		if c.data.len() > math.MaxInt32 {
			return errTooLong()
		}
		ends[i] = int32(c.data.len())
	}
	return nil
}

func (c *arrowColumn) appendLists(v *vector, from, n int) (err error) {
	ends := c.ends(n)
	end := c.kids[0].n
	for i := range ends {
		if !v.IsNull(from + i) {
			a, b := v.span(from + i)
			end += b - a
		}
		if end > math.MaxInt32 {
			return errTooLong()
		}
		ends[i] = int32(end)
	}
	v.spans(from, from+n, func(a, b int) {
		if err == nil {
			err = c.kids[0].append(&v.kids[0], a, b)
		}
	})
	return err
}

// appendUnion copies all members: DuckDB's unions are as sparse as Arrow's, and a member that is not set is NULL.
func (c *arrowColumn) appendUnion(v *vector, from, to int) error {
	if c.layout == asUnion {
		tags := &v.kids[0]
		dst := c.data.extend(c.mem, to-from)
		for i := range dst {
			dst[i] = 0 // a union that is NULL: so is its first member
			if !tags.IsNull(from + i) {
				dst[i] = *change.At[byte](&tags.Vector, from+i)
			}
		}
	}
	for i := range c.kids {
		if err := c.kids[i].append(&v.kids[1+i], from, to); err != nil {
			return err
		}
	}
	return nil
}

// take hands out the rows, the caller's to release, and leaves an empty column.
func (c *arrowColumn) take() arrow.ArrayData {
	var buffers []*memory.Buffer
	switch c.layout {
	case asNull:
		buffers = []*memory.Buffer{nil}
	case asBits, asFixed, asDecimal, asMicros, asPeriod, asUnion:
		buffers = []*memory.Buffer{c.valid.take(), c.data.take()}
	case asBytes, asName, asText:
		c.ends(0)
		buffers = []*memory.Buffer{c.valid.take(), c.offsets.take(), c.data.take()}
	case asList:
		c.ends(0)
		buffers = []*memory.Buffer{c.valid.take(), c.offsets.take()}
	case asArray, asStruct, asMembers:
		buffers = []*memory.Buffer{c.valid.take()}
	}
	var kids []arrow.ArrayData
	for i := range c.kids {
		kids = append(kids, c.kids[i].take())
	}
	data := array.NewData(c.typ, c.n, buffers, kids, c.nulls, 0)
	for _, b := range buffers {
		if b != nil {
			b.Release()
		}
	}
	for _, k := range kids {
		k.Release()
	}
	c.n, c.nulls = 0, 0
	return data
}

func (c *arrowColumn) release() {
	c.valid.release()
	c.offsets.release()
	c.data.release()
	for i := range c.kids {
		c.kids[i].release()
	}
	c.n, c.nulls = 0, 0
}

// growing is a buffer of Arrow's that begins as large as the one before it became.
type growing struct {
	buf  *memory.Buffer // nil while it is empty
	last int
}

func (g *growing) len() int {
	if g.buf == nil {
		return 0
	}
	return g.buf.Len()
}

func (g *growing) bytes() []byte { return g.buf.Bytes() }

// extend makes room for n bytes more, which hold anything, and returns them.
func (g *growing) extend(mem memory.Allocator, n int) []byte {
	if n == 0 {
		return nil
	}
	if g.buf == nil {
		g.buf = memory.NewResizableBuffer(mem)
		g.buf.Reserve(max(n, g.last))
	}
	at := g.buf.Len()
	if at+n > g.buf.Cap() {
		g.buf.Reserve(max(at+n, 2*g.buf.Cap()))
	}
	g.buf.ResizeNoShrink(at + n)
	return g.buf.Bytes()[at:]
}

func (g *growing) take() *memory.Buffer {
	b := g.buf
	g.buf, g.last = nil, g.len()
	return b
}

func (g *growing) release() {
	if g.buf != nil {
		g.buf.Release()
	}
	g.buf = nil
}

// cast shows bytes as values of T; b begins at one.
func cast[T any](b []byte) []T {
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(zero)))
}
