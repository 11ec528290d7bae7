package postgres

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/pintaildb/pintail/change/types"
)

// Bounds are values in PostgreSQL's text. They are compared and moved here, without asking the server, in the order that
// the server has for the type (text: the "C" collation).

// compareValues orders two values of t; "" is no value and must not come in.
func compareValues(t *types.Type, a, b string) (int, error) {
	switch t.Kind {
	case types.Text:
		return strings.Compare(a, b), nil
	case types.UUID:
		x, err := parseUUID(a)
		if err != nil {
			return 0, err
		}
		y, err := parseUUID(b)
		return bytes.Compare(x, y), err
	case types.Date, types.Timestamp, types.TimestampTZ:
		x, err := parseTime(t, a)
		if err != nil {
			return 0, err
		}
		y, err := parseTime(t, b)
		switch {
		case x < y:
			return -1, err
		case x > y:
			return 1, err
		}
		return 0, err
	}
	x, err := parseNumber(a)
	if err != nil {
		return 0, err
	}
	y, err := parseNumber(b)
	if err != nil {
		return 0, err
	}
	return x.Cmp(y), nil
}

// least is the smaller of two values; "" counts as the largest.
func least(t *types.Type, a, b string) (string, error) {
	if a == "" {
		return b, nil
	}
	if b == "" {
		return a, nil
	}
	c, err := compareValues(t, a, b)
	if c > 0 {
		return b, err
	}
	return a, err
}

// greatest is the larger of two values; "" counts as the smallest.
func greatest(t *types.Type, a, b string) (string, error) {
	if a == "" {
		return b, nil
	}
	if b == "" {
		return a, nil
	}
	c, err := compareValues(t, a, b)
	if c < 0 {
		return b, err
	}
	return a, err
}

// after is the next larger value of t: no value lies between the two.
func after(t *types.Type, s string) (string, error) {
	switch t.Kind {
	case types.Text:
		return s + "\x01", nil // the lowest character that PostgreSQL allows
	case types.UUID:
		b, err := parseUUID(s)
		if err != nil {
			return "", err
		}
		for i := len(b) - 1; i >= 0; i-- {
			if b[i]++; b[i] != 0 {
				return formatUUID(b), nil
			}
		}
		return s, nil // the largest of all
	case types.Date, types.Timestamp, types.TimestampTZ:
		x, err := parseTime(t, s)
		return formatTime(t, x+1), err
	}
	x, err := parseNumber(s)
	if err != nil {
		return "", err
	}
	step := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil))
	return x.Add(x, step).FloatString(int(t.Scale)), nil
}

func parseNumber(s string) (*big.Rat, error) {
	x, ok := new(big.Rat).SetString(s)
	if !ok || strings.ContainsAny(s, "/eExXpP_") {
		return nil, fmt.Errorf("%q is not a number", s)
	}
	return x, nil
}

func parseUUID(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err == nil && len(b) != 16 {
		err = fmt.Errorf("%q is not a uuid", s)
	}
	return b, err
}

func formatUUID(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

const (
	dayMicros = 24 * 60 * 60 * 1e6
	epoch2000 = 946684800 * 1e6 // microseconds since 1970; PostgreSQL counts from here, which holds all its timestamps
)

// parseTime reads a date, in days since 2000, or a timestamp, in microseconds since 2000, of DateStyle ISO. A missing zone
// is UTC.
func parseTime(t *types.Type, s string) (int64, error) {
	bad := fmt.Errorf("%q is not a date or time of PostgreSQL", s)
	switch s {
	case "infinity":
		return math.MaxInt64, nil
	case "-infinity":
		return math.MinInt64, nil
	}
	rest, bc := strings.CutSuffix(s, " BC")
	date, clock, timed := strings.Cut(rest, " ")
	ymd := strings.Split(date, "-")
	if len(ymd) != 3 {
		return 0, bad
	}
	y, err1 := strconv.ParseInt(ymd[0], 10, 64)
	m, err2 := strconv.Atoi(ymd[1])
	d, err3 := strconv.Atoi(ymd[2])
	if err1 != nil || err2 != nil || err3 != nil || m < 1 || m > 12 || d < 1 || d > 31 || y < 1 || y > 6000000 {
		return 0, bad
	}
	if bc {
		y = 1 - y
	}
	days := daysFromCivil(y, m, d) - epoch2000/dayMicros
	if t.Kind == types.Date {
		return days, nil
	}
	if y < -4800 || y > 294277 {
		return 0, bad
	}
	us := days * dayMicros
	if !timed {
		return us, nil
	}
	zone := ""
	if i := strings.IndexAny(clock, "+-"); i >= 0 {
		clock, zone = clock[:i], clock[i:]
	}
	of, ok := parseClock(clock)
	if !ok {
		return 0, bad
	}
	us += of
	if zone != "" {
		z, ok := parseClock(zone[1:])
		if !ok {
			return 0, bad
		}
		if zone[0] == '+' {
			z = -z
		}
		us += z
	}
	return us, nil
}

// parseClock reads HH, HH:MM, HH:MM:SS or HH:MM:SS.ffffff, in microseconds.
func parseClock(s string) (int64, bool) {
	var us int64
	unit := int64(3600 * 1e6)
	for i, part := range strings.Split(s, ":") {
		whole, fraction, _ := strings.Cut(part, ".")
		n, err := strconv.ParseInt(whole, 10, 32)
		if err != nil || n < 0 || i > 2 || (fraction != "" && i < 2) || len(fraction) > 6 {
			return 0, false
		}
		us += n * unit
		unit /= 60
		if fraction != "" {
			f, err := strconv.ParseInt((fraction + "000000")[:6], 10, 32)
			if err != nil || f < 0 {
				return 0, false
			}
			us += f
		}
	}
	return us, true
}

// formatTime writes what parseTime reads, as PostgreSQL would under TimeZone UTC.
func formatTime(t *types.Type, x int64) string {
	switch x {
	case math.MaxInt64:
		return "infinity"
	case math.MinInt64:
		return "-infinity"
	}
	days, us := x, int64(0)
	if t.Kind != types.Date {
		days = floorDiv(x, dayMicros)
		us = x - days*dayMicros
	}
	y, m, d := civilFromDays(days + epoch2000/dayMicros)
	bc := ""
	if y < 1 {
		y, bc = 1-y, " BC"
	}
	s := fmt.Sprintf("%04d-%02d-%02d", y, m, d)
	if t.Kind == types.Date {
		return s + bc
	}
	s += fmt.Sprintf(" %02d:%02d:%02d", us/3600e6, us/60e6%60, us/1e6%60)
	if f := us % 1e6; f != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%06d", f), "0")
	}
	if t.Kind == types.TimestampTZ {
		s += "+00"
	}
	return s + bc
}

// timeOf is a time of the server's clock as a value of t.
func timeOf(t *types.Type, at time.Time) int64 {
	us := at.UnixMicro() - epoch2000
	if t.Kind == types.Date {
		return floorDiv(us, dayMicros)
	}
	return us
}

// daysFromCivil counts days since 1970 in the proleptic Gregorian calendar (year 0 is 1 BC).
func daysFromCivil(y int64, m, d int) int64 {
	if m <= 2 {
		y--
	}
	era := floorDiv(y, 400)
	yoe := y - era*400
	doy := int64((153*((m+9)%12)+2)/5 + d - 1)
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

func civilFromDays(z int64) (y int64, m, d int) {
	z += 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	y = yoe + era*400
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = int(doy - (153*mp+2)/5 + 1)
	m = int(mp + 3)
	if m > 12 {
		m -= 12
	}
	if m <= 2 {
		y++
	}
	return y, m, d
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
