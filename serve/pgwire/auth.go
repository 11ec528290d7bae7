package pgwire

import (
	"crypto"
	_ "crypto/sha256" // the hashes of endPoint
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
)

const (
	scramName     = "SCRAM-SHA-256"
	scramPlusName = "SCRAM-SHA-256-PLUS"
)

// login finds out who the client is, and says AuthenticationOk.
func (c *conn) login() (err error) {
	acc := c.s.opts.Access
	switch acc.MethodOf(c.user, c.secure) {
	case access.LoginNone:
		c.who, err = acc.Authenticate(c.ctx, "", "", "", c.remote.IsLoopback())
	case access.LoginSCRAM:
		c.who, err = c.loginSCRAM(acc)
	default:
		c.who, err = c.loginSecret(acc)
	}
	if err != nil {
		return loginError(err, c.user)
	}
	c.send(&pgproto3.AuthenticationOk{})
	return nil
}

func loginError(err error, user string) error {
	var e *sqlError
	if errors.As(err, &e) || errors.Is(err, errGone) {
		return err
	}
	out := describe(err)
	switch fault.CodeOf(err) {
	case fault.Unauthenticated:
		if out.state == "28P01" { // programs look for these words
			out.logged = out.message // without the name, in whose place people type passwords
			out.message = `password authentication failed for user "` + clip(user) + `"`
		}
	case fault.Limit: // too many failures
		out.state = "28000"
	case fault.Forbidden:
		out.state = "28000"
	case fault.Usage:
		out.state = "08P01"
	}
	return out
}

func (c *conn) ask(m pgproto3.BackendMessage, authType uint32) (pgproto3.FrontendMessage, error) {
	c.send(m)
	if err := c.backend.SetAuthType(authType); err != nil {
		return nil, err
	}
	if err := c.flush(); err != nil {
		return nil, err
	}
	answer, err := c.backend.Receive()
	if err != nil {
		if err = c.receiveError(err); err == nil {
			err = errGone
		}
	}
	return answer, err
}

func (c *conn) loginSCRAM(acc *access.Access) (access.Principal, error) {
	var nobody access.Principal
	login, err := acc.NewScram(c.ctx, c.user, c.binding)
	if err != nil {
		return nobody, err
	}
	mechanisms := []string{scramName}
	if c.binding != nil {
		mechanisms = []string{scramPlusName, scramName}
	}
	m, err := c.ask(&pgproto3.AuthenticationSASL{AuthMechanisms: mechanisms}, pgproto3.AuthTypeSASL)
	if err != nil {
		return nobody, err
	}
	first, ok := m.(*pgproto3.SASLInitialResponse)
	if !ok || !slices.Contains(mechanisms, first.AuthMechanism) {
		return nobody, protocolError("expected a SASL response for " + strings.Join(mechanisms, " or "))
	}
	reply, err := login.First(string(first.Data), first.AuthMechanism == scramPlusName)
	if err != nil {
		return nobody, err
	}
	if m, err = c.ask(&pgproto3.AuthenticationSASLContinue{Data: []byte(reply)}, pgproto3.AuthTypeSASLContinue); err != nil {
		return nobody, err
	}
	final, ok := m.(*pgproto3.SASLResponse)
	if !ok {
		return nobody, protocolError("expected a SASL response")
	}
	reply, who, err := login.Final(string(final.Data))
	if err != nil {
		return nobody, err
	}
	c.send(&pgproto3.AuthenticationSASLFinal{Data: []byte(reply)})
	return who, nil
}

func (c *conn) loginSecret(acc *access.Access) (access.Principal, error) {
	m, err := c.ask(&pgproto3.AuthenticationCleartextPassword{}, pgproto3.AuthTypeCleartextPassword)
	if err != nil {
		return access.Principal{}, err
	}
	p, ok := m.(*pgproto3.PasswordMessage)
	if !ok {
		return access.Principal{}, protocolError("expected a password")
	}
	return acc.LoginWithSecret(c.ctx, c.user, strings.TrimRight(p.Password, "\x00"))
}

// endPoint is tls-server-end-point (RFC 5929) of a connection that was served with cfg: the hash of the certificate that its client has
// seen. It is nil where that is not known, or where clients may not know which hash to take.
func endPoint(t *tls.Conn, cfg *tls.Config) []byte {
	if t.ConnectionState().DidResume || len(cfg.Certificates) != 1 || cfg.GetCertificate != nil {
		return nil
	}
	raw := cfg.Certificates[0].Certificate[0]
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil
	}
	var h crypto.Hash
	switch leaf.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.ECDSAWithSHA256, x509.SHA1WithRSA, x509.ECDSAWithSHA1:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512:
		h = crypto.SHA512
	default:
		return nil
	}
	sum := h.New()
	sum.Write(raw)
	return sum.Sum(nil)
}
