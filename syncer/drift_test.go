package syncer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/source"
)

func col(name string, t types.Type, attnum uint16) fingerprint {
	return fingerprint{Name: name, Type: t, Table: 1000, Attnum: attnum}
}

func TestDrift(t *testing.T) {
	int4, int8, int2, text := types.Of(23, -1, nil), types.Of(20, -1, nil), types.Of(21, -1, nil), types.Of(25, -1, nil)
	old := []fingerprint{col("id", int8, 1), col("a", int4, 2), col("b", text, 3)}
	for name, c := range map[string]struct {
		now  []fingerprint
		want drift
	}{
		"nothing":              {old, drift{}},
		"another order":        {[]fingerprint{old[2], old[0], old[1]}, drift{}},
		"dropped":              {old[:2], drift{drop: []string{"b"}}},
		"renamed":              {[]fingerprint{old[0], old[1], col("c", text, 3)}, drift{rename: [][2]string{{"b", "c"}}}},
		"renamed and widened":  {[]fingerprint{old[0], col("x", int8, 2), old[2]}, drift{rename: [][2]string{{"a", "x"}}, widen: []string{"x"}}},
		"widened":              {[]fingerprint{old[0], col("a", int8, 2), old[2]}, drift{widen: []string{"a"}}},
		"narrowed":             {[]fingerprint{old[0], col("a", int2, 2), old[2]}, drift{rebuild: `column "a" changed its type from INTEGER to SMALLINT`}},
		"retyped":              {[]fingerprint{old[0], col("a", text, 2), old[2]}, drift{rebuild: `column "a" changed its type from INTEGER to VARCHAR`}},
		"added":                {append(old[:3:3], col("d", text, 4)), drift{rebuild: `column "d" was added in the source`}},
		"dropped and added":    {[]fingerprint{old[0], old[1], col("c", text, 4)}, drift{rebuild: `column "c" was added in the source`}},
		"made again":           {[]fingerprint{old[0], old[1], col("b", text, 4)}, drift{rebuild: `column "b" was dropped and made again in the source`}},
		"swapped with another": {[]fingerprint{old[0], col("b", text, 2), col("a", int4, 3)}, drift{rebuild: `column "b" was dropped and made again in the source`}},
	} {
		require.Equal(t, c.want, compare(old, c.now), name)
	}
	other := append([]fingerprint{}, old...)
	other[0].Table = 2000
	require.Equal(t, `column "id" comes from another table than before`, compare(old, other).rebuild, "a table swapped by rename")
}

func TestDecimalWidens(t *testing.T) {
	d := func(p, s int) types.Type { return types.Decimal(p, s, -1) }
	for _, c := range []struct {
		a, b types.Type
		want bool
	}{{d(10, 2), d(12, 2), true}, {d(10, 2), d(12, 4), true}, {d(10, 2), d(11, 4), false}, {d(10, 2), d(12, 1), false}} {
		require.Equal(t, c.want, widens(&c.a, &c.b), "%s to %s", c.a.SQL, c.b.SQL)
	}
}

func TestJoinView(t *testing.T) {
	part := func(target string, cols ...string) *part {
		p := &part{cfg: config.Part{Target: target}, desc: &source.Description{}}
		for _, c := range cols {
			p.desc.Columns = append(p.desc.Columns, source.Column{Name: c})
		}
		return p
	}
	ds := part("m_dataset", "dataset_id", "id", "created_at", "query")
	res := part("m_results", "dataset_id", "id", "created_at", "score")
	cols := `r."id", r."created_at", r."score", d."id" AS "dataset_dataset_id", d."created_at" AS "dataset_created_at", d."query" AS "query"`
	for join, want := range map[string]string{
		"left":  `SELECT d.dataset_id, ` + cols + ` FROM main."m_dataset" AS d LEFT JOIN main."m_results" AS r ON d.dataset_id = r.dataset_id`,
		"inner": `SELECT d.dataset_id, ` + cols + ` FROM main."m_dataset" AS d JOIN main."m_results" AS r ON d.dataset_id = r.dataset_id`,
		"full":  `SELECT coalesce(d.dataset_id, r.dataset_id) AS dataset_id, ` + cols + ` FROM main."m_dataset" AS d FULL JOIN main."m_results" AS r ON d.dataset_id = r.dataset_id`,
	} {
		got, err := joinView(&config.Dataset{Join: join, ViewName: "m_data"}, ds, res)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := joinView(&config.Dataset{Join: "left", ViewName: "m_data"}, part("m_dataset", "id"), res)
	require.ErrorContains(t, err, "m_dataset has no column dataset_id")
}
