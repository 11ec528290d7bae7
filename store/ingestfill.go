package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"unicode/utf8"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
)

// Arrays come from clients: offsets, indexes and lengths are taken for what they are only after a look. Numbers are copied, and what is
// longer than a string_t can hold is pointed at, so the arrays must stay, pinned, until DuckDB has taken the rows.

// span is some rows of an array: n from from on, or those of pick, where -1 is NULL.
type span struct {
	from, n int
	pick    []int
}

func (s span) at(i int) int {
	if s.pick != nil {
		return s.pick[i]
	}
	return s.from + i
}

var (
	errMalformed = errors.New("the batch is malformed")
	errHuge      = errors.New("the lists of a row have too many elements")
)

// fill lays rows s of a into v.
func (p *putType) fill(v duck.Vector, a arrow.Array, s span) error {
	if s.n == 0 {
		return nil
	}
	if s.n > elementsMax {
		return errHuge
	}
	if s.pick == nil && (s.from < 0 || s.from+s.n > a.Len()) {
		return errMalformed
	}
	for {
		if e, ok := a.(array.ExtensionArray); ok {
			a = e.Storage()
			continue
		}
		inner, picked, err := unfold(a, s)
		if err != nil {
			return err
		}
		if inner == nil {
			break
		}
		a, s = inner, picked
	}
	if p.form == formNull {
		nullAll(v, s.n)
		return nil
	}
	nulls := putNulls(v, a, s)
	switch p.form {
	case formCopy:
		if err := p.copy(v, a, s); err != nil {
			return err
		}
		return p.bounds(v, a, s)
	case formBool, formBool8, formHalf:
		return p.narrow(v, a, s)
	case formDecimal:
		return p.decimal(v, a, s)
	case formBytes, formUUID:
		return p.bytes(v, a, s)
	case formScaled:
		return p.scaled(v, a, s)
	case formInterval:
		return p.interval(v, a, s)
	case formStruct:
		st, ok := a.(*array.Struct)
		if !ok || st.NumField() != len(p.nested) {
			return errMalformed
		}
		if nulls {
			s = masked(a, s)
		}
		for k := range p.nested {
			if err := p.nested[k].fill(duck.StructVectorGetChild(v, duck.IdxT(k)), st.Field(k), s); err != nil {
				return err
			}
		}
		return nil
	case formArray:
		if nulls {
			s = masked(a, s)
		}
		return p.array(v, a, s)
	case formList, formMap:
		return p.list(v, a, s)
	}
	return errMalformed
}

// validity is v's own bits for n values, all of them set.
func validity(v duck.Vector, n int) []uint64 {
	duck.VectorEnsureValidityWritable(v)
	words := unsafe.Slice((*uint64)(duck.VectorGetValidity(v)), (n+63)/64)
	fill(words)
	return words
}

func nullAll(v duck.Vector, n int) {
	clear(validity(v, n))
}

// putNulls tells v which rows are NULL, and its caller whether there are any.
func putNulls(v duck.Vector, a arrow.Array, s span) bool {
	bitmap := a.NullBitmapBytes()
	if s.pick == nil {
		if len(bitmap) == 0 || bitutil.CountSetBits(bitmap, a.Data().Offset()+s.from, s.n) == s.n {
			return false
		}
	} else if len(bitmap) == 0 && !slices.Contains(s.pick, -1) {
		return false
	}
	words := validity(v, s.n)
	for i := range s.n {
		if j := s.at(i); j < 0 || a.IsNull(j) {
			words[i>>6] &^= 1 << (i & 63)
		}
	}
	return true
}

// values is DuckDB's memory of v for n values of T.
func values[T any](v duck.Vector, n int) []T {
	return unsafe.Slice((*T)(duck.VectorGetData(v)), n)
}

func (p *putType) copy(v duck.Vector, a arrow.Array, s span) error {
	buffers := a.Data().Buffers()
	if len(buffers) < 2 || buffers[1] == nil || p.width*8 != fixedBits(a.DataType()) {
		return errMalformed
	}
	src, dst, w := buffers[1].Bytes(), values[byte](v, s.n*p.width), p.width
	off := a.Data().Offset()
	if s.pick == nil {
		at := (off + s.from) * w
		copy(dst, src[at:at+s.n*w])
		return nil
	}
	for i, j := range s.pick {
		if j >= 0 {
			at := (off + j) * w
			copy(dst[i*w:(i+1)*w], src[at:at+w])
		}
	}
	return nil
}

func fixedBits(t arrow.DataType) int {
	if f, ok := t.(arrow.FixedWidthDataType); ok {
		return f.BitWidth()
	}
	return -1
}

// bounds checks numbers that were copied.
func (p *putType) bounds(v duck.Vector, a arrow.Array, s span) error {
	if p.lo == p.hi {
		return nil
	}
	outside := func(i int, x, end int64) error {
		if x >= p.lo && x <= p.hi || p.ends && (x == end || x == -end) {
			return nil
		}
		if j := s.at(i); j < 0 || a.IsNull(j) {
			return nil
		}
		return fmt.Errorf("%d is outside of what %s can hold", x, p.name())
	}
	if p.width == 4 {
		for i, x := range values[int32](v, s.n) {
			if err := outside(i, int64(x), math.MaxInt32); err != nil {
				return err
			}
		}
		return nil
	}
	for i, x := range values[int64](v, s.n) {
		if err := outside(i, x, math.MaxInt64); err != nil {
			return err
		}
	}
	return nil
}

func (p *putType) narrow(v duck.Vector, a arrow.Array, s span) error {
	switch a := a.(type) {
	case *array.Boolean:
		for i, dst := 0, values[byte](v, s.n); i < s.n; i++ {
			if j := s.at(i); j >= 0 && a.Value(j) {
				dst[i] = 1
			} else {
				dst[i] = 0
			}
		}
	case *array.Int8:
		for i, dst := 0, values[byte](v, s.n); i < s.n; i++ {
			if j := s.at(i); j >= 0 && a.Value(j) != 0 {
				dst[i] = 1
			} else {
				dst[i] = 0
			}
		}
	case *array.Float16:
		for i, dst := 0, values[float32](v, s.n); i < s.n; i++ {
			if j := s.at(i); j >= 0 {
				dst[i] = a.Value(j).Float32()
			}
		}
	default:
		return errMalformed
	}
	return nil
}

func (p *putType) decimal(v duck.Vector, a arrow.Array, s span) error {
	var at func(i int) (decimal128.Num, bool)
	switch a := a.(type) {
	case *array.Decimal32:
		at = func(i int) (decimal128.Num, bool) { return decimal128.FromI64(int64(a.Value(i))), true }
	case *array.Decimal64:
		at = func(i int) (decimal128.Num, bool) { return decimal128.FromI64(int64(a.Value(i))), true }
	case *array.Decimal128:
		at = func(i int) (decimal128.Num, bool) { return a.Value(i), true }
	case *array.Decimal256:
		at = func(i int) (decimal128.Num, bool) {
			w := a.Value(i).Array()
			sign := uint64(int64(w[1]) >> 63)
			return decimal128.New(int64(w[1]), w[0]), w[2] == sign && w[3] == sign
		}
	default:
		return errMalformed
	}
	data := duck.VectorGetData(v)
	for i := range s.n {
		j := s.at(i)
		if j < 0 || a.IsNull(j) {
			continue
		}
		x, ok := at(j)
		// The least number has no counterpart, and so no place in 38 digits.
		if !ok || x == decimal128.New(math.MinInt64, 0) || !x.FitsInPrecision(int32(p.resultType.width)) {
			return fmt.Errorf("a value has more digits than %s", p.name())
		}
		switch p.inner {
		case duck.TypeSmallInt:
			*(*int16)(unsafe.Add(data, 2*i)) = int16(x.LowBits())
		case duck.TypeInteger:
			*(*int32)(unsafe.Add(data, 4*i)) = int32(x.LowBits())
		case duck.TypeBigInt:
			*(*int64)(unsafe.Add(data, 8*i)) = int64(x.LowBits())
		default:
			*(*change.HugeInt)(unsafe.Add(data, 16*i)) = change.HugeInt{Lo: x.LowBits(), Hi: x.HighBits()}
		}
	}
	return nil
}

// bytesOf gives the bytes of row i of an array of texts or binaries; nil when a is none.
func bytesOf(a arrow.Array) func(i int) []byte {
	text := func(value func(int) string) func(int) []byte {
		return func(i int) []byte {
			s := value(i)
			return unsafe.Slice(unsafe.StringData(s), len(s))
		}
	}
	switch a := a.(type) {
	case *array.String:
		return text(a.Value)
	case *array.LargeString:
		return text(a.Value)
	case *array.StringView:
		return text(a.Value)
	case *array.Binary:
		return a.Value
	case *array.LargeBinary:
		return a.Value
	case *array.BinaryView:
		return a.Value
	case *array.FixedSizeBinary:
		return a.Value
	}
	return nil
}

func (p *putType) bytes(v duck.Vector, a arrow.Array, s span) error {
	at := bytesOf(a)
	if at == nil {
		return errMalformed
	}
	if p.form == formUUID {
		dst := values[change.HugeInt](v, s.n)
		for i := range dst {
			if j := s.at(i); j >= 0 && a.IsValid(j) {
				b := at(j)
				if len(b) != 16 {
					return errMalformed
				}
				// So that it orders as its text does.
				dst[i] = change.HugeInt{Lo: binary.BigEndian.Uint64(b[8:]), Hi: int64(binary.BigEndian.Uint64(b) ^ 1<<63)}
			}
		}
		return nil
	}
	dst := values[change.String](v, s.n)
	for i := range dst {
		j := s.at(i)
		if j < 0 || a.IsNull(j) {
			dst[i] = change.String{}
			continue
		}
		b := at(j)
		switch {
		case len(b) > math.MaxUint32:
			return fmt.Errorf("a value has %d bytes, the most is %d", len(b), uint32(math.MaxUint32))
		case p.id == duck.TypeVarchar && !utf8.Valid(b):
			return errors.New("a text is not valid UTF-8")
		}
		dst[i] = stringOf(b)
	}
	return nil
}

// stringOf points at b if it does not fit within.
func stringOf(b []byte) (s change.String) {
	s.Head = uint64(uint32(len(b)))
	if len(b) <= change.InlineMax {
		copy(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&s), 4)), change.InlineMax), b)
		return s
	}
	s.Head |= uint64(binary.LittleEndian.Uint32(b)) << 32
	s.Tail = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	return s
}

// in converts x, a number of units, exactly.
func (p *putType) in(x int64) (int64, error) {
	if p.mul > 1 {
		hi, lo := bits.Mul64(uint64(max(x, -x)), uint64(p.mul))
		if x == math.MinInt64 || hi != 0 || lo > math.MaxInt64 {
			return 0, fmt.Errorf("%d is outside of what %s can hold", x, p.name())
		}
		x *= p.mul
	}
	if p.div > 1 {
		if x%p.div != 0 {
			return 0, fmt.Errorf("%d is finer than %s can hold", x, p.name())
		}
		x /= p.div
	}
	if p.lo != p.hi && (x < p.lo || x > p.hi) {
		return 0, fmt.Errorf("%d is outside of what %s can hold", x, p.name())
	}
	return x, nil
}

func (p *putType) scaled(v duck.Vector, a arrow.Array, s span) error {
	var at func(i int) int64
	switch a := a.(type) {
	case *array.Date64:
		at = func(i int) int64 { return int64(a.Value(i)) }
	case *array.Time32:
		at = func(i int) int64 { return int64(a.Value(i)) }
	case *array.Timestamp:
		at = func(i int) int64 { return int64(a.Value(i)) }
	default:
		return errMalformed
	}
	data := duck.VectorGetData(v)
	for i := range s.n {
		j := s.at(i)
		if j < 0 || a.IsNull(j) {
			continue
		}
		x, err := p.in(at(j))
		if err != nil {
			return err
		}
		if p.id == duck.TypeDate {
			*(*int32)(unsafe.Add(data, 4*i)) = int32(x)
		} else {
			*(*int64)(unsafe.Add(data, 8*i)) = x
		}
	}
	return nil
}

func (p *putType) interval(v duck.Vector, a arrow.Array, s span) error {
	var at func(i int) (months, days int32, rest int64)
	switch a := a.(type) {
	case *array.Duration:
		at = func(i int) (int32, int32, int64) { return 0, 0, int64(a.Value(i)) }
	case *array.MonthInterval:
		at = func(i int) (int32, int32, int64) { return int32(a.Value(i)), 0, 0 }
	case *array.DayTimeInterval:
		at = func(i int) (int32, int32, int64) { x := a.Value(i); return 0, x.Days, int64(x.Milliseconds) }
	case *array.MonthDayNanoInterval:
		at = func(i int) (int32, int32, int64) { x := a.Value(i); return x.Months, x.Days, x.Nanoseconds }
	default:
		return errMalformed
	}
	dst := values[change.Interval](v, s.n)
	for i := range dst {
		j := s.at(i)
		if j < 0 || a.IsNull(j) {
			continue
		}
		months, days, rest := at(j)
		micros, err := p.in(rest)
		if err != nil {
			return err
		}
		dst[i] = change.Interval{Months: months, Days: days, Micros: micros}
	}
	return nil
}

// pin holds what strings will point at where it is, until p is unpinned.
func pin(p *runtime.Pinner, d arrow.ArrayData) {
	for _, b := range d.Buffers() {
		if b != nil && b.Len() > 0 {
			p.Pin(unsafe.SliceData(b.Bytes()))
		}
	}
	for _, child := range d.Children() {
		pin(p, child)
	}
	t := d.DataType()
	if e, ok := t.(arrow.ExtensionType); ok {
		t = e.StorageType()
	}
	if t.ID() == arrow.DICTIONARY {
		pin(p, d.Dictionary())
	}
}
