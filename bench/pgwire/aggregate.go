package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// grouping times an aggregate on both servers.
type grouping struct {
	name    string
	sql     string
	bound   float64 // 0: none
	servers []*server
	times   [2][]float64 // ms
	rows    int
}

func aggregates(servers []*server) []*grouping {
	return []*grouping{
		{name: "aggregate", bound: aggregateMin, servers: servers, sql: "SELECT partner_id, count(*), sum(amount) FROM " + rig.Table + " GROUP BY partner_id"},
		{name: "wider aggregate", servers: servers, sql: "SELECT partner_id, status, count(*), sum(amount), sum(id), max(updated_at) FROM " + rig.Table + " GROUP BY partner_id, status"},
	}
}

// again is how often the faster server answers in a round: its median counts.
const again = 5

func (g *grouping) once(ctx context.Context, b *rig.Bench, round int) error {
	var answers [2][]string
	var took [2]float64
	for i, s := range g.servers {
		c, err := pgx.Connect(ctx, s.url)
		if err != nil {
			return err
		}
		times := 1
		if s.own {
			times = again
		}
		var each []float64
		for range times {
			begun := time.Now()
			if answers[i], err = asText(ctx, c, g.sql); err != nil {
				return errors.Join(err, c.Close(ctx))
			}
			each = append(each, ms(time.Since(begun)))
		}
		took[i] = measure.Median(each)
		if err := c.Close(ctx); err != nil {
			return err
		}
	}
	slices.Sort(answers[0])
	slices.Sort(answers[1])
	if !slices.Equal(answers[0], answers[1]) {
		return fmt.Errorf("the servers answer differently: %d and %d rows, which begin with %.200q and %.200q", len(answers[0]), len(answers[1]), answers[0], answers[1])
	}
	g.rows = len(answers[0])
	b.Progress("round %d: %s of %d groups: PostgreSQL %.0f ms, pintail %.1f ms", round, g.name, g.rows, took[0], took[1])
	if round > 0 {
		g.times[0], g.times[1] = append(g.times[0], took[0]), append(g.times[1], took[1])
	}
	return nil
}

// asText reads an answer whose values stay text.
func asText(ctx context.Context, c *pgx.Conn, sql string) (rows []string, err error) {
	r := c.PgConn().Exec(ctx, "SET TimeZone = 'UTC'; "+sql)
	for r.NextResult() {
		rr := r.ResultReader()
		for rr.NextRow() {
			var line strings.Builder
			for _, v := range rr.Values() {
				line.Write(v)
				line.WriteByte('|')
			}
			rows = append(rows, line.String())
		}
		if _, err := rr.Close(); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return rows, r.Close()
}

func (g *grouping) summarise(b *rig.Bench) {
	ratios := measure.Ratios(g.times[0], g.times[1])
	b.Report.Add(g.name+", PostgreSQL", "ms", g.times[0])
	b.Report.Add(g.name+", pintail", "ms", g.times[1])
	b.Report.Add(g.name+", PostgreSQL / pintail: time", "×", ratios)
	if g.bound > 0 {
		b.Report.AtLeast(g.name+", how many times faster than PostgreSQL, median of the rounds' ratios", "×", g.bound, measure.Median(ratios))
	}
	b.Report.Note("%s: both servers gave the same %d groups in each round.", g.name, g.rows)
}
