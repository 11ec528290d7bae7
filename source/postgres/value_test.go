package postgres

import (
	"math/big"
	"testing"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/pgtest"
)

// Bounds are read, compared, moved on and written as the server does it.
func TestValuesAgainstServer(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	c := connect(t, url)
	exec(t, c, "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'")
	for _, tc := range []struct {
		kind string
		oid  uint32
		sql  string // gives values of it
	}{
		{"timestamptz", 1184, `SELECT timestamptz '4714-11-24 00:00:00+00 BC' + (random() * 106000000)::int * interval '1 day' + random() * interval '1 day' FROM generate_series(1, 500)
			UNION ALL SELECT unnest('{2000-01-01, 1999-12-31 23:59:59.999999, 0001-01-01, 0001-12-31 BC, 4714-11-24 00:00:00 BC, 294276-12-31 23:59:59.999999, 1970-01-01, 2024-02-29 12:34:56.1, infinity, -infinity}'::timestamptz[])`},
		{"timestamp", 1114, `SELECT timestamp '0004-01-01 BC' + (random() * 3000000)::int * interval '1 day' + random() * interval '1 day' FROM generate_series(1, 200) UNION ALL SELECT unnest('{infinity, -infinity, 2000-02-29 00:00:00.000001}'::timestamp[])`},
		{"date", 1082, `SELECT date '4714-11-24 BC' + (random() * 2147483000)::int FROM generate_series(1, 200) UNION ALL SELECT unnest('{infinity, -infinity, 5874897-12-31, 4714-11-24 BC, 2024-02-29}'::date[])`},
		{"bigint", 20, `SELECT (random() * 1e18)::bigint - 500000000000000000 FROM generate_series(1, 100) UNION ALL SELECT unnest('{9223372036854775806, -9223372036854775808, 0, -1}'::bigint[])`},
		{"numeric(20,3)", 1700, `SELECT (random() * 1e15)::numeric(20,3) - 5e14 FROM generate_series(1, 100) UNION ALL SELECT unnest('{0, -0.001, 99999999999999999.998}'::numeric(20,3)[])`},
		{"uuid", 2950, `SELECT gen_random_uuid() FROM generate_series(1, 100) UNION ALL SELECT unnest('{00000000-0000-0000-0000-0000000000ff, ffffffff-ffff-ffff-ffff-fffffffffffe}'::uuid[])`},
		{"text", 25, `SELECT md5(i::text) FROM generate_series(1, 100) i UNION ALL SELECT unnest('{"", a, ab, é, 😀, "a b"}'::text[])`},
	} {
		typmod := int32(-1)
		if tc.oid == 1700 {
			typmod = 20<<16 | 3 + 4
		}
		typ := types.Of(tc.oid, typmod, nil)
		collate := ""
		if tc.oid == 25 {
			collate = ` COLLATE "C"`
		}
		rows, err := c.Query(t.Context(), "SELECT v::text, lead(v::text) OVER w, lead(v"+collate+") OVER w > v FROM (SELECT v"+collate+" AS v FROM ("+tc.sql+") s(v)) s WINDOW w AS (ORDER BY v)")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		var texts []string
		for rows.Next() {
			var v string
			var next *string
			var larger *bool
			if err := rows.Scan(&v, &next, &larger); err != nil {
				t.Fatal(err)
			}
			n++
			texts = append(texts, v)
			if isTime(&typ) {
				x, err := parseTime(&typ, v)
				if err != nil || formatTime(&typ, x) != v {
					t.Errorf("%s %q: read as %d, written as %q (%v)", tc.kind, v, x, formatTime(&typ, x), err)
				}
			}
			if next == nil {
				continue
			}
			want := 0
			if *larger {
				want = -1
			}
			if got, err := compareValues(&typ, v, *next); err != nil || got != want {
				t.Errorf("%s: %q against %q is %d (%v), the server says %d", tc.kind, v, *next, got, err, want)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if n < 100 {
			t.Fatalf("%s: %d values", tc.kind, n)
		}
		for _, v := range texts {
			if v == "infinity" || v == "-infinity" || v == "5874897-12-31" || v == "294276-12-31 23:59:59.999999+00" {
				continue
			}
			a, err := after(&typ, v)
			if err != nil {
				t.Fatal(err)
			}
			var larger bool
			if err := c.QueryRow(t.Context(), "SELECT $1::text::"+tc.kind+collate+" > $2::text::"+tc.kind+collate, a, v).Scan(&larger); err != nil || !larger {
				t.Errorf("%s: after %q comes %q: %v", tc.kind, v, a, err)
			}
		}
	}
}

func TestValuesOneStep(t *testing.T) {
	for _, tc := range []struct {
		oid     uint32
		mod     int32
		v, want string
	}{
		{20, -1, "-1", "0"}, {1700, 10<<16 | 2 + 4, "-0.01", "0.00"}, {1082, -1, "0001-12-31 BC", "0001-01-01"},
		{1184, -1, "1999-12-31 23:59:59.999999+00", "2000-01-01 00:00:00+00"}, {2950, -1, "00000000-0000-0000-0000-0000000000ff", "00000000-0000-0000-0000-000000000100"},
		{2950, -1, "ffffffff-ffff-ffff-ffff-ffffffffffff", "ffffffff-ffff-ffff-ffff-ffffffffffff"},
	} {
		typ := types.Of(tc.oid, tc.mod, nil)
		if got, err := after(&typ, tc.v); err != nil || got != tc.want {
			t.Errorf("after %s comes %s (%v), want %s", tc.v, got, err, tc.want)
		}
	}
	// Zones other than UTC are read too, should a session's setting not hold.
	for in, want := range map[string]string{"2000-01-01 05:30:00+05:30": "2000-01-01 00:00:00+00", "1999-12-31 19:03:58-04:56:02": "2000-01-01 00:00:00+00"} {
		x, err := parseTime(&instant, in)
		if got := formatTime(&instant, x); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "x", "2000-13-01", "2000-01-01 00:00:00.1234567", "99999999-01-01", "2000-01-01 00:00:00+", "1/2"} {
		if x, err := parseTime(&instant, bad); err == nil {
			t.Errorf("%q is read as %d", bad, x)
		}
	}
	for _, bad := range []string{"", "x", "1/2", "0x10", "1e5", "NaN", "1_000"} {
		if x, err := parseNumber(bad); err == nil {
			t.Errorf("%q is read as %s", bad, x)
		}
	}
	if x, err := parseNumber("-12.50"); err != nil || x.Cmp(big.NewRat(-25, 2)) != 0 {
		t.Error(x, err)
	}
}
