package pgsql

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// special are functions that take more than another name. A nil node leaves the call to the tables.
var special map[string]func(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string)

func init() { // they call each other
	special = map[string]func(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string){
		"sum": sum, "avg": avg, "round": round, "extract": extract, "date_part": datePart, "date_trunc": dateTrunc, "to_char": toChar, "to_date": toDate, "to_timestamp": toTimestamp,
		"generate_series": seriesList, "unnest": unnest, "length": length, "octet_length": octetLength, "position": position, "timezone": timeZone, "substring": substring, "substr": substring,
		"btrim": trim, "ltrim": trim, "rtrim": trim, "log": logarithm, "div": division, "mod": division, "regexp_match": regexpMatch, "regexp_replace": regexpReplace,
		"regexp_matches": regexpMatches, "string_agg": stringAgg, "make_interval": makeInterval, "format": formatText, "encode": encode, "decode": decode, "to_hex": toHex, "date_bin": dateBin, "json_agg": jsonAgg, "jsonb_agg": jsonAgg, "concat_ws": concatAll,
		"regexp_like": regexpLike, "num_nulls": countNulls, "num_nonnulls": countNulls,
		"json_extract_path": jsonPath, "jsonb_extract_path": jsonPath, "json_extract_path_text": jsonPath, "jsonb_extract_path_text": jsonPath, "array_agg": arrayAgg, "concat": concatAll,
		"current_setting": currentSetting, "now": sessionNow, "trunc": truncate, "pg_typeof": typeOf, "random": nil, "chr": nil,
		"pg_cancel_backend": endBackend, "pg_terminate_backend": endBackend,
	}
	for name, h := range special {
		if h == nil {
			delete(special, name)
		}
	}
}

func call(f *pg.FuncCall) *pg.Node { return &pg.Node{Node: &pg.Node_FuncCall{FuncCall: f}} }

// settingValues are the settings by their folded names.
var settingValues = func() map[string]string {
	m := map[string]string{}
	for _, f := range rows(settingList) {
		m[fold(f[0])] = f[1]
	}
	return m
}()

// currentSetting of a constant name is a constant, which may stand where a query may not. The time zone is the session's.
func currentSetting(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) == 0 {
		return nil, ""
	}
	name, ok := literal(f.Args[0])
	value, known := settingValues[fold(name)]
	if !ok || !known || fold(name) == "timezone" {
		return nil, ""
	}
	return cast(constant(value), "text"), "text"
}

// sum of words is a bigint in PostgreSQL and a HUGEINT in DuckDB; that of bigints is a numeric in both.
func sum(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	f.Funcname = strs("sum")
	if len(types) != 1 {
		return call(f), ""
	}
	switch types[0] {
	case "int2", "int4":
		return cast(call(f), "int8"), "int8"
	case "int8":
		return call(f), "numeric"
	case "float4":
		return cast(call(f), "float4"), "float4"
	}
	return call(f), types[0]
}

func avg(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	f.Funcname = strs("avg")
	if len(types) == 1 && (types[0] == "float8" || types[0] == "float4") {
		return call(f), "float8"
	}
	if len(types) == 1 && types[0] == "interval" {
		return call(f), "interval"
	}
	n := call(f)
	if len(types) == 1 && isExact(types[0]) {
		r.meanOf(n, f)
	}
	return n, "numericf"
}

// round: halves of double precision go to the even neighbour; what is a numeric keeps the digits that it was asked for.
func round(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	f.Funcname = strs("round")
	if len(types) == 0 {
		return nil, ""
	}
	if len(types) == 1 {
		switch types[0] {
		case "float4", "float8":
			return function("round_even", f.Args[0], integer(0)), "float8"
		case "numericf":
			n := cast(call(f), "numeric", 38, 0)
			if q, ok := r.exact[f.Args[0]]; ok && q.digits < 0 {
				r.exact[n] = exactQuotient{q.dividend, q.divisor, 0}
			}
			return n, "numeric"
		case "int2", "int4", "int8":
			return call(f), types[0]
		}
		return call(f), types[0]
	}
	if digits, ok := literalInt(f.Args[1]); ok && (types[0] == "numericf" || types[0] == "numeric" || isInt(types[0])) && digits >= 0 && digits <= 15 {
		n := cast(call(f), "numeric", 38, digits)
		if q, ok := r.exact[f.Args[0]]; ok && q.digits < 0 {
			r.exact[n] = exactQuotient{q.dividend, q.divisor, digits}
		}
		return n, "numeric"
	}
	return call(f), types[0]
}

func truncate(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	f.Funcname = strs("trunc")
	if len(types) == 2 {
		if digits, ok := literalInt(f.Args[1]); ok && digits >= 0 && digits <= 15 && types[0] != "float8" {
			return cast(call(f), "numeric", 38, digits), "numeric"
		}
	}
	if len(types) == 1 && types[0] == "numericf" {
		return cast(call(f), "numeric", 38, 0), "numeric"
	}
	return nil, ""
}

// extract gives numerics, the seconds with their fraction.
func extract(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) != 2 {
		return nil, ""
	}
	unit, _ := literal(f.Args[0])
	unit = strings.ToLower(unit)
	part := func(u string) *pg.Node { return function("date_part", constant(u), f.Args[1]) }
	scaled := func(by int64, scale int64) (*pg.Node, string) {
		return cast(operator("/", cast(part("microseconds"), "float8"), integer(by)), "numeric", 18, scale), "numeric"
	}
	switch unit {
	case "second", "seconds", "sec", "secs", "s":
		return scaled(1000000, 6)
	case "milliseconds", "millisecond", "msec", "ms":
		return scaled(1000, 3)
	case "epoch":
		if types[1] == "date" {
			return cast(part("epoch"), "numeric", 18, 0), "numeric"
		}
		return cast(part("epoch"), "numeric", 24, 6), "numeric"
	case "julian":
		return part(unit), "numericf"
	}
	return cast(part(unit), "numeric", 18, 0), "numeric"
}

// datePart is extract in double precision.
func datePart(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if n, typ := extract(r, f, types); n != nil && typ == "numeric" {
		return cast(n, "float8"), "float8"
	}
	f.Funcname = strs("date_part")
	return call(f), "float8"
}

// dateTrunc of a date is a timestamp with time zone; a third argument is the zone to reckon in.
func dateTrunc(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	f.Funcname = strs("date_trunc")
	if len(types) < 2 {
		return nil, ""
	}
	typ := types[1]
	if unit, ok := literal(f.Args[0]); ok && len(types) == 2 && strings.HasPrefix(typ, "timestamp") {
		if years := map[string]int64{"century": 100, "millennium": 1000}[strings.ToLower(unit)]; years > 0 {
			return macro("_trunc_years", f.Args[1], integer(years)), typ // counted from the year 1
		}
	}
	if typ == "date" {
		f.Args[1], typ = cast(f.Args[1], "timestamptz"), "timestamptz"
	}
	if len(types) == 3 {
		zone := f.Args[2]
		inner := function("date_trunc", f.Args[0], function("timezone", zone, f.Args[1]))
		return function("timezone", zone, inner), "timestamptz"
	}
	return call(f), typ
}

// sessionNow: the time of PostgreSQL's now() has a zone, and so has DuckDB's.
func sessionNow(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	return function("now"), "timestamptz"
}

// seriesList in a SELECT list gives rows.
func seriesList(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	typ := r.series(f, types)
	if typ == series4 {
		return cast(function("unnest", function("generate_series", f.Args...)), "int4"), "int4"
	}
	return function("unnest", function("generate_series", f.Args...)), typ
}

func unnest(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	f.Funcname = strs("unnest")
	if len(types) != 1 {
		return call(f), ""
	}
	return call(f), strings.TrimSuffix(types[0], "[]")
}

func length(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	f.Funcname = strs("length")
	if len(types) == 1 && types[0] == "bytea" {
		f.Funcname = strs("octet_length")
	}
	return cast(call(f), "int4"), "int4"
}

func octetLength(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	f.Funcname = strs("octet_length")
	if len(types) == 1 && types[0] == "bytea" {
		return cast(call(f), "int4"), "int4"
	}
	return cast(function("strlen", f.Args...), "int4"), "int4"
}

func position(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) != 2 {
		return nil, ""
	}
	return cast(function("strpos", f.Args[0], f.Args[1]), "int4"), "int4"
}

// timeZone is AT TIME ZONE.
func timeZone(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(types) != 2 {
		return nil, ""
	}
	typ := map[string]string{"timestamp": "timestamptz", "timestamptz": "timestamp", "date": "timestamp"}[types[1]]
	if types[1] == "date" {
		f.Args[1] = cast(f.Args[1], "timestamptz")
	}
	return function("timezone", f.Args...), typ
}

func substring(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(types) == 2 && (types[1] == "unknown" || types[1] == "text") {
		// substring(x FROM pattern)
		pattern := f.Args[1]
		group := int64(0)
		if p, ok := literal(pattern); ok {
			pattern = constant(regex(p))
			if hasGroup(p) {
				group = 1
			}
		}
		found := function("regexp_extract", f.Args[0], pattern, integer(group), constant("s"))
		return caseWhen(function("regexp_matches", f.Args[0], pattern, constant("s")), found), "text"
	}
	if types[0] == "bytea" {
		return function("array_slice", f.Args[0], f.Args[1], operator("-", operator("+", f.Args[1], f.Args[len(f.Args)-1]), integer(1))), "bytea"
	}
	// Positions before the first and lengths from there are PostgreSQL's.
	if from, ok := literalInt(f.Args[1]); ok && from >= 1 {
		if len(f.Args) == 2 {
			return function("substr", f.Args...), "text"
		}
		if n, ok := literalInt(f.Args[2]); ok && n >= 0 {
			return function("substr", f.Args...), "text"
		}
	}
	return macro("_substr", f.Args...), "text"
}

func caseWhen(when, then *pg.Node) *pg.Node {
	w := &pg.Node{Node: &pg.Node_CaseWhen{CaseWhen: &pg.CaseWhen{Expr: when, Result: then}}}
	return &pg.Node{Node: &pg.Node_CaseExpr{CaseExpr: &pg.CaseExpr{Args: []*pg.Node{w}}}}
}

// trim takes off blanks only, where DuckDB takes all kinds of space.
func trim(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	name := map[string]string{"btrim": "trim"}[last(f.Funcname)]
	if name == "" {
		name = last(f.Funcname)
	}
	if len(f.Args) == 1 {
		f.Args = append(f.Args, constant(" "))
	}
	return function(name, f.Args...), "text"
}

func logarithm(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) == 2 {
		return macro("_log", f.Args...), "numericf"
	}
	return function("log10", f.Args...), "float8"
}

func division(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) != 2 {
		return nil, ""
	}
	if last(f.Funcname) == "div" {
		return macro("_div", f.Args...), "numeric"
	}
	return macro("_mod", f.Args...), wider(types[0], types[1])
}

func stringAgg(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	f.Funcname = strs("string_agg")
	return call(f), "text"
}

func arrayAgg(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	f.Funcname = strs("array_agg")
	if len(types) == 1 && types[0] != "" {
		return call(f), types[0] + "[]"
	}
	return call(f), ""
}

// concatAll writes each value as its cast to text does.
func concatAll(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	for i, t := range types {
		if t == "float4" || t == "float8" || t == "numericf" || t == "interval" || isArray(t) {
			f.Args[i] = r.toText(f.Args[i], t)
		}
		if t == "bool" {
			f.Args[i] = function("left", cast(f.Args[i], "text"), integer(1))
		}
	}
	return function(last(f.Funcname), f.Args...), "text"
}

func countNulls(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	texts := make([]*pg.Node, len(f.Args))
	for i, a := range f.Args {
		texts[i] = cast(a, "text")
	}
	return macro("_"+last(f.Funcname), array(texts...)), "int4"
}

// dateBin puts times into bins of a width.
func dateBin(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) != 3 {
		return nil, ""
	}
	if types[0] == "unknown" {
		f.Args[0] = cast(f.Args[0], "interval")
	}
	return function("time_bucket", f.Args...), types[1]
}

// jsonAgg gathers values into a JSON array, in an order where one is asked for.
func jsonAgg(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	f.Funcname = strs("array_agg")
	return function("to_json", call(f)), "json"
}

// makeInterval adds up what it is given by position or name.
func makeInterval(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	units := []string{"years", "months", "weeks", "days", "hours", "mins", "secs"}
	to := map[string]string{"years": "to_years", "months": "to_months", "weeks": "to_weeks", "days": "to_days", "hours": "to_hours", "mins": "to_minutes", "secs": "to_seconds"}
	var out *pg.Node
	for i, a := range f.Args {
		if i >= len(units) {
			return nil, ""
		}
		unit := units[i]
		if named := a.GetNamedArgExpr(); named != nil {
			unit, a = named.Name, named.Arg
		}
		if to[unit] == "" {
			return nil, ""
		}
		one := function(to[unit], a)
		if out == nil {
			out = one
		} else {
			out = operator("+", out, one)
		}
	}
	if out == nil {
		out = cast(constant("0 seconds"), "interval")
	}
	return out, "interval"
}

func encode(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) != 2 {
		return nil, ""
	}
	switch form, _ := literal(f.Args[1]); form {
	case "hex":
		return function("lower", function("hex", f.Args[0])), "text"
	case "base64":
		return function("to_base64", f.Args[0]), "text"
	}
	return function("decode", f.Args[0]), "text"
}

func decode(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) != 2 {
		return nil, ""
	}
	switch form, _ := literal(f.Args[1]); form {
	case "hex":
		return function("unhex", f.Args[0]), "bytea"
	case "base64":
		return function("from_base64", f.Args[0]), "bytea"
	}
	return function("encode", f.Args[0]), "bytea"
}

func toHex(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	return function("lower", function("to_hex", f.Args...)), "text"
}

func jsonPath(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	path := "$"
	for _, a := range f.Args[1:] {
		text, ok := literal(a)
		if !ok {
			return nil, ""
		}
		path += jsonStep(text, true)
	}
	if strings.HasSuffix(last(f.Funcname), "_text") {
		return function("json_extract_string", f.Args[0], constant(path)), "text"
	}
	return function("json_extract", f.Args[0], constant(path)), "json"
}

// typeOf is the name of the type as far as it is known here.
func typeOf(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	name := types[0]
	if full, ok := typeFull[strings.TrimSuffix(name, "[]")]; ok {
		if isArray(name) {
			full += "[]"
		}
		return constant(full), "text"
	}
	f.Funcname = strs("pg_typeof")
	return call(f), "text"
}

var typeFull = map[string]string{"int2": "smallint", "int4": "integer", "int8": "bigint", "float4": "real", "float8": "double precision", "numeric": "numeric", "numericf": "numeric",
	"bool": "boolean", "timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone", "time": "time without time zone", "text": "text", "date": "date",
	"interval": "interval", "uuid": "uuid", "json": "json", "bytea": "bytea", "unknown": "unknown", "regclass": "regclass", "oid": "oid"}
