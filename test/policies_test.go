package test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

const policiesSQL = `CREATE SCHEMA shop;
	CREATE TABLE shop.orders (id int PRIMARY KEY, tenant text, amount numeric(10,2), status text);
	INSERT INTO shop.orders SELECT g, CASE WHEN g % 3 = 0 THEN NULL ELSE 'tenant ' || g % 5 END, g, CASE WHEN g % 7 = 0 THEN 'draft' ELSE 'sent' END FROM generate_series(1, 4000) g;
	CREATE TABLE shop.customers (id int PRIMARY KEY, tenant text, email text, born date);
	INSERT INTO shop.customers SELECT g, 'tenant ' || g % 5, 'person' || g || '@example.com', date '1990-01-01' + g FROM generate_series(1, 500) g`

const policiesDatasets = `datasets:
  shop: {source: pg, mode: cdc, tables: ["shop.*"]}
`

func policiesUsers(filter string) string {
	return `users:
  root: {token: token-of-root-for-every-door, role: admin}
  one: {token: token-of-one-for-every-door, role: tenant, claims: {tenant: tenant 1}}
  two: {token: token-of-two-for-every-door, role: tenant, claims: {tenant: tenant 2}}
  nobody: {token: token-of-nobody-for-every-door, role: tenant}
roles:
  tenant:
    read: ["shop.*"]
    row_filters:
      shop.*: tenant = _pintail.claim('tenant')
      shop.orders: ` + filter + `
    masks:
      shop.customers: {email: "'***@' || split_part(email, '@', 2)", born: "NULL"}
`
}

// What a tenant sees through each door is what PostgreSQL gives with the same conditions.
func TestRowFiltersAtEveryDoor(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, policiesSQL)
		p := harness.New(t)
		head, d := p.OpenDoors(url)
		configure := func(filter string) { p.Write(head + policiesDatasets + policiesUsers(filter)) }
		configure("status <> 'draft'")
		require.NoError(t, os.WriteFile(filepath.Join(p.Dir, "endpoints", "kept.sql"), []byte("-- summary: kept for a while\n-- cache: 1h\n\nSELECT count(*) AS n, sum(amount) AS sum, _pintail.claim('tenant') AS me FROM shop.orders"), 0o600))
		d.Enter(p.Serve(), tokenOf("root"))
		harness.Eventually(t, time.Minute, "the tables are there", func() bool { return d.Simple(t, tokenOf("root"), "SELECT count(*) FROM shop.customers").OK() })

		pg, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		defer pg.Close(context.Background())
		want := func(sql string) [][]string {
			t.Helper()
			r := pg.PgConn().ExecParams(t.Context(), sql, nil, nil, nil, nil).Read()
			require.NoError(t, r.Err)
			var rows [][]string
			for _, row := range r.Rows {
				var out []string
				for _, v := range row {
					if v == nil {
						out = append(out, "NULL")
					} else {
						out = append(out, string(v))
					}
				}
				rows = append(rows, out)
			}
			return rows
		}
		const orders = "SELECT o.id, coalesce(o.tenant, 'none') AS tenant, o.amount::text AS amount, o.status FROM shop.orders o ORDER BY o.id"
		const customers = `SELECT "shop"."customers"."id", "shop"."customers"."email", coalesce(CAST("shop"."customers"."born" AS text), 'none') AS born FROM "shop"."customers" WHERE "shop"."customers"."id" < 400 ORDER BY 1`
		const joined = `SELECT count(*) AS n, coalesce(max(c.email), 'none') AS m FROM shop.orders o JOIN shop.customers c ON c.id = o.id WHERE c.email LIKE '%person%' OR c.email LIKE '***%'`
		for _, who := range []string{"one", "two", "nobody"} {
			mine := "tenant = 'tenant " + map[string]string{"one": "1", "two": "2", "nobody": "x"}[who] + "'"
			seen := fmt.Sprintf("orders AS (SELECT * FROM shop.orders WHERE %s AND status <> 'draft'), customers AS (SELECT id, '***@' || split_part(email, '@', 2) AS email, NULL::date AS born FROM shop.customers WHERE %s)", mine, mine)
			bare := strings.NewReplacer(`"shop".`, "", "shop.", "")
			for _, q := range []string{orders, customers, joined} {
				expected := want("WITH " + seen + " " + bare.Replace(q))
				require.Equal(t, who == "nobody" && q != joined, len(expected) == 0)
				for _, door := range d.Read() {
					got := door.Ask(t, tokenOf(who), q)
					require.True(t, got.OK(), "%s: %s: %s", door.Name, who, got)
					require.Equal(t, fmt.Sprint(expected), fmt.Sprint(got.Rows), "%s: %s: %s", door.Name, who, q)
				}
			}
			for _, door := range d.Read() {
				for _, q := range []string{"SELECT * FROM shop.orders_at(now())", "EXPLAIN ANALYZE SELECT * FROM shop.orders", `SELECT * FROM temp.main."shop.orders"`, "SELECT stats(id) FROM shop.orders"} {
					require.False(t, door.Ask(t, tokenOf(who), q).OK(), "%s: %s", door.Name, q)
				}
				leak := door.Ask(t, tokenOf(who), "SELECT count(*) FROM shop.orders WHERE CASE WHEN tenant IS NULL OR tenant LIKE '%4' OR status = 'draft' THEN CAST(id || ' is there' AS int) END IS NOT NULL")
				require.True(t, leak.OK() && leak.Rows[0][0] == "0", "%s: %s %v", door.Name, leak, leak.Rows)
			}
		}

		// A kept answer is one caller's, with its ETag.
		etags := map[string]bool{}
		for range 2 {
			for _, who := range []string{"one", "two"} {
				status, header, body := get(t, d, who, "/v0/endpoints/kept.csv", "")
				require.Equal(t, http.StatusOK, status, body)
				expected := want("SELECT count(*), sum(amount), 'tenant " + map[string]string{"one": "1", "two": "2"}[who] + "' FROM shop.orders WHERE tenant = 'tenant " + map[string]string{"one": "1", "two": "2"}[who] + "' AND status <> 'draft'")
				require.Equal(t, "n,sum,me\n"+strings.Join(expected[0], ",")+"\n", body)
				etags[header.Get("ETag")] = true
				status, _, _ = get(t, d, who, "/v0/endpoints/kept.csv", header.Get("ETag"))
				require.Equal(t, http.StatusNotModified, status)
			}
		}
		require.Len(t, etags, 2)

		// A prepared statement of a session has the filter of now.
		session := d.PG(t, tokenOf("one"))
		count := func() (n int) {
			require.NoError(t, session.QueryRow(t.Context(), "SELECT count(*) FROM shop.orders WHERE id > $1", 0).Scan(&n))
			return n
		}
		require.Equal(t, want("SELECT count(*) FROM shop.orders WHERE tenant = 'tenant 1' AND status <> 'draft'")[0][0], fmt.Sprint(count()))
		configure("status = 'draft'")
		d.JSON(http.StatusOK, http.MethodPost, "/api/store/reload?confirm=true", nil, nil)
		harness.Eventually(t, 10*time.Second, "the statement is prepared again", func() bool {
			var n int
			err := session.QueryRow(t.Context(), "SELECT count(*) FROM shop.orders WHERE id > $1", 0).Scan(&n)
			return err == nil && fmt.Sprint(n) == want("SELECT count(*) FROM shop.orders WHERE tenant = 'tenant 1' AND status = 'draft'")[0][0]
		})

		// A filter that does not fit closes the table, and the log says so.
		configure("no_such_column = 1")
		d.JSON(http.StatusOK, http.MethodPost, "/api/store/reload?confirm=true", nil, nil)
		got := d.HTTP(t, tokenOf("one"), "SELECT count(*) FROM shop.orders")
		require.Equal(t, "forbidden", got.Code)
		require.Contains(t, got.Message, "do not fit table shop.orders")
		require.Contains(t, d.Log(), "a role is refused a table")
		require.True(t, d.HTTP(t, tokenOf("one"), "SELECT count(*) FROM shop.customers").OK())
		d.Stop()
		r := p.Run("check")
		require.Equal(t, 3, r.Code, r)
		require.Contains(t, r.Stdout, "no_such_column", r)
	})
}

// get is a GET as a user, with If-None-Match where etag is given.
func get(t *testing.T, d *harness.Doors, user, path, etag string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.Base+path, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+tokenOf(user))
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, res.Header, string(body)
}
