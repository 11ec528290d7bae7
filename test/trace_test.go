package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	"github.com/pintaildb/pintail/internal/oteltest"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// traceOf makes the trace context of a client: W3C's traceparent, and the trace's id in it.
func traceOf(n int) (parent, id string) {
	id = fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e%04d", n)
	return "00-" + id + "-00f067aa0ba902b7-01", id
}

// A statement through each door continues its client's trace, a run of a dataset is one, and their ids are in the logs.
func TestTracesOfDoorsAndRuns(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	harness.PG(t, url, doorsSQL)
	at := oteltest.New(t)
	p := harness.New(t)
	p.Env = append(p.Env, "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test", "OTEL_EXPORTER_OTLP_ENDPOINT=", "OTEL_SDK_DISABLED=", "OTEL_TRACES_SAMPLER=")
	p.DuckDB = "sync_mode: manual"
	head, d := p.OpenDoors(url)
	head = strings.Replace(head, "server: {", fmt.Sprintf("server: {tracing: {endpoint: %q, headers: {x-key: secret}}, query_log: {path: queries.jsonl}, slow_query: 1ns, ", at.URL), 1)
	p.Write(head + doorsDatasets + doorsUsers)
	d.Enter(p.Serve(), tokenOf("root"))

	run := d.Sync("orders")
	root, steps := at.Wait(t, "the sync", func(s oteltest.Span) bool { return s.Attributes["pintail.run"] == run.ID })
	require.Equal(t, "full orders", root.Name)
	require.Equal(t, "pintail", root.Resource["service.name"])
	require.Equal(t, "test", root.Resource["deployment.environment.name"])
	require.Equal(t, "secret", at.Header("X-Key"))
	require.Equal(t, "5000", root.Attributes["pintail.rows_written"])
	require.False(t, root.Failed)
	require.Subset(t, slices.Collect(mapKeys(steps)), []string{"snapshot", "plan", "load orders", "check", "commit"})
	require.Equal(t, "5000", steps["load orders"].Attributes["pintail.rows"])
	require.Contains(t, d.Log(), `"trace_id":"`+root.Trace+`"`)

	const sql = "SELECT id, 'literal' AS l FROM orders WHERE amount > 4990"
	doors := map[string]func(parent string){
		"http": func(parent string) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+"/v0/sql", strings.NewReader(`{"sql": `+quoteJSON(sql)+`}`))
			require.NoError(t, err)
			for k, v := range map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + tokenOf("all"), "Traceparent": parent} {
				req.Header.Set(k, v)
			}
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			res.Body.Close()
			require.Equal(t, 200, res.StatusCode)
		},
		"pgwire": func(parent string) {
			rows, err := d.PG(t, tokenOf("all")).Query(t.Context(), sql+" /*db_driver='pgx',traceparent='"+parent+"'*/")
			require.NoError(t, err)
			for rows.Next() {
			}
			require.NoError(t, rows.Err())
		},
		"flight": func(parent string) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent)
			stream, err := d.FlightClient(t, tokenOf("all")).Client.DoGet(ctx, &flight.Ticket{Ticket: []byte(sql)})
			require.NoError(t, err)
			r, err := flight.NewRecordReader(stream)
			require.NoError(t, err)
			defer r.Release()
			for r.Next() {
			}
			require.NoError(t, r.Err())
		},
	}
	n := 0
	for _, door := range slices.Sorted(mapKeys(doors)) {
		n++
		parent, id := traceOf(n)
		doors[door](parent)
		root, stages := at.Wait(t, door, func(s oteltest.Span) bool { return s.Trace == id && s.Name == "SELECT orders" })
		require.Equal(t, "00f067aa0ba902b7", root.Parent, door)
		require.Equal(t, "SERVER", root.Kind)
		for name, want := range map[string]string{"pintail.door": door, "user.name": "all", "pintail.role": "all", "db.system.name": "duckdb", "db.operation.name": "SELECT", "db.response.returned_rows": "10",
			"pintail.datasets": "[orders]", "client.address": "127.0.0.1"} {
			require.Equal(t, want, root.Attributes[name], "%s: %s", door, name)
		}
		require.Contains(t, root.Attributes["db.query.text"], "SELECT id, ? AS l FROM orders WHERE amount > ?")
		require.Subset(t, slices.Collect(mapKeys(stages)), []string{"wait for a slot", "gate", "execute", "stream"}, door)
		require.Equal(t, []string{"queued", "started", "first rows"}, root.Events, door)
		require.NotEqual(t, "0", root.Attributes["pintail.bytes"], door)
		// The same in both logs.
		require.Contains(t, logLine(t, d.Stderr(), "slow query", id), `"door":"`+door+`"`)
		b, err := os.ReadFile(filepath.Join(p.Dir, "queries.jsonl"))
		require.NoError(t, err)
		require.Contains(t, logLine(t, string(b), "end", id), `"datasets":["orders"]`)
	}
	for _, s := range at.Spans() {
		require.NotContains(t, fmt.Sprint(s.Attributes), "literal")
	}

	require.Equal(t, 0, d.Stop().Code, "what is queued is sent before the end")
}

// logLine is the line with that message of that trace.
func logLine(t *testing.T, log, msg, trace string) string {
	t.Helper()
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"msg":"`+msg+`"`) && strings.Contains(line, `"trace_id":"`+trace+`"`) {
			return line
		}
	}
	t.Fatalf("no line %q of trace %s in\n%s", msg, trace, log)
	return ""
}

func mapKeys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func quoteJSON(s string) string {
	b, _ := json.Marshal(s) // a string always can be
	return string(b)
}

// With a collector that is gone statements run as ever, and the server stops in time.
func TestDeadCollectorLosesNoStatement(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	harness.PG(t, url, doorsSQL)
	p := harness.New(t)
	p.DuckDB = "sync_mode: manual"
	head, d := p.OpenDoors(url)
	head = strings.Replace(head, "server: {", fmt.Sprintf("server: {tracing: {endpoint: %q}, ", "http://"+harness.FreePort(t)), 1)
	p.Write(head + doorsDatasets + doorsUsers)
	d.Enter(p.Serve(), tokenOf("root"))
	d.Sync("orders")
	for range 300 {
		require.True(t, d.HTTP(t, tokenOf("all"), "SELECT count(*) FROM orders").OK())
	}
	r := d.Stop()
	require.Equal(t, 0, r.Code, r)
}

// The list of statements, and the end of one, from the command line.
func TestQueriesCommand(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	p, d := doors(t, url)
	root := d.As(t, tokenOf("root"))
	require.Contains(t, root.OK("queries"), "statement")
	conn := d.PG(t, tokenOf("all"))
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "SELECT count(*)\n  FROM range(1000000000000) a, orders")
		ended <- err
	}()
	var list struct {
		Queries []struct{ ID, User, Door, State, SQL string }
	}
	require.Eventually(t, func() bool {
		require.NoError(t, json.Unmarshal([]byte(root.OK("queries", "--json")), &list))
		return len(list.Queries) == 1 && list.Queries[0].State == "running"
	}, harness.CommandTimeout, 10*time.Millisecond)
	q := list.Queries[0]
	require.Equal(t, []string{"all", "pgwire"}, []string{q.User, q.Door})
	shown := root.OK("queries")
	require.Contains(t, shown, "SELECT count(*) FROM range(1000000000000) a, orders")
	require.Contains(t, shown, q.ID)
	other := d.As(t, tokenOf("table"))
	require.NotContains(t, other.OK("queries"), q.ID)
	require.Equal(t, 1, other.Run("queries", "kill", q.ID).Code)
	require.Contains(t, root.OK("queries", "kill", q.ID), "being ended")
	require.ErrorContains(t, <-ended, "killed by root")
	require.Equal(t, 2, p.Run("queries", "kill").Code)
}

// The copies of a replica are traces as the runs of other datasets are, its batches are none, and a run that fails says with which code.
func TestTracesOfReplicasAndFailures(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	harness.PG(t, url, doorsSQL)
	at := oteltest.New(t)
	p := harness.New(t)
	p.Env = append(p.Env, "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_EXPORTER_OTLP_ENDPOINT="+at.GRPC, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_SDK_DISABLED=", "OTEL_TRACES_SAMPLER=", "OTEL_SERVICE_NAME=copy-of-shop")
	p.Write(p.Head(url) + "datasets:\n  shop: {source: pg, mode: cdc, tables: [public.orders, public.partners], batch: {time: 50ms}}\n  broken: {source: pg, table: public.messages, key: [partner_id]}\n")
	s := p.Serve()
	s.Await(harness.Replica{URL: url, Dataset: "shop", Except: []string{"messages"}})
	root, steps := at.Wait(t, "the first copy", func(s oteltest.Span) bool { return s.Name == "full shop" })
	require.Equal(t, "copy-of-shop", root.Resource["service.name"])
	require.Subset(t, slices.Collect(mapKeys(steps)), []string{"load shop.orders", "load shop.partners"})
	require.Equal(t, "5000", steps["load shop.orders"].Attributes["pintail.rows"])

	harness.PG(t, url, "UPDATE orders SET amount = amount + 1 WHERE id <= 10")
	s.Await(harness.Replica{URL: url, Dataset: "shop", Except: []string{"messages"}})
	run := s.SyncFails("broken", "duplicate_key")
	failed, steps := at.Wait(t, "the run that fails", func(s oteltest.Span) bool { return s.Attributes["pintail.run"] == run.ID })
	require.True(t, failed.Failed)
	require.Equal(t, "duplicate_key", failed.Status, "not its message, which has values")
	require.True(t, steps["check"].Failed)
	require.False(t, steps["load broken"].Failed)
	for _, span := range at.Spans() {
		require.NotContains(t, span.Name, "batch")
	}
	require.Equal(t, 0, s.Stop().Code)
}
