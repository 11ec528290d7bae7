package store

import (
	"fmt"
	"strings"
)

// Condition is the range as SQL with its bounds in place, for statements that cannot bind them; "TRUE" for all rows.
func (r *KeyRange) Condition(cols []Column) (string, error) {
	if r == nil || r.Column == "" || r.Low == "" && r.High == "" {
		return "TRUE", nil
	}
	col, err := column(cols, r.Column)
	if err != nil {
		return "", err
	}
	var parts []string
	for _, b := range []struct{ op, value string }{{">=", r.Low}, {"<", r.High}} {
		if b.value != "" {
			literal := "'" + strings.ReplaceAll(duckText(&col.Type, b.value), "'", "''") + "'"
			parts = append(parts, fmt.Sprintf("%s %s CAST(%s AS %s)", quote(r.Column), b.op, literal, col.Type.SQL))
		}
	}
	return strings.Join(parts, " AND "), nil
}
