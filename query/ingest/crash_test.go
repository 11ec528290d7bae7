package ingest

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/step"
	"github.com/pintaildb/pintail/store"
)

const (
	childPath = "PINTAIL_INGEST_TEST_PATH"
	childMode = "PINTAIL_INGEST_TEST_MODE"
	childSize = "PINTAIL_INGEST_TEST_SIZE"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sizes are how many batches of 32 k rows a put has that goes into its table at once, and one that is staged.
var sizes = map[string]int{"small": 1, "large": 40}

const crashBatch = 32 << 10

// TestKilled kills a process in the middle of a put: at the next start all of the put is there, or nothing.
func TestKilled(t *testing.T) {
	if path := os.Getenv(childPath); path != "" {
		killed(t, path)
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for _, at := range step.Put {
		for mode, name := range map[Mode]string{Append: "append", Replace: "replace", Create: "create"} {
			for size, batches := range sizes {
				if size == "small" && at == step.PutStaged {
					continue // it is not staged
				}
				t.Run(fmt.Sprintf("%s of a %s put to %s", at, size, name), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "p.duckdb")
					st, err := store.Open(context.Background(), store.Options{Path: path, Threads: 2})
					require.NoError(t, err)
					k := &kit{store: st}
					k.access, err = access.New(access.Config{Catalog: "p", Clients: st}, nil, nil)
					require.NoError(t, err)
					k.ingest = New(st, k.access, nil, nil)
					_, err = k.put(t, admin, events("there", Create), sample, sampleBatch(memory.DefaultAllocator, 0, 1000))
					require.NoError(t, err)
					require.NoError(t, st.Close(context.Background()))

					cmd := exec.Command(self, "-test.run=^TestKilled$")
					cmd.Env = append(os.Environ(), childPath+"="+path, childMode+"="+name, childSize+"="+size, step.Variable+"="+at)
					out, err := cmd.CombinedOutput()
					status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
					require.True(t, ok && status.Signal() == syscall.SIGKILL, "the child was to be killed: %v\n%s", err, out)

					k = newKit(t, store.Options{Path: path}, access.Limits{})
					want, table, made := int64(0), "there", 1
					if at == step.PutCommitted {
						want = int64(batches * crashBatch)
					}
					switch {
					case mode == Create:
						table = "new"
						if want == 0 {
							require.Equal(t, []string{"0"}, k.query(t, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'new'"))
							require.False(t, k.store.IsClientTable("events", "new"))
							table, want = "there", 1000
						} else {
							made = 2
						}
					case mode == Append || want == 0:
						want += 1000
					}
					require.Equal(t, []string{fmt.Sprintf("%d|%d", want, want-1)}, k.query(t, "SELECT count(*), max(batch_id) FROM p.events."+table+" WHERE batch_id >= 0"))
					require.Equal(t, []string{fmt.Sprint(made)}, k.query(t, "SELECT count(*) FROM p._pintail.client_tables"))
					require.Len(t, k.store.ClientTables(), made)
					require.Equal(t, []string{"0"}, k.query(t, "SELECT count(*) FROM duckdb_tables() WHERE starts_with(table_name, '_pintail_stage')"))
					// It goes on from there.
					_, err = k.put(t, admin, events(table, Append), sample, sampleBatch(memory.DefaultAllocator, int(want), 10))
					require.NoError(t, err)
					require.NoError(t, k.store.Checkpoint(context.Background()))
					require.Equal(t, []string{fmt.Sprint(want + 10)}, k.query(t, "SELECT count(DISTINCT batch_id) FROM p.events."+table))
				})
			}
		}
	}
}

// TestDiskFull fills the disk within a put, in a process of its own: the file is as before, and takes rows again once there is space.
func TestDiskFull(t *testing.T) {
	if path := os.Getenv(childPath); path != "" {
		diskFull(t, path)
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "p.duckdb")
	cmd := exec.Command(self, "-test.run=^TestDiskFull$")
	cmd.Env = append(os.Environ(), childPath+"="+path)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	k := newKit(t, store.Options{Path: path}, access.Limits{})
	require.Equal(t, []string{fmt.Sprint(2 * crashBatch)}, k.query(t, "SELECT count(*) FROM p.events.there"))
	require.Len(t, k.store.ClientTables(), 1)
}

func diskFull(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ)
	limit := func(n uint64) {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: math.MaxUint64}))
	}
	k := newKit(t, store.Options{Path: path}, access.Limits{})
	b := sampleBatch(memory.DefaultAllocator, 0, crashBatch)
	_, err := k.put(t, admin, events("there", Create), sample, b)
	require.NoError(t, err)
	limit(4 << 20)
	for _, to := range []Target{events("there", Append), events("there", Replace), events("new", Create)} {
		_, err = k.ingest.Ingest(t.Context(), admin, to, &repeated{batch: b, n: 100})
		require.Equal(t, fault.DiskFull, fault.CodeOf(err), "%v", err)
		require.NotEmpty(t, fault.HintOf(err))
		require.Equal(t, []string{fmt.Sprint(crashBatch)}, k.query(t, "SELECT count(*) FROM p.events.there"))
		require.Len(t, k.store.ClientTables(), 1)
	}
	limit(math.MaxUint64)
	_, err = k.put(t, admin, events("there", Append), sample, b)
	require.NoError(t, err)
}

// killed is the child's side: it puts until it is killed.
func killed(t *testing.T, path string) {
	k := newKit(t, store.Options{Path: path}, access.Limits{})
	to, from := events("there", Append), 1000
	switch os.Getenv(childMode) {
	case "replace":
		to, from = events("there", Replace), 0
	case "create":
		to, from = events("new", Create), 0
	}
	left := sizes[os.Getenv(childSize)]
	_, err := k.ingest.Ingest(context.Background(), admin, to, &made{schema: sample, next: func() arrow.RecordBatch {
		if left--; left < 0 {
			return nil
		}
		from += crashBatch
		return sampleBatch(memory.DefaultAllocator, from-crashBatch, crashBatch)
	}})
	t.Fatalf("the put ended: %v", err)
}
