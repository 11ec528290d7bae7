package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// register adds an operation whose errors get the one form. Every operation lists the failures that all have.
func register[I, O any](s *Server, api huma.API, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	if len(op.Security) == 0 {
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden)
	}
	op.MaxBodyBytes = bodyBytesMax
	op.RejectUnknownQueryParameters = len(op.Parameters) == 0 // an operation that documents free ones checks them itself
	op.BodyReadTimeout = s.bodyTimeout
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return out, nil
	})
}

// open is the Security of operations that need no credentials.
var open = []map[string][]string{{}}

func (s *Server) routes(api huma.API) {
	const store, sql, health = "store", "sql", "health"
	s.healthRoutes(api, health)

	register(s, api, huma.Operation{OperationID: "sync-all", Method: http.MethodPost, Path: "/api/store/sync", Tags: []string{store},
		Summary: "Start a sync of every dataset", DefaultStatus: http.StatusAccepted, Errors: []int{400, 409},
		Description: "Starts every dataset that the caller may sync and that is not being synced. 409 when all of them are."}, s.syncAll)
	register(s, api, huma.Operation{OperationID: "sync", Method: http.MethodPost, Path: "/api/store/sync/{dataset}", Tags: []string{store},
		Summary: "Start a sync of one dataset", DefaultStatus: http.StatusAccepted, Errors: []int{400, 404, 409}}, s.sync)
	register(s, api, huma.Operation{OperationID: "reset-watermark", Method: http.MethodPost, Path: "/api/store/sync/{dataset}/reset-watermark", Tags: []string{store},
		Summary: "Forget watermarks, so that the next sync rebuilds", Errors: []int{400, 404, 409}}, s.resetWatermark)
	register(s, api, huma.Operation{OperationID: "verify", Method: http.MethodPost, Path: "/api/store/verify/{dataset}", Tags: []string{store},
		Summary: "Start a comparison of the copy with its source", DefaultStatus: http.StatusAccepted, Errors: []int{404, 409},
		Description: "The result is the run's detail."}, s.verify)
	register(s, api, huma.Operation{OperationID: "reconcile", Method: http.MethodPost, Path: "/api/store/reconcile/{dataset}", Tags: []string{store},
		Summary: "Start a comparison of the copy with its source, and repair what differs", DefaultStatus: http.StatusAccepted, Errors: []int{404, 409}}, s.reconcile)
	register(s, api, huma.Operation{OperationID: "pause", Method: http.MethodPost, Path: "/api/store/datasets/{dataset}/pause", Tags: []string{store},
		Summary: "Stop scheduling a dataset", Errors: []int{404}}, s.pause)
	register(s, api, huma.Operation{OperationID: "resume", Method: http.MethodPost, Path: "/api/store/datasets/{dataset}/resume", Tags: []string{store},
		Summary: "Schedule a dataset again", Errors: []int{404}}, s.resume)
	register(s, api, huma.Operation{OperationID: "reload", Method: http.MethodPost, Path: "/api/store/reload", Tags: []string{store},
		Summary: "Read the configuration again", Errors: []int{400, 404},
		Description: "For administrators. A reload that would drop tables or views needs confirm=true; dry_run=true only says what would change."}, s.reload)
	register(s, api, huma.Operation{OperationID: "status", Method: http.MethodGet, Path: "/api/store/status", Tags: []string{store},
		Summary: "State of every dataset", Errors: []int{400}}, s.status)
	register(s, api, huma.Operation{OperationID: "quarantine", Method: http.MethodGet, Path: "/api/store/quarantine", Tags: []string{store},
		Summary: "Tables of replicas that were set aside, and why", Errors: []int{400}}, s.quarantine)
	register(s, api, huma.Operation{OperationID: "retry", Method: http.MethodPost, Path: "/api/store/retry/{dataset}", Tags: []string{store},
		Summary: "Take tables out of quarantine, and copy them anew", Errors: []int{400, 404}}, s.retry)
	register(s, api, huma.Operation{OperationID: "slots", Method: http.MethodGet, Path: "/api/store/slots", Tags: []string{store},
		Summary: "Replication slots that Pintail has in the sources' databases", Description: "For administrators.", Errors: []int{400}}, s.slots)
	register(s, api, huma.Operation{OperationID: "drop-slot", Method: http.MethodDelete, Path: "/api/store/slots/{slot}", Tags: []string{store},
		Summary: "Drop a replication slot and the publication of the same name", Errors: []int{400, 404, 502, 504},
		Description: "For administrators. One that a dataset follows, which is configured here and not paused, or that is in use elsewhere, needs force=true."}, s.dropSlot)

	register(s, api, huma.Operation{OperationID: "runs", Method: http.MethodGet, Path: "/api/store/runs", Tags: []string{store},
		Summary: "History of runs, newest first", Errors: []int{400}}, s.runs)
	register(s, api, huma.Operation{OperationID: "run", Method: http.MethodGet, Path: "/api/store/runs/{id}", Tags: []string{store},
		Summary: "One run, with its progress", Errors: []int{404}}, s.run)
	register(s, api, huma.Operation{OperationID: "cancel-run", Method: http.MethodPost, Path: "/api/store/runs/{id}/cancel", Tags: []string{store},
		Summary: "Cancel a run under way; the last good data stays", DefaultStatus: http.StatusAccepted, Errors: []int{404}}, s.cancelRun)

	register(s, api, huma.Operation{OperationID: "metadata", Method: http.MethodGet, Path: "/api/store/metadata/{dataset}", Tags: []string{store},
		Summary: "Columns, time range and filter values of a dataset", Errors: []int{400, 404, 503}}, s.metadata)
	s.dataRoute(api, store)

	s.sqlRoute(api, sql)
	s.endpointRoutes(api, sql)
	register(s, api, huma.Operation{OperationID: "queries", Method: http.MethodGet, Path: "/v0/queries", Tags: []string{sql},
		Summary: "Statements that wait or run", Description: "Administrators see everybody's, others their own.", Errors: []int{400}}, s.queries)
	register(s, api, huma.Operation{OperationID: "kill-query", Method: http.MethodDelete, Path: "/v0/queries/{id}", Tags: []string{sql},
		Summary: "End a statement", Description: "Administrators end everybody's, others their own.", Errors: []int{404}}, s.killQuery)
	tidy(api.OpenAPI())
}

// tidy makes the document say what is: bad requests are 400 here, never huma's 422; and answers may get more members.
func tidy(doc *huma.OpenAPI) {
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Delete} {
			if op == nil {
				continue
			}
			if r := op.Responses["422"]; r != nil {
				delete(op.Responses, "422")
				r.Description = http.StatusText(http.StatusBadRequest)
				op.Responses["400"] = r
			}
		}
	}
	all := doc.Components.Schemas.Map()
	all["Metadata"].Properties["time_range"] = &huma.Schema{AnyOf: []*huma.Schema{all["Metadata"].Properties["time_range"], {Type: "null"}}}
	for name, schema := range all {
		if name != "SQLRequest" && schema.AdditionalProperties == false {
			schema.AdditionalProperties = nil
		}
	}
}
