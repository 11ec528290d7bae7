package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// kinds is a column of every types.Kind, and of lists over many of them.
func kinds() []Column {
	cols := []Column{
		col("id", oidInt8, -1), col("text", oidText, -1), col("bool", oidBool, -1), col("i2", oidInt2, -1), col("i4", oidInt4, -1), col("u4", oidOID, -1), col("u8", oidXID8, -1),
		col("f4", oidFloat4, -1), col("f8", oidFloat8, -1), col("d2", oidNumeric, numericMod(4, 1)), col("d4", oidNumeric, numericMod(9, 3)), col("d8", oidNumeric, numericMod(18, 0)),
		col("d16", oidNumeric, numericMod(38, 10)), col("blob", oidBytea, -1), col("uuid", oidUUID, -1), col("date", oidDate, -1), col("time", oidTime, -1), col("timetz", oidTimeTZ, -1),
		col("ts", oidTS, -1), col("tstz", oidTSTZ, -1), col("iv", oidInterval, -1), col("json", oidJSON, -1), col("jsonb", oidJSONB, -1),
		col("texts", oidTexts, -1), col("ints", oidInt8s, -1), col("bools", oidBools, -1), col("ivs", oidIntervals, -1), col("decs", oidNumerics, numericMod(12, 2)), col("f8s", oidFloat8s, -1),
	}
	return cols
}

// anyValue makes a value of t in PostgreSQL's binary format: short and long, extreme and common.
func anyValue(r *rand.Rand, t *types.Type) []byte {
	be := binary.BigEndian
	pick := func(xs ...uint64) uint64 { return xs[r.IntN(len(xs))] }
	str := func() []byte {
		n := []int{0, 1, 3, 4, 5, 11, 12, 13, 14, 60, 3000}[r.IntN(11)]
		if n == 3000 && r.IntN(20) > 0 {
			n = 30
		}
		b := make([]byte, n, n+1)
		for i := range b {
			b[i] = 'a' + byte(r.IntN(26))
		}
		return b
	}
	switch t.Kind {
	case types.Text:
		if r.IntN(5) == 0 {
			return []byte("é😀\x01 \n")
		}
		return str()
	case types.Bool:
		return []byte{byte(r.IntN(2))}
	case types.Int16:
		return be.AppendUint16(nil, uint16(pick(0, 1, 1<<15, 1<<15-1, r.Uint64())))
	case types.Int32, types.UInt32:
		return be.AppendUint32(nil, uint32(pick(0, 1, 1<<31, 1<<31-1, 1<<32-1, r.Uint64())))
	case types.Int64, types.UInt64:
		return be.AppendUint64(nil, pick(0, 1, 1<<63, 1<<63-1, r.Uint64()))
	case types.Float32:
		return be.AppendUint32(nil, math.Float32bits([]float32{0, float32(math.Copysign(0, -1)), float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, 1e-45, r.Float32()}[r.IntN(8)]))
	case types.Float64:
		return f64([]float64{0, math.Copysign(0, -1), math.Float64frombits(0x7ff8 << 48), math.Inf(1), math.Inf(-1), math.MaxFloat64, 5e-324, r.NormFloat64()}[r.IntN(8)])
	case types.Decimal16, types.Decimal32, types.Decimal64, types.Decimal128:
		return anyNumeric(r, int(t.Width), int(t.Scale))
	case types.Blob:
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	case types.UUID:
		return be.AppendUint64(be.AppendUint64(nil, pick(0, 1<<63, 1<<64-1, r.Uint64())), r.Uint64())
	case types.Date:
		return i32(int32([]int64{math.MinInt32, math.MaxInt32, 0, -2451545, 2145031948, r.Int64N(20000)}[r.IntN(6)]))
	case types.Time:
		return be.AppendUint64(nil, pick(0, 86400e6, 1, r.Uint64N(86400e6)))
	case types.TimeTZ:
		return be.AppendUint32(be.AppendUint64(nil, pick(0, 86400e6, r.Uint64N(86400e6))), uint32(r.Int32N(2*57599+1)-57599))
	case types.Timestamp, types.TimestampTZ:
		return i64([]int64{math.MinInt64, math.MaxInt64, 0, -211813488000000000, -1, r.Int64N(1e15)}[r.IntN(6)])
	case types.Interval:
		return interval(int32(r.IntN(40)-20), int32(r.IntN(40)-20), r.Int64N(1e12)-5e11)
	case types.JSON:
		return append([]byte(`{"a": `), append(be.AppendUint16(nil, 0x3131), '}')...)
	case types.JSONB:
		return append([]byte{1}, `{"long key of a document": [1, 2, null]}`...)
	case types.List:
		n := []int{0, 1, 2, 7, 40}[r.IntN(5)]
		b := be.AppendUint32(nil, 0)
		if n == 0 {
			b = be.AppendUint32(b, 0)
			return be.AppendUint32(b, t.Elem.OID)
		}
		var body []byte
		nulls := uint32(0)
		for range n {
			if r.IntN(6) == 0 {
				body, nulls = be.AppendUint32(body, math.MaxUint32), 1
				continue
			}
			e := anyValue(r, t.Elem)
			body = append(be.AppendUint32(body, uint32(len(e))), e...)
		}
		b = be.AppendUint32(nil, 1)
		b = be.AppendUint32(b, nulls)
		b = be.AppendUint32(b, t.Elem.OID)
		b = be.AppendUint32(b, uint32(n))
		b = be.AppendUint32(b, 1)
		return append(b, body...)
	}
	panic(t.Kind)
}

// anyNumeric is a numeric of at most width digits, in the one form in which PostgreSQL sends it.
func anyNumeric(r *rand.Rand, width, scale int) []byte {
	digits := make([]byte, r.IntN(width+1))
	for i := range digits {
		digits[i] = byte(r.IntN(10))
	}
	if r.IntN(4) == 0 {
		digits = bytes.Repeat([]byte{9}, width)
	}
	// Aligned to groups of four around the decimal point.
	for len(digits) < scale {
		digits = append([]byte{0}, digits...)
	}
	whole, frac := digits[:len(digits)-scale], digits[len(digits)-scale:]
	for len(whole)%4 != 0 {
		whole = append([]byte{0}, whole...)
	}
	frac = append([]byte(nil), frac...)
	for len(frac)%4 != 0 {
		frac = append(frac, 0)
	}
	weight := len(whole)/4 - 1
	all := append(append([]byte(nil), whole...), frac...)
	var groups []uint16
	for i := 0; i < len(all); i += 4 {
		groups = append(groups, uint16(all[i])*1000+uint16(all[i+1])*100+uint16(all[i+2])*10+uint16(all[i+3]))
	}
	for len(groups) > 0 && groups[0] == 0 {
		groups, weight = groups[1:], weight-1
	}
	for len(groups) > 0 && groups[len(groups)-1] == 0 {
		groups = groups[:len(groups)-1]
	}
	sign := uint16(0)
	if len(groups) == 0 {
		weight = 0
	} else if r.IntN(2) == 0 {
		sign = 0x4000
	}
	be := binary.BigEndian
	b := be.AppendUint16(nil, uint16(len(groups)))
	b = be.AppendUint16(b, uint16(int16(weight)))
	b = be.AppendUint16(b, sign)
	b = be.AppendUint16(b, uint16(scale))
	for _, g := range groups {
		b = be.AppendUint16(b, g)
	}
	return b
}

// anyFeed has rows with values of all kinds, a sixth of them NULL, which are the same each time they are asked for.
func anyFeed(cols []Column, parts, rows, workers int) *fakeFeed {
	return &fakeFeed{cols: cols, parts: parts, workers: workers, rows: func(p int) int { return rows + 37*p }, row: func(p, i int) [][]byte {
		r := rand.New(rand.NewPCG(uint64(p), uint64(i)))
		out := make([][]byte, len(cols))
		out[0] = i64(int64(p)<<32 | int64(i))
		for c := 1; c < len(cols); c++ {
			if r.IntN(6) > 0 {
				out[c] = anyValue(r, &cols[c].Type)
			}
		}
		return out
	}}
}

func TestEveryKindComesBackByteForByte(t *testing.T) {
	s := openTest(t, Options{})
	cols := kinds()
	seen := map[types.Kind]bool{}
	for _, c := range cols {
		seen[c.Type.Kind] = true
	}
	for k := types.Text; k <= types.List; k++ {
		if !seen[k] {
			t.Errorf("no column of kind %d", k)
		}
	}
	for _, forSwap := range []bool{true, false} {
		f := anyFeed(cols, 7, 3000, 3)
		st := mustStage(t, s, "all", f, forSwap)
		rows, longest := int64(0), 0
		have := map[int64]bool{}
		scanRows(t, s, "SELECT * FROM "+st.sql, cols, func(c *change.Chunk, row [][]byte) {
			for i := range cols {
				if cols[i].Type.Kind == types.List {
					longest = max(longest, c.Vectors[i].Len)
				}
			}
			rows++
			id := int64(binary.BigEndian.Uint64(row[0]))
			if have[id] {
				t.Fatalf("row %d twice", id)
			}
			have[id] = true
			if !sameRow(t, fmt.Sprint("row ", id), cols, row, f.row(int(id>>32), int(id&math.MaxUint32))) {
				t.FailNow()
			}
		})
		equal(t, "rows", rows, st.Rows)
		equal(t, "rows", rows, 7*3000+37*21)
		if longest <= 2048 {
			t.Errorf("no list vector had more than 2048 elements: %d", longest)
		}
	}
	// The types of the table are those that were asked for.
	st := mustStage(t, s, "types", anyFeed(cols, 1, 1, 1), true)
	for i, c := range cols {
		got := lines(t, s, fmt.Sprintf("SELECT data_type FROM duckdb_columns() WHERE table_name = %s AND column_index = %d", literal(st.name), i+1))
		equal(t, c.Name, got, []string{c.Type.SQL})
	}
}

func TestScanOfOtherTypesIsRefused(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	load(t, s, "x", rowsOf([]Column{col("a", oidInt4, -1)}, [][]byte{i32(1)}))
	for _, c := range []struct {
		cols []Column
		sql  string
	}{{[]Column{col("a", oidInt8, -1)}, "SELECT a FROM x"}, {[]Column{col("a", oidInt4, -1)}, "SELECT a, a FROM x"}, {[]Column{col("a", oidInt4, -1)}, "SELECT b FROM x"}} {
		ts := []types.Type{c.cols[0].Type}
		if _, err := s.Scan(ctx, c.sql, ts); fault.CodeOf(err) != fault.ShapeMismatch {
			t.Errorf("%s: %v", c.sql, err)
		}
	}
	// Nothing is left open by it.
	equal(t, "sessions", len(s.open), 0)
}

func TestScanReportsAnErrorInTheMiddle(t *testing.T) {
	s := openTest(t, Options{Threads: 1})
	sc, err := s.Scan(context.Background(), "SELECT CASE WHEN range = 900000 THEN 'x' ELSE '1' END::BIGINT FROM range(1000000)", []types.Type{types.Of(oidInt8, -1, nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	for {
		c, err := sc.Next()
		if err != nil {
			equal(t, "code", fault.CodeOf(err), fault.ShapeMismatch)
			return
		}
		if c == nil {
			t.Fatal("the error was lost")
		}
	}
}
