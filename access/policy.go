package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/sqltext"
)

// View stands in a statement in the place of a table of which the role sees only some rows, or some values only masked. It is a temporary
// view of the connection: its text is bound by itself, so nothing in the statement around it can change what its names mean.
type View struct {
	Name string // within the schema main of the catalog temp
	SQL  string // its query
}

// viewCatalog is where DuckDB keeps temporary views.
const viewCatalog = "temp"

// ClaimsVariable is the variable of the connection that holds Principal.Claims; ClaimFunction reads one of them.
const (
	ClaimsVariable = "pintail_claims"
	ClaimFunction  = "claim"
)

// rowFilter and mask are a role's entries, folded.
type (
	rowFilter struct {
		pattern
		condition string
	}
	mask struct {
		pattern
		column, value string
	}
)

const hintClosed = "write one expression, whose parentheses, quotes and comments match"

// setPolicies reads a role's row filters and masks.
func (r *role) setPolicies() error {
	if (len(r.RowFilters) > 0 || len(r.Masks) > 0) && r.Admin {
		return fault.New(fault.Config, "take admin: true away, or the filters and masks", "role %q: an administrator sees every row and value", r.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.RowFilters)) {
		p, err := parsePatterns([]string{name})
		if err != nil {
			return fault.Wrap(err, "role %q: row_filters", r.Name)
		}
		if strings.TrimSpace(r.RowFilters[name]) == "" {
			return fault.New(fault.Config, "write a condition over the table's columns; true lets every row through", "role %q: row_filters: %q has no condition", r.Name, name)
		}
		if !sqltext.Closed(r.RowFilters[name]) {
			return fault.New(fault.Config, hintClosed, "role %q: row_filters: the condition of %q does not end", r.Name, name)
		}
		r.filters = append(r.filters, rowFilter{p[0], r.RowFilters[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Masks)) {
		p, err := parsePatterns([]string{name})
		if err != nil {
			return fault.Wrap(err, "role %q: masks", r.Name)
		}
		if p[0].object == "*" {
			return fault.New(fault.Config, "name a table: a column belongs to one", "role %q: masks: %q is not a table", r.Name, name)
		}
		for _, column := range slices.Sorted(maps.Keys(r.Masks[name])) {
			value := r.Masks[name][column]
			if strings.TrimSpace(column) == "" || strings.TrimSpace(value) == "" {
				return fault.New(fault.Config, "write what is shown instead; NULL shows nothing", "role %q: masks: a column of %q has no value", r.Name, name)
			}
			if !sqltext.Closed(value) {
				return fault.New(fault.Config, hintClosed, "role %q: masks: the value of %s.%s does not end", r.Name, name, column)
			}
			r.masks = append(r.masks, mask{p[0], fold(column), value})
		}
	}
	return nil
}

// restricted is a table of which the role sees only a part: by its folded name in the file, and as the statement writes it.
type restricted struct {
	schema, name string
	written      []Object
	view         View
}

// restrict finds which of a statement's tables p sees only a part of. It refuses what would show the rest.
func (st *state) restrict(p Principal, parsed Parsed) ([]restricted, error) {
	r := st.roles[p.Role]
	if r == nil || st.admin(p) || len(r.filters) == 0 && len(r.masks) == 0 {
		return nil, nil
	}
	var out []restricted
	for _, o := range parsed.Tables {
		if openRelation(o) {
			continue
		}
		dataset, schema, ok := st.dataset(o)
		if !ok {
			continue
		}
		sql, ok := r.part(st.catalog, dataset, schema, o.Name)
		switch {
		case ok:
			view := View{Name: fold(schema + "." + o.Name), SQL: sql}
			i := slices.IndexFunc(out, func(t restricted) bool { return t.view.Name == view.Name })
			if i < 0 {
				i, out = len(out), append(out, restricted{schema: fold(schema), name: fold(o.Name), view: view})
			}
			out[i].written = append(out[i].written, o)
		case r.narrows(dataset) && st.isView(schema, o.Name):
			return nil, fault.New(fault.Forbidden, "give the view a row filter of its own; the condition true shows all of it",
				"read %s: role %q sees only a part of dataset %s, and a view may show the rest", o, p.Role, dataset)
		}
	}
	if len(out) > 0 {
		for _, o := range parsed.Travelled {
			if dataset, schema, ok := st.dataset(o); ok {
				if _, ok := r.part(st.catalog, dataset, schema, o.Name); ok {
					return nil, fault.New(fault.Forbidden, "read the table as it is now", "role %q sees only a part of %s, which can not be read as it was", p.Role, o)
				}
			}
		}
		if slices.Contains(parsed.Functions, "stats") {
			return nil, fault.New(fault.Forbidden, "leave it out", "function stats() tells of rows that role %q may not see", p.Role)
		}
	}
	return out, nil
}

// part is the query that stands for a table, if the role does not see all of it.
func (r *role) part(catalog, dataset, schema, name string) (sql string, ok bool) {
	covers := func(p pattern) bool { return matchObject([]pattern{p}, dataset, schema, name) }
	var conditions, columns []string
	for _, f := range r.filters {
		if covers(f.pattern) {
			conditions = append(conditions, "(\n"+f.condition+"\n)")
		}
	}
	for _, m := range r.masks {
		if covers(m.pattern) {
			// CASE gives the mask the column's type where it has none of its own, as NULL and '***' have not.
			c := quoteName(m.column)
			columns = append(columns, "CASE WHEN true THEN (\n"+m.value+"\n) ELSE "+c+" END AS "+c)
		}
	}
	if len(conditions) == 0 && len(columns) == 0 {
		return "", false
	}
	sql = "SELECT *"
	if len(columns) > 0 {
		sql += " REPLACE (" + strings.Join(columns, ", ") + ")"
	}
	sql += " FROM " + quoteName(catalog) + "." + quoteName(schema) + "." + quoteName(name)
	if len(conditions) > 0 {
		// DuckDB moves no condition of the statement below an OFFSET: an expression that fails, or takes long, on rows which are not
		// shown would tell of them.
		sql += " WHERE " + strings.Join(conditions, " AND ") + " OFFSET 0"
	}
	return sql, true
}

// Part is what stands for a table or view of the file where a role sees only a part of it.
func (a *Access) Part(roleName, schema, name string) (v View, ok bool) {
	st := a.state.Load()
	r := st.roles[roleName]
	if r == nil {
		return v, false
	}
	dataset, schema, ok := st.dataset(Object{Schema: schema, Name: name})
	if !ok {
		return v, false
	}
	v.SQL, ok = r.part(st.catalog, dataset, schema, name)
	v.Name = fold(schema + "." + name)
	return v, ok
}

// narrows says whether the role sees only a part of anything in the dataset.
func (r *role) narrows(dataset string) bool {
	of := func(p pattern) bool { return touchesDataset([]pattern{p}, dataset) }
	return slices.ContainsFunc(r.filters, func(f rowFilter) bool { return of(f.pattern) }) || slices.ContainsFunc(r.masks, func(m mask) bool { return of(m.pattern) })
}

// Views says which names are views. A Resolver may implement it; without, all are tables.
type Views interface {
	View(schema, name string) bool
}

func (st *state) isView(schema, name string) bool {
	v, ok := st.resolver.(Views)
	return ok && v.View(schema, name)
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// apply puts the views into the statement and makes them on the connection.
func (s *Statement) apply(ctx context.Context, p Principal, tree string, tables []restricted, parser Parser) error {
	if s.Explain {
		return fault.New(fault.Forbidden, "a role that sees every row may explain it", "EXPLAIN tells of rows that role %q may not see", p.Role)
	}
	wanted, err := s.parsed.replace(tree, tables)
	if err != nil {
		return err
	}
	sql, err := parser.DeserializeSQL(ctx, wanted)
	if err != nil {
		return fault.Wrap(err, "put the role's row filters and masks into the statement")
	}
	// Closed on doubt: what runs has to read as what was meant.
	have, err := parser.SerializeSQL(ctx, sql)
	if err != nil {
		return fault.Wrap(err, "parse the statement with the role's row filters and masks")
	}
	if !sameTree(wanted, have) {
		return fault.New(fault.Forbidden, "write it in a plainer way; roles without row filters and masks may run it as it is",
			"the statement cannot be given the row filters and masks of role %q", p.Role)
	}
	s.SQL = sql
	return s.CreateViews(ctx, p, parser)
}

// SameViews says whether o, the same statement, has the same Views.
func (s Statement) SameViews(o Statement) bool { return slices.Equal(s.Views, o.Views) }

// CreateViews makes the Views on a connection.
func (s Statement) CreateViews(ctx context.Context, p Principal, on interface {
	CreateTempView(ctx context.Context, name, sql string) error
}) error {
	for _, v := range s.Views {
		if err := on.CreateTempView(ctx, v.Name, v.SQL); err != nil {
			if ctx.Err() != nil {
				return err
			}
			return fault.New(fault.Forbidden, "an administrator has to mend roles."+p.Role+".row_filters or masks",
				"the row filters and masks of role %q do not fit table %s: %w", p.Role, v.Name, err)
		}
	}
	return nil
}

// setViews enters the views, and whom the rows are for.
func (s *Statement) setViews(p Principal, tables []restricted) {
	s.Views = nil
	sum := sha256.New()
	sum.Write([]byte(p.Claims))
	for _, t := range tables {
		s.Views = append(s.Views, t.view)
		sum.Write([]byte("\n" + t.view.Name + "\n" + t.view.SQL))
	}
	if s.Audience = ""; len(tables) > 0 || slices.Contains(s.parsed.Functions, ClaimFunction) {
		s.Audience = hex.EncodeToString(sum.Sum(nil)[:16])
	}
}
