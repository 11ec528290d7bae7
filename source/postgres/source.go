// Package postgres reads PostgreSQL: one exported snapshot for all queries of a dataset, partitions of them read in
// parallel by COPY (or a cursor) and decoded in place, and bounds that keep late commits from being lost.
package postgres

import (
	"context"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"golang.org/x/time/rate"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

// Config is what a source needs.
type Config struct {
	Name      string // in errors and logs
	URL       string // a connection URL or libpq's key/value text; the PG* variables, passfile and services work as in libpq
	Pool      int    // connections at most; 0 is 8
	Read      string // auto | copy | cursor; "" is auto
	Bandwidth int64  // bytes a second that all connections together read at most; 0 is no limit
	FetchRows int    // rows a FETCH brings where a cursor is used; 0 is 10,000
	Log       *slog.Logger
}

// Source reads one database. It keeps its connections for a while between snapshots. Its methods may be called by many
// goroutines.
type Source struct {
	cfg     Config
	config  *pgconn.Config
	secrets []string
	log     *slog.Logger
	limit   *rate.Limiter // of bytes read; nil is none
	slots   chan struct{} // one for each connection in use

	mu      sync.Mutex
	closed  bool
	idle    []*session
	pids    map[string]struct{} // backends of our own open snapshots: they write nothing
	seen    []observation       // of running transactions, for MethodRunning
	builtin map[uint32]types.Info

	first  atomic.Bool  // no snapshot was taken yet
	blind  atomic.Bool  // the role may not look at running transactions
	copies atomic.Int32 // whether COPY works here: unknown, copyWorks or copyRefused
	load   load
}

const (
	copyWorks = 1 + iota
	copyRefused
)

var (
	_ source.Source = (*Source)(nil)
	_ source.Loaded = (*Source)(nil)
)

// Open checks the configuration; it connects to nothing yet.
func Open(c Config) (*Source, error) {
	if c.Pool <= 0 {
		c.Pool = 8
	}
	if c.FetchRows <= 0 {
		c.FetchRows = 10000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{
		cfg: c, log: c.Log.With("source", c.Name), slots: make(chan struct{}, c.Pool),
		pids: map[string]struct{}{}, builtin: map[uint32]types.Info{}, secrets: secretsOf(c.URL),
	}
	if c.Bandwidth > 0 {
		s.limit = rate.NewLimiter(rate.Limit(c.Bandwidth), int(max(c.Bandwidth/10, 64<<10)))
	}
	s.first.Store(true)
	s.load.init()
	switch c.Read {
	case "", "auto":
	case "copy":
		s.copies.Store(copyWorks)
	case "cursor":
		s.copies.Store(copyRefused)
	default:
		return nil, fault.New(fault.Config, "Use auto, copy or cursor.", "source %s: read: %q is none of its values", c.Name, c.Read)
	}
	config, err := pgconn.ParseConfig(c.URL)
	if err != nil {
		return nil, fault.New(fault.Config, "Use postgres://user:password@host:5432/database?sslmode=verify-full, or host=… dbname=… user=….",
			"source %s: url: %w", c.Name, s.redact(err))
	}
	if config.Password != "" {
		s.secrets = append(s.secrets, config.Password)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	config.RuntimeParams["application_name"] = defaultName
	config.RuntimeParams["client_encoding"] = "UTF8"
	s.config = config
	return s, nil
}

const defaultName = "pintail"

var (
	urlPassword = regexp.MustCompile(`://[^:/@]*:([^@]+)@`)
	keyPassword = regexp.MustCompile(`(?i)password\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&]+)`)
)

// secretsOf finds what may be a password in a text that could not be parsed.
func secretsOf(url string) []string {
	var found []string
	for _, re := range []*regexp.Regexp{urlPassword, keyPassword} {
		for _, m := range re.FindAllStringSubmatch(url, -1) {
			found = append(found, m[1])
		}
	}
	return found
}

// Close ends the idle connections. Snapshots still open end theirs when they are closed.
func (s *Source) Close() {
	s.mu.Lock()
	s.closed = true
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	s.load.end()
	for _, c := range idle {
		c.end(context.Background())
	}
}
