package rig

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
)

// ownCache is a cache of the test's own that has the binaries of the machine's.
func ownCache(t *testing.T) {
	t.Helper()
	bin, err := pgtest.Fetch(t.Context(), pgtest.Newest)
	if err != nil {
		t.Fatalf("%v\nhint: %s", err, fault.HintOf(err))
	}
	dir, release, err := pgtest.TempDir(t.Context()) // the server's user can enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		release()
	})
	if err := os.Symlink(filepath.Dir(bin.Dir), filepath.Join(dir, "postgres")); err != nil {
		t.Fatal(err)
	}
	t.Setenv(pgtest.CacheEnv, dir)
}

func TestKeptServer(t *testing.T) {
	ownCache(t)
	ctx := t.Context()
	open := func() *Bench {
		t.Helper()
		s, err := openSource(ctx, pgtest.Newest, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &Bench{Source: s}
	}
	b := open()
	db, err := b.Database(ctx, 3000)
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := DrainCopy(ctx, b.Source.URL(db)); err != nil || rows != 3000 {
		t.Errorf("drained %d rows, %v", rows, err)
	}
	const facts = `SELECT count(*)::text AS rows, count(*) FILTER (WHERE payload IS NULL)::text AS nulls, count(DISTINCT status)::text AS statuses,
		(SELECT oid::text FROM pg_database WHERE datname = current_database()) AS oid FROM messages`
	first, err := b.Source.Row(ctx, db, facts)
	if err != nil || first["rows"] != "3000" || first["nulls"] != "300" || first["statuses"] != "4" {
		t.Errorf("the table has %v, %v", first, err)
	}
	duplicate, _, err := b.Source.Duplicate(ctx, db) // not dropped, as by a run that was killed
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := DrainCopy(ctx, b.Source.URL(duplicate)); err != nil || rows != 3000 {
		t.Errorf("drained %d rows of the duplicate, %v", rows, err)
	}
	if _, err := openSource(ctx, pgtest.Newest, true, nil); fault.CodeOf(err) != fault.Locked {
		t.Errorf("a second process: %v, want %s", err, fault.Locked)
	}
	if err := b.Source.close(); err != nil {
		t.Fatal(err)
	}

	b = open()
	defer func() {
		if err := b.Source.close(); err != nil {
			t.Error(err)
		}
	}()
	if again, err := b.Database(ctx, 3000); err != nil || again != db {
		t.Errorf("the database is %q, %v, want %q", again, err, db)
	}
	if second, err := b.Source.Row(ctx, db, facts); err != nil || second["oid"] != first["oid"] || second["rows"] != "3000" {
		t.Errorf("after a restart: %v, %v, before it %v", second, err, first)
	}
	if left, err := b.Source.Row(ctx, "postgres", "SELECT count(*)::text AS n FROM pg_database WHERE starts_with(datname, $1)", unfinished); err != nil || left["n"] != "0" {
		t.Errorf("%v unfinished databases, %v", left, err)
	}
}

func TestCompareNamesWhatDiffers(t *testing.T) {
	ctx := t.Context()
	s := &Source{Server: pgtest.Get(t, pgtest.Newest), unlock: func() error { return nil }}
	b := &Bench{Source: s}
	db, err := b.Database(ctx, 2000)
	if err != nil {
		t.Fatal(err)
	}
	// PostgreSQL stands in for the copy, with PostgreSQL's SQL.
	changed, drop, err := s.Duplicate(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := drop(); err != nil {
			t.Error(err)
		}
	}()
	ask := func(ctx context.Context, _ string) (map[string]string, error) {
		return s.Row(ctx, changed, summary("", false))
	}
	if err := b.Compare(ctx, db, "", ask); err != nil {
		t.Errorf("equal tables: %v", err)
	}
	for _, change := range []struct{ sql, back, says string }{
		{"UPDATE messages SET score = score + 1e-12 WHERE id = 5", "UPDATE messages SET score = 5 * 0.37 WHERE id = 5", "whole_rows is"},
		{"DELETE FROM messages WHERE id = 7", "INSERT INTO messages SELECT * FROM kept", "rows is 1999, in the source 2000"},
		{"UPDATE messages SET payload = '' WHERE id = 10", "UPDATE messages SET payload = NULL WHERE id = 10", "payload_values is 1801, in the source 1800"},
		{"UPDATE messages SET updated_at = updated_at + interval '1 us' WHERE id = 3", "UPDATE messages SET updated_at = updated_at - interval '1 us' WHERE id = 3", "whole_rows is"},
	} {
		err := s.do(ctx, changed, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "CREATE TABLE IF NOT EXISTS kept AS SELECT * FROM messages WHERE id = 7; "+change.sql)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Compare(ctx, db, "", ask); err == nil || !strings.Contains(err.Error(), change.says) {
			t.Errorf("%s: %v, want %q", change.sql, err, change.says)
		}
		if err := s.Exec(ctx, changed, change.back); err != nil {
			t.Fatal(err)
		}
		if err := b.Compare(ctx, db, "", ask); err != nil {
			t.Errorf("%s: %v", change.back, err)
		}
	}
}

func TestDrainCopyTellsWhatTheServerSays(t *testing.T) {
	_, err := DrainCopy(t.Context(), pgtest.Get(t, pgtest.Newest).URL("postgres")) // has no such table
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("error = %v", err)
	}
}

func TestDrainQueryTellsWhatItGot(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).URL("postgres")
	const sql = "SELECT i, 'row ' || i FROM generate_series(1, 50000) i"
	bytes := map[bool]int64{}
	for _, inBinary := range []bool{false, true} {
		d, err := DrainQuery(t.Context(), url, sql, inBinary)
		if err != nil || d.Rows != 50000 || d.First <= 0 || d.First > d.All {
			t.Errorf("binary %t: %+v, %v", inBinary, d, err)
		}
		bytes[inBinary] = d.Bytes
	}
	// A number of five digits has a byte less in binary, one of three a byte more.
	if bytes[true] == bytes[false] || bytes[true] < 50000*20 {
		t.Errorf("bytes: %v", bytes)
	}
	for _, inBinary := range []bool{false, true} {
		if _, err := DrainQuery(t.Context(), url, "SELECT * FROM nowhere", inBinary); err == nil || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("binary %t: error = %v", inBinary, err)
		}
	}
}

func TestMain(m *testing.M) { pgtest.Main(m) }
