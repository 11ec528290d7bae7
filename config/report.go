package config

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one mistake in a configuration. Line and Col count from 1; 0 is unknown.
type Problem struct {
	File      string
	Line, Col int
	Key       string // full path: datasets.messages.refesh; may be empty
	Text      string
}

func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	return b.String() + ": " + p.Text
}

// Problems is every mistake of a file, in the file's order.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Warning is something that works but is probably not what was meant. Shape as Problem.
type Warning Problem

func (w Warning) String() string { return Problem(w).Error() }

type pos struct{ line, col int }

// report gathers what is wrong and knows where each key stands.
type report struct {
	name     string
	problems Problems
	warnings []Warning
	at       map[string]pos      // key path → the key's place; only keys that have a value
	order    map[string][]string // path of a mapping → its keys in the file's order
	decode   []string            // key paths that failed while decoding: later checks stay silent around them
	seen     map[string]bool
}

func newReport(name string) *report {
	return &report{name: name, at: map[string]pos{}, order: map[string][]string{}, seen: map[string]bool{}}
}

// has says whether path is given in the file with a value other than null.
func (r *report) has(path string) bool { _, ok := r.at[path]; return ok }

// place is where path stands, or the nearest key above it.
func (r *report) place(path string) pos {
	for path != "" {
		if p, ok := r.at[path]; ok {
			return p
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return pos{}
}

func (r *report) line(path string) int { return r.place(path).line }

func (r *report) failAt(p pos, path, format string, args ...any) {
	r.add(Problem{File: r.name, Line: p.line, Col: p.col, Key: path, Text: fmt.Sprintf(format, args...)})
}

// fail reports a mistake of path, unless decoding already failed there, above or below: that is the cause.
func (r *report) fail(path, format string, args ...any) {
	for _, d := range r.decode {
		if d == path || within(d, path) || within(path, d) {
			return
		}
	}
	r.failAt(r.place(path), path, format, args...)
}

func (r *report) add(p Problem) {
	if line := p.Error(); !r.seen[line] {
		r.seen[line] = true
		r.problems = append(r.problems, p)
	}
}

func (r *report) warn(path, format string, args ...any) {
	p := r.place(path)
	r.warnings = append(r.warnings, Warning{File: r.name, Line: p.line, Col: p.col, Key: path, Text: fmt.Sprintf(format, args...)})
}

func (r *report) endDecode() {
	for _, p := range r.problems {
		r.decode = append(r.decode, p.Key)
	}
}

func (r *report) sort() {
	less := func(a, b Problem) bool {
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Col < b.Col
	}
	sort.SliceStable(r.problems, func(i, j int) bool { return less(r.problems[i], r.problems[j]) })
	sort.SliceStable(r.warnings, func(i, j int) bool { return less(Problem(r.warnings[i]), Problem(r.warnings[j])) })
}

// within says whether path is below parent.
func within(path, parent string) bool {
	return len(path) > len(parent) && strings.HasPrefix(path, parent) && (path[len(parent)] == '.' || path[len(parent)] == '[')
}

// join puts name below path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// didYouMean is ` (did you mean "x"?)` for the candidate nearest to word, or nothing.
func didYouMean(word string, candidates []string) string {
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance counts the insertions, deletions, replacements and swaps of neighbours between a and b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
