// Command flight compares a table that a Go client reads through Arrow Flight with the same rows read in the server's own process.
package main

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

	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
	"github.com/pintaildb/pintail/internal/pgtest"
)

// Bounds.
const (
	ratioMin  = 0.5       // rows/s of the client, in units of reading in process
	firstMax  = 50        // ms to the first batch
	memoryMax = 200       // MiB of the server above idle
	putMin    = 1_000_000 // rows/s
)

const about = "A table of ten columns, copied by `pintail sync`, is read whole: by a Go client through Flight SQL (GetFlightInfo, DoGet, every batch " +
	"decoded) from a server in another process, over loopback; and in that process, as Arrow record batches. The two take turns; a ratio is of " +
	"one round. The client's time is from GetFlightInfo on. Memory is the server's resident peak while the client reads, above what it had before. Then the client " +
	"puts rows of four columns into a new table: one put in batches of 32,768 rows, and puts of 1,000 rows, which are a commit each."

// The child's environment: the file that it is to serve.
const fileEnv = "PINTAIL_BENCH_FLIGHT"

var statement = "SELECT * FROM " + rig.Table

func main() {
	if file := os.Getenv(fileEnv); file != "" {
		if err := serve(file, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	rig.Main(rig.Spec{Name: "flight", Title: "reading through Arrow Flight against reading in process", About: about, Rows: 5_000_000, Rounds: 6, Run: run})
}

func run(ctx context.Context, b *rig.Bench) (err error) {
	db, err := b.Database(ctx, b.Rows)
	if err != nil {
		return err
	}
	c, err := b.NewCopy("copy", rig.CopyOptions{URL: b.Source.URL(db)})
	if err != nil {
		return err
	}
	if _, err := b.Run(ctx, c.FullSync()); err != nil {
		return err
	}
	s, err := start(ctx, c.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	client, err := flightsql.NewClient(s.address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Client.Close()) }()

	var process, remote, first, memory []float64
	// The first round of each reads the file into memory, and is not counted.
	for round := range b.Rounds + 1 {
		own, err := s.read(b.Rows)
		if err != nil {
			return err
		}
		// What the process needed to read by itself is not the door's.
		if err := s.settle(); err != nil {
			return err
		}
		before := measure.Peak(s.process.Pid)
		r, err := read(ctx, client, b.Rows)
		if err != nil {
			return err
		}
		above := float64(measure.Peak(s.process.Pid)-before) / (1 << 20)
		b.Progress("round %d: in process %.2f s, client %.2f s, first batch %.1f ms, %.0f MiB above idle", round, own.Seconds(), r.all.Seconds(), r.first.Seconds()*1000, above)
		if round == 0 {
			continue
		}
		rows := float64(b.Rows) / 1e6
		process, remote = append(process, rows/own.Seconds()), append(remote, rows/r.all.Seconds())
		first, memory = append(first, r.first.Seconds()*1000), append(memory, above)
	}
	large, small, err := puts(ctx, b, client)
	if err != nil {
		return err
	}
	r := b.Report
	r.Add("in process", "M rows/s", process)
	r.Add("Go client", "M rows/s", remote)
	r.Add("Go client / in process: rows/s", "×", measure.Ratios(remote, process))
	r.Add("first batch", "ms", first)
	r.Add("server's memory above idle (VmHWM)", "MiB", memory)
	r.Add("one put in batches of 32,768 rows", "M rows/s", large)
	r.Add("puts of 1,000 rows", "puts/s", small)
	r.AtLeast("rows/s of the client, median of the rounds' ratios to reading in process", "×", ratioMin, measure.Median(measure.Ratios(remote, process)))
	r.AtMost("first batch, largest", "ms", firstMax, measure.Max(first))
	r.AtMost("server's memory above idle, largest", "MiB", memoryMax, measure.Max(memory))
	r.AtLeast("rows/s of one put, median", "M rows/s", putMin/1e6, measure.Median(large))
	r.Note("The client counted %d rows in each round, and what was put was there afterwards.", b.Rows)
	return nil
}

// child is the server's process, which answers one line for each it is sent.
type child struct {
	process *pgtest.Bound
	in      io.WriteCloser
	out     *bufio.Reader
	address string
}

func start(ctx context.Context, file string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fileEnv+"="+file)
	cmd.Stderr = os.Stderr
	s := &child{}
	if s.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	if s.process, err = pgtest.StartBound(cmd, syscall.SIGTERM); err != nil {
		return nil, err
	}
	if s.address, err = s.line(); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, ctx.Err()
}

func (s *child) line() (string, error) {
	l, err := s.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the server's process ended: %w", err)
	}
	return strings.TrimSpace(l), nil
}

func (s *child) ask(what string) (string, error) {
	if _, err := fmt.Fprintln(s.in, what); err != nil {
		return "", fmt.Errorf("ask the server's process: %w", err)
	}
	return s.line()
}

// read has the process read the table by itself.
func (s *child) read(rows int) (time.Duration, error) {
	answer, err := s.ask("read")
	if err != nil {
		return 0, err
	}
	var n int
	var ns int64
	if _, err := fmt.Sscan(answer, &n, &ns); err != nil || n != rows {
		return 0, fmt.Errorf("the server's process answered %q, want %d rows", answer, rows)
	}
	return time.Duration(ns), nil
}

// settle has it give memory back, and lets its peak begin anew.
func (s *child) settle() error {
	if _, err := s.ask("settle"); err != nil {
		return err
	}
	return measure.ResetPeak(s.process.Pid)
}

func (s *child) stop() error {
	err := s.in.Close()
	select {
	case <-s.process.Done:
		return errors.Join(err, s.process.Err())
	case <-time.After(20 * time.Second):
		return errors.Join(err, errors.New("the server's process does not end"))
	}
}
