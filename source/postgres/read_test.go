package postgres

import (
	"testing"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

func TestReadTable(t *testing.T) {
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		url := s.DB(t)
		c := connect(t, url)
		exec(t, c, `CREATE TABLE t AS SELECT i::bigint AS id, i % 1000 AS n, 'p' || i AS s, (i * 0.31)::numeric(12,2) AS amount, now() AS at,
			CASE WHEN i % 10 > 0 THEN md5(i::text) END AS m FROM generate_series(1, 200000) i`)
		src := openSource(t, Config{URL: url})
		n := snapshotOf(t, src)
		want := copied(t, c, "SELECT * FROM t")
		equalRows(t, readAll(t, n, table("t"), source.Range{}, 4), want)
		equalRows(t, readAll(t, n, source.Query{SQL: "SELECT * FROM t -- all\n;"}, source.Range{}, 4), want)
		equalRows(t, readAll(t, n, source.Query{SQL: "SELECT * FROM t", PartitionColumn: "id"}, source.Range{}, 4), want)
	})
}
