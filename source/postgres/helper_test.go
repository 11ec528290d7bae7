package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// connect is a plain connection for a test's own statements.
func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c.Close(ctx)
	})
	return c
}

func exec(t testing.TB, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func openSource(t testing.TB, c Config) *Source {
	t.Helper()
	if c.Name == "" {
		c.Name = "test"
	}
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func snapshotOf(t testing.TB, s *Source) *Snapshot {
	t.Helper()
	n, err := s.snapshot(t.Context(), source.SnapshotOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// testChunk is a chunk in Go's memory, lent as the store lends DuckDB's.
type testChunk struct {
	change.Chunk
	types []types.Type
	keep  [][]change.HugeInt
}

func newChunk(ts []types.Type) *testChunk {
	c := &testChunk{Chunk: change.Chunk{Vectors: make([]change.Vector, len(ts))}, types: ts}
	for i := range ts {
		c.vector(&c.Vectors[i], &ts[i], change.ChunkRows)
	}
	return c
}

func (c *testChunk) memory(n int) unsafe.Pointer {
	m := make([]change.HugeInt, n)
	c.keep = append(c.keep, m)
	return unsafe.Pointer(unsafe.SliceData(m))
}

func (c *testChunk) vector(v *change.Vector, t *types.Type, n int) {
	v.Data, v.Valid, v.Cap = c.memory(n), make([]uint64, (n+63)/64), n
	if t.Kind != types.List {
		return
	}
	v.Child = &change.Vector{}
	c.vector(v.Child, t.Elem, n)
	v.Grow = func(want int) error {
		old := unsafe.Slice((*byte)(v.Child.Data), v.Cap*16)
		want = max(want, 2*v.Cap)
		v.Child.Data = c.memory(want)
		copy(unsafe.Slice((*byte)(v.Child.Data), want*16), old)
		valid := make([]uint64, (want+63)/64)
		for i := range valid {
			valid[i] = math.MaxUint64
		}
		copy(valid, v.Child.Valid)
		v.Child.Valid, v.Cap = valid, want
		return nil
	}
}

// lend resets what the store resets before every chunk.
func (c *testChunk) lend() {
	var reset func(v *change.Vector)
	reset = func(v *change.Vector) {
		for i := range v.Valid {
			v.Valid[i] = math.MaxUint64
		}
		v.HasNull, v.Len = false, 0
		if v.Child != nil {
			reset(v.Child)
		}
	}
	for i := range c.Vectors {
		reset(&c.Vectors[i])
	}
}

// drain reads a feed with as many goroutines as it wants and gives each row, re-encoded as PostgreSQL's COPY sends it,
// to row. Rows come one at a time.
func drain(ctx context.Context, f change.Feed, ts []types.Type, row func([]byte)) error {
	var mu sync.Mutex
	var all sync.WaitGroup
	errs := make([]error, f.Workers())
	for w := range errs {
		all.Go(func() {
			c := newChunk(ts)
			for {
				r, err := f.Next(ctx)
				if err != nil {
					if !errors.Is(err, io.EOF) {
						errs[w] = err
					}
					return
				}
				for {
					c.lend()
					n, err := r.Read(&c.Chunk)
					if err != nil {
						errs[w] = errors.Join(err, r.Close())
						return
					}
					if n == 0 {
						break
					}
					if row == nil {
						continue
					}
					mu.Lock()
					for i := range n {
						b := binary.BigEndian.AppendUint16(nil, uint16(len(ts)))
						for k := range ts {
							b = types.AppendField(b, &ts[k], &c.Vectors[k], i)
						}
						row(b)
					}
					mu.Unlock()
				}
				if err := r.Close(); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// readAll reads q within r and returns its rows, sorted.
func readAll(t testing.TB, n *Snapshot, q source.Query, r source.Range, workers int) [][]byte {
	t.Helper()
	d, err := n.Describe(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	return readDescribed(t, n, d, r, workers)
}

func readDescribed(t testing.TB, n *Snapshot, d *source.Description, r source.Range, workers int) [][]byte {
	t.Helper()
	f, err := n.Read(t.Context(), d, r, workers, nil)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]byte
	if err := drain(t.Context(), f, d.Types(), func(b []byte) { rows = append(rows, b) }); err != nil {
		t.Fatal(err)
	}
	sortRows(rows)
	return rows
}

func sortRows(rows [][]byte) {
	slices.SortFunc(rows, bytes.Compare)
}

// copied are the rows of a query as the server's own COPY BINARY sends them, sorted.
func copied(t testing.TB, c *pgx.Conn, query string) [][]byte {
	t.Helper()
	w := &copyRows{}
	if _, err := c.PgConn().CopyTo(t.Context(), w, "COPY ("+query+") TO STDOUT (FORMAT binary)"); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	rows, err := w.rows()
	if err != nil {
		t.Fatal(err)
	}
	sortRows(rows)
	return rows
}

type copyRows struct{ b []byte }

func (w *copyRows) Write(b []byte) (int, error) {
	w.b = append(w.b, b...)
	return len(b), nil
}

func (w *copyRows) rows() ([][]byte, error) {
	b, err := copyHeader(w.b)
	if err != nil {
		return nil, err
	}
	var rows [][]byte
	for {
		n := int(int16(binary.BigEndian.Uint16(b)))
		if n < 0 {
			return rows, nil
		}
		at := 2
		for range n {
			l := int(int32(binary.BigEndian.Uint32(b[at:])))
			at += 4 + max(l, 0)
		}
		rows = append(rows, b[:at:at])
		b = b[at:]
	}
}

// equalRows compares two sorted lists of rows.
func equalRows(t testing.TB, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d rows, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if string(got[i]) != string(want[i]) {
			t.Fatalf("row %d:\n got %x\nwant %x", i, got[i], want[i])
		}
	}
}

func table(name string) source.Query { return source.Query{Table: name} }

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// keyed is a copy of a table (id bigint first, then the incremental column), kept by increments as the syncer keeps one.
type keyed struct {
	t      *testing.T
	src    *Source
	q      source.Query
	o      source.LateOptions
	limit  int64
	rows   map[int64][]byte // id → the incremental column's field
	mark   *source.Watermark
	read   int // rows of the last sync
	late   source.Late
	capped bool
}

func newKeyed(t *testing.T, src *Source, q source.Query) *keyed {
	return &keyed{t: t, src: src, q: q, rows: map[int64][]byte{}, o: source.LateOptions{Keyed: true}}
}

// sync is one run, the first one full.
func (k *keyed) sync() {
	t := k.t
	t.Helper()
	n, err := k.src.snapshot(t.Context(), source.SnapshotOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	d, err := n.Describe(t.Context(), k.q)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.late, err = n.Late(t.Context(), d, k.mark, k.o); err != nil {
		t.Fatal(err)
	}
	r := k.late.Range
	r.Limit = k.limit
	rows := readDescribed(t, n, d, r, 2)
	k.read = len(rows)
	col := &d.Columns[1]
	last := ""
	for _, b := range rows {
		field := fields(b)[1]
		k.rows[int64(binary.BigEndian.Uint64(fields(b)[0]))] = field
		if field != nil {
			if last, err = greatest(&col.Type, last, fieldText(&col.Type, field)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if k.capped = k.limit > 0 && int64(k.read) >= k.limit; !k.capped {
		last = ""
	}
	high := ""
	for _, f := range k.rows {
		if f != nil {
			if high, err = greatest(&col.Type, high, fieldText(&col.Type, f)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w, err := k.late.Next(t.Context(), high, last)
	if err != nil {
		t.Fatal(err)
	}
	// As the store keeps it.
	b, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	k.mark = &source.Watermark{}
	if err := json.Unmarshal(b, k.mark); err != nil {
		t.Fatal(err)
	}
}

func fields(row []byte) [][]byte {
	out := make([][]byte, binary.BigEndian.Uint16(row))
	at := 2
	for i := range out {
		n := int(int32(binary.BigEndian.Uint32(row[at:])))
		at += 4
		if n >= 0 {
			out[i] = row[at : at+n]
			at += n
		}
	}
	return out
}

func fieldText(t *types.Type, f []byte) string {
	switch t.Kind {
	case types.Timestamp, types.TimestampTZ:
		return formatTime(t, int64(binary.BigEndian.Uint64(f)))
	case types.Int64:
		return fmt.Sprint(int64(binary.BigEndian.Uint64(f)))
	case types.Int32:
		return fmt.Sprint(int32(binary.BigEndian.Uint32(f)))
	case types.Date:
		return formatTime(t, int64(int32(binary.BigEndian.Uint32(f))))
	}
	return string(f)
}

func (k *keyed) has(ids ...int64) {
	k.t.Helper()
	for _, id := range ids {
		if _, ok := k.rows[id]; !ok {
			k.t.Errorf("row %d is lost; watermark %+v", id, *k.mark)
		}
	}
}

func (k *keyed) lacks(ids ...int64) {
	k.t.Helper()
	for _, id := range ids {
		if _, ok := k.rows[id]; ok {
			k.t.Errorf("row %d is there already: the race did not happen", id)
		}
	}
}

// same says that the copy is what the source has.
func (k *keyed) same(c *pgx.Conn, query string) {
	k.t.Helper()
	rows, err := c.Query(k.t.Context(), query)
	if err != nil {
		k.t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		k.t.Fatal(err)
	}
	k.has(ids...)
	if len(ids) != len(k.rows) {
		k.t.Errorf("the copy has %d rows, the source %d", len(k.rows), len(ids))
	}
}

// role makes a role that may read the test's tables and nothing else, and returns its URL.
func role(t *testing.T, c *pgx.Conn, url string) string {
	t.Helper()
	name := fmt.Sprintf("reader_%d", time.Now().UnixNano())
	exec(t, c, "CREATE ROLE "+name+" LOGIN PASSWORD 'secret'")
	t.Cleanup(func() {
		ctx, cancel := contextFor(5 * time.Second)
		defer cancel()
		c.Exec(ctx, "DROP OWNED BY "+name)
		c.Exec(ctx, "DROP ROLE "+name)
	})
	exec(t, c, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+name)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://%s:secret@%s:%d/%s?sslmode=disable", name, config.Host, config.Port, config.Database)
}

func safeTime(t *testing.T, w *source.Watermark) int64 {
	t.Helper()
	if w.Safe == "" {
		t.Fatalf("nothing is safe: %+v", *w)
	}
	x, err := parseTime(&instant, w.Safe)
	if err != nil {
		t.Fatal(err)
	}
	return x
}
