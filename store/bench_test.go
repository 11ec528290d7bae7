package store

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// benchColumns are the ten columns of the table that every benchmark of the full sync uses.
func benchColumns() []Column {
	return []Column{col("id", oidInt8, -1), col("part", oidInt4, -1), col("status", oidText, -1), col("partner", oidText, -1), col("amount", oidNumeric, numericMod(12, 2)),
		col("created_at", oidTSTZ, -1), col("updated_at", oidTSTZ, -1), col("ok", oidBool, -1), col("score", oidFloat8, -1), col("hash", oidText, -1)}
}

const benchCycle = 1 << 17 // rows encoded once; ids and times are patched in for each pass over them

// benchFeed decodes rows at the speed of a source that is never waited for.
type benchFeed struct {
	cols  []Column
	buf   []byte
	at    []int
	parts int64
	next  atomic.Int64
}

func newBenchFeed(rows int) *benchFeed {
	f := &benchFeed{cols: benchColumns(), parts: int64((rows + benchCycle - 1) / benchCycle)}
	be := binary.BigEndian
	for i := range benchCycle {
		f.at = append(f.at, len(f.buf))
		hash := fmt.Appendf(nil, "%x", md5.Sum(be.AppendUint32(nil, uint32(i))))
		if i%10 == 0 {
			hash = nil
		}
		amount := append(be.AppendUint16(nil, 3), 0, 1, 0, 0, 0, 2)
		amount = be.AppendUint16(be.AppendUint16(be.AppendUint16(amount, uint16(i%30+1)), uint16(i*7%10000)), uint16(i%100*100))
		f.buf = appendRow(f.buf, [][]byte{i64(int64(i)), i32(int32(i % 1000)), txt([]string{"processed", "failed", "pending", "sent"}[i%4]), fmt.Appendf(nil, "p%d", i%977),
			amount, i64(8e14 + int64(i)*1e6), i64(8e14 + int64(i)*1e3), {byte(i & 1)}, f64(float64(i) * 0.37), hash})
	}
	f.at = append(f.at, len(f.buf))
	f.buf = append(f.buf, make([]byte, types.Slack)...)
	return f
}

func (f *benchFeed) Workers() int { return 2 }

func (f *benchFeed) Next(context.Context) (change.Reader, error) {
	p := f.next.Add(1) - 1
	if p >= f.parts {
		return nil, io.EOF
	}
	return &benchReader{f: f, dec: types.NewDecoder(typesOf(f.cols)), base: p * benchCycle}, nil
}

type benchReader struct {
	f    *benchFeed
	dec  *types.Decoder
	base int64
	at   int
}

func (r *benchReader) Read(c *change.Chunk) (int, error) {
	n := min(benchCycle-r.at, change.ChunkRows)
	for i := range n {
		k := r.at + i
		if err := r.dec.DecodeRow(c, i, r.f.buf[r.f.at[k]:r.f.at[k+1]]); err != nil {
			return 0, err
		}
		*change.At[int64](&c.Vectors[0], i) += r.base
		*change.At[int64](&c.Vectors[5], i) += r.base * 1e6
		*change.At[int64](&c.Vectors[6], i) += r.base * 1e3
	}
	r.at += n
	return n, nil
}

func (r *benchReader) Close() error { return nil }

const benchRows = 5_000_000

// benchTable opens a store whose table t has benchRows rows of the columns that it returns.
func benchTable(b *testing.B) (*Store, []Column) {
	b.Helper()
	ctx := context.Background()
	s := openTest(b, Options{Threads: 2})
	f := newBenchFeed(benchRows)
	st, err := s.Stage(ctx, "t", f.cols, f, true)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.Swap("t", st) }); err != nil {
		b.Fatal(err)
	}
	return s, f.cols
}

// benchRow is a row of benchTable's as the n-th change makes it.
func benchRow(id, n int64) [][]byte {
	return [][]byte{i64(id), i32(int32(n)), txt("sent"), txt("p"), nil, i64(0), i64(9e14 + n), {1}, f64(1), txt("a hash that is long enough")}
}

// peakRSS is the largest resident memory of this process so far, in MiB.
func peakRSS() string {
	b, _ := os.ReadFile("/proc/self/status")
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(l, "VmHWM:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "?"
}

// BenchmarkStage loads 5 M rows of 10 columns, swaps them in and closes the file: what a full sync costs besides its source.
func BenchmarkStage(b *testing.B) {
	for _, limit := range []int64{0, 1 << 30} {
		b.Run(fmt.Sprintf("memory=%dMiB", limit>>20), func(b *testing.B) {
			ctx := context.Background()
			for b.Loop() {
				b.StopTimer()
				path := b.TempDir() + "/bench.duckdb"
				f := newBenchFeed(benchRows)
				b.StartTimer()
				t0 := time.Now()
				s, err := Open(ctx, Options{Path: path, MemoryLimit: limit, Threads: 2})
				if err != nil {
					b.Fatal(err)
				}
				t1 := time.Now()
				st, err := s.Stage(ctx, "t", f.cols, f, true)
				if err != nil {
					b.Fatal(err)
				}
				t2 := time.Now()
				if err := s.Commit(ctx, func(tx *Tx) error { return tx.Swap("t", st) }); err != nil {
					b.Fatal(err)
				}
				t3 := time.Now()
				size, _, _, _ := s.Size()
				if err := s.Close(ctx); err != nil {
					b.Fatal(err)
				}
				b.Logf("open %v, stage %v, swap and checkpoint %v, close %v; %d rows, %d MiB, peak %s", t1.Sub(t0), t2.Sub(t1), t3.Sub(t2), time.Since(t3), st.Rows, size>>20, peakRSS())
			}
			b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}

// BenchmarkMerge brings 10,000 rows into 5 M by key: most of an incremental sync.
func BenchmarkMerge(b *testing.B) {
	ctx := context.Background()
	s, cols := benchTable(b)
	n := int64(0)
	for name, id := range map[string]func(i int64) int64{
		"random": func(i int64) int64 { return (i*2654435761 + n*7919) % benchRows },
		"recent": func(i int64) int64 { return benchRows - 10000 + i },
		"none":   nil,
	} {
		b.Run(name, func(b *testing.B) {
			var stage, check, merge, maxOf time.Duration
			for b.Loop() {
				n++
				some := &fakeFeed{cols: cols, parts: 1, workers: 1, rows: func(int) int { return 10000 }, row: func(_, i int) [][]byte {
					if id == nil {
						return nil
					}
					return benchRow(id(int64(i)), n)
				}}
				if id == nil {
					some.rows = func(int) int { return 0 }
				}
				t0 := time.Now()
				st, err := s.Stage(ctx, "t", cols, some, false)
				if err != nil {
					b.Fatal(err)
				}
				t1 := time.Now()
				if err := s.CheckKey(ctx, st, []string{"id"}); err != nil {
					b.Fatal(err)
				}
				t2 := time.Now()
				if err := s.Commit(ctx, func(tx *Tx) error {
					_, _, err := tx.Merge("t", st, []string{"id"}, cols)
					return err
				}); err != nil {
					b.Fatal(err)
				}
				t3 := time.Now()
				if _, err := s.MaxOf(ctx, "t", "updated_at"); err != nil {
					b.Fatal(err)
				}
				stage, check, merge, maxOf = stage+t1.Sub(t0), check+t2.Sub(t1), merge+t3.Sub(t2), maxOf+time.Since(t3)
				s.Discard(ctx, st)
			}
			for name, d := range map[string]time.Duration{"stage": stage, "check": check, "merge": merge, "max": maxOf} {
				b.ReportMetric(float64(d.Microseconds())/1e3/float64(b.N), name+"_ms")
			}
		})
	}
}

// BenchmarkApply brings batches of changes by key into 5 M rows of 10 columns: what a replica does all day.
func BenchmarkApply(b *testing.B) {
	ctx := context.Background()
	s, cols := benchTable(b)
	n, fresh := int64(0), int64(benchRows)
	// Of the mixed ones, one in twenty is an old row, the others are among the newest.
	mixed := func(i int64) int64 {
		if i%20 == 0 {
			return (n*7919 + i) % benchRows
		}
		return benchRows - 1 - i
	}
	for _, c := range []struct {
		name      string
		op        change.Op
		rows      int
		unchanged []int
	}{
		{"mixed", change.OpUpsert, 200, nil}, {"mixed", change.OpUpsert, 1000, nil},
		{"upsert", change.OpUpsert, 1, nil}, {"upsert", change.OpUpsert, 200, nil}, {"upsert", change.OpUpsert, 10_000, nil}, {"upsert", change.OpUpsert, 100_000, nil},
		{"insert", change.OpInsert, 1, nil}, {"insert", change.OpInsert, 10_000, nil}, {"insert", change.OpInsert, 100_000, nil},
		{"unchanged", change.OpUpsert, 1, []int{9}}, {"unchanged", change.OpUpsert, 100, []int{9}}, {"unchanged", change.OpUpsert, 10_000, []int{9}},
	} {
		b.Run(fmt.Sprintf("%s=%d", c.name, c.rows), func(b *testing.B) {
			var stage, apply, discard time.Duration
			for b.Loop() {
				n++
				f := &opFeed{cols: cols, unchanged: c.unchanged, rows: c.rows, row: func(i int) opRow {
					id := (int64(i)*2654435761 + n*7919) % benchRows
					switch {
					case c.op == change.OpInsert:
						id = fresh + int64(i)
					case c.name == "mixed":
						id = mixed(int64(i))
					}
					return opRow{op: c.op, without: c.unchanged, row: benchRow(id, n)}
				}}
				if c.op == change.OpInsert {
					fresh += int64(c.rows)
				}
				t0 := time.Now()
				st, err := s.Stage(ctx, "t", (&Changes{Key: []string{"id"}, Cols: f.cols, Unchanged: f.unchanged}).StagedColumns(), f, false)
				if err != nil {
					b.Fatal(err)
				}
				t1 := time.Now()
				changes := Changes{Target: "t", Staged: st, Key: []string{"id"}, Cols: f.cols, Unchanged: f.unchanged}
				if c.op != change.OpInsert {
					changes.Deletes = int64(c.rows)
				}
				if err := s.Commit(ctx, func(tx *Tx) error {
					if _, _, _, err := tx.Apply(changes); err != nil {
						return err
					}
					return tx.SavePosition("d", change.Position{LSN: change.LSN(n), System: "7"})
				}); err != nil {
					b.Fatal(err)
				}
				t2 := time.Now()
				s.Discard(ctx, st)
				stage, apply, discard = stage+t1.Sub(t0), apply+t2.Sub(t1), discard+time.Since(t2)
			}
			for name, d := range map[string]time.Duration{"stage": stage, "apply": apply, "discard": discard} {
				b.ReportMetric(float64(d.Microseconds())/1e3/float64(b.N), name+"_ms")
			}
		})
	}
}

// BenchmarkSavePosition is a commit of nothing else.
func BenchmarkSavePosition(b *testing.B) {
	ctx := context.Background()
	s := openTest(b, Options{Threads: 2})
	n := 0
	for b.Loop() {
		n++
		if err := s.Commit(ctx, func(tx *Tx) error {
			return tx.SavePosition("d", change.Position{LSN: change.LSN(n), System: "7", CommittedAt: time.Now()})
		}); err != nil {
			b.Fatal(err)
		}
	}
	_, wal, _, _ := s.Size()
	b.ReportMetric(float64(wal)/float64(n), "WAL_B")
}
