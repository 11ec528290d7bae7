package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/internal/fault"
)

// A test that needs another process runs this binary again with the step's name in childVar.
const childVar = "PINTAIL_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if step := os.Getenv(childVar); step != "" {
		child(step, os.Getenv("PINTAIL_STORE_TEST_PATH"))
		return
	}
	os.Exit(m.Run())
}

// child does one step, prints "ready" when it is there, and then waits to be killed or for its standard input to end.
func child(step, path string) {
	ctx := context.Background()
	check := func(err error) {
		if err != nil {
			fmt.Printf("error %s %v\n", fault.CodeOf(err), err)
			os.Exit(1)
		}
	}
	ready := func() {
		fmt.Println("ready")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	}
	s, err := Open(ctx, Options{Path: path, Threads: 2})
	check(err)
	next := plainFeed(6, 100000, 2, 2)
	switch step {
	case "hold":
		ready()
		check(s.Close(ctx))
		return
	case "staging", "staging in memory":
		var n atomic.Int64
		row := next.row
		next.row = func(p, i int) [][]byte {
			if n.Add(1) == 450000 {
				ready()
			}
			return row(p, i)
		}
		_, err = s.Stage(ctx, "a", next.cols, next, step == "staging")
		check(err)
	case "staged":
		_, err = s.Stage(ctx, "a", next.cols, next, true)
		check(err)
		ready()
	case "committing":
		st, err := s.Stage(ctx, "a", next.cols, next, true)
		check(err)
		check(s.Commit(ctx, func(tx *Tx) error {
			if err := tx.Swap("a", st); err != nil {
				return err
			}
			if err := tx.SaveTable(TableState{Target: "a", Dataset: "d", Rows: 600000}); err != nil {
				return err
			}
			ready()
			return nil
		}))
	case "batch staged", "batch committing", "batch committed":
		check(applyChild(s, step, ready))
	case "disk full":
		check(diskFullChild(ctx, s))
		fmt.Println("ready")
	case "committed":
		st, err := s.Stage(ctx, "a", next.cols, next, true)
		check(err)
		check(s.Commit(ctx, func(tx *Tx) error {
			if err := tx.Swap("a", st); err != nil {
				return err
			}
			return tx.SaveTable(TableState{Target: "a", Dataset: "d", Rows: 600000})
		}))
		ready()
	}
}

// startChild returns once the child is ready; stop ends it in the given way.
func startChild(t testing.TB, step, path string) (cmd *exec.Cmd) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+step, "PINTAIL_STORE_TEST_PATH="+path)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("child %s: %q %v", step, line, err)
	}
	return cmd
}

func TestASecondProcessIsToldWhoHoldsTheFile(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "p.duckdb")
	cmd := startChild(t, "hold", path)
	link := filepath.Join(t.TempDir(), "link.duckdb")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		_, err := Open(ctx, Options{Path: p})
		if fault.CodeOf(err) != fault.Locked || !strings.Contains(err.Error(), "process "+strconv.Itoa(cmd.Process.Pid)) || !strings.Contains(fault.HintOf(err), "--server") {
			t.Errorf("%s: %v (%s)", p, err, fault.HintOf(err))
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	s, err := Open(ctx, Options{Path: path})
	if err != nil {
		t.Fatal("after the holder was killed:", err)
	}
	// Within one process too there is one instance only.
	_, err = Open(ctx, Options{Path: path})
	if fault.CodeOf(err) != fault.Locked || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Error(err)
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(ctx); err != nil {
		t.Error("a second time:", err)
	}
	if b, err := os.ReadFile(path + ".lock"); err != nil || len(b) > 0 {
		t.Errorf("the lock file after a clean close: %q %v", b, err)
	}
	if _, err := os.Stat(path + ".wal"); err == nil {
		t.Error("a clean close left a WAL")
	}
	if s, err = Open(ctx, Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestKilledBetweenStageAndCommit(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		step string
		gen  int
		rows int
	}{{"staging", 1, 50000}, {"staging in memory", 1, 50000}, {"staged", 1, 50000}, {"committing", 1, 50000}, {"committed", 2, 600000}} {
		t.Run(c.step, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "p.duckdb")
			s, err := Open(ctx, Options{Path: path, Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			load(t, s, "a", plainFeed(1, 50000, 1, 1))
			if err := s.Commit(ctx, func(tx *Tx) error { return tx.SaveTable(TableState{Target: "a", Dataset: "d", Rows: 50000}) }); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(ctx); err != nil {
				t.Fatal(err)
			}
			cmd := startChild(t, c.step, path)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			// What a process killed while it spilled leaves.
			if err := os.MkdirAll(path+".tmp", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(path+".tmp", "duckdb_temp_storage-0.tmp"), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, Options{Path: path})
			after, _, used, err := s.Size()
			if err != nil || after > max(2*used+2<<20, before.Size()+1<<20) {
				t.Errorf("the file has %d bytes, of which %d are in use; %d before it was opened (%v)", after, used, before.Size(), err)
			}
			equal(t, "rows", lines(t, s, "SELECT min(gen), max(gen), count(*), count(DISTINCT id) FROM a"), fmt.Sprintf("[%d|%d|%d|%d]", c.gen, c.gen, c.rows, c.rows))
			equal(t, "tables", lines(t, s, "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'"), "[a]")
			ts, err := s.Tables(ctx)
			if err != nil || len(ts) != 1 || ts[0].Rows != int64(c.rows) {
				t.Errorf("the state does not fit the rows: %+v %v", ts, err)
			}
			if left, _ := os.ReadDir(path + ".tmp"); len(left) > 0 {
				t.Errorf("left in the temporary folder: %v", left)
			}
			// And the next load works, in a file that has not grown by what was lost.
			load(t, s, "a", plainFeed(1, 50000, 1, 3))
			load(t, s, "a", plainFeed(1, 50000, 1, 4))
			equal(t, "rows", lines(t, s, "SELECT min(gen), max(gen), count(*) FROM a"), "[4|4|50000]")
			if size, _, _, err := s.Size(); err != nil || size > max(after, 3*used)+1<<20 {
				t.Errorf("the file has grown from %d to %d bytes (%v)", after, size, err)
			}
		})
	}
}

// A file whose tables have row groups of another size is changed without harm.
func TestFileOfOtherRowGroups(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "other.duckdb")
	var db duck.Database
	var text string
	if duck.OpenExt(path, &db, duck.Config{}, &text) == duck.StateError {
		t.Fatal(text)
	}
	var c duck.Connection
	duck.Connect(db, &c)
	var res duck.Result
	if duck.Query(c, "CREATE TABLE t AS SELECT range AS id, range % 7 AS v FROM range(500000); CHECKPOINT", &res) == duck.StateError {
		t.Fatal(duck.ResultError(&res))
	}
	duck.DestroyResult(&res)
	duck.Disconnect(&c)
	duck.Close(&db)
	for round := range int64(3) {
		s, err := Open(ctx, Options{Path: path, Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(ctx, func(tx *Tx) error {
			return tx.run(fmt.Sprintf("DELETE FROM t WHERE id %% 5 = %d", round), fmt.Sprintf("INSERT INTO t SELECT range, 9 FROM range(500000) WHERE range %% 5 = %d", round),
				fmt.Sprintf("DELETE FROM t WHERE id >= 100000 AND id < %d", 250000+50000*round))
		}); err != nil {
			t.Fatal(err)
		}
		if err := s.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(ctx, Options{Path: path, Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(ctx)
	equal(t, "rows", lines(t, s, `SELECT count(*), count(DISTINCT id), bool_and(v = CASE WHEN id % 5 < 3 THEN 9 ELSE id % 7 END) FROM t
		WHERE id NOT BETWEEN 100000 AND 349999`), "[250000|250000|true]")
	equal(t, "between", lines(t, s, "SELECT count(*) FROM t WHERE id BETWEEN 100000 AND 349999"), "[0]")
	equal(t, "the size of a row group is as it was", lines(t, s, "SELECT max(c) > "+fmt.Sprint(rowGroupRows)+" FROM (SELECT sum(count) AS c FROM pragma_storage_info('t') WHERE column_name = 'id' AND segment_type <> 'VALIDITY' GROUP BY row_group_id)"), "[true]")
}

func TestFilesThatAreNotOurs(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	newer := filepath.Join(dir, "newer.duckdb")
	s, err := Open(ctx, Options{Path: newer})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, func(tx *Tx) error {
		_, err := tx.Exec("UPDATE " + s.state("meta") + " SET value = '99' WHERE name = 'format'")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.duckdb"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, says string
		code       fault.Code
	}{
		{newer, "format version 99", fault.Config},
		{write("text.duckdb", strings.Repeat("this is no database\n", 1000)), "not a valid DuckDB", fault.Config},
		{filepath.Join(dir, "folder.duckdb"), "folder.duckdb", fault.Config},
		{filepath.Join(write("file", ""), "x.duckdb"), "not a directory", fault.Config},
		{filepath.Join(dir, "main.duckdb"), `"main"`, fault.Config},
		{filepath.Join(dir, "_Pintail.db"), `"_Pintail"`, fault.Config},
		{filepath.Join(dir, "a?b.duckdb"), "?", fault.Config},
	} {
		s, err := Open(ctx, Options{Path: c.path})
		if err == nil {
			_ = s.Close(ctx)
			t.Errorf("%s was opened", c.path)
			continue
		}
		if fault.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || fault.HintOf(err) == "" {
			t.Errorf("%s: %s %v (%s)", c.path, fault.CodeOf(err), err, fault.HintOf(err))
		}
		t.Log(err, "→", fault.HintOf(err))
	}
	// Refused, and unharmed: another process may have it.
	if s, err := Open(ctx, Options{Path: newer}); err == nil {
		_ = s.Close(ctx)
		t.Error("opened")
	} else if fault.CodeOf(err) != fault.Config {
		t.Error("the lock was kept:", err)
	}
}

func TestOpenIsQuick(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "deep", "er", "p.duckdb")
	best := time.Hour
	for range 5 {
		begin := time.Now()
		s, err := Open(ctx, Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(begin))
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("open takes", best)
	if best > 200*time.Millisecond {
		t.Errorf("open takes %v", best)
	}
}

// Names of files that DuckDB's catalog name is made of.
func TestStrangeFileNames(t *testing.T) {
	for _, name := range []string{`we"ird.duckdb`, "it's.db", "two words.duckdb", "a.b.duckdb", "select.duckdb", "Ünï.duckdb", "noext", "semi;colon.duckdb", "1.duckdb", "a=b.duckdb"} {
		s := openTest(t, Options{Path: filepath.Join(t.TempDir(), name)})
		load(t, s, "a", plainFeed(1, 10, 1, 1))
		load(t, s, "a", plainFeed(1, 20, 1, 1))
		if n, err := s.CountRows(context.Background(), "a"); n != 20 || err != nil {
			t.Errorf("%s: %d %v", name, n, err)
		}
		if _, _, used, err := s.Size(); used == 0 || err != nil {
			t.Errorf("%s: %d %v", name, used, err)
		}
	}
}
