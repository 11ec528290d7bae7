package test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// equalSoon waits until the copy is what the source holds.
func equalSoon(t *testing.T, url, query string, s *harness.Server, table, key string) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, table+" follows its source", func() bool {
		_, diffs, err := harness.Diff(t.Context(), url, query, s, table, key)
		require.NoError(t, err)
		return len(diffs) == 0
	})
}

// With refresh: 1s the copy follows a source that is written all the time, without a run on top of a run; one dataset that
// fails, and one that is slow, do not hold the others up.
func TestRefreshFollows(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, tracesSQL+reloadSQL)
		p := harness.With(t, url, `datasets:
  monitoring: {source: pg, dataset_query: "`+datasetQuery+`", results_query: "`+resultsQuery+`", key: {dataset: [dataset_id], results: [dataset_id, metric]}, incremental_column: created_at, refresh: 1s}
  b: {source: pg, table: public.b, key: [id], incremental_column: at, refresh: "* * * * *"}
  full: {source: pg, table: public.a, refresh: 1s}
  broken: {source: pg, queries: {q: {sql: SELECT 1 / (n - 100) AS x FROM a}}, refresh: 1s}
  slow: {source: pg, queries: {q: {sql: SELECT n FROM a WHERE pg_sleep(0.03) IS NOT NULL}}, refresh: 1s}
`)
		s := p.ServeNow()
		stop, done := make(chan struct{}), make(chan int)
		go func() {
			n := 0
			defer func() { done <- n }()
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close(context.WithoutCancel(t.Context()))
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				n++
				if _, err := conn.Exec(t.Context(), fmt.Sprintf(`INSERT INTO traces (trace_id, prompt) VALUES ('w%[1]d', 'written'); INSERT INTO results (trace_id, metric) VALUES ('w%[1]d', 'm');
					UPDATE traces SET notes = 'seen %[1]d', created_at = now() WHERE trace_id = 'w%[2]d'; UPDATE a SET n = n + 1 WHERE id = 7`, n, n/2)); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		increments := func() (n int) {
			for _, r := range s.Runs("monitoring") {
				if r.Kind == "incremental" && r.State == "ready" {
					n++
				}
			}
			return n
		}
		harness.Eventually(t, 40*time.Second, "three increments are done beside the writer", func() bool { return increments() >= 3 })
		close(stop)
		require.Greater(t, <-done, 20)
		equalSoon(t, url, datasetQuery, s, "monitoring_dataset", "dataset_id")
		equalSoon(t, url, resultsQuery, s, "monitoring_results", "dataset_id")
		equalSoon(t, url, "SELECT * FROM a", s, "full", "id")
		runs := s.Runs("monitoring")
		for i := 1; i < len(runs); i++ {
			later, earlier := runs[i-1], runs[i]
			if later.State != "running" && later.StartedAt.Before(*earlier.EndedAt) {
				t.Errorf("run %s began before %s had ended", later.ID, earlier.ID)
			}
		}
		st := s.Statuses()
		require.Contains(t, []string{"error", "syncing"}, st["broken_q"].State, harness.Show(st["broken_q"]), harness.Show(s.Runs("broken")))
		contains(t, *st["broken_q"].Error, "division by zero")
		require.NotNil(t, st["broken_q"].NextRun, "it is tried again")
		require.Contains(t, []string{"ready", "syncing"}, st["b"].State, harness.Show(s.Runs("b")))
		require.NotNil(t, st["b"].NextRun)

		// What was wrong is mended at the source, and the dataset recovers by itself.
		harness.PG(t, url, `UPDATE a SET n = 1`)
		harness.Eventually(t, 40*time.Second, "the broken dataset recovers", func() bool { return s.Status("broken_q").State == "ready" })
		equalSoon(t, url, "SELECT 1 / (n - 100) AS x FROM a", s, "broken_q", "x")
	})
}

// While the source is away the copy stays readable and runs wait longer and longer; when it is back they go on by
// themselves, from their watermarks. The wire breaks in the middle of reads as well.
func TestSourceAway(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, server *pgtest.Server) {
		t.Parallel()
		direct := server.DB(t)
		harness.PG(t, direct, `CREATE TABLE big (id bigserial PRIMARY KEY, pad text, at timestamptz DEFAULT now()); INSERT INTO big (pad) SELECT repeat('x', 200) FROM generate_series(1, 20000)`)
		proxy := pgtest.NewProxy(t, server)
		p := manual(t, proxy.URL(direct[strings.LastIndex(direct, "/")+1:strings.Index(direct, "?")]), "datasets:\n  big: {source: pg, table: public.big, key: [id], incremental_column: at}\n  all: {source: pg, table: public.big}\n")
		s := p.Serve()
		same := func() {
			t.Helper()
			harness.Compare(t, direct, "SELECT * FROM big", s, "big", "id")
		}
		s.Sync("big")
		s.Sync("all")
		// Cut in the middle of COPY: the run is tried again and comes through.
		for _, after := range []int64{100, 20_000, 1_000_000} {
			proxy.CutAfter(after)
			s.SyncFull("big")
			same()
		}
		require.Equal(t, 3, proxy.Cuts(), "the faults happened")
		harness.PG(t, direct, `INSERT INTO big (pad) SELECT 'new' FROM generate_series(1, 100)`)
		proxy.CutAfter(3000)
		require.Equal(t, "incremental", s.Sync("big").Kind, "a broken connection is no reason for a rebuild")
		same()

		// Away for a while, and back.
		proxy.Refuse()
		proxy.Cut()
		id := s.Begin("/api/store/sync/big")
		harness.Eventually(t, 10*time.Second, "the failure is logged", func() bool {
			return strings.Contains(s.Stderr(), "run will be tried again") && s.RunByID(id).State == "running"
		})
		require.Equal(t, "20100", s.One("SELECT count(*) FROM big"))
		harness.PG(t, direct, `INSERT INTO big (pad) SELECT 'newer' FROM generate_series(1, 100)`)
		require.NoError(t, proxy.Accept())
		require.Equal(t, "ready", s.Follow(id).State)
		same()

		// Silent: nothing comes, nothing is refused. The run can be cancelled, and the server stopped.
		proxy.Stall()
		id = s.Begin("/api/store/sync/all")
		s.JSON(202, "POST", "/api/store/runs/"+id+"/cancel", nil, nil)
		harness.Eventually(t, 15*time.Second, "the stalled run is cancelled", func() bool { return s.RunByID(id).State == "cancelled" })
		s.Begin("/api/store/sync/all")
		s.Stop()
	})
}

// The server restarts, fast, and by a crash, under a schedule.
func TestSourceRestarts(t *testing.T) {
	t.Parallel()
	server := pgtest.StartT(t, pgtest.Options{Major: pgtest.Newest})
	url := server.DB(t)
	harness.PG(t, url, reloadSQL)
	p := harness.With(t, url, "datasets:\n  a: {source: pg, table: public.a, key: [id], incremental_column: at, refresh: 1s}\n")
	s := p.Serve()
	for i, stop := range []func(){
		func() { require.NoError(t, server.Stop(pgtest.Fast)) },
		server.Kill,
	} {
		stop()
		harness.Eventually(t, 20*time.Second, "a run meets the stopped server", func() bool { return strings.Count(s.Stderr(), "run will be tried again") > i })
		require.Equal(t, "100", s.One("SELECT count(*) FROM a WHERE id < 1000"))
		require.NoError(t, server.Restart(t.Context()))
		harness.PG(t, url, fmt.Sprintf(`INSERT INTO a SELECT %d + g FROM generate_series(1, 10) g`, 1000*(i+1)))
		equalSoon(t, url, "SELECT * FROM a", s, "a", "id")
	}
	for _, r := range s.Runs("a")[1:] {
		if r.Kind == "full" && r.Reason != "a: first sync" {
			t.Errorf("a restart of the source led to a rebuild: %s", harness.Show(r))
		}
	}
}
