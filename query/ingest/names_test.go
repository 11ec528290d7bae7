package ingest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Who may write what, in every spelling.
func TestOwnership(t *testing.T) {
	ctx := context.Background()
	k := newKit(t, store.Options{}, access.Limits{})
	require.NoError(t, swapDataset(ctx, k.store, "synced"))
	require.NoError(t, k.store.Commit(ctx, func(tx *store.Tx) error {
		if err := tx.MakeSchema("old"); err != nil {
			return err
		}
		if err := tx.View("seen", "SELECT 1 AS one"); err != nil {
			return err
		}
		_, err := tx.Exec("CREATE TABLE p.main.stray AS SELECT 1 AS batch_id")
		return err
	}))
	require.NoError(t, swapDataset(ctx, k.store, "old.orders"))
	b := sampleBatch(memory.NewGoAllocator(), 0, 10)
	all := access.Principal{User: "al", Role: "all"}
	for _, c := range []struct {
		catalog, schema, table string
		loader, all, admin     string // what the error says; "": none
	}{
		{"", "events", "clicks", "", "", ""},
		{"p", "EVENTS", "Clicks", "", "", ""},
		{"", "", "t", "", "", ""},
		{"P", "Main", "T", "", "", ""},
		{"", "p", "t", "", "", ""}, // the catalog's name
		{"p", "p", "t", "x", "x", "called like the DuckDB file"},
		{"", "", "u", "no grant", "", ""},
		{"", "other", "t", "no grant", "", ""},
		{"", "", "m_data", "no grant", "belongs to dataset m", "belongs to dataset m"},
		{"p", "MAIN", "M_Data", "no grant", "belongs to dataset m", "belongs to dataset m"},
		{"", "shop", "orders", "no grant", "belongs to dataset shop", "belongs to dataset shop"},
		{"", "Shop", "mine", "no grant", "belongs to dataset shop", "belongs to dataset shop"},
		{"", "", "synced", "no grant", "belongs to dataset set_synced", "belongs to dataset set_synced"},
		{"", "p", "SYNCED", "no grant", "belongs to dataset set_synced", "belongs to dataset set_synced"},
		{"", "old", "orders", "no grant", "belongs to dataset set_old.orders", "belongs to dataset set_old.orders"},
		{"", "OLD", "new", "no grant", "belongs to dataset set_old.orders", "belongs to dataset set_old.orders"},
		{"", "", "seen", "no grant", "is a view", "is a view"},
		{"", "_pintail", "runs", "no grant", "Pintail's own", "Pintail's own"},
		{"", "_PINTAIL", "client_tables", "no grant", "Pintail's own", "Pintail's own"},
		{"", "events", "_pintail_stage_x_1", "Pintail's own", "Pintail's own", "Pintail's own"},
		{"", "information_schema", "tables", "no grant", "meaning of its own", "meaning of its own"},
		{"", "pg_catalog", "pg_class", "no grant", "meaning of its own", "meaning of its own"},
		{"", "temp", "x", "no grant", "meaning of its own", "meaning of its own"},
		{"memory", "main", "x", "the catalog is p", "the catalog is p", "the catalog is p"},
		{"system", "main", "x", "the catalog is p", "the catalog is p", "the catalog is p"},
		{"", "events", "", "has no name", "has no name", "has no name"},
		{"", "a.b", "c", "no grant", "must have no dot", "must have no dot"},
		{"", "events", "x\x00y", "control character", "control character", "control character"},
		{"", "events", "x\xff", "not valid UTF-8", "not valid UTF-8", "not valid UTF-8"},
		{"", "events", strings.Repeat("x", 256), "the most is 255", "the most is 255", "the most is 255"},
		{"", "", "stray", "no grant", "neither by a client", ""},
	} {
		wants := []string{c.loader, c.all, "no grant", "no grant", c.admin}
		for i, who := range []access.Principal{loader, all, reader, {}, admin} {
			want := wants[i]
			for _, mode := range []Mode{CreateAppend, Replace} {
				_, err := k.put(t, who, Target{Catalog: c.catalog, Schema: c.schema, Table: c.table, Mode: mode}, sample, b)
				what := fmt.Sprintf("%s to %q.%q.%q as %q", mode, c.catalog, c.schema, c.table, who.Role)
				switch {
				case want == "" && c.table == "stray" && mode == CreateAppend:
					require.ErrorContains(t, err, "no column", what) // it has other columns
				case want == "":
					require.NoError(t, err, what)
				case want == "no grant" || want == "x":
					require.Error(t, err, what)
				case who == (access.Principal{}) || who == reader:
					require.Error(t, err, what)
				default:
					require.ErrorContains(t, err, want, what)
				}
				if err != nil && c.table != "stray" {
					require.Contains(t, []fault.Code{fault.Forbidden, fault.Usage}, fault.CodeOf(err), "%s: %v", what, err)
				}
			}
		}
		if c.table == "stray" {
			break // an administrator has made it a client's
		}
	}
	require.Equal(t, []string{"50000"}, k.query(t, "SELECT count(*) FROM p.main.synced"))
	require.Equal(t, []string{"50000"}, k.query(t, "SELECT count(*) FROM p.old.orders"))
	require.Equal(t, []string{"1"}, k.query(t, "SELECT count(*) FROM duckdb_schemas() WHERE database_name = 'p' AND lower(schema_name) = 'events'"))
}

// A dataset that takes the name of a client's table is told whose it is, and nothing is lost.
func TestDatasetsLeaveClientTablesAlone(t *testing.T) {
	ctx := context.Background()
	k := newKit(t, store.Options{}, access.Limits{})
	b := sampleBatch(memory.NewGoAllocator(), 0, 10)
	for _, to := range []Target{{Table: "T", Mode: Create}, events("clicks", Create)} {
		_, err := k.put(t, loader, to, sample, b)
		require.NoError(t, err)
	}
	for _, target := range []string{"t", "events.Clicks"} {
		err := swapDataset(ctx, k.store, target)
		require.ErrorContains(t, err, "the name is taken by a table that client lea made on")
		require.Equal(t, fault.Config, fault.CodeOf(err))
		require.NoError(t, k.store.Commit(ctx, func(tx *store.Tx) error {
			require.ErrorContains(t, tx.View(target, "SELECT 1"), "client lea made")
			require.NoError(t, tx.DropView(target))
			return tx.DropTable(target) // what a dataset leaves that never got its name
		}))
	}
	require.Equal(t, []string{"10|10"}, k.query(t, "SELECT (SELECT count(*) FROM p.main.t), (SELECT count(*) FROM p.events.clicks)"))
}

// Roles read clients' tables by the patterns that they have for datasets.
func TestReadingClientTables(t *testing.T) {
	k := newKit(t, store.Options{}, access.Limits{})
	b := sampleBatch(memory.NewGoAllocator(), 0, 10)
	for _, to := range []Target{{Table: "t", Mode: Create}, {Table: "u", Mode: Create}, events("clicks", Create)} {
		_, err := k.put(t, admin, to, sample, b)
		require.NoError(t, err)
	}
	gate := func(p access.Principal, sql string) error {
		se, err := k.store.Session(context.Background())
		require.NoError(t, err)
		defer se.Close()
		// As the core's sessions, it takes names without a catalog for the file's.
		_, err = k.access.Gate(context.Background(), p, sql, se)
		return err
	}
	require.NoError(t, gate(loader, "SELECT * FROM events.clicks, t"))
	require.NoError(t, gate(loader, "SELECT * FROM p.events.clicks, p.t"))
	require.NoError(t, gate(reader, "SELECT * FROM events.clicks, t, u"))
	require.Equal(t, fault.Forbidden, fault.CodeOf(gate(loader, "SELECT * FROM u")))
	require.Equal(t, fault.Forbidden, fault.CodeOf(gate(reader, "SELECT * FROM events.gone")))
	require.Equal(t, fault.Forbidden, fault.CodeOf(gate(reader, "SELECT * FROM _pintail.client_tables")))
	owner, ok := k.access.Owner("EVENTS", "CLICKS")
	require.True(t, ok)
	require.Equal(t, "EVENTS", owner)
	require.NoError(t, k.ingest.Drop(context.Background(), admin, events("clicks", 0)))
	require.Equal(t, fault.Forbidden, fault.CodeOf(gate(loader, "SELECT * FROM events.clicks")))
}

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]Target{
		"t":                     {Table: "t"},
		" events . clicks ":     {Schema: "events", Table: "clicks"},
		`"a.b"."c""d"`:          {Schema: "a.b", Table: `c"d`},
		`p."Events".x`:          {Catalog: "p", Schema: "Events", Table: "x"},
		"events/clicks":         {Table: "events/clicks"},
		`"with space" . "ünde"`: {Schema: "with space", Table: "ünde"},
	} {
		got, err := ParseTarget([]string{in}, Append)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	got, err := ParseTarget([]string{"a.b", `c"d`}, Create)
	require.NoError(t, err)
	require.Equal(t, Target{Schema: "a.b", Table: `c"d`, Mode: Create}, got)
	for _, in := range [][]string{{""}, {"."}, {"a."}, {".a"}, {"a..b"}, {`"a`}, {`"a"b`}, {`""`}, {"a.b.c.d"}, {"a", "b", "c", "d"}, {}, nil} {
		_, err := ParseTarget(in, Append)
		require.Equal(t, fault.Usage, fault.CodeOf(err), "%q", in)
	}
}

// Whatever the name: either a client's table of exactly that name is there, or nothing has changed.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"t", "events.t", `"events"."t"`, "_pintail.runs", "p.main.m_data", `"p"."Main"."M_DATA"`, "main.d", "memory.main.x", `e"v.x`, "a.b.c.d", "İ.ı", "x\x00", "information_schema.tables", `"shop".x`, "MAIN.Seen"} {
		f.Add(s)
	}
	k := newKit(f, store.Options{}, access.Limits{})
	ctx := context.Background()
	require.NoError(f, swapDataset(ctx, k.store, "d"))
	schema := arrow.NewSchema([]arrow.Field{nullable("only", arrow.PrimitiveTypes.Int64)}, nil)
	const others = `SELECT schema_name || '.' || table_name || ' ' || sql FROM duckdb_tables() WHERE database_name = 'p' AND NOT EXISTS (SELECT 1 FROM p._pintail.client_tables c WHERE c.schema = schema_name AND c.name = table_name) ORDER BY ALL`
	before := k.query(f, others)
	f.Fuzz(func(t *testing.T, name string) {
		to, err := ParseTarget([]string{name}, Replace)
		if err != nil {
			return
		}
		_, err = k.put(t, admin, to, schema)
		require.NotEqual(t, fault.Internal, fault.CodeOf(err), "%v", err)
		require.Equal(t, before, k.query(t, others))
		require.Equal(t, []string{"0"}, k.query(t, "SELECT count(*) FROM p._pintail.client_tables c WHERE NOT EXISTS (SELECT 1 FROM duckdb_tables() WHERE database_name = 'p' AND c.schema = schema_name AND c.name = table_name)"))
		if err == nil {
			to, err = to.resolve("p")
			require.NoError(t, err)
			require.True(t, k.store.IsClientTable(to.Schema, to.Table))
			require.NoError(t, k.ingest.Drop(ctx, admin, to))
		}
	})
}
