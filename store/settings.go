package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	duck "github.com/duckdb/duckdb-go-bindings"
)

// config holds what DuckDB must know before the file is opened.
func (o *Options) config() [][2]string {
	c := [][2]string{
		// Row groups are then written as each thread fills them, side by side; the order of rows carries no meaning here.
		{"preserve_insertion_order", "false"},
		{"temp_directory", o.Path + ".tmp"},
		// Everything on the path is linked in; nothing may be fetched or loaded later.
		{"autoinstall_known_extensions", "false"},
		{"autoload_known_extensions", "false"},
		{"allow_community_extensions", "false"},
		{"checkpoint_threshold", "64MiB"},
		// Both fetch rows by their row ids after finding them, and a checkpoint in between gives the ids anew: a SELECT … ORDER BY …
		// LIMIT then returns other rows than it has found.
		{"disabled_optimizers", "late_materialization,top_n_window_elimination"},
	}
	if o.MemoryLimit > 0 {
		c = append(c, [2]string{"memory_limit", strconv.FormatInt(o.MemoryLimit, 10) + "B"})
	}
	if o.Threads > 0 {
		c = append(c, [2]string{"threads", strconv.Itoa(o.Threads)})
	}
	return c
}

// rowGroupRows is how many rows a row group has, a quarter of what DuckDB would give it: a batch's keys lie in that much less of a
// large table (100 million rows: 200 random keys are found in 17 ms instead of 44). Scans take as long as before; with half of it
// they begin to take longer.
const rowGroupRows = 15 * vectorRows

// openInstance opens an instance with the catalog of staging tables, to which the file is attached: only so can be said how large its row
// groups are. A second instance of the file in the process would drop its lock, so there is one; the lock file, which is
// locked per opening and not per process, sees to that.
func (o *Options) openInstance() (db duck.Database, err error) {
	var cfg duck.Config
	if duck.CreateConfig(&cfg) == duck.StateError {
		return db, fmt.Errorf("DuckDB gave no configuration")
	}
	defer duck.DestroyConfig(&cfg)
	for _, kv := range o.config() {
		if duck.SetConfig(cfg, kv[0], kv[1]) == duck.StateError {
			return db, fmt.Errorf("DuckDB refused the setting %s = %s", kv[0], kv[1])
		}
	}
	var text string
	if duck.OpenExt(":memory:", &db, cfg, &text) == duck.StateError {
		return db, fmt.Errorf("open DuckDB: %s", text)
	}
	return db, nil
}

// attach opens the file. Errors of DuckDB are those of opening.
func (o *Options) attach(ctx context.Context, se *Session, catalog string) error {
	err := se.script(ctx, fmt.Sprintf("ATTACH %s AS %s (ROW_GROUP_SIZE %d); %s", literal(o.Path), quote(catalog), rowGroupRows, use(catalog)))
	if err != nil && ctx.Err() == nil {
		return openFailure(o.Path, err.Error())
	}
	return err
}

// use has a connection's unqualified names mean those of the file.
func use(catalog string) string { return "USE " + quote(catalog) }

// lockdown is run on the first connection: what readers' statements can reach is decided here, before there are any.
// DuckDB keeps the file itself, its WAL and the temporary directory open to every statement, so functions that read files and
// statements that write them must not get here (access).
func (o *Options) lockdown(ctx context.Context, se *Session) error {
	var set []string
	if o.TempLimit > 0 {
		// Given at the opening it is shown by current_setting, but not kept.
		set = append(set, fmt.Sprintf("SET GLOBAL max_temp_directory_size = '%dB'", o.TempLimit))
	}
	allowed := "'TimeZone', 'default_null_order', 'integer_division', '" + skipSetting + "'"
	if o.Profile {
		allowed += ", '" + profiling + "'"
	}
	set = append(set,
		"SET GLOBAL TimeZone = 'UTC'",
		"SET GLOBAL enable_external_access = false",
		// What sessions may still set: readers' those of Set, and Apply for itself how joins skip row groups.
		"SET GLOBAL allowed_configs = ["+allowed+"]",
		"SET GLOBAL lock_configuration = true")
	return se.script(ctx, strings.Join(set, "; "))
}
