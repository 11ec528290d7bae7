package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

// plan is how a description is read: Description.Impl.
type plan struct {
	from   string   // what stands after FROM, with its alias
	alias  string   // quoted
	names  []string // the columns' names in the source, in order
	list   string   // the select list
	where  string   // the user's condition, "" if none
	root   *relation
	leaves []relation // tables of their own to read in place of root; nil: root, or the query, is read as such
	tree   []uint32   // the base table of the incremental column with its partitions: whose writers count
	seqs   map[int]sequence
	single bool // the plan reads one relation, without joins, aggregates or limits
	text   bool
}

// relation is a table as far as reading it goes.
type relation struct {
	oid          uint32
	schema, name string
	kind         string // relkind
	bytes        int64
	rows         float64 // reltuples
	heap         bool
	policies     bool // row security applies to the role
	readable     bool
	replica      bool // a subscription writes it: its values are another server's
	hyper        bool // a chunk of an extension that stores rows elsewhere
	depth        int
}

// sequence is where a column's numbers come from.
type sequence struct {
	last string // the last number drawn, "" where the role may not see it
}

// userSQL is the user's query without what would end it early: semicolons and comments behind it stay harmless, since a
// line break follows it wherever it is embedded.
func userSQL(sql string) string { return strings.TrimRight(sql, "; \t\r\n") }

const queryPrefix = "SELECT * FROM ("

// base is the statement that is prepared to describe q, and what its rows come from.
func base(q source.Query) (sql string, p *plan, err error) {
	p = &plan{text: q.Text}
	if q.Table == "" {
		p.alias = `"q"`
		p.from = "(" + userSQL(q.SQL) + "\n) AS " + p.alias
		return queryPrefix + userSQL(q.SQL) + "\n) AS " + p.alias, p, nil
	}
	parts, ok := relName(q.Table)
	if !ok {
		return "", nil, fault.New(fault.Config, `Write name or schema.name, in double quotes where a name holds dots or capitals.`,
			"table %q is not a table's name", q.Table)
	}
	p.alias = ident(parts[len(parts)-1])
	p.from = qualified(parts...) + " AS " + p.alias
	p.where = strings.TrimRight(q.Where, "; \t\r\n")
	if err := closed(p.where); err != nil {
		return "", nil, fault.New(fault.Config, "`where` is one condition: close what it opens.", "where: %w", err)
	}
	list := "*"
	if q.Columns != nil {
		cols := make([]string, len(q.Columns))
		for i, c := range q.Columns {
			cols[i] = p.alias + "." + ident(c)
		}
		list = strings.Join(cols, ", ")
	}
	sql = "SELECT " + list + " FROM " + p.from
	if p.where != "" {
		sql += " WHERE (" + p.where + "\n)"
	}
	return sql, p, nil
}

// Describe parses q on the coordinator, which locks its tables against DDL until the snapshot ends.
func (n *Snapshot) Describe(ctx context.Context, q source.Query) (*source.Description, error) {
	h, err := n.hold(ctx)
	if err != nil {
		return nil, n.src.failed(ctx, err, "describing %s", what(&source.Description{Query: q}))
	}
	d, err := h.describe(ctx, q)
	h.free(ctx, err)
	if err != nil {
		if q.Table != "" {
			return nil, n.src.failed(ctx, err, "table %s", q.Table)
		}
		return nil, n.src.failed(ctx, err, "query")
	}
	return d, nil
}

func (h *held) describe(ctx context.Context, q source.Query) (*source.Description, error) {
	sql, p, err := base(q)
	if err != nil {
		return nil, err
	}
	rs, err := h.ask(ctx, stmt("SAVEPOINT pintail"), statement{sql: sql, prepare: true})
	if err != nil {
		return nil, h.unprepared(ctx, q, err)
	}
	fields := rs[1].fields
	d := &source.Description{Query: q, Kind: "query", Impl: p}
	if err := h.name(d, p, fields); err != nil {
		return nil, errors.Join(err, h.undo(ctx))
	}
	if err := h.catalog(ctx, d, p, sql, fields); err != nil {
		return nil, err
	}
	if err := h.mapTypes(d, fields); err != nil {
		return nil, err
	}
	if missing := missingColumns(d); missing != nil {
		return nil, h.missing(ctx, q, missing)
	}
	place, err := h.place(ctx)
	if err != nil {
		return nil, err
	}
	maps.Copy(d.Facts, place)
	p.selectList(d)
	return d, nil
}

// name takes the columns' names and refuses those that a copy cannot have.
func (h *held) name(d *source.Description, p *plan, fields []pgconn.FieldDescription) error {
	if len(fields) == 0 {
		return fault.New(fault.SourceSQL, "A dataset needs at least one column.", "the query gives no columns")
	}
	left := make(map[string]bool, len(d.Query.Rename))
	for from := range d.Query.Rename {
		left[from] = !d.Query.RenameSome
	}
	seen := make(map[string]string, len(fields))
	for i, f := range fields {
		name := f.Name
		p.names = append(p.names, name)
		if name == "?column?" {
			return fault.New(fault.SourceSQL, "Name it: expression AS name.", "column %d has no name", i+1)
		}
		if to, ok := d.Query.Rename[name]; ok {
			delete(left, name)
			name = to
		}
		if strings.HasPrefix(name, "_pintail_") {
			return fault.New(fault.SourceSQL, "Names that begin with _pintail_ are Pintail's own: give the column another.", "column %q", name)
		}
		// DuckDB folds case.
		folded := strings.ToLower(name)
		if other, twice := seen[folded]; twice {
			if other == name {
				return fault.New(fault.SourceSQL, "Give each column a name of its own: expression AS name.", "two columns are named %q", name)
			}
			return fault.New(fault.SourceSQL, "DuckDB does not tell capitals apart in names: give one of them another name.",
				"the columns %q and %q have names equal but for case", other, name)
		}
		seen[folded] = name
		d.Columns = append(d.Columns, source.Column{Name: name, Table: f.TableOID, Attnum: f.TableAttributeNumber})
	}
	for from, needed := range left {
		if !needed {
			continue
		}
		return fault.New(fault.Config, didYouMean(from, p.names), "columns: there is no column %q to rename", from)
	}
	return nil
}

// planNode is what EXPLAIN (FORMAT JSON) says of one node.
type planNode struct {
	Type     string     `json:"Node Type"`
	Schema   string     `json:"Schema"`
	Relation string     `json:"Relation Name"`
	Rows     float64    `json:"Plan Rows"`
	Plans    []planNode `json:"Plans"`
}

func parsePlan(b []byte) (planNode, error) {
	var node planNode
	err := unmarshalPlan(b, &node)
	return node, err
}

func unmarshalPlan(b []byte, node any) error {
	var out []struct{ Plan json.RawMessage }
	err := json.Unmarshal(b, &out)
	if err == nil && len(out) == 1 {
		err = json.Unmarshal(out[0].Plan, node)
	}
	if err != nil || len(out) != 1 {
		return fmt.Errorf("reading the server's plan: %w", errors.Join(err, errProtocol))
	}
	return nil
}

// simple says whether the plan only scans, filters and sorts: each of its rows is one row of a table.
func (p *planNode) simple() bool {
	switch p.Type {
	case "Append", "Merge Append", "Gather", "Gather Merge", "Sort", "Incremental Sort", "Subquery Scan", "Bitmap Heap Scan", "Result":
	case "Seq Scan", "Index Scan", "Index Only Scan", "Tid Scan", "Tid Range Scan", "Bitmap Index Scan", "BitmapAnd", "BitmapOr", "Foreign Scan", "Sample Scan":
	default:
		return false
	}
	for i := range p.Plans {
		if !p.Plans[i].simple() {
			return false
		}
	}
	return true
}

const (
	typeQuery = `WITH RECURSIVE t(oid) AS (SELECT unnest($1::oid[])
		UNION SELECT x.next FROM t JOIN pg_type y ON y.oid = t.oid, LATERAL (VALUES (y.typelem), (y.typbasetype)) x(next) WHERE x.next <> 0)
		SELECT y.oid, y.typtype, CASE WHEN y.typoutput = 'pg_catalog.array_out'::regproc THEN y.typelem ELSE 0 END, y.typbasetype, y.typtypmod, y.typdelim
		FROM t JOIN pg_type y ON y.oid = t.oid`
	formatQuery = `SELECT format_type(o, m) FROM unnest($1::oid[], $2::int[]) WITH ORDINALITY AS t(o, m, i) ORDER BY i`
	columnQuery = `SELECT k.i, c.relkind, a.attnotnull, pg_get_expr(d.adbin, d.adrelid), s.seqrelid,
			CASE WHEN s.seqrelid IS NOT NULL AND has_sequence_privilege(s.seqrelid, 'SELECT') THEN pg_sequence_last_value(s.seqrelid) END,
			a.atttypid, a.atttypmod
		FROM unnest($1::oid[], $2::int[]) WITH ORDINALITY AS k(rel, num, i)
		JOIN pg_attribute a ON a.attrelid = k.rel AND a.attnum = k.num
		JOIN pg_class c ON c.oid = a.attrelid
		LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
		LEFT JOIN LATERAL (
			SELECT objid FROM pg_depend WHERE a.attidentity <> '' AND classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
				AND refobjid = a.attrelid AND refobjsubid = a.attnum AND deptype = 'i'
			UNION ALL
			SELECT refobjid FROM pg_depend WHERE a.attidentity = '' AND classid = 'pg_attrdef'::regclass AND objid = d.oid
				AND refclassid = 'pg_class'::regclass AND deptype = 'n'
				AND pg_get_expr(d.adbin, d.adrelid) ~ '^nextval\(''[^'']+''::regclass\)(::(bigint|integer|smallint))?$') p ON true
		LEFT JOIN pg_sequence s ON s.seqrelid = p.objid AND s.seqincrement > 0 AND s.seqcache = 1 AND NOT s.seqcycle`
	// A row that is routed to a partition draws its numbers under the lock of the table that the statement names.
	ancestorQuery = `SELECT relid::oid FROM pg_partition_ancestors($1::oid) WHERE relid <> $1::oid`
	treeQuery     = `WITH RECURSIVE tree(oid, depth) AS (SELECT $1::oid, 0
			UNION ALL SELECT i.inhrelid, tree.depth + 1 FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid WHERE NOT i.inhdetachpending)
		SELECT c.oid, n.nspname, c.relname, c.relkind, CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) ELSE 0 END,
			c.reltuples, coalesce(m.amname = 'heap', false), row_security_active(c.oid), has_table_privilege(c.oid, 'SELECT'),
			EXISTS (SELECT FROM pg_subscription_rel r WHERE r.srrelid = c.oid), n.nspname = '_timescaledb_internal', max(t.depth), count(*)
		FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am m ON m.oid = c.relam
		GROUP BY c.oid, n.nspname, m.amname ORDER BY max(t.depth), c.oid`
)

// catalog asks all that is to be known of the columns, in one round trip.
func (h *held) catalog(ctx context.Context, d *source.Description, p *plan, sql string, fields []pgconn.FieldDescription) error {
	var oids, mods, rels, nums, unknown, own []string
	known := map[uint32]bool{}
	for _, f := range fields {
		oids = append(oids, strconv.FormatUint(uint64(f.DataTypeOID), 10))
		if f.DataTypeOID >= firstUserOID {
			own = append(own, oids[len(oids)-1])
		}
		mods = append(mods, strconv.Itoa(int(f.TypeModifier)))
		rels = append(rels, strconv.FormatUint(uint64(f.TableOID), 10))
		nums = append(nums, strconv.Itoa(int(f.TableAttributeNumber)))
		// Types of asks only for what is not its own.
		types.Of(f.DataTypeOID, f.TypeModifier, func(o uint32) (types.Info, bool) {
			if _, ok := h.info(o); !ok && !known[o] {
				known[o] = true
				unknown = append(unknown, strconv.FormatUint(uint64(o), 10))
			}
			return types.Info{}, false
		})
	}
	root := uint32(0)
	if d.Query.Table != "" {
		root = fields[0].TableOID
	} else if c := d.Column(d.Query.IncrementalColumn); c != nil {
		root = c.Table
	}
	array := func(s []string) string { return "{" + strings.Join(s, ",") + "}" }
	group := []statement{
		stmt(formatQuery, array(oids), array(mods)), stmt(columnQuery, array(rels), array(nums)), stmt(treeQuery, strconv.FormatUint(uint64(root), 10)),
		stmt("EXPLAIN (VERBOSE, FORMAT JSON) " + sql), stmt("RELEASE SAVEPOINT pintail"),
	}
	group = append(group, stmt(factsQuery, array(rels), array(own)), stmt(ancestorQuery, strconv.FormatUint(uint64(root), 10)))
	if unknown != nil {
		group = append(group, stmt(typeQuery, array(unknown)))
	}
	if h.before.version < 140000 {
		group[2].sql = strings.Replace(group[2].sql, "WHERE NOT i.inhdetachpending", "", 1)
	}
	rs, err := h.ask(ctx, group...)
	if err != nil {
		return err
	}
	for i := range fields {
		d.Columns[i].PGType = rs[0].text(i, 0)
	}
	p.columns(d, &rs[1])
	tree := relations(&rs[2])
	for _, r := range tree {
		p.tree = append(p.tree, r.oid)
	}
	explained, err := parsePlan(rs[3].rows[0][0])
	if err != nil {
		return err
	}
	d.RowsGuess, p.single = int64(explained.Rows), explained.simple()
	noteFacts(d, &rs[5])
	for i := range rs[6].rows {
		p.tree = append(p.tree, oid(rs[6].text(i, 0)))
	}
	if unknown != nil {
		h.learn(&rs[7])
	}
	if len(tree) > 0 {
		p.root = &tree[0]
	}
	if d.Query.Table == "" {
		return h.files(ctx, d, &explained)
	}
	if p.root == nil {
		return fault.New(fault.SourceConflict, "This is tried again with a new snapshot.", "the table was made after the snapshot was taken")
	}
	return h.table(ctx, d, p, tree)
}

// columns notes what is known of the base columns.
func (p *plan) columns(d *source.Description, r *result) {
	p.seqs = map[int]sequence{}
	for row := range r.rows {
		i, _ := strconv.Atoi(r.text(row, 0))
		c := &d.Columns[i-1]
		kind := r.text(row, 1)
		if kind != "r" && kind != "p" {
			continue // a view's or foreign table's declarations prove nothing
		}
		// Through a query, an outer join may add NULLs to a column declared NOT NULL.
		c.NotNull = d.Query.Table != "" && r.bool(row, 2)
		c.Default = r.text(row, 3)
		c.TypeOID = oid(r.text(row, 6))
		mod, _ := strconv.ParseInt(r.text(row, 7), 10, 32)
		c.Typmod = int32(mod)
		if r.rows[row][4] != nil {
			c.Sequence = true
			p.seqs[i-1] = sequence{last: r.text(row, 5)}
		}
	}
}

func relations(r *result) []relation {
	var rels []relation
	for i := range r.rows {
		rel := relation{oid: oid(r.text(i, 0)), schema: r.text(i, 1), name: r.text(i, 2), kind: r.text(i, 3), heap: r.bool(i, 6),
			policies: r.bool(i, 7), readable: r.bool(i, 8), replica: r.bool(i, 9), hyper: r.bool(i, 10)}
		rel.bytes, _ = strconv.ParseInt(r.text(i, 4), 10, 64)
		rel.rows, _ = strconv.ParseFloat(r.text(i, 5), 64)
		rel.depth, _ = strconv.Atoi(r.text(i, 11))
		rels = append(rels, rel)
	}
	return rels
}

// table settles how a table is read: by its blocks, partition by partition, or through its own name only.
func (h *held) table(ctx context.Context, d *source.Description, p *plan, tree []relation) error {
	switch root := &tree[0]; root.kind {
	case "r", "m", "p":
		d.Kind = "table"
		if len(tree) > 1 || root.kind == "p" {
			d.Kind = "partitioned"
		}
	case "f":
		d.Kind = "foreign"
		return nil
	case "v":
		d.Kind = "view"
		return nil
	default:
		return fault.New(fault.SourceSQL, "Name a table, view, materialized view or foreign table.", "%s is none", root.name)
	}
	whole := false
	for _, r := range tree {
		// A policy of the parent does not hold for reads of a partition by its own name, and a chunk of an extension need
		// not hold its rows itself.
		whole = whole || r.policies || !r.readable || r.hyper
	}
	if d.Kind == "table" {
		p.leaves = tree
		return nil
	}
	if whole {
		return nil
	}
	// The parser has locked the parent alone; this locks the partitions too, those that the planner prunes included.
	if _, err := h.ask(ctx, stmt("SAVEPOINT pintail"), stmt("LOCK TABLE "+qualified(tree[0].schema, tree[0].name)+" IN ACCESS SHARE MODE"),
		stmt("RELEASE SAVEPOINT pintail")); err != nil {
		if sqlstate(err) == "42501" {
			return nil
		}
		return err
	}
	p.leaves = []relation{}
	for _, r := range tree {
		if r.kind != "p" {
			p.leaves = append(p.leaves, r)
		}
	}
	return nil
}

// info is what is known of a type without asking.
func (n *Snapshot) info(o uint32) (types.Info, bool) {
	if i, ok := n.types[o]; ok {
		return i, true
	}
	n.src.mu.Lock()
	defer n.src.mu.Unlock()
	i, ok := n.src.builtin[o]
	return i, ok
}

const firstUserOID = 16384

func (n *Snapshot) learn(r *result) {
	for i := range r.rows {
		info := types.Info{Type: r.rows[i][1][0], Elem: oid(r.text(i, 2)), Base: oid(r.text(i, 3)), Delim: r.rows[i][5][0]}
		mod, _ := strconv.ParseInt(r.text(i, 4), 10, 32)
		info.BaseMod = int32(mod)
		o := oid(r.text(i, 0))
		n.types[o] = info
		if o < firstUserOID {
			n.src.mu.Lock()
			n.src.builtin[o] = info
			n.src.mu.Unlock()
		}
	}
}

// mapTypes maps the columns' types, and those that the configuration asks for otherwise.
func (h *held) mapTypes(d *source.Description, fields []pgconn.FieldDescription) error {
	for i := range d.Columns {
		c := &d.Columns[i]
		c.Type = types.Of(fields[i].DataTypeOID, fields[i].TypeModifier, h.info)
		want, ok := d.Query.Types[c.Name]
		if !ok {
			continue
		}
		under := fields[i].DataTypeOID
		for t, ok := h.info(under); ok && t.Type == 'd'; t, ok = h.info(under) {
			under = t.Base
		}
		t, err := types.Override(c.Type, under, want)
		if err != nil {
			return fault.New(fault.Config, "", "types: column %q (%s): %w", c.Name, c.PGType, err)
		}
		// A cast to text would strip the blanks of a char(n).
		if t.Kind == types.Text && c.Type.Kind == types.Text && c.Type.Cast == "" {
			continue
		}
		c.Type = t
	}
	return nil
}

func columnNames(d *source.Description) []string {
	names := make([]string, len(d.Columns))
	for i := range d.Columns {
		names[i] = d.Columns[i].Name
	}
	return names
}

// selectList makes the list that is read. With text, a value that DuckDB cannot hold is sent as NULL, and its text in the
// last column.
func (p *plan) selectList(d *source.Description) {
	var exprs, conds, pairs []string
	for i := range d.Columns {
		t := &d.Columns[i].Type
		ref := p.ref(i)
		expr := t.SourceSQL(ref)
		if cond := t.OutOfRangeSQL(ref); p.text && cond != "" {
			conds = append(conds, "("+cond+")")
			pairs = append(pairs, literal(d.Columns[i].Name)+", CASE WHEN "+cond+" THEN "+ref+"::text END")
			expr = "CASE WHEN " + cond + " THEN NULL ELSE " + expr + " END"
		}
		exprs = append(exprs, expr)
	}
	if p.text {
		exprs = append(exprs, textExpr(conds, pairs))
		d.Columns = append(d.Columns, source.Column{Name: change.TextColumn, PGType: "text", Type: types.Of(textOID, -1, nil)})
		p.names = append(p.names, "")
	}
	p.list = strings.Join(exprs, ", ")
}

const textOID = 25

// textExpr builds the JSON object of a row's values out of range; for all other rows it is not built at all. A function
// takes 100 arguments at most.
func textExpr(conds, pairs []string) string {
	if len(conds) == 0 {
		return "NULL::text"
	}
	var objects []string
	for len(pairs) > 0 {
		k := min(50, len(pairs))
		objects = append(objects, "jsonb_build_object("+strings.Join(pairs[:k], ", ")+")")
		pairs = pairs[k:]
	}
	return "CASE WHEN " + strings.Join(conds, " OR ") + " THEN jsonb_strip_nulls(" + strings.Join(objects, " || ") + ")::text END"
}

// ref is a column as an expression.
func (p *plan) ref(i int) string { return p.alias + "." + ident(p.names[i]) }

// index finds a column by its name in the copy, -1 if there is none.
func index(d *source.Description, name string) int {
	for i := range d.Columns {
		if d.Columns[i].Name == name {
			return i
		}
	}
	return -1
}
