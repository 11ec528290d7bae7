package store

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
)

func TestPositions(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	save := func(dataset string, p change.Position) error {
		return s.Commit(ctx, func(tx *Tx) error { return tx.SavePosition(dataset, p) })
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	p := change.Position{LSN: 0xFFFFFFFF_FFFFFFF0, CommittedAt: at, System: "7340000000000000001", Timeline: 3}
	for _, step := range []struct {
		p    change.Position
		code fault.Code
	}{
		{change.Position{LSN: 0x16B3748, System: p.System, Timeline: 3}, ""},
		{change.Position{LSN: 0x16B3748, System: p.System, Timeline: 3}, ""}, // the same again
		{p, ""},
		{change.Position{LSN: p.LSN - 1, System: p.System, Timeline: 3}, fault.DataMismatch},
	} {
		if err := save("d", step.p); fault.CodeOf(err) != step.code {
			t.Errorf("%s: %v", step.p.LSN, err)
		}
	}
	if err := save("e", change.Position{LSN: 1}); err != nil {
		t.Fatal(err)
	}
	all, err := s.Positions(ctx)
	equal(t, "positions", []any{len(all), all["d"], all["e"], err}, []any{2, p, change.Position{LSN: 1}, nil})
	equal(t, "for everyone", lines(t, s, "SELECT * FROM _pintail.position() ORDER BY ALL"), "[d|FFFFFFFF/FFFFFFF0|2026-01-02 03:04:05.678901+00 e|0/1|NULL]")
	equal(t, "the table", lines(t, s, "SELECT lsn_number, ordinal, system_identifier, timeline, applied_at IS NOT NULL FROM _pintail.positions WHERE dataset = 'd'"), "[18446744073709551600|0|7340000000000000001|3|true]")
	// Another timeline or system begins anew.
	p.LSN, p.Timeline = 5, 4
	if err := save("d", p); err != nil {
		t.Error(err)
	}
	p.LSN, p.System = 4, "8"
	if err := save("d", p); err != nil {
		t.Error(err)
	}
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.DeletePosition("d") }); err != nil {
		t.Fatal(err)
	}
	all, err = s.Positions(ctx)
	equal(t, "after forgetting one", []any{len(all), err}, "[1 <nil>]")
}

// leavesNothing calls save, a commit, again and again: neither the log nor the file may grow with that, by more than bytes a time
// for what is still in the log.
func leavesNothing(t *testing.T, s *Store, save func(i int), bytes int64) {
	t.Helper()
	ctx := t.Context()
	save(1)
	if err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	_, _, first, err := s.Size()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	const saves = 500
	for i := range saves {
		save(2 + i)
	}
	took := time.Since(begin)
	_, wal, _, err := s.Size()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	file, left, used, err := s.Size()
	t.Logf("%v and %d bytes of WAL a commit; file %d, used %d, before %d", took/saves, wal/saves, file, used, first)
	if err != nil || left != 0 || wal > saves*bytes || used > first+512<<10 {
		t.Errorf("WAL %d, then %d; in use %d, before %d (%v)", wal, left, used, first, err)
	}
}

// Saved several times a second for months, a position must not fill the disk.
func TestPositionsLeaveNothingBehind(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	save := func(i int) {
		if err := s.Commit(ctx, func(tx *Tx) error {
			for k := range 3 {
				if err := tx.SavePosition(fmt.Sprint("dataset", k), change.Position{LSN: change.LSN(i), CommittedAt: time.Now(), System: "7340000000000000001", Timeline: 1}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	leavesNothing(t, s, save, 2000)
	equal(t, "rows", lines(t, s, "SELECT count(*), max(rowid) FROM _pintail.positions"), "[3|2]")
}

func TestQuarantine(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := []Quarantined{
		{Dataset: "d", Target: `s."x`, LSN: 0x16B3748, Reason: "it's bad", Code: "out_of_range", Row: json.RawMessage(`{"a":1}`), At: at},
		{Dataset: "d", Target: "s.y", LSN: 9, Reason: "all of it", Code: "shape_mismatch", At: at.Add(time.Second)},
		{Dataset: "e", Target: "s.y", At: at.Add(2 * time.Second)},
	}
	if err := s.Commit(ctx, func(tx *Tx) error {
		for i := range want {
			if err := tx.Quarantine(want[len(want)-1-i]); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Quarantined(ctx, "")
	equal(t, "all", []any{got, err}, []any{want, nil})
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.Unquarantine("d", "s.y") }); err != nil {
		t.Fatal(err)
	}
	got, err = s.Quarantined(ctx, "d")
	equal(t, "of d", []any{got, err}, []any{want[:1], nil})
}

// A file of format version 1 gets what it lacks and keeps what it has.
func TestMigrationFromFormat1(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "p.duckdb")
	s, err := Open(ctx, Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	load(t, s, "a", plainFeed(1, 100, 1, 1))
	if err := s.SaveRun(ctx, testRun("01", "d", "ready")); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, func(tx *Tx) error {
		if err := tx.SaveTable(TableState{Target: "a", Dataset: "d", Rows: 100}); err != nil {
			return err
		}
		// What version 1 did not have.
		return tx.run("DROP MACRO TABLE _pintail.position", "DROP TABLE _pintail.positions", "DROP TABLE _pintail.quarantine", "DROP TABLE _pintail.client_tables", "DROP MACRO _pintail.claim", "UPDATE _pintail.meta SET value = '1'")
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, err = Open(ctx, Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "format", lines(t, s, "SELECT name, value FROM _pintail.meta"), "[format|4]")
		if err := s.Commit(ctx, func(tx *Tx) error { return tx.SavePosition("d", change.Position{LSN: 7}) }); err != nil {
			t.Fatal(err)
		}
		equal(t, "position", lines(t, s, "SELECT dataset, lsn FROM _pintail.position()"), "[d|0/7]")
		ts, err := s.Tables(ctx)
		equal(t, "kept", []any{len(ts), err, lines(t, s, "SELECT count(*) FROM a"), lines(t, s, "SELECT id FROM _pintail.runs")}, "[1 <nil> [100] [01]]")
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// Under another file name the catalog has another name.
	moved := filepath.Join(filepath.Dir(path), "other.duckdb")
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Path: moved})
	equal(t, "position", lines(t, s, "SELECT dataset, lsn FROM _pintail.position()"), "[d|0/7]")
}

func TestTargetsInSchemas(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	long := strings.Repeat("s", 62) + `"`
	makeSchema(t, s, `Sa"les`, long, "Sales", "main")
	type rowsIn struct{ target, in, name string }
	for _, c := range []rowsIn{{`Sa"les.a.b.c`, `Sa"les`, "a.b.c"}, {long + "." + long, long, long}, {"Sales.Orders", "Sales", "Orders"}, {"main.m", "main", "m"}, {"Sales.select", "Sales", "select"}, {"Sales. ", "Sales", " "}} {
		cols := plainFeed(1, 1, 1, 1).cols
		load(t, s, c.target, plainFeed(1, 100, 1, 1))
		load(t, s, c.target, plainFeed(1, 50, 1, 2)) // in its place
		if n, err := s.CountRows(ctx, c.target); n != 50 || err != nil {
			t.Errorf("%s: %d %v", c.target, n, err)
		}
		equal(t, c.target, lines(t, s, "SELECT count(*), max(gen) FROM "+quote(c.in)+"."+quote(c.name)), "[50|2]")
		st := mustStage(t, s, c.target, plainFeed(1, 60, 1, 3), false)
		keys := mustStage(t, s, c.target, plainFeed(1, 55, 1, 3), false)
		if err := s.Commit(ctx, func(tx *Tx) error {
			ins, upd, err := tx.Merge(c.target, st, []string{"id"}, cols)
			equal(t, "merge", []any{ins, upd, err}, "[10 50 <nil>]")
			n, err := tx.DeleteMissing(c.target, keys, []string{"id"}, KeyRange{Column: "id", Low: "10"})
			equal(t, "missing", []any{n, err}, "[5 <nil>]")
			del, ins, err := tx.Rewrite(c.target, st, KeyRange{Column: "gen", Low: "3"}, cols)
			equal(t, "rewrite", []any{del, ins, err}, "[55 60 <nil>]")
			if err := tx.SaveTable(TableState{Dataset: "d", Target: c.target}); err != nil {
				return err
			}
			return tx.View(c.target+".view", "SELECT * FROM "+s.table(c.target))
		}); err != nil {
			t.Fatal(err)
		}
		s.Discard(ctx, st)
		s.Discard(ctx, keys)
		for _, step := range []func(tx *Tx) error{
			func(tx *Tx) error { return tx.DropView(c.target + ".view") },
			func(tx *Tx) error { return tx.AddColumn(c.target, col("more", oidInt4, -1)) },
			func(tx *Tx) error { return tx.AlterType(c.target, col("more", oidInt8, -1)) },
			func(tx *Tx) error { return tx.RenameColumn(c.target, "more", "fewer") },
			func(tx *Tx) error { return tx.DropColumn(c.target, "fewer") },
		} {
			if err := s.Commit(ctx, step); err != nil {
				t.Fatal(err)
			}
		}
		most, err := s.MaxOf(ctx, c.target, "id")
		equal(t, "max", []any{most, err}, "[59 <nil>]")
	}
	equal(t, "tables", len(lines(t, s, "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND schema_name <> '_pintail'")), 6)

	// What may not be.
	makes := func(name string) error { return s.Commit(ctx, func(tx *Tx) error { return tx.MakeSchema(name) }) }
	for _, name := range []string{"", "a.b", "_pintail", "_Pintail", "temp", "PINTAIL", "pg_catalog", "information_schema", "system", "Memory", "SALES"} {
		if err := makes(name); fault.CodeOf(err) != fault.Config {
			t.Errorf("schema %q: %v", name, err)
		}
	}
	for _, target := range []string{"_pintail.x", "Sales.", ".x", "Sales._pintail_stage_x", "_Pintail_Stage_x", "temp.x"} {
		f := plainFeed(1, 1, 1, 1)
		if _, err := s.Stage(ctx, target, f.cols, f, true); fault.CodeOf(err) != fault.Config {
			t.Errorf("%q: %v", target, err)
		}
	}
	st := mustStage(t, s, "Sales.ORDERS", plainFeed(1, 1, 1, 1), true)
	err := s.Commit(ctx, func(tx *Tx) error { return tx.Swap("Sales.ORDERS", st) })
	if fault.CodeOf(err) != fault.Config || !strings.Contains(err.Error(), "Sales.Orders") {
		t.Error(err)
	}
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.Swap("main.ORDERS", st) }); fault.CodeOf(err) != fault.Internal {
		t.Error("swapped into another schema:", err)
	}
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.View("Sales.ORDERS", "SELECT 1") }); fault.CodeOf(err) != fault.Config {
		t.Error(err)
	}
	s.Discard(ctx, st)
	f := rowsOf([]Column{col("A", oidInt4, -1), col("b", oidInt4, -1), col("a", oidInt4, -1)})
	if _, err := s.Stage(ctx, "Sales.x", f.cols, f, true); fault.CodeOf(err) != fault.Config || !strings.Contains(err.Error(), `"A" and "a"`) {
		t.Error(err)
	}
	// Letters other than ASCII's differ in case in DuckDB as well.
	load(t, s, "Sales.é", rowsOf([]Column{col("é", oidInt4, -1), col("É", oidInt4, -1)}, [][]byte{i32(1), i32(2)}))
	load(t, s, "Sales.É", rowsOf([]Column{col("k", oidInt4, -1), col("\u212a", oidInt4, -1)}, [][]byte{i32(3), i32(4)}))
	equal(t, "merge", apply1(t, s, "Sales.É", []string{"\u212a"}, []Column{col("k", oidInt4, -1), col("\u212a", oidInt4, -1)}, nil, opRow{op: change.OpUpsert, row: [][]byte{i32(5), i32(4)}}), "[0 1 0]")
	equal(t, "two tables", []any{lines(t, s, "SELECT * FROM Sales.é"), lines(t, s, "SELECT * FROM Sales.É")}, "[[1|2] [5|4]]")

	// A schema is dropped when it is empty.
	drop := func(name string) {
		if err := s.Commit(ctx, func(tx *Tx) error { return tx.DropSchema(name) }); err != nil {
			t.Error(name, err)
		}
	}
	schemas := func() []string {
		return lines(t, s, "SELECT schema_name FROM duckdb_schemas() WHERE NOT internal AND schema_name <> '_pintail' ORDER BY 1")
	}
	drop("main")
	drop("sales")
	drop("none")
	drop(long)
	equal(t, "schemas", len(schemas()), 3)
	if err := s.Commit(ctx, func(tx *Tx) error {
		if err := tx.DropTable(long + "." + long); err != nil {
			return err
		}
		return tx.DropSchema(long)
	}); err != nil {
		t.Fatal(err)
	}
	equal(t, "schemas", schemas(), `[Sa"les Sales]`)
}

// A swap within a schema under a reader that began before.
func TestSwapInASchemaUnderAnOpenReader(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	makeSchema(t, s, "x")
	load(t, s, "x.a", plainFeed(2, 50000, 2, 1))
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.View("x.v", "SELECT * FROM x.a") }); err != nil {
		t.Fatal(err)
	}
	se := session(t, s)
	if _, err := se.exec(ctx, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	gens := func() (n int64) {
		n, err := se.queryInt(ctx, "SELECT sum(gen)::BIGINT FROM x.v")
		if err != nil {
			t.Error(err)
		}
		return n
	}
	equal(t, "before", gens(), 100000)
	load(t, s, "x.a", plainFeed(2, 50000, 2, 2))
	equal(t, "the old reader", gens(), 100000)
	equal(t, "the others", lines(t, s, "SELECT sum(gen)::BIGINT FROM x.v"), "[200000]")
	cols := plainFeed(1, 1, 1, 1).cols
	equal(t, "a batch", apply1(t, s, "x.a", []string{"id"}, cols, nil, opRow{op: change.OpDelete, row: [][]byte{i64(5), nil, nil}}), "[0 0 1]")
	equal(t, "the old reader", gens(), 100000)
	equal(t, "the others", lines(t, s, "SELECT sum(gen)::BIGINT FROM x.v"), "[199998]")
}
