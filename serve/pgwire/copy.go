package pgwire

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/store"
)

// copyOut is a COPY … TO STDOUT.
type copyOut struct {
	query      string
	format     string // text, csv, binary
	header     bool
	delimiter  byte
	null       string
	quote      byte
	escape     byte
	forceAll   bool
	forceQuote []string

	delimiterSet, nullSet, quoteSet, escapeSet bool
}

func copyCommand(_ *conn, s *scanner) (*command, error) {
	o := &copyOut{format: "text"}
	if s.accept("binary") {
		o.format = "binary"
	}
	if err := o.target(s); err != nil {
		return nil, err
	}
	if s.accept("from") {
		return nil, newError("0A000", "COPY FROM is not supported", "this is a copy that is only read; load the data where it comes from")
	}
	if !s.accept("to") {
		return nil, s.unexpected()
	}
	if !s.accept("stdout") {
		return nil, newError("42501", "COPY can only write to STDOUT", `use psql's \copy, or COPY … TO STDOUT`)
	}
	if err := o.options(s); err != nil {
		return nil, err
	}
	if !s.done() {
		return nil, s.unexpected()
	}
	return &command{tag: "COPY", copy: o}, o.check()
}

// target reads what is copied: a query in parentheses, or a table with or without columns.
func (o *copyOut) target(s *scanner) error {
	if s.tok.symbol("(") {
		inner, err := s.parens()
		o.query = inner
		return err
	}
	begin := s.tok.pos
	if _, ok := s.name(); !ok {
		return s.unexpected()
	}
	stop := s.tok.pos
	for s.acceptSymbol(".") {
		if _, ok := s.name(); !ok {
			return s.unexpected()
		}
		stop = s.tok.pos
	}
	table, columns := s.sql[begin:stop], "*"
	if s.tok.symbol("(") {
		inner, err := s.parens()
		if err != nil {
			return err
		}
		columns = inner
	}
	o.query = "SELECT " + columns + " FROM " + table
	return nil
}

// parens takes ( … ) and gives what is within.
func (s *scanner) parens() (string, error) {
	begin := s.next().stop
	for depth := 1; ; {
		t := s.tok
		switch {
		case t.kind == end:
			return "", s.unexpected()
		case t.symbol("("):
			depth++
		case t.symbol(")"):
			depth--
		}
		s.next()
		if depth == 0 {
			return s.sql[begin:t.pos], nil
		}
	}
}

// options reads both forms: (FORMAT csv, HEADER) and CSV HEADER.
func (o *copyOut) options(s *scanner) error {
	s.accept("with")
	if s.acceptSymbol("(") {
		for {
			name, ok := s.name()
			if !ok {
				return s.unexpected()
			}
			if err := o.option(s, name, true); err != nil {
				return err
			}
			if s.acceptSymbol(")") {
				return nil
			}
			if !s.acceptSymbol(",") {
				return s.unexpected()
			}
		}
	}
	for s.tok.kind == word {
		if err := o.option(s, s.next().val, false); err != nil {
			return err
		}
	}
	return nil
}

func (o *copyOut) option(s *scanner, name string, listed bool) error {
	char := func(dst *byte, set *bool) error {
		s.accept("as")
		t := s.next()
		if t.kind != text || len(t.val) != 1 {
			return newError("0A000", "COPY "+name+" must be a single one-byte character", "")
		}
		*dst, *set = t.val[0], true
		return nil
	}
	switch name {
	case "format":
		t := s.next()
		switch t.val {
		case "text", "csv", "binary":
			o.format = t.val
		default:
			return newError("22023", `COPY format "`+clip(t.val)+`" not recognized`, "text, csv or binary")
		}
	case "csv", "binary":
		if listed {
			return newError("42601", `option "`+name+`" not recognized`, "FORMAT "+name)
		}
		o.format = name
	case "header":
		o.header = true
		if listed && (s.tok.kind == word || s.tok.kind == text || s.tok.kind == number) {
			v, ok := boolean(s.next().val)
			if !ok {
				return newError("42601", "header requires a Boolean value", "")
			}
			o.header = v == "on"
		}
	case "delimiter", "delimiters":
		return char(&o.delimiter, &o.delimiterSet)
	case "quote":
		return char(&o.quote, &o.quoteSet)
	case "escape":
		return char(&o.escape, &o.escapeSet)
	case "null":
		s.accept("as")
		t := s.next()
		if t.kind != text {
			return newError("42601", "COPY null needs a string", "")
		}
		o.null, o.nullSet = t.val, true
	case "encoding":
		if _, ok := encoding(s.next().val); !ok {
			return newError("0A000", "only UTF8 is written", "")
		}
	case "force", "force_quote":
		if name == "force" && !s.accept("quote") {
			return s.unexpected()
		}
		if s.acceptSymbol("*") {
			o.forceAll = true
			return nil
		}
		parens := s.acceptSymbol("(")
		for {
			col, ok := s.name()
			if !ok {
				return s.unexpected()
			}
			o.forceQuote = append(o.forceQuote, col)
			if !s.acceptSymbol(",") {
				break
			}
		}
		if parens && !s.acceptSymbol(")") {
			return s.unexpected()
		}
	default:
		return newError("42601", `option "`+clip(name)+`" not recognized`, "")
	}
	return nil
}

// check fills in the defaults and refuses what does not go together.
func (o *copyOut) check() error {
	csv := o.format == "csv"
	if o.format == "binary" && (o.delimiterSet || o.nullSet || o.header) {
		return newError("42601", "COPY in the binary format has neither a delimiter, a null string nor a header", "")
	}
	if !csv && (o.quoteSet || o.escapeSet || o.forceAll || o.forceQuote != nil) {
		return newError("0A000", "COPY quote, escape and force_quote need the format csv", "")
	}
	if !o.delimiterSet {
		o.delimiter = '\t'
		if csv {
			o.delimiter = ','
		}
	}
	if !o.quoteSet {
		o.quote = '"'
	}
	if !o.escapeSet {
		o.escape = o.quote
	}
	if !o.nullSet && !csv {
		o.null = `\N`
	}
	switch {
	case o.delimiter == '\n' || o.delimiter == '\r' || bytes.ContainsAny([]byte(o.null), "\r\n"):
		return newError("22023", "COPY delimiter and null cannot hold a line break", "")
	case !csv && bytes.IndexByte([]byte(`\.abcdefghijklmnopqrstuvwxyz0123456789`), o.delimiter) >= 0:
		return newError("22023", "this character cannot be COPY's delimiter", "")
	case csv && o.delimiter == o.quote:
		return newError("22023", "COPY delimiter and quote must be different", "")
	case bytes.IndexByte([]byte(o.null), o.delimiter) >= 0:
		return newError("22023", "COPY delimiter must not appear in the null string", "")
	}
	return nil
}

// copyTo runs a COPY to its end.
func (c *conn) copyTo(p *portal) error {
	o := p.st.cmd.copy
	c.s.metrics.statements.WithLabelValues("copy").Inc()
	st, err := c.prepare(o.query, nil)
	if st != nil {
		defer st.release()
	}
	switch {
	case err != nil:
		return err
	case st.cmd != nil || st.empty:
		return newError("42601", "COPY needs a SELECT or a table", "")
	case len(st.params) > 0:
		return newError("42P02", "there is no parameter $1", "")
	}
	inner := c.newPortal("", st, nil)
	defer inner.close()
	var sent int64
	err = c.running(inner.ctx, inner.cancel, func() (err error) {
		if err = c.start(inner); err != nil {
			return err
		}
		codes := make([]uint16, len(st.columns))
		overall := byte(0)
		if o.format == "binary" {
			overall = 1
			for i := range codes {
				codes[i] = 1
			}
		}
		c.send(&pgproto3.CopyOutResponse{OverallFormat: overall, ColumnFormatCodes: codes})
		c.out = o.begin(c.out, st.columns)
		sent, _, err = c.rows(inner, 0, o.encoder(st.columns))
		return err
	})
	if err != nil {
		return err
	}
	if o.format == "binary" {
		c.out = append(c.out, 'd', 0, 0, 0, 6, 0xff, 0xff)
	}
	c.send(&pgproto3.CopyDone{})
	c.complete(countTag("COPY", sent))
	return nil
}

// begin appends what comes before the rows.
func (o *copyOut) begin(dst []byte, columns []column) []byte {
	start := len(dst)
	switch {
	case o.format == "binary":
		dst = append(dst, 'd', 0, 0, 0, 0)
		dst = append(dst, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	case o.header:
		dst = append(dst, 'd', 0, 0, 0, 0)
		for i, col := range columns {
			if i > 0 {
				dst = append(dst, o.delimiter)
			}
			at := len(dst)
			dst = append(dst, col.name...)
			if o.format == "csv" {
				dst = o.quoteCSV(dst, at, false, len(columns) == 1)
			} else {
				dst = o.escapeText(dst, at)
			}
		}
		dst = append(dst, '\n')
	default:
		return dst
	}
	binary.BigEndian.PutUint32(dst[start+1:], uint32(len(dst)-start-1))
	return dst
}

// encoder writes a row into a CopyData message of its own.
func (o *copyOut) encoder(columns []column) encoder {
	n := len(columns)
	forced := make([]bool, n)
	for i, col := range columns {
		forced[i] = o.forceAll || slices.Contains(o.forceQuote, col.name)
	}
	be := binary.BigEndian
	row := func(dst []byte, chunk *store.ResultChunk, row int) []byte {
		for col := range n {
			if col > 0 {
				dst = append(dst, o.delimiter)
			}
			if chunk.IsNull(col, row) {
				dst = append(dst, o.null...)
				continue
			}
			at := len(dst)
			dst = chunk.AppendPGText(dst, col, row)
			if o.format == "csv" {
				dst = o.quoteCSV(dst, at, forced[col], n == 1)
			} else {
				dst = o.escapeText(dst, at)
			}
		}
		return append(dst, '\n')
	}
	if o.format == "binary" {
		row = func(dst []byte, chunk *store.ResultChunk, row int) []byte {
			dst = be.AppendUint16(dst, uint16(n))
			for col := range n {
				if chunk.IsNull(col, row) {
					dst = append(dst, 0xff, 0xff, 0xff, 0xff)
					continue
				}
				at := len(dst)
				dst = chunk.AppendPGBinary(append(dst, 0, 0, 0, 0), col, row)
				be.PutUint32(dst[at:], uint32(len(dst)-at-4))
			}
			return dst
		}
	}
	return func(dst []byte, chunk *store.ResultChunk, i int) []byte {
		start := len(dst)
		dst = row(append(dst, 'd', 0, 0, 0, 0), chunk, i)
		be.PutUint32(dst[start+1:], uint32(len(dst)-start-1))
		return dst
	}
}

// quoteCSV quotes the field at the end of dst, from at on, where it has to be.
func (o *copyOut) quoteCSV(dst []byte, at int, forced, alone bool) []byte {
	field := dst[at:]
	needed := forced || string(field) == o.null || alone && string(field) == `\.`
	escapes := 0
	for _, b := range field {
		switch b {
		case o.quote, o.escape:
			escapes++
			needed = needed || b == o.quote
		case o.delimiter, '\n', '\r':
			needed = true
		}
	}
	if !needed {
		return dst
	}
	n := len(dst)
	for range escapes + 2 {
		dst = append(dst, o.quote)
	}
	to := len(dst) - 1
	for from := n - 1; from >= at; from-- {
		b := dst[from]
		to--
		dst[to] = b
		if b == o.quote || b == o.escape {
			to--
			dst[to] = o.escape
		}
	}
	dst[at], dst[len(dst)-1] = o.quote, o.quote
	return dst
}

// textEscapes are the letters behind a backslash in COPY's text format.
var textEscapes = [256]byte{'\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't', '\v': 'v', '\\': '\\'}

// escapeText escapes the field at the end of dst, from at on.
func (o *copyOut) escapeText(dst []byte, at int) []byte {
	escapes := 0
	for _, b := range dst[at:] {
		if textEscapes[b] != 0 || b == o.delimiter {
			escapes++
		}
	}
	if escapes == 0 {
		return dst
	}
	n := len(dst)
	for range escapes {
		dst = append(dst, 0)
	}
	to := len(dst)
	for from := n - 1; from >= at; from-- {
		b := dst[from]
		e := textEscapes[b]
		if e == 0 && b == o.delimiter {
			e = b
		}
		to--
		if e == 0 {
			dst[to] = b
			continue
		}
		dst[to] = e
		to--
		dst[to] = '\\'
	}
	return dst
}
