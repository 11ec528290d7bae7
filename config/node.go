package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

type kind int

const (
	nullNode kind = iota
	scalarNode
	mapNode
	listNode
)

// node is one value of the file. Scalars keep the text as written, so that 0123 stays 0123 where text is due.
type node struct {
	kind     kind
	pos      pos
	text     string // scalarNode: unquoted, and expanded after expandTree
	quoted   bool   // scalarNode: text by its style ("…", '…', |, >)
	expanded bool   // scalarNode: a variable was put in: its text decides its type
	entries  []entry
	items    []*node
}

type entry struct {
	key    string
	pos    pos
	merged bool // came in by <<: and gives way to a key of the mapping itself
	value  *node
}

const (
	nodesMax = 50_000 // aliases can multiply a small file
	depthMax = 64
)

// parseYAML reads the text of a configuration; nil means it failed and the report says why.
func parseYAML(r *report, data []byte) *node {
	root := parseDocument(r, data)
	switch {
	case root == nil && len(r.problems) > 0:
		return nil
	case root == nil || root.kind == nullNode:
		r.failAt(pos{1, 1}, "", "the file holds no configuration")
		return nil
	case root.kind != mapNode:
		r.failAt(root.pos, "", "the file must be a mapping with sources, datasets, …, not %s", root.describe())
		return nil
	}
	return root
}

// parseDocument reads the text as one YAML document; nil means that there is none, or that it failed and the report says why.
func parseDocument(r *report, data []byte) (root *node) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")) // as YAML says; the parser folds such lines differently
	if bad := badByte(data); bad >= 0 {
		before := data[:bad]
		line := bytes.Count(before, []byte("\n")) + 1
		col := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
		r.failAt(pos{line, col}, "", "byte 0x%02x is not allowed: the file must be UTF-8 text", data[bad])
		return nil
	}
	b := &builder{report: r, anchors: map[string]ast.Node{}}
	defer func() {
		// The parser has had panics on malformed text; a file must never bring the process down.
		if p := recover(); p != nil {
			r.failAt(pos{1, 1}, "", "the YAML parser fails on this file: %v", p)
			root = nil
		}
	}()
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		syntaxError(r, data, err)
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if root != nil {
			r.failAt(place(doc.Body), "", "the file holds a second document: one is allowed")
			return nil
		}
		root = b.build(doc.Body, "", 0)
	}
	if b.failed {
		return nil
	}
	return root
}

// badByte finds what YAML does not allow: invalid UTF-8 and control characters; -1 when there is none.
func badByte(data []byte) int {
	for i := 0; i < len(data); {
		c, n := utf8.DecodeRune(data[i:])
		if (c == utf8.RuneError && n == 1) || c == 0x7f || (c < 0x20 && c != '\n' && c != '\r' && c != '\t') {
			return i
		}
		i += n
	}
	return -1
}

func syntaxError(r *report, data []byte, err error) {
	at, text := pos{1, 1}, err.Error()
	if e := yaml.Error(nil); errors.As(err, &e) {
		text = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			at = pos{t.Position.Line, max(t.Position.Column, 1)}
		}
	}
	hint := ""
	lines := strings.Split(string(data), "\n")
	if at.line <= len(lines) {
		line := lines[at.line-1]
		if v := strings.Index(line, "${"); v >= 0 && strings.ContainsAny(line[:v], "{[") {
			hint = ": inside { } and [ ] write \"${VAR}\" with quotes"
		}
	}
	r.failAt(at, "", "not valid YAML: %s%s", strings.TrimSpace(text), hint)
}

func place(n ast.Node) pos {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return pos{t.Position.Line, max(t.Position.Column, 1)}
	}
	return pos{}
}

// builder turns the parser's tree into nodes: aliases and merge keys are resolved, duplicate keys found.
type builder struct {
	*report
	anchors map[string]ast.Node
	nodes   int
	failed  bool
}

func (b *builder) reject(p pos, path, format string, args ...any) *node {
	b.failed = true
	b.failAt(p, path, format, args...)
	return &node{pos: p}
}

func (b *builder) build(n ast.Node, path string, depth int) *node {
	if n == nil {
		return &node{}
	}
	if b.nodes++; b.nodes > nodesMax || depth > depthMax {
		if b.failed {
			return &node{}
		}
		return b.reject(place(n), path, "too deep or too large (an alias that repeats itself?)")
	}
	scalar := func(t *token.Token, text string, quoted bool) *node {
		return &node{kind: scalarNode, pos: place(n), text: text, quoted: quoted || t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType}
	}
	switch x := n.(type) {
	case *ast.NullNode:
		return &node{pos: place(n)}
	case *ast.StringNode:
		s := scalar(x.Token, x.Value, false)
		if s.quoted {
			return s
		}
		// Two things the parser gets wrong in plain text, without a word: it takes a comment between the lines as part of
		// the text, and drops tabs, so that two words become one.
		if strings.Contains(x.Value, " #") {
			return b.reject(s.pos, path, "a comment inside a text of several lines: write the text as a block with |")
		}
		if strings.Contains(x.Token.Origin, "\t") && !slices.Equal(strings.Fields(x.Token.Origin), strings.Fields(x.Value)) {
			return b.reject(s.pos, path, "a tab inside a text without quotes: put the text in quotes, or write it as a block with |")
		}
		return s
	case *ast.LiteralNode:
		return scalar(x.Start, x.Value.Value, true)
	case *ast.IntegerNode:
		return scalar(x.Token, x.Token.Value, false)
	case *ast.FloatNode:
		return scalar(x.Token, x.Token.Value, false)
	case *ast.BoolNode:
		return scalar(x.Token, x.Token.Value, false)
	case *ast.InfinityNode:
		return scalar(x.Token, x.Token.Value, false)
	case *ast.NanNode:
		return scalar(x.Token, x.Token.Value, false)
	case *ast.TagNode:
		v := b.build(x.Value, path, depth+1)
		switch x.Start.Value {
		case "!!str":
			v.quoted = true
		case "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq":
		default:
			return b.reject(place(n), path, "the tag %s has no meaning here", x.Start.Value)
		}
		return v
	case *ast.AnchorNode:
		b.anchors[x.Name.GetToken().Value] = x.Value
		return b.build(x.Value, path, depth+1)
	case *ast.AliasNode:
		name := x.Value.GetToken().Value
		target, ok := b.anchors[name]
		if !ok {
			return b.reject(place(n), path, "*%s has no anchor &%s above it", name, name)
		}
		return b.build(target, path, depth+1)
	case *ast.MappingNode:
		return b.buildMap(place(n), x.Values, path, depth)
	case *ast.MappingValueNode:
		return b.buildMap(place(n), []*ast.MappingValueNode{x}, path, depth)
	case *ast.SequenceNode:
		list := &node{kind: listNode, pos: place(n)}
		for i, v := range x.Values {
			list.items = append(list.items, b.build(v, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
		return list
	}
	return b.reject(place(n), path, "%s has no meaning here", n.Type())
}

func (b *builder) buildMap(at pos, values []*ast.MappingValueNode, path string, depth int) *node {
	m := &node{kind: mapNode, pos: at}
	own := map[string]pos{}
	for _, v := range values {
		if _, isMerge := v.Key.(*ast.MergeKeyNode); isMerge {
			b.merge(m, b.build(v.Value, path, depth+1), path)
			continue
		}
		keyNode := ast.Node(v.Key)
		if k, ok := keyNode.(*ast.MappingKeyNode); ok {
			keyNode = k.Value
		}
		k := b.build(keyNode, path, depth+1)
		if k.kind == nullNode {
			k = &node{kind: scalarNode, text: "null", pos: place(v.Key)}
		}
		if k.kind != scalarNode {
			b.reject(place(v.Key), path, "a key must be plain text")
			continue
		}
		keyPath := join(path, k.text)
		if first, twice := own[k.text]; twice {
			b.reject(k.pos, keyPath, "this key is already given in line %d", first.line)
			continue
		}
		own[k.text] = k.pos
		m.entries = append(m.entries, entry{key: k.text, pos: k.pos, value: b.build(v.Value, keyPath, depth+1)})
	}
	// A mapping's own keys come before merged ones, the first merged before later ones.
	taken := own
	kept := m.entries[:0]
	for _, e := range m.entries {
		if e.merged {
			if _, ok := taken[e.key]; ok {
				continue
			}
			taken[e.key] = e.pos
		}
		kept = append(kept, e)
	}
	m.entries = kept
	return m
}

func (b *builder) merge(into, from *node, path string) {
	switch {
	case from.kind == mapNode:
		for _, e := range from.entries {
			e.merged = true
			into.entries = append(into.entries, e)
		}
	case from.kind == listNode:
		for _, item := range from.items {
			b.merge(into, item, path)
		}
	case !b.failed:
		b.reject(from.pos, path, "<< needs a mapping, not %s", from.describe())
	}
}

// bareText is what messages show without quotes: numbers and truth values.
var bareText = regexp.MustCompile(`^([-+]?[0-9.]+|[Tt]rue|TRUE|[Ff]alse|FALSE)$`)

// describe says what a node is, for messages. Scalars show their text only when it cannot hold a secret.
func (n *node) describe() string {
	switch {
	case n.kind == nullNode:
		return "nothing"
	case n.kind == mapNode:
		return "a mapping"
	case n.kind == listNode:
		return "a list"
	case n.expanded:
		return "the text of a variable"
	case len(n.text) > 40 || strings.Contains(n.text, "\n"):
		return "a text"
	case n.quoted || !bareText.MatchString(n.text):
		return fmt.Sprintf("the text %q", n.text)
	}
	return n.text
}
