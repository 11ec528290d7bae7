package access

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"

	"github.com/pintaildb/pintail/internal/fault"
)

// plusLogin is a client's side of a login by SCRAM-SHA-256-PLUS; change may alter its last message before it is sent.
func plusLogin(t *testing.T, a *Access, password string, binding []byte, change func(unproven string) string) (Principal, error) {
	t.Helper()
	s, err := a.NewScram(context.Background(), "grafana", []byte("the channel"))
	require.NoError(t, err)
	const bare = "n=,r=fyko+d2lbbFgONRv9qkxdawL"
	reply, err := s.First(boundHeader+bare, true)
	require.NoError(t, err)
	nonce, _, _ := strings.Cut(reply, ",")
	client, err := scram.SHA256.NewClient("", password, "")
	require.NoError(t, err)
	keys := client.GetStoredCredentials(scram.KeyFactors{Salt: scramSalt("grafana"), Iters: scramIterations})
	unproven := change("c=" + base64.StdEncoding.EncodeToString(append([]byte(boundHeader), binding...)) + "," + nonce)
	signed := []byte(bare + "," + reply + "," + unproven)
	proof := hmacOf(keys.StoredKey, signed)
	for i, b := range clientKey(password) {
		proof[i] ^= b
	}
	answer, p, err := s.Final(unproven + ",p=" + base64.StdEncoding.EncodeToString(proof))
	if err == nil {
		require.Equal(t, "v="+base64.StdEncoding.EncodeToString(hmacOf(keys.ServerKey, signed)), answer)
	}
	return p, err
}

// clientKey is what only who knows the password can make.
func clientKey(password string) []byte {
	salted := hmacOf([]byte(password), append([]byte(scramSalt("grafana")), 0, 0, 0, 1))
	sum := append([]byte{}, salted...)
	for range scramIterations - 1 {
		salted = hmacOf([]byte(password), salted)
		for i := range sum {
			sum[i] ^= salted[i]
		}
	}
	return hmacOf(sum, []byte("Client Key"))
}

func TestScramPlus(t *testing.T) {
	a, err := New(loginConfig(), nil, nil)
	require.NoError(t, err)
	same := func(s string) string { return s }
	const password = "pa:ss wörd"
	require.Len(t, clientKey(password), sha256.Size)
	p, err := plusLogin(t, a, password, []byte("the channel"), same)
	require.NoError(t, err)
	require.Equal(t, "grafana", p.User)
	fresh := func() *Access { // failures count
		a, err := New(loginConfig(), nil, nil)
		require.NoError(t, err)
		return a
	}
	for name, try := range map[string]func() error{
		"wrong password":  func() error { _, err := plusLogin(t, fresh(), "guessed", []byte("the channel"), same); return err },
		"another channel": func() error { _, err := plusLogin(t, fresh(), password, []byte("another one"), same); return err },
		"no channel":      func() error { _, err := plusLogin(t, fresh(), password, nil, same); return err },
		"not bound after all": func() error {
			_, err := plusLogin(t, fresh(), password, []byte("the channel"), func(s string) string { return "c=biws" + s[strings.Index(s, ","):] })
			return err
		},
		"another nonce": func() error {
			_, err := plusLogin(t, fresh(), password, []byte("the channel"), func(s string) string { return s + "x" })
			return err
		},
	} {
		require.Equal(t, fault.Unauthenticated, fault.CodeOf(try()), name)
	}
	_, err = plusLogin(t, fresh(), password, []byte("another one"), same)
	require.ErrorContains(t, err, "the channel that the client binds is not this one")

	for _, c := range []struct {
		message string
		plus    bool
		binding []byte
		want    fault.Code
	}{
		{"y,,n=,r=x", false, []byte("b"), fault.Unauthenticated}, // it was offered: somebody has taken the offer away
		{"y,,n=,r=x", false, nil, ""},
		{"n,,n=,r=x", false, []byte("b"), ""},
		{"n,,n=,r=x", true, []byte("b"), fault.Usage},
		{"p=tls-unique,,n=,r=x", true, []byte("b"), fault.Usage},
		{boundHeader + "n=,r=x", false, []byte("b"), fault.Usage},
		{boundHeader + "n=,r=x", true, nil, fault.Usage},
		{boundHeader, true, []byte("b"), fault.Usage},
	} {
		s, err := a.NewScram(context.Background(), "grafana", c.binding)
		require.NoError(t, err)
		_, err = s.First(c.message, c.plus)
		if c.want == "" {
			require.NoError(t, err, c.message)
			continue
		}
		require.Equal(t, c.want, fault.CodeOf(err), c.message)
	}
}
