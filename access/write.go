package access

import (
	"fmt"

	"github.com/pintaildb/pintail/internal/fault"
)

// Clients says which tables clients made. Names are compared as DuckDB does.
type Clients interface {
	IsClientTable(schema, table string) bool
}

// Schemas is what a Resolver may tell besides: that all tables of a schema are, or are going to be, a dataset's.
type Schemas interface {
	SchemaOf(schema string) (dataset string, ok bool)
}

// owner is the dataset that a table belongs to, or the name under which patterns grant a client's: its schema, in main its own.
func (st *state) owner(schema, table string) (string, bool) {
	if st.resolver != nil {
		if dataset, ok := st.resolver.Dataset(schema, table); ok {
			return dataset, true
		}
	}
	if st.clients != nil && st.clients.IsClientTable(schema, table) {
		return clientDataset(schema, table), true
	}
	return "", false
}

func clientDataset(schema, table string) string {
	if fold(schema) == "main" {
		return table
	}
	return schema
}

// Owner is the dataset that a table or view belongs to. For a client's table it is the name that patterns call it by: its schema, in main
// its own. ok is false for what only administrators see.
func (a *Access) Owner(schema, table string) (dataset string, ok bool) {
	return a.state.Load().owner(schema, table)
}

// Writes says whether p may write any table at all.
func (a *Access) Writes(p Principal) bool {
	st := a.state.Load()
	r := st.roles[p.Role]
	return st.admin(p) || r != nil && len(r.write) > 0
}

// CanWrite says whether p may make, replace and append to the table, which need not be there. Nobody may where it is a dataset's, or in the
// schema of a replica.
func (a *Access) CanWrite(p Principal, schema, table string) error {
	st := a.state.Load()
	name := table
	if fold(schema) != "main" {
		name = schema + "." + table
	}
	dataset, owned := "", false
	if st.resolver != nil {
		dataset, owned = st.resolver.Dataset(schema, table)
		if s, ok := st.resolver.(Schemas); ok && !owned && fold(schema) != "main" {
			dataset, owned = s.SchemaOf(schema)
		}
	}
	of := clientDataset(schema, table)
	r := st.roles[p.Role]
	granted := st.admin(p) || r != nil && (matchObject(r.write, of, schema, table) || owned && matchObject(r.write, dataset, schema, table))
	switch {
	case !granted:
		return fault.New(fault.Forbidden, fmt.Sprintf("a role writes it with write: [%q]", of+".*"), "write %s: role %q has no grant for it", name, p.Role)
	case owned:
		return fault.New(fault.Forbidden, "choose another name: only its own syncs write it", "write %s: it belongs to dataset %s", name, dataset)
	}
	return nil
}
