package store

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/pintaildb/pintail/internal/arrowtest"
	"github.com/pintaildb/pintail/internal/fault"
)

func arrowRows(t testing.TB, sql string) (*Stmt, *Rows) {
	t.Helper()
	se := session(t, openTest(t, Options{}))
	st, err := se.Prepare(context.Background(), sql)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := st.Query(context.Background(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return st, rows
}

func TestEveryDuckDBTypeIsTheSameInArrow(t *testing.T) {
	for _, form := range []ArrowForm{ArrowPlain, ArrowParquet} {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		st, rows := arrowRows(t, arrowtest.Query(7000))
		if form == ArrowPlain {
			if a, b := st.ArrowSchema(), rows.ArrowSchema(); !a.Equal(b) {
				t.Errorf("prepared\n%s\nand run\n%s", a, b)
			}
			for i, c := range arrowtest.Columns {
				if got := rows.ArrowSchema().Field(2 * i).Type.String(); got != c.Arrow && c.Arrow != "" {
					t.Errorf("%s: %s, not %s", c.Expr, got, c.Arrow)
				}
			}
		}
		b := rows.ArrowBatch(mem, form)
		total := 0
		// Texts of the rows in the batch.
		var want [][]string
		check := func() {
			batch := b.Take()
			defer batch.Release()
			if int(batch.NumRows()) != len(want) {
				t.Fatal(batch.NumRows(), "rows, not", len(want))
			}
			for col, arr := range batch.Columns() {
				nulls := 0
				for i := range want {
					text := arrowtest.Text(arr, i)
					if form == ArrowParquet {
						text = parquetText(rows.types[col], arr, i)
					}
					if text != want[i][col] {
						t.Fatalf("row %d of %s (%s): %q, not %q", total+i, batch.ColumnName(col), rows.columns[col].Type, text, want[i][col])
					}
					if arr.IsNull(i) {
						nulls++
					}
				}
				if arr.NullN() != nulls {
					t.Errorf("%s: %d NULLs, counted %d", batch.ColumnName(col), nulls, arr.NullN())
				}
			}
			if err := batchValid(batch); err != nil {
				t.Error(err)
			}
			total += len(want)
			want = want[:0]
		}
		for {
			c, err := rows.Next()
			if err != nil {
				t.Fatal(err)
			}
			if c == nil {
				break
			}
			for at := 0; at < c.Len(); {
				n, err := b.Append(c, at, min(c.Len(), at+977), 1<<30)
				if err != nil {
					t.Fatal(err)
				}
				for range n {
					var row []string
					for col := range c.cols {
						row = append(row, string(c.AppendText(nil, col, at)))
					}
					want = append(want, row)
					at++
				}
				if len(want) > 2500 {
					check()
				}
			}
		}
		check()
		equal(t, "rows", total, 7000)
		b.Release()
		mem.AssertSize(t, 0)
	}
}

// parquetText shows a union that is a struct of its members as the union.
func parquetText(typ resultType, a arrow.Array, i int) string {
	s, ok := a.(*array.Struct)
	if !ok || !strings.HasPrefix(typ.name(), "UNION") || s.IsNull(i) {
		return arrowtest.Text(a, i)
	}
	for k := range s.NumField() {
		if s.Field(k).IsValid(i) {
			return arrowtest.Text(s.Field(k), i)
		}
	}
	return ""
}

func batchValid(b arrow.RecordBatch) error {
	for i, c := range b.Columns() {
		if v, ok := c.(interface{ ValidateFull() error }); ok {
			if err := v.ValidateFull(); err != nil {
				return fmt.Errorf("%s: %w", b.ColumnName(i), err)
			}
		}
	}
	return nil
}

func TestArrowBatchTakesWhatFits(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	_, rows := arrowRows(t, "SELECT CASE WHEN i = 700 THEN repeat('x', 100000) ELSE repeat('y', 100) END AS s, [i::VARCHAR, repeat('z', 50)] AS l FROM range(2000) r(i)")
	b := rows.ArrowBatch(mem, ArrowPlain)
	defer b.Release()
	c, err := rows.Next()
	if err != nil {
		t.Fatal(err)
	}
	const most = 20000
	total, large := 0, 0
	for at := 0; at < c.Len(); {
		n, err := b.Append(c, at, c.Len(), most)
		if err != nil {
			t.Fatal(err)
		}
		at += n
		if n > 0 && b.Bytes() <= most && at < c.Len() {
			continue
		}
		if b.Rows() > 1 && b.Bytes() > most {
			t.Errorf("%d rows of %d bytes", b.Rows(), b.Bytes())
		}
		if b.Bytes() > most {
			large++
		}
		batch := b.Take()
		var bytes int
		for _, col := range batch.Columns() {
			bytes += int(col.Data().SizeInBytes())
		}
		if batch.NumRows() > 1 && bytes > most+most/4 {
			t.Errorf("%d rows have %d bytes", batch.NumRows(), bytes)
		}
		total += int(batch.NumRows())
		batch.Release()
	}
	equal(t, "rows", total, 2000)
	equal(t, "batches of one large row", large, 1)
}

func TestArrowRefusals(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	_, rows := arrowRows(t, "SELECT INTERVAL '1 hour' * 9000000 AS long")
	b := rows.ArrowBatch(mem, ArrowPlain)
	c, err := rows.Next()
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Append(c, 0, 1, 1<<20)
	if fault.CodeOf(err) != fault.InvalidSQL || !strings.Contains(err.Error(), "column long") || fault.HintOf(err) != "cast it to VARCHAR" {
		t.Error(err)
	}
	b.Release()
	// In Parquet it is text.
	b = rows.ArrowBatch(mem, ArrowParquet)
	if _, err := b.Append(c, 0, 1, 1<<20); err != nil {
		t.Error(err)
	}
	b.Release()

	for _, number := range []string{"100000000000000000000000000000000000000", "-100000000000000000000000000000000000000", "170141183460469231731687303715884105727", "-170141183460469231731687303715884105728"} {
		_, rows := arrowRows(t, "SELECT '"+number+"'::HUGEINT AS huge")
		b := rows.ArrowBatch(mem, ArrowPlain)
		if c, err = rows.Next(); err != nil {
			t.Fatal(err)
		}
		if _, err = b.Append(c, 0, 1, 1<<20); fault.CodeOf(err) != fault.InvalidSQL || !strings.Contains(err.Error(), number) {
			t.Error(number, err)
		}
		b.Release()
	}

	_, other := arrowRows(t, "SELECT 5 AS long")
	if c, err = other.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(c, 0, 1, 1<<20); fault.CodeOf(err) != fault.ResultChanged {
		t.Error(err)
	}
	b.Release()
}

// What lies below a NULL is whatever DuckDB had there before, perhaps of a table that the reader may not read.
func TestArrowHasNothingBelowNULL(t *testing.T) {
	mem := memory.NewGoAllocator()
	_, rows := arrowRows(t, "SELECT CASE WHEN i % 2 = 0 THEN NULL ELSE i END AS a, CASE WHEN i % 2 = 0 THEN NULL ELSE i::DECIMAL(10,0) END AS b FROM (SELECT range + 1 AS i FROM range(100))")
	b := rows.ArrowBatch(mem, ArrowPlain)
	c, err := rows.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(c, 0, c.Len(), 1<<20); err != nil {
		t.Fatal(err)
	}
	batch := b.Take()
	defer batch.Release()
	for i := range 100 {
		if x := batch.Column(0).(*array.Int64).Value(i); i%2 == 1 && x != 0 {
			t.Errorf("row %d: %d below NULL", i, x)
		}
		if x := batch.Column(1).(*array.Decimal128).Value(i); i%2 == 1 && x.Sign() != 0 {
			t.Errorf("row %d: %s below NULL", i, x.BigInt())
		}
	}
}

func TestArrowSchemaOfUnknownColumns(t *testing.T) {
	se := session(t, openTest(t, Options{}))
	st, err := se.Prepare(context.Background(), "SELECT $1")
	if err != nil {
		t.Fatal(err)
	}
	if s := st.ArrowSchema(); s != nil {
		t.Error(s)
	}
}
