package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func TestReference(t *testing.T) {
	text := Reference()
	golden(t, "../docs/configuration.md", text)
	// Every key of every level is in it, and every field says what it is.
	var walk func(reflect.Type)
	seen := map[reflect.Type]bool{}
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		eachField(typ, nil, func(f reflect.StructField) {
			if f.Tag.Get("help") == "" {
				t.Errorf("%s.%s has no help", typ.Name(), f.Name)
			}
			if key := f.Tag.Get("yaml"); !strings.Contains(text, "| `"+key+"` |") {
				t.Errorf("%s is not in the reference", key)
			}
			walk(f.Type)
		})
	}
	walk(reflect.TypeFor[fileSpec]())
	walk(reflect.TypeFor[blockSpec]())
}

func TestSchema(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../docs/pintail.schema.json", string(text))
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("pintail.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("pintail.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(file string) error {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		asJSON, err := yaml.YAMLToJSON(data)
		if err != nil {
			return fmt.Errorf("YAML: %w", err)
		}
		decoder := json.NewDecoder(bytes.NewReader(asJSON))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		return schema.Validate(value)
	}
	files, _ := filepath.Glob("testdata/*.good.yml")
	for _, file := range files {
		if err := check(file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, name := range []string{"unknown-key", "unknown-top", "types", "enums", "ranges", "many"} {
		if check("testdata/"+name+".bad.yml") == nil {
			t.Errorf("the schema accepts %s", name)
		}
	}
}
