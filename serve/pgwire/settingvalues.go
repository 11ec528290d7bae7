package pgwire

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The checks give a value as SHOW writes it; false when it is none.

func shortText(v string) (string, bool) { return v, len(v) <= 1000 && !strings.Contains(v, "\x00") }

func boolean(v string) (string, bool) {
	v = strings.ToLower(strings.TrimSpace(v))
	if v == "" || v == "o" {
		return "", false
	}
	for _, w := range []string{"on", "true", "yes", "1"} {
		if strings.HasPrefix(w, v) {
			return "on", true
		}
	}
	for _, w := range []string{"off", "false", "no", "0"} {
		if strings.HasPrefix(w, v) {
			return "off", true
		}
	}
	return "", false
}

func onlyOn(v string) (string, bool) {
	v, ok := boolean(v)
	return v, ok && v == "on"
}

func only(want string) func(string) (string, bool) {
	return func(v string) (string, bool) { return want, strings.EqualFold(strings.TrimSpace(v), want) }
}

func between(low, high int) func(string) (string, bool) {
	return func(v string) (string, bool) {
		n, err := strconv.Atoi(strings.TrimSpace(v))
		return strconv.Itoa(n), err == nil && n >= low && n <= high
	}
}

func encoding(v string) (string, bool) {
	switch strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(v)) {
	case "utf8", "unicode", "auto", "sqlascii":
		return "UTF8", true
	}
	return "", false
}

func dateStyle(v string) (string, bool) {
	order := "MDY"
	for _, part := range strings.Split(v, ",") {
		switch strings.ToLower(strings.TrimSpace(part)) {
		case "iso", "default":
		case "mdy", "us", "noneuro", "noneuropean":
			order = "MDY"
		case "dmy", "euro", "european":
			order = "DMY"
		case "ymd":
			order = "YMD"
		default:
			return "", false
		}
	}
	return "ISO, " + order, true
}

func isolation(v string) (string, bool) {
	v = strings.Join(strings.Fields(strings.ToLower(v)), " ")
	switch v {
	case "serializable", "repeatable read", "read committed", "read uncommitted":
		return v, true
	case "default":
		return "read committed", true
	}
	return "", false
}

var units = []struct {
	name string
	unit time.Duration
}{{"us", time.Microsecond}, {"ms", time.Millisecond}, {"min", time.Minute}, {"s", time.Second}, {"h", time.Hour}, {"d", 24 * time.Hour}, {"", time.Millisecond}}

func parseMilliseconds(v string) (time.Duration, bool) {
	v = strings.TrimSpace(v)
	for _, u := range units {
		digits, ok := strings.CutSuffix(v, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 32)
		if err != nil || n < 0 {
			return 0, false
		}
		return time.Duration(n) * u.unit, true
	}
	return 0, false
}

// milliseconds is written with the largest unit that leaves a whole number, as PostgreSQL does.
func milliseconds(v string) (string, bool) {
	d, ok := parseMilliseconds(v)
	if !ok || d > 24*24*time.Hour {
		return "", false
	}
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if d >= u.unit && d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.name), true
		}
	}
	return "0", true
}

// timeZone knows names in any case, and offsets in whole hours as PostgreSQL writes them: 3 and +3 are east, the 3 of UTC+3 is west.
func timeZone(v string) (string, bool) {
	v = strings.TrimSpace(v)
	low := strings.ToLower(v)
	switch low {
	case "", "local", "posix", "posixrules":
		return "", false
	case "utc", "z", "zulu", "uct", "default", "etc/utc":
		return "UTC", true
	}
	west := int64(1)
	offset := low
	for _, prefix := range []string{"gmt", "utc"} {
		if o, ok := strings.CutPrefix(low, prefix); ok {
			offset, west = o, -1
		}
	}
	if offset != "" && (offset[0] == '+' || offset[0] == '-' || offset[0] >= '0' && offset[0] <= '9') {
		h, m, _ := strings.Cut(offset, ":")
		hours, err := strconv.ParseInt(h, 10, 8)
		if err != nil || strings.Trim(m, "0:") != "" {
			return "", false
		}
		switch hours *= west; {
		case hours == 0:
			return "UTC", true
		case hours > 0 && hours <= 14:
			return fmt.Sprintf("Etc/GMT-%d", hours), true
		case hours < 0 && hours >= -12:
			return fmt.Sprintf("Etc/GMT+%d", -hours), true
		}
		return "", false
	}
	for _, name := range []string{v, strings.ToUpper(v), titled(low)} {
		if _, err := time.LoadLocation(name); err == nil {
			return name, true
		}
	}
	return "", false
}

// titled writes europe/isle_of_man as Europe/Isle_of_Man.
func titled(low string) string {
	b := []byte(low)
	for i := range b {
		if (i == 0 || b[i-1] == '/' || b[i-1] == '_' || b[i-1] == '-') && b[i] >= 'a' && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return strings.NewReplacer("_Of_", "_of_", "_Es_", "_es_", "Au_", "au_").Replace(string(b))
}
