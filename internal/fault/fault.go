// Package fault is the one error form of Pintail: what was being done, why it failed, what to do next, and
// one code that every protocol maps once (HTTP here; gRPC and SQLSTATE beside it when those doors open).
package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Code says what kind of failure it is. The set is closed: each code has one row in codes.
type Code string

const (
	Config            Code = "config"             // the configuration is wrong
	Usage             Code = "usage"              // the command or request is malformed
	NotFound          Code = "not_found"          // no such dataset, run, table
	Running           Code = "already_running"    // a run of this dataset is under way
	Unauthenticated   Code = "unauthenticated"    // no or wrong credentials
	Forbidden         Code = "forbidden"          // the role may not do this
	InvalidSQL        Code = "invalid_sql"        // a reader's statement cannot be run
	ResultChanged     Code = "result_changed"     // a prepared statement's columns are others than when it was prepared
	Limit             Code = "limit_exceeded"     // rows, bytes, time or concurrency of a role
	Locked            Code = "locked"             // another process holds the DuckDB file
	SourceUnavailable Code = "source_unavailable" // connection refused, reset, starting up: worth a retry
	SourceConflict    Code = "source_conflict"    // serialization failure, deadlock, DDL under the snapshot: worth a retry
	SourceSQL         Code = "source_sql"         // the source refuses the query
	SourcePrivilege   Code = "source_privilege"   // the role lacks a right on the source
	SourceTimeout     Code = "source_timeout"     // statement_timeout, lock_timeout
	SlotLost          Code = "slot_lost"          // the source does not have the changes since the copy's position any more
	SchemaLost        Code = "schema_lost"        // a key or incremental column is gone from the source
	ShapeMismatch     Code = "shape_mismatch"     // the copy's columns do not fit the source's: rebuild
	DataMismatch      Code = "data_mismatch"      // the copy's rows contradict the source's: rebuild
	DuplicateKey      Code = "duplicate_key"      // the configured key is not unique in the source
	NullKey           Code = "null_key"           // the configured key holds NULL
	OutOfRange        Code = "out_of_range"       // a value that DuckDB cannot hold, with out_of_range: stop
	CapReached        Code = "cap_reached"        // max_sync_rows without an incremental column
	DiskFull          Code = "disk_full"          // no space for the file or its temporary files
	OutOfMemory       Code = "out_of_memory"      // memory_limit and spill are used up
	Cancelled         Code = "cancelled"          // by a person or by shutdown
	Unavailable       Code = "unavailable"        // not ready, stopping, first sync under way
	Differences       Code = "differences"        // verify found some
	Internal          Code = "internal"           // a defect of Pintail
)

// Exit codes of the command line.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitConfig      = 2
	ExitDifferences = 3
	ExitLocked      = 4
	ExitInterrupted = 130
)

type row struct {
	http      int
	exit      int
	transient bool // the same thing again may succeed without a person
}

var codes = map[Code]row{
	Config:            {http.StatusBadRequest, ExitConfig, false},
	Usage:             {http.StatusBadRequest, ExitConfig, false},
	NotFound:          {http.StatusNotFound, ExitFailed, false},
	Running:           {http.StatusConflict, ExitFailed, false},
	Unauthenticated:   {http.StatusUnauthorized, ExitFailed, false},
	Forbidden:         {http.StatusForbidden, ExitFailed, false},
	InvalidSQL:        {http.StatusBadRequest, ExitFailed, false},
	ResultChanged:     {http.StatusConflict, ExitFailed, false},
	Limit:             {http.StatusTooManyRequests, ExitFailed, false},
	Locked:            {http.StatusServiceUnavailable, ExitLocked, false},
	SourceUnavailable: {http.StatusBadGateway, ExitFailed, true},
	SourceConflict:    {http.StatusBadGateway, ExitFailed, true},
	SourceSQL:         {http.StatusBadGateway, ExitFailed, false},
	SourcePrivilege:   {http.StatusBadGateway, ExitFailed, false},
	SourceTimeout:     {http.StatusGatewayTimeout, ExitFailed, false},
	SlotLost:          {http.StatusConflict, ExitFailed, false},
	SchemaLost:        {http.StatusConflict, ExitFailed, false},
	ShapeMismatch:     {http.StatusConflict, ExitFailed, false},
	DataMismatch:      {http.StatusConflict, ExitFailed, false},
	DuplicateKey:      {http.StatusConflict, ExitFailed, false},
	NullKey:           {http.StatusConflict, ExitFailed, false},
	OutOfRange:        {http.StatusConflict, ExitFailed, false},
	CapReached:        {http.StatusConflict, ExitFailed, false},
	DiskFull:          {http.StatusInsufficientStorage, ExitFailed, false},
	OutOfMemory:       {http.StatusInsufficientStorage, ExitFailed, false},
	Cancelled:         {499, ExitInterrupted, false},
	Unavailable:       {http.StatusServiceUnavailable, ExitFailed, true},
	Differences:       {http.StatusConflict, ExitDifferences, false},
	Internal:          {http.StatusInternalServerError, ExitFailed, false},
}

// Error is a failure with its code and what to do about it.
type Error struct {
	Code Code
	Hint string // what to do next; may be empty
	Err  error  // what was being done, to what, and why it failed
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// New makes an Error; format may wrap a cause with %w.
func New(code Code, hint, format string, args ...any) *Error {
	return &Error{Code: code, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// Wrap puts what was being done before err and keeps err's code and hint.
func Wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}

// CodeOf is the code of the first Error in err's chain; a cancelled or expired context is Cancelled; else Internal.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.Canceled):
		return Cancelled
	case errors.Is(err, context.DeadlineExceeded):
		return Limit
	}
	return Internal
}

// HintOf is the hint of the first Error in err's chain.
func HintOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

// HTTPStatus, ExitCode and Transient read err's row.
func HTTPStatus(err error) int { return codes[CodeOf(err)].http }

// ExitCode is what the process ends with.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	return codes[CodeOf(err)].exit
}

// Transient says whether the same thing again may succeed without a person.
func Transient(err error) bool { return codes[CodeOf(err)].transient }

// Valid says whether c is one of the codes above.
func Valid(c Code) bool { _, ok := codes[c]; return ok }
