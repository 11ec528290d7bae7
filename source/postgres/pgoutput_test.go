package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/source"
)

// lp is a message with its length before it, as the fuzzer's input holds them.
func lp(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

func relationBytes(identity byte) []byte {
	b := append([]byte{'R', 0, 0, 0, 7}, "public\x00t\x00"...)
	b = append(b, identity, 0, 3)
	for i, c := range []struct {
		name string
		oid  uint32
	}{{"id", 23}, {"note", 25}, {"at", 1184}} {
		flags := byte(0)
		if i == 0 {
			flags = 1
		}
		b = append(append(append(b, flags), c.name...), 0)
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, c.oid), 0xffffffff)
	}
	return b
}

// follower is a stream without a connection.
func follower() *changeStream {
	col := func(name string, oid uint32) source.Column {
		return source.Column{Name: name, Type: types.Of(oid, -1, nil), TypeOID: oid, Typmod: -1}
	}
	s := &changeStream{ctx: context.Background(), parts: limits{math.MaxInt, math.MaxInt}, opt: source.StreamOptions{Batch: source.BatchLimits{Bytes: 1 << 40, Rows: 1 << 40}},
		tables: map[uint32]*followed{7: {StreamTable: source.StreamTable{OID: 7, Key: []string{"id"},
			Desc: &source.Description{Columns: []source.Column{col("id", 23), col("note", 25), col("at", 1184)}}}}}}
	s.control.init(0)
	s.spool = &spool{tail: math.MaxInt, memory: math.MaxInt, open: map[uint32]*spooled{}}
	s.now = newGathered()
	return s
}

// Whatever a server sends ends in an error or a batch.
func FuzzLogical(f *testing.F) {
	begin := append([]byte{'B'}, make([]byte, 20)...)
	commit := append([]byte{'C'}, make([]byte, 25)...)
	row := func(kind string, cells ...string) []byte {
		b := append([]byte{kind[0], 0, 0, 0, 7}, kind[1:]...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(cells)))
		for _, c := range cells {
			if b = append(b, c[0]); c[0] == 't' || c[0] == 'b' {
				b = append(binary.BigEndian.AppendUint32(b, uint32(len(c)-1)), c[1:]...)
			}
		}
		return b
	}
	id := "b\x00\x00\x00\x01"
	insert, update, del := row("IN", id, "tnote", "n"), row("UN", id, "u", "t2026-01-01 00:00:00+00"), row("DK", id, "n", "n")
	move := append(row("UK", id, "n", "n"), row("UN", "t2", "u", "n")[5:]...)
	truncate := []byte{'T', 0, 0, 0, 1, 0, 0, 0, 0, 7}
	// Transaction 1, of which 2 and 3 are subtransactions, sent while it runs.
	in := func(b []byte, xid byte) []byte { return append([]byte{b[0], 0, 0, 0, xid}, b[1:]...) }
	streamStart, streamAbort := []byte{'S', 0, 0, 0, 1, 1}, []byte{'A', 0, 0, 0, 1, 0, 0, 0, 2}
	streamCommit := append([]byte{'c', 0, 0, 0, 1}, make([]byte, 25)...)
	for _, seed := range [][][]byte{
		{begin, relationBytes('d'), insert, update, del, insert, move, commit},
		{begin, relationBytes('f'), truncate, update, append(row("UO", id, "told", "n"), row("UN", id, "u", "n")[5:]...), commit},
		{begin, append([]byte{'M', 1}, append(make([]byte, 8), "p\x00\x00\x00\x00\x01x"...)...), {'Y'}, {'O'}, commit, {}},
		{streamStart, in(relationBytes('d'), 1), in(insert, 1), in(insert, 2), {'E'}, streamAbort, append(streamStart[:5:5], 0), in(update, 1),
			in(truncate, 1), in(del, 3), {'O'}, {'E'}, streamCommit, begin, insert, commit},
		{append(streamStart[:5:5], 1), in(relationBytes('d'), 1), in(insert, 1), {'E'}, {'A', 0, 0, 0, 1, 0, 0, 0, 1}, streamCommit},
	} {
		var b []byte
		for _, m := range seed {
			b = append(b, lp(m)...)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := follower()
		for len(b) >= 2 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			if err := s.logical(b[2 : 2+n]); err != nil {
				return
			}
			b = b[2+n:]
		}
		s.finish()
		for _, c := range s.now.batch.Tables {
			if c.Feed == nil {
				continue
			}
			ts := append([]types.Type{opType}, s.tables[7].Desc.Types()...)
			for range c.Unchanged {
				ts = append(ts, markType)
			}
			rows := 0
			for {
				r, err := c.Feed.Next(t.Context())
				if errors.Is(err, io.EOF) {
					break
				}
				chunk := types.NewChunk(ts)
				for {
					types.ResetChunk(chunk)
					n, err := r.Read(chunk)
					if err != nil {
						return
					}
					if n == 0 {
						break
					}
					for i := range n {
						if op := *change.At[change.Op](&chunk.Vectors[0], i); op < change.OpInsert || op > change.OpDelete {
							t.Fatal("op", op)
						}
					}
					rows += n
				}
			}
			if rows != c.Rows {
				t.Fatalf("%d rows staged, %d announced", rows, c.Rows)
			}
		}
	})
}
