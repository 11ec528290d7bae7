package access

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
)

// replace gives the tree with the views in the place of tables.
func (p Parsed) replace(tree string, tables []restricted) (string, error) {
	if finite(tree) != tree {
		return "", fault.New(fault.Forbidden, "write numbers that a double can hold", "the statement has a constant beyond a double, which the role's row filters and masks do not allow")
	}
	type cut struct {
		from, to int64
		text     string
	}
	var cuts []cut
	for _, n := range p.named {
		o := n.object()
		for _, t := range tables {
			if !slices.Contains(t.written, o) {
				continue
			}
			var fields map[string]json.RawMessage
			if err := json.Unmarshal([]byte(tree[n.from:n.to]), &fields); err != nil {
				return "", errNotDescribed{"this form of a table"}
			}
			if string(fields["alias"]) == `""` {
				fields["alias"] = encode(o.Name)
			}
			fields["catalog_name"], fields["schema_name"], fields["table_name"] = encode(viewCatalog), encode("main"), encode(t.view.Name)
			cuts = append(cuts, cut{n.from, n.to, string(encode(fields))})
		}
	}
	for _, n := range p.columned {
		if rest := plainColumn(n.column.parts, tables); rest != nil {
			cuts = append(cuts, cut{n.column.from, n.column.to, string(encode(rest))})
		}
	}
	slices.SortFunc(cuts, func(a, b cut) int { return int(a.from - b.from) })
	var b strings.Builder
	at := int64(0)
	for _, c := range cuts {
		if c.from < at {
			return "", errNotDescribed{"a table within a table"}
		}
		b.WriteString(tree[at:c.from])
		b.WriteString(c.text)
		at = c.to
	}
	b.WriteString(tree[at:])
	return b.String(), nil
}

// plainColumn is the name of a column of one of tables without the schema: a view goes by its alias alone. nil for another column.
func plainColumn(parts []string, tables []restricted) []string {
	for _, t := range tables {
		switch {
		case fold(parts[0]) == t.schema && fold(parts[1]) == t.name:
			return parts[1:]
		case len(parts) > 3 && fold(parts[1]) == t.schema && fold(parts[2]) == t.name:
			return parts[2:]
		}
	}
	return nil
}

func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts and what was JSON before
	}
	return b
}

// sameTree compares syntax trees, but for the places in the text that they tell of.
func sameTree(a, b string) bool {
	x, errX := plainTree(a)
	y, errY := plainTree(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

func plainTree(tree string) (any, error) {
	d := json.NewDecoder(strings.NewReader(tree))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	dropPlaces(v)
	return v, nil
}

func dropPlaces(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "query_location")
		for _, c := range v {
			dropPlaces(c)
		}
	case []any:
		for _, c := range v {
			dropPlaces(c)
		}
	}
}
