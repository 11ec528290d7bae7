package flightsql

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query/ingest"
)

// CREATE TABLE is what loaders send before they put rows. It is read here, and carried out as a put of no rows: so the same rights
// hold for both. DROP TABLE is for tables that were made so.

const hintDrop = "DROP TABLE [IF EXISTS] [schema.]table"

const hintCreate = "CREATE [OR REPLACE] TABLE [IF NOT EXISTS] [schema.]table (column TYPE [NOT NULL], …); rows come in by DoPut"

// token is a word (folded), a quoted name, a number or a sign.
type token struct {
	text   string // folded, unless quoted
	raw    string // as written
	quoted bool   // "…"
	word   bool   // letters: a keyword or a name
}

// tokens cuts sql up; false when there is something in it that a CREATE TABLE does not need.
func tokens(sql string) (all []token, ok bool) {
	for {
		sql = skipBlank(sql)
		if sql == "" {
			return all, true
		}
		r, size := utf8.DecodeRuneInString(sql)
		switch {
		case r == '"':
			end := 1
			for {
				i := strings.IndexByte(sql[end:], '"')
				if i < 0 {
					return nil, false
				}
				if end += i + 1; !strings.HasPrefix(sql[end:], `"`) {
					break
				}
				end++
			}
			raw := sql[:end]
			all = append(all, token{text: strings.ReplaceAll(raw[1:end-1], `""`, `"`), raw: raw, quoted: true})
			sql = sql[end:]
		case r == '_' || unicode.IsLetter(r):
			end := strings.IndexFunc(sql, func(r rune) bool { return r != '_' && r != '$' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
			if end < 0 {
				end = len(sql)
			}
			all = append(all, token{text: strings.ToLower(sql[:end]), raw: sql[:end], word: true})
			sql = sql[end:]
		case r >= '0' && r <= '9':
			end := strings.IndexFunc(sql, func(r rune) bool { return r < '0' || r > '9' })
			if end < 0 {
				end = len(sql)
			}
			all = append(all, token{text: sql[:end], raw: sql[:end]})
			sql = sql[end:]
		case strings.ContainsRune("(),.;[]", r):
			all = append(all, token{text: string(r), raw: string(r)})
			sql = sql[size:]
		default:
			return nil, false
		}
	}
}

// skipBlank skips blanks and comments.
func skipBlank(s string) string {
	for {
		s = strings.TrimLeftFunc(s, unicode.IsSpace)
		switch {
		case strings.HasPrefix(s, "--"):
			_, s, _ = strings.Cut(s, "\n")
		case strings.HasPrefix(s, "/*"):
			_, rest, ok := strings.Cut(s[2:], "*/")
			if !ok {
				return s
			}
			s = rest
		default:
			return s
		}
	}
}

// isDDL says whether sql begins as one of the two.
func isDDL(sql string) bool {
	var words []string
	for len(words) < 4 {
		sql = skipBlank(sql)
		end := strings.IndexFunc(sql, func(r rune) bool { return !unicode.IsLetter(r) })
		if end < 0 {
			end = len(sql)
		}
		if end == 0 {
			break
		}
		words = append(words, strings.ToLower(sql[:end]))
		sql = sql[end:]
	}
	text := strings.Join(words, " ") + " "
	return strings.HasPrefix(text, "create table ") || text == "create or replace table " || strings.HasPrefix(text, "drop table ")
}

type columnDef struct {
	name, sqlType string
	notNull       bool
}

// newTable is what a CREATE TABLE says.
type newTable struct {
	target  ingest.Target
	columns []columnDef
}

// parser reads tokens from the front.
type parser []token

func (p *parser) accept(texts ...string) bool {
	if len(*p) < len(texts) {
		return false
	}
	for i, t := range texts {
		if (*p)[i].quoted || (*p)[i].text != t {
			return false
		}
	}
	*p = (*p)[len(texts):]
	return true
}

func (p *parser) name() (string, bool) {
	if len(*p) == 0 || !(*p)[0].quoted && !(*p)[0].word {
		return "", false
	}
	t := (*p)[0]
	*p = (*p)[1:]
	if t.quoted {
		return t.text, true
	}
	return t.raw, true
}

// table reads a table's name.
func (p *parser) table() (t ingest.Target, ok bool) {
	t.Schema = mainSchema
	if t.Table, ok = p.name(); ok && p.accept(".") {
		t.Schema = t.Table
		t.Table, ok = p.name()
	}
	return t, ok
}

// parseCreateTable reads a statement that begins as one.
func parseCreateTable(p parser) (c newTable, err error) {
	wrong := func(what string) error {
		return fault.New(fault.InvalidSQL, hintCreate, "this CREATE TABLE cannot be carried out here: %s", what)
	}
	mode, ok := ingest.Create, false
	p.accept("create")
	if p.accept("or", "replace") {
		mode = ingest.Replace
	}
	p.accept("table")
	if p.accept("if", "not", "exists") {
		if mode == ingest.Replace {
			return c, wrong("OR REPLACE and IF NOT EXISTS exclude each other")
		}
		mode = ingest.CreateAppend
	}
	if c.target, ok = p.table(); !ok {
		return c, wrong("the table's name is missing")
	}
	c.target.Mode = mode
	if !p.accept("(") {
		return c, wrong("the columns are missing")
	}
	for {
		col, err := p.column()
		if err != "" {
			return c, wrong(err)
		}
		c.columns = append(c.columns, col)
		if p.accept(",") {
			continue
		}
		if !p.accept(")") {
			return c, wrong("the list of columns does not end")
		}
		p.accept(";")
		if len(p) > 0 {
			return c, wrong("something follows the list of columns")
		}
		return c, nil
	}
}

// column reads one column up to the comma or parenthesis that ends it.
func (p *parser) column() (c columnDef, wrong string) {
	var ok bool
	if c.name, ok = p.name(); !ok {
		return c, "a column's name is missing"
	}
	var words []string
	depth := 0
	for len(*p) > 0 {
		t := (*p)[0]
		if !t.quoted && depth == 0 && (t.text == "," || t.text == ")") {
			break
		}
		if depth == 0 && p.accept("not", "null") {
			c.notNull = true
			continue
		}
		if depth == 0 && p.accept("null") {
			continue
		}
		switch {
		case t.quoted:
		case t.text == "(":
			depth++
		case t.text == ")":
			depth--
		case t.text == ";":
			return c, "a column's type is cut off"
		case depth == 0 && notTypes[t.text]:
			return c, "column " + c.name + " has " + strings.ToUpper(t.text)
		}
		words = append(words, t.raw)
		*p = (*p)[1:]
	}
	if len(words) == 0 {
		return c, "column " + c.name + " has no type"
	}
	c.sqlType = strings.Join(words, " ")
	return c, ""
}

// notTypes begin what would be lost.
var notTypes = map[string]bool{"primary": true, "unique": true, "default": true, "check": true, "references": true, "constraint": true, "foreign": true,
	"generated": true, "collate": true, "as": true, "using": true}

// ddl carries out a statement that isDDL knows.
func (s *Server) ddl(ctx context.Context, sql string) error {
	all, ok := tokens(sql)
	if !ok {
		return fault.New(fault.InvalidSQL, hintCreate+"; "+hintDrop, "the statement holds more than names and types")
	}
	p := parser(all)
	if p.accept("drop", "table") {
		return s.dropTable(ctx, p)
	}
	c, err := parseCreateTable(p)
	if err != nil {
		return err
	}
	return s.createTable(ctx, c)
}

func (s *Server) createTable(ctx context.Context, c newTable) error {
	se := s.opts.Core.Session(doorName, whoOf(ctx), sessionOf(ctx).settings())
	fields := make([]arrow.Field, len(c.columns))
	for i, col := range c.columns {
		t, err := arrowType(ctx, se, col.sqlType)
		if err != nil {
			return fault.Wrap(err, "column %s", col.name)
		}
		fields[i] = arrow.Field{Name: col.name, Type: t, Nullable: !col.notNull}
	}
	r, err := array.NewRecordReader(arrow.NewSchema(fields, nil), nil)
	if err != nil {
		return err
	}
	defer r.Release()
	_, err = s.take(ctx, c.target, r)
	return err
}

func (s *Server) dropTable(ctx context.Context, p parser) error {
	ifExists := p.accept("if", "exists")
	t, ok := p.table()
	p.accept(";")
	if !ok || len(p) > 0 {
		return fault.New(fault.InvalidSQL, hintDrop, "this DROP TABLE cannot be carried out here")
	}
	err := s.opts.Ingest.Drop(ctx, whoOf(ctx), t)
	if ifExists && fault.CodeOf(err) == fault.NotFound {
		return nil
	}
	return fault.Wrap(err, "drop %s.%s", t.Schema, t.Table)
}
