package crash

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// Each of these tables is followed twice: by a superuser, who sees when transactions began, and by a role that does not.
const (
	lateSchema = `
	CREATE TABLE by_time (id bigserial PRIMARY KEY, what text, at timestamptz NOT NULL DEFAULT now());
	CREATE TABLE by_number (id bigserial PRIMARY KEY, what text);
	INSERT INTO by_time (what) SELECT 'first' FROM generate_series(1, 300);
	INSERT INTO by_number (what) SELECT 'first' FROM generate_series(1, 300)`
	lateDatasets = `
datasets:
  super_time_keyed: {source: pg, table: public.by_time, key: [id], incremental_column: at}
  super_time: {source: pg, table: public.by_time, incremental_column: at}
  super_time_query: {source: pg, queries: {q: {sql: "SELECT id, what, at FROM by_time", incremental_column: at}}}
  super_number_keyed: {source: pg, table: public.by_number, key: [id], incremental_column: id}
  super_number: {source: pg, table: public.by_number, incremental_column: id}
  plain_time_keyed: {source: plain, table: public.by_time, key: [id], incremental_column: at}
  plain_time: {source: plain, table: public.by_time, incremental_column: at}
  plain_time_query: {source: plain, queries: {q: {sql: "SELECT id, what, at FROM by_time", incremental_column: at}}}
  plain_number_keyed: {source: plain, table: public.by_number, key: [id], incremental_column: id}
  plain_number: {source: plain, table: public.by_number, incremental_column: id}
  plain_number_query: {source: plain, queries: {q: {sql: "SELECT id, what FROM by_number", incremental_column: id}}}
`
)

func lateObjects() (objects []object) {
	for _, name := range []string{"super_time_keyed", "super_time", "super_time_query_q", "super_number_keyed", "super_number",
		"plain_time_keyed", "plain_time", "plain_time_query_q", "plain_number_keyed", "plain_number", "plain_number_query_q"} {
		table := "by_time"
		if strings.Contains(name, "number") {
			table = "by_number"
		}
		objects = append(objects, object{name, "SELECT * FROM " + table, []string{"id"}})
	}
	return objects
}

// transaction is one of the source's, open for as long as the test likes.
type transaction struct {
	t    *testing.T
	conn *pgx.Conn
}

// begin fixes now(). With nothing else done, it holds no lock and has no number yet.
func begin(t *testing.T, url string) *transaction {
	t.Helper()
	tx := &transaction{t, harness.Conn(t, url)}
	tx.exec("BEGIN")
	tx.exec("SELECT now()")
	return tx
}

func (tx *transaction) exec(sql string) {
	tx.t.Helper()
	if _, err := tx.conn.Exec(context.Background(), sql); err != nil {
		tx.t.Fatalf("%s: %v", sql, err)
	}
}

func (tx *transaction) insert(what string) {
	tx.t.Helper()
	for _, table := range []string{"by_time", "by_number"} {
		tx.exec(fmt.Sprintf("INSERT INTO %s (what) SELECT '%s' FROM generate_series(1, 7)", table, what))
	}
}

// Rows that are committed late are not lost and not doubled, whatever held them back while syncs went on: by one process
// after the other, which know of each other only what the file says, and by a server.
func TestLateCommits(t *testing.T) {
	for _, major := range pgtest.Majors() {
		for _, how := range []string{"sync", "serve"} {
			if how == "sync" && major != pgtest.Newest && !long() {
				continue
			}
			t.Run(fmt.Sprintf("pg%d/%s", major, how), func(t *testing.T) {
				t.Parallel()
				url := pgtest.Get(t, major).DB(t)
				harness.PG(t, url, lateSchema)
				p := harness.New(t)
				p.DuckDB = "sync_mode: manual"
				p.Write(strings.Replace(p.Head(url), "sources:\n", fmt.Sprintf("sources:\n  plain: {url: %q}\n", unprivileged(t, url)), 1) + lateDatasets)
				var c harness.Copy = harness.File(p.DB)
				read := map[string]int64{} // rows, by dataset, of its last run
				sync := func() {
					t.Helper()
					for line := range strings.Lines(p.OK("sync", "--json")) {
						var r harness.Run
						decode(t, line, &r)
						read[r.Dataset] = r.RowsRead
					}
				}
				if how == "serve" {
					s := p.Serve()
					c = s
					sync = func() {
						t.Helper()
						var ids []string
						for _, o := range lateObjects() {
							ids = append(ids, s.Begin("/api/store/sync/"+strings.TrimSuffix(o.name, "_q")))
						}
						for _, id := range ids {
							if r := s.Follow(id); r.State != "ready" {
								t.Fatalf("the run failed: %s", harness.Show(r))
							} else {
								read[r.Dataset] = r.RowsRead
							}
						}
					}
				}
				insert := func(what string) {
					harness.PG(t, url, "INSERT INTO by_time (what) VALUES ('"+what+"'), ('"+what+"')", "INSERT INTO by_number (what) VALUES ('"+what+"')")
				}
				check := func(when string) {
					t.Helper()
					t.Log(when)
					sync()
					same(t, url, c, lateObjects())
				}

				// Open from before the first sync of all: nothing is proven yet.
				first := begin(t, url)
				check("the first sync")
				insert("between")
				check("new rows beside an old transaction")
				check("the same again")
				first.insert("from before the first sync")
				insert("and one more")
				check("the oldest writes")
				first.exec("COMMIT")
				check("the oldest commits")
				check("nothing is new")

				idle := begin(t, url) // no lock, no number: nothing shows it but its start
				writing := begin(t, url)
				writing.insert("in progress")
				insert("after both")
				check("one that waits and one that writes")
				check("the same again")
				idle.insert("late, from a transaction that only waited")
				insert("after that")
				check("all three write")
				idle.exec("COMMIT")
				check("the one that waited commits")
				writing.exec("ROLLBACK")
				check("the one that wrote first rolls back")

				// Savepoints are transactions of their own number within.
				nested := begin(t, url)
				nested.exec("SAVEPOINT a")
				nested.insert("in a savepoint")
				nested.exec("RELEASE a")
				nested.exec("SAVEPOINT b")
				nested.insert("taken back")
				insert("beside")
				check("a savepoint")
				nested.exec("ROLLBACK TO b")
				nested.exec("COMMIT")
				check("a savepoint is committed, another was not")

				// A prepared transaction belongs to no session.
				prepared := begin(t, url)
				prepared.insert("prepared")
				prepared.exec("PREPARE TRANSACTION 'late'")
				insert("beside a prepared one")
				check("a prepared transaction")
				insert("and more")
				check("still prepared")
				prepared.exec("COMMIT PREPARED 'late'")
				insert("afterwards")
				check("the prepared one commits")

				insert("the end")
				check("nothing is open any more")
				check("nothing is new")
				for name, rows := range read {
					if rows >= 300 {
						t.Errorf("%s: %d rows were read when nothing was new: its increments are not small", name, rows)
					}
				}
			})
		}
	}
}

// A capped first read leaves rows above its last one. The following runs go on from there, whatever is proven of the rows
// below, until everything is there; a row that commits late below the last one is not lost either.
func TestCappedReadsGoOn(t *testing.T) {
	t.Parallel()
	url := database(t)
	harness.PG(t, url, lateSchema)
	p := harness.New(t)
	p.DuckDB = "sync_mode: manual, max_sync_rows: 70"
	p.Write(strings.Replace(p.Head(url), "sources:\n", fmt.Sprintf("sources:\n  plain: {url: %q}\n", unprivileged(t, url)), 1) + lateDatasets)
	harness.PG(t, url, "UPDATE by_time SET at = at - interval '1 day' + id * interval '1 second'")
	open := begin(t, url)
	p.OK("sync")
	open.insert("late")
	p.OK("sync")
	harness.PG(t, url, "INSERT INTO by_time (what) SELECT 'new' FROM generate_series(1, 50)", "INSERT INTO by_number (what) SELECT 'new' FROM generate_series(1, 50)")
	p.OK("sync")
	open.exec("COMMIT")
	// Where nothing is proven a range is read twice before the next one.
	for n := 0; ; n++ {
		truncated := 0
		for line := range strings.Lines(p.OK("sync", "--json")) {
			var r harness.Run
			decode(t, line, &r)
			if r.RowsRead >= 70 {
				truncated++
			}
		}
		if truncated == 0 {
			break
		}
		if n == 20 {
			t.Fatalf("%d datasets are still not complete", truncated)
		}
	}
	same(t, url, harness.File(p.DB), lateObjects())
}

// Changed row versions alone cannot take the place of the old ones where there is no key: that is refused, with the way out.
func TestRowVersionsNeedAKey(t *testing.T) {
	t.Parallel()
	url := database(t)
	harness.PG(t, url, lateSchema)
	p := with(t, url, "datasets:\n  by_time: {source: pg, table: public.by_time, incremental_column: at, late_commits: xmin}\n")
	r := p.Code(fault.ExitConfig, "sync")
	contains(t, r.Stderr, "late_commits: xmin", "hint: give the dataset a key")
}
