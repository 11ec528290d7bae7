package harness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// LoadSQL makes the tables that a Load writes: a foreign key, composite keys, odd names, large values, partitions whose columns
// stand in another order, and accounts whose sum never changes.
const LoadSQL = `
	CREATE TABLE orders (id bigint PRIMARY KEY, customer int, status text, amount numeric(12,2), note text, at timestamptz NOT NULL DEFAULT now());
	CREATE TABLE lines (order_id bigint NOT NULL REFERENCES orders, n int, sku text, qty int, PRIMARY KEY (order_id, n));
	CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
	CREATE TABLE "Odd ""names"".t" ("b.c" int, v jsonb, "Key A" text, PRIMARY KEY ("Key A", "b.c"));
	CREATE TABLE docs (id int PRIMARY KEY, small int, big text, bytes bytea);
	ALTER TABLE docs ALTER big SET STORAGE EXTERNAL, ALTER bytes SET STORAGE EXTERNAL;
	CREATE TABLE parts (id int, region int, what text, PRIMARY KEY (id, region)) PARTITION BY RANGE (region);
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
	CREATE TABLE parts_2 (what text, gone int, region int NOT NULL, id int NOT NULL);
	ALTER TABLE parts_2 DROP gone;
	ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20);
	CREATE TABLE scratch (id int PRIMARY KEY, v text);
	INSERT INTO orders SELECT g, g % 50, 'new', g * 1.25, 'note ' || g FROM generate_series(1, 1000) g;
	INSERT INTO lines SELECT g, n, 'sku' || n, g % 7 FROM generate_series(1, 1000) g, generate_series(1, 2) n;
	INSERT INTO accounts SELECT g, 1000 FROM generate_series(1, 100) g;
	INSERT INTO "Odd ""names"".t" SELECT g, jsonb_build_object('g', g), 'K' || g % 3 FROM generate_series(1, 200) g;
	INSERT INTO docs SELECT g, g, repeat('big ' || g || ' ', 1000), decode(repeat(md5(g::text), 200), 'hex') FROM generate_series(1, 60) g;
	INSERT INTO parts SELECT g, g % 20, 'part ' || g FROM generate_series(1, 400) g;
	INSERT INTO scratch SELECT g, 's' FROM generate_series(1, 20) g`

// LoadInvariants hold at every moment in a source that a Load writes, and so in every committed state of its copy in
// schema %s; each is a statement that counts what contradicts.
var LoadInvariants = []string{
	`SELECT count(*) FROM %[1]s.lines l ANTI JOIN %[1]s.orders o ON o.id = l.order_id`,
	`SELECT count(*) FROM (SELECT o.id FROM %[1]s.orders o LEFT JOIN %[1]s.lines l ON l.order_id = o.id GROUP BY 1 HAVING count(l.n) <> 2)`,
	`SELECT (SELECT sum(balance) FROM %[1]s.accounts) - 100000`,
	`SELECT count(*) - count(DISTINCT id) FROM %[1]s.orders`,
	`SELECT count(*) - count(DISTINCT id) FROM %[1]s.docs`,
	`SELECT count(*) - count(DISTINCT (id, region)) FROM %[1]s.parts`,
}

// Load writes to a source until it is stopped: several sessions, whose transactions overlap.
type Load struct {
	url      string
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	next     atomic.Int64 // id of the next order
	commits  atomic.Int64
	aborts   atomic.Int64
	patient  bool
	mu       sync.Mutex
	failures []error
}

// StartLoad begins to write with so many sessions; the same seed gives each the same choices.
func StartLoad(t testing.TB, url string, seed uint64, sessions int) *Load {
	l := newLoad(t, url)
	l.start(seed, sessions)
	return l
}

// StartPatientLoad is StartLoad for a source that comes and goes: its sessions connect again.
func StartPatientLoad(t testing.TB, url string, seed uint64, sessions int) *Load {
	l := newLoad(t, url)
	l.patient = true
	l.start(seed, sessions)
	return l
}

func newLoad(t testing.TB, url string) *Load {
	l := &Load{url: url}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var last int64
	if err := conn.QueryRow(t.Context(), "SELECT coalesce(max(id), 0) FROM orders").Scan(&last); err != nil {
		t.Fatal(err)
	}
	l.next.Store(max(last, 1_000_000))
	t.Cleanup(func() {
		if l.cancel != nil {
			l.cancel()
			l.wg.Wait()
		}
	})
	return l
}

func (l *Load) start(seed uint64, sessions int) {
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	for i := range sessions {
		l.wg.Go(func() { l.session(ctx, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
}

// Transactions is how many have committed so far.
func (l *Load) Transactions() int64 { return l.commits.Load() }

func (l *Load) String() string {
	return fmt.Sprintf("%d transactions, %d rolled back", l.commits.Load(), l.aborts.Load())
}

// Stop ends the sessions once something has committed. One that failed fails the test.
func (l *Load) Stop(t testing.TB) {
	t.Helper()
	Eventually(t, time.Minute, "the load has committed something", func() bool { return l.commits.Load() > 0 || l.failed() != nil })
	l.cancel()
	l.wg.Wait()
	if err := l.failed(); err != nil {
		t.Fatalf("the load failed: %v", err)
	}
}

// failed is why a session has ended before its time, or nil.
func (l *Load) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.failures...)
}

func (l *Load) session(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		err := l.write(ctx, rng)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !l.patient {
			l.mu.Lock()
			l.failures = append(l.failures, err)
			l.mu.Unlock()
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond): // the source is away
		}
	}
}

func (l *Load) write(ctx context.Context, rng *rand.Rand) error {
	conn, err := pgx.Connect(ctx, l.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for ctx.Err() == nil {
		err := l.transaction(context.WithoutCancel(ctx), conn, rng)
		var pg *pgconn.PgError
		switch {
		case err == nil:
		case errors.As(err, &pg) && (pg.Code == "40P01" || pg.Code == "40001" || pg.Code == "23505" || pg.Code == "23503"):
			l.aborts.Add(1) // two sessions met
		default:
			return err
		}
		time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond)
	}
	return nil
}

// transaction runs one of a few statements, some of them in a part that is rolled back.
func (l *Load) transaction(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // of what is not committed
	for range 1 + rng.IntN(4) {
		if rng.IntN(6) > 0 {
			if err := l.statement(ctx, tx, rng); err != nil {
				return err
			}
			continue
		}
		part, err := tx.Begin(ctx)
		if err != nil {
			return err
		}
		if err := l.statement(ctx, part, rng); err != nil {
			return err
		}
		if rng.IntN(2) == 0 {
			err = part.Rollback(ctx)
		} else {
			err = part.Commit(ctx)
		}
		if err != nil {
			return err
		}
	}
	if rng.IntN(8) == 0 {
		l.aborts.Add(1)
		return tx.Rollback(ctx)
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	l.commits.Add(1)
	return nil
}

func (l *Load) statement(ctx context.Context, tx pgx.Tx, rng *rand.Rand) error {
	run := func(sql string, args ...any) error {
		_, err := tx.Exec(ctx, sql, args...)
		return err
	}
	both := func(first, second string, args ...any) error {
		if err := run(first, args...); err != nil {
			return err
		}
		return run(second, args...)
	}
	some := 1 + rng.IntN(1000)
	switch rng.IntN(17) {
	case 0, 1, 2:
		id := l.next.Add(1)
		if err := run("INSERT INTO orders VALUES ($1::bigint, $1::bigint % 50, 'new', $2::int / 100.0, $3)", id, rng.IntN(1e6), strings.Repeat("n", rng.IntN(40))); err != nil {
			return err
		}
		return run("INSERT INTO lines VALUES ($1, 1, 'first', $2), ($1, 2, 'second', $2)", id, some)
	case 3:
		return run("UPDATE orders SET status = $1, at = now() WHERE customer = $2 AND id < 100000", fmt.Sprint("s", some), some%50)
	case 4:
		return run("UPDATE orders SET amount = amount + 0.01 WHERE id = $1", some)
	case 5:
		return both("DELETE FROM lines WHERE order_id = $1", "DELETE FROM orders WHERE id = $1", some)
	case 6:
		a, b := 1+rng.IntN(100), 1+rng.IntN(100)
		if err := run("UPDATE accounts SET balance = balance - $1 WHERE id = $2", some, a); err != nil {
			return err
		}
		return run("UPDATE accounts SET balance = balance + $1 WHERE id = $2", some, b)
	case 7: // a key moves; where large values are not sent with it, seldom, because the table may be copied anew then
		if rng.IntN(20) > 0 {
			return run("UPDATE scratch SET id = $1 WHERE id = $2 AND NOT EXISTS (SELECT FROM scratch WHERE id = $1)", some, 1+rng.IntN(1000))
		}
		return run("UPDATE docs SET id = $1 WHERE id = $2 AND NOT EXISTS (SELECT FROM docs WHERE id = $1)", 1+rng.IntN(200), 1+rng.IntN(200))
	case 8: // the large values are not sent
		return run("UPDATE docs SET small = $1 WHERE id % 10 = $2", some, some%10)
	case 9:
		return run("UPDATE docs SET big = repeat($1::text, 700) WHERE id = $2", fmt.Sprint("changed ", some), 1+rng.IntN(200))
	case 10: // one key goes and comes back
		if err := run("DELETE FROM docs WHERE id = $1", 1+some%60); err != nil {
			return err
		}
		return run("INSERT INTO docs VALUES ($1, $2, repeat('again ', 900), NULL) ON CONFLICT (id) DO UPDATE SET small = -1", 1+some%60, some)
	case 11:
		return run("UPDATE parts SET region = $1 WHERE id = $2", rng.IntN(20), 1+rng.IntN(400))
	case 12:
		return run("INSERT INTO parts VALUES ($1, $2, 'put') ON CONFLICT (id, region) DO UPDATE SET what = parts.what || '+'", some, some%20)
	case 13:
		return run(`UPDATE "Odd ""names"".t" SET v = v || jsonb_build_object('n', $1::int) WHERE "b.c" = $2`, some, 1+some%200)
	case 14:
		if rng.IntN(50) > 0 {
			return run("INSERT INTO scratch VALUES ($1, 'put') ON CONFLICT (id) DO UPDATE SET v = scratch.v || '.'", some)
		}
		return both("TRUNCATE scratch", "INSERT INTO scratch SELECT g, 'after' FROM generate_series(1, 20) g")
	case 15:
		return run(`DELETE FROM "Odd ""names"".t" WHERE "b.c" = $1`, 1+some%200)
	}
	if rng.IntN(5) > 0 {
		return run(`INSERT INTO "Odd ""names"".t" VALUES ($1, '{}', 'put') ON CONFLICT DO NOTHING`, 1+some%200)
	}
	// More than logical_decoding_work_mem may be: some servers send it before it commits.
	first := l.next.Add(300) - 299
	return both("INSERT INTO orders SELECT g, g % 50, 'bulk', 1, repeat('b', 200) FROM generate_series($1::bigint, $1 + 299) g",
		"INSERT INTO lines SELECT g, n, 'bulk', n FROM generate_series($1::bigint, $1 + 299) g, generate_series(1, 2) n", first)
}
