package flightsql

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
)

func codeOf(err error) codes.Code { return status.Code(err) }

func TestLogins(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	anonymous := k.client("")
	_, err := anonymous.Execute(t.Context(), "SELECT 1")
	refused(t, err, codes.Unauthenticated, fault.Unauthenticated)
	_, err = get(t.Context(), anonymous.Client, "SELECT 1")
	refused(t, err, codes.Unauthenticated, fault.Unauthenticated)
	_, err = k.client("nobody's").Execute(t.Context(), "SELECT 1")
	refused(t, err, codes.Unauthenticated, fault.Unauthenticated)
	rows, err := runQuery(t.Context(), k.client("reader-reader"), "SELECT count(*) FROM m_data")
	require.NoError(t, err)
	require.Equal(t, []string{"120"}, rows)

	// With each call.
	rows, err = runQuery(basic("reader", "readable"), anonymous, "SELECT count(*) FROM m_data")
	require.NoError(t, err)
	require.Equal(t, []string{"120"}, rows)
	// Once, for a token.
	ctx, err := anonymous.Client.AuthenticateBasicToken(t.Context(), "reader", "readable")
	require.NoError(t, err)
	rows, err = runQuery(ctx, anonymous, "SELECT count(*) FROM m_data")
	require.NoError(t, err)
	require.Equal(t, []string{"120"}, rows)
	_, err = anonymous.Execute(ctx, "SELECT * FROM secret")
	refused(t, err, codes.PermissionDenied, fault.Forbidden)
	_, err = anonymous.Client.AuthenticateBasicToken(t.Context(), "reader", "wrong")
	refused(t, err, codes.Unauthenticated, fault.Unauthenticated)
	for _, malformed := range []string{"Basic", "Basic !!!", "Basic " + "bm9jb2xvbg==", "Bearer", "Digest x", ""} {
		_, err = anonymous.Execute(metadata.AppendToOutgoingContext(t.Context(), "authorization", malformed), "SELECT 1")
		refused(t, err, codes.Unauthenticated, fault.Unauthenticated)
	}
	k.log.Wait(t, "flight", "method=GetFlightInfo", "user=reader")
}

// TestOldHandshake is the first form, with the credentials as message and the token as another header.
func TestOldHandshake(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	c := k.client("")
	shake := func(payload []byte) (string, error) {
		stream, err := c.Client.Handshake(t.Context())
		require.NoError(t, err)
		require.NoError(t, stream.Send(&flight.HandshakeRequest{Payload: payload}))
		require.NoError(t, stream.CloseSend())
		res, err := stream.Recv()
		return string(res.GetPayload()), err
	}
	payload, err := proto.Marshal(&pb.BasicAuth{Username: "reader", Password: "readable"})
	require.NoError(t, err)
	token, err := shake(payload)
	require.NoError(t, err)
	rows, err := runQuery(metadata.AppendToOutgoingContext(t.Context(), "auth-token-bin", token), c, "SELECT 1")
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, rows)
	for _, bad := range [][]byte{nil, []byte("\xff\xff\xff"), []byte("nonsense")} {
		_, err = shake(bad)
		require.Equal(t, codes.Unauthenticated, codeOf(err), "%q: %v", bad, err)
	}
}

// TestTokensLastAsThePassword: they outlive reloads and restarts, but neither the user nor his password.
func TestTokensLastAsThePassword(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	c := k.client("")
	ctx, err := c.Client.AuthenticateBasicToken(t.Context(), "reader", "readable")
	require.NoError(t, err)
	ask := func(ctx context.Context) error { _, err := runQuery(ctx, c, "SELECT 1"); return err }
	require.NoError(t, ask(ctx))
	require.NoError(t, k.access.Update(k.config))
	require.NoError(t, ask(ctx))

	again := newKit(t, kitOptions{users: true})
	md, _ := metadata.FromOutgoingContext(ctx)
	_, err = runQuery(metadata.NewOutgoingContext(t.Context(), md), again.client(""), "SELECT 1")
	require.NoError(t, err, "after a restart")

	changed := k.config
	changed.Users = append([]access.User(nil), kitUsers...)
	changed.Users[1].Password = "another"
	require.NoError(t, k.access.Update(changed))
	refused(t, ask(ctx), codes.Unauthenticated, fault.Unauthenticated)
	ctx, err = c.Client.AuthenticateBasicToken(t.Context(), "reader", "another")
	require.NoError(t, err)
	changed.Users = append(changed.Users[:1:1], changed.Users[2:]...)
	require.NoError(t, k.access.Update(changed))
	refused(t, ask(ctx), codes.Unauthenticated, fault.Unauthenticated)
	for _, forged := range []string{"pintail_session.", "pintail_session..", "pintail_session.YWRtaW4.AAAA.AAAA", "pintail_session.x.y.z"} {
		err := ask(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+forged))
		require.Equal(t, codes.Unauthenticated, codeOf(err))
	}
}

func TestGuessingIsSlowed(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	c := k.client("")
	for range 10 {
		if _, err := c.Client.AuthenticateBasicToken(t.Context(), "reader", "guess"); codeOf(err) == codes.ResourceExhausted {
			refused(t, err, codes.ResourceExhausted, fault.Limit)
			k.log.Wait(t, "login refused", "user=reader")
			return
		}
	}
	require.Fail(t, "ten guesses were judged")
}

// TestOpen: without users everybody on this machine is an administrator, with whatever credentials a client insists to send.
func TestOpen(t *testing.T) {
	k := newKit(t, kitOptions{})
	c := k.client("")
	ctx, err := c.Client.AuthenticateBasicToken(t.Context(), "any", "body")
	require.NoError(t, err)
	rows, err := runQuery(ctx, c, "SELECT word FROM secret")
	require.NoError(t, err)
	require.Equal(t, []string{"hidden"}, rows)
	require.False(t, loopback("203.0.113.7:1"))
	require.False(t, loopback("nonsense"))
	require.True(t, loopback("127.0.0.1:1"))
	require.True(t, loopback("[::1]:1"))
	require.True(t, loopback("[::ffff:127.0.0.1]:1"))
}

// TestRoles is each door of Flight by each role.
func TestRoles(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	b := sample(1, 5)
	defer b.Release()
	_, err := put(t.Context(), k.client("admin-admin").Client, path("events.raw"), sampleSchema, b)
	require.NoError(t, err)
	read := func(table string) func(ctx context.Context, c flight.Client) error {
		return func(ctx context.Context, c flight.Client) error {
			_, err := get(ctx, c, "SELECT * FROM "+table+" LIMIT 1")
			return err
		}
	}
	for _, tt := range []struct {
		door string
		call func(ctx context.Context, c flight.Client) error
		may  []string
	}{
		{"get m", read("m_data"), []string{"admin", "reader", "other", "small"}},
		{"get events", read("events.raw"), []string{"admin", "loader", "small"}},
		{"get shop", read("shop.orders"), []string{"admin", "small"}},
		{"get stray", read("secret"), []string{"admin"}},
		{"get own", read("_pintail.meta"), []string{"admin"}},
		{"info by path", func(ctx context.Context, c flight.Client) error {
			_, err := c.GetFlightInfo(ctx, path("m_data"))
			return err
		}, []string{"admin", "reader", "other", "small"}},
		{"schema by path", func(ctx context.Context, c flight.Client) error {
			_, err := c.GetSchema(ctx, path("m_data"))
			return err
		}, []string{"admin", "reader", "other", "small"}},
		{"put", func(ctx context.Context, c flight.Client) error {
			_, err := put(ctx, c, path("events.raw"), sampleSchema, b)
			return err
		}, []string{"admin", "loader"}},
		{"put into a dataset", func(ctx context.Context, c flight.Client) error {
			_, err := put(ctx, c, path("m_dataset"), sampleSchema, b)
			return err
		}, nil},
		{"put into Pintail's own", func(ctx context.Context, c flight.Client) error {
			_, err := put(ctx, c, path("_pintail.meta"), sampleSchema, b)
			return err
		}, nil},
		{"create", func(ctx context.Context, c flight.Client) error {
			_, err := act(ctx, c, "query", "CREATE OR REPLACE TABLE events.made (a BIGINT)")
			return err
		}, []string{"admin", "loader"}},
		{"create elsewhere", func(ctx context.Context, c flight.Client) error {
			_, err := act(ctx, c, "query", "CREATE OR REPLACE TABLE made (a BIGINT)")
			return err
		}, []string{"admin"}},
		{"delete", func(ctx context.Context, c flight.Client) error {
			_, err := act(ctx, c, "query", "DELETE FROM events.raw")
			return err
		}, nil},
		{"attach", read("read_text('/etc/passwd')"), nil},
	} {
		t.Run(tt.door, func(t *testing.T) {
			for _, user := range []string{"admin", "reader", "other", "loader", "small", ""} {
				token := user
				if user != "" {
					token = user + "-" + user
				}
				err := tt.call(t.Context(), k.client(token).Client)
				may := false
				for _, m := range tt.may {
					may = may || m == user
				}
				switch {
				case may:
					require.NoError(t, err, user)
				case user == "":
					require.Equal(t, codes.Unauthenticated, codeOf(err), "%v", err)
				default:
					require.Equal(t, codes.PermissionDenied, codeOf(err), "%s: %v", user, err)
				}
			}
		})
	}
}

// TestHandlesAreTheirOwners: what one user holds is nothing to another.
func TestHandlesAreTheirOwners(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	reader, other := k.client("reader-reader"), k.client("other-other")
	ctx := t.Context()
	info, err := reader.Execute(ctx, "SELECT * FROM m_data")
	require.NoError(t, err)
	_, _, err = read(ctx, other, info)
	refused(t, err, codes.NotFound, fault.NotFound)
	_, err = other.CancelFlightInfo(ctx, &flight.CancelFlightInfoRequest{Info: info})
	refused(t, err, codes.NotFound, fault.NotFound)
	_, err = other.RenewFlightEndpoint(ctx, &flight.RenewFlightEndpointRequest{Endpoint: info.Endpoint[0]})
	refused(t, err, codes.NotFound, fault.NotFound)
	_, rows, err := read(ctx, reader, info)
	require.NoError(t, err)
	require.Len(t, rows, 120)
}

func TestLimitsOfRoles(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	c, ctx := k.client("small-small"), t.Context()
	rows, err := runQuery(ctx, c, "SELECT id FROM m_data")
	require.NoError(t, err)
	require.Len(t, rows, 3)
	_, err = runQuery(ctx, c, "SELECT repeat('x', 3000)")
	refused(t, err, codes.ResourceExhausted, fault.Limit)
	_, err = runQuery(ctx, c, "SELECT count(*) FROM big a, big b, big c WHERE a.id + b.id + c.id < 0")
	refused(t, err, codes.ResourceExhausted, fault.Limit)
}

// authority signs certificates for this machine.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{key, cert}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) issue(t *testing.T) tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, a.key.Public(), a.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	k := newKit(t, kitOptions{users: true, server: func(o *Options) { o.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t)}} }})
	secure := k.client("reader-reader", grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ca.pool()})))
	rows, err := runQuery(t.Context(), secure, "SELECT 1")
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, rows)
	_, err = k.client("reader-reader").Execute(t.Context(), "SELECT 1")
	require.Equal(t, codes.Unavailable, codeOf(err), "without TLS nobody gets in")
	_, err = k.client("reader-reader", grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: newAuthority(t).pool()}))).Execute(t.Context(), "SELECT 1")
	require.Equal(t, codes.Unavailable, codeOf(err))
}

func TestClientCertificates(t *testing.T) {
	ca := newAuthority(t)
	k := newKit(t, kitOptions{users: true, server: func(o *Options) {
		o.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t)}, ClientCAs: ca.pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	}})
	ask := func(own ...tls.Certificate) error {
		creds := credentials.NewTLS(&tls.Config{RootCAs: ca.pool(), Certificates: own})
		_, err := runQuery(t.Context(), k.client("reader-reader", grpc.WithTransportCredentials(creds)), "SELECT 1")
		return err
	}
	require.NoError(t, ask(ca.issue(t)))
	require.Equal(t, codes.Unavailable, codeOf(ask()))
	require.Equal(t, codes.Unavailable, codeOf(ask(newAuthority(t).issue(t))))
}
