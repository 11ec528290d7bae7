package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
)

// The query log goes on where it was left, and is its user's alone.
func TestQueryLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log", "queries.jsonl")
	for range 2 {
		log, done, err := queryLog(config.QueryLog{Path: path, MaxSize: 1 << 20, Keep: 2})
		if err != nil {
			t.Fatal(err)
		}
		log.Info("start", "sql", "SELECT 1")
		if err := done(); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), `"msg":"start"`) != 2 {
		t.Errorf("%q, %v", text, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if log, _, err := queryLog(config.QueryLog{}); log != nil || err != nil {
		t.Error(log, err)
	}
	if _, _, err := queryLog(config.QueryLog{Path: filepath.Join(path, "below a file")}); fault.CodeOf(err) != fault.Config || fault.HintOf(err) == "" {
		t.Error(err)
	}
}
