package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

const securitySQL = `CREATE TABLE orders (id int PRIMARY KEY, amount numeric(10,2)); INSERT INTO orders SELECT g, g FROM generate_series(1, 5000) g;
	CREATE TABLE salaries (id int PRIMARY KEY, amount numeric(10,2)); INSERT INTO salaries VALUES (1, 123456.78)`

const securityYAML = `datasets:
  orders: {source: pg, table: public.orders, key: [id]}
  salaries: {source: pg, table: public.salaries, key: [id]}
users:
  root: {token: token-of-the-administrator, role: admin}
  grafana: {password: "${GRAFANA}", role: reader}
  reader: {token: token-of-a-plain-reader, role: reader}
  loader: {token: token-of-the-loader-user, role: loader}
roles:
  reader: {read: ["orders.*"], limits: {time: 2s, rows: 1000, result_bytes: 100KB, concurrency: 2}}
  loader: {write: ["orders.*"]}
  fromjwt: {read: ["salaries.*"]}
`

// Users, roles and tokens as the configuration gives them: who may read, sync, administer and see what, with which limits;
// and that a changed file changes it.
func TestAccess(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, securitySQL)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		jwks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			point, err := key.PublicKey.Bytes()
			if err != nil {
				panic(err)
			}
			b64 := base64.RawURLEncoding.EncodeToString
			fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","alg":"ES256","use":"sig","x":%q,"y":%q}]}`, b64(point[1:33]), b64(point[33:]))
		}))
		defer jwks.Close()
		p := manual(t, url, securityYAML)
		p.Env = []string{"GRAFANA=correct horse: battery"}
		jwtServer := strings.Replace(readFile(t, p.Config), "server: {", fmt.Sprintf("server: {jwt: {issuer: 'https://idp.example', audience: pintail, jwks_url: %q}, ", jwks.URL), 1)
		p.Write(jwtServer)
		root := p.Serve()
		as := func(token string) *harness.Server { s := root.For(t); s.Token = token; return s }
		admin, reader, loader := as("token-of-the-administrator"), as("token-of-a-plain-reader"), as("token-of-the-loader-user")
		admin.Sync("orders")
		admin.Sync("salaries")
		harness.Compare(t, url, "SELECT * FROM orders", admin, "orders", "id")

		// Nobody comes in without credentials, but for the probes.
		for _, token := range []string{"", "wrong", "token-of-the-administrato", "token-of-the-administrator2"} {
			s := as(token)
			for _, path := range []string{"/api/store/status", "/api/store/runs", "/api/store/data/orders", "/v0/queries", "/openapi.json"} {
				// After some failures of an address the next ones wait: 429.
				if got, b := s.Do("GET", path, nil); got != 401 && got != 429 {
					t.Errorf("%q may GET %s: %d %s", token, path, got, b)
				}
			}
			s.JSON(200, "GET", "/healthz", nil, nil)
			s.JSON(200, "GET", "/readyz", nil, nil)
		}
		basic := func(user, password string) int {
			req, err := http.NewRequest(http.MethodGet, root.Base+"/api/store/data/orders", nil)
			require.NoError(t, err)
			req.SetBasicAuth(user, password)
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer res.Body.Close()
			return res.StatusCode
		}
		require.Equal(t, 200, basic("grafana", "correct horse: battery"))
		require.Equal(t, 401, basic("grafana", "wrong"))
		require.Equal(t, 401, basic("reader", ""))

		// A reader reads what is granted, and does not learn what else there is.
		require.Len(t, reader.Statuses(), 1)
		require.Empty(t, reader.Runs("salaries"))
		reader.JSON(200, "GET", "/api/store/data/orders?page_size=5", nil, nil)
		one, other := reader.Refused(403, "POST", "/v0/sql", map[string]any{"sql": "SELECT * FROM salaries"}), reader.Refused(403, "POST", "/v0/sql", map[string]any{"sql": "SELECT * FROM no_such_table"})
		require.Equal(t, strings.ReplaceAll(one.Error.Message, "salaries", "no_such_table"), other.Error.Message)
		for _, sql := range []string{"SELECT * FROM orders, salaries", "WITH x AS (FROM salaries) FROM x", "SELECT (SELECT max(amount) FROM main.salaries)", "DESCRIBE salaries", "SUMMARIZE salaries", "FROM _pintail.runs", "FROM duckdb_tables()", "SELECT getenv('GRAFANA')", "FROM information_schema.tables"} {
			reader.Refused(403, "POST", "/v0/sql", map[string]any{"sql": sql})
		}
		for _, path := range []string{"/api/store/sync/orders", "/api/store/sync/salaries", "/api/store/sync", "/api/store/sync/orders/reset-watermark", "/api/store/verify/orders", "/api/store/reload", "/api/store/datasets/orders/pause"} {
			reader.Refused(403, "POST", path, nil)
		}
		for _, path := range []string{"/api/store/data/salaries", "/api/store/metadata/salaries"} {
			reader.Refused(403, "GET", path, nil)
		}
		// A loader syncs its own, and reads nothing.
		loader.Sync("orders")
		loader.Refused(403, "POST", "/api/store/sync/salaries", nil)
		loader.Refused(403, "POST", "/v0/sql", map[string]any{"sql": "SELECT * FROM orders"})
		loader.Refused(403, "POST", "/api/store/reload", nil)

		// Limits of the role.
		var res struct {
			RowCount  int64 `json:"row_count"`
			Truncated bool
			Rows      [][]any
		}
		reader.JSON(200, "POST", "/v0/sql", map[string]any{"sql": "SELECT id FROM orders"}, &res)
		require.EqualValues(t, 1000, res.RowCount)
		require.True(t, res.Truncated)
		begun := time.Now()
		e := reader.Refused(429, "POST", "/v0/sql", map[string]any{"sql": "SELECT count(*) FROM orders a, orders b, orders c WHERE a.id * b.id % 7 = c.id % 5"})
		require.Equal(t, "limit_exceeded", e.Error.Code)
		contains(t, e.Error.Message, "2s")
		require.Less(t, time.Since(begun), 15*time.Second)
		status, body := reader.Do("POST", "/v0/sql", map[string]any{"sql": "SELECT repeat('x', 1000) FROM orders LIMIT 500"})
		require.True(t, status == 429 || strings.Contains(string(body), "limit_exceeded"), "%d %.200s", status, body)
		require.Less(t, len(body), 200_000)
		admin.JSON(200, "POST", "/v0/sql", map[string]any{"sql": "SELECT id FROM orders", "limit": 3000}, &res)
		require.EqualValues(t, 3000, res.RowCount)

		// Signed tokens of the identity provider.
		sign := func(change func(c jwt.MapClaims)) string {
			claims := jwt.MapClaims{"iss": "https://idp.example", "aud": "pintail", "sub": "someone", "role": "fromjwt", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
			change(claims)
			token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
			token.Header["kid"] = "k1"
			s, err := token.SignedString(key)
			require.NoError(t, err)
			return s
		}
		require.Equal(t, "1", as(sign(func(jwt.MapClaims) {})).One("SELECT count(*) FROM salaries"))
		as(sign(func(jwt.MapClaims) {})).Refused(403, "POST", "/v0/sql", map[string]any{"sql": "SELECT * FROM orders"})
		for name, change := range map[string]func(jwt.MapClaims){
			"expired":   func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Hour).Unix() },
			"issuer":    func(c jwt.MapClaims) { c["iss"] = "https://else.example" },
			"audience":  func(c jwt.MapClaims) { c["aud"] = "other" },
			"role":      func(c jwt.MapClaims) { c["role"] = "nobody" },
			"no expiry": func(c jwt.MapClaims) { delete(c, "exp") },
		} {
			s := as(sign(change))
			if got, b := s.Do("GET", "/api/store/status", nil); got != 401 && got != 403 && got != 429 {
				t.Errorf("a token with a wrong %s: %d %s", name, got, b)
			}
		}

		// A changed file: a token is withdrawn, a role widened.
		p.Write(strings.Replace(strings.Replace(jwtServer, "  loader: {token: token-of-the-loader-user, role: loader}\n", "", 1), `read: ["orders.*"]`, `read: ["*"]`, 1))
		admin.JSON(200, "POST", "/api/store/reload", nil, nil)
		gone, _ := loader.Do("POST", "/api/store/sync/orders", nil)
		require.Contains(t, []int{401, 429}, gone)
		require.Equal(t, "1", reader.One("SELECT count(*) FROM salaries"))

		// Commands bring their token in the environment.
		contains(t, p.Code(1, "status").Stderr, "credentials")
		p.Env = append(p.Env, "PINTAIL_TOKEN=token-of-the-administrator")
		contains(t, p.OK("status"), "salaries")
		contains(t, p.OK("sync", "orders"), "orders: full sync")

		// Nothing secret is in the log, the status or the API's description.
		for _, secret := range []string{"correct horse", "token-of-the-administrator", "pintail-test"} {
			require.NotContains(t, root.Stderr(), secret)
		}
	})
}

// Statements that would leave the copy: files, other databases, settings, writes. Neither a reader nor an administrator gets
// one through, and nothing outside changes.
func TestHostileSQL(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, securitySQL)
		p := manual(t, url, securityYAML)
		p.Env = []string{"GRAFANA=a long password"}
		root := p.Serve()
		admin := root.For(t)
		admin.Token = "token-of-the-administrator"
		admin.Sync("orders")
		reader := root.For(t)
		reader.Token = "token-of-a-plain-reader"
		canary := filepath.Join(p.Dir, "canary.csv")
		require.NoError(t, os.WriteFile(canary, []byte("a\n42\n"), 0o600))
		require.NoError(t, os.Symlink(canary, filepath.Join(p.Dir, "data", "link.csv")))
		settings := admin.One("SELECT string_agg(name || '=' || value, ',' ORDER BY name) FROM duckdb_settings() WHERE name NOT LIKE '%cpu%' AND name NOT LIKE '%time%'")
		before := entries(t, p.Dir)
		for _, sql := range []string{
			"DROP TABLE orders", "DELETE FROM orders", "UPDATE orders SET amount = 0", "INSERT INTO orders VALUES (0, 0)", "TRUNCATE orders", "CREATE TABLE x AS SELECT 1", "CREATE TEMP TABLE x(a INT)", "CREATE OR REPLACE VIEW orders AS SELECT 1", "CREATE MACRO m() AS 1",
			"ALTER TABLE orders ADD COLUMN z INT", "COPY orders TO '" + p.Dir + "/out.csv'", "COPY (SELECT 1) TO '" + p.Dir + "/data/out.csv'", "COPY orders TO STDOUT", "COPY orders FROM '" + canary + "'", "EXPORT DATABASE '" + p.Dir + "/out'", "IMPORT DATABASE '" + p.Dir + "'",
			"ATTACH '" + p.Dir + "/new.duckdb'", "ATTACH ':memory:' AS m", "DETACH pintail", "USE memory", "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true", "SET threads = 1", "SET GLOBAL memory_limit = '1MB'", "RESET ALL", "PRAGMA enable_profiling", "PRAGMA database_list", "PRAGMA disable_checkpoint_on_shutdown",
			"CALL force_checkpoint()", "CHECKPOINT", "FORCE CHECKPOINT", "VACUUM", "BEGIN", "PREPARE p AS SELECT 1", "EXECUTE p", "EXPLAIN ANALYZE DELETE FROM orders", "EXPLAIN ANALYZE COPY orders TO '" + p.Dir + "/out.csv'",
			"SELECT 1; DROP TABLE orders", "SELECT 1 /*; */; DELETE FROM orders", "WITH x AS (DELETE FROM orders RETURNING *) FROM x",
			"SELECT * FROM '" + canary + "'", "SELECT * FROM read_csv('" + canary + "')", "FROM read_text('" + p.Config + "')", "FROM read_blob('" + p.DB + "')", "FROM '" + p.Dir + "/data/link.csv'", "FROM read_csv('" + p.Dir + "/data/link.csv')", "FROM glob('" + p.Dir + "/*')", "FROM sniff_csv('" + canary + "')", "FROM 'pintail.yaml'",
			"SELECT * FROM \"" + canary + "\"", "SELECT (SELECT count(*) FROM read_text('/etc/passwd'))", "FROM query('DROP TABLE orders')", "FROM query_table('_pintail.runs')", "SELECT getenv('HOME')", "FROM duckdb_secrets()", "CREATE SECRET s (TYPE s3)", "SELECT nextval('x')", "SELECT pg_sleep(100)", "SELECT write_log('x')", "FROM enable_logging()", "FROM json_execute_serialized_sql('x')",
			"SELECT * FROM _pintail_feed(1)", "SELECT * FROM main._pintail_feed(1)", "FROM memory.main.x",
		} {
			for who, s := range map[string]*harness.Server{"administrator": admin, "reader": reader} {
				status, body := s.Do("POST", "/v0/sql", map[string]any{"sql": sql})
				if status != 403 && status != 400 {
					t.Errorf("%s: %s: %d %.200s", who, sql, status, body)
				}
				if strings.Contains(string(body), "42\n") {
					t.Errorf("%s read a file: %s", who, sql)
				}
			}
		}
		require.Equal(t, before, entries(t, p.Dir), "no file came or went")
		require.Equal(t, settings, admin.One("SELECT string_agg(name || '=' || value, ',' ORDER BY name) FROM duckdb_settings() WHERE name NOT LIKE '%cpu%' AND name NOT LIKE '%time%'"))
		harness.Compare(t, url, "SELECT * FROM orders", admin, "orders", "id")

		// Values are bound: text that looks like SQL is text.
		for _, evil := range []string{"1; DROP TABLE orders", "' OR 1=1 --", `"); DELETE FROM orders; --`, "$1", "\x00"} {
			status, body := admin.Do("POST", "/v0/sql", map[string]any{"sql": "SELECT count(*) FROM orders WHERE amount::VARCHAR = $1", "params": []any{evil}})
			require.True(t, status == 200 && strings.Contains(flat(string(body)), `"rows":[ [0]]`) || status == 400, "%d %s", status, body)
			status, _ = admin.Do("GET", "/api/store/data/orders?id="+strings.NewReplacer(" ", "%20", ";", "%3B", `"`, "%22", "'", "%27", "\x00", "%00", "$", "%24").Replace(evil), nil)
			require.Contains(t, []int{200, 400}, status)
			status, _ = admin.Do("GET", "/api/store/data/orders?sort_by="+strings.NewReplacer(" ", "%20", ";", "%3B", `"`, "%22", "'", "%27", "\x00", "%00", "$", "%24").Replace(evil), nil)
			require.Equal(t, 400, status)
		}
		harness.Compare(t, url, "SELECT * FROM orders", admin, "orders", "id")

		// A statement that asks for more memory than there is fails alone.
		status, body := admin.Do("POST", "/v0/sql", map[string]any{"sql": "SELECT list(repeat('x', 1000) || a.id || b.id) FROM orders a, orders b", "deadline": "20s"})
		require.NotEqual(t, 200, status, "%.100s", body)
		admin.Sync("orders")
		harness.Compare(t, url, "SELECT * FROM orders", admin, "orders", "id")
	})
}

func entries(t testing.TB, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if !strings.HasSuffix(path, ".wal") && !strings.Contains(path, ".tmp") {
			names = append(names, path)
		}
		return err
	}))
	return names
}

// A page of another site cannot use the reader's browser: its requests carry an Origin, a foreign Host, or a form's body.
func TestBrowsers(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, securitySQL)
		s := manual(t, url, "datasets:\n  orders: {source: pg, table: public.orders}\n").Serve()
		s.Sync("orders")
		for _, c := range []struct {
			name   string
			change func(r *http.Request)
			want   int
		}{
			{"a program", func(*http.Request) {}, 200},
			{"its own page", func(r *http.Request) { r.Header.Set("Origin", s.Base) }, 200},
			{"another site's page", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403},
			{"a page without an origin", func(r *http.Request) { r.Header.Set("Origin", "null") }, 403},
			{"another site's form", func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, 415},
			{"a simple request", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415},
			{"cross-site", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
			{"a rebound name", func(r *http.Request) { r.Host = "evil.example" }, 421},
			{"a rebound name with the port", func(r *http.Request) { r.Host = "evil.example:" + s.Base[strings.LastIndex(s.Base, ":")+1:] }, 421},
			{"localhost", func(r *http.Request) { r.Host = "localhost:1" }, 200},
			{"through a proxy", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.7") }, 401},
		} {
			req, err := http.NewRequest(http.MethodPost, s.Base+"/v0/sql", strings.NewReader(`{"sql": "SELECT count(*) FROM orders"}`))
			require.NoError(t, err)
			req.Header.Set("Content-Type", "application/json")
			c.change(req)
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			b, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			res.Body.Close()
			if res.StatusCode != c.want {
				t.Errorf("%s: want %d, got %d %s", c.name, c.want, res.StatusCode, b)
			}
			require.Empty(t, res.Header.Get("Access-Control-Allow-Origin"))
		}
	})
}

// With certificates every door speaks TLS, other machines may come in, and commands find their way.
func TestServeTLS(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, securitySQL)
		p := harness.New(t)
		cert, key := certificate(t, p.Dir)
		p.Env = []string{"GRAFANA=a long password", "PINTAIL_TOKEN=token-of-the-administrator", "SSL_CERT_FILE=" + cert}
		p.DuckDB = "sync_mode: manual"
		open := strings.Replace(p.Head(url), "127.0.0.1:", "0.0.0.0:", 1)
		p.Write(strings.Replace(open, "@0.0.0.0:", "@127.0.0.1:", 1) + securityYAML)
		_, port, err := net.SplitHostPort(p.Listen)
		require.NoError(t, err)
		withTLS := fmt.Sprintf("server: {http: {listen: '0.0.0.0:%s'}, tls: {cert: %q, key: %q}}", port, cert, key)
		head, _, _ := strings.Cut(p.Head(url), "server: ")
		p.Write(head + "server: {http: {listen: '0.0.0.0:" + port + "'}}\n" + securityYAML)
		contains(t, p.Code(2, "serve").Stderr, "open beyond this machine")
		p.Write(head + withTLS + "\n" + securityYAML)
		pr := p.Start("serve")
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(readFile(t, cert)))
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
		harness.Eventually(t, 30*time.Second, "the server answers over TLS", func() bool {
			res, err := client.Get("https://localhost:" + port + "/readyz")
			if err != nil {
				return false
			}
			defer res.Body.Close()
			return res.StatusCode == http.StatusOK
		})
		contains(t, p.OK("sync", "orders"), "orders: full sync")
		contains(t, p.OK("query", "--format", "csv", "SELECT count(*) AS n FROM orders"), "n\n5000\n")
		res, err := http.Get("http://localhost:" + port + "/healthz")
		if err == nil {
			defer res.Body.Close()
			require.NotEqual(t, 200, res.StatusCode)
		}
		pr.Signal(15)
		r, ok := pr.Wait(harness.StopTimeout)
		require.True(t, ok)
		require.Equal(t, 0, r.Code, r)
		harness.Compare(t, url, "SELECT * FROM orders", harness.File(p.DB), "orders", "id")
	})
}

// certificate makes a certificate for localhost that is its own authority.
func certificate(t testing.TB, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	return certFile, keyFile
}

// The metrics tell what happened, and are open to this machine only unless the configuration says otherwise.
func TestMetrics(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, securitySQL)
		p := manual(t, url, "datasets:\n  orders: {source: pg, table: public.orders}\n  broken: {source: pg, table: public.none}\n")
		s := p.Serve()
		s.Sync("orders")
		s.SyncFails("broken", "source_sql")
		status, body := s.Do("GET", "/metrics", nil)
		require.Equal(t, 200, status)
		contains(t, string(body), `pintail_runs_total{dataset="orders",kind="full",state="ready"} 1`, `pintail_sync_errors_total{code="source_sql",dataset="broken"} 1`, `pintail_rows_read_total{dataset="orders"} 5000`,
			`pintail_dataset_freshness_seconds{dataset="orders"}`, "pintail_store_file_bytes", "pintail_run_duration_seconds_bucket", "pintail_http_requests_total", "pintail_build_info")
		s.Stop()
		p.Write(strings.Replace(readFile(t, p.Config), "server: {", "server: {metrics_open: false, ", 1) + "users: {u: {token: a-token-for-the-metrics-x, role: admin}}\n")
		s = p.Serve()
		status, _ = s.Do("GET", "/metrics", nil)
		require.Equal(t, 401, status)
		s.Token = "a-token-for-the-metrics-x"
		status, _ = s.Do("GET", "/metrics", nil)
		require.Equal(t, 200, status)
		var doc struct{ Paths map[string]any }
		s.JSON(200, "GET", "/openapi.json", nil, &doc)
		require.Contains(t, doc.Paths, "/api/store/sync/{dataset}")
	})
}
