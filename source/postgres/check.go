package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/source"
)

// CheckReport is what a live source says of one table of a dataset before anything is copied.
type CheckReport struct {
	Kind      string // table | partitioned | foreign | view | query
	Rows      int64  // the planner's estimate
	Columns   []CheckColumn
	Missing   []string // configured columns that the query does not give
	Corrected string   // the query with them, proven to be accepted; "" if there is none
	Relations []CheckRelation
	Keys      [][]string    // sets of columns that the source keeps unique and not NULL, the primary key first
	Method    source.Method // of late commits; "" without an incremental column
	Guarantee string
	Proven    bool
	Warnings  []string // what works, but not as well as it could
}

// CheckColumn is one column on both sides.
type CheckColumn struct {
	Name    string // in the copy
	PGType  string
	DuckDB  string // its type there
	NotNull bool
}

// CheckRelation is a table, view's table or partition that a query reads.
type CheckRelation struct {
	Name     string // schema.table
	Readable bool   // the role has SELECT on it as a whole
	Rows     int64  // the catalog's estimate; 0 when it was never analyzed
	Bytes    int64
}

// Check describes q and judges it. Where columns are missing the report is filled as far as it goes, and the error is the
// one a sync would end with.
func (n *Snapshot) Check(ctx context.Context, q source.Query, o source.LateOptions) (CheckReport, error) {
	var r CheckReport
	d, err := n.Describe(ctx, q)
	var missing *MissingColumns
	if errors.As(err, &missing) {
		r.Missing, r.Corrected = missing.Columns, missing.Corrected
		less := q
		if slices.Contains(missing.Columns, q.PartitionColumn) {
			less.PartitionColumn = ""
		}
		if slices.Contains(missing.Columns, q.IncrementalColumn) {
			less.IncrementalColumn = ""
		}
		var again error
		if d, again = n.Describe(ctx, less); again != nil {
			return r, err
		}
	} else if err != nil {
		return r, err
	}
	r.Kind, r.Rows = d.Kind, d.RowsGuess
	for i := range d.Columns {
		c := &d.Columns[i]
		if c.Name == change.TextColumn {
			continue
		}
		r.Columns = append(r.Columns, CheckColumn{c.Name, c.PGType, c.Type.SQL, c.NotNull})
		if c.Type.SQL == "VARCHAR" && c.PGType == "numeric" && q.Types[c.Name] == "" {
			r.warn("column %q is a numeric without precision and becomes VARCHAR, since DuckDB's DECIMAL ends at 38 digits: "+
				`types: {%s: "DECIMAL(38,9)"} makes it a number`, c.Name, c.Name)
		}
	}
	if d.Query.IncrementalColumn != "" || o.Mode == "xmin" {
		late, e := n.Late(ctx, d, nil, o)
		if e != nil {
			return r, errors.Join(err, e)
		}
		r.Method, r.Guarantee, r.Proven = late.Method, late.Guarantee, late.Proven
	}
	if e := n.checkCatalog(ctx, d, &r); e != nil {
		return r, errors.Join(err, n.src.failed(ctx, e, "checking %s", what(d)))
	}
	n.checkQuery(d, &r)
	return r, err
}

func (r *CheckReport) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// checkQuery warns of what can be seen without asking.
func (n *Snapshot) checkQuery(d *source.Description, r *CheckReport) {
	p := d.Impl.(*plan)
	q := &d.Query
	if n.before.ascii {
		r.warn("the database's encoding is SQL_ASCII: a text that is not valid UTF-8 stops the sync")
	}
	if n.before.version < 140000 {
		r.warn("PostgreSQL before 14 cannot scan a table by ranges of blocks: tables are read over one connection")
	}
	if p.root != nil && p.root.policies {
		r.warn("row security applies to this role: the copy holds the rows that its policies show")
	}
	if d.Kind == "partitioned" && p.leaves == nil {
		r.warn("the partitions cannot be read by their own names (row security, or no SELECT on each of them): the table is read in one piece")
	}
	if q.Table == "" {
		var words []string
		for _, t := range tokens(q.SQL) {
			if t.depth == 0 && t.word != "" {
				words = append(words, t.word)
			}
		}
		limited := slices.Contains(words, "LIMIT") || slices.Contains(words, "FETCH") || slices.Contains(words, "OFFSET")
		switch ordered := slices.Contains(words, "ORDER"); {
		case limited && q.IncrementalColumn != "":
			r.warn("the query has a LIMIT: it gives other rows with every run, and an increment is cut off by it; max_sync_rows caps a sync")
		case ordered && !limited:
			r.warn("ORDER BY costs the source a sort in every run and has no effect on the copy: leave it out")
		}
	}
	if p.leaves == nil && q.PartitionColumn == "" && d.RowsGuess > 20*rangeRows {
		r.warn("about %d rows are read over one connection: a partition_column lets several share the work", d.RowsGuess)
	}
	if i := index(d, q.IncrementalColumn); i >= 0 {
		if !d.Columns[i].NotNull && q.Table != "" {
			r.warn("incremental_column %q may be NULL: rows without a value are read again in every run", q.IncrementalColumn)
		}
		if r.Method == source.MethodSequence && p.seqs[i].last == "" {
			r.warn("the role may not see the last number of the sequence behind %q: GRANT SELECT on the sequence, or never insert numbers ahead of it", q.IncrementalColumn)
		}
	}
}

const (
	relationQuery = `SELECT n.nspname || '.' || c.relname, has_table_privilege(c.oid, 'SELECT'), greatest(c.reltuples, 0)::bigint,
			CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) ELSE 0 END
		FROM unnest($1::text[], $2::text[]) AS k(s, t) JOIN pg_namespace n ON n.nspname = k.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = k.t
		ORDER BY 4 DESC, 1`
	keyQuery = `SELECT array_to_string(x.indkey[0:x.indnkeyatts - 1], ' ') FROM pg_index x
		WHERE x.indrelid = $1 AND x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL
		AND NOT EXISTS (SELECT FROM unnest(x.indkey[0:x.indnkeyatts - 1]) k JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k WHERE NOT a.attnotnull)
		ORDER BY x.indisprimary DESC, x.indnkeyatts, x.indexrelid`
	indexQuery = `SELECT c.relkind IN ('r', 'p', 'm'), EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indkey[0] = $2 AND x.indisvalid AND x.indpred IS NULL),
			n.nspname, c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = $2 WHERE c.oid = $1`
)

// verbosePlan is planNode with the schema.
type verbosePlan struct {
	Schema   string        `json:"Schema"`
	Relation string        `json:"Relation Name"`
	Plans    []verbosePlan `json:"Plans"`
}

func (v *verbosePlan) relations(add func(schema, table string)) {
	if v.Relation != "" {
		add(v.Schema, v.Relation)
	}
	for i := range v.Plans {
		v.Plans[i].relations(add)
	}
}

// checkCatalog asks for the relations read, the keys, and the indexes behind the configured columns.
func (n *Snapshot) checkCatalog(ctx context.Context, d *source.Description, r *CheckReport) error {
	p := d.Impl.(*plan)
	rs, err := n.ask(ctx, stmt("SAVEPOINT pintail"), stmt("EXPLAIN (VERBOSE, FORMAT JSON) "+p.query(p.from)), stmt("RELEASE SAVEPOINT pintail"))
	if err != nil {
		return err
	}
	var schemas, tables []string
	var explained verbosePlan
	if err := unmarshalPlan(rs[1].rows[0][0], &explained); err != nil {
		return err
	}
	explained.relations(func(schema, table string) {
		schemas, tables = append(schemas, arrayElement(schema)), append(tables, arrayElement(table))
	})
	array := func(s []string) string { return "{" + strings.Join(s, ",") + "}" }
	base := uint32(0)
	if d.Query.Table != "" || p.single {
		base = d.Columns[0].Table
		for i := range d.Columns {
			base = max(base, d.Columns[i].Table)
		}
	}
	rs, err = n.ask(ctx, stmt("SAVEPOINT pintail"), stmt(relationQuery, array(schemas), array(tables)), stmt(keyQuery, strconv.Itoa(int(base))), stmt("RELEASE SAVEPOINT pintail"))
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for i := range rs[1].rows {
		c := CheckRelation{Name: rs[1].text(i, 0), Readable: rs[1].bool(i, 1)}
		c.Rows, _ = strconv.ParseInt(rs[1].text(i, 2), 10, 64)
		c.Bytes, _ = strconv.ParseInt(rs[1].text(i, 3), 10, 64)
		if !seen[c.Name] {
			seen[c.Name] = true
			r.Relations = append(r.Relations, c)
		}
	}
	for i := range rs[2].rows {
		if key := keyColumns(d, base, strings.Fields(rs[2].text(i, 0))); key != nil {
			r.Keys = append(r.Keys, key)
		}
	}
	if err := n.checkIndex(ctx, d, r, d.Query.IncrementalColumn, r.Method != source.MethodXmin); err != nil {
		return err
	}
	return n.checkIndex(ctx, d, r, d.Query.PartitionColumn, p.leaves == nil && d.Query.PartitionColumn != d.Query.IncrementalColumn)
}

// keyColumns are the copy's columns that hold these attributes of a table, nil when one of them is not selected.
func keyColumns(d *source.Description, table uint32, attnums []string) []string {
	var key []string
	for _, a := range attnums {
		i := slices.IndexFunc(d.Columns, func(c source.Column) bool { return c.Table == table && strconv.Itoa(int(c.Attnum)) == a })
		if i < 0 {
			return nil
		}
		key = append(key, d.Columns[i].Name)
	}
	return key
}

// checkIndex warns of a configured column whose use makes the source scan all there is, and of values in the future.
func (n *Snapshot) checkIndex(ctx context.Context, d *source.Description, r *CheckReport, name string, matters bool) error {
	i := index(d, name)
	if i < 0 || !matters || d.Columns[i].Table == 0 {
		return nil
	}
	c := &d.Columns[i]
	rs, err := n.ask(ctx, stmt("SAVEPOINT pintail"), stmt(indexQuery, strconv.Itoa(int(c.Table)), strconv.Itoa(int(c.Attnum))), stmt("RELEASE SAVEPOINT pintail"))
	if err != nil || len(rs[1].rows) == 0 || !rs[1].bool(0, 0) {
		return err
	}
	schema, rel, att := rs[1].text(0, 2), rs[1].text(0, 3), rs[1].text(0, 4)
	if !rs[1].bool(0, 1) {
		if d.RowsGuess > rangeRows || len(r.Relations) > 0 && r.Relations[0].Rows > rangeRows {
			r.warn("%q has no index: every run scans the table; CREATE INDEX CONCURRENTLY ON %s.%s (%s)", name, plainName(schema), plainName(rel), plainName(att))
		}
		return nil
	}
	if name != d.Query.IncrementalColumn || (c.Type.Kind != types.TimestampTZ && c.Type.Kind != types.Timestamp && c.Type.Kind != types.Date) {
		return nil
	}
	col := ident(att)
	rs, err = n.ask(ctx, stmt("SAVEPOINT pintail"), stmt(fmt.Sprintf("SELECT max(%s)::text FROM %s WHERE %s > now() + interval '1 day' AND isfinite(%s)",
		col, qualified(schema, rel), col, col)), stmt("RELEASE SAVEPOINT pintail"))
	if sqlstate(err) == "42501" {
		return nil // the role reads a view, and may not read the table below it
	}
	if err != nil {
		return err
	}
	if future := rs[1].rows[0][0]; future != nil {
		r.warn("%q holds values in the future, up to %s: they do not move the watermark beyond now, and are read again in every run", name, future)
	}
	return nil
}

// arrayElement quotes an element of PostgreSQL's array text.
func arrayElement(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
