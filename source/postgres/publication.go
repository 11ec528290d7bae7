package postgres

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

const replicaTables = `SELECT c.oid, n.nspname, c.relname, c.relkind = 'p', c.relreplident, has_table_privilege(c.oid, 'SELECT'), c.relpersistence <> 'p',
	(SELECT string_agg(quote_ident(a.attname), ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
	(SELECT string_agg(quote_ident(a.attname), ',' ORDER BY k.n) FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(att, n), pg_attribute a
		WHERE i.indrelid = c.oid AND i.indimmediate AND CASE WHEN c.relreplident = 'i' THEN i.indisreplident ELSE i.indisprimary END
		AND k.n <= i.indnkeyatts AND a.attrelid = c.oid AND a.attnum = k.att),
	c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid), row_security_active(c.oid),
	CASE WHEN c.relkind = 'p' THEN (SELECT min(l.oid::regclass::text) FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf
		AND (l.relkind <> 'r' OR l.relpersistence <> 'p' OR NOT (l.relreplident IN ('f', 'i')
			OR l.relreplident = 'd' AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = l.oid AND i.indisprimary AND i.indimmediate)))) END,
	(SELECT md5(string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attisdropped, a.xmin,
			(SELECT string_agg(e.oid || ' ' || e.enumlabel, ',' ORDER BY e.oid) FROM pg_type y JOIN pg_enum e ON e.enumtypid IN (y.oid, y.typelem, y.typbasetype) WHERE y.oid = a.atttypid AND y.oid >= 16384),
			(SELECT md5(string_agg(concat_ws(' ', b.attnum, b.attname, b.atttypid, b.atttypmod, b.attisdropped), ',' ORDER BY b.attnum)) FROM pg_type y JOIN pg_attribute b ON b.attrelid = y.typrelid WHERE y.oid = a.atttypid AND y.typtype = 'c')),
		',' ORDER BY a.attnum)) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
	CASE WHEN c.relkind = 'p' THEN (SELECT string_agg(l.oid || ':' || coalesce(pg_relation_filenode(l.oid), 0)
			|| CASE WHEN pg_relation_size(l.oid) > 0 AND h.xmin <> y.xmin THEN '+' ELSE '' END, ' ' ORDER BY l.oid)
		FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid JOIN pg_inherits h ON h.inhrelid = l.oid JOIN pg_type y ON y.oid = l.reltype WHERE p.isleaf AND l.relkind = 'r')
		ELSE c.oid || ':' || coalesce(pg_relation_filenode(c.oid), 0) END
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
	AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%'
	AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
	ORDER BY n.nspname, c.relname`

// ReplicaTables lists the tables that the patterns mean, by name. A pattern is schema.table with * and ?, or ! and such a
// pattern, which takes away; later ones win.
func (s *Source) ReplicaTables(ctx context.Context, patterns []string) ([]source.ReplicaTable, error) {
	rs, err := s.do(ctx, stmt(replicaTables))
	if err != nil {
		return nil, s.failed(ctx, err, "listing the tables")
	}
	var tables []source.ReplicaTable
	r := &rs[0]
	for i := range r.rows {
		t := source.ReplicaTable{OID: oid(r.text(i, 0)), Schema: r.text(i, 1), Name: r.text(i, 2), Partitioned: r.bool(i, 3), Identity: r.rows[i][4][0],
			Readable: r.bool(i, 5), Unlogged: r.bool(i, 6), Columns: idents(r.text(i, 7)), Key: idents(r.text(i, 8)),
			Inherited: r.bool(i, 9), Hidden: r.bool(i, 10), Leaf: r.text(i, 11), Form: r.text(i, 12), Files: r.text(i, 13)}
		if meant(patterns, t.String()) {
			tables = append(tables, t)
		}
	}
	return tables, nil
}

// meant says whether the last pattern that fits a name takes it in.
func meant(patterns []string, name string) bool {
	in := false
	for _, p := range patterns {
		pattern, away := strings.CutPrefix(p, "!")
		if glob(pattern, name) {
			in = !away
		}
	}
	return in
}

// glob matches with * for any characters and ? for one.
func glob(pattern, s string) bool {
	p, t := []rune(pattern), []rune(s)
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// idents cuts a list of names as quote_ident gives them.
func idents(list string) []string {
	var names []string
	for list != "" {
		name, rest := cutIdent(list)
		names = append(names, name)
		list = strings.TrimPrefix(rest, ",")
	}
	return names
}

// cutIdent cuts the first of quote_ident's names.
func cutIdent(s string) (name, rest string) {
	if s[0] != '"' {
		n := strings.IndexByte(s, ',')
		if n < 0 {
			n = len(s)
		}
		return s[:n], s[n:]
	}
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			i++
			continue
		}
		return strings.ReplaceAll(s[1:i], `""`, `"`), s[i+1:]
	}
	return s[1:], ""
}

// do runs statements, each by itself, on a connection of the pool.
func (s *Source) do(ctx context.Context, sts ...statement) ([]result, error) {
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.releaseSlot()
	var rs []result
	c, err := s.begin(ctx, func(c *session) (err error) {
		groups := make([][]statement, len(sts))
		for i, st := range sts {
			groups[i] = []statement{st}
		}
		rs, err = c.run(ctx, groups...)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.keep(c) //nolint:contextcheck // What is kept outlives the call.
	return rs, nil
}

// Published is source.Replicator's.
func (s *Source) Published(ctx context.Context, name string) (map[uint32]bool, error) {
	rs, err := s.do(ctx, stmt(`SELECT r.prrelid, to_jsonb(r) ->> 'prqual' IS NULL AND to_jsonb(r) ->> 'prattrs' IS NULL FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1`, name))
	if err != nil {
		return nil, s.failed(ctx, err, "reading publication %s", name)
	}
	whole := map[uint32]bool{}
	for i := range rs[0].rows {
		if rs[0].bool(i, 1) {
			whole[oid(rs[0].text(i, 0))] = true
		}
	}
	return whole, nil
}

// Publish makes the publication hold exactly these tables, whose partitions are published under their root's name. A role that may not,
// and a standby, do with one that an administrator has made, which may have more tables.
func (s *Source) Publish(ctx context.Context, name string, tables []source.ReplicaTable) error {
	return s.failed(ctx, s.publish(ctx, name, tables), "making publication %s", name)
}

func (s *Source) publish(ctx context.Context, name string, tables []source.ReplicaTable) error {
	rs, err := s.do(ctx, stmt(`SELECT p.puballtables, p.pubviaroot, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate,
		(SELECT string_agg(r.prrelid || CASE WHEN to_jsonb(r) ->> 'prqual' IS NULL AND to_jsonb(r) ->> 'prattrs' IS NULL THEN '' ELSE ' in part' END, ',' ORDER BY r.prrelid)
			FROM pg_publication_rel r WHERE r.prpubid = p.oid) FROM pg_publication p WHERE p.pubname = $1`, name))
	if err != nil {
		return err
	}
	var oids []string
	list := make([]string, len(tables))
	for i, t := range tables {
		oids = append(oids, strconv.FormatUint(uint64(t.OID), 10))
		list[i] = qualified(t.Schema, t.Name)
		if !t.Partitioned {
			list[i] = "ONLY " + list[i] // a table that inherits is followed by its own name
		}
	}
	slices.SortFunc(oids, func(a, b string) int { return int(oid(a)) - int(oid(b)) })
	r := &rs[0]
	var sql string
	var has []string
	switch {
	case len(r.rows) == 0:
		sql = "CREATE PUBLICATION " + ident(name) + " FOR TABLE " + strings.Join(list, ", ") + " WITH (publish_via_partition_root = true)"
	case r.bool(0, 0) || !r.bool(0, 1) || !r.bool(0, 2):
		return fault.New(fault.Config, "Drop it, or give the dataset another name: DROP PUBLICATION "+ident(name),
			"there is a publication %s that was not made for this", name)
	case r.text(0, 3) != strings.Join(oids, ","):
		sql, has = "ALTER PUBLICATION "+ident(name)+" SET TABLE "+strings.Join(list, ", "), strings.Split(r.text(0, 3), ",")
	}
	if sql == "" {
		return nil
	}
	_, err = s.do(ctx, stmt(sql))
	switch sqlstate(err) {
	case "42501", "25006": // not the owner; a standby
		if !slices.ContainsFunc(oids, func(o string) bool { return !slices.Contains(has, o) }) {
			return nil
		}
		return fault.New(fault.SourcePrivilege, "Have an administrator run on the primary: "+sql+". It goes on by itself then.", "%w", err)
	}
	return err
}

// Unpublish drops the publication, if it is there.
func (s *Source) Unpublish(ctx context.Context, name string) error {
	_, err := s.do(ctx, stmt("DROP PUBLICATION IF EXISTS "+ident(name)))
	return s.failed(ctx, err, "dropping publication %s", name)
}

// Slots lists the logical slots of this database whose name begins with prefix.
func (s *Source) Slots(ctx context.Context, prefix string) ([]source.SlotState, error) {
	rs, err := s.do(ctx, stmt(`SELECT slot_name, database, plugin, active, coalesce(active_pid, 0), coalesce(restart_lsn, '0/0'), coalesce(confirmed_flush_lsn, '0/0'),
		coalesce(wal_status, ''), coalesce(safe_wal_size, -1), CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
		FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database() AND starts_with(slot_name, $1) ORDER BY 1`, prefix))
	if err != nil {
		return nil, s.failed(ctx, err, "listing replication slots")
	}
	var slots []source.SlotState
	r := &rs[0]
	for i := range r.rows {
		st := source.SlotState{Name: r.text(i, 0), Database: r.text(i, 1), Plugin: r.text(i, 2), Active: r.bool(i, 3), WALStatus: r.text(i, 7)}
		st.PID, _ = strconv.Atoi(r.text(i, 4))
		st.SafeBytes, _ = strconv.ParseInt(r.text(i, 8), 10, 64)
		for _, l := range []struct {
			to     *change.LSN
			column int
		}{{&st.Restart, 5}, {&st.Confirmed, 6}, {&st.Current, 9}} {
			if *l.to, err = change.ParseLSN(r.text(i, l.column)); err != nil {
				return nil, s.failed(ctx, err, "listing replication slots")
			}
		}
		slots = append(slots, st)
	}
	return slots, nil
}

// slotFree bounds the last wait for a walsender to end.
const slotFree = 4 * time.Second

// DropSlot drops a slot, if it is there. One in use is freed first.
func (s *Source) DropSlot(ctx context.Context, name string) error {
	var err error
	for pause := 10 * time.Millisecond; pause < slotFree; pause *= 2 {
		_, err = s.do(ctx,
			stmt("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active", name),
			stmt("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", name))
		if sqlstate(err) != "55006" {
			break
		}
		select { // its walsender is about to end
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return s.failed(ctx, err, "dropping replication slot %s", name)
}
