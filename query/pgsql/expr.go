package pgsql

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// list rewrites each node in place and returns their types.
func (r *rewriter) list(nodes []*pg.Node, sc *scope) []string {
	types := make([]string, len(nodes))
	for i := range nodes {
		nodes[i], types[i] = r.expr(nodes[i], sc)
	}
	return types
}

// expr rewrites an expression and says of what type it is; "" when that is not known. A nil node stays one.
func (r *rewriter) expr(n *pg.Node, sc *scope) (*pg.Node, string) {
	switch v := n.GetNode().(type) {
	case *pg.Node_AConst:
		return n, constantType(v.AConst)
	case *pg.Node_ColumnRef:
		return r.columnRef(n, v.ColumnRef, sc)
	case *pg.Node_AExpr:
		return r.operation(n, v.AExpr, sc)
	case *pg.Node_FuncCall:
		return r.funcCall(v.FuncCall, sc)
	case *pg.Node_TypeCast:
		return r.typeCast(n, v.TypeCast, sc)
	case *pg.Node_BoolExpr:
		r.list(v.BoolExpr.Args, sc)
		return n, "bool"
	case *pg.Node_NullTest:
		if row := wholeRow(v.NullTest.Arg, sc); row != nil {
			v.NullTest.Arg = row
			return n, "bool"
		}
		v.NullTest.Arg, _ = r.expr(v.NullTest.Arg, sc)
		return n, "bool"
	case *pg.Node_BooleanTest:
		return r.booleanTest(n, v.BooleanTest, sc)
	case *pg.Node_CaseExpr:
		return r.caseExpr(n, v.CaseExpr, sc)
	case *pg.Node_CoalesceExpr:
		return n, widest(r.list(v.CoalesceExpr.Args, sc))
	case *pg.Node_MinMaxExpr:
		return n, widest(r.list(v.MinMaxExpr.Args, sc))
	case *pg.Node_SubLink:
		return r.subLink(n, v.SubLink, sc)
	case *pg.Node_AArrayExpr:
		typ := widest(r.list(v.AArrayExpr.Elements, sc))
		if typ == "" || typ == "unknown" {
			typ = "text"
		}
		return n, typ + "[]"
	case *pg.Node_RowExpr:
		r.list(v.RowExpr.Args, sc)
	case *pg.Node_List:
		r.list(v.List.Items, sc)
	case *pg.Node_GroupingSet:
		r.list(v.GroupingSet.Content, sc)
	case *pg.Node_GroupingFunc:
		r.list(v.GroupingFunc.Args, sc)
		return n, "int4"
	case *pg.Node_SortBy:
		var typ string
		v.SortBy.Node, typ = r.expr(v.SortBy.Node, sc)
		return n, typ
	case *pg.Node_WindowDef:
		r.window(v.WindowDef, sc)
	case *pg.Node_NamedArgExpr:
		v.NamedArgExpr.Arg, _ = r.expr(v.NamedArgExpr.Arg, sc)
	case *pg.Node_CollateClause:
		return r.collate(n, v.CollateClause, sc)
	case *pg.Node_AIndirection:
		return r.indirection(n, v.AIndirection, sc)
	case *pg.Node_SqlvalueFunction:
		f := valueFunctions[v.SqlvalueFunction.Op]
		if f.name == "current_schema" && len(r.path) > 0 {
			return r.currentSchema(), "text"
		}
		if f.macro != "" {
			r.catalog = true
			return macro(f.macro), f.typ
		}
		v.SqlvalueFunction.Typmod = -1
		return n, f.typ
	}
	return n, ""
}

// wholeRow is what stands for (t.*)::text where it is asked whether that is NULL: then an outer join has found no row of t. It is taken for
// none as well when all its columns are NULL.
func wholeRow(n *pg.Node, sc *scope) *pg.Node {
	c := n.GetTypeCast()
	star, of := isStar(c.GetArg())
	if !star || last(c.GetTypeName().GetNames()) != "text" {
		return nil
	}
	var texts []*pg.Node
	for i := range sc.sources {
		if s := &sc.sources[i]; s.name == of {
			for _, name := range s.names {
				texts = append(texts, cast(pg.MakeColumnRefNode(strs(s.name, name), 0), "text"))
			}
		}
	}
	if texts == nil {
		return nil
	}
	return &pg.Node{Node: &pg.Node_CoalesceExpr{CoalesceExpr: &pg.CoalesceExpr{Args: texts}}}
}

func (r *rewriter) window(w *pg.WindowDef, sc *scope) {
	if w == nil {
		return
	}
	r.list(w.PartitionClause, sc)
	r.list(w.OrderClause, sc)
	w.StartOffset, _ = r.expr(w.StartOffset, sc)
	w.EndOffset, _ = r.expr(w.EndOffset, sc)
}

func constantType(c *pg.A_Const) string {
	switch v := c.GetVal().(type) {
	case *pg.A_Const_Ival:
		return "int4"
	case *pg.A_Const_Fval:
		if strings.ContainsAny(v.Fval.Fval, ".eE") {
			return "numeric"
		}
		return "int8"
	case *pg.A_Const_Boolval:
		return "bool"
	case *pg.A_Const_Sval:
		return "unknown"
	}
	return ""
}

// columnRef leaves out schema and database, which DuckDB calls otherwise.
func (r *rewriter) columnRef(n *pg.Node, c *pg.ColumnRef, sc *scope) (*pg.Node, string) {
	if len(c.Fields) > 2 {
		c.Fields = c.Fields[len(c.Fields)-2:]
	}
	table := ""
	if len(c.Fields) == 2 {
		table = c.Fields[0].GetString_().GetSval()
	}
	typ := sc.column(table, last(c.Fields))
	switch {
	case typ == series4:
		return cast(n, "int4"), "int4"
	case typ == "" && last(c.Fields) == "ctid":
		r.fail("the rows of a copy have no ctid", "the copy is only read; change the data where it comes from")
	case typ == "" && last(c.Fields) == "value":
		if alias := sc.valueOf(table); alias != "" {
			c.Fields[len(c.Fields)-1] = str(alias)
			return n, sc.column(alias, alias)
		}
	}
	return n, typ
}

func (r *rewriter) booleanTest(n *pg.Node, b *pg.BooleanTest, sc *scope) (*pg.Node, string) {
	b.Arg, _ = r.expr(b.Arg, sc)
	kind := pg.NullTestType_IS_NULL
	switch b.Booltesttype {
	case pg.BoolTestType_IS_NOT_UNKNOWN:
		kind = pg.NullTestType_IS_NOT_NULL
	case pg.BoolTestType_IS_UNKNOWN:
	default:
		return n, "bool"
	}
	return &pg.Node{Node: &pg.Node_NullTest{NullTest: &pg.NullTest{Arg: b.Arg, Nulltesttype: kind}}}, "bool"
}

func (r *rewriter) caseExpr(n *pg.Node, c *pg.CaseExpr, sc *scope) (*pg.Node, string) {
	c.Arg, _ = r.expr(c.Arg, sc)
	typ := ""
	for i, w := range c.Args {
		when := w.GetCaseWhen()
		when.Expr, _ = r.expr(when.Expr, sc)
		var t string
		when.Result, t = r.expr(when.Result, sc)
		if i == 0 {
			typ = t
		} else {
			typ = wider(typ, t)
		}
	}
	if c.Defresult != nil {
		var t string
		c.Defresult, t = r.expr(c.Defresult, sc)
		typ = wider(typ, t)
	}
	return n, typ
}

func (r *rewriter) subLink(n *pg.Node, s *pg.SubLink, sc *scope) (*pg.Node, string) {
	var left string
	s.Testexpr, left = r.expr(s.Testexpr, sc)
	q := s.Subselect.GetSelectStmt()
	if q == nil {
		return n, ""
	}
	cols := r.query(q, sc, inner)
	typ := ""
	if len(cols.names) > 0 {
		typ = cols.types[cols.names[0]]
	}
	switch s.SubLinkType {
	case pg.SubLinkType_EXPR_SUBLINK:
		return n, typ
	case pg.SubLinkType_ARRAY_SUBLINK:
		if typ == "" {
			return n, "[]"
		}
		return n, typ + "[]"
	}
	_ = left
	return n, "bool"
}

// ownCollations sort by the bytes of UTF-8, as DuckDB does without any.
var ownCollations = words("default C POSIX ucs_basic C.UTF-8 C.utf8")

func (r *rewriter) collate(n *pg.Node, c *pg.CollateClause, sc *scope) (*pg.Node, string) {
	arg, typ := r.expr(c.Arg, sc)
	if ownCollations[last(c.Collname)] {
		return arg, typ
	}
	c.Arg = arg
	return n, typ
}

// indirection is what stands behind a value: fields and subscripts.
func (r *rewriter) indirection(n *pg.Node, a *pg.A_Indirection, sc *scope) (*pg.Node, string) {
	var typ string
	a.Arg, typ = r.expr(a.Arg, sc)
	for _, i := range a.Indirection {
		x := i.GetAIndices()
		if x == nil {
			typ = ""
			continue
		}
		x.Lidx, _ = r.expr(x.Lidx, sc)
		x.Uidx, _ = r.expr(x.Uidx, sc)
		vector := typ == "int2vector" || typ == "oidvector"
		if vector && x.Uidx != nil {
			// These count from 0.
			x.Uidx = operator("+", x.Uidx, integer(1))
		}
		switch {
		case x.IsSlice:
		case vector:
			typ = map[string]string{"int2vector": "int2", "oidvector": "oid"}[typ]
		default:
			typ = strings.TrimSuffix(typ, "[]")
			// DuckDB counts what is not above 0 from the end.
			if at, ok := literalInt(x.Uidx); !ok {
				x.Uidx = caseWhen(operator(">", x.Uidx, integer(0)), x.Uidx)
			} else if at <= 0 {
				x.Uidx = null()
			}
		}
	}
	return n, typ
}

// asName is a value as a client sees it: where an object's number stands for its name, the name.
func (r *rewriter) asName(n *pg.Node, typ string) (*pg.Node, string) {
	if out, ok := regOut[typ]; ok {
		r.catalog = true
		if out == "_format_type" {
			return macro(out, n, pg.MakeAConstIntNode(-1, 0)), "text"
		}
		return macro(out, n), "text"
	}
	return n, typ
}

var regOut = map[string]string{"regclass": "_regclass_out", "regtype": "_format_type", "regproc": "_regproc_out", "regprocedure": "_regproc_out",
	"regnamespace": "_regnamespace_out", "regrole": "_pg_get_userbyid"}
