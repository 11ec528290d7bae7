// Command pgwire compares Pintail's door for clients of PostgreSQL with PostgreSQL itself: the same table, the same clients.
//
//	make bench NAME=pgwire
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

// Bounds, in units of PostgreSQL but for the last.
const (
	textMin      = 1.0 // rows/s
	binaryMin    = 1.2 // rows/s
	aggregateMin = 20  // times faster
	overheadMax  = 0.3 // ms that the protocol adds to a point query at p50
)

const about = "A table of ten columns is read whole, over TCP on loopback, from PostgreSQL and from `pintail serve`, which has a copy of it. \"Raw drain\": a client that " +
	"reads the socket and throws all away, so that clients are not what is measured; text by one Query, as psql asks, binary by the extended protocol. Beside it psql " +
	"(`-XAt`, to /dev/null) and pgx, which decodes every value from the binary form. All take turns; a ratio is of one round. CPU is that of the server's " +
	"processes and of the client's. The aggregates are `GROUP BY partner_id` with count and sum, and `GROUP BY partner_id, status` with " +
	"two sums and a maximum; PostgreSQL has its defaults for parallel workers, and both answers must be equal. A prepared point query by the key is run by pgx through the " +
	"protocol, and by the server's own process without it, in turns of 200; beside them the same by pgx in PostgreSQL, and what an empty statement takes, which is the way to the server and back."

var (
	statement = "SELECT * FROM " + rig.Table
	points    = flag.Int("points", 4000, "point queries in a round")
)

func main() {
	rig.ServeChild(serve)
	if client := os.Getenv(clientEnv); client != "" {
		if err := runClient(client); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	rig.Main(rig.Spec{Name: "pgwire", Title: "PostgreSQL's protocol against PostgreSQL", About: about, Rows: 5_000_000, Rounds: 6, Run: run})
}

// server is one of the two that are read.
type server struct {
	name string
	url  string
	pid  int  // whose CPU counts
	tree bool // with its children
	own  bool // whose memory counts
}

// client is one of the ways to read.
type client struct {
	name string
	kind string // of runClient; "" is psql
}

// reading is one client that reads from one server, with its rounds' results.
type reading struct {
	server    *server
	client    *client
	rate      []float64 // M rows/s
	first     []float64 // ms
	cpu       []float64 // s, of the server
	clientCPU []float64
	memory    []float64 // MiB
	bytes     int64
}

func run(ctx context.Context, b *rig.Bench) (err error) {
	db, err := b.Database(ctx, b.Rows)
	if err != nil {
		return err
	}
	http, err := rig.FreeAddress()
	if err != nil {
		return err
	}
	door, err := rig.FreeAddress()
	if err != nil {
		return err
	}
	c, err := b.NewCopy("copy", rig.CopyOptions{URL: b.Source.URL(db), Listen: http, PGWire: door})
	if err != nil {
		return err
	}
	if _, err := b.Run(ctx, c.FullSync()); err != nil {
		return err
	}
	if err := b.Compare(ctx, db, "", c.Query); err != nil {
		return err
	}
	if err := reads(ctx, b, db, c); err != nil {
		return err
	}
	return pointQueries(ctx, b, db, c)
}

// reads has all clients read from both servers.
func reads(ctx context.Context, b *rig.Bench, db string, c *rig.Copy) (err error) {
	s, err := c.Serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	servers := []*server{{name: "PostgreSQL", url: b.Source.URL(db), pid: b.Source.Pid(), tree: true}, {name: "pintail", url: c.PGURL(), pid: s.Pid(), own: true}}
	clients := []*client{{"raw drain, text", "text"}, {"raw drain, binary", "binary"}, {"psql, text", ""}, {"pgx, binary", "pgx"}}
	if rig.Client("psql") == "" {
		clients = append(clients[:2], clients[3:]...)
		b.Report.Note("psql is not installed here, and was left out.")
	}
	var all []*reading
	for _, c := range clients {
		for _, s := range servers {
			all = append(all, &reading{server: s, client: c})
		}
	}
	groups := aggregates(servers)
	// The first round of each reads the tables into memory, and is not counted.
	for round := range b.Rounds + 1 {
		for _, r := range all {
			if err := r.once(ctx, b, round); err != nil {
				return fmt.Errorf("%s from %s: %w", r.client.name, r.server.name, err)
			}
		}
		for _, g := range groups {
			if err := g.once(ctx, b, round); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
		}
	}
	summarise(b, all)
	for _, g := range groups {
		g.summarise(b)
	}
	return nil
}

// once reads the table once.
func (r *reading) once(ctx context.Context, b *rig.Bench, round int) error {
	cmd := r.command()
	var out limited
	if r.client.kind != "" {
		cmd.Stdout = &out
	}
	if r.server.own {
		if err := measure.ResetPeak(r.server.pid); err != nil {
			return err
		}
	}
	idle := measure.Peak(r.server.pid)
	before, err := r.server.cpu()
	if err != nil {
		return err
	}
	u, err := measure.Command(ctx, cmd, measure.Options{})
	if err != nil {
		return err
	}
	after, err := r.server.cpu()
	if err != nil {
		return err
	}
	got := rig.Drained{Rows: int64(b.Rows), All: u.Wall}
	if r.client.kind != "" {
		if err := json.Unmarshal(out.b, &got); err != nil {
			return fmt.Errorf("the client printed %q: %w", out.b, err)
		}
	}
	if got.Rows != int64(b.Rows) {
		return fmt.Errorf("%d rows came, want %d", got.Rows, b.Rows)
	}
	above := float64(max(0, measure.Peak(r.server.pid)-idle)) / (1 << 20)
	b.Progress("round %d: %-17s from %-10s %6.2f s, first row %.1f ms, CPU %.2f s + client %.2f s", round, r.client.name, r.server.name, got.All.Seconds(), ms(got.First), (after - before).Seconds(), u.CPU.Seconds())
	if round == 0 {
		return nil
	}
	r.rate = append(r.rate, float64(b.Rows)/1e6/got.All.Seconds())
	r.cpu, r.clientCPU = append(r.cpu, (after-before).Seconds()), append(r.clientCPU, u.CPU.Seconds())
	if got.First > 0 {
		r.first = append(r.first, ms(got.First))
	}
	if r.server.own {
		r.memory = append(r.memory, above)
	}
	r.bytes = got.Bytes
	return nil
}

func (r *reading) command() *exec.Cmd {
	if r.client.kind == "" {
		return exec.Command(rig.Client("psql"), "-XAt", "-v", "ON_ERROR_STOP=1", "-o", os.DevNull, "-c", statement, r.server.url)
	}
	return ownClient(r.client.kind, r.server.url)
}

func (s *server) cpu() (time.Duration, error) {
	if s.tree {
		return measure.TreeCPU(s.pid)
	}
	return measure.CPU(s.pid)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func summarise(b *rig.Bench, all []*reading) {
	r := b.Report
	for _, x := range all {
		r.Add(x.client.name+", from "+x.server.name, "M rows/s", x.rate)
		if len(x.first) > 0 {
			r.Add("… first row", "ms", x.first)
		}
		r.Add("… CPU of the server", "s", x.cpu)
		r.Add("… CPU of the client", "s", x.clientCPU)
		if x.server.own {
			r.Add("… server's memory above idle (VmHWM)", "MiB", x.memory)
		}
	}
	bound := map[string]float64{"text": textMin, "binary": binaryMin}
	for i := 0; i < len(all); i += 2 {
		theirs, ours := all[i], all[i+1]
		ratios := measure.Ratios(ours.rate, theirs.rate)
		r.Add(ours.client.name+", pintail / PostgreSQL: rows/s", "×", ratios)
		if limit, ok := bound[ours.client.kind]; ok {
			r.AtLeast("rows/s, "+ours.client.name+", median of the rounds' ratios to PostgreSQL", "×", limit, measure.Median(ratios))
			r.Note("%s: %d bytes from PostgreSQL, %d from pintail; %d rows in each round.", ours.client.name, theirs.bytes, ours.bytes, b.Rows)
		}
	}
}
