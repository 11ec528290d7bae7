package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"

	"github.com/pintaildb/pintail/internal/fault"
)

// tokenBytesMin is the length below which a static token is warned about: its hash is fast, so it must not be guessable.
const tokenBytesMin = 16

// user is a User without its secrets.
type user struct {
	name, role  string
	own         map[string]string // claims that the configuration gives
	claims      string            // as Principal.Claims, of one who logs in with a secret
	hasToken    bool
	token       [sha256.Size]byte
	hasPassword bool
	salt, hash  []byte
	scram       scramKeys // of the password
	// known is the keyed fingerprint of the password that last matched, so that a client that sends Basic with every
	// request pays for argon2 once. The key lives in this process only.
	known atomic.Pointer[[sha256.Size]byte]
}

var processKey = func() []byte {
	k := make([]byte, 32)
	rand.Read(k) // never fails since Go 1.24
	return k
}()

func newUser(u User) (*user, error) {
	c := &user{name: u.Name, role: u.Role, hasToken: u.Token != "", hasPassword: u.Password != ""}
	c.own, c.claims = u.Claims, claims{"sub": u.Name}.object(u.Claims)
	if c.hasToken {
		c.token = sha256.Sum256([]byte(u.Token))
	}
	if c.hasPassword {
		// Of the name and not drawn, so that session tokens outlive a restart; the hash never leaves this process.
		salt := sha256.Sum256([]byte("pintail user " + u.Name))
		c.salt = salt[:16]
		c.hash = slowHash(u.Password, c.salt)
		c.scram = newScramKeys(u.Name, u.Password)
	}
	return c, nil
}

// slowHash is argon2id with OWASP's parameters for 19 MiB: about 30 ms.
func slowHash(password string, salt []byte) []byte {
	return argon2.IDKey([]byte(password), salt, 2, 19*1024, 1, 32)
}

func fingerprint(name, password string) [sha256.Size]byte {
	m := hmac.New(sha256.New, processKey)
	fmt.Fprintf(m, "%d:%s%s", len(name), name, password)
	return [sha256.Size]byte(m.Sum(nil))
}

type remoteKey struct{}

// WithRemote says which address a request came from, for the throttle and the audit log; doors call it before Authenticate.
func WithRemote(ctx context.Context, remote string) context.Context {
	return context.WithValue(ctx, remoteKey{}, remote)
}

// Remote is the address that WithRemote was told, without its port.
func Remote(ctx context.Context) string {
	s, _ := ctx.Value(remoteKey{}).(string)
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().String()
	}
	return s
}

// Authenticate says who a request comes from: by its bearer token (a static one or a JWT), or else by user and
// password. With neither users nor JWT configured, everybody on loopback is an administrator and nobody else gets in.
// Errors: fault.Unauthenticated for wrong or missing credentials, fault.Forbidden for a known person without a role,
// fault.Limit after too many failures, fault.Unavailable when the key set could never be fetched.
func (a *Access) Authenticate(ctx context.Context, bearer, basicUser, basicPassword string, remoteIsLoopback bool) (Principal, error) {
	st := a.state.Load()
	if len(st.users) == 0 && st.jwt == nil {
		if remoteIsLoopback {
			return Local(), nil
		}
		return Principal{}, fault.New(fault.Unauthenticated, "add users: and roles: to the configuration", "no users are configured, so only clients on this machine are let in")
	}
	remote := Remote(ctx)
	switch {
	case bearer != "":
		p, who, err := a.bearer(ctx, st, bearer)
		if err != nil {
			return Principal{}, a.refuse(ctx, remote, who, false, err)
		}
		return p, nil
	case basicUser != "" || basicPassword != "":
		return a.password(ctx, st, remote, basicUser, basicPassword)
	}
	return Principal{}, fault.New(fault.Unauthenticated, "send Authorization: Bearer TOKEN, or a user and a password", "no credentials were sent")
}

// login is the principal of a user of the configuration.
func (st *state) login(u *user) (Principal, error) {
	return st.principal(u.name, u.role, u.claims)
}

func (st *state) principal(name, roleName, claims string) (Principal, error) {
	r := st.roles[roleName]
	if r == nil {
		return Principal{}, fault.New(fault.Forbidden, "define the role in the configuration, or give another one to whoever issues the token", "%s has role %q, which is not configured", name, roleName)
	}
	return Principal{User: name, Role: roleName, Admin: r.Admin, Claims: claims}, nil
}

func (a *Access) bearer(ctx context.Context, st *state, token string) (p Principal, who string, err error) {
	sum := sha256.Sum256([]byte(token))
	var found *user
	for _, u := range st.users { // all of them, so that the time does not tell which
		if u.hasToken && subtle.ConstantTimeCompare(sum[:], u.token[:]) == 1 {
			found = u
		}
	}
	if found != nil {
		p, err = st.login(found)
		return p, found.name, err
	}
	if strings.HasPrefix(token, sessionTokenPrefix) {
		return st.session(token)
	}
	if st.jwt == nil || !looksLikeJWT(token) {
		return Principal{}, "", fault.New(fault.Unauthenticated, "check the token", "the bearer token is not known")
	}
	claims, err := st.jwt.verify(ctx, token)
	if err != nil {
		return Principal{}, "", err
	}
	p, err = st.claimsPrincipal(claims)
	return p, claims.name(), err
}

func (a *Access) password(ctx context.Context, st *state, remote, name, password string) (Principal, error) {
	u := st.byName[name]
	wrong := fault.New(fault.Unauthenticated, "check user and password", "user or password is wrong")
	if u != nil && u.hasPassword {
		f := fingerprint(name, password)
		if k := u.known.Load(); k != nil && subtle.ConstantTimeCompare(k[:], f[:]) == 1 {
			return st.login(u)
		}
	}
	// The right password costs argon2 as well, so it waits too while its user and address are being guessed.
	if wait := a.throttle.blocked(remote, name); wait > 0 {
		return Principal{}, tooMany(wait)
	}
	select {
	case a.hashing <- struct{}{}:
		defer func() { <-a.hashing }()
	case <-ctx.Done():
		return Principal{}, fmt.Errorf("check a password: %w", ctx.Err())
	}
	if u == nil || !u.hasPassword {
		slowHash(password, processKey[:16]) // the same time as for a user that exists
		return Principal{}, a.refuse(ctx, remote, name, u == nil, wrong)
	}
	if subtle.ConstantTimeCompare(slowHash(password, u.salt), u.hash) != 1 {
		return Principal{}, a.refuse(ctx, remote, name, false, wrong)
	}
	f := fingerprint(name, password)
	u.known.Store(&f)
	a.throttle.forget(remote, name)
	return st.login(u)
}

// refuse counts and logs a failed login. Unknown names are not logged: people type passwords into the user's field.
func (a *Access) refuse(ctx context.Context, remote, name string, unknown bool, err error) error {
	code := fault.CodeOf(err)
	if code != fault.Unauthenticated && code != fault.Forbidden {
		return err
	}
	wait, first := a.throttle.failed(remote, name)
	if unknown {
		name = "(unknown)"
	}
	if first {
		a.log.LogAttrs(ctx, slog.LevelWarn, "login refused", slog.String("user", name), slog.String("remote", remote),
			slog.String("reason", reason(err)), slog.Duration("blocked_for", wait))
	}
	if wait > 0 && code == fault.Unauthenticated && !first {
		return tooMany(wait)
	}
	return err
}

// reason is the error's own text, which never holds a secret: verify and password put none into it.
func reason(err error) string {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.Error()
	}
	return "internal"
}
