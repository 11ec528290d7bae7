package store

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change"
)

func stampAt(n int64) change.Stamp {
	return change.Stamp{LSN: change.LSN(n), At: time.UnixMicro(n * 1_000_000)}
}

// swapKept makes target from rows that were all written at one moment, going on from what it kept.
func swapKept(t *testing.T, s *Store, target string, cols []Column, keep change.Keep, by change.Stamp, rows ...[][]byte) time.Time {
	t.Helper()
	ctx := context.Background()
	st, err := s.StageKept(ctx, target, cols, rowsOf(cols, rows...), keep, by)
	if err != nil {
		t.Fatal(err)
	}
	now, at, err := s.Past(ctx, target, st, []string{"id"}, keep, by)
	if err != nil {
		t.Fatal(err)
	}
	if now.Rows != int64(len(rows)) {
		t.Errorf("%d rows, want %d", now.Rows, len(rows))
	}
	if err := s.Commit(ctx, func(tx *Tx) error {
		if err := tx.Swap(target, now); err != nil || keep.Deletes != change.DeletesHistory {
			return err
		}
		return tx.TimeTravel(target)
	}); err != nil {
		t.Fatal(err)
	}
	return at
}

// A table that is copied anew goes on from its history: what is the same stays one version, whatever its columns are by now.
func TestNewCopyKeepsTheHistory(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "p.duckdb")
	s := openTest(t, Options{Path: path})
	makeSchema(t, s, "shop")
	id, v, iv, moment := col("id", oidInt8, -1), col("v", oidText, -1), col("iv", oidInterval, -1), col("moment", oidText, -1)
	keep := change.Keep{Deletes: change.DeletesHistory}
	const target = "shop.Or\"ders"
	versions := func(s *Store) []string {
		return lines(t, s, `SELECT * EXCLUDE (_pintail_valid_from, _pintail_valid_to), epoch(_pintail_valid_from)::INT AS a, epoch(_pintail_valid_to)::INT AS b FROM shop."Or""ders" ORDER BY id, a, v`)
	}
	month, days := interval(1, 0, 0), interval(0, 30, 0)
	swapKept(t, s, target, []Column{id, v, iv}, keep, stampAt(100), [][]byte{i64(1), txt("a"), month}, [][]byte{i64(2), txt("b"), month}, [][]byte{i64(3), nil, nil}, [][]byte{i64(4), txt("d"), month})
	// 1 stays, 2 changes, 3 stays with its NULLs, 4 goes, 5 comes.
	swapKept(t, s, target, []Column{id, v, iv}, keep, stampAt(200), [][]byte{i64(1), txt("a"), month}, [][]byte{i64(2), txt("b"), days}, [][]byte{i64(3), nil, nil}, [][]byte{i64(5), txt("e"), nil})
	equal(t, "versions", versions(s), "[1|a|1 month|100|100|NULL 2|b|1 month|100|100|200 2|b|30 days|200|200|NULL 3|NULL|NULL|100|100|NULL 4|d|1 month|100|100|200 5|e|NULL|200|200|NULL]")
	// At an earlier time by another server's clock; v has another type, iv is gone, and a column came.
	at := swapKept(t, s, target, []Column{id, col("v", oidInt4, -1), moment}, keep, stampAt(150), [][]byte{i64(1), nil, txt("m")}, [][]byte{i64(4), i32(7), nil})
	if !at.Equal(stampAt(200).At) {
		t.Errorf("written at %s", at)
	}
	want := "[1|NULL|m|100|100|NULL 2|NULL|NULL|100|100|200 2|NULL|NULL|200|200|200 3|NULL|NULL|100|100|200 4|NULL|NULL|100|100|200 4|7|NULL|150|200|NULL 5|NULL|NULL|200|200|200]"
	equal(t, "other columns", versions(s), want)
	travel := func(s *Store, seconds string) []string {
		return lines(t, s, `SELECT * FROM shop."or""ders_AT"(to_timestamp(`+seconds+`)) ORDER BY id`)
	}
	for _, s := range []*Store{s, crashed(t, path)} {
		equal(t, "then", travel(s, "99"), "[]")
		equal(t, "then", travel(s, "100"), "[1|NULL|m 2|NULL|NULL 3|NULL|NULL 4|NULL|NULL]")
		equal(t, "now", travel(s, "250"), "[1|NULL|m 4|7|NULL]")
		equal(t, "after a crash", versions(s), want)
	}
	equal(t, "in UTC", lines(t, s, `SELECT id FROM shop."Or""ders_at"('1970-01-01 00:03:19') ORDER BY id`), "[1 2 3 4]")
	equal(t, "the form of an LSN", lines(t, s, "SELECT printf('%X/%X', l >> 32, l & 4294967295) FROM (SELECT 380000000000::UBIGINT AS l)"), "[58/79C3D800]")
	// Kept no more; and the macro goes with the table.
	swapKept(t, s, target, []Column{id, v}, change.Keep{Deletes: change.DeletesSoft}, stampAt(300), [][]byte{i64(1), txt("a")})
	equal(t, "soft", lines(t, s, `SELECT * FROM shop."Or""ders"`), "[1|a|NULL]")
	equal(t, "macros", lines(t, s, "SELECT function_name FROM duckdb_functions() WHERE schema_name = 'shop'"), "[]")
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.DropTable("nowhere.t") }); err != nil {
		t.Errorf("a table of a schema that is not there: %v", err)
	}
}

func TestNewCopyKeepsTheDeleted(t *testing.T) {
	s := openTest(t, Options{})
	id, v := col("id", oidInt8, -1), col("v", oidText, -1)
	keep := change.Keep{Deletes: change.DeletesSoft, Stamps: true}
	rows := func() []string {
		return lines(t, s, `SELECT id, v, _pintail_lsn, epoch(_pintail_committed_at)::INT, epoch(_pintail_deleted_at)::INT FROM t ORDER BY id`)
	}
	swapKept(t, s, "t", []Column{id, v}, change.Keep{Deletes: change.DeletesSoft}, stampAt(50), [][]byte{i64(0), txt("z")}, [][]byte{i64(1), txt("a")})
	swapKept(t, s, "t", []Column{id, v}, keep, stampAt(100), [][]byte{i64(1), txt("a")}, [][]byte{i64(2), txt("b")}, [][]byte{i64(3), txt("c")})
	swapKept(t, s, "t", []Column{id, v}, keep, stampAt(200), [][]byte{i64(2), txt("b")})
	equal(t, "rows", rows(), "[0|z|100|100|100 1|a|200|200|200 2|b|200|200|NULL 3|c|200|200|200]")
	swapKept(t, s, "t", []Column{id, v}, keep, stampAt(300), [][]byte{i64(3), txt("again")})
	equal(t, "rows", rows(), "[0|z|100|100|100 1|a|200|200|200 2|b|300|300|300 3|again|300|300|NULL]")
}
