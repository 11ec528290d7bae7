package config

import (
	"runtime"
	"slices"
	"strings"
)

const (
	defaultHTTP        = "127.0.0.1:8500"
	runbookMaxSyncRows = 2_000_000
)

// normalise turns what is written into what is meant: computed defaults, one shape for every form of dataset.
func normalise(d *decoder, spec *fileSpec, env Env) *Config {
	c := &Config{Sources: map[string]*Source{}, Datasets: map[string]*Dataset{}, Users: map[string]*User{}, Roles: map[string]*Role{},
		DuckDB: spec.DuckDB, Server: spec.Server, Endpoints: spec.Endpoints}
	normaliseDuckDB(d, &c.DuckDB)
	for name, s := range spec.Sources {
		s.Name, s.Line = name, d.line(join("sources", name))
		if s.Pool == 0 {
			s.Pool = defaultPool(c)
		}
		d.quiet(s, join("sources", name))
		c.Sources[name] = s
	}
	for name, u := range spec.Users {
		u.Name, u.Line = name, d.line(join("users", name))
		c.Users[name] = u
	}
	c.Roles[AdminRole] = &Role{Name: AdminRole, Read: []string{"*"}, Write: []string{"*"}, Admin: true}
	for name, role := range spec.Roles {
		path := join("roles", name)
		if name == AdminRole {
			d.fail(path, "the role admin is built in: give yours another name")
			continue
		}
		role.Name, role.Line = name, d.line(path)
		c.Roles[name] = role
	}
	if c.Server.HTTP.Listen == "" {
		c.Server.HTTP.Listen = defaultHTTP
	}
	for _, name := range d.order["datasets"] {
		n := &normaliser{decoder: d, path: join("datasets", name), config: c, common: spec.Datasets[name].commonSpec}
		c.Datasets[name] = n.dataset(name, spec.Datasets[name])
	}
	for _, name := range spec.blockNames {
		n := &normaliser{decoder: d, path: name, config: c, common: spec.blocks[name].commonSpec, runbook: true}
		n.block(name, spec.blocks[name], env)
	}
	return c
}

// defaultPool has room for the snapshot, every reader and one more for check and status.
func defaultPool(c *Config) int { return max(8, c.DuckDB.SyncWorkers+2) }

func normaliseDuckDB(d *decoder, duck *DuckDB) {
	if duck.Threads == 0 {
		duck.Threads = runtime.NumCPU()
	}
	if duck.SyncWorkers == 0 {
		duck.SyncWorkers = max(2, runtime.NumCPU())
	}
	available := memoryAvailable()
	if duck.MemoryLimit == 0 {
		duck.MemoryLimit = available / 2
	} else if available > 0 && duck.MemoryLimit > available {
		d.warn("duckdb.memory_limit", "%s is more than there is (%d MiB): the process may be killed before DuckDB spills to disk", duck.MemoryLimit, available>>20)
	}
	if duck.AutoSyncOnStartup != nil && !*duck.AutoSyncOnStartup && !d.has("duckdb.sync_mode") {
		duck.SyncMode = "manual"
	}
}

// normaliser makes one Dataset. path is where it stands in the file.
type normaliser struct {
	*decoder
	config  *Config
	path    string
	common  commonSpec
	runbook bool
}

func (n *normaliser) under(key string) string { return join(n.path, key) }

func (n *normaliser) dataset(name string, s *datasetSpec) *Dataset {
	ds := n.base(name)
	ds.Source, ds.Mode = s.Source, s.Mode
	if s.Source == "" {
		n.fail(n.path, "needs source: the name of an entry of sources")
	}
	forms := n.forms("dataset_query", "results_query", "queries", "table")
	if s.Mode == "cdc" {
		forms = append(forms, "mode: cdc")
	}
	switch {
	case len(forms) == 0 && n.has(n.under("tables")):
		n.fail(n.under("tables"), "belongs to mode: cdc, which is not given")
		return ds
	case len(forms) == 0:
		n.fail(n.path, "needs one form: dataset_query and results_query, queries, table, or mode: cdc")
		return ds
	case len(forms) > 1:
		n.fail(n.path, "has more than one form: %s; keep one", strings.Join(forms, ", "))
		return ds
	}
	switch forms[0] {
	case "queries":
		ds.Form = FormQueries
		n.queries(ds, s)
	case "table":
		ds.Form = FormTable
		n.table(ds, s)
	case "mode: cdc":
		ds.Form = FormCDC
		cdc := s.CDC
		ds.CDC = &cdc
		if len(cdc.Tables) == 0 {
			n.fail(n.path, "mode: cdc needs tables, such as [public.*]")
		}
	default:
		ds.Form = FormSplit
		n.split(ds)
	}
	n.misplaced(ds.Form)
	return ds
}

// forms lists which of the forms' keys are given; the two split queries count once.
func (n *normaliser) forms(keys ...string) []string {
	var given []string
	for _, key := range keys {
		if n.has(n.under(key)) && (key != "results_query" || len(given) == 0) {
			given = append(given, key)
		}
	}
	return given
}

// belongs says which forms a key has a meaning in; keys not listed go with all but cdc.
var belongs = map[string][]Form{
	"join": {FormSplit}, "view": {FormQueries}, "where": {FormTable},
	"tables": {FormCDC}, "into": {FormCDC}, "deletes": {FormCDC}, "lsn_columns": {FormCDC}, "batch": {FormCDC}, "memory": {FormCDC}, "on_lost_slot": {FormCDC}, "table_options": {FormCDC},
	"columns": {FormSplit, FormQueries, FormTable},
	"source":  {FormSplit, FormQueries, FormTable, FormCDC}, "mode": {FormSplit, FormQueries, FormTable, FormCDC},
	"out_of_range": {FormSplit, FormQueries, FormTable, FormCDC}, "paused": {FormSplit, FormQueries, FormTable, FormCDC},
	"auto_load": {FormSplit, FormQueries, FormTable, FormCDC}, "reconcile": {FormSplit, FormQueries, FormTable, FormCDC},
}

func (n *normaliser) misplaced(form Form) {
	for _, key := range n.order[n.path] {
		forms, listed := belongs[key]
		if !listed && form != FormCDC {
			continue
		}
		if !slices.Contains(forms, form) {
			where := "a dataset of queries or a table"
			if len(forms) > 0 {
				names := make([]string, len(forms))
				for i, f := range forms {
					names[i] = f.String()
				}
				where = strings.Join(names, " or ")
			}
			n.fail(n.under(key), "has no meaning with %s: it belongs to %s", form, where)
		}
	}
}

// base is what every form shares.
func (n *normaliser) base(name string) *Dataset {
	s := &n.common
	ds := &Dataset{Name: name, Mode: "query", Refresh: s.Refresh, Reconcile: s.Reconcile, Lookback: s.Lookback, LateCommits: s.LateCommits,
		MaxSyncRows: n.config.DuckDB.MaxSyncRows, OutOfRange: s.OutOfRange, AutoLoad: true, Paused: s.Paused, Columns: s.Columns.Rename, Line: n.line(n.path), key: n.path}
	if n.has(n.under("refresh")) && n.has(n.under("refresh_interval_minutes")) {
		n.fail(n.under("refresh"), "and refresh_interval_minutes say the same thing: keep one")
	}
	if s.RefreshMinutes > 0 {
		ds.Refresh = everyMinutes(s.RefreshMinutes)
	}
	if n.runbook {
		ds.AutoLoad = false
		ds.QueryTimeout = runbookQueryTimeout
		if !n.has("duckdb.max_sync_rows") {
			ds.MaxSyncRows = runbookMaxSyncRows
		}
	}
	if s.AutoLoad != nil {
		ds.AutoLoad = *s.AutoLoad
	}
	if s.QueryTimeout != nil {
		ds.QueryTimeout = *s.QueryTimeout
	}
	if s.MaxSyncRows != nil {
		ds.MaxSyncRows = *s.MaxSyncRows
	}
	return ds
}

// part is a table of the dataset with the dataset's own settings.
func (n *normaliser) part(name, target, path string) Part {
	s := &n.common
	return Part{Name: name, Target: target, IncrementalColumn: s.Incremental, PartitionColumn: s.Partition,
		Rename: s.Columns.Rename, Types: s.Types, Line: n.line(path)}
}

func (n *normaliser) sql(path, sql string) string {
	trimmed, second := trimSQL(sql)
	switch {
	case trimmed == "":
		n.fail(path, "holds no SQL")
	case second >= 0:
		n.fail(path, "holds a second statement after a ; (%q): one SELECT is allowed", short(sql[second:]))
	}
	return trimmed
}

func (n *normaliser) split(ds *Dataset) {
	s := &n.common
	ds.Join, ds.ViewName = s.Join, ds.Name+"_data"
	if ds.Join == "" {
		ds.Join = "left"
		if n.runbook {
			ds.Join = "inner"
		}
	}
	if s.Key.List != nil {
		n.fail(n.under("key"), "needs one list for each query: {dataset: [..], results: [..]}")
	}
	n.noColumnList()
	for _, half := range []struct {
		name, sql string
		key       []string
	}{{"dataset", s.DatasetQuery, s.Key.Dataset}, {"results", s.ResultsQuery, s.Key.Results}} {
		key := half.name + "_query"
		path := n.under(key)
		if !n.has(path) {
			n.fail(n.path, "needs %s as well: the two are joined on dataset_id", key)
			continue
		}
		p := n.part(half.name, ds.Name+"_"+half.name, path)
		p.SQL, p.Key = n.sql(path, half.sql), half.key
		ds.Parts = append(ds.Parts, p)
	}
}

func (n *normaliser) noColumnList() {
	if n.common.Columns.List != nil {
		n.fail(n.under("columns"), "a list chooses columns of a table; a query chooses in its SQL. To rename write {source_name: new_name}")
	}
}

func (n *normaliser) queries(ds *Dataset, s *datasetSpec) {
	path := n.under("queries")
	n.noColumnList()
	if n.has(n.under("key")) {
		n.fail(n.under("key"), "each of queries has a key of its own")
	}
	if len(s.Queries) == 0 {
		n.fail(path, "needs one query at least")
	}
	for _, name := range n.order[path] {
		q := s.Queries[name]
		queryPath := join(path, name)
		p := n.part(name, ds.Name+"_"+name, queryPath)
		p.SQL, p.Key = n.sql(join(queryPath, "sql"), q.SQL), q.Key
		if q.Incremental != nil {
			p.IncrementalColumn = *q.Incremental
		}
		if q.Partition != nil {
			p.PartitionColumn = *q.Partition
		}
		if len(q.Types) > 0 {
			types := map[string]string{}
			for _, from := range []map[string]string{p.Types, q.Types} {
				for column, t := range from {
					types[column] = t
				}
			}
			p.Types = types
		}
		ds.Parts = append(ds.Parts, p)
	}
	if n.has(n.under("view")) {
		ds.View, ds.ViewName = n.sql(n.under("view"), s.View), ds.Name
	}
}

func (n *normaliser) table(ds *Dataset, s *datasetSpec) {
	p := n.part("", ds.Name, n.under("table"))
	p.Table, p.Where, p.Key = s.Table, strings.TrimSpace(s.Where), n.listKey()
	p.Columns = n.common.Columns.List
	if n.common.Columns.Rename != nil {
		p.Columns = n.order[n.under("columns")]
	}
	ds.Parts = []Part{p}
}

func (n *normaliser) listKey() []string {
	if n.common.Key.Split {
		n.fail(n.under("key"), "needs a list such as [id]: dataset and results belong to split queries")
	}
	return n.common.Key.List
}
