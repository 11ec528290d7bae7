package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pintaildb/pintail/change"
)

// Huge values that have not changed stay where they are, with their rows, as all rows of such a table do.
func TestHugeValuesStay(t *testing.T) {
	ctx := context.Background()
	huge := func(c byte) []byte { return bytes.Repeat([]byte{c}, hugeValue+int(c)) }
	path := filepath.Join(t.TempDir(), "p.duckdb")
	s, err := Open(ctx, Options{Path: path, Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	cols, key, unchanged := []Column{col("id", oidInt8, -1), col("t", oidText, -1), col("b", oidBytea, -1), col("n", oidInt8, -1)}, []string{"id"}, []int{1, 2}
	load(t, s, "t", rowsOf(cols, [][]byte{i64(1), huge('a'), huge('b'), i64(1)}, [][]byte{i64(2), huge('c'), txt("b"), i64(2)},
		[][]byte{i64(3), txt("t"), txt("b"), i64(3)}, [][]byte{i64(4), huge('d'), nil, i64(4)}, [][]byte{i64(5), txt("t"), huge('e'), i64(5)}))
	const all = "SELECT id, strlen(t), left(t, 2), octet_length(b), left(b::VARCHAR, 2), n, rowid FROM t ORDER BY id"
	without := func(id, n int64, without ...int) opRow {
		return opRow{op: change.OpUpsert, row: [][]byte{i64(id), nil, nil, i64(n)}, without: without}
	}
	resent := without(2, 22, 1)
	resent.row[2] = txt("again")
	equal(t, "counts", apply1(t, s, "t", key, cols, unchanged, without(1, 11, 1, 2), resent, without(3, 33, 1, 2), opRow{op: change.OpDelete, row: [][]byte{i64(4), nil, nil, nil}},
		without(5, 55, 2), opRow{op: change.OpInsert, row: [][]byte{i64(6), txt("t"), nil, i64(6)}}), "[1 4 1]")
	want := fmt.Sprintf("[1|%d|aa|%d|bb|11|0 2|%d|cc|5|ag|22|1 3|1|t|1|b|33|2 5|NULL|NULL|%d|ee|55|4 6|1|t|NULL|NULL|6|5]", hugeValue+'a', hugeValue+'b', hugeValue+'c', hugeValue+'e')
	equal(t, "rows", lines(t, s, all), want)
	equal(t, "rows after a crash", lines(t, copied(t, path), all), want)
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}

	// What the file had before it was opened, and what comes after that was looked at.
	s = openTest(t, Options{Path: path, Threads: 2})
	rowid := func(table string, id int) []string {
		return lines(t, s, fmt.Sprintf("SELECT rowid FROM %s WHERE id = %d", table, id))
	}
	one := rowid("t", 1)
	apply1(t, s, "t", key, cols, unchanged, without(1, 12, 1, 2))
	equal(t, "row", rowid("t", 1), one)
	load(t, s, "u", rowsOf(cols, [][]byte{i64(1), txt("small"), nil, i64(1)}))
	one = rowid("u", 1)
	apply1(t, s, "u", key, cols, unchanged, without(1, 11, 1))
	if fmt.Sprint(rowid("u", 1)) == fmt.Sprint(one) {
		t.Error("a row of a table without huge values was updated in place")
	}
	apply1(t, s, "u", key, cols, unchanged, opRow{op: change.OpInsert, row: [][]byte{i64(2), huge('z'), nil, i64(2)}})
	two := rowid("u", 2)
	apply1(t, s, "u", key, cols, unchanged, without(2, 22, 1), without(1, 12, 1))
	equal(t, "row", rowid("u", 2), two)
	equal(t, "rows", lines(t, s, "SELECT id, left(t, 2), n FROM u ORDER BY id"), "[1|sm|12 2|zz|22]")

	// Values that DuckDB takes for equal, and so would not write, are not the same.
	cols, unchanged = []Column{col("id", oidInt8, -1), col("t", oidText, -1), col("i", oidInterval, -1), col("f", oidFloat8, -1)}, []int{1}
	load(t, s, "v", rowsOf(cols, [][]byte{i64(1), huge('a'), interval(1, 0, 0), binary.BigEndian.AppendUint64(nil, 1<<63)}))
	apply1(t, s, "v", key, cols, unchanged, opRow{op: change.OpUpsert, row: [][]byte{i64(1), nil, interval(0, 30, 0), i64(0)}, without: unchanged})
	equal(t, "values", lines(t, s, "SELECT i::VARCHAR, signbit(f), left(t, 2) FROM v"), "[30 days|false|aa]")
}

// copied opens what a crash would have left of a file.
func copied(t *testing.T, path string) *Store {
	t.Helper()
	to := filepath.Join(t.TempDir(), "p.duckdb")
	for _, suffix := range []string{"", ".wal"} {
		b, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return openTest(t, Options{Path: to})
}
