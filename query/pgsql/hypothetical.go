package pgsql

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

var hypotheticals = words("rank dense_rank percent_rank cume_dist")

// hypothetical is rank(v) WITHIN GROUP (ORDER BY x) and its like, which say where v would stand: the rows before it are counted. DuckDB has
// none of them.
func (r *rewriter) hypothetical(f *pg.FuncCall, types []string) (*pg.Node, string) {
	name := last(f.Funcname)
	if len(f.Args) != 1 || len(f.AggOrder) != 1 {
		r.fail(name+"() WITHIN GROUP takes one value and one order here", "count the rows before it: count(*) FILTER (WHERE …)")
		return call(f), ""
	}
	v := f.Args[0]
	by := f.AggOrder[0].GetSortBy()
	if _, unknown := literal(v); unknown && types[0] == "unknown" {
		types[0] = ""
	}
	less, descending := "<", by.SortbyDir == pg.SortByDir_SORTBY_DESC
	if descending {
		less = ">"
	}
	nullsFirst := by.SortbyNulls == pg.SortByNulls_SORTBY_NULLS_FIRST || descending && by.SortbyNulls != pg.SortByNulls_SORTBY_NULLS_LAST
	before := func(op string) *pg.Node {
		b := operator(op, by.Node, v)
		if nullsFirst {
			null := &pg.Node{Node: &pg.Node_NullTest{NullTest: &pg.NullTest{Arg: by.Node, Nulltesttype: pg.NullTestType_IS_NULL}}}
			b = pg.MakeBoolExprNode(pg.BoolExprType_OR_EXPR, []*pg.Node{b, null}, 0)
		}
		return b
	}
	count := func(only *pg.Node, distinct bool) *pg.Node {
		c := &pg.FuncCall{Funcname: strs("count"), AggFilter: f.AggFilter, AggStar: !distinct}
		if distinct {
			c.Args, c.AggDistinct = []*pg.Node{by.Node}, true
		}
		switch {
		case only != nil && c.AggFilter != nil:
			c.AggFilter = pg.MakeBoolExprNode(pg.BoolExprType_AND_EXPR, []*pg.Node{c.AggFilter, only}, 0)
		case only != nil:
			c.AggFilter = only
		}
		return call(c)
	}
	switch name {
	case "rank":
		return operator("+", count(before(less), false), integer(1)), "int8"
	case "dense_rank":
		return operator("+", count(before(less), true), integer(1)), "int8"
	case "percent_rank":
		share := operator("/", cast(count(before(less), false), "float8"), count(nil, false))
		return &pg.Node{Node: &pg.Node_CoalesceExpr{CoalesceExpr: &pg.CoalesceExpr{Args: []*pg.Node{function("nullif", share, cast(constant("NaN"), "float8")), integer(0)}}}}, "float8"
	}
	upTo := operator("+", cast(count(before(less+"="), false), "float8"), integer(1))
	return operator("/", upTo, operator("+", count(nil, false), integer(1))), "float8"
}
