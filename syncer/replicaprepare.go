package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

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
	if fresh != "" && r.quiet() {
		return ErrQuiet
	}
	all, err := r.look(ctx)
	if err != nil {
		return err
	}
	trigger, err := r.src.DDLTrigger(ctx)
	if err != nil {
		return err
	}
	told := trigger != 0 && trigger == r.claim.Trigger
	if fresh != "" {
		if err := r.handOver(ctx, all, fresh); err != nil {
			return err
		}
	} else if err := r.resume(ctx, all, told); err != nil {
		return err
	}
	if trigger != r.claim.Trigger || server.Standby != r.claim.Standby {
		r.claim.Trigger, r.claim.Standby = trigger, server.Standby
		if err := r.s.store.Commit(ctx, func(tx *store.Tx) error { return r.claim.save(tx, r.d.Name) }); err != nil {
			return err
		}
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
	case i < 0 && server.Standby && !r.claim.Standby:
		// An address that leads to it for a while, or a failover that is under way.
		return "", fault.New(fault.SourceUnavailable, "have the source's url lead to the primary (target_session_attrs=read-write), or promote this server; if it is meant, copy it anew: pintail sync "+r.d.Name+" --full",
			"source %s is a standby without replication slot %s, which was made on a primary", r.d.Source, r.claim.Slot)
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

// resume takes up the tables that are in the copy as the source has them, and marks the others to be copied. told is that the
// stream tells of all changes of columns since.
func (r *replica) resume(ctx context.Context, all []candidate, told bool) error {
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
		if why, err = r.takeUp(ctx, f, c, p, told); err != nil {
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
	return r.s.store.Commit(ctx, func(tx *store.Tx) error { return unmark(tx, stale) })
}

// unchanged is a table whose form and files in the source are those of the copy: it goes on as the file describes it, without
// waiting for a lock that somebody may hold on it. nil is any other.
func (p *part) unchanged(c *candidate, m mark) *followed {
	old, ok := lastShape(p.state.Columns)
	if !ok || p.state.Definition != c.definition || m.Form == "" || m.Form != c.table.Form || m.Files != c.table.Files {
		return nil
	}
	p.desc = old.description(&source.Description{Query: p.query, Kind: "table"})
	return &followed{table: c.table, target: c.target, key: p.key, desc: p.desc, cols: p.columns(), left: c.left, definition: c.definition, keep: c.keep, rows: p.state.Rows}
}

// takeUp says why the rows of the copy do not go on as a table that the source has now. One whose columns changed goes on in the
// form that it had: the stream tells where it changes.
func (r *replica) takeUp(ctx context.Context, f *followed, c *candidate, p *part, told bool) (string, error) {
	if p.state.Definition != f.definition {
		return "its columns or deletes in the configuration, or its key, changed", nil
	}
	old, ok := lastShape(p.state.Columns)
	if !ok {
		return "the stored columns are unreadable", nil
	}
	f.desc = old.description(p.desc)
	if why, err := r.changedUnseen(ctx, f, c, p.desc); why != "" || err != nil {
		return why, err
	}
	if d := compare(old.Columns, fingerprints(p.desc)); d.rebuild != "" || d.any() {
		if why := r.follow(f, p, nil); why != "" && !told {
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

// lastShape is how a table was when the file was left. Whether another server may go on for the one of then is decided for all
// tables at once, by the position (slotLost): after a failover nothing is to be copied for its new timeline.
func lastShape(columns json.RawMessage) (s shape, ok bool) {
	if json.Unmarshal(columns, &s) != nil || len(s.Columns) == 0 {
		return s, false
	}
	maps.DeleteFunc(s.Facts, func(fact, _ string) bool {
		return fact == source.FactServer || fact == source.FactTimeline || fact == source.FactLSN
	})
	return s, true
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
	r.s.keys[foldName(f.target)] = f.key
	if f.keep.Deletes == change.DeletesHistory {
		r.s.keys[foldName(f.target)] = nil
	}
	r.s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.needs, f.target)
	delete(r.prompted, f.target)
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
