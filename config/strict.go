package config

import (
	"fmt"
	"reflect"

	"github.com/pintaildb/pintail/internal/fault"
)

// Value is a scalar, or a list of scalars, whose type something else decides: its text as written.
type Value struct {
	Text  string
	Items []string // of a list
	List  bool
	Given bool // with a value other than null
}

// Strict decodes data, a YAML text of its own that stands in the file called name, into into: a pointer to a struct tagged as those of
// this package are. Variables are not expanded. place is where a key stands, or the nearest one above it. The error has code fault.Config
// and holds Problems.
func Strict(name string, data []byte, into any) (place func(key string) (line, col int), err error) {
	r := newReport(name)
	if root := parseDocument(r, data); root != nil {
		d := &decoder{report: r}
		d.value(root, reflect.ValueOf(into).Elem(), "", "")
	}
	r.sort()
	if len(r.problems) > 0 {
		return nil, fault.New(fault.Config, "", "%w", r.problems)
	}
	return func(key string) (line, col int) { p := r.place(key); return p.line, p.col }, nil
}

func (d *decoder) free(n *node, v *Value, path string) {
	switch n.kind {
	case nullNode:
	case mapNode:
		d.bad(n, path, "needs a value or a list of values, not a mapping")
	case scalarNode:
		*v = Value{Text: n.text, Given: true}
	case listNode:
		*v = Value{List: true, Given: true}
		for i, item := range n.items {
			if item.kind != scalarNode {
				d.bad(item, fmt.Sprintf("%s[%d]", path, i), "needs a value, not %s", item.describe())
				continue
			}
			v.Items = append(v.Items, item.text)
		}
	}
}

// structs decodes a list of mappings.
func (d *decoder) structs(n *node, v reflect.Value, path string) {
	if n.kind == nullNode {
		return
	}
	if n.kind != listNode {
		d.bad(n, path, "needs a list of mappings, not %s", n.describe())
		return
	}
	for i, item := range n.items {
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		d.at[itemPath] = item.pos
		fresh := reflect.New(v.Type().Elem()).Elem()
		d.value(item, fresh, itemPath, "")
		v.Set(reflect.Append(v, fresh))
	}
}

// Candidate is ` (did you mean "x"?)` for the candidate nearest to word, or nothing.
func Candidate(word string, candidates []string) string { return didYouMean(word, candidates) }
