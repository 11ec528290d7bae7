package query

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
)

// Enter makes the session a backend, which clients of PostgreSQL know by its process id, an odd one, until Leave. terminate is to end its
// connection; it is called by others, and must not wait.
func (s *Session) Enter(ctx context.Context, pid uint32, terminate func()) {
	c := s.core
	c.mu.Lock()
	defer c.mu.Unlock()
	s.pid, s.since, s.remote, s.terminate = pid, time.Now(), access.Remote(ctx), terminate
	c.backends[pid] = s
}

// Leave ends what Enter began. It may be called twice, and without it.
func (s *Session) Leave() {
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	delete(s.core.backends, s.pid)
}

// activity is a row of pg_stat_activity.
type activity struct {
	PID         uint32     `json:"pid"`
	User        string     `json:"usename"`
	Application string     `json:"application_name"`
	Address     *string    `json:"client_addr"`
	Port        int        `json:"client_port"`
	Begun       *time.Time `json:"backend_start"`
	Started     *time.Time `json:"query_start"`
	WaitType    *string    `json:"wait_event_type"`
	Wait        *string    `json:"wait_event"`
	State       string     `json:"state"`
	Query       string     `json:"query"`
}

// Answer is what clients of PostgreSQL ask about backends, in statements: about is another's process id. asker, the process id of who
// asks, is given by its own session, which no statement can set. Administrators see and end everybody's, others those of their user.
func (c *Core) Answer(question, asker, about string) (string, error) {
	c.mu.Lock()
	from := c.backends[pidOf(asker)]
	c.mu.Unlock()
	if from == nil {
		return "", fault.New(fault.Forbidden, "ask on a connection of PostgreSQL's protocol", "who asks is not known")
	}
	switch question {
	case "activity":
		out, err := json.Marshal(c.activities(from.who))
		return string(out), err
	case "cancel":
		return strconv.FormatBool(c.end(from.who, pidOf(about), false)), nil
	case "terminate":
		return strconv.FormatBool(c.end(from.who, pidOf(about), true)), nil
	}
	return "", fault.New(fault.Internal, "", "there is no answer to %q", question)
}

func pidOf(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// mayKnow says whether p may know of what user does, and end it.
func (c *Core) mayKnow(p access.Principal, user string) bool {
	return p.User == user || c.access.CanAdmin(p) == nil
}

// activities are the backends, and the statements that came through other doors, as far as p may know of them.
func (c *Core) activities(p access.Principal) []activity {
	c.mu.Lock()
	defer c.mu.Unlock()
	latest := map[uint32]*Result{}
	for _, r := range c.open {
		if l := latest[r.pid]; l == nil || l.id < r.id {
			latest[r.pid] = r
		}
	}
	rows := []activity{}
	for pid, s := range c.backends {
		if c.mayKnow(p, s.who.User) {
			rows = append(rows, activity{PID: pid, User: s.who.User, Application: s.door, Address: textOrNil(s.remote), Port: -1, Begun: &s.since, State: "idle"}.with(latest[pid]))
		}
		delete(latest, pid)
	}
	for pid, r := range latest {
		if c.mayKnow(p, r.who.User) {
			rows = append(rows, activity{PID: pid, User: r.who.User, Application: r.door, Address: textOrNil(r.remote), Port: -1, Begun: &r.arrived}.with(r))
		}
	}
	slices.SortFunc(rows, func(a, b activity) int { return cmp.Compare(a.PID, b.PID) })
	return rows
}

func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// with is a with the statement r, which may be nil.
func (a activity) with(r *Result) activity {
	if r == nil {
		return a
	}
	a.State, a.Query, a.Started = "active", shorten(r.sql), &r.arrived
	if r.started.Load() == 0 {
		a.WaitType, a.Wait = textOrNil("Extension"), textOrNil("QuerySlot")
	}
	return a
}

// end cancels what a backend runs, or ends its connection. It says whether there was something that p may end.
func (c *Core) end(p access.Principal, pid uint32, connection bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.backends[pid]
	if s != nil && !c.mayKnow(p, s.who.User) {
		return false
	}
	found := s != nil
	if s != nil && connection {
		s.terminate()
	}
	for _, r := range c.open {
		if r.pid == pid && c.mayKnow(p, r.who.User) {
			found = true
			r.cancel(fault.New(fault.Cancelled, "", "the statement was cancelled by %s", p.User))
		}
	}
	return found
}
