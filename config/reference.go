package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

const referenceIntro = `# Configuration

<!-- Made from the code of package config: go test ./config -run TestReference -update. Do not edit. -->

Everything is in one YAML file, ` + "`pintail.yaml`" + ` in the working directory or ` + "`--config FILE`" + `. ` + "`pintail check`" + ` reads it
the way ` + "`pintail serve`" + ` does and proves it against the source. A mistake is an error with file, line, column and key, and
all mistakes are reported at once; nothing wrong is replaced by a default.

For completion and checks while typing, put this in the first line (editors with yaml-language-server):

` + "```yaml\n# yaml-language-server: $schema=https://raw.githubusercontent.com/pintaildb/pintail/main/docs/pintail.schema.json\n```" + `

A file with one source and one table:

` + "```yaml" + `
sources:
  shop:
    url: postgres://pintail:${SHOP_PASSWORD}@db.internal:5432/shop?sslmode=verify-full
datasets:
  messages:
    source: shop
    table: public.messages
    key: [id]
    incremental_column: updated_at
    refresh: 30s
` + "```" + `

## Values

- **Variables.** ` + "`${VAR}` and `${VAR:-default}`" + ` are put in after the file is parsed, in scalar values only: never in keys or comments, and
  no value can change the file's structure. The default is used when the variable is absent or empty. A variable that is
  absent and has no default is an error. In the userinfo of a URL (` + "`postgres://user:${PW}@host`" + `) values are percent-encoded, so put the
  password in as it is. ` + "`$${`" + ` is a literal ` + "`${`" + `. Inside ` + "`{ }` and `[ ]`" + ` YAML needs quotes: ` + "`{token: \"${TOKEN}\"}`" + `.
- **Durations**: ` + "`30s`, `2m`, `1h30m`" + `, or a number of seconds.
- **Sizes**: ` + "`512MiB`, `4GB`" + `, or a number of bytes. Units with an i are powers of 1024.
- **Schedules**: a duration with its unit, or a cron line of five fields (` + "`\"*/5 * * * *\"`, `@daily`" + `), or ` + "`off`" + `.
- **Secrets** never appear in logs, errors or answers; they print as ` + "`***`" + `.
- A key without a value (or ` + "`null`" + `) is an absent key. Anchors, aliases and ` + "`<<`" + ` work; top-level keys that begin with ` + "`x-`" + ` are not read and
  can hold anchors.

## Names

A dataset ` + "`m`" + ` becomes, in schema ` + "`main`" + `:

| form | tables | view |
|---|---|---|
| dataset_query and results_query | m_dataset, m_results | m_data |
| queries a, b | m_a, m_b | m, when view is given |
| table, or a block's single query | m | |
| mode: cdc | in schema m, named by into | |

Dataset and query names are letters, digits and ` + "`_`" + `. Two objects of one name, equal but for case too, are an error. Reserved: ` + "`main`, `_pintail`, `system`, `temp`, `information_schema`, `pg_catalog`" + `,
everything that begins with ` + "`_pintail`" + `, and the part of the DuckDB file's name before the first dot.
` + "`key`, `incremental_column`, `partition_column`, `types`" + ` name columns as the query or table gives them, before ` + "`columns`" + ` renames them.

## Roles

` + "`admin`" + ` is built in. Without users, clients on loopback are admin. Listening beyond loopback needs users (or JWT) and TLS, or ` + "`insecure: true`" + `.

## Sparing a source

` + "`pool` and `bandwidth`" + ` limit connections and bytes a second. ` + "`quiet_hours`" + ` are when nothing heavy is begun:

` + "```yaml" + `
sources:
  shop:
    url: postgres://pintail:${SHOP_PASSWORD}@db.internal:5432/shop
    quiet_hours: ["Mon-Fri 08:00-18:00", "22:00-02:00"]
    quiet_zone: Europe/Berlin
` + "```" + `

- **Windows.** Days are optional (` + "`Mon-Fri`, `Sat,Sun`" + `); a window that passes midnight belongs to the day it begins on. Times are those of a clock on the wall in
  quiet_zone: where the clock is set back, a window lasts from the first time that it shows its beginning to the last that it shows its end. Windows may overlap, but not cover the week.
- **What waits**: syncs and reconciles by schedule, the syncs of a start, and copies of tables that ` + "`mode: cdc`" + ` needs, first ones and later ones. Nothing is left out: what came due begins
  when the window ends. For a first copy not even a slot is made before. ` + "`pintail status`" + ` says what waits and until when; ` + "`/readyz`" + ` does not wait for it.
- **What goes on**: a replica's stream, which costs the source little, and all that runs already.
- **What somebody asks for** runs at once: ` + "`pintail sync`, `verify`, `reconcile` and `retry`" + `, and their HTTP calls. An external scheduler is somebody.

A reload brings other quiet hours into force at once.

**How much of its load is ours** is measured by the server: ` + "`pintail_source_seconds_total`" + ` is how long our statements were active on the source,
` + "`pintail_source_load_share`" + ` their share in how long all sessions of its database were active within the last minute. ` + "`pintail status`" + ` tells it from 10 % on. What that is, and what not:

- All sessions' time is pg_stat_database.active_time of PostgreSQL 14 and later; ours is measured at our connections, from sending a statement to its end. Both are time for which a
  session is active, not processor time: a COPY that waits for bandwidth is active as well.
- PostgreSQL counts a session's time when its transaction is over, so a long statement of somebody else comes into the share at its end. Of ours, what it has not counted yet is added.
- It counts neither parallel workers nor processes that send the log, so the decoding for a replica's stream is in neither figure. Other databases of the server are not in it.
- It is asked every 15 seconds while statements of ours run, and not while none do: the share then falls to 0 when a minute is over. There is no share before
  the second answer, where track_activities is off, before PostgreSQL 14, and while the pool has no free connection to ask.

## While running

A reload says first what it will do. Schedules, timeouts, caps, users and roles change at once and keep every table. A changed query, table, column list, type, key, incremental column or source rebuilds
the dataset by a full sync, with the present rows readable until the swap. A removed dataset's tables are dropped: with the reload, or, where it was
removed while nothing ran, with the next start of ` + "`serve`" + `, which says so; ` + "`check`" + ` and ` + "`sync`" + ` tell it beforehand. ` + "`duckdb`" + ` (but for max_sync_rows) and ` + "`server`" + ` need a restart.

## Keys
`

const blockIntro = `
The older form of a dataset, in the same file or alone: a top-level block ` + "`NAME_db` (`monitoring_db`, …)" + ` is dataset NAME with a source of
its own, called NAME_db. What differs from an entry of datasets: enabled and auto_load are false, query_timeout is 60 seconds, join is
inner, max_sync_rows is 2,000,000. The connection may come from variables: NAME_DB_URL, or NAME_DB_HOST, _PORT, _NAME, _USER, _PASSWORD, _SSL_MODE
(the name in capitals); a key in the file comes first.
`

// section is one table of the reference: the keys of t at path.
type section struct {
	title, path, intro string
	t                  reflect.Type
}

// Reference is docs/configuration.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceIntro)
	queue := []section{{title: "The file", t: reflect.TypeFor[fileSpec]()}}
	for seen := map[reflect.Type]bool{}; len(queue) > 0; queue = queue[1:] {
		if s := queue[0]; !seen[s.t] {
			seen[s.t] = true
			queue = append(queue, s.write(&b)...)
		}
	}
	block := section{title: "NAME_db", path: "NAME_db", intro: blockIntro, t: reflect.TypeFor[blockSpec]()}
	block.write(&b)
	return b.String()
}

// write renders s and returns the sections below it.
func (s section) write(b *strings.Builder) []section {
	fmt.Fprintf(b, "\n### %s\n%s\n| key | type | default | what it is |\n|---|---|---|---|\n", s.title, s.intro)
	var below []section
	eachField(s.t, nil, func(f reflect.StructField) {
		help := f.Tag.Get("help")
		if enum := f.Tag.Get("enum"); enum != "" {
			help += " One of `" + strings.ReplaceAll(enum, "|", "`, `") + "`."
		}
		if low, high := f.Tag.Get("min"), f.Tag.Get("max"); low != "" && high != "" {
			help += fmt.Sprintf(" %s to %s.", low, high)
		}
		if example := f.Tag.Get("example"); example != "" {
			help += " Example: `" + example + "`"
		}
		value := f.Tag.Get("computed")
		if text, ok := f.Tag.Lookup("default"); ok {
			value = "`" + text + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.Tag.Get("yaml"), typeName(f.Type), value, strings.ReplaceAll(help, "|", `\|`))
		t, path := f.Type, join(s.path, f.Tag.Get("yaml"))
		if t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Pointer {
			t, path = t.Elem().Elem(), path+".NAME"
		}
		title := path
		if t == reflect.TypeFor[Listen]() {
			title = "server.http, server.flight, server.pgwire"
		}
		if t.Kind() == reflect.Struct && typeName(t) == "mapping" {
			below = append(below, section{title: title, path: path, t: t})
		}
	})
	return below
}

func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[unused]():
		return "any"
	case reflect.TypeFor[keySpec]():
		return "list, or mapping of lists"
	case reflect.TypeFor[columnsSpec]():
		return "list or mapping"
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[Schedule]():
		return "schedule"
	case reflect.TypeFor[Secret]():
		return "secret"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list"
	case reflect.Struct, reflect.Map:
		return "mapping"
	}
	return "text"
}
