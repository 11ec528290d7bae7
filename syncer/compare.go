package syncer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

const (
	rangeRows    = 8192      // rows of a key range, about
	rangesMax    = 512       // key ranges of a table
	hashBuckets  = 4096      // for keys without a common order, and tables without a key
	samplesMax   = 20        // differing rows named
	narrowRanges = 8         // ranges read one by one; with more, the table is read once more as a whole
	narrowRows   = 2_000_000 // rows of differing ranges held in memory
	narrowBytes  = 256 << 20 // their content held in memory, for the samples
)

// comparison finds where a table and its source differ. Both sides' rows are brought into one canonical form, the tuple in
// PostgreSQL's binary format, hashed, and summed up by key ranges (or by hash of the key): equal counts and sums mean equal
// rows. Ranges that differ are read again, and their rows compared by key.
type comparison struct {
	copied   reader
	snap     source.Snapshot
	part     *part
	keep     change.Keep // rows that are not in the source any more are not compared
	workers  int
	progress *change.Progress

	types   []types.Type
	key     []int // columns of the key; all of them without a key
	ordered bool  // ranges are of the first key column, in an order that both sides share
	bounds  []bound
	source  sums
	copy    sums
}

// reader is the copy: as it is, or as it was at some moment.
type reader interface {
	Scan(ctx context.Context, sql string, cols []types.Type) (*store.Scan, error)
	CountRows(ctx context.Context, table string) (int64, error)
}

// bound is where a range ends and the next one begins.
type bound struct {
	order []byte // types.AppendOrder of the first value of the next range
	text  string
}

// sum is a range's fingerprint: independent of the order of its rows, and changed by every missing, doubled or altered one.
type sum struct {
	rows   int64
	lo, hi uint64
}

type sums []sum

func (s *sum) add(h xxh3.Uint128) {
	s.rows++
	s.lo += h.Lo
	s.hi += h.Hi
}

func (s sums) rows() (n int64) {
	for i := range s {
		n += s[i].rows
	}
	return n
}

func newComparison(copied reader, snap source.Snapshot, p *part, workers int, progress *change.Progress) *comparison {
	c := &comparison{copied: copied, snap: snap, part: p, workers: workers, progress: progress, types: p.desc.Types()}
	for i, col := range p.desc.Columns {
		if len(p.key) == 0 || slices.Contains(p.key, col.Name) {
			c.key = append(c.key, i)
		}
	}
	if len(p.key) > 0 {
		// The first column of the configured key is the one that is most likely indexed.
		first := slices.IndexFunc(p.desc.Columns, func(col source.Column) bool { return col.Name == p.key[0] })
		at := slices.Index(c.key, first)
		c.key[0], c.key[at] = c.key[at], c.key[0]
		c.ordered = c.types[first].Ordered()
	}
	return c
}

func (c *comparison) run(ctx context.Context) (*TableVerdict, error) {
	if c.ordered {
		if err := c.sample(ctx); err != nil {
			return nil, err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { c.source, err = c.sumSource(gctx); return err })
	g.Go(func() (err error) { c.copy, err = c.sumCopy(gctx); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := c.count(ctx); err != nil {
		return nil, err
	}
	t := &TableVerdict{Table: c.part.cfg.Target, SourceRows: c.source.rows(), CopyRows: c.copy.rows()}
	var differ []int
	for i := range c.source {
		if c.source[i].rows+c.copy[i].rows > 0 {
			t.Ranges++
		}
		if c.source[i] != c.copy[i] {
			differ = append(differ, i)
		}
	}
	var err error
	if t.Overlaps, err = c.overlaps(ctx); err != nil {
		return nil, err
	}
	if t.DifferingRanges = len(differ); t.DifferingRanges == 0 {
		return t, nil
	}
	return t, c.narrow(ctx, t, differ)
}

// count checks the splitting of the source's read, through which both sides of the comparison came. What a foreign table
// gives is not of the snapshot, and may have changed since.
func (c *comparison) count(ctx context.Context) error {
	if c.part.desc.Kind == "foreign" {
		return nil
	}
	count, err := c.snap.Count(ctx, c.part.desc)
	if err != nil {
		return err
	}
	if got := c.source.rows(); got != count {
		return fault.New(fault.Internal, "a query over foreign tables or volatile functions has other rows every time and cannot be verified; else report this with the dataset's configuration, and set sync_workers: 1 until then",
			"table %s: reading it in parts gave %d rows, and the source counts %d", c.part.cfg.Target, got, count)
	}
	return nil
}

// sample cuts the copy's keys into ranges of about the same size.
func (c *comparison) sample(ctx context.Context) error {
	rows, err := c.copied.CountRows(ctx, c.part.cfg.Target)
	if err != nil {
		return err
	}
	n := min(int(rows/rangeRows), rangesMax)
	if n < 2 {
		return nil
	}
	k := c.key[0]
	sc, err := c.copied.Scan(ctx, fmt.Sprintf("SELECT %s FROM %s%s USING SAMPLE reservoir(%d ROWS)", quote(c.part.desc.Columns[k].Name), quoteTarget(c.part.cfg.Target), where(c.live()), 64*n), c.types[k:k+1])
	if err != nil {
		return err
	}
	defer sc.Close()
	var all []bound
	for {
		ch, err := sc.Next()
		if err != nil {
			return err
		}
		if ch == nil {
			break
		}
		v := &ch.Vectors[0]
		for r := range ch.Rows {
			if !v.IsNull(r) {
				all = append(all, bound{types.AppendOrder(nil, &c.types[k], v, r), string(types.AppendText(nil, &c.types[k], v, r))})
			}
		}
	}
	if len(all) == 0 {
		return nil // none of the rows is compared
	}
	sort.Slice(all, func(i, j int) bool { return bytes.Compare(all[i].order, all[j].order) < 0 })
	for i := 1; i < n; i++ {
		b := all[i*len(all)/n]
		if len(c.bounds) == 0 || bytes.Compare(b.order, c.bounds[len(c.bounds)-1].order) > 0 {
			c.bounds = append(c.bounds, b)
		}
	}
	return nil
}

// buckets: for ordered keys, 0 is NULL and i+1 the i-th range; else the key's hash.
func (c *comparison) buckets() int {
	if c.ordered {
		return len(c.bounds) + 2
	}
	return hashBuckets
}

// summer brings rows into the canonical form. One goroutine uses it.
type summer struct {
	c     *comparison
	tuple []byte
	at    []int // where each field of tuple begins, and its end
	key   []byte
	order []byte
}

func (m *summer) row(ch *change.Chunk, r int) (bucket int, hash xxh3.Uint128) {
	c := m.c
	m.tuple = binary.BigEndian.AppendUint16(m.tuple[:0], uint16(len(c.types)))
	m.at = m.at[:0]
	for i := range c.types {
		m.at = append(m.at, len(m.tuple))
		m.tuple = types.AppendField(m.tuple, &c.types[i], &ch.Vectors[i], r)
		unsignZeros(m.tuple[m.at[i]:], &c.types[i])
	}
	m.at = append(m.at, len(m.tuple))
	hash = xxh3.Hash128(m.tuple)
	m.key = m.key[:0]
	if c.ordered {
		k := c.key[0]
		if ch.Vectors[k].IsNull(r) {
			return 0, hash
		}
		m.order = types.AppendOrder(m.order[:0], &c.types[k], &ch.Vectors[k], r)
		return 1 + sort.Search(len(c.bounds), func(i int) bool { return bytes.Compare(c.bounds[i].order, m.order) > 0 }), hash
	}
	return int(xxh3.Hash(m.keyBytes()) % hashBuckets), hash
}

// unsignZeros makes 0.0 of -0.0 in a field: DuckDB's compression takes the two for one value, and may give back the other.
func unsignZeros(field []byte, t *types.Type) {
	size := 0
	switch t.Kind {
	case types.Float32:
		size = 4
	case types.Float64:
		size = 8
	case types.List:
		if k := t.Elem.Kind; k == types.Float32 || k == types.Float64 {
			const header = 4 + 20 // the field's length, then dimensions, NULLs, type, length and lower bound
			for at := header; at < len(field); {
				n := 4
				if length := int32(binary.BigEndian.Uint32(field[at:])); length > 0 {
					n += int(length)
				}
				unsignZeros(field[at:at+n], t.Elem)
				at += n
			}
		}
		return
	}
	if size == 0 || len(field) != 4+size || field[4] != 0x80 {
		return
	}
	for _, b := range field[5:] {
		if b != 0 {
			return
		}
	}
	field[4] = 0
}

// keyBytes are the key's fields of the row last summed.
func (m *summer) keyBytes() []byte {
	m.key = m.key[:0]
	for _, k := range m.c.key {
		m.key = append(m.key, m.tuple[m.at[k]:m.at[k+1]]...)
	}
	return m.key
}

// each calls f with every chunk of the source's rows within r, from several goroutines, each with its own summer.
func (c *comparison) each(ctx context.Context, r source.Range, f func(m *summer, worker int, ch *change.Chunk) error) error {
	feed, err := c.snap.Read(ctx, c.part.desc, r, c.workers, c.progress)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for w := range feed.Workers() {
		g.Go(func() error {
			m, ch := &summer{c: c}, types.NewChunk(c.types)
			for {
				rd, err := feed.Next(ctx)
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				if err := drain(rd, ch, func() error { return f(m, w, ch) }); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func drain(rd change.Reader, ch *change.Chunk, f func() error) (err error) {
	defer func() { err = errors.Join(err, rd.Close()) }()
	for {
		types.ResetChunk(ch)
		n, err := rd.Read(ch)
		if err != nil || n == 0 {
			return err
		}
		ch.Rows = n
		if err := f(); err != nil {
			return err
		}
	}
}

func (c *comparison) sumSource(ctx context.Context) (sums, error) {
	perWorker := make([]sums, c.workers+1)
	for i := range perWorker {
		perWorker[i] = make(sums, c.buckets())
	}
	err := c.each(ctx, source.Range{}, func(m *summer, w int, ch *change.Chunk) error {
		for r := range ch.Rows {
			b, h := m.row(ch, r)
			perWorker[w][b].add(h)
		}
		return nil
	})
	total := perWorker[0]
	for _, s := range perWorker[1:] {
		for i := range s {
			total[i].rows += s[i].rows
			total[i].lo += s[i].lo
			total[i].hi += s[i].hi
		}
	}
	return total, err
}

func (c *comparison) sumCopy(ctx context.Context) (sums, error) {
	total := make(sums, c.buckets())
	return total, c.scan(ctx, source.Range{}, func(m *summer, ch *change.Chunk) {
		for r := range ch.Rows {
			b, h := m.row(ch, r)
			total[b].add(h)
		}
	})
}

// scan calls f with every chunk of the copy's rows within r.
func (c *comparison) scan(ctx context.Context, r source.Range, f func(m *summer, ch *change.Chunk)) error {
	cols := make([]string, len(c.part.desc.Columns))
	for i, col := range c.part.desc.Columns {
		cols[i] = quote(col.Name)
	}
	sql := fmt.Sprintf("SELECT %s FROM %s", strings.Join(cols, ", "), quoteTarget(c.part.cfg.Target))
	sql += where(c.live(), store.RangeCondition(store.KeyRange{Column: r.Column, Low: r.Low, High: r.High}, c.types[c.key[0]]))
	sc, err := c.copied.Scan(ctx, sql, c.types)
	if err != nil {
		return err
	}
	defer sc.Close()
	m := &summer{c: c}
	for {
		ch, err := sc.Next()
		if err != nil || ch == nil {
			return err
		}
		f(m, ch)
	}
}

// rangeOf is the source.Range of an ordered bucket other than NULL's.
func (c *comparison) rangeOf(bucket int) source.Range {
	r := source.Range{Column: c.part.desc.Columns[c.key[0]].Name}
	if i := bucket - 1; i > 0 {
		r.Low = c.bounds[i-1].text
	}
	if i := bucket - 1; i < len(c.bounds) {
		r.High = c.bounds[i].text
	}
	return r
}

// quoteTarget is a table of the copy as it is written in a statement.
func quoteTarget(target string) string {
	if schema, table, ok := strings.Cut(target, "."); ok {
		return quote(schema) + "." + quote(table)
	}
	return "main." + quote(target)
}

// differing are the ranges that differ, adjoining ones joined; not ok when they are no ranges of the key.
func (c *comparison) differing() (ranges []source.Range, ok bool) {
	if !c.ordered || c.source[0] != c.copy[0] {
		return nil, false
	}
	last := -1
	for b := 1; b < len(c.source); b++ {
		if c.source[b] == c.copy[b] {
			continue
		}
		r := c.rangeOf(b)
		if last == b-1 {
			ranges[len(ranges)-1].High = r.High
		} else {
			ranges = append(ranges, r)
		}
		last = b
	}
	return ranges, true
}
