package query

import (
	"context"

	"github.com/pintaildb/pintail/access"
)

// Misfits says which row filters and masks do not fit the tables that are there, by role and table: the role is refused such a table.
func (c *Core) Misfits(ctx context.Context) (misfits []error, err error) {
	relations, err := c.store.Relations(ctx)
	if err != nil {
		return nil, err
	}
	se, err := c.store.Session(ctx)
	if err != nil {
		return nil, err
	}
	defer se.Close()
	for _, role := range c.access.Roles() {
		for _, r := range relations {
			v, ok := c.access.Part(role, r.Schema, r.Name)
			if !ok {
				continue
			}
			err := access.Statement{Views: []access.View{v}}.CreateViews(ctx, access.Principal{Role: role}, se)
			if ctx.Err() != nil {
				return nil, err
			}
			if err != nil {
				misfits = append(misfits, err)
			}
		}
	}
	return misfits, nil
}
