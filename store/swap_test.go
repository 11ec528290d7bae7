package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// plainFeed has parts × rows rows: id, a text that does not compress to nothing, gen.
func plainFeed(parts, rows, workers int, gen int64) *fakeFeed {
	cols := []Column{col("id", oidInt8, -1), col("s", oidText, -1), col("gen", oidInt8, -1)}
	return &fakeFeed{cols: cols, parts: parts, workers: workers, rows: func(int) int { return rows }, row: func(p, i int) [][]byte {
		id := int64(p*rows + i)
		// One allocation a row, and a text that follows no pattern.
		b := make([]byte, 0, 48)
		b = binary.BigEndian.AppendUint64(b, uint64(id))
		b = binary.BigEndian.AppendUint64(b, uint64(gen))
		h := (uint64(id) + uint64(gen)<<40 + 1) * 0x9e3779b97f4a7c15
		h = (h ^ h>>29) * 0xbf58476d1ce4e5b9
		for range 8 {
			b = append(b, 'a'+byte(h%26))
			h /= 26
		}
		b = append(b, "-a longer text"...)
		return [][]byte{b[:8], b[16:], b[8:16]}
	}}
}

func TestReadersSeeAllOfOneGeneration(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	const rows = 20000
	load(t, s, "a", plainFeed(2, rows/2, 2, 0))
	load(t, s, "b", plainFeed(2, rows/2, 2, 0))
	if err := s.Commit(ctx, func(tx *Tx) error {
		return tx.View("v", "SELECT gen FROM a UNION ALL SELECT gen FROM b")
	}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var reads atomic.Int64
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := s.with(func(se *Session) error {
					return se.query(ctx, "SELECT count(*), min(gen), max(gen) FROM v", nil, func(r ownRow) error {
						if r.int(0) != 2*rows || r.int(1) != r.int(2) {
							t.Errorf("%d rows of generations %d to %d", r.int(0), r.int(1), r.int(2))
						}
						return nil
					})
				})
				if err != nil {
					t.Error(err)
					return
				}
				reads.Add(1)
			}
		})
	}
	for gen := range int64(8) {
		a, b := mustStage(t, s, "a", plainFeed(2, rows/2, 2, gen+1), true), mustStage(t, s, "b", plainFeed(2, rows/2, 2, gen+1), true)
		begin := time.Now()
		if err := s.Commit(ctx, func(tx *Tx) error {
			if err := tx.Swap("a", a); err != nil {
				return err
			}
			return tx.Swap("b", b)
		}); err != nil {
			t.Fatal(err)
		}
		t.Log("swap and checkpoint", time.Since(begin))
	}
	close(stop)
	wg.Wait()
	if reads.Load() == 0 {
		t.Error("nobody read")
	}
	equal(t, "tables", lines(t, s, "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main' ORDER BY 1"), "[a b]")
}

func TestAnOldReaderKeepsItsRowsAndHoldsItsSpace(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	const rows = 200000
	load(t, s, "a", plainFeed(2, rows/2, 2, 1))
	se := session(t, s)
	if _, err := se.exec(ctx, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if n, err := se.queryInt(ctx, "SELECT min(gen) FROM a"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	load(t, s, "a", plainFeed(2, rows/2, 2, 2))
	if n, err := se.queryInt(ctx, "SELECT sum(gen)::BIGINT FROM a"); n != rows || err != nil {
		t.Errorf("the old reader sees %d %v", n, err)
	}
	if n, err := s.CountRows(ctx, "a"); n != rows || err != nil {
		t.Error(n, err)
	}
	equal(t, "the others", lines(t, s, "SELECT min(gen), max(gen) FROM a"), "[2|2]")
	if !s.reclaim.Load() {
		t.Error("the space is held, and this is not remembered")
	}
	if _, err := se.exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	// The next commit frees it, whatever it is about.
	if err := s.Commit(ctx, func(*Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if s.reclaim.Load() {
		t.Error("the space is not freed")
	}
	equal(t, "rows", lines(t, s, "SELECT min(gen), max(gen), count(*) FROM a"), fmt.Sprintf("[2|2|%d]", rows))
}

func TestTheFileDoesNotGrowWithSwaps(t *testing.T) {
	s := openTest(t, Options{})
	var first, most int64
	for i := range 30 {
		load(t, s, "a", plainFeed(6, 50000, 3, int64(i%2)))
		size, wal, _, err := s.Size()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = size
		}
		most = max(most, size+wal)
		if size+wal > 3*first {
			t.Fatalf("after %d swaps the file has %d bytes, after one %d", i+1, size+wal, first)
		}
	}
	t.Logf("%d bytes after one swap, at most %d after 30", first, most)
}

// A dataset whose loads always fail must not fill the disk.
func TestTheFileDoesNotGrowWithFailures(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	load(t, s, "a", plainFeed(6, 50000, 3, 0))
	first, _, _, err := s.Size()
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(10) {
		f := plainFeed(6, 50000, 3, i)
		f.fail = func(part, k int) error {
			if part == 5 && k == 49999 {
				return fault.New(fault.SourceUnavailable, "", "gone")
			}
			return nil
		}
		if _, err := s.Stage(ctx, "a", f.cols, f, true); fault.CodeOf(err) != fault.SourceUnavailable {
			t.Fatal(err)
		}
		// And one that is loaded, but not taken.
		s.Discard(ctx, mustStage(t, s, "a", plainFeed(6, 50000, 3, i), true))
		size, wal, _, err := s.Size()
		if err != nil {
			t.Fatal(err)
		}
		if size+wal > 3*first {
			t.Fatalf("after %d failures the file has %d bytes, before them %d", i+1, size, first)
		}
	}
}

func TestRollbackLeavesAllAsItWas(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	load(t, s, "a", plainFeed(1, 100, 1, 1))
	st := mustStage(t, s, "a", plainFeed(1, 50, 1, 2), true)
	err := s.Commit(ctx, func(tx *Tx) error {
		if err := tx.Swap("a", st); err != nil {
			return err
		}
		if err := tx.SaveTable(TableState{Dataset: "d", Target: "a"}); err != nil {
			return err
		}
		return fault.New(fault.DataMismatch, "", "stop here")
	})
	equal(t, "code", fault.CodeOf(err), fault.DataMismatch)
	equal(t, "rows", lines(t, s, "SELECT count(*), max(gen) FROM a"), "[100|1]")
	ts, err := s.Tables(ctx)
	equal(t, "state", []any{len(ts), err}, "[0 <nil>]")
	// A panic rolls back as well.
	func() {
		defer func() { _ = recover() }()
		_ = s.Commit(ctx, func(tx *Tx) error {
			if err := tx.Swap("a", st); err != nil {
				t.Error(err)
			}
			panic("a defect")
		})
	}()
	equal(t, "rows", lines(t, s, "SELECT count(*), max(gen) FROM a"), "[100|1]")
	// The staged rows are still there, for a second try.
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.Swap("a", st) }); err != nil {
		t.Fatal(err)
	}
	s.Discard(ctx, st)
	s.Discard(ctx, st)
	equal(t, "rows", lines(t, s, "SELECT count(*), max(gen) FROM a"), "[50|2]")
}

func TestNames(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	long := strings.Repeat("n", 63)
	for _, name := range []string{`we"ird`, "it's", "Ünïcödé 😀", "select", " leading", "semi;colon", "per%cent", "new\nline", long, "Orders"} {
		cols := []Column{{Name: "id", Type: types.Of(oidInt8, -1, nil)}, {Name: name + "_c", Type: types.Of(oidTexts, -1, nil)}, {Name: `q"` + name, Type: types.Of(oidTSTZ, -1, nil)}}
		load(t, s, name, rowsOf(cols, [][]byte{i64(1), nil, i64(0)}, [][]byte{i64(2), nil, nil}))
		st := mustStage(t, s, name, rowsOf(cols, [][]byte{i64(2), nil, i64(5)}, [][]byte{i64(3), nil, nil}), false)
		if err := s.CheckKey(ctx, st, []string{"id"}); err != nil {
			t.Error(err)
		}
		if err := s.Commit(ctx, func(tx *Tx) error {
			ins, upd, err := tx.Merge(name, st, []string{"id"}, cols)
			equal(t, name, []int64{ins, upd}, "[1 1]")
			if err != nil {
				return err
			}
			if _, _, err := tx.Rewrite(name, st, KeyRange{Column: `q"` + name, Low: "2000-01-01 00:00:00+00", OrNull: true}, cols); err != nil {
				return err
			}
			if err := tx.View(name+"_view", "SELECT * FROM "+quote(name)); err != nil {
				return err
			}
			return tx.SaveTable(TableState{Target: name, Dataset: name})
		}); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		s.Discard(ctx, st)
		if err := s.Commit(ctx, func(tx *Tx) error {
			if err := tx.DropView(name + "_view"); err != nil {
				return err
			}
			if err := tx.AddColumn(name, Column{Name: name + "_d", Type: types.Of(oidInt4, -1, nil)}); err != nil {
				return err
			}
			return tx.RenameColumn(name, name+"_d", name+"_e")
		}); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if _, err := s.MaxOf(ctx, name, `q"`+name); err != nil {
			t.Error(err)
		}
		if n, err := s.CountRows(ctx, name); n != 2 || err != nil {
			t.Error(n, err)
		}
	}
	// Names that differ in case only are one name; the last spelling stays.
	load(t, s, "ORDERS", plainFeed(1, 7, 1, 0))
	equal(t, "names", lines(t, s, "SELECT table_name, estimated_size FROM duckdb_tables() WHERE lower(table_name) = 'orders'"), "[ORDERS|7]")
}

func TestSwapTakesThePlaceOfAView(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	load(t, s, "base", plainFeed(1, 3, 1, 0))
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.View("d", "SELECT * FROM base") }); err != nil {
		t.Fatal(err)
	}
	load(t, s, "D", plainFeed(1, 5, 1, 0))
	equal(t, "rows", lines(t, s, "SELECT count(*) FROM d"), "[5]")
	// And a view that of a table.
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.View("d", "SELECT * FROM base WHERE id < 2") }); err != nil {
		t.Fatal(err)
	}
	equal(t, "rows", lines(t, s, "SELECT count(*) FROM d"), "[2]")
	err := s.Commit(ctx, func(tx *Tx) error { return tx.View("d", "SELECT nothing FROM base") })
	equal(t, "a view that cannot be made", []any{fault.CodeOf(err), lines(t, s, "SELECT count(*) FROM d")}, "[shape_mismatch [2]]")
}

func TestColumnsChange(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := []Column{col("a", oidInt4, -1), col("b", oidText, -1)}
	load(t, s, "c", rowsOf(cols, [][]byte{i32(1), txt("x")}, [][]byte{i32(2), txt("12")}))
	for _, step := range []func(tx *Tx) error{
		func(tx *Tx) error { return tx.AddColumn("c", col("d", oidNumeric, numericMod(10, 2))) },
		func(tx *Tx) error { return tx.AlterType("c", col("a", oidInt8, -1)) },
		func(tx *Tx) error { return tx.RenameColumn("c", "b", "B2") },
	} {
		if err := s.Commit(ctx, step); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "columns", lines(t, s, "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'c' ORDER BY column_index"), "[a|BIGINT B2|VARCHAR d|DECIMAL(10,2)]")
	err := s.Commit(ctx, func(tx *Tx) error { return tx.AlterType("c", col("B2", oidInt4, -1)) })
	equal(t, "a value that does not fit", fault.CodeOf(err), fault.ShapeMismatch)
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.DropColumn("c", "B2") }); err != nil {
		t.Fatal(err)
	}
	err = s.Commit(ctx, func(tx *Tx) error { return tx.DropColumn("c", "none") })
	equal(t, "a column that is not there", fault.CodeOf(err), fault.ShapeMismatch)
	equal(t, "rows", lines(t, s, "SELECT * FROM c ORDER BY a"), "[1|NULL 2|NULL]")
}

func TestNothingIsSpilledBesideAClosedFile(t *testing.T) {
	s := openTest(t, Options{MemoryLimit: 64 << 20})
	if _, err := os.Stat(s.path + ".tmp"); err == nil {
		t.Log("the folder is made at once")
	}
	st := mustStage(t, s, "m", plainFeed(4, 400000, 2, 0), false)
	equal(t, "rows", st.Rows, 1600000)
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(s.path + ".tmp"); err == nil && len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
