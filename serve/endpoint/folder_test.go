package endpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
)

type testFolder struct {
	t *testing.T
	*Folder
}

func newFolder(t *testing.T, check Checker) testFolder {
	return testFolder{t, New(Options{Path: t.TempDir(), Check: check})}
}

func (f testFolder) write(name, text string) {
	path := filepath.Join(f.opts.Path, name)
	require.NoError(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(f.t, os.WriteFile(path, []byte(text), 0o644))
}

// look is one of Run's looks.
func (f testFolder) look() { f.publish(f.t.Context(), f.Folder.look(f.t.Context())) }

func (f testFolder) state() string {
	var parts []string
	for _, e := range f.Set().All() {
		parts = append(parts, e.Name+": "+e.SQL)
	}
	for _, p := range f.Set().Problems {
		parts = append(parts, "! "+strings.TrimPrefix(p.Error(), f.opts.Path+"/"))
	}
	return strings.Join(parts, "\n")
}

// A file is taken when it has stood still for a look.
func TestHalfWrittenFile(t *testing.T) {
	f := newFolder(t, nil)
	f.write("a.sql", "SELECT 1")
	f.Load(t.Context())
	require.Equal(t, "a: SELECT 1", f.state(), "the first look takes everything")
	whole := "-- summary: a longer one\nSELECT 2, 3, 4"
	for i := 1; i < len(whole); i += 7 {
		f.write("a.sql", whole[:i])
		f.look()
		require.Equal(t, "a: SELECT 1", f.state(), whole[:i])
	}
	f.write("a.sql", whole)
	f.look()
	require.Equal(t, "a: SELECT 1", f.state())
	f.look()
	require.Equal(t, "a: SELECT 2, 3, 4", f.state())
	for range 3 { // another text of the same length, in the same moment
		f.write("a.sql", strings.Replace(whole, "4", "5", 1))
		f.look()
		f.look()
		require.Equal(t, "a: SELECT 2, 3, 5", f.state())
	}
	f.write("a.sql", "")
	f.look()
	f.look()
	require.Equal(t, "a: SELECT 2, 3, 5\n! a.sql:1:1: the file holds no statement below its header (what it held before stays published)", f.state())
	require.NoError(t, os.Remove(filepath.Join(f.opts.Path, "a.sql")))
	f.look()
	require.Empty(t, f.state())
}

func TestFolderOfMany(t *testing.T) {
	broken := errors.New("parse: no")
	f := newFolder(t, func(_ context.Context, sql string) (access.Statement, error) {
		switch {
		case strings.Contains(sql, "bad"):
			return access.Statement{}, fault.New(fault.Forbidden, "leave it out", "%w", broken)
		case strings.Contains(sql, "later"):
			return access.Statement{}, fault.New(fault.Unavailable, "", "not now")
		}
		return access.Statement{SQL: sql}, nil
	})
	f.write("x.sql", "SELECT 'x'")
	f.write("deep/er/y.sql", "SELECT 'y'")
	f.write("z.sql", "-- name: x\nSELECT 'z'")
	f.write("bad.sql", "SELECT bad")
	f.write("later.sql", "SELECT later")
	f.write("not an endpoint.sql", "SELECT 1")
	f.write("large.sql", "SELECT '"+strings.Repeat("x", fileBytesMax)+"'")
	f.write("1/2/3/4/5/6/7/8/9/deep.sql", "SELECT 1")
	f.write(".git/x.sql", "SELECT 1")
	f.write("x.txt", "SELECT 1")
	require.NoError(t, os.Mkdir(filepath.Join(f.opts.Path, "folder.sql"), 0o755))
	require.NoError(t, os.Symlink(filepath.Join(f.opts.Path, "x.sql"), filepath.Join(f.opts.Path, "link.sql")))
	require.NoError(t, os.Symlink("/nowhere", filepath.Join(f.opts.Path, "dangling.sql")))
	f.Load(t.Context())
	want := `deep/er/y: SELECT 'y'
link: SELECT 'x'
x: SELECT 'x'
! bad.sql:1:1: parse: no: leave it out
! dangling.sql:1:1: stat %s: no such file or directory
! large.sql:1:1: it has 1048585 bytes, the most is 1048576
! later.sql:1:1: not now
! not an endpoint.sql:1:1: name: "not an endpoint" cannot be an endpoint's name: up to 8 parts with / between, of letters, digits, _ and -, and not openapi
! z.sql:1:1: name: x is the endpoint of %s already`
	require.Equal(t, fmt.Sprintf(want, filepath.Join(f.opts.Path, "dangling.sql"), filepath.Join(f.opts.Path, "x.sql")), f.state())
	require.Equal(t, "SELECT 'x'", f.Set().Get("x").Statement.SQL)

	if runtime.GOOS == "linux" && os.Getuid() != 0 {
		require.NoError(t, os.Chmod(filepath.Join(f.opts.Path, "deep"), 0))
		f.look()
		require.Contains(t, f.state(), "the folder cannot be read, what is published stays")
		require.NoError(t, os.Chmod(filepath.Join(f.opts.Path, "deep"), 0o755))
	}
	_, problems := Check(t.Context(), f.opts.Path, nil, nil)
	require.Len(t, problems, 4)
	f.write("r.sql", "-- roles: [raeder]\nSELECT 1")
	_, problems = Check(t.Context(), f.opts.Path, nil, []string{"admin", "reader"})
	require.Contains(t, problems[len(problems)-1].Error(), `roles: there is no role "raeder" (did you mean "reader"?)`)
}

func TestFolderThatIsNotThere(t *testing.T) {
	f := testFolder{t, New(Options{Path: filepath.Join(t.TempDir(), "none"), Every: 40 * time.Millisecond})}
	f.Load(t.Context())
	require.Contains(t, f.state(), "the folder cannot be read")
	f.write("a.sql", "SELECT 1")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	require.Eventually(t, func() bool { return f.state() == "a: SELECT 1" }, 10*time.Second, time.Millisecond)
	stop()
	require.NoError(t, <-ended)
}
