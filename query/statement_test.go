package query

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

func prepare(t *testing.T, s *Session, sql string) *Statement {
	t.Helper()
	st, err := s.Prepare(t.Context(), sql)
	require.NoError(t, err)
	t.Cleanup(st.Close)
	return st
}

// answer runs a statement to its end.
func answer(t *testing.T, st *Statement, params ...any) ([][]string, error) {
	t.Helper()
	r, err := st.Run(t.Context(), Request{Params: params})
	if err != nil {
		return nil, err
	}
	return all(t, r)
}

func TestPrepare(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	s := c.Session("test", reader, store.Settings{})
	st := prepare(t, s, "SELECT i, word FROM t WHERE i IN ($1, $2) ORDER BY i LIMIT $3")
	require.Equal(t, []store.Param{{Name: "1", Type: "BIGINT"}, {Name: "2", Type: "BIGINT"}, {Name: "3", Type: "BIGINT"}}, st.Params())
	require.Equal(t, []store.ResultColumn{{Name: "i", Type: "BIGINT"}, {Name: "word", Type: "VARCHAR"}}, st.Columns())
	require.Empty(t, c.List(), "preparing is no statement under way")
	for range 3 {
		rows, err := answer(t, st, json.Number("7"), "9", int64(5))
		require.NoError(t, err)
		require.Equal(t, [][]string{{"7", `"row 7"`}, {"9", `"row 9"`}}, rows)
	}
	_, err := answer(t, st, "x", "9", int64(5))
	require.Equal(t, fault.InvalidSQL, fault.CodeOf(err))
	rows, err := answer(t, st, int64(1), nil, int64(5))
	require.NoError(t, err, "a failure leaves the statement usable")
	require.Equal(t, [][]string{{"1", `"row 1"`}}, rows)

	for sql, want := range map[string]fault.Code{"SELECT * FROM hidden": fault.Forbidden, "SELEC 1": fault.InvalidSQL, "SELECT nothing FROM t": fault.InvalidSQL, "DELETE FROM t": fault.Forbidden} {
		_, err := s.Prepare(t.Context(), sql)
		require.Equal(t, want, fault.CodeOf(err), sql)
	}
	require.Nil(t, prepare(t, s, "SELECT i, $1 FROM t").Columns(), "known only with the parameter")
	rows, err = answer(t, prepare(t, s, "SELECT $1"), "a")
	require.NoError(t, err)
	require.Equal(t, [][]string{{`"a"`}}, rows)
}

// A statement may be run again while a result of it is open, closed before its result is, and run with positions.
func TestPreparedResultsSideBySide(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	st := prepare(t, c.Session("test", reader, store.Settings{}), "SELECT i FROM t WHERE i >= $1 ORDER BY i")
	first, err := st.Run(t.Context(), Request{Params: []any{int64(0)}, Positions: true})
	require.NoError(t, err)
	chunk, n, err := first.Next()
	require.NoError(t, err)
	require.Positive(t, n)
	require.Equal(t, "0", string(chunk.AppendText(nil, 0, 0)))
	second, err := answer(t, st, int64(9998))
	require.NoError(t, err)
	require.Equal(t, [][]string{{"9998"}, {"9999"}}, second)
	st.Close()
	_, err = st.Run(t.Context(), Request{Params: []any{int64(0)}})
	require.Equal(t, fault.Internal, fault.CodeOf(err))
	rest, err := all(t, first)
	require.NoError(t, err)
	require.Len(t, rest, 10000-n)
	st.Close()
}

// What a prepared statement may read is decided each time it runs.
func TestPreparedStatementLosesItsGrant(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	st := prepare(t, c.Session("test", reader, store.Settings{}), "SELECT count(*) FROM t")
	_, err := answer(t, st)
	require.NoError(t, err)
	tables := access.Tables{}
	tables.Add("main", "t", "t")
	require.NoError(t, c.access.Update(access.Config{Catalog: "q", Resolver: tables, Users: []access.User{{Name: "ann", Password: "x", Role: "reader"}}, Roles: []access.Role{{Name: "reader"}}}))
	_, err = answer(t, st)
	require.Equal(t, fault.Forbidden, fault.CodeOf(err))
}

func TestPreparedColumnsChange(t *testing.T) {
	c, s := newCore(t, Options{}, access.Limits{})
	change := func(sql string) {
		require.NoError(t, s.Commit(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(sql); return err }))
	}
	session := c.Session("test", reader, store.Settings{})
	star, named := prepare(t, session, "SELECT * FROM t ORDER BY i LIMIT 1"), prepare(t, session, "SELECT word FROM t ORDER BY i LIMIT 1")
	change("ALTER TABLE t ADD COLUMN n INTEGER DEFAULT 5")
	_, err := answer(t, star)
	require.Equal(t, fault.ResultChanged, fault.CodeOf(err))
	rows, err := answer(t, named)
	require.NoError(t, err, "its own columns are the same")
	require.Equal(t, [][]string{{`"row 0"`}}, rows)
	change("CREATE OR REPLACE TABLE t AS SELECT 1 AS i, 'new' AS word")
	rows, err = answer(t, named)
	require.NoError(t, err)
	require.Equal(t, [][]string{{`"new"`}}, rows)
	change("CREATE OR REPLACE TABLE t AS SELECT 1 AS i, 2 AS word")
	_, err = answer(t, named)
	require.Equal(t, fault.ResultChanged, fault.CodeOf(err))
}

// DuckDB plans with the least and largest values that a table has: such a plan knows nothing of what comes later.
func TestPreparedSeesNewRows(t *testing.T) {
	c, s := newCore(t, Options{}, access.Limits{})
	st := prepare(t, c.Session("test", reader, store.Settings{}), "SELECT count(*), max(i) FROM t WHERE i >= $1")
	for n := int64(10000); n < 10100; n += 20 {
		rows, err := answer(t, st, n)
		require.NoError(t, err)
		require.Equal(t, [][]string{{"0", "null"}}, rows)
		require.NoError(t, s.Commit(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(fmt.Sprintf("INSERT INTO t SELECT range, 'new' FROM range(%d, %d)", n, n+20))
			return err
		}))
		for range 2 { // planned anew, and as it was planned then
			rows, err = answer(t, st, n)
			require.NoError(t, err)
			require.Equal(t, [][]string{{"20", fmt.Sprint(n + 19)}}, rows)
		}
	}
}

func TestSessionSettings(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	s := c.Session("test", reader, store.Settings{TimeZone: "Asia/Tokyo", Postgres: true, Variables: map[string]string{"me": "o'ann"}})
	const sql = "SELECT 7/2, TIMESTAMPTZ '2026-01-01 00:00:00+00'::VARCHAR, getvariable('me'), (SELECT list(a ORDER BY a DESC)::VARCHAR FROM (VALUES (1), (NULL)) v(a))"
	want := [][]string{{"3", `"2026-01-01 09:00:00+09"`, `"o'ann"`, `"[NULL, 1]"`}}
	rows, err := answer(t, prepare(t, s, sql))
	require.NoError(t, err)
	require.Equal(t, want, rows)
	r, err := s.Run(t.Context(), Request{SQL: sql})
	require.NoError(t, err)
	rows, err = all(t, r)
	require.NoError(t, err)
	require.Equal(t, want, rows)

	require.Equal(t, fault.InvalidSQL, fault.CodeOf(s.Set(t.Context(), store.Settings{TimeZone: "Mars/Olympus"})))
	require.Equal(t, "Asia/Tokyo", s.Settings().TimeZone)
	require.NoError(t, s.Set(t.Context(), store.Settings{}))
	rows, _, err = run(t, c, Request{SQL: "SELECT 7/2, getvariable('me')"})
	require.NoError(t, err)
	require.Equal(t, [][]string{{"3.5", "null"}}, rows, "others have none of it")
}
