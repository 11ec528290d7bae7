package access

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

// duck is a Parser over a DuckDB in memory: the syntax trees of these tests are the real ones.
type duck struct{ conn *sql.Conn }

func newDuck(t testing.TB, setup ...string) *duck {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	for _, s := range setup {
		_, err := conn.ExecContext(context.Background(), s)
		require.NoError(t, err, s)
	}
	return &duck{conn}
}

func (d *duck) SerializeSQL(ctx context.Context, q string) (string, error) {
	var out string
	err := d.conn.QueryRowContext(ctx, "SELECT json_serialize_sql(?::VARCHAR)::VARCHAR", q).Scan(&out)
	return out, err
}

var typeNames = map[duckdb.StmtType]string{
	duckdb.STATEMENT_TYPE_SELECT:  "SELECT",
	duckdb.STATEMENT_TYPE_EXPLAIN: "EXPLAIN",
}

func (d *duck) StatementType(_ context.Context, q string) (count int, typ string, err error) {
	err = d.conn.Raw(func(c any) error {
		s, err := c.(driver.ConnPrepareContext).PrepareContext(context.Background(), q)
		if err != nil {
			return fault.New(fault.InvalidSQL, "", "%w", err)
		}
		defer func() { _ = s.Close() }()
		st, ok := s.(*duckdb.Stmt)
		if !ok {
			return errors.New("not a DuckDB statement")
		}
		code, err := st.StatementType()
		if err != nil {
			return err
		}
		count, typ = 1, typeNames[code]
		if typ == "" {
			typ = fmt.Sprintf("type %v", code)
		}
		return nil
	})
	return count, typ, err
}

func (d *duck) DeserializeSQL(ctx context.Context, tree string) (string, error) {
	var out string
	err := d.conn.QueryRowContext(ctx, "SELECT json_deserialize_sql(?::JSON)", tree).Scan(&out)
	return out, err
}

func (d *duck) CreateTempView(ctx context.Context, name, q string) error {
	_, err := d.conn.ExecContext(ctx, "CREATE OR REPLACE TEMP VIEW "+quoteName(name)+" AS "+q)
	return err
}
