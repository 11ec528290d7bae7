package postgres

import (
	"context"
	"strings"

	"github.com/pintaildb/pintail/source"
)

// factsQuery tells what may change the values of rows without writing a row version: relations with their files, whose
// change is a rewrite, views by their definition, labels of enums, attributes of composite types. $1 are the base
// relations, $2 the columns' types that are not built in.
const factsQuery = `WITH RECURSIVE rel(oid) AS (SELECT o FROM unnest($1::oid[]) o WHERE o <> 0
		UNION SELECT i.inhrelid FROM pg_inherits i JOIN rel ON i.inhparent = rel.oid),
	typ(oid) AS (SELECT o FROM unnest($2::oid[]) o
		UNION SELECT x.next FROM typ JOIN pg_type y ON y.oid = typ.oid, LATERAL (SELECT y.typelem UNION ALL SELECT y.typbasetype
			UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = y.typrelid AND y.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped) x(next)
		WHERE x.next >= 16384)
	SELECT 'relation ' || c.oid, coalesce(pg_relation_filenode(c.oid), 0)::text, coalesce(pg_relation_size(c.oid), 0) > 0
		FROM rel JOIN pg_class c ON c.oid = rel.oid WHERE c.relkind = 'r'
	UNION ALL SELECT 'view ' || c.oid, md5(pg_get_viewdef(c.oid)), false FROM rel JOIN pg_class c ON c.oid = rel.oid WHERE c.relkind = 'v'
	UNION ALL SELECT 'label ' || e.oid, e.enumlabel, false FROM typ JOIN pg_enum e ON e.enumtypid = typ.oid
	UNION ALL SELECT 'attributes ' || y.oid, coalesce((SELECT md5(string_agg(a.attname || ' ' || a.atttypid || ' ' || a.atttypmod, ',' ORDER BY a.attnum))
		FROM pg_attribute a WHERE a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped), ''), false
		FROM typ JOIN pg_type y ON y.oid = typ.oid WHERE y.typtype = 'c'`

// noteFacts takes factsQuery's answer.
func noteFacts(d *source.Description, r *result) {
	d.Facts, d.Filled = map[string]string{}, map[string]bool{}
	for i := range r.rows {
		d.Facts[r.text(i, 0)] = r.text(i, 1)
		if r.bool(i, 2) {
			d.Filled[r.text(i, 0)] = true
		}
	}
}

const filesQuery = `SELECT 'file ' || c.oid, pg_relation_filenode(c.oid)::text FROM unnest($1::text[], $2::text[]) AS s(schema, name)
	JOIN pg_namespace n ON n.nspname = s.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.name WHERE c.relkind = 'r'`

// files adds the files of the tables that a query's plan reads: behind an expression or a view no column tells of them. A
// partition may be left out of one plan and be in the next.
func (h *held) files(ctx context.Context, d *source.Description, plan *planNode) error {
	var schemas, names []string
	plan.relations(func(schema, name string) {
		schemas, names = append(schemas, schema), append(names, name)
	})
	if names == nil {
		return nil
	}
	array := func(s []string) string {
		for i := range s {
			s[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s[i]) + `"`
		}
		return "{" + strings.Join(s, ",") + "}"
	}
	rs, err := h.ask(ctx, stmt("SAVEPOINT pintail"), stmt(filesQuery, array(schemas), array(names)), stmt("RELEASE SAVEPOINT pintail"))
	if err != nil {
		return err
	}
	for i := range rs[1].rows {
		d.Facts[rs[1].text(i, 0)] = rs[1].text(i, 1)
	}
	return nil
}

// relations are the tables that the plan scans.
func (p *planNode) relations(each func(schema, name string)) {
	if p.Relation != "" && p.Schema != "" {
		each(p.Schema, p.Relation)
	}
	for i := range p.Plans {
		p.Plans[i].relations(each)
	}
}

// placeQuery tells which server's which database this is, and how far it has come.
const placeQuery = `SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()),
	CASE WHEN pg_is_in_recovery() THEN (SELECT upper(lpad(to_hex(timeline_id), 8, '0')) FROM pg_control_checkpoint()) ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END,
	CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text END`

// place asks for the snapshot's place once. A server that does not tell leaves it unknown.
func (h *held) place(ctx context.Context) (map[string]string, error) {
	if h.places != nil {
		return h.places, nil
	}
	rs, err := h.ask(ctx, stmt("SAVEPOINT pintail"), stmt(placeQuery), stmt("RELEASE SAVEPOINT pintail"))
	places := map[string]string{}
	switch state := sqlstate(err); {
	case err == nil:
		places[source.FactServer], places[source.FactTimeline] = rs[1].text(0, 0), rs[1].text(0, 1)
		if rs[1].rows[0][2] != nil {
			places[source.FactLSN] = rs[1].text(0, 2)
		}
	case state == "42501" || state == "42883" || state == "42P01" || state == "0A000" || state == "55000":
	default:
		return nil, err
	}
	h.places = places
	return places, nil
}
