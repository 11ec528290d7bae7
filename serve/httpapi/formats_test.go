package httpapi

import (
	"bytes"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/arrowtest"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query/columnar"
	"github.com/pintaildb/pintail/store"
)

// table reads all batches into one table.
func table(t *testing.T, schema *arrow.Schema, batches []arrow.RecordBatch) arrow.Table {
	t.Helper()
	tbl := array.NewTableFromRecords(schema, batches)
	t.Cleanup(tbl.Release)
	return tbl
}

func readArrow(t *testing.T, b []byte) arrow.Table {
	t.Helper()
	r, err := ipc.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	defer r.Release()
	var batches []arrow.RecordBatch
	for r.Next() {
		batch := r.RecordBatch()
		batch.Retain()
		batches = append(batches, batch)
	}
	require.NoError(t, r.Err())
	return table(t, r.Schema(), batches)
}

func readParquet(t *testing.T, b []byte) (arrow.Table, *file.Reader) {
	t.Helper()
	f, err := file.NewParquetReader(bytes.NewReader(b))
	require.NoError(t, err)
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	require.NoError(t, err)
	tbl, err := r.ReadTable(t.Context())
	require.NoError(t, err)
	t.Cleanup(tbl.Release)
	return tbl, f
}

// cell finds row i of a column in its chunks.
func cell(c *arrow.Chunked, i int) (arrow.Array, int) {
	for _, a := range c.Chunks() {
		if i < a.Len() {
			return a, i
		}
		i -= a.Len()
	}
	panic("no such row")
}

// The same values come through every format, and Parquet's are read by DuckDB as it had them.
func TestFormatsAgreeOnEveryType(t *testing.T) {
	const rows = 2500
	k := newKit(t, kitOptions{})
	require.NoError(t, k.store.Commit(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("CREATE TABLE m_types AS " + arrowtest.Query(rows))
		return err
	}))
	const statement = "SELECT * FROM m_types"
	ask := func(format string) []byte {
		a := k.sql(map[string]any{"sql": statement, "format": format})
		require.NoError(t, a.err)
		require.Equal(t, 200, a.status, "%s", a.body)
		return a.body
	}
	var js struct {
		Columns []SQLColumn
		Rows    [][]json.RawMessage
	}
	require.NoError(t, json.Unmarshal(ask("json"), &js))
	fields, err := csv.NewReader(bytes.NewReader(ask("csv"))).ReadAll()
	require.NoError(t, err)
	arrowed := readArrow(t, ask("arrow"))
	packed := ask("parquet")
	parqueted, f := readParquet(t, packed)
	require.Equal(t, 1, f.NumRowGroups())
	require.Len(t, js.Rows, rows)
	require.Len(t, fields, rows+1)
	require.Equal(t, int64(rows), arrowed.NumRows())
	require.Equal(t, int64(rows), parqueted.NumRows())

	for col, c := range js.Columns {
		for i := range rows {
			a, n := cell(arrowed.Column(col).Data(), i)
			text := arrowtest.Text(a, n)
			if fields[i+1][col] != text {
				require.Equal(t, text, fields[i+1][col], "CSV, row %d of %s %s", i, c.Name, c.Type)
			}
			if raw := string(js.Rows[i][col]); raw != arrowtest.JSON(a, n) {
				// Arrow has a string where JSON has a number, or JSON.
				require.Contains(t, []string{"UHUGEINT", "BIGNUM", "JSON"}, c.Type, "JSON has %s, Arrow %s", raw, arrowtest.JSON(a, n))
				require.JSONEq(t, raw, text, "JSON, row %d of %s", i, c.Name)
			}
			p, n := cell(parqueted.Column(col).Data(), i)
			if got := member(c.Type, p, n); got != text {
				require.Equal(t, text, got, "Parquet, row %d of %s %s", i, c.Name, c.Type)
			}
		}
	}

	// DuckDB reads the file, and finds the values that it had.
	path := filepath.Join(t.TempDir(), "types.parquet")
	require.NoError(t, os.WriteFile(path, packed, 0o600))
	duck, err := sql.Open("duckdb", "")
	require.NoError(t, err)
	defer duck.Close()
	_, err = duck.ExecContext(t.Context(), "CREATE TABLE original AS "+arrowtest.Query(rows)+"; CREATE VIEW packed AS FROM read_parquet('"+path+"')")
	require.NoError(t, err)
	for _, c := range js.Columns {
		value := `"` + c.Name + `"::VARCHAR`
		if strings.HasPrefix(c.Type, "UNION") || c.Type == "INTERVAL" || c.Type == "TIME_NS" {
			continue // a struct, PostgreSQL's text, and a time that DuckDB cuts to microseconds when it reads it
		}
		var differ int
		var example sql.NullString
		require.NoError(t, duck.QueryRowContext(t.Context(), "SELECT count(*), any_value(a.v || ' and ' || b.v) FROM (SELECT row_number() OVER () AS n, "+value+" AS v FROM original) a JOIN (SELECT row_number() OVER () AS n, "+value+
			" AS v FROM packed) b USING (n) WHERE a.v IS DISTINCT FROM b.v").Scan(&differ, &example), "%s %s", c.Name, c.Type)
		require.Zero(t, differ, "%s %s: %s", c.Name, c.Type, example.String)
	}
}

// member shows a union that is a struct of its members as the union.
func member(typ string, a arrow.Array, i int) string {
	s, ok := a.(*array.Struct)
	if !ok || !strings.HasPrefix(typ, "UNION") || s.IsNull(i) {
		return arrowtest.Text(a, i)
	}
	for k := range s.NumField() {
		if s.Field(k).IsValid(i) {
			return arrowtest.Text(s.Field(k), i)
		}
	}
	return ""
}

func TestArrowAndParquet(t *testing.T) {
	k := newKit(t, kitOptions{})
	const sql = "SELECT i AS a, 'x' || i AS b, i * 2 AS a FROM range(300000) r(i)"
	a := k.sql(map[string]any{"sql": sql, "format": "arrow"})
	require.NoError(t, a.err)
	require.Equal(t, "application/vnd.apache.arrow.stream", a.header.Get("Content-Type"))
	tbl := readArrow(t, a.body)
	require.Equal(t, int64(300000), tbl.NumRows())
	require.Equal(t, []string{"a", "b", "a"}, names(tbl.Schema()))

	a = k.sql(map[string]any{"sql": sql, "format": "parquet"})
	require.NoError(t, a.err)
	require.Equal(t, "application/vnd.apache.parquet", a.header.Get("Content-Type"))
	tbl, f := readParquet(t, a.body)
	require.Equal(t, int64(300000), tbl.NumRows())
	require.Equal(t, []string{"a", "b", "a_1"}, names(tbl.Schema()))
	require.Equal(t, 3, f.NumRowGroups())

	// No rows: the columns are there all the same.
	empty := map[string]any{"sql": "SELECT i, [i] AS l FROM range(3) r(i) WHERE false", "format": "arrow"}
	tbl = readArrow(t, k.sql(empty).body)
	require.Equal(t, []string{"i", "l"}, names(tbl.Schema()))
	empty["format"] = "parquet"
	tbl, _ = readParquet(t, k.sql(empty).body)
	require.Equal(t, []string{"i", "l"}, names(tbl.Schema()))
	require.Zero(t, tbl.NumRows())

	for _, format := range []string{"json", "ndjson", "csv", "arrow", "parquet"} {
		a := k.sql(map[string]any{"sql": "SELECT * FROM range(10)", "format": format, "limit": 3})
		require.Equal(t, "true", a.trailer.Get(truncatedName), format)
		a = k.sql(map[string]any{"sql": "SELECT * FROM range(3)", "format": format, "limit": 3})
		require.Equal(t, "false", a.trailer.Get(truncatedName), format)
	}
	_, f = readParquet(t, k.sql(map[string]any{"sql": "SELECT * FROM range(10)", "format": "parquet", "limit": 3}).body)
	require.Equal(t, "true", *f.MetaData().KeyValueMetadata().FindValue(columnar.TruncatedKey))
	// A value that the format does not have.
	require.Contains(t, k.sql(map[string]any{"sql": "SELECT to_hours(9000000) AS long", "format": "arrow"}).fails(400, fault.InvalidSQL), "column long")
}

func names(s *arrow.Schema) (out []string) {
	for _, f := range s.Fields() {
		out = append(out, f.Name)
	}
	return out
}

func TestBinaryFormatsCountAgainstTheLimits(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	for _, format := range []string{"arrow", "parquet"} {
		require.Contains(t, k.sqlAs("small-small", map[string]any{"sql": "SELECT repeat('x', 3000)", "format": format}).fails(429, fault.Limit), "2000")
		a := k.sqlAs("small-small", map[string]any{"sql": "SELECT * FROM range(10)", "format": format})
		require.Equal(t, 200, a.status)
		require.Equal(t, "true", a.trailer.Get(truncatedName))
		// Another's table.
		k.sqlAs("reader-reader", map[string]any{"sql": "SELECT * FROM e_a", "format": format}).fails(403, fault.Forbidden)
	}
}

func unpack(t *testing.T, coding string, b []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(b)
	switch coding {
	case "gzip":
		z, err := gzip.NewReader(r)
		require.NoError(t, err)
		r = z
	case "zstd":
		z, err := zstd.NewReader(r)
		require.NoError(t, err)
		defer z.Close()
		r = z
	default:
		require.Empty(t, coding)
	}
	out, err := io.ReadAll(r)
	require.NoError(t, err)
	return out
}

func TestCodings(t *testing.T) {
	k := newKit(t, kitOptions{})
	for _, format := range []string{"json", "ndjson", "csv", "arrow", "parquet"} {
		body := map[string]any{"sql": "SELECT i, 'the same text again' AS x FROM range(20000) r(i)", "format": format}
		plain := k.sql(body)
		for header, want := range map[string]string{"gzip": "gzip", "zstd": "zstd", "gzip, deflate, br, zstd": "zstd", "gzip;q=0.5, zstd;q=0.2": "gzip", "identity": "", "*": "zstd"} {
			for range 2 { // the second time with a compressor used before
				a := k.sqlAs("", body, "Accept-Encoding", header)
				require.NoError(t, a.err)
				if format == "parquet" {
					want = ""
				}
				require.Equal(t, want, a.header.Get("Content-Encoding"), "%s as %s", format, header)
				got := unpack(t, want, a.body)
				if format == "json" { // says how long it took
					got, plain.body = cutElapsed(got), cutElapsed(plain.body)
				}
				require.Equal(t, len(plain.body), len(got), "%s as %s", format, header)
				require.True(t, bytes.Equal(plain.body, got))
			}
		}
		a := k.sqlAs("", body, "Accept-Encoding", "identity;q=0, gzip")
		require.Equal(t, "gzip", a.header.Get("Content-Encoding"), format)
		k.sqlAs("", body, "Accept-Encoding", "br, identity;q=0").fails(406, fault.Usage)
	}
}

func cutElapsed(b []byte) []byte {
	if i := bytes.LastIndex(b, []byte(`,"elapsed_ms"`)); i > 0 {
		return b[:i]
	}
	return b
}

func TestCodingOf(t *testing.T) {
	for header, want := range map[string]string{
		"": "", "identity": "", "gzip": "gzip", "x-gzip": "gzip", "GZIP": "gzip", "zstd, gzip": "zstd", "gzip, zstd": "zstd", "gzip;q=1, zstd;q=0.9": "gzip", "gzip;q=0": "", "gzip; q=0.001": "gzip",
		"br": "", "*": "zstd", "*;q=0": "none", "identity;q=0": "none", "gzip, *;q=0": "gzip", "identity, *;q=0": "", "zstd;q=0, *": "gzip", "identity;q=0.5, gzip;q=0.2": "", "identity;q=0.2, gzip;q=0.5": "gzip",
		"gzip;q=x": "gzip", "gzip;q=7": "gzip", ";;,,;q=": "", "gzip;q=0, zstd;q=0, identity;q=0": "none", "deflate, gzip;q=1.0, *;q=0.5": "gzip", "identity;q=0, *": "zstd",
	} {
		got, err := codingOf(header, false)
		if err != nil {
			got = "none"
		}
		require.Equal(t, want, got, "%q", header)
	}
	for header, want := range map[string]string{"gzip": "", "*": "", "gzip, identity;q=0": "gzip", "identity;q=0": "none", "gzip;q=1, identity;q=0.1": ""} {
		got, err := codingOf(header, true)
		if err != nil {
			got = "none"
		}
		require.Equal(t, want, got, "%q", header)
	}
}

// The first row is there before the last is computed, and memory does not grow with the result.
func TestBinaryFormatsStream(t *testing.T) {
	k := newKit(t, kitOptions{})
	for _, format := range []string{"arrow", "parquet"} {
		const rows = 3_000_000
		res := k.openAs(t.Context(), "SELECT i, 'a text of some length' AS text, i / 3 AS third FROM range("+strconv.Itoa(rows)+") r(i)", format)
		first := make([]byte, 4)
		_, err := io.ReadFull(res.Body, first)
		require.NoError(t, err)
		list := k.core.List()
		require.Len(t, list, 1)
		require.Less(t, list[0].Rows, int64(rows/2), "the first row came when most were computed")
		before, peak := rss(t), int64(0)
		for {
			_, err := io.CopyN(io.Discard, res.Body, 16<<20)
			peak = max(peak, rss(t))
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
		}
		require.NoError(t, res.Body.Close())
		require.Less(t, peak-before, int64(150<<20), "resident memory grew while the result was read")
	}
}
