package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
)

// PutColumn is a column of a table that clients may write.
type PutColumn struct {
	Name    string
	Type    string // DuckDB's name of it
	NotNull bool
}

// PutColumns are the columns of a table that clients may write, which must be there; fault.NotFound and fault.Forbidden else.
func (s *Store) PutColumns(ctx context.Context, t PutTarget) (columns []PutColumn, err error) {
	err = s.withClient(func(se *Session) error {
		at, err := se.place(ctx, t.Schema, t.Name, t.Stray)
		if err != nil {
			return err
		}
		if !at.there {
			return fault.New(fault.NotFound, "create it first", "there is no such table")
		}
		names, types, err := se.columnsOf(ctx, "SELECT * FROM "+s.in(at.schema, at.name))
		if err != nil {
			return gone(err, at)
		}
		needed := map[string]bool{}
		err = se.query(ctx, "SELECT column_name FROM duckdb_columns() WHERE NOT is_nullable AND database_name = ? AND "+folded("schema_name")+" = ? AND "+folded("table_name")+" = ?",
			[]any{s.catalog, fold(at.schema), fold(at.name)}, func(r ownRow) error { needed[r.text(0)] = true; return nil })
		if err != nil {
			return err
		}
		for i, n := range names {
			columns = append(columns, PutColumn{Name: n, Type: types[i].name(), NotNull: needed[n]})
		}
		return nil
	})
	return columns, doing(err, "read the columns of %s", t.Target())
}

// PutRows are rows that their owner decodes itself, into DuckDB's vectors. They may be read more than once.
type PutRows interface{ Feed() change.Feed }

// putRows says what columns decoded rows have.
type putRows struct {
	columns []Column
	want    []string // DuckDB's types of the table's columns
}

// NewRowsPut begins a put of decoded rows: columns are some of those of the table, in the type in which the rows have them, and want is
// what type they were said to have there. Values of another type are cast.
func (s *Store) NewRowsPut(columns []Column, want []string) *Put {
	return &Put{s: s, rows: &putRows{columns: columns, want: want}}
}

func (p *Put) decoded(rows PutRows) feeding {
	if rows == nil {
		return nil
	}
	return func(ctx context.Context, fn func(id int64) error) (int64, error) {
		return runFeed(ctx, &feed{src: rows.Feed(), cols: p.rows.columns}, fn)
	}
}

// StageRows is Stage for decoded rows.
func (p *Put) StageRows(ctx context.Context, rows PutRows) error {
	return p.stageFrom(ctx, p.decoded(rows))
}

// CommitRows is Commit for decoded rows; nil is none besides those that are staged.
func (p *Put) CommitRows(ctx context.Context, t PutTarget, rows PutRows) (int64, error) {
	return p.commit(ctx, t, p.decoded(rows))
}

// match finds the columns in the table that is there, which may be another one by now.
func (r *putRows) match(names []string, types []resultType) (into, values string, err error) {
	var list []string
	byName := make(map[string]int, len(names))
	for i, n := range names {
		byName[n] = i
	}
	have := make([]string, len(r.columns))
	for i := range r.columns {
		c := &r.columns[i]
		k, ok := byName[c.Name]
		if !ok || types[k].name() != r.want[i] {
			return "", "", fault.New(fault.Usage, "send the rows again", "the table has other columns than when the rows began: %s", quoteAll(names, ""))
		}
		have[i] = c.Name
		if value := quote(c.Name); c.Type.SQL == r.want[i] {
			list = append(list, value)
		} else {
			list = append(list, fmt.Sprintf("CAST(%s AS %s)", value, r.want[i]))
		}
	}
	return quoteAll(have, ""), strings.Join(list, ", "), nil
}

// CreateClientTable makes a table of a client's, without rows. Types are as SQL has them; they must have been proven to be types and
// nothing else.
func (s *Store) CreateClientTable(ctx context.Context, t PutTarget, columns []PutColumn) error {
	if t.Mode == PutAppend {
		return fault.New(fault.Internal, "", "%s makes no table", t.Mode)
	}
	defs, err := definitions(columns)
	if err != nil {
		return doing(err, "create %s", t.Target())
	}
	replaced := false
	err = s.putTries(ctx, func() error {
		return s.putOnce(ctx, t.Target(), func(se *Session) (o outcome, err error) {
			at, err := se.place(ctx, t.Schema, t.Name, t.Stray)
			if err != nil {
				return o, err
			}
			appends, err := t.does(at)
			if err != nil || appends {
				return o, err
			}
			replaced, o.reshapes = at.there, true
			if o.made, err = se.create(ctx, t, at, defs); err != nil {
				return o, err
			}
			return o, s.settled(at)
		})
	})
	if err != nil {
		return doing(putFailure(err), "%s %s", t.Mode, t.Target())
	}
	if replaced {
		s.reclaim.Store(true)
		s.freeSpace(ctx)
	}
	return nil
}

func definitions(columns []PutColumn) ([]string, error) {
	if len(columns) == 0 || len(columns) > columnsMax {
		return nil, fault.New(fault.Usage, "give it at least one, or use several tables", "a table has 1 to %d columns, not %d", columnsMax, len(columns))
	}
	defs := make([]string, len(columns))
	seen := map[string]string{}
	for i, c := range columns {
		if err := plainName("column", c.Name); err != nil {
			return nil, err
		}
		if other, ok := seen[fold(c.Name)]; ok {
			return nil, fault.New(fault.Usage, "give one of them another name", "columns %q and %q are one name in DuckDB", other, c.Name)
		}
		seen[fold(c.Name)] = c.Name
		if defs[i] = quote(c.Name) + " " + c.Type; c.NotNull {
			defs[i] += " NOT NULL"
		}
	}
	return defs, nil
}

// EmptyClientTable deletes all rows of a table that a client made, and says how many there were.
func (s *Store) EmptyClientTable(ctx context.Context, t PutTarget) (rows int64, err error) {
	err = s.putTries(ctx, func() error {
		return s.putOnce(ctx, t.Target(), func(se *Session) (o outcome, err error) {
			at, err := se.place(ctx, t.Schema, t.Name, t.Stray)
			if err != nil {
				return o, err
			}
			if !at.there {
				return o, fault.New(fault.NotFound, "", "there is no such table")
			}
			if rows, err = se.exec(ctx, "DELETE FROM "+s.in(at.schema, at.name)); err != nil {
				return o, gone(err, at)
			}
			return o, s.settled(at)
		})
	})
	if err != nil {
		return 0, doing(err, "empty %s", t.Target())
	}
	s.reclaim.Store(true)
	s.freeSpace(ctx)
	return rows, nil
}
