package flightsql

import (
	"context"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
)

// Table types. Clients ask for the first as "table" too.
const (
	typeTable = "BASE TABLE"
	typeView  = "VIEW"
)

// columnMetadata is what Flight SQL tells of a column beside its type.
func columnMetadata(catalog string, t Table, had arrow.Metadata, duckType string) arrow.Metadata {
	b := flightsql.NewColumnMetadataBuilder().CatalogName(catalog).SchemaName(t.Schema).TableName(t.Name).TypeName(duckType).
		IsAutoIncrement(false).IsCaseSensitive(duckType == "VARCHAR").IsReadOnly(true).IsSearchable(true)
	if p, s, ok := decimalOf(duckType); ok {
		b.Precision(p).Scale(s)
	}
	m := b.Metadata()
	return arrow.NewMetadata(append(slices.Clone(had.Keys()), m.Keys()...), append(slices.Clone(had.Values()), m.Values()...))
}

// one makes a stream of a single batch, which fill fills.
func (s *sqlServer) one(ctx context.Context, schema *arrow.Schema, fill func(b *array.RecordBuilder)) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	b := array.NewRecordBuilder(s.opts.Allocator, schema)
	defer b.Release()
	fill(b)
	batch := b.NewRecordBatch()
	if batch.NumRows() == 0 {
		batch.Release()
		ch := make(chan flight.StreamChunk)
		close(ch)
		return schema, ch, nil
	}
	ch := make(chan flight.StreamChunk, 1) // so that nobody has to wait for a client that has gone
	ch <- flight.StreamChunk{Data: batch}
	close(ch)
	return schema, ch, nil
}

func strs(b *array.RecordBuilder, col int) *array.StringBuilder {
	return b.Field(col).(*array.StringBuilder)
}

// itself is the info of a command that is its own ticket.
func (s *sqlServer) itself(desc *flight.FlightDescriptor, schema *arrow.Schema) (*flight.FlightInfo, error) {
	return s.info(desc, schema, desc.Cmd), nil
}

// like says whether name is matched by a pattern of SQL, in which \ escapes; nil matches all.
func like(pattern *string, name string) bool {
	if pattern == nil {
		return true
	}
	return likeRunes([]rune(*pattern), []rune(name))
}

func likeRunes(p, s []rune) bool {
	// Where the last % was, and how much of s it has taken: what follows it is tried again from there.
	star, taken := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '%':
			star, taken = i, j
			i++
			continue
		case i < len(p) && p[i] == '_':
			i, j = i+1, j+1
			continue
		case i+1 < len(p) && p[i] == '\\' && p[i+1] == s[j]:
			i, j = i+2, j+1
			continue
		case i < len(p) && p[i] == s[j] && (p[i] != '\\' || i+1 == len(p)):
			i, j = i+1, j+1
			continue
		case star >= 0:
			taken++
			i, j = star+1, taken
			continue
		}
		return false
	}
	for i < len(p) && p[i] == '%' {
		i++
	}
	return i == len(p)
}

// visible are the tables of the caller that the filters leave.
func (s *sqlServer) visible(ctx context.Context, catalog, schema, table *string) ([]Table, error) {
	if catalog != nil && *catalog != "" && *catalog != s.opts.Catalog.Name() {
		return nil, nil
	}
	all, err := s.opts.Catalog.Tables(ctx, whoOf(ctx))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(t Table) bool { return !like(schema, t.Schema) || !like(table, t.Name) }), nil
}

func ofTypes(tables []Table, types []string) []Table {
	if len(types) == 0 {
		return tables
	}
	wants := func(names ...string) bool {
		return slices.ContainsFunc(types, func(t string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(t, n) })
		})
	}
	base, view := wants(typeTable, "table"), wants(typeView)
	return slices.DeleteFunc(tables, func(t Table) bool { return t.View && !view || !t.View && !base })
}

func (t Table) kind() string {
	if t.View {
		return typeView
	}
	return typeTable
}

// GetFlightInfoCatalogs is for DoGetCatalogs.
func (s *sqlServer) GetFlightInfoCatalogs(_ context.Context, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return s.itself(desc, schema_ref.Catalogs)
}

// DoGetCatalogs lists the one catalog there is.
func (s *sqlServer) DoGetCatalogs(ctx context.Context) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return s.one(ctx, schema_ref.Catalogs, func(b *array.RecordBuilder) { strs(b, 0).Append(s.opts.Catalog.Name()) })
}

// GetFlightInfoSchemas is for DoGetDBSchemas.
func (s *sqlServer) GetFlightInfoSchemas(_ context.Context, _ flightsql.GetDBSchemas, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return s.itself(desc, schema_ref.DBSchemas)
}

// DoGetDBSchemas lists schema main, which names without a schema mean, and others that hold tables for the caller.
func (s *sqlServer) DoGetDBSchemas(ctx context.Context, req flightsql.GetDBSchemas) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	tables, err := s.visible(ctx, req.GetCatalog(), req.GetDBSchemaFilterPattern(), nil)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	if c := req.GetCatalog(); (c == nil || *c == "" || *c == s.opts.Catalog.Name()) && like(req.GetDBSchemaFilterPattern(), mainSchema) {
		names = append(names, mainSchema)
	}
	for _, t := range tables {
		names = append(names, t.Schema)
	}
	slices.Sort(names)
	return s.one(ctx, schema_ref.DBSchemas, func(b *array.RecordBuilder) {
		for _, n := range slices.Compact(names) {
			strs(b, 0).Append(s.opts.Catalog.Name())
			strs(b, 1).Append(n)
		}
	})
}

// GetFlightInfoTables is for DoGetTables.
func (s *sqlServer) GetFlightInfoTables(_ context.Context, req flightsql.GetTables, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	if req.GetIncludeSchema() {
		return s.itself(desc, schema_ref.TablesWithIncludedSchema)
	}
	return s.itself(desc, schema_ref.Tables)
}

// DoGetTables lists tables and views.
func (s *sqlServer) DoGetTables(ctx context.Context, req flightsql.GetTables) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	tables, err := s.visible(ctx, req.GetCatalog(), req.GetDBSchemaFilterPattern(), req.GetTableNameFilterPattern())
	if err != nil {
		return nil, nil, err
	}
	tables = ofTypes(tables, req.GetTableTypes())
	schema := schema_ref.Tables
	var columns []*arrow.Schema
	if req.GetIncludeSchema() {
		schema = schema_ref.TablesWithIncludedSchema
		if columns, err = s.opts.Catalog.Columns(ctx, tables); err != nil {
			return nil, nil, err
		}
	}
	return s.one(ctx, schema, func(b *array.RecordBuilder) {
		for i, t := range tables {
			if columns != nil {
				if columns[i] == nil {
					continue
				}
				b.Field(4).(*array.BinaryBuilder).Append(flight.SerializeSchema(columns[i], s.opts.Allocator))
			}
			for col, text := range []string{s.opts.Catalog.Name(), t.Schema, t.Name, t.kind()} {
				strs(b, col).Append(text)
			}
		}
	})
}

// GetFlightInfoTableTypes is for DoGetTableTypes.
func (s *sqlServer) GetFlightInfoTableTypes(_ context.Context, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return s.itself(desc, schema_ref.TableTypes)
}

// DoGetTableTypes lists them.
func (s *sqlServer) DoGetTableTypes(ctx context.Context) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return s.one(ctx, schema_ref.TableTypes, func(b *array.RecordBuilder) { strs(b, 0).AppendValues([]string{typeTable, typeView}, nil) })
}

// GetFlightInfoPrimaryKeys is for DoGetPrimaryKeys.
func (s *sqlServer) GetFlightInfoPrimaryKeys(_ context.Context, _ flightsql.TableRef, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return s.itself(desc, schema_ref.PrimaryKeys)
}

// DoGetPrimaryKeys lists the columns of a table's key, where one is known.
func (s *sqlServer) DoGetPrimaryKeys(ctx context.Context, ref flightsql.TableRef) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	tables, err := s.visible(ctx, ref.Catalog, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	return s.one(ctx, schema_ref.PrimaryKeys, func(b *array.RecordBuilder) {
		for _, t := range tables {
			if t.Name != ref.Table || ref.DBSchema != nil && *ref.DBSchema != "" && *ref.DBSchema != t.Schema {
				continue
			}
			for i, column := range t.Key {
				for col, text := range []string{s.opts.Catalog.Name(), t.Schema, t.Name, column} {
					strs(b, col).Append(text)
				}
				b.Field(4).(*array.Int32Builder).Append(int32(i + 1))
				strs(b, 5).AppendNull()
			}
		}
	})
}

// Copies have no foreign keys.

// GetFlightInfoExportedKeys is for DoGetExportedKeys.
func (s *sqlServer) GetFlightInfoExportedKeys(_ context.Context, _ flightsql.TableRef, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return s.itself(desc, schema_ref.ExportedKeys)
}

// DoGetExportedKeys lists none.
func (s *sqlServer) DoGetExportedKeys(ctx context.Context, _ flightsql.TableRef) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return s.one(ctx, schema_ref.ExportedKeys, func(*array.RecordBuilder) {})
}

// GetFlightInfoImportedKeys is for DoGetImportedKeys.
func (s *sqlServer) GetFlightInfoImportedKeys(_ context.Context, _ flightsql.TableRef, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return s.itself(desc, schema_ref.ImportedKeys)
}

// DoGetImportedKeys lists none.
func (s *sqlServer) DoGetImportedKeys(ctx context.Context, _ flightsql.TableRef) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return s.one(ctx, schema_ref.ImportedKeys, func(*array.RecordBuilder) {})
}

// GetFlightInfoCrossReference is for DoGetCrossReference.
func (s *sqlServer) GetFlightInfoCrossReference(_ context.Context, _ flightsql.CrossTableRef, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return s.itself(desc, schema_ref.CrossReference)
}

// DoGetCrossReference lists none.
func (s *sqlServer) DoGetCrossReference(ctx context.Context, _ flightsql.CrossTableRef) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return s.one(ctx, schema_ref.CrossReference, func(*array.RecordBuilder) {})
}
