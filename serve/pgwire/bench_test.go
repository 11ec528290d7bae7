package pgwire

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/store"
)

const benchRows = 1_000_000

// benchTable has ten columns of the usual types, in both databases.
const benchTable = `CREATE TABLE wide AS SELECT i::bigint AS id, (i %% 1000)::integer AS n, (i * 0.5)::double precision AS d, (i %% 100000)::numeric(12,2) AS amount,
	'customer ' || i AS name, i %% 3 = 0 AS ok, DATE '2024-01-01' + (i %% 365)::integer AS day, TIMESTAMP '2024-01-01 00:00:00' + INTERVAL '1 second' * i AS at,
	TIMESTAMPTZ '2024-01-01 00:00:00+00' + INTERVAL '1 second' * i AS atz, CASE WHEN i %% 5 = 0 THEN NULL ELSE 'status' END AS status FROM %s`

// drain reads everything from a server's socket, so that the client's decoding is not what is measured, and gives the bytes.
func drain(b *testing.B, network, addr, user, database string, binary bool) int64 {
	b.Helper()
	nc, err := net.Dial(network, addr)
	require.NoError(b, err)
	defer nc.Close()
	f := pgproto3.NewFrontend(nc, nc)
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": user, "database": database}})
	require.NoError(b, f.Flush())
	for {
		m, err := f.Receive()
		require.NoError(b, err)
		if e, ok := m.(*pgproto3.ErrorResponse); ok {
			b.Fatal(e.Message)
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			break
		}
	}
	format := []int16{0}
	if binary {
		format[0] = 1
	}
	f.Send(&pgproto3.Parse{Query: "SELECT * FROM wide"})
	f.Send(&pgproto3.Bind{ResultFormatCodes: format})
	f.Send(&pgproto3.Execute{})
	f.Send(&pgproto3.Sync{})
	f.Send(&pgproto3.Terminate{}) // the server closes behind the last row
	require.NoError(b, f.Flush())
	n, err := io.Copy(io.Discard, nc)
	require.NoError(b, err)
	return n
}

// The whole table, ten columns, to a client that takes it as fast as it comes; PostgreSQL beside it.
func BenchmarkDrain(b *testing.B) {
	k := newKit(b, kitOptions{access: func(c *access.Config) { c.Resolver.(access.Tables).Add("main", "wide", "wide") }})
	k.run(fmt.Sprintf(benchTable, fmt.Sprintf("range(%d) r(i)", benchRows)))
	pg := pgtest.StartT(b, pgtest.Options{Major: pgtest.Newest})
	url := pg.DB(b)
	c, err := pgx.Connect(context.Background(), url)
	require.NoError(b, err)
	_, err = c.Exec(context.Background(), fmt.Sprintf(benchTable, fmt.Sprintf("generate_series(0, %d) r(i)", benchRows-1)))
	require.NoError(b, err)
	_, err = c.Exec(context.Background(), "VACUUM ANALYZE wide")
	require.NoError(b, err)
	database := c.Config().Database
	require.NoError(b, c.Close(context.Background()))
	socket, err := pgx.ParseConfig(pg.SocketURL(database))
	require.NoError(b, err)
	for _, server := range []struct{ name, network, addr, user, database string }{
		{"pintail", "tcp", k.srv.Addr().String(), "ann", "shop"},
		{"postgres", "unix", fmt.Sprintf("%s/.s.PGSQL.%d", socket.Host, socket.Port), socket.User, database}, // which asks for no password there
	} {
		for _, binary := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/%s", server.name, map[bool]string{false: "text", true: "binary"}[binary]), func(b *testing.B) {
				for b.Loop() {
					b.SetBytes(drain(b, server.network, server.addr, server.user, server.database, binary))
				}
				b.ReportMetric(float64(b.N)*benchRows/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}

// A prepared point query, through the protocol and in process: the difference is what the protocol costs.
func BenchmarkPoint(b *testing.B) {
	k := newKit(b, kitOptions{})
	ctx := context.Background()
	const point = "SELECT i, word FROM t WHERE i = $1"
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		b.Run("pgwire/"+mode, func(b *testing.B) {
			c := k.connect("user=ann default_query_exec_mode=" + mode)
			n := 0
			for b.Loop() {
				var i int
				var word string
				require.NoError(b, c.QueryRow(ctx, point, n%10000).Scan(&i, &word))
				n++
			}
		})
	}
	b.Run("in process", func(b *testing.B) {
		s := k.core.Session("test", access.Local(), store.Settings{Postgres: true})
		st, err := s.Prepare(ctx, point)
		require.NoError(b, err)
		defer st.Close()
		n := int64(0)
		for b.Loop() {
			r, err := st.Run(ctx, query.Request{Params: []any{n % 10000}})
			require.NoError(b, err)
			for {
				chunk, _, err := r.Next()
				require.NoError(b, err)
				if chunk == nil {
					break
				}
			}
			r.Close()
			n++
		}
	})
	b.Run("connect", func(b *testing.B) {
		for b.Loop() {
			c, err := pgx.Connect(ctx, k.url("user=ann"))
			require.NoError(b, err)
			require.NoError(b, c.Close(ctx))
		}
	})
}
