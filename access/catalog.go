package access

import (
	"maps"
	"slices"
)

// The catalog that PostgreSQL clients read lies in DuckDB's own memory, in a schema of views and functions that show each role what
// it may read and nothing else. Every role may use them; what they are made from lies in another schema, which nobody may name.
const (
	memoryCatalog = "memory"
	memorySchema  = "_pg"
)

// openRelation says whether o is one of that schema's views, named in full.
func openRelation(o Object) bool {
	return fold(o.Catalog) == memoryCatalog && fold(o.Schema) == memorySchema && plainWord(o.Name)
}

// openFunction says whether f is one of that schema's functions, named in full. Their names begin with an underscore, which no other
// function's does: where there is no such function, DuckDB takes a.b.f(x) for f(a.b, x), and finds none either.
func openFunction(catalog, schema, name string) bool {
	return fold(catalog) == memoryCatalog && fold(schema) == memorySchema && len(name) > 1 && name[0] == '_' && plainWord(name)
}

// plainWord says that s cannot be anything but a name.
func plainWord(s string) bool {
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
		default:
			return false
		}
	}
	return s != ""
}

// Roles are the names of all roles, sorted.
func (a *Access) Roles() []string {
	return slices.Sorted(maps.Keys(a.state.Load().roles))
}

// Reads says whether a role may read a table or view of the file, by its schema there. Administrators read all of it.
func (a *Access) Reads(role, schema, name string) bool {
	st := a.state.Load()
	p := Principal{Role: role}
	dataset, in, ok := st.dataset(Object{Schema: schema, Name: name})
	if !ok {
		return st.admin(p)
	}
	return st.reads(p, dataset, in, name)
}

// Mark is another one after each Update.
func (a *Access) Mark() any { return a.state.Load() }
