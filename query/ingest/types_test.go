package ingest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

func timestamp(u arrow.TimeUnit, zone string) arrow.DataType {
	return &arrow.TimestampType{Unit: u, TimeZone: zone}
}

// typeCases are values in Arrow's JSON, and what DuckDB then says of them. The first value of each is NULL.
var typeCases = []struct {
	typ   arrow.DataType
	json  string
	duck  string
	texts []string
}{
	{arrow.Null, `[null]`, "INTEGER", nil},
	{arrow.FixedWidthTypes.Boolean, `[null, true, false]`, "BOOLEAN", []string{"true", "false"}},
	{arrow.PrimitiveTypes.Int8, `[null, -128, 127]`, "TINYINT", []string{"-128", "127"}},
	{arrow.PrimitiveTypes.Int16, `[null, -32768, 32767]`, "SMALLINT", []string{"-32768", "32767"}},
	{arrow.PrimitiveTypes.Int32, `[null, -2147483648, 2147483647]`, "INTEGER", []string{"-2147483648", "2147483647"}},
	{arrow.PrimitiveTypes.Int64, `[null, -9223372036854775808, 9223372036854775807]`, "BIGINT", []string{"-9223372036854775808", "9223372036854775807"}},
	{arrow.PrimitiveTypes.Uint8, `[null, 255]`, "UTINYINT", []string{"255"}},
	{arrow.PrimitiveTypes.Uint16, `[null, 65535]`, "USMALLINT", []string{"65535"}},
	{arrow.PrimitiveTypes.Uint32, `[null, 4294967295]`, "UINTEGER", []string{"4294967295"}},
	{arrow.PrimitiveTypes.Uint64, `[null, 18446744073709551615]`, "UBIGINT", []string{"18446744073709551615"}},
	{arrow.FixedWidthTypes.Float16, `[null, 1.5]`, "FLOAT", []string{"1.5"}},
	{arrow.PrimitiveTypes.Float32, `[null, -0.25]`, "FLOAT", []string{"-0.25"}},
	{arrow.PrimitiveTypes.Float64, `[null, 1e300]`, "DOUBLE", []string{"1e+300"}},
	{&arrow.Decimal32Type{Precision: 4, Scale: 1}, `[null, "-999.9"]`, "DECIMAL(4,1)", []string{"-999.9"}},
	{&arrow.Decimal64Type{Precision: 18, Scale: 2}, `[null, "9999999999999999.99"]`, "DECIMAL(18,2)", []string{"9999999999999999.99"}},
	{&arrow.Decimal128Type{Precision: 9, Scale: 0}, `[null, "-999999999"]`, "DECIMAL(9,0)", []string{"-999999999"}},
	{&arrow.Decimal128Type{Precision: 38, Scale: 10}, `[null, "-9999999999999999999999999999.9999999999"]`, "DECIMAL(38,10)", []string{"-9999999999999999999999999999.9999999999"}},
	{&arrow.Decimal256Type{Precision: 38, Scale: 0}, `[null, "-99999999999999999999999999999999999999", "7"]`, "DECIMAL(38,0)", []string{"-99999999999999999999999999999999999999", "7"}},
	{arrow.BinaryTypes.String, `[null, "", "twelve bytes", "thirteen byte", "ä€𝄞\u0000x"]`, "VARCHAR", []string{"", "twelve bytes", "thirteen byte", "ä€𝄞\x00x"}},
	{arrow.BinaryTypes.LargeString, `[null, "a longer text than fits"]`, "VARCHAR", []string{"a longer text than fits"}},
	{arrow.BinaryTypes.StringView, `[null, "short", "a longer text than fits"]`, "VARCHAR", []string{"short", "a longer text than fits"}},
	{arrow.BinaryTypes.Binary, `[null, "AP8="]`, "BLOB", []string{`\x00\xFF`}},
	{arrow.BinaryTypes.LargeBinary, `[null, "AP8="]`, "BLOB", []string{`\x00\xFF`}},
	{arrow.BinaryTypes.BinaryView, `[null, "AP8="]`, "BLOB", []string{`\x00\xFF`}},
	{&arrow.FixedSizeBinaryType{ByteWidth: 2}, `[null, "AP8="]`, "BLOB", []string{`\x00\xFF`}},
	{arrow.FixedWidthTypes.Date32, `[null, "2024-02-29", "1969-12-31"]`, "DATE", []string{"2024-02-29", "1969-12-31"}},
	{arrow.FixedWidthTypes.Date64, `[null, "2024-02-29", "1969-12-31"]`, "DATE", []string{"2024-02-29", "1969-12-31"}},
	{arrow.FixedWidthTypes.Time32s, `[null, "23:59:59"]`, "TIME", []string{"23:59:59"}},
	{arrow.FixedWidthTypes.Time32ms, `[null, "23:59:59.123"]`, "TIME", []string{"23:59:59.123"}},
	{arrow.FixedWidthTypes.Time64us, `[null, "23:59:59.123456"]`, "TIME", []string{"23:59:59.123456"}},
	{arrow.FixedWidthTypes.Time64ns, `[null, "23:59:59.123456789"]`, "TIME_NS", []string{"23:59:59.123456789"}},
	{timestamp(arrow.Second, ""), `[null, "2024-02-29 12:34:56"]`, "TIMESTAMP_S", []string{"2024-02-29 12:34:56"}},
	{timestamp(arrow.Millisecond, ""), `[null, "1969-12-31 23:59:59.999"]`, "TIMESTAMP_MS", []string{"1969-12-31 23:59:59.999"}},
	{timestamp(arrow.Microsecond, ""), `[null, "2024-02-29 12:34:56.123456"]`, "TIMESTAMP", []string{"2024-02-29 12:34:56.123456"}},
	{timestamp(arrow.Nanosecond, ""), `[null, "2024-02-29 12:34:56.123456789"]`, "TIMESTAMP_NS", []string{"2024-02-29 12:34:56.123456789"}},
	{timestamp(arrow.Second, "UTC"), `[null, "2024-02-29 12:34:56Z"]`, "TIMESTAMP WITH TIME ZONE", []string{"2024-02-29 12:34:56+00"}},
	{timestamp(arrow.Millisecond, "UTC"), `[null, "2024-02-29 12:34:56.5Z"]`, "TIMESTAMP WITH TIME ZONE", []string{"2024-02-29 12:34:56.5+00"}},
	{timestamp(arrow.Microsecond, "Europe/Berlin"), `[null, "2024-02-29 12:34:56.123456Z"]`, "TIMESTAMP WITH TIME ZONE", []string{"2024-02-29 12:34:56.123456+00"}},
	{timestamp(arrow.Nanosecond, "UTC"), `[null, "2024-02-29 12:34:56.123456Z"]`, "TIMESTAMP WITH TIME ZONE", []string{"2024-02-29 12:34:56.123456+00"}},
	{arrow.FixedWidthTypes.Duration_s, `[null, -90]`, "INTERVAL", []string{"-00:01:30"}},
	{arrow.FixedWidthTypes.Duration_ms, `[null, 1500]`, "INTERVAL", []string{"00:00:01.5"}},
	{arrow.FixedWidthTypes.Duration_us, `[null, 1]`, "INTERVAL", []string{"00:00:00.000001"}},
	{arrow.FixedWidthTypes.Duration_ns, `[null, 1000]`, "INTERVAL", []string{"00:00:00.000001"}},
	{arrow.FixedWidthTypes.MonthInterval, `[null, {"months": 14}]`, "INTERVAL", []string{"1 year 2 months"}},
	{arrow.FixedWidthTypes.DayTimeInterval, `[null, {"days": -1, "milliseconds": 1500}]`, "INTERVAL", []string{"-1 day 00:00:01.5"}},
	{arrow.FixedWidthTypes.MonthDayNanoInterval, `[null, {"months": 1, "days": 2, "nanoseconds": 3000}]`, "INTERVAL", []string{"1 month 2 days 00:00:00.000003"}},
	{arrow.ListOf(arrow.BinaryTypes.String), `[null, ["a text that is longer", null], [], ["b"]]`, "VARCHAR[]", []string{"[a text that is longer, NULL]", "[]", "[b]"}},
	{arrow.LargeListOf(arrow.PrimitiveTypes.Int32), `[null, [1, 2], [3]]`, "INTEGER[]", []string{"[1, 2]", "[3]"}},
	{arrow.ListViewOf(arrow.PrimitiveTypes.Int32), `[null, [1, 2], [3]]`, "INTEGER[]", []string{"[1, 2]", "[3]"}},
	{arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float64), `[null, [1, null], [2.5, 3]]`, "DOUBLE[2]", []string{"[1.0, NULL]", "[2.5, 3.0]"}},
	{arrow.ListOf(arrow.FixedSizeListOf(2, arrow.ListOf(arrow.PrimitiveTypes.Int8))), `[null, [[[1], []], null], [[null, [2, 3]]]]`, "TINYINT[][2][]", []string{"[[[1], []], NULL]", "[[NULL, [2, 3]]]"}},
	{arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int32, Nullable: true}, arrow.Field{Name: "b c", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true}),
		`[null, {"a": 1, "b c": ["x"]}, {"a": null, "b c": null}]`, `STRUCT(a INTEGER, "b c" VARCHAR[])`, []string{"{'a': 1, 'b c': [x]}", "{'a': NULL, 'b c': NULL}"}},
	{arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64), `[null, [{"key": "a", "value": 1}, {"key": "b", "value": null}], []]`, "MAP(VARCHAR, BIGINT)", []string{"{a=1, b=NULL}", "{}"}},
	{&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, `[null, "a long word, twice", "b", "a long word, twice"]`, "VARCHAR", []string{"a long word, twice", "b", "a long word, twice"}},
	{&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint32, ValueType: arrow.PrimitiveTypes.Int64}, `[null, 5, 5, 6]`, "BIGINT", []string{"5", "5", "6"}},
	{extensions.NewUUIDType(), `[null, "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-fffffffffffe"]`, "UUID", []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-fffffffffffe"}},
	{extensions.NewBool8Type(), `[null, true, false]`, "BOOLEAN", []string{"true", "false"}},
}

func column(typ arrow.DataType) *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int32}, {Name: "c", Type: typ, Nullable: true}}, nil)
}

// numbered is a batch of c with a column n that numbers it.
func numbered(mem memory.Allocator, c arrow.Array) arrow.RecordBatch {
	b := array.NewInt32Builder(mem)
	defer b.Release()
	for i := range c.Len() {
		b.Append(int32(i))
	}
	n := b.NewArray()
	defer n.Release()
	return array.NewRecordBatch(column(c.DataType()), []arrow.Array{n, c}, int64(c.Len()))
}

func TestTypes(t *testing.T) {
	k := newKit(t, store.Options{}, access.Limits{})
	for _, c := range typeCases {
		t.Run(c.typ.String(), func(t *testing.T) {
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			defer mem.AssertSize(t, 0)
			arr, _, err := array.FromJSON(mem, c.typ, strings.NewReader(c.json))
			require.NoError(t, err)
			defer arr.Release()
			whole := numbered(mem, arr)
			defer whole.Release()
			// Again in the middle of a longer batch, and as its slice.
			sliced := whole.NewSlice(1, whole.NumRows())
			defer sliced.Release()
			for _, b := range []arrow.RecordBatch{whole, sliced} {
				n, err := k.put(t, loader, Target{Schema: "events", Table: "c", Mode: Replace}, b.Schema(), b)
				require.NoError(t, err)
				require.Equal(t, b.NumRows(), n)
				var want []string
				if b == whole {
					want = []string{c.duck + "|NULL"}
				}
				for _, text := range c.texts {
					want = append(want, c.duck+"|"+text)
				}
				require.Equal(t, want, k.query(t, "SELECT typeof(c), c::VARCHAR FROM events.c ORDER BY n"))
				require.Len(t, k.query(t, "SELECT 1 FROM events.c WHERE c IS NOT NULL"), len(c.texts))
				// And once more behind itself, into the columns that are there.
				_, err = k.put(t, loader, Target{Schema: "EVENTS", Table: "C", Mode: Append}, b.Schema(), b)
				require.NoError(t, err)
				require.Len(t, k.query(t, "SELECT 1 FROM events.c"), 2*int(b.NumRows()))
				// What its columns are called in Arrow fits into them.
				columns, err := k.ingest.Columns(t.Context(), loader, events("c", Append))
				require.NoError(t, err)
				_, err = k.put(t, loader, events("c", Append), columns)
				require.NoError(t, err)
			}
		})
	}
}

// More rows than a vector has, in lists longer than a vector, with NULLs everywhere.
func TestNestedManyRows(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	k := newKit(t, store.Options{}, access.Limits{})
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int32},
		{Name: "l", Type: arrow.ListOf(arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, arrow.Field{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true})), Nullable: true},
	}, nil))
	defer b.Release()
	list := b.Field(1).(*array.ListBuilder)
	pair := list.ValueBuilder().(*array.StructBuilder)
	elements := 0
	const rows = 9000
	for i := range rows {
		b.Field(0).(*array.Int32Builder).Append(int32(i))
		if i%7 == 0 {
			list.AppendNull()
			continue
		}
		list.Append(true)
		n := i % 50
		if i == 4000 {
			n = 300_000
		}
		for j := range n {
			elements++
			if j%5 == 4 {
				pair.AppendNull()
				continue
			}
			pair.Append(true)
			pair.FieldBuilder(0).(*array.Int64Builder).Append(int64(i*1000 + j))
			if j%3 == 0 {
				pair.FieldBuilder(1).AppendNull()
			} else {
				pair.FieldBuilder(1).(*array.StringBuilder).Append(fmt.Sprintf("element %d of row %d", j, i))
			}
		}
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	_, err := k.put(t, loader, Target{Schema: "events", Table: "l", Mode: Create}, batch.Schema(), batch)
	require.NoError(t, err)
	require.Equal(t, []string{fmt.Sprint(rows, "|", (rows+6)/7, "|", elements)}, k.query(t, "SELECT count(*), count(*) FILTER (l IS NULL), sum(len(l)) FROM events.l"))
	require.Equal(t, []string{"0"}, k.query(t, `WITH e AS (SELECT id, unnest(l) AS e, generate_subscripts(l, 1) - 1 AS j FROM events.l)
		SELECT count(*) FROM e WHERE CASE WHEN j % 5 = 4 THEN e IS NOT NULL OR e.x IS NOT NULL
		ELSE e.x IS DISTINCT FROM id * 1000 + j OR e.s IS DISTINCT FROM CASE WHEN j % 3 <> 0 THEN 'element ' || j || ' of row ' || id END END`))
}

func TestRunsAndOtherExtensions(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	k := newKit(t, store.Options{}, access.Limits{})
	values, _, err := array.FromJSON(mem, arrow.BinaryTypes.String, strings.NewReader(`["a", null, "c"]`))
	require.NoError(t, err)
	defer values.Release()
	ends, _, err := array.FromJSON(mem, arrow.PrimitiveTypes.Int32, strings.NewReader(`[2, 3, 5]`))
	require.NoError(t, err)
	defer ends.Release()
	runs := array.NewRunEndEncodedArray(ends, values, 4, 1)
	defer runs.Release()
	batch := numbered(mem, runs)
	defer batch.Release()
	_, err = k.put(t, loader, Target{Schema: "events", Table: "r", Mode: Create}, batch.Schema(), batch)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "NULL", "c", "c"}, k.query(t, "SELECT c FROM events.r ORDER BY n"))

	// An extension type that is known by its metadata only, and JSON.
	texts, _, err := array.FromJSON(mem, arrow.BinaryTypes.String, strings.NewReader(`["{\"a\": 1}", null]`))
	require.NoError(t, err)
	defer texts.Release()
	field := func(name string) *arrow.Schema {
		return arrow.NewSchema([]arrow.Field{{Name: "c", Type: arrow.BinaryTypes.String, Nullable: true, Metadata: arrow.NewMetadata([]string{"ARROW:extension:name"}, []string{name})}}, nil)
	}
	for name, typ := range map[string]string{"arrow.json": "JSON", "other.thing": "VARCHAR"} {
		b := array.NewRecordBatch(field(name), []arrow.Array{texts}, 2)
		_, err = k.put(t, loader, Target{Schema: "events", Table: "j", Mode: Replace}, b.Schema(), b)
		require.NoError(t, err)
		require.Equal(t, []string{typ, typ}, k.query(t, "SELECT typeof(c) FROM events.j"))
		b.Release()
	}
	wrong, _, err := array.FromJSON(mem, arrow.BinaryTypes.String, strings.NewReader(`["{", null]`))
	require.NoError(t, err)
	defer wrong.Release()
	b := array.NewRecordBatch(field("arrow.json"), []arrow.Array{wrong}, 2)
	defer b.Release()
	_, err = k.put(t, loader, Target{Schema: "events", Table: "j2", Mode: Create}, b.Schema(), b)
	require.ErrorContains(t, err, "Malformed JSON")
	require.Equal(t, fault.Usage, fault.CodeOf(err))
}

// Types that DuckDB cannot have are refused before a row is taken, and nothing is left of values that it cannot have.
func TestRefusedTypesAndValues(t *testing.T) {
	mem := memory.NewGoAllocator()
	k := newKit(t, store.Options{}, access.Limits{})
	for _, c := range []struct {
		typ  arrow.DataType
		want string
	}{
		{&arrow.Decimal256Type{Precision: 39, Scale: 0}, `column "c" has type decimal256(39, 0): DuckDB's DECIMAL has 1 to 38 digits`},
		{&arrow.Decimal128Type{Precision: 4, Scale: -1}, "no such scale"},
		{arrow.StructOf(), "a struct needs a field"},
		{arrow.ListOf(arrow.StructOf(arrow.Field{Name: "a", Type: arrow.Null}, arrow.Field{Name: "A", Type: arrow.Null})), `two of its fields are called "A"`},
		{arrow.SparseUnionOf([]arrow.Field{{Name: "a", Type: arrow.Null}}, []arrow.UnionTypeCode{0}), "DuckDB has nothing for it"},
	} {
		// A reader that has no rows to give: it is not asked for any.
		_, err := k.put(t, loader, Target{Schema: "events", Table: "x", Mode: Create}, column(c.typ))
		require.ErrorContains(t, err, c.want)
		require.Equal(t, fault.Usage, fault.CodeOf(err))
	}
	for _, c := range []struct {
		typ        arrow.DataType
		json, want string
	}{
		{timestamp(arrow.Nanosecond, "UTC"), `["2024-02-29 12:34:56.123456789Z"]`, "finer than TIMESTAMP WITH TIME ZONE can hold"},
		{timestamp(arrow.Second, "UTC"), `[9223372036854775807]`, "outside of what"},
		{timestamp(arrow.Microsecond, ""), `[-9223372036854775808]`, "outside of what TIMESTAMP can hold"},
		{timestamp(arrow.Second, ""), `[9223372036854775]`, "outside of what TIMESTAMP_S can hold"},
		{arrow.FixedWidthTypes.Date64, `[1]`, "finer than DATE can hold"},
		{arrow.FixedWidthTypes.Duration_ns, `[1]`, "finer than INTERVAL can hold"},
		{arrow.FixedWidthTypes.Time32s, `["00:00:00", 86401]`, "outside of what TIME can hold"},
		{arrow.FixedWidthTypes.Time64us, `[-1]`, "outside of what TIME can hold"},
		{arrow.MapOf(arrow.BinaryTypes.String, arrow.Null), `[[{"key": "a", "value": null}], [{"key": "b", "value": null}, {"key": "b", "value": null}]]`, "a map has a key twice"},
		{arrow.MapOf(arrow.PrimitiveTypes.Int16, arrow.Null), `[[{"key": 1, "value": null}, {"key": 1, "value": null}]]`, "a map has a key twice"},
	} {
		arr, _, err := array.FromJSON(mem, c.typ, strings.NewReader(c.json))
		require.NoError(t, err, c.typ)
		b := numbered(mem, arr)
		_, err = k.put(t, loader, Target{Schema: "events", Table: "x", Mode: Create}, b.Schema(), b)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, `column "c"`)
		require.Equal(t, fault.Usage, fault.CodeOf(err))
	}
	// Bytes that are no text, and a number that does not have the digits that its type says.
	for want, data := range map[string]arrow.ArrayData{
		"not valid UTF-8":  array.NewData(arrow.BinaryTypes.String, 1, []*memory.Buffer{nil, memory.NewBufferBytes([]byte{0, 0, 0, 0, 2, 0, 0, 0}), memory.NewBufferBytes([]byte{0xc3, 0x28})}, nil, 0, 0),
		"more digits than": array.NewData(&arrow.Decimal128Type{Precision: 3}, 1, []*memory.Buffer{nil, memory.NewBufferBytes([]byte{0xe8, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})}, nil, 0, 0),
		"malformed":        array.NewData(arrow.BinaryTypes.String, 2, []*memory.Buffer{nil, memory.NewBufferBytes([]byte{0, 0, 0, 0, 200, 0, 0, 0, 2, 0, 0, 0}), memory.NewBufferBytes([]byte{1, 2})}, nil, 0, 0),
		"is malformed":     array.NewData(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.PrimitiveTypes.Int8}, 1, []*memory.Buffer{nil, memory.NewBufferBytes([]byte{9})}, nil, 0, 0),
	} {
		if d, ok := data.(*array.Data); ok && d.DataType().ID() == arrow.DICTIONARY {
			values, _, err := array.FromJSON(mem, arrow.PrimitiveTypes.Int8, strings.NewReader(`[1]`))
			require.NoError(t, err)
			data = array.NewDataWithDictionary(d.DataType(), 1, d.Buffers(), 0, 0, values.Data().(*array.Data))
		}
		b := numbered(mem, array.MakeFromData(data))
		_, err := k.put(t, loader, Target{Schema: "events", Table: "x", Mode: Create}, b.Schema(), b)
		require.ErrorContains(t, err, want)
		require.Equal(t, fault.Usage, fault.CodeOf(err))
	}
	require.Equal(t, []string{"0"}, k.query(t, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'x' OR starts_with(table_name, '_pintail_stage')"))
	require.Empty(t, k.store.ClientTables())
}
