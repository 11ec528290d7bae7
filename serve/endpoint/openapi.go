package endpoint

import (
	"encoding/json"
	"strconv"
	"strings"
)

type object = map[string]any

// formats are the forms of an answer, by the suffix of the path.
var formats = []struct{ suffix, media, description string }{
	{".json", "application/json", "One object: columns, rows, row_count, truncated, position and elapsed_ms."},
	{".ndjson", "application/x-ndjson", "One object a row and line."},
	{".csv", "text/csv", "A header line, then one line a row; NULL is empty, an empty text is \"\"."},
	{".arrow", "application/vnd.apache.arrow.stream", "An Arrow IPC stream."},
	{".parquet", "application/vnd.apache.parquet", "A Parquet file."},
}

// Document describes the endpoints in OpenAPI 3.1.
func Document(list []*Endpoint) []byte {
	paths := object{}
	for _, e := range list {
		// One path for all formats: {format} is a parameter of it, which every generator of clients understands.
		paths["/v0/endpoints/"+e.Name+".{format}"] = object{"get": e.operation()}
	}
	doc := object{
		"openapi": "3.1.0",
		"info":    object{"title": "Pintail endpoints", "version": "0", "description": "Published statements over the analytics copy: those that you may call."},
		"servers": []object{{"url": "/"}},
		"paths":   paths,
		"components": object{
			"securitySchemes": object{
				"bearer": object{"type": "http", "scheme": "bearer", "description": "A static token of the configuration, or a JWT of the configured issuer."},
				"basic":  object{"type": "http", "scheme": "basic"},
			},
			"schemas": object{"Answer": answerSchema, "Error": errorSchema},
			"responses": object{"Error": object{"description": "Why not, and what to do next.",
				"content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Error"}}}}},
		},
		"security": []object{{"bearer": []string{}}, {"basic": []string{}}},
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(err) // it holds texts, numbers and truth values alone
	}
	return append(text, '\n')
}

var answerSchema = object{"type": "object", "required": []string{"columns", "rows", "row_count", "truncated", "position", "elapsed_ms"}, "properties": object{
	"columns": object{"type": "array", "items": object{"type": "object", "required": []string{"name", "type"}, "properties": object{
		"name": object{"type": "string"}, "type": object{"type": "string", "description": "DuckDB's name of the type."}}}},
	"rows":       object{"type": "array", "items": object{"type": "array", "items": object{}}},
	"row_count":  object{"type": "integer"},
	"truncated":  object{"type": "boolean", "description": "There were more rows than the endpoint's limit, or than the role may have."},
	"position":   object{"type": "object", "description": "As of when the answer holds, by dataset read.", "additionalProperties": object{"type": "object"}},
	"elapsed_ms": object{"type": "number"},
	"error":      object{"description": "Why the rows end early."},
}}

var errorSchema = object{"type": "object", "required": []string{"error"}, "properties": object{
	"error": object{"type": "object", "required": []string{"code", "message", "hint"}, "properties": object{
		"code": object{"type": "string"}, "message": object{"type": "string"}, "hint": object{"type": "string"}}}}}

func (e *Endpoint) operation() object {
	suffixes := make([]string, len(formats))
	content := object{}
	for i, f := range formats {
		suffixes[i] = strings.TrimPrefix(f.suffix, ".")
		schema := object{"type": "string", "description": f.description}
		switch f.suffix {
		case ".json":
			schema = object{"$ref": "#/components/schemas/Answer"}
		case ".arrow", ".parquet":
			schema = object{"contentMediaType": f.media, "description": f.description}
		}
		content[f.media] = object{"schema": schema}
	}
	params := []object{{"name": "format", "in": "path", "required": true, "description": "Form of the answer.", "schema": object{"type": "string", "enum": suffixes, "default": "json"}}}
	for _, p := range e.Params {
		params = append(params, p.describe())
	}
	params = append(params, object{"name": "X-Pintail-Min-Position", "in": "header", "description": "How far replicas have to be: dataset=LSN, with commas between, as X-Pintail-Position has it. It is waited for 5s at most; then the answer is 504.",
		"schema": object{"type": "string"}, "example": "shop=0/16B3748"})
	description := e.Description
	var facts []string
	if e.Cache > 0 {
		facts = append(facts, "An answer may be up to "+e.Cache.String()+" old; Age says how old.")
	}
	if e.Limit > 0 {
		facts = append(facts, "It has "+strconv.FormatInt(e.Limit, 10)+" rows at most.")
	}
	if _, burst := e.Rate.Limit(); burst > 0 {
		facts = append(facts, "Each user may send "+string(e.Rate)+".")
	}
	if len(facts) > 0 {
		description = strings.TrimSpace(description + "\n\n" + strings.Join(facts, " "))
	}
	header := func(description string) object {
		return object{"description": description, "schema": object{"type": "string"}}
	}
	fails := object{"$ref": "#/components/responses/Error"}
	op := object{
		"operationId": strings.NewReplacer("/", ".").Replace(e.Name),
		"parameters":  params,
		"responses": object{
			"200": object{"description": "OK", "content": content, "headers": object{
				"ETag":               header("Of the answer, where it is known to be the same as long as the tables are."),
				"Age":                header("Seconds since the answer held for sure; of endpoints with cache."),
				"X-Pintail-Position": header("Where the rows read stand in their sources' logs, dataset=lsn."),
			}},
			"304": object{"description": "The answer is the one of If-None-Match."},
			"400": fails, "401": fails, "403": fails, "404": fails, "429": fails, "503": fails, "504": fails,
		},
	}
	if e.Summary != "" {
		op["summary"] = e.Summary
	}
	if description != "" {
		op["description"] = description
	}
	return op
}

func (p *Param) describe() object {
	schema := p.schema()
	out := object{"name": p.Name, "in": "query", "required": p.Required}
	if p.List {
		items := schema
		schema = object{"type": "array", "items": items, "maxItems": listMax}
		out["style"], out["explode"] = "form", true
		if p.Required {
			schema["minItems"] = 1
		}
	}
	if p.HasDefault {
		schema["default"] = p.sampleValue(p.DefaultTexts)
	}
	if p.ExampleTexts != nil {
		out["example"] = p.sampleValue(p.ExampleTexts)
	}
	if p.Description != "" {
		out["description"] = p.Description
	}
	out["schema"] = schema
	return out
}

// schema is JSON Schema's form of one value.
func (p *Param) schema() object {
	s := object{"type": "string"}
	switch p.Type {
	case "integer":
		s = object{"type": "integer", "format": "int64"}
	case "number":
		s = object{"type": "number"}
	case "boolean":
		s = object{"type": "boolean"}
	case "date":
		s["format"] = "date"
	case "timestamp":
		s["format"] = "date-time"
	case "uuid":
		s["format"] = "uuid"
	case "enum":
		s["enum"] = p.Enum
	}
	if p.min != nil || p.max != nil {
		p.between(s)
	}
	if p.MinLength > 0 {
		s["minLength"] = p.MinLength
	}
	if p.MaxLength >= 0 {
		s["maxLength"] = p.MaxLength
	}
	if p.Pattern != "" {
		s["pattern"] = "^(?:" + p.Pattern + ")$"
	}
	return s
}

// between tells numbers by JSON Schema's words, and times, for which it has none, by the description.
func (p *Param) between(s object) {
	if p.Type == "integer" || p.Type == "number" {
		if p.min != nil {
			s["minimum"] = json.Number(p.Min)
		}
		if p.max != nil {
			s["maximum"] = json.Number(p.Max)
		}
		return
	}
	var parts []string
	if p.min != nil {
		parts = append(parts, "from "+p.Min)
	}
	if p.max != nil {
		parts = append(parts, "to "+p.Max)
	}
	s["description"] = strings.Join(parts, " ")
}

// sampleValue is a default or example as JSON.
func (p *Param) sampleValue(texts []string) any {
	all := make([]any, len(texts))
	for i, t := range texts {
		switch p.Type {
		case "integer", "number":
			all[i] = json.Number(t)
		case "boolean":
			all[i] = t == "true"
		default:
			all[i] = t
		}
	}
	if p.List {
		return all
	}
	return all[0]
}
