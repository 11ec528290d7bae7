package endpoint

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func answer(body, version string) *Answer { return &Answer{Body: []byte(body), Version: version} }

func noVersion() string { return "" }

func TestCacheOfOneComputationForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(1 << 20)
		var computed, cancelled atomic.Int64
		compute := func(ctx context.Context) (*Answer, error) {
			computed.Add(1)
			select {
			case <-time.After(time.Second):
				return answer("x", ""), nil
			case <-ctx.Done():
				cancelled.Add(1)
				return nil, ctx.Err()
			}
		}
		first, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := c.Do(first, "k", time.Minute, noVersion, compute)
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		var fresh, cached atomic.Int64
		for range 10 {
			wg.Go(func() {
				f, err := c.Do(t.Context(), "k", time.Minute, noVersion, compute)
				require.NoError(t, err)
				require.Equal(t, "x", string(f.Body))
				if f.Cached {
					cached.Add(1)
				} else {
					fresh.Add(1)
				}
			})
		}
		synctest.Wait()
		leave() // the one who began it goes; the others get their answer
		wg.Wait()
		require.Equal(t, []int64{1, 0, 0, 10}, []int64{computed.Load(), cancelled.Load(), fresh.Load(), cached.Load()})

		// When the last goes, so does the computation, and the next begins anew.
		alone, leave := context.WithCancel(t.Context())
		wg.Go(func() { _, _ = c.Do(alone, "other", time.Minute, noVersion, compute) })
		synctest.Wait()
		leave()
		wg.Wait()
		synctest.Wait()
		require.Equal(t, int64(1), cancelled.Load())
		f, err := c.Do(t.Context(), "other", time.Minute, noVersion, compute)
		require.NoError(t, err)
		require.False(t, f.Cached)
	})
}

// An answer is never older than ttl before the request, unless what it was read from is the same.
func TestCacheAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(1 << 20)
		version, runs := "1", 0
		do := func() Found {
			f, err := c.Do(t.Context(), "k", 10*time.Second, func() string { return version }, func(context.Context) (*Answer, error) {
				runs++
				time.Sleep(3 * time.Second)
				return answer(fmt.Sprint(runs), version), nil
			})
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(f.At), 13*time.Second)
			return f
		}
		require.Equal(t, "1", string(do().Body)) // at 3 s, and holds as of 0 s
		time.Sleep(7 * time.Second)
		version = "2"
		require.Equal(t, "1", string(do().Body), "exactly its time old")
		time.Sleep(time.Millisecond)
		require.Equal(t, "2", string(do().Body))
		for range 5 {
			time.Sleep(time.Minute)
			f := do()
			require.Equal(t, "2", string(f.Body), "nothing has changed")
			require.Zero(t, time.Since(f.At))
		}
		version = "3" // at the moment of the last look: within its time it may be given
		time.Sleep(9 * time.Second)
		require.Equal(t, "2", string(do().Body))
		time.Sleep(2 * time.Second)
		require.Equal(t, "3", string(do().Body))
		version = ""
		time.Sleep(time.Minute)
		require.Equal(t, "4", string(do().Body), "a commit under way")
		require.Equal(t, "4", string(do().Body))
		require.Equal(t, 4, runs)
	})
}

// Who comes after a computation has begun too long ago does not wait for its answer.
func TestCacheDoesNotJoinWhatIsTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(1 << 20)
		var runs atomic.Int64
		compute := func(context.Context) (*Answer, error) {
			n := runs.Add(1)
			time.Sleep(time.Minute)
			return answer(fmt.Sprint(n), ""), nil
		}
		var wg sync.WaitGroup
		for i, want := range []string{"1", "1", "2", "2"} {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 6 * time.Second)
				f, err := c.Do(t.Context(), "k", 10*time.Second, noVersion, compute)
				require.NoError(t, err)
				require.Equal(t, want, string(f.Body))
			})
		}
		wg.Wait()
	})
}

func TestCacheKeepsNoErrorsAndBoundsItsMemory(t *testing.T) {
	c := NewCache(64 << 10)
	boom := errors.New("boom")
	runs := 0
	for range 3 {
		_, err := c.Do(t.Context(), "bad", time.Hour, noVersion, func(context.Context) (*Answer, error) { runs++; return nil, boom })
		require.ErrorIs(t, err, boom)
	}
	_, err := c.Do(t.Context(), "panics", time.Hour, noVersion, func(context.Context) (*Answer, error) { panic("boom") })
	require.ErrorContains(t, err, "panicked: boom")
	for range 3 {
		_, err := c.Do(t.Context(), "large", time.Hour, noVersion, func(context.Context) (*Answer, error) { runs++; return nil, ErrTooLarge })
		require.ErrorIs(t, err, ErrTooLarge)
	}
	require.Equal(t, 4, runs, "that it is too large is kept")
	for i := range 100 {
		_, err := c.Do(t.Context(), fmt.Sprint("k", i), time.Hour, noVersion, func(context.Context) (*Answer, error) { return answer(strings.Repeat("x", 5000), ""), nil })
		require.NoError(t, err)
		require.LessOrEqual(t, c.Bytes(), int64(64<<10))
	}
	require.Greater(t, c.Bytes(), int64(50<<10))
	f, err := c.Do(t.Context(), "k99", time.Hour, noVersion, func(context.Context) (*Answer, error) { return nil, boom })
	require.NoError(t, err)
	require.True(t, f.Cached)
}

func TestRates(t *testing.T) {
	r := NewRates()
	now := time.Unix(1000, 0)
	for range 30 {
		require.Zero(t, r.Take("e", "ann", "30/m", now))
	}
	require.Equal(t, 2*time.Second, r.Take("e", "ann", "30/m", now))
	require.Equal(t, 2*time.Second, r.Take("e", "ann", "30/m", now), "a refused one costs nothing")
	require.Zero(t, r.Take("e", "bob", "30/m", now))
	require.Zero(t, r.Take("other", "ann", "30/m", now))
	require.Zero(t, r.Take("e", "ann", "", now))
	require.Zero(t, r.Take("e", "ann", "30/m", now.Add(2*time.Second)))
	require.NotZero(t, r.Take("e", "ann", "30/m", now.Add(2*time.Second)))
	require.Zero(t, r.Take("e", "cat", "30/m", now.Add(time.Hour)))
	require.Len(t, r.limiters, 1, "who has all his requests again needs no account")
}
