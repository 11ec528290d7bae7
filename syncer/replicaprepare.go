package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
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

// prepare finds out where the copy and the slot stand, and opens the stream. Where there is no slot it is made, and the tables
// are copied under its snapshot.
func (r *replica) prepare(ctx context.Context) error {
	server, err := r.src.Identify(ctx)
	if err != nil {
		return err
	}
	if err := r.load(ctx); err != nil {
		return err
	}
	fresh, err := r.freshness(ctx, &server)
	if err != nil {
		return err
	}
	all, err := r.look(ctx)
	if err != nil {
		return err
	}
	if fresh != "" {
		if err := r.handOver(ctx, all, fresh); err != nil {
			return err
		}
	} else if err := r.resume(ctx, all); err != nil {
		return err
	}
	return r.open(ctx)
}

// load reads what the file has.
func (r *replica) load(ctx context.Context) error {
	positions, err := r.s.store.Positions(ctx)
	if err != nil {
		return err
	}
	r.saved = positions[r.d.Name]
	r.mu.Lock()
	r.at = r.saved
	r.mu.Unlock()
	r.apply.tables, r.apply.lost, r.suspected = map[uint32]*followed{}, nil, nil
	r.doubt()
	r.claim, err = readClaim(ctx, r.s.store, r.d.Name)
	return err
}

func readClaim(ctx context.Context, st *store.Store, dataset string) (c claim, err error) {
	all, err := st.Meta(ctx, claimPrefix+dataset)
	if err != nil {
		return c, err
	}
	if text := all[claimPrefix+dataset]; text != "" {
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			return c, fault.New(fault.Internal, "", "the file's note of dataset %s's slot is unreadable: %w", dataset, err)
		}
	}
	return c, nil
}

func (c *claim) save(tx *store.Tx, dataset string) error {
	return tx.SetMeta(claimPrefix+dataset, string(toJSON(c)))
}

// freshness says why the slot cannot take the copy on, and everything has to be copied under a new one; "" when it can. It makes
// the claim if there is none, so that what is made on the source is always known to the file.
func (r *replica) freshness(ctx context.Context, server *source.Server) (string, error) {
	if r.claim.Slot == "" || r.claim.Source != r.d.Source {
		old := r.claim
		r.claim = newClaim(r.d)
		if err := r.s.store.Commit(ctx, func(tx *store.Tx) error {
			if old.Slot != "" {
				if err := tx.SetMeta(leftPrefix+old.Slot, string(toJSON(old))); err != nil {
					return err
				}
			}
			return r.claim.save(tx, r.d.Name)
		}); err != nil {
			return "", err
		}
	}
	r.mu.Lock()
	r.claimed = r.claim
	anew := r.anew
	r.startsOver = anew != ""
	r.mu.Unlock()
	if anew != "" {
		return anew, nil
	}
	if r.saved.LSN == 0 {
		return "first copy", nil
	}
	if r.saved.System != server.System {
		return "", fault.New(fault.SlotLost, "if that is meant, copy it anew: pintail sync "+r.d.Name+" --full",
			"source %s is another server (system identifier %s) than the one that was copied (%s)", r.d.Source, server.System, r.saved.System)
	}
	lost, err := r.slotLost(ctx, server)
	if lost == "" || err != nil {
		return "", err
	}
	if r.d.CDC.OnLostSlot == "stop" {
		return "", fault.New(fault.SlotLost, "copy it anew: pintail sync "+r.d.Name+" --full; on_lost_slot: recopy does so by itself", "%s", lost)
	}
	r.log.Warn("the stream of changes is broken; everything is copied anew", "reason", lost)
	return lost, nil
}

// slotLost says why the slot does not have all changes since the copy's position; "" when it has.
func (r *replica) slotLost(ctx context.Context, server *source.Server) (string, error) {
	slots, err := r.src.Slots(ctx, r.claim.Slot)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(slots, func(s source.SlotState) bool { return s.Name == r.claim.Slot })
	switch {
	case i < 0:
		return fmt.Sprintf("the source has no replication slot %s any more", r.claim.Slot), nil
	case slots[i].WALStatus == "lost":
		return fmt.Sprintf("the source has dropped the log that slot %s needs (max_slot_wal_keep_size)", r.claim.Slot), nil
	case slots[i].Confirmed > r.saved.LSN:
		return fmt.Sprintf("slot %s has moved on to %s, beyond the copy's position %s: somebody else used it, or the file was set back", r.claim.Slot, slots[i].Confirmed, r.saved.LSN), nil
	case r.saved.Timeline == server.Timeline:
		return "", nil
	}
	// A standby took its place. Where it had received all that the copy has, and has kept the slot, nothing is missing.
	left, err := r.src.Switched(ctx, r.saved.Timeline)
	if err != nil {
		return "", err
	}
	if r.saved.LSN > left {
		return fmt.Sprintf("the source is on timeline %d, which left that of the copy (%d) at %s, before the copy's position %s: it was restored, or a standby took its place that had not received all",
			server.Timeline, r.saved.Timeline, left, r.saved.LSN), nil
	}
	r.log.Info("another server has taken the source's place, with all that the copy has", "timeline", server.Timeline, "was", r.saved.Timeline, "left_at", left.String(), "lsn", r.saved.LSN.String())
	r.saved.Timeline = server.Timeline
	r.mu.Lock()
	r.at = r.saved
	r.mu.Unlock()
	return "", nil
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
	if err := r.src.Publish(ctx, r.claim.Slot, usable); err != nil {
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
	return r.s.store.Commit(ctx, func(tx *store.Tx) error {
		for _, t := range left {
			if err := tx.SetWatermark(t, nil); err != nil {
				return err
			}
		}
		return nil
	})
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

// resume takes up the tables that are in the copy as the source has them, and marks the others to be copied.
func (r *replica) resume(ctx context.Context, all []candidate) error {
	snap, err := r.src.Snapshot(ctx, source.SnapshotOptions{StatementTimeout: r.d.QueryTimeout})
	if err != nil {
		return err
	}
	defer func() { _ = snap.Close() }()
	var stale []string
	for i := range all {
		c := &all[i]
		if c.aside {
			continue
		}
		if len(c.state.Watermark) > 0 {
			stale = append(stale, c.target)
		}
		why := r.asked(c.target)
		m, ok := readMark(c.state.Watermark)
		switch {
		case why != "":
		case !ok:
			why = "first copy"
		case m.OID != c.table.OID:
			why = "another table has taken its name in the source"
		}
		if why != "" {
			r.need(c.target, why)
			continue
		}
		p := newPart(c.cfg, c.state)
		if f := p.unchanged(c, m); f != nil {
			r.follows(f)
			stale = slices.DeleteFunc(stale, func(t string) bool { return t == c.target })
			continue
		}
		if p.desc, err = snap.Describe(ctx, p.query); err != nil {
			return fault.Wrap(err, "table %s", c.target)
		}
		f := &followed{table: c.table, target: c.target, key: p.key, desc: p.desc, left: c.left, definition: c.definition, keep: c.keep, rows: c.state.Rows}
		f.table.Form, f.table.Files = m.Form, m.Files
		if why, err = r.takeUp(ctx, f, c, p); err != nil {
			return err
		}
		if why != "" {
			r.need(c.target, why)
			continue
		}
		r.follows(f)
		stale = slices.DeleteFunc(stale, func(t string) bool { return t == c.target })
	}
	// What is not followed from here on is not the source's table any more, should its form come back before it is copied.
	if len(stale) == 0 {
		return nil
	}
	return r.s.store.Commit(ctx, func(tx *store.Tx) error {
		for _, t := range stale {
			if err := tx.SetWatermark(t, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// unchanged is a table whose form and files in the source are those of the copy: it goes on as the file describes it, without
// waiting for a lock that somebody may hold on it. nil is any other.
func (p *part) unchanged(c *candidate, m mark) *followed {
	var old shape
	if p.state.Definition != c.definition || m.Form == "" || m.Form != c.table.Form || m.Files != c.table.Files ||
		json.Unmarshal(p.state.Columns, &old) != nil || len(old.Columns) == 0 {
		return nil
	}
	p.desc = old.description(&source.Description{Query: p.query, Kind: "table"})
	return &followed{table: c.table, target: c.target, key: p.key, desc: p.desc, cols: p.columns(), left: c.left, definition: c.definition, keep: c.keep, rows: p.state.Rows}
}

// takeUp says why the rows of the copy do not go on as a table that the source has now. One whose columns changed goes on in the
// form that it had: the stream tells where it changes.
func (r *replica) takeUp(ctx context.Context, f *followed, c *candidate, p *part) (string, error) {
	if p.state.Definition != f.definition {
		return "its columns or deletes in the configuration, or its key, changed", nil
	}
	var old shape
	if readable := json.Unmarshal(p.state.Columns, &old) == nil; !readable || len(old.Columns) == 0 {
		return "the stored columns are unreadable", nil
	}
	f.desc = old.description(p.desc)
	if why, err := r.changedUnseen(ctx, f, c, p.desc); why != "" || err != nil {
		return why, err
	}
	if d := compare(old.Columns, fingerprints(p.desc)); d.rebuild != "" || d.any() {
		if why := r.follow(f, p, nil); why != "" {
			return why, nil
		}
		p.desc = f.desc
	} else {
		f.desc = p.desc
		f.desc.Facts = old.Facts
	}
	f.cols = p.columns()
	return "", nil
}

// description is that of the columns as they were.
func (s *shape) description(now *source.Description) *source.Description {
	d := &source.Description{Query: now.Query, Kind: now.Kind, Facts: s.Facts}
	d.Query.Columns = nil
	for _, c := range s.Columns {
		d.Columns = append(d.Columns, source.Column{Name: c.Name, PGType: c.Type.SQL, Type: c.Type, Table: c.Table, Attnum: c.Attnum, TypeOID: c.TypeOID, Typmod: c.Typmod})
		if c.Name != change.TextColumn {
			d.Query.Columns = append(d.Query.Columns, c.Name)
		}
	}
	return d
}

func (r *replica) asked(target string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.needs[target]
}

// follows has a table take part in the stream that is opened next.
func (r *replica) follows(f *followed) {
	r.apply.tables[f.table.OID] = f
	r.s.mu.Lock()
	r.s.replicated[foldName(f.target)] = r.d.Name
	r.s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.needs, f.target)
	h := r.tables[f.target]
	if h == nil {
		h = &tableHealth{table: f.table.String()}
		r.tables[f.target] = h
	}
	h.state, h.err, h.lost, h.rows = tableFollowing, nil, "", f.rows
}

// open begins the stream where the copy stands.
func (r *replica) open(ctx context.Context) error {
	o := source.StreamOptions{Reshapes: true, Slot: r.claim.Slot, Publication: r.claim.Slot, From: r.saved.LSN, FromAt: r.saved.CommittedAt, Batch: r.limits(), Memory: r.d.CDC.Memory.Bytes(), Spool: r.spool(r.claim.Slot)}
	for _, f := range r.apply.tables {
		o.Tables = append(o.Tables, f.streamed(r.saved.LSN))
	}
	st, err := r.src.Stream(ctx, o)
	if err != nil {
		return err
	}
	if server := st.Server(); server.System != r.saved.System || server.Timeline != r.saved.Timeline {
		_ = st.Close()
		return fault.New(fault.SourceConflict, "if this stays, the source's address leads to several servers: name the primary's", "connections to source %s lead to different servers", r.d.Source)
	}
	r.opened = true
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stream = st
	r.signal()
	return nil
}

// spool is a folder for one stream's large transactions.
func (r *replica) spool(name string) string { return filepath.Join(r.s.store.Path()+".spool", name) }

func (r *replica) limits() source.BatchLimits {
	b := r.d.CDC.Batch
	l := source.BatchLimits{Time: b.Time, Bytes: int(min(b.Bytes.Bytes(), r.d.CDC.Memory.Bytes()/4)), Rows: b.Rows}
	if l.Time == 0 {
		l.Time = batchTimeMin
	}
	return l
}

// position is how far the copy is.
func (r *replica) position() change.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}
