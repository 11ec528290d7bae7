package syncer

import (
	"context"
	"errors"
	"slices"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// followed is a table that a stream brings changes of.
type followed struct {
	table      source.ReplicaTable
	target     string
	key        []string
	desc       *source.Description
	cols       []store.Column
	left       []string // columns that are not copied
	definition string
	keep       change.Keep
	rows       int64         // those that are in the source
	into       *store.Staged // of a table that does not take part yet: what was copied, into which its changes go
}

func (f *followed) streamed(after change.LSN) source.StreamTable {
	return source.StreamTable{OID: f.table.OID, Desc: f.desc, Key: f.key, Left: f.left, After: after, Keep: f.keep}
}

// applier brings batches into the copy. The parts of a transaction that is greater than a batch are staged as they come, and
// applied together.
type applier struct {
	store  *store.Store
	tables map[uint32]*followed
	parts  []stagedPart
	texts  bool // values out of range are kept as text
	inside bool // a transaction goes on in the next batch
	lost   []lostTable
	// reshape brings a table into another form; nil where a table that changes its form is given up.
	reshape func(ctx context.Context, f *followed, columns []change.SourceColumn) (*reshaped, error)
	shapes  []*reshaped    // that take their places with the next commit
	pressed map[string]int // target → how often in a row its changes did not fit into memory
}

type stagedPart struct {
	table   *followed
	changes store.Changes
	counts  changeCounts
}

// lostTable is a table whose changes cannot be applied; it is not among the applier's tables any more.
type lostTable struct {
	target string
	why    string
	err    error // of the table itself; nil where the source has changed its form
	mend   bool  // a new copy may help
	texts  bool  // if it keeps values out of range as text
}

// applied is what a commit did to one table.
type applied struct {
	table                      *followed
	inserted, updated, deleted int64
	counts                     changeCounts
}

// some says whether anything is staged.
func (a *applier) some() bool { return len(a.parts)+len(a.shapes) > 0 }

// pressedMax is how often it is tried again when a table's changes do not fit into memory, which others may have used, before
// the table is set aside and the others go on.
const pressedMax = 2

// stage loads a batch's changes into tables of their own.
func (a *applier) stage(ctx context.Context, st source.Stream, b *change.Batch) error {
	a.inside = b.More
	for i := range b.Tables {
		c := &b.Tables[i]
		f := a.tables[c.Table]
		switch {
		case f == nil:
			if c.Reshaped != nil {
				st.Reshape(c.Table, nil)
			}
			continue
		case c.Lost != "":
			a.lose(ctx, f, lostTable{why: c.Lost})
			continue
		case c.Reshaped != nil:
			if err := a.turn(ctx, f, c.Reshaped, st); err != nil {
				return err
			}
			continue
		}
		p := stagedPart{table: f, changes: store.Changes{Target: f.target, Into: f.into, Key: f.key, Cols: f.cols, Keep: f.keep, Truncate: c.Truncate, Truncated: c.Truncated, Deletes: int64(c.Deletes), Unchanged: c.Unchanged},
			counts: changeCounts{inserts: c.Inserts, updates: c.Updates, deletes: c.Removals}}
		if c.Truncate {
			p.counts.truncates = 1
		}
		if c.Rows > 0 {
			st, err := a.store.Stage(ctx, f.target, p.changes.StagedColumns(), c.Feed, false)
			switch {
			case errors.Is(err, change.ErrOutOfRange):
				err = describeValue(err, f.desc)
				if a.texts && f.desc.Column(change.TextColumn) == nil {
					a.lose(ctx, f, lostTable{why: "a value does not fit its DuckDB type and is kept as text: " + err.Error(), texts: true})
					continue
				}
				a.lose(ctx, f, lostTable{why: err.Error(), err: fault.New(fault.OutOfRange, "leave the column out in table_options, or mend the value and `pintail retry`", "table %s: %w", f.target, err)})
				continue
			case fault.CodeOf(err) == fault.OutOfMemory && a.pressed[f.target] >= pressedMax:
				err = fault.Wrap(err, "table %s: the changes of one transaction", f.target)
				a.lose(ctx, f, lostTable{why: err.Error(), err: err})
				continue
			case err != nil:
				if fault.CodeOf(err) == fault.OutOfMemory {
					a.pressed[f.target]++
				}
				return fault.Wrap(err, "table %s", f.target)
			}
			p.changes.Staged = st
		}
		a.parts = append(a.parts, p)
	}
	return nil
}

// turn changes a table's form, and has the stream go on with the new one.
func (a *applier) turn(ctx context.Context, f *followed, columns []change.SourceColumn, st source.Stream) error {
	n, err := a.reshape(ctx, f, columns)
	switch code := fault.CodeOf(err); {
	case code == fault.ShapeMismatch, code == fault.DataMismatch, code == fault.OutOfRange, code == fault.SourceSQL:
		st.Reshape(f.table.OID, nil)
		a.lose(ctx, f, lostTable{why: err.Error()})
		return nil
	case err != nil:
		return err
	}
	a.shapes = slices.DeleteFunc(a.shapes, func(s *reshaped) bool {
		if s.to != f {
			return false
		}
		a.store.Discard(ctx, s.rows)
		return true
	})
	a.shapes = append(a.shapes, n)
	a.tables[f.table.OID] = n.to
	to := n.to.streamed(0)
	st.Reshape(f.table.OID, &to)
	return nil
}

// flush applies what is staged of a table to a copy of it, and returns that with what it has counted; nil when nothing is
// staged and the table is as it was committed.
func (a *applier) flush(ctx context.Context, f *followed) (rows *store.Staged, counts changeCounts, err error) {
	if i := slices.IndexFunc(a.shapes, func(s *reshaped) bool { return s.to == f }); i >= 0 {
		rows, counts = a.shapes[i].rows, a.shapes[i].counts
	}
	if !slices.ContainsFunc(a.parts, func(p stagedPart) bool { return p.table == f }) {
		return rows, counts, nil
	}
	if rows == nil {
		cols := make([]store.Derived, len(f.cols))
		for i := range f.cols {
			cols[i] = store.Derived{Column: f.cols[i], From: f.cols[i].Name}
		}
		if rows, err = a.store.Derive(ctx, f.target, nil, cols, nil, f.keep); err != nil {
			return nil, counts, err
		}
	}
	mine := slices.DeleteFunc(slices.Clone(a.parts), func(p stagedPart) bool { return p.table != f })
	err = a.store.Commit(ctx, func(tx *store.Tx) error {
		for _, p := range mine {
			p.changes.Into = rows
			if _, _, _, err := tx.Apply(p.changes); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		a.store.Discard(ctx, rows)
		return nil, counts, err
	}
	for _, p := range mine {
		counts.add(&p.counts)
		a.store.Discard(ctx, p.changes.Staged)
	}
	a.parts = slices.DeleteFunc(a.parts, func(p stagedPart) bool { return p.table == f })
	return rows, counts, nil
}

// lose gives a table up with what is staged of it.
func (a *applier) lose(ctx context.Context, f *followed, l lostTable) {
	delete(a.tables, f.table.OID)
	a.shapes = slices.DeleteFunc(a.shapes, func(s *reshaped) bool {
		if s.to != f {
			return false
		}
		a.store.Discard(ctx, s.rows)
		return true
	})
	l.target = f.target
	a.lost = append(a.lost, l)
	a.parts = slices.DeleteFunc(a.parts, func(p stagedPart) bool {
		if p.table != f {
			return false
		}
		a.store.Discard(ctx, p.changes.Staged)
		return true
	})
}

func (a *applier) takeLost() []lostTable {
	lost := a.lost
	a.lost = nil
	return lost
}

// commit applies what is staged in one transaction, together with what last does. A table that contradicts its changes is
// given up, and the others are applied without it.
func (a *applier) commit(ctx context.Context, last func(*store.Tx, []applied) error) ([]applied, error) {
	defer a.drop(ctx)
	for {
		var done []applied
		var failed *followed
		err := a.store.Commit(ctx, func(tx *store.Tx) error {
			done, failed = done[:0], nil
			for _, s := range a.shapes {
				if err := s.to.swap(tx, s.rows); err != nil {
					return err
				}
				done = append(done, applied{table: s.to, counts: s.counts})
			}
			for i := range a.parts {
				p := &a.parts[i]
				ins, upd, del, err := tx.Apply(p.changes)
				if err != nil {
					failed = p.table
					return err
				}
				at := slices.IndexFunc(done, func(d applied) bool { return d.table == p.table })
				if at < 0 {
					done, at = append(done, applied{table: p.table}), len(done)
				}
				d := &done[at]
				d.inserted, d.updated, d.deleted = d.inserted+ins, d.updated+upd, d.deleted+del
				d.counts.add(&p.counts)
			}
			return last(tx, done)
		})
		if code := fault.CodeOf(err); failed != nil && (code == fault.DataMismatch || code == fault.ShapeMismatch) {
			a.lose(ctx, failed, lostTable{why: err.Error(), err: err, mend: true})
			continue
		}
		if failed != nil && fault.CodeOf(err) == fault.OutOfMemory {
			if a.pressed[failed.target]++; a.pressed[failed.target] > pressedMax {
				a.lose(ctx, failed, lostTable{why: err.Error(), err: fault.Wrap(err, "table %s: the changes of one batch", failed.target)})
				continue
			}
		}
		if err == nil {
			a.shapes = nil
			for _, d := range done {
				delete(a.pressed, d.table.target)
			}
		}
		return done, err
	}
}

// drop discards what is staged.
func (a *applier) drop(ctx context.Context) {
	for i := range a.parts {
		a.store.Discard(ctx, a.parts[i].changes.Staged)
	}
	for _, s := range a.shapes {
		a.store.Discard(ctx, s.rows)
	}
	a.parts, a.shapes, a.inside = a.parts[:0], nil, false
}
