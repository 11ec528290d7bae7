package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a machine may have no time zones of its own
)

// QuietHours are a source's: the times at which nothing heavy is begun there. The zero QuietHours are never.
type QuietHours struct {
	windows []quietWindow
	zone    *time.Location
}

// quietWindow begins on each of its days; one that ends before it begins ends on the next day.
type quietWindow struct {
	days     [7]bool // by time.Weekday
	from, to int     // minutes of the day; to is 24 * 60 at most
}

const (
	dayMinutes  = 24 * 60
	weekMinutes = 7 * dayMinutes
)

// Until is the first moment from t on that is in none of the windows; t itself where that is one.
//
// Times are those of a clock on the wall. A beginning that such a clock comes past twice in autumn is the first one, an
// end the second; one that it jumps over in spring is the moment of the jump.
func (q *QuietHours) Until(t time.Time) time.Time {
	// Windows may follow each other, but not for ever: the weeks of a change of the clock are the only ones without a gap.
	for end := t.Add(15 * 24 * time.Hour); t.Before(end); {
		next := q.ending(t)
		if next.IsZero() {
			break
		}
		t = next
	}
	return t
}

// ending is the latest end of the windows that t is in; zero when it is in none.
func (q *QuietHours) ending(t time.Time) (latest time.Time) {
	if len(q.windows) == 0 {
		return latest
	}
	year, month, today := t.In(q.zone).Date()
	for _, w := range q.windows {
		for day := today - 1; day <= today; day++ {
			if !w.days[time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Weekday()] {
				continue
			}
			to := w.to
			if to <= w.from {
				to += dayMinutes
			}
			begin, _ := wallClock(year, month, day, w.from, q.zone)
			_, end := wallClock(year, month, day, to, q.zone)
			if !begin.After(t) && end.After(t) && end.After(latest) {
				latest = end
			}
		}
	}
	return latest
}

// wallClock is when a clock on the wall shows a minute of a day: the first time and the last. Where it never does, both are
// the moment at which it jumps over it.
func wallClock(year int, month time.Month, day, minute int, zone *time.Location) (first, last time.Time) {
	t := time.Date(year, month, day, 0, minute, 0, 0, zone)
	want := time.Date(year, month, day, 0, minute, 0, 0, time.UTC)
	_, offset := t.Zone()
	begin, end := t.ZoneBounds()
	switch shown := t.Add(time.Duration(offset) * time.Second); {
	case shown.After(want):
		return begin, begin
	case shown.Before(want):
		return end, end
	}
	first, last = t, t
	if !begin.IsZero() {
		_, before := begin.Add(-time.Second).Zone()
		if other := t.Add(time.Duration(offset-before) * time.Second); other.Before(begin) {
			first = other
		}
	}
	if !end.IsZero() {
		_, after := end.Zone()
		if other := t.Add(time.Duration(offset-after) * time.Second); !other.Before(end) {
			last = other
		}
	}
	return first, last
}

// always says whether the windows leave no minute of a week.
func (q *QuietHours) always() bool {
	var week [weekMinutes]bool
	for _, w := range q.windows {
		to := w.to
		if to <= w.from {
			to += dayMinutes
		}
		for day, on := range w.days {
			for m := w.from; on && m < to; m++ {
				week[(day*dayMinutes+m)%weekMinutes] = true
			}
		}
	}
	return !slices.Contains(week[:], false)
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// parseQuietWindow reads "22:00-02:00", or such times on days: "Mon-Fri 08:00-18:00", "Sat,Sun 00:00-24:00".
func parseQuietWindow(text string) (w quietWindow, err error) {
	bad := fmt.Errorf(`%q is not a window: write "22:00-02:00", or with days "Mon-Fri 08:00-18:00", "Sat,Sun 00:00-24:00"`, text)
	fields := strings.Fields(text)
	switch len(fields) {
	case 1:
		w.days = [7]bool{true, true, true, true, true, true, true}
	case 2:
		for _, span := range strings.Split(strings.ToLower(fields[0]), ",") {
			first, last, isRange := strings.Cut(span, "-")
			if !isRange {
				last = first
			}
			from, to := slices.Index(weekdays, first), slices.Index(weekdays, last)
			if from < 0 || to < 0 {
				return w, fmt.Errorf("%q: the days are Mon, Tue, Wed, Thu, Fri, Sat, Sun, as in Mon-Fri or Sat,Sun", text)
			}
			for day := from; ; day = (day + 1) % 7 {
				w.days[day] = true
				if day == to {
					break
				}
			}
		}
	default:
		return w, bad
	}
	from, to, ok := strings.Cut(fields[len(fields)-1], "-")
	if !ok {
		return w, bad
	}
	var okFrom, okTo bool
	w.from, okFrom = parseMinute(from)
	w.to, okTo = parseMinute(to)
	switch {
	case !okFrom || !okTo || w.from == dayMinutes:
		return w, bad
	case w.from == w.to:
		return w, fmt.Errorf("%q begins when it ends: a whole day is 00:00-24:00", text)
	}
	return w, nil
}

// parseMinute reads 00:00 to 24:00.
func parseMinute(text string) (int, bool) {
	hour, minute, ok := strings.Cut(text, ":")
	h, err1 := strconv.ParseUint(hour, 10, 8)
	m, err2 := strconv.ParseUint(minute, 10, 8)
	n := int(h)*60 + int(m)
	return n, ok && err1 == nil && err2 == nil && len(hour) <= 2 && len(minute) == 2 && m < 60 && n <= dayMinutes
}

// quiet reads the quiet hours of a source, whose key path is at.
func (d *decoder) quiet(s *Source, at string) {
	hours, zone := join(at, "quiet_hours"), join(at, "quiet_zone")
	q := QuietHours{zone: time.Local}
	if d.has(zone) {
		var err error
		if q.zone, err = time.LoadLocation(s.QuietZone); err != nil || strings.TrimSpace(s.QuietZone) == "" {
			d.fail(zone, "%q is not a time zone: write Europe/Berlin, UTC or Local", s.QuietZone)
		}
		if len(s.QuietHours) == 0 {
			d.warn(zone, "has no effect without quiet_hours")
		}
	}
	for i, text := range s.QuietHours {
		w, err := parseQuietWindow(text)
		if err != nil {
			d.fail(fmt.Sprintf("%s[%d]", hours, i), "%s", err)
			continue
		}
		q.windows = append(q.windows, w)
	}
	if q.always() {
		d.fail(hours, "cover the whole week: nothing would ever be copied; leave some time, or set paused: true in the datasets")
	}
	s.Quiet = q
}
