package store

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// opRow is a row of a batch; the values of the columns without come from the copy.
type opRow struct {
	op      change.Op
	row     [][]byte
	without []int
}

// opFeed gives the rows of a batch as a stream does.
type opFeed struct {
	cols      []Column
	unchanged []int
	rows      int
	row       func(i int) opRow
	stamp     func(i int) change.Stamp // nil: the table keeps nothing
	count     func(i int) int32        // nil: the table has a key
	began     bool
	at        int
	dec       *types.Decoder
	buf       []byte
}

func opsOf(cols []Column, unchanged []int, rows ...opRow) *opFeed {
	return &opFeed{cols: cols, unchanged: unchanged, rows: len(rows), row: func(i int) opRow { return rows[i] }}
}

func (f *opFeed) Workers() int { return 1 }
func (f *opFeed) Close() error { return nil }

func (f *opFeed) Next(context.Context) (change.Reader, error) {
	if f.began {
		return nil, io.EOF
	}
	f.began = true
	f.dec = types.NewDecoder(typesOf(f.cols))
	return f, nil
}

func (f *opFeed) Read(c *change.Chunk) (int, error) {
	n := min(f.rows-f.at, change.ChunkRows)
	f.buf = f.buf[:0]
	ends := []int{0}
	for i := range n {
		r := f.row(f.at + i)
		f.buf = appendRow(f.buf, r.row)
		ends = append(ends, len(f.buf))
		*change.At[change.Op](&c.Vectors[0], i) = r.op
		for k, u := range f.unchanged {
			*change.At[bool](&c.Vectors[1+len(f.cols)+k], i) = slices.Contains(r.without, u)
		}
		at := 1 + len(f.cols) + len(f.unchanged)
		if f.stamp != nil {
			by := f.stamp(f.at + i)
			*change.At[change.LSN](&c.Vectors[at], i) = by.LSN
			*change.At[int64](&c.Vectors[at+1], i) = by.At.UnixMicro()
			at += 2
		}
		if f.count != nil {
			*change.At[int32](&c.Vectors[at], i) = f.count(f.at + i)
		}
	}
	f.buf = append(f.buf, make([]byte, types.Slack)...)
	own := &change.Chunk{Vectors: c.Vectors[1 : 1+len(f.cols)]}
	for i := range n {
		if err := f.dec.DecodeRow(own, i, f.buf[ends[i]:ends[i+1]]); err != nil {
			return 0, err
		}
	}
	f.at += n
	return n, nil
}

// stageOps stages a batch's changes of one table.
func stageOps(t testing.TB, s *Store, target string, key []string, f *opFeed) Changes {
	t.Helper()
	return stageKept(t, s, target, key, change.Keep{}, f)
}

func stageKept(t testing.TB, s *Store, target string, key []string, keep change.Keep, f *opFeed) Changes {
	t.Helper()
	c := Changes{Target: target, Key: key, Cols: f.cols, Keep: keep, Unchanged: f.unchanged, Prove: true}
	if len(key) == 0 && f.count == nil {
		f.count = func(int) int32 { return 1 }
	}
	for i := range f.rows {
		if f.row(i).op != change.OpInsert {
			c.Deletes++
		}
	}
	st, err := s.Stage(context.Background(), target, c.StagedColumns(), f, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Discard(context.Background(), st) })
	c.Staged = st
	return c
}

// applyAll applies changes in one commit and returns the counts.
func applyAll(s *Store, changes ...Changes) (counts []int64, err error) {
	err = s.Commit(context.Background(), func(tx *Tx) error {
		counts = nil
		for _, c := range changes {
			ins, upd, del, err := tx.Apply(c)
			if err != nil {
				return err
			}
			counts = append(counts, ins, upd, del)
		}
		return nil
	})
	return counts, err
}

func apply1(t testing.TB, s *Store, target string, key []string, cols []Column, unchanged []int, rows ...opRow) []int64 {
	t.Helper()
	counts, err := applyAll(s, stageOps(t, s, target, key, opsOf(cols, unchanged, rows...)))
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func makeSchema(t testing.TB, s *Store, names ...string) {
	t.Helper()
	if err := s.Commit(context.Background(), func(tx *Tx) error {
		for _, n := range names {
			if err := tx.MakeSchema(n); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestBatchesAgainstAModel applies random histories to two tables in one commit, of which some fail, and compares with maps.
func TestBatchesAgainstAModel(t *testing.T) {
	ctx := context.Background()
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := openTest(t, Options{})
	kinds := append([]Column{col("k2", oidText, -1)}, kinds()...)
	texts := []Column{col("I.d", oidInt4, -1), col(`bo"dy`, oidText, -1), col("n", oidNumeric, numericMod(30, 5)), col("Tags", oidTexts, -1), col(`"doc"`, oidJSONB, -1)}
	tables := []struct {
		target    string
		cols      []Column
		key       []string
		unchanged []int
		model     map[string][][]byte
	}{
		{`Sch"ema.or.ders`, kinds, []string{"id", "k2"}, []int{len(kinds) - 1, 2, 5}, map[string][][]byte{}},
		{"other." + strings.Repeat("x", 62) + `"`, texts, []string{"I.d"}, []int{1, 3, 4}, map[string][][]byte{}},
	}
	makeSchema(t, s, `Sch"ema`, "other", "other")
	for _, tb := range tables {
		load(t, s, tb.target, rowsOf(tb.cols))
	}
	rowAt := func(cols []Column, keys int) [][]byte {
		row := make([][]byte, len(cols))
		if keys == 2 {
			if r.IntN(4) > 0 {
				row[0] = txt(string(rune('a' + r.IntN(3))))
			}
			if r.IntN(50) > 0 {
				row[1] = i64(int64(r.IntN(600)))
			}
		} else {
			row[0] = i32(int32(r.IntN(3000)))
		}
		for c := keys; c < len(cols); c++ {
			if r.IntN(6) == 0 {
				continue
			}
			row[c] = anyButNegativeZero(r, &cols[c].Type)
		}
		return row
	}
	lsn := change.LSN(1)
	for round := range 40 {
		var changes []Changes
		var want []int64
		next := make([]map[string][][]byte, len(tables))
		for k := range tables {
			tb := &tables[k]
			keys := len(tb.key)
			old := maps.Clone(tb.model)
			var ins, upd, del, missing, ups int64
			truncate := r.IntN(8) == 0
			if truncate {
				del = int64(len(old))
				clear(old)
			}
			model := maps.Clone(old)
			seen := map[string]bool{}
			var ops []opRow
			for range r.IntN([]int{2, 30, 3000}[r.IntN(3)]) {
				row := rowAt(tb.cols, keys)
				id := string(appendRow(nil, row[:keys]))
				if seen[id] {
					continue
				}
				seen[id] = true
				was, there := old[id]
				op := opRow{op: change.OpUpsert, row: row}
				switch {
				case r.IntN(4) == 0:
					op.op = change.OpDelete
				case !there && r.IntN(3) > 0:
					op.op = change.OpInsert
				}
				final := slices.Clone(row)
				if op.op == change.OpUpsert && there {
					for _, u := range tb.unchanged {
						if r.IntN(3) == 0 {
							op.without = append(op.without, u)
							final[u], op.row[u] = was[u], nil
						}
					}
				}
				switch {
				case op.op == change.OpDelete:
					delete(model, id)
					if del++; !there {
						del--
						missing++
					}
				case op.op == change.OpInsert:
					ins++
					model[id] = final
				default:
					ups++
					if model[id] = final; !there {
						missing++
					}
				}
				ops = append(ops, op)
			}
			// The rows that are not there are counted as upserts.
			dels := int64(len(ops)) - ins - ups
			found := ups + dels - missing
			upd = min(ups, max(0, found-dels))
			before := int64(len(tb.model) - len(old))
			want = append(want, ins+ups-upd, upd, before+found-upd)
			if len(model)-len(tb.model) != int(ins+ups-upd-before-found+upd) {
				t.Fatal("the test's own counts are wrong")
			}
			c := Changes{Target: tb.target, Cols: tb.cols, Truncate: truncate}
			if len(ops) > 0 || r.IntN(2) == 0 {
				c = stageOps(t, s, tb.target, tb.key, opsOf(tb.cols, tb.unchanged, ops...))
				c.Truncate, c.Prove = truncate, r.IntN(2) == 0
			}
			changes, next[k] = append(changes, c), model
		}
		lsn += change.LSN(1 + r.Uint64N(1<<40))
		fail := r.IntN(4) == 0
		var got []int64
		err := s.Commit(ctx, func(tx *Tx) error {
			got = nil
			for _, c := range changes {
				ins, upd, del, err := tx.Apply(c)
				if err != nil {
					return err
				}
				got = append(got, ins, upd, del)
			}
			if err := tx.SavePosition("d", change.Position{LSN: lsn, System: "7", Timeline: 1}); err != nil {
				return err
			}
			if fail {
				return fault.New(fault.Cancelled, "", "stop")
			}
			return nil
		})
		if fail != (err != nil) {
			t.Fatalf("round %d: %v", round, err)
		}
		equal(t, fmt.Sprint("counts of round ", round), got, want)
		for k := range tables {
			if !fail {
				tables[k].model = next[k]
			}
			compare(t, s, tables[k].target, tables[k].cols, len(tables[k].key), tables[k].model)
		}
		ps, err := s.Positions(ctx)
		if err != nil || !fail && ps["d"].LSN != lsn || fail && ps["d"].LSN == lsn {
			t.Fatalf("round %d: %v %v, want %s", round, ps, err, lsn)
		}
		if r.IntN(10) == 0 {
			if err := s.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestApplyOfTheSecondTableFails(t *testing.T) {
	s := openTest(t, Options{})
	makeSchema(t, s, "x")
	cols := []Column{col("id", oidInt8, -1), col("v", oidText, -1)}
	for _, name := range []string{"x.a", "x.b"} {
		load(t, s, name, rowsOf(cols, [][]byte{i64(1), txt("one")}, [][]byte{i64(2), txt("two")}))
	}
	a := stageOps(t, s, "x.a", []string{"id"}, opsOf(cols, nil, opRow{op: change.OpDelete, row: [][]byte{i64(1), nil}}, opRow{op: change.OpInsert, row: [][]byte{i64(3), txt("three")}}))
	for name, c := range map[string]struct {
		rows []opRow
		says string
		edit func(c *Changes)
	}{
		"insert of a row that is there": {[]opRow{{op: change.OpInsert, row: [][]byte{i64(2), nil}}, {op: change.OpInsert, row: [][]byte{i64(9), nil}}}, "1 rows to be inserted are in the copy", nil},
		"a key twice":                   {[]opRow{{op: change.OpUpsert, row: [][]byte{i64(2), nil}}, {op: change.OpDelete, row: [][]byte{i64(2), nil}}}, "1 keys come more than once", nil},
		"unchanged, not there": {[]opRow{{change.OpUpsert, [][]byte{i64(2), nil}, []int{1}}, {change.OpUpsert, [][]byte{i64(8), nil}, []int{1}}, {change.OpUpsert, [][]byte{i64(9), nil}, []int{1}},
			{change.OpDelete, [][]byte{i64(10), nil}, []int{1}}}, "2 rows came without", nil},
		"unchanged, inserted":  {[]opRow{{change.OpInsert, [][]byte{i64(8), nil}, []int{1}}}, "1 rows came without", nil},
		"unchanged, truncated": {[]opRow{{change.OpUpsert, [][]byte{i64(2), nil}, []int{1}}}, "1 rows came without", func(c *Changes) { c.Truncate = true }},
	} {
		un := []int(nil)
		if strings.HasPrefix(name, "unchanged") {
			un = []int{1}
		}
		b := stageOps(t, s, "x.b", []string{"id"}, opsOf(cols, un, c.rows...))
		if c.edit != nil {
			c.edit(&b)
		}
		_, err := applyAll(s, a, b)
		if fault.CodeOf(err) != fault.DataMismatch || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "x.b") || fault.HintOf(err) == "" {
			t.Errorf("%s: %s %v", name, fault.CodeOf(err), err)
		}
		equal(t, name, []any{lines(t, s, "SELECT * FROM x.a ORDER BY id"), lines(t, s, "SELECT * FROM x.b ORDER BY id")}, "[[1|one 2|two] [1|one 2|two]]")
	}
	// What is wrong with the caller's words.
	wrong := a
	wrong.Deletes = 0
	_, err := applyAll(s, wrong)
	equal(t, "deletes", fault.CodeOf(err), fault.Internal)
	wrong = a
	wrong.Key = nil
	_, err = applyAll(s, wrong)
	equal(t, "no key", fault.CodeOf(err), fault.Internal)
	b := stageOps(t, s, "x.b", []string{"id"}, opsOf(cols, nil, opRow{op: 7, row: [][]byte{i64(5), nil}}))
	_, err = applyAll(s, b)
	equal(t, "no such op", fault.CodeOf(err), fault.Internal)
	if _, err := applyAll(s, a); err != nil {
		t.Fatal(err)
	}
	equal(t, "at last", lines(t, s, "SELECT * FROM x.a ORDER BY id"), "[2|two 3|three]")
}

func TestTruncateThenInsert(t *testing.T) {
	s := openTest(t, Options{})
	cols := []Column{col("id", oidInt8, -1), col("v", oidText, -1)}
	load(t, s, "t", plainlyNumbered(cols, 5000))
	c := stageOps(t, s, "t", []string{"id"}, opsOf(cols, nil, opRow{op: change.OpInsert, row: [][]byte{i64(1), txt("new")}}, opRow{op: change.OpUpsert, row: [][]byte{i64(2), nil}}, opRow{op: change.OpDelete, row: [][]byte{i64(3), nil}}))
	c.Truncate = true
	n, err := applyAll(s, c)
	equal(t, "counts", []any{n, err}, "[[2 0 5000] <nil>]")
	equal(t, "rows", lines(t, s, "SELECT * FROM t ORDER BY id"), "[1|new 2|NULL]")
	n, err = applyAll(s, Changes{Target: "t", Truncate: true}, Changes{Target: "t"})
	equal(t, "nothing staged", []any{n, err, lines(t, s, "SELECT count(*) FROM t")}, "[[0 0 2 0 0 0] <nil> [0]]")
}

func plainlyNumbered(cols []Column, rows int) *fakeFeed {
	return &fakeFeed{cols: cols, parts: 1, workers: 1, rows: func(int) int { return rows }, row: func(_, i int) [][]byte {
		row := make([][]byte, len(cols))
		row[0] = i64(int64(i))
		for k := 1; k < len(row); k++ {
			row[k] = fmt.Appendf(nil, "value %d of %d", k, i)
		}
		return row
	}}
}

func TestApplyWithoutAKey(t *testing.T) {
	s := openTest(t, Options{})
	cols := []Column{col("id", oidInt8, -1)}
	load(t, s, "t", rowsOf(cols, [][]byte{i64(1)}))
	equal(t, "counts", apply1(t, s, "t", nil, cols, nil, opRow{op: change.OpInsert, row: [][]byte{i64(1)}}, opRow{op: change.OpInsert, row: [][]byte{i64(1)}}), "[2 0 0]")
	equal(t, "rows", lines(t, s, "SELECT id FROM t"), "[1 1 1]")
}

func TestApplyWithNullsInACompositeKey(t *testing.T) {
	s := openTest(t, Options{})
	cols := []Column{col("a", oidInt4, -1), col("b", oidText, -1), col("v", oidText, -1)}
	load(t, s, "m", rowsOf(cols, [][]byte{i32(1), nil, txt("10")}, [][]byte{nil, txt("x"), txt("20")}, [][]byte{nil, nil, txt("30")}, [][]byte{i32(1), txt("x"), txt("40")}, [][]byte{i32(3), nil, txt("60")}))
	for range 2 {
		apply1(t, s, "m", []string{"A", "b"}, cols, []int{2}, opRow{change.OpUpsert, [][]byte{i32(1), nil, nil}, []int{2}}, opRow{change.OpUpsert, [][]byte{nil, txt("x"), txt("21")}, nil},
			opRow{change.OpUpsert, [][]byte{nil, nil, txt("31")}, nil}, opRow{change.OpUpsert, [][]byte{i32(2), nil, txt("50")}, nil}, opRow{change.OpDelete, [][]byte{i32(3), nil, nil}, nil})
	}
	equal(t, "rows", lines(t, s, "SELECT a, b, v FROM m ORDER BY v"), "[1|NULL|10 NULL|x|21 NULL|NULL|31 1|x|40 2|NULL|50]")
}

// Enough rows that values are looked up in pieces, and so many that they are not.
func TestUnchangedValuesOfAWideTable(t *testing.T) {
	s := openTest(t, Options{})
	cols := []Column{col("id", oidInt8, -1), col("v", oidText, -1), col("w", oidText, -1)}
	const rows = 700_000
	load(t, s, "t", plainlyNumbered(cols, rows))
	for _, n := range []int64{1, pieceRows, pieceRows + 1, 3*pieceRows - 1, 5000} {
		var ops []opRow
		for i := range n {
			ops = append(ops, opRow{change.OpUpsert, [][]byte{i64(i * 131 * 131 * 131 % rows), nil, fmt.Appendf(nil, "%d", n)}, []int{1}})
		}
		equal(t, "counts", apply1(t, s, "t", []string{"id"}, cols, []int{1}, ops...), []int64{0, n, 0})
		equal(t, "rows", lines(t, s, fmt.Sprintf("SELECT count(*), count(DISTINCT id), count(*) FILTER (v = 'value 1 of ' || id), count(*) FILTER (w = '%d') FROM t", n)), fmt.Sprintf("[%d|%[1]d|%[1]d|%d]", rows, n))
	}
}

// What DuckDB cannot hold of an unchanged value stays in the column that keeps it as text.
func TestUnchangedValueOutOfRange(t *testing.T) {
	s := openTest(t, Options{})
	cols := []Column{col("id", oidInt8, -1), col("a/b~c\"", oidTexts, -1), col("n", oidNumeric, numericMod(10, 2)), col(change.TextColumn, oidText, -1)}
	load(t, s, "t", rowsOf(cols, [][]byte{i64(1), nil, nil, txt(`{"a/b~c\"":"{{1},{2}}","n":"9999999999999"}`)}, [][]byte{i64(2), nil, nil, txt(`{"n":"NaN"}`)}, [][]byte{i64(3), nil, nil, txt(`{"a/b~c\"":"[0:1]={a,\"b\"}"}`)}, [][]byte{i64(4), nil, nil, nil}))
	up := func(id int64, text []byte, without ...int) opRow {
		return opRow{change.OpUpsert, [][]byte{i64(id), nil, nil, text}, without}
	}
	apply1(t, s, "t", []string{"id"}, cols, []int{1}, up(1, nil, 1), up(2, nil, 1), up(3, txt(`{"n": "Infinity"}`), 1), up(4, txt(`{"n": "5e99"}`), 1))
	equal(t, "rows", lines(t, s, "SELECT id, "+change.TextColumn+" FROM t ORDER BY id"), `[1|{"a/b~c\"":"{{1},{2}}"} 2|NULL 3|{"n":"Infinity","a/b~c\"":"[0:1]={a,\"b\"}"} 4|{"n": "5e99"}]`)
	apply1(t, s, "t", []string{"id"}, cols, []int{1}, up(1, txt(`{}`)), up(3, nil, 1))
	equal(t, "rows", lines(t, s, "SELECT id, "+change.TextColumn+" FROM t WHERE id IN (1, 3) ORDER BY id"), `[1|{} 3|{"a/b~c\"":"[0:1]={a,\"b\"}"}]`)
}

func TestApplyOfSixteenHundredColumns(t *testing.T) {
	s := openTest(t, Options{})
	makeSchema(t, s, "Wide")
	target := "Wide." + strings.Repeat("É", 31) + "x"
	cols := []Column{col("id", oidInt8, -1)}
	for i := 1; i < 1600; i++ {
		cols = append(cols, col(fmt.Sprintf("column %d", i), oidText, -1))
	}
	load(t, s, target, plainlyNumbered(cols, 10))
	var unchanged []int
	for i := 1; i < 1600; i++ {
		unchanged = append(unchanged, i)
	}
	row := make([][]byte, 1600)
	row[0] = i64(3)
	begin := time.Now()
	equal(t, "counts", apply1(t, s, target, []string{"id"}, cols, unchanged, opRow{change.OpUpsert, row, unchanged}), "[0 1 0]")
	t.Log(time.Since(begin))
	model := map[string][][]byte{}
	f := plainlyNumbered(cols, 10)
	for i := range 10 {
		r := f.row(0, i)
		model[string(appendRow(nil, r[:1]))] = r
	}
	compare(t, s, target, cols, 1, model)
}

// A batch of new rows and a few old ones reads the row groups that they are in, and none of those between.
func TestApplySkipsRowGroups(t *testing.T) {
	const rows, group = 1_000_000, rowGroupRows
	s := openTest(t, Options{Threads: 1})
	cols := []Column{col("id", oidInt8, -1)}
	load(t, s, "t", plainlyNumbered(cols, rows))
	var ops []opRow
	for i := range int64(1000) {
		ops = append(ops, opRow{op: change.OpUpsert, row: [][]byte{i64(rows - 1 - i)}})
	}
	ops[0].row[0] = i64(5)
	c := stageOps(t, s, "t", []string{"id"}, opsOf(cols, nil, ops...))
	var plan string
	if err := s.Commit(t.Context(), func(tx *Tx) error {
		if _, _, _, err := tx.Apply(c); err != nil {
			return err
		}
		// What Apply did is done again, and looked at.
		return tx.se.query(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) DELETE FROM t USING "+c.Staged.sql+" AS s WHERE t.id = s.id", nil, func(r ownRow) error { plan = r.text(1); return nil })
	}); err != nil {
		t.Fatal(err)
	}
	// The first one is of the whole plan.
	_, rest, _ := strings.Cut(plan, `"cumulative_rows_scanned":`)
	number, _, _ := strings.Cut(rest, ",")
	scanned, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil || scanned < len(ops) || scanned > 2*group+2*len(ops) {
		t.Errorf("%d rows were read (%v), want two row groups at most:\n%s", scanned, err, plan)
	}
	equal(t, "rows left", lines(t, s, "SELECT count(*) FROM t"), fmt.Sprint([]int{rows - len(ops)}))
}
