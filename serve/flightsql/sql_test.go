package flightsql

import (
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/logtest"
	"github.com/pintaildb/pintail/query"
)

func encodeBasic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

func TestQuery(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client(""), t.Context()
	info, err := c.Execute(ctx, "SELECT id, word, amount, even FROM m_dataset ORDER BY id LIMIT 3")
	require.NoError(t, err)
	require.Len(t, info.Endpoint, 1)
	require.Empty(t, info.Endpoint[0].Location)
	announced, err := flight.DeserializeSchema(info.Schema, memory.DefaultAllocator)
	require.NoError(t, err)
	require.Empty(t, k.core.List(), "planning runs nothing")
	schema, rows, err := read(ctx, c, info)
	require.NoError(t, err)
	require.True(t, announced.Equal(schema), "%s\n%s", announced, schema)
	require.Equal(t, []string{"0|text 0|0|true", "1|text 1|1.25|false", "2|text 2|2.5|true"}, rows)
	_, _, err = read(ctx, c, info)
	refused(t, err, codes.NotFound, fault.NotFound)

	res, err := c.GetExecuteSchema(ctx, "SELECT id, word, amount, even FROM m_dataset")
	require.NoError(t, err)
	schema, err = flight.DeserializeSchema(res.Schema, memory.DefaultAllocator)
	require.NoError(t, err)
	require.True(t, announced.Equal(schema))

	info, err = c.Execute(ctx, "SELECT id, word FROM m_dataset WHERE false")
	require.NoError(t, err)
	schema, rows, err = read(ctx, c, info)
	require.NoError(t, err)
	require.Empty(t, rows)
	require.Equal(t, 2, schema.NumFields(), "a result without rows has its columns")
}

// Each statement is in the query log with its door and its client, and so is one that is refused.
func TestAudit(t *testing.T) {
	audit := &logtest.Watch{}
	k := newKit(t, kitOptions{users: true, core: query.Options{Audit: slog.New(audit)}})
	c, ctx := k.client("reader-reader"), t.Context()
	info, err := c.Execute(ctx, "SELECT id FROM m_dataset WHERE id = 7")
	require.NoError(t, err)
	_, _, err = read(ctx, c, info)
	require.NoError(t, err)
	_, err = c.Execute(ctx, "SELECT * FROM secret")
	require.Error(t, err)
	for _, event := range []string{"start", "end", "refused"} {
		line := audit.Wait(t, event, "flight")
		require.Contains(t, line, "127.0.0.1")
		require.Contains(t, line, "reader")
	}
}

func TestQueryErrors(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client(""), t.Context()
	for sql, want := range map[string]fault.Code{
		"SELEC 1":                        fault.InvalidSQL,
		"SELECT * FROM nowhere":          fault.InvalidSQL,
		"":                               fault.InvalidSQL,
		"SELECT 1; SELECT 2":             fault.Forbidden,
		"DELETE FROM m_dataset":          fault.Forbidden,
		"SELECT * FROM read_csv('/etc')": fault.Forbidden,
	} {
		_, err := c.Execute(ctx, sql)
		refused(t, err, fault.GRPCCode(fault.New(want, "", "x")), want)
		_, err = c.GetExecuteSchema(ctx, sql)
		refused(t, err, fault.GRPCCode(fault.New(want, "", "x")), want)
		_, err = c.Prepare(ctx, sql)
		refused(t, err, fault.GRPCCode(fault.New(want, "", "x")), want)
	}
	_, err := runQuery(ctx, c, "SELECT error('boom ' || id) FROM m_dataset")
	require.Contains(t, refused(t, err, codes.InvalidArgument, fault.InvalidSQL), "boom")
	_, err = c.Execute(ctx, "SELECT $1")
	refused(t, err, codes.InvalidArgument, fault.Usage)
	_, err = c.Execute(ctx, "SELECT * FROM secre")
	require.Contains(t, err.Error(), "secre")
	_, err = c.ExecuteSubstrait(ctx, flightsql.SubstraitPlan{Plan: []byte("x")})
	refused(t, err, codes.Unimplemented, "")
	rows, err := runQuery(ctx, c, "SELECT 42")
	require.NoError(t, err)
	require.Equal(t, []string{"42"}, rows)
	eventually(t, "nothing is left open", func() bool { return len(k.core.List()) == 0 })
}

func TestPrepared(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client(""), t.Context()
	p, err := c.Prepare(ctx, "SELECT id, word FROM m_dataset WHERE id >= ? AND id < ? ORDER BY id")
	require.NoError(t, err)
	require.Equal(t, 2, p.DatasetSchema().NumFields())
	require.Equal(t, 2, p.ParameterSchema().NumFields())
	require.Equal(t, arrow.INT64, p.ParameterSchema().Field(0).Type.ID())
	_, err = p.Execute(ctx)
	refused(t, err, codes.InvalidArgument, fault.Usage)

	bind := func(p *flightsql.PreparedStatement, json string, fields ...arrow.Field) {
		b, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema(fields, nil), strings.NewReader(json))
		require.NoError(t, err)
		p.SetParameters(b)
		b.Release()
	}
	i64 := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64, Nullable: true}
	}
	execute := func(p *flightsql.PreparedStatement) []string {
		info, err := p.Execute(ctx)
		require.NoError(t, err)
		_, rows, err := read(ctx, c, info)
		require.NoError(t, err)
		return rows
	}
	bind(p, `[{"a": 3, "b": 5}]`, i64("a"), i64("b"))
	require.Equal(t, []string{"3|text 3", "4|text 4"}, execute(p))
	require.Equal(t, []string{"3|text 3", "4|text 4"}, execute(p), "the parameters stay")
	bind(p, `[{"a": 7, "b": 8}, {"a": 0, "b": 0}, {"a": 9, "b": 10}]`, i64("a"), i64("b"))
	require.Equal(t, []string{"7|text 7", "9|text 9"}, execute(p), "it runs once for each row")
	bind(p, `[{"a": 7}]`, i64("a"))
	_, err = p.Execute(ctx)
	require.Contains(t, refused(t, err, codes.InvalidArgument, fault.Usage), "2 parameters, and 1 columns")
	_, err = p.ExecuteUpdate(ctx)
	require.Error(t, err)
	require.NoError(t, p.Close(ctx))

	// Columns that only the parameters make known, and a NULL among them.
	p, err = c.Prepare(ctx, "SELECT ?, ?")
	require.NoError(t, err)
	bind(p, `[{"a": 42, "b": ""}, {"a": -42, "b": null}, {"a": null, "b": "bar"}]`, i64("a"), arrow.Field{Name: "b", Type: arrow.BinaryTypes.String, Nullable: true})
	require.Equal(t, []string{"42|", "-42|NULL", "NULL|bar"}, execute(p))
	bind(p, `[{"a": 42, "b": ""}, {"a": 1, "b": "x"}]`, i64("a"), arrow.Field{Name: "b", Type: arrow.BinaryTypes.String, Nullable: true})
	require.Equal(t, []string{"42|", "1|x"}, execute(p))
	require.NoError(t, p.Close(ctx))
	require.Zero(t, k.srv.handles.len())
}

// TestParameterTypes binds a value of each type that clients send; what comes back is the same value.
func TestParameterTypes(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client(""), t.Context()
	for _, tt := range []struct {
		field      arrow.DataType
		json, cast string
		want       string
	}{
		{arrow.FixedWidthTypes.Boolean, `true`, "BOOLEAN", "true"},
		{arrow.PrimitiveTypes.Int8, `-7`, "TINYINT", "-7"},
		{arrow.PrimitiveTypes.Int16, `-7`, "SMALLINT", "-7"},
		{arrow.PrimitiveTypes.Int32, `-7`, "INTEGER", "-7"},
		{arrow.PrimitiveTypes.Int64, `-9223372036854775808`, "BIGINT", "-9223372036854775808"},
		{arrow.PrimitiveTypes.Uint8, `200`, "UTINYINT", "200"},
		{arrow.PrimitiveTypes.Uint16, `60000`, "USMALLINT", "60000"},
		{arrow.PrimitiveTypes.Uint32, `4000000000`, "UINTEGER", "4000000000"},
		{arrow.PrimitiveTypes.Uint64, `18446744073709551615`, "UBIGINT", "18446744073709551615"},
		{arrow.PrimitiveTypes.Float32, `0.1`, "DOUBLE", "0.1"},
		{arrow.PrimitiveTypes.Float64, `0.1`, "DOUBLE", "0.1"},
		{arrow.BinaryTypes.String, `"it's"`, "VARCHAR", "it's"},
		{arrow.BinaryTypes.LargeString, `"it's"`, "VARCHAR", "it's"},
		{arrow.BinaryTypes.StringView, `"it's"`, "VARCHAR", "it's"},
		{arrow.BinaryTypes.Binary, `"AAH/"`, "BLOB", "AAH/"},
		{&arrow.FixedSizeBinaryType{ByteWidth: 3}, `"AAH/"`, "BLOB", "AAH/"},
		{&arrow.Decimal128Type{Precision: 12, Scale: 2}, `"-1.25"`, "DECIMAL(12,2)", "-1.25"},
		{arrow.FixedWidthTypes.Date32, `"2026-02-13"`, "DATE", "2026-02-13"},
		{arrow.FixedWidthTypes.Date64, `"2026-02-13"`, "DATE", "2026-02-13"},
		{arrow.FixedWidthTypes.Time32s, `"10:15:30"`, "TIME", "10:15:30.000000"},
		{arrow.FixedWidthTypes.Time64us, `"10:15:30.000001"`, "TIME", "10:15:30.000001"},
		{&arrow.TimestampType{Unit: arrow.Microsecond}, `"2026-02-13 10:15:30.000001"`, "TIMESTAMP", "2026-02-13T10:15:30.000001"},
		{&arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}, `"2026-02-13T10:15:30.001Z"`, "TIMESTAMPTZ", "2026-02-13T10:15:30.001Z"},
		{&arrow.TimestampType{Unit: arrow.Second, TimeZone: "Europe/Berlin"}, `"2026-02-13T10:15:30Z"`, "TIMESTAMPTZ", "2026-02-13T10:15:30Z"},
		{&arrow.DurationType{Unit: arrow.Millisecond}, `"90001ms"`, "INTERVAL", `{"months":0,"days":0,"nanoseconds":90001000000}`},
		{arrow.ListOf(arrow.PrimitiveTypes.Int64), `[1, null, 3]`, "BIGINT[]", "[1,null,3]"},
		{&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, `"b"`, "VARCHAR", "b"},
		{arrow.Null, `null`, "VARCHAR", "NULL"},
	} {
		t.Run(tt.field.String(), func(t *testing.T) {
			p, err := c.Prepare(ctx, "SELECT CAST($1 AS "+tt.cast+") AS v")
			require.NoError(t, err)
			b, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "p", Type: tt.field, Nullable: true}}, nil), strings.NewReader(`[{"p": `+tt.json+`}]`))
			require.NoError(t, err)
			p.SetParameters(b)
			b.Release()
			info, err := p.Execute(ctx)
			require.NoError(t, err)
			_, rows, err := read(ctx, c, info)
			require.NoError(t, err)
			require.Equal(t, []string{tt.want}, rows)
			require.NoError(t, p.Close(ctx))
		})
	}
}

func TestCatalogCommands(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	ctx := t.Context()
	admin, reader := k.client("admin-admin"), k.client("reader-reader")
	all := func(c *flightsql.Client, want *arrow.Schema, info *flight.FlightInfo, err error) []string {
		t.Helper()
		require.NoError(t, err)
		schema, rows, err := read(ctx, c, info)
		require.NoError(t, err)
		require.True(t, want.Equal(schema), "%s", schema)
		announced, err := flight.DeserializeSchema(info.Schema, memory.DefaultAllocator)
		require.NoError(t, err)
		require.True(t, want.Equal(announced))
		return rows
	}
	str := func(s string) *string { return &s }

	info, err := reader.GetCatalogs(ctx)
	require.Equal(t, []string{"pintail"}, all(reader, schema_ref.Catalogs, info, err))
	info, err = admin.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{})
	require.Equal(t, []string{"pintail|main", "pintail|shop"}, all(admin, schema_ref.DBSchemas, info, err))
	info, err = reader.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{})
	require.Equal(t, []string{"pintail|main"}, all(reader, schema_ref.DBSchemas, info, err))
	info, err = admin.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{Catalog: str("else")})
	require.Empty(t, all(admin, schema_ref.DBSchemas, info, err))
	info, err = admin.GetDBSchemas(ctx, &flightsql.GetDBSchemasOpts{DbSchemaFilterPattern: str("sh%")})
	require.Equal(t, []string{"pintail|shop"}, all(admin, schema_ref.DBSchemas, info, err))

	info, err = reader.GetTables(ctx, &flightsql.GetTablesOpts{})
	require.Equal(t, []string{"pintail|main|m_data|VIEW", "pintail|main|m_dataset|BASE TABLE"}, all(reader, schema_ref.Tables, info, err), "only what its role reads")
	info, err = admin.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"BASE TABLE", "table"}})
	require.Equal(t, []string{"pintail|main|big|BASE TABLE", "pintail|main|m_dataset|BASE TABLE", "pintail|main|secret|BASE TABLE", "pintail|shop|orders|BASE TABLE"}, all(admin, schema_ref.Tables, info, err))
	info, err = admin.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"VIEW"}})
	require.Equal(t, []string{"pintail|main|m_data|VIEW"}, all(admin, schema_ref.Tables, info, err))
	info, err = admin.GetTables(ctx, &flightsql.GetTablesOpts{TableTypes: []string{"SYSTEM TABLE"}})
	require.Empty(t, all(admin, schema_ref.Tables, info, err))
	info, err = admin.GetTables(ctx, &flightsql.GetTablesOpts{TableNameFilterPattern: str(`m\_d_taset`), DbSchemaFilterPattern: str("main")})
	require.Equal(t, []string{"pintail|main|m_dataset|BASE TABLE"}, all(admin, schema_ref.Tables, info, err))

	info, err = admin.GetTables(ctx, &flightsql.GetTablesOpts{IncludeSchema: true, TableNameFilterPattern: str("orders")})
	require.NoError(t, err)
	r, err := admin.DoGet(ctx, info.Endpoint[0].Ticket)
	require.NoError(t, err)
	defer r.Release()
	require.True(t, r.Next())
	columns, err := flight.DeserializeSchema(r.RecordBatch().Column(4).(*array.Binary).Value(0), memory.DefaultAllocator)
	require.NoError(t, err)
	require.Equal(t, "id: type=int64, nullable", strings.Split(columns.Field(0).String(), "\n")[0])
	md := flightsql.ColumnMetadata{Data: &columns.Fields()[1].Metadata}
	name, _ := md.TypeName()
	require.Equal(t, "VARCHAR", name)
	name, _ = md.TableName()
	require.Equal(t, "orders", name)

	info, err = admin.GetTableTypes(ctx)
	require.Equal(t, []string{"BASE TABLE", "VIEW"}, all(admin, schema_ref.TableTypes, info, err))
	info, err = admin.GetPrimaryKeys(ctx, flightsql.TableRef{Table: "orders"})
	require.Equal(t, []string{"pintail|shop|orders|id|1|NULL"}, all(admin, schema_ref.PrimaryKeys, info, err))
	info, err = reader.GetPrimaryKeys(ctx, flightsql.TableRef{Table: "orders"})
	require.Empty(t, all(reader, schema_ref.PrimaryKeys, info, err))
	info, err = admin.GetExportedKeys(ctx, flightsql.TableRef{Table: "orders"})
	require.Empty(t, all(admin, schema_ref.ExportedKeys, info, err))
	info, err = admin.GetImportedKeys(ctx, flightsql.TableRef{Table: "orders"})
	require.Empty(t, all(admin, schema_ref.ImportedKeys, info, err))
	info, err = admin.GetCrossReference(ctx, flightsql.TableRef{Table: "orders"}, flightsql.TableRef{Table: "big"})
	require.Empty(t, all(admin, schema_ref.CrossReference, info, err))

	info, err = admin.GetXdbcTypeInfo(ctx, nil)
	types := all(admin, schema_ref.XdbcTypeInfo, info, err)
	require.Len(t, types, len(sqlTypes))
	number := int32(pb.XdbcDataType_XDBC_DECIMAL)
	info, err = admin.GetXdbcTypeInfo(ctx, &number)
	require.Len(t, all(admin, schema_ref.XdbcTypeInfo, info, err), 2)

	info, err = admin.GetSqlInfo(ctx, nil)
	require.Len(t, all(admin, schema_ref.SqlInfo, info, err), len(infos("")))
	info, err = admin.GetSqlInfo(ctx, []flightsql.SqlInfo{flightsql.SqlInfoFlightSqlServerName, 9_999, flightsql.SqlInfoFlightSqlServerTransaction})
	require.Len(t, all(admin, schema_ref.SqlInfo, info, err), 2, "what is not known is left out")
	info, err = admin.GetSqlInfo(ctx, []flightsql.SqlInfo{9_999})
	require.Empty(t, all(admin, schema_ref.SqlInfo, info, err))
}

// TestInfosAreComplete: drivers fail on an id that is missing.
func TestInfosAreComplete(t *testing.T) {
	all := infos("1")
	for id := range pb.SqlInfo_name {
		require.Contains(t, all, flightsql.SqlInfo(id), pb.SqlInfo_name[id])
	}
}

func TestLike(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"%", "", true}, {"%", "abc", true}, {"a%c", "abbc", true}, {"a%c", "abb", false}, {"_", "ü", true}, {"_", "", false},
		{`a\_b`, "a_b", true}, {`a\_b`, "axb", false}, {`\%`, "%", true}, {`\%`, "x", false}, {"%b%d", "abcd", true}, {"a%%", "a", true}, {`a\`, `a\`, true}, {"A", "a", false},
		{"%aab", "aaab", true}, {`%\%`, "50%", true},
	} {
		require.Equal(t, tt.want, like(&tt.pattern, tt.name), "%q like %q", tt.name, tt.pattern)
	}
	require.True(t, like(nil, "x"))
}

// TestPreparedSeesNewRows: a plan from before a commit would miss them, as it knows what values there are.
func TestPreparedSeesNewRows(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client(""), t.Context()
	k.exec("CREATE TABLE grows AS SELECT i AS id FROM range(100) r(i)")
	p, err := c.Prepare(ctx, "SELECT count(*) FROM grows WHERE id >= 100")
	require.NoError(t, err)
	planned, err := c.Execute(ctx, "SELECT count(*) FROM grows WHERE id >= 100")
	require.NoError(t, err)
	k.exec("INSERT INTO grows SELECT i FROM range(100, 120) r(i)")
	_, rows, err := read(ctx, c, planned)
	require.NoError(t, err)
	require.Equal(t, []string{"20"}, rows)
	info, err := p.Execute(ctx)
	require.NoError(t, err)
	_, rows, err = read(ctx, c, info)
	require.NoError(t, err)
	require.Equal(t, []string{"20"}, rows)
	require.NoError(t, p.Close(ctx))
}

// TestColumnsThatChanged: a client decodes by the schema it was told.
func TestColumnsThatChanged(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client(""), t.Context()
	p, err := c.Prepare(ctx, "SELECT * FROM m_dataset")
	require.NoError(t, err)
	planned, err := c.Execute(ctx, "SELECT * FROM m_dataset")
	require.NoError(t, err)
	k.exec("ALTER TABLE m_dataset ADD COLUMN more INTEGER")
	_, _, err = read(ctx, c, planned)
	refused(t, err, codes.Aborted, fault.ResultChanged)
	info, err := p.Execute(ctx)
	require.NoError(t, err)
	_, _, err = read(ctx, c, info)
	refused(t, err, codes.Aborted, fault.ResultChanged)
	require.NoError(t, p.Close(ctx))
}
