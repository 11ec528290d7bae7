package query

import "strings"

// token is what a piece of a statement is, as far as it matters to what may be told of it.
type token int

const (
	tokenCode    token = iota // words, signs, parameters, names in quotes
	tokenLiteral              // a text or a number
	tokenComment
)

// redact is the statement with ? in place of its literals, and without comments: literals are a reader's data, and comments can hold some.
func redact(sql string) string {
	var b strings.Builder
	b.Grow(min(len(sql), 2*sqlBytesShown))
	eachToken(sql, func(kind token, text string) bool {
		switch kind {
		case tokenCode:
			b.WriteString(text)
		case tokenLiteral:
			b.WriteByte('?')
		case tokenComment:
			b.WriteByte(' ')
		}
		return b.Len() <= sqlBytesShown
	})
	return strings.TrimSpace(b.String())
}

// eachToken cuts a statement into tokens until fn has had enough. What is not closed goes to the end.
func eachToken(sql string, fn func(kind token, text string) bool) {
	for len(sql) > 0 {
		kind, n := nextToken(sql)
		if !fn(kind, sql[:n]) {
			return
		}
		sql = sql[n:]
	}
}

func nextToken(s string) (token, int) {
	switch c := s[0]; {
	case strings.HasPrefix(s, "--"):
		return tokenComment, through(s, 2, "\n")
	case strings.HasPrefix(s, "/*"):
		return tokenComment, blockComment(s)
	case c == '\'':
		return tokenLiteral, quoted(s, '\'', false)
	case c == '"':
		return tokenCode, quoted(s, '"', false)
	case c == '$':
		return dollar(s)
	case isDigit(c), c == '.' && len(s) > 1 && isDigit(s[1]):
		return tokenLiteral, numberLength(s)
	case isNameByte(c):
		n := nameLength(s)
		if n == 1 && c|0x20 == 'e' && len(s) > 1 && s[1] == '\'' {
			return tokenLiteral, 1 + quoted(s[1:], '\'', true)
		}
		return tokenCode, n
	}
	return tokenCode, 1
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameByte(c byte) bool {
	return c == '_' || c >= 0x80 || isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z'
}

func nameLength(s string) int {
	n := 0
	for n < len(s) && (isNameByte(s[n]) || n > 0 && s[n] == '$') {
		n++
	}
	return n
}

// through is the length up to the end of what closes, which is looked for behind the first skip bytes.
func through(s string, skip int, closes string) int {
	if i := strings.Index(s[skip:], closes); i >= 0 {
		return skip + i + len(closes)
	}
	return len(s)
}

// blockComment nests.
func blockComment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); {
		switch s[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			i += 2
			if depth--; depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return len(s)
}

// quoted is the length of a text in quotes, which stand for themselves when they are doubled.
func quoted(s string, quote byte, backslash bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case backslash && s[i] == '\\':
			i++
		case s[i] != quote:
		case i+1 < len(s) && s[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return len(s)
}

// dollar is a text in dollar quotes, or else a parameter.
func dollar(s string) (token, int) {
	tag := 1
	for tag < len(s) && isNameByte(s[tag]) {
		tag++
	}
	if tag < len(s) && s[tag] == '$' && (tag == 1 || !isDigit(s[1])) {
		return tokenLiteral, through(s, tag+1, s[:tag+1])
	}
	return tokenCode, tag
}

func numberLength(s string) int {
	n := 0
	for n < len(s) && (isNameByte(s[n]) || s[n] == '.') {
		if n++; s[n-1]|0x20 == 'e' && n+1 < len(s) && (s[n] == '+' || s[n] == '-') && isDigit(s[n+1]) {
			n++
		}
	}
	return n
}
