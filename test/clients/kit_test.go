// Package clients has real PostgreSQL clients work with Pintail's PostgreSQL door. Each runs one program of ours twice, against the real
// PostgreSQL that is the source and against Pintail, and what the two print must be the same, line by line.
package clients

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// major is the PostgreSQL that Pintail says it is: clients choose their statements by it.
const major = 15

// The user is called the same on both sides, and must not write on either.
const user, password = "reader", "a long pass'word"

// token is of an administrator, who watches the syncs.
const token = "token-of-the-operator"

// side is a server that a client can reach.
type side struct{ host, port, database, user, password string }

func (s side) args() []string { return []string{s.host, s.port, s.database, s.user, s.password} }

// kit is a PostgreSQL and a Pintail that has copied its tables.
type kit struct {
	t            *testing.T
	source, copy side
}

const datasets = `datasets:
  everything: {source: pg, table: public.everything, key: [id]}
  varied: {source: pg, table: public.varied, key: [id]}
  customers: {source: pg, table: public.customers, key: [id]}
  orders: {source: pg, table: public.orders, key: [id]}
  totals:
    source: pg
    queries: {lines: {sql: SELECT * FROM totals_lines, key: [order_id, line]}}
    view: SELECT order_id, count(*) AS lines FROM totals_lines GROUP BY order_id
  shop: {source: pg, mode: cdc, tables: [shop.*]}
users: {reader: {password: "${READER}", role: all}, operator: {token: "${OPERATOR}", role: admin}}
roles: {all: {read: ["*"]}}
`

// start makes both sides. The two databases have the same name.
func start(t *testing.T) *kit {
	t.Parallel()
	k := &kit{t: t, source: source(t)}
	p := harness.New(t)
	k.copy = k.project(p, "")
	s := p.Serve()
	s.Token = token
	harness.Eventually(t, time.Minute, "the replica is there", func() bool {
		all := s.Statuses()
		return all["shop.items"].Rows == 600 && all["shop.nothing"].State == all["shop.items"].State
	})
	conn := harness.Conn(t, (&url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: net.JoinHostPort(k.copy.host, k.copy.port), Path: k.copy.database, RawQuery: "sslmode=disable"}).String())
	harness.Eventually(t, 10*time.Second, "the catalog has all tables", func() bool {
		var tables int
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM information_schema.tables WHERE table_schema IN ('public', 'shop')").Scan(&tables)
		return err == nil && tables == 9
	})
	return k
}

// project writes a configuration that copies the source. more is put into its block server.
func (k *kit) project(p *harness.Project, more string) side {
	admin := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", pgtest.Password), Host: net.JoinHostPort(k.source.host, k.source.port), Path: k.source.database, RawQuery: "sslmode=disable"}
	listen := harness.FreePort(k.t)
	p.DB = filepath.Join(p.Dir, "data", k.source.database+".duckdb")
	p.Env = append(p.Env, "READER="+password, "OPERATOR="+token)
	p.Write(fmt.Sprintf("sources:\n  pg: {url: %q}\nduckdb: {path: %q, memory_limit: 512MiB, threads: 2, sync_workers: 2}\nserver: {http: {listen: %q}, pgwire: {listen: %q}%s}\n%s",
		admin.String(), p.DB, p.Listen, listen, more, datasets))
	_, port, err := net.SplitHostPort(listen)
	require.NoError(k.t, err)
	return side{"127.0.0.1", port, k.source.database, user, password}
}

// source is a database with the tables of testdata/source.sql. They belong to a role that is called like the owner of a copy's.
func source(t *testing.T) side {
	t.Helper()
	server := pgtest.Get(t, major)
	makeRoles.Do(func() {
		harness.PG(t, server.URL("postgres"), "CREATE ROLE pintail", "CREATE ROLE reader LOGIN PASSWORD '"+strings.ReplaceAll(password, "'", "''")+"'",
			"ALTER ROLE reader SET default_transaction_read_only = on")
	})
	address := server.DB(t)
	setup, err := os.ReadFile("testdata/source.sql")
	require.NoError(t, err)
	u, err := url.Parse(address)
	require.NoError(t, err)
	database := strings.TrimPrefix(u.Path, "/")
	harness.PG(t, address, "ALTER DATABASE "+database+" OWNER TO pintail; GRANT CREATE ON SCHEMA public TO pintail; SET lc_monetary = 'C'; SET ROLE pintail; "+string(setup)+
		"GRANT USAGE ON SCHEMA shop TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA public, shop TO reader; RESET ROLE; ANALYZE;")
	return side{u.Hostname(), u.Port(), database, user, password}
}

var makeRoles sync.Once

// program is a client's program, and the arguments before those that name a side.
type program struct {
	name   string
	args   []string
	argsOf func(s side) []string // nil: host, port, database, user, password
	stdin  string
	hint   string // what to do when it cannot be run
}

const clientTimeout = 4 * time.Minute

// run runs a program against one side and returns what it printed.
func (p program) run(t *testing.T, s side, more ...string) string {
	t.Helper()
	for _, a := range append([]string{p.name}, p.args...) {
		if _, err := os.Stat(a); filepath.Ext(a) != "" && err != nil { // also so that go test knows which files matter
			t.Fatalf("%s is missing: %s", a, p.hint)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	argsOf := p.argsOf
	if argsOf == nil {
		argsOf = side.args
	}
	cmd := exec.CommandContext(ctx, p.name, slices.Concat(p.args, argsOf(s), more)...)
	cmd.Stdin = strings.NewReader(p.stdin)
	cmd.Env = append(harness.Environment(nil), "TZ=UTC", "LC_ALL=C.UTF-8")
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s\nif something is not installed: %s", strings.Join(cmd.Args, " "), err, errOut.String(), harness.Tail(out.String(), 30), p.hint)
	}
	// The name of the database is the test's.
	return strings.ReplaceAll(out.String(), s.database, "database")
}

// difference is a section of the output in which the two sides differ.
type difference struct {
	why   string            // that is right
	lines map[string]string // PostgreSQL's line → Pintail's; "": it has none
}

// differences reads testdata/NAME.differs: a line "== section: why" and then PostgreSQL's lines behind a -, each followed by Pintail's
// behind a + unless it has none.
func differences(t *testing.T, name string) map[string]difference {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".differs"))
	require.NoError(t, err)
	all := map[string]difference{}
	var now difference
	last := ""
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "== "):
			cut := strings.LastIndex(line, " — ")
			require.Positive(t, cut, "line %d has no reason: %s", i+1, line)
			now = difference{why: line[cut+len(" — "):], lines: map[string]string{}}
			all[line[3:cut]] = now
		case strings.HasPrefix(line, "-"):
			last = line[1:]
			now.lines[last] = ""
		case strings.HasPrefix(line, "+"):
			now.lines[last] = line[1:]
		default:
			t.Fatalf("line %d of %s: %q", i+1, name, line)
		}
	}
	return all
}

// compare runs a program against both sides and compares what it prints, by its sections: a line "== name" begins one.
func (k *kit) compare(p program) {
	k.t.Helper()
	ours, theirs := p.run(k.t, k.copy), p.run(k.t, k.source)
	names, want := sections(k.t, theirs)
	gotNames, got := sections(k.t, ours)
	require.NotEmpty(k.t, names)
	require.Equal(k.t, names, gotNames)
	differ := differences(k.t, k.t.Name())
	for name := range differ {
		require.Contains(k.t, names, name)
	}
	for _, name := range names {
		k.t.Run(name, func(t *testing.T) {
			require.NotEmpty(t, want[name], "nothing is compared")
			d := differ[name]
			for line := range d.lines {
				require.Contains(t, want[name], line, "a difference that is none any more")
			}
			var lines []string
			for _, line := range want[name] {
				if to, ok := d.lines[line]; !ok {
					lines = append(lines, line)
				} else if to != "" {
					lines = append(lines, to)
				}
			}
			require.Equal(t, strings.Join(lines, "\n"), strings.Join(got[name], "\n"), d.why)
		})
	}
}

// same holds all that a program prints to both sides against each other.
func (k *kit) same(t *testing.T, p program) {
	t.Helper()
	want := p.run(t, k.source)
	require.NotEmpty(t, want)
	require.Equal(t, want, p.run(t, k.copy))
}

func sections(t *testing.T, out string) (names []string, lines map[string][]string) {
	lines = map[string][]string{}
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutPrefix(line, "== "); ok {
			require.NotContains(t, names, name)
			names = append(names, name)
		} else if len(names) > 0 {
			lines[names[len(names)-1]] = append(lines[names[len(names)-1]], line)
		}
	}
	return names, lines
}
