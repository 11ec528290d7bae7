package syncer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// reshaped is a table on its way to other columns: its rows lie in a table of their own that takes its place in the
// transaction in which the first rows of the new form come.
type reshaped struct {
	to     *followed
	part   *part
	rows   *store.Staged
	counts changeCounts // of what was applied to them
}

// reshape brings a table into the form in which its changes come from now on. The stream tells names and types only, but with an event
// trigger in the source also which column is which; else the catalog does, as it tells what rows of before have in a new
// one. But the catalog is of now, and the stream of then: where the two differ and no trigger has told, or rows were
// rewritten, the table is copied anew, as the error says.
func (r *replica) reshape(ctx context.Context, f *followed, columns []change.SourceColumn) (*reshaped, error) {
	snap, err := r.src.Snapshot(ctx, source.SnapshotOptions{StatementTimeout: r.d.QueryTimeout})
	if err != nil {
		return nil, err
	}
	defer func() { _ = snap.Close() }()
	c, err := r.candidate(ctx, f)
	if err != nil {
		return nil, err
	}
	p := newPart(c.cfg, c.state)
	if p.desc, err = snap.Describe(ctx, p.query); err != nil {
		return nil, fault.Wrap(err, "table %s", f.target)
	}
	why := ""
	if o := r.d.CDC.TableOptions[c.table.String()]; len(columns) > 0 && columns[0].Attnum != 0 && (o == nil || o.Columns == nil) {
		why = p.asOf(f, c, columns)
		columns = nil
	}
	if why == "" {
		why = r.follow(f, p, columns)
	}
	if why != "" {
		return nil, fault.New(fault.ShapeMismatch, "", "%s", why)
	}
	to := *f
	to.table, to.desc, to.cols, to.key, to.left = c.table, p.desc, p.columns(), p.key, c.left
	derived := make([]store.Derived, len(to.cols))
	var added []string
	for i := range to.cols {
		derived[i] = store.Derived{Column: to.cols[i], From: before(f.desc, &p.desc.Columns[i])}
		if derived[i].From == "" {
			added = append(added, to.cols[i].Name)
		}
	}
	values, err := r.added(ctx, snap, &to, added)
	if err != nil {
		return nil, err
	}
	if values != nil {
		defer r.s.store.Discard(context.WithoutCancel(ctx), values)
	}
	from, counts, err := r.apply.flush(ctx, f)
	if err != nil {
		return nil, err
	}
	if from != nil {
		defer r.s.store.Discard(context.WithoutCancel(ctx), from)
	}
	begin := time.Now()
	rows, err := r.s.store.Derive(ctx, f.target, from, derived, values, f.keep)
	if err != nil {
		return nil, err
	}
	to.rows = rows.Rows
	r.log.Info("the source's columns changed: followed", "table", f.target, "columns", names(p.desc), "rows", rows.Rows, "took", time.Since(begin).Round(time.Millisecond))
	return &reshaped{to: &to, part: p, rows: rows, counts: counts}, nil
}

// asOf takes a part, described as the source is now, back to the columns that its table had then, and says why that cannot be. A
// column that is gone since and not in the copy is left out. A form that is not that of now is looked at once more later.
func (p *part) asOf(f *followed, c *candidate, columns []change.SourceColumn) string {
	now, then := p.desc.Columns, *p.desc
	then.Columns, then.Query.Columns = nil, nil
	key := slices.Clone(p.key)
	for _, col := range columns {
		at := func(of []source.Column) *source.Column {
			i := slices.IndexFunc(of, func(d source.Column) bool { return d.Table != 0 && d.Attnum == col.Attnum })
			if i < 0 {
				return nil
			}
			return &of[i]
		}
		d := at(now)
		gone := d == nil
		if !gone {
			if i := slices.Index(p.key, d.Name); i >= 0 {
				key[i] = col.Name
			}
		}
		is := func(d *source.Column) bool { return d != nil && d.TypeOID == col.Type && d.Typmod == col.Typmod }
		if !is(d) {
			d = at(f.desc.Columns)
		}
		switch {
		case d == nil && gone:
			c.left = append(c.left, col.Name)
			continue
		case !is(d):
			return fmt.Sprintf("the type of column %q changed in the source", col.Name)
		}
		was := *d
		was.Name = col.Name
		then.Columns = append(then.Columns, was)
		then.Query.Columns = append(then.Query.Columns, col.Name)
	}
	for i := range now {
		if now[i].Table == 0 { // change.TextColumn
			then.Columns = append(then.Columns, now[i])
		}
	}
	if d := compare(fingerprints(&then), fingerprints(p.desc)); d.rebuild != "" || d.any() {
		c.table.Form = ""
	}
	p.desc, p.key = &then, key
	return ""
}

func names(d *source.Description) string {
	all := make([]string, len(d.Columns))
	for i := range d.Columns {
		all[i] = d.Columns[i].Name
	}
	return strings.Join(all, ", ")
}

// before is the name that a column had; "" for a new one.
func before(old *source.Description, c *source.Column) string {
	i := slices.IndexFunc(old.Columns, func(o source.Column) bool {
		if c.Table == 0 { // change.TextColumn
			return o.Name == c.Name
		}
		return o.Table == c.Table && o.Attnum == c.Attnum
	})
	if i < 0 {
		return ""
	}
	return old.Columns[i].Name
}

// candidate is the table as the source has it now.
func (r *replica) candidate(ctx context.Context, f *followed) (*candidate, error) {
	found, err := r.src.ReplicaTables(ctx, r.d.CDC.Tables)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(found, func(t source.ReplicaTable) bool { return t.OID == f.table.OID })
	if i < 0 || r.target(&found[i]) != f.target {
		return nil, fault.New(fault.ShapeMismatch, "", "the table was dropped or renamed in the source")
	}
	states, err := r.s.store.Tables(ctx)
	if err != nil {
		return nil, err
	}
	c := &candidate{table: found[i], target: f.target}
	for _, t := range states {
		if t.Target == f.target {
			c.state = t
		}
	}
	if err := r.usable(c); err != nil {
		return nil, fault.New(fault.ShapeMismatch, "", "%w", err)
	}
	return c, nil
}

// follow says why the rows of f cannot be brought into the form of p by themselves; "" when they can.
func (r *replica) follow(f *followed, p *part, columns []change.SourceColumn) string {
	now := p.desc.Columns
	for i := range now {
		at := slices.IndexFunc(columns, func(c change.SourceColumn) bool { return c.Name == now[i].Name })
		if columns != nil && now[i].Table != 0 && (at < 0 || columns[at].Type != now[i].TypeOID || columns[at].Typmod != now[i].Typmod) {
			return "its columns changed in the source more than once"
		}
	}
	if !slices.Equal(f.key, p.key) {
		return "its key changed in the source"
	}
	old := shape{fingerprints(f.desc), f.desc.Facts}
	if why := old.outdated(p.desc); why != "" {
		return why
	}
	gone := slices.DeleteFunc(fingerprints(p.desc), func(n fingerprint) bool {
		return !slices.ContainsFunc(old.Columns, func(o fingerprint) bool { return o.Table == n.Table && o.Attnum == n.Attnum })
	})
	// compare counts an added column among the reasons to rebuild, since increments do not see what its rows have.
	if d := compare(old.Columns, gone); d.rebuild != "" {
		return d.rebuild
	}
	return ""
}

// added stages one row: what rows that were written before have in the columns that are new. PostgreSQL keeps that beside
// the table (pg_attribute.attmissingval) unless it has rewritten the rows.
func (r *replica) added(ctx context.Context, snap source.Snapshot, f *followed, columns []string) (*store.Staged, error) {
	if columns == nil {
		return nil, nil
	}
	d, err := snap.Describe(ctx, r.src.AddedValues(f.desc, columns))
	if err != nil {
		return nil, fault.Wrap(err, "the values of new columns of %s", f.target)
	}
	var progress change.Progress
	feed, err := snap.Read(ctx, d, source.Range{}, 1, &progress)
	if err != nil {
		return nil, err
	}
	cols := make([]store.Column, len(d.Columns))
	for i, c := range d.Columns {
		cols[i] = store.Column{Name: c.Name, Type: c.Type}
	}
	st, err := r.s.store.Stage(ctx, f.target, cols, feed, false)
	if err != nil {
		return nil, err
	}
	if st.Rows != 1 {
		r.s.store.Discard(ctx, st)
		return nil, fault.New(fault.Internal, "", "%d rows of values for new columns", st.Rows)
	}
	return st, nil
}
