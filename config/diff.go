package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Effect is what a change does to what is already there.
type Effect string

// The effects of a change.
const (
	EffectApplied Effect = "applied" // in force from the next run or statement; tables are kept
	EffectBuild   Effect = "build"   // new tables by a first full sync
	EffectRebuild Effect = "rebuild" // a full sync; the old rows stay readable until the swap
	EffectView    Effect = "view"    // the view is replaced or dropped; tables are kept
	EffectDrop    Effect = "drop"    // tables and view are dropped, watermarks forgotten
	EffectRestart Effect = "restart" // not in force before a restart
)

// Change is one difference between two configurations, and what applying it does.
type Change struct {
	Dataset string   // "" when it is not about a dataset
	Keys    []string // what changed, as in the file
	Effect  Effect
	Drops   []string // tables and views in main that go away
	Text    string   // a sentence for the operator
}

func (c Change) String() string { return c.Text }

// Diff says what replacing old by new does, before it is done: datasets first, by name, then the rest.
func Diff(old, new *Config) []Change {
	var changes []Change
	names := maps.Clone(old.Datasets)
	maps.Copy(names, new.Datasets)
	for _, name := range sortedKeys(names) {
		before, after := old.Datasets[name], new.Datasets[name]
		switch {
		case before == nil:
			changes = append(changes, Change{Dataset: name, Effect: EffectBuild,
				Text: fmt.Sprintf("dataset %s is added: a first full sync builds %s", name, objectList(after))})
		case after == nil:
			changes = append(changes, Change{Dataset: name, Effect: EffectDrop, Drops: before.objects(),
				Text: fmt.Sprintf("dataset %s is removed: %s dropped and watermarks forgotten", name, are(before))})
		default:
			changes = append(changes, diffDataset(old, new, before, after)...)
		}
	}
	changes = append(changes, diffSources(old, new)...)
	changes = append(changes, diffAccess(old, new)...)
	return append(changes, diffRestart(old, new)...)
}

// objects names the tables and the view of d in schema main.
func (d *Dataset) objects() []string {
	objects := d.Tables()
	if d.ViewName != "" {
		objects = append(objects, d.ViewName)
	}
	return objects
}

func objectList(d *Dataset) string {
	if d.Form == FormCDC {
		return "the tables of schema " + d.Name
	}
	return quoteList(d.objects())
}

func are(d *Dataset) string {
	if d.Form != FormCDC && len(d.objects()) == 1 {
		return objectList(d) + " is"
	}
	return objectList(d) + " are"
}

func diffDataset(old, new *Config, a, b *Dataset) []Change {
	var rebuild, view, applied, changes = []string{}, []string{}, []string{}, []Change{}
	differ := func(keys *[]string, key string, x, y any) {
		if !reflect.DeepEqual(x, y) {
			*keys = append(*keys, key)
		}
	}
	differ(&rebuild, "form", a.Form, b.Form)
	differ(&rebuild, "source", a.Source, b.Source)
	if x, y := old.Sources[a.Source], new.Sources[b.Source]; a.Source == b.Source && x != nil && y != nil && x.URL.place() != y.URL.place() {
		rebuild = append(rebuild, "the source's url")
	}
	differ(&rebuild, "out_of_range", a.OutOfRange, b.OutOfRange)
	differ(&rebuild, "cdc settings", a.CDC, b.CDC)
	differ(&view, "join", a.Join, b.Join)
	differ(&view, "view", a.View, b.View)
	differ(&applied, "refresh", a.Refresh, b.Refresh)
	differ(&applied, "reconcile", a.Reconcile, b.Reconcile)
	differ(&applied, "query_timeout", a.QueryTimeout, b.QueryTimeout)
	differ(&applied, "lookback", a.Lookback, b.Lookback)
	differ(&applied, "late_commits", a.LateCommits, b.LateCommits)
	differ(&applied, "max_sync_rows", a.MaxSyncRows, b.MaxSyncRows)
	differ(&applied, "auto_load", a.AutoLoad, b.AutoLoad)
	after := map[string]Part{}
	for _, p := range b.Parts {
		after[p.Target] = p
	}
	for _, p := range a.Parts {
		q, kept := after[p.Target]
		if !kept {
			continue
		}
		delete(after, p.Target)
		in := func(key string) string {
			if a.Form == FormQueries && b.Form == FormQueries {
				return p.Name + "." + key
			}
			return key
		}
		differ(&rebuild, in(sqlKey(p)), p.SQL, q.SQL)
		differ(&rebuild, in("table"), p.Table, q.Table)
		differ(&rebuild, in("columns"), columnShape(p), columnShape(q))
		differ(&rebuild, in("types"), p.Types, q.Types)
		differ(&rebuild, in("where"), p.Where, q.Where)
		differ(&rebuild, in("key"), p.Key, q.Key)
		differ(&rebuild, in("incremental_column"), p.IncrementalColumn, q.IncrementalColumn)
		differ(&applied, in("partition_column"), p.PartitionColumn, q.PartitionColumn)
	}
	for _, p := range b.Parts {
		if _, isNew := after[p.Target]; isNew {
			rebuild = append(rebuild, "new table "+p.Target)
		}
	}
	rebuild, applied = distinctKeys(rebuild), distinctKeys(applied)
	var drops []string
	for _, object := range a.objects() {
		if !slices.Contains(b.objects(), object) {
			drops = append(drops, object)
		}
	}
	dropped := ""
	if len(drops) > 0 {
		dropped = "; dropped: " + quoteList(drops)
	}
	add := func(effect Effect, keys []string, format string, args ...any) {
		changes = append(changes, Change{Dataset: b.Name, Keys: keys, Effect: effect, Text: fmt.Sprintf("dataset %s: ", b.Name) + fmt.Sprintf(format, args...)})
	}
	switch {
	case len(rebuild) > 0:
		add(EffectRebuild, rebuild, "%s changed: rebuilt by a full sync, the present rows stay readable until then%s", quoteList(rebuild), dropped)
		changes[len(changes)-1].Drops = drops
	case len(drops) > 0:
		add(EffectDrop, view, "the rest is kept%s", dropped)
		changes[len(changes)-1].Drops = drops
	}
	if len(view) > 0 && b.ViewName != "" {
		add(EffectView, view, "%s changed: the view %s is made anew, tables are kept", quoteList(view), b.ViewName)
	}
	if len(applied) > 0 {
		add(EffectApplied, applied, "%s changed: in force from the next run, tables are kept", quoteList(applied))
	}
	if a.Paused != b.Paused {
		word := "resumed: the next sync goes on from the watermarks"
		if b.Paused {
			word = "paused: tables are kept as they are, nothing is synced"
		}
		add(EffectApplied, []string{"paused"}, "%s", word)
	}
	return changes
}

func sqlKey(p Part) string {
	if p.Name == "dataset" || p.Name == "results" {
		return p.Name + "_query"
	}
	return "sql"
}

// columnShape is what decides the columns of a part: which, and what they are called.
func columnShape(p Part) [2]string {
	renames := make([]string, 0, len(p.Rename))
	for _, from := range sortedKeys(p.Rename) {
		renames = append(renames, from+"="+p.Rename[from])
	}
	return [2]string{strings.Join(p.Columns, ","), strings.Join(renames, ",")}
}

func distinctKeys(keys []string) []string {
	slices.Sort(keys)
	return slices.Compact(keys)
}

// place is where a URL leads, without who goes there: a new password or pool is no reason to copy everything again.
func (s Secret) place() string {
	scheme, rest, isURL := strings.Cut(string(s), "://")
	if !isURL {
		return secretWord.ReplaceAllString(string(s), "")
	}
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	rest, params, _ := strings.Cut(rest, "?")
	var kept []string
	for _, p := range strings.Split(params, "&") {
		if name, _, _ := strings.Cut(p, "="); slices.Contains([]string{"host", "port", "dbname", "options"}, name) {
			kept = append(kept, p)
		}
	}
	return strings.TrimSuffix(scheme, "ql") + "://" + rest + "?" + strings.Join(kept, "&")
}

// ConnectsAs says whether what two sources are opened with is the same.
func (s *Source) ConnectsAs(o *Source) bool {
	a, b := *s, *o
	for _, s := range []*Source{&a, &b} {
		s.QuietHours, s.QuietZone, s.Quiet, s.Line = nil, "", QuietHours{}, 0
	}
	return reflect.DeepEqual(a, b)
}

func diffSources(old, new *Config) []Change {
	var changes []Change
	names := maps.Clone(old.Sources)
	maps.Copy(names, new.Sources)
	for _, name := range sortedKeys(names) {
		a, b := old.Sources[name], new.Sources[name]
		text := ""
		var keys []string
		switch {
		case a == nil:
			text = fmt.Sprintf("source %s is added", name)
		case b == nil:
			text = fmt.Sprintf("source %s is removed: its connections are closed", name)
		default:
			if a.URL != b.URL {
				keys = append(keys, "url")
			}
			if a.Pool != b.Pool {
				keys = append(keys, "pool")
			}
			if a.Read != b.Read {
				keys = append(keys, "read")
			}
			if a.Bandwidth != b.Bandwidth {
				keys = append(keys, "bandwidth")
			}
			if len(keys) > 0 {
				text = fmt.Sprintf("source %s: %s changed: the next run connects anew", name, quoteList(keys))
			}
			if !slices.Equal(a.QuietHours, b.QuietHours) || a.QuietZone != b.QuietZone {
				changes = append(changes, Change{Keys: []string{"quiet_hours"}, Effect: EffectApplied, Text: fmt.Sprintf("source %s: quiet_hours changed: in force at once, what runs goes on", name)})
			}
			if text == "" {
				continue
			}
		}
		changes = append(changes, Change{Keys: keys, Effect: EffectApplied, Text: text})
	}
	return changes
}

func diffAccess(old, new *Config) []Change {
	var changes []Change
	add := func(kind, name string, before, after, same bool) {
		verb := "changed"
		switch {
		case before && after && same:
			return
		case !before:
			verb = "added"
		case !after:
			verb = "removed"
		}
		changes = append(changes, Change{Keys: []string{kind + "s." + name}, Effect: EffectApplied,
			Text: fmt.Sprintf("%s %s is %s: in force from the next request", kind, name, verb)})
	}
	users := maps.Clone(old.Users)
	maps.Copy(users, new.Users)
	for _, name := range sortedKeys(users) {
		a, b := old.Users[name], new.Users[name]
		same := a != nil && b != nil && a.Password == b.Password && a.Token == b.Token && a.Role == b.Role && maps.Equal(a.Claims, b.Claims)
		add("user", name, a != nil, b != nil, same)
	}
	roles := maps.Clone(old.Roles)
	maps.Copy(roles, new.Roles)
	for _, name := range sortedKeys(roles) {
		a, b := old.Roles[name], new.Roles[name]
		same := a != nil && b != nil
		if same {
			x, y := *a, *b
			x.Line, y.Line = 0, 0
			same = reflect.DeepEqual(x, y)
		}
		add("role", name, a != nil, b != nil, same)
	}
	return changes
}

// diffRestart compares what is read once, when the process starts.
func diffRestart(old, new *Config) []Change {
	var changes []Change
	var walk func(path string, a, b reflect.Value)
	walk = func(path string, a, b reflect.Value) {
		eachField(a.Type(), nil, func(f reflect.StructField) {
			x, y := a.FieldByIndex(f.Index), b.FieldByIndex(f.Index)
			key := join(path, f.Tag.Get("yaml"))
			switch {
			case x.Kind() == reflect.Struct:
				walk(key, x, y)
			case key == "duckdb.max_sync_rows": // in force at once: it is part of each dataset
			case !reflect.DeepEqual(x.Interface(), y.Interface()):
				changes = append(changes, Change{Keys: []string{key}, Effect: EffectRestart,
					Text: fmt.Sprintf("%s changed: needs a restart; until then the old value stays in force", key)})
			}
		})
	}
	walk("duckdb", reflect.ValueOf(old.DuckDB), reflect.ValueOf(new.DuckDB))
	walk("server", reflect.ValueOf(old.Server), reflect.ValueOf(new.Server))
	walk("endpoints", reflect.ValueOf(old.Endpoints), reflect.ValueOf(new.Endpoints))
	return changes
}
