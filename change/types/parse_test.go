package types

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/big"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pintaildb/pintail/change"
)

// fieldTypes are one type of every kind, and those that COPY reads cast.
func fieldTypes() []Type {
	info := func(o uint32) (Info, bool) {
		i, ok := map[uint32]Info{1041: {Type: 'b', Elem: oidInet}, 791: {Type: 'b', Elem: oidMoney}, 1020: {Type: 'b', Elem: oidBox}, 4073: {Type: 'b', Elem: oidJSONPath}}[o]
		return i, ok
	}
	var ts []Type
	for _, o := range []uint32{oidBool, oidInt2, oidInt4, oidInt8, oidOID, oidXID8, oidFloat4, oidFloat8, oidText, oidBytea, oidDate, oidTime, oidTimeTZ,
		oidTimestamp, oidTimestampTZ, oidInterval, oidUUID, oidJSON, oidJSONB, oidNumeric, oidMoney, oidInet, oidXML, oidJSONPath, 1001, 1007, 1009, 1185, 1231, 791, 1020, 1041, 4073} {
		ts = append(ts, Of(o, -1, info))
	}
	asked, _ := Override(Type{}, oidBool, "VARCHAR")
	return append(ts, asked, Decimal(4, 1, -1), Decimal(9, 2, -1), Decimal(18, 6, -1), Decimal(18, 18, -1), Decimal(38, 10, -1), Of(1231, 10<<16|2+4, nil))
}

func TestTextThatPostgreSQLDoesNotWrite(t *testing.T) {
	for oid, texts := range map[uint32][]string{
		oidBool:        {"", "true", "x"},
		oidInt2:        {"", "-", "32768", "-32769", "1 ", "+1", "99999999999999999999999"},
		oidInt4:        {"2147483648", "0x1"},
		oidInt8:        {"9223372036854775808", "-9223372036854775809", "18446744073709551616", "1.0"},
		oidOID:         {"4294967296", "-1"},
		oidXID8:        {"18446744073709551616", "99999999999999999999", "100000000000000000000"},
		oidFloat4:      {"", "1e99", "one"},
		oidFloat8:      {"1e999", "1,5"},
		oidBytea:       {"", `\x0`, `\xzz`, `abc`, `\\000`},
		oidUUID:        {"", "00000000-0000-0000-0000-00000000000g", "00000000-0000-0000-0000-0000000000000", "000000000-000-0000-0000-000000000000"},
		oidDate:        {"", "2020-1-1", "2020-13-01", "2020-01-32", "20200101", "2020-01-01 AD", "12345678-01-01", "2020-01-01-", "-2020-01-01"},
		oidTime:        {"", "24:00:00.000001", "25:00:00", "1:00:00", "12:60:00", "12:00:61", "12:00", "12:00:00.", "12:00:00.1234567", "12:00:00+00"},
		oidTimeTZ:      {"12:00:00", "12:00:00+16", "12:00:00+1", "12:00:00+01:0", "12:00:00+01:00:00:00", "12:00:00Z"},
		oidTimestamp:   {"", "2020-01-01", "2020-01-01T00:00:00", "2020-01-01 24:00:00.1", "9999999-01-01 00:00:00", "9999999-01-01 00:00:00 BC"},
		oidTimestampTZ: {"2020-01-01 00:00:00 UTC", "01.01.2020 00:00:00+00"},
		oidInterval:    {"", "1", "1 ", "1 day ", "1 week", "P1Y", "@ 1 day", "2147483648 days", "178956970 years 8 mons", "2562047788:00:54.775808", "-2562047788:00:54.775809", "99999999999 days", "1:2:3", "+", "-"},
		oidMoney:       {"", "$", "1.00", "€1.00", "$1", "$1.0", "$92233720368547758.08", "$1.23.45", "-$", "$x.00", "$1234567890123456789012.00"},
		1007:           {"", "{", "}", "{1", "1}", "{1,}", "{,1}", "{,}", "{1 2}", `{"1}`, `{"1"2}`, `{"1\`, `{"1\"}`, "{1}}", "{x}"},
	} {
		typ := Of(oid, -1, nil)
		d, c := NewDecoder([]Type{typ}), NewChunk([]Type{typ})
		for _, s := range texts {
			err := d.Text(&c.Vectors[0], 0, 0, []byte(s))
			var de *DecodeError
			require.True(t, errors.As(err, &de), "%s: %q", typ.SQL, s)
			require.False(t, errors.Is(err, change.ErrOutOfRange), "%s: %q", typ.SQL, s)
		}
	}
	for _, typ := range []Type{Decimal(4, 1, -1), Decimal(18, 6, -1), Decimal(38, 10, -1)} {
		d, c := NewDecoder([]Type{typ}), NewChunk([]Type{typ})
		for _, s := range []string{"", "-", ".", "1.", ".5", "1.2.3", "1e3", "+1", "--1", "1-", " 1", "NaN ", "1234567890123456789012345678x", "0x1"} {
			err := d.Text(&c.Vectors[0], 0, 0, []byte(s))
			require.Error(t, err, "%s: %q", typ.SQL, s)
			require.False(t, errors.Is(err, change.ErrOutOfRange), "%s: %q", typ.SQL, s)
		}
	}
}

func TestNumericTextIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 38).Draw(t, "width")
		scale := rapid.IntRange(0, width).Draw(t, "scale")
		decimals := rapid.IntRange(0, 38).Draw(t, "decimals") // of the value
		digits := rapid.StringMatching(`[0-9]{1,38}`).Draw(t, "digits")
		x, _ := new(big.Int).SetString(digits, 10)
		if rapid.Bool().Draw(t, "negative") {
			x.Neg(x)
		}
		typ := Decimal(width, scale, -1)
		unconstrained := Of(oidNumeric, -1, nil)
		d, c := NewDecoder([]Type{typ, unconstrained}), NewChunk([]Type{typ, unconstrained})
		v := &c.Vectors[0]
		wire, text := appendNumeric(nil, hugeOf(x), decimals), []byte(decimalText(x, decimals))
		copyErr, binaryErr, textErr := d.DecodeRow(c, 0, tuple(wire, text)), d.Binary(v, 0, 1, wire), d.Text(v, 0, 2, text)
		for _, err := range []error{copyErr, binaryErr, textErr} {
			if copyErr == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, change.ErrOutOfRange)
			}
		}
		if copyErr == nil {
			require.Equal(t, contents(&typ, v, 0), contents(&typ, v, 1))
			require.Equal(t, contents(&typ, v, 0), contents(&typ, v, 2))
		}
		require.NoError(t, d.Binary(&c.Vectors[1], 1, 0, wire))
		require.Equal(t, string(text), string(change.At[change.String](&c.Vectors[1], 0).Bytes()))
		runtime.KeepAlive(d)
	})
}

// Every day of 12 000 years around the era's turn, and the ends, is read as it is printed.
func TestDaysAreTheInverseOfCivil(t *testing.T) {
	typ := Of(oidDate, -1, nil)
	d, c := NewDecoder([]Type{typ}), NewChunk([]Type{typ})
	var b []byte
	check := func(day int64) {
		b = AppendDate(b[:0], day)
		if err := d.Text(&c.Vectors[0], 0, 0, b); err != nil || int64(*change.At[int32](&c.Vectors[0], 0)) != day {
			t.Fatalf("day %d, %s: %v", day, b, err)
		}
	}
	for day := int64(-2440588); day < 2000000; day++ { // from 4714-11-24 BC
		check(day)
	}
	check(2145042541) // 5874897-12-31
}

func TestResetKeepsOneBlock(t *testing.T) {
	typ := Of(oidBytea, -1, nil)
	d, c := NewDecoder([]Type{typ}), NewChunk([]Type{typ})
	text := append([]byte(`\x`), bytes.Repeat([]byte("ab"), 1000)...)
	for range 3 {
		for row := range 200 {
			require.NoError(t, d.Text(&c.Vectors[0], 0, row, text))
		}
		for row := range 200 {
			require.Equal(t, bytes.Repeat([]byte{0xab}, 1000), change.At[change.String](&c.Vectors[0], row).Bytes())
		}
		d.Reset()
		require.Len(t, d.kept.blocks, 1)
	}
	require.NoError(t, d.Text(&c.Vectors[0], 0, 0, append([]byte(`\x`), bytes.Repeat([]byte("ab"), 1<<20)...)))
	d.Reset()
	require.Len(t, d.kept.blocks, 1)
	require.Equal(t, arenaBlock, cap(d.kept.blocks[0]))
}

// FuzzField feeds arbitrary bytes to Binary and Text of every kind: neither panics nor reads outside of them, and what
// Text takes, it takes again in the form that this package prints.
func FuzzField(f *testing.F) {
	ts := fieldTypes()
	for i := range ts {
		f.Add(uint8(i), []byte(`{"a b",NULL,1}`))
		f.Add(uint8(i), []byte("1999-12-31 23:59:59.999999+00 BC"))
		f.Add(uint8(i), []byte("1 year -2 mons +3 days -04:05:06.7"))
		f.Add(uint8(i), []byte("-$1,234.56"))
		f.Add(uint8(i), binary.BigEndian.AppendUint64([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23}, 1<<32|1))
		f.Add(uint8(i), []byte{0, 2, 0, 1, 0, 0, 0, 3, 0, 1, 0, 2})
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		typ := ts[int(which)%len(ts)]
		d, c := NewDecoder([]Type{typ}), NewChunk([]Type{typ})
		v := &c.Vectors[0]
		own, text := bytes.Clone(b), bytes.Clone(b)
		if d.Binary(v, 0, 0, own) == nil {
			contents(&typ, v, 0)
			AppendText(nil, &typ, v, 0)
		}
		if d.Text(v, 0, 1, text) != nil {
			return
		}
		if typ.Own != 0 && typ.Kind != Text || typ.Own == oidInet || typ.Own == oidBool || typ.Kind == List && typ.Elem.Own == oidInet {
			return // printed as the cast
		}
		printed := AppendText(nil, &typ, v, 1)
		if err := d.Text(v, 0, 2, printed); err != nil {
			t.Fatalf("%s: %q is taken, but not its printed form %q: %v", typ.SQL, b, printed, err)
		}
		if one, two := contents(&typ, v, 1), contents(&typ, v, 2); one != two {
			t.Fatalf("%s: %q becomes %s, and printed as %q %s", typ.SQL, b, one, printed, two)
		}
		runtime.KeepAlive([]any{own, text, printed, d})
	})
}
