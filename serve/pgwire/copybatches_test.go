package pgwire

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func copyTo(t *testing.T, c *pgx.Conn, sql string) ([]byte, string) {
	t.Helper()
	var out bytes.Buffer
	tag, err := c.PgConn().CopyTo(context.Background(), &out, sql)
	require.NoError(t, err, sql)
	return out.Bytes(), tag.String()
}

// lines are the columns' values as text, as COPY's text format has them.
func lines(columns []arrow.Array, rows int) string {
	var out strings.Builder
	for i := range rows {
		for k, col := range columns {
			if k > 0 {
				out.WriteByte('\t')
			}
			if col.IsNull(i) {
				out.WriteString(`\N`)
			} else {
				out.WriteString(col.ValueStr(i))
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// What COPY sends as Parquet and as Arrow holds what it sends as text.
func TestCopyOutBatches(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	c := k.connect("user=root password=root-password")
	mem := memory.DefaultAllocator
	for _, query := range []string{
		"SELECT * FROM t ORDER BY i", "SELECT i, seven, filler FROM big ORDER BY i", "SELECT i, word FROM t WHERE i < 0",
		"SELECT 1::BIGINT AS a, NULL::VARCHAR AS b, 'x' AS a, 5::SMALLINT AS c", "SELECT UNNEST([1, NULL, 3]) AS n, 1.55::DECIMAL(9,2) AS d, DATE '2024-02-29' AS day",
	} {
		want, tag := copyTo(t, c, "COPY ("+query+") TO STDOUT")
		for _, options := range []string{"parquet", "parquet, COMPRESSION snappy", "parquet, COMPRESSION 'uncompressed'"} {
			data, got := copyTo(t, c, "COPY ("+query+") TO STDOUT (FORMAT "+options+")")
			require.Equal(t, tag, got)
			f, err := file.NewParquetReader(bytes.NewReader(data))
			require.NoError(t, err, query)
			r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, mem)
			require.NoError(t, err)
			table, err := r.ReadTable(t.Context())
			require.NoError(t, err)
			var text strings.Builder
			batches := array.NewTableReader(table, 0)
			for batches.Next() {
				text.WriteString(lines(batches.RecordBatch().Columns(), int(batches.RecordBatch().NumRows())))
			}
			batches.Release()
			require.Equal(t, string(want), text.String(), query)
			require.NoError(t, f.Close())
		}
		data, got := copyTo(t, c, "COPY ("+query+") TO STDOUT (FORMAT arrow)")
		require.Equal(t, tag, got)
		r, err := ipc.NewReader(bytes.NewReader(data))
		require.NoError(t, err)
		var text strings.Builder
		for r.Next() {
			text.WriteString(lines(r.RecordBatch().Columns(), int(r.RecordBatch().NumRows())))
		}
		require.NoError(t, r.Err())
		require.Equal(t, string(want), text.String(), query)
		r.Release()
	}
	for sql, want := range map[string]string{
		"COPY t TO STDOUT (FORMAT parquet, COMPRESSION gold)": "22023", "COPY t TO STDOUT (FORMAT csv, COMPRESSION zstd)": "22023", "COPY t TO STDOUT (FORMAT arrow, HEADER)": "42601",
		"COPY t TO STDOUT (FORMAT orc)": "22023", "COPY (SELECT bad FROM t) TO STDOUT (FORMAT parquet)": "42703", "COPY (SELECT 1/0 FROM t, hidden WHERE error('late')) TO STDOUT (FORMAT arrow)": "22023",
	} {
		_, err := c.PgConn().CopyTo(context.Background(), &bytes.Buffer{}, sql)
		require.Equal(t, want, state(t, err), sql)
	}
	small := k.connect("user=small password=small-password")
	_, err := small.PgConn().CopyTo(context.Background(), &bytes.Buffer{}, "COPY t TO STDOUT (FORMAT parquet)")
	require.Equal(t, "53400", state(t, err))
	require.NoError(t, small.Ping(t.Context()))
}
