package pgwire

import (
	"bytes"
	"strings"

	"github.com/pintaildb/pintail/query/columnar"
)

// copySpec is a COPY statement.
type copySpec struct {
	query   string   // of COPY TO
	from    bool     // FROM STDIN
	table   []string // one or two parts; nil: a query
	columns []string // nil: all
	form    string   // text, csv, binary; for COPY TO parquet and arrow too

	header      bool
	match       bool // the header must name the columns
	delimiter   byte
	null        string
	quote       byte
	escape      byte
	forceAll    bool
	forceQuote  []string
	forceNull   columnList
	forceValue  columnList // never NULL
	compression string     // of parquet

	delimiterSet, nullSet, quoteSet, escapeSet bool
}

// columnList is a list of columns, or all of them.
type columnList struct {
	all   bool
	names []string
}

func (l *columnList) none() bool { return !l.all && l.names == nil }

func copyCommand(_ *conn, s *scanner) (*command, error) {
	o := &copySpec{form: "text"}
	if s.accept("binary") {
		o.form = "binary"
	}
	if err := o.target(s); err != nil {
		return nil, err
	}
	if o.from = s.accept("from"); !o.from && !s.accept("to") {
		return nil, s.unexpected()
	}
	switch {
	case o.from && o.table == nil:
		return nil, newError("42601", "COPY FROM needs a table", "")
	case o.from && !s.accept("stdin"):
		return nil, newError("42501", "COPY can only read from STDIN", `use psql's \copy, or COPY … FROM STDIN`)
	case !o.from && !s.accept("stdout"):
		return nil, newError("42501", "COPY can only write to STDOUT", `use psql's \copy, or COPY … TO STDOUT`)
	}
	if err := o.options(s); err != nil {
		return nil, err
	}
	if s.tok.is("where") {
		return nil, newError("0A000", "COPY FROM … WHERE is not supported", "send the rows that are wanted")
	}
	if !s.done() {
		return nil, s.unexpected()
	}
	return &command{tag: "COPY", copy: o}, o.check()
}

// target reads what is copied: a query in parentheses, or a table with or without columns.
func (o *copySpec) target(s *scanner) error {
	if s.tok.symbol("(") {
		inner, err := s.parens()
		o.query = inner
		return err
	}
	begin := s.tok.pos
	var stop int
	for {
		stop = s.tok.stop
		name, ok := s.name()
		if !ok {
			return s.unexpected()
		}
		if o.table = append(o.table, name); !s.acceptSymbol(".") {
			break
		}
	}
	table, columns := s.sql[begin:stop], "*"
	if s.tok.symbol("(") {
		at := *s
		inner, err := s.parens()
		if err != nil {
			return err
		}
		columns = inner
		if o.columns, err = at.list(); err != nil {
			return err
		}
	}
	o.query = "SELECT " + columns + " FROM " + table
	return nil
}

// list takes ( name, … ).
func (s *scanner) list() ([]string, error) {
	if !s.acceptSymbol("(") {
		return nil, s.unexpected()
	}
	var names []string
	for {
		name, ok := s.name()
		if !ok {
			return nil, s.unexpected()
		}
		if names = append(names, name); s.acceptSymbol(")") {
			return names, nil
		}
		if !s.acceptSymbol(",") {
			return nil, s.unexpected()
		}
	}
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
func (o *copySpec) options(s *scanner) error {
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
	for s.tok.kind == word && !s.tok.is("where") {
		if err := o.option(s, s.next().val, false); err != nil {
			return err
		}
	}
	return nil
}

func (o *copySpec) option(s *scanner, name string, listed bool) error {
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
		return o.format(s.next().val)
	case "csv", "binary":
		if listed {
			return newError("42601", `option "`+name+`" not recognized`, "FORMAT "+name)
		}
		o.form = name
	case "header":
		return o.headerOption(s, listed)
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
			return newError("0A000", "only UTF8 is read and written", "")
		}
	case "compression":
		o.compression = strings.ToLower(s.next().val)
	case "freeze":
		if s.tok.kind == word || s.tok.kind == text {
			s.next() // it changes nothing that could be seen
		}
	case "force":
		switch {
		case s.accept("quote"):
			return o.force(s, "force_quote")
		case s.accept("not", "null"):
			return o.force(s, "force_not_null")
		case s.accept("null"):
			return o.force(s, "force_null")
		}
		return s.unexpected()
	case "force_quote", "force_not_null", "force_null":
		return o.force(s, name)
	default:
		return newError("42601", `option "`+clip(name)+`" not recognized`, "")
	}
	return nil
}

func (o *copySpec) format(form string) error {
	switch form {
	case "text", "csv", "binary":
	case "parquet", "arrow":
		if o.from {
			return newError("0A000", "COPY FROM does not read "+form, "send text, csv or binary; rows in Arrow go through Flight")
		}
	default:
		return newError("22023", `COPY format "`+clip(form)+`" not recognized`, "text, csv or binary; parquet and arrow for COPY TO")
	}
	o.form = form
	return nil
}

func (o *copySpec) headerOption(s *scanner, listed bool) error {
	o.header = true
	if !listed || s.tok.kind != word && s.tok.kind != text && s.tok.kind != number {
		return nil
	}
	val := s.next().val
	if o.match = strings.EqualFold(val, "match"); o.match {
		if !o.from {
			return newError("0A000", `cannot use "match" with HEADER in COPY TO`, "")
		}
		return nil
	}
	v, ok := boolean(val)
	if !ok {
		return newError("42601", `header requires a Boolean value or "match"`, "")
	}
	o.header = v == "on"
	return nil
}

// force reads what columns one of the FORCE options is for.
func (o *copySpec) force(s *scanner, name string) error {
	list := columnList{all: s.acceptSymbol("*")}
	if !list.all {
		if s.tok.symbol("(") {
			var err error
			if list.names, err = s.list(); err != nil {
				return err
			}
		} else {
			for {
				col, ok := s.name()
				if !ok {
					return s.unexpected()
				}
				if list.names = append(list.names, col); !s.acceptSymbol(",") {
					break
				}
			}
		}
	}
	if (name == "force_quote") == o.from {
		return newError("0A000", "COPY "+name+" cannot be used with COPY "+map[bool]string{true: "FROM", false: "TO"}[o.from], "")
	}
	switch name {
	case "force_quote":
		o.forceAll, o.forceQuote = list.all, list.names
	case "force_null":
		o.forceNull = list
	default:
		o.forceValue = list
	}
	return nil
}

// check fills in the defaults and refuses what does not go together.
func (o *copySpec) check() error {
	csv := o.form == "csv"
	plain := csv || o.form == "text"
	if !plain && (o.delimiterSet || o.nullSet || o.header) {
		return newError("42601", "COPY in the "+o.form+" format has neither a delimiter, a null string nor a header", "")
	}
	if !csv && (o.quoteSet || o.escapeSet || o.forceAll || o.forceQuote != nil || !o.forceNull.none() || !o.forceValue.none()) {
		return newError("0A000", "COPY quote, escape and the force options need the format csv", "")
	}
	if _, ok := columnar.Compressions[o.compression]; !ok || o.compression != "" && o.form != "parquet" {
		return newError("22023", "COPY compression is one of Parquet's, and needs that format", "zstd, snappy, gzip, brotli, lz4_raw or uncompressed")
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
	case csv && (o.quote == '\n' || o.quote == '\r' || o.escape == '\n' || o.escape == '\r'):
		return newError("22023", "COPY quote and escape cannot be a line break", "")
	case !csv && bytes.IndexByte([]byte(`\.abcdefghijklmnopqrstuvwxyz0123456789`), o.delimiter) >= 0:
		return newError("22023", "this character cannot be COPY's delimiter", "")
	case csv && o.delimiter == o.quote:
		return newError("22023", "COPY delimiter and quote must be different", "")
	case bytes.IndexByte([]byte(o.null), o.delimiter) >= 0:
		return newError("22023", "COPY delimiter must not appear in the null string", "")
	case csv && bytes.IndexByte([]byte(o.null), o.quote) >= 0:
		return newError("22023", "CSV quote character must not appear in the NULL specification", "")
	}
	return nil
}
