package pgwire

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// numericText reads numeric's binary form.
func numericText(b []byte) (string, bool) {
	be := binary.BigEndian
	if len(b) < 8 {
		return "", false
	}
	n, weight, sign, scale := int(be.Uint16(b)), int(int16(be.Uint16(b[2:]))), be.Uint16(b[4:]), int(be.Uint16(b[6:]))
	if len(b) != 8+2*n || scale > 16383 {
		return "", false
	}
	var out strings.Builder
	switch sign {
	case 0:
	case 0x4000:
		out.WriteByte('-')
	case 0xC000:
		return "NaN", true
	case 0xD000:
		return "Infinity", true
	case 0xF000:
		return "-Infinity", true
	default:
		return "", false
	}
	group := func(i int) uint16 {
		if i < 0 || i >= n {
			return 0
		}
		return be.Uint16(b[8+2*i:])
	}
	for i := range n {
		if group(i) > 9999 {
			return "", false
		}
	}
	if weight < 0 {
		out.WriteByte('0')
	} else {
		out.WriteString(strconv.Itoa(int(group(0))))
	}
	for i := 1; i <= weight; i++ {
		fmt.Fprintf(&out, "%04d", group(i))
	}
	if scale == 0 {
		return out.String(), true
	}
	out.WriteByte('.')
	end := out.Len() + scale
	for i := weight + 1; out.Len() < end; i++ {
		fmt.Fprintf(&out, "%04d", group(i))
	}
	return out.String()[:end], true
}

// epoch2000 is where PostgreSQL's binary dates and times begin.
var epoch2000 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func dateText(days int32) string {
	switch days {
	case math.MaxInt32:
		return "infinity"
	case math.MinInt32:
		return "-infinity"
	}
	day, era := dayText(epoch2000.AddDate(0, 0, int(days)))
	return day + era
}

// dayText writes a date as DuckDB reads it, and what stands at the end of all before Christ.
func dayText(t time.Time) (day, era string) {
	y := t.Year()
	if y <= 0 {
		y, era = 1-y, " (BC)"
	}
	return fmt.Sprintf("%04d-%02d-%02d", y, t.Month(), t.Day()), era
}

func timestampText(us int64, zoned bool) string {
	switch us {
	case math.MaxInt64:
		return "infinity"
	case math.MinInt64:
		return "-infinity"
	}
	seconds, rest := us/1e6, us%1e6
	if rest < 0 {
		seconds, rest = seconds-1, rest+1e6
	}
	t := time.Unix(epoch2000.Unix()+seconds, 0).UTC()
	day, era := dayText(t)
	out := fmt.Sprintf("%s%s %02d:%02d:%02d.%06d", day, era, t.Hour(), t.Minute(), t.Second(), rest)
	if zoned {
		out += "+00"
	}
	return out
}

func clockText(us int64) string {
	return fmt.Sprintf("%02d:%02d:%02d.%06d", us/3600e6, us/60e6%60, us/1e6%60, us%1e6)
}

func offsetText(east int) string {
	sign := '+'
	if east < 0 {
		sign, east = '-', -east
	}
	return fmt.Sprintf("%c%02d:%02d:%02d", sign, east/3600, east/60%60, east%60)
}
