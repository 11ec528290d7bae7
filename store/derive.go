package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/change"
)

// Derived is a column of a table that is made of another one: From is that one's column, "" for one of the added values.
type Derived struct {
	Column
	From string
}

// Derive makes a staged table in the file of the target's rows, or of those of from, in another form: columns are chosen,
// renamed and cast, and each row gets the values of added, a staged table of one row. What keep asks for stays as it is. It is to take the target's place with Tx.Swap.
func (s *Store) Derive(ctx context.Context, target string, from *Staged, cols []Derived, added *Staged, keep change.Keep) (*Staged, error) {
	for _, c := range KeptColumns(keep) {
		cols = append(slices.Clip(cols), Derived{Column: c, From: c.Name})
	}
	schema, name := splitTarget(target)
	st := &Staged{schema: schema, name: fmt.Sprintf("%s%s_%d", stagePrefix, name, s.staged.Add(1)), inFile: true}
	st.sql = s.in(schema, st.name)
	values := make([]string, len(cols))
	for i := range cols {
		c := &cols[i]
		st.cols = append(st.cols, c.Column)
		source, of := "t", c.From
		if of == "" {
			source, of = "a", c.Name
		}
		values[i] = fmt.Sprintf("%s.%s::%s AS %s", source, quote(of), c.Type.SQL, quote(c.Name))
	}
	rows := s.table(target)
	if from != nil {
		rows = from.sql
	}
	sql := "CREATE TABLE " + st.sql + " AS SELECT " + strings.Join(values, ", ") + " FROM " + rows + " AS t"
	if added != nil {
		sql += " CROSS JOIN " + added.sql + " AS a"
	}
	s.loading(1)
	defer s.loading(-1)
	err := s.with(func(se *Session) (err error) {
		if _, err = se.exec(ctx, sql); err == nil {
			count := "SELECT count(*) FROM " + st.sql
			if live := LiveCondition(keep); live != "" {
				count += " WHERE " + live
			}
			st.Rows, err = se.queryInt(ctx, count)
		}
		return err
	})
	if err != nil {
		s.Discard(ctx, st)
		return nil, doing(err, "change the columns of %s", target)
	}
	return st, nil
}
