// Package report is the result of a benchmark: what was measured in every round, the targets, and where it ran; as text
// for people and as JSON for programs.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/pintaildb/pintail/bench/internal/measure"
)

// Series is one quantity, a value per round.
type Series struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
}

// Target is a bound and the value that it is held against.
type Target struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	Limit   float64 `json:"limit"`
	AtLeast bool    `json:"at_least"` // false: at most
	Value   float64 `json:"value"`
	Met     bool    `json:"met"`
}

// Report is one run of a benchmark.
type Report struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	About   string   `json:"about"`
	Command string   `json:"command"`
	Machine Machine  `json:"machine"`
	Rows    int      `json:"rows"`
	Rounds  int      `json:"rounds"`
	Targets []Target `json:"targets"`
	Series  []Series `json:"series"`
	Notes   []string `json:"notes"`
}

// Add appends a series.
func (r *Report) Add(name, unit string, values []float64) {
	r.Series = append(r.Series, Series{name, unit, values})
}

// AtMost holds value against an upper bound.
func (r *Report) AtMost(name, unit string, limit, value float64) {
	r.Targets = append(r.Targets, Target{name, unit, limit, false, value, value <= limit})
}

// AtLeast holds value against a lower bound.
func (r *Report) AtLeast(name, unit string, limit, value float64) {
	r.Targets = append(r.Targets, Target{name, unit, limit, true, value, value >= limit})
}

// Note appends a sentence.
func (r *Report) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Met says whether every target is.
func (r *Report) Met() bool {
	for _, t := range r.Targets {
		if !t.Met {
			return false
		}
	}
	return true
}

// Markdown is the report as a page.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n\n%s\n\n", r.Name, r.Title, r.About)
	if len(r.Targets) > 0 {
		b.WriteString("| target | bound | measured | |\n|---|---:|---:|---|\n")
		for _, t := range r.Targets {
			sign, verdict := "≤", "missed"
			if t.AtLeast {
				sign = "≥"
			}
			if t.Met {
				verdict = "met"
			}
			fmt.Fprintf(&b, "| %s | %s %s | %s | %s |\n", t.Name, sign, number(t.Limit, t.Unit), number(t.Value, t.Unit), verdict)
		}
		b.WriteString("\n")
	}
	b.WriteString("| | unit | min | median | max | rounds |\n|---|---|---:|---:|---:|---:|\n")
	for _, s := range r.Series {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d |\n", s.Name, s.Unit,
			number(measure.Min(s.Values), ""), number(measure.Median(s.Values), ""), number(measure.Max(s.Values), ""), len(s.Values))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	fmt.Fprintf(&b, "\nMeasured on %s. Values of every round are in [%s.json](%s.json); again with `%s`.\n", r.Machine, r.Name, r.Name, r.Command)
	return b.String()
}

// number prints three significant digits, and more before the point.
func number(v float64, unit string) string {
	var s string
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case a == math.Trunc(a) && a < 1e15:
		s = fmt.Sprintf("%.0f", v)
	case a >= 100:
		s = fmt.Sprintf("%.0f", v)
	case a >= 10:
		s = fmt.Sprintf("%.1f", v)
	case a >= 1:
		s = fmt.Sprintf("%.2f", v)
	default:
		s = fmt.Sprintf("%.3g", v)
	}
	if unit != "" {
		s += " " + unit
	}
	return s
}

// Write puts NAME.md and NAME.json into dir.
func (r *Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the results of %s: %w", r.Name, err)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, r.Name+".md"), []byte(r.Markdown()), 0o644),
		os.WriteFile(filepath.Join(dir, r.Name+".json"), append(text, '\n'), 0o644))
}
