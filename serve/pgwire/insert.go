package pgwire

import (
	"context"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/query/pgtype"
	"github.com/pintaildb/pintail/store"
)

// insertCommand is an INSERT of VALUES or of a query: it is read as a SELECT, whose rows are put into the table.
func insertCommand(c *conn, s *scanner) (*command, error) {
	s.next()
	if !s.accept("into") {
		return nil, s.unexpected()
	}
	name, err := s.qualified()
	if err != nil {
		return nil, err
	}
	t, err := tableTarget(name)
	if err != nil {
		return nil, err
	}
	if s.accept("as") {
		if _, ok := s.name(); !ok {
			return nil, s.unexpected()
		}
	}
	in := &insertion{target: t}
	if s.tok.symbol("(") && !scan(s.sql, s.tok.stop).is("select", "with", "values") {
		if in.names, err = s.list(); err != nil {
			return nil, err
		}
	}
	if s.accept("overriding") {
		return nil, newError("0A000", "OVERRIDING is not supported", "")
	}
	if err := onlyRows(s); err != nil {
		return nil, err
	}
	if err := in.find(c.ctx, c); err != nil {
		return nil, err
	}
	text, err := in.query(s)
	if err != nil {
		return nil, err
	}
	return &command{tag: "INSERT", query: text, run: in.run}, nil
}

// onlyRows refuses what may follow the rows, and could not be carried out.
func onlyRows(s *scanner) error {
	if s.tok.is("default") {
		return newError("0A000", "INSERT … DEFAULT VALUES is not supported", "send the values")
	}
	depth := 0
	for t := s.tok; t.kind != end; t = scan(s.sql, t.stop) {
		switch {
		case t.symbol("("):
			depth++
		case t.symbol(")"):
			depth--
		case depth == 0 && t.is("returning"):
			return newError("0A000", "INSERT … RETURNING is not supported", "")
		case depth == 0 && t.is("on") && scan(s.sql, t.stop).is("conflict"):
			return newError("0A000", "INSERT … ON CONFLICT is not supported", "tables of clients have no keys")
		}
	}
	return nil
}

// insertion is an INSERT.
type insertion struct {
	target  ingest.Target
	names   []string // as they are written; nil: the table's
	columns []store.PutColumn
}

// find looks the columns up.
func (in *insertion) find(ctx context.Context, c *conn) error {
	all, err := c.s.opts.Ingest.TableColumns(ctx, c.who, in.target)
	if err != nil {
		return writeError(err, in.target.Table)
	}
	if in.names == nil {
		in.columns = all
		return nil
	}
	for _, name := range in.names {
		found := false
		for _, col := range all {
			if strings.EqualFold(col.Name, name) {
				in.columns, found = append(in.columns, col), true
			}
		}
		if !found {
			return newError("42703", `column "`+clip(name)+`" of relation "`+clip(in.target.Table)+`" does not exist`, "")
		}
	}
	return nil
}

// query is the SELECT whose columns are those of the table.
func (in *insertion) query(s *scanner) (string, error) {
	rows := s.rest()
	if s.tok.is("values") {
		var err error
		if rows, err = in.values(s); err != nil {
			return "", err
		}
	}
	var out strings.Builder
	out.WriteString("SELECT ")
	for i, col := range in.columns {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString("CAST(v.c" + itoa(i) + " AS " + castName(col.Type) + ") AS " + quoteName(col.Name))
	}
	out.WriteString(" FROM (" + rows + ") AS v (")
	for i := range in.columns {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString("c" + itoa(i))
	}
	out.WriteString(")")
	return out.String(), nil
}

// values writes VALUES (…), (…) with each value cast to its column's type: so literals are read as that type has them, and the types of
// parameters are known.
func (in *insertion) values(s *scanner) (string, error) {
	var out strings.Builder
	out.WriteString("VALUES ")
	s.next()
	least := 0
	for row := 0; ; row++ {
		if !s.acceptSymbol("(") {
			return "", s.unexpected()
		}
		if row > 0 {
			out.WriteString(", ")
		}
		out.WriteByte('(')
		n := 0
		for ; ; n++ {
			if n == len(in.columns) {
				return "", newError("42601", "INSERT has more expressions than target columns", "")
			}
			begin := s.tok.pos
			for depth := 0; depth > 0 || !s.tok.symbol(",") && !s.tok.symbol(")"); {
				switch {
				case s.tok.kind == end:
					return "", s.unexpected()
				case s.tok.symbol("("), s.tok.symbol("["):
					depth++
				case s.tok.symbol(")"), s.tok.symbol("]"):
					depth--
				}
				s.next()
			}
			value := strings.TrimSpace(s.sql[begin:s.tok.pos])
			switch {
			case value == "":
				return "", s.unexpected()
			case strings.EqualFold(value, "default"):
				value = "NULL"
			}
			if n > 0 {
				out.WriteString(", ")
			}
			out.WriteString("CAST(" + value + " AS " + castName(in.columns[n].Type) + ")")
			if s.acceptSymbol(")") {
				break
			}
			s.next()
		}
		out.WriteByte(')')
		if n++; row == 0 {
			least = n
		} else if n != least {
			return "", newError("42601", "VALUES lists must all be the same length", "")
		}
		if !s.acceptSymbol(",") {
			break
		}
	}
	switch {
	case !s.done():
		return "", s.unexpected()
	case least < len(in.columns) && in.names != nil:
		return "", newError("42601", "INSERT has more target columns than expressions", "")
	}
	in.columns = in.columns[:least]
	return out.String(), nil
}

// castName is the type as PostgreSQL's dialect has it, where it has it.
func castName(duck string) string {
	pg := pgtype.Of(duck)
	if t := types.Of(pg.OID, pg.Mod, nil); t.SQL != duck || t.Kind == types.Decimal16 || t.Kind == types.Decimal32 || t.Kind == types.Decimal64 || t.Kind == types.Decimal128 {
		return duck
	}
	if elem, ok := pgtype.Element(pg.OID); ok {
		if pg.Mod >= 0 {
			return duck
		}
		return pgtype.ByOID(elem).Name + "[]"
	}
	return pg.Name
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// run reads the rows and puts them into the table.
func (in *insertion) run(c *conn, p *portal) (string, error) {
	if p.st.inner == nil {
		if err := c.prepareCursor(p.st, p.st.params); err != nil {
			return "", err
		}
	}
	rows := c.newPortal("", p.st.inner, p.values)
	rows.ctx, rows.cancel = context.WithCancelCause(p.ctx)
	defer rows.close()
	if err := c.start(rows); err != nil {
		return "", err
	}
	r := &resultRows{r: rows.res.Arrow(query.ArrowOptions{}), p: rows}
	defer r.Release()
	n, err := c.s.opts.Ingest.Ingest(p.ctx, c.who, in.target, r)
	if err != nil {
		return "", writeRefused(err, in.target.Table)
	}
	c.wrote()
	return countTag("INSERT 0", n), nil
}

// resultRows is a result as the rows of a put.
type resultRows struct {
	r     *query.ArrowReader
	p     *portal
	batch arrow.RecordBatch
	err   error
}

var _ array.RecordReader = (*resultRows)(nil)

// Retain implements array.RecordReader; there is one owner.
func (r *resultRows) Retain() {}

// Release implements array.RecordReader.
func (r *resultRows) Release() {
	r.drop()
	r.r.Release()
}

func (r *resultRows) drop() {
	if r.batch != nil {
		r.batch.Release()
		r.batch = nil
	}
}

// Schema implements array.RecordReader.
func (r *resultRows) Schema() *arrow.Schema { return r.r.Schema() }

// Next implements array.RecordReader.
func (r *resultRows) Next() bool {
	r.drop()
	if r.err == nil {
		r.batch, r.err = r.r.Next()
	}
	if r.batch == nil && r.err == nil && r.p.res.Truncated() {
		r.err = r.p.truncated()
	}
	return r.batch != nil
}

// RecordBatch implements array.RecordReader.
func (r *resultRows) RecordBatch() arrow.RecordBatch { return r.batch }

// Record implements array.RecordReader.
func (r *resultRows) Record() arrow.RecordBatch { return r.batch }

// Err implements array.RecordReader.
func (r *resultRows) Err() error { return r.err }
