// Package measure takes the time, the CPU seconds and the memory of commands and of the PostgreSQL server beside them.
package measure

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/pintaildb/pintail/internal/pgtest"
)

// Usage is what one run of a command took.
type Usage struct {
	Wall      time.Duration // from before the process is started until it has been waited for
	CPU       time.Duration // user and system, of the process and of the children it waited for
	ServerCPU time.Duration // of the server's processes meanwhile
	PeakBytes int64         // largest resident set, as the kernel's resource usage has it: not less than this program's own, which it begins with
	HWMBytes  int64         // the same as /proc/<pid>/status last showed it; 0 when not watched
}

// Options say what is measured besides the command's own resource usage.
type Options struct {
	Server int  // pid of a postmaster whose tree's CPU counts; 0: none
	Watch  bool // read the peak of memory from /proc as well, 20 times a second
}

// Command starts cmd, waits for its end and measures it. The command is killed, with its process group, when ctx ends
// or this process does. Its standard error is part of the error when it fails, if the caller has not taken it.
func Command(ctx context.Context, cmd *exec.Cmd, o Options) (Usage, error) {
	var text limited
	if cmd.Stderr == nil {
		cmd.Stderr = &text
	}
	cmd.WaitDelay = 5 * time.Second
	var u Usage
	before, err := treeCPU(o.Server)
	if err != nil {
		return u, err
	}
	start := time.Now()
	p, err := pgtest.StartBound(cmd, syscall.SIGKILL)
	if err != nil {
		return u, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	watched := make(chan int64, 1)
	if o.Watch {
		go func() { watched <- watchPeak(p) }()
	}
	select {
	case <-p.Done:
	case <-ctx.Done():
		_ = syscall.Kill(-p.Pid, syscall.SIGKILL) // its group may be gone already
		<-p.Done
		return u, context.Cause(ctx)
	}
	u.Wall = time.Since(start)
	if o.Watch {
		u.HWMBytes = <-watched
	}
	after, err := treeCPU(o.Server)
	if err != nil {
		return u, err
	}
	u.ServerCPU = after - before
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return u, errors.New("this system does not tell the resource usage of a process")
	}
	u.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	u.PeakBytes = int64(usage.Maxrss)
	if runtime.GOOS == "linux" {
		u.PeakBytes *= 1024 // linux counts kilobytes, macOS bytes
	}
	if err := p.Err(); err != nil {
		return u, fmt.Errorf("%s: %w\n%s", cmd, err, text.b)
	}
	return u, nil
}

// watchPeak reads the largest resident set until p has ended. The peak only grows, so the last reading counts.
func watchPeak(p *pgtest.Bound) int64 {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var peak int64
	for {
		peak = max(peak, highWater(p.Pid))
		select {
		case <-p.Done:
			return peak
		case <-tick.C:
		}
	}
}

// limited keeps the first 16 KiB of what is written to it.
type limited struct{ b []byte }

func (l *limited) Write(p []byte) (int, error) {
	l.b = append(l.b, p[:min(len(p), 16<<10-len(l.b))]...)
	return len(p), nil
}
