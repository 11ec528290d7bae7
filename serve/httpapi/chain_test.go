package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

// routes are all operations, with a path that exists.
var allRoutes = []struct {
	method, path string
	body         string
	reader       int // status for a reader of m only
	loader       int // for a role that may only sync m
	admin        int
}{
	{"GET", "/openapi.json", "", 200, 200, 200},
	{"POST", "/api/store/sync", "", 403, 202, 202},
	{"POST", "/api/store/sync/m", "", 403, 202, 202},
	{"POST", "/api/store/sync/e", "", 403, 403, 202},
	{"POST", "/api/store/sync/none", "", 403, 403, 404},
	{"POST", "/api/store/sync/m/reset-watermark", "", 403, 200, 200},
	{"POST", "/api/store/verify/m", "", 403, 202, 202},
	{"POST", "/api/store/reconcile/m", "", 403, 202, 202},
	{"POST", "/api/store/datasets/m/pause", "", 403, 200, 200},
	{"POST", "/api/store/datasets/m/resume", "", 403, 200, 200},
	{"POST", "/api/store/reload?dry_run=true", "", 403, 403, 200},
	{"GET", "/api/store/status", "", 200, 200, 200},
	{"GET", "/api/store/quarantine", "", 200, 200, 200},
	{"POST", "/api/store/retry/m", "", 403, 200, 200},
	{"POST", "/api/store/retry/e?table=e_a", "", 403, 403, 200},
	{"GET", "/api/store/slots", "", 403, 403, 200},
	{"DELETE", "/api/store/slots/none", "", 403, 403, 404},
	{"GET", "/api/store/metadata/m", "", 200, 403, 200},
	{"GET", "/api/store/metadata/e_a", "", 403, 403, 200},
	{"GET", "/api/store/metadata/none", "", 403, 403, 404},
	{"GET", "/api/store/data/m", "", 200, 403, 200},
	{"GET", "/api/store/data/e_a", "", 403, 403, 200},
	{"GET", "/api/store/data/none", "", 403, 403, 404},
	{"GET", "/api/store/runs", "", 200, 200, 200},
	{"GET", "/api/store/runs/run-0", "", 200, 200, 200},
	{"GET", "/api/store/runs/run-1", "", 404, 404, 200},
	{"POST", "/api/store/runs/run-6/cancel", "", 403, 202, 202},
	{"POST", "/v0/sql", `{"sql":"SELECT count(*) FROM m_data"}`, 200, 403, 200},
	{"POST", "/v0/sql", `{"sql":"SELECT count(*) FROM e_a"}`, 403, 403, 200},
	{"GET", "/v0/endpoints/openapi.json", "", 200, 200, 200},
	{"GET", "/v0/endpoints/none", "", 403, 403, 404},
	{"DELETE", "/v0/cursors/none", "", 404, 404, 404},
	{"GET", "/v0/queries", "", 200, 200, 200},
	{"DELETE", "/v0/queries/none", "", 404, 404, 404},
}

func TestEveryRouteNeedsTheRightRole(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	covered := map[string]bool{}
	for _, r := range allRoutes {
		_, pattern := k.srv.mux.Handler(mustRequest(t, r.method, k.url+r.path))
		covered[strings.Replace(pattern, "...}", "}", 1)] = true
		t.Run(r.method+" "+r.path, func(t *testing.T) {
			k.t = t
			a := k.call(r.method, r.path, "", r.body)
			a.fails(401, fault.Unauthenticated)
			require.Equal(t, `Bearer realm="pintail"`, a.header.Get("WWW-Authenticate"))
			for token, want := range map[string]int{"reader-reader": r.reader, "loader-loader": r.loader, "admin-admin": r.admin} {
				a := k.call(r.method, r.path, token, r.body)
				require.Equal(t, want, a.status, "%s: %s", token, a.body)
			}
		})
	}
	k.t = t
	k.call("GET", "/api/store/status", "wrong-wrong", "").fails(401, fault.Unauthenticated)
	// None is forgotten.
	var doc struct{ Paths map[string]map[string]any }
	require.NoError(t, json.Unmarshal(k.srv.OpenAPI(), &doc))
	for path, item := range doc.Paths {
		for method := range item {
			pattern := strings.ToUpper(method) + " " + path
			require.True(t, covered[pattern] || probes[path] || path == "/metrics", "%s has no row in allRoutes", pattern)
		}
	}
}

func mustRequest(t *testing.T, method, url string) *http.Request {
	r, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	return r
}

// A reader sees and touches nothing of other datasets.
func TestListsAreFiltered(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	require.Len(t, k.call("GET", "/api/store/status", "reader-reader", "").json(200)["datasets"], 1)
	require.Len(t, k.call("GET", "/api/store/status", "admin-admin", "").json(200)["datasets"], 4)
	got := k.call("GET", "/api/store/runs?limit=3", "reader-reader", "").json(200)
	require.Len(t, got["runs"], 3)
	require.Equal(t, "run-2", got["next"])
	got = k.call("GET", "/api/store/runs?limit=3&before=run-2", "reader-reader", "").json(200)
	require.Len(t, got["runs"], 1)
	require.Nil(t, got["next"])
	all := k.call("POST", "/api/store/sync", "loader-loader", "").json(202)
	require.Equal(t, map[string]any{"m": "sync-of-m"}, all["run_ids"])
}

func TestBasicAuthentication(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	req := mustRequest(t, "GET", k.url+"/api/store/status")
	req.SetBasicAuth("reader", "readable")
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 200, res.StatusCode)
	req.SetBasicAuth("reader", "guessed")
	res, err = http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 401, res.StatusCode)
}

// With no users, this machine is administrator; what a proxy on it forwards is not this machine's.
func TestOpenServer(t *testing.T) {
	k := newKit(t, kitOptions{})
	k.get("/api/store/status").json(200)
	for _, h := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "X-Forwarded-Host", "Via"} {
		k.call("GET", "/api/store/status", "", "", h, "10.0.0.1").fails(401, fault.Unauthenticated)
	}
}

func TestHealthAndMetrics(t *testing.T) {
	reasons := map[string]error{"store": nil, "first_sync": errors.New("m is syncing for the first time")}
	k := newKit(t, kitOptions{users: true, server: func(o *Options) { o.Ready = func(context.Context) map[string]error { return reasons } }})
	require.Equal(t, map[string]any{"status": "ok"}, k.get("/healthz").json(200))
	a := k.get("/readyz")
	require.Equal(t, map[string]any{"ready": false, "checks": map[string]any{"store": "ok", "first_sync": "m is syncing for the first time"},
		"error": map[string]any{"code": "unavailable", "message": "not ready: 1 of 2 checks fail", "hint": "checks says why"}}, a.json(503))
	reasons["first_sync"] = nil
	require.Equal(t, true, k.get("/readyz").json(200)["ready"])
	k.get("/healthz?x=1").fails(400, fault.Usage)
	k.call("GET", "/healthz", "", "", "Host", "10.1.2.3:80").json(200) // as load balancers ask

	k.call("GET", "/api/store/status", "admin-admin", "").json(200)
	a = k.get("/metrics")
	require.Equal(t, 200, a.status)
	require.Contains(t, string(a.body), `pintail_http_requests_total{route="GET /api/store/status",status="200"} 1`)
	require.Contains(t, string(a.body), "pintail_queries_running 0")
	k.call("GET", "/metrics", "", "", "X-Forwarded-For", "10.0.0.1").fails(401, fault.Unauthenticated)
	closed := false
	k.srv.opts.MetricsOpen = &closed
	k.get("/metrics").fails(401, fault.Unauthenticated)
	require.Equal(t, 200, k.call("GET", "/metrics", "reader-reader", "").status)
}

// A check that hangs does not hang the answer.
func TestReadinessIsBounded(t *testing.T) {
	k := newKit(t, kitOptions{server: func(o *Options) {
		o.Ready = func(ctx context.Context) map[string]error { <-ctx.Done(); return map[string]error{"store": ctx.Err()} }
	}, change: func(s *Server) { s.readyTimeout = 20 * time.Millisecond }})
	k.get("/readyz").json(503)
}

func TestUnknownPathsMethodsAndBodies(t *testing.T) {
	k := newKit(t, kitOptions{})
	require.Contains(t, k.get("/nothing").fails(404, fault.NotFound), "/nothing")
	k.get("/").fails(404, fault.NotFound)
	k.get("/api/store/runs/a/b").fails(404, fault.NotFound)
	a := k.call("DELETE", "/api/store/status", "", "")
	a.fails(405, fault.Usage)
	require.Equal(t, "GET, HEAD", a.header.Get("Allow"))
	k.call("OPTIONS", "/v0/sql", "", "").fails(405, fault.Usage)
	k.get("/v0/sql").fails(405, fault.Usage)

	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=latin1", ""} {
		k.call("POST", "/v0/sql", "", `{"sql":"SELECT 1"}`, "Content-Type", media).fails(415, fault.Usage)
		k.call("POST", "/api/store/sync/m", "", `full=true`, "Content-Type", media).fails(415, fault.Usage)
	}
	k.call("POST", "/v0/sql", "", `{"sql":"SELECT 1"}`, "Content-Encoding", "gzip").fails(415, fault.Usage)
	require.Equal(t, 200, k.call("POST", "/v0/sql", "", `{"sql":"SELECT 1"}`, "Content-Type", "application/json; charset=utf-8").status)

	big := `{"sql":"SELECT 1 -- ` + strings.Repeat("x", bodyBytesMax) + `"}`
	k.call("POST", "/v0/sql", "", big).fails(413, fault.Usage)
	req, err := http.NewRequest(http.MethodPost, k.url+"/v0/sql", struct{ *strings.Reader }{strings.NewReader(big)}) // of unknown length
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 413, res.StatusCode)

	for body, what := range map[string]string{
		`{"sql":`:                         "",
		`[]`:                              "object",
		`{}`:                              "sql",
		`{"sql":""}`:                      "sql",
		`{"sql":5}`:                       "sql",
		`{"sql":"SELECT 1","paramz":[]}`:  "paramz",
		`{"sql":"SELECT 1","params":5}`:   "params",
		`{"sql":"SELECT 1","limit":0}`:    "limit",
		`{"sql":"SELECT 1","limit":-1}`:   "limit",
		`{"sql":"SELECT 1","format":"x"}`: "format",
		`{"sql":"SELECT 1","deadline":5}`: "deadline",
	} {
		require.Contains(t, k.call("POST", "/v0/sql", "", body).fails(400, fault.Usage), what, body)
	}
	k.call("POST", "/v0/sql", "", "").fails(400, fault.Usage)
	k.call("POST", "/v0/sql?x=1", "", `{"sql":"SELECT 1"}`).fails(400, fault.Usage)
}

func TestHosts(t *testing.T) {
	k := newKit(t, kitOptions{server: func(o *Options) { o.Hosts = []string{"Pintail.Example.com"} }})
	for host, ok := range map[string]bool{
		"localhost": true, "LOCALHOST:8500": true, "a.localhost": true, "127.0.0.1": true, "127.9.9.9:1": true, "[::1]:8500": true, "localhost.": true,
		"pintail.example.com": true, "PINTAIL.example.com:80": true, "pintail.example.com.": true,
		"evil.example.com": false, "pintail.example.com.evil.com": false, "10.0.0.1": false, "localhost.evil.com": false, "127.0.0.1.evil.com": false, "[fe80::1]": false,
	} {
		a := k.call("GET", "/api/store/status", "", "", "Host", host)
		if ok {
			require.Equal(t, 200, a.status, host)
		} else {
			a.fails(421, fault.Forbidden)
		}
	}
	// HTTP/1.0 may leave the header out.
	c, err := net.Dial("tcp", k.srv.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = fmt.Fprint(c, "GET /api/store/status HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 421, res.StatusCode)

	any := newKit(t, kitOptions{server: func(o *Options) { o.Hosts = []string{"*"} }})
	require.Equal(t, 200, any.call("GET", "/api/store/status", "", "", "Host", "whatever").status)
}

// A server that listens on every address may be called by the address that the client reached.
func TestHostOfTheConnection(t *testing.T) {
	s := &Server{hosts: map[string]bool{}}
	for host, ok := range map[string]bool{"10.1.2.3": true, "10.1.2.3:8500": true, "10.1.2.4": false} {
		r := mustRequest(t, "GET", "http://x/")
		r.Host = host
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 8500}))
		require.Equal(t, ok, s.checkHost(r) == nil, host)
	}
}

func TestOrigins(t *testing.T) {
	k := newKit(t, kitOptions{})
	self := k.url
	for _, c := range []struct {
		method, origin, site string
		ok                   bool
	}{
		{"GET", "", "", true}, {"POST", "", "", true}, {"POST", self, "", true}, {"POST", self, "same-origin", true}, {"GET", self, "", true},
		{"POST", "", "none", true}, {"GET", "", "cross-site", true},
		{"POST", "https://evil.com", "", false}, {"GET", "https://evil.com", "", false}, {"POST", "null", "", false}, {"POST", "", "cross-site", false},
		{"POST", "", "same-site", false}, {"POST", "http://localhost:1", "", false}, {"POST", self + ".evil.com", "", false}, {"POST", "file://", "", false},
	} {
		var header []string
		if c.origin != "" {
			header = append(header, "Origin", c.origin)
		}
		if c.site != "" {
			header = append(header, "Sec-Fetch-Site", c.site)
		}
		path := map[string]string{"GET": "/api/store/status", "POST": "/api/store/sync/m"}[c.method]
		a := k.call(c.method, path, "", "", header...)
		if c.ok {
			require.Less(t, a.status, 300, "%+v %s", c, a.body)
		} else {
			a.fails(403, fault.Forbidden)
		}
		require.Empty(t, a.header.Get("Access-Control-Allow-Origin"))
	}
}

func TestHeadersAndLog(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	a := k.call("GET", "/api/store/status?q=private", "reader-reader", "")
	id := a.header.Get("X-Request-Id")
	require.NotEmpty(t, id)
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Strict-Transport-Security": ""} {
		require.Equal(t, want, a.header.Get(name), name)
	}
	record := k.log.Wait(t, "http", id)
	require.Contains(t, record, "path=/api/store/status status=400")
	require.Contains(t, record, "user=reader")
	for _, r := range k.log.All() {
		require.NotContains(t, r, "private")
		require.NotContains(t, r, "reader-reader")
	}
}

func TestPanics(t *testing.T) {
	k := newKit(t, kitOptions{change: func(s *Server) {
		s.mux.HandleFunc("GET /panics", func(http.ResponseWriter, *http.Request) { panic("oops") })
		s.mux.HandleFunc("GET /panics-late", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
			panic("oops")
		})
	}})
	require.NotContains(t, k.get("/panics").fails(500, fault.Internal), "oops")
	k.log.Wait(t, "request panicked", "oops", "chain_test.go")
	require.Error(t, k.call("GET", "/panics-late", "", "").err) // the body must not look whole
	k.get("/healthz").json(200)
}

// Behind a body in chunks no request is read: its end may be elsewhere for somebody in between.
func TestConnectionEndsBehindChunks(t *testing.T) {
	k := newKit(t, kitOptions{})
	c, err := net.Dial("tcp", strings.TrimPrefix(k.url, "http://"))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(c, "POST /v0/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"13\r\n{\"sql\": \"SELECT 1\"}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(all), "HTTP/1.1 "), "%s", all)
	require.Contains(t, string(all), "Connection: close")
}
