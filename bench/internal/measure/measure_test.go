package measure

import (
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestStatistics(t *testing.T) {
	if got := []float64{Min([]float64{3, 1, 2}), Median([]float64{3, 1, 2}), Max([]float64{3, 1, 2}), Median([]float64{4, 1, 2, 3})}; !reflect.DeepEqual(got, []float64{1, 2, 3, 2.5}) {
		t.Errorf("min, median, max, even median = %v", got)
	}
	if got := []float64{Quantile([]float64{3, 1, 2, 4}, 0.5), Quantile([]float64{3, 1, 2, 4}, 0.51), Quantile([]float64{3, 1, 2, 4}, 1), Quantile([]float64{7}, 0)}; !reflect.DeepEqual(got, []float64{2, 3, 4, 7}) {
		t.Errorf("quantiles = %v", got)
	}
	if !math.IsNaN(Quantile(nil, 0.5)) || !math.IsNaN(Min(nil)) || !math.IsNaN(Median(nil)) || !math.IsNaN(Max(nil)) {
		t.Error("no values must give NaN")
	}
	if got := Ratios([]float64{3, 8, 1}, []float64{2, 4}); !reflect.DeepEqual(got, []float64{1.5, 2}) {
		t.Errorf("ratios = %v", got)
	}
	if got := Sums([]float64{3, 8}, []float64{2, 4}); !reflect.DeepEqual(got, []float64{5, 12}) {
		t.Errorf("sums = %v", got)
	}
}

// The shell counts to a number that keeps it busy for about a tenth of a second.
const count = `i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done`

func TestCommandCountsItsCPU(t *testing.T) {
	u, err := Command(t.Context(), exec.Command("sh", "-c", count), Options{Watch: true})
	if err != nil {
		t.Fatal(err)
	}
	if u.CPU < 20*time.Millisecond || u.CPU > 2*u.Wall {
		t.Errorf("CPU %s in %s", u.CPU, u.Wall)
	}
	if u.PeakBytes < 100<<10 || u.HWMBytes < 100<<10 || u.HWMBytes > 2*u.PeakBytes {
		t.Errorf("peak %d, as /proc has it %d", u.PeakBytes, u.HWMBytes)
	}
	if u.ServerCPU != 0 {
		t.Errorf("without a server it used %s", u.ServerCPU)
	}
}

// What a child used counts while it runs, and after it was waited for.
func TestServerCPUCountsChildren(t *testing.T) {
	server := exec.Command("sh", "-c", `read go; (`+count+`); echo ended; (`+count+`; echo counted; read never); :`)
	in, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = server.Wait() }()
	before, err := treeCPU(server.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	var last time.Duration
	for _, want := range []string{"ended\n", "counted\n"} {
		b := make([]byte, len(want))
		if _, err := out.Read(b); err != nil || string(b) != want {
			t.Fatalf("read %q, %v", b, err)
		}
		after, err := treeCPU(server.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if after-before-last < 20*time.Millisecond {
			t.Errorf("%q: the tree has used %s, before it %s", want, after-before, last)
		}
		last = after - before
	}
}

func TestCommandTellsWhyItFailed(t *testing.T) {
	_, err := Command(t.Context(), exec.Command("sh", "-c", "echo the reason >&2; exit 3"), Options{})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("error = %v", err)
	}
}

func TestCommandEndsWithItsContext(t *testing.T) {
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("sh", "-c", "echo up; read never")
	cmd.Stdout = w
	stdin, stdinEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdinEnd.Close()
	defer stdin.Close()
	cmd.Stdin = stdin
	go func() {
		_, _ = r.Read(make([]byte, 3)) // it runs
		cancel(stop)
	}()
	if _, err := Command(ctx, cmd, Options{}); !errors.Is(err, stop) {
		t.Errorf("error = %v, want %v", err, stop)
	}
	_ = w.Close()
}

// A running process' CPU time grows, and its peak of memory is forgotten when that is asked for.
func TestRunningProcess(t *testing.T) {
	pid := os.Getpid()
	before, err := CPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	peak := work(t, pid, before)
	debug.FreeOSMemory()
	if err := ResetPeak(pid); err != nil {
		t.Fatal(err)
	}
	if now := Peak(pid); now > peak-32<<20 || now == 0 {
		t.Errorf("the peak is %d after it was %d", now, peak)
	}
}

// work takes 64 MiB and 20 ms of CPU time beyond before, and returns the peak of memory meanwhile.
func work(t *testing.T, pid int, before time.Duration) (peak int64) {
	large := make([]byte, 64<<20)
	for sum := byte(0); ; {
		for i := range large {
			large[i]++
			sum += large[i]
		}
		now, err := CPU(pid)
		if err != nil {
			t.Fatal(err)
		}
		if now-before > 20*time.Millisecond && sum < 255 {
			break
		}
	}
	if peak = Peak(pid); peak < int64(len(large)) {
		t.Errorf("a peak of %d with %d bytes in use", peak, len(large))
	}
	runtime.KeepAlive(large)
	return peak
}
