package monitor

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/pintaildb/pintail/internal/fault"
)

// TracingOptions say where traces go; what is empty is as the variables of OpenTelemetry say, or its defaults.
type TracingOptions struct {
	Endpoint   string            // URL of the collector
	Protocol   string            // http/protobuf or grpc
	Headers    map[string]string // that the collector wants
	Sample     *float64          // share of the traces begun here that is kept
	Version    string            // of Pintail
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// Tracing sends spans to a collector. A queue holds what is to be sent: when the collector does not take it as fast as it comes, or at
// all, spans are dropped and counted, and nobody waits. The nil *Tracing is off.
type Tracing struct {
	provider *sdk.TracerProvider
}

// NewTracing makes one; nil where nothing says which collector to send to.
func NewTracing(ctx context.Context, o TracingOptions) (*Tracing, error) {
	if !tracingOn(o) {
		return nil, nil
	}
	exporter, err := newExporter(ctx, o)
	if err != nil {
		return nil, fault.New(fault.Config, "check server.tracing, and the variables OTEL_EXPORTER_OTLP_…", "send traces: %w", err)
	}
	told := &teller{log: o.Log}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(told.handle))
	counted := newCounted(exporter, o.Registerer)
	named, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "pintail"), attribute.String("service.version", o.Version)),
		resource.WithFromEnv(), resource.WithHost(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, fault.New(fault.Config, "check OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME", "name the source of traces: %w", err)
	}
	opts := []sdk.TracerProviderOption{sdk.WithResource(named), sdk.WithSpanProcessor(counted.begin(sdk.NewBatchSpanProcessor(counted)))}
	if o.Sample != nil {
		opts = append(opts, sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(*o.Sample))))
	}
	return &Tracing{provider: sdk.NewTracerProvider(opts...)}, nil
}

func tracingOn(o TracingOptions) bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	if o.Endpoint != "" {
		return true
	}
	return os.Getenv("OTEL_TRACES_EXPORTER") != "none" && (os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "")
}

func newExporter(ctx context.Context, o TracingOptions) (*otlptrace.Exporter, error) {
	protocol := o.Protocol
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol == "" {
			protocol = os.Getenv(name)
		}
	}
	var client otlptrace.Client
	switch protocol {
	case "grpc":
		var opts []otlptracegrpc.Option
		if o.Endpoint != "" {
			opts = append(opts, otlptracegrpc.WithEndpointURL(o.Endpoint))
		}
		if len(o.Headers) > 0 {
			opts = append(opts, otlptracegrpc.WithHeaders(o.Headers))
		}
		client = otlptracegrpc.NewClient(opts...)
	case "", "http/protobuf":
		var opts []otlptracehttp.Option
		if o.Endpoint != "" {
			at, err := url.Parse(o.Endpoint)
			if err != nil {
				return nil, err
			}
			if strings.Trim(at.Path, "/") == "" {
				at.Path = "/v1/traces"
			}
			opts = append(opts, otlptracehttp.WithEndpointURL(at.String()))
		}
		if len(o.Headers) > 0 {
			opts = append(opts, otlptracehttp.WithHeaders(o.Headers))
		}
		client = otlptracehttp.NewClient(opts...)
	default:
		return nil, fault.New(fault.Config, "http/protobuf or grpc", "OTEL_EXPORTER_OTLP_PROTOCOL is %q", protocol)
	}
	return otlptrace.New(ctx, client)
}

// Tracer makes spans; nil when tracing is off.
func (t *Tracing) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer("github.com/pintaildb/pintail")
}

// Shutdown sends what is queued, until ctx ends.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// teller logs what goes wrong with traces, at most once a minute.
type teller struct {
	log  *slog.Logger
	mu   sync.Mutex
	last time.Time
}

func (t *teller) handle(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.log == nil || !t.last.IsZero() && time.Since(t.last) < time.Minute {
		return
	}
	t.last = time.Now()
	t.log.Warn("traces cannot be sent", "error", err, "hint", "check server.tracing.endpoint, and the collector")
}

// counted counts what becomes of spans.
type counted struct {
	sdk.SpanExporter
	ended, sent, failed prometheus.Counter
}

func newCounted(e sdk.SpanExporter, reg prometheus.Registerer) *counted {
	count := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	c := &counted{SpanExporter: e,
		ended:  count("pintail_trace_spans_total", "Spans of traces that ended, sampled ones only."),
		sent:   count("pintail_trace_spans_sent_total", "Spans that the collector has taken. Those that ended and were neither sent nor failed wait, or were dropped since too many did."),
		failed: count("pintail_trace_spans_failed_total", "Spans that the collector has not taken.")}
	if reg != nil {
		reg.MustRegister(c.ended, c.sent, c.failed)
	}
	return c
}

// ExportSpans implements sdk.SpanExporter.
func (c *counted) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		c.failed.Add(float64(len(spans)))
		return err
	}
	c.sent.Add(float64(len(spans)))
	return nil
}

// begin counts the spans that p is handed.
func (c *counted) begin(p sdk.SpanProcessor) sdk.SpanProcessor { return counting{p, c.ended} }

type counting struct {
	sdk.SpanProcessor
	ended prometheus.Counter
}

// OnEnd implements sdk.SpanProcessor.
func (c counting) OnEnd(s sdk.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		c.ended.Inc()
	}
	c.SpanProcessor.OnEnd(s)
}

// TraceLog gives lines that are logged with a context of a trace its id.
func TraceLog(h slog.Handler) slog.Handler { return traceLog{h} }

type traceLog struct{ slog.Handler }

// Handle implements slog.Handler.
func (h traceLog) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h traceLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traceLog{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h traceLog) WithGroup(name string) slog.Handler { return traceLog{h.Handler.WithGroup(name)} }
