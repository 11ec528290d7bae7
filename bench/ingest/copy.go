package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/bench/internal/measure"
	"github.com/pintaildb/pintail/bench/internal/rig"
)

const (
	copyTable   = "copied"
	createTable = "CREATE TABLE copied (batch_id bigint, timestamp text, value double precision, category text)"
)

// copies times COPY FROM STDIN into both servers, in both forms, each time into an empty table.
func copies(ctx context.Context, b *rig.Bench, c *rig.Copy, flight flight.Client) (err error) {
	db := "unfinished_ingest"
	if err := errors.Join(b.Source.Exec(ctx, "postgres", "CREATE DATABASE "+db), b.Source.Exec(ctx, db, createTable)); err != nil {
		return err
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, b.Source.Exec(late, "postgres", "DROP DATABASE "+db+" WITH (FORCE)"))
	}()
	n := min(b.Rows, copyRowsMax)
	forms := map[string][]byte{"text": textRows(n), "binary": binaryRows(n)}
	servers := []struct {
		name, url string
		empty     func() error
	}{
		{"PostgreSQL", b.Source.URL(db), func() error { return b.Source.Exec(ctx, db, "TRUNCATE "+copyTable) }},
		{"pintail", c.PGURL(), func() error { return put(ctx, flight, copyTable, "replace", nil, 0) }}, // of no rows: tables are made by Flight
	}
	rates := map[string][]float64{}
	for round := range b.Rounds + 1 {
		for _, form := range []string{"text", "binary"} {
			for _, s := range servers {
				if err := s.empty(); err != nil {
					return err
				}
				took, err := copyOnce(ctx, s.url, form, forms[form], n)
				if err != nil {
					return fmt.Errorf("COPY FROM in %s into %s: %w", form, s.name, err)
				}
				b.Progress("round %d: COPY FROM in %-6s into %-10s %.2f s", round, form, s.name, took.Seconds())
				if round > 0 {
					rates[form+s.name] = append(rates[form+s.name], float64(n)/1e6/took.Seconds())
				}
			}
		}
	}
	for _, form := range []string{"text", "binary"} {
		for _, s := range servers {
			b.Report.Add("COPY FROM in "+form+", into "+s.name, "M rows/s", rates[form+s.name])
		}
		b.Report.Add("COPY FROM in "+form+", pintail / PostgreSQL: rows/s", "×", measure.Ratios(rates[form+"pintail"], rates[form+"PostgreSQL"]))
	}
	b.Report.Note("A COPY had %d rows; the tables were emptied before each, and held its rows and their sum afterwards.", n)
	return nil
}

// copyRowsMax bounds what is made of a COPY's bytes beforehand.
const copyRowsMax = 2_000_000

func copyOnce(ctx context.Context, url, form string, data []byte, n int) (took time.Duration, err error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	begun := time.Now()
	tag, err := c.PgConn().CopyFrom(ctx, bytes.NewReader(data), "COPY "+copyTable+" FROM STDIN (FORMAT "+form+")")
	took = time.Since(begun)
	if err != nil {
		return 0, err
	}
	if tag.RowsAffected() != int64(n) {
		return 0, fmt.Errorf("the answer is %q, want %d rows", tag, n)
	}
	var got [2]int64
	if err := c.QueryRow(ctx, "SELECT count(*), sum(value)::bigint FROM "+copyTable).Scan(&got[0], &got[1]); err != nil {
		return 0, err
	}
	if want := [2]int64{int64(n), int64(n) * int64(n-1) / 2}; got != want {
		return 0, fmt.Errorf("the table has %v rows and sum, want %v", got, want)
	}
	return took, nil
}

func textRows(n int) []byte {
	var out []byte
	for i := range n {
		out = fmt.Appendf(out, "%d\t%s\t%d.0\t%c\n", i/smallRows, timestamp(i), i, categories[i%4])
	}
	return out
}

func binaryRows(n int) []byte {
	be := binary.BigEndian
	out := append([]byte("PGCOPY\n\xff\r\n\x00"), make([]byte, 8)...)
	for i := range n {
		out = be.AppendUint16(out, 4)
		out = be.AppendUint64(be.AppendUint32(out, 8), uint64(i/smallRows))
		at := timestamp(i)
		out = append(be.AppendUint32(out, uint32(len(at))), at...)
		out = be.AppendUint64(be.AppendUint32(out, 8), math.Float64bits(float64(i)))
		out = append(be.AppendUint32(out, 1), categories[i%4])
	}
	return be.AppendUint16(out, 0xffff)
}
