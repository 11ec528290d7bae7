package store

import (
	"github.com/apache/arrow-go/v18/arrow"
	duck "github.com/duckdb/duckdb-go-bindings"
)

// How columns lie in Arrow, and in Parquet where that differs:
//
//	type                            Arrow                       Parquet
//	BOOLEAN, integers, FLOAT, DOUBLE  the same
//	DECIMAL(w,s)                    decimal128(w,s)
//	HUGEINT                         decimal128(38,0); a value of 39 digits is an error
//	UHUGEINT, BIGNUM                string
//	VARCHAR, JSON, ENUM, UUID, BIT  string, plain: there are clients that skip columns of dictionary and extension types
//	BLOB, GEOMETRY                  binary
//	DATE                            date32
//	TIME, TIME_NS                   time64[us], time64[ns]
//	TIME WITH TIME ZONE             string: Arrow's times have no zone
//	TIMESTAMP, _MS, _NS             timestamp[us], [ms], [ns]
//	TIMESTAMP_S                     timestamp[s]                timestamp[us]
//	TIMESTAMP WITH TIME ZONE        timestamp[us, UTC]
//	INTERVAL                        month_day_nano              string
//	LIST                            list
//	ARRAY                           fixed_size_list             list
//	STRUCT, MAP                     the same
//	UNION                           sparse_union                struct of which one member is not NULL
//	NULL                            null
//
// infinity and -infinity are the largest number of the type and its negative, as in DuckDB.

// ArrowForm says what the columns are for.
type ArrowForm uint8

// The forms.
const (
	ArrowPlain   ArrowForm = iota
	ArrowParquet           // types that Parquet does not have become some that it has
)

// ArrowSchema has the columns that the statement will give; nil when they are known only with its parameters.
func (s *Stmt) ArrowSchema() *arrow.Schema {
	if len(s.Columns) == 1 && s.Columns[0] == UnknownColumn {
		return nil
	}
	return arrowSchema(s.Columns, s.results, ArrowPlain)
}

// ArrowSchema has the result's columns.
func (r *Rows) ArrowSchema() *arrow.Schema { return arrowSchema(r.columns, r.types, ArrowPlain) }

func arrowSchema(columns []ResultColumn, types []resultType, form ArrowForm) *arrow.Schema {
	fields := make([]arrow.Field, len(columns))
	for i := range columns {
		fields[i] = arrow.Field{Name: columns[i].Name, Type: arrowType(&types[i], form), Nullable: true}
	}
	return arrow.NewSchema(fields, nil)
}

// hugeDigits is the most that a decimal128 promises to hold.
const hugeDigits = 38

var arrowTypes = map[duck.Type]arrow.DataType{
	duck.TypeSQLNull: arrow.Null, duck.TypeBoolean: arrow.FixedWidthTypes.Boolean,
	duck.TypeTinyInt: arrow.PrimitiveTypes.Int8, duck.TypeSmallInt: arrow.PrimitiveTypes.Int16, duck.TypeInteger: arrow.PrimitiveTypes.Int32, duck.TypeBigInt: arrow.PrimitiveTypes.Int64,
	duck.TypeUTinyInt: arrow.PrimitiveTypes.Uint8, duck.TypeUSmallInt: arrow.PrimitiveTypes.Uint16, duck.TypeUInteger: arrow.PrimitiveTypes.Uint32, duck.TypeUBigInt: arrow.PrimitiveTypes.Uint64,
	duck.TypeFloat: arrow.PrimitiveTypes.Float32, duck.TypeDouble: arrow.PrimitiveTypes.Float64,
	duck.TypeHugeInt: &arrow.Decimal128Type{Precision: hugeDigits},
	duck.TypeBlob:    arrow.BinaryTypes.Binary, duck.TypeGeometry: arrow.BinaryTypes.Binary,
	duck.TypeDate: arrow.FixedWidthTypes.Date32, duck.TypeTime: arrow.FixedWidthTypes.Time64us, duck.TypeTimeNS: arrow.FixedWidthTypes.Time64ns,
	duck.TypeTimestamp: &arrow.TimestampType{Unit: arrow.Microsecond}, duck.TypeTimestampTZ: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"},
	duck.TypeTimestampS: &arrow.TimestampType{Unit: arrow.Second}, duck.TypeTimestampMS: &arrow.TimestampType{Unit: arrow.Millisecond}, duck.TypeTimestampNS: &arrow.TimestampType{Unit: arrow.Nanosecond},
	duck.TypeInterval: arrow.FixedWidthTypes.MonthDayNanoInterval,
}

func arrowType(t *resultType, form ArrowForm) arrow.DataType {
	kid := func(i int) arrow.DataType { return arrowType(&t.kids[i], form) }
	members := func() []arrow.Field {
		fields := make([]arrow.Field, len(t.kids))
		for i := range fields {
			fields[i] = arrow.Field{Name: t.names[i], Type: kid(i), Nullable: true}
		}
		return fields
	}
	switch t.id {
	case duck.TypeDecimal:
		return &arrow.Decimal128Type{Precision: int32(t.width), Scale: int32(t.scale)}
	case duck.TypeList:
		return arrow.ListOf(kid(0))
	case duck.TypeArray:
		if form == ArrowParquet {
			return arrow.ListOf(kid(0))
		}
		return arrow.FixedSizeListOf(int32(t.size), kid(0))
	case duck.TypeMap:
		return arrow.MapOf(kid(0), kid(1))
	case duck.TypeStruct:
		return arrow.StructOf(members()...)
	case duck.TypeUnion:
		if form == ArrowParquet {
			return arrow.StructOf(members()...)
		}
		codes := make([]arrow.UnionTypeCode, len(t.kids))
		for i := range codes {
			codes[i] = arrow.UnionTypeCode(i)
		}
		return arrow.SparseUnionOf(members(), codes)
	case duck.TypeInterval:
		if form == ArrowParquet {
			return arrow.BinaryTypes.String
		}
	case duck.TypeTimestampS:
		if form == ArrowParquet {
			return arrowTypes[duck.TypeTimestamp]
		}
	}
	if a := arrowTypes[t.id]; a != nil {
		return a
	}
	return arrow.BinaryTypes.String
}
