package store

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/pintaildb/pintail/internal/fault"
)

func TestMeta(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "p.duckdb")
	s := openTest(t, Options{Path: path})
	set := func(name, value string) error {
		return s.Commit(ctx, func(tx *Tx) error { return tx.SetMeta(name, value) })
	}
	for _, v := range [][2]string{{"slot.d", "a"}, {"slot.d", `it's "b"`}, {"slot.é%_", ""}, {"slot", "c"}, {"Slot.x", "d"}, {"formats", "e"}} {
		if err := set(v[0], v[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Path: path})
	for prefix, want := range map[string]map[string]string{
		"slot.":   {"slot.d": `it's "b"`, "slot.é%_": ""},
		"slot.é%": {"slot.é%_": ""},
		"%":       {},
		"format":  {"formats": "e"},
		"":        {"slot.d": `it's "b"`, "slot.é%_": "", "slot": "c", "Slot.x": "d", "formats": "e"},
	} {
		got, err := s.Meta(ctx, prefix)
		equal(t, "under "+prefix, []any{got, err}, []any{want, nil})
	}
	// The store's own, and what is not there.
	for _, name := range []string{"format", "", "a\x00"} {
		equal(t, "set "+name, fault.CodeOf(set(name, "3")), fault.Internal)
		err := s.Commit(ctx, func(tx *Tx) error { return tx.DeleteMeta(name) })
		equal(t, "delete "+name, fault.CodeOf(err), fault.Internal)
	}
	if err := s.Commit(ctx, func(tx *Tx) error {
		for _, name := range []string{"slot.d", "none"} {
			if err := tx.DeleteMeta(name); err != nil {
				return err
			}
		}
		return tx.SetMeta("slot.new", "f")
	}); err != nil {
		t.Fatal(err)
	}
	// Rolled back, nothing has changed.
	err := s.Commit(ctx, func(tx *Tx) error {
		if err := tx.SetMeta("slot", "changed"); err != nil {
			return err
		}
		return fault.New(fault.Cancelled, "", "stop")
	})
	equal(t, "error", fault.CodeOf(err), fault.Cancelled)
	equal(t, "at last", lines(t, s, "SELECT name, value FROM _pintail.meta ORDER BY name"), "[Slot.x|d format|4 formats|e slot|c slot.new|f slot.é%_|]")
}
