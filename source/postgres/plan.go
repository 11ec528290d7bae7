package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

const (
	// pieceMin and pieceMax bound the part of a table that one partition reads: below, a statement of its own is not worth
	// it; above, the last workers wait for one.
	pieceMin, pieceMax = 4 << 20, 64 << 20
	// rangeRows is below how many rows a query is not split by its partition column, nor an increment split at all.
	rangeRows = 50_000
	// sampleRows are what the boundaries of ranges are made from.
	sampleRows = 30_000
)

// part is one partition: a statement, and how large it is beside the others.
type part struct {
	query  string
	weight int64
}

// Read plans how d is read within r. The feed's readers must be closed before the snapshot is.
func (n *Snapshot) Read(ctx context.Context, d *source.Description, r source.Range, workers int, p *change.Progress) (change.Feed, error) {
	parts, err := n.parts(ctx, d, r, max(workers, 1))
	if err != nil {
		return nil, n.src.failed(ctx, err, "planning to read %s", what(d))
	}
	slices.SortStableFunc(parts, func(a, b part) int { return int(b.weight>>10) - int(a.weight>>10) })
	f := &feed{snap: n, desc: d, queue: parts, progress: p}
	if f.progress == nil {
		f.progress = &change.Progress{}
	}
	f.workers = n.reserve(min(workers, len(parts)))
	return f, nil
}

// what names a description in messages.
func what(d *source.Description) string {
	if d.Query.Table != "" {
		return "table " + d.Query.Table
	}
	return "the query"
}

// reserve makes sure of slots for n sessions in all, as far as the pool has them, and returns how many there are.
func (n *Snapshot) reserve(want int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.alone || n.closed {
		return 1
	}
	if more := want - 1 - n.workers - n.reserved; more > 0 {
		n.reserved += n.src.tryAcquire(more)
	}
	return max(1, min(want, 1+n.workers+n.reserved))
}

// conditions are the parts of a Range that go into WHERE. Without any of Low, OrNull and Xmin, every row counts that was
// not seen; else rows that meet one of them.
func conditions(d *source.Description, p *plan, r source.Range) (string, error) {
	col := -1
	if r.Column != "" {
		if col = index(d, r.Column); col < 0 {
			return "", fault.New(fault.SchemaLost, didYouMean(r.Column, columnNames(d)), "there is no column %q", r.Column)
		}
	} else if r.Low != "" || r.High != "" || r.Seen != nil {
		return "", fault.New(fault.Internal, "", "a range without a column")
	}
	var within, any []string
	if r.Low != "" {
		within = append(within, p.key(d, col)+" >= "+literal(r.Low))
	}
	if r.High != "" {
		within = append(within, p.key(d, col)+" < "+literal(r.High))
	}
	if within != nil {
		any = append(any, strings.Join(within, " AND "))
	}
	if within != nil || r.Xmin != "" {
		if r.OrNull {
			any = append(any, p.ref(col)+" IS NULL")
		}
		if r.Xmin != "" {
			newer, err := p.newer(r.Xmin)
			if err != nil {
				return "", err
			}
			any = append(any, newer)
		}
	}
	cond := anyOf(any)
	if r.Seen != nil {
		unseen, err := p.newer(r.Seen.Xmin)
		if err != nil {
			return "", err
		}
		if r.Seen.High != "" {
			unseen = anyOf([]string{p.key(d, col) + " > " + literal(r.Seen.High), unseen})
		}
		if cond != "" {
			unseen = cond + " AND " + unseen
		}
		cond = unseen
	}
	return cond, nil
}

func anyOf(conds []string) string {
	if len(conds) > 1 {
		return "(" + strings.Join(conds, " OR ") + ")"
	}
	return strings.Join(conds, "")
}

// newer is the condition that a transaction not older than xmin wrote the row version. Ages compare across the wrap of
// 32-bit ids. A row version frozen long ago has the largest age, or its own id of an earlier turn: then it may be read once
// too often.
func (p *plan) newer(xmin string) (string, error) {
	if !p.versioned() {
		return "", fault.New(fault.Internal, "", "this relation's row versions cannot be told apart")
	}
	xid, err := strconv.ParseUint(xmin, 10, 64)
	if err != nil {
		return "", fault.New(fault.Internal, "", "xid %q: %w", xmin, err)
	}
	return fmt.Sprintf("age(%s.xmin) <= age('%d'::xid)", p.alias, uint32(xid)), nil
}

// key is a column as it is compared in ranges: text under the "C" collation, so that both sides order it alike.
func (p *plan) key(d *source.Description, i int) string {
	if t := &d.Columns[i].Type; t.Textual() {
		return p.ref(i) + ` COLLATE "C"`
	}
	return p.ref(i)
}

// query is the statement that reads from, with the user's condition and these.
func (p *plan) query(from string, conds ...string) string {
	var b strings.Builder
	b.WriteString("SELECT " + p.list + " FROM " + from)
	sep := " WHERE "
	if p.where != "" {
		b.WriteString(sep + "(" + p.where + "\n)")
		sep = " AND "
	}
	for _, c := range conds {
		if c != "" {
			b.WriteString(sep + c)
			sep = " AND "
		}
	}
	return b.String()
}

// fromLeaf is a partition or plain table by its own name, under the alias that the user's condition knows.
func (p *plan) fromLeaf(r *relation) string {
	only := "ONLY "
	if r.kind != "r" {
		only = ""
	}
	return only + qualified(r.schema, r.name) + " AS " + p.alias
}

// parts splits the read.
func (n *Snapshot) parts(ctx context.Context, d *source.Description, r source.Range, workers int) ([]part, error) {
	p := d.Impl.(*plan)
	cond, err := conditions(d, p, r)
	if err != nil {
		return nil, err
	}
	if r.Seen != nil && r.Seen.Xmin == n.xmax || r.Low == "" && r.Xmin != "" && r.Xmin == n.xmax {
		return nil, nil // no transaction has ended anywhere in the server since
	}
	whole := part{query: p.query(p.from, cond), weight: d.RowsGuess}
	if r.Limit > 0 && r.Column == "" {
		// Without an order these are any rows: enough to tell whether there are more than a cap.
		return []part{{query: fmt.Sprintf("%s LIMIT %d", whole.query, r.Limit), weight: r.Limit}}, nil
	}
	if r.Limit > 0 {
		return p.limited(d, r, cond), nil
	}
	guess := d.RowsGuess
	if r.Low != "" || r.High != "" {
		// An increment is small as a rule, and an index finds it: it stays in one piece.
		if guess, err = n.guess(ctx, whole.query); err != nil {
			return nil, err
		}
		if guess < rangeRows || guess < d.RowsGuess/10 {
			return p.increment(d, r, cond)
		}
	}
	if p.leaves != nil {
		return n.blocks(p, cond, workers), nil
	}
	if d.Query.PartitionColumn != "" && guess >= rangeRows && workers > 1 {
		return n.ranges(ctx, d, p, cond, guess, workers)
	}
	return []part{whole}, nil
}

// increment reads what is new beside what lies in reach of the last read: there most row versions were seen, and each has
// to be looked at.
func (p *plan) increment(d *source.Description, r source.Range, cond string) ([]part, error) {
	if r.Seen == nil || r.Seen.High == "" || r.High != "" {
		return []part{{query: p.query(p.from, cond)}}, nil
	}
	unseen, err := p.newer(r.Seen.Xmin)
	if err != nil {
		return nil, err
	}
	key := p.key(d, index(d, r.Column))
	low, high := key+" >= "+literal(r.Low), literal(r.Seen.High)
	within := []string{low + " AND " + key + " <= " + high}
	if r.OrNull {
		within = append(within, key+" IS NULL")
	}
	return []part{{query: p.query(p.from, low, key+" > "+high)}, {query: p.query(p.from, anyOf(within), unseen)}}, nil
}

// guess is the planner's estimate of a statement's rows.
func (n *Snapshot) guess(ctx context.Context, query string) (int64, error) {
	rs, err := n.askAny(ctx, stmt("SAVEPOINT pintail"), stmt("EXPLAIN (FORMAT JSON) "+query), stmt("RELEASE SAVEPOINT pintail"))
	if err != nil {
		return 0, err
	}
	node, err := parsePlan(rs[1].rows[0][0])
	return int64(node.Rows), err
}

// limited reads at most r.Limit rows in the column's order, and those of equal value with the last. Rows without a value
// have no place in that order: they are read as well.
func (p *plan) limited(d *source.Description, r source.Range, cond string) []part {
	i := index(d, r.Column)
	var parts []part
	if (r.OrNull || r.Xmin != "" || r.Low == "" && r.High == "") && !d.Columns[i].NotNull {
		nulls := ""
		if r.Xmin != "" && !r.OrNull || r.Seen != nil {
			nulls = cond
		}
		parts = append(parts, part{query: p.query(p.from, p.ref(i)+" IS NULL", nulls), weight: 1 << 40})
	}
	q := p.query(p.from, cond, p.ref(i)+" IS NOT NULL")
	return append(parts, part{query: fmt.Sprintf("%s ORDER BY %s FETCH FIRST %d ROWS WITH TIES", q, p.key(d, i), r.Limit), weight: r.Limit})
}

// blocks splits tables by their blocks, as they are counted now: what was added since the snapshot is not seen, and the
// last range has no end.
func (n *Snapshot) blocks(p *plan, cond string, workers int) []part {
	var total int64
	for i := range p.leaves {
		total += p.leaves[i].bytes
	}
	size := min(max(total/int64(8*workers), pieceMin), pieceMax)
	var parts []part
	for i := range p.leaves {
		leaf := &p.leaves[i]
		from := p.fromLeaf(leaf)
		pieces := int64(1)
		// Without TID range scans each piece would read the whole table, and a role with rights on columns alone has none
		// on ctid.
		if workers > 1 && leaf.heap && leaf.readable && n.before.version >= 140000 {
			pieces = max(1, leaf.bytes/size)
		}
		blocks := leaf.bytes / n.before.block
		for k := range pieces {
			var conds []string
			if k > 0 {
				conds = append(conds, fmt.Sprintf("%s.ctid >= '(%d,0)'::tid", p.alias, blocks*k/pieces))
			}
			if k < pieces-1 {
				conds = append(conds, fmt.Sprintf("%s.ctid < '(%d,0)'::tid", p.alias, blocks*(k+1)/pieces))
			}
			parts = append(parts, part{query: p.query(from, append(conds, cond)...), weight: leaf.bytes / pieces})
		}
	}
	return parts
}

// ranges splits a query by its partition column, at values that part its rows evenly. They compare as the server compares
// them: no row can fall between two, whatever the type or collation.
func (n *Snapshot) ranges(ctx context.Context, d *source.Description, p *plan, cond string, guess int64, workers int) ([]part, error) {
	i := index(d, d.Query.PartitionColumn)
	whole := []part{{query: p.query(p.from, cond), weight: guess}}
	bounds, indexed, err := n.bounds(ctx, d, p, i, cond, guess, workers)
	if err != nil {
		if sqlstate(err) == "" {
			return nil, err
		}
		n.log.Warn("the query is read in one piece: its partition_column cannot be split", "column", d.Query.PartitionColumn, "reason", err.Error())
		return whole, nil
	}
	if len(bounds) == 0 {
		return whole, nil
	}
	if !indexed && len(bounds) >= workers {
		// Each range scans all there is: not more of them than work at once.
		var fewer []string
		for k := 1; k < workers; k++ {
			fewer = append(fewer, bounds[k*len(bounds)/workers])
		}
		bounds = slices.Compact(fewer)
	}
	ref := p.ref(i)
	var parts []part
	for k := 0; k <= len(bounds); k++ {
		var conds []string
		if k > 0 {
			conds = append(conds, ref+" >= "+literal(bounds[k-1]))
		}
		if k < len(bounds) {
			conds = append(conds, ref+" < "+literal(bounds[k]))
		}
		parts = append(parts, part{query: p.query(p.from, append(conds, cond)...), weight: guess / int64(len(bounds)+1)})
	}
	if !d.Columns[i].NotNull {
		parts = append(parts, part{query: p.query(p.from, ref+" IS NULL", cond), weight: 1})
	}
	return parts, nil
}

// bounds finds the boundaries: from a sample of the column's own table where that is known and large, else from the query.
func (n *Snapshot) bounds(ctx context.Context, d *source.Description, p *plan, i int, cond string, guess int64, workers int) (bounds []string, indexed bool, err error) {
	pieces := max(min(int(guess/rangeRows), 8*workers), 2)
	var fractions []string
	for k := 1; k < pieces; k++ {
		fractions = append(fractions, strconv.FormatFloat(float64(k)/float64(pieces), 'f', 6, 64))
	}
	pick := "percentile_disc(ARRAY[" + strings.Join(fractions, ",") + "]) WITHIN GROUP (ORDER BY "
	c := &d.Columns[i]
	share := strconv.FormatFloat(min(1, sampleRows/float64(max(guess, 1))), 'f', 9, 64)
	ref := p.ref(i)
	from := fmt.Sprintf("SELECT unnest(%s %s))::text FROM %s WHERE random() < %s", pick, ref, p.from, share)
	if cond != "" {
		from += " AND " + cond
	}
	if c.Table != 0 {
		rs, err := n.askAny(ctx, stmt("SAVEPOINT pintail"), stmt(`SELECT n.nspname, c.relname, a.attname, c.relkind, greatest(c.reltuples, 0),
			EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indkey[0] = a.attnum AND x.indisvalid AND x.indpred IS NULL)
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
			WHERE c.oid = $1 AND a.attnum = $2 AND has_column_privilege(c.oid, a.attnum, 'SELECT') AND NOT row_security_active(c.oid)`,
			strconv.Itoa(int(c.Table)), strconv.Itoa(int(c.Attnum))), stmt("RELEASE SAVEPOINT pintail"))
		if err != nil {
			return nil, false, err
		}
		if r := &rs[1]; len(r.rows) == 1 {
			indexed = r.bool(0, 5)
			tuples, _ := strconv.ParseFloat(r.text(0, 4), 64)
			if kind := r.text(0, 3); (kind == "r" || kind == "p" || kind == "m") && tuples > 10*sampleRows && cond == "" {
				percent := strconv.FormatFloat(min(100, max(100*sampleRows/tuples, 0.05)), 'f', 6, 64)
				from = fmt.Sprintf("SELECT unnest(%s %s))::text FROM %s TABLESAMPLE SYSTEM (%s)", pick, ident(r.text(0, 2)),
					qualified(r.text(0, 0), r.text(0, 1)), percent)
			}
		}
	}
	rs, err := n.askAny(ctx, stmt("SAVEPOINT pintail"), stmt(from), stmt("RELEASE SAVEPOINT pintail"))
	if err != nil {
		return nil, false, err
	}
	for k := range rs[1].rows {
		if b := rs[1].rows[k][0]; b != nil && (len(bounds) == 0 || bounds[len(bounds)-1] != string(b)) {
			bounds = append(bounds, string(b))
		}
	}
	return bounds, indexed, nil
}
