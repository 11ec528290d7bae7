package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/internal/fault"
)

// shared are the servers of this process, one per major, started when first asked for.
var shared struct {
	sync.Mutex
	servers map[int]*sharedServer
}

type sharedServer struct {
	once   sync.Once
	server *Server
	err    error
}

// Main runs a package's tests and ends its shared servers; call it from TestMain.
func Main(m *testing.M) {
	code := m.Run()
	shared.Lock()
	for major, s := range shared.servers {
		if s.server == nil {
			continue
		}
		if err := s.server.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "pgtest: close PostgreSQL %d: %v\n", major, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// Get is the server of major that all tests of this process share. A test that stops or kills a server starts one
// of its own. Without binaries the test fails, with a hint.
func Get(t testing.TB, major int) *Server {
	t.Helper()
	shared.Lock()
	if shared.servers == nil {
		shared.servers = map[int]*sharedServer{}
	}
	s := shared.servers[major]
	if s == nil {
		s = &sharedServer{}
		shared.servers[major] = s
	}
	shared.Unlock()
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // the first may download
		defer cancel()
		s.server, s.err = Start(ctx, Options{Major: major})
	})
	fatal(t, s.err)
	return s.server
}

// StartT starts a server of the test's own, closed at its end.
func StartT(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	fatal(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close PostgreSQL %d: %v", o.Major, err)
		}
	})
	return s
}

// fatal ends the test with err and its hint.
func fatal(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if hint := fault.HintOf(err); hint != "" {
		t.Fatalf("%v\nhint: %s", err, hint)
	}
	t.Fatal(err)
}

// Each runs fn as a subtest on the shared server of every major under test.
func Each(t *testing.T, fn func(t *testing.T, s *Server)) {
	t.Helper()
	for _, major := range Majors() {
		t.Run(fmt.Sprintf("pg%d", major), func(t *testing.T) { fn(t, Get(t, major)) })
	}
}

var databases atomic.Int64

// DB makes a database for this test and returns its URL (TCP, superuser). It is dropped when the test ends, along
// with connections, replication slots and prepared transactions that hold it.
func (s *Server) DB(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("t%d_%s", databases.Add(1), identifier(t.Name()))
	quoted := pgx.Identifier{name}.Sanitize()
	if err := s.admin("postgres", "CREATE DATABASE "+quoted+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		t.Fatalf("create database %s on PostgreSQL %d: %v", name, s.Major, err)
	}
	t.Cleanup(func() {
		if !s.Running() {
			return // the test stopped it
		}
		if err := s.drop(name); err != nil {
			t.Errorf("drop database %s on PostgreSQL %d: %v", name, s.Major, err)
		}
	})
	return s.URL(name)
}

// drop removes what DROP DATABASE … WITH (FORCE) does not, then the database.
func (s *Server) drop(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.SocketURL(name))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// A slot can be dropped once its walsender has ended, which pg_terminate_backend waits for.
	const dropSlots = `SELECT pg_drop_replication_slot(slot_name) FROM (
		SELECT slot_name, CASE WHEN active_pid IS NOT NULL THEN pg_terminate_backend(active_pid, 10000) END
		FROM pg_replication_slots WHERE database = current_database() OFFSET 0) s`
	if _, err := conn.Exec(ctx, dropSlots); err != nil {
		return fmt.Errorf("drop replication slots: %w", err)
	}
	rows, err := conn.Query(ctx, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
	if err != nil {
		return err
	}
	gids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, gid := range gids {
		if _, err := conn.Exec(ctx, "ROLLBACK PREPARED '"+strings.ReplaceAll(gid, "'", "''")+"'"); err != nil {
			return err
		}
	}
	if err := conn.Close(ctx); err != nil {
		return err
	}
	return s.admin("postgres", "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
}

// admin runs one statement as superuser.
func (s *Server) admin(db, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.SocketURL(db))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// identifier makes a test's name fit for a database's: lower case, 40 bytes at most.
func identifier(test string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, test)
	return name[:min(len(name), 40)]
}
