package endpoint

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
)

func parseText(t *testing.T, text string) *Endpoint {
	t.Helper()
	e, err := Parse("x", "x.sql", []byte(text), "")
	require.NoError(t, err)
	return e
}

const whole = `-- name: reports/top_errors
-- summary: The commonest errors
-- description: |
--   Of one partner,
--   newest first.
-- parameters:
--   - {name: partner, type: integer, description: who, required: true, min: 1, max: 100, example: 7}
--   - name: days
--     type: integer
--     default: 7
--   - {name: status, enum: [failed, rejected], default: failed}
--   - {name: words, type: list of text, max_length: 10, pattern: "[a-z]+", default: [a, b]}
--   - {name: since, type: timestamp, min: 2020-01-01}
-- cache: 30
-- roles: [reader, other]
-- limit: 100
-- rate: 30/m

-- This one is SQL's own.
SELECT error, count(*) FROM errors -- $nothing
WHERE partner_id = $partner AND at > now() - to_days($days) AND status = $status AND '$no' <> "$no" AND list_contains($words, error) AND at > $since;
`

func TestHeader(t *testing.T) {
	e := parseText(t, whole)
	require.Equal(t, "reports/top_errors", e.Name)
	require.Equal(t, "The commonest errors", e.Summary)
	require.Equal(t, "Of one partner,\nnewest first.\n", e.Description)
	require.Equal(t, 30*time.Second, e.Cache)
	require.Equal(t, []string{"reader", "other"}, e.Roles)
	require.Equal(t, int64(100), e.Limit)
	require.Equal(t, config.Rate("30/m"), e.Rate)
	require.True(t, strings.HasPrefix(e.SQL, "SELECT error"), e.SQL)
	require.True(t, strings.HasSuffix(e.SQL, "at > $since"), e.SQL)
	require.Len(t, e.Params, 5)
	require.Equal(t, []string{"a", "b"}, e.Params[3].DefaultTexts)
	v, err := e.Decode(url.Values{"partner": {"+07"}, "words": {"x", "yy"}, "since": {"2026-02-13T10:15:00+02:00"}})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"partner": int64(7), "days": int64(7), "status": "failed", "words": []any{"x", "yy"}, "since": "2026-02-13 08:15:00+00"}, v.Named)
	same, err := e.Decode(url.Values{"partner": {"7"}, "days": {"7"}, "words": {"x", "yy"}, "since": {"2026-02-13T08:15:00Z"}, "status": {"failed"}})
	require.NoError(t, err)
	require.Equal(t, v.Canonical, same.Canonical)
	require.NotEqual(t, e.Revision, parseText(t, whole+" ").Revision)

	for _, bare := range []string{"SELECT 1", "\n\n SELECT 1 ;\n-- end", "/* name: y */ SELECT 1", "/*\nname: y\n*/\nSELECT 1", "-- name: y\r\nSELECT 1\r\n", "\xef\xbb\xbf-- name: y\nSELECT 1"} {
		e := parseText(t, bare)
		require.Equal(t, "SELECT 1", e.SQL, bare)
		require.Equal(t, strings.Contains(bare, "y"), e.Name == "y", bare)
		v, err := e.Decode(nil)
		require.NoError(t, err)
		require.Empty(t, v.Named)
	}
}

// Every mistake is told with file, line, column and key.
func TestBadFiles(t *testing.T) {
	for text, want := range map[string]string{
		"":                                          "x.sql:1:1: the file holds no statement below its header",
		"-- name: y\n":                              "x.sql:1:1: the file holds no statement below its header",
		"/* name: y":                                "x.sql:1:1: the file holds no statement below its header",
		"-- nam: y\nSELECT 1":                       `x.sql:1:4: nam: unknown key (did you mean "name"?)`,
		"-- Top errors.\nSELECT 1":                  `x.sql:1:4: needs a mapping, not the text "Top errors."`,
		"\n\n-- cache: soon\nSELECT 1":              `x.sql:3:11: cache: needs a duration such as 30s, 2m or a number of seconds, not the text "soon"`,
		"-- cache: 48h\nSELECT 1":                   "x.sql:1:4: cache: 48h0m0s is too long: 24h0m0s at most",
		"-- limit: 0\nSELECT 1":                     "x.sql:1:11: limit: 0 is too small: 1 at least",
		"-- rate: often\nSELECT 1":                  `x.sql:1:10: rate: needs a rate such as 100/s, 30/m or off, not the text "often"`,
		"-- name: ../up\nSELECT 1":                  `x.sql:1:4: name: "../up" cannot be an endpoint's name: up to 8 parts with / between, of letters, digits, _ and -, and not openapi`,
		"-- name: openapi\nSELECT 1":                `x.sql:1:4: name: "openapi" cannot be an endpoint's name: up to 8 parts with / between, of letters, digits, _ and -, and not openapi`,
		"-- roles: []\nSELECT 1":                    "x.sql:1:4: roles: is an empty list: nobody but administrators could call it; name the roles, or leave the key away",
		"-- name: y\nSELECT 1; SELECT 2":            "x.sql:2:11: a second statement begins here: one is allowed",
		"SELECT $1":                                 "x.sql:1:8: a parameter is written as $name here, and is described in the header",
		"SELECT ?":                                  "x.sql:1:8: a parameter is written as $name here, and is described in the header",
		"SELECT 1,\n  $a":                           "x.sql:2:3: $a is not among the header's parameters, which names none",
		"-- parameters: [{name: a}]\nSELECT $a, $b": "x.sql:2:12: $b is not among the header's parameters: a",
		"-- parameters: [{name: a}]\nSELECT 1":      "x.sql:1:4: parameters: a is not used: the statement has no $a",
		"-- parameters: [{name: a}, {name: A}]\nSELECT $a":                         "x.sql:1:29: parameters[1].name: A is named twice",
		"-- parameters: {a: {type: text}}\nSELECT $a":                              "x.sql:1:16: parameters: needs a list of mappings, not a mapping",
		"-- parameters:\n--  - {name: a, type: intger}\nSELECT $a":                 `x.sql:2:17: parameters[0].type: needs one of text, integer, number, boolean, date, timestamp, uuid, enum, or list of one of them, not "intger" (did you mean "integer"?)`,
		"-- parameters: [{name: 1a}]\nSELECT 1":                                    `x.sql:1:18: parameters[0].name: "1a" cannot be a parameter's name: a letter or _, then letters, digits and _, 63 at most`,
		"-- parameters: [{name: a, type: integer, default: x}]\nSELECT $a":         `x.sql:1:42: parameters[0].default: needs a whole number between -9223372036854775808 and 9223372036854775807, not "x"`,
		"-- parameters: [{name: a, type: integer, max: 3, default: 4}]\nSELECT $a": `x.sql:1:50: parameters[0].default: needs 3 at most, not "4"`,
		"-- parameters: [{name: a, type: integer, max: 3, example: 4}]\nSELECT $a": `x.sql:1:50: parameters[0].example: needs 3 at most, not "4"`,
		"-- parameters: [{name: a, type: integer, min: 3, max: 2}]\nSELECT $a":     "x.sql:1:50: parameters[0].max: 2 is below min: 3",
		"-- parameters: [{name: a, type: boolean, min: 3}]\nSELECT $a":             "x.sql:1:42: parameters[0].min: is for integer, number, date and timestamp, not boolean",
		"-- parameters: [{name: a, type: enum}]\nSELECT $a":                        "x.sql:1:17: parameters[0].enum: is missing: list the values",
		"-- parameters: [{name: a, type: date, enum: [x]}]\nSELECT $a":             "x.sql:1:39: parameters[0].enum: is for type: enum, not date",
		"-- parameters: [{name: a, enum: [x, x]}]\nSELECT $a":                      `x.sql:1:37: parameters[0].enum[1]: "x" is listed twice`,
		"-- parameters: [{name: a, pattern: \"(\"}]\nSELECT $a":                    "x.sql:1:27: parameters[0].pattern: is no regular expression: error parsing regexp: missing closing ): `^(?:()$`",
		"-- parameters: [{name: a, type: uuid, pattern: x}]\nSELECT $a":            "x.sql:1:39: parameters[0].pattern: is for type: text, not uuid",
		"-- parameters: [{name: a, min_length: 3, max_length: 2}]\nSELECT $a":      "x.sql:1:42: parameters[0].max_length: 2 is below min_length: 3",
		"-- parameters: [{name: a, default: x, required: true}]\nSELECT $a":        "x.sql:1:27: parameters[0].default: has no use: the parameter is required",
		"-- parameters: [{name: a, default: [x]}]\nSELECT $a":                      "x.sql:1:27: parameters[0].default: is a list, but the type is not: list of text",
		"-- a: [\nSELECT 1":            "x.sql:1:7: not valid YAML",
		"-- name: y\n--\x01\nSELECT 1": "x.sql:2:3: byte 0x01 is not allowed: the file must be UTF-8 text",
	} {
		_, err := Parse("x", "x.sql", []byte(text), "")
		require.Equal(t, fault.Config, fault.CodeOf(err), text)
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n%s\nwant\n%s", text, err, want)
		}
	}
	_, err := Parse("x", "x.sql", []byte("-- cahce: 3\n-- parameters: [{nam: a}]\nSELECT 1"), "")
	require.Len(t, Problems(err), 2, "all mistakes at once: %v", err)
}

func TestDecode(t *testing.T) {
	e := parseText(t, `-- parameters:
-- - {name: i, type: integer, min: -5, max: 10}
-- - {name: n, type: number, min: 0.5}
-- - {name: b, type: boolean}
-- - {name: d, type: date, min: 2026-01-01, max: 2026-12-31}
-- - {name: t, type: timestamp}
-- - {name: u, type: uuid}
-- - {name: e, enum: [red, green]}
-- - {name: s, type: text, min_length: 2, max_length: 3}
-- - {name: l, type: list of integer}
SELECT $i, $n, $b, $d, $t, $u, $e, $s, $l`)
	for query, want := range map[string]any{
		"i=-5": int64(-5), "i=%2B3": int64(3), "n=1e2": json.Number("100"), "n=00.50": json.Number("0.5"), "n=12345678901234567890.123456789": json.Number("12345678901234567890.123456789"),
		"b=true": true, "d=2026-02-28": "2026-02-28", "t=2026-02-28T10:00": "2026-02-28 10:00:00+00", "t=2026-02-28": "2026-02-28 00:00:00+00",
		"t=2026-02-28T10:00:00.1234567-05:30": "2026-02-28 15:30:00.123456+00", "u=019A9F3E-0D5C-7C51-9F0E-2F7B9D1B6C3A": "019a9f3e-0d5c-7c51-9f0e-2f7b9d1b6c3a",
		"e=red": "red", "s=%C3%A9%C3%A9%C3%A9": "ééé", "l=1": []any{int64(1)}, "l=1&l=2": []any{int64(1), int64(2)},
	} {
		q, err := url.ParseQuery(query)
		require.NoError(t, err)
		v, err := e.Decode(q)
		require.NoError(t, err, query)
		name, _, _ := strings.Cut(query, "=")
		require.Equal(t, want, v.Named[name], query)
		require.Len(t, v.Named, len(e.Params), "what is absent is NULL")
	}
	for query, want := range map[string]string{
		"x=1":     `parameter "x" is not one of this endpoint's`,
		"I=1":     `parameter "I" is not one of this endpoint's (did you mean "i"?)`,
		"i=11":    `parameter i needs 10 at most, not "11"`,
		"i=-6":    `parameter i needs -5 at least, not "-6"`,
		"i=":      "parameter i needs a whole number between -9223372036854775808 and 9223372036854775807; it is empty",
		"i=1&i=2": "parameter i is given 2 times, needs one value",
		"i=0x1":   `not "0x1"`, "i=1_0": "needs a whole number", "i=9223372036854775808": "needs a whole number", "i=1.0": "needs a whole number",
		"n=NaN": "parameter n needs a number such as 12.5, not \"NaN\"", "n=1e999": "needs a number", "n=0x1p3": "needs a number", "n=0.4": "needs 0.5 at least",
		"b=1": "parameter b needs true or false", "b=TRUE": "needs true or false",
		"d=2026-02-30": "parameter d needs a date such as 2026-02-13, not \"2026-02-30\"", "d=2025-12-31": "needs 2026-01-01 at least",
		"t=tomorrow": "parameter t needs a time such as 2026-02-13T10:15:00Z", "t=0000-01-01T00:00:00Z": "needs a time",
		"u=1234": "parameter u needs a UUID", "u={019a9f3e-0d5c-7c51-9f0e-2f7b9d1b6c3a}": "needs a UUID",
		"e=blue": `parameter e needs one of red, green, not "blue"`,
		"s=a":    "parameter s needs 2 characters at least", "s=abcd": "parameter s needs 3 characters at most", "s=a%00b": "needs UTF-8 text without NUL", "s=%ff%ff": "needs UTF-8 text without NUL",
		"l=1&l=x":                       `parameter l needs a whole number`,
		"i=x&n=y":                       `parameter i needs a whole number between -9223372036854775808 and 9223372036854775807, not "x"; parameter n needs a number such as 12.5, not "y"`,
		"s=" + strings.Repeat("y", 500): "…",
	} {
		q, err := url.ParseQuery(query)
		require.NoError(t, err)
		_, err = e.Decode(q)
		require.Equal(t, fault.Usage, fault.CodeOf(err), query)
		require.ErrorContains(t, err, want, query)
		require.Less(t, len(err.Error()), 300)
	}
	_, err := e.Decode(url.Values{"l": make([]string, listMax+1)})
	require.ErrorContains(t, err, "the most is 1000")
	_, err = parseText(t, "-- parameters: [{name: p, type: date, required: true}]\nSELECT $p").Decode(nil)
	require.ErrorContains(t, err, "parameter p is missing: it needs a date such as 2026-02-13")
}

// Values that look alike when written one after the other have texts of their own.
func TestCanonicalTextsDiffer(t *testing.T) {
	e := parseText(t, "-- parameters: [{name: a, type: list of text}, {name: b}]\nSELECT $a, $b")
	seen := map[string]url.Values{}
	for _, q := range []url.Values{{}, {"a": {""}}, {"b": {""}}, {"a": {"x", "y"}}, {"a": {"x 1:y"}}, {"a": {"x\nb 1:y"}}, {"a": {"x"}, "b": {"y"}}, {"a": {"xy"}}} {
		v, err := e.Decode(q)
		require.NoError(t, err)
		require.Nil(t, seen[v.Canonical], "%v and %v", q, seen[v.Canonical])
		seen[v.Canonical] = q
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("/* name: y */ SELECT $a$ $a$, $b"))
	f.Add([]byte("-- parameters: [{name: a, type: list of number, min: 1, default: [1, 2]}]\nSELECT unnest($a)"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Parse("x", "x.sql", data, "")
		if err != nil {
			for _, p := range Problems(err) {
				if p.File != "x.sql" || p.Line < 1 || p.Text == "" {
					t.Fatalf("a problem without a place: %+v", p)
				}
			}
			if len(Problems(err)) == 0 {
				t.Fatalf("an error without problems: %v", err)
			}
			return
		}
		if e.SQL == "" || !namePattern.MatchString(e.Name) {
			t.Fatalf("not to be published: %+v", e)
		}
		var doc any
		if err := json.Unmarshal(Document([]*Endpoint{e}), &doc); err != nil {
			t.Fatal(err)
		}
		// What is absent is decided by the header alone.
		if v, err := e.Decode(nil); err == nil && len(v.Named) != len(e.Params) {
			t.Fatalf("%v for %d parameters", v.Named, len(e.Params))
		}
	})
}

// What is taken is taken again in its canonical form, with the same meaning.
func FuzzDecode(f *testing.F) {
	e, err := Parse("x", "x.sql", []byte(`-- parameters:
-- - {name: i, type: integer}
-- - {name: n, type: list of number}
-- - {name: b, type: boolean}
-- - {name: d, type: date}
-- - {name: t, type: timestamp}
-- - {name: u, type: uuid}
-- - {name: e, enum: [red, green]}
-- - {name: s, type: list of text, max_length: 100}
SELECT $i, $n, $b, $d, $t, $u, $e, $s`), "")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"i=5&n=1e3&n=.5&b=true", "d=2026-02-28&t=2026-02-28T10:00:00Z", "u=019a9f3e-0d5c-7c51-9f0e-2f7b9d1b6c3a&e=red&s=x&s=%27%3B--", "n=1e-300&n=123456789012345678901234567890"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		v, err := e.Decode(q)
		if err != nil {
			if fault.CodeOf(err) != fault.Usage {
				t.Fatal(err)
			}
			return
		}
		again := url.Values{}
		for _, p := range e.Params {
			if texts, ok := q[p.Name]; ok {
				if _, again[p.Name], err = p.decode(texts); err != nil {
					t.Fatal(err)
				}
			}
		}
		w, err := e.Decode(again)
		if err != nil {
			t.Fatalf("%q → %v: %v", query, again, err)
		}
		if w.Canonical != v.Canonical {
			t.Fatalf("%q: %q, again %q", query, v.Canonical, w.Canonical)
		}
	})
}
