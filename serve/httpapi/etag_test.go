package httpapi

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

func TestETag(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	body := func(more ...any) map[string]any {
		m := map[string]any{"sql": "SELECT count(*), sum(amount) FROM m_dataset WHERE dataset_id < $1", "params": []any{100}, "format": "csv"}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	a := k.sqlAs("admin-admin", body())
	etag := a.header.Get("ETag")
	require.Regexp(t, `^W/"[\w-]{24}"$`, etag)
	require.Equal(t, "private, no-cache", a.header.Get("Cache-Control"))
	holds := func(token string, m map[string]any) bool {
		a := k.sqlAs(token, m, "If-None-Match", `"other", `+etag)
		require.NoError(t, a.err)
		if a.status == 304 {
			require.Empty(t, a.body)
			require.Equal(t, etag, a.header.Get("ETag"))
			return true
		}
		require.Equal(t, 200, a.status, "%s", a.body)
		return false
	}
	require.True(t, holds("admin-admin", body()))
	require.Equal(t, 304, k.sqlAs("admin-admin", body(), "If-None-Match", "*").status)
	require.Equal(t, 200, k.sqlAs("admin-admin", body(), "If-None-Match", `"x"`).status)
	// Whatever the answer depends on.
	require.False(t, holds("admin-admin", body("params", []any{99})))
	require.False(t, holds("admin-admin", body("format", "json")))
	require.False(t, holds("admin-admin", body("limit", 1)))
	require.False(t, holds("admin-admin", body("sql", "SELECT count(*), sum(amount) FROM m_dataset WHERE dataset_id <= $1")))
	require.False(t, holds("small-small", body()), "a role with a limit on rows")
	require.True(t, holds("reader-reader", body()))
	// Not for whoever may not read it.
	k.sqlAs("loader-loader", body(), "If-None-Match", etag).fails(403, fault.Forbidden)

	change := func(sql string) {
		require.NoError(t, k.store.Commit(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(sql)
			return err
		}))
	}
	change("UPDATE m_dataset SET amount = amount + 1 WHERE dataset_id = 5")
	require.False(t, holds("admin-admin", body()))
	// The old one does not come back with the old rows.
	change("UPDATE m_dataset SET amount = amount - 1 WHERE dataset_id = 5")
	require.False(t, holds("admin-admin", body()))

	// What changes without a commit has none, and neither has a page.
	for _, sql := range []string{"SELECT now()", "SELECT random() FROM m_dataset", "SELECT count(*) FROM m_dataset WHERE created_at > current_date", "SELECT current_timestamp", "SELECT * FROM m_dataset USING SAMPLE 3",
		"EXPLAIN SELECT * FROM m_dataset", "SELECT uuid()"} {
		a := k.sqlAs("admin-admin", map[string]any{"sql": sql}, "If-None-Match", "*")
		require.Equal(t, 200, a.status, "%s: %s", sql, a.body)
		require.Empty(t, a.header.Get("ETag"), sql)
		require.Equal(t, "no-store", a.header.Get("Cache-Control"))
	}
	require.Empty(t, k.sqlAs("admin-admin", body("page", 5)).header.Get("ETag"))
	// A view over the table follows it.
	view := map[string]any{"sql": "SELECT sum(amount) FROM m_data", "format": "csv"}
	etag = k.sqlAs("admin-admin", view).header.Get("ETag")
	require.NotEmpty(t, etag)
	require.True(t, holds("admin-admin", view))
	change("DELETE FROM m_results WHERE dataset_id = 3")
	require.False(t, holds("admin-admin", view))
	k.sqlAs("admin-admin", map[string]any{"sql": "SELEC"}, "If-None-Match", "*").fails(400, fault.InvalidSQL)
}

// Whoever has an answer and is told that it holds, has the rows of now: readers ask again and again while a writer changes the table.
func TestETagNeverLies(t *testing.T) {
	k := newKit(t, kitOptions{})
	const changes = 300
	value := func(tx *store.Tx, n int) error {
		_, err := tx.Exec(fmt.Sprintf("UPDATE e_a SET part = %d", n))
		return err
	}
	require.NoError(t, k.store.Commit(t.Context(), func(tx *store.Tx) error { return value(tx, 0) }))
	committed := make(chan int, 1) // the last that was committed
	committed <- 0
	var g errgroup.Group
	done := make(chan struct{})
	g.Go(func() error {
		defer close(done)
		for n := 1; n <= changes; n++ {
			if err := k.store.Commit(t.Context(), func(tx *store.Tx) error { return value(tx, n) }); err != nil {
				return err
			}
			<-committed
			committed <- n
		}
		return nil
	})
	body := map[string]any{"sql": "SELECT DISTINCT part FROM e_a", "format": "csv"}
	answers, same := map[string]string{}, 0
	for {
		at := <-committed
		committed <- at
		var header []string
		for etag, have := range answers {
			var n int
			_, err := fmt.Sscanf(have, "part\n%d\n", &n)
			require.NoError(t, err)
			a := k.sqlAs("", body, "If-None-Match", etag)
			if a.status == 304 {
				same++
				require.GreaterOrEqual(t, n, at, "304 for rows that a commit had replaced")
			}
			header = []string{"If-None-Match", etag}
			break
		}
		a := k.sqlAs("", body)
		require.Equal(t, 200, a.status, "%s %v", a.body, header)
		if etag := a.header.Get("ETag"); etag != "" {
			if have, ok := answers[etag]; ok {
				require.Equal(t, have, string(a.body), "two answers with one ETag")
			}
			answers = map[string]string{etag: string(a.body)}
		}
		select {
		case <-done:
			require.NoError(t, g.Wait())
			a := k.sqlAs("", body)
			require.Equal(t, 304, k.sqlAs("", body, "If-None-Match", a.header.Get("ETag")).status)
			require.Equal(t, fmt.Sprintf("part\n%d\n", changes), string(a.body))
			t.Log(same, "answers held")
			return
		default:
		}
	}
}
