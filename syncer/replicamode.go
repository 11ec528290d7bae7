package syncer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

var deletesOf = map[string]change.Deletes{"": change.DeletesHard, "hard": change.DeletesHard, "soft": change.DeletesSoft, "history": change.DeletesHistory}

// kept finds out what the configuration has a table keep.
func (r *replica) kept(c *candidate) error {
	t := &c.table
	deletes, stamps := r.d.CDC.Kept(t.String())
	c.keep = change.Keep{Deletes: deletesOf[deletes], Stamps: stamps}
	if c.keep.Deletes == change.DeletesHistory {
		c.keep.Stamps = false // it has them anyway
	}
	if len(t.Key) == 0 && c.keep.Deletes != change.DeletesHard {
		return fault.New(fault.Config, "ALTER TABLE "+t.SQLName()+` ADD PRIMARY KEY (…); or table_options: {"`+t.String()+`": {deletes: hard}}`,
			"table %s has no key, by which rows that are gone could be told apart: deletes: %s needs one", t, deletes)
	}
	return nil
}

// rowID is DuckDB's name for where a row lies, by which the rows are found that versions end or that have equals.
const rowID = "rowid"

// keptNames refuses columns of the source that are called like those that are kept.
func (c *candidate) keptNames(columns []string) error {
	for _, name := range columns {
		if foldName(name) == rowID && (c.keep.Deletes != change.DeletesHard || len(c.table.Key) == 0) {
			return fault.New(fault.Config, "leave it out in table_options, or rename it in the source", "table %s has a column %q, which hides DuckDB's own: a table without a key, and deletes: soft and history, need that", &c.table, name)
		}
	}
	for _, k := range store.KeptColumns(c.keep) {
		for _, name := range columns {
			if foldName(name) == k.Name {
				return fault.New(fault.Config, "leave it out in table_options, or rename it in the source", "table %s has a column %q, which deletes and lsn_columns need for themselves", &c.table, name)
			}
		}
	}
	return nil
}

// keptDefinition is the part of a table's definition that says what it keeps; "" is nothing, as in files of before.
func keptDefinition(k change.Keep) string {
	if k == (change.Keep{}) {
		return ""
	}
	return string(toJSON(struct {
		Deletes change.Deletes
		LSN     bool
	}{k.Deletes, k.Stamps}))
}

// began notes of which moment a copy is.
func began(all []candidate, at change.Position) {
	for i := range all {
		all[i].by = madeAt(at)
	}
}

// madeAt stands for all transactions before a position. The next one's commit record may begin right there.
func madeAt(p change.Position) change.Stamp { return change.Stamp{LSN: p.LSN - 1, At: p.CommittedAt} }

// swap has rows take the table's place, with the macro that shows former versions.
func (f *followed) swap(tx *store.Tx, rows *store.Staged) error {
	if err := tx.Swap(f.target, rows); err != nil || f.keep.Deletes != change.DeletesHistory {
		return err
	}
	return tx.TimeTravel(f.target)
}

// past has a table that was copied anew keep what its former copy kept, as if one transaction at by had made the difference. The
// time of that may be a later one, and is returned.
func (r *replica) past(ctx context.Context, f *followed, p *part, by change.Stamp) (time.Time, error) {
	now, at, err := r.s.store.Past(ctx, f.target, p.staged, f.key, f.keep, by)
	if err != nil {
		return at, err
	}
	p.staged = now
	if f.into != nil {
		f.into = now
	}
	return at, nil
}

func laterOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// overlaps counts the versions of a row that are not over when the next one begins.
func (c *comparison) overlaps(ctx context.Context) (n int64, err error) {
	if c.keep.Deletes != change.DeletesHistory {
		return 0, nil
	}
	key := make([]string, len(c.part.key))
	for i, k := range c.part.key {
		key[i] = quote(k)
	}
	from, to := quote(change.FromColumn), quote(change.ToColumn)
	// Of versions that begin at one moment, the one that is over at it is the earlier.
	sc, err := c.copied.Scan(ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT %[1]s AS a, %[2]s AS b, lead(%[1]s) OVER (PARTITION BY %[3]s ORDER BY %[1]s, %[4]s, %[2]s NULLS LAST) AS c FROM %[5]s) WHERE b < a OR c IS NOT NULL AND (b IS NULL OR b > c)",
		from, to, strings.Join(key, ", "), quote(change.LSNColumn), quoteTarget(c.part.cfg.Target)), []types.Type{{Kind: types.Int64, SQL: "BIGINT"}})
	if err != nil {
		return 0, err
	}
	defer sc.Close()
	ch, err := sc.Next()
	if err != nil || ch == nil {
		return 0, err
	}
	return *change.At[int64](&ch.Vectors[0], 0), nil
}

// live is the condition of the rows that are compared; "" is all.
func (c *comparison) live() string {
	return store.LiveCondition(c.keep)
}

// where joins conditions.
func where(conditions ...string) string {
	conditions = slices.DeleteFunc(conditions, func(c string) bool { return c == "" })
	if len(conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(conditions, " AND ")
}
