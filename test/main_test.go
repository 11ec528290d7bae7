// Package test runs the real pintail against real PostgreSQL, as its users do: commands, configuration file, HTTP, the
// DuckDB file. Every test that syncs ends with harness.Compare, which knows nothing of Pintail.
package test

import (
	"encoding/json"
	"fmt"
	"os"
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

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// flat is text with every run of white space as one blank.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

// replaceBlock puts another text into a `key: |` block of YAML, which ends at an empty line.
func replaceBlock(t testing.TB, yaml, key, text string) string {
	t.Helper()
	before, rest, ok := strings.Cut(yaml, key+": |\n")
	_, after, ended := strings.Cut(rest, "\n\n")
	if !ok || !ended {
		t.Fatalf("no block %s in\n%s", key, yaml)
	}
	return before + key + ": |\n    " + strings.ReplaceAll(text, "\n", "\n    ") + "\n\n" + after
}

// checkJSON is one table of what `check --json` prints.
type checkJSON struct {
	Dataset, Table string
	Report         struct {
		Kind      string
		Columns   []struct{ Name, PGType, DuckDB string }
		Missing   []string
		Corrected string
		Warnings  []string
		Guarantee string
		Proven    bool
	}
	Problems []struct{ Code, Message, Hint string }
}

// decode reads JSON that a command printed.
func decode(t testing.TB, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// one is the single value that a query of PostgreSQL gives, as text.
func one(t testing.TB, url, query string) string {
	t.Helper()
	var v string
	if err := harness.Conn(t, url).QueryRow(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// texts shows every value as text.
func texts(rows [][]any) [][]any {
	for _, row := range rows {
		for i, v := range row {
			row[i] = fmt.Sprint(v)
		}
	}
	return rows
}
