// Package deptest holds the import directions of the project as a test: each forbidden one with its reason.
//
// The folder list is the path of a row: source → change → syncer → store → query → serve. Imports run along it, so
// that each part can be read, tested and replaced without the ones after it.
package deptest

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/pintaildb/pintail/"

// rule forbids imports of the files that make the product; tests may import what they like.
type rule struct {
	from   []string // folders of the project, with what lies below them; "*" is all but except
	except []string
	to     []string // folders of the project, or packages elsewhere; a trailing / is a prefix
	why    string
}

// product are the folders that the binary is made of.
var product = []string{"access", "change", "config", "query", "schedule", "serve", "source", "store", "syncer"}

var rules = []rule{
	{
		from: []string{"change"},
		to:   []string{"access", "config", "query", "schedule", "serve", "source", "store", "syncer", "monitor"},
		why:  "change holds the words that every part of the path speaks: it knows none of the parts",
	},
	{
		from: []string{"change"},
		to:   []string{"os", "os/exec", "io/fs", "net", "net/http", "database/sql", "log/slog", "github.com/jackc/", "github.com/duckdb/"},
		why:  "change is data only: decoding must be testable and fuzzable without files, sockets and databases",
	},
	{
		from: []string{"source"},
		to:   []string{"access", "query", "schedule", "serve", "store", "syncer"},
		why:  "a source fills memory lent by its consumer and knows nothing of where the rows go",
	},
	{
		from: []string{"syncer"},
		to:   []string{"access", "query", "schedule", "serve"},
		why:  "the syncer reads a source and commits to the store; who asked and when is not its business",
	},
	{
		from: []string{"store"},
		to:   []string{"access", "config", "query", "schedule", "serve", "source", "syncer"},
		why:  "the store applies what it is handed; who reads, who asks and when is not its business",
	},
	{
		from: []string{"query"},
		to:   []string{"config", "schedule", "serve", "source", "syncer"},
		why:  "a query reads the store; it must run the same whatever protocol asked and whatever sync runs",
	},
	{
		from: []string{"access"},
		to:   []string{"query", "schedule", "serve", "source", "store", "syncer"},
		why:  "access is the one place that decides; it judges names and statements and touches no data",
	},
	{
		from: []string{"serve"},
		to:   []string{"schedule", "source"},
		why:  "a protocol sits over query; of the syncer and the store it takes the words (a run, a status), and reaches them through the small interfaces it declares",
	},
	{
		from: []string{"schedule"},
		to:   []string{"access", "query", "serve", "source", "store", "syncer"},
		why:  "schedule says when; what then happens is a function it was handed",
	},
	{
		from: product,
		to:   []string{"monitor"},
		why:  "parts receive a registerer and a logger; what watches them may not become a part of them",
	},
	{
		from: []string{"*"}, except: []string{"store", "bench", "test"},
		to:  []string{"github.com/duckdb/"},
		why: "the store alone opens the file: a second instance in the process would drop its lock",
	},
	{
		from: append([]string{"cmd", "monitor"}, product...), except: []string{"source/sourcetest"},
		to:  []string{"internal/pgtest", "demo", "bench", "test", "testing"},
		why: "what serves tests and the demo stays out of the binary",
	},
	{
		from: []string{"internal"},
		to:   append([]string{"cmd", "demo", "monitor"}, product...),
		why:  "helpers hold no word of the domain",
	},
}

// imports lists what each package of the module at root imports, by its folder; tests are left out.
func imports(root string) (map[string][]string, error) {
	found := map[string][]string{}
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		folder := filepath.ToSlash(rel)
		f, err := parser.ParseFile(files, name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			target, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if !slices.Contains(found[folder], target) {
				found[folder] = append(found[folder], target)
			}
		}
		return nil
	})
	return found, err
}

// forbidden are the imports that break a rule, one line each.
func forbidden(rules []rule, found map[string][]string) []string {
	var lines []string
	for folder, targets := range found {
		for _, r := range rules {
			if !r.covers(folder) {
				continue
			}
			for _, target := range targets {
				if r.names(target) {
					lines = append(lines, fmt.Sprintf("%s imports %s, but %s", folder, strings.TrimPrefix(target, module), r.why))
				}
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func (r rule) covers(folder string) bool {
	below := func(parent string) bool { return parent == "*" || within(folder, parent) }
	return slices.ContainsFunc(r.from, below) && !slices.ContainsFunc(r.except, below)
}

func (r rule) names(target string) bool {
	return slices.ContainsFunc(r.to, func(to string) bool {
		switch {
		case strings.HasSuffix(to, "/"):
			return strings.HasPrefix(target, to)
		case strings.HasPrefix(target, module):
			return within(strings.TrimPrefix(target, module), to)
		}
		return target == to
	})
}

// within says whether folder is parent or lies below it.
func within(folder, parent string) bool {
	return folder == parent || strings.HasPrefix(folder, path.Clean(parent)+"/")
}
