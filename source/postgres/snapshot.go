package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

const (
	// coordinatorLock is how long Describe waits for a table that is being altered.
	coordinatorLock = 5 * time.Second
	// workerLock is short: the coordinator has the lock already and reads what a worker cannot.
	workerLock = 500 * time.Millisecond
	// readersWait is how long Close waits for readers, which end by themselves when their snapshot does.
	readersWait = 10 * time.Second
)

// lost are snapshots whose readers were never closed.
var lost sync.Map

// Snapshot is one exported snapshot. Its coordinator is the session that took it; further sessions import it when there
// is more to read than one partition.
type Snapshot struct {
	src      *Source
	log      *slog.Logger
	opt      source.SnapshotOptions
	ctx      context.Context // ends when the snapshot is closed
	cancel   context.CancelFunc
	id       string // pg_export_snapshot's, or another session's
	imported bool
	xmin     string // 64-bit, pg_snapshot_xmin of the snapshot
	xmax     string // likewise: no transaction from here on is visible
	before   before
	proven   time.Time             // the latest moment whose running transactions have ended, zero if none is known
	places   map[string]string     // place's answer
	types    map[uint32]types.Info // of this snapshot: types beyond the built-in ones may change

	mu       sync.Mutex
	free     []*session    // the coordinator first
	changed  chan struct{} // closed when free or broken changes
	coord    *session
	workers  int // sessions beside the coordinator, open or being opened
	reserved int // slots for more
	alone    bool
	broken   error // the coordinator is gone
	closed   bool
	joining  int                   // sessions being opened
	out      map[*session]struct{} // in use
	pids     []string
}

// before is what step 0 saw of the source, right before the snapshot was taken.
type before struct {
	now       time.Time // a statement's time: earlier than all that follows
	blind     bool      // other transactions could not be looked at
	standby   bool
	version   int // server_version_num
	ascii     bool
	block     int64
	allStats  bool                           // the role sees when every transaction began
	oldest    time.Time                      // xact_start of the oldest other transaction that may write; zero if none
	untracked bool                           // a backend hides its activity
	running   []string                       // virtual ids of other transactions that may write
	writers   map[uint32]map[string]struct{} // relation → transactions that may have written to it, prepared ones too
	prepared  int                            // prepared transactions of this database
}

// What writes no rows of tables. Background workers of extensions may.
const neverWrites = `('autovacuum launcher','autovacuum worker','walsender','walreceiver','startup','checkpointer','background writer','walwriter','archiver','logical replication launcher','slotsync worker')`

// Step 0. The order matters: first the clock, then the running transactions, last the prepared ones, because a transaction
// goes from running to prepared and never back. It does not depend on the session's settings.
const (
	stepServer = `SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint, pg_is_in_recovery(),
		current_setting('server_version_num'), current_setting('server_encoding'), current_setting('block_size'),
		pg_has_role('pg_read_all_stats', 'USAGE')`
	stepActivity = `SELECT min((extract(epoch FROM xact_start) * 1000000)::bigint), coalesce(bool_or(state = 'disabled'), false)
		FROM pg_stat_activity
		WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND pid <> pg_backend_pid() AND pid <> ALL ($1::int[]) AND coalesce(backend_type, '') NOT IN ` + neverWrites
	stepLocks = `WITH db AS (SELECT oid FROM pg_database WHERE datname = current_database()), l AS MATERIALIZED (
			SELECT locktype, relation, virtualtransaction, pid FROM pg_locks
			WHERE granted AND (pid IS NULL OR pid <> pg_backend_pid() AND pid <> ALL ($1::int[]))
			AND (locktype = 'virtualxid' AND mode = 'ExclusiveLock' OR locktype = 'relation' AND database = (SELECT oid FROM db)
				AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')))
		SELECT DISTINCT 0::oid, l.virtualtransaction FROM l JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE l.locktype = 'virtualxid' AND a.datid = (SELECT oid FROM db) AND a.usesysid IS NOT NULL
		AND coalesce(a.backend_type, '') NOT IN ` + neverWrites + `
		UNION ALL SELECT DISTINCT relation, virtualtransaction FROM l WHERE locktype = 'relation'`
	snapshotIDs  = "pg_snapshot_xmin(pg_current_snapshot()), pg_snapshot_xmax(pg_current_snapshot())"
	stepPrepared = `SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()`
)

// Snapshot takes a snapshot, in one round trip on a warm connection.
func (s *Source) Snapshot(ctx context.Context, o source.SnapshotOptions) (source.Snapshot, error) {
	n, err := s.snapshot(ctx, o)
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (s *Source) snapshot(ctx context.Context, o source.SnapshotOptions) (*Snapshot, error) {
	return s.importSnapshot(ctx, "", o)
}

// importSnapshot takes the snapshot that another session has exported, or with no id one of its own.
func (s *Source) importSnapshot(ctx context.Context, id string, o source.SnapshotOptions) (*Snapshot, error) {
	if o.ApplicationName == "" {
		o.ApplicationName = defaultName
	}
	if err := s.acquire(ctx); err != nil {
		return nil, s.failed(ctx, err, "waiting for a connection")
	}
	n := &Snapshot{src: s, log: s.log, opt: o, imported: id != "", id: id, changed: make(chan struct{}), types: map[uint32]types.Info{}, out: map[*session]struct{}{}}
	take := func(c *session) error { return n.take0(ctx, c) }
	c, err := s.begin(ctx, take)
	if err != nil && n.hidden(err) && s.blind.CompareAndSwap(false, true) {
		s.log.Warn("the role may not see the source's running transactions: late commits are caught by lookback only", "reason", err.Error())
		c, err = s.begin(ctx, take)
	}
	if err == nil {
		err = n.settle(ctx, c)
	}
	if err != nil {
		s.releaseSlot()
		return nil, s.failed(ctx, err, "taking a snapshot")
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.coord, n.free = c, []*session{c}
	n.register(c.pid)
	return n, nil
}

// settle takes a process's first snapshot again, after a moment, where bounds wait for running transactions to end: most
// are short, and with the first bound proven the next increment is small.
func (n *Snapshot) settle(ctx context.Context, c *session) error {
	if n.before.blind {
		return nil
	}
	n.proven = n.src.observe(&n.before)
	if n.imported || !n.src.first.CompareAndSwap(true, false) {
		return nil
	}
	for pause := 5 * time.Millisecond; pause < 100*time.Millisecond && !n.before.allStats && !n.before.standby && n.proven.IsZero(); pause *= 2 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			c.end(ctx)
			return context.Cause(ctx)
		}
		_, err := c.run(ctx, []statement{stmt("ROLLBACK")})
		if err == nil {
			err = n.take0(ctx, c)
		}
		if err != nil {
			c.end(ctx)
			return err
		}
		n.proven = n.src.observe(&n.before)
	}
	return nil
}

// hidden says whether step 0 failed on what a hardened server may keep from the role: its running transactions.
func (n *Snapshot) hidden(err error) bool {
	state := sqlstate(err)
	return !n.before.now.IsZero() && (state == "42501" || state == "42P01" || state == "42883")
}

// take0 is step 0 and the snapshot itself.
func (n *Snapshot) take0(ctx context.Context, c *session) error {
	own := "{" + strings.Join(n.src.ownPIDs(), ",") + "}"
	pins := n.src.pins(c, snapshotPins{lock: coordinatorLock, statement: n.opt.StatementTimeout, name: n.opt.ApplicationName})
	look := []statement{stmt(stepActivity, own), stmt(stepLocks, own), stmt(stepPrepared)}
	blind := n.src.blind.Load()
	if blind {
		look = nil
	}
	begin := []statement{stmt("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), pins, stmt("SELECT pg_export_snapshot(), " + snapshotIDs)}
	if n.imported {
		begin = []statement{begin[0], stmt("SET TRANSACTION SNAPSHOT " + literal(n.id)), pins, stmt("SELECT " + literal(n.id) + ", " + snapshotIDs)}
	}
	rs, err := c.run(ctx, append([]statement{stmt(stepServer)}, look...), begin)
	if len(rs) > 0 {
		n.before.now = micros(rs[0].text(0, 0))
	}
	if err != nil {
		return err
	}
	if len(rs) != 1+len(look)+len(begin) {
		return errProtocol
	}
	b := before{now: n.before.now, blind: blind, standby: rs[0].bool(0, 1), ascii: rs[0].text(0, 3) == "SQL_ASCII",
		allStats: rs[0].bool(0, 5), writers: map[uint32]map[string]struct{}{}}
	b.version, _ = strconv.Atoi(rs[0].text(0, 2))
	b.block, _ = strconv.ParseInt(rs[0].text(0, 4), 10, 64)
	if !blind {
		b.note(rs[1:4])
	}
	rs = rs[len(rs)-2:]
	c.pid = rs[0].text(0, 0)
	n.id, n.xmin, n.xmax = rs[1].text(0, 0), rs[1].text(0, 1), rs[1].text(0, 2)
	n.before = b
	c.savepoint = false
	return nil
}

// note takes what step 0 saw of other transactions.
func (b *before) note(rs []result) {
	if rs[0].rows[0][0] != nil {
		b.oldest = micros(rs[0].text(0, 0))
	}
	b.untracked = rs[0].bool(0, 1)
	for i := range rs[1].rows {
		rel, tx := oid(rs[1].text(i, 0)), rs[1].text(i, 1)
		if rel == 0 {
			b.running = append(b.running, tx)
			continue
		}
		if b.writers[rel] == nil {
			b.writers[rel] = map[string]struct{}{}
		}
		b.writers[rel][tx] = struct{}{}
	}
	b.prepared, _ = strconv.Atoi(rs[2].text(0, 0))
}

// micros is a time given in microseconds since 1970.
func micros(s string) time.Time {
	us, _ := strconv.ParseInt(s, 10, 64)
	return time.UnixMicro(us).UTC()
}

func oid(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}

// ownPIDs are the backends of this source's open snapshots. They only read.
func (s *Source) ownPIDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	pids := make([]string, 0, len(s.pids))
	for p := range s.pids {
		pids = append(pids, p)
	}
	return pids
}

func (n *Snapshot) register(pid string) {
	n.src.mu.Lock()
	n.src.pids[pid] = struct{}{}
	n.src.mu.Unlock()
	n.mu.Lock()
	n.pids = append(n.pids, pid)
	n.mu.Unlock()
}

// Now is the source's clock right before the snapshot was taken.
func (n *Snapshot) Now() time.Time { return n.before.now }

// join makes a session of another connection that sees this snapshot. The caller holds a slot.
func (n *Snapshot) join(ctx context.Context) (*session, error) {
	c, err := n.src.begin(ctx, func(c *session) error {
		pins := n.src.pins(c, snapshotPins{lock: workerLock, statement: n.opt.StatementTimeout, name: n.opt.ApplicationName})
		rs, err := c.run(ctx, []statement{stmt("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
			stmt("SET TRANSACTION SNAPSHOT " + literal(n.id)), pins})
		if err != nil {
			return err
		}
		c.pid, c.savepoint = rs[2].text(0, 0), false
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.register(c.pid)
	return c, nil
}

// take gives a session that no one else uses until put or lose: the coordinator itself, or any. It waits where all are in
// use.
func (n *Snapshot) take(ctx context.Context, coordinator bool) (*session, error) {
	for {
		n.mu.Lock()
		if n.broken != nil {
			defer n.mu.Unlock()
			return nil, n.broken
		}
		for i, c := range n.free {
			if !coordinator || c == n.coord {
				n.free = append(n.free[:i], n.free[i+1:]...)
				n.out[c] = struct{}{}
				n.mu.Unlock()
				return c, nil
			}
		}
		if !coordinator && n.reserved > 0 && !n.alone {
			n.reserved--
			n.workers++
			n.joining++
			n.mu.Unlock()
			c, err := n.join(ctx)
			n.mu.Lock()
			n.joining--
			if err == nil {
				n.out[c] = struct{}{}
				n.mu.Unlock()
				return c, nil
			}
			n.workers--
			if first := !n.alone; first && ctx.Err() == nil {
				n.alone = true
				n.log.Warn("a second connection cannot see the snapshot: this sync reads over one connection only",
					"reason", n.src.redact(err).Error(), "hint", importHint(err))
			}
			n.wake()
			n.mu.Unlock()
			n.src.releaseSlot()
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			continue
		}
		wait := n.changed
		n.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func importHint(err error) string {
	if sqlstate(err) != "" {
		return "Connect to one server directly, not through a load balancer or a pooler that spreads sessions."
	}
	return "The server may have no connection left: see max_connections."
}

// wake tells waiters to look again; the caller holds mu.
func (n *Snapshot) wake() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// put gives a session back whose transaction is alive.
func (n *Snapshot) put(c *session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.out, c)
	if c == n.coord {
		n.free = append([]*session{c}, n.free...)
	} else {
		n.free = append(n.free, c)
	}
	n.wake()
}

// lose gives a session back that is of no more use. Without its coordinator a snapshot is lost.
func (n *Snapshot) lose(ctx context.Context, c *session, err error) {
	c.end(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.out, c)
	if c == n.coord {
		n.broken = fmt.Errorf("the snapshot is lost: %w", err)
	} else {
		n.workers--
		n.src.releaseSlot()
	}
	n.wake()
}

// ask runs a group of statements on the coordinator. An error of the server ends the transaction unless the group began
// with SAVEPOINT pintail, to which it is then rolled back.
func (n *Snapshot) ask(ctx context.Context, group ...statement) ([]result, error) {
	c, err := n.take(ctx, true)
	if err != nil {
		return nil, err
	}
	return n.askOn(ctx, c, group)
}

// askAny is ask of whichever session is free, so that planning one table does not wait for the rows of another.
func (n *Snapshot) askAny(ctx context.Context, group ...statement) ([]result, error) {
	n.mu.Lock()
	busy := len(n.out) + n.joining
	n.mu.Unlock()
	n.reserve(busy + 1)
	c, err := n.take(ctx, false)
	if err != nil {
		return nil, err
	}
	worker := c != n.coord
	rs, err := n.askOn(ctx, c, group)
	if worker && sqlstate(err) == "55P03" {
		return n.ask(ctx, group...) // behind a schema change that waits for the coordinator's lock
	}
	return rs, err
}

func (n *Snapshot) askOn(ctx context.Context, c *session, group []statement) ([]result, error) {
	h := &held{n, c}
	rs, err := h.ask(ctx, group...)
	h.free(ctx, err)
	return rs, err
}

// held is a snapshot whose session is kept over several round trips: no reader may come between a savepoint and its end.
type held struct {
	*Snapshot
	c *session
}

// hold takes the coordinator.
func (n *Snapshot) hold(ctx context.Context) (*held, error) {
	c, err := n.take(ctx, true)
	return &held{n, c}, err
}

// ask is Snapshot.ask on the session held.
func (h *held) ask(ctx context.Context, group ...statement) ([]result, error) {
	rs, err := h.c.run(ctx, group)
	if err != nil && h.c.conn.TxStatus() == 'E' && !h.c.conn.IsClosed() {
		if e := h.undo(ctx); e != nil {
			err = errors.Join(err, e)
		}
	}
	return rs, err
}

// undo takes back what came after the savepoint, its locks too.
func (h *held) undo(ctx context.Context) error {
	_, err := h.c.run(ctx, []statement{stmt("ROLLBACK TO SAVEPOINT pintail"), stmt("RELEASE SAVEPOINT pintail")})
	return err
}

// free gives the session back.
func (h *held) free(ctx context.Context, err error) {
	if h.c.conn.IsClosed() || h.c.conn.TxStatus() != 'T' {
		h.lose(ctx, h.c, err)
	} else {
		h.put(h.c)
	}
}

// pg_class is read at the snapshot, pg_relation_filenode and pg_locks are of now. A role that may not see locks looks at all
// tables: that of another's may cost it a retry.
const (
	sealLocked = `SELECT l.relation::regclass::text, coalesce(pg_partition_root(c.oid), c.oid) FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation
		WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.mode = 'AccessShareLock' AND l.granted
		AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND (c.oid IS NULL OR c.relkind IN ('r', 'm') AND c.relfilenode <> 0 AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid))`
	sealAll = `SELECT c.oid::regclass::text, coalesce(pg_partition_root(c.oid), c.oid) FROM pg_class c WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
		AND c.relfilenode <> 0 AND c.relfilenode <> pg_relation_filenode(c.oid) LIMIT 10`
)

// Seal proves that no DDL rewrote a table between the snapshot and the lock that Describe took on it: the snapshot would
// see such a table as empty.
func (n *Snapshot) Seal(ctx context.Context) error {
	sql := sealLocked
	if n.before.blind {
		sql = sealAll
	}
	rs, err := n.ask(ctx, stmt(sql))
	if err != nil {
		return n.src.failed(ctx, err, "checking that no table changed under the snapshot")
	}
	if len(rs[0].rows) == 0 {
		return nil
	}
	var names []string
	rewritten := &source.RewrittenError{Tables: map[uint32]bool{}}
	for i := range rs[0].rows {
		names = append(names, rs[0].text(i, 0))
		rewritten.Tables[oid(rs[0].text(i, 1))] = true
	}
	rewritten.Names = strings.Join(names, ", ")
	return n.src.failed(ctx, fault.New(fault.SourceConflict, "This is tried again with a new snapshot.",
		"%w", rewritten),
		"checking that no table changed under the snapshot")
}

// Close ends the snapshot's transactions and keeps their connections for the next one. Readers still open are cancelled
// and waited for.
func (n *Snapshot) Close() error {
	n.cancel()
	n.mu.Lock()
	for len(n.out)+n.joining > 0 {
		wait := n.changed
		n.mu.Unlock()
		select {
		case <-wait:
		case <-time.After(readersWait):
			lost.Store(n, n.out) // its buffers may still be pointed at
			return fault.New(fault.Internal, "", "source %s: a reader was not closed", n.src.cfg.Name)
		}
		n.mu.Lock()
	}
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	free, pids, slots := n.free, n.pids, 1+n.workers+n.reserved
	n.free, n.coord = nil, nil
	if n.broken == nil {
		n.broken = errors.New("the snapshot is closed")
	}
	n.mu.Unlock()

	n.src.mu.Lock()
	for _, p := range pids {
		delete(n.src.pids, p)
	}
	n.src.mu.Unlock()
	var ended sync.WaitGroup
	for _, c := range free {
		ended.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), goodbye)
			defer cancel()
			if _, err := c.run(ctx, []statement{stmt("ROLLBACK")}); err != nil {
				c.end(ctx)
				return
			}
			n.src.keep(c)
		})
	}
	ended.Wait()
	for range slots {
		n.src.releaseSlot()
	}
	return nil
}
