package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

const fdwSQL = `CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, country varchar(2) NOT NULL, since date);
	CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, amount numeric(10,2), weight float8, placed_at timestamptz NOT NULL, tags text[], doc jsonb, flag boolean);
	INSERT INTO customers SELECT g, 'customer ' || g, (ARRAY['NO','SE','DK'])[1 + g % 3], date '2024-01-01' + g FROM generate_series(1, 500) g;
	INSERT INTO orders SELECT g, 1 + g % 500, (ARRAY['new','paid','sent'])[1 + g % 3], CASE WHEN g % 10 > 0 THEN g * 1.25 END, g / 8.0, '2024-01-01'::timestamptz + g * interval '1 hour',
		ARRAY['a', 'b' || g % 4], jsonb_build_object('k', g % 5), CASE WHEN g % 7 > 0 THEN g % 2 = 0 END FROM generate_series(1, 35000) g;
	CREATE TABLE secret (id int PRIMARY KEY); INSERT INTO secret VALUES (1)`

// fdw is a PostgreSQL, which is the source too, and a Pintail that it reads.
type fdw struct {
	t      *testing.T
	p      *harness.Project
	s      *harness.Server
	port   string
	source string
	*pgx.Conn
}

const fdwPassword = "it's a secret"

func newFDW(t *testing.T, source, datasets string) *fdw {
	t.Helper()
	f := &fdw{t: t, p: harness.New(t), source: source}
	listen := harness.FreePort(t)
	_, port, err := net.SplitHostPort(listen)
	require.NoError(t, err)
	f.port = port
	doors := fmt.Sprintf("server: {pgwire: {listen: %q}, query_log: {path: queries.jsonl}, ", listen)
	f.p.Write(strings.Replace(f.p.Head(f.source), "server: {", doors, 1) + fmt.Sprintf(`users:
  analytics: {password: %q, role: reader}
roles:
  reader: {read: [orders, customers, types, view]}
`, fdwPassword) + datasets)
	f.s = f.p.Serve()
	config, err := pgx.ParseConfig(f.source)
	require.NoError(t, err)
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	f.Conn, err = pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close(context.Background()) })
	f.run("SET timezone = 'UTC'")
	return f
}

const fdwDatasets = `datasets:
  orders: {source: pg, table: public.orders, key: [id]}
  customers: {source: pg, table: public.customers, key: [id]}
  secret: {source: pg, table: public.secret, key: [id]}
`

// server makes a foreign server as the page makes it, with more options.
func (f *fdw) server(name, options string) {
	f.t.Helper()
	f.run("CREATE EXTENSION IF NOT EXISTS postgres_fdw",
		fmt.Sprintf("CREATE SERVER %s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '%s', dbname 'pintail'%s)", name, f.port, options),
		fmt.Sprintf("CREATE USER MAPPING FOR CURRENT_USER SERVER %s OPTIONS (user 'analytics', password '%s')", name, strings.ReplaceAll(fdwPassword, "'", "''")))
}

// imported makes a schema of foreign tables; a sync's tables are seen by clients a moment after it.
func (f *fdw) imported(schema, from, tables string) {
	f.t.Helper()
	f.run("CREATE SCHEMA " + schema)
	harness.Eventually(f.t, harness.RunTimeout, "the tables are there to be imported", func() bool {
		f.run(fmt.Sprintf("IMPORT FOREIGN SCHEMA public %s FROM SERVER %s INTO %s", tables, from, schema))
		return len(f.rows("SELECT 1 FROM pg_class WHERE relnamespace = '"+schema+"'::regnamespace")) > 0
	})
}

func (f *fdw) run(statements ...string) {
	f.t.Helper()
	for _, sql := range statements {
		_, err := f.Exec(f.t.Context(), sql)
		require.NoError(f.t, err, sql)
	}
}

// rows are all values as PostgreSQL prints them.
func (f *fdw) rows(sql string) [][]string {
	f.t.Helper()
	rows, err := f.ask(sql)
	require.NoError(f.t, err, sql)
	return rows
}

func (f *fdw) ask(sql string) (out [][]string, err error) {
	results, err := f.PgConn().Exec(f.t.Context(), sql).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, row := range results[len(results)-1].Rows {
		line := make([]string, len(row))
		for i, v := range row {
			if line[i] = "∅"; v != nil {
				line[i] = string(v)
			}
		}
		out = append(out, line)
	}
	return out, nil
}

// refused runs what must fail, and gives its SQLSTATE.
func (f *fdw) refused(sql string) string {
	f.t.Helper()
	_, err := f.ask(sql)
	var e *pgconn.PgError
	require.True(f.t, errors.As(err, &e), "%s: %v", sql, err)
	return e.Code
}

// remote are the statements that the plan of sql sends.
func (f *fdw) remote(sql string) (out []string) {
	f.t.Helper()
	for _, row := range f.rows("EXPLAIN (VERBOSE, COSTS OFF) " + sql) {
		if _, remote, ok := strings.Cut(row[0], "Remote SQL: "); ok {
			out = append(out, remote)
		}
	}
	return out
}

// arrived are the statements in Pintail's query log.
func (f *fdw) arrived() map[string]int {
	f.t.Helper()
	seen := map[string]int{}
	for line := range strings.Lines(readFile(f.t, f.p.Dir+"/queries.jsonl")) {
		var entry struct{ Msg, SQL, Door, User string }
		require.NoError(f.t, json.Unmarshal([]byte(line), &entry), line)
		if entry.Msg == "start" && entry.Door == "pgwire" && entry.User == "analytics" {
			seen[entry.SQL]++
		}
	}
	return seen
}

// eachFDW runs fn on a PostgreSQL of each major.
func eachFDW(t *testing.T, setup, datasets string, fn func(t *testing.T, f *fdw)) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, server *pgtest.Server) {
		t.Parallel()
		source := server.DB(t)
		harness.PG(t, source, setup)
		fn(t, newFDW(t, source, datasets))
	})
}

var fdwBlock = regexp.MustCompile("(?s)```(sql|text)\n(.*?)```")

// What the page of postgres_fdw says, statement by statement as it stands there.
func TestPostgresFDWPage(t *testing.T) {
	page := readFile(t, "../docs/postgres_fdw.md")
	eachFDW(t, fdwSQL, fdwDatasets, func(t *testing.T, f *fdw) {
		f.server("probe", "")
		f.imported("probed", "probe", "LIMIT TO (orders, customers)") // the page's user has waited for his first sync
		f.run("DROP SERVER probe CASCADE")
		var plan string
		ran := 0
		for _, block := range fdwBlock.FindAllStringSubmatch(page, -1) {
			if block[1] == "text" {
				for line := range strings.Lines(block[2]) {
					contains(t, plan, strings.TrimSpace(line))
				}
				continue
			}
			for _, sql := range strings.SplitAfter(block[2], ";\n") {
				if strings.TrimSpace(sql) == "" {
					continue
				}
				sql = strings.NewReplacer("port '5439'", "port '"+f.port+"'", "'a secret'", "'"+strings.ReplaceAll(fdwPassword, "'", "''")+"'").Replace(sql)
				plan = ""
				for _, row := range f.rows(sql) {
					plan += strings.Join(row, "|") + "\n"
				}
				ran++
			}
		}
		require.Greater(t, ran, 15, "the page has changed its form")
		for _, table := range []string{"orders", "customers"} {
			require.Equal(t, f.rows("SELECT * FROM "+table+" ORDER BY id"), f.rows("SELECT * FROM duck."+table+" ORDER BY id"), table)
		}
		require.Equal(t, f.rows("SELECT date_trunc('month', placed_at) AT TIME ZONE 'UTC', sum(amount) FROM orders GROUP BY 1 ORDER BY 1"), f.rows("SELECT * FROM revenue ORDER BY 1"))
		require.Equal(t, [][]string{{"35000"}, {"500"}}, f.rows("SELECT reltuples FROM pg_class WHERE relkind = 'f' ORDER BY 1 DESC"))
		require.Equal(t, "55000", f.refused("INSERT INTO duck.customers VALUES (1, 'x', 'y', NULL)"))
	})
}

// pushedQueries name foreign tables and the source's own alike, so both answer them.
const pushedQueries = `SELECT count(*) FROM orders WHERE length(status) = 3
SELECT id, abs(id - 10), id % 7, id / 3, -id FROM orders WHERE abs(id - 10) < 3 ORDER BY id
SELECT id FROM orders WHERE amount BETWEEN 10 AND 20 ORDER BY id DESC LIMIT 5 OFFSET 2
SELECT id FROM orders WHERE amount IS DISTINCT FROM 12.5 AND id < 15 ORDER BY id
SELECT id FROM orders WHERE placed_at >= '2024-01-02 00:00+00' AND placed_at < '2024-01-02 06:00+00' ORDER BY placed_at
SELECT id FROM orders WHERE placed_at - '2024-01-01 00:00+00'::timestamptz < interval '4 hours' ORDER BY id
SELECT date_part('hour', placed_at AT TIME ZONE 'UTC'), count(*) FROM orders GROUP BY 1 ORDER BY 1
SELECT date_trunc('month', placed_at AT TIME ZONE 'UTC') m, count(*), sum(amount) FROM orders GROUP BY 1 ORDER BY 1
SELECT extract(year FROM since), count(*) FROM customers GROUP BY 1 ORDER BY 1
SELECT max(since + 3), min(since - date '2024-01-01') FROM customers WHERE since - date '2024-01-01' > 5
SELECT avg(amount), avg(id), avg(customer_id), avg(weight), sum(amount), sum(id), sum(customer_id), sum(weight) FROM orders WHERE id < 8
SELECT status, avg(amount), avg(id), sum(amount) / count(*) FROM orders GROUP BY status ORDER BY status
SELECT count(DISTINCT status), count(amount), min(status), max(placed_at), min(since) FROM orders, customers WHERE customer_id = customers.id
SELECT status, count(*) FILTER (WHERE flag), sum(amount) FILTER (WHERE id % 2 = 0) FROM orders GROUP BY status HAVING count(*) > 10 ORDER BY status
SELECT status, string_agg(id::text, ',' ORDER BY id), array_agg(id ORDER BY id DESC) FROM orders WHERE id < 20 GROUP BY status ORDER BY 1
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY weight), percentile_disc(0.9) WITHIN GROUP (ORDER BY id), mode() WITHIN GROUP (ORDER BY status) FROM orders
SELECT rank(100) WITHIN GROUP (ORDER BY id), dense_rank(100) WITHIN GROUP (ORDER BY id), percent_rank(100) WITHIN GROUP (ORDER BY id), cume_dist(100) WITHIN GROUP (ORDER BY id) FROM orders WHERE id <= 400
SELECT bit_and(customer_id), bit_or(customer_id), bool_or(flag), every(flag) FROM orders WHERE id < 10
SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.country = 'NO' ORDER BY o.id LIMIT 5
SELECT c.country, count(*), sum(o.amount) FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.country ORDER BY 2 DESC, 1
SELECT c.id, o.id FROM customers c LEFT JOIN orders o ON o.customer_id = c.id AND o.amount > 43700 WHERE c.id > 490 ORDER BY 1, 2
SELECT c.id, o.id FROM customers c FULL JOIN (SELECT * FROM orders WHERE id < 5) o ON o.customer_id = c.id WHERE c.id IS NULL OR c.id < 8 ORDER BY 1, 2
SELECT c.id FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND o.amount > 43740) ORDER BY 1
SELECT c.id FROM customers c WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND o.id > 100) ORDER BY 1
SELECT id FROM orders WHERE id IN (1, 5, 7) ORDER BY 1
SELECT id FROM orders WHERE id NOT IN (1, 5, 7) AND id < 10 ORDER BY 1
SELECT id FROM orders WHERE customer_id = ANY ('{3,4}') AND id < 600 ORDER BY 1
SELECT id FROM orders WHERE tags @> '{b1}' AND tags && '{b1,zz}' AND 'b1' = ANY (tags) AND tags[2] = 'b1' AND tags = '{a,b1}' AND array_length(tags, 1) = 2 AND id < 20 ORDER BY 1
SELECT id FROM customers WHERE name LIKE 'customer 1_' OR name ILIKE 'CUSTOMER 9%' OR name ~ '[0-9]99$' ORDER BY id
SELECT id, upper(name), lower(name), substr(name, 10), position('t' IN name), replace(name, 'cust', 'x') FROM customers WHERE upper(name) = 'CUSTOMER 7' ORDER BY id
SELECT id FROM customers WHERE md5(name) < '1' ORDER BY id LIMIT 4
SELECT id FROM orders WHERE round(amount) = 12 OR round(amount, 1) = 12.5 OR floor(weight) = 2 OR sqrt(weight) > 66 OR power(amount, 2) = 156.25 ORDER BY id
SELECT id FROM orders WHERE amount / 3 > 14580 OR weight::int = 7 OR amount::text = '12.50' OR id::text LIKE '3499_' ORDER BY id
SELECT id FROM orders WHERE coalesce(amount, 0) = 0 AND nullif(status, 'new') IS NULL AND id < 100 ORDER BY id
SELECT id FROM orders WHERE flag IS NOT TRUE AND id < 20 ORDER BY id
SELECT id FROM orders WHERE (customer_id, id) < (2, 1001) ORDER BY id
SELECT id, amount FROM orders ORDER BY amount DESC NULLS LAST, id LIMIT 3
SELECT id, amount FROM orders ORDER BY amount NULLS FIRST, id LIMIT 3
SELECT id, amount FROM orders ORDER BY amount DESC, id LIMIT 3
SELECT DISTINCT status FROM orders ORDER BY 1
SELECT DISTINCT ON (status) status, id FROM orders ORDER BY status, id
SELECT id FROM orders WHERE (id & 3) = 1 AND (id | 1) = id AND (id # 5) < 10 AND id < 20 ORDER BY id
SELECT width_bucket(weight, 0, 4375, 3) b, count(*) FROM orders GROUP BY 1 ORDER BY 1
SELECT id FROM orders WHERE to_hex(customer_id) = '2' AND lpad(status, 5, '*') = '*paid' AND left(status, 2) = 'pa' AND reverse(status) = 'diap' AND initcap(status) = 'Paid' ORDER BY 1
SELECT count(*) FROM orders WHERE sign(amount - 100) = -1 AND trunc(amount) > 3 AND ceil(amount) < 50 AND mod(id, 3) = 1 AND div(amount, 3) > 1
SELECT count(*) FROM orders WHERE starts_with(status, 'n') AND strpos(status, 'e') = 2 AND btrim(status, 'w') = 'ne' AND octet_length(status) = 3 AND regexp_replace(status, 'e.', 'X') = 'nX' AND translate(status, 'n', 'm') = 'mew'
SELECT count(*) FROM orders a, orders b WHERE a.id = b.id + 1 AND a.amount > b.amount
SELECT o, c FROM orders o LEFT JOIN customers c ON c.id = o.customer_id AND c.id > 5 WHERE o.id < 10 ORDER BY o.id
SELECT g, (SELECT count(*) FROM orders o WHERE o.customer_id = g) FROM generate_series(1, 3) g
SELECT l.x, c.name FROM (VALUES (3), (9), (700)) l(x) LEFT JOIN customers c ON c.id = l.x ORDER BY 1
WITH t AS (SELECT customer_id, sum(amount) s FROM orders GROUP BY 1) SELECT c.name, t.s FROM t JOIN customers c ON c.id = t.customer_id ORDER BY 2 DESC NULLS LAST, 1 LIMIT 4
SELECT status, id FROM (SELECT status, id, row_number() OVER (PARTITION BY status ORDER BY id DESC) n FROM orders) x WHERE n = 1 ORDER BY 1
SELECT id FROM orders WHERE id = 77 FOR UPDATE
SELECT (SELECT max(id) FROM orders), (SELECT min(name) FROM customers)
SELECT id, doc, tags FROM orders WHERE doc ->> 'k' = '3' AND id < 10 ORDER BY id`

// Filters, joins, aggregates, order and limits are sent, arrive as they are sent, and give what the source's own tables give; with the
// planner's own estimates and with Pintail's.
func TestPostgresFDWPushdown(t *testing.T) {
	eachFDW(t, fdwSQL, fdwDatasets, func(t *testing.T, f *fdw) {
		for _, estimate := range []string{"false", "true"} {
			name := "duck_" + estimate
			f.server(name, ", fetch_size '1000', use_remote_estimate '"+estimate+"'")
			f.imported(name, name, "")
			require.Equal(t, [][]string{{"customers"}, {"orders"}}, f.rows("SELECT relname FROM pg_class WHERE relnamespace = '"+name+"'::regnamespace ORDER BY 1"), "only what the role reads")
			if estimate == "false" {
				f.run("ANALYZE "+name+".orders", "ANALYZE "+name+".customers")
			}
			sent := map[string]bool{}
			for _, sql := range strings.Split(pushedQueries, "\n") {
				f.run("SET search_path = public")
				want := f.rows(sql)
				f.run("SET search_path = " + name)
				assert.Equal(t, want, f.rows(sql), "%s\n%s", sql, strings.Join(f.remote(sql), "\n"))
				for _, remote := range f.remote(sql) {
					sent[remote] = true
				}
			}
			f.run("RESET search_path")
			log := f.arrived()
			for remote := range sent {
				// A foreign scan runs as a cursor, whose statement is what the log shows; EXPLAIN also tells of those that no row needed.
				if log[remote] == 0 && !strings.Contains(remote, "$1") {
					t.Errorf("the query log does not have %s", remote)
				}
			}
			for _, part := range []string{"sum(amount)", "GROUP BY 1", "INNER JOIN", "ORDER BY", "~~ 'customer 1_'", "= ANY ('{", "FILTER (WHERE", "WITHIN GROUP", "width_bucket(", "tags @> '{b1}'"} {
				require.True(t, slices.ContainsFunc(keys(sent), func(sql string) bool { return strings.Contains(sql, part) }), "%s is not pushed down:\n%s", part, strings.Join(keys(sent), "\n"))
			}
			// The estimate of Pintail is what the planner shows.
			plan := f.rows("EXPLAIN SELECT * FROM " + name + ".orders")[0][0]
			require.Contains(t, plan, "rows=35000")
		}
	})
}

func keys(m map[string]bool) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}

// Sessions go on after every kind of error, inside savepoints and cursors too; nothing can be written.
func TestPostgresFDWSessions(t *testing.T) {
	eachFDW(t, fdwSQL, fdwDatasets, func(t *testing.T, f *fdw) {
		f.server("pintail", ", async_capable 'true'")
		f.imported("duck", "pintail", "EXCEPT (customers)")
		f.run("IMPORT FOREIGN SCHEMA public LIMIT TO (customers) FROM SERVER pintail INTO duck OPTIONS (import_default 'true', import_not_null 'false', import_collate 'false')")
		require.Equal(t, [][]string{{"f"}}, f.rows("SELECT bool_or(attnotnull) FROM pg_attribute WHERE attrelid = 'duck.customers'::regclass AND attnum > 0"))
		require.Equal(t, [][]string{{"id"}}, f.rows("SELECT attname FROM pg_attribute WHERE attrelid = 'duck.orders'::regclass AND attnotnull AND attnum > 0"))
		require.Equal(t, "HV00Q", f.refused("IMPORT FOREIGN SCHEMA nosuch FROM SERVER pintail INTO duck"))
		writes := []string{"INSERT INTO duck.customers VALUES (1, 'x', 'y', NULL)", "UPDATE duck.customers SET name = 'x' WHERE id = 1", "UPDATE duck.customers SET name = name || random() WHERE id = 1",
			"DELETE FROM duck.customers", "DELETE FROM duck.customers WHERE random() < 2", "TRUNCATE duck.customers", "INSERT INTO duck.customers SELECT * FROM customers"}
		for _, sql := range writes {
			require.Equal(t, "25006", f.refused(sql), sql)
			require.Equal(t, [][]string{{"500"}}, f.rows("SELECT count(*) FROM duck.customers"), sql)
		}

		f.run("BEGIN", "DECLARE c CURSOR FOR SELECT id FROM duck.orders ORDER BY id")
		require.Equal(t, [][]string{{"1"}, {"2"}}, f.rows("FETCH 2 FROM c"))
		f.run("SAVEPOINT a")
		require.Equal(t, "25006", f.refused("DELETE FROM duck.customers"))
		f.run("ROLLBACK TO a")
		require.Equal(t, [][]string{{"3"}, {"4"}}, f.rows("FETCH 2 FROM c"), "a cursor from before the savepoint goes on")
		f.run("SAVEPOINT b")
		require.Equal(t, [][]string{{"500"}}, f.rows("SELECT count(*) FROM duck.customers"))
		f.run("RELEASE b")
		require.Equal(t, "22012", f.refused("SELECT id / 0 FROM duck.orders WHERE id / (id - id) = 1"))
		f.run("ROLLBACK TO a")
		require.Len(t, f.rows("FETCH 1000 FROM c"), 1000, "more than a fetch of postgres_fdw")
		f.run("COMMIT")

		// Parameters of a prepared statement, arrays too, known only when it runs.
		f.run("SET plan_cache_mode = force_generic_plan", "PREPARE p(bigint[], text, timestamptz) AS SELECT id, status FROM duck.orders WHERE id = ANY ($1) AND status <> $2 AND placed_at > $3 ORDER BY id")
		for range 7 {
			require.Equal(t, [][]string{{"4", "paid"}, {"5", "sent"}}, f.rows("EXECUTE p ('{4,5,6}', 'new', '2024-01-01')"))
		}
		require.Empty(t, f.rows("EXECUTE p ('{}', 'new', '2024-01-01')"))
		require.Empty(t, f.rows("EXECUTE p (NULL, NULL, NULL)"))
		f.run("DEALLOCATE ALL", "RESET plan_cache_mode")

		// A local row asks for its partners, by the index that the other side does not have.
		f.run("CREATE TABLE wanted (id bigint PRIMARY KEY, n int); INSERT INTO wanted SELECT g * 1000, g FROM generate_series(1, 20) g; ANALYZE wanted",
			"ALTER SERVER pintail OPTIONS (ADD use_remote_estimate 'true')", "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off; SET enable_seqscan = on")
		join := "SELECT w.n, o.status FROM wanted w JOIN duck.orders o ON o.id = w.id ORDER BY 1"
		require.Contains(t, strings.Join(f.remote(join), "\n"), "$1::bigint")
		require.Equal(t, f.rows(strings.ReplaceAll(join, "duck.", "public.")), f.rows(join))
		f.run("RESET ALL", "SET timezone = 'UTC'")

		// Branches that run side by side.
		union := "SELECT sum(n) FROM (SELECT count(*) n FROM duck.orders WHERE id %% 2 = 0 UNION ALL SELECT id FROM duck.customers WHERE id < %d) x"
		for _, n := range []int{3, 400} {
			require.Equal(t, f.rows(strings.ReplaceAll(fmt.Sprintf(union, n), "duck.", "public.")), f.rows(fmt.Sprintf(union, n)))
		}

		// Statistics by a sample: as many rows as the table has, few of which are sent where the server may choose.
		for _, method := range []string{"off", "auto", "random", "system", "bernoulli"} {
			if f.PgConn().ParameterStatus("server_version") < "16" {
				break
			}
			f.run("ALTER FOREIGN TABLE duck.orders OPTIONS ("+map[bool]string{true: "ADD", false: "SET"}[method == "off"]+" analyze_sampling '"+method+"')", "ANALYZE duck.orders")
			require.Equal(t, [][]string{{"35000"}}, f.rows("SELECT reltuples FROM pg_class WHERE oid = 'duck.orders'::regclass"), method)
			require.Equal(t, [][]string{{"3"}}, f.rows("SELECT n_distinct FROM pg_stats WHERE schemaname = 'duck' AND tablename = 'orders' AND attname = 'status'"), method)
		}

		// Cancelled here, it ends there.
		f.run("SET statement_timeout = '300ms'")
		require.Equal(t, "57014", f.refused("SELECT count(*) FROM duck.orders a, duck.orders b, duck.orders c WHERE a.weight + b.weight < c.weight AND a.amount <> b.amount"))
		f.run("SET statement_timeout = 0")
		require.Equal(t, [][]string{{"35000"}}, f.rows("SELECT count(*) FROM duck.orders"))

		// A user who is none, and a password that is wrong.
		f.run("ALTER USER MAPPING FOR CURRENT_USER SERVER pintail OPTIONS (SET password 'wrong')")
		require.Equal(t, "08001", f.refused("SELECT count(*) FROM duck.orders"))
	})
}

// fdwTexts are the texts of columns that are imported as another type: a number, and text with its blanks.
var fdwTexts = map[string]string{"c_money": "c_money::numeric::text", "c_bpchar": "rpad(c_bpchar, 5)", "c_code": "rpad(c_code, 4)"}

// Every type: what the foreign table gives is what the source prints, both as the type that was imported and read as the source's own type.
// What is out of DuckDB's range stands as text beside the row.
func TestPostgresFDWTypes(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, server *pgtest.Server) {
		t.Parallel()
		source := server.DB(t)
		cols := typeTable(t, source, server.Major)
		f := newFDW(t, source, "datasets:\n  types: {source: pg, table: public.types, key: [id]}\n")
		f.server("pintail", "")
		f.imported("duck", "pintail", "")
		var own []string
		for _, c := range cols {
			own = append(own, c.name+" "+c.typ)
		}
		f.run("CREATE FOREIGN TABLE own (id int, _pintail_text text, " + strings.Join(own, ", ") + ") SERVER pintail OPTIONS (schema_name 'public', table_name 'types')")
		for _, c := range cols {
			rows := ""
			if c.name == "c_interval15" {
				rows = " WHERE id < 2" // PostgreSQL does not read what it prints for the smallest of them
			}
			for table, text := range map[string]string{"duck.types": fdwTexts[c.name], "own": ""} {
				if text == "" {
					text = c.name + "::text"
				}
				want := f.rows("SELECT id, " + text + " FROM types" + rows + " ORDER BY id")
				got := f.rows(fmt.Sprintf("SELECT id, coalesce(%[1]s::text, _pintail_text::json ->> '%[1]s') FROM %[2]s%[3]s ORDER BY id", c.name, table, rows))
				require.Len(t, got, len(want))
				for i := range want {
					if want[i][1] != got[i][1] {
						t.Errorf("%s %s of %s: want %.80q, got %.80q", c.name, c.typ, table, want[i][1], got[i][1])
					}
				}
			}
		}
	})
}
