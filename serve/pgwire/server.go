// Package pgwire is the door for clients of PostgreSQL: its protocol over the query core. It takes reads of one session each; what
// belongs to a session (settings, transactions, cursors, prepared statements) is kept here, what a statement may read is access's to say.
package pgwire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/serve/listen"
)

// Options of a Server. Listen, Access, Core and Database are needed; other zero values are the defaults named.
type Options struct {
	Listen         string      // host:port; port 0 takes a free one
	TLS            *tls.Config // nil: none. With it, clients of other machines must use it
	Access         *access.Access
	Core           *query.Core
	Database       string        // the name that clients connect to: the file's stem
	Ingest         Ingest        // nil: nothing can be written
	MaxConnections int           // 200
	Drain          time.Duration // that statements under way get at the end; 4 s
	Log            *slog.Logger
	Registerer     prometheus.Registerer // nil: no metrics

	// Translate turns one statement of PostgreSQL's dialect into DuckDB's; nil leaves it as it is. ctx has the session
	// (pgtype.SessionOf). It must be callable from many goroutines.
	Translate func(ctx context.Context, sql string) (string, error)
}

const drainDefault = 4 * time.Second

// Limits of what a client can make the server keep or wait for.
const (
	startupTimeout   = 15 * time.Second // from the connection to the end of its login
	writeTimeout     = 2 * time.Minute  // for a client that does not take what is sent
	cursorIdle       = 10 * time.Minute // after which an open cursor nobody fetches from is closed
	loginBytesMax    = 16 << 10         // of a message before the login has ended
	messageBytesMax  = 64 << 20         // of one after it
	statementsMax    = 4096             // prepared, per connection
	preparedBytesMax = 64 << 20         // of their texts
	connectedMax     = 16               // of those that hold a connection to DuckDB; the others are prepared again when needed
	portalsMax       = 64               // open, per connection
)

// Server is the door. Make one with New, start it with Run.
type Server struct {
	opts     Options
	log      *slog.Logger
	metrics  *metrics
	listener net.Listener
	cancels  *cancels

	mu       sync.Mutex
	conns    map[*conn]struct{}
	admitted int  // of conns
	stopping bool // no new statements

	wg sync.WaitGroup // one for each connection
}

// New makes a Server; it does not listen yet.
func New(o Options) (*Server, error) {
	if o.Access == nil || o.Core == nil || o.Database == "" {
		return nil, errors.New("pgwire: Access, Core and Database are needed")
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 200
	}
	if o.Drain <= 0 {
		o.Drain = drainDefault
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Translate == nil {
		o.Translate = func(_ context.Context, sql string) (string, error) { return sql, nil }
	}
	return &Server{opts: o, log: o.Log, metrics: newMetrics(o.Registerer), cancels: newCancels(), conns: map[*conn]struct{}{}}, nil
}

// Listen opens the port; Run does so itself when it was not done before.
func (s *Server) Listen(ctx context.Context) error {
	if s.listener != nil {
		return nil
	}
	l, err := listen.Open(ctx, "server.pgwire.listen", s.opts.Listen)
	if err != nil {
		return err
	}
	s.listener = l
	return nil
}

// Addr is where the server listens; nil before Listen.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Run serves until ctx ends. It then takes no new connections and statements, gives the statements under way Options.Drain, interrupts
// the rest, and returns when every connection is closed.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(ctx); err != nil {
		return err
	}
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	s.log.Info("pgwire listening", "address", s.listener.Addr().String(), "tls", s.opts.TLS != nil)
	accepted := make(chan error, 1)
	go func() { accepted <- s.accept(life) }()
	var err error
	select {
	case err = <-accepted:
		err = fmt.Errorf("serve PostgreSQL's protocol on %s: %w", s.listener.Addr(), err)
	case <-ctx.Done():
		_ = s.listener.Close()
		<-accepted //nolint:errcheck // That the listener is closed.
	}
	s.stop()
	drained := make(chan struct{})
	go func() { s.wg.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(s.opts.Drain):
		end(errStopping())
		s.interrupt()
		<-drained
	}
	return err
}

func (s *Server) accept(ctx context.Context) error {
	for wait := time.Millisecond; ; {
		nc, err := s.listener.Accept()
		var temporary interface{ Temporary() bool }
		switch {
		case err == nil:
			wait = time.Millisecond
		case errors.As(err, &temporary) && temporary.Temporary(): // no descriptor left, or the client is gone again
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, time.Second)
			continue
		default:
			return err
		}
		c := newConn(s, nc)
		if !s.enter(c) {
			nc.Close()
			continue
		}
		go func() {
			defer s.leave(c)
			c.serve(ctx)
		}()
	}
}

// enter takes a connection whose client is not known yet. Beyond twice the limit they are not even told why they are refused.
func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || len(s.conns) >= 2*s.opts.MaxConnections+16 {
		return false
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return true
}

// admit counts c as a session, if there is room for one.
func (s *Server) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.admitted >= s.opts.MaxConnections {
		return false
	}
	s.admitted++
	c.admitted = true
	s.metrics.connections.Inc()
	s.metrics.open.Inc()
	return true
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	if c.admitted {
		s.admitted--
		s.metrics.open.Dec()
	}
	s.mu.Unlock()
	s.wg.Done()
}

// stop refuses statements from now on, and wakes the connections that wait for one.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for c := range s.conns {
		c.wake()
	}
}

// interrupt closes what is left; its statements end because their context does.
func (s *Server) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.hurry()
	}
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

func errStopping() *sqlError {
	return &sqlError{severity: "FATAL", state: "57P01", message: "the server is stopping", hint: "try again when it is back"}
}
