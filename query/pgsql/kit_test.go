package pgsql

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/query/pgtype"
	"github.com/pintaildb/pintail/store"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// answer is what a statement gave: rows as PostgreSQL prints them, "∅" for NULL.
type answer struct {
	names []string
	oids  []uint32
	rows  [][]string
	err   error
}

func (a answer) String() string {
	if a.err != nil {
		return "error: " + a.err.Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%q %v\n", a.names, a.oids)
	for _, r := range a.rows {
		fmt.Fprintf(&b, "  %q\n", r)
	}
	return b.String()
}

const nullText = "∅"

// ours is an open store with a translator and a core over it.
type ours struct {
	store  *store.Store
	access *access.Access
	core   *query.Core
	t      *Translator
}

type keyList map[string][]string

func (k keyList) Key(schema, table string) []string { return k[schema+"."+table] }

// open makes a store with tables made by setup; every table of main belongs to the dataset of its name, those of shop to shop.
func open(t testing.TB, setup string, keys keyList) *ours {
	t.Helper()
	ctx := context.Background()
	st, err := store.Open(ctx, store.Options{Path: filepath.Join(t.TempDir(), "sales.duckdb"), MemoryLimit: 1 << 30, Threads: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close(ctx)) })
	o := &ours{store: st}
	o.exec(t, setup)
	tables := access.Tables{}
	list, err := st.Relations(ctx)
	require.NoError(t, err)
	for _, r := range list {
		dataset := r.Schema
		if dataset == "main" {
			dataset = r.Name
		}
		tables.Add(r.Schema, r.Name, dataset)
	}
	o.access, err = access.New(access.Config{Catalog: "sales", Resolver: tables,
		Users: []access.User{{Name: "ann", Password: "x", Role: "reader"}, {Name: "bob", Password: "x", Role: "clerk"}, {Name: "eve", Password: "x", Role: "none"}},
		Roles: []access.Role{{Name: "reader", Read: []string{"*"}}, {Name: "clerk", Read: []string{"customers"}}, {Name: "none"}}}, nil, nil)
	require.NoError(t, err)
	o.core = query.New(st, o.access, query.Options{})
	o.t, err = New(ctx, Options{Store: st, Access: o.access, Keys: keys})
	require.NoError(t, err)
	return o
}

func (o *ours) exec(t testing.TB, script string) {
	t.Helper()
	require.NoError(t, o.store.Commit(t.Context(), func(tx *store.Tx) error {
		for _, sql := range strings.Split(script, ";\n") {
			if strings.TrimSpace(sql) == "" {
				continue
			}
			if _, err := tx.Exec(sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	}))
}

var (
	ann = access.Principal{User: "ann", Role: "reader"}
	bob = access.Principal{User: "bob", Role: "clerk"}
	eve = access.Principal{User: "eve", Role: "none"}
)

// ask translates and runs a statement as a client of PostgreSQL would have it run.
func (o *ours) ask(ctx context.Context, who access.Principal, sql string, params ...any) (a answer) {
	text, err := o.t.Translate(ctx, sql)
	if err != nil {
		return answer{err: err}
	}
	s := o.core.Session("test", who, store.Settings{Postgres: true, Variables: map[string]string{"pintail_user": who.User, "pintail_role": who.Role}})
	r, err := s.Run(ctx, query.Request{SQL: text, Params: params})
	if err != nil {
		return answer{err: fmt.Errorf("%w\n\ttranslated: %s", err, text)}
	}
	defer r.Close()
	for _, c := range r.Columns() {
		a.names = append(a.names, c.Name)
		a.oids = append(a.oids, pgtype.Of(c.Type).OID)
	}
	for {
		chunk, n, err := r.Next()
		if err != nil {
			return answer{err: fmt.Errorf("%w\n\ttranslated: %s", err, text)}
		}
		if chunk == nil {
			return a
		}
		for i := range n {
			row := make([]string, len(a.names))
			for c := range row {
				if row[c] = nullText; !chunk.IsNull(c, i) {
					row[c] = string(chunk.AppendPGText(nil, c, i))
				}
			}
			a.rows = append(a.rows, row)
		}
	}
}

// postgres is a connection to a real PostgreSQL with a database of the test's own.
func postgres(t testing.TB, setup string) *pgconn.PgConn {
	t.Helper()
	config, err := pgx.ParseConfig(pgtest.Get(t, 15).DB(t))
	require.NoError(t, err)
	conn, err := pgconn.ConnectConfig(t.Context(), &config.Config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	_, err = conn.Exec(t.Context(), "SET timezone = 'UTC'; "+setup).ReadAll()
	require.NoError(t, err)
	return conn
}

func askPostgres(ctx context.Context, conn *pgconn.PgConn, sql string) (a answer) {
	results := conn.Exec(ctx, sql)
	for results.NextResult() {
		r := results.ResultReader()
		a = answer{}
		for _, f := range r.FieldDescriptions() {
			a.names = append(a.names, f.Name)
			a.oids = append(a.oids, f.DataTypeOID)
		}
		for r.NextRow() {
			row := make([]string, len(a.names))
			for i, v := range r.Values() {
				if row[i] = nullText; v != nil {
					row[i] = string(v)
				}
			}
			a.rows = append(a.rows, row)
		}
		if _, err := r.Close(); err != nil {
			a.err = err
		}
	}
	if err := results.Close(); err != nil {
		a.err = err
	}
	return a
}

// statements reads a file of statements, each ended by a semicolon at a line's end. Comments before a statement belong to it.
func statements(text string) (out []string) {
	for _, part := range strings.SplitAfter(text, ";\n") {
		if s := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(part), ";")); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// sorted has rows in an order of their own, for statements without one.
func sorted(rows [][]string) [][]string {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b []string) int { return slices.Compare(a, b) })
	return rows
}
