package ingest

import (
	"context"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/store"
)

// TableColumns are those of a table that p may append to, with DuckDB's types: for a protocol whose rows come without a schema, and
// which decodes them itself.
func (g *Ingest) TableColumns(ctx context.Context, p access.Principal, t Target) ([]store.PutColumn, error) {
	to, err := g.target(p, t)
	if err != nil {
		return nil, err
	}
	return g.store.PutColumns(ctx, to)
}

// Create makes a table without rows, if p may write it. Types are canonical names of DuckDB's, which nothing can hide in. ErrExists is in the
// error's chain where the mode says so.
func (g *Ingest) Create(ctx context.Context, p access.Principal, t Target, columns []store.PutColumn) error {
	to, err := g.target(p, t)
	if err != nil {
		return err
	}
	if err := g.store.CreateClientTable(ctx, to, columns); err != nil {
		return err
	}
	g.log.Info("a client made a table", "user", p.User, "role", p.Role, "table", to.Target(), "mode", t.Mode.String())
	return nil
}

// Empty deletes all rows of a table, if p may write it.
func (g *Ingest) Empty(ctx context.Context, p access.Principal, t Target) error {
	to, err := g.target(p, t)
	if err != nil {
		return err
	}
	rows, err := g.store.EmptyClientTable(ctx, to)
	if err != nil {
		return err
	}
	g.log.Info("a client's table was emptied", "user", p.User, "role", p.Role, "table", to.Target(), "rows", rows)
	return nil
}

// Rows are some rows as a protocol sent them, in memory. They may be decoded more than once, and by several threads.
type Rows interface {
	store.PutRows
	Rows() int64
	Bytes() int64
}

// RowSource gives rows as they come.
type RowSource interface {
	// Next waits for further rows, of about so many bytes; more is false when these, which may be none, are the last. An error ends the put.
	// It ends with ctx.
	Next(ctx context.Context, bytes int) (r Rows, more bool, err error)
}

// Decoded is Ingest for rows that come in a form of the protocol's own: columns are those of the table that they have, with the types in
// which they are decoded, and want is what TableColumns has said of these.
func (g *Ingest) Decoded(ctx context.Context, p access.Principal, t Target, columns []store.Column, want []string, src RowSource) (int64, error) {
	return g.run(ctx, p, t, func() (*store.Put, error) { return g.store.NewRowsPut(columns, want), nil }, func(u *put) source { return &rowSource{u: u, src: src} })
}

type rowSource struct {
	u   *put
	src RowSource
}

type rowRound struct{ Rows }

func (rowRound) release() {}

func (r rowRound) stage(ctx context.Context, p *store.Put) error { return p.StageRows(ctx, r.Rows) }

func (r rowRound) commit(ctx context.Context, p *store.Put, t store.PutTarget) (int64, error) {
	if r.Rows.Rows() == 0 {
		return p.CommitRows(ctx, t, nil)
	}
	return p.CommitRows(ctx, t, r.Rows)
}

func (s *rowSource) gather(ctx context.Context) (round, bool, error) {
	r, more, err := s.src.Next(ctx, roundBytes)
	if err != nil {
		if ctx.Err() != nil {
			err = stopped(ctx)
		}
		return nil, false, err
	}
	if err := s.u.count(r.Rows(), r.Bytes()); err != nil {
		return nil, false, err
	}
	return rowRound{r}, more, nil
}
