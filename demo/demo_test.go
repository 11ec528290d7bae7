package demo

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func value[T any](t *testing.T, conn *pgx.Conn, sql string) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// digest covers every column that does not depend on when the seed ran.
const digest = `SELECT md5(string_agg(x, '|' ORDER BY x)) FROM (
	SELECT concat_ws(',', id, partner_id, direction, kind, external_id, status, attempts, amount, payload, updated_at - created_at,
		regexp_replace(error, '\d{4}-\d\d-\d\dT[0-9:.]+Z', '')) x FROM messages
	UNION ALL SELECT concat_ws(',', id, trace_id, message_id, prompt, completion, deployment_env, response_time_ms) FROM llm_traces
	UNION ALL SELECT concat_ws(',', id, trace_id, metric_name, metric_value, explanation) FROM llm_metric_results) rows`

func TestSeedIsRealisticAndRepeats(t *testing.T) {
	var digests []string
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		if err := Seed(t.Context(), url, 20_000); err != nil {
			t.Fatal(err)
		}
		conn := connect(t, url)
		digests = append(digests, value[string](t, conn, digest))
		if n := value[int](t, conn, "SELECT count(*)::int FROM messages"); n != 20_000 {
			t.Errorf("%d messages, want 20000", n)
		}
		for what, sql := range map[string]string{
			"every status occurs":          "SELECT count(DISTINCT status) = 5 FROM messages",
			"every partner sends":          "SELECT count(DISTINCT partner_id) = 12 FROM messages",
			"partners differ in volume":    "SELECT max(n) > 4 * min(n) FROM (SELECT count(*) n FROM messages GROUP BY partner_id) p",
			"one partner fails often":      "SELECT max(f) > 4 * min(f) FROM (SELECT avg((status <> 'processed')::int) f FROM messages GROUP BY partner_id) p",
			"failures have an error":       "SELECT bool_and((error IS NOT NULL) = (status IN ('failed', 'rejected', 'retrying'))) FROM messages",
			"no placeholder is left":       "SELECT count(*) = 0 FROM messages WHERE error ~ '\\{(id|uuid|ts|host)\\}'",
			"ids make equal errors differ": "SELECT count(DISTINCT error) > 500 FROM messages",
			"every template is used": `SELECT bool_and(EXISTS (SELECT FROM messages m JOIN partners p ON p.id = m.partner_id
				WHERE p.stack = e.stack AND error IS NOT NULL AND strpos(error, part) > 0)) FROM (SELECT stack, (
					SELECT part FROM regexp_split_to_table(template, '\{(id|uuid|ts|host)\}') part ORDER BY length(part) DESC LIMIT 1)
				FROM error_templates) e`,
			"errors have frames":            "SELECT avg((error ~ E'\\n')::int) > 0.5 FROM messages WHERE error IS NOT NULL",
			"times lie in the past":         "SELECT max(created_at) < now() AND min(created_at) > now() - interval '61 days' FROM messages",
			"the newest are minutes old":    "SELECT max(updated_at) > now() - interval '10 minutes' FROM messages",
			"some traces have no results":   "SELECT count(*) FILTER (WHERE r.trace_id IS NULL) BETWEEN 500 AND 700 FROM llm_traces t LEFT JOIN llm_metric_results r USING (trace_id)",
			"some results were not judged":  "SELECT count(*) > 0 FROM llm_metric_results WHERE metric_value IS NULL",
			"updated_at can be read by key": "SELECT count(*) = 1 FROM pg_indexes WHERE indexname = 'messages_updated_at'",
		} {
			if !value[bool](t, conn, sql) {
				t.Errorf("not so: %s", what)
			}
		}
	})
	for _, d := range digests[1:] {
		if d != digests[0] {
			t.Errorf("two seeds of one size differ: %v", digests)
		}
	}
}

func TestReaderMayOnlyRead(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	url := s.DB(t)
	if err := Seed(t.Context(), url, 100); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, strings.Replace(url, "postgres:"+pgtest.Password, "pintail:pintail", 1))
	if n := value[int](t, conn, "SELECT count(*)::int FROM messages"); n != 100 {
		t.Errorf("%d messages, want 100", n)
	}
	if _, err := conn.Exec(t.Context(), "DELETE FROM messages"); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("deleting gave %v, want 42501", err)
	}
	if err := Seed(t.Context(), s.DB(t), 0); err == nil {
		t.Error("seeded nothing without an error")
	}
}

func TestWriteDoesEveryKindOfChange(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		if err := Seed(t.Context(), url, 2_000); err != nil {
			t.Fatal(err)
		}
		conn := connect(t, url)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		done := make(chan error, 1)
		go func() { done <- Write(ctx, url, 100) }()
		missing := map[string]string{
			"insert":      "SELECT max(id) > 2000 FROM messages",
			"settle":      "SELECT count(*) > 0 FROM messages WHERE id > 2000 AND status = 'processed'",
			"fail":        "SELECT count(*) > 0 FROM messages WHERE id > 2000 AND status = 'failed' AND error IS NOT NULL",
			"delete":      "SELECT count(*) < 2000 FROM messages WHERE id <= 2000",
			"trace":       "SELECT max(id) > 500 FROM llm_traces",
			"late result": "SELECT count(*) > 0 FROM llm_metric_results r JOIN llm_traces t USING (trace_id) WHERE t.id % 9 = 0",
			"late commit": `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
				AND state = 'idle in transaction' AND clock_timestamp() - xact_start > interval '1 second'`,
		}
		for len(missing) > 0 {
			for what, sql := range missing {
				if value[bool](t, conn, sql) {
					delete(missing, what)
				}
			}
			select {
			case err := <-done:
				t.Fatalf("the writer ended with %v; missing: %v", err, missing)
			case <-time.After(20 * time.Millisecond):
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("the writer ended with %v", err)
		}
	})
}

func TestWriteReportsALostServer(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	url := s.DB(t)
	if err := Seed(t.Context(), url, 100); err != nil {
		t.Fatal(err)
	}
	name := url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
	done := make(chan error, 1)
	go func() { done <- Write(t.Context(), url, 50) }()
	admin := connect(t, s.URL("postgres"))
	for {
		n := value[int](t, admin, fmt.Sprintf("SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity WHERE datname = '%s'", name))
		if n > 0 {
			break
		}
	}
	select {
	case err := <-done:
		if err == nil {
			t.Error("the writer lost its connection and said nothing")
		}
	case <-time.After(10 * time.Second):
		t.Error("the writer goes on without its connection")
	}
}
