package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/query"
)

// info is what the chain learned of a request, for handlers and the log.
type info struct {
	id  string
	who access.Principal // zero before authentication, and on open paths
}

type infoKey struct{}

func infoOf(ctx context.Context) *info {
	if i, ok := ctx.Value(infoKey{}).(*info); ok {
		return i
	}
	return &info{}
}

// probes are open to everybody, under any host name: load balancers call a server by its address or by none.
var probes = map[string]bool{"/healthz": true, "/readyz": true}

// chain is what every request passes, in this order: recovery and log, headers, host and origin, shutdown,
// authentication, known path and method, JSON body.
func (s *Server) chain(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		start := time.Now()
		in := &info{id: uuid.Must(uuid.NewV7()).String()}
		ctx := access.WithRemote(context.WithValue(r.Context(), infoKey{}, in), r.RemoteAddr)
		ctx = query.WithTraceParent(ctx, r.Header.Get("Traceparent"), r.Header.Get("Tracestate"))
		r = r.WithContext(ctx)
		w := &statusWriter{ResponseWriter: out}
		if r.ContentLength != 0 {
			// What is left of the body is waited for before the connection goes on: not for ever, of a request that was refused unread.
			defer func() { _ = http.NewResponseController(out).SetReadDeadline(time.Now().Add(time.Second)) }() // unsupported only by tests' recorders
		}
		defer func() {
			problem := recover()
			cause, _ := problem.(error)
			if problem != nil && !errors.Is(cause, http.ErrAbortHandler) && ctx.Err() == nil {
				s.log.LogAttrs(ctx, slog.LevelError, "request panicked", slog.String("request", in.id), slog.Any("panic", problem), slog.String("stack", string(debug.Stack())))
				if w.status == 0 {
					httpError(http.StatusInternalServerError, "internal error; the server's log has it under request "+in.id, "").write(w)
					problem = nil
				}
			}
			s.logRequest(ctx, r, w, in, time.Since(start), problem != nil)
			if problem != nil {
				panic(http.ErrAbortHandler) // the body is cut off: the client must not take it for whole
			}
		}()
		h := w.Header()
		h.Set("X-Request-Id", in.id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if len(r.TransferEncoding) > 0 {
			// Such a request may have had a Content-Length too, which net/http leaves out: what comes behind must not be taken for another
			// request where somebody in between sees its end elsewhere (RFC 9112, 6.1).
			h.Set("Connection", "close")
		}
		if s.opts.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if e := s.check(w, r, in, mux); e != nil {
			e.write(w)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// check is everything that may refuse a request before its handler runs.
func (s *Server) check(w *statusWriter, r *http.Request, in *info, mux *http.ServeMux) *Error {
	if !probes[r.URL.Path] {
		if e := s.checkHost(r); e != nil {
			return e
		}
		if e := checkOrigin(r); e != nil {
			return e
		}
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
			return httpError(http.StatusServiceUnavailable, "the server is stopping", "try again when it is back")
		}
		if e := s.authenticate(r, in); e != nil {
			return e
		}
	}
	if e := checkRoute(w, r, mux); e != nil {
		return e
	}
	if e := checkQuery(r); e != nil {
		return e
	}
	return s.checkBody(w, r)
}

// checkHost keeps pages out that point a name of their own at this server's address (DNS rebinding), to which the
// browser would then let them talk. An address in the Host header is no name that anybody could point elsewhere.
func (s *Server) checkHost(r *http.Request) *Error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if ip.IsLoopback() || s.hosts[host] || s.hosts["*"] || local != nil && addrOf(local.String()) == ip.Unmap() {
			return nil
		}
	} else if host == "localhost" || strings.HasSuffix(host, ".localhost") || s.hosts[host] || s.hosts["*"] || s.opts.TLS != nil && host != "" && s.opts.TLS.Covers(host) {
		return nil
	}
	return httpError(http.StatusMisdirectedRequest, fmt.Sprintf("this server is not called %q", r.Host), "call it by its address, or add the name to server.http.hosts")
}

func addrOf(hostport string) netip.Addr {
	ap, _ := netip.ParseAddrPort(hostport)
	return ap.Addr().Unmap()
}

// checkOrigin refuses what a browser sends for another site's page. Programs send neither header.
func checkOrigin(r *http.Request) *Error {
	origin := r.Header.Get("Origin")
	site := r.Header.Get("Sec-Fetch-Site")
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	if u, err := url.Parse(origin); origin != "" && (err != nil || !sameHost(u, r.Host)) {
		return httpError(http.StatusForbidden, fmt.Sprintf("requests of pages of %q are not taken", origin), "")
	}
	if !safe && site != "" && site != "same-origin" && site != "none" {
		return httpError(http.StatusForbidden, "requests of other sites' pages are not taken", "")
	}
	return nil
}

func sameHost(origin *url.URL, host string) bool {
	port := map[string]string{"http": ":80", "https": ":443"}[origin.Scheme]
	return port != "" && origin.Host != "" && strings.EqualFold(strings.TrimSuffix(origin.Host, port), strings.TrimSuffix(host, port))
}

// local says whether the request comes from this machine itself, and not through a proxy on it.
func local(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	return addrOf(r.RemoteAddr).IsLoopback()
}

func (s *Server) authenticate(r *http.Request, in *info) *Error {
	if endpointPages[r.URL.Path] != "" {
		return nil
	}
	if r.URL.Path == "/metrics" {
		if o := s.opts.MetricsOpen; o != nil && *o || o == nil && local(r) {
			return nil
		}
	}
	var bearer, user, password string
	if scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "bearer") {
		bearer = strings.TrimSpace(rest)
	} else if u, p, ok := r.BasicAuth(); ok {
		user, password = u, p
	}
	var err error
	if in.who, err = s.opts.Access.Authenticate(r.Context(), bearer, user, password, local(r)); err != nil {
		return s.fail(r.Context(), err)
	}
	return nil
}

// checkRoute gives 404 and 405 the body of all errors.
func checkRoute(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) *Error {
	h, pattern := mux.Handler(r)
	if pattern != "" {
		return nil
	}
	answer := &nobody{header: http.Header{}}
	h.ServeHTTP(answer, r)
	if answer.status == http.StatusMethodNotAllowed {
		allow := answer.header.Get("Allow")
		w.Header().Set("Allow", allow)
		return httpError(answer.status, fmt.Sprintf("%s is not for %s", r.URL.Path, r.Method), "use "+allow)
	}
	return httpError(http.StatusNotFound, "there is nothing at "+r.URL.Path, "GET /openapi.json lists what there is")
}

// nobody takes what ServeMux says of a request without a route.
type nobody struct {
	header http.Header
	status int
}

func (n *nobody) Header() http.Header         { return n.header }
func (n *nobody) WriteHeader(status int)      { n.status = status }
func (n *nobody) Write(p []byte) (int, error) { return len(p), nil }

// checkQuery refuses a query string with parts that url.URL.Query, which handlers use, leaves out without a word.
func checkQuery(r *http.Request) *Error {
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return httpError(http.StatusBadRequest, "the query string cannot be read: "+err.Error(), "write a semicolon within a value as %3B, a percent sign as %25, and & between parameters")
	}
	return nil
}

// checkBody takes JSON only: a browser lets foreign pages send other types without asking first.
func (s *Server) checkBody(w http.ResponseWriter, r *http.Request) *Error {
	if r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength > bodyBytesMax {
		return httpError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has %d bytes, the most is %d", r.ContentLength, bodyBytesMax), "")
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := strings.ToLower(params["charset"])
	if err != nil || media != "application/json" || charset != "" && charset != "utf-8" || r.Header.Get("Content-Encoding") != "" {
		return httpError(http.StatusUnsupportedMediaType, "a body must be JSON", "send Content-Type: application/json, in UTF-8 and not compressed")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.bodyTimeout)) // unsupported only by tests' recorders
	r.Body = http.MaxBytesReader(w, r.Body, bodyBytesMax)
	return nil
}

func (s *Server) logRequest(ctx context.Context, r *http.Request, w *statusWriter, in *info, took time.Duration, aborted bool) {
	route := r.Pattern
	if route == "" {
		route = "none"
	}
	s.metrics.request(route, w.status, took)
	level := slog.LevelInfo
	switch {
	case w.status >= 500 && w.status != http.StatusServiceUnavailable:
		level = slog.LevelWarn
	case probes[r.URL.Path] || r.URL.Path == "/metrics":
		level = slog.LevelDebug
	}
	// Neither the query string, which may hold values that were searched for, nor the body.
	s.log.LogAttrs(ctx, level, "http", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", w.status),
		slog.Int64("bytes", w.bytes), slog.Duration("took", took), slog.String("user", in.who.User), slog.String("remote", r.RemoteAddr),
		slog.String("request", in.id), slog.Bool("aborted", aborted))
}

// statusWriter remembers what was answered.
type statusWriter struct {
	http.ResponseWriter
	status int // 0: nothing yet
	bytes  int64
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
