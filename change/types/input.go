package types

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/pintaildb/pintail/change"
)

// Why Input refuses a value, besides change.ErrOutOfRange.
var (
	ErrSyntax   = errors.New("invalid input syntax")
	ErrCalendar = errors.New("date/time field value out of range")
	ErrZone     = errors.New("time zone not recognized")
	ErrOffset   = errors.New("time zone displacement out of range")
	ErrEncoding = errors.New("invalid byte sequence for encoding UTF8")
	ErrBinary   = errors.New("incorrect binary data format")
)

const oidVarbit = 1562

// Input writes values of clients into vectors: not only what PostgreSQL prints, but what its input functions take, and nothing is
// taken for granted. Numbers are rounded to the scale of their column, as PostgreSQL does. Strings may point into the values and into
// the Input's own memory, so both must stay until the vectors are consumed. One goroutine uses it.
type Input struct {
	types []Type
	zone  *time.Location // of moments that name none
	d     Decoder
	zones map[string]*time.Location
}

// NewInput makes one for columns of these types, in a session of this time zone.
func NewInput(types []Type, zone *time.Location) *Input {
	return &Input{types: types, zone: zone, d: Decoder{types: types, CheckUTF8: true}}
}

// Reset gives back the memory of values: what was written before must have been consumed.
func (in *Input) Reset() { in.d.Reset() }

// Text writes b, the text of a value of column col, as row of v.
func (in *Input) Text(v *change.Vector, col, row int, b []byte) error {
	return in.text(&in.types[col], v, row, b)
}

// Binary writes b, the binary form of a value of column col, as row of v.
func (in *Input) Binary(v *change.Vector, col, row int, b []byte) error {
	t := &in.types[col]
	switch {
	case t.Kind == Text && t.Own == oidVarbit:
		return in.bits(v, row, b)
	case t.Kind == Text && t.Own == 0:
		return in.string(v, row, b)
	case t.Kind == JSON || t.Kind == JSONB:
		return in.json(v, row, b)
	}
	err := in.d.own(t, v, row, b)
	switch {
	case err == nil:
		return nil
	case t.decimal() && errors.Is(err, change.ErrOutOfRange):
		if in.d.scratch, err = appendNumericText(in.d.scratch[:0], b); err != nil {
			return ErrBinary
		}
		return in.number(t, v, row, in.d.scratch)
	case errors.Is(err, errUTF8):
		return ErrEncoding
	case errors.Is(err, change.ErrOutOfRange):
		return err
	}
	return ErrBinary
}

func (t *Type) decimal() bool {
	return t.Kind == Decimal16 || t.Kind == Decimal32 || t.Kind == Decimal64 || t.Kind == Decimal128
}

func (in *Input) text(t *Type, v *change.Vector, row int, b []byte) error {
	ok := true
	switch t.Kind {
	case Text:
		switch t.Own {
		case oidVarbit:
			return in.bitText(v, row, b)
		case oidNumeric:
			b = trim(b)
			if _, err := parseNumber(b); err != nil {
				return err
			}
		}
		return in.string(v, row, b)
	case JSON, JSONB:
		return in.json(v, row, b)
	case Blob:
		return in.bytea(v, row, b)
	case Bool:
		var x bool
		if x, ok = parseBool(b); ok {
			*change.At[bool](v, row) = x
		}
	case Int16, Int32, Int64:
		x, ok := parseInt(b, 8<<(t.Kind-Int16+1))
		if !ok {
			var err error
			if x, err = looseInt(b, 8<<(t.Kind-Int16+1)); err != nil {
				return err
			}
		}
		switch t.Kind {
		case Int16:
			*change.At[int16](v, row) = int16(x)
		case Int32:
			*change.At[int32](v, row) = int32(x)
		default:
			*change.At[int64](v, row) = x
		}
	case Float32, Float64:
		return in.float(t, v, row, b)
	case UUID:
		*change.At[change.HugeInt](v, row), ok = looseUUID(b)
	case Decimal16, Decimal32, Decimal64:
		if x, err := textDecimal64(b, t); err == nil {
			putDecimal(t, v, row, x)
			return nil
		}
		return in.number(t, v, row, b)
	case Decimal128:
		return in.number(t, v, row, b)
	case Date, Timestamp, TimestampTZ:
		return in.moment(t, v, row, b)
	case Time, TimeTZ:
		return in.clock(t, v, row, b)
	case Interval:
		i, err := looseInterval(b)
		if err != nil {
			return err
		}
		*change.At[change.Interval](v, row) = i
	case List:
		return in.list(t, v, row, b)
	default:
		return ErrSyntax
	}
	if !ok {
		return ErrSyntax
	}
	return nil
}

func (in *Input) string(v *change.Vector, row int, b []byte) error {
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		return ErrEncoding
	}
	putBytes(change.At[change.String](v, row), b)
	return nil
}

func (in *Input) json(v *change.Vector, row int, b []byte) error {
	if len(b) > 0 && b[0] == 1 { // jsonb's version
		b = b[1:]
	}
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		return ErrEncoding
	}
	if !json.Valid(b) {
		return ErrSyntax
	}
	putBytes(change.At[change.String](v, row), b)
	return nil
}

// bits reads varbit's binary form into the digits that DuckDB casts.
func (in *Input) bits(v *change.Vector, row int, b []byte) error {
	if len(b) < 4 {
		return ErrBinary
	}
	n := int(int32(binary.BigEndian.Uint32(b)))
	if n < 0 || (n+7)/8 != len(b)-4 {
		return ErrBinary
	}
	in.d.scratch = in.d.scratch[:0]
	for i := range n {
		in.d.scratch = append(in.d.scratch, '0'+b[4+i/8]>>(7-i%8)&1)
	}
	putBytes(change.At[change.String](v, row), in.d.kept.keep(in.d.scratch))
	return nil
}

// bitText reads 0101, B0101 and X5.
func (in *Input) bitText(v *change.Vector, row int, b []byte) error {
	if len(b) > 0 && b[0]|0x20 == 'x' {
		in.d.scratch = in.d.scratch[:0]
		for _, c := range b[1:] {
			h := unhex[c]
			if h > 15 {
				return ErrSyntax
			}
			for i := range 4 {
				in.d.scratch = append(in.d.scratch, '0'+h>>(3-i)&1)
			}
		}
		putBytes(change.At[change.String](v, row), in.d.kept.keep(in.d.scratch))
		return nil
	}
	if len(b) > 0 && b[0]|0x20 == 'b' {
		b = b[1:]
	}
	for _, c := range b {
		if c != '0' && c != '1' {
			return ErrSyntax
		}
	}
	putBytes(change.At[change.String](v, row), b)
	return nil
}

func blank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// trim cuts blanks off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold compares with a word in lower case.
func equalFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// parseBool reads the words for both and their beginnings.
func parseBool(b []byte) (x, ok bool) {
	if len(b) == 1 {
		switch b[0] {
		case 't', '1':
			return true, true
		case 'f', '0':
			return false, true
		}
	}
	b = trim(b)
	begins := func(word string, least int) bool {
		return len(b) >= least && len(b) <= len(word) && equalFold(b, word[:len(b)])
	}
	switch {
	case begins("true", 1), begins("yes", 1), begins("on", 2), begins("1", 1):
		return true, true
	case begins("false", 1), begins("no", 1), begins("off", 2), begins("0", 1):
		return false, true
	}
	return false, false
}

// looseInt reads what parseInt does not: blanks, a plus, any number of zeros; and tells too large from wrong.
func looseInt(b []byte, bits uint) (int64, error) {
	b = trim(b)
	sign := b
	if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
		b = b[1:]
	}
	if len(b) == 0 || !allDigits(b) {
		return 0, ErrSyntax
	}
	b = bytes.TrimLeft(b, "0")
	x, ok := parseUint(b)
	if len(b) == 0 {
		return 0, nil
	}
	limit := uint64(1) << (bits - 1)
	negative := sign[0] == '-'
	switch {
	case !ok || x > limit || x == limit && !negative:
		return 0, change.ErrOutOfRange
	case negative:
		return -int64(x), nil
	}
	return int64(x), nil
}

func (in *Input) float(t *Type, v *change.Vector, row int, b []byte) error {
	b = trim(b)
	bits := 64
	if t.Kind == Float32 {
		bits = 32
	}
	x, err := strconv.ParseFloat(view(b), bits)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && x == 0 && underflow(b):
		return change.ErrOutOfRange
	case err != nil || bytes.IndexByte(b, '_') >= 0:
		return ErrSyntax
	case bits == 32 && x != x:
		*change.At[uint32](v, row) = 0x7fc << 20
	case bits == 32:
		*change.At[float32](v, row) = float32(x)
	default:
		*change.At[uint64](v, row) = oneNaN(math.Float64bits(x))
	}
	return nil
}

// underflow says whether a text that is read as zero is none.
func underflow(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= '1' && c <= '9':
			return true
		case c|0x20 == 'e':
			return false
		}
	}
	return false
}

// number is a numeric's text in parts: digits × 10^exp.
type numberParts struct {
	whole, fraction []byte
	exp             int
	negative        bool
	special         bool // NaN or an infinity
}

const exponentMax = 200_000

func parseNumber(b []byte) (n numberParts, err error) {
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		n.negative = b[0] == '-'
		b = b[1:]
	}
	if equalFold(b, "nan") || equalFold(b, "infinity") || equalFold(b, "inf") {
		n.special = true
		return n, nil
	}
	i := 0
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	n.whole, b = b[:i], b[i:]
	if len(b) > 0 && b[0] == '.' {
		for i = 1; i < len(b) && b[i]-'0' <= 9; i++ {
		}
		n.fraction, b = b[1:i], b[i:]
	}
	if len(n.whole)+len(n.fraction) == 0 {
		return n, ErrSyntax
	}
	if len(b) > 0 && b[0]|0x20 == 'e' {
		b = b[1:]
		negative := len(b) > 0 && b[0] == '-'
		if negative || len(b) > 0 && b[0] == '+' {
			b = b[1:]
		}
		if len(b) == 0 || !allDigits(b) {
			return n, ErrSyntax
		}
		for _, c := range b {
			n.exp = min(n.exp*10+int(c-'0'), exponentMax)
		}
		if negative {
			n.exp = -n.exp
		}
		b = nil
	}
	if len(b) > 0 {
		return n, ErrSyntax
	}
	return n, nil
}

// number rounds b to t's scale, halves away from zero.
func (in *Input) number(t *Type, v *change.Vector, row int, b []byte) error {
	n, err := parseNumber(trim(b))
	switch {
	case err != nil:
		return err
	case n.special:
		return errSpecial
	}
	shift := n.exp - len(n.fraction) + int(t.Scale)
	keep := len(n.whole) + len(n.fraction) + min(shift, 0) // digits that stay
	var x u128
	over, at := false, 0
	for _, part := range [2][]byte{n.whole, n.fraction} {
		for _, c := range part {
			if at == keep && c >= '5' {
				x, over = x.mulAdd(1, 1)
			}
			if at++; at <= keep {
				x, over = x.mulAdd(10, uint64(c-'0'))
			}
			if over {
				return tooWide(t)
			}
		}
	}
	h, err := x.scaled(max(shift, 0), n.negative, t)
	if err != nil {
		return err
	}
	if t.Kind == Decimal128 {
		*change.At[change.HugeInt](v, row) = h
	} else {
		putDecimal(t, v, row, int64(h.Lo))
	}
	return nil
}

// looseUUID takes braces, and hyphens behind any four digits or none.
func looseUUID(b []byte) (change.HugeInt, bool) {
	if u, ok := parseUUID(b); ok {
		return u, true
	}
	b = trim(b)
	if len(b) > 2 && b[0] == '{' && b[len(b)-1] == '}' {
		b = b[1 : len(b)-1]
	}
	var half [2]uint64
	n := 0
	for i, c := range b {
		h := unhex[c]
		switch {
		case c == '-' && n > 0 && n < 32 && n%4 == 0 && b[i-1] != '-':
		case h > 15 || n == 32:
			return change.HugeInt{}, false
		default:
			half[n>>4] = half[n>>4]<<4 | uint64(h)
			n++
		}
	}
	return change.HugeInt{Hi: int64(half[0] ^ 1<<63), Lo: half[1]}, n == 32
}

// bytea reads both of its forms.
func (in *Input) bytea(v *change.Vector, row int, b []byte) error {
	hexadecimal := len(b) >= 2 && b[0] == '\\' && b[1] == 'x'
	if hexadecimal && in.d.textBlob(&Type{}, v, row, b) == nil {
		return nil
	}
	out := in.d.kept.alloc(len(b))[:0]
	if hexadecimal {
		b = b[2:]
		for i := 0; i < len(b); i++ {
			if blank(b[i]) {
				continue
			}
			if i+1 == len(b) || unhex[b[i]] > 15 || unhex[b[i+1]] > 15 {
				return ErrSyntax
			}
			out = append(out, unhex[b[i]]<<4|unhex[b[i+1]])
			i++
		}
		putBytes(change.At[change.String](v, row), out)
		return nil
	}
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			out = append(out, b[i])
			continue
		}
		rest := b[i+1:]
		switch {
		case len(rest) > 0 && rest[0] == '\\':
			out = append(out, '\\')
			i++
		case len(rest) >= 3 && rest[0] >= '0' && rest[0] <= '3' && rest[1]&^7 == '0' && rest[2]&^7 == '0':
			out = append(out, rest[0]<<6|(rest[1]&7)<<3|rest[2]&7)
			i += 3
		default:
			return ErrSyntax
		}
	}
	putBytes(change.At[change.String](v, row), out)
	return nil
}
