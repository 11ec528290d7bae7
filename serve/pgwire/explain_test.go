package pgwire

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// A plan has PostgreSQL's form: one column, a line for each operator with cost, rows and width, which planners and tools read.
func TestExplain(t *testing.T) {
	k := newKit(t, kitOptions{})
	c := k.connect("user=ann")
	lines := func(sql string, args ...any) []string {
		rows, err := c.Query(t.Context(), sql, args...)
		require.NoError(t, err)
		require.Equal(t, "QUERY PLAN", rows.FieldDescriptions()[0].Name)
		out, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err, sql)
		require.Equal(t, "EXPLAIN", rows.CommandTag().String())
		return out
	}
	require.Regexp(t, `^Seq Scan on t  \(cost=0\.00\.\.\d+\.\d\d rows=10000 width=36\)$`, lines("EXPLAIN SELECT * FROM t")[0])
	require.Regexp(t, `rows=3 width=4\)$`, lines("EXPLAIN VERBOSE SELECT i FROM t LIMIT 3")[0])
	require.Regexp(t, `rows=3 width=4\)$`, lines("EXPLAIN SELECT i FROM t ORDER BY i LIMIT 3")[0])
	require.Regexp(t, `rows=1 width=8\)$`, lines("EXPLAIN SELECT count(*) FROM t")[0])
	require.Regexp(t, `\(cost=`, lines("EXPLAIN SELECT i FROM t WHERE i = $1", 3)[0])
	require.NotContains(t, lines("EXPLAIN (COSTS OFF) SELECT i FROM t")[0], "cost")
	run := lines("EXPLAIN (ANALYZE, BUFFERS) SELECT i FROM t WHERE i < 10")
	require.Regexp(t, `rows=\d+ width=4\) \(actual rows=10 loops=1\)$`, run[0])
	require.Regexp(t, `^Execution Time: \d+\.\d{3} ms$`, run[len(run)-1])
	require.Equal(t, run[0], lines("EXPLAIN ANALYZE SELECT i FROM t WHERE i < 10")[0])

	var plan []struct {
		Plan struct {
			NodeType   string `json:"Node Type"`
			PlanRows   int64  `json:"Plan Rows"`
			ActualRows *int64 `json:"Actual Rows"`
			Filters    []string
			Plans      []any
		}
		ExecutionTime *float64 `json:"Execution Time"`
	}
	for _, analyze := range []bool{false, true} {
		sql := "EXPLAIN (FORMAT JSON) SELECT word FROM t WHERE i < 10"
		if analyze {
			sql = "EXPLAIN (ANALYZE true, FORMAT json) SELECT word FROM t WHERE i < 10"
		}
		var text string
		require.NoError(t, c.QueryRow(t.Context(), sql).Scan(&text))
		plan = nil
		require.NoError(t, json.Unmarshal([]byte(text), &plan), text)
		require.Len(t, plan, 1)
		require.NotEmpty(t, plan[0].Plan.NodeType)
		require.Positive(t, plan[0].Plan.PlanRows)
		require.Equal(t, analyze, plan[0].ExecutionTime != nil && *plan[0].Plan.ActualRows == 10, text)
		require.NotContains(t, text, `\u003c`)
	}

	for sql, code := range map[string]string{"EXPLAIN (nosuch) SELECT 1": "42601", "EXPLAIN (costs maybe) SELECT 1": "42601", "EXPLAIN (FORMAT xml) SELECT 1": "0A000", "EXPLAIN SELECT nosuch FROM t": "42703",
		"EXPLAIN INSERT INTO t VALUES (1)": "25006", "EXPLAIN (ANALYZE) DELETE FROM t": "25006", "PREPARE p AS EXPLAIN SELECT 1": "42601", "DECLARE c CURSOR WITH HOLD FOR EXPLAIN SELECT 1": "42601"} {
		_, err := c.Exec(t.Context(), sql)
		require.Equal(t, code, state(t, err), sql)
	}
	require.Len(t, k.core.List(), 0)
}

// The parameters of a cursor's statement are bound when it is declared, in both formats, and again when it is declared again.
func TestCursorsWithParameters(t *testing.T) {
	k := newKit(t, kitOptions{})
	c := k.connect("user=ann")
	tx, err := c.Begin(t.Context())
	require.NoError(t, err)
	for _, upTo := range []int32{3, 5} {
		_, err = tx.Exec(t.Context(), "DECLARE c1 CURSOR FOR SELECT i FROM t WHERE i < $1::integer AND i = ANY ($2::integer[]) ORDER BY i", upTo, []int32{0, 2, 4, 6})
		require.NoError(t, err)
		var got []int32
		for {
			rows, err := tx.Query(t.Context(), "FETCH 1 FROM c1")
			require.NoError(t, err)
			page, err := pgx.CollectRows(rows, pgx.RowTo[int32])
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
		}
		require.Equal(t, map[int32][]int32{3: {0, 2}, 5: {0, 2, 4}}[upTo], got)
		_, err = tx.Exec(t.Context(), "CLOSE c1")
		require.NoError(t, err)
	}
	_, err = tx.Exec(t.Context(), "DECLARE c2 CURSOR FOR SELECT i FROM t WHERE i = $1", pgx.QueryExecModeSimpleProtocol)
	require.Error(t, err)
	require.NoError(t, tx.Rollback(t.Context()))
	_, err = c.PgConn().Exec(t.Context(), "BEGIN; DECLARE c3 CURSOR FOR SELECT i FROM t WHERE i = $1").ReadAll()
	require.Equal(t, "42P02", state(t, err), "the simple protocol has no parameters")
}

// Rows without names are records, as PostgreSQL writes them.
func TestRecords(t *testing.T) {
	k := newKit(t, kitOptions{})
	r := k.raw()
	require.Equal(t, `[row:2249:0] (1,"a b",,"x""y\\z","",t) SELECT 1 I`, r.say(q(`SELECT row(1, 'a b', NULL, 'x"y\z', '', true) AS row`)))
	rows, err := k.connect("user=ann").Query(t.Context(), "SELECT row(1, 'a', NULL::bigint)")
	require.NoError(t, err)
	require.True(t, rows.Next())
	got, err := rows.Values()
	require.NoError(t, err)
	require.Equal(t, []any{[]any{int32(1), "a", nil}}, got, "in binary")
	rows.Close()
	require.NoError(t, rows.Err())
}

// What is not written for PostgreSQL's clients keeps DuckDB's types: quotients are numbers in Parquet and in tables.
func TestQuotientsAsValues(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	c := k.connect("user=ann")
	var mean string
	require.NoError(t, c.QueryRow(t.Context(), "SELECT avg(i)::text FROM t").Scan(&mean))
	require.Equal(t, "4999.5", mean, "within an expression")
	rows, err := c.Query(t.Context(), "SELECT avg(i), 1 / 3.0, 10::oid FROM t", pgx.QueryResultFormats{pgx.TextFormatCode})
	require.NoError(t, err)
	require.True(t, rows.Next())
	require.Equal(t, [][]byte{[]byte("4999.5000000000000000"), []byte("0.33333333333333333333"), []byte("10")}, rows.RawValues())
	require.Equal(t, []uint32{1700, 1700, 26}, []uint32{rows.FieldDescriptions()[0].DataTypeOID, rows.FieldDescriptions()[1].DataTypeOID, rows.FieldDescriptions()[2].DataTypeOID})
	rows.Close()
	var file bytes.Buffer
	_, err = c.PgConn().CopyTo(t.Context(), &file, "COPY (SELECT avg(i) AS mean, 1 / 3.0 AS third FROM t) TO STDOUT (FORMAT arrow)")
	require.NoError(t, err)
	r, err := ipc.NewReader(&file)
	require.NoError(t, err)
	defer r.Release()
	require.Equal(t, arrow.PrimitiveTypes.Float64, r.Schema().Field(0).Type)
	require.Equal(t, arrow.PrimitiveTypes.Float64, r.Schema().Field(1).Type)
}
