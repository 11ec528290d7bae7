package access

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

// The database of the gate's tests: reader may read dataset m (m_data and its halves) and shop.orders, not secrets.
var gateSetup = []string{
	`CREATE TABLE m_dataset(id INTEGER, a INTEGER, b INTEGER, name VARCHAR, ts TIMESTAMPTZ, j JSON, l INTEGER[], st STRUCT(x INTEGER))`,
	`CREATE TABLE m_results(id INTEGER, v DOUBLE)`,
	`CREATE VIEW m_data AS SELECT * FROM m_dataset LEFT JOIN m_results USING (id)`,
	`CREATE SCHEMA shop`, `CREATE TABLE shop.orders(id INTEGER, amount DECIMAL(12,2))`,
	`CREATE TABLE shop.salaries(id INTEGER, amount DECIMAL(12,2))`,
	`CREATE TABLE secrets(id INTEGER, password VARCHAR)`,
	`CREATE TABLE errors_partners(id INTEGER)`,
	`CREATE SCHEMA _pintail`, `CREATE TABLE _pintail.runs(id INTEGER)`,
	`CREATE SEQUENCE seq`, `CREATE TYPE mood AS ENUM ('a', 'b')`,
	`CREATE MACRO peek() AS (SELECT max(password) FROM secrets)`,
	`CREATE MACRO peek_all() AS TABLE SELECT * FROM secrets`,
	`CREATE TABLE stray(id INTEGER)`,
}

func gateTables() Tables {
	t := Tables{}
	for _, n := range []string{"m_dataset", "m_results", "m_data"} {
		t.Add("main", n, "m")
	}
	t.Add("shop", "orders", "shop")
	t.Add("shop", "salaries", "shop")
	t.Add("main", "secrets", "secrets")
	t.Add("main", "errors_partners", "errors")
	return t
}

func gateAccess(t testing.TB) *Access {
	t.Helper()
	a, err := New(Config{
		Users: []User{{Name: "u", Token: "0123456789abcdef", Role: "reader"}},
		Roles: []Role{
			{Name: "reader", Read: []string{"m.*", "shop.orders", "errors.partners"}},
			{Name: "all", Read: []string{"*"}},
			{Name: "none"},
		},
		Catalog: "memory", Resolver: gateTables(), Functions: []string{"Pintail_Position"},
	}, nil, nil)
	require.NoError(t, err)
	return a
}

var reader = Principal{User: "u", Role: "reader"}

// Each of these is refused to a reader.
var hostile = []string{
	// Statements that are no SELECT.
	`COPY m_data TO '/tmp/x.csv'`, `COPY (SELECT 1) TO STDOUT`, `COPY m_dataset FROM '/etc/passwd'`, `copy m_data to 'x.parquet' (format parquet)`,
	`ATTACH '/tmp/other.db'`, `ATTACH ':memory:' AS x`, `DETACH memory`, `USE shop`, `INSTALL httpfs`, `LOAD httpfs`, `FORCE INSTALL httpfs`,
	`SET memory_limit = '1GB'`, `SET GLOBAL threads = 1`, `RESET threads`, `SET VARIABLE x = 1`, `SET SESSION search_path = 'shop'`,
	`PRAGMA enable_profiling`, `PRAGMA table_info('m_data')`, `PRAGMA database_list`, `PRAGMA show_tables`, `pragma version`,
	`CALL pragma_version()`, `CALL duckdb_settings()`, `CALL force_checkpoint()`, `CALL range(3)`,
	`CREATE TABLE x AS SELECT 1`, `CREATE TEMP TABLE x(a INT)`, `CREATE VIEW x AS SELECT 1`, `CREATE OR REPLACE MACRO sum(x) AS 1`,
	`CREATE SECRET s (TYPE s3)`, `CREATE SCHEMA y`, `CREATE TYPE z AS ENUM ('q')`, `CREATE SEQUENCE q`, `CREATE INDEX i ON m_dataset(id)`,
	`INSERT INTO m_dataset(id) VALUES (1)`, `INSERT INTO m_dataset(id) VALUES (1) RETURNING id`, `UPDATE m_dataset SET id = 1`,
	`DELETE FROM m_dataset`, `TRUNCATE m_dataset`, `MERGE INTO m_results USING m_dataset ON true WHEN MATCHED THEN DELETE`,
	`DROP TABLE m_dataset`, `ALTER TABLE m_dataset ADD COLUMN z INT`, `COMMENT ON TABLE m_dataset IS 'x'`,
	`BEGIN`, `COMMIT`, `ROLLBACK`, `BEGIN TRANSACTION`, `CHECKPOINT`, `FORCE CHECKPOINT`, `VACUUM`, `ANALYZE`,
	`EXPORT DATABASE '/tmp/x'`, `IMPORT DATABASE '/tmp/x'`, `PREPARE p AS SELECT 1`, `EXECUTE p`, `DEALLOCATE p`,
	`EXPLAIN INSERT INTO m_dataset(id) VALUES (1)`, `EXPLAIN ANALYZE INSERT INTO m_dataset(id) VALUES (1)`,
	`EXPLAIN ANALYZE DELETE FROM m_dataset`, `EXPLAIN (ANALYZE) DELETE FROM m_dataset`, `EXPLAIN CREATE TABLE x AS SELECT 1`,
	`EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1`, `EXPLAIN COPY m_data TO '/tmp/x'`, `explain analyze copy m_data to '/tmp/x'`,
	`EXPLAIN SELECT * FROM secrets`, `EXPLAIN ANALYZE SELECT * FROM secrets`, `EXPLAIN (FORMAT json) SELECT * FROM secrets`,
	"/* x */ EXPLAIN -- y\n ANALYZE SELECT * FROM secrets", `EXPLAIN EXPLAIN SELECT 1`, `EXPLAIN (ANALYZE, FORMAT json) DELETE FROM m_dataset`,

	// More than one, or hidden behind another.
	`SELECT 1; SELECT 2`, `SELECT 1; DROP TABLE m_dataset`, `SELECT 1;; DELETE FROM m_dataset`, "SELECT 1 --\n; DROP TABLE m_dataset",
	`SELECT 1 /* ; */ ; SET threads = 1`, `EXPLAIN SELECT 1; DROP TABLE m_dataset`, `SELECT ';'; SELECT 1`, `; DROP TABLE m_dataset`,
	"SELECT 1\x00; DROP TABLE m_dataset", "SELECT '\xff'", ``, `;`, `-- nothing`, `/* SELECT 1 */`, "/* /* */ SELECT 1 */",
	`WITH x AS (INSERT INTO m_dataset(id) VALUES (1) RETURNING id) SELECT * FROM x`, `WITH x AS (DELETE FROM m_dataset RETURNING *) FROM x`,
	"\u00a0EXPLAIN ANALYZE DELETE FROM m_dataset", "SELECT 1;\u00a0DROP TABLE m_dataset",

	// Files, as table functions and as tables.
	`SELECT * FROM read_csv('/etc/passwd')`, `FROM read_csv_auto('/etc/passwd')`, `SELECT * FROM read_text('/etc/passwd')`, `FROM read_blob('*')`,
	`FROM read_parquet('x.parquet')`, `FROM parquet_scan('x.parquet')`, `FROM read_json('x.json')`, `FROM read_ndjson_objects('x')`, `FROM read_duckdb('x.db')`,
	`FROM glob('/*')`, `FROM sniff_csv('/etc/passwd')`, `FROM parquet_metadata('x.parquet')`, `FROM parquet_schema('x')`, `FROM parquet_kv_metadata('x')`,
	`FROM '/etc/passwd'`, `SELECT * FROM '/etc/passwd.csv'`, `SELECT * FROM "/etc/passwd"`, `FROM 'data/*.parquet'`, `FROM 'x.json' AS m_data`,
	`SELECT * FROM 's3://bucket/x.parquet'`, `SELECT * FROM "https://example.com/x.csv"`, `FROM data.csv`, `FROM memory.data.parquet`, `FROM main."x.csv"`,
	`DESCRIBE '/etc/passwd'`, `SUMMARIZE '/etc/passwd.csv'`, `DESCRIBE SELECT * FROM 'x.csv'`, `SUMMARIZE FROM read_csv('/etc/passwd')`,
	`SELECT (SELECT count(*) FROM read_text('/etc/passwd'))`, `SELECT * FROM m_data WHERE EXISTS (FROM read_text('/etc/passwd'))`,
	`SELECT * FROM m_data WHERE name IN (SELECT content FROM read_text('/etc/passwd'))`, `WITH x AS (FROM read_text('/etc/passwd')) FROM x`,
	`WITH x AS MATERIALIZED (WITH y AS (FROM 'a.csv') FROM y) FROM x`, `SELECT * FROM m_data, LATERAL (SELECT * FROM read_text('/etc/passwd'))`,
	`SELECT * FROM m_data ORDER BY (SELECT count(*) FROM read_text('x'))`, `SELECT * FROM m_data LIMIT (SELECT count(*) FROM read_text('x'))`,
	`SELECT 1 OFFSET (SELECT count(*) FROM secrets)`, `SELECT sum(a) FILTER (WHERE EXISTS (FROM secrets)) FROM m_data`,
	`SELECT sum(a) OVER (PARTITION BY (SELECT max(id) FROM secrets)) FROM m_data`, `SELECT sum(a) OVER w FROM m_data WINDOW w AS (ORDER BY (SELECT max(id) FROM secrets))`,
	`SELECT sum(a) OVER (ROWS BETWEEN (SELECT max(id) FROM secrets) PRECEDING AND CURRENT ROW) FROM m_data`, `SELECT list(a ORDER BY (SELECT max(id) FROM secrets)) FROM m_data`,
	`SELECT a FROM m_data GROUP BY (SELECT max(id) FROM secrets), a`, `SELECT a FROM m_data GROUP BY a HAVING EXISTS (FROM secrets)`, `SELECT a FROM m_data QUALIFY row_number() OVER () = (SELECT max(id) FROM secrets)`,
	`SELECT CASE WHEN EXISTS (FROM secrets) THEN 1 END`, `SELECT [(SELECT max(id) FROM secrets)]`, `SELECT {'a': (SELECT max(id) FROM secrets)}`, `SELECT [x + (SELECT max(id) FROM secrets) FOR x IN [1]]`,
	`SELECT list_transform([1], lambda x: (SELECT max(id) FROM secrets))`, `SELECT * REPLACE ((SELECT max(id) FROM secrets) AS id) FROM m_data`,
	`SELECT DISTINCT ON ((SELECT max(id) FROM secrets)) a FROM m_data`, `VALUES ((SELECT max(id) FROM secrets))`, `SELECT * FROM (VALUES ((SELECT max(id) FROM secrets))) v(x)`,
	`SELECT ARRAY(SELECT id FROM secrets)`, `SELECT a = ANY (SELECT id FROM secrets) FROM m_data`, `SELECT a BETWEEN 1 AND (SELECT max(id) FROM secrets) FROM m_data`,
	`SELECT TRY((SELECT max(id) FROM secrets))`, `SELECT * FROM range((SELECT max(id) FROM secrets))`, `SELECT * FROM unnest((SELECT list(id) FROM secrets))`,
	`SELECT (SELECT max(id) FROM secrets)::VARCHAR COLLATE NOCASE`, `SELECT * FROM m_data AT (VERSION => (SELECT 1 FROM secrets))`,

	// SQL as text, settings, secrets, the catalog.
	`FROM query('SELECT * FROM secrets')`, `FROM query_table('secrets')`, `FROM query_table(['secrets', 'm_data'])`, `FROM QUERY('SELECT 1')`, `FROM "query"('SELECT 1')`,
	`FROM main.query('SELECT 1')`, `FROM system.main.query('SELECT 1')`, `FROM json_execute_serialized_sql(json_serialize_sql('FROM secrets'))`,
	`SELECT json_serialize_plan('FROM secrets')`, `SELECT json_serialize_sql('SELECT 1')`, `SELECT json_deserialize_sql('{}')`, `FROM sql_auto_complete('SEL')`,
	`FROM histogram_values('secrets', id)`, `FROM histogram(secrets, id)`, `FROM summary((SELECT 1))`, `FROM pragma_metadata_info('secrets')`, `FROM seq_scan('secrets')`,
	`SELECT * FROM duckdb_secrets()`, `SELECT * FROM duckdb_settings()`, `SELECT * FROM system.main.duckdb_settings()`, `FROM DuckDB_Settings()`, `FROM "duckdb_settings"()`,
	`SELECT * FROM duckdb_tables()`, `FROM duckdb_tables`, `FROM duckdb_columns`, `FROM main.duckdb_views`, `FROM system.main.duckdb_tables`, `FROM sqlite_master`, `FROM sqlite_schema`, `FROM pragma_database_list`,
	`FROM information_schema.tables`, `FROM information_schema.columns`, `FROM memory.information_schema.tables`, `FROM pg_catalog.pg_class`, `FROM pg_class`, `FROM "PG_CATALOG".pg_tables`,
	`FROM pragma_table_info('secrets')`, `FROM pragma_show('secrets')`, `FROM pragma_storage_info('secrets')`, `FROM pragma_database_size()`, `FROM which_secret('s3://x', 's3')`,
	`FROM checkpoint()`, `FROM force_checkpoint()`, `SELECT * FROM enable_logging()`, `FROM enable_profiling()`, `FROM disable_profiling()`, `FROM duckdb_logs()`, `FROM duckdb_logs_parsed('HTTP')`, `FROM duckdb_temporary_files()`,
	`FROM duckdb_prepared_statements()`, `FROM duckdb_variables()`, `FROM enable_peg_parser()`, `FROM truncate_duckdb_logs()`, `FROM arrow_scan(1, 2, 3)`, `FROM test_all_types()`, `FROM parquet_bloom_probe('x', 'y', 1)`,
	`SHOW TABLES`, `SHOW ALL TABLES`, `SHOW DATABASES`, `SHOW SCHEMAS`, `DESCRIBE`, `SHOW TABLES FROM shop`, `SELECT * FROM (SHOW ALL TABLES)`, `WITH x AS (FROM (SHOW TABLES)) FROM x`, `SHOW VARIABLES`,
	`SELECT getenv('HOME')`, `SELECT GetEnv('HOME')`, `SELECT "getenv"('HOME')`, `SELECT main.getenv('HOME')`, `SELECT 'HOME'.getenv()`, `SELECT current_setting('temp_directory')`, `SELECT Current_Setting('threads')`,
	`SELECT nextval('seq')`, `SELECT currval('seq')`, `SELECT setseed(0.5)`, `SELECT write_log('x')`, `SELECT sleep_ms(10)`, `SELECT pg_sleep(1)`, `SELECT pg_get_viewdef(1)`, `SELECT format_type(23, -1)`, `SELECT get_block_size('memory')`,
	`SELECT peek()`, `FROM peek_all()`, `SELECT main.peek()`, `SELECT no_such_function(1)`, `FROM no_such_table_function(1)`, `SELECT list_transform([1], lambda x: peek())`, `SELECT sum(peek()) OVER ()`,

	// Tables that are not granted, by every spelling.
	`FROM secrets`, `TABLE secrets`, `SELECT * FROM SECRETS`, `SELECT * FROM "Secrets"`, `SELECT * FROM main.secrets`, `SELECT * FROM memory.main.secrets`, `SELECT * FROM memory.secrets`, "SELECT/**/*/**/FROM/**/secrets", `FROM secrets SELECT password`,
	`FROM shop.salaries`, `FROM memory.shop.salaries`, `FROM "shop"."salaries"`, `FROM shop."SALARIES"`, `FROM stray`, `FROM no_such_table`, `FROM _pintail.runs`, `FROM memory._pintail.runs`, `FROM temp.main.x`, `FROM system.information_schema.tables`,
	`FROM other.main.m_data`, `FROM shop.m_data`, `DESCRIBE secrets`, `SHOW secrets`, `SUMMARIZE secrets`, `DESCRIBE SELECT * FROM secrets`, `SUMMARIZE SELECT 1 FROM secrets`, `DESCRIBE TABLE secrets`, `SELECT * FROM (DESCRIBE secrets)`, `SELECT * FROM (SUMMARIZE secrets)`,
	`SELECT * FROM m_data JOIN secrets USING (id)`, `SELECT * FROM m_data, secrets`, `SELECT * FROM m_data POSITIONAL JOIN secrets`, `SELECT * FROM m_data ASOF JOIN secrets ON m_data.id >= secrets.id`, `FROM m_data SEMI JOIN secrets USING (id)`,
	`FROM m_data ANTI JOIN secrets USING (id)`, `FROM m_data NATURAL JOIN secrets`, `SELECT id FROM m_data UNION ALL SELECT id FROM secrets`, `SELECT id FROM m_data EXCEPT SELECT id FROM secrets`, `SELECT id FROM m_data INTERSECT (SELECT id FROM secrets)`,
	`FROM m_data UNION BY NAME FROM secrets`, `PIVOT secrets ON id IN (1, 2) USING count(*)`, `UNPIVOT secrets ON password INTO NAME n VALUE v`, `SELECT * FROM (PIVOT secrets ON id IN (1) USING count(*))`, `SELECT * FROM secrets PIVOT (count(*) FOR id IN (1))`,
	`PIVOT m_data ON a USING sum(b)`, `PIVOT m_data ON name IN mood USING sum(b)`, `FROM secrets TABLESAMPLE 10%`, `FROM m_data WHERE id = (SELECT max(id) FROM secrets s WHERE s.id = m_data.id)`,

	// CTEs that do not hide what they seem to.
	`WITH secrets AS (SELECT * FROM secrets) FROM secrets`, `WITH x AS (FROM secrets), secrets AS (SELECT 1) FROM x`, `WITH secrets AS (SELECT 1) FROM main.secrets`, `WITH secrets AS (SELECT 1) FROM memory.main.secrets`,
	`SELECT * FROM (WITH secrets AS (SELECT 1) FROM secrets), secrets`, `WITH x AS (WITH secrets AS (SELECT 1) FROM secrets) SELECT * FROM x, secrets`, `WITH RECURSIVE secrets AS (SELECT * FROM secrets UNION ALL SELECT id + 1, password FROM secrets WHERE id < 3) FROM secrets`,
	`WITH RECURSIVE secrets AS (SELECT * FROM secrets) FROM secrets`, `WITH secrets AS (SELECT 1 AS z) SELECT * FROM (DESCRIBE secrets)`, `WITH secrets AS (SELECT 1 AS z) SELECT * FROM (SUMMARIZE secrets)`, `(WITH secrets AS (SELECT 1) FROM secrets) UNION ALL SELECT id FROM secrets`,
	`WITH "sEcrets " AS (SELECT 1) FROM secrets`, `WITH "m_data" AS (FROM secrets) FROM m_data`, `WITH RECURSIVE r(n) USING KEY (n) AS (SELECT 1 UNION SELECT n + 1 FROM recurring.secrets) FROM r`,
}

// unreadable are those of them that DuckDB does not even parse, or that hold no statement.
var unreadable = []string{
	"SELECT 1\x00; DROP TABLE m_dataset", "SELECT '\xff'", ``, `;`, `-- nothing`, `/* SELECT 1 */`, "/* /* */ SELECT 1 */", `SELECT 'HOME'.getenv()`,
	`WITH x AS (INSERT INTO m_dataset(id) VALUES (1) RETURNING id) SELECT * FROM x`, `WITH x AS (DELETE FROM m_dataset RETURNING *) FROM x`,
}

// Each of these is let through to a reader, and DuckDB prepares it.
var legitimate = []string{
	`SELECT 1`, `select 1;`, " \n SELECT 1 ; \n", "-- c\nSELECT 1 /* d */", `VALUES (1), (2)`, `FROM m_data`, `TABLE m_data`, `SELECT * FROM M_DATA`, `SELECT * FROM "m_data"`, `SELECT * FROM main.m_data`, `SELECT * FROM memory.main.m_data`, `SELECT * FROM memory.m_data`,
	`SELECT * FROM shop.orders`, `SELECT * FROM Memory.Shop.Orders`, `SELECT * FROM errors_partners`, `SELECT count(*) FROM m_dataset`, `SELECT a, sum(b) FROM m_data GROUP BY ALL ORDER BY ALL LIMIT 10`, `SELECT a FROM m_data GROUP BY GROUPING SETS ((a), ())`,
	`SELECT GROUPING(a), count(*) FROM m_data GROUP BY CUBE (a, b)`, `SELECT DISTINCT ON (a) * FROM m_data ORDER BY a, b DESC NULLS LAST`, `SELECT DISTINCT a FROM m_data`, `SELECT * FROM m_data LIMIT 10%`, `SELECT * FROM m_data LIMIT 5 OFFSET 2`,
	`SELECT * EXCLUDE (b) REPLACE (a + 1 AS a) RENAME (name AS n) FROM m_data`, `SELECT COLUMNS('a.*') FROM m_data`, `SELECT COLUMNS(c -> c LIKE 'a%') FROM m_data`, `SELECT m_data.* FROM m_data`, `SELECT * LIKE 'a%' FROM m_data`, `SELECT * EXCLUDE (m_data.a) FROM m_data`,
	`SELECT CASE WHEN a = 1 THEN 'x' ELSE 'y' END, CASE a WHEN 1 THEN 2 END, coalesce(a, b), nullif(a, b), ifnull(a, b), if(a = 1, 2, 3) FROM m_data`,
	`SELECT a NOT IN (1, 2), a IN (1), a BETWEEN 1 AND 2, NOT a = 1, a IS NULL, a IS NOT NULL, a IS DISTINCT FROM b, name LIKE 'x%' ESCAPE '!', name ILIKE 'x', name NOT LIKE 'x', name SIMILAR TO 'x', name NOT SIMILAR TO 'x', name GLOB 'x', name ~ 'x', name !~ 'x', name ~~ 'x' FROM m_data`,
	`SELECT a + b - 1 * 2 / 3 // 4 % 5 ** 2, -a, ~a, a & b | 1 << 2 >> 1, xor(a, b), @ a, 5!, name || 'x', name ^@ 'x' FROM m_data`, `SELECT a::VARCHAR, CAST(a AS DECIMAL(10, 2)), TRY_CAST(name AS INT), name::mood, DATE '2020-01-01', INTERVAL 1 DAY, TIMESTAMPTZ '2020-01-01' FROM m_data`,
	`SELECT {'a': 1, 'b': [1, 2]}, MAP {'k': 1}, [1, 2, 3][1:2], l[1], st.x, st['x'], (1, 2), ROW(1, 2), {'a': 1}::STRUCT(a INT) FROM m_data`, `SELECT j->'a', j->>'$.b', json_extract(j, '$.a'), j.a FROM m_data`, `SELECT list_transform(l, lambda x: x + 1), [x * 2 FOR x IN l IF x > 1] FROM m_data`, `SELECT list_aggregate(l, 'sum'), list_sum(l) FROM m_data`,
	`SELECT extract(year FROM ts), date_trunc('day', ts), ts AT TIME ZONE 'UTC', now() - INTERVAL 1 DAY, current_date, current_timestamp, strftime(ts, '%Y'), ts - to_days(a), time_bucket(INTERVAL 1 HOUR, ts) FROM m_data`,
	`SELECT position('a' IN name), substring(name FROM 1 FOR 2), trim(BOTH 'x' FROM name), regexp_replace(name, 'a', 'b', 'g'), overlay, printf('%d', a) FROM (SELECT *, 1 AS overlay FROM m_data)`, `SELECT name COLLATE NOCASE, upper(name), md5(name), hash(name), gen_random_uuid() FROM m_data`,
	`SELECT current_user, session_user, current_database(), current_schema, version()`, `SELECT a.sqrt() FROM m_data`, `SELECT main.sqrt(1), system.main.sqrt(1)`, `SELECT getvariable('x')`, `SELECT unnest([1, 2]), unnest({'a': 1}, recursive := true)`, `SELECT TRY(1 / a) FROM m_data`,
	`SELECT row_number() OVER (), rank() OVER (PARTITION BY a ORDER BY b), lag(a IGNORE NULLS) OVER (ORDER BY b), sum(a) OVER w FROM m_data WINDOW w AS (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES)`,
	`SELECT a FROM m_data QUALIFY row_number() OVER (PARTITION BY a) = 1`, `SELECT count(*) FILTER (WHERE a > 1), string_agg(name, ',' ORDER BY a), count(DISTINCT a), quantile_cont(a, 0.5), arg_max(a, b), approx_count_distinct(a), list(a), histogram(a), mode(a) FROM m_data`,
	`SELECT * FROM m_dataset JOIN m_results USING (id)`, `SELECT * FROM m_dataset d LEFT JOIN m_results r ON d.id = r.id`, `SELECT * FROM m_dataset NATURAL FULL JOIN m_results`, `SELECT * FROM m_dataset CROSS JOIN m_results`, `SELECT * FROM m_dataset, m_results`, `SELECT * FROM m_dataset POSITIONAL JOIN m_results`,
	`SELECT * FROM m_dataset ASOF JOIN m_results ON m_dataset.id >= m_results.id`, `SELECT * FROM m_dataset SEMI JOIN m_results USING (id)`, `SELECT * FROM m_dataset ANTI JOIN m_results USING (id)`, `SELECT * FROM m_dataset d, LATERAL (SELECT v FROM m_results r WHERE r.id = d.id)`, `SELECT * FROM m_data AS x(p, q)`,
	`SELECT id FROM m_dataset UNION SELECT id FROM m_results`, `FROM m_dataset UNION ALL BY NAME FROM m_results`, `SELECT id FROM m_dataset EXCEPT ALL SELECT id FROM m_results ORDER BY 1 LIMIT 1`, `(SELECT 1) INTERSECT (SELECT 1)`,
	`SELECT (SELECT max(v) FROM m_results), ARRAY(SELECT id FROM m_results), EXISTS (FROM m_results) FROM m_dataset`, `SELECT * FROM m_dataset WHERE id IN (SELECT id FROM m_results) AND a > ALL (SELECT 1) AND a = ANY (SELECT 2)`, `SELECT 1 WHERE ROW(1, 2) IN (SELECT 1, 2)`,
	`WITH x AS (FROM m_data) FROM x`, `WITH x AS MATERIALIZED (SELECT 1 AS a), y(b) AS (SELECT a + 1 FROM x) SELECT * FROM x, y`, `WITH secrets AS (SELECT 1 AS z) FROM secrets`, `WITH Secrets AS (SELECT 1 AS z) SELECT * FROM sECRETS WHERE z IN (SELECT z FROM SECRETS) ORDER BY (SELECT max(z) FROM secrets)`,
	`WITH secrets AS (FROM m_data) SELECT * FROM (SELECT * FROM (FROM secrets)), LATERAL (SELECT count(*) FROM secrets) c`, `WITH secrets AS (SELECT 1 AS z), x AS (FROM secrets) FROM x UNION ALL FROM secrets`, `WITH secrets AS (SELECT 3 AS z) SELECT * FROM generate_series(1, (SELECT max(z) FROM secrets))`,
	`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n`, `WITH RECURSIVE secrets(i) AS (SELECT 1 UNION SELECT i + 1 FROM secrets WHERE i < 5) SELECT * FROM secrets, m_data`, `WITH RECURSIVE g(n) USING KEY (n) AS (SELECT 1 UNION SELECT n + 1 FROM g WHERE n < 3) FROM g`,
	`SELECT * FROM range(3)`, `FROM generate_series(1, 10, 2) t(i)`, `FROM range(3) WITH ORDINALITY`, `SELECT * FROM unnest([1, 2, 3]) u(x)`, `SELECT * FROM m_dataset, unnest(l) AS u(x)`, `SELECT * FROM json_each('{"a": 1}')`, `FROM json_tree('[1, [2]]')`, `FROM repeat('x', 3)`, `FROM repeat_row(1, 2, num_rows = 3)`, `FROM pg_timezone_names()`,
	`SELECT * FROM (VALUES (1, 'a'), (2, 'b')) v(x, y)`, `PIVOT m_data ON a IN (1, 2) USING sum(b) GROUP BY name`, `SELECT * FROM m_data PIVOT (sum(b) FOR a IN (1, 2))`, `UNPIVOT m_data ON a, b INTO NAME n VALUE v`, `FROM m_data UNPIVOT INCLUDE NULLS (v FOR n IN (a, b))`, `WITH p AS (PIVOT m_data ON a IN (1) USING sum(b)) FROM p`,
	`FROM m_data TABLESAMPLE reservoir(10 ROWS) REPEATABLE (3)`, `SELECT * FROM m_data USING SAMPLE 10%`, `DESCRIBE m_data`, `SHOW m_data`, `SUMMARIZE m_data`, `DESCRIBE SELECT a FROM m_data`, `SUMMARIZE FROM m_data`, `SELECT column_name FROM (DESCRIBE m_data)`, `SELECT * FROM (SUMMARIZE m_data)`,
	`EXPLAIN SELECT * FROM m_data`, `explain analyze select * from m_data;`, `EXPLAIN FROM m_data`, `EXPLAIN (FORMAT json) SELECT 1`, "/* a /* b */ */ EXPLAIN -- c\n ANALYZE /* d */ SELECT 1", `EXPLAIN WITH x AS (SELECT 1) FROM x`, `EXPLAIN (ANALYZE, FORMAT json) SELECT 1`, `EXPLAIN VALUES (1)`,
	`SELECT $1::INT + ?2::INT`, `SELECT * FROM m_data WHERE a = $a AND b = $b LIMIT $n`, `SELECT a AS "a;b", 'x; DROP TABLE y' FROM m_data`, `SELECT 'it''s', E'\n', $$x;y$$`, `SELECT "secrets" FROM (SELECT 1 AS secrets)`, `SELECT m_data FROM m_data`,
}

func TestGateRefuses(t *testing.T) {
	d, a := newDuck(t, gateSetup...), gateAccess(t)
	require.Greater(t, len(hostile), 150)
	for _, q := range hostile {
		st, err := a.Gate(context.Background(), reader, q, d)
		assert.Error(t, err, "%q went through as %+v", q, st)
		want := fault.Forbidden
		if slices.Contains(unreadable, q) {
			want = fault.InvalidSQL
		}
		assert.Equal(t, want, fault.CodeOf(err), "%q: %v", q, err)
		require.Zero(t, st.SQL)
		_, err = a.Gate(context.Background(), Principal{User: "x", Role: "gone"}, q, d)
		require.Error(t, err, q)
	}
}

func TestGateLetsThrough(t *testing.T) {
	d, a := newDuck(t, gateSetup...), gateAccess(t)
	require.Greater(t, len(legitimate), 80)
	for _, q := range legitimate {
		st, err := a.Gate(context.Background(), reader, q, d)
		assert.NoError(t, err, q)
		if err == nil && !st.Explain {
			require.Equal(t, q, st.SQL)
		}
	}
}

// What even an administrator may not: anything but a SELECT, files, text as SQL.
func TestGateAdministrator(t *testing.T) {
	d, a := newDuck(t, gateSetup...), gateAccess(t)
	for _, q := range []string{`FROM secrets`, `FROM stray`, `FROM _pintail.runs`, `SHOW ALL TABLES`, `DESCRIBE`, `FROM duckdb_tables()`, `FROM duckdb_settings()`,
		`FROM information_schema.tables`, `FROM pg_catalog.pg_class`, `SELECT current_setting('threads')`, `FROM memory.main.secrets`, `FROM sqlite_master`, `SHOW TABLES`} {
		_, err := a.Gate(context.Background(), Local(), q, d)
		require.NoError(t, err, q)
	}
	for _, q := range []string{`FROM '/etc/passwd'`, `FROM 'x.csv'`, `FROM data.csv`, `FROM read_text('/etc/passwd')`, `FROM query('SELECT 1')`, `SET threads = 1`,
		`FROM duckdb_secrets()`, `FROM force_checkpoint()`, `DROP TABLE stray`, `SELECT nextval('seq')`, `SELECT peek()`, `SELECT 1; SELECT 2`, `FROM glob('*')`} {
		_, err := a.Gate(context.Background(), Local(), q, d)
		require.Equal(t, fault.Forbidden, fault.CodeOf(err), "%s: %v", q, err)
	}
}

// A table that is not granted and one that does not exist are refused in the same words.
func TestGateDoesNotRevealTables(t *testing.T) {
	d, a := newDuck(t, gateSetup...), gateAccess(t)
	words := func(q, name string) string {
		_, err := a.Gate(context.Background(), reader, q, d)
		require.Equal(t, fault.Forbidden, fault.CodeOf(err))
		return strings.ReplaceAll(err.Error()+" / "+fault.HintOf(err), name, "X")
	}
	require.Equal(t, words(`FROM nothing`, "nothing"), words(`FROM secrets`, "secrets"))
	require.Equal(t, words(`FROM shop.nothing`, "nothing"), words(`FROM shop.salaries`, "salaries"))
	require.Equal(t, words(`DESCRIBE nothing`, "nothing"), words(`DESCRIBE stray`, "stray"))
	require.Contains(t, words(`FROM shop.salaries`, "salaries"), `read: ["shop.X"]`)
}

func TestGateErrors(t *testing.T) {
	d, a := newDuck(t, gateSetup...), gateAccess(t)
	ctx := context.Background()
	_, err := a.Gate(ctx, reader, `SELEC 1`, d)
	require.Equal(t, fault.InvalidSQL, fault.CodeOf(err))
	require.ErrorContains(t, err, "SELEC")
	_, err = a.Gate(ctx, reader, `SELECT nope FROM m_data`, d)
	require.Equal(t, fault.InvalidSQL, fault.CodeOf(err))
	require.ErrorContains(t, err, "nope")
	_, err = a.Gate(ctx, reader, "SELECT '"+strings.Repeat("x", sqlBytesMax)+"'", d)
	require.Equal(t, fault.InvalidSQL, fault.CodeOf(err))
	_, err = a.Gate(ctx, reader, `INSERT INTO m_dataset(id) VALUES (1)`, d)
	require.Equal(t, fault.Forbidden, fault.CodeOf(err))
	require.Equal(t, hintSQL, fault.HintOf(err))
	_, err = a.Gate(ctx, reader, `SELECT json_serialize_sql('x')`, d)
	require.ErrorContains(t, err, "takes SQL as text")

	st, err := a.Gate(ctx, reader, `SELECT * FROM m_data JOIN shop.orders USING (id), m_results`, d)
	require.NoError(t, err)
	require.Equal(t, []string{"m", "shop"}, st.Datasets)
	require.Len(t, st.Tables, 3)
	st, err = a.Gate(ctx, reader, `SELECT * FROM Memory.Shop.Orders a, shop.orders b, M_Data, memory.m_results`, d)
	require.NoError(t, err)
	require.Equal(t, map[string][]string{"m": {"m_data", "m_results"}, "shop": {"shop.orders"}}, st.Targets)
	st, err = a.Gate(ctx, reader, "explain  analyze SELECT 1", d)
	require.NoError(t, err)
	require.True(t, st.Explain)
	require.Equal(t, "EXPLAIN ANALYZE  SELECT 1", st.SQL)

	for _, b := range []fakeParser{{count: 2, typ: "SELECT"}, {count: 1, typ: "INSERT"}, {count: 1, typ: ""}} {
		b.duck = d
		_, err = a.Gate(ctx, reader, `SELECT 1`, b)
		require.Equal(t, fault.Forbidden, fault.CodeOf(err))
	}
	broken := errors.New("connection lost")
	_, err = a.Gate(ctx, reader, `SELECT 1`, fakeParser{err: broken})
	require.ErrorIs(t, err, broken)
}

// fakeParser answers as told where the real parser could not be made to.
type fakeParser struct {
	*duck
	count int
	typ   string
	err   error
}

func (f fakeParser) SerializeSQL(ctx context.Context, q string) (string, error) {
	if f.err != nil {
		return "", f.err
	}
	return f.duck.SerializeSQL(ctx, q)
}

func (f fakeParser) StatementType(context.Context, string) (int, string, error) {
	return f.count, f.typ, nil
}

func TestGateGrants(t *testing.T) {
	d, a := newDuck(t, gateSetup...), gateAccess(t)
	ctx := context.Background()
	_, err := a.Gate(ctx, Principal{Role: "all"}, `FROM secrets, shop.salaries, m_data`, d)
	require.NoError(t, err)
	for _, q := range []string{`FROM _pintail.runs`, `FROM stray`, `FROM information_schema.tables`} {
		_, err = a.Gate(ctx, Principal{Role: "all"}, q, d)
		require.Equal(t, fault.Forbidden, fault.CodeOf(err), q)
	}
	_, err = a.Gate(ctx, Principal{Role: "none"}, `SELECT 1`, d)
	require.NoError(t, err)
	_, err = a.Gate(ctx, Principal{Role: "none"}, `FROM m_data`, d)
	require.Equal(t, fault.Forbidden, fault.CodeOf(err))
	require.NoError(t, a.Update(Config{}))
	_, err = a.Gate(ctx, Principal{Role: "all"}, `FROM m_data`, d)
	require.Equal(t, fault.Forbidden, fault.CodeOf(err), "no resolver, no tables")
}
