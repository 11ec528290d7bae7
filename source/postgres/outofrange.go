package postgres

import (
	"errors"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/source"
)

// textColumn is the number of change.TextColumn; -1 if there is none.
func textColumn(d *source.Description) int {
	return slices.IndexFunc(d.Columns, func(c source.Column) bool { return c.Name == change.TextColumn })
}

// outliers keeps the text of values that DuckDB cannot hold, as a copy of the table does (textExpr): an object of jsonb, whose
// keys are in the order of their length, then of their bytes.
type outliers struct {
	column int      // of change.TextColumn
	names  []string // of the columns
	order  []int
	found  map[int][]byte // column → text, of the present row
	kept   [][]byte       // what the vectors point at
}

func newOutliers(d *source.Description) *outliers {
	o := &outliers{column: textColumn(d), names: columnNames(d), found: map[int][]byte{}}
	if o.column < 0 {
		return nil
	}
	for i := range o.names {
		o.order = append(o.order, i)
	}
	slices.SortFunc(o.order, func(a, b int) int {
		if d := len(o.names[a]) - len(o.names[b]); d != 0 {
			return d
		}
		return strings.Compare(o.names[a], o.names[b])
	})
	return o
}

// take has a value that is out of range kept as text; any other error stays one.
func (o *outliers) take(err error, column int, f field) error {
	if o == nil || f.kind != 't' || !errors.Is(err, change.ErrOutOfRange) {
		return err
	}
	o.found[column] = f.b
	return nil
}

// object is the present row's, nil when no value was out of range.
func (o *outliers) object() []byte {
	if len(o.found) == 0 {
		return nil
	}
	b := []byte{'{'}
	for _, i := range o.order {
		text, ok := o.found[i]
		if !ok {
			continue
		}
		if len(b) > 1 {
			b = append(b, ", "...)
		}
		b = appendJSONString(append(appendJSONString(b, []byte(o.names[i])), ": "...), text)
	}
	clear(o.found)
	b = append(b, '}')
	o.kept = append(o.kept, b)
	return b
}

// appendJSONString writes a string as PostgreSQL's escape_json does.
func appendJSONString(b, s []byte) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range s {
		if i := strings.IndexByte("\b\f\n\r\t\"\\", c); i >= 0 {
			b = append(b, '\\', `bfnrt"\`[i])
		} else if c < ' ' {
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return append(b, '"')
}
