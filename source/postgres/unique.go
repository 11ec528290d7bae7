package postgres

import (
	"context"
	"slices"
	"strconv"

	"github.com/pintaildb/pintail/source"
)

// Count is source.Snapshot's.
func (n *Snapshot) Count(ctx context.Context, d *source.Description) (int64, error) {
	p := d.Impl.(*plan)
	sql := "SELECT count(*) FROM " + p.from
	if p.where != "" {
		sql += " WHERE (" + p.where + "\n)"
	}
	rs, err := n.askAny(ctx, stmt("SAVEPOINT pintail"), stmt(sql), stmt("RELEASE SAVEPOINT pintail"))
	if err != nil {
		return 0, n.src.failed(ctx, err, "counting the rows of %s", what(d))
	}
	return strconv.ParseInt(rs[1].text(0, 0), 10, 64)
}

// uniqueSQL lists the columns of every index that keeps rows of a table apart: unique, complete, over columns that are
// declared NOT NULL, and checked by the end of each transaction that a snapshot can see.
const uniqueSQL = `SELECT i.indexrelid::text, a.attname
	FROM pg_index i
	JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
	WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
	  AND NOT EXISTS (SELECT FROM pg_attribute n WHERE n.attrelid = i.indrelid
	                  AND n.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND NOT n.attnotnull)`

// Unique says whether the catalog proves that no two rows of d have the same key and none a NULL in it. Only plain and
// partitioned tables have such proofs; false means that the rows have to be looked at.
func (n *Snapshot) Unique(ctx context.Context, d *source.Description, key []string) (bool, error) {
	p, ok := d.Impl.(*plan)
	// A table with inheriting children holds rows that its index does not know.
	if !ok || d.Query.Table == "" || p.root == nil || p.root.kind != "p" && (p.root.kind != "r" || d.Kind != "table") {
		return false, nil
	}
	rs, err := n.ask(ctx, stmt(uniqueSQL, strconv.FormatUint(uint64(p.root.oid), 10)))
	if err != nil {
		return false, n.src.failed(ctx, err, "unique indexes")
	}
	// The key's columns as the source calls them.
	var names []string
	for i, c := range d.Columns {
		if slices.Contains(key, c.Name) && i < len(p.names) {
			names = append(names, p.names[i])
		}
	}
	indexes := map[string]bool{}
	r := &rs[0]
	for i := range r.rows {
		index := r.text(i, 0)
		covered, seen := indexes[index]
		indexes[index] = (covered || !seen) && slices.Contains(names, r.text(i, 1))
	}
	for _, covered := range indexes {
		if covered {
			return true, nil
		}
	}
	return false, nil
}
