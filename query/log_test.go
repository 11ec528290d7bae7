package query

import (
	"bufio"
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

func TestAudit(t *testing.T) {
	var log bytes.Buffer
	c, _ := newCore(t, Options{Audit: slog.New(slog.NewJSONHandler(&log, nil))}, access.Limits{})
	ctx := access.WithRemote(t.Context(), "10.1.2.3:4567")
	r, err := c.Run(ctx, reader, Request{SQL: "SELECT word FROM t WHERE word = $1", Params: []any{"row 7777"}, Door: "http"})
	require.NoError(t, err)
	_, err = all(t, r)
	require.NoError(t, err)
	_, err = c.Run(ctx, reader, Request{SQL: "SELECT * FROM hidden", Door: "http"})
	require.Error(t, err)
	ended := log.Len()
	_, err = c.Session("pgwire", reader, store.Settings{}).Prepare(ctx, "SELECT * FROM hidden")
	require.Error(t, err)
	var refused struct{ Msg, Door, Remote, User, SQL, Code string }
	require.NoError(t, json.Unmarshal(log.Bytes()[ended:], &refused))
	require.Equal(t, struct{ Msg, Door, Remote, User, SQL, Code string }{"refused", "pgwire", "10.1.2.3", "ann", "SELECT * FROM hidden", "forbidden"}, refused)
	log.Truncate(ended)
	require.NotContains(t, log.String(), "7777", "parameters are the reader's data")

	type line struct {
		Msg, Query, User, Role, SQL, Door, Remote, Code string
		Rows                                            int
		ElapsedMS                                       *float64 `json:"elapsed_ms"`
		WaitedMS                                        *float64 `json:"waited_ms"`
	}
	var lines []line
	for s := bufio.NewScanner(&log); s.Scan(); {
		var l line
		require.NoError(t, json.Unmarshal(s.Bytes(), &l))
		lines = append(lines, l)
	}
	require.Len(t, lines, 4)
	for i, l := range lines {
		require.Equal(t, []string{"start", "end"}[i%2], l.Msg)
		require.Equal(t, []string{"ann", "reader", "http", "10.1.2.3"}, []string{l.User, l.Role, l.Door, l.Remote})
		require.Equal(t, lines[i-i%2].Query, l.Query)
		require.Equal(t, i%2 == 1, l.ElapsedMS != nil && l.WaitedMS != nil)
	}
	require.Equal(t, 1, lines[1].Rows)
	require.Empty(t, lines[1].Code)
	require.Equal(t, string(fault.Forbidden), lines[3].Code)
	require.Equal(t, "SELECT * FROM hidden", lines[3].SQL)
}

func TestNoStatementOutlivesTheLimitOfAll(t *testing.T) {
	c, _ := newCore(t, Options{TimeMax: 200 * time.Millisecond}, access.Limits{})
	r, err := c.Run(t.Context(), reader, Request{SQL: "SELECT a.range FROM range(1000000000000) a"})
	require.NoError(t, err)
	defer r.Close()
	for err == nil { // one that takes its rows, but too slowly to end
		_, _, err = r.Next()
	}
	require.Equal(t, fault.Limit, fault.CodeOf(err))
	require.Contains(t, fault.HintOf(err), "query_max_time")
}

// A sync that runs out of memory takes it from a reader, and then goes on.
func TestShortageCancelsTheOldestReader(t *testing.T) {
	c, st := newCore(t, Options{}, access.Limits{})
	first, err := c.Run(t.Context(), reader, Request{SQL: "SELECT i FROM t"})
	require.NoError(t, err)
	defer first.Close()
	second, err := c.Run(t.Context(), reader, Request{SQL: "SELECT i FROM t"})
	require.NoError(t, err)
	defer second.Close()
	hungry := func() error {
		return st.Commit(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec("CREATE TABLE u AS SELECT string_agg(range || repeat('x', 1000), '') AS s FROM range(10000000)") // cannot spill
			return err
		})
	}
	err = hungry()
	require.True(t, fault.Transient(err), "the sync is tried again: %v", err)
	for err = nil; err == nil; {
		_, _, err = first.Next()
	}
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	require.Contains(t, err.Error(), "a sync needs the memory")
	require.True(t, fault.Transient(err))
	_, err = all(t, second)
	require.NoError(t, err)

	err = hungry()
	require.Equal(t, fault.OutOfMemory, fault.CodeOf(err), "without readers there is nobody to take it from")
}
