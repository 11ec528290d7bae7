package store

import (
	"context"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
)

// A target names a table or view of the copy. Without a dot it lies in schema main. Else it is schema.table, cut at the first
// dot: a schema's name has none, a table's may have any.

func splitTarget(target string) (schema, name string) {
	if schema, name, ok := strings.Cut(target, "."); ok {
		return schema, name
	}
	return "main", target
}

// table is a target as it is written in a statement.
func (s *Store) table(target string) string {
	schema, name := splitTarget(target)
	return s.in(schema, name)
}

func (s *Store) in(schema, name string) string {
	return quote(s.catalog) + "." + quote(schema) + "." + quote(name)
}

// fold is a name as DuckDB compares it: the case of ASCII letters does not count, that of others does.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}

const hintName = "give one of them another name, or leave it out"

// newTarget says whether a table or view may be made under this name.
func (s *Store) newTarget(target string) error {
	schema, name := splitTarget(target)
	if err := s.newSchema(schema); err != nil {
		return err
	}
	switch {
	case name == "":
		return fault.New(fault.Config, "", "%q names no table", target)
	case strings.HasPrefix(fold(name), stagePrefix):
		return fault.New(fault.Config, hintName, "table names that begin with %s are Pintail's own", stagePrefix)
	}
	return nil
}

// newSchema says whether a schema of tables of the copy may have this name.
func (s *Store) newSchema(name string) error {
	switch low := fold(name); {
	case name == "" || strings.Contains(name, "."):
		return fault.New(fault.Config, "", "%q cannot be a schema's name here: it must have no dot and not be empty", name)
	case low == "main":
	case slices.Contains(reservedStems, low):
		return fault.New(fault.Config, "give the schema another name in the copy", "schema %q has a meaning of its own in DuckDB", name)
	case low == fold(s.catalog):
		return fault.New(fault.Config, "give the schema another name in the copy, or duckdb.path another file name", "schema %q is called like the DuckDB file, and names with it would be ambiguous", name)
	}
	return nil
}

// spelled says how a name is written in the catalog that differs from name in nothing but case; "" when none is there. view is set
// for a view.
func (tx *Tx) spelled(target string) (as string, view bool, err error) {
	schema, name := splitTarget(target)
	schema, name = fold(schema), fold(name)
	err = tx.se.query(tx.ctx, `SELECT schema_name, table_name, FALSE FROM duckdb_tables() WHERE database_name = $1 AND lower(schema_name) = lower($2) AND lower(table_name) = lower($3)
		UNION ALL SELECT schema_name, view_name, TRUE FROM duckdb_views() WHERE database_name = $1 AND lower(schema_name) = lower($2) AND lower(view_name) = lower($3)`,
		[]any{tx.s.catalog, schema, name}, func(r ownRow) error {
			// lower() folds more than ASCII.
			if s, n := r.text(0), r.text(1); fold(s) == schema && fold(n) == name {
				as, view = n, r.bool(2)
				if strings.Contains(target, ".") {
					as = s + "." + n
				}
			}
			return nil
		})
	return as, view, err
}

// sameSpelling refuses to put target in the place of another one of a schema that differs in case only: two tables of the source
// would take turns in one of the copy. In main, names come from the configuration, which was checked, and a new spelling takes the place
// of the old one.
func sameSpelling(target, as string) error {
	if as == "" || as == target || !strings.Contains(target, ".") {
		return nil
	}
	return fault.New(fault.Config, hintName, "%s and %s differ in case only, and are one name in DuckDB", as, target)
}

// MakeSchema makes a schema for tables of the copy, if it is not there.
func (tx *Tx) MakeSchema(name string) error {
	if err := tx.s.newSchema(name); err != nil {
		return doing(err, "make schema %s", name)
	}
	schemas, err := tx.s.schemas(tx.ctx, tx.se)
	if err != nil {
		return doing(err, "make schema %s", name)
	}
	for _, as := range schemas {
		switch {
		case as == name:
			return nil
		case fold(as) == fold(name):
			return doing(fault.New(fault.Config, hintName, "schemas %s and %s differ in case only, and are one name in DuckDB", as, name), "make schema %s", name)
		}
	}
	// Another transaction may have made it meanwhile: a conflict, after which Commit comes here again.
	return doing(tx.run("CREATE SCHEMA "+quote(tx.s.catalog)+"."+quote(name)), "make schema %s", name)
}

// DropSchema drops a schema in which there is nothing; any other stays, without an error.
func (tx *Tx) DropSchema(name string) error {
	if err := tx.s.newSchema(name); err != nil || fold(name) == "main" {
		return doing(err, "drop schema %s", name)
	}
	n, err := tx.se.queryInt(tx.ctx, `SELECT (SELECT count(*) FROM duckdb_tables() WHERE database_name = $1 AND lower(schema_name) = lower($2)) + (SELECT count(*) FROM duckdb_views() WHERE database_name = $1 AND lower(schema_name) = lower($2))
		+ (SELECT count(*) FROM duckdb_functions() WHERE database_name = $1 AND lower(schema_name) = lower($2)) + (SELECT count(*) FROM duckdb_types() WHERE database_name = $1 AND lower(schema_name) = lower($2))
		+ (SELECT count(*) FROM duckdb_sequences() WHERE database_name = $1 AND lower(schema_name) = lower($2))`, tx.s.catalog, name)
	if err != nil || n > 0 {
		return doing(err, "drop schema %s", name)
	}
	return doing(tx.run("DROP SCHEMA IF EXISTS "+quote(tx.s.catalog)+"."+quote(name)), "drop schema %s", name)
}

func (s *Store) schemas(ctx context.Context, se *Session) (names []string, err error) {
	err = se.query(ctx, "SELECT schema_name FROM duckdb_schemas() WHERE database_name = ?", []any{s.catalog}, func(r ownRow) error {
		names = append(names, r.text(0))
		return nil
	})
	return names, err
}
