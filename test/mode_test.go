//go:build unix

package test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// The copy of a production database is for its owner's eyes: what Pintail makes is 0600, a folder that it makes 0700. Modes
// that somebody gave stay.
func TestFilesArePrivate(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, commandsSQL)
		for _, first := range [][]string{{"sync"}, {"status"}} {
			p := manual(t, url, commandsYAML)
			old := syscall.Umask(0o022)
			defer syscall.Umask(old)
			p.OK(first...)
			s := p.Serve()
			s.Sync("items")
			files := 0
			require.NoError(t, filepath.WalkDir(filepath.Dir(p.DB), func(path string, d fs.DirEntry, err error) error {
				require.NoError(t, err)
				info, err := d.Info()
				require.NoError(t, err)
				want := fs.FileMode(0o600)
				if d.IsDir() {
					want = 0o700
				}
				require.Equal(t, fmt.Sprintf("%o", want), fmt.Sprintf("%o", info.Mode().Perm()), path)
				files++
				return nil
			}))
			require.GreaterOrEqual(t, files, 3, "folder, copy, lock")
			s.Stop()
			require.NoError(t, os.Chmod(p.DB, 0o640))
			require.NoError(t, os.Chmod(filepath.Dir(p.DB), 0o750))
			p.OK("sync")
			for path, want := range map[string]fs.FileMode{p.DB: 0o640, filepath.Dir(p.DB): 0o750} {
				info, err := os.Stat(path)
				require.NoError(t, err)
				require.Equal(t, want, info.Mode().Perm(), path)
			}
		}
	})
}
