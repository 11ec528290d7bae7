package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/source"
)

// AddedValues is source.Replicator's. PostgreSQL keeps the value beside the table, in an array of one element.
func (s *Source) AddedValues(d *source.Description, columns []string) source.Query {
	var values []string
	for i := range d.Columns {
		c := &d.Columns[i]
		if slices.Contains(columns, c.Name) {
			values = append(values, fmt.Sprintf("(SELECT (attmissingval::text::text[])[1] FROM pg_catalog.pg_attribute WHERE attrelid = %d AND attnum = %d)::%s AS %s", c.Table, c.Attnum, c.PGType, ident(c.Name)))
		}
	}
	return source.Query{SQL: "SELECT " + strings.Join(values, ", ")}
}

// FilledAtBirth is source.Replicator's: the row of a table's type is written when the table is made, and never again.
func (s *Source) FilledAtBirth(ctx context.Context, oid string) (bool, error) {
	rs, err := s.do(ctx, stmt("SELECT $1::oid::regclass::text, (SELECT y.xmin::text FROM pg_class c JOIN pg_type y ON y.oid = c.reltype WHERE c.oid = $1::oid)", oid))
	if err == nil && len(rs[0].rows) == 1 && rs[0].text(0, 1) != "" {
		rs, err = s.do(ctx, stmt("SELECT EXISTS (SELECT FROM ONLY "+rs[0].text(0, 0)+" WHERE xmin::text = $1)", rs[0].text(0, 1)))
		if err == nil {
			return rs[0].bool(0, 0), nil
		}
	}
	return false, s.failed(ctx, err, "looking at partition %s", oid)
}
