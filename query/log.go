package query

import (
	"context"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
)

// report writes the end into logs, metrics and the trace.
func (r *Result) report() {
	elapsed := r.Elapsed()
	r.core.metrics.ended(r.err, r.admitted, elapsed, r.rows.Load(), r.bytes.Load())
	level, msg := slog.LevelDebug, "query ended"
	slow := r.slow()
	if slow {
		level, msg = slog.LevelWarn, "slow query"
		r.core.metrics.slow.Inc()
	}
	if fault.CodeOf(r.err) == fault.Internal {
		level, msg = slog.LevelError, "query failed"
	}
	end := r.end(elapsed)
	if r.core.log.Enabled(r.ctx, level) {
		attrs := append(r.attrs(), end...)
		if slow {
			attrs = append(attrs, r.where()...)
		}
		r.core.log.LogAttrs(r.ctx, level, msg, attrs...)
	}
	r.audit("end", end...)
	r.endTrace()
}

func (r *Result) slow() bool { return r.core.opts.Slow > 0 && r.Elapsed() > r.core.opts.Slow }

// operatorsTold is how many of a slow statement's operators are in its line.
const operatorsTold = 5

// end is how the statement ended.
func (r *Result) end(elapsed time.Duration) []slog.Attr {
	attrs := []slog.Attr{slog.Float64("elapsed_ms", milliseconds(elapsed)), slog.Int64("rows", r.rows.Load()), slog.Int64("bytes", r.bytes.Load()), slog.Any("datasets", r.datasets)}
	if at := r.started.Load(); at != 0 {
		attrs = append(attrs, slog.Float64("waited_ms", milliseconds(time.Unix(0, at).Sub(r.arrived))))
	}
	if r.err != nil {
		attrs = append(attrs, slog.String("code", string(fault.CodeOf(r.err))), slog.String("error", r.err.Error()))
	}
	return attrs
}

// where is what the statement's time went into, beside waiting for a slot: the gate and the plan, DuckDB up to the first rows and for those
// after, and whoever took them.
func (r *Result) where() []slog.Attr {
	var attrs []slog.Attr
	add := func(name string, d time.Duration) { attrs = append(attrs, slog.Float64(name, milliseconds(d))) }
	if at := r.started.Load(); at != 0 && !r.executing.IsZero() {
		add("planned_ms", r.executing.Sub(time.Unix(0, at)))
	}
	if !r.flowing.IsZero() {
		add("first_rows_ms", r.flowing.Sub(r.executing))
		add("other_rows_ms", r.fetched)
		add("taken_ms", time.Since(r.flowing)-r.fetched)
	}
	if len(r.operators) > 0 {
		texts := make([]string, len(r.operators))
		for i, o := range r.operators {
			texts[i] = o.String()
		}
		attrs = append(attrs, slog.Any("operators", texts))
	}
	return attrs
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// audit writes a line into the query log. A start without an end is a statement under which the process ended.
func (r *Result) audit(event string, more ...slog.Attr) {
	if log := r.core.opts.Audit; log != nil {
		log.LogAttrs(r.ctx, slog.LevelInfo, event, append(r.attrs(), more...)...)
	}
}

// refused writes a line for a statement that could not be prepared, and so never starts.
func (s *Session) refused(ctx context.Context, sql string, err error) {
	if log := s.core.opts.Audit; log != nil {
		log.LogAttrs(ctx, slog.LevelInfo, "refused", slog.String("door", s.door), slog.String("remote", access.Remote(ctx)), slog.String("user", s.who.User),
			slog.String("role", s.who.Role), slog.String("sql", shorten(sql)), slog.String("code", string(fault.CodeOf(err))), slog.String("error", err.Error()))
	}
}

// attrs never hold parameters: they are the reader's data.
func (r *Result) attrs() []slog.Attr {
	return []slog.Attr{slog.String("door", r.door), slog.String("remote", r.remote), slog.String("query", r.id), slog.String("user", r.who.User),
		slog.String("role", r.who.Role), slog.String("sql", shorten(r.sql))}
}

const sqlBytesShown = 2000

// shorten cuts a statement for logs and lists.
func shorten(sql string) string {
	if len(sql) <= sqlBytesShown {
		return sql
	}
	n := sqlBytesShown
	for n > 0 && !utf8.RuneStart(sql[n]) {
		n--
	}
	return fmt.Sprintf("%s… (%d bytes)", sql[:n], len(sql))
}
