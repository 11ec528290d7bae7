package postgres

import (
	"fmt"
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

// stagedChanges are the staged rows of all batches up to where the log ends: the op, the fields, then stamp and count as far as
// there are any.
func (m *mirror) stagedChanges(conn *pgx.Conn, keep change.Keep) (out []string, stamps []change.Stamp) {
	m.t.Helper()
	var end string
	if err := conn.QueryRow(m.t.Context(), "SELECT pg_current_wal_flush_lsn()::text").Scan(&end); err != nil {
		m.t.Fatal(err)
	}
	lsn, err := change.ParseLSN(end)
	if err != nil {
		m.t.Fatal(err)
	}
	for m.at < lsn {
		b, err := m.stream.Next(m.t.Context())
		if err != nil {
			m.t.Fatal(err)
		}
		for _, c := range b.Tables {
			f := &m.tables[slices.IndexFunc(m.tables, func(f source.StreamTable) bool { return f.OID == c.Table })]
			if c.Lost != "" {
				out = append(out, c.Lost)
				continue
			}
			if c.Truncate {
				out = append(out, "truncate")
				stamps = append(stamps, c.Truncated)
			}
			if c.Feed == nil {
				continue
			}
			ts := append([]types.Type{opType}, f.Desc.Types()...)
			for range c.Unchanged {
				ts = append(ts, markType)
			}
			at := len(ts)
			if keep.Stamped() {
				ts = append(ts, types.Of(5069, -1, nil), types.Of(1184, -1, nil))
			}
			if len(f.Key) == 0 {
				ts = append(ts, types.Of(23, -1, nil))
			}
			m.drain(c.Feed, ts, func(ch *change.Chunk, row int) {
				part := change.Chunk{Vectors: ch.Vectors[1:], Rows: ch.Rows}
				line := fmt.Sprint(*change.At[change.Op](&ch.Vectors[0], row), m.fields(&part, f.Desc.Types(), row))
				at := at
				if keep.Stamped() {
					stamps = append(stamps, change.Stamp{LSN: *change.At[change.LSN](&ch.Vectors[at], row), At: time.UnixMicro(*change.At[int64](&ch.Vectors[at+1], row))})
					at += 2
				}
				if len(f.Key) == 0 {
					line += fmt.Sprint(" x", *change.At[int32](&ch.Vectors[at], row))
				}
				out = append(out, line)
			})
		}
		if !b.More {
			m.at = max(m.at, b.Position.LSN)
		}
	}
	return out, stamps
}

// What is staged where a table has no key, or its copy keeps what is gone; and that commit times do not go back.
func TestStreamStagesWhatIsKept(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		conn := connect(t, url)
		src := openSource(t, Config{URL: url})
		for _, c := range []struct {
			name, make string
			keep       change.Keep
			want       []string
		}{
			{"keyless", "CREATE TABLE t (id int, v text); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a'), (1, 'a'), (2, 'a'), (4, 'a')", change.Keep{}, []string{
				"1 [1 b] x1", "1 [3 a] x2", "3 [1 a] x1", "3 [4 a] x1",
			}},
			{"soft", "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'a'), (4, 'a')", change.Keep{Deletes: change.DeletesSoft}, []string{
				"2 [1 b]", "2 [3 a]", "3 [4 " + null + "]", "4 [5 b]",
			}},
			{"history", "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'a'), (4, 'a')", change.Keep{Deletes: change.DeletesHistory}, []string{
				"1 [3 a]", "1 [5 a]", "2 [1 b]", "2 [5 b]", "3 [4 " + null + "]", "3 [5 " + null + "]",
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				exec(t, conn, "DROP TABLE IF EXISTS t")
				exec(t, conn, c.make)
				m := newMirror(t, src, "kept_"+c.name, "public.t")
				m.tables[0].Keep = c.keep
				later := time.Now().Add(time.Hour).Truncate(time.Microsecond)
				for _, sql := range []string{
					"INSERT INTO t VALUES (3, 'a'), (5, 'a')", "UPDATE t SET v = 'b' WHERE id = 5; DELETE FROM t WHERE id = 4", "DELETE FROM t WHERE id = 5",
					"UPDATE t SET v = 'b' WHERE ctid = (SELECT max(ctid) FROM t WHERE id = 1)",
				} {
					exec(t, conn, "BEGIN; "+sql+"; COMMIT")
				}
				if c.name == "keyless" {
					exec(t, conn, "INSERT INTO t VALUES (3, 'a')")
				}
				// Only now, so that they are one batch however busy the machine is.
				m.follow(source.StreamOptions{Batch: source.BatchLimits{Time: time.Second, Bytes: 1 << 20, Rows: 1000}, FromAt: later})
				got, stamps := m.stagedChanges(conn, c.keep)
				slices.Sort(got)
				if fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("staged %q, want %q", got, c.want)
				}
				lsns := map[change.LSN]bool{}
				for _, by := range stamps {
					if lsns[by.LSN] = true; by.At.Before(later) {
						t.Errorf("committed at %s, before %s", by.At, later)
					}
				}
				if c.keep.Deletes == change.DeletesHistory && len(lsns) != 4 {
					t.Errorf("changes of %d transactions", len(lsns))
				}
				// A TRUNCATE has the changes of before as a part of their own, where they are kept.
				exec(t, conn, "BEGIN; INSERT INTO t VALUES (6, 'a'); TRUNCATE t; INSERT INTO t VALUES (7, 'a'); COMMIT")
				got, _ = m.stagedChanges(conn, c.keep)
				want := []string{"truncate", "1 [7 a] x1"}
				switch c.keep.Deletes {
				case change.DeletesSoft:
					want = []string{"2 [6 a]", "truncate", "2 [7 a]"}
				case change.DeletesHistory:
					want = []string{"1 [6 a]", "truncate", "1 [7 a]"}
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("with TRUNCATE %q is staged, want %q", got, want)
				}
				if c.name != "keyless" {
					return
				}
				exec(t, conn, "ALTER TABLE t REPLICA IDENTITY DEFAULT")
				exec(t, conn, "ALTER TABLE t ADD PRIMARY KEY (id, v)")
				exec(t, conn, "UPDATE t SET id = 8")
				if got, _ = m.stagedChanges(conn, c.keep); len(got) != 1 || !strings.Contains(got[0], "replica identity") {
					t.Errorf("without the identity: %q", got)
				}
			})
		}
	})
}
