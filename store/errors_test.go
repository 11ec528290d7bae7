package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
)

func TestDuckDBsErrorsHaveCodesAndHints(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		text string
		from origin
		code fault.Code
		hint string
	}{
		{context.Background(), "Out of Memory Error: could not allocate block of size 256.0 KiB (99.9 MiB/100.0 MiB used)", own, fault.OutOfMemory, "duckdb.memory_limit"},
		{context.Background(), "Out of Memory Error: failed to offload data block of size 256.0 KiB (9.9 MiB/10.0 MiB used).\nThis limit was set by the 'max_temp_directory_size' setting.", reader, fault.DiskFull, "duckdb.temp_limit"},
		{context.Background(), "IO Error: Could not write file \"/x\": No space left on device", own, fault.DiskFull, "free space"},
		{context.Background(), "IO Error: Could not write file \"/x\": Disk quota exceeded", own, fault.DiskFull, "free space"},
		{context.Background(), "FATAL Error: Failed: database has been invalidated because of a previous fatal error. The database must be restarted prior to being used again.\nOriginal error: \"Could not write file: No space left on device\"", own, fault.DiskFull, "restart"},
		{context.Background(), "FATAL Error: Failed to create checkpoint because of error: x", reader, fault.Internal, "restart"},
		{context.Background(), "INTERRUPT Error: Interrupted!", reader, fault.Cancelled, ""},
		{cancelled, "INTERRUPT Error: Interrupted!", own, fault.Cancelled, ""},
		{context.Background(), "Conversion Error: Could not convert string 'x' to INT32", own, fault.ShapeMismatch, "rebuild"},
		{context.Background(), "Conversion Error: Could not convert string 'x' to INT32", reader, fault.InvalidSQL, ""},
		{context.Background(), "Binder Error: Referenced column \"x\" not found", own, fault.ShapeMismatch, "rebuild"},
		{context.Background(), "Constraint Error: NOT NULL constraint failed", own, fault.DataMismatch, "rebuild"},
		{context.Background(), "Parser Error: syntax error at or near \"SELEC\"", reader, fault.InvalidSQL, ""},
		{context.Background(), "TransactionContext Error: Catalog write-write conflict on create with \"a\"", own, fault.Unavailable, "again"},
		{context.Background(), "INTERNAL Error: Attempted to access index 0 within vector of size 0", reader, fault.Internal, ""},
		{context.Background(), "something without a kind", own, fault.Internal, ""},
	} {
		err := failure(c.ctx, c.text, c.from)
		if fault.CodeOf(err) != c.code || !strings.Contains(fault.HintOf(err), c.hint) {
			t.Errorf("%s: %s, hint %q", c.text, fault.CodeOf(err), fault.HintOf(err))
		}
	}
}

// brokenFeed hands out readers that fail in a given way in the middle of the load.
func brokenFeed(how func()) *fakeFeed {
	f := plainFeed(6, 40000, 3, 1)
	f.fail = func(part, i int) error {
		if part == 4 && i == 30000 {
			how()
		}
		return nil
	}
	return f
}

var nowhere *change.Chunk

func TestAPanicWhileLoadingIsAnError(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	load(t, s, "a", plainFeed(1, 10, 1, 1))
	for name, f := range map[string]change.Feed{
		"in Read":      brokenFeed(func() { panic("the reader is broken") }),
		"nil pointer":  brokenFeed(func() { nowhere.Rows++ }),
		"in Next":      panicFeed{next: func() change.Reader { panic("the feed is broken") }},
		"in Workers":   panicFeed{},
		"a nil reader": panicFeed{next: func() change.Reader { return nil }},
	} {
		_, err := s.Stage(ctx, "a", plainFeed(1, 1, 1, 1).cols, f, true)
		if fault.CodeOf(err) != fault.Internal || !strings.Contains(fmt.Sprint(err), "panic") || !strings.Contains(fmt.Sprint(err), "goroutine") {
			t.Errorf("%s: %s %v", name, fault.CodeOf(err), err)
		}
		if f, ok := f.(*fakeFeed); ok && f.open.Load() != 0 {
			t.Errorf("%s: %d readers left open", name, f.open.Load())
		}
	}
	equal(t, "tables", lines(t, s, "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'"), "[a]")
	equal(t, "rows", lines(t, s, "SELECT count(*) FROM a"), "[10]")
}

type panicFeed struct{ next func() change.Reader }

func (f panicFeed) Workers() int {
	if f.next == nil {
		panic("how many?")
	}
	return 2
}
func (f panicFeed) Next(context.Context) (change.Reader, error) { return f.next(), nil }

func TestTheFeedsOwnErrorComesBack(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	want := fault.New(fault.SourceUnavailable, "look at the server", "the server is gone")
	f := plainFeed(6, 40000, 3, 1)
	f.fail = func(part, i int) error {
		if part == 4 && i == 30000 {
			return fault.Wrap(want, "COPY")
		}
		return nil
	}
	for _, forSwap := range []bool{true, false} {
		f.next.Store(0)
		_, err := s.Stage(ctx, "a", f.cols, f, forSwap)
		if !errors.Is(err, want) || fault.HintOf(err) != want.Hint || !strings.Contains(err.Error(), "load a: COPY") {
			t.Errorf("%v", err)
		}
		if n := f.open.Load(); n != 0 {
			t.Errorf("%d readers left open", n)
		}
	}
	equal(t, "tables", lines(t, s, "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '%stage%'"), "[]")
}

// blockedFeed's readers wait for their context, as a source does that hears nothing from its server.
type blockedFeed struct{ waiting atomic.Int64 }

func (f *blockedFeed) Workers() int { return 2 }
func (f *blockedFeed) Next(ctx context.Context) (change.Reader, error) {
	return &blockedReader{f, ctx}, nil
}

type blockedReader struct {
	f   *blockedFeed
	ctx context.Context
}

func (r *blockedReader) Read(*change.Chunk) (int, error) {
	r.f.waiting.Add(1)
	<-r.ctx.Done()
	return 0, r.ctx.Err()
}
func (r *blockedReader) Close() error { return nil }

func TestALoadIsCancelled(t *testing.T) {
	s := openTest(t, Options{})
	for _, forSwap := range []bool{true, false} {
		ctx, cancel := context.WithCancel(context.Background())
		f := &blockedFeed{}
		go func() {
			for f.waiting.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		_, err := s.Stage(ctx, "a", plainFeed(1, 1, 1, 1).cols, f, forSwap)
		if fault.CodeOf(err) != fault.Cancelled {
			t.Error(err)
		}
	}
	// One reader fails while the other waits: the other is released.
	f := &halfFeed{blockedFeed: &blockedFeed{}}
	_, err := s.Stage(context.Background(), "a", plainFeed(1, 1, 1, 1).cols, f, true)
	if fault.CodeOf(err) != fault.SourceSQL {
		t.Error(err)
	}
	equal(t, "tables", lines(t, s, "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '%stage%'"), "[]")
}

// halfFeed's second reader fails once the first one waits.
type halfFeed struct {
	*blockedFeed
	n atomic.Int64
}

func (f *halfFeed) Next(ctx context.Context) (change.Reader, error) {
	if f.n.Add(1) == 1 {
		return f.blockedFeed.Next(ctx)
	}
	for f.waiting.Load() == 0 {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		time.Sleep(time.Millisecond)
	}
	return nil, fault.New(fault.SourceSQL, "", "no")
}

func TestMemoryRunsOut(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{MemoryLimit: 60 << 20, TempLimit: 20 << 20, Threads: 2})
	load(t, s, "a", plainFeed(2, 100000, 2, 1))
	se := session(t, s)
	st, err := se.Prepare(ctx, "SELECT length(string_agg(range || repeat('x', 1000), '')) FROM range(1000000)") // cannot spill
	if err != nil {
		t.Fatal(err)
	}
	rows, err := st.Query(ctx, nil, nil)
	if err == nil {
		_, err = rows.Next()
	}
	if fault.CodeOf(err) != fault.OutOfMemory || !strings.Contains(fault.HintOf(err), "memory_limit") || strings.Contains(err.Error(), "SET") {
		t.Error(err, "→", fault.HintOf(err))
	}
	f := newBenchFeed(2_000_000) // can spill, but not enough
	_, err = s.Stage(ctx, "b", f.cols, f, false)
	if fault.CodeOf(err) != fault.DiskFull || !strings.Contains(fault.HintOf(err), "temp_limit") {
		t.Error(err, "→", fault.HintOf(err))
	}
	equal(t, "the data", lines(t, s, "SELECT count(*) FROM a"), "[200000]")
}

// A load in the file needs little memory whatever its size; one in memory spills.
func TestALoadStaysWithinItsMemory(t *testing.T) {
	s := openTest(t, Options{MemoryLimit: 120 << 20, Threads: 2})
	for _, forSwap := range []bool{true, false} {
		f := newBenchFeed(3_000_000) // 489 MiB in memory
		st, err := s.Stage(context.Background(), "a", f.cols, f, forSwap)
		if err != nil {
			t.Fatal(err)
		}
		if st.Rows < 3_000_000 {
			t.Error(st.Rows)
		}
		s.Discard(context.Background(), st)
	}
}

// diskFullChild loads more than the file may hold, then has space again.
func diskFullChild(ctx context.Context, s *Store) error {
	signal.Ignore(syscall.SIGXFSZ)
	small := plainFeed(1, 1000, 1, 1)
	st, err := s.Stage(ctx, "a", small.cols, small, true)
	if err != nil {
		return err
	}
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.Swap("a", st) }); err != nil {
		return err
	}
	limit := func(n uint64) error {
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: math.MaxUint64})
	}
	if err := limit(6 << 20); err != nil {
		return err
	}
	big := newBenchFeed(2_000_000)
	_, err = s.Stage(ctx, "b", big.cols, big, true)
	if fault.CodeOf(err) != fault.DiskFull || fault.HintOf(err) == "" {
		return fmt.Errorf("loading ended with %s: %w", fault.CodeOf(err), err)
	}
	if n, err := s.CountRows(ctx, "a"); err != nil {
		return err
	} else if n != 1000 {
		return fmt.Errorf("afterwards a has %d rows", n)
	}
	if err := limit(math.MaxUint64); err != nil {
		return err
	}
	again := plainFeed(6, 50000, 2, 2)
	if st, err = s.Stage(ctx, "a", again.cols, again, true); err != nil {
		return fmt.Errorf("with space again: %w", err)
	}
	if err := s.Commit(ctx, func(tx *Tx) error { return tx.Swap("a", st) }); err != nil {
		return fmt.Errorf("with space again: %w", err)
	}
	return s.Close(ctx)
}

func TestTheDiskIsFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.duckdb")
	cmd := startChild(t, "disk full", path)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, Options{Path: path})
	equal(t, "rows", lines(t, s, "SELECT count(*), min(gen), max(gen) FROM a"), "[300000|2|2]")
	equal(t, "tables", lines(t, s, "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'"), "[a]")
}
