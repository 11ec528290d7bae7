package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pintaildb/pintail/change"
)

// BenchmarkApplyWithoutAKey deletes and inserts 1,000 rows of a million, which are told apart by all ten columns.
func BenchmarkApplyWithoutAKey(b *testing.B) {
	s := openTest(b, Options{})
	cols := []Column{col("a", oidInt8, -1), col("b", oidInt4, -1), col("c", oidText, -1), col("d", oidTSTZ, -1), col("e", oidNumeric, numericMod(12, 2)), col("f", oidBool, -1),
		col("g", oidUUID, -1), col("h", oidText, -1), col("i", oidFloat8, -1), col("j", oidText, -1)}
	row := func(i int) [][]byte {
		return [][]byte{i64(int64(i)), i32(int32(i % 1000)), fmt.Appendf(nil, "some text of row %d", i), i64(int64(i) * 1e6), append([]byte{0, 1, 0, 0, 0, 0, 0, 2}, byte(i>>8&3), byte(i)), {byte(i & 1)},
			append(i64(int64(i)), i64(int64(i))...), fmt.Appendf(nil, "a longer text that is not the same for %d", i%77), f64(float64(i)), nil}
	}
	const rows = 1_000_000
	load(b, s, "t", &fakeFeed{cols: cols, parts: 1, workers: 1, rows: func(int) int { return rows }, row: func(_, i int) [][]byte { return row(i) }})
	for b.Loop() {
		b.StopTimer()
		r := rand.New(rand.NewPCG(1, 2))
		seen := map[int]bool{}
		var ops []opRow
		for len(seen) < 1000 {
			if i := r.IntN(rows); !seen[i] {
				seen[i] = true
				ops = append(ops, opRow{op: change.OpDelete, row: row(i)})
			}
		}
		back := make([]opRow, len(ops))
		for i := range ops {
			back[i] = opRow{op: change.OpInsert, row: ops[i].row}
		}
		c := stageOps(b, s, "t", nil, opsOf(cols, nil, ops...))
		d := stageOps(b, s, "t", nil, opsOf(cols, nil, back...))
		c.Prove, d.Prove = false, false
		b.StartTimer()
		if _, err := applyAll(s, c, d); err != nil {
			b.Fatal(err)
		}
	}
}
