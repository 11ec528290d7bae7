package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
)

// Quotients have the digits that PostgreSQL's own have, in text and in binary.
func TestQuotientsAgainstPostgreSQL(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	number := func() string {
		n := strings.TrimLeft(fmt.Sprint(rng.Int64N([]int64{10, 1000, 1e5, 1e9, 1e13, 1e18}[rng.IntN(6)])), "0")
		if rng.IntN(8) == 0 {
			n += fmt.Sprint(rng.Int64N(1e18))
		}
		if n == "" {
			n = "0"
		}
		if rng.IntN(2) == 0 {
			n += "." + fmt.Sprintf("%0*d", rng.IntN(10)+1, rng.Int64N(1000))
		}
		if rng.IntN(4) == 0 {
			n = "-" + n
		}
		return n
	}
	cases := [][3]string{{"35", "7", ""}, {"1.0", "1.0", ""}, {"0", "3", ""}, {"0.000", "7.00", ""}, {"1", "3", "2"}, {"-1", "8", "2"}, {"-1", "800", "2"}, {"19.995", "2", "2"}, {"999999", "1000000", "3"}, {"9999", "10000", ""},
		{"10000", "9999", ""}, {"0.0001", "3", ""}, {"12345678901234567890123456789012345678", "7", ""}, {"1", "99999999999999999999999999999999999999", ""}, {"5", "10", "0"}, {"15", "10", "0"}}
	for range 3000 {
		c := [3]string{number(), number(), ""}
		if strings.Trim(c[1], "-0.") == "" {
			continue
		}
		if rng.IntN(3) == 0 {
			c[2] = fmt.Sprint(rng.IntN(6))
		}
		cases = append(cases, c)
	}
	conn, err := pgx.Connect(t.Context(), pgtest.StartT(t, pgtest.Options{Major: 15}).DB(t))
	require.NoError(t, err)
	defer conn.Close(context.Background())
	var values []string
	for i, c := range cases {
		value := c[0] + "::numeric / " + c[1] + "::numeric"
		if c[2] != "" {
			value = "round(" + value + ", " + c[2] + ")"
		}
		values = append(values, fmt.Sprintf("(%d, %s)", i, value))
	}
	rows, err := conn.Query(t.Context(), "SELECT v::text, encode(numeric_send(v), 'hex') FROM (VALUES "+strings.Join(values, ", ")+") x(i, v) ORDER BY i")
	require.NoError(t, err)
	for i := 0; rows.Next(); i++ {
		var text, binary string
		require.NoError(t, rows.Scan(&text, &binary))
		in := strings.TrimSuffix(strings.Join(cases[i][:], "/"), "/")
		require.Equal(t, text, string(appendPGQuotient(nil, []byte(in))), in)
		require.Equal(t, binary, hex.EncodeToString(appendPGNumber(nil, []byte(text))), text)
	}
	require.NoError(t, rows.Err())
}

func BenchmarkQuotient(b *testing.B) {
	text := []byte("74998800.00/5976")
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendPGQuotient(buf[:0], text)
	}
}
