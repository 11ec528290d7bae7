package pgwire

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/store"
)

// A million rows of ten columns into a table, from a client that has them ready; PostgreSQL beside it.
func BenchmarkCopyIn(b *testing.B) {
	k := newKit(b, kitOptions{writes: true})
	ctx := context.Background()
	k.run(fmt.Sprintf("CREATE TABLE wide AS SELECT * FROM (%s)", fmt.Sprintf(benchTable[len("CREATE TABLE wide AS "):], fmt.Sprintf("range(%d) r(i)", benchRows))))
	c := k.connect("user=ann")
	pg, err := pgx.Connect(ctx, pgtest.StartT(b, pgtest.Options{Major: pgtest.Newest}).DB(b))
	require.NoError(b, err)
	defer pg.Close(ctx)
	_, err = pg.Exec(ctx, fmt.Sprintf(benchTable, "generate_series(0, -1) r(i)"))
	require.NoError(b, err)
	to := store.PutTarget{Schema: "in", Name: "wide", Mode: store.PutCreate, By: "bench"}
	k.table("in.wide", columns("id BIGINT", "n INTEGER", "d DOUBLE", "amount DECIMAL(12,2)", "name VARCHAR", "ok BOOLEAN", "day DATE", "at TIMESTAMP", "atz TIMESTAMP WITH TIME ZONE", "status VARCHAR")...)
	for _, format := range []string{"text", "csv", "binary"} {
		var data bytes.Buffer
		_, err := c.PgConn().CopyTo(ctx, &data, "COPY wide TO STDOUT (FORMAT "+format+")")
		require.NoError(b, err)
		b.Run("pintail/"+format, func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for b.Loop() {
				tag, err := c.PgConn().CopyFrom(ctx, bytes.NewReader(data.Bytes()), `COPY "in".wide FROM STDIN (FORMAT `+format+`)`)
				require.NoError(b, err)
				require.EqualValues(b, benchRows, tag.RowsAffected())
				b.StopTimer()
				_, err = k.store.EmptyClientTable(ctx, to)
				require.NoError(b, err)
				b.StartTimer()
			}
			runtime.ReadMemStats(&after)
			b.SetBytes(int64(data.Len()))
			b.ReportMetric(float64(b.N)*benchRows/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N)/benchRows, "allocs/row")
		})
		b.Run("postgres/"+format, func(b *testing.B) {
			for b.Loop() {
				_, err := pg.PgConn().CopyFrom(ctx, bytes.NewReader(data.Bytes()), "COPY wide FROM STDIN (FORMAT "+format+")")
				require.NoError(b, err)
				b.StopTimer()
				_, err = pg.Exec(ctx, "TRUNCATE wide")
				require.NoError(b, err)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.N)*benchRows/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
