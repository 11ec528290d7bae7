package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
)

// duckError is an error of DuckDB: Kind is what its text begins with ("Binder", "Out of Memory", "TransactionContext").
type duckError struct {
	Kind string
	Text string
}

func (e *duckError) Error() string { return e.Text }

func parseError(text string) *duckError {
	// DuckDB's advice is about settings that are locked here; hints say what to do.
	text, _, _ = strings.Cut(text, "\n\nPossible solutions")
	text, _, _ = strings.Cut(text, "\nBy default, this setting utilizes")
	text = strings.TrimSpace(text)
	if kind, _, ok := strings.Cut(text, " Error:"); ok && len(kind) < 40 && !strings.ContainsAny(kind, "\n:\"") {
		return &duckError{Kind: kind, Text: text}
	}
	return &duckError{Text: text}
}

// origin says whose statement failed, and so whom the error speaks to.
type origin int

const (
	own    origin = iota // written by Pintail: what fails is the machine, the data, or Pintail
	reader               // written by a person: what fails may be the statement
)

const (
	hintDisk    = "free space on the disk of the DuckDB file, or move the file (duckdb.path); the data committed before is unharmed"
	hintTemp    = "free space beside the DuckDB file or raise duckdb.temp_limit; a higher duckdb.memory_limit spills less"
	hintMemory  = "raise duckdb.memory_limit, lower duckdb.threads, or let the statement handle less at once"
	hintInvalid = "restart: DuckDB refuses all work in this process after such an error; the last committed data is in the file"
)

// short says that memory, or the space to spill to, has run out.
func short(err error) bool {
	hint := fault.HintOf(err)
	return hint == hintMemory || hint == hintTemp
}

// failure turns DuckDB's text into an error with a code and a hint. ctx tells a cancelled statement from a failed one.
func failure(ctx context.Context, text string, from origin) error {
	e := parseError(text)
	low := strings.ToLower(text)
	switch {
	// A fatal error carries the first one's text, but ends the instance whatever it was.
	case e.Kind == "FATAL" || strings.Contains(low, "database has been invalidated"):
		if diskFull(low) {
			return fault.New(fault.DiskFull, hintDisk+"; then restart", "%w", e)
		}
		return fault.New(fault.Internal, hintInvalid, "%w", e)
	case e.Kind == "INTERRUPT":
		if err := ctx.Err(); err != nil {
			return err
		}
		return fault.New(fault.Cancelled, "", "the statement was interrupted")
	case strings.Contains(low, "max_temp_directory_size"):
		return fault.New(fault.DiskFull, hintTemp, "%w", e)
	case diskFull(low):
		return fault.New(fault.DiskFull, hintDisk, "%w", e)
	case e.Kind == "Out of Memory" || strings.Contains(low, "could not allocate block"):
		return fault.New(fault.OutOfMemory, hintMemory, "%w", e)
	case isConflict(e):
		return fault.New(fault.Unavailable, "try again: another transaction changed the same rows or table", "%w", e)
	case e.Kind == "INTERNAL" || e.Kind == "IO" || e.Kind == "Serialization":
		return fault.New(fault.Internal, "", "%w", e)
	}
	if from == reader {
		return fault.New(fault.InvalidSQL, "", "%w", e)
	}
	switch e.Kind {
	case "Constraint":
		return fault.New(fault.DataMismatch, "rebuild the table with a full sync", "%w", e)
	case "Conversion", "Out of Range", "Binder", "Catalog", "Mismatch Type":
		return fault.New(fault.ShapeMismatch, "rebuild the table with a full sync", "%w", e)
	}
	return fault.New(fault.Internal, "", "%w", e)
}

// diskFull knows the texts of ENOSPC, EDQUOT and EFBIG within DuckDB's.
func diskFull(low string) bool {
	return strings.Contains(low, "no space left") || strings.Contains(low, "quota exceeded") || strings.Contains(low, "file too large")
}

// isConflict says whether err is one of DuckDB's optimistic transactions losing to another, which a retry may win.
func isConflict(err error) bool {
	var e *duckError
	if !errors.As(err, &e) {
		return false
	}
	low := strings.ToLower(e.Text)
	return (e.Kind == "TransactionContext" || e.Kind == "Transaction" || e.Kind == "Catalog") &&
		(strings.Contains(low, "conflict") || strings.Contains(low, "has been altered") || strings.Contains(low, "altered by another"))
}

// doing puts what was being done before err, which may be nil.
func doing(err error, format string, args ...any) error {
	return fault.Wrap(err, format, args...)
}

// quote is the one place where a name becomes part of a statement.
func quote(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// literal is for the few places where DuckDB takes no bound parameter: settings, ATTACH, the feed's number.
func literal(s string) string {
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

func quoteAll(names []string, prefix string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = prefix + quote(n)
	}
	return strings.Join(q, ", ")
}

var errNUL = fmt.Errorf("a zero byte within a statement")
