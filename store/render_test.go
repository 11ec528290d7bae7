package store

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
)

func TestEveryDuckDBTypeRenders(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	se := session(t, s)
	for _, c := range []struct{ expr, typ, json, text string }{
		{"true", "BOOLEAN", "true", "true"},
		{"(-128)::TINYINT", "TINYINT", "-128", "-128"},
		{"(-32768)::SMALLINT", "SMALLINT", "-32768", "-32768"},
		{"2147483647", "INTEGER", "2147483647", "2147483647"},
		{"(-9223372036854775808)::BIGINT", "BIGINT", "-9223372036854775808", "-9223372036854775808"},
		{"255::UTINYINT", "UTINYINT", "255", "255"},
		{"65535::USMALLINT", "USMALLINT", "65535", "65535"},
		{"4294967295::UINTEGER", "UINTEGER", "4294967295", "4294967295"},
		{"18446744073709551615::UBIGINT", "UBIGINT", "18446744073709551615", "18446744073709551615"},
		{"170141183460469231731687303715884105727::HUGEINT", "HUGEINT", "170141183460469231731687303715884105727", "170141183460469231731687303715884105727"},
		{"(-170141183460469231731687303715884105728)::HUGEINT", "HUGEINT", "-170141183460469231731687303715884105728", "-170141183460469231731687303715884105728"},
		{"(-18446744073709551616)::HUGEINT", "HUGEINT", "-18446744073709551616", "-18446744073709551616"},
		{"340282366920938463463374607431768211455::UHUGEINT", "UHUGEINT", "340282366920938463463374607431768211455", "340282366920938463463374607431768211455"},
		{"'12345678901234567890123456789012345678901234567890'::BIGNUM", "BIGNUM", "12345678901234567890123456789012345678901234567890", "12345678901234567890123456789012345678901234567890"},
		{"'-1234567890123456789012345678901234567890123456789'::BIGNUM", "BIGNUM", "-1234567890123456789012345678901234567890123456789", "-1234567890123456789012345678901234567890123456789"},
		{"'-255'::BIGNUM", "BIGNUM", "-255", "-255"},
		{"'0'::BIGNUM", "BIGNUM", "0", "0"},
		{"1.5::FLOAT", "FLOAT", "1.5", "1.5"},
		{"0.1::FLOAT", "FLOAT", "0.1", "0.1"},
		{"0.1::DOUBLE", "DOUBLE", "0.1", "0.1"},
		{"'-0'::DOUBLE", "DOUBLE", "-0", "-0"},
		{"1e300::DOUBLE", "DOUBLE", "1e+300", "1e+300"},
		{"1e-7::DOUBLE", "DOUBLE", "1e-07", "1e-07"},
		{"123456789::DOUBLE", "DOUBLE", "123456789", "123456789"},
		{"'nan'::DOUBLE", "DOUBLE", `"NaN"`, "NaN"},
		{"'inf'::FLOAT", "FLOAT", `"Infinity"`, "Infinity"},
		{"'-inf'::DOUBLE", "DOUBLE", `"-Infinity"`, "-Infinity"},
		{"1.50::DECIMAL(4,2)", "DECIMAL(4,2)", "1.50", "1.50"},
		{"(-0.05)::DECIMAL(4,2)", "DECIMAL(4,2)", "-0.05", "-0.05"},
		{"(-0.005)::DECIMAL(9,3)", "DECIMAL(9,3)", "-0.005", "-0.005"},
		{"12345678901234.5678::DECIMAL(18,4)", "DECIMAL(18,4)", "12345678901234.5678", "12345678901234.5678"},
		{"(-99999999999999999999999999999999999.999)::DECIMAL(38,3)", "DECIMAL(38,3)", "-99999999999999999999999999999999999.999", "-99999999999999999999999999999999999.999"},
		{"0::DECIMAL(38,38)", "DECIMAL(38,38)", "0.00000000000000000000000000000000000000", "0.00000000000000000000000000000000000000"},
		{"'say \"hi\"\\ é😀' || chr(10) || chr(9) || chr(13) || chr(1) || '</'", "VARCHAR", "\"say \\\"hi\\\"\\\\ é😀\\n\\t\\r\\u0001</\"", "say \"hi\"\\ é😀\n\t\r\x01</"},
		{"''", "VARCHAR", `""`, ""},
		{"'{\"a\":\n [1, 2.50]}'::JSON", "JSON", `{"a":[1,2.50]}`, "{\"a\":\n [1, 2.50]}"},
		{"'\\x00\\xFF'::BLOB", "BLOB", `"AP8="`, `\x00ff`},
		{"''::BLOB", "BLOB", `""`, `\x`},
		{"'10110'::BIT", "BIT", `"10110"`, "10110"},
		{"'1011000011'::BIT", "BIT", `"1011000011"`, "1011000011"},
		{"'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'::UUID", "UUID", `"f81d4fae-7dec-11d0-a765-00a0c91e6bf6"`, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"},
		{"'00000000-0000-0000-0000-000000000000'::UUID", "UUID", `"00000000-0000-0000-0000-000000000000"`, "00000000-0000-0000-0000-000000000000"},
		{"DATE '2024-02-29'", "DATE", `"2024-02-29"`, "2024-02-29"},
		{"DATE '1969-12-31'", "DATE", `"1969-12-31"`, "1969-12-31"},
		{"DATE '0044-03-15 (BC)'", "DATE", `"0044-03-15 BC"`, "0044-03-15 BC"},
		{"DATE '0001-12-31 (BC)'", "DATE", `"0001-12-31 BC"`, "0001-12-31 BC"},
		{"DATE '294246-01-10'", "DATE", `"294246-01-10"`, "294246-01-10"},
		{"'infinity'::DATE", "DATE", `"infinity"`, "infinity"},
		{"'-infinity'::DATE", "DATE", `"-infinity"`, "-infinity"},
		{"TIME '24:00:00'", "TIME", `"24:00:00"`, "24:00:00"},
		{"TIME '01:02:03.000400'", "TIME", `"01:02:03.0004"`, "01:02:03.0004"},
		{"'01:02:03.123456789'::TIME_NS", "TIME_NS", `"01:02:03.123456789"`, "01:02:03.123456789"},
		{"'01:02:03.5+05:30'::TIMETZ", "TIME WITH TIME ZONE", `"01:02:03.5+05:30"`, "01:02:03.5+05:30"},
		{"'01:02:03-15:59:59'::TIMETZ", "TIME WITH TIME ZONE", `"01:02:03-15:59:59"`, "01:02:03-15:59:59"},
		{"TIMESTAMP '2024-02-29 12:00:00.5'", "TIMESTAMP", `"2024-02-29T12:00:00.5"`, "2024-02-29 12:00:00.5"},
		{"TIMESTAMP '1969-12-31 23:59:59.999999'", "TIMESTAMP", `"1969-12-31T23:59:59.999999"`, "1969-12-31 23:59:59.999999"},
		{"TIMESTAMP '0044-03-15 (BC) 01:00:00'", "TIMESTAMP", `"0044-03-15T01:00:00 BC"`, "0044-03-15 01:00:00 BC"},
		{"TIMESTAMPTZ '2024-02-29 12:00:00.5+01'", "TIMESTAMP WITH TIME ZONE", `"2024-02-29T11:00:00.5+00:00"`, "2024-02-29 11:00:00.5+00"},
		{"'-infinity'::TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE", `"-infinity"`, "-infinity"},
		{"'infinity'::TIMESTAMP", "TIMESTAMP", `"infinity"`, "infinity"},
		{"TIMESTAMP_S '2024-02-29 12:00:01'", "TIMESTAMP_S", `"2024-02-29T12:00:01"`, "2024-02-29 12:00:01"},
		{"TIMESTAMP_MS '2024-02-29 12:00:01.5'", "TIMESTAMP_MS", `"2024-02-29T12:00:01.5"`, "2024-02-29 12:00:01.5"},
		{"TIMESTAMP_NS '2024-02-29 12:00:01.123456789'", "TIMESTAMP_NS", `"2024-02-29T12:00:01.123456789"`, "2024-02-29 12:00:01.123456789"},
		{"INTERVAL '1 year 2 months 3 days 04:05:06.7'", "INTERVAL", `"1 year 2 mons 3 days 04:05:06.7"`, "1 year 2 mons 3 days 04:05:06.7"},
		{"INTERVAL '-1 month' + INTERVAL '1 day' + INTERVAL '-1 hour'", "INTERVAL", `"-1 mons +1 day -01:00:00"`, "-1 mons +1 day -01:00:00"},
		{"INTERVAL '0 days'", "INTERVAL", `"00:00:00"`, "00:00:00"},
		{"INTERVAL '-100 hours'", "INTERVAL", `"-100:00:00"`, "-100:00:00"},
		{"'b'::ENUM('a', 'b')", "ENUM('a', 'b')", `"b"`, "b"},
		{"[1, NULL, 3]", "INTEGER[]", "[1,null,3]", "[1,null,3]"},
		{"[]::VARCHAR[]", "VARCHAR[]", "[]", "[]"},
		{"[['a'], NULL, []]", "VARCHAR[][]", `[["a"],null,[]]`, `[["a"],null,[]]`},
		{"[1, 2]::TINYINT[2]", "TINYINT[2]", "[1,2]", "[1,2]"},
		{"{'a': 1, 'b c': [DATE '2020-01-01', NULL]}", `STRUCT("a" INTEGER, "b c" DATE[])`, `{"a":1,"b c":["2020-01-01",null]}`, `{"a":1,"b c":["2020-01-01",null]}`},
		{"MAP {'k': 1.5, 'l': NULL}", "MAP(VARCHAR, DECIMAL(2,1))", `{"k":1.5,"l":null}`, `{"k":1.5,"l":null}`},
		{"MAP {1: 'x'}", "MAP(INTEGER, VARCHAR)", `[{"key":1,"value":"x"}]`, `[{"key":1,"value":"x"}]`},
		{"union_value(num := 2)", `UNION("num" INTEGER)`, "2", "2"},
		{"'x'::UNION(num INTEGER, str VARCHAR)", `UNION("num" INTEGER, "str" VARCHAR)`, `"x"`, "x"},
		{"NULL", "INTEGER", "null", ""},
		{"NULL::INTEGER[]", "INTEGER[]", "null", ""},
		{"NULL::STRUCT(a INTEGER)", `STRUCT("a" INTEGER)`, "null", ""},
	} {
		st, err := se.Prepare(ctx, "SELECT "+c.expr+" FROM range(3)")
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		rows, err := st.Query(ctx, nil, nil)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		ch, err := rows.Next()
		if err != nil || ch.Len() != 3 {
			t.Fatalf("%s: %v", c.expr, err)
		}
		for i := range 3 {
			if got := string(ch.AppendJSON([]byte("~"), 0, i)); got != "~"+c.json {
				t.Errorf("%s row %d: JSON %s, want ~%s", c.expr, i, got, c.json)
			} else if !json.Valid([]byte(got[1:])) {
				t.Errorf("%s: not JSON: %s", c.expr, got)
			}
			if got := string(ch.AppendText([]byte("~"), 0, i)); got != "~"+c.text {
				t.Errorf("%s row %d: text %s, want ~%s", c.expr, i, got, c.text)
			}
		}
		if got := rows.Columns()[0].Type; got != c.typ {
			t.Errorf("%s: type %s, want %s", c.expr, got, c.typ)
		}
		st.Close()
	}
}

func TestNestedRowsOfManyShapes(t *testing.T) {
	s := openTest(t, Options{})
	se := session(t, s)
	got := queryJSON(t, se, `SELECT CASE WHEN i % 3 = 0 THEN NULL ELSE {'i': i, 'l': CASE WHEN i % 2 = 0 THEN range(i) END, 'm': MAP([i::VARCHAR], [[i]])} END, CASE WHEN i <> 2 THEN i END, [i, nullif(i, 4)]::BIGINT[2] FROM (SELECT range + 1 AS i FROM range(5)) ORDER BY i`, nil, nil)
	equal(t, "rows", got, `{"i":1,"l":null,"m":{"1":[1]}} 1 [1,1] {"i":2,"l":[0,1],"m":{"2":[2]}} null [2,2] null 3 [3,3] {"i":4,"l":[0,1,2,3],"m":{"4":[4]}} 4 [4,null] {"i":5,"l":null,"m":{"5":[5]}} 5 [5,5]`)
	// Many chunks, dictionaries and constants among them.
	got = queryJSON(t, se, `SELECT sum(CASE WHEN e = 'b' THEN 1 ELSE 0 END), count(*) FROM (SELECT unnest(['a', 'b'])::ENUM('a', 'b') AS e FROM range(5000))`, nil, nil)
	equal(t, "enum", got, "5000 10000")
}

func TestBigNumbersAsText(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	se := session(t, s)
	st, err := se.Prepare(ctx, "SELECT 9007199254740992, 9007199254740993, -9007199254740993, 1.50::DECIMAL(4,2), 1234567890123.456::DECIMAL(18,3), 123456789012345::BIGINT, [9007199254740993], {'a': 18446744073709551615::UBIGINT}")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := st.Query(ctx, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	rows.BigNumbersAsText(true)
	c, err := rows.Next()
	if err != nil {
		t.Fatal(err)
	}
	out := []byte{}
	for i := range rows.Columns() {
		out = append(c.AppendJSON(out, i, 0), ' ')
	}
	equal(t, "numbers", string(out), `9007199254740992 "9007199254740993" "-9007199254740993" 1.50 "1234567890123.456" 123456789012345 ["9007199254740993"] {"a":"18446744073709551615"} `)
}

func TestCSV(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	se := session(t, s)
	st, err := se.Prepare(ctx, `SELECT NULL, '', 'plain', 'a,b', 'say "hi"', 'two' || chr(10) || 'lines', 'cr' || chr(13), ['a', 'b'], 1.5, '=1+1'`)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := st.Query(ctx, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := rows.Next()
	if err != nil {
		t.Fatal(err)
	}
	out := []byte{}
	for i := range rows.Columns() {
		out = append(c.AppendCSV(out, i, 0), ';')
	}
	equal(t, "fields", string(out), `;"";plain;"a,b";"say ""hi""";"two`+"\n"+`lines";"cr`+"\r"+`";"[""a"",""b""]";1.5;=1+1;`)
}

// TestDatesAgainstDuckDB compares with DuckDB's own text, which differs in where it says BC.
func TestDatesAgainstDuckDB(t *testing.T) {
	s := openTest(t, Options{})
	se := session(t, s)
	st, err := se.Prepare(context.Background(), `SELECT d, d::VARCHAR, ts, ts::VARCHAR, tz, tz::VARCHAR FROM (SELECT DATE '1970-01-01' + ((hash(range) % 200000000)::BIGINT - 2000000)::INT AS d,
		make_timestamp((hash(range, 1) % 9200000000000000000)::BIGINT - 200000000000000000) AS ts, make_timestamp((hash(range, 2) % 400000000000000000)::BIGINT - 200000000000000000)::TIMESTAMPTZ AS tz FROM range(20000))`)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := st.Query(context.Background(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		c, err := rows.Next()
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			break
		}
		for i := range c.Len() {
			for k := 0; k < 6; k += 2 {
				n++
				got, want := string(c.AppendText(nil, k, i)), string(c.AppendText(nil, k+1, i))
				if day, clock, bc := strings.Cut(want, " (BC)"); bc {
					want = day + clock + " BC"
				}
				if got != want {
					t.Fatalf("%s, DuckDB has %s", got, want)
				}
			}
		}
	}
	equal(t, "values", n, 60000)
}
