package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// The writer's statements. $1 is a random number that the values come from, so that a seed of the generator decides
// everything but the times.
const (
	// five new messages
	newMessages = `
INSERT INTO messages (partner_id, direction, kind, external_id, amount, payload)
SELECT 1 + h % 12, 'inbound', kind, md5(h::text)::uuid, amount, message_payload(h, kind, amount)
FROM (SELECT h, (ARRAY['order.created', 'invoice.issued', 'stock.changed'])[1 + h % 3] AS kind, ((h / 7 % 100000) / 100.0)::numeric(12,2) AS amount
      FROM generate_series(1, 5) i, LATERAL (SELECT hashint8extended(i, $1) & 9223372036854775807 AS h) x) rows`

	// open messages are processed, fail, or are tried again
	settleMessages = `
UPDATE messages m SET status = s.status, attempts = attempts + 1, updated_at = now(),
       error = CASE WHEN s.status <> 'processed' THEN error_text(p.stack, s.h, now()) END
FROM (SELECT id, h, (CASE WHEN h % 10 < 7 THEN 'processed' WHEN h % 10 < 9 THEN 'failed' ELSE 'retrying' END)::message_status AS status
      FROM (SELECT id, hashint8extended(id, $1) & 9223372036854775807 AS h FROM messages
            WHERE status IN ('pending', 'retrying') ORDER BY id DESC LIMIT 6) newest) s, partners p
WHERE m.id = s.id AND p.id = m.partner_id`

	// a failed message is sent again and succeeds
	repairMessage = `
UPDATE messages SET status = 'processed', error = NULL, attempts = attempts + 1, updated_at = now()
WHERE id = (SELECT id FROM messages WHERE status = 'failed' AND id > $1 % (SELECT max(id) FROM messages) ORDER BY id LIMIT 1)`

	// traces without results, of the newest messages
	newTraces = `
INSERT INTO llm_traces (trace_id, message_id, "timestamp", prompt, completion, deployment_env, service_name, component_name, response_time_ms)
SELECT 'tr-' || md5(id || '/' || $1::bigint), id, now(), 'Classify this ' || kind || ' message of partner ' || partner_id,
       (ARRAY['on time', 'late', 'needs a person'])[1 + id % 3], 'production', 'classifier', 'intent', 100 + id % 900
FROM (SELECT id, kind, partner_id FROM messages ORDER BY id DESC LIMIT 2) newest`

	// results of older traces that had none: they arrive late
	lateResults = `
INSERT INTO llm_metric_results (trace_id, metric_name, metric_value, metric_category)
SELECT trace_id, 'faithfulness', round((($1 + id) % 10001) / 10000.0, 4), 'quality'
FROM llm_traces t
WHERE NOT EXISTS (SELECT FROM llm_metric_results r WHERE r.trace_id = t.trace_id)
ORDER BY id DESC OFFSET 3 LIMIT 4
ON CONFLICT DO NOTHING`

	// a message is deleted, which no watermark can tell
	deleteMessage = `
DELETE FROM messages WHERE id = (SELECT min(id) FROM messages WHERE id > $1 % (SELECT max(id) FROM messages))`
)

// Write keeps changing a seeded database, rate transactions a second, until ctx ends; then it returns nil. Now and
// then a transaction stays open for two seconds, so that its rows become visible later than younger ones.
func Write(ctx context.Context, url string, rate float64) error {
	if rate <= 0 {
		return fmt.Errorf("write %g transactions a second: the rate must be positive", rate)
	}
	late := make(chan error, 1)
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer stop()
		late <- onConn(ctx, url, writeLate)
	}()
	err := onConn(ctx, url, func(ctx context.Context, conn *pgx.Conn) error { return writeSteadily(ctx, conn, rate) })
	stop()
	return errors.Join(err, <-late)
}

// onConn runs fn on a connection of its own; the end of ctx is no error.
func onConn(ctx context.Context, url string, fn func(context.Context, *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err == nil {
		defer conn.Close(context.WithoutCancel(ctx))
		err = fn(ctx, conn)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// writeSteadily does one transaction a tick.
func writeSteadily(ctx context.Context, conn *pgx.Conn, rate float64) error {
	random := rand.New(rand.NewPCG(1, 2))
	tick := time.NewTicker(max(time.Duration(float64(time.Second)/rate), time.Microsecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		sql := newMessages
		switch n := random.IntN(100); {
		case n < 40:
		case n < 75:
			sql = settleMessages
		case n < 80:
			sql = repairMessage
		case n < 90:
			sql = newTraces
		case n < 98:
			sql = lateResults
		default:
			sql = deleteMessage
		}
		if _, err := conn.Exec(ctx, sql, random.Int64N(1<<40)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
}

// writeLate inserts under a now() that is two seconds old when the rows become visible.
func writeLate(ctx context.Context, conn *pgx.Conn) error {
	pause := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	for n := int64(1); ctx.Err() == nil; n++ {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, newMessages, n); err != nil {
				return err
			}
			pause(2 * time.Second)
			return nil
		})
		if err != nil {
			return fmt.Errorf("write late: %w", err)
		}
		pause(3 * time.Second)
	}
	return nil
}
