package endpoint

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
)

// Endpoint is one published statement. Nothing in it is changed after Parse.
type Endpoint struct {
	Name        string // as in the URL: folders and name, with / between
	File        string
	Summary     string
	Description string
	Params      []*Param
	Cache       time.Duration // 0: no answer is kept
	Roles       []string      // nil: whoever may read what it reads
	Limit       int64         // rows; 0: only the role's limit
	Rate        config.Rate
	SQL         string
	Revision    string // of the file: another text has another one

	byName map[string]*Param
}

// header is the block of comments as it is written.
type header struct {
	Name        string        `yaml:"name"`
	Summary     string        `yaml:"summary"`
	Description string        `yaml:"description"`
	Parameters  []param       `yaml:"parameters"`
	Cache       time.Duration `yaml:"cache"`
	Roles       []string      `yaml:"roles"`
	Limit       int64         `yaml:"limit" min:"1"`
	Rate        config.Rate   `yaml:"rate"`
}

type param struct {
	Name        string       `yaml:"name"`
	Type        string       `yaml:"type"`
	Description string       `yaml:"description"`
	Default     config.Value `yaml:"default"`
	Required    bool         `yaml:"required"`
	Enum        []string     `yaml:"enum"`
	Min         config.Value `yaml:"min"`
	Max         config.Value `yaml:"max"`
	MinLength   *int64       `yaml:"min_length" min:"0"`
	MaxLength   *int64       `yaml:"max_length" min:"0"`
	Pattern     string       `yaml:"pattern"`
	Example     config.Value `yaml:"example"`
}

const (
	cacheMax   = 24 * time.Hour
	paramsMax  = 100
	paramBytes = 63
)

var (
	namePattern  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_-]{0,99}){0,7}$`)
	paramPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// reserved is what the door answers itself.
const reserved = "openapi"

// Parse reads an endpoint's file. name is what the file's place calls it, file what messages call the file. rate is for a header that
// names none. The error has code fault.Config and holds config.Problems: every mistake, with file, line and key.
func Parse(name, file string, data []byte, rate config.Rate) (*Endpoint, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	comments, lines := cutHeader(data)
	h := header{Rate: rate}
	c := &checker{file: file, place: func(string) (line, col int) { return 1, 1 }}
	if len(comments) > 0 {
		var err error
		if c.place, err = config.Strict(file, comments, &h); err != nil {
			return nil, err
		}
	}
	e := &Endpoint{Name: name, File: file, Summary: h.Summary, Description: h.Description, Cache: h.Cache, Roles: h.Roles, Limit: h.Limit, Rate: h.Rate,
		byName: map[string]*Param{}, Revision: revision(name, data)}
	if h.Name != "" {
		e.Name = h.Name
	}
	if first, _, _ := strings.Cut(e.Name, "/"); !namePattern.MatchString(e.Name) || first == reserved {
		c.fail("name", "%q cannot be an endpoint's name: up to 8 parts with / between, of letters, digits, _ and -, and not %s", e.Name, reserved)
	}
	if h.Cache > cacheMax {
		c.fail("cache", "%s is too long: %s at most", h.Cache, cacheMax)
	}
	for i, r := range h.Roles {
		if r == "" {
			c.fail(fmt.Sprintf("roles[%d]", i), "needs a role's name")
		}
	}
	if h.Roles != nil && len(h.Roles) == 0 {
		c.fail("roles", "is an empty list: nobody but administrators could call it; name the roles, or leave the key away")
	}
	if len(h.Parameters) > paramsMax {
		c.fail("parameters", "are %d: %d at most", len(h.Parameters), paramsMax)
	}
	taken, declared := map[string]bool{}, map[string]bool{}
	for i := range h.Parameters {
		declared[h.Parameters[i].Name] = true
		p := c.param(fmt.Sprintf("parameters[%d]", i), &h.Parameters[i])
		if p == nil {
			continue
		}
		if taken[strings.ToLower(p.Name)] {
			c.fail(fmt.Sprintf("parameters[%d].name", i), "%s is named twice", p.Name)
			continue
		}
		taken[strings.ToLower(p.Name)] = true
		e.byName[p.Name] = p
		e.Params = append(e.Params, p)
	}
	e.SQL = c.statement(string(data), lines, declared)
	if len(c.problems) > 0 {
		return nil, fault.New(fault.Config, "docs/endpoints.md describes every key", "%w", c.problems)
	}
	return e, nil
}

// cutHeader takes the comments at the top of the file: lines of --, or one of /* */. What stands around them becomes blanks, so that every
// key stays in its line and column. lines is how many lines the header has.
func cutHeader(data []byte) (header []byte, lines int) {
	rest := data
	skipped := 0
	for {
		line, after, more := bytes.Cut(rest, []byte("\n"))
		if len(bytes.TrimSpace(line)) > 0 || !more {
			break
		}
		rest, skipped = after, skipped+1
	}
	out := bytes.Repeat([]byte("\n"), skipped)
	if block := bytes.TrimLeft(rest, " \t"); bytes.HasPrefix(block, []byte("/*")) {
		body, _, closed := bytes.Cut(block[2:], []byte("*/"))
		if !closed {
			return nil, 0
		}
		out = append(out, bytes.Repeat([]byte(" "), len(rest)-len(block)+2)...)
		out = append(out, body...)
		return out, bytes.Count(out, []byte("\n")) + 1
	}
	lines = skipped
	for len(rest) > 0 {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		body := bytes.TrimLeft(line, " \t")
		if !bytes.HasPrefix(body, []byte("--")) {
			break
		}
		out = append(out, bytes.Repeat([]byte(" "), len(line)-len(body)+2)...)
		out = append(append(out, body[2:]...), '\n')
		rest, lines = after, lines+1
	}
	if lines == skipped {
		return nil, 0
	}
	return out, lines
}

// checker gathers the mistakes of one file.
type checker struct {
	file     string
	place    func(key string) (line, col int)
	problems config.Problems
}

func (c *checker) fail(key, format string, args ...any) {
	line, col := c.place(key)
	c.failAt(line, col, key, format, args...)
}

func (c *checker) failAt(line, col int, key, format string, args ...any) {
	c.problems = append(c.problems, config.Problem{File: c.file, Line: line, Col: col, Key: key, Text: fmt.Sprintf(format, args...)})
}

// statement is the SQL below the header; it has to be one statement that takes exactly the parameters of the header.
func (c *checker) statement(text string, headerLines int, params map[string]bool) string {
	s := scan(text)
	if s.start < 0 {
		c.failAt(max(headerLines, 1), 1, "", "the file holds no statement below its header")
		return ""
	}
	at := func(offset int) (line, col int) {
		before := text[:offset]
		return strings.Count(before, "\n") + 1, len(before) - strings.LastIndexByte(before, '\n')
	}
	if s.second >= 0 {
		line, col := at(s.second)
		c.failAt(line, col, "", "a second statement begins here: one is allowed")
	}
	if s.positional >= 0 {
		line, col := at(s.positional)
		c.failAt(line, col, "", "a parameter is written as $name here, and is described in the header")
	}
	used := map[string]bool{}
	for _, u := range s.params {
		used[strings.ToLower(u.name)] = true
		if !params[u.name] {
			line, col := at(u.at)
			c.failAt(line, col, "", "$%s is not among the header's parameters%s", u.name, known(params))
		}
	}
	for _, name := range sortedNames(params) {
		if !used[strings.ToLower(name)] {
			c.fail("parameters", "%s is not used: the statement has no $%s", name, name)
		}
	}
	return text[s.start:s.end]
}

func known(params map[string]bool) string {
	if len(params) == 0 {
		return ", which names none"
	}
	return ": " + strings.Join(sortedNames(params), ", ")
}

// Problems are the mistakes in an error of Parse.
func Problems(err error) config.Problems {
	var ps config.Problems
	errors.As(err, &ps)
	return ps
}
