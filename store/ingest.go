package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/step"
)

// PutMode says what a put does with the table, there or not.
type PutMode uint8

// The modes.
const (
	PutAppend       PutMode = iota // it must be there
	PutCreate                      // it must not be there
	PutReplace                     // what is there gives way
	PutCreateAppend                // either way
)

var putModes = [...]string{"append", "create", "replace", "create_append"}

func (m PutMode) String() string {
	if int(m) < len(putModes) {
		return putModes[m]
	}
	return fmt.Sprintf("mode %d", m)
}

// PutTarget is where the rows of a put go.
type PutTarget struct {
	Schema, Name string
	Mode         PutMode
	By           string // the client, for a table that is made
	Stray        bool   // it may be a table that neither a dataset nor a client made; by and by it is the client's
}

// Put brings the rows of one client into one table: all in the moment of Commit, or none. Until then they lie in the caller's memory or,
// once staged, in that of DuckDB, which spills. So nothing of the file is held while a client takes its time, and a put that loses to another
// transaction is tried again without asking the client for the rows once more. One goroutine uses it.
type Put struct {
	s      *Store
	cols   []putColumn
	rows   *putRows // in the place of cols
	stage  string   // the table of staged rows; "" before the first
	staged int64
}

// NewPut says whether rows of the schema can be taken; fault.Usage names the column and its type if not.
func (s *Store) NewPut(schema *arrow.Schema) (*Put, error) {
	cols, err := putTypes(schema)
	if err != nil {
		return nil, err
	}
	return &Put{s: s, cols: cols}, nil
}

// Stage takes batches over into DuckDB's memory. Afterwards the caller need not keep them.
func (p *Put) Stage(ctx context.Context, batches []arrow.RecordBatch) error {
	return p.stageFrom(ctx, p.batches(batches))
}

// feeding has fn run a statement that reads rows from the feed of that number, and returns how many it has read. It may be called again.
type feeding func(ctx context.Context, fn func(id int64) error) (int64, error)

func (p *Put) batches(batches []arrow.RecordBatch) feeding {
	if len(batches) == 0 {
		return nil
	}
	return func(ctx context.Context, fn func(id int64) error) (int64, error) {
		return feedBatches(ctx, p.cols, batches, fn)
	}
}

func (p *Put) stageFrom(ctx context.Context, rows feeding) error {
	if rows == nil {
		return nil
	}
	s := p.s
	err := s.withClient(func(se *Session) error {
		n, err := rows(ctx, func(id int64) error {
			if p.stage != "" {
				_, err := se.exec(ctx, fmt.Sprintf("INSERT INTO %s SELECT * FROM %s(%d)", p.stage, feedFunction, id))
				return err
			}
			stage := quote(stageCatalog) + ".main." + quote(fmt.Sprintf("%sput_%d", stagePrefix, s.staged.Add(1)))
			_, err := se.exec(ctx, fmt.Sprintf("CREATE TABLE %s AS SELECT * FROM %s(%d)", stage, feedFunction, id))
			if err == nil {
				p.stage = stage
			}
			return err
		})
		p.staged += n
		return err
	})
	if err == nil {
		step.Reached(step.PutStaged)
	}
	return doing(putFailure(err), "stage the rows")
}

// Close forgets staged rows. It may be called twice.
func (p *Put) Close() {
	if p.stage == "" {
		return
	}
	err := p.s.withClient(func(se *Session) error {
		_, err := se.exec(unbounded, "DROP TABLE IF EXISTS "+p.stage)
		return err
	})
	if err != nil {
		p.s.log.Warn("could not drop a staging table", "table", p.stage, "error", err) // it ends with the process
	}
	p.stage = ""
}

// Check says what Commit would refuse for the table as it is now.
func (p *Put) Check(ctx context.Context, t PutTarget) error {
	err := p.s.withClient(func(se *Session) error {
		at, err := se.place(ctx, t.Schema, t.Name, t.Stray)
		if err != nil {
			return err
		}
		if appends, err := t.does(at); err != nil || !appends {
			return err
		}
		_, _, err = p.match(ctx, se, at)
		return err
	})
	return doing(putFailure(err), "%s %s", t.Mode, t.Target())
}

// Target is the table's name among those of the copy.
func (t PutTarget) Target() string { return versionTarget(t.Schema, t.Name) }

// does says whether the put appends to what is there.
func (t PutTarget) does(at place) (appends bool, err error) {
	switch t.Mode {
	case PutAppend:
		if !at.there {
			return false, fault.New(fault.NotFound, "create it first, or send the rows with the mode create_append", "there is no such table")
		}
		return true, nil
	case PutCreate:
		if at.there {
			return false, fault.New(fault.Usage, "append to it, replace it, or choose another name", "%w", ErrExists)
		}
	case PutCreateAppend:
		return at.there, nil
	}
	return false, nil
}

// Commit brings the staged rows and then those of batches, which it does not need afterwards, into the table. fault.Unavailable when
// others change the table faster than it can; the whole put may then be sent again.
func (p *Put) Commit(ctx context.Context, t PutTarget, batches []arrow.RecordBatch) (rows int64, err error) {
	return p.commit(ctx, t, p.batches(batches))
}

func (p *Put) commit(ctx context.Context, t PutTarget, last feeding) (rows int64, err error) {
	s := p.s
	if p.stage != "" && last != nil {
		if err := p.stageFrom(ctx, last); err != nil {
			return 0, err
		}
		last = nil
	}
	replaced := false
	err = s.putTries(ctx, func() error {
		return s.putOnce(ctx, t.Target(), func(se *Session) (o outcome, err error) {
			at, err := se.place(ctx, t.Schema, t.Name, t.Stray)
			if err != nil {
				return o, err
			}
			appends, err := t.does(at)
			if err != nil {
				return o, err
			}
			var into, values string
			if appends {
				into, values, err = p.match(ctx, se, at)
			} else {
				into, values = quoteAll(p.names(), ""), p.casts(nil)
				replaced, o.reshapes = at.there, true
				o.made, err = se.create(ctx, t, at, p.definitions())
			}
			if err != nil {
				return o, err
			}
			if rows, err = p.insert(ctx, se, fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM ", s.in(at.schema, at.name), into, values), last); err != nil {
				return o, err
			}
			return o, s.settled(at)
		})
	})
	if err != nil {
		return 0, doing(putFailure(err), "%s %s", t.Mode, t.Target())
	}
	if replaced {
		s.reclaim.Store(true)
		s.freeSpace(ctx)
	}
	return rows, nil
}

func (p *Put) insert(ctx context.Context, se *Session, sql string, rows feeding) (int64, error) {
	switch {
	case p.stage != "":
		return se.exec(ctx, sql+p.stage)
	case rows == nil:
		return 0, nil
	}
	return rows(ctx, func(id int64) error {
		_, err := se.exec(ctx, fmt.Sprintf("%s%s(%d)", sql, feedFunction, id))
		return err
	})
}

// create makes the table, in the place of one that is there.
func (se *Session) create(ctx context.Context, t PutTarget, at place, defs []string) (*ClientTable, error) {
	s := se.s
	if at.there {
		if err := se.forget(ctx, at); err != nil {
			return nil, err
		}
	}
	if !at.hasSchema {
		if _, err := se.exec(ctx, "CREATE SCHEMA "+quote(s.catalog)+"."+quote(at.schema)); err != nil {
			return nil, err
		}
	}
	if _, err := se.exec(ctx, fmt.Sprintf("CREATE TABLE %s (%s)", s.in(at.schema, at.name), strings.Join(defs, ", "))); err != nil {
		return nil, err
	}
	made := &ClientTable{Schema: at.schema, Name: at.name, CreatedBy: t.By, CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	if _, err := se.exec(ctx, "INSERT INTO "+s.state("client_tables")+" VALUES (?, ?, ?, ?)", made.Schema, made.Name, made.CreatedBy, made.CreatedAt); err != nil {
		return nil, err
	}
	return made, nil
}

func (p *Put) definitions() []string {
	defs := make([]string, len(p.cols))
	for i := range p.cols {
		defs[i] = p.cols[i].definition()
	}
	return defs
}

func (p *Put) names() []string {
	names := make([]string, len(p.cols))
	for i := range p.cols {
		names[i] = p.cols[i].name
	}
	return names
}

// casts are the values of the rows, as to, or as the columns that they make.
func (p *Put) casts(to []resultType) string {
	values := make([]string, len(p.cols))
	for i := range p.cols {
		from := p.cols[i].typ.raw()
		want := &p.cols[i].typ.resultType
		if to != nil {
			want = &to[i]
		}
		if values[i] = quote(p.cols[i].name); from.name() != want.name() {
			values[i] = fmt.Sprintf("CAST(%s AS %s)", values[i], want.name())
		}
	}
	return strings.Join(values, ", ")
}

// match finds the columns of the put in the table that is there.
func (p *Put) match(ctx context.Context, se *Session, at place) (into, values string, err error) {
	names, types, err := se.columnsOf(ctx, "SELECT * FROM "+p.s.in(at.schema, at.name))
	if err != nil {
		return "", "", gone(err, at)
	}
	if p.rows != nil {
		return p.rows.match(names, types)
	}
	byName := make(map[string]int, len(names))
	for i, n := range names {
		byName[fold(n)] = i
	}
	var unknown, misfit []string
	to, have := make([]resultType, len(p.cols)), make([]string, len(p.cols))
	for i := range p.cols {
		c := &p.cols[i]
		k, ok := byName[fold(c.name)]
		switch {
		case !ok:
			unknown = append(unknown, quote(c.name))
			continue
		case c.typ.form != formNull && !fits(&c.typ.resultType, &types[k]):
			misfit = append(misfit, fmt.Sprintf("%s is %s (%s), which does not fit into %s without loss", quote(c.name), c.typ.name(), c.arrow, types[k].name()))
		}
		to[i], have[i] = types[k], names[k]
	}
	switch {
	case len(unknown) > 0:
		return "", "", fault.New(fault.Usage, "leave them out, rename them, or replace the table", "the table has no column %s; it has %s", strings.Join(unknown, ", "), quoteAll(names, ""))
	case len(misfit) > 0:
		return "", "", fault.New(fault.Usage, "cast it before it is sent, or replace the table", "column %s", strings.Join(misfit, "; column "))
	}
	return quoteAll(have, ""), p.casts(to), nil
}

// ClientColumns are the columns of a table that clients may write, as Arrow has them: rows of this schema can be appended.
func (s *Store) ClientColumns(ctx context.Context, schema, name string) (columns *arrow.Schema, err error) {
	err = s.withClient(func(se *Session) error {
		at, err := se.place(ctx, schema, name, true)
		if err != nil {
			return err
		}
		if !at.there {
			return fault.New(fault.NotFound, "create it first", "there is no such table")
		}
		names, types, err := se.columnsOf(ctx, "SELECT * FROM "+s.in(at.schema, at.name))
		if err != nil {
			return gone(err, at)
		}
		cols := make([]ResultColumn, len(names))
		for i, n := range names {
			cols[i] = ResultColumn{Name: n, Type: types[i].name()}
		}
		columns = arrowSchema(cols, types, ArrowPlain)
		return nil
	})
	return columns, doing(err, "read the columns of %s", versionTarget(schema, name))
}

// columnsOf are the columns that a query has.
func (se *Session) columnsOf(ctx context.Context, sql string) (names []string, types []resultType, err error) {
	var st duck.PreparedStatement
	defer duck.DestroyPrepare(&st)
	if duck.Prepare(se.c, sql, &st) == duck.StateError {
		return nil, nil, se.failure(ctx, duck.PrepareError(st))
	}
	for i := range duck.PreparedStatementColumnCount(st) {
		t := duck.PreparedStatementColumnLogicalType(st, i)
		names, types = append(names, duck.PreparedStatementColumnName(st, i)), append(types, describe(t))
		duck.DestroyLogicalType(&t)
	}
	return names, types, nil
}

// withClient is with for statements whose failure may be the fault of a client's rows. They write each name with its catalog.
func (s *Store) withClient(fn func(se *Session) error) error {
	se, err := s.connectOpen(reader)
	if err != nil {
		return err
	}
	defer se.Close()
	return fn(se)
}

// putTries repeats a transaction that loses to another one.
func (s *Store) putTries(ctx context.Context, once func() error) error {
	pause := commitPause
	for try := 1; ; try++ {
		err := once()
		if err == nil || try == putTries || !isConflict(err) {
			return err
		}
		s.log.Debug("transaction conflict", "try", try, "error", err)
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

const putTries = 8

// outcome is what a transaction of a put has done besides inserting.
type outcome struct {
	reshapes bool         // it makes or drops a table
	made     *ClientTable // nil: none
}

// putOnce runs fn within a transaction. It takes no turn among the commits of syncs: they touch other tables.
func (s *Store) putOnce(ctx context.Context, target string, fn func(se *Session) (outcome, error)) error {
	return s.withClient(func(se *Session) error {
		if _, err := se.exec(ctx, "BEGIN TRANSACTION"); err != nil {
			return err
		}
		committed := false
		defer func() {
			if !committed {
				_, _ = se.exec(context.WithoutCancel(ctx), "ROLLBACK") // a failed COMMIT has done so
			}
		}()
		o, err := fn(se)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		step.Reached(step.PutApplied)
		// What is read in between is of neither version.
		s.versions.touch(fold(target), o.reshapes)
		defer s.versions.touch(fold(target), o.reshapes)
		defer s.committing()()
		// Before the commit, so that no sync takes the name in between.
		undo := s.clients.put(o.made)
		// Not interrupted any more: its outcome must be known.
		if _, err := se.exec(context.WithoutCancel(ctx), "COMMIT"); err != nil {
			undo()
			return doing(err, "commit")
		}
		committed = true
		step.Reached(step.PutCommitted)
		return nil
	})
}

// touch counts a change of target by a transaction beside those of Commit.
func (v *versions) touch(target string, reshapes bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.any++
	v.by[target]++
	if reshapes {
		v.reshapes++
		v.tables = nil
	}
}

// putFailure says of what DuckDB refuses that the client's rows are to blame.
func putFailure(err error) error {
	var e *duckError
	if fault.CodeOf(err) != fault.InvalidSQL || !errors.As(err, &e) {
		return err
	}
	hint := "correct the values, or cast the column before it is sent"
	if e.Kind == "Constraint" {
		hint = "send a value for each column that is NOT NULL"
	}
	return fault.New(fault.Usage, hint, "%w", err)
}
