package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
	"context"

	"github.com/pintaildb/pintail/change"
)

func BenchmarkZZKept(b *testing.B) {
	for _, keep := range []change.Keep{{}, {Stamps: true}, {Deletes: change.DeletesSoft}, {Deletes: change.DeletesHistory}} {
		for _, n := range []int{200, 10000} {
			for _, op := range []change.Op{change.OpUpsert, change.OpDelete} {
				b.Run(fmt.Sprintf("%d%t-%d-op%d", keep.Deletes, keep.Stamps, n, op), func(b *testing.B) {
					s := openTest(b, Options{})
					cols := []Column{col("id", oidInt8, -1), col("b", oidInt4, -1), col("c", oidText, -1), col("d", oidTSTZ, -1), col("f", oidBool, -1), col("h", oidText, -1), col("i", oidFloat8, -1)}
					row := func(i int) [][]byte {
						return [][]byte{i64(int64(i)), i32(int32(i % 1000)), fmt.Appendf(nil, "some text of row %d", i), i64(int64(i) * 1e6), {byte(i & 1)}, fmt.Appendf(nil, "a longer text that is not the same for %d", i%77), f64(float64(i))}
					}
					const rows = 2_000_000
					st, err := s.StageKept(context.Background(), "t", cols, &fakeFeed{cols: cols, parts: 1, workers: 1, rows: func(int) int { return rows }, row: func(_, i int) [][]byte { return row(i) }}, keep, change.Stamp{LSN: 1, At: time.Now()})
					if err != nil {
						b.Fatal(err)
					}
					if err := s.Commit(context.Background(), func(tx *Tx) error { return tx.Swap("t", st) }); err != nil {
						b.Fatal(err)
					}
					r := rand.New(rand.NewPCG(1, 2))
					lsn := change.LSN(10)
					for b.Loop() {
						b.StopTimer()
						seen := map[int]bool{}
						var ops []opRow
						for len(seen) < n {
							if i := r.IntN(rows); !seen[i] {
								seen[i] = true
								ops = append(ops, opRow{op: op, row: row(i)})
							}
						}
						f := opsOf(cols, nil, ops...)
						if keep.Stamped() {
							lsn++
							f.stamp = func(int) change.Stamp { return change.Stamp{LSN: lsn, At: time.Now()} }
						}
						c := stageKept(b, s, "t", []string{"id"}, keep, f)
						c.Prove = false
						b.StartTimer()
						if _, err := applyAll(s, c); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
