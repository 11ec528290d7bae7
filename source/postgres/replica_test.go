package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

// mirror is a replica of tables in memory: by OID, the rows as text by the text of their key.
type mirror struct {
	t      *testing.T
	src    *Source
	via    *Source // of the stream
	slot   string
	tables []source.StreamTable
	rows   map[uint32]map[string][]string
	stream source.Stream
	at     change.LSN
	asOf   time.Time
	parts  int                            // of transactions, that were not the last
	before map[uint32]map[string][]string // the rows without the parts of one that is not whole yet
	lost   map[uint32]string
}

const null = "\x00NULL"

// newMirror makes publication and slot, and copies the tables that the patterns mean under the slot's snapshot.
func newMirror(t *testing.T, src *Source, name string, patterns ...string) *mirror {
	t.Helper()
	m := &mirror{t: t, src: src, via: src, slot: name, rows: map[uint32]map[string][]string{}, lost: map[uint32]string{}}
	ctx := t.Context()
	found, err := src.ReplicaTables(ctx, patterns)
	if err == nil {
		err = src.Publish(ctx, name, found)
	}
	if err != nil {
		t.Fatal(err)
	}
	slot, err := src.CreateSlot(ctx, name, false)
	if err != nil {
		t.Fatal(err)
	}
	defer slot.Close(ctx)
	t.Cleanup(func() {
		if m.stream != nil {
			m.stream.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(src.DropSlot(ctx, name), src.Unpublish(ctx, name)); err != nil {
			t.Error(err)
		}
	})
	m.at = slot.Point()
	n, err := slot.Snapshot(ctx, source.SnapshotOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, f := range found {
		d, err := n.Describe(ctx, f.Query())
		if err != nil {
			t.Fatal(err)
		}
		m.tables = append(m.tables, source.StreamTable{OID: f.OID, Desc: d, Key: f.Key, After: slot.Point()})
	}
	if err := n.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.tables {
		m.rows[f.OID] = map[string][]string{}
		feed, err := n.Read(ctx, f.Desc, source.Range{}, 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.drain(feed, f.Desc.Types(), func(c *change.Chunk, row int) {
			fields := m.fields(c, f.Desc.Types(), row)
			m.rows[f.OID][m.key(&f, fields)] = fields
		})
	}
	return m
}

func (m *mirror) key(f *source.StreamTable, fields []string) string {
	var parts []string
	for i, c := range f.Desc.Columns {
		if slices.Contains(f.Key, c.Name) {
			parts = append(parts, fmt.Sprintf("%q", fields[i]))
		}
	}
	return strings.Join(parts, ",")
}

func (m *mirror) fields(c *change.Chunk, ts []types.Type, row int) []string {
	out := make([]string, len(ts))
	for i := range ts {
		if c.Vectors[i].IsNull(row) {
			out[i] = null
		} else {
			out[i] = string(types.AppendText(nil, &ts[i], &c.Vectors[i], row))
		}
	}
	return out
}

func (m *mirror) drain(feed change.Feed, ts []types.Type, row func(*change.Chunk, int)) {
	m.t.Helper()
	for {
		r, err := feed.Next(m.t.Context())
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			m.t.Fatal(err)
		}
		c := types.NewChunk(ts)
		for {
			types.ResetChunk(c)
			n, err := r.Read(c)
			if err != nil {
				m.t.Fatal(err)
			}
			if n == 0 {
				break
			}
			for i := range n {
				row(c, i)
			}
		}
		if err := r.Close(); err != nil {
			m.t.Fatal(err)
		}
	}
}

var (
	opType   = types.Type{Kind: types.Int16, SQL: "TINYINT"}
	markType = types.Type{Kind: types.Bool, SQL: "BOOLEAN"}
)

// open begins the stream where the mirror stands.
func (m *mirror) open(binary bool, limits source.BatchLimits) {
	m.t.Helper()
	m.follow(source.StreamOptions{Batch: limits, Text: !binary})
}

// follow is open with further options. A server takes a moment to notice that a broken stream has ended.
func (m *mirror) follow(o source.StreamOptions) {
	m.t.Helper()
	o.Slot, o.Publication, o.From, o.Tables = m.slot, m.slot, m.at, m.tables
	m.asOf = time.Time{}
	if m.before != nil {
		m.rows, m.before = m.before, nil
	}
	var err error
	for deadline := time.Now().Add(10 * time.Second); ; {
		if m.stream, err = m.via.Stream(m.t.Context(), o); err == nil {
			return
		}
		if sqlstate(err) != "55006" || time.Now().After(deadline) {
			m.t.Fatal(err)
		}
	}
}

func (m *mirror) close() {
	m.t.Helper()
	if err := m.stream.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.stream = nil
}

// until applies batches until the mirror stands at lsn.
func (m *mirror) until(lsn change.LSN) (batches int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	for m.at < lsn {
		m.next(ctx, lsn)
		batches++
	}
	return batches
}

// next applies one batch on the way to lsn.
func (m *mirror) next(ctx context.Context, lsn change.LSN) *change.Batch {
	m.t.Helper()
	b, err := m.stream.Next(ctx)
	if err != nil {
		m.t.Fatalf("at %s of %s: %v", m.at, lsn, err)
	}
	m.apply(b)
	return b
}

func (m *mirror) apply(b *change.Batch) {
	m.t.Helper()
	if b.More && m.before == nil {
		m.before = cloned(m.rows)
	}
	if b.Position.LSN < m.at {
		m.t.Fatalf("the position went back from %s to %s", m.at, b.Position.LSN)
	}
	for _, c := range b.Tables {
		if c.Lost != "" {
			m.lost[c.Table] = c.Lost
			continue
		}
		f := &m.tables[slices.IndexFunc(m.tables, func(f source.StreamTable) bool { return f.OID == c.Table })]
		have := m.rows[f.OID]
		if c.Truncate {
			clear(have)
		}
		if c.Feed == nil {
			continue
		}
		ts := append([]types.Type{opType}, f.Desc.Types()...)
		for range c.Unchanged {
			ts = append(ts, markType)
		}
		staged := map[string]bool{}
		removed := map[string]bool{}
		put := map[string][]string{}
		rows := 0
		m.drain(c.Feed, ts, func(ch *change.Chunk, row int) {
			rows++
			part := change.Chunk{Vectors: ch.Vectors[1:], Rows: ch.Rows}
			fields := m.fields(&part, f.Desc.Types(), row)
			key := m.key(f, fields)
			op := *change.At[change.Op](&ch.Vectors[0], row)
			// Equal keys of other bytes may be staged twice, one of them as a delete.
			if staged[key] && op != change.OpDelete && put[key] != nil {
				m.t.Errorf("key %s is staged twice", key)
			}
			staged[key] = true
			for i, column := range c.Unchanged {
				if *change.At[bool](&ch.Vectors[1+len(f.Desc.Columns)+i], row) {
					old := have[key]
					if old == nil {
						m.t.Fatalf("row %s has no value of column %d, and the copy no such row", key, column)
					}
					fields[column] = old[column]
				}
			}
			if op != change.OpInsert {
				removed[key] = true
			} else if have[key] != nil && !removed[key] {
				m.t.Errorf("an insert of %s, which is there", key)
			}
			if op != change.OpDelete {
				put[key] = fields
			}
		})
		if rows != c.Rows || len(removed) != c.Deletes {
			m.t.Errorf("%d rows staged, %d of them replace: announced were %d and %d", rows, len(removed), c.Rows, c.Deletes)
		}
		for k := range removed {
			delete(have, k)
		}
		maps.Copy(have, put)
	}
	if b.AsOf.Before(m.asOf) {
		m.t.Errorf("the time went back from %s to %s", m.asOf, b.AsOf)
	}
	m.asOf = b.AsOf
	if b.More {
		m.parts++
		return
	}
	m.before = nil
	m.at = b.Position.LSN
	m.stream.Ack(m.at)
}

func cloned(rows map[uint32]map[string][]string) map[uint32]map[string][]string {
	c := map[uint32]map[string][]string{}
	for oid, have := range rows {
		c[oid] = maps.Clone(have)
	}
	return c
}

// same compares every table with the source, as it is now.
func (m *mirror) same(c *pgx.Conn) {
	m.t.Helper()
	m.until(currentLSN(m.t, c))
	n, err := m.src.Snapshot(m.t.Context(), source.SnapshotOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	defer n.Close()
	m.equals(n, m.rows)
}

// equals compares rows of every table with what a snapshot sees.
func (m *mirror) equals(n source.Snapshot, rows map[uint32]map[string][]string) {
	m.t.Helper()
	for _, f := range m.tables {
		d, err := n.Describe(m.t.Context(), f.Desc.Query)
		if err != nil {
			m.t.Fatal(err)
		}
		feed, err := n.Read(m.t.Context(), d, source.Range{}, 1, nil)
		if err != nil {
			m.t.Fatal(err)
		}
		want := map[string][]string{}
		m.drain(feed, d.Types(), func(c *change.Chunk, row int) {
			fields := m.fields(c, d.Types(), row)
			want[m.key(&f, fields)] = fields
		})
		have := rows[f.OID]
		for k, w := range want {
			if !slices.Equal(w, have[k]) {
				m.t.Errorf("%s: row %s is %.300q, in the source %.300q", d.Query.Table, k, have[k], w)
			}
		}
		for k := range have {
			if want[k] == nil {
				m.t.Errorf("%s: row %s is not in the source", d.Query.Table, k)
			}
		}
	}
}

// currentLSN is where the log ends, after a transaction whose end the stream can be waited for.
func currentLSN(t testing.TB, c *pgx.Conn) change.LSN {
	t.Helper()
	var s string
	if err := c.QueryRow(t.Context(), "SELECT pg_logical_emit_message(true, 'test', ''), pg_current_wal_insert_lsn()::text").Scan(nil, &s); err != nil {
		t.Fatal(err)
	}
	l, err := change.ParseLSN(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var small = source.BatchLimits{Time: time.Millisecond, Bytes: 1 << 20, Rows: 50}

// A random history, in batches of any size and with the stream cut and begun again, gives the source's tables.
func TestStreamFollows(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		for _, binary := range []bool{true, false} {
			t.Run(fmt.Sprintf("binary=%t", binary), func(t *testing.T) {
				url := s.DB(t)
				c := connect(t, url)
				exec(t, c, `CREATE TABLE a (id int PRIMARY KEY, n numeric(12,2), note text, at timestamptz DEFAULT now(), big text, list int[])`)
				exec(t, c, `CREATE TABLE b (k1 text, k2 uuid, v float8, PRIMARY KEY (k1, k2))`)
				exec(t, c, `CREATE TABLE "Quoted.Name" ("Id" bigint PRIMARY KEY, "a b" bool); ALTER TABLE "Quoted.Name" REPLICA IDENTITY FULL`)
				exec(t, c, `ALTER TABLE a ALTER COLUMN big SET STORAGE EXTERNAL`)
				exec(t, c, `INSERT INTO a SELECT i, i, 'first', now(), repeat('x', 3000), ARRAY[i] FROM generate_series(1, 200) i`)
				m := newMirror(t, openSource(t, Config{URL: url}), "follows_"+fmt.Sprint(binary), "public.*")
				rng := rand.New(rand.NewPCG(7, uint64(len(s.Dir))))
				m.open(binary, small)
				for round := range 12 {
					for range 1 + rng.IntN(4) {
						history(t, c, rng)
					}
					m.same(c)
					if round%4 == 3 {
						m.close()
						m.follow(source.StreamOptions{Text: !binary, Memory: 1 << (10 + rng.IntN(10)),
							Batch: source.BatchLimits{Time: time.Duration(rng.IntN(100)) * time.Millisecond, Bytes: 1 + rng.IntN(1<<16), Rows: 1 + rng.IntN(200)}})
					}
				}
				if len(m.lost) > 0 {
					t.Error(m.lost)
				}
				if m.parts == 0 {
					t.Error("no transaction came in parts")
				}
			})
		}
	})
}

// history is one transaction of many kinds of changes.
func history(t testing.TB, c *pgx.Conn, rng *rand.Rand) {
	t.Helper()
	sql := []string{"BEGIN"}
	for range 1 + rng.IntN(20) {
		id := 1 + rng.IntN(300)
		sql = append(sql, []string{
			fmt.Sprintf(`INSERT INTO a VALUES (%d, %d.5, 'new', now(), repeat('y', %d), ARRAY[1,NULL,3]) ON CONFLICT (id) DO UPDATE SET note = 'again'`, id, id, rng.IntN(5000)),
			fmt.Sprintf(`UPDATE a SET note = 'touched %d' WHERE id %% 50 = %d`, id, id%50),
			fmt.Sprintf(`UPDATE a SET big = repeat('z', 4000), note = NULL WHERE id = %d`, id),
			fmt.Sprintf(`DELETE FROM a WHERE id = %d`, id),
			fmt.Sprintf(`DELETE FROM a WHERE id = %d; INSERT INTO a VALUES (%d, NULL, 'back', NULL, NULL, NULL)`, id, id),
			fmt.Sprintf(`UPDATE a SET id = id + 1000, big = 'short' WHERE id = %d AND NOT EXISTS (SELECT FROM a x WHERE x.id = %d + 1000)`, id, id),
			fmt.Sprintf(`INSERT INTO b VALUES ('k%d', '00000000-0000-0000-0000-%012d', 'NaN') ON CONFLICT DO NOTHING`, id%7, id),
			fmt.Sprintf(`UPDATE b SET v = %d WHERE k1 = 'k%d'`, id, id%7),
			fmt.Sprintf(`UPDATE b SET k1 = k1 || '+' WHERE k1 = 'k%d'`, id%7),
			fmt.Sprintf(`DELETE FROM b WHERE k1 LIKE 'k%d+%%'`, id%7),
			fmt.Sprintf(`INSERT INTO "Quoted.Name" VALUES (%d, true) ON CONFLICT ("Id") DO UPDATE SET "a b" = NOT "Quoted.Name"."a b"`, id%40),
			fmt.Sprintf(`UPDATE "Quoted.Name" SET "Id" = "Id" + 100 WHERE "Id" = %d AND NOT EXISTS (SELECT FROM "Quoted.Name" x WHERE x."Id" = %d)`, id%40, id%40+100),
			`SAVEPOINT s; DELETE FROM a; ROLLBACK TO s`,
		}[rng.IntN(13)])
	}
	if rng.IntN(30) == 0 {
		sql = append(sql, "TRUNCATE b", "INSERT INTO b VALUES ('after', '00000000-0000-0000-0000-000000000001', 1)")
	}
	end := "COMMIT"
	if rng.IntN(5) == 0 {
		end = "ROLLBACK"
	}
	exec(t, c, strings.Join(append(sql, end), "; "))
}

// A table that was copied anew is ahead of the stream: the form that it had before says nothing of it.
func TestStreamBehindCopy(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE a (id int PRIMARY KEY, n int, gone int)`)
		src := openSource(t, Config{URL: url})
		m, again := newMirror(t, src, "behind", "public.a"), func() *mirror {
			exec(t, c, `INSERT INTO a VALUES (1, 1, 1); ALTER TABLE a DROP COLUMN gone, ADD COLUMN more text; INSERT INTO a VALUES (2, 2, 'two')`)
			return newMirror(t, src, "again", "public.a")
		}()
		m.tables, m.rows = again.tables, again.rows
		m.open(true, small)
		exec(t, c, `INSERT INTO a VALUES (3, 3, 'three')`)
		m.same(c)
		if len(m.lost) > 0 {
			t.Error(m.lost)
		}
	})
}
