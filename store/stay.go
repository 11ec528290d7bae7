package store

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// hugeValue is the length from where on a value is not carried from an old row to a new one: that takes five copies of it at a time,
// and DuckDB reads those of all rows of a vector together.
const hugeValue = 16 << 20

// stay changes the rows that keep a value by an UPDATE of their other columns, in a table that has huge ones. In others it would cost
// more than it saves: the next checkpoint writes each column anew that an UPDATE has touched, for all rows of the row group. Tables with columns
// that cannot be updated exactly are left out.
func (a *apply) stay(pairs string) error {
	if a.Keep.Deletes != change.DeletesHard || a.textColumn() >= 0 || slices.ContainsFunc(a.Cols, func(c Column) bool { return !updatable(&c.Type) }) {
		return nil
	}
	if huge, err := a.huge(); !huge || err != nil {
		return err
	}
	flags := make([]string, len(a.Unchanged))
	for k, i := range a.Unchanged {
		flags[k] = "s." + quote(unchangedColumn(i))
	}
	a.stayed = a.tx.temp("stayed")
	if err := a.tx.run(fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT p.sid, p.tid, concat(%s) AS kept FROM %s AS p JOIN %s AS s ON s.rowid = p.sid",
		a.stayed, strings.Join(flags, ", ' ', "), pairs, a.Staged.sql)); err != nil {
		return err
	}
	var kinds []string
	err := a.tx.se.query(a.tx.ctx, "SELECT DISTINCT kept FROM "+a.stayed, nil, func(r ownRow) error {
		kinds = append(kinds, r.text(0))
		return nil
	})
	if err != nil {
		return err
	}
	for _, kept := range kinds {
		if err := a.update(kept); err != nil {
			return err
		}
	}
	a.stays, a.partial = a.partial, 0
	return nil
}

// update sets the columns that rows of one kind do not keep.
func (a *apply) update(kept string) error {
	var set []string
	flags := strings.Fields(kept)
	for i := range a.Cols {
		k := slices.Index(a.Unchanged, i)
		if k >= 0 && flags[k] == "true" || slices.Contains(a.Key, a.Cols[i].Name) {
			continue
		}
		set = append(set, fmt.Sprintf("%[1]s = s.%[1]s", quote(a.Cols[i].Name)))
	}
	if a.Keep.Stamps {
		for _, name := range stampNames {
			set = append(set, fmt.Sprintf("%[1]s = s.%[1]s", name))
		}
	}
	if len(set) == 0 {
		return nil
	}
	return a.tx.run(fmt.Sprintf("UPDATE %s AS t SET %s FROM %s AS s JOIN %s AS k ON k.sid = s.rowid WHERE t.rowid = k.tid AND k.kept = %s",
		a.table, strings.Join(set, ", "), a.Staged.sql, a.stayed, literal(kept)))
}

// updatable says whether an UPDATE brings every value of the type into the file. DuckDB leaves out one that compares equal to what is
// there, or was before a NULL: 30 days stay where a month should come, and 0 where -0 should.
func updatable(t *types.Type) bool {
	switch t.Kind {
	case types.Float32, types.Float64, types.Interval, types.TimeTZ:
		return false
	case types.List:
		return updatable(t.Elem)
	}
	return true
}

// huge says whether an unchanged value may be huge, by DuckDB's statistics of the columns: a join with nothing reads no row. They do not know the
// transaction's own rows, which are then carried.
func (a *apply) huge() (found bool, err error) {
	var columns, none, stats []string
	for _, i := range a.Unchanged {
		t := &a.Cols[i].Type
		switch t.Kind {
		case types.Text, types.Blob, types.JSON, types.JSONB:
			c := quote(a.Cols[i].Name)
			columns, none, stats = append(columns, c), append(none, "NULL::"+t.SQL), append(stats, "stats(x."+c+")")
		}
	}
	if len(columns) == 0 {
		return false, nil
	}
	err = a.tx.se.query(a.tx.ctx, fmt.Sprintf("SELECT %s FROM (SELECT %s FROM %s WHERE (SELECT false) UNION ALL SELECT %s) AS x",
		strings.Join(stats, ", "), strings.Join(columns, ", "), a.table, strings.Join(none, ", ")), nil, func(r ownRow) error {
		for k := range stats {
			found = found || longest(r.text(k)) >= hugeValue
		}
		return nil
	})
	return found, err
}

// longest reads the length of the longest value in DuckDB's text of a column's statistics. It is not there for a table without rows.
func longest(stats string) int64 {
	_, text, _ := strings.Cut(stats, "Max String Length: ")
	text, _, _ = strings.Cut(text, "]")
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
