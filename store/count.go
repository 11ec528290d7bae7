package store

import (
	"context"
	"fmt"
)

// CountValues is how many staged rows have a value in a column.
func (s *Store) CountValues(ctx context.Context, st *Staged, column string) (n int64, err error) {
	err = s.with(func(se *Session) error {
		n, err = se.queryInt(ctx, fmt.Sprintf("SELECT count(%s) FROM %s", quote(column), st.sql))
		return err
	})
	return n, doing(err, "count the values of %s", column)
}
