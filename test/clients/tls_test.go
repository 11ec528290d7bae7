package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// With server.tls each client asks for TLS, by the name of the server and the certificate of its authority.
func TestTLS(t *testing.T) {
	t.Parallel()
	k := &kit{t: t, source: source(t)}
	p := harness.New(t)
	cert, key := certificate(t, p.Dir)
	s := k.project(p, fmt.Sprintf(", tls: {cert: %q, key: %q}", cert, key))
	s.host = "localhost"
	pr := p.Start("serve")
	text, err := os.ReadFile(cert)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	_, port, err := net.SplitHostPort(p.Listen)
	require.NoError(t, err)
	harness.Eventually(t, time.Minute, "the server is ready", func() bool {
		require.False(t, pr.Ended(), pr.Stderr())
		res, err := client.Get("https://localhost:" + port + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	const want = "100 customers over TLS\nrefused\n"
	for name, prog := range map[string]program{"pgjdbc": java("java/TLS.java"), "psycopg2": python("python/tls.py"), "psqlODBC": python("python/odbc_tls.py"), "node": node("node/tls.js")} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, want, prog.run(t, s, cert))
		})
	}
}

// certificate makes a certificate for localhost that is its own authority.
func certificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	return certFile, keyFile
}
