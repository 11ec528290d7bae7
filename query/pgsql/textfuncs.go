package pgsql

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// Functions of regular expressions, and format().

func regexpLike(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) < 2 {
		return nil, ""
	}
	op := "~"
	if len(f.Args) > 2 {
		if flags, _ := literal(f.Args[2]); strings.Contains(flags, "i") {
			op = "~*"
		}
	}
	return regexMatch(f.Args[0], f.Args[1], op), "bool"
}

func regexpMatch(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) < 2 {
		return nil, ""
	}
	pattern, groups := groupsOf(f)
	if groups == 0 {
		return macro("_regexp_match", f.Args[0], pattern), "text[]"
	}
	var found []*pg.Node
	for i := range groups {
		found = append(found, function("regexp_extract", f.Args[0], pattern, integer(int64(i+1))))
	}
	return macro("_when", function("regexp_matches", f.Args[0], pattern), array(found...)), "text[]"
}

// matchFlags are the flags of a function whose third argument they are.
func matchFlags(f *pg.FuncCall) string {
	if len(f.Args) < 3 {
		return ""
	}
	flags, _ := literal(f.Args[2])
	return flags
}

// groupsOf is a function's pattern with its flags, and how many groups it has; none where it is no constant.
func groupsOf(f *pg.FuncCall) (pattern *pg.Node, groups int) {
	p, ok := literal(f.Args[1])
	if !ok {
		return f.Args[1], 0
	}
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\':
			i++
		case p[i] == '(' && !strings.HasPrefix(p[i:], "(?"):
			groups++
		}
	}
	prefix := "(?s)"
	if strings.Contains(matchFlags(f), "i") {
		prefix = "(?si)"
	}
	return constant(prefix + regex(p)), groups
}

// regexpMatches gives a row for each match in PostgreSQL, and says yes or no in DuckDB.
func regexpMatches(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) < 2 {
		return nil, ""
	}
	pattern, groups := groupsOf(f)
	if !strings.Contains(matchFlags(f), "g") {
		one, _ := regexpMatch(r, f, types)
		return function("unnest", caseWhen(function("regexp_matches", f.Args[0], pattern), array(one))), "text[]"
	}
	var all []*pg.Node
	for i := range max(groups, 1) {
		all = append(all, function("regexp_extract_all", f.Args[0], pattern, integer(int64(min(groups, i+1)))))
	}
	switch len(all) {
	case 1:
		return function("unnest", macro("_each_match", all...)), "text[]"
	case 2, 3:
		return function("unnest", macro("_each_match_"+itoa(len(all)), all...)), "text[]"
	}
	r.fail("regexp_matches() of all matches takes three groups at most here", "use fewer groups")
	return f.Args[0], "text[]"
}

func regexpReplace(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) < 3 {
		return nil, ""
	}
	if p, ok := literal(f.Args[1]); ok {
		f.Args[1] = constant(regex(p))
	}
	if to, ok := literal(f.Args[2]); ok {
		f.Args[2] = constant(strings.ReplaceAll(to, `\&`, `\0`))
	}
	flags := "s"
	if len(f.Args) > 3 {
		if given, ok := literal(f.Args[3]); ok {
			flags += strings.NewReplacer("n", "", "s", "").Replace(given)
		}
		f.Args = f.Args[:3]
	}
	return function("regexp_replace", append(f.Args, constant(flags))...), "text"
}

// hasGroup says whether a regular expression has parentheses that capture.
func hasGroup(p string) bool {
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\':
			i++
		case p[i] == '(' && !strings.HasPrefix(p[i:], "(?"):
			return true
		}
	}
	return false
}

// formatText: %s, %I and %L of a constant format.
func formatText(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	form, ok := literal(f.Args[0])
	if !ok {
		r.fail("format() takes a constant format here", "put the text together with ||")
		return f.Args[0], "text"
	}
	parts := []*pg.Node{}
	plain := ""
	next := 1
	for i := 0; i < len(form); i++ {
		if form[i] != '%' || i+1 == len(form) {
			plain += form[i : i+1]
			continue
		}
		i++
		at, width, end := formatSpec(form[i:])
		if i += end; at > 0 {
			next = at
		}
		if i == len(form) {
			r.fail("unterminated format() type specifier", "write %% for a percent sign")
			return f.Args[0], "text"
		}
		switch form[i] {
		case '%':
			plain += "%"
		case 's', 'I', 'L':
			if next >= len(f.Args) {
				r.fail("too few arguments for format()", "")
				return f.Args[0], "text"
			}
			if plain != "" {
				parts, plain = append(parts, constant(plain)), ""
			}
			a := f.Args[next]
			a = r.toText(a, types[next])
			switch form[i] {
			case 'I':
				a = macro("_quote_ident", a)
			case 'L':
				a = macro("_quote_nullable", a)
			}
			if width != 0 {
				a = macro("_padded", function("concat", a), integer(int64(width)))
			}
			parts = append(parts, a)
			next++
		default:
			r.fail("format() knows %s, %I and %L here", "")
			return f.Args[0], "text"
		}
	}
	return function("concat", append(parts, constant(plain))...), "text"
}

// formatSpec reads what stands between the percent sign and its letter: the argument's position, and a width that is negative where the text
// stands left.
func formatSpec(s string) (position, width, end int) {
	digits := func() (n int) {
		for ; end < len(s) && isDigit(s[end]); end++ {
			n = min(10*n+int(s[end]-'0'), 10000)
		}
		return n
	}
	n := digits()
	if n > 0 && end < len(s) && s[end] == '$' {
		end++
		position, n = n, 0
	}
	if n > 0 {
		return position, n, end
	}
	left := end < len(s) && s[end] == '-'
	if left {
		end++
	}
	if width = digits(); left {
		width = -width
	}
	return position, width, end
}
