package httpapi

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pintaildb/pintail/internal/fault"
)

// Alive says that the process answers.
type Alive struct {
	Status string `json:"status" enum:"ok"`
}

type aliveOutput struct{ Body Alive }

// Readiness says whether readers can be served, by check.
type Readiness struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks" doc:"By check: ok, or why it fails."`
	Error  *ErrorDetail      `json:"error,omitempty"`
}

type readyOutput struct {
	Status int
	Body   Readiness
}

func (s *Server) healthRoutes(api huma.API, tag string) {
	register(s, api, huma.Operation{OperationID: "healthz", Method: http.MethodGet, Path: "/healthz", Tags: []string{tag}, Security: open,
		Summary: "Whether the process lives", Errors: []int{400}},
		func(context.Context, *struct{}) (*aliveOutput, error) {
			return &aliveOutput{Body: Alive{Status: "ok"}}, nil
		})
	register(s, api, huma.Operation{OperationID: "readyz", Method: http.MethodGet, Path: "/readyz", Tags: []string{tag}, Security: open,
		Summary: "Whether readers can be served", Description: "Answers 503, with the same body and the reasons, when not.", Errors: []int{400},
		Responses: map[string]*huma.Response{"503": {Description: http.StatusText(http.StatusServiceUnavailable), Content: map[string]*huma.MediaType{
			"application/json": {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Readiness](), true, "")}}}}}, s.ready)
	register(s, api, huma.Operation{OperationID: "metrics", Method: http.MethodGet, Path: "/metrics", Tags: []string{tag},
		Summary: "Metrics in Prometheus' text format", Description: "Open as server.metrics_open says; by default to clients on this machine.",
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}}}},
		func(context.Context, *struct{}) (*huma.StreamResponse, error) {
			if s.opts.Gatherer == nil {
				return nil, fault.New(fault.NotFound, "", "this server gathers no metrics")
			}
			return &huma.StreamResponse{Body: func(ctx huma.Context) {
				r, w := humago.Unwrap(ctx)
				promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{}).ServeHTTP(w, r)
			}}, nil
		})
}

func (s *Server) ready(ctx context.Context, _ *struct{}) (*readyOutput, error) {
	out := &readyOutput{Status: http.StatusOK, Body: Readiness{Ready: true, Checks: map[string]string{}}}
	checks := map[string]error{}
	if s.opts.Ready != nil {
		ctx, stop := context.WithTimeout(ctx, s.readyTimeout)
		defer stop()
		checks = s.opts.Ready(ctx)
	}
	if s.stopping.Load() {
		checks = map[string]error{"server": fault.New(fault.Unavailable, "", "the server is stopping")}
	}
	failed := 0
	for name, err := range checks {
		if err == nil {
			out.Body.Checks[name] = "ok"
			continue
		}
		failed++
		out.Body.Checks[name] = err.Error()
	}
	if failed > 0 {
		out.Status, out.Body.Ready = http.StatusServiceUnavailable, false
		out.Body.Error = &errorOf(fault.New(fault.Unavailable, "checks says why", "not ready: %d of %d checks fail", failed, len(checks))).Detail
	}
	return out, nil
}
