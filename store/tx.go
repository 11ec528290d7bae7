package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// Tx is one transaction: all that a run changes becomes visible in one moment or not at all. It ends with the function that
// Commit called with it.
type Tx struct {
	s       *Store
	se      *Session
	ctx     context.Context
	swapped bool // or dropped: a checkpoint makes the file as small as it can be
	deleted map[string]int64
	altered map[*Staged]*alteration // by Changes.Into
	runs    int64

	changed  map[string]bool // targets that readers see otherwise after it, folded
	unknown  bool            // it changes what is not in changed
	reshaped bool            // it makes or drops tables or views
	named    int             // above 0: what is changed is in changed already
}

// alteration is what a transaction has done to a staged table; it counts from the commit on, for before it may come to nothing or be
// done again.
type alteration struct{ grown, deleted int64 }

const (
	commitTries = 5
	commitPause = 5 * time.Millisecond // before the second try; doubled for each further one
)

// Commit runs fn within a transaction and commits it; an error of fn rolls back. One Commit runs at a time. When DuckDB
// finds a conflict with another transaction it is rolled back and fn is called again, so fn must not count on being called once.
// After a dropped or swapped table the file's space is freed, unless an old reader or a load under way still needs it; then by a later
// Commit.
func (s *Store) Commit(ctx context.Context, fn func(tx *Tx) error) error {
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	pause := commitPause
	for try := 1; ; try++ {
		deleted, err := s.commitOnce(ctx, fn)
		if err == nil {
			s.freeSpace(ctx)
			s.squeeze(context.WithoutCancel(ctx), deleted)
			return nil
		}
		if try == commitTries || !isConflict(err) {
			return err
		}
		s.log.Debug("transaction conflict", "try", try, "error", err)
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// commitOnce returns how many rows were deleted in each table.
func (s *Store) commitOnce(ctx context.Context, fn func(tx *Tx) error) (deleted map[string]int64, err error) {
	err = s.with(func(se *Session) error {
		tx := &Tx{s: s, se: se, ctx: ctx, deleted: map[string]int64{}, altered: map[*Staged]*alteration{}, changed: map[string]bool{}}
		if _, err := se.exec(ctx, "BEGIN TRANSACTION"); err != nil {
			return err
		}
		committed := false
		defer func() {
			if !committed {
				// Also after a panic of fn. A failed COMMIT has rolled back already.
				_, _ = se.exec(context.WithoutCancel(ctx), "ROLLBACK")
			}
		}()
		// An UPDATE, even of nothing, keeps checkpoints off until the end: they give row ids anew, by which merges find their
		// rows. Deletes and inserts do not.
		if _, err := se.exec(ctx, "UPDATE "+s.state("meta")+" SET value = value WHERE name = ''"); err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		s.versions.begin(tx)
		defer s.versions.end(tx)
		defer s.committing()()
		// Not interrupted any more: it takes milliseconds, and its outcome must be known.
		if _, err := se.exec(context.WithoutCancel(ctx), "COMMIT"); err != nil {
			return doing(err, "commit")
		}
		committed = true
		if tx.swapped {
			s.reclaim.Store(true)
		}
		if tx.runs > 0 {
			s.pruneRuns(ctx, se, tx.runs)
		}
		for st, a := range tx.altered {
			st.Rows += a.grown
			st.dead += a.deleted
		}
		deleted = tx.deleted
		return nil
	})
	return deleted, err
}

// Exec runs one statement with bound arguments and returns how many rows it changed.
func (tx *Tx) Exec(sql string, args ...any) (int64, error) {
	tx.noteExec(sql)
	return tx.se.exec(tx.ctx, sql, args...)
}

// Swap makes the staged table the target, in place of a table or view of that name. Views over the target stay, and must be
// made again in the same transaction when its columns have changed. Rows that Changes.Into brought into the staged table must have been
// committed before: rows deleted in a table that is then renamed go into the write-ahead log under the new name, and after a crash DuckDB
// drops the whole transaction without a word. Changes of the target that come after the swap are safe.
func (tx *Tx) Swap(target string, st *Staged) error {
	if !st.inFile || st.gone.Load() {
		return fault.New(fault.Internal, "", "swap %s: the staged rows are not in the file", target)
	}
	schema, name := splitTarget(target)
	if st.schema != schema {
		return fault.New(fault.Internal, "", "swap %s: the staged rows are in schema %s", target, st.schema)
	}
	if tx.altered[st] != nil {
		return fault.New(fault.Internal, "", "swap %s: the staged rows were changed in the same transaction, commit that first", target)
	}
	if err := tx.s.notClients(target); err != nil {
		return doing(err, "swap %s", target)
	}
	as, view, err := tx.spelled(target)
	if err == nil {
		err = sameSpelling(target, as)
	}
	if err != nil {
		return doing(err, "swap %s", target)
	}
	defer tx.changing(target)()
	switch {
	case as == "":
		tx.reshaped = true
	case view:
		err = tx.DropView(target)
	default:
		err = tx.DropTable(target)
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec("ALTER TABLE " + st.sql + " RENAME TO " + quote(name)); err != nil {
		return doing(err, "swap %s", target)
	}
	tx.swapped = true
	tx.deleted[target] += st.dead
	return nil
}

// Rewrite replaces the target's rows within r by the staged ones, for tables without a key.
func (tx *Tx) Rewrite(target string, st *Staged, r KeyRange, cols []Column) (deleted, inserted int64, err error) {
	where, err := r.where(cols)
	if err != nil {
		return 0, 0, doing(err, "rewrite %s", target)
	}
	defer tx.changing(target)()
	if deleted, err = tx.Exec("DELETE FROM " + tx.s.table(target) + " WHERE " + where); err != nil {
		return 0, 0, doing(err, "rewrite %s", target)
	}
	tx.deleted[target] += deleted
	names := make([]string, len(cols))
	for i := range cols {
		names[i] = cols[i].Name
	}
	list := quoteAll(names, "")
	if inserted, err = tx.Exec(fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s", tx.s.table(target), list, list, st.sql)); err != nil {
		return 0, 0, doing(err, "rewrite %s", target)
	}
	return deleted, inserted, nil
}

// KeyRange restricts a read or delete: rows with Column >= Low, < High and <= Through, bounds in PostgreSQL's text, "" for none;
// OrNull adds the rows where Column is NULL. The zero KeyRange is all rows.
type KeyRange struct {
	Column, Low, High, Through string
	OrNull                     bool
}

// RangeCondition is the SQL condition of r, whose column has type t; "" when it is all rows.
func RangeCondition(r KeyRange, t types.Type) string {
	if r.Column == "" {
		return ""
	}
	c := quote(r.Column)
	var parts []string
	for _, b := range []struct{ op, value string }{{">=", r.Low}, {"<", r.High}, {"<=", r.Through}} {
		if b.value != "" {
			parts = append(parts, fmt.Sprintf("%s %s CAST(%s AS %s)", c, b.op, literal(duckText(&t, b.value)), t.SQL))
		}
	}
	switch sql := "(" + strings.Join(parts, " AND ") + ")"; {
	case len(parts) == 0 && r.OrNull:
		return ""
	case len(parts) == 0:
		return c + " IS NOT NULL"
	case r.OrNull:
		return "(" + sql + " OR " + c + " IS NULL)"
	default:
		return sql
	}
}

func (r KeyRange) where(cols []Column) (string, error) {
	if r.Column == "" {
		return "TRUE", nil
	}
	col, err := column(cols, r.Column)
	if err != nil {
		return "", err
	}
	if sql := RangeCondition(r, col.Type); sql != "" {
		return sql, nil
	}
	return "TRUE", nil
}

// duckText is PostgreSQL's text of a value as DuckDB reads it: they differ in where a date says that it is BC.
func duckText(t *types.Type, s string) string {
	switch t.Kind {
	case types.Date, types.Timestamp, types.TimestampTZ:
		if day, ok := strings.CutSuffix(s, " BC"); ok {
			day, clock, ok := strings.Cut(day, " ")
			if ok {
				return day + " (BC) " + clock
			}
			return day + " (BC)"
		}
	}
	return s
}

// DeleteMissing deletes the target's rows within r whose key is not among the staged rows, which need no other columns.
func (tx *Tx) DeleteMissing(target string, st *Staged, key []string, r KeyRange) (int64, error) {
	where, err := r.where(st.cols)
	if err != nil {
		return 0, doing(err, "delete from %s", target)
	}
	on, err := tx.joinOn(st, key)
	if err != nil {
		return 0, doing(err, "delete from %s", target)
	}
	defer tx.changing(target)()
	n, err := tx.Exec(fmt.Sprintf("DELETE FROM %s AS t WHERE %s AND NOT EXISTS (SELECT 1 FROM %s AS s WHERE %s)", tx.s.table(target), where, st.sql, on))
	tx.deleted[target] += n
	return n, doing(err, "delete from %s", target)
}

// View makes or replaces a view of the copy; a table of that name, left by a former definition, gives way.
func (tx *Tx) View(name, sql string) error {
	defer tx.changing(name)()
	tx.reshaped = true
	err := tx.s.newTarget(name)
	if err == nil {
		err = tx.s.notClients(name)
	}
	if err != nil {
		return doing(err, "make the view %s", name)
	}
	as, view, err := tx.spelled(name)
	if err == nil {
		err = sameSpelling(name, as)
	}
	if err == nil && as != "" && !view {
		err = tx.DropTable(name)
	}
	if err != nil {
		return doing(err, "make the view %s", name)
	}
	_, err = tx.Exec("CREATE OR REPLACE VIEW " + tx.s.table(name) + " AS " + sql)
	return doing(err, "make the view %s", name)
}

// DropView drops the view, if it is there. A client's table of that name is left alone.
func (tx *Tx) DropView(name string) error {
	if tx.s.IsClientTable(splitTarget(name)) {
		return nil
	}
	defer tx.changing(name)()
	tx.reshaped = true
	_, err := tx.Exec("DROP VIEW IF EXISTS " + tx.s.table(name))
	return doing(err, "drop the view %s", name)
}

// DropTable drops the table, if it is there, and its macro (TimeTravel). A client's table is left alone.
func (tx *Tx) DropTable(name string) error {
	if tx.s.IsClientTable(splitTarget(name)) {
		return nil
	}
	defer tx.changing(name)()
	tx.swapped, tx.reshaped = true, true
	schema, table := splitTarget(name)
	return doing(tx.run("DROP TABLE IF EXISTS "+tx.s.table(name), "DROP MACRO TABLE IF EXISTS "+tx.s.in(schema, table+AtSuffix)), "drop the table %s", name)
}

// The changes of a table's columns are for a Commit of their own: together with deletes and inserts of the same table
// DuckDB loses rows.

// RenameColumn renames a column of target.
func (tx *Tx) RenameColumn(target, old, name string) error {
	return tx.alter(target, "RENAME COLUMN "+quote(old)+" TO "+quote(name))
}

// DropColumn drops a column of target.
func (tx *Tx) DropColumn(target, name string) error {
	return tx.alter(target, "DROP COLUMN "+quote(name))
}

// AddColumn adds a column, NULL in all rows.
func (tx *Tx) AddColumn(target string, c Column) error {
	return tx.alter(target, "ADD COLUMN "+quote(c.Name)+" "+c.Type.SQL)
}

// AlterType changes a column's type and casts its values; one that the new type cannot hold is an error.
func (tx *Tx) AlterType(target string, c Column) error {
	return tx.alter(target, "ALTER COLUMN "+quote(c.Name)+" SET DATA TYPE "+c.Type.SQL)
}

func (tx *Tx) alter(target, what string) error {
	defer tx.changing(target)()
	_, err := tx.Exec("ALTER TABLE " + tx.s.table(target) + " " + what)
	return doing(err, "change the columns of %s", target)
}
