package pgwire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSplit(t *testing.T) {
	for sql, want := range map[string][]string{
		"":                                    nil,
		" ; -- nothing\n;/* /* ; */ ; */":     nil,
		"SELECT 1":                            {"SELECT 1"},
		"SELECT 1; SELECT 2;":                 {"SELECT 1", "SELECT 2"},
		"SELECT ';' ; SELECT \";\"":           {"SELECT ';'", "SELECT \";\""},
		"SELECT 'it''s;' ; 2":                 {"SELECT 'it''s;'", "2"},
		`SELECT E'\';' ; 2`:                   {`SELECT E'\';'`, "2"},
		`SELECT '\' ; 2`:                      {`SELECT '\'`, "2"},
		`SELECT e '\' ; 2`:                    {`SELECT e '\'`, "2"},
		"SELECT $$;$$; SELECT $a$;$$;$a$":     {"SELECT $$;$$", "SELECT $a$;$$;$a$"},
		"SELECT $1; SELECT a$b$c; d$b$":       {"SELECT $1", "SELECT a$b$c", "d$b$"},
		"/* ; */ SELECT 1 -- ;\n; SELECT 2":   {"/* ; */ SELECT 1 -- ;", "SELECT 2"},
		"SELECT 'never ends; SELECT 2":        {"SELECT 'never ends; SELECT 2"},
		"SELECT $x$ never; ends":              {"SELECT $x$ never; ends"},
		"SELECT /* never ends ;":              {"SELECT /* never ends ;"},
		"SELECT 1e5-2, .5, 1_000, U&'\\0041'": {"SELECT 1e5-2, .5, 1_000, U&'\\0041'"},
	} {
		require.Equal(t, want, split(sql), sql)
	}
}

func TestCastParams(t *testing.T) {
	require.Equal(t, "SELECT CAST($1 AS INTEGER), '$1', $2, CAST($10 AS VARCHAR) -- $1",
		castParams("SELECT $1, '$1', $2, $10 -- $1", []uint32{23, 0, 0, 0, 0, 0, 0, 0, 0, 25}, nil))
	require.Equal(t, "SELECT $1 + CAST($2 AS BIGINT)", castParams("SELECT $1 + $2", []uint32{23, 20}, []bool{false, true}))
}

// Scanning always goes on, never beyond the text, and splitting loses nothing but semicolons, blanks and comments.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"SELECT 1; SELECT 'a;b'", "$a$ $b$ ; $a$", "/* /* */", "E'\\", "\"", "$", "1e", "--", "'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		at := 0
		for tok := scan(sql, 0); tok.kind != end; tok = scan(sql, tok.stop) {
			if tok.pos < at || tok.stop <= tok.pos || tok.stop > len(sql) {
				t.Fatalf("token %+v behind %d", tok, at)
			}
			at = tok.stop
		}
		for _, part := range split(sql) {
			if !strings.Contains(sql, part) || strings.TrimSpace(part) == "" {
				t.Fatalf("part %q", part)
			}
			if len(split(part)) != 1 {
				t.Fatalf("%q splits again", part)
			}
		}
	})
}
