package access

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Object names a relation as the statement wrote it; Catalog and Schema are empty where it did not say.
type Object struct{ Catalog, Schema, Name string }

// String is the dotted name, for messages.
func (o Object) String() string {
	var parts []string
	for _, p := range []string{o.Catalog, o.Schema, o.Name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ".")
}

// Parsed is what a statement touches, at any depth. Each list is sorted and without doubles.
type Parsed struct {
	Statements     int
	Tables         []Object // base tables and views; names that a CTE surely hides are left out
	TableFunctions []string // lower case
	Functions      []string // scalar, aggregate and window functions and operators, lower case
	Listings       []string // SHOW TABLES and its like, which list the catalog instead of naming a table
	Travelled      []Object // those of Tables that are read as they were

	named    []*node // the places of Tables in the tree
	columned []*node // the column names there that name more than a table and a column
}

// errNotDescribed is what the walker says of a statement that it cannot describe whole: it is refused, because
// an unknown node could carry a relation.
type errNotDescribed struct{ what string }

func (e errNotDescribed) Error() string { return "the statement gate does not know " + e.what }

// errParser is DuckDB's own word on a statement that it could not serialize.
type errParser struct{ kind, message string }

func (e errParser) Error() string { return e.message }

// ParseAST reads what json_serialize_sql returned. A statement that DuckDB's parser refuses gives an errParser,
// one with a node that is not in the lists below an errNotDescribed.
func ParseAST(ast string) (Parsed, error) {
	root, err := decodeAST(ast)
	if err != nil {
		return Parsed{}, err
	}
	if root.text["error"] == "true" {
		return Parsed{}, errParser{kind: root.text["error_type"], message: root.text["error_message"]}
	}
	if err := checkSize(root); err != nil {
		return Parsed{}, err
	}
	statements := root.child("statements")
	if statements == nil || root.text["error"] != "false" {
		return Parsed{}, errNotDescribed{"an answer without statements"}
	}
	w := &walker{tables: map[Object]bool{}, travelled: map[Object]bool{}, tableFunctions: map[string]bool{}, functions: map[string]bool{}, listings: map[string]bool{}}
	if len(statements.items) != statements.length {
		return Parsed{}, errNotDescribed{"a statement without a query"}
	}
	for _, s := range statements.items {
		if s.child("node") == nil {
			return Parsed{}, errNotDescribed{"a statement without a query"}
		}
		if err := w.walk(s, nil); err != nil {
			return Parsed{}, err
		}
	}
	p := Parsed{Statements: len(statements.items), TableFunctions: keys(w.tableFunctions), Functions: keys(w.functions), Listings: keys(w.listings),
		Tables: objects(w.tables), Travelled: objects(w.travelled), named: w.named, columned: w.columned}
	return p, nil
}

func objects(m map[Object]bool) []Object {
	return slices.SortedFunc(maps.Keys(m), func(a, b Object) int { return strings.Compare(a.String(), b.String()) })
}

func keys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// The node types of DuckDB 1.5, by what they may hold. A type that is in none of them is refused, among them those
// that only the binder makes (COLUMN_DATA, DELIM_GET, BOUND_TABLE_REF, CTE_NODE).
var (
	plainNodes = set("SET_OPERATION_NODE", "SELECT_NODE", // queries; their cte_map is handled for every query
		"JOIN", "SUBQUERY", "EMPTY", "EXPRESSION_LIST", // relations made of others
		"ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER",
		"ORDER_DEFAULT", "ASCENDING", "DESCENDING")
	typeInfos = set("DECIMAL_TYPE_INFO", "STRING_TYPE_INFO", "LIST_TYPE_INFO", "STRUCT_TYPE_INFO", "ARRAY_TYPE_INFO",
		"ENUM_TYPE_INFO", "UNBOUND_TYPE_INFO", "USER_TYPE_INFO", "GENERIC_TYPE_INFO", "ANY_TYPE_INFO",
		"INTEGER_LITERAL_TYPE_INFO", "TEMPLATE_TYPE_INFO", "GEO_TYPE_INFO")
	plainExpressions = set("BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT",
		"DEFAULT", "LAMBDA", "OPERATOR", "PARAMETER", "POSITIONAL_REFERENCE", "STAR", "SUBQUERY")
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// scope is the chain of CTE names that a relation without schema is looked up in, innermost first.
type scope struct {
	name  string // folded as DuckDB folds
	outer *scope
}

func (s *scope) has(name string) bool {
	name = fold(name)
	for ; s != nil; s = s.outer {
		if s.name == name {
			return true
		}
	}
	return false
}

// fold is DuckDB's case folding of names: ASCII letters only. Folding more would let a CTE called É hide, for the
// gate alone, a table called é.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

type walker struct {
	tables, travelled                   map[Object]bool
	tableFunctions, functions, listings map[string]bool
	named, columned                     []*node
}

func (w *walker) walk(n *node, sc *scope) error {
	if n == nil {
		return nil
	}
	if n.class != "" {
		return w.expression(n, sc)
	}
	switch n.typ {
	case "":
		return w.children(n, sc)
	case "BASE_TABLE":
		o := n.object()
		if o.Name == "" {
			return errNotDescribed{"a table without a name"}
		}
		if o.Catalog != "" || o.Schema != "" || !sc.has(o.Name) {
			w.tables[o] = true
			w.named = append(w.named, n)
		}
	case "TABLE_FUNCTION":
		f := n.child("function")
		if f == nil || f.class != "FUNCTION" || f.text["function_name"] == "" {
			return errNotDescribed{"this form of table function"}
		}
		if o, ok := timeTravel(f); ok {
			w.tables[o], w.travelled[o] = true, true
		} else {
			w.tableFunctions[tableFunction(f)] = true
		}
		if err := w.children(f, sc); err != nil {
			return err
		}
		return w.childrenBut(n, "function", sc)
	case "SHOW_REF":
		q := n.child("query")
		if q == nil || n.text["table_name"] != "" {
			w.listings["show "+n.text["show_type"]] = true
			return w.children(n, sc)
		}
		// DESCRIBE and SUMMARIZE: no CTE of the outside is assumed to be seen within.
		sc = nil
	case "PIVOT":
		for _, p := range n.list("pivots") {
			if e := p.text["pivot_enum"]; e != "" {
				return errNotDescribed{fmt.Sprintf("PIVOT … IN with the enum type %q; list the values", e)}
			}
		}
	case "RECURSIVE_CTE_NODE":
		return w.recursive(n, sc)
	default:
		if !plainNodes[n.typ] && !typeInfos[n.typ] {
			return errNotDescribed{"the node " + clip(n.typ)}
		}
	}
	sc, err := w.ctes(n, sc)
	if err != nil {
		return err
	}
	return w.childrenBut(n, "cte_map", sc)
}

// atSuffix ends the names of the macros that show a table of a replica as it was: shop.orders_at(moment) reads shop.orders.
const atSuffix = "_at"

// timeTravel is the table that such a macro reads. DuckDB's own table functions have no such names.
func timeTravel(f *node) (Object, bool) {
	name := f.text["function_name"]
	o := Object{Catalog: f.text["catalog"], Schema: f.text["schema"], Name: name[:max(0, len(name)-len(atSuffix))]}
	_, builtIn := tableFunctionAdmin[fold(name)]
	return o, o.Name != "" && fold(name[len(o.Name):]) == atSuffix && !builtIn && functionsRefused[fold(name)] == "" && fold(o.Schema) != ownSchema
}

// tableFunction is the name that the lists know a table function by. Those of Pintail's own schema have it before their name.
func tableFunction(f *node) string {
	name, schema := fold(f.text["function_name"]), fold(f.text["schema"])
	if schema == ownSchema && f.text["catalog"] == "" {
		return schema + "." + name
	}
	return name
}

// ctes walks a query's WITH list: each sees those before it, not itself and not those after it, and the query sees all.
func (w *walker) ctes(n *node, sc *scope) (*scope, error) {
	m := n.child("cte_map")
	if m == nil {
		return sc, nil
	}
	for _, e := range m.list("map") {
		name, value := e.text["key"], e.child("value")
		if name == "" || value == nil {
			return nil, errNotDescribed{"a WITH without a query"}
		}
		if err := w.walk(value, sc); err != nil {
			return nil, err
		}
		sc = &scope{name: fold(name), outer: sc}
	}
	return sc, w.childrenBut(m, "map", sc)
}

// recursive walks WITH RECURSIVE: its own name is hidden in the recursive half only; in the first half it is a table.
func (w *walker) recursive(n *node, sc *scope) error {
	name := n.text["cte_name"]
	left, right := n.child("left"), n.child("right")
	if name == "" || left == nil || right == nil {
		return errNotDescribed{"this form of WITH RECURSIVE"}
	}
	sc, err := w.ctes(n, sc)
	if err != nil {
		return err
	}
	if err := w.walk(left, sc); err != nil {
		return err
	}
	if err := w.walk(right, &scope{name: fold(name), outer: sc}); err != nil {
		return err
	}
	for _, f := range n.fields {
		switch f.name {
		case "left", "right", "cte_map":
		default:
			if err := w.walk(f.node, sc); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) expression(n *node, sc *scope) error {
	switch n.class {
	case "FUNCTION", "WINDOW":
		name := fold(n.text["function_name"])
		if name == "" {
			return errNotDescribed{"a function without a name"}
		}
		if n.class != "FUNCTION" || !openFunction(n.text["catalog"], n.text["schema"], n.text["function_name"]) {
			w.functions[name] = true
		}
	default:
		if !plainExpressions[n.class] {
			return errNotDescribed{"the expression " + clip(n.class)}
		}
		if n.column != nil {
			w.columned = append(w.columned, n)
		}
	}
	return w.children(n, sc)
}

func (w *walker) children(n *node, sc *scope) error { return w.childrenBut(n, "", sc) }

func (w *walker) childrenBut(n *node, but string, sc *scope) error {
	for _, f := range n.fields {
		if f.name != but {
			if err := w.walk(f.node, sc); err != nil {
				return err
			}
		}
	}
	for _, c := range n.items {
		if err := w.walk(c, sc); err != nil {
			return err
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// node is one object or array of the AST, with only what the walk needs: strings under the names in kept, and the
// objects and arrays below it. Everything else (constants' values, aliases, positions) is dropped while reading, which
// keeps a statement of a hundred thousand constants to some 10 MB.
type node struct {
	typ, class string
	text       map[string]string
	fields     []field
	items      []*node // of an array: what is left of its elements
	length     int     // of an array: how many elements it had
	column     *column // of a column's name with more than two parts
	from, to   int64   // of an object: its place in the text
}

// column is the name of a column in parts, and the place of the array that holds it.
type column struct {
	parts    []string
	from, to int64
}

type field struct {
	name string
	node *node
}

func (n *node) child(name string) *node {
	for _, f := range n.fields {
		if f.name == name {
			return f.node
		}
	}
	return nil
}

// object is the name of a table.
func (n *node) object() Object {
	return Object{Catalog: n.text["catalog_name"], Schema: n.text["schema_name"], Name: n.text["table_name"]}
}

func (n *node) list(name string) []*node {
	if c := n.child(name); c != nil {
		return c.items
	}
	return nil
}

var kept = set("error", "error_type", "error_message", "catalog_name", "schema_name", "table_name", "function_name",
	"catalog", "schema", "cte_name", "key", "show_type", "pivot_enum")

// astDepthMax is above what DuckDB's parser lets through (1,000 nested expressions, each a few levels of JSON).
const astDepthMax = 10_000

func decodeAST(ast string) (*node, error) {
	ast = finite(ast)
	d := json.NewDecoder(strings.NewReader(ast))
	d.UseNumber()
	t, err := d.Token()
	if err != nil || t != json.Delim('{') {
		return nil, errNotDescribed{"an answer that is not a JSON object"}
	}
	root, err := decodeObject(d, 1)
	if err != nil {
		return nil, fmt.Errorf("read the statement's syntax tree: %w", err)
	}
	if rest := ast[d.InputOffset():]; len(bytes.TrimSpace([]byte(rest))) > 0 {
		return nil, errNotDescribed{"text behind the syntax tree"}
	}
	return root, nil
}

// finite puts a number in the place of the bare Infinity and NaN that DuckDB writes for constants beyond a double, such as
// 1e400, and that are no JSON. Texts stay as they are. What is left out is a constant's value, which the walk drops anyway.
func finite(ast string) string {
	if !strings.Contains(ast, "Infinity") && !strings.Contains(ast, "NaN") {
		return ast
	}
	var b strings.Builder
	b.Grow(len(ast))
	quoted := false
	for i := 0; i < len(ast); i++ {
		rest := ast[i:]
		switch {
		case quoted && ast[i] == '\\' && len(rest) > 1:
			b.WriteString(rest[:2])
			i++
			continue
		case ast[i] == '"':
			quoted = !quoted
		case quoted:
		case strings.HasPrefix(rest, "Infinity"):
			b.WriteByte('0')
			i += len("Infinity") - 1
			continue
		case strings.HasPrefix(rest, "NaN"):
			b.WriteByte('0')
			i += len("NaN") - 1
			continue
		}
		b.WriteByte(ast[i])
	}
	return b.String()
}

func decodeObject(d *json.Decoder, depth int) (*node, error) {
	if depth > astDepthMax {
		return nil, errors.New("nested too deeply")
	}
	n := &node{from: d.InputOffset() - 1}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, err
		}
		name := k.(string) // the decoder gives no other token before a colon
		v, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case json.Delim:
			if name == "column_names" && v == '[' {
				if n.column, err = decodeColumn(d); err != nil {
					return nil, err
				}
				continue
			}
			c, err := decodeBelow(d, v, depth)
			if err != nil {
				return nil, err
			}
			if c != nil {
				n.fields = append(n.fields, field{name, c})
			}
		case string:
			n.setText(name, v)
		case bool:
			if kept[name] {
				n.setText(name, fmt.Sprint(v))
			}
		}
	}
	_, err := d.Token() // }
	n.to = d.InputOffset()
	return n, err
}

func (n *node) setText(name, v string) {
	switch {
	case name == "type":
		n.typ = v
	case name == "class":
		n.class = v
	case kept[name]:
		if n.text == nil {
			n.text = make(map[string]string, 3)
		}
		n.text[name] = v
	}
}

// decodeColumn reads the parts of a column's name; nil when they are not more than two.
func decodeColumn(d *json.Decoder) (*column, error) {
	c := &column{from: d.InputOffset() - 1}
	for d.More() {
		v, err := d.Token()
		if err != nil {
			return nil, err
		}
		part, ok := v.(string)
		if !ok {
			return nil, errNotDescribed{"this form of a column's name"}
		}
		c.parts = append(c.parts, part)
	}
	_, err := d.Token() // ]
	c.to = d.InputOffset()
	if len(c.parts) <= 2 {
		return nil, err
	}
	return c, err
}

// decodeBelow reads the object or array that open begins; nil when nothing in it matters to the walk.
func decodeBelow(d *json.Decoder, open json.Delim, depth int) (*node, error) {
	if open == '{' {
		n, err := decodeObject(d, depth+1)
		if err != nil {
			return nil, err
		}
		if n.typ == "" && n.class == "" && n.text == nil && n.fields == nil {
			return nil, nil
		}
		return n, nil
	}
	if depth > astDepthMax {
		return nil, errors.New("nested too deeply")
	}
	n := &node{}
	for d.More() {
		v, err := d.Token()
		if err != nil {
			return nil, err
		}
		n.length++
		open, ok := v.(json.Delim)
		if !ok {
			continue
		}
		c, err := decodeBelow(d, open, depth+1)
		if err != nil {
			return nil, err
		}
		if c != nil {
			n.items = append(n.items, c)
		}
	}
	if _, err := d.Token(); err != nil { // ]
		return nil, err
	}
	if len(n.items) == 0 && depth > 1 {
		return nil, nil
	}
	return n, nil
}
