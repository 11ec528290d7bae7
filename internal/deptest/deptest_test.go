package deptest

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestImportDirections(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	found, err := imports(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(found["internal/deptest"]) == 0 || len(found["change"]) == 0 && len(found["change/types"]) == 0 {
		t.Fatalf("the project's packages were not found, only %d folders", len(found))
	}
	for _, line := range forbidden(rules, found) {
		t.Error(line)
	}
}

func TestEveryRuleHasAReason(t *testing.T) {
	for _, r := range rules {
		if r.why == "" || len(r.from) == 0 || len(r.to) == 0 {
			t.Errorf("incomplete: %+v", r)
		}
	}
}

func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		folder, target, want string // want is part of the reason; empty: allowed
	}{
		{"serve/httpapi", module + "query", ""},
		{"serve/httpapi", module + "access", ""},
		{"serve/httpapi", module + "source", "protocol"},
		{"query", module + "store", ""},
		{"query", module + "access", ""},
		{"query", module + "serve/httpapi", "whatever protocol"},
		{"store", module + "change/types", ""},
		{"store", module + "query", "who reads"},
		{"store", "github.com/duckdb/duckdb-go-bindings", ""},
		{"storefront", module + "query", ""},
		{"query", "github.com/duckdb/duckdb-go/v2", "alone opens"},
		{"cmd/pintail", module + "store", ""},
		{"cmd/pintail", module + "monitor", ""},
		{"cmd/pintail", module + "internal/pgtest", "stays out"},
		{"syncer", module + "source", ""},
		{"syncer", module + "serve/httpapi", "who asked"},
		{"syncer", module + "monitor", "registerer"},
		{"source/postgres", module + "change/types", ""},
		{"source/postgres", "github.com/jackc/pgx/v5", ""},
		{"source/postgres", module + "syncer", "lent by its consumer"},
		{"change/types", "net", "data only"},
		{"change/types", "net/netip", ""},
		{"change/types", "github.com/jackc/pgx/v5", "data only"},
		{"schedule", module + "syncer", "says when"},
		{"internal/fault", module + "store", "no word"},
		{"internal/pgtest", module + "internal/fault", ""},
		{"demo/run", module + "internal/pgtest", ""},
	} {
		got := forbidden(rules, map[string][]string{c.folder: {c.target}})
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%s → %s: forbidden, want allowed: %v", c.folder, c.target, got)
		case c.want != "" && (len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), c.want)):
			t.Errorf("%s → %s: %v, want a reason with %q", c.folder, c.target, got, c.want)
		}
	}
}
