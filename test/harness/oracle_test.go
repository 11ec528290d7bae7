package harness

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
)

func TestMain(m *testing.M) { Main(m) }

// The oracle's own test: a copy made by hand, statement by statement, then damaged in every way that it has to notice.
func TestOracle(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	PG(t, url, `CREATE TABLE t (id int PRIMARY KEY, name text, ts timestamptz, amount numeric(12,2), ok bool, f float8, f4 real, b bytea, i interval, a text[], af float8[], j json, d date, m money, c char(5), tz timetz, u uuid)`,
		`INSERT INTO t SELECT g, 'name ' || g, '2026-01-01'::timestamptz + g * interval '1 hour', g * 1.25, g % 2 = 0, g / 3.0, g / 3.0, decode(lpad(to_hex(g), 4, '0'), 'hex'),
			g * interval '1 month -2 days 03:04:05.5', ARRAY['a', NULL, 'NULL', 'with "quotes", \ and , commas', ''], ARRAY[g / 7.0::float8, 'NaN', '-0'], '{"a":  1}', '2026-01-01'::date + g, g, 'ab', '12:00:00+02:30', '00000000-0000-0000-0000-00000000000a'
			FROM generate_series(1, 50) g`,
		`INSERT INTO t (id) VALUES (51)`,
		`INSERT INTO t (id, name, ts, f, d, i) VALUES (52, '', '0044-03-15 12:00:00+00 BC', 'Infinity', '0044-03-15 BC', '-1 year -2 mons +3 days -04:05:06'), (53, 'NULL', 'infinity', '-Infinity', '-infinity', '0'), (54, e'\t\n', '-infinity', 1e300, 'infinity', '-178000000 years')`)
	make := func(t *testing.T) File {
		f := File(filepath.Join(t.TempDir(), "copy.duckdb"))
		f.Exec(t, `CREATE TABLE t (u UUID, tz TIMETZ, id INTEGER, name VARCHAR, ts TIMESTAMPTZ, amount DECIMAL(12,2), ok BOOLEAN, f DOUBLE, f4 FLOAT, b BLOB, i INTERVAL, a VARCHAR[], af DOUBLE[], j JSON, d DATE, m DECIMAL(19,2), c VARCHAR)`,
			`SET TimeZone = 'UTC'`,
			`INSERT INTO t BY NAME SELECT g::INTEGER AS id, 'name ' || g AS name, TIMESTAMPTZ '2026-01-01 00:00:00+00' + g * INTERVAL 1 HOUR AS ts, g * 1.25 AS amount, g % 2 = 0 AS ok, g / 3 AS f, (g / 3)::FLOAT AS f4,
				unhex(printf('%04x', g)) AS b, to_months(g::INTEGER) + to_days((g * -2)::INTEGER) + to_microseconds(g * 11045500000) AS i, ['a', NULL, 'NULL', 'with "quotes", \ and , commas', ''] AS a, [g / 7, 'NaN'::DOUBLE, '-0'::DOUBLE] AS af, '{"a":  1}'::JSON AS j,
				DATE '2026-01-01' + g::INTEGER AS d, g AS m, 'ab   ' AS c, '12:00:00+02:30'::TIMETZ AS tz, '00000000-0000-0000-0000-00000000000a'::UUID AS u FROM range(1, 51) r(g)`,
			`INSERT INTO t (id) VALUES (51)`,
			`INSERT INTO t (id, name, ts, f, d, i) VALUES (52, '', '0044-03-15 (BC) 12:00:00+00'::TIMESTAMPTZ, 'inf'::DOUBLE, '0044-03-15 (BC)'::DATE, to_months(-14) + to_days(3) - to_seconds(14706)),
				(53, 'NULL', 'infinity'::TIMESTAMPTZ, '-inf'::DOUBLE, '-infinity'::DATE, to_days(0)), (54, e'\t\n', '-infinity'::TIMESTAMPTZ, 1e300, 'infinity'::DATE, to_months(-2136000000))`)
		return f
	}
	const query = "SELECT * FROM t"
	equal := make(t)
	require.Equal(t, 54, Compare(t, url, query, equal, "t", "id"))
	require.Equal(t, 54, Compare(t, url, query, equal, "t"))

	for _, c := range []struct {
		name, damage string
		want         string // of the only difference
	}{
		{"missing row", `DELETE FROM t WHERE id = 7`, "missing: row id=7"},
		{"doubled row", `INSERT INTO t SELECT * FROM t WHERE id = 8`, "extra: row id=8"},
		{"text", `UPDATE t SET name = 'name_9' WHERE id = 9`, `changed: row id=9: column name is "name 9" in the source and "name_9" in the copy`},
		{"empty text instead of NULL", `UPDATE t SET name = '' WHERE id = 51`, "column name is \"NULL\" in the source and \"\""},
		{"NULL instead of empty text", `UPDATE t SET name = NULL WHERE id = 52`, "column name is \"\" in the source and \"NULL\""},
		{"NULL instead of the text NULL", `UPDATE t SET name = NULL WHERE id = 53`, "column name"},
		{"microsecond", `UPDATE t SET ts = ts + INTERVAL 1 MICROSECOND WHERE id = 3`, "column ts"},
		{"infinity", `UPDATE t SET ts = '294247-01-10 04:00:54+00'::TIMESTAMPTZ WHERE id = 53`, "column ts"},
		{"era", `UPDATE t SET d = '0044-03-15'::DATE WHERE id = 52`, "column d"},
		{"cent", `UPDATE t SET amount = amount + 0.01 WHERE id = 3`, "column amount"},
		{"bool", `UPDATE t SET ok = NOT ok WHERE id = 3`, "column ok"},
		{"last bit", `UPDATE t SET f = 1.0000000000000002 WHERE id = 3`, "column f"},
		{"byte", `UPDATE t SET b = '\x00\x04'::BLOB WHERE id = 3`, "column b"},
		{"month as 30 days", `UPDATE t SET i = to_months(2) + to_days(24) + to_microseconds(33136500000) WHERE id = 3`, "column i"},
		{"element", `UPDATE t SET a = ['a', NULL, NULL, 'with "quotes", \ and , commas', ''] WHERE id = 3`, "column a"},
		{"sign of zero", `UPDATE t SET af = [3 / 7, 'NaN'::DOUBLE, 0] WHERE id = 3`, "column af"},
		{"space in json", `UPDATE t SET j = '{"a": 1}' WHERE id = 3`, "column j"},
		{"padding", `UPDATE t SET c = 'ab' WHERE id = 3`, "column c"},
		{"offset", `UPDATE t SET tz = '12:00:00+02'::TIMETZ WHERE id = 3`, "column tz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := make(t)
			f.Exec(t, c.damage)
			for _, key := range [][]string{{"id"}, nil} {
				_, diffs, err := Diff(t.Context(), url, query, f, "t", key...)
				require.NoError(t, err)
				if key != nil {
					require.Len(t, diffs, 1)
					require.Contains(t, diffs[0].String(), c.want)
				} else {
					require.NotEmpty(t, diffs)
				}
			}
		})
	}
	t.Run("column", func(t *testing.T) {
		f := make(t)
		f.Exec(t, `ALTER TABLE t DROP COLUMN name`, `ALTER TABLE t ADD COLUMN extra INTEGER`)
		_, diffs, err := Diff(t.Context(), url, query, f, "t", "id")
		require.NoError(t, err)
		require.Len(t, diffs, 2)
	})
	t.Run("swapped columns of one type", func(t *testing.T) {
		f := make(t)
		f.Exec(t, `ALTER TABLE t RENAME name TO x`, `ALTER TABLE t RENAME c TO name`, `ALTER TABLE t RENAME x TO c`)
		_, diffs, err := Diff(t.Context(), url, query, f, "t", "id")
		require.NoError(t, err)
		require.NotEmpty(t, diffs)
	})
	t.Run("text of values out of range", func(t *testing.T) {
		f := make(t)
		f.Exec(t, `ALTER TABLE t ADD COLUMN _pintail_text JSON`, `UPDATE t SET f = NULL, _pintail_text = '{"f": "Infinity"}' WHERE id = 52`)
		Compare(t, url, query, f, "t", "id")
		f.Exec(t, `UPDATE t SET _pintail_text = '{"f": "Infinite"}' WHERE id = 52`)
		_, diffs, err := Diff(t.Context(), url, query, f, "t", "id")
		require.NoError(t, err)
		require.Len(t, diffs, 1)
	})
}

// fake is a Copy of which a test chooses what it answers.
type fake struct {
	cols []column
	data [][]any
}

func (f fake) rows(context.Context, string) ([]column, [][]any, error) { return f.cols, f.data, nil }

func TestWithoutKeyRowsAreCounted(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	PG(t, url, `CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1), (2), (NULL)`)
	c := fake{[]column{{"a", "INTEGER"}}, [][]any{{"1"}, {"2"}, {nil}, {"1"}}}
	Compare(t, url, "SELECT a FROM t", c, "t")
	c.data = append(c.data[:3:3], []any{"2"})
	_, diffs, err := Diff(t.Context(), url, "SELECT a FROM t", c, "t")
	require.NoError(t, err)
	kinds := []string{diffs[0].Kind, diffs[1].Kind}
	slices.Sort(kinds)
	require.Equal(t, []string{"extra", "missing"}, kinds)
}

func TestWithoutRowsColumnsAreCompared(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	PG(t, url, `CREATE TABLE t (a int)`)
	require.Zero(t, Compare(t, url, "SELECT a FROM t", fake{cols: []column{{"a", "INTEGER"}}}, "t"))
	_, diffs, err := Diff(t.Context(), url, "SELECT a, 1 AS b FROM t", fake{cols: []column{{"a", "INTEGER"}}}, "t")
	require.NoError(t, err)
	require.Len(t, diffs, 1)
	_, _, err = Diff(t.Context(), url, "SELECT a / 0 FROM generate_series(1, 2) a", fake{cols: []column{{"a", "INTEGER"}}}, "t")
	require.ErrorContains(t, err, "division by zero")
}

func TestIntervals(t *testing.T) {
	for duck, want := range map[string]string{
		"00:00:00":                           "00:00:00",
		"1 year 2 months 3 days":             "1 year 2 mons 3 days",
		"-1 year -2 months 3 days -04:05:06": "-1 years -2 mons +3 days -04:05:06",
		"-1 days 00:00:00.5":                 "-1 days +00:00:00.5",
		"100:00:00":                          "100:00:00",
		"-2562047788:00:54.775807":           "-2562047788:00:54.775807",
	} {
		i, err := parseInterval(duck)
		require.NoError(t, err)
		require.Equal(t, want, i.String())
	}
	_, err := parseInterval("1 fortnight")
	require.Error(t, err)
}

func TestArrays(t *testing.T) {
	for _, s := range []string{`{}`, `{1,NULL,"NULL"}`, `{"a b","c\"d\\e",""}`} {
		elems, ok := parseArray(s)
		require.True(t, ok)
		var parts []string
		for _, e := range elems {
			if e == nil {
				parts = append(parts, "NULL")
			} else {
				parts = append(parts, quoteElement(*e))
			}
		}
		require.Equal(t, s, fmt.Sprintf("{%s}", strings.Join(parts, ",")))
	}
	for _, s := range []string{`{{1},{2}}`, `[0:1]={1,2}`} {
		_, ok := parseArray(s)
		require.False(t, ok)
	}
}
