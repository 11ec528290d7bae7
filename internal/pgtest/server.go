package pgtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/internal/fault"
)

// Options choose what Start starts. The zero value but for Major is a server in a temporary folder.
type Options struct {
	Major    int
	Dir      string            // holds data, log and socket; empty: a temporary folder that Close removes
	Settings map[string]string // put over the settings below
	Port     int               // on 127.0.0.1; 0: a free one
	Log      io.Writer         // gets the server's log as well as the file does; may be nil
	Fresh    bool              // initdb of its own, hence a system identifier of its own
	TLS      bool              // a certificate for localhost and 127.0.0.1, signed by CAFile
}

// settings trade durability against crashes of the machine for speed; a killed server still recovers, because its
// pages are in the kernel.
var settings = map[string]string{
	"fsync":                     "off",
	"full_page_writes":          "off",
	"wal_level":                 "logical",
	"max_connections":           "200",
	"max_wal_senders":           "50",
	"max_replication_slots":     "50",
	"max_prepared_transactions": "20",
	"max_wal_size":              "2GB",
	"shared_buffers":            "128MB",
	"listen_addresses":          "127.0.0.1",
	"timezone":                  "UTC",
	"log_timezone":              "UTC",
	"log_line_prefix":           "%m [%p] %q%d ",
	"log_min_messages":          "warning",
}

// Server is one PostgreSQL server. Its methods may be called by many goroutines; Stop, Kill, Restart and Close wait
// for each other.
type Server struct {
	Major int
	Dir   string
	Port  int

	bin       Binaries
	account   *account
	settings  map[string]string
	log       io.Writer
	temporary bool
	release   func() // gives the folder's lock back

	mu   sync.Mutex
	proc *Bound   // nil when stopped
	file *os.File // of the log, open while proc is there
}

// StopMode is how PostgreSQL shuts down.
type StopMode int

const (
	Smart     StopMode = iota // waits for clients to leave
	Fast                      // ends the sessions, writes a checkpoint
	Immediate                 // ends the sessions; the next start recovers from the log
)

func (m StopMode) signal() syscall.Signal {
	return [...]syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT}[m]
}

// Start fetches the binaries when they are missing, makes a data folder and returns once the server answers, within
// a minute or ctx's deadline. The server ends with this process; Close ends it sooner and removes a temporary folder.
func Start(ctx context.Context, o Options) (*Server, error) {
	bin, err := Fetch(ctx, o.Major)
	if err != nil {
		return nil, err
	}
	s := &Server{Major: o.Major, Dir: o.Dir, Port: o.Port, bin: bin, log: o.Log, settings: maps.Clone(settings)}
	if s.account, err = serverAccount(); err != nil {
		return nil, err
	}
	if s.temporary = o.Dir == ""; s.temporary {
		s.Dir, s.release, err = TempDir(ctx)
	} else {
		s.release = func() {}
		s.Dir, err = filepath.Abs(o.Dir)
		err = errors.Join(err, os.MkdirAll(s.Dir, 0o755))
	}
	if err != nil {
		return nil, fmt.Errorf("make the server's folder: %w", err)
	}
	err = s.create(ctx, o)
	if err != nil {
		return nil, errors.Join(fault.Wrap(err, "start PostgreSQL %d in %s", o.Major, s.Dir), s.Close())
	}
	return s, nil
}

// create makes the data folder and launches the server.
func (s *Server) create(ctx context.Context, o Options) error {
	// The kernel's limit for the path of a UNIX socket is 104 bytes on macOS, 108 on linux.
	if len(s.Dir)+len("/.s.PGSQL.65535") > 100 {
		return fault.New(fault.Usage, "Choose a folder with a shorter path.", "the socket's path would be too long")
	}
	if s.account != nil && !reachable(s.Dir) {
		return fault.New(fault.Usage, "Choose a folder that every user can enter.",
			"the server runs as %q, who cannot enter it", serverUser)
	}
	if err := s.account.own(s.Dir); err != nil {
		return err
	}
	if o.Fresh {
		if err := s.bin.initdb(ctx, s.account, s.Dir); err != nil {
			return err
		}
	} else {
		template, err := s.bin.template(ctx, s.account)
		if err != nil {
			return err
		}
		if err := copyTemplate(ctx, s.account, template, s.Dir); err != nil {
			return err
		}
	}
	s.settings["unix_socket_directories"] = s.Dir
	if o.TLS {
		if err := s.makeCertificates(); err != nil {
			return fmt.Errorf("make certificates: %w", err)
		}
	}
	maps.Copy(s.settings, o.Settings)

	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Port != 0 {
		return s.launch(ctx)
	}
	for attempt := 1; ; attempt++ { // another process may take the port before the server does
		var err error
		if s.Port, err = freePort(); err != nil {
			return err
		}
		err = s.launch(ctx)
		if err == nil || attempt == 5 || !strings.Contains(s.LogText(), "could not create any TCP/IP sockets") {
			return err
		}
	}
}

// launch starts the postmaster and waits until it answers. The caller holds mu.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	logFile, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	args := []string{"-D", filepath.Join(s.Dir, "data"), "-p", fmt.Sprint(s.Port)}
	for _, name := range slices.Sorted(maps.Keys(s.settings)) {
		args = append(args, "-c", name+"="+s.settings[name])
	}
	cmd := exec.Command(s.bin.Bin("postgres"), args...)
	cmd.Dir = s.Dir
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = s.account.procAttr()
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if s.log != nil {
		w := io.MultiWriter(logFile, s.log) // cmd's own goroutine writes to it
		cmd.Stdout, cmd.Stderr = w, w
	}
	// SIGQUIT ends backends too; killed, the postmaster would leave them to notice.
	p, err := StartBound(cmd, syscall.SIGQUIT)
	if err != nil {
		return errors.Join(err, logFile.Close())
	}
	s.proc, s.file = p, logFile
	if err := s.awaitReady(ctx, p); err != nil {
		s.kill()
		return fmt.Errorf("%w; its log ends:\n%s", err, tail(s.LogText(), 20))
	}
	return nil
}

// awaitReady asks until the server answers: during recovery it listens, but refuses.
func (s *Server) awaitReady(ctx context.Context, p *Bound) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.SocketURL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.Done:
			return fmt.Errorf("the server ended at once: %w", cmp.Or(p.Err(), errors.New("exit status 0")))
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// Stop shuts the server down and waits for its end, at most 30 seconds; after that it is killed, and that is an error.
// A stopped server's folder stays, and Restart brings it back.
func (s *Server) Stop(mode StopMode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop(mode)
}

func (s *Server) stop(mode StopMode) error {
	p := s.proc
	if p == nil {
		return nil
	}
	// ESRCH: it ended by itself
	if err := syscall.Kill(p.Pid, mode.signal()); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop PostgreSQL %d: %w", s.Major, err)
	}
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	select {
	case <-p.Done:
		s.ended()
		return nil
	case <-late.C:
		s.kill()
		return fmt.Errorf("stop PostgreSQL %d: it did not end within 30s and was killed", s.Major)
	}
}

// Kill ends the server and its backends as a crash would (SIGKILL), and waits until they are gone.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
}

func (s *Server) kill() {
	p := s.proc
	if p == nil {
		return
	}
	select {
	case <-p.Done: // its pid may be another's by now
	default:
		killTree(p.Pid)
		<-p.Done
	}
	s.ended()
}

func (s *Server) ended() {
	_ = s.file.Close()
	s.proc, s.file = nil, nil
}

// killTree kills a postmaster and its backends. It is stopped first, so that it starts no other meanwhile.
func killTree(postmaster int) {
	_ = syscall.Kill(postmaster, syscall.SIGSTOP)
	pids := append(children(postmaster), postmaster)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	// Backends are not ours to wait for. A killed process is gone within microseconds, or when its disk answers.
	deadline := time.Now().Add(30 * time.Second)
	for _, pid := range pids[:len(pids)-1] {
		for alive(pid) && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
}

// Restart stops the server, fast, if it runs, and starts it again in the same folder on the same port.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stop(Fast); err != nil {
		return err
	}
	return fault.Wrap(s.launch(ctx), "restart PostgreSQL %d in %s", s.Major, s.Dir)
}

// Running says whether the server was started and has not ended.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return false
	}
	select {
	case <-s.proc.Done:
		return false
	default:
		return true
	}
}

// Close stops the server and removes its temporary folder. A folder chosen by the caller stays.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.stop(Immediate)
	if s.temporary {
		err = errors.Join(err, os.RemoveAll(s.Dir))
	}
	s.release()
	return err
}

// URL reaches a database over TCP with the superuser's password, without TLS.
func (s *Server) URL(db string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", Password),
		Host: fmt.Sprintf("127.0.0.1:%d", s.Port), Path: "/" + db, RawQuery: "sslmode=disable"}
	return u.String()
}

// SocketURL reaches a database through the UNIX socket, without a password.
func (s *Server) SocketURL(db string) string {
	query := url.Values{"host": {s.Dir}, "port": {fmt.Sprint(s.Port)}, "user": {"postgres"}}
	u := url.URL{Scheme: "postgres", Path: "/" + db, RawQuery: query.Encode()}
	return u.String()
}

// LogText is what the server has logged since it was made.
func (s *Server) LogText() string {
	text, _ := os.ReadFile(s.logPath()) // no file: nothing logged
	return string(text)
}

func (s *Server) logPath() string { return filepath.Join(s.Dir, "server.log") }

// Pid is the postmaster's process id, 0 when stopped.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.Pid
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
