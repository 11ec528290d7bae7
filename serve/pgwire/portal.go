package pgwire

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/query/pgtype"
	"github.com/pintaildb/pintail/store"
)

// portal is a statement with its parameters, before, while and after it gives its rows. A cursor is one too.
type portal struct {
	name    string
	st      *statement
	values  []any
	columns []column
	binary  []bool // of each column
	// Of a cursor of SQL: DECLARE made it, and hold lets it outlive its transaction.
	cursor, hold bool

	ctx     context.Context
	cancel  context.CancelCauseFunc
	res     *query.Result
	chunk   *store.ResultChunk
	at, n   int // rows of chunk given, and in it
	mem     [][]string
	source  *portal // whose rows these are: FETCH's cursor, EXECUTE's statement
	most    int64   // rows of source at most; 0: all
	started bool
	done    bool
	tag     string
	touched time.Time // of an open one, last
}

// close ends the portal; it may be called twice.
func (p *portal) close() {
	if p.res != nil {
		p.res.Close()
		p.res = nil
	}
	if p.source != nil && !p.source.cursor {
		p.source.close()
	}
	if p.st.dropped {
		p.st.release()
	}
	p.cancel(nil)
	p.chunk, p.mem, p.done = nil, nil, true
}

// newPortal binds values to st.
func (c *conn) newPortal(name string, st *statement, values []any) *portal {
	p := &portal{name: name, st: st, values: values, columns: st.columns, binary: make([]bool, len(st.columns))}
	p.ctx, p.cancel = context.WithCancelCause(c.ctx)
	return p
}

// put enters a portal under its name, in the place of an unnamed one.
func (c *conn) put(p *portal) error {
	old := c.portals[p.name]
	switch {
	case old != nil && p.name != "":
		p.close()
		return newError("42P03", `cursor "`+clip(p.name)+`" already exists`, "")
	case old == nil && len(c.portals) >= portalsMax:
		p.close()
		return newError("53400", "this connection has too many open cursors", "close some")
	case old != nil:
		old.close()
	}
	c.portals[p.name] = p
	return nil
}

// endPortals closes the portals of a transaction that ends; after a COMMIT those WITH HOLD stay.
func (c *conn) endPortals(committed bool) {
	for name, p := range c.portals {
		if !committed || !p.hold {
			p.close()
			delete(c.portals, name)
		}
	}
}

// closeIdle closes the open portals that nobody has fetched from for long: each keeps the space of dropped tables taken.
func (c *conn) closeIdle() {
	for _, p := range c.portals {
		if p.res != nil && time.Since(p.touched) > cursorIdle {
			p.close()
			p.started = true
			p.tag = "idle"
			c.s.log.LogAttrs(c.ctx, slog.LevelInfo, "pgwire cursor closed", slog.String("user", c.who.User), slog.Duration("idle", cursorIdle))
		}
	}
}

// catalogMark is in the text of each translated statement that reads PostgreSQL's catalog.
const catalogMark = "memory._pg."

// start begins the portal's statement. In a result of the core the first rows are there afterwards.
func (c *conn) start(p *portal) error {
	if p.started {
		if p.tag == "idle" {
			return newError("34000", "the cursor was closed because nothing was fetched from it for "+cursorIdle.String(), "declare it again")
		}
		return nil
	}
	p.started = true
	st := p.st
	switch {
	case st.empty:
		return nil
	case st.cmd != nil:
		var err error
		p.tag, err = st.cmd.run(c, p)
		return err
	}
	if err := c.ensure(p.ctx, st); err != nil {
		return err
	}
	if strings.Contains(st.text, catalogMark) {
		// Translating it, which went well before, brings the catalog up to date.
		_, _ = c.s.opts.Translate(pgtype.WithSession(p.ctx, c.settings), st.sql)
	}
	req := query.Request{SQL: st.sql}
	used := st.q.Params()
	highest := 0
	for _, i := range st.order {
		highest = max(highest, i+1)
	}
	if highest == len(used) {
		req.Params = p.values[:highest]
	} else {
		req.Named = map[string]any{}
		for _, i := range st.order {
			req.Named[strconv.Itoa(i+1)] = p.values[i]
		}
	}
	var err error
	p.res, err = st.q.Run(p.ctx, req)
	if fault.CodeOf(err) == fault.ResultChanged {
		st.release() // the connection may know a table that was replaced
	}
	if err == nil && st.explain != nil {
		err = st.explain.read(p)
	}
	return err
}

// next makes p.chunk hold at least one row that was not given yet; false is the end.
func (p *portal) next() (bool, error) {
	if p.at < p.n {
		return true, nil
	}
	if p.res == nil {
		return false, nil
	}
	chunk, n, err := p.res.Next()
	if err != nil {
		return false, err
	}
	if chunk == nil {
		if p.res.Truncated() {
			return false, p.truncated()
		}
		p.done = true
		return false, nil
	}
	p.chunk, p.at, p.n = chunk, 0, n
	return true, nil
}

// truncated is the error of a result of which the role's limit has cut rows off.
func (p *portal) truncated() error {
	return newError("53400", "the result has more rows than the role may have: "+strconv.FormatInt(p.res.Rows(), 10), "ask for less: add a LIMIT, or aggregate")
}

// bytesFlush is how much is gathered before it is sent.
const bytesFlush = 64 << 10

// flushAfter sends what there is of a statement whose rows come slowly.
const flushAfter = 50 * time.Millisecond

// encoder turns rows at..to of a chunk into messages.
type encoder func(dst []byte, chunk *store.ResultChunk, row int) []byte

// rows sends at most so many rows of p, 0: all, and says how many and whether there may be more. Rows that nobody wants (MOVE) have a nil
// encoder. p has been started.
func (c *conn) rows(p *portal, most int64, enc encoder) (sent int64, more bool, err error) {
	defer func() {
		p.touched = time.Now()
		if err != nil || !more {
			return
		}
		if p.res != nil {
			p.res.Pause()
		}
	}()
	for most == 0 || sent < most {
		ok, err := p.next()
		if err != nil || !ok {
			return sent, false, err
		}
		to := p.n
		if most > 0 {
			to = int(min(int64(p.n), int64(p.at)+most-sent))
		}
		sent += int64(to - p.at)
		if enc == nil {
			p.at = to
			continue
		}
		begin := len(c.out)
		for ; p.at < to; p.at++ {
			c.out = enc(c.out, p.chunk, p.at)
			if len(c.out) >= bytesFlush {
				if err := c.pass(p, begin); err != nil {
					return sent, false, err
				}
				begin = 0
			}
		}
		if err := p.count(len(c.out) - begin); err != nil {
			return sent, false, err
		}
		if time.Since(c.sent) > flushAfter {
			if err := c.flush(); err != nil {
				return sent, false, err
			}
		}
	}
	return sent, true, nil
}

// pass sends what c.out holds; the bytes from begin on are rows of p.
func (c *conn) pass(p *portal, begin int) error {
	if err := p.count(len(c.out) - begin); err != nil {
		return err
	}
	return c.flush()
}

// count has the bytes of rows count against the role's limit.
func (p *portal) count(bytes int) error {
	if p.res == nil {
		return nil
	}
	return p.res.Sent(bytes)
}

// dataRow encodes DataRow messages in the formats that p's client wants.
func dataRow(columns int, binaries []bool) encoder {
	be := binary.BigEndian
	return func(dst []byte, chunk *store.ResultChunk, row int) []byte {
		start := len(dst)
		dst = append(dst, 'D', 0, 0, 0, 0, byte(columns>>8), byte(columns))
		for col := range columns {
			if chunk.IsNull(col, row) {
				dst = append(dst, 0xff, 0xff, 0xff, 0xff)
				continue
			}
			at := len(dst)
			dst = append(dst, 0, 0, 0, 0)
			if binaries[col] {
				dst = chunk.AppendPGBinary(dst, col, row)
			} else {
				dst = chunk.AppendPGText(dst, col, row)
			}
			be.PutUint32(dst[at:], uint32(len(dst)-at-4))
		}
		be.PutUint32(dst[start+1:], uint32(len(dst)-start-1))
		return dst
	}
}

// memoryRows sends rows that the session made itself, all of them text.
func (c *conn) memoryRows(p *portal, most int64) (sent int64, more bool) {
	be := binary.BigEndian
	for ; p.at < len(p.mem); p.at++ {
		if most > 0 && sent == most {
			return sent, true
		}
		sent++
		start := len(c.out)
		row := p.mem[p.at]
		c.out = append(c.out, 'D', 0, 0, 0, 0, byte(len(row)>>8), byte(len(row)))
		for _, v := range row {
			c.out = be.AppendUint32(c.out, uint32(len(v)))
			c.out = append(c.out, v...)
		}
		be.PutUint32(c.out[start+1:], uint32(len(c.out)-start-1))
	}
	p.done = true
	return sent, false
}

// perform runs p until it has given most rows, 0: all. suspended says that it may have more; else tag is its CommandComplete's.
func (c *conn) perform(p *portal, most int64) (tag string, suspended bool, err error) {
	err = c.running(p.ctx, p.cancel, func() error {
		if err := c.start(p); err != nil {
			return err
		}
		if p.st.empty {
			return nil
		}
		cmd := p.st.cmd
		if cmd != nil && cmd.columns == nil {
			tag = p.tag
			return nil
		}
		var sent int64
		switch {
		case p.done && cmd != nil:
			tag = countTag(cmd.tag, 0)
			return nil
		case p.mem != nil:
			_, suspended = c.memoryRows(p, most)
			if tag = "EXPLAIN"; cmd != nil {
				tag = cmd.tag
			}
			return nil
		case p.source != nil:
			limit := p.most
			if most > 0 && (limit == 0 || most < limit) {
				limit = most
			}
			sent, suspended, err = c.rows(p.source, limit, dataRow(len(p.columns), p.binary))
			if p.most > 0 {
				if p.most -= sent; p.most == 0 {
					p.done, suspended = true, false
				}
			}
			tag = countTag(cmd.tag, sent)
			return err
		case p.done:
			tag = countTag(p.st.verb(), 0)
			return nil
		}
		sent, suspended, err = c.rows(p, most, dataRow(len(p.columns), p.binary))
		tag = countTag(p.st.verb(), sent)
		return err
	})
	if err != nil {
		p.close()
	}
	return tag, suspended, err
}

// verb is what CommandComplete calls the statement.
func (st *statement) verb() string {
	if scan(st.sql, 0).is("explain") {
		return "EXPLAIN"
	}
	return "SELECT"
}

// formats reads format codes as Bind sends them: none, one for all, or one each.
func formats(codes []int16, n int, what string) ([]bool, error) {
	out := make([]bool, n)
	if len(codes) > 1 && len(codes) != n {
		return nil, protocolError("bind message has " + strconv.Itoa(len(codes)) + " " + what + " formats but there are " + strconv.Itoa(n))
	}
	for i := range out {
		code := int16(0)
		switch len(codes) {
		case 0:
		case 1:
			code = codes[0]
		default:
			code = codes[i]
		}
		if code != 0 && code != 1 {
			return nil, protocolError("unsupported format code: " + strconv.Itoa(int(code)))
		}
		out[i] = code == 1
	}
	return out, nil
}

// rowDescription appends what clients need to read rows.
func (c *conn) rowDescription(columns []column, binaries []bool) error {
	if len(columns) > math.MaxInt16 {
		return newError("54011", "the result has more than 32767 columns", "")
	}
	be := binary.BigEndian
	start := len(c.out)
	c.out = append(c.out, 'T', 0, 0, 0, 0)
	c.out = be.AppendUint16(c.out, uint16(len(columns)))
	for i, col := range columns {
		c.out = append(append(c.out, col.name...), 0)
		c.out = append(c.out, 0, 0, 0, 0, 0, 0) // of no table: which column it is of would have to be right too
		c.out = be.AppendUint32(c.out, col.typ.OID)
		c.out = be.AppendUint16(c.out, uint16(col.typ.Len))
		c.out = be.AppendUint32(c.out, uint32(col.typ.Mod))
		format := uint16(0)
		if binaries != nil && binaries[i] {
			format = 1
		}
		c.out = be.AppendUint16(c.out, format)
	}
	be.PutUint32(c.out[start+1:], uint32(len(c.out)-start-1))
	return nil
}

// complete appends a CommandComplete.
func (c *conn) complete(tag string) {
	c.out = append(c.out, 'C', 0, 0, 0, 0)
	binary.BigEndian.PutUint32(c.out[len(c.out)-4:], uint32(4+len(tag)+1))
	c.out = append(append(c.out, tag...), 0)
}
