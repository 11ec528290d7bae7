// Package pgsql makes DuckDB understand what clients of PostgreSQL send: it translates statements of PostgreSQL's dialect, and keeps
// PostgreSQL's catalog over the file's tables, of which each role sees those that it may read.
package pgsql

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pintaildb/pintail/query/pgtype"
	"github.com/pintaildb/pintail/store"
)

// Store is where the catalog lies.
type Store interface {
	Catalog() string
	InMemory(ctx context.Context, fn func(exec func(sql string, args ...any) error) error) error
	Relations(ctx context.Context) ([]store.Relation, error)
	RelationsMark(ctx context.Context) (string, error)
}

// Access says which roles there are and what they read. Mark is another value after each change of the configuration; what it is does
// not matter.
type Access interface {
	Roles() []string
	Reads(role, schema, name string) bool
	Mark() any
}

// Keys says which columns a dataset keeps unique: the primary key that clients are shown; none where it keeps none.
type Keys interface {
	Key(schema, table string) []string
}

// Options of a Translator.
type Options struct {
	Store    Store
	Access   Access
	Keys     Keys   // nil: no table has a primary key
	Database string // as clients know it; "" is the store's catalog
	Log      *slog.Logger
}

// Translator translates statements. Its methods may be called from any goroutine.
type Translator struct {
	store    Store
	access   Access
	keys     Keys
	database string
	log      *slog.Logger

	state  atomic.Pointer[state]
	looked atomic.Int64 // when, in Unix nanoseconds

	mu      sync.Mutex // of what Refresh needs
	oids    oidMap
	granted any
	filled  time.Time
}

// New makes the catalog in the store's memory and fills it. A store has one Translator in its life.
func New(ctx context.Context, o Options) (*Translator, error) {
	t := &Translator{store: o.Store, access: o.Access, keys: o.Keys, database: o.Database, log: o.Log}
	if t.database == "" {
		t.database = o.Store.Catalog()
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if err := t.install(ctx); err != nil {
		return nil, err
	}
	return t, t.Refresh(ctx)
}

// Translate gives a statement of PostgreSQL's dialect in DuckDB's. One that both understand alike is returned as it is, and so is one that
// PostgreSQL's parser refuses: DuckDB's own dialect works too. An error is fault.InvalidSQL, of what cannot be said in DuckDB.
func (t *Translator) Translate(ctx context.Context, sql string) (string, error) {
	path := pathOf(ctx)
	if path == nil && !needed(sql) {
		return sql, nil
	}
	key := sql
	if path != nil {
		key = strings.Join(path, ",") + "\x00" + sql
	}
	values := pgtype.ValuesOf(ctx)
	if values {
		key = "\x00" + key
	}
	every := typesEvery
	e, known := t.state.Load().cache.get(key)
	if !known || e.catalog {
		every = refreshEvery
	}
	t.lookAround(ctx, every)
	st := t.state.Load()
	if e, ok := st.cache.get(key); ok {
		return e.sql, nil
	}
	out, catalog, err := t.rewriteSafely(st, sql, values, path)
	if err != nil {
		return "", err
	}
	st.cache.put(key, translation{out, catalog})
	return out, nil
}

// rewriteSafely hands DuckDB the statement as it came where rewriting breaks: the fault is this program's, and one client's statement must
// not end the others'.
func (t *Translator) rewriteSafely(st *state, sql string, values bool, path []string) (out string, catalog bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			t.log.Error("a statement could not be translated", "panic", p, "bytes", len(sql))
			out, catalog, err = sql, false, nil
		}
	}()
	return t.rewrite(st, sql, values, path...)
}

// cache keeps translations, since programs send the same few texts. It is emptied when it is full: they fill it again.
type cache struct {
	mu      sync.Mutex
	entries map[string]translation
}

type translation struct {
	sql     string
	catalog bool // it reads the catalog
}

const (
	cacheEntriesMax = 2000
	cacheBytesMax   = 16 << 10 // of a statement
)

func (c *cache) get(sql string) (translation, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[sql]
	return e, ok
}

func (c *cache) put(sql string, e translation) {
	if len(sql) > cacheBytesMax {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil || len(c.entries) >= cacheEntriesMax {
		c.entries = map[string]translation{}
	}
	c.entries[strings.Clone(sql)] = e
}
