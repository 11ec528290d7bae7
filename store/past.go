package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pintaildb/pintail/change"
)

// Past has a table that was copied anew go on from the one that it is to replace: st is what the source has now, keyed by key and
// staged with the columns of keep, and target what was kept until now. What is in target and not in st is deleted, or its version
// ended, by a transaction at by; so is a row that differs, of which the new version then begins. Versions that st has beside the
// present ones are forgotten. The result is to be swapped in; it is st where there is nothing to go on from, and where not, st is
// discarded. at is by.At, or the latest time in the target's history when that is later.
//
// Columns that st does not have are lost, new ones NULL in former versions, and values that a changed type cannot hold too.
func (s *Store) Past(ctx context.Context, target string, st *Staged, key []string, keep change.Keep, by change.Stamp) (now *Staged, at time.Time, err error) {
	now, at = st, by.At
	if keep.Deletes == change.DeletesHard || len(key) == 0 {
		return now, at, nil
	}
	err = s.Commit(ctx, func(tx *Tx) (err error) {
		now, at = st, by.At
		p := past{tx: tx, target: s.table(target), st: st, key: key, keep: keep}
		if p.have, err = tx.columns(target); err != nil || p.have[fold(change.DeletedColumn)] == "" && p.have[fold(change.ToColumn)] == "" {
			return err
		}
		for _, c := range KeptColumns(keep) {
			if p.have[fold(c.Name)] == "" && c.Name != change.LSNColumn && c.Name != change.CommittedColumn {
				return nil // it kept something else
			}
		}
		if keep.Deletes == change.DeletesSoft {
			return p.soft(by)
		}
		now, at, err = p.history(by)
		return err
	})
	if err != nil {
		if now != nil && now != st {
			s.Discard(ctx, now)
		}
		return nil, at, doing(err, "keep what was deleted in %s", target)
	}
	if now != st {
		s.Discard(ctx, st)
	}
	return now, at, nil
}

type past struct {
	tx     *Tx
	target string // as it is written in a statement
	st     *Staged
	key    []string
	keep   change.Keep
	have   map[string]string // the target's columns: folded name → type
}

// columns are those of a table of the copy, by their folded names, with their types; none when it is not there.
func (tx *Tx) columns(target string) (map[string]string, error) {
	schema, name := splitTarget(target)
	cols := map[string]string{}
	err := tx.se.query(tx.ctx, "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = ? AND schema_name = ? AND table_name = ?", []any{tx.s.catalog, schema, name}, func(r ownRow) error {
		cols[fold(r.text(0))] = r.text(1)
		return nil
	})
	return cols, err
}

// of is a column of the target in the form of the staged one; "" when it has none.
func (p *past) of(c *Column) string {
	t := "t." + quote(c.Name)
	switch p.have[fold(c.Name)] {
	case "":
		return ""
	case c.Type.SQL:
		return t
	}
	return fmt.Sprintf("TRY_CAST(%s AS %s)", t, c.Type.SQL)
}

// own are the staged columns that are of the source.
func (p *past) own() []Column { return p.st.cols[:len(p.st.cols)-len(KeptColumns(p.keep))] }

// values are the target's in the staged form.
func (p *past) values() []string {
	values := make([]string, 0, 3+len(p.st.cols))
	own := p.own()
	for i := range own {
		v := p.of(&own[i])
		if v == "" {
			v = "NULL::" + own[i].Type.SQL
		}
		values = append(values, v)
	}
	return values
}

// on joins t, the target, and s by the key. A key column that the target does not have equals nothing.
func (p *past) on() string {
	on := make([]string, len(p.key))
	for i, k := range p.key {
		c, err := column(p.st.cols, k)
		if err != nil {
			return "FALSE"
		}
		v := p.of(c)
		if v == "" {
			return "FALSE"
		}
		on[i] = v + " = s." + quote(k)
	}
	return strings.Join(on, " AND ")
}

// soft adds the rows that are not there any more.
func (p *past) soft(by change.Stamp) error {
	at := moment(by.At)
	values := p.values()
	if p.keep.Stamps {
		for i, now := range []string{fmt.Sprintf("%d::UBIGINT", uint64(by.LSN)), at} {
			if c := KeptColumns(p.keep)[i]; p.have[fold(c.Name)] != "" {
				now = fmt.Sprintf("CASE WHEN t.%s IS NULL THEN %s ELSE t.%s END", deletedName, now, quote(c.Name))
			}
			values = append(values, now)
		}
	}
	values = append(values, fmt.Sprintf("coalesce(t.%s, %s)", deletedName, at))
	return p.tx.run(fmt.Sprintf("INSERT INTO %s SELECT %s FROM %s AS t ANTI JOIN %s AS s ON %s", p.st.sql, strings.Join(values, ", "), p.target, p.st.sql, p.on()))
}

// history makes a table of both: the former versions, those present ones that are the same, and the new ones.
func (p *past) history(by change.Stamp) (*Staged, time.Time, error) {
	s, at := p.tx.s, by.At
	if err := p.tx.se.query(p.tx.ctx, fmt.Sprintf("SELECT epoch_us(greatest(max(%s), max(%s))) FROM %s", fromName, toName, p.target), nil, func(r ownRow) error {
		if last := r.time(0); !r.null(0) && last.After(at) {
			at = last
		}
		return nil
	}); err != nil {
		return nil, at, err
	}
	own := p.own()
	var differ, names []string
	for i := range own {
		name := quote(own[i].Name)
		names = append(names, "s."+name)
		v := p.of(&own[i])
		if v == "" {
			continue
		}
		if exact := spelled(&own[i].Type, v); exact != "" {
			differ = append(differ, exact+" IS DISTINCT FROM s."+name+"::VARCHAR")
		} else {
			differ = append(differ, v+" IS DISTINCT FROM s."+name)
		}
	}
	now := &Staged{Rows: p.st.Rows, schema: p.st.schema, name: fmt.Sprintf("%s_%d", p.st.name, s.staged.Add(1)), inFile: true, cols: p.st.cols}
	now.sql = s.in(now.schema, now.name)
	moment, live := moment(at), LiveCondition(p.keep)
	sql := fmt.Sprintf(`CREATE TABLE %[1]s AS WITH same AS MATERIALIZED (
			SELECT DISTINCT ON (s.rowid) s.rowid AS sid, t.rowid AS tid, t.%[2]s AS since, t.%[3]s AS lsn FROM %[4]s AS s JOIN %[5]s AS t ON %[6]s WHERE s.%[7]s AND t.%[7]s AND NOT (%[8]s))
		SELECT %[9]s, coalesce(n.since, %[10]s) AS %[2]s, NULL::TIMESTAMPTZ AS %[11]s, coalesce(n.lsn, %[12]d::UBIGINT) AS %[3]s FROM %[4]s AS s LEFT JOIN same AS n ON n.sid = s.rowid WHERE s.%[7]s
		UNION ALL
		SELECT %[13]s, t.%[2]s, coalesce(t.%[11]s, %[10]s), t.%[3]s FROM %[5]s AS t ANTI JOIN same AS n ON n.tid = t.rowid`,
		now.sql, fromName, lsnName, p.st.sql, p.target, p.on(), live, anyOf(differ), strings.Join(names, ", "), moment, toName, uint64(by.LSN), strings.Join(p.values(), ", "))
	if err := p.tx.run(sql); err != nil {
		return nil, at, err
	}
	return now, at, nil
}

// AtSuffix ends the name of the macro that shows a table with change.DeletesHistory as it was at a moment.
const AtSuffix = "_at"

// TimeTravel makes or replaces the macro of a table, schema.table_at(moment): its rows then, without the columns that Pintail
// has added. The macro goes with the table (DropTable).
func (tx *Tx) TimeTravel(target string) error {
	schema, name := splitTarget(target)
	// Without the catalog, whose name changes with the file's.
	err := tx.run(fmt.Sprintf("CREATE OR REPLACE MACRO %s(moment) AS TABLE SELECT * EXCLUDE (%s, %s, %s) FROM %s.%s WHERE %[2]s <= moment::TIMESTAMPTZ AND (%[3]s IS NULL OR %[3]s > moment::TIMESTAMPTZ)",
		tx.s.in(schema, name+AtSuffix), fromName, toName, lsnName, quote(schema), quote(name)))
	return doing(err, "make the macro %s%s", target, AtSuffix)
}
