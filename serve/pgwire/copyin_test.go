package pgwire

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/store"
)

// table makes a table of clients, schema.name.
func (k *kit) table(name string, columns ...store.PutColumn) {
	k.t.Helper()
	schema, table, _ := strings.Cut(name, ".")
	require.NoError(k.t, k.store.CreateClientTable(context.Background(), store.PutTarget{Schema: schema, Name: table, Mode: ingest.Create, By: "test"}, columns))
}

func columns(defs ...string) (out []store.PutColumn) {
	for _, d := range defs {
		name, typ, _ := strings.Cut(d, " ")
		typ, notNull := strings.CutSuffix(typ, " NOT NULL")
		out = append(out, store.PutColumn{Name: name, Type: typ, NotNull: notNull})
	}
	return out
}

// dump is a query's result as COPY's text.
func dump(t testing.TB, c *pgx.Conn, query string) string {
	t.Helper()
	var out strings.Builder
	_, err := c.PgConn().CopyTo(context.Background(), &out, "COPY ("+query+") TO STDOUT")
	require.NoError(t, err)
	return out.String()
}

func copyRows(c *pgx.Conn, sql, data string) (string, error) {
	tag, err := c.PgConn().CopyFrom(context.Background(), strings.NewReader(data), sql)
	return tag.String(), err
}

func TestCopyIn(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	c := k.connect("user=ann")
	k.table("in.a", columns("id INTEGER NOT NULL", "word VARCHAR", "at TIMESTAMP WITH TIME ZONE")...)
	for _, x := range []struct{ name, sql, data, want string }{
		{"text", "", "1\tone\t2024-01-02 03:04:05+00\n2\t\\N\t\\N\n", "1\tone\t2024-01-02 03:04:05+00\n2\t\\N\t\\N\n"},
		{"no end", "", "1\tone\t\\N", "1\tone\t\\N\n"},
		{"crlf", "", "1\tone\t\\N\r\n2\ttwo\t\\N\r\n", "1\tone\t\\N\n2\ttwo\t\\N\n"},
		{"cr", "", "1\tone\t\\N\r2\ttwo\t\\N\r", "1\tone\t\\N\n2\ttwo\t\\N\n"},
		{"mark", "", "1\tone\t\\N\n\\.\nnonsense", "1\tone\t\\N\n"},
		{"escapes", "", "1\ta\\tb\\nc\\\\d\\x41\\101\\\n\\q\t\\N\n", "1\ta\\tb\\nc\\\\dAA\\nq\t\\N\n"},
		{"columns", "(word, id)", "x\t5\n", "5\tx\t\\N\n"},
		{"delimiter", "WITH (DELIMITER '|', NULL 'nil')", "1|nil|nil\n", "1\t\\N\t\\N\n"},
		{"csv", "WITH (FORMAT csv, HEADER)", "id,word,at\n1,\"a \"\"b\"\", c\nd\",\n2,,\n3,\"\",2024-01-01\n", "1\ta \"b\", c\\nd\t\\N\n2\t\\N\t\\N\n3\t\t2024-01-01 00:00:00+00\n"},
		{"csv match", "(word, id) WITH (FORMAT csv, HEADER match)", "word,id\nx,7\n", "7\tx\t\\N\n"},
		{"csv old", "CSV HEADER DELIMITER ';' QUOTE '''' ESCAPE '\\' NULL 'NULL'", "h\n1;'it\\'s; \\\\';NULL\n", "1\tit's; \\\\\t\\N\n"},
		{"csv force", "WITH (FORMAT csv, NULL 'x', FORCE_NULL (at), FORCE_NOT_NULL (word))", "1,x,\"x\"\n", "1\tx\t\\N\n"},
		{"csv crlf", "CSV", "1,\"a\r\nb\",\r\n2,c,\r\n", "1\ta\\r\\nb\t\\N\n2\tc\t\\N\n"},
		{"csv end", "CSV", "1,a,\n\\.\nnonsense,\"", "1\ta\t\\N\n"},
		{"nothing", "", "", ""},
		{"only a header", "CSV HEADER", "id,word,at\n", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			sql := x.sql
			if !strings.HasPrefix(sql, "(") {
				sql = " " + sql
			}
			cols, options := "", sql
			if i := strings.Index(sql, ")"); strings.HasPrefix(sql, "(") {
				cols, options = sql[:i+1], sql[i+1:]
			}
			tag, err := copyRows(c, "COPY \"in\".a "+cols+" FROM STDIN "+options, x.data)
			require.NoError(t, err)
			require.Equal(t, "COPY "+itoa(strings.Count(x.want, "\n")), tag)
			require.Equal(t, x.want, dump(t, c, `SELECT * FROM "in".a ORDER BY id`))
			_, err = k.store.EmptyClientTable(t.Context(), store.PutTarget{Schema: "in", Name: "a"})
			require.NoError(t, err)
		})
	}
}

func TestCopyInErrors(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	c := k.connect("user=ann")
	k.table("in.a", columns("id INTEGER NOT NULL", "word VARCHAR", "n DECIMAL(6,2)", "tiny TINYINT", "j JSON", "day DATE")...)
	good := strings.Repeat("1\tgood\t1.5\t1\t{}\t2024-01-01\n", 5)
	for _, x := range []struct{ options, data, state, message, where string }{
		{"", good + "1\n", "22P04", `missing data for column "word"`, `COPY a, line 6: "1"`},
		{"", good + "1\ta\t1\t1\t{}\t\\N\tmore\n", "22P04", "extra data after last expected column", `COPY a, line 6: "1	a	1	1	{}	\N	more"`},
		{"", good + "x\ta\t1\t1\t{}\t\\N\n", "22P02", `invalid input syntax for type integer: "x"`, `COPY a, line 6, column id: "x"`},
		{"", good + "99999999999\ta\t1\t1\t{}\t\\N\n", "22003", `value "99999999999" is out of range for type integer`, `COPY a, line 6, column id: "99999999999"`},
		{"", good + "1\ta\t99999\t1\t{}\t\\N\n", "22003", "numeric field overflow", `COPY a, line 6, column n: "99999"`},
		{"", good + "1\ta\t1\t128\t{}\t\\N\n", "22003", `value "128" is out of range for type TINYINT`, `COPY a, line 6, column tiny: "128"`},
		{"", good + "1\ta\t1\t1\t{]\t\\N\n", "22P02", `invalid input syntax for type json: "{]"`, `COPY a, line 6, column j: "{]"`},
		{"", good + "1\ta\t1\t1\t{}\t2023-02-29\n", "22008", `date/time field value out of range: "2023-02-29"`, `COPY a, line 6, column day: "2023-02-29"`},
		{"", good + "1\ta\t1\t1\t{}\tnoday\n", "22007", `invalid input syntax for type date: "noday"`, `COPY a, line 6, column day: "noday"`},
		{"", good + "\\N\ta\t1\t1\t{}\t\\N\n", "23502", `null value in column "id" of relation "a" violates not-null constraint`, "COPY a, line 6, column id"},
		{"", good + "1\ta\xff\t1\t1\t{}\t\\N\n", "22021", `invalid byte sequence for encoding "UTF8"`, "COPY a, line 6, column word"},
		{"", good + "1\ta\\000b\t1\t1\t{}\t\\N\n", "22021", `invalid byte sequence for encoding "UTF8"`, "COPY a, line 6, column word"},
		{"", good + "1\ta\rb\t1\t1\t{}\t\\N\n", "22P04", "literal carriage return found in data", "COPY a, line 6: "},
		{"CSV", "1,\"a\nb\",,,,\n1,\"a\n", "22P04", "unterminated CSV quoted field", "COPY a, line 3"},
		{"CSV", "1,\"a\nb\",,,,\n1\n", "22P04", `missing data for column "word"`, `COPY a, line 3: "1"`},
		{"CSV HEADER", "id\nx,,,,,\n", "22P02", `invalid input syntax for type integer: "x"`, `COPY a, line 2, column id: "x"`},
		{"(FORMAT csv, HEADER match)", "id,word,n,tiny,j,days\n", "22P04", `column name mismatch in header line field 6: got "days", expected "day"`, `COPY a, line 1: "id,word,n,tiny,j,days"`},
		{"(FORMAT csv, HEADER match)", "id,word\n", "22P04", "wrong number of fields in header line: got 2, expected 6", "COPY a, line 1"},
		{"BINARY", "nonsense", "22P04", "COPY file signature not recognized", ""},
		{"BINARY", string(copySignature) + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", "22P04", "row field count is 1, expected 6", "COPY a, line 1"},
		{"BINARY", string(copySignature) + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00", "22P04", "unexpected EOF in COPY data", ""},
		{"BINARY", string(copySignature) + "\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00", "22P04", "received copy data after EOF marker", ""},
		{"BINARY", string(copySignature) + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x02ab" + strings.Repeat("\xff\xff\xff\xff", 5), "22P03", "incorrect binary data format", "COPY a, line 1, column id"},
	} {
		_, err := copyRows(c, `COPY "in".a FROM STDIN `+x.options, x.data)
		var e *pgconn.PgError
		require.ErrorAs(t, err, &e, x.data)
		require.Equal(t, x.state+" "+x.message, e.Code+" "+e.Message, x.data)
		require.True(t, strings.HasPrefix(e.Where, x.where), "%q: %s", x.data, e.Where)
		require.Equal(t, "0\n", dump(t, c, `SELECT count(*) FROM "in".a`), x.data)
	}
	for _, x := range []struct{ sql, state string }{
		{`COPY "in".a (id, nothing) FROM STDIN`, "42703"}, {`COPY "in".a (id, id) FROM STDIN`, "42701"}, {`COPY "in".a (word) FROM STDIN`, "23502"},
		{`COPY "in".b FROM STDIN`, "42P01"}, {"COPY t FROM STDIN", "42501"}, {"COPY nosuch FROM STDIN", "42P01"}, {`COPY "in".a FROM '/etc/passwd'`, "42501"},
		{`COPY "in".a FROM PROGRAM 'id'`, "42501"}, {"COPY (SELECT 1) FROM STDIN", "42601"}, {`COPY "in".a FROM STDIN (FORMAT parquet)`, "0A000"},
		{`COPY "in".a FROM STDIN (FORMAT text, QUOTE 'x')`, "0A000"}, {`COPY "in".a FROM STDIN (ENCODING 'latin1')`, "0A000"}, {`COPY "in".a FROM STDIN (FORCE_QUOTE (id), FORMAT csv)`, "0A000"},
		{`COPY "in".a (id) FROM STDIN (FORMAT csv, FORCE_NULL (word))`, "42P10"}, {`COPY "in".a FROM STDIN (FORMAT csv, FORCE_NULL (x))`, "42703"}, {`COPY "in".a FROM STDIN WHERE id > 1`, "0A000"},
		{`COPY _pintail.runs FROM STDIN`, "42501"}, {`COPY a.b.c.d FROM STDIN`, "42601"}, {`COPY "in".a FROM STDIN (FORMAT csv, DELIMITER '"')`, "22023"},
	} {
		_, err := copyRows(c, x.sql, good)
		require.Equal(t, x.state, state(t, err), x.sql)
		require.NoError(t, c.Ping(t.Context()), x.sql)
	}
}
