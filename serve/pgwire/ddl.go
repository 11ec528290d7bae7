package pgwire

import (
	"context"
	"errors"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/query/pgtype"
	"github.com/pintaildb/pintail/store"
)

// writers carry out what changes tables of clients, for roles that may write some. Each statement is a transaction of its own.
var writers map[string]func(c *conn, s *scanner) (*command, error)

func init() { // because INSERT's looks at the verbs again
	writers = map[string]func(c *conn, s *scanner) (*command, error){"create": ddlCommand, "drop": ddlCommand, "truncate": truncateCommand, "insert": insertCommand}
}

// ddlCommand is CREATE TABLE and DROP TABLE.
func ddlCommand(_ *conn, s *scanner) (*command, error) {
	if !ingest.IsDDL(s.sql) {
		return nil, newError("0A000", "this "+strings.ToUpper(s.tok.val)+" is not supported", "CREATE TABLE and DROP TABLE make and drop the tables that clients write")
	}
	d, err := ingest.ParseDDL(s.sql)
	if err != nil {
		return nil, newError("0A000", err.Error(), fault.HintOf(err))
	}
	if foldName(d.Target.Schema) == "public" {
		d.Target.Schema = "main"
	}
	if d.Drop {
		return &command{tag: "DROP TABLE", run: func(c *conn, p *portal) (string, error) { return "DROP TABLE", c.dropTable(p.ctx, d) }}, nil
	}
	return &command{tag: "CREATE TABLE", run: func(c *conn, p *portal) (string, error) { return "CREATE TABLE", c.createTable(p.ctx, d) }}, nil
}

func (c *conn) dropTable(ctx context.Context, d *ingest.DDL) error {
	err := c.s.opts.Ingest.Drop(ctx, c.who, d.Target)
	switch {
	case fault.CodeOf(err) == fault.NotFound && d.IfExists:
		c.notice("00000", `table "`+clip(d.Target.Table)+`" does not exist, skipping`)
		return nil
	case fault.CodeOf(err) == fault.NotFound:
		return newError("42P01", `table "`+clip(d.Target.Table)+`" does not exist`, "only tables that clients made can be dropped")
	case err == nil:
		c.wrote()
	}
	return err
}

func (c *conn) createTable(ctx context.Context, d *ingest.DDL) error {
	columns := make([]store.PutColumn, len(d.Columns))
	for i, col := range d.Columns {
		name, err := c.duckType(ctx, col.Type)
		if err != nil {
			return err
		}
		columns[i] = store.PutColumn{Name: col.Name, Type: name, NotNull: col.NotNull}
	}
	err := c.s.opts.Ingest.Create(ctx, c.who, d.Target, columns)
	if errors.Is(err, ingest.ErrExists) {
		return &sqlError{state: "42P07", message: `relation "` + clip(d.Target.Table) + `" already exists`, hint: fault.HintOf(err)}
	}
	if err == nil {
		c.wrote()
	}
	return err
}

// duckType is DuckDB's name of a type that is written as PostgreSQL or DuckDB has it.
func (c *conn) duckType(ctx context.Context, written string) (string, error) {
	first, rest, _ := strings.Cut(strings.ToLower(written), " ")
	if (first == "numeric" || first == "decimal" || first == "dec") && !strings.HasPrefix(rest, "(") {
		return "", newError("0A000", "numeric without a precision cannot be stored", "say how many digits there are: numeric(18,2), 38 at most; or double precision, or text")
	}
	if strings.HasSuffix(first, "serial") {
		return "", newError("0A000", first+" is not supported: nothing counts here", "integer or bigint, with values that the client sends")
	}
	if first == "varbit" || first == "bit" && strings.HasPrefix(rest, "varying") {
		return "BIT", nil
	}
	ctx = pgtype.WithValues(pgtype.WithSession(ctx, c.settings))
	text, err := c.s.opts.Translate(ctx, "SELECT CAST(NULL AS "+written+")")
	if err != nil {
		return "", err
	}
	p, err := c.session.Prepare(ctx, text)
	if err != nil {
		return "", &sqlError{state: "42704", message: `type "` + clip(written) + `" does not exist`, detail: err.Error()}
	}
	defer p.Close()
	if cols := p.Columns(); len(cols) == 1 {
		return cols[0].Type, nil
	}
	return "", newError("42704", `type "`+clip(written)+`" does not exist`, "")
}

// truncateCommand is TRUNCATE of one table.
func truncateCommand(_ *conn, s *scanner) (*command, error) {
	s.next()
	s.accept("table")
	s.accept("only")
	name, err := s.qualified()
	if err != nil {
		return nil, err
	}
	if s.tok.symbol(",") {
		return nil, newError("0A000", "TRUNCATE of several tables at once is not supported", "truncate them one by one: each is a transaction of its own")
	}
	if !s.accept("restart", "identity") {
		s.accept("continue", "identity")
	}
	if !s.accept("cascade") {
		s.accept("restrict")
	}
	if !s.done() {
		return nil, s.unexpected()
	}
	t, err := tableTarget(name)
	if err != nil {
		return nil, err
	}
	return &command{tag: "TRUNCATE TABLE", run: func(c *conn, p *portal) (string, error) {
		if err := c.s.opts.Ingest.Empty(p.ctx, c.who, t); err != nil {
			return "", writeError(err, t.Table)
		}
		c.wrote()
		return "TRUNCATE TABLE", nil
	}}, nil
}

// qualified takes a name of one part or more.
func (s *scanner) qualified() ([]string, error) {
	var parts []string
	for {
		part, ok := s.name()
		if !ok {
			return nil, s.unexpected()
		}
		if parts = append(parts, part); !s.acceptSymbol(".") {
			return parts, nil
		}
	}
}
