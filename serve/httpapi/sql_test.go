package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
)

func TestSQLAsJSON(t *testing.T) {
	k := newKit(t, kitOptions{})
	got := k.sql(map[string]any{"sql": "SELECT dataset_id, amount, status, created_at FROM m_data ORDER BY 1 LIMIT 2"}).json(200)
	require.Equal(t, []any{
		map[string]any{"name": "dataset_id", "type": "BIGINT"}, map[string]any{"name": "amount", "type": "DECIMAL(12,2)"},
		map[string]any{"name": "status", "type": "VARCHAR"}, map[string]any{"name": "created_at", "type": "TIMESTAMP WITH TIME ZONE"}}, got["columns"])
	require.Equal(t, []any{
		[]any{json.Number("0"), json.Number("0.00"), nil, "2026-01-01T00:00:00+00:00"},
		[]any{json.Number("1"), json.Number("1.25"), "ok", "2026-01-01T01:00:00+00:00"}}, got["rows"])
	require.Equal(t, json.Number("2"), got["row_count"])
	require.Equal(t, false, got["truncated"])
	require.Equal(t, map[string]any{"m": map[string]any{"synced_at": "2026-02-13T10:15:00Z"}}, got["position"])
	ms, err := got["elapsed_ms"].(json.Number).Float64()
	require.NoError(t, err)
	require.Positive(t, ms)
	require.Len(t, got, 6)

	got = k.sql(map[string]any{"sql": "SELECT 1 WHERE false"}).json(200)
	require.Equal(t, []any{}, got["rows"])
	require.Equal(t, map[string]any{}, got["position"])
	got = k.sql(map[string]any{"sql": "SELECT * FROM range(10)", "limit": 3}).json(200)
	require.Len(t, got["rows"], 3)
	require.Equal(t, true, got["truncated"])
}

func TestSQLParameters(t *testing.T) {
	k := newKit(t, kitOptions{})
	one := func(sql string, params any) any {
		return k.sql(map[string]any{"sql": sql, "params": params}).json(200)["rows"].([]any)[0].([]any)[0]
	}
	require.Equal(t, json.Number("9007199254740993"), one("SELECT $1::BIGINT", []any{json.Number("9007199254740993")})) // 2^53 + 1
	require.Equal(t, json.Number("0.1"), one("SELECT ?::DECIMAL(5,1)", []any{json.Number("0.1")}))
	require.Equal(t, "a'b;--", one("SELECT $1::VARCHAR", []any{"a'b;--"}))
	require.Equal(t, json.Number("20"), one("SELECT $x::INTEGER + $y::INTEGER", map[string]any{"x": 5, "y": 15}))
	require.Nil(t, one("SELECT $1::INTEGER", []any{nil}))
	require.Equal(t, true, one("SELECT $1::BOOLEAN", []any{true}))
	require.Equal(t, json.Number("3"), one("SELECT count(*) FROM m_dataset WHERE dataset_id IN (SELECT unnest($1::BIGINT[]))", []any{[]any{1, 2, 3}}))
	require.Equal(t, json.Number("1"), one("SELECT count(*) FROM m_dataset WHERE created_at = $1", []any{"2026-01-01T05:00:00Z"}))
	for _, params := range []any{[]any{}, []any{1, 2}, map[string]any{"x": 1}, []any{map[string]any{"a": 1}}, []any{"no number"}} {
		a := k.sql(map[string]any{"sql": "SELECT $1::INTEGER", "params": params})
		require.Equal(t, 400, a.status, "%v: %s", params, a.body)
	}
}

func TestSQLFormats(t *testing.T) {
	k := newKit(t, kitOptions{})
	const sql = `SELECT i AS a, 'x' || i AS "b,""c", CASE WHEN i = 1 THEN '' END AS d, 5 AS a FROM range(3) r(i) ORDER BY i`
	want := `{"a":0,"b,\"c":"x0","d":null,"a_1":5}` + "\n" + `{"a":1,"b,\"c":"x1","d":"","a_1":5}` + "\n" + `{"a":2,"b,\"c":"x2","d":null,"a_1":5}` + "\n"
	a := k.sql(map[string]any{"sql": sql, "format": "ndjson"})
	require.Equal(t, "application/x-ndjson", a.header.Get("Content-Type"))
	require.Equal(t, want, string(a.body))
	b, _ := json.Marshal(map[string]string{"sql": sql})
	a = k.call("POST", "/v0/sql", "", string(b), "Accept", "text/html;q=0.1, application/x-ndjson;q=0.9, text/csv;q=0.2")
	require.Equal(t, want, string(a.body))
	a = k.call("POST", "/v0/sql", "", string(b), "Accept", "text/csv")
	require.Equal(t, "text/csv; charset=utf-8; header=present", a.header.Get("Content-Type"))
	require.Equal(t, "a,\"b,\"\"c\",d,a\n0,x0,,5\n1,x1,\"\",5\n2,x2,,5\n", string(a.body))
	records, err := csv.NewReader(bytes.NewReader(a.body)).ReadAll()
	require.NoError(t, err)
	require.Len(t, records, 4)
	for _, accept := range []string{"*/*", "application/*", "text/html", ""} {
		require.Equal(t, "application/json", k.call("POST", "/v0/sql", "", string(b), "Accept", accept).header.Get("Content-Type"), accept)
	}
	a = k.sql(map[string]any{"sql": "SELECT 1 AS x WHERE false", "format": "csv"})
	require.Equal(t, "x\n", string(a.body))
	require.Empty(t, string(k.sql(map[string]any{"sql": "SELECT 1 WHERE false", "format": "ndjson"}).body))

	k.sql(map[string]any{"sql": "SELECT 1", "format": "xml"}).fails(400, fault.Usage)
	for _, media := range []string{"application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"} {
		require.Equal(t, media, k.call("POST", "/v0/sql", "", string(b), "Accept", media).header.Get("Content-Type"))
	}
	for _, lsn := range []string{"0/16B3748", "soon", ""} {
		require.Contains(t, k.sql(map[string]any{"sql": "SELECT 1", "min_lsn": map[string]string{"m": lsn}}).fails(400, fault.Usage), "min_lsn")
	}
	for _, d := range []string{"soon", "-1s", "0s", "5"} {
		k.sql(map[string]any{"sql": "SELECT 1", "deadline": d}).fails(400, fault.Usage)
	}
}

// Constants beyond a double are DuckDB's infinities, not statements that may not run.
func TestSQLInfinity(t *testing.T) {
	k := newKit(t, kitOptions{})
	got := k.sql(map[string]any{"sql": "SELECT 1e400::double AS a, -1e400 AS b, 'nan'::double AS c, 'Infinity' AS d"}).json(200)
	require.Equal(t, []any{[]any{"Infinity", "-Infinity", "NaN", "Infinity"}}, got["rows"])
}

func TestSQLGzip(t *testing.T) {
	k := newKit(t, kitOptions{})
	body := map[string]any{"sql": "SELECT 'the same text again' AS x FROM range(10000)", "format": "csv"}
	plain := k.sql(body)
	require.Empty(t, plain.header.Get("Content-Encoding"))
	for range 2 { // the second time with a writer used before
		packed := k.sqlAs("", body, "Accept-Encoding", "br;q=1, gzip;q=0.5")
		require.Equal(t, "gzip", packed.header.Get("Content-Encoding"))
		require.Equal(t, []string{"Accept", "Accept-Encoding"}, packed.header.Values("Vary"))
		require.Less(t, len(packed.body)*5, len(plain.body))
		z, err := gzip.NewReader(bytes.NewReader(packed.body))
		require.NoError(t, err)
		b, err := io.ReadAll(z)
		require.NoError(t, err)
		require.Equal(t, plain.body, b)
	}
	for _, h := range []string{"identity", "gzip;q=0", "br"} {
		require.Empty(t, k.sqlAs("", body, "Accept-Encoding", h).header.Get("Content-Encoding"), h)
	}
	a := k.sqlAs("", map[string]any{"sql": "SELEC"}, "Accept-Encoding", "gzip")
	a.fails(400, fault.InvalidSQL) // errors are plain
}

// Nothing but a SELECT over datasets gets through, for an administrator too: the file's owner is the server.
func TestHostileSQL(t *testing.T) {
	k := newKit(t, kitOptions{})
	dir := t.TempDir()
	file := filepath.Join(dir, "out.csv")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in.csv"), []byte("a\n1\n"), 0o600))
	in := filepath.Join(dir, "in.csv")
	for _, sql := range []string{
		"SELECT * FROM '" + in + "'", "FROM read_csv('" + in + "')", "SELECT * FROM read_text('/etc/passwd')", "FROM glob('/*')", "SELECT * FROM read_blob('/etc/passwd')",
		"SELECT (SELECT content FROM read_text('/etc/passwd'))", "WITH x AS (FROM read_csv('" + in + "')) FROM x", "FROM parquet_metadata('/etc/passwd')", "FROM sniff_csv('" + in + "')",
		"ATTACH '" + dir + "/x.duckdb' AS x", "ATTACH ':memory:' AS x", "DETACH pintail", "USE memory",
		"SET memory_limit = '1GB'", "SET enable_external_access = true", "RESET ALL", "PRAGMA enable_profiling", "PRAGMA database_list", "PRAGMA enable_profiling='json'", "CALL pragma_version()",
		"COPY m_dataset TO '" + file + "'", "COPY (SELECT 1) TO STDOUT", "COPY m_dataset FROM '" + in + "'", "EXPORT DATABASE '" + dir + "/e'", "IMPORT DATABASE '" + dir + "'",
		"INSTALL httpfs", "LOAD httpfs", "CHECKPOINT", "FORCE CHECKPOINT", "VACUUM", "ANALYZE",
		"SELECT 1; SELECT 2", "SELECT 1; DROP TABLE m_dataset", "DROP TABLE m_dataset", "DELETE FROM m_dataset", "UPDATE m_dataset SET status = 'x'", "INSERT INTO m_dataset SELECT * FROM m_dataset",
		"CREATE TABLE x AS SELECT 1", "CREATE TEMP TABLE x(i INT)", "CREATE VIEW x AS SELECT 1", "CREATE MACRO f() AS 1", "CREATE SECRET s (TYPE s3)", "CREATE SCHEMA s", "ALTER TABLE m_dataset ADD COLUMN x INT",
		"TRUNCATE m_dataset", "BEGIN", "COMMIT", "ROLLBACK", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p", "SET VARIABLE x = 1",
		"SELECT * FROM query('SELECT 1')", "SELECT * FROM query_table('m_dataset')", "EXPLAIN DELETE FROM m_dataset", "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
		"SELECT getenv('HOME')", "SELECT nextval('s')", "WITH d AS (DELETE FROM m_dataset RETURNING *) SELECT * FROM d", "FROM duckdb_secrets()", "FROM force_checkpoint()",
		"SELECT * FROM '/proc/self/environ'", "SELECT write_log('x')", "", " ", ";", "-- nothing",
	} {
		a := k.sql(map[string]any{"sql": sql})
		require.Contains(t, []int{400, 403}, a.status, "%s: %s", sql, a.body)
		require.NotContains(t, string(a.body), "root:")
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, json.Number("120"), k.sql(map[string]any{"sql": "SELECT count(*) FROM m_dataset"}).json(200)["rows"].([]any)[0].([]any)[0])
}

func TestHostileSQLOfAReader(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	for _, sql := range []string{
		"SELECT * FROM secret", "SELECT * FROM main.secret", "SELECT * FROM pintail.secret", "SELECT (SELECT word FROM secret)", "FROM e_a", "SELECT * FROM _pintail.runs",
		"SELECT * FROM information_schema.tables", "SELECT * FROM duckdb_tables()", "SELECT * FROM sqlite_master", "SHOW TABLES", "SELECT * FROM pg_catalog.pg_class", "FROM duckdb_settings()",
		"SELECT * FROM does_not_exist", "FROM m_data JOIN secret ON true", "SELECT 1 UNION ALL SELECT 1 FROM secret", "SELECT * FROM m_data WHERE EXISTS (FROM secret)", "DESCRIBE secret", "SUMMARIZE secret",
	} {
		a := k.sqlAs("reader-reader", map[string]any{"sql": sql})
		a.fails(403, fault.Forbidden)
	}
	require.Equal(t, k.sqlAs("reader-reader", map[string]any{"sql": "FROM secret"}).fails(403, fault.Forbidden),
		strings.ReplaceAll(k.sqlAs("reader-reader", map[string]any{"sql": "FROM absent"}).fails(403, fault.Forbidden), "absent", "secret"))
	k.sqlAs("reader-reader", map[string]any{"sql": "SELECT count(*) FROM m_data"}).json(200)
}

// The first row is there before the last is computed, and memory does not grow with the result.
func TestSQLStreams(t *testing.T) {
	k := newKit(t, kitOptions{})
	for format, rows := range map[string]int{"csv": 8_000_000, "json": 2_000_000} {
		b, err := json.Marshal(map[string]any{"sql": fmt.Sprintf("SELECT i, 'a text of some length' AS text FROM range(%d) r(i)", rows), "format": format})
		require.NoError(t, err)
		req, err := http.NewRequest(http.MethodPost, k.url+"/v0/sql", bytes.NewReader(b))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept-Encoding", "identity")
		res, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		defer res.Body.Close()
		in := bufio.NewReaderSize(res.Body, 1<<20)
		_, err = in.ReadString('\n') // the columns
		require.NoError(t, err)
		_, err = in.ReadString('\n')
		require.NoError(t, err)
		list := k.core.List()
		require.Len(t, list, 1)
		require.Less(t, list[0].Rows, int64(rows/2), "the first row came when most were computed")
		before := rss(t)
		n, peak := 1, before
		for {
			_, err := in.ReadSlice('\n')
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			if n++; n%500_000 == 0 {
				peak = max(peak, rss(t))
			}
		}
		require.InDelta(t, rows, n, 1)
		require.Less(t, peak-before, int64(100<<20), "resident memory grew while the result was read")
		k.log.Wait(t, "rows="+strconv.Itoa(rows))
	}
}

// rss is the process's resident memory, after Go has given back what it can.
func rss(t *testing.T) int64 {
	runtime.GC()
	b, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	require.NoError(t, err)
	return pages * int64(os.Getpagesize())
}

const slowSQL = "SELECT count(*) FROM range(1000000000000) a, m_dataset"

// failsLate gives a first chunk of rows and then an error.
const failsLate = "SELECT CASE WHEN i < 900000 THEN i ELSE CAST('x' || i AS INTEGER) END AS n FROM range(1000000) r(i)"

func TestSQLErrorAfterTheFirstRow(t *testing.T) {
	k := newKit(t, kitOptions{})
	a := k.sql(map[string]any{"sql": failsLate})
	got := a.json(200)
	require.Equal(t, "invalid_sql", got["error"].(map[string]any)["code"])
	n, err := got["row_count"].(json.Number).Int64()
	require.NoError(t, err)
	require.Positive(t, n)
	require.Len(t, got["rows"], int(n))

	a = k.sql(map[string]any{"sql": failsLate, "format": "ndjson"})
	require.Error(t, a.err) // cut off
	lines := strings.Split(strings.TrimSpace(string(a.body)), "\n")
	require.Equal(t, `{"n":0}`, lines[0])
	require.True(t, strings.HasPrefix(lines[len(lines)-1], `{"error":{"code":"invalid_sql"`), lines[len(lines)-1])

	a = k.sql(map[string]any{"sql": failsLate, "format": "csv"})
	require.Error(t, a.err)
	require.True(t, strings.HasPrefix(string(a.body), "n\n0\n1\n"))

	for _, format := range []string{"csv", "arrow", "parquet"} {
		for _, coding := range []string{"gzip", "zstd", "identity"} {
			a = k.sqlAs("", map[string]any{"sql": failsLate, "format": format}, "Accept-Encoding", coding)
			require.Equal(t, 200, a.status)
			require.Error(t, a.err, "%s, %s", format, coding)
		}
	}
	// Before the first row it is an ordinary error, in every format.
	for _, f := range []string{"json", "ndjson", "csv", "arrow", "parquet"} {
		k.sql(map[string]any{"sql": "SELECT CAST('x' || i AS INTEGER) FROM range(10) r(i)", "format": f}).fails(400, fault.InvalidSQL)
	}
}

func TestSQLDeadlineAndLimits(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	require.Contains(t, k.sqlAs("admin-admin", map[string]any{"sql": slowSQL, "deadline": "50ms"}).fails(429, fault.Limit), "deadline of 50ms")
	require.Contains(t, k.sqlAs("small-small", map[string]any{"sql": slowSQL}).fails(429, fault.Limit), "300ms")
	got := k.sqlAs("small-small", map[string]any{"sql": "SELECT * FROM range(10)"}).json(200)
	require.Len(t, got["rows"], 3)
	require.Equal(t, true, got["truncated"])
	require.Contains(t, k.sqlAs("small-small", map[string]any{"sql": "SELECT repeat('x', 3000)"}).fails(429, fault.Limit), "2000")
	k.sqlAs("small-small", map[string]any{"sql": "SELECT repeat('x', 1500)"}).json(200)
	k.sqlAs("small-small", map[string]any{"sql": "SELECT repeat('x', 3000)", "format": "csv"}).fails(429, fault.Limit)
}

func TestSQLQueueIsBounded(t *testing.T) {
	k := newKit(t, kitOptions{core: query.Options{Concurrency: 1, Queue: 1, Wait: 50 * time.Millisecond}})
	res := k.open(t.Context(), "SELECT * FROM range(1000000000000)")
	defer res.Body.Close()
	a := k.sql(map[string]any{"sql": "SELECT 1"})
	a.fails(503, fault.Unavailable)
	require.Equal(t, "1", a.header.Get("Retry-After"))
}

// open starts a statement and returns when its first bytes are there.
func (k *kit) open(ctx context.Context, sql string) *http.Response {
	k.t.Helper()
	return k.openAs(ctx, sql, "ndjson")
}

func (k *kit) openAs(ctx context.Context, sql, format string) *http.Response {
	k.t.Helper()
	b, err := json.Marshal(map[string]any{"sql": sql, "format": format})
	require.NoError(k.t, err)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url+"/v0/sql", bytes.NewReader(b))
	require.NoError(k.t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept-Encoding", "identity")
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(k.t, err)
	return res
}

func TestSQLOfAClientThatIsGone(t *testing.T) {
	k := newKit(t, kitOptions{})
	// While nothing was sent yet.
	ctx, cancel := context.WithCancel(t.Context())
	g := errgroup.Group{}
	g.Go(func() error {
		b, _ := json.Marshal(map[string]any{"sql": slowSQL})
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url+"/v0/sql", bytes.NewReader(b))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			res.Body.Close()
		}
		return err
	})
	k.log.Wait(t, "query started", slowSQL)
	cancel()
	require.ErrorIs(t, g.Wait(), context.Canceled)
	k.log.Wait(t, "query ended", slowSQL, "code=cancelled")

	// In the middle of the rows.
	res := k.open(t.Context(), "SELECT 'gone' FROM range(1000000000000)")
	_, err := io.ReadFull(res.Body, make([]byte, 1000))
	require.NoError(t, err)
	res.Body.Close()
	k.log.Wait(t, "query ended", "SELECT 'gone' FROM")
	require.Empty(t, k.core.List())
}

// A client that does not read holds a statement, and with it old data, only so long.
func TestSQLOfAClientThatDoesNotRead(t *testing.T) {
	k := newKit(t, kitOptions{change: func(s *Server) { s.writeTimeout = 200 * time.Millisecond }})
	res := k.open(t.Context(), "SELECT * FROM range(1000000000000)")
	defer res.Body.Close()
	k.log.Wait(t, "query ended", "FROM range(1000000000000)")
}

// The deadline of reading the body does not end a statement that runs longer.
func TestSQLRunsLongerThanTheBodyMayTake(t *testing.T) {
	k := newKit(t, kitOptions{change: func(s *Server) { s.bodyTimeout = 50 * time.Millisecond }})
	a := k.sql(map[string]any{"sql": slowSQL, "deadline": "400ms"})
	require.Contains(t, a.fails(429, fault.Limit), "deadline of 400ms")
}

func TestQueriesAreListedAndKilled(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	b, _ := json.Marshal(map[string]any{"sql": "SELECT * FROM range(1000000000000)", "format": "ndjson"})
	req, err := http.NewRequest(http.MethodPost, k.url+"/v0/sql", bytes.NewReader(b))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer reader-reader")
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer res.Body.Close()

	require.Empty(t, k.call("GET", "/v0/queries", "other-other", "").json(200)["queries"])
	for _, token := range []string{"reader-reader", "admin-admin"} {
		list := k.call("GET", "/v0/queries", token, "").json(200)["queries"].([]any)
		require.Len(t, list, 1)
		q := list[0].(map[string]any)
		require.Equal(t, "SELECT * FROM range(1000000000000)", q["sql"])
		require.Equal(t, "running", q["state"])
		require.Equal(t, "reader", q["user"])
	}
	id := k.core.List()[0].ID
	k.call("DELETE", "/v0/queries/"+id, "other-other", "").fails(404, fault.NotFound)
	k.call("DELETE", "/v0/queries/"+id, "reader-reader", "").json(200)
	text, err := io.ReadAll(res.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Contains(t, string(text), `{"error":{"code":"cancelled","message":"the statement was killed by reader"`)
	k.log.Wait(t, "query ended", "code=cancelled")
	k.call("DELETE", "/v0/queries/"+id, "admin-admin", "").fails(404, fault.NotFound)
}

func TestConcurrentReaders(t *testing.T) {
	k := newKit(t, kitOptions{core: query.Options{Concurrency: 4}})
	var g errgroup.Group
	for n := range 8 {
		g.Go(func() error {
			for i := range 25 {
				want := fmt.Sprint(n*1000 + i)
				res, err := http.Post(k.url+"/v0/sql", "application/json", strings.NewReader(`{"sql":"SELECT $1::INTEGER, count(*) FROM m_data","format":"csv","params":[`+want+`]}`))
				if err != nil {
					return err
				}
				b, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil {
					return err
				}
				if lines := strings.Split(string(b), "\n"); res.StatusCode != http.StatusOK || len(lines) != 3 || lines[1] != want+",120" {
					return fmt.Errorf("%d %q", res.StatusCode, b)
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
}
