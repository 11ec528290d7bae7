package flightsql

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/store"
)

// modeKey is the key of a stream's schema whose value is the mode of a put.
const modeKey = "pintail.mode"

type noIngest struct{}

var errReadOnly = fault.New(fault.Forbidden, "", "this server takes no rows from clients")

func (noIngest) Ingest(context.Context, access.Principal, ingest.Target, array.RecordReader) (int64, error) {
	return 0, errReadOnly
}
func (noIngest) Create(context.Context, access.Principal, ingest.Target, []store.PutColumn) error {
	return errReadOnly
}
func (noIngest) Drop(context.Context, access.Principal, ingest.Target) error { return errReadOnly }

func readMode(text string) (ingest.Mode, error) {
	if text == "" {
		return ingest.CreateAppend, nil
	}
	for _, m := range []ingest.Mode{ingest.Append, ingest.Create, ingest.Replace, ingest.CreateAppend} {
		if text == m.String() {
			return m, nil
		}
	}
	return 0, fault.New(fault.Usage, "append, create, replace or create_append", "there is no mode %q of a put", text)
}

// pathTable is the table that a path names.
func pathTable(path []string) (t ingest.Target, err error) {
	for _, part := range path {
		if !utf8.ValidString(part) || strings.ContainsRune(part, 0) {
			return t, fault.New(fault.Usage, "send names as UTF-8", "the descriptor's path holds what is no name")
		}
	}
	if t, err = ingest.ParseTarget(path, ingest.CreateAppend); err != nil {
		return t, err
	}
	if t.Schema == "" {
		t.Schema = mainSchema
	}
	if t.Table == "" {
		return t, fault.New(fault.Usage, "name it table, or schema and table", "the descriptor's path names no table")
	}
	return t, nil
}

// putCommand is a descriptor's command of a put, as JSON.
type putCommand struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
	Mode   string `json:"mode"`
}

// putTarget reads what a descriptor and the stream's schema say of the table.
func putTarget(desc *flight.FlightDescriptor, schema *arrow.Schema) (t ingest.Target, err error) {
	mode := ""
	if m := schema.Metadata(); m.FindKey(modeKey) >= 0 {
		mode = m.Values()[m.FindKey(modeKey)]
	}
	if desc.GetType() == flight.DescriptorPATH {
		t, err = pathTable(desc.GetPath())
	} else {
		var c putCommand
		d := json.NewDecoder(strings.NewReader(string(desc.GetCmd())))
		d.DisallowUnknownFields()
		if err := d.Decode(&c); err != nil {
			return t, fault.New(fault.Usage, `a path, or a command such as {"table": "events.raw", "mode": "replace"}`, "the descriptor does not say where the rows belong: %w", err)
		}
		path := []string{c.Table}
		if c.Schema != "" {
			path = []string{c.Schema, c.Table}
		}
		if c.Mode != "" {
			mode = c.Mode
		}
		t, err = pathTable(path)
	}
	if err != nil {
		return t, err
	}
	t.Mode, err = readMode(mode)
	return t, err
}

// take hands rows to whoever takes them.
func (s *Server) take(ctx context.Context, t ingest.Target, r array.RecordReader) (int64, error) {
	c := callOf(ctx)
	if r.Schema() == nil {
		return 0, unreadable(r.Err())
	}
	rows, err := s.opts.Ingest.Ingest(ctx, c.who, t, r)
	c.detail = append(c.detail, slog.String("table", t.Schema+"."+t.Table), slog.String("mode", t.Mode.String()), slog.Int64("rows", rows))
	if err != nil {
		return 0, ctxError(ctx, fault.Wrap(err, "put rows into %s.%s", t.Schema, t.Table))
	}
	sessionOf(ctx).count(1)
	return rows, nil
}

// put takes the rows of a plain DoPut.
func (s *Server) put(ctx context.Context, stream flight.FlightService_DoPutServer) error {
	r, err := flight.NewRecordReader(stream, ipc.WithAllocator(s.opts.Allocator))
	if err != nil {
		return unreadable(err)
	}
	defer r.Release()
	t, err := putTarget(r.LatestFlightDescriptor(), r.Schema())
	if err != nil {
		return err
	}
	rows, err := s.take(ctx, t, readable{r})
	if err != nil {
		return err
	}
	answer, err := json.Marshal(map[string]int64{"rows": rows})
	if err != nil {
		return err
	}
	return stream.Send(&flight.PutResult{AppMetadata: answer})
}

// readable says of a stream's errors that they are its client's.
type readable struct{ *flight.Reader }

func (r readable) Err() error {
	if err := r.Reader.Err(); err != nil {
		return unreadable(err)
	}
	return nil
}

// DoPutCommandStatementIngest takes the rows of a bulk ingest.
func (s *sqlServer) DoPutCommandStatementIngest(ctx context.Context, req flightsql.StatementIngest, r flight.MessageReader) (int64, error) {
	if err := s.inTransaction(ctx, req.GetTransactionId()); err != nil {
		return 0, err
	}
	if req.GetTemporary() {
		return 0, fault.New(fault.Usage, "put the rows into a table, and replace it the next time", "there are no temporary tables here: calls share no connection to DuckDB")
	}
	schema := req.GetSchema()
	if schema == "" {
		schema = mainSchema
	}
	t, err := pathTable([]string{req.GetCatalog(), schema, req.GetTable()})
	if err != nil {
		return 0, err
	}
	o := req.GetTableDefinitionOptions()
	var ok bool
	if t.Mode, ok = ingestModes[[2]int32{int32(o.GetIfNotExist()), int32(o.GetIfExists())}]; !ok {
		return 0, fault.New(fault.Usage, "create, append, replace, or create and append", "the table definition options cannot be followed together")
	}
	fr, ok := r.(*flight.Reader)
	if !ok {
		return s.take(ctx, t, r)
	}
	return s.take(ctx, t, readable{fr})
}

// ingestModes by what becomes of a missing and of a present table.
var ingestModes = func() map[[2]int32]ingest.Mode {
	const (
		unsaid  = int32(flightsql.TableDefinitionOptionsTableNotExistOptionUnspecified)
		create  = int32(flightsql.TableDefinitionOptionsTableNotExistOptionCreate)
		refuse  = int32(flightsql.TableDefinitionOptionsTableNotExistOptionFail)
		fail    = int32(flightsql.TableDefinitionOptionsTableExistsOptionFail)
		add     = int32(flightsql.TableDefinitionOptionsTableExistsOptionAppend)
		replace = int32(flightsql.TableDefinitionOptionsTableExistsOptionReplace)
	)
	return map[[2]int32]ingest.Mode{
		{create, fail}: ingest.Create, {create, unsaid}: ingest.Create, {unsaid, fail}: ingest.Create, {unsaid, unsaid}: ingest.Create,
		{refuse, add}: ingest.Append, {unsaid, add}: ingest.Append, {refuse, unsaid}: ingest.Append,
		{create, add}: ingest.CreateAppend, {create, replace}: ingest.Replace, {unsaid, replace}: ingest.Replace,
	}
}()

// update runs what changes something: CREATE TABLE and DROP TABLE. Rows come in by DoPut.
func (s *Server) update(ctx context.Context, sql string) error {
	if ingest.IsDDL(sql) {
		return s.ddl(ctx, sql)
	}
	// The gate says why not.
	if _, err := prepare(ctx, s.opts.Core, whoOf(ctx), sessionOf(ctx).settings(), sql); err != nil {
		return err
	}
	return fault.New(fault.Usage, "execute it as a query", "the statement changes nothing: it is a query")
}

// DoPutCommandStatementUpdate runs an update; none counts rows.
func (s *sqlServer) DoPutCommandStatementUpdate(ctx context.Context, req flightsql.StatementUpdate) (int64, error) {
	if err := s.inTransaction(ctx, req.GetTransactionId()); err != nil {
		return 0, err
	}
	return 0, s.update(ctx, req.GetQuery())
}

// DoPutPreparedStatementUpdate is the same for a prepared one.
func (s *sqlServer) DoPutPreparedStatementUpdate(ctx context.Context, req flightsql.PreparedStatementUpdate, _ flight.MessageReader) (int64, error) {
	e, err := s.prepared(ctx, req)
	if err != nil {
		return 0, err
	}
	return 0, s.update(ctx, e.st.sql)
}

// BeginTransaction is for clients that will not go without. Each statement sees the newest data, and each put is a transaction of
// its own.
func (s *sqlServer) BeginTransaction(ctx context.Context, _ flightsql.ActionBeginTransactionRequest) ([]byte, error) {
	e, err := s.handles.add(whoOf(ctx), kindTransaction, preparedLife, nil, nil)
	if err != nil {
		return nil, err
	}
	sessionOf(ctx).takePuts()
	return []byte(e.id), nil
}

// inTransaction checks a transaction that a request names.
func (s *sqlServer) inTransaction(ctx context.Context, id []byte) error {
	if len(id) == 0 {
		return nil
	}
	_, err := s.handles.get(whoOf(ctx), id, kindTransaction)
	return err
}

// EndTransaction ends it. A rollback after rows were put fails, since they stay.
func (s *sqlServer) EndTransaction(ctx context.Context, req flightsql.ActionEndTransactionRequest) error {
	e, err := s.handles.get(whoOf(ctx), req.GetTransactionId(), kindTransaction)
	if err != nil {
		return err
	}
	s.handles.drop(e)
	puts := sessionOf(ctx).takePuts()
	switch req.GetAction() {
	case flightsql.EndTransactionCommit:
		return nil
	case flightsql.EndTransactionRollback:
		if puts > 0 {
			return fault.New(fault.Forbidden, "commit instead: each put is a transaction of its own",
				"the transaction cannot be rolled back: rows were put %d times since it began, and they stay", puts)
		}
		return nil
	}
	return fault.New(fault.Usage, "commit or roll back", "the request does not say how the transaction is to end")
}
