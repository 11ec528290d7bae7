package postgres

import "testing"

func TestClosed(t *testing.T) {
	for _, sql := range []string{"", "a = 1", "(a) or (b)", "a = ')'", `"(" = 1`, "a = $$)$$", "a = $x$ ( $$ $x$", "a -- )", "a /* ) */ = 1", "a = e'\\')'", "a = 'it''s)'"} {
		if err := closed(sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, sql := range []string{"v like 'x%') or (1=1", ")", "(", "a = '", "a = 'it''", `"`, "a = $$", "/* a", "a; b", "a = e'\\'", "a) union select (1", "a = 1 /* x */ /* y"} {
		if err := closed(sql); err == nil {
			t.Errorf("%s: accepted", sql)
		}
	}
}
