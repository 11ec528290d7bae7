// Package bench_test runs every benchmark program once, on a small table: so they keep working. What they measure here
// says nothing about speed, and no target counts.
package bench_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pintaildb/pintail/bench/internal/report"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// want is the least number of series and targets of each program's report, and what it has to have said.
var want = map[string]struct {
	series, targets int
	args            []string
	says            []string
}{
	"full": {14, 1, []string{"-vs", `test -d "$BENCH_OUT" && test -n "$BENCH_URL" && test "$BENCH_TABLE" = public.messages`},
		[]string{"both copies were equal to the source", "other command"}},
	"memory":      {8, 2, nil, []string{"pintail sync copied 20000 rows", "with key copied 20000 rows"}},
	"incremental": {7, 3, nil, []string{"2000 rows changed", "the copy was equal to the source"}},
	"growth":      {3, 2, nil, []string{"after 11 full syncs", "the copy was equal to the source"}},
	"decode":      {3, 3, nil, []string{"bytes on the wire"}},
	"catchup":     {14, 3, []string{"-transaction", "100"}, []string{"pg_recvlogical is not installed here", "rows were changed in transactions of about 100", "the copy was equal to the source"}},
	"freshness": {18, 6, []string{"-seconds", "2", "-rate", "50"},
		[]string{"pgbench is not installed here", "narrow: ", "the copy was equal to the source"}},
	"flight": {7, 3, nil, []string{"The client counted 20000 rows"}},
	"pgwire": {38, 4, []string{"-points", "200"}, []string{"psql is not installed here", "both servers gave the same 1000 groups", "every answer had the row that was asked for",
		"raw drain, text: 3", "20000 rows in each round"}},
	"ingest": {17, 1, []string{"-time", "2", "-clients", "3", "-puts", "5"}, []string{"After each round the table had the rows that were put", "no row was lost or doubled"}},
	"endpoint": {37, 4, []string{"-seconds", "1", "-connections", "4"},
		[]string{"uncached, at a rate, with a sync", "every answer had the row that was asked for"}},
	"replica": {14, 10, []string{"-idle", "1", "-value", "4"},
		[]string{"the slot's restart LSN moved from", "one transaction, 20000 rows updated", "one value of 4 MiB, bytes"}},
}

func TestSmallRuns(t *testing.T) {
	programs, err := filepath.Glob("*/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if len(programs) != len(want) {
		t.Fatalf("there are %d programs, this test knows %d", len(programs), len(want))
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "./cmd/pintail")
	for _, p := range programs {
		build.Args = append(build.Args, "./bench/"+filepath.Dir(p))
	}
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	for _, p := range programs {
		name := filepath.Dir(p)
		t.Run(name, func(t *testing.T) { small(t, bin, name) })
	}
}

func small(t *testing.T, bin, name string) {
	dir := t.TempDir()
	w, known := want[name]
	if !known {
		t.Fatal("this test does not know it")
	}
	args := append([]string{"-rows", "20000", "-rounds", "1", "-keep=false", "-bin", filepath.Join(bin, "pintail"), "-out", dir}, w.args...)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	// Machines have PostgreSQL's client programs or not; what takes their place is to work on all.
	cmd.Env = append(os.Environ(), rig.ClientsEnv+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	page, err := os.ReadFile(filepath.Join(dir, name+".md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), string(page)) {
		t.Errorf("the page is not what was printed:\n%s\nprinted:\n%s", page, out)
	}
	for _, s := range w.says {
		if !strings.Contains(string(page), s) {
			t.Errorf("the page does not say %q:\n%s", s, page)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var r report.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Series) < w.series || len(r.Targets) != w.targets {
		t.Errorf("%d series and %d targets, want %d and %d", len(r.Series), len(r.Targets), w.series, w.targets)
	}
	for _, s := range r.Series {
		if len(s.Values) == 0 {
			t.Errorf("series %q has no values", s.Name)
		}
		for _, v := range s.Values {
			// CPU time comes in hundredths of a second; a short process may be gone before its memory is looked at.
			mayBeZero := strings.Contains(s.Name, "CPU") || strings.Contains(s.Name, "VmHWM") || strings.Contains(s.Name, "allocations") || strings.Contains(s.Name, "rows read")
			if v < 0 || v == 0 && !mayBeZero {
				t.Errorf("series %q has the value %g", s.Name, v)
			}
		}
	}
	m := r.Machine
	if m.PostgreSQL == "" || m.DuckDB == "" || m.Kernel == "" || m.Cores == 0 {
		t.Errorf("the machine is %+v", m)
	}
}

// TestUsage wants a wrong call to be refused before anything is started.
func TestUsage(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "decode")
	if out, err := exec.Command("go", "build", "-o", bin, "./decode").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for args, says := range map[string]string{
		"-rows 10":                 "at least 1000 rows",
		"nonsense":                 `unknown argument "nonsense"`,
		"-bin /nowhere/to/be/seen": "`make build` builds it",
	} {
		out, err := exec.Command(bin, strings.Fields(args)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), says) {
			t.Errorf("%s: %v, printed %s, want %q", args, err, out, says)
		}
	}
}
