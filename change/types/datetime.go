package types

import (
	"strconv"

	"github.com/pintaildb/pintail/change"
)

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

// AppendClock appends HH:MM:SS and the fraction of a second, without its trailing zeros. unit is how many parts a second has.
func AppendClock(dst []byte, t, unit uint64) []byte {
	s := int64(t / unit)
	dst = append(appendPadded(dst, s/3600, 2), ':')
	dst = append(appendPadded(dst, s/60%60, 2), ':')
	dst = appendPadded(dst, s%60, 2)
	if f := t % unit; f != 0 {
		dst = append(dst, '.')
		width := len(strconv.FormatUint(unit, 10)) - 1
		dst = appendPadded(dst, int64(f), width)
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return dst
}

// AppendDate appends a date as PostgreSQL prints it in DateStyle ISO.
func AppendDate(dst []byte, days int64) []byte {
	dst, bc := appendDay(dst, days)
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

// AppendTimestamp appends t / unit seconds since 1970: the day, sep, the time, zone, and BC if so.
func AppendTimestamp(dst []byte, t, unit int64, sep byte, zone string) []byte {
	perDay := 86400 * unit
	days, rest := t/perDay, t%perDay
	if rest < 0 {
		days, rest = days-1, rest+perDay
	}
	dst, bc := appendDay(dst, days)
	dst = append(AppendClock(append(dst, sep), uint64(rest), uint64(unit)), zone...)
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

// AppendTimeTZ reads DuckDB's TIMETZ, microseconds above 24 bits of offset, and prints it as PostgreSQL does.
func AppendTimeTZ(dst []byte, x uint64) []byte {
	dst = AppendClock(dst, x>>24, 1e6)
	east := maxOffset - int64(x&0xffffff)
	sign := byte('+')
	if east < 0 {
		sign, east = '-', -east
	}
	dst = appendPadded(append(dst, sign), east/3600, 2)
	if east%3600 != 0 {
		dst = appendPadded(append(dst, ':'), east/60%60, 2)
	}
	if east%60 != 0 {
		dst = appendPadded(append(dst, ':'), east%60, 2)
	}
	return dst
}

// AppendInterval prints an interval as PostgreSQL does in IntervalStyle postgres.
func AppendInterval(dst []byte, i *change.Interval) []byte {
	at, after := len(dst), false // after: the part before was negative, so that a positive one says so
	part := func(n int64, unit string) {
		if n == 0 {
			return
		}
		if len(dst) > at {
			dst = append(dst, ' ')
		}
		if after && n > 0 {
			dst = append(dst, '+')
		}
		dst = append(strconv.AppendInt(dst, n, 10), ' ')
		dst = append(dst, unit...)
		if n != 1 {
			dst = append(dst, 's')
		}
		after = n < 0
	}
	part(int64(i.Months/12), "year")
	part(int64(i.Months%12), "mon")
	part(int64(i.Days), "day")
	if i.Micros == 0 && len(dst) > at {
		return dst
	}
	if len(dst) > at {
		dst = append(dst, ' ')
	}
	us := uint64(i.Micros)
	switch {
	case i.Micros < 0:
		dst, us = append(dst, '-'), -us
	case after:
		dst = append(dst, '+')
	}
	return AppendClock(dst, us, 1e6)
}
