package harness

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Replica is a dataset of mode: cdc as its user thinks of it: a schema of the copy that has the tables of a database.
type Replica struct {
	URL     string // of the source
	Dataset string // and the copy's schema
	Schema  string // of the source; "" is public
	Except  []string
	Text    map[string]string // column → the text that the copy has of it, as SQL of the source
}

// ReplicaTimeout bounds the wait until a copy has what its source has.
const ReplicaTimeout = 90 * time.Second

// ReplicaYAML is a configuration's datasets with one replica of all tables of schema public; more is put into it, such as
// ", memory: 64MiB".
func ReplicaYAML(dataset, more string) string {
	return fmt.Sprintf("datasets:\n  %s: {source: pg, mode: cdc, tables: [public.*]%s}\n", dataset, more)
}

// sourceTable is a table of the source that is to be in the copy.
type sourceTable struct {
	name    string
	columns []string
	key     []string
}

// tables lists what the copy is to have. Columns that are computed are not in the stream.
func (r Replica) tables(ctx context.Context) ([]sourceTable, error) {
	conn, err := pgx.Connect(ctx, r.URL)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	schema := r.Schema
	if schema == "" {
		schema = "public"
	}
	rows, err := conn.Query(ctx, `SELECT c.relname,
		(SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
		(SELECT coalesce(array_agg(a.attname::text), '{}') FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = c.oid AND i.indisprimary)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1`, schema)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t sourceTable, err error) {
		return t, row.Scan(&t.name, &t.columns, &t.key)
	})
	return slices.DeleteFunc(all, func(t sourceTable) bool { return slices.Contains(r.Except, t.name) }), err
}

// Diff compares every table of the source with the copy, row by row. Each difference is told with its table's name.
func (r Replica) Diff(ctx context.Context, c Copy) (diffs []string, err error) {
	tables, err := r.tables(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the source's tables: %w", err)
	}
	schema := r.Schema
	if schema == "" {
		schema = "public"
	}
	_, have, err := c.rows(ctx, "SELECT table_name FROM duckdb_tables() WHERE schema_name = '"+r.Dataset+"'")
	if err != nil {
		return nil, fmt.Errorf("list the copy's tables: %w", err)
	}
	left := map[string]bool{}
	for _, row := range have {
		left[fmt.Sprint(row[0])] = true
	}
	for _, t := range tables {
		if !left[t.name] {
			diffs = append(diffs, fmt.Sprintf("%s: the copy does not have it", t.name))
			continue
		}
		delete(left, t.name)
		exprs := make([]string, len(t.columns))
		for i, name := range t.columns {
			exprs[i] = quote(name)
			if sql := r.Text[name]; sql != "" {
				exprs[i] = sql + " AS " + quote(name)
			}
		}
		query := "SELECT " + strings.Join(exprs, ", ") + " FROM " + quote(schema) + "." + quote(t.name)
		_, found, err := diff(ctx, r.URL, query, c, quote(r.Dataset)+"."+quote(t.name), t.key)
		if err != nil {
			return nil, fmt.Errorf("compare %s: %w", t.name, err)
		}
		for _, d := range found {
			diffs = append(diffs, t.name+": "+d.String())
		}
	}
	for name := range left {
		if !slices.Contains(r.Except, name) {
			diffs = append(diffs, name+": the source does not have it")
		}
	}
	return diffs, nil
}

// Compare fails the test unless every table of the source is in the copy, row by row, and no other is. The copy has to stand
// where the source does: see Await.
func (r Replica) Compare(t testing.TB, c Copy) {
	t.Helper()
	diffs, err := r.Diff(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(diffs) > 0 {
		t.Fatalf("dataset %s is not what PostgreSQL holds: %d differences\n%s", r.Dataset, len(diffs), strings.Join(diffs[:min(len(diffs), differencesShown)], "\n"))
	}
}

// LSN is where the source's log ends: all that has committed lies before it.
func LSN(t testing.TB, url string) uint64 {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var text string
	if err := conn.QueryRow(t.Context(), "SELECT pg_current_wal_flush_lsn()::text").Scan(&text); err != nil {
		t.Fatal(err)
	}
	lsn, ok := parseLSN(text)
	if !ok {
		t.Fatalf("%q is no LSN", text)
	}
	return lsn
}

func parseLSN(text string) (uint64, bool) {
	high, low, ok := strings.Cut(text, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	return h<<32 | l, ok && err1 == nil && err2 == nil
}

// behind says what keeps the copy from standing at lsn; "" when it does with every table of the source.
func (s *Server) behind(r Replica, lsn uint64) string {
	tables, err := r.tables(s.t.Context())
	if err != nil {
		return err.Error()
	}
	all := s.Statuses()
	for _, t := range tables {
		key := r.Dataset + "." + t.name
		st, ok := all[key]
		if !ok {
			return key + " has no status"
		}
		if st.State != "ready" {
			text := ""
			if st.Error != nil {
				text = *st.Error
			}
			return fmt.Sprintf("%s is %s: %s", key, st.State, text)
		}
		mark := st.Watermarks[key]
		if mark == nil {
			return key + " has no watermark"
		}
		if at, ok := parseLSN(*mark); !ok || at < lsn {
			return fmt.Sprintf("%s stands at %s, the source at %X/%X", key, *mark, lsn>>32, uint32(lsn))
		}
	}
	return ""
}

// Await waits until the copy of every table of the source stands where the source's log ends now.
func (s *Server) Await(r Replica) {
	s.t.Helper()
	lsn := LSN(s.t, r.URL)
	deadline := time.Now().Add(ReplicaTimeout)
	for {
		why := s.behind(r, lsn)
		if why == "" {
			return
		}
		if s.Ended() || time.Now().After(deadline) {
			s.t.Fatalf("waited %s in vain for the copy to be where the source is: %s", ReplicaTimeout, why)
		}
		time.Sleep(pollEvery)
	}
}

// Same waits until the copy is where the source is, and compares every table of it row by row. Nothing may be written
// meanwhile.
func (s *Server) Same(r Replica) {
	s.t.Helper()
	s.Await(r)
	r.Compare(s.t, s)
}

// Becomes waits until the copy is what the source is, where the stream alone does not say when: after a table was created,
// dropped or renamed, which is noticed by looking now and then.
func (s *Server) Becomes(r Replica) {
	s.t.Helper()
	var diffs []string
	deadline := time.Now().Add(ReplicaTimeout)
	for {
		if s.behind(r, LSN(s.t, r.URL)) == "" {
			var err error
			if diffs, err = r.Diff(s.t.Context(), s); err != nil {
				s.t.Fatal(err)
			}
			if len(diffs) == 0 {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("dataset %s does not become what PostgreSQL holds (%s): %d differences\n%s", r.Dataset, s.behind(r, LSN(s.t, r.URL)), len(diffs),
				strings.Join(diffs[:min(len(diffs), differencesShown)], "\n"))
		}
		time.Sleep(10 * pollEvery)
	}
}

// Leftovers are the slots and publications that Pintail has left on the source, by name.
func (r Replica) Leftovers(t testing.TB) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), r.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), `SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
		UNION ALL SELECT 'publication ' || pubname FROM pg_publication`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Slot is the name of the replica's slot on the source, which has to be there and no other that lasts.
func (r Replica) Slot(t testing.TB) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), r.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var name string
	if err := conn.QueryRow(t.Context(), "SELECT string_agg(slot_name, ',') FROM pg_replication_slots WHERE database = current_database() AND NOT temporary").Scan(&name); err != nil {
		t.Fatalf("there is no slot: %v", err)
	}
	return name
}
