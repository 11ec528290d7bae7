package harness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pintaildb/pintail/internal/pgtest"
)

// Project is a folder with a pintail.yaml and the DuckDB file that it names, as a user has it.
type Project struct {
	t      testing.TB
	Dir    string
	Config string   // path of the pintail.yaml
	DB     string   // path of the DuckDB file
	Listen string   // of server.http, a free port
	Env    []string // put after the test's own environment
	DuckDB string   // more keys of duckdb for Head, such as "sync_mode: manual"
}

// CommandTimeout bounds a command that Run runs.
const CommandTimeout = 2 * time.Minute

// New makes an empty project with a free port. It ends with the test.
func New(t testing.TB) *Project {
	t.Helper()
	dir := t.TempDir()
	return &Project{t: t, Dir: dir, Config: filepath.Join(dir, "pintail.yaml"), DB: filepath.Join(dir, "data", "pintail.duckdb"),
		Listen: FreePort(t)}
}

// With makes a project whose configuration is Head(url) and datasets, which begins with the line "datasets:".
func With(t testing.TB, url, datasets string) *Project {
	t.Helper()
	p := New(t)
	p.Write(p.Head(url) + datasets)
	return p
}

// Head is the part of a configuration that most tests share: one source called pg, a small DuckDB, the door.
func (p *Project) Head(url string) string {
	more := ""
	if p.DuckDB != "" {
		more = ", " + p.DuckDB
	}
	return fmt.Sprintf(`sources:
  pg: {url: %q}
duckdb: {path: data/pintail.duckdb, memory_limit: 512MiB, threads: 2, sync_workers: 2%s}
server: {http: {listen: %q}}
`, url, more, p.Listen)
}

// Write replaces the configuration.
func (p *Project) Write(yaml string) {
	p.t.Helper()
	if err := os.WriteFile(p.Config, []byte(yaml), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// URL is where the project's server answers.
func (p *Project) URL() string { return "http://" + p.Listen }

// FreePort is a free address on loopback.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Result is how a command ended.
type Result struct {
	Args           []string
	Stdout, Stderr string
	Code           int // exit code; -1 when a signal ended it
	Took           time.Duration
}

func (r Result) String() string {
	return fmt.Sprintf("pintail %s → exit code %d after %s\nstdout:\n%s\nstderr:\n%s", strings.Join(r.Args, " "), r.Code, r.Took.Round(time.Millisecond), r.Stdout, r.Stderr)
}

// Process is a command under way. It does not outlive the test process.
type Process struct {
	Args    []string
	bound   *pgtest.Bound
	cmd     *exec.Cmd
	out     *Buffer
	errOut  *Buffer
	started time.Time

	terminal *os.File // nil: none
}

// Type types text on the process's terminal.
func (pr *Process) Type(t testing.TB, text string) {
	t.Helper()
	if _, err := pr.terminal.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// Buffer collects what a process writes; reading it while it grows is fine.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Environment is the test's own without what would change a command's behaviour, then env.
func Environment(env []string) []string {
	var out []string
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); !strings.HasPrefix(name, "PINTAIL_") && !strings.HasPrefix(name, "PG") {
			out = append(out, e)
		}
	}
	return append(out, env...)
}

// Start starts a command in the project's folder.
func (p *Project) Start(args ...string) *Process {
	p.t.Helper()
	return p.StartInput("", args...)
}

// StartInput is Start with a standard input.
func (p *Project) StartInput(stdin string, args ...string) *Process {
	p.t.Helper()
	cmd := exec.Command(Binary(p.t), args...)
	cmd.Dir = p.Dir
	cmd.Env = Environment(p.Env)
	cmd.Stdin = strings.NewReader(stdin)
	pr := &Process{Args: args, cmd: cmd, out: &Buffer{}, errOut: &Buffer{}, started: time.Now()}
	cmd.Stdout, cmd.Stderr = pr.out, pr.errOut
	cmd.WaitDelay = 5 * time.Second
	var err error
	if pr.bound, err = pgtest.StartBound(cmd, syscall.SIGKILL); err != nil {
		p.t.Fatalf("start pintail: %v", err)
	}
	p.t.Cleanup(pr.Kill)
	return pr
}

// Pid is the process's id.
func (pr *Process) Pid() int { return pr.bound.Pid }

// Ended says whether the process has ended.
func (pr *Process) Ended() bool {
	select {
	case <-pr.bound.Done:
		return true
	default:
		return false
	}
}

// Stderr is what it wrote so far.
func (pr *Process) Stderr() string { return pr.errOut.String() }

// Stdout is what it wrote so far.
func (pr *Process) Stdout() string { return pr.out.String() }

// Signal sends a signal, unless the process has ended.
func (pr *Process) Signal(s syscall.Signal) {
	if !pr.Ended() {
		_ = syscall.Kill(pr.Pid(), s) // it may end this very moment
	}
}

// Kill ends it as a crash does, and waits.
func (pr *Process) Kill() {
	pr.Signal(syscall.SIGKILL)
	<-pr.bound.Done
}

// Wait waits for the end, at most timeout; not ok is a process that took longer: it is ended, and its standard error then
// says where each of its goroutines was.
func (pr *Process) Wait(timeout time.Duration) (r Result, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ok = true
	select {
	case <-pr.bound.Done:
	case <-ctx.Done():
		ok = false
		pr.Signal(syscall.SIGQUIT)
		select {
		case <-pr.bound.Done:
		case <-time.After(dumpTimeout):
			pr.Kill()
		}
	}
	return Result{Args: pr.Args, Stdout: pr.out.String(), Stderr: pr.errOut.String(), Code: pr.cmd.ProcessState.ExitCode(), Took: time.Since(pr.started)}, ok
}

// Run runs a command to its end and returns it, whatever its exit code.
func (p *Project) Run(args ...string) Result {
	p.t.Helper()
	return p.await(p.Start(args...))
}

// RunInput is Run with a standard input.
func (p *Project) RunInput(stdin string, args ...string) Result {
	p.t.Helper()
	return p.await(p.StartInput(stdin, args...))
}

func (p *Project) await(pr *Process) Result {
	p.t.Helper()
	r, ok := pr.Wait(CommandTimeout)
	if !ok {
		p.t.Fatalf("did not end within %s: %s", CommandTimeout, r)
	}
	return r
}

// OK runs a command that has to succeed, and returns its standard output.
func (p *Project) OK(args ...string) string {
	p.t.Helper()
	return p.Code(0, args...).Stdout
}

// Code runs a command that has to end with this exit code.
func (p *Project) Code(code int, args ...string) Result {
	p.t.Helper()
	r := p.Run(args...)
	if r.Code != code {
		p.t.Fatalf("want exit code %d: %s", code, r)
	}
	return r
}

// Eventually waits until f is true; what says what is waited for.
func Eventually(t testing.TB, timeout time.Duration, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s", timeout, what)
		}
		time.Sleep(pollEvery)
	}
}

const dumpTimeout = 10 * time.Second

const pollEvery = 15 * time.Millisecond

// StartTerminal is Start with standard input and error on a terminal; what it shows there is Result.Stderr, and Type types.
func (p *Project) StartTerminal(args ...string) *Process {
	p.t.Helper()
	master, slave, err := openTerminal()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(Binary(p.t), args...)
	cmd.Dir, cmd.Env = p.Dir, append(Environment(p.Env), "TERM=xterm")
	pr := &Process{Args: args, cmd: cmd, out: &Buffer{}, errOut: &Buffer{}, started: time.Now()}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, pr.out, slave
	pr.terminal = master
	cmd.WaitDelay = 5 * time.Second
	pr.bound, err = pgtest.StartBound(cmd, syscall.SIGKILL)
	_ = slave.Close()
	if err != nil {
		p.t.Fatalf("start pintail: %v", err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(pr.errOut, master) // ends with an error when the other side is closed
	}()
	p.t.Cleanup(func() { pr.Kill(); _ = master.Close(); <-read })
	return pr
}
