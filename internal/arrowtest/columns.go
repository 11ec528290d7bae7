package arrowtest

import (
	"fmt"
	"strings"
)

// Column is a column of every value that a type of DuckDB's can have.
type Column struct {
	Expr  string // over i, a BIGINT from 0
	Arrow string // its type in Arrow; "" is too long to be written here
}

// Columns are of every type, with its extremes.
var Columns = []Column{
	{"i % 2 = 0", "bool"},
	{"CASE i % 3 WHEN 0 THEN -128 WHEN 1 THEN 127 ELSE i % 100 END::TINYINT", "int8"},
	{"CASE i % 3 WHEN 0 THEN -32768 WHEN 1 THEN 32767 ELSE i % 100 END::SMALLINT", "int16"},
	{"CASE i % 3 WHEN 0 THEN -2147483648 WHEN 1 THEN 2147483647 ELSE i END::INTEGER", "int32"},
	{"CASE i % 3 WHEN 0 THEN '-9223372036854775808' WHEN 1 THEN '9223372036854775807' ELSE i::VARCHAR END::BIGINT", "int64"},
	{"CASE i % 2 WHEN 0 THEN 255 ELSE i % 100 END::UTINYINT", "uint8"},
	{"CASE i % 2 WHEN 0 THEN 65535 ELSE i END::USMALLINT", "uint16"},
	{"CASE i % 2 WHEN 0 THEN 4294967295 ELSE i END::UINTEGER", "uint32"},
	{"CASE i % 2 WHEN 0 THEN 18446744073709551615 ELSE i END::UBIGINT", "uint64"},
	{"CASE i % 3 WHEN 0 THEN '99999999999999999999999999999999999999' WHEN 1 THEN '-99999999999999999999999999999999999999' ELSE i::VARCHAR END::HUGEINT", "decimal(38, 0)"},
	{"CASE i % 2 WHEN 0 THEN '340282366920938463463374607431768211455' ELSE i::VARCHAR END::UHUGEINT", "utf8"},
	{"(CASE i % 2 WHEN 0 THEN '-' ELSE '' END || repeat('123', 1 + (i % 50)::INTEGER))::BIGNUM", "utf8"},
	{"CASE i % 4 WHEN 0 THEN 'nan' WHEN 1 THEN 'inf' WHEN 2 THEN '-inf' ELSE (i / 7)::VARCHAR END::FLOAT", "float32"},
	{"CASE i % 4 WHEN 0 THEN 'nan' WHEN 1 THEN '1e300' WHEN 2 THEN '-0' ELSE (i / 7)::VARCHAR END::DOUBLE", "float64"},
	{"CASE i % 2 WHEN 0 THEN '-99.99' ELSE ((i % 100) / 100)::VARCHAR END::DECIMAL(4,2)", "decimal(4, 2)"},
	{"CASE i % 2 WHEN 0 THEN '-999999.999' ELSE (i / 1000)::VARCHAR END::DECIMAL(9,3)", "decimal(9, 3)"},
	{"CASE i % 2 WHEN 0 THEN '-99999999999999.9999' ELSE (i / 1000)::VARCHAR END::DECIMAL(18,4)", "decimal(18, 4)"},
	{"CASE i % 2 WHEN 0 THEN '-99999999999999999999999999999999999.999' ELSE (i)::VARCHAR END::DECIMAL(38,3)", "decimal(38, 3)"},
	{"CASE i % 4 WHEN 0 THEN '' WHEN 1 THEN 'twelve bytes' WHEN 2 THEN repeat('é😀', (i % 60)::INTEGER) ELSE 'v' || i END", "utf8"},
	{"('{\"a\": [' || i || ', null]}')::JSON", "utf8"},
	{"encode(repeat('x', (i % 30)::INTEGER))", "binary"},
	{"(repeat('10', 1 + (i % 40)::INTEGER))::BIT", "utf8"},
	{"('f81d4fae-7dec-11d0-a765-' || lpad(i::VARCHAR, 12, '0'))::UUID", "utf8"},
	{"CASE i % 4 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' WHEN 2 THEN '0044-03-15 (BC)' ELSE '2024-02-29' END::DATE", "date32"},
	{"CASE i % 2 WHEN 0 THEN '24:00:00' ELSE '01:02:03.0004' END::TIME", "time64[us]"},
	{"'01:02:03.123456789'::TIME_NS", "time64[ns]"},
	{"CASE i % 2 WHEN 0 THEN '01:02:03.5+05:30' ELSE '01:02:03-15:59:59' END::TIMETZ", "utf8"},
	{"CASE i % 4 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' WHEN 2 THEN '0044-03-15 (BC) 01:00:00' ELSE '2024-02-29 12:00:00.5' END::TIMESTAMP", "timestamp[us]"},
	{"CASE i % 3 WHEN 0 THEN 'infinity' WHEN 1 THEN '290309-12-22 (BC) 00:00:00+00' ELSE '294247-01-10 04:00:54.775806+00' END::TIMESTAMPTZ", "timestamp[us, tz=UTC]"},
	{"CASE i % 3 WHEN 0 THEN 'infinity' WHEN 1 THEN '0044-03-15 (BC)' ELSE '2024-02-29 12:00:01' END::TIMESTAMP_S", "timestamp[s]"},
	{"CASE i % 2 WHEN 0 THEN 'infinity' ELSE '2024-02-29 12:00:01.5' END::TIMESTAMP_MS", "timestamp[ms]"},
	{"CASE i % 2 WHEN 0 THEN '-infinity' ELSE '2024-02-29 12:00:01.123456789' END::TIMESTAMP_NS", "timestamp[ns]"},
	{"CASE i % 3 WHEN 0 THEN INTERVAL '1 year 2 months 3 days 04:05:06.7' WHEN 1 THEN INTERVAL '-1 month' + INTERVAL '1 day' + INTERVAL '-1 hour' ELSE to_microseconds(i) END", "month_day_nano_interval"},
	{"(CASE i % 2 WHEN 0 THEN 'a' ELSE 'a longer name of a value' END)::ENUM('a', 'a longer name of a value')", "utf8"},
	{"list_transform(range(i % 5), lambda x: CASE WHEN x = 2 THEN NULL ELSE 'element ' || x || ' of ' || i END)", "list<item: utf8, nullable>"},
	{"[[i], NULL, [], [i, NULL]]", "list<item: list<item: int64, nullable>, nullable>"},
	{"[i, NULL, -i]::BIGINT[3]", "fixed_size_list<item: int64, nullable>[3]"},
	{"[i % 2 = 0, i % 3 = 0]::BOOLEAN[2]", "fixed_size_list<item: bool, nullable>[2]"},
	{"{'a': i, 'b c': CASE WHEN i % 4 = 0 THEN NULL ELSE [DATE '2020-01-01', NULL] END, 'd': {'e': 'text ' || i}}", "struct<a: int64 nullable, b c: list<item: date32, nullable> nullable, d: struct<e: utf8 nullable> nullable>"},
	{"MAP {'k' || i: i / 2::DECIMAL(3,1), 'l': NULL}", "map<utf8, float64, items_nullable>"},
	{"MAP {i: 'x'}", "map<int64, utf8, items_nullable>"},
	{"CASE i % 3 WHEN 0 THEN i::UNION(num BIGINT, str VARCHAR, part BOOLEAN) WHEN 1 THEN ('a string of length ' || i)::UNION(num BIGINT, str VARCHAR, part BOOLEAN) ELSE NULL END", ""},
	{"NULL", "int32"}, // as DuckDB decides
}

// Query has every column twice, the second time with NULLs.
func Query(rows int) string {
	var parts []string
	for n, c := range Columns {
		null := []string{"i % 2 = 1", "i % 7 <> 0", "i % 64 = 5", fmt.Sprintf("i < %d", rows/2), "false"}[n%5]
		value, cast := c.Expr, ""
		if at := strings.LastIndex(value, "]::"); at > 0 { // DuckDB has no CASE of arrays
			value, cast = value[:at+1], value[at+1:]
		}
		parts = append(parts, c.Expr+fmt.Sprintf(" AS c%d", n), fmt.Sprintf("CASE WHEN %s THEN NULL ELSE %s END%s AS n%d", null, value, cast, n))
	}
	return fmt.Sprintf("SELECT %s FROM range(%d) r(i)", strings.Join(parts, ", "), rows)
}
