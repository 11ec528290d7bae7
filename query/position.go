package query

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Replicas says how far the datasets are that follow their source's log. Its methods are called from many goroutines.
type Replicas interface {
	// Standing is how far a dataset's copy is now, as the process knows it, and why single tables of it (by their names in the
	// copy) are not: their rows are older. The position is zero where nothing follows the dataset now; then the file's counts. ok is
	// false for a dataset that follows no log. It does not wait.
	Standing(dataset string) (at change.Position, behind map[string]string, ok bool)
	// WaitFor waits until a dataset's copy has all transactions whose commit record lies before lsn.
	WaitFor(ctx context.Context, dataset string, lsn change.LSN) error
}

// Position is how far a dataset was in its source's log when a statement read it: all transactions whose commit record lies
// before LSN, and none after.
type Position struct {
	LSN         change.LSN
	CommittedAt time.Time // of the last one, by the source's clock
	Behind      []string  // tables that the statement reads and of which that does not hold: they are older
}

// ErrBehind is why a statement was not run that asked for a later position than the copy had reached in time.
var ErrBehind = errors.New("the copy has not come that far")

// How long a statement waits for the position that it asks for.
const (
	waitDefault = 5 * time.Second
	waitMax     = time.Minute
)

// await waits until every dataset is as far as wanted.
func (r *Result) await(ctx context.Context, wanted map[string]change.LSN, wait time.Duration) error {
	if len(wanted) == 0 {
		return nil
	}
	if wait <= 0 {
		wait = waitDefault
	}
	wait = min(wait, waitMax)
	r.spans.enter(stagePosition)
	replicas := r.core.opts.Replicas
	names := slices.Sorted(maps.Keys(wanted))
	for _, dataset := range names {
		known := replicas != nil && r.core.access.Visible(r.who, dataset)
		if known {
			_, _, known = replicas.Standing(dataset)
		}
		if !known {
			// The same words whether it does not exist, follows no log, or may not be known of.
			return fault.New(fault.Usage, "GET /api/store/status lists the datasets: those of mode: cdc have a replica's position", "min_lsn: there is no dataset %q that follows its source's log", dataset)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, ErrBehind)
	defer cancel()
	for _, dataset := range names {
		err := replicas.WaitFor(ctx, dataset, wanted[dataset])
		if err == nil {
			continue
		}
		cause := context.Cause(ctx)
		switch {
		case ctx.Err() == nil || !errors.Is(err, cause):
			return err // why it does not come there
		case errors.Is(cause, ErrBehind) || fault.CodeOf(cause) == fault.Limit:
			at, _, _ := replicas.Standing(dataset)
			return fault.New(fault.Limit, "give it a later deadline; GET /api/store/status says how far the copy is behind, and why",
				"read dataset %s at %s or later: it is at %s after %s: %w", dataset, wanted[dataset], at.LSN, wait, ErrBehind)
		}
		return r.reason(err)
	}
	return nil
}

// standing is what the process knows of the replicas that a statement reads, before it reads them.
type standing struct {
	at     change.Position
	behind map[string]string // folded name → why
}

func (c *Core) standings(datasets []string) map[string]standing {
	all := map[string]standing{}
	if c.opts.Replicas == nil {
		return all
	}
	for _, d := range datasets {
		at, behind, ok := c.opts.Replicas.Standing(d)
		if !ok {
			continue
		}
		s := standing{at: at, behind: map[string]string{}}
		for target, why := range behind {
			s.behind[strings.ToLower(target)] = why
		}
		all[d] = s
	}
	return all
}

// place reads how far the replicas are that the statement reads, in the transaction that it then runs in. A position commits together with the rows that lead to it, so it is exactly that of the rows which the statement sees.
// Between two commits a replica may have come further, without anything to be changed in the copy; what it had reached before the
// transaction began holds for it too, and nothing after that can be in its rows unless the saved position says so.
func (r *Result) place(known map[string]standing, targets map[string][]string, wanted map[string]change.LSN) error {
	if len(known) == 0 {
		return nil
	}
	r.positions = map[string]Position{}
	behind := map[string]string{}
	for _, s := range known {
		maps.Copy(behind, s.behind)
	}
	err := r.each("SELECT target FROM _pintail.tables WHERE watermark IS NULL", func(c *store.ResultChunk, row int) error {
		if target := strings.ToLower(string(c.AppendText(nil, 0, row))); behind[target] == "" {
			behind[target] = "it is to be copied again"
		}
		return nil
	})
	if err != nil {
		return err
	}
	saved := map[string]change.Position{}
	err = r.each("SELECT dataset, lsn, epoch_us(committed_at), system_identifier, timeline FROM _pintail.positions", func(c *store.ResultChunk, row int) error {
		text := func(col int) string { return string(c.AppendText(nil, col, row)) }
		lsn, err := change.ParseLSN(text(1))
		if err != nil {
			return err
		}
		p := change.Position{LSN: lsn, System: text(3)}
		if us, err := strconv.ParseInt(text(2), 10, 64); err == nil { // nothing is NULL
			p.CommittedAt = time.UnixMicro(us).UTC()
		}
		if n, err := strconv.ParseInt(text(4), 10, 32); err == nil {
			p.Timeline = int32(n)
		}
		saved[text(0)] = p
		return nil
	})
	if err != nil {
		return err
	}
	for dataset, s := range known {
		at, ok := saved[dataset]
		if !ok {
			continue // it is being copied for the first time, or wholly anew
		}
		if s.at.System == at.System && s.at.Timeline == at.Timeline && s.at.LSN > at.LSN {
			at = s.at
		}
		p := Position{LSN: at.LSN, CommittedAt: at.CommittedAt}
		for _, target := range targets[dataset] {
			why := behind[target]
			if why == "" {
				continue
			}
			if wanted[dataset] > 0 {
				return fault.New(fault.Unavailable, "ask again when GET /api/store/status says that it is followed, or without min_lsn", "table %s is not at the position of dataset %s: %s", target, dataset, why)
			}
			p.Behind = append(p.Behind, target)
		}
		if p.LSN < wanted[dataset] {
			return fault.New(fault.Unavailable, "ask again", "dataset %s is at %s, not at %s any more: it is being copied anew", dataset, p.LSN, wanted[dataset])
		}
		r.positions[dataset] = p
	}
	for dataset, lsn := range wanted {
		if _, read := known[dataset]; read && lsn > 0 {
			if _, ok := r.positions[dataset]; !ok {
				return fault.New(fault.Unavailable, "ask again", "dataset %s has no position: it is being copied anew", dataset)
			}
		}
	}
	return nil
}

// each runs a statement of Pintail's own on the reader's session.
func (r *Result) each(sql string, f func(c *store.ResultChunk, row int) error) error {
	stmt, err := r.session.Prepare(r.ctx, sql)
	if err != nil {
		return err
	}
	defer stmt.Close()
	rows, err := stmt.Query(r.ctx, nil, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	for {
		c, err := rows.Next()
		if err != nil || c == nil {
			return err
		}
		for i := range c.Len() {
			if err := f(c, i); err != nil {
				return err
			}
		}
	}
}
