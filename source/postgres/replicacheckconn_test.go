package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
)

// listen serves each connection to a port of this machine, and waits for all at the end of the test.
func listen(t *testing.T, serve func(net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	return l.Addr().(*net.TCPAddr).Port
}

// at is a url with another port.
func at(s *pgtest.Server, url string, port int) string {
	return strings.Replace(url, fmt.Sprint(":", s.Port, "/"), fmt.Sprint(":", port, "/"), 1)
}

// fakePooler stands in for a pooler such as PgBouncer, of which no binary can be had here as PostgreSQL's can: it answers
// clients itself, lends them server connections (for a transaction, or for good), and refuses replication.
type fakePooler struct {
	t       *testing.T
	url     string
	session bool
	most    int // server connections; more have to wait

	mu    sync.Mutex
	idle  []*pgconn.HijackedConn
	ready chan struct{} // one for each server connection that may be made or is idle
}

func newFakePooler(t *testing.T, url string, session bool, most int) *fakePooler {
	p := &fakePooler{t: t, url: url, session: session, most: most, ready: make(chan struct{}, most)}
	for range most {
		p.ready <- struct{}{}
	}
	t.Cleanup(func() {
		for _, s := range p.idle {
			s.Conn.Close()
		}
	})
	return p
}

func (p *fakePooler) take(gone <-chan struct{}) *pgconn.HijackedConn {
	select {
	case <-p.ready:
	case <-gone:
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 { // the last one used, as poolers do
		s := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return s
	}
	conn, err := pgconn.Connect(context.Background(), p.url)
	if err != nil {
		p.t.Error(err)
		return nil
	}
	s, err := conn.Hijack()
	if err != nil {
		p.t.Error(err)
		return nil
	}
	return s
}

func (p *fakePooler) give(s *pgconn.HijackedConn) {
	p.mu.Lock()
	p.idle = append(p.idle, s)
	p.mu.Unlock()
	p.ready <- struct{}{}
}

func (p *fakePooler) serve(client net.Conn) {
	back := pgproto3.NewBackend(client, client)
	start, err := back.ReceiveStartupMessage()
	if err != nil {
		return
	}
	if m, ok := start.(*pgproto3.StartupMessage); !ok || m.Parameters["replication"] != "" {
		back.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "08P01", Message: "unsupported startup parameter: replication"})
		_ = back.Flush()
		return
	}
	back.Send(&pgproto3.AuthenticationOk{})
	back.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "18.0"})
	back.Send(&pgproto3.BackendKeyData{ProcessID: 1<<31 + 7, SecretKey: []byte{1, 2, 3, 4}})
	back.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if back.Flush() != nil {
		return
	}
	// The client's messages come by a goroutine, so that one that leaves while it waits is noticed.
	gone := make(chan struct{})
	type message struct {
		bytes []byte
		asks  bool
	}
	messages := make(chan message)
	done := make(chan struct{})
	defer close(done)
	go func() {
		defer close(gone)
		for {
			m, err := back.Receive()
			if err != nil {
				return
			}
			b, err := m.Encode(nil)
			if err != nil {
				return
			}
			_, sync := m.(*pgproto3.Sync)
			_, query := m.(*pgproto3.Query)
			if _, end := m.(*pgproto3.Terminate); end {
				return
			}
			select {
			case messages <- message{b, sync || query}:
			case <-done:
				return
			}
		}
	}()
	var server *pgconn.HijackedConn
	defer func() {
		if server != nil {
			server.Conn.Close()
			p.ready <- struct{}{}
		}
	}()
	for {
		var m message
		select {
		case m = <-messages:
		case <-gone:
			return
		}
		if server == nil {
			if server = p.take(gone); server == nil {
				return
			}
		}
		if _, err := server.Conn.Write(m.bytes); err != nil {
			return
		}
		for m.asks {
			r, err := server.Frontend.Receive()
			if err != nil {
				return
			}
			b, err := r.Encode(nil)
			if err != nil {
				return
			}
			if _, err := client.Write(b); err != nil {
				return
			}
			if z, ok := r.(*pgproto3.ReadyForQuery); ok {
				if z.TxStatus == 'I' && !p.session {
					p.give(server)
					server = nil
				}
				break
			}
		}
	}
}

func TestCheckReplicationThroughAPooler(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	url := s.DB(t)
	exec(t, connect(t, url), "CREATE TABLE t (id int PRIMARY KEY)")
	for _, tc := range []struct {
		name, message string
		session       bool
		most          int
		problems      string
	}{
		{"transaction", "moves statements between server connections", false, 20, "replication_connection"},
		{"session", "something between", true, 20, "replication_connection"},
		{"used up", "moves statements between server connections", false, 2, "connections, replication_connection"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.most < probes {
				defer func(was time.Duration) { probeTimeout = was }(probeTimeout)
				probeTimeout = 300 * time.Millisecond
			}
			port := listen(t, newFakePooler(t, url, tc.session, tc.most).serve)
			r := checked(t, at(s, url, port), ReplicationCheck{})
			expect(t, r, tc.problems, "max_slot_wal_keep_size, pooler")
			says(t, found(t, r.Warnings, "pooler", ""), tc.message, "name the server itself")
			says(t, found(t, r.Problems, "replication_connection", ""), "unsupported startup parameter: replication (SQLSTATE 08P01)", "not the pooler")
			if tc.most < probes {
				says(t, found(t, r.Problems, "connections", ""), "no more than 2 connections", "at a pooler as at the server")
			}
		})
	}
}

// Too few connections, by the role's limit.
func TestCheckReplicationConnections(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, "CREATE TABLE t (id int PRIMARY KEY)")
		name, as := replicator(t, c, url)
		exec(t, c, "ALTER ROLE "+name+" CONNECTION LIMIT 3")
		r := checked(t, as, ReplicationCheck{})
		says(t, found(t, r.Problems, "connections", ""), "no more than 2 connections", "ALTER ROLE "+name+" CONNECTION LIMIT -1")
		exec(t, c, "ALTER ROLE "+name+" CONNECTION LIMIT -1")
		expect(t, checked(t, as, ReplicationCheck{}), "", "max_slot_wal_keep_size")
	})
}

// Connections that end at different servers, and urls that name several.
func TestCheckReplicationOfSeveralServers(t *testing.T) {
	one := pgtest.Get(t, pgtest.Newest)
	two := pgtest.StartT(t, pgtest.Options{Major: pgtest.Newest})
	var turn atomic.Int64
	port := listen(t, func(client net.Conn) {
		to := []*pgtest.Server{one, two}[turn.Add(1)%2]
		server, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", to.Port))
		if err != nil {
			return
		}
		defer server.Close()
		var both sync.WaitGroup
		both.Go(func() { _, _ = io.Copy(server, client); server.(*net.TCPConn).CloseWrite() })
		both.Go(func() { _, _ = io.Copy(client, server); client.(*net.TCPConn).CloseWrite() })
		both.Wait()
	})
	r := checked(t, at(one, one.URL("postgres"), port), ReplicationCheck{})
	says(t, found(t, r.Problems, "load_balanced", ""), "2 servers (0 of them standbys)", "name one server")

	url := one.DB(t)
	exec(t, connect(t, url), "CREATE TABLE t (id int PRIMARY KEY)")
	expect(t, checked(t, url, ReplicationCheck{}), "", "max_slot_wal_keep_size")
	several := strings.Replace(url, fmt.Sprint(":", one.Port, "/"), fmt.Sprint(":", one.Port, ",127.0.0.1:", two.Port, "/"), 1)
	r = checked(t, several, ReplicationCheck{})
	expect(t, r, "", "hosts, max_slot_wal_keep_size")
	says(t, found(t, r.Warnings, "hosts", ""), fmt.Sprint("127.0.0.1:", one.Port, ", 127.0.0.1:", two.Port), "target_session_attrs=primary")
	expect(t, checked(t, several+"&target_session_attrs=primary", ReplicationCheck{}), "", "max_slot_wal_keep_size")
}

// Where pg_hba.conf refuses the role, the line that lets it in is named, and does.
func TestCheckReplicationHBA(t *testing.T) {
	s := pgtest.StartT(t, pgtest.Options{Major: pgtest.Newest, Settings: quiet()})
	url := s.DB(t)
	c := connect(t, url)
	exec(t, c, "CREATE TABLE t (id int PRIMARY KEY)")
	name, as := replicator(t, c, url)
	path := filepath.Join(s.Dir, "data", "pg_hba.conf")
	rules, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(before string) {
		t.Helper()
		if err := os.WriteFile(path, append([]byte(before+"\n"), rules...), 0o600); err != nil {
			t.Fatal(err)
		}
		exec(t, c, "SELECT pg_reload_conf()")
		first, _, _ := strings.Cut(before, " ")
		until(t, c, "SELECT type = '"+first+"' FROM pg_hba_file_rules ORDER BY line_number LIMIT 1")
	}
	refuse := "host all " + name + " 127.0.0.1/32 reject"
	write(refuse)
	// The postmaster reads the file a moment after it was told to.
	var r ReplicationReport
	for range 200 {
		if r, err = openSource(t, Config{URL: as}).CheckReplication(t.Context(), ReplicationCheck{Patterns: []string{"*.*"}}); err != nil {
			break
		}
	}
	line := "host " + connectedTo(t, url) + " " + name + " 127.0.0.1/32 scram-sha-256"
	if fault.CodeOf(err) != fault.SourcePrivilege || !strings.HasSuffix(fault.HintOf(err), ": "+line) || !strings.Contains(err.Error(), "pg_hba.conf rejects connection") {
		t.Fatalf("%v\nhint: %s\n%+v", err, fault.HintOf(err), r)
	}
	write(line + "\n" + refuse)
	for range 200 {
		if r, err = openSource(t, Config{URL: as}).CheckReplication(t.Context(), ReplicationCheck{Patterns: []string{"*.*"}}); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	expect(t, r, "", "")
	// A rule for the word replication is about physical replication only.
	write("host replication all 127.0.0.1/32 reject")
	for range 200 {
		conn, dialErr := pgconn.Connect(t.Context(), as+"&replication=true")
		if err = dialErr; err != nil {
			break
		}
		hangUp(t.Context(), conn)
	}
	if sqlstate(err) != "28000" {
		t.Errorf("physical replication: %v", err)
	}
	expect(t, checked(t, as, ReplicationCheck{}), "", "")
}

// A standby of 16 and later can be followed, once the primary has the publication.
func TestCheckReplicationOfAStandby(t *testing.T) {
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			primary := pgtest.StartT(t, pgtest.Options{Major: major, Settings: quiet()})
			conninfo := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres password=%s", primary.Port, pgtest.Password)
			standby := pgtest.StartT(t, pgtest.Options{Major: major, Settings: quiet("primary_conninfo", conninfo)})
			p := connect(t, primary.URL("postgres"))
			exec(t, p, "CREATE TABLE t (id int PRIMARY KEY)")
			for _, s := range []*pgtest.Server{primary, standby} {
				if err := s.Stop(pgtest.Fast); err != nil {
					t.Fatal(err)
				}
			}
			data := filepath.Join(standby.Dir, "data")
			if err := os.RemoveAll(data); err != nil {
				t.Fatal(err)
			}
			if out, err := osexec.Command("cp", "-Rp", filepath.Join(primary.Dir, "data"), data).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if err := os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(primary.Restart(t.Context()), standby.Restart(t.Context())); err != nil {
				t.Fatal(err)
			}
			p, c := connect(t, primary.URL("postgres")), connect(t, standby.URL("postgres"))
			until(t, p, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
			o := ReplicationCheck{Publication: "pintail_s", Slot: "pintail_s"}
			r := checked(t, standby.URL("postgres"), o)
			beforehand := "CREATE PUBLICATION pintail_s FOR TABLE ONLY public.t WITH (publish_via_partition_root = true)"
			says(t, found(t, r.Problems, "publication", ""), "a standby cannot make it", "on the primary: "+beforehand)
			says(t, found(t, checked(t, standby.URL("postgres"), ReplicationCheck{}).Problems, "publication", ""), "a standby cannot make", "name the primary")
			exec(t, p, beforehand)
			until(t, c, "SELECT count(*) = 1 FROM pg_publication")
			r = checked(t, standby.URL("postgres"), o)
			if major < 16 {
				expect(t, r, "standby", "")
				says(t, found(t, r.Problems, "standby", ""), "from 16 on", "name the primary")
				return
			}
			expect(t, r, "", "hot_standby_feedback, standby")
			says(t, found(t, r.Warnings, "hot_standby_feedback", ""), "is off", "hot_standby_feedback = on")
			exec(t, c, "ALTER SYSTEM SET hot_standby_feedback = on")
			exec(t, c, "SELECT pg_reload_conf()")
			until(t, c, "SELECT setting = 'on' FROM pg_settings WHERE name = 'hot_standby_feedback'")
			expect(t, checked(t, standby.URL("postgres"), o), "", "primary_slot_name, standby")
			exec(t, p, "SELECT pg_create_physical_replication_slot('standby')")
			exec(t, c, "ALTER SYSTEM SET primary_slot_name = 'standby'")
			exec(t, c, "SELECT pg_reload_conf()")
			until(t, c, "SELECT setting = 'standby' FROM pg_settings WHERE name = 'primary_slot_name'")
			expect(t, checked(t, standby.URL("postgres"), o), "", "standby")
		})
	}
}
