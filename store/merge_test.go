package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// merge stages rows and merges them.
func merge(t testing.TB, s *Store, target string, key []string, cols []Column, rows ...[][]byte) (inserted, updated int64) {
	t.Helper()
	st := mustStage(t, s, target, rowsOf(cols, rows...), false)
	defer s.Discard(context.Background(), st)
	if err := s.Commit(context.Background(), func(tx *Tx) (err error) {
		inserted, updated, err = tx.Merge(target, st, key, cols)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return inserted, updated
}

func TestMergeWithNullsInACompositeKey(t *testing.T) {
	s := openTest(t, Options{})
	cols := []Column{col("a", oidInt4, -1), col("b", oidText, -1), col("v", oidInt4, -1)}
	load(t, s, "m", rowsOf(cols, [][]byte{i32(1), nil, i32(10)}, [][]byte{nil, txt("x"), i32(20)}, [][]byte{nil, nil, i32(30)}, [][]byte{i32(1), txt("x"), i32(40)}))
	for range 2 {
		merge(t, s, "m", []string{"a", "b"}, cols, [][]byte{i32(1), nil, i32(11)}, [][]byte{nil, txt("x"), i32(21)}, [][]byte{nil, nil, i32(31)}, [][]byte{i32(2), nil, i32(50)})
	}
	equal(t, "rows", lines(t, s, "SELECT a, b, v FROM m ORDER BY v"), "[1|NULL|11 NULL|x|21 NULL|NULL|31 1|x|40 2|NULL|50]")
}

func TestMergeSeesEveryBit(t *testing.T) {
	s := openTest(t, Options{})
	f4 := func(x float32) []byte { return binary.BigEndian.AppendUint32(nil, math.Float32bits(x)) }
	list := func(oid uint32, elems ...[]byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, 1)
		b = append(b, 0, 0, 0, 0)
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, oid), uint32(len(elems)))
		b = binary.BigEndian.AppendUint32(b, 1)
		for _, e := range elems {
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(e))), e...)
		}
		return b
	}
	timetz := func(us int64, west int32) []byte { return append(i64(us), i32(west)...) }
	neg := math.Copysign(0, -1)
	for name, c := range map[string]struct {
		col  Column
		a, b []byte
	}{
		"interval":        {col("v", oidInterval, -1), interval(1, 0, 0), interval(0, 30, 0)},
		"interval hours":  {col("v", oidInterval, -1), interval(0, 1, 0), interval(0, 0, 86400e6)},
		"double zero":     {col("v", oidFloat8, -1), f64(0), f64(neg)},
		"float zero":      {col("v", oidFloat4, -1), f4(0), f4(float32(neg))},
		"timetz":          {col("v", oidTimeTZ, -1), timetz(43200e6, 0), timetz(46800e6, -3600)},
		"list of doubles": {col("v", oidFloat8s, -1), list(oidFloat8, f64(1), f64(0)), list(oidFloat8, f64(1), f64(neg))},
		"list of spans":   {col("v", oidIntervals, -1), list(oidInterval, interval(1, 0, 0)), list(oidInterval, interval(0, 30, 0))},
		"json":            {col("v", oidJSON, -1), txt(`{"a":1}`), txt(`{"a": 1}`)},
		"text case":       {col("v", oidText, -1), txt("a"), txt("A")},
		"trailing blank":  {col("v", oidText, -1), txt("a"), txt("a ")},
		"NULL":            {col("v", oidText, -1), nil, txt("")},
		"to NULL":         {col("v", oidInt8, -1), i64(0), nil},
		"last bit":        {col("v", oidFloat8, -1), f64(1), f64(math.Nextafter(1, 2))},
		"decimal":         {col("v", oidNumeric, numericMod(38, 2)), anyNumeric(rand.New(rand.NewPCG(1, 1)), 38, 2), anyNumeric(rand.New(rand.NewPCG(1, 2)), 38, 2)},
		"list with NULL":  {col("v", oidInt8s, -1), list(oidInt8, i64(1)), nil},
		"bytea":           {col("v", oidBytea, -1), []byte{0}, []byte{0, 0}},
	} {
		cols := []Column{col("id", oidInt8, -1), c.col}
		load(t, s, name, rowsOf(cols, [][]byte{i64(1), c.a}, [][]byte{i64(2), c.a}))
		same := c.a
		ins, upd := merge(t, s, name, []string{"id"}, cols, [][]byte{i64(1), c.b}, [][]byte{i64(2), same})
		equal(t, name, []int64{ins, upd}, "[0 1]")
		var got [][]byte
		scanRows(t, s, "SELECT v FROM "+s.table(name)+" ORDER BY id", []Column{c.col}, func(_ *change.Chunk, row [][]byte) { got = append(got, row[0]) })
		if len(got) != 2 {
			t.Fatalf("%s: %d rows", name, len(got))
		}
		for i, want := range [][]byte{c.b, c.a} {
			sameRow(t, fmt.Sprintf("%s: row %d", name, i), []Column{c.col}, got[i:i+1], [][]byte{want})
		}
	}
	// NaN is NaN.
	cols := []Column{col("id", oidInt8, -1), col("v", oidFloat8, -1)}
	load(t, s, "nan", rowsOf(cols, [][]byte{i64(1), f64(math.NaN())}))
	ins, upd := merge(t, s, "nan", []string{"id"}, cols, [][]byte{i64(1), f64(math.NaN())})
	equal(t, "NaN", []int64{ins, upd}, "[0 0]")
}

// The key's own columns may differ though they are equal.
func TestMergeByAKeyOfEqualButDifferentValues(t *testing.T) {
	s := openTest(t, Options{})
	cols := []Column{col("k", oidFloat8, -1)}
	load(t, s, "k", rowsOf(cols, [][]byte{f64(0)}, [][]byte{f64(1)}))
	ins, upd := merge(t, s, "k", []string{"k"}, cols, [][]byte{f64(math.Copysign(0, -1))}, [][]byte{f64(1)}, [][]byte{f64(2)})
	equal(t, "merge", []any{ins, upd, lines(t, s, "SELECT count(*), count(*) FILTER (signbit(k)), sum(k) FROM k")}, "[1 1 [3|1|3.0]]")
}

func TestMergeMatchesColumnsByNameAndHealsDoubles(t *testing.T) {
	s := openTest(t, Options{})
	load(t, s, "n", rowsOf([]Column{col("a", oidInt4, -1), col("B", oidInt4, -1), col("c", oidInt4, -1)}, [][]byte{i32(1), i32(2), i32(3)}, [][]byte{i32(1), i32(2), i32(3)}, [][]byte{i32(5), i32(6), i32(7)}))
	cols := []Column{col("b", oidInt4, -1), col("A", oidInt4, -1)}
	ins, upd := merge(t, s, "n", []string{"a"}, cols, [][]byte{i32(2), i32(1)}, [][]byte{i32(60), i32(5)}, [][]byte{i32(8), i32(9)})
	equal(t, "merge", []any{ins, upd, lines(t, s, "SELECT a, b, c FROM n ORDER BY a")}, "[1 2 [1|2|NULL 5|60|NULL 9|8|NULL]]")
	ins, upd = merge(t, s, "n", []string{"a"}, cols)
	equal(t, "nothing", []int64{ins, upd}, "[0 0]")
	// A column that the target lacks: it must be rebuilt.
	st := mustStage(t, s, "n", rowsOf([]Column{col("a", oidInt4, -1), col("z", oidInt4, -1)}, [][]byte{i32(1), i32(1)}), false)
	err := s.Commit(context.Background(), func(tx *Tx) error {
		_, _, err := tx.Merge("n", st, []string{"a"}, []Column{col("a", oidInt4, -1), col("z", oidInt4, -1)})
		return err
	})
	equal(t, "code", fault.CodeOf(err), fault.ShapeMismatch)
}

// TestMergesAgainstAModel merges random rows of every kind, by a composite key with NULLs, and compares with a map.
func TestMergesAgainstAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := openTest(t, Options{})
	cols := append([]Column{col("k2", oidText, -1)}, kinds()...)
	row := func() [][]byte {
		out := make([][]byte, len(cols))
		if r.IntN(8) > 0 {
			out[0] = txt(string(rune('a' + r.IntN(3))))
		}
		out[1] = i64(int64(r.IntN(2000)))
		v := rand.New(rand.NewPCG(r.Uint64N(3), binary.BigEndian.Uint64(out[1])))
		for c := 2; c < len(cols); c++ {
			if v.IntN(6) > 0 {
				out[c] = anyButNegativeZero(v, &cols[c].Type)
			}
		}
		return out
	}
	keyOf := func(row [][]byte) string { return string(appendRow(nil, row[:2])) }
	model := map[string][][]byte{}
	for round := range 12 {
		batch := map[string][][]byte{}
		for range 1 + r.IntN(1500) {
			x := row()
			batch[keyOf(x)] = x
		}
		var rows [][][]byte
		wantIns, wantUpd := 0, 0
		for k, x := range batch {
			rows = append(rows, x)
			old, ok := model[k]
			switch {
			case !ok:
				wantIns++
			case !bytes.Equal(appendRow(nil, old), appendRow(nil, x)):
				wantUpd++
			}
		}
		maps.Copy(model, batch)
		if round == 0 {
			load(t, s, "m", rowsOf(cols, rows...))
		} else {
			ins, upd := merge(t, s, "m", []string{"id", "k2"}, cols, rows...)
			equal(t, fmt.Sprint("round ", round), []int64{ins, upd}, []int{wantIns, wantUpd})
		}
		compare(t, s, "m", cols, 2, model)
	}
}

func TestDeleteMissing(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := []Column{col("id", oidInt8, -1), col("k", oidText, -1), col("v", oidInt4, -1)}
	var rows [][][]byte
	for i := range int64(10) {
		rows = append(rows, [][]byte{i64(i), txt("k"), i32(0)})
	}
	rows = append(rows, [][]byte{i64(3), nil, i32(0)}, [][]byte{nil, txt("n"), i32(0)})
	load(t, s, "d", rowsOf(cols, rows...))
	keys := []Column{cols[0], cols[1]}
	st := mustStage(t, s, "d", rowsOf(keys, [][]byte{i64(2), txt("k")}, [][]byte{i64(3), nil}), false)
	defer s.Discard(ctx, st)
	do := func(r KeyRange) (n int64) {
		if err := s.Commit(ctx, func(tx *Tx) (err error) {
			n, err = tx.DeleteMissing("d", st, []string{"id", "k"}, r)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	equal(t, "a range", do(KeyRange{Column: "id", Low: "1", High: "5"}), 3) // 1, 3 with k, 4
	equal(t, "rows", lines(t, s, "SELECT id, k FROM d ORDER BY ALL"), "[0|k 2|k 3|NULL 5|k 6|k 7|k 8|k 9|k NULL|n]")
	equal(t, "open at its end", do(KeyRange{Column: "id", Low: "8"}), 2)
	equal(t, "below, and NULL", do(KeyRange{Column: "id", High: "1", OrNull: true}), 2)
	equal(t, "rows", lines(t, s, "SELECT id, k FROM d ORDER BY ALL"), "[2|k 3|NULL 5|k 6|k 7|k]")
	equal(t, "all", do(KeyRange{}), 3)
	equal(t, "rows", lines(t, s, "SELECT id, k FROM d ORDER BY ALL"), "[2|k 3|NULL]")
}

func TestRangeCondition(t *testing.T) {
	text, ts := types.Of(oidText, -1, nil), types.Of(oidTSTZ, -1, nil)
	for _, c := range []struct {
		r    KeyRange
		t    types.Type
		want string
	}{
		{KeyRange{}, text, ""}, {KeyRange{Column: "c", OrNull: true}, text, ""}, {KeyRange{Column: "c"}, text, `"c" IS NOT NULL`},
		{KeyRange{Column: `c"`, Low: "it's"}, text, `("c""" >= CAST('it''s' AS VARCHAR))`},
		{KeyRange{Column: "c", Low: "0044-03-15 00:00:00+00 BC", High: "infinity", OrNull: true}, ts,
			`(("c" >= CAST('0044-03-15 (BC) 00:00:00+00' AS TIMESTAMP WITH TIME ZONE) AND "c" < CAST('infinity' AS TIMESTAMP WITH TIME ZONE)) OR "c" IS NULL)`},
	} {
		equal(t, fmt.Sprintf("%+v", c.r), RangeCondition(c.r, c.t), c.want)
	}
}

func TestCheckKey(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := []Column{col("id", oidInt8, -1), col("t", oidText, -1), col("i4", oidInt4, -1), col("f", oidFloat8, -1)}
	row := func(id int64, t string, n int32) [][]byte { return [][]byte{i64(id), txt(t), i32(n), nil} }
	wide := [][][]byte{row(math.MinInt64, "a", 1), row(math.MaxInt64, "b", 2), row(0, "c", 3)}
	for _, c := range []struct {
		name string
		key  string
		rows [][][]byte
		code fault.Code
		says []string
	}{
		{"nothing", "id", nil, "", nil},
		{"unique", "id", [][][]byte{row(1, "a", 1), row(-5, "a", 1), row(64, "b", 1)}, "", nil},
		{"of wide range", "id", wide, "", nil},
		{"twice", "id", [][][]byte{row(1, "a", 1), row(64, "b", 1), row(1, "c", 1)}, fault.DuplicateKey, []string{"key (id)", "for 1 values", "(1)"}},
		{"twice in a wide range", "id", append(wide, row(0, "d", 9)), fault.DuplicateKey, []string{"(0)"}},
		{"text", "t", [][][]byte{row(1, "a", 1), row(1, "A", 1), row(1, "a ", 1)}, "", nil},
		{"text twice", "t", [][][]byte{row(1, "x", 1), row(2, "x", 1), row(3, "y", 1), row(4, "y", 1), row(5, "z", 1), row(6, "z", 1), row(7, "w", 1), row(8, "w", 1)}, fault.DuplicateKey, []string{"for 4 values", "(w), (x), (y)"}},
		{"equal but not the same", "f", [][][]byte{{i64(1), txt("a"), i32(1), f64(0)}, {i64(1), txt("a"), i32(1), f64(math.Copysign(0, -1))}}, fault.DuplicateKey, nil},
		{"composite", "id,t", [][][]byte{row(1, "a", 1), row(1, "b", 1), row(2, "a", 1)}, "", nil},
		{"composite twice", "ID,t", [][][]byte{row(1, "a", 1), row(1, "a", 2)}, fault.DuplicateKey, []string{"(1, a)"}},
		{"int4", "i4", [][][]byte{row(1, "a", math.MinInt32), row(1, "a", math.MaxInt32), row(1, "a", 0)}, "", nil},
		{"NULL", "id", [][][]byte{row(1, "a", 1), {nil, txt("q"), i32(1), nil}}, fault.NullKey, []string{"key (id) is NULL in 1 of 2 rows", "(NULL)"}},
		{"NULL in a composite", "id,t", [][][]byte{row(1, "a", 1), {nil, txt("q"), i32(1), nil}, {i64(7), nil, i32(1), nil}}, fault.NullKey, []string{"2 of 3 rows", "(NULL, q)", "(7, NULL)"}},
		{"no such column", "none", [][][]byte{row(1, "a", 1)}, fault.SchemaLost, []string{"none"}},
	} {
		st := mustStage(t, s, "k", rowsOf(cols, c.rows...), false)
		err := s.CheckKey(ctx, st, strings.Split(c.key, ","))
		s.Discard(ctx, st)
		if fault.CodeOf(err) != c.code {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, says := range c.says {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %q does not say %q", c.name, err, says)
			}
		}
	}
}

func TestCheckKeyFindsOneDoubleAmongMany(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	for _, key := range [][]string{{"id"}, {"id", "gen"}, {"s"}} {
		f := plainFeed(5, 40000, 3, 1)
		st := mustStage(t, s, "many", f, true)
		if err := s.CheckKey(ctx, st, key); err != nil {
			t.Errorf("%v: %v", key, err)
		}
		s.Discard(ctx, st)
		f = plainFeed(5, 40000, 3, 1)
		row := f.row
		f.row = func(p, i int) [][]byte {
			if p == 4 && i == 39999 {
				return row(1, 7)
			}
			return row(p, i)
		}
		st = mustStage(t, s, "many", f, true)
		if err := s.CheckKey(ctx, st, key); fault.CodeOf(err) != fault.DuplicateKey || !strings.Contains(err.Error(), "for 1 values") {
			t.Errorf("%v: %v", key, err)
		}
		s.Discard(ctx, st)
	}
}

func TestMax(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	const inf, ninf = math.MaxInt64, math.MinInt64
	num := func(digits ...uint16) []byte {
		b := []byte{0, byte(len(digits)), 0, 0, 0, 0, 0, 2}
		for _, d := range digits {
			b = binary.BigEndian.AppendUint16(b, d)
		}
		return b
	}
	for _, c := range []struct {
		name string
		col  Column
		vals [][]byte
		want string
	}{
		{"empty", col("c", oidTSTZ, -1), nil, ""},
		{"NULL only", col("c", oidTSTZ, -1), [][]byte{nil}, ""},
		{"infinity only", col("c", oidTSTZ, -1), [][]byte{i64(inf), i64(ninf), nil}, ""},
		{"timestamptz", col("c", oidTSTZ, -1), [][]byte{i64(inf), i64(1500000), i64(ninf), nil}, "2000-01-01 00:00:01.5+00"},
		{"whole seconds", col("c", oidTS, -1), [][]byte{i64(0)}, "2000-01-01 00:00:00"},
		{"BC", col("c", oidTSTZ, -1), [][]byte{i64(-211813488000000000), i64(ninf)}, "4714-11-24 00:00:00+00 BC"},
		{"far", col("c", oidTS, -1), [][]byte{i64(9223371331199999999 - 946684800000000)}, "294247-01-01 23:59:59.999999"},
		{"date", col("c", oidDate, -1), [][]byte{i32(math.MaxInt32), i32(1), i32(0)}, "2000-01-02"},
		{"date BC", col("c", oidDate, -1), [][]byte{i32(-800000), i32(math.MinInt32)}, "0192-09-04 BC"},
		{"int", col("c", oidInt4, -1), [][]byte{i32(-5), i32(-7), nil}, "-5"},
		{"decimal", col("c", oidNumeric, numericMod(12, 2)), [][]byte{num(7), num(12, 5000)}, "12.50"},
		{"text", col("c", oidText, -1), [][]byte{txt("Z"), txt("a"), txt("é")}, "é"},
		{"uuid", col("c", oidUUID, -1), [][]byte{bytes.Repeat([]byte{0x7f}, 16), bytes.Repeat([]byte{0x80}, 16)}, "80808080-8080-8080-8080-808080808080"},
	} {
		var rows [][][]byte
		for _, v := range c.vals {
			rows = append(rows, [][]byte{v})
		}
		st := mustStage(t, s, "x", rowsOf([]Column{c.col}, rows...), true)
		got, err := s.Max(ctx, st, "c")
		equal(t, c.name, []any{got, err}, []any{c.want, nil})
		if err := s.Commit(ctx, func(tx *Tx) error { return tx.Swap("x", st) }); err != nil {
			t.Fatal(err)
		}
		got, err = s.MaxOf(ctx, "x", "C")
		equal(t, c.name, []any{got, err}, []any{c.want, nil})
	}
	if _, err := s.MaxOf(ctx, "x", "none"); fault.CodeOf(err) != fault.ShapeMismatch {
		t.Error(err)
	}
}

// Statistics of rows that are gone must not answer for those that are left.
func TestMaxAfterDeletes(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := []Column{col("id", oidInt8, -1), col("at", oidTSTZ, -1)}
	load(t, s, "m", &fakeFeed{cols: cols, parts: 3, workers: 2, rows: func(int) int { return 150000 }, row: func(p, i int) [][]byte {
		id := int64(p*150000 + i)
		return [][]byte{i64(id), i64(id * 1e6)}
	}})
	for _, low := range []int64{449999, 449000, 300001, 100001} {
		st := mustStage(t, s, "m", rowsOf(cols), false)
		if err := s.Commit(ctx, func(tx *Tx) error {
			_, _, err := tx.Rewrite("m", st, KeyRange{Column: "id", Low: fmt.Sprint(low)}, cols)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		s.Discard(ctx, st)
		for range 2 {
			got, err := s.MaxOf(ctx, "m", "id")
			equal(t, "id", []any{got, err}, []any{low - 1, nil})
			got, err = s.MaxOf(ctx, "m", "at")
			equal(t, "at", []any{got, err}, []any{lines(t, s, "SELECT (TIMESTAMPTZ '2000-01-01 00:00:00+00' + to_seconds("+fmt.Sprint(low-1)+"))::VARCHAR")[0], nil})
			n, err := s.CountRows(ctx, "m")
			equal(t, "count", []any{n, err}, []any{low, nil})
			if err := s.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}
