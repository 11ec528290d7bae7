package harness

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the driver that reads a closed file
	"github.com/jackc/pgx/v5"
)

// pins make PostgreSQL print every value in one documented form.
const pins = `SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; SET extra_float_digits = 1;
	SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET xmloption = 'content'; SET client_encoding = 'UTF8'`

// textColumn is where the copy keeps the text of values that DuckDB cannot hold: a JSON object, column → text.
const textColumn = "_pintail_text"

// Copy is where the copy of a source can be read: a closed file, or a server that has it open.
type Copy interface {
	// rows gives a statement's columns, with their DuckDB types, and rows; every value is a string or nil.
	rows(ctx context.Context, sql string) ([]column, [][]any, error)
}

type column struct{ name, typ string }

// File is the copy in a DuckDB file that no process has open.
type File string

func (f File) rows(ctx context.Context, stmt string) ([]column, [][]any, error) {
	db, err := sql.Open("duckdb", string(f)+"?access_mode=READ_ONLY")
	if err != nil {
		return nil, nil, err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "SET TimeZone = 'UTC'"); err != nil {
		return nil, nil, err
	}
	var cols []column
	described, err := conn.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE "+stmt+")")
	if err != nil {
		return nil, nil, err
	}
	defer described.Close()
	for described.Next() {
		var c column
		if err := described.Scan(&c.name, &c.typ); err != nil {
			return nil, nil, err
		}
		cols = append(cols, c)
	}
	if err := described.Err(); err != nil {
		return nil, nil, err
	}
	res, err := conn.QueryContext(ctx, stmt)
	if err != nil {
		return nil, nil, err
	}
	defer res.Close()
	var rows [][]any
	for res.Next() {
		row, to := make([]any, len(cols)), make([]any, len(cols))
		for i := range row {
			to[i] = &row[i]
		}
		if err := res.Scan(to...); err != nil {
			return nil, nil, err
		}
		rows = append(rows, row)
	}
	return cols, rows, res.Err()
}

// Exec changes the closed file behind Pintail's back.
func (f File) Exec(t testing.TB, stmts ...string) {
	t.Helper()
	db, err := sql.Open("duckdb", string(f))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	for _, stmt := range stmts {
		if _, err := db.ExecContext(t.Context(), stmt); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
}

// SQL reads the closed file; every value is as the driver gives it.
func (f File) SQL(t testing.TB, stmt string) [][]any {
	t.Helper()
	_, rows, err := f.rows(t.Context(), stmt)
	if err != nil {
		t.Fatalf("%s: %v", stmt, err)
	}
	return rows
}

// One is the single value that a statement on the closed file gives, as text.
func (f File) One(t testing.TB, stmt string) string {
	t.Helper()
	rows := f.SQL(t, stmt)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("%s: want one value, got %v", stmt, rows)
	}
	return fmt.Sprint(rows[0][0])
}

func (s *Server) rows(_ context.Context, sql string) ([]column, [][]any, error) {
	cols, rows := s.table(sql)
	return cols, rows, nil
}

// Difference is one place at which a copy is not its source.
type Difference struct {
	Kind   string // column | missing | extra | changed
	Key    string
	Column string
	Source string // PostgreSQL's text, NULL for NULL
	Copy   string
}

func (d Difference) String() string {
	switch d.Kind {
	case "column":
		return fmt.Sprintf("column %s: source %s, copy %s", d.Column, d.Source, d.Copy)
	case "changed":
		return fmt.Sprintf("changed: row %s: column %s is %q in the source and %q in the copy", d.Key, d.Column, clip(d.Source), clip(d.Copy))
	}
	return fmt.Sprintf("%s: row %s", d.Kind, clip(d.Key))
}

func clip(s string) string {
	if len(s) > 300 {
		return fmt.Sprintf("%s… (%d bytes)", s[:300], len(s))
	}
	return s
}

// differencesShown is how many are printed.
const differencesShown = 20

// Compare fails the test unless the copy's table (or view) holds exactly the rows of pgQuery: every column by name, every
// value as PostgreSQL itself prints it, every row as often. Rows are told apart by key; without one, or where a key is not
// unique, rows are compared as whole. It returns how many rows there are.
func Compare(t testing.TB, pgURL, pgQuery string, c Copy, table string, key ...string) int {
	t.Helper()
	n, diffs, err := Diff(t.Context(), pgURL, pgQuery, c, table, key...)
	if err != nil {
		t.Fatalf("compare %s: %v", table, err)
	}
	if len(diffs) > 0 {
		var lines []string
		for _, d := range diffs[:min(len(diffs), differencesShown)] {
			lines = append(lines, d.String())
		}
		t.Fatalf("%s is not what PostgreSQL holds: %d differences\n%s", table, len(diffs), strings.Join(lines, "\n"))
	}
	return n
}

// Diff is Compare that returns the differences.
func Diff(ctx context.Context, pgURL, pgQuery string, c Copy, table string, key ...string) (rows int, diffs []Difference, err error) {
	return diff(ctx, pgURL, pgQuery, c, quote(table), key)
}

// diff is Diff with the copy's table as SQL names it.
func diff(ctx context.Context, pgURL, pgQuery string, c Copy, from string, key []string) (rows int, diffs []Difference, err error) {
	src, err := readSource(ctx, pgURL, pgQuery)
	if err != nil {
		return 0, nil, fmt.Errorf("read the source: %w", err)
	}
	cp, err := readCopy(ctx, c, from)
	if err != nil {
		return 0, nil, fmt.Errorf("read the copy: %w", err)
	}
	diffs = sameColumns(src, cp)
	if len(diffs) > 0 {
		return len(cp.rows), diffs, nil
	}
	align(src, cp)
	for _, k := range key {
		if !slices.Contains(src.names, k) {
			return 0, nil, fmt.Errorf("there is no key column %s", k)
		}
	}
	return len(cp.rows), compareRows(src, cp, key), nil
}

// relation is rows of canonical texts.
type relation struct {
	names []string
	types []string // DuckDB's, of the copy
	oids  []uint32 // PostgreSQL's, of the source
	rows  [][]cell
}

type cell struct {
	text string
	null bool
}

func (c cell) String() string {
	if c.null {
		return "NULL"
	}
	return c.text
}

const moneyOID = 790

// readSource reads every value as text through the simple protocol, which prints them by their types' output functions.
func readSource(ctx context.Context, url, query string) (*relation, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.PgConn().Exec(ctx, pins).ReadAll(); err != nil {
		return nil, err
	}
	results := conn.PgConn().Exec(ctx, query)
	if !results.NextResult() {
		return nil, fmt.Errorf("%s: %w", query, results.Close())
	}
	res := results.ResultReader()
	r := &relation{}
	for _, f := range res.FieldDescriptions() {
		r.names = append(r.names, f.Name)
		r.oids = append(r.oids, f.DataTypeOID)
	}
	for res.NextRow() {
		row := make([]cell, len(r.names))
		for i, v := range res.Values() {
			row[i] = cell{string(v), v == nil}
			if r.oids[i] == moneyOID {
				row[i].text = strings.NewReplacer("$", "", ",", "").Replace(row[i].text)
			}
		}
		r.rows = append(r.rows, row)
	}
	if err := results.Close(); err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	return r, nil
}

// readCopy reads every value as text that DuckDB itself makes, brought into PostgreSQL's form.
func readCopy(ctx context.Context, c Copy, from string) (*relation, error) {
	cols, _, err := c.rows(ctx, "SELECT * FROM "+from+" LIMIT 0")
	if err != nil {
		return nil, err
	}
	exprs := make([]string, len(cols))
	for i, col := range cols {
		exprs[i] = textOf(quote(col.name), col.typ) + " AS " + quote(col.name)
	}
	_, rows, err := c.rows(ctx, "SELECT "+strings.Join(exprs, ", ")+" FROM "+from)
	if err != nil {
		return nil, err
	}
	r := &relation{}
	outOfRange := -1
	for i, col := range cols {
		if col.name == textColumn {
			outOfRange = i
			continue
		}
		r.names, r.types = append(r.names, col.name), append(r.types, col.typ)
	}
	for _, values := range rows {
		var texts map[string]string
		row := make([]cell, 0, len(values))
		if outOfRange >= 0 && values[outOfRange] != nil {
			if err := json.Unmarshal([]byte(fmt.Sprint(values[outOfRange])), &texts); err != nil {
				return nil, fmt.Errorf("column %s holds %v: %w", textColumn, values[outOfRange], err)
			}
		}
		for i, v := range values {
			if i == outOfRange {
				continue
			}
			if text, ok := texts[cols[i].name]; ok {
				if v != nil {
					return nil, fmt.Errorf("column %s holds %v beside its text %q in %s", cols[i].name, v, text, textColumn)
				}
				row = append(row, cell{text: text})
				delete(texts, cols[i].name)
				continue
			}
			cl, err := fromDuck(cols[i].typ, v)
			if err != nil {
				return nil, fmt.Errorf("column %s (%s): %w", cols[i].name, cols[i].typ, err)
			}
			row = append(row, cl)
		}
		if len(texts) > 0 {
			return nil, fmt.Errorf("column %s names columns that do not exist: %v", textColumn, texts)
		}
		r.rows = append(r.rows, row)
	}
	return r, nil
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func sameColumns(src, cp *relation) (diffs []Difference) {
	for _, n := range src.names {
		if !slices.Contains(cp.names, n) {
			diffs = append(diffs, Difference{Kind: "column", Column: n, Source: "has it", Copy: "does not have it"})
		}
	}
	for _, n := range cp.names {
		if !slices.Contains(src.names, n) {
			diffs = append(diffs, Difference{Kind: "column", Column: n, Source: "does not have it", Copy: "has it"})
		}
	}
	return diffs
}

// align brings the copy's columns into the source's order, and values whose text has several forms into one.
func align(src, cp *relation) {
	at := make([]int, len(src.names))
	types := make([]string, len(src.names))
	for i, n := range src.names {
		at[i] = slices.Index(cp.names, n)
		types[i] = cp.types[at[i]]
	}
	for r, row := range cp.rows {
		ordered := make([]cell, len(at))
		for i, j := range at {
			ordered[i] = canonical(types[i], row[j])
		}
		cp.rows[r] = ordered
	}
	for _, row := range src.rows {
		for i := range row {
			row[i] = canonical(types[i], row[i])
		}
	}
	cp.names, cp.types = src.names, types
}

func compareRows(src, cp *relation, key []string) []Difference {
	var at []int
	for _, k := range key {
		at = append(at, slices.Index(src.names, k))
	}
	keyOf := func(row []cell) string {
		var parts []string
		for _, i := range at {
			parts = append(parts, src.names[i]+"="+row[i].String())
		}
		return strings.Join(parts, ", ")
	}
	whole := func(row []cell) string {
		var b strings.Builder
		for i, c := range row {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(src.names[i] + "=")
			if c.null {
				b.WriteString("NULL")
			} else {
				fmt.Fprintf(&b, "%q", c.text)
			}
		}
		return b.String()
	}
	left := map[string]int{} // rows of the source that the copy has not shown yet
	for _, row := range src.rows {
		left[whole(row)]++
	}
	var extra [][]cell
	for _, row := range cp.rows {
		if w := whole(row); left[w] > 0 {
			left[w]--
		} else {
			extra = append(extra, row)
		}
	}
	var missing [][]cell
	for _, row := range src.rows {
		if w := whole(row); left[w] > 0 {
			left[w]--
			missing = append(missing, row)
		}
	}
	// What is left on both sides with the same key is a changed row.
	var diffs []Difference
	byKey := map[string][][]cell{}
	if len(at) > 0 {
		for _, row := range extra {
			byKey[keyOf(row)] = append(byKey[keyOf(row)], row)
		}
	}
	for _, row := range missing {
		k := keyOf(row)
		if others := byKey[k]; len(at) > 0 && len(others) > 0 {
			byKey[k] = others[1:]
			for i := range row {
				if row[i] != others[0][i] {
					diffs = append(diffs, Difference{Kind: "changed", Key: k, Column: src.names[i], Source: row[i].String(), Copy: others[0][i].String()})
				}
			}
			continue
		}
		if len(at) == 0 {
			k = whole(row)
		}
		diffs = append(diffs, Difference{Kind: "missing", Key: k})
	}
	if len(at) == 0 {
		for _, row := range extra {
			diffs = append(diffs, Difference{Kind: "extra", Key: whole(row)})
		}
	}
	for k, rows := range byKey {
		for range rows {
			diffs = append(diffs, Difference{Kind: "extra", Key: k})
		}
	}
	sort.SliceStable(diffs, func(i, j int) bool { return diffs[i].Key < diffs[j].Key })
	return diffs
}

// PG runs statements on a database, one after the other, each in a transaction of its own unless it says otherwise.
func PG(t testing.TB, url string, stmts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, stmt := range stmts {
		if _, err := conn.PgConn().Exec(ctx, stmt).ReadAll(); err != nil {
			t.Fatalf("%s: %v", clip(stmt), err)
		}
	}
}

// Conn is an open session on a database, closed at the end of the test.
func Conn(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
