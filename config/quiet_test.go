package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func quietHours(t *testing.T, zone string, windows ...string) *QuietHours {
	t.Helper()
	quoted := fmt.Sprintf("%q", windows)
	c := parseText(t, "sources:\n  s: {url: postgres://h/d, quiet_hours: "+strings.ReplaceAll(quoted, `" "`, `", "`)+", quiet_zone: "+zone+"}\n")
	return &c.Sources["s"].Quiet
}

// Until is the end of the quiet hours that a moment is in, through windows that follow each other; else the moment itself.
func TestQuietHours(t *testing.T) {
	work := []string{"Mon-Fri 08:00-18:00", "22:00-02:00"}
	for _, tc := range []struct {
		name, zone  string
		windows     []string
		moment, end string // "" is: it is not quiet
	}{
		// 2026-03-02 is a Monday.
		{"before", "Europe/Berlin", work, "2026-03-02T07:59:59+01:00", ""},
		{"the beginning belongs to it", "Europe/Berlin", work, "2026-03-02T08:00:00+01:00", "2026-03-02T18:00:00+01:00"},
		{"within", "Europe/Berlin", work, "2026-03-02T12:30:00+01:00", "2026-03-02T18:00:00+01:00"},
		{"the last moment", "Europe/Berlin", work, "2026-03-02T17:59:59.999+01:00", "2026-03-02T18:00:00+01:00"},
		{"the end does not", "Europe/Berlin", work, "2026-03-02T18:00:00+01:00", ""},
		{"another zone asks", "Europe/Berlin", work, "2026-03-02T07:00:00Z", "2026-03-02T17:00:00Z"},
		{"Friday", "Europe/Berlin", work, "2026-03-06T17:00:00+01:00", "2026-03-06T18:00:00+01:00"},
		{"Saturday", "Europe/Berlin", work, "2026-03-07T12:00:00+01:00", ""},
		{"Sunday", "Europe/Berlin", work, "2026-03-08T12:00:00+01:00", ""},
		{"before midnight", "Europe/Berlin", work, "2026-03-07T22:00:00+01:00", "2026-03-08T02:00:00+01:00"},
		{"after midnight", "Europe/Berlin", work, "2026-03-08T01:59:00+01:00", "2026-03-08T02:00:00+01:00"},
		{"a year's last night", "Europe/Berlin", work, "2026-12-31T23:00:00+01:00", "2027-01-01T02:00:00+01:00"},
		{"past midnight of its day", "UTC", []string{"Fri 22:00-02:00"}, "2026-03-07T01:00:00Z", "2026-03-07T02:00:00Z"},
		{"not past that of another", "UTC", []string{"Fri 22:00-02:00"}, "2026-03-06T01:00:00Z", ""},
		{"Saturday's own night", "UTC", []string{"Fri 22:00-02:00"}, "2026-03-07T23:00:00Z", ""},
		{"a week's end into the next", "UTC", []string{"Sun 22:00-02:00"}, "2026-03-09T01:00:00Z", "2026-03-09T02:00:00Z"},
		{"days over the week's end", "UTC", []string{"fri-mon 10:00-11:00"}, "2026-03-08T10:30:00Z", "2026-03-08T11:00:00Z"},
		{"days that are not among them", "UTC", []string{"Fri-Mon 10:00-11:00"}, "2026-03-10T10:30:00Z", ""},
		{"a list of days", "UTC", []string{"MON,Wed-Thu 9:00-10:00"}, "2026-03-05T09:30:00Z", "2026-03-05T10:00:00Z"},
		{"the day between", "UTC", []string{"MON,Wed-Thu 9:00-10:00"}, "2026-03-03T09:30:00Z", ""},
		{"whole days", "UTC", []string{"Sat,Sun 00:00-24:00"}, "2026-03-07T00:00:00Z", "2026-03-09T00:00:00Z"},
		{"one after the other", "UTC", []string{"20:00-24:00", "00:00-06:00", "06:00-07:00"}, "2026-03-07T21:00:00Z", "2026-03-08T07:00:00Z"},
		{"one within the other", "UTC", []string{"08:00-18:00", "12:00-13:00"}, "2026-03-07T12:30:00Z", "2026-03-07T18:00:00Z"},
		{"one over the other's end", "UTC", []string{"08:00-18:00", "17:00-19:00"}, "2026-03-07T12:30:00Z", "2026-03-07T19:00:00Z"},
		{"until midnight", "UTC", []string{"22:00-00:00"}, "2026-03-07T23:00:00Z", "2026-03-08T00:00:00Z"},

		// On 2026-03-29 the clock jumps from 02:00 +01:00 to 03:00 +02:00.
		{"over the jump", "Europe/Berlin", []string{"01:00-05:00"}, "2026-03-29T01:30:00+01:00", "2026-03-29T05:00:00+02:00"},
		{"it ends in the jump", "Europe/Berlin", []string{"01:00-02:30"}, "2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"and is over after it", "Europe/Berlin", []string{"01:00-02:30"}, "2026-03-29T03:00:00+02:00", ""},
		{"it begins in the jump", "Europe/Berlin", []string{"02:30-05:00"}, "2026-03-29T03:00:00+02:00", "2026-03-29T05:00:00+02:00"},
		{"and not before it", "Europe/Berlin", []string{"02:30-05:00"}, "2026-03-29T01:59:00+01:00", ""},
		{"all of it is in the jump", "Europe/Berlin", []string{"02:15-02:45"}, "2026-03-29T03:00:00+02:00", ""},
		{"the day is the wall's", "Europe/Berlin", []string{"Mon 00:00-01:00"}, "2026-03-29T22:30:00Z", "2026-03-29T23:00:00Z"},
		// On 2026-10-25 the hour from 02:00 comes twice, at +02:00 and at +01:00.
		{"over the hour that comes twice", "Europe/Berlin", []string{"01:00-05:00"}, "2026-10-25T02:30:00+02:00", "2026-10-25T05:00:00+01:00"},
		{"it ends the second time", "Europe/Berlin", []string{"01:00-02:30"}, "2026-10-25T02:45:00+02:00", "2026-10-25T02:30:00+01:00"},
		{"it begins the first time", "Europe/Berlin", []string{"02:30-04:00"}, "2026-10-25T02:30:00+02:00", "2026-10-25T04:00:00+01:00"},
		{"and goes on the second", "Europe/Berlin", []string{"02:30-04:00"}, "2026-10-25T02:15:00+01:00", "2026-10-25T04:00:00+01:00"},
		{"it is over", "Europe/Berlin", []string{"01:00-02:30"}, "2026-10-25T02:30:00+01:00", ""},
		// In Beirut the clock jumped at midnight: 2026-03-29 began at 01:00.
		{"a day without its midnight", "Asia/Beirut", []string{"Sun 00:00-02:00"}, "2026-03-28T22:00:00Z", "2026-03-28T23:00:00Z"},
		{"nor does the day before have it", "Asia/Beirut", []string{"Sat 22:00-00:00"}, "2026-03-28T21:59:00Z", "2026-03-28T22:00:00Z"},
		// The only time that is not quiet is what the jump leaves out.
		{"a week without a gap", "Europe/Berlin", []string{"Mon-Sat 00:00-24:00", "Sun 00:00-02:00", "Sun 03:00-24:00"}, "2026-03-24T12:00:00+01:00", "2026-04-05T02:00:00+02:00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at := func(text string) time.Time {
				m, err := time.Parse(time.RFC3339, text)
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			end := tc.end
			if end == "" {
				end = tc.moment
			}
			if got := quietHours(t, tc.zone, tc.windows...).Until(at(tc.moment)); !got.Equal(at(end)) {
				t.Errorf("quiet until %s, want %s", got.In(at(end).Location()).Format(time.RFC3339), end)
			}
		})
	}
	never := &QuietHours{}
	if now := time.Now(); !never.Until(now).Equal(now) {
		t.Error("no windows are quiet")
	}
}

// Minute by minute through two changes of the clock: what is quiet is what the wall shows within a window, but that a window
// lasts on through an hour that comes again.
func TestQuietHoursAgainstTheWall(t *testing.T) {
	q := quietHours(t, "Europe/Berlin", "Mon-Fri 08:00-18:00", "22:00-02:30")
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, day := range []string{"2026-03-28", "2026-10-24"} {
		from, _ := time.Parse(time.DateOnly, day)
		for m := range 3 * dayMinutes {
			at := from.Add(time.Duration(m) * time.Minute)
			wall := at.In(zone)
			minute := wall.Hour()*60 + wall.Minute()
			workday := wall.Weekday() != time.Saturday && wall.Weekday() != time.Sunday
			want := minute >= 22*60 || minute < 2*60+30 || workday && minute >= 8*60 && minute < 18*60
			if wall.Format(time.DateOnly) == "2026-10-25" && wall.Hour() == 2 && wall.Minute() >= 30 {
				_, offset := wall.Zone()
				want = offset == 2*3600
			}
			if got := q.Until(at).After(at); got != want {
				t.Fatalf("%s: quiet is %t", wall, got)
			}
		}
	}
}

// Other quiet hours are no reason to connect anew, which would interrupt what runs; everything else of a source is.
func TestConnectsAs(t *testing.T) {
	of := func(more string) *Source {
		return parseText(t, "sources:\n  s: {url: postgres://h/d"+more+"}\n").Sources["s"]
	}
	base := of("")
	for _, more := range []string{"", "\n    ", `, quiet_hours: ["08:00-18:00"]`, `, quiet_hours: ["08:00-18:00"], quiet_zone: UTC`} {
		if !of(more).ConnectsAs(base) || !base.ConnectsAs(of(more)) {
			t.Errorf("%q connects anew", more)
		}
	}
	for _, more := range []string{", pool: 100", ", bandwidth: 1MB", ", read: copy", "x"} {
		if of(more).ConnectsAs(base) {
			t.Errorf("%q does not connect anew", more)
		}
	}
}
