// Package sqltext cuts SQL into tokens. The rules are PostgreSQL's (standard_conforming_strings on), which DuckDB shares.
package sqltext

import "strings"

// Kind is what a token is.
type Kind int

// Kinds of tokens.
const (
	Code    Kind = iota // words, signs, parameters, names in quotes
	Literal             // a text or a number
	Comment
	Space
)

// Next gives the end of the token at s[i]. One that is not whole lacks its closing quote or sign, and runs to the end.
func Next(s string, i int) (end int, kind Kind, whole bool) {
	n, kind, whole := next(s[i:])
	return i + n, kind, whole
}

func next(s string) (n int, kind Kind, whole bool) {
	switch c := s[0]; {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
		return 1, Space, true
	case strings.HasPrefix(s, "--"):
		if n := strings.IndexAny(s, "\r\n"); n >= 0 {
			return n, Comment, true
		}
		return len(s), Comment, true
	case strings.HasPrefix(s, "/*"):
		n, whole = blockComment(s)
		return n, Comment, whole
	case c == '\'':
		n, whole = quoted(s, '\'', false)
		return n, Literal, whole
	case c == '"':
		n, whole = quoted(s, '"', false)
		return n, Code, whole
	case (c == 'e' || c == 'E') && len(s) > 1 && s[1] == '\'':
		n, whole = quoted(s[1:], '\'', true)
		return n + 1, Literal, whole
	case c == '$':
		return dollar(s)
	case isDigit(c), c == '.' && len(s) > 1 && isDigit(s[1]):
		return number(s), Literal, true
	case NameStart(c):
		for n < len(s) && (NameStart(s[n]) || isDigit(s[n]) || s[n] == '$') {
			n++
		}
		return n, Code, true
	}
	return 1, Code, true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// NameStart says whether a name may begin with c.
func NameStart(c byte) bool {
	return c == '_' || c >= 0x80 || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// quoted is the length of a text in quotes, which stand for themselves when they are doubled, or behind a backslash.
func quoted(s string, quote byte, backslash bool) (n int, whole bool) {
	for i := 1; i < len(s); i++ {
		switch {
		case backslash && s[i] == '\\':
			i++
		case s[i] != quote:
		case i+1 < len(s) && s[i+1] == quote:
			i++
		default:
			return i + 1, true
		}
	}
	return len(s), false
}

// blockComment nests.
func blockComment(s string) (n int, whole bool) {
	depth := 0
	for i := 0; i+1 < len(s); {
		switch s[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			i += 2
			if depth--; depth == 0 {
				return i, true
			}
		default:
			i++
		}
	}
	return len(s), false
}

// dollar is a text in dollar quotes, or else a parameter.
func dollar(s string) (n int, kind Kind, whole bool) {
	tag := 1
	for tag < len(s) && (NameStart(s[tag]) || isDigit(s[tag])) {
		tag++
	}
	if tag == len(s) || s[tag] != '$' || tag > 1 && isDigit(s[1]) {
		return tag, Code, true
	}
	tag++
	if i := strings.Index(s[tag:], s[:tag]); i >= 0 {
		return tag + i + tag, Literal, true
	}
	return len(s), Literal, false
}

func number(s string) int {
	n := 0
	for n < len(s) && (isDigit(s[n]) || NameStart(s[n]) || s[n] == '.') {
		if n++; s[n-1]|0x20 == 'e' && n+1 < len(s) && (s[n] == '+' || s[n] == '-') && isDigit(s[n+1]) {
			n++
		}
	}
	return n
}

// Closed says that a text, put between parentheses on lines of their own, does not reach beyond them: its own parentheses match, its quotes and
// comments end, and it holds no semicolon. Whether it is an expression, DuckDB says.
func Closed(text string) bool {
	depth := 0
	for i := 0; i < len(text); {
		end, kind, whole := Next(text, i)
		if !whole {
			return false
		}
		if kind == Code && end == i+1 {
			switch text[i] {
			case '(', '[', '{':
				depth++
			case ')', ']', '}':
				depth--
			case ';':
				return false
			}
		}
		if depth < 0 {
			return false
		}
		i = end
	}
	return depth == 0
}
