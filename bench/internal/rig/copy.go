package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pintaildb/pintail/bench/internal/measure"
)

// Dataset is the name of the one dataset of a copy, and of its table.
const Dataset = Table

// CopyOptions say how a copy is configured; what they do not name is pintail's default.
type CopyOptions struct {
	URL         string // of the source
	Keyed       bool   // with key: [id] and incremental_column: updated_at
	MemoryLimit string
	Listen      string // for serve
	PGWire      string // where serve has this door; "" is closed
	Flight      string // the same
	Replica     string // patterns of the tables that are followed, instead of one that is synced; they keep their names
	CDC         string // more settings of a replica, such as "memory: 64MiB"
	DuckDB      string // a setting of DuckDB, such as "threads: 1"

	Endpoints map[string]string // files of published statements, by name
}

// Copy is a configuration file, and the DuckDB file that it leads to.
type Copy struct {
	Dir    string
	Config string
	File   string
	binary string
	listen string
	pgwire string
}

// NewCopy writes a configuration into a folder of its own.
func (b *Bench) NewCopy(name string, o CopyOptions) (*Copy, error) {
	dir := filepath.Join(b.Dir, name)
	c := &Copy{Dir: dir, Config: filepath.Join(dir, "pintail.yaml"), File: filepath.Join(dir, "copy.duckdb"), binary: b.Binary, listen: o.Listen, pgwire: o.PGWire}
	var y strings.Builder
	fmt.Fprintf(&y, "sources:\n  bench: {url: %q}\n", o.URL)
	fmt.Fprintf(&y, "duckdb:\n  path: %q\n  sync_mode: manual\n", c.File)
	if o.MemoryLimit != "" {
		fmt.Fprintf(&y, "  memory_limit: %s\n", o.MemoryLimit)
	}
	if o.DuckDB != "" {
		fmt.Fprintf(&y, "  %s\n", o.DuckDB)
	}
	fmt.Fprintf(&y, "datasets:\n  %s:\n    source: bench\n", Dataset)
	if o.Replica != "" {
		fmt.Fprintf(&y, "    mode: cdc\n    tables: [%s]\n    into: \"{table}\"\n", o.Replica)
	} else {
		fmt.Fprintf(&y, "    table: public.%s\n", Table)
	}
	if o.CDC != "" {
		fmt.Fprintf(&y, "    %s\n", o.CDC)
	}
	if o.Keyed {
		y.WriteString("    key: [id]\n    incremental_column: updated_at\n")
	}
	if o.Listen != "" {
		y.WriteString("server:\n")
	}
	for _, door := range []struct{ name, listen string }{{"http", o.Listen}, {"pgwire", o.PGWire}, {"flight", o.Flight}} {
		if door.listen != "" {
			fmt.Fprintf(&y, "  %s: {listen: %q}\n", door.name, door.listen)
		}
	}
	if len(o.Endpoints) > 0 {
		y.WriteString("endpoints: {path: endpoints}\n")
	}
	if err := os.MkdirAll(filepath.Join(dir, "endpoints"), 0o755); err != nil {
		return nil, err
	}
	for name, sql := range o.Endpoints {
		if err := os.WriteFile(filepath.Join(dir, "endpoints", name), []byte(sql), 0o600); err != nil {
			return nil, err
		}
	}
	return c, os.WriteFile(c.Config, []byte(y.String()), 0o600) // it holds a password
}

// PGURL leads a client of PostgreSQL to the copy, while it is served.
func (c *Copy) PGURL() string { return PGURL(c.pgwire, c.File) }

// PGURL leads a client of PostgreSQL to a door that serves a DuckDB file.
func PGURL(address, file string) string {
	return "postgres://bench@" + address + "/" + strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)) + "?sslmode=disable"
}

// Remove removes the folder, the DuckDB file in it too.
func (c *Copy) Remove() { _ = os.RemoveAll(c.Dir) }

// Clear removes the DuckDB file and what stands beside it, so that the next command makes a new one.
func (c *Copy) Clear() error {
	names, err := filepath.Glob(c.File + "*")
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := os.RemoveAll(n); err != nil {
			return err
		}
	}
	return nil
}

// Bytes is the size of the DuckDB file and of its log.
func (c *Copy) Bytes() (n int64, err error) {
	for _, name := range []string{c.File, c.File + ".wal"} {
		info, err := os.Stat(name)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return 0, err
		}
		n += info.Size()
	}
	return n, nil
}

// FullSync is the command `pintail sync DATASET --full`.
func (c *Copy) FullSync() *exec.Cmd {
	return exec.Command(c.binary, "sync", Dataset, "--full", "-c", c.Config)
}

// Query runs `pintail query`; the one row of the answer has its values by column name.
func (c *Copy) Query(ctx context.Context, sql string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, c.binary, "query", "--format", "json", "-c", c.Config, sql)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("pintail query: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var row map[string]any
	d := json.NewDecoder(bytes.NewReader(out))
	d.UseNumber()
	if err := d.Decode(&row); err != nil {
		return nil, fmt.Errorf("pintail query answered %.200q: %w", out, err)
	}
	return texts(row), nil
}

func texts(row map[string]any) map[string]string {
	out := map[string]string{}
	for k, v := range row {
		out[k] = fmt.Sprint(v)
	}
	return out
}

// Run measures a command beside this run's server. What earlier rounds wrote is on disk before it starts.
func (b *Bench) Run(ctx context.Context, cmd *exec.Cmd) (measure.Usage, error) {
	if err := exec.CommandContext(ctx, "sync").Run(); err != nil {
		return measure.Usage{}, fmt.Errorf("write what waits to the disks: %w", err)
	}
	return measure.Command(ctx, cmd, measure.Options{Server: b.Source.Pid(), Watch: true})
}
