package pgsql

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The same tables on both sides; "timestamptz", "text" and the like are words of both.
const shopSetup = `CREATE TABLE customers(id INTEGER NOT NULL, name TEXT, balance NUMERIC(12,2), created TIMESTAMPTZ, meta JSON, tags TEXT[], uid UUID, d DATE, t TIME, b BYTEA, f FLOAT8, ok BOOLEAN);
CREATE TABLE orders(id BIGINT NOT NULL, customer_id INTEGER, amount NUMERIC(10,2), note TEXT);
CREATE VIEW v_orders AS SELECT o.id, c.name, o.amount FROM orders o JOIN customers c ON c.id = o.customer_id;
INSERT INTO customers VALUES (1, 'ann', 10.50, '2024-01-02 03:04:05+00', '{"a": 1}', ARRAY['x', 'y'], 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2024-02-29', '12:34:56', 'ab', 1.5, true), (2, 'bob', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false);
INSERT INTO orders VALUES (1, 1, 9.99, 'first'), (2, 1, 100, NULL), (3, 2, 5, 'third');
`

const shopKeys = `ALTER TABLE customers ADD PRIMARY KEY (id); ALTER TABLE orders ADD PRIMARY KEY (id);`

var shopKeyList = keyList{"main.customers": {"id"}, "main.orders": {"id"}}

// clientStatements are what clients sent to a PostgreSQL, with their parameters put in and the numbers of its tables taken out.
func clientStatements(t *testing.T) map[string][]string {
	files, err := filepath.Glob("testdata/clients/*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	param := regexp.MustCompile(`\$(\d+) = ('(?:[^']|'')*')`)
	head := regexp.MustCompile(`^-- .*\n`)
	out := map[string][]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, s := range statements(string(text)) {
			params := param.FindAllStringSubmatch(head.FindString(s), -1)
			s = head.ReplaceAllString(s, "")
			for _, p := range params {
				s = strings.ReplaceAll(s, "$"+p[1], p[2])
			}
			out[filepath.Base(f)] = append(out[filepath.Base(f)], s)
		}
	}
	return out
}

// captured are the tables' OIDs on the server that the statements were sent to.
var captured = map[string]string{"16386": "customers", "16397": "orders", "16408": "v_orders"}

func withOIDs(s string, lookup func(table string) string) string {
	for oid, table := range captured {
		s = strings.ReplaceAll(s, oid, lookup(table))
	}
	return s
}

// notReads are what the translator leaves to the protocol: sessions, transactions, cursors, COPY.
var notReads = regexp.MustCompile(`(?i)^(begin|commit|rollback|set|show|declare|fetch|close|copy|deallocate|delete)\b`)

// otherAnswers are statements whose rows are not PostgreSQL's, each with the reason.
var otherAnswers = map[string]string{
	"node_pg/5": "the row types of tables are not there",
	"pgcli/3":   "there is no schema pg_toast",
	"psql/1":    "there is one database, named after the file",
	"psql/4":    "sizes are estimates",
	"psql/39":   "the roles are the owner and the user",
	"psql/40":   "there are no extensions",
	"psql/46":   "a view's definition is in DuckDB's words",
}

// userOnly are lists of everything, of which the user's tables are compared.
var userOnly = map[string]bool{"pgcli/4": true, "pgcli/5": true, "pgcli/8": true, "pgcli/10": true, "metadata/8": true}

func TestStatementsOfClients(t *testing.T) {
	o := open(t, shopSetup, shopKeyList)
	conn := postgres(t, shopSetup+shopKeys)
	ctx := t.Context()
	oid := func(ask func(sql string) answer) func(string) string {
		return func(table string) string {
			a := ask("SELECT '" + table + "'::regclass::oid")
			require.NoError(t, a.err)
			return a.rows[0][0]
		}
	}
	ourOID := oid(func(sql string) answer { return o.ask(ctx, ann, sql) })
	theirOID := oid(func(sql string) answer { return askPostgres(ctx, conn, sql) })
	for file, list := range clientStatements(t) {
		for i, s := range list {
			if notReads.MatchString(s) {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", strings.TrimSuffix(file, ".sql"), i+1), func(t *testing.T) {
				got := o.ask(ctx, ann, withOIDs(s, ourOID))
				require.NoError(t, got.err, s)
				want := askPostgres(ctx, conn, withOIDs(s, theirOID))
				require.NoError(t, want.err, s)
				name := strings.TrimSuffix(file, ".sql") + "/" + fmt.Sprint(i+1)
				if reason := otherAnswers[name]; reason != "" {
					require.Equal(t, want.names, got.names, s)
					return
				}
				for _, a := range []*answer{&want, &got} {
					a.rows = slices.DeleteFunc(a.rows, func(row []string) bool {
						return userOnly[name] && (row[0] == "pg_catalog" || row[0] == "information_schema")
					})
				}
				same(want.rows, theirOID)
				same(got.rows, ourOID)
				compare(t, s, want, got)
			})
		}
	}
}

// same gives OIDs and owners the same words on both sides.
func same(rows [][]string, oid func(string) string) {
	numbers := map[string]string{"postgres": "pintail", "pg_database_owner": "pintail"}
	for _, table := range captured {
		numbers[oid(table)] = "OID of " + table
	}
	for _, row := range rows {
		for i, v := range row {
			if word, ok := numbers[v]; ok {
				row[i] = word
			}
		}
	}
}

// compare holds names and rows against PostgreSQL's; rows in another order are the same unless the statement orders them.
func compare(t *testing.T, s string, want, got answer) {
	t.Helper()
	require.Equal(t, want.names, got.names, s)
	w, g := want.rows, got.rows
	if !strings.Contains(strings.ToLower(s), "order by") {
		w, g = sorted(w), sorted(g)
	}
	if slices.EqualFunc(w, g, slices.Equal[[]string]) {
		return
	}
	t.Errorf("%s\nonly in PostgreSQL: %q\nonly here: %q", s, onlyIn(w, g), onlyIn(g, w))
}

// onlyIn are the first few rows of a that b does not have.
func onlyIn(a, b [][]string) (out [][]string) {
	has := map[string]int{}
	for _, r := range b {
		has[strings.Join(r, "\x00")]++
	}
	for _, r := range a {
		if k := strings.Join(r, "\x00"); has[k] > 0 {
			has[k]--
		} else if len(out) < 8 {
			out = append(out, r)
		}
	}
	return out
}
