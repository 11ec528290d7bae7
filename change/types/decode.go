package types

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"unicode/utf8"
	"unsafe"

	"github.com/pintaildb/pintail/change"
)

// Slack is how many readable bytes must follow every row handed to DecodeRow, so that short strings are copied by two
// unconditional 8-byte loads.
const Slack = 16

const (
	epochMicros = 946684800000000 // 2000-01-01, PostgreSQL's epoch, in microseconds of DuckDB's
	epochDays   = 10957
	maxOffset   = 16*60*60 - 1 // DuckDB's largest time zone offset, in seconds
	dayMicros   = 86400_000000
)

// DecodeError says which column of a row could not be decoded. Its cause is change.ErrOutOfRange when the value is legal
// in PostgreSQL but does not fit.
type DecodeError struct {
	Column int
	Err    error
}

func (e *DecodeError) Error() string { return fmt.Sprintf("column %d: %v", e.Column, e.Err) }
func (e *DecodeError) Unwrap() error { return e.Err }

// Decoder writes rows in PostgreSQL's binary format (a tuple of COPY BINARY, or the body of a DataRow: both are a 16-bit
// field count, then each field's 32-bit length and bytes) into the vectors of a chunk, or single values of a replication
// stream. Several goroutines may use its DecodeRow, but one at a time Binary and Text.
type Decoder struct {
	types []Type
	// CheckUTF8 is for databases of encoding SQL_ASCII, whose text may be anything.
	CheckUTF8 bool
	scratch   []byte // of one value
	kept      arena
}

// NewDecoder makes a decoder for rows of these columns.
func NewDecoder(types []Type) *Decoder { return &Decoder{types: types} }

var errLength = fmt.Errorf("the field's length does not fit its type")
var errUTF8 = fmt.Errorf("the text is not valid UTF-8: %w", change.ErrOutOfRange)
var errJSONVersion = fmt.Errorf("jsonb or jsonpath of a version other than 1")
var errClock = fmt.Errorf("a time is not within a day, or its zone not within 16 hours: %w", change.ErrOutOfRange)
var errInfiniteInterval = fmt.Errorf("infinite interval: %w", change.ErrOutOfRange)
var errShort = fmt.Errorf("the row ends within a field")

// DecodeRow writes one tuple as row of c. b's memory must stay until c is consumed, and Slack more bytes behind b's end
// must be readable.
func (d *Decoder) DecodeRow(c *change.Chunk, row int, b []byte) error {
	if len(b) < 2 || int(binary.BigEndian.Uint16(b)) != len(d.types) {
		return fmt.Errorf("row with %d bytes does not have the %d columns asked for", len(b), len(d.types))
	}
	p := unsafe.Pointer(unsafe.SliceData(b))
	end := uintptr(len(b))
	at := uintptr(2)
	for i := range d.types {
		if at+4 > end {
			return &DecodeError{i, errShort}
		}
		n := int32(be32(unsafe.Add(p, at)))
		at += 4
		v := &c.Vectors[i]
		if n < 0 {
			v.SetNull(row)
			continue
		}
		if at+uintptr(n) > end {
			return &DecodeError{i, errShort}
		}
		f := unsafe.Add(p, at)
		at += uintptr(n)
		t := &d.types[i]
		switch t.Kind {
		case Int64:
			if n != 8 {
				return &DecodeError{i, errLength}
			}
			*change.At[uint64](v, row) = be64(f)
		case Int32, UInt32:
			if n != 4 {
				return &DecodeError{i, errLength}
			}
			*change.At[uint32](v, row) = be32(f)
		case Float64:
			if n != 8 {
				return &DecodeError{i, errLength}
			}
			*change.At[uint64](v, row) = oneNaN(be64(f))
		case Text:
			putString(change.At[change.String](v, row), f, n)
			if d.CheckUTF8 && !utf8.Valid(unsafe.Slice((*byte)(f), n)) {
				return &DecodeError{i, errUTF8}
			}
		case Bool:
			if n != 1 {
				return &DecodeError{i, errLength}
			}
			*change.At[byte](v, row) = *(*byte)(f)
		case Timestamp, TimestampTZ:
			if n != 8 {
				return &DecodeError{i, errLength}
			}
			us, err := micros(int64(be64(f)))
			if err != nil {
				return &DecodeError{i, err}
			}
			*change.At[int64](v, row) = us
		case Decimal64:
			x, err := decimal64(unsafe.Slice((*byte)(f), n), t)
			if err != nil {
				return &DecodeError{i, err}
			}
			*change.At[int64](v, row) = x
		default:
			if err := d.value(t, v, row, unsafe.Slice((*byte)(f), n)); err != nil {
				return &DecodeError{i, err}
			}
		}
	}
	if at != end {
		return fmt.Errorf("row has %d bytes behind its last field", end-at)
	}
	return nil
}

// value decodes one value of any kind.
func (d *Decoder) value(t *Type, v *change.Vector, row int, b []byte) error {
	if w := fixed[t.Kind]; w != 0 && len(b) != w {
		return errLength
	}
	switch t.Kind {
	case Text, JSON:
		return d.putText(v, row, b)
	case Blob:
		putBytes(change.At[change.String](v, row), b)
	case JSONB:
		if len(b) == 0 || b[0] != 1 {
			return errJSONVersion
		}
		putBytes(change.At[change.String](v, row), b[1:])
	case Bool:
		*change.At[bool](v, row) = b[0] != 0
	case Int16:
		*change.At[uint16](v, row) = binary.BigEndian.Uint16(b)
	case Int32, UInt32:
		*change.At[uint32](v, row) = binary.BigEndian.Uint32(b)
	case Int64, UInt64:
		*change.At[uint64](v, row) = binary.BigEndian.Uint64(b)
	case Time:
		us := binary.BigEndian.Uint64(b)
		if us > dayMicros {
			return errClock
		}
		*change.At[uint64](v, row) = us
	case Float32:
		x := binary.BigEndian.Uint32(b)
		if x&^(1<<31) > 0x7f8<<20 {
			x = 0x7fc << 20
		}
		*change.At[uint32](v, row) = x
	case Float64:
		*change.At[uint64](v, row) = oneNaN(binary.BigEndian.Uint64(b))
	case Date:
		days := int32(binary.BigEndian.Uint32(b))
		switch {
		case days == math.MinInt32:
			days = -math.MaxInt32
		case days == math.MaxInt32:
		case days > math.MaxInt32-epochDays-1:
			return fmt.Errorf("date %d days after 2000: %w", days, change.ErrOutOfRange)
		default:
			days += epochDays
		}
		*change.At[int32](v, row) = days
	case Timestamp, TimestampTZ:
		us, err := micros(int64(binary.BigEndian.Uint64(b)))
		if err != nil {
			return err
		}
		*change.At[int64](v, row) = us
	case TimeTZ:
		us, west := binary.BigEndian.Uint64(b), int32(binary.BigEndian.Uint32(b[8:]))
		if us > dayMicros || west > maxOffset || west < -maxOffset {
			return errClock
		}
		*change.At[uint64](v, row) = us<<24 | uint64(uint32(maxOffset+west))
	case Interval:
		i := change.Interval{Micros: int64(binary.BigEndian.Uint64(b)), Days: int32(binary.BigEndian.Uint32(b[8:])), Months: int32(binary.BigEndian.Uint32(b[12:]))}
		if err := finite(i); err != nil {
			return err
		}
		*change.At[change.Interval](v, row) = i
	case UUID:
		*change.At[change.HugeInt](v, row) = change.HugeInt{Hi: int64(binary.BigEndian.Uint64(b) ^ 1<<63), Lo: binary.BigEndian.Uint64(b[8:])}
	case Decimal16, Decimal32, Decimal64:
		x, err := decimal64(b, t)
		if err != nil {
			return err
		}
		putDecimal(t, v, row, x)
	case Decimal128:
		x, err := decimal128(b, t)
		if err != nil {
			return err
		}
		*change.At[change.HugeInt](v, row) = x
	case List:
		return d.list(t, v, row, b, false)
	default:
		return fmt.Errorf("no decoder for kind %d", t.Kind)
	}
	return nil
}

// quietNaN is the NaN that PostgreSQL makes of its text. A calculation may leave another in a table, which its text does
// not tell apart: all become this one.
const quietNaN = 0x7ff8 << 48

func oneNaN(x uint64) uint64 {
	if x&^(1<<63) > 0x7ff0<<48 {
		return quietNaN
	}
	return x
}

// putDecimal writes an unscaled value of at most 18 digits.
func putDecimal(t *Type, v *change.Vector, row int, x int64) {
	switch t.Kind {
	case Decimal16:
		*change.At[int16](v, row) = int16(x)
	case Decimal32:
		*change.At[int32](v, row) = int32(x)
	default:
		*change.At[int64](v, row) = x
	}
}

// micros turns microseconds since 2000 into DuckDB's since 1970, whose infinities are the largest number and its negative.
func micros(us int64) (int64, error) {
	if us < math.MaxInt64-epochMicros && us != math.MinInt64 {
		return us + epochMicros, nil
	}
	switch us {
	case math.MaxInt64:
		return math.MaxInt64, nil
	case math.MinInt64:
		return -math.MaxInt64, nil
	}
	return 0, fmt.Errorf("timestamp %d µs after 2000: %w", us, change.ErrOutOfRange)
}

// fixed are the lengths in PostgreSQL's binary format.
var fixed = [List + 1]int{Bool: 1, Int16: 2, Int32: 4, Int64: 8, UInt32: 4, UInt64: 8, Float32: 4, Float64: 8, UUID: 16, Date: 4, Time: 8, TimeTZ: 12, Timestamp: 8, TimestampTZ: 8, Interval: 16}

// list decodes an array of at most one dimension with lower bound 1, the only shape that a DuckDB list has. own says that
// the elements are as their own type sends them, not cast.
func (d *Decoder) list(t *Type, v *change.Vector, row int, b []byte, own bool) error {
	if len(b) < 12 {
		return errLength
	}
	entry := change.At[change.ListEntry](v, row)
	entry.Offset, entry.Length = uint64(v.Len), 0
	switch dims := binary.BigEndian.Uint32(b); dims {
	case 0:
		if len(b) != 12 {
			return errLength
		}
		return nil
	case 1:
	default:
		return fmt.Errorf("array of %d dimensions: %w", dims, change.ErrOutOfRange)
	}
	if len(b) < 20 {
		return errLength
	}
	n, lower := int(int32(binary.BigEndian.Uint32(b[12:]))), int32(binary.BigEndian.Uint32(b[16:]))
	if lower != 1 {
		return fmt.Errorf("array with lower bound %d: %w", lower, change.ErrOutOfRange)
	}
	// Each element has a length word, so more elements than a quarter of the bytes is a damaged header.
	if n < 0 || n > (len(b)-20)/4 {
		return errLength
	}
	if need := v.Len + n; need > v.Cap {
		if err := v.Grow(need); err != nil {
			return err
		}
	}
	at := 20
	for range n {
		if at+4 > len(b) {
			return errShort
		}
		l := int(int32(binary.BigEndian.Uint32(b[at:])))
		at += 4
		switch {
		case l < 0:
			v.Child.SetNull(v.Len)
		case at+l > len(b):
			return errShort
		default:
			var err error
			if f := b[at : at+l]; own {
				err = d.own(t.Elem, v.Child, v.Len, f)
			} else {
				err = d.value(t.Elem, v.Child, v.Len, f)
			}
			if err != nil {
				return err
			}
			at += l
		}
		v.Len++
	}
	if at != len(b) {
		return errLength
	}
	entry.Length = uint64(n)
	return nil
}

// putBytes is putString for memory with no Slack behind it.
func putBytes(s *change.String, b []byte) {
	n := len(b)
	s.Head, s.Tail = uint64(uint32(n)), 0
	if n <= change.InlineMax {
		copy(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(s), 4)), change.InlineMax), b)
		return
	}
	s.Head |= uint64(binary.LittleEndian.Uint32(b)) << 32
	s.Tail = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// masks keep the first n bytes of an inlined string's two halves.
var masks = func() (m [change.InlineMax + 1][2]uint64) {
	for n := range m {
		for i := range n {
			if i < 4 {
				m[n][0] |= 0xff << (8 * (i + 4))
			} else {
				m[n][1] |= 0xff << (8 * (i - 4))
			}
		}
	}
	return m
}()

// putString points s at n bytes at f, or copies them when they fit within it.
func putString(s *change.String, f unsafe.Pointer, n int32) {
	first := uint64(*(*uint32)(f)) << 32
	if n <= change.InlineMax {
		m := &masks[n]
		s.Head = uint64(n) | first&m[0]
		s.Tail = *(*uint64)(unsafe.Add(f, 4)) & m[1]
		return
	}
	s.Head = uint64(uint32(n)) | first
	s.Tail = uint64(uintptr(f))
}

func be32(p unsafe.Pointer) uint32 { return bits.ReverseBytes32(*(*uint32)(p)) }
func be64(p unsafe.Pointer) uint64 { return bits.ReverseBytes64(*(*uint64)(p)) }
