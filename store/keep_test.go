package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
)

// version is a row of a table that keeps former ones, as the model has it. Times are in microseconds, as PostgreSQL sends them.
type version struct {
	row            [][]byte
	from, to, dead int64 // 0 is none
	lsn            uint64
}

const oidUInt8 = oidXID8

// keptModel is a table of a model: all versions of a key, the present one last.
type keptModel map[string][]version

func pgTime(micros int64) []byte {
	if micros == 0 {
		return nil
	}
	return i64(micros - 946684800000000)
}

// compareKept fails unless the table is what the model has.
func compareKept(t *testing.T, s *Store, sql string, cols []Column, keep change.Keep, model keptModel) {
	t.Helper()
	all := append(slices.Clip(cols), KeptColumns(keep)...)
	for i := range all[len(cols):] {
		oid := uint32(oidTSTZ)
		if all[len(cols)+i].Name == change.LSNColumn {
			oid = oidUInt8
		}
		all[len(cols)+i] = col(all[len(cols)+i].Name, oid, -1)
	}
	want := map[string]int{}
	total := 0
	for _, versions := range model {
		for _, v := range versions {
			row := slices.Clone(v.row)
			switch {
			case keep.Deletes == change.DeletesHistory:
				row = append(row, pgTime(v.from), pgTime(v.to), i64(int64(v.lsn)))
			default:
				if keep.Stamps {
					row = append(row, i64(int64(v.lsn)), pgTime(v.from))
				}
				if keep.Deletes == change.DeletesSoft {
					row = append(row, pgTime(v.dead))
				}
			}
			want[string(appendRow(nil, row))]++
			total++
		}
	}
	n := 0
	scanRows(t, s, sql, all, func(_ *change.Chunk, row [][]byte) {
		n++
		id := string(appendRow(nil, row))
		if want[id] == 0 {
			t.Fatalf("a row that should not be there: % x (after % x)", row[:len(cols)], row[len(cols):])
		}
		want[id]--
	})
	if n != total {
		t.Fatalf("%d rows, want %d", n, total)
	}
}

// crashed is what a crash would leave of a store: its file and the log of what was committed.
func crashed(t *testing.T, path string) *Store {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(path))
	for _, end := range []string{"", ".wal"} {
		b, err := os.ReadFile(path + end)
		if err == nil {
			err = os.WriteFile(to+end, b, 0o600)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return openTest(t, Options{Path: to})
}

// Random transactions, some in parts, several in a batch, of tables that keep what is gone, against a model.
func TestKeptVersionsAgainstAModel(t *testing.T) {
	for _, keep := range []change.Keep{{Deletes: change.DeletesHistory}, {Deletes: change.DeletesSoft}, {Deletes: change.DeletesSoft, Stamps: true}, {Stamps: true}} {
		for _, into := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d %t %t", keep.Deletes, keep.Stamps, into), func(t *testing.T) { keptVersions(t, keep, into) })
		}
	}
}

func keptVersions(t *testing.T, keep change.Keep, into bool) {
	ctx := context.Background()
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "k.duckdb")
	s := openTest(t, Options{Path: path})
	cols := []Column{col("id", oidInt8, -1), col("v", oidText, -1), col("doc", oidText, -1), col("iv", oidInterval, -1)}
	key := []string{"id"}
	const ids = 300
	row := func(id int64) [][]byte {
		return [][]byte{i64(id), txt(fmt.Sprint(r.IntN(5))), txt(strings.Repeat("x", r.IntN(40))), interval(int32(r.IntN(2)), int32(30*r.IntN(2)), 0)}
	}
	model := keptModel{}
	copied := change.Stamp{LSN: 100, At: time.UnixMicro(1_700_000_000_000_000)}
	var first [][][]byte
	for id := range int64(ids) {
		if r.IntN(2) == 0 {
			first = append(first, row(id))
			model[string(i64(id))] = []version{{row: first[len(first)-1], from: copied.At.UnixMicro(), lsn: uint64(copied.LSN)}}
		}
	}
	feed := rowsOf(cols, first...)
	st, err := s.StageKept(ctx, "t", cols, feed, keep, copied)
	if err != nil {
		t.Fatal(err)
	}
	live := func() (n int64) {
		for _, vs := range model {
			if last := vs[len(vs)-1]; len(vs) > 0 && last.to == 0 && last.dead == 0 {
				n++
			}
		}
		return n
	}
	table := func() string {
		if into {
			return st.sql
		}
		return s.table("t")
	}
	if !into {
		if err := s.Commit(ctx, func(tx *Tx) error { return tx.Swap("t", st) }); err != nil {
			t.Fatal(err)
		}
	}
	// end is what becomes of the present version.
	end := func(k string, by change.Stamp) {
		vs := model[k]
		if len(vs) == 0 {
			return
		}
		last := &vs[len(vs)-1]
		switch {
		case keep.Deletes == change.DeletesHard:
			delete(model, k)
		case keep.Deletes == change.DeletesSoft && last.dead == 0:
			last.dead, last.from, last.lsn = by.At.UnixMicro(), by.At.UnixMicro(), uint64(by.LSN)
		case keep.Deletes == change.DeletesHistory && last.to == 0 && last.lsn == uint64(by.LSN):
			if model[k] = vs[:len(vs)-1]; len(vs) == 1 {
				delete(model, k)
			}
		case keep.Deletes == change.DeletesHistory && last.to == 0:
			last.to = by.At.UnixMicro()
		}
	}
	there := func(k string) ([][]byte, bool) {
		vs := model[k]
		if len(vs) == 0 || vs[len(vs)-1].to != 0 || vs[len(vs)-1].dead != 0 {
			return nil, false
		}
		return vs[len(vs)-1].row, true
	}
	clock, lsn := copied.At.UnixMicro(), uint64(copied.LSN)
	for round := range 15 {
		clone := keptModel{}
		for k, vs := range model {
			clone[k] = slices.Clone(vs)
		}
		before := live()
		var parts []Changes
		by := change.Stamp{}
		next := func() {
			clock += int64(r.IntN(3)) * 1000 // equal times too
			lsn += 8
			by = change.Stamp{LSN: change.LSN(lsn), At: time.UnixMicro(clock)}
		}
		next()
		for range 1 + r.IntN(3) {
			c := Changes{Target: "t", Key: key, Cols: cols, Keep: keep}
			if r.IntN(6) == 0 {
				c.Truncate, c.Truncated = true, by
				for k := range maps.Clone(model) {
					end(k, by)
				}
			}
			// Several transactions where versions are kept; else a key comes once.
			var ops []opRow
			var stamps []change.Stamp
			steps := 1
			if keep.Deletes == change.DeletesHistory {
				steps = 1 + r.IntN(4)
			}
			for step := range steps {
				if step > 0 {
					next()
				}
				seen := map[int64]bool{}
				for range r.IntN([]int{3, 100}[r.IntN(2)]) {
					id := int64(r.IntN(ids))
					if seen[id] {
						continue
					}
					seen[id] = true
					k := string(i64(id))
					was, live := there(k)
					op := opRow{op: change.OpUpsert, row: row(id)}
					final := slices.Clone(op.row)
					known := step > 0 && slices.ContainsFunc(ops, func(o opRow) bool { return bytes.Equal(o.row[0], op.row[0]) })
					switch {
					case live && r.IntN(3) == 0:
						op.op = change.OpDelete
						op.row = [][]byte{op.row[0], nil, nil, nil}
					case !live && keep.Deletes == change.DeletesSoft && r.IntN(3) == 0:
						op.op = change.OpBury
					case !live && keep.Deletes != change.DeletesSoft:
						op.op = change.OpInsert
					case live && !known && r.IntN(3) == 0:
						op.without = []int{2}
						final[2], op.row[2] = was[2], nil
					}
					switch {
					case op.op == change.OpDelete:
						end(k, by)
					case keep.Deletes == change.DeletesHistory:
						end(k, by)
						model[k] = append(model[k], version{row: final, from: by.At.UnixMicro(), lsn: uint64(by.LSN)})
					default:
						v := version{row: final, from: by.At.UnixMicro(), lsn: uint64(by.LSN)}
						if op.op == change.OpBury {
							v.dead = by.At.UnixMicro()
						}
						model[k] = []version{v}
					}
					ops, stamps = append(ops, op), append(stamps, by)
				}
			}
			f := opsOf(cols, []int{2}, ops...)
			f.stamp = func(i int) change.Stamp { return stamps[i] }
			staged := stageKept(t, s, "t", key, keep, f)
			staged.Truncate, staged.Truncated = c.Truncate, c.Truncated
			if into {
				staged.Into = st
			}
			parts = append(parts, staged)
		}
		stop := r.IntN(6) == 0
		var grown int64
		err := s.Commit(ctx, func(tx *Tx) error {
			grown = 0
			for i, c := range parts {
				ins, upd, del, err := tx.Apply(c)
				if err != nil {
					return fmt.Errorf("part %d: %w", i, err)
				}
				if upd < 0 || ins < 0 || del < 0 {
					t.Errorf("counts %d %d %d", ins, upd, del)
				}
				grown += ins - del
			}
			if stop {
				return fault.New(fault.Cancelled, "", "stop")
			}
			return nil
		})
		if stop != (err != nil) {
			t.Fatalf("round %d: %v", round, err)
		}
		if stop {
			model = clone
			continue
		}
		if want := live() - before; grown != want {
			t.Errorf("round %d: grown by %d, want %d", round, grown, want)
		}
		if into && st.Rows != live() {
			t.Errorf("round %d: %d staged rows, want %d", round, st.Rows, live())
		}
		compareKept(t, s, "SELECT * FROM "+table(), cols, keep, model)
		if !into && round%5 == 4 {
			compareKept(t, crashed(t, path), "SELECT * FROM t", cols, keep, model)
		}
		if r.IntN(5) == 0 {
			if err := s.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if into {
		if err := s.Commit(ctx, func(tx *Tx) error { return tx.Swap("t", st) }); err != nil {
			t.Fatal(err)
		}
		into = false
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Path: path})
	compareKept(t, s, "SELECT * FROM t", cols, keep, model)
}

// Tables without a key, with many equal rows, against a model that counts them.
func TestEqualRowsAgainstAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := openTest(t, Options{})
	cols := []Column{col("a", oidInt4, -1), col("f", oidFloat8, -1), col("iv", oidInterval, -1), col("t", oidText, -1), col("l", oidFloat8s, -1), col("j", oidJSONB, -1)}
	zero := binary.BigEndian.AppendUint64(nil, 1<<63)
	value := func() [][]byte {
		row := make([][]byte, len(cols))
		pick := func(k int, of ...[]byte) {
			if r.IntN(5) > 0 {
				row[k] = of[r.IntN(len(of))]
			}
		}
		pick(0, i32(1), i32(2))
		pick(1, f64(0), zero, i64(0x7ff8<<48))
		pick(2, interval(1, 0, 0), interval(0, 30, 0))
		pick(3, txt(""), txt("a"), txt(strings.Repeat("b", 30)))
		pick(5, append([]byte{1}, `{"a": 1}`...))
		return row
	}
	// canon is how DuckDB tells rows apart.
	canon := func(row [][]byte) string {
		row = slices.Clone(row)
		if bytes.Equal(row[1], zero) {
			row[1] = f64(0)
		}
		return string(appendRow(nil, row))
	}
	model := map[string]int{}
	var rows [][][]byte
	for range 2000 {
		row := value()
		rows = append(rows, row)
		model[canon(row)]++
	}
	load(t, s, "t", rowsOf(cols, rows...))
	for round := range 30 {
		var parts []Changes
		for range 1 + r.IntN(3) {
			var ops []opRow
			var counts []int32
			seen := map[string]bool{}
			next := maps.Clone(model)
			for range r.IntN(60) {
				row := value()
				if id := string(appendRow(nil, row)); seen[id] {
					continue
				} else {
					seen[id] = true
				}
				n := 1 + r.IntN(3)
				if have := min(model[canon(row)], next[canon(row)]); r.IntN(2) == 0 && have > 0 {
					n = min(n, have)
					next[canon(row)] -= n
					ops = append(ops, opRow{op: change.OpDelete, row: row})
				} else {
					next[canon(row)] += n
					ops = append(ops, opRow{op: change.OpInsert, row: row})
				}
				counts = append(counts, int32(n))
			}
			model = next
			f := opsOf(cols, nil, ops...)
			f.count = func(i int) int32 { return counts[i] }
			parts = append(parts, stageKept(t, s, "t", nil, change.Keep{}, f))
		}
		if _, err := applyAll(s, parts...); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		left := maps.Clone(model)
		scanRows(t, s, "SELECT * FROM t", cols, func(_ *change.Chunk, row [][]byte) { left[canon(row)]-- })
		for id, n := range left {
			if n != 0 {
				t.Errorf("round %d: %d rows too few of % x", round, n, id)
			}
		}
		if t.Failed() {
			return
		}
	}
	// More than there are.
	row := [][]byte{i32(77), nil, nil, nil, nil, nil}
	f := opsOf(cols, nil, opRow{op: change.OpDelete, row: row})
	_, err := applyAll(s, stageKept(t, s, "t", nil, change.Keep{}, f))
	equal(t, "missing", fault.CodeOf(err), fault.DataMismatch)
}
