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

// report writes the end into logs and metrics.
func (r *Result) report() {
	elapsed := r.Elapsed()
	r.core.metrics.ended(r.err, r.admitted, elapsed, r.rows.Load(), r.bytes.Load())
	level, msg := slog.LevelDebug, "query ended"
	if elapsed > r.core.opts.Slow {
		level, msg = slog.LevelWarn, "slow query"
	}
	if fault.CodeOf(r.err) == fault.Internal {
		level, msg = slog.LevelError, "query failed"
	}
	end := r.end(elapsed)
	r.core.log.LogAttrs(r.ctx, level, msg, append(r.attrs(), end...)...)
	r.audit("end", end...)
}

// end is how the statement ended.
func (r *Result) end(elapsed time.Duration) []slog.Attr {
	attrs := []slog.Attr{slog.Float64("elapsed_ms", milliseconds(elapsed)), slog.Int64("rows", r.rows.Load()), slog.Int64("bytes", r.bytes.Load())}
	if at := r.started.Load(); at != 0 {
		attrs = append(attrs, slog.Float64("waited_ms", milliseconds(time.Unix(0, at).Sub(r.arrived))))
	}
	if r.err != nil {
		attrs = append(attrs, slog.String("code", string(fault.CodeOf(r.err))), slog.String("error", r.err.Error()))
	}
	return attrs
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// audit writes a line into the query log. A start without an end is a statement under which the process ended.
func (r *Result) audit(event string, more ...slog.Attr) {
	if log := r.core.opts.Audit; log != nil {
		attrs := append([]slog.Attr{slog.String("door", r.door), slog.String("remote", r.remote)}, r.attrs()...)
		log.LogAttrs(r.ctx, slog.LevelInfo, event, append(attrs, more...)...)
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
	return []slog.Attr{slog.String("query", r.id), slog.String("user", r.who.User), slog.String("role", r.who.Role), slog.String("sql", shorten(r.sql))}
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
