package crash

import (
	"os"
	"strings"
	"testing"

	"github.com/pintaildb/pintail/test/harness"
)

// replicaDiskEnv is set in the process that has mounts of its own, to the URL of its source.
const replicaDiskEnv = "PINTAIL_TEST_REPLICA_DISK"

// The disk of the DuckDB file, and of the changes of running transactions beside it, is full while a source is followed: it
// is told with what to do, the last good rows stay readable, and it goes on once there is space.
func TestReplicaDiskFull(t *testing.T) {
	if url := os.Getenv(replicaDiskEnv); url != "" {
		replicaSmallDisk(t, url)
		return
	}
	t.Parallel()
	url := database(t)
	ownMounts(t, replicaDiskEnv+"="+url)
}

func replicaSmallDisk(t *testing.T, url string) {
	const more = `INSERT INTO big SELECT g, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 160) i) FROM generate_series(5001, 9000) g`
	harness.PG(t, url, "ALTER DATABASE "+one(t, url, "SELECT quote_ident(current_database())")+" SET logical_decoding_work_mem = '64kB'",
		"CREATE TABLE big (id bigint PRIMARY KEY, pad text); CREATE TABLE small (id int PRIMARY KEY)", "INSERT INTO big SELECT g, 'first' FROM generate_series(1, 5000) g", "INSERT INTO small SELECT generate_series(1, 10)")
	p, r := replica(t, url, ", memory: 16MiB")
	mount(t, p)
	resize(t, p, "12m")
	s := p.Serve()
	s.Same(r)
	told := func() {
		t.Helper()
		harness.Eventually(t, harness.ReplicaTimeout, "the full disk is told", func() bool {
			st := s.Status("shop.big")
			return st.State == "error" && st.Error != nil && strings.Contains(strings.ToLower(*st.Error), "no space left")
		})
		if hint := strings.ToLower(s.Status("shop.big").Hint); !strings.Contains(hint, "space") && !strings.Contains(hint, "disk") {
			t.Errorf("the hint does not say what to do: %q", hint)
		}
		if n := s.One("SELECT count(*) FROM shop.big"); n != "5000" {
			t.Errorf("readers see %s rows of the last good 5000", n)
		}
	}
	// The changes are more than the disk takes; then it is made greater.
	release := fill(t, p)
	harness.PG(t, url, more, "INSERT INTO small VALUES (11)")
	told()
	release()
	resize(t, p, "200m")
	s.Same(r)
	// Full before anything comes, and the process starts again meanwhile.
	harness.PG(t, url, "DELETE FROM big WHERE id > 5000")
	s.Same(r)
	release = fill(t, p)
	harness.PG(t, url, more)
	told()
	s.Crash()
	harness.PG(t, url, "UPDATE big SET pad = 'later' WHERE id < 100")
	release()
	s = p.Serve()
	s.Same(r)
	s.Stop()
	leftFiles(t, p)
}
