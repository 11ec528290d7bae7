// Package store keeps the copy: it is the only package that opens the DuckDB file. Rows enter through a table function
// that reads a change.Feed straight into DuckDB's vectors (feed.go), first into staging tables (stage.go) and from there,
// in one transaction for a whole dataset, into the tables that readers see (tx.go, merge.go). Pintail's own state lies in
// the schema _pintail of the same file and commits with the rows (state.go). Readers get streams (query.go, scan.go).
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/internal/fault"
)

// Options say which file to open and what it may use.
type Options struct {
	Path        string // of the DuckDB file; made with its folder
	MemoryLimit int64  // bytes DuckDB may use before it spills; 0 is DuckDB's default, 80 % of the machine
	TempLimit   int64  // bytes it may spill; 0 is DuckDB's default, 90 % of the free space
	Threads     int    // 0 is one for each core
	Profile     bool   // what readers' statements spend their time with is noted: Session.Profile tells
	Log         *slog.Logger
}

// Store is an open DuckDB file. Its methods may be used from many goroutines at once.
type Store struct {
	path     string
	catalog  string // DuckDB's name of the file: its stem
	attached bool   // the file is; connections have it for their default then
	profile  bool
	log      *slog.Logger
	lock     *fileLock
	db       duck.Database
	staged   atomic.Int64  // numbers staging tables
	writer   chan struct{} // holds one token while a Commit runs
	saved    atomic.Int64  // runs saved since they were last pruned
	reclaim  atomic.Bool   // a dropped table's space is to be freed by a checkpoint
	relieve  atomic.Pointer[func() bool]
	commits  commits

	deleted map[string]int64 // rows deleted in a table since it was last looked at; the writer's, as is quieted
	quieted time.Time        // when new sessions were last made to wait

	versions *versions
	clients  clientTables

	mu      sync.Mutex
	open    map[*Session]struct{}
	loads   int           // Stages under way
	gate    chan struct{} // while it is not nil, new sessions wait until it is closed
	closing bool
	drained chan struct{} // closed with the last session once closing

	host   atomic.Pointer[Host]
	hostID int64
}

const (
	stateSchema   = "_pintail"
	stageCatalog  = "memory" // what DuckDB calls an instance's own database without a file
	stagePrefix   = "_pintail_stage_"
	formatVersion = 4
)

// reservedStems are names of a file that would make DuckDB's catalog name equal to a schema or catalog in use, and so
// every qualified name ambiguous.
var reservedStems = []string{"main", stateSchema, stageCatalog, "information_schema", "pg_catalog", "system", "temp"}

// Open opens or creates the file, takes its lock and removes what a crash has left. A second process gets fault.Locked
// with the first one's process id; a file of a newer Pintail or DuckDB is refused untouched.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = doing(err, "open %s", o.Path)
		}
	}()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	// Absolute and without symbolic links, so that one file has one lock whatever it is called by.
	if o.Path, err = filepath.Abs(o.Path); err != nil {
		return nil, fault.New(fault.Config, "", "%w", err)
	}
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o755); err != nil {
		return nil, fault.New(fault.Config, "duckdb.path must be in a folder that Pintail may write", "%w", err)
	}
	if real, err := filepath.EvalSymlinks(o.Path); err == nil {
		o.Path = real
	} else if dir, err := filepath.EvalSymlinks(filepath.Dir(o.Path)); err == nil {
		o.Path = filepath.Join(dir, filepath.Base(o.Path))
	}
	if strings.Contains(o.Path, "?") {
		return nil, fault.New(fault.Config, "give duckdb.path another name", "DuckDB reads what follows a ? in a path as options")
	}
	stem, _, _ := strings.Cut(filepath.Base(o.Path), ".")
	if slices.Contains(reservedStems, strings.ToLower(stem)) {
		return nil, fault.New(fault.Config, "give duckdb.path another file name", "the name %q is taken within DuckDB", stem)
	}
	lock, err := takeLock(o.Path)
	if err != nil {
		return nil, err
	}
	s := &Store{path: o.Path, catalog: stem, profile: o.Profile, log: o.Log, lock: lock, writer: make(chan struct{}, 1), open: map[*Session]struct{}{}, deleted: map[string]int64{}, drained: make(chan struct{}), versions: newVersions()}
	if err := s.start(ctx, &o); err != nil {
		duck.Close(&s.db)
		hosts.Delete(s.hostID)
		return nil, errors.Join(err, lock.release())
	}
	return s, nil
}

// OnShortage has f called when memory, or the space to spill to, has run out for a statement of Pintail's own. When f says that it
// has made room, the failure is fault.Unavailable, which is tried again.
func (s *Store) OnShortage(f func() bool) { s.relieve.Store(&f) }

func (s *Store) start(ctx context.Context, o *Options) (err error) {
	if err := os.RemoveAll(o.Path + ".tmp"); err != nil {
		return fault.New(fault.Config, "", "remove spilled data of a process before: %w", err)
	}
	if s.db, err = o.openInstance(); err != nil {
		return err
	}
	se, err := s.connect(own)
	if err != nil {
		return err
	}
	defer se.Close()
	if err := o.attach(ctx, se, s.catalog); err != nil {
		return err
	}
	s.attached = true
	if err := registerFeed(se.c); err != nil {
		return fault.New(fault.Internal, "", "%w", err)
	}
	if err := s.registerHost(se.c); err != nil {
		return fault.New(fault.Internal, "", "%w", err)
	}
	if err := o.lockdown(ctx, se); err != nil {
		return err
	}
	if err := s.prepareState(ctx, se); err != nil {
		return err
	}
	if err := s.loadClients(ctx, se); err != nil {
		return err
	}
	if err := s.sweep(ctx, se); err != nil {
		return err
	}
	return s.cut(ctx, se)
}

// headerBytes precede the blocks of a DuckDB file.
const headerBytes = 3 * 4096

// cut takes off the file's end what a load wrote that was killed, or that filled the disk: no block that DuckDB knows of.
func (s *Store) cut(ctx context.Context, se *Session) error {
	if st, err := os.Stat(s.path + ".wal"); err == nil && st.Size() > 0 {
		return nil // it may refer to blocks that only the next checkpoint counts
	}
	blocks, err := se.queryInt(ctx, "SELECT total_blocks * block_size FROM pragma_database_size() WHERE database_name = ?", s.catalog)
	if err != nil {
		return doing(err, "read the file's size")
	}
	st, err := os.Stat(s.path)
	if err != nil {
		return doing(err, "read the file's size")
	}
	if blocks == 0 || st.Size() <= headerBytes+blocks {
		return nil
	}
	s.log.Info("cut off the rest of a load that did not end", "bytes", st.Size()-headerBytes-blocks)
	return doing(os.Truncate(s.path, headerBytes+blocks), "cut off the rest of a load that did not end")
}

// openFailure says what is wrong with a file that DuckDB will not open.
func openFailure(path, text string) error {
	e := parseError(text)
	low := strings.ToLower(text)
	switch {
	case strings.Contains(low, "not a valid duckdb database file"):
		return fault.New(fault.Config, "duckdb.path must name a DuckDB file or one that does not exist yet", "%w", e)
	case strings.Contains(low, "conflicting lock") || strings.Contains(low, "could not set lock"):
		return fault.New(fault.Locked, "another program has the file open: close it", "%w", e)
	case strings.Contains(low, "version number") || strings.Contains(low, "newer version"):
		return fault.New(fault.Config, "a newer DuckDB wrote it: use the Pintail that did, or another file", "%w", e)
	case strings.Contains(low, "permission denied") || strings.Contains(low, "is a directory") || strings.Contains(low, "read-only file system"):
		return fault.New(fault.Config, "duckdb.path must name a file that Pintail may write", "%w", e)
	case diskFull(low):
		return fault.New(fault.DiskFull, hintDisk, "%w", e)
	}
	return fault.New(fault.Internal, "if the file is damaged, move it away: the next full sync builds a new one", "%w", e)
}

// sweep drops the staging tables of a process that ended while it loaded.
func (s *Store) sweep(ctx context.Context, se *Session) error {
	var left []string
	err := se.query(ctx, "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ? AND starts_with(table_name, ?)",
		[]any{s.catalog, stagePrefix}, func(r ownRow) error { left = append(left, s.in(r.text(0), r.text(1))); return nil })
	if err != nil {
		return doing(err, "look for staging tables")
	}
	for _, t := range left {
		if _, err := se.exec(ctx, "DROP TABLE "+t); err != nil {
			return doing(err, "drop staging table %s", t)
		}
	}
	if len(left) == 0 {
		return nil
	}
	s.log.Info("dropped staging tables of a load that did not end", "tables", len(left))
	_, err = se.exec(ctx, "CHECKPOINT "+quote(s.catalog))
	return doing(err, "checkpoint")
}

// Path is the file's absolute path.
func (s *Store) Path() string { return s.path }

// Catalog is the file's name within DuckDB.
func (s *Store) Catalog() string { return s.catalog }

// Close interrupts what still runs, waits for the sessions to be closed until ctx ends, writes a checkpoint, and frees the
// file. After an error that says sessions are open, the file is still held.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	if len(s.open) == 0 {
		close(s.drained)
	}
	s.mu.Unlock()
	if err := s.drain(ctx); err != nil {
		return err
	}
	se := &Session{s: s}
	var err error
	if duck.Connect(s.db, &se.c) == duck.StateError {
		err = errors.New("DuckDB refused a connection")
	} else {
		// Not cancelled by ctx: an unfinished checkpoint would be repeated at the next open.
		_, err = se.exec(context.WithoutCancel(ctx), "CHECKPOINT "+quote(s.catalog))
		duck.Disconnect(&se.c)
	}
	duck.Close(&s.db)
	hosts.Delete(s.hostID)
	return doing(errors.Join(err, s.lock.release()), "close %s", s.path)
}

func (s *Store) drain(ctx context.Context) error {
	t := time.NewTicker(interruptEvery)
	defer t.Stop()
	for {
		s.mu.Lock()
		n := len(s.open)
		for se := range s.open {
			duck.Interrupt(se.c)
		}
		s.mu.Unlock()
		select {
		case <-s.drained:
			return nil
		case <-ctx.Done():
			return fault.New(fault.Internal, "", "close %s: %d sessions are still open: %w", s.path, n, ctx.Err())
		case <-t.C:
		}
	}
}

// Size is what lies on disk: the file, its write-ahead log, and how much of the file is in use (as of the last checkpoint).
func (s *Store) Size() (fileBytes, walBytes, usedBytes int64, err error) {
	for _, f := range []struct {
		name string
		n    *int64
	}{{s.path, &fileBytes}, {s.path + ".wal", &walBytes}} {
		switch st, err := os.Stat(f.name); {
		case err == nil:
			*f.n = st.Size()
		case !errors.Is(err, fs.ErrNotExist):
			return 0, 0, 0, fault.New(fault.Internal, "", "%w", err)
		}
	}
	err = s.with(func(se *Session) error {
		usedBytes, err = se.queryInt(context.Background(), "SELECT used_blocks * block_size FROM pragma_database_size() WHERE database_name = ?", s.catalog)
		return err
	})
	return fileBytes, walBytes, usedBytes, err
}

// Checkpoint moves the write-ahead log into the file and frees the space of dropped tables. It fails while a transaction
// that began before the last swap is open.
func (s *Store) Checkpoint(ctx context.Context) error {
	err := s.with(func(se *Session) error {
		_, err := se.exec(ctx, "CHECKPOINT "+quote(s.catalog))
		return err
	})
	if err == nil {
		s.reclaim.Store(false)
	}
	return doing(err, "checkpoint %s", s.path)
}

// CountRows is exact and reads no rows.
func (s *Store) CountRows(ctx context.Context, table string) (n int64, err error) {
	err = s.with(func(se *Session) error {
		n, err = se.queryInt(ctx, fmt.Sprintf("SELECT count(*) FROM %s", s.table(table)))
		return err
	})
	return n, doing(err, "count the rows of %s", table)
}
