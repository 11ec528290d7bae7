package pgsql

import (
	"encoding/hex"
	"regexp"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// typeNames are the short names of types that have others.
var typeShort = map[string]string{
	"bigint": "int8", "integer": "int4", "int": "int4", "smallint": "int2", "boolean": "bool", "real": "float4", "decimal": "numeric", "jsonb": "json", "name": "text", "citext": "text",
	"unknown": "text", "cstring": "text", "sql_identifier": "text", "character_data": "text", "yes_or_no": "text", "cardinal_number": "int4", "time_stamp": "timestamptz",
	"char": "char", "xid": "int8", "inet": "text", "cidr": "text", "macaddr": "text", "pg_lsn": "text", "pg_node_tree": "text", "xml": "text", "aclitem": "text",
}

func (r *rewriter) typeCast(n *pg.Node, c *pg.TypeCast, sc *scope) (*pg.Node, string) {
	arg, from := r.expr(c.Arg, sc)
	c.Arg = arg
	t := c.TypeName
	if len(t.Names) == 2 {
		switch t.Names[0].GetString_().GetSval() {
		case "pg_catalog", "information_schema":
			t.Names = t.Names[1:]
		}
	}
	if len(t.Names) != 1 {
		return n, ""
	}
	name := last(t.Names)
	short := name
	if s, ok := typeShort[name]; ok {
		short = s
	}
	if len(t.ArrayBounds) == 0 && strings.HasPrefix(name, "_") {
		if s := typeShort[name[1:]]; s != "" || duckNamed[name[1:]] {
			short, t.ArrayBounds = name[1:], []*pg.Node{pg.MakeIntNode(-1)}
			if s != "" {
				short = s
			}
		}
	}
	if len(t.ArrayBounds) > 0 {
		return r.arrayCast(n, c, short, from)
	}
	if reg, ok := regIn[name]; ok {
		return r.regCast(arg, name, reg, from)
	}
	text, isText := literal(arg)
	switch short {
	case "oid":
		if from == "oid" || regOut[from] != "" {
			return arg, "oid"
		}
		t.Names = strs("uinteger")
		return n, "oid"
	case "text", "varchar", "bpchar", "char":
		length, limited := int64(0), false
		if len(t.Typmods) > 0 {
			length, limited = literalInt(t.Typmods[0])
		}
		if name == "char" {
			length, limited = 1, true
		}
		out := r.toText(arg, from)
		if limited {
			out = function("left", out, integer(length))
		}
		return out, "text"
	case "numeric":
		return r.numericCast(n, c, arg, from)
	case "bool":
		if isText {
			switch strings.ToLower(strings.TrimSpace(text)) {
			case "t", "true", "y", "yes", "on", "1", "tr", "tru", "ye":
				return cast(constant("true"), "bool"), "bool"
			case "f", "false", "n", "no", "off", "0", "fa", "fal", "fals", "of":
				return cast(constant("false"), "bool"), "bool"
			}
		}
	case "bytea":
		if hexa, ok := strings.CutPrefix(text, `\x`); ok && isText {
			if _, err := hex.DecodeString(hexa); err == nil {
				return function("unhex", constant(hexa)), "bytea"
			}
		}
		if isText && !strings.Contains(text, `\`) || from == "text" {
			return function("encode", arg), "bytea"
		}
	case "interval":
		if len(t.Typmods) > 0 && isText {
			if mask, ok := literalInt(t.Typmods[0]); ok && intervalUnits[mask] != "" && strings.Trim(text, "-0123456789.") == "" {
				c.Arg = constant(text + " " + intervalUnits[mask])
			}
		}
		t.Typmods = nil
	case "timestamp", "timestamptz", "date", "time":
		t.Typmods = nil
		if short == "time" && (from == "timestamptz" || from == "date") {
			c.Arg = cast(arg, "timestamp")
		}
		if isText {
			c.Arg = constant(withSeconds(text))
			if f := clockWords[strings.ToLower(strings.TrimSpace(text))]; f != nil {
				c.Arg = f()
			}
		}
	case "float8", "float4":
		t.Typmods = nil
	}
	if short != name {
		t.Names = strs(short)
	}
	return n, short
}

var duckNamed = words("int2 int4 int8 float4 float8 text varchar bool date time timestamp timestamptz interval uuid json bytea numeric oid")

var intervalUnits = map[int64]string{4: "years", 2: "months", 8: "days", 1024: "hours", 2048: "minutes", 4096: "seconds"}

// clockWords are times that have names.
var clockWords = map[string]func() *pg.Node{
	"now":       func() *pg.Node { return function("now") },
	"today":     func() *pg.Node { return cast(function("now"), "date") },
	"tomorrow":  func() *pg.Node { return operator("+", cast(function("now"), "date"), integer(1)) },
	"yesterday": func() *pg.Node { return operator("-", cast(function("now"), "date"), integer(1)) },
}

// shortTime is a time to the minute with a zone, where DuckDB wants the seconds too.
var shortTime = regexp.MustCompile(`^(\d{4}-\d\d-\d\d[ T]\d\d:\d\d)( ?[+-]\d\d?(?::?\d\d)?|Z| UTC)$`)

func withSeconds(text string) string { return shortTime.ReplaceAllString(text, "$1:00$2") }

// regIn read the name of an object.
var regIn = map[string]string{"regclass": "_regclass_in", "regtype": "_regtype_in", "regproc": "_regproc_in", "regprocedure": "_regproc_in", "regnamespace": "_regnamespace_in", "regrole": "_regrole_in"}

// regCast: a number stays what it is, and is shown as a name where somebody sees it.
func (r *rewriter) regCast(arg *pg.Node, typ, in, from string) (*pg.Node, string) {
	r.catalog = true
	if isInt(from) || from == "oid" || regOut[from] != "" {
		return arg, typ
	}
	if c := arg.GetAConst(); c != nil && c.Isnull {
		return arg, typ
	}
	return macro(in, arg), typ
}

// toText casts to text as PostgreSQL writes values.
func (r *rewriter) toText(n *pg.Node, typ string) *pg.Node {
	switch typ {
	case "text":
		return n
	case "float4", "float8", "numericf":
		return macro("_float_text", n)
	case "interval":
		return macro("_interval_text", n)
	case "int2vector", "oidvector":
		return macro("_vector_text", n)
	case "bytea":
		return macro("_bytea_text", n)
	}
	if isArray(typ) && typ != "[]" {
		return macro("_array_text", n)
	}
	n, _ = r.asName(n, typ)
	return cast(n, "text")
}

// numericCast: DuckDB's numeric has a fixed scale, so a cast without one takes that of the value.
func (r *rewriter) numericCast(n *pg.Node, c *pg.TypeCast, arg *pg.Node, from string) (*pg.Node, string) {
	c.TypeName.Names = strs("numeric")
	if len(c.TypeName.Typmods) > 0 {
		if p, ok := literalInt(c.TypeName.Typmods[0]); ok && p > 38 {
			c.TypeName.Typmods[0] = integer(38)
		}
		return n, "numeric"
	}
	if text, ok := literal(arg); ok {
		whole, fraction, plain := decimalDigits(text)
		if !plain || whole+fraction > 38 {
			return cast(arg, "float8"), "numericf"
		}
		return cast(arg, "numeric", int64(max(1, whole+fraction)), int64(fraction)), "numeric"
	}
	switch from {
	case "numeric", "numericf":
		return arg, from
	case "int2":
		return cast(arg, "numeric", 5, 0), "numeric"
	case "int4":
		return cast(arg, "numeric", 10, 0), "numeric"
	case "int8":
		return cast(arg, "numeric", 19, 0), "numeric"
	case "bool", "date", "timestamp", "timestamptz":
		return n, "numeric"
	}
	return cast(arg, "float8"), "numericf"
}

// decimalDigits counts a plain number's digits before and behind its point.
func decimalDigits(s string) (whole, fraction int, plain bool) {
	s = strings.TrimLeft(strings.TrimSpace(s), "+-")
	w, f, _ := strings.Cut(s, ".")
	if w+f == "" || strings.Trim(w+f, "0123456789") != "" {
		return 0, 0, false
	}
	return len(w), len(f), true
}

func (r *rewriter) arrayCast(n *pg.Node, c *pg.TypeCast, elem, from string) (*pg.Node, string) {
	if elem == "char" || elem == "bpchar" || elem == "varchar" {
		elem = "text"
	}
	if _, reg := regIn[elem]; reg {
		elem = "oid"
	}
	if text, ok := literal(c.Arg); ok {
		return r.arrayLiteral(text, elem), elem + "[]"
	}
	if from == elem+"[]" || elem == "int2" && from == "int2vector" || elem == "oid" && from == "oidvector" {
		return c.Arg, elem + "[]"
	}
	c.TypeName.Names, c.TypeName.Typmods = duckType(elem), nil
	if from == "text" {
		// A text that is only known when the statement runs.
		c.TypeName.Names = strs("text")
		inner := macro("_array_in", c.Arg)
		if elem == "text" {
			return inner, "text[]"
		}
		c.Arg, c.TypeName.Names = inner, duckType(elem)
	}
	return n, elem + "[]"
}

// duckType is a type's name for DuckDB.
func duckType(short string) []*pg.Node {
	switch short {
	case "oid", "regproc", "regtype":
		return strs("uinteger")
	case "unknown", "":
		return strs("text")
	case "numericf":
		return strs("float8")
	}
	return strs(short)
}

// arrayLiteral is '{…}' as a list of elements of one type.
func (r *rewriter) arrayLiteral(text, elem string) *pg.Node {
	parts, ok := splitArray(text)
	if !ok {
		r.fail("malformed array literal: "+text, `write '{a,b}', with " around what holds a comma, a brace or a blank`)
		return constant(text)
	}
	items := make([]*pg.Node, len(parts))
	for i, p := range parts {
		switch {
		case p.null:
			items[i] = null()
		case p.nested:
			items[i] = r.arrayLiteral(p.text, elem)
		default:
			items[i] = constant(p.text)
		}
	}
	c := cast(array(items...), "text")
	t := c.GetTypeCast().TypeName
	t.Names = duckType(elem)
	t.ArrayBounds = []*pg.Node{pg.MakeIntNode(-1)}
	if len(parts) > 0 && parts[0].nested {
		t.ArrayBounds = append(t.ArrayBounds, pg.MakeIntNode(-1))
	}
	if elem == "numeric" {
		t.Typmods = []*pg.Node{integer(38), integer(int64(scaleOf(parts)))}
	}
	return c
}

func scaleOf(parts []arrayPart) int {
	scale := 0
	for _, p := range parts {
		if _, f, ok := decimalDigits(p.text); ok {
			scale = max(scale, f)
		}
	}
	return scale
}

type arrayPart struct {
	text         string
	null, nested bool
}

// splitArray cuts an array's text into its elements.
func splitArray(s string) ([]arrayPart, bool) {
	s = strings.TrimSpace(s)
	if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' {
		return nil, false
	}
	var out []arrayPart
	body := s[1 : len(s)-1]
	i := 0
	blanks := func() {
		for i < len(body) && strings.IndexByte(" \t\r\n\v\f", body[i]) >= 0 {
			i++
		}
	}
	for blanks(); i < len(body); blanks() {
		var p arrayPart
		var b strings.Builder
		switch body[i] {
		case '"':
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
				if i == len(body) {
					return nil, false
				}
				b.WriteByte(body[i])
			}
			if i >= len(body) {
				return nil, false
			}
			i++
			p.text = b.String()
		case '{':
			depth, from, quoted := 0, i, false
			for ; i < len(body); i++ {
				switch {
				case body[i] == '\\':
					i++
				case body[i] == '"':
					quoted = !quoted
				case quoted:
				case body[i] == '{':
					depth++
				case body[i] == '}':
					depth--
				}
				if depth == 0 {
					break
				}
			}
			if i >= len(body) {
				return nil, false
			}
			i++
			p = arrayPart{text: body[from:i], nested: true}
		default:
			for ; i < len(body) && body[i] != ','; i++ {
				switch body[i] {
				case '\\':
					if i++; i == len(body) {
						return nil, false
					}
					b.WriteByte(body[i])
				case '{', '}', '"':
					return nil, false
				default:
					b.WriteByte(body[i])
				}
			}
			p.text = strings.TrimRight(b.String(), " \t\r\n\v\f")
			if p.text == "" {
				return nil, false
			}
			p.null = strings.EqualFold(p.text, "null")
		}
		out = append(out, p)
		blanks()
		if i == len(body) {
			break
		}
		if body[i] != ',' {
			return nil, false
		}
		if i++; strings.TrimSpace(body[i:]) == "" {
			return nil, false
		}
	}
	return out, true
}
