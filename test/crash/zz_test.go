package crash

import (
	"testing"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestZZ(t *testing.T) {
	url := pgtest.Get(t, 18).DB(t)
	harness.PG(t, url, "create table k (id bigserial primary key, v text)", "insert into k(v) select 'a'||g from generate_series(1,100) g",
	"create table n2(at timestamptz, v int); insert into n2 select null, g from generate_series(1,10) g")
	p := harness.With(t, url, "datasets:\n  k: {source: pg, table: k, incremental_column: id}\n  n2: {source: pg, table: n2, incremental_column: at}\n  c: {source: pg, table: k, incremental_column: id, max_sync_rows: 30}\n  ck: {source: pg, table: k, key: [id], incremental_column: id, max_sync_rows: 30}\n")
	t.Log(p.OK("sync"))
	harness.PG(t, url, "insert into k(v) select 'b'||g from generate_series(1,10) g")
	t.Log(p.OK("sync"))
	t.Log(p.OK("sync"))
	t.Log(p.OK("sync"))
	t.Log(p.OK("sync"))
	t.Log(p.OK("sync"))
	harness.Compare(t, url, "select * from k", harness.File(p.DB), "k", "id")
	harness.Compare(t, url, "select * from n2", harness.File(p.DB), "n2")
	harness.Compare(t, url, "select * from k", harness.File(p.DB), "c", "id")
}
