package pgwire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/query/pgtype"
)

func itoa(n int) string { return strconv.Itoa(n) }

// newRowError is an error of one row, of which there may be others.
func newRowError(state, message string) *sqlError {
	return &sqlError{state: state, message: message, row: true}
}

// copyRound is what is put at a time.
type copyRound struct {
	plan        *copyPlan
	blocks      []*copyBlock
	rows, bytes int64
}

// Rows implements ingest.Rows.
func (r *copyRound) Rows() int64 { return r.rows }

// Bytes implements ingest.Rows.
func (r *copyRound) Bytes() int64 { return r.bytes }

// Feed implements ingest.Rows.
func (r *copyRound) Feed() change.Feed { return &copyFeed{round: r} }

// copyFeed hands the blocks to the threads that decode them.
type copyFeed struct {
	round *copyRound
	next  atomic.Int64
}

// Next implements change.Feed.
func (f *copyFeed) Next(ctx context.Context) (change.Reader, error) {
	i := int(f.next.Add(1)) - 1
	if i >= len(f.round.blocks) {
		return nil, io.EOF
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return f.round.plan.reader(f.round.blocks[i]), nil
}

// Workers implements change.Feed.
func (f *copyFeed) Workers() int { return len(f.round.blocks) }

// copyReader decodes a block.
type copyReader struct {
	plan    *copyPlan
	block   *copyBlock
	at      int
	line    int64
	scan    lineScan
	values  *types.Input
	scratch []byte // of values with escapes; its memory never moves while a chunk points at it
	fields  []copyField
}

// copyField is a field of a line, before its escapes are resolved.
type copyField struct {
	from, to int
	escapes  bool // it has a backslash, or quotes
	null     bool
}

func (p *copyPlan) reader(b *copyBlock) *copyReader {
	r := &copyReader{plan: p, block: b, line: b.line, values: types.NewInput(p.types, p.zone), fields: make([]copyField, 0, len(p.columns)+1)}
	r.scan.init(p)
	return r
}

// Close implements change.Reader.
func (r *copyReader) Close() error { return nil }

// Read implements change.Reader.
func (r *copyReader) Read(c *change.Chunk) (rows int, err error) {
	r.values.Reset()
	r.scratch = r.scratch[:0]
	b := r.block.data
	for ; rows < change.ChunkRows && r.at < len(b); rows++ {
		if r.plan.form == "binary" {
			err = r.tuple(c, rows)
		} else {
			end, ok := r.scan.next(b, true)
			if !ok {
				return 0, newRowError("22P04", "unterminated CSV quoted field")
			}
			line := b[r.at:end]
			r.at = end
			r.line += r.scan.lines
			r.scan.lines = 0
			err = r.row(c, rows, line)
		}
		if err != nil {
			return 0, err
		}
	}
	if rows == 0 {
		r.block.done.Store(true)
	}
	return rows, nil
}

// check decodes a block that is of no use any more, for its first error.
func (p *copyPlan) check(b *copyBlock) error {
	r := p.reader(b)
	c := types.NewChunk(p.types)
	for {
		n, err := r.Read(c)
		if n == 0 || err != nil {
			return err
		}
		types.ResetChunk(c)
	}
}

func (r *copyReader) fail(state, message, hint string, value []byte) error {
	e := newRowError(state, message)
	e.hint, e.where = hint, r.plan.context(r.line, "", value)
	return e
}

// row decodes a line.
func (r *copyReader) row(c *change.Chunk, row int, line []byte) error {
	line, err := r.bare(line)
	if err != nil {
		return err
	}
	if r.plan.form == "csv" {
		err = r.csvFields(line)
	} else {
		r.textFields(line)
	}
	if err != nil {
		return err
	}
	columns := r.plan.columns
	switch n := len(r.fields); {
	case n < len(columns):
		return r.fail("22P04", `missing data for column "`+clip(columns[n].Name)+`"`, "", line)
	case n > len(columns):
		return r.fail("22P04", "extra data after last expected column", "", line)
	}
	for i := range r.fields {
		f := &r.fields[i]
		if f.null {
			if err := r.null(c, i, row); err != nil {
				return err
			}
			continue
		}
		value := line[f.from:f.to]
		if f.escapes {
			value = r.resolve(value)
		}
		if err := r.values.Text(&c.Vectors[i], i, row, value); err != nil {
			return r.wrong(i, value, err)
		}
		if err := r.bounded(c, i, row, value); err != nil {
			return err
		}
	}
	return nil
}

// bare cuts the line's end off.
func (r *copyReader) bare(line []byte) ([]byte, error) {
	cr := false
	if n := len(line); n > 0 && line[n-1] == '\n' && r.plan.eol != eolCR {
		line = line[:n-1]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' && (r.plan.eol == eolCR || r.plan.eol == eolCRNL) {
		line, cr = line[:n-1], true
	}
	if r.plan.form == "csv" {
		return line, nil // quotes may hold all of them
	}
	if r.plan.eol == eolCRNL && !cr && r.at < len(r.block.data) {
		return nil, r.fail("22P04", "literal newline found in data", `Use "\n" to represent newline.`, line)
	}
	if i := bytes.IndexByte(line, '\r'); i == 0 || i > 0 && line[i-1] != '\\' {
		return nil, r.fail("22P04", "literal carriage return found in data", `Use "\r" to represent carriage return.`, line)
	}
	return line, nil
}

// textFields cuts a line at its delimiters.
func (r *copyReader) textFields(line []byte) {
	r.fields = r.fields[:0]
	null := r.plan.null
	add := func(from, to int, escapes bool) {
		f := copyField{from: from, to: to, escapes: escapes}
		f.null = to-from == len(null) && string(line[from:to]) == null
		r.fields = append(r.fields, f)
	}
	from := 0
	if bytes.IndexByte(line, '\\') < 0 {
		for {
			i := bytes.IndexByte(line[from:], r.plan.delimiter)
			if i < 0 {
				add(from, len(line), false)
				return
			}
			add(from, from+i, false)
			from += i + 1
		}
	}
	escapes := false
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			escapes = true
			i++
		case r.plan.delimiter:
			add(from, i, escapes)
			from, escapes = i+1, false
		}
	}
	add(from, len(line), escapes)
}

// csvFields cuts a line at the delimiters that are not within quotes.
func (r *copyReader) csvFields(line []byte) error {
	p := r.plan
	r.fields = r.fields[:0]
	add := func(from, to int, quotes bool) {
		f := copyField{from: from, to: to, escapes: quotes}
		col := len(r.fields)
		if !quotes && string(line[from:to]) == p.null {
			f.null = col >= len(p.columns) || !p.columns[col].neverNull
		}
		r.fields = append(r.fields, f)
	}
	from, quotes, quoted := 0, false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quoted && c == p.escape && i+1 < len(line) && (line[i+1] == p.escape || line[i+1] == p.quote):
			i++
		case c == p.quote:
			quotes, quoted = true, !quoted
		case quoted:
		case c == p.delimiter:
			add(from, i, quotes)
			from, quotes = i+1, false
		case c == '\r':
			return r.fail("22P04", "unquoted carriage return found in data", "Use quoted CSV field to represent carriage return.", line)
		case c == '\n':
			return r.fail("22P04", "unquoted newline found in data", "Use quoted CSV field to represent newline.", line)
		}
	}
	if quoted {
		return r.fail("22P04", "unterminated CSV quoted field", "", line)
	}
	add(from, len(line), quotes)
	for i := range r.fields {
		f := &r.fields[i]
		if i < len(p.columns) && p.columns[i].nullToo && f.escapes && string(r.resolve(line[f.from:f.to])) == p.null {
			f.null = true
		}
	}
	return nil
}

// resolve gives a field without its escapes or quotes.
func (r *copyReader) resolve(field []byte) []byte {
	if cap(r.scratch)-len(r.scratch) < len(field) {
		// What a chunk points at must not move, and nothing but this keeps it: all the block's values fit, read twice where FORCE_NULL does so.
		n := len(r.block.data)
		if !r.plan.forceNull.none() {
			n *= 2
		}
		r.scratch = make([]byte, 0, n)
	}
	begin := len(r.scratch)
	if r.plan.form == "csv" {
		r.unquote(field)
	} else {
		r.unescape(field)
	}
	return r.scratch[begin:len(r.scratch):len(r.scratch)]
}

func (r *copyReader) unquote(field []byte) {
	p, quoted := r.plan, false
	for i := 0; i < len(field); i++ {
		c := field[i]
		switch {
		case quoted && c == p.escape && i+1 < len(field) && (field[i+1] == p.escape || field[i+1] == p.quote):
			i++
			r.scratch = append(r.scratch, field[i])
		case c == p.quote:
			quoted = !quoted
		default:
			r.scratch = append(r.scratch, c)
		}
	}
}

var textUnescapes = [256]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}

func (r *copyReader) unescape(field []byte) {
	for i := 0; i < len(field); i++ {
		c := field[i]
		if c != '\\' || i+1 == len(field) {
			r.scratch = append(r.scratch, c)
			continue
		}
		i++
		c = field[i]
		switch {
		case textUnescapes[c] != 0:
			c = textUnescapes[c]
		case c >= '0' && c <= '7':
			c -= '0'
			for k := 0; k < 2 && i+1 < len(field) && field[i+1]&^7 == '0'; k++ {
				i++
				c = c<<3 | field[i]&7
			}
		case c == 'x' && i+1 < len(field) && hexDigit(field[i+1]) >= 0:
			i++
			c = byte(hexDigit(field[i]))
			if i+1 < len(field) && hexDigit(field[i+1]) >= 0 {
				i++
				c = c<<4 | byte(hexDigit(field[i]))
			}
		}
		r.scratch = append(r.scratch, c)
	}
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// tuple decodes a binary row.
func (r *copyReader) tuple(c *change.Chunk, row int) error {
	b := r.block.data
	r.line++
	r.at += 2
	for i := range r.plan.columns {
		n := int(int32(binary.BigEndian.Uint32(b[r.at:])))
		if r.at += 4; n < 0 {
			if err := r.null(c, i, row); err != nil {
				return err
			}
			continue
		}
		value := b[r.at : r.at+n : r.at+n]
		r.at += n
		if err := r.values.Binary(&c.Vectors[i], i, row, value); err != nil {
			return r.wrong(i, value, err)
		}
		if err := r.bounded(c, i, row, nil); err != nil {
			return err
		}
	}
	return nil
}

func (r *copyReader) null(c *change.Chunk, col, row int) error {
	if r.plan.columns[col].NotNull {
		name := r.plan.columns[col].Name
		e := newRowError("23502", `null value in column "`+clip(name)+`" of relation "`+clip(r.plan.table)+`" violates not-null constraint`)
		e.where = r.plan.context(r.line, name, nil)
		return e
	}
	c.Vectors[col].SetNull(row)
	return nil
}

// bounded checks whole numbers for which PostgreSQL has no type of their size.
func (r *copyReader) bounded(c *change.Chunk, col, row int, value []byte) error {
	k := &r.plan.columns[col]
	if k.lo == k.hi {
		return nil
	}
	var x int64
	switch v := &c.Vectors[col]; r.plan.types[col].Kind {
	case types.Int16:
		x = int64(*change.At[int16](v, row))
	case types.Int32:
		x = int64(*change.At[int32](v, row))
	default:
		x = *change.At[int64](v, row)
	}
	if x >= k.lo && x <= k.hi {
		return nil
	}
	if value == nil {
		value = strconv.AppendInt(nil, x, 10)
	}
	return r.wrong(col, value, change.ErrOutOfRange)
}

// typeNames are those of messages, where they are not pgtype's.
var typeNames = map[uint32]string{
	pgtype.Bool: "boolean", pgtype.Int2: "smallint", pgtype.Int4: "integer", pgtype.Int8: "bigint", pgtype.Float4: "real", pgtype.Float8: "double precision",
	pgtype.TimestampTZ: "timestamp with time zone", pgtype.TimeTZ: "time with time zone", pgtype.Varbit: "bit varying",
}

// wrong is why a value is refused, in PostgreSQL's words.
func (r *copyReader) wrong(col int, value []byte, why error) error {
	k := &r.plan.columns[col]
	name := k.pg.Name
	if long, ok := typeNames[k.pg.OID]; ok {
		name = long
	}
	if k.lo != k.hi {
		name = k.Type
	}
	quoted := `: "` + cut(value) + `"`
	e := newRowError("22P02", "invalid input syntax for type "+name+quoted)
	_, array := pgtype.Element(k.pg.OID)
	moment := slices.Contains([]uint32{pgtype.Date, pgtype.Time, pgtype.TimeTZ, pgtype.Timestamp, pgtype.TimestampTZ, pgtype.Interval}, k.pg.OID)
	switch {
	case errors.Is(why, types.ErrBinary):
		e.state, e.message = "22P03", "incorrect binary data format"
		value = nil
	case errors.Is(why, types.ErrEncoding):
		e.state, e.message = "22021", `invalid byte sequence for encoding "UTF8"`
		value = nil
	case errors.Is(why, types.ErrCalendar):
		e.state, e.message = "22008", "date/time field value out of range"+quoted
	case errors.Is(why, types.ErrZone):
		e.state, e.message = "22023", "time zone not recognized"+quoted
	case errors.Is(why, types.ErrOffset):
		e.state, e.message = "22009", "time zone displacement out of range"+quoted
	case errors.Is(why, types.ErrSyntax) && k.pg.OID == pgtype.Bytea && bytes.HasPrefix(value, []byte(`\x`)):
		e.state, e.message = "22023", "invalid hexadecimal data"+quoted
	case errors.Is(why, types.ErrSyntax) && array:
		e.message = "malformed array literal" + quoted
	case errors.Is(why, types.ErrSyntax) && moment:
		e.state = "22007"
	case errors.Is(why, types.ErrSyntax):
	case k.pg.OID == pgtype.Interval:
		e.state, e.message = "22015", "interval field value out of range"+quoted
	case moment:
		e.state, e.message = "22008", name+" out of range: "+why.Error()
	case k.pg.OID == pgtype.Numeric:
		e.state, e.message, e.detail = "22003", "numeric field overflow", why.Error()
	case array:
		e.state, e.message = "22003", "the array cannot be stored: "+why.Error()
	default:
		e.state, e.message = "22003", `value "`+cut(value)+`" is out of range for type `+name
	}
	if r.plan.form == "binary" {
		value = nil
	}
	e.where = r.plan.context(r.line, k.Name, value)
	return e
}

// headerLine checks the names of a header, if the client wants that.
func (p *copyPlan) headerLine(line []byte, number int64) error {
	if !p.match {
		return nil
	}
	r := &copyReader{plan: p, block: &copyBlock{data: line}, line: number, at: len(line)}
	line = bytes.TrimRight(line, "\r\n")
	if p.form == "csv" {
		if err := r.csvFields(line); err != nil {
			return err
		}
	} else {
		r.textFields(line)
	}
	if len(r.fields) != len(p.columns) {
		return r.fail("22P04", "wrong number of fields in header line: got "+itoa(len(r.fields))+", expected "+itoa(len(p.columns)), "", line)
	}
	for i, f := range r.fields {
		name := line[f.from:f.to]
		if f.escapes {
			name = r.resolve(name)
		}
		if f.null || string(name) != p.columns[i].Name {
			return r.fail("22P04", "column name mismatch in header line field "+itoa(i+1)+`: got "`+cut(name)+`", expected "`+clip(p.columns[i].Name)+`"`, "", line)
		}
	}
	return nil
}
