// Package test runs the real pintail against real PostgreSQL, as its users do: commands, configuration file, HTTP, the
// DuckDB file. Every test that syncs ends with harness.Compare, which knows nothing of Pintail.
package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// each runs fn with a database of its own on every major under test, side by side.
func each(t *testing.T, fn func(t *testing.T, url string)) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		t.Parallel()
		fn(t, s.DB(t))
	})
}

// newest runs fn on the newest major only: for what does not depend on the source.
func newest(t *testing.T, fn func(t *testing.T, url string)) {
	t.Parallel()
	fn(t, pgtest.Get(t, pgtest.Newest).DB(t))
}

// manual is a project whose datasets are synced only when the test says so.
func manual(t testing.TB, url, datasets string) *harness.Project {
	t.Helper()
	p := harness.New(t)
	p.DuckDB = "sync_mode: manual"
	p.Write(p.Head(url) + datasets)
	return p
}

// contains fails unless text holds every part.
func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("want %q in:\n%s", part, text)
		}
	}
}

// deref shows a value that may be null.
func deref[T any](v *T) string {
	if v == nil {
		return "null"
	}
	return fmt.Sprint(*v)
}
