package query

import (
	"context"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Describe judges a statement that is not to run now as an administrator's; what it reads need not be there yet. access.Again then decides
// for others.
func (c *Core) Describe(ctx context.Context, sql string) (access.Statement, error) {
	se, err := c.store.Session(ctx)
	if err != nil {
		return access.Statement{}, err
	}
	defer se.Close()
	st, err := c.access.Gate(ctx, access.Local(), sql, unprepared{se})
	if err == nil && st.Explain {
		err = fault.New(fault.InvalidSQL, "publish the SELECT", "EXPLAIN cannot be published")
	}
	return st, err
}

// unprepared is a parser that leaves the preparing to when the statement runs.
type unprepared struct{ *store.Session }

func (unprepared) StatementType(context.Context, string) (int, string, error) {
	return 1, "SELECT", nil
}
