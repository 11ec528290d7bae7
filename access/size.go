package access

import (
	"fmt"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
)

// What bounds the work of planning. DuckDB cannot be interrupted while it plans and begins a statement, and what it needs for that is
// in no limit of its memory.
const (
	// selectsMax bounds the SELECTs of a statement, those of a WITH as often as they are named: the time grows with the square of their
	// number, and 4,000 take about a second. Twenty WITHs of which each names the one before twice would be a million.
	selectsMax = 4000
	// termsMax bounds the terms of one AND or OR. There too the time grows with the square; 10,000 take one to two seconds.
	termsMax = 10_000
	// signsMax bounds a run of signs: the parser's scanner looks at all that is left of one for each /* in it.
	signsMax = 1024
)

// checkRuns refuses a text before it is parsed.
func checkRuns(sql string) error {
	n := 0
	for i := range len(sql) {
		if strings.IndexByte("~!@#^&|`?+-*/%<>=", sql[i]) < 0 {
			n = 0
		} else if n++; n > signsMax {
			return fault.New(fault.InvalidSQL, "break it with a blank, or bind it as a parameter", "the statement has more than %d signs in a row, which end at byte %d", signsMax, i)
		}
	}
	return nil
}

// checkSize refuses a statement that is larger.
func checkSize(root *node) error {
	n, err := selectsOf(root, nil)
	if err == nil && n > selectsMax {
		err = errParser{message: fmt.Sprintf("the statement has more than %d SELECTs, those of a WITH counted as often as they are named", selectsMax)}
	}
	return err
}

// withs is the chain of the WITHs that a name is looked up in, innermost first.
type withs struct {
	name    string
	selects int
	outer   *withs
}

func (w *withs) of(name string) int {
	for name = fold(name); w != nil; w = w.outer {
		if w.name == name {
			return w.selects
		}
	}
	return 0
}

func selectsOf(n *node, in *withs) (total int, err error) {
	if n == nil {
		return 0, nil
	}
	switch {
	case n.class == "CONJUNCTION":
		if terms := n.child("children"); terms != nil && terms.length > termsMax {
			return 0, errParser{message: fmt.Sprintf("an AND or OR of the statement has %d terms, the most is %d: use IN (…)", terms.length, termsMax)}
		}
	case n.typ == "SELECT_NODE":
		total = 1
	case n.typ == "BASE_TABLE" && n.text["schema_name"] == "" && n.text["catalog_name"] == "":
		total = in.of(n.text["table_name"])
	}
	if m := n.child("cte_map"); m != nil {
		for _, e := range m.list("map") {
			one, err := selectsOf(e.child("value"), in)
			if err != nil {
				return 0, err
			}
			in = &withs{fold(e.text["key"]), one, in}
		}
	}
	below := func(c *node) error {
		one, err := selectsOf(c, in)
		total = min(total+one, selectsMax+1)
		return err
	}
	for _, f := range n.fields {
		if f.name == "cte_map" {
			continue
		}
		if err := below(f.node); err != nil {
			return 0, err
		}
	}
	for _, c := range n.items {
		if err := below(c); err != nil {
			return 0, err
		}
	}
	return total, nil
}
