package pgwire

import "strings"

// kind of a token.
type kind byte

const (
	end    kind = iota
	word        // a name or keyword without quotes
	quoted      // a name in double quotes
	text        // a string
	number      //
	param       // $1
	other       // a single character
)

// token is a word of SQL. For a word val is folded, for a quoted name and a string it is what they mean; pos and stop bound it in the text.
type token struct {
	kind      kind
	val       string
	pos, stop int
}

func (t token) is(words ...string) bool {
	if t.kind != word {
		return false
	}
	for _, w := range words {
		if t.val == w {
			return true
		}
	}
	return false
}

func (t token) symbol(s string) bool { return t.kind == other && t.val == s }

func wordByte(b byte) bool {
	return b == '_' || b >= 0x80 || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

// scan reads the token at or behind at, by PostgreSQL's rules with standard_conforming_strings. A quote or comment that does not end
// reaches to the end of the text.
func scan(sql string, at int) token {
	at = skipBlanks(sql, at)
	if at >= len(sql) {
		return token{kind: end, pos: len(sql), stop: len(sql)}
	}
	switch b := sql[at]; {
	case wordByte(b):
		stop := at + 1
		for stop < len(sql) && (wordByte(sql[stop]) || digit(sql[stop]) || sql[stop] == '$') {
			stop++
		}
		if stop < len(sql) && sql[stop] == '\'' && stop-at == 1 {
			switch b | 0x20 {
			case 'e':
				return scanString(sql, at, stop, true)
			case 'b', 'x', 'n':
				return scanString(sql, at, stop, false)
			}
		}
		return token{kind: word, val: strings.ToLower(sql[at:stop]), pos: at, stop: stop}
	case b == '\'':
		return scanString(sql, at, at, false)
	case b == '"':
		val, stop := unquote(sql, at, '"', false)
		return token{kind: quoted, val: val, pos: at, stop: stop}
	case digit(b) || b == '.' && at+1 < len(sql) && digit(sql[at+1]):
		stop := at + 1
		for stop < len(sql) && (digit(sql[stop]) || sql[stop] == '.' || sql[stop] == '_' || wordByte(sql[stop]) ||
			(sql[stop] == '+' || sql[stop] == '-') && sql[stop-1]|0x20 == 'e') {
			stop++
		}
		return token{kind: number, val: sql[at:stop], pos: at, stop: stop}
	case b == '$':
		stop := at + 1
		for stop < len(sql) && digit(sql[stop]) {
			stop++
		}
		if stop > at+1 {
			return token{kind: param, val: sql[at+1 : stop], pos: at, stop: stop}
		}
		return scanDollar(sql, at)
	}
	return token{kind: other, val: sql[at : at+1], pos: at, stop: at + 1}
}

func scanString(sql string, at, quote int, escapes bool) token {
	val, stop := unquote(sql, quote, '\'', escapes)
	return token{kind: text, val: val, pos: at, stop: stop}
}

// unquote reads what stands between the quote at and the next single one.
func unquote(sql string, at int, quote byte, escapes bool) (string, int) {
	var val strings.Builder
	for i := at + 1; i < len(sql); i++ {
		switch b := sql[i]; {
		case b == quote && i+1 < len(sql) && sql[i+1] == quote:
			val.WriteByte(quote)
			i++
		case b == quote:
			return val.String(), i + 1
		case b == '\\' && escapes && i+1 < len(sql):
			i++
			switch sql[i] {
			case 'n':
				val.WriteByte('\n')
			case 't':
				val.WriteByte('\t')
			case 'r':
				val.WriteByte('\r')
			case 'b':
				val.WriteByte('\b')
			case 'f':
				val.WriteByte('\f')
			default:
				val.WriteByte(sql[i])
			}
		default:
			val.WriteByte(b)
		}
	}
	return val.String(), len(sql)
}

// scanDollar reads $tag$ … $tag$, or a lone dollar.
func scanDollar(sql string, at int) token {
	stop := at + 1
	for stop < len(sql) && (wordByte(sql[stop]) || digit(sql[stop])) {
		stop++
	}
	if stop >= len(sql) || sql[stop] != '$' {
		return token{kind: other, val: "$", pos: at, stop: at + 1}
	}
	tag := sql[at : stop+1]
	body := sql[stop+1:]
	i := strings.Index(body, tag)
	if i < 0 {
		return token{kind: text, val: body, pos: at, stop: len(sql)}
	}
	return token{kind: text, val: body[:i], pos: at, stop: stop + 1 + i + len(tag)}
}

// skipBlanks skips blanks and comments.
func skipBlanks(sql string, at int) int {
	for at < len(sql) {
		switch b := sql[at]; {
		case b == ' ' || b == '\t' || b == '\n' || b == '\r' || b == '\f' || b == '\v':
			at++
		case b == '-' && strings.HasPrefix(sql[at:], "--"):
			i := strings.IndexAny(sql[at:], "\r\n")
			if i < 0 {
				return len(sql)
			}
			at += i
		case b == '/' && strings.HasPrefix(sql[at:], "/*"):
			depth := 0
			for {
				if at >= len(sql) {
					return at
				}
				if strings.HasPrefix(sql[at:], "/*") {
					depth++
					at += 2
				} else if strings.HasPrefix(sql[at:], "*/") {
					depth--
					at += 2
				} else {
					at++
				}
				if depth == 0 {
					break
				}
			}
		default:
			return at
		}
	}
	return at
}

// split gives the statements of a text without their semicolons; those that are nothing but blanks and comments are left out.
func split(sql string) []string {
	var out []string
	begin, empty := 0, true
	for t := scan(sql, 0); ; t = scan(sql, t.stop) {
		if t.kind != end && !t.symbol(";") {
			empty = false
			continue
		}
		if !empty {
			out = append(out, strings.TrimSpace(sql[begin:t.pos]))
		}
		if t.kind == end {
			return out
		}
		begin, empty = t.stop, true
	}
}

// scanner reads a statement's tokens one by one.
type scanner struct {
	sql string
	tok token // the next
}

func newScanner(sql string) *scanner { return &scanner{sql: sql, tok: scan(sql, 0)} }

func (s *scanner) next() token {
	t := s.tok
	s.tok = scan(s.sql, t.stop)
	return t
}

// accept takes the next words if they are these.
func (s *scanner) accept(words ...string) bool {
	at := s.tok
	for _, w := range words {
		if !s.tok.is(w) {
			s.tok = at
			return false
		}
		s.next()
	}
	return true
}

func (s *scanner) acceptSymbol(sym string) bool {
	if s.tok.symbol(sym) {
		s.next()
		return true
	}
	return false
}

// name takes a name, folded unless it is quoted.
func (s *scanner) name() (string, bool) {
	if s.tok.kind != word && s.tok.kind != quoted {
		return "", false
	}
	return s.next().val, true
}

// done says whether nothing but a semicolon is left.
func (s *scanner) done() bool {
	s.acceptSymbol(";")
	return s.tok.kind == end
}

// rest is the text from the next token on.
func (s *scanner) rest() string { return s.sql[s.tok.pos:] }

func (s *scanner) unexpected() *sqlError {
	if s.tok.kind == end {
		return newError("42601", "syntax error at end of input", "")
	}
	return newError("42601", `syntax error at or near "`+clip(s.sql[s.tok.pos:s.tok.stop])+`"`, "")
}
