package query

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
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

// A slow statement is a warning with all that tells why, whose line is there once.
func TestSlowStatement(t *testing.T) {
	var log bytes.Buffer
	c, _ := newCore(t, Options{Slow: 50 * time.Millisecond, Log: slog.New(slog.NewJSONHandler(&log, nil))}, access.Limits{})
	_, _, err := run(t, c, Request{SQL: "SELECT count(*) FROM t", Door: "http"})
	require.NoError(t, err)
	require.Empty(t, log.String())

	r, err := c.Run(access.WithRemote(t.Context(), "10.1.2.3:4567"), reader, Request{SQL: "SELECT word, $1 FROM t", Params: []any{"row 7777"}, Door: "pgwire"})
	require.NoError(t, err)
	for time.Since(r.arrived) < 60*time.Millisecond { // a client that takes its time
		time.Sleep(time.Millisecond)
	}
	_, err = all(t, r)
	require.NoError(t, err)
	line := struct {
		Level, Msg, Door, Remote, Query, User, Role, SQL string
		Rows                                             int
		Datasets                                         []string
		Elapsed, Waited, Planned, First, Other, Taken    *float64
	}{}
	text := strings.NewReplacer("elapsed_ms", "elapsed", "waited_ms", "waited", "planned_ms", "planned", "first_rows_ms", "first", "other_rows_ms", "other", "taken_ms", "taken").Replace(log.String())
	require.NoError(t, json.Unmarshal([]byte(text), &line), "one line: %s", log.String())
	require.Equal(t, []string{"WARN", "slow query", "pgwire", "10.1.2.3", r.ID(), "ann", "reader", "SELECT word, $1 FROM t"}, []string{line.Level, line.Msg, line.Door, line.Remote, line.Query, line.User, line.Role, line.SQL})
	require.Equal(t, 10000, line.Rows)
	require.Equal(t, []string{"t"}, line.Datasets)
	require.Greater(t, *line.Taken, 20.0)
	require.InDelta(t, *line.Elapsed, *line.Waited+*line.Planned+*line.First+*line.Other+*line.Taken, 5)
	require.NotContains(t, log.String(), "7777")
	require.Equal(t, 1.0, testutil.ToFloat64(c.metrics.slow))

	require.NotContains(t, log.String(), "operators", "the store does not profile")

	log.Reset()
	never, _ := newCore(t, Options{Slow: -1, Log: slog.New(slog.NewJSONHandler(&log, nil))}, access.Limits{})
	_, _, err = run(t, never, Request{SQL: "SELECT count(*) FROM t"})
	require.NoError(t, err)
	require.Empty(t, log.String())
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

func TestSlowStatementTellsOperators(t *testing.T) {
	ctx := context.Background()
	st, err := store.Open(ctx, store.Options{Path: filepath.Join(t.TempDir(), "q.duckdb"), MemoryLimit: 1 << 30, Threads: 2, Profile: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close(ctx)) })
	acc, err := access.New(access.Config{Catalog: "q", Resolver: access.Tables{}}, nil, nil)
	require.NoError(t, err)
	var log bytes.Buffer
	c := New(st, acc, Options{Slow: 1, Log: slog.New(slog.NewJSONHandler(&log, nil))})
	s := c.Session("http", access.Local(), store.Settings{})
	prepared, err := s.Prepare(t.Context(), "SELECT range % 100 AS k, count(*) FROM range(1000000) GROUP BY k")
	require.NoError(t, err)
	defer prepared.Close()
	for _, run := range []func() (*Result, error){
		func() (*Result, error) { return prepared.Run(t.Context(), Request{}) },
		func() (*Result, error) {
			return s.Run(t.Context(), Request{SQL: "SELECT range % 100 AS k, count(*) FROM range(1000000) GROUP BY k"})
		},
	} {
		log.Reset()
		r, err := run()
		require.NoError(t, err)
		_, err = all(t, r)
		require.NoError(t, err)
		var line struct{ Operators []string }
		require.NoError(t, json.Unmarshal(log.Bytes(), &line), log.String())
		require.NotEmpty(t, line.Operators)
		require.LessOrEqual(t, len(line.Operators), operatorsTold)
		require.Contains(t, strings.Join(line.Operators, "; "), "GROUP_BY")
		require.Contains(t, strings.Join(line.Operators, "; "), ", 100 rows")
	}
}
