package pgsql

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// PostgreSQL's parser has a bound for what it nests by parentheses, but none for chains such as 1+1+1 or a::int::int, and what writes
// its tree out goes into it by recursion: some ten thousand levels use a thread's stack up, which ends the process. DuckDB takes
// expressions of 1,000 levels.
const (
	depthMax = 2000
	// shortBytes is a length at which a statement cannot nest deep enough to matter.
	shortBytes = 8 << 10
	// longBytes is what the gate refuses anyway.
	longBytes = 1 << 20
	// runMax bounds a run of signs: the scanner looks at what is left of one for each /* in it.
	runMax = 1024
)

// beyond says whether a statement is more than PostgreSQL's parser should be given. It goes to DuckDB as it is: to be refused with the
// reason, or to run.
func beyond(sql string) bool {
	return len(sql) > longBytes || runs(sql) || deep(sql)
}

func runs(sql string) bool {
	n := 0
	for i := range len(sql) {
		if strings.IndexByte("~!@#^&|`?+-*/%<>=", sql[i]) < 0 {
			n = 0
		} else if n++; n > runMax {
			return true
		}
	}
	return false
}

// level is what lies between two parentheses, or all of the statement.
type level struct {
	chain  int // of operators and words since the last comma, AND or OR, which begin something of their own
	inner  int // the deepest parentheses since then
	joined int // of joins and set operations, which no comma ends
}

func (l level) depth() int { return l.chain + l.inner + l.joined }

// deep says whether a statement may nest deeper than its tree can be handled. It counts too much rather than too little.
func deep(sql string) bool {
	if len(sql) <= shortBytes {
		return false
	}
	scanned, err := pg.Scan(sql)
	if err != nil {
		return false // nor does the parser understand it
	}
	levels := make([]level, 1, 64)
	outside := 0 // of the levels around the innermost one
	for _, t := range scanned.Tokens {
		top := &levels[len(levels)-1]
		switch t.Token {
		case pg.Token_ASCII_40, pg.Token_ASCII_91: // ( [
			outside += top.chain + top.joined + 1
			levels = append(levels, level{})
		case pg.Token_ASCII_41, pg.Token_ASCII_93: // ) ]
			if len(levels) == 1 {
				return false // no parser takes that
			}
			within := top.depth()
			levels = levels[:len(levels)-1]
			top = &levels[len(levels)-1]
			outside -= top.chain + top.joined + 1
			top.inner = max(top.inner, within+1)
		case pg.Token_ASCII_44, pg.Token_AND, pg.Token_OR: // ,
			top.chain, top.inner = 0, 0
		case pg.Token_JOIN, pg.Token_UNION, pg.Token_EXCEPT, pg.Token_INTERSECT:
			top.joined++
		case pg.Token_SQL_COMMENT, pg.Token_C_COMMENT, pg.Token_ASCII_46, pg.Token_IDENT, pg.Token_SCONST, pg.Token_ICONST, pg.Token_FCONST, pg.Token_PARAM: // .
		default:
			top.chain++
		}
		if top := levels[len(levels)-1]; outside+top.depth() > depthMax {
			return true
		}
	}
	return false
}
