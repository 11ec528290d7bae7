package test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// quietHead is a project's Head whose source has quiet hours, of now and for some hours to come; free is a second source of
// the same database without. They end at the time that is returned.
func quietHead(p *harness.Project, url string) (head string, end time.Time) {
	now := time.Now().UTC()
	end = now.Add(3 * time.Hour).Truncate(time.Minute)
	keys := fmt.Sprintf(`, quiet_hours: ["%s-%s"], quiet_zone: UTC`, now.Add(-time.Hour).Format("15:04"), end.Format("15:04"))
	return strings.Replace(p.Head(url), "}\n", keys+"}\n"+fmt.Sprintf("  free: {url: %q}\n", url), 1), end
}

// freeHead is the same without quiet hours.
func freeHead(p *harness.Project, url string) string {
	return strings.Replace(p.Head(url), "}\n", "}\n"+fmt.Sprintf("  free: {url: %q}\n", url), 1)
}

// quietStatus is what GET /api/store/status says of quiet hours and load.
type quietStatus struct {
	Datasets map[string]struct {
		State      string
		Source     string
		NextRun    *time.Time `json:"next_run"`
		QuietUntil *time.Time `json:"quiet_until"`
		Replica    *struct{ State string }
		Table      *struct{ State, Reason string }
	}
	Sources map[string]struct {
		QuietUntil *time.Time `json:"quiet_until"`
		Seconds    float64
		LoadShare  *float64 `json:"load_share"`
	}
}

func quietStatuses(t testing.TB, s *harness.Server) (st quietStatus) {
	t.Helper()
	s.JSON(http.StatusOK, http.MethodGet, "/api/store/status", nil, &st)
	return st
}

// In quiet hours no sync and no reconcile begins by itself, neither by schedule nor at the start, and status says until when.
// What somebody asks for runs at once. When the hours end, here by a reload, everything begins; what runs when they begin goes on.
func TestQuietHours(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, reloadSQL)
		const datasets = `datasets:
  often: {source: pg, table: public.a, key: [id], incremental_column: at, refresh: 1s}
  once: {source: pg, table: public.b, key: [id]}
  mended: {source: pg, table: public.b, key: [id], reconcile: 1s, auto_load: false}
  asked: {source: pg, table: public.a, key: [id], incremental_column: at, refresh: 1s, auto_load: false}
  slow: {source: pg, queries: {q: {sql: "SELECT a.id FROM a, generate_series(1, 3) g WHERE pg_sleep(0.02) IS NOT NULL"}}, auto_load: false}
  beside: {source: free, table: public.a, key: [id], incremental_column: at, refresh: 1s}
`
		p := harness.New(t)
		head, end := quietHead(p, url)
		p.Write(head + datasets)
		s := p.Serve()
		beside := func(n int) {
			t.Helper()
			harness.Eventually(t, 30*time.Second, "a source without quiet hours is synced", func() bool { return len(s.Runs("beside")) >= n })
		}
		beside(3)
		for _, d := range []string{"often", "once", "mended", "asked", "slow"} {
			require.Empty(t, s.Runs(d), d)
		}
		st := quietStatuses(t, s)
		for _, d := range []string{"often", "once", "asked"} {
			require.Equal(t, "not_synced", st.Datasets[d].State, d)
			require.NotNil(t, st.Datasets[d].NextRun, d)
			require.True(t, st.Datasets[d].NextRun.Equal(end), "%s: next run %s, want %s", d, st.Datasets[d].NextRun, end)
			require.True(t, st.Datasets[d].QuietUntil.Equal(end), d)
		}
		require.Nil(t, st.Datasets["slow"].NextRun)
		require.Nil(t, st.Datasets["slow"].QuietUntil)
		require.Nil(t, st.Datasets["beside"].QuietUntil)
		require.True(t, st.Sources["pg"].QuietUntil.Equal(end))
		require.Nil(t, st.Sources["free"].QuietUntil)
		contains(t, p.OK("status"), "often: quiet hours until "+localClock(end), "after quiet hours")

		// Somebody asks.
		require.Equal(t, "full", s.Sync("asked").Kind)
		harness.Compare(t, url, "SELECT * FROM a", s, "asked", "id")
		harness.PG(t, url, `INSERT INTO a SELECT g, g FROM generate_series(1001, 1010) g`)
		beside(len(s.Runs("beside")) + 3)
		require.Len(t, s.Runs("asked"), 1)
		require.Equal(t, "100", s.One("SELECT count(*) FROM asked"))
		s.JSON(http.StatusAccepted, http.MethodPost, "/api/store/sync", nil, nil)
		harness.Eventually(t, 60*time.Second, "all that was asked for is done", func() bool {
			for _, d := range []string{"often", "once", "mended", "asked", "slow"} {
				if r := s.Runs(d); len(r) == 0 || r[0].State != "ready" {
					return false
				}
			}
			return true
		})
		for _, d := range []string{"asked", "often"} {
			equalSoon(t, url, "SELECT * FROM a", s, d, "id")
		}
		equalSoon(t, url, "SELECT * FROM b", s, "once", "id")
		require.Len(t, s.Runs("mended"), 1)
		require.True(t, quietStatuses(t, s).Datasets["often"].NextRun.Equal(end), "the schedule still waits")
		runsOfOnce := len(s.Runs("once"))

		// They end.
		harness.PG(t, url, `UPDATE b SET at = '2020-01-01' WHERE id = 1; INSERT INTO b VALUES (2000); INSERT INTO a VALUES (2000, 1)`)
		p.Write(freeHead(p, url) + datasets)
		contains(t, p.OK("reload"), "quiet_hours changed: in force at once, what runs goes on")
		for _, d := range []string{"asked", "often"} {
			equalSoon(t, url, "SELECT * FROM a", s, d, "id")
		}
		equalSoon(t, url, "SELECT * FROM b", s, "once", "id")
		require.Len(t, s.Runs("once"), runsOfOnce+1, "the sync of the start is made up for, once")
		equalSoon(t, url, "SELECT * FROM b", s, "mended", "id")
		require.Equal(t, "reconcile", s.Runs("mended")[0].Kind)

		// They begin while something runs.
		id := s.Begin("/api/store/sync/slow")
		busy(t, url, 1)
		head, end = quietHead(p, url)
		p.Write(head + datasets)
		p.OK("reload")
		require.Equal(t, "running", s.RunByID(id).State)
		require.Equal(t, "ready", s.Follow(id).State)
		harness.Compare(t, url, "SELECT a.id FROM a, generate_series(1, 3)", s, "slow_q", "id")
		harness.Eventually(t, 30*time.Second, "the next run is put off", func() bool { return quietStatuses(t, s).Datasets["often"].NextRun.Equal(end) })
		s.Stop()

		// Without a server it is somebody, too.
		harness.PG(t, url, `INSERT INTO b VALUES (3000)`)
		p.OK("sync", "once")
		require.Contains(t, p.OK("query", "--format", "csv", "SELECT count(*) FROM once"), one(t, url, "SELECT count(*)::text FROM b"))
	})
}

// localClock is a time as pintail status tells it.
func localClock(t time.Time) string {
	t = t.Local()
	if t.Format(time.DateOnly) == time.Now().Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("Mon 15:04")
}

// In quiet hours a replica's stream goes on, and its copies of tables wait: the first one, for which nothing is made on the
// source either, and those of tables that come later, or have to be copied anew. Somebody who asks for them does not wait.
func TestQuietHoursOfAReplica(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, surfaceSQL)
		p := harness.New(t)
		r := harness.Replica{URL: url, Dataset: "shop"}
		datasets := harness.ReplicaYAML("shop", "")
		reload := func(head string) {
			t.Helper()
			p.Write(head + datasets)
			p.OK("reload")
		}
		head, end := quietHead(p, url)
		p.Write(head + datasets)
		s := p.Serve()
		harness.Eventually(t, 30*time.Second, "the first copy waits", func() bool {
			st := quietStatuses(t, s).Datasets["shop"]
			return st.Replica != nil && st.Replica.State == "waiting" && st.QuietUntil != nil && st.QuietUntil.Equal(end)
		})
		require.Empty(t, r.Leftovers(t))
		contains(t, p.OK("status"), "shop: quiet hours until "+localClock(end), "waiting")
		reload(freeHead(p, url))
		s.Same(r)
		require.Nil(t, quietStatuses(t, s).Datasets["shop.orders"].QuietUntil)

		// The stream goes on; a table that comes, and one that has to be copied anew, wait beside it.
		slot := r.Slot(t)
		head, end = quietHead(p, url)
		reload(head)
		harness.PG(t, url, `CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later SELECT g FROM generate_series(1, 10) g`,
			`ALTER TABLE lines ALTER id TYPE bigint; INSERT INTO lines VALUES (1000, 1)`, `UPDATE orders SET v = 'quiet' WHERE id <= 50`)
		harness.Eventually(t, harness.ReplicaTimeout, "two tables wait", func() bool {
			st := quietStatuses(t, s).Datasets
			for _, name := range []string{"shop.later", "shop.lines"} {
				if st[name].Table == nil || st[name].Table.State != "waiting" || st[name].Table.Reason == "" || st[name].QuietUntil == nil || !st[name].QuietUntil.Equal(end) {
					return false
				}
			}
			return st["shop.orders"].Table.State == "following" && st["shop.orders"].Replica.State == "waiting"
		})
		contains(t, p.OK("status"), "shop: quiet hours until "+localClock(end)+", 2 tables to copy then")
		orders := r
		orders.Except = []string{"later", "lines"}
		for i := range 3 {
			harness.PG(t, url, fmt.Sprintf(`INSERT INTO orders VALUES (%[1]d, 'new'); DELETE FROM orders WHERE id = %[2]d`, 2000+i, 60+i))
			s.Same(orders)
		}
		require.Equal(t, "100", s.One("SELECT count(*) FROM shop.lines"), "the rows of before stay readable")
		require.Equal(t, "waiting", quietStatuses(t, s).Datasets["shop.later"].Table.State)

		// Of the two, somebody asks for one, then for all.
		s.JSON(http.StatusOK, http.MethodPost, "/api/store/sync/shop/reset-watermark?table=shop.lines", nil, nil)
		orders.Except = []string{"later"}
		s.Same(orders)
		require.Equal(t, "waiting", quietStatuses(t, s).Datasets["shop.later"].Table.State)
		p.OK("sync", "shop")
		s.Same(r)
		require.Equal(t, slot, r.Slot(t))
		harness.PG(t, url, `CREATE TABLE last (id int PRIMARY KEY); INSERT INTO last VALUES (1)`)
		harness.Eventually(t, harness.ReplicaTimeout, "it waits again after that", func() bool {
			st := quietStatuses(t, s).Datasets["shop.last"]
			return st.Table != nil && st.Table.State == "waiting"
		})

		// The end, by a reload.
		reload(freeHead(p, url))
		s.Same(r)

		// A lost slot: everything is copied anew, later.
		s.Stop()
		harness.PG(t, url, `SELECT pg_drop_replication_slot('`+slot+`')`, `INSERT INTO orders VALUES (5000, 'missed')`)
		head, _ = quietHead(p, url)
		p.Write(head + datasets)
		s = p.Serve()
		harness.Eventually(t, 30*time.Second, "the copy waits", func() bool {
			st := quietStatuses(t, s).Datasets["shop.orders"]
			return st.Replica.State == "waiting" && st.Table.State == "waiting" && st.QuietUntil != nil
		})
		require.Equal(t, "0", s.One("SELECT count(*) FROM shop.orders WHERE id = 5000"))
		require.Equal(t, "10", s.One("SELECT count(*) FROM shop.later"))
		p.OK("sync", "shop")
		s.Same(r)
		s.Stop()
	})
}

// How long the source has worked for us is counted, and the share of that in its load is told while it does and is none a
// minute later.
func TestSourceLoad(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, reloadSQL)
		p := manual(t, url, "datasets:\n  slow: {source: pg, queries: {q: {sql: \"SELECT a.id FROM a, generate_series(1, 1000) g WHERE pg_sleep(0.1) IS NOT NULL\"}}}\n")
		s := p.Serve()
		src := quietStatuses(t, s).Sources["pg"]
		require.Zero(t, src.Seconds)
		require.Equal(t, 0.0, *src.LoadShare)
		id := s.Begin("/api/store/sync/slow")
		begin := time.Now()
		harness.Eventually(t, 60*time.Second, "most of the load is ours", func() bool {
			src = quietStatuses(t, s).Sources["pg"]
			return src.LoadShare != nil && *src.LoadShare > 0.5
		})
		require.LessOrEqual(t, *src.LoadShare, 1.0)
		took := time.Since(begin).Seconds()
		require.InDelta(t, took, src.Seconds, 0.3*took)
		contains(t, p.OK("status"), "source pg: ", "% of its load within the last minute is Pintail's")
		metric := func(name string) float64 {
			t.Helper()
			_, body := s.Do(http.MethodGet, "/metrics", nil)
			m := regexp.MustCompile(`(?m)^` + name + `\{source="pg"\} (.+)$`).FindStringSubmatch(string(body))
			require.NotNil(t, m, name)
			v, err := strconv.ParseFloat(m[1], 64)
			require.NoError(t, err)
			return v
		}
		require.Greater(t, metric("pintail_source_load_share"), 0.5)
		require.GreaterOrEqual(t, metric("pintail_source_seconds_total"), src.Seconds)
		require.Zero(t, metric("pintail_source_quiet"))
		s.JSON(http.StatusAccepted, http.MethodPost, "/api/store/runs/"+id+"/cancel", nil, nil)
		require.Equal(t, "cancelled", s.Follow(id).State)
		worked := quietStatuses(t, s).Sources["pg"].Seconds
		harness.Eventually(t, 100*time.Second, "none of the load is ours", func() bool {
			share := quietStatuses(t, s).Sources["pg"].LoadShare
			return share != nil && *share < 0.01
		})
		require.InDelta(t, worked, quietStatuses(t, s).Sources["pg"].Seconds, 1)
		require.NotContains(t, p.OK("status"), "of its load")
	})
}
