// Package httpapi is the HTTP door: the store API with the runbook's names, SQL over HTTP, health and metrics. Everything
// it does, it asks of others through the small interfaces below; it decides nothing about rights itself.
package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/serve/certs"
	"github.com/pintaildb/pintail/serve/endpoint"
	"github.com/pintaildb/pintail/serve/listen"
	"github.com/pintaildb/pintail/store"
	"github.com/pintaildb/pintail/syncer"
)

// Syncer is what runs the datasets. Errors are faults: NotFound for an unknown dataset or run, Running for a second run.
type Syncer interface {
	Datasets() []string
	// Sync, Verify and Reconcile start a run in the background and return its id.
	Sync(dataset string, full bool) (runID string, err error)
	Verify(dataset string) (runID string, err error)
	Reconcile(dataset string) (runID string, err error)
	// Status of all datasets, by status key.
	Status(ctx context.Context) (map[string]syncer.Status, error)
	// Sources are all that are configured, by name.
	Sources() map[string]syncer.SourceStatus
	// ResetWatermark of one table, or with "" of all tables of the dataset; it returns which.
	ResetWatermark(ctx context.Context, dataset, table string) ([]string, error)
	Cancel(runID string) error
	Run(ctx context.Context, id string) (store.Run, bool, error)
	Runs(ctx context.Context, f store.RunFilter) ([]store.Run, error)
	Pause(dataset string, paused bool) error
	// Slots are those that Pintail has in the sources' databases; failed says why a source could not be asked, by its name.
	Slots(ctx context.Context) (slots []syncer.Slot, failed map[string]error, err error)
	DropSlot(ctx context.Context, source, slot string, force bool) (syncer.Slot, error)
	// Quarantine is what was set aside; Retry takes tables of a dataset out of it, all with "", and returns which.
	Quarantine(ctx context.Context) ([]store.Quarantined, error)
	Retry(ctx context.Context, dataset, table string) ([]string, error)
}

// Options of a Server. Access, Queries, Syncer and SyncedAt are needed; other zero values are the defaults named.
type Options struct {
	Listen         string              // host:port; port 0 takes a free one
	Hosts          []string            // names that clients may call this server by, beside loopback, Listen's and the certificate's; "*" is any
	TLS            *certs.Certificates // nil: none
	MaxConnections int                 // 1,000
	Drain          time.Duration       // that requests under way get at the end; 4 s

	Access  *access.Access
	Queries *query.Core
	Syncer  Syncer
	// SyncedAt says as of when each synced dataset holds. It is called for every statement, so it must not wait.
	SyncedAt func() map[string]time.Time
	// Reload reads the configuration again and says what changed, or would change; nil: not offered.
	Reload func(ctx context.Context, o ReloadOptions) (ReloadPlan, error)
	// Endpoints are the published statements; nil: none. Answers of those with cache take EndpointCache bytes at most.
	Endpoints     *endpoint.Folder
	EndpointCache int64
	// Ready runs the readiness checks: each one's name, and nil or why it is not ready; nil: no checks. The names and
	// texts are shown to anybody who asks.
	Ready func(ctx context.Context) map[string]error

	Enabled     bool                  // duckdb.enabled, as the status says it
	MetricsOpen *bool                 // nil: open to clients on this machine
	Gatherer    prometheus.Gatherer   // of /metrics; nil: none
	Registerer  prometheus.Registerer // for this server's own metrics; nil: none
	Log         *slog.Logger
}

// Server is the HTTP door. Make one with New, start it with Run.
type Server struct {
	opts     Options
	log      *slog.Logger
	metrics  *metrics
	mux      *http.ServeMux
	handler  http.Handler
	openapi  []byte
	hosts    map[string]bool // folded, without port
	listener net.Listener
	stopping atomic.Bool
	meta     metadataCache
	cursors  cursors

	endpoints *endpoints

	bodyTimeout  time.Duration // for a request's body, from its header on
	readyTimeout time.Duration // for all readiness checks
	writeTimeout time.Duration // for a client that does not take what is sent
}

const (
	headerBytesMax = 64 << 10
	bodyBytesMax   = 4 << 20
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
)

// New builds the routes and reads the certificate; it does not listen yet.
func New(o Options) (*Server, error) {
	if o.Access == nil || o.Queries == nil || o.Syncer == nil || o.SyncedAt == nil {
		return nil, errors.New("httpapi: Access, Queries, Syncer and SyncedAt are needed")
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 1000
	}
	if o.Drain <= 0 {
		o.Drain = 4 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, log: o.Log, metrics: newMetrics(o.Registerer), mux: http.NewServeMux(), hosts: map[string]bool{},
		cursors: cursors{idle: cursorIdle, all: map[string]*cursor{}}, bodyTimeout: 10 * time.Second, readyTimeout: 5 * time.Second, writeTimeout: time.Minute}
	if host, _, err := net.SplitHostPort(o.Listen); err == nil {
		s.hosts[strings.ToLower(host)] = host != "" // "" means every address, and is no name
	}
	for _, h := range o.Hosts {
		s.hosts[strings.ToLower(h)] = true
	}
	api := humago.New(s.mux, apiConfig())
	s.routes(api)
	var err error
	if s.openapi, err = json.MarshalIndent(api.OpenAPI(), "", "  "); err != nil {
		return nil, fmt.Errorf("describe the HTTP API: %w", err)
	}
	s.openapi = append(s.openapi, '\n')
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json")
		_, _ = w.Write(s.openapi) // the client may be gone
	})
	s.handler = s.chain(s.mux)
	return s, nil
}

func apiConfig() huma.Config {
	c := huma.DefaultConfig("Pintail", "0")
	c.Info.Description = "An analytics copy of PostgreSQL: syncs, their history, and SQL over the copy."
	c.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", "" // served by ourselves; no page loads anything from elsewhere
	c.CreateHooks = nil                                   // no $schema member in answers
	utf8JSON := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshalUTF8}
	c.Formats = map[string]huma.Format{"application/json": utf8JSON, "json": utf8JSON}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "A static token of the configuration, or a JWT of the configured issuer."},
		"basic":  {Type: "http", Scheme: "basic"},
	}
	c.Security = []map[string][]string{{"bearer": {}}, {"basic": {}}}
	return c
}

// unmarshalUTF8 takes no bytes that are not UTF-8: encoding/json would put others in their place, and run a statement that nobody sent.
func unmarshalUTF8(b []byte, v any) error {
	if !utf8.Valid(b) {
		return errors.New("the body is not UTF-8")
	}
	return json.Unmarshal(b, v)
}

// OpenAPI is the OpenAPI 3.1 document, as served.
func (s *Server) OpenAPI() []byte { return s.openapi }

// Listen opens the port; Run does so itself when it was not done before.
func (s *Server) Listen(ctx context.Context) error {
	if s.listener != nil {
		return nil
	}
	l, err := listen.Open(ctx, "server.http.listen", s.opts.Listen)
	if err != nil {
		return err
	}
	s.listener = netutil.LimitListener(l, s.opts.MaxConnections)
	return nil
}

// Addr is where the server listens; nil before Listen.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Run serves until ctx ends. It then takes no new requests, gives those under way Options.Drain, interrupts the rest,
// and returns when all have ended.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(ctx); err != nil {
		return err
	}
	defer s.endpoints.pool.Sweep(true)
	defer s.cursors.close()
	requests, interrupt := context.WithCancel(context.WithoutCancel(ctx))
	defer interrupt()
	srv := &http.Server{
		Handler:           s.handler,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // broken handshakes and the like: the clients' business
	}
	served := make(chan error, 1)
	go func() {
		if s.opts.TLS != nil {
			srv.TLSConfig = s.opts.TLS.Config("h2", "http/1.1")
			served <- srv.ServeTLS(s.listener, "", "")
			return
		}
		served <- srv.Serve(s.listener)
	}()
	s.log.Info("http listening", "address", s.listener.Addr().String(), "tls", s.opts.TLS != nil)
	select {
	case err := <-served:
		return fmt.Errorf("serve HTTP on %s: %w", s.listener.Addr(), err)
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Drain)
	defer stop()
	err := srv.Shutdown(drain)
	if err != nil {
		interrupt()
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer stop()
		err = srv.Shutdown(last)
		if err != nil {
			err = srv.Close()
		}
	}
	if cause := <-served; err == nil && !errors.Is(cause, http.ErrServerClosed) {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("stop HTTP: %w", err)
	}
	return nil
}
