package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
)

// Error is the body of every failed request.
type Error struct {
	Detail ErrorDetail `json:"error"`
	status int

	retryAfter int // seconds; 0 is 1, where there is anything to try again
}

// ErrorDetail says what kind of failure it was, why, and what to do next.
type ErrorDetail struct {
	Code    string `json:"code" doc:"Kind of failure; the set is closed." example:"not_found"`
	Message string `json:"message" doc:"What was being done, to what, and why it failed." example:"sync shop: there is no such dataset"`
	Hint    string `json:"hint" doc:"What to do next; may be empty." example:"GET /api/store/status lists them"`
}

func (e *Error) Error() string { return e.Detail.Message }

// GetStatus is the HTTP status.
func (e *Error) GetStatus() int { return e.status }

// GetHeaders adds when to try again, and how to log in.
func (e *Error) GetHeaders() http.Header {
	h := http.Header{}
	switch e.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="pintail"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", strconv.Itoa(max(1, e.retryAfter)))
	}
	return h
}

// errorOf is the body for err, whose text it carries as it is.
func errorOf(err error) *Error {
	var named *Error
	if errors.As(err, &named) {
		return named
	}
	if errors.Is(err, query.ErrBehind) {
		// Not too many requests: the copy was waited for in vain.
		return &Error{Detail: ErrorDetail{Code: string(fault.CodeOf(err)), Message: err.Error(), Hint: fault.HintOf(err)}, status: http.StatusGatewayTimeout}
	}
	return &Error{
		Detail: ErrorDetail{Code: string(fault.CodeOf(err)), Message: err.Error(), Hint: fault.HintOf(err)},
		status: fault.HTTPStatus(err),
	}
}

// fail is errorOf for a request: it logs what is a defect of ours, and keeps the text of such from all but
// administrators, since it was not written for readers.
func (s *Server) fail(ctx context.Context, err error) *Error {
	e := errorOf(err)
	if e.Detail.Code != string(fault.Internal) {
		return e
	}
	info := infoOf(ctx)
	s.log.LogAttrs(ctx, slog.LevelError, "request failed", slog.String("request", info.id), slog.String("error", err.Error()))
	if s.opts.Access.CanAdmin(info.who) != nil {
		e.Detail.Message = "internal error; the server's log has it under request " + info.id
	}
	return e
}

// statusCodes are the codes of failures that HTTP itself names; their status stays.
var statusCodes = map[int]fault.Code{
	http.StatusNotFound:            fault.NotFound,
	http.StatusUnauthorized:        fault.Unauthenticated,
	http.StatusForbidden:           fault.Forbidden,
	http.StatusMisdirectedRequest:  fault.Forbidden,
	http.StatusRequestTimeout:      fault.Limit,
	http.StatusServiceUnavailable:  fault.Unavailable,
	http.StatusInternalServerError: fault.Internal,
}

// httpError is a failure that HTTP itself names: 404 of a path, 405, 413, 415.
func httpError(status int, message, hint string) *Error {
	code, ok := statusCodes[status]
	if !ok {
		code = fault.Usage
	}
	return &Error{Detail: ErrorDetail{Code: string(code), Message: message, Hint: hint}, status: status}
}

// huma keeps these in variables of its package; nothing but this package uses huma.
func init() {
	huma.DefaultArrayNullable = false // a list without elements is []
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		// A body that cannot be read is its client's doing.
		if status == http.StatusUnprocessableEntity || status == http.StatusInternalServerError && message == "cannot read request body" {
			status = http.StatusBadRequest
		}
		var parts []string
		for _, err := range errs {
			var d *huma.ErrorDetail
			switch {
			case err == nil:
			case errors.As(err, &d) && d.Location != "":
				parts = append(parts, d.Location+": "+d.Message) // not its value, which may be long or private
			default:
				parts = append(parts, err.Error())
			}
		}
		if len(parts) > 0 {
			message += ": " + strings.Join(parts, "; ")
		}
		hint := ""
		if status == http.StatusBadRequest {
			hint = "GET /openapi.json describes every request"
		}
		return httpError(status, message, hint)
	}
}

// write sends e outside of huma.
func (e *Error) write(w http.ResponseWriter) {
	for k, v := range e.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(e) // the client may be gone
}
