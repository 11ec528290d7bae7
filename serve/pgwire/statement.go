package pgwire

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/query/pgtype"
	"github.com/pintaildb/pintail/store"
)

// column is a column as clients see it.
type column struct {
	name string
	typ  pgtype.Type
}

// statement is one that was prepared, for one run or for many.
type statement struct {
	sql     string
	empty   bool
	dropped bool     // no name leads to it any more: its portal is its last user
	cmd     *command // what the session answers itself
	explain *explained
	inner   *statement // of DECLARE, for its first run: what the cursor reads
	params  []uint32   // OIDs of the parameters
	columns []column   // nil: gives no rows

	// For the core: text is what DuckDB gets; q is nil once the connection to DuckDB was given back, and made again when needed.
	text  string
	path  string // search_path that text was translated under
	duck  []store.ResultColumn
	q     *query.Statement
	used  int64 // when, by conn.clock
	order []int // for each of DuckDB's parameters, which of the client's it is
}

// release gives the connection to DuckDB back.
func (st *statement) release() {
	if st.q != nil {
		st.q.Close()
		st.q = nil
	}
	if st.inner != nil {
		st.inner.release()
		st.inner = nil
	}
}

// prepare parses one statement; declared are the types that the client gives its parameters, 0 where it gives none.
func (c *conn) prepare(sql string, declared []uint32) (*statement, error) {
	st := &statement{sql: sql}
	if scan(sql, 0).kind == end {
		st.empty = true
		return st, nil
	}
	var err error
	if st.cmd, err = c.commandOf(sql); err != nil {
		if c.tx.failed {
			return nil, errAborted
		}
		return nil, err
	}
	if c.tx.failed && (st.cmd == nil || !st.cmd.ends) {
		return nil, errAborted
	}
	if st.cmd == nil {
		if st.explain, err = explainOf(sql); err != nil {
			return nil, err
		}
		return st, c.prepareCore(st, declared)
	}
	if st.cmd.query != "" {
		return st, c.prepareCursor(st, declared)
	}
	if st.cmd.copy != nil {
		return st, nil
	}
	if st.cmd.columns != nil {
		st.columns, err = st.cmd.columns(c)
	}
	return st, err
}

// prepareCore has the core prepare st.sql in DuckDB's dialect.
func (c *conn) prepareCore(st *statement, declared []uint32) error {
	ctx, cancel := context.WithCancelCause(pgtype.WithSession(query.WithTraceComment(c.ctx, st.sql), c.settings))
	defer cancel(nil)
	if c.values {
		ctx = pgtype.WithValues(ctx)
	}
	return c.running(ctx, cancel, func() error {
		sql := st.sql
		if st.explain != nil {
			sql = st.explain.body
		}
		translated, err := c.s.opts.Translate(ctx, sql)
		if err != nil {
			return err
		}
		st.text, st.path = translated, c.settings.get("search_path")
		if err = c.connect(ctx, st); err != nil {
			if fault.CodeOf(err) == fault.Forbidden {
				if refused := writesWithin(st.sql); refused != nil {
					return refused
				}
			}
			if len(declared) == 0 || fault.CodeOf(err) != fault.InvalidSQL {
				return err
			}
			// The types that the client declares may be what is missing.
			st.text = castParams(translated, declared, nil)
			if st.text == translated || c.connect(ctx, st) != nil {
				return err
			}
		}
		if err := st.learnParams(declared); err != nil {
			return err
		}
		if st.q.Columns() == nil {
			// With open parameters DuckDB does not say what it gives. A client must know before it sends values, and so must say the types.
			open := make([]bool, len(st.params))
			for i, p := range st.q.Params() {
				open[st.order[i]] = p.Type == ""
			}
			if cast := castParams(st.text, st.params, open); cast != st.text {
				st.release()
				st.text = cast
				if err := c.connect(ctx, st); err != nil {
					return err
				}
				if err := st.learnParams(st.params); err != nil {
					return err
				}
			}
			if st.q.Columns() == nil {
				st.release()
				return newError("42P18", "the statement's columns cannot be known before its parameters are", "cast the parameters: $1::integer")
			}
		}
		st.duck = st.q.Columns()
		for _, col := range st.duck {
			st.columns = append(st.columns, column{name: col.Name, typ: pgtype.Of(col.Type)})
		}
		if st.explain != nil {
			return c.prepareExplain(ctx, st)
		}
		return nil
	})
}

// underPath prepares st again when names without schema are looked up elsewhere by now.
func (c *conn) underPath(st *statement) error {
	if st.text == "" || st.path == c.settings.get("search_path") {
		return nil
	}
	again := &statement{sql: st.sql, explain: st.explain}
	if err := c.prepareCore(again, st.params); err != nil {
		again.release()
		return err
	}
	if !slices.Equal(again.columns, st.columns) {
		again.release()
		return fault.New(fault.ResultChanged, "prepare it again", "the statement's columns have changed since it was prepared")
	}
	st.release()
	st.text, st.path, st.duck, st.q, st.order = again.text, again.path, again.duck, again.q, again.order
	return nil
}

// connect prepares st.text in DuckDB, giving back the connection of another statement when there are too many.
func (c *conn) connect(ctx context.Context, st *statement) error {
	var oldest *statement
	connected := 0
	for _, other := range c.statements {
		if other.q == nil || other == st {
			continue
		}
		connected++
		if oldest == nil || other.used < oldest.used {
			oldest = other
		}
	}
	if connected >= connectedMax {
		oldest.release()
	}
	var err error
	st.q, err = c.session.Prepare(ctx, st.text)
	return err
}

// ensure makes sure that st has its connection, and that its columns are still those that the client knows.
func (c *conn) ensure(ctx context.Context, st *statement) error {
	c.clock++
	st.used = c.clock
	if st.q != nil {
		return nil
	}
	if err := c.connect(ctx, st); err != nil {
		return err
	}
	if !slices.Equal(st.q.Columns(), st.duck) {
		st.release()
		return fault.New(fault.ResultChanged, "prepare it again", "the statement's columns have changed since it was prepared")
	}
	return nil
}

// learnParams decides the types of the parameters: the client's where it has declared them, else what DuckDB needs, else text.
func (st *statement) learnParams(declared []uint32) error {
	params := st.q.Params()
	st.order = st.order[:0]
	n := len(declared)
	for _, p := range params {
		var at int
		if _, err := fmt.Sscanf(p.Name, "%d", &at); err != nil || at < 1 || at > 65535 {
			return newError("42P02", "there is no parameter $"+clip(p.Name), "number the parameters: $1, $2")
		}
		st.order = append(st.order, at-1)
		n = max(n, at)
	}
	st.params = make([]uint32, n)
	copy(st.params, declared)
	for i, p := range params {
		oid := &st.params[st.order[i]]
		if *oid == 0 || *oid == pgtype.Unknown {
			*oid = pgtype.Text
			if p.Type != "" {
				*oid = pgtype.Of(p.Type).OID
			}
		}
	}
	for i := range st.params {
		if st.params[i] == 0 {
			st.params[i] = pgtype.Text // not used in the statement
		}
	}
	return nil
}

// castParams writes the parameters with their types: those in open, or with nil all that have one.
func castParams(sql string, oids []uint32, open []bool) string {
	var out strings.Builder
	done := 0
	for t := scan(sql, 0); t.kind != end; t = scan(sql, t.stop) {
		if t.kind != param {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(t.val, "%d", &n); err != nil || n < 1 || n > len(oids) || oids[n-1] == 0 || open != nil && !open[n-1] {
			continue
		}
		fmt.Fprintf(&out, "%sCAST($%d AS %s)", sql[done:t.pos], n, pgtype.Duck(oids[n-1]))
		done = t.stop
	}
	return out.String() + sql[done:]
}

// keep stores a prepared statement under its name.
func (c *conn) keep(name string, st *statement) error {
	if name != "" {
		if c.statements[name] != nil {
			st.release()
			return newError("42P05", `prepared statement "`+clip(name)+`" already exists`, "")
		}
		if len(c.statements) >= statementsMax || c.textBytes+len(st.sql) > preparedBytesMax {
			st.release()
			return newError("53400", "this connection has too many prepared statements", "DEALLOCATE some")
		}
	}
	c.drop(name)
	c.statements[name] = st
	c.textBytes += len(st.sql)
	return nil
}

// drop forgets a prepared statement, which need not exist.
func (c *conn) drop(name string) {
	st := c.statements[name]
	if st == nil {
		return
	}
	st.dropped = true
	st.release()
	c.textBytes -= len(st.sql)
	delete(c.statements, name)
}
