package pgsql

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// Quotients and means of numerics are computed in double precision, which orders, filters and goes on computing well. Where one is a column
// of the client's result, its two operands are sent instead, written as dividend/divisor, and divided as PostgreSQL divides when the value is
// written out: DuckDB's decimals have no scale of each value's own.

// exactQuotient is a division that could be done exactly, with the digits that it is rounded to; -1: none.
type exactQuotient struct {
	dividend, divisor *pg.Node
	digits            int64
}

// exactly says that n is dividend / divisor.
func (r *rewriter) exactly(n, dividend, divisor *pg.Node) {
	if r.exact == nil {
		r.exact = map[*pg.Node]exactQuotient{}
	}
	r.exact[n] = exactQuotient{dividend, divisor, -1}
}

// isExact are the types whose values are numerics with all their digits.
func isExact(typ string) bool { return isInt(typ) || typ == "numeric" }

// plainNumber says whether a number's text has no exponent.
func plainNumber(n *pg.Node) bool {
	f, ok := n.GetAConst().GetVal().(*pg.A_Const_Fval)
	if !ok {
		return true
	}
	_, _, plain := decimalDigits(f.Fval.Fval)
	return plain
}

// meanOf enters the mean f as the sum of its values divided by their number.
func (r *rewriter) meanOf(n *pg.Node, f *pg.FuncCall) {
	part := func(name string) *pg.Node {
		return &pg.Node{Node: &pg.Node_FuncCall{FuncCall: &pg.FuncCall{Funcname: strs(name), Args: f.Args, AggFilter: f.AggFilter, AggDistinct: f.AggDistinct, Over: f.Over, Funcformat: f.Funcformat}}}
	}
	r.exactly(n, part("sum"), part("count"))
}

// numericOut is a numeric that was computed in double precision, as the client is to see it.
func (r *rewriter) numericOut(n *pg.Node, exact bool) *pg.Node {
	q, ok := r.exact[n]
	if !ok || !exact {
		return macro("_numeric_double", n)
	}
	if q.digits >= 0 {
		return macro("_numeric_quotient", q.dividend, q.divisor, constant(itoa(int(q.digits))))
	}
	return macro("_numeric_quotient", q.dividend, q.divisor)
}

var aggregates = words("sum count avg min max bool_and bool_or")

// aggregated says whether n is surely computed from aggregates of its query, and so nothing that rows are grouped by.
func aggregated(n *pg.Node) bool {
	switch v := n.GetNode().(type) {
	case *pg.Node_FuncCall:
		if aggregates[last(v.FuncCall.Funcname)] {
			return v.FuncCall.Over == nil
		}
		for _, a := range v.FuncCall.Args {
			if aggregated(a) {
				return true
			}
		}
	case *pg.Node_AExpr:
		return aggregated(v.AExpr.Lexpr) || aggregated(v.AExpr.Rexpr)
	case *pg.Node_TypeCast:
		return aggregated(v.TypeCast.Arg)
	}
	return false
}

// groupedByColumns says whether the query has no groups, or those of columns of its tables: no column of the result is meant.
func groupedByColumns(s *pg.SelectStmt) bool {
	for _, g := range s.GroupClause {
		c := g.GetColumnRef()
		if c == nil {
			return false
		}
		for _, t := range s.TargetList {
			if t.GetResTarget().GetName() == last(c.Fields) && t.GetResTarget().GetVal().GetColumnRef() == nil {
				return false
			}
		}
	}
	return true
}

// sortByValues has ORDER BY use what columns are computed as where what is shown of them would be sorted otherwise; shown are these by the
// columns' places.
func sortByValues(s *pg.SelectStmt, shown map[int]*pg.Node, names []string) {
	for _, n := range s.SortClause {
		by := n.GetSortBy()
		if at, ok := literalInt(by.GetNode()); ok {
			if value := shown[int(at)-1]; value != nil {
				by.Node = value
			}
			continue
		}
		c := by.GetNode().GetColumnRef()
		if c == nil || len(c.Fields) != 1 {
			continue
		}
		for at, value := range shown {
			if names[at] == last(c.Fields) {
				by.Node = value
			}
		}
	}
}
