package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// decoder fills the specs from nodes: unknown keys and wrong types are mistakes, and every one of them is reported.
type decoder struct{ *report }

var blockName = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)_db$`)

func (d *decoder) file(root *node) *fileSpec {
	spec := &fileSpec{blocks: map[string]*blockSpec{}}
	rest := &node{kind: mapNode, pos: root.pos}
	for _, e := range root.entries {
		switch {
		case strings.HasPrefix(e.key, "x-"):
		case blockName.MatchString(e.key):
			d.at[e.key] = e.pos
			block := &blockSpec{}
			d.value(e.value, reflect.ValueOf(block).Elem(), e.key, "")
			spec.blocks[e.key] = block
			spec.blockNames = append(spec.blockNames, e.key)
		default:
			rest.entries = append(rest.entries, e)
		}
	}
	d.value(rest, reflect.ValueOf(spec).Elem(), "", "")
	return spec
}

func (d *decoder) bad(n *node, path, format string, args ...any) {
	d.failAt(n.pos, path, format, args...)
}

// value decodes n into v. null leaves the default.
func (d *decoder) value(n *node, v reflect.Value, path string, tag reflect.StructTag) {
	switch x := v.Addr().Interface().(type) {
	case *unused:
		if n.kind != nullNode {
			d.warn(path, "this key is not used: it belongs to the user interface of the runbook's original")
		}
		return
	case *keySpec:
		d.key(n, x, path)
		return
	case *columnsSpec:
		d.columns(n, x, path)
		return
	case *Value:
		d.free(n, x, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if n.kind == nullNode {
			return
		}
		fresh := reflect.New(v.Type().Elem())
		d.value(n, fresh.Elem(), path, tag)
		v.Set(fresh)
	case reflect.Struct:
		if _, isScalar := v.Interface().(Schedule); isScalar {
			d.scalar(n, v, path, tag)
			return
		}
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			d.structs(n, v, path)
			return
		}
		v.Set(reflect.ValueOf(d.list(n, path)))
	default:
		d.scalar(n, v, path, tag)
	}
}

func (d *decoder) structure(n *node, v reflect.Value, path string) {
	fields := map[string]reflect.StructField{}
	eachField(v.Type(), nil, func(f reflect.StructField) {
		fields[f.Tag.Get("yaml")] = f
		setDefault(v.FieldByIndex(f.Index), f.Tag)
	})
	if n.kind == nullNode {
		return
	}
	if n.kind != mapNode {
		d.bad(n, path, "needs a mapping, not %s", n.describe())
		return
	}
	for _, e := range n.entries {
		keyPath := join(path, e.key)
		f, known := fields[e.key]
		if !known {
			d.failAt(e.pos, keyPath, "unknown key%s", didYouMean(e.key, sortedKeys(fields)))
			continue
		}
		if e.value.kind != nullNode {
			d.at[keyPath] = e.pos
			d.order[path] = append(d.order[path], e.key)
		}
		d.value(e.value, v.FieldByIndex(f.Index), keyPath, f.Tag)
	}
}

// eachField calls fn for every field with a yaml tag, embedded structs included; Index leads from the outermost.
func eachField(t reflect.Type, index []int, fn func(reflect.StructField)) {
	for i := range t.NumField() {
		f := t.Field(i)
		f.Index = append(append([]int{}, index...), i)
		if f.Anonymous {
			eachField(f.Type, f.Index, fn)
		} else if f.Tag.Get("yaml") != "" {
			fn(f)
		}
	}
}

// setDefault puts the default tag's value, and those of structs below, into v.
func setDefault(v reflect.Value, tag reflect.StructTag) {
	if _, isScalar := v.Interface().(Schedule); v.Kind() == reflect.Struct && !isScalar {
		eachField(v.Type(), nil, func(f reflect.StructField) { setDefault(v.FieldByIndex(f.Index), f.Tag) })
		return
	}
	if text, ok := tag.Lookup("default"); ok {
		if err := setScalar(v, text); err != nil {
			panic(fmt.Sprintf("default of %s: %v", tag.Get("yaml"), err)) // a defect of the tag, found by any test
		}
	}
}

func (d *decoder) mapping(n *node, v reflect.Value, path string) {
	if n.kind == nullNode {
		return
	}
	if n.kind != mapNode {
		d.bad(n, path, "needs a mapping, not %s", n.describe())
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	elem := v.Type().Elem()
	for _, e := range n.entries {
		keyPath := join(path, e.key)
		d.at[keyPath] = e.pos
		d.order[path] = append(d.order[path], e.key)
		item := reflect.New(elem).Elem()
		if elem.Kind() == reflect.Pointer {
			// An entry with nothing in it still exists: its defaults are set and validation says what it lacks.
			item.Set(reflect.New(elem.Elem()))
			d.value(e.value, item.Elem(), keyPath, "")
		} else {
			d.value(e.value, item, keyPath, "")
		}
		v.SetMapIndex(reflect.ValueOf(e.key), item)
	}
}

// list decodes a list of texts.
func (d *decoder) list(n *node, path string) []string {
	if n.kind == nullNode {
		return nil
	}
	if n.kind != listNode {
		d.bad(n, path, "needs a list such as [a, b], not %s", n.describe())
		return nil
	}
	items := make([]string, 0, len(n.items))
	for i, item := range n.items {
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		d.at[itemPath] = item.pos
		if item.kind == nullNode {
			d.bad(item, itemPath, "needs a text, not nothing")
			continue
		}
		var text string
		d.scalar(item, reflect.ValueOf(&text).Elem(), itemPath, "")
		items = append(items, text)
	}
	return items
}

func (d *decoder) key(n *node, k *keySpec, path string) {
	if n.kind != mapNode {
		k.List = d.list(n, path)
		return
	}
	k.Split = true
	for _, e := range n.entries {
		keyPath := join(path, e.key)
		d.at[keyPath] = e.pos
		switch e.key {
		case "dataset":
			k.Dataset = d.list(e.value, keyPath)
		case "results":
			k.Results = d.list(e.value, keyPath)
		default:
			d.failAt(e.pos, keyPath, "unknown key%s", didYouMean(e.key, []string{"dataset", "results"}))
		}
	}
}

func (d *decoder) columns(n *node, c *columnsSpec, path string) {
	if n.kind == mapNode {
		d.mapping(n, reflect.ValueOf(&c.Rename).Elem(), path)
		return
	}
	if n.kind == scalarNode {
		d.bad(n, path, "needs a list [a, b] to choose, or a mapping {a: new_name} to rename, not %s", n.describe())
		return
	}
	c.List = d.list(n, path)
}

var isBool = map[string]bool{"true": true, "True": true, "TRUE": true, "false": false, "False": false, "FALSE": false}

func (d *decoder) scalar(n *node, v reflect.Value, path string, tag reflect.StructTag) {
	want := wants(v)
	if n.kind == nullNode {
		return
	}
	if n.kind != scalarNode {
		d.bad(n, path, "needs %s, not %s", want, n.describe())
		return
	}
	text := n.text
	_, looksBool := isBool[text]
	isText := n.quoted && !n.expanded
	switch v.Kind() {
	case reflect.String:
		if looksBool && !n.quoted && !n.expanded {
			d.bad(n, path, "needs %s, not %s: put it in quotes if that is what you mean", want, n.describe())
			return
		}
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		_, isDuration := v.Interface().(time.Duration)
		_, isSize := v.Interface().(Size)
		if isText && !isDuration && !isSize {
			d.bad(n, path, "needs %s, not %s", want, n.describe())
			return
		}
	}
	if err := setScalar(v, text); err != nil {
		if n.expanded {
			d.bad(n, path, "needs %s, not the text of a variable", want)
		} else if _, own := v.Interface().(Schedule); own || strings.HasSuffix(err.Error(), "is negative") {
			d.bad(n, path, "%s", err)
		} else {
			d.bad(n, path, "needs %s, not %s", want, n.describe())
		}
		return
	}
	d.limits(n, v, path, tag)
}

// limits checks enum, min and max.
func (d *decoder) limits(n *node, v reflect.Value, path string, tag reflect.StructTag) {
	if enum := tag.Get("enum"); enum != "" {
		allowed := strings.Split(enum, "|")
		for _, a := range allowed {
			if v.String() == a {
				return
			}
		}
		d.bad(n, path, "needs one of %s, not %s%s", strings.Join(allowed, ", "), n.describe(), didYouMean(v.String(), allowed))
		v.SetString("")
		setDefault(v, tag)
		return
	}
	low, high := tag.Get("min"), tag.Get("max")
	if v.CanFloat() {
		lowest, lowErr := strconv.ParseFloat(low, 64)
		highest, highErr := strconv.ParseFloat(high, 64)
		if f := v.Float(); lowErr == nil && highErr == nil && !(f >= lowest && f <= highest) {
			d.bad(n, path, "needs a number from %s to %s, not %s", low, high, n.describe())
		}
		return
	}
	if !v.CanInt() {
		return
	}
	if lowest, err := strconv.ParseInt(low, 10, 64); err == nil && v.Int() < lowest {
		d.bad(n, path, "%d is too small: %s at least", v.Int(), low)
	}
	if highest, err := strconv.ParseInt(high, 10, 64); err == nil && v.Int() > highest {
		d.bad(n, path, "%d is too large: %s at most", v.Int(), high)
	}
}

// wants names the type of v for messages.
func wants(v reflect.Value) string {
	switch v.Interface().(type) {
	case time.Duration:
		return "a duration such as 30s, 2m or a number of seconds"
	case Rate:
		return "a rate such as 100/s, 30/m or off"
	case Size:
		return "a size such as 512MiB, 4GB or a number of bytes"
	case Schedule:
		return "a duration such as 30s, a cron line, or off"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a text"
}

// setScalar parses text as v's type.
func setScalar(v reflect.Value, text string) error {
	switch x := v.Addr().Interface().(type) {
	case *time.Duration:
		return assign(x, text, parseDuration)
	case *Size:
		return assign(x, text, ParseSize)
	case *Rate:
		return assign(x, text, ParseRate)
	case *Schedule:
		return assign(x, text, ParseSchedule)
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		b, ok := isBool[strings.TrimSpace(text)]
		if !ok {
			return fmt.Errorf("%q is not true or false", text)
		}
		v.SetBool(b)
		return nil
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return err
		}
		v.SetInt(i)
		return nil
	case reflect.Float64:
		f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			return err
		}
		v.SetFloat(f)
		return nil
	}
	return fmt.Errorf("no scalar: %s", v.Type())
}

func assign[T any](to *T, text string, parse func(string) (T, error)) error {
	value, err := parse(text)
	if err == nil {
		*to = value
	}
	return err
}
