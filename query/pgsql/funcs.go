package pgsql

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// funcCall rewrites a call with its arguments.
func (r *rewriter) funcCall(f *pg.FuncCall, sc *scope) (*pg.Node, string) {
	types := r.list(f.Args, sc)
	ordered := r.list(f.AggOrder, sc)
	if f.AggWithinGroup && bare(f.Funcname) == "percentile_cont" {
		// It lies between two values, so it is no decimal of their digits.
		for i, n := range f.AggOrder {
			if s := n.GetSortBy(); s != nil && (isInt(ordered[i]) || ordered[i] == "numeric") {
				s.Node = cast(s.Node, "float8")
			}
		}
	}
	f.AggFilter, _ = r.expr(f.AggFilter, sc)
	r.window(f.Over, sc)
	if f.AggWithinGroup && hypotheticals[bare(f.Funcname)] {
		return r.hypothetical(f, types)
	}
	return r.call(f, types, sc)
}

// call rewrites a call whose arguments have been rewritten.
func (r *rewriter) call(f *pg.FuncCall, types []string, sc *scope) (*pg.Node, string) {
	n := &pg.Node{Node: &pg.Node_FuncCall{FuncCall: f}}
	name := bare(f.Funcname)
	if name == "" {
		return n, ""
	}
	if len(r.path) > 0 {
		if out, typ := r.pathFunction(name, f.Args); out != nil {
			return out, typ
		}
	}
	if h, ok := special[name]; ok && len(f.Args) >= argumentsMin(name) {
		if out, typ := h(r, f, types); out != nil {
			return out, typ
		}
	}
	if l, ok := listFunctions[name]; ok {
		r.catalog = r.catalog || l.catalog
		return function("unnest", macro(l.macro, f.Args...)), l.typ
	}
	if m, ok := macros[name]; ok {
		r.catalog = true
		return macro(m.name, f.Args...), m.typ
	}
	to, typ := name, resultTypes[name]
	if d, ok := renamedFunctions[name]; ok {
		to = d
	}
	f.Funcname = strs(to)
	if f.Funcformat == pg.CoercionForm_COERCE_SQL_SYNTAX {
		f.Funcformat = pg.CoercionForm_COERCE_EXPLICIT_CALL
	}
	if typ == "arg" {
		typ = ""
		if len(types) > 0 {
			typ = types[0]
		}
	}
	if narrow := strings.TrimPrefix(typ, "as "); narrow != typ {
		return cast(n, narrow), narrow
	}
	return n, typ
}

// argumentsMin is how many arguments a special function needs to be looked at; DuckDB says what is wrong with fewer.
func argumentsMin(name string) int {
	switch name {
	case "now":
		return 0
	case "substring", "substr":
		return 2
	}
	return 1
}

type macroFunction struct{ name, typ string }

// macros are functions that have one of the catalog's in their place.
var macros = func() map[string]macroFunction {
	m := map[string]macroFunction{}
	same := func(typ, list string) {
		for _, f := range strings.Fields(list) {
			m[f] = macroFunction{"_" + f, typ}
		}
	}
	same("text", `format_type quote_ident quote_literal quote_nullable obj_description shobj_description col_description pg_get_expr pg_get_viewdef pg_get_constraintdef pg_get_indexdef pg_get_userbyid
		pg_get_function_arguments pg_get_function_result pg_encoding_to_char getdatabaseencoding pg_client_encoding pg_size_pretty version current_database current_schema current_setting set_config
		array_to_string overlay pg_tablespace_location initcap split_part json_typeof lpad rpad convert_from regexp_substr array_dims`)
	same("bool", `pg_table_is_visible has_table_privilege has_column_privilege pg_has_role pg_relation_is_publishable pg_index_column_has_property overlaps`)
	same("int4", `pg_char_to_encoding pg_backend_pid array_length array_lower array_ndims cardinality array_position width_bucket regexp_count`)
	same("bytea", `convert_to sha256`)
	same("interval", `justify_hours justify_days`)
	same("int8", `pg_database_size`)
	same("text[]", `current_schemas string_to_array parse_ident`)
	same("timestamptz", `pg_postmaster_start_time`)
	same("", `array_remove array_replace array_fill trim_array`)
	for _, typ := range []string{"class", "type", "proc", "namespace", "role"} {
		m["to_reg"+typ] = macroFunction{"_to_reg" + typ, "reg" + typ}
	}
	other := func(name, typ, list string) {
		for _, f := range strings.Fields(list) {
			m[f] = macroFunction{name, typ}
		}
	}
	other("_true", "bool", "pg_type_is_visible pg_function_is_visible pg_collation_is_visible pg_operator_is_visible pg_opclass_is_visible pg_opfamily_is_visible pg_conversion_is_visible pg_statistics_obj_is_visible pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible")
	other("_has_usage", "bool", "has_schema_privilege has_database_privilege has_function_privilege has_language_privilege has_type_privilege has_tablespace_privilege has_foreign_data_wrapper_privilege has_server_privilege has_sequence_privilege")
	m["has_any_column_privilege"] = m["has_table_privilege"]
	other("_size", "int8", "pg_table_size pg_relation_size pg_total_relation_size")
	other("_zero", "int8", "pg_indexes_size pg_tablespace_size pg_stat_get_numscans pg_stat_get_live_tuples pg_stat_get_dead_tuples pg_stat_get_mod_since_analyze")
	other("_text1", "text", "pg_get_serial_sequence pg_get_partkeydef pg_get_statisticsobjdef_columns pg_get_statisticsobjdef pg_get_triggerdef pg_get_ruledef pg_get_functiondef pg_get_function_sqlbody pg_get_function_arg_default pg_get_partition_constraintdef pg_relation_filepath")
	m["pg_get_function_identity_arguments"] = m["pg_get_function_arguments"]
	m["array_upper"] = m["array_length"]
	m["jsonb_typeof"] = m["json_typeof"]
	m["user"] = macroFunction{"_current_user", "text"}
	m["current_user"], m["session_user"] = m["user"], m["user"]
	m["pg_is_in_recovery"], m["pg_is_wal_replay_paused"] = macroFunction{"_false", "bool"}, macroFunction{"_false", "bool"}
	m["txid_current"] = macroFunction{"_one", "int8"}
	m["pg_current_xact_id"] = m["txid_current"]
	other("_null_text", "text", "inet_client_addr inet_server_addr pg_last_wal_receive_lsn pg_last_wal_replay_lsn")
	other("_null_int", "int4", "inet_client_port inet_server_port")
	m["pg_conf_load_time"] = m["pg_postmaster_start_time"]
	return m
}()

// listFunctions give several rows, and are lists in DuckDB that are then unnested.
var listFunctions = map[string]struct {
	macro, typ string
	catalog    bool
	columns    []string
}{
	"generate_subscripts":      {macro: "_generate_subscripts", typ: "int4"},
	"pg_partition_ancestors":   {macro: "_pg_partition_ancestors", typ: "oid", catalog: true},
	"pg_partition_tree":        {macro: "_pg_partition_ancestors", typ: "oid", catalog: true},
	"_pg_expandarray":          {macro: "_pg_expandarray", columns: []string{"x", "n"}},
	"json_array_elements":      {macro: "_json_array_elements", typ: "json"},
	"jsonb_array_elements":     {macro: "_json_array_elements", typ: "json"},
	"json_array_elements_text": {macro: "_json_array_elements_text", typ: "text"}, "jsonb_array_elements_text": {macro: "_json_array_elements_text", typ: "text"},
	"json_object_keys": {macro: "_json_keys", typ: "text"}, "jsonb_object_keys": {macro: "_json_keys", typ: "text"},
	"regexp_split_to_table": {macro: "_regexp_split", typ: "text"}, "string_to_table": {macro: "_string_to_array", typ: "text"},
	"pg_get_keywords":     {macro: "_keywords", columns: []string{"word", "catcode", "barelabel", "catdesc", "baredesc"}},
	"aclexplode":          {macro: "_no_acl", columns: []string{"grantor", "grantee", "privilege_type", "is_grantable"}},
	"pg_options_to_table": {macro: "_no_options", columns: []string{"option_name", "option_value"}},
}

// renamedFunctions have another name in DuckDB.
var renamedFunctions = map[string]string{
	"every": "bool_and", "jsonb_array_length": "json_array_length", "jsonb_build_object": "json_object", "json_build_object": "json_object", "jsonb_build_array": "json_array", "json_build_array": "json_array",
	"to_jsonb": "to_json", "row_to_json": "to_json", "array_to_json": "to_json", "json_object_agg": "json_group_object",
	"jsonb_object_agg": "json_group_object", "array_cat": "list_concat", "array_append": "list_append", "array_prepend": "list_prepend", "array_agg": "array_agg", "clock_timestamp": "get_current_timestamp",
	"statement_timestamp": "now", "transaction_timestamp": "now", "char_length": "length", "character_length": "length", "var_pop": "var_pop", "gen_random_uuid": "gen_random_uuid",
	"pow": "power", "dpow": "power", "ceiling": "ceil", "timezone": "timezone", "regexp_split_to_array": "regexp_split_to_array", "bool_or": "bool_or", "lcase": "lower", "ucase": "upper", "json_strip_nulls": "json",
}

// resultTypes are what functions give: "arg" is the type of the first argument, and "as x" has the result cast to x.
var resultTypes = func() map[string]string {
	m := map[string]string{}
	for typ, list := range map[string]string{
		"text":        "lower upper trim replace reverse repeat translate concat concat_ws left right md5 chr regexp_replace string_agg format encode substring to_hex",
		"as int4":     "char_length character_length strpos ascii bit_length",
		"int8":        "count row_number rank dense_rank",
		"as int4 ":    "ntile json_array_length jsonb_array_length",
		"arg":         "min max abs coalesce lag lead first_value last_value nth_value any_value mode ceil ceiling floor trunc sign mod date_bin",
		"float8":      "sqrt cbrt exp ln power pow log10 sin cos tan asin acos atan atan2 degrees radians pi random corr covar_pop covar_samp regr_slope percent_rank cume_dist percentile_cont",
		"numericf":    "stddev stddev_pop stddev_samp variance var_pop var_samp",
		"bool":        "bool_and bool_or every starts_with isfinite json_exists",
		"timestamptz": "now statement_timestamp transaction_timestamp clock_timestamp",
		"date":        "make_date", "timestamp": "make_timestamp", "time": "make_time",
		"json":     "to_json to_jsonb row_to_json json_build_object jsonb_build_object json_build_array jsonb_build_array json_agg jsonb_agg json_object_agg jsonb_object_agg json_extract_path jsonb_extract_path",
		"interval": "age make_interval justify_hours justify_interval",
		"uuid":     "gen_random_uuid",
		"bytea":    "decode",
		"text[]":   "regexp_split_to_array",
	} {
		for _, f := range strings.Fields(list) {
			m[f] = strings.TrimRight(typ, " ")
		}
	}
	return m
}()
