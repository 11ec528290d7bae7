package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// Changes are what a batch does to one table of the copy.
type Changes struct {
	Target    string
	Staged    *Staged  // loaded with StagedColumns, not for a swap, one row a key; nil when there are none
	Key       []string // may be empty when Deletes is 0
	Cols      []Column // the table's, all of them
	Truncate  bool     // all rows of before go first
	Deletes   int64    // how many of the staged rows are upserts and deletes; with 0 the copy is not searched
	Unchanged []int    // the columns, by their place in Cols, that have a column of change.UnchangedPrefix
	// Prove looks for what would put a key into the copy twice: an insert whose key is there, a key that is staged twice. It
	// costs a search of the copy.
	Prove bool
}

// opKind is the type of change.OpColumn, which no column of a source has.
const opKind types.Kind = 255

// StagedColumns are the columns of a feed of changes: change.OpColumn, the table's own, and a BOOLEAN for each of unchanged.
func StagedColumns(cols []Column, unchanged []int) []Column {
	staged := make([]Column, 0, 1+len(cols)+len(unchanged))
	staged = append(staged, Column{Name: change.OpColumn, Type: types.Type{Kind: opKind, SQL: "TINYINT"}})
	staged = append(staged, cols...)
	for _, i := range unchanged {
		staged = append(staged, Column{Name: unchangedColumn(i), Type: types.Type{Kind: types.Bool, SQL: "BOOLEAN"}})
	}
	return staged
}

func unchangedColumn(i int) string { return fmt.Sprint(change.UnchangedPrefix, i) }

const hintCopyAgain = "copy the table again with a full sync"

// Apply brings a batch's changes of one table into the copy: it empties the table when asked to, deletes the rows whose key is
// that of an upsert or a delete, and inserts the inserts and upserts. A value that came without its column, because it had not changed,
// is taken from the row that is there; that there is none is fault.DataMismatch, and so is what Prove finds.
//
// inserted - deleted is by how much the table has grown. Where not all keys of a batch's upserts and deletes were there,
// the missing ones are counted as upserts, which then insert; so far as there are upserts.
func (tx *Tx) Apply(c Changes) (inserted, updated, deleted int64, err error) {
	a := apply{tx: tx, Changes: c, table: tx.s.table(c.Target)}
	inserted, updated, deleted, err = a.run()
	return inserted, updated, deleted, doing(err, "apply changes to %s", c.Target)
}

type apply struct {
	Changes
	tx    *Tx
	table string // the target as it is written in a statement
	on    string // that t has the key of s

	inserts, upserts, deletes int64
	partial                   int64 // inserts and upserts that came without a value
}

func (a *apply) run() (inserted, updated, deleted int64, err error) {
	if a.Truncate {
		if deleted, err = a.tx.Exec("DELETE FROM " + a.table); err != nil {
			return 0, 0, 0, err
		}
	}
	if a.Staged == nil || a.Staged.Rows == 0 {
		a.tx.deleted[a.Target] += deleted
		return 0, 0, deleted, nil
	}
	if err := a.look(); err != nil {
		return 0, 0, 0, err
	}
	if a.Prove {
		if err := a.prove(); err != nil {
			return 0, 0, 0, err
		}
	}
	if a.partial > 0 {
		if err := a.carry(); err != nil {
			return 0, 0, 0, err
		}
	}
	var found int64
	if a.Deletes > 0 {
		// Written so, and not with EXISTS, which takes a hundred times as long, it skips row groups that no staged key is in.
		found, err = a.tx.Exec(fmt.Sprintf("DELETE FROM %s AS t USING %s AS s WHERE %s AND s.%s <> %d", a.table, a.Staged.sql, a.on, quote(change.OpColumn), change.OpInsert))
	}
	if err == nil {
		err = a.insert()
	}
	if err != nil {
		return 0, 0, 0, err
	}
	a.tx.deleted[a.Target] += deleted + found
	updated = min(a.upserts, max(0, found-a.deletes))
	return a.inserts + a.upserts - updated, updated, deleted + found - updated, nil
}

// look counts what is staged, and finds out how the key is joined.
func (a *apply) look() error {
	op, some := "s."+quote(change.OpColumn), a.isPartial()
	counts := []string{"count(*)"}
	for _, where := range []string{
		fmt.Sprintf("%s = %d", op, change.OpInsert), fmt.Sprintf("%s = %d", op, change.OpUpsert), fmt.Sprintf("%s = %d", op, change.OpDelete),
		some, fmt.Sprintf("%s = %d AND %s", op, change.OpInsert, some),
	} {
		counts = append(counts, "count(*) FILTER ("+where+")")
	}
	first := len(counts)
	for _, k := range a.Key {
		counts = append(counts, "count(*) - count(s."+quote(k)+")")
	}
	nulls := make([]int64, len(a.Key))
	var all, lost int64
	err := a.tx.se.query(a.tx.ctx, "SELECT "+strings.Join(counts, ", ")+" FROM "+a.Staged.sql+" AS s", nil, func(r ownRow) error {
		all, a.inserts, a.upserts, a.deletes, a.partial, lost = r.int(0), r.int(1), r.int(2), r.int(3), r.int(4), r.int(5)
		for i := range nulls {
			nulls[i] = r.int(first + i)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case a.inserts+a.upserts+a.deletes != all:
		return fault.New(fault.Internal, "", "%d of %d staged rows say not what is to be done with them", all-a.inserts-a.upserts-a.deletes, all)
	case a.upserts+a.deletes != a.Deletes:
		return fault.New(fault.Internal, "", "%d upserts and deletes are staged, not %d", a.upserts+a.deletes, a.Deletes)
	case len(a.Key) == 0 && (a.Deletes > 0 || a.partial > 0):
		return fault.New(fault.Internal, "", "there is no key")
	case lost > 0:
		return a.withoutValues(lost)
	}
	a.on = joinKey(a.Key, nulls)
	return nil
}

// isPartial is the condition that a value of s is to be taken from the copy.
func (a *apply) isPartial() string {
	flags := make([]string, len(a.Unchanged))
	for k, i := range a.Unchanged {
		flags[k] = "s." + quote(unchangedColumn(i))
	}
	return fmt.Sprintf("(s.%s <> %d AND (%s))", quote(change.OpColumn), change.OpDelete, anyOf(flags))
}

func (a *apply) withoutValues(n int64) error {
	return fault.New(fault.DataMismatch, hintCopyAgain, "%d rows came without the values that had not changed, and their keys are not in the copy", n)
}

func (a *apply) prove() error {
	if len(a.Key) == 0 {
		return nil
	}
	keys := quoteAll(a.Key, "")
	n, err := a.tx.se.queryInt(a.tx.ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s GROUP BY %s HAVING count(*) > 1)", a.Staged.sql, keys))
	if err != nil {
		return err
	}
	if n > 0 {
		return fault.New(fault.DataMismatch, hintCopyAgain, "%d keys come more than once in one batch", n)
	}
	if a.inserts == 0 {
		return nil
	}
	n, err = a.tx.se.queryInt(a.tx.ctx, fmt.Sprintf("SELECT count(*) FROM %s AS s JOIN %s AS t ON %s WHERE s.%s = %d", a.Staged.sql, a.table, a.on, quote(change.OpColumn), change.OpInsert))
	if err == nil && n > 0 {
		err = fault.New(fault.DataMismatch, hintCopyAgain, "%d rows to be inserted are in the copy already", n)
	}
	return err
}

// pieceRows is how many rows of the copy are looked up at once by their row ids: up to 50, DuckDB reads only the vectors that they
// are in.
const (
	pieceRows  = 50
	vectorRows = 2048
)

// carry saves the values that are to be taken from the copy, which are mostly large: first it finds the rows, reading no more than
// their keys.
func (a *apply) carry() error {
	size := int64(pieceRows)
	if a.partial > size {
		rows, err := a.tx.se.queryInt(a.tx.ctx, "SELECT count(*) FROM "+a.table)
		if err != nil {
			return err
		}
		if a.partial > rows/vectorRows/2 {
			size = a.partial // most vectors would be read anyway
		}
	}
	pairs, carried := a.tx.temp("pairs"), a.tx.temp("carried")
	if err := a.tx.run(fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT s.rowid AS sid, t.rowid AS tid, (row_number() OVER (ORDER BY t.rowid) - 1) // %d AS piece FROM %s AS s JOIN %s AS t ON %s WHERE %s",
		pairs, size, a.Staged.sql, a.table, a.on, a.isPartial())); err != nil {
		return err
	}
	var there, distinct int64
	if err := a.tx.se.query(a.tx.ctx, "SELECT count(*), count(DISTINCT sid) FROM "+pairs, nil, func(r ownRow) error {
		there, distinct = r.int(0), r.int(1)
		return nil
	}); err != nil {
		return err
	}
	switch {
	case distinct < a.partial:
		return a.withoutValues(a.partial - distinct)
	case there > distinct:
		return fault.New(fault.DataMismatch, hintCopyAgain, "%d keys are in the copy more than once", there-distinct)
	}
	values := []string{"p.sid"}
	for _, i := range a.carries() {
		values = append(values, fmt.Sprintf("t.%s AS c%d", quote(a.Cols[i].Name), i))
	}
	into := "CREATE TEMP TABLE " + carried + " AS"
	for piece := int64(0); piece*size < there; piece++ {
		if err := a.tx.run(fmt.Sprintf("%s SELECT %s FROM %s AS p JOIN %s AS t ON t.rowid = p.tid WHERE p.piece = %d", into, strings.Join(values, ", "), pairs, a.table, piece)); err != nil {
			return err
		}
		into = "INSERT INTO " + carried
	}
	return a.tx.run("DROP TABLE " + pairs)
}

// carries are the columns of which values are taken from the copy.
func (a *apply) carries() []int {
	if text := a.textColumn(); text >= 0 && !slices.Contains(a.Unchanged, text) {
		return append(slices.Clone(a.Unchanged), text)
	}
	return a.Unchanged
}

func (a *apply) textColumn() int {
	return slices.IndexFunc(a.Cols, func(c Column) bool { return c.Name == change.TextColumn })
}

func (a *apply) insert() error {
	names, values := make([]string, len(a.Cols)), make([]string, len(a.Cols))
	for i := range a.Cols {
		names[i] = quote(a.Cols[i].Name)
		values[i] = "s." + names[i]
	}
	from := a.Staged.sql + " AS s"
	if a.partial > 0 {
		from += " LEFT JOIN " + a.tx.temp("carried") + " AS c ON c.sid = s.rowid"
		if text := a.textColumn(); text >= 0 {
			values[text] = a.text(text)
		}
		for _, i := range a.Unchanged {
			values[i] = fmt.Sprintf("CASE WHEN s.%s THEN c.c%d ELSE s.%s END", quote(unchangedColumn(i)), i, names[i])
		}
	}
	where := ""
	if a.deletes > 0 {
		where = fmt.Sprintf(" WHERE s.%s <> %d", quote(change.OpColumn), change.OpDelete)
	}
	if err := a.tx.run(fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s%s", a.table, strings.Join(names, ", "), strings.Join(values, ", "), from, where)); err != nil {
		return err
	}
	if a.partial > 0 {
		return a.tx.run("DROP TABLE " + a.tx.temp("carried"))
	}
	return nil
}

// text is the value of change.TextColumn: an unchanged value that DuckDB cannot hold is kept as text there, among those that came.
func (a *apply) text(text int) string {
	var kept, patch []string
	for _, i := range a.Unchanged {
		if i == text {
			continue
		}
		name := a.Cols[i].Name
		path := literal("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
		is := fmt.Sprintf("(s.%s AND coalesce(json_exists(c.c%d, %s), FALSE))", quote(unchangedColumn(i)), text, path)
		kept = append(kept, is)
		patch = append(patch, fmt.Sprintf("CASE WHEN %s THEN json_object(%s, c.c%d ->> %s) ELSE '{}'::JSON END", is, literal(name), text, path))
	}
	came := "s." + quote(change.TextColumn)
	if len(kept) == 0 {
		return came
	}
	return fmt.Sprintf("CASE WHEN %s THEN json_merge_patch(coalesce(%s, '{}')::JSON, %s)::VARCHAR ELSE %s END", anyOf(kept), came, strings.Join(patch, ", "), came)
}
