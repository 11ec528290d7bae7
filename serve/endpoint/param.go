package endpoint

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
)

// Param is one parameter of an endpoint.
type Param struct {
	Name        string
	Type        string // text, integer, number, boolean, date, timestamp, uuid, enum
	List        bool   // of those: it may be given several times
	Description string
	Required    bool
	Enum        []string

	HasDefault   bool
	DefaultTexts []string // canonical; one, unless it is a list
	ExampleTexts []string // nil: none
	Min, Max     string   // canonical; "" is none
	MinLength    int64
	MaxLength    int64 // -1: none
	Pattern      string
	pattern      *regexp.Regexp
	min, max     *value
	defaultV     any
}

// value is one decoded value: what is bound, how it compares, and its one text.
type value struct {
	bound  any
	number *big.Rat
	moment time.Time
	text   string
}

var types = []string{"text", "integer", "number", "boolean", "date", "timestamp", "uuid", "enum"}

// listMax is how often a list's parameter may be given.
const listMax = 1000

// param checks one entry of the header.
func (c *checker) param(at string, h *param) *Param {
	before := len(c.problems)
	p := &Param{Name: h.Name, Description: h.Description, Required: h.Required, Enum: h.Enum, MaxLength: -1, Pattern: h.Pattern}
	if !paramPattern.MatchString(h.Name) || len(h.Name) > paramBytes {
		c.fail(at+".name", "%q cannot be a parameter's name: a letter or _, then letters, digits and _, %d at most", h.Name, paramBytes)
	}
	if p.Type = h.Type; p.Type == "" {
		if p.Type = "text"; h.Enum != nil {
			p.Type = "enum"
		}
	}
	if of, ok := strings.CutPrefix(p.Type, "list of "); ok {
		p.Type, p.List = strings.TrimSpace(of), true
	}
	if !slices.Contains(types, p.Type) {
		c.fail(at+".type", "needs one of %s, or list of one of them, not %q%s", strings.Join(types, ", "), h.Type, config.Candidate(p.Type, types))
		return nil
	}
	c.enum(at, p, h)
	c.lengths(at, p, h)
	p.min, p.Min = c.bound(at+".min", p, h.Min)
	p.max, p.Max = c.bound(at+".max", p, h.Max)
	if p.min != nil && p.max != nil && compare(p.Type, p.min, p.max) > 0 {
		c.fail(at+".max", "%s is below min: %s", p.Max, p.Min)
	}
	if len(c.problems) > before {
		return nil
	}
	p.DefaultTexts = c.sample(at+".default", p, h.Default)
	p.ExampleTexts = c.sample(at+".example", p, h.Example)
	if p.HasDefault = h.Default.Given; p.HasDefault && p.Required {
		c.fail(at+".default", "has no use: the parameter is required")
	}
	if len(c.problems) > before {
		return nil
	}
	if p.HasDefault {
		p.defaultV, _, _ = p.decode(p.DefaultTexts)
	}
	return p
}

func (c *checker) enum(at string, p *Param, h *param) {
	switch {
	case p.Type == "enum" && len(h.Enum) == 0:
		c.fail(at+".enum", "is missing: list the values")
	case p.Type != "enum" && h.Enum != nil:
		c.fail(at+".enum", "is for type: enum, not %s", p.Type)
	}
	for i, v := range h.Enum {
		if slices.Contains(h.Enum[:i], v) {
			c.fail(fmt.Sprintf("%s.enum[%d]", at, i), "%q is listed twice", v)
		}
	}
}

func (c *checker) lengths(at string, p *Param, h *param) {
	text := p.Type == "text"
	for key, given := range map[string]bool{"min_length": h.MinLength != nil, "max_length": h.MaxLength != nil, "pattern": h.Pattern != ""} {
		if given && !text {
			c.fail(at+"."+key, "is for type: text, not %s", p.Type)
		}
	}
	if h.MinLength != nil {
		p.MinLength = *h.MinLength
	}
	if h.MaxLength != nil {
		p.MaxLength = *h.MaxLength
		if p.MaxLength < p.MinLength {
			c.fail(at+".max_length", "%d is below min_length: %d", p.MaxLength, p.MinLength)
		}
	}
	if h.Pattern == "" || !text {
		return
	}
	var err error
	if p.pattern, err = regexp.Compile("^(?:" + h.Pattern + ")$"); err != nil {
		c.fail(at+".pattern", "is no regular expression: %v", err)
	}
}

func (c *checker) bound(at string, p *Param, v config.Value) (*value, string) {
	switch {
	case !v.Given:
		return nil, ""
	case v.List:
		c.fail(at, "needs one value, not a list")
		return nil, ""
	case !ordered[p.Type]:
		c.fail(at, "is for integer, number, date and timestamp, not %s", p.Type)
		return nil, ""
	}
	b, err := parse(p.Type, v.Text)
	if err != nil {
		c.fail(at, "needs %s, not %q", wants[p.Type], shorten(v.Text))
		return nil, ""
	}
	return &b, b.text
}

// sample reads a default or an example, which has to be what the parameter itself takes.
func (c *checker) sample(at string, p *Param, v config.Value) []string {
	if !v.Given {
		return nil
	}
	texts := v.Items
	if !v.List {
		texts = []string{v.Text}
	} else if !p.List {
		c.fail(at, "is a list, but the type is not: list of %s", p.Type)
		return nil
	}
	_, canonical, err := p.decode(texts)
	if err != nil {
		c.fail(at, "%s", err)
	}
	return canonical
}

var ordered = map[string]bool{"integer": true, "number": true, "date": true, "timestamp": true}

var wants = map[string]string{
	"text":      "text",
	"integer":   "a whole number between -9223372036854775808 and 9223372036854775807",
	"number":    "a number such as 12.5",
	"boolean":   "true or false",
	"date":      "a date such as 2026-02-13",
	"timestamp": "a time such as 2026-02-13T10:15:00Z",
	"uuid":      "a UUID such as 019a9f3e-0d5c-7c51-9f0e-2f7b9d1b6c3a",
	"enum":      "one of its values",
}

var (
	integerText = regexp.MustCompile(`^[+-]?[0-9]{1,19}$`)
	numberText  = regexp.MustCompile(`^[+-]?([0-9]{1,38}(\.[0-9]{0,38})?|\.[0-9]{1,38})([eE][+-]?[0-9]{1,3})?$`)
	momentForms = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", time.DateOnly}
)

// parse reads one value of a type.
func parse(typ, text string) (v value, err error) {
	bad := fmt.Errorf("needs %s", wants[typ])
	switch typ {
	case "integer":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || !integerText.MatchString(text) {
			return v, bad
		}
		return value{bound: n, number: new(big.Rat).SetInt64(n), text: strconv.FormatInt(n, 10)}, nil
	case "number":
		if !numberText.MatchString(text) {
			return v, bad
		}
		r, ok := new(big.Rat).SetString(text)
		f, err := strconv.ParseFloat(text, 64)
		if !ok || err != nil {
			return v, bad
		}
		return value{bound: json.Number(numeral(r, f)), number: r, text: numeral(r, f)}, nil
	case "boolean":
		if text != "true" && text != "false" {
			return v, bad
		}
		return value{bound: text == "true", text: text}, nil
	case "date":
		d, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return v, bad
		}
		return value{bound: text, moment: d, text: text}, nil
	case "timestamp":
		for _, form := range momentForms {
			t, err := time.Parse(form, text)
			if err != nil {
				continue
			}
			t = t.UTC().Truncate(time.Microsecond)
			if t.Year() < 1 || t.Year() > 9999 {
				return v, bad
			}
			canonical := t.Format("2006-01-02T15:04:05.999999Z07:00")
			return value{bound: t.Format("2006-01-02 15:04:05.999999+00"), moment: t, text: canonical}, nil
		}
		return v, bad
	case "uuid":
		id, err := uuid.Parse(text)
		if err != nil || len(text) != 36 {
			return v, bad
		}
		return value{bound: id.String(), text: id.String()}, nil
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return v, fmt.Errorf("needs UTF-8 text without NUL")
	}
	return value{bound: text, text: text}, nil
}

// numeral is a decimal's one text: without an exponent where it has at most 40 digits.
func numeral(r *big.Rat, f float64) string {
	if r.IsInt() && len(r.Num().String()) <= 40 {
		return r.Num().String()
	}
	if text := strings.TrimRight(r.FloatString(40), "0"); len(text) <= 42 {
		if back, ok := new(big.Rat).SetString(text); ok && back.Cmp(r) == 0 {
			return text
		}
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func compare(typ string, a, b *value) int {
	if typ == "date" || typ == "timestamp" {
		return a.moment.Compare(b.moment)
	}
	return a.number.Cmp(b.number)
}

// one reads a value and holds it against the parameter's limits.
func (p *Param) one(text string) (value, error) {
	v, err := parse(p.Type, text)
	if err != nil {
		return v, err
	}
	switch {
	case p.Type == "enum" && !slices.Contains(p.Enum, text):
		return v, fmt.Errorf("needs one of %s%s", strings.Join(p.Enum, ", "), config.Candidate(text, p.Enum))
	case p.min != nil && compare(p.Type, &v, p.min) < 0:
		return v, fmt.Errorf("needs %s at least", p.Min)
	case p.max != nil && compare(p.Type, &v, p.max) > 0:
		return v, fmt.Errorf("needs %s at most", p.Max)
	case p.Type != "text":
		return v, nil
	}
	n := int64(utf8.RuneCountInString(text))
	switch {
	case n < p.MinLength:
		return v, fmt.Errorf("needs %d characters at least", p.MinLength)
	case p.MaxLength >= 0 && n > p.MaxLength:
		return v, fmt.Errorf("needs %d characters at most", p.MaxLength)
	case p.pattern != nil && !p.pattern.MatchString(text):
		return v, fmt.Errorf("needs a text that matches %s", p.Pattern)
	}
	return v, nil
}

// decode gives what is bound, and each value's one text.
func (p *Param) decode(texts []string) (bound any, canonical []string, err error) {
	switch {
	case !p.List && len(texts) != 1:
		return nil, nil, fmt.Errorf("is given %d times, needs one value", len(texts))
	case len(texts) > listMax:
		return nil, nil, fmt.Errorf("is given %d times, the most is %d", len(texts), listMax)
	}
	list := make([]any, 0, len(texts))
	for _, text := range texts {
		v, err := p.one(text)
		if err != nil {
			if text == "" {
				return nil, nil, fmt.Errorf("%w; it is empty", err)
			}
			return nil, nil, fmt.Errorf("%w, not %q", err, shorten(text))
		}
		list, canonical = append(list, v.bound), append(canonical, v.text)
	}
	if p.List {
		return list, canonical, nil
	}
	return list[0], canonical, nil
}

// Values are a request's parameters: what is bound to $name, and one text that is the same for the same values.
type Values struct {
	Named     map[string]any
	Canonical string
}

// Decode reads a query string. The error is fault.Usage and names every parameter that is not as it has to be.
func (e *Endpoint) Decode(query url.Values) (Values, error) {
	out := Values{}
	if len(e.Params) > 0 {
		out.Named = make(map[string]any, len(e.Params))
	}
	var problems []string
	for _, name := range sortedNames(query) {
		if e.byName[name] == nil {
			problems = append(problems, fmt.Sprintf("parameter %q is not one of this endpoint's%s", shorten(name), config.Candidate(name, sortedNames(e.byName))))
		}
	}
	var b strings.Builder
	for _, p := range e.Params {
		texts, given := query[p.Name]
		if !given {
			switch {
			case p.Required:
				problems = append(problems, fmt.Sprintf("parameter %s is missing: it needs %s", p.Name, p.wanted()))
				continue
			case !p.HasDefault:
				out.Named[p.Name] = nil
				continue
			}
			out.Named[p.Name] = p.defaultV
			write(&b, p.Name, p.DefaultTexts)
			continue
		}
		bound, canonical, err := p.decode(texts)
		if err != nil {
			problems = append(problems, fmt.Sprintf("parameter %s %s", p.Name, err))
			continue
		}
		out.Named[p.Name] = bound
		write(&b, p.Name, canonical)
	}
	if len(problems) > 0 {
		return Values{}, fault.New(fault.Usage, e.hint(), "%s", strings.Join(problems, "; "))
	}
	out.Canonical = b.String()
	return out, nil
}

// write adds a parameter to the one text of a request. Lengths come first, so that no value can look like two.
func write(b *strings.Builder, name string, texts []string) {
	b.WriteString(name)
	for _, t := range texts {
		b.WriteByte(' ')
		b.WriteString(strconv.Itoa(len(t)))
		b.WriteByte(':')
		b.WriteString(t)
	}
	b.WriteByte('\n')
}

func (p *Param) wanted() string {
	want := wants[p.Type]
	if p.Type == "enum" {
		want = "one of " + strings.Join(p.Enum, ", ")
	}
	if p.List {
		want += ", as often as there are values"
	}
	return want
}

func (e *Endpoint) hint() string {
	if len(e.Params) == 0 {
		return "the endpoint takes no parameters"
	}
	return "the endpoint takes " + strings.Join(sortedNames(e.byName), ", ")
}

// shorten keeps a long or hostile value from filling an error.
func shorten(text string) string {
	const most = 60
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most]) + "…"
}
