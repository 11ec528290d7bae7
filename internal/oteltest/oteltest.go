// Package oteltest is a collector for tests: it takes OpenTelemetry's traces over HTTP and gRPC, and shows their spans.
package oteltest

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Span is one as it was received. Attributes, and the resource's, are texts: lists as [a b].
type Span struct {
	Name              string
	Trace, ID, Parent string // hexadecimal; Parent is "" of a root
	Kind              string
	Attributes        map[string]string
	Resource          map[string]string
	Events            []string
	Links             []string // ids of the spans
	Failed            bool
	Status            string // its message
	Start, End        time.Time
}

// Receiver is a collector. Its methods may be called from any goroutine.
type Receiver struct {
	collector.UnimplementedTraceServiceServer
	URL  string // for OTLP over HTTP
	GRPC string // for OTLP over gRPC

	mu      sync.Mutex
	spans   []Span
	headers http.Header
	changed chan struct{} // closed with the next spans
}

// New starts a collector on free ports, which ends with the test.
func New(t testing.TB) *Receiver {
	t.Helper()
	r := &Receiver{changed: make(chan struct{})}
	web := httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(web.Close)
	r.URL = web.URL
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.GRPC = "http://" + l.Addr().String()
	s := grpc.NewServer()
	collector.RegisterTraceServiceServer(s, r)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *Receiver) take(w http.ResponseWriter, req *http.Request) {
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	b, err := io.ReadAll(body)
	sent := &collector.ExportTraceServiceRequest{}
	if err == nil {
		err = proto.Unmarshal(b, sent)
	}
	if err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprintf("%s: %v", req.URL.Path, err), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.headers = req.Header.Clone()
	r.mu.Unlock()
	r.add(sent)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// Export implements the gRPC service.
func (r *Receiver) Export(_ context.Context, sent *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.add(sent)
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *Receiver) add(sent *collector.ExportTraceServiceRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range sent.GetResourceSpans() {
		resource := attributes(rs.GetResource().GetAttributes())
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				out := Span{Name: s.GetName(), Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
					Kind: strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_"), Attributes: attributes(s.GetAttributes()), Resource: resource,
					Failed: s.GetStatus().GetCode().String() == "STATUS_CODE_ERROR", Status: s.GetStatus().GetMessage(),
					Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano()))}
				for _, e := range s.GetEvents() {
					out.Events = append(out.Events, e.GetName())
				}
				for _, l := range s.GetLinks() {
					out.Links = append(out.Links, hex.EncodeToString(l.GetSpanId()))
				}
				r.spans = append(r.spans, out)
			}
		}
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func attributes(list []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range list {
		m[kv.GetKey()] = text(kv.GetValue())
	}
	return m
}

func text(v *common.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *common.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *common.AnyValue_DoubleValue:
		return fmt.Sprint(v.DoubleValue)
	case *common.AnyValue_ArrayValue:
		var parts []string
		for _, x := range v.ArrayValue.GetValues() {
			parts = append(parts, text(x))
		}
		return fmt.Sprint(parts)
	}
	return ""
}

// Header is one that the last export over HTTP came with.
func (r *Receiver) Header(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.headers.Get(name)
}

// Spans are all that were received, in the order of their coming.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span(nil), r.spans...)
}

// Wait waits for a span, and returns it with those below it at that moment, by name.
func (r *Receiver) Wait(t testing.TB, what string, is func(Span) bool) (Span, map[string]Span) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		spans := r.Spans()
		for _, s := range spans {
			if is(s) {
				below := map[string]Span{}
				for _, c := range spans {
					if c.Parent == s.ID {
						below[c.Name] = c
					}
				}
				return s, below
			}
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: no such span among %d: %+v", what, len(spans), spans)
		}
	}
}
