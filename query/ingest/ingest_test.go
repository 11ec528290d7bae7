package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

func events(table string, mode Mode) Target {
	return Target{Schema: "events", Table: table, Mode: mode}
}

// fromJSON is a batch of fields "name type" and rows as JSON.
func fromJSON(t testing.TB, fields []arrow.Field, rows string) arrow.RecordBatch {
	t.Helper()
	b, _, err := array.RecordFromJSON(memory.NewGoAllocator(), arrow.NewSchema(fields, nil), strings.NewReader(rows))
	require.NoError(t, err)
	return b
}

func nullable(name string, typ arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: typ, Nullable: true}
}

func TestModes(t *testing.T) {
	k := newKit(t, store.Options{}, access.Limits{})
	count := func() string { return k.query(t, "SELECT count(*) FROM events.t")[0] }
	b := sampleBatch(memory.NewGoAllocator(), 0, 5000)

	_, err := k.put(t, loader, events("t", Append), sample, b)
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	n, err := k.put(t, loader, events("t", CreateAppend), sample, b)
	require.NoError(t, err)
	require.Equal(t, int64(5000), n)
	n, err = k.put(t, loader, events("t", CreateAppend), sample, b, b)
	require.NoError(t, err)
	require.Equal(t, int64(10000), n)
	require.Equal(t, "15000", count())
	_, err = k.put(t, loader, events("T", Create), sample, b)
	require.ErrorIs(t, err, ErrExists)
	_, err = k.put(t, loader, events("t", Append), sample, b)
	require.NoError(t, err)
	_, err = k.put(t, loader, events("t", Replace), sample, b)
	require.NoError(t, err)
	require.Equal(t, "5000", count())
	_, err = k.put(t, loader, events("t", 9), sample, b)
	require.Equal(t, fault.Usage, fault.CodeOf(err))

	// No rows at all make an empty table, and append nothing.
	n, err = k.put(t, loader, events("empty", Create), sample)
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = k.put(t, loader, events("empty", Append), sample)
	require.NoError(t, err)
	require.Empty(t, k.query(t, "SELECT * FROM events.empty"))
	require.Equal(t, []string{"BIGINT", "TIMESTAMP", "DOUBLE", "VARCHAR"}, k.query(t, "SELECT data_type FROM duckdb_columns() WHERE table_name = 'empty'"))

	// What is in the table is exactly what was sent.
	require.Equal(t, []string{"5000|0|4999|500|0"}, k.query(t, `SELECT count(DISTINCT batch_id), min(batch_id), max(batch_id), count(*) - count(value),
		count(*) FILTER (value <> batch_id * 0.37::DOUBLE OR epoch_us(timestamp) <> 1700000000000000 + batch_id
			OR category <> ['a', 'click', 'a longer word than fits', ''][batch_id % 4 + 1] || batch_id % 977) FROM events.t`))

	made := k.store.ClientTables()
	require.Len(t, made, 2)
	require.Equal(t, "lea", made[1].CreatedBy)
	require.Equal(t, "events.t", made[1].Target())
	require.Equal(t, fault.Forbidden, fault.CodeOf(k.ingest.Drop(context.Background(), reader, events("t", 0))))
	require.NoError(t, k.ingest.Drop(context.Background(), loader, events("T", 0)))
	require.Equal(t, fault.NotFound, fault.CodeOf(k.ingest.Drop(context.Background(), loader, events("t", 0))))
	require.Len(t, k.store.ClientTables(), 1)
}

// Rows that are more than a round are staged, and are the same.
func TestLargePut(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	k := newKit(t, store.Options{}, access.Limits{})
	const batches, rows = 60, 32 << 10
	next := 0
	r := &made{schema: sample, next: func() arrow.RecordBatch {
		if next == batches {
			return nil
		}
		next++
		return sampleBatch(mem, (next-1)*rows, rows)
	}}
	n, err := k.ingest.Ingest(context.Background(), loader, events("t", Create), r)
	require.NoError(t, err)
	require.Equal(t, int64(batches*rows), n)
	require.Equal(t, []string{fmt.Sprintf("%d|%d|%d|0", batches*rows, batches*rows, batches*rows-1)}, k.query(t, `SELECT count(*), count(DISTINCT batch_id), max(batch_id),
		count(*) FILTER (value <> batch_id * 0.37::DOUBLE OR epoch_us(timestamp) <> 1700000000000000 + batch_id
			OR category <> ['a', 'click', 'a longer word than fits', ''][batch_id % 4 + 1] || batch_id % 977) FROM events.t`))

	// The columns are looked at before the rest is asked for.
	next = 0
	_, err = k.put(t, loader, events("other", Create), column(arrow.Null))
	require.NoError(t, err)
	_, err = k.ingest.Ingest(context.Background(), loader, events("other", Append), r)
	require.ErrorContains(t, err, `no column "batch_id", "timestamp", "value", "category"; it has "n", "c"`)
	require.Less(t, next, batches/2)
	r.now.Release()
	require.Equal(t, []string{"0"}, k.query(t, "SELECT count(*) FROM duckdb_tables() WHERE starts_with(table_name, '_pintail_stage')"))
}

// made gives batches that next makes; nil is the end. err is why it ended.
type made struct {
	array.RecordReader
	schema *arrow.Schema
	next   func() arrow.RecordBatch
	now    arrow.RecordBatch
	err    error
}

func (m *made) Schema() *arrow.Schema          { return m.schema }
func (m *made) RecordBatch() arrow.RecordBatch { return m.now }
func (m *made) Err() error                     { return m.err }
func (m *made) Next() bool {
	if m.now != nil {
		m.now.Release()
	}
	m.now = m.next()
	return m.now != nil
}

func TestAppendMapsColumns(t *testing.T) {
	k := newKit(t, store.Options{}, access.Limits{})
	i32, i64, text := arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String
	_, err := k.put(t, loader, events("t", Create), arrow.NewSchema([]arrow.Field{{Name: "Id", Type: i64}, nullable("word", text), nullable("x", arrow.PrimitiveTypes.Float64), nullable("d", &arrow.Decimal128Type{Precision: 12, Scale: 2})}, nil))
	require.NoError(t, err)
	for _, c := range []struct {
		fields []arrow.Field
		rows   string
		want   string // "": no error
	}{
		{[]arrow.Field{nullable("WORD", text), nullable("id", i32)}, `[{"WORD": "narrower, other order, other case", "id": 1}]`, ""},
		{[]arrow.Field{nullable("id", arrow.PrimitiveTypes.Uint16), nullable("x", arrow.PrimitiveTypes.Float32), nullable("d", arrow.PrimitiveTypes.Int8)}, `[{"id": 2, "x": 0.5, "d": 7}]`, ""},
		{[]arrow.Field{nullable("id", i64), nullable("word", arrow.Null), nullable("d", &arrow.Decimal128Type{Precision: 4, Scale: 1})}, `[{"id": 3, "d": "-1.5"}]`, ""},
		{[]arrow.Field{nullable("id", arrow.PrimitiveTypes.Uint64)}, `[{"id": 4}]`, `column "id" is UBIGINT (uint64), which does not fit into BIGINT without loss`},
		{[]arrow.Field{nullable("id", text)}, `[{"id": "4"}]`, `VARCHAR (utf8), which does not fit into BIGINT`},
		{[]arrow.Field{nullable("id", i64), nullable("x", i64)}, `[{"id": 4, "x": 1}]`, `column "x" is BIGINT (int64), which does not fit into DOUBLE`},
		{[]arrow.Field{nullable("id", i64), nullable("d", &arrow.Decimal128Type{Precision: 12, Scale: 3})}, `[{"id": 4, "d": "1"}]`, `does not fit into DECIMAL(12,2)`},
		{[]arrow.Field{nullable("id", i64), nullable("y", i64), nullable("Z", i64)}, `[{"id": 4}]`, `the table has no column "y", "Z"; it has "Id", "word", "x", "d"`},
		{[]arrow.Field{nullable("id", i64)}, `[{"id": 5}, {"id": null}]`, "NOT NULL constraint failed"},
		{[]arrow.Field{nullable("word", text)}, `[{"word": "no id"}]`, "NOT NULL constraint failed"},
		{[]arrow.Field{nullable("id", i64), nullable("ID", i64)}, `[{"id": 4}]`, `columns "id" and "ID" are one name`},
		{[]arrow.Field{nullable("", i64)}, `[{}]`, "a column has no name"},
		{nil, `[{}]`, "the rows have no columns"},
	} {
		b := fromJSON(t, c.fields, c.rows)
		_, err := k.put(t, loader, events("t", Append), b.Schema(), b)
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.want)
		require.Equal(t, fault.Usage, fault.CodeOf(err))
	}
	require.Equal(t, []string{"1|narrower, other order, other case|NULL|NULL", "2|NULL|0.5|7.00", "3|NULL|NULL|-1.50"}, k.query(t, "SELECT * FROM events.t ORDER BY 1"))
}

// A put that loses to a change of its table begins again by itself, as its rows are still there.
func TestAppendsSurviveReplacing(t *testing.T) {
	k := newKit(t, store.Options{}, access.Limits{})
	b := sampleBatch(memory.NewGoAllocator(), 0, 1000)
	_, err := k.put(t, loader, events("t", Create), sample, b)
	require.NoError(t, err)
	wide := arrow.NewSchema(append(sample.Fields(), nullable("more", arrow.PrimitiveTypes.Int64)), nil)
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			for range 25 {
				if n, err := k.ingest.Ingest(context.Background(), loader, events("t", Append), &repeated{batch: b, n: 3}); err != nil || n != 3000 {
					return fmt.Errorf("append: %d %w", n, err)
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		for i := range 20 {
			s := sample
			if i%2 == 0 {
				s = wide
			}
			r, err := array.NewRecordReader(s, nil)
			if err != nil {
				return err
			}
			if _, err := k.ingest.Ingest(context.Background(), loader, events("t", Replace), r); err != nil {
				return fmt.Errorf("replace: %w", err)
			}
		}
		return nil
	})
	require.NoError(t, g.Wait())
	_, err = k.put(t, loader, events("t", Append), sample, b)
	require.NoError(t, err)
	require.Equal(t, []string{"0"}, k.query(t, "SELECT count(*) % 1000 FROM events.t"))
}

// Clients that create one table at once: one makes it, and the others' rows are there too.
func TestCreatedAtOnce(t *testing.T) {
	k := newKit(t, store.Options{}, access.Limits{})
	b := sampleBatch(memory.NewGoAllocator(), 0, 1000)
	var g errgroup.Group
	for i := range 8 {
		g.Go(func() error {
			_, err := k.ingest.Ingest(context.Background(), loader, Target{Schema: []string{"events", "EVENTS"}[i%2], Table: "t", Mode: CreateAppend}, &repeated{batch: b, n: 1})
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, []string{"8000"}, k.query(t, "SELECT count(*) FROM events.t"))
	require.Len(t, k.store.ClientTables(), 1)
}

// Eight write one table and eight read it, while a dataset is loaded and swapped: nobody fails, no row is lost, and a reader sees whole puts.
func TestWritersAndReaders(t *testing.T) {
	k := newKit(t, store.Options{MemoryLimit: 1 << 30}, access.Limits{})
	const puts, rows = 25, 1000
	_, err := k.put(t, loader, events("t", Create), sample)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var writers, others errgroup.Group
	for w := range 8 {
		writers.Go(func() error {
			for i := range puts {
				b := sampleBatch(memory.NewGoAllocator(), (w*puts+i)*rows, rows)
				n, err := k.ingest.Ingest(ctx, loader, events("t", Append), &repeated{batch: b, n: 1})
				if err != nil || n != rows {
					return fmt.Errorf("writer %d, put %d: %d %w", w, i, n, err)
				}
			}
			return nil
		})
	}
	for range 8 {
		others.Go(func() error {
			for ctx.Err() == nil {
				got, err := k.tryQuery("SELECT count(*) % 1000, count(*) - count(DISTINCT batch_id) FROM events.t")
				if err != nil || got[0] != "0|0" {
					return fmt.Errorf("reader: %v %w", got, err)
				}
			}
			return nil
		})
	}
	others.Go(func() error {
		for ctx.Err() == nil {
			if err := swapDataset(ctx, k.store, "d"); err != nil && ctx.Err() == nil {
				return fmt.Errorf("sync: %w", err)
			}
		}
		return nil
	})
	require.NoError(t, writers.Wait())
	cancel()
	require.NoError(t, others.Wait())
	require.Equal(t, []string{fmt.Sprintf("%d|%d|%d", 8*puts*rows, 8*puts*rows, 8*puts*rows-1)}, k.query(t, "SELECT count(*), count(DISTINCT batch_id), max(batch_id) FROM events.t"))
}

var datasetColumns = []store.Column{{Name: "id", Type: types.Of(20, -1, nil)}}

// numbers is a feed of the numbers below 50,000.
type numbers struct {
	mu   sync.Mutex
	at   int64
	done bool
}

func (n *numbers) Workers() int { return 1 }
func (n *numbers) Next(context.Context) (change.Reader, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.done {
		return nil, io.EOF
	}
	n.done = true
	return n, nil
}
func (n *numbers) Close() error { return nil }
func (n *numbers) Read(c *change.Chunk) (int, error) {
	rows := int(min(change.ChunkRows, 50_000-n.at))
	for i := range rows {
		*change.At[int64](&c.Vectors[0], i) = n.at + int64(i)
	}
	n.at += int64(rows)
	return rows, nil
}

// swapDataset does what a full sync of a dataset with one table does in the store.
func swapDataset(ctx context.Context, s *store.Store, target string) error {
	st, err := s.Stage(ctx, target, datasetColumns, &numbers{}, true)
	if err != nil {
		return err
	}
	defer s.Discard(ctx, st)
	return s.Commit(ctx, func(tx *store.Tx) error {
		if err := tx.Swap(target, st); err != nil {
			return err
		}
		return tx.SaveTable(store.TableState{Target: target, Dataset: "set_" + target, Rows: st.Rows})
	})
}

func TestLimitsAndCancelling(t *testing.T) {
	k := newKit(t, store.Options{}, access.Limits{PutRows: 10_000, Concurrency: 1})
	reg := prometheus.NewPedanticRegistry()
	k.ingest = New(k.store, k.access, nil, reg)
	b := sampleBatch(memory.NewGoAllocator(), 0, 4000)
	_, err := k.put(t, loader, events("t", CreateAppend), sample, b, b)
	require.NoError(t, err)
	_, err = k.put(t, loader, events("t", CreateAppend), sample, b, b, b)
	require.Equal(t, fault.Limit, fault.CodeOf(err))
	require.Equal(t, []string{"8000"}, k.query(t, "SELECT count(*) FROM events.t"))

	// While a slow client sends, a second one of its role is refused; then it vanishes.
	ctx, cancel := context.WithCancel(context.Background())
	entered, leave := make(chan struct{}), make(chan struct{})
	slow := &made{schema: sample, next: sync.OnceValue(func() arrow.RecordBatch { close(entered); <-leave; return nil })}
	ended := make(chan error)
	go func() {
		_, err := k.ingest.Ingest(ctx, loader, events("t", CreateAppend), slow)
		ended <- err
	}()
	<-entered
	_, err = k.put(t, loader, events("t", Append), sample, b)
	require.Equal(t, fault.Limit, fault.CodeOf(err))
	require.NoError(t, k.store.Checkpoint(context.Background())) // nothing of the file is held
	cancel()
	close(leave)
	require.Equal(t, fault.Cancelled, fault.CodeOf(<-ended))
	_, err = k.put(t, loader, events("t", Append), sample, b)
	require.NoError(t, err)

	// A stream that breaks off.
	broken := &made{schema: sample, next: func() arrow.RecordBatch { return nil }, err: errors.New("unexpected EOF")}
	_, err = k.ingest.Ingest(context.Background(), loader, events("t", Append), broken)
	require.Equal(t, fault.Usage, fault.CodeOf(err))
	// A decoder that panics, and batches of another schema.
	_, err = k.ingest.Ingest(context.Background(), loader, events("t", Append), &made{schema: sample, next: func() arrow.RecordBatch { panic("offsets") }})
	require.Equal(t, fault.Usage, fault.CodeOf(err))
	_, err = k.ingest.Ingest(context.Background(), loader, events("c", Create), &made{schema: column(arrow.Null), next: sync.OnceValue(func() arrow.RecordBatch { return nil })})
	require.NoError(t, err)
	once := false
	_, err = k.ingest.Ingest(context.Background(), loader, events("c", Append), &made{schema: column(arrow.Null), next: func() arrow.RecordBatch {
		if once {
			return nil
		}
		once = true
		return sampleBatch(memory.NewGoAllocator(), 0, 1)
	}})
	require.ErrorContains(t, err, "a batch has 4 columns, the first schema has 2")
	require.Equal(t, []string{"12000"}, k.query(t, "SELECT count(*) FROM events.t"))
	require.Equal(t, []string{"0"}, k.query(t, "SELECT count(*) FROM duckdb_tables() WHERE starts_with(table_name, '_pintail_stage')"))

	require.Equal(t, 3.0, testutil.ToFloat64(k.ingest.metrics.ends.WithLabelValues("ok")))
	require.Equal(t, 2.0, testutil.ToFloat64(k.ingest.metrics.ends.WithLabelValues("limit_exceeded")))
	require.Equal(t, 12000.0, testutil.ToFloat64(k.ingest.metrics.rows))
	require.Zero(t, testutil.ToFloat64(k.ingest.metrics.running))
}

// A put that does not fit into memory and may not spill fails, and leaves the file as it was.
func TestNoRoom(t *testing.T) {
	k := newKit(t, store.Options{MemoryLimit: 64 << 20, TempLimit: 16 << 20}, access.Limits{})
	b := sampleBatch(memory.NewGoAllocator(), 0, 32<<10)
	_, err := k.put(t, loader, events("t", Create), sample, b)
	require.NoError(t, err)
	_, err = k.ingest.Ingest(context.Background(), loader, events("t", Append), &repeated{batch: b, n: 400})
	require.Error(t, err)
	require.Contains(t, []fault.Code{fault.DiskFull, fault.OutOfMemory}, fault.CodeOf(err), err)
	require.Equal(t, []string{"32768"}, k.query(t, "SELECT count(*) FROM events.t"))
	_, err = k.put(t, loader, events("t", Append), sample, b)
	require.NoError(t, err)
	require.Equal(t, []string{"65536"}, k.query(t, "SELECT count(*) FROM events.t"))
	require.Equal(t, []string{"0"}, k.query(t, "SELECT count(*) FROM duckdb_tables() WHERE starts_with(table_name, '_pintail_stage')"))
}

// A store that closes ends puts that are under way.
func TestClosing(t *testing.T) {
	k := newKit(t, store.Options{}, access.Limits{})
	b := sampleBatch(memory.NewGoAllocator(), 0, 32<<10)
	started := make(chan struct{})
	n := 0
	endless := &made{schema: sample, next: func() arrow.RecordBatch {
		if n++; n == 40 {
			close(started)
		}
		b.Retain()
		return b
	}}
	ended := make(chan error, 1)
	go func() {
		_, err := k.ingest.Ingest(context.Background(), loader, events("t", CreateAppend), endless)
		ended <- err
	}()
	<-started
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, k.store.Close(ctx))
	require.Equal(t, fault.Unavailable, fault.CodeOf(<-ended))
}
