package flightsql

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/logtest"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/store"
)

// kit is a running server over a real store and real access. All that it allocates for Arrow is given back at the end.
type kit struct {
	t        testing.TB
	srv      *Server
	store    *store.Store
	access   *access.Access
	config   access.Config
	core     *query.Core
	mem      *memory.CheckedAllocator
	registry *prometheus.Registry
	log      *logtest.Watch
	stop     func() error // ends the server and returns what Run returned
}

// users of kits that have any: their tokens are their names, doubled.
var (
	kitUsers = []access.User{
		{Name: "admin", Token: "admin-admin", Password: "adminable", Role: "admin"},
		{Name: "reader", Token: "reader-reader", Password: "readable", Role: "reader"},
		{Name: "other", Token: "other-other", Role: "reader"},
		{Name: "loader", Token: "loader-loader", Role: "loader"},
		{Name: "small", Token: "small-small", Role: "small"},
	}
	kitRoles = []access.Role{
		{Name: "reader", Read: []string{"m.*"}},
		{Name: "loader", Read: []string{"events.*"}, Write: []string{"events.*"}},
		{Name: "small", Read: []string{"*"}, Limits: access.Limits{Time: 300 * time.Millisecond, Rows: 3, ResultBytes: 2000, Concurrency: 1}},
	}
)

var kitData = []string{
	`CREATE TABLE m_dataset AS SELECT i AS id, 'text ' || i AS word, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_hours(i) AS created_at,
		(i * 1.25)::DECIMAL(12,2) AS amount, i % 2 = 0 AS even FROM range(120) r(i)`,
	`CREATE VIEW m_data AS SELECT id, word FROM m_dataset`,
	`CREATE TABLE big AS SELECT i AS id, i % 1000 AS part, 'a text of some length, number ' || i AS word FROM range(400000) r(i)`,
	`CREATE SCHEMA shop`,
	`CREATE TABLE shop.orders (id BIGINT NOT NULL, note VARCHAR NOT NULL)`,
	`INSERT INTO shop.orders SELECT i, 'note ' || i FROM range(5) r(i)`,
	`CREATE TABLE secret AS SELECT 'hidden' AS word`,
}

// kitKeys are the keys of tables by schema.name.
type kitKeys map[string][]string

func (k kitKeys) Key(schema, table string) []string { return k[schema+"."+table] }

type kitOptions struct {
	users  bool
	server func(o *Options)
	core   query.Options
	change func(s *Server)
	leaky  bool // a client is cut off in the midst of what arrow's dispatcher sends
}

func newKit(t testing.TB, o kitOptions) *kit {
	t.Helper()
	k := &kit{t: t, log: &logtest.Watch{}, mem: memory.NewCheckedAllocator(memory.DefaultAllocator), registry: prometheus.NewRegistry()}
	ctx := context.Background()
	var err error
	k.store, err = store.Open(ctx, store.Options{Path: filepath.Join(t.TempDir(), "pintail.duckdb"), MemoryLimit: 1 << 30, Threads: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.store.Close(ctx)) })
	k.exec(kitData...)
	tables := access.Tables{}
	for _, name := range []string{"m_dataset", "m_data"} {
		tables.Add("main", name, "m")
	}
	tables.Add("main", "big", "big")
	tables.Add("shop", "orders", "shop")
	k.config = access.Config{Catalog: "pintail", Resolver: tables, Clients: k.store}
	if o.users {
		k.config.Users, k.config.Roles = kitUsers, kitRoles
	}
	k.access, err = access.New(k.config, nil, slog.New(k.log))
	require.NoError(t, err)
	o.core.Log = slog.New(k.log)
	k.core = query.New(k.store, k.access, o.core)
	opts := Options{Listen: "127.0.0.1:0", Access: k.access, Core: k.core, Catalog: NewCatalog(k.store, k.access, kitKeys{"shop.orders": {"id"}}), Ingest: ingest.New(k.store, k.access, nil, nil), Version: "1.2.3",
		Allocator: k.mem, Registerer: k.registry, Log: slog.New(k.log)}
	if o.server != nil {
		o.server(&opts)
	}
	k.srv, err = New(opts)
	require.NoError(t, err)
	if o.change != nil {
		o.change(k.srv)
	}
	require.NoError(t, k.srv.Listen(ctx))
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- k.srv.Run(running) }()
	k.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		require.NoError(t, k.stop())
		if !o.leaky {
			k.mem.AssertSize(t, 0)
		}
	})
	return k
}

// exec changes the file behind the door's back, as a sync does.
func (k *kit) exec(sqls ...string) {
	k.t.Helper()
	require.NoError(k.t, k.store.Commit(context.Background(), func(tx *store.Tx) error {
		for _, sql := range sqls {
			if _, err := tx.Exec(sql); err != nil {
				return err
			}
		}
		return nil
	}))
}

// client connects; the token may be "".
func (k *kit) client(token string, opts ...grpc.DialOption) *flightsql.Client {
	k.t.Helper()
	opts = append([]grpc.DialOption{insecureCreds()}, opts...)
	if token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(header{"authorization": "Bearer " + token}))
	}
	c, err := flightsql.NewClient(k.srv.Addr().String(), nil, nil, opts...)
	require.NoError(k.t, err)
	k.t.Cleanup(func() { c.Client.Close() })
	return c
}

// header is sent with every call.
type header map[string]string

func (h header) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return h, nil
}
func (header) RequireTransportSecurity() bool { return false }

var _ credentials.PerRPCCredentials = header{}

// read reads all that an info stands for, as text: a line for each row, its values separated by |.
func read(ctx context.Context, c *flightsql.Client, info *flight.FlightInfo) (*arrow.Schema, []string, error) {
	if len(info.Endpoint) != 1 {
		return nil, nil, fmt.Errorf("%d endpoints", len(info.Endpoint))
	}
	r, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
	if err != nil {
		return nil, nil, err
	}
	defer r.Release()
	rows, err := lines(r)
	return r.Schema(), rows, err
}

func lines(r array.RecordReader) (rows []string, err error) {
	for r.Next() {
		b := r.RecordBatch()
		for i := range int(b.NumRows()) {
			var vs []string
			for _, c := range b.Columns() {
				if c.IsNull(i) {
					vs = append(vs, "NULL")
				} else {
					vs = append(vs, c.ValueStr(i))
				}
			}
			rows = append(rows, strings.Join(vs, "|"))
		}
	}
	return rows, r.Err()
}

// query plans, runs and reads a statement.
func runQuery(ctx context.Context, c *flightsql.Client, sql string) ([]string, error) {
	info, err := c.Execute(ctx, sql)
	if err != nil {
		return nil, err
	}
	_, rows, err := read(ctx, c, info)
	return rows, err
}

// refused checks an error's code of gRPC and of ours, and returns its text.
func refused(t testing.TB, err error, code codes.Code, reason fault.Code) string {
	t.Helper()
	require.Error(t, err)
	st, ok := status.FromError(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, st.Code(), "%v", err)
	if reason == "" {
		return st.Message()
	}
	for _, d := range st.Details() {
		if in, ok := d.(*errdetails.ErrorInfo); ok {
			require.Equal(t, errorDomain, in.Domain)
			require.Equal(t, string(reason), in.Reason, "%v", err)
			return in.Metadata["message"]
		}
	}
	require.Fail(t, "no reason", "%v", err)
	return ""
}

// eventually waits for a condition that nothing reports.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 20*time.Second, 5*time.Millisecond, what)
}

func basic(user, password string) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", "Basic "+encodeBasic(user, password))
}

func insecureCreds() grpc.DialOption { return grpc.WithTransportCredentials(insecure.NewCredentials()) }
