package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/serve/certs"
)

var update = flag.Bool("update", false, "write docs/openapi.json")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(code) }))
}

// The document in docs is the one served. go test ./serve/httpapi -run TestOpenAPI -update writes it.
func TestOpenAPI(t *testing.T) {
	k := newKit(t, kitOptions{})
	a := k.get("/openapi.json")
	require.Equal(t, 200, a.status)
	require.Equal(t, "application/vnd.oai.openapi+json", a.header.Get("Content-Type"))
	path := filepath.Join("..", "..", "docs", "openapi.json")
	if *update {
		require.NoError(t, os.WriteFile(path, a.body, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(a.body), "go test ./serve/httpapi -run TestOpenAPI -update, and look at the difference")

	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Responses   map[string]struct{ Content map[string]any }
		}
	}
	require.NoError(t, json.Unmarshal(a.body, &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.Len(t, doc.Paths, 27)
	for path, item := range doc.Paths {
		for method, op := range item {
			require.NotEmpty(t, op.OperationID)
			for status, r := range op.Responses {
				require.NotEqual(t, "422", status)
				if status >= "4" && path+status != "/readyz503" {
					b, err := json.Marshal(r.Content["application/json"])
					require.NoError(t, err)
					require.JSONEq(t, `{"schema":{"$ref":"#/components/schemas/Error"}}`, string(b), "%s %s %s", method, path, status)
				}
			}
		}
	}
}

func TestOptionsThatAreNeeded(t *testing.T) {
	_, err := New(Options{})
	require.Error(t, err)
}

func TestAddressInUse(t *testing.T) {
	k := newKit(t, kitOptions{})
	o := k.srv.opts
	o.Listen, o.Registerer = k.srv.Addr().String(), nil
	other, err := New(o)
	require.NoError(t, err)
	err = other.Run(t.Context())
	require.Equal(t, fault.Config, fault.CodeOf(err))
	require.ErrorContains(t, err, "in use")
	require.NotEmpty(t, fault.HintOf(err))
}

// A stop lets requests end that can, takes no new ones, and interrupts the rest.
func TestStopDrains(t *testing.T) {
	k := newKit(t, kitOptions{server: func(o *Options) { o.Drain = time.Minute }})
	res := k.open(t.Context(), "SELECT * FROM range(1500000)") // more than the sockets hold
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	_, err := in.ReadString('\n')
	require.NoError(t, err)
	stopped := make(chan error, 1)
	go func() { stopped <- k.stop() }()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", k.srv.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	}, 5*time.Second, time.Millisecond)
	b, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, 1_499_999, bytes.Count(b, []byte("\n")))
	require.NoError(t, <-stopped)
}

func TestStopInterrupts(t *testing.T) {
	k := newKit(t, kitOptions{server: func(o *Options) { o.Drain = 50 * time.Millisecond }})
	res := k.open(t.Context(), "SELECT * FROM range(1000000000000)") //nolint:bodyclose // It is, below.
	defer res.Body.Close()
	go func() { _, _ = io.Copy(io.Discard, res.Body) }() // ends with the connection
	start := time.Now()
	require.NoError(t, k.stop())
	require.Less(t, time.Since(start), 2*time.Second)
	k.log.Wait(t, "query ended", "code=cancelled")
	require.Empty(t, k.core.List())
}

func TestStoppingIsSaid(t *testing.T) {
	k := newKit(t, kitOptions{})
	k.srv.stopping.Store(true)
	require.Contains(t, k.get("/api/store/status").fails(503, fault.Unavailable), "stopping")
	require.Equal(t, false, k.get("/readyz").json(503)["ready"])
	k.get("/healthz").json(200)
}

func TestConnectionsAreBounded(t *testing.T) {
	k := newKit(t, kitOptions{server: func(o *Options) { o.MaxConnections = 1 }})
	tr := &http.Transport{}
	ask := func() error {
		req := mustRequest(t, "GET", k.url+"/healthz")
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		res, err := tr.RoundTrip(req.WithContext(ctx))
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	c, err := net.Dial("tcp", k.srv.Addr().String())
	require.NoError(t, err)
	_, err = c.Write([]byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 10))
	require.NoError(t, err) // it has the only place
	require.ErrorIs(t, ask(), context.DeadlineExceeded)
	c.Close()
	require.NoError(t, ask())
	tr.CloseIdleConnections()
}

// ca makes certificates for tests.
type ca struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newCA(t *testing.T) *ca {
	c := &ca{t: t}
	var err error
	c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c.cert, c.cert, c.key.Public(), c.key)
	require.NoError(t, err)
	c.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func (c *ca) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.cert)
	return p
}

// issue writes a certificate and its key.
func (c *ca) issue(certFile, keyFile, name string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(c.t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(c.t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, c.cert, key.Public(), c.key)
	require.NoError(c.t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(c.t, err)
	require.NoError(c.t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(c.t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
}

func loadCerts(t *testing.T, files certs.Files, log *slog.Logger) *certs.Certificates {
	t.Helper()
	c, err := certs.Load(files, log)
	require.NoError(t, err)
	return c
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	c := newCA(t)
	c.issue(at("tls.crt"), at("tls.key"), "pintail.test")
	c.issue(at("client.crt"), at("client.key"), "somebody")
	require.NoError(t, os.WriteFile(at("ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw}), 0o600))
	k := newKit(t, kitOptions{server: func(o *Options) {
		o.TLS = loadCerts(t, certs.Files{Cert: at("tls.crt"), Key: at("tls.key"), ClientCA: at("ca.crt")}, o.Log)
	}})
	client, err := tls.LoadX509KeyPair(at("client.crt"), at("client.key"))
	require.NoError(t, err)

	type reply struct {
		status int
		proto  string
		header http.Header
	}
	ask := func(serverName string, certs ...tls.Certificate) (reply, error) {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.pool(), ServerName: serverName, Certificates: certs}, ForceAttemptHTTP2: true}
		defer tr.CloseIdleConnections()
		req := mustRequest(t, "GET", "https://"+k.srv.Addr().String()+"/api/store/status")
		req.Host = serverName
		res, err := tr.RoundTrip(req)
		if err != nil {
			return reply{}, err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return reply{res.StatusCode, res.Proto, res.Header}, err
	}
	res, err := ask("pintail.test", client) // the certificate's name is a host name too
	require.NoError(t, err)
	require.Equal(t, 200, res.status)
	require.Equal(t, "HTTP/2.0", res.proto)
	require.NotEmpty(t, res.header.Get("Strict-Transport-Security"))
	_, err = ask("pintail.test")
	require.Error(t, err, "without a client certificate")

	// A renewed certificate is taken without a restart; a broken one is not.
	c.issue(at("tls.crt"), at("tls.key"), "renewed.test")
	require.Eventually(t, func() bool {
		res, err = ask("renewed.test", client)
		return err == nil
	}, 10*time.Second, 50*time.Millisecond)
	require.Equal(t, 200, res.status)
	require.NoError(t, os.WriteFile(at("tls.crt"), []byte("broken"), 0o600))
	require.Eventually(t, func() bool {
		_, err = ask("renewed.test", client)
		require.NoError(t, err)
		return k.log.Has("the former stay")
	}, 10*time.Second, 50*time.Millisecond)

	for _, files := range []certs.Files{{Cert: at("tls.crt"), Key: at("tls.key")}, {Cert: at("absent"), Key: at("tls.key")}, {Cert: at("client.crt"), Key: at("tls.key")}, {Key: at("tls.key")},
		{Cert: at("client.crt"), Key: at("client.key"), ClientCA: at("absent")}, {Cert: at("client.crt"), Key: at("client.key"), ClientCA: at("client.key")}} {
		_, err := certs.Load(files, slog.New(slog.DiscardHandler))
		require.Equal(t, fault.Config, fault.CodeOf(err), "%+v", files)
	}
}
