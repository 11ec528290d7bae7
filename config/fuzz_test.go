package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever the file holds: no panic, and either a configuration or an error that says where.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := Parse("f", data, testEnv)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v and %v", c, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Fatalf("no place: %v", err)
			}
			return
		}
		for _, name := range c.DatasetNames() {
			d := c.Datasets[name]
			if d.Form == 0 || c.Sources[d.Source] == nil || (d.Form != FormCDC && len(d.Parts) == 0) {
				t.Fatalf("half a dataset: %+v", d)
			}
			for _, p := range d.Parts {
				if (p.SQL == "") == (p.Table == "") || p.Target == "" {
					t.Fatalf("half a part: %+v", p)
				}
			}
		}
		if changes := Diff(c, c); len(changes) != 0 {
			t.Fatalf("a configuration differs from itself: %v", changes)
		}
	})
}

// Trimming again changes nothing, and what was trimmed ends no sooner than its last word.
func FuzzTrimSQL(f *testing.F) {
	for _, sql := range []string{"SELECT 1;", "SELECT ';' -- x", "SELECT $a$;$a$ /* ; */;", `SELECT E'\';'`} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		once, second := trimSQL(sql)
		if second >= 0 {
			return
		}
		if twice, _ := trimSQL(once); twice != once {
			t.Fatalf("%q → %q → %q", sql, once, twice)
		}
	})
}
