package pgwire

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/query/pgsql"
	"github.com/pintaildb/pintail/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kit is a running server over a real store and real access.
type kit struct {
	t      testing.TB
	srv    *Server
	store  *store.Store
	access *access.Access
	core   *query.Core
	ingest *ingest.Ingest // nil: nothing can be written
	log    *logWatch
	reg    *prometheus.Registry
	port   int
	cancel context.CancelFunc
	ended  chan error
}

const (
	annPassword = "ann's päßword"
	botToken    = "bot-token-0123456789"
)

var kitUsers = []access.User{
	{Name: "ann", Password: annPassword, Role: "reader"},
	{Name: "bot", Token: botToken, Role: "reader"},
	{Name: "root", Password: "root-password", Role: "admin"},
	{Name: "lea", Password: "lea-password", Role: "loader"},
	{Name: "nat", Password: "nat-password", Role: "narrow"},
	{Name: "small", Password: "small-password", Role: "small"},
}

var kitRoles = []access.Role{
	{Name: "reader", Read: []string{"t", "big"}},
	{Name: "loader", Read: []string{"in.*", "t"}, Write: []string{"in.*", "t"}},
	{Name: "narrow", Read: []string{"*"}, Write: []string{"*"}, Limits: access.Limits{PutRows: 100, PutBytes: 10000}},
	{Name: "small", Read: []string{"*"}, Limits: access.Limits{Time: time.Second, Rows: 3, ResultBytes: 2000}},
}

type kitOptions struct {
	users  bool
	writes bool
	access func(*access.Config)
	core   query.Options
	server func(*Options)
}

func newKit(t testing.TB, o kitOptions) *kit {
	t.Helper()
	k := &kit{t: t, log: &logWatch{}, reg: prometheus.NewRegistry(), ended: make(chan error, 1)}
	ctx := context.Background()
	var err error
	k.store, err = store.Open(ctx, store.Options{Path: filepath.Join(t.TempDir(), "shop.duckdb"), MemoryLimit: 1 << 30, Threads: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.store.Close(ctx)) })
	k.run("CREATE TABLE t AS SELECT i::INTEGER AS i, 'row ' || i AS word FROM range(10000) r(i)",
		"CREATE TABLE big AS SELECT i, i % 7 AS seven, repeat('x', 50) AS filler FROM range(300000) r(i)",
		"CREATE TABLE hidden AS SELECT 1 AS secret")
	tables := access.Tables{}
	for _, name := range []string{"t", "big", "hidden"} {
		tables.Add("main", name, name)
	}
	cfg := access.Config{Catalog: "shop", Resolver: tables, Clients: k.store}
	if o.users {
		cfg.Users, cfg.Roles = kitUsers, kitRoles
	}
	if o.access != nil {
		o.access(&cfg)
	}
	k.access, err = access.New(cfg, nil, slog.New(slog.NewTextHandler(k.log, nil)))
	require.NoError(t, err)
	k.core = query.New(k.store, k.access, o.core)
	opts := Options{Listen: "127.0.0.1:0", Access: k.access, Core: k.core, Database: "shop", Log: slog.New(slog.NewTextHandler(k.log, nil)), Registerer: k.reg, Drain: 2 * time.Second}
	if o.writes {
		k.ingest = ingest.New(k.store, k.access, slog.New(slog.NewTextHandler(k.log, nil)), nil)
		opts.Ingest = k.ingest
		translator, err := pgsql.New(ctx, pgsql.Options{Store: k.store, Access: k.access})
		require.NoError(t, err)
		opts.Translate = translator.Translate
	}
	if o.server != nil {
		o.server(&opts)
	}
	k.srv, err = New(opts)
	require.NoError(t, err)
	require.NoError(t, k.srv.Listen(ctx))
	k.port = k.srv.Addr().(*net.TCPAddr).Port
	running, cancel := context.WithCancel(ctx)
	k.cancel = cancel
	go func() { k.ended <- k.srv.Run(running) }()
	t.Cleanup(k.stop)
	return k
}

// stop ends the server and checks that nothing is left of its clients.
func (k *kit) stop() {
	k.cancel()
	select {
	case err, open := <-k.ended:
		if open {
			close(k.ended)
		}
		require.NoError(k.t, err)
	case <-time.After(20 * time.Second):
		k.t.Fatal("the server does not stop")
	}
	require.Empty(k.t, k.core.List())
	require.Empty(k.t, k.srv.conns)
	require.Empty(k.t, k.srv.cancels.byID)
}

func (k *kit) run(statements ...string) {
	k.t.Helper()
	require.NoError(k.t, k.store.Commit(context.Background(), func(tx *store.Tx) error {
		for _, sql := range statements {
			if _, err := tx.Exec(sql); err != nil {
				return err
			}
		}
		return nil
	}))
}

// url is a connection string for user, who is left out of it with "".
func (k *kit) url(params string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d dbname=shop sslmode=disable %s", k.port, params)
}

func (k *kit) connect(params string) *pgx.Conn {
	k.t.Helper()
	ctx := context.Background()
	cfg, err := pgx.ParseConfig(k.url(params))
	require.NoError(k.t, err)
	cfg.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
	c, err := pgx.ConnectConfig(ctx, cfg)
	require.NoError(k.t, err)
	k.t.Cleanup(func() { c.Close(ctx) })
	return c
}

// raw is a connection that speaks the protocol message by message.
type raw struct {
	t testing.TB
	net.Conn
	*pgproto3.Frontend
	pid    uint32
	secret []byte
}

// dial opens a connection without a startup message.
func (k *kit) dial() *raw {
	k.t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", k.port))
	require.NoError(k.t, err)
	k.t.Cleanup(func() { nc.Close() })
	require.NoError(k.t, nc.SetDeadline(time.Now().Add(30*time.Second)))
	return &raw{t: k.t, Conn: nc, Frontend: pgproto3.NewFrontend(nc, nc)}
}

// raw opens one and brings it to its first ReadyForQuery.
func (k *kit) raw() *raw {
	k.t.Helper()
	r := k.dial()
	r.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "ann", "database": "shop"}})
	require.NoError(k.t, r.Flush())
	r.ready()
	return r
}

// say sends messages, and gives what is answered up to ReadyForQuery in one line: each message's letter and what matters of it.
func (r *raw) say(messages ...pgproto3.FrontendMessage) string {
	r.t.Helper()
	for _, m := range messages {
		r.Send(m)
	}
	require.NoError(r.t, r.Flush())
	return r.ready()
}

// ready reads up to ReadyForQuery or the connection's end.
func (r *raw) ready() string {
	r.t.Helper()
	var out []string
	for {
		m, err := r.Receive()
		if err != nil {
			return strings.Join(append(out, "end"), " ")
		}
		out = append(out, r.show(m))
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			return strings.Join(out, " ")
		}
	}
}

func (r *raw) show(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.ErrorResponse:
		return "error:" + m.Code
	case *pgproto3.NoticeResponse:
		return "notice:" + m.Code
	case *pgproto3.CommandComplete:
		return string(m.CommandTag)
	case *pgproto3.ReadyForQuery:
		return string(m.TxStatus)
	case *pgproto3.DataRow:
		return string(bytes.Join(m.Values, []byte("|")))
	case *pgproto3.RowDescription:
		var f []string
		for _, d := range m.Fields {
			f = append(f, fmt.Sprintf("%s:%d:%d", d.Name, d.DataTypeOID, d.Format))
		}
		return "[" + strings.Join(f, ",") + "]"
	case *pgproto3.ParameterDescription:
		return fmt.Sprint("params", m.ParameterOIDs)
	case *pgproto3.ParameterStatus:
		return m.Name + "=" + m.Value
	case *pgproto3.BackendKeyData:
		r.pid, r.secret = m.ProcessID, bytes.Clone(m.SecretKey)
		return "key"
	case *pgproto3.CopyData:
		return "copy:" + string(m.Data)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3.")
}

type logWatch struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *logWatch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *logWatch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}
