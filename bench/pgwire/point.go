package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/query/pgsql"
	"github.com/pintaildb/pintail/serve/pgwire"
	"github.com/pintaildb/pintail/store"
)

var point = "SELECT id, partner_id, status, score FROM " + rig.Table + " WHERE id = $1"

// pointsAtOnce is how many one side asks before the other does.
const pointsAtOnce = 200

// pointQueries compares pgx's with those that the server's process runs without the protocol.
func pointQueries(ctx context.Context, b *rig.Bench, db string, c *rig.Copy) (err error) {
	s, err := rig.StartChild(ctx, c.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	conn, err := pgx.Connect(ctx, rig.PGURL(s.Address, c.File))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	source, err := pgx.Connect(ctx, b.Source.URL(db))
	if err != nil {
		return err
	}
	defer source.Close(ctx)
	rng := rand.New(rand.NewPCG(1, 2))
	asked := []*asking{
		{name: "point query by pgx, pintail", ask: func() ([]float64, error) { return askPoints(ctx, conn, rng, b.Rows) }},
		{name: "point query in pintail's process", ask: func() ([]float64, error) { return askInside(s, b.Rows) }},
		{name: "point query by pgx, PostgreSQL", ask: func() ([]float64, error) { return askPoints(ctx, source, rng, b.Rows) }},
		{name: "empty statement by pgx, pintail", ask: func() ([]float64, error) { return askNothing(ctx, conn) }},
	}
	for round := range b.Rounds + 1 {
		times := make([][]float64, len(asked))
		for len(times[0]) < *points {
			for i, a := range asked {
				more, err := a.ask()
				if err != nil {
					return fmt.Errorf("%s: %w", a.name, err)
				}
				times[i] = append(times[i], more...)
			}
		}
		for i, a := range asked {
			p50, p99 := measure.Quantile(times[i], 0.5), measure.Quantile(times[i], 0.99)
			b.Progress("round %d: %-32s p50 %.3f ms, p99 %.3f ms", round, a.name, p50, p99)
			if round > 0 {
				a.p50, a.p99 = append(a.p50, p50), append(a.p99, p99)
			}
		}
	}
	r := b.Report
	for _, a := range asked {
		r.Add(a.name+": p50", "ms", a.p50)
		r.Add("… p99", "ms", a.p99)
	}
	var added []float64
	for i := range asked[0].p50 {
		added = append(added, asked[0].p50[i]-asked[1].p50[i])
	}
	r.AtMost("what the protocol adds to a prepared point query, median of the rounds' differences of p50", "ms", overheadMax, measure.Median(added))
	r.Note("%d point queries of each kind in a round; every answer had the row that was asked for.", (*points+pointsAtOnce-1)/pointsAtOnce*pointsAtOnce)
	return nil
}

// asking is one way to ask, with its rounds' results.
type asking struct {
	name     string
	ask      func() (ms []float64, err error)
	p50, p99 []float64
}

func askNothing(ctx context.Context, c *pgx.Conn) (times []float64, err error) {
	for range pointsAtOnce {
		begun := time.Now()
		if err := c.Ping(ctx); err != nil {
			return nil, err
		}
		times = append(times, float64(time.Since(begun).Nanoseconds())/1e6)
	}
	return times, nil
}

func askPoints(ctx context.Context, c *pgx.Conn, rng *rand.Rand, rows int) (times []float64, err error) {
	for range pointsAtOnce {
		id := 1 + rng.Int64N(int64(rows))
		var got int64
		var partner int32
		var status string
		var score float64
		begun := time.Now()
		if err := c.QueryRow(ctx, point, id).Scan(&got, &partner, &status, &score); err != nil {
			return nil, err
		}
		times = append(times, float64(time.Since(begun).Nanoseconds())/1e6)
		if got != id || int64(partner) != id*7919%1000 {
			return nil, fmt.Errorf("the answer for %d is of %d", id, got)
		}
	}
	return times, nil
}

func askInside(s *rig.Child, rows int) (times []float64, err error) {
	answer, err := s.Ask(fmt.Sprintf("points %d", rows))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(answer), &times); err != nil {
		return nil, fmt.Errorf("the server's process answered %.200q: %w", answer, err)
	}
	return times, nil
}

// serve is the server's process for the point queries.
func serve(file string, in io.Reader, out io.Writer) (err error) {
	ctx := context.Background()
	st, err := store.Open(ctx, store.Options{Path: file})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close(ctx)) }()
	acc, err := access.New(access.Config{Catalog: st.Catalog(), Clients: st}, nil, nil)
	if err != nil {
		return err
	}
	core := query.New(st, acc, query.Options{})
	translator, err := pgsql.New(ctx, pgsql.Options{Store: st, Access: acc})
	if err != nil {
		return err
	}
	s, err := pgwire.New(pgwire.Options{Listen: "127.0.0.1:0", Access: acc, Core: core, Database: st.Catalog(), Translate: translator.Translate})
	if err != nil {
		return err
	}
	if err := s.Listen(ctx); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()
	prepared, err := core.Session("bench", access.Local(), store.Settings{Postgres: true}).Prepare(ctx, point)
	if err != nil {
		return err
	}
	defer prepared.Close()
	fmt.Fprintln(out, s.Addr())
	rng := rand.New(rand.NewPCG(3, 4))
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var rows int64
		if _, err := fmt.Sscanf(lines.Text(), "points %d", &rows); err != nil {
			return fmt.Errorf("asked for %q: %w", lines.Text(), err)
		}
		times, err := pointsHere(ctx, prepared, rng, rows)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(times); err != nil {
			return err
		}
	}
	return lines.Err()
}

func pointsHere(ctx context.Context, st *query.Statement, rng *rand.Rand, rows int64) (times []float64, err error) {
	for range pointsAtOnce {
		id := 1 + rng.Int64N(rows)
		begun := time.Now()
		res, err := st.Run(ctx, query.Request{Params: []any{id}})
		if err != nil {
			return nil, err
		}
		n := 0
		for {
			chunk, rows, err := res.Next()
			if err != nil {
				res.Close()
				return nil, err
			}
			if chunk == nil {
				break
			}
			n += rows
		}
		res.Close()
		times = append(times, float64(time.Since(begun).Nanoseconds())/1e6)
		if n != 1 {
			return nil, fmt.Errorf("%d rows for %d", n, id)
		}
	}
	return times, nil
}
