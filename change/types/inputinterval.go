package types

import (
	"math"
	"math/bits"

	"github.com/pintaildb/pintail/change"
)

// unit is what an interval counts in: so many months, days or microseconds.
type unit struct{ months, days, micros int64 }

var units = map[string]unit{
	"us": {micros: 1}, "usec": {micros: 1}, "usecs": {micros: 1}, "microsecond": {micros: 1}, "microseconds": {micros: 1},
	"ms": {micros: 1000}, "msec": {micros: 1000}, "msecs": {micros: 1000}, "millisecond": {micros: 1000}, "milliseconds": {micros: 1000},
	"s": {micros: 1e6}, "sec": {micros: 1e6}, "secs": {micros: 1e6}, "second": {micros: 1e6}, "seconds": {micros: 1e6},
	"m": {micros: 60e6}, "min": {micros: 60e6}, "mins": {micros: 60e6}, "minute": {micros: 60e6}, "minutes": {micros: 60e6},
	"h": {micros: 3600e6}, "hr": {micros: 3600e6}, "hrs": {micros: 3600e6}, "hour": {micros: 3600e6}, "hours": {micros: 3600e6},
	"d": {days: 1}, "day": {days: 1}, "days": {days: 1}, "w": {days: 7}, "week": {days: 7}, "weeks": {days: 7},
	"mon": {months: 1}, "mons": {months: 1}, "month": {months: 1}, "months": {months: 1},
	"y": {months: 12}, "yr": {months: 12}, "yrs": {months: 12}, "year": {months: 12}, "years": {months: 12},
	"dec": {months: 120}, "decade": {months: 120}, "decades": {months: 120}, "c": {months: 1200}, "century": {months: 1200}, "centuries": {months: 1200},
	"millennium": {months: 12000}, "millennia": {months: 12000},
}

// isoUnits are those of ISO 8601: before the T and behind it.
var isoUnits = [2]map[byte]unit{
	{'Y': {months: 12}, 'M': {months: 1}, 'W': {days: 7}, 'D': {days: 1}},
	{'H': {micros: 3600e6}, 'M': {micros: 60e6}, 'S': {micros: 1e6}},
}

// sum adds up an interval.
type sum struct {
	months, days, micros int64
	over                 bool
}

func (s *sum) plus(to *int64, n, times int64) {
	hi, lo := bits.Mul64(uint64(max(n, -n)), uint64(times))
	x := int64(lo)
	if hi != 0 || x < 0 {
		s.over = true
		return
	}
	if n < 0 {
		x = -x
	}
	if x > 0 && *to > math.MaxInt64-x || x < 0 && *to < math.MinInt64-x {
		s.over = true
		return
	}
	*to += x
}

// add adds n and so many millionths of a unit; what is less than a month becomes days of 30 a month, what is less than a day its time.
func (s *sum) add(n, millionths int64, u unit) {
	switch {
	case u.months > 1:
		s.plus(&s.months, n, u.months)
		s.plus(&s.months, int64(math.RoundToEven(float64(millionths*u.months)/1e6)), 1)
	case u.months == 1:
		s.plus(&s.months, n, 1)
		s.dayPart(millionths * 30)
	case u.days > 0:
		s.plus(&s.days, n, u.days)
		s.dayPart(millionths * u.days)
	default:
		s.plus(&s.micros, n, u.micros)
		s.plus(&s.micros, int64(math.RoundToEven(float64(millionths)*float64(u.micros)/1e6)), 1)
	}
}

func (s *sum) dayPart(millionths int64) {
	s.plus(&s.days, millionths/1e6, 1)
	s.plus(&s.micros, millionths%1e6, 86400)
}

func (s *sum) interval() (i change.Interval, err error) {
	i = change.Interval{Months: int32(s.months), Days: int32(s.days), Micros: s.micros}
	if s.over || int64(i.Months) != s.months || int64(i.Days) != s.days {
		return i, change.ErrOutOfRange
	}
	return i, finite(i)
}

// looseInterval reads PostgreSQL's forms with units, SQL's with colons, and ISO 8601's.
func looseInterval(b []byte) (change.Interval, error) {
	if i, err := parseInterval(b); err == nil {
		return i, nil
	}
	b = trim(b)
	switch {
	case equalFold(b, "infinity"), equalFold(b, "+infinity"), equalFold(b, "-infinity"):
		return change.Interval{}, errInfiniteInterval
	case len(b) > 1 && b[0] == 'P':
		return isoInterval(b[1:])
	}
	var s sum
	any := false
	if len(b) > 0 && b[0] == '@' {
		b = trim(b[1:])
	}
	for b = trim(b); len(b) > 0; b = trim(b) {
		if equalFold(b, "ago") && any {
			s.months, s.days, s.micros = -s.months, -s.days, -s.micros
			break
		}
		any = true
		sign, n, f, rest, ok := signed(b)
		if !ok {
			return change.Interval{}, ErrSyntax
		}
		if len(rest) > 0 && rest[0] == ':' {
			if rest, ok = s.clock(sign, n, rest); !ok {
				return change.Interval{}, ErrSyntax
			}
			b = rest
			continue
		}
		rest = trim(rest)
		end := 0
		for end < len(rest) && rest[end]|0x20 >= 'a' && rest[end]|0x20 <= 'z' {
			end++
		}
		u := unit{micros: 1e6}
		if end > 0 {
			if u, ok = unitNamed(rest[:end]); !ok {
				return change.Interval{}, ErrSyntax
			}
		} else if len(rest) > 0 {
			return change.Interval{}, ErrSyntax
		}
		s.add(sign*n, sign*f, u)
		if b = rest[end:]; len(b) > 0 && b[0] == ',' {
			b = b[1:]
		}
	}
	if !any {
		return change.Interval{}, ErrSyntax
	}
	return s.interval()
}

func unitNamed(b []byte) (unit, bool) {
	var low [12]byte
	if len(b) > len(low) {
		return unit{}, false
	}
	for i, c := range b {
		low[i] = c | 0x20
	}
	u, ok := units[string(low[:len(b)])]
	return u, ok
}

// signed reads a number with its sign and fraction.
func signed(b []byte) (sign, n, millionths int64, rest []byte, ok bool) {
	sign = 1
	if b[0] == '-' || b[0] == '+' {
		if b[0] == '-' {
			sign = -1
		}
		b = b[1:]
	}
	n, rest, ok = leading(b, 0, 18)
	if !ok || len(rest) == len(b) && (len(b) < 2 || b[0] != '.') {
		return sign, 0, 0, rest, false
	}
	millionths, rest, ok = fraction(rest)
	return sign, n, millionths, rest, ok
}

// clock adds H:MM[:SS[.f…]], of which the hours were read.
func (s *sum) clock(sign, hours int64, b []byte) (rest []byte, ok bool) {
	m, rest, ok := leading(b[1:], 1, 2)
	if !ok || m > 59 {
		return b, false
	}
	var sec, f int64
	if len(rest) > 0 && rest[0] == ':' {
		if sec, rest, ok = leading(rest[1:], 1, 2); !ok || sec > 60 {
			return b, false
		}
		f, rest, ok = fraction(rest)
	}
	s.plus(&s.micros, sign*hours, 3600e6)
	s.plus(&s.micros, sign*(m*60e6+sec*1e6+f), 1)
	return rest, ok && (len(rest) == 0 || blank(rest[0]))
}

func isoInterval(b []byte) (change.Interval, error) {
	var s sum
	part := 0
	for len(b) > 0 {
		if b[0] == 'T' && part == 0 && len(b) > 1 {
			part, b = 1, b[1:]
			continue
		}
		sign, n, f, rest, ok := signed(b)
		if !ok || len(rest) == 0 {
			return change.Interval{}, ErrSyntax
		}
		u, ok := isoUnits[part][rest[0]]
		if !ok {
			return change.Interval{}, ErrSyntax
		}
		s.add(sign*n, sign*f, u)
		b = rest[1:]
	}
	return s.interval()
}
