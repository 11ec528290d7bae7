package pgwire

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/query"
)

func q(sql string) pgproto3.FrontendMessage { return &pgproto3.Query{String: sql} }

var syncMessage = &pgproto3.Sync{}

func TestSimpleQuery(t *testing.T) {
	r := newKit(t, kitOptions{}).raw()
	for _, c := range []struct{ sql, want string }{
		{"SELECT i, word FROM t WHERE i IN (1, 2) ORDER BY i", "[i:23:0,word:25:0] 1|row 1 2|row 2 SELECT 2 I"},
		{"", "EmptyQueryResponse I"},
		{" ; -- nothing\n;", "EmptyQueryResponse I"},
		{"SELECT 1 AS a; SELECT 'x' AS b;", "[a:23:0] 1 SELECT 1 [b:25:0] x SELECT 1 I"},
		{"SELECT 1 AS a; SELECT nothing FROM t; SELECT 2", "[a:23:0] 1 SELECT 1 error:42703 I"},
		{"SELEC 1", "error:42601 I"},
		{"SELECT * FROM nowhere", "error:42P01 I"},
		{"SELECT nothing(1)", "error:42501 I"},
		{"SELECT upper(1, 2)", "error:42883 I"},
		{"SELECT word::INTEGER AS n FROM t", "[n:23:0] error:22P02 I"},
		{"SELECT $1", "error:42P02 I"},
		{"SELECT i FROM t WHERE false", "[i:23:0] SELECT 0 I"},
		{"SELECT NULL::INTEGER AS n, '' AS e", "[n:23:0,e:25:0] | SELECT 1 I"},
		{"INSERT INTO t VALUES (1, 'x')", "error:25006 I"},
		{"/* hello */ create table x (i int)", "error:25006 I"},
		{"WITH a AS (SELECT 1) DELETE FROM t", "error:25006 I"},
		{"COPY t FROM STDIN", "error:0A000 I"},
		{"SET TimeZone = 'Mars/Olympus'", "error:22023 I"},
		{"SET nothing = 1", "error:42704 I"},
		{"SET server_version = 1", "error:55P02 I"},
		{"SET a.b = 1; SHOW a.b", "SET [a.b:25:0] 1 SHOW I"},
		{"SET application_name = 'me'", "SET application_name=me I"},
		{"SET extra_float_digits = 2; SHOW extra_float_digits", "SET [extra_float_digits:25:0] 2 SHOW I"},
		{"SET statement_timeout = '90s'; SHOW statement_timeout; RESET statement_timeout; SHOW statement_timeout", "SET [statement_timeout:25:0] 90s SHOW RESET [statement_timeout:25:0] 0 SHOW I"},
		{"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; SHOW default_transaction_isolation", "SET [default_transaction_isolation:25:0] read uncommitted SHOW I"},
		{"SHOW TRANSACTION ISOLATION LEVEL", "[transaction_isolation:25:0] read committed SHOW I"},
		{"show search_path; set search_path to a, \"B\"; show search_path", "[search_path:25:0] \"$user\", public SHOW SET [search_path:25:0] a, \"B\" SHOW I"},
		{"SET client_encoding TO latin1", "error:22023 I"},
		{"SET NAMES 'utf-8'; LISTEN x; UNLISTEN *; DISCARD ALL; DEALLOCATE ALL; CLOSE ALL", "SET LISTEN UNLISTEN DISCARD ALL DEALLOCATE ALL CLOSE CURSOR ALL application_name= I"},
		{"PREPARE p (int) AS SELECT $1 + 1 AS n; EXECUTE p(41); EXECUTE p('1'::int); DEALLOCATE p; EXECUTE p(1)", "PREPARE [n:23:0] 42 SELECT 1 [n:23:0] 2 SELECT 1 DEALLOCATE error:26000 I"},
		{"EXPLAIN SELECT 1", "*EXPLAIN I"},
	} {
		got := r.say(q(c.sql))
		if rest, ok := strings.CutPrefix(c.want, "*"); ok {
			require.True(t, strings.HasSuffix(got, rest), "%s: %s", c.sql, got)
			continue
		}
		require.Equal(t, c.want, got, c.sql)
	}
	require.Contains(t, r.say(q("SHOW ALL")), "TimeZone|UTC|")
}

func TestTransactions(t *testing.T) {
	r := newKit(t, kitOptions{}).raw()
	for _, c := range []struct{ sql, want string }{
		{"BEGIN", "BEGIN T"},
		{"BEGIN", "notice:25001 BEGIN T"},
		{"SELECT 1 AS a", "[a:23:0] 1 SELECT 1 T"},
		{"SELECT bad", "error:42703 E"},
		{"SELECT 1", "error:25P02 E"},
		{"SHOW ALL", "error:25P02 E"},
		{"nonsense", "error:25P02 E"},
		{"INSERT INTO t VALUES (1)", "error:25P02 E"},
		{"", "EmptyQueryResponse E"},
		{"COMMIT", "ROLLBACK I"},
		{"COMMIT", "notice:25P01 COMMIT I"},
		{"ROLLBACK", "notice:25P01 ROLLBACK I"},
		{"BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT 1 AS a; END", "BEGIN [a:23:0] 1 SELECT 1 COMMIT I"},
		{"START TRANSACTION READ WRITE; ROLLBACK AND CHAIN", "START TRANSACTION ROLLBACK T"},
		{"ABORT WORK", "ROLLBACK I"},
		{"BEGIN ISOLATION LEVEL SOMETHING", "error:42601 I"},
		{"SAVEPOINT a", "error:25P01 I"},
		{"BEGIN; SAVEPOINT a; SAVEPOINT b", "BEGIN SAVEPOINT SAVEPOINT T"},
		{"SELECT bad", "error:42703 E"},
		{"ROLLBACK TO a", "ROLLBACK T"},
		{"RELEASE b", "error:3B001 E"},
		{"ROLLBACK TO SAVEPOINT a; RELEASE SAVEPOINT a; COMMIT", "ROLLBACK RELEASE COMMIT I"},
		// Settings belong to the transaction in which they are made.
		{"BEGIN; SET TimeZone = 'Asia/Tokyo'; SHOW TimeZone", "BEGIN SET [TimeZone:25:0] Asia/Tokyo SHOW TimeZone=Asia/Tokyo T"},
		{"SELECT TIMESTAMPTZ '2026-01-01 00:00:00+00' AS at", "[at:1184:0] 2026-01-01 09:00:00+09 SELECT 1 T"},
		{"ROLLBACK", "ROLLBACK TimeZone=UTC I"},
		{"SELECT TIMESTAMPTZ '2026-01-01 00:00:00+00' AS at", "[at:1184:0] 2026-01-01 00:00:00+00 SELECT 1 I"},
		{"BEGIN; SET LOCAL work_mem = '1GB'; SET jit = on; COMMIT; SHOW work_mem; SHOW jit", "BEGIN SET SET COMMIT [work_mem:25:0] 4MB SHOW [jit:25:0] on SHOW I"},
	} {
		require.Equal(t, c.want, r.say(q(c.sql)), c.sql)
	}
}

func TestCursors(t *testing.T) {
	r := newKit(t, kitOptions{}).raw()
	for _, c := range []struct{ sql, want string }{
		{"DECLARE a CURSOR FOR SELECT 1", "error:25P01 I"},
		{"BEGIN; DECLARE a NO SCROLL CURSOR FOR SELECT i FROM t ORDER BY i", "BEGIN DECLARE CURSOR T"},
		{"FETCH 2 FROM a", "[i:23:0] 0 1 FETCH 2 T"},
		{"FETCH a; FETCH NEXT IN a; FETCH FORWARD 1 a", "[i:23:0] 2 FETCH 1 [i:23:0] 3 FETCH 1 [i:23:0] 4 FETCH 1 T"},
		{"MOVE 9990 IN a", "MOVE 9990 T"},
		{"FETCH FORWARD ALL FROM a", "[i:23:0] 9995 9996 9997 9998 9999 FETCH 5 T"},
		{"FETCH 5 FROM a", "[i:23:0] FETCH 0 T"},
		{"CLOSE a; DECLARE a CURSOR FOR SELECT 7 AS n; DECLARE \"B\" CURSOR WITH HOLD FOR SELECT 8 AS n", "CLOSE CURSOR DECLARE CURSOR DECLARE CURSOR T"},
		{"DECLARE a CURSOR FOR SELECT 1", "error:42P03 E"},
		{"ROLLBACK", "ROLLBACK I"},
		{"FETCH a", "error:34000 I"},
		{"DECLARE \"B\" CURSOR WITH HOLD FOR SELECT i FROM t ORDER BY i; BEGIN; DECLARE c CURSOR FOR SELECT 1; COMMIT", "DECLARE CURSOR BEGIN DECLARE CURSOR COMMIT I"},
		{"FETCH 1 FROM \"B\"", "[i:23:0] 0 FETCH 1 I"},
		{"FETCH 1 FROM c", "error:34000 I"},
		{"FETCH 1 FROM \"B\"; CLOSE \"B\"; CLOSE \"B\"", "[i:23:0] 1 FETCH 1 CLOSE CURSOR error:34000 I"},
		{"BEGIN; DECLARE s SCROLL CURSOR FOR SELECT 1", "BEGIN error:0A000 E"},
		{"ROLLBACK; BEGIN; DECLARE s CURSOR FOR SELECT 1; FETCH BACKWARD 1 FROM s", "ROLLBACK BEGIN DECLARE CURSOR error:55000 E"},
		{"ROLLBACK", "ROLLBACK I"},
	} {
		require.Equal(t, c.want, r.say(q(c.sql)), c.sql)
	}
}

func TestExtendedProtocol(t *testing.T) {
	r := newKit(t, kitOptions{}).raw()
	parse := func(name, sql string, oids ...uint32) *pgproto3.Parse {
		return &pgproto3.Parse{Name: name, Query: sql, ParameterOIDs: oids}
	}
	bind := func(portal, st string, formats []int16, values ...string) *pgproto3.Bind {
		b := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: st, ResultFormatCodes: formats}
		for _, v := range values {
			b.Parameters = append(b.Parameters, []byte(v))
		}
		return b
	}
	describe := func(what byte, name string) *pgproto3.Describe {
		return &pgproto3.Describe{ObjectType: what, Name: name}
	}
	exec := func(portal string, most uint32) *pgproto3.Execute {
		return &pgproto3.Execute{Portal: portal, MaxRows: most}
	}

	require.Equal(t, "ParseComplete params[23] [i:23:0,word:25:0] BindComplete [i:23:1,word:25:1] \x00\x00\x00\x07|row 7 SELECT 1 I",
		r.say(parse("s", "SELECT i, word FROM t WHERE i = $1"), describe('S', "s"), bind("", "s", []int16{1}, "7"), describe('P', ""), exec("", 0), syncMessage))
	require.Equal(t, "BindComplete 8|row 8 SELECT 1 I", r.say(bind("", "s", nil, "8"), exec("", 0), syncMessage), "no description that nobody asked for")
	require.Equal(t, "BindComplete [i:23:1,word:25:0] \x00\x00\x00\x08|row 8 SELECT 1 I", r.say(bind("", "s", []int16{1, 0}, "8"), describe('P', ""), exec("", 0), syncMessage))

	// Errors: all is skipped up to Sync.
	require.Equal(t, "error:42601 I", r.say(parse("x", "SELEC"), describe('S', "x"), bind("", "x", nil), exec("", 0), syncMessage))
	require.Equal(t, "error:42601 I", r.say(parse("x", "SELECT 1; SELECT 2"), syncMessage))
	require.Equal(t, "error:42P05 I", r.say(parse("s", "SELECT 1"), syncMessage))
	require.Equal(t, "error:26000 I", r.say(describe('S', "nothing"), syncMessage))
	require.Equal(t, "error:34000 I", r.say(exec("nothing", 0), syncMessage))
	require.Equal(t, "error:08P01 I", r.say(bind("", "s", nil), syncMessage))
	require.Equal(t, "error:08P01 I", r.say(bind("", "s", []int16{0, 0, 0}, "1"), syncMessage))
	require.Equal(t, "error:08P01 I", r.say(bind("", "s", []int16{7}, "1"), syncMessage))
	require.Equal(t, "error:22P02 I", r.say(bind("", "s", nil, "x"), syncMessage))
	require.Equal(t, "error:22003 I", r.say(bind("", "s", nil, "99999999999"), syncMessage))
	require.Equal(t, "error:08P01 I", r.say(describe('X', "s"), syncMessage))

	// What only parameters decide: the client's types, or text.
	require.Equal(t, "ParseComplete params[25] [x:25:0] I", r.say(parse("", "SELECT $1 AS x"), describe('S', ""), syncMessage))
	require.Equal(t, "ParseComplete BindComplete [a:20:0,b:25:0] 42|x SELECT 1 I",
		r.say(parse("", "SELECT $1 AS a, $2 AS b", 20), bind("", "", nil, "42", "x"), describe('P', ""), exec("", 0), syncMessage))
	require.Equal(t, "ParseComplete BindComplete [n:23:0] 3 SELECT 1 I", r.say(parse("", "SELECT $1 + $2 AS n", 23, 23), bind("", "", nil, "1", "2"), describe('P', ""), exec("", 0), syncMessage))

	// Empty statements, and those of the session.
	require.Equal(t, "ParseComplete params[] NoData BindComplete NoData EmptyQueryResponse I", r.say(parse("", " ; "), describe('S', ""), bind("", "", nil), describe('P', ""), exec("", 0), syncMessage))
	require.Equal(t, "ParseComplete params[] NoData BindComplete BEGIN T", r.say(parse("b", "BEGIN"), describe('S', "b"), bind("", "b", nil), exec("", 0), syncMessage))
	require.Equal(t, "error:42703 E", r.say(parse("", "SELECT bad FROM t"), syncMessage))
	require.Equal(t, "error:25P02 E", r.say(bind("", "s", nil, "1"), exec("", 0), syncMessage))
	require.Equal(t, "ParseComplete BindComplete ROLLBACK I", r.say(parse("", "ROLLBACK"), bind("", "", nil), exec("", 0), syncMessage))
	require.Equal(t, "ParseComplete BindComplete [TimeZone:25:0] UTC SHOW CloseComplete I",
		r.say(parse("show", "SHOW TimeZone"), bind("", "show", nil), describe('P', ""), exec("", 0), &pgproto3.Close{ObjectType: 'S', Name: "show"}, syncMessage))
}

func frame(letter byte, length int32, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{letter}, uint32(length))
	return append(b, body...)
}

// Malformed messages end the connection with a word of why, and only that one.
func TestMalformedMessages(t *testing.T) {
	k := newKit(t, kitOptions{})
	other := k.raw()
	for name, bytes := range map[string][]byte{
		"unknown letter":     frame('?', 4, ""),
		"short length":       frame('Q', 3, ""),
		"negative length":    frame('Q', -1, ""),
		"huge length":        frame('Q', 1<<30, ""),
		"query without end":  frame('Q', 8, "SELE"),
		"parse without end":  frame('P', 6, "ab"),
		"bind cut":           frame('B', 6, "\x00\x00"),
		"bind of lengths":    frame('B', 4+2+2+2+4, "\x00\x00\x00\x00\x00\x01\x7f\xff\xff\xff"),
		"bind of formats":    frame('B', 4+2+2, "\x00\x00\xff\xff"),
		"bind negative size": frame('B', 4+2+2+2+4, "\x00\x00\x00\x00\x00\x01\xff\xff\xff\xf0"),
		"execute cut":        frame('E', 5, "\x00"),
		"describe cut":       frame('D', 5, "S"),
		"password again":     frame('p', 6, "x\x00"),
	} {
		r := k.raw()
		_, err := r.Write(bytes)
		require.NoError(t, err)
		require.Equal(t, "error:08P01 end", r.ready(), name)
	}
	require.Equal(t, "[a:23:0] 1 SELECT 1 I", other.say(q("SELECT 1 AS a")))
}

// A portal gives its rows in parts as long as its transaction lasts.
func TestPortalsSuspend(t *testing.T) {
	r := newKit(t, kitOptions{}).raw()
	require.Equal(t, "BEGIN T", r.say(q("BEGIN")))
	require.Equal(t, "ParseComplete BindComplete 0 1 PortalSuspended 2 3 PortalSuspended T", r.say(
		&pgproto3.Parse{Query: "SELECT i FROM t WHERE i < 5 ORDER BY i"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Execute{Portal: "p", MaxRows: 2}, &pgproto3.Execute{Portal: "p", MaxRows: 2}, syncMessage))
	require.Equal(t, "[x:23:0] 1 SELECT 1 T", r.say(q("SELECT 1 AS x")), "beside it")
	require.Equal(t, "4 SELECT 1 SELECT 0 T", r.say(&pgproto3.Execute{Portal: "p", MaxRows: 2}, &pgproto3.Execute{Portal: "p"}, syncMessage))
	require.Equal(t, "COMMIT I", r.say(q("COMMIT")))
	require.Equal(t, "error:34000 I", r.say(&pgproto3.Execute{Portal: "p"}, syncMessage))
	require.Equal(t, "ParseComplete BindComplete 0 PortalSuspended I", r.say(
		&pgproto3.Parse{Query: "SELECT i FROM t ORDER BY i"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Execute{Portal: "p", MaxRows: 1}, syncMessage))
	require.Equal(t, "error:34000 I", r.say(&pgproto3.Execute{Portal: "p"}, syncMessage), "Sync has ended its transaction")
}

// Open portals hold no slot: others run meanwhile, however many there are.
func TestOpenCursorsHoldNoSlot(t *testing.T) {
	k := newKit(t, kitOptions{core: query.Options{Concurrency: 1}})
	var conns []*raw
	for i := range 5 {
		r := k.raw()
		require.Equal(t, "DECLARE CURSOR [i:20:0] 0 FETCH 1 I", r.say(q("DECLARE c CURSOR WITH HOLD FOR SELECT i FROM big ORDER BY i; FETCH c")), i)
		conns = append(conns, r)
	}
	for _, r := range conns {
		require.Equal(t, "[i:20:0] 1 FETCH 1 I", r.say(q("FETCH c")))
	}
	require.Len(t, k.core.List(), 5)
	for _, r := range conns {
		r.Send(&pgproto3.Terminate{})
		require.NoError(t, r.Flush())
	}
	require.Eventually(t, func() bool { return len(k.core.List()) == 0 }, 10*time.Second, 10*time.Millisecond)
}

func TestCopyOut(t *testing.T) {
	r := newKit(t, kitOptions{}).raw()
	const rows = "(SELECT * FROM (VALUES (1, 'a,b', true), (2, NULL, false), (3, E'\"\\t\\\\', NULL), (4, '', NULL)) v(i, s, b) ORDER BY i)"
	for _, c := range []struct{ sql, want string }{
		{"COPY " + rows + " TO STDOUT", "CopyOutResponse copy:1\ta,b\tt\n copy:2\t\\N\tf\n copy:3\t\"\\t\\\\\t\\N\n copy:4\t\t\\N\n CopyDone COPY 4 I"},
		{"COPY " + rows + " TO STDOUT WITH CSV HEADER", "CopyOutResponse copy:i,s,b\n copy:1,\"a,b\",t\n copy:2,,f\n copy:3,\"\"\"\t\\\",\n copy:4,\"\",\n CopyDone COPY 4 I"},
		{"COPY " + rows + " TO STDOUT (FORMAT csv, DELIMITER ';', NULL 'NULL', QUOTE '''', FORCE_QUOTE (i))", "CopyOutResponse copy:'1';a,b;t\n copy:'2';NULL;f\n copy:'3';\"\t\\;NULL\n copy:'4';;NULL\n CopyDone COPY 4 I"},
		{"COPY t (word, i) TO STDOUT; SELECT 1 AS a", "*copy:row 9999\t9999\n CopyDone COPY 10000 [a:23:0] 1 SELECT 1 I"},
		{"COPY (SELECT 258::SMALLINT, NULL::INTEGER) TO STDOUT BINARY", "CopyOutResponse copy:PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00 copy:\x00\x02\x00\x00\x00\x02\x01\x02\xff\xff\xff\xff copy:\xff\xff CopyDone COPY 1 I"},
		{"COPY t TO '/tmp/x'", "error:42501 I"},
		{"COPY t TO PROGRAM 'cat'", "error:42501 I"},
		{"COPY (DELETE FROM t) TO STDOUT", "error:25006 I"},
		{"COPY nowhere TO STDOUT", "error:42P01 I"},
		{"COPY t TO STDOUT (FORMAT parrot)", "error:22023 I"},
		{"COPY (SELECT word::INTEGER FROM t) TO STDOUT", "error:22P02 I"},
		{"COPY (SELECT 1", "error:42601 I"},
	} {
		got := r.say(q(c.sql))
		if rest, ok := strings.CutPrefix(c.want, "*"); ok {
			require.True(t, strings.HasSuffix(got, rest), "%s: %.200s", c.sql, got)
			continue
		}
		require.Equal(t, c.want, got, c.sql)
	}
}
