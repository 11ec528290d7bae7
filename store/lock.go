package store

import (
	"fmt"
	"os"
	"strings"

	"github.com/gofrs/flock"

	"github.com/pintaildb/pintail/internal/fault"
)

// fileLock is the claim of one process on a DuckDB file, on a file beside it: DuckDB's own lock is lost when anything else
// in the process opens and closes the file. The kernel frees it when the process ends, however it ends.
type fileLock struct{ f *flock.Flock }

// takeLock writes this process's id into the lock file, for the message of whoever comes second.
func takeLock(path string) (*fileLock, error) {
	name := path + ".lock"
	f := flock.New(name, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o644))
	got, err := f.TryLock()
	if err != nil {
		return nil, fault.New(fault.Config, "duckdb.path must be in a folder that Pintail may write", "lock %s: %w", name, err)
	}
	if !got {
		holder := "another process"
		if b, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(b)) != "" {
			holder = "process " + strings.TrimSpace(string(b))
		}
		return nil, fault.New(fault.Locked, "stop that process, or send the command to it with --server URL", "%s is in use by %s", path, holder)
	}
	// The holder only writes after it has the lock, so the text is the holder's or empty. It is for the message alone: on a
	// full disk readers still get in without it.
	_ = os.WriteFile(name, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644)
	return &fileLock{f}, nil
}

// release leaves the empty file: removing it would let two processes lock two files of one name.
func (l *fileLock) release() error {
	_ = os.Truncate(l.f.Path(), 0)
	return l.f.Unlock()
}
