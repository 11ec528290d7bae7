package store

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
)

// versions count what Commit has changed, so that a reader can tell for nothing whether what it has read is still what it would read. They are
// of this process: nobody else writes the file while it is open, and a version of another process is equal to none.
type versions struct {
	process string

	mu       sync.Mutex
	any      uint64            // commits that changed anything readers see
	all      uint64            // of those, the ones of which it is not known what they changed
	by       map[string]uint64 // target, folded → commits that changed it
	pending  *Tx               // its COMMIT is under way
	reshapes uint64            // commits that made or dropped tables or views
	tables   map[string]bool   // targets that are base tables; nil: to be read again
	views    []string          // the SQL of all views
}

func newVersions() *versions {
	return &versions{process: rand.Text()[:12], by: map[string]uint64{}}
}

// begin is called before a COMMIT, end after it, whether it has succeeded or not. There is one at a time.
func (v *versions) begin(tx *Tx) {
	if !tx.unknown && len(tx.changed) == 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pending = tx
	v.any++
	if tx.unknown {
		v.all++
	}
	if tx.reshapes() {
		v.reshapes++
		v.tables = nil
	}
	for target := range tx.changed {
		v.by[target]++
	}
}

func (v *versions) end(tx *Tx) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pending == tx { // and not another's, beside which a run is saved
		v.pending = nil
	}
}

func (tx *Tx) reshapes() bool { return tx.unknown || tx.reshaped }

// changing says that what follows, until the function returned is called, changes what readers see of target, and of nothing else; "" is
// nothing that they see. What a transaction changes outside of it counts as a change of everything.
func (tx *Tx) changing(target string) func() {
	tx.named++
	if target != "" {
		tx.changed[fold(target)] = true
	}
	return func() { tx.named-- }
}

// noteExec marks what Exec is about to change.
func (tx *Tx) noteExec(sql string) {
	if tx.named > 0 || tx.unknown {
		return
	}
	own := tx.s.state("")
	for _, verb := range []string{"UPDATE ", "INSERT INTO ", "DELETE FROM "} {
		if rest, ok := strings.CutPrefix(sql, verb); ok && strings.HasPrefix(rest, own) {
			return
		}
	}
	tx.unknown = true
}

// Version names the state in which the targets are, which are folded: "orders" of schema main, "shop.orders" of another. When it is the same before a
// statement began and after its first row, the statement has read exactly that state; when it is the same later, it would read the same rows
// again. "" is no version: a commit is under way. Where one of the targets is not a table, the version changes with every change of the file, and
// views are the SQL of all its views: what they calculate with the time of day, no version tells.
func (s *Store) Version(ctx context.Context, targets []string) (version string, views []string, err error) {
	v := s.versions
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tables == nil {
		v.mu.Unlock()
		err := s.readShapes(ctx)
		v.mu.Lock()
		if err != nil || v.tables == nil {
			return "", nil, err
		}
	}
	if v.pending != nil && v.pending.unknown {
		return "", nil, nil
	}
	buf := append(make([]byte, 0, 64), v.process...)
	for _, t := range targets {
		if !v.tables[t] {
			if v.pending != nil {
				return "", nil, nil
			}
			return string(strconv.AppendUint(append(buf[:len(v.process)], '*'), v.any, 36)), v.views, nil
		}
		if v.pending != nil && v.pending.changed[t] {
			return "", nil, nil
		}
		buf = strconv.AppendUint(append(buf, '.'), v.by[t], 36)
	}
	return string(strconv.AppendUint(append(buf, '-'), v.all, 36)), nil, nil
}

// readShapes learns which targets are tables, unless that changes just now.
func (s *Store) readShapes(ctx context.Context) error {
	v := s.versions
	v.mu.Lock()
	before, busy := v.reshapes, v.pending != nil && v.pending.reshapes()
	v.mu.Unlock()
	if busy {
		return nil
	}
	tables := map[string]bool{}
	var views []string
	err := s.with(func(se *Session) error {
		if err := se.query(ctx, "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name <> ?", []any{s.catalog, stateSchema}, func(r ownRow) error {
			name := fold(r.text(1))
			if schema := fold(r.text(0)); schema != "main" {
				name = schema + "." + name
			}
			tables[name] = true
			return nil
		}); err != nil {
			return err
		}
		return se.query(ctx, "SELECT sql FROM duckdb_views() WHERE database_name = ? AND schema_name <> ? AND NOT internal", []any{s.catalog, stateSchema}, func(r ownRow) error {
			views = append(views, r.text(0))
			return nil
		})
	})
	if err != nil {
		return doing(err, "list tables and views")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.reshapes == before {
		v.tables, v.views = tables, views
	}
	return nil
}
