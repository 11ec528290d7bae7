package postgres

import (
	"errors"
	"strings"
)

// token is one lexeme of SQL: a word, a symbol, a quoted text.
type token struct {
	start, end int
	word       string // in upper case; "" unless it is an unquoted word
	depth      int    // of parentheses
}

// tokens cuts SQL by PostgreSQL's rules; comments and blanks are left out. What is not closed runs to the end.
func tokens(sql string) []token {
	var ts []token
	depth := 0
	for i := 0; i < len(sql); {
		c, start := sql[i], i
		switch {
		case strings.IndexByte(" \t\r\n\f\v", c) >= 0:
			i++
			continue
		case strings.HasPrefix(sql[i:], "--"):
			if n := strings.IndexByte(sql[i:], '\n'); n >= 0 {
				i += n
				continue
			}
			return ts
		case strings.HasPrefix(sql[i:], "/*"):
			i = endOfComment(sql, i)
			continue
		case c == '\'' || c == '"':
			i = endOfQuote(sql, i, false)
		case (c == 'e' || c == 'E') && i+1 < len(sql) && sql[i+1] == '\'':
			i = endOfQuote(sql, i+1, true)
		case c == '$':
			i = endOfDollar(sql, i)
		case wordByte(c):
			for i < len(sql) && (wordByte(sql[i]) || sql[i] == '$') {
				i++
			}
			ts = append(ts, token{start, i, strings.ToUpper(sql[start:i]), depth})
			continue
		case c == '(':
			depth++
			i++
			ts = append(ts, token{start, i, "", depth})
			continue
		case c == ')':
			ts = append(ts, token{start, i + 1, "", depth})
			depth--
			i++
			continue
		default:
			i++
		}
		ts = append(ts, token{start, i, "", depth})
	}
	return ts
}

// closed refuses a condition that ends within a quote or comment, or whose parentheses do not match: embedded in a statement
// it would be another one.
func closed(sql string) error {
	embedded := "(" + sql + "\n)"
	ts := tokens(embedded)
	for i, t := range ts {
		switch c := embedded[t.start]; {
		case c == ';':
			return errors.New("it holds a semicolon")
		case c == ')' && t.depth == 1 && i < len(ts)-1:
			return errors.New("it closes a parenthesis that it does not open")
		}
	}
	switch last := ts[len(ts)-1]; {
	case last.start != len(embedded)-1:
		return errors.New("it ends within a quoted text or comment")
	case last.depth != 1:
		return errors.New("it opens a parenthesis that it does not close")
	}
	return nil
}

func wordByte(c byte) bool {
	return c == '_' || c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func endOfQuote(s string, i int, escapes bool) int {
	for q, j := s[i], i+1; j < len(s); j++ {
		switch {
		case escapes && s[j] == '\\':
			j++
		case s[j] == q && j+1 < len(s) && s[j+1] == q:
			j++
		case s[j] == q:
			return j + 1
		}
	}
	return len(s)
}

func endOfComment(s string, i int) int {
	for depth := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			depth, i = depth+1, i+2
		case strings.HasPrefix(s[i:], "*/"):
			depth, i = depth-1, i+2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return len(s)
}

func endOfDollar(s string, i int) int {
	j := i + 1
	for j < len(s) && wordByte(s[j]) {
		j++
	}
	if j >= len(s) || s[j] != '$' || j > i+1 && s[i+1] >= '0' && s[i+1] <= '9' {
		return i + 1
	}
	tag := s[i : j+1]
	if n := strings.Index(s[j+1:], tag); n >= 0 {
		return j + 1 + n + len(tag)
	}
	return len(s)
}

// addColumns puts columns at the end of the SELECT list of a simple query; ok is false where it is none.
func addColumns(sql string, columns []string) (corrected string, ok bool) {
	var ts []token
	for _, t := range tokens(sql) {
		if t.depth == 0 {
			ts = append(ts, t)
		}
	}
	sel, from := -1, -1
	for i, t := range ts {
		switch t.word {
		case "UNION", "INTERSECT", "EXCEPT", "GROUP":
			return "", false
		case "SELECT":
			if sel >= 0 {
				return "", false
			}
			sel = i
		case "DISTINCT":
			if i == sel+1 {
				return "", false
			}
		case "FROM":
			// a IS DISTINCT FROM b
			if sel >= 0 && from < 0 && ts[i-1].word != "DISTINCT" {
				from = i
			}
		}
	}
	if sel < 0 || from < 0 {
		return "", false
	}
	// Where the last token before FROM closes a parenthesis it is of depth 1: the list ends at the last of any depth.
	list := tokens(sql[:ts[from].start])
	if list[len(list)-1].start == ts[sel].start {
		return "", false
	}
	end := list[len(list)-1].end
	sep := ", "
	if line := strings.LastIndexByte(sql[:end], '\n'); line > ts[sel].start {
		// One column a line: so do these, as far to the right as the last one.
		indent := sql[line+1:]
		indent = indent[:len(indent)-len(strings.TrimLeft(indent, " \t"))]
		sep = ",\n" + indent
	}
	var b strings.Builder
	b.WriteString(sql[:end])
	for _, c := range columns {
		b.WriteString(sep + plainName(c))
	}
	b.WriteString(sql[end:])
	return b.String(), true
}
