package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// session opens a reader's session for the test.
func session(t testing.TB, s *Store) *Session {
	t.Helper()
	se, err := s.Session(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(se.Close)
	return se
}

func TestSessionStreamsBeforeTheLastRowIsComputed(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{MemoryLimit: 200 << 20})
	se := session(t, s)
	// All rows together are 20 times the memory.
	st, err := se.Prepare(ctx, "SELECT range AS i, repeat('x', 100) || range AS s FROM range(40000000)")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "statement", []any{st.Type, st.Columns, st.Params}, "[SELECT [{i BIGINT} {s VARCHAR}] []]")
	begin := time.Now()
	rows, err := st.Query(ctx, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for n < 100000 {
		c, err := rows.Next()
		if err != nil || c == nil {
			t.Fatal(c, err)
		}
		if n == 0 {
			t.Log("first row after", time.Since(begin))
		}
		n += c.Len()
	}
	rows.Close()
	rows.Close()
	// The session is free for the next one.
	if _, err := se.Prepare(ctx, "SELECT 1"); err != nil {
		t.Fatal(err)
	}
}

func TestContextEndsAStatement(t *testing.T) {
	s := openTest(t, Options{})
	const endless = "SELECT count(*) FROM range(1000000000) a, range(1000000) b WHERE a.range % 7 = b.range % 11 AND a.range < 0"
	t.Run("while it computes", func(t *testing.T) {
		se := session(t, s)
		st, err := se.Prepare(context.Background(), endless)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		begin := time.Now()
		rows, err := st.Query(ctx, nil, nil)
		if err == nil {
			_, err = rows.Next()
		}
		equal(t, "code", fault.CodeOf(err), fault.Limit)
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("ended after %v", d)
		}
		// And the session lives on.
		if n, err := se.queryInt(context.Background(), "SELECT 42::BIGINT"); n != 42 || err != nil {
			t.Error(n, err)
		}
	})
	t.Run("between two fetches", func(t *testing.T) {
		se := session(t, s)
		ctx, cancel := context.WithCancel(context.Background())
		st, err := se.Prepare(ctx, "SELECT range FROM range(1000000000)")
		if err != nil {
			t.Fatal(err)
		}
		rows, err := st.Query(ctx, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rows.Next(); err != nil {
			t.Fatal(err)
		}
		cancel()
		for err == nil {
			var c *ResultChunk
			if c, err = rows.Next(); c == nil && err == nil {
				t.Fatal("it ran to its end")
			}
		}
		equal(t, "code", fault.CodeOf(err), fault.Cancelled)
	})
	t.Run("before it starts", func(t *testing.T) {
		se := session(t, s)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := se.Prepare(ctx, "SELECT 1"); fault.CodeOf(err) != fault.Cancelled {
			t.Error(err)
		}
	})
	t.Run("by closing the store", func(t *testing.T) {
		s := openTest(t, Options{})
		se := session(t, s)
		st, err := se.Prepare(context.Background(), endless)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			rows, err := st.Query(context.Background(), nil, nil)
			if err == nil {
				_, err = rows.Next()
			}
			se.Close()
			ended <- err
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		equal(t, "code", fault.CodeOf(<-ended), fault.Unavailable)
		if _, err := s.Session(context.Background()); fault.CodeOf(err) != fault.Unavailable {
			t.Error("a session of a closed store", err)
		}
	})
}

func TestErrorsOfAReadersStatement(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	se := session(t, s)
	for _, c := range []struct{ sql, says string }{
		{"SELEC 1", "syntax error"}, {"SELECT nothing FROM nowhere", "nowhere"}, {"SELECT 1; SELECT 2", "2 statements"}, {"", "0 statements"}, {"SELECT '\x00'", "zero byte"},
		{"SELECT abs('x', 2)", "abs"}, {"SELECT [1]::VARIANT", "VARIANT"}, {"SELECT * FROM _pintail_feed(1)", "no such feed"},
		{"SELECT 'x'::VARCHAR::INT", "Could not convert"}, {"SELECT error('my own')", "my own"},
	} {
		st, err := se.Prepare(ctx, c.sql)
		if err == nil {
			var rows *Rows
			if rows, err = st.Query(ctx, nil, nil); err == nil {
				_, err = rows.Next()
			}
		}
		if fault.CodeOf(err) != fault.InvalidSQL || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %s %v", c.sql, fault.CodeOf(err), err)
		}
	}
}

func TestNothingOutsideIsWithinReach(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	se := session(t, s)
	for _, sql := range []string{
		"SELECT * FROM read_text('/etc/hostname')", "SELECT * FROM '/etc/passwd'", "COPY (SELECT 1) TO '" + s.path + ".csv'", "ATTACH '" + s.path + ".other' AS o", "ATTACH '" + s.path + "' AS o (READ_ONLY)",
		"SELECT * FROM read_text('" + s.path + ".lock')", "SELECT * FROM glob('/*')",
		"INSTALL httpfs", "LOAD httpfs", "SET memory_limit = '1GB'", "SET enable_external_access = true", "SET lock_configuration = false", "RESET threads", "PRAGMA threads = 1",
		"SET allowed_configs = ['threads']", "EXPORT DATABASE '" + s.path + ".export'", "SET temp_directory = '/tmp'", "CREATE SECRET x (TYPE s3)", "SET GLOBAL preserve_insertion_order = true",
	} {
		if n, err := se.exec(ctx, sql); err == nil {
			t.Errorf("%s: allowed (%d)", sql, n)
		}
	}
	if _, err := se.exec(ctx, "SET TimeZone = 'Europe/Berlin'"); err != nil {
		t.Error(err)
	}
	equal(t, "one session's time zone", lines(t, s, "SELECT current_setting('TimeZone')"), "[UTC]")
}

func queryJSON(t testing.TB, se *Session, sql string, positional []any, named map[string]any) string {
	t.Helper()
	st, err := se.Prepare(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer st.Close()
	rows, err := st.Query(context.Background(), positional, named)
	if err != nil {
		return fmt.Sprintf("%s: %v", fault.CodeOf(err), err)
	}
	var out []byte
	for {
		c, err := rows.Next()
		if err != nil {
			return fmt.Sprintf("%s: %v", fault.CodeOf(err), err)
		}
		if c == nil {
			return string(out)
		}
		for i := range c.Len() {
			for k := range rows.Columns() {
				if len(out) > 0 {
					out = append(out, ' ')
				}
				out = c.AppendJSON(out, k, i)
			}
		}
	}
}

func TestParameters(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	err := s.Commit(ctx, func(tx *Tx) error {
		_, err := tx.Exec(`CREATE TABLE p AS SELECT range::BIGINT id, DATE '2020-01-01' + range::INT d, range::DECIMAL(38,2) n, TIMESTAMPTZ '2020-01-01 00:00:00+00' + INTERVAL (range) DAY ts,
			range % 2 = 0 b, 'x' || range s, '00000000-0000-0000-0000-' || lpad(range::VARCHAR, 12, '0') u FROM range(100)`)
		if err == nil {
			_, err = tx.Exec("ALTER TABLE p ALTER u SET DATA TYPE UUID")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	se := session(t, s)
	st, err := se.Prepare(ctx, "SELECT id FROM p WHERE id = $a AND d = $b AND $c IS NULL LIMIT $a")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "parameters", st.Params, "[{a BIGINT} {b DATE} {c }]")
	for _, c := range []struct {
		sql  string
		args any
		want string
	}{
		{"SELECT id FROM p WHERE id = ?", []any{int64(5)}, "5"},
		{"SELECT id FROM p WHERE id = ?", []any{"5"}, "5"},
		{"SELECT id FROM p WHERE id = ?", []any{json.Number("5")}, "5"},
		{"SELECT id FROM p WHERE id = $2 AND b = $1", []any{false, 5.0}, "5"},
		{"SELECT id FROM p WHERE d = ?", []any{"2020-01-06"}, "5"},
		{"SELECT id FROM p WHERE ts = ?", []any{"2020-01-06T00:00:00Z"}, "5"},
		{"SELECT id FROM p WHERE n = ?", []any{json.Number("5.00")}, "5"},
		{"SELECT ?::DECIMAL(38,2)", []any{json.Number("123456789012345678901234567890.12")}, "123456789012345678901234567890.12"},
		{"SELECT ?::HUGEINT", []any{json.Number("123456789012345678901234567890")}, "123456789012345678901234567890"},
		{"SELECT id FROM p WHERE s = ?", []any{"x5"}, "5"},
		{"SELECT id FROM p WHERE s = 'x' || ?", []any{int64(5)}, "5"},
		{"SELECT id FROM p WHERE u = ?", []any{"00000000-0000-0000-0000-000000000005"}, "5"},
		{"SELECT id FROM p WHERE s = ?", []any{"x5' OR true --"}, ""},
		{"SELECT id FROM p WHERE id = $x OR id = $y ORDER BY 1", map[string]any{"x": int64(1), "y": "2"}, "1 2"},
		{"SELECT id FROM p WHERE list_contains(?, id) ORDER BY 1", []any{[]any{int64(3), int64(4)}}, "3 4"},
		{"SELECT id FROM p WHERE id IN (SELECT unnest(?)) ORDER BY 1", []any{[]any{json.Number("3"), nil, json.Number("4")}}, "3 4"},
		{"SELECT ?", []any{[]any{}}, "[]"},
		{"SELECT ?", []any{[]any{"a", nil, true, int64(1), 1.5}}, `["a",null,"true","1","1.5"]`},
		{"SELECT ?", []any{[]any{int64(1), 2.5}}, "[1,2.5]"},
		{"SELECT ?", []any{[]any{[]any{int64(1)}, []any{int64(2), int64(3)}}}, "[[1],[2,3]]"},
		{"SELECT ?, ?, ?, ?", []any{nil, true, 1.5, "é\x00x"}, "null true 1.5 \"é\\u0000x\""},
		{"SELECT id FROM p LIMIT ?", []any{"1"}, "0"},
		{"SELECT id FROM p WHERE id = ?", []any{"five"}, "invalid_sql: Conversion Error: Could not convert string 'five' to INT64"},
		{"SELECT ?", []any{}, "invalid_sql: the statement has 1 parameters ($1), but 0 are given"},
		{"SELECT ?", []any{1.0, 2.0}, "invalid_sql: the statement has 1 parameters ($1), but 2 are given"},
		{"SELECT $a", map[string]any{"b": 1.0}, "invalid_sql: the statement has no parameter $b"},
		{"SELECT ?", []any{struct{}{}}, "invalid_sql: parameter $1: a parameter is null, true or false, a number, a string or a list of these, not struct {}"},
	} {
		pos, _ := c.args.([]any)
		named, _ := c.args.(map[string]any)
		if got := queryJSON(t, se, c.sql, pos, named); strings.TrimSpace(got) != c.want {
			t.Errorf("%s %v:\n got %s\nwant %s", c.sql, c.args, got, c.want)
		}
	}
}

func TestStatementTypeAndTree(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	se := session(t, s)
	for _, c := range []struct {
		sql  string
		want string
	}{
		{"SELECT 1", "1 SELECT"}, {"EXPLAIN SELECT 1", "1 EXPLAIN"}, {"VALUES (1)", "1 SELECT"}, {"CREATE TABLE zz (a INT)", "1 CREATE"}, {"SELECT 1; SELECT 2", "2 "}, {"SET TimeZone = 'UTC'", "1 SET"},
		{"  -- nothing", "0 "}, {"PIVOT (SELECT 1 a) ON a", "2 "}, {"INSERT INTO main.nothing VALUES (1)", "invalid_sql"}, {"SELECT ?", "1 SELECT"},
	} {
		n, typ, err := se.StatementType(ctx, c.sql)
		got := fmt.Sprintf("%d %s", n, typ)
		if err != nil {
			got = string(fault.CodeOf(err))
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s (%v)", c.sql, got, c.want, err)
		}
	}
	tree, err := se.SerializeSQL(ctx, "SELECT a FROM b WHERE c = 'it''s'")
	if err != nil || !json.Valid([]byte(tree)) || !strings.Contains(tree, `"table_name":"b"`) {
		t.Error(tree, err)
	}
	tree, err = se.SerializeSQL(ctx, "SELEC")
	if err != nil || !strings.Contains(tree, `"error":true`) {
		t.Error(tree, err)
	}
}

func BenchmarkRenderJSON(b *testing.B) {
	ctx := context.Background()
	s := openTest(b, Options{})
	se, err := s.Session(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer se.Close()
	st, err := se.Prepare(ctx, "SELECT range i, 'p' || range s, (range * 1.01)::DECIMAL(12,2) d, TIMESTAMPTZ '2020-01-01 00:00:00+00' + INTERVAL (range) SECOND ts, range / 3 f, md5(range::VARCHAR) m FROM range(1000000)")
	if err != nil {
		b.Fatal(err)
	}
	var out []byte
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		rows, err := st.Query(ctx, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		for {
			c, err := rows.Next()
			if err != nil {
				b.Fatal(err)
			}
			if c == nil {
				break
			}
			out = out[:0]
			for r := range c.Len() {
				for k := range 6 {
					out = c.AppendJSON(out, k, r)
				}
			}
			n += c.Len()
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}
