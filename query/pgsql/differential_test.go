package pgsql

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const empSetup = `CREATE TABLE emp(id INTEGER NOT NULL, name TEXT, dept TEXT, small SMALLINT, big BIGINT, price NUMERIC(10,2), score FLOAT8, active BOOLEAN, created TIMESTAMPTZ, tags TEXT[], doc JSON);
CREATE TABLE dept(code TEXT, title VARCHAR, budget NUMERIC(12,2));
INSERT INTO emp VALUES (1, 'ann', 'dev', 1, 10000000000, 10.50, 1.5, true, '2024-01-15 10:00:00+00', ARRAY['x', 'y'], '{"k": "v", "n": "1"}'), (2, 'bob', 'ops', 2, 20000000000, 20.25, 2.5, false, '2024-01-20 11:30:00+00', ARRAY['z'], '{"k": "w", "n": "2"}'), (3, 'cid', 'dev', 3, 30000000000, 0.75, NULL, true, '2024-02-01 00:00:00+00', NULL, NULL), (4, 'dan', NULL, NULL, NULL, NULL, 4.0, NULL, NULL, ARRAY['x'], '{}');
INSERT INTO dept VALUES ('dev', 'Development', 1000.00), ('ops', 'Operations', 500.50), ('hr', 'People', NULL);
`

// differential reads the statements, with what may differ.
func differential(t *testing.T) (list []struct{ sql, may string }) {
	text, err := os.ReadFile("testdata/differential.sql")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "--") {
			continue
		}
		sql, may, _ := strings.Cut(line, " -- ")
		list = append(list, struct{ sql, may string }{strings.TrimSpace(sql), may})
	}
	return list
}

func TestDifferential(t *testing.T) {
	o := open(t, empSetup, keyList{"main.emp": {"id"}})
	setup := strings.Replace(empSetup, "title VARCHAR", "title TEXT", 1)
	conn := postgres(t, setup+"ALTER TABLE emp ADD PRIMARY KEY (id)")
	list := differential(t)
	require.Greater(t, len(list), 400)
	for i, s := range list {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			want := askPostgres(t.Context(), conn, s.sql)
			got := o.ask(t.Context(), ann, s.sql)
			if strings.Contains(s.may, "differs:") {
				require.NotEqual(t, want, got, "%s: it does not differ", s.sql)
				return
			}
			require.NoError(t, want.err, s.sql)
			require.NoError(t, got.err, s.sql)
			compare(t, s.sql, want, got)
			if !strings.HasPrefix(s.may, "type:") {
				for c := range want.oids {
					if !sameType(want.oids[c], got.oids[c]) {
						t.Errorf("%s\ncolumn %s: PostgreSQL's type is %d, ours %d", s.sql, want.names[c], want.oids[c], got.oids[c])
					}
				}
			}
		})
	}
}

// sameType: texts are text whatever they are declared as, JSON is json, and regclass and its like are shown as names.
func sameType(want, got uint32) bool {
	groups := [][]uint32{{25, 1043, 1042, 19, 18, 705}, {114, 3802}, {1009, 1015, 1003, 1002}, {22, 1005}, {30, 1028, 1016}, {26, 24, 20}}
	return want == got || slices.ContainsFunc(groups, func(g []uint32) bool { return slices.Contains(g, want) && slices.Contains(g, got) })
}

// differentialSeeds are the statements alone.
func differentialSeeds() (out []string) {
	text, err := os.ReadFile("testdata/differential.sql")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if sql, _, _ := strings.Cut(strings.TrimSpace(line), " -- "); sql != "" && !strings.HasPrefix(sql, "--") {
			out = append(out, sql)
		}
	}
	return out
}
