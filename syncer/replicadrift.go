package syncer

import (
	"context"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// The stream tells of a table's new columns only with its next change, and nothing at all when a partition comes or goes, a
// partition is truncated, or an enum's label is renamed. The catalog does: form and files of the tables are listed now and then.
// The list is of now, and the copy of some moment before: what differs is judged when the copy has come to where the list was
// made.

// suspect is a table that the catalog shows in another form than it is followed in.
type suspect struct {
	now candidate
	lsn change.LSN // the copy must be here first
}

// same says whether the source shows nothing that the copy has not followed.
func (f *followed) same(now *source.ReplicaTable) bool {
	return f.table.Form == now.Form && f.table.Files == now.Files && slices.Equal(f.table.Key, now.Key)
}

// suspects notes the tables whose form or files are others than those of the copy.
func (r *replica) suspects(ctx context.Context, all []candidate) error {
	var found []candidate
	for _, c := range all {
		f := r.apply.tables[c.table.OID]
		if f != nil && f.target == c.target && !f.same(&c.table) {
			found = append(found, c)
		}
	}
	r.suspected = map[uint32]suspect{}
	r.doubt()
	if found == nil {
		return nil
	}
	server, err := r.src.Identify(ctx)
	if err != nil {
		return err
	}
	for _, c := range found {
		r.suspected[c.table.OID] = suspect{c, server.LSN}
	}
	r.doubt()
	return nil
}

// doubt tells who waits how many tables are still to be judged.
func (r *replica) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.doubts != len(r.suspected) {
		r.doubts = len(r.suspected)
		r.signal()
	}
}

// judgeSuspects decides what becomes of the tables that were suspected and that the copy has caught up with.
func (r *replica) judgeSuspects(ctx context.Context) error {
	at := r.position().LSN
	var turned bool
	for oid, s := range r.suspected {
		if at < s.lsn {
			continue
		}
		delete(r.suspected, oid)
		f := r.apply.tables[oid]
		if f == nil || f.same(&s.now.table) {
			continue // the stream has told meanwhile
		}
		did, err := r.judgeTable(ctx, f, &s.now)
		if err != nil {
			return err
		}
		turned = turned || did
	}
	r.doubt()
	if !turned {
		return nil
	}
	return r.reopen(ctx)
}

// judgeTable has a table that was rewritten copied anew, brings one with other columns into their form, and takes note of what
// alters no row. It says whether the stream has to be opened anew.
func (r *replica) judgeTable(ctx context.Context, f *followed, c *candidate) (turned bool, err error) {
	snap, err := r.src.Snapshot(ctx, source.SnapshotOptions{StatementTimeout: r.d.QueryTimeout})
	if err != nil {
		return false, err
	}
	defer func() { _ = snap.Close() }()
	p := newPart(c.cfg, c.state)
	if p.desc, err = snap.Describe(ctx, p.query); err != nil {
		if fault.Transient(err) || ctx.Err() != nil {
			return false, err
		}
		return false, nil // it has changed once more: the next list shows it
	}
	// Describe has locked the table: what is listed now stays until the snapshot is closed. Was it changed once more since the
	// list was made, then the next list tells.
	now, err := r.candidate(ctx, f)
	if err != nil || now.table.Form != c.table.Form || now.table.Files != c.table.Files || !slices.Equal(now.table.Key, c.table.Key) {
		if err != nil && (fault.Transient(err) || ctx.Err() != nil) {
			return false, err
		}
		return false, nil
	}
	why, err := r.changedUnseen(ctx, f, c, p.desc)
	if err != nil {
		return false, err
	}
	if why == "" && !slices.Equal(f.table.Key, c.table.Key) {
		why = "its key changed in the source"
	}
	d := compare(fingerprints(f.desc), fingerprints(p.desc))
	switch {
	case why != "":
		return false, r.giveUp(ctx, f, why)
	case d.rebuild == "" && !d.any():
		return false, r.takeNote(ctx, f, c, p)
	}
	n, err := r.reshape(ctx, f, nil)
	if code := fault.CodeOf(err); code == fault.ShapeMismatch || code == fault.SourceSQL {
		return false, r.giveUp(ctx, f, err.Error())
	}
	if err != nil {
		return false, err
	}
	at := r.position()
	r.apply.shapes = append(r.apply.shapes, n)
	r.apply.tables[f.table.OID] = n.to
	if _, err := r.apply.commit(ctx, func(tx *store.Tx, _ []applied) error {
		if err := tx.SaveTable(r.newState(n.part, n.to, at)); err != nil {
			return err
		}
		return tx.SavePosition(r.d.Name, at)
	}); err != nil {
		return false, err
	}
	r.saved = at
	return true, nil
}

// changedUnseen says why a table's rows are others than the stream has told; "" when they are not. The file of a plain table
// alone says nothing: TRUNCATE is in the stream, VACUUM FULL and the like alter no value, and a rewriting ALTER TABLE changes
// the table's form as well.
func (r *replica) changedUnseen(ctx context.Context, f *followed, c *candidate, now *source.Description) (string, error) {
	old := shape{nil, f.desc.Facts}
	if f.table.Form != c.table.Form && !c.table.Partitioned {
		return old.outdated(now), nil
	}
	then, files := leaves(f.table.Files), leaves(c.table.Files)
	for leaf, file := range then {
		switch other, there := files[leaf]; {
		case !c.table.Partitioned:
		case !there:
			return "a partition was detached or dropped in the source", nil
		case strings.TrimSuffix(other, "+") != strings.TrimSuffix(file, "+"):
			return "a partition was truncated or rewritten in the source", nil
		}
	}
	for leaf, file := range files {
		_, known := then[leaf]
		if known || !c.table.Partitioned {
			continue
		}
		filled := strings.HasSuffix(file, "+")
		if !filled {
			// Made, filled and attached in one transaction it looks like one that was made as a partition.
			var err error
			if filled, err = r.src.FilledAtBirth(ctx, leaf); err != nil {
				return "", err
			}
		}
		if filled {
			return "a partition that has rows was attached in the source", nil
		}
	}
	kept := map[string]string{}
	for fact, value := range now.Facts {
		if kind, _, _ := strings.Cut(fact, " "); kind != "relation" && kind != "file" {
			kept[fact] = value
		}
	}
	return old.outdated(&source.Description{Facts: kept}), nil
}

// leaves reads ReplicaTable.Files.
func leaves(files string) map[string]string {
	all := map[string]string{}
	for _, one := range strings.Fields(files) {
		leaf, file, _ := strings.Cut(one, ":")
		all[leaf] = file
	}
	return all
}

// giveUp stops following a table, and has it copied anew.
func (r *replica) giveUp(ctx context.Context, f *followed, why string) error {
	delete(r.apply.tables, f.table.OID)
	if err := r.s.store.Commit(ctx, func(tx *store.Tx) error { return tx.SetWatermark(f.target, nil) }); err != nil {
		return err
	}
	r.need(f.target, why)
	return nil
}

// takeNote remembers a table's new form and files.
func (r *replica) takeNote(ctx context.Context, f *followed, c *candidate, p *part) error {
	f.table = c.table
	f.desc.Facts = p.desc.Facts
	states, err := r.s.store.Tables(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(states, func(t store.TableState) bool { return t.Target == f.target })
	if i < 0 {
		return nil
	}
	t := states[i]
	m, _ := readMark(t.Watermark)
	m.Form, m.Files = f.table.Form, f.table.Files
	t.Watermark, t.Columns = toJSON(m), toJSON(shape{fingerprints(f.desc), f.desc.Facts})
	return r.s.store.Commit(ctx, func(tx *store.Tx) error { return tx.SaveTable(t) })
}

// reopen begins the stream anew where the copy stands, with the tables as they are followed now.
func (r *replica) reopen(ctx context.Context) error {
	r.mu.Lock()
	old := r.stream
	r.stream = nil
	r.mu.Unlock()
	if err := old.Close(); err != nil {
		return err
	}
	return r.open(ctx)
}
