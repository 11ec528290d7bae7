package pgwire

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	_ "github.com/lib/pq" // driver
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/store"
)

// The clients' own functions for loading.
func TestCopyInByClients(t *testing.T) {
	k := newKit(t, kitOptions{users: true, writes: true})
	k.table("in.a", columns("id BIGINT NOT NULL", "word VARCHAR", "amount DECIMAL(10,2)", "at TIMESTAMP WITH TIME ZONE", "tags VARCHAR[]")...)
	c := k.connect("user=lea password=lea-password")
	ctx := t.Context()
	at := time.Date(2026, 2, 28, 12, 30, 0, 123456000, time.UTC)
	const rows = 20_000
	n, err := c.CopyFrom(ctx, pgx.Identifier{"in", "a"}, []string{"id", "word", "amount", "at", "tags"}, pgx.CopyFromSlice(rows, func(i int) ([]any, error) {
		return []any{i, fmt.Sprintf("word %d", i), fmt.Sprintf("%d.5", i), at, []string{"x", "y z"}}, nil
	}))
	require.NoError(t, err)
	require.EqualValues(t, rows, n)
	require.Equal(t, "20000\t199990000\t200000000.00\t20000\t{x,\"y z\"}\n", dump(t, c, `SELECT count(*), sum(id)::BIGINT, sum(amount), count(DISTINCT word), min(tags) FROM "in".a`))

	db, err := sql.Open("postgres", k.url("user=lea password=lea-password"))
	require.NoError(t, err)
	defer db.Close()
	tx, err := db.Begin()
	require.NoError(t, err)
	st, err := tx.Prepare(`COPY "in".a (id, word, at) FROM STDIN`)
	require.NoError(t, err)
	for i := range 1000 {
		_, err := st.Exec(100_000+i, "tab\tand\\more", at)
		require.NoError(t, err)
	}
	_, err = st.Exec()
	require.NoError(t, err)
	require.NoError(t, st.Close()) //nolint:sqlclosecheck // Closing it is what ends the COPY.
	require.NoError(t, tx.Commit())
	require.Equal(t, "1000\ttab\\tand\\\\more\n", dump(t, c, `SELECT count(*), min(word) FROM "in".a WHERE id >= 100000`))

	file := filepath.Join(t.TempDir(), "a.csv")
	require.NoError(t, os.WriteFile(file, []byte("id,word\n200001,\"line\none\"\n200002,\n"), 0o600))
	out, err := k.psql([]string{"PGUSER=lea", "PGPASSWORD=lea-password"}, "-d", k.url("user=lea"), "-c", `\copy "in".a (id, word) FROM '`+file+`' CSV HEADER`)
	require.NoError(t, err, out)
	require.Equal(t, "COPY 2\n", out)
	require.Equal(t, "200001\tline\\none\n200002\t\\N\n", dump(t, c, `SELECT id, word FROM "in".a WHERE id > 200000 ORDER BY id`))
	out, err = k.psql([]string{"PGPASSWORD=lea-password"}, "-d", k.url("user=lea"), "-c", `\copy "in".a (id, word) FROM '`+file+`' CSV`)
	require.Error(t, err)
	require.Contains(t, out, "ERROR:  invalid input syntax for type bigint: \"id\"\nCONTEXT:  COPY a, line 1, column id: \"id\"")

	// Those who may not are told so as everywhere.
	reader := k.connect("user=ann password=" + quoteParam(annPassword))
	_, err = copyRows(reader, `COPY "in".a (id) FROM STDIN`, "1\n")
	require.Equal(t, "42501", state(t, err))
	require.ErrorContains(t, err, `role "reader" has no grant for it`)
	_, err = copyRows(c, "COPY t FROM STDIN", "1\tx\n")
	require.Equal(t, "42501", state(t, err))
	require.ErrorContains(t, err, "it belongs to dataset t")
	require.NoError(t, reader.Ping(ctx))
}

func TestCopyInLimits(t *testing.T) {
	k := newKit(t, kitOptions{users: true, writes: true})
	k.table("in.a", columns("id BIGINT", "word VARCHAR")...)
	c := k.connect("user=nat password=nat-password")
	for data, want := range map[string]string{strings.Repeat("1\ta\n", 101): "put_rows", "1\t" + strings.Repeat("a", 10001) + "\n": "put_bytes"} {
		_, err := copyRows(c, `COPY "in".a FROM STDIN`, data)
		require.Equal(t, "53400", state(t, err))
		var e *pgconn.PgError
		require.ErrorAs(t, err, &e)
		require.Contains(t, e.Hint, want)
	}
	tag, err := copyRows(c, `COPY "in".a FROM STDIN`, strings.Repeat("1\ta\n", 100))
	require.NoError(t, err)
	require.Equal(t, "COPY 100", tag)
	require.Equal(t, "100\n", dump(t, c, `SELECT count(*) FROM "in".a`))
}

// Values of megabytes, rows that come in many messages and messages of many rows, more than is held in memory at a time.
func TestCopyInSizes(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	c := k.connect("user=ann")
	for _, format := range []string{"text", "csv", "binary"} {
		k.table("in."+format, columns("id INTEGER", "word VARCHAR")...)
		k.run("CREATE OR REPLACE TABLE sizes AS SELECT i::INTEGER AS id, repeat(chr((97 + i % 26)::INTEGER), CASE WHEN i % 1000 = 0 THEN 3000000 ELSE i % 3000 END) || E'\\n\"\\\\' AS word FROM range(20001) r(i)")
		var data bytes.Buffer
		_, err := c.PgConn().CopyTo(t.Context(), &data, "COPY (SELECT * FROM sizes) TO STDOUT (FORMAT "+format+")")
		require.NoError(t, err)
		require.Greater(t, data.Len(), 80<<20)
		tag, err := copyRows(c, fmt.Sprintf(`COPY "in".%s FROM STDIN (FORMAT %s)`, format, format), data.String())
		require.NoError(t, err)
		require.Equal(t, "COPY 20001", tag)
		require.Equal(t, "0\t20001\n", dump(t, c, fmt.Sprintf(`SELECT (SELECT count(*) FROM (SELECT * FROM sizes EXCEPT ALL SELECT * FROM "in".%s)), count(*) FROM "in".%s`, format, format)))
	}
	// Byte by byte.
	r := k.raw()
	k.table("in.bytes", columns("id INTEGER", "word VARCHAR")...)
	for format, data := range map[string]string{"text": "1\ta\\\nb\n2\t\\N\n", "csv": "1,\"a\nb\"\n2,\n", "binary": string(copySignature) + "\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x00\x02\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x03a\nb" + "\x00\x02\x00\x00\x00\x04\x00\x00\x00\x02\xff\xff\xff\xff" + "\xff\xff"} {
		r.Send(&pgproto3.Query{String: `COPY "in".bytes FROM STDIN (FORMAT ` + format + ")"})
		for i := range len(data) {
			r.Send(&pgproto3.CopyData{Data: []byte{data[i]}})
		}
		require.Equal(t, "CopyInResponse COPY 2 I", r.say(&pgproto3.CopyDone{}), format)
		require.Equal(t, "1\ta\\nb\n2\t\\N\n", dump(t, c, `SELECT * FROM "in".bytes ORDER BY id`), format)
		_, err := k.store.EmptyClientTable(t.Context(), store.PutTarget{Schema: "in", Name: "bytes"})
		require.NoError(t, err)
	}
}

// What the protocol says of the end of a COPY, wanted or not; and the session goes on.
func TestCopyInProtocol(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	k.table("in.a", columns("id INTEGER", "word VARCHAR")...)
	const sql = `COPY "in".a FROM STDIN`
	row := &pgproto3.CopyData{Data: []byte("1\ta\n")}
	bad := &pgproto3.CopyData{Data: []byte("x\ta\n")}
	r := k.raw()
	require.Equal(t, "CopyInResponse error:57014 I", r.say(q(sql), row, &pgproto3.CopyFail{Message: "no more"}))
	require.Equal(t, "CopyInResponse COPY 0 I", r.say(q(sql), &pgproto3.CopyDone{}))
	require.Equal(t, "CopyInResponse error:22P02 I", r.say(q(sql), row, bad, row, &pgproto3.CopyDone{}))
	require.Equal(t, "error:42P01 I", r.say(q("COPY nowhere FROM STDIN"), row, &pgproto3.CopyDone{}))
	require.Equal(t, "[n:23:0] 1 SELECT 1 I", r.say(q("SELECT 1 AS n")))
	// Flush and Sync count for nothing meanwhile.
	require.Equal(t, "ParseComplete BindComplete CopyInResponse COPY 2 I", r.say(&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{}, row, &pgproto3.Flush{}, row, &pgproto3.CopyDone{}, &pgproto3.Sync{}))
	require.Equal(t, "ParseComplete params[] NoData BindComplete CopyInResponse error:22P02 I", r.say(&pgproto3.Parse{Query: sql}, &pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Bind{}, &pgproto3.Execute{}, bad, &pgproto3.CopyDone{}, &pgproto3.Sync{}))
	// Two in one text.
	require.Equal(t, "CopyInResponse COPY 1 CopyInResponse COPY 1 I", r.say(q(sql+"; "+sql), row, &pgproto3.CopyDone{}, row, &pgproto3.CopyDone{}))
	// Other messages are none of a COPY's.
	require.Equal(t, "CopyInResponse error:08P01 end", r.say(q(sql), row, q("SELECT 1")))

	r = k.raw()
	require.Equal(t, "[n:20:0] 4 SELECT 1 I", r.say(q(`SELECT count(*) AS n FROM "in".a`)))
	// A client that goes away in the middle leaves nothing behind.
	r.Send(q(sql))
	r.Send(row)
	require.NoError(t, r.Flush())
	m, err := r.Receive()
	require.NoError(t, err)
	require.IsType(t, &pgproto3.CopyInResponse{}, m)
	require.NoError(t, r.Conn.Close())
	require.Eventually(t, func() bool { k.srv.mu.Lock(); defer k.srv.mu.Unlock(); return len(k.srv.conns) == 0 }, 10*time.Second, time.Millisecond)
	r = k.raw()
	require.Equal(t, "[n:20:0] 4 SELECT 1 I", r.say(q(`SELECT count(*) AS n FROM "in".a`)))
}

// copying begins a COPY of which a row was sent and the rest is awaited.
func (r *raw) copying(sql string) {
	r.t.Helper()
	r.Send(q(sql))
	r.Send(&pgproto3.CopyData{Data: []byte("1\n")})
	require.NoError(r.t, r.Flush())
	m, err := r.Receive()
	require.NoError(r.t, err)
	require.IsType(r.t, &pgproto3.CopyInResponse{}, m)
}

// A COPY that waits for its client can be cancelled, by a request, a timeout and a stop.
func TestCopyInCancel(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	k.table("in.a", columns("id INTEGER")...)
	const sql = `COPY "in".a FROM STDIN`
	r := k.raw()
	for range 3 {
		r.copying(sql)
		k.srv.cancels.request(r.pid, r.secret)
		require.Equal(t, "error:57014 I", r.ready())
	}
	require.Equal(t, "SET I", r.say(q("SET statement_timeout = '50ms'")))
	r.copying(sql)
	require.Equal(t, "error:57014 I", r.ready())
	require.Equal(t, "SET I", r.say(q("SET statement_timeout = 0")))
	require.Equal(t, "[n:20:0] 0 SELECT 1 I", r.say(q(`SELECT count(*) AS n FROM "in".a`)))
	// A stop lets one end that ends in time.
	r.copying(sql)
	k.cancel()
	require.Eventually(t, k.srv.isStopping, 10*time.Second, time.Millisecond)
	r.Send(&pgproto3.CopyData{Data: []byte("2\n")})
	r.Send(&pgproto3.CopyDone{})
	require.NoError(t, r.Flush())
	require.Equal(t, "COPY 2 I error:57P01 end", r.ready()+" "+r.ready())
}

func TestCopyInStopped(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	k.table("in.a", columns("id INTEGER")...)
	r := k.raw()
	r.copying(`COPY "in".a FROM STDIN`)
	k.cancel()
	require.Equal(t, "error:57P01 end", r.ready())
}

// Each COPY is a transaction of its own; nobody is told that it was rolled back.
func TestCopyInTransaction(t *testing.T) {
	k := newKit(t, kitOptions{writes: true})
	k.table("in.a", columns("id INTEGER")...)
	row, done := &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}
	r := k.raw()
	r.say(q("BEGIN"))
	require.Equal(t, "CopyInResponse COPY 1 T", r.say(q(`COPY "in".a FROM STDIN`), row, done))
	require.Equal(t, "[n:20:0] 1 SELECT 1 T", r.say(q(`SELECT count(*) AS n FROM "in".a`)))
	require.Equal(t, "COMMIT I", r.say(q("COMMIT")))
	r.say(q("BEGIN"))
	require.Equal(t, "CopyInResponse error:22P02 E", r.say(q(`COPY "in".a FROM STDIN`), &pgproto3.CopyData{Data: []byte("x\n")}, done))
	require.Equal(t, "error:25P02 E", r.say(q(`COPY "in".a FROM STDIN`), row, done))
	require.Equal(t, "ROLLBACK I", r.say(q("ROLLBACK")))
	r.say(q("BEGIN; SAVEPOINT s"))
	require.Equal(t, "CopyInResponse COPY 1 T", r.say(q(`COPY "in".a FROM STDIN`), row, done))
	require.Equal(t, "error:2D000 E", r.say(q("ROLLBACK TO s")))
	require.Equal(t, "ROLLBACK I", r.say(q("ROLLBACK")))
	r.say(q("BEGIN"))
	require.Equal(t, "CopyInResponse COPY 1 T", r.say(q(`COPY "in".a FROM STDIN`), row, done))
	require.Equal(t, "error:2D000 I", r.say(q("ROLLBACK")))
	require.Equal(t, "[n:20:0] 3 SELECT 1 I", r.say(q(`SELECT count(*) AS n FROM "in".a`)))
}
