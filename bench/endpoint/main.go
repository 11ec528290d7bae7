// Command endpoint takes how many point queries a published endpoint answers, and how fast, with and without a sync beside it.
//
//	make bench NAME=endpoint
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// Bounds: how much longer the slowest hundredth of the answers takes beside a sync, and how much longer the sync.
const (
	slowerMax = 2
	syncMax   = 1.5
)

const about = "Inside a running `pintail serve`: connections that are kept open ask `GET /v0/endpoints/point.json?id=` for one row of the table by its key, one request after the other, as " +
	"fast as answers come; the clients run on the same cores. \"Uncached\": ids from the whole table, the statement runs each time. \"Cached\": the same with `cache: 1h` and ids of 1,000 rows. \"With a sync\": full " +
	"syncs of the table run meanwhile, one after the other, and the requests go on until one of them has ended; its time is held against that of a full sync alone. Every answer is looked at."

var (
	seconds     = flag.Float64("seconds", 10, "how long each part lasts at least")
	connections = flag.Int("connections", 64, "connections that ask")
)

const statement = "-- parameters: [{name: id, type: integer, required: true}]\nSELECT id, partner_id, status, amount FROM " + rig.Table + " WHERE id = $id\n"

func main() {
	rig.Main(rig.Spec{Name: "endpoint", Title: "point queries of an endpoint", About: about, Rows: 5_000_000, Rounds: 5, Run: run})
}

func run(ctx context.Context, b *rig.Bench) (err error) {
	db, err := b.Database(ctx, b.Rows)
	if err != nil {
		return err
	}
	listen, err := rig.FreeAddress()
	if err != nil {
		return err
	}
	c, err := b.NewCopy("copy", rig.CopyOptions{URL: b.Source.URL(db), Listen: listen,
		Endpoints: map[string]string{"point.sql": statement, "cached.sql": "-- cache: 1h\n" + statement}})
	if err != nil {
		return err
	}
	s, err := c.Serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	b.Progress("first sync")
	if _, err := s.Sync(ctx, true); err != nil {
		return err
	}
	m := &meter{b: b, s: s, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: *connections}}}
	defer m.client.CloseIdleConnections()
	parts := []*part{{name: "uncached", path: "point", ids: b.Rows}, {name: "cached", path: "cached", ids: 1000},
		{name: "uncached, with a sync", path: "point", ids: b.Rows, beside: true}, {name: "cached, with a sync", path: "cached", ids: 1000, beside: true}}
	var alone []float64
	for round := range b.Rounds {
		begin := time.Now()
		if _, err := s.Sync(ctx, true); err != nil {
			return err
		}
		alone = append(alone, time.Since(begin).Seconds())
		for _, p := range parts {
			if err := m.take(ctx, p); err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, p.name, err)
			}
		}
	}
	r := b.Report
	for _, p := range parts {
		r.Add(p.name+": p50", "ms", p.p50)
		r.Add("… p99", "ms", p.p99)
		r.Add("… answers", "1/s", p.rate)
		if p.beside {
			r.Add("… the sync", "s", p.sync)
			r.Add("… by how much longer than alone", "", measure.Ratios(p.sync, alone))
		}
	}
	r.Add("a full sync alone", "s", alone)
	for i, name := range []string{"uncached", "cached"} {
		with, without := parts[i+2], parts[i]
		r.AtMost(name+": p99 with a sync, of that without, median", "", slowerMax, measure.Median(measure.Ratios(with.p99, without.p99)))
		r.AtMost(name+": the sync beside it, of that alone, median", "", syncMax, measure.Median(measure.Ratios(with.sync, alone)))
	}
	r.Note("%d connections; every answer had the row that was asked for.", *connections)
	return nil
}

// part is one of the four things measured, with its rounds' results.
type part struct {
	name, path     string
	ids            int
	beside         bool // a sync
	p50, p99, rate []float64
	sync           []float64
}

type meter struct {
	b      *rig.Bench
	s      *rig.Server
	client *http.Client
}

// take asks for as long as a part lasts.
func (m *meter) take(ctx context.Context, p *part) error {
	enough := make(chan struct{})
	g, gctx := errgroup.WithContext(ctx)
	begin := time.Now()
	g.Go(func() error {
		defer close(enough)
		for time.Since(begin).Seconds() < *seconds {
			if !p.beside {
				select {
				case <-gctx.Done():
					return context.Cause(gctx)
				case <-time.After(time.Duration(*seconds * float64(time.Second))):
				}
				continue
			}
			at := time.Now()
			if _, err := m.s.Sync(gctx, true); err != nil {
				return err
			}
			if len(p.sync) < len(p.p50)+1 { // the first of the round
				p.sync = append(p.sync, time.Since(at).Seconds())
			}
		}
		return nil
	})
	times := make([][]float64, *connections)
	for i := range times {
		g.Go(func() error {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(len(p.p50))))
			for {
				select {
				case <-enough:
					return nil
				default:
				}
				at := time.Now()
				if err := m.ask(gctx, p.path, 1+rng.IntN(p.ids)); err != nil {
					return err
				}
				times[i] = append(times[i], float64(time.Since(at).Microseconds())/1000)
			}
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var all []float64
	for _, t := range times {
		all = append(all, t...)
	}
	p.p50 = append(p.p50, measure.Quantile(all, 0.5))
	p.p99 = append(p.p99, measure.Quantile(all, 0.99))
	p.rate = append(p.rate, float64(len(all))/time.Since(begin).Seconds())
	m.b.Progress("%s: %d answers, p50 %.2f ms, p99 %.2f ms", p.name, len(all), p.p50[len(p.p50)-1], p.p99[len(p.p99)-1])
	return nil
}

func (m *meter) ask(ctx context.Context, path string, id int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/v0/endpoints/%s.json?id=%d", m.s.URL(), path, id), nil)
	if err != nil {
		return err
	}
	res, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || !strings.Contains(string(body), fmt.Sprintf("\n[%d,", id)) || !strings.Contains(string(body), `"row_count":1,`) {
		return fmt.Errorf("the answer for %d is %s: %.500s", id, res.Status, body)
	}
	return nil
}
