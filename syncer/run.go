package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/step"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// partsAtOnce is how many tables of a dataset are read side by side.
const partsAtOnce = 4

// part is one table of a dataset in one run.
type part struct {
	cfg    config.Part
	key    []string // names in the copy, as are all names below
	inc    string
	state  store.TableState
	synced bool // state is that of a finished sync
	query  source.Query
	desc   *source.Description
	full   bool
	reason string // why full
	drift  drift
	late   source.Late
	limit  int64
	keep   change.Keep  // of a replica
	by     change.Stamp // of a replica: as if this transaction had written all rows

	staged                     *store.Staged
	outOfRange                 error // the value that made this load stop, until it is read again with its text
	watermark                  *source.Watermark
	truncated                  bool
	last                       string // of a capped read: the last value read
	inserted, updated, deleted int64
}

func (p *part) columns() []store.Column {
	cols := make([]store.Column, len(p.desc.Columns))
	for i, c := range p.desc.Columns {
		cols[i] = store.Column{Name: c.Name, Type: c.Type, Tells: c.Name == p.inc}
	}
	return cols
}

func (p *part) changed() bool { return p.full || p.inserted+p.updated+p.deleted > 0 }

// definition is what, when it changes in the configuration, makes the present rows worthless.
func definition(p config.Part, key []string, inc string) string {
	return string(toJSON(struct {
		SQL, Table, Where string
		Columns           []string
		Rename, Types     map[string]string
		Key               []string
		Incremental       string
	}{p.SQL, p.Table, p.Where, p.Columns, p.Rename, p.Types, key, inc}))
}

func renamed(p config.Part, column string) string {
	if to := p.Rename[column]; to != "" {
		return to
	}
	return column
}

func newPart(cfg config.Part, state store.TableState) *part {
	p := &part{cfg: cfg, state: state, synced: !state.LastSync.IsZero(), inc: renamed(cfg, cfg.IncrementalColumn)}
	for _, k := range cfg.Key {
		p.key = append(p.key, renamed(cfg, k))
	}
	types := map[string]string{}
	for c, t := range cfg.Types {
		types[renamed(cfg, c)] = t
	}
	p.query = source.Query{SQL: cfg.SQL, Table: cfg.Table, Columns: cfg.Columns, Where: cfg.Where, Rename: cfg.Rename, RenameSome: cfg.Name != "", Types: types,
		PartitionColumn: renamed(cfg, cfg.PartitionColumn), IncrementalColumn: p.inc, Text: state.OutOfRangeText}
	return p
}

// Query is what a configured part reads, for check.
func Query(p config.Part) source.Query { return newPart(p, store.TableState{}).query }

// UnknownTypes are the columns for which the dataset asks for a type, and that none of its tables has.
func UnknownTypes(d *config.Dataset, has func(column string) bool) []string {
	var unknown []string
	for _, p := range d.Parts {
		for c := range p.Types {
			if c = renamed(p, c); !has(c) && !slices.Contains(unknown, c) {
				unknown = append(unknown, c)
			}
		}
	}
	slices.Sort(unknown)
	return unknown
}

// UnknownRenames are the columns that the dataset renames, and that none of its tables has, under their new names.
func UnknownRenames(d *config.Dataset, has func(column string) bool) []string {
	var unknown []string
	for from, to := range d.Columns {
		if !has(to) {
			unknown = append(unknown, from)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// known refuses names of columns in the configuration that none of the dataset's tables has.
func known(d *config.Dataset, has func(column string) bool) error {
	if unknown := UnknownTypes(d, has); len(unknown) > 0 {
		return fault.New(fault.Config, "types names columns as the query gives them", "types: there is no column %s", strings.Join(unknown, ", "))
	}
	if unknown := UnknownRenames(d, has); len(unknown) > 0 {
		return fault.New(fault.Config, "columns names columns as the query gives them", "columns: there is no column %s to rename", strings.Join(unknown, ", "))
	}
	return nil
}

// whole says whether d is the dataset as configured, not one reduced to some of its tables.
func (s *Syncer) whole(d *config.Dataset) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	configured := s.cfg.Datasets[d.Name]
	return configured == nil || len(d.Parts) == len(configured.Parts)
}

// attempt reads one snapshot and commits it.
func (s *Syncer) attempt(ctx context.Context, d *config.Dataset, src source.Source, a *active, rebuild map[string]string) error {
	took, end := s.trace(ctx, "snapshot")
	snap, err := src.Snapshot(took, source.SnapshotOptions{StatementTimeout: d.QueryTimeout})
	end(err)
	if err != nil {
		return fault.Wrap(err, "sync %s", d.Name)
	}
	defer func() { _ = snap.Close() }()
	parts, err := s.catchUp(ctx, snap, d, a, rebuild)
	if err != nil {
		return fault.Wrap(err, "sync %s", d.Name)
	}
	return s.afterwards(ctx, d, parts)
}

func changed(parts []*part) bool {
	return slices.ContainsFunc(parts, (*part).changed)
}

// catchUp brings the copy of a dataset to the snapshot.
func (s *Syncer) catchUp(ctx context.Context, snap source.Snapshot, d *config.Dataset, a *active, rebuild map[string]string) ([]*part, error) {
	planning, end := s.trace(ctx, "plan")
	parts, err := s.plan(planning, snap, d, rebuild)
	end(err)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, p := range parts {
			if p.staged != nil {
				s.store.Discard(context.WithoutCancel(ctx), p.staged)
			}
		}
	}()
	s.note(a, func(r *store.Run) {
		a.guess = 0
		if r.Kind != KindVerify && r.Kind != KindReconcile { // these only begin by catching up
			r.Kind, r.Reason = kindOf(parts)
		}
		for _, p := range parts {
			if p.full {
				a.guess += p.desc.RowsGuess
			}
		}
	})
	step.Reached(step.Planned)
	if err := s.load(ctx, snap, d, a, parts); err != nil {
		return nil, err
	}
	step.Reached(step.Staged)
	if err := s.check(ctx, snap, d, parts); err != nil {
		return nil, err
	}
	step.Reached(step.Followed)
	committing, end := s.trace(ctx, "commit")
	err = s.commit(committing, snap, d, a, parts)
	end(err)
	return parts, err
}

// check proves what was staged, and makes the tables fit it.
func (s *Syncer) check(ctx context.Context, snap source.Snapshot, d *config.Dataset, parts []*part) (err error) {
	ctx, end := s.trace(ctx, "check")
	defer func() { end(err) }()
	for _, p := range parts {
		if err := s.settle(ctx, snap, p); err != nil {
			return fault.Wrap(err, "table %s", p.cfg.Target)
		}
	}
	return s.follow(ctx, d, parts)
}

// kindOf names the run by what it does: incremental if any table is, with the reason where tables are rebuilt.
func kindOf(parts []*part) (kind, reason string) {
	kind = KindFull
	var reasons []string
	for _, p := range parts {
		if p.full {
			reasons = append(reasons, p.cfg.Target+": "+p.reason)
		} else {
			kind = KindIncremental
		}
	}
	return kind, strings.Join(reasons, "; ")
}

// plan describes every table at the snapshot and decides what to read of it.
func (s *Syncer) plan(ctx context.Context, snap source.Snapshot, d *config.Dataset, rebuild map[string]string) ([]*part, error) {
	states, err := s.store.Tables(ctx)
	if err != nil {
		return nil, err
	}
	byTarget := map[string]store.TableState{}
	for _, t := range states {
		byTarget[t.Target] = t
	}
	parts := make([]*part, len(d.Parts))
	for i, cfg := range d.Parts {
		p := newPart(cfg, byTarget[cfg.Target])
		parts[i] = p
		if p.desc, err = snap.Describe(ctx, p.query); err != nil {
			return nil, fault.Wrap(p.lost(err), "table %s", cfg.Target)
		}
		if err := p.require(); err != nil {
			return nil, err
		}
	}
	has := func(c string) bool {
		return slices.ContainsFunc(parts, func(p *part) bool { return p.desc.Column(c) != nil })
	}
	if err := known(d, has); err != nil && s.whole(d) {
		return nil, err
	}
	if err := snap.Seal(ctx); err != nil {
		return nil, err
	}
	for _, p := range parts {
		if err := s.decide(ctx, snap, d, p, rebuild[p.cfg.Target]); err != nil {
			return nil, fault.Wrap(err, "table %s", p.cfg.Target)
		}
	}
	return parts, nil
}

// lost marks the failure to describe a source whose incremental column is gone since the last sync.
func (p *part) lost(err error) error {
	var m interface{ Missing() []string }
	if p.synced && p.inc != "" && errors.As(err, &m) && slices.Contains(m.Missing(), p.inc) {
		return fault.New(fault.SchemaLost, fault.HintOf(err)+" Select it again, or change `incremental_column`; the last good data stays readable.", "%w", err)
	}
	return err
}

// require refuses what no rebuild can mend: a key or incremental column that the source does not have.
func (p *part) require() error {
	code := fault.Config
	if p.synced {
		code = fault.SchemaLost
	}
	for _, k := range p.key {
		c := p.desc.Column(k)
		if c != nil && !c.Exact() {
			return fault.New(fault.Config, fmt.Sprintf(`give it a type in which equal values look the same, such as types: {%s: "DECIMAL(38,0)"}, or cast it in a query`, k),
				"table %s: the key column %q is %s, of which equal values have several texts, as 1.0 and 1.00: rows would double", p.cfg.Target, k, c.PGType)
		}
		if c == nil {
			return fault.New(code, "select it again, or change `key` of the dataset; the last good data stays readable", "table %s: the key column %q is not among the source's columns", p.cfg.Target, k)
		}
	}
	if p.inc == "" {
		return nil
	}
	c := p.desc.Column(p.inc)
	if c == nil {
		return fault.New(code, "select it again, or change `incremental_column`; the last good data stays readable", "table %s: the incremental column %q is not among the source's columns", p.cfg.Target, p.inc)
	}
	if !c.Type.Ordered() {
		return fault.New(fault.Config, "use a column of type integer, numeric(p,s), date, timestamp, timestamptz, uuid or text, or cast it in a query",
			"table %s: the incremental column %q has type %s, whose order DuckDB does not share", p.cfg.Target, p.inc, c.PGType)
	}
	return nil
}

// decide chooses full or incremental, and the range to read.
func (s *Syncer) decide(ctx context.Context, snap source.Snapshot, d *config.Dataset, p *part, asked string) error {
	var prev *source.Watermark
	if len(p.state.Watermark) > 0 {
		prev = &source.Watermark{}
		if err := json.Unmarshal(p.state.Watermark, prev); err != nil {
			prev = nil
		}
	}
	switch {
	case asked != "":
		p.reason = asked
	case !p.synced:
		p.reason = "first sync"
	case p.inc == "":
		p.reason = "no incremental column"
	case p.state.Definition != definition(p.cfg, p.key, p.inc):
		p.reason = "its definition changed in the configuration"
	case prev == nil || prev.Safe == "" && prev.Xmin == "" && prev.Seen == "" && prev.Cursor == "" && len(prev.Pending) == 0:
		p.reason = "no watermark"
	default:
		var old shape
		if err := json.Unmarshal(p.state.Columns, &old); err != nil {
			p.reason = "the stored columns are unreadable"
			break
		}
		p.drift = compare(old.Columns, fingerprints(p.desc))
		if p.reason = p.drift.rebuild; p.reason == "" {
			p.reason = old.outdated(p.desc)
		}
	}
	p.full = p.reason != ""
	p.limit = d.MaxSyncRows
	if p.inc == "" {
		if p.limit > 0 {
			p.late.Range.Limit = p.limit + 1 // one more row tells that the cap is passed
		}
		return nil
	}
	if p.full {
		prev = nil
	}
	if d.LateCommits == "xmin" && len(p.key) == 0 {
		return fault.New(fault.Config, "give the dataset a key, or use late_commits: auto", "late_commits: xmin brings changed rows by themselves, which only a key can put in place of the old ones")
	}
	var err error
	if p.late, err = snap.Late(ctx, p.desc, prev, source.LateOptions{Lookback: d.Lookback, Mode: d.LateCommits, Keyed: len(p.key) > 0}); err != nil {
		return err
	}
	s.mu.Lock()
	s.verdicts[p.cfg.Target] = p.late.Guarantee
	s.mu.Unlock()
	if p.limit > 0 {
		p.late.Range.Column, p.late.Range.Limit = p.inc, p.limit
	}
	return nil
}

// load stages all tables. One whose value DuckDB's type cannot hold is read a second time with the text of such values.
func (s *Syncer) load(ctx context.Context, snap source.Snapshot, d *config.Dataset, a *active, parts []*part) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(partsAtOnce)
	for _, p := range parts {
		g.Go(func() error { return fault.Wrap(s.stage(gctx, snap, a, p), "table %s", p.cfg.Target) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, p := range parts {
		if p.outOfRange == nil {
			continue
		}
		if d.OutOfRange == "stop" || p.query.Text {
			return fault.New(fault.OutOfRange, "set out_of_range: text to keep such values as text beside the column, or exclude the row in the query",
				"table %s: %w", p.cfg.Target, p.outOfRange)
		}
		s.log.Info("a value does not fit its DuckDB type: the table is read again with the text of such values", "table", p.cfg.Target, "value", p.outOfRange)
		p.query.Text, p.outOfRange = true, nil
		desc, err := snap.Describe(ctx, p.query)
		if err != nil {
			return fault.Wrap(err, "table %s", p.cfg.Target)
		}
		p.desc = desc
		if !p.full {
			p.drift.add = append(p.drift.add, change.TextColumn)
		}
		if err := fault.Wrap(s.stage(ctx, snap, a, p), "table %s", p.cfg.Target); err != nil {
			return err
		}
		if p.outOfRange != nil {
			return fault.New(fault.OutOfRange, "exclude the row in the query, or cast the column to text there", "table %s: %w", p.cfg.Target, p.outOfRange)
		}
	}
	return nil
}

// stage reads one table into the store, not yet visible.
func (s *Syncer) stage(ctx context.Context, snap source.Snapshot, a *active, p *part) (err error) {
	ctx, end := s.trace(ctx, "load "+p.cfg.Target)
	defer func() {
		if p.staged != nil {
			end(err, attribute.Int64("pintail.rows", p.staged.Rows), attribute.Bool("pintail.full", p.full))
		} else {
			end(err)
		}
	}()
	s.mu.Lock()
	workers := s.cfg.DuckDB.SyncWorkers
	s.mu.Unlock()
	feed, err := snap.Read(ctx, p.desc, p.late.Range, workers, &a.progress)
	if err != nil {
		return err
	}
	if p.keep == (change.Keep{}) {
		p.staged, err = s.store.Stage(ctx, p.cfg.Target, p.columns(), stepping{feed}, p.full)
	} else {
		p.staged, err = s.store.StageKept(ctx, p.cfg.Target, p.columns(), stepping{feed}, p.keep, p.by)
	}
	if errors.Is(err, change.ErrOutOfRange) {
		p.outOfRange, err = describeValue(err, p.desc), nil
	}
	return err
}

// stepping marks the moment at which a load has its first rows.
type stepping struct{ change.Feed }

func (f stepping) Next(ctx context.Context) (change.Reader, error) {
	r, err := f.Feed.Next(ctx)
	if err == nil {
		step.Reached(step.Loading)
	}
	return r, err
}

// settle checks the staged rows and computes the watermark that goes with them.
func (s *Syncer) settle(ctx context.Context, snap source.Snapshot, p *part) error {
	if p.inc == "" && p.limit > 0 && p.staged.Rows > p.limit {
		return fault.New(fault.CapReached, "raise max_sync_rows, narrow the query, or give the dataset an incremental_column, with which a capped run goes on where it stopped",
			"more than max_sync_rows = %d rows; without an incremental column the previous data stays", p.limit)
	}
	if len(p.key) > 0 && p.staged.Rows > 0 {
		proven, err := snap.Unique(ctx, p.desc, p.key)
		if err != nil {
			return err
		}
		if !proven {
			if err := s.store.CheckKey(ctx, p.staged, p.key); err != nil {
				return err
			}
		}
	}
	if p.inc == "" {
		return nil
	}
	high, err := s.store.Max(ctx, p.staged, p.inc)
	if err != nil {
		return err
	}
	values, err := s.valuesOf(ctx, p)
	if err != nil {
		return err
	}
	if p.limit > 0 && values >= p.limit {
		// Infinity comes last: a capped read that has it has all.
		all, err := s.store.HasInfinity(ctx, p.staged, p.inc)
		if err != nil {
			return err
		}
		if !all {
			p.truncated, p.last = true, high
		}
	}
	w, err := p.late.Next(ctx, high, p.last)
	if err != nil {
		return err
	}
	p.truncated = p.truncated || p.late.Held
	p.watermark = &w
	return nil
}

// valuesOf counts what a cap counts: rows without a value come beside those in order.
func (s *Syncer) valuesOf(ctx context.Context, p *part) (int64, error) {
	if p.limit == 0 || p.staged.Rows < p.limit {
		return 0, nil
	}
	return s.store.CountValues(ctx, p.staged, p.inc)
}

// commit makes everything of the run visible at once: tables, view, watermarks, the run's end.
func (s *Syncer) commit(ctx context.Context, snap source.Snapshot, d *config.Dataset, a *active, parts []*part) error {
	run := s.live(a).Run
	err := s.store.Commit(ctx, func(tx *store.Tx) error {
		for _, p := range parts {
			if err := p.apply(tx); err != nil {
				return fault.Wrap(err, "table %s", p.cfg.Target)
			}
		}
		if err := s.commitView(ctx, tx, d, parts); err != nil {
			return err
		}
		step.Reached(step.Applied)
		now := time.Now().UTC()
		run.RowsWritten = 0
		for _, p := range parts {
			if err := tx.SaveTable(p.newState(d.Name, now, snap.Now())); err != nil {
				return err
			}
			run.RowsWritten += p.inserted + p.updated
		}
		if run.Kind == KindVerify || run.Kind == KindReconcile {
			return nil // these go on after catching up
		}
		run.State, run.Progress, run.EndedAt = StateReady, 1, now
		return tx.SaveRun(run)
	})
	if err != nil {
		return err
	}
	step.Reached(step.Committed)
	s.note(a, func(r *store.Run) { *r = run })
	whole := s.whole(d)
	s.mu.Lock()
	if whole {
		s.asOf[d.Name] = snap.Now()
	}
	for _, p := range parts {
		if !p.full {
			delete(s.rebuilt, p.cfg.Target) // an increment went well: the next rebuild has a new cause
		}
	}
	s.mu.Unlock()
	return nil
}

func (p *part) apply(tx *store.Tx) (err error) {
	switch {
	case p.full:
		p.inserted = p.staged.Rows
		err = tx.Swap(p.cfg.Target, p.staged)
	case len(p.key) > 0:
		p.inserted, p.updated, err = tx.Merge(p.cfg.Target, p.staged, p.key, p.columns())
	default:
		// A range without a bound was read as a whole, rows without a value too. Rows beyond the last one of a capped read
		// were not read again, and stay.
		r := store.KeyRange{Column: p.inc, Low: p.late.Range.Low, Through: p.last, OrNull: p.late.Range.OrNull || p.late.Range.Low == ""}
		p.deleted, p.inserted, err = tx.Rewrite(p.cfg.Target, p.staged, r, p.columns())
	}
	return err
}

func (p *part) newState(dataset string, now, asOf time.Time) store.TableState {
	t := p.state
	t.Dataset, t.Part, t.Target = dataset, p.cfg.Name, p.cfg.Target
	t.Columns, t.Definition = toJSON(shape{fingerprints(p.desc), p.desc.Facts}), definition(p.cfg, p.key, p.inc)
	t.LastSync, t.SourceAsOf, t.Truncated, t.OutOfRangeText = now, asOf, p.truncated, p.query.Text
	t.Watermark = nil
	if p.watermark != nil {
		t.Watermark = toJSON(p.watermark)
	}
	if p.full {
		t.SyncType, t.LastFull, t.Rows, t.IncrementalRows = KindFull, now, p.staged.Rows, 0
		return t
	}
	t.SyncType, t.LastIncremental = KindIncremental, now
	t.Rows += p.inserted - p.deleted
	t.IncrementalRows = max(p.inserted+p.updated-p.deleted, 0)
	return t
}

// afterwards does what need not be in the commit: the view's row count.
func (s *Syncer) afterwards(ctx context.Context, d *config.Dataset, parts []*part) error {
	if d.ViewName != "" {
		if err := s.countView(ctx, d, changed(parts)); err != nil {
			return fmt.Errorf("counting the rows of view %s: %w", d.ViewName, err)
		}
	}
	step.Reached(step.Reclaimed)
	return nil
}
