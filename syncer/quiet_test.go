package syncer

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/source"
)

// quietSyncer has datasets m and shop on a source with these quiet hours, and free on one without.
func quietSyncer(t *testing.T, hours string) (*Syncer, func(hours string) *config.Config) {
	t.Helper()
	parse := func(hours string) *config.Config {
		c, _, err := config.Parse("pintail.yaml", []byte(`sources:
  pg: {url: postgres://h/d, quiet_zone: UTC, quiet_hours: [`+hours+`]}
  other: {url: postgres://h/d}
datasets:
  m: {source: pg, table: public.m}
  shop: {source: pg, mode: cdc, tables: [public.*]}
  free: {source: other, table: public.m}
`), nil)
		require.NoError(t, err)
		return c
	}
	return New(Options{Config: parse(hours), Log: slog.New(slog.DiscardHandler)}), parse
}

func TestAwaitQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble begins at midnight UTC
		begin := time.Now()
		s, parse := quietSyncer(t, `"23:00-06:00"`)
		for _, name := range []string{"free", "nothing"} {
			require.NoError(t, s.AwaitQuiet(t.Context(), name))
			require.Equal(t, begin, s.QuietUntil(name, begin))
		}
		require.NoError(t, s.AwaitQuiet(t.Context(), "m"))
		require.Equal(t, 6*time.Hour, time.Since(begin))

		// Other windows are heeded at once: longer ones, and none.
		s.update(parse(`"00:00-10:00"`), nil)
		done := make(chan error, 1)
		go func() { done <- s.AwaitQuiet(t.Context(), "m") }()
		time.Sleep(2 * time.Hour)
		s.update(parse(`"00:00-12:00"`), nil)
		time.Sleep(3 * time.Hour)
		require.Empty(t, done)
		s.update(parse(``), nil)
		require.NoError(t, <-done)
		require.Equal(t, 11*time.Hour, time.Since(begin))

		s.update(parse(`"00:00-12:00"`), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, s.AwaitQuiet(ctx, "m"), context.DeadlineExceeded)
		require.ErrorIs(t, s.SyncDue(t.Context(), "m", false), ErrQuiet)
	})
}

// A run that begins where quiet hours end waits for that; another one does not.
func TestHeldUntil(t *testing.T) {
	s, _ := quietSyncer(t, `"08:00-18:00"`)
	day := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	end := day.Add(18 * time.Hour)
	require.Equal(t, &end, s.heldUntil("m", &end))
	require.Nil(t, s.heldUntil("free", &end))
	for _, next := range []time.Time{day, day.Add(8 * time.Hour), end.Add(time.Second)} {
		require.Nil(t, s.heldUntil("m", &next))
	}
	require.Nil(t, s.heldUntil("m", nil))
}

// stillStream is a stream that is there.
type stillStream struct{ source.Stream }

func TestReplicaWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble begins at midnight UTC
		s, _ := quietSyncer(t, `"00:00-06:00"`)
		r := newReplica(s, s.cfg.Datasets["shop"], nil)
		until := func(want time.Time) {
			t.Helper()
			r.mu.Lock()
			defer r.mu.Unlock()
			require.True(t, r.quietUntil.Equal(want), r.quietUntil)
		}
		end := time.Now().Add(6 * time.Hour)
		require.True(t, r.quiet(), "the first copy waits")
		until(end)
		r.led(nil, true)
		until(time.Time{})
		require.False(t, r.quiet(), "but not for somebody")
		r.led(nil, false)
		require.True(t, r.quiet())

		r.stream = stillStream{}
		require.False(t, r.quiet(), "all tables are there")
		until(time.Time{})
		r.need("shop.a", "it is new")
		r.need("shop.b", "it is new")
		require.True(t, r.allWait())
		until(end)
		err := r.caughtUp(t.Context(), 0, 0)
		require.ErrorIs(t, err, ErrQuiet)
		require.ErrorContains(t, err, "2000-01-01T06:00:00Z")
		r.prompting([]string{"shop.b"})
		require.False(t, r.allWait(), "one was asked for")
		require.True(t, r.quiet(), "the other waits")
		r.apply.tables = map[uint32]*followed{}
		r.follows(&followed{target: "shop.b"})
		require.True(t, r.allWait())
		require.Empty(t, r.prompted)
		time.Sleep(6 * time.Hour)
		require.False(t, r.quiet())
		until(time.Time{})
	})
}
