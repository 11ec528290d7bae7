// Package sqlexpr looks at SQL expressions that stand in the configuration.
package sqlexpr

import "strings"

// Closed says that a text, put between parentheses on lines of their own, does not reach beyond them: its own parentheses match, its quotes and
// comments end, and it holds no semicolon. Whether it is an expression, DuckDB says.
func Closed(text string) bool {
	depth := 0
	for i := 0; i < len(text); {
		rest := text[i:]
		n := 1
		switch c := text[i]; {
		case strings.HasPrefix(rest, "--"):
			if n = strings.IndexAny(rest, "\r\n"); n < 0 {
				n = len(rest)
			}
		case strings.HasPrefix(rest, "/*"):
			n = comment(rest)
		case c == '\'':
			n = quoted(rest, '\'', i > 0 && (text[i-1] == 'e' || text[i-1] == 'E'))
		case c == '"':
			n = quoted(rest, '"', false)
		case c == '$':
			n = dollars(rest)
		case c == '(', c == '[', c == '{':
			depth++
		case c == ')', c == ']', c == '}':
			depth--
		case c == ';':
			return false
		}
		if n == 0 || depth < 0 {
			return false
		}
		i += n
	}
	return depth == 0
}

// Each returns how long the construct is that s begins with, 0 when it does not end.

// comment nests, as in PostgreSQL's scanner.
func comment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); {
		switch s[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return 0
}

func quoted(s string, quote byte, escapes bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return 0
}

// dollars is $tag$ … $tag$, or a dollar alone.
func dollars(s string) int {
	end := strings.IndexByte(s[1:], '$')
	if end < 0 {
		return 1
	}
	tag := s[:end+2]
	for _, c := range tag[1 : len(tag)-1] {
		if c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c < 0x80 {
			return 1
		}
	}
	body := strings.Index(s[len(tag):], tag)
	if body < 0 {
		return 0
	}
	return body + 2*len(tag)
}
