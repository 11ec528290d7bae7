package types

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"unsafe"

	"github.com/pintaildb/pintail/change"
)

// text decodes PostgreSQL's text output of a value of any kind.
func (d *Decoder) text(t *Type, v *change.Vector, row int, b []byte) error {
	ok := true
	switch t.Kind {
	case Text:
		return d.putText(v, row, d.cast(t, b))
	case JSON, JSONB:
		return d.putText(v, row, b)
	case Blob:
		return d.textBlob(t, v, row, b)
	case Bool:
		if ok = len(b) == 1 && (b[0] == 't' || b[0] == 'f'); ok {
			*change.At[bool](v, row) = b[0] == 't'
		}
	case Int16, Int32, Int64:
		var x int64
		if x, ok = parseInt(b, 8<<(t.Kind-Int16+1)); ok {
			switch t.Kind {
			case Int16:
				*change.At[int16](v, row) = int16(x)
			case Int32:
				*change.At[int32](v, row) = int32(x)
			default:
				*change.At[int64](v, row) = x
			}
		}
	case UInt32:
		var x uint64
		if x, ok = parseUint(b); ok && x <= math.MaxUint32 {
			*change.At[uint32](v, row) = uint32(x)
		} else {
			ok = false
		}
	case UInt64:
		*change.At[uint64](v, row), ok = parseUint(b)
	case Float32:
		var x float64
		if x, ok = parseFloat(b, 32); ok {
			*change.At[float32](v, row) = float32(x)
		}
	case Float64:
		*change.At[float64](v, row), ok = parseFloat(b, 64)
	case UUID:
		*change.At[change.HugeInt](v, row), ok = parseUUID(b)
	case Decimal16, Decimal32, Decimal64:
		x, err := textDecimal64(b, t)
		if err != nil {
			return err
		}
		putDecimal(t, v, row, x)
	case Decimal128:
		if t.Own == oidMoney {
			var cents int64
			if cents, ok = parseMoney(b); ok {
				*change.At[change.HugeInt](v, row) = change.HugeInt{Lo: uint64(cents), Hi: cents >> 63}
			}
			break
		}
		x, err := textDecimal128(b, t)
		if err != nil {
			return err
		}
		*change.At[change.HugeInt](v, row) = x
	case Date:
		*change.At[int32](v, row), ok = parseDate(b)
	case Timestamp, TimestampTZ:
		us, known := parseTimestamp(b)
		if !known {
			ok = false
			break
		}
		us, err := micros(us)
		if err != nil {
			return err
		}
		*change.At[int64](v, row) = us
	case Time:
		us, rest, known := parseClock(b)
		if ok = known && len(rest) == 0 && us <= 86400e6; ok {
			*change.At[uint64](v, row) = us
		}
	case TimeTZ:
		us, rest, known := parseClock(b)
		east, zoned := parseZone(rest)
		if ok = known && zoned && us <= 86400e6; ok {
			*change.At[uint64](v, row) = us<<24 | uint64(maxOffset-east)
		}
	case Interval:
		i, err := parseInterval(b)
		if err != nil {
			return err
		}
		*change.At[change.Interval](v, row) = i
	case List:
		return d.textList(t, v, row, b)
	default:
		return fmt.Errorf("no decoder for kind %d", t.Kind)
	}
	if !ok {
		return badText(t, b)
	}
	return nil
}

func badText(t *Type, b []byte) error {
	return fmt.Errorf("%.60q is no text of PostgreSQL's for %s", b, t.SQL)
}

// cast turns a type's own text into what a cast to text gives, where the two differ.
func (d *Decoder) cast(t *Type, b []byte) []byte {
	switch t.Own {
	case oidInet: // the output leaves a whole address's mask out
		if bytes.IndexByte(b, '/') >= 0 {
			return b
		}
		mask := "/32"
		if bytes.IndexByte(b, ':') >= 0 {
			mask = "/128"
		}
		d.scratch = append(append(d.scratch[:0], b...), mask...)
		return d.kept.keep(d.scratch)
	case oidBool:
		if len(b) == 1 && b[0] == 't' {
			return trueText
		}
		return falseText
	}
	return b
}

var trueText, falseText = []byte("true"), []byte("false")

// view is b as a string that must not outlive it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func parseUint(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var x uint64
	for i, c := range b {
		c -= '0'
		if c > 9 || i == 19 && (x > math.MaxUint64/10 || x == math.MaxUint64/10 && c > math.MaxUint64%10) {
			return 0, false
		}
		x = x*10 + uint64(c)
	}
	return x, true
}

// parseInt reads a signed number of this many bits.
func parseInt(b []byte, bits uint) (int64, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	x, ok := parseUint(b)
	limit := uint64(1) << (bits - 1)
	if negative {
		return -int64(x), ok && x <= limit
	}
	return int64(x), ok && x < limit
}

// parseFloat reads a shortest text, which gives back the very number.
func parseFloat(b []byte, bits int) (float64, bool) {
	if len(b) == 3 && view(b) == "NaN" {
		return math.Float64frombits(quietNaN), true
	}
	x, err := strconv.ParseFloat(view(b), bits)
	return x, err == nil
}

// unhex is the value of a hexadecimal digit, 0xff for others.
var unhex = func() (h [256]byte) {
	for i := range h {
		h[i] = 0xff
	}
	for i := range 16 {
		h["0123456789abcdef"[i]], h["0123456789ABCDEF"[i]] = byte(i), byte(i)
	}
	return h
}()

func parseUUID(b []byte) (u change.HugeInt, ok bool) {
	if len(b) != 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return u, false
	}
	var half [2]uint64
	var bad byte
	n := 0
	for i := 0; i < 36; i++ {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			continue
		}
		h := unhex[b[i]]
		bad |= h
		half[n>>4] = half[n>>4]<<4 | uint64(h&15)
		n++
	}
	return change.HugeInt{Hi: int64(half[0] ^ 1<<63), Lo: half[1]}, bad < 16
}

// textBlob reads bytea_output hex.
func (d *Decoder) textBlob(t *Type, v *change.Vector, row int, b []byte) error {
	if len(b) < 2 || len(b)%2 != 0 || b[0] != '\\' || b[1] != 'x' {
		return badText(t, b)
	}
	b = b[2:]
	var short [change.InlineMax]byte
	out := short[:0:change.InlineMax]
	if n := len(b) / 2; n <= change.InlineMax {
		out = out[:n]
	} else {
		out = d.kept.alloc(n)
	}
	var bad byte
	for i := range out {
		h, l := unhex[b[2*i]], unhex[b[2*i+1]]
		bad |= h | l
		out[i] = h<<4 | l&15
	}
	if bad > 15 {
		return badText(t, b)
	}
	putBytes(change.At[change.String](v, row), out)
	return nil
}

// parseMoney reads a money under lc_monetary C, such as -$1,234.56, in hundredths.
func parseMoney(b []byte) (int64, bool) {
	var digits [20]byte
	n := 0
	if len(b) > 0 && b[0] == '-' {
		digits[0], b, n = '-', b[1:], 1
	}
	if len(b) < 4 || b[0] != '$' || b[len(b)-3] != '.' {
		return 0, false
	}
	for i, c := range b[1:] {
		if c == ',' || i == len(b)-4 {
			continue
		}
		if c < '0' || c > '9' || n == len(digits) {
			return 0, false
		}
		digits[n] = c
		n++
	}
	return parseInt(digits[:n], 64)
}

// textDecimal64 is the unscaled value of a numeric of at most 18 digits.
func textDecimal64(b []byte, t *Type) (int64, error) {
	s := b
	negative := len(s) > 0 && s[0] == '-'
	if negative {
		s = s[1:]
	}
	if len(s) == 0 || len(s) > 19 {
		x, err := textDecimal128(b, t)
		return int64(x.Lo), err
	}
	var x uint64
	point := len(s) - 1
	for i, c := range s {
		if c -= '0'; c <= 9 {
			x = x*10 + uint64(c)
			continue
		}
		if s[i] != '.' || point != len(s)-1 || i == 0 || i == len(s)-1 {
			x, err := textDecimal128(b, t)
			return int64(x.Lo), err
		}
		point = i
	}
	// shift is how many digits the fraction lacks of the scale.
	switch shift := int(t.Scale) - (len(s) - 1 - point); {
	case shift >= 0:
		if x >= pow10[int(t.Width)-shift] {
			return 0, tooWide(t)
		}
		x *= pow10[shift]
	default:
		q := x / pow10[-shift]
		if q*pow10[-shift] != x || q >= pow10[t.Width] {
			return 0, tooWide(t)
		}
		x = q
	}
	if negative {
		return -int64(x), nil
	}
	return int64(x), nil
}

// textDecimal128 is the unscaled value of a numeric of at most 38 digits.
func textDecimal128(b []byte, t *Type) (change.HugeInt, error) {
	switch view(b) {
	case "NaN", "Infinity", "-Infinity":
		return change.HugeInt{}, errSpecial
	}
	s := b
	negative := len(s) > 0 && s[0] == '-'
	if negative {
		s = s[1:]
	}
	whole, fraction, _ := bytes.Cut(s, []byte{'.'})
	if !allDigits(whole) || len(whole) == 0 || !allDigits(fraction) || s[len(s)-1] == '.' {
		return change.HugeInt{}, badText(t, b)
	}
	exp := int(t.Scale) - len(fraction)
	if exp < 0 {
		for _, c := range fraction[t.Scale:] {
			if c != '0' {
				return change.HugeInt{}, tooWide(t)
			}
		}
		fraction, exp = fraction[:t.Scale], 0
	}
	var x u128
	for _, part := range [2][]byte{whole, fraction} {
		for _, c := range part {
			var over bool
			if x, over = x.mulAdd(10, uint64(c-'0')); over {
				return change.HugeInt{}, tooWide(t)
			}
		}
	}
	return x.scaled(exp, negative, t)
}

func allDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// textList decodes array_out's form of an array of at most one dimension with lower bound 1.
func (d *Decoder) textList(t *Type, v *change.Vector, row int, b []byte) error {
	entry := change.At[change.ListEntry](v, row)
	entry.Offset, entry.Length = uint64(v.Len), 0
	if len(b) > 0 && b[0] == '[' {
		return fmt.Errorf("array with a lower bound other than 1: %w", change.ErrOutOfRange)
	}
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return badText(t, b)
	}
	if b[1] == '{' {
		return fmt.Errorf("array of several dimensions: %w", change.ErrOutOfRange)
	}
	s := b[1 : len(b)-1]
	delim := t.Delim
	if delim == 0 {
		delim = ','
	}
	n := 0
	for more := len(s) > 0; more; n++ {
		if v.Len == v.Cap {
			if err := v.Grow(max(2*v.Cap, 1)); err != nil {
				return err
			}
		}
		e, quoted, rest, ok := d.element(s, delim)
		switch {
		case !ok:
			return badText(t, b)
		case !quoted && view(e) == "NULL":
			v.Child.SetNull(v.Len)
		default:
			if err := d.text(t.Elem, v.Child, v.Len, e); err != nil {
				return err
			}
		}
		v.Len++
		if more = len(rest) > 0; more {
			if s = rest[1:]; rest[0] != delim || len(s) == 0 {
				return badText(t, b)
			}
		}
	}
	entry.Length = uint64(n)
	return nil
}

// element takes the first element of an array's text; rest begins with the delimiter behind it.
func (d *Decoder) element(s []byte, delim byte) (e []byte, quoted bool, rest []byte, ok bool) {
	if s[0] != '"' {
		n := bytes.IndexByte(s, delim)
		if n < 0 {
			n = len(s)
		}
		return s[:n], false, s[n:], n > 0
	}
	s = s[1:]
	n := bytes.IndexByte(s, '"')
	if n < 0 {
		return nil, true, nil, false
	}
	if bytes.IndexByte(s[:n], '\\') < 0 {
		return s[:n], true, s[n+1:], true
	}
	d.scratch = d.scratch[:0]
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return d.kept.keep(d.scratch), true, s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return nil, true, nil, false
			}
		}
		d.scratch = append(d.scratch, s[i])
	}
	return nil, true, nil, false
}
