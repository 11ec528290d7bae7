package flightsql

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query/ingest"
)

// door tells commands of Flight SQL from plain Flight.
type door struct {
	flight.BaseFlightServer
	*Server
	commands *sqlServer
	sql      flight.FlightServer // sends them to their methods
}

func newDoor(s *Server) (*door, error) {
	srv := &sqlServer{Server: s}
	srv.Alloc = s.opts.Allocator
	if err := srv.registerInfos(); err != nil {
		return nil, err
	}
	return &door{Server: s, commands: srv, sql: flightsql.NewFlightServerWithAllocator(srv, s.opts.Allocator)}, nil
}

const sqlCommandPrefix = "type.googleapis.com/arrow.flight.protocol.sql."

// sqlCommand is a command or ticket of Flight SQL; nil for anything else.
func sqlCommand(b []byte) proto.Message {
	var cmd anypb.Any
	if err := proto.Unmarshal(b, &cmd); err != nil || !strings.HasPrefix(cmd.TypeUrl, sqlCommandPrefix) {
		return nil
	}
	m, err := cmd.UnmarshalNew()
	if err != nil {
		return nil
	}
	return m
}

func sqlText(b []byte, what string) (string, error) {
	if !utf8.Valid(b) || strings.TrimSpace(string(b)) == "" {
		return "", fault.New(fault.Usage, "send a SELECT as UTF-8 text, or a command of Flight SQL", "the %s is neither SQL text nor a command of Flight SQL", what)
	}
	return string(b), nil
}

// Handshake trades user and password for a token.
func (d *door) Handshake(stream flight.FlightService_HandshakeServer) error {
	return callOf(stream.Context()).handshake(stream.Context(), stream)
}

// descriptorSQL is the query that a plain descriptor stands for: SELECT * of a path's table, or the command's text.
func (d *door) descriptorSQL(desc *flight.FlightDescriptor) (string, error) {
	switch desc.GetType() {
	case flight.DescriptorPATH:
		t, err := pathTable(desc.GetPath())
		if err != nil {
			return "", err
		}
		name := Table{Schema: t.Schema, Name: t.Table}.sql()
		if t.Catalog != "" {
			name = quote(t.Catalog) + "." + name
		}
		return "SELECT * FROM " + name, nil
	case flight.DescriptorCMD:
		return sqlText(desc.GetCmd(), "descriptor's command")
	}
	return "", fault.New(fault.Usage, "a path is a table, a command is SQL text", "the descriptor has neither a path nor a command")
}

// GetFlightInfo plans a query; it runs nothing.
func (d *door) GetFlightInfo(ctx context.Context, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	if sqlCommand(desc.GetCmd()) != nil {
		return d.sql.GetFlightInfo(ctx, desc)
	}
	sql, err := d.descriptorSQL(desc)
	if err != nil {
		return nil, err
	}
	if desc.GetType() == flight.DescriptorPATH {
		// Its ticket is the text, which any connection may use at any time.
		st, err := prepare(ctx, d.opts.Core, whoOf(ctx), sessionOf(ctx).settings(), sql)
		if err != nil {
			return nil, err
		}
		return d.info(desc, st.schema, []byte(sql)), nil
	}
	return d.plan(ctx, sql, desc)
}

// PollFlightInfo is done at once.
func (d *door) PollFlightInfo(ctx context.Context, desc *flight.FlightDescriptor) (*flight.PollInfo, error) {
	switch sqlCommand(desc.GetCmd()).(type) {
	case *pb.CommandStatementQuery, *pb.CommandPreparedStatementQuery:
		return d.sql.PollFlightInfo(ctx, desc)
	}
	info, err := d.GetFlightInfo(ctx, desc)
	return polled(info, planLife), err
}

// GetSchema says what columns a query gives.
func (d *door) GetSchema(ctx context.Context, desc *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	if sqlCommand(desc.GetCmd()) != nil {
		return d.sql.GetSchema(ctx, desc)
	}
	sql, err := d.descriptorSQL(desc)
	if err != nil {
		return nil, err
	}
	return d.schemaOf(ctx, sql)
}

// ListFlights lists the tables that the caller may read, those whose names match the criteria, a pattern of LIKE.
func (d *door) ListFlights(criteria *flight.Criteria, stream flight.FlightService_ListFlightsServer) error {
	ctx := stream.Context()
	tables, err := d.opts.Catalog.Tables(ctx, whoOf(ctx))
	if err != nil {
		return err
	}
	var pattern *string
	if e := criteria.GetExpression(); len(e) > 0 {
		text := string(e)
		pattern = &text
	}
	columns, err := d.opts.Catalog.Columns(ctx, tables)
	if err != nil {
		return err
	}
	for i, t := range tables {
		path := []string{t.Schema, t.Name}
		if t.Schema == mainSchema {
			path = path[1:]
		}
		if columns[i] == nil || !like(pattern, strings.Join(path, ".")) {
			continue
		}
		desc := &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: path}
		if err := stream.Send(d.info(desc, columns[i], []byte("SELECT * FROM "+t.sql()))); err != nil {
			return err
		}
	}
	return nil
}

// DoGet runs a query and streams its rows.
func (d *door) DoGet(ticket *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	ctx := stream.Context()
	switch cmd := sqlCommand(ticket.GetTicket()).(type) {
	case nil:
		sql, err := sqlText(ticket.GetTicket(), "ticket")
		if err != nil {
			return err
		}
		st, err := prepare(ctx, d.opts.Core, whoOf(ctx), sessionOf(ctx).settings(), sql)
		if err != nil {
			return err
		}
		return ctxError(ctx, d.send(ctx, st, nil, stream))
	case *pb.TicketStatementQuery:
		e, err := d.handles.get(whoOf(ctx), cmd.StatementHandle, kindPlan)
		if err != nil {
			return err
		}
		return d.sendHandle(ctx, e, stream)
	case *pb.CommandPreparedStatementQuery:
		e, err := d.commands.readable(ctx, cmd)
		if err != nil {
			return err
		}
		return d.sendHandle(ctx, e, stream)
	}
	return d.sql.DoGet(ticket, stream)
}

// DoPut takes rows: of Flight SQL's commands, or of a descriptor that names the table.
func (d *door) DoPut(stream flight.FlightService_DoPutServer) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return fault.New(fault.Usage, "send the descriptor and the schema first", "the client sent nothing")
	}
	if err != nil {
		return err
	}
	if first.GetFlightDescriptor() == nil {
		return fault.New(fault.Usage, "its path is the table, its command one of Flight SQL or JSON", "the first message has no descriptor")
	}
	replay := &replayed{FlightService_DoPutServer: stream, first: first}
	if sqlCommand(first.GetFlightDescriptor().GetCmd()) != nil {
		return d.sql.DoPut(replay)
	}
	return d.put(stream.Context(), replay)
}

// replayed gives a message that was read already once more.
type replayed struct {
	flight.FlightService_DoPutServer
	first *flight.FlightData
}

func (r *replayed) Recv() (*flight.FlightData, error) {
	if m := r.first; m != nil {
		r.first = nil
		return m, nil
	}
	return r.FlightService_DoPutServer.Recv()
}

// queryAction is an action whose body is SQL text.
const queryAction = "query"

// ListActions lists them.
func (d *door) ListActions(in *flight.Empty, stream flight.FlightService_ListActionsServer) error {
	for _, a := range []*flight.ActionType{
		{Type: queryAction, Description: "Run the body, SQL text: a SELECT, whose rows come as Arrow IPC streams, one a result; or CREATE TABLE, DROP TABLE."},
		{Type: flight.SetSessionOptionsActionType, Description: "Set time_zone for the connection."},
		{Type: flight.GetSessionOptionsActionType},
		{Type: flight.CloseSessionActionType},
	} {
		if err := stream.Send(a); err != nil {
			return err
		}
	}
	return d.sql.ListActions(in, stream)
}

// DoAction runs one.
func (d *door) DoAction(a *flight.Action, stream flight.FlightService_DoActionServer) error {
	if a.GetType() != queryAction {
		return d.sql.DoAction(a, stream)
	}
	ctx := stream.Context()
	sql, err := sqlText(a.GetBody(), "action's body")
	if err != nil {
		return err
	}
	if ingest.IsDDL(sql) {
		return d.ddl(ctx, sql)
	}
	st, err := prepare(ctx, d.opts.Core, whoOf(ctx), sessionOf(ctx).settings(), sql)
	if err != nil {
		return err
	}
	sent := false
	var last *arrow.Schema
	err = d.sendOne(ctx, st, nil, func(schema *arrow.Schema, b arrow.RecordBatch) error {
		if last = schema; b == nil {
			return nil
		}
		sent = true
		return d.sendIPC(schema, b, stream)
	})
	if err == nil && !sent {
		err = d.sendIPC(last, nil, stream)
	}
	return ctxError(ctx, err)
}

// sendIPC sends a batch as a stream of its own, so that each result can be read by itself.
func (d *door) sendIPC(schema *arrow.Schema, b arrow.RecordBatch, stream flight.FlightService_DoActionServer) error {
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema), ipc.WithAllocator(d.opts.Allocator))
	if b != nil {
		if err := w.Write(b); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return stream.Send(&flight.Result{Body: buf.Bytes()})
}
