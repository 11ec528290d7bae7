package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/serve/endpoint"
	"github.com/pintaildb/pintail/store"
)

// endpoints answers GET /v0/endpoints/NAME.FORMAT.
type endpoints struct {
	folder  *endpoint.Folder
	cache   *endpoint.Cache
	rates   *endpoint.Rates
	pool    *endpoint.Pool
	metrics *endpointMetrics
}

const endpointPage = "/v0/endpoints"

func (s *Server) endpointRoutes(api huma.API, tag string) {
	s.endpoints = &endpoints{folder: s.opts.Endpoints, cache: endpoint.NewCache(s.opts.EndpointCache), rates: endpoint.NewRates(), pool: endpoint.NewPool(s.opts.Queries)}
	if s.endpoints.folder == nil {
		s.endpoints.folder = endpoint.New(endpoint.Options{}) // is never filled
	}
	s.endpoints.metrics = newEndpointMetrics(s.opts.Registerer, s.endpoints.cache)
	for p, name := range endpointPages {
		s.mux.Handle("GET "+strings.TrimSuffix(p, "/")+map[bool]string{true: "/{$}"}[strings.HasSuffix(p, "/")], endpoint.Page(name))
	}
	s.mux.HandleFunc("GET "+endpointPage+"/openapi.json", s.endpointDocument)
	s.mux.HandleFunc("GET "+endpointPage+"/{name...}", s.serveEndpoint)

	describe := func(op huma.Operation, fails ...int) {
		op.Method, op.Tags, op.Responses = http.MethodGet, []string{tag}, map[string]*huma.Response{"200": {Description: "OK"}}
		for _, status := range append(fails, http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError) {
			op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status),
				Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/Error"}}}}
		}
		api.OpenAPI().AddOperation(&op)
	}
	describe(huma.Operation{OperationID: "endpoints", Path: endpointPage + "/openapi.json", Summary: "OpenAPI 3.1 of the endpoints that the caller may call",
		Description: "GET /v0/endpoints is a page that lists them and lets one try them."})
	describe(huma.Operation{OperationID: "endpoint", Path: endpointPage + "/{name}", Summary: "Answer of a published statement",
		Description: "NAME.json, .ndjson, .csv, .arrow or .parquet; without a suffix the Accept header decides. Parameters and answers are described by GET /v0/endpoints/openapi.json.",
		Parameters:  []*huma.Param{{Name: "name", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}, Example: "top_errors.json"}}}, 400, 404, 406, 429, 503, 504)
}

// endpointPages are open to everybody: they hold nothing, and ask with the token that is typed in.
var endpointPages = map[string]string{
	endpointPage:                 "index.html",
	endpointPage + "/":           "index.html",
	endpointPage + "/-/page.js":  "page.js",
	endpointPage + "/-/page.css": "page.css",
}

// suffixes are the formats by what a name may end with.
var suffixes = map[string]string{".json": "json", ".ndjson": "ndjson", ".csv": "csv", ".arrow": "arrow", ".parquet": "parquet"}

// mayCall says whether the caller may call an endpoint, and what its statement reads for them. For others than administrators it reads the
// same whether there is such an endpoint.
func (s *Server) mayCall(who access.Principal, name string, e *endpoint.Published) (access.Statement, error) {
	admin := s.opts.Access.CanAdmin(who) == nil
	refused := func() error {
		return fault.New(fault.Forbidden, "GET /v0/endpoints/openapi.json lists what you may call", "call endpoint %s: it does not exist, or role %q may not call it, or not read what it reads", name, who.Role)
	}
	switch {
	case e == nil && admin:
		return access.Statement{}, fault.New(fault.NotFound, "GET /v0/endpoints/openapi.json lists them", "there is no endpoint %q", name)
	case e == nil, !admin && e.Roles != nil && !slices.Contains(e.Roles, who.Role):
		return access.Statement{}, refused()
	}
	st, err := s.opts.Access.Again(who, e.Statement)
	if fault.CodeOf(err) == fault.Forbidden && !admin {
		err = refused()
	}
	return st, err
}

func (s *Server) endpointDocument(w http.ResponseWriter, r *http.Request) {
	who := infoOf(r.Context()).who
	var list []*endpoint.Endpoint
	for _, e := range s.endpoints.folder.Set().All() {
		if _, err := s.mayCall(who, e.Name, e); err == nil {
			list = append(list, e.Endpoint)
		}
	}
	w.Header().Set("Content-Type", "application/vnd.oai.openapi+json")
	w.Header().Set("Vary", "Authorization")
	_, _ = w.Write(endpoint.Document(list)) // the client may be gone
}

// serveEndpoint answers one request.
func (s *Server) serveEndpoint(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	name := r.PathValue("name")
	suffix := path.Ext(name)
	name = strings.TrimSuffix(name, suffix)
	e := s.endpoints.folder.Set().Get(name)
	c := &call{s: s, ctx: r.Context(), who: infoOf(r.Context()).who, e: e, w: &statusWriter{ResponseWriter: w}}
	label := "none"
	if e != nil {
		label = e.Name
	}
	defer func() { s.endpoints.metrics.ended(label, c.w.status, time.Since(start), c.rows, c.hit) }()
	if err := c.answer(r, name, suffix); err != nil {
		c.fail(err)
	}
}

// call is one request to an endpoint.
type call struct {
	s      *Server
	ctx    context.Context
	who    access.Principal
	e      *endpoint.Published
	st     access.Statement
	vals   endpoint.Values
	min    map[string]change.LSN // how far replicas are to be
	format string
	w      *statusWriter

	rows int64
	hit  bool
	wait time.Duration // after which a refused request may come again
}

func (c *call) fail(err error) {
	e := c.s.fail(c.ctx, err)
	if c.wait > 0 {
		e.retryAfter = int(math.Ceil(c.wait.Seconds()))
	}
	c.w.Header().Set("Cache-Control", "no-store")
	e.write(c.w)
}

func (c *call) answer(r *http.Request, name, suffix string) (err error) {
	if c.st, err = c.s.mayCall(c.who, name, c.e); err != nil {
		return err
	}
	if c.wait = c.s.endpoints.rates.Take(c.e.Name, c.who.User, c.e.Rate, time.Now()); c.wait > 0 {
		return fault.New(fault.Limit, "send fewer, or wait as Retry-After says", "endpoint %s: more requests than %s of user %q", c.e.Name, c.e.Rate, c.who.User)
	}
	if c.format = suffixes[suffix]; c.format == "" && suffix != "" {
		return fault.New(fault.Usage, "end it with .json, .ndjson, .csv, .arrow or .parquet", "endpoint %s has no form %q", c.e.Name, suffix)
	}
	if c.format, err = formatOf(c.format, r.Header.Get("Accept")); err != nil {
		return err
	}
	if c.vals, err = c.e.Decode(r.URL.Query()); err != nil {
		return err
	}
	if c.min, err = minPosition(r.Header.Get(minPositionName)); err != nil {
		return err
	}
	if len(c.min) == 0 && c.e.Cache > 0 && c.s.endpoints.cache.AnswerMax() > 0 {
		err = c.cached(r)
		if !errors.Is(err, endpoint.ErrTooLarge) {
			return err
		}
	}
	return c.direct(r)
}

// version names the state of what the endpoint reads; "" is not known.
func (c *call) version() string {
	v, err := c.s.opts.Queries.Version(c.ctx, c.st)
	if err != nil {
		return "" // then nothing is said about the answer; that it can be computed shows when it is
	}
	return v
}

// key is all but the tables that the answer depends on. Of the caller's rights it is the limits, and whom the rows are for: what may be read
// is decided before.
func (c *call) key() string {
	limits := c.s.opts.Access.Limits(c.who)
	return fmt.Sprintf("%s %s %s %t %d %d %s\n%s", c.e.Revision, c.format, c.who.Role, c.who.Admin, limits.Rows, limits.ResultBytes, c.st.Audience, c.vals.Canonical)
}

// direct runs the statement and streams its answer, unless the client has it.
func (c *call) direct(r *http.Request) error {
	coding, err := codingOf(r.Header.Get("Accept-Encoding"), c.format == "parquet")
	if err != nil {
		return err
	}
	key, have := c.key(), r.Header.Get("If-None-Match")
	if have != "" && len(c.min) == 0 {
		if etag := etagOf(c.version(), key); unchanged(have, etag) {
			notModified(c.w, etag)
			return nil
		}
	}
	rep, done, err := c.open(c.ctx)
	if err != nil {
		return err
	}
	defer done()
	defer func() { c.rows = rep.out.rows() }()
	rep.coding, rep.etag = coding, etagOf(rep.res.Version(c.ctx), key)
	c.s.stream(c.ctx, c.w, rep)
	return nil
}

// open runs the statement up to its first rows. done is to be called when the reply is closed.
func (c *call) open(ctx context.Context) (rep reply, done func(), err error) {
	pool, core := c.s.endpoints.pool, c.s.opts.Queries
	st, err := pool.Take(ctx, c.e.Endpoint, c.who)
	if err != nil {
		return rep, nil, err
	}
	req := query.Request{SQL: c.e.SQL, Named: c.vals.Named, Limit: c.e.Limit, Positions: true, MinLSN: c.min}
	rep.synced = c.s.opts.SyncedAt() // before the statement starts: what it reads is at least as new
	if rep.res, err = st.Run(ctx, req); fault.CodeOf(err) == fault.ResultChanged {
		// The tables have other columns than when it was prepared.
		st.Close()
		if st, err = core.Session("http", c.who, store.Settings{}).Prepare(ctx, c.e.SQL); err != nil {
			return rep, nil, err
		}
		rep.res, err = st.Run(ctx, req)
	}
	done = func() { pool.Put(c.e.Endpoint, c.who, st) }
	if err != nil {
		done()
		return rep, nil, err
	}
	rep.out = newOutgoing(rep.res, c.format, 0)
	if err := rep.out.first(); err != nil {
		rep.out.close()
		rep.res.Close()
		done()
		return rep, nil, err
	}
	return rep, done, nil
}

// cached answers from the cache, or fills it.
func (c *call) cached(r *http.Request) error {
	key := c.key()
	found, err := c.s.endpoints.cache.Do(c.ctx, key, c.e.Cache, c.version, func(ctx context.Context) (*endpoint.Answer, error) {
		leader := *c // its request may end before the answer is there
		leader.ctx = ctx
		return leader.compute(ctx, key)
	})
	if err != nil {
		return err
	}
	c.hit, c.rows = found.Cached, found.Rows
	h := c.w.Header()
	for name, v := range found.Header {
		h.Set(name, v)
	}
	h.Set("ETag", found.ETag)
	h.Set("Cache-Control", "private, max-age="+strconv.Itoa(int(c.e.Cache.Seconds())))
	h.Set("Age", strconv.Itoa(max(0, int(time.Since(found.At).Seconds()))))
	if unchanged(r.Header.Get("If-None-Match"), found.ETag) {
		vary(h)
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	coding, err := codingOf(r.Header.Get("Accept-Encoding"), c.format == "parquet" || len(found.Body) < smallAnswer)
	if err != nil {
		return err
	}
	if coding == "" {
		h.Set("Content-Length", strconv.Itoa(len(found.Body)))
	}
	body := newBodyWriter(c.w, c.s.writeTimeout, found.ContentType, coding)
	_, _ = body.Write(found.Body) // the client may be gone
	body.close(body.err != nil)
	return nil
}

// smallAnswer is what is not worth compressing, in bytes.
const smallAnswer = 1 << 10

// compute makes the answer that is kept.
func (c *call) compute(ctx context.Context, key string) (_ *endpoint.Answer, err error) {
	rep, done, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	a := &endpoint.Answer{Version: rep.res.Version(ctx), Header: map[string]string{}}
	if a.ETag = etagOf(a.Version, key); a.ETag == "" {
		a.ETag = etagOf(rand.Text(), key) // of this answer, as long as it is kept
	}
	out := &watched{outgoing: rep.out}
	rep.out = out
	rec := &recorder{header: http.Header{}, max: c.s.endpoints.cache.AnswerMax()}
	if err := record(rec, func() { c.s.stream(ctx, rec, rep) }); err != nil {
		return nil, err
	}
	if out.failed != nil {
		return nil, out.failed
	}
	a.Body, a.ContentType, a.Rows = rec.body, rec.header.Get("Content-Type"), out.rows()
	for _, name := range []string{positionName, truncatedName} {
		if v := rec.header.Get(name); v != "" {
			a.Header[name] = v
		}
	}
	return a, nil
}
