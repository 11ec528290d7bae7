// Package certs reads the certificate of the doors, and reads it again when its files change.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// Files names PEM files. They are read again when they change, so a renewed certificate needs no restart.
type Files struct {
	Cert, Key string
	ClientCA  string // clients must show a certificate of it
}

// Certificates are what was last read of the files. Their methods may be called from many goroutines.
type Certificates struct {
	files Files
	log   *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	stamp   [3]time.Time // when each file was changed last
	current *tls.Config
}

// lookEvery bounds how often handshakes look at the files.
const lookEvery = time.Second

// Load reads the files; a wrong one is fault.Config. Without a certificate there is no TLS: nil.
func Load(files Files, log *slog.Logger) (*Certificates, error) {
	if files == (Files{}) {
		return nil, nil
	}
	c := &Certificates{files: files, log: log}
	c.stamp = c.stamps()
	var err error
	c.current, err = c.read()
	return c, err
}

func (c *Certificates) read() (*tls.Config, error) {
	hint := "check the files of server.tls"
	cert, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return nil, fault.New(fault.Config, hint, "read the certificate %s and its key: %w", c.files.Cert, err)
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, fault.New(fault.Config, hint, "read the certificate %s: %w", c.files.Cert, err)
		}
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if c.files.ClientCA == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(c.files.ClientCA)
	if err != nil {
		return nil, fault.New(fault.Config, hint, "read client_ca: %w", err)
	}
	cfg.ClientCAs, cfg.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fault.New(fault.Config, hint, "read client_ca %s: no certificate in it", c.files.ClientCA)
	}
	return cfg, nil
}

func (c *Certificates) stamps() (out [3]time.Time) {
	for i, name := range []string{c.files.Cert, c.files.Key, c.files.ClientCA} {
		if info, err := os.Stat(name); name != "" && err == nil {
			out[i] = info.ModTime()
		}
	}
	return out
}

// now is the configuration for a handshake. When the files cannot be read again, the former ones stay.
func (c *Certificates) now() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookEvery {
		return c.current
	}
	c.looked = time.Now()
	stamp := c.stamps()
	if stamp == c.stamp {
		return c.current
	}
	cfg, err := c.read()
	if err != nil {
		c.log.Error("the changed TLS files cannot be used; the former stay", "error", err)
		return c.current
	}
	c.current, c.stamp = cfg, stamp
	c.log.Info("TLS files read again", "not_after", cfg.Certificates[0].Leaf.NotAfter)
	return c.current
}

// Config is that of a door which speaks these protocols (ALPN); it follows the files.
func (c *Certificates) Config(protocols ...string) *tls.Config {
	now := func() *tls.Config {
		cfg := c.now().Clone()
		cfg.NextProtos = protocols
		return cfg
	}
	cfg := now()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return now(), nil }
	return cfg
}

// Covers says whether the certificate names host.
func (c *Certificates) Covers(host string) bool {
	c.mu.Lock()
	leaf := c.current.Certificates[0].Leaf
	c.mu.Unlock()
	return leaf.VerifyHostname(host) == nil
}
