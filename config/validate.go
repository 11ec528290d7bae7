package config

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pintaildb/pintail/internal/sqltext"
)

var (
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
	plainName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}$`)
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	duckType   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_ ,()\[\]]*$`)
)

const ownPrefix = "_pintail"

// validate checks the fields against each other.
func validate(d *decoder, c *Config) {
	v := &validator{decoder: d, c: c}
	v.duckdb()
	v.sources()
	for _, name := range c.DatasetNames() {
		v.dataset(c.Datasets[name])
	}
	v.objects()
	v.access()
	v.server()
	v.endpoints()
}

type validator struct {
	*decoder
	c *Config
}

func (v *validator) duckdb() {
	duck := v.c.DuckDB
	if strings.TrimSpace(duck.Path) == "" {
		v.fail("duckdb.path", "is empty")
	}
	if !duck.Enabled {
		v.warn("duckdb.enabled", "is false: nothing is synced and nothing is served")
	}
	if duck.AutoSyncOnStartup != nil && v.has("duckdb.sync_mode") {
		v.warn("duckdb.auto_sync_on_startup", "is ignored: sync_mode is given")
	}
}

func (v *validator) sources() {
	for _, name := range sortedKeys(v.c.Sources) {
		s := v.c.Sources[name]
		at := join("sources", name)
		if !v.has(at) {
			at = name // a NAME_db block
		}
		if !plainName.MatchString(name) {
			v.fail(at, "a source's name holds letters, digits, _ . @ and -")
		}
		v.sourceURL(at, s.URL)
		if need := v.c.DuckDB.SyncWorkers + 2; s.Pool < need {
			v.warn(join(at, "pool"), "%d connections are few for sync_workers: %d: readers wait for each other; %d is enough", s.Pool, v.c.DuckDB.SyncWorkers, need)
		}
	}
}

// sourceURL never quotes the URL: it may hold a password.
func (v *validator) sourceURL(at string, secret Secret) {
	text := strings.TrimSpace(string(secret))
	scheme, rest, isURL := strings.Cut(text, "://")
	switch {
	case text == "" && blockName.MatchString(at): // reported where the block's connection is put together
	case text == "":
		v.fail(join(at, "url"), "is missing: write postgres://user:${PASSWORD}@host:5432/database")
	case !isURL && strings.Contains(text, "="): // libpq key/value text
	case !isURL || (scheme != "postgres" && scheme != "postgresql"):
		v.fail(join(at, "url"), "must begin with postgres:// or postgresql://, or be libpq's key=value text")
	case brokenAuthority(rest):
		v.fail(join(at, "url"), "the user or password holds / ? or #: write them percent-encoded, or put the password in as ${VAR}, which is encoded for you")
	}
}

// brokenAuthority says whether user:password@host was cut short by a raw / ? or # in the password, which leaves a
// "port" that is no number.
func brokenAuthority(rest string) bool {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 || strings.Contains(rest[:end], "@") || !strings.Contains(rest[end:], "@") || strings.HasPrefix(rest, "[") {
		return false
	}
	_, port, ok := strings.Cut(rest[:end], ":")
	return ok && strings.Trim(port, "0123456789") != "" && !strings.Contains(port, ",")
}

// reserved are the names that would hide DuckDB's own schemas and catalogs.
var reserved = []string{"main", "_pintail", "information_schema", "pg_catalog", "system", "temp"}

// stem is the name DuckDB gives the opened file.
func (c *Config) stem() string {
	if c.DuckDB.Path == ":memory:" {
		return "memory"
	}
	stem, _, _ := strings.Cut(filepath.Base(c.DuckDB.Path), ".")
	return stem
}

func (v *validator) dataset(d *Dataset) {
	at := d.key
	lower := strings.ToLower(d.Name)
	switch {
	case !identifier.MatchString(d.Name):
		v.fail(at, "a dataset's name becomes a table's: a letter or _, then letters, digits and _, 63 at most")
	case strings.HasPrefix(lower, ownPrefix):
		v.fail(at, "names beginning with %s are Pintail's own", ownPrefix)
	case slices.Contains(reserved, lower):
		v.fail(at, "the name %s is reserved by DuckDB: give the dataset another", d.Name)
	case lower == strings.ToLower(v.c.stem()):
		v.fail(at, "the name %s is reserved: it is the name of the file %s in SQL; give the dataset or duckdb.path another", d.Name, v.c.DuckDB.Path)
	}
	if d.Source != "" && v.c.Sources[d.Source] == nil {
		v.fail(join(at, "source"), "there is no source %q%s", d.Source, didYouMean(d.Source, sortedKeys(v.c.Sources)))
	}
	v.renames(d, at)
	for i := range d.Parts {
		v.part(d, &d.Parts[i])
	}
	if d.LateCommits == "lookback" && d.Lookback == nil {
		v.fail(join(at, "late_commits"), "lookback needs lookback: how far back to read again, such as 5m")
	}
	incremental := slices.ContainsFunc(d.Parts, func(p Part) bool { return p.IncrementalColumn != "" })
	if d.Lookback != nil && !incremental && d.Form != FormCDC {
		v.warn(join(at, "lookback"), "has no effect without incremental_column")
	}
	if d.Form == FormCDC {
		v.cdc(d, at)
	}
	if v.has(join(at, "max_sync_rows")) && d.MaxSyncRows > 0 {
		for _, p := range d.Parts {
			if p.IncrementalColumn == "" {
				v.warn(join(at, "max_sync_rows"), "table %s has no incremental_column: a sync of more than %d rows fails and the data before stays", p.Target, d.MaxSyncRows)
			}
		}
	}
}

func (v *validator) renames(d *Dataset, at string) {
	at = join(at, "columns")
	targets := map[string]string{}
	for _, from := range v.order[at] {
		to, isRename := d.Columns[from]
		if !isRename {
			continue
		}
		lower := strings.ToLower(to)
		switch first, twice := targets[lower]; {
		case to == "":
			v.fail(join(at, from), "needs a name")
		case strings.HasPrefix(lower, ownPrefix):
			v.fail(join(at, from), "names beginning with %s are Pintail's own", ownPrefix)
		case twice:
			v.fail(join(at, from), "and %s both become %s", first, to)
		}
		targets[lower] = from
	}
}

// partKey is the key path of a part's setting, its own or the dataset's.
func (v *validator) partKey(d *Dataset, p *Part, key string) string {
	if d.Form == FormQueries {
		if at := join(join(join(d.key, "queries"), p.Name), key); v.has(at) {
			return at
		}
	}
	if at := join(d.key, key); v.has(at) {
		if key == "key" && d.Form == FormSplit {
			return join(at, p.Name)
		}
		return at
	}
	if at := join(join(d.key, "queries"), p.Name); d.Form == FormQueries && v.has(at) {
		return at
	}
	return d.key
}

func (v *validator) part(d *Dataset, p *Part) {
	if d.Form == FormQueries && p.Name != "" && !identifier.MatchString(p.Name) {
		v.fail(join(join(d.key, "queries"), p.Name), "a query's name becomes part of a table's: a letter or _, then letters, digits and _")
	}
	if d.Form == FormTable {
		if schema, table, ok := strings.Cut(p.Table, "."); !ok && p.Table != "" {
			v.warn(join(d.key, "table"), "%s has no schema: search_path decides which table is read; write schema.table", p.Table)
		} else if strings.TrimSpace(p.Table) == "" || (ok && (schema == "" || table == "")) {
			v.fail(join(d.key, "table"), "needs schema.table")
		}
		if _, second := trimSQL(p.Where); second >= 0 || strings.HasSuffix(p.Where, ";") {
			v.fail(join(d.key, "where"), "is one condition, without a ;")
		}
		v.chosen(d, p)
	}
	keyAt := v.partKey(d, p, "key")
	v.distinct(keyAt, p.Key)
	if p.Key != nil && len(p.Key) == 0 {
		v.fail(keyAt, "is an empty list: name the columns, or leave the key away")
	}
	typesAt := v.partKey(d, p, "types")
	for _, column := range sortedKeys(p.Types) {
		if !duckType.MatchString(p.Types[column]) {
			v.fail(join(typesAt, column), "%q is not a DuckDB type", p.Types[column])
		}
	}
}

// chosen checks that the columns a table's sync depends on are among those it copies.
func (v *validator) chosen(d *Dataset, p *Part) {
	at := join(d.key, "columns")
	if p.Columns != nil && len(p.Columns) == 0 {
		v.fail(at, "is empty: name the columns, or leave the key away for all of them")
		return
	}
	v.distinct(at, p.Columns)
	if p.Columns == nil {
		return
	}
	need := func(key, column string) {
		if column != "" && !slices.Contains(p.Columns, column) {
			v.fail(join(d.key, key), "%s is not among columns%s", column, didYouMean(column, p.Columns))
		}
	}
	for _, column := range p.Key {
		need("key", column)
	}
	need("incremental_column", p.IncrementalColumn)
	for _, column := range sortedKeys(p.Types) {
		need("types", column)
	}
}

func (v *validator) distinct(at string, columns []string) {
	for i, column := range columns {
		switch {
		case column == "":
			v.fail(fmt.Sprintf("%s[%d]", at, i), "needs a column's name")
		case slices.Contains(columns[:i], column):
			v.fail(fmt.Sprintf("%s[%d]", at, i), "%s is named twice", column)
		}
	}
}

func (v *validator) cdc(d *Dataset, at string) {
	if into := d.CDC.Into; !strings.Contains(into, "{table}") {
		v.fail(join(at, "into"), "needs {table}: else every table would become the same one")
	}
	for i, pattern := range d.CDC.Tables {
		if schema, table, ok := strings.Cut(strings.TrimPrefix(pattern, "!"), "."); !ok || schema == "" || table == "" {
			v.fail(fmt.Sprintf("%s.tables[%d]", at, i), "%q is not schema.table; both may hold * and ?", pattern)
		}
	}
}

// objects finds tables and views of one name, equal but for case too: DuckDB does not tell them apart.
func (v *validator) objects() {
	type object struct {
		name, kind string
		dataset    *Dataset
		line       int
	}
	all := map[string]object{}
	var datasets []*Dataset
	for _, d := range v.c.Datasets {
		datasets = append(datasets, d)
	}
	slices.SortFunc(datasets, func(a, b *Dataset) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return strings.Compare(a.Name, b.Name)
	})
	add := func(o object) {
		lower := strings.ToLower(o.name)
		if first, taken := all[lower]; taken {
			v.fail(o.dataset.key, "its %s %s (line %d) has the name of the %s %s of dataset %s (line %d)", o.kind, o.name, o.line, first.kind, first.name, first.dataset.Name, first.line)
			return
		}
		all[lower] = o
	}
	names := map[string]*Dataset{}
	for _, d := range datasets {
		if other, taken := names[strings.ToLower(d.Name)]; taken {
			v.fail(d.key, "differs from dataset %s (line %d) only by case", other.Name, other.Line)
			continue
		}
		names[strings.ToLower(d.Name)] = d
		for _, p := range d.Parts {
			add(object{p.Target, "table", d, p.Line})
		}
		if d.ViewName != "" {
			add(object{d.ViewName, "view", d, v.line(join(d.key, "view"))})
		}
	}
}

func (v *validator) access() {
	tokens := map[Secret]string{}
	for _, name := range sortedKeys(v.c.Users) {
		u, at := v.c.Users[name], join("users", name)
		if !plainName.MatchString(name) {
			v.fail(at, "a user's name holds letters, digits, _ . @ and -")
		}
		if u.Password == "" && u.Token == "" {
			v.fail(at, "needs a password or a token")
		}
		if other, taken := tokens[u.Token]; taken && u.Token != "" {
			v.fail(join(at, "token"), "is also the token of %s: a token must tell who comes", other)
		}
		tokens[u.Token] = name
		if u.Role == "" {
			v.fail(at, "needs a role: %s", strings.Join(sortedKeys(v.c.Roles), ", "))
		} else if v.c.Roles[u.Role] == nil {
			v.fail(join(at, "role"), "there is no role %q%s", u.Role, didYouMean(u.Role, sortedKeys(v.c.Roles)))
		}
	}
	for _, name := range sortedKeys(v.c.Roles) {
		role, at := v.c.Roles[name], join("roles", name)
		if name == AdminRole {
			continue
		}
		if !plainName.MatchString(name) {
			v.fail(at, "a role's name holds letters, digits, _ . @ and -")
		}
		v.grants(join(at, "read"), role.Read, role.Write)
		v.grants(join(at, "write"), role.Write, role.Write) // clients make tables
		v.policies(at, role)
	}
}

// policies checks row filters and masks; whether their SQL fits the tables, the copy tells.
func (v *validator) policies(at string, role *Role) {
	names := map[string]string{} // pattern → where it stands
	for _, name := range sortedKeys(role.RowFilters) {
		names[name] = join(join(at, "row_filters"), name)
		if strings.TrimSpace(role.RowFilters[name]) == "" {
			v.fail(names[name], "needs a condition over the table's columns; true lets every row through")
		} else if !sqltext.Closed(role.RowFilters[name]) {
			v.fail(names[name], "is not one condition: its parentheses, quotes or comments do not match, or it holds a semicolon")
		}
	}
	for _, name := range sortedKeys(role.Masks) {
		names[name] = join(join(at, "masks"), name)
		if name == "*" || strings.HasSuffix(name, ".*") || !strings.Contains(name, ".") {
			v.fail(names[name], "names no table: write dataset.table")
		}
		for column, value := range role.Masks[name] {
			if strings.TrimSpace(value) == "" {
				v.fail(join(names[name], column), "needs an expression; NULL shows nothing")
			} else if !sqltext.Closed(value) {
				v.fail(join(names[name], column), "is not one expression: its parentheses, quotes or comments do not match, or it holds a semicolon")
			}
		}
	}
	for _, name := range sortedKeys(names) {
		if role.Admin {
			v.fail(names[name], "an administrator sees every row and value: take admin: true away, or this")
		} else if strings.ContainsAny(strings.TrimSuffix(strings.TrimSuffix(name, "*"), "."), "*?") {
			v.fail(names[name], "%q is not taken: write *, dataset.* or dataset.table", name)
		} else if !v.granted(name) && !slices.Contains(role.Read, name) {
			v.warn(names[name], "%s names nothing that exists here%s", name, didYouMean(strings.TrimSuffix(name, ".*"), v.c.DatasetNames()))
		}
	}
}

// grants checks patterns; those in made are names that clients may give to tables of theirs.
func (v *validator) grants(at string, patterns, made []string) {
	for i, pattern := range patterns {
		itemAt := fmt.Sprintf("%s[%d]", at, i)
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || strings.ContainsAny(pattern, " \t!/") {
			v.fail(itemAt, "%q is not a grant: write *, dataset.* or dataset.table", pattern)
		} else if !v.granted(pattern) && !slices.Contains(made, pattern) {
			v.warn(itemAt, "%s names nothing that exists here%s", pattern, didYouMean(strings.TrimSuffix(pattern, ".*"), v.c.DatasetNames()))
		}
	}
}

// granted says whether pattern covers a dataset, or a table or view of one.
func (v *validator) granted(pattern string) bool {
	match := func(pattern, name string) bool {
		ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(name))
		return ok && err == nil
	}
	if pattern == "*" {
		return true
	}
	prefix, rest, qualified := strings.Cut(pattern, ".")
	for _, d := range v.c.Datasets {
		if qualified && match(prefix, d.Name) && (rest == "*" || d.Form == FormCDC) {
			return true
		}
		for _, object := range append(d.Tables(), d.ViewName) {
			if object != "" && (match(pattern, object) || (qualified && match(prefix, d.Name) && match(rest, object))) {
				return true
			}
		}
	}
	return false
}

func (v *validator) endpoints() {
	e := v.c.Endpoints
	if e.Path == "" && len(v.order["endpoints"]) > 0 {
		v.fail("endpoints.path", "is missing: name the folder of the .sql files")
	}
	if e.Reload < 100*time.Millisecond {
		v.fail("endpoints.reload", "%s is too often: 100ms at least", e.Reload)
	}
}

func (v *validator) server() {
	s := &v.c.Server
	if (s.TLS.Cert == "") != (s.TLS.Key == "") {
		v.fail("server.tls", "cert and key are needed together")
	}
	if s.TLS.ClientCA != "" && s.TLS.Cert == "" {
		v.fail("server.tls.client_ca", "needs cert and key")
	}
	if !s.JWT.Enabled() && (s.JWT.Issuer != "" || s.JWT.Audience != "") {
		v.fail("server.jwt", "needs jwks_url: where the signing keys are")
	}
	if u, err := url.Parse(s.JWT.JWKSURL); s.JWT.Enabled() && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		v.fail("server.jwt.jwks_url", "must be an https:// address")
	} else if s.JWT.Enabled() && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		v.warn("server.jwt.jwks_url", "keys fetched over http can be replaced on the way: use https")
	}
	if s.JWT.Enabled() && s.JWT.Audience == "" {
		v.warn("server.jwt", "without audience a token made for another service is accepted")
	}
	v.tracing(&s.Tracing)
	v.listen("server.http", s.HTTP)
	v.listen("server.flight", s.Flight)
	v.listen("server.pgwire", s.PGWire)
}

func (v *validator) tracing(t *Tracing) {
	u, err := url.Parse(t.Endpoint)
	switch {
	case t.Endpoint == "":
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		v.fail("server.tracing.endpoint", "%q is not the URL of a collector, such as http://127.0.0.1:4318", t.Endpoint)
	case u.User != nil:
		v.fail("server.tracing.endpoint", "must not hold credentials: they go into headers")
	case u.Scheme == "http" && !isLoopback(u.Hostname()) && len(t.Headers) > 0:
		v.warn("server.tracing.endpoint", "its headers can be read on the way: use https")
	}
	for _, name := range sortedKeys(t.Headers) {
		if !headerName.MatchString(name) || strings.ContainsAny(string(t.Headers[name]), "\r\n\x00") {
			v.fail(join("server.tracing.headers", name), "is not a header")
		}
	}
}

func (v *validator) listen(at string, l Listen) {
	if l.Listen == "" {
		return
	}
	listenAt := join(at, "listen")
	host, port, err := net.SplitHostPort(l.Listen)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 0 || n > 65535 {
		v.fail(listenAt, "%q is not host:port, such as %s", l.Listen, defaultHTTP)
		return
	}
	s := v.c.Server
	guarded := (len(v.c.Users) > 0 || s.JWT.Enabled()) && s.TLS.Cert != ""
	if !isLoopback(host) && !guarded && !s.Insecure {
		v.fail(listenAt, "%s is open beyond this machine without users and TLS: give users and server.tls, or say insecure: true", l.Listen)
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}
