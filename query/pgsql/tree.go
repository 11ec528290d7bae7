package pgsql

import (
	"strconv"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// What the trees of translated statements are put together from.

func itoa(n int) string { return strconv.Itoa(n) }

func str(s string) *pg.Node { return pg.MakeStrNode(s) }

func strs(parts ...string) []*pg.Node {
	var out []*pg.Node
	for _, p := range parts {
		out = append(out, str(p))
	}
	return out
}

// function calls one of DuckDB's.
func function(name string, args ...*pg.Node) *pg.Node {
	return pg.MakeFuncCallNode(strs(name), args, 0)
}

// macro calls one of the catalog's functions.
func macro(name string, args ...*pg.Node) *pg.Node {
	return pg.MakeFuncCallNode(strs("memory", openSchema, name), args, 0)
}

func constant(s string) *pg.Node { return pg.MakeAConstStrNode(s, 0) }

func integer(n int64) *pg.Node {
	if n < -1<<31 || n >= 1<<31 {
		return &pg.Node{Node: &pg.Node_AConst{AConst: &pg.A_Const{Val: &pg.A_Const_Fval{Fval: &pg.Float{Fval: strconv.FormatInt(n, 10)}}}}}
	}
	return pg.MakeAConstIntNode(n, 0)
}

func boolean(v bool) *pg.Node {
	return &pg.Node{Node: &pg.Node_AConst{AConst: &pg.A_Const{Val: &pg.A_Const_Boolval{Boolval: &pg.Boolean{Boolval: v}}}}}
}

func array(items ...*pg.Node) *pg.Node {
	return &pg.Node{Node: &pg.Node_AArrayExpr{AArrayExpr: &pg.A_ArrayExpr{Elements: items}}}
}

func cast(n *pg.Node, typ string, mods ...int64) *pg.Node {
	t := &pg.TypeName{Names: strs(typ), Typemod: -1}
	for _, m := range mods {
		t.Typmods = append(t.Typmods, integer(m))
	}
	return &pg.Node{Node: &pg.Node_TypeCast{TypeCast: &pg.TypeCast{Arg: n, TypeName: t}}}
}

func not(n *pg.Node) *pg.Node { return pg.MakeBoolExprNode(pg.BoolExprType_NOT_EXPR, []*pg.Node{n}, 0) }

func operator(op string, l, r *pg.Node) *pg.Node {
	return pg.MakeAExprNode(pg.A_Expr_Kind_AEXPR_OP, strs(op), l, r, 0)
}

// bare is a function's name without its schema; "" when the schema is none of PostgreSQL's own.
func bare(parts []*pg.Node) string {
	if len(parts) == 2 {
		switch parts[0].GetString_().GetSval() {
		case "pg_catalog", "information_schema":
		default:
			return ""
		}
	}
	if len(parts) > 2 {
		return ""
	}
	return last(parts)
}

// literal is the text of a constant.
func literal(n *pg.Node) (string, bool) {
	s, ok := n.GetAConst().GetVal().(*pg.A_Const_Sval)
	if !ok {
		return "", false
	}
	return s.Sval.Sval, true
}

// literalInt is a constant whole number.
func literalInt(n *pg.Node) (int64, bool) {
	c := n.GetAConst()
	if c == nil {
		return 0, false
	}
	switch v := c.Val.(type) {
	case *pg.A_Const_Ival:
		return int64(v.Ival.Ival), true
	}
	return 0, false
}

func null() *pg.Node { return &pg.Node{Node: &pg.Node_AConst{AConst: &pg.A_Const{Isnull: true}}} }
