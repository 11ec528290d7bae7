// Command flight compares a table that a Go client reads through Arrow Flight with the same rows read in the server's own process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// Bounds.
const (
	ratioMin  = 0.5 // rows/s of the client, in units of reading in process
	firstMax  = 50  // ms to the first batch
	memoryMax = 200 // MiB of the server above idle
)

const about = "A table of ten columns, copied by `pintail sync`, is read whole: by a Go client through Flight SQL (GetFlightInfo, DoGet, every batch " +
	"decoded) from a server in another process, over loopback; and in that process, as Arrow record batches. The two take turns; a ratio is of " +
	"one round. The client's time is from GetFlightInfo on. Memory is the server's resident peak while the client reads, above what it had before."

var statement = "SELECT * FROM " + rig.Table

func main() {
	rig.ServeChild(serve)
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
	s, err := rig.StartChild(ctx, c.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	client, err := flightsql.NewClient(s.Address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Client.Close()) }()

	var process, remote, first, memory, serverCPU, clientCPU []float64
	// The first round of each reads the file into memory, and is not counted.
	for round := range b.Rounds + 1 {
		own, err := readInProcess(s, b.Rows)
		if err != nil {
			return err
		}
		// What the process needed to read by itself is not the door's.
		peak, err := s.Settle()
		if err != nil {
			return err
		}
		cpu, err := cpuOf(s)
		if err != nil {
			return err
		}
		r, err := read(ctx, client, b.Rows)
		if err != nil {
			return err
		}
		after, err := cpuOf(s)
		if err != nil {
			return err
		}
		above := float64(peak()) / (1 << 20)
		b.Progress("round %d: in process %.2f s, client %.2f s, first batch %.1f ms, CPU %.2f s + client %.2f s, %.0f MiB above idle", round, own.Seconds(), r.all.Seconds(), r.first.Seconds()*1000,
			after[0]-cpu[0], after[1]-cpu[1], above)
		if round == 0 {
			continue
		}
		rows := float64(b.Rows) / 1e6
		process, remote = append(process, rows/own.Seconds()), append(remote, rows/r.all.Seconds())
		first, memory = append(first, r.first.Seconds()*1000), append(memory, above)
		serverCPU, clientCPU = append(serverCPU, after[0]-cpu[0]), append(clientCPU, after[1]-cpu[1])
	}
	r := b.Report
	r.Add("in process", "M rows/s", process)
	r.Add("Go client", "M rows/s", remote)
	r.Add("Go client / in process: rows/s", "×", measure.Ratios(remote, process))
	r.Add("first batch", "ms", first)
	r.Add("CPU of the server, for the client", "s", serverCPU)
	r.Add("CPU of the client", "s", clientCPU)
	r.Add("server's memory above idle (VmHWM)", "MiB", memory)
	r.AtLeast("rows/s of the client, median of the rounds' ratios to reading in process", "×", ratioMin, measure.Median(measure.Ratios(remote, process)))
	r.AtMost("first batch, largest", "ms", firstMax, measure.Max(first))
	r.AtMost("server's memory above idle, largest", "MiB", memoryMax, measure.Max(memory))
	r.Note("The client counted %d rows in each round.", b.Rows)
	return nil
}

// cpuOf is what the server and this process, the client, have used so far, in seconds.
func cpuOf(s *rig.Child) (used [2]float64, err error) {
	for i, pid := range []int{s.Pid(), os.Getpid()} {
		cpu, err := measure.CPU(pid)
		if err != nil {
			return used, err
		}
		used[i] = cpu.Seconds()
	}
	return used, nil
}

// readInProcess has the server's process read the table by itself.
func readInProcess(s *rig.Child, rows int) (time.Duration, error) {
	answer, err := s.Ask("read")
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
