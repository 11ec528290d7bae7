package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/adhocore/gronx"
)

const redacted = "***"

// Secret is text that prints as *** everywhere: fmt (every verb), JSON, slog. Reveal is the only way to it.
type Secret string

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }

var (
	secretParam = regexp.MustCompile(`(?i)([?&])((?:[a-z_]*password|passwd|pwd|token|secret)=)[^&#]*`)
	secretWord  = regexp.MustCompile(`(?i)\b([a-z_]*password|passwd|pwd)(\s*=\s*)('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)`)
)

// Redacted is a connection URL (or libpq key/value text) for people: host, user and database stay, the password
// and password-like parameters become ***.
func (s Secret) Redacted() string {
	text := string(s)
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		return secretWord.ReplaceAllString(text, "${1}${2}"+redacted)
	}
	// The last @ ends the userinfo even when the password holds a raw / ? or #: hide too much rather than too little.
	params := ""
	at := strings.LastIndexByte(rest, '@')
	if at >= 0 {
		user, _, hasPassword := strings.Cut(rest[:at], ":")
		if hasPassword {
			user += ":" + redacted
		}
		rest = user + rest[at:]
	}
	if q := strings.IndexByte(rest, '?'); q >= 0 {
		rest, params = rest[:q], secretParam.ReplaceAllString(rest[q:], "${1}${2}"+redacted)
	}
	return scheme + "://" + rest + params
}

// Size is a number of bytes.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{ // longest names first
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12}, {"b", 1},
}

// ParseSize reads 512MiB, 4GB, 1.5 GiB or plain bytes. Units with an i are powers of 1024.
func ParseSize(text string) (Size, error) {
	num, unit := strings.ToLower(strings.TrimSpace(text)), int64(1)
	for _, u := range sizeUnits {
		if strings.HasSuffix(num, u.name) {
			num, unit = strings.TrimSpace(strings.TrimSuffix(num, u.name)), u.bytes
			break
		}
	}
	bad := fmt.Errorf("%q is not a size: write 512MiB, 4GB or a number of bytes", text)
	if n, err := strconv.ParseInt(num, 10, 64); err == nil {
		if n < 0 || (unit > 1 && n > math.MaxInt64/unit) {
			return 0, bad
		}
		return Size(n * unit), nil
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil || strings.Trim(num, "0123456789.") != "" || f < 0 || f*float64(unit) >= math.MaxInt64 {
		return 0, bad
	}
	return Size(f * float64(unit)), nil
}

// String is the shortest exact form that ParseSize reads: 512MiB, 4GB, 1000001B.
func (s Size) String() string {
	best := strconv.FormatInt(int64(s), 10) + "B"
	if s == 0 {
		return best
	}
	for _, u := range sizeUnits {
		if u.bytes > 1 && int64(s)%u.bytes == 0 {
			name := strings.ToUpper(u.name)
			if len(name) == 3 {
				name = name[:1] + "i" + name[2:]
			}
			if text := strconv.FormatInt(int64(s)/u.bytes, 10) + name; len(text) < len(best) {
				best = text
			}
		}
	}
	return best
}

// Bytes is s as an integer.
func (s Size) Bytes() int64 { return int64(s) }

// Schedule says when something runs: Every so often, or at the times of a cron line. The zero Schedule is never.
type Schedule struct {
	Every time.Duration
	Cron  string
}

// IsZero says whether s never runs.
func (s Schedule) IsZero() bool { return s.Every == 0 && s.Cron == "" }

// String is the form that ParseSchedule reads.
func (s Schedule) String() string {
	switch {
	case s.Cron != "":
		return s.Cron
	case s.Every != 0:
		return s.Every.String()
	}
	return "off"
}

const everyMin = 100 * time.Millisecond

// ParseSchedule reads off, 0, a duration with its unit (30s, 15m) or a cron line (local time; minute first, @daily and the like).
func ParseSchedule(text string) (Schedule, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "" || text == "0" || text == "off":
		return Schedule{}, nil
	case strings.HasPrefix(text, "@") || strings.ContainsAny(text, " \t"):
		return parseCron(text)
	}
	if strings.Trim(text, "0123456789.") == "" {
		return Schedule{}, fmt.Errorf("%q has no unit: write %ss or %sm, or a cron line", text, text, text)
	}
	every, err := parseDuration(text)
	if err != nil {
		return Schedule{}, fmt.Errorf(`%q is not a schedule: write 30s, 15m or a cron line such as "*/5 * * * *"`, text)
	}
	if every != 0 && every < everyMin {
		return Schedule{}, fmt.Errorf("%s is too often: %s at least", every, everyMin)
	}
	return Schedule{Every: every}, nil
}

func parseCron(text string) (Schedule, error) {
	bad := fmt.Errorf(`%q is not a cron line: write five fields, minute hour day month weekday, such as "*/5 * * * *"`, text)
	if n := len(strings.Fields(text)); n != 1 && n != 5 {
		return Schedule{}, bad
	}
	if !gronx.IsValid(text) {
		return Schedule{}, bad
	}
	if _, err := gronx.NextTickAfter(text, time.Now(), false); err != nil {
		return Schedule{}, fmt.Errorf("the cron line %q never comes due", text)
	}
	return Schedule{Cron: strings.Join(strings.Fields(text), " ")}, nil
}

// parseDuration reads 30s, 2m, 1h30m, or a plain number of seconds.
func parseDuration(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	bad := fmt.Errorf("%q is not a duration: write 30s, 2m, 1h30m or a number of seconds", text)
	if text == "" {
		return 0, bad
	}
	d, err := time.ParseDuration(text)
	if strings.Trim(text, "+-0123456789.") == "" {
		d, err = time.ParseDuration(text + "s")
	}
	switch {
	case err != nil:
		return 0, bad
	case d < 0:
		return 0, fmt.Errorf("%q is negative", text)
	}
	return d, nil
}
