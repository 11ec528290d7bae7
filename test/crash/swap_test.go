package crash

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/pintaildb/pintail/test/harness"
)

// generations is a source whose two tables carry one generation in every row; turn changes both in one transaction.
const (
	generationRows = 4000
	generations    = `
	CREATE TABLE halves_a (id int PRIMARY KEY, gen bigint NOT NULL, pad text, at timestamptz NOT NULL DEFAULT now());
	CREATE TABLE halves_b (id int PRIMARY KEY, gen bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
	INSERT INTO halves_a SELECT g, 1, repeat('x', 600) FROM generate_series(1, 4000) g;
	INSERT INTO halves_b SELECT g, 1 FROM generate_series(1, 4000) g`
	generationDatasets = `
datasets:
  gen: {source: pg, dataset_query: "SELECT id AS dataset_id, gen, pad, at FROM halves_a", results_query: "SELECT id AS dataset_id, gen, at FROM halves_b",
    key: {dataset: [dataset_id], results: [dataset_id]}, incremental_column: at}
`
)

func turn(t *testing.T, url string) {
	t.Helper()
	harness.PG(t, url, "BEGIN; UPDATE halves_a SET gen = gen + 1, at = now(); UPDATE halves_b SET gen = gen + 1, at = now(); COMMIT")
}

// looping are statements that see both halves. Each gives the least generation, the largest, and the rows.
var looping = []string{
	"SELECT min(least(gen, dataset_gen)), max(greatest(gen, dataset_gen)), count(*) FROM gen_data",
	"SELECT min(gen), max(gen), count(*) // 2 FROM (SELECT gen FROM gen_dataset UNION ALL SELECT gen FROM gen_results)",
	"SELECT least((SELECT min(gen) FROM gen_results), (SELECT min(dataset_gen) FROM gen_data)), greatest((SELECT max(gen) FROM gen_dataset), (SELECT max(gen) FROM gen_data)), (SELECT count(*) FROM gen_results)",
	"SELECT min(a.gen), max(b.gen), count(*) FROM gen_dataset a JOIN gen_results b USING (dataset_id) WHERE a.gen = b.gen",
}

// looper runs one statement again and again.
type looper struct {
	sql   string
	times int
	seen  map[int64]bool // generations
	err   error
}

func (l *looper) run(ctx context.Context, base string) {
	l.seen = map[int64]bool{}
	last := int64(0)
	for ctx.Err() == nil {
		row, err := ask(ctx, base, l.sql)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.err = err
		case row[2] != generationRows:
			l.err = fmt.Errorf("%d rows", row[2])
		case row[0] != row[1]:
			l.err = fmt.Errorf("generations %d to %d in one answer", row[0], row[1])
		case row[0] < last:
			l.err = fmt.Errorf("generation %d after %d", row[0], last)
		}
		if l.err != nil {
			l.err = fmt.Errorf("%s, the %dth time: %w", l.sql, l.times+1, l.err)
			return
		}
		last = row[0]
		l.seen[last] = true
		l.times++
	}
}

// ask runs a statement that gives one row of three integers.
func ask(ctx context.Context, base, sql string) (row [3]int64, err error) {
	body, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		return row, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v0/sql", bytes.NewReader(body))
	if err != nil {
		return row, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return row, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return row, err
	}
	var answer struct{ Rows [][3]json.Number }
	if err := json.Unmarshal(text, &answer); err != nil || res.StatusCode != http.StatusOK || len(answer.Rows) != 1 {
		return row, fmt.Errorf("status %d: %s", res.StatusCode, text)
	}
	for i, v := range answer.Rows[0] {
		n, err := v.Int64()
		if err != nil {
			return row, err
		}
		row[i] = n
	}
	return row, nil
}

// Syncs swap both tables and the view, or merge into both, again and again, while four readers ask without pause: none
// ever gets an error or parts of two generations.
func TestSwapUnderLoopingReaders(t *testing.T) {
	for _, kind := range []string{"full", "incremental"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			url := database(t)
			harness.PG(t, url, generations)
			p := with(t, url, generationDatasets)
			s := p.Serve()
			s.Sync("gen")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var wg sync.WaitGroup
			loopers := make([]looper, len(looping))
			for i := range looping {
				loopers[i].sql = looping[i]
				wg.Go(func() { loopers[i].run(ctx, s.Base) })
			}
			swaps := 8
			if long() {
				swaps = 200
			}
			for range swaps {
				turn(t, url)
				if kind == "full" {
					s.SyncFull("gen")
				} else if r := s.Sync("gen"); r.Kind != kind || r.RowsWritten != 2*generationRows {
					t.Errorf("want an increment of all rows, got %s", harness.Show(r))
				}
			}
			cancel()
			wg.Wait()
			for _, l := range loopers {
				if l.err != nil {
					t.Error(l.err)
				}
				t.Logf("%d times, %d generations seen: %s", l.times, len(l.seen), l.sql)
				if len(l.seen) < 3 {
					t.Errorf("too few generations were seen for the test to mean anything")
				}
			}
			same(t, url, s, generationObjects)
			s.Stop()
			clean(t, p, "gen_dataset", "gen_results")
		})
	}
}

var generationObjects = []object{
	{"gen_dataset", "SELECT id AS dataset_id, gen, pad, at FROM halves_a", []string{"dataset_id"}},
	{"gen_results", "SELECT id AS dataset_id, gen, at FROM halves_b", []string{"dataset_id"}}}

// reading is a client that takes a long answer slowly.
type reading struct {
	body  io.ReadCloser
	lines *bufio.Scanner
	rows  int
	gens  map[string]int
}

// openReading sends the statement and takes the first row only: the rest waits in the server.
func openReading(t *testing.T, s *harness.Server, sql string) *reading {
	t.Helper()
	body, err := json.Marshal(map[string]string{"sql": sql, "format": "ndjson"})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(s.Base+"/v0/sql", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		t.Fatalf("%s: %d %s", sql, res.StatusCode, text)
	}
	r := &reading{body: res.Body, lines: bufio.NewScanner(res.Body), gens: map[string]int{}}
	if !r.next(t) {
		t.Fatalf("%s gave no row", sql)
	}
	return r
}

func (r *reading) next(t *testing.T) bool {
	t.Helper()
	if !r.lines.Scan() {
		return false
	}
	var row struct {
		A     json.Number
		B     json.Number
		Error any
	}
	if err := json.Unmarshal(r.lines.Bytes(), &row); err != nil || row.Error != nil {
		t.Fatalf("%v in %s", err, r.lines.Text())
	}
	r.rows++
	r.gens[row.A.String()]++
	r.gens[row.B.String()]++
	return true
}

func (r *reading) rest(t *testing.T) {
	t.Helper()
	for r.next(t) {
	}
	if err := r.lines.Err(); err != nil {
		t.Fatalf("after %d rows: %v", r.rows, err)
	}
}

// A long answer that began before a swap is of the old version to its end, whatever is swapped meanwhile; afterwards the
// space of the old version is free again.
func TestOldReaderKeepsItsVersion(t *testing.T) {
	t.Parallel()
	url := database(t)
	harness.PG(t, url, generations)
	p := with(t, url, generationDatasets)
	s := p.Serve()
	s.Sync("gen")
	// About 50 MB: far more than the sockets between take.
	r := openReading(t, s, "SELECT v.gen AS a, v.dataset_gen AS b, v.pad FROM gen_data v, range(20) ORDER BY dataset_id")
	for range 3 {
		turn(t, url)
		s.SyncFull("gen")
	}
	if now := s.One("SELECT min(gen) FROM gen_data"); now != "4" {
		t.Fatalf("a new reader sees generation %s, want 4", now)
	}
	if r.rows != 1 {
		t.Fatalf("%d rows were read", r.rows)
	}
	r.rest(t)
	if want := 20 * generationRows; r.rows != want || r.gens["1"] != 2*want {
		t.Errorf("the old reader saw %d rows of generations %v, want %d of the first", r.rows, r.gens, want)
	}
	s.SyncFull("gen")
	same(t, url, s, generationObjects)
	s.Stop()
	clean(t, p, "gen_dataset", "gen_results")
}

// A table scan that began before a swap, unsorted, so that it reads the dropped table itself while it goes on.
func TestOldScanKeepsItsVersion(t *testing.T) {
	t.Parallel()
	url := database(t)
	harness.PG(t, url, generations, "INSERT INTO halves_a SELECT g, 1, repeat(md5(g::text), 20) FROM generate_series(4001, 60000) g", "INSERT INTO halves_b SELECT g, 1 FROM generate_series(4001, 60000) g")
	p := with(t, url, generationDatasets)
	s := p.Serve()
	s.Sync("gen")
	r := openReading(t, s, "SELECT gen AS a, gen AS b, pad FROM gen_dataset")
	for range 2 {
		turn(t, url)
		s.SyncFull("gen")
	}
	r.rest(t)
	if r.rows != 60000 || r.gens["1"] != 2*60000 {
		t.Errorf("the old reader saw %d rows of generations %v, want 60000 of the first", r.rows, r.gens)
	}
	if now := s.One("SELECT min(gen) FROM gen_data"); now != "3" {
		t.Fatalf("a new reader sees generation %s, want 3", now)
	}
	s.Stop()
	clean(t, p, "gen_dataset", "gen_results")
}
