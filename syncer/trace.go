package syncer

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// A run is a trace, and its steps are spans of it. The batches of a replica are not traced: there are many every second for as long as a
// server lives, each alike, and their metrics tell more.

// traceRun begins the trace of a run.
func (s *Syncer) traceRun(ctx context.Context, a *active) context.Context {
	if s.tracer == nil {
		return ctx
	}
	ctx, a.span = s.tracer.Start(ctx, "run "+a.run.Dataset, trace.WithNewRoot(), trace.WithTimestamp(a.run.StartedAt),
		trace.WithAttributes(attribute.String("pintail.dataset", a.run.Dataset), attribute.String("pintail.run", a.run.ID)))
	return ctx
}

// within is ctx under the run's span.
func (a *active) within(ctx context.Context) context.Context {
	if a.span == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, a.span)
}

// endTrace ends it as the run has ended.
func (a *active) endTrace(run store.Run, err error) {
	if a.span == nil {
		return
	}
	a.span.SetName(run.Kind + " " + run.Dataset)
	a.span.SetAttributes(attribute.String("pintail.kind", run.Kind), attribute.String("pintail.state", run.State), attribute.String("pintail.reason", run.Reason),
		attribute.Int64("pintail.rows_read", run.RowsRead), attribute.Int64("pintail.rows_written", run.RowsWritten), attribute.Int64("pintail.bytes", run.Bytes))
	failed(a.span, err)
	a.span.End(trace.WithTimestamp(run.EndedAt))
}

// trace begins the span of a step; end must be called.
func (s *Syncer) trace(ctx context.Context, name string) (_ context.Context, end func(err error, more ...attribute.KeyValue)) {
	if s.tracer == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, func(error, ...attribute.KeyValue) {}
	}
	ctx, span := s.tracer.Start(ctx, name)
	return ctx, func(err error, more ...attribute.KeyValue) {
		span.SetAttributes(more...)
		failed(span, err)
		span.End()
	}
}

// failed marks a span as one of an error; its message, which may hold data, is in the log.
func failed(span trace.Span, err error) {
	if err != nil {
		code := string(fault.CodeOf(err))
		span.SetAttributes(attribute.String("error.type", code))
		span.SetStatus(codes.Error, code)
	}
}
