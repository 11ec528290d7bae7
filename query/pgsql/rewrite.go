package pgsql

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// rewriter translates one statement's tree in place.
type rewriter struct {
	t       *Translator
	st      *state
	path    []string // of the session, when it is not public alone
	catalog bool     // it reads the catalog
	err     error    // the first thing that cannot be said in DuckDB

	exact map[*pg.Node]exactQuotient // what could be divided exactly
	typed bool                       // the result's columns keep DuckDB's types
	shown map[int]*pg.Node           // of the whole statement's columns: those that are shown as another value

	recursive func(first source) // told of the columns of the first half of WITH RECURSIVE
}

// rewrite parses, rewrites and writes out again. path are the schemas in which names without one are looked up; none is public alone.
func (t *Translator) rewrite(st *state, sql string, values bool, path ...string) (out string, catalog bool, err error) {
	if beyond(sql) {
		return sql, false, nil // DuckDB's parser says what is wrong with it, or runs it
	}
	tree, err := pg.Parse(sql)
	if err != nil || len(tree.Stmts) != 1 {
		return sql, false, nil //nolint:nilerr // It may be DuckDB's own dialect, whose parser says what is wrong.
	}
	r := &rewriter{t: t, st: st, path: path, typed: values}
	prefix := ""
	stmt := tree.Stmts[0]
	if e := stmt.Stmt.GetExplainStmt(); e != nil && e.Query.GetSelectStmt() != nil {
		if prefix = explain(e); prefix == "" {
			return sql, false, nil
		}
		stmt.Stmt = e.Query
	}
	s := stmt.Stmt.GetSelectStmt()
	if s == nil || s.IntoClause != nil {
		return sql, false, nil
	}
	r.query(s, nil, whole)
	if r.err != nil {
		return "", false, r.err
	}
	out, err = pg.Deparse(tree)
	if err != nil {
		return sql, false, nil //nolint:nilerr // As below.
	}
	// What the deparser does not get right is left to DuckDB as it came.
	if again, err := pg.Parse(out); err != nil || len(again.Stmts) != 1 {
		return sql, false, nil //nolint:nilerr // DuckDB's parser says what is wrong.
	}
	return prefix + duckWords(out), r.catalog, nil
}

// explain is the statement's beginning in DuckDB's words; "" for options that it does not have.
func explain(e *pg.ExplainStmt) string {
	analyze := false
	for _, o := range e.Options {
		d := o.GetDefElem()
		switch d.GetDefname() {
		case "analyze":
			analyze = true
		case "format":
			if strings.EqualFold(d.GetArg().GetString_().GetSval(), "json") {
				return "EXPLAIN (FORMAT json) "
			}
		}
	}
	if analyze {
		return "EXPLAIN ANALYZE "
	}
	return "EXPLAIN "
}

// duckReserved are words that DuckDB keeps for itself and PostgreSQL does not. Keywords of PostgreSQL come from its deparser in capitals.
var duckReserved = words("anti asof at by columns describe generated glob lambda map pivot pivot_longer pivot_wider positional qualify semi show struct summarize try_cast unpack unpivot")

// duckWords quotes them where the deparser did not: there they can only be names. A sample's size, a number of rows to DuckDB, is a percentage.
func duckWords(sql string) string {
	var b strings.Builder
	s := scanner{sql: sql}
	from := 0
	var before [3]string
	for {
		kind, tok := s.next()
		if kind == tokenEnd || kind == tokenOther {
			break
		}
		switch {
		case kind == tokenWord && duckReserved[tok]:
			b.WriteString(sql[from:s.at-len(tok)] + `"` + tok + `"`)
			from = s.at
		case kind == tokenNumber && before[0] == "TABLESAMPLE" && before[2] == "(":
			b.WriteString(sql[from:s.at] + " PERCENT")
			from = s.at
		}
		before = [3]string{before[1], before[2], tok}
	}
	return b.String() + sql[from:]
}

// scope is what names mean within a query.
type scope struct {
	outer   *scope
	sources []source
	ctes    []source // of the query's WITH
}

// source is something that a query reads from: its name there, and its columns' types as far as they are known.
type source struct {
	name  string
	names []string
	types map[string]string
	value bool // a function's only column, which is called value as well as by its alias
}

func (s *scope) cte(name string) (source, bool) {
	for ; s != nil; s = s.outer {
		for i := len(s.ctes) - 1; i >= 0; i-- {
			if s.ctes[i].name == name {
				return s.ctes[i], true
			}
		}
	}
	return source{}, false
}

// valueOf is the alias of a function whose only column goes by the name of value.
func (s *scope) valueOf(table string) string {
	for ; s != nil; s = s.outer {
		for i := range s.sources {
			if s.sources[i].value && (table == "" || s.sources[i].name == table) {
				return s.sources[i].name
			}
		}
	}
	return ""
}

// column is the type of a column; "" when it is not known.
func (s *scope) column(table, name string) string {
	for ; s != nil; s = s.outer {
		for i := range s.sources {
			if table != "" && s.sources[i].name != table {
				continue
			}
			if typ, ok := s.sources[i].types[name]; ok {
				return typ
			}
		}
	}
	return ""
}

// place says what becomes of a query's rows: another query reads them, they are a part of what the client gets, or all of it.
type place int

const (
	inner place = iota
	arm
	whole
)

// query rewrites a SELECT and returns its columns.
func (r *rewriter) query(s *pg.SelectStmt, outer *scope, of place) source {
	sc := &scope{outer: outer}
	s.LockingClause = nil
	if s.WithClause != nil {
		for _, n := range s.WithClause.Ctes {
			c := n.GetCommonTableExpr()
			var cols source
			if q := c.GetCtequery().GetSelectStmt(); q != nil {
				if s.WithClause.Recursive {
					// Its own name hides a table in the second half, where its columns' types are those of the first.
					sc.ctes = append(sc.ctes, source{name: c.Ctename})
					r.recursive = func(first source) { sc.ctes[len(sc.ctes)-1] = renamed(first, c.Ctename, c.Aliascolnames) }
					cols = r.query(q, sc, inner)
					sc.ctes = sc.ctes[:len(sc.ctes)-1]
				} else {
					cols = r.query(q, sc, inner)
				}
			}
			sc.ctes = append(sc.ctes, renamed(cols, c.Ctename, c.Aliascolnames))
		}
	}
	if len(s.ValuesLists) > 0 && s.Op <= pg.SetOperation_SETOP_NONE {
		named(s)
	}
	var out source
	switch {
	case s.Op != pg.SetOperation_SETOP_NONE && s.Op != pg.SetOperation_SET_OPERATION_UNDEFINED:
		first := r.recursive
		r.recursive = nil
		out = r.query(s.Larg, sc, min(of, arm))
		if first != nil {
			first(out)
		}
		right := r.query(s.Rarg, sc, min(of, arm))
		for i, name := range out.names {
			if i < len(right.names) {
				out.types[name] = wider(out.types[name], right.types[right.names[i]])
			}
		}
		sc.sources = []source{out}
	default:
		for i := range s.FromClause {
			s.FromClause[i] = r.from(s.FromClause[i], sc)
		}
		out = r.targets(s, sc, of)
	}
	s.WhereClause, _ = r.expr(s.WhereClause, sc)
	s.HavingClause, _ = r.expr(s.HavingClause, sc)
	for _, list := range [][]*pg.Node{s.GroupClause, s.DistinctClause, s.SortClause, s.WindowClause} {
		r.list(list, sc)
	}
	if of == whole {
		sortByValues(s, r.shown, out.names)
	}
	s.LimitOffset, _ = r.expr(s.LimitOffset, sc)
	if s.LimitOption == pg.LimitOption_LIMIT_OPTION_WITH_TIES {
		r.fail("FETCH FIRST … WITH TIES is not there", "filter by rank() OVER (ORDER BY …) in a subquery")
	}
	if c := s.LimitCount.GetAConst(); c != nil && c.Isnull {
		s.LimitCount, s.LimitOption = nil, pg.LimitOption_LIMIT_OPTION_DEFAULT
	}
	s.LimitCount, _ = r.expr(s.LimitCount, sc)
	return out
}

func renamed(s source, name string, aliases []*pg.Node) source {
	if len(aliases) == 0 {
		s.name = name
		return s
	}
	out := source{name: name, types: map[string]string{}}
	for i, n := range s.names {
		to := n
		if i < len(aliases) {
			to = aliases[i].GetString_().GetSval()
		}
		out.names = append(out.names, to)
		out.types[to] = s.types[n]
	}
	return out
}

// named reads a VALUES through a SELECT, which gives its columns PostgreSQL's names.
func named(s *pg.SelectStmt) {
	lists := s.ValuesLists
	alias := &pg.Alias{Aliasname: "*VALUES*"}
	for i := range lists[0].GetList().GetItems() {
		alias.Colnames = append(alias.Colnames, str("column"+itoa(i+1)))
	}
	values := &pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: &pg.SelectStmt{ValuesLists: lists, Op: pg.SetOperation_SETOP_NONE, LimitOption: pg.LimitOption_LIMIT_OPTION_DEFAULT}}}
	star := pg.MakeColumnRefNode([]*pg.Node{pg.MakeAStarNode()}, 0)
	s.ValuesLists = nil
	s.TargetList = []*pg.Node{pg.MakeResTargetNodeWithVal(star, 0)}
	s.FromClause = []*pg.Node{{Node: &pg.Node_RangeSubselect{RangeSubselect: &pg.RangeSubselect{Subquery: values, Alias: alias}}}}
}

func (r *rewriter) values(s *pg.SelectStmt, sc *scope) source {
	out := source{types: map[string]string{}}
	for i, row := range s.ValuesLists {
		for k, v := range row.GetList().GetItems() {
			n, typ := r.expr(v, sc)
			row.GetList().Items[k] = n
			name := "column" + itoa(k+1)
			if i == 0 {
				out.names = append(out.names, name)
				out.types[name] = typ
			} else {
				out.types[name] = wider(out.types[name], typ)
			}
		}
	}
	return out
}

// targets rewrites what is selected, and gives each column the name that PostgreSQL gives it.
func (r *rewriter) targets(s *pg.SelectStmt, sc *scope, of place) source {
	out := source{types: map[string]string{}}
	add := func(name, typ string) {
		out.names = append(out.names, name)
		if _, twice := out.types[name]; twice {
			typ = ""
		}
		out.types[name] = typ
	}
	for _, n := range s.TargetList {
		t := n.GetResTarget()
		if t == nil {
			continue
		}
		if star, of := isStar(t.Val); star {
			for i := range sc.sources {
				if of == "" || of == sc.sources[i].name {
					for _, name := range sc.sources[i].names {
						add(name, sc.sources[i].types[name])
					}
				}
			}
			t.Val, _ = r.expr(t.Val, sc)
			continue
		}
		plain := t.Val.GetColumnRef() != nil
		name := t.Name
		if name == "" {
			name = columnName(t.Val)
		}
		val, typ := r.expr(t.Val, sc)
		switch {
		case of == whole && !r.typed:
			val, typ = r.out(s, val, typ, len(out.names))
		case of != inner:
			val, typ = r.asName(val, typ)
		}
		if c := val.GetAConst(); c != nil && c.Isnull && of == whole {
			val, typ = cast(val, "text"), "text" // DuckDB has an integer there
		}
		t.Val = val
		if !plain || t.Name != "" || t.Val.GetColumnRef() == nil {
			t.Name = name
		}
		add(name, typ)
	}
	return out
}

// out is a column as the client gets it. What is shown may be compared and ordered otherwise than what was computed: ORDER BY goes by the
// latter, and where more goes by the column there is no such difference.
func (r *rewriter) out(s *pg.SelectStmt, val *pg.Node, typ string, at int) (*pg.Node, string) {
	_, divided := r.exact[val]
	exact := divided && len(s.DistinctClause) == 0 && (aggregated(val) || groupedByColumns(s))
	var shown *pg.Node
	switch {
	case typ == "oid", typ == "int2vector", typ == "oidvector":
		shown = macro("_pg_"+typ, val)
	case typ == "numericf" || exact:
		shown = r.numericOut(val, exact)
	default:
		return r.asName(val, typ)
	}
	r.catalog = true
	if exact {
		if r.shown == nil {
			r.shown = map[int]*pg.Node{}
		}
		r.shown[at] = val
	}
	return shown, typ
}

func isStar(n *pg.Node) (bool, string) {
	c := n.GetColumnRef()
	if c == nil || c.Fields[len(c.Fields)-1].GetAStar() == nil {
		return false, ""
	}
	if len(c.Fields) > 1 {
		return true, c.Fields[len(c.Fields)-2].GetString_().GetSval()
	}
	return true, ""
}

// from rewrites an item of FROM and enters it into the scope.
func (r *rewriter) from(n *pg.Node, sc *scope) *pg.Node {
	switch v := n.GetNode().(type) {
	case *pg.Node_RangeVar:
		sc.sources = append(sc.sources, r.table(v.RangeVar, sc))
	case *pg.Node_RangeSubselect:
		cols := source{}
		if q := v.RangeSubselect.Subquery.GetSelectStmt(); q != nil && len(q.ValuesLists) > 0 && len(v.RangeSubselect.Alias.GetColnames()) == len(q.ValuesLists[0].GetList().GetItems()) {
			cols = r.values(q, sc)
		} else if q != nil {
			// Only LATERAL sees its neighbours; for names that exist it makes no difference.
			cols = r.query(q, sc, inner)
		}
		a := v.RangeSubselect.Alias
		sc.sources = append(sc.sources, renamed(cols, a.GetAliasname(), a.GetColnames()))
	case *pg.Node_JoinExpr:
		v.JoinExpr.Larg = r.from(v.JoinExpr.Larg, sc)
		v.JoinExpr.Rarg = r.from(v.JoinExpr.Rarg, sc)
		v.JoinExpr.Quals, _ = r.expr(v.JoinExpr.Quals, sc)
	case *pg.Node_RangeFunction:
		if rows := r.rowsOf(v.RangeFunction, sc); rows != nil {
			return rows
		}
		if side := sideBySide(v.RangeFunction); side != nil {
			return r.from(side, sc)
		}
		r.rangeFunction(v.RangeFunction, sc)
	case *pg.Node_RangeTableSample:
		v.RangeTableSample.Relation = r.from(v.RangeTableSample.Relation, sc)
	}
	return n
}

// table gives a relation its name in DuckDB.
func (r *rewriter) table(v *pg.RangeVar, sc *scope) source {
	alias := v.Alias.GetAliasname()
	shown := alias
	if shown == "" {
		shown = v.Relname
	}
	v.Inh = true // ONLY
	if v.Schemaname == "" {
		if c, ok := sc.cte(v.Relname); ok {
			return renamed(c, shown, v.Alias.GetColnames())
		}
	}
	if v.Catalogname == "" || v.Catalogname == r.t.database || v.Catalogname == r.t.store.Catalog() {
		if sys := systemRelationNamed(v.Schemaname, v.Relname); sys != nil {
			r.catalog = true
			out := source{name: shown, types: map[string]string{}}
			for _, c := range sys.columns {
				out.names = append(out.names, c.name)
				out.types[c.name] = systemKind(c.typ)
			}
			v.Catalogname, v.Schemaname, v.Relname = "memory", openSchema, sys.view()
			if alias == "" {
				v.Alias = &pg.Alias{Aliasname: shown}
			}
			return renamed(out, shown, v.Alias.GetColnames())
		}
		if v.Catalogname != "" {
			v.Catalogname = r.t.store.Catalog()
		}
		if v.Schemaname == "public" && !r.st.publicTaken {
			v.Schemaname = "main"
		}
	}
	if v.Schemaname == "" && len(r.path) > 0 {
		schema, ok := r.schemaOf(v.Relname)
		if !ok {
			r.fail(`relation "`+v.Relname+`" does not exist`, "it is in no schema of the search_path, "+strings.Join(r.path, ", "))
		}
		v.Schemaname = schema
	}
	schema := v.Schemaname
	if schema == "" {
		schema = "main"
	}
	known, ok := r.st.relations[fold(schema)+"."+fold(v.Relname)]
	if !ok {
		return source{name: shown, types: map[string]string{}}
	}
	return renamed(source{names: known.names, types: known.kinds}, shown, v.Alias.GetColnames())
}

var systemByName = func() map[string]*systemRelation {
	m := map[string]*systemRelation{}
	for i := range systemRelations {
		m[systemRelations[i].schema+"."+systemRelations[i].name] = &systemRelations[i]
	}
	return m
}()

func systemRelationNamed(schema, name string) *systemRelation {
	if schema == "" {
		schema = "pg_catalog"
	}
	return systemByName[schema+"."+name]
}

// rangeFunction is a function in FROM. One that gives a list in DuckDB is unnested, and a single column is called like the function's alias.
func (r *rewriter) rangeFunction(f *pg.RangeFunction, sc *scope) {
	alias := f.Alias.GetAliasname()
	if len(f.Functions) != 1 {
		for _, item := range f.Functions {
			r.list(item.GetList().GetItems(), sc)
		}
		return
	}
	item := f.Functions[0].GetList().GetItems()
	if len(item) == 0 {
		return
	}
	name := columnName(item[0])
	if alias == "" {
		alias = name
	}
	call := item[0].GetFuncCall()
	typ := ""
	single, value := true, false
	switch {
	case call == nil:
		// What is written without parentheses, such as current_date, is one row.
		n, _ := r.expr(item[0], sc)
		item[0] = function("unnest", array(n))
	case listFunctions[bare(call.Funcname)].macro != "":
		fn := listFunctions[bare(call.Funcname)]
		r.list(call.Args, sc)
		r.catalog = r.catalog || fn.catalog
		item[0] = function("unnest", macro(fn.macro, call.Args...))
		typ = fn.typ
		if value = strings.Contains(fn.macro, "_json_array"); value && f.Alias == nil {
			f.Alias = &pg.Alias{Aliasname: alias, Colnames: strs("value")}
		}
		single = fn.columns == nil
	default:
		name := bare(call.Funcname)
		types := r.list(call.Args, sc)
		if name == "generate_series" {
			typ = r.series(call, types)
		}
		switch {
		case name == "unnest" && len(types) == 1:
			typ = strings.TrimSuffix(types[0], "[]")
			call.Funcname = strs("unnest")
		case name == "generate_series" || name == "json_each" || name == "range":
			call.Funcname = strs(name)
			single = name != "json_each"
		case setFunctions[name]:
			call.Funcname = strs(name)
			single = false
		default:
			// A function of one value is one row.
			n, _ := r.call(call, types, sc)
			item[0] = function("unnest", array(n))
		}
	}
	src := source{name: alias, types: map[string]string{}, value: value && len(f.Alias.GetColnames()) == 0}
	cols := f.Alias.GetColnames()
	if single && len(f.Coldeflist) == 0 {
		if len(cols) == 0 {
			f.Alias = &pg.Alias{Aliasname: alias, Colnames: strs(alias)}
			if f.Ordinality {
				f.Alias.Colnames = append(f.Alias.Colnames, str("ordinality"))
			}
		}
		for i, c := range f.Alias.Colnames {
			n := c.GetString_().GetSval()
			src.names = append(src.names, n)
			src.types[n] = []string{typ, "int8"}[min(i, 1)]
		}
	}
	sc.sources = append(sc.sources, src)
}

// sideBySide is unnest() of several arrays as a query that selects each; nil for other functions.
func sideBySide(f *pg.RangeFunction) *pg.Node {
	if len(f.Functions) != 1 || f.Ordinality {
		return nil
	}
	items := f.Functions[0].GetList().GetItems()
	if len(items) == 0 {
		return nil
	}
	call := items[0].GetFuncCall()
	if call == nil || bare(call.Funcname) != "unnest" || len(call.Args) < 2 {
		return nil
	}
	s := &pg.SelectStmt{Op: pg.SetOperation_SETOP_NONE, LimitOption: pg.LimitOption_LIMIT_OPTION_DEFAULT}
	for i, a := range call.Args {
		s.TargetList = append(s.TargetList, pg.MakeResTargetNodeWithNameAndVal("unnest"+itoa(i+1), function("unnest", a), 0))
	}
	alias := f.Alias
	if alias == nil {
		alias = &pg.Alias{Aliasname: "unnest"}
	}
	return &pg.Node{Node: &pg.Node_RangeSubselect{RangeSubselect: &pg.RangeSubselect{Lateral: true, Subquery: &pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: s}}, Alias: alias}}}
}

// setFunctions are table functions of DuckDB that go by their own names.
var setFunctions = words("json_tree duckdb_tables duckdb_columns duckdb_settings duckdb_views duckdb_functions pragma_table_info repeat repeat_row")

// series is generate_series: over dates PostgreSQL counts timestamps with time zone.
func (r *rewriter) series(call *pg.FuncCall, types []string) string {
	typ := ""
	for i, t := range types[:min(2, len(types))] {
		if t == "date" {
			call.Args[i], t = cast(call.Args[i], "timestamptz"), "timestamptz"
		}
		if typ == "" {
			typ = t
		}
		typ = wider(typ, t)
	}
	if strings.HasPrefix(typ, "timestamp") {
		for i := range call.Args {
			if _, text := literal(call.Args[i]); text {
				completeTime(call.Args[i])
				call.Args[i] = cast(call.Args[i], []string{typ, typ, "interval"}[min(i, 2)])
			}
		}
	}
	if typ == "int2" || typ == "int4" {
		return series4
	}
	return typ
}

// series4 is a series of words, whose column is a bigint in DuckDB.
const series4 = "int4 series"
