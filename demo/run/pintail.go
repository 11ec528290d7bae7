package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pintaildb/pintail/internal/pgtest"
)

// pintail is the running `pintail serve`.
type pintail struct {
	binary  string
	config  string
	url     string // of its HTTP server
	psql    string // of its PostgreSQL door
	flight  string // of its Flight door
	logPath string
	log     *logFile
	process *pgtest.Bound
}

// startPintail starts `pintail serve` on a configuration in dir.
func (o options) startPintail(ctx context.Context, binary, dir string, postgresPort int, out io.Writer) (*pintail, error) {
	var ports [3]int
	for i, want := range []int{o.port, 5439, 8815} {
		var err error
		if ports[i], err = freePort(want); err != nil {
			return nil, err
		}
	}
	p := &pintail{binary: binary, url: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), psql: fmt.Sprintf("postgres://127.0.0.1:%d/pintail", ports[1]),
		flight: fmt.Sprintf("grpc://127.0.0.1:%d", ports[2]), logPath: filepath.Join(dir, "pintail.log")}
	var err error
	if p.config, err = writeConfig(dir, postgresPort, ports); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := os.Create(p.logPath)
	if err != nil {
		return nil, err
	}
	p.log = &logFile{file: file, out: out}
	cmd := exec.Command(binary, "serve", "-c", p.config)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.WaitDelay = 5 * time.Second
	fmt.Fprintf(out, "starting %s serve -c %s\n", relative(binary), p.config)
	if p.process, err = pgtest.StartBound(cmd, syscall.SIGTERM); err != nil {
		return nil, errors.Join(fmt.Errorf("start pintail: %w", err), file.Close())
	}
	return p, nil
}

// stop asks pintail to end and waits; it promises to within 10 seconds.
func (p *pintail) stop() error {
	defer p.log.file.Close()
	select {
	case <-p.process.Done:
		return nil // died has told, or a round is over
	default:
	}
	if err := syscall.Kill(p.process.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop pintail: %w", err)
	}
	late := time.NewTimer(15 * time.Second)
	defer late.Stop()
	select {
	case <-p.process.Done:
	case <-late.C:
		_ = syscall.Kill(p.process.Pid, syscall.SIGKILL)
		<-p.process.Done
		return errors.New("stop pintail: it did not end within 15s of SIGTERM and was killed")
	}
	if err := p.process.Err(); err != nil {
		return fmt.Errorf("pintail ended with %w after SIGTERM; its log ends:\n%s", err, p.logTail())
	}
	return nil
}

// died is the error of a pintail that ended by itself.
func (p *pintail) died() error {
	why := "without an error"
	if err := p.process.Err(); err != nil {
		why = "with " + err.Error()
	}
	return fmt.Errorf("pintail serve ended %s; its log ends:\n%s", why, p.logTail())
}

// command runs another pintail command beside the server.
func (p *pintail) command(ctx context.Context, out io.Writer, args ...string) error {
	args = append([]string{args[0], "-c", p.config}, args[1:]...)
	cmd := exec.CommandContext(ctx, p.binary, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pintail %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (p *pintail) logTail() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// logFile keeps the whole log and shows warnings and errors of it.
type logFile struct {
	mu      sync.Mutex
	file    *os.File
	out     io.Writer
	partial []byte // a line whose end has not come yet
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, b...)
	for {
		line, rest, whole := bytes.Cut(l.partial, []byte("\n"))
		if !whole {
			break
		}
		var entry struct {
			Level, Msg, Dataset, Error string
		}
		if json.Unmarshal(line, &entry) == nil && (entry.Level == "WARN" || entry.Level == "ERROR") {
			fmt.Fprintln(l.out, strings.Join(strings.Fields(strings.Join(
				[]string{"pintail:", strings.ToLower(entry.Level), entry.Dataset, entry.Msg, entry.Error}, " ")), " "))
		}
		l.partial = rest
	}
	return l.file.Write(b)
}
