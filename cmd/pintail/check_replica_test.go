package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// replicaServer is a server without a cause for warnings, with tables to follow and two that cannot be.
func replicaServer(t *testing.T) (url string) {
	t.Helper()
	s := pgtest.StartT(t, pgtest.Options{Major: pgtest.Newest, Settings: map[string]string{"max_slot_wal_keep_size": "10GB"}})
	url = s.DB(t)
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	if _, err := c.Exec(t.Context(), `CREATE TABLE orders (id bigint PRIMARY KEY, status text, amount numeric(10,2)); CREATE TABLE events (body text); ALTER TABLE events REPLICA IDENTITY FULL;
		CREATE TABLE sums (id int PRIMARY KEY, n numeric); CREATE TABLE audit_log (line text); CREATE SCHEMA old; CREATE TABLE old.orders (id int PRIMARY KEY);
		INSERT INTO orders SELECT i, 'new', i FROM generate_series(1, 1500) i; ANALYZE orders`); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "SELECT pg_create_logical_replication_slot('pintail_shop_0123abcd', 'pgoutput')"); err != nil {
		t.Fatal(err)
	}
	return url
}

// checkCommand runs check on a configuration with this dataset.
func checkCommand(t *testing.T, url, dataset string, args ...string) (cfg *config.Config, found []tableCheck, out string, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pintail.yaml")
	text := fmt.Sprintf("sources: {pg: {url: %q}}\nduckdb: {path: %q}\ndatasets:\n%s", url, filepath.Join(t.TempDir(), "x.duckdb"), dataset)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, _, err = config.Load(path, os.LookupEnv); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	a := &app{configPath: path, out: &b, errOut: &b, logFormat: "text"}
	c := a.checkCmd()
	c.SetArgs(append([]string{"--json"}, args...))
	c.SilenceErrors, c.SilenceUsage = true, true
	err = c.ExecuteContext(t.Context())
	if e := json.Unmarshal(b.Bytes(), &found); e != nil {
		t.Fatalf("%v\n%s\n%v", e, b.String(), err)
	}
	b.Reset()
	c = a.checkCmd()
	c.SetArgs(args)
	c.SilenceErrors, c.SilenceUsage = true, true
	if again := c.ExecuteContext(t.Context()); fmt.Sprint(again) != fmt.Sprint(err) {
		t.Errorf("with --json %v, without %v", err, again)
	}
	return cfg, found, b.String(), err
}

func holds(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in:\n%s", p, text)
		}
	}
}

func TestCheckReplica(t *testing.T) {
	url := replicaServer(t)
	const good = "  shop: {source: pg, mode: cdc, tables: [public.*, \"!public.audit_*\"], table_options: {public.orders: {columns: [id, status]}}}\n"
	_, found, out, err := checkCommand(t, url, good)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	holds(t, out, "shop (mode: cdc, 3 tables)", "nobody follows slot pintail_shop_0123abcd now", "    hint: start pintail serve",
		"● public.events → shop.events (table, about ", "  key: every column (no key); replica identity full", "● public.orders → shop.orders (table, about 1,500 rows)",
		"  key: id; replica identity default", "status", "VARCHAR", "  warning: numeric without precision becomes VARCHAR")
	if strings.Contains(out, "amount") || strings.Contains(out, "audit") {
		t.Errorf("a column or table that was left out:\n%s", out)
	}
	if len(found) != 4 || !found[0].Replica || found[0].Table != "" || len(found[0].Warnings) != 1 || found[0].Warnings[0].Code != "slot_idle" {
		t.Fatalf("%+v", found)
	}
	orders := found[2]
	if orders.SourceTable != "public.orders" || orders.Table != "shop.orders" || orders.Identity != "default" || fmt.Sprint(orders.Key) != "[id]" || orders.Report.Rows != 1500 ||
		fmt.Sprint(orders.Report.Columns) != "[{id bigint BIGINT true} {status text VARCHAR false}]" || len(orders.Problems) != 0 {
		t.Errorf("%+v", orders)
	}
	if w := found[3].Warnings; len(w) != 1 || w[0].Code != "numeric" || w[0].Hint == "" {
		t.Errorf("%+v", found[3])
	}
	_, _, out, _ = checkCommand(t, url, good, "--brief")
	holds(t, out, "every column (no key)", "│ public.orders", "│ shop.orders", "1,500", "  warning: public.sums: numeric without precision")
	if strings.Contains(out, "DuckDB ") || strings.Contains(out, "BIGINT") {
		t.Errorf("columns:\n%s", out)
	}

	_, _, out, err = checkCommand(t, url, strings.Replace(good, "{public.orders:", "{public.events: {deletes: soft}, public.orders:", 1))
	if fault.CodeOf(err) != fault.Differences {
		t.Errorf("%v", err)
	}
	holds(t, out, "✗ public.events", "deletes: soft needs one", "{deletes: hard}")

	// Problems have the exit code of differences, and stand with their table.
	_, found, out, err = checkCommand(t, url, "  shop: {source: pg, mode: cdc, tables: [\"*.*\"]}\n", "shop")
	if fault.CodeOf(err) != fault.Differences {
		t.Errorf("%v", err)
	}
	holds(t, out, "✗ shop (mode: cdc, 5 tables)", "✗ public.audit_log", "  problem: it has no primary key", `or leave it out: "!public.audit_log"`,
		"it would become shop.orders, as old.orders does", `into: "{dataset}_{schema}.{table}"`)
	var problems []string
	for _, f := range found {
		for _, p := range f.Problems {
			if f.Table != "" {
				problems = append(problems, p.Code+" "+f.SourceTable)
			}
		}
	}
	if fmt.Sprint(problems) != "[identity public.audit_log config public.orders]" {
		t.Errorf("%v", problems)
	}

	// A table of another dataset has the name.
	_, _, out, err = checkCommand(t, url, "  shop: {source: pg, mode: cdc, tables: [public.orders], into: \"{table}\"}\n  orders: {source: pg, table: public.orders}\n")
	if fault.CodeOf(err) != fault.Differences {
		t.Errorf("%v", err)
	}
	holds(t, out, "it would become orders, as a table of dataset orders does", "● orders (table, about 1,500 rows)")
}

// With many tables each has a line.
func TestCheckReplicaOfManyTables(t *testing.T) {
	s := pgtest.Get(t, pgtest.Newest)
	url := s.DB(t)
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	if _, err := c.Exec(t.Context(), "DO $$ BEGIN FOR i IN 1..230 LOOP EXECUTE 'CREATE TABLE t' || i || ' (id int PRIMARY KEY)'; END LOOP; END $$"); err != nil {
		t.Fatal(err)
	}
	_, found, out, _ := checkCommand(t, url, "  shop: {source: pg, mode: cdc, tables: [public.*]}\n")
	if len(found) != 231 {
		t.Errorf("%d", len(found))
	}
	holds(t, out, "shop (mode: cdc, 230 tables)", "│ public.t230 │ id ")
	if strings.Contains(out, "INTEGER") {
		t.Errorf("columns:\n%s", out)
	}
}

// A slot belongs to a dataset by its name.
func TestSlotOf(t *testing.T) {
	for slot, want := range map[string]bool{"pintail_my_shop_0123abcd": true, "pintail_my_shop_0123abcde": false, "pintail_my_shop_2_0123abcd": false, "pintail_my_shop": false, "my_shop_0123abcd": false} {
		if got := slotOf("My-Shop").MatchString(slot); got != want {
			t.Errorf("%s: %v", slot, got)
		}
	}
	if long := strings.Repeat("x", 60); !slotOf(long).MatchString("pintail_" + long[:36] + "_00000000") {
		t.Error("a long name")
	}
}

var _ replicaChecker = (*postgres.Source)(nil)
