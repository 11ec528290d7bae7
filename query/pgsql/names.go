package pgsql

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// columnName is what PostgreSQL calls a column of a result that was given no name.
func columnName(n *pg.Node) string {
	name, _ := figureName(n)
	if name == "" {
		return "?column?"
	}
	return name
}

// figureName also says how sure the name is: that of a column or function beats that of a cast's type.
func figureName(n *pg.Node) (name string, strength int) {
	switch v := n.GetNode().(type) {
	case *pg.Node_ColumnRef:
		for _, f := range v.ColumnRef.Fields {
			if s := f.GetString_(); s != nil {
				name = s.Sval
			}
		}
		return name, 2
	case *pg.Node_AIndirection:
		for _, i := range v.AIndirection.Indirection {
			if s := i.GetString_(); s != nil {
				name = s.Sval
			}
		}
		if name != "" {
			return name, 2
		}
		return figureName(v.AIndirection.Arg)
	case *pg.Node_FuncCall:
		return last(v.FuncCall.Funcname), 2
	case *pg.Node_AExpr:
		if v.AExpr.Kind == pg.A_Expr_Kind_AEXPR_NULLIF {
			return "nullif", 2
		}
	case *pg.Node_TypeCast:
		if name, s := figureName(v.TypeCast.Arg); s > 1 {
			return name, s
		}
		return last(v.TypeCast.TypeName.GetNames()), 1
	case *pg.Node_CollateClause:
		return figureName(v.CollateClause.Arg)
	case *pg.Node_GroupingFunc:
		return "grouping", 2
	case *pg.Node_SubLink:
		switch v.SubLink.SubLinkType {
		case pg.SubLinkType_EXISTS_SUBLINK:
			return "exists", 2
		case pg.SubLinkType_ARRAY_SUBLINK:
			return "array", 2
		case pg.SubLinkType_EXPR_SUBLINK:
			sel := v.SubLink.Subselect.GetSelectStmt()
			for sel.GetLarg() != nil {
				sel = sel.Larg
			}
			if sel != nil && len(sel.TargetList) > 0 {
				t := sel.TargetList[0].GetResTarget()
				if t.GetName() != "" {
					return t.Name, 2
				}
				return figureName(t.GetVal())
			}
		}
	case *pg.Node_CaseExpr:
		if name, s := figureName(v.CaseExpr.Defresult); s > 0 && v.CaseExpr.Defresult != nil {
			return name, max(s, 1)
		}
		return "case", 1
	case *pg.Node_AArrayExpr:
		return "array", 2
	case *pg.Node_RowExpr:
		return "row", 2
	case *pg.Node_CoalesceExpr:
		return "coalesce", 2
	case *pg.Node_MinMaxExpr:
		if v.MinMaxExpr.Op == pg.MinMaxOp_IS_LEAST {
			return "least", 2
		}
		return "greatest", 2
	case *pg.Node_SqlvalueFunction:
		return valueFunctions[v.SqlvalueFunction.Op].name, 2
	}
	return "", 0
}

// last is the last of a name's parts.
func last(parts []*pg.Node) string {
	if len(parts) == 0 {
		return ""
	}
	return parts[len(parts)-1].GetString_().GetSval()
}

// valueFunctions are those without parentheses: their names, and what stands for them where DuckDB has another answer.
var valueFunctions = map[pg.SQLValueFunctionOp]struct{ name, macro, typ string }{
	pg.SQLValueFunctionOp_SVFOP_CURRENT_DATE:        {"current_date", "", "date"},
	pg.SQLValueFunctionOp_SVFOP_CURRENT_TIME:        {"current_time", "", "timetz"},
	pg.SQLValueFunctionOp_SVFOP_CURRENT_TIME_N:      {"current_time", "", "timetz"},
	pg.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP:   {"current_timestamp", "", "timestamptz"},
	pg.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP_N: {"current_timestamp", "", "timestamptz"},
	pg.SQLValueFunctionOp_SVFOP_LOCALTIME:           {"localtime", "", "time"},
	pg.SQLValueFunctionOp_SVFOP_LOCALTIME_N:         {"localtime", "", "time"},
	pg.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP:      {"localtimestamp", "", "timestamp"},
	pg.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP_N:    {"localtimestamp", "", "timestamp"},
	pg.SQLValueFunctionOp_SVFOP_CURRENT_ROLE:        {"current_role", "_current_user", "text"},
	pg.SQLValueFunctionOp_SVFOP_CURRENT_USER:        {"current_user", "_current_user", "text"},
	pg.SQLValueFunctionOp_SVFOP_USER:                {"user", "_current_user", "text"},
	pg.SQLValueFunctionOp_SVFOP_SESSION_USER:        {"session_user", "_current_user", "text"},
	pg.SQLValueFunctionOp_SVFOP_CURRENT_CATALOG:     {"current_catalog", "_current_database", "text"},
	pg.SQLValueFunctionOp_SVFOP_CURRENT_SCHEMA:      {"current_schema", "_current_schema", "text"},
}
