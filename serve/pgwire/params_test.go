package pgwire

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	pgxtype "github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/query/pgtype"
)

func TestTextValues(t *testing.T) {
	for _, c := range []struct {
		oid  uint32
		in   string
		want any
	}{
		{pgtype.Bool, "t", true}, {pgtype.Bool, "FALSE", false}, {pgtype.Bool, " on", true}, {pgtype.Bool, "0", false},
		{pgtype.Int2, "-7", int64(-7)}, {pgtype.Int8, " 9223372036854775807 ", int64(9223372036854775807)},
		{pgtype.Float8, "1e3", 1000.0}, {pgtype.Float8, "NaN", "NaN"}, {pgtype.Float4, "-Infinity", "-Inf"},
		{pgtype.Numeric, "1.10", "1.10"}, {pgtype.Text, " a", " a"}, {pgtype.Bytea, `\x00fF`, `\x00\xff`}, {pgtype.Bytea, `a\\\000`, `\x61\x5c\x00`}, {pgtype.Bytea, "", ""},
		{pgtype.Date, "0044-03-15 BC", "0044-03-15 (BC)"}, {pgtype.Timestamp, "0044-03-15 01:02:03 BC", "0044-03-15 (BC) 01:02:03"}, {pgtype.Date, "infinity", "infinity"},
		{1007, "{1, NULL,-3}", []any{int64(1), nil, int64(-3)}}, {1007, "{}", []any{}}, {1007, "[0:1]={1,2}", []any{int64(1), int64(2)}},
		{1009, `{a,"b,\"c\\",null,"null"," "}`, []any{"a", `b,"c\`, nil, "null", " "}},
	} {
		got, err := textValue(c.oid, c.in)
		require.NoError(t, err, "%d %q", c.oid, c.in)
		require.Equal(t, c.want, got, "%d %q", c.oid, c.in)
	}
	for _, c := range []struct {
		oid   uint32
		in    string
		state string
	}{
		{pgtype.Bool, "maybe", "22P02"}, {pgtype.Int4, "x", "22P02"}, {pgtype.Int4, "2147483648", "22003"}, {pgtype.Int4, "", "22P02"}, {pgtype.Float8, "x", "22P02"},
		{pgtype.Bytea, `\xa`, "22P02"}, {pgtype.Bytea, `\9`, "22P02"}, {pgtype.Text, "\xff", "22021"}, {pgtype.Text, "a\x00", "22021"},
		{1007, "1,2", "22P02"}, {1007, "{1,{2}}", "22P02"}, {1007, "{1,}", "22P02"}, {1007, `{"1}`, "22P02"}, {1007, "{x}", "22P02"}, {1007, `{"1"2}`, "22P02"},
	} {
		_, err := textValue(c.oid, c.in)
		require.Error(t, err, "%d %q", c.oid, c.in)
		require.Equal(t, c.state, describe(err).state, "%d %q", c.oid, c.in)
	}
}

func numeric(t *testing.T, s string) (n pgxtype.Numeric) {
	t.Helper()
	require.NoError(t, n.Scan(s))
	return n
}

// What pgx encodes reaches DuckDB as the same value.
func TestBinaryValues(t *testing.T) {
	m := pgxtype.NewMap()
	at := time.Date(1999, 12, 31, 23, 59, 59, 1000, time.UTC)
	for _, c := range []struct {
		oid  uint32
		in   any
		want any
	}{
		{pgtype.Bool, true, true}, {pgtype.Int2, int16(-2), int64(-2)}, {pgtype.Int4, int32(-3), int64(-3)}, {pgtype.Int8, int64(-4), int64(-4)},
		{pgtype.Float4, float32(0.1), 0.1}, {pgtype.Float8, -0.5, -0.5}, {pgtype.Text, "é", "é"}, {pgtype.Bytea, []byte{0, 255}, `\x00\xff`},
		{pgtype.UUID, [16]byte{0xf8, 0x1d, 0x4f, 0xae, 0x7d, 0xec, 0x11, 0xd0, 0xa7, 0x65, 0x00, 0xa0, 0xc9, 0x1e, 0x6b, 0xf6}, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"},
		{pgtype.Numeric, numeric(t, "-12345.0670"), "-12345.0670"}, {pgtype.Numeric, numeric(t, "0.00001"), "0.00001"}, {pgtype.Numeric, numeric(t, "120000000"), "120000000"}, {pgtype.Numeric, numeric(t, "NaN"), "NaN"},
		{pgtype.Date, time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC), "1969-12-31"}, {pgtype.Timestamp, at, "1999-12-31 23:59:59.000001"}, {pgtype.TimestampTZ, at, "1999-12-31 23:59:59.000001+00"},
		{pgtype.Date, pgxtype.Date{InfinityModifier: pgxtype.Infinity, Valid: true}, "infinity"}, {pgtype.Timestamp, pgxtype.Timestamp{InfinityModifier: pgxtype.NegativeInfinity, Valid: true}, "-infinity"},
		{pgtype.Time, pgxtype.Time{Microseconds: 3723000004, Valid: true}, "01:02:03.000004"},
		{pgtype.Interval, pgxtype.Interval{Months: 14, Days: -3, Microseconds: 5, Valid: true}, "14 months -3 days 5 microseconds"},
		{pgtype.JSONB, map[string]int{"a": 1}, `{"a":1}`}, {pgtype.JSON, map[string]int{"a": 1}, `{"a":1}`},
		{1007, []int32{1, -2}, []any{int64(1), int64(-2)}}, {1009, []string{"a", ""}, []any{"a", ""}}, {1007, []int32{}, []any{}},
	} {
		b, err := m.Encode(c.oid, pgproto3.BinaryFormat, c.in, nil)
		require.NoError(t, err, "%d %v", c.oid, c.in)
		got, err := binaryValue(c.oid, b)
		require.NoError(t, err, "%d %v", c.oid, c.in)
		require.Equal(t, c.want, got, "%d %v", c.oid, c.in)
		if c.oid != pgtype.Text && c.oid != pgtype.Bytea && c.oid != pgtype.JSON && c.oid != pgtype.JSONB {
			_, err = binaryValue(c.oid, b[:len(b)-1])
			require.Error(t, err, "%d cut", c.oid)
		}
	}
}

// FuzzBinaryValue decodes what a client could send: an error or a value, never a crash, and never more memory than was sent.
func FuzzBinaryValue(f *testing.F) {
	for _, oid := range []uint32{16, 17, 20, 21, 23, 25, 700, 701, 1007, 1009, 1082, 1114, 1184, 1186, 1266, 1562, 1700, 2950, 3802, 99999} {
		f.Add(oid, []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7}, true)
		f.Add(oid, []byte("{1,2}"), false)
		f.Add(oid, []byte{}, true)
	}
	f.Fuzz(func(t *testing.T, oid uint32, b []byte, isBinary bool) {
		if isBinary {
			_, _ = binaryValue(oid, b)
		} else {
			_, _ = textValue(oid, string(b))
		}
	})
}

// FuzzBind decodes Bind messages against a statement of three parameters.
func FuzzBind(f *testing.F) {
	good, err := (&pgproto3.Bind{Parameters: [][]byte{[]byte("1"), nil, []byte("x")}, ParameterFormatCodes: []int16{0, 0, 1}, ResultFormatCodes: []int16{1}}).Encode(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[5:])
	f.Add([]byte("\x00\x00\xff\xff"))
	st := &statement{params: []uint32{pgtype.Int4, pgtype.TimestampTZ, 1007}}
	f.Fuzz(func(t *testing.T, body []byte) {
		var m pgproto3.Bind
		if m.Decode(body) != nil {
			return
		}
		values, err := st.decode(m.Parameters, m.ParameterFormatCodes)
		if err == nil && len(values) != len(st.params) {
			t.Fatalf("%d values", len(values))
		}
		if bs, err := formats(m.ResultFormatCodes, 2, "result"); err == nil && len(bs) != 2 {
			t.Fatal(bs)
		}
	})
}
