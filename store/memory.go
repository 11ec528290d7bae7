package store

import (
	"context"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
)

// MemoryCatalog is DuckDB's name of the instance's own database, which lies in memory and is empty when the file is opened. Whoever
// makes a schema there names it in full: memory.schema.table.
const MemoryCatalog = stageCatalog

// InMemory runs statements that write to MemoryCatalog in one transaction of their own. Nothing they write outlives the process. Statements of
// readers go on meanwhile, and see all of it or nothing.
func (s *Store) InMemory(ctx context.Context, fn func(exec func(sql string, args ...any) error) error) error {
	err := s.with(func(se *Session) error {
		if err := se.script(ctx, "BEGIN TRANSACTION"); err != nil {
			return err
		}
		err := fn(func(sql string, args ...any) error {
			if len(args) == 0 {
				return se.script(ctx, sql)
			}
			_, err := se.exec(ctx, sql, args...)
			return err
		})
		if err != nil {
			// Closing the session rolls back in any case.
			_ = se.Rollback()
			return err
		}
		defer s.committing()()
		return se.script(ctx, "COMMIT")
	})
	return doing(err, "write to the catalog in memory")
}

// Relation is a table or view of the file as DuckDB knows it, without those that are Pintail's own.
type Relation struct {
	Schema, Name string
	View         bool
	Definition   string // of a view: its CREATE VIEW
	Comment      string
	Rows         int64 // of a table, about
	Columns      []RelationColumn
}

// RelationColumn is one of its columns, in their order.
type RelationColumn struct {
	Name, Type string // DuckDB's name of the type
	NotNull    bool
	Comment    string
}

// RelationsMark is a number that is another one after any change of what Relations returns, but for Rows.
func (s *Store) RelationsMark(ctx context.Context) (mark string, err error) {
	err = s.with(func(se *Session) error {
		return se.query(ctx, `SELECT (SELECT coalesce(bit_xor(hash(schema_name, table_name, column_name, data_type, is_nullable, comment, column_index))::VARCHAR, '') FROM duckdb_columns()
			WHERE database_name = $1 AND NOT internal) || '/' || (SELECT coalesce(bit_xor(hash(schema_name, view_name, sql, comment))::VARCHAR, '') FROM duckdb_views() WHERE database_name = $1 AND NOT internal)`,
			[]any{s.catalog}, func(r ownRow) error { mark = r.text(0); return nil })
	})
	return mark, doing(err, "look at the tables")
}

// Relations lists the file's tables and views by schema and name.
func (s *Store) Relations(ctx context.Context) (out []Relation, err error) {
	type name struct{ schema, name string }
	at := map[name]int{}
	err = s.with(func(se *Session) error {
		err := se.query(ctx, `SELECT schema_name, table_name, false, '', coalesce(comment, ''), estimated_size::BIGINT FROM duckdb_tables() WHERE database_name = $1 AND NOT internal
			UNION ALL SELECT schema_name, view_name, true, coalesce(sql, ''), coalesce(comment, ''), 0 FROM duckdb_views() WHERE database_name = $1 AND NOT internal ORDER BY 1, 2`,
			[]any{s.catalog}, func(r ownRow) error {
				rel := Relation{Schema: r.text(0), Name: r.text(1), View: r.bool(2), Definition: r.text(3), Comment: r.text(4), Rows: r.int(5)}
				if rel.Schema == stateSchema || strings.HasPrefix(rel.Name, stagePrefix) {
					return nil
				}
				at[name{rel.Schema, rel.Name}] = len(out)
				out = append(out, rel)
				return nil
			})
		if err != nil {
			return err
		}
		return se.query(ctx, `SELECT schema_name, table_name, column_name, data_type, is_nullable, coalesce(comment, '') FROM duckdb_columns()
			WHERE database_name = $1 AND NOT internal ORDER BY schema_name, table_name, column_index`, []any{s.catalog}, func(r ownRow) error {
			i, ok := at[name{r.text(0), r.text(1)}]
			if ok {
				out[i].Columns = append(out[i].Columns, RelationColumn{Name: r.text(2), Type: r.text(3), NotNull: !r.bool(4), Comment: r.text(5)})
			}
			return nil
		})
	})
	if err != nil {
		return nil, fault.Wrap(err, "list the tables")
	}
	return out, nil
}
