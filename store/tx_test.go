package store

import (
	"context"
	"math"
	"testing"

	"github.com/pintaildb/pintail/internal/fault"
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

func TestRewriteEndsAtTheLastRowRead(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := []Column{col("at", oidInt8, -1), col("n", oidInt4, -1)}
	row := func(at int64, n int32) [][]byte { return [][]byte{i64(at), i32(n)} }
	load(t, s, "r", rowsOf(cols, row(1, 0), row(2, 0), row(3, 0), row(3, 0), row(4, 0), [][]byte{nil, i32(0)}))
	st := mustStage(t, s, "r", rowsOf(cols, row(2, 1), row(3, 1), row(3, 1), row(3, 1)), false)
	defer s.Discard(ctx, st)
	if err := s.Commit(ctx, func(tx *Tx) error {
		del, ins, err := tx.Rewrite("r", st, KeyRange{Column: "at", Low: "2", Through: "3"}, cols)
		equal(t, "deleted, inserted", []int64{del, ins}, "[3 4]")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	equal(t, "rows", lines(t, s, "SELECT \"at\", n FROM r ORDER BY ALL"), "[1|0 2|1 3|1 3|1 3|1 4|0 NULL|0]")
}

func TestHasInfinity(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := []Column{col("d", oidDate, -1), col("t", oidTSTZ, -1), col("n", oidInt8, -1), col("low", oidTS, -1)}
	st := mustStage(t, s, "i", rowsOf(cols, [][]byte{i32(math.MaxInt32), i64(math.MaxInt64 - 1e18), i64(1), i64(math.MinInt64)}, [][]byte{i32(1), nil, nil, nil}), false)
	for name, want := range map[string]bool{"d": true, "t": false, "n": false, "LOW": false} {
		got, err := s.HasInfinity(ctx, st, name)
		equal(t, name, []any{got, err}, []any{want, nil})
	}
	if _, err := s.HasInfinity(ctx, st, "none"); fault.CodeOf(err) != fault.SchemaLost {
		t.Error(err)
	}
}
