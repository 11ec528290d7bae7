package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/bench/internal/rig"
	"github.com/pintaildb/pintail/internal/pgtest"
)

const (
	clients   = 4
	fullSpeed = 5 * time.Second // to find out how much the machine does
)

// pgbench follows the tables that pgbench -i makes; its history gets a key.
func pgbench(ctx context.Context, b *rig.Bench) error {
	seeded, err := b.Make(ctx, fmt.Sprintf("pgbench_%d_v1", *scale),
		"CREATE TABLE pgbench_history (id bigserial PRIMARY KEY, tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))",
		"CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84)) WITH (fillfactor = 100)",
		"CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84)) WITH (fillfactor = 100)",
		"CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88)) WITH (fillfactor = 100)",
		fmt.Sprintf("INSERT INTO pgbench_branches SELECT i, 0, NULL FROM generate_series(1, %d) i", *scale),
		fmt.Sprintf("INSERT INTO pgbench_tellers SELECT i, (i - 1) / 10 + 1, 0, NULL FROM generate_series(1, 10 * %d) i", *scale),
		fmt.Sprintf("INSERT INTO pgbench_accounts SELECT i, (i - 1) / 100000 + 1, 0, '' FROM generate_series(1, 100000 * %d) i", *scale),
		probeTable, "VACUUM (FREEZE, ANALYZE)", "CHECKPOINT")
	if err != nil {
		return err
	}
	if rig.Client("pgbench") == "" {
		b.Report.Note("pgbench is not installed here: its transactions were run by this program.")
	}
	if *rate == 0 {
		if *rate, err = halfSpeed(ctx, b, seeded); err != nil {
			return err
		}
	}
	l := loaded{name: "pgbench", unit: "transactions",
		aggregate: "SELECT count(*)::varchar AS n FROM (SELECT bid, sum(abalance), max(aid) FROM pgbench_accounts GROUP BY bid)",
		same: []string{
			"SELECT count(*)::varchar AS n, sum(abalance)::varchar AS balance, sum(aid::bigint * (abalance % 1009))::varchar AS mixed FROM pgbench_accounts",
			"SELECT count(*)::varchar AS n, sum(tbalance)::varchar AS balance, sum(tid::bigint * (tbalance % 1009))::varchar AS mixed FROM pgbench_tellers",
			"SELECT count(*)::varchar AS n, sum(bbalance)::varchar AS balance FROM pgbench_branches",
			"SELECT count(*)::varchar AS n, sum(delta)::varchar AS delta, sum(id * (aid % 1009) + tid + bid)::varchar AS mixed FROM pgbench_history",
		}}
	l.load = func(ctx context.Context, db string) (float64, error) {
		return transactions(ctx, b, db, *rate, time.Duration(*seconds)*time.Second)
	}
	return l.run(ctx, b, seeded)
}

// halfSpeed is half of the rate that the machine reaches with nothing else to do.
func halfSpeed(ctx context.Context, b *rig.Bench, seeded string) (_ float64, err error) {
	db, drop, err := b.Source.Duplicate(ctx, seeded)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	full, err := transactions(ctx, b, db, 0, min(fullSpeed, time.Duration(*seconds)*time.Second))
	if err != nil {
		return 0, err
	}
	b.Report.Note("With nothing beside it, pgbench reached %.0f transactions a second.", full)
	return full / 2, nil
}

var tps = regexp.MustCompile(`tps = ([0-9.]+)`)

// transactions runs pgbench for so long at so many transactions a second, 0 is as many as it can, and returns how many there were.
func transactions(ctx context.Context, b *rig.Bench, db string, rate float64, long time.Duration) (float64, error) {
	path := rig.Client("pgbench")
	if path == "" {
		return own(ctx, b, db, rate, long)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	args := []string{"-h", b.Source.Dir, "-p", strconv.Itoa(b.Source.Port), "-U", "postgres", "-n", "-c", strconv.Itoa(clients), "-T", strconv.Itoa(max(1, int(long.Seconds())))}
	if rate > 0 {
		args = append(args, "-R", strconv.FormatFloat(rate, 'f', 2, 64))
	}
	// Its own time ends it, when the caller's comes to the same moment.
	cmd := exec.Command(path, append(args, db)...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	p, err := pgtest.StartBound(cmd, syscall.SIGTERM)
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", cmd, err)
	}
	<-p.Done
	if err := p.Err(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", cmd, err, stderr.Bytes())
	}
	m := tps.FindSubmatch(out.Bytes())
	if m == nil {
		return 0, fmt.Errorf("pgbench printed %q", out.Bytes())
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// own runs what pgbench does by itself.
func own(ctx context.Context, b *rig.Bench, db string, rate float64, long time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	var done atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, clients)
	begin := time.Now()
	for i := range errs {
		all.Go(func() {
			errs[i] = client(ctx, b.Source.SocketURL(db), rand.New(rand.NewPCG(7, uint64(i))), rate/clients, &done)
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(begin).Seconds(), errors.Join(errs...)
}

func client(ctx context.Context, url string, rng *rand.Rand, rate float64, done *atomic.Int64) error {
	whole := context.WithoutCancel(ctx)
	c, err := pgx.Connect(whole, url)
	if err != nil {
		return err
	}
	defer c.Close(whole)
	begin := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		if rate > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Until(begin.Add(time.Duration(float64(n) / rate * float64(time.Second))))):
			}
		}
		aid, bid, tid, delta := 1+rng.IntN(100000**scale), 1+rng.IntN(*scale), 1+rng.IntN(10**scale), rng.IntN(10001)-5000
		tx, err := c.Begin(whole)
		if err != nil {
			return err
		}
		for _, s := range []struct {
			sql  string
			args []any
		}{
			{"UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2", []any{delta, aid}},
			{"SELECT abalance FROM pgbench_accounts WHERE aid = $1", []any{aid}},
			{"UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2", []any{delta, tid}},
			{"UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2", []any{delta, bid}},
			{"INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)", []any{tid, bid, aid, delta}},
		} {
			if _, err := tx.Exec(whole, s.sql, s.args...); err != nil {
				return err
			}
		}
		if err := tx.Commit(whole); err != nil {
			return err
		}
		done.Add(1)
	}
	return nil
}
