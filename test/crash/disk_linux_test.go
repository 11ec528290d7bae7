package crash

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/pintaildb/pintail/test/harness"
)

// smallDiskEnv is set in the process that has mounts of its own, to the URL of its source.
const smallDiskEnv = "PINTAIL_TEST_SMALL_DISK"

const (
	diskBytes = "5m"
	diskTable = `
	CREATE TABLE big (id bigint PRIMARY KEY, pad text, updated_at timestamptz NOT NULL DEFAULT now());
	INSERT INTO big SELECT g, 'first' FROM generate_series(1, 5000) g`
	// More than the disk takes, however well it is packed.
	diskFill     = `INSERT INTO big SELECT g, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 160) i) FROM generate_series(5001, 8000) g`
	diskDrain    = `DELETE FROM big WHERE id > 5100`
	diskDatasets = `
datasets:
  big: {source: pg, table: public.big, key: [id], incremental_column: updated_at}
`
)

// The disk of the DuckDB file is full: in a full sync, in an increment, in a server, and before anything begins.
func TestDiskFull(t *testing.T) {
	if url := os.Getenv(smallDiskEnv); url != "" {
		smallDisk(t, url)
		return
	}
	t.Parallel()
	url := database(t)
	harness.PG(t, url, diskTable)
	ownMounts(t, smallDiskEnv+"="+url)
}

// ownMounts runs the test once more, in a process with mounts of its own, which go with it.
func ownMounts(t *testing.T, env string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// As root, or as root of a user namespace.
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=4m")
	cmd.Env = append(os.Environ(), env, harness.BinaryEnv+"="+harness.Binary(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// mount puts a small file system where the project has its DuckDB file.
func mount(t *testing.T, p *harness.Project) {
	t.Helper()
	dir := filepath.Dir(p.DB)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatalf("keep mounts to this process: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+diskBytes); err != nil {
		t.Fatalf("mount a small file system: %v (it takes root, or a user namespace)", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

func resize(t *testing.T, p *harness.Project, size string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", filepath.Dir(p.DB), "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
		t.Fatalf("resize the file system: %v", err)
	}
}

// fill takes all space that is left, and returns how to give it back.
func fill(t *testing.T, p *harness.Project) (release func()) {
	t.Helper()
	name := filepath.Join(filepath.Dir(p.DB), "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func smallDisk(t *testing.T, url string) {
	objects := bigObjects
	new := func(t *testing.T) (*harness.Project, contents) {
		t.Helper()
		harness.PG(t, url, "TRUNCATE big", "INSERT INTO big SELECT g, 'first' FROM generate_series(1, 5000) g")
		p := with(t, url, diskDatasets)
		mount(t, p)
		p.OK("sync")
		return p, dump(t, p, objects)
	}
	full := func(t *testing.T, r harness.Result) {
		t.Helper()
		if r.Code != 1 {
			t.Fatalf("want exit code 1: %s", r)
		}
		contains(t, strings.ToLower(r.Stderr), "no space left", "hint: free space")
	}
	for _, c := range []struct {
		name string
		args []string
	}{{"full sync", []string{"sync", "--full"}}, {"increment", []string{"sync"}}} {
		t.Run(c.name, func(t *testing.T) {
			p, before := new(t)
			harness.PG(t, url, diskFill)
			for range 2 { // the second time it is no other
				full(t, p.Run(c.args...))
				unchanged(t, p, objects, before)
				if st := status(t, p, "big"); st.State != "error" || st.Code != "disk_full" || st.Hint == "" || st.Rows != 5000 {
					t.Errorf("want the status to say that the disk is full, got %s", harness.Show(st))
				}
				clean(t, p, "big")
				contains(t, p.OK("query", "SELECT count(*) FROM big"), "5000")
			}
			// A smaller source fits again.
			harness.PG(t, url, diskDrain)
			p.OK(c.args...)
			same(t, url, harness.File(p.DB), objects)
			// So does the big one on a bigger disk.
			harness.PG(t, url, "DELETE FROM big WHERE id > 5000", diskFill)
			full(t, p.Run(c.args...))
			resize(t, p, "400m")
			p.OK(c.args...)
			same(t, url, harness.File(p.DB), objects)
			clean(t, p, "big")
		})
	}

	t.Run("server", func(t *testing.T) {
		p, _ := new(t)
		s := p.Serve()
		harness.PG(t, url, diskFill)
		for _, path := range []string{"/api/store/sync/big?full=true", "/api/store/sync/big"} {
			r := s.Follow(s.Begin(path))
			if r.State != "error" || r.Code != "disk_full" || r.Hint == "" {
				t.Errorf("%s: want disk_full with a hint, got %s", path, harness.Show(r))
			}
			if n := s.One("SELECT count(*) FROM big"); n != "5000" {
				t.Errorf("%s: readers see %s rows, want the 5000 of before", path, n)
			}
		}
		resize(t, p, "400m")
		s.Sync("big")
		same(t, url, s, objects)
		s.Stop()
		clean(t, p, "big")
	})

	t.Run("no space at all", func(t *testing.T) {
		p, before := new(t)
		release := fill(t, p)
		contains(t, p.OK("query", "SELECT count(*) FROM big"), "5000")
		if st := status(t, p, "big"); st.State != "ready" {
			t.Errorf("want the status as it was, got %s", harness.Show(st))
		}
		harness.PG(t, url, "UPDATE big SET pad = 'second', updated_at = now()")
		full(t, p.Run("sync"))
		contains(t, p.OK("query", "SELECT count(*) FROM big"), "5000")
		release()
		unchanged(t, p, objects, before)
		p.OK("sync")
		same(t, url, harness.File(p.DB), objects)
		clean(t, p, "big")
	})
}

// limitFiles bounds how large a file the process may write, as ulimit -f does.
func limitFiles(t *testing.T, pid int, bytes uint64) {
	t.Helper()
	limit := syscall.Rlimit{Cur: bytes, Max: math.MaxUint64}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_FSIZE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	if errno != 0 {
		t.Fatalf("limit the files of process %d: %v", pid, errno)
	}
}

// A limit of file sizes is a full disk too, and no end of the process.
func TestFileSizeLimit(t *testing.T) {
	t.Parallel()
	url := database(t)
	harness.PG(t, url, diskTable)
	p := with(t, url, diskDatasets)
	s := p.Serve()
	s.Sync("big")
	harness.PG(t, url, diskFill)
	limitFiles(t, s.Pid(), 4<<20)
	for _, path := range []string{"/api/store/sync/big?full=true", "/api/store/sync/big"} {
		r := s.Follow(s.Begin(path))
		if r.State != "error" || r.Code != "disk_full" || r.Hint == "" {
			t.Errorf("%s: want disk_full with a hint, got %s", path, harness.Show(r))
		}
		if n := s.One("SELECT count(*) FROM big"); n != "5000" {
			t.Errorf("%s: readers see %s rows, want the 5000 of before", path, n)
		}
	}
	limitFiles(t, s.Pid(), math.MaxUint64)
	s.Sync("big")
	same(t, url, s, bigObjects)
	s.Stop()
	clean(t, p, "big")
}
