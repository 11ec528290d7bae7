package deptest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFeaturesNameRealTests reads docs/features.md: every test that it names must exist in the folder that it names.
func TestFeaturesNameRealTests(t *testing.T) {
	root := "../.."
	page, err := os.ReadFile(filepath.Join(root, "docs/features.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(page), -1)
	if len(named) < 40 {
		t.Fatalf("only %d tests are named: the page's form has changed", len(named))
	}
	source := map[string]string{}
	for _, m := range named {
		dir, test := m[1], m[2]
		if _, ok := source[dir]; !ok {
			files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				source[dir] += string(b)
			}
		}
		if !strings.Contains(source[dir], "func "+test+"(") {
			t.Errorf("docs/features.md names %s in %s, which is not there", test, dir)
		}
	}
}
