package flightsql

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/store"
)

const (
	parameterRowsMax  = 1000     // the statement runs once for each
	parameterBytesMax = 16 << 20 // of all of them, about
)

// parameterSchema has a field for each parameter, in the order of binding; text for those that any type will do for.
func parameterSchema(ctx context.Context, st *statement) (*arrow.Schema, error) {
	fields := make([]arrow.Field, len(st.params))
	byNumber := numbered(st.params) == nil
	for i, p := range st.params {
		f := arrow.Field{Name: p.Name, Type: arrow.BinaryTypes.String, Nullable: true}
		if p.Type != "" {
			t, err := arrowType(ctx, st.session, p.Type)
			if err != nil {
				return nil, err
			}
			f.Type = t
		}
		if byNumber {
			n, _ := strconv.Atoi(p.Name) // numbered has read it
			i, f.Name = n-1, "parameter_"+p.Name
		}
		fields[i] = f
	}
	return arrow.NewSchema(fields, nil), nil
}

// arrowType is how a column of a DuckDB type comes. DuckDB is asked, so that there is one table of types.
func arrowType(ctx context.Context, se *query.Session, duckType string) (arrow.DataType, error) {
	p, err := se.Prepare(ctx, "SELECT CAST(NULL AS "+duckType+")")
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.ArrowSchema().Field(0).Type, nil
}

// readParameters reads the rows that a client binds: columns in the order of the parameters, whatever their names.
func readParameters(r array.RecordReader, params []store.Param) ([][]any, error) {
	if err := numbered(params); err != nil {
		return nil, err
	}
	rows, bytes := [][]any{}, 0
	for r.Next() {
		b := r.RecordBatch()
		if int(b.NumCols()) != len(params) {
			return nil, fault.New(fault.Usage, "bind a column for each", "the statement has %d parameters, and %d columns were bound", len(params), b.NumCols())
		}
		if len(rows)+int(b.NumRows()) > parameterRowsMax {
			return nil, fault.New(fault.Limit, "bind fewer, or put them into a table and join it", "more than %d rows of parameters were bound", parameterRowsMax)
		}
		for i := range int(b.NumRows()) {
			row := make([]any, len(params))
			for c := range row {
				v, n, err := parameter(b.Column(c), i)
				if err != nil {
					return nil, fault.Wrap(err, "parameter %d", c+1)
				}
				row[c] = v
				bytes += n + 16
			}
			if bytes > parameterBytesMax {
				return nil, fault.New(fault.Limit, "bind fewer, or put them into a table and join it", "the parameters have more than %d bytes", parameterBytesMax)
			}
			rows = append(rows, row)
		}
	}
	if err := r.Err(); err != nil {
		return nil, unreadable(err)
	}
	return rows, nil
}

// numbered says whether parameters can be bound by their positions.
func numbered(params []store.Param) error {
	for _, p := range params {
		if n, err := strconv.Atoi(p.Name); err != nil {
			return fault.New(fault.Usage, "write $1, $2 or ?", "parameters with names, such as $%s, cannot be bound here", p.Name)
		} else if n > len(params) {
			return fault.New(fault.Usage, "number them from 1 on without a gap", "the statement has %d parameters, and names $%d", len(params), n)
		}
	}
	return nil
}

func unreadable(err error) error {
	return fault.New(fault.Usage, "send an Arrow stream: the schema, then batches of it", "the client's record batches cannot be read: %w", err)
}

// parameter is the value of row i as statements take it, and about how many bytes it has. What JSON has no form for becomes text, which
// DuckDB reads as the type that the statement needs.
func parameter(a arrow.Array, i int) (v any, bytes int, err error) {
	if a.IsNull(i) {
		return nil, 0, nil
	}
	switch a := a.(type) {
	case *array.Null:
		return nil, 0, nil
	case *array.Boolean:
		return a.Value(i), 1, nil
	case *array.Int8:
		return int64(a.Value(i)), 8, nil
	case *array.Int16:
		return int64(a.Value(i)), 8, nil
	case *array.Int32:
		return int64(a.Value(i)), 8, nil
	case *array.Int64:
		return a.Value(i), 8, nil
	case *array.Uint8:
		return int64(a.Value(i)), 8, nil
	case *array.Uint16:
		return int64(a.Value(i)), 8, nil
	case *array.Uint32:
		return int64(a.Value(i)), 8, nil
	case *array.Uint64:
		return json.Number(strconv.FormatUint(a.Value(i), 10)), 8, nil
	case *array.Float16:
		return float64(a.Value(i).Float32()), 8, nil
	case *array.Float32:
		// By its text: as a double, 0.1 would be another number than the column's.
		f, err := strconv.ParseFloat(strconv.FormatFloat(float64(a.Value(i)), 'g', -1, 32), 64)
		return f, 8, err
	case *array.Float64:
		return a.Value(i), 8, nil
	case *array.String:
		return text(a.Value(i))
	case *array.LargeString:
		return text(a.Value(i))
	case *array.StringView:
		return text(a.Value(i))
	case *array.Binary:
		return blob(a.Value(i))
	case *array.LargeBinary:
		return blob(a.Value(i))
	case *array.BinaryView:
		return blob(a.Value(i))
	case *array.FixedSizeBinary:
		return blob(a.Value(i))
	case *array.Decimal128:
		return text(a.Value(i).ToString(a.DataType().(*arrow.Decimal128Type).Scale))
	case *array.Decimal256:
		return text(a.Value(i).ToString(a.DataType().(*arrow.Decimal256Type).Scale))
	case *array.Date32:
		return text(a.Value(i).ToTime().Format("2006-01-02"))
	case *array.Date64:
		return text(a.Value(i).ToTime().Format("2006-01-02"))
	case *array.Time32:
		return text(a.Value(i).ToTime(a.DataType().(*arrow.Time32Type).Unit).Format("15:04:05.999999"))
	case *array.Time64:
		return text(a.Value(i).ToTime(a.DataType().(*arrow.Time64Type).Unit).Format("15:04:05.999999999"))
	case *array.Timestamp:
		t := a.DataType().(*arrow.TimestampType)
		at, layout := a.Value(i).ToTime(t.Unit).UTC(), "2006-01-02 15:04:05.999999999"
		if t.TimeZone != "" {
			layout += "+00"
		}
		return text(at.Format(layout))
	case *array.Duration:
		n := new(big.Rat).SetFrac64(int64(a.Value(i)), int64(secondOf(a.DataType().(*arrow.DurationType).Unit)))
		return text(n.FloatString(9) + " seconds")
	case *array.MonthInterval:
		return text(fmt.Sprintf("%d months", a.Value(i)))
	case *array.MonthDayNanoInterval:
		m := a.Value(i)
		return text(fmt.Sprintf("%d months %d days %s seconds", m.Months, m.Days, new(big.Rat).SetFrac64(m.Nanoseconds, 1e9).FloatString(9)))
	case *array.Dictionary:
		return parameter(a.Dictionary(), a.GetValueIndex(i))
	case array.ExtensionArray:
		if a.DataType().(arrow.ExtensionType).ExtensionName() == "arrow.uuid" {
			return text(a.ValueStr(i))
		}
		return parameter(a.Storage(), i)
	case array.ListLike:
		from, to := a.ValueOffsets(i)
		list := make([]any, 0, to-from)
		for j := from; j < to; j++ {
			v, n, err := parameter(a.ListValues(), int(j))
			if err != nil {
				return nil, 0, err
			}
			list, bytes = append(list, v), bytes+n+16
		}
		return list, bytes, nil
	}
	return nil, 0, fault.New(fault.Usage, "bind a number, text, time, truth value or a list of these, and cast it in the statement", "values of type %s cannot be bound", a.DataType())
}

func text(s string) (any, int, error) { return strings.Clone(s), len(s), nil } // the batch's memory is not ours to keep

func blob(b []byte) (any, int, error) { return append([]byte(nil), b...), len(b), nil }

func secondOf(u arrow.TimeUnit) int64 {
	return map[arrow.TimeUnit]int64{arrow.Second: 1, arrow.Millisecond: 1e3, arrow.Microsecond: 1e6, arrow.Nanosecond: 1e9}[u]
}
