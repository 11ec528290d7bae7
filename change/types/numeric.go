package types

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/pintaildb/pintail/change"
)

// PostgreSQL's numeric on the wire (numeric_send): 16-bit digit count, weight (power of 10000 of the first digit), sign
// and display scale, then base-10000 digits.
const (
	numericNegative = 0x4000
	numericSpecial  = 0x8000 // NaN 0xC000, +Infinity 0xD000, -Infinity 0xF000
)

var pow10 = func() (p [20]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

// pow10wide are 10^0 … 10^38.
var pow10wide = func() (p [39]u128) {
	p[0] = u128{lo: 1}
	for i := 1; i < len(p); i++ {
		p[i], _ = p[i-1].mulAdd(10, 0)
	}
	return p
}()

var errSpecial = fmt.Errorf("numeric NaN or infinity: %w", change.ErrOutOfRange)

func numericParts(b []byte) (digits []byte, exp int, negative bool, err error) {
	if len(b) < 8 {
		return nil, 0, false, errLength
	}
	n, weight, sign := int(binary.BigEndian.Uint16(b)), int(int16(binary.BigEndian.Uint16(b[2:]))), binary.BigEndian.Uint16(b[4:])
	if len(b) != 8+2*n {
		return nil, 0, false, errLength
	}
	if sign&numericSpecial != 0 {
		return nil, 0, false, errSpecial
	}
	return b[8:], 4 * (weight - n + 1), sign == numericNegative, nil
}

// decimal64 is the unscaled value of a numeric of at most 18 digits.
func decimal64(b []byte, t *Type) (int64, error) {
	digits, exp, negative, err := numericParts(b)
	if err != nil {
		return 0, err
	}
	// Four digits of base 10000 and the shift to the scale stay within 64 bits for the usual values; the rest goes the
	// long way.
	if exp += int(t.Scale); len(digits) > 8 || exp > 3 || exp < -3 {
		x, err := decimal128(b, t)
		return int64(x.Lo), err
	}
	var x uint64
	for i := 0; i < len(digits); i += 2 {
		d := binary.BigEndian.Uint16(digits[i:])
		if d > 9999 {
			return 0, errLength
		}
		x = x*10000 + uint64(d)
	}
	if exp >= 0 {
		x *= pow10[exp]
	} else {
		q := x / pow10[-exp]
		if q*pow10[-exp] != x {
			return 0, tooWide(t)
		}
		x = q
	}
	if x >= pow10[t.Width] {
		return 0, tooWide(t)
	}
	if negative {
		return -int64(x), nil
	}
	return int64(x), nil
}

func tooWide(t *Type) error {
	return fmt.Errorf("numeric does not fit %s: %w", t.SQL, change.ErrOutOfRange)
}

// decimal128 is the unscaled value of a numeric of at most 38 digits.
func decimal128(b []byte, t *Type) (change.HugeInt, error) {
	digits, exp, negative, err := numericParts(b)
	if err != nil {
		return change.HugeInt{}, err
	}
	exp += int(t.Scale)
	// Trailing zeros beyond the scale are dropped digit by digit, so that the sum never needs more than 38 digits.
	var x u128
	for i := 0; i < len(digits); i += 2 {
		d := uint64(binary.BigEndian.Uint16(digits[i:]))
		if d > 9999 {
			return change.HugeInt{}, errLength
		}
		mul, left := uint64(10000), exp+4*(len(digits)/2-1-i/2)
		if left < 0 {
			if left <= -4 {
				if d != 0 {
					return change.HugeInt{}, tooWide(t)
				}
				continue
			}
			cut := pow10[-left]
			if d%cut != 0 {
				return change.HugeInt{}, tooWide(t)
			}
			mul, d = mul/cut, d/cut
		}
		var over bool
		if x, over = x.mulAdd(mul, d); over {
			return change.HugeInt{}, tooWide(t)
		}
	}
	return x.scaled(exp, negative, t)
}

// scaled is x * 10^exp, exp not negative, if that fits t.
func (x u128) scaled(exp int, negative bool, t *Type) (change.HugeInt, error) {
	for e := exp; e > 0 && x != (u128{}); e-- {
		var over bool
		if x, over = x.mulAdd(10, 0); over {
			return change.HugeInt{}, tooWide(t)
		}
	}
	if !x.less(pow10wide[t.Width]) {
		return change.HugeInt{}, tooWide(t)
	}
	if negative {
		lo, carry := bits.Add64(^x.lo, 1, 0)
		hi, _ := bits.Add64(^x.hi, 0, carry)
		return change.HugeInt{Lo: lo, Hi: int64(hi)}, nil
	}
	return change.HugeInt{Lo: x.lo, Hi: int64(x.hi)}, nil
}

type u128 struct{ hi, lo uint64 }

// mulAdd is x*m + a, and whether it left 127 bits.
func (x u128) mulAdd(m, a uint64) (u128, bool) {
	h, l := bits.Mul64(x.lo, m)
	h2, l2 := bits.Mul64(x.hi, m)
	l, c := bits.Add64(l, a, 0)
	h, c = bits.Add64(h, l2, c)
	return u128{h, l}, h2 != 0 || c != 0 || h>>63 != 0
}

func (x u128) less(y u128) bool { return x.hi < y.hi || x.hi == y.hi && x.lo < y.lo }

// divMod10000 is x/10000 and x%10000.
func (x u128) divMod10000() (u128, uint16) {
	hi, r := x.hi/10000, x.hi%10000
	lo, r := bits.Div64(r, x.lo, 10000)
	return u128{hi, lo}, uint16(r)
}

// AppendNumeric appends the binary numeric of x / 10^scale; x is not the smallest of all.
func AppendNumeric(dst []byte, x change.HugeInt, scale int) []byte {
	return appendNumeric(dst, x, scale)
}

// appendNumeric appends the binary numeric of an unscaled value with this many decimals, as numeric_send writes it: no
// zero digits at either end.
func appendNumeric(dst []byte, x change.HugeInt, scale int) []byte {
	u := u128{uint64(x.Hi), x.Lo}
	negative := x.Hi < 0
	if negative {
		var c uint64
		u.lo, c = bits.Add64(^u.lo, 1, 0)
		u.hi, _ = bits.Add64(^u.hi, 0, c)
	}
	// Digits come in groups of four counted from the decimal point: widen the fraction to whole groups first.
	pad := (4 - scale%4) % 4
	fractionGroups := (scale + pad) / 4
	var groups [12]uint16 // least significant first
	n := 0
	var low uint16
	if pad > 0 {
		// The lowest group is the last 4-pad digits, shifted; dividing keeps it within 128 bits.
		cut := pow10[4-pad]
		var r uint64
		hi := u.hi / cut
		lo, r := bits.Div64(u.hi%cut, u.lo, cut)
		u = u128{hi, lo}
		low = uint16(r * pow10[pad])
		groups[0], n = low, 1
	}
	for u != (u128{}) {
		u, groups[n] = u.divMod10000()
		n++
	}
	first := 0
	for n > 0 && groups[n-1] == 0 {
		n--
	}
	for first < n && groups[first] == 0 {
		first++
	}
	var sign uint16
	if negative {
		sign = numericNegative
	}
	weight := n - 1 - fractionGroups
	if first == n {
		weight = 0
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(n-first))
	dst = binary.BigEndian.AppendUint16(dst, uint16(int16(weight)))
	dst = binary.BigEndian.AppendUint16(dst, sign)
	dst = binary.BigEndian.AppendUint16(dst, uint16(scale))
	for i := n - 1; i >= first; i-- {
		dst = binary.BigEndian.AppendUint16(dst, groups[i])
	}
	return dst
}

// appendNumericText prints a binary numeric as numeric_out does.
func appendNumericText(dst, b []byte) ([]byte, error) {
	be := binary.BigEndian
	if len(b) < 8 {
		return dst, errLength
	}
	n, weight, sign, decimals := int(be.Uint16(b)), int(int16(be.Uint16(b[2:]))), be.Uint16(b[4:]), int(be.Uint16(b[6:]))
	if len(b) != 8+2*n {
		return dst, errLength
	}
	switch sign {
	case 0:
	case numericNegative:
		dst = append(dst, '-')
	case 0xC000:
		return append(dst, "NaN"...), nil
	case 0xD000:
		return append(dst, "Infinity"...), nil
	case 0xF000:
		return append(dst, "-Infinity"...), nil
	default:
		return dst, errLength
	}
	// group is the digits of 10000^(weight-i).
	group := func(i int) uint16 {
		if i < 0 || i >= n {
			return 0
		}
		return be.Uint16(b[8+2*i:])
	}
	for i := range n {
		if group(i) > 9999 {
			return dst, errLength
		}
	}
	four := func(g uint16) {
		dst = append(dst, byte('0'+g/1000), byte('0'+g/100%10), byte('0'+g/10%10), byte('0'+g%10))
	}
	if weight < 0 {
		dst = append(dst, '0')
	} else {
		dst = strconv.AppendUint(dst, uint64(group(0)), 10)
	}
	for i := 1; i <= weight; i++ {
		four(group(i))
	}
	if decimals == 0 {
		return dst, nil
	}
	dst = append(dst, '.')
	end := len(dst) + decimals
	for i := weight + 1; len(dst) < end; i++ {
		four(group(i))
	}
	return dst[:end], nil
}
