package store

import (
	"context"
	"maps"
	"slices"
	"strings"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/internal/fault"
)

// Session opens a connection for readers' statements. Many may be open at once. What a statement may do is for the caller to
// decide before it is prepared here (access); files, settings and extensions are out of reach in any case.
func (s *Store) Session(ctx context.Context) (*Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	se, err := s.connect(reader)
	if err != nil || !s.profile {
		return se, err
	}
	if err := se.script(ctx, "SET SESSION "+profiling+" = 'no_output'"); err != nil {
		se.Close()
		return nil, err
	}
	return se, nil
}

// Settings are what a reader's connection has of its own.
type Settings struct {
	// TimeZone of conversions between text and TIMESTAMPTZ, of date_trunc and its like, by its IANA name; "" is UTC.
	TimeZone string
	// Postgres has results as PostgreSQL gives them where DuckDB's differ without an error: NULL sorts as the largest value, and whole
	// numbers divide to a whole number.
	Postgres bool
	// Variables that getvariable('name') reads, which no statement of a reader can set.
	Variables map[string]string
}

// Set gives the connection its settings. fault.InvalidSQL for a time zone that does not exist.
func (se *Session) Set(ctx context.Context, o Settings) error {
	var set []string
	if o.TimeZone != "" {
		set = append(set, "SET SESSION TimeZone = "+literal(o.TimeZone))
	}
	if o.Postgres {
		set = append(set, "SET SESSION default_null_order = 'postgres'", "SET SESSION integer_division = true")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Variables)) {
		set = append(set, setVariable(name, o.Variables[name]))
	}
	if len(set) == 0 {
		return nil
	}
	if err := se.script(ctx, strings.Join(set, "; ")); err != nil {
		return err
	}
	se.zone = zoneOf(o.TimeZone)
	return nil
}

// SetVariable gives one more of Settings.Variables.
func (se *Session) SetVariable(ctx context.Context, name, value string) error {
	return se.script(ctx, setVariable(name, value))
}

func setVariable(name, value string) string {
	return "SET VARIABLE " + quote(name) + " = " + literal(value)
}

// Begin begins a transaction: all statements until Rollback read one state.
func (se *Session) Begin(ctx context.Context) error {
	return se.script(ctx, "BEGIN TRANSACTION READ ONLY")
}

// Rollback ends the transaction.
func (se *Session) Rollback() error { return se.script(unbounded, "ROLLBACK") }

// ResultColumn is a column of a result; Type is DuckDB's SQL name of its type.
type ResultColumn struct{ Name, Type string }

// UnknownColumn is what DuckDB shows for all columns of a prepared statement that are known only with its parameters.
var UnknownColumn = ResultColumn{Name: "unknown", Type: "UNKNOWN"}

// Param is a parameter of a statement: Name is "1", "2", … for those given by position. Type is DuckDB's SQL name of the type that the
// statement needs, "" when any will do.
type Param struct{ Name, Type string }

// Stmt is one prepared statement. The session's Close closes it too.
type Stmt struct {
	Type    string // SELECT, EXPLAIN, INSERT, …
	Params  []Param
	Columns []ResultColumn

	se      *Session
	st      duck.PreparedStatement
	types   []resultType // of the parameters
	results []resultType // of the columns
	rows    *Rows        // open
}

var statementTypes = map[duck.StatementType]string{
	duck.StatementTypeSelect: "SELECT", duck.StatementTypeInsert: "INSERT", duck.StatementTypeUpdate: "UPDATE", duck.StatementTypeExplain: "EXPLAIN",
	duck.StatementTypeDelete: "DELETE", duck.StatementTypePrepare: "PREPARE", duck.StatementTypeCreate: "CREATE", duck.StatementTypeExecute: "EXECUTE",
	duck.StatementTypeAlter: "ALTER", duck.StatementTypeTransaction: "TRANSACTION", duck.StatementTypeCopy: "COPY", duck.StatementTypeAnalyze: "ANALYZE",
	duck.StatementTypeVariableSet: "VARIABLE_SET", duck.StatementTypeCreateFunc: "CREATE_FUNC", duck.StatementTypeDrop: "DROP", duck.StatementTypeExport: "EXPORT",
	duck.StatementTypePragma: "PRAGMA", duck.StatementTypeVacuum: "VACUUM", duck.StatementTypeCall: "CALL", duck.StatementTypeSet: "SET",
	duck.StatementTypeLoad: "LOAD", duck.StatementTypeRelation: "RELATION", duck.StatementTypeExtension: "EXTENSION", duck.StatementTypeLogicalPlan: "LOGICAL_PLAN",
	duck.StatementTypeAttach: "ATTACH", duck.StatementTypeDetach: "DETACH", duck.StatementTypeMulti: "MULTI", duck.StatementTypeInvalid: "INVALID",
}

// extract parses sql and prepares it when it is exactly one statement.
func (se *Session) extract(ctx context.Context, sql string, st *duck.PreparedStatement) (count int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if strings.IndexByte(sql, 0) >= 0 {
		return 0, fault.New(fault.InvalidSQL, "", "%w", errNUL)
	}
	defer se.guard(ctx)()
	var ex duck.ExtractedStatements
	defer duck.DestroyExtracted(&ex)
	count = int(duck.ExtractStatements(se.c, sql, &ex))
	if text := duck.ExtractStatementsError(ex); count == 0 && text != "" {
		return 0, se.failure(ctx, text)
	}
	if count != 1 {
		return count, nil
	}
	if duck.PrepareExtractedStatement(se.c, ex, 0, st) == duck.StateError {
		return count, se.failure(ctx, duck.PrepareError(*st))
	}
	return count, nil
}

// Prepare prepares exactly one statement; fault.InvalidSQL says what is wrong with it.
func (se *Session) Prepare(ctx context.Context, sql string) (*Stmt, error) {
	s := &Stmt{se: se}
	count, err := se.extract(ctx, sql, &s.st)
	if err == nil && count != 1 {
		err = fault.New(fault.InvalidSQL, "send one statement at a time", "the text holds %d statements", count)
	}
	if err != nil {
		duck.DestroyPrepare(&s.st)
		return nil, err
	}
	s.Type = statementTypes[duck.PreparedStatementType(s.st)]
	for i := range duck.NParams(s.st) {
		t := duck.ParamLogicalType(s.st, i+1)
		rt := describe(t)
		duck.DestroyLogicalType(&t)
		p := Param{Name: duck.ParameterName(s.st, i+1)}
		if rt.id != duck.TypeInvalid && rt.id != duck.TypeAny {
			p.Type = rt.name()
		}
		s.Params, s.types = append(s.Params, p), append(s.types, rt)
	}
	for i := range duck.PreparedStatementColumnCount(s.st) {
		t := duck.PreparedStatementColumnLogicalType(s.st, i)
		rt := describe(t)
		duck.DestroyLogicalType(&t)
		s.Columns, s.results = append(s.Columns, ResultColumn{Name: duck.PreparedStatementColumnName(s.st, i), Type: rt.name()}), append(s.results, rt)
	}
	se.stmts = append(se.stmts, s)
	return s, nil
}

// Close frees the statement and its open rows; it may be called twice.
func (s *Stmt) Close() {
	if s.rows != nil {
		s.rows.Close()
	}
	duck.DestroyPrepare(&s.st)
	if i := slices.Index(s.se.stmts, s); i >= 0 {
		s.se.stmts = slices.Delete(s.se.stmts, i, i+1)
	}
}

// Query binds the parameters, by position or by name, and starts the statement: its first rows are there before the last are
// computed. When ctx ends, so does the statement, also while rows are fetched. Values may be nil, bool, int64, float64, json.Number, string
// and []any of those; a string is cast to the type that the parameter needs.
func (s *Stmt) Query(ctx context.Context, positional []any, named map[string]any) (*Rows, error) {
	if s.rows != nil {
		s.rows.Close()
	}
	if err := s.bind(positional, named); err != nil {
		return nil, err
	}
	st, err := s.se.start(ctx, s.st)
	if err != nil {
		return nil, err
	}
	r := &Rows{stream: st, types: make([]resultType, duck.ColumnCount(&st.res))}
	r.chunk.zone = s.se.zone
	for i := range r.types {
		t := duck.ColumnLogicalType(&st.res, duck.IdxT(i))
		rt := &r.types[i]
		*rt = describe(t)
		duck.DestroyLogicalType(&t)
		name := duck.ColumnName(&st.res, duck.IdxT(i))
		if !rt.renders() {
			st.close()
			return nil, fault.New(fault.InvalidSQL, "cast it to JSON or VARCHAR", "column %s has type %s, which has no form outside DuckDB", name, rt.name())
		}
		r.columns = append(r.columns, ResultColumn{Name: name, Type: rt.name()})
		r.chunk.cols = append(r.chunk.cols, newVector(rt))
	}
	s.rows = r
	return r, nil
}

// Rows is a result under way. While it is open, so is a transaction. One goroutine uses it.
type Rows struct {
	stream  *stream
	columns []ResultColumn
	types   []resultType
	chunk   ResultChunk
}

// Columns are the result's columns.
func (r *Rows) Columns() []ResultColumn { return r.columns }

// BigNumbersAsText makes AppendJSON write numbers that a double cannot hold as strings.
func (r *Rows) BigNumbersAsText(yes bool) { r.chunk.bigText = yes }

// Next returns the next rows, which hold until the next call; nil at the end.
func (r *Rows) Next() (*ResultChunk, error) {
	n, err := r.stream.next()
	if err != nil || n == 0 {
		return nil, err
	}
	r.chunk.n = n
	for i := range r.chunk.cols {
		r.chunk.cols[i].show(duck.DataChunkGetVector(r.stream.chunk, duck.IdxT(i)), n)
	}
	return &r.chunk, nil
}

// Close ends the statement, at its end or before; it may be called twice.
func (r *Rows) Close() { r.stream.close() }

// StatementType says how many statements sql holds, and what the only one is. It prepares but does not run it.
func (se *Session) StatementType(ctx context.Context, sql string) (count int, typ string, err error) {
	var st duck.PreparedStatement
	defer duck.DestroyPrepare(&st)
	count, err = se.extract(ctx, sql, &st)
	if err != nil || count != 1 {
		return count, "", err
	}
	return 1, statementTypes[duck.PreparedStatementType(st)], nil
}

// SerializeSQL is DuckDB's syntax tree of sql as JSON, which says so too when sql is wrong; sql is not run.
func (se *Session) SerializeSQL(ctx context.Context, sql string) (tree string, err error) {
	err = se.query(ctx, "SELECT json_serialize_sql(?::VARCHAR)::VARCHAR", []any{sql}, func(r ownRow) error { tree = r.text(0); return nil })
	return tree, doing(err, "parse")
}

// DeserializeSQL is the text of a syntax tree that SerializeSQL has given.
func (se *Session) DeserializeSQL(ctx context.Context, tree string) (sql string, err error) {
	err = se.query(ctx, "SELECT json_deserialize_sql(?::JSON)", []any{tree}, func(r ownRow) error { sql = r.text(0); return nil })
	return sql, doing(err, "write a statement")
}

// CreateTempView makes a view of the connection's own, or puts it in the place of one of that name.
func (se *Session) CreateTempView(ctx context.Context, name, sql string) error {
	_, err := se.exec(ctx, "CREATE OR REPLACE TEMP VIEW "+quote(name)+" AS "+sql)
	return err
}
