package syncer

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// contrary is a source of one empty table whose increments, or all reads, fail as long as it has an objection.
type contrary struct {
	objection  error
	alsoFull   bool
	snapshots  int
	whole, inc int // reads
}

func (c *contrary) Snapshot(context.Context, source.SnapshotOptions) (source.Snapshot, error) {
	c.snapshots++
	return contrarySnapshot{c}, nil
}
func (*contrary) Close() {}

type contrarySnapshot struct{ c *contrary }

func (contrarySnapshot) Now() time.Time { return time.Now() }
func (contrarySnapshot) Describe(_ context.Context, q source.Query) (*source.Description, error) {
	return &source.Description{Query: q, Kind: "table", Columns: []source.Column{{Name: "id", PGType: "integer", Type: types.Of(23, -1, nil), NotNull: true}}}, nil
}
func (contrarySnapshot) Seal(context.Context) error { return nil }
func (s contrarySnapshot) Read(_ context.Context, _ *source.Description, r source.Range, _ int, _ *change.Progress) (change.Feed, error) {
	if r.Low == "" {
		s.c.whole++
	} else {
		s.c.inc++
	}
	if s.c.objection != nil && (r.Low != "" || s.c.alsoFull) {
		return nil, s.c.objection
	}
	return nothing{}, nil
}
func (contrarySnapshot) Count(context.Context, *source.Description) (int64, error) { return 0, nil }
func (contrarySnapshot) Late(_ context.Context, _ *source.Description, prev *source.Watermark, _ source.LateOptions) (source.Late, error) {
	l := source.Late{Method: source.MethodLookback, Next: func(context.Context, string, string) (source.Watermark, error) {
		return source.Watermark{Column: "id", High: "1", Safe: "1", Method: source.MethodLookback}, nil
	}}
	if prev != nil {
		l.Range = source.Range{Column: "id", Low: prev.Safe}
	}
	return l, nil
}
func (contrarySnapshot) Unique(context.Context, *source.Description, []string) (bool, error) {
	return true, nil
}
func (contrarySnapshot) Least(_ context.Context, _ *source.Column, a, _ string) (string, error) {
	return a, nil
}
func (contrarySnapshot) Close() error { return nil }

type nothing struct{}

func (nothing) Next(context.Context) (change.Reader, error) { return nil, io.EOF }
func (nothing) Workers() int                                { return 1 }

// A copy that contradicts its source is rebuilt at most once per cause, within the run: what a rebuild does not mend ends in
// an error, and is not rebuilt again and again by the schedule.
func TestAPermanentMismatchIsRebuiltOnce(t *testing.T) {
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "pintail.duckdb"), Threads: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close(context.Background())) })
	cfg, _, err := config.Parse("pintail.yaml", []byte(`sources: {c: {url: postgres://nowhere/x}}
datasets: {t: {source: c, table: public.t, key: [id], incremental_column: id}}
`), func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	c := &contrary{}
	s := New(Options{Store: st, Sources: map[string]source.Source{"c": c}, Config: cfg, Log: slog.New(slog.DiscardHandler)})
	run := func(state, kind string, whole, inc int) {
		t.Helper()
		c.snapshots, c.whole, c.inc = 0, 0, 0
		r, err := s.SyncWait(t.Context(), "t", false, nil)
		require.Equal(t, state, r.State, err)
		require.Equal(t, kind, r.Kind)
		require.Equal(t, []int{whole, inc}, []int{c.whole, c.inc}, "whole reads and increments")
		require.Equal(t, whole+inc, c.snapshots)
	}
	shape := fault.New(fault.ShapeMismatch, "", "column a does not fit")
	data := fault.New(fault.DataMismatch, "", "row 7 is twice in the copy")
	run(StateReady, KindFull, 1, 0)
	run(StateReady, KindIncremental, 0, 1)

	// It comes back after the rebuild: one rebuild, then errors.
	c.objection = shape
	run(StateReady, KindFull, 1, 1)
	for range 3 {
		run(StateError, KindIncremental, 0, 1)
	}
	// Another cause has a rebuild of its own, one.
	c.objection = data
	run(StateReady, KindFull, 1, 1)
	run(StateError, KindIncremental, 0, 1)
	// Nor does it when causes take turns.
	c.objection = shape
	run(StateError, KindIncremental, 0, 1)
	// Increments went well meanwhile: what comes then is new.
	c.objection = nil
	run(StateReady, KindIncremental, 0, 1)
	c.objection = data
	run(StateReady, KindFull, 1, 1)
	run(StateError, KindIncremental, 0, 1)
	// The rebuild itself fails: it is tried once, too.
	c.objection, c.alsoFull = shape, true
	run(StateError, KindFull, 1, 1)
	for range 3 {
		run(StateError, KindIncremental, 0, 1)
	}
	// Causes that read differently each time do not make it endless.
	whole := 0
	c.alsoFull = false
	for i := range 3 * rebuildsMax {
		c.objection = fault.New(fault.DataMismatch, "", "row %d is twice in the copy", i)
		c.whole = 0
		_, _ = s.SyncWait(t.Context(), "t", false, nil) // some fail, as they must
		whole += c.whole
	}
	require.LessOrEqual(t, whole, rebuildsMax)
	// Nothing of this keeps a person from asking for one.
	c.objection = nil
	r, err := s.SyncWait(t.Context(), "t", true, nil)
	require.NoError(t, err)
	require.Equal(t, KindFull, r.Kind)
}
