package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

// typeCase is one PostgreSQL type with its extremes, as SQL expressions.
type typeCase struct {
	pg, duck string
	good     []string
	out      []string // legal in PostgreSQL, beyond the DuckDB type
	since    int      // PostgreSQL major; 0: all
}

var typeCases = []typeCase{
	{pg: "boolean", duck: "BOOLEAN", good: []string{"true", "false"}},
	{pg: "smallint", duck: "SMALLINT", good: []string{"-32768", "32767", "0"}},
	{pg: "integer", duck: "INTEGER", good: []string{"-2147483648", "2147483647"}},
	{pg: "bigint", duck: "BIGINT", good: []string{"-9223372036854775808", "9223372036854775807"}},
	{pg: "real", duck: "FLOAT", good: []string{"'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'1e-45'", "'3.4028235e38'", "0.1"}},
	{pg: "double precision", duck: "DOUBLE", good: []string{"'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'5e-324'", "'1.7976931348623157e308'", "0.1"}},
	{pg: "numeric", duck: "VARCHAR", good: []string{"'NaN'", "repeat('9', 131072)::numeric", "('0.' || repeat('3', 16383))::numeric", "0", "-0.000", "12345678901234567890.123456789"}},
	{pg: "numeric", duck: "VARCHAR", good: []string{"'Infinity'", "'-Infinity'"}},
	{pg: "numeric(4,0)", duck: "DECIMAL(4,0)", good: []string{"9999", "-9999", "0"}, out: []string{"'NaN'"}},
	{pg: "numeric(9,9)", duck: "DECIMAL(9,9)", good: []string{"0.999999999", "-0.000000001", "0"}, out: []string{"'NaN'"}},
	{pg: "numeric(12,2)", duck: "DECIMAL(12,2)", good: []string{"9999999999.99", "-0.01", "0", "10000", "1.5", "100000000"}, out: []string{"'NaN'"}},
	{pg: "numeric(18,3)", duck: "DECIMAL(18,3)", good: []string{"999999999999999.999", "-999999999999999.999", "0.001"}},
	{pg: "numeric(38,0)", duck: "DECIMAL(38,0)", good: []string{"99999999999999999999999999999999999999", "-99999999999999999999999999999999999999", "1"}},
	{pg: "numeric(38,19)", duck: "DECIMAL(38,19)", good: []string{"9999999999999999999.9999999999999999999", "-0.0000000000000000001"}, out: []string{"'NaN'"}},
	{pg: "numeric(39,2)", duck: "VARCHAR", good: []string{"9999999999999999999999999999999999999.99", "'NaN'"}},
	{pg: "numeric(5,-2)", duck: "DECIMAL(7,0)", good: []string{"9999900", "-100", "0"}, since: 15},
	{pg: "numeric(3,5)", duck: "DECIMAL(5,5)", good: []string{"0.00999", "-0.00001"}, since: 15},
	{pg: "money", duck: "DECIMAL(19,2)", good: []string{"'92233720368547758.07'", "'-92233720368547758.08'", "'0'", "'-0.01'"}},
	{pg: "text", duck: "VARCHAR", good: []string{"''", "'a'", "'twelve bytes'", "'thirteen byte'", "'😀𝔘é\u200d'", "E'tab\\tline\\nback\\\\slash\"quote'''", "repeat('é😀', 100000)"}},
	{pg: "varchar(5)", duck: "VARCHAR", good: []string{"''", "'ab  '", "'12345'"}},
	{pg: "char(5)", duck: "VARCHAR", good: []string{"'a'", "''", "'12345'"}},
	{pg: `"char"`, duck: "VARCHAR", good: []string{"'x'", "''"}},
	{pg: "name", duck: "VARCHAR", good: []string{"'x'", "repeat('y', 63)"}},
	{pg: "bytea", duck: "BLOB", good: []string{"''", `'\x00'`, `'\x00ff80de'`, `decode(repeat('00ff', 5000), 'hex')`}},
	{pg: "uuid", duck: "UUID", good: []string{"'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'80000000-0000-0000-8000-000000000001'"}},
	{pg: "json", duck: "JSON", good: []string{`'{"a" : 1, "a":2}'`, `'"\u0000"'`, "'null'", `' [1e400, -0] '`, `'"😀"'`}},
	{pg: "jsonb", duck: "JSON", good: []string{`'{"b": 1, "a": [null, {}]}'`, "'null'", `'1e400'`, `'""'`}},
	{pg: "jsonpath", duck: "VARCHAR", good: []string{`'$.a[*] ? (@ > 1)'`}},
	{pg: "date", duck: "DATE", good: []string{"'infinity'", "'-infinity'", "'4714-11-24 BC'", "'0001-12-31 BC'", "'1970-01-01'", "'2000-01-01'", "'5874897-12-31'"}},
	{pg: "time", duck: "TIME", good: []string{"'00:00'", "'23:59:59.999999'", "'24:00:00'"}},
	{pg: "time(2)", duck: "TIME", good: []string{"'12:34:56.789'"}},
	{pg: "timetz", duck: "TIME WITH TIME ZONE", good: []string{"'00:00+00'", "'24:00:00-15:59:59'", "'12:34:56.789+15:59:59'", "'00:00-00:00:01'", "'01:02+05:30'"}},
	{pg: "timestamp", duck: "TIMESTAMP", good: []string{"'infinity'", "'-infinity'", "'4714-11-24 00:00:00 BC'", "'1999-12-31 23:59:59.999999'", "'294247-01-10 04:00:54.775806'"},
		out: []string{"'294247-01-10 04:00:54.775807'", "'294276-12-31 23:59:59.999999'"}},
	{pg: "timestamptz", duck: "TIMESTAMP WITH TIME ZONE", good: []string{"'infinity'", "'-infinity'", "'4714-11-24 00:00:00+00 BC'", "'1999-12-31 23:59:59.999999+14'", "'0001-01-01 00:00:00+00'"},
		out: []string{"'294276-12-31 23:59:59.999999+00'"}},
	{pg: "interval", duck: "INTERVAL", good: []string{"'178000000 years'", "'-178000000 years'", "'1 month -1 day 00:00:00.000001'", "'2147483647 days'", "'0'", "'-2147483647:59:54.775807'"}},
	{pg: "interval", duck: "INTERVAL", good: []string{"'1 month'", "'30 days'"}, out: []string{"'infinity'", "'-infinity'"}, since: 17},
	{pg: "oid", duck: "UINTEGER", good: []string{"0", "4294967295"}},
	{pg: "xid", duck: "UINTEGER", good: []string{"'4294967295'"}},
	{pg: "cid", duck: "UINTEGER", good: []string{"'7'"}},
	{pg: "xid8", duck: "UBIGINT", good: []string{"'18446744073709551615'", "'0'"}},
	{pg: "regclass", duck: "VARCHAR", good: []string{"'pg_class'", "'4294967295'"}},
	{pg: "regtype", duck: "VARCHAR", good: []string{"'int'"}},
	{pg: "pg_lsn", duck: "VARCHAR", good: []string{"'16/B374D848'", "'FFFFFFFF/FFFFFFFF'"}},
	{pg: "pg_snapshot", duck: "VARCHAR", good: []string{"'10:20:10,14'"}},
	{pg: "tid", duck: "VARCHAR", good: []string{"'(4294967295,65535)'"}},
	{pg: "int2vector", duck: "VARCHAR", good: []string{"'1 2 3'", "''"}},
	{pg: "oidvector", duck: "VARCHAR", good: []string{"'1 4294967295'"}},
	{pg: "bit(5)", duck: "VARCHAR", good: []string{"B'10101'"}},
	{pg: "varbit", duck: "VARCHAR", good: []string{"B''", "B'101'"}},
	{pg: "inet", duck: "VARCHAR", good: []string{"'192.168.0.1'", "'10.0.0.0/8'", "'::ffff:1.2.3.4/96'"}},
	{pg: "cidr", duck: "VARCHAR", good: []string{"'10.0.0.0/8'", "'2001:db8::/32'"}},
	{pg: "macaddr", duck: "VARCHAR", good: []string{"'08:00:2b:01:02:03'"}},
	{pg: "macaddr8", duck: "VARCHAR", good: []string{"'08:00:2b:01:02:03:04:05'"}},
	{pg: "point", duck: "VARCHAR", good: []string{"'(0.1,-0)'", "'(NaN,Infinity)'"}},
	{pg: "line", duck: "VARCHAR", good: []string{"'{1,2,3}'"}},
	{pg: "lseg", duck: "VARCHAR", good: []string{"'[(0,0),(1,1)]'"}},
	{pg: "box", duck: "VARCHAR", good: []string{"'(1,1),(0,0)'"}},
	{pg: "path", duck: "VARCHAR", good: []string{"'((0,0),(1,1))'", "'[(0,0),(1,1)]'"}},
	{pg: "polygon", duck: "VARCHAR", good: []string{"'((0,0),(1,1),(1,0))'"}},
	{pg: "circle", duck: "VARCHAR", good: []string{"'<(0,0),1>'"}},
	{pg: "tsvector", duck: "VARCHAR", good: []string{`'a:1A fat:2B,4C cat:5D'`, "''"}},
	{pg: "tsquery", duck: "VARCHAR", good: []string{"'fat & (rat | cat)'"}},
	{pg: "int4range", duck: "VARCHAR", good: []string{"'empty'", "'[1,5)'", "'(,)'"}},
	{pg: "numrange", duck: "VARCHAR", good: []string{"'[1.10,NaN]'"}},
	{pg: "tstzrange", duck: "VARCHAR", good: []string{"'[2020-01-01 00:00+05,infinity)'"}},
	{pg: "datemultirange", duck: "VARCHAR", good: []string{"'{}'", "'{[2020-01-01,2020-02-01),[2021-01-01,)}'"}},
	{pg: "mood", duck: "VARCHAR", good: []string{"'sad'", "'so ''la la'''"}},
	{pg: "positive", duck: "DECIMAL(10,2)", good: []string{"1", "99999999.99"}},
	{pg: "tags", duck: "VARCHAR[]", good: []string{"'{}'", "'{a,NULL,\"\"}'"}},
	{pg: "pair", duck: "VARCHAR", good: []string{`ROW(1, 'x"y,z', NULL, '{1,2}')::pair`, "ROW(NULL, '', NULL, NULL)::pair"}},
	{pg: "hstore", duck: "VARCHAR", good: []string{`'a=>1, "b c"=>NULL'`}},
	{pg: "citext", duck: "VARCHAR", good: []string{"'AbC'"}},
	{pg: "xml", duck: "VARCHAR", good: []string{"'<a>1</a>'", "'text <b/>'"}},
	{pg: "integer[]", duck: "INTEGER[]", good: []string{"'{}'", "'{1,NULL,-2147483648}'", "ARRAY(SELECT generate_series(1, 5000))"}, out: []string{"'{{1,2},{3,4}}'", "'[0:1]={7,8}'", "'{{1}}'", "'[2:2]={1}'"}},
	{pg: "text[]", duck: "VARCHAR[]", good: []string{"'{\"\",NULL,\"a,b\",\"longer than twelve bytes\"}'"}, out: []string{"'{{a},{b}}'"}},
	{pg: "numeric(10,2)[]", duck: "DECIMAL(10,2)[]", good: []string{"'{1.5,NULL,-99999999.99}'"}, out: []string{"'{1,NaN}'"}},
	{pg: "numeric[]", duck: "VARCHAR[]", good: []string{"'{1.50,NULL,NaN}'"}, out: []string{"'{{1}}'"}},
	{pg: "timestamptz[]", duck: "TIMESTAMP WITH TIME ZONE[]", good: []string{"'{infinity,2020-01-01 00:00+00,NULL}'"}, out: []string{"'{294276-12-31 00:00+00}'"}},
	{pg: "uuid[]", duck: "UUID[]", good: []string{"'{00000000-0000-0000-0000-000000000001}'"}},
	{pg: "jsonb[]", duck: "JSON[]", good: []string{`ARRAY['{"a":1}'::jsonb, NULL]`}},
	{pg: "bytea[]", duck: "BLOB[]", good: []string{`ARRAY['\x00'::bytea, '']`}},
	{pg: "mood[]", duck: "VARCHAR[]", good: []string{"'{sad,NULL}'"}},
	{pg: "inet[]", duck: "VARCHAR[]", good: []string{"'{10.0.0.1/8,NULL}'"}},
	{pg: "money[]", duck: "VARCHAR[]", good: []string{"'{1.50,NULL}'"}},
	{pg: "char(3)[]", duck: "VARCHAR[]", good: []string{"'{a,NULL}'"}},
	{pg: "interval[]", duck: "INTERVAL[]", good: []string{"'{1 month,NULL}'"}},
}

const typeSetup = `CREATE TYPE mood AS ENUM ('sad', 'so ''la la'''); CREATE DOMAIN positive AS numeric(10,2) CHECK (VALUE > 0);
	CREATE DOMAIN tags AS text[]; CREATE TYPE pair AS (a int, b text, c mood, d int[]); CREATE EXTENSION hstore; CREATE EXTENSION citext`

// Every value comes as PostgreSQL itself sends it, through COPY and through a cursor, whatever the database's settings.
func TestTypes(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, typeSetup)
		var cases []typeCase
		for _, tc := range typeCases {
			if tc.since <= s.Major {
				cases = append(cases, tc)
			}
		}
		var cols, exprs []string
		rows := 0
		for i, tc := range cases {
			cols = append(cols, fmt.Sprintf("c%d %s", i, tc.pg))
			rows = max(rows, len(tc.good)+1) // one row more than values: NULL
		}
		exec(t, c, "CREATE TABLE good (id int, "+strings.Join(cols, ", ")+"); CREATE TABLE bad (LIKE good)")
		for r := range rows {
			vals := []string{fmt.Sprint(r)}
			for _, tc := range cases {
				if r < len(tc.good) {
					vals = append(vals, "("+tc.good[r]+")")
				} else {
					vals = append(vals, "NULL")
				}
			}
			exec(t, c, "INSERT INTO good VALUES ("+strings.Join(vals, ", ")+")")
		}
		name := c.Config().Database
		for _, set := range []string{"DateStyle = 'German'", "IntervalStyle = 'iso_8601'", "TimeZone = 'Asia/Kolkata'", "extra_float_digits = -15", "bytea_output = 'escape'"} {
			exec(t, c, "ALTER DATABASE "+ident(name)+" SET "+set)
		}
		for _, mode := range []string{"copy", "cursor"} {
			n := snapshotOf(t, openSource(t, Config{URL: url, Read: mode, FetchRows: 3}))
			d, err := n.Describe(t.Context(), table("good"))
			if err != nil {
				t.Fatal(err)
			}
			exprs = exprs[:0]
			for i := range d.Columns {
				col := &d.Columns[i]
				e := ident(col.Name)
				if col.Type.Cast != "" {
					e += "::" + col.Type.Cast
				}
				exprs = append(exprs, e)
				if i > 0 && col.Type.SQL != cases[i-1].duck {
					t.Errorf("%s becomes %s, not %s", cases[i-1].pg, col.Type.SQL, cases[i-1].duck)
				}
			}
			want := copied(t, c, "SELECT "+strings.Join(exprs, ", ")+" FROM good")
			got := readDescribed(t, n, d, source.Range{}, 2)
			if len(got) != len(want) {
				t.Fatalf("%s: %d rows, want %d", mode, len(got), len(want))
			}
			for r := range got {
				g, w := fields(got[r]), fields(want[r])
				for i := range w {
					if string(g[i]) != string(w[i]) || (g[i] == nil) != (w[i] == nil) {
						t.Errorf("%s: column %s, row %x:\n got %.200x\nwant %.200x", mode, cases[i-1].pg, w[0], g[i], w[i])
					}
				}
			}
			// With a column for what is out of range the values are the same.
			q := table("good")
			q.Text = true
			if d, err = n.Describe(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			for i, row := range readDescribed(t, n, d, source.Range{}, 2) {
				f := fields(row)
				if f[len(f)-1] != nil || string(row[2:len(row)-4]) != string(want[i][2:]) {
					t.Errorf("%s, row %d with text: %q", mode, i, f[len(f)-1])
				}
			}
		}
		outOfRange(t, s, url, c, cases)
	})
}

// outOfRange reads values that DuckDB cannot hold, one at a time: they stop the read with column and way out named, or
// are NULL with PostgreSQL's own text beside.
func outOfRange(t *testing.T, s *pgtest.Server, url string, c *pgx.Conn, cases []typeCase) {
	type bad struct {
		col  string
		text string
	}
	var bads []bad
	for i, tc := range cases {
		for _, v := range tc.out {
			col := fmt.Sprintf("c%d", i)
			var text string
			exec(t, c, fmt.Sprintf("INSERT INTO bad (id, %s) VALUES (%d, %s)", col, len(bads), v))
			exec(t, c, "SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'")
			if err := c.QueryRow(t.Context(), fmt.Sprintf("SELECT %s::text FROM bad WHERE id = %d", col, len(bads))).Scan(&text); err != nil {
				t.Fatal(err)
			}
			bads = append(bads, bad{col, text})
		}
	}
	if len(bads) < 10 {
		t.Fatalf("%d values", len(bads))
	}
	for _, mode := range []string{"copy", "cursor"} {
		src := openSource(t, Config{URL: url, Read: mode})
		for id, b := range bads {
			n := snapshotOf(t, src)
			d, err := n.Describe(t.Context(), source.Query{Table: "bad", Where: fmt.Sprintf("id = %d", id)})
			if err != nil {
				t.Fatal(err)
			}
			f, err := n.Read(t.Context(), d, source.Range{}, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = drain(t.Context(), f, d.Types(), nil)
			if fault.CodeOf(err) != fault.OutOfRange || !errors.Is(err, change.ErrOutOfRange) || !strings.Contains(err.Error(), `"`+b.col+`"`) || !strings.Contains(fault.HintOf(err), "out_of_range: text") {
				t.Errorf("%s of %s: %v (%s)", b.text, b.col, err, fault.HintOf(err))
			}
			// The statement that the hint proposes finds the value.
			if _, find, ok := strings.Cut(fault.HintOf(err), "Find them: "); ok {
				var found []string
				rows, err := c.Query(t.Context(), find)
				if err == nil {
					found, err = pgx.CollectRows(rows, pgx.RowTo[string])
				}
				if err != nil || !slices.Contains(found, b.text) {
					t.Errorf("%s: %q: %v", find, found, err)
				}
			}
			n.Close()
		}
		n := snapshotOf(t, src)
		d, err := n.Describe(t.Context(), source.Query{Table: "bad", Text: true, Rename: map[string]string{"id": "Id"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range readDescribed(t, n, d, source.Range{}, 2) {
			f := fields(row)
			b := bads[f[0][3]]
			var kept map[string]string
			if err := json.Unmarshal(f[len(f)-1], &kept); err != nil || len(kept) != 1 || kept[b.col] != b.text {
				t.Errorf("%s of %s is kept as %s (%v)", b.text, b.col, f[len(f)-1], err)
			}
			for i := 1; i < len(f)-1; i++ {
				if f[i] != nil {
					t.Errorf("row of %s: column %s has a value", b.col, d.Columns[i].Name)
				}
			}
		}
	}
}

// Types asked for by the configuration.
func TestTypesAskedFor(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	url := s.DB(t)
	c := connect(t, url)
	exec(t, c, `CREATE DOMAIN dn AS numeric; CREATE TABLE t (a numeric, b char(5), c int, d dn, e date, f numeric(12,2));
		INSERT INTO t VALUES (1.5, 'ab', 7, 2.25, '2020-01-01', 3), (123456789.123456789, '', -1, 0, 'infinity', 0)`)
	n := snapshotOf(t, openSource(t, Config{URL: url}))
	q := table("t")
	q.Types = map[string]string{"a": "DECIMAL(38,9)", "b": "VARCHAR", "c": "varchar", "d": "decimal(10, 2)", "e": "TEXT", "f": "DECIMAL(20,4)", "elsewhere": "VARCHAR"}
	d, err := n.Describe(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, col := range d.Columns {
		got = append(got, col.Type.SQL)
	}
	if want := "[DECIMAL(38,9) VARCHAR VARCHAR DECIMAL(10,2) VARCHAR DECIMAL(20,4)]"; fmt.Sprint(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
	rows := readDescribed(t, n, d, source.Range{}, 1)
	equalRows(t, rows, copied(t, c, "SELECT a::numeric(38,9), b, c::text, d::numeric(10,2), e::text, f::numeric(20,4) FROM t"))

	// What does not fit the type asked for stops, or is kept as text.
	exec(t, c, "INSERT INTO t (a, d) VALUES (1e30, 0.125)")
	n = snapshotOf(t, openSource(t, Config{URL: url}))
	if d, err = n.Describe(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	f, err := n.Read(t.Context(), d, source.Range{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := drain(t.Context(), f, d.Types(), nil); fault.CodeOf(err) != fault.OutOfRange {
		t.Error(err)
	}
	n.Close()
	q.Text = true
	n = snapshotOf(t, openSource(t, Config{URL: url}))
	for _, row := range readAll(t, n, q, source.Range{}, 1) {
		f := fields(row)
		if text := f[len(f)-1]; text != nil && string(text) != `{"a": "1000000000000000000000000000000", "d": "0.125"}` {
			t.Errorf("%s", text)
		}
	}
}
