package ingest

import (
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Mode says what a put does with the table, there or not.
type Mode = store.PutMode

// The modes.
const (
	Append       = store.PutAppend       // the table must be there
	Create       = store.PutCreate       // it must not be there
	Replace      = store.PutReplace      // what is there gives way
	CreateAppend = store.PutCreateAppend // either way
)

// ErrExists is in the chain of the error of a put that was to create a table which is there.
var ErrExists = store.ErrExists

// Target is where rows go. The names are taken as they are, without quotes or escapes.
type Target struct {
	Catalog string // "" or DuckDB's name of the file
	Schema  string // "" is main
	Table   string
	Mode    Mode
}

// ParseTarget makes a Target of a path: of one part, which is a name as SQL has it (events.clicks, "My Schema"."t"), or of several, which
// are catalog, schema and table as they are.
func ParseTarget(path []string, mode Mode) (Target, error) {
	parts := path
	if len(path) == 1 {
		var err error
		if parts, err = splitName(path[0]); err != nil {
			return Target{}, err
		}
	}
	t := Target{Mode: mode}
	switch len(parts) {
	case 3:
		t.Catalog, t.Schema, t.Table = parts[0], parts[1], parts[2]
	case 2:
		t.Schema, t.Table = parts[0], parts[1]
	case 1:
		t.Table = parts[0]
	default:
		return Target{}, fault.New(fault.Usage, "name it table, schema.table or catalog.schema.table", "a table's name has one to three parts, not %d", len(parts))
	}
	return t, nil
}

// splitName splits a name as SQL has it at its dots. A part is quoted, or has no quotes.
func splitName(s string) (parts []string, err error) {
	bad := func(why string) error {
		return fault.New(fault.Usage, `name it table, schema.table or "schema"."table"`, "%q is not a table's name: %s", s, why)
	}
	rest := strings.TrimSpace(s)
	for {
		var part string
		if strings.HasPrefix(rest, `"`) {
			if part, rest, err = unquote(rest); err != nil {
				return nil, bad("a quote is not closed")
			}
		} else {
			n := strings.IndexAny(rest, `."`)
			if n < 0 {
				n = len(rest)
			}
			part, rest = strings.TrimSpace(rest[:n]), rest[n:]
		}
		if part == "" {
			return nil, bad("a part is empty")
		}
		parts = append(parts, part)
		rest = strings.TrimLeft(rest, " ")
		switch {
		case rest == "":
			return parts, nil
		case rest[0] != '.':
			return nil, bad("there is something behind a part")
		}
		rest = strings.TrimLeft(rest[1:], " ")
	}
}

// unquote takes a quoted part off the front, in which "" is a quote.
func unquote(s string) (part, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '"':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '"':
			b.WriteByte('"')
			i++
		default:
			return b.String(), s[i+1:], nil
		}
	}
	return "", "", fault.New(fault.Usage, "", "a quote is not closed")
}

// resolve brings t into one form: a schema, and no catalog.
func (t Target) resolve(catalog string) (Target, error) {
	own := func(name string) bool { return equal(name, catalog) }
	if t.Catalog != "" && !own(t.Catalog) {
		return t, fault.New(fault.Forbidden, "leave the catalog out", "write %s.%s.%s: the catalog is %s", t.Catalog, t.Schema, t.Table, catalog)
	}
	// Two parts may be catalog and table as well.
	if t.Schema == "" || t.Catalog == "" && own(t.Schema) {
		t.Schema = "main"
	}
	if equal(t.Schema, "main") {
		t.Schema = "main"
	}
	t.Catalog = ""
	return t, nil
}

// equal compares names as DuckDB does: the case of ASCII letters does not count.
func equal(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x >= 'A' && x <= 'Z' {
			x += 'a' - 'A'
		}
		if y >= 'A' && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}
