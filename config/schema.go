package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"
)

type object = map[string]any

// Schema is the JSON Schema (2020-12) of the file, for editors: docs/pintail.schema.json.
func Schema() ([]byte, error) {
	s := structSchema(reflect.TypeFor[fileSpec]())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "pintail.yaml"
	s["patternProperties"] = object{
		blockName.String(): described(structSchema(reflect.TypeFor[blockSpec]()), "A runbook block: the dataset of the name before _db, with a source of its own."),
		"^x-":              object{"description": "Not read: a place for anchors."},
	}
	text, err := json.MarshalIndent(s, "", "  ")
	return append(text, '\n'), err
}

func described(s object, help string) object {
	s["description"] = help
	return s
}

func structSchema(t reflect.Type) object {
	properties := object{}
	eachField(t, nil, func(f reflect.StructField) {
		s := described(typeSchema(f.Type, f.Tag), f.Tag.Get("help"))
		if value, ok := f.Tag.Lookup("default"); ok {
			s["default"] = jsonValue(f.Type, value)
		}
		if value, ok := f.Tag.Lookup("example"); ok && f.Type.Kind() == reflect.String {
			s["examples"] = []any{value}
		}
		properties[f.Tag.Get("yaml")] = s
	})
	return object{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
}

// jsonValue is a tag's text as the JSON value an editor would write.
func jsonValue(t reflect.Type, text string) any {
	switch t.Kind() {
	case reflect.Bool:
		return text == "true"
	case reflect.Int, reflect.Int64:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	}
	return text
}

// variable is a text that a variable decides.
func variable() object { return object{"type": "string", "pattern": `\$\{`} }

func typeSchema(t reflect.Type, tag reflect.StructTag) object {
	texts := object{"type": []string{"array", "null"}, "items": object{"type": []string{"string", "number"}}}
	mapOf := func(values object) object {
		return object{"type": []string{"object", "null"}, "additionalProperties": values}
	}
	switch t {
	case reflect.TypeFor[unused]():
		return object{}
	case reflect.TypeFor[keySpec]():
		return object{"anyOf": []object{texts, {"type": "object", "properties": object{"dataset": texts, "results": texts}, "additionalProperties": false}}}
	case reflect.TypeFor[columnsSpec]():
		return object{"anyOf": []object{texts, mapOf(object{"type": "string"})}}
	case reflect.TypeFor[time.Duration](), reflect.TypeFor[Size]():
		return object{"anyOf": []object{{"type": []string{"number", "null"}, "minimum": 0}, {"type": "string"}}}
	case reflect.TypeFor[Schedule]():
		return object{"anyOf": []object{{"const": 0}, {"type": []string{"string", "null"}}}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeSchema(t.Elem(), tag)
	case reflect.Struct:
		return structSchema(t)
	case reflect.Map:
		return mapOf(typeSchema(t.Elem(), ""))
	case reflect.Slice:
		return texts
	case reflect.Bool:
		return object{"anyOf": []object{{"type": []string{"boolean", "null"}}, variable()}}
	case reflect.Float64:
		number := object{"type": []string{"number", "null"}}
		for tagKey, schemaKey := range map[string]string{"min": "minimum", "max": "maximum"} {
			if n, err := strconv.ParseFloat(tag.Get(tagKey), 64); err == nil {
				number[schemaKey] = n
			}
		}
		return object{"anyOf": []object{number, variable()}}
	case reflect.Int, reflect.Int64:
		number := object{"type": []string{"integer", "null"}}
		for tagKey, schemaKey := range map[string]string{"min": "minimum", "max": "maximum"} {
			if n, err := strconv.ParseInt(tag.Get(tagKey), 10, 64); err == nil {
				number[schemaKey] = n
			}
		}
		return object{"anyOf": []object{number, variable()}}
	}
	if enum := tag.Get("enum"); enum != "" {
		return object{"anyOf": []object{{"enum": strings.Split(enum, "|")}, {"type": "null"}, variable()}}
	}
	return object{"type": []string{"string", "number", "null"}}
}
