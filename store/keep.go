package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

var (
	timestampTZ     = types.Type{Kind: types.TimestampTZ, SQL: "TIMESTAMP WITH TIME ZONE"}
	lsnColumn       = Column{Name: change.LSNColumn, Type: types.Type{Kind: types.UInt64, SQL: "UBIGINT"}}
	committedColumn = Column{Name: change.CommittedColumn, Type: timestampTZ}

	deletedName = quote(change.DeletedColumn)
	fromName    = quote(change.FromColumn)
	toName      = quote(change.ToColumn)
	lsnName     = quote(change.LSNColumn)
	stampNames  = []string{lsnName, quote(change.CommittedColumn)}
	opName      = quote(change.OpColumn)
)

// KeptColumns are the columns that a table of the copy has behind the source's.
func KeptColumns(k change.Keep) []Column {
	if k.Deletes == change.DeletesHistory {
		return []Column{{Name: change.FromColumn, Type: timestampTZ}, {Name: change.ToColumn, Type: timestampTZ}, lsnColumn}
	}
	var cols []Column
	if k.Stamps {
		cols = append(cols, lsnColumn, committedColumn)
	}
	if k.Deletes == change.DeletesSoft {
		cols = append(cols, Column{Name: change.DeletedColumn, Type: timestampTZ})
	}
	return cols
}

// LiveCondition holds for the rows that are in the source; "" is all.
func LiveCondition(k change.Keep) string {
	switch k.Deletes {
	case change.DeletesSoft:
		return deletedName + " IS NULL"
	case change.DeletesHistory:
		return toName + " IS NULL"
	}
	return ""
}

// kept are the values of KeptColumns in rows that a transaction has written.
func kept(k change.Keep, by change.Stamp) []string {
	at, lsn := moment(by.At), fmt.Sprintf("%d::UBIGINT", uint64(by.LSN))
	if k.Deletes == change.DeletesHistory {
		return []string{at, "NULL::TIMESTAMPTZ", lsn}
	}
	var values []string
	if k.Stamps {
		values = append(values, lsn, at)
	}
	if k.Deletes == change.DeletesSoft {
		values = append(values, "NULL::TIMESTAMPTZ")
	}
	return values
}

// moment is a time as a literal.
func moment(t time.Time) string {
	return "TIMESTAMPTZ " + literal(string(types.AppendTimestamp(nil, t.UnixMicro(), 1e6, ' ', "+00")))
}

// keyless brings in the changes of a table of which rows are told apart by all their columns: of equal rows, as many are
// deleted as is said. Rows are equal in DuckDB's sense, since it may change the sign of a zero by itself.
func (a *apply) keyless() error {
	if _, err := column(a.Staged.cols, change.CountColumn); err != nil {
		return fault.New(fault.Internal, "", "there is no key")
	}
	count, inserted, deleted, nulls, err := a.tally()
	if err != nil {
		return err
	}
	if deleted > 0 {
		found, err := a.deleteEqual(nulls)
		if err != nil {
			return err
		}
		if found != deleted {
			return fault.New(fault.DataMismatch, hintCopyAgain, "%d rows to be deleted are not in the copy", deleted-found)
		}
		a.deleted += deleted
		a.dead += deleted
	}
	names, values, from := a.rows()
	if a.Keep.Stamps {
		names, values = append(names, stampNames...), append(values, "s."+stampNames[0], "s."+stampNames[1])
	}
	if inserted > count {
		// Each as often as is said.
		from = fmt.Sprintf("(SELECT *, unnest(range(%s)) FROM %s) AS s", quote(change.CountColumn), a.Staged.sql)
	}
	a.inserted = inserted
	return a.insert(names, values, from+fmt.Sprintf(" WHERE s.%s = %d", opName, change.OpInsert))
}

// tally counts the staged inserts, the rows that they and the deletes mean, and the NULLs in each column of the deletes.
func (a *apply) tally() (inserts, inserted, deleted int64, nulls []int64, err error) {
	counts := make([]string, 0, 4+len(a.Cols))
	counts = append(counts, "count(*)", fmt.Sprintf("count(*) FILTER (%s = %d)", opName, change.OpInsert))
	for _, op := range []change.Op{change.OpInsert, change.OpDelete} {
		counts = append(counts, fmt.Sprintf("coalesce(sum(%s) FILTER (%s = %d), 0)::BIGINT", quote(change.CountColumn), opName, op))
	}
	for i := range a.Cols {
		counts = append(counts, fmt.Sprintf("count(*) FILTER (%s = %d AND %s IS NULL)", opName, change.OpDelete, quote(a.Cols[i].Name)))
	}
	counts = append(counts, fmt.Sprintf("count(*) FILTER (%s = %d)", opName, change.OpDelete))
	nulls = make([]int64, len(a.Cols))
	var all, deletes int64
	err = a.tx.se.query(a.tx.ctx, "SELECT "+strings.Join(counts, ", ")+" FROM "+a.Staged.sql, nil, func(r ownRow) error {
		all, inserts, inserted, deleted, deletes = r.int(0), r.int(1), r.int(2), r.int(3), r.int(4+len(nulls))
		for i := range nulls {
			nulls[i] = r.int(4 + i)
		}
		return nil
	})
	if err == nil && (inserts+deletes != all || deletes != a.Deletes) {
		err = fault.New(fault.Internal, "", "%d inserts and %d deletes are staged of %d rows, not %d deletes", inserts, deletes, all, a.Deletes)
	}
	return inserts, inserted, deleted, nulls, err
}

// deleteEqual deletes as many of the rows that are equal to a staged delete as that says, and counts them. With fewer there
// are none deleted that count.
func (a *apply) deleteEqual(nulls []int64) (int64, error) {
	// Staged rows that are different to PostgreSQL may be equal here.
	gone, found := a.tx.temp("gone"), a.tx.temp("found")
	var values, groups, on []string
	for i := range a.Cols {
		name, op := quote(a.Cols[i].Name), "="
		if nulls[i] > 0 {
			op = "IS NOT DISTINCT FROM"
		}
		groups = append(groups, name)
		values = append(values, fmt.Sprintf("%s AS c%d", name, i))
		on = append(on, fmt.Sprintf("t.%s %s g.c%d", name, op, i))
		if exact := spelled(&a.Cols[i].Type, name); exact != "" {
			groups = append(groups, exact)
			values = append(values, fmt.Sprintf("%s AS x%d", exact, i))
			on = append(on, fmt.Sprintf("%s %s g.x%d", spelled(&a.Cols[i].Type, "t."+name), op, i))
		}
	}
	if err := a.tx.run(fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT *, row_number() OVER () AS id FROM (SELECT %s, sum(%s)::BIGINT AS n FROM %s WHERE %s = %d GROUP BY %s)",
		gone, strings.Join(values, ", "), quote(change.CountColumn), a.Staged.sql, opName, change.OpDelete, strings.Join(groups, ", "))); err != nil {
		return 0, err
	}
	if err := a.tx.run(fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT t.rowid AS tid, g.n, row_number() OVER (PARTITION BY g.id) AS k FROM %s AS t JOIN %s AS g ON %s",
		found, a.table, gone, strings.Join(on, " AND "))); err != nil {
		return 0, err
	}
	n, err := a.tx.Exec(fmt.Sprintf("DELETE FROM %s WHERE rowid IN (SELECT tid FROM %s WHERE k <= n)", a.table, found))
	if err != nil {
		return 0, err
	}
	return n, a.tx.run("DROP TABLE "+gone, "DROP TABLE "+found)
}

// spelled is a value of a type of which DuckDB takes different ones for equal, a month and 30 days, so that they differ.
func spelled(t *types.Type, value string) string {
	if t.Kind == types.Interval || t.Kind == types.List && t.Elem.Kind == types.Interval {
		return value + "::VARCHAR"
	}
	return ""
}

// soft brings in changes where rows that are deleted stay, marked.
func (a *apply) soft() error {
	size, err := a.piece(a.deletes)
	if err != nil {
		return err
	}
	pairs, gone := a.tx.temp("pairs"), a.tx.temp("gone")
	stamp := "s." + stampNames[0] + " AS lsn, s." + stampNames[1] + " AS at"
	// A delete of what is deleted already leaves it as it is.
	if err := a.tx.run(fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT t.rowid AS tid, s.%s AS op, t.%s IS NULL AS live, %s, %s FROM %s AS s JOIN %s AS t ON %s WHERE s.%s <> %d OR t.%s IS NULL",
		pairs, opName, deletedName, stamp, fmt.Sprintf("(row_number() OVER (PARTITION BY s.%s ORDER BY t.rowid) - 1) // %d AS piece", opName, size),
		a.Staged.sql, a.table, a.on, opName, change.OpDelete, deletedName)); err != nil {
		return err
	}
	var updated, buried, deleted int64
	if err := a.tx.se.query(a.tx.ctx, fmt.Sprintf("SELECT count(*) FILTER (op = %d AND live), count(*) FILTER (op = %d AND live), count(*) FILTER (op = %d) FROM %s",
		change.OpUpsert, change.OpBury, change.OpDelete, pairs), nil, func(r ownRow) error {
		updated, buried, deleted = r.int(0), r.int(1), r.int(2)
		return nil
	}); err != nil {
		return err
	}
	names, values, from := a.rows()
	if deleted > 0 {
		last := make([]string, 0, 2+len(names))
		for i, name := range names {
			last = append(last, fmt.Sprintf("t.%s AS c%d", name, i))
		}
		if err := a.lookUp(gone, pairs, deleted, size, append(last, "p.lsn", "p.at"), fmt.Sprintf(" AND p.op = %d", change.OpDelete)); err != nil {
			return err
		}
	}
	found, err := a.tx.Exec(fmt.Sprintf("DELETE FROM %s WHERE rowid IN (SELECT tid FROM %s)", a.table, pairs))
	if err != nil {
		return err
	}
	count := len(names)
	if a.Keep.Stamps {
		names, values = append(names, stampNames...), append(values, "s."+stampNames[0], "s."+stampNames[1])
	}
	names, values = append(names, deletedName), append(values, fmt.Sprintf("CASE WHEN s.%s = %d THEN s.%s END", opName, change.OpBury, stampNames[1]))
	if err := a.insert(names, values, from+fmt.Sprintf(" WHERE s.%s <> %d", opName, change.OpDelete)); err != nil {
		return err
	}
	if deleted > 0 {
		last := make([]string, count, len(names))
		for i := range count {
			last[i] = fmt.Sprintf("g.c%d", i)
		}
		if a.Keep.Stamps {
			last = append(last, "g.lsn", "g.at")
		}
		if err := a.insert(names, append(last, "g.at"), gone+" AS g"); err != nil {
			return err
		}
		if err := a.tx.run("DROP TABLE " + gone); err != nil {
			return err
		}
	}
	a.inserted, a.updated = a.upserts-updated, updated
	a.deleted += deleted + buried
	a.dead += found
	return a.tx.run("DROP TABLE " + pairs)
}

// truncateSoft marks all rows. All of them would be written again otherwise, so this one is an UPDATE: of few columns.
func (a *apply) truncateSoft() (err error) {
	at := moment(a.Truncated.At)
	set := deletedName + " = " + at
	if a.Keep.Stamps {
		set += fmt.Sprintf(", %s = %d, %s = %s", stampNames[0], uint64(a.Truncated.LSN), stampNames[1], at)
	}
	a.deleted, err = a.tx.Exec(fmt.Sprintf("UPDATE %s SET %s WHERE %s IS NULL", a.table, set, deletedName))
	return err
}

// history brings in changes where each transaction's rows stay, as versions. Of one key there may be several in a batch: each
// ends where the next begins. A version of the same transaction is there where it came in parts: then it has never been.
func (a *apply) history() error {
	size, err := a.piece(a.Deletes)
	if err != nil {
		return err
	}
	steps, pairs, closed := a.tx.temp("steps"), a.tx.temp("pairs"), a.tx.temp("closed")
	// Keys of different bytes may be equal here, as 0.0 and -0.0: of one transaction's, what ends a row comes first.
	if err := a.tx.run(fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT rowid AS sid, %s AS op, lead(%s) OVER w AS until, row_number() OVER w AS n, first_value(rowid) OVER w AS head FROM %s WINDOW w AS (PARTITION BY %s ORDER BY %s, %s DESC)",
		steps, opName, stampNames[1], a.Staged.sql, quoteAll(a.Key, ""), lsnName, opName)); err != nil {
		return err
	}
	if err := a.tx.run(fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT s.rowid AS sid, t.rowid AS tid, t.%s = s.%s AS same, s.%s AS at, %s FROM %s AS s JOIN %s AS t ON %s WHERE s.rowid IN (SELECT sid FROM %s WHERE n = 1 AND op <> %d)",
		pairs, lsnName, lsnName, stampNames[1], pieceOf(size), a.Staged.sql, a.table, a.on, steps, change.OpInsert)); err != nil {
		return err
	}
	var found, keys, after, both int64
	if err := a.tx.se.query(a.tx.ctx, fmt.Sprintf("SELECT count(*), count(DISTINCT sid), (SELECT count(*) FROM %[2]s WHERE until IS NULL AND op <> %[3]d), (SELECT count(*) FROM %[2]s WHERE until IS NULL AND op <> %[3]d AND head IN (SELECT sid FROM %[1]s)) FROM %[1]s",
		pairs, steps, change.OpDelete), nil, func(r ownRow) error {
		found, keys, after, both = r.int(0), r.int(1), r.int(2), r.int(3)
		return nil
	}); err != nil {
		return err
	}
	if found > keys {
		return a.doubled(found - keys)
	}
	names, values, from := a.rows()
	last := make([]string, 0, 3+len(names))
	for _, name := range names {
		last = append(last, "t."+name)
	}
	last = append(last, "t."+fromName, "p.at AS "+toName, "t."+lsnName)
	if err := a.lookUp(closed, pairs, found, size, last, " AND NOT p.same"); err != nil {
		return err
	}
	if _, err := a.tx.Exec(fmt.Sprintf("DELETE FROM %s WHERE rowid IN (SELECT tid FROM %s)", a.table, pairs)); err != nil {
		return err
	}
	names = append(names, fromName, toName, lsnName)
	if err := a.insert(names, names, closed); err != nil {
		return err
	}
	from += fmt.Sprintf(" JOIN %s AS p ON p.sid = s.rowid WHERE p.op <> %d", steps, change.OpDelete)
	if err := a.insert(names, append(values, "s."+stampNames[1], "p.until", "s."+lsnName), from); err != nil {
		return err
	}
	a.inserted, a.updated = after-both, both
	a.deleted += found - both
	a.dead += found
	return a.tx.run("DROP TABLE "+steps, "DROP TABLE "+pairs, "DROP TABLE "+closed)
}

// truncateHistory ends all present versions. Likewise an UPDATE.
func (a *apply) truncateHistory() error {
	own, err := a.tx.Exec(fmt.Sprintf("DELETE FROM %s WHERE %s IS NULL AND %s = %d", a.table, toName, lsnName, uint64(a.Truncated.LSN)))
	if err != nil {
		return err
	}
	ended, err := a.tx.Exec(fmt.Sprintf("UPDATE %s SET %s = %s WHERE %[2]s IS NULL", a.table, toName, moment(a.Truncated.At)))
	a.deleted, a.dead = own+ended, own
	return err
}
