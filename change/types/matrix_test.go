package types

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// matrixCase is a type with its extremes, as SQL expressions.
type matrixCase struct {
	pg     string
	values []string
	as     string // the DuckDB type that a configuration asks for
	since  int    // PostgreSQL major; 0: all
	// textOnly says that the binary form is not decoded, and out that all values are out of range.
	textOnly, out bool
}

var matrix = []matrixCase{
	{pg: "boolean", values: []string{"true", "false"}},
	{pg: "boolean", as: "VARCHAR", values: []string{"true", "false"}, textOnly: true},
	{pg: "smallint", values: []string{"-32768", "32767", "0", "-1"}},
	{pg: "integer", values: []string{"-2147483648", "2147483647", "7"}},
	{pg: "integer", as: "VARCHAR", values: []string{"-2147483648"}, textOnly: true},
	{pg: "bigint", values: []string{"-9223372036854775808", "9223372036854775807", "-1"}},
	{pg: "real", values: []string{"'NaN'", "'Infinity'::real - 'Infinity'::real", "'Infinity'", "'-Infinity'", "'-0'", "0", "'1e-45'", "'1.17549435e-38'", "'3.4028235e38'", "0.1", "16777216", "1e15", "1e-5"}},
	{pg: "double precision", values: []string{"'NaN'", "'Infinity'::float8 - 'Infinity'::float8", "'Infinity'", "'-Infinity'", "'-0'", "0", "'5e-324'", "'2.2250738585072014e-308'", "'1.7976931348623157e308'", "0.1", "1e15", "1e22", "9007199254740993", "0.30000000000000004"}},
	{pg: "numeric", values: []string{"'NaN'", "repeat('9', 131072)::numeric", "('0.' || repeat('3', 16383))::numeric", "0", "-0.000", "1", "-1", "10000", "1e20", "1.50", "0.00010",
		"-0.00000000000100", "12345678901234567890.123456789", "'Infinity'", "'-Infinity'", "100000000", "9999.9999", "0.1", "0.12345"}},
	{pg: "numeric", as: "DECIMAL(38,9)", values: []string{"0", "1", "-1.5", "12345678901234567890123456789.123456789", "99999999999999999999999999999.999999999", "-0.000000001", "1.500000000000000", "1e28"}},
	{pg: "numeric", as: "DECIMAL(38,9)", out: true, values: []string{"'NaN'", "'Infinity'", "'-Infinity'", "1e29", "repeat('9', 131072)::numeric", "0.0000000001", "1e-100", "-1e38", "1e39"}},
	{pg: "numeric", as: "DECIMAL(10,2)", values: []string{"0", "1.5", "99999999.99", "-99999999.9900000000000000000000", "1.10", "1e7"}},
	{pg: "numeric", as: "DECIMAL(10,2)", out: true, values: []string{"'NaN'", "100000000", "0.001", "-1.505", "1e17", "1e18", "1e19", "99999999.9999999999999", "1e300"}},
	{pg: "numeric(4,0)", values: []string{"9999", "-9999", "0"}},
	{pg: "numeric(4,0)", out: true, values: []string{"'NaN'"}},
	{pg: "numeric(9,9)", values: []string{"0.999999999", "-0.000000001", "0"}},
	{pg: "numeric(12,2)", values: []string{"9999999999.99", "-9999999999.99", "-0.01", "0", "10000", "1.5", "100000000"}},
	{pg: "numeric(12,2)", as: "VARCHAR", values: []string{"9999999999.99", "-0.01", "0", "10000", "'NaN'"}},
	{pg: "numeric(18,3)", values: []string{"999999999999999.999", "-999999999999999.999", "0.001"}},
	{pg: "numeric(18,18)", values: []string{"0.999999999999999999", "-0.999999999999999999", "0.1"}},
	{pg: "numeric(38,0)", values: []string{"99999999999999999999999999999999999999", "-99999999999999999999999999999999999999", "1"}},
	{pg: "numeric(38,19)", values: []string{"9999999999999999999.9999999999999999999", "-0.0000000000000000001"}},
	{pg: "numeric(38,38)", values: []string{"0.99999999999999999999999999999999999999", "-0.00000000000000000000000000000000000001"}},
	{pg: "numeric(38,19)", out: true, values: []string{"'NaN'"}},
	{pg: "numeric(39,2)", values: []string{"9999999999999999999999999999999999999.99", "'NaN'"}},
	{pg: "numeric(5,-2)", values: []string{"9999900", "-100", "0"}, since: 15},
	{pg: "numeric(3,5)", values: []string{"0.00999", "-0.00001"}, since: 15},
	{pg: "money", values: []string{"'92233720368547758.07'", "'-92233720368547758.08'", "'0'", "'-0.01'", "'1234.56'", "'-1234567.89'", "'999'"}},
	{pg: "money", as: "VARCHAR", values: []string{"'-1234.56'"}, textOnly: true},
	{pg: "text", values: []string{"''", "'a'", "'twelve bytes'", "'thirteen byte'", "'😀𝔘é\u200d'", "E'tab\\tline\\nback\\\\slash\"quote'''", "'NULL'", "repeat('é😀', 100000)"}},
	{pg: "varchar(5)", values: []string{"''", "'ab  '", "'12345'"}},
	{pg: "char(5)", values: []string{"'a'", "''", "'12345'"}},
	{pg: `"char"`, values: []string{"'x'", "''", `(-56)::"char"`, `0::"char"`, `127::"char"`}, textOnly: true},
	{pg: "name", values: []string{"'x'", "repeat('y', 63)"}},
	{pg: "bytea", values: []string{"''", `'\x00'`, `'\x00ff80de'`, `'\x000102030405060708090a0b'`, `'\x000102030405060708090a0b0c'`, `decode(repeat('00ff', 500000), 'hex')`}},
	{pg: "bytea", as: "VARCHAR", values: []string{`'\x00ff80de'`}, textOnly: true},
	{pg: "uuid", values: []string{"'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'80000000-0000-0000-8000-000000000001'", "'01234567-89ab-cdef-0123-456789ABCDEF'"}},
	{pg: "json", values: []string{`'{"a" : 1, "a":2}'`, `'"\u0000"'`, "'null'", `' [1e400, -0] '`, `'"😀"'`}},
	{pg: "json", as: "VARCHAR", values: []string{`' {"a" : 1, "a":2}'`}},
	{pg: "jsonb", values: []string{`'{"b": 1, "a": [null, {}]}'`, "'null'", `'1e400'`, `'""'`}},
	{pg: "jsonb", as: "VARCHAR", values: []string{`'{"b": 1, "a": [null, {}]}'`, "'null'"}},
	{pg: "jsonpath", values: []string{`'$.a[*] ? (@ > 1)'`}},
	{pg: "date", values: []string{"'infinity'", "'-infinity'", "'4714-11-24 BC'", "'0001-12-31 BC'", "'0005-02-29 BC'", "'0001-01-01'", "'1600-02-29'", "'1969-12-31'", "'1970-01-01'", "'2000-01-01'", "'9999-12-31'", "'10000-01-01'", "'5874897-12-31'"}},
	{pg: "time", values: []string{"'00:00'", "'23:59:59.999999'", "'24:00:00'", "'12:34:56.7'", "'00:00:00.000001'", "'23:59:60'"}},
	{pg: "time(2)", values: []string{"'12:34:56.789'"}},
	{pg: "timetz", values: []string{"'00:00+00'", "'24:00:00-15:59:59'", "'12:34:56.789+15:59:59'", "'00:00-00:00:01'", "'01:02+05:30'", "'01:02-05:30'", "'01:02:03.000004+00:00:59'", "'01:02-08'"}},
	{pg: "timestamp", values: []string{"'infinity'", "'-infinity'", "'4714-11-24 00:00:00 BC'", "'0001-12-31 23:59:59.999999 BC'", "'0001-01-01'", "'1999-12-31 23:59:59.999999'", "'2000-01-01'", "'2024-02-29 12:34:56.5'",
		"'9999-12-31 23:59:59'", "'10000-01-01 00:00'", "'294247-01-10 04:00:54.775806'"}},
	{pg: "timestamp", out: true, values: []string{"'294247-01-10 04:00:54.775807'", "'294276-12-31 23:59:59.999999'"}},
	{pg: "timestamptz", values: []string{"'infinity'", "'-infinity'", "'4714-11-24 00:00:00+00 BC'", "'0001-12-31 12:00:00+00 BC'", "'1999-12-31 23:59:59.999999+14'", "'0001-01-01 00:00:00+00'", "'12345-06-07 08:09:10.11+00'"}},
	{pg: "timestamptz", out: true, values: []string{"'294276-12-31 23:59:59.999999+00'"}},
	{pg: "timestamptz", as: "VARCHAR", values: []string{"'infinity'", "'4714-11-24 00:00:00+00 BC'"}, textOnly: true},
	{pg: "interval", values: []string{"'178000000 years'", "'-178000000 years'", "'1 month -1 day 00:00:00.000001'", "'2147483647 days'", "'-2147483648 days'", "'0'", "'-2147483647:59:54.775807'",
		"'1 year'", "'-1 year'", "'1 mon'", "'1 day'", "'-1 day'", "'1 year 2 mons -3 days 04:05:06.7'", "'-1 year -2 mons +3 days -04:05:06.789'", "'-1 mon +1 day -00:00:00.000001'",
		"'100:00:00'", "'-00:00:01'", "make_interval(years => 178956970, months => 7)", "make_interval(years => -178956970, months => -7)", "'25 hours'", "'11 mons'", "'13 mons -1 day'"}},
	{pg: "interval", values: []string{"'9223372036854775807 microseconds'", "'-9223372036854775808 microseconds'"}, since: 15},
	{pg: "interval", out: true, values: []string{"'infinity'", "'-infinity'"}, since: 17},
	{pg: "interval day to second(0)", values: []string{"'1 day 02:03:04.6'"}},
	{pg: "oid", values: []string{"0", "4294967295"}},
	{pg: "xid", values: []string{"'4294967295'"}},
	{pg: "cid", values: []string{"'7'"}},
	{pg: "xid8", values: []string{"'18446744073709551615'", "'0'"}},
	{pg: "regclass", values: []string{"'pg_class'", "'4294967295'"}, textOnly: true},
	{pg: "regtype", values: []string{"'int'"}, textOnly: true},
	{pg: "regproc", values: []string{"'now'"}, textOnly: true},
	{pg: "refcursor", values: []string{"'c'"}},
	{pg: "pg_lsn", values: []string{"'16/B374D848'", "'FFFFFFFF/FFFFFFFF'"}, textOnly: true},
	{pg: "pg_snapshot", values: []string{"'10:20:10,14'"}, textOnly: true},
	{pg: "tid", values: []string{"'(4294967295,65535)'"}, textOnly: true},
	{pg: "int2vector", values: []string{"'1 2 3'", "''"}, textOnly: true},
	{pg: "oidvector", values: []string{"'1 4294967295'"}, textOnly: true},
	{pg: "bit(5)", values: []string{"B'10101'"}, textOnly: true},
	{pg: "varbit", values: []string{"B''", "B'101'"}, textOnly: true},
	{pg: "inet", values: []string{"'192.168.0.1'", "'10.0.0.0/8'", "'::ffff:1.2.3.4/96'", "'::1'", "'2001:db8::ffff'", "'1.2.3.4'", "'fe80::1234:5678:9abc:def0/64'"}, textOnly: true},
	{pg: "host", values: []string{"'192.168.0.1'"}, textOnly: true},
	{pg: "cidr", values: []string{"'10.0.0.0/8'", "'2001:db8::/32'", "'1.2.3.4'", "'::1'"}, textOnly: true},
	{pg: "macaddr", values: []string{"'08:00:2b:01:02:03'"}, textOnly: true},
	{pg: "macaddr8", values: []string{"'08:00:2b:01:02:03:04:05'"}, textOnly: true},
	{pg: "point", values: []string{"'(0.1,-0)'", "'(NaN,Infinity)'"}, textOnly: true},
	{pg: "line", values: []string{"'{1,2,3}'"}, textOnly: true},
	{pg: "lseg", values: []string{"'[(0,0),(1,1)]'"}, textOnly: true},
	{pg: "box", values: []string{"'(1,1),(0,0)'"}, textOnly: true},
	{pg: "path", values: []string{"'((0,0),(1,1))'", "'[(0,0),(1,1)]'"}, textOnly: true},
	{pg: "polygon", values: []string{"'((0,0),(1,1),(1,0))'"}, textOnly: true},
	{pg: "circle", values: []string{"'<(0,0),1>'"}, textOnly: true},
	{pg: "tsvector", values: []string{`'a:1A fat:2B,4C cat:5D'`, "''"}, textOnly: true},
	{pg: "tsquery", values: []string{"'fat & (rat | cat)'"}, textOnly: true},
	{pg: "int4range", values: []string{"'empty'", "'[1,5)'", "'(,)'"}, textOnly: true},
	{pg: "numrange", values: []string{"'[1.10,NaN]'"}, textOnly: true},
	{pg: "tstzrange", values: []string{"'[2020-01-01 00:00+05,infinity)'"}, textOnly: true},
	{pg: "datemultirange", values: []string{"'{}'", "'{[2020-01-01,2020-02-01),[2021-01-01,)}'"}, textOnly: true},
	{pg: "mood", values: []string{"'sad'", "'so ''la la'''"}},
	{pg: "positive", values: []string{"1", "99999999.99"}},
	{pg: "tags", values: []string{"'{}'", "'{a,NULL,\"\"}'"}},
	{pg: "pair", values: []string{`ROW(1, 'x"y,z', NULL, '{1,2}')::pair`, "ROW(NULL, '', NULL, NULL)::pair"}, textOnly: true},
	{pg: "hstore", values: []string{`'a=>1, "b c"=>NULL'`}, textOnly: true},
	{pg: "citext", values: []string{"'AbC'"}, textOnly: true},
	{pg: "xml", values: []string{"'<a>1</a>'", "'text <b/>'", `('<?xml version="1.0" encoding="UTF-8"?>' || E'\n<a>é</a>')`, `'<?xml version="1.0" standalone="yes"?><a/>'`}},
	{pg: "integer[]", values: []string{"'{}'", "'{1,NULL,-2147483648}'", "ARRAY(SELECT generate_series(1, 5000))", "'{NULL}'"}},
	{pg: "integer[]", out: true, values: []string{"'{{1,2},{3,4}}'", "'[0:1]={7,8}'", "'{{1}}'", "'[2:2]={1}'", "'[2:2][1:1]={{1}}'", "'{{{NULL}}}'", "'[-5:-5]={NULL}'"}},
	{pg: "integer[]", as: "VARCHAR", values: []string{"'{{1,2},{3,4}}'", "'[0:1]={7,8}'"}, textOnly: true},
	{pg: "boolean[]", values: []string{"'{t,f,NULL}'"}},
	{pg: "text[]", values: []string{"'{\"\",NULL,\"NULL\",\"null\",\"a,b\",\"longer than twelve bytes\"}'", `ARRAY['a"b', 'c\d', '{}', ' ', E'\n', 'x y', '\\', '"', 'quote " in more than twelve bytes', 'é😀', ';']`, `ARRAY['\"']`,
		"ARRAY(SELECT repeat('\\', i) FROM generate_series(1, 3000) i WHERE i % 50 = 0)"}},
	{pg: "text[]", out: true, values: []string{"'{{a},{b}}'", "'[0:0]={a}'", `ARRAY[ARRAY['"', '{']]`}},
	{pg: "numeric(10,2)[]", values: []string{"'{1.5,NULL,-99999999.99}'"}},
	{pg: "numeric(10,2)[]", out: true, values: []string{"'{1,NaN}'"}},
	{pg: "numeric[]", values: []string{"'{1.50,NULL,NaN,-0.00001,123456789012345678901234567890}'", "'{}'"}},
	{pg: "numeric[]", out: true, values: []string{"'{{1}}'"}},
	{pg: "double precision[]", values: []string{"'{NaN,-0,1e300,NULL,-Infinity}'"}},
	{pg: "timestamp[]", values: []string{"'{infinity,2020-01-01 00:00,NULL,0044-03-15 12:00 BC}'"}},
	{pg: "timestamptz[]", values: []string{"'{infinity,2020-01-01 00:00+00,NULL}'"}},
	{pg: "timestamptz[]", out: true, values: []string{"'{294276-12-31 00:00+00}'"}},
	{pg: "date[]", values: []string{"'{-infinity,0044-03-15 BC,NULL}'"}},
	{pg: "timetz[]", values: []string{"'{24:00:00-15:59:59,NULL}'"}},
	{pg: "uuid[]", values: []string{"'{00000000-0000-0000-0000-000000000001}'"}},
	{pg: "json[]", values: []string{`ARRAY['{"a" : "b\"c\\d"}'::json, NULL, '[1, 2]']`}},
	{pg: "jsonb[]", values: []string{`ARRAY['{"a":1}'::jsonb, NULL, '"x\"y"', 'null']`}},
	{pg: "bytea[]", values: []string{`ARRAY['\x00'::bytea, '', '\x000102030405060708090a0b0c0d0e', NULL]`}},
	{pg: "mood[]", values: []string{"'{sad,NULL}'", "ARRAY['so ''la la''']::mood[]"}},
	{pg: "positive[]", values: []string{"'{1.5,NULL}'"}},
	{pg: "inet[]", values: []string{"'{10.0.0.1/8,NULL,1.2.3.4,2001:db8::1}'"}, textOnly: true},
	{pg: "host[]", values: []string{"'{10.0.0.1/8,NULL,1.2.3.4}'"}, textOnly: true},
	{pg: "cidr[]", values: []string{"'{10.0.0.0/8,1.2.3.4}'"}, textOnly: true},
	{pg: "money[]", values: []string{"'{1.50,NULL,-1234.56}'"}, textOnly: true},
	{pg: "money[]", as: "VARCHAR", values: []string{"'{1.50,NULL}'"}, textOnly: true},
	{pg: "box[]", values: []string{"'{(1,1),(0,0);(2,2),(1,1);NULL}'"}, textOnly: true},
	{pg: "point[]", values: []string{`'{"(1,1)",NULL}'`}, textOnly: true},
	{pg: "pair[]", values: []string{`ARRAY[ROW(1, 'x"y,z\', NULL, '{1,2}')::pair, NULL]`}, textOnly: true},
	{pg: "int4range[]", values: []string{`'{"[1,5)",empty}'`}, textOnly: true},
	{pg: "int2vector[]", values: []string{`'{"1 2",""}'`}, textOnly: true},
	{pg: "citext[]", values: []string{`'{"A b",NULL}'`}, textOnly: true},
	{pg: "hstore[]", values: []string{`ARRAY['a=>"x\"y"'::hstore]`}, textOnly: true},
	{pg: `"char"[]`, values: []string{`'{a,",",NULL,""}'`}, textOnly: true},
	{pg: "name[]", values: []string{`'{a,NULL}'`}},
	{pg: "xml[]", values: []string{`'{<a>1</a>}'`}},
	{pg: "jsonpath[]", values: []string{`'{$.a}'`}},
	{pg: "char(3)[]", values: []string{"'{a,NULL}'"}},
	{pg: "interval[]", values: []string{"'{1 month,NULL,-1 day +00:00:01}'"}},
	{pg: "interval[]", out: true, values: []string{"'{infinity}'"}, since: 17},
	{pg: "xid8[]", values: []string{"'{18446744073709551615,NULL}'"}},
}

const matrixSetup = `CREATE TYPE mood AS ENUM ('sad', 'so ''la la'''); CREATE DOMAIN positive AS numeric(10,2) CHECK (VALUE > 0);
	CREATE DOMAIN tags AS text[]; CREATE DOMAIN host AS inet; CREATE TYPE pair AS (a int, b text, c mood, d int[]); CREATE EXTENSION hstore; CREATE EXTENSION citext;
	SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET client_encoding = 'UTF8'; SET xmloption = 'content'`

// matrixConn asks a server in both formats and through COPY.
type matrixConn struct {
	*pgconn.PgConn
	t *testing.T
}

func matrixServer(t *testing.T, s *pgtest.Server) matrixConn {
	c, err := pgconn.Connect(t.Context(), s.DB(t))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c.Close(ctx)
	})
	_, err = c.Exec(t.Context(), matrixSetup).ReadAll()
	require.NoError(t, err)
	return matrixConn{c, t}
}

// text is a query's rows in text format, through the types' output functions.
func (c matrixConn) text(sql string) *pgconn.Result {
	rs, err := c.Exec(c.t.Context(), sql).ReadAll()
	require.NoError(c.t, err, "%.200s", sql)
	return rs[0]
}

// binary is a query's only value, from its type's send function.
func (c matrixConn) binary(sql string) []byte {
	r := c.ExecParams(c.t.Context(), sql, nil, nil, nil, []int16{1}).Read()
	require.NoError(c.t, r.Err, "%.200s", sql)
	return r.Rows[0][0]
}

// copied is a query's only row as COPY BINARY sends it.
func (c matrixConn) copied(sql string) []byte {
	var b strings.Builder
	_, err := c.CopyTo(c.t.Context(), &b, "COPY ("+sql+") TO STDOUT (FORMAT binary)")
	require.NoError(c.t, err, "%.200s", sql)
	return slack([]byte(b.String()[19 : b.Len()-2]))
}

func (c matrixConn) catalog() func(uint32) (Info, bool) {
	known := map[uint32]Info{}
	number := func(b []byte) (n int64) {
		_, err := fmt.Sscan(string(b), &n)
		require.NoError(c.t, err)
		return n
	}
	for _, r := range c.text(`SELECT oid, typtype, CASE WHEN typoutput = 'array_out'::regproc THEN typelem ELSE 0 END, typbasetype, typtypmod, typdelim FROM pg_type`).Rows {
		known[uint32(number(r[0]))] = Info{Type: r[1][0], Elem: uint32(number(r[2])), Base: uint32(number(r[3])), BaseMod: int32(number(r[4])), Delim: r[5][0]}
	}
	return func(o uint32) (Info, bool) { i, ok := known[o]; return i, ok }
}

// contents is all that a row of a vector holds, pointers followed.
func contents(t *Type, v *change.Vector, row int) string {
	if v.IsNull(row) {
		return "NULL"
	}
	raw := func(n int) string { return fmt.Sprintf("%x", unsafe.Slice((*byte)(unsafe.Add(v.Data, row*n)), n)) }
	switch t.Kind {
	case Text, JSON, JSONB, Blob:
		s := change.At[change.String](v, row)
		if uint32(s.Head) <= change.InlineMax {
			return raw(16)
		}
		return fmt.Sprintf("%x %q", s.Head, s.Bytes())
	case Bool:
		return raw(1)
	case Int16, Decimal16:
		return raw(2)
	case Int32, UInt32, Float32, Date, Decimal32:
		return raw(4)
	case Int64, UInt64, Float64, Time, TimeTZ, Timestamp, TimestampTZ, Decimal64:
		return raw(8)
	case UUID, Decimal128, Interval:
		return raw(16)
	}
	e := change.At[change.ListEntry](v, row)
	var b strings.Builder
	for i := range e.Length {
		b.WriteString(contents(t.Elem, v.Child, int(e.Offset+i)) + ",")
	}
	return fmt.Sprintf("[%d: %s]", e.Length, b.String())
}

// A value of the stream is the value that COPY gives, in every type and in both of the stream's formats.
func TestStreamEqualsCopy(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		c := matrixServer(t, s)
		info := c.catalog()
		for _, tc := range matrix {
			if tc.since > s.Major {
				continue
			}
			for _, value := range tc.values {
				expr := "(" + value + ")::" + tc.pg
				if strings.HasPrefix(value, "'") && strings.HasSuffix(value, "'") {
					expr = tc.pg + " " + value
					if strings.HasSuffix(tc.pg, "]") || tc.pg == "char(5)" || strings.HasPrefix(tc.pg, "interval ") {
						expr = value + "::" + tc.pg
					}
				}
				name := fmt.Sprintf("%.120s as %s", expr, tc.as)
				res := c.text("SELECT " + expr)
				f := res.FieldDescriptions[0]
				typ := Of(f.DataTypeOID, f.TypeModifier, info)
				if tc.as != "" {
					var err error
					typ, err = Override(typ, f.DataTypeOID, tc.as)
					require.NoError(t, err)
				}
				require.Equal(t, !tc.textOnly, typ.StreamsBinary(), "%s: binary", name)
				d, chunk := NewDecoder([]Type{typ}), NewChunk([]Type{typ})
				v := &chunk.Vectors[0]
				row := c.copied("SELECT " + typ.SourceSQL("("+expr+")"))
				err := d.DecodeRow(chunk, 0, row)
				text, own := res.Rows[0][0], c.binary("SELECT "+expr)
				textErr := d.Text(v, 0, 1, text)
				binaryErr := d.Binary(v, 0, 2, own)
				if tc.out {
					require.ErrorIs(t, err, change.ErrOutOfRange, name)
					requireOutOfRange(t, textErr, name)
					requireOutOfRange(t, binaryErr, name)
					continue
				}
				require.NoError(t, err, name)
				require.NoError(t, textErr, name)
				want := contents(&typ, v, 0)
				requireSame(t, want, contents(&typ, v, 1), "%s: text %.200q", name, text)
				if tc.textOnly {
					runtime.KeepAlive([]any{row, text, d})
					require.Error(t, binaryErr, name)
					require.False(t, errors.Is(binaryErr, change.ErrOutOfRange), name)
					continue
				}
				require.NoError(t, binaryErr, name)
				requireSame(t, want, contents(&typ, v, 2), "%s: binary", name)
				runtime.KeepAlive([]any{row, text, own, d})
			}
		}
	})
}

// requireSame is require.Equal without the difference of very long lines.
func requireSame(t *testing.T, want, got, format string, args ...any) {
	t.Helper()
	if want != got {
		t.Errorf("%s:\n got %.300s\nwant %.300s", fmt.Sprintf(format, args...), got, want)
	}
}

func requireOutOfRange(t *testing.T, err error, name string) {
	t.Helper()
	var de *DecodeError
	require.ErrorIs(t, err, change.ErrOutOfRange, name)
	require.True(t, errors.As(err, &de) && de.Column == 0, name)
}

// castsKnown are the types whose cast to text is not their output function. Text follows the cast for boolean and inet, for
// xml SourceSQL reads the output, which leaves an encoding declaration out; for the others the two are the same text.
var castsKnown = []string{`"char"`, "boolean", "character", "character varying", "cidr", "inet", "name", "pg_node_tree", "xml"}

func TestCastsToTextAreKnown(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		c := matrixServer(t, s)
		var got []string
		for _, r := range c.text(`SELECT DISTINCT castsource::regtype::text FROM pg_cast WHERE casttarget = 'text'::regtype AND castmethod <> 'i' AND castsource <> 'citext'::regtype ORDER BY 1`).Rows {
			got = append(got, string(r[0]))
		}
		slices.Sort(got)
		require.Equal(t, castsKnown, got)
	})
}
