package types

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pintaildb/pintail/change"
)

// tuple is a row as COPY BINARY sends it, with the slack that the decoder needs behind it.
func tuple(fields ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(fields)))
	for _, f := range fields {
		if f == nil {
			b = binary.BigEndian.AppendUint32(b, math.MaxUint32)
			continue
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return slack(b)
}

func slack(b []byte) []byte { return append(b, make([]byte, Slack)...)[:len(b)] }

func TestNumericIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 38).Draw(t, "width")
		scale := rapid.IntRange(0, width).Draw(t, "scale")
		digits := rapid.StringMatching(`[0-9]{1,38}`).Draw(t, "digits")
		if len(digits) > width {
			digits = digits[:width]
		}
		x, _ := new(big.Int).SetString(digits, 10)
		if rapid.Bool().Draw(t, "negative") {
			x.Neg(x)
		}
		typ := Decimal(width, scale, -1)
		d := NewDecoder([]Type{typ})
		c := NewChunk([]Type{typ})
		wire := appendNumeric(nil, hugeOf(x), scale)
		require.NoError(t, d.DecodeRow(c, 0, tuple(wire)))
		require.Equal(t, wire, Append(nil, &typ, &c.Vectors[0], 0), "encode(decode(x)) = x")
		require.Equal(t, decimalText(x, scale), string(AppendText(nil, &typ, &c.Vectors[0], 0)))
	})
}

func hugeOf(x *big.Int) change.HugeInt {
	two64 := new(big.Int).Lsh(big.NewInt(1), 64)
	m := new(big.Int).Mod(x, new(big.Int).Lsh(big.NewInt(1), 128))
	hi, lo := new(big.Int).DivMod(m, two64, new(big.Int))
	return change.HugeInt{Lo: lo.Uint64(), Hi: int64(hi.Uint64())}
}

func decimalText(x *big.Int, scale int) string {
	s := new(big.Int).Abs(x).String()
	if len(s) <= scale {
		s = strings.Repeat("0", scale-len(s)+1) + s
	}
	if scale > 0 {
		s = s[:len(s)-scale] + "." + s[len(s)-scale:]
	}
	if x.Sign() < 0 {
		s = "-" + s
	}
	return s
}

func TestNumericThatDoesNotFitIsOutOfRange(t *testing.T) {
	typ := Decimal(5, 2, -1)
	d, c := NewDecoder([]Type{typ}), NewChunk([]Type{typ})
	for name, wire := range map[string][]byte{
		"one digit too many": appendNumeric(nil, hugeOf(big.NewInt(100000)), 2),
		"a decimal too many": appendNumeric(nil, hugeOf(big.NewInt(12345)), 3),
		"NaN":                {0, 0, 0, 0, 0xc0, 0, 0, 0},
		"Infinity":           {0, 0, 0, 0, 0xd0, 0, 0, 0},
		"-Infinity":          {0, 0, 0, 0, 0xf0, 0, 0, 0},
		"huge":               appendNumeric(nil, hugeOf(new(big.Int).Exp(big.NewInt(10), big.NewInt(37), nil)), 0),
	} {
		err := d.DecodeRow(c, 0, tuple(wire))
		require.ErrorIs(t, err, change.ErrOutOfRange, name)
		var de *DecodeError
		require.True(t, errors.As(err, &de) && de.Column == 0, name)
	}
}

func TestTimestampLimits(t *testing.T) {
	typ := Of(oidTimestampTZ, -1, nil)
	d, c := NewDecoder([]Type{typ}), NewChunk([]Type{typ})
	for text, us := range map[string]int64{
		"infinity": math.MaxInt64, "-infinity": math.MinInt64, "2000-01-01 00:00:00+00": 0, "1999-12-31 23:59:59.999999+00": -1,
		"4714-11-24 00:00:00+00 BC": -211813488000000000, "294247-01-10 04:00:54.775806+00": math.MaxInt64 - 1 - epochMicros,
	} {
		wire := binary.BigEndian.AppendUint64(nil, uint64(us))
		require.NoError(t, d.DecodeRow(c, 0, tuple(wire)), text)
		require.Equal(t, text, string(AppendText(nil, &typ, &c.Vectors[0], 0)))
		require.Equal(t, wire, Append(nil, &typ, &c.Vectors[0], 0), text)
	}
	for _, us := range []int64{math.MaxInt64 - epochMicros, math.MaxInt64 - 1} {
		require.ErrorIs(t, d.DecodeRow(c, 0, tuple(binary.BigEndian.AppendUint64(nil, uint64(us)))), change.ErrOutOfRange)
	}
}

func TestStringsOfEveryLength(t *testing.T) {
	typ := Of(oidText, -1, nil)
	d, c := NewDecoder([]Type{typ}), NewChunk([]Type{typ})
	for n := range 40 {
		s := strings.Repeat("abcdefg", 6)[:n]
		row := tuple([]byte(s))
		require.NoError(t, d.DecodeRow(c, n, row))
		v := change.At[change.String](&c.Vectors[0], n)
		require.Equal(t, s, string(v.Bytes()))
		if n <= change.InlineMax {
			clear(row) // an inlined string must not point into the row, and its padding must be zero
			require.Equal(t, s, string(v.Bytes()))
			var want change.String
			putBytes(&want, []byte(s))
			require.Equal(t, want, *v)
		}
	}
}

func TestDamagedRows(t *testing.T) {
	ts := []Type{Of(oidInt8, -1, nil), Of(oidText, -1, nil)}
	d, c := NewDecoder(ts), NewChunk(ts)
	good := tuple(make([]byte, 8), []byte("x"))
	require.NoError(t, d.DecodeRow(c, 0, good))
	for n := range len(good) {
		require.Error(t, d.DecodeRow(c, 0, slack(bytes.Clone(good[:n]))), "cut after %d bytes", n)
	}
	require.Error(t, d.DecodeRow(c, 0, slack(append(bytes.Clone(good), 0))), "a byte too many")
	require.Error(t, d.DecodeRow(c, 0, tuple(make([]byte, 7), []byte("x"))), "an int8 of 7 bytes")
}

// FuzzDecodeRow feeds arbitrary bytes to a decoder of every kind: it must neither panic nor read outside of the row, and
// what it accepts must come back as it was.
func FuzzDecodeRow(f *testing.F) {
	oids := []uint32{oidBool, oidInt2, oidInt4, oidInt8, oidFloat4, oidFloat8, oidText, oidBytea, oidDate, oidTime, oidTimeTZ, oidTimestamp,
		oidTimestampTZ, oidInterval, oidUUID, oidJSON, oidJSONB, oidOID, 1007, 1009, 1231}
	var ts []Type
	for _, o := range oids {
		ts = append(ts, Of(o, -1, nil))
	}
	ts = append(ts, Decimal(4, 1, -1), Decimal(9, 2, -1), Decimal(18, 6, -1), Decimal(38, 10, -1))
	for i := range ts {
		f.Add(uint8(i), []byte{0, 1, 0, 0, 0, 4, 0, 0, 0, 1})
	}
	f.Add(uint8(18), tuple([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7}))
	f.Fuzz(func(t *testing.T, which uint8, row []byte) {
		typ := ts[int(which)%len(ts)]
		c := NewChunk([]Type{typ})
		row = slack(bytes.Clone(row))
		if NewDecoder([]Type{typ}).DecodeRow(c, 0, row) != nil {
			return
		}
		v := &c.Vectors[0]
		AppendText(nil, &typ, v, 0)
		got := binary.BigEndian.AppendUint16(nil, 1)
		got = AppendField(got, &typ, v, 0)
		again := NewChunk([]Type{typ})
		if err := NewDecoder([]Type{typ}).DecodeRow(again, 0, slack(got)); err != nil {
			t.Fatalf("%s: encoded form of %x is refused: %v", typ.SQL, row, err)
		}
		twice := AppendField(binary.BigEndian.AppendUint16(nil, 1), &typ, &again.Vectors[0], 0)
		if !bytes.Equal(got, twice) {
			t.Fatalf("%s: %x encodes as %x, then as %x", typ.SQL, row, got, twice)
		}
	})
}

func TestTypesOfTheCatalog(t *testing.T) {
	for _, c := range []struct {
		oid       uint32
		mod       int32
		sql, cast string
	}{
		{oidNumeric, -1, "VARCHAR", "text"},
		{oidNumeric, 12<<16 + 2 + 4, "DECIMAL(12,2)", ""},
		{oidNumeric, 38<<16 + 38 + 4, "DECIMAL(38,38)", ""},
		{oidNumeric, 39<<16 + 4, "VARCHAR", "text"},
		{oidNumeric, 5<<16 + (-2&0x7ff + 4), "DECIMAL(7,0)", ""},
		{oidNumeric, 3<<16 + 5 + 4, "DECIMAL(5,5)", ""},
		{oidMoney, -1, "DECIMAL(19,2)", "numeric"},
		{1231, 10<<16 + 1 + 4, "DECIMAL(10,1)[]", ""},
		{1231, -1, "VARCHAR[]", "text[]"},
		{869, -1, "VARCHAR", "text"}, // inet
		{oidJSONB, -1, "JSON", ""},
	} {
		got := Of(c.oid, c.mod, nil)
		require.Equal(t, c.sql, got.SQL)
		require.Equal(t, c.cast, got.Cast)
	}
	info := map[uint32]Info{5: {Type: 'd', Base: oidInt4, BaseMod: -1}, 6: {Type: 'b', Elem: 5}, 7: {Type: 'e'}, 8: {Type: 'b', Elem: 7}, 9: {Type: 'c'}}
	look := func(o uint32) (Info, bool) { i, ok := info[o]; return i, ok }
	for oid, sql := range map[uint32]string{5: "INTEGER", 6: "INTEGER[]", 7: "VARCHAR", 8: "VARCHAR[]", 9: "VARCHAR"} {
		require.Equal(t, sql, Of(oid, -1, look).SQL)
	}
}
