// Package harness drives the real pintail binary against real PostgreSQL: it builds it once, runs its commands and its
// server, talks to it over HTTP, and compares what it made with what PostgreSQL itself says.
//
// What it knows of Pintail is what a user knows: the command line, the configuration file, HTTP and the DuckDB file. The
// comparison (Compare) decodes nothing with Pintail's own code.
package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/pintaildb/pintail/internal/pgtest"
)

// BinaryEnv names a pintail that is tested instead of one built from this tree.
const BinaryEnv = "PINTAIL_BINARY"

// Main runs a package's tests; call it from TestMain.
func Main(m *testing.M) { pgtest.Main(m) }

var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(BinaryEnv); path != "" {
		return filepath.Abs(path)
	}
	return build()
})

// Binary is the pintail under test, built when first asked for.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	buildTimeout  = 15 * time.Minute // with cold caches DuckDB's bindings take minutes
	binaryKeptFor = 6 * time.Hour
)

// build makes the binary in a folder that all test processes of the user share. Packages that are tested at the same time
// wait for one build; the following ones find it up to date.
func build() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("pintail-test-binary-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return "", fmt.Errorf("wait for another build of pintail: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	if err := noteSources(root); err != nil {
		return "", err
	}
	built := filepath.Join(dir, "pintail")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", built, "./cmd/pintail")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build pintail: %w\n%s", err, out)
	}
	return keep(dir, built)
}

// noteSources looks at every file that the binary is made of. `go test` remembers which files a test looked at, and takes a
// result from its cache only while these are the same; it does not know that this test runs a binary.
func noteSources(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || filepath.Dir(path) == root && notInBinary[name]) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, "_test.go") {
			_, err = os.Stat(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an editor's temporary file
		}
		return err
	})
}

// notInBinary are the folders of the module that the binary is not made of.
var notInBinary = map[string]bool{"bench": true, "bin": true, "demo": true, "docs": true, "scripts": true, "test": true}

// keep gives this build a name that a later build of changed sources does not take away from under a running test.
func keep(dir, built string) (string, error) {
	info, err := os.Stat(built)
	if err != nil {
		return "", err
	}
	path := fmt.Sprintf("%s-%d", built, info.ModTime().UnixNano())
	if err := os.Link(built, path); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return "", err
	}
	old, err := filepath.Glob(built + "-*")
	if err != nil {
		return "", err
	}
	for _, o := range old {
		if i, err := os.Stat(o); err == nil && o != path && now.Sub(i.ModTime()) > binaryKeptFor {
			_ = os.Remove(o) // another process may have removed it first
		}
	}
	return path, nil
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
