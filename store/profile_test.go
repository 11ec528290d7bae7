package store

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A profiled store tells what a statement spent its time with, of one that was given up halfway too; any other tells nothing.
func TestProfile(t *testing.T) {
	for _, on := range []bool{false, true} {
		se := session(t, openTest(t, Options{Profile: on}))
		if err := se.Begin(context.Background()); err != nil {
			t.Fatal(err)
		}
		st, err := se.Prepare(context.Background(), "SELECT range % 100 AS k, count(*), sum(sqrt(range)) FROM range(2000000) GROUP BY k")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			rows, err := st.Query(context.Background(), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			for c, err := rows.Next(); c != nil || err != nil; c, err = rows.Next() {
				if err != nil {
					t.Fatal(err)
				}
			}
			rows.Close()
			got := se.Profile(2)
			if !on {
				if got != nil {
					t.Errorf("without profiling: %v", got)
				}
				continue
			}
			if len(got) != 2 || got[0].Time < got[1].Time || got[0].Time <= 0 || got[0].Time > time.Minute {
				t.Errorf("%v", got)
			}
			text := got[0].String() + got[1].String()
			if !strings.Contains(text, "HASH_GROUP_BY") || !strings.Contains(text, ", 100 rows") {
				t.Error(text)
			}
		}
		half, err := se.Prepare(context.Background(), "SELECT range FROM range(1000000000)")
		if err != nil {
			t.Fatal(err)
		}
		rows, err := half.Query(context.Background(), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := rows.Next(); c == nil || err != nil {
			t.Fatal(c, err)
		}
		rows.Close()
		for _, o := range se.Profile(5) {
			if strings.Contains(o.Name, "GROUP") {
				t.Errorf("of the statement before: %v", o)
			}
		}
	}
}
