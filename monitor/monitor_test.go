package monitor

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/store"
)

func TestRunMetrics(t *testing.T) {
	m := New("v1.2.3")
	reg := m.Gatherer()
	m.RunEnded(store.Run{Dataset: "m", Kind: "full", State: "ready", RowsRead: 10, RowsWritten: 10, Bytes: 1000}, 2*time.Second)
	m.RunEnded(store.Run{Dataset: "m", Kind: "incremental", State: "error", Code: "source_timeout", RowsRead: 3}, time.Second)
	m.RunEnded(store.Run{Dataset: "m", Kind: "incremental", State: "cancelled", Code: "cancelled"}, time.Second)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP pintail_runs_total Runs that ended, by how.
# TYPE pintail_runs_total counter
pintail_runs_total{dataset="m",kind="full",state="ready"} 1
pintail_runs_total{dataset="m",kind="incremental",state="cancelled"} 1
pintail_runs_total{dataset="m",kind="incremental",state="error"} 1
# HELP pintail_rows_read_total Rows read from sources.
# TYPE pintail_rows_read_total counter
pintail_rows_read_total{dataset="m"} 13
# HELP pintail_rows_written_total Rows inserted, replaced or deleted in the copy.
# TYPE pintail_rows_written_total counter
pintail_rows_written_total{dataset="m"} 10
# HELP pintail_bytes_read_total Bytes read from sources.
# TYPE pintail_bytes_read_total counter
pintail_bytes_read_total{dataset="m"} 1000
# HELP pintail_sync_errors_total Runs that failed, by the error's code.
# TYPE pintail_sync_errors_total counter
pintail_sync_errors_total{code="source_timeout",dataset="m"} 1
`), "pintail_runs_total", "pintail_rows_read_total", "pintail_rows_written_total", "pintail_bytes_read_total", "pintail_sync_errors_total"))
	n, err := testutil.GatherAndCount(reg, "pintail_run_duration_seconds", "pintail_build_info", "go_goroutines", "process_cpu_seconds_total")
	require.NoError(t, err)
	require.Equal(t, 2+1+1+1, n)
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New("")
		at := time.Now()
		var fail error
		m.Watch(func() map[string]time.Time { return map[string]time.Time{"m": at} },
			func() (int64, int64, int64, error) { return 300, 20, 100, fail })
		time.Sleep(90 * time.Second) // the bubble's clock
		require.NoError(t, testutil.GatherAndCompare(m.Gatherer(), strings.NewReader(`
# HELP pintail_dataset_freshness_seconds Age of the moment at which a dataset's copy equals its source: the snapshot of its last good sync.
# TYPE pintail_dataset_freshness_seconds gauge
pintail_dataset_freshness_seconds{dataset="m"} 90
# HELP pintail_store_file_bytes Size of the DuckDB file.
# TYPE pintail_store_file_bytes gauge
pintail_store_file_bytes 300
# HELP pintail_store_used_bytes Bytes of the DuckDB file in use; the rest is free for new data.
# TYPE pintail_store_used_bytes gauge
pintail_store_used_bytes 100
# HELP pintail_store_wal_bytes Size of the DuckDB file's write-ahead log.
# TYPE pintail_store_wal_bytes gauge
pintail_store_wal_bytes 20
`), "pintail_dataset_freshness_seconds", "pintail_store_file_bytes", "pintail_store_used_bytes", "pintail_store_wal_bytes"))
		fail = errors.New("the file is gone")
		_, err := m.Gatherer().Gather()
		require.ErrorContains(t, err, "the file is gone")
	})
}

func TestChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewChecks(2 * time.Second)
		require.Empty(t, c.Run(t.Context()))
		release, calls := make(chan struct{}), atomic.Int32{}
		c.Add("good", func(context.Context) error { return nil })
		c.Add("bad", func(context.Context) error { return errors.New("m has not been synced yet") })
		c.Add("panics", func(context.Context) error { panic("oops") })
		c.Add("hangs", func(context.Context) error { calls.Add(1); <-release; return nil }) // and does not heed its context
		start := time.Now()
		got := c.Run(t.Context())
		require.Equal(t, 2*time.Second, time.Since(start))
		require.NoError(t, got["good"])
		require.EqualError(t, got["bad"], "m has not been synced yet")
		require.ErrorContains(t, got["panics"], "oops")
		require.ErrorContains(t, got["hangs"], "no answer within 2s")
		require.ErrorContains(t, c.Run(t.Context())["hangs"], "no answer for more than 2s")
		require.EqualValues(t, 1, calls.Load()) // a hanging check is not piled up
		close(release)
		synctest.Wait()
		require.NoError(t, c.Run(t.Context())["hangs"])
	})
}

// The end of a check, which cancels its context, is no timeout.
func TestChecksEndInTime(t *testing.T) {
	c := NewChecks(time.Minute)
	c.Add("quick", func(context.Context) error { return nil })
	for range 5000 {
		if err := c.Run(t.Context())["quick"]; err != nil {
			t.Fatal(err)
		}
	}
}
