package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

// MissingColumns says that a query does not give columns that its dataset is configured to use.
type MissingColumns struct {
	Columns   []string
	Table     string   // that is read, "" for a query
	Given     []string // the query's own columns
	Corrected string   // the query with the columns added, proven to run; "" where none was found
}

func (e *MissingColumns) Error() string {
	if e.Table != "" {
		return fmt.Sprintf("it does not have %s", nameList(e.Columns, "column"))
	}
	return fmt.Sprintf("the query does not give %s", nameList(e.Columns, "column"))
}

// Missing are the columns, for callers that know sources in general.
func (e *MissingColumns) Missing() []string { return e.Columns }

func nameList(names []string, what string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = strconv.Quote(n)
	}
	if len(q) == 1 {
		return "the " + what + " " + q[0]
	}
	return "the " + what + "s " + strings.Join(q[:len(q)-1], ", ") + " and " + q[len(q)-1]
}

func missingColumns(d *source.Description) *MissingColumns {
	var missing []string
	for _, name := range []string{d.Query.PartitionColumn, d.Query.IncrementalColumn} {
		if name != "" && index(d, name) < 0 && (len(missing) == 0 || missing[0] != name) {
			missing = append(missing, name)
		}
	}
	if missing == nil {
		return nil
	}
	return &MissingColumns{Columns: missing, Table: d.Query.Table, Given: columnNames(d)}
}

// missing makes the error of a query that lacks columns, with the query as it should be where that can be proven.
func (h *held) missing(ctx context.Context, q source.Query, m *MissingColumns) error {
	hint := "Add " + strings.Join(m.Columns, " and ") + " to what the query selects; pintail check prints it corrected."
	if q.Table != "" {
		return fault.New(fault.SourceSQL, didYouMean(m.Columns[0], m.Given), "%w", m)
	}
	if fixed, ok := addColumns(userSQL(q.SQL), m.Columns); ok {
		try := q
		try.SQL = fixed
		sql, _, err := base(try)
		if err == nil {
			if _, err = h.ask(ctx, stmt("SAVEPOINT pintail"), statement{sql: sql, prepare: true}, stmt("RELEASE SAVEPOINT pintail")); err == nil {
				m.Corrected = fixed
			}
		}
	}
	if m.Corrected == "" {
		hint = "Add " + strings.Join(m.Columns, " and ") + " to what the query selects, or name other columns as partition_column and incremental_column."
	}
	return fault.New(fault.SourceSQL, hint, "%w", m)
}

var relationMissing = regexp.MustCompile(`^relation "(.*)" does not exist$`)
var columnMissing = regexp.MustCompile(`^column (?:"(.*)"|(.*?)) does not exist$`)

// unprepared explains why a statement cannot be prepared: where in the user's SQL, and what may have been meant.
func (h *held) unprepared(ctx context.Context, q source.Query, err error) error {
	prefix, sql := queryPrefix, q.SQL
	if q.Table != "" {
		prefix, sql = "", ""
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	code, hint := h.src.classify(pg)
	near := ""
	switch {
	case pg.Code == "42P01":
		if m := relationMissing.FindStringSubmatch(pg.Message); m != nil {
			near = h.nearTables(ctx, m[1])
		}
	case pg.Code == "42703" && q.Table != "":
		if m := columnMissing.FindStringSubmatch(pg.Message); m != nil {
			near = h.nearColumns(ctx, q, m[1]+m[2])
		}
	}
	if near == "" {
		near = hint
	}
	if pg.Hint != "" && q.Table == "" {
		near = strings.TrimSuffix(pg.Hint, ".") + ". " + near
	}
	if sql != "" {
		err = place(err, prefix, sql)
	}
	if known := (*serverError)(nil); !errors.As(err, &known) {
		err = &serverError{PgError: pg}
	}
	return fault.New(code, near, "%w", err)
}

// nearTables proposes tables whose names resemble one that does not exist.
func (h *held) nearTables(ctx context.Context, name string) string {
	rs, err := h.ask(ctx, stmt("SAVEPOINT pintail"), stmt(`SELECT n.nspname, c.relname, pg_table_is_visible(c.oid) FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r','p','v','m','f') AND NOT c.relispartition
		AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') LIMIT 10000`), stmt("RELEASE SAVEPOINT pintail"))
	if err != nil {
		return ""
	}
	bare := name[strings.LastIndexByte(name, '.')+1:]
	var found []string
	for i := range rs[1].rows {
		schema, table := rs[1].text(i, 0), rs[1].text(i, 1)
		if !alike(bare, table) {
			continue
		}
		full := plainName(schema) + "." + plainName(table)
		found = append(found, full)
	}
	sort.Strings(found)
	if len(found) == 0 {
		return "Check the table's name and schema, and that the role may use the schema."
	}
	return "Did you mean " + strings.Join(found[:min(3, len(found))], ", ") + "?"
}

// nearColumns proposes columns of q's table.
func (h *held) nearColumns(ctx context.Context, q source.Query, name string) string {
	bare := strings.Trim(name[strings.LastIndexByte(name, '.')+1:], `"`)
	all := q
	all.Columns, all.Where = nil, ""
	sql, _, err := base(all)
	if err != nil {
		return ""
	}
	rs, err := h.ask(ctx, stmt("SAVEPOINT pintail"), statement{sql: sql, prepare: true}, stmt("RELEASE SAVEPOINT pintail"))
	if err != nil {
		return ""
	}
	var names []string
	for _, f := range rs[1].fields {
		names = append(names, f.Name)
	}
	return didYouMean(bare, names)
}

// plainName is a name as a person would write it in SQL.
func plainName(s string) string {
	if regexp.MustCompile(`^[a-z_][a-z0-9_]*$`).MatchString(s) {
		return s
	}
	return ident(s)
}

// didYouMean proposes names like a wrong one, else lists what there is.
func didYouMean(wrong string, names []string) string {
	var found []string
	for _, name := range names {
		if alike(wrong, name) {
			found = append(found, name)
		}
	}
	if len(found) > 0 {
		return "Did you mean " + strings.Join(found[:min(3, len(found))], ", ") + "?"
	}
	const most = 20
	if len(names) > most {
		return "There are: " + strings.Join(names[:most], ", ") + ", …"
	}
	return "There are: " + strings.Join(names, ", ") + "."
}

// alike says whether two names differ by case, by an ending, or by a slip or two of the keyboard.
func alike(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if a == b {
		return true
	}
	short, long := a, b
	if len(short) > len(long) {
		short, long = long, short
	}
	if len(short) >= 3 && (strings.HasPrefix(long, short) || strings.HasSuffix(long, short)) {
		return true
	}
	return distance(a, b) <= 1+min(len(a), len(b))/6
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
