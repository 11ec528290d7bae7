// Package ingest is the one way in which clients write rows: Flight's DoPut, the bulk ingest of Flight SQL and COPY go
// through Ingest.Ingest. A put is one transaction, whatever its size; the tables that it makes are the clients', and those of
// datasets are not to be written.
package ingest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Ingest takes puts. Its methods may be called from any goroutine.
type Ingest struct {
	store   *store.Store
	access  *access.Access
	log     *slog.Logger
	metrics *metrics

	mu    sync.Mutex
	all   int
	roles map[string]int // puts under way
}

const (
	// roundBytes is how much of a put is gathered before it is handed on. What is less goes into its table at once.
	roundBytes = 16 << 20
	// putsMax bounds the memory that puts take together: two rounds each.
	putsMax = 64
)

// New makes an Ingest over an open store. log and reg may be nil.
func New(st *store.Store, acc *access.Access, log *slog.Logger, reg prometheus.Registerer) *Ingest {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Ingest{store: st, access: acc, log: log, metrics: newMetrics(reg), roles: map[string]int{}}
}

// Ingest reads r to its end and commits its rows: afterwards all of them are there, or none. It does not release r. Columns are found by
// their names; those that the table has besides are NULL, or their default. When ctx ends, so does the put, as soon as r does not wait
// any more. Errors: fault.Forbidden where p may not write, or nobody may; fault.NotFound and ErrExists as the mode says; fault.Usage
// for columns, types and values that do not fit; fault.Limit, fault.Unavailable, fault.DiskFull, fault.OutOfMemory, fault.Cancelled.
func (g *Ingest) Ingest(ctx context.Context, p access.Principal, t Target, r array.RecordReader) (rows int64, err error) {
	return g.run(ctx, p, t, func() (*store.Put, error) { return g.store.NewPut(r.Schema()) }, func(u *put) source { return &arrowSource{u: u, r: r} })
}

// run carries out a put.
func (g *Ingest) run(ctx context.Context, p access.Principal, t Target, begin func() (*store.Put, error), from func(u *put) source) (rows int64, err error) {
	start := time.Now()
	run := &put{g: g, role: p.Role, limits: g.access.Limits(p)}
	defer func() {
		if err != nil {
			rows = 0
		}
		g.metrics.ended(err, time.Since(start), rows, run.bytes)
		g.report(ctx, p, t, run, rows, time.Since(start), err)
	}()
	if run.to, err = g.target(p, t); err != nil {
		return 0, err
	}
	if run.put, err = begin(); err != nil {
		return 0, fault.Wrap(err, "%s %s", t.Mode, run.to.Target())
	}
	defer run.put.Close() //nolint:contextcheck // What it drops is dropped in any case.
	if err := g.enter(p.Role, run.limits.Concurrency); err != nil {
		return 0, err
	}
	defer g.leave(p.Role)
	return run.all(ctx, from(run))
}

// Columns are those of a table that p may write: for a protocol whose rows come without a schema.
func (g *Ingest) Columns(ctx context.Context, p access.Principal, t Target) (*arrow.Schema, error) {
	to, err := g.target(p, t)
	if err != nil {
		return nil, err
	}
	return g.store.ClientColumns(ctx, to.Schema, to.Name)
}

// Drop drops a table that a client made, if p may write it; fault.NotFound for any other.
func (g *Ingest) Drop(ctx context.Context, p access.Principal, t Target) error {
	to, err := g.target(p, t)
	if err != nil {
		return err
	}
	if err := g.store.DropClientTable(ctx, to.Schema, to.Name); err != nil {
		return err
	}
	g.log.Info("a client's table was dropped", "user", p.User, "role", p.Role, "table", to.Target())
	return nil
}

// target decides whether p may write t.
func (g *Ingest) target(p access.Principal, t Target) (to store.PutTarget, err error) {
	if t, err = t.resolve(g.store.Catalog()); err != nil {
		return to, err
	}
	to = store.PutTarget{Schema: t.Schema, Name: t.Table, Mode: t.Mode, By: p.User, Stray: g.access.CanAdmin(p) == nil}
	if t.Mode > CreateAppend {
		return to, fault.New(fault.Usage, "use append, create, replace or create_append", "there is no such mode of writing")
	}
	return to, g.access.CanWrite(p, t.Schema, t.Table)
}

func (g *Ingest) enter(role string, limit int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.all >= putsMax:
		return fault.New(fault.Unavailable, "try again shortly", "%d clients write already", g.all)
	case limit > 0 && g.roles[role] >= limit:
		return fault.New(fault.Limit, "wait for one to end; the role's limits: concurrency says how many", "role %q has %d puts under way, as many as it may", role, limit)
	}
	g.all++
	g.roles[role]++
	g.metrics.running.Inc()
	return nil
}

func (g *Ingest) leave(role string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.roles[role]--; g.roles[role] == 0 {
		delete(g.roles, role)
	}
	g.metrics.running.Dec()
}

func (g *Ingest) report(ctx context.Context, p access.Principal, t Target, run *put, rows int64, elapsed time.Duration, err error) {
	level, msg := slog.LevelDebug, "put"
	attrs := []slog.Attr{slog.String("user", p.User), slog.String("role", p.Role), slog.Any("table", []string{t.Catalog, t.Schema, t.Table}), slog.String("mode", t.Mode.String()),
		slog.Int64("rows", rows), slog.Int64("bytes", run.bytes), slog.Duration("elapsed", elapsed)}
	if err != nil {
		level, msg = slog.LevelInfo, "put refused"
		if fault.CodeOf(err) == fault.Internal {
			level, msg = slog.LevelError, "put failed"
		}
		attrs = append(attrs, slog.String("code", string(fault.CodeOf(err))), slog.String("error", err.Error()))
	}
	g.log.LogAttrs(ctx, level, msg, attrs...)
}

// put is one under way.
type put struct {
	g      *Ingest
	put    *store.Put
	to     store.PutTarget
	role   string
	limits access.Limits

	rows, bytes int64
}

// source gives the rows of a put in rounds.
type source interface {
	// gather reads until a round is full, or, with more false, to the end. There is a round even if it is empty, but none with an error.
	gather(ctx context.Context) (r round, more bool, err error)
}

// round is what is gathered of a put.
type round interface {
	stage(ctx context.Context, p *store.Put) error
	commit(ctx context.Context, p *store.Put, t store.PutTarget) (int64, error)
	release()
}

// all stages one round while the client sends the next. The last, or only, one goes with the commit.
func (u *put) all(ctx context.Context, src source) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var staging errgroup.Group
	// Until it is over, the store reads the rows.
	defer func() { cancel(nil); _ = staging.Wait() }()
	for first := true; ; first = false {
		now, more, err := src.gather(ctx)
		if err != nil {
			return 0, err
		}
		if err := staging.Wait(); err != nil {
			now.release()
			return 0, err
		}
		if !more {
			defer now.release()
			return now.commit(ctx, u.put, u.to)
		}
		if first {
			if err := u.put.Check(ctx, u.to); err != nil {
				now.release()
				return 0, err
			}
		}
		staging.Go(func() error {
			defer now.release()
			err := now.stage(ctx, u.put)
			if err != nil {
				cancel(err) // no more needs to be gathered
			}
			return err
		})
	}
}

// count adds to what the put has so far, and says whether the role may put as much.
func (u *put) count(rows, bytes int64) error {
	u.rows += rows
	u.bytes += bytes
	return u.limit()
}

func (u *put) limit() error {
	switch {
	case u.limits.PutRows > 0 && u.rows > u.limits.PutRows:
		return fault.New(fault.Limit, "send fewer rows at once; the role's limits: put_rows says how many", "the put has more rows than role %q may put at once: %d", u.role, u.limits.PutRows)
	case u.limits.PutBytes > 0 && u.bytes > u.limits.PutBytes:
		return fault.New(fault.Limit, "send less at once; the role's limits: put_bytes says how much", "the put has more bytes than role %q may put at once: %d", u.role, u.limits.PutBytes)
	}
	return nil
}

// stopped is why a context ended.
func stopped(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) {
		return fault.New(fault.Cancelled, "", "the put was cancelled: %w", cause)
	}
	return cause
}
