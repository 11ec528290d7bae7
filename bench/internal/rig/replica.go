package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/change"
)

// ClientsEnv names the folder of PostgreSQL's client programs, in place of the usual ones.
const ClientsEnv = "PINTAIL_BENCH_CLIENTS"

// Client finds one of PostgreSQL's client programs, which are not among the server's binaries; "" when there is none.
func Client(name string) string {
	if dir := os.Getenv(ClientsEnv); dir != "" {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
		return ""
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // Debian's; its pattern is well formed
	if len(installed) == 0 {
		return ""
	}
	return installed[len(installed)-1]
}

// Sync is the command `pintail sync DATASET`, which brings a replica to where its source stands. RunTime reads what it prints.
func (c *Copy) Sync() *exec.Cmd {
	return exec.Command(c.binary, "sync", Dataset, "--json", "-c", c.Config, "--log-level", "warn")
}

// RunTime is how long the run took of which `pintail sync --json` has told: without opening and closing the file.
func RunTime(printed []byte) (time.Duration, error) {
	var run struct {
		Started time.Time `json:"started_at"`
		Ended   time.Time `json:"ended_at"`
	}
	if err := json.Unmarshal(printed, &run); err != nil {
		return 0, fmt.Errorf("pintail sync --json printed %.300q: %w", printed, err)
	}
	if run.Started.IsZero() || run.Ended.IsZero() {
		return 0, fmt.Errorf("pintail sync --json does not say when the run began and ended: %.300q", printed)
	}
	return run.Ended.Sub(run.Started), nil
}

// Save keeps the closed DuckDB file as it is now, for Restore.
func (c *Copy) Save() error {
	return c.transfer(c.File, c.File+savedSuffix)
}

// Restore puts the file back as Save found it.
func (c *Copy) Restore() error {
	saved := c.File + savedSuffix
	aside := filepath.Join(c.Dir, "saved")
	// Clear takes everything that begins with the file's name.
	for _, s := range suffixes {
		if err := rename(saved+s, aside+s); err != nil {
			return err
		}
	}
	if err := c.Clear(); err != nil {
		return err
	}
	for _, s := range suffixes {
		if err := rename(aside+s, saved+s); err != nil {
			return err
		}
	}
	return c.transfer(saved, c.File)
}

const savedSuffix = ".saved"

// suffixes are those of what belongs to a closed file.
var suffixes = []string{"", ".wal"}

func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (c *Copy) transfer(from, to string) error {
	for _, s := range suffixes {
		if err := copyFile(from+s, to+s); err != nil && (s == "" || !os.IsNotExist(err)) {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// SlotOf is the slot that the replica of a database has on its source, and so its publication.
func (s *Source) SlotOf(ctx context.Context, db string) (string, error) {
	row, err := s.Row(ctx, db, "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database() AND NOT temporary AND starts_with(slot_name, 'pintail_')")
	if err != nil {
		return "", fmt.Errorf("find the replica's slot: %w", err)
	}
	return row["slot_name"], nil
}

// freeWithin is how long a slot may still be in use after its reader has ended.
const freeWithin = 10 * time.Second

// CopySlot makes a slot that stands where another one does; one of its name is replaced.
func (s *Source) CopySlot(ctx context.Context, db, from, to string) error {
	err := s.do(ctx, db, func(c *pgx.Conn) error {
		for begin := time.Now(); ; {
			var active bool
			err := c.QueryRow(ctx, "SELECT count(*) FILTER (WHERE active) > 0 FROM pg_replication_slots WHERE slot_name = $1", to).Scan(&active)
			if err != nil {
				return err
			}
			if !active {
				break
			}
			if time.Since(begin) > freeWithin {
				return fmt.Errorf("it is still in use after %s", freeWithin)
			}
			if err := pause(ctx); err != nil {
				return err
			}
		}
		if _, err := c.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", to); err != nil {
			return err
		}
		_, err := c.Exec(ctx, "SELECT pg_copy_logical_replication_slot($1, $2)", from, to)
		return err
	})
	if err != nil {
		return fmt.Errorf("copy slot %s to %s: %w", from, to, err)
	}
	return nil
}

// DropSlots drops the slots of a database, which keep it from being dropped.
func (s *Source) DropSlots(ctx context.Context, db string) error {
	// One whose reader was killed may be in use for a moment longer: its session is ended, and the slot freed with it.
	return s.Exec(ctx, db, "SELECT pg_drop_replication_slot(slot_name) FROM (SELECT slot_name, CASE WHEN active THEN pg_terminate_backend(active_pid, 5000) END FROM pg_replication_slots WHERE database = current_database() OFFSET 0) s")
}

// LSN is where the server's log ends now.
func (s *Source) LSN(ctx context.Context) (string, error) {
	row, err := s.Row(ctx, "postgres", "SELECT pg_current_wal_insert_lsn()::text AS lsn")
	return row["lsn"], err
}

// Same compares tables on both sides: for each a SELECT of one row, in SQL that both understand, with values that are text.
func (b *Bench) Same(ctx context.Context, db string, s *Server, statements ...string) error {
	for _, sql := range statements {
		want, err := b.Source.Row(ctx, db, sql)
		if err != nil {
			return fmt.Errorf("summarise the source: %w", err)
		}
		got, err := s.Query(ctx, sql)
		if err != nil {
			return fmt.Errorf("summarise the copy: %w", err)
		}
		for name, w := range want {
			if got[name] != w {
				return fmt.Errorf("%s is %s in the copy, in the source %s: %s", name, got[name], w, sql)
			}
		}
	}
	return nil
}

// SlotLSN is from where on the server keeps its log for a slot.
func (s *Source) SlotLSN(ctx context.Context, db, slot string) (change.LSN, error) {
	row, err := s.Row(ctx, db, "SELECT restart_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1", slot)
	if err != nil {
		return 0, err
	}
	return change.ParseLSN(row["lsn"])
}

// Make is the name of a database that statements fill; it is made when it is not there. Other statements need another name.
func (b *Bench) Make(ctx context.Context, name string, statements ...string) (string, error) {
	return b.made(ctx, name, func(c *pgx.Conn) error {
		for _, sql := range statements {
			if _, err := c.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%.60s: %w", sql, err)
			}
		}
		return nil
	})
}
