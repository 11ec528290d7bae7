package pgsql

import "strings"

// needed says whether a statement may mean something else to DuckDB than to PostgreSQL. It knows what surely means the same: columns and
// tables by their names, compared with constants and with each other, joined, sorted and limited. Everything else is looked at closely.
func needed(sql string) bool {
	s := scanner{sql: sql}
	prev := ""
	selecting := false
	for {
		kind, tok := s.next()
		switch kind {
		case tokenEnd:
			return false
		case tokenOther:
			return true
		case tokenName:
			if tok == `"public"` || tok == `"information_schema"` || strings.HasPrefix(tok, `"pg_`) {
				return true
			}
		case tokenText:
			if selecting || strings.ContainsAny(tok, `{\`) || shortTime.MatchString(tok[1:len(tok)-1]) || len(prev) == 1 && strings.Contains("eEbBxXnN", prev) {
				return true
			}
		case tokenNumber:
			if selecting {
				return true
			}
		case tokenSign:
			switch tok {
			case "(":
				if !plainWords[prev] && prev != "" && prev != "," && prev != "(" && !isSign(prev) {
					return true
				}
			case "*":
				if prev != "select" && prev != "," && prev != "." && prev != "distinct" {
					return true
				}
			case ",", ".", ")", ";":
			case "=", "<", ">", "<=", ">=", "<>", "!=":
				if selecting {
					return true
				}
			default:
				return true
			}
		case tokenWord:
			low := fold(tok)
			if plainWords[low] {
				switch low {
				case "select":
					selecting = true
				case "from":
					selecting = false
				case "and", "or", "not", "in", "is", "case", "between", "like", "ilike", "null", "true", "false", "exists", "values":
					if selecting {
						return true
					}
				}
				tok = low
			} else if low != tok || strangeWords[low] || strings.HasPrefix(low, "pg_") || strings.HasPrefix(low, "current_") {
				return true
			}
		}
		prev = tok
	}
}

func isSign(s string) bool {
	c := s[0]
	return c != '_' && (c < '0' || c > '9' && c < 'A' || c > 'Z' && c < 'a' || c > 'z' && c < 0x80)
}

// plainWords mean the same in both dialects.
var plainWords = words("select distinct from where and or not in is null order by asc desc limit offset as join left right full inner outer cross on using between group having union all except intersect true false exists with case when then else end nulls first last like ilike natural")

// strangeWords do not, or only with what stands beside them.
var strangeWords = words("values information_schema public for similar ordinality collate operator fetch user session_user symmetric overlaps tablesample only lateral interval array any some at anti asof columns generated glob map positional semi struct try_cast unpack window over row rows table cast extract oid xmin ctid tableoid limit_all isnull notnull default date time timestamp timestamptz")

func words(list string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenName // quoted
	tokenNumber
	tokenText
	tokenSign
	tokenOther // what only the parser can tell
)

// scanner cuts a statement into tokens, for deciding and not for understanding.
type scanner struct {
	sql string
	at  int
}

func (s *scanner) next() (tokenKind, string) {
	s.space()
	if s.at >= len(s.sql) {
		return tokenEnd, ""
	}
	from := s.at
	c := s.sql[s.at]
	switch {
	case isLetter(c):
		for s.at < len(s.sql) && (isLetter(s.sql[s.at]) || isDigit(s.sql[s.at]) || s.sql[s.at] == '$') {
			s.at++
		}
		return tokenWord, s.sql[from:s.at]
	case isDigit(c):
		for s.at < len(s.sql) && (isDigit(s.sql[s.at]) || s.sql[s.at] == '.') {
			s.at++
		}
		if s.at < len(s.sql) && isLetter(s.sql[s.at]) {
			return tokenOther, ""
		}
		return tokenNumber, s.sql[from:s.at]
	case c == '\'' || c == '"':
		if !s.quoted(c) {
			return tokenOther, ""
		}
		if c == '"' {
			return tokenName, s.sql[from:s.at]
		}
		return tokenText, s.sql[from:s.at]
	case c == '$':
		s.at++
		for s.at < len(s.sql) && isDigit(s.sql[s.at]) {
			s.at++
		}
		if s.at == from+1 {
			return tokenOther, ""
		}
		return tokenNumber, s.sql[from:s.at]
	case c == '<' || c == '>' || c == '!' || c == '=':
		for s.at < len(s.sql) && strings.IndexByte("<>=!~|&@#%^*/+-", s.sql[s.at]) >= 0 {
			s.at++
		}
		return tokenSign, s.sql[from:s.at]
	}
	s.at++
	return tokenSign, s.sql[from:s.at]
}

// space skips blanks and comments.
func (s *scanner) space() {
	for s.at < len(s.sql) {
		switch c := s.sql[s.at]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			s.at++
		case strings.HasPrefix(s.sql[s.at:], "--"):
			i := strings.IndexByte(s.sql[s.at:], '\n')
			if i < 0 {
				s.at = len(s.sql)
				return
			}
			s.at += i
		default:
			return
		}
	}
}

// quoted skips what stands between two quotes; false when the second is missing.
func (s *scanner) quoted(q byte) bool {
	for s.at++; s.at < len(s.sql); s.at++ {
		if s.sql[s.at] != q {
			continue
		}
		if s.at+1 < len(s.sql) && s.sql[s.at+1] == q {
			s.at++
			continue
		}
		s.at++
		return true
	}
	return false
}

func isLetter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
