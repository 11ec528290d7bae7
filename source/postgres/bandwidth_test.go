package postgres

import (
	"testing"
	"time"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/source"
)

// All connections of a source together read no more in a second than they may.
func TestBandwidth(t *testing.T) {
	url := pgtest.Get(t, pgtest.Newest).DB(t)
	c := connect(t, url)
	exec(t, c, "CREATE TABLE wide AS SELECT i AS id, repeat(md5(i::text), 30) AS v FROM generate_series(1, 2000) i")
	read := func(bandwidth int64) time.Duration {
		begin := time.Now()
		n, err := openSource(t, Config{URL: url, Bandwidth: bandwidth}).Snapshot(t.Context(), source.SnapshotOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		d, err := n.Describe(t.Context(), source.Query{Table: "wide"})
		if err != nil {
			t.Fatal(err)
		}
		feed, err := n.Read(t.Context(), d, source.Range{}, 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		for {
			r, err := feed.Next(t.Context())
			if err != nil {
				break
			}
			ch := types.NewChunk(d.Types())
			for {
				types.ResetChunk(ch)
				k, err := r.Read(ch)
				if err != nil {
					t.Fatal(err)
				}
				if k == 0 {
					break
				}
				rows += k
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if rows != 2000 {
			t.Errorf("%d rows", rows)
		}
		return time.Since(begin)
	}
	// 2 MB at 1 MB a second; a tenth may come at once.
	if took := read(1 << 20); took < 1500*time.Millisecond {
		t.Errorf("2 MB took %s at 1 MiB a second", took)
	}
	if took := read(0); took > 1500*time.Millisecond {
		t.Errorf("2 MB took %s without a limit", took)
	}
}
