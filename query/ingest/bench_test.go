package ingest

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/store"
)

// repeated gives a batch n times.
type repeated struct {
	array.RecordReader
	batch arrow.RecordBatch
	n     int
}

func (r *repeated) Schema() *arrow.Schema          { return r.batch.Schema() }
func (r *repeated) Next() bool                     { r.n--; return r.n >= 0 }
func (r *repeated) RecordBatch() arrow.RecordBatch { return r.batch }
func (r *repeated) Err() error                     { return nil }

// One put of 5 million rows in batches of 32 k.
func BenchmarkPut(b *testing.B) {
	const batchRows, rows = 32 << 10, 5_000_000
	batch := sampleBatch(memory.DefaultAllocator, 0, batchRows)
	for _, mode := range []Mode{Create, Append} {
		b.Run(mode.String(), func(b *testing.B) {
			k := newKit(b, store.Options{MemoryLimit: 2 << 30}, access.Limits{})
			if mode == Append {
				_, err := k.put(b, admin, Target{Schema: "events", Table: "t0", Mode: Create}, sample)
				require.NoError(b, err)
			}
			total := int64(0)
			for i := 0; b.Loop(); i++ {
				to := Target{Schema: "events", Table: "t0", Mode: mode}
				if mode == Create {
					to.Mode = Replace
				}
				n, err := k.ingest.Ingest(context.Background(), admin, to, &repeated{batch: batch, n: rows / batchRows})
				require.NoError(b, err)
				total += n
			}
			b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// Puts of 1,000 rows, each with its commit.
func BenchmarkSmallPuts(b *testing.B) {
	for name, writers := range map[string]int{"1 writer": 1, "8 writers": 8} {
		b.Run(name, func(b *testing.B) {
			k := newKit(b, store.Options{MemoryLimit: 2 << 30}, access.Limits{})
			batch := sampleBatch(memory.DefaultAllocator, 0, 1000)
			var puts atomic.Int64
			b.SetParallelism(writers)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, err := k.ingest.Ingest(context.Background(), admin, Target{Schema: "events", Table: "t", Mode: CreateAppend}, &repeated{batch: batch, n: 1})
					if err != nil {
						b.Error(err)
						return
					}
					puts.Add(1)
				}
			})
			b.ReportMetric(float64(puts.Load())/b.Elapsed().Seconds(), "puts/s")
		})
	}
}
