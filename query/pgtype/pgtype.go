// Package pgtype says which of PostgreSQL's types a client sees for a type of DuckDB, and the other way round for parameters.
package pgtype

import (
	"strconv"
	"strings"
)

// Type is one of PostgreSQL's types as a RowDescription shows it.
type Type struct {
	OID  uint32
	Len  int16 // -1: of any length
	Mod  int32 // -1: none
	Name string
}

// The OIDs of the types that columns have.
const (
	Bool        = 16
	Bytea       = 17
	Int8        = 20
	Int2        = 21
	Int2Vector  = 22
	Int4        = 23
	Text        = 25
	OID         = 26
	OIDVector   = 30
	JSON        = 114
	Float4      = 700
	Float8      = 701
	Unknown     = 705
	BPChar      = 1042
	Varchar     = 1043
	Date        = 1082
	Time        = 1083
	Timestamp   = 1114
	TimestampTZ = 1184
	Interval    = 1186
	TimeTZ      = 1266
	Varbit      = 1562
	Numeric     = 1700
	Record      = 2249
	UUID        = 2950
	JSONB       = 3802
)

type info struct {
	name  string
	len   int16
	array uint32 // the OID of arrays of it
	duck  string // DuckDB's type for parameters that are declared so
}

var infos = map[uint32]info{
	Bool:        {"bool", 1, 1000, "BOOLEAN"},
	Bytea:       {"bytea", -1, 1001, "BLOB"},
	Int8:        {"int8", 8, 1016, "BIGINT"},
	Int2:        {"int2", 2, 1005, "SMALLINT"},
	Int2Vector:  {"int2vector", -1, 1006, "VARCHAR"},
	OIDVector:   {"oidvector", -1, 1013, "VARCHAR"},
	Int4:        {"int4", 4, 1007, "INTEGER"},
	Text:        {"text", -1, 1009, "VARCHAR"},
	OID:         {"oid", 4, 1028, "BIGINT"},
	JSON:        {"json", -1, 199, "JSON"},
	Float4:      {"float4", 4, 1021, "FLOAT"},
	Float8:      {"float8", 8, 1022, "DOUBLE"},
	Unknown:     {"unknown", -2, 0, "VARCHAR"},
	BPChar:      {"bpchar", -1, 1014, "VARCHAR"},
	Varchar:     {"varchar", -1, 1015, "VARCHAR"},
	Date:        {"date", 4, 1182, "DATE"},
	Time:        {"time", 8, 1183, "TIME"},
	Timestamp:   {"timestamp", 8, 1115, "TIMESTAMP"},
	TimestampTZ: {"timestamptz", 8, 1185, "TIMESTAMP WITH TIME ZONE"},
	Interval:    {"interval", 16, 1187, "INTERVAL"},
	TimeTZ:      {"timetz", 12, 1270, "TIME WITH TIME ZONE"},
	Varbit:      {"varbit", -1, 1563, "BIT"},
	Numeric:     {"numeric", -1, 1231, "DECIMAL(38,10)"},
	Record:      {"record", -1, 0, "VARCHAR"},
	UUID:        {"uuid", 16, 2951, "UUID"},
	JSONB:       {"jsonb", -1, 3807, "JSON"},
	18:          {"char", 1, 1002, "VARCHAR"},
	19:          {"name", 64, 1003, "VARCHAR"},
	2205:        {"regclass", 4, 2210, "VARCHAR"},
}

// elements are the types by the OID of arrays of them.
var elements = func() map[uint32]uint32 {
	m := map[uint32]uint32{}
	for oid, i := range infos {
		if i.array != 0 {
			m[i.array] = oid
		}
	}
	return m
}()

// named are DuckDB's types that have no parameters in their names. What is not here is text.
var named = map[string]uint32{
	"BOOLEAN": Bool, "TINYINT": Int2, "SMALLINT": Int2, "INTEGER": Int4, "BIGINT": Int8, "UTINYINT": Int2, "USMALLINT": Int4, "UINTEGER": Int8,
	"UBIGINT": Numeric, "HUGEINT": Numeric, "UHUGEINT": Numeric, "BIGNUM": Numeric, "FLOAT": Float4, "DOUBLE": Float8, "VARCHAR": Text,
	"BLOB": Bytea, "GEOMETRY": Bytea, "BIT": Varbit, "UUID": UUID, "JSON": JSON, "DATE": Date, "TIME": Time, "TIME_NS": Time, "TIME WITH TIME ZONE": TimeTZ,
	"TIMESTAMP": Timestamp, "TIMESTAMP_S": Timestamp, "TIMESTAMP_MS": Timestamp, "TIMESTAMP_NS": Timestamp, "TIMESTAMP WITH TIME ZONE": TimestampTZ,
	"INTERVAL": Interval,
}

// sent are values in the form in which query/pgsql has them sent, since they lie otherwise in DuckDB.
var sent = map[string]uint32{
	`STRUCT("numeric_quotient" VARCHAR)`: Numeric, `STRUCT("numeric_double" DOUBLE)`: Numeric, `STRUCT("pg_oid" UINTEGER)`: OID,
	`STRUCT("pg_int2vector" SMALLINT[])`: Int2Vector, `STRUCT("pg_oidvector" UINTEGER[])`: OIDVector,
}

// Of is the type that a client sees for a type of DuckDB, named as store.ResultColumn has it. Whole numbers without a type of their
// size become the next larger one, a row without names becomes a record, another STRUCT, a MAP, UNION and a list of these or of lists become json, and what PostgreSQL has no word for
// becomes text.
func Of(duckType string) Type {
	t := strings.TrimSpace(duckType)
	if elem, ok := element(t); ok {
		e := Of(elem)
		if composite(elem) {
			return ByOID(JSON)
		}
		array := ByOID(infos[e.OID].array)
		array.Mod = e.Mod
		return array
	}
	if strings.HasPrefix(t, `STRUCT("" `) {
		return ByOID(Record)
	}
	if oid, ok := sent[t]; ok {
		return ByOID(oid)
	}
	if oid, ok := named[t]; ok {
		return ByOID(oid)
	}
	if composite(t) {
		return ByOID(JSON)
	}
	if args, ok := strings.CutPrefix(t, "DECIMAL("); ok {
		n := ByOID(Numeric)
		width, scale, _ := strings.Cut(strings.TrimSuffix(args, ")"), ",")
		w, errW := strconv.ParseInt(width, 10, 16)
		s, errS := strconv.ParseInt(strings.TrimSpace(scale), 10, 16)
		if errW == nil && errS == nil {
			n.Mod = int32(w)<<16 | int32(s) + 4
		}
		return n
	}
	return ByOID(Text)
}

// element is the type of a list's or an array's elements.
func element(t string) (string, bool) {
	if !strings.HasSuffix(t, "]") {
		return "", false
	}
	i := strings.LastIndexByte(t, '[')
	if i < 0 {
		return "", false
	}
	return t[:i], true
}

// composite says whether values of t are more than a scalar.
func composite(t string) bool {
	if _, list := element(t); list {
		return true
	}
	return strings.HasPrefix(t, "STRUCT(") || strings.HasPrefix(t, "MAP(") || strings.HasPrefix(t, "UNION(")
}

// ByOID is the type of an OID; one that is not known here is shown as it came, without a name.
func ByOID(oid uint32) Type {
	if i, ok := infos[oid]; ok {
		return Type{OID: oid, Len: i.len, Mod: -1, Name: i.name}
	}
	if e, ok := elements[oid]; ok {
		return Type{OID: oid, Len: -1, Mod: -1, Name: "_" + infos[e].name}
	}
	return Type{OID: oid, Len: -1, Mod: -1}
}

// Element is the OID of the elements of arrays of that OID; false for what is no array.
func Element(array uint32) (uint32, bool) {
	e, ok := elements[array]
	return e, ok
}

// Duck is DuckDB's type for a parameter that a client declares as oid; VARCHAR for those not known.
func Duck(oid uint32) string {
	if e, ok := elements[oid]; ok {
		return Duck(e) + "[]"
	}
	if i, ok := infos[oid]; ok {
		return i.duck
	}
	return "VARCHAR"
}
