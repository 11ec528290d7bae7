package postgres

import "strings"

// ident quotes a name of the source.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// literal quotes a value as a literal of unknown type, which takes the type of what it is compared with. It is the only
// way a value gets into a statement that takes no parameters (COPY, DECLARE, SET), and is right under either setting of
// standard_conforming_strings.
func literal(s string) string {
	q := strings.ReplaceAll(s, `'`, `''`)
	if !strings.Contains(s, `\`) {
		return `'` + q + `'`
	}
	return ` E'` + strings.ReplaceAll(q, `\`, `\\`) + `'`
}

// relName is a table's name as written in a configuration, by SQL's rules: dots part the schema from the table, names
// fold to lower case unless quoted. ok is false when it is not one or two names.
func relName(s string) (parts []string, ok bool) {
	for s = strings.TrimSpace(s); ; {
		part, rest, ok := nextName(s)
		if !ok {
			return nil, false
		}
		parts = append(parts, part)
		if rest == "" {
			break
		}
		if rest[0] != '.' {
			return nil, false
		}
		s = strings.TrimSpace(rest[1:])
	}
	return parts, len(parts) <= 2
}

func nextName(s string) (name, rest string, ok bool) {
	if strings.HasPrefix(s, `"`) {
		var b strings.Builder
		for i := 1; i < len(s); i++ {
			if s[i] != '"' {
				b.WriteByte(s[i])
				continue
			}
			if i+1 < len(s) && s[i+1] == '"' {
				b.WriteByte('"')
				i++
				continue
			}
			return b.String(), strings.TrimSpace(s[i+1:]), b.Len() > 0
		}
		return "", "", false
	}
	// Unquoted, but for what could not be one name: dashes and the like are let through to be quoted, since a name in a
	// configuration is a name and no SQL.
	end := strings.IndexAny(s, `.";'() `+"\t\r\n")
	if end < 0 {
		end = len(s)
	}
	if end == 0 {
		return "", "", false
	}
	return foldASCII(s[:end]), strings.TrimSpace(s[end:]), true
}

// foldASCII lowers A to Z only, as PostgreSQL folds names in a multi-byte encoding.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// qualified is the quoted name of parts.
func qualified(parts ...string) string {
	q := make([]string, len(parts))
	for i, p := range parts {
		q[i] = ident(p)
	}
	return strings.Join(q, ".")
}
