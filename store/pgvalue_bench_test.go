package store

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// One chunk of ten columns of the usual types, encoded for clients of PostgreSQL.
func BenchmarkPGRows(b *testing.B) {
	s := openTest(b, Options{})
	se, err := s.Session(context.Background())
	require.NoError(b, err)
	defer se.Close()
	st, err := se.Prepare(context.Background(), `SELECT i AS id, (i * 7919 % 1000)::INTEGER AS partner, ['processed', 'failed', 'pending', 'sent'][1 + i % 4] AS status, 'p' || (i % 977) AS code,
		((i * 31 % 10000000) / 100.0)::DECIMAL(12,2) AS amount, TIMESTAMPTZ '2026-02-13 10:15:30.123456+00' - to_seconds(i) AS created, TIMESTAMP '2026-02-13 10:15:30' - to_seconds(i % 86400) AS updated,
		i % 3 = 0 AS flag, i * 0.37::DOUBLE AS score, CASE WHEN i % 10 <> 0 THEN md5(i::VARCHAR) END AS payload FROM range(1000000, 1002048) r(i)`)
	require.NoError(b, err)
	rows, err := st.Query(context.Background(), nil, nil)
	require.NoError(b, err)
	chunk, err := rows.Next()
	require.NoError(b, err)
	for name, encode := range map[string]func(dst []byte, col, row int) []byte{"text": chunk.AppendPGText, "binary": chunk.AppendPGBinary} {
		b.Run(name, func(b *testing.B) {
			var out []byte
			for b.Loop() {
				out = out[:0]
				for row := range chunk.Len() {
					for col := range chunk.cols {
						if !chunk.IsNull(col, row) {
							out = encode(out, col, row)
						}
					}
				}
			}
			b.SetBytes(int64(len(out)))
			b.ReportMetric(float64(b.N)*float64(chunk.Len())/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}

// What is written fast is what the slow and general functions write.
func TestPGDecimalsAsTheGeneralOnes(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	values := []int64{0, 1, -1, 9, 10, 99, 100, 9999, 10000, math.MaxInt64, -math.MaxInt64, math.MinInt64}
	for range 20000 {
		values = append(values, int64(rng.Uint64())>>rng.IntN(64))
	}
	for _, x := range values {
		for scale := range 19 {
			require.Equal(t, string(appendScaled(nil, x, scale)), string(appendPGScaled(nil, x, scale)), "%d, %d decimals", x, scale)
			require.Equal(t, types.AppendNumeric(nil, change.HugeInt{Lo: uint64(x), Hi: x >> 63}, scale), appendPGDecimal(nil, x, scale), "%d, %d decimals", x, scale)
		}
	}
}
