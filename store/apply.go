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
	Into      *Staged  // if set, the changes go into this table, which is to become the target by a Swap, and Target stays as it is
	Staged    *Staged  // loaded with StagedColumns, not for a swap, one row a key; nil when there are none
	Key       []string // empty: rows are told apart by all columns, and equal ones are counted
	Cols      []Column // the table's, but for those of Keep
	Keep      change.Keep
	Truncate  bool         // all rows of before go first
	Truncated change.Stamp // the transaction that did; only where Keep has use for it
	Deletes   int64        // how many of the staged rows are no inserts; with 0 the copy is not searched
	Unchanged []int        // the columns, by their place in Cols, that have a column of change.UnchangedPrefix
	// Prove looks for what would put a key into the copy twice: an insert whose key is there, a key that is staged twice. It
	// costs a search of the copy.
	Prove bool
}

// opKind is the type of change.OpColumn, which no column of a source has.
const opKind types.Kind = 255

// StagedColumns are the columns of a feed of such changes: change.OpColumn, the table's own, a BOOLEAN for each of Unchanged,
// and what Keep and a table without a key ask for.
func (c *Changes) StagedColumns() []Column {
	staged := make([]Column, 0, 4+len(c.Cols)+len(c.Unchanged))
	staged = append(staged, Column{Name: change.OpColumn, Type: types.Type{Kind: opKind, SQL: "TINYINT"}})
	staged = append(staged, c.Cols...)
	for _, i := range c.Unchanged {
		staged = append(staged, Column{Name: unchangedColumn(i), Type: types.Type{Kind: types.Bool, SQL: "BOOLEAN"}})
	}
	if c.Keep.Stamped() {
		staged = append(staged, lsnColumn, committedColumn)
	}
	if len(c.Key) == 0 {
		staged = append(staged, Column{Name: change.CountColumn, Type: types.Type{Kind: types.Int32, SQL: "INTEGER"}})
	}
	return staged
}

func unchangedColumn(i int) string { return fmt.Sprint(change.UnchangedPrefix, i) }

// Up to skipKeys keys of a join's small side are held against the range of each row group of the large side, beyond it, which is 50 by
// itself, only the smallest and the largest: a batch of many new rows and a few old ones would read all that lies between. Where
// every row group has a key it costs a sixth more, so readers' joins are left alone.
const (
	skipSetting = "dynamic_or_filter_threshold"
	skipKeys    = 2000
)

const hintCopyAgain = "copy the table again with a full sync"

// Apply brings a batch's changes of one table into the copy: it empties the table when asked to, deletes the rows whose key is
// that of an upsert or a delete, and inserts the inserts and upserts. A value that came without its column, because it had not changed,
// is taken from the row that is there; that there is none is fault.DataMismatch, and so is what Prove finds.
//
// What Keep asks for is kept (change.Keep); rows that are there no more count as deleted.
//
// inserted - deleted is by how much the table has grown, in rows that are there. Where not all keys of a batch's upserts and deletes were there,
// the missing ones are counted as upserts, which then insert; so far as there are upserts.
//
// Several Changes of one table are applied in their order, each to what the one before has left.
//
// With Into, which must be staged for a swap, its Rows are changed when Commit has returned without an error, and not before; within
// the transaction the sum of inserted - deleted is to be added by the caller. A Swap of it needs another transaction; changes of
// the target may follow that in its own.
func (tx *Tx) Apply(c Changes) (inserted, updated, deleted int64, err error) {
	a := apply{tx: tx, Changes: c, table: tx.s.table(c.Target)}
	visible := c.Target
	if c.Into != nil {
		visible = ""
		if !c.Into.inFile || c.Into.gone.Load() {
			return 0, 0, 0, fault.New(fault.Internal, "", "apply changes to the staged rows of %s: they are not in the file", c.Target)
		}
		a.table = c.Into.sql
	}
	defer tx.changing(visible)()
	err = a.run()
	inserted, updated, deleted = a.inserted, a.updated, a.deleted
	if err != nil {
		return 0, 0, 0, doing(err, "apply changes to %s", c.Target)
	}
	if c.Into == nil {
		tx.deleted[c.Target] += a.dead
		return inserted, updated, deleted, nil
	}
	if tx.altered[c.Into] == nil {
		tx.altered[c.Into] = &alteration{}
	}
	tx.altered[c.Into].grown += inserted - deleted
	tx.altered[c.Into].deleted += a.dead
	return inserted, updated, deleted, nil
}

type apply struct {
	Changes
	tx    *Tx
	table string // the target as it is written in a statement
	on    string // that t has the key of s, and is no former version

	inserts, upserts, deletes, buries int64
	partial                           int64 // inserts and upserts that came without a value

	stayed string // the table of staged rows (sid) that stay has brought in; "" is none
	stays  int64  // how many

	inserted, updated, deleted int64
	dead                       int64 // rows of the file that nobody sees any more
}

func (a *apply) run() error {
	if a.Truncate {
		if err := a.truncate(); err != nil {
			return err
		}
	}
	if a.Staged == nil || a.Staged.Rows == 0 {
		return nil
	}
	if err := a.tx.run(fmt.Sprintf("SET SESSION %s = %d", skipSetting, skipKeys)); err != nil {
		return err
	}
	switch {
	case len(a.Key) == 0 && (a.Keep.Deletes != change.DeletesHard || len(a.Unchanged) > 0):
		return fault.New(fault.Internal, "", "there is no key")
	case len(a.Key) == 0:
		return a.keyless()
	}
	if err := a.look(); err != nil {
		return err
	}
	if a.Prove {
		if err := a.prove(); err != nil {
			return err
		}
	}
	if a.partial > 0 {
		if err := a.carry(); err != nil {
			return err
		}
	}
	var err error
	switch a.Keep.Deletes {
	case change.DeletesSoft:
		err = a.soft()
	case change.DeletesHistory:
		err = a.history()
	default:
		err = a.hard()
	}
	if err == nil && a.partial > 0 {
		err = a.tx.run("DROP TABLE " + a.tx.temp("carried"))
	}
	if err == nil && a.stayed != "" {
		err = a.tx.run("DROP TABLE " + a.stayed)
	}
	return err
}

func (a *apply) truncate() (err error) {
	switch a.Keep.Deletes {
	case change.DeletesSoft:
		return a.truncateSoft()
	case change.DeletesHistory:
		return a.truncateHistory()
	}
	a.deleted, err = a.tx.Exec("DELETE FROM " + a.table)
	a.dead = a.deleted
	return err
}

func (a *apply) hard() error {
	if a.stays > 0 && a.stays == a.Staged.Rows {
		a.updated = a.stays
		return nil
	}
	var found int64
	var err error
	others := ""
	if a.stays > 0 {
		others = fmt.Sprintf(" AND s.rowid NOT IN (SELECT sid FROM %s)", a.stayed)
	}
	if a.Deletes > 0 {
		// Written so, and not with EXISTS, which takes a hundred times as long, it skips row groups that no staged key is in.
		found, err = a.tx.Exec(fmt.Sprintf("DELETE FROM %s AS t USING %s AS s WHERE %s AND s.%s <> %d", a.table, a.Staged.sql, a.on, quote(change.OpColumn), change.OpInsert) + others)
	}
	if err != nil {
		return err
	}
	names, values, from := a.rows()
	if a.Keep.Stamps {
		names, values = append(names, stampNames...), append(values, "s."+stampNames[0], "s."+stampNames[1])
	}
	if a.deletes > 0 || others != "" {
		from += fmt.Sprintf(" WHERE s.%s <> %d", quote(change.OpColumn), change.OpDelete) + others
	}
	if err := a.insert(names, values, from); err != nil {
		return err
	}
	a.updated = min(a.upserts, max(0, found+a.stays-a.deletes))
	a.inserted = a.inserts + a.upserts - a.updated
	a.deleted += found + a.stays - a.updated
	a.dead += found
	return nil
}

// look counts what is staged, and finds out how the key is joined.
func (a *apply) look() error {
	op, some := "s."+quote(change.OpColumn), a.isPartial()
	counts := []string{"count(*)"}
	for _, where := range []string{
		fmt.Sprintf("%s = %d", op, change.OpInsert), fmt.Sprintf("%s = %d", op, change.OpUpsert), fmt.Sprintf("%s = %d", op, change.OpDelete),
		fmt.Sprintf("%s = %d", op, change.OpBury), some, fmt.Sprintf("%s = %d AND %s", op, change.OpInsert, some),
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
		all, a.inserts, a.upserts, a.deletes, a.buries, a.partial, lost = r.int(0), r.int(1), r.int(2), r.int(3), r.int(4), r.int(5), r.int(6)
		for i := range nulls {
			nulls[i] = r.int(first + i)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case a.inserts+a.upserts+a.deletes+a.buries != all || a.Keep.Deletes != change.DeletesSoft && a.buries > 0 || a.Keep.Deletes == change.DeletesSoft && a.inserts > 0:
		return fault.New(fault.Internal, "", "not all of %d staged rows say what is to be done with them", all)
	case all-a.inserts != a.Deletes:
		return fault.New(fault.Internal, "", "%d upserts and deletes are staged, not %d", all-a.inserts, a.Deletes)
	case lost > 0:
		return a.withoutValues(lost)
	}
	a.on = joinKey(a.Key, nulls)
	if a.Keep.Deletes == change.DeletesHistory {
		a.on += " AND t." + quote(change.ToColumn) + " IS NULL"
	}
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
	keys := quoteAll(a.Key, "")
	if a.Keep.Deletes == change.DeletesHistory {
		keys += ", " + quote(change.LSNColumn)
	}
	n, err := a.tx.se.queryInt(a.tx.ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s GROUP BY %s HAVING count(*) > 1)", a.Staged.sql, keys))
	if err != nil {
		return err
	}
	if n > 0 {
		return fault.New(fault.DataMismatch, hintCopyAgain, "%d keys come more than once in one batch", n)
	}
	if a.inserts == 0 || a.Keep.Deletes == change.DeletesHistory {
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

// piece is how many of n rows are looked up at once.
func (a *apply) piece(n int64) (int64, error) {
	if n <= pieceRows {
		return pieceRows, nil
	}
	rows, err := a.tx.se.queryInt(a.tx.ctx, "SELECT count(*) FROM "+a.table)
	if err == nil && n > rows/vectorRows/2 {
		return n, nil // most vectors would be read anyway
	}
	return pieceRows, err
}

// lookUp makes a temporary table of rows of the copy, reading no others as far as may be: values are of t, the copy, and of
// p, a table of their ids (tid) and pieces.
func (a *apply) lookUp(into, pairs string, n, size int64, values []string, where string) error {
	begin := "CREATE TEMP TABLE " + into + " AS"
	for piece := int64(0); piece == 0 || piece*size < n; piece++ {
		if err := a.tx.run(fmt.Sprintf("%s SELECT %s FROM %s AS p JOIN %s AS t ON t.rowid = p.tid WHERE p.piece = %d%s", begin, strings.Join(values, ", "), pairs, a.table, piece, where)); err != nil {
			return err
		}
		begin = "INSERT INTO " + into
	}
	return nil
}

// pieceOf numbers the pieces in a table of pairs.
func pieceOf(size int64) string {
	return fmt.Sprintf("(row_number() OVER (ORDER BY t.rowid) - 1) // %d AS piece", size)
}

// carry saves the values that are to be taken from the copy, which are mostly large: first it finds the rows, reading no more than
// their keys.
func (a *apply) carry() error {
	size, err := a.piece(a.partial)
	if err != nil {
		return err
	}
	pairs := a.tx.temp("pairs")
	if err := a.tx.run(fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT s.rowid AS sid, t.rowid AS tid, %s FROM %s AS s JOIN %s AS t ON %s WHERE %s",
		pairs, pieceOf(size), a.Staged.sql, a.table, a.on, a.isPartial())); err != nil {
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
		return a.doubled(there - distinct)
	}
	if err := a.stay(pairs); err != nil {
		return err
	}
	values := []string{"p.sid"}
	for _, i := range a.carries() {
		values = append(values, fmt.Sprintf("t.%s AS c%d", quote(a.Cols[i].Name), i))
	}
	if a.partial > 0 {
		if err := a.lookUp(a.tx.temp("carried"), pairs, there, size, values, ""); err != nil {
			return err
		}
	}
	return a.tx.run("DROP TABLE " + pairs)
}

func (a *apply) doubled(n int64) error {
	return fault.New(fault.DataMismatch, hintCopyAgain, "%d keys are in the copy more than once", n)
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

// rows are the columns, and the values of the staged rows, with those that are taken from the copy.
func (a *apply) rows() (names, values []string, from string) {
	names, values = make([]string, len(a.Cols)), make([]string, len(a.Cols))
	for i := range a.Cols {
		names[i] = quote(a.Cols[i].Name)
		values[i] = "s." + names[i]
	}
	from = a.Staged.sql + " AS s"
	if a.partial > 0 {
		from += " LEFT JOIN " + a.tx.temp("carried") + " AS c ON c.sid = s.rowid"
		if text := a.textColumn(); text >= 0 {
			values[text] = a.text(text)
		}
		for _, i := range a.Unchanged {
			values[i] = fmt.Sprintf("CASE WHEN s.%s THEN c.c%d ELSE s.%s END", quote(unchangedColumn(i)), i, names[i])
		}
	}
	return names, values, from
}

func (a *apply) insert(names, values []string, from string) error {
	return a.tx.run(fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s", a.table, strings.Join(names, ", "), strings.Join(values, ", "), from))
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
