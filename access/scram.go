package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/xdg-go/scram"

	"github.com/pintaildb/pintail/internal/fault"
)

// LoginMethod is how a door that knows the name before the secret has to ask for it.
type LoginMethod int

// The methods. LoginSecret sends a password or a token as it is, so it is only for connections that nobody else reads.
const (
	LoginNone   LoginMethod = iota // nobody has to log in: Authenticate decides by the address
	LoginSCRAM                     // SCRAM-SHA-256, with channel binding over TLS
	LoginSecret                    // LoginWithSecret
)

// scramIterations is PostgreSQL's default. The verifiers live in this process only.
const scramIterations = 4096

// MethodOf says how name logs in. It is the same for a name that nobody has as for one of a user: which method such a name gets is drawn,
// once and for all, from the methods that the configured users have. secure says that the connection is encrypted or from this
// machine; without it nobody is asked for a token.
func (a *Access) MethodOf(name string, secure bool) LoginMethod {
	st := a.state.Load()
	switch {
	case len(st.users) == 0 && st.jwt == nil:
		return LoginNone
	case !secure:
		return LoginSCRAM
	case st.jwt != nil: // under any name, since tokens say who they are of
		return LoginSecret
	}
	u := st.byName[name]
	if u == nil {
		sum := keyed("login method", name)
		u = st.users[(int(sum[0])<<8|int(sum[1]))%len(st.users)]
	}
	if u.hasPassword {
		return LoginSCRAM
	}
	return LoginSecret
}

// LoginWithSecret takes what a client that was asked by LoginSecret has sent: the password of the user name, or a token. A static token of
// another user is refused. Errors are those of Authenticate.
func (a *Access) LoginWithSecret(ctx context.Context, name, secret string) (Principal, error) {
	st := a.state.Load()
	remote := Remote(ctx)
	if u := st.byName[name]; u != nil && u.hasPassword {
		if p, err := a.password(ctx, st, remote, name, secret); err == nil || !u.hasToken && !looksLikeJWT(secret) {
			return p, err
		}
	}
	if wait := a.throttle.blocked(remote, name); wait > 0 {
		return Principal{}, tooMany(wait)
	}
	p, _, err := a.bearer(ctx, st, secret)
	if u := st.byName[name]; err == nil && u != nil && p.User != name {
		err = fault.New(fault.Unauthenticated, "log in as the user whose token it is", "the token is not one of this user")
	}
	if err == nil {
		a.throttle.forget(remote, name)
		return p, nil
	}
	if fault.CodeOf(err) == fault.Unauthenticated {
		err = fault.New(fault.Unauthenticated, "check user and secret", "user, password or token is wrong")
	}
	return Principal{}, a.refuse(ctx, remote, name, st.byName[name] == nil, err)
}

// Scram is one login by SCRAM-SHA-256. One goroutine uses it.
type Scram struct {
	a     *Access
	st    *state
	ctx   context.Context
	name  string
	user  *user // nil: there is none with a password
	keys  scramKeys
	steps *scram.ServerConversation

	binding []byte // what binds the connection, by tls-server-end-point; nil: it cannot be bound
	bound   *boundLogin
}

// scramKeys are what the server keeps of a password. The salt comes from the name, so that it stays the same for a name without a
// user too.
type scramKeys struct{ stored, server []byte }

func scramSalt(name string) string { return string(keyed("scram salt", name)[:16]) }

func keyed(use, name string) []byte {
	m := hmac.New(sha256.New, processKey)
	fmt.Fprintf(m, "%s:%s", use, name)
	return m.Sum(nil)
}

func newScramKeys(name, password string) scramKeys {
	client, err := scram.SHA256.NewClient("", password, "")
	if err != nil { // no text that SASLprep knows: PostgreSQL's clients take it as it is
		client, err = scram.SHA256.NewClientUnprepped("", password, "")
	}
	if err != nil {
		return scramKeys{stored: keyed("no key", name), server: keyed("no key", name)}
	}
	c := client.GetStoredCredentials(scram.KeyFactors{Salt: scramSalt(name), Iters: scramIterations})
	return scramKeys{stored: c.StoredKey, server: c.ServerKey}
}

// NewScram begins a login of name. binding is the connection's tls-server-end-point, where SCRAM-SHA-256-PLUS was offered; nil where it
// was not. fault.Limit after too many failures.
func (a *Access) NewScram(ctx context.Context, name string, binding []byte) (*Scram, error) {
	if wait := a.throttle.blocked(Remote(ctx), name); wait > 0 {
		return nil, tooMany(wait)
	}
	s := &Scram{a: a, st: a.state.Load(), ctx: ctx, name: name, binding: binding}
	keys := scramKeys{stored: keyed("no key", name), server: keyed("no key", name)}
	if u := s.st.byName[name]; u != nil && u.hasPassword {
		s.user, keys = u, u.scram
	}
	s.keys = keys
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) {
		return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: scramSalt(name), Iters: scramIterations}, StoredKey: keys.stored, ServerKey: keys.server}, nil
	})
	if err != nil {
		return nil, fault.New(fault.Internal, "", "begin SCRAM: %w", err)
	}
	s.steps = server.NewConversation()
	return s, nil
}

// First answers the client's first message, by SCRAM-SHA-256-PLUS with plus. fault.Usage for one that is malformed.
func (s *Scram) First(message string, plus bool) (string, error) {
	switch {
	case plus:
		return s.firstBound(message)
	case strings.HasPrefix(message, "p="):
		return "", fault.New(fault.Usage, "choose SCRAM-SHA-256-PLUS to bind the channel", "the client's first SCRAM message binds the channel, and its mechanism does not")
	case strings.HasPrefix(message, "y,") && s.binding != nil:
		// Somebody in between has kept the offer from the client.
		return "", s.refused(fault.New(fault.Unauthenticated, "the connection may be tampered with: connect with channel_binding=require", "the client says that the server does not support channel binding, and it does"))
	}
	if strings.HasPrefix(message, ",") || message == "" {
		return "", fault.New(fault.Usage, "", "the client's first SCRAM message is malformed")
	}
	reply, err := s.steps.Step(message)
	if err != nil {
		return "", fault.New(fault.Usage, "", "the client's first SCRAM message: %w", err)
	}
	return reply, nil
}

// Final checks the client's proof, and answers with the server's. fault.Usage for a malformed message, else the errors of Authenticate.
func (s *Scram) Final(message string) (string, Principal, error) {
	at := strings.LastIndex(message, ",p=")
	if at < 0 {
		return "", Principal{}, fault.New(fault.Usage, "", "the client's last SCRAM message has no proof")
	}
	if proof, err := base64.StdEncoding.DecodeString(message[at+len(",p="):]); err != nil || len(proof) != sha256.Size {
		return "", Principal{}, fault.New(fault.Usage, "", "the client's last SCRAM message is malformed")
	}
	var reply string
	var err error
	valid := false
	if s.bound != nil {
		reply, valid, err = s.bound.final(message, s.keys)
	} else if reply, err = s.steps.Step(message); err == nil {
		valid = s.steps.Valid()
	}
	if err != nil || !valid || s.user == nil {
		wrong := fault.New(fault.Unauthenticated, "check user and password; a token is taken only over TLS or from this machine", "user or password is wrong")
		if errors.Is(err, errOtherChannel) {
			wrong = fault.New(fault.Unauthenticated, "somebody may stand between client and server: check the certificate that the client sees", "%w", err)
		}
		return "", Principal{}, s.refused(wrong)
	}
	s.a.throttle.forget(Remote(s.ctx), s.name)
	p, err := s.st.login(s.user)
	return reply, p, err
}

func (s *Scram) refused(err error) error {
	return s.a.refuse(s.ctx, Remote(s.ctx), s.name, s.st.byName[s.name] == nil, err)
}
