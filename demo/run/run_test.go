package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// These tests are about the demo: its order of start and stop, and that it leaves nothing. This test binary stands in
// for pintail; that the real one does what the demo asks is shown by `make demo ARGS=--once`.
func TestMain(m *testing.M) {
	if mode := os.Getenv("DEMO_PINTAIL"); mode != "" {
		os.Exit(standIn(mode))
	}
	os.Exit(m.Run())
}

// standIn answers like pintail as far as the demo looks.
func standIn(mode string) int {
	config, err := os.ReadFile(os.Args[3])
	if err != nil || os.Args[2] != "-c" {
		fmt.Fprintln(os.Stderr, "no configuration", err)
		return 2
	}
	if os.Args[1] != "serve" {
		fmt.Println("answer to", os.Args[1])
		if mode == "differs" && os.Args[1] == "verify" {
			return 3
		}
		return 0
	}
	fmt.Fprintln(os.Stderr, `{"level":"WARN","msg":"watch this","dataset":"errors"}`)
	fmt.Fprintln(os.Stderr, `{"level":"INFO","msg":"not this"}`)
	if mode == "fails" {
		fmt.Fprintln(os.Stderr, "the file is locked by pid 4711")
		return 4
	}
	_, listen, _ := strings.Cut(string(config), `listen: "`)
	listen, _, _ = strings.Cut(listen, `"`)
	l, err := net.Listen("tcp", listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var asked int
	state := "ready"
	if mode == "sync fails" {
		state = "error"
	}
	http.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/api/store/status", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"success": true, "datasets": {"errors": {"state": "ready"}, "monitoring_data": {"state": %q, "error": "bad query"}}}`, state)
	})
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM)
	go func() { _ = http.Serve(l, nil) }()
	<-stopped
	return 0
}

// safeBuffer is written by the demo while a test reads it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs the demo with the stand-in, in a temporary folder of the test's own.
func start(t *testing.T, ctx context.Context, mode string, once bool) (out *safeBuffer, tmp string, err chan error) {
	t.Helper()
	self, e := os.Executable()
	if e != nil {
		t.Fatal(e)
	}
	// Not t.TempDir: the server's user has to enter it, and the path of its socket has to be short.
	tmp, e = os.MkdirTemp("/tmp", "demo-*")
	if e != nil {
		t.Fatal(e)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	if e := os.Chmod(tmp, 0o755); e != nil {
		t.Fatal(e)
	}
	t.Setenv("TMPDIR", tmp)
	t.Setenv("DEMO_PINTAIL", mode)
	out, err = &safeBuffer{}, make(chan error, 1)
	go func() { err <- run(ctx, options{pintail: self, messages: 500, rate: 50, port: 0, once: once}, out) }()
	return out, tmp, err
}

func wait(t *testing.T, out *safeBuffer, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * time.Minute):
		t.Fatalf("the demo does not end; it said:\n%s", out)
		return nil
	}
}

func nothingLeft(t *testing.T, tmp string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(tmp, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, []byte(tmp)) {
			t.Errorf("still running: %s", bytes.ReplaceAll(text, []byte{0}, []byte(" ")))
		}
	}
}

func TestOnce(t *testing.T) {
	out, tmp, done := start(t, t.Context(), "works", true)
	if err := wait(t, out, done); err != nil {
		t.Fatalf("%v; it said:\n%s", err, out)
	}
	for _, want := range []string{"seeded 500 messages", "first sync", "$ pintail query SELECT name", "answer to status",
		"answer to query", "answer to sync", "answer to verify", "pintail: warn errors watch this"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it did not say %q, but:\n%s", want, out)
		}
	}
	if strings.Contains(out.String(), "not this") {
		t.Errorf("it shows what is no warning:\n%s", out)
	}
	nothingLeft(t, tmp)
}

func TestStopsOnSignal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, tmp, done := start(t, ctx, "works", false)
	for !strings.Contains(out.String(), "Ctrl-C stops everything") {
		select {
		case err := <-done:
			t.Fatalf("the demo ended with %v; it said:\n%s", err, out)
		case <-time.After(10 * time.Millisecond):
		}
	}
	for _, want := range []string{"status -c " + tmp, "curl -s http://127.0.0.1:", "psql 'postgres://", "verify -c"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it did not propose %q, but:\n%s", want, out)
		}
	}
	cancel()
	if err := wait(t, out, done); err != nil {
		t.Errorf("it ended with %v", err)
	}
	nothingLeft(t, tmp)
}

func TestFailures(t *testing.T) {
	for mode, want := range map[string][]string{
		"fails":      {"exit status 4", "locked by pid 4711"},
		"sync fails": {"monitoring_data", "bad query"},
		"differs":    {"verify", "exit status 3"},
	} {
		t.Run(mode, func(t *testing.T) {
			out, tmp, done := start(t, t.Context(), mode, true)
			err := wait(t, out, done)
			if err == nil {
				t.Fatalf("it ended well; it said:\n%s", out)
			}
			for _, w := range want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the error does not say %q: %v", w, err)
				}
			}
			nothingLeft(t, tmp)
		})
	}
}

func TestMissingBinary(t *testing.T) {
	err := run(t.Context(), options{pintail: filepath.Join(t.TempDir(), "pintail")}, &safeBuffer{})
	if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if hint := fault.HintOf(err); !strings.Contains(hint, "make build") {
		t.Errorf("hint = %q", hint)
	}
}
