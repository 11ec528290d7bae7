package fault

import (
	"context"
	"errors"
	"testing"
)

func TestEveryCodeHasAnSQLState(t *testing.T) {
	for code := range codes {
		if len(sqlStates[code]) != 5 {
			t.Errorf("%s has the SQLSTATE %q", code, sqlStates[code])
		}
	}
	if len(sqlStates) != len(codes) {
		t.Errorf("%d codes, %d SQLSTATEs", len(codes), len(sqlStates))
	}
	for want, err := range map[string]error{"42501": New(Forbidden, "", "no"), "XX000": errors.New("plain"), "57014": context.Canceled} {
		if got := SQLState(err); got != want {
			t.Errorf("%v: %s, not %s", err, got, want)
		}
	}
}
