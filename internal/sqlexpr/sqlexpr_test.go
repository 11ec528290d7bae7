package sqlexpr

import (
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
