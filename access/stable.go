package access

import (
	"slices"
	"strings"
)

// volatileFunctions give another value when they are called again, or for another connection. TestVolatileFunctions holds the list
// against what DuckDB says of its functions.
var volatileFunctions = set("age", "ago", "clock_timestamp", "current_catalog", "current_connection_id", "current_database", "current_date", "current_localtime", "current_localtimestamp", "current_query",
	"current_query_id", "current_role", "current_schema", "current_schemas", "current_setting", "current_time", "current_timestamp", "current_transaction_id",
	"current_user", "currval", "error", "gen_random_uuid", "get_current_time", "get_current_timestamp", "getvariable", "in_search_path", "inet_client_addr",
	"inet_client_port", "inet_server_addr", "inet_server_port", "localtime", "localtimestamp", "nextval", "now", "pg_backend_pid", "pg_conf_load_time",
	"pg_postmaster_start_time", "pg_sleep", "random", "sample", "session_user", "setseed", "sleep_ms", "statement_timestamp", "stats", "tablesample", "today",
	"transaction_timestamp", "txid_current", "user", "uuid", "uuidv4", "uuidv7", "write_log")

// pureTableFunctions depend on their arguments alone.
var pureTableFunctions = set("range", "generate_series", "unnest", "json_each", "json_tree", "repeat", "repeat_row")

// volatileWords are those that DuckDB takes for a call without parentheses, and what draws lots.
var volatileWords = set("current_catalog", "current_date", "current_role", "current_schema", "current_time", "current_timestamp", "current_user", "localtime", "localtimestamp",
	"sample", "session_user", "tablesample", "user")

// Volatile says whether the SQL may give other rows when nothing has changed: it holds the name of a function of the time, of chance
// or of the connection, anywhere. That is more than it needs to be: a column called user is enough.
func Volatile(sql string) bool {
	isWord := func(c byte) bool { return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 0x80 }
	sql = fold(sql)
	for i := 0; i < len(sql); {
		end := i
		for end < len(sql) && isWord(sql[end]) {
			end++
		}
		if end == i {
			i++
			continue
		}
		word := sql[i:end]
		// A name may be quoted, and a comment may stand before the parenthesis.
		rest := skipSpace(strings.TrimPrefix(sql[end:], `"`))
		if volatileWords[word] || volatileFunctions[word] && strings.HasPrefix(rest, "(") {
			return true
		}
		i = end
	}
	return false
}

// Stable says whether the statement gives the same rows again as long as its Targets are the same, but for their order where it does not
// say one. Views among them may be volatile all the same.
func (s Statement) Stable() bool {
	if s.position || s.Explain || Volatile(s.SQL) || len(s.parsed.Listings) > 0 || slices.ContainsFunc(s.Views, func(v View) bool { return Volatile(v.SQL) }) {
		return false
	}
	named := 0
	for _, targets := range s.Targets {
		named += len(targets)
	}
	// What belongs to no dataset is not among the targets.
	return named >= distinct(s.Tables) && !slices.ContainsFunc(s.parsed.TableFunctions, func(f string) bool { return !pureTableFunctions[f] })
}

// distinct counts the tables as Targets does: one may be written in several ways.
func distinct(tables []Object) int {
	seen := map[string]bool{}
	for _, o := range tables {
		schema := fold(o.Schema)
		if schema == "main" {
			schema = ""
		}
		seen[schema+"."+fold(o.Name)] = true
	}
	return len(seen)
}
