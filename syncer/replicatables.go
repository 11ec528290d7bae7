package syncer

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// candidate is a table that the configuration means.
type candidate struct {
	table      source.ReplicaTable
	target     string
	cfg        config.Part // what a copy of it reads
	state      store.TableState
	left       []string // columns that are not copied
	definition string   // the configuration's part in what the copy is
	keep       change.Keep
	by         change.Stamp // of a copy: its moment
	aside      bool         // in quarantine
}

// look finds out which tables are to be followed, publishes them, and marks those that are not in the copy.
func (r *replica) look(ctx context.Context) ([]candidate, error) {
	all, gone, err := r.survey(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.dropGone(ctx, gone); err != nil {
		return nil, err
	}
	published, err := r.src.Published(ctx, r.claim.Slot)
	if err != nil {
		return nil, err
	}
	if err := r.unfollow(ctx, all, published); err != nil {
		return nil, err
	}
	aside, err := r.aside(ctx)
	if err != nil {
		return nil, err
	}
	usable := make([]source.ReplicaTable, len(all))
	for i := range all {
		usable[i] = all[i].table
	}
	if err := r.src.Publish(ctx, r.claim.Slot, usable); fault.CodeOf(err) == fault.SourcePrivilege {
		if all = r.onlyPublished(all, published, err); len(all) == 0 {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	r.looked = time.Now()
	for i := range all {
		c := &all[i]
		c.aside = r.asked(c.target) == "" && aside[c.target] != nil
		switch f := r.apply.tables[c.table.OID]; {
		case c.aside:
			r.judge(c.target, tableError, aside[c.target])
		case f != nil && f.target == c.target:
			r.judge(c.target, tableFollowing, nil)
		case r.asked(c.target) != "":
		case r.stream != nil:
			r.need(c.target, "it is new")
		default:
			r.judge(c.target, tableCopying, nil)
		}
	}
	if r.stream != nil {
		if err := r.suspects(ctx, all); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// What cannot be followed has no mark: should it come back, it is new.
	maps.DeleteFunc(r.needs, func(target, _ string) bool {
		return !slices.ContainsFunc(all, func(c candidate) bool { return c.target == target })
	})
	r.looks++
	return all, nil
}

// onlyPublished leaves out the tables that the publication does not have, and that only somebody else may add.
func (r *replica) onlyPublished(all []candidate, published map[uint32]bool, why error) []candidate {
	return slices.DeleteFunc(all, func(c candidate) bool {
		if !published[c.table.OID] {
			r.judge(c.target, tableError, why)
		}
		return !published[c.table.OID]
	})
}

func (r *replica) judge(target, state string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.tables[target]; h != nil {
		h.state, h.err = state, err
	}
}

// unfollow gives up the tables that cannot be followed any more, and those that were taken out of the publication: whatever
// becomes of them, they miss changes.
func (r *replica) unfollow(ctx context.Context, all []candidate, published map[uint32]bool) error {
	kept := map[string]bool{}
	for i := range all {
		c := &all[i]
		f := r.apply.tables[c.table.OID]
		switch m, ok := readMark(c.state.Watermark); {
		case !ok:
			kept[c.target] = true // there is nothing to lose
		case m.OID != c.table.OID: // it is another one's
		case published[c.table.OID]:
			kept[c.target] = true
		default:
			r.need(c.target, "it was taken out of publication "+r.claim.Slot)
			c.state.Watermark = nil
		}
		if !kept[c.target] && f != nil {
			delete(r.apply.tables, c.table.OID)
		}
	}
	if r.adding != nil {
		for i := range r.adding.all {
			c := &r.adding.all[i]
			if !published[c.table.OID] || !slices.ContainsFunc(all, func(o candidate) bool { return o.table.OID == c.table.OID && o.target == c.target }) {
				r.adding.spoiled[c.table.OID] = true
			}
		}
	}
	states, err := r.s.store.Tables(ctx)
	if err != nil {
		return err
	}
	var left []string
	for _, t := range states {
		if t.Dataset == r.d.Name && len(t.Watermark) > 0 && !kept[t.Target] {
			left = append(left, t.Target)
		}
	}
	maps.DeleteFunc(r.apply.tables, func(_ uint32, f *followed) bool { return slices.Contains(left, f.target) })
	if left == nil {
		return nil
	}
	return r.s.store.Commit(ctx, func(tx *store.Tx) error { return unmark(tx, left) })
}

// aside are the tables in quarantine, by target, with the reason.
func (r *replica) aside(ctx context.Context) (map[string]error, error) {
	all, err := r.s.store.Quarantined(ctx, r.d.Name)
	if err != nil {
		return nil, err
	}
	aside := map[string]error{}
	for _, q := range all {
		aside[q.Target] = fault.New(fault.Code(q.Code), hintRetry(r.d.Name), "%s", q.Reason)
	}
	return aside, nil
}

// survey finds the tables that the configuration means, and those of the copy that it does not mean any more.
func (r *replica) survey(ctx context.Context) (all []candidate, gone []store.TableState, err error) {
	found, err := r.src.ReplicaTables(ctx, r.d.CDC.Tables)
	if err != nil {
		return nil, nil, err
	}
	states, err := r.s.store.Tables(ctx)
	if err != nil {
		return nil, nil, err
	}
	mine, others := map[string]store.TableState{}, map[string]string{}
	for _, t := range states {
		if t.Dataset == r.d.Name {
			mine[t.Target] = t
		} else {
			others[foldName(t.Target)] = t.Dataset
		}
	}
	health := map[string]*tableHealth{}
	taken := map[string]string{}
	for _, t := range found {
		c := candidate{table: t, target: r.target(&t)}
		low := foldName(c.target)
		c.state = mine[c.target]
		delete(mine, c.target)
		if r.texts[c.target] {
			c.state.OutOfRangeText = true
		}
		err := r.usable(&c)
		name := c.target
		if other := taken[low]; other != "" {
			name += " of " + t.String()
			err = fault.New(fault.Config, `set into: "{dataset}_{schema}.{table}", or leave one of them out: tables: ["!`+t.String()+`"]`,
				"tables %s and %s would both become %s", other, t.String(), c.target)
		} else if other := others[low]; other != "" {
			err = fault.New(fault.Config, "set into to another place", "table %s would become %s, which is dataset %s's", t.String(), c.target, other)
		}
		taken[low] = t.String()
		old := r.health(name)
		h := &tableHealth{table: t.String(), rows: c.state.Rows, state: tableCopying, counts: old.counts}
		health[name] = h
		if err != nil {
			h.state, h.err = tableError, err
			if old.err == nil || old.err.Error() != err.Error() {
				r.log.Warn("a table is left out", "table", t.String(), "error", err, "hint", fault.HintOf(err))
			}
			continue
		}
		if old.state != "" {
			h.state, h.err, h.lost = old.state, old.err, old.lost
		}
		all = append(all, c)
	}
	r.mu.Lock()
	r.tables = health
	r.mu.Unlock()
	for _, t := range mine {
		gone = append(gone, t)
	}
	if len(all) == 0 {
		return nil, nil, fault.New(fault.Config, "tables: takes patterns such as public.*", "dataset %s: no table of source %s can be followed%s", r.d.Name, r.d.Source, r.troubles())
	}
	return all, gone, nil
}

// health is what was told of a table until now.
func (r *replica) health(target string) tableHealth {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.tables[target]; h != nil {
		return *h
	}
	return tableHealth{}
}

// troubles lists what is wrong with single tables.
func (r *replica) troubles() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(r.tables)) {
		if h := r.tables[name]; h.err != nil {
			texts = append(texts, h.err.Error())
		}
	}
	if len(texts) == 0 {
		return ""
	}
	return ": " + strings.Join(texts, "; ")
}

func (r *replica) target(t *source.ReplicaTable) string {
	return strings.NewReplacer("{dataset}", r.d.Name, "{schema}", t.Schema, "{table}", t.Name).Replace(r.d.CDC.Into)
}

// usable chooses the columns, and says why the table cannot be followed.
func (r *replica) usable(c *candidate) error {
	t := &c.table
	if reason, fix := t.Unusable(); reason != "" {
		return fault.New(fault.Config, fix+`; or leave it out: tables: [..., "!`+t.String()+`"]`, "table %s: %s", t, reason)
	}
	if err := r.kept(c); err != nil {
		return err
	}
	if place, _, ok := strings.Cut(r.d.CDC.Into, "."); ok && strings.Contains(place, "{schema}") && strings.Contains(t.Schema, ".") {
		return fault.New(fault.Config, `use {schema} behind the dot, as into: "{dataset}.{schema}_{table}"`, "table %s: the copy's schemas have no dot in their names", t)
	}
	var columns []string
	columns, c.left = t.Columns, nil
	chosen := config.Part{Table: t.String(), Key: t.Key}
	if o := r.d.CDC.TableOptions[t.String()]; o != nil && o.Columns != nil {
		columns = nil
		for _, name := range o.Columns {
			if !slices.Contains(t.Columns, name) {
				return fault.New(fault.Config, "it has: "+strings.Join(t.Columns, ", "), "table_options: %s has no column %q", t, name)
			}
		}
		for _, name := range t.Columns {
			if slices.Contains(o.Columns, name) {
				columns = append(columns, name)
			} else {
				c.left = append(c.left, name)
			}
		}
		chosen.Columns = o.Columns
		for _, k := range t.Key {
			if !slices.Contains(columns, k) {
				return fault.New(fault.Config, "add it to columns", "table_options: %s needs its key column %q", t, k)
			}
		}
	}
	if err := c.keptNames(columns); err != nil {
		return err
	}
	c.definition = definition(chosen, t.Key, "") + keptDefinition(c.keep)
	c.cfg = config.Part{Name: t.String(), Target: c.target, Table: t.SQLName(), Columns: columns, Key: t.Key}
	return nil
}

// foldName is a name as DuckDB compares it: the case of ASCII letters does not count.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}

// dropGone drops tables that are not followed any more.
func (r *replica) dropGone(ctx context.Context, gone []store.TableState) error {
	if len(gone) == 0 {
		return nil
	}
	l := Leftover{Dataset: r.d.Name}
	for _, t := range gone {
		r.log.Warn("a table is dropped from the copy: the source or the configuration does not have it any more", "table", t.Target, "source_table", t.Part)
		l.Tables = append(l.Tables, t.Target)
		maps.DeleteFunc(r.apply.tables, func(_ uint32, f *followed) bool { return f.target == t.Target })
	}
	if err := r.s.Drop(ctx, []Leftover{l}); err != nil {
		return err
	}
	return r.s.store.Commit(ctx, func(tx *store.Tx) error {
		for _, t := range l.Tables {
			if err := tx.Unquarantine(r.d.Name, t); err != nil {
				return err
			}
		}
		return nil
	})
}
