package access

import (
	_ "embed"
	"strings"
)

// functionList holds every function of the linked DuckDB that is not refused, one a line; a function that needs an
// administrator has " admin" behind it. TestFunctionList writes it (-update) and fails when DuckDB has others: so a
// new DuckDB's functions are refused until somebody has looked at them.
//
//go:embed functions.txt
var functionList string

// functionAdmin says which functions a statement may call: false anyone, true administrators only.
var functionAdmin = readFunctions(functionList)

func readFunctions(list string) map[string]bool {
	m := map[string]bool{}
	for line := range strings.Lines(list) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != "" && name != "--" {
			m[name] = rest == "admin"
		}
	}
	return m
}

// tableFunctionAdmin is the same for table functions. Those that read files, run text as SQL, show secrets and logs,
// or change the server (checkpoint, enable_logging and the like) are open to nobody.
var tableFunctionAdmin = map[string]bool{
	"range":              false,
	"generate_series":    false,
	"unnest":             false,
	"json_each":          false,
	"json_tree":          false,
	"repeat":             false,
	"repeat_row":         false,
	"icu_calendar_names": false,
	"pg_timezone_names":  false,

	"duckdb_columns":         true,
	"duckdb_constraints":     true,
	"duckdb_databases":       true,
	"duckdb_dependencies":    true,
	"duckdb_extensions":      true,
	"duckdb_functions":       true,
	"duckdb_indexes":         true,
	"duckdb_keywords":        true,
	"duckdb_memory":          true,
	"duckdb_optimizers":      true,
	"duckdb_schemas":         true,
	"duckdb_sequences":       true,
	"duckdb_settings":        true,
	"duckdb_tables":          true,
	"duckdb_temporary_files": true,
	"duckdb_types":           true,
	"duckdb_views":           true,
	"pragma_collations":      true,
	"pragma_database_size":   true,
	"pragma_platform":        true,
	"pragma_show":            true,
	"pragma_storage_info":    true,
	"pragma_table_info":      true,
	"pragma_version":         true,
}

// positionFunction tells how far all replicas are, whatever the role reads: a role that reads every dataset may call it anywhere,
// others in one statement (isPosition), which then tells of their datasets alone.
const positionFunction = ownSchema + ".position"

// ownSchema is where Pintail keeps what is its own in the file.
const ownSchema = "_pintail"

// functionsRefused are open to nobody, each with its reason.
var functionsRefused = map[string]string{
	"nextval":                       "changes a sequence",
	"setseed":                       "changes the connection, which is shared",
	"write_log":                     "writes to the server's log",
	"sleep_ms":                      "holds a connection for nothing",
	"pg_sleep":                      "holds a connection for nothing",
	"json_serialize_sql":            "takes SQL as text",
	"json_serialize_plan":           "binds SQL from text, and so shows tables not granted",
	"json_deserialize_sql":          "makes SQL from text",
	"json_execute_serialized_sql":   "runs SQL from text",
	"combine":                       "takes the inner state of an aggregate as bytes",
	"finalize":                      "takes the inner state of an aggregate as bytes",
	"variant_bytes_to_variant":      "takes inner bytes unchecked",
	"variant_to_parquet_variant":    "inner function of the Parquet writer",
	"parse_duckdb_log_message":      "inner function of the log",
	"array_to_string_comma_default": "inner function",
	"remap_struct":                  "inner function of the file readers",
	"is_histogram_other_bin":        "inner function",
	"constant_or_null":              "inner function of the optimizer",
	"timetz_byte_comparable":        "inner function",
	"get_block_size":                "reads the list of databases",
}

// functionsAdmin read the catalog or the settings, and so show tables not granted.
var functionsAdmin = set("current_setting", "currval", "format_type", "format_pg_type", "map_to_pg_oid",
	"pg_get_constraintdef", "pg_get_expr", "pg_get_viewdef", "col_description", "obj_description", "shobj_description",
	"inet_client_addr", "inet_client_port", "inet_server_addr", "inet_server_port")
