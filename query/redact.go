package query

import (
	"strings"

	"github.com/pintaildb/pintail/internal/sqltext"
)

// redact is the statement with ? in place of its literals, and without comments: literals are a reader's data, and comments can hold some.
func redact(sql string) string {
	var b strings.Builder
	b.Grow(min(len(sql), 2*sqlBytesShown))
	eachToken(sql, func(kind sqltext.Kind, text string) bool {
		switch kind {
		case sqltext.Literal:
			b.WriteByte('?')
		case sqltext.Comment:
			b.WriteByte(' ')
		default:
			b.WriteString(text)
		}
		return b.Len() <= sqlBytesShown
	})
	return strings.TrimSpace(b.String())
}

// eachToken cuts a statement into tokens until fn has had enough. What is not closed goes to the end.
func eachToken(sql string, fn func(kind sqltext.Kind, text string) bool) {
	for i := 0; i < len(sql); {
		end, kind, _ := sqltext.Next(sql, i)
		if !fn(kind, sql[i:end]) {
			return
		}
		i = end
	}
}
