package httpapi

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/store"
)

// firstColumn are the whole numbers in the first column of an answer.
func firstColumn(t *testing.T, format string, body []byte) (out []int64) {
	t.Helper()
	arrowed := func(tbl arrow.Table) {
		for _, a := range tbl.Column(0).Data().Chunks() {
			out = append(out, a.(*array.Int64).Int64Values()...)
		}
	}
	number := func(text string) {
		var n int64
		_, err := fmt.Sscan(text, &n)
		require.NoError(t, err)
		out = append(out, n)
	}
	switch format {
	case "arrow":
		arrowed(readArrow(t, body))
	case "parquet":
		tbl, _ := readParquet(t, body)
		arrowed(tbl)
	case "csv":
		rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
		require.NoError(t, err)
		for _, r := range rows[1:] {
			number(r[0])
		}
	case "ndjson":
		for line := range strings.Lines(string(body)) {
			var row map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &row))
			out = append(out, int64(row["i"].(float64)))
		}
	default:
		var a struct {
			Rows [][]any `json:"rows"`
		}
		require.NoError(t, json.Unmarshal(body, &a))
		for _, r := range a.Rows {
			out = append(out, int64(r[0].(float64)))
		}
	}
	return out
}

// Every row comes once and in order, whatever the sizes of pages and chunks.
func TestCursorGivesEveryRowOnce(t *testing.T) {
	k := newKit(t, kitOptions{})
	for _, format := range []string{"json", "ndjson", "csv", "arrow", "parquet"} {
		for _, size := range []struct{ rows, page int }{{10, 3}, {9, 3}, {1, 3}, {0, 3}, {7000, 999}, {7000, 2048}, {4096, 2048}, {70000, 40000}} {
			a := k.sql(map[string]any{"sql": fmt.Sprintf("SELECT i, 'x' || i AS s FROM range(%d) r(i)", size.rows), "format": format, "page": size.page})
			var all []int64
			pages := 0
			for {
				require.NoError(t, a.err)
				require.Equal(t, 200, a.status, "%s", a.body)
				got := firstColumn(t, format, a.body)
				require.LessOrEqual(t, len(got), size.page)
				all = append(all, got...)
				pages++
				next := a.header.Get(cursorName)
				if format == "json" {
					var body SQLResult
					require.NoError(t, json.Unmarshal(a.body, &body))
					require.Equal(t, next, body.Cursor)
					require.Equal(t, int64(len(got)), body.RowCount)
				}
				if next == "" {
					break
				}
				require.Len(t, got, size.page, "%s: a page in the middle", format)
				a = k.sql(map[string]any{"cursor": next})
			}
			require.Len(t, all, size.rows, "%s %v", format, size)
			for i, v := range all {
				require.Equal(t, int64(i), v)
			}
			require.Equal(t, max(1, (size.rows+size.page-1)/size.page), pages, "%s %v", format, size)
		}
	}
	require.Empty(t, k.core.List())
}

func TestCursorAnswersAgain(t *testing.T) {
	k := newKit(t, kitOptions{})
	body := map[string]any{"sql": "SELECT * FROM range(10) r(i)", "page": 4, "format": "csv"}
	first := k.sql(body)
	next := first.header.Get(cursorName)
	second := k.sql(map[string]any{"cursor": next})
	again := k.sqlAs("", map[string]any{"cursor": next}, "Accept-Encoding", "gzip")
	require.Equal(t, second.body, unpack(t, "gzip", again.body))
	third := k.sql(map[string]any{"cursor": second.header.Get(cursorName)})
	require.Equal(t, "i\n8\n9\n", string(third.body))
	require.Empty(t, third.header.Get(cursorName))
	// The statement has ended, but its last page is there still; the one before is not.
	require.Empty(t, k.core.List())
	require.Equal(t, third.body, k.sql(map[string]any{"cursor": second.header.Get(cursorName)}).body)
	k.sql(map[string]any{"cursor": next}).fails(404, fault.NotFound)
}

// All pages are of one state of the data.
func TestCursorWhileDataChanges(t *testing.T) {
	k := newKit(t, kitOptions{})
	a := k.sql(map[string]any{"sql": "SELECT id AS i FROM e_a ORDER BY id", "page": 15, "format": "csv"})
	got := firstColumn(t, "csv", a.body)
	require.NoError(t, k.store.Commit(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("DELETE FROM e_a WHERE id % 2 = 0")
		return err
	}))
	require.NoError(t, k.store.Commit(t.Context(), func(tx *store.Tx) error { return tx.DropTable("e_a") }))
	for a.header.Get(cursorName) != "" {
		a = k.sql(map[string]any{"cursor": a.header.Get(cursorName)})
		got = append(got, firstColumn(t, "csv", a.body)...)
	}
	require.Len(t, got, 40)
}

func TestCursorLimits(t *testing.T) {
	k := newKit(t, kitOptions{users: true, core: query.Options{Concurrency: 1}})
	endless := func(user string) *answer {
		return k.sqlAs(user+"-"+user, map[string]any{"sql": "SELECT * FROM range(100000000) r(i)", "page": 10, "format": "csv"})
	}
	// One that waits for its next page is in nobody's way.
	a := endless("reader")
	require.Equal(t, 200, a.status)
	next := a.header.Get(cursorName)
	require.Equal(t, 200, k.sqlAs("reader-reader", map[string]any{"sql": "SELECT 1"}).status)
	// It is its owner's alone.
	k.sqlAs("other-other", map[string]any{"cursor": next}).fails(404, fault.NotFound)
	k.call("DELETE", "/v0/cursors/"+next, "other-other", "").fails(404, fault.NotFound)
	for range cursorsPerUser - 1 {
		require.Equal(t, 200, endless("reader").status)
	}
	endless("reader").fails(429, fault.Limit)
	require.Equal(t, 200, endless("other").status)
	require.Equal(t, 200, k.call("DELETE", "/v0/cursors/"+next, "reader-reader", "").status)
	k.sqlAs("reader-reader", map[string]any{"cursor": next}).fails(404, fault.NotFound)
	require.Equal(t, 200, endless("reader").status)
	// The role's limits hold for all pages together.
	a = k.sqlAs("small-small", map[string]any{"sql": "SELECT * FROM range(10)", "page": 2, "format": "csv"})
	require.Equal(t, "range\n0\n1\n", string(a.body))
	a = k.sqlAs("small-small", map[string]any{"cursor": a.header.Get(cursorName)})
	require.Equal(t, "range\n2\n", string(a.body))
	require.Equal(t, "true", a.header.Get(truncatedName))
	a = k.sqlAs("small-small", map[string]any{"sql": "SELECT repeat('x', 900) FROM range(10)", "page": 1, "format": "csv"})
	a = k.sqlAs("small-small", map[string]any{"cursor": a.header.Get(cursorName)})
	k.sqlAs("small-small", map[string]any{"cursor": a.header.Get(cursorName)}).fails(429, fault.Limit)
	// A statement that is killed takes its cursor along.
	a = endless("other")
	for _, q := range k.core.List() {
		require.NoError(t, k.core.Kill(q.ID, "admin"))
	}
	k.sqlAs("other-other", map[string]any{"cursor": a.header.Get(cursorName)}).fails(499, fault.Cancelled)
	k.sqlAs("other-other", map[string]any{"cursor": a.header.Get(cursorName)}).fails(404, fault.NotFound)
}

func TestCursorPagesAreBoundedInBytes(t *testing.T) {
	k := newKit(t, kitOptions{})
	for _, format := range []string{"json", "csv", "arrow", "parquet"} {
		a := k.sql(map[string]any{"sql": "SELECT i, md5(i::VARCHAR) || repeat(md5((i * 7)::VARCHAR), 30) AS s FROM range(30000) r(i)", "page": 100000, "format": format})
		rows, pages := 0, 0
		for {
			require.NoError(t, a.err)
			require.Equal(t, 200, a.status)
			require.Less(t, len(a.body), 3*pageBytes, format)
			rows += len(firstColumn(t, format, a.body))
			pages++
			next := a.header.Get(cursorName)
			if next == "" {
				break
			}
			a = k.sql(map[string]any{"cursor": next})
		}
		require.Equal(t, 30000, rows, format)
		if format != "parquet" { // smaller, and counted by row groups
			require.Greater(t, pages, 5, format)
		}
	}
}

func TestCursorEnds(t *testing.T) {
	k := newKit(t, kitOptions{change: func(s *Server) { s.cursors.idle = 30 * time.Millisecond }})
	a := k.sql(map[string]any{"sql": "SELECT * FROM range(100000000) r(i)", "page": 10})
	require.Equal(t, 200, a.status)
	k.log.Wait(t, "query ended", "range(100000000)") // by itself
	k.sql(map[string]any{"cursor": a.header.Get(cursorName)}).fails(404, fault.NotFound)

	// With its client, before there is a page.
	ctx, cancel := context.WithCancel(t.Context())
	b, err := json.Marshal(map[string]any{"sql": slowSQL, "page": 10})
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url+"/v0/sql", bytes.NewReader(b))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	gone := make(chan error, 1)
	go func() {
		res, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			res.Body.Close()
		}
		gone <- err
	}()
	require.Eventually(t, func() bool { return len(k.core.List()) == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.Error(t, <-gone)
	k.log.Wait(t, "query ended", "m_dataset")

	// With the server, and whoever waits for a slot or computes is not in the way.
	k = newKit(t, kitOptions{})
	require.Equal(t, 200, k.sql(map[string]any{"sql": "SELECT * FROM range(100000000) r(i)", "page": 10}).status)
	require.NoError(t, k.stop())
	require.Empty(t, k.core.List())
}

func TestCursorUsage(t *testing.T) {
	k := newKit(t, kitOptions{})
	for _, cursor := range []string{"x", ".", "x.1", "x.y", strings.Repeat("A", 26) + ".1", "../../etc", "a.-1", "a.99999999999999999999"} {
		k.sql(map[string]any{"cursor": cursor}).fails(404, fault.NotFound)
	}
	k.sql(map[string]any{"cursor": "x.1", "sql": "SELECT 1"}).fails(400, fault.Usage)
	k.sql(map[string]any{"cursor": "x.1", "format": "csv"}).fails(400, fault.Usage)
	k.sql(map[string]any{}).fails(400, fault.Usage)
	for _, page := range []int{0, -1, pageRowsMax + 1} {
		if page == 0 {
			continue // as if it were not there
		}
		k.sql(map[string]any{"sql": "SELECT 1", "page": page}).fails(400, fault.Usage)
	}
	k.sql(map[string]any{"sql": "SELEC", "page": 5}).fails(400, fault.InvalidSQL)
	// It fails in the middle of a page: an ordinary error, and the cursor is gone.
	a := k.sql(map[string]any{"sql": failsLate, "page": 100000, "format": "csv"})
	for a.status == 200 {
		a = k.sql(map[string]any{"cursor": a.header.Get(cursorName)})
	}
	a.fails(400, fault.InvalidSQL)
	require.Empty(t, k.core.List())
}
