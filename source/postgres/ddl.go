package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/pintaildb/pintail/change"
)

// DDLTrigger is what an administrator may run in a source's database: an event trigger that writes into the log, at its place in
// the transaction, which columns a table has after an ALTER TABLE. Without it the stream tells names and types only, and
// those not before the table's next row. Whatever goes wrong in it, the ALTER TABLE is done.
const DDLTrigger = `-- Tells Pintail's replicas (mode: cdc) the exact place of every ALTER TABLE. As a superuser, in the database that is followed:

CREATE SCHEMA IF NOT EXISTS pintail;

CREATE OR REPLACE FUNCTION pintail.note_ddl() RETURNS event_trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  altered oid;
BEGIN
  FOR altered IN
    SELECT DISTINCT d.objid FROM pg_event_trigger_ddl_commands() d JOIN pg_class c ON c.oid = d.objid
    WHERE d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
  LOOP
    PERFORM pg_logical_emit_message(true, '` + ddlPrefix + `', json_build_object('table', altered::bigint, 'columns',
      (SELECT json_agg(json_build_object('attnum', attnum, 'name', attname, 'type', atttypid::bigint, 'typmod', atttypmod) ORDER BY attnum)
       FROM pg_attribute WHERE attrelid = altered AND attnum > 0 AND NOT attisdropped AND attgenerated = ''))::text);
  END LOOP;
  -- The server places a message where it ends, and a row where it begins: without another one between them, a row that comes next
  -- could be sent before the message, which EXCEPTION puts into a subtransaction.
  PERFORM pg_logical_emit_message(true, '` + ddlPrefix + `', '');
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING 'Pintail is not told of this %: %', tg_tag, sqlerrm;
END $$;

CREATE EVENT TRIGGER pintail_ddl ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION pintail.note_ddl();

-- To take it away: DROP EVENT TRIGGER pintail_ddl; DROP FUNCTION pintail.note_ddl(); DROP SCHEMA pintail;
`

// DDLTrigger is source.Replicator's.
func (s *Source) DDLTrigger(ctx context.Context) (uint32, error) {
	rs, err := s.do(ctx, stmt("SELECT oid FROM pg_catalog.pg_event_trigger WHERE evtname = 'pintail_ddl' AND evtevent = 'ddl_command_end' AND evtenabled IN ('O', 'A')"))
	if err != nil {
		return 0, s.failed(ctx, err, "looking for the event trigger of schema changes")
	}
	if len(rs[0].rows) == 1 {
		n, err := strconv.ParseUint(rs[0].text(0, 0), 10, 32)
		return uint32(n), err
	}
	return 0, nil
}

// ddlPrefix is that of the trigger's messages.
const ddlPrefix = "pintail_ddl"

// parseAltered reads a message of DDLTrigger; ok is false for all others, and for one that is damaged: anybody may write it.
func parseAltered(m *logicalMessage) (table uint32, columns []change.SourceColumn, ok bool) {
	if !m.transactional || m.prefix != ddlPrefix {
		return 0, nil, false
	}
	var v struct {
		Table   uint32
		Columns []change.SourceColumn
	}
	if err := json.Unmarshal(m.content, &v); err != nil || len(v.Columns) == 0 {
		return 0, nil, false
	}
	for _, c := range v.Columns {
		if c.Name == "" || c.Attnum == 0 || c.Type == 0 {
			return 0, nil, false
		}
	}
	return v.Table, v.Columns, true
}

// altered notes the form that a table has from here on. It is brought into it when its next row comes, or with the transaction's
// end: what several ALTER TABLE in a row have made of it is one form.
func (s *changeStream) altered(b []byte) error {
	m, err := parseLogical(b)
	if err != nil {
		return err
	}
	table, columns, ok := parseAltered(&m)
	f := s.tables[table]
	if !ok || f == nil || f.lost != "" || !s.opt.Reshapes || !s.begun || s.tx.commit < f.After {
		return nil
	}
	if f.altered == nil {
		s.alters = append(s.alters, f)
	}
	f.altered = columns
	return nil
}

// alter brings a table into the form that was noted.
func (s *changeStream) alter(f *followed) error {
	columns := f.altered
	f.altered = nil
	if columns == nil || f.lost != "" || f.has(columns) {
		return nil
	}
	followed, err := s.reshape(f, columns)
	if err == nil && !followed {
		f.lose("its columns changed in the source")
	}
	return err
}

// alterAll does so for the tables of a transaction that ends.
func (s *changeStream) alterAll() error {
	for _, f := range s.alters {
		if err := s.alter(f); err != nil {
			return err
		}
	}
	clear(s.alters)
	s.alters = s.alters[:0]
	return nil
}

// has says whether a table is followed in this form already.
func (f *followed) has(columns []change.SourceColumn) bool {
	known := 0
	for i := range f.Desc.Columns {
		d := &f.Desc.Columns[i]
		if d.Table == 0 {
			continue // change.TextColumn
		}
		if !slices.ContainsFunc(columns, func(c change.SourceColumn) bool {
			return c.Attnum == d.Attnum && c.Name == d.Name && c.Type == d.TypeOID && c.Typmod == d.Typmod
		}) {
			return false
		}
		known++
	}
	for _, left := range f.Left {
		if !slices.ContainsFunc(columns, func(c change.SourceColumn) bool { return c.Name == left }) {
			return false
		}
	}
	return known+len(f.Left) == len(columns)
}
