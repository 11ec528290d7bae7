package ingest

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pintaildb/pintail/internal/fault"
)

// CREATE TABLE is what loaders send before they put rows. DROP TABLE is for tables that were made so.

const hintDrop = "DROP TABLE [IF EXISTS] [schema.]table"

const hintCreate = "CREATE [OR REPLACE] TABLE [IF NOT EXISTS] [schema.]table (column TYPE [NOT NULL], …)"

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

// IsDDL says whether sql begins as one of the two.
func IsDDL(sql string) bool {
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

// Definition is a column as CREATE TABLE has it.
type Definition struct {
	Name, Type string // as they are written, the name without quotes
	NotNull    bool
}

// DDL is what a CREATE TABLE or DROP TABLE says.
type DDL struct {
	Target   Target
	Drop     bool
	IfExists bool         // a DROP of what is not there is none
	Columns  []Definition // of a CREATE
}

// ParseDDL reads a statement that IsDDL knows.
func ParseDDL(sql string) (*DDL, error) {
	all, ok := tokens(sql)
	if !ok {
		return nil, fault.New(fault.InvalidSQL, hintCreate+"; "+hintDrop, "the statement holds more than names and types")
	}
	p := parser(all)
	if p.accept("drop", "table") {
		return parseDropTable(p)
	}
	return parseCreateTable(p)
}

func parseDropTable(p parser) (*DDL, error) {
	d := &DDL{Drop: true, IfExists: p.accept("if", "exists")}
	var ok bool
	d.Target, ok = p.table()
	p.accept(";")
	if !ok || len(p) > 0 {
		return nil, fault.New(fault.InvalidSQL, hintDrop, "this DROP TABLE cannot be carried out here")
	}
	return d, nil
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
func (p *parser) table() (t Target, ok bool) {
	t.Schema = "main"
	if t.Table, ok = p.name(); ok && p.accept(".") {
		t.Schema = t.Table
		t.Table, ok = p.name()
	}
	return t, ok
}

// parseCreateTable reads a statement that begins as one.
func parseCreateTable(p parser) (c *DDL, err error) {
	c = &DDL{}
	wrong := func(what string) error {
		return fault.New(fault.InvalidSQL, hintCreate, "this CREATE TABLE cannot be carried out here: %s", what)
	}
	mode, ok := Create, false
	p.accept("create")
	if p.accept("or", "replace") {
		mode = Replace
	}
	p.accept("table")
	if p.accept("if", "not", "exists") {
		if mode == Replace {
			return c, wrong("OR REPLACE and IF NOT EXISTS exclude each other")
		}
		mode = CreateAppend
	}
	if c.Target, ok = p.table(); !ok {
		return c, wrong("the table's name is missing")
	}
	c.Target.Mode = mode
	if !p.accept("(") {
		return c, wrong("the columns are missing")
	}
	for {
		col, err := p.column()
		if err != "" {
			return c, wrong(err)
		}
		c.Columns = append(c.Columns, col)
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
func (p *parser) column() (c Definition, wrong string) {
	var ok bool
	if c.Name, ok = p.name(); !ok {
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
			c.NotNull = true
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
			return c, "column " + c.Name + " has " + strings.ToUpper(t.text)
		}
		words = append(words, t.raw)
		*p = (*p)[1:]
	}
	if len(words) == 0 {
		return c, "column " + c.Name + " has no type"
	}
	c.Type = strings.Join(words, " ")
	return c, ""
}

// notTypes begin what would be lost.
var notTypes = map[string]bool{"primary": true, "unique": true, "default": true, "check": true, "references": true, "constraint": true, "foreign": true,
	"generated": true, "collate": true, "as": true, "using": true}
