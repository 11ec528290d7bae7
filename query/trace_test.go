package query

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/sqltext"
	"github.com/pintaildb/pintail/store"
)

func TestRedact(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT 1": "SELECT ?", "SELECT a1, _2b FROM t3 WHERE x = 'it''s' AND y>1.5e-3": "SELECT a1, _2b FROM t3 WHERE x = ? AND y>?",
		`SELECT E'a\'b' || e'c', "d""1" FROM "2"`: `SELECT ? || ?, "d""1" FROM "2"`, "SELECT $1, $name, ?, $$it's$$, $x$ $$ $x$, a$1$": "SELECT $1, $name, ?, ?, ?, a$1$",
		"/* user='ann' /* 2 */ */ SELECT x -- 42\n, y": "SELECT x  \n, y", "SELECT 'open": "SELECT ?", "SELECT /* open": "SELECT", "VALUES (.5, 0x1F, 1_000, -7)": "VALUES (?, ?, ?, -?)",
		"SELECT date'2026-01-01', x'ff', 'é'": "SELECT date?, x?, ?", "": "", "SELECT $$open": "SELECT ?", "SELECT größe5 FROM t LIMIT 10": "SELECT größe5 FROM t LIMIT ?",
	} {
		require.Equal(t, want, redact(sql), sql)
	}
	require.LessOrEqual(t, len(redact(strings.Repeat("x,", 1<<19))), sqlBytesShown+1, "what is not shown is not read")
}

func FuzzRedact(f *testing.F) {
	for _, sql := range []string{"SELECT 'a'", "E'\\", "$a$ $a", "/*/*", "--", "1e+", "\"", "$"} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		whole := ""
		eachToken(sql, func(_ sqltext.Kind, text string) bool {
			if text == "" {
				t.Fatal("a token without text")
			}
			whole += text
			return true
		})
		if whole != sql {
			t.Errorf("%q became %q", sql, whole)
		}
		if got := redact("'a secret' " + sql); !strings.HasPrefix(got, "?") || strings.Contains(got, "a secret") && !strings.Contains(sql, "a secret") {
			t.Errorf("%q: %q", sql, got)
		}
	})
}

func TestTraceParent(t *testing.T) {
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	parent := "00-" + id + "-" + span + "-01"
	of := func(ctx context.Context) string {
		if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
			return fmt.Sprint(sc.TraceID(), "-", sc.SpanID(), " ", sc.IsSampled(), " ", sc.TraceState())
		}
		return ""
	}
	known := id + "-" + span + " true "
	for sql, want := range map[string]string{
		"SELECT 1 /*traceparent='" + parent + "',tracestate='a%3D1%2Cb%3D2'*/": known + "a=1,b=2",
		"/*action='%2Fhome', traceparent='" + parent + "'*/ SELECT 1":          known,
		"SELECT 1 -- traceparent='" + parent + "'":                             known,
		"/*x*/ SELECT 1 /* traceparent='" + parent + "' */":                    known,
		"SELECT 'traceparent=''" + parent + "'''":                              "",
		"SELECT 1 /*xtraceparent='" + parent + "'*/":                           "",
		"SELECT 1 /*traceparent='00-0-0-01'*/":                                 "",
		"SELECT 1 /*traceparent='%zz'*/":                                       "",
		"SELECT 1 /*traceparent='" + parent + "*/":                             "",
		"SELECT 1 /*xtraceparent='1', traceparent='" + parent + "'*/":          known,
		"SELECT 1": "",
	} {
		require.Equal(t, want, of(WithTraceComment(t.Context(), sql)), sql)
	}
	require.Empty(t, of(WithTraceParent(t.Context(), "", "")))
	require.Empty(t, of(WithTraceParent(t.Context(), "00-"+id+"-nonsense-01", "")))
	headed := WithTraceParent(t.Context(), parent, "a=1")
	require.Equal(t, known+"a=1", of(headed))
	require.Equal(t, known+"a=1", of(WithTraceComment(headed, "/*traceparent='00-11111111111111111111111111111111-1111111111111111-01'*/")), "the header comes first")
}

// traced is a core whose spans are kept in memory.
func traced(t *testing.T, o Options, sampler sdk.Sampler) (*Core, *tracetest.InMemoryExporter) {
	t.Helper()
	kept := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(kept), sdk.WithSampler(sampler))
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.Background())) })
	o.Tracer = provider.Tracer("test")
	c, _ := newCore(t, o, access.Limits{})
	return c, kept
}

// tree is each span as its parent's name and its own, in the order of their ends.
func tree(spans tracetest.SpanStubs) []string {
	names := map[trace.SpanID]string{}
	for _, s := range spans {
		names[s.SpanContext.SpanID()] = s.Name
	}
	var out []string
	for _, s := range spans {
		out = append(out, names[s.Parent.SpanID()]+" > "+s.Name)
	}
	return out
}

func attributesOf(s tracetest.SpanStub) map[string]string {
	m := map[string]string{}
	for _, kv := range s.Attributes {
		m[string(kv.Key)] = kv.Value.String()
	}
	return m
}

func TestStatementIsTraced(t *testing.T) {
	c, kept := traced(t, Options{}, sdk.AlwaysSample())
	ctx := WithTraceParent(access.WithRemote(t.Context(), "10.1.2.3:4567"), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "")
	r, err := c.Run(ctx, reader, Request{SQL: "SELECT word FROM t WHERE i < 3000 AND word <> $1 AND word <> 'secret'", Params: []any{"row 7777"}, Door: "http"})
	require.NoError(t, err)
	_, err = all(t, r)
	require.NoError(t, err)
	spans := kept.GetSpans()
	require.Equal(t, []string{"SELECT t > wait for a slot", "SELECT t > gate", "SELECT t > plan", "SELECT t > execute", "SELECT t > stream", " > SELECT t"}, tree(spans))
	root := spans[len(spans)-1]
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", root.SpanContext.TraceID().String())
	require.Equal(t, "00f067aa0ba902b7", root.Parent.SpanID().String())
	require.Equal(t, trace.SpanKindServer, root.SpanKind)
	require.Equal(t, codes.Unset, root.Status.Code)
	require.Equal(t, map[string]string{"db.system.name": "duckdb", "db.namespace": "q", "db.operation.name": "SELECT", "db.query.summary": "SELECT t", "user.name": "ann", "pintail.role": "reader",
		"pintail.door": "http", "client.address": "10.1.2.3", "pintail.query": r.ID(), "pintail.datasets": `["t"]`, "db.response.returned_rows": "3000", "pintail.bytes": "0",
		"db.query.text": "SELECT word FROM t WHERE i < ? AND word <> $1 AND word <> ?"}, attributesOf(root))
	var events []string
	for _, e := range root.Events {
		events = append(events, e.Name)
	}
	require.Equal(t, []string{"queued", "started", "first rows"}, events)
	for i, s := range spans[:len(spans)-1] {
		require.False(t, s.StartTime.Before(root.StartTime) || s.EndTime.After(root.EndTime), s.Name)
		require.False(t, i > 0 && s.StartTime.Before(spans[i-1].EndTime), "stages follow each other")
	}
	require.NotContains(t, fmt.Sprint(spans), "7777", "parameters are the reader's data")
	require.NotContains(t, fmt.Sprint(spans), "secret", "and so are literals")
}

func TestFailedStatementIsTraced(t *testing.T) {
	c, kept := traced(t, Options{TraceText: TextFull}, sdk.AlwaysSample())
	_, _, err := run(t, c, Request{SQL: "SELECT * FROM hidden WHERE a = 'x'"})
	require.Error(t, err)
	_, _, err = run(t, c, Request{SQL: "SELECT CAST(word AS INTEGER) FROM t"})
	require.Error(t, err)
	spans := kept.GetSpans()
	require.Equal(t, []string{"statement > wait for a slot", "statement > gate", " > statement", "SELECT t > wait for a slot", "SELECT t > gate", "SELECT t > plan", "SELECT t > execute", " > SELECT t"}, tree(spans))
	for i, code := range map[int]string{1: "forbidden", 2: "forbidden", 6: "invalid_sql", 7: "invalid_sql"} {
		require.Equal(t, sdk.Status{Code: codes.Error, Description: code}, spans[i].Status, spans[i].Name)
		require.Contains(t, spans[i].Attributes, attribute.String("error.type", code))
	}
	require.Equal(t, codes.Unset, spans[4].Status.Code)
	require.Equal(t, "SELECT * FROM hidden WHERE a = 'x'", attributesOf(spans[2])["db.query.text"])
	require.NotContains(t, fmt.Sprint(spans[7]), "row 0", "what an error says may be data")

	c, kept = traced(t, Options{TraceText: TextNone}, sdk.AlwaysSample())
	_, _, err = run(t, c, Request{SQL: "SELECT 1"})
	require.NoError(t, err)
	require.NotContains(t, fmt.Sprint(kept.GetSpans()), "db.query.text")
}

// The first run of a prepared statement continues the trace of its preparing; later ones point at it.
func TestPreparedStatementIsTraced(t *testing.T) {
	c, kept := traced(t, Options{}, sdk.AlwaysSample())
	st, err := c.Session("pgwire", reader, store.Settings{}).Prepare(t.Context(), "SELECT word FROM t WHERE i = $1")
	require.NoError(t, err)
	defer st.Close()
	for range 2 {
		r, err := st.Run(t.Context(), Request{Params: []any{int64(5)}})
		require.NoError(t, err)
		_, err = all(t, r)
		require.NoError(t, err)
	}
	spans := kept.GetSpans()
	require.Equal(t, []string{"PREPARE > gate", "PREPARE > plan", " > PREPARE"}, tree(spans[:3]))
	prepared := spans[2].SpanContext
	var roots []tracetest.SpanStub
	for _, s := range spans[3:] {
		if s.Name == "SELECT t" {
			roots = append(roots, s)
		}
	}
	require.Len(t, roots, 2)
	require.Equal(t, prepared.SpanID(), roots[0].Parent.SpanID())
	require.Empty(t, roots[0].Links)
	require.NotEqual(t, prepared.TraceID(), roots[1].SpanContext.TraceID())
	require.False(t, roots[1].Parent.IsValid())
	require.Equal(t, prepared.SpanID(), roots[1].Links[0].SpanContext.SpanID())

	_, err = c.Session("pgwire", reader, store.Settings{}).Prepare(t.Context(), "SELECT * FROM hidden")
	require.Error(t, err)
	spans = kept.GetSpans()
	require.Equal(t, sdk.Status{Code: codes.Error, Description: "forbidden"}, spans[len(spans)-1].Status)
}

// Of a trace that is not sampled nothing is kept, but the statement knows its id.
func TestUnsampledStatement(t *testing.T) {
	c, kept := traced(t, Options{}, sdk.NeverSample())
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT 1"})
	require.NoError(t, err)
	require.Nil(t, r.spans)
	require.True(t, trace.SpanContextFromContext(r.ctx).HasTraceID())
	_, err = all(t, r)
	require.NoError(t, err)
	require.Empty(t, kept.GetSpans())
}

// Without tracing nothing more is allocated than a statement's own.
func TestTracingOffAllocatesNothing(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	ctx, r := t.Context(), &Result{core: c, sql: "SELECT 1 FROM t WHERE word = 'x'"}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if got := r.traced(ctx, nil); got != ctx {
			t.Error("another context")
		}
		for _, stage := range []string{stageWait, stageGate, stagePlan, stageExecute, stageStream} {
			r.spans.enter(stage)
		}
		r.spans.event("started")
		r.spans.firstRows()
		r.endTrace()
	}))
}

// What tracing costs a statement: of no one, of one in a trace that is not sampled, and of one whose spans are made and dropped.
func BenchmarkTracing(b *testing.B) {
	for _, k := range []struct {
		name    string
		sampler sdk.Sampler
	}{{"off", nil}, {"unsampled", sdk.NeverSample()}, {"sampled", sdk.AlwaysSample()}} {
		b.Run(k.name, func(b *testing.B) {
			o := Options{}
			if k.sampler != nil {
				provider := sdk.NewTracerProvider(sdk.WithSampler(k.sampler), sdk.WithBatcher(tracetest.NewNoopExporter()))
				defer func() { _ = provider.Shutdown(context.Background()) }()
				o.Tracer = provider.Tracer("bench")
			}
			c, _ := newCore(b, o, access.Limits{})
			b.ReportAllocs()
			for b.Loop() {
				r, err := c.Run(b.Context(), reader, Request{SQL: "SELECT word FROM t WHERE i = 7"})
				if err != nil {
					b.Fatal(err)
				}
				for chunk := new(store.ResultChunk); chunk != nil && err == nil; {
					chunk, _, err = r.Next()
				}
				r.Close()
			}
		})
	}
}
