package rig

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
)

// settings keep the server from working on its own account while something is measured.
var settings = map[string]string{
	"autovacuum":         "off",
	"max_wal_size":       "8GB",
	"checkpoint_timeout": "1h",
}

// Source is the PostgreSQL server that is read. A kept one has its data in the cache, where the next run finds the
// tables of this one.
type Source struct {
	*pgtest.Server
	work   string // a folder for one run, on the disk that the server's data is on
	unlock func() error
}

// openSource starts a server with more settings over those above. Only one process at a time has the kept one.
func openSource(ctx context.Context, major int, keep bool, more map[string]string) (*Source, error) {
	settings := maps.Clone(settings)
	maps.Copy(settings, more)
	bin, err := pgtest.Fetch(ctx, major)
	if err != nil {
		return nil, err
	}
	s := &Source{unlock: func() error { return nil }}
	if !keep {
		if s.Server, err = pgtest.Start(ctx, pgtest.Options{Major: major, Settings: settings}); err != nil {
			return nil, err
		}
		s.work = filepath.Join(s.Dir, "run") // goes with the server's folder, whatever happens
		return s, nil
	}
	cache := filepath.Join(filepath.Dir(filepath.Dir(bin.Dir)), "bench")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "postgres-"+bin.Version)
	s.work = dir + ".run"
	l := flock.New(dir + ".lock")
	locked, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if !locked {
		return nil, fault.New(fault.Locked, "wait for its end, or run with -keep=false", "another benchmark runs on %s", dir)
	}
	s.unlock = l.Unlock
	if s.Server, err = startKept(ctx, major, dir, settings); err != nil {
		return nil, errors.Join(err, s.unlock())
	}
	if err := s.dropLeftovers(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// startKept starts a server on the data in dir, which is made when it is not there or was not finished.
func startKept(ctx context.Context, major int, dir string, settings map[string]string) (*pgtest.Server, error) {
	finished := filepath.Join(dir, "finished")
	if _, err := os.Stat(finished); err == nil {
		// The new server's own folder holds its log, its socket and its configuration files.
		with := map[string]string{"data_directory": filepath.Join(dir, "data")}
		maps.Copy(with, settings)
		return pgtest.Start(ctx, pgtest.Options{Major: major, Settings: with})
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	s, err := pgtest.Start(ctx, pgtest.Options{Major: major, Dir: dir, Settings: settings})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(finished, nil, 0o644); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// close shuts the server down with a checkpoint, so that the next start has nothing to recover.
func (s *Source) close() error {
	return errors.Join(s.Stop(pgtest.Fast), s.Close(), s.unlock())
}

// unfinished is how the names of databases begin that are no one's after the run that made them.
const unfinished = "unfinished_"

func (s *Source) dropLeftovers(ctx context.Context) error {
	return s.do(ctx, "postgres", func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", unfinished)
		if err != nil {
			return err
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, n := range names {
			if _, err := c.Exec(ctx, "DROP DATABASE "+pgx.Identifier{n}.Sanitize()+" WITH (FORCE)"); err != nil {
				return err
			}
		}
		return nil
	})
}

// do runs fn on a superuser's connection.
func (s *Source) do(ctx context.Context, db string, fn func(*pgx.Conn) error) (err error) {
	c, err := pgx.Connect(ctx, s.SocketURL(db))
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, c.Close(stop))
	}()
	return fn(c)
}

func (s *Source) version(ctx context.Context) (version string, err error) {
	err = s.do(ctx, "postgres", func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "SHOW server_version").Scan(&version)
	})
	return version, err
}

// Exec runs one statement as superuser.
func (s *Source) Exec(ctx context.Context, db, sql string, args ...any) error {
	return s.do(ctx, db, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, sql, args...)
		return err
	})
}

// Duplicate makes a database of a run's own from db, to be changed; drop removes it.
func (s *Source) Duplicate(ctx context.Context, db string) (name string, drop func() error, err error) {
	name = unfinished + "copy_of_" + db
	quoted := pgx.Identifier{name}.Sanitize()
	sql := "CREATE DATABASE " + quoted + " TEMPLATE " + pgx.Identifier{db}.Sanitize()
	if s.Major >= 15 {
		sql += " STRATEGY file_copy" // the other one writes the whole copy to the log as well
	}
	if err := s.Exec(ctx, "postgres", sql); err != nil {
		return "", nil, fmt.Errorf("copy database %s: %w", db, err)
	}
	drop = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return s.Exec(ctx, "postgres", "DROP DATABASE "+quoted+" WITH (FORCE)")
	}
	return name, drop, nil
}

// Table is the name of the table, in schema public.
const Table = "messages"

// tableVersion changes with the statements below, so that no kept table of older ones is used.
const tableVersion = 1

// Ten columns: every 10th payload is NULL, ids are in the order of the pages.
const createTable = `CREATE TABLE messages (
	id         bigint NOT NULL,
	partner_id int NOT NULL,
	status     text NOT NULL,
	code       text NOT NULL,
	amount     numeric(12,2) NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL DEFAULT now(),
	flag       boolean NOT NULL,
	score      double precision NOT NULL,
	payload    text)`

const fillTable = `INSERT INTO messages SELECT
	i::bigint,
	(i::bigint * 7919 % 1000)::int,
	(array['processed', 'failed', 'pending', 'sent'])[1 + i % 4],
	'p' || (i % 977),
	((i::bigint * 31 % 10000000) / 100.0)::numeric(12,2),
	now() - (i || ' s')::interval,
	now() - (i % 86400 || ' s')::interval,
	i % 3 = 0,
	(i * 0.37)::float8,
	CASE WHEN i % 10 = 0 THEN NULL ELSE md5(i::text) END
FROM generate_series(1, $1::int) i`

// VACUUM sets every row's hint bits and freezes them: the first readers would do it otherwise, at their expense.
var finishTable = []string{
	"ALTER TABLE messages ADD PRIMARY KEY (id)",
	"CREATE INDEX messages_updated_at ON messages (updated_at)",
	"VACUUM (FREEZE, ANALYZE) messages",
	"CHECKPOINT",
}

// Database is the name of the database with a table of so many rows; it is made when it is not there.
func (b *Bench) Database(ctx context.Context, rows int) (string, error) {
	return b.made(ctx, fmt.Sprintf("rows_%d_v%d", rows, tableVersion), func(c *pgx.Conn) error {
		if _, err := c.Exec(ctx, createTable); err != nil {
			return err
		}
		if _, err := c.Exec(ctx, fillTable, rows); err != nil {
			return err
		}
		for _, sql := range finishTable {
			if _, err := c.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
}

// made is the name of a database that fill fills, when it is not there.
func (b *Bench) made(ctx context.Context, name string, fill func(*pgx.Conn) error) (string, error) {
	s := b.Source
	var there bool
	err := s.do(ctx, "postgres", func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there)
	})
	if err != nil || there {
		return name, err
	}
	b.Progress("making database %s", name)
	making := pgx.Identifier{unfinished + name}.Sanitize()
	if err := s.Exec(ctx, "postgres", "CREATE DATABASE "+making); err != nil {
		return "", err
	}
	err = s.do(ctx, unfinished+name, func(c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "SET maintenance_work_mem = '512MB'"); err != nil {
			return err
		}
		return fill(c)
	})
	if err != nil {
		return "", fmt.Errorf("make database %s: %w", name, err)
	}
	return name, s.Exec(ctx, "postgres", "ALTER DATABASE "+making+" RENAME TO "+pgx.Identifier{name}.Sanitize())
}

// TableBytes is the size of the table without its indexes.
func (s *Source) TableBytes(ctx context.Context, db string) (n int64, err error) {
	err = s.do(ctx, db, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT pg_relation_size($1::regclass)", Table).Scan(&n)
	})
	return n, err
}

// Row asks one row whose values are all text, by column name.
func (s *Source) Row(ctx context.Context, db, sql string, args ...any) (map[string]string, error) {
	out := map[string]string{}
	err := s.do(ctx, db, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		values, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
		for k, v := range values {
			out[k] = strings.TrimSpace(fmt.Sprint(v))
		}
		return err
	})
	return out, err
}
