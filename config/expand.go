package config

import (
	"fmt"
	"strings"
)

// expandTree puts variables into every scalar value. Keys, comments and structure are settled by then, so that no
// value can become YAML. Top-level x- blocks only hold anchors: what uses them is expanded where it is used.
func expandTree(r *report, root *node, env Env) {
	for _, e := range root.entries {
		if !strings.HasPrefix(e.key, "x-") {
			expandNode(r, e.value, e.key, env)
		}
	}
}

func expandNode(r *report, n *node, path string, env Env) {
	switch n.kind {
	case scalarNode:
		if !strings.Contains(n.text, "${") {
			return
		}
		text, expanded, errs := expand(n.text, env)
		for _, err := range errs {
			r.failAt(n.pos, path, "%s", err)
		}
		n.text, n.expanded = text, expanded
	case mapNode:
		for _, e := range n.entries {
			expandNode(r, e.value, join(path, e.key), env)
		}
	case listNode:
		for i, item := range n.items {
			expandNode(r, item, fmt.Sprintf("%s[%d]", path, i), env)
		}
	}
}

// piece is literal text or a reference to a variable.
type piece struct {
	text     string // literal text, or the variable's name
	variable bool
	fallback *string // the text after :-
}

// expand replaces ${VAR} and ${VAR:-default} in text. $${ is a literal ${. A default is used when the variable is
// absent or empty, as in a shell, and may hold variables itself. Inside the userinfo of a URL values are
// percent-encoded. Values are never expanded again.
func expand(text string, env Env) (string, bool, []error) {
	pieces, err := split(text)
	if err != nil {
		return text, false, []error{err}
	}
	from, to := userinfo(pieces)
	var out strings.Builder
	var errs []error
	expanded := false
	for i, p := range pieces {
		if !p.variable {
			out.WriteString(p.text)
			continue
		}
		expanded = true
		value, ok := env(p.text)
		if value == "" && p.fallback != nil {
			var nested []error
			value, _, nested = expand(*p.fallback, env)
			errs = append(errs, nested...)
		} else if !ok {
			errs = append(errs, fmt.Errorf("the variable %s is not set: set it, write ${%s:-default}, or $${ for a literal ${", p.text, p.text))
		}
		if i >= from && i < to {
			value = percentEncode(value)
		}
		out.WriteString(value)
	}
	return out.String(), expanded, errs
}

func split(text string) ([]piece, error) {
	var pieces []piece
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			pieces = append(pieces, piece{text: literal.String()})
			literal.Reset()
		}
	}
	for i := 0; i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], "$${"):
			literal.WriteString("${")
			i += 3
		case strings.HasPrefix(text[i:], "${"):
			end := closing(text, i+2)
			if end < 0 {
				return nil, fmt.Errorf("a ${ is not closed by } (or nested too deep): write $${ for a literal ${")
			}
			name, fallback, hasDefault := strings.Cut(text[i+2:end], ":-")
			if !variableName(name) {
				return nil, fmt.Errorf("${%s} is not a variable: write ${NAME} or ${NAME:-default}, or $${ for a literal ${", short(name))
			}
			flush()
			p := piece{text: name, variable: true}
			if hasDefault {
				p.fallback = &fallback
			}
			pieces = append(pieces, p)
			i = end + 1
		default:
			literal.WriteByte(text[i])
			i++
		}
	}
	flush()
	return pieces, nil
}

const nestingMax = 8

// closing finds the } that ends a reference whose inside starts at i, or -1; references in a default are passed over.
func closing(text string, i int) int {
	for depth := 1; i < len(text); i++ {
		switch {
		case text[i] == '}':
			if depth--; depth == 0 {
				return i
			}
		case strings.HasPrefix(text[i:], "${"):
			if depth++; depth > nestingMax {
				return -1
			}
			i++
		}
	}
	return -1
}

func variableName(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

func short(text string) string {
	if len(text) > 20 {
		return text[:20] + "…"
	}
	return text
}

// userinfo gives the pieces [from, to) that lie between scheme:// and the @ of a URL; from == to when there is none.
func userinfo(pieces []piece) (from, to int) {
	if len(pieces) == 0 || pieces[0].variable {
		return 0, 0
	}
	scheme, rest, ok := strings.Cut(pieces[0].text, "://")
	if !ok || scheme == "" || strings.Trim(strings.ToLower(scheme), "abcdefghijklmnopqrstuvwxyz0123456789+.-") != "" {
		return 0, 0
	}
	for i, p := range pieces {
		if p.variable {
			continue
		}
		if i > 0 {
			rest = p.text
		}
		authority, last := rest, false
		if end := strings.IndexAny(rest, "/?#"); end >= 0 {
			authority, last = rest[:end], true
		}
		if strings.Contains(authority, "@") {
			to = i
		}
		if last {
			break
		}
	}
	return 0, to
}

// percentEncode keeps only what RFC 3986 calls unreserved.
func percentEncode(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(text) {
		if c == '-' || c == '.' || c == '_' || c == '~' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}
