package store

import (
	"fmt"
	"strings"

	duck "github.com/duckdb/duckdb-go-bindings"
)

// resultType is a DuckDB type with all that rendering needs, read once for a column.
type resultType struct {
	id    duck.Type
	alias string // "JSON" for JSON
	width uint8  // of a decimal
	scale uint8
	size  int      // of an array
	names []string // of a struct's fields or a union's members; an enum's values
	kids  []resultType
	inner duck.Type // how a decimal or an enum lies in memory
	form  pgForm
}

// describe leaves t to its caller. A parameter whose type is open has no t at all.
func describe(t duck.LogicalType) resultType {
	if t.Ptr == nil {
		return resultType{}
	}
	r := resultType{id: duck.GetTypeId(t), alias: duck.LogicalTypeGetAlias(t)}
	kid := func(name string, k duck.LogicalType) {
		r.kids = append(r.kids, describe(k))
		r.names = append(r.names, name)
		duck.DestroyLogicalType(&k)
	}
	switch r.id {
	case duck.TypeDecimal:
		r.width, r.scale, r.inner = duck.DecimalWidth(t), duck.DecimalScale(t), duck.DecimalInternalType(t)
	case duck.TypeEnum:
		r.inner = duck.EnumInternalType(t)
		for i := range duck.IdxT(duck.EnumDictionarySize(t)) {
			r.names = append(r.names, duck.EnumDictionaryValue(t, i))
		}
	case duck.TypeList:
		kid("", duck.ListTypeChildType(t))
	case duck.TypeArray:
		r.size = int(duck.ArrayTypeArraySize(t))
		kid("", duck.ArrayTypeChildType(t))
	case duck.TypeMap:
		kid("key", duck.MapTypeKeyType(t))
		kid("value", duck.MapTypeValueType(t))
	case duck.TypeStruct:
		for i := range duck.StructTypeChildCount(t) {
			kid(duck.StructTypeChildName(t, i), duck.StructTypeChildType(t, i))
		}
		r.form = formOf(r.names)
	case duck.TypeUnion:
		for i := range duck.UnionTypeMemberCount(t) {
			kid(duck.UnionTypeMemberName(t, i), duck.UnionTypeMemberType(t, i))
		}
	}
	return r
}

var typeNames = map[duck.Type]string{
	duck.TypeBoolean: "BOOLEAN", duck.TypeTinyInt: "TINYINT", duck.TypeSmallInt: "SMALLINT", duck.TypeInteger: "INTEGER", duck.TypeBigInt: "BIGINT",
	duck.TypeUTinyInt: "UTINYINT", duck.TypeUSmallInt: "USMALLINT", duck.TypeUInteger: "UINTEGER", duck.TypeUBigInt: "UBIGINT", duck.TypeFloat: "FLOAT",
	duck.TypeDouble: "DOUBLE", duck.TypeTimestamp: "TIMESTAMP", duck.TypeDate: "DATE", duck.TypeTime: "TIME", duck.TypeInterval: "INTERVAL",
	duck.TypeHugeInt: "HUGEINT", duck.TypeUHugeInt: "UHUGEINT", duck.TypeVarchar: "VARCHAR", duck.TypeBlob: "BLOB", duck.TypeTimestampS: "TIMESTAMP_S",
	duck.TypeTimestampMS: "TIMESTAMP_MS", duck.TypeTimestampNS: "TIMESTAMP_NS", duck.TypeUUID: "UUID", duck.TypeBit: "BIT", duck.TypeTimeTZ: "TIME WITH TIME ZONE",
	duck.TypeTimestampTZ: "TIMESTAMP WITH TIME ZONE", duck.TypeBigNum: "BIGNUM", duck.TypeSQLNull: "NULL", duck.TypeTimeNS: "TIME_NS", duck.TypeGeometry: "GEOMETRY",
	duck.TypeVariant: "VARIANT", duck.TypeAny: "ANY", duck.TypeInvalid: "UNKNOWN", duck.TypeStringLiteral: "VARCHAR", duck.TypeIntegerLiteral: "INTEGER",
}

// name is the type as DuckDB's SQL has it.
func (r *resultType) name() string {
	if r.alias != "" {
		return r.alias
	}
	fields := func() string {
		f := make([]string, len(r.kids))
		for i := range r.kids {
			f[i] = quote(r.names[i]) + " " + r.kids[i].name()
		}
		return "(" + strings.Join(f, ", ") + ")"
	}
	switch r.id {
	case duck.TypeDecimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", r.width, r.scale)
	case duck.TypeEnum:
		v := make([]string, len(r.names))
		for i, n := range r.names {
			v[i] = literal(n)
		}
		return "ENUM(" + strings.Join(v, ", ") + ")"
	case duck.TypeList:
		return r.kids[0].name() + "[]"
	case duck.TypeArray:
		return fmt.Sprintf("%s[%d]", r.kids[0].name(), r.size)
	case duck.TypeMap:
		return "MAP(" + r.kids[0].name() + ", " + r.kids[1].name() + ")"
	case duck.TypeStruct:
		return "STRUCT" + fields()
	case duck.TypeUnion:
		return "UNION" + fields()
	}
	if n, ok := typeNames[r.id]; ok {
		return n
	}
	return fmt.Sprintf("type %d", r.id)
}

// renders says whether values of the type can be written out.
func (r *resultType) renders() bool {
	if r.id == duck.TypeVariant {
		return false
	}
	for i := range r.kids {
		if !r.kids[i].renders() {
			return false
		}
	}
	return true
}
