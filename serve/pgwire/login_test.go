package pgwire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

func (k *kit) try(params string) (user string, err error) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, k.url(params))
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	return c.PgConn().ParameterStatus("session_authorization"), c.Ping(ctx)
}

func TestLogin(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	for _, c := range []struct{ params, user, state string }{
		{"user=ann password=" + quoteParam(annPassword), "ann", ""},
		{"user=ann password=" + quoteParam(annPassword) + " require_auth=scram-sha-256", "ann", ""},
		{"user=ann password=guessed", "", "28P01"},
		{"user=ann password=" + botToken, "", "28P01"},
		{"user=bot password=" + botToken, "bot", ""}, // from this machine, as it is
		{"user=bot password=guessed", "", "28P01"},
		{"user=root password=" + botToken, "", "28P01"},
		{"user=root password=root-password", "root", ""},
		{"user=nobody password=x", "", "28P01"},
		{"user=root password=root-password dbname=postgres", "", "3D000"},
		{"user=root password=root-password dbname=root", "root", ""}, // what clients send that name no database
		{"user=root password=root-password client_encoding=latin1", "", "22023"},
		{"user=root password=root-password replication=database", "", "0A000"},
		{"user=root password=root-password options='-c statement_timeout=5s --search-path=x' jit=off never_heard=1", "root", ""},
	} {
		user, err := k.try(c.params)
		if c.state != "" {
			require.Equal(t, c.state, state(t, err), c.params)
			continue
		}
		require.NoError(t, err, c.params)
		require.Equal(t, c.user, user, c.params)
	}
	log := k.log.String()
	require.Contains(t, log, "pgwire connected")
	require.Contains(t, log, "user=ann")
	for _, secret := range []string{"guessed", "root-password", botToken, "nobody", "päßword"} {
		require.NotContains(t, log, secret)
	}
	// Rights are those of the role.
	c := k.connect("user=ann password=" + quoteParam(annPassword))
	_, err := c.Exec(t.Context(), "SELECT * FROM hidden")
	require.Equal(t, "42501", state(t, err))
	_, err = c.Exec(t.Context(), "SELECT * FROM nowhere")
	require.Equal(t, "42501", state(t, err), "as a table that is there and not granted")
	small := k.connect("user=small password=small-password")
	_, err = small.Exec(t.Context(), "SELECT i FROM t LIMIT 3")
	require.NoError(t, err)
	_, err = small.Exec(t.Context(), "SELECT i FROM t")
	require.Equal(t, "53400", state(t, err), "a result that is cut must not be taken for whole")
	_, err = small.Exec(t.Context(), "SELECT repeat('x', 3000)")
	require.Equal(t, "53400", state(t, err))
	_, err = small.Exec(t.Context(), slow)
	require.Equal(t, "57014", state(t, err))
}

// Guessing is slowed down by the same counter as at the other doors.
func TestLoginThrottle(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	var last error
	for range 6 {
		_, last = k.try("user=ann password=guessed")
	}
	_, err := k.try("user=ann password=" + quoteParam(annPassword))
	require.Equal(t, "28000", state(t, err), "the right one waits as well, %v", last)
	require.ErrorContains(t, err, "too many failed logins")
	_, err = k.try("user=root password=root-password")
	require.NoError(t, err, "others do not")
}

// A name that nobody has is asked as one of a user, and its salt stays the same.
func TestUnknownUsersLookLikeOthers(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	ask := func(user string) (method, salt string) {
		r := k.dial()
		r.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": user, "database": "shop"}})
		require.NoError(t, r.Flush())
		m, err := r.Receive()
		require.NoError(t, err)
		if _, ok := m.(*pgproto3.AuthenticationSASL); !ok {
			return "secret", ""
		}
		r.Send(&pgproto3.SASLInitialResponse{AuthMechanism: scramName, Data: []byte("n,,n=,r=nonce")})
		require.NoError(t, r.Flush())
		m, err = r.Receive()
		require.NoError(t, err)
		for _, field := range strings.Split(string(m.(*pgproto3.AuthenticationSASLContinue).Data), ",") {
			if s, ok := strings.CutPrefix(field, "s="); ok {
				salt = s
			}
		}
		return "scram", salt
	}
	seen := map[string]int{}
	for _, user := range []string{"ann", "bot", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v"} {
		method, salt := ask(user)
		again, same := ask(user)
		require.Equal(t, method+salt, again+same, user)
		seen[method]++
		if salt != "" {
			require.Len(t, salt, 24)
		}
	}
	require.Positive(t, seen["scram"])
	require.Positive(t, seen["secret"])
}

func TestMalformedLogins(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	for name, messages := range map[string][]pgproto3.FrontendMessage{
		"empty first":   {&pgproto3.SASLInitialResponse{AuthMechanism: scramName}},
		"no flag":       {&pgproto3.SASLInitialResponse{AuthMechanism: scramName, Data: []byte(",,n=,r=x")}},
		"binding":       {&pgproto3.SASLInitialResponse{AuthMechanism: scramName, Data: []byte("p=tls-server-end-point,,n=,r=x")}},
		"other":         {&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256-PLUS", Data: []byte("n,,n=,r=x")}},
		"no proof":      {&pgproto3.SASLInitialResponse{AuthMechanism: scramName, Data: []byte("n,,n=,r=x")}, &pgproto3.SASLResponse{Data: []byte("c=biws,r=x")}},
		"long proof":    {&pgproto3.SASLInitialResponse{AuthMechanism: scramName, Data: []byte("n,,n=,r=x")}, &pgproto3.SASLResponse{Data: []byte("c=biws,r=x,p=" + strings.Repeat("AAAA", 30))}},
		"a query first": {q("SELECT 1")},
	} {
		r := k.dial()
		r.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "ann"}})
		for _, m := range messages {
			r.Send(m)
		}
		require.NoError(t, r.Flush())
		got := r.ready()
		require.True(t, strings.HasSuffix(got, "error:08P01 end"), "%s: %s", name, got)
	}
}

func hello3(version uint32, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(binary.BigEndian.AppendUint32(b, version), body...)
}

func TestStartupPackets(t *testing.T) {
	k := newKit(t, kitOptions{})
	const good = "user\x00ann\x00database\x00shop\x00\x00"
	for name, c := range map[string]struct {
		bytes []byte
		want  string
	}{
		"2.0":              {hello3(2<<16, good), "error:08P01 end"},
		"4.0":              {hello3(4<<16, good), "error:08P01 end"},
		"too short":        {[]byte{0, 0, 0, 4, 0, 3, 0, 0}, "error:08P01 end"},
		"too long":         {[]byte{0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0}, "error:08P01 end"},
		"no user":          {hello3(3<<16, "database\x00shop\x00\x00"), "error:28000 end"},
		"nothing":          {hello3(3<<16, ""), "error:08P01 end"},
		"no terminator":    {hello3(3<<16, "user\x00ann\x00"), "error:08P01 end"},
		"no value":         {hello3(3<<16, "user\x00"), "error:08P01 end"},
		"half a value":     {hello3(3<<16, "user\x00an"), "error:08P01 end"},
		"more behind":      {hello3(3<<16, good+"x"), "error:08P01 end"},
		"HTTP":             {[]byte("GET / HTTP/1.1\r\n\r\n"), "error:08P01 end"},
		"other database":   {hello3(3<<16, "user\x00ann\x00database\x00x\x00\x00"), "AuthenticationOk error:3D000 end"},
		"cancel of nobody": {hello3(codeCancel, "\x00\x00\x00\x01\x00\x00\x00\x01"), "end"},
		"short cancel":     {hello3(codeCancel, "\x00"), "end"},
	} {
		r := k.dial()
		_, err := r.Write(c.bytes)
		require.NoError(t, err)
		require.Equal(t, c.want, r.ready(), name)
	}
	for version, want := range map[uint32]string{3 << 16: "AuthenticationOk", 3<<16 | 2: "AuthenticationOk", 3<<16 | 1: "NegotiateProtocolVersion", 3<<16 | 9999: "NegotiateProtocolVersion"} {
		r := k.dial()
		_, err := r.Write(hello3(version, good))
		require.NoError(t, err)
		got := r.ready()
		require.True(t, strings.HasPrefix(got, want), "%x: %s", version, got)
		require.True(t, strings.HasSuffix(got, "key I"), got)
		for _, p := range []string{"server_version=15", "server_encoding=UTF8", "client_encoding=UTF8", "DateStyle=ISO, MDY", "IntervalStyle=postgres", "TimeZone=UTC", "integer_datetimes=on",
			"standard_conforming_strings=on", "application_name=", "is_superuser=on", "session_authorization=", "default_transaction_read_only=on", "in_hot_standby=off"} {
			require.Contains(t, got, p)
		}
		require.Equal(t, map[bool]int{false: 4, true: 32}[version&0xffff >= 2], len(r.secret))
	}
	r := k.dial()
	_, err := r.Write(hello3(3<<16, "user\x00ann\x00_pq_.magic\x00on\x00\x00"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(r.ready(), "NegotiateProtocolVersion AuthenticationOk"))
	// Neither encryption is there: both are answered, and the startup goes on.
	r = k.dial()
	for _, code := range []uint32{codeGSS, codeTLS} {
		_, err = r.Write(hello3(code, ""))
		require.NoError(t, err)
		var b [1]byte
		_, err = r.Read(b[:])
		require.NoError(t, err)
		require.Equal(t, "N", string(b[:]))
	}
	_, err = r.Write(hello3(3<<16, good))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(r.ready(), "key I"))
}

func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"postgresql"}, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestTLS(t *testing.T) {
	k := newKit(t, kitOptions{users: true, server: func(o *Options) { o.TLS = serverTLS(t) }})
	for _, mode := range []string{"require", "prefer", "disable"} { // this machine need not encrypt
		user, err := k.try("sslmode=" + mode + " user=ann password=" + quoteParam(annPassword))
		require.NoError(t, err, mode)
		require.Equal(t, "ann", user)
	}
	require.Contains(t, k.log.String(), "tls=true")
	// A long statement, its cancellation, and much data, all within TLS.
	c := k.connect("sslmode=require user=root password=root-password")
	ended := make(chan error, 1)
	go func() { _, err := c.Exec(context.Background(), slow); ended <- err }()
	require.Eventually(t, func() bool { return len(k.core.List()) == 1 }, 10*time.Second, time.Millisecond)
	time.AfterFunc(3*watchAfter, func() { _ = c.PgConn().CancelRequest(context.Background()) })
	require.Equal(t, "57014", state(t, <-ended))
	rows, err := c.Query(t.Context(), "SELECT filler FROM big")
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Len(t, all, 300000)

	// TLS from the first byte on needs its ALPN.
	for protocol, want := range map[string]string{"postgresql": "AuthenticationSASL", "h2": "end", "": "end"} {
		nc, err := net.Dial("tcp", k.srv.Addr().String())
		require.NoError(t, err)
		require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
		cfg := &tls.Config{InsecureSkipVerify: true}
		if protocol != "" {
			cfg.NextProtos = []string{protocol}
		}
		client := tls.Client(nc, cfg)
		got := "end"
		if client.Handshake() == nil {
			r := &raw{t: t, Conn: client, Frontend: pgproto3.NewFrontend(client, client)}
			_, _ = r.Write(hello3(3<<16, "user\x00ann\x00\x00")) // it may be closed already
			if m, err := r.Receive(); err == nil {
				got = r.show(m)
			}
		}
		require.Equal(t, want, got, protocol)
		require.NoError(t, nc.Close())
	}

	// Half a handshake, then nothing; and rubbish in its place.
	r := k.dial()
	_, err = r.Write(hello3(codeTLS, ""))
	require.NoError(t, err)
	var b [1]byte
	_, err = r.Read(b[:])
	require.NoError(t, err)
	require.Equal(t, "S", string(b[:]))
	_, err = r.Write([]byte{0x16, 3, 1})
	require.NoError(t, err)
	require.NoError(t, r.Conn.Close())
	r = k.dial()
	_, err = r.Write(append(hello3(codeTLS, ""), hello3(3<<16, "user\x00ann\x00\x00")...))
	require.NoError(t, err)
	require.Contains(t, r.ready(), "end", "what was sent in the clear before the handshake is not taken")
}

// Channel binding, by libpq and pgx; a client that says that the server cannot bind was lied to.
func TestChannelBinding(t *testing.T) {
	k := newKit(t, kitOptions{users: true, server: func(o *Options) { o.TLS = serverTLS(t) }})
	for _, mode := range []string{"require", "prefer", "disable"} {
		user, err := k.try("sslmode=require channel_binding=" + mode + " user=ann password=" + quoteParam(annPassword))
		require.NoError(t, err, mode)
		require.Equal(t, "ann", user)
		out, err := k.psql([]string{"PGPASSWORD=" + annPassword, "PGCHANNELBINDING=" + mode, "PGSSLMODE=require"}, "-d", strings.Replace(k.url("user=ann"), "sslmode=disable", "", 1), "-c", "SELECT 1")
		require.NoError(t, err, mode+out)
		require.Equal(t, "1\n", out)
	}
	_, err := k.try("sslmode=require channel_binding=require user=ann password=guessed")
	require.Equal(t, "28P01", state(t, err))
	_, err = k.try("sslmode=disable channel_binding=require user=ann password=" + quoteParam(annPassword))
	require.Error(t, err)

	say := func(mechanism, first string) string {
		r := k.dial()
		_, err := r.Write(hello3(codeTLS, ""))
		require.NoError(t, err)
		var b [1]byte
		_, err = r.Read(b[:])
		require.NoError(t, err)
		client := tls.Client(r.Conn, &tls.Config{InsecureSkipVerify: true})
		r = &raw{t: t, Conn: client, Frontend: pgproto3.NewFrontend(client, client)}
		_, err = r.Write(hello3(3<<16, "user\x00ann\x00\x00"))
		require.NoError(t, err)
		m, err := r.Receive()
		require.NoError(t, err)
		require.Equal(t, []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, m.(*pgproto3.AuthenticationSASL).AuthMechanisms)
		r.Send(&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(first)})
		require.NoError(t, r.Flush())
		m, err = r.Receive()
		require.NoError(t, err)
		return r.show(m)
	}
	require.Equal(t, "error:28P01", say("SCRAM-SHA-256", "y,,n=,r=x"))
	require.Equal(t, "AuthenticationSASLContinue", say("SCRAM-SHA-256", "n,,n=,r=x"))
	require.Equal(t, "AuthenticationSASLContinue", say("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=x"))
	require.Equal(t, "error:08P01", say("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=,r=x"))
	require.Equal(t, "error:08P01", say("SCRAM-SHA-256-PLUS", "n,,n=,r=x"))
	require.Equal(t, "error:08P01", say("SCRAM-SHA-256", "p=tls-server-end-point,,n=,r=x"))
	require.Equal(t, "error:08P01", say("SCRAM-SHA-512", "n,,n=,r=x"))
}

func TestConnectionLimit(t *testing.T) {
	k := newKit(t, kitOptions{server: func(o *Options) { o.MaxConnections = 2 }})
	one := k.raw()
	k.raw()
	r := k.dial()
	_, err := r.Write(hello3(3<<16, "user\x00ann\x00\x00"))
	require.NoError(t, err)
	require.Equal(t, "error:53300 end", r.ready())
	one.Send(&pgproto3.Terminate{})
	require.NoError(t, one.Flush())
	require.Eventually(t, func() bool {
		_, err := k.try("user=ann")
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
}

// At the end idle clients are told at once, running statements get their time, and new ones are refused.
func TestStop(t *testing.T) {
	k := newKit(t, kitOptions{server: func(o *Options) { o.Drain = 500 * time.Millisecond }})
	idle, busy, begun := k.raw(), k.raw(), k.raw()
	require.Equal(t, "BEGIN T", begun.say(q("BEGIN")))
	busy.Send(q(slow))
	require.NoError(t, busy.Flush())
	require.Eventually(t, func() bool { return len(k.core.List()) == 1 }, 10*time.Second, time.Millisecond)
	start := time.Now()
	k.cancel()
	require.Equal(t, "error:57P01 end", idle.ready())
	require.Equal(t, "error:57P01 end", begun.ready())
	require.Less(t, time.Since(start), 400*time.Millisecond)
	require.Equal(t, "[count_star():20:0] error:57P01 end", busy.ready())
	require.Less(t, time.Since(start), 5*time.Second)
	_, err := net.DialTimeout("tcp", k.srv.Addr().String(), time.Second)
	require.Error(t, err)
	k.stop()
}

// Without users only this machine is let in, which the address says and not the client.
func TestOpenServer(t *testing.T) {
	k := newKit(t, kitOptions{})
	user, err := k.try("user=whoever password=whatever")
	require.NoError(t, err)
	require.Equal(t, "local", user)
	var e *pgconn.PgError
	_, err = k.try("user=whoever dbname=x")
	require.ErrorAs(t, err, &e)
	require.Contains(t, e.Hint, "shop")
}

func FuzzStartup(f *testing.F) {
	f.Add([]byte("user\x00ann\x00\x00"))
	f.Add([]byte("\x00"))
	f.Add([]byte("a\x00b"))
	f.Fuzz(func(t *testing.T, body []byte) {
		h := &hello{code: 3 << 16, body: body}
		if h.parse() == nil && len(body) > 0 && body[len(body)-1] != 0 {
			t.Fatalf("%q has no terminator", body)
		}
		startupOptions(string(body))
	})
}
