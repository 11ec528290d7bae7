package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/pintaildb/pintail/internal/fault"
)

const (
	jwksTimeout    = 10 * time.Second
	jwksBytesMax   = 1 << 20
	jwksRefresh    = 15 * time.Minute // older keys are fetched again when the next token comes
	jwksRetry      = 30 * time.Second // between fetches, whatever comes
	jwtLeeway      = 30 * time.Second // for clocks that differ
	tokenBytesMost = 16 << 10
)

// asymmetric algorithms only: with HMAC the published key would be the secret.
var jwtMethods = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

type jwtVerifier struct {
	cfg    JWT
	keys   *keySet
	parser *jwt.Parser
}

func newVerifier(cfg JWT, keys *keySet) *jwtVerifier {
	return &jwtVerifier{cfg: cfg, keys: keys, parser: jwt.NewParser(
		jwt.WithValidMethods(jwtMethods), jwt.WithIssuer(cfg.Issuer), jwt.WithAudience(cfg.Audience),
		jwt.WithExpirationRequired(), jwt.WithLeeway(jwtLeeway), jwt.WithJSONNumber())}
}

func looksLikeJWT(token string) bool {
	return len(token) <= tokenBytesMost && strings.Count(token, ".") == 2
}

type claims jwt.MapClaims

func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// email is the address that the issuer vouches for; without email_verified: true it may be whatever the person typed.
func (c claims) email() string {
	if v := c["email_verified"]; v == true || v == "true" {
		return c.text("email")
	}
	return ""
}

// name is what logs and runs call the person.
func (c claims) name() string {
	if e := c.email(); e != "" {
		return e
	}
	return c.text("sub")
}

// object is the claims as JSON, own before those of the token. What is another one in each token of the same person is left out.
func (c claims) object(own map[string]string) string {
	all := maps.Clone(c)
	for _, name := range []string{"exp", "iat", "nbf", "jti"} {
		delete(all, name)
	}
	for name, value := range own {
		all[name] = value
	}
	return string(encode(all))
}

func (v *jwtVerifier) verify(ctx context.Context, token string) (claims, error) {
	m := jwt.MapClaims{}
	var unavailable error
	_, err := v.parser.ParseWithClaims(token, m, func(t *jwt.Token) (any, error) {
		k, err := v.keys.key(ctx, t)
		if fault.CodeOf(err) == fault.Unavailable {
			unavailable = err
		}
		return k, err
	})
	switch {
	case unavailable != nil:
		return nil, unavailable
	case err != nil:
		return nil, fault.New(fault.Unauthenticated, "get a new token; issuer, audience and clock must fit the jwt: block", "the token is refused: %s", jwtReason(err))
	}
	return claims(m), nil
}

// jwtReason says why in words of our own: the library's may quote parts of the token.
func jwtReason(err error) string {
	for _, r := range []struct {
		is   error
		text string
	}{
		{jwt.ErrTokenExpired, "it has expired"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet (nbf)"},
		{jwt.ErrTokenInvalidIssuer, "it comes from another issuer"},
		{jwt.ErrTokenInvalidAudience, "it is made for another audience"},
		{jwt.ErrTokenRequiredClaimMissing, "a claim is missing (exp, iss or aud)"},
		{jwt.ErrTokenMalformed, "it is malformed"},
		{errUnknownKey, "it is signed with a key that the issuer does not publish"},
		{jwt.ErrTokenSignatureInvalid, "its signature or its algorithm is not valid"},
	} {
		if errors.Is(err, r.is) {
			return r.text
		}
	}
	return "it is not valid"
}

// claimsPrincipal maps a valid token to a role: by the user that its email or sub names, by the role claim, by the
// default. A user with a secret of its own is not taken by name: an issuer where people choose their names could make one.
// The role admin has to be configured for a claim to give it.
func (st *state) claimsPrincipal(c claims) (Principal, error) {
	name := c.name()
	if name == "" {
		return Principal{}, fault.New(fault.Forbidden, "the token needs a sub or an email claim", "the token names nobody")
	}
	for _, n := range []string{c.email(), c.text("sub")} {
		if u := st.byName[n]; u != nil && !u.hasPassword && !u.hasToken {
			return st.principal(u.name, u.role, c.object(u.own))
		}
	}
	var roles []string
	switch v := c[st.jwt.cfg.RoleClaim].(type) {
	case nil:
		if st.jwt.cfg.DefaultRole != "" {
			return st.principal(name, st.jwt.cfg.DefaultRole, c.object(nil))
		}
		return Principal{}, fault.New(fault.Forbidden, fmt.Sprintf("add a user of that name, put a role into claim %q, or set jwt.default_role", st.jwt.cfg.RoleClaim), "%s has no role", name)
	case string:
		roles = []string{v}
	case []any:
		for _, e := range v {
			if s, ok := e.(string); ok {
				roles = append(roles, s)
			}
		}
	}
	for _, r := range roles {
		if known := st.roles[r]; known != nil && !known.builtin {
			return st.principal(name, r, c.object(nil))
		}
	}
	return Principal{}, fault.New(fault.Forbidden, "define one of them under roles:, or have another one issued", "%s has the roles %q, none of which is configured", name, roles)
}

var errUnknownKey = errors.New("unknown key")

// keySet is the issuer's keys, fetched when a token needs them: at first use, when they are old, and when a token names
// a key that is not among them; never more often than jwksRetry. Keys once fetched go on while the issuer is down.
type keySet struct {
	url    string
	client *http.Client
	log    *slog.Logger

	current atomic.Pointer[fetchedKeys]

	mu        sync.Mutex // held while fetching
	attempted time.Time
	lastErr   error
}

type fetchedKeys struct {
	keyfunc keyfunc.Keyfunc
	at      time.Time
}

func (k *keySet) key(ctx context.Context, t *jwt.Token) (any, error) {
	have := k.current.Load()
	switch {
	case have == nil:
		if err := k.fetch(ctx, nil); err != nil {
			return nil, fault.New(fault.Unavailable, "check jwt.jwks_url and the network; users with passwords and static tokens still get in", "fetch the key set from %s: %w", k.url, err)
		}
	case time.Since(have.at) > jwksRefresh && k.mu.TryLock():
		// One request fetches, the others use the keys at hand; so does this one when it fails, which is logged.
		_ = k.fetchLocked(ctx, have)
		k.mu.Unlock()
	}
	have = k.current.Load()
	key, err := have.keyfunc.KeyfuncCtx(ctx)(t)
	if err == nil {
		return key, nil
	}
	if k.fetch(ctx, have) == nil {
		if key, err := k.current.Load().keyfunc.KeyfuncCtx(ctx)(t); err == nil {
			return key, nil
		}
	}
	return nil, errUnknownKey
}

// fetch gets the keys, unless somebody else has replaced seen meanwhile or tried a moment ago.
func (k *keySet) fetch(ctx context.Context, seen *fetchedKeys) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fetchLocked(ctx, seen)
}

func (k *keySet) fetchLocked(ctx context.Context, seen *fetchedKeys) error {
	if k.current.Load() != seen {
		return nil
	}
	if !k.attempted.IsZero() && time.Since(k.attempted) < jwksRetry {
		return k.lastErr
	}
	// A client that goes away must not spoil the fetch for those behind it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), jwksTimeout)
	defer cancel()
	k.attempted = time.Now()
	kf, err := k.get(ctx)
	k.lastErr = err
	if err != nil {
		k.log.Warn("the key set could not be fetched", "url", k.url, "error", err, "cached", seen != nil)
		return err
	}
	k.current.Store(&fetchedKeys{keyfunc: kf, at: time.Now()})
	return nil
}

func (k *keySet) get(ctx context.Context) (keyfunc.Keyfunc, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, jwksBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(body) > jwksBytesMax {
		return nil, fmt.Errorf("the answer has more than %d bytes", jwksBytesMax)
	}
	return keyfunc.NewJWKSetJSON(json.RawMessage(body))
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
