package httpapi

import (
	"context"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// Query is a statement that waits or runs.
type Query struct {
	ID        string    `json:"id"`
	User      string    `json:"user"`
	Role      string    `json:"role"`
	Door      string    `json:"door" doc:"Where it came through: http, pgwire or flight."`
	Remote    string    `json:"remote" doc:"The client's address."`
	SQL       string    `json:"sql" doc:"Cut after 2,000 bytes."`
	State     string    `json:"state" enum:"waiting,running"`
	StartedAt time.Time `json:"started_at" doc:"When it arrived."`
	ElapsedMS int64     `json:"elapsed_ms"`
	WaitedMS  int64     `json:"waited_ms" doc:"For a slot."`
	Rows      int64     `json:"rows" doc:"Handed out so far."`
	Bytes     int64     `json:"bytes" doc:"Handed out so far, before compression."`
}

// Queries is the answer about all statements.
type Queries struct {
	Success bool    `json:"success"`
	Queries []Query `json:"queries" doc:"Oldest first."`
}

type queriesOutput struct{ Body Queries }

func (s *Server) queries(ctx context.Context, _ *struct{}) (*queriesOutput, error) {
	out := &queriesOutput{Body: Queries{Success: true, Queries: []Query{}}}
	who := infoOf(ctx).who
	all := s.opts.Access.CanAdmin(who) == nil
	for _, q := range s.opts.Queries.List() {
		if !all && q.User != who.User {
			continue
		}
		state, ran := "running", q.Started
		if q.Waiting {
			state, ran = "waiting", time.Now()
		}
		out.Body.Queries = append(out.Body.Queries, Query{ID: q.ID, User: q.User, Role: q.Role, Door: q.Door, Remote: q.Remote, SQL: q.SQL, State: state, WaitedMS: ran.Sub(q.Since).Milliseconds(),
			StartedAt: q.Since, ElapsedMS: time.Since(q.Since).Milliseconds(), Rows: q.Rows, Bytes: q.Bytes})
	}
	return out, nil
}

type killInput struct {
	ID string `path:"id"`
}

func (s *Server) killQuery(ctx context.Context, in *killInput) (*doneOutput, error) {
	who := infoOf(ctx).who
	if s.opts.Access.CanAdmin(who) != nil {
		own := false
		for _, q := range s.opts.Queries.List() {
			own = own || q.ID == in.ID && q.User == who.User
		}
		if !own {
			return nil, fault.New(fault.NotFound, "GET /v0/queries lists yours", "you have no statement %q under way", in.ID)
		}
	}
	if err := s.opts.Queries.Kill(in.ID, who.User); err != nil {
		return nil, err
	}
	return done("The statement is being ended"), nil
}
