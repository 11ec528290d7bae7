package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/internal/step"
	"github.com/pintaildb/pintail/test/harness"
)

// replica is a project with one dataset shop of mode: cdc with all tables of schema public; more is put into it.
func replica(t *testing.T, url, more string) (*harness.Project, harness.Replica) {
	t.Helper()
	return harness.With(t, url, harness.ReplicaYAML("shop", more)), harness.Replica{URL: url, Dataset: "shop"}
}

// dies waits until the process has killed itself, as it was armed to.
func dies(t *testing.T, pr *harness.Process) {
	t.Helper()
	r, ok := pr.Wait(harness.ReplicaTimeout)
	if !ok {
		t.Fatalf("the step was not reached within %s: %s", harness.ReplicaTimeout, harness.Tail(r.Stderr, 30))
	}
	killed(t, r)
}

// leftFiles fails unless the file's folder holds nothing that a stopped process should not leave.
func leftFiles(t *testing.T, p *harness.Project) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(p.DB))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, ".spool") {
			err := filepath.WalkDir(filepath.Join(filepath.Dir(p.DB), name), func(path string, d os.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					t.Errorf("left behind: %s", path)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if name != filepath.Base(p.DB) && name != filepath.Base(p.DB)+".lock" {
			t.Errorf("left behind: %s", name)
		}
	}
}

// The process is killed at every step of a replica's first copy, of its batches, and of tables that join in, the first time
// and later: the next process takes it up, and nothing is missing or doubled.
func TestKillReplicaSteps(t *testing.T) {
	t.Parallel()
	url := database(t)
	harness.PG(t, url, harness.LoadSQL)
	p, r := replica(t, url, ", batch: {time: 50ms}")
	n := 0
	// change writes every kind of change; each table's rows tell afterwards which of them arrived, and how often.
	change := func() {
		t.Helper()
		n++
		harness.PG(t, url, fmt.Sprintf(`BEGIN; INSERT INTO orders SELECT g, 1, 'step', 1 FROM generate_series(%[1]d, %[1]d + 20) g; INSERT INTO lines SELECT g, k, 'step', 1 FROM generate_series(%[1]d, %[1]d + 20) g, generate_series(1, 2) k;
			UPDATE accounts SET balance = balance + (CASE WHEN id %% 2 = 0 THEN 1 ELSE -1 END); COMMIT`, 10000+100*n),
			"UPDATE docs SET small = small + 1; DELETE FROM docs WHERE id = (SELECT min(id) FROM docs)", fmt.Sprintf("TRUNCATE scratch; INSERT INTO scratch VALUES (%d, 'x')", n), "UPDATE parts SET region = (region + 7) % 20")
	}
	// What the first copy left is copied beside the stream, which is killed as well.
	for i, moments := range [][]string{{step.SlotMade}, {step.TableCopied, step.Joined}, {step.TableCopied + ":3", step.SideCopied, step.BatchCommitted}, {step.TableCopied + ":7"}} {
		if i > 0 { // begin once more with nothing
			if err := os.RemoveAll(filepath.Dir(p.DB)); err != nil {
				t.Fatal(err)
			}
			freeSource(t, url)
		}
		for _, moment := range moments {
			p.Env = []string{step.Variable + "=" + moment}
			pr := p.Start("serve")
			change()
			dies(t, pr)
		}
		p.Env = nil
		s := p.Serve()
		change()
		s.Same(r)
		s.Stop()
		leftFiles(t, p)
	}
	p.OK("sync", "--full")
	r.Compare(t, harness.File(p.DB))
	for _, moment := range []string{step.BatchStaged, step.BatchStaged + ":3", step.BatchApplied, step.BatchApplied + ":2", step.BatchCommitted, step.BatchCommitted + ":3", step.Acked, step.Acked + ":2", step.Acked + ":4"} {
		p.Env = []string{step.Variable + "=" + moment}
		pr := p.Start("serve")
		harness.Eventually(t, harness.ReplicaTimeout, moment+" is reached", func() bool {
			if !pr.Ended() {
				change()
			}
			return pr.Ended()
		})
		dies(t, pr)
		p.Env = nil
		change()
		if n%2 == 0 {
			p.OK("sync")
			r.Compare(t, harness.File(p.DB))
			continue
		}
		s := p.Serve()
		s.Same(r)
		s.Stop()
	}
	for i, moment := range []string{step.SideCopied, step.Joined} {
		p.Env = []string{step.Variable + "=" + moment}
		s := p.ServeNow()
		s.AwaitReady()
		s.JSON(200, "POST", "/api/store/sync/shop/reset-watermark?table="+[]string{"shop.orders", "shop.lines"}[i], nil, nil)
		change()
		dies(t, s.Process)
		s.Crash()
		p.Env = nil
		change()
		s = p.Serve()
		s.Same(r)
		s.Stop()
		leftFiles(t, p)
	}
	if slots := r.Slot(t); strings.Contains(slots, ",") {
		t.Errorf("slots are left: %s", slots)
	}
}

// one is the single value that a query of PostgreSQL gives, as text.
func one(t *testing.T, url, query string) string {
	t.Helper()
	var v string
	if err := harness.Conn(t, url).QueryRow(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// freeSource takes slots and publications away that a file which is gone had.
func freeSource(t *testing.T, url string) {
	t.Helper()
	harness.PG(t, url, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()",
		"DO $$ DECLARE p record; BEGIN FOR p IN SELECT pubname FROM pg_publication LOOP EXECUTE 'DROP PUBLICATION ' || p.pubname; END LOOP; END $$")
}

// A server that follows a source under load is killed at random, again and again, with tables asked for anew now and then.
// Every few kills and in the end every row is there, once.
func TestReplicaRandomKills(t *testing.T) {
	t.Parallel()
	majors, kills := []int{pgtest.Newest}, 20
	if long() {
		majors, kills = pgtest.Majors(), 200
	}
	for _, major := range majors {
		t.Run(fmt.Sprintf("pg%d", major), func(t *testing.T) {
			t.Parallel()
			randomKills(t, pgtest.Get(t, major).DB(t), kills)
		})
	}
}

func randomKills(t *testing.T, url string, kills int) {
	chosen := seed(t)
	rng := rand.New(rand.NewPCG(chosen, 0))
	harness.PG(t, url, "ALTER DATABASE "+one(t, url, "SELECT quote_ident(current_database())")+" SET logical_decoding_work_mem = '64kB'", harness.LoadSQL)
	p, r := replica(t, url, ", memory: 32MiB, batch: {rows: 100}")
	load := harness.StartLoad(t, url, chosen, 3)
	early := 0
	for n := range kills {
		if rng.IntN(4) == 0 {
			early++
			pr := p.Start("serve")
			time.Sleep(time.Duration(rng.IntN(600)) * time.Millisecond)
			pr.Kill()
			continue
		}
		s := p.ServeNow()
		if rng.IntN(3) == 0 {
			table := []string{"shop.orders", "shop.docs", "shop.parts", "shop.lines"}[rng.IntN(4)]
			_, _ = s.Do("POST", "/api/store/sync/shop/reset-watermark?table="+table, nil) // there may be none yet
		}
		time.Sleep(time.Duration(rng.IntN(1200)) * time.Millisecond)
		if n%5 == 4 { // what is there now is what the source once was, and becomes what it is
			load.Stop(t)
			s.Same(r)
			for _, q := range harness.LoadInvariants {
				if q = fmt.Sprintf(q, "shop"); s.One(q) != "0" {
					t.Fatalf("after %d kills: %s is %s", n, q, s.One(q))
				}
			}
			load = harness.StartLoad(t, url, chosen+uint64(n), 3)
		}
		s.Crash()
	}
	load.Stop(t)
	t.Logf("%d kills, %d of them before the server answered", kills, early)
	p.OK("sync")
	r.Compare(t, harness.File(p.DB))
	leftFiles(t, p)
	if slots := r.Slot(t); strings.Contains(slots, ",") {
		t.Errorf("slots are left: %s", slots)
	}
}

// A server that is asked to stop does so in time while it copies, follows and lets tables join, and a command that is
// interrupted too.
func TestReplicaStops(t *testing.T) {
	t.Parallel()
	url := database(t)
	harness.PG(t, url, harness.LoadSQL, "INSERT INTO orders SELECT g, 1, 'more', 1, repeat('x', 300) FROM generate_series(300001, 400000) g")
	p, r := replica(t, url, "")
	chosen := seed(t)
	rng := rand.New(rand.NewPCG(chosen, 0))
	for range 3 {
		pr := p.Start("sync")
		time.Sleep(time.Duration(100+rng.IntN(700)) * time.Millisecond)
		pr.Signal(syscall.SIGINT)
		if res := end(t, pr); res.Code != 130 && res.Code != 0 && res.Code != -1 {
			t.Errorf("an interrupted command ended with %s", res)
		}
		leftFiles(t, p)
	}
	load := harness.StartLoad(t, url, chosen, 2)
	for range 3 {
		s := p.ServeNow()
		_, _ = s.Do("POST", "/api/store/sync/shop/reset-watermark?table=shop.orders", nil) // there may be none yet
		time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
		s.Stop()
		leftFiles(t, p)
	}
	load.Stop(t)
	s := p.Serve()
	s.Same(r)
}
