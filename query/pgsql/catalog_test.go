package pgsql

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/store"
)

func column(t *testing.T, a answer) (out []string) {
	t.Helper()
	require.NoError(t, a.err)
	for _, r := range a.rows {
		out = append(out, r[0])
	}
	return out
}

// A role sees the tables that it reads, wherever it looks.
func TestCatalogShowsWhatARoleReads(t *testing.T) {
	o := open(t, shopSetup+"CREATE SCHEMA shop;\nCREATE TABLE shop.items(id INTEGER, n INTEGER);\nCREATE TABLE other(z INTEGER);\n", shopKeyList)
	ask := func(who access.Principal, sql string) []string { return column(t, o.ask(t.Context(), who, sql)) }
	for _, sql := range []string{
		"SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND oid > 16400 ORDER BY 1",
		"SELECT table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
		"SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
		"SELECT DISTINCT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.oid > 16400 AND relkind <> 'i' ORDER BY 1",
	} {
		require.Equal(t, []string{"customers", "items", "orders", "other", "v_orders"}, ask(ann, sql), sql)
		require.Equal(t, []string{"customers"}, ask(bob, sql), sql)
		require.Empty(t, ask(eve, sql), sql)
		require.Empty(t, ask(access.Principal{User: "x", Role: "nosuch"}, sql), sql)
		require.Equal(t, []string{"customers", "items", "orders", "other", "v_orders"}, ask(access.Local(), sql), sql)
	}
	const schemas = "SELECT nspname FROM pg_namespace ORDER BY 1"
	require.Equal(t, []string{"information_schema", "pg_catalog", "public", "shop"}, ask(ann, schemas))
	require.Equal(t, []string{"information_schema", "pg_catalog", "public"}, ask(bob, schemas))
	require.Equal(t, []string{"customers_pkey"}, ask(bob, "SELECT conname FROM pg_constraint"))
	require.Equal(t, []string{"customers_pkey"}, ask(bob, "SELECT indexname FROM pg_indexes"))
	require.Equal(t, []string{nullText}, ask(bob, "SELECT to_regclass('orders')"))
	require.Equal(t, []string{nullText}, ask(bob, "SELECT pg_get_viewdef((SELECT 1311465716))"))
	require.Equal(t, []string{nullText}, ask(eve, "SELECT obj_description(415557655)"))
	require.Equal(t, []string{nullText}, ask(eve, "SELECT pg_get_constraintdef(oid) FROM (SELECT 1 AS oid) x"))
	key := ask(ann, "SELECT oid FROM pg_constraint WHERE conname = 'orders_pkey'")[0]
	require.Equal(t, []string{"PRIMARY KEY (id)"}, ask(ann, "SELECT pg_get_constraintdef("+key+")"))
	require.Equal(t, []string{nullText}, ask(bob, "SELECT pg_get_constraintdef("+key+")"))
	require.Equal(t, []string{"bob"}, ask(bob, "SELECT current_user"))
	require.Equal(t, []string{"t"}, ask(bob, "SELECT has_table_privilege('customers', 'SELECT')"))
	require.Equal(t, []string{"f"}, ask(bob, "SELECT has_table_privilege('customers', 'INSERT')"))
	err := o.ask(t.Context(), bob, "SELECT 'orders'::regclass::oid").err
	require.ErrorContains(t, err, `relation "orders" does not exist`)
	require.Equal(t, []string{"f"}, ask(ann, "SELECT pg_table_is_visible('shop.items'::regclass)"))
	require.Equal(t, []string{"shop.items"}, ask(ann, "SELECT 'shop.items'::regclass"))
	require.Equal(t, []string{"0"}, ask(ann, "SELECT count(*) FROM public.customers WHERE false"))
}

// Without a user the catalog has no tables: a statement of another door has none.
func TestCatalogOfAnotherDoor(t *testing.T) {
	o := open(t, shopSetup, nil)
	r, err := o.core.Run(t.Context(), ann, query.Request{SQL: "SELECT count(*) FROM memory._pg.pg_class WHERE oid > 16400"})
	require.NoError(t, err)
	chunk, _, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "0", string(chunk.AppendText(nil, 0, 0)))
	r.Close()
	for _, sql := range []string{"SELECT * FROM memory._pgbase.relations", "SELECT * FROM memory._pgbase.visible", "SELECT * FROM memory._pgbase.m_visible", "SELECT * FROM _pgbase.relations", "FROM memory._pg.\"pg_class.csv\"",
		"SELECT memory._pgbase.indexdef('a', 'b', 'c', ['d'])", "SELECT memory._pg.getenv('HOME') FROM (SELECT 1 AS _pg) memory", "SELECT memory._pg.indexdef(1)"} {
		for _, who := range []access.Principal{ann, bob} {
			_, err := o.core.Run(t.Context(), who, query.Request{SQL: sql})
			require.Equal(t, fault.Forbidden, fault.CodeOf(err), sql)
		}
	}
	// Nobody sets the variables by which the catalog knows who asks.
	_, err = o.core.Run(t.Context(), eve, query.Request{SQL: "SET VARIABLE pintail_role = 'reader'"})
	require.Equal(t, fault.Forbidden, fault.CodeOf(err))
}

func TestRefresh(t *testing.T) {
	ctx := t.Context()
	o := open(t, shopSetup, shopKeyList)
	oid := func() []string {
		return column(t, o.ask(ctx, ann, "SELECT oid FROM pg_class WHERE relname = 'orders'"))
	}
	before := oid()
	o.exec(t, "CREATE TABLE fresh(a INTEGER);\nALTER TABLE orders ADD COLUMN extra DATE;\nCREATE TABLE _pintail_stage_x_1(a INTEGER);\n")
	require.NoError(t, o.t.Refresh(ctx))
	require.Equal(t, before, oid(), "DDL leaves OIDs as they were")
	require.Equal(t, []string{"fresh"}, column(t, o.ask(ctx, access.Local(), "SELECT relname FROM pg_class WHERE relname = 'fresh'")))
	require.Equal(t, []string{"0"}, column(t, o.ask(ctx, access.Local(), "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_pintail%'")))
	require.Equal(t, []string{"id", "customer_id", "amount", "note", "extra"}, column(t, o.ask(ctx, ann, "SELECT column_name FROM information_schema.columns WHERE table_name = 'orders' ORDER BY ordinal_position")))

	filled := o.t.filled
	require.NoError(t, o.t.Refresh(ctx))
	require.Equal(t, filled, o.t.filled, "nothing has changed")

	// Grants are those of now.
	tables := access.Tables{}
	tables.Add("main", "orders", "orders")
	tables.Add("main", "customers", "customers")
	require.NoError(t, o.access.Update(access.Config{Catalog: "sales", Resolver: tables, Users: []access.User{{Name: "bob", Password: "x", Role: "clerk"}}, Roles: []access.Role{{Name: "clerk", Read: []string{"orders"}}}}))
	require.NoError(t, o.t.Refresh(ctx))
	require.Equal(t, []string{"orders"}, column(t, o.ask(ctx, bob, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")))
	require.Empty(t, column(t, o.ask(ctx, ann, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")), "there is no such role any more")
}

// The same names give the same OIDs, and no two of them one.
func TestOIDs(t *testing.T) {
	var a, b oidMap
	require.Equal(t, a.of("relation", "main", "t"), b.of("relation", "main", "t"))
	require.NotEqual(t, a.of("relation", "main", "t"), a.of("relation", "main", "u"))
	first := a.of("relation", "main", "v")
	a.taken[b.of("relation", "main", "w")] = true
	other := a.of("relation", "main", "w")
	require.NotEqual(t, b.of("relation", "main", "w"), other, "what is taken gives way")
	require.Equal(t, other, a.of("relation", "main", "w"))
	require.Equal(t, first, a.of("relation", "main", "v"))
	for range 3 {
		require.GreaterOrEqual(t, first, uint32(oidFirst))
		require.Less(t, first, uint32(1<<31))
	}
}

// What is prepared shows the columns that it then gives, whatever the catalog is made of.
func TestPreparedCatalogStatements(t *testing.T) {
	o := open(t, shopSetup, shopKeyList)
	set := store.Settings{Postgres: true, Variables: map[string]string{"pintail_user": "ann", "pintail_role": "reader"}}
	for _, sql := range []string{"SELECT oid, relname, relkind, relacl FROM pg_class WHERE relname = $1", "SELECT indkey, indclass FROM pg_index WHERE indisprimary = $1"} {
		text, err := o.t.Translate(t.Context(), sql)
		require.NoError(t, err)
		st, err := o.core.Session("test", ann, set).Prepare(t.Context(), text)
		require.NoError(t, err)
		for _, v := range []any{"orders", "true"} {
			r, err := st.Run(t.Context(), query.Request{Params: []any{v}})
			if err == nil {
				require.Equal(t, st.Columns(), r.Columns())
				r.Close()
			}
		}
		st.Close()
	}
}

// Every relation of PostgreSQL's catalog can be read whole.
func TestEveryCatalogRelation(t *testing.T) {
	o := open(t, shopSetup, shopKeyList)
	for i := range systemRelations {
		r := &systemRelations[i]
		a := o.ask(t.Context(), ann, "SELECT * FROM "+r.schema+"."+r.name)
		require.NoError(t, a.err, r.name)
		require.Len(t, a.names, len(r.columns), r.name)
	}
}
