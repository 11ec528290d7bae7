package pgwire

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/query/pgtype"
	"github.com/pintaildb/pintail/store"
)

// Ingest takes what clients write. It decides whether p may write there.
type Ingest interface {
	// TableColumns are those of a table that p may append to.
	TableColumns(ctx context.Context, p access.Principal, t ingest.Target) ([]store.PutColumn, error)
	// Ingest reads r to its end. All rows are there afterwards, or none. It does not release r.
	Ingest(ctx context.Context, p access.Principal, t ingest.Target, r array.RecordReader) (int64, error)
	// Create makes a table without rows. Types are canonical names of DuckDB's.
	Create(ctx context.Context, p access.Principal, t ingest.Target, columns []store.PutColumn) error
	// Drop drops a table that a client made; fault.NotFound for any other.
	Drop(ctx context.Context, p access.Principal, t ingest.Target) error
	// Empty deletes all rows of a table.
	Empty(ctx context.Context, p access.Principal, t ingest.Target) error
	// Decoded reads src to its end. All rows are there afterwards, or none.
	Decoded(ctx context.Context, p access.Principal, t ingest.Target, columns []store.Column, want []string, src ingest.RowSource) (int64, error)
}

// copyIdle is how long a COPY waits for its client's next bytes.
const copyIdle = 10 * time.Minute

// copyPlan says how the rows of a COPY FROM are decoded. Several readers share it.
type copyPlan struct {
	*copySpec
	target  ingest.Target
	table   string // as messages call it
	columns []copyColumn
	types   []types.Type
	zone    *time.Location
	eol     eol // of the first line
}

// copyColumn is a column that the rows have.
type copyColumn struct {
	store.PutColumn
	pg        pgtype.Type
	lo, hi    int64 // bounds of whole numbers that PostgreSQL has no type for; none where they are equal
	neverNull bool  // FORCE_NOT_NULL
	nullToo   bool  // FORCE_NULL
}

// tableTarget is the table that a name of PostgreSQL's means.
func tableTarget(name []string) (ingest.Target, error) {
	switch {
	case len(name) == 1:
		return ingest.Target{Table: name[0]}, nil
	case len(name) == 2 && foldName(name[0]) == "public":
		return ingest.Target{Table: name[1]}, nil
	case len(name) == 2:
		return ingest.Target{Schema: name[0], Table: name[1]}, nil
	case len(name) == 3 && foldName(name[1]) == "public":
		return ingest.Target{Catalog: name[0], Table: name[2]}, nil
	case len(name) == 3:
		return ingest.Target{Catalog: name[0], Schema: name[1], Table: name[2]}, nil
	}
	return ingest.Target{}, newError("42601", "improper qualified name (too many dotted names): "+clip(strings.Join(name, ".")), "")
}

// writeError is err of a table that is written, as PostgreSQL says it.
func writeError(err error, table string) error {
	if fault.CodeOf(err) == fault.NotFound {
		return &sqlError{state: "42P01", message: `relation "` + clip(table) + `" does not exist`, hint: fault.HintOf(err)}
	}
	return err
}

// planCopy finds the columns and how they are decoded.
func (c *conn) planCopy(ctx context.Context, o *copySpec) (*copyPlan, error) {
	in := c.s.opts.Ingest
	if in == nil {
		return nil, newError("0A000", "COPY FROM is not supported: nothing can be written here", "load the data where it comes from")
	}
	var err error
	p := &copyPlan{copySpec: o, table: o.table[len(o.table)-1], zone: c.settings.location()}
	if p.target, err = tableTarget(o.table); err != nil {
		return nil, err
	}
	all, err := in.TableColumns(ctx, c.who, p.target)
	if err != nil {
		return nil, writeError(err, p.table)
	}
	find := func(name string) (int, error) {
		for i := range all {
			if strings.EqualFold(all[i].Name, name) {
				return i, nil
			}
		}
		return 0, newError("42703", `column "`+clip(name)+`" of relation "`+clip(p.table)+`" does not exist`, "")
	}
	taken := make([]bool, len(all))
	add := func(i int) error {
		if taken[i] {
			return newError("42701", `column "`+clip(all[i].Name)+`" specified more than once`, "")
		}
		taken[i] = true
		p.columns = append(p.columns, copyColumnOf(all[i]))
		return nil
	}
	for i := range all {
		if o.columns == nil {
			_ = add(i) // each once
		}
	}
	for _, name := range o.columns {
		i, err := find(name)
		if err == nil {
			err = add(i)
		}
		if err != nil {
			return nil, err
		}
	}
	for i := range all {
		if all[i].NotNull && !taken[i] {
			return nil, newError("23502", `null value in column "`+clip(all[i].Name)+`" of relation "`+clip(p.table)+`" violates not-null constraint`, "send the column too")
		}
	}
	if err := p.forced(o.forceValue, "FORCE_NOT_NULL", find, func(c *copyColumn) { c.neverNull = true }); err != nil {
		return nil, err
	}
	if err := p.forced(o.forceNull, "FORCE_NULL", find, func(c *copyColumn) { c.nullToo = true }); err != nil {
		return nil, err
	}
	p.types = make([]types.Type, len(p.columns))
	for i := range p.columns {
		p.types[i] = p.columns[i].decoded()
	}
	return p, nil
}

func (p *copyPlan) forced(list columnList, what string, find func(string) (int, error), set func(*copyColumn)) error {
	for i := range p.columns {
		if list.all {
			set(&p.columns[i])
		}
	}
	for _, name := range list.names {
		if _, err := find(name); err != nil {
			return err
		}
		found := false
		for i := range p.columns {
			if strings.EqualFold(p.columns[i].Name, name) {
				set(&p.columns[i])
				found = true
			}
		}
		if !found {
			return newError("42P10", what+` column "`+clip(name)+`" not referenced by COPY`, "")
		}
	}
	return nil
}

func copyColumnOf(col store.PutColumn) copyColumn {
	c := copyColumn{PutColumn: col, pg: pgtype.Of(col.Type)}
	switch col.Type {
	case "TINYINT":
		c.lo, c.hi = -128, 127
	case "UTINYINT":
		c.hi = 255
	case "USMALLINT":
		c.hi = 1<<16 - 1
	case "UINTEGER":
		c.hi = 1<<32 - 1
	}
	return c
}

// decoded is the type in which values of the column are decoded; DuckDB casts those that are of another one in the table.
func (c *copyColumn) decoded() types.Type {
	t := types.Of(c.pg.OID, c.pg.Mod, nil)
	if t.Kind == types.List && (t.Elem.Kind == types.JSON || t.Elem.Kind == types.JSONB) {
		t.Elem = &types.Type{Kind: types.Text, SQL: "VARCHAR"} // DuckDB's cast proves that it is JSON
		t.SQL = "VARCHAR[]"
	}
	return t
}

// copyFrom runs a COPY FROM STDIN to its end.
func (c *conn) copyFrom(p *portal) error {
	c.s.metrics.statements.WithLabelValues("copy").Inc()
	plan, err := c.planCopy(p.ctx, p.st.cmd.copy)
	if err != nil {
		return err
	}
	columns, want := make([]store.Column, len(plan.columns)), make([]string, len(plan.columns))
	response := &pgproto3.CopyInResponse{ColumnFormatCodes: make([]uint16, len(plan.columns))}
	for i := range plan.columns {
		columns[i], want[i] = store.Column{Name: plan.columns[i].Name, Type: plan.types[i]}, plan.columns[i].Type
		if plan.form == "binary" {
			response.OverallFormat, response.ColumnFormatCodes[i] = 1, 1
		}
	}
	in := newCopyIn(c, plan)
	var rows int64
	err = c.reading(p.cancel, func() (err error) {
		c.send(response)
		if err := c.flush(); err != nil {
			return err
		}
		rows, err = c.s.opts.Ingest.Decoded(p.ctx, c.who, plan.target, columns, want, in)
		return err
	})
	if err != nil {
		return in.reason(p.ctx, err)
	}
	c.wrote()
	c.complete(countTag("COPY", rows))
	return nil
}

// reading is running for a statement whose input the client still sends: reading it shows whether the client is still there.
func (c *conn) reading(cancel context.CancelCauseFunc, fn func() error) error {
	c.mu.Lock()
	c.cancel = cancel
	c.turn++
	turn := c.turn
	c.mu.Unlock()
	if d := c.settings.statementTimeout(); d > 0 {
		t := time.AfterFunc(d, func() {
			c.cancelTurn(turn, &sqlError{state: "57014", message: "canceling statement due to statement timeout"})
		})
		defer t.Stop()
	}
	err := fn()
	c.mu.Lock()
	c.cancel, c.copying = nil, nil
	c.mu.Unlock()
	return err
}

// copyIn is the input of a COPY FROM under way: it gives the put its rows.
type copyIn struct {
	c     *conn
	plan  *copyPlan
	split splitter
	// rounds that were handed out last: one of them may be being decoded when an error is found.
	rounds [2]*copyRound
	blocks []*copyBlock // of the round to come
	bytes  int64
	done   bool // the client has sent all
}

func newCopyIn(c *conn, plan *copyPlan) *copyIn {
	in := &copyIn{c: c, plan: plan}
	in.split.init(plan)
	return in
}

// copyRowMax is the largest row that is taken.
const copyRowMax = 256 << 20

// Next gives the rows that have come until they are of so many bytes, or the last ones.
func (in *copyIn) Next(ctx context.Context, bytes int) (ingest.Rows, bool, error) {
	stop := in.c.copyUntil(ctx)
	defer stop()
	for in.bytes < int64(bytes) && !in.done {
		if err := in.receive(ctx); err != nil {
			return nil, false, err
		}
	}
	if in.done {
		if err := in.finish(); err != nil {
			return nil, false, err
		}
	}
	r := &copyRound{plan: in.plan, blocks: in.blocks, bytes: in.bytes}
	for _, b := range r.blocks {
		r.rows += b.rows
	}
	in.rounds[0], in.rounds[1] = in.rounds[1], r
	in.blocks, in.bytes = nil, 0
	return r, !in.done, nil
}

// receive takes the client's next message.
func (in *copyIn) receive(ctx context.Context) error {
	m, err := in.c.backend.Receive()
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err = in.c.receiveError(err); err == nil {
			err = errGone
		}
		return err
	}
	switch m := m.(type) {
	case *pgproto3.CopyData:
		b, err := in.split.add(m.Data)
		if err != nil {
			return err
		}
		if b != nil {
			in.blocks, in.bytes = append(in.blocks, b), in.bytes+int64(len(b.data))
		}
	case *pgproto3.CopyDone:
		in.done = true
	case *pgproto3.CopyFail:
		return newError("57014", "COPY from stdin failed: "+clip(m.Message), "")
	case *pgproto3.Flush, *pgproto3.Sync:
	case *pgproto3.Terminate:
		return errGone
	default:
		e := protocolError("unexpected message during COPY from stdin")
		e.severity = "FATAL" // where the messages of the COPY end cannot be known any more
		return e
	}
	return nil
}

// finish takes what is left behind the last block.
func (in *copyIn) finish() error {
	b, err := in.split.finish()
	if b != nil {
		in.blocks, in.bytes = append(in.blocks, b), in.bytes+int64(len(b.data))
	}
	return err
}

// reason is what the client is told of err: of several rows that cannot be taken, the first.
func (in *copyIn) reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if e := new(sqlError); errors.As(err, &e) {
		if !e.row {
			return e
		}
		var blocks []*copyBlock
		for _, r := range in.rounds {
			if r != nil {
				blocks = append(blocks, r.blocks...)
			}
		}
		blocks = append(blocks, in.blocks...)
		if b := in.split.take(); b != nil {
			blocks = append(blocks, b)
		}
		for _, b := range blocks {
			if b.done.Load() {
				continue
			}
			if first := in.plan.check(b); first != nil {
				return first
			}
		}
		return e
	}
	return writeRefused(err, in.plan.table)
}

// writeRefused is why rows are not in a table.
func writeRefused(err error, table string) error {
	if e := new(sqlError); errors.As(err, &e) {
		return e
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "NOT NULL constraint failed"):
		return &sqlError{state: "23502", message: text, hint: fault.HintOf(err)}
	case fault.CodeOf(err) == fault.Usage && strings.Contains(text, "Error: "):
		return explain(&sqlError{hint: fault.HintOf(err)}, text)
	}
	return writeError(err, table)
}

// context says where in the input an error is, as PostgreSQL does.
func (p *copyPlan) context(line int64, column string, value []byte) string {
	out := "COPY " + p.table + ", line " + strconv.FormatInt(line, 10)
	if column != "" {
		out += ", column " + column
	}
	if value == nil {
		return out
	}
	return out + `: "` + cut(value) + `"`
}

// cut is the beginning of a value for a message.
func cut(b []byte) string {
	const most = 100
	if len(b) <= most {
		return strings.ToValidUTF8(string(b), "?")
	}
	return strings.ToValidUTF8(string(b[:most]), "") + "..."
}
