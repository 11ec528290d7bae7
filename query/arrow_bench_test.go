package query

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/store"
)

const benchRows = 5_000_000

// BenchmarkArrow reads 5 M rows of 10 columns: chunks alone is DuckDB's own rate, batches adds Arrow's columns, stream their IPC form.
func BenchmarkArrow(b *testing.B) {
	ctx := b.Context()
	st, err := store.Open(ctx, store.Options{Path: filepath.Join(b.TempDir(), "b.duckdb"), MemoryLimit: 2 << 30, Threads: 2})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close(ctx)
	if err := st.Commit(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`CREATE TABLE t AS SELECT i AS id, (i * 7919 % 1000)::INTEGER AS partner, (i % 5)::SMALLINT AS kind, (i * 31 % 1000000 / 100)::DECIMAL(12,2) AS amount,
			(i / 3)::DOUBLE AS score, ['new', 'paid', 'sent', 'failed'][1 + i % 4] AS status, 'message number ' || i || ' of this table' AS text, TIMESTAMP '2024-01-01' + to_seconds(i) AS created,
			CASE WHEN i % 3 = 0 THEN NULL ELSE TIMESTAMPTZ '2024-01-01' + to_seconds(i) END AS updated, i % 2 = 0 AS done FROM range(?) r(i)`, int64(benchRows))
		return err
	}); err != nil {
		b.Fatal(err)
	}
	tables := access.Tables{}
	tables.Add("main", "t", "t")
	acc, err := access.New(access.Config{Catalog: "b", Resolver: tables, Users: []access.User{{Name: "ann", Password: "x", Role: "reader"}},
		Roles: []access.Role{{Name: "reader", Read: []string{"t"}}}}, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	c := New(st, acc, Options{})
	for _, read := range []struct {
		name string
		all  func(r *Result) error
	}{
		{"chunks", func(r *Result) error {
			for {
				if chunk, _, err := r.Next(); chunk == nil || err != nil {
					return err
				}
			}
		}},
		{"batches", func(r *Result) error {
			a := r.Arrow(ArrowOptions{})
			defer a.Release()
			for {
				batch, err := a.Next()
				if batch == nil || err != nil {
					return err
				}
				batch.Release()
			}
		}},
		{"stream", func(r *Result) error {
			a := r.Arrow(ArrowOptions{})
			defer a.Release()
			w := ipc.NewWriter(io.Discard, ipc.WithSchema(a.Schema()))
			for {
				batch, err := a.Next()
				if batch == nil || err != nil {
					return w.Close()
				}
				err = w.Write(batch)
				batch.Release()
				if err != nil {
					return err
				}
			}
		}},
	} {
		b.Run(read.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := c.Run(ctx, reader, Request{SQL: "SELECT * FROM t"})
				if err != nil {
					b.Fatal(err)
				}
				if err := read.all(r); err != nil {
					b.Fatal(err)
				}
				if r.Rows() != benchRows {
					b.Fatal(r.Rows(), "rows")
				}
				r.Close()
			}
			b.ReportMetric(float64(benchRows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}
