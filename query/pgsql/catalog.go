package pgsql

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
)

// What the catalog is made of. The lists are PostgreSQL 15's: its relations with their columns, its types, the functions that read and
// write values of these, and its settings.
var (
	//go:embed catalog/relations.tsv
	relationList string
	//go:embed catalog/types.tsv
	typeList string
	//go:embed catalog/procs.tsv
	procList string
	//go:embed catalog/ranges.tsv
	rangeList string
	//go:embed catalog/settings.tsv
	settingList string
	//go:embed catalog/views.txt
	viewList string
	//go:embed catalog/macros.sql
	macroList string
)

// Where it lies: readers' statements reach the views and functions of openSchema (the statement gate lets nothing else of that catalog
// through), which read what Go fills in baseSchema.
const (
	openSchema = "_pg"
	baseSchema = "_pgbase"
)

// systemRelation is one of PostgreSQL's own catalog relations.
type systemRelation struct {
	schema, name string
	oid          uint32
	kind         string
	columns      []systemColumn
}

type systemColumn struct {
	name, typ string // of PostgreSQL, with _ for blanks
	notNull   bool
}

// view is its name in openSchema.
func (r *systemRelation) view() string {
	if r.schema == "information_schema" {
		return "is_" + r.name
	}
	return r.name
}

var systemRelations = parseRelations(relationList)

func parseRelations(list string) []systemRelation {
	var out []systemRelation
	for line := range strings.Lines(list) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		r := systemRelation{schema: f[0], name: f[1], oid: number(f[2]), kind: f[3]}
		for _, c := range strings.Split(f[4], ",") {
			name, typ, _ := strings.Cut(c, " ")
			typ, notNull := strings.CutSuffix(typ, "!")
			r.columns = append(r.columns, systemColumn{name: name, typ: strings.ReplaceAll(typ, `"`, ""), notNull: notNull})
		}
		out = append(out, r)
	}
	return out
}

func number(s string) uint32 {
	var n uint32
	for _, c := range s {
		n = n*10 + uint32(c-'0')
	}
	return n
}

// systemTypes are the types of the catalog's columns: DuckDB's, and the OID under which pg_attribute shows them.
var systemTypes = map[string]struct {
	duck string
	oid  uint32
}{
	"oid": {"UINTEGER", 26}, "name": {"VARCHAR", 19}, "char": {"VARCHAR", 18}, "regproc": {"UINTEGER", 24}, "regtype": {"UINTEGER", 2206}, "sql_identifier": {"VARCHAR", 19},
	"character_data": {"VARCHAR", 1043}, "yes_or_no": {"VARCHAR", 1043}, "cardinal_number": {"INTEGER", 23}, "time_stamp": {"TIMESTAMPTZ", 1184},
	"text": {"VARCHAR", 25}, "boolean": {"BOOLEAN", 16}, "integer": {"INTEGER", 23}, "smallint": {"SMALLINT", 21}, "bigint": {"BIGINT", 20}, "real": {"FLOAT", 700},
	"double_precision": {"DOUBLE", 701}, "numeric": {"DOUBLE", 701}, "timestamp_with_time_zone": {"TIMESTAMPTZ", 1184}, "interval": {"INTERVAL", 1186}, "bytea": {"BLOB", 17},
	"xid": {"BIGINT", 28}, "pg_lsn": {"VARCHAR", 3220}, "inet": {"VARCHAR", 869}, "pg_node_tree": {"VARCHAR", 194},
	"int2vector": {"SMALLINT[]", 22}, "oidvector": {"UINTEGER[]", 30}, "text[]": {"VARCHAR[]", 1009}, "aclitem[]": {"VARCHAR[]", 1034}, "anyarray": {"VARCHAR[]", 2277},
	"oid[]": {"UINTEGER[]", 1028}, "name[]": {"VARCHAR[]", 1003}, "smallint[]": {"SMALLINT[]", 1005}, "char[]": {"VARCHAR[]", 1002},
	"real[]": {"FLOAT[]", 1021}, "double_precision[]": {"DOUBLE[]", 1022}, "boolean[]": {"BOOLEAN[]", 1000}, "regtype[]": {"UINTEGER[]", 2211},
}

func systemType(t string) (duck string, oid uint32) {
	if s, ok := systemTypes[t]; ok {
		return s.duck, s.oid
	}
	return "VARCHAR", 25
}

// block is rows of a catalog relation: where they come from, and what its columns are.
type block struct {
	from    string
	columns map[string]string
}

// parseBlocks reads views.txt.
func parseBlocks(list string) map[string][]block {
	out := map[string][]block{}
	var name string
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		switch rest, isView := strings.CutPrefix(line, "VIEW "); {
		case line == "" || line[0] == '#':
		case isView:
			var from string
			name, from, _ = strings.Cut(rest, " FROM ")
			out[name] = append(out[name], block{from: from, columns: map[string]string{}})
		default:
			column, expr, _ := strings.Cut(line, " ")
			blocks := out[name]
			blocks[len(blocks)-1].columns[column] = expr
		}
	}
	return out
}

// viewSQL makes the relation with all of PostgreSQL's columns, whatever of them has something to say.
func (r *systemRelation) viewSQL(blocks []block) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE VIEW memory.%s.%s AS ", openSchema, quoteIdent(r.view()))
	for i := range max(1, len(blocks)) {
		if i > 0 {
			b.WriteString(" UNION ALL ")
		}
		b.WriteString("SELECT ")
		for k, c := range r.columns {
			duck, _ := systemType(c.typ)
			expr := "NULL"
			if i < len(blocks) && blocks[i].columns[c.name] != "" {
				expr = blocks[i].columns[c.name]
			} else if c.notNull {
				expr = blank(duck)
			}
			if k > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "(%s)::%s AS %s", expr, duck, quoteIdent(c.name))
		}
		if i < len(blocks) {
			b.WriteString(" FROM " + blocks[i].from)
		} else {
			b.WriteString(" WHERE false")
		}
	}
	return b.String()
}

func blank(duck string) string {
	switch {
	case strings.HasSuffix(duck, "[]"):
		return "[]"
	case duck == "BOOLEAN":
		return "false"
	case duck == "UINTEGER" || duck == "INTEGER" || duck == "SMALLINT" || duck == "BIGINT" || duck == "FLOAT" || duck == "DOUBLE":
		return "0"
	case duck == "TIMESTAMPTZ" || duck == "BLOB" || duck == "INTERVAL":
		return "NULL"
	}
	return "''"
}

const baseTables = `
CREATE SCHEMA memory._pg;
CREATE SCHEMA memory._pgbase;
CREATE TABLE memory._pgbase.instance(name VARCHAR, started TIMESTAMPTZ);
CREATE TABLE memory._pgbase.namespaces(oid UINTEGER, name VARCHAR, system BOOLEAN);
CREATE TABLE memory._pgbase.relations(oid UINTEGER, nsp UINTEGER, nspname VARCHAR, name VARCHAR, kind VARCHAR, tuples BIGINT, natts INTEGER, def VARCHAR, comment VARCHAR, haskey BOOLEAN, system BOOLEAN);
CREATE TABLE memory._pgbase.columns(rel UINTEGER, num SMALLINT, name VARCHAR, type UINTEGER, typmod INTEGER, mandatory BOOLEAN, comment VARCHAR);
CREATE TABLE memory._pgbase.keys(oid UINTEGER, rel UINTEGER, index UINTEGER, name VARCHAR, cols SMALLINT[], colnames VARCHAR[]);
CREATE TABLE memory._pgbase.grants(role VARCHAR, rel UINTEGER);
CREATE TABLE memory._pgbase.types(oid UINTEGER, name VARCHAR, len SMALLINT, byval BOOLEAN, type VARCHAR, category VARCHAR, preferred BOOLEAN, delim VARCHAR, elem UINTEGER, arr UINTEGER,
	input UINTEGER, output UINTEGER, receive UINTEGER, send UINTEGER, modin UINTEGER, modout UINTEGER, align VARCHAR, storage VARCHAR, collated UINTEGER, subscript UINTEGER, sql VARCHAR, alias VARCHAR);
CREATE TABLE memory._pgbase.procs(oid UINTEGER, name VARCHAR, ret UINTEGER, nargs SMALLINT);
CREATE TABLE memory._pgbase.ranges(oid UINTEGER, subtype UINTEGER, multi UINTEGER, collated UINTEGER, opclass UINTEGER);
CREATE TABLE memory._pgbase.settings(name VARCHAR, setting VARCHAR, unit VARCHAR, category VARCHAR, short_desc VARCHAR, context VARCHAR, vartype VARCHAR, source VARCHAR, boot_val VARCHAR, reset_val VARCHAR);
CREATE VIEW memory._pgbase.visible AS SELECT * FROM memory._pgbase.relations r WHERE r.system OR r.oid IN (SELECT g.rel FROM memory._pgbase.grants g WHERE g.role = getvariable('pintail_role'));
CREATE VIEW memory._pgbase.activity AS SELECT unnest(from_json(system.main._pintail_host('activity', getvariable('pintail_pid'), ''),
	'[{"pid": "INTEGER", "usename": "VARCHAR", "application_name": "VARCHAR", "client_addr": "VARCHAR", "client_port": "INTEGER", "backend_start": "TIMESTAMPTZ", "query_start": "TIMESTAMPTZ", "wait_event_type": "VARCHAR", "wait_event": "VARCHAR", "state": "VARCHAR", "query": "VARCHAR"}]')) AS row;
CREATE VIEW memory._pgbase.roles AS SELECT 10::UINTEGER AS oid, 'pintail' AS name UNION ALL SELECT 16383::UINTEGER, getvariable('pintail_user') WHERE getvariable('pintail_user') <> 'pintail';
`

// macroTables are what functions read, by names that no statement has.
var macroTables = map[string]string{
	"visible": "oid nsp nspname name kind tuples natts def comment system", "types": "oid name sql alias", "procs": "oid name ret", "namespaces": "oid name", "roles": "oid name",
	"columns": "rel num name comment", "keys": "oid rel index name cols colnames", "instance": "name started", "settings": "name setting",
}

// typeAliases are names that a type has beside those of pg_type and of the standard.
var typeAliases = map[string]string{"int4": "int", "numeric": "decimal", "float8": "float", "bpchar": "char", "bool": "bool"}

// install makes the catalog in memory, with PostgreSQL's own relations and types in it. It is empty of the file's tables.
func (t *Translator) install(ctx context.Context) error {
	return t.store.InMemory(ctx, func(exec func(sql string, args ...any) error) error {
		var b strings.Builder
		b.WriteString(baseTables)
		fmt.Fprintf(&b, "INSERT INTO memory._pgbase.instance VALUES (%s, now());\n", quoteText(t.database))
		for _, l := range []struct{ table, list string }{{"procs", procList}, {"ranges", rangeList}, {"settings", settingList}} {
			writeRows(&b, l.table, rows(l.list))
		}
		types := rows(typeList)
		for i, f := range types {
			types[i] = append(f, typeAliases[f[1]])
		}
		writeRows(&b, "types", types)
		for table, columns := range macroTables {
			fmt.Fprintf(&b, "CREATE VIEW memory.%s.m_%s AS SELECT ", baseSchema, table)
			for i, c := range strings.Fields(columns) {
				b.WriteString([]string{"", ", "}[min(i, 1)] + c + " AS __" + c)
			}
			fmt.Fprintf(&b, " FROM memory.%s.%s;\n", baseSchema, table)
		}
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(formatType, "@names", typeNames(types)), "@elements", typeElements(types)))
		b.WriteString(macroList)
		if err := exec(b.String()); err != nil {
			return err
		}
		b.Reset()
		blocks := parseBlocks(viewList)
		for i := range systemRelations {
			r := &systemRelations[i]
			name := r.name
			if r.schema == "information_schema" {
				name = r.schema + "." + r.name
			}
			b.WriteString(r.viewSQL(blocks[name]) + ";\n")
		}
		return exec(b.String())
	})
}

func rows(list string) [][]string {
	var out [][]string
	for line := range strings.Lines(list) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			out = append(out, strings.Split(line, "\t"))
		}
	}
	return out
}

// writeRows appends an INSERT; DuckDB casts the texts.
func writeRows(b *strings.Builder, table string, rows [][]string) {
	fmt.Fprintf(b, "INSERT INTO memory.%s.%s VALUES ", baseSchema, table)
	for i, f := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		for k, v := range f {
			b.WriteString([]string{"(", ", "}[min(k, 1)])
			b.WriteString(quoteText(v))
		}
		b.WriteByte(')')
	}
	b.WriteString(";\n")
}

// formatType looks names up in constants, so that it can stand wherever an expression can.
const formatType = `CREATE MACRO memory._pg._format_type(t, m) AS CASE WHEN t IS NULL THEN NULL WHEN t = 0 THEN '-' ELSE
	coalesce(CASE WHEN m >= 0 THEN CASE
		WHEN coalesce(@elements[t::UINTEGER], t::UINTEGER) IN (1042, 1043) AND m > 4 THEN regexp_replace(@names[t::UINTEGER], '(\[\])?$', '(' || (m - 4) || ')\1')
		WHEN coalesce(@elements[t::UINTEGER], t::UINTEGER) = 1700 AND m > 4 THEN regexp_replace(@names[t::UINTEGER], '(\[\])?$', '(' || ((m - 4)::INTEGER >> 16) || ',' || ((m - 4)::INTEGER & 65535) || ')\1')
		WHEN coalesce(@elements[t::UINTEGER], t::UINTEGER) IN (1083, 1114, 1184, 1266) THEN regexp_replace(@names[t::UINTEGER], '^(time(?:stamp)?)', '\1(' || m || ')')
		WHEN coalesce(@elements[t::UINTEGER], t::UINTEGER) IN (1560, 1562) THEN @names[t::UINTEGER] || '(' || m || ')'
		END END,
	CASE WHEN t = 1042 AND m = -1 THEN 'bpchar' END, @names[t::UINTEGER], '???') END;
`

func typeNames(types [][]string) string {
	var b strings.Builder
	b.WriteString("MAP {")
	for i, f := range types {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f[0] + "::UINTEGER: " + quoteText(f[20]))
	}
	return b.String() + "}"
}

func typeElements(types [][]string) string {
	var b strings.Builder
	b.WriteString("MAP {")
	first := true
	for _, f := range types {
		if f[5] == "A" && f[8] != "0" {
			if !first {
				b.WriteString(", ")
			}
			first = false
			b.WriteString(f[0] + "::UINTEGER: " + f[8] + "::UINTEGER")
		}
	}
	return b.String() + "}"
}

func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
