package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// ClientTable is a table that a client made: it belongs to no dataset, and no sync touches it.
type ClientTable struct {
	Schema, Name string
	CreatedBy    string
	CreatedAt    time.Time
}

// Target is the table's name among those of the copy.
func (c ClientTable) Target() string { return versionTarget(c.Schema, c.Name) }

func versionTarget(schema, name string) string {
	if fold(schema) == "main" {
		return name
	}
	return schema + "." + name
}

// clientTables are the rows of _pintail.client_tables, in memory: whoever reads or writes asks for them.
type clientTables struct {
	mu sync.RWMutex
	by map[string]ClientTable // folded schema.name
}

func clientKey(schema, name string) string { return fold(schema) + "." + fold(name) }

func (c *clientTables) get(schema, name string) (ClientTable, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t, ok := c.by[clientKey(schema, name)]
	return t, ok
}

// put enters t, which may be nil, and returns what undoes that.
func (c *clientTables) put(t *ClientTable) (undo func()) {
	if t == nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := clientKey(t.Schema, t.Name)
	before, was := c.by[key]
	c.by[key] = *t
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.by[key] != *t {
			return
		}
		if delete(c.by, key); was {
			c.by[key] = before
		}
	}
}

func (c *clientTables) drop(schema, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.by, clientKey(schema, name))
}

// loadClients reads at the opening which tables are clients'.
func (s *Store) loadClients(ctx context.Context, se *Session) error {
	s.clients.by = map[string]ClientTable{}
	err := se.query(ctx, "SELECT schema, name, created_by, epoch_us(created_at) FROM "+s.state("client_tables"), nil, func(r ownRow) error {
		t := ClientTable{Schema: r.text(0), Name: r.text(1), CreatedBy: r.text(2), CreatedAt: r.time(3)}
		s.clients.by[clientKey(t.Schema, t.Name)] = t
		return nil
	})
	return doing(err, "read which tables clients made")
}

// ClientTables are the tables that clients made, by schema and name.
func (s *Store) ClientTables() []ClientTable {
	s.clients.mu.RLock()
	defer s.clients.mu.RUnlock()
	all := make([]ClientTable, 0, len(s.clients.by))
	for _, t := range s.clients.by {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b ClientTable) int {
		return strings.Compare(a.Schema+"."+a.Name, b.Schema+"."+b.Name)
	})
	return all
}

// IsClientTable says whether a client made the table. It reads no file.
func (s *Store) IsClientTable(schema, table string) bool {
	_, ok := s.clients.get(schema, table)
	return ok
}

// notClients refuses to put something else in the place of a client's table.
func (s *Store) notClients(target string) error {
	c, ok := s.clients.get(splitTarget(target))
	if !ok {
		return nil
	}
	return fault.New(fault.Config, "give the dataset's table another name, or have the client's dropped",
		"the name is taken by a table that client %s made on %s", c.CreatedBy, c.CreatedAt.Format(time.DateOnly))
}

// ErrExists is why a table was not made: there is one of that name.
var ErrExists = errors.New("it exists already")

// place is what is there by a target's name, or is not.
type place struct {
	schema, name string // as they are spelled
	hasSchema    bool
	client       bool // a client made the table
	there        bool // there is a table
	made         ClientTable
}

// settled is to be asked after the transaction has used the place: a client's table is known from memory, which may be ahead of the
// transaction, or behind it.
func (s *Store) settled(p place) error {
	if c, _ := s.clients.get(p.schema, p.name); p.client && c != p.made {
		return errMoved
	}
	return nil
}

// gone is what err, of the first use of p, means.
func gone(err error, p place) error {
	var e *duckError
	if p.client && errors.As(err, &e) && e.Kind == "Catalog" {
		return errMoved
	}
	return err
}

// errMoved is a conflict: others have made or dropped the table meanwhile.
var errMoved = fault.New(fault.Unavailable, "try again", "%w", &duckError{Kind: "Transaction", Text: "conflict: another client replaced or dropped the table"})

// folded compares a column of names as DuckDB compares names.
func folded(column string) string {
	return "translate(" + column + ", 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')"
}

// place looks for a target, in the session's transaction; fault.Forbidden for one that no client may touch. stray allows a table that is
// neither a dataset's nor a client's.
func (se *Session) place(ctx context.Context, schema, name string, stray bool) (p place, err error) {
	s := se.s
	if c, ok := s.clients.get(schema, name); ok {
		return place{schema: c.Schema, name: c.Name, hasSchema: true, client: true, there: true, made: c}, nil
	}
	if err := s.clientName(schema, name); err != nil {
		return p, err
	}
	p = place{schema: schema, name: name}
	err = se.query(ctx, "SELECT target, dataset FROM "+s.state("tables"), nil, func(r ownRow) error {
		of, is := splitTarget(r.text(0))
		switch {
		case fold(of) != fold(schema):
		case fold(is) == fold(name):
			return owned(r.text(1))
		case fold(schema) != "main":
			return fault.New(fault.Forbidden, "choose another schema", "schema %s belongs to dataset %s", of, r.text(1))
		}
		return nil
	})
	if err != nil {
		return p, err
	}
	schemas, err := s.schemas(ctx, se)
	if err != nil {
		return p, err
	}
	for _, as := range schemas {
		if fold(as) == fold(schema) {
			p.schema, p.hasSchema = as, true
		}
	}
	if !p.hasSchema {
		return p, nil
	}
	tx := &Tx{s: s, se: se, ctx: ctx}
	as, view, err := tx.spelled(schema + "." + name)
	switch {
	case err != nil || as == "":
		return p, err
	case view:
		return p, fault.New(fault.Forbidden, "choose another name", "it is a view")
	case !stray:
		return p, fault.New(fault.Forbidden, "choose another name, or ask an administrator", "it was made neither by a client nor by a dataset")
	}
	_, p.name = splitTarget(as)
	p.there = true
	return p, nil
}

func owned(dataset string) error {
	return fault.New(fault.Forbidden, "choose another name: only its own syncs write it", "it belongs to dataset %s", dataset)
}

// clientName says whether a client may give a table this name.
func (s *Store) clientName(schema, name string) error {
	for _, n := range []struct{ what, name string }{{"schema", schema}, {"table", name}} {
		if err := plainName(n.what, n.name); err != nil {
			return err
		}
		if strings.HasPrefix(fold(n.name), stateSchema) {
			return fault.New(fault.Forbidden, "choose another name", "names of a %s that begin with %s are Pintail's own", n.what, stateSchema)
		}
	}
	if err := s.newSchema(schema); err != nil {
		return fault.New(fault.Forbidden, fault.HintOf(err), "%w", err)
	}
	return nil
}

// DropClientTable drops a table that a client made; fault.NotFound for any other. What may be dropped by whom is for the caller to say.
func (s *Store) DropClientTable(ctx context.Context, schema, name string) error {
	target := versionTarget(schema, name)
	err := s.putTries(ctx, func() error {
		return s.putOnce(ctx, target, func(se *Session) (o outcome, err error) {
			p, err := se.place(ctx, schema, name, false)
			if err != nil {
				return o, err
			}
			if !p.client {
				return o, fault.New(fault.NotFound, "", "there is no such table")
			}
			if err := se.forget(ctx, p); err != nil {
				return o, err
			}
			return outcome{reshapes: true}, s.settled(p)
		})
	})
	if err != nil {
		return doing(err, "drop %s", target)
	}
	s.clients.drop(schema, name)
	s.reclaim.Store(true)
	s.freeSpace(ctx)
	return nil
}

// forget drops a client's table, with what says that it is one.
func (se *Session) forget(ctx context.Context, p place) error {
	if _, err := se.exec(ctx, "DROP TABLE "+se.s.in(p.schema, p.name)); err != nil {
		return gone(err, p)
	}
	_, err := se.exec(ctx, fmt.Sprintf("DELETE FROM %s WHERE %s = ? AND %s = ?", se.s.state("client_tables"), folded("schema"), folded("name")), fold(p.schema), fold(p.name))
	return err
}
