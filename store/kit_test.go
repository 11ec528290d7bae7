package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// openTest opens a store in a folder of the test's own and closes it with the test.
func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "pintail.duckdb")
	}
	if o.Threads == 0 {
		o.Threads = 3
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A failed test may have left a session open.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) { w.t.Log(string(p)); return len(p), nil }

// col makes a column of a PostgreSQL type by OID.
func col(name string, oid uint32, typmod int32) Column {
	return Column{Name: name, Type: types.Of(oid, typmod, nil)}
}

func typesOf(cols []Column) []types.Type {
	ts := make([]types.Type, len(cols))
	for i := range cols {
		ts[i] = cols[i].Type
	}
	return ts
}

// OIDs of pg_type.
const (
	oidBool, oidBytea, oidInt8, oidInt2, oidInt4, oidText, oidOID, oidXID8, oidJSON, oidJSONB = 16, 17, 20, 21, 23, 25, 26, 5069, 114, 3802
	oidFloat4, oidFloat8, oidDate, oidTime, oidTimeTZ, oidTS, oidTSTZ, oidInterval, oidUUID   = 700, 701, 1082, 1083, 1266, 1114, 1184, 1186, 2950
	oidNumeric, oidInt8s, oidTexts, oidIntervals, oidFloat8s, oidNumerics, oidBools           = 1700, 1016, 1009, 1187, 1022, 1231, 1000
)

func numericMod(precision, scale int32) int32 { return precision<<16 | scale + 4 }

// fakeFeed hands out parts readers; part p has rows(p) rows, and row gives a row's values in PostgreSQL's binary format (nil is NULL), so
// that what arrives is what a source's decoder would have written.
type fakeFeed struct {
	cols    []Column
	parts   int
	workers int
	rows    func(part int) int
	row     func(part, i int) [][]byte
	fail    func(part, i int) error // nil: never

	next   atomic.Int64
	open   atomic.Int64 // readers not closed
	handed atomic.Int64
}

func (f *fakeFeed) Workers() int { return f.workers }

func (f *fakeFeed) Next(ctx context.Context) (change.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := int(f.next.Add(1)) - 1
	if p >= f.parts {
		return nil, io.EOF
	}
	f.open.Add(1)
	f.handed.Add(1)
	return &fakeReader{f: f, ctx: ctx, part: p, n: f.rows(p), dec: types.NewDecoder(typesOf(f.cols)), rnd: rand.New(rand.NewPCG(uint64(p), 1))}, nil
}

type fakeReader struct {
	f    *fakeFeed
	ctx  context.Context
	part int
	at   int
	n    int
	dec  *types.Decoder
	rnd  *rand.Rand
	buf  []byte
}

// Read returns chunks of uneven size, as a source does.
func (r *fakeReader) Read(c *change.Chunk) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n := min(r.n-r.at, change.ChunkRows)
	if r.rnd.IntN(4) == 0 && n > 1 {
		n = 1 + r.rnd.IntN(n)
	}
	// One buffer of its final size: strings point into it.
	r.buf = r.buf[:0]
	var ends []int
	for i := range n {
		if r.f.fail != nil {
			if err := r.f.fail(r.part, r.at+i); err != nil {
				return 0, err
			}
		}
		r.buf = appendRow(r.buf, r.f.row(r.part, r.at+i))
		ends = append(ends, len(r.buf))
	}
	r.buf = append(r.buf, make([]byte, types.Slack)...)
	start := 0
	for i, end := range ends {
		if err := r.dec.DecodeRow(c, i, r.buf[start:end]); err != nil {
			return 0, err
		}
		start = end
	}
	r.at += n
	return n, nil
}

func (r *fakeReader) Close() error { r.f.open.Add(-1); return nil }

func appendRow(b []byte, fields [][]byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(fields)))
	for _, f := range fields {
		if f == nil {
			b = binary.BigEndian.AppendUint32(b, math.MaxUint32)
			continue
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return b
}

// rowsOf feeds the given rows.
func rowsOf(cols []Column, rows ...[][]byte) *fakeFeed {
	return &fakeFeed{cols: cols, parts: 1, workers: 1, rows: func(int) int { return len(rows) }, row: func(_, i int) [][]byte { return rows[i] }}
}

func i64(x int64) []byte   { return binary.BigEndian.AppendUint64(nil, uint64(x)) }
func i32(x int32) []byte   { return binary.BigEndian.AppendUint32(nil, uint32(x)) }
func f64(x float64) []byte { return binary.BigEndian.AppendUint64(nil, math.Float64bits(x)) }
func txt(s string) []byte  { return append(make([]byte, 0, len(s)+1), s...) }
func interval(months, days int32, us int64) []byte {
	return append(append(i64(us), i32(days)...), i32(months)...)
}

// mustStage stages the rows of f or fails the test.
func mustStage(t testing.TB, s *Store, target string, f *fakeFeed, forSwap bool) *Staged {
	t.Helper()
	st, err := s.Stage(context.Background(), target, f.cols, f, forSwap)
	if err != nil {
		t.Fatal(err)
	}
	if n := f.open.Load(); n != 0 {
		t.Fatalf("%d readers left open", n)
	}
	return st
}

// load makes target from the rows of f.
func load(t testing.TB, s *Store, target string, f *fakeFeed) {
	t.Helper()
	st := mustStage(t, s, target, f, true)
	if err := s.Commit(context.Background(), func(tx *Tx) error { return tx.Swap(target, st) }); err != nil {
		t.Fatal(err)
	}
}

// scanRows runs sql, whose columns are cols, and hands each row (fieldsAt) and its chunk to fn.
func scanRows(t testing.TB, s *Store, sql string, cols []Column, fn func(c *change.Chunk, row [][]byte)) {
	t.Helper()
	ts := typesOf(cols)
	sc, err := s.Scan(context.Background(), sql, ts)
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	for {
		c, err := sc.Next()
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			return
		}
		for i := range c.Rows {
			fn(c, fieldsAt(c, ts, i))
		}
	}
}

// fieldsAt is row i of a chunk as feeds give it: PostgreSQL's binary format, nil for NULL.
func fieldsAt(c *change.Chunk, ts []types.Type, i int) [][]byte {
	row := make([][]byte, len(ts))
	for k := range ts {
		if f := types.AppendField(nil, &ts[k], &c.Vectors[k], i); binary.BigEndian.Uint32(f) != math.MaxUint32 {
			row[k] = f[4:]
		}
	}
	return row
}

// sameRow reports each column in which a row is not the one that it should be, and whether there was none.
func sameRow(t testing.TB, what string, cols []Column, got, want [][]byte) bool {
	t.Helper()
	same := true
	for k := range cols {
		if g, w := appendRow(nil, got[k:k+1])[2:], appendRow(nil, want[k:k+1])[2:]; !bytes.Equal(g, w) {
			same = false
			t.Errorf("%s: column %s is\n% x, want\n% x", what, cols[k].Name, g, w)
		}
	}
	return same
}

// compare reads target back and fails unless it is model, by the first keys columns of a row.
func compare(t testing.TB, s *Store, target string, cols []Column, keys int, model map[string][][]byte) {
	t.Helper()
	n := 0
	scanRows(t, s, "SELECT * FROM "+s.table(target), cols, func(_ *change.Chunk, row [][]byte) {
		n++
		want, ok := model[string(appendRow(nil, row[:keys]))]
		if !ok {
			t.Fatalf("%s: a row % x that should not be there", target, appendRow(nil, row))
		}
		if !sameRow(t, target, cols, row, want) {
			t.FailNow()
		}
	})
	if n != len(model) {
		t.Fatalf("%s has %d rows, want %d", target, n, len(model))
	}
}

// anyButNegativeZero is for rows that a checkpoint may write, which compresses 0.0 and -0.0 into one run of one of them.
func anyButNegativeZero(r *rand.Rand, t *types.Type) []byte {
	floats := t.Kind == types.Float32 || t.Kind == types.Float64 || t.Kind == types.List && t.Elem.Kind == types.Float64
	for {
		if v := anyValue(r, t); !floats || !bytes.Contains(v, []byte{0x80, 0, 0, 0}) {
			return v
		}
	}
}

// lines runs a query and returns its rows as text, NULL as such, fields separated by |.
func lines(t testing.TB, s *Store, sql string) []string {
	t.Helper()
	var out []string
	err := s.with(func(se *Session) error {
		var n int
		if err := se.query(context.Background(), "SELECT count(*) FROM (DESCRIBE "+sql+")", nil, func(r ownRow) error { n = int(r.int(0)); return nil }); err != nil {
			return err
		}
		return se.query(context.Background(), "SELECT coalesce(COLUMNS(*)::VARCHAR, 'NULL') FROM ("+sql+")", nil, func(r ownRow) error {
			line := ""
			for i := range n {
				if i > 0 {
					line += "|"
				}
				line += r.text(i)
			}
			out = append(out, line)
			return nil
		})
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}
