package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/internal/pgtest"
)

// childEnv is set where a program is its own child that serves a DuckDB file: it names the file.
const childEnv = "PINTAIL_BENCH_SERVE"

// Child is a server in a process of its own, by the program's own code, so that it can be told to do in that process what clients
// do from outside. It answers one line for each that it is sent.
type Child struct {
	Address string // that it has said
	process *pgtest.Bound
	in      io.WriteCloser
	out     *bufio.Reader
}

// ServeChild is to be called first in main: in the child it runs serve, which prints its address, and does not return. serve ends
// when in does.
func ServeChild(serve func(file string, in io.Reader, out io.Writer) error) {
	file := os.Getenv(childEnv)
	if file == "" {
		return
	}
	if err := serve(file, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// StartChild starts this program as the server of a file, and returns when it serves.
func StartChild(ctx context.Context, file string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+file)
	cmd.Stderr = os.Stderr
	c := &Child{}
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if c.process, err = pgtest.StartBound(cmd, syscall.SIGTERM); err != nil {
		return nil, err
	}
	if c.Address, err = c.line(); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, ctx.Err()
}

func (c *Child) line() (string, error) {
	l, err := c.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the server's process ended: %w", err)
	}
	return strings.TrimSpace(l), nil
}

// Ask sends a line and waits for the answer.
func (c *Child) Ask(what string) (string, error) {
	if _, err := fmt.Fprintln(c.in, what); err != nil {
		return "", fmt.Errorf("ask the server's process: %w", err)
	}
	return c.line()
}

// Pid is its process id.
func (c *Child) Pid() int { return c.process.Pid }

// Settle asks it to "settle", which is to give memory back, and lets its peak begin anew; above is then what it has needed since.
func (c *Child) Settle() (above func() int64, err error) {
	if _, err := c.Ask("settle"); err != nil {
		return nil, err
	}
	if err := measure.ResetPeak(c.Pid()); err != nil {
		return nil, err
	}
	before := measure.Peak(c.Pid())
	return func() int64 { return measure.Peak(c.Pid()) - before }, nil
}

// Stop ends it.
func (c *Child) Stop() error {
	err := c.in.Close()
	select {
	case <-c.process.Done:
		return errors.Join(err, c.process.Err())
	case <-time.After(20 * time.Second):
		return errors.Join(err, errors.New("the server's process does not end"))
	}
}
