package harness

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// textOf is the DuckDB expression that gives a column of this type as text: its own cast to VARCHAR, but for blobs, whose
// text is ambiguous; for far away times with a zone, of which the text has wrong milliseconds; for offsets of a zone, whose
// minutes the text leaves out when they are 0; and for lists, which become a JSON list of their elements' texts.
func textOf(expr, typ string) string {
	if elem, ok := strings.CutSuffix(typ, "[]"); ok {
		return "CAST(to_json(list_transform(" + expr + ", lambda x: " + textOf("x", elem) + ")) AS VARCHAR)"
	}
	switch typ {
	case "BLOB":
		return `'\x' || lower(hex(` + expr + "))"
	case "TIMESTAMP WITH TIME ZONE":
		return "CASE WHEN isfinite(" + expr + ") THEN CAST(make_timestamp(epoch_us(" + expr + ")) AS VARCHAR) ELSE CAST(" + expr + " AS VARCHAR) END"
	case "TIME WITH TIME ZONE":
		return "CAST(CAST(" + expr + " AS TIME) AS VARCHAR) || ' ' || CAST(extract('timezone' FROM " + expr + ") AS VARCHAR)"
	}
	return "CAST(" + expr + " AS VARCHAR)"
}

// fromDuck brings a text made by textOf into PostgreSQL's form.
func fromDuck(typ string, v any) (cell, error) {
	if v == nil {
		return cell{null: true}, nil
	}
	text, ok := v.(string)
	if !ok {
		return cell{}, fmt.Errorf("%T is no text", v)
	}
	if elem, ok := strings.CutSuffix(typ, "[]"); ok {
		var elems []*string
		if err := json.Unmarshal([]byte(text), &elems); err != nil {
			return cell{}, fmt.Errorf("%q: %w", text, err)
		}
		parts := make([]string, len(elems))
		for i, e := range elems {
			if e == nil {
				parts[i] = "NULL"
				continue
			}
			c, err := fromDuck(elem, *e)
			if err != nil {
				return cell{}, err
			}
			parts[i] = quoteElement(canonical(elem, c).text)
		}
		return cell{text: "{" + strings.Join(parts, ",") + "}"}, nil
	}
	switch typ {
	case "BOOLEAN":
		text = map[string]string{"true": "t", "false": "f"}[text]
	case "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE":
		before, after, bc := strings.Cut(text, " (BC)")
		if text = before + after; typ == "TIMESTAMP WITH TIME ZONE" && !strings.HasSuffix(text, "infinity") {
			text += "+00"
		}
		if bc {
			text += " BC"
		}
	case "TIME WITH TIME ZONE":
		clock, seconds, _ := strings.Cut(text, " ")
		east, err := strconv.Atoi(seconds)
		if err != nil {
			return cell{}, fmt.Errorf("offset %q: %w", seconds, err)
		}
		text = clock + zone(east)
	case "INTERVAL":
		i, err := parseInterval(text)
		if err != nil {
			return cell{}, err
		}
		text = i.String()
	}
	if strings.HasPrefix(typ, "DECIMAL") {
		// DuckDB leaves a 0 before the point away where the type has no digit there.
		if digits, negative := strings.CutPrefix(text, "-"); strings.HasPrefix(digits, ".") {
			text = "0" + digits
			if negative {
				text = "-" + text
			}
		}
	}
	return cell{text: text}, nil
}

// zone is an offset as timetz_out writes it.
func zone(east int) string {
	sign := "+"
	if east < 0 {
		sign, east = "-", -east
	}
	text := fmt.Sprintf("%s%02d", sign, east/3600)
	if east%3600 != 0 {
		text += fmt.Sprintf(":%02d", east/60%60)
	}
	if east%60 != 0 {
		text += fmt.Sprintf(":%02d", east%60)
	}
	return text
}

// canonical brings a PostgreSQL text of a value that DuckDB holds as typ into the one form in which equal values are equal
// texts. Only floating point numbers, and lists of them, have several texts: they become their bits.
func canonical(typ string, c cell) cell {
	if c.null {
		return c
	}
	switch typ {
	case "DOUBLE":
		if f, err := strconv.ParseFloat(c.text, 64); err == nil {
			c.text = fmt.Sprintf("%s (%016x)", strconv.FormatFloat(f, 'g', -1, 64), bits(f))
		}
	case "FLOAT":
		if f, err := strconv.ParseFloat(c.text, 32); err == nil {
			c.text = fmt.Sprintf("%s (%08x)", strconv.FormatFloat(f, 'g', -1, 32), math.Float32bits(float32(f)))
			if math.IsNaN(f) {
				c.text = "NaN"
			}
		}
	case "DOUBLE[]", "FLOAT[]":
		elems, ok := parseArray(c.text)
		if !ok {
			return c
		}
		for i, e := range elems {
			if e != nil {
				elems[i] = ptr(quoteElement(canonical(strings.TrimSuffix(typ, "[]"), cell{text: *e}).text))
			} else {
				elems[i] = ptr("NULL")
			}
		}
		texts := make([]string, len(elems))
		for i, e := range elems {
			texts[i] = *e
		}
		c.text = "{" + strings.Join(texts, ",") + "}"
	}
	return c
}

func ptr[T any](v T) *T { return &v }

func bits(f float64) uint64 {
	if math.IsNaN(f) {
		return math.Float64bits(math.NaN()) // which NaN it is has no meaning
	}
	return math.Float64bits(f)
}

// quoteElement is how array_out writes an element.
func quoteElement(s string) string {
	if s != "" && !strings.EqualFold(s, "null") && !strings.ContainsAny(s, "{}\",\\ \t\n\r\v\f") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// parseArray reads a one-dimensional array as array_out writes it; nil is NULL.
func parseArray(s string) (elems []*string, ok bool) {
	if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' {
		return nil, false
	}
	s = s[1 : len(s)-1]
	for len(s) > 0 {
		var b strings.Builder
		quoted := s[0] == '"'
		i := 0
		if quoted {
			for i = 1; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
				b.WriteByte(s[i])
			}
			i++
		} else {
			for ; i < len(s) && s[i] != ','; i++ {
				if s[i] == '{' {
					return nil, false
				}
				b.WriteByte(s[i])
			}
		}
		if text := b.String(); quoted || text != "NULL" {
			elems = append(elems, &text)
		} else {
			elems = append(elems, nil)
		}
		if i < len(s) {
			i++ // the comma
		}
		s = s[i:]
	}
	return elems, true
}

// interval has the three parts that PostgreSQL and DuckDB keep apart.
type interval struct {
	months, days int64
	micros       int64
}

var (
	intervalPart  = regexp.MustCompile(`(-?\d+) (year|month|day)s?`)
	intervalClock = regexp.MustCompile(`(-?)(\d+):(\d\d):(\d\d)(?:\.(\d+))?$`)
)

// parseInterval reads DuckDB's text.
func parseInterval(s string) (interval, error) {
	var i interval
	left := s
	for _, m := range intervalPart.FindAllStringSubmatch(s, -1) {
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return i, fmt.Errorf("interval %q: %w", s, err)
		}
		switch m[2] {
		case "year":
			i.months += 12 * n
		case "month":
			i.months += n
		case "day":
			i.days += n
		}
		left = strings.Replace(left, m[0], "", 1)
	}
	if m := intervalClock.FindStringSubmatch(s); m != nil {
		n := func(t string) int64 {
			v, _ := strconv.ParseInt(t, 10, 64) // digits only, and fewer than 19
			return v
		}
		i.micros = (n(m[2])*3600+n(m[3])*60+n(m[4]))*1e6 + n((m[5] + "000000")[:6])
		if m[1] == "-" {
			i.micros = -i.micros
		}
		left = strings.Replace(left, m[0], "", 1)
	}
	if strings.TrimSpace(left) != "" {
		return i, fmt.Errorf("interval %q is not understood", s)
	}
	return i, nil
}

// String is interval_out in IntervalStyle postgres.
func (i interval) String() string {
	var parts []string
	negative := false
	add := func(n int64, unit string) {
		if n == 0 {
			return
		}
		text := fmt.Sprintf("%d %s", n, unit)
		if n != 1 {
			text += "s"
		}
		if negative && n > 0 {
			text = "+" + text
		}
		negative = n < 0
		parts = append(parts, text)
	}
	add(i.months/12, "year")
	add(i.months%12, "mon")
	add(i.days, "day")
	if i.micros != 0 || len(parts) == 0 {
		us, sign := uint64(i.micros), ""
		switch {
		case i.micros < 0:
			us, sign = -us, "-"
		case negative:
			sign = "+"
		}
		text := fmt.Sprintf("%s%02d:%02d:%02d", sign, us/3600000000, us/60000000%60, us/1000000%60)
		if frac := us % 1000000; frac != 0 {
			text += strings.TrimRight(fmt.Sprintf(".%06d", frac), "0")
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}
