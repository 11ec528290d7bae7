package types

import (
	"math"
	"strings"
	"time"

	"github.com/pintaildb/pintail/change"
)

var monthDays = [...]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// daysIn is how many days a month has; year 0 is 1 BC.
func daysIn(year int64, month int) int {
	if month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		return 29
	}
	return monthDays[month-1]
}

// point is a date, with a time or without.
type point struct {
	year       int64
	month, day int
	clock      uint64 // microseconds
	zone       []byte // "" is none
}

// moment reads a date or a timestamp.
func (in *Input) moment(t *Type, v *change.Vector, row int, b []byte) error {
	b = trim(b)
	if len(b) == 0 {
		return ErrSyntax
	}
	var us int64
	switch {
	case equalFold(b, "infinity"), equalFold(b, "+infinity"):
		us = math.MaxInt64
	case equalFold(b, "-infinity"):
		us = -math.MaxInt64
	case equalFold(b, "epoch"):
	default:
		return in.finite(t, v, row, b)
	}
	if t.Kind != Date {
		*change.At[int64](v, row) = us
		return nil
	}
	day := int32(0)
	if us != 0 {
		day = math.MaxInt32
	}
	if us < 0 {
		day = -day
	}
	*change.At[int32](v, row) = day
	return nil
}

// Beyond these years a date has no place in DuckDB, nor in PostgreSQL.
const (
	yearMax = 5874897
	yearMin = -4713
)

func (in *Input) finite(t *Type, v *change.Vector, row int, b []byte) error {
	p, err := parsePoint(b)
	if err != nil {
		return err
	}
	if p.year > yearMax || p.year < yearMin {
		return ErrCalendar
	}
	day := days(p.year, p.month, p.day)
	if t.Kind == Date {
		*change.At[int32](v, row) = int32(day)
		return nil
	}
	const most = math.MaxInt64/86400_000000 - 2 // two days are left for the clock and the offset
	since := day - epochDays
	if since > most || since < -most {
		return ErrCalendar
	}
	us := since*dayMicros + int64(p.clock)
	if t.Kind == TimestampTZ || len(p.zone) > 0 {
		east, err := in.offset(&p)
		if err != nil {
			return err
		}
		if t.Kind == TimestampTZ {
			us -= east * 1e6
		}
	}
	if us, err = micros(us); err != nil {
		return ErrCalendar
	}
	*change.At[int64](v, row) = us
	return nil
}

// offset is how many seconds east of UTC p is.
func (in *Input) offset(p *point) (int64, error) {
	loc := in.zone
	if len(p.zone) > 0 {
		if east, ok := looseZone(p.zone); ok {
			return east, nil
		}
		if p.zone[0] == '+' || p.zone[0] == '-' {
			return 0, ErrOffset
		}
		var err error
		if loc, err = in.location(string(p.zone)); err != nil {
			return 0, err
		}
	}
	if loc == nil || loc == time.UTC {
		return 0, nil
	}
	s := int(p.clock / 1e6)
	_, east := time.Date(int(p.year), time.Month(p.month), p.day, 0, 0, s, 0, loc).Zone()
	return int64(east), nil
}

// location finds a zone by its name.
func (in *Input) location(name string) (*time.Location, error) {
	if loc := in.zones[name]; loc != nil {
		return loc, nil
	}
	if !strings.Contains(name, "/") { // an abbreviation, or a name such as Japan
		switch strings.ToLower(name) {
		case "utc", "gmt", "zulu", "ut", "z", "uct":
			return time.UTC, nil
		case "local":
			return nil, ErrZone
		}
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		if strings.Contains(name, "/") {
			return nil, ErrZone
		}
		return nil, ErrSyntax
	}
	if in.zones == nil {
		in.zones = map[string]*time.Location{}
	}
	if len(in.zones) < 1000 {
		in.zones[name] = loc
	}
	return loc, nil
}

// looseZone reads an offset, with colons or without.
func looseZone(b []byte) (east int64, ok bool) {
	if len(b) == 1 && b[0]|0x20 == 'z' {
		return 0, true
	}
	if east, ok = parseZone(b); ok {
		return east, true
	}
	if len(b) < 2 || b[0] != '+' && b[0] != '-' {
		return 0, false
	}
	n, rest, ok := leading(b[1:], 1, 6)
	if !ok {
		return 0, false
	}
	switch len(b) - 1 - len(rest) {
	case 1, 2:
		n *= 3600
		if len(rest) > 0 && rest[0] == ':' {
			m, after, ok := leading(rest[1:], 1, 2)
			if !ok || m > 59 {
				return 0, false
			}
			n, rest = n+m*60, after
		}
	case 3, 4:
		n = n/100*3600 + n%100*60
	case 6:
		n = n/10000*3600 + n/100%100*60 + n%100
	default:
		return 0, false
	}
	if b[0] == '-' {
		n = -n
	}
	return n, len(rest) == 0 && n <= maxOffset && n >= -maxOffset
}

// parsePoint reads ISO 8601 with one digit or two, without hyphens or with slashes, and 1/8/1999 as month, day and year.
func parsePoint(b []byte) (p point, err error) {
	bc := false
	if n := len(b); n > 3 && blank(b[n-3]) {
		if bc = equalFold(b[n-2:], "bc"); bc || equalFold(b[n-2:], "ad") {
			b = trim(b[:n-3])
		}
	}
	n, rest, ok := leading(b, 1, 8)
	if !ok {
		return p, ErrSyntax
	}
	switch width := len(b) - len(rest); {
	case len(rest) == 0 || rest[0] == 'T' || rest[0] == 't' || blank(rest[0]):
		if width != 8 && width != 6 {
			return p, ErrSyntax
		}
		p.day, p.month, p.year = int(n%100), int(n/100%100), n/10000
		if width == 6 {
			p.year = century(p.year)
		}
	case rest[0] == '-' || rest[0] == '/' || rest[0] == '.':
		var parts [3]int64
		parts[0] = n
		sep := rest[0]
		for i := 1; i < 3; i++ {
			if len(rest) == 0 || rest[0] != sep {
				return p, ErrSyntax
			}
			most := 2
			if i == 2 {
				most = 7
			}
			if parts[i], rest, ok = leading(rest[1:], 1, most); !ok {
				return p, ErrSyntax
			}
		}
		if width < 3 {
			parts[0], parts[1], parts[2] = parts[2], parts[0], parts[1]
		}
		p.year, p.month, p.day = parts[0], int(parts[1]), int(parts[2])
		if p.year < 100 && width < 3 {
			p.year = century(p.year)
		}
	default:
		return p, ErrSyntax
	}
	if bc {
		p.year = 1 - p.year
	} else if p.year == 0 {
		return p, ErrCalendar
	}
	if p.month < 1 || p.month > 12 || p.day < 1 || p.day > daysIn(p.year, p.month) {
		return p, ErrCalendar
	}
	if len(rest) > 0 && (rest[0] == 'T' || rest[0] == 't') {
		rest = rest[1:]
		if len(rest) == 0 {
			return p, ErrSyntax
		}
	}
	if rest = trim(rest); len(rest) == 0 {
		return p, nil
	}
	if c := rest[0]; c >= '0' && c <= '9' {
		if p.clock, rest, err = looseClock(rest); err != nil {
			return p, err
		}
		rest = trim(rest)
	}
	if p.zone = rest; len(rest) > 0 && !zoneLike(rest) {
		return p, ErrSyntax
	}
	return p, nil
}

// century is the year of one written with two digits.
func century(y int64) int64 {
	if y < 70 {
		return y + 2000
	}
	return y + 1900
}

// zoneLike says whether b may name a zone.
func zoneLike(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > 'z' {
			return false
		}
	}
	return b[0] == '+' || b[0] == '-' || b[0] >= 'A'
}

// looseClock reads H:MM[:SS[.f…]] and HHMMSS[.f…] as microseconds, with AM or PM behind it or not.
func looseClock(b []byte) (us uint64, rest []byte, err error) {
	n, rest, ok := leading(b, 1, 6)
	if !ok {
		return 0, b, ErrSyntax
	}
	var h, m, s int64
	switch width := len(b) - len(rest); {
	case width <= 2 && len(rest) > 0 && rest[0] == ':':
		h = n
		if m, rest, ok = leading(rest[1:], 1, 2); !ok {
			return 0, b, ErrSyntax
		}
		if len(rest) > 0 && rest[0] == ':' {
			if s, rest, ok = leading(rest[1:], 1, 2); !ok {
				return 0, b, ErrSyntax
			}
		}
	case width == 6:
		h, m, s = n/10000, n/100%100, n%100
	case width == 4:
		h, m = n/100, n%100
	default:
		return 0, b, ErrSyntax
	}
	f, rest, ok := fraction(rest)
	if !ok {
		return 0, b, ErrSyntax
	}
	if t := trim(rest); len(t) >= 2 && (equalFold(t[:2], "am") || equalFold(t[:2], "pm")) {
		if h < 1 || h > 12 {
			return 0, b, ErrCalendar
		}
		h %= 12
		if t[0]|0x20 == 'p' {
			h += 12
		}
		rest = t[2:]
	}
	if m > 59 || s > 60 {
		return 0, b, ErrCalendar
	}
	if us = uint64(h*3600+m*60+s)*1e6 + uint64(f); us > dayMicros {
		return 0, b, ErrCalendar
	}
	return us, rest, nil
}

// fraction reads .f… as millionths, rounded; 0 where there is none.
func fraction(b []byte) (millionths int64, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '.' {
		return 0, b, true
	}
	i := 1
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		switch {
		case i <= 6:
			millionths = millionths*10 + int64(b[i]-'0')
		case i == 7 && b[i] >= '5':
			millionths++
		}
	}
	for k := i; k <= 6; k++ {
		millionths *= 10
	}
	return millionths, b[i:], true
}

// clock reads a time of day.
func (in *Input) clock(t *Type, v *change.Vector, row int, b []byte) error {
	b = trim(b)
	us, rest, err := looseClock(b)
	if err != nil {
		return err
	}
	rest = trim(rest)
	if len(rest) > 0 && !zoneLike(rest) {
		return ErrSyntax
	}
	if t.Kind == Time {
		*change.At[uint64](v, row) = us
		return nil
	}
	now := time.Now().UTC()
	p := point{year: int64(now.Year()), month: int(now.Month()), day: now.Day(), clock: us, zone: rest}
	east, err := in.offset(&p)
	if err != nil {
		return err
	}
	*change.At[uint64](v, row) = us<<24 | uint64(maxOffset-east)
	return nil
}
