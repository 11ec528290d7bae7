package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %#v\nwant %#v", what, got, want)
	}
}

func TestTrimSQL(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT 1":                         "SELECT 1",
		" SELECT 1 ; \n":                   "SELECT 1",
		"SELECT 1;;; -- ; done\n/* ; */ ;": "SELECT 1",
		"SELECT 1 -- ;":                    "SELECT 1",
		"SELECT 1 -- a\nFROM t;":           "SELECT 1 -- a\nFROM t",
		"SELECT ';'":                       "SELECT ';'",
		"SELECT 'it''s;';":                 "SELECT 'it''s;'",
		`SELECT E'\';--' ;`:                `SELECT E'\';--'`,
		`SELECT '\';`:                      `SELECT '\'`,
		`SELECT ";--" FROM t ; `:           `SELECT ";--" FROM t`,
		"SELECT $$;--$$;":                  "SELECT $$;--$$",
		"SELECT $a$ ; $b$ ; $a$ ; --x":     "SELECT $a$ ; $b$ ; $a$",
		"SELECT a$b$;":                     "SELECT a$b$",
		"SELECT $1;":                       "SELECT $1",
		"SELECT 1 /* a /* ; */ ; */;":      "SELECT 1",
		"SELECT /* ; */ 1;":                "SELECT /* ; */ 1",
		"-- top\nSELECT 1;":                "-- top\nSELECT 1",
		"SELECT '--';":                     "SELECT '--'",
		"SELECT 1 /* open ;":               "SELECT 1",
		"SELECT 'open ; ":                  "SELECT 'open ; ",
		";;":                               "",
		"-- only":                          "",
		"SELECT 'ü' ;":                     "SELECT 'ü'",
		"SELECT typE'x;';":                 "SELECT typE'x;'",
		"SELECT 1\r\n;\r\n":                "SELECT 1",
	} {
		got, second := trimSQL(sql)
		if got != want || second >= 0 {
			t.Errorf("%q: %q, second statement %d; want %q", sql, got, second, want)
		}
	}
	for _, sql := range []string{"SELECT 1; SELECT 2", "SELECT 1;/* */x", "; SELECT 1; -- a\n b"} {
		if _, second := trimSQL(sql); second < 0 {
			t.Errorf("%q: a second statement passes", sql)
		}
	}
}

func TestExpand(t *testing.T) {
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "x", "EMPTY": "", "PW": "p@:/?#%ü ", "REF": "${A}"}[name]
		return v, ok
	}
	for text, want := range map[string]string{
		"${A}":                         "x",
		"a${A}b${A}":                   "axbx",
		"$A $$ $ {A}":                  "$A $$ $ {A}",
		"$${A}":                        "${A}",
		"$$${A}":                       "$${A}",
		"${REF}":                       "${A}",
		"${NONE:-d}":                   "d",
		"${EMPTY:-d}":                  "d",
		"${EMPTY}":                     "",
		"${NONE:-}":                    "",
		"${NONE:-a:-b}":                "a:-b",
		"${NONE:-${A}y}":               "xy",
		"${A:-${NONE}}":                "x",
		"postgres://u:${PW}@h/d":       "postgres://u:p%40%3A%2F%3F%23%25%C3%BC%20@h/d",
		"postgres://${PW}:${PW}@${A}":  "postgres://p%40%3A%2F%3F%23%25%C3%BC%20:p%40%3A%2F%3F%23%25%C3%BC%20@x",
		"postgres://u:a${PW}b@h/${PW}": "postgres://u:ap%40%3A%2F%3F%23%25%C3%BC%20b@h/p@:/?#%ü ",
		"postgres://h/d?p=${PW}":       "postgres://h/d?p=p@:/?#%ü ",
		"postgres://u@h/d?p=${A}@${A}": "postgres://u@h/d?p=x@x",
		"postgres://u:${NONE:-a/b}@h":  "postgres://u:a%2Fb@h",
		"${PW}@h":                      "p@:/?#%ü @h",
		"mail to://${PW}@h":            "mail to://p@:/?#%ü @h",
	} {
		got, _, errs := expand(text, env)
		if len(errs) > 0 || got != want {
			t.Errorf("%s: %q %v, want %q", text, got, errs, want)
		}
	}
	for _, text := range []string{"${NONE}", "${", "${A", "${}", "${1}", "${A-b}", "${NONE:-${NONE}}", "${a b}", strings.Repeat("${A:-", 100)} {
		if _, _, errs := expand(text, env); len(errs) == 0 {
			t.Errorf("%s passes", text)
		}
	}
}

func TestSecret(t *testing.T) {
	s := Secret("hunter2")
	holder := struct{ S Secret }{s}
	var logs bytes.Buffer
	slog.New(slog.NewJSONHandler(&logs, nil)).Info("x", "secret", s, "holder", holder)
	slog.New(slog.NewTextHandler(&logs, nil)).Info("x", "secret", s, "holder", holder)
	text, err := json.Marshal([]any{s, holder, &s})
	if err != nil {
		t.Fatal(err)
	}
	out := logs.String() + string(text) + s.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s", "%T"} {
		out += fmt.Sprintf(verb+verb+verb, s, holder, &holder)
	}
	for _, leak := range []string{"hunter2", "68756e746572", "68756E746572"} {
		if strings.Contains(out, leak) {
			t.Errorf("%s in %s", leak, out)
		}
	}
	equal(t, "reveal", s.Reveal(), "hunter2")
}

func TestRedacted(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:pw@h:5432/d?sslmode=require": "postgres://u:***@h:5432/d?sslmode=require",
		"postgres://u@h/d":                         "postgres://u@h/d",
		"postgres://h/d":                           "postgres://h/d",
		"postgres://u:p:w@h/d":                     "postgres://u:***@h/d",
		"postgres://u:p@w/x@h/d":                   "postgres://u:***@h/d",
		"postgres://u:p?w@h/d":                     "postgres://u:***@h/d",
		"postgres://h/d?user=u&password=pw&a=b":    "postgres://h/d?user=u&password=***&a=b",
		"postgres://h/d?sslpassword=pw#x":          "postgres://h/d?sslpassword=***#x",
		"postgres://u:a@h/d?PASSWORD=pw":           "postgres://u:***@h/d?PASSWORD=***",
		"host=h user=u password=pw dbname=d":       "host=h user=u password=*** dbname=d",
		`host=h password = 'p w\'x' sslpassword=y`: "host=h password = *** sslpassword=***",
		`password=p\ w dbname=d`:                   "password=*** dbname=d",
	} {
		equal(t, url, Secret(url).Redacted(), want)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "17": 17, "17B": 17, "512MiB": 512 << 20, "4GB": 4e9, "4 gb": 4e9, "1.5GiB": 3 << 29, "2TiB": 2 << 40, "1kib": 1024, "1KB": 1000} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("%s: %d %v", text, got, err)
		}
		if back, err := ParseSize(got.String()); err != nil || back != got {
			t.Errorf("%s → %s → %d %v", text, got, back, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1XB", "GB", "9e9", "99999999999GB", "9223372036854775808", "1.2.3MB", "NaN", "Inf", "0x10"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestSchedule(t *testing.T) {
	for text, want := range map[string]Schedule{"": {}, "off": {}, "0": {}, "0s": {}, "30s": {Every: 30 * time.Second}, "1h30m": {Every: 90 * time.Minute},
		"*/5 * * * *": {Cron: "*/5 * * * *"}, " 0  3 * * MON-FRI ": {Cron: "0 3 * * MON-FRI"}, "@daily": {Cron: "@daily"}} {
		got, err := ParseSchedule(text)
		if err != nil || got != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
		if again, err := ParseSchedule(got.String()); err != nil || again != got {
			t.Errorf("%q → %s: %v %v", text, got, again, err)
		}
	}
	for _, text := range []string{"30", "1ms", "-5m", "soon", "* * * *", "* * * * * *", "60 * * * *", "@sometimes", "0 0 31 2 *"} {
		if got, err := ParseSchedule(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	keys := []string{"refresh", "reconcile", "table", "key"}
	for word, want := range map[string]string{"refesh": "refresh", "rferesh": "refresh", "Tabel": "table", "kye": "key", "reconsile": "reconcile", "xyz": "", "a": ""} {
		got := didYouMean(word, keys)
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", word, got)
		}
	}
}

func TestCgroupMemory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("fs/a/memory.max", "2000\n")
	write("fs/a/b/memory.max", "max\n")
	write("fs/memory/c/memory.limit_in_bytes", "3000\n")
	write("fs/memory/memory.limit_in_bytes", "9223372036854771712\n")
	fs := filepath.Join(dir, "fs")
	equal(t, "parent's limit", cgroupMemory(write("two", "0::/a/b\n"), fs), Size(2000))
	equal(t, "version 1", cgroupMemory(write("one", "5:cpu,memory:/c\n4:pids:/a\n"), fs), Size(3000))
	equal(t, "none", cgroupMemory(write("none", "0::/\n"), fs), Size(0))
	equal(t, "absent", cgroupMemory(filepath.Join(dir, "absent"), fs), Size(0))
}
