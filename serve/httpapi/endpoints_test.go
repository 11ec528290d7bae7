package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/serve/endpoint"
	"github.com/pintaildb/pintail/store"
)

// published is a kit with a folder of endpoints that is followed.
type published struct {
	*kit
	dir    string
	folder *endpoint.Folder
}

func publish(t *testing.T, o kitOptions, files map[string]string) *published {
	t.Helper()
	p := &published{dir: filepath.Join(t.TempDir(), "endpoints")}
	for name, text := range files {
		p.writeTo(t, name, text)
	}
	inner := o.server
	o.server = func(opts *Options) {
		p.folder = endpoint.New(endpoint.Options{Path: p.dir, Every: 100 * time.Millisecond, Check: opts.Queries.Describe, Log: opts.Log})
		p.folder.Load(t.Context())
		opts.Endpoints, opts.EndpointCache = p.folder, 1<<20
		if inner != nil {
			inner(opts)
		}
	}
	p.kit = newKit(t, o)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.folder.Run(ctx) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-ended) })
	return p
}

// writeTo puts a file into its place at once.
func (p *published) writeTo(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(p.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o644))
	require.NoError(t, os.Rename(path+".new", path))
}

func (p *published) exec(statements ...string) {
	p.t.Helper()
	require.NoError(p.t, p.store.Commit(context.Background(), func(tx *store.Tx) error {
		for _, sql := range statements {
			if _, err := tx.Exec(sql); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (p *published) rows(path string) []any {
	p.t.Helper()
	rows, ok := p.get("/v0/endpoints/" + path).json(200)["rows"].([]any)
	require.True(p.t, ok)
	return rows
}

const byStatus = `-- summary: Rows of a status
-- parameters:
--   - {name: status, type: text, required: true, max_length: 200}
--   - {name: from, type: integer, default: 0, min: 0, max: 1000}
-- limit: 5
SELECT dataset_id, status, query FROM m_dataset WHERE status = $status AND dataset_id >= $from ORDER BY 1
`

func TestEndpoint(t *testing.T) {
	k := publish(t, kitOptions{}, map[string]string{"rows.sql": byStatus, "deep/er/ones.sql": "SELECT 1 AS one, 'a,b' AS text", "README.md": "no endpoint", ".hidden.sql": "nor this"})
	a := k.get("/v0/endpoints/rows.json?status=ok&from=50")
	body := a.json(200)
	require.Equal(t, []any{[]any{json.Number("52"), "ok", "text 52"}, []any{json.Number("53"), "ok", "text 53"}, []any{json.Number("55"), "ok", "text 55"},
		[]any{json.Number("56"), "ok", "text 56"}, []any{json.Number("58"), "ok", "text 58"}}, body["rows"])
	require.Equal(t, true, body["truncated"])
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	require.Contains(t, body["position"], "m")

	require.Equal(t, "one,text\n1,\"a,b\"\n", string(k.get("/v0/endpoints/deep/er/ones.csv").body))
	require.Equal(t, "{\"one\":1,\"text\":\"a,b\"}\n", string(k.get("/v0/endpoints/deep/er/ones.ndjson").body))
	require.Equal(t, "one,text\n1,\"a,b\"\n", string(k.call("GET", "/v0/endpoints/deep/er/ones", "", "", "Accept", "text/csv").body))
	require.Contains(t, k.call("GET", "/v0/endpoints/deep/er/ones", "", "", "Accept", "text/html,*/*;q=0.8").json(200), "rows")
	head := k.call("HEAD", "/v0/endpoints/deep/er/ones.csv", "", "")
	require.Equal(t, 200, head.status)
	require.Empty(t, head.body)

	for path, want := range map[string]string{
		"rows.json":                     "parameter status is missing: it needs text",
		"rows.json?status=ok&limit=3":   `parameter "limit" is not one of this endpoint's`,
		"rows.json?status=ok&status=ok": "parameter status is given 2 times, needs one value",
		"rows.json?status=ok&from=x":    `parameter from needs a whole number`,
		"rows.json?status=ok&from=1001": "parameter from needs 1000 at most",
		"rows.xlsx?status=ok":           `endpoint rows has no form ".xlsx"`,
		"rows.?status=ok":               `endpoint rows has no form "."`,
		"deep/er/ones.json?one=1":       `parameter "one" is not one of this endpoint's`,
		"rows.json?status=ok;from=1":    "the query string cannot be read",
	} {
		require.Contains(t, k.get("/v0/endpoints/"+path).fails(400, fault.Usage), want, path)
	}
	for _, path := range []string{"none.json", "none", "rows/x.json", "ROWS.json", "README", ".hidden", "deep%2Fer%2Fnone"} {
		k.get("/v0/endpoints/"+path).fails(404, fault.NotFound)
	}
	k.call("POST", "/v0/endpoints/rows.json", "", "").fails(405, fault.Usage)
	metrics := string(k.get("/metrics").body)
	require.Contains(t, metrics, `pintail_endpoint_requests_total{code="200",endpoint="rows"} 1`)
	require.Contains(t, metrics, `pintail_endpoint_requests_total{code="400",endpoint="rows"} 7`)
	require.Contains(t, metrics, `pintail_endpoint_requests_total{code="404",endpoint="none"} 7`)
	require.Contains(t, metrics, `pintail_endpoint_rows_total{endpoint="rows"} 5`)
}

// What a value holds is a value, whatever it looks like.
func TestEndpointInjection(t *testing.T) {
	k := publish(t, kitOptions{}, map[string]string{
		"equal.sql": "-- parameters: [{name: word, required: true}]\nSELECT count(*) FROM m_dataset WHERE status = $word",
		"echo.sql":  "-- parameters: [{name: word, required: true}, {name: list, type: list of text}]\nSELECT $word::VARCHAR, $list::VARCHAR[]",
	})
	for _, word := range []string{"ok' OR '1'='1", "ok'; DROP TABLE m_dataset; --", "$word", "${word}", "{{word}}", "?", "$1", `\'; SELECT 1`, "ok\x1f", "'||(SELECT word FROM secret)||'", "NULL",
		"/*", "--", "ok\n--", "$$", `"`, "%", "’ OR 1=1", "); COPY m_dataset TO '/tmp/x'; (", "now()"} {
		require.Equal(t, []any{[]any{json.Number("0")}}, k.rows("equal.json?word="+url.QueryEscape(word)), word)
		require.Equal(t, []any{[]any{word, []any{word, "x"}}}, k.rows("echo.json?word="+url.QueryEscape(word)+"&list="+url.QueryEscape(word)+"&list=x"), word)
		for _, name := range []string{word, "word" + word, "word[]", "word[x]"} {
			if name != "NULL" && strings.TrimSpace(name) != "" {
				k.get("/v0/endpoints/equal.json?word=a&"+url.QueryEscape(name)+"=1").fails(400, fault.Usage)
			}
		}
	}
	require.Equal(t, []any{[]any{json.Number("72")}}, k.rows("equal.json?word=ok"), "the table is as it was")
}

func TestEndpointRights(t *testing.T) {
	files := map[string]string{
		"open.sql":    "SELECT count(*) FROM m_dataset",
		"closed.sql":  "-- roles: [loader]\nSELECT count(*) FROM m_dataset",
		"other.sql":   "SELECT count(*) FROM e_a",
		"mixed.sql":   "SELECT count(*) FROM m_dataset JOIN e_a ON true",
		"secret.sql":  "SELECT word FROM secret",
		"listing.sql": "SELECT count(*) FROM duckdb_tables()",
		"pure.sql":    "SELECT 1",
	}
	k := publish(t, kitOptions{users: true}, files)
	for name, want := range map[string]string{"open": "200 200 403 200", "closed": "200 403 403 403", "other": "200 403 403 200", "mixed": "200 403 403 200", "secret": "200 403 403 403", "listing": "200 403 403 403",
		"pure": "200 200 200 200", "absent": "404 403 403 403"} {
		var got []string
		for _, user := range []string{"admin", "reader", "loader", "small"} {
			a := k.call("GET", "/v0/endpoints/"+name+".json", user+"-"+user, "")
			got = append(got, fmt.Sprint(a.status))
			if a.status == 403 {
				require.Equal(t, fmt.Sprintf("call endpoint %s: it does not exist, or role %q may not call it, or not read what it reads", name, user), a.fails(403, fault.Forbidden))
			}
		}
		require.Equal(t, want, strings.Join(got, " "), name)
		k.call("GET", "/v0/endpoints/"+name+".json", "", "").fails(401, fault.Unauthenticated)
	}
	for user, want := range map[string][]string{"admin": {"closed", "listing", "mixed", "open", "other", "pure", "secret"}, "reader": {"open", "pure"}, "loader": {"pure"}, "small": {"mixed", "open", "other", "pure"}} {
		paths := k.call("GET", "/v0/endpoints/openapi.json", user+"-"+user, "").json(200)["paths"].(map[string]any)
		require.Len(t, paths, len(want), user)
		for _, name := range want {
			require.Contains(t, paths, "/v0/endpoints/"+name+".{format}", user)
		}
	}
	k.call("GET", "/v0/endpoints/openapi.json", "", "").fails(401, fault.Unauthenticated)
}

// A kept answer is nobody's who may not have it, and limits of a role cut only its own answers.
func TestEndpointCacheKeepsRights(t *testing.T) {
	k := publish(t, kitOptions{users: true}, map[string]string{"rows.sql": "-- cache: 1h\nSELECT dataset_id FROM m_dataset ORDER BY 1", "e.sql": "-- cache: 1h\nSELECT id FROM e_a ORDER BY 1"})
	count := func(name, user string) any {
		return k.call("GET", "/v0/endpoints/"+name+".json", user+"-"+user, "").json(200)["row_count"]
	}
	require.Equal(t, json.Number("3"), count("rows", "small"))
	require.Equal(t, json.Number("120"), count("rows", "reader"))
	require.Equal(t, json.Number("120"), count("rows", "admin"))
	require.Equal(t, json.Number("3"), count("rows", "small"))
	require.Equal(t, json.Number("40"), count("e", "admin"))
	k.call("GET", "/v0/endpoints/e.json", "reader-reader", "").fails(403, fault.Forbidden)
}

func TestEndpointETag(t *testing.T) {
	k := publish(t, kitOptions{}, map[string]string{
		"t.sql":    "-- parameters: [{name: n, type: integer, default: 1}]\nSELECT count(*) FROM e_a WHERE id > $n",
		"view.sql": "SELECT count(*) FROM m_data",
		"now.sql":  "SELECT now(), count(*) FROM e_a",
		"lot.sql":  "-- cache: 1h\nSELECT random(), count(*) FROM e_a",
	})
	ask := func(path, etag string) *answer {
		t.Helper()
		if etag == "" {
			return k.get("/v0/endpoints/" + path)
		}
		return k.call("GET", "/v0/endpoints/"+path, "", "", "If-None-Match", etag)
	}
	first := ask("t.json", "")
	etag := first.header.Get("ETag")
	require.Regexp(t, `^W/"[A-Za-z0-9_-]{24}"$`, etag)
	require.Equal(t, "private, no-cache", first.header.Get("Cache-Control"))
	require.Equal(t, 304, ask("t.json", etag).status)
	require.Equal(t, 304, ask("t.json?n=1", `"x", `+strings.TrimPrefix(etag, "W/")).status)
	require.Equal(t, 304, ask("t.json", "*").status)
	for _, other := range []string{"t.csv", "t.json?n=2", "t.ndjson"} {
		a := ask(other, etag)
		require.Equal(t, 200, a.status, other)
		require.NotEqual(t, etag, a.header.Get("ETag"), other)
	}
	// Another table's change is none of it; that of its own is, also when nothing comes of it but another row in the same place.
	require.NoError(t, k.store.Commit(t.Context(), func(tx *store.Tx) error { return tx.SetMeta("any", "thing") }))
	require.Equal(t, 304, ask("t.json", etag).status)
	k.exec("UPDATE e_a SET id = 100 WHERE id = 39")
	changed := ask("t.json", etag)
	require.Equal(t, 200, changed.status)
	require.NotEqual(t, etag, changed.header.Get("ETag"))
	require.Equal(t, 200, ask("t.json", etag).status, "no way back")

	etag = ask("view.json", "").header.Get("ETag")
	require.NotEmpty(t, etag)
	require.Equal(t, 304, ask("view.json", etag).status)
	k.exec("DELETE FROM m_results WHERE dataset_id = 1")
	require.Equal(t, 200, ask("view.json", etag).status)
	k.exec("CREATE OR REPLACE VIEW m_data AS SELECT now() AS at, * FROM m_results")
	require.Empty(t, ask("view.json", "").header.Get("ETag"), "a view over the time of day")

	require.Empty(t, ask("now.json", "").header.Get("ETag"))
	require.Equal(t, "no-store", ask("now.json", "").header.Get("Cache-Control"))
	kept := ask("lot.json", "")
	require.Equal(t, 304, ask("lot.json", kept.header.Get("ETag")).status, "the answer that is kept")
	require.Equal(t, kept.body, ask("lot.json", `"other"`).body)

	k.exec("CREATE OR REPLACE TABLE e_a AS SELECT i::DOUBLE AS id FROM range(3) r(i)")
	k.get("/v0/endpoints/t.json").json(200)
	k.exec("DROP TABLE e_a")
	k.get("/v0/endpoints/t.json").fails(400, fault.InvalidSQL)
	k.exec("CREATE TABLE e_a AS SELECT 7 AS id, 8 AS part")
	require.Equal(t, []any{[]any{json.Number("1")}}, k.rows("t.json"))
}

func TestEndpointCache(t *testing.T) {
	k := publish(t, kitOptions{}, map[string]string{
		"day.sql":   "-- cache: 1h\nSELECT sum(id) FROM e_a",
		"short.sql": "-- cache: 0.2\nSELECT sum(id) FROM e_a",
		"rows.sql":  "-- cache: 1h\nSELECT * FROM m_results",
		"large.sql": "-- cache: 1h\nSELECT repeat('x', 1000) FROM range(1000)",
		"bad.sql":   "-- cache: 1h\n-- parameters: [{name: n, type: text, required: true}]\nSELECT $n::INTEGER + id FROM e_a",
	})
	sum := func(name string) string { t.Helper(); return fmt.Sprint(k.rows(name + ".json")) }
	require.Equal(t, "[[780]]", sum("day"))
	require.Equal(t, "[[780]]", sum("short"))
	k.exec("INSERT INTO e_a VALUES (1000, 1)")
	a := k.get("/v0/endpoints/day.json")
	require.Contains(t, string(a.body), "[780]", "within its hour it may be that old")
	require.Equal(t, "private, max-age=3600", a.header.Get("Cache-Control"))
	require.Equal(t, "0", a.header.Get("Age"))
	require.Eventually(t, func() bool { return sum("short") == "[[1780]]" }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, "[[780]]", sum("day"))
	before := string(k.get("/v0/endpoints/short.json").body)
	for range 2 { // not kept, and whole
		rows := k.get("/v0/endpoints/large.json").json(200)
		require.Equal(t, json.Number("1000"), rows["row_count"])
	}
	for range 2 {
		k.get("/v0/endpoints/bad.json?n=x").fails(400, fault.InvalidSQL)
	}
	k.get("/v0/endpoints/bad.json?n=1").json(200)
	require.NotEmpty(t, before)
	plain := k.call("GET", "/v0/endpoints/rows.csv", "", "", "Accept-Encoding", "identity")
	require.NotEmpty(t, plain.header.Get("Content-Length"))
	for _, coding := range []string{"gzip", "zstd"} {
		packed := k.call("GET", "/v0/endpoints/rows.csv", "", "", "Accept-Encoding", coding)
		require.Equal(t, coding, packed.header.Get("Content-Encoding"))
		require.Equal(t, plain.header.Get("ETag"), packed.header.Get("ETag"))
		require.Less(t, len(packed.body), len(plain.body))
	}
	require.Empty(t, k.call("GET", "/v0/endpoints/day.csv", "", "", "Accept-Encoding", "gzip").header.Get("Content-Encoding"))
	for _, format := range []string{"arrow", "parquet"} {
		first, kept := k.get("/v0/endpoints/rows."+format), k.get("/v0/endpoints/rows."+format)
		require.Equal(t, 200, first.status)
		require.Equal(t, "application/vnd.apache."+map[string]string{"arrow": "arrow.stream", "parquet": "parquet"}[format], first.header.Get("Content-Type"))
		require.Equal(t, first.body, kept.body)
	}
	require.Positive(t, k.srv.endpoints.cache.Bytes())
	require.Contains(t, string(k.get("/metrics").body), `pintail_endpoint_cache_hits_total{endpoint="day"} 2`)
}

// An answer past its time is the same one as long as the tables are: it is not computed again.
func TestEndpointCacheRevalidates(t *testing.T) {
	k := publish(t, kitOptions{}, map[string]string{"short.sql": "-- cache: 0.05\nSELECT sum(id) FROM e_a"})
	first := k.get("/v0/endpoints/short.json")
	deadline := time.Now().Add(300 * time.Millisecond)
	for time.Now().Before(deadline) {
		require.Equal(t, string(first.body), string(k.get("/v0/endpoints/short.json").body), "elapsed_ms too")
	}
	k.exec("INSERT INTO e_a VALUES (1000, 1)")
	require.Eventually(t, func() bool { return strings.Contains(string(k.get("/v0/endpoints/short.json").body), "[1780]") }, 10*time.Second, 5*time.Millisecond)
}

func TestEndpointRate(t *testing.T) {
	k := publish(t, kitOptions{users: true}, map[string]string{"slow.sql": "-- rate: 3/h\nSELECT 1", "free.sql": "SELECT 1"})
	for range 3 {
		k.call("GET", "/v0/endpoints/slow.json", "reader-reader", "").json(200)
	}
	a := k.call("GET", "/v0/endpoints/slow.json", "reader-reader", "")
	require.Equal(t, `endpoint slow: more requests than 3/h of user "reader"`, a.fails(429, fault.Limit))
	require.Equal(t, "1200", a.header.Get("Retry-After"))
	k.call("GET", "/v0/endpoints/slow.json", "other-other", "").json(200)
	k.call("GET", "/v0/endpoints/free.json", "reader-reader", "").json(200)
	// Another text of the file has the same account, another rate a new one.
	k.writeTo(t, "slow.sql", "-- rate: 5/h\nSELECT 2")
	require.Eventually(t, func() bool {
		return k.call("GET", "/v0/endpoints/slow.json", "reader-reader", "").status == 200
	}, 10*time.Second, 10*time.Millisecond)
}

// Files change, come, go and break while they are asked for.
func TestEndpointReload(t *testing.T) {
	k := publish(t, kitOptions{}, map[string]string{"a.sql": "SELECT 1 AS n", "b.sql": "SELECT 1 AS n"})
	eventually := func(name, want string) {
		t.Helper()
		var got string
		require.Eventually(t, func() bool {
			a := k.get("/v0/endpoints/" + name + ".csv")
			got = fmt.Sprintf("%d %s", a.status, a.body)
			return strings.HasPrefix(got, want)
		}, 10*time.Second, 10*time.Millisecond, "%s: %s", name, got)
	}
	eventually("a", "200 n\n1\n")
	k.writeTo(t, "a.sql", "SELECT 2 AS n")
	k.writeTo(t, "new/c.sql", "SELECT 3 AS n")
	require.NoError(t, os.Remove(filepath.Join(k.dir, "b.sql")))
	eventually("a", "200 n\n2\n")
	eventually("new/c", "200 n\n3\n")
	eventually("b", "404")

	k.writeTo(t, "a.sql", "-- cahce: 3\nSELECT 4 AS n")
	k.writeTo(t, "d.sql", "SELEC 5")
	k.writeTo(t, "e.sql", "DROP TABLE m_dataset")
	k.writeTo(t, "f.sql", "SELECT * FROM read_text('/etc/passwd')")
	k.writeTo(t, "g.sql", "-- name: new/c\nSELECT 6")
	k.writeTo(t, "h.sql", "SELECT * FROM not_there_yet")
	k.log.Wait(t, "ERROR", "a.sql:1:4: cahce: unknown key", "(what it held before stays published)")
	k.log.Wait(t, "ERROR", "d.sql:1:1", "syntax error")
	k.log.Wait(t, "ERROR", "e.sql:1:1", "only SELECT may run here")
	k.log.Wait(t, "ERROR", "f.sql:1:1", "read_text() may not be called here")
	k.log.Wait(t, "ERROR", "new/c is the endpoint of "+filepath.Join(k.dir, "g.sql")+" already")
	k.log.Wait(t, "INFO endpoint published endpoint=h")
	eventually("a", "200 n\n2\n")
	eventually("d", "404")
	eventually("h", "400")
	k.exec("CREATE TABLE not_there_yet AS SELECT 7 AS n")
	eventually("h", "200 n\n7\n")

	require.NoError(t, os.Rename(k.dir, k.dir+"-away"))
	k.log.Wait(t, "ERROR", "the folder cannot be read, what is published stays")
	eventually("a", "200 n\n2\n")
	require.NoError(t, os.Rename(k.dir+"-away", k.dir))
	k.writeTo(t, "a.sql", "SELECT 8 AS n")
	eventually("a", "200 n\n8\n")
}

// Under load every answer is of one text of the file and of one version of the table.
func TestEndpointHammer(t *testing.T) {
	text := func(n int) string {
		return fmt.Sprintf("-- cache: %d\nSELECT count(*) AS n, min(v) AS low, max(v) AS high, %d AS text, %d AS again FROM e_a", n%2, n, n)
	}
	k := publish(t, kitOptions{}, map[string]string{"x.sql": text(0)})
	k.exec("CREATE OR REPLACE TABLE e_a AS SELECT 0 AS v FROM range(1000)")
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	writers, wctx := errgroup.WithContext(ctx)
	writers.Go(func() error {
		for n := 1; wctx.Err() == nil; n++ {
			k.writeTo(t, "x.sql", text(n))
			time.Sleep(20 * time.Millisecond) // as often as the folder is looked at
		}
		return nil
	})
	writers.Go(func() error {
		for n := 1; wctx.Err() == nil; n++ {
			if err := k.store.Commit(context.Background(), func(tx *store.Tx) error {
				_, err := tx.Exec(fmt.Sprintf("CREATE OR REPLACE TABLE e_a AS SELECT %d AS v FROM range(1000)", n))
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	answers, unchanged := 0, 0
	byTag := map[string]string{}
	readers, rctx := errgroup.WithContext(ctx)
	for range 64 {
		readers.Go(func() error {
			etag := ""
			for rctx.Err() == nil {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, k.url+"/v0/endpoints/x.csv", nil)
				if err != nil {
					return err
				}
				req.Header.Set("If-None-Match", etag)
				res, err := client.Do(req)
				if err != nil {
					return err
				}
				var b strings.Builder
				buf := make([]byte, 4096)
				for n := 1; n > 0; {
					n, _ = res.Body.Read(buf)
					b.Write(buf[:n])
				}
				res.Body.Close()
				if res.StatusCode == http.StatusNotModified {
					mu.Lock()
					unchanged++
					mu.Unlock()
					continue
				}
				var n, low, high, text, again int
				if _, err := fmt.Sscanf(b.String(), "n,low,high,text,again\n%d,%d,%d,%d,%d\n", &n, &low, &high, &text, &again); err != nil || res.StatusCode != http.StatusOK {
					return fmt.Errorf("%d %q: %w", res.StatusCode, b.String(), err)
				}
				if n != 1000 || low != high || text != again {
					return fmt.Errorf("a mix: %s", b.String())
				}
				etag = res.Header.Get("ETag")
				mu.Lock()
				if first, ok := byTag[etag]; etag != "" && ok && first != b.String() {
					mu.Unlock()
					return fmt.Errorf("%s is the ETag of %q and of %q", etag, first, b.String())
				}
				byTag[etag] = b.String()
				answers++
				mu.Unlock()
			}
			return nil
		})
	}
	require.NoError(t, readers.Wait())
	require.NoError(t, writers.Wait())
	require.Greater(t, answers, 64)
	require.Greater(t, len(byTag), 2)
	t.Logf("%d answers, %d not modified, %d ETags", answers, unchanged, len(byTag))
}

// Parameters are described so that a client can check them; defaults and examples are what the description wants.
func TestEndpointDocument(t *testing.T) {
	k := publish(t, kitOptions{}, map[string]string{"all.sql": `-- summary: All types
-- description: Each once.
-- cache: 30
-- rate: 10/s
-- limit: 7
-- parameters:
--   - {name: i, type: integer, min: 1, max: 10, default: 3, example: 4, description: a number}
--   - {name: n, type: number, min: 0.5, example: 1.25}
--   - {name: b, type: boolean, default: true}
--   - {name: d, type: date, min: 2026-01-01, example: 2026-02-03}
--   - {name: t, type: timestamp, example: 2026-02-03T04:05:06Z}
--   - {name: u, type: uuid, example: 019a9f3e-0d5c-7c51-9f0e-2f7b9d1b6c3a}
--   - {name: e, enum: [red, green], default: red}
--   - {name: s, min_length: 1, max_length: 5, pattern: "[a-z]+", required: true, example: abc}
--   - {name: l, type: list of integer, min: 0, default: [1, 2]}
SELECT $i, $n, $b, $d, $t, $u, $e, $s, $l
`, "plain.sql": "SELECT 1"})
	a := k.get("/v0/endpoints/openapi.json")
	doc := a.json(200)
	require.Equal(t, "3.1.0", doc["openapi"])
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(string(a.body)))
	require.NoError(t, err)
	require.NoError(t, compiler.AddResource("doc.json", parsed))
	paths := parsed.(map[string]any)["paths"].(map[string]any)
	require.Len(t, paths, 2)
	operation := paths["/v0/endpoints/all.{format}"].(map[string]any)["get"].(map[string]any)
	require.Equal(t, "all", operation["operationId"])
	require.Contains(t, operation["description"], "An answer may be up to 30s old")
	params := operation["parameters"].([]any)
	require.Len(t, params, 11)
	for i, p := range params {
		p := p.(map[string]any)
		schema, err := compiler.Compile(fmt.Sprintf("doc.json#/paths/~1v0~1endpoints~1all.{format}/get/parameters/%d/schema", i))
		require.NoError(t, err, "%v", p)
		samples := 0
		for _, v := range []any{p["example"], p["schema"].(map[string]any)["default"]} {
			if v != nil {
				require.NoError(t, schema.Validate(v), "%v", p)
				samples++
			}
		}
		require.Positive(t, samples, "%v", p["name"])
	}
	answerSchema, err := compiler.Compile("doc.json#/components/schemas/Answer")
	require.NoError(t, err)
	body, err := jsonschema.UnmarshalJSON(strings.NewReader(string(k.get("/v0/endpoints/all.json?s=abc").body)))
	require.NoError(t, err)
	require.NoError(t, answerSchema.Validate(body))
	errorSchema, err := compiler.Compile("doc.json#/components/schemas/Error")
	require.NoError(t, err)
	body, err = jsonschema.UnmarshalJSON(strings.NewReader(string(k.get("/v0/endpoints/all.json").body)))
	require.NoError(t, err)
	require.NoError(t, errorSchema.Validate(body))
}

func TestEndpointPageIsOpenAndHoldsNothing(t *testing.T) {
	k := publish(t, kitOptions{users: true}, map[string]string{"secret-name.sql": "SELECT 1"})
	for path, media := range map[string]string{"": "text/html; charset=utf-8", "/": "text/html; charset=utf-8", "/-/page.js": "text/javascript; charset=utf-8", "/-/page.css": "text/css; charset=utf-8"} {
		a := k.get("/v0/endpoints" + path)
		require.Equal(t, 200, a.status, path)
		require.Equal(t, media, a.header.Get("Content-Type"))
		require.NotContains(t, string(a.body), "secret-name")
		for _, foreign := range []string{"http://", "https://", "//cdn", "@import", "style=", "onclick"} {
			require.NotContains(t, string(a.body), foreign, path)
		}
		if strings.HasSuffix(path, ".css") {
			require.NotContains(t, string(a.body), "url(")
		}
		csp := a.header.Get("Content-Security-Policy")
		require.Contains(t, csp, "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
		require.NotContains(t, csp, "unsafe")
		k.call("GET", "/v0/endpoints"+path, "", "", "Host", "evil.example").fails(421, fault.Forbidden)
	}
	for _, path := range []string{"/-/", "/-/x.js", "/-", "/-/../openapi.json"} {
		require.Contains(t, []int{301, 307, 401}, k.get("/v0/endpoints"+path).status, path)
	}
}
