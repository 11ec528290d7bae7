package config

import (
	"strings"

	"github.com/pintaildb/pintail/internal/sqltext"
)

// trimSQL cuts what follows the statement's last word: ; whitespace and comments, in any order. A ; inside a
// string, a quoted name, a dollar-quoted text or a comment is part of the statement. second is the offset of a
// further statement's first character, or -1. The rules are PostgreSQL's (standard_conforming_strings on), which
// DuckDB shares.
func trimSQL(sql string) (trimmed string, second int) {
	start, end, semicolon := -1, 0, false
	second = -1
	for i := 0; i < len(sql); {
		next, meaningful := lexeme(sql, i)
		switch {
		case meaningful && sql[i] == ';':
			semicolon = start >= 0
		case meaningful:
			if semicolon {
				if second < 0 {
					second = i
				}
			} else {
				if start < 0 {
					start = i
				}
				end = next
			}
		}
		i = next
	}
	if start < 0 {
		return "", second
	}
	// Comments before the statement stay: they may be hints.
	return strings.TrimLeft(sql[:end], " \t\r\n;"), second
}

// lexeme gives the end of the token at i, and whether it is part of a statement (not space, not a comment). What is
// not closed runs to the end: the server will say so better.
func lexeme(s string, i int) (end int, meaningful bool) {
	end, kind, _ := sqltext.Next(s, i)
	return end, kind != sqltext.Space && kind != sqltext.Comment
}
