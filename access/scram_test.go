package access

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"

	"github.com/pintaildb/pintail/internal/fault"
)

// scramLogin is a client's side of a login.
func scramLogin(t *testing.T, a *Access, name, password string) (Principal, error) {
	t.Helper()
	client, err := scram.SHA256.NewClient("", password, "")
	require.NoError(t, err)
	talk := client.NewConversation()
	first, err := talk.Step("")
	require.NoError(t, err)
	s, err := a.NewScram(WithRemote(context.Background(), "10.0.0.1:1"), name, nil)
	if err != nil {
		return Principal{}, err
	}
	answer, err := s.First(first, false)
	require.NoError(t, err)
	final, err := talk.Step(answer)
	require.NoError(t, err)
	answer, p, err := s.Final(final)
	if err != nil {
		return Principal{}, err
	}
	_, err = talk.Step(answer)
	require.NoError(t, err, "the server proves that it knows the password")
	require.True(t, talk.Valid())
	return p, nil
}

func TestScram(t *testing.T) {
	a, err := New(loginConfig(), nil, nil)
	require.NoError(t, err)
	p, err := scramLogin(t, a, "grafana", "pa:ss wörd")
	require.NoError(t, err)
	require.Equal(t, Principal{User: "grafana", Role: "reader", Claims: `{"sub":"grafana"}`}, p)
	for _, name := range []string{"grafana", "loader", "nobody", ""} { // a token is no password
		_, err = scramLogin(t, a, name, loaderToken)
		require.Equal(t, fault.Unauthenticated, fault.CodeOf(err), name)
		require.Equal(t, "user or password is wrong", err.Error(), "whatever it was")
	}
	// Both ways to log in count together.
	ctx := WithRemote(context.Background(), "10.0.0.1:2")
	for range failuresFree {
		_, err = a.Authenticate(ctx, "", "grafana", "guess", false)
		require.Error(t, err)
	}
	_, err = scramLogin(t, a, "grafana", "pa:ss wörd")
	require.Equal(t, fault.Limit, fault.CodeOf(err))

	for _, message := range []string{"", ",,n=,r=x", "n,,", "p=tls-unique,,n=,r=x", "n,,m=1,n=,r=x", "n,,x=,r=y"} {
		s, err := a.NewScram(context.Background(), "grafana", nil)
		require.NoError(t, err)
		_, err = s.First(message, false)
		require.Equal(t, fault.Usage, fault.CodeOf(err), message)
	}
	for _, message := range []string{"", "c=biws,r=x,p=", "c=biws,r=x,p=" + strings.Repeat("A", 4000), "p=x"} {
		s, err := a.NewScram(context.Background(), "grafana", nil)
		require.NoError(t, err)
		_, err = s.First("n,,n=,r=x", false)
		require.NoError(t, err)
		_, _, err = s.Final(message)
		require.Equal(t, fault.Usage, fault.CodeOf(err), message)
	}
}

func TestMethodOf(t *testing.T) {
	a, err := New(Config{}, nil, nil)
	require.NoError(t, err)
	require.Equal(t, LoginNone, a.MethodOf("anybody", false))
	cfg := loginConfig()
	require.NoError(t, a.Update(cfg))
	require.Equal(t, LoginSCRAM, a.MethodOf("grafana", true))
	require.Equal(t, LoginSecret, a.MethodOf("loader", true))
	require.Equal(t, LoginSCRAM, a.MethodOf("loader", false), "a token is not asked for where others can read it")
	cfg.JWT = JWT{Issuer: "i", Audience: "a", JWKSURL: "https://keys.invalid"}
	require.NoError(t, a.Update(cfg))
	for _, name := range []string{"grafana", "loader", "ann@example.com"} {
		require.Equal(t, LoginSecret, a.MethodOf(name, true))
	}
	ctx := context.Background()
	p, err := a.LoginWithSecret(ctx, "grafana", "pa:ss wörd")
	require.NoError(t, err)
	require.Equal(t, "grafana", p.User)
	p, err = a.LoginWithSecret(ctx, "loader", loaderToken)
	require.NoError(t, err)
	require.Equal(t, "loader", p.User)
	for _, c := range [][2]string{{"grafana", loaderToken}, {"root", loaderToken}, {"loader", "x"}, {"loader", ""}, {"nobody", "x"}} {
		_, err = a.LoginWithSecret(ctx, c[0], c[1])
		require.Equal(t, fault.Unauthenticated, fault.CodeOf(err), c)
	}
}
