package ingest

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/store"
)

var (
	loader = access.Principal{User: "lea", Role: "loader"}
	reader = access.Principal{User: "ann", Role: "reader"}
	admin  = access.Local()
)

// kit is a store with a door for writers: dataset m has main.m_data, dataset shop is a replica in schema shop.
type kit struct {
	store  *store.Store
	access *access.Access
	ingest *Ingest
}

type resolver struct{ access.Tables }

func (resolver) SchemaOf(schema string) (string, bool) { return "shop", equal(schema, "shop") }

func newKit(t testing.TB, o store.Options, limits access.Limits) *kit {
	t.Helper()
	ctx := context.Background()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "p.duckdb")
	}
	if o.Threads == 0 {
		o.Threads = 2
	}
	st, err := store.Open(ctx, o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		require.NoError(t, st.Close(ctx))
	})
	k := &kit{store: st}
	tables := access.Tables{}
	tables.Add("main", "m_data", "m")
	tables.Add("shop", "orders", "shop")
	k.access, err = access.New(access.Config{Catalog: st.Catalog(), Resolver: resolver{tables}, Clients: st,
		Users: []access.User{{Name: "lea", Password: "x", Role: "loader"}, {Name: "ann", Password: "y", Role: "reader"}},
		Roles: []access.Role{{Name: "loader", Write: []string{"events.*", "t", "p"}, Read: []string{"events.*", "t"}, Limits: limits}, {Name: "reader", Read: []string{"*"}},
			{Name: "all", Write: []string{"*"}}}}, nil, nil)
	require.NoError(t, err)
	k.ingest = New(st, k.access, nil, nil)
	return k
}

// put sends batches as p.
func (k *kit) put(t testing.TB, p access.Principal, to Target, schema *arrow.Schema, batches ...arrow.RecordBatch) (int64, error) {
	t.Helper()
	r, err := array.NewRecordReader(schema, batches)
	require.NoError(t, err)
	defer r.Release()
	return k.ingest.Ingest(context.Background(), p, to, r)
}

// query is the rows of a statement as text, fields separated by |, NULL as such.
func (k *kit) query(t testing.TB, sql string) []string {
	t.Helper()
	out, err := k.tryQuery(sql)
	require.NoError(t, err, sql)
	return out
}

func (k *kit) tryQuery(sql string) (out []string, err error) {
	ctx := context.Background()
	se, err := k.store.Session(ctx)
	if err != nil {
		return nil, err
	}
	defer se.Close()
	st, err := se.Prepare(ctx, sql)
	if err != nil {
		return nil, err
	}
	rows, err := st.Query(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for {
		c, err := rows.Next()
		if err != nil || c == nil {
			return out, err
		}
		for i := range c.Len() {
			line := ""
			for k := range rows.Columns() {
				if k > 0 {
					line += "|"
				}
				if c.IsNull(k, i) {
					line += "NULL"
				} else {
					line += string(c.AppendText(nil, k, i))
				}
			}
			out = append(out, line)
		}
	}
}

// sample is the schema of a common first try: an id, a moment, a number and a word.
var sample = arrow.NewSchema([]arrow.Field{
	{Name: "batch_id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "timestamp", Type: &arrow.TimestampType{Unit: arrow.Microsecond}, Nullable: true},
	{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "category", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// sampleBatch has rows whose ids are from, from+1, …
func sampleBatch(mem memory.Allocator, from, rows int) arrow.RecordBatch {
	b := array.NewRecordBuilder(mem, sample)
	defer b.Release()
	for i := range rows {
		id := from + i
		b.Field(0).(*array.Int64Builder).Append(int64(id))
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(1.7e15 + float64(id)))
		if id%10 == 0 {
			b.Field(2).AppendNull()
		} else {
			b.Field(2).(*array.Float64Builder).Append(float64(id) * 0.37)
		}
		b.Field(3).(*array.StringBuilder).Append([]string{"a", "click", "a longer word than fits", ""}[id%4] + fmt.Sprint(id%977))
	}
	return b.NewRecordBatch()
}
