package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source/postgres"
)

func (a *app) initCmd() *cobra.Command {
	var schemas []string
	var trigger bool
	c := &cobra.Command{
		Use:   "init [URL]",
		Short: "Write a commented pintail.yaml from a live database's catalog",
		Long: `Read the catalog of a PostgreSQL and write a commented pintail.yaml: every readable table with its key and the
column to sync it by. A password in the URL is not written; the file refers to ${PGPASSWORD}. An existing file is
never overwritten. Without a URL the PG* variables say where the database is.

With --ddl-trigger it writes nothing, and prints SQL for a superuser of the database: an event trigger that puts the exact
place of every ALTER TABLE into the log. Replicas (mode: cdc) then follow several of them in a row without copying the
table anew, and those that no row comes after without a delay.

` + exitHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if trigger {
				fmt.Fprint(a.out, postgres.DDLTrigger)
				return nil
			}
			target := ""
			if len(args) == 1 {
				target = args[0]
			}
			if _, err := os.Stat(a.configPath); err == nil {
				return fault.New(fault.Usage, "choose another file with --config", "%s exists already and is not overwritten", a.configPath)
			}
			conn, err := pgx.Connect(cmd.Context(), target)
			if err != nil {
				return fault.New(fault.SourceUnavailable, "check host, port, user and password; the PG* variables and .pgpass are read as psql does", "connect to the database: %w", err)
			}
			defer conn.Close(cmd.Context())
			tables, err := postgres.Tables(cmd.Context(), conn)
			if err != nil {
				return fmt.Errorf("read the catalog: %w", err)
			}
			text := template(target, conn.Config().Config.Database, tables, schemas)
			// What is written must load: a table whose name the file cannot hold would show here.
			if _, _, err := config.Parse(a.configPath, text, func(string) (string, bool) { return "x", true }); err != nil {
				return fmt.Errorf("the catalog led to a configuration that does not load: %w", err)
			}
			f, err := os.OpenFile(a.configPath, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
			if errors.Is(err, fs.ErrExist) {
				return fault.New(fault.Usage, "choose another file with --config", "%s exists already and is not overwritten", a.configPath)
			}
			if err != nil {
				return err
			}
			if _, err := f.Write(text); err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "Wrote %s with %s.", a.configPath, plural(bytes.Count(text, []byte("\n    table: ")), "table"))
			if bytes.Contains(text, []byte("${"+passwordVariable+"}")) {
				fmt.Fprintf(a.out, "\nThe password was left out: the file takes it from the environment. Next: export %s=…, then pintail check, then pintail sync.\n", passwordVariable)
				return nil
			}
			fmt.Fprintln(a.out, " Next: pintail check, then pintail sync.")
			return nil
		},
	}
	c.Flags().StringSliceVar(&schemas, "schema", nil, "only tables of these schemas")
	c.Flags().BoolVar(&trigger, "ddl-trigger", false, "print SQL that tells replicas of every ALTER TABLE")
	return c
}

// passwordVariable stands in the file for a password that the URL had.
const passwordVariable = "PGPASSWORD"

var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// template is the text of a pintail.yaml for these tables.
func template(target, database string, tables []postgres.Table, schemas []string) []byte {
	b := &bytes.Buffer{}
	written := withoutPassword(cmp.Or(target, "postgres:///")) // that leaves everything to the PG* variables
	note := ""
	if strings.Contains(written, "${"+passwordVariable+"}") {
		note = "    # the password was left out: " + passwordVariable + " in the environment has it; without it here, .pgpass is read\n"
	}
	fmt.Fprintf(b, `# Pintail's configuration. `+"`pintail check`"+` proves it against the database; `+"`pintail serve`"+` keeps it in sync.
# Every key is described in docs/configuration.md.
# yaml-language-server: $schema=https://raw.githubusercontent.com/pintaildb/pintail/main/docs/pintail.schema.json

sources:
  main_db:
%s    url: %s

duckdb:
  path: data/pintail.duckdb

server:
  http: {listen: 127.0.0.1:8500}

datasets:
`, note, yamlString(written))
	used := map[string]bool{"main": true, "_pintail": true, "pintail": true}
	for _, t := range tables {
		if len(schemas) > 0 && !slices.Contains(schemas, t.Schema) {
			continue
		}
		writeTable(b, t, used)
	}
	return b.Bytes()
}

func writeTable(b *bytes.Buffer, t postgres.Table, used map[string]bool) {
	full := sqlName(t.Schema) + "." + sqlName(t.Name)
	if !t.Readable {
		full = strings.NewReplacer("\n", " ", "\r", " ").Replace(full) // a comment ends with its line
		fmt.Fprintf(b, "  # %s left out: the role may not SELECT from it. GRANT SELECT ON %s TO …\n", full, full)
		return
	}
	name := datasetName(t, used)
	size := ""
	if t.Rows > 0 {
		size = fmt.Sprintf(", about %s rows, %s", count(t.Rows), bytesText(t.Bytes))
	}
	fmt.Fprintf(b, "  %s:  # %s%s\n    source: main_db\n    table: %s\n", name, t.Kind, size, yamlName(full))
	if len(t.Key) > 0 {
		fmt.Fprintf(b, "    key: [%s]\n", yamlList(t.Key))
	} else {
		fmt.Fprintf(b, "    # no primary key: without a key, updated and deleted rows are followed by full syncs or reconcile only\n")
	}
	if inc, note := incrementalColumn(t); inc != "" {
		fmt.Fprintf(b, "    incremental_column: %s%s\n    refresh: 1m\n", yamlName(inc), note)
		if len(t.Key) > 0 {
			fmt.Fprintf(b, "    reconcile: \"0 3 * * *\"  # every night: finds deleted rows and whatever a watermark cannot see\n")
		}
	} else {
		fmt.Fprintf(b, "    refresh: 1h  # no column shows when a row changed: every sync is a full one\n")
	}
	fmt.Fprintln(b)
}

// incrementalColumn is the column that most likely shows a row's last change.
func incrementalColumn(t postgres.Table) (name, note string) {
	best, score := -1, 0
	for i, c := range t.Columns {
		s := 0
		switch strings.ToLower(c.Name) {
		case "updated_at", "modified_at", "last_modified", "updated", "modified", "changed_at", "last_update":
			s = 30
		case "created_at", "created", "inserted_at", "timestamp", "ts", "occurred_at":
			s = 20
		}
		if s == 0 || !strings.HasPrefix(c.Type, "timestamp") && c.Type != "date" {
			continue
		}
		if c.Indexed {
			s += 5
		}
		if strings.HasSuffix(c.Type, "with time zone") {
			s++
		}
		if s > score {
			best, score = i, s
		}
	}
	if best < 0 {
		return "", ""
	}
	c := t.Columns[best]
	if !c.Indexed {
		note = "  # no index leads with it: each sync scans the table"
	}
	if score < 30 {
		note += "  # shows new rows, not updates"
	}
	return c.Name, note
}

func datasetName(t postgres.Table, used map[string]bool) string {
	clean := func(s string) string {
		s = regexp.MustCompile(`[^A-Za-z0-9_]+`).ReplaceAllString(s, "_")
		if s == "" || s[0] >= '0' && s[0] <= '9' || strings.HasPrefix(strings.ToLower(s), "_pintail") {
			s = "t_" + s
		}
		return s[:min(len(s), 60)]
	}
	name := clean(t.Name)
	if used[strings.ToLower(name)] {
		name = clean(t.Schema + "_" + t.Name)
	}
	for i := 2; used[strings.ToLower(name)]; i++ {
		name = fmt.Sprintf("%s_%d", clean(t.Name), i)
	}
	used[strings.ToLower(name)] = true
	return name
}

// withoutPassword is the URL as it is written: a password becomes a reference to the environment.
func withoutPassword(target string) string {
	u, err := url.Parse(target)
	if err != nil || u.Scheme == "" {
		if strings.Contains(target, "password=") {
			return regexp.MustCompile(`password=('[^']*'|\S+)`).ReplaceAllString(target, "password=${PGPASSWORD}")
		}
		return target
	}
	if u.User != nil {
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), "PINTAILSECRET")
		}
	}
	q := u.Query()
	if q.Has("password") {
		q.Set("password", "PINTAILSECRET")
		u.RawQuery = q.Encode()
	}
	return strings.ReplaceAll(u.String(), "PINTAILSECRET", "${PGPASSWORD}")
}

func sqlName(s string) string {
	if plainName.MatchString(s) {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// yamlString quotes what YAML would read as something else than this text.
func yamlString(s string) string {
	if regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`).MatchString(s) && !regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`).MatchString(s) {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// yamlName is yamlString for a name of the source, in which no variable is meant.
func yamlName(s string) string { return yamlString(strings.ReplaceAll(s, "${", "$${")) }

func yamlList(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = yamlName(n)
	}
	return strings.Join(out, ", ")
}
