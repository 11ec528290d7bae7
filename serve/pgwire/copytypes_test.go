package pgwire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/store"
)

// copiedTypes are PostgreSQL's types, what clients' tables have for them, and values that both must hold alike.
var copiedTypes = []struct {
	pg, duck string
	values   []string
}{
	{"boolean", "BOOLEAN", []string{"true", "false"}},
	{"smallint", "SMALLINT", []string{"-32768", "32767", "0"}},
	{"integer", "INTEGER", []string{"-2147483648", "2147483647", "7"}},
	{"bigint", "BIGINT", []string{"-9223372036854775808", "9223372036854775807"}},
	{"real", "FLOAT", []string{"'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'1e-45'", "'3.4028235e38'", "0.1", "16777216", "1e15", "1e-5"}},
	{"double precision", "DOUBLE", []string{"'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'5e-324'", "'1.7976931348623157e308'", "0.1", "1e22", "0.30000000000000004"}},
	{"numeric(4,0)", "DECIMAL(4,0)", []string{"9999", "-9999", "0"}},
	{"numeric(9,9)", "DECIMAL(9,9)", []string{"0.999999999", "-0.000000001", "0"}},
	{"numeric(12,2)", "DECIMAL(12,2)", []string{"9999999999.99", "-9999999999.99", "-0.01", "0", "10000", "1.5"}},
	{"numeric(18,18)", "DECIMAL(18,18)", []string{"0.999999999999999999", "-0.999999999999999999"}},
	{"numeric(38,0)", "DECIMAL(38,0)", []string{"99999999999999999999999999999999999999", "-99999999999999999999999999999999999999", "1"}},
	{"numeric(38,19)", "DECIMAL(38,19)", []string{"9999999999999999999.9999999999999999999", "-0.0000000000000000001"}},
	{"numeric(38,0)", "HUGEINT", []string{"99999999999999999999999999999999999999", "-5", "0"}},
	{"numeric(20,0)", "UBIGINT", []string{"18446744073709551615", "0"}},
	{"smallint", "TINYINT", []string{"-128", "127"}},
	{"smallint", "UTINYINT", []string{"0", "255"}},
	{"integer", "USMALLINT", []string{"0", "65535"}},
	{"bigint", "UINTEGER", []string{"0", "4294967295"}},
	{"text", "VARCHAR", []string{"''", "'a'", "'twelve bytes'", "'thirteen byte'", "'😀é'", `E'tab\tline\nback\\slash"quote''\r,;\b\f\v'`, `'NULL'`, `'\N'`, `'\.'`, `'"'`, "repeat('é😀', 100000)"}},
	{"varchar(20)", "VARCHAR", []string{"''", "'ab  '"}},
	{"bytea", "BLOB", []string{"''", `'\x00'`, `'\x00ff80de'`, `'\x000102030405060708090a0b0c'`, `decode(repeat('00ff', 50000), 'hex')`}},
	{"uuid", "UUID", []string{"'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'80000000-0000-0000-8000-000000000001'"}},
	{"json", "JSON", []string{`'{"a" : 1, "a":2}'`, `'"é\\"'`, "'null'", `' [1e40, -0] '`, `'"😀"'`}},
	{"jsonb", "JSON", []string{`'{"a": [null, {}], "b": 1}'`, "'null'"}},
	{"date", "DATE", []string{"'infinity'", "'-infinity'", "'4714-11-24 BC'", "'0001-12-31 BC'", "'0001-01-01'", "'1969-12-31'", "'2000-02-29'", "'9999-12-31'", "'10000-01-01'"}},
	{"time", "TIME", []string{"'00:00'", "'23:59:59.999999'", "'24:00:00'", "'12:34:56.7'"}},
	{"timetz", "TIME WITH TIME ZONE", []string{"'00:00+00'", "'24:00:00-15:59:59'", "'12:34:56.789+15:59:59'", "'01:02+05:30'", "'01:02-08'"}},
	{"timestamp", "TIMESTAMP", []string{"'infinity'", "'-infinity'", "'4714-11-24 00:00:00 BC'", "'0001-12-31 23:59:59.999999 BC'", "'1999-12-31 23:59:59.999999'", "'2024-02-29 12:34:56.5'", "'294247-01-10 04:00:54.775806'"}},
	{"timestamp(0)", "TIMESTAMP_S", []string{"'infinity'", "'1999-12-31 23:59:59'"}},
	{"timestamp(3)", "TIMESTAMP_MS", []string{"'1999-12-31 23:59:59.123'"}},
	{"timestamp", "TIMESTAMP_NS", []string{"'1999-12-31 23:59:59.123456'"}},
	{"timestamptz", "TIMESTAMP WITH TIME ZONE", []string{"'infinity'", "'-infinity'", "'0001-12-31 12:00:00+00 BC'", "'1999-12-31 23:59:59.999999+14'", "'12345-06-07 08:09:10.11+00'"}},
	{"interval", "INTERVAL", []string{"'178000000 years'", "'1 month -1 day 00:00:00.000001'", "'-2147483648 days'", "'0'", "'-1 year -2 mons +3 days -04:05:06.789'", "'100:00:00'", "'3000000 hours'"}},
	{"varbit", "BIT", []string{"B'1'", "B'101'", "B'0000000011111111000000001'"}},
	{"integer[]", "INTEGER[]", []string{"'{}'", "'{1,NULL,-2147483648}'", "ARRAY(SELECT generate_series(1, 5000))", "'{NULL}'"}},
	{"boolean[]", "BOOLEAN[]", []string{"'{t,f,NULL}'"}},
	{"text[]", "VARCHAR[]", []string{`'{"",NULL,"NULL","null","a,b","longer than twelve bytes"}'`, `ARRAY['a"b', 'c\d', '{}', ' ', E'\n', 'x y', '\\', '"', 'quote " in more than twelve bytes', 'é😀', ';']`}},
	{"numeric(10,2)[]", "DECIMAL(10,2)[]", []string{"'{1.5,NULL,-99999999.99}'"}},
	{"timestamptz[]", "TIMESTAMP WITH TIME ZONE[]", []string{"'{2024-01-01 00:00+00,NULL,infinity}'"}},
	{"uuid[]", "UUID[]", []string{"'{00000000-0000-0000-0000-000000000000}'"}},
	{"bytea[]", "BLOB[]", []string{`ARRAY['\x00'::bytea, '\x000102030405060708090a0b0c0d', NULL]`}},
	{"json[]", "JSON[]", []string{`ARRAY['{"a":[1,2]}'::json, NULL]`}},
	{"json", "STRUCT(a INTEGER, b VARCHAR[])", []string{`'{"a":1,"b":["x","y"]}'`}},
	{"json", "INTEGER[][]", []string{`'[[1,2],[3]]'`}},
}

// What PostgreSQL copies out goes in, and comes out again byte for byte, in every format.
func TestCopyEveryType(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	pg := pgtest.StartT(t, pgtest.Options{Major: pgtest.Newest})
	ctx := t.Context()
	source, err := pgx.Connect(ctx, pg.DB(t))
	require.NoError(t, err)
	defer source.Close(context.WithoutCancel(ctx))
	_, err = source.Exec(ctx, "SET TimeZone = 'UTC'")
	require.NoError(t, err)
	c := k.connect("user=ann")
	for i, x := range copiedTypes {
		table := fmt.Sprintf("c%d", i)
		_, err := source.Exec(ctx, fmt.Sprintf("CREATE TABLE %s (n integer, v %s)", table, x.pg))
		require.NoError(t, err)
		for n, v := range append([]string{"NULL"}, x.values...) {
			_, err := source.Exec(ctx, fmt.Sprintf("INSERT INTO %s VALUES (%d, %s)", table, n, v))
			require.NoError(t, err, v)
		}
		for _, format := range []string{"text", "csv", "binary"} {
			name := x.pg + " in " + x.duck + " as " + format
			var sent, back bytes.Buffer
			_, err := source.PgConn().CopyTo(ctx, &sent, fmt.Sprintf("COPY (SELECT * FROM %s ORDER BY n) TO STDOUT (FORMAT %s)", table, format))
			require.NoError(t, err)
			require.NoError(t, k.store.CreateClientTable(ctx, store.PutTarget{Schema: "in", Name: table, Mode: ingest.Replace, By: "test"}, []store.PutColumn{{Name: "n", Type: "INTEGER"}, {Name: "v", Type: x.duck}}))
			_, err = c.PgConn().CopyFrom(ctx, bytes.NewReader(sent.Bytes()), fmt.Sprintf(`COPY "in".%s FROM STDIN (FORMAT %s)`, table, format))
			require.NoError(t, err, name)
			_, err = c.PgConn().CopyTo(ctx, &back, fmt.Sprintf(`COPY (SELECT * FROM "in".%s ORDER BY n) TO STDOUT (FORMAT %s)`, table, format))
			require.NoError(t, err, name)
			want := sent.Bytes()
			if x.pg == "jsonb" && format == "binary" {
				want = unversioned(want)
			}
			require.Equal(t, string(want), back.String(), name)
		}
	}
}

// unversioned takes the version off jsonb's binary values, which come back as json.
func unversioned(b []byte) []byte {
	for _, v := range []string{`{"a": [null, {}], "b": 1}`, "null"} {
		b = bytes.ReplaceAll(b, []byte(fmt.Sprintf("\x00\x00\x00%c\x01%s", len(v)+1, v)), []byte(fmt.Sprintf("\x00\x00\x00%c%s", len(v), v)))
	}
	return b
}

// writtenTexts are what people and programs write for a type, right and wrong.
var writtenTexts = []struct {
	pg, duck string
	texts    []string
}{
	{"boolean", "BOOLEAN", []string{"t", "TRUE", "yes", "Y", "on", "1", "f", "false", "no", "off", "of", "0", " true ", "o", "2", "", "tr", "truex"}},
	{"smallint", "SMALLINT", []string{"+5", " 7 ", "-0", "007", "32768", "-32768", "-32769", "", "1.0", "5x", "--1", "+ 1"}},
	{"integer", "INTEGER", []string{"+2147483647", "2147483648", "00000000000000000000000012", "99999999999999999999999", "1e3", " ", "-"}},
	{"bigint", "BIGINT", []string{"9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551616"}},
	{"double precision", "DOUBLE", []string{" 1.5 ", "1e10", ".5", "5.", "inf", "-Infinity", "nan", "1e400", "1e-400", "", "abc", "1_0", "+1", "1.5.5"}},
	{"real", "FLOAT", []string{"1e39", "1.17e-38", "NaN", "0.1"}},
	{"numeric(6,2)", "DECIMAL(6,2)", []string{"1.005", "-1.005", "1.004", "9999.994", "9999.995", " +12 ", "1e2", "1.5e-1", "1e-10", ".5", "5.", "", ".", "1e", "abc", "1e1000", "00001", "0.005", "0.004999", "12345", "1e99999999999", "- 1", "1 2"}},
	{"numeric(38,10)", "DECIMAL(38,10)", []string{"1234567890123456789012345678.12345678905", "9999999999999999999999999999", "99999999999999999999999999999", "1e-11", "5e-11"}},
	{"uuid", "UUID", []string{"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "a0eebc999c0b4ef8bb6d6bb9bd380a11", "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99", "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", ""}},
	{"bytea", "BLOB", []string{`\x DE ad`, `\xDEAD`, `abc\\d\001\377`, `\x0`, `\xzz`, `\8`, "", `\400`}},
	{"json", "JSON", []string{`{"a":1}`, ` 1 `, "", "{", "nul", `"\ud800"`, `{'a':1}`}},
	{"date", "DATE", []string{"2024-1-5", "20240105", "2024/01/05", "1/8/1999", "01-08-99", "2024-02-30", "2023-02-29", "2024-13-01", "infinity", "epoch", " 2024-01-05 ", "0044-03-15 BC", "2024-01-05 AD", "", "x", "2024-01", "2024-01-05 12:00:00", "2024-01-05T12:00:00Z", "0000-01-01", "99999-01-01"}},
	{"timestamp", "TIMESTAMP", []string{"2024-01-05", "2024-01-05T06:07", "2024-01-05 06:07:08.1234567", "2024-01-05 06:07:08+05", "20240105T060708", "2024-01-05 6:7:8", "2024-01-05 24:00:00", "2024-01-05 25:00:00", "2024-01-05 23:59:60", "2024-01-05 23:60:00", "2024-01-05 06:07 PM", "2024-01-05 12:07 AM", "2024-01-05 13:07 PM", "-infinity", "2024-01-05 x"}},
	{"timestamptz", "TIMESTAMP WITH TIME ZONE", []string{"2024-01-05 06:07:08", "2024-07-05 06:07:08", "2024-01-05 06:07:08Z", "2024-01-05T06:07:08.5+0530", "2024-01-05 06:07:08 Europe/Berlin", "2024-01-05 06:07:08-03:30", "2024-01-05 06:07:08+5", "2024-01-05 06:07:08 UTC", "2024-01-05 06:07:08 Nowhere/Land", "2024-01-05", "2024-01-05 06:07:08+25"}},
	{"time", "TIME", []string{"04:05", "040506", "04:05:06.789", "04:05 PM", "24:00:00", "24:00:01", "x", "", "4:5:6"}},
	{"timetz", "TIME WITH TIME ZONE", []string{"04:05:06+02", "04:05:06Z", "04:05:06 -08:00", "04:05:06+16"}},
	{"interval", "INTERVAL", []string{"1 day", "2 hours 30 minutes", "1.5 hours", "1 week", "-1 day +02:03", "P1Y2M3DT4H5M6S", "PT0.5S", "P1W", "1 year ago", "@ 1 minute", "30", "1:02", "1.5 days", "0.5 months", "1.5 years", "", "x", "1 lightyear", "1 day 2", "1 decade", "2 h 3 m 4 s", "-1.5 s", "99999999999 days", "1d2h"}},
	{"varbit", "BIT", []string{"0101", "2"}},
	{"integer[]", "INTEGER[]", []string{"{1,2,3}", "{ 1 , 2 }", "{}", "{NULL,null}", "{1,}", "{,1}", "1,2", "{1,x}", `{"1","2"}`, "[1:2]={5,6}", "{1", "{1}}", ""}},
	{"text[]", "VARCHAR[]", []string{`{a,"b c",d\,e,"x\"y"}`, "{a b , c}", `{"null",null,\null}`, `{"a" b}`, `{"a"x}`, "{a\"b}"}},
}

// Texts are taken and refused as PostgreSQL does, and mean the same.
func TestCopyReadsWhatPostgreSQLReads(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	pg := pgtest.StartT(t, pgtest.Options{Major: 15})
	ctx := t.Context()
	source, err := pgx.Connect(ctx, pg.DB(t))
	require.NoError(t, err)
	defer source.Close(context.WithoutCancel(ctx))
	c := k.connect("user=ann")
	for _, conn := range []*pgx.Conn{source, c} {
		_, err := conn.Exec(ctx, "SET TimeZone = 'America/New_York'")
		require.NoError(t, err)
	}
	quoteText := strings.NewReplacer(`\`, `\\`)
	for i, x := range writtenTexts {
		table := fmt.Sprintf("w%d", i)
		_, err := source.Exec(ctx, fmt.Sprintf("CREATE TABLE %s (v %s)", table, x.pg))
		require.NoError(t, err)
		k.table("in."+table, store.PutColumn{Name: "v", Type: x.duck})
		for _, text := range x.texts {
			data := quoteText.Replace(text) + "\n"
			answer := func(c *pgx.Conn, table string, empty func()) string {
				if _, err := copyRows(c, "COPY "+table+" FROM STDIN", data); err != nil {
					var e *pgconn.PgError
					require.True(t, errors.As(err, &e), err)
					return "error " + e.Code
				}
				defer empty()
				return dump(t, c, "SELECT v FROM "+table)
			}
			want := answer(source, table, func() { _, err := source.Exec(ctx, "TRUNCATE "+table); require.NoError(t, err) })
			got := answer(c, `"in".`+table, func() {
				_, err := k.store.EmptyClientTable(ctx, store.PutTarget{Schema: "in", Name: table})
				require.NoError(t, err)
			})
			if want != got {
				t.Errorf("%s %q: PostgreSQL has %q, this has %q", x.pg, text, want, got)
			}
		}
	}
}
