package flightsql

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
)

// sqlType is a type as ODBC and JDBC describe it.
type sqlType struct {
	name     string
	data     pb.XdbcDataType
	size     int32  // digits or characters; 0: no bound
	quote    string // around literals
	params   []string
	scale    int32 // at most
	radix    int32
	subcode  pb.XdbcDatetimeSubcode
	unsigned bool
}

var sqlTypes = []sqlType{
	{name: "BOOLEAN", data: pb.XdbcDataType_XDBC_BIT, size: 1},
	{name: "TINYINT", data: pb.XdbcDataType_XDBC_TINYINT, size: 3, radix: 10},
	{name: "UTINYINT", data: pb.XdbcDataType_XDBC_TINYINT, size: 3, radix: 10, unsigned: true},
	{name: "BIGINT", data: pb.XdbcDataType_XDBC_BIGINT, size: 19, radix: 10},
	{name: "UBIGINT", data: pb.XdbcDataType_XDBC_BIGINT, size: 20, radix: 10, unsigned: true},
	{name: "BLOB", data: pb.XdbcDataType_XDBC_VARBINARY, quote: "'"},
	{name: "VARCHAR", data: pb.XdbcDataType_XDBC_VARCHAR, quote: "'"},
	{name: "JSON", data: pb.XdbcDataType_XDBC_VARCHAR, quote: "'"},
	{name: "UUID", data: pb.XdbcDataType_XDBC_VARCHAR, size: 36, quote: "'"},
	{name: "DECIMAL", data: pb.XdbcDataType_XDBC_DECIMAL, size: 38, params: []string{"precision", "scale"}, scale: 38, radix: 10},
	{name: "HUGEINT", data: pb.XdbcDataType_XDBC_DECIMAL, size: 38, radix: 10},
	{name: "INTEGER", data: pb.XdbcDataType_XDBC_INTEGER, size: 10, radix: 10},
	{name: "UINTEGER", data: pb.XdbcDataType_XDBC_INTEGER, size: 10, radix: 10, unsigned: true},
	{name: "SMALLINT", data: pb.XdbcDataType_XDBC_SMALLINT, size: 5, radix: 10},
	{name: "USMALLINT", data: pb.XdbcDataType_XDBC_SMALLINT, size: 5, radix: 10, unsigned: true},
	{name: "FLOAT", data: pb.XdbcDataType_XDBC_REAL, size: 24, radix: 2},
	{name: "DOUBLE", data: pb.XdbcDataType_XDBC_DOUBLE, size: 53, radix: 2},
	{name: "DATE", data: pb.XdbcDataType_XDBC_DATE, size: 10, quote: "'", subcode: pb.XdbcDatetimeSubcode_XDBC_SUBCODE_DATE},
	{name: "TIME", data: pb.XdbcDataType_XDBC_TIME, size: 15, quote: "'", scale: 6, subcode: pb.XdbcDatetimeSubcode_XDBC_SUBCODE_TIME},
	{name: "TIMESTAMP", data: pb.XdbcDataType_XDBC_TIMESTAMP, size: 26, quote: "'", scale: 6, subcode: pb.XdbcDatetimeSubcode_XDBC_SUBCODE_TIMESTAMP},
	{name: "TIMESTAMP WITH TIME ZONE", data: pb.XdbcDataType_XDBC_TIMESTAMP, size: 32, quote: "'", scale: 6, subcode: pb.XdbcDatetimeSubcode_XDBC_SUBCODE_TIMESTAMP_WITH_TIMEZONE},
	{name: "INTERVAL", data: pb.XdbcDataType_XDBC_INTERVAL, quote: "'"},
}

// GetFlightInfoXdbcTypeInfo is for DoGetXdbcTypeInfo.
func (s *sqlServer) GetFlightInfoXdbcTypeInfo(_ context.Context, _ flightsql.GetXdbcTypeInfo, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return s.itself(desc, schema_ref.XdbcTypeInfo)
}

// DoGetXdbcTypeInfo lists the scalar types, or those of one number.
func (s *sqlServer) DoGetXdbcTypeInfo(ctx context.Context, req flightsql.GetXdbcTypeInfo) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return s.one(ctx, schema_ref.XdbcTypeInfo, func(b *array.RecordBuilder) {
		for _, t := range sqlTypes {
			if want := req.GetDataType(); want == nil || *want == int32(t.data) {
				t.append(b)
			}
		}
	})
}

func (t sqlType) append(b *array.RecordBuilder) {
	num := func(col int, v int32, known bool) {
		if n := b.Field(col).(*array.Int32Builder); known {
			n.Append(v)
		} else {
			n.AppendNull()
		}
	}
	str := func(col int, v string) {
		if v == "" {
			strs(b, col).AppendNull()
		} else {
			strs(b, col).Append(v)
		}
	}
	truth := func(col int, v bool) { b.Field(col).(*array.BooleanBuilder).Append(v) }
	strs(b, 0).Append(t.name)
	num(1, int32(t.data), true)
	num(2, t.size, t.size > 0)
	str(3, t.quote)
	str(4, t.quote)
	params := b.Field(5).(*array.ListBuilder)
	if t.params == nil {
		params.AppendNull()
	} else {
		params.Append(true)
		params.ValueBuilder().(*array.StringBuilder).AppendValues(t.params, nil)
	}
	num(6, int32(pb.Nullable_NULLABILITY_NULLABLE), true)
	truth(7, t.name == "VARCHAR" || t.name == "JSON")
	num(8, int32(pb.Searchable_SEARCHABLE_FULL), true)
	if t.radix > 0 {
		truth(9, t.unsigned)
		truth(11, false)
	} else {
		b.Field(9).AppendNull()
		b.Field(11).AppendNull()
	}
	truth(10, false)
	strs(b, 12).Append(t.name)
	num(13, 0, t.scale > 0)
	num(14, t.scale, t.scale > 0)
	num(15, int32(t.data), true)
	num(16, int32(t.subcode), t.subcode != 0)
	num(17, t.radix, t.radix > 0)
	num(18, 0, false)
}

// decimalOf reads precision and scale of a decimal type.
func decimalOf(duckType string) (precision, scale int32, ok bool) {
	n, err := fmt.Sscanf(duckType, "DECIMAL(%d,%d)", &precision, &scale)
	return precision, scale, n == 2 && err == nil
}
