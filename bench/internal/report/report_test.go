package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample() *Report {
	r := &Report{Name: "full", Title: "a full sync", About: "What is compared.", Command: "make bench NAME=full", Rows: 10, Rounds: 2,
		Machine: Machine{Cores: 2, Model: "A CPU", MemoryGiB: 7.9, Kernel: "Linux 6.1", Go: "go1.26", PostgreSQL: "18.4", DuckDB: "v1.5.5",
			Load: "0.10", Date: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}}
	r.AtMost("ratio of wall time", "", 1.5, 1.4567)
	r.AtMost("peak of memory", "GiB", 1.5, 1.51)
	r.AtLeast("decoded", "M rows/s", 4.5, 12.34)
	r.Add("COPY", "s", []float64{2, 2.5})
	r.Add("nothing", "s", nil)
	r.Note("A note of %d words.", 5)
	return r
}

func TestMarkdown(t *testing.T) {
	const want = `# full: a full sync

What is compared.

| target | bound | measured | |
|---|---:|---:|---|
| ratio of wall time | ≤ 1.50 | 1.46 | met |
| peak of memory | ≤ 1.50 GiB | 1.51 GiB | missed |
| decoded | ≥ 4.50 M rows/s | 12.3 M rows/s | met |

| | unit | min | median | max | rounds |
|---|---|---:|---:|---:|---:|
| COPY | s | 2 | 2.25 | 2.50 | 2 |
| nothing | s | – | – | – | 0 |

A note of 5 words.

Measured on 2 × A CPU, 8 GiB, Linux 6.1, go1.26, PostgreSQL 18.4, DuckDB v1.5.5, load before 0.10, 2026-03-04. Values of every round are in [full.json](full.json); again with ` + "`make bench NAME=full`.\n"
	r := sample()
	if got := r.Markdown(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if r.Met() {
		t.Error("one target is missed")
	}
	r.Targets[1].Met = true
	if !r.Met() {
		t.Error("every target is met")
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if err := sample().Write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "full.md"))
	if err != nil || string(page) != sample().Markdown() {
		t.Errorf("page %q, %v", page, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "full.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back.Series[0], sample().Series[0]) || !reflect.DeepEqual(back.Targets, sample().Targets) {
		t.Errorf("read back %+v", back)
	}
}

func TestThisMachine(t *testing.T) {
	m := ThisMachine()
	if m.Cores < 1 || m.Model == "" || m.Kernel == "" || !strings.HasPrefix(m.Go, "go") || time.Since(m.Date) > time.Minute {
		t.Errorf("machine %+v", m)
	}
}
