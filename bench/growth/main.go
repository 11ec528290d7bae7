// Command growth watches the size of the file over many full syncs of the same data.
package main

import (
	"context"
	"fmt"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

const (
	ratioMax  = 3
	perRound  = 10 // full syncs: all but the last inside a server, the last as a command of its own
	megabytes = 1e6
)

const about = "The size of the DuckDB file, with its log, over full syncs of data that does not change. Of ten, nine run inside one " +
	"`pintail serve`, started by POST; then the server ends, and one is the command `pintail sync --full`. The bound compares the closed file " +
	"after all of them with the closed file after the first."

func main() {
	rig.Main(rig.Spec{Name: "growth", Title: "the file after many full syncs", About: about, Rows: 300_000, Rounds: 20, Run: run})
}

func run(ctx context.Context, b *rig.Bench) error {
	db, err := b.Database(ctx, b.Rows)
	if err != nil {
		return err
	}
	listen, err := rig.FreeAddress()
	if err != nil {
		return err
	}
	c, err := b.NewCopy("copy", rig.CopyOptions{URL: b.Source.URL(db), Keyed: true, Listen: listen})
	if err != nil {
		return err
	}
	var open, closed []float64
	// The first of all is a command, so that its file can be looked at closed.
	first, err := command(ctx, b, c)
	if err != nil {
		return err
	}
	for round := range b.Rounds {
		sizes, err := served(ctx, c)
		if err != nil {
			return err
		}
		n, err := command(ctx, b, c)
		if err != nil {
			return err
		}
		open, closed = append(open, sizes...), append(closed, n)
		b.Progress("%d full syncs: %.1f MB closed, at most %.1f MB in the server", 1+(round+1)*perRound, n, measure.Max(sizes))
	}
	if err := b.Compare(ctx, db, "", c.Query); err != nil {
		return err
	}
	r := b.Report
	r.Add("closed file after the first", "MB", []float64{first})
	r.Add("file and log in the server, after each", "MB", open)
	r.Add("closed file after each ten", "MB", closed)
	last := closed[len(closed)-1]
	r.AtMost(fmt.Sprintf("closed file after %d full syncs / after one", 1+b.Rounds*perRound), "×", ratioMax, last/first)
	r.AtMost("largest file in the server / closed file after one", "×", ratioMax, measure.Max(open)/first)
	r.Note("After the last round the copy was equal to the source: the number of rows, values and lengths of each column, and the sum of every row's checksum.")
	return nil
}

// command syncs by a command of its own, and returns the closed file's size in MB.
func command(ctx context.Context, b *rig.Bench, c *rig.Copy) (float64, error) {
	if _, err := measure.Command(ctx, c.FullSync(), measure.Options{}); err != nil {
		return 0, err
	}
	n, err := c.Bytes()
	return float64(n) / megabytes, err
}

// served syncs inside a server, and returns the file's size in MB after each time.
func served(ctx context.Context, c *rig.Copy) (sizes []float64, err error) {
	s, err := c.Serve(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopErr := s.Stop(); err == nil {
			err = stopErr
		}
	}()
	for range perRound - 1 {
		run, err := s.Sync(ctx, true)
		if err != nil {
			return nil, err
		}
		if run.Kind != "full" {
			return nil, fmt.Errorf("the run was %s", run.Kind)
		}
		n, err := c.Bytes()
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, float64(n)/megabytes)
	}
	return sizes, nil
}
