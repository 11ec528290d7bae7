package access

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

const loaderToken = "loader-token-0123456789"

func loginConfig() Config {
	return Config{
		Users: []User{{Name: "grafana", Password: "pa:ss wörd", Role: "reader"}, {Name: "loader", Token: loaderToken, Role: "loader"}, {Name: "root", Token: "root-token-0123456789", Role: "admin"}},
		Roles: []Role{
			{Name: "reader", Read: []string{"*"}, Limits: Limits{Time: 30 * time.Second, Rows: 10, ResultBytes: 20, Concurrency: 4}},
			{Name: "loader", Write: []string{"events.*"}},
		},
		Resolver: gateTables(),
	}
}

func TestAuthenticate(t *testing.T) {
	var log bytes.Buffer
	a, err := New(loginConfig(), nil, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	for i, c := range []struct {
		bearer, user, password string
		want                   Principal
		code                   fault.Code
	}{
		{bearer: loaderToken, want: Principal{User: "loader", Role: "loader"}},
		{bearer: "root-token-0123456789", want: Principal{User: "root", Role: "admin", Admin: true}},
		{user: "grafana", password: "pa:ss wörd", want: Principal{User: "grafana", Role: "reader"}},
		{user: "grafana", password: "pa:ss wörd", want: Principal{User: "grafana", Role: "reader"}}, // from the fingerprint
		{user: "grafana", password: "pa:ss", code: fault.Unauthenticated},
		{user: "grafana", password: "", code: fault.Unauthenticated},
		{user: "loader", password: loaderToken, code: fault.Unauthenticated},
		{user: "nobody", password: "hunter2", code: fault.Unauthenticated},
		{user: "", password: "hunter2", code: fault.Unauthenticated},
		{bearer: loaderToken + "x", code: fault.Unauthenticated},
		{bearer: "pa:ss wörd", code: fault.Unauthenticated},
		{bearer: "a.b.c", code: fault.Unauthenticated},
		{code: fault.Unauthenticated},
	} {
		ctx := WithRemote(context.Background(), fmt.Sprintf("10.1.2.%d:5555", i))
		for _, loopback := range []bool{true, false} { // with users, loopback is nothing special
			p, err := a.Authenticate(ctx, c.bearer, c.user, c.password, loopback)
			require.Equal(t, c.code, fault.CodeOf(err), "%+v: %v", c, err)
			if c.want.User != "" {
				c.want.Claims = `{"sub":"` + c.want.User + `"}`
			}
			require.Equal(t, c.want, p)
			if err != nil {
				require.NotEmpty(t, fault.HintOf(err))
			}
		}
	}
	require.Contains(t, log.String(), `user=grafana remote=10.1.2.4 reason="user or password is wrong"`)
	for _, secret := range []string{"hunter2", loaderToken, "wörd", "nobody"} {
		require.NotContains(t, log.String(), secret)
	}
	require.False(t, a.Open())
}

func TestOpenInstance(t *testing.T) {
	a, err := New(Config{}, nil, nil)
	require.NoError(t, err)
	require.True(t, a.Open())
	p, err := a.Authenticate(context.Background(), "", "", "", true)
	require.NoError(t, err)
	require.NoError(t, a.CanAdmin(p))
	require.NoError(t, a.CanSync(p, "m"))
	_, err = a.Authenticate(context.Background(), "anything", "", "", false)
	require.Equal(t, fault.Unauthenticated, fault.CodeOf(err))
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a, err := New(loginConfig(), nil, slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, err)
		from := func(addr string) context.Context { return WithRemote(context.Background(), addr) }
		wrong := func(addr string) error {
			_, err := a.Authenticate(from(addr), "", "grafana", "wrong", false)
			return err
		}
		right := func(addr string) error {
			_, err := a.Authenticate(from(addr), "", "grafana", "pa:ss wörd", false)
			return err
		}
		for range failuresFree {
			require.Equal(t, fault.Unauthenticated, fault.CodeOf(wrong("10.0.0.1:1")))
		}
		require.Equal(t, fault.Limit, fault.CodeOf(wrong("10.0.0.1:2")), "another port is the same address")
		require.Equal(t, fault.Limit, fault.CodeOf(right("10.0.0.1:1")), "the right password waits too")
		require.NoError(t, right("10.0.0.2:1"), "others are not locked out")
		require.NoError(t, right("10.0.0.1:1"), "a password seen right before costs nothing and passes")
		time.Sleep(waitMin)
		require.Equal(t, fault.Unauthenticated, fault.CodeOf(wrong("10.0.0.1:1")))
		time.Sleep(waitMin)
		require.Equal(t, fault.Limit, fault.CodeOf(wrong("10.0.0.1:1")), "the wait has doubled")
		time.Sleep(forgetAfter + time.Second)
		require.Equal(t, fault.Unauthenticated, fault.CodeOf(wrong("10.0.0.1:1")))
		logged := strings.Count(log.String(), "login refused")
		for range 100 {
			_, err := a.Authenticate(from("10.0.0.9:1"), "garbage", "", "", false)
			require.Error(t, err)
		}
		require.Equal(t, failuresFree, strings.Count(log.String(), "login refused")-logged, "the log is not filled")
		_, err = a.Authenticate(from("10.0.0.9:1"), loaderToken, "", "", false)
		require.NoError(t, err, "a valid token always passes")
		for i := range 3 * entriesMax {
			a.throttle.failed(fmt.Sprint("r", i), "u")
		}
		require.LessOrEqual(t, len(a.throttle.entries), entriesMax)
	})
}

func TestUpdate(t *testing.T) {
	a, err := New(loginConfig(), nil, nil)
	require.NoError(t, err)
	cfg := loginConfig()
	cfg.Users[1].Token = "another-token-0123456789"
	cfg.Roles[1].Admin = true
	require.NoError(t, a.Update(cfg))
	_, err = a.Authenticate(context.Background(), loaderToken, "", "", false)
	require.Equal(t, fault.Unauthenticated, fault.CodeOf(err))
	p, err := a.Authenticate(context.Background(), "another-token-0123456789", "", "", false)
	require.NoError(t, err)
	require.True(t, p.Admin)
	cfg.Users[0].Role = "gone"
	require.Equal(t, fault.Config, fault.CodeOf(a.Update(cfg)))
	_, err = a.Authenticate(context.Background(), "another-token-0123456789", "", "", false)
	require.NoError(t, err, "a refused configuration changes nothing")
}

func TestConfigRefused(t *testing.T) {
	jwt := JWT{Issuer: "https://i", Audience: "a", JWKSURL: "https://i/keys"}
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Users: []User{{Password: "x", Role: "admin"}}}, "named twice or not at all"},
		{Config{Users: []User{{Name: "a", Password: "x", Role: "admin"}, {Name: "a", Token: "y", Role: "admin"}}}, "named twice"},
		{Config{Users: []User{{Name: "a", Token: "t", Role: "admin"}, {Name: "b", Token: "t", Role: "admin"}}}, "same token"},
		{Config{Users: []User{{Name: "a:b", Password: "x", Role: "admin"}}}, "colon"},
		{Config{Users: []User{{Name: "a", Password: "x", Role: "rrr"}}}, `no role "rrr"`},
		{Config{Users: []User{{Name: "a", Password: "x"}}}, `no role ""`},
		{Config{Users: []User{{Name: "a", Role: "admin"}}}, "no way to log in"},
		{Config{Roles: []Role{{Name: "r"}, {Name: "r"}}}, "named twice"},
		{Config{Roles: []Role{{Name: "r", Read: []string{"a*"}}}}, `"a*"`},
		{Config{Roles: []Role{{Name: "r", Read: []string{""}}}}, `""`},
		{Config{Roles: []Role{{Name: "r", Write: []string{"*.x"}}}}, `"*.x"`},
		{Config{Roles: []Role{{Name: "r", Write: []string{"x."}}}}, `"x."`},
		{Config{Roles: []Role{{Name: "r", Limits: Limits{Rows: -1}}}}, "negative"},
		{Config{JWT: JWT{Issuer: "https://i"}}, "jwks_url is missing"},
		{Config{JWT: JWT{Issuer: jwt.Issuer, JWKSURL: jwt.JWKSURL}}, "issuer and audience"},
		{Config{JWT: JWT{Audience: jwt.Audience, JWKSURL: jwt.JWKSURL}}, "issuer and audience"},
		{Config{JWT: JWT{Issuer: "i", Audience: "a", JWKSURL: "http://example.com/keys"}}, "cannot be used"},
		{Config{JWT: JWT{Issuer: "i", Audience: "a", JWKSURL: "file:///keys"}}, "cannot be used"},
		{Config{JWT: JWT{Issuer: "i", Audience: "a", JWKSURL: "https://i/keys", DefaultRole: "x"}}, `no role "x"`},
	} {
		_, err := New(c.cfg, nil, nil)
		require.Equal(t, fault.Config, fault.CodeOf(err), "%+v", c.cfg)
		require.ErrorContains(t, err, c.want)
		require.NotEmpty(t, fault.HintOf(err))
	}
}

func TestGrants(t *testing.T) {
	a, err := New(Config{Roles: []Role{
		{Name: "star", Read: []string{"*"}, Write: []string{"m"}},
		{Name: "some", Read: []string{"M.*", "shop.Orders", "errors.partners"}, Write: []string{"shop.orders"}},
		{Name: "chief", Admin: true},
	}}, nil, nil)
	require.NoError(t, err)
	for _, c := range []struct {
		role, dataset, object string
		want                  bool
	}{
		{"star", "m", "m_data", true}, {"star", "x", "", true}, {"star", "", "t", false},
		{"some", "m", "", true}, {"some", "m", "m_data", true}, {"some", "m2", "m2_data", false},
		{"some", "shop", "orders", true}, {"some", "shop", "shop.Orders", true}, {"some", "shop", "shop.salaries", false}, {"some", "m", "m.any", true}, {"some", "shop", "ORDERS", true}, {"some", "shop", "", false}, {"some", "shop", "salaries", false},
		{"some", "errors", "errors_partners", true}, {"some", "errors", "partners", true}, {"some", "errors", "errors_failed", false},
		{"chief", "anything", "at_all", true}, {"gone", "m", "", false}, {"", "m", "", false},
	} {
		err := a.CanRead(Principal{Role: c.role}, c.dataset, c.object)
		require.Equal(t, c.want, err == nil, "%+v", c)
		if err != nil {
			require.Equal(t, fault.Forbidden, fault.CodeOf(err))
		}
	}
	require.NoError(t, a.CanSync(Principal{Role: "star"}, "m"))
	require.Equal(t, fault.Forbidden, fault.CodeOf(a.CanSync(Principal{Role: "star"}, "x")), "read does not sync")
	require.Equal(t, fault.Forbidden, fault.CodeOf(a.CanSync(Principal{Role: "some"}, "shop")), "one table does not sync the dataset")
	require.NoError(t, a.CanSync(Principal{Role: "chief"}, "x"))
	require.NoError(t, a.CanAdmin(Principal{Role: "chief"}))
	require.Equal(t, fault.Forbidden, fault.CodeOf(a.CanAdmin(Principal{Role: "star"})))
	require.True(t, a.Visible(Principal{Role: "some"}, "shop"))
	require.False(t, a.Visible(Principal{Role: "some"}, "secrets"))
	require.Zero(t, a.Limits(Principal{Role: "star"}))

	b, err := New(loginConfig(), nil, nil)
	require.NoError(t, err)
	require.Equal(t, 4, b.Limits(Principal{Role: "reader"}).Concurrency)
	require.Zero(t, b.Limits(Local()))
}

func TestUserHidesItsSecrets(t *testing.T) {
	u := User{Name: "n", Password: "hunter2", Token: "tok-en", Role: "r"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "user", u)
	for _, s := range []string{fmt.Sprint(u), fmt.Sprintf("%+v %#v %v", u, u, []User{u}), log.String()} {
		require.NotContains(t, s, "hunter2")
		require.NotContains(t, s, "tok-en")
		require.Contains(t, s, "***")
	}
}
