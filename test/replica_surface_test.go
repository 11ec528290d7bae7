package test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

const surfaceSQL = `CREATE TABLE orders (id int PRIMARY KEY, v text); CREATE TABLE lines (id int PRIMARY KEY, price numeric(10,2));
	INSERT INTO orders SELECT g, 'first' FROM generate_series(1, 100) g; INSERT INTO lines SELECT g, g FROM generate_series(1, 100) g`

// replicaStatus is what GET /api/store/status says of one table of a replica.
type replicaStatus struct {
	State   string
	Hint    string
	Replica struct {
		State, Slot   string
		LSN           *string `json:"lsn"`
		WALStatus     string  `json:"wal_status"`
		Active        bool
		LagBytes      *int64     `json:"lag_bytes"`
		LagSeconds    *float64   `json:"lag_seconds"`
		RetainedBytes *int64     `json:"retained_bytes"`
		AsOf          *time.Time `json:"as_of"`
	}
	Table *struct {
		Source, State                        string
		Inserts, Updates, Deletes, Truncates int64
		Error                                *string
		Quarantined                          *time.Time
	}
}

func replicaStatuses(t testing.TB, s *harness.Server) map[string]replicaStatus {
	t.Helper()
	var all struct{ Datasets map[string]replicaStatus }
	s.JSON(http.StatusOK, http.MethodGet, "/api/store/status", nil, &all)
	return all.Datasets
}

type slotJSON struct {
	Source, Slot            string
	Dataset                 *string
	Owned, Followed, Active bool
}

func slots(t testing.TB, p *harness.Project) []slotJSON {
	t.Helper()
	var all struct{ Slots []slotJSON }
	decode(t, p.OK("slots", "--json"), &all)
	return all.Slots
}

// commit writes to the source and says where its log ends after the commit.
func commit(t testing.TB, conn *pgx.Conn, sql string) (lsn string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	require.NoError(t, err)
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT pg_current_wal_lsn()::text").Scan(&lsn))
	return lsn
}

// followed waits until every table of a replica is.
func followed(t testing.TB, s *harness.Server, n int) {
	t.Helper()
	harness.Eventually(t, harness.ReplicaTimeout, "the tables are followed", func() bool {
		all := replicaStatuses(t, s)
		for _, st := range all {
			if st.Table == nil || st.Table.State != "following" || st.Replica.State != "following" {
				return false
			}
		}
		return len(all) == n
	})
}

// A reader who asks for a position sees all that was committed before, or is told that it cannot; and every answer says where the
// rows stand.
func TestReplicaReadYourWrites(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, surfaceSQL)
		p, r := replica(t, url, "")
		p.Write(readFile(t, p.Config) + `
  other: {source: pg, table: public.orders, key: [id], paused: true}
users:
  root: {token: token-of-the-administrator, role: admin}
  reader: {token: token-of-a-plain-reader, role: reader}
  stranger: {token: token-of-a-role-without, role: stranger}
roles:
  reader: {read: ["shop.orders"]}
  stranger: {read: ["other"]}
`)
		p.Env = []string{"PINTAIL_TOKEN=token-of-the-administrator"}
		root := p.Serve()
		as := func(token string) *harness.Server { s := root.For(t); s.Token = token; return s }
		admin, reader, stranger := as("token-of-the-administrator"), as("token-of-a-plain-reader"), as("token-of-a-role-without")
		conn := harness.Conn(t, url)
		var res struct {
			Rows     [][]any
			Position map[string]struct {
				LSN         string    `json:"lsn"`
				CommittedAt time.Time `json:"committed_at"`
				SyncedAt    time.Time `json:"synced_at"`
			}
		}
		// The first copy is waited for too.
		lsn := commit(t, conn, "INSERT INTO orders VALUES (1000, 'mine')")
		ask := func(s *harness.Server, sql, lsn string) {
			t.Helper()
			res.Rows, res.Position = nil, nil
			s.JSON(http.StatusOK, http.MethodPost, "/v0/sql", map[string]any{"sql": sql, "min_lsn": map[string]string{"shop": lsn}, "deadline": "30s"}, &res)
		}
		var worst time.Duration
		for i := range 25 {
			lsn = commit(t, conn, fmt.Sprintf("UPDATE orders SET v = 'n%d' WHERE id = 1000", i))
			begin := time.Now()
			ask(reader, "SELECT v FROM shop.orders WHERE id = 1000", lsn)
			worst = max(worst, time.Since(begin))
			require.Equal(t, [][]any{{fmt.Sprint("n", i)}}, res.Rows)
			require.NotEmpty(t, res.Position["shop"].LSN)
			require.False(t, res.Position["shop"].CommittedAt.IsZero())
			require.Less(t, time.Since(res.Position["shop"].SyncedAt).Abs(), time.Hour)
			require.GreaterOrEqual(t, lsnOf(t, res.Position["shop"].LSN), lsnOf(t, lsn))
		}
		t.Logf("the slowest of 25 answers took %s", worst)
		require.Contains(t, p.OK("query", "--format", "csv", "--min-lsn", "shop="+lsn, "SELECT v FROM shop.orders WHERE id = 1000"), "n24")

		// What cannot be.
		body := map[string]any{"sql": "SELECT 1", "min_lsn": map[string]string{"shop": "FFFF/0"}, "deadline": "200ms"}
		contains(t, reader.Refused(http.StatusGatewayTimeout, http.MethodPost, "/v0/sql", body).Error.Message, "read dataset shop at FFFF/0 or later: it is at ")
		for _, name := range []string{"shop", "other", "nothing"} {
			body["min_lsn"] = map[string]string{name: "0/1"}
			contains(t, stranger.Refused(http.StatusBadRequest, http.MethodPost, "/v0/sql", body).Error.Message, "there is no dataset", name)
		}
		positions := `SELECT * FROM _pintail.position()`
		require.Len(t, reader.SQL(positions), 1)
		require.Equal(t, "shop", reader.SQL(positions)[0][0])
		require.Empty(t, stranger.SQL(positions))
		require.Equal(t, "1", admin.One(`SELECT count(*) FROM _pintail.position() p WHERE dataset = 'shop'`))

		// Nothing follows it: what the file has is answered, and no more waited for.
		admin.Same(r)
		at := admin.SQL(positions)[0][1].(string)
		admin.JSON(http.StatusOK, http.MethodPost, "/api/store/datasets/shop/pause", nil, nil)
		require.Equal(t, "stopped", replicaStatuses(t, admin)["shop.orders"].Replica.State)
		ask(reader, "SELECT v FROM shop.orders WHERE id = 1000", at)
		require.Equal(t, [][]any{{"n24"}}, res.Rows)
		require.Equal(t, at, res.Position["shop"].LSN)
		lsn = commit(t, conn, "UPDATE orders SET v = 'paused' WHERE id = 1000")
		body = map[string]any{"sql": "SELECT 1", "min_lsn": map[string]string{"shop": lsn}, "deadline": "20s"}
		contains(t, reader.Refused(http.StatusServiceUnavailable, http.MethodPost, "/v0/sql", body).Error.Message, "is not followed now")
		admin.JSON(http.StatusOK, http.MethodPost, "/api/store/datasets/shop/resume", nil, nil)
		ask(reader, "SELECT v FROM shop.orders WHERE id = 1000", lsn)
		require.Equal(t, [][]any{{"paused"}}, res.Rows)
		admin.Same(r)
	})
}

func lsnOf(t testing.TB, text string) uint64 {
	t.Helper()
	high, low, ok := strings.Cut(text, "/")
	require.True(t, ok, text)
	h, err := strconv.ParseUint(high, 16, 32)
	require.NoError(t, err)
	l, err := strconv.ParseUint(low, 16, 32)
	require.NoError(t, err)
	return h<<32 | l
}

// Status and metrics say how a replica does.
func TestReplicaStatusAndMetrics(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		harness.PG(t, url, surfaceSQL)
		p, r := replica(t, url, "")
		s := p.Serve()
		followed(t, s, 2)
		harness.PG(t, url, `INSERT INTO orders SELECT g, 'new' FROM generate_series(101, 110) g; UPDATE orders SET v = 'x' WHERE id <= 5; DELETE FROM orders WHERE id = 50`,
			`TRUNCATE lines`)
		s.Same(r)
		var st replicaStatus
		harness.Eventually(t, 30*time.Second, "the slot was asked for", func() bool {
			st = replicaStatuses(t, s)["shop.orders"]
			return st.Replica.WALStatus != "" && st.Replica.Active
		})
		require.Equal(t, "following", st.Replica.State)
		require.Equal(t, r.Slot(t), st.Replica.Slot)
		require.Contains(t, []string{"reserved", "extended"}, st.Replica.WALStatus)
		require.NotNil(t, st.Replica.RetainedBytes)
		require.Less(t, *st.Replica.LagBytes, int64(1<<20))
		require.Less(t, *st.Replica.LagSeconds, 30.0)
		require.Equal(t, "public.orders", st.Table.Source)
		require.Equal(t, []int64{10, 5, 1, 0}, []int64{st.Table.Inserts, st.Table.Updates, st.Table.Deletes, st.Table.Truncates})
		require.EqualValues(t, 1, replicaStatuses(t, s)["shop.lines"].Table.Truncates)
		contains(t, p.OK("status"), "shop.orders", "following", "behind")

		_, body := s.Do(http.MethodGet, "/metrics", nil)
		metric := func(line string) float64 {
			t.Helper()
			m := regexp.MustCompile(`(?m)^` + line + ` (.+)$`).FindStringSubmatch(string(body))
			require.NotNil(t, m, line)
			v, err := strconv.ParseFloat(m[1], 64)
			require.NoError(t, err)
			return v
		}
		require.Equal(t, 10.0, metric(`pintail_changes_total{dataset="shop",kind="insert",table="shop.orders"}`))
		require.Equal(t, 5.0, metric(`pintail_changes_total{dataset="shop",kind="update",table="shop.orders"}`))
		require.Equal(t, 1.0, metric(`pintail_changes_total{dataset="shop",kind="truncate",table="shop.lines"}`))
		batches := metric(`pintail_commit_to_readable_seconds_count{dataset="shop"}`)
		require.Positive(t, batches)
		// Source and copy have one clock here, and nothing else to do.
		require.Positive(t, metric(`pintail_commit_to_readable_seconds_sum{dataset="shop"}`))
		require.Less(t, metric(`pintail_commit_to_readable_seconds_sum{dataset="shop"}`)/batches, 20.0)
		require.Equal(t, batches, metric(`pintail_batch_rows_count{dataset="shop"}`))
		require.Equal(t, batches, metric(`pintail_batch_apply_seconds_count{dataset="shop"}`))
		require.Equal(t, 1.0, metric(`pintail_replication_state{dataset="shop",state="following"}`))
		require.Less(t, metric(`pintail_replication_lag_seconds{dataset="shop"}`), 30.0)
		require.Less(t, metric(`pintail_replication_lag_bytes{dataset="shop"}`), 1e6)
		require.Equal(t, 1.0, metric(`pintail_slot_info{dataset="shop",slot="`+r.Slot(t)+`",source="pg"}`))
		metric(`pintail_slot_retained_bytes{dataset="shop",slot="` + r.Slot(t) + `"}`)
		require.Equal(t, 0.0, metric(`pintail_snapshot_age_seconds{dataset="shop"}`))
		require.Equal(t, 0.0, metric(`pintail_quarantined{dataset="shop"}`))
		require.Equal(t, 0.0, metric(`pintail_spool_bytes{dataset="shop"}`))

		// A replica that fails says why, before anything was copied as well.
		q, _ := replica(t, "postgres://nobody@127.0.0.1:1/x", "")
		f := q.ServeNow()
		harness.Eventually(t, 30*time.Second, "the failure is told", func() bool {
			return replicaStatuses(t, f)["shop"].Replica.State == "failed"
		})
		contains(t, q.OK("status"), "shop", "failed", "127.0.0.1:1")
	})
}

// Slots are listed and dropped, with a server and without; those of another file are told apart, and what is followed is not
// dropped by mistake.
func TestReplicaSlots(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, surfaceSQL)
		p, r := replica(t, url, "")
		require.Empty(t, slots(t, p))
		p.OK("sync")
		mine := r.Slot(t)
		for _, how := range []string{"file", "server"} {
			var s *harness.Server
			if how == "server" {
				s = p.Serve()
				followed(t, s, 2)
			}
			all := slots(t, p)
			require.Len(t, all, 1)
			require.Equal(t, slotJSON{Source: "pg", Slot: mine, Dataset: all[0].Dataset, Owned: true, Followed: true, Active: how == "server"}, all[0])
			require.Equal(t, "shop", *all[0].Dataset)
			contains(t, p.OK("slots"), mine, "shop", "pg")
			contains(t, p.Code(2, "slots", "drop", mine, "--yes").Stderr, "dataset shop follows slot "+mine)
			contains(t, p.Code(2, "slots", "drop", mine).Stderr, "--yes")
			contains(t, p.Code(1, "slots", "drop", "pintail_nothing", "--yes").Stderr, "no source has a replication slot")
			contains(t, p.Code(1, "slots", "drop", mine, "--yes", "--source", "nothing").Stderr, `no source "nothing"`)
			contains(t, p.Code(2, "slots", "drop", "theirs", "--yes").Stderr, "none of Pintail's")
			require.Equal(t, mine, r.Slot(t), "still there")
			if s != nil {
				s.Same(r)
				s.Stop()
			}
		}

		// Of another file: it is in use there.
		other, _ := replica(t, url, "")
		theirs := other.Serve()
		followed(t, theirs, 2)
		var foreign string
		for _, sl := range slots(t, p) {
			if sl.Slot != mine {
				foreign = sl.Slot
				require.False(t, sl.Owned)
				require.Nil(t, sl.Dataset)
			}
		}
		require.NotEmpty(t, foreign)
		contains(t, p.OK("slots"), "another file's")
		harness.Eventually(t, 20*time.Second, "it is in use", func() bool { return slots(t, other)[0].Active || slots(t, other)[1].Active })
		contains(t, p.Code(2, "slots", "drop", foreign, "--yes").Stderr, "another Pintail follows it")
		theirs.Stop()
		pr := p.StartTerminal("slots", "drop", foreign)
		harness.Eventually(t, 20*time.Second, "it asks", func() bool { return strings.Contains(pr.Stderr(), "[y/N]") })
		pr.Type(t, "\n")
		res, ok := pr.Wait(20 * time.Second)
		require.True(t, ok)
		require.Equal(t, 130, res.Code, res)
		require.Len(t, slots(t, p), 2)
		contains(t, p.OK("slots", "drop", foreign, "--yes", "--source", "pg"), foreign)
		require.Equal(t, mine, r.Slot(t))

		// One's own, of a paused dataset: all is copied anew afterwards. Nothing is left on the source.
		s := p.Serve()
		followed(t, s, 2)
		s.JSON(http.StatusOK, http.MethodPost, "/api/store/datasets/shop/pause", nil, nil)
		contains(t, p.OK("slots"), "not followed")
		s.JSON(http.StatusOK, http.MethodDelete, "/api/store/slots/"+mine+"?source=pg", nil, nil)
		require.Empty(t, slots(t, p))
		require.Empty(t, r.Leftovers(t))
		s.Refused(http.StatusNotFound, http.MethodDelete, "/api/store/slots/"+mine, nil)
		harness.PG(t, url, "INSERT INTO orders VALUES (2000, 'unseen')")
		s.JSON(http.StatusOK, http.MethodPost, "/api/store/datasets/shop/resume", nil, nil)
		s.Same(r)
		// Or with force.
		p.OK("slots", "drop", r.Slot(t), "--yes", "--force")
		harness.PG(t, url, "INSERT INTO orders VALUES (2001, 'unseen')")
		s.Same(r)
	})
}

// A table that cannot be followed is set aside, told, and taken up again by retry: with a server and without.
func TestReplicaRetry(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, surfaceSQL)
		p, r := replica(t, url, ", out_of_range: stop")
		s := p.Serve()
		followed(t, s, 2)
		contains(t, p.OK("retry"), "nothing is in quarantine")
		contains(t, p.Code(1, "retry", "shop").Stderr, "nothing of dataset shop is in quarantine")
		contains(t, p.Code(1, "retry", "nothing").Stderr, `no dataset "nothing"`)
		aside := func(when string) {
			t.Helper()
			harness.PG(t, url, `INSERT INTO lines VALUES (500, 'NaN')`, `INSERT INTO orders VALUES (`+when+`, 'goes on')`)
			harness.Eventually(t, harness.ReplicaTimeout, "the table is set aside", func() bool {
				st := replicaStatuses(t, s)["shop.lines"]
				return st.State == "error" && st.Table.State == "error" && st.Table.Quarantined != nil
			})
			st := replicaStatuses(t, s)["shop.lines"]
			contains(t, *st.Table.Error, "price")
			contains(t, st.Hint, "pintail retry")
			harness.Eventually(t, harness.ReplicaTimeout, "the others go on", func() bool {
				return s.One("SELECT count(*) FROM shop.orders WHERE id = "+when) == "1"
			})
			require.Equal(t, "100", s.One("SELECT count(*) FROM shop.lines"), "it stays as it is")
			contains(t, p.OK("status"), "in quarantine", "price", "pintail retry")
			contains(t, p.OK("retry"), "shop.lines", "price")
			var res struct {
				Position map[string]struct{ Behind []string }
			}
			s.JSON(http.StatusOK, http.MethodPost, "/v0/sql", map[string]any{"sql": "SELECT count(*) FROM shop.lines, shop.orders"}, &res)
			require.Equal(t, []string{"shop.lines"}, res.Position["shop"].Behind)
			_, metrics := s.Do(http.MethodGet, "/metrics", nil)
			contains(t, string(metrics), `pintail_quarantined{dataset="shop"} 1`)
			contains(t, p.Code(1, "retry", "shop", "orders").Stderr, "not in quarantine", "shop.lines")
		}
		aside("600")
		// In vain as long as nothing was mended.
		contains(t, p.OK("retry", "shop"), "Table shop.lines is out of quarantine")
		harness.Eventually(t, harness.ReplicaTimeout, "it is set aside again", func() bool { return replicaStatuses(t, s)["shop.lines"].Table.Quarantined != nil })
		harness.PG(t, url, `UPDATE lines SET price = 5 WHERE id = 500`)
		contains(t, p.OK("retry", "shop", "public.lines"), "Table shop.lines")
		followed(t, s, 2)
		s.Same(r)
		contains(t, p.OK("retry"), "nothing is in quarantine")

		harness.PG(t, url, `DELETE FROM lines WHERE id = 500`)
		s.Same(r)
		aside("700")
		s.Stop()
		contains(t, p.OK("status"), "in quarantine", "pintail retry shop")
		harness.PG(t, url, `UPDATE lines SET price = 6 WHERE id = 500`)
		contains(t, p.OK("retry", "shop", "shop.lines"), "Table shop.lines")
		contains(t, p.OK("retry"), "nothing is in quarantine")
		s = p.Serve()
		followed(t, s, 2)
		s.Same(r)
	})
}
