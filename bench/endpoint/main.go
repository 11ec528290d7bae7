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
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
	"github.com/pintaildb/pintail/internal/fault"
)

// Bounds: how much longer the slowest hundredth of the answers takes beside a sync, and how much longer the sync.
const (
	slowerMax = 2
	syncMax   = 1.5
)

const about = "Inside a running `pintail serve`: kept-open connections ask `GET /v0/endpoints/point.json?id=` for one row of the table by its key; the clients and the source " +
	"run on the same cores. \"Uncached\": ids from the whole table, the statement runs each time. \"Cached\": the same with `cache: 1h` and ids of 1,000 rows. \"Flat out\": one request after the " +
	"other on each connection, as fast as answers come. \"At a rate\": requests are sent at fixed times, whatever the answers do, and a time counts from when a request was due, " +
	"without what the client's timer was late; the rate is a part of what the same answers reached flat out, before the rounds. \"With a sync\": full syncs of the table run meanwhile, one after the other, and the requests go on " +
	"until one of them has ended; its time is held against that of a full sync alone. Every answer is looked at. A full sync alone takes all of two cores: what the requests take, it cannot have, " +
	"so flat out only says how the two share, and the bounds are for the rate."

var (
	seconds     = flag.Float64("seconds", 10, "how long each part lasts at least")
	connections = flag.Int("connections", 64, "connections that ask")
	share       = flag.Float64("share", 0.25, "the rate, of the answers a second that are reached flat out")
	fixed       = flag.String("rate", "", "the `rates` themselves, uncached and cached, as in 500,4000: no part is run flat out, so that two binaries can be compared")
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
	var parts []*part
	for _, beside := range []bool{false, true} {
		for _, mode := range []string{flatOut, atRate} {
			if *fixed != "" && mode == flatOut {
				continue
			}
			parts = append(parts, &part{name: "uncached", mode: mode, path: "point", ids: b.Rows, beside: beside}, &part{name: "cached", mode: mode, path: "cached", ids: 1000, beside: beside})
		}
	}
	if err := m.rates(ctx, parts); err != nil {
		return err
	}
	var alone []float64
	for round := range b.Rounds {
		begin := time.Now()
		if _, err := s.Sync(ctx, true); err != nil {
			return err
		}
		alone = append(alone, time.Since(begin).Seconds())
		b.Progress("round %d: a full sync alone %.2f s", round+1, alone[round])
		for _, p := range parts {
			if err := m.take(ctx, p); err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, p, err)
			}
		}
	}
	r := b.Report
	for _, p := range parts {
		r.Add(p.String()+": p50", "ms", p.p50)
		r.Add("… p99", "ms", p.p99)
		r.Add("… answers", "1/s", p.rate)
		if p.beside {
			r.Add("… the sync", "s", p.sync)
			r.Add("… by how much longer than alone", "", measure.Ratios(p.sync, alone))
		}
	}
	r.Add("a full sync alone", "s", alone)
	for i, without := range parts[:len(parts)/2] {
		with := parts[len(parts)/2+i]
		slower, longer := measure.Ratios(with.p99, without.p99), measure.Ratios(with.sync, alone)
		r.Add(without.String()+": p99 with a sync, of that without", "", slower)
		if without.mode == atRate {
			r.AtMost(without.String()+": p99 with a sync, of that without, median", "", slowerMax, measure.Median(slower))
			r.AtMost(without.String()+": the sync beside it, of that alone, median", "", syncMax, measure.Median(longer))
			r.Note("%s: %.0f requests a second.", without, without.perSecond)
		}
	}
	r.Note("%d connections; every answer had the row that was asked for.", *connections)
	return nil
}

const (
	flatOut = "flat out"
	atRate  = "at a rate"
)

// part is one of the things measured, with its rounds' results.
type part struct {
	name, mode     string
	path           string
	perSecond      float64 // at a rate: the requests
	ids            int
	beside         bool // a sync
	p50, p99, rate []float64
	sync           []float64
}

func (p *part) String() string {
	if p.beside {
		return p.name + ", " + p.mode + ", with a sync"
	}
	return p.name + ", " + p.mode
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
	var sent atomic.Int64
	for i := range times {
		g.Go(func() error {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(len(p.p50))))
			for {
				var due time.Time
				if p.mode == atRate {
					due = begin.Add(time.Duration(float64(sent.Add(1)) / p.perSecond * float64(time.Second)))
				}
				late := awaitDue(due, enough)
				select {
				case <-enough:
					return nil
				default:
				}
				at := time.Now().Add(-late)
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
	if len(all) == 0 {
		return errors.New("no request was answered")
	}
	p.p50 = append(p.p50, measure.Quantile(all, 0.5))
	p.p99 = append(p.p99, measure.Quantile(all, 0.99))
	p.rate = append(p.rate, float64(len(all))/time.Since(begin).Seconds())
	last := len(p.p50) - 1
	m.b.Progress("%s: %.0f answers a second, p50 %.2f ms, p99 %.2f ms", p, p.rate[last], p.p50[last], p.p99[last])
	if p.beside {
		m.b.Progress("… the sync beside it %.2f s", p.sync[last])
	}
	return nil
}

// awaitDue waits until a request is due, and says by how much it is late because its connection was not free.
func awaitDue(due time.Time, enough <-chan struct{}) time.Duration {
	if due.IsZero() {
		return 0
	}
	wait := time.Until(due)
	if wait <= 0 {
		return -wait
	}
	select {
	case <-enough:
	case <-time.After(wait):
	}
	return 0
}

// rates finds out what can be answered flat out, and from that the rates, where they are not given. Afterwards the cache holds all
// that the cached parts ask for.
func (m *meter) rates(ctx context.Context, parts []*part) error {
	given := map[string]float64{}
	for _, p := range parts {
		if p.mode != atRate || p.beside {
			continue
		}
		try := *p
		try.mode = flatOut
		if err := m.take(ctx, &try); err != nil {
			return err
		}
		given[p.name] = *share * try.rate[0]
	}
	if *fixed != "" {
		var uncached, cached float64
		if _, err := fmt.Sscanf(*fixed, "%f,%f", &uncached, &cached); err != nil || uncached <= 0 || cached <= 0 {
			return fault.New(fault.Usage, "as in -rate 500,4000", "-rate %s: two rates are needed", *fixed)
		}
		given["uncached"], given["cached"] = uncached, cached
	}
	for _, p := range parts {
		p.perSecond = given[p.name]
	}
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
