package pgsql

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// datePattern is one of to_char's patterns for times and what strftime has for it.
type datePattern struct{ name, form string }

// Longer ones come first. Those in lower case that have no form of their own are tried in upper case.
var datePatterns = []datePattern{
	{"HH24", "%H"}, {"HH12", "%I"}, {"HH", "%I"}, {"MI", "%M"}, {"SS", "%S"}, {"MS", "%g"}, {"US", "%f"}, {"AM", "%p"}, {"PM", "%p"},
	{"YYYY", "%Y"}, {"YY", "%y"}, {"IYYY", "%G"}, {"Month", "%B"}, {"Mon", "%b"}, {"MM", "%m"}, {"DDD", "%j"}, {"DD", "%d"}, {"Day", "%A"}, {"Dy", "%a"},
	{"IW", "%V"}, {"ID", "%u"}, {"OF", "%z"}, {"TZ", "%Z"},
}

// Patterns that strftime fills with other blanks or zeroes, or writes in another case.
var datePatternsFM = []datePattern{{"FMHH24", "%-H"}, {"FMHH12", "%-I"}, {"FMHH", "%-I"}, {"FMMI", "%-M"}, {"FMSS", "%-S"}, {"FMMonth", "%B"}, {"FMDay", "%A"}, {"FMMM", "%-m"}, {"FMDDD", "%-j"}, {"FMDD", "%-d"}, {"FMYYYY", "%Y"}}

// strftime translates a format; whole is false when it holds what strftime has no word for.
func strftime(format string) (out string, whole bool) {
	var b strings.Builder
	for i := 0; i < len(format); {
		rest := format[i:]
		if rest[0] == '"' {
			end := strings.IndexByte(rest[1:], '"')
			if end < 0 {
				return "", false
			}
			b.WriteString(strings.ReplaceAll(rest[1:1+end], "%", "%%"))
			i += end + 2
			continue
		}
		if p, ok := matchPattern(rest, datePatternsFM); ok {
			b.WriteString(p.form)
			i += len(p.name)
			continue
		}
		if p, ok := matchPattern(rest, datePatterns); ok {
			word := rest[:len(p.name)]
			switch {
			case p.name == "Day" || p.name == "Month":
				return "", false // padded with blanks
			case p.form == "%p" || p.form == "%b" || p.form == "%a":
				if word != p.name {
					return "", false
				}
			}
			b.WriteString(p.form)
			i += len(p.name)
			continue
		}
		c := rest[0]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return "", false
		}
		if c == '%' {
			b.WriteByte('%')
		}
		b.WriteByte(c)
		i++
	}
	return b.String(), true
}

func matchPattern(s string, list []datePattern) (datePattern, bool) {
	for _, p := range list {
		if len(s) >= len(p.name) && strings.EqualFold(s[:len(p.name)], p.name) {
			return p, true
		}
	}
	return datePattern{}, false
}

// toChar of a time with the usual patterns, and of a number with 9, 0, comma, point and FM.
func toChar(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) != 2 {
		return nil, ""
	}
	format, ok := literal(f.Args[1])
	if !ok {
		r.fail("to_char() takes a constant format here", "")
		return f.Args[0], "text"
	}
	value := f.Args[0]
	if numberRank[types[0]] > 0 || types[0] != "timestamp" && types[0] != "timestamptz" && types[0] != "date" && numberFormat(format) {
		return r.numberText(value, format)
	}
	if types[0] == "interval" {
		r.fail("to_char() of an interval is not known here", "extract() its parts")
		return value, "text"
	}
	out, whole := strftime(format)
	if !whole {
		var parts []*pg.Node
		if parts, whole = r.dateParts(value, format); whole {
			return function("concat", parts...), "text"
		}
		r.fail("to_char() does not know all of the format '"+format+"' here", "it knows YYYY YY MM Mon Month DD Dy Day HH24 HH12 MI SS MS US AM TZ OF Q IW ID DDD and FM")
		return value, "text"
	}
	return function("strftime", value, constant(out)), "text"
}

// dateParts puts the format together from pieces, some of which take a function of their own.
func (r *rewriter) dateParts(value *pg.Node, format string) ([]*pg.Node, bool) {
	var parts []*pg.Node
	plain := ""
	flush := func() bool {
		if plain == "" {
			return true
		}
		out, ok := strftime(plain)
		parts, plain = append(parts, function("strftime", value, constant(out))), ""
		return ok
	}
	own := func(n *pg.Node) bool {
		ok := flush()
		parts = append(parts, n)
		return ok
	}
	formatted := func(form string) *pg.Node { return function("strftime", value, constant(form)) }
	padded := func(n *pg.Node) *pg.Node { return function("rpad", n, integer(9), constant(" ")) }
	for i := 0; i < len(format); {
		rest := format[i:]
		ok, n := true, 0
		cut := func(words ...string) bool {
			for _, w := range words {
				if strings.HasPrefix(rest, w) {
					n = len(w)
					return true
				}
			}
			return false
		}
		switch {
		case rest[0] == '"':
			end := strings.IndexByte(rest[1:], '"')
			if end < 0 {
				return nil, false
			}
			plain += rest[:end+2]
			n = end + 2
		case cut("FMMONTH"):
			ok = own(function("upper", formatted("%B")))
		case cut("FMmonth"):
			ok = own(function("lower", formatted("%B")))
		case cut("FMDAY"):
			ok = own(function("upper", formatted("%A")))
		case cut("FMday"):
			ok = own(function("lower", formatted("%A")))
		case cut("FM"):
			p, known := matchPattern(rest, datePatternsFM)
			if !known {
				return nil, false
			}
			plain, n = plain+rest[:len(p.name)], len(p.name)
		case cut("MONTH"):
			ok = own(padded(function("upper", formatted("%B"))))
		case cut("Month"):
			ok = own(padded(formatted("%B")))
		case cut("month"):
			ok = own(padded(function("lower", formatted("%B"))))
		case cut("DAY"):
			ok = own(padded(function("upper", formatted("%A"))))
		case cut("Day"):
			ok = own(padded(formatted("%A")))
		case cut("day"):
			ok = own(padded(function("lower", formatted("%A"))))
		case cut("MON"):
			ok = own(function("upper", formatted("%b")))
		case cut("mon"):
			ok = own(function("lower", formatted("%b")))
		case cut("DY"):
			ok = own(function("upper", formatted("%a")))
		case cut("dy"):
			ok = own(function("lower", formatted("%a")))
		case cut("am", "pm"):
			ok = own(function("lower", formatted("%p")))
		case cut("Q"):
			ok = own(cast(function("date_part", constant("quarter"), value), "text"))
		case cut("D") && !cut("DDD", "DD", "Dy"):
			ok = own(cast(operator("+", function("date_part", constant("dow"), value), integer(1)), "text"))
		default:
			p, known := matchPattern(rest, datePatterns)
			n = len(p.name)
			if !known {
				n = 1
			}
			plain += rest[:n]
		}
		if !ok {
			return nil, false
		}
		i += n
	}
	return parts, flush()
}

func numberFormat(format string) bool {
	return format != "" && strings.Trim(strings.TrimPrefix(format, "FM"), "09.,DGS$ ") == ""
}

// numberText is to_char of a number.
func (r *rewriter) numberText(value *pg.Node, format string) (*pg.Node, string) {
	body, fill := strings.CutPrefix(format, "FM")
	body = strings.NewReplacer("D", ".", "G", ",").Replace(body)
	whole, fraction, _ := strings.Cut(body, ".")
	if strings.Trim(whole, "09,") != "" || strings.Trim(fraction, "09") != "" {
		r.fail("to_char() does not know all of the format '"+format+"' here", "it knows 9 0 , . D G and FM for numbers")
		return value, "text"
	}
	width := len(strings.ReplaceAll(whole, ",", ""))
	zeroes := 0 // digits that are always written
	if i := strings.IndexByte(strings.ReplaceAll(whole, ",", ""), '0'); i >= 0 {
		zeroes = width - i
	}
	optional := 0 // digits behind the point that FM leaves out when they are zero
	if fill {
		optional = len(fraction) - strings.LastIndexByte(fraction, '0') - 1
	}
	return macro("_number_text", value, integer(int64(width)), integer(int64(zeroes)), integer(int64(len(fraction))), integer(int64(optional)),
		boolean(strings.Contains(whole, ",")), boolean(fill), integer(int64(len(body)+1))), "text"
}

// strptime is the way back.
func strptimeFormat(r *rewriter, n *pg.Node) *pg.Node {
	format, ok := literal(n)
	if !ok {
		r.fail("the format must be a constant here", "")
		return n
	}
	out, whole := strftime(format)
	if !whole {
		r.fail("the format '"+format+"' is not known here", "YYYY MM DD HH24 MI SS and Mon are")
	}
	return constant(out)
}

func toDate(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) != 2 {
		return nil, ""
	}
	return cast(function("strptime", f.Args[0], strptimeFormat(r, f.Args[1])), "date"), "date"
}

func toTimestamp(r *rewriter, f *pg.FuncCall, types []string) (*pg.Node, string) {
	if len(f.Args) == 1 {
		f.Funcname = strs("to_timestamp")
		return call(f), "timestamptz"
	}
	return cast(function("strptime", f.Args[0], strptimeFormat(r, f.Args[1])), "timestamptz"), "timestamptz"
}
