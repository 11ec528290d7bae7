package store

import (
	"context"
	"testing"
)

func TestRewriteReplacesFromTheBoundOn(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := []Column{col("at", oidTSTZ, -1), col("n", oidInt8, -1)}
	ts := func(us int64) []byte { return i64(us) } // microseconds after 2000
	const day = 86400e6
	load(t, s, "r", rowsOf(cols, [][]byte{ts(0), i64(1)}, [][]byte{ts(day), i64(2)}, [][]byte{ts(2 * day), i64(3)}, [][]byte{nil, i64(4)},
		[][]byte{ts(-3000 * 365.2425 * day), i64(5)}))
	do := func(low string, orNull bool, rows ...[][]byte) (int64, int64) {
		st := mustStage(t, s, "r", rowsOf(cols, rows...), false)
		defer s.Discard(ctx, st)
		var del, ins int64
		if err := s.Commit(ctx, func(tx *Tx) (err error) {
			del, ins, err = tx.Rewrite("r", st, KeyRange{Column: "at", Low: low, OrNull: orNull}, cols)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return del, ins
	}
	all := func() []string { return lines(t, s, "SELECT n FROM r ORDER BY n") }
	del, ins := do("2000-01-02 00:00:00+00", false, [][]byte{ts(day), i64(20)}, [][]byte{ts(3 * day), i64(30)})
	equal(t, "from the bound", []any{del, ins, all()}, "[2 2 [1 4 5 20 30]]")
	del, ins = do("2000-01-02 01:00:00+01", true, [][]byte{nil, i64(40)})
	equal(t, "with NULL, another zone", []any{del, ins, all()}, "[3 1 [1 5 40]]")
	del, ins = do("1001-01-02 00:00:00+00 BC", false)
	equal(t, "BC", []any{del, ins, all()}, "[1 0 [5 40]]")
	del, ins = do("1002-01-02 00:00:00+00 BC", false)
	equal(t, "BC", []any{del, ins, all()}, "[1 0 [40]]")
	del, ins = do("", true, [][]byte{ts(1), i64(50)})
	equal(t, "all", []any{del, ins, all()}, "[1 1 [50]]")
}
