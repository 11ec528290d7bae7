package store

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// Pintail's own views can ask the process that has the file; each run of a statement asks anew, and its plan does not.
func TestHost(t *testing.T) {
	s := openTest(t, Options{})
	const ask = "SELECT _pintail_host('what', 'by', i::VARCHAR) FROM range(3) r(i)"
	equal(t, "nobody answers", lines(t, s, ask), "[NULL NULL NULL]")
	calls := 0
	s.SetHost(func(question, asker, about string) (string, error) {
		calls++
		switch about {
		case "none":
			return "", errors.New("not this")
		case "panic":
			panic("oh")
		}
		return question + " " + asker + " " + about + strings.Repeat(".", 20), nil
	})
	se := session(t, s)
	st, err := se.Prepare(context.Background(), ask)
	if err != nil || calls != 0 {
		t.Fatal(calls, err)
	}
	for run := range 2 {
		rows, err := st.Query(context.Background(), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := rows.Next()
		if err != nil || c.Len() != 3 || string(c.AppendText(nil, 0, 2)) != "what by 2...................." || calls != 3*(run+1) {
			t.Error(c, calls, err)
		}
		rows.Close()
	}
	equal(t, "of NULL nothing is asked", lines(t, s, "SELECT _pintail_host('what', NULL, x) FROM (VALUES ('a'), (NULL)) v(x)"), "[NULL NULL]")
	if calls != 6 {
		t.Error(calls)
	}
	for about, want := range map[string]string{"none": "not this", "panic": "oh"} {
		if _, err := se.exec(context.Background(), "SELECT _pintail_host('what', 'by', '"+about+"')"); err == nil || !strings.Contains(err.Error(), want) {
			t.Error(about, err)
		}
	}
}
