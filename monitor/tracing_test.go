package monitor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/oteltest"
)

// otelVariables keeps the machine's own settings out of a test.
func otelVariables(t *testing.T) {
	for _, name := range []string{"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL",
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"} {
		t.Setenv(name, "")
	}
}

func TestTracesArrive(t *testing.T) {
	otelVariables(t)
	for _, k := range []struct {
		name string
		set  func(t *testing.T, at *oteltest.Receiver) TracingOptions
	}{
		{"http", func(_ *testing.T, at *oteltest.Receiver) TracingOptions { return TracingOptions{Endpoint: at.URL} }},
		{"http with a path", func(_ *testing.T, at *oteltest.Receiver) TracingOptions {
			return TracingOptions{Endpoint: at.URL + "/v1/traces", Protocol: "http/protobuf"}
		}},
		{"grpc", func(_ *testing.T, at *oteltest.Receiver) TracingOptions {
			return TracingOptions{Endpoint: at.GRPC, Protocol: "grpc"}
		}},
		{"variables", func(t *testing.T, at *oteltest.Receiver) TracingOptions {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", at.URL)
			return TracingOptions{}
		}},
		{"variables, grpc", func(t *testing.T, at *oteltest.Receiver) TracingOptions {
			t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", at.GRPC)
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
			return TracingOptions{}
		}},
	} {
		t.Run(k.name, func(t *testing.T) {
			at := oteltest.New(t)
			reg := prometheus.NewRegistry()
			o := k.set(t, at)
			o.Version, o.Headers, o.Registerer = "1.2.3", map[string]string{"x-key": "secret"}, reg
			tr, err := NewTracing(t.Context(), o)
			require.NoError(t, err)
			ctx, root := tr.Tracer().Start(t.Context(), "root")
			_, child := tr.Tracer().Start(ctx, "child")
			child.End()
			root.End()
			require.NoError(t, tr.Shutdown(t.Context()))
			got, below := at.Wait(t, "root", func(s oteltest.Span) bool { return s.Name == "root" })
			require.Contains(t, below, "child")
			require.Equal(t, root.SpanContext().TraceID().String(), got.Trace)
			require.Equal(t, "pintail", got.Resource["service.name"])
			require.Equal(t, "1.2.3", got.Resource["service.version"])
			if o.Protocol == "http/protobuf" {
				require.Equal(t, "secret", at.Header("X-Key"))
			}
			require.Equal(t, map[string]float64{"pintail_trace_spans_total": 2, "pintail_trace_spans_sent_total": 2, "pintail_trace_spans_failed_total": 0}, counters(t, reg))
		})
	}
}

func counters(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	m := map[string]float64{}
	for _, f := range families {
		m[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	return m
}

func TestTracingIsOff(t *testing.T) {
	otelVariables(t)
	off := func(o TracingOptions) {
		t.Helper()
		tr, err := NewTracing(t.Context(), o)
		require.NoError(t, err)
		require.Nil(t, tr)
		require.Nil(t, tr.Tracer(), "a nil of the interface, which costs nothing to ask")
		require.NoError(t, tr.Shutdown(t.Context()))
	}
	off(TracingOptions{})
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	off(TracingOptions{})
	t.Setenv("OTEL_SDK_DISABLED", "true")
	off(TracingOptions{Endpoint: "http://127.0.0.1:1"})

	t.Setenv("OTEL_SDK_DISABLED", "")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
	_, err := NewTracing(t.Context(), TracingOptions{Endpoint: "http://127.0.0.1:1"})
	require.Equal(t, fault.Config, fault.CodeOf(err))
	require.Contains(t, err.Error(), "http/json")
}

func TestSampling(t *testing.T) {
	otelVariables(t)
	at := oteltest.New(t)
	kept := func(o TracingOptions, ctx context.Context) (n int) {
		t.Helper()
		o.Endpoint = at.URL
		tr, err := NewTracing(t.Context(), o)
		require.NoError(t, err)
		for range 400 {
			_, s := tr.Tracer().Start(ctx, "x")
			if s.IsRecording() {
				n++
			}
		}
		require.NoError(t, tr.Shutdown(t.Context()))
		return n
	}
	share := func(f float64) TracingOptions { return TracingOptions{Sample: &f} }
	require.Equal(t, 400, kept(TracingOptions{}, t.Context()))
	require.Zero(t, kept(share(0), t.Context()))
	require.InDelta(t, 200, kept(share(0.5), t.Context()), 80)
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	require.Zero(t, kept(TracingOptions{}, t.Context()))
	require.Equal(t, 400, kept(share(1), t.Context()), "the configuration comes first")
	theirs := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled, Remote: true})
	require.Equal(t, 400, kept(share(0), trace.ContextWithRemoteSpanContext(t.Context(), theirs)), "of a client's trace the client has decided")
	require.Zero(t, kept(share(1), trace.ContextWithRemoteSpanContext(t.Context(), theirs.WithTraceFlags(0))))
}

// A collector that is gone, and one that takes connections but never answers, hold nobody up: what there is no room for is dropped.
func TestDeadCollector(t *testing.T) {
	otelVariables(t)
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		for _, at := range []string{"127.0.0.1:1", silent.Addr().String()} {
			t.Run(protocol+" "+at, func(t *testing.T) {
				var log bytes.Buffer
				reg := prometheus.NewRegistry()
				tr, err := NewTracing(t.Context(), TracingOptions{Endpoint: "http://" + at, Protocol: protocol, Log: slog.New(slog.NewTextHandler(&log, nil)), Registerer: reg})
				require.NoError(t, err)
				const spans = 20_000 // ten times what is queued
				began := time.Now()
				for range spans {
					_, s := tr.Tracer().Start(t.Context(), "x")
					s.End()
				}
				require.Less(t, time.Since(began), 5*time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				_ = tr.Shutdown(ctx)
				require.Less(t, time.Since(began), 10*time.Second)
				c := counters(t, reg)
				require.Equal(t, float64(spans), c["pintail_trace_spans_total"])
				require.Zero(t, c["pintail_trace_spans_sent_total"])
			})
		}
	}
}

// What goes wrong with traces is in the log, but not with each batch.
func TestTraceErrorsAreTold(t *testing.T) {
	var log bytes.Buffer
	told := &teller{log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 10 {
		told.handle(fmt.Errorf("connection refused"))
	}
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("\n")))
	require.Contains(t, log.String(), "connection refused")
	require.Contains(t, log.String(), "server.tracing.endpoint")
}

func TestTraceLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(TraceLog(slog.NewJSONHandler(&out, nil))).With("a", 1)
	log.Info("without")
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}))
	log.InfoContext(ctx, "with")
	var without, with struct {
		Msg     string
		A       int
		TraceID *string `json:"trace_id"`
	}
	d := json.NewDecoder(&out)
	require.NoError(t, d.Decode(&without))
	require.NoError(t, d.Decode(&with))
	require.Nil(t, without.TraceID)
	require.Equal(t, 1, with.A)
	require.Equal(t, "01000000000000000000000000000000", *with.TraceID)
}
