package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/DeRuina/timberjack"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/monitor"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/query/pgsql"
	"github.com/pintaildb/pintail/serve/certs"
	"github.com/pintaildb/pintail/serve/flightsql"
	"github.com/pintaildb/pintail/serve/pgwire"
)

// door is a server of one protocol. Listen takes the port; Run serves until ctx ends, and then drains.
type door interface {
	Listen(ctx context.Context) error
	Run(ctx context.Context) error
}

// otherDoors are those beside HTTP that the configuration opens.
func (s *server) otherDoors(ctx context.Context, cfg *config.Config, core *query.Core, tls *certs.Certificates, reg prometheus.Registerer) ([]door, error) {
	var doors []door
	writes := ingest.New(s.store, s.access, s.log, reg)
	if at := cfg.Server.PGWire.Listen; at != "" {
		translator, err := pgsql.New(ctx, pgsql.Options{Store: s.store, Access: s.access, Keys: s.syncer, Log: s.log})
		if err != nil {
			return nil, err
		}
		o := pgwire.Options{Listen: at, Access: s.access, Core: core, Database: s.store.Catalog(), Translate: translator.Translate, Ingest: writes, Log: s.log, Registerer: reg}
		if tls != nil {
			o.TLS = tls.Config("postgresql")
		}
		d, err := pgwire.New(o)
		if err != nil {
			return nil, err
		}
		doors = append(doors, d)
	}
	if at := cfg.Server.Flight.Listen; at != "" {
		o := flightsql.Options{Listen: at, Access: s.access, Core: core, Catalog: flightsql.NewCatalog(s.store, s.access, s.syncer),
			Ingest: writes, Version: version, Log: s.log, Registerer: reg}
		if tls != nil {
			o.TLS = tls.Config("h2")
		}
		d, err := flightsql.New(o)
		if err != nil {
			return nil, err
		}
		doors = append(doors, d)
	}
	return doors, nil
}

// queryLog opens the file of server.query_log; without one the logger is nil. It is for the user alone, as it holds statements.
func queryLog(c config.QueryLog) (log *slog.Logger, done func() error, err error) {
	if c.Path == "" {
		return nil, func() error { return nil }, nil
	}
	hint := "server.query_log.path must be a file in a folder that Pintail may write"
	if err := os.MkdirAll(filepath.Dir(c.Path), 0o700); err != nil {
		return nil, nil, fault.New(fault.Config, hint, "make the folder of the query log: %w", err)
	}
	// Tried now, and not with the first statement.
	f, err := os.OpenFile(c.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fault.New(fault.Config, hint, "open the query log: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, nil, fault.New(fault.Config, hint, "open the query log: %w", err)
	}
	const mib = 1 << 20
	w := &timberjack.Logger{Filename: c.Path, MaxSize: max(1, int(c.MaxSize/mib)), MaxBackups: c.Keep, FileMode: 0o600}
	return slog.New(monitor.TraceLog(slog.NewJSONHandler(w, nil))), w.Close, nil
}

// tracing sends traces as server.tracing says; nil: nowhere.
func tracing(ctx context.Context, c config.Tracing, reg prometheus.Registerer, log *slog.Logger) (*monitor.Tracing, error) {
	headers := map[string]string{}
	for name, value := range c.Headers {
		headers[name] = value.Reveal()
	}
	return monitor.NewTracing(ctx, monitor.TracingOptions{Endpoint: c.Endpoint, Protocol: c.Protocol, Headers: headers, Sample: c.Sample, Version: version, Log: log, Registerer: reg})
}

// tracesTimeout is how long the last spans may take to be sent.
const tracesTimeout = time.Second
