package sqltext

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClosed(t *testing.T) {
	for _, text := range []string{"", "a = 1", "(a OR b) AND c IN (1, 2)", "name = ')'", `"odd)name" = 1`, "a -- )\n = 1", "a -- ends here (", "a /* ) /* ( */ */ = 1", "E'it\\'s)' = a", "'it''s (' = a",
		"$$)$$ = a", "$x$ ) $$ $x$ = a", "[1, 2][1] = a", "{'a': 1}.a", "price > 5 AND $ IS NULL", "'\\' = a"} {
		require.True(t, Closed(text), text)
	}
	for _, text := range []string{")", "a) OR (b", "(a", "a; DROP TABLE t", "'a", `"a`, "/* a", "/* a /* */", "$$ a", "E'\\'", "a] = [1", "$x$ a $y$"} {
		require.False(t, Closed(text), text)
	}
}

func TestNext(t *testing.T) {
	kinds := map[Kind]string{Code: "c", Literal: "l", Comment: "#", Space: " "}
	for text, want := range map[string]string{
		`SELECT 'it''s', E'\'', "a""b", $1, $x$ $ $x$ -- end`: `c:SELECT  : l:'it''s' c:, ` + ` : l:E'\'' c:,  : c:"a""b" c:,  : c:$1 c:,  : l:$x$ $ $x$  : #:-- end`,
		"a/* b /* c */ */1.5e-3+.5\nname$1$$":                 "c:a #:/* b /* c */ */ l:1.5e-3 c:+ l:.5  : c:name$1$$",
	} {
		var got []string
		for i := 0; i < len(text); {
			end, kind, whole := Next(text, i)
			require.True(t, whole)
			require.Greater(t, end, i)
			word := kinds[kind] + ":"
			if kind != Space {
				word += text[i:end]
			}
			got = append(got, word)
			i = end
		}
		require.Equal(t, strings.Fields(strings.ReplaceAll(want, " : ", " :S ")), strings.Fields(strings.ReplaceAll(strings.Join(got, " "), " : ", " :S ")), text)
	}
	for _, text := range []string{"'a", `"a`, "/* /* */", "$a$ $b$", `E'\'`} {
		end, _, whole := Next(text, 0)
		require.False(t, whole, text)
		require.Equal(t, len(text), end)
	}
}
