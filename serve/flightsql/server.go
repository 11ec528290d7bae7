// Package flightsql is the Arrow Flight door: Flight SQL, and plain Flight with SQL text as ticket and table names as
// paths. It decides nothing about rights itself.
package flightsql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/serve/listen"
	"github.com/pintaildb/pintail/store"
)

// Catalog tells what a principal may see. NewCatalog makes one over a store.
type Catalog interface {
	// Name of the one catalog.
	Name() string
	// Tables that p may read, by schema and name.
	Tables(ctx context.Context, p access.Principal) ([]Table, error)
	// Columns of tables that Tables gave, in its order; nil for one that is gone.
	Columns(ctx context.Context, tables []Table) ([]*arrow.Schema, error)
}

// Table is a table or a view.
type Table struct {
	Schema, Name string
	View         bool
	Key          []string // columns of the primary key; nil: none is known
}

// Ingest takes rows from clients. It decides whether p may write there.
type Ingest interface {
	// Ingest reads r to its end. All rows are there afterwards, or none. It does not release r.
	Ingest(ctx context.Context, p access.Principal, t ingest.Target, r array.RecordReader) (rows int64, err error)
	// Create makes a table without rows. Types are canonical names of DuckDB's.
	Create(ctx context.Context, p access.Principal, t ingest.Target, columns []store.PutColumn) error
	// Drop drops a table that a client made; fault.NotFound for any other.
	Drop(ctx context.Context, p access.Principal, t ingest.Target) error
}

// Options of a Server. Access, Core and Catalog are needed; other zero values are the defaults named.
type Options struct {
	Listen         string        // host:port; port 0 takes a free one
	TLS            *tls.Config   // nil: none
	MaxConnections int           // 1,000
	Drain          time.Duration // that calls under way get at the end; 4 s

	Access  *access.Access
	Core    *query.Core
	Catalog Catalog
	Ingest  Ingest // nil: nothing can be written

	Version    string // of Pintail, as clients are told
	Allocator  memory.Allocator
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

const (
	// messageBytesMax bounds what a client sends in one message: a record batch of a put, at most.
	messageBytesMax = 64 << 20
	headerBytesMax  = 64 << 10
	streamsMax      = 256 // calls at once on one connection
	// Balancers drop connections that are quiet for a few minutes, and vanished clients are noticed.
	pingAfter   = 2 * time.Minute
	pingTimeout = 20 * time.Second
)

// Server is the Flight door. Make one with New, start it with Run.
type Server struct {
	opts     Options
	log      *slog.Logger
	metrics  *metrics
	grpc     *grpc.Server
	listener net.Listener
	stopping atomic.Bool
	handles  *handles
	sessions *sessions

	ending    context.Context // done when calls under way are to be cut off
	interrupt context.CancelCauseFunc
	calls     sync.WaitGroup // what interceptors started

	stallTimeout time.Duration // for a client that neither takes nor sends
	sweepEvery   time.Duration // of handles
}

var errStopping = fault.New(fault.Unavailable, "try again when it is back", "the server is stopping")

// New makes the server; it does not listen yet.
func New(o Options) (*Server, error) {
	if o.Access == nil || o.Core == nil || o.Catalog == nil {
		return nil, errors.New("flightsql: Access, Core and Catalog are needed")
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 1000
	}
	if o.Drain <= 0 {
		o.Drain = 4 * time.Second
	}
	if o.Allocator == nil {
		o.Allocator = query.ArrowMemory
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ingest == nil {
		o.Ingest = noIngest{}
	}
	s := &Server{opts: o, log: o.Log, handles: newHandles(), sessions: newSessions(), stallTimeout: 5 * time.Minute, sweepEvery: 5 * time.Second}
	s.metrics = newMetrics(o.Registerer, s.handles)
	s.ending, s.interrupt = context.WithCancelCause(context.Background())
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(messageBytesMax),
		grpc.MaxSendMsgSize(messageBytesMax),
		grpc.MaxHeaderListSize(headerBytesMax),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
		grpc.StatsHandler(s.sessions),
		grpc.WaitForHandlers(true),
	}
	if o.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s.grpc = grpc.NewServer(opts...)
	d, err := newDoor(s)
	if err != nil {
		return nil, err
	}
	flight.RegisterFlightServiceServer(s.grpc, d)
	return s, nil
}

// Listen opens the port; Run does so itself when it was not done before.
func (s *Server) Listen(ctx context.Context) error {
	if s.listener != nil {
		return nil
	}
	l, err := listen.Open(ctx, "server.flight.listen", s.opts.Listen)
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

// Run serves until ctx ends. It then takes no new calls, gives those under way Options.Drain, interrupts the rest, and
// returns when all have ended.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(ctx); err != nil {
		return err
	}
	defer s.handles.closeAll()
	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	sweep, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	sweeping.Go(func() { s.sweep(sweep) })
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(s.listener) }()
	s.log.Info("flight listening", "address", s.listener.Addr().String(), "tls", s.opts.TLS != nil)
	select {
	case err := <-served:
		return fmt.Errorf("serve Flight on %s: %w", s.listener.Addr(), err)
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	drained := make(chan struct{})
	go func() { defer close(drained); s.grpc.GracefulStop() }()
	for _, wait := range []time.Duration{s.opts.Drain, 2 * time.Second} {
		select {
		case <-drained:
		case <-time.After(wait):
			s.interrupt(errStopping)
			continue
		}
		break
	}
	s.interrupt(errStopping)
	s.grpc.Stop() // nothing to do unless a call would not end
	<-drained
	s.calls.Wait()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("stop Flight: %w", err)
	}
	return nil
}

// sweep ends what clients left behind.
func (s *Server) sweep(ctx context.Context) {
	t := time.NewTicker(s.sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.handles.sweep(time.Now())
		}
	}
}
