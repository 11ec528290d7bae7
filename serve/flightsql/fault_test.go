package flightsql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/store"

	"github.com/apache/arrow-go/v18/arrow/array"
)

// alive checks that the server has survived.
func (k *kit) alive() {
	k.t.Helper()
	rows, err := runQuery(context.Background(), k.client(""), "SELECT 42")
	require.NoError(k.t, err)
	require.Equal(k.t, []string{"42"}, rows)
}

// idle waits until nothing runs any more.
func (k *kit) idle() {
	k.t.Helper()
	eventually(k.t, "statements run on", func() bool { return len(k.core.List()) == 0 })
}

func packed(t *testing.T, m proto.Message) []byte {
	t.Helper()
	var a anypb.Any
	require.NoError(t, a.MarshalFrom(m))
	b, err := proto.Marshal(&a)
	require.NoError(t, err)
	return b
}

func TestBadPuts(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client("").Client, t.Context()
	send := func(messages ...*flight.FlightData) error {
		stream, err := c.DoPut(ctx)
		require.NoError(t, err)
		for _, m := range messages {
			_ = stream.Send(m) // the server may have answered
		}
		require.NoError(t, stream.CloseSend())
		for err == nil { // bulk ingest sends a count before its error
			_, err = stream.Recv()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	var schema flight.FlightData
	w := flight.NewRecordWriter(writerFunc(func(d *flight.FlightData) error { schema.DataHeader = append([]byte(nil), d.DataHeader...); return nil }), ipc.WithSchema(sampleSchema))
	require.NoError(t, w.Close())
	with := func(d *flight.FlightDescriptor, header, body []byte) *flight.FlightData {
		return &flight.FlightData{FlightDescriptor: d, DataHeader: header, DataBody: body}
	}
	for what, messages := range map[string][]*flight.FlightData{
		"nothing":                      {},
		"no descriptor":                {{}},
		"a schema without descriptor":  {with(nil, schema.DataHeader, nil)},
		"a descriptor alone":           {with(path("events.raw"), nil, nil)},
		"a schema that is none":        {with(path("events.raw"), []byte("nonsense"), nil)},
		"a schema that is cut off":     {with(path("events.raw"), schema.DataHeader[:len(schema.DataHeader)/2], nil)},
		"the schema twice":             {with(path("events.raw"), schema.DataHeader, nil), with(nil, schema.DataHeader, nil)},
		"a batch that is none":         {with(path("events.raw"), schema.DataHeader, nil), with(nil, []byte("nonsense"), []byte("more"))},
		"an unknown command of SQL":    {with(command("\n"+string(rune(len(sqlCommandPrefix+"Nothing")))+sqlCommandPrefix+"Nothing"), nil, nil)},
		"a query where there are rows": {with(command(string(packed(t, &pb.CommandStatementQuery{Query: "SELECT 1"}))), schema.DataHeader, nil)},
		"an unknown handle":            {with(command(string(packed(t, &pb.CommandPreparedStatementQuery{PreparedStatementHandle: []byte("p1")}))), schema.DataHeader, nil)},
		"an ingest without a schema":   {with(command(string(packed(t, &pb.CommandStatementIngest{Table: "x"}))), nil, nil)},
		"an ingest without a table":    {with(command(string(packed(t, &pb.CommandStatementIngest{}))), schema.DataHeader, nil)},
	} {
		err := send(messages...)
		require.Error(t, err, what)
		require.Contains(t, []codes.Code{codes.InvalidArgument, codes.NotFound}, codeOf(err), "%s: %v", what, err)
		k.alive()
	}
	k.idle()
	_, err := get(ctx, c, "SELECT * FROM events.raw")
	require.Error(t, err, "nothing was made of it")
}

type writerFunc func(*flight.FlightData) error

func (f writerFunc) Send(d *flight.FlightData) error { return f(d) }

func TestBadTicketsAndCommands(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client("").Client, t.Context()
	for _, ticket := range [][]byte{nil, []byte("  "), []byte("\xff\xfe\x00"), packed(t, &pb.TicketStatementQuery{StatementHandle: []byte("q00")}), packed(t, &pb.TicketStatementQuery{}),
		packed(t, &pb.CommandPreparedStatementQuery{PreparedStatementHandle: []byte("x")}), packed(t, &pb.CommandStatementUpdate{Query: "x"}), packed(t, &pb.ActionBeginTransactionRequest{})} {
		stream, err := c.DoGet(ctx, &flight.Ticket{Ticket: ticket})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.Contains(t, []codes.Code{codes.InvalidArgument, codes.NotFound}, codeOf(err), "%q: %v", ticket, err)
	}
	_, err := c.GetFlightInfo(ctx, command(string(packed(t, &pb.TicketStatementQuery{}))))
	require.Equal(t, codes.InvalidArgument, codeOf(err))
	_, err = c.GetSchema(ctx, command(string(packed(t, &pb.TicketStatementQuery{}))))
	require.Equal(t, codes.InvalidArgument, codeOf(err))
	for _, kind := range []string{"CancelFlightInfo", "RenewFlightEndpoint", "CreatePreparedStatement", "ClosePreparedStatement", "BeginTransaction", "EndTransaction", "BeginSavepoint", "EndSavepoint", "CancelQuery", "SetSessionOptions"} {
		_, err = act(ctx, c, kind, "\xff\xff\xff nonsense")
		require.Equal(t, codes.InvalidArgument, codeOf(err), "%s: %v", kind, err)
	}
	_, err = act(ctx, c, "BeginSavepoint", string(packed(t, &pb.ActionBeginSavepointRequest{})))
	require.Equal(t, codes.Unimplemented, codeOf(err))
	ex, err := c.DoExchange(ctx)
	require.NoError(t, err)
	_, err = ex.Recv()
	require.Equal(t, codes.Unimplemented, codeOf(err))
	k.alive()
}

// TestPanics: whatever breaks, breaks one call.
func TestPanics(t *testing.T) {
	k := newKit(t, kitOptions{users: true, server: func(o *Options) { o.Ingest = panics{}; o.Catalog = panics{o.Catalog} }})
	admin, reader := k.client("admin-admin"), k.client("reader-reader")
	_, err := put(t.Context(), admin.Client, path("x"), sampleSchema)
	refused(t, err, codes.Internal, fault.Internal)
	info, err := reader.GetTables(t.Context(), &flightsql.GetTablesOpts{})
	require.NoError(t, err)
	_, _, err = read(t.Context(), reader, info)
	require.Contains(t, refused(t, err, codes.Internal, fault.Internal), "internal error; the server's log has it under call")
	require.NotContains(t, err.Error(), "broken")
	k.log.Wait(t, "flight call panicked", "broken")
	rows, err := runQuery(t.Context(), reader, "SELECT 42")
	require.NoError(t, err)
	require.Equal(t, []string{"42"}, rows)
}

type panics struct{ Catalog }

func (panics) Ingest(context.Context, access.Principal, ingest.Target, array.RecordReader) (int64, error) {
	panic("broken")
}
func (panics) Create(context.Context, access.Principal, ingest.Target, []store.PutColumn) error {
	panic("broken")
}
func (panics) Drop(context.Context, access.Principal, ingest.Target) error { panic("broken") }
func (panics) Tables(context.Context, access.Principal) ([]Table, error)   { panic("broken") }
func (panics) Columns(context.Context, []Table) ([]*arrow.Schema, error)   { panic("broken") }

func TestLargeMessages(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client(""), t.Context()
	// Results come in messages that every client takes.
	rows, err := runQuery(ctx, c, "SELECT repeat('x', 1000) || i FROM range(20000) r(i)")
	require.NoError(t, err)
	require.Len(t, rows, 20000)
	// A statement that is too long, and a message that is larger than the server takes.
	_, err = c.Execute(ctx, "SELECT '"+strings.Repeat("x", 2<<20)+"'")
	require.Equal(t, codes.InvalidArgument, codeOf(err))
	_, err = get(ctx, c.Client, "SELECT '"+strings.Repeat("x", messageBytesMax)+"'")
	require.Equal(t, codes.ResourceExhausted, codeOf(err), "%v", err)
	k.alive()
}

// TestVanishedClients: what they asked for ends.
func TestVanishedClients(t *testing.T) {
	k := newKit(t, kitOptions{leaky: true})
	before := goleak.IgnoreCurrent()
	for i := range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		c, err := flightsql.NewClient(k.srv.Addr().String(), nil, nil, insecureCreds())
		require.NoError(t, err)
		stream, err := c.Client.DoGet(ctx, &flight.Ticket{Ticket: []byte("SELECT a.id, a.word FROM big a, big b")})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		require.NotEmpty(t, k.core.List())
		if i%2 == 0 {
			cancel()
		}
		require.NoError(t, c.Client.Close())
		cancel()
		k.idle()
	}
	// A put whose client goes in the midst leaves nothing.
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := k.client("").Client.DoPut(ctx)
	require.NoError(t, err)
	w := flight.NewRecordWriter(stream, ipc.WithSchema(sampleSchema))
	w.SetFlightDescriptor(path("events.raw"))
	b := sample(1, 1000)
	require.NoError(t, w.Write(b))
	b.Release()
	cancel()
	k.log.Wait(t, "method=DoPut", "code=Canceled")
	_, err = get(t.Context(), k.client("").Client, "SELECT * FROM events.raw")
	require.Error(t, err)
	require.NoError(t, k.stop())
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("google.golang.org/grpc/internal/transport.(*http2Client).reader"),
		goleak.IgnoreAnyFunction("google.golang.org/grpc/internal/grpcsync.(*CallbackSerializer).run"), goleak.IgnoreAnyFunction("google.golang.org/grpc/internal/transport.(*controlBuffer).get"))
}

// TestStalledClients: one that takes nothing is left after some time, and does not pile anything up before.
func TestStalledClients(t *testing.T) {
	k := newKit(t, kitOptions{leaky: true, change: func(s *Server) { s.stallTimeout = 300 * time.Millisecond }})
	c := k.client("", grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	stream, err := c.Client.DoGet(t.Context(), &flight.Ticket{Ticket: []byte("SELECT a.id, a.word FROM big a, big b")})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	k.log.Wait(t, "method=DoGet", "code=ResourceExhausted")
	k.idle()
	put, err := c.Client.DoPut(t.Context())
	require.NoError(t, err)
	_, err = put.Recv()
	require.Contains(t, refused(t, err, codes.ResourceExhausted, fault.Limit), "did not send")
	k.alive()
}

func TestCancel(t *testing.T) {
	k := newKit(t, kitOptions{leaky: true})
	c, ctx := k.client(""), t.Context()
	long := "SELECT count(*) FROM big a, big b WHERE a.id + b.id < 0"
	for _, how := range []string{"CancelFlightInfo", "CancelQuery"} {
		info, err := c.Execute(ctx, long)
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { _, _, err := read(ctx, c, info); ended <- err }()
		eventually(t, "it runs", func() bool { return len(k.core.List()) == 1 })
		if how == "CancelQuery" {
			res, err := c.CancelQuery(ctx, info) //nolint:staticcheck // Clients still send it.
			require.NoError(t, err)
			require.Equal(t, flightsql.CancelResultCancelled, res)
		} else {
			res, err := c.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info})
			require.NoError(t, err)
			require.Equal(t, flight.CancelStatusCancelled, res.Status)
		}
		refused(t, <-ended, codes.Canceled, fault.Cancelled)
		k.idle()
		_, err = c.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info})
		refused(t, err, codes.NotFound, fault.NotFound)
	}
	// One that sends to a client that takes nothing.
	info, err := c.Execute(ctx, "SELECT a.id, a.word FROM big a, big b")
	require.NoError(t, err)
	stream, err := c.Client.DoGet(ctx, info.Endpoint[0].Ticket)
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	res, err := c.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info})
	require.NoError(t, err)
	require.Contains(t, []flight.CancelStatus{flight.CancelStatusCancelled, flight.CancelStatusCancelling}, res.Status)
	// Before it was read at all.
	info, err = c.Execute(ctx, long)
	require.NoError(t, err)
	_, err = c.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info})
	require.NoError(t, err)
	_, _, err = read(ctx, c, info)
	refused(t, err, codes.NotFound, fault.NotFound)
	// What is no query.
	info, err = c.GetCatalogs(ctx)
	require.NoError(t, err)
	res, err = c.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info})
	require.NoError(t, err)
	require.Equal(t, flight.CancelStatusNotCancellable, res.Status)
}

func TestHandlesExpire(t *testing.T) {
	now := time.Now()
	k := newKit(t, kitOptions{change: func(s *Server) { s.handles.now = func() time.Time { return now } }})
	c, ctx := k.client(""), t.Context()
	later := func(d time.Duration) { k.srv.handles.mu.Lock(); now = now.Add(d); k.srv.handles.mu.Unlock() }
	info, err := c.Execute(ctx, "SELECT 1")
	require.NoError(t, err)
	p, err := c.Prepare(ctx, "SELECT 1")
	require.NoError(t, err)
	later(planLife - time.Second)
	ep, err := c.RenewFlightEndpoint(ctx, &flight.RenewFlightEndpointRequest{Endpoint: info.Endpoint[0]})
	require.NoError(t, err)
	require.Equal(t, info.Endpoint[0].Ticket.Ticket, ep.Ticket.Ticket)
	later(planLife - time.Second)
	for range 2 { // one that was renewed may be read again
		_, rows, err := read(ctx, c, info)
		require.NoError(t, err)
		require.Equal(t, []string{"1"}, rows)
	}
	later(planLife + time.Second)
	_, _, err = read(ctx, c, info)
	refused(t, err, codes.NotFound, fault.NotFound)
	_, err = p.Execute(ctx)
	require.NoError(t, err)
	later(preparedLife + time.Second)
	_, err = p.Execute(ctx)
	refused(t, err, codes.NotFound, fault.NotFound)
	require.Equal(t, 2, k.srv.handles.len())
	k.srv.handles.sweep(now)
	require.Zero(t, k.srv.handles.len())
	require.NoError(t, p.Close(ctx), "what has ended is closed")

	for range handlesUserMax {
		_, err = c.Execute(ctx, "SELECT 1")
		require.NoError(t, err)
	}
	_, err = c.Execute(ctx, "SELECT 1")
	refused(t, err, codes.ResourceExhausted, fault.Limit)
	n, err := testutil.GatherAndCount(k.registry, "pintail_flight_handles", "pintail_flight_calls_total")
	require.NoError(t, err)
	require.Greater(t, n, 1)
}

func TestSessions(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, other, ctx := k.client(""), k.client(""), t.Context()
	set := func(options map[string]any) map[string]*flight.SetSessionOptionsResultError {
		values, err := flight.NewSessionOptionValues(options)
		require.NoError(t, err)
		res, err := c.SetSessionOptions(ctx, &flight.SetSessionOptionsRequest{SessionOptions: values})
		require.NoError(t, err)
		return res.Errors
	}
	hour := "SELECT date_part('hour', TIMESTAMPTZ '2026-01-01 00:00:00+00')"
	require.Empty(t, set(map[string]any{"time_zone": "Asia/Tokyo", "catalog": "pintail", "schema": "main"}))
	rows, err := runQuery(ctx, c, hour)
	require.NoError(t, err)
	require.Equal(t, []string{"9"}, rows)
	rows, err = runQuery(ctx, other, hour)
	require.NoError(t, err)
	require.Equal(t, []string{"0"}, rows, "another connection is another session")
	got, err := c.GetSessionOptions(ctx, &flight.GetSessionOptionsRequest{})
	require.NoError(t, err)
	require.Equal(t, "Asia/Tokyo", got.SessionOptions["time_zone"].GetStringValue())
	require.Equal(t, "pintail", got.SessionOptions["catalog"].GetStringValue())

	errs := set(map[string]any{"time_zone": "Nowhere", "catalog": "other", "schema": "shop", "speed": "high"})
	require.Len(t, errs, 4)
	require.Equal(t, flight.SetSessionOptionsResultErrorInvalidName, errs["speed"].Value)
	require.Equal(t, flight.SetSessionOptionsResultErrorInvalidValue, errs["time_zone"].Value)
	require.Len(t, set(map[string]any{"time_zone": int64(7)}), 1)
	rows, err = runQuery(ctx, c, hour)
	require.NoError(t, err)
	require.Equal(t, []string{"9"}, rows, "the former stays")
	closed, err := c.CloseSession(ctx, &flight.CloseSessionRequest{})
	require.NoError(t, err)
	require.Equal(t, flight.CloseSessionResultClosed, closed.Status)
	rows, err = runQuery(ctx, c, hour)
	require.NoError(t, err)
	require.Equal(t, []string{"0"}, rows)
}

func TestTransactions(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client(""), t.Context()
	tx, err := c.BeginTransaction(ctx)
	require.NoError(t, err)
	info, err := tx.Execute(ctx, "SELECT 1")
	require.NoError(t, err)
	_, rows, err := read(ctx, c, info)
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, rows)
	p, err := tx.Prepare(ctx, "SELECT 1")
	require.NoError(t, err)
	require.NoError(t, p.Close(ctx))
	require.NoError(t, tx.Rollback(ctx))
	_, err = tx.Execute(ctx, "SELECT 1")
	require.Error(t, err)
	tx, err = c.BeginTransaction(ctx)
	require.NoError(t, err)
	require.NoError(t, tx.Commit(ctx))

	tx, err = c.BeginTransaction(ctx)
	require.NoError(t, err)
	_, err = put(ctx, c.Client, path("events.raw"), sampleSchema)
	require.NoError(t, err)
	require.Contains(t, refused(t, tx.Rollback(ctx), codes.PermissionDenied, fault.Forbidden), "they stay")
	_, err = c.ExecuteIngest(ctx, fewRows(t), &flightsql.ExecuteIngestOpts{Table: "x", TransactionId: []byte("t00"), TableDefinitionOptions: &flightsql.TableDefinitionOptions{}})
	refused(t, err, codes.NotFound, fault.NotFound)
	require.Zero(t, k.srv.handles.len())
}

func fewRows(t *testing.T) array.RecordReader {
	b := sample(1, 3)
	defer b.Release()
	r, err := array.NewRecordReader(sampleSchema, []arrow.RecordBatch{b})
	require.NoError(t, err)
	t.Cleanup(r.Release)
	return r
}

func TestPoll(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, ctx := k.client(""), t.Context()
	polled, err := c.ExecutePoll(ctx, "SELECT 7", nil)
	require.NoError(t, err)
	require.Nil(t, polled.FlightDescriptor, "it is done")
	require.EqualValues(t, 1, polled.GetProgress())
	_, rows, err := read(ctx, c, polled.Info)
	require.NoError(t, err)
	require.Equal(t, []string{"7"}, rows)
	p, err := c.Prepare(ctx, "SELECT 8")
	require.NoError(t, err)
	polled, err = p.ExecutePoll(ctx, nil)
	require.NoError(t, err)
	_, rows, err = read(ctx, c, polled.Info)
	require.NoError(t, err)
	require.Equal(t, []string{"8"}, rows)
	require.NoError(t, p.Close(ctx))
	_, err = c.ExecutePoll(ctx, "SELEC", nil)
	refused(t, err, codes.InvalidArgument, fault.InvalidSQL)
	_, err = c.Client.PollFlightInfo(ctx, path("m_data"))
	require.NoError(t, err)
}

// TestStop: what runs may end, what is new is refused, what does not end is cut off.
func TestStop(t *testing.T) {
	k := newKit(t, kitOptions{leaky: true, server: func(o *Options) { o.Drain = 500 * time.Millisecond }})
	ctx := t.Context()
	long := k.client("")
	info, err := long.Execute(ctx, "SELECT count(*) FROM big a, big b WHERE a.id + b.id < 0")
	require.NoError(t, err)
	stuck, err := k.client("").Client.DoGet(ctx, &flight.Ticket{Ticket: []byte("SELECT a.id, a.word FROM big a, big b")})
	require.NoError(t, err)
	_, err = stuck.Recv()
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { _, _, err := read(ctx, long, info); ended <- err }()
	eventually(t, "both run", func() bool { return len(k.core.List()) == 2 })
	begun := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- k.stop() }()
	eventually(t, "it stops", k.srv.stopping.Load)
	_, err = k.client("").Execute(ctx, "SELECT 1")
	require.Equal(t, codes.Unavailable, codeOf(err))
	require.Equal(t, codes.Unavailable, codeOf(<-ended))
	require.NoError(t, <-stopped)
	require.Less(t, time.Since(begun), 4*time.Second)
	require.Empty(t, k.core.List())
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	k := newKit(t, kitOptions{})
	o := k.srv.opts
	o.Listen, o.Registerer = l.Addr().String(), nil
	s, err := New(o)
	require.NoError(t, err)
	require.Nil(t, s.Addr())
	err = s.Run(t.Context())
	require.Equal(t, fault.Config, fault.CodeOf(err))
	require.Contains(t, err.Error(), fmt.Sprint(l.Addr()))
	_, err = New(Options{})
	require.Error(t, err)
}

// FuzzTickets: no ticket, command or body ends the process.
func FuzzTickets(f *testing.F) {
	k := newKit(f, kitOptions{})
	c := k.client("").Client
	for _, seed := range []string{"SELECT 1", "CREATE TABLE x (a BIGINT", "\n\x05abc", "DROP TABLE \"", "/* /* */ SELECT", "--", "create/**/table\"\"(", "\x00", "{\"table\":1}"} {
		f.Add([]byte(seed))
	}
	a := anypb.Any{TypeUrl: sqlCommandPrefix + "TicketStatementQuery", Value: []byte{0xff}}
	b, err := proto.Marshal(&a)
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for _, err := range []error{
			func() error { s, _ := c.DoGet(ctx, &flight.Ticket{Ticket: b}); _, err := s.Recv(); return err }(),
			func() error { _, err := c.GetFlightInfo(ctx, command(string(b))); return err }(),
			func() error {
				_, err := c.GetSchema(ctx, &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{strings.ToValidUTF8(string(b), "?")}})
				return err
			}(),
			func() error { _, err := act(ctx, c, "query", string(b)); return err }(),
		} {
			if code := codeOf(err); code == codes.Internal || code == codes.Unknown && err != nil {
				t.Errorf("%q: %v", b, err)
			}
		}
	})
}
