package access

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

// A table as it was is read with the rights of the table.
func TestGateTimeTravel(t *testing.T) {
	d, a := newDuck(t, append(gateSetup,
		`CREATE MACRO shop.orders_at(moment) AS TABLE SELECT * FROM shop.orders WHERE moment IS NOT NULL`,
		`CREATE MACRO shop.salaries_at(moment) AS TABLE SELECT * FROM shop.salaries`,
		`CREATE MACRO m_results_at(moment) AS TABLE SELECT * FROM main.m_results`)...), gateAccess(t)
	ctx := context.Background()
	st, err := a.Gate(ctx, reader, `SELECT * FROM shop.orders_at('2026-11-01 00:00'), Memory.Shop."ORDERS_AT"(now()) b, m_results_at('2026-11-01') c`, d)
	require.NoError(t, err)
	require.Equal(t, []string{"m", "shop"}, st.Datasets)
	require.Equal(t, map[string][]string{"m": {"m_results"}, "shop": {"shop.orders"}}, st.Targets)
	for _, q := range []string{
		`FROM shop.salaries_at('2026-11-01')`, `FROM shop.orders_at((SELECT max(password) FROM secrets))`, `FROM secrets_at('2026-11-01')`, `FROM _pintail.runs_at(1)`,
		`FROM _at(1)`, `FROM shop._at(1)`, `FROM shop.nothing_at(1)`, `FROM shop.orders(1)`, `WITH orders AS (SELECT 1) FROM shop.salaries_at(1)`, `FROM other.shop.orders_at(1)`,
	} {
		_, err := a.Gate(ctx, reader, q, d)
		require.Equal(t, fault.Forbidden, fault.CodeOf(err), q)
	}
	_, err = a.Gate(ctx, reader, `SELECT shop.orders_at(1)`, d)
	require.Error(t, err)
}
