package flightsql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/pintaildb/pintail/internal/fault"
)

var sampleSchema = arrow.NewSchema([]arrow.Field{
	{Name: "batch_id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "timestamp", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true}, {Name: "category", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// sample makes n rows of a batch.
func sample(batch int64, n int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, sampleSchema)
	defer b.Release()
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(batch)
		b.Field(1).(*array.StringBuilder).Append("2026-02-13T10:15:30")
		b.Field(2).(*array.Float64Builder).Append(float64(i))
		b.Field(3).(*array.StringBuilder).Append(string(rune('A' + i%4)))
	}
	return b.NewRecordBatch()
}

// put sends batches as plain Flight clients do, and returns what the server answered.
func put(ctx context.Context, c flight.Client, desc *flight.FlightDescriptor, schema *arrow.Schema, batches ...arrow.RecordBatch) (answer []byte, err error) {
	stream, err := c.DoPut(ctx)
	if err != nil {
		return nil, err
	}
	w := flight.NewRecordWriter(stream, ipc.WithSchema(schema))
	w.SetFlightDescriptor(desc)
	for _, b := range batches {
		if err := w.Write(b); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if err := w.Close(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answer, nil
		}
		if err != nil {
			return nil, err
		}
		answer = m.AppMetadata
	}
}

func path(parts ...string) *flight.FlightDescriptor {
	return &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: parts}
}

func command(text string) *flight.FlightDescriptor {
	return &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: []byte(text)}
}

func get(ctx context.Context, c flight.Client, sql string) ([]string, error) {
	stream, err := c.DoGet(ctx, &flight.Ticket{Ticket: []byte(sql)})
	if err != nil {
		return nil, err
	}
	r, err := flight.NewRecordReader(stream)
	if err != nil {
		return nil, err
	}
	defer r.Release()
	return lines(r)
}

func act(ctx context.Context, c flight.Client, kind, body string) (results [][]byte, err error) {
	stream, err := c.DoAction(ctx, &flight.Action{Type: kind, Body: []byte(body)})
	if err != nil {
		return nil, err
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return results, nil
		}
		if err != nil {
			return results, err
		}
		results = append(results, r.Body)
	}
}

// TestLoaderAndReader goes the way of scripts that load and query by plain Flight: an action makes the table, puts append to it by
// its name, and tickets are SQL text.
func TestLoaderAndReader(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client("").Client, t.Context()
	results, err := act(ctx, c, "query", `
        CREATE TABLE IF NOT EXISTS concurrent_test (
            batch_id BIGINT,
            timestamp VARCHAR,
            value DOUBLE,
            category VARCHAR
        )
    `)
	require.NoError(t, err)
	require.Empty(t, results)
	rows, err := get(ctx, c, "SELECT COUNT(*) FROM concurrent_test")
	require.NoError(t, err)
	require.Equal(t, []string{"0"}, rows)
	for i := range int64(3) {
		b := sample(i, 1000)
		answer, err := put(ctx, c, path("concurrent_test"), sampleSchema, b)
		b.Release()
		require.NoError(t, err)
		require.JSONEq(t, `{"rows": 1000}`, string(answer))
	}
	rows, err = get(ctx, c, "SELECT COUNT(*) as total_rows FROM concurrent_test")
	require.NoError(t, err)
	require.Equal(t, []string{"3000"}, rows)
	rows, err = get(ctx, c, "SELECT category, AVG(value) as avg_value FROM concurrent_test GROUP BY category ORDER BY 1")
	require.NoError(t, err)
	require.Equal(t, []string{"A|498", "B|499", "C|500", "D|501"}, rows)
	_, err = act(ctx, c, "query", "CREATE TABLE IF NOT EXISTS concurrent_test (batch_id BIGINT)")
	require.NoError(t, err)
}

func TestPutModes(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client("").Client, t.Context()
	b := sample(1, 10)
	defer b.Release()
	count := func(table string) string {
		rows, err := get(ctx, c, "SELECT count(*) FROM "+table)
		require.NoError(t, err)
		return rows[0]
	}
	_, err := put(ctx, c, command(`{"table": "events.raw", "mode": "append"}`), sampleSchema, b)
	refused(t, err, codes.NotFound, fault.NotFound)
	_, err = put(ctx, c, path("events", "raw"), sampleSchema, b, b)
	require.NoError(t, err)
	require.Equal(t, "20", count("events.raw"))
	_, err = put(ctx, c, path("events.raw"), sampleSchema, b)
	require.NoError(t, err)
	require.Equal(t, "30", count("events.raw"))
	_, err = put(ctx, c, command(`{"schema": "events", "table": "raw", "mode": "replace"}`), sampleSchema, b)
	require.NoError(t, err)
	require.Equal(t, "10", count("events.raw"))
	_, err = put(ctx, c, command(`{"table": "events.raw", "mode": "create"}`), sampleSchema, b)
	refused(t, err, codes.AlreadyExists, "")
	md := arrow.NewMetadata([]string{modeKey}, []string{"replace"})
	_, err = put(ctx, c, path("events.raw"), arrow.NewSchema(sampleSchema.Fields(), &md))
	require.NoError(t, err)
	require.Equal(t, "0", count("events.raw"), "without a batch the schema alone makes the table")

	for _, bad := range []*flight.FlightDescriptor{
		command("nonsense"), command(`{"table": "x", "mode": "sideways"}`), command(`{"tabel": "x"}`), command(`{}`), path(), path(""), path("a", "b", "c", "d"),
		path("x", ""), path("a\x00b"), path("_pintail.meta"), path("_pintail", "tables"), {Type: flight.DescriptorUNKNOWN}, {},
	} {
		_, err = put(ctx, c, bad, sampleSchema, b)
		require.Error(t, err, "%v", bad)
		require.Contains(t, []codes.Code{codes.InvalidArgument, codes.PermissionDenied}, codeOf(err), "%v: %v", bad, err)
	}
	_, err = put(ctx, c, path("m_dataset"), sampleSchema, b)
	require.Contains(t, refused(t, err, codes.PermissionDenied, fault.Forbidden), "m")
	_, err = put(ctx, c, path("events.raw"), arrow.NewSchema([]arrow.Field{{Name: "other", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil))
	refused(t, err, codes.InvalidArgument, fault.Usage)
}

func TestFlightsByPath(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	ctx := t.Context()
	list := func(c flight.Client, criteria string) (names []string) {
		stream, err := c.ListFlights(ctx, &flight.Criteria{Expression: []byte(criteria)})
		require.NoError(t, err)
		for {
			info, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return names
			}
			require.NoError(t, err)
			names = append(names, fmt.Sprint(info.FlightDescriptor.Path))
			rows, err := get(ctx, c, string(info.Endpoint[0].Ticket.Ticket))
			require.NoError(t, err)
			require.NotEmpty(t, rows)
		}
	}
	reader, admin := k.client("reader-reader").Client, k.client("admin-admin").Client
	require.Equal(t, []string{"[m_data]", "[m_dataset]"}, list(reader, ""))
	require.Equal(t, []string{"[shop orders]"}, list(admin, "shop.%"))
	require.Len(t, list(admin, ""), 5)

	for _, p := range [][]string{{"m_data"}, {"main", "m_data"}, {"main.m_data"}, {"pintail", "main", "m_data"}} {
		info, err := reader.GetFlightInfo(ctx, path(p...))
		require.NoError(t, err, "%q", p)
		schema, err := flight.DeserializeSchema(info.Schema, memory.DefaultAllocator)
		require.NoError(t, err)
		require.Equal(t, 2, schema.NumFields())
		rows, err := get(ctx, reader, string(info.Endpoint[0].Ticket.Ticket))
		require.NoError(t, err)
		require.Len(t, rows, 120)
		res, err := reader.GetSchema(ctx, path(p...))
		require.NoError(t, err)
		require.Equal(t, info.Schema, res.Schema)
	}
	info, err := reader.GetFlightInfo(ctx, command("SELECT 1 AS one"))
	require.NoError(t, err)
	_, rows, err := read(ctx, &flightsql.Client{Client: reader}, info)
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, rows)
	_, err = reader.GetFlightInfo(ctx, path("secret"))
	refused(t, err, codes.PermissionDenied, fault.Forbidden)
	_, err = reader.GetSchema(ctx, path("secret"))
	refused(t, err, codes.PermissionDenied, fault.Forbidden)
	for _, d := range []*flight.FlightDescriptor{{}, command(""), command("\xff\xfe"), path(), path("a", "b", "c", "d")} {
		_, err = reader.GetFlightInfo(ctx, d)
		require.Equal(t, codes.InvalidArgument, codeOf(err), "%v: %v", d, err)
		_, err = reader.GetSchema(ctx, d)
		require.Equal(t, codes.InvalidArgument, codeOf(err), "%v: %v", d, err)
	}
}

func TestQueryAction(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client("").Client, t.Context()
	results, err := act(ctx, c, "query", "SELECT id, word FROM big ORDER BY id")
	require.NoError(t, err)
	require.Greater(t, len(results), 1)
	n := int64(0)
	for _, body := range results {
		r, err := ipc.NewReader(bytes.NewReader(body))
		require.NoError(t, err)
		for r.Next() {
			n += r.RecordBatch().NumRows()
		}
		require.NoError(t, r.Err())
		r.Release()
	}
	require.EqualValues(t, 400000, n)
	results, err = act(ctx, c, "query", "SELECT 1 AS one WHERE false")
	require.NoError(t, err)
	require.Len(t, results, 1)
	r, err := ipc.NewReader(bytes.NewReader(results[0]))
	require.NoError(t, err)
	require.Equal(t, "one", r.Schema().Field(0).Name)
	r.Release()
	_, err = act(ctx, c, "query", "DELETE FROM big")
	refused(t, err, codes.PermissionDenied, fault.Forbidden)
	_, err = act(ctx, c, "query", "")
	refused(t, err, codes.InvalidArgument, fault.Usage)
	_, err = act(ctx, c, "healthcheck", "")
	refused(t, err, codes.InvalidArgument, "")
	stream, err := c.ListActions(ctx, &flight.Empty{})
	require.NoError(t, err)
	names := map[string]bool{}
	for {
		a, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.False(t, names[a.Type], "%s twice", a.Type)
		names[a.Type] = true
	}
	for _, want := range []string{"query", "CancelFlightInfo", "RenewFlightEndpoint", "CreatePreparedStatement", "CloseSession", "SetSessionOptions", "GetSessionOptions"} {
		require.True(t, names[want], want)
	}
}

// TestDDL makes and drops tables through each way in.
func TestDDL(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	ctx := t.Context()
	loader, reader := k.client("loader-loader"), k.client("reader-reader")
	n, err := loader.ExecuteUpdate(ctx, `CREATE TABLE events."the clicks" (id BIGINT NOT NULL, "at the" TIMESTAMP WITH TIME ZONE, amount DECIMAL(10, 2), tags VARCHAR[], s STRUCT(a INTEGER, b VARCHAR)); -- done`)
	require.NoError(t, err)
	require.Zero(t, n)
	info, err := loader.Execute(ctx, `SELECT * FROM events."the clicks"`)
	require.NoError(t, err)
	schema, err := flight.DeserializeSchema(info.Schema, memory.DefaultAllocator)
	require.NoError(t, err)
	require.Equal(t, []string{"id", "at the", "amount", "tags", "s"}, names(schema))
	_, err = loader.ExecuteUpdate(ctx, `CREATE TABLE events."the clicks" (id BIGINT)`)
	refused(t, err, codes.AlreadyExists, "")
	_, err = loader.ExecuteUpdate(ctx, `CREATE OR REPLACE TABLE events."the clicks" (id BIGINT)`)
	require.NoError(t, err)
	p, err := loader.Prepare(ctx, "drop /* it */ table events.\"the clicks\"")
	require.NoError(t, err)
	_, err = p.Execute(ctx)
	refused(t, err, codes.InvalidArgument, fault.Usage)
	_, err = p.ExecuteUpdate(ctx)
	require.NoError(t, err)
	require.NoError(t, p.Close(ctx))
	_, err = act(ctx, loader.Client, "query", `DROP TABLE events."the clicks"`)
	refused(t, err, codes.NotFound, fault.NotFound)
	_, err = act(ctx, loader.Client, "query", `DROP TABLE IF EXISTS events."the clicks"`)
	require.NoError(t, err)

	_, err = reader.ExecuteUpdate(ctx, `CREATE TABLE events.x (id BIGINT)`)
	refused(t, err, codes.PermissionDenied, fault.Forbidden)
	_, err = reader.ExecuteUpdate(ctx, `INSERT INTO m_dataset VALUES (1)`)
	require.Contains(t, refused(t, err, codes.PermissionDenied, fault.Forbidden), "only SELECT")
	_, err = reader.ExecuteUpdate(ctx, `SELECT 1`)
	refused(t, err, codes.InvalidArgument, fault.Usage)
	_, err = loader.ExecuteUpdate(ctx, `DROP TABLE m_dataset`)
	require.Error(t, err)
	for _, bad := range []string{
		"CREATE TABLE", "CREATE TABLE x", "CREATE TABLE x ()", "CREATE TABLE x (a)", "CREATE TABLE x (a BIGINT", "CREATE TABLE x (a BIGINT) AS SELECT 1", "CREATE TABLE x AS SELECT 1",
		"CREATE TABLE x (a BIGINT PRIMARY KEY)", "CREATE TABLE x (a BIGINT DEFAULT 1)", "CREATE TABLE x (a NOTYPE)", "CREATE TABLE x (a BIGINT); DROP TABLE x", "CREATE TABLE x (a BIGINT), (b BIGINT)",
		"CREATE OR REPLACE TABLE IF NOT EXISTS x (a BIGINT)", "DROP TABLE", "DROP TABLE x, y", "DROP TABLE x CASCADE", "CREATE TABLE \"x (a BIGINT)", "CREATE TABLE x (a BIGINT + 1)",
		"CREATE TABLE x (a BIGINT) WHERE", "CREATE TABLE events.x (a BIGINT) FROM secret", "CREATE TEMP TABLE x (a BIGINT)", "CREATE TABLE events.x (a x((SELECT 1)))",
	} {
		_, err = loader.ExecuteUpdate(ctx, bad)
		require.Error(t, err, bad)
		require.Contains(t, []codes.Code{codes.InvalidArgument, codes.PermissionDenied}, codeOf(err), "%s: %v", bad, err)
	}
}

func names(s *arrow.Schema) (out []string) {
	for _, f := range s.Fields() {
		out = append(out, f.Name)
	}
	return out
}

func TestBulkIngest(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client(""), t.Context()
	ingestAs := func(o *flightsql.ExecuteIngestOpts) (int64, error) {
		b := sample(1, 100)
		defer b.Release()
		r, err := array.NewRecordReader(sampleSchema, []arrow.RecordBatch{b, b})
		require.NoError(t, err)
		defer r.Release()
		return c.ExecuteIngest(ctx, r, o)
	}
	options := func(missing flightsql.TableDefinitionOptionsTableNotExistOption, present flightsql.TableDefinitionOptionsTableExistsOption) *flightsql.TableDefinitionOptions {
		return &flightsql.TableDefinitionOptions{IfNotExist: missing, IfExists: present}
	}
	create, refuse := flightsql.TableDefinitionOptionsTableNotExistOptionCreate, flightsql.TableDefinitionOptionsTableNotExistOptionFail
	fail, add, replace := flightsql.TableDefinitionOptionsTableExistsOptionFail, flightsql.TableDefinitionOptionsTableExistsOptionAppend, flightsql.TableDefinitionOptionsTableExistsOptionReplace
	schema, catalog, other := "events", "pintail", "elsewhere"

	_, err := ingestAs(&flightsql.ExecuteIngestOpts{Table: "t", TableDefinitionOptions: options(refuse, add)})
	refused(t, err, codes.NotFound, fault.NotFound)
	n, err := ingestAs(&flightsql.ExecuteIngestOpts{Table: "t", TableDefinitionOptions: options(create, fail)})
	require.NoError(t, err)
	require.EqualValues(t, 200, n)
	_, err = ingestAs(&flightsql.ExecuteIngestOpts{Table: "t", TableDefinitionOptions: options(create, fail)})
	refused(t, err, codes.AlreadyExists, "")
	_, err = ingestAs(&flightsql.ExecuteIngestOpts{Table: "t", TableDefinitionOptions: options(create, add)})
	require.NoError(t, err)
	rows, err := runQuery(ctx, c, "SELECT count(*) FROM t")
	require.NoError(t, err)
	require.Equal(t, []string{"400"}, rows)
	_, err = ingestAs(&flightsql.ExecuteIngestOpts{Table: "t", TableDefinitionOptions: options(create, replace)})
	require.NoError(t, err)
	rows, err = runQuery(ctx, c, "SELECT count(*) FROM t")
	require.NoError(t, err)
	require.Equal(t, []string{"200"}, rows)
	_, err = ingestAs(&flightsql.ExecuteIngestOpts{Table: "t", Schema: &schema, Catalog: &catalog, TableDefinitionOptions: options(create, fail)})
	require.NoError(t, err)
	_, err = ingestAs(&flightsql.ExecuteIngestOpts{Table: "t2", Catalog: &other, TableDefinitionOptions: options(create, fail)})
	refused(t, err, codes.PermissionDenied, fault.Forbidden)
	_, err = ingestAs(&flightsql.ExecuteIngestOpts{Table: "t2", Temporary: true, TableDefinitionOptions: options(create, fail)})
	refused(t, err, codes.InvalidArgument, fault.Usage)
	_, err = ingestAs(&flightsql.ExecuteIngestOpts{Table: "t2", TableDefinitionOptions: options(refuse, fail)})
	refused(t, err, codes.InvalidArgument, fault.Usage)
}

// TestWritersAndReaders: nothing is lost, and nobody sees a part of a put.
func TestWritersAndReaders(t *testing.T) {
	const writers, readers, puts, rowsOfPut = 8, 8, 15, 500
	k := newKit(t, kitOptions{})
	ctx := t.Context()
	setup := k.client("").Client
	_, err := put(ctx, setup, path("events.raw"), sampleSchema)
	require.NoError(t, err)
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	errs := make(chan error, writers+readers)
	for w := range writers {
		c := k.client("").Client
		writing.Go(func() {
			for i := range puts {
				b := sample(int64(w*puts+i), rowsOfPut)
				_, err := put(ctx, c, path("events.raw"), sampleSchema, b)
				b.Release()
				if err != nil {
					errs <- fmt.Errorf("writer %d: %w", w, err)
					return
				}
			}
		})
	}
	for r := range readers {
		c := k.client("")
		reading.Go(func() {
			for {
				rows, err := runQuery(ctx, c, fmt.Sprintf("SELECT batch_id, count(*) FROM events.raw GROUP BY 1 HAVING count(*) <> %d", rowsOfPut))
				if err != nil || len(rows) > 0 {
					errs <- fmt.Errorf("reader %d: %q, %w", r, rows, err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	rows, err := get(ctx, setup, "SELECT count(*), count(DISTINCT batch_id) FROM events.raw")
	require.NoError(t, err)
	require.Equal(t, []string{fmt.Sprintf("%d|%d", writers*puts*rowsOfPut, writers*puts)}, rows)
}
