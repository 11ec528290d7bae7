package types

import (
	"bytes"
	"fmt"
	"math"

	"github.com/pintaildb/pintail/change"
)

// days is the inverse of civil, for years within ±10^7.
func days(year int64, month, day int) int64 {
	m := int64(month) - 3
	if m < 0 {
		year, m = year-1, m+12
	}
	era := year / 400
	if year < 0 {
		era = (year - 399) / 400
	}
	yoe := year - era*400
	doy := (153*m+2)/5 + int64(day) - 1
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
}

// two reads the two digits that b begins with, and what must follow them: 0 is anything.
func two(b []byte, then byte) (n int, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, b, false
	}
	h, l := b[0]-'0', b[1]-'0'
	if h > 9 || l > 9 {
		return 0, b, false
	}
	n, rest = int(h)*10+int(l), b[2:]
	if then != 0 {
		if len(rest) == 0 || rest[0] != then {
			return 0, b, false
		}
		rest = rest[1:]
	}
	return n, rest, true
}

// leading reads the digits that b begins with, from least to most of them.
func leading(b []byte, least, most int) (n int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		if i == most {
			return 0, b, false
		}
		n = n*10 + int64(b[i]-'0')
	}
	return n, b[i:], i >= least
}

// parseDay reads YYYY-MM-DD, the year with four digits or more.
func parseDay(b []byte, bc bool) (day int64, rest []byte, ok bool) {
	year, b, ok := leading(b, 4, 7)
	if !ok || len(b) == 0 || b[0] != '-' {
		return 0, b, false
	}
	month, b, ok := two(b[1:], '-')
	if !ok {
		return 0, b, false
	}
	d, b, ok := two(b, 0)
	if bc {
		year = 1 - year
	}
	return days(year, month, d), b, ok && month >= 1 && month <= 12 && d >= 1 && d <= 31
}

// parseClock reads HH:MM:SS[.ffffff] as microseconds; hours may be as many as an interval has.
func parseClock(b []byte) (us uint64, rest []byte, ok bool) {
	hours, b, ok := leading(b, 2, 10)
	if !ok || len(b) == 0 || b[0] != ':' || hours > math.MaxInt64/3600_000000 {
		return 0, b, false
	}
	minutes, b, ok := two(b[1:], ':')
	if !ok || minutes > 59 {
		return 0, b, false
	}
	seconds, b, ok := two(b, 0)
	if !ok || seconds > 60 {
		return 0, b, false
	}
	us = uint64(hours)*3600e6 + uint64(minutes)*60e6 + uint64(seconds)*1e6
	if len(b) > 0 && b[0] == '.' {
		f, after, ok := leading(b[1:], 1, 6)
		if !ok {
			return 0, b, false
		}
		us += uint64(f) * pow10[6-(len(b)-1-len(after))]
		b = after
	}
	return us, b, true
}

// parseZone reads a whole offset such as +05:30 or -15:59:59, in seconds east.
func parseZone(b []byte) (east int64, ok bool) {
	if len(b) < 3 || b[0] != '+' && b[0] != '-' {
		return 0, false
	}
	west := b[0] == '-'
	b = b[1:]
	for _, unit := range [3]int64{3600, 60, 1} {
		n, rest, ok := two(b, 0)
		if !ok || n > 59 {
			return 0, false
		}
		east += int64(n) * unit
		if b = rest; len(b) == 0 {
			break
		}
		if b[0] != ':' || unit == 1 {
			return 0, false
		}
		b = b[1:]
	}
	if west {
		east = -east
	}
	return east, len(b) == 0 && east <= maxOffset && east >= -maxOffset
}

// parseDate is DuckDB's days since 1970.
func parseDate(b []byte) (int32, bool) {
	switch view(b) {
	case "infinity":
		return math.MaxInt32, true
	case "-infinity":
		return -math.MaxInt32, true
	}
	b, bc := bytes.CutSuffix(b, beforeChrist)
	d, rest, ok := parseDay(b, bc)
	return int32(d), ok && len(rest) == 0 && d < math.MaxInt32 && d > -math.MaxInt32
}

var beforeChrist = []byte(" BC")

// parseTimestamp is PostgreSQL's microseconds since 2000.
func parseTimestamp(b []byte) (int64, bool) {
	switch view(b) {
	case "infinity":
		return math.MaxInt64, true
	case "-infinity":
		return math.MinInt64, true
	}
	b, bc := bytes.CutSuffix(b, beforeChrist)
	d, b, ok := parseDay(b, bc)
	d -= epochDays
	const most = math.MaxInt64/86400_000000 - 2 // two days are left for the clock and the offset
	if !ok || len(b) == 0 || b[0] != ' ' || d > most || d < -most {
		return 0, false
	}
	clock, b, ok := parseClock(b[1:])
	if !ok || clock > 86400e6 {
		return 0, false
	}
	us := d*86400e6 + int64(clock)
	if len(b) > 0 {
		east, ok := parseZone(b)
		return us - east*1e6, ok
	}
	return us, true
}

// parseInterval reads IntervalStyle postgres: years, mons, days and a clock, each with its own sign and each optional.
func parseInterval(b []byte) (i change.Interval, err error) {
	switch view(b) {
	case "infinity", "-infinity":
		return i, errInfiniteInterval
	}
	bad := func() (change.Interval, error) {
		return change.Interval{}, fmt.Errorf("%.60q is no text of PostgreSQL's for INTERVAL", b)
	}
	if len(b) == 0 {
		return bad()
	}
	var months, count int64
	for s := b; len(s) > 0; {
		negative := s[0] == '-'
		part := s
		if negative || s[0] == '+' {
			part = s[1:]
		}
		n, rest, ok := leading(part, 1, 10)
		if !ok || len(rest) == 0 {
			return bad()
		}
		if rest[0] == ':' {
			us, rest, ok := parseClock(part)
			switch {
			case !ok || len(rest) > 0 || us > math.MaxInt64 && !(negative && us == 1<<63):
				return bad()
			case negative:
				us = -us
			}
			i.Micros = int64(us)
			break
		}
		if negative {
			n = -n
		}
		unit, rest, more := bytes.Cut(rest[1:], []byte{' '})
		if more && len(rest) == 0 {
			return bad()
		}
		switch view(unit) {
		case "year", "years":
			months += 12 * n
		case "mon", "mons":
			months += n
		case "day", "days":
			count = n
		default:
			return bad()
		}
		s = rest
	}
	i.Months, i.Days = int32(months), int32(count)
	if int64(i.Months) != months || int64(i.Days) != count {
		return bad()
	}
	return i, finite(i)
}

var (
	latest   = change.Interval{Micros: math.MaxInt64, Days: math.MaxInt32, Months: math.MaxInt32}
	earliest = change.Interval{Micros: math.MinInt64, Days: math.MinInt32, Months: math.MinInt32}
)

// finite refuses the two intervals that are PostgreSQL's infinities.
func finite(i change.Interval) error {
	if i == latest || i == earliest {
		return errInfiniteInterval
	}
	return nil
}
