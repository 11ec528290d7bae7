package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// Staged is a loaded and committed table that no reader sees yet.
type Staged struct {
	// Rows is how many there are. Changes.Into alters it, once the commit has succeeded.
	Rows int64

	sql    string // as it is written in a statement
	schema string // of its table in the file, the target's own: a rename cannot move it
	name   string
	inFile bool
	cols   []Column
	gone   atomic.Bool // swapped in or dropped
	dead   int64       // rows deleted by Changes.Into; the writer's
}

// column finds a staged column by its name, which in DuckDB is the same in any case.
func column(cols []Column, name string) (*Column, error) {
	low := fold(name)
	for i := range cols {
		if fold(cols[i].Name) == low {
			return &cols[i], nil
		}
	}
	return nil, fault.New(fault.SchemaLost, "", "there is no column %q", name)
}

// Stage loads all rows of feed into a new table of its own, by as many threads at once as the feed has use for, and commits it. For a
// swap the table lies in the file, where its row groups go as they fill; else in memory (which spills like any other), so
// that rows to be merged are not written twice. The feed's own error is returned as it is, not as DuckDB tells it. Nothing is
// left behind by a failed Stage, and all readers of the feed are closed when it returns. A swap's target must have its schema already.
func (s *Store) Stage(ctx context.Context, target string, cols []Column, src change.Feed, forSwap bool) (*Staged, error) {
	return s.stage(ctx, target, cols, src, forSwap, change.Keep{}, change.Stamp{})
}

// StageKept is Stage for a swap, of a table that has the columns that keep asks for: as if one transaction had written all rows.
func (s *Store) StageKept(ctx context.Context, target string, cols []Column, src change.Feed, keep change.Keep, by change.Stamp) (*Staged, error) {
	return s.stage(ctx, target, cols, src, true, keep, by)
}

func (s *Store) stage(ctx context.Context, target string, cols []Column, src change.Feed, forSwap bool, keep change.Keep, by change.Stamp) (*Staged, error) {
	if err := s.newTarget(target); err != nil {
		return nil, doing(err, "load %s", target)
	}
	if err := s.notClients(target); err != nil {
		return nil, doing(err, "load %s", target)
	}
	all := append(slices.Clip(cols), KeptColumns(keep)...)
	seen := make(map[string]string, len(all))
	for i := range all {
		low := fold(all[i].Name)
		if other, ok := seen[low]; ok {
			return nil, doing(fault.New(fault.Config, hintName, "columns %q and %q are one name in DuckDB", other, all[i].Name), "load %s", target)
		}
		seen[low] = all[i].Name
	}
	values := "*"
	for i, v := range kept(keep, by) {
		values += ", " + v + " AS " + quote(all[len(cols)+i].Name)
	}
	s.freeSpace(ctx)
	s.loading(1)
	defer s.loading(-1)
	schema, name := splitTarget(target)
	st := &Staged{schema: schema, name: fmt.Sprintf("%s%s_%d", stagePrefix, name, s.staged.Add(1)), inFile: forSwap, cols: all}
	st.sql = quote(stageCatalog) + ".main." + quote(st.name)
	if forSwap {
		st.sql = s.in(schema, st.name)
	}
	// A feed's number cannot be guessed, so that no reader's statement can take rows out of a load.
	var b [8]byte
	_, _ = rand.Read(b[:])
	id := int64(binary.LittleEndian.Uint64(b[:]) >> 1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f := &feed{ctx: ctx, cancel: cancel, src: src, cols: cols}
	feeds.Store(id, f)
	defer feeds.Delete(id)
	err := s.with(func(se *Session) error {
		_, err := se.exec(ctx, fmt.Sprintf("CREATE TABLE %s AS SELECT %s FROM %s(%d)", st.sql, values, feedFunction, id))
		f.end()
		return err
	})
	if own := f.failure(); own != nil {
		err = own
	}
	if err != nil {
		return nil, doing(err, "load %s", target)
	}
	st.Rows = f.rows.Load()
	return st, nil
}

func (s *Store) loading(n int) {
	s.mu.Lock()
	s.loads += n
	s.mu.Unlock()
}

// Discard drops a staging table; one that was swapped in or dropped before is left alone.
func (s *Store) Discard(ctx context.Context, st *Staged) {
	if st == nil || st.gone.Swap(true) {
		return
	}
	err := s.with(func(se *Session) error {
		_, err := se.exec(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS "+st.sql)
		return err
	})
	if err != nil {
		// It is invisible and swept at the next open.
		s.log.Warn("could not drop a staging table", "table", st.name, "error", err)
	}
	if st.inFile {
		s.reclaim.Store(true)
		s.freeSpace(ctx)
	}
}

// Max is the largest value of a staged column in PostgreSQL's own text of it; infinite dates and timestamps are left out.
// "" when there is none.
func (s *Store) Max(ctx context.Context, st *Staged, column string) (string, error) {
	return s.max(ctx, st.sql, column)
}

// MaxOf is Max of a table of the copy.
func (s *Store) MaxOf(ctx context.Context, table, column string) (string, error) {
	return s.max(ctx, s.table(table), column)
}

func (s *Store) max(ctx context.Context, table, column string) (text string, err error) {
	c := quote(column)
	err = s.with(func(se *Session) error {
		var sqlType string
		// The type of the table as it is, which the caller may know only from before a change of the source.
		err := se.query(ctx, fmt.Sprintf("SELECT typeof(max(%s)) FROM (SELECT %s FROM %s LIMIT 0)", c, c, table), nil,
			func(r ownRow) error { sqlType = r.text(0); return nil })
		if err != nil {
			return err
		}
		switch sqlType {
		case "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE":
			number := "epoch_us(m)"
			if sqlType == "DATE" {
				number = "(m - DATE '1970-01-01')::BIGINT"
			}
			zone := ""
			if sqlType == "TIMESTAMP WITH TIME ZONE" {
				zone = "+00"
			}
			// Compared with a constant, and not by isfinite, the answer may come from statistics.
			return se.query(ctx, fmt.Sprintf("SELECT CASE WHEN isfinite(m) THEN %s END FROM (SELECT max(%s) AS m FROM %s WHERE %s < 'infinity'::%s)", number, c, table, c, sqlType), nil, func(r ownRow) error {
				switch {
				case r.null(0):
				case sqlType == "DATE":
					text = string(types.AppendDate(nil, r.int(0)))
				default:
					text = string(types.AppendTimestamp(nil, r.int(0), 1e6, ' ', zone))
				}
				return nil
			})
		}
		return se.query(ctx, fmt.Sprintf("SELECT max(%s)::VARCHAR FROM %s", c, table), nil, func(r ownRow) error { text = r.text(0); return nil })
	})
	return text, doing(err, "find the largest %s", column)
}

// HasInfinity says whether a staged date or timestamp column holds infinity, which comes after every other value.
func (s *Store) HasInfinity(ctx context.Context, st *Staged, name string) (found bool, err error) {
	c, err := column(st.cols, name)
	if err != nil {
		return false, err
	}
	switch c.Type.Kind {
	case types.Date, types.Timestamp, types.TimestampTZ:
	default:
		return false, nil
	}
	err = s.with(func(se *Session) error {
		n, err := se.queryInt(ctx, fmt.Sprintf("SELECT count(*) FROM %s WHERE %s = 'infinity'::%s", st.sql, quote(name), c.Type.SQL))
		found = n > 0
		return err
	})
	return found, doing(err, "look for infinity in %s", name)
}
