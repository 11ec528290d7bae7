package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pintaildb/pintail/internal/pgtest"
)

// A slot that was copied sends the same changes again, and a drain ends behind the last that is asked for.
func TestDrainSlot(t *testing.T) {
	ctx := t.Context()
	s := &Source{Server: pgtest.Get(t, pgtest.Newest), unlock: func() error { return nil }}
	const db = "drained"
	if err := s.Exec(ctx, "postgres", "CREATE DATABASE "+db); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end := context.WithoutCancel(ctx)
		if err := errors.Join(s.DropSlots(end, db), s.Exec(end, "postgres", "DROP DATABASE "+db)); err != nil {
			t.Error(err)
		}
	})
	exec := func(statements ...string) {
		t.Helper()
		for _, sql := range statements {
			if err := s.Exec(ctx, db, sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
	exec("CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pintail_t FOR TABLE t", "SELECT pg_create_logical_replication_slot('pintail_t', 'pgoutput')",
		"INSERT INTO t SELECT generate_series(1, 5000)")
	end, err := s.LSN(ctx)
	if err != nil {
		t.Fatal(err)
	}
	exec("INSERT INTO t VALUES (0)")
	if slot, err := s.SlotOf(ctx, db); err != nil || slot != "pintail_t" {
		t.Errorf("the slot is %q, %v", slot, err)
	}
	for range 2 {
		for _, options := range [][]string{{"proto_version=1", "publication_names=pintail_t"}, {"proto_version=2", "binary=true", "publication_names=pintail_t"}} {
			if err := s.CopySlot(ctx, db, "pintail_t", "other"); err != nil {
				t.Fatal(err)
			}
			if err := DrainSlot(ctx, s.URL(db), "other", options, end); err != nil {
				t.Errorf("%v: %v", options, err)
			}
		}
	}
	kept, err := s.SlotLSN(ctx, db, "pintail_t")
	if err != nil || kept == 0 {
		t.Errorf("the slot's place is %s, %v", kept, err)
	}
	if err := DrainSlot(ctx, s.URL(db), "absent", []string{"proto_version=1", "publication_names=pintail_t"}, end); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("a slot that is not there: %v", err)
	}
}

func TestSaveAndRestore(t *testing.T) {
	dir := t.TempDir()
	c := &Copy{Dir: dir, File: filepath.Join(dir, "copy.duckdb")}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("copy.duckdb", "first")
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		write("copy.duckdb", "second")
		write("copy.duckdb.wal", "log")
		if err := c.Restore(); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(c.File); err != nil || string(text) != "first" {
			t.Errorf("the file holds %q, %v", text, err)
		}
		if _, err := os.Stat(c.File + ".wal"); !os.IsNotExist(err) {
			t.Errorf("the log is still there: %v", err)
		}
	}
}

func TestClient(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(ClientsEnv, dir)
	if path := Client("psql"); path != "" {
		t.Errorf("found %s", path)
	}
	if err := os.WriteFile(filepath.Join(dir, "psql"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if path := Client("psql"); path != filepath.Join(dir, "psql") {
		t.Errorf("found %q", path)
	}
}

func TestRunTime(t *testing.T) {
	for printed, want := range map[string]string{
		`{"id": "1", "started_at": "2026-01-02T03:04:05.5Z", "ended_at": "2026-01-02T03:04:07Z"}`: "1.5s",
		`{"id": "1", "started_at": "2026-01-02T03:04:05.5Z"}`:                                     "does not say",
		`failed`: "invalid character",
	} {
		took, err := RunTime([]byte(printed))
		if got := fmt.Sprint(took, " ", err); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", printed, got, want)
		}
	}
}
