package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/sqltext"
)

// Parser is what the gate asks of the store: DuckDB's own parser, on the text as it will be run, on a connection with
// the default search path and without temporary tables: names without schema are taken for main's.
type Parser interface {
	// SerializeSQL returns json_serialize_sql(sql) as text, sql being bound as a VARCHAR. A statement that DuckDB's
	// parser refuses is not an error here: the JSON says so. It neither binds nor runs anything.
	SerializeSQL(ctx context.Context, sql string) (string, error)
	// StatementType prepares sql, and returns how many statements it holds and, when it is one, the prepared
	// statement's type in upper case (SELECT, INSERT, EXPLAIN, …). It is called only with text that passed
	// everything else, since preparing may already open files. A binder error is returned as fault.InvalidSQL.
	StatementType(ctx context.Context, sql string) (count int, typ string, err error)
	// DeserializeSQL returns the text of a syntax tree that SerializeSQL has given.
	DeserializeSQL(ctx context.Context, tree string) (sql string, err error)
	// CreateTempView makes a view of the connection's own, or puts it in the place of one of that name.
	CreateTempView(ctx context.Context, name, sql string) error
}

// Resolver says which dataset a table or view belongs to. schema is "main" where the statement named none. Names are
// compared as DuckDB does, without regard to the case of ASCII letters. It knows Pintail's datasets only: no system
// view, nothing in _pintail, and nothing that happens to be in the file.
type Resolver interface {
	Dataset(schema, table string) (dataset string, ok bool)
}

// Tables is a Resolver from a list.
type Tables map[Object]string

// Add enters a table or view. It is not safe beside Dataset.
func (t Tables) Add(schema, table, dataset string) {
	t[Object{Schema: fold(schema), Name: fold(table)}] = dataset
}

// Dataset implements Resolver.
func (t Tables) Dataset(schema, table string) (string, bool) {
	d, ok := t[Object{Schema: fold(schema), Name: fold(table)}]
	return d, ok
}

// Statement is what the gate let through. SQL, and no other text, is what may be run.
type Statement struct {
	SQL      string
	Explain  bool
	Tables   []Object // as written
	Datasets []string // that the tables belong to, sorted, without doubles
	// Targets are those tables by dataset, folded, as the copy names them: "orders" of schema main, "shop.orders" of another.
	Targets map[string][]string
	// Views have to be made on the connection before SQL is prepared there.
	Views []View
	// Audience names whom the rows are for, where others who may run the statement get other rows; "" is all of them.
	Audience string

	parsed   Parsed
	position bool // in the place of _pintail.position()
}

// sqlBytesMax bounds a statement: its syntax tree is about a hundred times its size while it is read.
const sqlBytesMax = 1 << 20

// hintSQL goes with everything that is no readable SELECT.
const hintSQL = "one SELECT (or FROM …, WITH …, VALUES, TABLE, DESCRIBE, SUMMARIZE, UNPIVOT, PIVOT … IN (values), EXPLAIN of one) over granted tables"

// Gate decides whether p may run sql. It lets one SELECT, or EXPLAIN of one, through whose every table p's role may
// read and whose every function is known to be harmless; it refuses whatever it cannot describe. An error is
// fault.InvalidSQL when DuckDB does not understand the statement, fault.Forbidden when p may not run it; the latter
// reads the same for a table that is not granted and one that does not exist.
func (a *Access) Gate(ctx context.Context, p Principal, sql string, parser Parser) (Statement, error) {
	st := a.state.Load()
	switch {
	case len(sql) > sqlBytesMax:
		return Statement{}, fault.New(fault.InvalidSQL, "bind long lists as parameters", "the statement has %d bytes, the most is %d", len(sql), sqlBytesMax)
	case !utf8.ValidString(sql) || strings.ContainsRune(sql, 0):
		return Statement{}, fault.New(fault.InvalidSQL, "send the statement as UTF-8", "the statement is not valid UTF-8 text or holds a NUL")
	}
	if err := checkRuns(sql); err != nil {
		return Statement{}, err
	}
	if isPosition(sql) && !st.readsAll(p) {
		return st.position(p), nil
	}
	body, explain := cutExplain(sql)
	ast, err := parser.SerializeSQL(ctx, body)
	if err != nil {
		return Statement{}, fault.Wrap(err, "parse the statement")
	}
	parsed, err := ParseAST(ast)
	if err != nil {
		return Statement{}, refusal(err)
	}
	if parsed.Statements == 0 {
		return Statement{}, fault.New(fault.InvalidSQL, hintSQL, "the text holds no statement")
	}
	if parsed.Statements != 1 {
		return Statement{}, fault.New(fault.Forbidden, "send one statement at a time", "the text holds %d statements", parsed.Statements)
	}
	out := Statement{SQL: sql, Explain: explain != "", Tables: parsed.Tables, parsed: parsed}
	want := "SELECT"
	if out.Explain {
		// Put together from what was parsed, so that what runs is EXPLAIN of exactly the body.
		out.SQL, want = explain+" "+body, "EXPLAIN"
	}
	tables, err := st.describe(p, &out)
	if err != nil {
		return Statement{}, err
	}
	out.setViews(p, tables)
	if len(tables) > 0 {
		if err := out.apply(ctx, p, ast, tables, parser); err != nil {
			return Statement{}, err
		}
	}
	count, typ, err := parser.StatementType(ctx, out.SQL)
	if err != nil {
		return Statement{}, fault.Wrap(err, "prepare the statement")
	}
	if count != 1 || typ != want {
		return Statement{}, fault.New(fault.Forbidden, hintSQL, "DuckDB prepares this as %d statements of type %s", count, typ)
	}
	return out, nil
}

// Again decides again about a statement that Gate has let through for p, since grants and tables may be others now. It does not parse.
func (a *Access) Again(p Principal, s Statement) (Statement, error) {
	st := a.state.Load()
	if !s.position {
		tables, err := st.describe(p, &s)
		s.setViews(p, tables)
		return s, err
	}
	if now := st.position(p); now.SQL != s.SQL {
		return Statement{}, fault.New(fault.ResultChanged, "prepare it again", "the datasets that role %q reads have changed", p.Role)
	}
	return s, nil
}

// describe checks what a statement calls and reads, and enters the datasets. It returns the tables of which p sees only a part.
func (st *state) describe(p Principal, s *Statement) ([]restricted, error) {
	if err := st.checkFunctions(p, s.parsed); err != nil {
		return nil, err
	}
	s.Datasets, s.Targets = nil, map[string][]string{}
	for _, o := range s.parsed.Tables {
		dataset, schema, err := st.checkTable(p, o)
		if err != nil {
			return nil, err
		}
		if dataset == "" {
			continue
		}
		if !slices.Contains(s.Datasets, dataset) {
			s.Datasets = append(s.Datasets, dataset)
		}
		target := fold(o.Name)
		if schema = fold(schema); schema != "main" {
			target = schema + "." + target
		}
		if !slices.Contains(s.Targets[dataset], target) {
			s.Targets[dataset] = append(s.Targets[dataset], target)
		}
	}
	slices.Sort(s.Datasets)
	return st.restrict(p, s.parsed)
}

func refusal(err error) error {
	var p errParser
	if !errors.As(err, &p) {
		return fault.New(fault.Forbidden, hintSQL, "the statement may not run here: %w", err)
	}
	if p.kind == "not implemented" && strings.HasPrefix(p.message, "Only SELECT statements") {
		return fault.New(fault.Forbidden, hintSQL, "only SELECT may run here")
	}
	return fault.New(fault.InvalidSQL, "", "%s", p.message)
}

func (st *state) checkFunctions(p Principal, parsed Parsed) error {
	admin := st.admin(p)
	check := func(kind, name string, list map[string]bool) error {
		needsAdmin, known := list[name]
		switch {
		case known && (!needsAdmin || admin):
			return nil
		case known:
			return fault.New(fault.Forbidden, "it shows more than the tables granted; a role with admin: true may call it", "%s %s() needs an administrator", kind, name)
		}
		if reason := functionsRefused[name]; reason != "" {
			return fault.New(fault.Forbidden, "leave it out", "%s %s() may not be called here: it %s", kind, name, reason)
		}
		return fault.New(fault.Forbidden, "no grant opens it; use a built-in function that neither reads files nor changes the server", "%s %s() may not be called here or does not exist", kind, name)
	}
	for _, f := range parsed.TableFunctions {
		if f == positionFunction {
			if !st.readsAll(p) {
				return fault.New(fault.Forbidden, "send it as it is here, and nothing else; or read the answers' position, or GET /api/store/status",
					"a role that does not read every dataset may call %s() only as SELECT * FROM %s()", f, f)
			}
			continue
		}
		if err := check("table function", f, tableFunctionAdmin); err != nil {
			return err
		}
	}
	for _, f := range parsed.Functions {
		if st.functions[f] || f == ClaimFunction {
			continue
		}
		if err := check("function", f, functionAdmin); err != nil {
			return err
		}
	}
	if len(parsed.Listings) > 0 && !admin {
		return fault.New(fault.Forbidden, "DESCRIBE table shows one table; a role with admin: true may list all", "listing the catalog needs an administrator")
	}
	return nil
}

// checkTable returns the dataset that o belongs to, and its schema; none for what only administrators see.
func (st *state) checkTable(p Principal, o Object) (of, in string, err error) {
	if openRelation(o) {
		return "", "", nil
	}
	dataset, schema, ok := st.dataset(o)
	switch {
	case ok && st.reads(p, dataset, schema, o.Name):
		return dataset, schema, nil
	case st.admin(p):
		if ok || plainName(o) {
			return "", "", nil
		}
		return "", "", fault.New(fault.Forbidden, "sync the file into a table first", "read %s: files may not be read here", o)
	}
	return "", "", fault.New(fault.Forbidden, grantHint(o),
		"read %s: it does not exist, or role %q has no grant for it", o, p.Role)
}

// grantHint names the grant without looking up whether the table exists.
func grantHint(o Object) string {
	if s := fold(o.Schema); s != "" && s != "main" {
		return fmt.Sprintf("a role reads it with read: [%q], [%q] or [\"*\"]", o.Schema+"."+o.Name, o.Schema+".*")
	}
	return "a role reads it with read: [\"DATASET.*\"], DATASET being the one it belongs to, or [\"*\"]"
}

// dataset resolves o to a dataset and the schema that holds it.
func (st *state) dataset(o Object) (dataset, schema string, ok bool) {
	if o.Catalog != "" && !st.ownCatalog(o.Catalog) {
		return "", "", false
	}
	schema = o.Schema
	if schema == "" {
		schema = "main"
	}
	if dataset, ok = st.owner(schema, o.Name); ok {
		return dataset, schema, true
	}
	// Two parts may be catalog and table as well.
	if o.Catalog == "" && st.ownCatalog(o.Schema) {
		dataset, ok = st.owner("main", o.Name)
		return dataset, "main", ok
	}
	return "", "", false
}

func (st *state) ownCatalog(name string) bool {
	return st.catalog != "" && fold(name) == fold(st.catalog)
}

// fileEndings are those that DuckDB takes for a file when no table has the name.
var fileEndings = set("csv", "tsv", "parquet", "json", "jsonl", "ndjson", "gz", "zst", "db", "duckdb", "ddb", "txt", "xlsx", "avro", "shp")

// plainName says that o cannot be taken for the name of a file: what an administrator may name without a dataset.
func plainName(o Object) bool {
	for _, part := range []string{o.Catalog, o.Schema, o.Name} {
		for _, r := range part {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '$', r == ' ', r == '-', r >= 0x80:
			default:
				return false
			}
		}
	}
	return !fileEndings[fold(o.Name)] || (o.Schema == "" && o.Catalog == "")
}

// cutExplain takes EXPLAIN off the front: the body behind it, and the words to put before it again. Without one, or
// where it is written in a way not read here, explain is empty and the body is sql itself, which DuckDB's
// serializer then refuses.
func cutExplain(sql string) (body, explain string) {
	rest, ok := cutWord(sql, "explain")
	if !ok {
		return sql, ""
	}
	explain = "EXPLAIN"
	if r, ok := cutWord(rest, "analyze"); ok {
		return r, "EXPLAIN ANALYZE"
	}
	if r, ok := strings.CutPrefix(skipSpace(rest), "("); ok {
		options, after, found := strings.Cut(r, ")")
		switch strings.ToLower(strings.Join(strings.Fields(options), " ")) {
		case "format json":
			explain = "EXPLAIN (FORMAT json)"
		case "format text":
			explain = "EXPLAIN (FORMAT text)"
		case "analyze":
			explain = "EXPLAIN ANALYZE"
		case "analyze, format json", "format json, analyze":
			explain = "EXPLAIN (ANALYZE, FORMAT json)"
		default:
			return rest, explain // EXPLAIN (SELECT …)
		}
		if !found {
			return sql, ""
		}
		rest = after
	}
	return rest, explain
}

// cutWord cuts a keyword, in lower case, off s behind blanks and comments; it must end there.
func cutWord(s, word string) (string, bool) {
	s = skipSpace(s)
	if len(s) < len(word) || !strings.EqualFold(s[:len(word)], word) {
		return s, false
	}
	rest := s[len(word):]
	if rest != "" {
		if c := rest[0]; c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
			return s, false
		}
	}
	return rest, true
}

// skipSpace skips ASCII blanks and comments; /* */ nests, as in PostgreSQL's scanner.
func skipSpace(s string) string {
	i := 0
	for i < len(s) {
		end, kind, whole := sqltext.Next(s, i)
		if !whole || kind != sqltext.Space && kind != sqltext.Comment {
			break
		}
		i = end
	}
	return s[i:]
}
