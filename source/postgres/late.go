package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

const (
	// clockMargin covers that a transaction's now() is fixed a moment before others can see the transaction run, and
	// roundMargin that a column of less than microseconds rounds it down.
	clockMargin = time.Second
	roundMargin = time.Second
	// pendingMax bounds the bounds that wait for transactions to end.
	pendingMax = 32
	// defaultLookback is for timestamps, dateLookback for dates.
	defaultLookback = 5 * time.Minute
	dateLookback    = 24 * time.Hour
	// zoneAhead and zoneBehind are how far from UTC a local clock can be.
	zoneAhead  = 14 * time.Hour
	zoneBehind = 12 * time.Hour
	// xidHorizon is how many transactions may pass before 32-bit ids no longer tell which of two is older.
	xidHorizon = 1 << 31
)

// observation is what ran at a moment.
type observation struct {
	at      time.Time
	holders []string
}

// observe adds a step 0 to what is known and returns the latest moment whose running transactions have all ended; zero
// when there is none. While transactions are prepared, one that ran then may still be undecided.
func (s *Source) observe(b *before) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var proven time.Time
	seen := append(s.seen, observation{b.now, b.running})
	if b.prepared == 0 {
		for _, o := range seen {
			if o.at.After(proven) && !overlap(o.holders, b.running) {
				proven = o.at
			}
		}
		seen = slices.DeleteFunc(seen, func(o observation) bool { return o.at.Before(proven) })
	}
	if len(seen) > pendingMax {
		seen = slices.Delete(seen, pendingMax/2, pendingMax/2+1)
	}
	s.seen = seen
	return proven
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}

const serverNow = `(?:now\(\)|CURRENT_TIMESTAMP(?:\(\d\))?|transaction_timestamp\(\)|statement_timestamp\(\)|clock_timestamp\(\)|\('now'::text\)::timestamp(?:\(\d\))? with time zone)`

var (
	defaultNow = regexp.MustCompile(`^` + serverNow + `$`)
	defaultUTC = regexp.MustCompile(`(?i)^(?:\(` + serverNow + ` AT TIME ZONE '(?:etc/)?(?:utc|gmt|z|zulu|uct)'::text\)|timezone\('(?:etc/)?(?:utc|gmt|z|zulu|uct)'::text, ` + serverNow + `\))$`)
)

// serverClock says whether a column's values are the server's own time of the inserting transaction, or later.
func serverClock(c *source.Column) bool {
	switch c.Type.Kind {
	case types.TimestampTZ:
		return defaultNow.MatchString(c.Default)
	case types.Timestamp:
		return defaultUTC.MatchString(c.Default)
	}
	return false
}

// method chooses how late commits of column i are kept, and says why it is not a surer one.
func (n *Snapshot) method(d *source.Description, p *plan, i int, mode string) (source.Method, string, error) {
	switch mode {
	case "xmin":
		if !p.versioned() {
			return "", "", fault.New(fault.Config, "Use late_commits: auto, or name a plain table on which the role has SELECT as a whole.",
				"late_commits: xmin works for plain tables only, not for a %s", d.Kind)
		}
		return source.MethodXmin, "", nil
	case "lookback":
		return source.MethodLookback, "late_commits: lookback is configured", nil
	}
	c := &d.Columns[i]
	clock := serverClock(c)
	switch {
	case n.before.blind:
		return source.MethodLookback, "the role may not see the source's running transactions (pg_stat_activity, pg_locks, pg_prepared_xacts)", nil
	case n.before.standby:
		return source.MethodLookback, "the source is a standby, which does not show the primary's transactions", nil
	case !clock && !c.Sequence:
		return source.MethodLookback, "the column's default is neither the server's clock nor a sequence without a cache", nil
	case p.root != nil && p.root.replica:
		return source.MethodLookback, "a subscription writes the table: its values come from another server", nil
	case clock && n.before.allStats && !n.before.untracked:
		return source.MethodXactStart, "", nil
	case clock:
		return source.MethodRunning, "the role may not see when transactions began: GRANT pg_read_all_stats to it", nil
	}
	return source.MethodSequence, "", nil
}

// late is one decision under way.
type late struct {
	n        *Snapshot
	p        *plan
	col      *source.Column
	seq      sequence
	method   source.Method
	prev     *source.Watermark // of the same column, or nil
	lookback *time.Duration    // as configured
	keyed    bool
	reads    source.Range
	held     bool // source.Late's
}

// Late decides what an incremental read of d must bring, and how its watermark goes on. It asks the server nothing: step 0
// and Describe have.
func (n *Snapshot) Late(ctx context.Context, d *source.Description, prev *source.Watermark, o source.LateOptions) (source.Late, error) {
	r, err := n.late(d, prev, o)
	return r, n.src.failed(ctx, err, "incremental read of %s", what(d))
}

func (n *Snapshot) late(d *source.Description, prev *source.Watermark, o source.LateOptions) (source.Late, error) {
	p := d.Impl.(*plan)
	name := d.Query.IncrementalColumn
	i := index(d, name)
	if i < 0 && (name != "" || o.Mode != "xmin") {
		return source.Late{}, fault.New(fault.SchemaLost, "Give an incremental_column that the query has.", "there is no column %q", name)
	}
	l := &late{n: n, p: p, lookback: o.Lookback, keyed: o.Keyed}
	if i >= 0 {
		l.col, l.seq = &d.Columns[i], p.seqs[i]
		if !l.col.Type.Ordered() {
			return source.Late{}, fault.New(fault.Config, "Use a column of an integer, DECIMAL, date, timestamp, uuid or text type.",
				"incremental_column %q is a %s, whose order the copy does not share", name, l.col.PGType)
		}
	}
	var why string
	var err error
	if l.method, why, err = n.method(d, p, i, o.Mode); err != nil {
		return source.Late{}, err
	}
	if prev != nil && prev.Column == name {
		l.prev = prev
	}
	if l.reads, err = l.reach(); err != nil {
		return source.Late{}, err
	}
	result := source.Late{Method: l.method, Guarantee: l.guarantee(why), Range: l.reads,
		Proven: l.method == source.MethodXmin || l.method != source.MethodLookback && (p.leaves != nil || p.root != nil && p.single)}
	if !result.Proven && l.method != source.MethodLookback {
		result.Guarantee += " The query joins or groups: a row that comes to its result for another reason is found by a reconcile."
	}
	if l.prev != nil && l.prev.Cursor != "" && l.method != source.MethodXmin {
		if result.Held, err = l.below(l.prev.Safe, l.prev.Cursor); err != nil {
			return source.Late{}, err
		}
	}
	l.held = result.Held
	result.Next = l.next
	return result, nil
}

// reach is what is to be read now.
func (l *late) reach() (source.Range, error) {
	var r source.Range
	if l.col != nil {
		r.Column, r.OrNull = l.col.Name, !l.col.NotNull
	}
	if l.prev == nil {
		return source.Range{Column: r.Column}, nil
	}
	r.Low = l.prev.Safe
	if l.method == source.MethodXmin {
		// A bound beside it means that the last read was capped: what lies above was never read.
		if l.prev.Xmin == "" || !l.n.recent(l.prev.Xmin) {
			return source.Range{Column: r.Column}, nil
		}
		r.Xmin = l.prev.Xmin
		r.OrNull = r.OrNull && r.Low != ""
		return r, nil
	}
	if l.prev.Cursor != "" {
		// The last read was capped: this one goes on behind it. What the bound holds back is read again when the end is reached.
		low, err := after(&l.col.Type, l.prev.Cursor)
		if err != nil {
			return r, err
		}
		if r.Low, err = greatest(&l.col.Type, r.Low, low); err != nil {
			return r, err
		}
	}
	r.OrNull = r.OrNull && r.Low != "" && l.prev.Cursor == ""
	if l.prev.Seen == "" || l.prev.Cursor != "" || !l.n.recent(l.prev.Seen) || !l.tells() {
		return r, nil
	}
	if l.prev.From != "" { // a longer lookback goes back to where the last read did not
		if r.Low == "" {
			return r, nil
		}
		if c, err := compareValues(&l.col.Type, r.Low, l.prev.From); err != nil || c < 0 {
			return r, err
		}
	}
	r.Seen = &source.Seen{Xmin: l.prev.Seen, High: l.prev.High}
	return r, nil
}

// tells says whether a row version that was seen need not be read again: not where a lookback was asked for, and where the
// row may come to be read for another reason, a condition or policy whose answer changes with the time or another table.
func (l *late) tells() bool {
	return l.keyed && l.lookback == nil && l.p.versioned() && l.p.where == "" && !l.p.leaves[0].policies
}

// versioned says whether row versions tell what is new: not where a partition may be attached with rows that it had before.
func (p *plan) versioned() bool {
	if len(p.leaves) != 1 || p.leaves[0].oid != p.root.oid {
		return false
	}
	r := &p.leaves[0]
	return (r.kind == "r" || r.kind == "m") && r.heap && r.readable
}

// recent says whether 32-bit ids can still be compared with that of an earlier snapshot of this server. Another server's ids
// say nothing: which one it is has to be known.
func (n *Snapshot) recent(xmin string) bool {
	if n.places[source.FactServer] == "" {
		return false
	}
	then, err1 := strconv.ParseUint(xmin, 10, 64)
	now, err2 := strconv.ParseUint(n.xmin, 10, 64)
	return err1 == nil && err2 == nil && then <= now && now-then < xidHorizon/2
}

// next is the watermark after the read.
func (l *late) next(_ context.Context, high, last string) (source.Watermark, error) {
	w := source.Watermark{High: high, Method: l.method}
	if l.prev != nil {
		w.Safe = l.prev.Safe
	}
	var err error
	if l.col != nil {
		w.Column = l.col.Name
		if l.prev != nil {
			if w.High, err = greatest(&l.col.Type, high, l.prev.High); err != nil {
				return w, err
			}
		}
		if l.held {
			w.Pending = l.prev.Pending // what lies between the bound and where this read began was not read at this snapshot
		} else if err = l.bound(&w, last); err != nil {
			return w, err
		}
		if last != "" && l.method != source.MethodXmin {
			w.Cursor = last
		}
		if err == nil && last != "" && w.Safe != "" {
			// All values up to the last were read, those equal to it too; none above.
			var end string
			if end, err = after(&l.col.Type, last); err == nil {
				w.Safe, err = least(&l.col.Type, w.Safe, end)
			}
		}
	}
	switch {
	case l.method != source.MethodXmin:
		switch {
		case !l.tells():
		case l.prev != nil && l.prev.Cursor != "":
			w.Seen, w.From = l.prev.Seen, l.prev.From
		default:
			w.Seen, w.From = l.n.xmin, l.reads.Low
		}
	case last != "" && l.prev != nil:
		w.Xmin = l.prev.Xmin
	default:
		// Of a first read that was capped too: what it brought may change from here on.
		w.Xmin = l.n.xmin
	}
	return w, err
}

// bound moves the watermark's bound on, by the method.
func (l *late) bound(w *source.Watermark, last string) (err error) {
	switch l.method {
	case source.MethodXactStart:
		return l.nextXactStart(w)
	case source.MethodRunning:
		return l.nextRunning(w)
	case source.MethodSequence:
		return l.nextSequence(w)
	case source.MethodLookback:
		return l.nextLookback(w, last)
	}
	w.Safe = ""
	if last != "" {
		w.Safe, err = after(&l.col.Type, last)
	}
	return err
}

// below says whether a bound lies before or at a value; no bound does.
func (l *late) below(bound, value string) (bool, error) {
	if bound == "" {
		return true, nil
	}
	c, err := compareValues(&l.col.Type, bound, value)
	return c <= 0, err
}

// margin is how far below a server's time a column's value of then may be.
func (l *late) margin() time.Duration {
	if mod := l.col.Type.Typmod; mod >= 0 && mod < 6 || regexp.MustCompile(`\(\d\)`).MatchString(l.col.Default) {
		return clockMargin + roundMargin
	}
	return clockMargin
}

// settled notes that all of the server's times before at are settled. A bound, once proven, stays.
func (l *late) settled(w *source.Watermark, at time.Time) (err error) {
	t := &l.col.Type
	x := timeOf(t, at.Add(-l.margin()))
	if l.lookback != nil {
		w.Safe = formatTime(t, x-l.lookback.Microseconds())
		return nil
	}
	w.Safe, err = greatest(t, w.Safe, formatTime(t, x))
	return err
}

func (l *late) nextXactStart(w *source.Watermark) error {
	b := &l.n.before
	if b.prepared > 0 {
		return nil // a prepared transaction hides when it began
	}
	at := b.now
	if !b.oldest.IsZero() && b.oldest.Before(at) {
		at = b.oldest
	}
	return l.settled(w, at)
}

func (l *late) nextRunning(w *source.Watermark) error {
	b := &l.n.before
	proven := l.n.proven
	waiting := []source.Pending{{Bound: formatTime(&instant, timeOf(&instant, b.now)), Holders: append([]string{}, b.running...)}}
	if l.prev != nil && l.prev.Method == source.MethodRunning {
		waiting = append(slices.Clone(l.prev.Pending), waiting...)
	}
	moment := func(p source.Pending) (time.Time, error) {
		x, err := parseTime(&instant, p.Bound)
		return time.UnixMicro(x + epoch2000).UTC(), err
	}
	for _, p := range waiting {
		at, err := moment(p)
		if err != nil {
			return err
		}
		if b.prepared == 0 && !overlap(p.Holders, b.running) && at.After(proven) {
			proven = at
		}
	}
	for _, p := range waiting {
		if at, _ := moment(p); at.After(proven) {
			w.Pending = append(w.Pending, p)
		}
	}
	w.Pending = thin(w.Pending)
	if proven.IsZero() {
		return nil
	}
	return l.settled(w, proven)
}

// instant is the type in which moments of the server are kept, whatever the column's.
var instant = types.Of(1184, -1, nil)

// thin drops bounds from the middle: the oldest is the first to be proven, the newest the best.
func thin(p []source.Pending) []source.Pending {
	for len(p) > pendingMax {
		p = slices.Delete(p, len(p)/2, len(p)/2+1)
	}
	return p
}

func (l *late) nextSequence(w *source.Watermark) (err error) {
	t := &l.col.Type
	// Who holds the table now may have drawn any number up to now; who took it later drew a later one. A number is drawn
	// under the table's lock, which is held until the transaction's end.
	var writers []string
	undecided := false
	for _, rel := range l.p.tree {
		for tx := range l.n.before.writers[rel] {
			writers = append(writers, tx)
			undecided = undecided || tx[0] == '-' // prepared: under what id it ran is not known any more
		}
	}
	slices.Sort(writers)
	writers = slices.Compact(writers)
	if l.prev != nil && l.prev.Method == source.MethodSequence {
		for _, p := range l.prev.Pending {
			if p.Holders == nil {
				p.Holders = append([]string{}, writers...)
			}
			if !undecided && !overlap(p.Holders, writers) {
				if w.Safe, err = greatest(t, w.Safe, p.Bound); err != nil {
					return err
				}
				continue
			}
			w.Pending = append(w.Pending, p)
		}
	}
	if w.High != "" {
		// A number given by hand may be ahead of the sequence, and says nothing about those still to be drawn.
		bound, err := least(t, w.High, l.seq.last)
		if err != nil {
			return err
		}
		if bound, err = after(t, bound); err != nil {
			return err
		}
		if w.Safe == "" {
			w.Pending = append(w.Pending, source.Pending{Bound: bound})
		} else if c, err := compareValues(t, bound, w.Safe); err != nil {
			return err
		} else if c > 0 {
			w.Pending = append(w.Pending, source.Pending{Bound: bound})
		}
	}
	w.Pending = thin(w.Pending)
	return nil
}

// nextLookback goes back from the largest value, or from now should values lie in the future.
func (l *late) nextLookback(w *source.Watermark, last string) error {
	t := &l.col.Type
	w.Safe = w.High
	if w.High == "" {
		return nil
	}
	// A local clock shows some time between these two.
	var earliest, latest, back int64
	switch t.Kind {
	case types.TimestampTZ:
		latest, back = timeOf(t, l.n.before.now), defaultLookback.Microseconds()
		earliest = latest
	case types.Timestamp:
		latest, back = timeOf(t, l.n.before.now.Add(zoneAhead)), defaultLookback.Microseconds()
		earliest = timeOf(t, l.n.before.now.Add(-zoneBehind))
	case types.Date:
		latest, back = timeOf(t, l.n.before.now.Add(zoneAhead)), int64(dateLookback/(24*time.Hour))
		earliest = timeOf(t, l.n.before.now.Add(-zoneBehind))
	default:
		if last != "" {
			var err error
			w.Safe, err = after(t, last)
			return err
		}
		return nil
	}
	if l.lookback != nil {
		back = l.lookback.Microseconds()
		if t.Kind == types.Date {
			back = int64((*l.lookback + 24*time.Hour - 1) / (24 * time.Hour))
		}
	}
	x := latest
	// A capped read is still catching up: going back from its last row could read the same rows for ever.
	if last == "" {
		h, err := parseTime(t, w.High)
		if err != nil {
			return err
		}
		if x = h; h > latest {
			x = earliest // the value says nothing of what time it is
		}
	}
	w.Safe = formatTime(t, x-back)
	return nil
}

// guarantee is one sentence for people; docs/guarantees.md has them all.
func (l *late) guarantee(why string) string {
	back := ""
	if l.lookback != nil && l.col != nil && isTime(&l.col.Type) {
		back = fmt.Sprintf(" A lookback of %s is added.", *l.lookback)
	}
	switch l.method {
	case source.MethodXactStart:
		return "No late commit is lost: reads go back to the start of the oldest transaction that was running, as long as values come from the column's default or the server's clock." + back
	case source.MethodRunning:
		return "No late commit is lost: a bound moves on once the transactions that ran at its time have ended, as long as values come from the column's default or the server's clock. (" + why + " for closer bounds.)" + back
	case source.MethodSequence:
		return "No late insert is lost: a bound moves on once the table's writers of its time have ended, as long as numbers are drawn by the column's default. Updates of old rows are not seen."
	case source.MethodXmin:
		return "Every insert and update is seen, by the row versions' own transaction ids; each run scans the whole table on the source."
	}
	d := defaultLookback
	switch {
	case l.lookback != nil:
		d = *l.lookback
	case l.col.Type.Kind == types.Date:
		d = dateLookback
	}
	if !isTime(&l.col.Type) {
		return "Nothing is proven, since " + why + ": rows that are committed below the largest value read are lost until a reconcile."
	}
	return fmt.Sprintf("Nothing is proven, since %s: rows that are committed more than %s late are lost until a reconcile.", why, d)
}

func isTime(t *types.Type) bool {
	return t.Kind == types.Date || t.Kind == types.Timestamp || t.Kind == types.TimestampTZ
}

// Least is the smaller of two values of a column; "" counts as the largest.
func (n *Snapshot) Least(_ context.Context, c *source.Column, a, b string) (string, error) {
	return least(&c.Type, a, b)
}
