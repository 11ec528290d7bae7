// Package types maps PostgreSQL's types to DuckDB's without loss and translates values between PostgreSQL's binary
// format and DuckDB's vectors, in both directions, and PostgreSQL's text into them. The table of types is docs/types.md.
package types

import (
	"fmt"
	"strings"
)

// Kind says how a value lies in a vector and in PostgreSQL's binary format.
type Kind uint8

// The kinds. A Decimal's storage follows its width: 4, 9, 18 and 38 digits in 2, 4, 8 and 16 bytes.
const (
	Text Kind = iota // text, and everything that is read as text
	Bool
	Int16
	Int32
	Int64
	UInt32
	UInt64
	Float32
	Float64
	Decimal16
	Decimal32
	Decimal64
	Decimal128
	Blob
	UUID
	Date
	Time
	TimeTZ
	Timestamp
	TimestampTZ
	Interval
	JSON  // PostgreSQL json: text
	JSONB // PostgreSQL jsonb: a version byte, then text
	List
)

// OIDs of pg_type that are decoded from their own binary form.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidOID         = 26
	oidXID         = 28
	oidCID         = 29
	oidJSON        = 114
	oidFloat4      = 700
	oidFloat8      = 701
	oidMoney       = 790
	oidBpchar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestampTZ = 1184
	oidInterval    = 1186
	oidTimeTZ      = 1266
	oidNumeric     = 1700
	oidUUID        = 2950
	oidJSONB       = 3802
	oidXID8        = 5069
	oidName        = 19
)

// OIDs of types that are read as text, where their own forms need to be told apart.
const (
	oidXML       = 142
	oidBox       = 603
	oidInet      = 869
	oidRefcursor = 1790
	oidJSONPath  = 4072
)

// Type is one column's type on both sides.
type Type struct {
	OID    uint32 // of the value as it is sent: after Cast
	Typmod int32
	Kind   Kind
	Width  uint8  // of a decimal
	Scale  uint8  // of a decimal
	SQL    string // DuckDB's name of it, as in CREATE TABLE
	Cast   string // PostgreSQL type to cast to in the source query, "" when the value is sent as it is
	Own    uint32 // OID of the value where no query casts it: before Cast, or before its list's; 0 when that is OID
	Delim  byte   // of a list: what PostgreSQL writes between its elements in text; 0 is a comma
	Elem   *Type  // of a list
}

type base struct {
	kind Kind
	sql  string
}

var scalars = map[uint32]base{
	oidBool: {Bool, "BOOLEAN"}, oidBytea: {Blob, "BLOB"}, oidInt8: {Int64, "BIGINT"}, oidInt2: {Int16, "SMALLINT"},
	oidInt4: {Int32, "INTEGER"}, oidText: {Text, "VARCHAR"}, oidVarchar: {Text, "VARCHAR"}, oidBpchar: {Text, "VARCHAR"},
	oidName: {Text, "VARCHAR"}, oidOID: {UInt32, "UINTEGER"}, oidXID: {UInt32, "UINTEGER"}, oidCID: {UInt32, "UINTEGER"},
	oidXID8: {UInt64, "UBIGINT"}, oidJSON: {JSON, "JSON"}, oidJSONB: {JSONB, "JSON"}, oidFloat4: {Float32, "FLOAT"},
	oidFloat8: {Float64, "DOUBLE"}, oidDate: {Date, "DATE"}, oidTime: {Time, "TIME"}, oidTimeTZ: {TimeTZ, "TIME WITH TIME ZONE"},
	oidTimestamp: {Timestamp, "TIMESTAMP"}, oidTimestampTZ: {TimestampTZ, "TIMESTAMP WITH TIME ZONE"},
	oidInterval: {Interval, "INTERVAL"}, oidUUID: {UUID, "UUID"},
}

// arrays are the built-in array types, by their OID.
var arrays = map[uint32]uint32{
	1000: oidBool, 1001: oidBytea, 1016: oidInt8, 1005: oidInt2, 1007: oidInt4, 1009: oidText, 1028: oidOID, 1011: oidXID,
	1012: oidCID, 199: oidJSON, 1021: oidFloat4, 1022: oidFloat8, 1014: oidBpchar, 1015: oidVarchar, 1182: oidDate,
	1183: oidTime, 1115: oidTimestamp, 1185: oidTimestampTZ, 1187: oidInterval, 1270: oidTimeTZ, 1231: oidNumeric,
	2951: oidUUID, 3807: oidJSONB, 271: oidXID8, 1003: oidName,
}

// Info is what the catalog says of a type that is not built in.
type Info struct {
	Elem    uint32 // OID of the element type of an array, else 0
	Base    uint32 // OID below a domain, else 0
	BaseMod int32
	Type    byte // typtype: b base, c composite, d domain, e enum, r range, m multirange
	Delim   byte // typdelim of an array: what stands between its elements in text; 0 is that of its built-in element type
}

// Of maps a PostgreSQL type. info looks up what is not built in; it may be nil.
func Of(oid uint32, typmod int32, info func(uint32) (Info, bool)) Type {
	if t, ok := scalar(oid, typmod); ok {
		return t
	}
	elem, isArray := arrays[oid]
	var delim byte
	if info != nil && !isArray {
		if i, ok := info(oid); ok {
			switch {
			case i.Type == 'd':
				if typmod < 0 {
					typmod = i.BaseMod
				}
				return Of(i.Base, typmod, info)
			case i.Type == 'e':
				return Type{OID: oid, Typmod: -1, Kind: Text, SQL: "VARCHAR"}
			case i.Elem != 0:
				elem, isArray, delim = i.Elem, true, i.Delim
				if delim == 0 && elem == oidBox {
					delim = ';'
				}
				for ei, ok := info(elem); ok && ei.Type == 'd'; ei, ok = info(elem) {
					elem, typmod = ei.Base, ei.BaseMod
				}
			}
		}
	}
	if isArray {
		if e, ok := scalar(elem, typmod); ok && e.Cast == "" {
			return Type{OID: oid, Typmod: typmod, Kind: List, SQL: e.SQL + "[]", Delim: delim, Elem: &e}
		}
		// Elements without a binary form of ours travel as text, still one list a value. The array constructor of the
		// element type's text form keeps NULLs; shapes that DuckDB cannot hold are out of range as for any array.
		own := elem
		if info != nil {
			if i, ok := info(elem); ok && i.Type == 'e' {
				own = 0 // an enum is sent as text
			}
		}
		return Type{OID: 1009, Typmod: -1, Kind: List, SQL: "VARCHAR[]", Cast: "text[]", Own: oid, Delim: delim,
			Elem: &Type{OID: oidText, Typmod: -1, Kind: Text, SQL: "VARCHAR", Own: own}}
	}
	return asText(oid)
}

// asText is a type that is read as PostgreSQL's text of it.
func asText(own uint32) Type {
	return Type{OID: oidText, Typmod: -1, Kind: Text, SQL: "VARCHAR", Cast: "text", Own: own}
}

func scalar(oid uint32, typmod int32) (Type, bool) {
	switch oid {
	case oidNumeric:
		return numeric(typmod), true
	case oidMoney:
		// Under the pinned lc_monetary a money has two decimals; its 64 bits are 19 digits at most.
		return Type{OID: oidNumeric, Typmod: -1, Kind: Decimal128, Width: 19, Scale: 2, SQL: "DECIMAL(19,2)", Cast: "numeric", Own: oidMoney}, true
	}
	b, ok := scalars[oid]
	return Type{OID: oid, Typmod: typmod, Kind: b.kind, SQL: b.sql}, ok
}

func numeric(typmod int32) Type {
	if typmod < 4 {
		return asText(oidNumeric)
	}
	precision := int(((typmod - 4) >> 16) & 0xffff)
	// The scale is an 11-bit signed number since PostgreSQL 15 and was never above 1000 before.
	scale := int((((typmod - 4) & 0x7ff) ^ 1024) - 1024)
	if scale < 0 {
		precision, scale = precision-scale, 0
	}
	if scale > precision {
		precision = scale
	}
	if precision > 38 {
		return asText(oidNumeric)
	}
	return Decimal(precision, scale, typmod)
}

// Decimal is a numeric held as DECIMAL(precision, scale).
func Decimal(precision, scale int, typmod int32) Type {
	t := Type{OID: oidNumeric, Typmod: typmod, Width: uint8(precision), Scale: uint8(scale), SQL: fmt.Sprintf("DECIMAL(%d,%d)", precision, scale)}
	switch {
	case precision <= 4:
		t.Kind = Decimal16
	case precision <= 9:
		t.Kind = Decimal32
	case precision <= 18:
		t.Kind = Decimal64
	default:
		t.Kind = Decimal128
	}
	return t
}

// Override is the type of a column for which the configuration asks for another DuckDB type: DECIMAL(p,s) for a
// numeric, VARCHAR for anything.
func Override(t Type, oid uint32, sql string) (Type, error) {
	var p, s int
	up := strings.ToUpper(strings.ReplaceAll(sql, " ", ""))
	if up == "VARCHAR" || up == "TEXT" {
		return asText(oid), nil
	}
	if n, _ := fmt.Sscanf(up, "DECIMAL(%d,%d)", &p, &s); n == 2 && oid == oidNumeric && p >= 1 && p <= 38 && s >= 0 && s <= p {
		return Decimal(p, s, -1), nil
	}
	return t, fmt.Errorf("type %q: only VARCHAR, and DECIMAL(p,s) with p up to 38 for a numeric column, can be asked for", sql)
}

// StreamsBinary says whether Binary decodes PostgreSQL's binary form of the type itself, before Cast, to what COPY reads
// with Cast. Where it does not, the value must be streamed as text.
func (t *Type) StreamsBinary() bool {
	if t.Kind == List {
		return t.Elem.StreamsBinary()
	}
	switch t.Own {
	case 0:
		return t.Cast == ""
	case oidMoney:
		return t.Kind == Decimal128
	case oidNumeric, oidJSONB, oidJSONPath, oidJSON, oidXML, oidText, oidVarchar, oidBpchar, oidName, oidRefcursor:
		return true
	}
	return false
}

// SourceSQL is the expression that a query reads for expr, a value of this type before Cast.
func (t *Type) SourceSQL(expr string) string {
	switch {
	case t.Cast == "":
		return expr
	case t.Own == oidXML && t.Kind == Text:
		// A cast gives the stored text with its encoding declaration, which the output leaves out, and so does every stream.
		return "pg_catalog.textin(pg_catalog.xml_out(" + expr + "))"
	}
	return expr + "::" + t.Cast
}

// OutOfRangeSQL is a PostgreSQL condition over expr, a value of this type before Cast, that holds exactly for the values
// which DuckDB's type cannot hold; "" when there are none.
func (t *Type) OutOfRangeSQL(expr string) string {
	switch t.Kind {
	case Decimal16, Decimal32, Decimal64, Decimal128:
		if t.Cast != "" {
			return ""
		}
		if t.Typmod >= 0 {
			return expr + " = 'NaN'::numeric"
		}
		return fmt.Sprintf("(%s = 'NaN'::numeric OR abs(%s) >= 1e%d::numeric OR %s <> round(%s, %d))",
			expr, expr, int(t.Width)-int(t.Scale), expr, expr, t.Scale)
	case Timestamp, TimestampTZ:
		return fmt.Sprintf("(%s > '294247-01-10 04:00:54.775806'::%s AND isfinite(%s))", expr, pgName(t.Kind), expr)
	case Interval:
		return "NOT isfinite(" + expr + ")"
	case List:
		parts := []string{"array_ndims(" + expr + ") > 1", "array_lower(" + expr + ", 1) <> 1"}
		if e := t.Elem.OutOfRangeSQL("e"); e != "" {
			parts = append(parts, "EXISTS (SELECT FROM unnest("+expr+") AS e WHERE "+e+")")
		}
		return "(" + strings.Join(parts, " OR ") + ")"
	}
	return ""
}

func pgName(k Kind) string {
	if k == Timestamp {
		return "timestamp"
	}
	return "timestamptz"
}

// Ordered says whether DuckDB orders this type as PostgreSQL does (for text: under the "C" collation), so that a bound
// computed on one side holds on the other.
func (t *Type) Ordered() bool {
	switch t.Kind {
	case Int16, Int32, Int64, UInt32, Decimal16, Decimal32, Decimal64, Decimal128, Date, Timestamp, TimestampTZ, UUID:
		return t.Cast == ""
	case Text:
		return t.Cast == "" && (t.OID == oidText || t.OID == oidVarchar)
	}
	return false
}

// Exact says whether values that PostgreSQL calls equal are equal in the copy too: not 1.0 and 1.00 as texts.
func (t *Type) Exact() bool {
	switch t.Kind {
	case Text:
		return t.Own != oidNumeric
	case JSON, JSONB:
		return false
	case List:
		return t.Elem.Exact()
	}
	return true
}

// Textual says whether comparisons on the source need COLLATE "C".
func (t *Type) Textual() bool { return t.Kind == Text && (t.OID == oidText || t.OID == oidVarchar) }
