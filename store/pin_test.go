package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// pinnedRows reads a table at the pin.
func pinnedRows(t testing.TB, p *Pinned, table string, cols []types.Type, keys int) map[string][][]byte {
	t.Helper()
	sc, err := p.Scan(context.Background(), "SELECT * FROM "+p.s.table(table), cols)
	if err != nil {
		t.Fatal(err)
	}
	defer sc.Close()
	all := map[string][][]byte{}
	for {
		c, err := sc.Next()
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			return all
		}
		for i := range c.Rows {
			row := fieldsAt(c, cols, i)
			all[string(appendRow(nil, row[:keys]))] = row
		}
	}
}

func TestPin(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := []Column{col("id", oidInt8, -1), col("v", oidText, -1)}
	const rows = 20_000
	load(t, s, "a", plainlyNumbered(cols, rows))
	load(t, s, "b", plainlyNumbered(cols, rows))
	p, err := s.Pin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	// The first read of the tables comes after others have changed them.
	open, err := s.Pin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	sc, err := open.Scan(ctx, "SELECT id, v FROM a", typesOf(cols))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sc.Next(); err != nil {
		t.Fatal(err)
	}
	want := map[string][][]byte{}
	for i := range rows {
		row := plainlyNumbered(cols, rows).row(0, i)
		want[string(appendRow(nil, row[:1]))] = row
	}
	same := func(what string, p *Pinned, table string) {
		t.Helper()
		n, err := p.CountRows(ctx, table)
		equal(t, what+": rows of "+table, []any{n, err}, []any{rows, nil})
		got := pinnedRows(t, p, table, typesOf(cols), 1)
		equal(t, what+": rows scanned of "+table, len(got), rows)
		for id, row := range want {
			if !sameRow(t, what, cols, got[id], row) {
				t.FailNow()
			}
		}
	}
	for round := range 5 {
		var ops []opRow
		for i := range 3000 {
			id := i64(int64((i*7 + round) % rows))
			ops = append(ops, []opRow{{op: change.OpUpsert, row: [][]byte{id, txt("new")}}, {op: change.OpDelete, row: [][]byte{id, nil}}}[i%2])
		}
		apply1(t, s, "a", []string{"id"}, cols, nil, ops...)
		same(fmt.Sprint("round ", round), p, "a")
		same(fmt.Sprint("round ", round), p, "b")
		if round == 0 {
			// Nothing is dropped yet, so this one goes through.
			if err := s.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
			same("after a checkpoint", p, "a")
			same("after a checkpoint", p, "b")
		}
		load(t, s, "b", plainlyNumbered(cols, 10+round))
		if round == 3 {
			if err := s.Commit(ctx, func(tx *Tx) error { return tx.DropTable("b") }); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(ctx, func(tx *Tx) error { return tx.run("DELETE FROM a") }); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Checkpoint(ctx); err == nil {
			t.Error("a checkpoint took away the table that a pin needs")
		}
		same(fmt.Sprint("after the failed checkpoint of round ", round), p, "a")
		same(fmt.Sprint("after the failed checkpoint of round ", round), p, "b")
	}
	// A scan that was open all the time.
	n := change.ChunkRows
	for {
		c, err := sc.Next()
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			break
		}
		for i := range c.Rows {
			row := fieldsAt(c, typesOf(cols), i)
			if !sameRow(t, "the open scan", cols, row, want[string(appendRow(nil, row[:1]))]) {
				t.FailNow()
			}
		}
		n += c.Rows
	}
	equal(t, "rows of the open scan", n, rows)

	// A new pin sees what is there now, and with the old ones gone their space is free.
	p.Close()
	p.Close()
	open.Close()
	now, err := s.Pin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	count, err := now.CountRows(ctx, "b")
	equal(t, "now", []any{count, err}, "[14 <nil>]")
	now.Close()
	if err := s.Checkpoint(ctx); err != nil {
		t.Error(err)
	}
}

// One thing at a time, no writing, and an end that does not wait for the caller's context.
func TestPinRefuses(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, Options{})
	cols := []Column{col("id", oidInt8, -1), col("v", oidText, -1)}
	load(t, s, "a", plainlyNumbered(cols, 50_000))
	p, err := s.Pin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	sc, err := p.Scan(ctx, "SELECT id, v FROM a", typesOf(cols))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Scan(ctx, "SELECT id, v FROM a", typesOf(cols))
	equal(t, "a second scan", fault.CodeOf(err), fault.Internal)
	_, err = p.CountRows(ctx, "a")
	equal(t, "a count beside a scan", fault.CodeOf(err), fault.Internal)
	sc.Close()
	_, err = p.Scan(ctx, "SELECT id FROM a", typesOf(cols))
	equal(t, "another shape", fault.CodeOf(err), fault.ShapeMismatch)
	_, err = p.CountRows(ctx, "none")
	if err == nil {
		t.Error("a table that is not there was counted")
	}
	// Neither has ended the transaction.
	apply1(t, s, "a", []string{"id"}, cols, nil, opRow{op: change.OpDelete, row: [][]byte{i64(1), nil}})
	n, err := p.CountRows(ctx, "a")
	equal(t, "rows", []any{n, err}, "[50000 <nil>]")
	if _, err := p.se.exec(ctx, "DELETE FROM a"); err == nil {
		t.Error("a pin writes")
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Pin(ended); err == nil {
		t.Error("pinned for a context that has ended")
	}
	// The store's end ends a pin that nobody reads.
	late, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := s.Close(late); err == nil {
		t.Error("closed under an open pin")
	}
}
