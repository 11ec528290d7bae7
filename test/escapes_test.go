package test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// escape is a statement that would leave what its user may do. It is refused at every door, but for those named, where it does
// nothing of the kind.
type escape struct {
	sql      string
	harmless []string // doors, by the first word of their names; "*" is all of them
}

// escapes are tried by a user who reads table errors_failed and nothing else. %D is the folder of the project, %C a file in it.
func escapes() []escape {
	refused := func(statements ...string) (out []escape) {
		for _, sql := range statements {
			out = append(out, escape{sql: sql})
		}
		return out
	}
	// Of a session of PostgreSQL, and answered without DuckDB.
	session := func(statements ...string) (out []escape) {
		for _, sql := range statements {
			out = append(out, escape{sql, []string{"pgwire"}})
		}
		return out
	}
	return slices.Concat(
		// Files.
		refused("SELECT * FROM read_csv('%C')", "FROM read_csv_auto('%C')", "FROM read_text('%C')", "FROM read_blob('%C')", "FROM read_json('%C')", "FROM read_json_objects('%C')", "FROM read_ndjson('%C')", "FROM read_parquet('%C')", "FROM parquet_scan('%C')",
			"FROM parquet_metadata('%C')", "FROM parquet_schema('%C')", "FROM parquet_kv_metadata('%C')", "FROM parquet_file_metadata('%C')", "FROM sniff_csv('%C')", "FROM glob('%D/*')", "FROM glob('/**')", "FROM '%C'", `FROM "%C"`, "FROM 'canary.csv'", "FROM 'pintail.yaml'", "FROM '/etc/passwd'",
			"FROM '%D/data/link.csv'", "SELECT (SELECT content FROM read_text('%C'))", "SELECT * FROM errors_failed, read_text('%C')", "WITH x AS MATERIALIZED (FROM read_csv('%C')) FROM x", "SELECT * FROM errors_failed WHERE EXISTS (FROM read_csv('%C'))", "FROM file:%C",
			"FROM 'https://127.0.0.1:1/x.csv'", "FROM read_csv('http://127.0.0.1:1/x.csv')", "FROM 's3://bucket/x.parquet'", "DESCRIBE FROM '%C'", "SUMMARIZE '%C'", "SELECT pg_read_file('%C')", "SELECT pg_ls_dir('%D')", "SELECT lo_import('%C')", "SELECT pg_read_binary_file('%C')",
			"COPY errors_failed TO '%D/out.csv'", "COPY (SELECT 1) TO '%D/out.csv'", "COPY errors_failed FROM '%C'", "COPY errors_failed FROM PROGRAM 'cat /etc/passwd'", "COPY (SELECT 1) TO PROGRAM 'cat > %D/out.csv'", "COPY (SELECT 1) TO '/dev/stdout'", "COPY (SELECT 1) TO STDERR",
			"SELECT 1) TO '%D/out.csv' --", "SELECT 1) TO '%D/out.csv'; SELECT (1", "EXPORT DATABASE '%D/out'", "IMPORT DATABASE '%D'", "EXPLAIN ANALYZE COPY errors_failed TO '%D/out.csv'", "EXPLAIN COPY errors_failed TO '%D/out.csv'"),
		// Other databases, extensions, secrets, what the process knows.
		refused("ATTACH '%D/new.duckdb'", "ATTACH ':memory:' AS m", "ATTACH 'host=127.0.0.1' AS p (TYPE postgres)", "ATTACH OR REPLACE '%D/data/pintail.duckdb' AS again (READ_ONLY)", "DETACH pintail", "DETACH memory", "USE memory", "USE memory._pgbase", "INSTALL httpfs", "FORCE INSTALL httpfs FROM 'http://127.0.0.1:1'", "LOAD httpfs", "LOAD '%C'", "UPDATE EXTENSIONS",
			"CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')", "DROP SECRET s", "FROM duckdb_secrets()", "FROM which_secret('s3://x', 's3')", "SELECT getenv('HOME')", "SELECT current_setting('allowed_directories')", "SELECT current_setting('memory_limit')", "FROM duckdb_settings()", "FROM duckdb_databases()", "FROM pragma_database_list()", "FROM pragma_database_size()", "FROM duckdb_extensions()",
			"FROM duckdb_logs()", "FROM duckdb_memory()", "FROM duckdb_temporary_files()", "FROM duckdb_functions()", "FROM duckdb_prepared_statements()", "SELECT write_log('x')", "FROM enable_logging()", "CALL enable_logging()", "CALL enable_profiling()", "FROM test_all_types()", "SELECT pg_reload_conf()", "SELECT dblink('host=127.0.0.1', 'SELECT 1')", "SELECT * FROM dblink('host=127.0.0.1', 'SELECT 1') AS t(a int)"),
		// Settings.
		refused("SET enable_external_access = true", "SET GLOBAL memory_limit = '1MB'", "SET threads = 1", "SET SESSION threads = 1", "SET temp_directory = '%D'", "SET allowed_directories = ['/']", "SET custom_extension_repository = 'http://127.0.0.1:1'", "SET VARIABLE pintail_role = 'admin'", "SET pintail_role = 'admin'", "SET SESSION AUTHORIZATION root", "SET ROLE root", "SET ROLE admin",
			"RESET threads", "PRAGMA enable_profiling", "PRAGMA enable_profiling = 'json'", "PRAGMA profiling_output = '%D/out.json'", "PRAGMA database_list", "PRAGMA table_info('orders')", "PRAGMA show_tables", "PRAGMA version", "PRAGMA disable_checkpoint_on_shutdown", "PRAGMA import_database('%D')", "CALL pragma_version()", "CALL force_checkpoint()", "SET enable_profiling = 'query_tree'"),
		session("SELECT set_config('memory_limit', '1MB', false)", "RESET ALL", "BEGIN", "COMMIT", "PREPARE p AS SELECT 1", "DEALLOCATE ALL", "SET search_path = _pintail", "SET schema = '_pintail'"),
		// Writes.
		refused("INSERT INTO errors_failed VALUES (9, 9, 'x')", "INSERT INTO errors_failed SELECT * FROM errors_failed", "INSERT OR REPLACE INTO errors_failed VALUES (1, 1, 'x')", "INSERT INTO errors_failed VALUES (9, 9, 'x') RETURNING *", "UPDATE errors_failed SET error = 'x'", "DELETE FROM errors_failed", "DELETE FROM errors_failed USING orders", "TRUNCATE errors_failed", "TRUNCATE TABLE main.errors_failed",
			"MERGE INTO errors_failed USING errors_failed e ON e.id = errors_failed.id WHEN MATCHED THEN DELETE", "DROP TABLE errors_failed", "DROP TABLE IF EXISTS errors_failed CASCADE", "DROP VIEW errors", "DROP SCHEMA main CASCADE", "ALTER TABLE errors_failed ADD COLUMN x INT", "ALTER TABLE errors_failed RENAME TO x", "ALTER DATABASE pintail RENAME TO x",
			"CREATE TABLE x (i INT)", "CREATE TABLE x AS SELECT 1", "CREATE OR REPLACE TABLE errors_failed AS SELECT 1", "CREATE TEMP TABLE errors_failed AS SELECT 1", "CREATE TABLE memory.x AS SELECT 1", "CREATE VIEW x AS SELECT * FROM orders", "CREATE OR REPLACE VIEW errors_failed AS SELECT * FROM orders", "CREATE TEMP VIEW x AS SELECT 1", "CREATE MACRO m() AS (SELECT max(amount) FROM orders)", "CREATE TEMP MACRO m() AS TABLE FROM orders",
			"CREATE FUNCTION f(a) AS a", "CREATE SCHEMA x", "CREATE SEQUENCE x", "CREATE TYPE x AS ENUM ('a')", "CREATE INDEX x ON errors_failed (id)", "COMMENT ON TABLE errors_failed IS 'x'", "GRANT ALL ON orders TO PUBLIC", "VACUUM", "VACUUM ANALYZE errors_failed", "ANALYZE", "CHECKPOINT", "FORCE CHECKPOINT pintail", "SELECT nextval('x')", "SELECT setval('x', 1)", "SELECT * INTO x FROM errors_failed", "DO $$ BEGIN DELETE FROM errors_failed; END $$", "CALL f()", "EXECUTE IMMEDIATE 'DROP TABLE orders'", "LOCK TABLE errors_failed",
			"WITH x AS (DELETE FROM errors_failed RETURNING *) SELECT * FROM x", "WITH x AS (INSERT INTO errors_failed VALUES (9, 9, 'x') RETURNING id) SELECT * FROM x", "WITH x AS (UPDATE errors_failed SET error = 'x' RETURNING *) SELECT 1", "WITH errors_failed AS (SELECT 1) DELETE FROM errors_failed", "WITH orders AS (SELECT 1) INSERT INTO orders SELECT 1, 1", "WITH x AS (SELECT 1) UPDATE errors_failed SET error = 'x'",
			"EXPLAIN ANALYZE DELETE FROM errors_failed", "EXPLAIN (ANALYZE) INSERT INTO errors_failed VALUES (9, 9, 'x')", "EXPLAIN ANALYZE WITH x AS (SELECT 1) DELETE FROM errors_failed", "EXPLAIN EXPLAIN ANALYZE DELETE FROM errors_failed", "EXPLAIN DROP TABLE errors_failed", "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1", "EXPLAIN PRAGMA version", "EXPLAIN ATTACH ':memory:' AS m",
			"PREPARE p AS DELETE FROM errors_failed", "EXECUTE p", "EXECUTE nothing(1)", "DECLARE c CURSOR FOR DELETE FROM errors_failed", "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM orders"),
		// Several statements.
		refused("SELECT 1; DROP TABLE errors_failed", "SELECT 1; SELECT * FROM orders", ";;SELECT 1;;DELETE FROM errors_failed;", "SELECT 1 /*; */; DELETE FROM errors_failed", "SELECT ';'; DELETE FROM errors_failed", "SELECT $$;$$; DELETE FROM errors_failed", "SELECT $a$ $b$ $a$; DELETE FROM errors_failed; SELECT $b$ $b$", "SELECT E'\\'; DELETE FROM errors_failed; --'; DELETE FROM errors_failed", "SELECT 'a\\'; DELETE FROM errors_failed; --'",
			"BEGIN; DELETE FROM errors_failed; COMMIT", "PREPARE p AS SELECT * FROM orders; EXECUTE p", "PREPARE p AS DELETE FROM errors_failed; EXECUTE p", "BEGIN; DECLARE c CURSOR FOR SELECT * FROM orders; FETCH ALL FROM c", "SELECT 1\u037e DROP TABLE errors_failed", "SET standard_conforming_strings = off; SELECT 'a\\'; DELETE FROM errors_failed; --'", "SELECT 1;\x0cDROP TABLE errors_failed", "SELECT 1 -- \r\n; DROP TABLE errors_failed", "SELECT 1 -- \r; DELETE FROM errors_failed\n; DELETE FROM errors_failed"),
		// Text that is run as SQL.
		refused("FROM query('SELECT * FROM orders')", "FROM query('DROP TABLE errors_failed')", "FROM query_table('orders')", "FROM query_table(['errors_failed', 'orders'])", "FROM query_table('_pintail.runs')", "FROM json_execute_serialized_sql(json_serialize_sql('SELECT * FROM orders'))", "SELECT json_serialize_sql('SELECT 1')", "SELECT json_serialize_plan('SELECT * FROM orders')", "SELECT query_to_xml('SELECT * FROM orders', true, true, '')", "PRAGMA json_execute_serialized_sql('{}')", "SELECT * FROM pragma_table_info('orders')", "FROM pragma_storage_info('orders')", "FROM pragma_show('orders')"),
		// Tables that are not granted, and their catalog.
		refused("FROM orders", "TABLE orders", "SELECT * FROM main.orders", "SELECT * FROM pintail.main.orders", "SELECT * FROM pintail.orders", `SELECT * FROM "orders"`, `SELECT * FROM "OrDeRs"`, `SELECT * FROM ORDERS`, "SELECT * FROM public.orders", "SELECT * FROM 'orders'", "SELECT orders FROM orders", "SELECT COLUMNS(*) FROM orders", "DESCRIBE orders", "SUMMARIZE orders", "SHOW orders", "DESC orders", "SHOW ALL TABLES", "SHOW TABLES FROM pintail", "EXPLAIN SELECT * FROM orders", "EXPLAIN ANALYZE SELECT * FROM orders", "EXPLAIN (FORMAT json) FROM orders",
			"SELECT (SELECT max(amount) FROM orders)", "SELECT EXISTS (FROM orders)", "SELECT 1 WHERE 1 IN (SELECT id FROM orders)", "SELECT * FROM errors_failed JOIN orders USING (id)", "SELECT * FROM errors_failed e, LATERAL (SELECT * FROM orders o WHERE o.id = e.id)", "SELECT * FROM errors_failed POSITIONAL JOIN orders", "SELECT * FROM errors_failed SEMI JOIN orders USING (id)", "SELECT * FROM errors_failed e ASOF JOIN orders o ON e.id >= o.id", "SELECT * FROM errors_failed ORDER BY (SELECT max(id) FROM orders)", "SELECT * FROM errors_failed LIMIT (SELECT count(*) FROM orders)", "SELECT * FROM errors_failed OFFSET (SELECT count(*) FROM orders)",
			"SELECT id FROM errors_failed GROUP BY id HAVING id < (SELECT max(id) FROM orders)", "SELECT id FROM errors_failed QUALIFY row_number() OVER (ORDER BY (SELECT max(id) FROM orders)) = 1", "SELECT count(*) FILTER (WHERE EXISTS (FROM orders)) FROM errors_failed", "SELECT sum(id) OVER (ORDER BY id ROWS (SELECT 1 FROM orders LIMIT 1) PRECEDING) FROM errors_failed", "SELECT CASE WHEN true THEN (SELECT max(id) FROM orders) END", "SELECT list_transform([1], lambda x: (SELECT max(id) FROM orders))", "SELECT [(SELECT max(id) FROM orders)]", "SELECT {'a': (SELECT max(id) FROM orders)}", "SELECT * REPLACE ((SELECT max(id) FROM orders) AS id) FROM errors_failed", "VALUES ((SELECT max(id) FROM orders))",
			"SELECT id FROM errors_failed UNION SELECT id FROM orders", "SELECT id FROM errors_failed EXCEPT ALL SELECT id FROM orders", "SELECT id FROM errors_failed INTERSECT FROM orders", "PIVOT orders ON id IN (1, 2) USING count(*)", "UNPIVOT orders ON amount", "SELECT * FROM (PIVOT orders ON id USING count(*))", "SELECT * FROM errors_failed TABLESAMPLE (SELECT 1 FROM orders)", "SELECT unnest((SELECT list(id) FROM orders))", "SELECT * FROM unnest((SELECT list(id) FROM orders))", "SELECT * FROM range((SELECT max(id) FROM orders))", "SELECT * FROM generate_series(1, (SELECT max(id) FROM orders))",
			"WITH x AS (SELECT * FROM orders) SELECT * FROM x", "WITH orders AS (SELECT * FROM orders) SELECT * FROM orders", "WITH x AS (SELECT * FROM orders), orders AS (SELECT 1) SELECT * FROM x", "WITH orders AS (SELECT 1) SELECT * FROM main.orders", "WITH RECURSIVE orders AS (SELECT id FROM orders UNION ALL SELECT id + 1 FROM orders WHERE id < 3) SELECT * FROM orders", "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x, orders WHERE n < 3) SELECT * FROM x", "SELECT * FROM (WITH orders AS (SELECT 1) SELECT * FROM orders) a, orders", "WITH x AS (WITH orders AS (SELECT 1) FROM orders) SELECT * FROM x, orders", "WITH ORDERS AS (SELECT 1) SELECT * FROM pintail.orders", "WITH \"órders\" AS (SELECT 1) SELECT * FROM \"Órders\", orders",
			"SELECT * FROM errors_partners", "SELECT * FROM errors", "SELECT * FROM events.clicks", "SELECT * FROM pintail.events.clicks", "FROM _pintail.runs", "FROM _pintail.tables", "FROM _pintail.meta", "FROM _pintail_feed(1)", "FROM main._pintail_feed(1)", "FROM memory._pgbase.relations", "FROM memory._pgbase.grants", "FROM memory.main.x", "FROM memory._pg._pgbase", "FROM system.main.duckdb_tables", "FROM duckdb_tables()", "FROM duckdb_views()", "FROM duckdb_columns()", "FROM duckdb_constraints()", "FROM sqlite_master", "FROM sqlite_schema", "FROM temp.sqlite_master", "FROM pragma_collations()",
			"SELECT * FROM orders_at(now())", "FROM errors_failed_at(now())", "SELECT * FROM errors_failed, _pintail.position()",
			// Names that look alike, and ways to write one.
			"FROM ord\u200bers", "FROM \uff4frders", "FROM \"orders\u0000\"", `FROM U&"\006frders"`, `FROM U&"!006frders" UESCAPE '!'`, "FROM\u00a0orders", "FROM/**/orders", "FROM--\norders", "FROM/*/**/*/orders", "SELECT * FROM errors_failed /* /* */ , orders /* */ */ , orders", "SELECT $a$ ' $a$ FROM orders --'", "SELECT $$ $$ FROM orders", "SELECT E'\\' FROM errors_failed --' FROM orders", "SELECT 'x\\' FROM orders --'", "SELECT '\\047 FROM errors_failed --' FROM orders", "SELECT \"id\" \"from\" FROM \"main\" . \"orders\"", "SELECT * FROM only orders", "SELECT * FROM ONLY (orders)", "SELECT * FROM orders *", "SELECT 'orders'::regclass::oid, * FROM orders", "SELECT U&'\\0027' FROM orders", "SELECT B'1' FROM orders", "SELECT N'x' FROM orders", "SELECT 'a' -- \r FROM errors_failed\n FROM orders"),
		// Text that is none.
		session("\x00", "FROM errors_failed\x00"), // a message's text ends there
		refused("SELECT '\xff\xfe'", "SELECT '\xc0\xaf'", "SELECT '\xed\xa0\x80'", "SELECT 'a\x00b'", "SELECT 1\x00; DROP TABLE errors_failed", "\xef\xbb\xbfDROP TABLE errors_failed", ""),
		[]escape{
			{"SELECT getvariable('pintail_role')", []string{"*"}}, // one's own
			{"FROM _pintail.position()", []string{"*"}},           // of the datasets that are granted
			// Comments nest in PostgreSQL, and there this reads nothing.
			{"SELECT 1 /* /* */ FROM orders -- */ */", []string{"*"}},
			{"COPY errors_failed TO STDOUT", []string{"pgwire"}},
			{"SHOW TABLES", []string{"pgwire"}},
			{"SELECT pg_terminate_backend(1)", []string{"pgwire"}}, // which is nobody's
			{"SELECT pg_sleep(0)", []string{"pgwire"}},
			{"SELECT set_config('application_name', 'x', false)", []string{"pgwire"}},
			{"SELECT current_setting('server_version')", []string{"pgwire"}},
		},
	)
}

// Statements that would leave what a reader may do, at every door: each is refused, in words, by a server that goes on, and
// nothing is changed: no file, no row, no word on the server's standard output.
func TestEscapes(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		p, d := doors(t, url)
		const secret = "the-canary-sings"
		canary := filepath.Join(p.Dir, "canary.csv")
		require.NoError(t, os.WriteFile(canary, []byte("a\n"+secret+"\n"), 0o600))
		require.NoError(t, os.Symlink(canary, filepath.Join(p.Dir, "data", "link.csv")))
		all := escapes()
		require.Greater(t, len(all), 80)
		var files []string
		for i, e := range all {
			all[i].sql = strings.NewReplacer("%C", canary, "%D", p.Dir).Replace(e.sql)
			files = append(files, all[i].sql)
		}
		d.Publish(t, files...)
		const settings = "SELECT string_agg(name || '=' || value, ',' ORDER BY name) FROM duckdb_settings() WHERE name NOT LIKE '%cpu%' AND name NOT LIKE '%time%'"
		const objects = "SELECT string_agg(database_name || '.' || schema_name || '.' || table_name, ',' ORDER BY schema_name, table_name) FROM duckdb_tables() WHERE database_name = 'pintail'"
		before := entries(t, p.Dir)
		set, have := d.One(settings), d.One(objects)
		size := fileSize(t, p.DB)

		token := tokenOf("table")
		for _, door := range d.Read() {
			kind, _, _ := strings.Cut(door.Name, " ")
			t.Run(door.Name, func(t *testing.T) {
				for _, e := range all {
					if strings.HasPrefix(door.Name, "flight sql") && !utf8.ValidString(e.sql) {
						continue // clients cannot write such a message
					}
					if door.Name == "endpoint" && strings.TrimSpace(e.sql) == "" || door.Name == "command" && strings.TrimSpace(e.sql) == "" {
						continue
					}
					got := door.Ask(t, token, e.sql)
					allowed := slices.Contains(e.harmless, "*") || slices.Contains(e.harmless, kind)
					switch {
					case got.OK() && !allowed && strings.TrimSpace(e.sql) != "":
						t.Errorf("%q: %s", e.sql, got)
					case !got.OK() && !slices.Contains([]string{"forbidden", "invalid_sql", "usage", "failed", "limit_exceeded"}, got.Code):
						t.Errorf("%q: %s", e.sql, got)
					case strings.Contains(string(got.Raw)+fmt.Sprint(got.Rows)+got.Message, secret):
						t.Errorf("%q gives the file away: %s", e.sql, got)
					case got.OK() && len(got.Rows) > 3:
						t.Errorf("%q gives %d rows", e.sql, len(got.Rows))
					}
				}
			})
		}

		require.False(t, d.Ended())
		require.Equal(t, before, entries(t, p.Dir), "no file came or went")
		require.Equal(t, set, d.One(settings))
		require.Equal(t, have, d.One(objects))
		require.Equal(t, size, fileSize(t, p.DB))
		require.Empty(t, d.Stdout())
		require.NotContains(t, d.Stderr(), secret)
		require.NotContains(t, d.Stderr(), "panic")
		require.Empty(t, queries(d.By(t, tokenOf("root"))))
		harness.Compare(t, url, "SELECT * FROM orders", d, "orders", "id")
		harness.Compare(t, url, "SELECT id, partner_id, error FROM messages", d, "errors_failed", "id")
		harness.Compare(t, url, "SELECT id, name FROM partners", d, "errors_partners", "id")
		r := d.Stop()
		require.Empty(t, r.Stdout)
		require.Equal(t, have, harness.File(p.DB).One(t, objects))
	})
}

// A role that may write tables of its own reads nothing by it that is not granted, writes nothing of a dataset's or of ours, and reaches no file.
func TestEscapesOfAWriter(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		p, d := doors(t, url)
		canary := filepath.Join(p.Dir, "canary.csv")
		require.NoError(t, os.WriteFile(canary, []byte("42\n"), 0o600))
		before := entries(t, p.Dir)
		for _, sql := range []string{
			"INSERT INTO events.clicks SELECT id FROM orders", "INSERT INTO events.clicks (SELECT id FROM main.orders)", "INSERT INTO events.clicks VALUES ((SELECT max(id) FROM orders))", "WITH x AS (SELECT id FROM orders) INSERT INTO events.clicks SELECT id FROM x", "INSERT INTO events.clicks WITH x AS (SELECT id FROM orders) SELECT id FROM x",
			"INSERT INTO events.clicks TABLE orders", "INSERT INTO events.clicks FROM orders SELECT id", "INSERT INTO events.clicks VALUES (7) RETURNING (SELECT max(id) FROM orders)", "INSERT INTO events.clicks VALUES (7) ON CONFLICT DO UPDATE SET id = (SELECT max(id) FROM orders)", "INSERT INTO events.clicks SELECT id FROM events.clicks", "INSERT INTO events.clicks SELECT 7 WHERE EXISTS (SELECT 1 FROM orders)",
			"INSERT INTO events.clicks FROM read_csv('%C')", "INSERT INTO events.clicks SELECT * FROM '%C'", "INSERT INTO events.clicks SELECT length(getenv('HOME'))", "INSERT INTO events.clicks SELECT * FROM query('SELECT 7')", "INSERT INTO events.clicks SELECT nextval('x')",
			"COPY events.clicks FROM '%C'", "COPY events.clicks FROM PROGRAM 'cat %C'", "COPY events.clicks TO '%D/out.csv'", "COPY orders FROM STDIN", "COPY _pintail.runs FROM STDIN", "COPY (SELECT id FROM orders) TO STDOUT", "COPY events.clicks TO STDOUT",
			"INSERT INTO orders VALUES (7, 7)", "INSERT INTO main.orders VALUES (7, 7)", "INSERT INTO pintail.main.orders VALUES (7, 7)", `INSERT INTO "ORDERS" VALUES (7, 7)`, "INSERT INTO errors_failed VALUES (7, 7, 'x')", "INSERT INTO _pintail.meta VALUES ('a', 'b')", "INSERT INTO memory._pgbase.grants VALUES ('loader', 1)", "INSERT INTO other.x VALUES (7)",
			"TRUNCATE orders", "TRUNCATE events.clicks, orders", "TRUNCATE _pintail.runs", "DROP TABLE orders", "DROP TABLE events.clicks, orders", "DROP TABLE _pintail.meta", "DROP TABLE IF EXISTS main.errors_failed", "DROP TABLE memory._pgbase.grants", "DROP SCHEMA events", "DROP SCHEMA events CASCADE", "DROP VIEW errors",
			"CREATE TABLE orders (id bigint)", "CREATE TABLE main.errors (id bigint)", "CREATE TABLE _pintail.x (id bigint)", "CREATE TABLE memory._pgbase.x (id bigint)", "CREATE TABLE information_schema.x (id bigint)", "CREATE TABLE pg_catalog.x (id bigint)", "CREATE TABLE other.x (id bigint)", "CREATE TABLE orders.x.y (id bigint)", "CREATE OR REPLACE TABLE main.orders (id bigint)",
			"CREATE TABLE events.x AS SELECT * FROM orders", "CREATE TABLE events.x (id bigint DEFAULT (SELECT max(id) FROM orders))", "CREATE TABLE events.x (id bigint CHECK (id > 0))", "CREATE TABLE events.x (id bigint GENERATED ALWAYS AS (1))", "CREATE TABLE events.x (LIKE orders)", "CREATE TABLE events.x (id bigint REFERENCES orders)", "CREATE TABLE events.x (id ENUM('a') USING COMPRESSION x)",
			"CREATE TABLE events.x (id bigint); DROP TABLE orders", "CREATE TABLE events.x (id bigint) AS SELECT 1", "CREATE VIEW events.x AS SELECT * FROM orders", "ALTER TABLE events.clicks ADD COLUMN x int", "UPDATE events.clicks SET id = 7", "DELETE FROM events.clicks", "MERGE INTO events.clicks USING orders ON true WHEN MATCHED THEN DELETE", "CREATE SCHEMA events2",
		} {
			sql = strings.NewReplacer("%C", canary, "%D", p.Dir).Replace(sql)
			for name, got := range map[string]harness.Answer{
				"pgwire simple":   d.Simple(t, tokenOf("loader"), sql),
				"pgwire extended": d.Extended(t, tokenOf("loader"), sql),
				"flight action":   d.Action(t, tokenOf("loader"), sql),
				"flight update":   harness.FlightAnswer(errOf(d.FlightClient(t, tokenOf("loader")).ExecuteUpdate(t.Context(), sql))),
				"http":            d.HTTP(t, tokenOf("loader"), sql),
			} {
				if !slices.Contains([]string{"forbidden", "invalid_sql", "usage"}, got.Code) {
					t.Errorf("%s: %s: %s", name, sql, got)
				}
			}
			// One statement at a time may have made its table before another was refused.
			d.Action(t, tokenOf("root"), "DROP TABLE IF EXISTS events.x")
		}
		require.Equal(t, "3", d.One("SELECT count(*) FROM events.clicks"))
		require.Equal(t, before, entries(t, p.Dir))
		require.Empty(t, d.Stdout())
		harness.Compare(t, url, "SELECT * FROM orders", d, "orders", "id")
		harness.Compare(t, url, "SELECT id, partner_id, error FROM messages", d, "errors_failed", "id")
	})
}

func fileSize(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}

// Statements nested without end, or as long as a statement may be, end neither the process nor the patience of others.
func TestDeepStatements(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		_, d := doors(t, url)
		many := func(s string, n int) string { return strings.Repeat(s, n) }
		const long = 1 << 20
		cases := map[string]string{
			"parentheses":       "SELECT " + many("(", 400_000) + "1" + many(")", 400_000),
			"few parentheses":   "SELECT " + many("(", 900) + "1" + many(")", 900),
			"not":               "SELECT " + many("NOT ", 200_000) + "true",
			"minus":             "SELECT " + many("- ", 400_000) + "1",
			"plus":              "SELECT 1" + many("+1", 400_000),
			"and":               "SELECT true" + many(" AND true", 12_000),
			"or":                "SELECT true" + many(" OR false", 9_000),
			"concat":            "SELECT 'a'" + many("||'a'", 180_000),
			"case":              "SELECT " + many("CASE WHEN true THEN ", 25_000) + "1" + many(" END", 25_000),
			"calls":             "SELECT " + many("abs(", 150_000) + "1" + many(")", 150_000),
			"casts":             "SELECT 1" + many("::int", 180_000),
			"subscripts":        "SELECT [1]" + many("[1]", 300_000),
			"fields":            "SELECT a" + many(".a", 100_000) + " FROM errors_failed",
			"lists":             "SELECT " + many("[", 400_000) + "1" + many("]", 400_000),
			"structs":           "SELECT " + many("{'a':", 150_000) + "1" + many("}", 150_000),
			"arrays":            "SELECT " + many("ARRAY[", 120_000) + "1" + many("]", 120_000),
			"unions":            "SELECT 1" + many(" UNION ALL SELECT 1", 8_000),
			"excepts":           "SELECT 1" + many(" EXCEPT (SELECT 1", 40_000) + many(")", 40_000),
			"subqueries":        "SELECT * FROM " + many("(SELECT * FROM ", 50_000) + "errors_failed" + many(") a", 50_000),
			"scalar subqueries": many("SELECT (", 90_000) + "SELECT 1" + many(")", 90_000),
			"with":              many("WITH a AS (", 60_000) + "SELECT 1" + many(") SELECT 1", 35_000),
			"tables":            "SELECT 1 FROM errors_failed" + many(",errors_failed", 60_000),
			"joins":             "SELECT 1 FROM errors_failed" + many(" NATURAL JOIN errors_failed", 30_000),
			"nested joins":      "SELECT 1 FROM " + many("(errors_failed CROSS JOIN ", 35_000) + "errors_failed" + many(")", 35_000),
			"explains":          many("EXPLAIN ", 120_000) + "SELECT 1",
			"comments":          many("/*", 300_000) + many("*/", 200_000) + "SELECT 1",
			"semicolons":        "SELECT 1" + many(";", 900_000),
			"statements":        many("SELECT 1;", 1000),
			"collate":           "SELECT 'a'" + many(" COLLATE nocase", 60_000),
			"in":                "SELECT 1 " + many("IN (SELECT 1 ", 60_000) + many(")", 60_000),
			"between":           "SELECT 1" + many(" BETWEEN 1 AND 1", 60_000),
			"lambdas":           "SELECT " + many("list_transform([1], lambda x: ", 30_000) + "1" + many(")", 30_000),
			"windows":           "SELECT " + many("sum(", 60_000) + "1" + many(") OVER ()", 60_000),
			"type":              "SELECT NULL::INT" + many("[]", 100_000),
			"struct type":       "SELECT NULL::" + many("STRUCT(a ", 90_000) + "INT" + many(")", 90_000),
			"a long text":       "SELECT '" + many("x", 2*long) + "'",
			"a long name":       "SELECT * FROM " + many("x", long-20),
			"long":              "SELECT 1 --" + many(" ", long),
			"blanks":            many(" ", 5*long) + "SELECT 1",
			"values":            "SELECT 1 WHERE 1 IN (1" + many(",1", 20_000) + ")",
			"dollars":           "SELECT $" + many("a", 500_000) + "$x$" + many("a", 500_000) + "$",
			"quotes":            "SELECT '" + many("''", 500_000),
			"a parameter":       "SELECT $" + many("9", 500_000),
			"parameters":        "SELECT $65536, $0, $1::int",
		}
		var doubled strings.Builder
		doubled.WriteString("WITH c0 AS (SELECT id FROM errors_failed)")
		for i := range 40 {
			fmt.Fprintf(&doubled, ", c%d AS NOT MATERIALIZED (SELECT a.id FROM c%d a, c%d b)", i+1, i, i)
		}
		cases["doubled withs"] = doubled.String() + " SELECT count(*) FROM c40"
		token := tokenOf("table")
		slow := 0 * time.Second
		for name, sql := range cases {
			for _, door := range []harness.Door{{Name: "http", Ask: d.HTTP}, {Name: "pgwire simple", Ask: d.Simple}, {Name: "pgwire extended", Ask: d.Extended}, {Name: "flight sql prepared", Ask: d.Prepared}} {
				begun := time.Now()
				got := door.Ask(t, token, sql)
				if d.Ended() {
					r, _ := d.Wait(time.Second)
					t.Fatalf("%s ended the server at %s: %s", name, door.Name, harness.Tail(r.Stderr, 30))
				}
				if got.Code == "internal" || got.Code == "broken" {
					t.Errorf("%s, %s: %.300s", door.Name, name, got)
				}
				if took := time.Since(begun); took > time.Second {
					t.Logf("%s, %s: %s (%.100s)", door.Name, name, took.Round(time.Millisecond), got)
					slow = max(slow, took)
				}
			}
			require.Equal(t, "3", d.One("SELECT count(*) FROM errors_failed"), name)
		}
		require.Less(t, slow, 45*time.Second)
		require.Empty(t, d.Stdout())
	})
}

// What cannot be said by a driver: bytes of the protocols themselves.
func TestStatementsOfRawBytes(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		_, d := doors(t, url)
		token := tokenOf("table")
		// A NUL within the text of a message of PostgreSQL's protocol.
		for _, sql := range []string{"SELECT 1\x00; DROP TABLE errors_failed", "\x00SELECT 1", "SELECT 1\x00\x00"} {
			c := d.PG(t, token).PgConn()
			body := append([]byte(sql), 0)
			_, err := c.Conn().Write(append([]byte{'Q', 0, 0, byte((len(body) + 4) >> 8), byte(len(body) + 4)}, body...))
			require.NoError(t, err)
			m, err := pgproto3.NewFrontend(c.Conn(), c.Conn()).Receive()
			require.NoError(t, err)
			e, ok := m.(*pgproto3.ErrorResponse)
			require.True(t, ok, "%q: %T", sql, m)
			require.Equal(t, "08P01", e.Code, "%q", sql)
		}
		// JSON that is cut off, doubled, of another type.
		for _, body := range []string{`{"sql": "SELECT 1"`, `{"sql": "SELECT 1"} {"sql": "DROP TABLE orders"}`, `{"sql": ["SELECT 1"]}`, `{"sql": null}`, `{"sql": "SELECT 1", "sql": 7}`, `["SELECT 1"]`, `"SELECT 1"`, "", "\xff", `{"sql": "SELECT 1", "params": {"a": 1}, "extra": 1}`} {
			req, err := http.NewRequest(http.MethodPost, d.Base+"/v0/sql", strings.NewReader(body))
			require.NoError(t, err)
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+token)
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			res.Body.Close()
			require.Equal(t, http.StatusBadRequest, res.StatusCode, "%q", body)
		}
		require.Equal(t, "3", d.One("SELECT count(*) FROM errors_failed"))
	})
}
