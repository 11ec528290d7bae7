package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func versionOf(t *testing.T, s *Store, targets ...string) string {
	t.Helper()
	v, _, err := s.Version(context.Background(), targets)
	if err != nil || v == "" {
		t.Fatalf("version of %v: %q, %v", targets, v, err)
	}
	return v
}

// Whatever a transaction does to a table changes the version of that table, and of no other; what it does to the state changes none.
func TestVersionOfEveryChange(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := []Column{col("id", oidInt8, -1), col("n", oidInt4, -1)}
	row := func(id int64, n int32) [][]byte { return [][]byte{i64(id), i32(n)} }
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.MakeSchema("Sch") }); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "Sch.Mixed"} {
		load(t, s, name, rowsOf(cols, row(1, 1), row(2, 2)))
	}
	swap := mustStage(t, s, "a", rowsOf(cols, row(3, 3)), true)
	merge := mustStage(t, s, "a", rowsOf(cols, row(3, 4)), false)
	defer s.Discard(ctx, merge)
	for _, c := range []struct {
		what string
		do   func(tx *Tx) error
		a, b bool // which versions change
	}{
		{"nothing", func(*Tx) error { return nil }, false, false},
		{"state", func(tx *Tx) error {
			if err := tx.SaveTable(TableState{Target: "a", Dataset: "a"}); err != nil {
				return err
			}
			if err := tx.Progress("a", 1, 1, nil, time.Now()); err != nil {
				return err
			}
			return tx.SetMeta("x", "y")
		}, false, false},
		{"swap", func(tx *Tx) error { return tx.Swap("a", swap) }, true, false},
		{"merge", func(tx *Tx) error { _, _, err := tx.Merge("a", merge, []string{"id"}, cols); return err }, true, false},
		{"rewrite", func(tx *Tx) error { _, _, err := tx.Rewrite("a", merge, KeyRange{}, cols); return err }, true, false},
		{"delete missing", func(tx *Tx) error { _, err := tx.DeleteMissing("A", merge, []string{"id"}, KeyRange{}); return err }, true, false},
		{"apply", func(tx *Tx) error { _, _, _, err := tx.Apply(Changes{Target: "a", Truncate: true}); return err }, true, false},
		{"add a column", func(tx *Tx) error { return tx.AddColumn("a", col("more", oidText, -1)) }, true, false},
		{"a view", func(tx *Tx) error { return tx.View("v", "SELECT * FROM b") }, false, false},
		{"both", func(tx *Tx) error {
			return join(tx.RenameColumn("a", "more", "other"), tx.RenameColumn("b", "n", "m"))
		}, true, true},
		{"anything", func(tx *Tx) error { _, err := tx.Exec("DELETE FROM b"); return err }, true, true},
		{"drop", func(tx *Tx) error { return tx.DropTable("a") }, true, false},
	} {
		a, b, view := versionOf(t, s, "a"), versionOf(t, s, "b"), versionOf(t, s, "v")
		if err := s.Commit(ctx, c.do); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		changed := c.a || c.b || c.what == "a view"
		equal(t, c.what, []bool{a != versionOf(t, s, "a"), b != versionOf(t, s, "b"), view != versionOf(t, s, "v")}, fmt.Sprint([]bool{c.a, c.b, changed}))
	}
	before := versionOf(t, s, "b", "sch.mixed")
	failed := s.Commit(ctx, func(tx *Tx) error { _, err := tx.Exec("DELETE FROM b"); return join(err, context.Canceled) })
	if failed == nil || before != versionOf(t, s, "b", "sch.mixed") {
		t.Errorf("a failed commit (%v) changed the version", failed)
	}
	_, views, err := s.Version(ctx, []string{"v"})
	if err != nil || len(views) != 1 || !strings.Contains(views[0], "SELECT * FROM b") {
		t.Errorf("views: %q, %v", views, err)
	}
	if _, views, _ = s.Version(ctx, []string{"b"}); len(views) != 0 {
		t.Errorf("of a table: %q", views)
	}
}

func join(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A statement that has the same version before and after its first row has read one state: that of all others with this version.
func TestVersionNamesOneState(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	commit := func(sql string) error {
		return s.Commit(ctx, func(tx *Tx) error {
			defer tx.changing("t")()
			_, err := tx.Exec(sql)
			return err
		})
	}
	if err := s.Commit(ctx, func(tx *Tx) error { _, err := tx.Exec("CREATE TABLE t AS SELECT 0 AS v"); return err }); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for i := range 400 {
			if err := commit(fmt.Sprintf("UPDATE t SET v = %d", i)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var mu sync.Mutex
	seen := map[string]string{}
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				before, _, _ := s.Version(ctx, []string{"t"})
				got := fmt.Sprint(lines(t, s, "SELECT v FROM t"))
				after, _, _ := s.Version(ctx, []string{"t"})
				if before == "" || before != after {
					continue
				}
				mu.Lock()
				if first, ok := seen[before]; ok && first != got {
					t.Errorf("version %s is %s and %s", before, first, got)
				}
				seen[before] = got
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) < 10 {
		t.Errorf("only %d versions were seen", len(seen))
	}
}
