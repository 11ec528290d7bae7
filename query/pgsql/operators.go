package pgsql

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/pintaildb/pintail/internal/fault"
)

func (r *rewriter) operation(n *pg.Node, e *pg.A_Expr, sc *scope) (*pg.Node, string) {
	op := last(e.Name)
	if len(e.Name) > 1 && e.Name[0].GetString_().GetSval() == "pg_catalog" {
		e.Name = e.Name[1:]
	}
	var lt, rt string
	e.Lexpr, lt = r.expr(e.Lexpr, sc)
	switch e.Kind {
	case pg.A_Expr_Kind_AEXPR_LIKE, pg.A_Expr_Kind_AEXPR_ILIKE:
		return r.like(n, e, op, sc), "bool"
	case pg.A_Expr_Kind_AEXPR_SIMILAR:
		return r.similar(e, op, sc), "bool"
	}
	e.Rexpr, rt = r.expr(e.Rexpr, sc)
	switch e.Kind {
	case pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL:
		if text, ok := literal(e.Rexpr); ok {
			e.Rexpr = r.arrayLiteral(text, orText(lt))
		}
		if e.Rexpr.GetParamRef() != nil {
			e.Rexpr = arrayParam(e.Rexpr, lt)
		}
		return anyOf(n, e, op), "bool"
	case pg.A_Expr_Kind_AEXPR_BETWEEN_SYM, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		return symmetric(e), "bool"
	case pg.A_Expr_Kind_AEXPR_NULLIF:
		return n, lt
	case pg.A_Expr_Kind_AEXPR_OP:
	default:
		return n, "bool"
	}
	// An array beside a literal.
	if text, ok := literal(e.Rexpr); ok && isArray(lt) && op != "||" {
		e.Rexpr, rt = r.arrayLiteral(text, orText(strings.TrimSuffix(lt, "[]"))), lt
	} else if text, ok := literal(e.Lexpr); ok && isArray(rt) && op != "||" {
		e.Lexpr, lt = r.arrayLiteral(text, orText(strings.TrimSuffix(rt, "[]"))), rt
	}
	if e.Lexpr == nil {
		return r.prefix(n, e, op, rt)
	}
	return r.infix(n, e, op, lt, rt)
}

// arrayParam says that a parameter is an array of what stands before ANY, which DuckDB does not find out.
func arrayParam(p *pg.Node, typ string) *pg.Node {
	switch typ {
	case "", "unknown":
		return p
	case "numeric":
		return castArray(p, typ, 38, 10)
	case "numericf":
		return castArray(p, "float8")
	case "oid", "regclass", "regtype", "regproc", "regnamespace", "regrole":
		return castArray(p, "int8")
	}
	if isArray(typ) {
		return p
	}
	return castArray(p, typ)
}

var likeArrays = map[string]string{"~~": "_like", "!~~": "_like", "~~*": "_ilike", "!~~*": "_ilike"}

// anyOf: DuckDB takes = ANY of a constant array, but not everywhere of a column.
func anyOf(n *pg.Node, e *pg.A_Expr, op string) *pg.Node {
	any := e.Kind == pg.A_Expr_Kind_AEXPR_OP_ANY
	if like, ok := likeArrays[op]; ok {
		// NOT LIKE of one is LIKE not of all, and the other way round.
		if negated := op[0] == '!'; any != negated {
			like += "_any"
		} else {
			like += "_all"
		}
		if op[0] == '!' {
			return not(macro(like, e.Lexpr, e.Rexpr))
		}
		return macro(like, e.Lexpr, e.Rexpr)
	}
	if c := e.Rexpr.GetTypeCast(); c != nil && c.Arg.GetAArrayExpr() != nil || e.Rexpr.GetAArrayExpr() != nil || e.Rexpr.GetParamRef() != nil || c.GetArg().GetParamRef() != nil {
		return n
	}
	switch {
	case op == "=" && any:
		return macro("_any", e.Rexpr, e.Lexpr)
	case op == "<>" && !any:
		return not(macro("_any", e.Rexpr, e.Lexpr))
	}
	return n
}

func (r *rewriter) prefix(n *pg.Node, e *pg.A_Expr, op, typ string) (*pg.Node, string) {
	switch op {
	case "@":
		return function("abs", e.Rexpr), typ
	case "|/":
		return function("sqrt", e.Rexpr), "float8"
	case "||/":
		return function("cbrt", e.Rexpr), "float8"
	}
	return n, typ
}

func (r *rewriter) infix(n *pg.Node, e *pg.A_Expr, op, lt, rt string) (*pg.Node, string) {
	switch op {
	case "~", "~*", "!~", "!~*":
		return regexMatch(e.Lexpr, e.Rexpr, op), "bool"
	case "~~", "!~~", "~~*", "!~~*":
		return likeMatch(n, e, op), "bool"
	case "=", "<>", "<", ">", "<=", ">=", "!=":
		if strings.HasPrefix(lt, "timestamp") {
			completeTime(e.Rexpr)
		} else if strings.HasPrefix(rt, "timestamp") {
			completeTime(e.Lexpr)
		}
		return n, "bool"
	case "/", "%":
		if lt == "interval" && op == "/" {
			return operator("*", e.Lexpr, operator("/", cast(integer(1), "float8"), macro("_nonzero", e.Rexpr))), "interval"
		}
		if v, ok := literalInt(e.Rexpr); !ok || v == 0 {
			e.Rexpr = macro("_nonzero", e.Rexpr)
		}
		if op == "/" && lt != "interval" {
			typ := quotient(lt, rt)
			if typ == "numericf" && isExact(lt) && isExact(rt) && plainNumber(e.Lexpr) && plainNumber(e.Rexpr) {
				r.exactly(n, e.Lexpr, e.Rexpr)
			}
			return n, typ
		}
		return n, wider(lt, rt)
	case "+", "-":
		widenLiteral(e, lt, rt)
		return dateArithmetic(n, e, op, lt, rt)
	case "*":
		widenLiteral(e, lt, rt)
		if lt == "interval" || rt == "interval" {
			return n, "interval"
		}
		return n, wider(lt, rt)
	case "||":
		return r.concat(n, e, lt, rt)
	case "#":
		return function("xor", e.Lexpr, e.Rexpr), wider(lt, rt)
	case "^":
		return n, "float8"
	case "?":
		return macro("_json_has", e.Lexpr, e.Rexpr), "bool"
	case "?|":
		return macro("_json_has_any", e.Lexpr, e.Rexpr), "bool"
	case "?&":
		return macro("_json_has_all", e.Lexpr, e.Rexpr), "bool"
	case "->", "->>", "#>", "#>>":
		return r.json(e, op, rt)
	case "@>":
		return contains(e.Lexpr, e.Rexpr, lt, rt), "bool"
	case "<@":
		return contains(e.Rexpr, e.Lexpr, rt, lt), "bool"
	case "&&":
		return function("list_has_any", e.Lexpr, e.Rexpr), "bool"
	case "&", "|", "<<", ">>":
		return n, wider(lt, rt)
	}
	return n, ""
}

// completeTime gives a literal beside a time its seconds.
func completeTime(n *pg.Node) {
	if s, ok := n.GetAConst().GetVal().(*pg.A_Const_Sval); ok {
		s.Sval.Sval = withSeconds(s.Sval.Sval)
	}
}

// quotient is the type of a division: that of whole numbers is one, that of numerics is computed in double precision.
func quotient(l, r string) string {
	w := wider(l, r)
	switch w {
	case "numeric":
		return "numericf"
	case "unknown":
		return ""
	}
	return w
}

// widenLiteral: DuckDB takes a number beside a smallint for a smallint too, and so its sum.
func widenLiteral(e *pg.A_Expr, lt, rt string) {
	if _, ok := literalInt(e.Rexpr); ok && lt == "int2" {
		e.Rexpr = cast(e.Rexpr, "int4")
	} else if _, ok := literalInt(e.Lexpr); ok && rt == "int2" {
		e.Lexpr = cast(e.Lexpr, "int4")
	}
}

var clockTypes = words("date time timestamp timestamptz interval")

func dateArithmetic(n *pg.Node, e *pg.A_Expr, op, lt, rt string) (*pg.Node, string) {
	switch {
	case op == "-" && rt == "unknown" && clockTypes[lt]:
		completeTime(e.Rexpr)
		e.Rexpr = cast(e.Rexpr, lt) // what is not known is taken for the other side's type
		return dateArithmetic(n, e, op, lt, lt)
	case op == "-" && lt == "unknown" && clockTypes[rt]:
		completeTime(e.Lexpr)
		e.Lexpr = cast(e.Lexpr, rt)
		return dateArithmetic(n, e, op, rt, rt)
	case op == "+" && rt == "unknown" && (lt == "timestamp" || lt == "timestamptz"):
		e.Rexpr = cast(e.Rexpr, "interval")
		return n, lt
	case lt == "date" && rt == "date" && op == "-":
		return cast(n, "int4"), "int4"
	case lt == "time" && rt == "time" && op == "-":
		day := cast(constant("2000-01-01"), "date")
		e.Lexpr, e.Rexpr = operator("+", day, e.Lexpr), operator("+", day, e.Rexpr)
		return n, "interval"
	case lt == "date" && isInt(rt):
		if rt == "int8" || rt == "int2" {
			e.Rexpr = cast(e.Rexpr, "int4")
		}
		return n, "date"
	case rt == "date" && isInt(lt):
		return n, "date"
	case lt == "date" && rt == "interval":
		return n, "timestamp"
	case (lt == "timestamp" || lt == "timestamptz") && (rt == "timestamp" || rt == "timestamptz" || rt == "date") && op == "-":
		return n, "interval"
	case (lt == "timestamp" || lt == "timestamptz") && rt == "interval":
		return n, lt
	case lt == "interval" && rt != "unknown":
		return n, rt
	}
	return n, wider(lt, rt)
}

func (r *rewriter) concat(n *pg.Node, e *pg.A_Expr, lt, rt string) (*pg.Node, string) {
	left, right := isArray(lt), isArray(rt)
	if text, ok := literal(e.Rexpr); ok && left && strings.HasPrefix(text, "{") {
		e.Rexpr, right = r.arrayLiteral(text, orText(strings.TrimSuffix(lt, "[]"))), true
	}
	switch {
	case left && right:
		return function("list_concat", e.Lexpr, e.Rexpr), lt
	case left:
		return function("list_append", e.Lexpr, e.Rexpr), lt
	case right:
		return function("list_prepend", e.Lexpr, e.Rexpr), rt
	case lt == "json" || rt == "json":
		return function("json_merge_patch", e.Lexpr, e.Rexpr), "json"
	}
	if lt != "text" && lt != "unknown" && lt != "" {
		e.Lexpr = r.toText(e.Lexpr, lt)
	}
	if rt != "text" && rt != "unknown" && rt != "" {
		e.Rexpr = r.toText(e.Rexpr, rt)
	}
	for _, side := range []**pg.Node{&e.Lexpr, &e.Rexpr} {
		if c := (*side).GetAConst(); c != nil && c.Isnull {
			*side = cast(*side, "text")
		}
	}
	return n, "text"
}

func contains(l, r *pg.Node, lt, rt string) *pg.Node {
	if lt == "json" || rt == "json" {
		return function("json_contains", l, r)
	}
	return function("list_has_all", l, r)
}

// regexMatch has PostgreSQL's meaning: a match anywhere, and a dot matches a line's end.
func regexMatch(value, pattern *pg.Node, op string) *pg.Node {
	options := "s"
	if strings.HasSuffix(op, "*") {
		options = "si"
	}
	if p, ok := literal(pattern); ok {
		pattern = constant(regex(p))
	}
	m := function("regexp_matches", value, pattern, constant(options))
	if op[0] == '!' {
		return not(m)
	}
	return m
}

// regex says PostgreSQL's escapes in RE2's.
func regex(p string) string {
	p = strings.TrimPrefix(p, "***:")
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] != '\\' || i+1 == len(p) {
			b.WriteByte(p[i])
			continue
		}
		i++
		switch p[i] {
		case 'y', 'm', 'M', '<', '>':
			b.WriteString(`\b`)
		case 'Y':
			b.WriteString(`\B`)
		case 'Z':
			b.WriteString(`\z`)
		default:
			b.WriteByte('\\')
			b.WriteByte(p[i])
		}
	}
	return b.String()
}

// like: in PostgreSQL a backslash escapes without being asked to.
func (r *rewriter) like(n *pg.Node, e *pg.A_Expr, op string, sc *scope) *pg.Node {
	if f := e.Rexpr.GetFuncCall(); f != nil && bare(f.Funcname) == "like_escape" && len(f.Args) == 2 {
		r.list(f.Args, sc)
		return function(likeNames[op].escape, e.Lexpr, f.Args[0], f.Args[1])
	}
	e.Rexpr, _ = r.expr(e.Rexpr, sc)
	return likeMatch(n, e, op)
}

var likeNames = map[string]struct{ macro, escape string }{
	"~~": {"_like", "like_escape"}, "!~~": {"_not_like", "not_like_escape"}, "~~*": {"_ilike", "ilike_escape"}, "!~~*": {"_not_ilike", "not_ilike_escape"},
}

func likeMatch(n *pg.Node, e *pg.A_Expr, op string) *pg.Node {
	p, ok := literal(e.Rexpr)
	if ok && !strings.Contains(p, `\`) {
		return n
	}
	return macro(likeNames[op].macro, e.Lexpr, e.Rexpr)
}

// similar turns the pattern of SIMILAR TO, which must be a constant, into a regular expression.
func (r *rewriter) similar(e *pg.A_Expr, op string, sc *scope) *pg.Node {
	f := e.Rexpr.GetFuncCall()
	escape := `\`
	if f == nil || len(f.Args) == 0 {
		return &pg.Node{Node: &pg.Node_AExpr{AExpr: e}}
	}
	pattern, ok := literal(f.Args[0])
	if len(f.Args) > 1 {
		var known bool
		escape, known = literal(f.Args[1])
		ok = ok && known
	}
	if !ok {
		r.fail("SIMILAR TO takes a constant pattern here", "use ~ with a regular expression")
		return f.Args[0]
	}
	m := function("regexp_full_match", e.Lexpr, constant(similarRegex(pattern, escape)), constant("s"))
	if strings.HasPrefix(op, "!") {
		return not(m)
	}
	return m
}

func similarRegex(p, escape string) string {
	var b strings.Builder
	inClass := false
	for i, c := range p {
		if escape != "" && i >= len(escape) && strings.HasSuffix(p[:i], escape) && !strings.HasSuffix(p[:i], escape+escape) {
			b.WriteString(regexQuote(c))
			continue
		}
		switch {
		case escape != "" && strings.HasPrefix(p[i:], escape):
		case inClass:
			inClass = c != ']'
			b.WriteRune(c)
		case c == '[':
			inClass = true
			b.WriteRune(c)
		case c == '%':
			b.WriteString(".*")
		case c == '_':
			b.WriteString(".")
		case strings.ContainsRune(".^$", c):
			b.WriteString(regexQuote(c))
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func regexQuote(c rune) string {
	if strings.ContainsRune(`\.+*?()|[]{}^$`, c) {
		return `\` + string(c)
	}
	return string(c)
}

// symmetric is BETWEEN SYMMETRIC, which takes its bounds in any order.
func symmetric(e *pg.A_Expr) *pg.Node {
	bounds := e.Rexpr.GetList().GetItems()
	if len(bounds) != 2 {
		return &pg.Node{Node: &pg.Node_AExpr{AExpr: e}}
	}
	between := func(from, to *pg.Node) *pg.Node {
		items := &pg.Node{Node: &pg.Node_List{List: &pg.List{Items: []*pg.Node{from, to}}}}
		return pg.MakeAExprNode(pg.A_Expr_Kind_AEXPR_BETWEEN, strs("BETWEEN"), e.Lexpr, items, 0)
	}
	both := pg.MakeBoolExprNode(pg.BoolExprType_OR_EXPR, []*pg.Node{between(bounds[0], bounds[1]), between(bounds[1], bounds[0])}, 0)
	if e.Kind == pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM {
		return not(both)
	}
	return both
}

// json is an operator that takes something out of JSON. As functions: DuckDB's operators bind more loosely than PostgreSQL's.
func (r *rewriter) json(e *pg.A_Expr, op, keyType string) (*pg.Node, string) {
	key := e.Rexpr
	text, isText := literal(key)
	number, isNumber := literalInt(key)
	switch {
	case op == "#>" || op == "#>>":
		if isText {
			parts, ok := splitArray(text)
			if !ok {
				r.fail("malformed array literal: "+text, "")
				return key, ""
			}
			path := "$"
			for _, p := range parts {
				path += jsonStep(p.text, true)
			}
			key = constant(path)
		} else {
			key = macro("_json_path", key)
		}
	case isText:
		key = constant("$" + jsonStep(text, false))
	case isNumber && number < 0:
		key = constant("$[#-" + itoa(int(-number)) + "]")
	case isNumber:
		key = constant("$[" + itoa(int(number)) + "]")
	case isInt(keyType):
		key = operator("||", operator("||", constant("$["), key), constant("]"))
	default:
		key = operator("||", operator("||", constant(`$."`), key), constant(`"`))
	}
	switch op {
	case "->", "#>":
		return function("json_extract", e.Lexpr, key), "json"
	}
	return function("json_extract_string", e.Lexpr, key), "text"
}

func jsonStep(key string, numbers bool) string {
	if numbers && key != "" && strings.Trim(key, "0123456789") == "" {
		return "[" + key + "]"
	}
	return `."` + strings.ReplaceAll(key, `"`, `\"`) + `"`
}

func (r *rewriter) fail(text, hint string) {
	if r.err == nil {
		r.err = fault.New(fault.InvalidSQL, hint, "%s", text)
	}
}
