package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// Merge makes the target's rows with a staged key the same as the staged rows, and adds those whose key is new. Rows that are the same in
// every bit are left alone. The staged keys must be unique (CheckKey); a key that is twice in the target is there once afterwards.
// Columns are matched by name; a column of the target that is not among cols becomes NULL in a changed row.
//
// A changed row is deleted and inserted again. DuckDB's MERGE would update it in place, and then rewrite each touched
// column of each touched row group at the next checkpoint: seconds for a few thousand rows all over a table, where this
// takes a tenth; and checkpoints close the gaps that deletes leave.
func (tx *Tx) Merge(target string, st *Staged, key []string, cols []Column) (inserted, updated int64, err error) {
	defer tx.changing(target)()
	inserted, updated, err = tx.merge(tx.s.table(target), st, key, cols)
	tx.deleted[target] += updated
	return inserted, updated, doing(err, "merge into %s", target)
}

func (tx *Tx) merge(target string, st *Staged, key []string, cols []Column) (inserted, updated int64, err error) {
	if len(key) == 0 {
		return 0, 0, fault.New(fault.Internal, "", "there is no key")
	}
	if st.Rows == 0 {
		return 0, 0, nil
	}
	isKey := map[string]bool{}
	for _, k := range key {
		if _, err := column(cols, k); err != nil {
			return 0, 0, err
		}
		isKey[fold(k)] = true
	}
	on, err := tx.joinOn(st, key)
	if err != nil {
		return 0, 0, err
	}
	tells := slices.ContainsFunc(cols, func(c Column) bool { return c.Tells && !isKey[fold(c.Name)] })
	var names, cheap, dear []string
	for i := range cols {
		t, c := &cols[i].Type, quote(cols[i].Name)
		names = append(names, c)
		d := differs(t, "t."+c, "s."+c, isKey[fold(cols[i].Name)])
		switch {
		case d == "":
		case cols[i].Tells, !tells && fixedWidth(t):
			cheap = append(cheap, d)
		default:
			dear = append(dear, d)
		}
	}
	list := strings.Join(names, ", ")

	// Each staged row with its row of the target (NULL: none) and whether they are known to differ: by the column that tells, or
	// by those of fixed width, which cost little to read.
	var all, same int64
	pairs := tx.temp("pairs")
	if err := tx.run(fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT s.rowid AS sid, t.rowid AS tid, t.rowid IS NOT NULL AND (%s) AS changed FROM %s AS s LEFT JOIN %s AS t ON %s",
		pairs, anyOf(cheap), st.sql, target, on)); err != nil {
		return 0, 0, err
	}
	err = tx.se.query(tx.ctx, fmt.Sprintf("SELECT count(*), count(*) FILTER (tid IS NULL), count(*) FILTER (tid IS NOT NULL AND NOT changed) FROM %s", pairs), nil, func(r ownRow) error {
		all, inserted, same = r.int(0), r.int(1), r.int(2)
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	if same > 0 && len(dear) > 0 {
		if err := tx.run(fmt.Sprintf("UPDATE %[1]s SET changed = TRUE WHERE sid IN (SELECT p.sid FROM %[1]s AS p JOIN %[2]s AS t ON t.rowid = p.tid JOIN %[3]s AS s ON s.rowid = p.sid WHERE NOT p.changed AND (%[4]s))",
			pairs, target, st.sql, anyOf(dear))); err != nil {
			return 0, 0, err
		}
	}
	if all > st.Rows {
		if err := tx.run(fmt.Sprintf("UPDATE %[1]s SET changed = TRUE WHERE sid IN (SELECT sid FROM %[1]s GROUP BY sid HAVING count(*) > 1)", pairs)); err != nil {
			return 0, 0, err
		}
	}
	if _, err := tx.Exec(fmt.Sprintf("DELETE FROM %s WHERE rowid IN (SELECT tid FROM %s WHERE changed)", target, pairs)); err != nil {
		return 0, 0, err
	}
	n, err := tx.Exec(fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s WHERE rowid IN (SELECT sid FROM %s WHERE changed OR tid IS NULL)", target, list, list, st.sql, pairs))
	if err != nil {
		return 0, 0, err
	}
	return inserted, n - inserted, tx.run("DROP TABLE " + pairs)
}

// temp is the name of a temporary table, which only this transaction's connection sees.
func (tx *Tx) temp(what string) string { return "temp.main." + quote("_pintail_"+what) }

// run runs statements one after the other.
func (tx *Tx) run(statements ...string) error {
	for _, sql := range statements {
		if _, err := tx.Exec(sql); err != nil {
			return err
		}
	}
	return nil
}

func anyOf(conditions []string) string {
	if len(conditions) == 0 {
		return "FALSE"
	}
	return strings.Join(conditions, " OR ")
}

// joinOn joins t and s by the key, in which NULL finds NULL, or a row with a NULL in a composite key would come again with every
// merge. Where no staged key has one, plain equality says the same and lets DuckDB skip the row groups that no staged key is in.
func (tx *Tx) joinOn(st *Staged, key []string) (string, error) {
	counts := make([]string, len(key))
	for i, k := range key {
		counts[i] = "count(*) - count(" + quote(k) + ")"
	}
	nulls := make([]int64, len(key))
	err := tx.se.query(tx.ctx, "SELECT "+strings.Join(counts, ", ")+" FROM "+st.sql, nil, func(r ownRow) error {
		for i := range nulls {
			nulls[i] = r.int(i)
		}
		return nil
	})
	return joinKey(key, nulls), err
}

// joinKey is joinOn where the number of staged NULLs in each column of the key is known.
func joinKey(key []string, nulls []int64) string {
	on := make([]string, len(key))
	for i, k := range key {
		op := "="
		if nulls[i] > 0 {
			op = "IS NOT DISTINCT FROM"
		}
		on[i] = "t." + quote(k) + " " + op + " s." + quote(k)
	}
	return strings.Join(on, " AND ")
}

// fixedWidth says whether values of t lie in a vector without anything outside it.
func fixedWidth(t *types.Type) bool {
	switch t.Kind {
	case types.Text, types.Blob, types.JSON, types.JSONB, types.List, types.Interval:
		return false // an interval is compared by its text
	}
	return true
}

// differs is the condition that a and b are not the same value to the last bit. DuckDB calls some different values equal:
// an interval of a month and one of 30 days, 0.0 and -0.0, and lists of those. sameKey says that a and b are known to be equal
// in DuckDB's sense; "" is returned when that settles it.
func differs(t *types.Type, a, b string, sameKey bool) string {
	distinct := a + " IS DISTINCT FROM " + b
	if sameKey {
		distinct = ""
	}
	or := func(more string) string {
		if distinct == "" {
			return more
		}
		return distinct + " OR " + more
	}
	switch t.Kind {
	case types.Float32, types.Float64:
		return or(fmt.Sprintf("(%s = 0 AND signbit(%s) <> signbit(%s))", a, a, b))
	case types.Interval:
		return fmt.Sprintf("%s::VARCHAR IS DISTINCT FROM %s::VARCHAR", a, b)
	case types.List:
		if k := t.Elem.Kind; k == types.Float32 || k == types.Float64 || k == types.Interval {
			return fmt.Sprintf("%s::VARCHAR IS DISTINCT FROM %s::VARCHAR", a, b)
		}
	}
	return distinct
}
