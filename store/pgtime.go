package store

import (
	"bytes"
	"math"
	"time"
	_ "time/tzdata" // the zones that clients name must be there on a machine without them

	"github.com/pintaildb/pintail/change/types"
)

// zone is a session's time zone, with what was looked up last: neighbouring values mostly have the same offset.
type zone struct {
	loc      *time.Location
	from, to int64 // seconds since 1970 for which offset holds
	offset   int64 // seconds east
}

// zoneOf is nil for UTC, and for a zone that Go has no data of.
func zoneOf(name string) *zone {
	loc, err := time.LoadLocation(name)
	if err != nil || loc == time.UTC || name == "" || name == "Local" {
		return nil
	}
	return &zone{loc: loc}
}

func (z *zone) at(seconds int64) int64 {
	if z == nil {
		return 0
	}
	if seconds >= z.from && seconds < z.to {
		return z.offset
	}
	t := time.Unix(seconds, 0).In(z.loc)
	_, offset := t.Zone()
	start, end := t.ZoneBounds()
	z.offset, z.from, z.to = int64(offset), math.MinInt64, math.MaxInt64
	if !start.IsZero() {
		z.from = start.Unix()
	}
	if !end.IsZero() {
		z.to = end.Unix()
	}
	return z.offset
}

func floorDiv(a, b int64) (q, r int64) {
	q, r = a/b, a%b
	if r < 0 {
		q, r = q-1, r+b
	}
	return q, r
}

// splitSeconds is t / unit as seconds and the microseconds beyond them, cut where the unit is finer.
func splitSeconds(t, unit int64) (seconds, micros int64) {
	if unit == 1e6 { // mostly; and a division by a constant is the cheap one
		return floorDiv(t, 1e6)
	}
	seconds, rest := floorDiv(t, unit)
	return seconds, rest * (1e6 / min(unit, 1e6)) / max(unit/1e6, 1)
}

func appendPGDate(dst []byte, days int32) []byte {
	switch days {
	case math.MaxInt32:
		return append(dst, "infinity"...)
	case -math.MaxInt32:
		return append(dst, "-infinity"...)
	}
	dst, _ = appendDay(dst, int64(days))
	return dst
}

// Days since 1970 of 0001-01-01 and of 10000-01-01: between them a year has four digits.
const (
	dayFirst = -719162
	dayLast  = 2932897
)

// appendDay appends a date, and says whether " BC" is at its end.
func appendDay(dst []byte, days int64) ([]byte, bool) {
	if days < dayFirst || days >= dayLast {
		dst = types.AppendDate(dst, days)
		return dst, bytes.HasSuffix(dst, []byte(" BC"))
	}
	// Days of a year that begins in March, so that the leap day is its last.
	z := uint32(days + 719468)
	era := z / 146097
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day := doy - (153*mp+2)/5 + 1
	month, year := mp+3, yoe+era*400
	if month > 12 {
		month, year = month-12, year+1
	}
	dst = append(dst, twoDigits[2*(year/100)], twoDigits[2*(year/100)+1], twoDigits[2*(year%100)], twoDigits[2*(year%100)+1], '-',
		twoDigits[2*month], twoDigits[2*month+1], '-', twoDigits[2*day], twoDigits[2*day+1])
	return dst, false
}

var twoDigits = func() (d [200]byte) {
	for i := range 100 {
		d[2*i], d[2*i+1] = byte('0'+i/10), byte('0'+i%10)
	}
	return d
}()

// appendPGTimestamp appends t / unit seconds since 1970 with microseconds, in zone z with its offset if zoned.
func appendPGTimestamp(dst []byte, t, unit int64, z *zone, zoned bool) []byte {
	switch t {
	case math.MaxInt64:
		return append(dst, "infinity"...)
	case -math.MaxInt64:
		return append(dst, "-infinity"...)
	}
	seconds, micros := splitSeconds(t, unit)
	offset := z.at(seconds)
	days, s := floorDiv(seconds+offset, 86400)
	dst, bc := appendDay(dst, days)
	if bc {
		dst = dst[:len(dst)-len(" BC")]
	}
	h, m := s/3600, s/60%60
	s %= 60
	dst = append(dst, ' ', twoDigits[2*h], twoDigits[2*h+1], ':', twoDigits[2*m], twoDigits[2*m+1], ':', twoDigits[2*s], twoDigits[2*s+1])
	if micros != 0 {
		a, b, c := micros/10000, micros/100%100, micros%100
		dst = append(dst, '.', twoDigits[2*a], twoDigits[2*a+1], twoDigits[2*b], twoDigits[2*b+1], twoDigits[2*c], twoDigits[2*c+1])
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	if zoned {
		dst = appendOffset(dst, offset)
	}
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

// appendOffset appends +hh, with :mm and :ss where they are not zero.
func appendOffset(dst []byte, east int64) []byte {
	sign := byte('+')
	if east < 0 {
		sign, east = '-', -east
	}
	h, m, s := east/3600, east/60%60, east%60
	dst = append(dst, sign, twoDigits[2*h], twoDigits[2*h+1])
	if m != 0 || s != 0 {
		dst = append(dst, ':', twoDigits[2*m], twoDigits[2*m+1])
	}
	if s != 0 {
		dst = append(dst, ':', twoDigits[2*s], twoDigits[2*s+1])
	}
	return dst
}
