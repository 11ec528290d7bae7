package pgwire

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
)

const scramName = "SCRAM-SHA-256"

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
		return loginError(err)
	}
	c.send(&pgproto3.AuthenticationOk{})
	return nil
}

func loginError(err error) error {
	var e *sqlError
	if errors.As(err, &e) || errors.Is(err, errGone) {
		return err
	}
	out := describe(err)
	switch fault.CodeOf(err) {
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
	login, err := acc.NewScram(c.ctx, c.user)
	if err != nil {
		return nobody, err
	}
	m, err := c.ask(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{scramName}}, pgproto3.AuthTypeSASL)
	if err != nil {
		return nobody, err
	}
	first, ok := m.(*pgproto3.SASLInitialResponse)
	if !ok || first.AuthMechanism != scramName {
		return nobody, protocolError("expected a SASL response for " + scramName)
	}
	reply, err := login.First(string(first.Data))
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
