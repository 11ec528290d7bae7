package test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// typed is a column of the type matrix: its values are SQL expressions, cast to its type.
type typed struct {
	name, typ string
	duck      string // the documented DuckDB type; "" is VARCHAR
	values    string // one a line
	since     int    // first major that has it
}

const typeMatrixSQL = `
	CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree;
	CREATE TYPE mood AS ENUM ('sad', 'o''k', 'very happy', '😀');
	CREATE TYPE pair AS (a int, b text);
	CREATE DOMAIN age AS int CHECK (value >= 0); CREATE DOMAIN price AS numeric(10,2); CREATE DOMAIN code AS char(4); CREATE DOMAIN tags AS text[]; CREATE DOMAIN older AS age;`

var typeMatrix = []typed{
	{name: "c_bool", typ: "bool", duck: "BOOLEAN", values: "true\nfalse"},
	{name: "c_int2", typ: "int2", duck: "SMALLINT", values: "'-32768'\n32767\n0"},
	{name: "c_int4", typ: "int4", duck: "INTEGER", values: "'-2147483648'\n2147483647\n0"},
	{name: "c_int8", typ: "int8", duck: "BIGINT", values: "'-9223372036854775808'\n9223372036854775807\n9007199254740993"},
	{name: "c_oid", typ: "oid", duck: "UINTEGER", values: "0\n4294967295"},
	{name: "c_float4", typ: "float4", duck: "FLOAT", values: "'NaN'\n'Infinity'\n'-Infinity'\n'1e-45'\n'3.4028235e38'\n'-0'\n0.1\n1e6\n16777217\n1e-5"},
	{name: "c_float8", typ: "float8", duck: "DOUBLE", values: "'NaN'\n'Infinity'\n'-Infinity'\n'5e-324'\n'1.7976931348623157e308'\n'-0'\n0.1\n1e15\n123456789012345680\n1e-5"},
	{name: "c_numeric", typ: "numeric", values: "'NaN'\n'Infinity'\n'-Infinity'\nrepeat('9', 131072)\n'0.' || repeat('0', 16382) || '1'\n'0.00'\n'1.10'\n'-0.000'\n'12345678901234567890.123456789'\n'1e-20'"},
	{name: "c_numeric4", typ: "numeric(4,2)", duck: "DECIMAL(4,2)", values: "99.99\n-99.99\n0\n0.01\n'NaN'"},
	{name: "c_numeric9", typ: "numeric(9,0)", duck: "DECIMAL(9,0)", values: "999999999\n-999999999\n'NaN'"},
	{name: "c_numeric18", typ: "numeric(18,6)", duck: "DECIMAL(18,6)", values: "999999999999.999999\n-999999999999.999999\n-0.000001\n10000\n'NaN'"},
	{name: "c_numeric38", typ: "numeric(38,10)", duck: "DECIMAL(38,10)", values: "'9999999999999999999999999999.9999999999'\n'-9999999999999999999999999999.9999999999'\n'0.0000000001'\n100000000\n'NaN'"},
	{name: "c_fraction", typ: "numeric(38,38)", duck: "DECIMAL(38,38)", values: "'0." + strings.Repeat("9", 38) + "'\n'-0." + strings.Repeat("0", 37) + "1'"},
	{name: "c_numeric39", typ: "numeric(39,1)", values: "repeat('9', 38)\n'NaN'\n-0.1"},
	{name: "c_shifted", typ: "numeric(3,5)", duck: "DECIMAL(5,5)", values: "0.00999\n-0.00001", since: 15},
	{name: "c_hundreds", typ: "numeric(3,-2)", duck: "DECIMAL(5,0)", values: "99900\n-100\n0", since: 15},
	{name: "c_money", typ: "money", duck: "DECIMAL(19,2)", values: "'-92233720368547758.08'\n'92233720368547758.07'\n0"},
	{name: "c_text", typ: "text", values: "''\n'NULL'\n'null'\nE'\\t\\n\\r\\b\\\\ \"q\" ''s'''\n'😀𝒳é漢'\n'12345678901'\n'123456789012'\n'1234567890123'\nrepeat('long text ', 40000)\n'{}'"},
	{name: "c_varchar", typ: "varchar(5)", values: "''\n'a  '\n'12345'"},
	{name: "c_bpchar", typ: "char(5)", values: "''\n'ab'\n'12345'\n'é'"},
	{name: "c_char", typ: `"char"`, values: "'a'\n''"},
	{name: "c_name", typ: "name", values: "'a name'\n''"},
	{name: "c_citext", typ: "citext", values: "'MiXeD'\n''"},
	{name: "c_bytea", typ: "bytea", duck: "BLOB", values: `''
'\x00'
decode('` + allBytes() + `', 'hex')
convert_to(repeat('é', 10000), 'UTF8')
'\x0000000000000000000000ff'
'\x000000000000000000000000ff'`},
	{name: "c_date", typ: "date", duck: "DATE", values: "'infinity'\n'-infinity'\n'0001-01-01'\n'0001-12-31 BC'\n'4713-01-01 BC'\n'5874897-12-31'\n'1969-12-31'\n'2024-02-29'"},
	{name: "c_timestamp", typ: "timestamp", duck: "TIMESTAMP", values: "'infinity'\n'-infinity'\n'4713-01-01 00:00:00 BC'\n'0044-03-15 12:00:00.000001 BC'\n'294247-01-10 04:00:54.775806'\n'294247-01-10 04:00:54.775807'\n'294276-12-31 23:59:59.999999'\n'1969-12-31 23:59:59.999999'\n'1970-01-01'\n'2026-02-13 10:00:00.5'"},
	{name: "c_timestamptz", typ: "timestamptz", duck: "TIMESTAMP WITH TIME ZONE", values: "'infinity'\n'-infinity'\n'4713-01-01 00:00:00+00 BC'\n'0044-03-15 12:00:00.000001+00 BC'\n'294247-01-10 04:00:54.775806+00'\n'294276-12-31 23:59:59.999999+00'\n'1969-12-31 23:59:59.999999+00'\n'1970-01-01 00:00:00+14'\n'2026-02-13 10:00:00.5-12'"},
	{name: "c_timestamp0", typ: "timestamp(0)", duck: "TIMESTAMP", values: "'2026-02-13 10:00:00.5'"},
	{name: "c_time", typ: "time", duck: "TIME", values: "'24:00:00'\n'00:00:00'\n'23:59:59.999999'\n'12:30:00.5'"},
	{name: "c_timetz", typ: "timetz", duck: "TIME WITH TIME ZONE", values: "'24:00:00+00'\n'00:00:00-15:59:59'\n'23:59:59.999999+15:59:59'\n'12:00:00+05:30'\n'12:00:00-00:00:01'"},
	{name: "c_interval", typ: "interval", duck: "INTERVAL", values: "'178000000 years'\n'-178000000 years'\n'1 mon -1 day 00:00:00.000001'\n'0'\n'1 year 2 mons 3 days 04:05:06.789'\n'-1 year -2 mons +3 days -04:05:06'\n'596523:14:07.999999'\n'-596523:14:07.999999'\n'1 month'\n'30 days'\n'2147483647 days'"},
	{name: "c_interval15", typ: "interval", duck: "INTERVAL", values: "'9223372036854775807 microseconds'\n'-9223372036854775807 microseconds'\n'-9223372036854775808 microseconds'", since: 15},
	{name: "c_interval17", typ: "interval", duck: "INTERVAL", values: "'infinity'\n'-infinity'\n'1 day'", since: 17},
	{name: "c_uuid", typ: "uuid", duck: "UUID", values: "'00000000-0000-0000-0000-000000000000'\n'ffffffff-ffff-ffff-ffff-ffffffffffff'\n'7fffffff-ffff-4fff-8000-000000000001'\n'80000000-0000-0000-0000-000000000000'"},
	{name: "c_json", typ: "json", duck: "JSON", values: `'{"a":  1, "a": 2}'
'"\u0000"'
'null'
' [ ] '
'1e400'
'"😀"'
'12345678901234567890.123456789'`},
	{name: "c_jsonb", typ: "jsonb", duck: "JSON", values: `'{"b":1,"a":[1,2,{"x":null}]}'
'null'
'""'
'1e100'
'12345678901234567890.1234567890'
'{}'`},
	{name: "c_mood", typ: "mood", values: "'sad'\n'o''k'\n'very happy'\n'😀'"},
	{name: "c_age", typ: "age", duck: "INTEGER", values: "0\n2147483647"},
	{name: "c_older", typ: "older", duck: "INTEGER", values: "99"},
	{name: "c_price", typ: "price", duck: "DECIMAL(10,2)", values: "99999999.99\n0\n'NaN'"},
	{name: "c_code", typ: "code", values: "'ab'\n''"},
	{name: "c_tags", typ: "tags", duck: "VARCHAR[]", values: "'{a,NULL}'\n'{}'"},
	{name: "c_pair", typ: "pair", values: "ROW(1, 'a,b')\nROW(NULL, '')\nROW(-1, '\"')"},
	{name: "c_int4range", typ: "int4range", values: "'empty'\n'[1,5)'\n'(,)'\n'[1,]'"},
	{name: "c_tstzrange", typ: "tstzrange", values: "'[2026-01-01,infinity)'\n'(,2026-01-01 00:00:00+02]'"},
	{name: "c_numrange", typ: "numrange", values: "'[1.10,2.200]'"},
	{name: "c_multirange", typ: "int4multirange", values: "'{[1,3),[5,7)}'\n'{}'"},
	{name: "c_cidr", typ: "cidr", values: "'10.0.0.0/8'\n'::/0'"},
	{name: "c_macaddr", typ: "macaddr", values: "'08:00:2b:01:02:03'"},
	{name: "c_macaddr8", typ: "macaddr8", values: "'08:00:2b:01:02:03:04:05'"},
	{name: "c_bit", typ: "bit(5)", values: "'10101'\n'00000'"},
	{name: "c_varbit", typ: "varbit(70)", values: "''\n'1'\nrepeat('10', 35)"},
	{name: "c_point", typ: "point", values: "'(1.5,-0)'\n'(Infinity,NaN)'"},
	{name: "c_line", typ: "line", values: "'{1,2,3}'"},
	{name: "c_lseg", typ: "lseg", values: "'[(0,0),(1e-300,1)]'"},
	{name: "c_box", typ: "box", values: "'((1,1),(0,0))'"},
	{name: "c_path", typ: "path", values: "'((0,0),(1,1))'\n'[(0,0),(1,1)]'"},
	{name: "c_polygon", typ: "polygon", values: "'((0,0),(1,1),(2,0))'"},
	{name: "c_circle", typ: "circle", values: "'<(0,0),1.1>'"},
	{name: "c_tsvector", typ: "tsvector", values: "to_tsvector('english', 'a fat cat''s \\ mat')\n''"},
	{name: "c_tsquery", typ: "tsquery", values: "'fat & !rat'"},
	{name: "c_lsn", typ: "pg_lsn", values: "'16/B374D848'"},
	{name: "c_snapshot", typ: "pg_snapshot", values: "'10:20:10,14,15'"},
	{name: "c_xid", typ: "xid", duck: "UINTEGER", values: "'0'\n'4294967295'"},
	{name: "c_cid", typ: "cid", duck: "UINTEGER", values: "'7'"},
	{name: "c_xid8", typ: "xid8", duck: "UBIGINT", values: "'18446744073709551615'\n'0'"},
	{name: "c_tid", typ: "tid", values: "'(4294967295,65535)'"},
	{name: "c_regclass", typ: "regclass", values: "'pg_class'"},
	{name: "c_jsonpath", typ: "jsonpath", values: "'$.a[*] ? (@ > 2)'"},
	{name: "c_hstore", typ: "hstore", values: `'a=>1, b=>NULL, "c d"=>"\"q\""'
''`},
	{name: "c_ltree", typ: "ltree", values: "'Top.Science.Astronomy'"},
	{name: "a_int4", typ: "int4[]", duck: "INTEGER[]", values: "'{}'\n'{1,NULL,3}'\n'{NULL}'\n'{{1,2},{3,4}}'\n'[0:1]={1,2}'\n'{{{1}}}'\n'[-5:-5]={7}'"},
	{name: "a_text", typ: "text[]", duck: "VARCHAR[]", values: `'{}'
'{a,"",NULL,"NULL","x,y","q\"b\\\\s","{}"," "}'
'{{a,b}}'
ARRAY[repeat('long', 5000), '😀', E'\n\t']`},
	{name: "a_bool", typ: "bool[]", duck: "BOOLEAN[]", values: "'{t,f,NULL}'"},
	{name: "a_int8", typ: "int8[]", duck: "BIGINT[]", values: "'{-9223372036854775808,9223372036854775807}'"},
	{name: "a_float8", typ: "float8[]", duck: "DOUBLE[]", values: "'{NaN,Infinity,-Infinity,-0,0.1,NULL,1e300}'"},
	{name: "a_float4", typ: "float4[]", duck: "FLOAT[]", values: "'{NaN,0.1,-0}'"},
	{name: "a_numeric", typ: "numeric[]", duck: "VARCHAR[]", values: "'{NaN,1.10,NULL,Infinity,0.00}'"},
	{name: "a_numeric10", typ: "numeric(10,2)[]", duck: "DECIMAL(10,2)[]", values: "'{1.10,NULL,-99999999.99}'\n'{NaN,1}'"},
	{name: "a_date", typ: "date[]", duck: "DATE[]", values: "'{infinity,-infinity,0044-03-15 BC,2026-01-01,NULL}'"},
	{name: "a_timestamptz", typ: "timestamptz[]", duck: "TIMESTAMP WITH TIME ZONE[]", values: "'{infinity,2026-01-01 00:00:00.000001+02,NULL}'\n'{294276-01-01 00:00:00+00}'"},
	{name: "a_time", typ: "time[]", duck: "TIME[]", values: "'{24:00:00,00:00:00.5}'"},
	{name: "a_interval", typ: "interval[]", duck: "INTERVAL[]", values: "'{1 mon,30 days,NULL,-00:00:01}'"},
	{name: "a_uuid", typ: "uuid[]", duck: "UUID[]", values: "'{00000000-0000-0000-0000-000000000001,NULL}'"},
	{name: "a_bytea", typ: "bytea[]", duck: "BLOB[]", values: `ARRAY['\x00ff'::bytea, '', NULL]`},
	{name: "a_json", typ: "json[]", duck: "JSON[]", values: `ARRAY['{"a":  1}', 'null', NULL]::json[]`},
	{name: "a_jsonb", typ: "jsonb[]", duck: "JSON[]", values: `ARRAY['{"a":  1}', 'null', NULL]::jsonb[]`},
	{name: "a_varchar", typ: "varchar(5)[]", duck: "VARCHAR[]", values: "'{a,NULL,\"\"}'"},
	{name: "a_bpchar", typ: "char(3)[]", duck: "VARCHAR[]", values: "'{a,NULL,abc}'"},
	{name: "a_mood", typ: "mood[]", duck: "VARCHAR[]", values: "'{sad,\"very happy\",NULL}'"},
	{name: "a_pair", typ: "pair[]", duck: "VARCHAR[]", values: "ARRAY[ROW(1, 'a,\"b'), NULL]::pair[]"},
	{name: "a_cidr", typ: "cidr[]", duck: "VARCHAR[]", values: "'{10.0.0.0/8,NULL}'"},
	{name: "a_range", typ: "int4range[]", duck: "VARCHAR[]", values: "'{\"[1,2)\",empty}'"},
	{name: "a_age", typ: "age[]", duck: "INTEGER[]", values: "'{1,NULL}'"},
}

func allBytes() string {
	var b strings.Builder
	for i := range 256 {
		fmt.Fprintf(&b, "%02x", i)
	}
	return b.String()
}

// typeTable makes table types: row n holds the n-th value of every column that has so many, and NULL elsewhere.
func typeTable(t *testing.T, url string, major int) []typed {
	t.Helper()
	var cols []typed
	var defs []string
	rows := 0
	for _, c := range typeMatrix {
		if c.since > major {
			continue
		}
		cols = append(cols, c)
		defs = append(defs, c.name+" "+c.typ)
		rows = max(rows, strings.Count(c.values, "\n")+1)
	}
	stmts := []string{typeMatrixSQL, "CREATE TABLE types (id int PRIMARY KEY, v int DEFAULT 1, " + strings.Join(defs, ", ") + ")"}
	for r := range rows {
		names, values := []string{"id"}, []string{fmt.Sprint(r)}
		for _, c := range cols {
			if v := strings.Split(c.values, "\n"); r < len(v) {
				names, values = append(names, c.name), append(values, "("+v[r]+")::"+c.typ)
			}
		}
		stmts = append(stmts, fmt.Sprintf("INSERT INTO types (%s) VALUES (%s)", strings.Join(names, ", "), strings.Join(values, ", ")))
	}
	harness.PG(t, url, append(stmts, "INSERT INTO types (id) VALUES (1000)")...)
	return cols
}

// Every type with its extremes, read by COPY and by a cursor, as a table and as a query, whole and as increments: each value
// is what PostgreSQL prints, each column of the documented type.
func TestTypes(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, server *pgtest.Server) {
		t.Parallel()
		pgURL := server.DB(t)
		cols := typeTable(t, pgURL, server.Major)
		p := harness.New(t)
		p.Write(strings.Replace(p.Head(pgURL), "sources:\n", fmt.Sprintf("sources:\n  copy: {url: %[1]q, read: copy}\n  cursor: {url: %[1]q, read: cursor}\n", pgURL), 1) + `datasets:
  copied: {source: copy, table: public.types, key: [id], incremental_column: v}
  fetched: {source: cursor, table: public.types, key: [id], incremental_column: v}
  queried: {source: pg, queries: {q: {sql: SELECT * FROM types ORDER BY id}}}
  keyless: {source: pg, queries: {q: {sql: SELECT * FROM types, incremental_column: v}}}
`)
		tables := []string{"copied", "fetched", "queried_q", "keyless_q"}
		f := harness.File(p.DB)
		same := func() {
			t.Helper()
			for _, table := range tables {
				harness.Compare(t, pgURL, "SELECT * FROM types", f, table, "id")
			}
		}
		p.OK("sync")
		same()
		got := map[string]string{}
		for _, row := range f.SQL(t, "SELECT column_name, column_type FROM (DESCRIBE copied)") {
			got[row[0].(string)] = row[1].(string)
		}
		for _, c := range cols {
			if c.duck == "" {
				c.duck = "VARCHAR"
			}
			if got[c.name] != c.duck {
				t.Errorf("%s %s is %s in DuckDB, want %s", c.name, c.typ, got[c.name], c.duck)
			}
		}
		p.OK("verify")

		// The same values again as changes: every row moves on, then each column takes the value of the row before.
		var sets []string
		for _, c := range cols {
			sets = append(sets, c.name+" = p."+c.name)
		}
		harness.PG(t, pgURL, "UPDATE types t SET v = 2, "+strings.Join(sets, ", ")+" FROM types p WHERE p.id = (t.id + 1) % 12")
		p.OK("sync")
		same()
		p.OK("verify")

		// Differences that comparisons by value do not see.
		harness.PG(t, pgURL, `INSERT INTO types (id, v, c_interval, c_float8, c_json, c_numeric, c_timetz, a_interval, a_float8, c_bpchar) VALUES (2000, 3, '1 month', 0, '{"a":1}', 1.1, '12:00:00+00', '{1 mon}', '{0}', 'a')`)
		p.OK("sync")
		harness.PG(t, pgURL, `UPDATE types SET v = 4, c_interval = '30 days', c_float8 = '-0', c_json = '{"a": 1}', c_numeric = 1.10, c_timetz = '13:00:00+01', a_interval = '{30 days}', a_float8 = '{-0}' WHERE id = 2000`)
		p.OK("sync")
		same()
	})
}

// An inet is what its cast to text gives, which always shows the mask.
func TestInet(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, `CREATE TABLE addresses (id int, a inet, l inet[]); INSERT INTO addresses VALUES (1, '192.168.0.1', '{10.0.0.1,::1}'), (2, '192.168.0.1/24', '{10.0.0.0/8}'), (3, '::1', '{}'), (4, '::ffff:1.2.3.4/96', NULL)`)
		p := harness.With(t, url, "datasets:\n  addresses: {source: pg, table: public.addresses}\n")
		p.OK("sync")
		harness.Compare(t, url, "SELECT id, a::text, l::text[] FROM addresses", harness.File(p.DB), "addresses", "id")
	})
}

// Values that DuckDB's type cannot hold: kept as text, or the sync stops and names table, column and value, as configured.
func TestOutOfRange(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, `CREATE TABLE prices (id int PRIMARY KEY, amount numeric(8,2), at timestamptz, grid int[], v int);
			INSERT INTO prices SELECT g, g * 1.5, '2026-01-01', ARRAY[g], 1 FROM generate_series(1, 100) g`)
		p := manual(t, url, `datasets:
  kept: {source: pg, table: public.prices, key: [id], incremental_column: v}
  kept_nokey: {source: pg, table: public.prices, incremental_column: v}
  stopped: {source: pg, table: public.prices, key: [id], incremental_column: v, out_of_range: stop}
  asked: {source: pg, table: public.prices, key: [id], incremental_column: v, out_of_range: stop, types: {amount: VARCHAR, at: VARCHAR, grid: VARCHAR}}
`)
		s := p.Serve()
		all := []string{"kept", "kept_nokey", "stopped", "asked"}
		for _, d := range all {
			s.Sync(d)
		}
		text := "SELECT id, amount::text, at::text, grid::text, v FROM prices"
		harness.Compare(t, url, "SELECT * FROM prices", s, "kept", "id")
		harness.Compare(t, url, text, s, "asked", "id")
		for i, bad := range []string{
			`UPDATE prices SET amount = 'NaN', v = 2 WHERE id = 7`,
			`INSERT INTO prices VALUES (200, 1, '294276-01-01', '{{1,2},{3,4}}', 3), (201, 'NaN', 'infinity', '[5:6]={1,2}', 3), (202, NULL, NULL, NULL, 3)`,
			`UPDATE prices SET amount = 7, v = 4 WHERE id = 7`,
		} {
			harness.PG(t, url, bad)
			for _, d := range []string{"kept", "kept_nokey", "asked"} {
				require.Equal(t, "incremental", s.Sync(d).Kind)
			}
			harness.Compare(t, url, "SELECT * FROM prices", s, "kept", "id")
			harness.Compare(t, url, text, s, "asked", "id")
			if i == 0 {
				r := s.SyncFails("stopped", "out_of_range")
				contains(t, *r.Error, "stopped", "amount", "NaN")
				contains(t, r.Hint, "out_of_range: text")
				require.Equal(t, "100", s.One("SELECT count(*) FROM stopped"))
			}
		}
		require.Equal(t, "NaN", s.One("SELECT _pintail_text->>'amount' FROM kept WHERE id = 201"), "the text stands beside the row")
		require.Equal(t, "null", s.One("SELECT coalesce(amount::VARCHAR, 'null') FROM kept WHERE id = 201"))
		// Without a key, updated rows appear beside their former selves, which is what check warns of; a reconcile mends it.
		require.Equal(t, "ready", s.Follow(s.Begin("/api/store/reconcile/kept_nokey")).State)
		harness.Compare(t, url, "SELECT * FROM prices", s, "kept_nokey", "id")
		// A rebuild of a table with such values from the first row on.
		s.SyncFull("kept")
		harness.Compare(t, url, "SELECT * FROM prices", s, "kept", "id")
		require.Equal(t, "ready", s.Follow(s.Begin("/api/store/verify/kept")).State)
		// And the stopped one goes on once nothing is out of range.
		harness.PG(t, url, `DELETE FROM prices WHERE id IN (200, 201)`, `UPDATE prices SET amount = 1 WHERE amount = 'NaN'`)
		s.Sync("stopped")
		harness.Compare(t, url, "SELECT * FROM prices", s, "stopped", "id")
	})
}

// Names as long and as odd as PostgreSQL takes them.
func TestNames(t *testing.T) {
	each(t, func(t *testing.T, pgURL string) {
		long := strings.Repeat("n", 63)
		wide := strings.Repeat("é", 31) + "x" // 63 bytes
		odd := []string{long, wide, `with "quotes"`, "it's", "a.b", "select", "Ünï code 😀", "$1", "{}", "a;b", "--", "/*", "CamelCase", " leading", "tab\there", "100%", `back\slash`, "rowid", "dataset_id", "_pintail"}
		var defs, quoted []string
		for _, n := range odd {
			q := `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
			defs, quoted = append(defs, q+" text"), append(quoted, q)
		}
		table := `"` + strings.Repeat("S", 63) + `"."` + strings.Repeat("t", 62) + `."`
		harness.PG(t, pgURL, `CREATE SCHEMA "`+strings.Repeat("S", 63)+`"; CREATE TABLE `+table+` (`+strings.Join(defs, ", ")+`, at timestamptz DEFAULT now(), PRIMARY KEY (`+quoted[0]+`, `+quoted[2]+`));
			INSERT INTO `+table+` SELECT `+strings.Repeat("g::text, ", len(odd)-1)+`g FROM generate_series(1, 50) g`)
		u, err := url.Parse(pgURL)
		require.NoError(t, err)
		p := harness.With(t, u.String(), `datasets:
  `+strings.Repeat("d", 55)+`:
    source: pg
    table: '`+table+`'
    key: [`+long+`, 'with "quotes"']
    incremental_column: at
  quoted: {source: pg, table: '`+table+`', key: ['it''s'], incremental_column: "Ünï code 😀"}
  odd: {source: pg, queries: {q: {sql: 'SELECT * FROM `+strings.ReplaceAll(table, "'", "''")+`', key: ["a.b"], incremental_column: "$1"}}}
`)
		f := harness.File(p.DB)
		for i := range 2 {
			p.OK("sync")
			for _, copied := range []string{strings.Repeat("d", 55), "quoted", "odd_q"} {
				harness.Compare(t, pgURL, "SELECT * FROM "+table, f, copied)
			}
			p.OK("verify")
			harness.PG(t, pgURL, strings.ReplaceAll(`INSERT INTO `+table+` SELECT `+strings.Repeat("'z' || g, ", len(odd)-1)+`'z' || g FROM generate_series(1, 5) g`, "'z'", fmt.Sprintf("'z%d.'", i)))
		}
	})
}
