package config

import "strings"

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
	c := s[i]
	switch {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
		return i + 1, false
	case strings.HasPrefix(s[i:], "--"):
		if n := strings.IndexAny(s[i:], "\r\n"); n >= 0 {
			return i + n, false
		}
		return len(s), false
	case strings.HasPrefix(s[i:], "/*"):
		return blockComment(s, i), false
	case c == '\'' || c == '"':
		return quoted(s, i, c, false), true
	case (c == 'e' || c == 'E') && i+1 < len(s) && s[i+1] == '\'':
		return quoted(s, i+1, '\'', true), true
	case c == '$':
		return dollar(s, i), true
	case nameStart(c):
		for i < len(s) && (nameStart(s[i]) || s[i] == '$' || (s[i] >= '0' && s[i] <= '9')) {
			i++
		}
		return i, true
	}
	return i + 1, true
}

func nameStart(c byte) bool {
	return c == '_' || c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
}

// quoted ends after the closing quote; a doubled quote is part of the text, and so is \' in an E” string.
func quoted(s string, i int, quote byte, escapes bool) int {
	for i++; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

// blockComment ends after the */ that belongs to the /* at i; comments nest.
func blockComment(s string, i int) int {
	for depth := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(s[i:], "*/"):
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

// dollar ends after a $tag$…$tag$ text, or after the $ when none begins at i ($1).
func dollar(s string, i int) int {
	j := i + 1
	for j < len(s) && (nameStart(s[j]) || (j > i+1 && s[j] >= '0' && s[j] <= '9')) {
		j++
	}
	if j >= len(s) || s[j] != '$' {
		return i + 1
	}
	tag := s[i : j+1]
	if n := strings.Index(s[j+1:], tag); n >= 0 {
		return j + 1 + n + len(tag)
	}
	return len(s)
}
