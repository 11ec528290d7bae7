package postgres

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"runtime"
	"testing"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

// memory is what is in use, and what of it the system has not got back.
func memory() (used, held int64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), int64(m.HeapSys - m.HeapReleased)
}

// A large value is in memory once, from when it has come until its batch is staged; then the memory is given back.
func TestStreamLargeValueMemory(t *testing.T) {
	const (
		value  = 80 << 20
		insert = `INSERT INTO a VALUES (1, repeat('0123456789abcdef', 5 << 20))`
	)
	s := pgtest.Get(t, pgtest.Majors()[0])
	for _, test := range []struct{ name, table, change string }{
		{"received", `CREATE TABLE a (id int PRIMARY KEY, v text)`, insert},
		{"spooled", `CREATE TABLE a (id int PRIMARY KEY, v text); ALTER TABLE a ALTER v SET STORAGE EXTERNAL`, insert},
		{"without a key", `CREATE TABLE a (id int, v text); ALTER TABLE a REPLICA IDENTITY FULL`, insert},
		{"with the old row", `CREATE TABLE a (id int PRIMARY KEY, v text); ALTER TABLE a REPLICA IDENTITY FULL; INSERT INTO a VALUES (1, repeat('fedcba9876543210', 5 << 20))`,
			`UPDATE a SET v = repeat('0123456789abcdef', 5 << 20)`},
	} {
		t.Run(test.name, func(t *testing.T) {
			url := s.DB(t)
			c := connect(t, url)
			exec(t, c, test.table)
			m := newMirror(t, openSource(t, Config{URL: url}), "memory", "public.a")
			clear(m.rows)
			m.follow(source.StreamOptions{Memory: 64 << 20, Spool: t.TempDir(), Batch: small})
			used, _ := memory()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			exec(t, c, "BEGIN; "+test.change)
			for test.name == "spooled" && m.stream.(*changeStream).SpoolBytes() < value {
				if ctx.Err() != nil {
					t.Fatal("the server does not send the transaction while it runs")
				}
				exec(t, c, "SELECT pg_logical_emit_message(true, 'test', '')")
			}
			exec(t, c, "COMMIT")
			b := m.some(ctx)
			for { // the buffer of a message that was not kept goes while the batch is staged
				now, _ := memory()
				if now -= used; now < value*5/4 {
					break
				}
				if ctx.Err() != nil {
					t.Fatalf("a value of %d MiB takes %d MiB", value>>20, now>>20)
				}
			}
			var have string
			ts := append([]types.Type{opType}, m.tables[0].Desc.Types()...)
			if len(m.tables[0].Key) == 0 {
				ts = append(ts, types.Type{Kind: types.Int32, SQL: "INTEGER"})
			}
			m.drain(b.Tables[0].Feed, ts, func(ch *change.Chunk, row int) {
				sum := md5.Sum(change.At[change.String](&ch.Vectors[2], row).Bytes())
				have = hex.EncodeToString(sum[:])
			})
			if !b.More {
				t.Error("the value is not a part of its own")
			}
			if _, err := m.stream.Next(ctx); err != nil {
				t.Fatal(err)
			}
			if now, held := memory(); now-used > value/4 || held-used > value/2 {
				t.Errorf("a value of %d MiB that was staged takes %d MiB, and %d are not given back", value>>20, (now-used)>>20, (held-used)>>20)
			}
			var want string
			if err := c.QueryRow(ctx, "SELECT md5(v) FROM a").Scan(&want); err != nil {
				t.Fatal(err)
			}
			if have != want {
				t.Errorf("the value's sum is %s, in the source %s", have, want)
			}
		})
	}
}

// some is the next batch with rows.
func (m *mirror) some(ctx context.Context) *change.Batch {
	m.t.Helper()
	for {
		b, err := m.stream.Next(ctx)
		if err != nil {
			m.t.Fatal(err)
		}
		if len(b.Tables) > 0 {
			return b
		}
	}
}
