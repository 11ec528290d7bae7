package syncer

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// observed is an Observer that keeps the batches.
type observed struct{ batches []AppliedBatch }

func (*observed) RunEnded(store.Run, time.Duration) {}
func (o *observed) BatchApplied(b AppliedBatch)     { o.batches = append(o.batches, b) }

func idleReplica(t *testing.T, o Observer) (*Syncer, *replica) {
	t.Helper()
	d := &config.Dataset{Name: "shop", Form: config.FormCDC, Source: "pg"}
	s := New(Options{Config: &config.Config{Datasets: map[string]*config.Dataset{"shop": d, "m": {Name: "m", Form: config.FormTable}}}, Observer: o, Log: slog.New(slog.DiscardHandler)})
	r := newReplica(s, d, nil)
	s.replicas["shop"] = r
	return s, r
}

func (r *replica) moveTo(lsn change.LSN, failure error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at.LSN, r.failure = lsn, failure
	r.signal()
}

func TestStanding(t *testing.T) {
	s, r := idleReplica(t, nil)
	for _, name := range []string{"m", "nothing"} {
		_, _, ok := s.Standing(name)
		require.False(t, ok, name)
		require.Equal(t, fault.NotFound, fault.CodeOf(s.WaitFor(t.Context(), name, 1)))
	}
	r.moveTo(100, nil)
	r.needs["shop.a"] = "it is new"
	r.tables["shop.b"] = &tableHealth{state: tableError, err: errors.New("out of range")}
	r.tables["shop.c"] = &tableHealth{state: tableCopying} // until the session has looked at it
	at, behind, ok := s.Standing("shop")
	require.True(t, ok)
	require.Equal(t, change.LSN(100), at.LSN)
	require.Equal(t, map[string]string{"shop.a": "it is new", "shop.b": "out of range"}, behind)
}

func TestWaitFor(t *testing.T) {
	s, r := idleReplica(t, nil)
	r.moveTo(100, nil)
	require.NoError(t, s.WaitFor(t.Context(), "shop", 100))
	wait := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() { done <- s.WaitFor(ctx, "shop", 200) }()
		return done
	}
	done := wait(t.Context())
	r.moveTo(150, errors.New("connection refused"))
	r.moveTo(200, nil)
	require.NoError(t, <-done)

	r.moveTo(100, nil)
	late := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, late)
	defer cancel()
	require.ErrorIs(t, s.WaitFor(ctx, "shop", 200), late)
	r.moveTo(100, fault.New(fault.SourceUnavailable, "start it", "connection refused"))
	err := s.WaitFor(ctx, "shop", 200)
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	require.Equal(t, "start it", fault.HintOf(err))
	require.ErrorContains(t, err, "dataset shop is at 0/64, not at 0/C8: connection refused")

	done = wait(t.Context())
	close(r.over)
	require.ErrorContains(t, <-done, "is not followed any more")
}

// Latency is from the oldest commit of a batch, in all its parts, to now, by the source's clock.
func TestBatchLatency(t *testing.T) {
	o := &observed{}
	_, r := idleReplica(t, o)
	now := time.Now()
	done := []applied{{table: &followed{target: "shop.a"}, inserted: 2, updated: 1, counts: changeCounts{inserts: 2, updates: 3}}}
	batch := func(more bool, age time.Duration) *change.Batch {
		return &change.Batch{More: more, Oldest: now.Add(-age)}
	}
	r.meter.staging(batch(false, time.Hour)) // nothing of it was to be applied
	r.measured(nil)
	require.Empty(t, o.batches)
	r.meter.staging(batch(true, 10*time.Second))
	r.meter.staging(batch(true, 5*time.Second))
	r.meter.staging(batch(false, time.Second))
	r.measured(done)
	r.meter.staging(batch(false, time.Second))
	r.measured(done)
	require.Len(t, o.batches, 2)
	require.InDelta(t, 10, o.batches[0].Latency.Seconds(), 0.9)
	require.InDelta(t, 1, o.batches[1].Latency.Seconds(), 0.9)
	require.EqualValues(t, 3, o.batches[0].Rows)
	require.Equal(t, []AppliedTable{{Target: "shop.a", Inserts: 2, Updates: 3}}, o.batches[0].Tables)

	before, after := now, now.Add(100*time.Millisecond)
	for _, c := range []struct{ clock, skew time.Duration }{{50 * time.Millisecond, 0}, {0, 0}, {time.Hour, time.Hour - 100*time.Millisecond}, {-time.Minute, -time.Minute}} {
		r.lookAtClock(now.Add(c.clock), before, after)
		require.Equal(t, c.skew, r.skew)
	}
	r.meter.staging(&change.Batch{Oldest: time.Now().Add(-time.Minute)}) // the source's clock is behind by a minute
	r.measured(done)
	require.Less(t, o.batches[2].Latency, time.Second)
	r.meter.staging(&change.Batch{Oldest: time.Now()})
	r.measured(done)
	require.Zero(t, o.batches[3].Latency, "never negative")
}
