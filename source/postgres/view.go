package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

// visible is a pg_snapshot: a transaction that has committed is seen if it is older than xmin, or older than xmax and not
// among running. The ids are 64 bits wide.
type visible struct {
	xmin, xmax uint64
	running    []uint64 // sorted
}

// parseVisible reads xmin:xmax:running,running.
func parseVisible(text string) (v visible, err error) {
	low, rest, ok1 := strings.Cut(text, ":")
	high, list, ok2 := strings.Cut(rest, ":")
	v.xmin, err = strconv.ParseUint(low, 10, 64)
	if err == nil {
		v.xmax, err = strconv.ParseUint(high, 10, 64)
	}
	for list != "" && err == nil {
		var xid uint64
		one, more, _ := strings.Cut(list, ",")
		xid, err = strconv.ParseUint(one, 10, 64)
		v.running, list = append(v.running, xid), more
	}
	if err != nil || !ok1 || !ok2 {
		return v, fmt.Errorf("%w: %q is no snapshot", errProtocol, text)
	}
	slices.Sort(v.running)
	return v, nil
}

// sees takes the stream's 32-bit id for the one nearest to xmax: ids that are in use span less than half of their circle.
func (v *visible) sees(xid uint32) bool {
	full := v.xmax + uint64(int64(int32(xid-uint32(v.xmax))))
	if full < v.xmin || full >= v.xmax {
		return full < v.xmin
	}
	_, found := slices.BinarySearch(v.running, full)
	return !found
}

// A commit record is written before its transaction can be seen, so the end of what was inserted bounds those of all that
// are seen. On a standby that is what was replayed.
const viewOf = `SELECT pg_current_snapshot()::text, pg_is_in_recovery(),
	CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text,
	CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text`

// View is source.Replicator's. Where the log is not flushed up to its end, as after a transaction with synchronous_commit =
// off, it adds an empty transaction, so that the end is reached by a stream too.
func (s *Source) View(ctx context.Context, sn source.Snapshot) (source.View, error) {
	n, ok := sn.(*Snapshot)
	if !ok {
		return source.View{}, fault.New(fault.Internal, "", "source %s: a snapshot of another source", s.cfg.Name)
	}
	v, err := s.view(ctx, n)
	return v, s.failed(ctx, err, "asking which transactions a snapshot sees")
}

func (s *Source) view(ctx context.Context, n *Snapshot) (source.View, error) {
	rs, err := n.ask(ctx, stmt(viewOf))
	if err != nil {
		return source.View{}, err
	}
	r := &rs[0]
	ids, err := parseVisible(r.text(0, 0))
	if err != nil {
		return source.View{}, err
	}
	if r.bool(0, 1) && ids.xmin != ids.xmax {
		return source.View{}, fault.New(fault.SourceConflict, "This is tried again; a primary can always tell.",
			"transactions run on the primary, and a standby does not tell which of them a snapshot sees")
	}
	inserted, err := change.ParseLSN(r.text(0, 2))
	if err != nil {
		return source.View{}, err
	}
	flushed, err := change.ParseLSN(r.text(0, 3))
	if err != nil {
		return source.View{}, err
	}
	end := recordEnd(inserted)
	if flushed < end {
		if err := s.flush(ctx); err != nil {
			return source.View{}, err
		}
	}
	return source.View{Sees: ids.sees, End: end}, nil
}

// recordEnd takes a place where the next record will begin back to where the last one ended: between them may lie a page's
// header, of 24 bytes or at a file's begin 40, which nothing reaches as long as nothing is written.
func recordEnd(l change.LSN) change.LSN {
	const page = 8192
	if in := l % page; in == 24 || in == 40 {
		return l - in
	}
	return l
}

// flush makes the server flush its log up to where it is, on a connection of its own: the pool's may all wait for this.
func (s *Source) flush(ctx context.Context) error {
	c, err := pgconn.ConnectConfig(ctx, s.config)
	if err != nil {
		return err
	}
	defer hangUp(ctx, c)
	_, err = c.Exec(ctx, "SELECT set_config('synchronous_commit', 'local', true), pg_logical_emit_message(true, 'pintail', '')").ReadAll()
	return err
}
