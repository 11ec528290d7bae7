// Command decode takes the speed of decoding alone: the Go benchmark, and rows as a server sends them.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// Bounds for the median speed, in million rows a second, and for allocations.
const (
	speedMin  = 4.5
	allocsMax = 0.01 // per row
)

const about = "Decoding rows of COPY BINARY into vectors on one core, without I/O: `go test ./change/types -bench Decode`, whose rows stay in " +
	"the CPU's caches, and rows of the benchmarks' table as PostgreSQL sent them, read into memory beforehand. Allocations are " +
	"counted by the runtime over all rows of a round."

func main() {
	rig.Main(rig.Spec{Name: "decode", Title: "decoding COPY BINARY", About: about, Rows: 1_000_000, Rounds: 6, Run: run})
}

func run(ctx context.Context, b *rig.Bench) error {
	bench, err := goBenchmark(ctx, b)
	if err != nil {
		return err
	}
	db, err := b.Database(ctx, b.Rows)
	if err != nil {
		return err
	}
	sent, err := read(ctx, b.Source.URL(db))
	if err != nil {
		return err
	}
	if got := len(sent.at) - 1; got != b.Rows {
		return fmt.Errorf("the copy has %d rows, want %d", got, b.Rows)
	}
	var speed, allocs []float64
	for round := range b.Rounds {
		s, a, err := sent.decode()
		if err != nil {
			return err
		}
		b.Progress("round %d: %.2f M rows/s, %g allocations per row", round+1, s, a)
		speed, allocs = append(speed, s), append(allocs, a)
	}
	r := b.Report
	r.Add("Go benchmark", "M rows/s", bench)
	r.Add("rows as sent", "M rows/s", speed)
	r.Add("rows as sent: allocations", "per row", allocs)
	r.AtLeast("Go benchmark, median", "M rows/s", speedMin, measure.Median(bench))
	r.AtLeast("rows as sent, median", "M rows/s", speedMin, measure.Median(speed))
	r.AtMost("allocations, largest", "per row", allocsMax, measure.Max(allocs))
	r.Note("A row has %.0f bytes on the wire.", float64(len(sent.data))/float64(b.Rows))
	return nil
}

// goBenchmark is what BenchmarkDecode reports as Mrows/s, once per round.
func goBenchmark(ctx context.Context, b *rig.Bench) ([]float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "./change/types", "-run", "^$", "-bench", "^BenchmarkDecode$", "-benchmem", "-cpu", "1", "-count", strconv.Itoa(b.Rounds))
	cmd.Dir = b.Root
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	var values []float64
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "BenchmarkDecode" {
			continue
		}
		b.Progress("%s", strings.TrimSpace(line))
		for i, f := range fields {
			if f != "Mrows/s" {
				continue
			}
			v, err := strconv.ParseFloat(fields[i-1], 64)
			if err != nil {
				return nil, fmt.Errorf("go test printed %q: %w", line, err)
			}
			values = append(values, v)
		}
	}
	if len(values) != b.Rounds {
		return nil, fmt.Errorf("go test printed %d values of Mrows/s, want %d:\n%s", len(values), b.Rounds, out)
	}
	return values, nil
}

// copied is a table's rows in COPY BINARY.
type copied struct {
	types []types.Type
	data  []byte // with types.Slack bytes behind the last row
	at    []int  // where rows begin; the last is where they end
}

// header is the fixed part of COPY BINARY's header, without options and extension.
const header = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func read(ctx context.Context, url string) (*copied, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	c := &copied{}
	rows, err := conn.Query(ctx, "SELECT atttypid, atttypmod FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum", rig.Table)
	if err != nil {
		return nil, err
	}
	var oid uint32
	var modifier int32
	_, err = pgx.ForEachRow(rows, []any{&oid, &modifier}, func() error {
		c.types = append(c.types, types.Of(oid, modifier, nil))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the columns: %w", err)
	}
	var buf bytes.Buffer
	tag, err := conn.PgConn().CopyTo(ctx, &buf, "COPY "+rig.Table+" TO STDOUT (FORMAT binary)")
	if err != nil {
		return nil, fmt.Errorf("read the rows: %w", err)
	}
	if !bytes.HasPrefix(buf.Bytes(), []byte(header)) {
		return nil, errors.New("read the rows: COPY BINARY does not begin as it should")
	}
	buf.Write(make([]byte, types.Slack))
	c.data = buf.Bytes()[:buf.Len()-types.Slack]
	pos := len(header)
	for int16(binary.BigEndian.Uint16(c.data[pos:])) >= 0 { // -1 ends the rows
		c.at = append(c.at, pos)
		pos += 2
		for range c.types {
			n := int(int32(binary.BigEndian.Uint32(c.data[pos:])))
			pos += 4 + max(n, 0)
		}
	}
	c.at = append(c.at, pos)
	if want := tag.RowsAffected(); int64(len(c.at)-1) != want {
		return nil, fmt.Errorf("read the rows: found %d, the server sent %d", len(c.at)-1, want)
	}
	return c, nil
}

// decode decodes all rows: million rows a second, and allocations per row.
func (c *copied) decode() (speed, allocs float64, err error) {
	d, chunk := types.NewDecoder(c.types), types.NewChunk(c.types)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	rows := len(c.at) - 1
	for i := range rows {
		row := i % change.ChunkRows
		if row == 0 {
			types.ResetChunk(chunk)
		}
		if err := d.DecodeRow(chunk, row, c.data[c.at[i]:c.at[i+1]]); err != nil {
			return 0, 0, fmt.Errorf("row %d: %w", i, err)
		}
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return float64(rows) / took.Seconds() / 1e6, float64(after.Mallocs-before.Mallocs) / float64(rows), nil
}
