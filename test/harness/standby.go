package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/internal/pgtest"
)

// Pair is a primary and its physical standby with one database, behind an address that leads to the primary until Lead says
// otherwise.
type Pair struct {
	Primary, Standby *pgtest.Server

	t        testing.TB
	database string
	listener net.Listener
	ended    sync.WaitGroup
	mu       sync.Mutex
	to       string // host:port
	links    map[net.Conn]net.Conn
}

// PairOptions choose what a standby knows of logical slots.
type PairOptions struct {
	Major int
	Slots bool // the standby keeps the primary's failover slots (17 and later)
	Safe  bool // the primary hands to those slots only what the standby has (likewise)
}

// standbySlot is the primary's physical slot.
const standbySlot = "standby"

// StartPair starts both; the standby is a copy of the primary's folder. They end with the test.
func StartPair(t testing.TB, o PairOptions) *Pair {
	t.Helper()
	p := &Pair{t: t, links: map[net.Conn]net.Conn{}}
	settings := map[string]string{}
	if o.Safe {
		settings["synchronized_standby_slots"] = standbySlot
	}
	p.Primary = pgtest.StartT(t, pgtest.Options{Major: o.Major, Settings: settings})
	settings = map[string]string{
		"primary_conninfo":     fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", p.Primary.Dir, p.Primary.Port),
		"primary_slot_name":    standbySlot,
		"hot_standby_feedback": "on", "wal_retrieve_retry_interval": "100ms", "wal_receiver_status_interval": "1s",
	}
	if o.Slots {
		settings["sync_replication_slots"] = "on"
	}
	p.Standby = pgtest.StartT(t, pgtest.Options{Major: o.Major, Settings: settings})
	p.do(p.Primary.Stop(pgtest.Fast))
	p.do(p.Standby.Stop(pgtest.Fast))
	data := filepath.Join(p.Standby.Dir, "data")
	p.do(os.RemoveAll(data))
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(p.Primary.Dir, "data"), data).CombinedOutput(); err != nil {
		t.Fatalf("copy the primary: %v: %s", err, out)
	}
	p.do(os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644))
	p.do(p.Primary.Restart(t.Context()))
	PG(t, p.Primary.URL("postgres"), "SELECT pg_create_physical_replication_slot('"+standbySlot+"', true)")
	p.do(p.Standby.Restart(t.Context()))
	u, err := url.Parse(p.Primary.DB(t))
	p.do(err)
	p.database = strings.TrimPrefix(u.Path, "/")

	p.listener, err = net.Listen("tcp", "127.0.0.1:0")
	p.do(err)
	p.Lead(p.Primary)
	p.ended.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *Pair) do(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// At reaches the database on one of the servers.
func (p *Pair) At(s *pgtest.Server) string { return s.URL(p.database) }

// URL reaches the database on the server that the address leads to.
func (p *Pair) URL() string {
	p.t.Helper()
	u, err := url.Parse(p.At(p.Primary))
	p.do(err)
	u.Host = p.listener.Addr().String()
	return u.String()
}

// Lead has the address lead to another server. Connections to the last one break.
func (p *Pair) Lead(s *pgtest.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to := fmt.Sprintf("127.0.0.1:%d", s.Port); to != p.to {
		p.to = to
		p.cut()
	}
}

// cut breaks all connections. mu is held.
func (p *Pair) cut() {
	for client, server := range p.links {
		_ = client.Close()
		_ = server.Close()
	}
}

func (p *Pair) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.to = ""
	p.cut()
	p.mu.Unlock()
	p.ended.Wait()
}

func (p *Pair) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.ended.Go(func() { p.forward(client) })
	}
}

// forward joins a client to the server until one of them ends.
func (p *Pair) forward(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return // there is none
	}
	defer server.Close()
	p.mu.Lock()
	if p.to != to {
		p.mu.Unlock()
		return
	}
	p.links[client] = server
	p.mu.Unlock()
	var both sync.WaitGroup
	for to, from := range map[net.Conn]net.Conn{client: server, server: client} {
		both.Go(func() {
			_, _ = io.Copy(to, from)
			_ = to.Close()
			_ = from.Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, client)
}

const syncTimeout = time.Minute

// Received waits until the standby has replayed all that the primary has written.
func (p *Pair) Received() {
	p.t.Helper()
	lsn := LSN(p.t, p.At(p.Primary))
	Eventually(p.t, syncTimeout, "the standby has what the primary has", func() bool {
		at, ok := parseLSN(p.ask(p.Standby, "SELECT coalesce(pg_last_wal_replay_lsn(), '0/0')::text"))
		return ok && at >= lsn
	})
}

// Kept waits until the standby would keep a logical slot when it is promoted, with all that the slot's reader has confirmed by now.
func (p *Pair) Kept(slot string) {
	p.t.Helper()
	const confirmed = "SELECT coalesce((SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '%s' AND %s), '0/0')::text"
	lsn, ok := parseLSN(p.ask(p.Primary, fmt.Sprintf(confirmed, slot, "failover")))
	if !ok || lsn == 0 {
		p.t.Fatalf("the primary has no slot %s that is kept after a failover", slot)
	}
	Eventually(p.t, syncTimeout, "the standby keeps slot "+slot, func() bool {
		p.ask(p.Primary, "SELECT pg_log_standby_snapshot()::text") // a new slot is kept once it has moved past one of these
		at, ok := parseLSN(p.ask(p.Standby, fmt.Sprintf(confirmed, slot, "failover AND synced AND NOT temporary")))
		return ok && at >= lsn
	})
}

// ask is the single text that a query gives.
func (p *Pair) ask(s *pgtest.Server, query string) (text string) {
	p.t.Helper()
	conn, err := pgx.Connect(p.t.Context(), s.URL("postgres"))
	p.do(err)
	defer conn.Close(context.WithoutCancel(p.t.Context()))
	if err := conn.QueryRow(p.t.Context(), query).Scan(&text); err != nil {
		p.t.Fatalf("%s: %v", query, err)
	}
	return text
}

// Promote makes the standby a primary.
func (p *Pair) Promote() {
	p.t.Helper()
	if p.ask(p.Standby, "SELECT pg_promote(true, 60)::text") != "true" {
		p.t.Fatal("the standby was not promoted")
	}
}
