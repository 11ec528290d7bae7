package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/source"
)

// AddedValues is source.Replicator's. PostgreSQL keeps the value beside the table, in an array of one element; of a partitioned table
// beside each partition that was there, where the column may have another number. The statement fails where partitions differ.
func (s *Source) AddedValues(d *source.Description, columns []string) source.Query {
	var values []string
	for i := range d.Columns {
		c := &d.Columns[i]
		if slices.Contains(columns, c.Name) {
			values = append(values, fmt.Sprintf(`(SELECT DISTINCT (a.attmissingval::text::text[])[1] FROM pg_catalog.pg_attribute a
				JOIN pg_catalog.pg_attribute root ON root.attrelid = %[1]d AND root.attnum = %[2]d AND a.attname = root.attname
				WHERE a.atthasmissing AND (a.attrelid = %[1]d OR a.attrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree(%[1]d))))::%[3]s AS %[4]s`, c.Table, c.Attnum, c.PGType, ident(c.Name)))
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
