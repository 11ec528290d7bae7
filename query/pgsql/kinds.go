package pgsql

import "strings"

// Types are known by PostgreSQL's short names, with [] behind them for arrays. Besides there are "unknown" for the text of a literal,
// and "numericf" for what is a numeric in PostgreSQL and a DOUBLE in DuckDB.

// duckKind is the type of a column of the file.
func duckKind(duck string) string {
	if elem, ok := strings.CutSuffix(duck, "[]"); ok {
		return duckKind(elem) + "[]"
	}
	if k, ok := duckKinds[duck]; ok {
		return k
	}
	switch {
	case strings.HasPrefix(duck, "DECIMAL("):
		return "numeric"
	case strings.HasPrefix(duck, "ENUM("):
		return "text"
	}
	return ""
}

var duckKinds = map[string]string{
	"BOOLEAN": "bool", "TINYINT": "int2", "UTINYINT": "int2", "SMALLINT": "int2", "USMALLINT": "int4", "INTEGER": "int4", "UINTEGER": "int8", "BIGINT": "int8", "HUGEINT": "numeric",
	"UBIGINT": "numeric", "FLOAT": "float4", "DOUBLE": "float8", "VARCHAR": "text", "JSON": "json", "DATE": "date", "TIME": "time", "TIMESTAMP": "timestamp",
	"TIMESTAMP WITH TIME ZONE": "timestamptz", "INTERVAL": "interval", "UUID": "uuid", "BLOB": "bytea",
}

// systemKind is the type of a column of the catalog.
func systemKind(t string) string {
	switch t {
	case "int2vector", "oidvector", "oid", "regproc", "regtype":
		return t
	case "oid[]":
		return "oid[]"
	}
	duck, _ := systemType(t)
	switch duck {
	case "TIMESTAMPTZ":
		return "timestamptz"
	case "UINTEGER[]":
		return "oid[]"
	}
	return duckKind(duck)
}

func isArray(typ string) bool {
	return strings.HasSuffix(typ, "[]") || typ == "int2vector" || typ == "oidvector"
}

func isInt(typ string) bool { return typ == "int2" || typ == "int4" || typ == "int8" }

func orText(typ string) string {
	if typ == "" || typ == "unknown" {
		return "text"
	}
	return typ
}

// numberRank orders the types of numbers as they give way to each other.
var numberRank = map[string]int{"int2": 1, "int4": 2, "int8": 3, "numeric": 4, "numericf": 5, "float4": 6, "float8": 7}

// wider is the type that two values have in common.
func wider(a, b string) string {
	switch {
	case a == b:
		return a
	case a == "unknown":
		return b
	case b == "unknown":
		return a
	case numberRank[a] > 0 && numberRank[b] > 0:
		if numberRank[a] < numberRank[b] {
			a, b = b, a
		}
		if a == "float4" && numberRank[b] >= 3 {
			return "float8"
		}
		return a
	case a == "date" && (b == "timestamp" || b == "timestamptz") || a == "timestamp" && b == "timestamptz":
		return b
	case b == "date" && (a == "timestamp" || a == "timestamptz") || b == "timestamp" && a == "timestamptz":
		return a
	}
	return ""
}

func widest(types []string) string {
	if len(types) == 0 {
		return ""
	}
	w := types[0]
	for _, t := range types[1:] {
		w = wider(w, t)
	}
	return w
}
