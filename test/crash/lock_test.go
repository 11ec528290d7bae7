package crash

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/test/harness"
)

// second is a project of its own on the first one's file.
func second(t *testing.T, p *harness.Project, url, datasets string) *harness.Project {
	t.Helper()
	q := harness.New(t)
	q.Write(strings.Replace(q.Head(url), "data/pintail.duckdb", p.DB, 1) + datasets)
	q.DB = p.DB
	return q
}

// refused runs commands that need the file while another process has it: exit code 4, with the holder's pid.
func refused(t *testing.T, q *harness.Project, pid int) {
	t.Helper()
	for _, args := range [][]string{{"serve"}, {"sync"}, {"status"}, {"runs"}, {"query", "SELECT 1"}, {"verify"}} {
		r := q.Code(fault.ExitLocked, args...)
		contains(t, r.Stderr, fmt.Sprintf("in use by process %d\n", pid), "hint: ")
	}
}

// A second process on the same file is told who has it. The holder's lock goes with it, even when it is killed.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	p, g, _, url := halted(t)
	q := second(t, p, url, bigDatasets)
	before := dump(t, p, bigObjects)

	s := p.Serve()
	refused(t, q, s.Pid())
	if n := s.One("SELECT count(*) FROM big"); n != "500" {
		t.Errorf("the server has %s rows", n)
	}
	s.Crash()
	contains(t, q.OK("status"), "big")
	clean(t, q, "big", "small")

	// One command holds the file as a server does.
	pr := p.Start("sync", "big")
	g.reached()
	refused(t, q, pr.Pid())
	pr.Kill()
	g.open()
	contains(t, q.OK("status"), "big")
	unchanged(t, p, bigObjects, before)
	clean(t, q, "big", "small")

	// Both want it at once: one gets it, the other says so.
	for range 5 {
		a, b := p.Start("sync", "small"), q.Start("sync", "small")
		ra, rb := end(t, a), end(t, b)
		for _, r := range []harness.Result{ra, rb} {
			if r.Code != fault.ExitOK && r.Code != fault.ExitLocked {
				t.Errorf("want exit code 0 or 4: %s", r)
			}
		}
		if ra.Code == fault.ExitLocked && rb.Code == fault.ExitLocked {
			t.Errorf("nobody got the file:\n%s\n%s", ra, rb)
		}
	}
	synced(t, q, "big")
	same(t, url, harness.File(p.DB), bigObjects)
}
