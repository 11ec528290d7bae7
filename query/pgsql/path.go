package pgsql

import (
	"context"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/pintaildb/pintail/query/pgtype"
)

// defaultPath is the search_path that statements are understood under without looking: names without schema are those of public.
const defaultPath = `"$user", public`

// pathOf are the schemas of the session's search_path; nil for the default, or when there is no session.
func pathOf(ctx context.Context) []string {
	s := pgtype.SessionOf(ctx)
	if s == nil {
		return nil
	}
	value, ok := s.Setting("search_path")
	if !ok || value == defaultPath {
		return nil
	}
	path := []string{}
	for _, name := range strings.Split(value, ",") {
		name = strings.TrimSpace(name)
		if quoted, ok := strings.CutPrefix(name, `"`); ok {
			name = strings.ReplaceAll(strings.TrimSuffix(quoted, `"`), `""`, `"`)
		} else {
			name = fold(name)
		}
		if name != "" && name != "$user" {
			path = append(path, name)
		}
	}
	if slices.Equal(path, []string{"public"}) {
		return nil
	}
	return path
}

// schemaOf is where a name without schema is found; false when it is nowhere on the path.
func (r *rewriter) schemaOf(name string) (string, bool) {
	for _, schema := range r.path {
		if schema == "public" && !r.st.publicTaken {
			schema = "main"
		}
		if _, ok := r.st.relations[fold(schema)+"."+fold(name)]; ok {
			return schema, true
		}
	}
	return "", false
}

// present are the schemas of the path that are there.
func (r *rewriter) present() []string {
	var out []string
	for _, schema := range r.path {
		if schema == "public" || schema == "pg_catalog" || schema == "information_schema" || r.st.schemas[fold(schema)] {
			out = append(out, schema)
		}
	}
	return out
}

// currentSchema is the first schema of the path that is there.
func (r *rewriter) currentSchema() *pg.Node {
	if present := r.present(); len(present) > 0 {
		return cast(constant(present[0]), "text")
	}
	return cast(&pg.Node{Node: &pg.Node_AConst{AConst: &pg.A_Const{Isnull: true}}}, "text")
}

// pathFunction is a call of a function whose answer hangs on the search_path; nil for others.
func (r *rewriter) pathFunction(name string, args []*pg.Node) (*pg.Node, string) {
	switch {
	case name == "current_schema":
		return r.currentSchema(), "text"
	case name == "current_schemas" && len(args) == 1:
		implicit := args[0].GetAConst().GetBoolval().GetBoolval() || isTrue(args[0])
		return r.currentSchemas(implicit), "text[]"
	case name == "pg_table_is_visible" && len(args) == 1:
		r.catalog = true
		return macro("_pg_table_is_visible", args[0], r.currentSchemas(true)), "bool"
	}
	return nil, ""
}

// isTrue says whether n is true as the parser writes it: 't'::bool.
func isTrue(n *pg.Node) bool {
	text, ok := literal(n.GetTypeCast().GetArg())
	return ok && text == "t"
}

func (r *rewriter) currentSchemas(implicit bool) *pg.Node {
	present := r.present()
	if implicit && !slices.Contains(present, "pg_catalog") {
		present = slices.Insert(present, 0, "pg_catalog")
	}
	var items []*pg.Node
	for _, s := range present {
		items = append(items, constant(s))
	}
	return castArray(array(items...), "text")
}

// castArray is a cast to arrays of typ.
func castArray(n *pg.Node, typ string, mods ...int64) *pg.Node {
	n = cast(n, typ, mods...)
	n.GetTypeCast().TypeName.ArrayBounds = []*pg.Node{pg.MakeIntNode(-1)}
	return n
}
