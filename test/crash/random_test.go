package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/test/harness"
)

// seedEnv repeats a run of the random kills.
const seedEnv = "PINTAIL_TEST_SEED"

func seed(t *testing.T) uint64 {
	s := rand.Uint64()
	if text := os.Getenv(seedEnv); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s=%s: %v", seedEnv, text, err)
		}
		s = n
	}
	t.Logf("%s=%d repeats this choice of kills and writes", seedEnv, s)
	return s
}

const randomSchema = `
	CREATE TABLE traces (id text PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), prompt text, cost numeric(12,4));
	CREATE TABLE scores (trace_id text NOT NULL, metric text NOT NULL, score float8, created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (trace_id, metric));
	CREATE TABLE partners (id int PRIMARY KEY, name text);
	CREATE TABLE messages (id bigserial PRIMARY KEY, partner_id int, status text, payload jsonb, updated_at timestamptz NOT NULL DEFAULT now());
	CREATE TABLE events (id bigserial, what text, at timestamptz NOT NULL DEFAULT now());
	INSERT INTO traces (id, prompt) SELECT 'T' || g, 'prompt ' || g FROM generate_series(1, 2000) g;
	INSERT INTO scores (trace_id, metric, score) SELECT 'T' || g, m, g / 3.0 FROM generate_series(1, 2000) g, unnest(ARRAY['faithful', 'relevant']) m;
	INSERT INTO partners SELECT g, 'partner ' || g FROM generate_series(1, 40) g;
	INSERT INTO messages (partner_id, status) SELECT 1 + g % 40, 'done' FROM generate_series(1, 2000) g;
	INSERT INTO events (what) SELECT 'event ' || g % 11 FROM generate_series(1, 2000) g`

// randomDatasets reads each form as a superuser, who sees when transactions began, and as a role that may not.
const randomDatasets = `
datasets:
  split: {source: pg, dataset_query: "` + splitDataset + `", results_query: "` + splitResults + `", refresh: 300ms, reconcile: 2s,
    key: {dataset: [dataset_id], results: [dataset_id, metric]}, incremental_column: created_at, partition_column: created_at}
  queries: {source: plain, refresh: 500ms, queries: {messages: {sql: "SELECT id, partner_id, status, payload, updated_at FROM messages", key: [id], incremental_column: updated_at},
    partners: {sql: "SELECT id AS partner_id, name FROM partners"}}, view: "SELECT f.*, p.name FROM queries_messages f JOIN queries_partners p USING (partner_id)"}
  keyed: {source: plain, table: public.messages, key: [id], incremental_column: updated_at, refresh: 200ms, reconcile: 3s}
  keyless: {source: plain, table: public.events, incremental_column: id, refresh: 250ms}
  ties: {source: pg, table: public.events, incremental_column: at, refresh: 350ms}
  ties_plain: {source: plain, table: public.events, incremental_column: at, refresh: 400ms}
  whole: {source: pg, table: public.partners, refresh: 1s}
`

var randomObjects = []object{
	{"split_dataset", splitDataset, []string{"dataset_id"}},
	{"split_results", splitResults, []string{"dataset_id", "metric"}},
	{"split_data", splitView, nil},
	{"queries_messages", "SELECT * FROM messages", []string{"id"}},
	{"queries_partners", "SELECT id AS partner_id, name FROM partners", []string{"partner_id"}},
	{"queries", "SELECT m.*, p.name FROM messages m JOIN partners p ON p.id = m.partner_id", []string{"id"}},
	{"keyed", "SELECT * FROM messages", []string{"id"}},
	{"keyless", "SELECT * FROM events", []string{"id"}},
	{"ties", "SELECT * FROM events", []string{"id"}},
	{"ties_plain", "SELECT * FROM events", []string{"id"}},
	{"whole", "SELECT * FROM partners", []string{"id"}},
}

// seesDeletes are the objects whose rows the source deletes, which only a reconciliation finds.
var seesDeletes = map[string]bool{"split_dataset": true, "split_results": true, "split_data": true, "queries_messages": true, "queries": true, "keyed": true}

// invariants hold at every moment in every committed copy, as they do in the source; each counts what contradicts.
var invariants = []string{
	// A trace and its two scores are written and read together.
	`SELECT count(*) FROM (SELECT d.dataset_id FROM split_dataset d LEFT JOIN split_results r ON r.dataset_id = d.dataset_id GROUP BY 1 HAVING count(r.metric) <> 2)`,
	`SELECT count(*) - count(DISTINCT dataset_id) FROM split_dataset`,
	`SELECT count(*) - count(DISTINCT id) FROM keyed`,
	`SELECT count(*) - count(DISTINCT id) FROM queries_messages`,
	// Without a key nothing is doubled either.
	`SELECT count(*) - count(DISTINCT id) FROM keyless`,
	`SELECT count(*) - count(DISTINCT id) FROM ties`,
	`SELECT count(*) - count(DISTINCT id) FROM ties_plain`,
	`SELECT 40 - count(*) FROM whole`,
}

// The server is killed at random, again and again, while it syncs every form of dataset from a source that is written all
// the time. In the end every row is there, once.
func TestRandomKills(t *testing.T) {
	t.Parallel()
	kills := 20
	if long() {
		kills = 200
	}
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 0))
	pgURL := database(t)
	harness.PG(t, pgURL, randomSchema)
	p := harness.New(t)
	p.Write(strings.Replace(p.Head(pgURL), "sources:\n", fmt.Sprintf("sources:\n  plain: {url: %q}\n", unprivileged(t, pgURL)), 1) + randomDatasets)
	p.OK("sync")

	w := startWriter(t, pgURL, s)
	early := 0
	for n := range kills {
		if rng.IntN(5) == 0 { // before it answers, perhaps before it has the file
			early++
			pr := p.Start("serve")
			time.Sleep(time.Duration(rng.IntN(250)) * time.Millisecond)
			pr.Kill()
			continue
		}
		srv := p.ServeNow()
		for _, q := range invariants {
			if wrong := srv.One(q); wrong != "0" {
				t.Fatalf("after %d kills: %s is %s", n, q, wrong)
			}
		}
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		srv.Crash()
	}
	w.stop(t)
	t.Logf("%d kills, %d of them before the server answered; %s", kills, early, w)

	p.OK("sync")
	file := harness.File(p.DB)
	cut := file.One(t, "SELECT count(*) FROM _pintail.runs WHERE state = 'error' AND error LIKE 'interrupted%'")
	done := file.One(t, "SELECT count(*) FROM _pintail.runs WHERE state = 'ready'")
	t.Logf("%s runs were cut off, %s were done", cut, done)
	if n, _ := strconv.Atoi(cut); n < kills/4 {
		t.Errorf("only %s of %d kills cut off a run: the test does not test much", cut, kills)
	}
	// Before any repair nothing is missing, changed or doubled: only what the source deleted is still there.
	for _, o := range randomObjects {
		_, diffs, err := harness.Diff(t.Context(), pgURL, o.query, file, o.name, o.key...)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range diffs {
			if d.Kind != "extra" || !seesDeletes[o.name] {
				t.Errorf("%s: %s", o.name, d)
			}
		}
	}
	clean(t, p, "split_dataset", "split_results", "queries_messages", "queries_partners", "keyed", "keyless", "ties", "ties_plain", "whole")
	p.OK("verify", "--repair")
	same(t, pgURL, file, randomObjects)
	p.OK("verify")
}

// unprivileged is the database's URL for a role that may only read: it does not see when others' transactions began.
func unprivileged(t *testing.T, dbURL string) string {
	t.Helper()
	role := fmt.Sprintf("plain_%d", rand.Uint32())
	harness.PG(t, dbURL, "CREATE ROLE "+role+" LOGIN PASSWORD 'plain'", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+role,
		"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO "+role)
	t.Cleanup(func() { harness.PG(t, dbURL, "DROP OWNED BY "+role, "DROP ROLE "+role) })
	u, err := url.Parse(dbURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "plain")
	return u.String()
}

// writer writes to the source until it is stopped: one session without pause, and some whose transactions stay open for a
// while, so that they commit late.
type writer struct {
	url      string
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	next     atomic.Int64 // number of the next trace
	ops      atomic.Int64
	late     atomic.Int64
	deleted  atomic.Int64
	mu       sync.Mutex
	failures []error
}

const lateSessions = 5

func startWriter(t *testing.T, pgURL string, seed uint64) *writer {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writer{url: pgURL, cancel: cancel}
	t.Cleanup(func() { cancel(); w.wg.Wait() })
	w.wg.Go(func() { w.run(ctx, rand.New(rand.NewPCG(seed, 1)), w.quick) })
	for i := range lateSessions {
		w.wg.Go(func() { w.run(ctx, rand.New(rand.NewPCG(seed, uint64(2+i))), w.slow) })
	}
	return w
}

func (w *writer) run(ctx context.Context, rng *rand.Rand, work func(context.Context, *pgx.Conn, *rand.Rand) error) {
	conn, err := pgx.Connect(ctx, w.url)
	if err == nil {
		for err == nil && ctx.Err() == nil {
			err = work(context.WithoutCancel(ctx), conn, rng)
			var pg *pgconn.PgError
			if errors.As(err, &pg) && pg.Code == "40P01" {
				err = nil // two of the sessions met in a deadlock
			}
		}
		err = pgxClose(conn, err)
	}
	if err != nil && ctx.Err() == nil {
		w.mu.Lock()
		w.failures = append(w.failures, err)
		w.mu.Unlock()
	}
}

func pgxClose(conn *pgx.Conn, err error) error {
	if e := conn.Close(context.Background()); err == nil {
		err = e
	}
	return err
}

func (w *writer) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	w.wg.Wait()
	for _, err := range w.failures {
		t.Fatalf("the writer failed: %v", err)
	}
	if w.late.Load() == 0 || w.deleted.Load() == 0 {
		t.Errorf("the source was not written as it should have been: %s", w)
	}
}

func (w *writer) String() string {
	return fmt.Sprintf("%d statements, %d late commits, %d traces and messages deleted", w.ops.Load(), w.late.Load(), w.deleted.Load())
}

// quick runs one transaction.
func (w *writer) quick(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	for range 1 + rng.IntN(4) {
		if err := w.op(ctx, tx, rng, true); err != nil {
			_ = tx.Rollback(ctx)
			return err
		}
	}
	time.Sleep(time.Duration(rng.IntN(5)) * time.Millisecond)
	if rng.IntN(10) == 0 {
		return tx.Rollback(ctx)
	}
	return tx.Commit(ctx)
}

// slow fixes now() at its begin, writes later, and commits later still.
func (w *writer) slow(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error {
	wait := func() { time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond) }
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SELECT now()"); err != nil {
		_ = tx.Rollback(ctx)
		return err
	}
	wait()
	for range 1 + rng.IntN(3) {
		// It only inserts: locks on shared rows, held that long, would let nobody else work.
		if err := w.op(ctx, tx, rng, false); err != nil {
			_ = tx.Rollback(ctx)
			return err
		}
		wait()
	}
	if rng.IntN(10) == 0 {
		return tx.Rollback(ctx)
	}
	w.late.Add(1)
	return tx.Commit(ctx)
}

// op is one change. Events are only inserted: nothing but a key can follow more.
func (w *writer) op(ctx context.Context, tx pgx.Tx, rng *rand.Rand, all bool) error {
	kinds := 9
	if !all {
		kinds = 4
	}
	w.ops.Add(1)
	var sql string
	var args []any
	switch rng.IntN(kinds) {
	case 0:
		id := fmt.Sprintf("N%d", w.next.Add(1))
		if _, err := tx.Exec(ctx, "INSERT INTO traces (id, prompt) VALUES ($1, $2)", id, strings.Repeat("p", rng.IntN(50))); err != nil {
			return err
		}
		sql, args = "INSERT INTO scores (trace_id, metric, score) VALUES ($1, 'faithful', $2), ($1, 'relevant', $2)", []any{id, rng.Float64()}
	case 1, 2:
		sql, args = "INSERT INTO events (what) SELECT 'later' FROM generate_series(1, $1::int)", []any{1 + rng.IntN(5)}
	case 3:
		sql, args = "INSERT INTO messages (partner_id, status) VALUES ($1, 'new')", []any{1 + rng.IntN(40)}
	case 4:
		sql, args = "UPDATE messages SET status = $1, updated_at = now() WHERE id % 500 = $2", []any{fmt.Sprint("s", rng.IntN(100)), rng.IntN(500)}
	case 5:
		sql, args = "UPDATE traces SET prompt = $1, created_at = now() WHERE id = $2", []any{fmt.Sprint("changed ", rng.IntN(1000)), fmt.Sprintf("T%d", 1+rng.IntN(2000))}
	case 6:
		sql, args = "UPDATE partners SET name = $1 WHERE id = $2", []any{fmt.Sprint("partner ", rng.IntN(1000)), 1 + rng.IntN(40)}
	case 7:
		id := fmt.Sprintf("T%d", 1+rng.IntN(2000))
		tag, err := tx.Exec(ctx, "DELETE FROM traces WHERE id = $1", id)
		if err != nil {
			return err
		}
		w.deleted.Add(tag.RowsAffected())
		sql, args = "DELETE FROM scores WHERE trace_id = $1", []any{id}
	case 8:
		tag, err := tx.Exec(ctx, "DELETE FROM messages WHERE id = $1", 1+rng.IntN(2000))
		w.deleted.Add(tag.RowsAffected())
		return err
	}
	_, err := tx.Exec(ctx, sql, args...)
	return err
}
