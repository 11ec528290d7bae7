package access

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

// issuer is an identity provider: it publishes what keys holds, or fails while down.
type issuer struct {
	url   string
	keys  atomic.Pointer[[]byte]
	down  atomic.Bool
	asked atomic.Int32
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{}
	i.publish(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		if i.down.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		_, _ = w.Write(*i.keys.Load())
	}))
	t.Cleanup(s.Close)
	i.url = s.URL
	return i
}

type signingKey struct {
	id     string
	secret crypto.Signer
}

func (i *issuer) publish(t *testing.T, keys ...signingKey) {
	set := jwkset.JWKSMarshal{Keys: []jwkset.JWKMarshal{}}
	for _, k := range keys {
		j, err := jwkset.NewJWKFromKey(k.secret.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: k.id}})
		require.NoError(t, err)
		set.Keys = append(set.Keys, j.Marshal())
	}
	b, err := json.Marshal(set)
	require.NoError(t, err)
	i.keys.Store(&b)
}

func rsaKey(t *testing.T, id string) signingKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return signingKey{id, k}
}

func sign(t *testing.T, method jwt.SigningMethod, key any, kid string, c jwt.MapClaims) string {
	token := jwt.NewWithClaims(method, c)
	if kid != "" {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(key)
	require.NoError(t, err)
	return s
}

// claim sets like those of a scheduler's OIDC token, changed by over; a nil value takes a claim out.
func oidc(over jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"iss": "https://accounts.example", "aud": "https://pintail.example", "sub": "1234567",
		"email": "cron@project.example", "email_verified": true, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for k, v := range over {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

func jwtConfig(url string) Config {
	return Config{
		JWT:   JWT{Issuer: "https://accounts.example", Audience: "https://pintail.example", JWKSURL: url},
		Users: []User{{Name: "cron@project.example", Role: "loader"}, {Name: "77", Role: "reader"}, {Name: "static@project.example", Token: loaderToken, Role: "admin"}},
		Roles: []Role{{Name: "loader", Write: []string{"*"}}, {Name: "reader", Read: []string{"*"}}},
	}
}

func TestJWT(t *testing.T) {
	i, key := newIssuer(t), rsaKey(t, "k1")
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	i.publish(t, key, signingKey{"k2", ec})
	a, err := New(jwtConfig(i.url), nil, nil)
	require.NoError(t, err)
	require.Zero(t, i.asked.Load(), "keys are fetched when the first token comes")
	ok := Principal{User: "cron@project.example", Role: "loader"}
	other := rsaKey(t, "k1")
	for name, c := range map[string]struct {
		token string
		want  Principal
		code  fault.Code
		says  string
	}{
		"email":              {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(nil)), want: ok},
		"elliptic":           {token: sign(t, jwt.SigningMethodES256, ec, "k2", oidc(nil)), want: ok},
		"audiences":          {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"aud": []string{"x", "https://pintail.example"}})), want: ok},
		"sub":                {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email": nil, "sub": "77"})), want: Principal{User: "77", Role: "reader"}},
		"role claim":         {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email": "x@y", "role": "reader"})), want: Principal{User: "x@y", Role: "reader"}},
		"role list":          {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email": nil, "role": []string{"else", "reader"}})), want: Principal{User: "1234567", Role: "reader"}},
		"unknown role":       {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email": nil, "role": "boss"})), code: fault.Forbidden, says: "boss"},
		"role admin":         {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email": nil, "role": "admin"})), code: fault.Forbidden, says: "admin"},
		"no role":            {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email": "x@y"})), code: fault.Forbidden, says: "no role"},
		"unverified email":   {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email_verified": false})), code: fault.Forbidden},
		"unsaid email":       {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email_verified": nil})), code: fault.Forbidden},
		"user with a secret": {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email": "static@project.example"})), code: fault.Forbidden},
		"nobody":             {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email": nil, "sub": nil, "role": "reader"})), code: fault.Forbidden},
		"expired":            {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()})), code: fault.Unauthenticated, says: "expired"},
		"no exp":             {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"exp": nil})), code: fault.Unauthenticated, says: "exp"},
		"not yet":            {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()})), code: fault.Unauthenticated, says: "not valid yet"},
		"other issuer":       {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"iss": "https://evil"})), code: fault.Unauthenticated, says: "issuer"},
		"other audience":     {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"aud": "https://else"})), code: fault.Unauthenticated, says: "audience"},
		"no audience":        {token: sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"aud": nil})), code: fault.Unauthenticated},
		"other key":          {token: sign(t, jwt.SigningMethodRS256, other.secret, "k1", oidc(nil)), code: fault.Unauthenticated, says: "signature"},
		"unknown key":        {token: sign(t, jwt.SigningMethodRS256, other.secret, "k9", oidc(nil)), code: fault.Unauthenticated, says: "does not publish"},
		"no key id":          {token: sign(t, jwt.SigningMethodRS256, other.secret, "", oidc(nil)), code: fault.Unauthenticated},
		"symmetric":          {token: sign(t, jwt.SigningMethodHS256, []byte("k"), "k1", oidc(nil)), code: fault.Unauthenticated, says: "algorithm"},
		"none":               {token: sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "k1", oidc(nil)), code: fault.Unauthenticated},
		"garbage":            {token: "a.b.c", code: fault.Unauthenticated, says: "malformed"},
		"static":             {token: loaderToken, want: Principal{User: "static@project.example", Role: "admin", Admin: true}},
	} {
		p, err := a.Authenticate(WithRemote(context.Background(), name), c.token, "", "", false)
		require.Equal(t, c.code, fault.CodeOf(err), "%s: %v", name, err)
		if err == nil {
			require.Contains(t, p.Claims, `"sub":"`, name)
			p.Claims = ""
		}
		require.Equal(t, c.want, p, name)
		if err != nil {
			require.ErrorContains(t, err, c.says, name)
		}
	}
	require.EqualValues(t, 1, i.asked.Load(), "unknown keys do not make every token a fetch")
	_, err = a.Authenticate(context.Background(), "", "", "", true)
	require.Equal(t, fault.Unauthenticated, fault.CodeOf(err), "with a JWT block nobody is let in for being local")

	cfg := jwtConfig(i.url)
	cfg.JWT.DefaultRole, cfg.JWT.RoleClaim = "reader", "https://x/roles"
	require.NoError(t, a.Update(cfg))
	p, err := a.Authenticate(context.Background(), sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email": nil})), "", "", false)
	require.NoError(t, err)
	require.Equal(t, "reader", p.Role)
	_, err = a.Authenticate(context.Background(), sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(jwt.MapClaims{"email": nil, "https://x/roles": "boss"})), "", "", false)
	require.Equal(t, fault.Forbidden, fault.CodeOf(err), "the default is for tokens without the claim")
	require.EqualValues(t, 1, i.asked.Load(), "a reload keeps the keys")
}

func TestJWKSDownAndRotated(t *testing.T) {
	i, key := newIssuer(t), rsaKey(t, "k1")
	i.publish(t, key)
	i.down.Store(true)
	a, err := New(jwtConfig(i.url), nil, nil)
	require.NoError(t, err, "an issuer that is down does not stop the start")
	token := sign(t, jwt.SigningMethodRS256, key.secret, "k1", oidc(nil))
	login := func(token string) error {
		_, err := a.Authenticate(context.Background(), token, "", "", false)
		return err
	}
	err = login(token)
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	require.ErrorContains(t, err, i.url)
	require.ErrorContains(t, err, "502")
	require.NoError(t, login(loaderToken), "static tokens go on")
	require.Error(t, login(token))
	require.EqualValues(t, 1, i.asked.Load(), "a failing issuer is not asked at once again")

	keys := a.state.Load().jwt.keys
	later := func(d time.Duration) { // lets d pass for the key set
		keys.attempted = keys.attempted.Add(-d)
		if f := keys.current.Load(); f != nil {
			keys.current.Store(&fetchedKeys{f.keyfunc, f.at.Add(-d)})
		}
	}
	i.down.Store(false)
	later(jwksRetry)
	require.NoError(t, login(token))
	require.EqualValues(t, 2, i.asked.Load())

	i.down.Store(true)
	later(jwksRefresh + time.Second)
	require.NoError(t, login(token), "cached keys go on while the issuer is down")
	require.EqualValues(t, 3, i.asked.Load())

	rotated := rsaKey(t, "k2")
	i.publish(t, rotated)
	i.down.Store(false)
	next := sign(t, jwt.SigningMethodRS256, rotated.secret, "k2", oidc(nil))
	require.Equal(t, fault.Unauthenticated, fault.CodeOf(login(next)), "asked a moment ago")
	later(jwksRetry)
	require.NoError(t, login(next), "a new key is fetched when a token names it")
	require.Equal(t, fault.Unauthenticated, fault.CodeOf(login(token)), "a key withdrawn is not taken any more")
}

// Claims are those of the token, but for what changes with each one, under those that the configuration gives the user.
func TestClaims(t *testing.T) {
	c := claims{"sub": "7", "tenant": "acme", "groups": []any{"a", "b"}, "exp": json.Number("1"), "iat": json.Number("1"), "n": json.Number("9007199254740993")}
	require.JSONEq(t, `{"sub":"7","tenant":"acme","groups":["a","b"],"n":9007199254740993}`, c.object(nil))
	require.JSONEq(t, `{"sub":"7","tenant":"other","groups":["a","b"],"n":9007199254740993}`, c.object(map[string]string{"tenant": "other"}))
	require.Len(t, c, 6, "it is a copy")
}
