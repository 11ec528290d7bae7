package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/query/pgtype"
)

// asPostgres are values in DuckDB's SQL, and in PostgreSQL's where that is written otherwise.
var asPostgres = []struct{ duck, pg string }{
	{"true", ""}, {"false", ""},
	{"(-128)::TINYINT", "(-128)::int2"}, {"255::UTINYINT", "255::int2"}, {"(-32768)::SMALLINT", "(-32768)::int2"}, {"65535::USMALLINT", "65535::int4"},
	{"(-2147483648)::INTEGER", "(-2147483648)::int4"}, {"0::INTEGER", "0::int4"}, {"4294967295::UINTEGER", "4294967295::int8"},
	{"(-9223372036854775808)::BIGINT", "(-9223372036854775808)::int8"}, {"9223372036854775807::BIGINT", "9223372036854775807::int8"},
	{"18446744073709551615::UBIGINT", "18446744073709551615::numeric"}, {"10000::UBIGINT", "10000::numeric"}, {"0::UBIGINT", "0::numeric"},
	{"170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727::numeric"},
	{"(-170141183460469231731687303715884105728)::HUGEINT", "(-170141183460469231731687303715884105728)::numeric"},
	{"(-18446744073709551616)::HUGEINT", "(-18446744073709551616)::numeric"}, {"(-1)::HUGEINT", "(-1)::numeric"}, {"9223372036854775808::HUGEINT", "9223372036854775808::numeric"},
	{"(-9223372036854775808)::HUGEINT", "(-9223372036854775808)::numeric"}, {"100000000::HUGEINT", "100000000::numeric"},
	{"340282366920938463463374607431768211455::UHUGEINT", "340282366920938463463374607431768211455::numeric"}, {"0::UHUGEINT", "0::numeric"},
	{"'12345678901234567890123456789012345678901234567890'::BIGNUM", "12345678901234567890123456789012345678901234567890::numeric"},
	{"'-120000000000000000000000000000000000000000000000'::BIGNUM", "(-120000000000000000000000000000000000000000000000)::numeric"}, {"'0'::BIGNUM", "0::numeric"},
	{"'-7'::BIGNUM", "(-7)::numeric"},
	{"1.50::DECIMAL(4,2)", "1.50::numeric(4,2)"}, {"(-0.05)::DECIMAL(4,2)", "(-0.05)::numeric(4,2)"}, {"0::DECIMAL(4,2)", "0::numeric(4,2)"},
	{"12345.6::DECIMAL(9,1)", "12345.6::numeric(9,1)"}, {"(-0.005)::DECIMAL(9,3)", "(-0.005)::numeric(9,3)"}, {"0.00001::DECIMAL(9,5)", "0.00001::numeric(9,5)"},
	{"10000::DECIMAL(9,0)", "10000::numeric(9,0)"}, {"12345678901234.5678::DECIMAL(18,4)", "12345678901234.5678::numeric(18,4)"},
	{"999999999999999999::DECIMAL(18,0)", "999999999999999999::numeric(18,0)"}, {"0.000000000000000001::DECIMAL(18,18)", "0.000000000000000001::numeric(18,18)"},
	{"(-99999999999999999999999999999999999.999)::DECIMAL(38,3)", "(-99999999999999999999999999999999999.999)::numeric(38,3)"},
	{"0::DECIMAL(38,38)", "0::numeric(38,38)"}, {"12.5::DECIMAL(38,10)", "12.5::numeric(38,10)"}, {"(-1.00000000000000000001)::DECIMAL(38,20)", "(-1.00000000000000000001)::numeric(38,20)"},
	{"1.5::FLOAT", "1.5::float4"}, {"0.1::FLOAT", "0.1::float4"}, {"1e6::FLOAT", "1e6::float4"}, {"999999::FLOAT", "999999::float4"}, {"1e-4::FLOAT", "1e-4::float4"},
	{"1e-5::FLOAT", "1e-5::float4"}, {"16777216::FLOAT", "16777216::float4"}, {"3.4028235e38::FLOAT", "3.4028235e38::float4"},
	{"0.1::DOUBLE", "0.1::float8"}, {"'-0'::DOUBLE", "'-0'::float8"}, {"1e300::DOUBLE", "1e300::float8"}, {"1e-7::DOUBLE", "1e-7::float8"}, {"0.0001::DOUBLE", "0.0001::float8"},
	{"0.00001234::DOUBLE", "0.00001234::float8"}, {"123456789012345::DOUBLE", "123456789012345::float8"}, {"999999999999999::DOUBLE", "999999999999999::float8"},
	{"1e15::DOUBLE", "1e15::float8"}, {"(-123456789.125)::DOUBLE", "(-123456789.125)::float8"}, {"1.7976931348623157e308::DOUBLE", "1.7976931348623157e308::float8"}, {"5e-324::DOUBLE", "5e-324::float8"},
	{"0.00015::DOUBLE", "0.00015::float8"}, {"12345.6789::DOUBLE", "12345.6789::float8"}, {"12345.67891::DOUBLE", "12345.67891::float8"}, {"99999999999.9999::DOUBLE", "99999999999.9999::float8"},
	{"(-0.5)::DOUBLE", "(-0.5)::float8"}, {"100::DOUBLE", "100::float8"}, {"(0.1::DOUBLE + 0.2::DOUBLE)", "(0.1::float8 + 0.2::float8)"}, {"-0.00004::DOUBLE", "-0.00004::float8"},
	{"'nan'::DOUBLE", "'nan'::float8"}, {"'nan'::FLOAT", "'nan'::float4"}, {"'inf'::FLOAT", "'inf'::float4"}, {"'-inf'::DOUBLE", "'-inf'::float8"},
	{"'é😀\"\\ x'", "'é😀\"\\ x'::text"}, {"''", "''::text"}, {"'a'::ENUM('a', 'b')", "'a'::text"},
	{"{'pg_int2vector': [1, 2, -3]::SMALLINT[]}", "'1 2 -3'::int2vector"}, {"{'pg_int2vector': []::SMALLINT[]}", "''::int2vector"}, {"{'pg_oidvector': [10, 4000000000]::UINTEGER[]}", "'10 4000000000'::oidvector"},
	{"'{\"a\": [1, 2.50]}'::JSON", "'{\"a\": [1, 2.50]}'::json"},
	{"'\\x00\\xFF'::BLOB", "'\\x00ff'::bytea"}, {"''::BLOB", "''::bytea"},
	{"'10110'::BIT", "'10110'::varbit"}, {"'1011000011'::BIT", "'1011000011'::varbit"}, {"'10110000'::BIT", "'10110000'::varbit"},
	{"'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'::UUID", ""}, {"'00000000-0000-0000-0000-000000000000'::UUID", ""},
	{"DATE '2024-02-29'", ""}, {"DATE '1969-12-31'", ""}, {"DATE '0044-03-15 (BC)'", "DATE '0044-03-15 BC'"}, {"DATE '0001-12-31 (BC)'", "DATE '0001-12-31 BC'"},
	{"DATE '0001-01-01'", ""}, {"DATE '9999-12-31'", ""}, {"DATE '10000-01-01'", ""}, {"DATE '0999-03-01'", ""}, {"'infinity'::DATE", ""}, {"'-infinity'::DATE", ""},
	{"TIME '24:00:00'", ""}, {"TIME '01:02:03.000400'", ""}, {"TIME '00:00:00'", ""}, {"'01:02:03.123456'::TIME_NS", "'01:02:03.123456'::time"},
	{"'01:02:03.5+05:30'::TIMETZ", ""}, {"'01:02:03-15:59:59'::TIMETZ", ""}, {"'23:59:59.999999+00'::TIMETZ", ""},
	{"TIMESTAMP '2024-02-29 12:00:00.5'", ""}, {"TIMESTAMP '1969-12-31 23:59:59.999999'", ""}, {"TIMESTAMP '1999-12-31 23:59:59'", ""}, {"TIMESTAMP '0044-03-15 (BC) 01:02:03.000001'", "TIMESTAMP '0044-03-15 01:02:03.000001 BC'"},
	{"TIMESTAMP '0001-01-01 00:00:00'", ""}, {"TIMESTAMP '12345-06-07 08:09:10'", ""}, {"'infinity'::TIMESTAMP", ""}, {"'-infinity'::TIMESTAMP", ""},
	{"'2024-02-29 12:00:01'::TIMESTAMP_S", "'2024-02-29 12:00:01'::timestamp"}, {"'1969-12-31 12:00:01'::TIMESTAMP_S", "'1969-12-31 12:00:01'::timestamp"},
	{"'1969-12-31 12:00:01.25'::TIMESTAMP_MS", "'1969-12-31 12:00:01.25'::timestamp"}, {"'1969-12-31 23:59:59.999999'::TIMESTAMP_NS", "'1969-12-31 23:59:59.999999'::timestamp"},
	{"TIMESTAMPTZ '2024-02-29 12:00:00.5+00'", ""}, {"TIMESTAMPTZ '2024-07-01 12:00:00+02'", ""}, {"TIMESTAMPTZ '1890-01-01 00:00:00+00'", ""}, {"TIMESTAMPTZ '1945-05-24 01:00:00+00'", ""},
	{"TIMESTAMPTZ '2100-07-01 00:00:00+00'", ""}, {"TIMESTAMPTZ '0044-03-15 (BC) 01:02:03+00'", "TIMESTAMPTZ '0044-03-15 01:02:03+00 BC'"}, {"'infinity'::TIMESTAMPTZ", ""}, {"'-infinity'::TIMESTAMPTZ", ""},
	{"INTERVAL '1 year 2 months -3 days'", ""}, {"INTERVAL '-1 month 1 day 01:02:03.5'", ""}, {"INTERVAL '0 seconds'", ""}, {"INTERVAL '-00:00:00.000001'", ""}, {"INTERVAL '100000 hours'", ""},
	{"[1, NULL, -3]::INTEGER[]", "array[1, NULL, -3]::int4[]"}, {"[]::INTEGER[]", "'{}'::int4[]"}, {"[1, 2]::INTEGER[2]", "array[1, 2]::int4[]"},
	{"['', 'null', 'NULL', 'a b', 'a,b', '{', '\"\\', NULL, 'plain', 'é']::VARCHAR[]", "array['', 'null', 'NULL', 'a b', 'a,b', '{', '\"\\', NULL, 'plain', 'é']::text[]"},
	{"[1.50, NULL]::DECIMAL(4,2)[]", "array[1.50, NULL]::numeric(4,2)[]"}, {"[true, false]", "array[true, false]"}, {"[0.1, 1e300]::DOUBLE[]", "array[0.1, 1e300]::float8[]"},
	{"['\\xAA', '']::BLOB[]", "array['\\xaa', '']::bytea[]"}, {"[DATE '2024-02-29', NULL]", "array[DATE '2024-02-29', NULL]"},
	{"[TIMESTAMPTZ '2024-02-29 12:00:00+00']", "array[TIMESTAMPTZ '2024-02-29 12:00:00+00']"}, {"[TIMESTAMP '2024-02-29 12:00:00']", "array[TIMESTAMP '2024-02-29 12:00:00']"},
	{"[INTERVAL '1 day 2 hours']", "array[INTERVAL '1 day 2 hours']"}, {"['f81d4fae-7dec-11d0-a765-00a0c91e6bf6'::UUID]", "array['f81d4fae-7dec-11d0-a765-00a0c91e6bf6'::uuid]"},
	{"[18446744073709551615::UBIGINT]", "array[18446744073709551615::numeric]"}, {"['{\"a\": \"b c\"}'::JSON]", "array['{\"a\": \"b c\"}'::json]"}, {"[TIME '01:02:03']", "array[TIME '01:02:03']"},
	{"{'a': 1, 'b': 'x'}", `'{"a":1,"b":"x"}'::json`}, {"MAP {'k': 1}", `'{"k":1}'::json`}, {"[[1], [2, 3]]", `'[[1],[2,3]]'::json`}, {"[{'a': 1}]", `'[{"a":1}]'::json`},
	{"union_value(n := 5)", `'5'::json`}, {"NULL::VARCHAR", "NULL::text"},
}

// Every type is written byte for byte as PostgreSQL writes the same value, under the type that query/pgtype names.
func TestValuesAsPostgreSQLWritesThem(t *testing.T) {
	ctx := context.Background()
	server := pgtest.StartT(t, pgtest.Options{Major: pgtest.Newest})
	s := openTest(t, Options{})
	for _, zone := range []string{"UTC", "Asia/Kolkata", "America/New_York", "Europe/Berlin"} {
		config, err := pgx.ParseConfig(server.URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		config.RuntimeParams["timezone"] = zone
		pg, err := pgconn.ConnectConfig(ctx, &config.Config)
		if err != nil {
			t.Fatal(err)
		}
		defer pg.Close(ctx)
		se := session(t, s)
		if err := se.Set(ctx, Settings{Postgres: true, TimeZone: zone}); err != nil {
			t.Fatal(err)
		}
		for _, c := range asPostgres {
			if c.pg == "" {
				c.pg = c.duck
			}
			wantText, oid, mod, _ := ask(t, pg, "SELECT "+c.pg, pgproto3.TextFormat)
			wantBinary, _, _, null := ask(t, pg, "SELECT "+c.pg, pgproto3.BinaryFormat)
			st, err := se.Prepare(ctx, "SELECT "+c.duck)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := st.Query(ctx, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			chunk, err := rows.Next()
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("%s in %s", c.duck, zone)
			typ := pgtype.Of(rows.Columns()[0].Type)
			if typ.OID != oid {
				t.Errorf("%s: %s has OID %d, PostgreSQL's %d", name, rows.Columns()[0].Type, typ.OID, oid)
			}
			if mod != -1 && typ.Mod != mod && typ.OID != pgtype.Interval {
				t.Errorf("%s: modifier %d, PostgreSQL's %d", name, typ.Mod, mod)
			}
			if chunk.IsNull(0, 0) != null {
				t.Errorf("%s: NULL is %v", name, !null)
			}
			if null {
				rows.Close()
				continue
			}
			if got := string(chunk.AppendPGText(nil, 0, 0)); got != wantText {
				t.Errorf("%s: text %q, PostgreSQL's %q", name, got, wantText)
			}
			if got := string(chunk.AppendPGBinary([]byte("before"), 0, 0)); got != "before"+wantBinary {
				t.Errorf("%s: binary %s, PostgreSQL's %s", name, hex.EncodeToString([]byte(got[6:])), hex.EncodeToString([]byte(wantBinary)))
			}
			rows.Close()
		}
	}
}

func ask(t *testing.T, pg *pgconn.PgConn, sql string, format int16) (value string, oid uint32, mod int32, null bool) {
	t.Helper()
	r := pg.ExecParams(context.Background(), sql, nil, nil, nil, []int16{format})
	for r.NextRow() {
		f := r.FieldDescriptions()[0]
		value, oid, mod, null = string(r.Values()[0]), f.DataTypeOID, f.TypeModifier, r.Values()[0] == nil
	}
	if _, err := r.Close(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value, oid, mod, null
}

// The elements of arrays have the OIDs that query/pgtype gives to columns of their type.
func TestElementOIDs(t *testing.T) {
	for id, oid := range pgElements {
		r := resultType{id: id, width: 5, scale: 2}
		if want := pgtype.Of(r.name()).OID; want != oid {
			t.Errorf("%s: %d, not %d", r.name(), oid, want)
		}
	}
}

const pgBenchSQL = `SELECT i AS id, (i % 1000)::INTEGER AS n, i * 0.5 AS d, (i % 100000)::DECIMAL(12,2) AS amount, 'customer ' || i AS name, i % 3 = 0 AS ok,
	DATE '2024-01-01' + (i % 365)::INTEGER AS day, TIMESTAMP '2024-01-01 00:00:00' + INTERVAL 1 SECOND * i AS at, TIMESTAMPTZ '2024-01-01 00:00:00+00' + INTERVAL 1 SECOND * i AS atz,
	CASE WHEN i % 5 = 0 THEN NULL ELSE 'status' END AS status FROM range(2048) r(i)`

// Ten columns of a usual table; the figure is per chunk of 2,048 rows.
func BenchmarkPGEncode(b *testing.B) {
	s := openTest(b, Options{})
	se := session(b, s)
	st, err := se.Prepare(context.Background(), pgBenchSQL)
	if err != nil {
		b.Fatal(err)
	}
	rows, err := st.Query(context.Background(), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	chunk, err := rows.Next()
	if err != nil || chunk == nil {
		b.Fatal(chunk, err)
	}
	for name, encode := range map[string]func([]byte, int, int) []byte{"text": chunk.AppendPGText, "binary": chunk.AppendPGBinary} {
		b.Run(name, func(b *testing.B) {
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				out = out[:0]
				for row := range chunk.Len() {
					for col := range rows.Columns() {
						if !chunk.IsNull(col, row) {
							out = encode(out, col, row)
						}
					}
				}
			}
			b.SetBytes(int64(len(out)))
			b.ReportMetric(float64(b.N)*float64(chunk.Len())/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// The short way to a float's digits gives those of the long one.
func TestFloatsHaveTheShortestDigits(t *testing.T) {
	check := func(f float64) {
		if a := math.Abs(f); a >= 1e15 || a < 1e-4 {
			return
		}
		if got, want := string(appendPGFloat(nil, f, 64)), strconv.FormatFloat(f, 'f', -1, 64); got != want {
			t.Fatalf("%v: %s, not %s", f, got, want)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2_000_000 {
		x := float64(r.Int64N(1e16)-5e15) / math.Pow10(r.IntN(12))
		check(x)
		check(math.Nextafter(x, 0))
		check(math.Float64frombits(r.Uint64()))
	}
}
