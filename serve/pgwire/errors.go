package pgwire

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/internal/fault"
)

// sqlError is an error as a client sees it.
type sqlError struct {
	severity string // "": ERROR
	state    string
	message  string
	detail   string
	hint     string
	where    string // in what was sent
	row      bool   // one of the rows of a COPY is to blame: others may be too
	logged   string // in the log, in the place of message; "": that
}

func (e *sqlError) Error() string { return e.message }

func newError(state, message, hint string) *sqlError {
	return &sqlError{state: state, message: message, hint: hint}
}

func protocolError(message string) *sqlError {
	return &sqlError{state: "08P01", message: message}
}

// kinds are DuckDB's words at the beginning of an error, and the SQLSTATE of those that patterns does not know.
var kinds = map[string]string{
	"Parser": "42601", "Catalog": "42704", "Binder": "42000", "Conversion": "22P02", "Out of Range": "22003", "Invalid Input": "22023", "Invalid Type": "42804",
	"Mismatch Type": "42804", "Divide by Zero": "22012", "Not implemented": "0A000", "Constraint": "23000", "Invalid": "22023", "Permission": "42501",
	"Out of Memory": "53200", "INTERNAL": "XX000", "Syntax": "42601", "Parameter Not Resolved": "42P18", "Parameter Not Allowed": "42601", "Sequence": "55000",
}

// patterns are read in their order, in the text in lower case.
var patterns = []struct{ contains, state string }{
	{"division by zero", "22012"},
	{"have no ctid", "25006"},
	{"cannot take logarithm of", "2201E"},
	{"cannot take square root of a negative", "2201F"},
	{"syntax error at", "42601"},
	{`relation "`, "42P01"},
	{"order term out of range", "42P10"},
	{"group by term out of range", "42P10"},
	{"same number of result columns", "42601"},
	{"table with name", "42P01"},
	{"view with name", "42P01"},
	{"referenced table", "42P01"},
	{"referenced column", "42703"},
	{"does not have a column named", "42703"},
	{"column with name", "42703"},
	{"ambiguous reference", "42702"},
	{"ambiguous column", "42702"},
	{"duplicate alias", "42712"},
	{"no function matches", "42883"},
	{"function with name", "42883"},
	{"could not choose a best candidate", "42725"},
	{"type with name", "42704"},
	{"schema with name", "3F000"},
	{"must appear in the group by", "42803"},
	{"cannot contain aggregates", "42803"},
	{"cannot contain window", "42P20"},
	{"subquery returned more than 1 row", "21000"},
	{"more than one row returned by a subquery", "21000"},
	{"date field value out of range", "22008"},
	{"timestamp field value out of range", "22008"},
	{"time field value out of range", "22008"},
	{"invalid timestamp field", "22007"},
	{"invalid date field", "22007"},
	{"cannot compare values", "42883"},
	{"cannot mix values of type", "42804"},
	{"could not convert", "22P02"},
	{"invalid unicode", "22021"},
	{"overflow", "22003"},
	{"out of range", "22003"},
	{"parameter", "42P02"},
}

// describe is how err reaches the client.
func describe(err error) *sqlError {
	var e *sqlError
	if errors.As(err, &e) {
		return e
	}
	text := err.Error()
	out := &sqlError{state: fault.SQLState(err), message: text, hint: fault.HintOf(err)}
	switch fault.CodeOf(err) {
	case fault.ResultChanged:
		out.message = "cached plan must not change result type"
		return out
	case fault.InvalidSQL:
		return explain(out, text)
	case fault.Limit:
		if strings.Contains(text, "deadline") || strings.Contains(text, "longer than") {
			out.state = "57014"
		}
	case fault.Cancelled:
		if errors.Is(err, context.Canceled) {
			out.message = "canceling statement due to user request"
		}
	case fault.Unavailable:
		out.state = "53300" // of slots, memory or time to wait: the connection is good, and another try may succeed
	}
	return out
}

// explain sorts DuckDB's text into its parts: what it is, what may have been meant, and where.
func explain(out *sqlError, text string) *sqlError {
	prefix, body := "", text
	// Those who wrap say before it what they did.
	if i := strings.Index(text, " Error: "); i >= 0 {
		start := strings.LastIndex(text[:i], ": ") + 1
		prefix, body = strings.TrimSpace(text[start:i]), text[i+len(" Error: "):]
	}
	if i := strings.Index(body, "\nLINE "); i >= 0 {
		out.detail = strings.TrimSpace(body[i:])
		body = body[:i]
	}
	for _, mark := range []string{"\nDid you mean", "\nCandidate", "\nHINT:"} {
		if i := strings.Index(body, mark); i >= 0 {
			if hint := strings.TrimSpace(body[i:]); out.hint == "" {
				out.hint = strings.TrimSpace(strings.TrimPrefix(hint, "HINT:"))
			}
			body = body[:i]
		}
	}
	out.message = strings.TrimSpace(body)
	low := strings.ToLower(out.message)
	out.state = "42000"
	if state, ok := kinds[prefix]; ok {
		out.state = state
	}
	for _, p := range patterns {
		if strings.Contains(low, p.contains) {
			out.state = p.state
			break
		}
	}
	return out
}

func (e *sqlError) response() *pgproto3.ErrorResponse {
	severity := e.severity
	if severity == "" {
		severity = "ERROR"
	}
	clean := strings.NewReplacer("\x00", "")
	return &pgproto3.ErrorResponse{Severity: severity, SeverityUnlocalized: severity, Code: e.state, Message: clean.Replace(e.message),
		Detail: clean.Replace(e.detail), Hint: clean.Replace(e.hint), Where: clean.Replace(e.where)}
}
