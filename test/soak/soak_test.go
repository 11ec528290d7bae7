// Package soak runs a replica for minutes while everything happens to it at once: its source is written by several sessions,
// tables change their form, come and go, pintail is killed, and PostgreSQL is shut down without warning. Now and then, and in
// the end, the copy is compared with the source. One difference fails the run.
//
//	make soak             8 minutes, the log in bin/soak.log
//	make soak SOAK=2h
package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// What the environment says: how long to run, whether tests take their time, and which choices to repeat.
const (
	soakEnv = "PINTAIL_SOAK"
	longEnv = "PINTAIL_TEST_LONG"
	seedEnv = "PINTAIL_TEST_SEED"
)

func duration(t *testing.T) time.Duration {
	text := os.Getenv(soakEnv)
	switch {
	case text != "":
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s=%s: %v", soakEnv, text, err)
		}
		return d
	case os.Getenv(longEnv) != "":
		return 20 * time.Second
	}
	return 6 * time.Second
}

func seed(t *testing.T) uint64 {
	s := rand.Uint64()
	if text := os.Getenv(seedEnv); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s=%s: %v", seedEnv, text, err)
		}
		s = n
	}
	return s
}

const (
	sessions = 3
	// eventEvery is the mean time from one event to the next, verifyEvery from one comparison to the next.
	eventEvery  = 1500 * time.Millisecond
	verifyEvery = 20 * time.Second
	// rowsKept is about how many orders the source keeps: the load only adds.
	rowsKept = 30_000
	// patience bounds what has to succeed sooner or later while servers come and go.
	patience = 2 * time.Minute
)

func TestSoak(t *testing.T) {
	long, choices := duration(t), seed(t)
	t.Logf("%s of it; %s=%d repeats this choice of events and writes", long, seedEnv, choices)
	majors := pgtest.Majors()
	pg := pgtest.StartT(t, pgtest.Options{Major: majors[len(majors)-1]})
	url := pg.DB(t)
	harness.PG(t, url, harness.LoadSQL, "CREATE TABLE soaked (id int PRIMARY KEY, v int); INSERT INTO soaked SELECT g, g FROM generate_series(1, 500) g")
	k := &soak{t: t, pg: pg, url: url, rng: rand.New(rand.NewPCG(choices, 99)), replica: harness.Replica{URL: url, Dataset: "shop"}, counts: map[string]int{}}
	k.project = harness.With(t, url, harness.ReplicaYAML("shop", ", memory: 64MiB"))
	k.server = k.project.ServeNow()
	k.load = harness.StartPatientLoad(t, url, choices, sessions)

	end, verify := time.Now().Add(long), time.Now().Add(min(verifyEvery, long/3))
	for time.Now().Before(end) {
		time.Sleep(time.Duration(k.rng.Int64N(int64(2 * eventEvery)))) // the pace of events
		if time.Now().After(verify) {
			k.verify()
			verify = time.Now().Add(verifyEvery)
			continue
		}
		k.event()
	}
	k.verify()
	k.load.Stop(t)
	k.log("the load has ended: %s", k.load)
	// Row by row. Tables that came or went are noticed by looking, so the position alone does not say that the copy is there.
	k.server.Becomes(k.replica)
	k.invariants()
	k.project.OK("verify", "shop")
	k.log("the copy is the source, row by row; there were %v", k.counts)
	for _, what := range []string{"kill", "schema change", "verify"} {
		if k.counts[what] == 0 && long >= 20*time.Second {
			t.Errorf("no %s in %s", what, long)
		}
	}
}

// soak is the state of a run. One goroutine makes all events, the load has its own.
type soak struct {
	t       *testing.T
	pg      *pgtest.Server
	url     string
	project *harness.Project
	server  *harness.Server
	replica harness.Replica
	load    *harness.Load
	rng     *rand.Rand
	counts  map[string]int
	added   []string // columns of table soaked
	extra   []string // tables
	names   int
}

func (k *soak) log(format string, args ...any) {
	k.t.Helper()
	k.t.Logf("%s %s", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

func (k *soak) did(what, format string, args ...any) {
	k.t.Helper()
	k.counts[what]++
	k.log("%s: %s", what, fmt.Sprintf(format, args...))
}

func (k *soak) event() {
	switch n := k.rng.IntN(10); {
	case n < 3:
		k.kill()
	case n < 4:
		k.restart()
	case n < 5:
		k.prune()
	default:
		k.schemaChange()
	}
}

// kill ends pintail as a crash does; sometimes its successor too, before it answers.
func (k *soak) kill() {
	k.server.Crash()
	early := k.rng.IntN(3)
	for range early {
		p := k.project.Start("serve")
		time.Sleep(time.Duration(k.rng.IntN(400)) * time.Millisecond) // anywhere in its start
		p.Kill()
	}
	k.server = k.project.ServeNow()
	k.did("kill", "pintail runs again, after %d early ends", early)
}

// restart ends PostgreSQL without a checkpoint, so that it has to recover.
func (k *soak) restart() {
	if err := k.pg.Stop(pgtest.Immediate); err != nil {
		k.t.Fatal(err)
	}
	away := time.Duration(k.rng.IntN(1500)) * time.Millisecond
	time.Sleep(away) // for as long it is away
	if err := k.pg.Restart(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	k.did("restart", "PostgreSQL was away for %s", away)
}

// prune deletes what the load has added, but the newest.
func (k *soak) prune() {
	k.try(`DO $$ DECLARE until bigint; BEGIN
		SELECT max(id) - ` + strconv.Itoa(rowsKept) + ` INTO until FROM orders;
		DELETE FROM lines WHERE order_id > 1000000 AND order_id < until;
		DELETE FROM orders WHERE id > 1000000 AND id < until;
	END $$`)
	k.did("prune", "the source keeps about %d orders", rowsKept)
}

// schemaChange changes a table's form in a transaction that writes it before and after, or makes or drops a table.
func (k *soak) schemaChange() {
	k.names++
	name := fmt.Sprintf("n%d", k.names)
	pick := func(list *[]string) string { // and takes it away
		i := k.rng.IntN(len(*list))
		s := (*list)[i]
		*list = append((*list)[:i:i], (*list)[i+1:]...)
		return s
	}
	table, ddl := "soaked", ""
	switch n := k.rng.IntN(9); {
	case n < 3 || len(k.added) == 0 && n < 6:
		kind := []string{"int DEFAULT 5", "text DEFAULT 'added'", "numeric(10,3)", "timestamptz DEFAULT '2020-01-01Z'", "jsonb DEFAULT '{\"a\": [1]}'", "int"}[k.rng.IntN(6)]
		ddl = "ALTER TABLE soaked ADD COLUMN " + name + " " + kind
		k.added = append(k.added, name)
	case n == 3:
		ddl = "ALTER TABLE soaked DROP COLUMN " + pick(&k.added)
	case n == 4:
		ddl = "ALTER TABLE soaked RENAME COLUMN " + pick(&k.added) + " TO " + name
		k.added = append(k.added, name)
	case n == 5:
		column := k.added[k.rng.IntN(len(k.added))]
		ddl = "ALTER TABLE soaked ALTER " + column + " DROP DEFAULT, ALTER " + column + " TYPE text USING " + column + "::text"
	case n == 6:
		table, ddl = "orders", "ALTER TABLE orders ALTER amount TYPE numeric("+strconv.Itoa(13+k.names%20)+",2)"
	case n == 7 || len(k.extra) == 0:
		ddl = "CREATE TABLE " + name + " (id int PRIMARY KEY, v text); INSERT INTO " + name + " SELECT g, 'new' FROM generate_series(1, 300) g"
		k.extra = append(k.extra, name)
	default:
		ddl = "DROP TABLE " + pick(&k.extra)
	}
	write := fmt.Sprintf("UPDATE %s SET id = id WHERE id %% 7 = %d", table, k.names%7)
	if table == "soaked" {
		write = fmt.Sprintf("UPDATE soaked SET v = v + 1 WHERE id %% 7 = %d; INSERT INTO soaked (id, v) VALUES (%d, 0)", k.names%7, 1000+2*k.names)
	}
	again := strings.Replace(write, fmt.Sprintf("(%d, 0)", 1000+2*k.names), fmt.Sprintf("(%d, 0)", 1001+2*k.names), 1)
	if k.try("BEGIN; SET LOCAL lock_timeout = '2s'; " + write + "; " + ddl + "; " + again + "; COMMIT") {
		k.did("schema change", "%s", ddl)
	}
}

// try runs statements, again when sessions or servers were in the way. Where it cannot be known whether the last try was
// committed, and the next one meets what it has left, it was; false is a change that was given up.
func (k *soak) try(sql string) (done bool) {
	deadline := time.Now().Add(patience)
	unsure := false
	for {
		err := k.exec(sql)
		var pg *pgconn.PgError
		switch {
		case err == nil:
			return true
		case errors.As(err, &pg) && (pg.Code == "55P03" || pg.Code == "40P01" || pg.Code == "40001" || strings.HasPrefix(pg.Code, "57") || strings.HasPrefix(pg.Code, "08")):
		case errors.As(err, &pg) && unsure:
			return true
		case errors.As(err, &pg):
			k.t.Fatalf("%s: %v", sql, err)
		default:
			unsure = true // the connection broke
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("tried in vain for %s: %s: %v", patience, sql, err)
		}
		time.Sleep(50 * time.Millisecond) // what is in the way goes on
	}
}

func (k *soak) exec(sql string) error {
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, k.url)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	_, err = c.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// invariants hold in every state that the source ever had.
func (k *soak) invariants() {
	for _, q := range harness.LoadInvariants {
		q = fmt.Sprintf(q, "shop")
		if n := k.server.One(q); n != "0" {
			k.t.Fatalf("%s rows contradict: %s", n, q)
		}
	}
}

// verify has pintail compare the two while the load goes on. It may fail for other reasons than a difference, when a table comes
// or goes meanwhile, but not for long.
func (k *soak) verify() {
	deadline := time.Now().Add(patience)
	for tries := 1; ; tries++ {
		r := k.project.Run("verify", "shop")
		switch {
		case r.Code == fault.ExitOK:
			k.did("verify", "no difference, after %s and %d tries, in %d tables", r.Took.Round(time.Millisecond), tries, strings.Count(r.Stdout, ": equal"))
			k.invariants()
			return
		case r.Code == fault.ExitDifferences:
			k.t.Fatalf("the copy differs: %s\n%s", r, harness.Tail(k.server.Log(), 40))
		case time.Now().After(deadline):
			k.t.Fatalf("verify fails for %s: %s\n%s", patience, r, harness.Tail(k.server.Log(), 40))
		}
		k.log("verify could not compare: %s", strings.TrimSpace(r.Stderr))
		time.Sleep(500 * time.Millisecond) // whatever is under way goes on
	}
}
