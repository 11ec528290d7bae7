package endpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/pintaildb/pintail/internal/sqltext"
)

// scanned is what can be seen of a file's SQL without understanding it.
type scanned struct {
	start, end int // of the statement; -1: there is none
	second     int // where another one begins, or -1
	positional int // where a parameter stands that has no name, or -1
	params     []use
}

type use struct {
	name string
	at   int
}

// scan reads past strings, quoted names and comments. DuckDB's own parser has the last word on the statement.
func scan(sql string) scanned {
	s := scanned{start: -1, second: -1, positional: -1}
	semicolon := false
	for i := 0; i < len(sql); {
		next, kind, _ := sqltext.Next(sql, i)
		switch {
		case kind == sqltext.Space, kind == sqltext.Comment:
		case sql[i] == ';':
			semicolon = s.start >= 0
		case semicolon:
			if s.second < 0 {
				s.second = i
			}
		default:
			if s.start < 0 {
				s.start = i
			}
			s.end = next
			switch {
			case sql[i] == '?':
				s.position(i)
			case sql[i] != '$' || kind != sqltext.Code || next == i+1:
			case sqltext.NameStart(sql[i+1]):
				s.params = append(s.params, use{sql[i+1 : next], i})
			default:
				s.position(i)
			}
		}
		i = next
	}
	return s
}

func (s *scanned) position(i int) {
	if s.positional < 0 {
		s.positional = i
	}
}

// revision tells one text of an endpoint from another.
func revision(name string, data []byte) string {
	h := sha256.New()
	h.Write([]byte(name + "\x00"))
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
