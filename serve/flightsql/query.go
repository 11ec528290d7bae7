package flightsql

import (
	"context"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query/ingest"
)

// sqlServer answers the commands of Flight SQL. Results of statements are sent by door, which does without the channel and the
// goroutine that arrow's dispatcher asks for.
type sqlServer struct {
	flightsql.BaseServer
	*Server
}

// plan prepares a query and gives what DoGet is to be asked with; it runs nothing.
func (s *Server) plan(ctx context.Context, sql string, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	who := whoOf(ctx)
	st, err := prepare(ctx, s.opts.Core, who, sessionOf(ctx).settings(), sql)
	if err != nil {
		return nil, err
	}
	if len(st.params) > 0 {
		return nil, fault.New(fault.Usage, "prepare the statement, and bind them", "the statement has %d parameters", len(st.params))
	}
	e, err := s.handles.add(who, kindPlan, planLife, st, nil)
	if err != nil {
		return nil, err
	}
	ticket, err := flightsql.CreateStatementQueryTicket([]byte(e.id))
	if err != nil {
		return nil, err
	}
	return s.info(desc, st.schema, ticket), nil
}

// info has one endpoint: this server.
func (s *Server) info(desc *flight.FlightDescriptor, schema *arrow.Schema, ticket []byte) *flight.FlightInfo {
	in := &flight.FlightInfo{FlightDescriptor: desc, Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: ticket}}}, TotalRecords: -1, TotalBytes: -1}
	if schema != nil {
		in.Schema = flight.SerializeSchema(schema, s.opts.Allocator)
	}
	return in
}

// schemaOf says what columns a statement gives; it runs nothing.
func (s *Server) schemaOf(ctx context.Context, sql string) (*flight.SchemaResult, error) {
	st, err := prepare(ctx, s.opts.Core, whoOf(ctx), sessionOf(ctx).settings(), sql)
	if err != nil {
		return nil, err
	}
	return s.schemaResult(st.schema)
}

func (s *Server) schemaResult(schema *arrow.Schema) (*flight.SchemaResult, error) {
	if schema == nil {
		return nil, fault.New(fault.InvalidSQL, "cast the parameters, as in CAST($1 AS BIGINT)", "the statement's columns are known only with its parameters")
	}
	return &flight.SchemaResult{Schema: flight.SerializeSchema(schema, s.opts.Allocator)}, nil
}

// sendHandle runs what e stands for.
func (s *Server) sendHandle(ctx context.Context, e *handle, out flight.DataStreamWriter) error {
	ctx, done := s.handles.run(ctx, e)
	defer done()
	if err := s.send(ctx, e.st, e.rows, out); err != nil {
		return ctxError(ctx, err)
	}
	s.handles.read(e)
	return nil
}

// GetFlightInfoStatement plans a query.
func (s *sqlServer) GetFlightInfoStatement(ctx context.Context, q flightsql.StatementQuery, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	if err := s.inTransaction(ctx, q.GetTransactionId()); err != nil {
		return nil, err
	}
	return s.plan(ctx, q.GetQuery(), desc)
}

// GetSchemaStatement says what columns a query gives.
func (s *sqlServer) GetSchemaStatement(ctx context.Context, q flightsql.StatementQuery, _ *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	if err := s.inTransaction(ctx, q.GetTransactionId()); err != nil {
		return nil, err
	}
	return s.schemaOf(ctx, q.GetQuery())
}

// PollFlightInfoStatement is done at once: planning takes no time worth waiting beside.
func (s *sqlServer) PollFlightInfoStatement(ctx context.Context, q flightsql.StatementQuery, desc *flight.FlightDescriptor) (*flight.PollInfo, error) {
	info, err := s.GetFlightInfoStatement(ctx, q, desc)
	return polled(info, planLife), err
}

// PollFlightInfoPreparedStatement is done at once too.
func (s *sqlServer) PollFlightInfoPreparedStatement(ctx context.Context, q flightsql.PreparedStatementQuery, desc *flight.FlightDescriptor) (*flight.PollInfo, error) {
	info, err := s.GetFlightInfoPreparedStatement(ctx, q, desc)
	return polled(info, preparedLife), err
}

func polled(info *flight.FlightInfo, life time.Duration) *flight.PollInfo {
	if info == nil {
		return nil
	}
	whole := 1.0
	return &flight.PollInfo{Info: info, Progress: &whole, ExpirationTime: timestamppb.New(time.Now().Add(life))}
}

// CreatePreparedStatement prepares a query, or takes note of what changes something.
func (s *sqlServer) CreatePreparedStatement(ctx context.Context, req flightsql.ActionCreatePreparedStatementRequest) (res flightsql.ActionCreatePreparedStatementResult, err error) {
	if err := s.inTransaction(ctx, req.GetTransactionId()); err != nil {
		return res, err
	}
	who, sql := whoOf(ctx), req.GetQuery()
	update := ingest.IsDDL(sql)
	st := &statement{sql: sql, schema: arrow.NewSchema(nil, nil)}
	if !update {
		if st, err = prepare(ctx, s.opts.Core, who, sessionOf(ctx).settings(), sql); err != nil {
			return res, err
		}
		if res.ParameterSchema, err = parameterSchema(ctx, st); err != nil {
			return res, err
		}
	}
	e, err := s.handles.add(who, kindPrepared, preparedLife, st, nil)
	if err != nil {
		return res, err
	}
	res.Handle, res.DatasetSchema, res.IsUpdate = []byte(e.id), st.schema, &update
	return res, nil
}

// ClosePreparedStatement ends a prepared statement, by any of the handles that it was given.
func (s *sqlServer) ClosePreparedStatement(ctx context.Context, req flightsql.ActionClosePreparedStatementRequest) error {
	e, err := s.prepared(ctx, req)
	if err != nil {
		if fault.CodeOf(err) == fault.NotFound {
			return nil // it has ended, as is wanted
		}
		return err
	}
	if e.parent != nil {
		e = e.parent
	}
	s.handles.drop(e)
	return nil
}

func (s *sqlServer) prepared(ctx context.Context, req interface{ GetPreparedStatementHandle() []byte }) (*handle, error) {
	return s.handles.get(whoOf(ctx), req.GetPreparedStatementHandle(), kindPrepared, kindBound)
}

// readable is a prepared query with all its parameters.
func (s *sqlServer) readable(ctx context.Context, q flightsql.PreparedStatementQuery) (*handle, error) {
	e, err := s.prepared(ctx, q)
	if err != nil {
		return nil, err
	}
	if ingest.IsDDL(e.st.sql) {
		return nil, fault.New(fault.Usage, "execute it as an update", "the statement gives no result")
	}
	e = s.handles.latest(e)
	if len(e.st.params) > 0 && e.rows == nil {
		return nil, fault.New(fault.Usage, "bind them before the statement is executed", "the statement has %d parameters, of which none is bound", len(e.st.params))
	}
	return e, nil
}

// GetFlightInfoPreparedStatement gives a ticket for the parameters that are bound now.
func (s *sqlServer) GetFlightInfoPreparedStatement(ctx context.Context, q flightsql.PreparedStatementQuery, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	e, err := s.readable(ctx, q)
	if err != nil {
		return nil, err
	}
	var cmd anypb.Any
	if err := cmd.MarshalFrom(&pb.CommandPreparedStatementQuery{PreparedStatementHandle: []byte(e.id)}); err != nil {
		return nil, err
	}
	ticket, err := proto.Marshal(&cmd)
	if err != nil {
		return nil, err
	}
	return s.info(desc, e.st.schema, ticket), nil
}

// GetSchemaPreparedStatement says what columns a prepared statement gives.
func (s *sqlServer) GetSchemaPreparedStatement(ctx context.Context, q flightsql.PreparedStatementQuery, _ *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	e, err := s.prepared(ctx, q)
	if err != nil {
		return nil, err
	}
	return s.schemaResult(e.st.schema)
}

// DoPutPreparedStatementQuery binds parameters, and gives the handle that stands for the statement with them.
func (s *sqlServer) DoPutPreparedStatementQuery(ctx context.Context, q flightsql.PreparedStatementQuery, r flight.MessageReader, _ flight.MetadataWriter) ([]byte, error) {
	e, err := s.prepared(ctx, q)
	if err != nil {
		return nil, err
	}
	if e.parent != nil {
		e = e.parent
	}
	rows, err := readParameters(r, e.st.params)
	if err != nil {
		return nil, err
	}
	b, err := s.handles.bind(e, rows)
	if err != nil {
		return nil, err
	}
	return []byte(b.id), nil
}

// CancelFlightInfo interrupts the queries of the endpoints, and ends their tickets.
func (s *sqlServer) CancelFlightInfo(ctx context.Context, req *flight.CancelFlightInfoRequest) (flight.CancelFlightInfoResult, error) {
	var running []<-chan struct{}
	found := false
	for _, ep := range req.GetInfo().GetEndpoint() {
		e, err := s.ticketHandle(ctx, ep.GetTicket().GetTicket())
		if err != nil {
			return flight.CancelFlightInfoResult{Status: flight.CancelStatusUnspecified}, err
		}
		if e == nil {
			continue // it stands for something that is not worth being cancelled
		}
		found = true
		if idle := s.handles.cancel(e, errKilled); idle != nil {
			running = append(running, idle)
		}
	}
	if !found {
		return flight.CancelFlightInfoResult{Status: flight.CancelStatusNotCancellable}, nil
	}
	// DuckDB is interrupted within milliseconds; a client that takes nothing is left a little later.
	wait := time.NewTimer(2 * time.Second)
	defer wait.Stop()
	for _, idle := range running {
		select {
		case <-idle:
		case <-wait.C:
			return flight.CancelFlightInfoResult{Status: flight.CancelStatusCancelling}, nil
		case <-ctx.Done():
			return flight.CancelFlightInfoResult{Status: flight.CancelStatusCancelling}, nil
		}
	}
	return flight.CancelFlightInfoResult{Status: flight.CancelStatusCancelled}, nil
}

// RenewFlightEndpoint lets a ticket live on.
func (s *sqlServer) RenewFlightEndpoint(ctx context.Context, req *flight.RenewFlightEndpointRequest) (*flight.FlightEndpoint, error) {
	ep := req.GetEndpoint()
	e, err := s.ticketHandle(ctx, ep.GetTicket().GetTicket())
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, fault.New(fault.Usage, "it does not expire", "the ticket is of no query")
	}
	return &flight.FlightEndpoint{Ticket: ep.Ticket, Location: ep.Location, AppMetadata: ep.AppMetadata, ExpirationTime: timestamppb.New(s.handles.renew(e))}, nil
}

// ticketHandle is what a ticket of ours stands for; nil for one that needs no handle.
func (s *Server) ticketHandle(ctx context.Context, ticket []byte) (*handle, error) {
	switch cmd := sqlCommand(ticket).(type) {
	case *pb.TicketStatementQuery:
		return s.handles.get(whoOf(ctx), cmd.StatementHandle, kindPlan)
	case *pb.CommandPreparedStatementQuery:
		e, err := s.handles.get(whoOf(ctx), cmd.PreparedStatementHandle, kindPrepared, kindBound)
		return e, err
	}
	return nil, nil
}
