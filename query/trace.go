package query

import (
	"context"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/sqltext"
)

// How much traces tell of a statement's text.
const (
	TextRedacted = "redacted" // ? in place of every literal
	TextFull     = "full"
	TextNone     = "none"
)

// Stages of a statement, which are the spans below its own.
const (
	stagePosition = "await position" // of replicas that it is to read no earlier
	stageWait     = "wait for a slot"
	stageGate     = "gate"
	stagePlan     = "plan"
	stageExecute  = "execute" // to the first rows
	stageStream   = "stream"  // to the last row
)

// WithTraceParent gives a request's context the trace that its client has begun, as the headers traceparent and tracestate of W3C's Trace
// Context name it. What is no trace context is left out.
func WithTraceParent(ctx context.Context, parent, state string) context.Context {
	if parent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent, "tracestate": state})
}

// WithTraceComment is WithTraceParent for a client whose protocol has no headers: it writes them into a comment of the statement, as
// key='value' with % escapes. A trace that the context has already comes first.
func WithTraceComment(ctx context.Context, sql string) context.Context {
	if !strings.Contains(sql, "traceparent=") || trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	var parent, state string
	eachToken(sql, func(kind sqltext.Kind, text string) bool {
		if kind == sqltext.Comment {
			parent, state = commentValue(text, "traceparent"), commentValue(text, "tracestate")
		}
		return parent == ""
	})
	return WithTraceParent(ctx, parent, state)
}

// commentValue is the value of key within a comment; "" where it has none.
func commentValue(comment, key string) string {
	for rest := comment; ; {
		before, after, found := strings.Cut(rest, key+"='")
		value, behind, closed := strings.Cut(after, "'")
		if !found || !closed {
			return ""
		}
		if before != "" && !isWord(before[len(before)-1]) {
			text, err := url.PathUnescape(value)
			if err != nil {
				return ""
			}
			return text
		}
		rest = behind
	}
}

func isWord(c byte) bool {
	return c == '_' || c >= 0x80 || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// spans are those of one statement of which a trace is kept. The nil *spans does nothing.
type spans struct {
	tracer trace.Tracer
	ctx    context.Context //nolint:containedctx // The root's, for the stages.
	root   trace.Span
	stage  trace.Span // under way; nil: none
	rows   bool       // the first ones were there
}

// spans begins a span under the trace of ctx, and returns the context with it, also when none is kept: logs tell the trace's id.
func (c *Core) spans(ctx context.Context, name, door string, p access.Principal, begun time.Time, link trace.SpanContext) (context.Context, *spans) {
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(begun)}
	if link.IsValid() {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: link}))
	}
	remote := access.Remote(ctx)
	ctx, root := c.opts.Tracer.Start(ctx, name, opts...)
	if !root.IsRecording() {
		return ctx, nil
	}
	root.SetAttributes(attribute.String("db.system.name", "duckdb"), attribute.String("db.namespace", c.store.Catalog()),
		attribute.String("user.name", p.User), attribute.String("pintail.role", p.Role), attribute.String("pintail.door", door))
	if remote != "" {
		root.SetAttributes(attribute.String("client.address", remote))
	}
	return ctx, &spans{tracer: c.opts.Tracer, ctx: ctx, root: root}
}

// enter ends the stage under way and begins another.
func (s *spans) enter(stage string) {
	if s == nil {
		return
	}
	s.leave(nil)
	_, s.stage = s.tracer.Start(s.ctx, stage)
}

func (s *spans) leave(err error) {
	if s.stage != nil {
		fail(s.stage, err)
		s.stage.End()
		s.stage = nil
	}
}

func (s *spans) event(name string) {
	if s != nil {
		s.root.AddEvent(name)
	}
}

// firstRows marks the moment when the first rows were there.
func (s *spans) firstRows() {
	if s != nil && !s.rows {
		s.rows = true
		s.root.AddEvent("first rows")
	}
}

func (s *spans) end(err error, more ...attribute.KeyValue) {
	s.leave(err)
	s.root.SetAttributes(more...)
	fail(s.root, err)
	s.root.End()
}

// fail marks a span as one of an error. Its message may hold data: the log has it, and the trace only the code.
func fail(span trace.Span, err error) {
	if err != nil {
		code := string(fault.CodeOf(err))
		span.SetAttributes(attribute.String("error.type", code))
		span.SetStatus(codes.Error, code)
	}
}

// traced begins the statement's span. The first run of a prepared statement continues the trace of its preparing, where neither belongs
// to a client's; later ones are traces of their own that point at it.
func (r *Result) traced(ctx context.Context, st *Statement) context.Context {
	ctx = WithTraceComment(ctx, r.sql)
	if r.core.opts.Tracer == nil {
		return ctx
	}
	var link trace.SpanContext
	if st != nil {
		if first := !st.ran; first && !trace.SpanContextFromContext(ctx).IsValid() {
			ctx = trace.ContextWithSpanContext(ctx, st.traced)
		} else {
			link = st.traced
		}
		st.ran = true
	}
	ctx, r.spans = r.core.spans(ctx, "statement", r.door, r.who, r.arrived, link)
	r.spans.event("queued")
	return ctx
}

// endTrace ends the statement's spans.
func (r *Result) endTrace() {
	if r.spans == nil {
		return
	}
	name := "SELECT"
	if r.gated.Explain {
		name = "EXPLAIN"
	}
	attrs := []attribute.KeyValue{attribute.String("pintail.query", r.id), attribute.Int64("db.response.returned_rows", r.rows.Load()), attribute.Int64("pintail.bytes", r.bytes.Load())}
	if r.gated.SQL != "" {
		attrs = append(attrs, attribute.String("db.operation.name", name), attribute.StringSlice("pintail.datasets", r.datasets))
		for _, o := range r.gated.Tables {
			if text := name + " " + o.String(); len(text) <= summaryBytesMax {
				name = text
			}
		}
		r.spans.root.SetName(name)
		attrs = append(attrs, attribute.String("db.query.summary", name))
	}
	r.spans.end(r.err, append(attrs, r.core.text(r.sql)...)...)
}

// summaryBytesMax is what OpenTelemetry allows a summary.
const summaryBytesMax = 255

// text is what traces tell of a statement's text.
func (c *Core) text(sql string) []attribute.KeyValue {
	switch c.opts.TraceText {
	case TextNone:
		return nil
	case TextFull:
	default:
		sql = redact(sql)
	}
	return []attribute.KeyValue{attribute.String("db.query.text", shorten(sql))}
}

// tracePrepare begins the span of a statement's preparing; the returned function ends it.
func (s *Session) tracePrepare(ctx context.Context, sql string, st *Statement) (context.Context, func(error)) {
	ctx = WithTraceComment(ctx, sql)
	if s.core.opts.Tracer == nil {
		return ctx, func(error) {}
	}
	ctx, st.spans = s.core.spans(ctx, "PREPARE", s.door, s.who, time.Now(), trace.SpanContext{})
	st.traced = trace.SpanContextFromContext(ctx)
	return ctx, func(err error) {
		if st.spans != nil {
			st.spans.end(err, append(s.core.text(sql), attribute.String("db.operation.name", "PREPARE"))...)
			st.spans = nil
		}
	}
}
