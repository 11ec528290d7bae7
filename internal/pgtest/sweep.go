package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// TempDir makes a temporary folder that its process owns by a file lock, and removes those whose process is gone,
// servers in them included. release gives the lock up; removing the folder is the caller's.
func TempDir(ctx context.Context) (dir string, release func(), err error) {
	cache, err := cacheDir()
	if err != nil {
		return "", nil, err
	}
	// Between making a folder and locking it no other process may sweep.
	unlock, err := lockFile(ctx, filepath.Join(cache, "sweep.lock"))
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	prefix := fmt.Sprintf("pintail-pg-%d-", os.Getuid())
	if err := sweep(filepath.Join(os.TempDir(), prefix+"*")); err != nil {
		return "", nil, fmt.Errorf("sweep folders of killed processes: %w", err)
	}
	dir, err = os.MkdirTemp("", prefix)
	if err != nil {
		return "", nil, err
	}
	// The server's user has to enter it.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", nil, err
	}
	release, err = lockFile(ctx, filepath.Join(dir, "owner.lock"))
	return dir, release, err
}

// sweep removes the folders that match and that no living process owns.
func sweep(pattern string) error {
	dirs, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		l := flock.New(filepath.Join(dir, "owner.lock"))
		free, err := l.TryLock()
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) { // removed by its owner meanwhile
				errs = append(errs, err)
			}
			continue
		}
		if !free {
			continue
		}
		if pid := stalePostmaster(dir); pid != 0 {
			killTree(pid)
		}
		errs = append(errs, os.RemoveAll(dir), l.Unlock())
	}
	return errors.Join(errs...)
}

// stalePostmaster is the pid of the server that runs in dir, 0 when there is none. The pid in its file may belong to
// another process by now, so the command line has to name the folder.
func stalePostmaster(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || pid <= 1 || !strings.Contains(commandLine(pid), dir) {
		return 0
	}
	return pid
}
