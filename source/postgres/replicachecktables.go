package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

// replicaFacts is what the catalog knows of a table beyond source.ReplicaTable.
type replicaFacts struct {
	owned, schema bool   // the role may act as the owner; may use the schema
	owner         string //
	superOwner    bool   // whose rights nobody should be given
	policies      bool   // hide rows from the role
	rows, bytes   int64  // estimated; of its own file
	generated     []string
	children      []string // tables that inherit, schema.table
	deferrable    bool     // its primary key, which is no identity then
	leaves        []replicaLeaf
}

// replicaLeaf is a partition that holds rows.
type replicaLeaf struct {
	name     string // quoted schema.table
	kind     string // pg_class.relkind
	unlogged bool
	identity byte
	key      []string
}

const (
	replicaFactsQuery = `SELECT c.oid, pg_has_role(c.relowner, 'USAGE'), pg_get_userbyid(c.relowner), coalesce((SELECT rolsuper FROM pg_roles o WHERE o.oid = c.relowner), false),
			has_schema_privilege(c.relnamespace, 'USAGE'), row_security_active(c.oid), greatest(c.reltuples, 0)::bigint,
			CASE WHEN c.relkind = 'r' THEN pg_table_size(c.oid) ELSE 0 END,
			(SELECT string_agg(quote_ident(a.attname), ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> ''),
			(SELECT string_agg(quote_ident(s.nspname || '.' || k.relname), ',' ORDER BY 1) FROM pg_inherits i JOIN pg_class k ON k.oid = i.inhrelid JOIN pg_namespace s ON s.oid = k.relnamespace
				WHERE i.inhparent = c.oid AND NOT k.relispartition),
			EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary AND NOT x.indimmediate)
		FROM pg_class c WHERE c.oid = ANY ($1::oid[])`
	replicaLeafQuery = `SELECT r.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind, c.relpersistence = 'u', c.relreplident,
			(SELECT string_agg(quote_ident(a.attname), ',' ORDER BY a.attname) FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(att, n), pg_attribute a
				WHERE i.indrelid = c.oid AND CASE WHEN c.relreplident = 'i' THEN i.indisreplident ELSE i.indisprimary AND i.indimmediate END
				AND k.n <= i.indnkeyatts AND a.attrelid = c.oid AND a.attnum = k.att)
		FROM unnest($1::oid[]) AS r(oid), pg_partition_tree(r.oid) p JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE p.isleaf AND c.relkind <> 'p' ORDER BY 2`
	otherRelationsQuery = `SELECT n.nspname || '.' || c.relname, CASE WHEN c.relispartition THEN 'a partition of ' || (SELECT s.nspname || '.' || t.relname
				FROM pg_class t JOIN pg_namespace s ON s.oid = t.relnamespace WHERE t.oid = pg_partition_root(c.oid)) || ', which is followed as a whole'
			WHEN c.relkind = 'v' THEN 'a view' WHEN c.relkind = 'm' THEN 'a materialized view' WHEN c.relkind = 'f' THEN 'a foreign table' WHEN c.relpersistence = 't' THEN 'a temporary table'
			WHEN n.nspname IN ('pg_catalog', 'information_schema') THEN 'a table of the system' ELSE 'a table of an extension' END
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY 1`
	publicationQuery = `SELECT p.puballtables OR NOT p.pubviaroot OR NOT (p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate)
				OR coalesce(to_jsonb(p) ->> 'pubgencols', 'n') <> 'n', pg_has_role(p.pubowner, 'USAGE'),
			(SELECT string_agg(r.prrelid::text, ',' ORDER BY r.prrelid) FROM pg_publication_rel r WHERE r.prpubid = p.oid), pg_get_userbyid(p.pubowner) FROM pg_publication p WHERE p.pubname = $1`
	narrowedQuery = `SELECT r.prrelid::regclass::text FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid WHERE p.pubname = $1 AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL) ORDER BY 1`
)

// describedAtOnce bounds the tables of one snapshot, which keeps a lock on each.
const describedAtOnce = 100

// checkTables judges the patterns, each table that they mean, and whether the role may publish them.
func (c *replicationCheck) checkTables(ctx context.Context) error {
	all, err := c.ReplicaTables(ctx, []string{"*"})
	if err != nil {
		return err
	}
	var tables []source.ReplicaTable
	for _, t := range all {
		if meant(c.Patterns, t.String()) {
			tables = append(tables, t)
		}
	}
	if err := c.checkPatterns(ctx, all, tables); err != nil {
		return err
	}
	facts, err := c.replicaFacts(ctx, tables)
	if err != nil {
		return err
	}
	var good []source.ReplicaTable
	for i := 0; i < len(tables); i += describedAtOnce {
		some := tables[i:min(i+describedAtOnce, len(tables))]
		if err := c.checkSome(ctx, some, facts, &good); err != nil {
			return err
		}
	}
	return c.checkPublication(ctx, good, facts)
}

// checkSome judges tables under one snapshot, and adds those that can be followed to good.
func (c *replicationCheck) checkSome(ctx context.Context, tables []source.ReplicaTable, facts map[uint32]*replicaFacts, good *[]source.ReplicaTable) error {
	n, err := c.snapshot(ctx, source.SnapshotOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = n.Close() }() //nolint:contextcheck // What is kept outlives the call.
	for i := range tables {
		t, f := &tables[i], facts[tables[i].OID]
		if f == nil {
			continue // dropped a moment ago
		}
		j := &tableCheck{replicationCheck: c, t: t, f: f, r: ReplicationTable{Name: t.String(), Schema: t.Schema, Table: t.Name, Kind: "table", Identity: identityName(t.Identity), Key: t.Key, Rows: f.rows}}
		if t.Partitioned {
			j.r.Kind = "partitioned"
		}
		j.judge()
		if err := j.describe(ctx, n); err != nil {
			return err
		}
		if j.r.Reason == "" {
			*good = append(*good, *t)
		}
		c.report.Tables = append(c.report.Tables, j.r)
	}
	return nil
}

func identityName(c byte) string {
	switch c {
	case 'f':
		return "full"
	case 'i':
		return "index"
	case 'n':
		return "nothing"
	}
	return "default"
}

// checkPatterns names the patterns and the options that mean no table.
func (c *replicationCheck) checkPatterns(ctx context.Context, all, tables []source.ReplicaTable) error {
	names := func(ts []source.ReplicaTable) []string {
		list := make([]string, len(ts))
		for i := range ts {
			list[i] = ts[i].String()
		}
		return list
	}
	found, chosen := names(all), names(tables)
	var others *result
	for _, p := range c.Patterns {
		pattern, away := strings.CutPrefix(p, "!")
		if slices.ContainsFunc(found, func(n string) bool { return glob(pattern, n) }) {
			continue
		}
		if away {
			c.warn("pattern", "take it away, or correct it", "tables: %q takes no table away", p)
			continue
		}
		if others == nil {
			rs, err := c.do(ctx, stmt(otherRelationsQuery))
			if err != nil {
				return err
			}
			others = &rs[0]
		}
		fix := didYouMean(pattern, found)
		for i := range others.rows {
			if name := others.text(i, 0); glob(pattern, name) && !slices.Contains(found, name) {
				fix = name + " is " + others.text(i, 1)
				break
			}
		}
		c.warn("pattern", fix, "tables: %q means no table", p)
	}
	for _, name := range sortedNames(c.Columns) {
		if !slices.Contains(chosen, name) {
			c.problem("table_options", didYouMean(name, chosen), "table_options: %q is none of the dataset's tables", name)
		}
	}
	if len(tables) == 0 {
		c.problem("no_tables", "correct the patterns of tables: schema.table, with * and ?", "the dataset has no table")
	}
	return nil
}

func sortedNames(m map[string][]string) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (c *replicationCheck) replicaFacts(ctx context.Context, tables []source.ReplicaTable) (map[uint32]*replicaFacts, error) {
	if len(tables) == 0 {
		return nil, nil
	}
	var oids, roots []string
	for i := range tables {
		o := strconv.FormatUint(uint64(tables[i].OID), 10)
		oids = append(oids, o)
		if tables[i].Partitioned {
			roots = append(roots, o)
		}
	}
	array := func(s []string) string { return "{" + strings.Join(s, ",") + "}" }
	rs, err := c.do(ctx, stmt(replicaFactsQuery, array(oids)), stmt(replicaLeafQuery, array(roots)))
	if err != nil {
		return nil, err
	}
	facts := map[uint32]*replicaFacts{}
	for i, r := 0, &rs[0]; i < len(r.rows); i++ {
		f := &replicaFacts{owned: r.bool(i, 1), owner: r.text(i, 2), superOwner: r.bool(i, 3), schema: r.bool(i, 4), policies: r.bool(i, 5),
			generated: idents(r.text(i, 8)), children: idents(r.text(i, 9)), deferrable: r.bool(i, 10)}
		f.rows, _ = strconv.ParseInt(r.text(i, 6), 10, 64)
		f.bytes, _ = strconv.ParseInt(r.text(i, 7), 10, 64)
		facts[oid(r.text(i, 0))] = f
	}
	for i, r := 0, &rs[1]; i < len(r.rows); i++ {
		if f := facts[oid(r.text(i, 0))]; f != nil {
			f.leaves = append(f.leaves, replicaLeaf{name: r.text(i, 1), kind: r.text(i, 2), unlogged: r.bool(i, 3), identity: r.rows[i][4][0], key: idents(r.text(i, 5))})
		}
	}
	return facts, nil
}

// tableCheck judges one table.
type tableCheck struct {
	*replicationCheck
	t *source.ReplicaTable
	f *replicaFacts
	r ReplicationTable
}

// bad notes what keeps the table from being followed.
func (j *tableCheck) bad(code, reason, fix string) {
	fix = strings.TrimSuffix(fix, ".") + fmt.Sprintf("; or leave it out: %q", "!"+j.r.Name)
	j.report.Problems = append(j.report.Problems, ReplicationFinding{Code: code, Table: j.r.Name, Message: reason, Fix: fix})
	if j.r.Reason == "" {
		j.r.Reason, j.r.Fix = reason, fix
	}
}

func (j *tableCheck) note(code, message, fix string) {
	j.report.Warnings = append(j.report.Warnings, ReplicationFinding{Code: code, Table: j.r.Name, Message: message, Fix: fix})
}

const (
	// With identity FULL each update and delete logs the old row as a whole: beyond these it is worth a word.
	wideColumns  = 20
	wideRowBytes = 1000
)

// judge looks at what the catalog says of the table.
func (j *tableCheck) judge() {
	t, f := j.t, j.f
	name := t.SQLName()
	// Of policies, children and partitions the findings below say more, and so they do of a deferrable key.
	own := t.Inherited || t.Hidden || t.Leaf != "" || f.deferrable && t.Identity == 'd'
	if reason, fix := t.Unusable(); reason != "" && (!own || t.Unlogged || !t.Readable) {
		code := "identity"
		if t.Unlogged {
			code = "unlogged"
		} else if !t.Readable {
			code = "no_select"
		}
		j.bad(code, reason, strings.Replace(fix, "the role of the source's url", j.role(), 1))
	}
	if !f.schema {
		j.bad("schema", "the role may not use its schema", "GRANT USAGE ON SCHEMA "+plainName(t.Schema)+" TO "+j.role())
	}
	if f.deferrable && t.Identity == 'd' {
		j.bad("key_deferrable", "its primary key is deferrable, which is no replica identity: its updates and deletes would fail in the source once it is published",
			"ALTER TABLE "+name+" REPLICA IDENTITY FULL, or make the key anew without DEFERRABLE")
	}
	if f.policies {
		j.bad("row_security", "row security hides rows from the role: the copy would lack them, while their changes come",
			"ALTER ROLE "+j.role()+" BYPASSRLS")
	}
	if len(f.children) > 0 {
		j.bad("inherited", "other tables inherit from it ("+some(f.children)+"): their rows would be in its copy, and their changes not",
			"ALTER TABLE … NO INHERIT "+name+" on each of them")
	}
	j.judgeLeaves()
	j.judgeColumns()
	if t.Identity == 'f' {
		wide := len(t.Columns) >= wideColumns || f.rows >= 100 && f.bytes/f.rows >= wideRowBytes
		switch {
		case len(t.Key) > 0:
			j.note("identity_full", "its replica identity is FULL although it has a primary key: each update and delete logs the whole old row", "ALTER TABLE "+name+" REPLICA IDENTITY DEFAULT")
		case wide:
			j.note("identity_full", "its replica identity is FULL, and its rows are wide: each update and delete logs the whole old row", "ALTER TABLE "+name+" ADD PRIMARY KEY (…), then REPLICA IDENTITY DEFAULT")
		}
	}
}

// some lists the first names.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// judgeLeaves looks at the partitions that hold the rows: each has an identity of its own, which a new partition does not
// take from its parent.
func (j *tableCheck) judgeLeaves() {
	var foreign, unlogged, lacking []string
	want := slices.Sorted(slices.Values(j.t.Key))
	for _, l := range j.f.leaves {
		switch {
		case l.kind != "r":
			foreign = append(foreign, l.name)
		case l.unlogged:
			unlogged = append(unlogged, l.name)
		case l.identity == 'f':
		case l.identity == 'n' || len(l.key) == 0 || len(want) == 0 || !slices.Equal(slices.Sorted(slices.Values(l.key)), want):
			lacking = append(lacking, l.name)
		}
	}
	each := func(names []string, what string) string {
		list := make([]string, len(names))
		for i, n := range names {
			list[i] = "ALTER TABLE " + n + " " + what
		}
		return strings.Join(list, "; ")
	}
	if foreign != nil {
		j.bad("foreign_partition", "it has foreign tables as partitions ("+some(foreign)+"): their changes are not in this server's log",
			strings.ReplaceAll(each(foreign, ""), "ALTER TABLE ", "ALTER TABLE "+j.t.SQLName()+" DETACH PARTITION "))
	}
	if unlogged != nil {
		j.bad("unlogged_partition", "partitions are unlogged ("+some(unlogged)+"): their changes are not in the write-ahead log", each(unlogged, "SET LOGGED"))
	}
	if lacking != nil && j.r.Reason == "" {
		fix := "REPLICA IDENTITY DEFAULT"
		if len(want) == 0 || j.t.Identity == 'f' {
			fix = "REPLICA IDENTITY FULL"
		} else if j.t.Identity == 'i' {
			fix = "REPLICA IDENTITY USING INDEX … on the same columns"
		}
		j.bad("partition_identity", "partitions have another replica identity than it, or none ("+some(lacking)+"): their updates and deletes would fail in the source or could not be followed", each(lacking, fix))
	}
}

// judgeColumns looks at generated columns, and at those that are kept.
func (j *tableCheck) judgeColumns() {
	t := j.t
	keep, chosen := j.Columns[j.r.Name]
	chosen = chosen && keep != nil
	var left []string
	for _, g := range j.f.generated {
		if !chosen {
			left = append(left, g)
		}
	}
	if left != nil {
		j.note("generated", "generated columns are not in the stream, and are left out of the copy: "+strings.Join(left, ", "), "compute them in a view over the copy")
	}
	for _, k := range t.Key {
		switch {
		case slices.Contains(j.f.generated, k):
			j.bad("key_generated", fmt.Sprintf("its key has the generated column %q, which is not in the stream", k),
				"ALTER TABLE "+t.SQLName()+" REPLICA IDENTITY USING INDEX, with a unique index on other columns")
		case chosen && !slices.Contains(keep, k):
			j.bad("key_left_out", fmt.Sprintf("table_options: columns leaves out %q of the key", k),
				fmt.Sprintf("table_options: {%s: {columns: [%s]}}", j.r.Name, strings.Join(append(missingOf(t.Key, keep), keep...), ", ")))
		}
	}
	for _, k := range keep {
		switch {
		case slices.Contains(t.Columns, k):
		case slices.Contains(j.f.generated, k):
			j.bad("generated", fmt.Sprintf("table_options: column %q is generated, and not in the stream", k), "take it away from columns, and compute it in a view over the copy")
		default:
			j.bad("unknown_column", fmt.Sprintf("table_options: there is no column %q", k), didYouMean(k, t.Columns))
		}
	}
}

// missingOf are the names of want that have lacks.
func missingOf(want, have []string) []string {
	var list []string
	for _, w := range want {
		if !slices.Contains(have, w) {
			list = append(list, w)
		}
	}
	return list
}

// describe takes the columns' types from the table as a copy would, and judges the key's. An error is a source that is
// gone.
func (j *tableCheck) describe(ctx context.Context, n *Snapshot) error {
	t := j.t
	if !t.Readable || !j.f.schema {
		return nil
	}
	q := t.Query()
	if keep := j.Columns[j.r.Name]; keep != nil {
		q.Columns = nil
		for _, col := range t.Columns {
			if slices.Contains(keep, col) {
				q.Columns = append(q.Columns, col)
			}
		}
	}
	if len(q.Columns) == 0 {
		if j.r.Reason == "" {
			j.bad("no_columns", "it has no column that could be copied", "ALTER TABLE "+t.SQLName()+" ADD COLUMN …")
		}
		return nil
	}
	d, err := n.Describe(ctx, q)
	switch code := fault.CodeOf(err); {
	case err == nil:
	case ctx.Err() != nil || code == fault.SourceUnavailable:
		return err
	default:
		j.bad(string(code), err.Error(), fault.HintOf(err))
		return nil
	}
	j.r.Rows = d.RowsGuess
	var plain []string
	for i := range d.Columns {
		col := &d.Columns[i]
		j.r.Columns = append(j.r.Columns, CheckColumn{col.Name, col.PGType, col.Type.SQL, col.NotNull})
		if col.PGType == "numeric" && col.Type.SQL == "VARCHAR" {
			plain = append(plain, col.Name)
		}
		if slices.Contains(t.Key, col.Name) && !col.Exact() {
			j.bad("key_type", fmt.Sprintf("its key column %q is a %s: values that are equal there can differ as text, so that the copy could not tell which row is meant", col.Name, col.PGType),
				"ALTER TABLE "+t.SQLName()+" REPLICA IDENTITY USING INDEX, with a unique index on other columns that are NOT NULL")
		}
	}
	if plain != nil {
		j.note("numeric", "numeric without precision becomes VARCHAR, since DuckDB's DECIMAL ends at 38 digits: "+strings.Join(plain, ", "), "cast them in a view over the copy, or give them a precision in the source")
	}
	return nil
}

// checkPublication asks whether the role may publish the tables, or somebody has done it.
func (c *replicationCheck) checkPublication(ctx context.Context, tables []source.ReplicaTable, facts map[uint32]*replicaFacts) error {
	if len(tables) == 0 {
		return nil
	}
	sts := []statement{stmt(publicationQuery, c.Publication)}
	if c.server.version >= 150000 {
		sts = append(sts, stmt(narrowedQuery, c.Publication))
	}
	rs, err := c.do(ctx, sts...)
	if err != nil {
		return err
	}
	name := plainName(c.Publication)
	r := &rs[0]
	there := len(r.rows) > 0
	if there && r.bool(0, 0) {
		c.problem("publication", "drop it, or give the dataset another name: DROP PUBLICATION "+name, "there is a publication %s that was not made for this", c.Publication)
		return nil
	}
	if len(rs) > 1 && len(rs[1].rows) > 0 {
		c.problem("publication", "DROP PUBLICATION "+name, "publication %s holds back columns or rows of %s", c.Publication, rs[1].text(0, 0))
		return nil
	}
	var oids, list, others, owners []string
	for i := range tables {
		t := &tables[i]
		oids = append(oids, strconv.FormatUint(uint64(t.OID), 10))
		sql := plainName(t.Schema) + "." + plainName(t.Name)
		f := facts[t.OID]
		if !f.owned {
			others = append(others, sql)
			if f.superOwner {
				owners = append(owners, "")
			} else {
				owners = append(owners, plainName(f.owner))
			}
		}
		if !t.Partitioned {
			sql = "ONLY " + sql
		}
		list = append(list, sql)
	}
	slices.SortFunc(oids, func(a, b string) int { return int(oid(a)) - int(oid(b)) })
	if there && r.text(0, 2) == strings.Join(oids, ",") {
		return nil // nothing is left to do
	}
	beforehand := "CREATE PUBLICATION " + name + " FOR TABLE " + strings.Join(list, ", ") + " WITH (publish_via_partition_root = true)"
	if there {
		beforehand = "ALTER PUBLICATION " + name + " SET TABLE " + strings.Join(list, ", ")
	}
	admin := ""
	if c.Publication != "" {
		admin = "; or have an administrator run: " + beforehand
	}
	switch {
	case c.server.standby && c.Publication == "":
		c.problem("publication", "name the primary in the source's url", "a standby cannot make the publication")
		return nil
	case c.server.standby:
		c.problem("publication", "on the primary: "+beforehand, "publication %s of these tables is not there, and a standby cannot make it", c.Publication)
		return nil
	case there && !r.bool(0, 1):
		c.problem("publication", "ALTER PUBLICATION "+name+" OWNER TO "+c.role()+admin, "publication %s lacks tables or has too many, and the role may not alter it: it belongs to %s", c.Publication, r.text(0, 3))
	case !there && !c.server.create:
		c.problem("create", "GRANT CREATE ON DATABASE "+plainName(c.server.database)+" TO "+c.role()+admin, "the role %s may not make a publication in database %s", c.server.user, c.server.database)
	}
	if len(others) > 0 {
		c.problem("owner", ownerFix(others, owners, c.role())+admin, "only a table's owner may publish it, and %s is not the owner of %d of %d tables: %s", c.server.user, len(others), len(tables), some(others))
	}
	return nil
}

// ownerFix makes the role an owner of tables: a member of the owning role, or, where that is a superuser, the owner itself.
func ownerFix(tables, owners []string, role string) string {
	var grants, alters []string
	for i, o := range owners {
		if o == "" {
			alters = append(alters, "ALTER TABLE "+tables[i]+" OWNER TO "+role)
		} else if !slices.Contains(grants, o) {
			grants = append(grants, o)
		}
	}
	if grants != nil {
		alters = append([]string{"GRANT " + strings.Join(grants, ", ") + " TO " + role}, alters...)
	}
	return strings.Join(alters, "; ")
}
