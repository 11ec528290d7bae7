package pgwire

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"
)

// slow never ends by itself and gives no row.
const slow = "SELECT count(*) FROM range(1000000000000) a, t"

func state(t *testing.T, err error) string {
	t.Helper()
	var e *pgconn.PgError
	require.ErrorAs(t, err, &e)
	return e.Code
}

func TestPgx(t *testing.T) {
	k := newKit(t, kitOptions{})
	ctx := t.Context()
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		c := k.connect("user=ann default_query_exec_mode=" + mode)
		for range 3 {
			var i int32
			var word string
			require.NoError(t, c.QueryRow(ctx, "SELECT i, word FROM t WHERE i = $1 AND word = $2", 7, "row 7").Scan(&i, &word), mode)
			require.Equal(t, "row 7", word)
		}
		rows, err := c.Query(ctx, "SELECT i FROM t WHERE i < $1 ORDER BY i", 5000)
		require.NoError(t, err)
		got, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		require.NoError(t, err)
		require.Len(t, got, 5000)
		require.Equal(t, int32(4999), got[4999])

		// Values of many types there and back again.
		type all struct {
			B   bool
			I   int64
			F   float64
			S   string
			At  time.Time
			Raw []byte
			Day time.Time
			N   *string
			L   []int32
		}
		if mode != "exec" && mode != "simple_protocol" {
			at := time.Date(2026, 2, 28, 12, 30, 0, 123456000, time.UTC)
			day := time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC)
			rows, err = c.Query(ctx, "SELECT $1::BOOLEAN AS b, $2::BIGINT AS i, $3::DOUBLE AS f, $4::VARCHAR AS s, $5::TIMESTAMPTZ AS at, $6::BLOB AS raw, $7::DATE AS day, $8::VARCHAR AS n, $9::INTEGER[] AS l",
				true, int64(-5), 0.1, "é'x", at, []byte{0, 255}, day, nil, []int32{1, -2})
			require.NoError(t, err, mode)
			back, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[all])
			require.NoError(t, err, mode)
			back.At = back.At.UTC()
			require.Equal(t, all{true, -5, 0.1, "é'x", at, []byte{0, 255}, day, nil, []int32{1, -2}}, back, mode)
		}
		if mode != "simple_protocol" { // whose literals are PostgreSQL's, for the translator
			var n int
			require.NoError(t, c.QueryRow(ctx, "SELECT count(*) FROM t WHERE list_contains($1::INTEGER[], i)", []int32{1, 2, 20000}).Scan(&n), mode)
			require.Equal(t, 2, n, mode)
			require.NoError(t, c.QueryRow(ctx, "SELECT count(*) FROM t WHERE list_contains($1::VARCHAR[], word)", []string{"row 1", "a,{\"'"}).Scan(&n), mode)
			require.Equal(t, 1, n, mode)
		}
		_, err = c.Exec(ctx, "INSERT INTO t VALUES (1, 'x')")
		require.Equal(t, "25006", state(t, err))
		_, err = c.Exec(ctx, "SELECT * FROM nowhere")
		require.Equal(t, "42P01", state(t, err))
		_, err = c.Exec(ctx, "SELECT 1")
		require.NoError(t, err)
	}
}

func TestPgxBatchAndTransaction(t *testing.T) {
	k := newKit(t, kitOptions{})
	c := k.connect("user=ann")
	ctx := t.Context()
	var sum int
	batch := &pgx.Batch{}
	for i := range 100 {
		batch.Queue("SELECT i FROM t WHERE i = $1", i).QueryRow(func(r pgx.Row) error {
			var n int
			defer func() { sum += n }()
			return r.Scan(&n)
		})
	}
	require.NoError(t, c.SendBatch(ctx, batch).Close())
	require.Equal(t, 4950, sum)

	tx, err := c.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	require.NoError(t, err)
	_, err = tx.Exec(ctx, "SELECT bad FROM t")
	require.Equal(t, "42703", state(t, err))
	_, err = tx.Exec(ctx, "SELECT 1")
	require.Equal(t, "25P02", state(t, err))
	require.NoError(t, tx.Rollback(ctx))

	var out bytes.Buffer
	tag, err := c.PgConn().CopyTo(ctx, &out, "COPY (SELECT i FROM t WHERE i < 3 ORDER BY i) TO STDOUT")
	require.NoError(t, err)
	require.Equal(t, "COPY 3", tag.String())
	require.Equal(t, "0\n1\n2\n", out.String())
	_, err = c.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"i"}, pgx.CopyFromRows([][]any{{1}}))
	require.Equal(t, "0A000", state(t, err))
	require.NoError(t, c.Ping(ctx))
}

// A prepared statement whose table was replaced by one with other columns says so as PostgreSQL does, and goes on when prepared anew.
func TestColumnsChange(t *testing.T) {
	k := newKit(t, kitOptions{})
	c := k.connect("user=ann")
	ctx := t.Context()
	_, err := c.Prepare(ctx, "s", "SELECT * FROM t LIMIT 1")
	require.NoError(t, err)
	_, err = c.Exec(ctx, "s")
	require.NoError(t, err)
	k.run("CREATE OR REPLACE TABLE t AS SELECT 1 AS i, 2 AS n, 3 AS word")
	_, err = c.Exec(ctx, "s")
	var e *pgconn.PgError
	require.ErrorAs(t, err, &e)
	require.Equal(t, "0A000 cached plan must not change result type", e.Code+" "+e.Message)
	require.NoError(t, c.Deallocate(ctx, "s"))
	_, err = c.Prepare(ctx, "s", "SELECT * FROM t LIMIT 1")
	require.NoError(t, err)
	_, err = c.Exec(ctx, "s")
	require.NoError(t, err)
}

// More statements are prepared than hold a connection to DuckDB: those that gave it back go on.
func TestManyPreparedStatements(t *testing.T) {
	k := newKit(t, kitOptions{})
	c := k.connect("user=ann")
	ctx := t.Context()
	for round := range 2 {
		for i := range connectedMax + 10 {
			var n int
			require.NoError(t, c.QueryRow(ctx, fmt.Sprintf("SELECT %d + i FROM t WHERE i = $1", i), 1).Scan(&n), round)
			require.Equal(t, i+1, n)
		}
	}
	held := 0
	for conn := range k.srv.conns {
		for _, st := range conn.statements {
			if st.q != nil {
				held++
			}
		}
	}
	require.LessOrEqual(t, held, connectedMax+1)
}

func TestCancel(t *testing.T) {
	k := newKit(t, kitOptions{})
	c := k.connect("user=ann")
	ctx := context.Background()
	for range 3 {
		ended := make(chan error, 1)
		go func() {
			_, err := c.Exec(ctx, slow)
			ended <- err
		}()
		require.Eventually(t, func() bool { return len(k.core.List()) == 1 }, 10*time.Second, time.Millisecond)
		require.NoError(t, c.PgConn().CancelRequest(ctx))
		require.Equal(t, "57014", state(t, <-ended))
		// Those that come too late hit nothing.
		require.NoError(t, c.PgConn().CancelRequest(ctx))
		_, err := c.Exec(ctx, "SELECT 1")
		require.NoError(t, err)
	}
	// A storm of wrong ones, and of right ones between statements.
	id, key := c.PgConn().PID(), c.PgConn().SecretKey()
	for i := range 200 {
		wrong := bytes.Clone(key)
		wrong[i%len(wrong)] ^= byte(1 + i%255)
		k.srv.cancels.request(id, wrong)
		k.srv.cancels.request(id+uint32(i)+1, key)
		k.srv.cancels.request(id, key)
		_, err := c.Exec(ctx, "SELECT 1")
		require.NoError(t, err)
	}
	_, err := c.Exec(ctx, "SET statement_timeout = '100ms'")
	require.NoError(t, err)
	_, err = c.Exec(ctx, slow)
	require.Equal(t, "57014", state(t, err))
	require.ErrorContains(t, err, "statement timeout")
}

// A client that goes away ends its statement, whether rows were being sent or not.
func TestVanishedClients(t *testing.T) {
	k := newKit(t, kitOptions{})
	for _, sql := range []string{slow, "SELECT * FROM big a, big b", "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM big; FETCH c", "BEGIN"} {
		r := k.raw()
		r.Send(q(sql))
		require.NoError(t, r.Flush())
		if sql != "BEGIN" {
			require.Eventually(t, func() bool { return len(k.core.List()) == 1 }, 10*time.Second, time.Millisecond)
		}
		require.NoError(t, r.Conn.Close())
		require.Eventually(t, func() bool { return len(k.core.List()) == 0 }, 10*time.Second, time.Millisecond, sql)
	}
}

func TestDatabaseSQL(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	db, err := sql.Open("postgres", k.url("user=ann password="+quoteParam(annPassword)))
	require.NoError(t, err)
	var word string
	require.NoError(t, db.QueryRow("SELECT word FROM t WHERE i = $1", 5).Scan(&word))
	require.Equal(t, "row 5", word)
	st, err := db.Prepare("SELECT count(*) FROM t WHERE i > $1")
	require.NoError(t, err)
	for i := range 5 {
		var n int
		require.NoError(t, st.QueryRow(i).Scan(&n))
		require.Equal(t, 9999-i, n)
	}
	require.NoError(t, st.Close()) //nolint:sqlclosecheck // Its Close message is what is tested.
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	rows, err := tx.Query("SELECT i, word FROM t ORDER BY i")
	require.NoError(t, err)
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var i int
		require.NoError(t, rows.Scan(&i, &word))
		require.Equal(t, n, i)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, 10000, n)
	require.NoError(t, tx.Commit())
	require.NoError(t, db.Close())
}

func quoteParam(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func (k *kit) psql(env []string, args ...string) (string, error) {
	bin := "/usr/lib/postgresql/15/bin/psql"
	if _, err := os.Stat(bin); errors.Is(err, os.ErrNotExist) {
		if bin, err = exec.LookPath("psql"); err != nil {
			k.t.Fatal("psql is needed: apt install postgresql-client")
		}
	}
	cmd := exec.Command(bin, append([]string{"-X", "-A", "-t", k.url("user=ann")}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestPsql(t *testing.T) {
	k := newKit(t, kitOptions{})
	out, err := k.psql(nil, "-c", "SELECT 1; SELECT i, word FROM t WHERE i < 2 ORDER BY i; SET TimeZone='Asia/Tokyo'; SELECT TIMESTAMPTZ '2026-01-01 00:00:00+00'")
	require.NoError(t, err, out)
	require.Equal(t, "1\n0|row 0\n1|row 1\nSET\n2026-01-01 09:00:00+09\n", out)
	out, err = k.psql(nil, "--set=FETCH_COUNT=3", "-c", "SELECT i FROM t WHERE i < 8 ORDER BY i")
	require.NoError(t, err, out)
	require.Equal(t, "0\n1\n2\n3\n4\n5\n6\n7\n", out)
	file := filepath.Join(t.TempDir(), "t.csv")
	out, err = k.psql(nil, "-c", `\copy (SELECT i, word || ',' AS w FROM t WHERE i < 2 ORDER BY i) TO '`+file+`' CSV HEADER`)
	require.NoError(t, err, out)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "i,w\n0,\"row 0,\"\n1,\"row 1,\"\n", string(text))
	out, err = k.psql(nil, "-v", "ON_ERROR_STOP=1", "-c", `\copy t FROM '`+file+`' CSV HEADER`)
	require.Error(t, err)
	require.Contains(t, out, "COPY FROM is not supported")
	out, err = k.psql(nil, "-v", "VERBOSITY=verbose", "-c", "SELECT nothing FROM t")
	require.Error(t, err)
	require.Contains(t, out, "42703")
	out, err = k.psql(nil, "-c", "DROP TABLE t")
	require.Error(t, err)
	require.Contains(t, out, "cannot execute DROP in a read-only transaction\nHINT:")
}
