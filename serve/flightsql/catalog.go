package flightsql

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

const (
	mainSchema = "main"
	ownPrefix  = "_pintail" // of what is Pintail's own: a schema, staging tables
)

// Keys says which columns of a table are unique, where its dataset keeps them so: no constraint of DuckDB does.
type Keys interface {
	Key(schema, table string) []string
}

// storeCatalog reads DuckDB's own metadata.
type storeCatalog struct {
	store  *store.Store
	access *access.Access
	keys   Keys
}

// NewCatalog is a Catalog of what lies in the store; keys may be nil.
func NewCatalog(st *store.Store, acc *access.Access, keys Keys) Catalog {
	return storeCatalog{st, acc, keys}
}

func (c storeCatalog) Name() string { return c.store.Catalog() }

func (c storeCatalog) Tables(ctx context.Context, p access.Principal) (tables []Table, err error) {
	se, err := c.store.Session(ctx)
	if err != nil {
		return nil, err
	}
	defer se.Close()
	err = each(ctx, se, `SELECT schema_name, table_name, false AS is_view FROM duckdb_tables() WHERE database_name = $1 AND NOT temporary
		UNION ALL SELECT schema_name, view_name, true FROM duckdb_views() WHERE database_name = $1 AND NOT internal AND NOT temporary
		ORDER BY ALL`, []any{c.store.Catalog()}, func(row []json.RawMessage) error {
		var t Table
		for i, into := range []any{&t.Schema, &t.Name, &t.View} {
			if err := json.Unmarshal(row[i], into); err != nil {
				return fmt.Errorf("read DuckDB's list of tables: %w", err)
			}
		}
		if !t.View && c.keys != nil {
			t.Key = c.keys.Key(t.Schema, t.Name)
		}
		if !strings.HasPrefix(strings.ToLower(t.Schema), ownPrefix) && !strings.HasPrefix(strings.ToLower(t.Name), ownPrefix) &&
			c.access.Reads(p.Role, t.Schema, t.Name) {
			tables = append(tables, t)
		}
		return nil
	})
	return tables, fault.Wrap(err, "list the tables")
}

func (c storeCatalog) Columns(ctx context.Context, tables []Table) ([]*arrow.Schema, error) {
	se, err := c.store.Session(ctx)
	if err != nil {
		return nil, err
	}
	defer se.Close()
	out := make([]*arrow.Schema, len(tables))
	for i, t := range tables {
		st, err := se.Prepare(ctx, "SELECT * FROM "+t.sql())
		if fault.CodeOf(err) == fault.InvalidSQL {
			continue // dropped since it was listed, or a view of such
		}
		if err != nil {
			return nil, fault.Wrap(err, "describe %s.%s", t.Schema, t.Name)
		}
		schema := st.ArrowSchema()
		fields := slices.Clone(schema.Fields())
		for j := range fields {
			fields[j].Metadata = columnMetadata(c.store.Catalog(), t, fields[j].Metadata, st.Columns[j].Type)
		}
		out[i] = arrow.NewSchema(fields, nil)
		st.Close()
	}
	return out, nil
}

// sql is the table as it is written in a statement.
func (t Table) sql() string { return quote(t.Schema) + "." + quote(t.Name) }

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// each hands rows of a statement of our own to fn, as JSON values.
func each(ctx context.Context, se *store.Session, sql string, params []any, fn func(row []json.RawMessage) error) error {
	st, err := se.Prepare(ctx, sql)
	if err != nil {
		return err
	}
	defer st.Close()
	rows, err := st.Query(ctx, params, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	for {
		chunk, err := rows.Next()
		if err != nil || chunk == nil {
			return err
		}
		for i := range chunk.Len() {
			row := make([]json.RawMessage, len(rows.Columns()))
			for c := range row {
				row[c] = chunk.AppendJSON(nil, c, i)
			}
			if err := fn(row); err != nil {
				return err
			}
		}
	}
}
