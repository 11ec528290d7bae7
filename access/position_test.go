package access

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

var positionSetup = append([]string{
	`CREATE TABLE p(dataset VARCHAR, lsn VARCHAR)`, `INSERT INTO p VALUES ('m', '0/1'), ('Shop', '0/2'), ('secrets', '0/3')`,
}, append(gateSetup, `CREATE MACRO _pintail.position() AS TABLE SELECT dataset, lsn FROM main.p`)...)

// Every reader may ask how far the replicas are, and is told of the datasets that the role reads something of.
func TestGatePosition(t *testing.T) {
	d, a := newDuck(t, positionSetup...), gateAccess(t)
	ctx := context.Background()
	datasets := func(p Principal, q string) (out []string) {
		t.Helper()
		st, err := a.Gate(ctx, p, q, d)
		require.NoError(t, err, q)
		rows, err := d.conn.QueryContext(ctx, st.SQL)
		require.NoError(t, err, st.SQL)
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var dataset, lsn string
			require.NoError(t, rows.Scan(&dataset, &lsn))
			out = append(out, dataset)
		}
		require.NoError(t, rows.Err())
		return out
	}
	const plain = `SELECT * FROM _pintail.position()`
	for _, q := range []string{plain, `select * from _PINTAIL.Position();`, `FROM _pintail.position()`, "/* a */ SELECT\t*\nFROM _pintail . position ( ) ; -- b"} {
		require.Equal(t, []string{"m", "Shop"}, datasets(reader, q), q)
		require.Empty(t, datasets(Principal{Role: "none"}, q))
		require.Empty(t, datasets(Principal{Role: "gone"}, q))
		require.Len(t, datasets(Local(), q), 3)
		require.Len(t, datasets(Principal{Role: "all"}, q), 3)
	}
	free := []string{`SELECT dataset, lsn FROM _pintail.position() WHERE dataset = 'm'`, `SELECT p.* FROM m_data RIGHT JOIN _pintail.position() p ON true WHERE p.dataset = 'm'`}
	for _, q := range free {
		require.Equal(t, []string{"m"}, datasets(Local(), q))
		require.Equal(t, []string{"m"}, datasets(Principal{Role: "all"}, q))
	}
	for _, q := range append(free, `SELECT * FROM _pintail.position() WHERE true`, plain+` UNION ALL `+plain, plain+`; `+plain, `SELECT * FROM (`+plain+`)`, `EXPLAIN `+plain,
		`SELECT count(*) FROM _pintail.position()`, `SELECT * FROM _pintail.position(), m_data`, `SELECT * FROM "_pintail".position()`, `SELECT * FROM memory._pintail.position()`) {
		_, err := a.Gate(ctx, reader, q, d)
		require.Equal(t, fault.Forbidden, fault.CodeOf(err), "%s: %v", q, err)
	}
	for _, q := range []string{`FROM _pintail.positions()`, `FROM _pintail.range(3)`, `FROM position()`, `SELECT _pintail.position()`} {
		_, err := a.Gate(ctx, Local(), q, d)
		require.Error(t, err, q)
	}
}
