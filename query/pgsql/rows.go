package pgsql

import pg "github.com/pganalyze/pg_query_go/v6"

// rowsOf is what stands for a function in FROM where a table function of DuckDB cannot: one whose rows have several columns, which is a
// list of structures, and one of a single value, which may be a query. Others give nil.
func (r *rewriter) rowsOf(f *pg.RangeFunction, sc *scope) *pg.Node {
	if len(f.Functions) != 1 || f.Ordinality || len(f.Coldeflist) > 0 {
		return nil
	}
	item := f.Functions[0].GetList().GetItems()
	if len(item) == 0 || item[0].GetFuncCall() == nil {
		return nil
	}
	call := item[0].GetFuncCall()
	name := bare(call.Funcname)
	alias := f.Alias
	if alias == nil {
		alias = &pg.Alias{Aliasname: name}
	}
	fn, list := listFunctions[name]
	var value *pg.Node
	columns := source{types: map[string]string{}}
	switch {
	case list && fn.columns != nil:
		r.list(call.Args, sc)
		r.catalog = r.catalog || fn.catalog
		depth := &pg.Node{Node: &pg.Node_NamedArgExpr{NamedArgExpr: &pg.NamedArgExpr{Name: "max_depth", Arg: integer(2), Argnumber: -1}}}
		value = pg.MakeResTargetNodeWithVal(function("unnest", macro(fn.macro, call.Args...), depth), 0)
		columns.names = fn.columns
	case macros[name].name != "":
		of, typ := r.funcCall(call, sc)
		of, typ = r.asName(of, typ)
		value = pg.MakeResTargetNodeWithNameAndVal(alias.Aliasname, of, 0)
		columns.names, columns.types[alias.Aliasname] = []string{alias.Aliasname}, typ
	default:
		return nil
	}
	sc.sources = append(sc.sources, renamed(columns, alias.Aliasname, alias.Colnames))
	rows := &pg.SelectStmt{TargetList: []*pg.Node{value}, Op: pg.SetOperation_SETOP_NONE, LimitOption: pg.LimitOption_LIMIT_OPTION_DEFAULT}
	return &pg.Node{Node: &pg.Node_RangeSubselect{RangeSubselect: &pg.RangeSubselect{Lateral: len(call.Args) > 0, Alias: alias,
		Subquery: &pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: rows}}}}}
}
