package store

import "strconv"

const microsPerDay = 24 * 60 * 60 * 1000000

// civil turns days since 1970-01-01 into a date of the proleptic Gregorian calendar; year 0 is 1 BC. It holds for all of
// int32, unlike package time.
func civil(days int64) (year int64, month, day int) {
	z := days + 719468 // since 0000-03-01
	era := z / 146097
	if z < 0 {
		era = (z - 146096) / 146097
	}
	doe := z - era*146097                                  // day of the 400-year era
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365 // year of the era
	doy := doe - (365*yoe + yoe/4 - yoe/100)               // day of the year that begins in March
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	month = int(mp + 3)
	year = yoe + era*400
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

func appendPadded(dst []byte, n int64, width int) []byte {
	var b [20]byte
	s := strconv.AppendInt(b[:0], n, 10)
	for i := len(s); i < width; i++ {
		dst = append(dst, '0')
	}
	return append(dst, s...)
}

// appendDay appends YYYY-MM-DD and says whether the year is BC, which PostgreSQL writes at the end of all.
func appendDay(dst []byte, days int64) (_ []byte, bc bool) {
	y, m, d := civil(days)
	if bc = y <= 0; bc {
		y = 1 - y
	}
	dst = append(appendPadded(dst, y, 4), '-')
	dst = append(appendPadded(dst, int64(m), 2), '-')
	return appendPadded(dst, int64(d), 2), bc
}

// appendClock appends HH:MM:SS and the fraction of a second, without its trailing zeros. unit is how many parts a second has.
func appendClock(dst []byte, t, unit int64) []byte {
	s := t / unit
	dst = append(appendPadded(dst, s/3600, 2), ':')
	dst = append(appendPadded(dst, s/60%60, 2), ':')
	dst = appendPadded(dst, s%60, 2)
	if f := t % unit; f != 0 {
		dst = append(dst, '.')
		width := len(strconv.FormatInt(unit, 10)) - 1
		dst = appendPadded(dst, f, width)
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return dst
}

// appendPGDate appends a date as PostgreSQL prints it in DateStyle ISO.
func appendPGDate(dst []byte, days int64) []byte {
	dst, bc := appendDay(dst, days)
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

// appendPGTimestamp appends microseconds since 1970 as PostgreSQL prints a timestamp, or a timestamptz in UTC.
func appendPGTimestamp(dst []byte, us int64, zone bool) []byte {
	days, rest := us/microsPerDay, us%microsPerDay
	if rest < 0 {
		days, rest = days-1, rest+microsPerDay
	}
	dst, bc := appendDay(dst, days)
	dst = appendClock(append(dst, ' '), rest, 1000000)
	if zone {
		dst = append(dst, "+00"...)
	}
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}
