package query

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

func tenantAccess(filter string) access.Config {
	tables := access.Tables{}
	tables.Add("main", "t", "t")
	return access.Config{Catalog: "q", Resolver: tables, Roles: []access.Role{{Name: "tenant", Read: []string{"t"}, RowFilters: map[string]string{"t.t": filter},
		Masks: map[string]map[string]string{"t.t": {"word": "left(word, 3)"}}}}}
}

func tenant(claims string) access.Principal {
	return access.Principal{User: "u", Role: "tenant", Claims: claims}
}

func TestRowFilters(t *testing.T) {
	c, st := newCore(t, Options{}, access.Limits{})
	require.NoError(t, c.access.Update(tenantAccess("i % 4 = _pintail.claim('rest')::INT")))
	ctx := context.Background()
	const q = "SELECT count(*), min(i), max(word) FROM t WHERE i < $1"
	for claims, want := range map[string][]string{`{"rest":1}`: {"25", "1", `"row"`}, `{"rest":"2"}`: {"25", "2", `"row"`}, `{}`: {"0", "null", "null"}, "": {"0", "null", "null"}} {
		r, err := c.Run(ctx, tenant(claims), Request{SQL: q, Params: []any{int64(100)}})
		require.NoError(t, err)
		rows, err := all(t, r)
		require.NoError(t, err)
		require.Equal(t, [][]string{want}, rows, claims)
	}

	// A prepared statement keeps its caller's claims, sees rows that come, and runs twice at once.
	s := c.Session("test", tenant(`{"rest":3}`), store.Settings{TimeZone: "Europe/Berlin"})
	ps, err := s.Prepare(ctx, q)
	require.NoError(t, err)
	defer ps.Close()
	count := func(want string) {
		t.Helper()
		first, err := ps.Run(ctx, Request{SQL: q, Params: []any{int64(1000000)}})
		require.NoError(t, err)
		second, err := ps.Run(ctx, Request{SQL: q, Params: []any{int64(1000000)}})
		require.NoError(t, err)
		for _, r := range []*Result{second, first} {
			rows, err := all(t, r)
			require.NoError(t, err)
			require.Equal(t, want, rows[0][0])
		}
	}
	count("2500")
	count("2500")
	commit := func(sql string) {
		t.Helper()
		require.NoError(t, st.Commit(ctx, func(tx *store.Tx) error { _, err := tx.Exec(sql); return err }))
	}
	commit("INSERT INTO t VALUES (20003, 'row'), (20004, 'row')")
	count("2501")
	// The table is another one with other columns, as after a swap.
	commit("CREATE OR REPLACE TABLE t AS SELECT i, 'row ' || i AS word, i AS more FROM range(8) r(i)")
	count("2")

	// Another filter is in force at once.
	require.NoError(t, c.access.Update(tenantAccess("i = 5")))
	_, err = ps.Run(ctx, Request{SQL: q, Params: []any{int64(10)}})
	require.Equal(t, fault.ResultChanged, fault.CodeOf(err))
	r, err := s.Run(ctx, Request{SQL: "SELECT i, word FROM main.t"})
	require.NoError(t, err)
	rows, err := all(t, r)
	require.NoError(t, err)
	require.Equal(t, [][]string{{"5", `"row"`}}, rows)
}

func TestMisfits(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	require.NoError(t, c.access.Update(tenantAccess("i = 5")))
	misfits, err := c.Misfits(t.Context())
	require.NoError(t, err)
	require.Empty(t, misfits)
	for _, filter := range []string{"nothing = 5", "i = ", "i 5", "max(i) = 5"} {
		require.NoError(t, c.access.Update(tenantAccess(filter)))
		misfits, err = c.Misfits(t.Context())
		require.NoError(t, err)
		require.Len(t, misfits, 1, filter)
		require.ErrorContains(t, misfits[0], `the row filters and masks of role "tenant" do not fit table main.t`)
		_, err = c.Run(t.Context(), tenant(""), Request{SQL: "FROM t"})
		require.Equal(t, fault.Forbidden, fault.CodeOf(err), filter)
	}
}

// What is kept of one caller's answer has no name under which another could be given it.
func TestVersionsOfCallers(t *testing.T) {
	c, _ := newCore(t, Options{}, access.Limits{})
	require.NoError(t, c.access.Update(tenantAccess("i % 4 = _pintail.claim('rest')::INT")))
	version := func(claims string) string {
		v, err := c.VersionOf(t.Context(), tenant(claims), "SELECT * FROM t")
		require.NoError(t, err)
		require.NotEmpty(t, v)
		return v
	}
	require.Equal(t, version(`{"rest":1}`), version(`{"rest":1}`))
	require.NotEqual(t, version(`{"rest":1}`), version(`{"rest":2}`))
}

// BenchmarkRowFilter is a statement that is gated, planned and run each time, without and with a row filter.
func BenchmarkRowFilter(b *testing.B) {
	c, _ := newCore(b, Options{}, access.Limits{})
	cfg := tenantAccess("i % 4 = _pintail.claim('rest')::INT")
	cfg.Roles = append(cfg.Roles, access.Role{Name: "reader", Read: []string{"t"}})
	require.NoError(b, c.access.Update(cfg))
	for _, p := range []access.Principal{{User: "u", Role: "reader"}, tenant(`{"rest":1}`)} {
		b.Run(p.Role, func(b *testing.B) {
			for b.Loop() {
				r, err := c.Run(b.Context(), p, Request{SQL: "SELECT word FROM t WHERE i = 41"})
				require.NoError(b, err)
				r.Close()
			}
		})
	}
}
