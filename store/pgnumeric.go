package store

import (
	"encoding/binary"
	"math"
	"math/big"
	"strconv"

	"github.com/pintaildb/pintail/change"
)

// pgForm is how a value is written for clients of PostgreSQL's protocol where its type in DuckDB does not say it: query/pgsql puts such a
// value into a STRUCT whose only field has one of these names.
type pgForm byte

const (
	pgPlain      pgForm = iota
	pgQuotient          // VARCHAR: dividend/divisor, or dividend/divisor/digits to round to
	pgDouble            // DOUBLE
	pgOID               // UINTEGER
	pgInt2Vector        // SMALLINT[]
	pgOIDVector         // UINTEGER[]
)

var pgForms = map[string]pgForm{"numeric_quotient": pgQuotient, "numeric_double": pgDouble, "pg_oid": pgOID, "pg_int2vector": pgInt2Vector, "pg_oidvector": pgOIDVector}

// formOf is the form of a STRUCT with these fields.
func formOf(names []string) pgForm {
	if len(names) == 1 {
		return pgForms[names[0]]
	}
	return pgPlain
}

func (v *vector) pgFormText(dst []byte, i int) []byte {
	kid := &v.kids[0]
	switch v.typ.form {
	case pgQuotient:
		return appendPGQuotient(dst, change.At[change.String](&kid.Vector, i).Bytes())
	case pgInt2Vector, pgOIDVector:
		return kid.pgVectorText(dst, i)
	case pgOID:
		return strconv.AppendUint(dst, uint64(*change.At[uint32](&kid.Vector, i)), 10)
	}
	f := kid.float(i)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendPGFloat(dst, f, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

func (v *vector) pgFormBinary(dst []byte, i int) []byte {
	switch v.typ.form {
	case pgInt2Vector, pgOIDVector:
		return v.kids[0].pgVectorBinary(dst, i)
	case pgOID:
		return binary.BigEndian.AppendUint32(dst, *change.At[uint32](&v.kids[0].Vector, i))
	}
	var b [64]byte
	return appendPGNumber(dst, v.pgFormText(b[:0], i))
}

// decimal is a number by its digits: those of magnitude, the last scale of which stand behind the point.
type decimal struct {
	negative  bool
	magnitude []byte
	scale     int
}

// readDecimal takes text apart, which must be a plain number; its bytes are moved.
func readDecimal(text []byte) decimal {
	var d decimal
	if len(text) > 0 && text[0] == '-' {
		d.negative, text = true, text[1:]
	}
	digits := text[:0]
	point := false
	for _, b := range text {
		if b == '.' {
			point = true
			continue
		}
		if digits = append(digits, b); point {
			d.scale++
		}
	}
	d.magnitude = digits
	return d
}

// weight is that of PostgreSQL's numerics: the place and the value of the first group of four digits that is not zero.
func (d *decimal) weight() (weight, first int) {
	whole := len(d.magnitude) - d.scale
	for at, b := range d.magnitude {
		if b == '0' {
			continue
		}
		weight = (whole - 1 - at) / 4
		if at >= whole {
			weight = -1 - (at-whole)/4
		}
		from := whole - 4*(weight+1)
		for k := from; k < from+4; k++ {
			first *= 10
			if k >= 0 && k < len(d.magnitude) {
				first += int(d.magnitude[k] - '0')
			}
		}
		return weight, first
	}
	return 0, 0
}

// quotientScale is how many digits PostgreSQL gives a quotient behind its point: 16 that matter at least.
func quotientScale(n, d *decimal) int {
	w1, f1 := n.weight()
	w2, f2 := d.weight()
	w := w1 - w2
	if f1 <= f2 {
		w--
	}
	return min(max(16-4*w, n.scale, d.scale, 0), 1000)
}

// appendPGQuotient divides as PostgreSQL's numerics do, and rounds once more where the text asks for it.
func appendPGQuotient(dst, text []byte) []byte {
	var parts [3][]byte
	k, from := 0, 0
	for i, b := range text {
		if b == '/' && k < 2 {
			parts[k], from = text[from:i], i+1
			k++
		}
	}
	parts[k] = text[from:]
	var nb, db [48]byte
	n, d := readDecimal(append(nb[:0], parts[0]...)), readDecimal(append(db[:0], parts[1]...))
	scale := quotientScale(&n, &d)
	negative := n.negative != d.negative
	var qb [96]byte
	q := divide(qb[:0], &n, &d, scale)
	if k == 2 {
		to, _ := strconv.Atoi(string(parts[2]))
		q, scale = rescale(q, scale, to), to
	}
	return appendPoint(dst, q, scale, negative)
}

// divide appends the digits of n / d with scale of them behind the point, halves rounded away from zero.
func divide(dst []byte, n, d *decimal, scale int) []byte {
	more := scale + d.scale - n.scale
	if len(n.magnitude) <= 18 && len(d.magnitude) <= 18 {
		a, _ := strconv.ParseUint(string(n.magnitude), 10, 64)
		b, _ := strconv.ParseUint(string(d.magnitude), 10, 64)
		if b == 0 {
			return append(dst, '0')
		}
		dst = strconv.AppendUint(dst, a/b, 10)
		rest := a % b
		for range more {
			rest *= 10
			dst = append(dst, byte('0'+rest/b))
			rest %= b
		}
		if rest >= b-rest {
			dst = increment(dst)
		}
		return dst
	}
	a, b := new(big.Int), new(big.Int)
	a.SetString(string(n.magnitude), 10)
	b.SetString(string(d.magnitude), 10)
	if b.Sign() == 0 {
		return append(dst, '0')
	}
	a.Mul(a, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(more)), nil))
	rest := new(big.Int)
	a.QuoRem(a, b, rest)
	if rest.Lsh(rest, 1).Cmp(b) >= 0 {
		a.Add(a, big.NewInt(1))
	}
	return a.Append(dst, 10)
}

// increment adds one to digits.
func increment(digits []byte) []byte {
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i] != '9' {
			digits[i]++
			return digits
		}
		digits[i] = '0'
	}
	digits = append(digits, '0')
	copy(digits[1:], digits)
	digits[0] = '1'
	return digits
}

// rescale rounds digits, of which from stand behind the point, to so many.
func rescale(digits []byte, from, to int) []byte {
	for ; from < to; from++ {
		digits = append(digits, '0')
	}
	cut := from - to
	if cut == 0 {
		return digits
	}
	for len(digits) < cut+1 {
		digits = append(digits, '0')
		copy(digits[1:], digits)
		digits[0] = '0'
	}
	up := digits[len(digits)-cut] >= '5'
	if digits = digits[:len(digits)-cut]; up {
		digits = increment(digits)
	}
	return digits
}

// appendPoint appends digits as a number, the last scale of them behind its point.
func appendPoint(dst, digits []byte, scale int, negative bool) []byte {
	zero := true
	for _, b := range digits {
		zero = zero && b == '0'
	}
	if negative && !zero {
		dst = append(dst, '-')
	}
	whole := len(digits) - scale
	for whole > 1 && digits[0] == '0' {
		digits, whole = digits[1:], whole-1
	}
	if whole <= 0 {
		dst = append(dst, '0')
	} else {
		dst = append(dst, digits[:whole]...)
	}
	if scale == 0 {
		return dst
	}
	dst = append(dst, '.')
	for ; whole < 0; whole++ {
		dst = append(dst, '0')
	}
	return append(dst, digits[whole:]...)
}

// appendPGNumber appends a number, given as text, as a numeric in binary.
func appendPGNumber(dst, text []byte) []byte {
	be := binary.BigEndian
	switch string(text) {
	case "NaN":
		return append(dst, 0, 0, 0, 0, 0xc0, 0, 0, 0)
	case "Infinity":
		return append(dst, 0, 0, 0, 0, 0xd0, 0, 0, 0)
	case "-Infinity":
		return append(dst, 0, 0, 0, 0, 0xf0, 0, 0, 0)
	}
	d := readDecimal(text)
	whole := len(d.magnitude) - d.scale
	// Groups of four digits are counted from the point on; those at the ends that are zero are left out.
	first, end := -(whole+3)/4, (d.scale+3)/4
	group := func(g int) (v uint16) {
		for k := whole + 4*g; k < whole+4*g+4; k++ {
			v *= 10
			if k >= 0 && k < len(d.magnitude) {
				v += uint16(d.magnitude[k] - '0')
			}
		}
		return v
	}
	for first < end && group(first) == 0 {
		first++
	}
	for end > first && group(end-1) == 0 {
		end--
	}
	sign, weight := uint16(0), -1-first
	if first == end {
		weight = 0
	} else if d.negative {
		sign = 0x4000
	}
	dst = be.AppendUint16(dst, uint16(end-first))
	dst = be.AppendUint16(dst, uint16(int16(weight)))
	dst = be.AppendUint16(dst, sign)
	dst = be.AppendUint16(dst, uint16(d.scale))
	for g := first; g < end; g++ {
		dst = be.AppendUint16(dst, group(g))
	}
	return dst
}
