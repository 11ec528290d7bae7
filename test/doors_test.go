package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

const doorsSQL = `CREATE TABLE orders (id int PRIMARY KEY, amount numeric(10,2) NOT NULL); INSERT INTO orders SELECT g, g FROM generate_series(1, 5000) g;
	CREATE TABLE partners (id int PRIMARY KEY, name text); INSERT INTO partners VALUES (1, 'Bergen'), (2, 'Oslo');
	CREATE TABLE messages (id int PRIMARY KEY, partner_id int, error text); INSERT INTO messages VALUES (1, 1, 'full'), (2, 1, 'late'), (3, 2, 'lost')`

const doorsDatasets = `datasets:
  orders: {source: pg, table: public.orders, key: [id]}
  errors:
    source: pg
    queries:
      failed: {sql: "SELECT id, partner_id, error FROM messages", key: [id]}
      partners: {sql: "SELECT id, name FROM partners", key: [id]}
    view: SELECT f.*, p.name FROM errors_failed f JOIN errors_partners p ON p.id = f.partner_id
`

// Each user's role has the user's name.
const doorsUsers = `users:
  root: {token: token-of-root-for-every-door, role: admin}
  all: {token: token-of-all-for-every-door, role: all}
  table: {token: token-of-table-for-every-door, role: table}
  dataset: {token: token-of-dataset-for-every-door, role: dataset}
  loader: {token: token-of-loader-for-every-door, role: loader}
  none: {token: token-of-none-for-every-door, role: none}
roles:
  all: {read: ["*"]}
  table: {read: ["errors.failed"]}
  dataset: {read: ["errors.*"]}
  loader: {write: ["events.*", "orders.*"]}
  none: {}
`

func tokenOf(user string) string { return "token-of-" + user + "-for-every-door" }

// doors is a server with every door open, its datasets synced, and a table that a client made: events.clicks.
func doors(t *testing.T, url string) (*harness.Project, *harness.Doors) {
	t.Helper()
	harness.PG(t, url, doorsSQL)
	p := harness.New(t)
	p.DuckDB = "sync_mode: manual"
	head, d := p.OpenDoors(url)
	p.Write(head + doorsDatasets + doorsUsers)
	d.Enter(p.Serve(), tokenOf("root"))
	d.Sync("orders")
	d.Sync("errors")
	require.Empty(t, put(t, d, "root", "events", "clicks"))
	return p, d
}

// What each role may do. A right that is not listed is refused, at every door.
var matrix = []struct {
	user   string
	reads  []string // of matrixTables
	shown  []string // of matrixTables, in lists of tables
	writes []string // of matrixTargets
	syncs  []string
	admin  bool
}{
	{user: "root", reads: matrixTables, shown: matrixTables, writes: []string{"events.fresh", "other.fresh"}, syncs: []string{"orders", "errors"}, admin: true},
	{user: "all", reads: matrixTables, shown: matrixTables},
	{user: "table", reads: []string{"errors_failed"}, shown: []string{"errors_failed"}},
	{user: "dataset", reads: []string{"errors_failed", "errors_partners", "errors"}, shown: []string{"errors_failed", "errors_partners", "errors"}},
	{user: "loader", writes: []string{"events.fresh"}, syncs: []string{"orders"}},
	{user: "none"},
}

var (
	matrixTables  = []string{"orders", "errors_failed", "errors_partners", "errors", "events.clicks"}
	matrixTargets = []string{"events.fresh", "other.fresh", "main.orders", "main.errors_failed"}
)

// Who may do what is the same at every door.
func TestDoorsAgreeOnRights(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		p, d := doors(t, url)
		const missing = "no_such_table"
		var statements []string
		for _, table := range append(slices.Clone(matrixTables), missing) {
			statements = append(statements, "SELECT count(*) FROM "+table)
		}
		d.Publish(t, statements...)
		want := map[string]string{}
		for _, table := range matrixTables {
			want[table] = d.One("SELECT count(*) FROM " + table)
		}

		// The catalog of PostgreSQL clients is up to a second behind.
		harness.Eventually(t, 10*time.Second, "the catalog has the tables", func() bool {
			return len(d.Simple(t, tokenOf("root"), "SELECT 1 FROM pg_class WHERE relname IN ('orders', 'clicks')").Rows) == 2
		})

		for _, who := range matrix {
			token := tokenOf(who.user)
			t.Run(who.user+" reads", func(t *testing.T) {
				for _, door := range d.Read() {
					absent := door.Ask(t, token, "SELECT count(*) FROM "+missing)
					require.False(t, absent.OK(), door.Name)
					for _, table := range matrixTables {
						got := door.Ask(t, token, "SELECT count(*) FROM "+table)
						if slices.Contains(who.reads, table) {
							if !got.OK() || len(got.Rows) != 1 || got.Rows[0][0] != want[table] {
								t.Errorf("%s: %s cannot read %s: %s", door.Name, who.user, table, got)
							}
							continue
						}
						switch {
						case got.OK():
							t.Errorf("%s: %s reads %s, which is not granted", door.Name, who.user, table)
						case len(got.Rows) > 0:
							t.Errorf("%s: %s got rows of %s before the refusal: %v", door.Name, who.user, table, got.Rows)
						case got.Code != absent.Code || got.State != absent.State || nameless(got.Message, table, statements[slices.Index(matrixTables, table)]) != nameless(absent.Message, missing, statements[len(statements)-1]):
							t.Errorf("%s: what is not granted differs from what does not exist:\n%s\n%s", door.Name, got, absent)
						case got.Code != "forbidden" && door.Name != "command":
							t.Errorf("%s: %s", door.Name, got)
						}
					}
				}
			})
			t.Run(who.user+" lists", func(t *testing.T) {
				for name, list := range lists(d) {
					got := list(t, who.user)
					if who.admin {
						// An administrator is shown all there is, our own tables included.
						require.Subset(t, got, who.shown, name)
						continue
					}
					require.ElementsMatch(t, who.shown, got, "%s, %s", name, who.user)
				}
				lists := d.HTTP(t, token, "SELECT table_name FROM information_schema.tables")
				require.Equal(t, who.admin, lists.OK(), lists)
			})
			t.Run(who.user+" writes", func(t *testing.T) {
				for _, target := range matrixTargets {
					schema, table, _ := strings.Cut(target, ".")
					for name, write := range writers {
						at := table
						if table == "fresh" {
							at = table + "_" + who.user + "_" + regexp.MustCompile(`\W`).ReplaceAllString(name, "_")
						}
						code := write(t, d, who.user, schema, at)
						allowed := slices.Contains(who.writes, target)
						if allowed != (code == "") || !allowed && code != "forbidden" {
							t.Errorf("%s: %s writes %s.%s: %q", name, who.user, schema, at, code)
						}
						if code == "" && !strings.HasPrefix(name, "DROP TABLE") { // what the next users are shown is what there was
							require.Empty(t, d.Action(t, tokenOf("root"), fmt.Sprintf("DROP TABLE %s.%s", schema, at)).Code)
						}
					}
					for name, sql := range map[string]string{"INSERT": "INSERT INTO %s VALUES (1)", "CREATE TABLE AS": "CREATE TABLE %s AS SELECT 1", "DELETE": "DELETE FROM %s", "DROP VIEW": "DROP VIEW %s"} {
						for _, door := range d.Read() {
							if door.Name == "endpoint" || door.Name == "command" {
								continue // of which the escapes have some
							}
							if got := door.Ask(t, token, fmt.Sprintf(sql, target)); got.OK() || got.Code == "internal" {
								t.Errorf("%s: %s of %s by %s: %s", door.Name, name, target, who.user, got)
							}
						}
					}
				}
			})
			t.Run(who.user+" syncs and reloads", func(t *testing.T) {
				s := d.By(t, token)
				for _, dataset := range []string{"orders", "errors", missing} {
					status, body := s.Do(http.MethodPost, "/api/store/sync/"+dataset, nil)
					allowed := slices.Contains(who.syncs, dataset)
					switch {
					case allowed:
						require.Equal(t, http.StatusAccepted, status, "%s syncs %s: %s", who.user, dataset, body)
						require.Equal(t, "ready", d.By(t, tokenOf("root")).Follow(runOf(t, body)).State)
					case who.admin:
						require.Equal(t, http.StatusNotFound, status, "%s", body)
					default:
						require.Equal(t, http.StatusForbidden, status, "%s syncs %s: %s", who.user, dataset, body)
					}
					r := d.As(t, token).Run("sync", dataset)
					require.Equal(t, allowed, r.Code == 0, r)
				}
				for _, path := range []string{"/api/store/sync/errors/reset-watermark", "/api/store/verify/errors", "/api/store/reconcile/errors", "/api/store/datasets/errors/pause", "/api/store/datasets/errors/resume"} {
					status, body := s.Do(http.MethodPost, path, nil)
					if (status < 300) != slices.Contains(who.syncs, "errors") || status >= 300 && status != http.StatusForbidden {
						t.Errorf("%s: POST %s: %d %s", who.user, path, status, body)
					}
					if status == http.StatusAccepted {
						d.By(t, tokenOf("root")).Follow(runOf(t, body))
					}
				}
				for _, do := range [][2]string{{http.MethodPost, "/api/store/reload"}, {http.MethodGet, "/api/store/slots"}, {http.MethodDelete, "/api/store/slots/none"}} {
					status, body := s.Do(do[0], do[1], nil)
					require.Equal(t, who.admin, status != http.StatusForbidden, "%s: %v: %d %s", who.user, do, status, body)
				}
				require.Equal(t, who.admin, d.As(t, token).Run("reload").Code == 0)
			})
			t.Run(who.user+" and statements of others", func(t *testing.T) { othersStatements(t, d, who.user, who.admin) })
		}
		harness.Compare(t, url, "SELECT * FROM orders", d, "orders", "id")
		harness.Compare(t, url, "SELECT id, partner_id, error FROM messages", d, "errors_failed", "id")
		require.Empty(t, d.Stdout())
		_ = p
	})
}

// runOf is the run that was started.
func runOf(t testing.TB, body []byte) string {
	t.Helper()
	var started struct {
		RunID string `json:"run_id"`
	}
	decode(t, string(body), &started)
	require.NotEmpty(t, started.RunID, "%s", body)
	return started.RunID
}

// nameless is a message without what names the table or its endpoint.
func nameless(message, table, statement string) string {
	message = strings.ReplaceAll(message, harness.EndpointName(statement), "ENDPOINT")
	if schema, name, ok := strings.Cut(table, "."); ok {
		// The hint of a command tells how a name with a schema is granted.
		message = strings.NewReplacer(table, "TABLE", schema+".*", "", name, "TABLE").Replace(message)
	}
	message, _, _ = strings.Cut(message, "\n")
	return strings.ReplaceAll(message, table, "TABLE")
}

// lists are the ways to see which tables there are: those of the datasets and of clients, by the names of matrixTables.
func lists(d *harness.Doors) map[string]func(t *testing.T, user string) []string {
	named := func(schema, name string) string {
		if schema == "main" || schema == "public" || schema == "" {
			return name
		}
		return schema + "." + name
	}
	sql := func(ask func(testing.TB, string, string) harness.Answer, text string) func(t *testing.T, user string) []string {
		return func(t *testing.T, user string) (out []string) {
			a := ask(t, tokenOf(user), text)
			require.True(t, a.OK(), "%s: %s", text, a)
			for _, row := range a.Rows {
				out = append(out, named(row[0], row[1]))
			}
			return out
		}
	}
	const information = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
	const catalog = `SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')`
	const tables = `SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
		UNION ALL SELECT schemaname, viewname FROM pg_views WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`
	const columns = "SELECT DISTINCT table_schema, table_name FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
	const attributes = `SELECT DISTINCT n.nspname, c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND c.relkind IN ('r', 'v')`
	return map[string]func(t *testing.T, user string) []string{
		"information_schema.tables":  sql(d.Simple, information),
		"information_schema.columns": sql(d.Extended, columns),
		"pg_class":                   sql(d.Extended, catalog),
		"pg_tables by COPY":          sql(d.Copy, tables),
		"pg_attribute":               sql(d.Simple, attributes),
		"GetTables": func(t *testing.T, user string) (out []string) {
			ctx := t.Context()
			c := d.FlightClient(t, tokenOf(user))
			info, err := c.GetTables(ctx, &flightsql.GetTablesOpts{})
			require.NoError(t, err)
			r, err := c.DoGet(ctx, info.Endpoint[0].Ticket)
			require.NoError(t, err)
			a := harness.Records(r, nil)
			require.True(t, a.OK(), a)
			for _, row := range a.Rows {
				out = append(out, named(row[1], row[2]))
			}
			return out
		},
		"ListFlights": func(t *testing.T, user string) (out []string) {
			stream, err := d.FlightClient(t, tokenOf(user)).Client.ListFlights(t.Context(), &flight.Criteria{})
			require.NoError(t, err)
			for {
				info, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					return out
				}
				require.NoError(t, err)
				out = append(out, strings.Join(info.GetFlightDescriptor().GetPath(), "."))
			}
		},
		"endpoints": func(t *testing.T, user string) (out []string) {
			var doc struct{ Paths map[string]any }
			d.By(t, tokenOf(user)).JSON(http.StatusOK, http.MethodGet, "/v0/endpoints/openapi.json", nil, &doc)
			paths := slices.Collect(maps.Keys(doc.Paths))
			for _, table := range matrixTables {
				name := harness.EndpointName("SELECT count(*) FROM " + table)
				if slices.ContainsFunc(paths, func(p string) bool { return strings.Contains(p, name) }) {
					out = append(out, table)
				}
			}
			return out
		},
		// Of a role of one table it shows the dataset, with what the role may read of it.
		"status": func(t *testing.T, user string) (out []string) {
			visible := map[string][]string{"root": {"orders", "errors"}, "all": {"orders", "errors"}, "table": {"errors"}, "dataset": {"errors"}, "loader": {"orders"}}[user]
			for _, s := range d.By(t, tokenOf(user)).Statuses() {
				require.Contains(t, visible, s.Dataset, "%s sees the status of %s", user, s.Dataset)
			}
			for _, who := range matrix {
				if who.user == user {
					return who.shown
				}
			}
			return nil
		},
	}
}

// writers are the ways in for rows: each makes the table anew and says with which code that was refused.
var writers = map[string]func(t testing.TB, d *harness.Doors, user, schema, table string) string{
	"DoPut": put,
	"bulk ingest": func(t testing.TB, d *harness.Doors, user, schema, table string) string {
		r := rowsToPut(t)
		defer r.Release()
		_, err := d.FlightClient(t, tokenOf(user)).ExecuteIngest(t.Context(), r, &flightsql.ExecuteIngestOpts{Table: table, Schema: &schema,
			TableDefinitionOptions: &flightsql.TableDefinitionOptions{IfNotExist: flightsql.TableDefinitionOptionsTableNotExistOptionCreate, IfExists: flightsql.TableDefinitionOptionsTableExistsOptionReplace}})
		return harness.FlightAnswer(err).Code
	},
	"CREATE TABLE": func(t testing.TB, d *harness.Doors, user, schema, table string) string {
		return d.Action(t, tokenOf(user), fmt.Sprintf("CREATE OR REPLACE TABLE %s.%s (id BIGINT)", schema, table)).Code
	},
	"CREATE TABLE as an update": func(t testing.TB, d *harness.Doors, user, schema, table string) string {
		_, err := d.FlightClient(t, tokenOf(user)).ExecuteUpdate(t.Context(), fmt.Sprintf("CREATE OR REPLACE TABLE %s.%s (id BIGINT)", schema, table))
		return harness.FlightAnswer(err).Code
	},
	"CREATE TABLE of PostgreSQL": func(t testing.TB, d *harness.Doors, user, schema, table string) string {
		return d.Extended(t, tokenOf(user), fmt.Sprintf("CREATE TABLE %s.%s (id bigint)", schema, table)).Code
	},
	"COPY FROM": func(t testing.TB, d *harness.Doors, user, schema, table string) string {
		made(t, d, user, schema, table)
		_, err := d.PG(t, tokenOf(user)).PgConn().CopyFrom(t.Context(), strings.NewReader("1\n2\n"), fmt.Sprintf("COPY %s.%s FROM STDIN", schema, table))
		return harness.PGAnswer(err).Code
	},
	"INSERT of PostgreSQL": func(t testing.TB, d *harness.Doors, user, schema, table string) string {
		made(t, d, user, schema, table)
		return d.Simple(t, tokenOf(user), fmt.Sprintf("INSERT INTO %s.%s VALUES (1), (2)", schema, table)).Code
	},
	"DROP TABLE of PostgreSQL": func(t testing.TB, d *harness.Doors, user, schema, table string) string {
		made(t, d, user, schema, table)
		return d.Simple(t, tokenOf(user), fmt.Sprintf("DROP TABLE %s.%s", schema, table)).Code
	},
	"DROP TABLE": func(t testing.TB, d *harness.Doors, user, schema, table string) string {
		made(t, d, user, schema, table)
		return d.Action(t, tokenOf(user), fmt.Sprintf("DROP TABLE %s.%s", schema, table)).Code
	},
}

// made is a table for what needs one, where the user may make it.
func made(t testing.TB, d *harness.Doors, user, schema, table string) {
	t.Helper()
	if user == "root" || user == "loader" {
		put(t, d, user, schema, table)
	}
}

func rowsToPut(t testing.TB) array.RecordReader {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 2, 3}, nil)
	rec := b.NewRecordBatch()
	defer rec.Release()
	r, err := array.NewRecordReader(schema, []arrow.RecordBatch{rec})
	require.NoError(t, err)
	return r
}

// put is a DoPut to a path, in the mode that a path has by itself.
func put(t testing.TB, d *harness.Doors, user, schema, table string) string {
	t.Helper()
	r := rowsToPut(t)
	defer r.Release()
	stream, err := d.FlightClient(t, tokenOf(user)).Client.DoPut(t.Context())
	require.NoError(t, err)
	w := flight.NewRecordWriter(stream, ipc.WithSchema(r.Schema()))
	w.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{schema, table}})
	for r.Next() {
		if w.Write(r.RecordBatch()) != nil {
			break // why is what Recv says
		}
	}
	_ = w.Close()
	_ = stream.CloseSend()
	for {
		if _, err = stream.Recv(); err != nil {
			break
		}
	}
	if errors.Is(err, io.EOF) {
		return ""
	}
	return harness.FlightAnswer(err).Code
}

const forever = "SELECT count(*) FROM orders a, orders b, orders c WHERE a.id * b.id % 7 = c.id % 5"

// othersStatements has a statement of another user run, and tries to see and to end it.
func othersStatements(t *testing.T, d *harness.Doors, user string, admin bool) {
	owner := "all"
	if user == owner {
		owner = "root"
	}
	root, s := d.By(t, tokenOf("root")), d.By(t, tokenOf(user))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	victim := d.FlightClient(t, tokenOf(owner))
	info, err := victim.Execute(ctx, forever)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		r, err := victim.DoGet(ctx, info.Endpoint[0].Ticket)
		if err == nil {
			err = harnessError(harness.Records(r, nil))
		}
		ended <- err
	}()
	id := ""
	harness.Eventually(t, 20*time.Second, "the statement runs", func() bool {
		for _, q := range queries(root) {
			if q.User == owner && q.State == "running" && strings.Contains(q.SQL, "a.id * b.id") {
				id = q.ID
			}
		}
		return id != ""
	})

	seen := slices.ContainsFunc(queries(s), func(q runningQuery) bool { return q.ID == id })
	require.Equal(t, admin, seen, "%s sees the statement of %s", user, owner)

	// Flight: a handle is its owner's, whoever may do what else.
	res, err := d.FlightClient(t, tokenOf(user)).CancelFlightInfo(t.Context(), &flight.CancelFlightInfoRequest{Info: info})
	require.Error(t, err, "%v", res)
	require.Equal(t, "not_found", harness.FlightAnswer(err).Code)
	_, err = d.FlightClient(t, tokenOf(user)).DoGet(t.Context(), info.Endpoint[0].Ticket)
	require.Error(t, err)

	// PostgreSQL's way: pids are those of everybody to an administrator, and one's own to others.
	list := "SELECT pid FROM pg_stat_activity WHERE query LIKE '%a.id * b.id %' AND pid <> pg_backend_pid()"
	pids := d.Simple(t, tokenOf("root"), list)
	require.Len(t, pids.Rows, 1, pids)
	require.Len(t, d.Extended(t, tokenOf(user), list).Rows, map[bool]int{true: 1}[admin])
	if !admin {
		for _, end := range []string{"pg_cancel_backend", "pg_terminate_backend"} {
			got := d.Simple(t, tokenOf(user), "SELECT "+end+"("+pids.Rows[0][0]+")")
			nobody := d.Simple(t, tokenOf(user), "SELECT "+end+"(2147483647)")
			require.Equal(t, nobody.State, got.State, "%s, %s", got, nobody)
			require.Equal(t, nobody.Rows, got.Rows, "%s, %s", got, nobody)
		}
	}

	status, body := s.Do(http.MethodDelete, "/v0/queries/"+id, nil)
	missing, none := s.Do(http.MethodDelete, "/v0/queries/"+strings.Repeat("0", len(id)), nil)
	require.Equal(t, http.StatusNotFound, missing, "%s", none)
	if admin {
		require.Equal(t, http.StatusOK, status, "%s", body)
		require.Error(t, <-ended)
		return
	}
	require.Equal(t, http.StatusNotFound, status, "%s", body)
	require.Equal(t, strings.ReplaceAll(string(body), id, ""), strings.ReplaceAll(string(none), strings.Repeat("0", len(id)), ""), "%s learns that the statement exists", user)
	require.True(t, slices.ContainsFunc(queries(root), func(q runningQuery) bool { return q.ID == id }), "%s has ended it", user)
	cancel()
	<-ended
	harness.Eventually(t, 20*time.Second, "it has ended", func() bool { return len(queries(root)) == 0 })
}

type runningQuery struct{ ID, User, SQL, State string }

func queries(s *harness.Server) []runningQuery {
	var all struct{ Queries []runningQuery }
	s.JSON(http.StatusOK, http.MethodGet, "/v0/queries", nil, &all)
	return all.Queries
}

func harnessError(a harness.Answer) error {
	if a.OK() {
		return nil
	}
	return errors.New(a.String())
}
