package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Table is what the catalog says of a table or view that could be copied.
type Table struct {
	Schema, Name string
	Kind         string // table | partitioned | view | materialized view | foreign
	Rows         int64  // the planner's estimate
	Bytes        int64
	Columns      []TableColumn
	Key          []string // primary key, or the first unique index over NOT NULL columns
	Readable     bool     // the role may SELECT from it
}

// TableColumn is one column of a Table.
type TableColumn struct {
	Name, Type, Default string
	NotNull, Indexed    bool // Indexed: the leading column of an index
}

// Tables lists what a database has outside of the system's schemas, the largest first.
func Tables(ctx context.Context, conn *pgx.Conn) ([]Table, error) {
	rows, err := conn.Query(ctx, `
SELECT n.nspname, c.relname,
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'foreign' END,
       greatest(c.reltuples, 0)::bigint, CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) ELSE 0 END,
       has_table_privilege(c.oid, 'SELECT'),
       coalesce((SELECT array_agg(a.attname::text ORDER BY k.ord)
                 FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(att, ord), pg_attribute a
                 WHERE i.indexrelid = (SELECT i2.indexrelid FROM pg_index i2
                                       WHERE i2.indrelid = c.oid AND i2.indisunique AND i2.indisvalid AND i2.indpred IS NULL AND i2.indexprs IS NULL
                                         AND NOT EXISTS (SELECT FROM pg_attribute x WHERE x.attrelid = c.oid AND x.attnum = ANY (i2.indkey::int2[]) AND NOT x.attnotnull)
                                       ORDER BY i2.indisprimary DESC, i2.indnkeyatts, i2.indexrelid LIMIT 1)
                   AND k.ord <= i.indnkeyatts AND a.attrelid = c.oid AND a.attnum = k.att), '{}'),
       (SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}') FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       (SELECT coalesce(array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum), '{}') FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       (SELECT coalesce(array_agg(coalesce(pg_get_expr(d.adbin, d.adrelid), '') ORDER BY a.attnum), '{}')
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       (SELECT coalesce(array_agg(a.attnotnull ORDER BY a.attnum), '{}') FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       (SELECT coalesce(array_agg(EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum) ORDER BY a.attnum), '{}')
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY 5 DESC, 1, 2`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (Table, error) {
		var t Table
		var names, types, defaults []string
		var notNull, indexed []bool
		err := r.Scan(&t.Schema, &t.Name, &t.Kind, &t.Rows, &t.Bytes, &t.Readable, &t.Key, &names, &types, &defaults, &notNull, &indexed)
		for i := range names {
			t.Columns = append(t.Columns, TableColumn{names[i], types[i], defaults[i], notNull[i], indexed[i]})
		}
		return t, err
	})
}
