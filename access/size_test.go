package access

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

func TestGateBoundsPlanning(t *testing.T) {
	d, a := newDuck(t, gateSetup...), gateAccess(t)
	// doubled is a WITH of n names, each of which reads the one before twice: 2^n SELECTs.
	doubled := func(n int, how string) string {
		var b strings.Builder
		b.WriteString("WITH c0 AS (SELECT 1 AS x)")
		for i := range n {
			fmt.Fprintf(&b, ", c%d AS %s(SELECT a.x FROM c%d a, C%d b)", i+1, how, i, i)
		}
		return fmt.Sprintf("%s SELECT * FROM c%d", b.String(), n)
	}
	for sql, ok := range map[string]bool{
		"SELECT 1" + strings.Repeat(" UNION ALL SELECT 1", selectsMax-1): true,
		"SELECT 1" + strings.Repeat(" UNION ALL SELECT 1", selectsMax):   false,
		doubled(10, ""):                  true,
		doubled(12, ""):                  false,
		doubled(40, "NOT MATERIALIZED "): false,
		doubled(300, ""):                 false,
		"WITH c0 AS (SELECT 1) SELECT (" + strings.TrimSuffix(strings.Repeat("(SELECT 1 FROM c0) + ", 900), "+ ") + ")": true,
		"SELECT 1 FROM m_data WHERE a = 1" + strings.Repeat(" OR a = 2", termsMax-1):                                    true,
		"SELECT 1 FROM m_data WHERE a = 1" + strings.Repeat(" OR a = 2", termsMax):                                      false,
		"SELECT true" + strings.Repeat(" AND true", termsMax):                                                           false,
		strings.Repeat("/*", 200_000) + strings.Repeat("*/", 200_000) + "SELECT 1":                                      false,
		"SELECT 1 --" + strings.Repeat("=", signsMax):                                                                   false,
		"SELECT 1 /*" + strings.Repeat("*", signsMax-4) + "*/":                                                          true,
		"SELECT 'SELECT_NODE' WHERE 1 IN (1" + strings.Repeat(", 1", 50_000) + ")":                                      true,
	} {
		_, err := a.Gate(t.Context(), reader, sql, d)
		if ok {
			require.NoError(t, err, "%.100s", sql)
		} else {
			require.Equal(t, fault.InvalidSQL, fault.CodeOf(err), "%.100s: %v", sql, err)
		}
	}
}
