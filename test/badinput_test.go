package test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// What goes wrong with a dataset that was good before ends in an error with the right code, a message that names what is
// wrong, and a hint; the last good data stays readable; and when the cause is gone the next run is good again.
func TestBadSource(t *testing.T) {
	const good = "{source: pg, table: public.t, key: [id], incremental_column: at}"
	const query = `{source: pg, queries: {q: {sql: "SELECT id, name, n, at FROM t", key: [id], incremental_column: at}}}`
	for _, c := range []struct {
		name, dataset string
		change        string // of the configuration: old → new
		sql, undo     string // at the source
		code          string
		message, hint []string
	}{
		{name: "syntax error", dataset: query, change: "SELECT id, name → SELECT id name name", code: "source_sql", message: []string{"syntax error", "name"}},
		{name: "unknown column", dataset: query, change: "id, name, → id, nome, name,", code: "source_sql", message: []string{`"nome"`, "does not exist"}},
		{name: "unknown table", dataset: query, change: "FROM t → FROM tt", code: "source_sql", message: []string{`"tt"`, "does not exist"}, hint: []string{"public.t"}},
		{name: "unknown chosen column", dataset: good, change: "key: → columns: [id, at, nam], key:", code: "source_sql", message: []string{"nam"}, hint: []string{"name"}},
		{name: "wrong condition", dataset: good, change: "key: → where: nonsense >, key:", code: "source_sql", message: []string{"syntax error"}},
		{name: "condition of another type", dataset: good, change: "key: → where: name > 5, key:", code: "source_sql", message: []string{"operator does not exist"}},
		{name: "table dropped", dataset: good, sql: `ALTER TABLE t RENAME TO gone`, undo: `ALTER TABLE gone RENAME TO t`, code: "source_sql", message: []string{`"public.t"`, "does not exist"}},
		{name: "error in the middle of the rows", dataset: query, change: "n, at → 10 / (n - 200) AS n, at", sql: `UPDATE t SET at = now()`, code: "source_sql", message: []string{"division by zero"}},
		{name: "duplicate keys", dataset: query, change: "id, name → id / 2 AS id, name", code: "duplicate_key", message: []string{"id"}},
		{name: "duplicate keys in an increment", dataset: good, sql: `ALTER TABLE t DROP CONSTRAINT t_pkey; INSERT INTO t VALUES (7, 'seven again'), (1001, 'a'), (1001, 'b')`, undo: `DELETE FROM t WHERE name = 'b' OR name = 'seven again'`, code: "duplicate_key", message: []string{"1001"}, hint: []string{"key"}},
		{name: "keys without a value", dataset: good, sql: `ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER id DROP NOT NULL; INSERT INTO t (name) VALUES ('nobody'), ('no one')`, undo: `DELETE FROM t WHERE id IS NULL`, code: "null_key", message: []string{"id", "2"}},
		{name: "columns equal but for case", dataset: query, change: `name, n → name, n AS \"Name\", n`, code: "source_sql", message: []string{"Name", "case"}},
		{name: "columns of one name", dataset: query, change: "name, n → name, n AS name", code: "source_sql", message: []string{`"name"`}},
		{name: "column without a name", dataset: query, change: "name, n → name, n + 1", code: "source_sql", message: []string{"no name"}, hint: []string{"AS"}},
		{name: "unordered incremental column", dataset: query, change: "incremental_column: at → incremental_column: f && n, at → n, at, n::float8 AS f", code: "config", message: []string{`"f"`, "double precision"}},
		{name: "statement timeout", dataset: query, change: "FROM t → FROM t, pg_sleep(5)", code: "source_timeout", hint: []string{"query_timeout"}},
		{name: "locked by a schema change", dataset: good, sql: "lock", code: "source_timeout", message: []string{"lock"}},
		{name: "no right any more", dataset: good, sql: `REVOKE SELECT ON t FROM reader_DB`, undo: `GRANT SELECT ON t TO reader_DB`, code: "source_privilege", message: []string{"permission denied", "t"}, hint: []string{"GRANT"}},
		{name: "no login any more", dataset: good, sql: `ALTER ROLE reader_DB NOLOGIN; SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'reader_DB'`, undo: `ALTER ROLE reader_DB LOGIN`, code: "source_privilege"},
		{name: "view over a column that is gone", dataset: `{source: pg, queries: {q: {sql: "SELECT * FROM t", key: [id], incremental_column: at}}, view: "SELECT id, name FROM DATASET_q"}`, sql: `ALTER TABLE t RENAME name TO title`, undo: `ALTER TABLE t RENAME title TO name`, code: "view", message: []string{"name"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			newest(t, func(t *testing.T, url string) {
				db := strings.TrimSuffix(url[strings.LastIndex(url, "/")+1:], "?sslmode=disable")
				role := "reader_" + db
				local := strings.NewReplacer("reader_DB", role, "DATASET", "d")
				harness.PG(t, url, `CREATE TABLE t (id int PRIMARY KEY, name text, n int, at timestamptz DEFAULT now()); INSERT INTO t SELECT g, 'name ' || g, g, '2026-01-01' FROM generate_series(1, 300) g`,
					`CREATE ROLE `+role+` LOGIN PASSWORD 'r'; GRANT SELECT ON t TO `+role)
				t.Cleanup(func() { harness.PG(t, url, `DROP OWNED BY `+role, `DROP ROLE `+role) })
				p := manual(t, strings.Replace(url, "postgres:"+pgtest.Password, role+":r", 1), "datasets:\n  d: "+local.Replace(c.dataset)+"\n")
				s := p.Serve()
				s.Sync("d")
				table := "d"
				if strings.Contains(c.dataset, "queries") {
					table = "d_q"
				}
				before := s.SQL(`SELECT count(*), sum(id), max(name) FROM "` + table + `"`)
				config := readFile(t, p.Config)
				if c.change != "" {
					broken := strings.Replace(config, "{source: pg, ", "{source: pg, query_timeout: 1, ", 1)
					for change := range strings.SplitSeq(c.change, " && ") {
						from, to, _ := strings.Cut(change, " → ")
						require.Contains(t, broken, from)
						broken = strings.Replace(broken, from, to, 1)
					}
					p.Write(broken)
					p.OK("reload")
				}
				lock := harness.Conn(t, url)
				if c.sql == "lock" {
					_, err := lock.Exec(t.Context(), `BEGIN; ALTER TABLE t ALTER n SET DEFAULT 5`)
					require.NoError(t, err)
				} else if c.sql != "" {
					harness.PG(t, url, local.Replace(c.sql))
				}
				r := s.Follow(s.Begin("/api/store/sync/d"))
				require.Equal(t, "error", r.State, harness.Show(r))
				if c.code != "view" {
					require.Equal(t, c.code, r.Code, harness.Show(r))
				}
				require.NotEmpty(t, r.Hint, harness.Show(r))
				contains(t, *r.Error, append(c.message, "d")...)
				contains(t, r.Hint, c.hint...)
				require.NotContains(t, *r.Error, "r@127")
				st := s.Statuses()
				for _, one := range st {
					require.Equal(t, "error", one.State)
					require.Equal(t, *r.Error, *one.Error)
				}
				require.Equal(t, before, s.SQL(`SELECT count(*), sum(id), max(name) FROM "`+table+`"`), "the last good data")
				// Mended, it recovers at the next run.
				if c.sql == "lock" {
					_, err := lock.Exec(t.Context(), `COMMIT`)
					require.NoError(t, err)
				} else if c.undo != "" {
					harness.PG(t, url, local.Replace(c.undo))
				}
				if c.change != "" {
					p.Write(config)
					p.OK("reload")
				}
				if r := s.Sync("d"); c.change == "" {
					require.Equal(t, "incremental", r.Kind, "the watermark outlived the failure: %s", r.Reason)
				}
				if table == "d" {
					harness.Compare(t, url, "SELECT * FROM t", s, "d", "id")
				} else if c.sql == "" {
					harness.Compare(t, url, "SELECT id, name, n, at FROM t", s, "d_q", "id")
				}
			})
		})
	}
}

// A file that cannot be used is said to be so, before anything is changed.
func TestBadFile(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		harness.PG(t, url, commandsSQL)
		p := manual(t, url, commandsYAML)
		p.OK("sync")
		other := harness.New(t)
		for _, c := range []struct {
			name    string
			prepare func(path string) error
			says    []string
		}{
			{"not a DuckDB file", func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("hello ", 1000)), 0o600) }, []string{"pintail.duckdb"}},
			{"a cut file", func(path string) error {
				b, err := os.ReadFile(p.DB)
				if err == nil {
					err = os.WriteFile(path, b[:5000], 0o600)
				}
				return err
			}, []string{"pintail.duckdb"}},
			{"a folder", func(path string) error { return os.Mkdir(path, 0o700) }, []string{"pintail.duckdb"}},
			{"a newer format", func(path string) error {
				b, err := os.ReadFile(p.DB)
				if err == nil {
					err = os.WriteFile(path, b, 0o600)
				}
				harness.File(path).Exec(t, "UPDATE _pintail.meta SET value = '99' WHERE name = 'format'")
				return err
			}, []string{"format version 99"}},
		} {
			dir := t.TempDir()
			path := filepath.Join(dir, "pintail.duckdb")
			require.NoError(t, c.prepare(path))
			other.Write(strings.Replace(other.Head(url), "data/pintail.duckdb", path, 1) + commandsYAML)
			for _, args := range [][]string{{"sync"}, {"status"}, {"serve"}} {
				r := other.Run(args...)
				if r.Code != 1 && r.Code != 2 {
					t.Errorf("%s: %s", c.name, r)
				}
				contains(t, r.Stderr, append(c.says, "hint:")...)
				require.NotContains(t, r.Stderr, "goroutine ", c.name)
			}
		}
		// A folder that cannot be made.
		require.NoError(t, os.WriteFile(filepath.Join(other.Dir, "blocked"), nil, 0o600))
		other.Write(strings.Replace(other.Head(url), "data/pintail.duckdb", "blocked/pintail.duckdb", 1) + commandsYAML)
		r := other.Run("sync")
		require.Contains(t, []int{1, 2}, r.Code)
		contains(t, r.Stderr, "blocked")
		// A port that is taken: nothing is synced, the file is free again at once.
		l, err := net.Listen("tcp", p.Listen)
		require.NoError(t, err)
		defer l.Close()
		begun := time.Now()
		r = p.Run("serve")
		require.Contains(t, []int{1, 2}, r.Code)
		require.Less(t, time.Since(begun), 20*time.Second)
		contains(t, r.Stderr, p.Listen, "hint:")
		p.OK("sync")
		// Switched off.
		p.DuckDB = "enabled: false"
		p.Write(p.Head(url) + commandsYAML)
		contains(t, p.Code(2, "sync").Stderr, "duckdb.enabled")
	})
}

// Configurations that cannot be meant: every mistake is named with its place, and nothing starts.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	p := harness.New(t)
	for yaml, says := range map[string][]string{
		"sources: [":        {"pintail.yaml:1"},
		"sources:\n\tpg: x": {"pintail.yaml:2"},
		"datasets: {d: {source: nowhere, table: public.t}}": {"nowhere"},
		"sources: {pg: {url: 'mysql://x'}}":                 {"postgres://"},
		"sources: {pg: {url: '${NO_SUCH_VARIABLE}'}}":       {"NO_SUCH_VARIABLE"},
		"sources: {pg: {url: 'postgres://x', pool: many}}":  {"pool", "whole number"},
		"duckdb: {memory_limit: much}":                      {"memory_limit", "512MiB"},
		"duckdb: {path: x.duckdb, path: y.duckdb}":          {"path"},
		"server: {http: {listen: '0.0.0.0:8500'}}":          {"users", "insecure"},
		"users: {u: {token: t, role: nobody}}":              {"nobody"},
		"unknown: 1":                                        {"unknown"},
		"x":                                                 {"pintail.yaml:1"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  d: {source: pg, table: public.t, queries: {q: {sql: SELECT 1}}}":                      {"more than one form"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  d: {source: pg, table: public.t, refresh: soon}":                                      {"refresh"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  Orders: {source: pg, table: public.t}\n  orders: {source: pg, table: public.t}":       {"case"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  a_b: {source: pg, table: public.t}\n  a: {source: pg, queries: {b: {sql: SELECT 1}}}": {"a_b"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  pintail: {source: pg, table: public.t}":                                               {"reserved"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  main: {source: pg, table: public.t}":                                                  {"reserved"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  d: {source: pg, queries: {q: {sql: 'SELECT 1; DROP TABLE t'}}}":                       {"second statement"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  d: {source: pg, dataset_query: SELECT 1 AS dataset_id}":                               {"results_query"},
		"sources: {pg: {url: 'postgres://u:secret/pass@h/db'}}":                                                                                   {"percent-encoded"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  d: {source: pg, table: public.t, columns: [id], key: [key]}":                          {"key"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  d: {source: pg, table: public.t, where: 'true; DROP TABLE t'}":                        {"one condition"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  d: {source: pg, table: public.t, max_sync_rows: -1}":                                  {"max_sync_rows"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  d: {source: pg, table: public.t, refresh: 1s, refresh_interval_minutes: 1}":           {"refresh_interval_minutes"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  d: {source: pg, mode: cdc}":                                                           {"tables"},
		"sources: {pg: {url: 'postgres://x'}}\ndatasets:\n  d: {source: pg, table: t, join: inner}":                                               {"join"},
	} {
		p.Write(yaml)
		for _, command := range []string{"check", "serve"} {
			r := p.Code(2, command)
			contains(t, r.Stderr, append(says, "pintail.yaml:", "hint:")...)
			require.NotContains(t, r.Stderr, "secret")
		}
		_, err := os.Stat(filepath.Join(p.Dir, "data"))
		require.ErrorIs(t, err, os.ErrNotExist, "nothing was made")
	}
}

// A database without an encoding may hold anything as text; what is not UTF-8 is never changed silently.
func TestASCIIDatabase(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
		t.Parallel()
		own := s.DB(t)
		name := "ascii_" + own[strings.LastIndex(own, "/")+1:strings.Index(own, "?")]
		harness.PG(t, own, `CREATE DATABASE `+name+` TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'`)
		t.Cleanup(func() { harness.PG(t, own, `DROP DATABASE `+name+` WITH (FORCE)`) })
		url := s.URL(name)
		harness.PG(t, url, `CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'plain'), (2, 'é')`)
		p := harness.With(t, url, "datasets:\n  t: {source: pg, table: public.t, key: [id]}\n")
		contains(t, p.Run("check").Stdout, "SQL_ASCII")
		p.OK("sync")
		f := harness.File(p.DB)
		require.Equal(t, "é", f.One(t, "SELECT name FROM t WHERE id = 2"))
		harness.PG(t, url, `INSERT INTO t VALUES (3, E'caf\xe9')`)
		r := p.Code(1, "sync")
		contains(t, r.Stderr, "table t", "UTF8", "0xe9", "hint:")
		require.Equal(t, "2", f.One(t, "SELECT count(*) FROM t"))
		p.Write(p.Head(url) + "datasets:\n  t: {source: pg, queries: {q: {sql: \"SELECT id, convert(name::bytea, 'LATIN1', 'UTF8') AS name FROM t WHERE id = 3\"}}}\n")
		p.OK("sync")
		require.Equal(t, "café", f.One(t, "SELECT decode(name) FROM t_q"))
	})
}
