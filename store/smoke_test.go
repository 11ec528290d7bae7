package store

import (
	"context"
	"testing"
)

func TestSmoke(t *testing.T) {
	s := openTest(t, Options{})
	ctx := context.Background()
	cols := []Column{col("id", oidInt8, -1), col("s", oidText, -1)}
	load(t, s, "T", &fakeFeed{cols: cols, parts: 5, workers: 3, rows: func(int) int { return 10000 }, row: func(p, i int) [][]byte {
		return [][]byte{i64(int64(p*10000 + i)), txt("hello a longer text")}
	}})
	n, err := s.CountRows(ctx, "T")
	equal(t, "rows", n, 50000)
	if err != nil {
		t.Fatal(err)
	}
	st := mustStage(t, s, "T", rowsOf(cols, [][]byte{i64(5), txt("x")}, [][]byte{i64(-1), txt("new")}, [][]byte{i64(7), txt("hello a longer text")}), false)
	if err := s.CheckKey(ctx, st, []string{"id"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, func(tx *Tx) error {
		ins, upd, err := tx.Merge("T", st, []string{"id"}, cols)
		equal(t, "merge", []int64{ins, upd}, []int64{1, 1})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.Discard(ctx, st)
	equal(t, "rows", lines(t, s, "SELECT * FROM t WHERE id < 0 OR s = 'x' ORDER BY id"), "[-1|new 5|x]")
	m, err := s.MaxOf(ctx, "T", "id")
	equal(t, "max", []any{m, err}, []any{"49999", nil})
}
