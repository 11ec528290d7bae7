package config

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTracing(t *testing.T) {
	env := func(name string) (string, bool) { return "a secret", name == "TOKEN" }
	parse := func(text string) (*Config, []Warning) {
		t.Helper()
		c, warnings, err := Parse("x.yaml", []byte("sources: {s: {url: postgres://localhost/x, pool: 500}}\n"+text), env)
		require.NoError(t, err)
		return c, warnings
	}
	c, _ := parse("")
	require.Equal(t, 10*time.Second, c.Server.SlowQuery)
	require.Equal(t, Tracing{Statements: "redacted"}, c.Server.Tracing, "nothing that would come before the variables")

	c, warnings := parse(`server: {slow_query: 0, tracing: {endpoint: "http://collector.internal:4318/v1/traces", protocol: grpc, headers: {authorization: "Bearer ${TOKEN}"}, sample: 0.25, statements: none}}`)
	require.Zero(t, c.Server.SlowQuery)
	require.Equal(t, 0.25, *c.Server.Tracing.Sample)
	require.Equal(t, "Bearer a secret", c.Server.Tracing.Headers["authorization"].Reveal())
	require.NotContains(t, strings.Join(strings.Fields(c.Server.Tracing.Headers["authorization"].String()), ""), "secret")
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0].String(), "its headers can be read on the way")
	for _, sample := range []string{"0", "1", "1.0", "null"} {
		parse("server: {tracing: {endpoint: https://c, sample: " + sample + "}}")
	}
	for _, sample := range []string{"-0.1", "1.01", "NaN", "inf", `"half"`, "[1]", "yes"} {
		_, _, err := Parse("x.yaml", []byte("server: {tracing: {endpoint: https://c, sample: "+sample+"}}"), env)
		require.ErrorContains(t, err, "server.tracing.sample: needs a number", sample)
	}
}
