package harness

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/internal/arrowtest"
)

const boolOID = 16

// CompareDoors fails the test unless every door and format gives, for all columns of a table of the copy, the values that
// PostgreSQL itself prints for pgQuery. Both are put into the order of column key. What the copy keeps as text beside a column, since
// DuckDB has no such value, is NULL in the column. Arrow has no values for the columns notArrow: there they have to be refused.
func (d *Doors) CompareDoors(t testing.TB, pgURL, pgQuery, table, key string, notArrow ...string) {
	t.Helper()
	ctx := t.Context()
	src, err := readSource(ctx, pgURL, pgQuery+" ORDER BY "+key)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	for _, row := range d.SQL("DESCRIBE " + table) {
		types[fmt.Sprint(row[0])] = fmt.Sprint(row[1])
	}
	for _, n := range src.names {
		if types[n] == "" {
			t.Fatalf("the copy has no column %s", n)
		}
	}
	if types[textColumn] != "" {
		d.leaveOut(t, src, table, key)
	}
	for _, n := range notArrow {
		if a := d.Ticket(t, d.root, "SELECT "+quote(n)+" FROM "+table); a.Code != "invalid_sql" {
			t.Errorf("column %s in Arrow: %s", n, a)
		}
	}
	for _, door := range []struct {
		name string
		read func(t testing.TB, sql string, kinds []string) ([][]cell, error)
		same func(kind string, c cell) cell // brings what the format does not tell apart into one form
		not  []string                       // columns
	}{
		{"pgwire text", d.pgText, canonical, nil}, {"pgwire binary", d.pgBinary(pgURL), canonical, nil}, {"pgwire COPY", d.pgCopy, canonical, nil},
		{"json", d.jsonRows, canonicalJSON, nil}, {"ndjson", d.ndjsonRows, canonicalJSON, nil}, {"csv", d.csvRows, canonicalCSV, nil}, {"parquet", d.parquetRows, canonical, nil},
		{"arrow", d.arrowRows, canonical, notArrow}, {"flight ticket", d.ticketRows, canonical, notArrow}, {"flight sql", d.flightSQLRows, canonical, notArrow},
	} {
		var names, kinds []string
		var at []int
		for i, n := range src.names {
			if !slices.Contains(door.not, n) {
				names, kinds, at = append(names, n), append(kinds, types[n]), append(at, i)
			}
		}
		name := door.name
		rows, err := door.read(t, "SELECT "+strings.Join(quoteAll(names), ", ")+" FROM "+table+" ORDER BY "+quote(key), kinds)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(rows) != len(src.rows) {
			t.Errorf("%s: %d rows, %d in the source", name, len(rows), len(src.rows))
			continue
		}
		wrong := 0
		for r, row := range rows {
			for c, got := range row {
				want := door.same(kinds[c], src.rows[r][at[c]])
				if got = door.same(kinds[c], got); got != want && wrong < differencesShown {
					wrong++
					t.Errorf("%s: row %d, column %s (%s): PostgreSQL has %q, the door %q", name, r, names[c], kinds[c], clip(want.String()), clip(got.String()))
				}
			}
		}
	}
}

// canonicalJSON is canonical for answers in JSON: within them JSON has no blanks of its own, and its null is that of SQL.
func canonicalJSON(kind string, c cell) cell {
	if kind == "JSON" {
		if c.null {
			return cell{text: "null"}
		}
		return cell{text: compact(c.text)}
	}
	return canonicalCSV(kind, c)
}

// canonicalCSV is canonical for CSV, where lists are JSON.
func canonicalCSV(kind string, c cell) cell {
	if kind != "JSON[]" || c.null {
		return canonical(kind, c)
	}
	elems, ok := parseArray(c.text)
	if !ok {
		return c
	}
	texts := make([]string, len(elems))
	for i, e := range elems {
		texts[i] = "null"
		if e != nil {
			texts[i] = compact(*e)
		}
	}
	return cell{text: strings.Join(texts, ",")}
}

func compact(text string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(text)) != nil {
		return text
	}
	return b.String()
}

func quoteAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = quote(n)
	}
	return out
}

// leaveOut makes NULL of the source's values that the copy keeps as text.
func (d *Doors) leaveOut(t testing.TB, src *relation, table, key string) {
	t.Helper()
	for r, row := range d.SQL("SELECT " + textColumn + "::VARCHAR FROM " + table + " ORDER BY " + quote(key)) {
		if row[0] == nil {
			continue
		}
		var texts map[string]string
		if err := json.Unmarshal([]byte(fmt.Sprint(row[0])), &texts); err != nil {
			t.Fatal(err)
		}
		for name := range texts {
			src.rows[r][slices.Index(src.names, name)] = cell{null: true}
		}
	}
}

func cells(values [][]byte) []cell {
	row := make([]cell, len(values))
	for i, v := range values {
		row[i] = cell{string(v), v == nil}
	}
	return row
}

func (d *Doors) pgRows(t testing.TB, sql string, format int16, each func(fields []pgconn.FieldDescription, values [][]byte) ([]cell, error)) (rows [][]cell, err error) {
	c := d.PG(t, d.root)
	ctx := t.Context()
	defer c.Close(ctx)
	r := c.PgConn().ExecParams(ctx, sql, nil, nil, nil, []int16{format})
	for r.NextRow() {
		row, err := each(r.FieldDescriptions(), r.Values())
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	_, err = r.Close()
	return rows, err
}

func (d *Doors) pgText(t testing.TB, sql string, _ []string) ([][]cell, error) {
	return d.pgRows(t, sql, 0, func(_ []pgconn.FieldDescription, values [][]byte) ([]cell, error) { return cells(values), nil })
}

// pgBinary has PostgreSQL itself read the binary values, and print them.
func (d *Doors) pgBinary(pgURL string) func(t testing.TB, sql string, _ []string) ([][]cell, error) {
	return func(t testing.TB, sql string, _ []string) ([][]cell, error) {
		server := Conn(t, pgURL).PgConn()
		ctx := context.WithoutCancel(t.Context())
		if _, err := server.Exec(ctx, pins).ReadAll(); err != nil {
			return nil, err
		}
		return d.pgRows(t, sql, 1, func(fields []pgconn.FieldDescription, values [][]byte) ([]cell, error) {
			var casts []string
			var oids []uint32
			formats := make([]int16, len(fields))
			for i, f := range fields {
				cast := fmt.Sprintf("$%d::text", i+1)
				if f.DataTypeOID == boolOID { // whose cast is another text than it prints
					cast = fmt.Sprintf("left($%d::text, 1)", i+1)
				}
				casts = append(casts, cast)
				oids = append(oids, f.DataTypeOID)
				formats[i] = 1
			}
			res := server.ExecParams(ctx, "SELECT "+strings.Join(casts, ", "), values, oids, formats, nil).Read()
			if res.Err != nil {
				return nil, res.Err
			}
			return cells(res.Rows[0]), nil
		})
	}
}

// pgCopy reads COPY's CSV, in which NULL is nothing and an empty text has quotes.
func (d *Doors) pgCopy(t testing.TB, sql string, _ []string) ([][]cell, error) {
	c := d.PG(t, d.root)
	defer c.Close(t.Context())
	var out bytes.Buffer
	if _, err := c.PgConn().CopyTo(t.Context(), &out, "COPY ("+sql+") TO STDOUT (FORMAT csv, NULL '<<NULL>>', FORCE_QUOTE *)"); err != nil {
		return nil, err
	}
	return csvCells(out.Bytes(), func(text string) bool { return text == "<<NULL>>" }, nil)
}

func csvCells(b []byte, null func(string) bool, text func(col int, text string) (string, error)) (rows [][]cell, err error) {
	r := csv.NewReader(bytes.NewReader(restoreReturns(b)))
	all, err := r.ReadAll()
	for _, fields := range all {
		row := make([]cell, len(fields))
		for i, f := range fields {
			f = strings.ReplaceAll(f, returnMark, "\r")
			if row[i].null = null(f); row[i].null {
				continue
			}
			if row[i].text = f; text != nil {
				if row[i].text, err = text(i, f); err != nil {
					return nil, err
				}
			}
		}
		rows = append(rows, row)
	}
	return rows, err
}

// encoding/csv takes \r\n within quotes for \n.
const returnMark = "<<CR>>"

func restoreReturns(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r"), []byte(returnMark)) }

func (d *Doors) body(t testing.TB, sql, format string) ([]byte, error) {
	t.Helper()
	res, err := client.Do(d.By(t, d.root).request(http.MethodPost, "/v0/sql", map[string]any{"sql": sql, "format": format}))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", res.StatusCode, b)
	}
	return b, err
}

func (d *Doors) jsonRows(t testing.TB, sql string, kinds []string) (rows [][]cell, err error) {
	b, err := d.body(t, sql, "json")
	if err != nil {
		return nil, err
	}
	var all struct{ Rows [][]json.RawMessage }
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	for _, values := range all.Rows {
		row := make([]cell, len(values))
		for i, v := range values {
			if row[i], err = fromJSON(kinds[i], v); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (d *Doors) ndjsonRows(t testing.TB, sql string, kinds []string) (rows [][]cell, err error) {
	b, err := d.body(t, sql, "ndjson")
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(b) {
		dec := json.NewDecoder(bytes.NewReader(line))
		if _, err := dec.Token(); err != nil {
			return nil, err
		}
		var row []cell
		for dec.More() {
			if _, err := dec.Token(); err != nil {
				return nil, err
			}
			var v json.RawMessage
			if err := dec.Decode(&v); err != nil {
				return nil, err
			}
			c, err := fromJSON(kinds[len(row)], v)
			if err != nil {
				return nil, err
			}
			row = append(row, c)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// fromJSON is a value of JSON as PostgreSQL prints it.
func fromJSON(kind string, raw json.RawMessage) (cell, error) {
	if kind == "JSON" {
		return cell{text: string(raw)}, nil
	}
	if string(raw) == "null" {
		return cell{null: true}, nil
	}
	if elem, ok := strings.CutSuffix(kind, "[]"); ok {
		var elems []json.RawMessage
		if err := json.Unmarshal(raw, &elems); err != nil {
			return cell{}, err
		}
		parts := make([]string, len(elems))
		for i, e := range elems {
			c, err := fromJSON(elem, e)
			switch {
			case err != nil:
				return cell{}, err
			case c.null:
				parts[i] = "NULL"
			default:
				parts[i] = quoteElement(canonical(elem, c).text)
			}
		}
		return cell{text: "{" + strings.Join(parts, ",") + "}"}, nil
	}
	text := string(raw)
	if text[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return cell{}, err
		}
	}
	switch kind {
	case "BOOLEAN":
		text = text[:1]
	case "BLOB":
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return cell{}, err
		}
		text = `\x` + hex.EncodeToString(b)
	case "TIMESTAMP", "TIMESTAMP WITH TIME ZONE":
		text = strings.Replace(strings.Replace(text, "T", " ", 1), "+00:00", "+00", 1)
	}
	return cell{text: text}, nil
}

// csvRows reads CSV, in which NULL is nothing and an empty text has quotes; lists are JSON.
func (d *Doors) csvRows(t testing.TB, sql string, kinds []string) ([][]cell, error) {
	b, err := d.body(t, sql, "csv")
	if err != nil {
		return nil, err
	}
	_, b, _ = bytes.Cut(b, []byte("\n"))
	// An empty text is marked, since the reader does not tell it from nothing.
	marked := bytes.ReplaceAll(b, []byte(`,"",`), []byte(`,<<EMPTY>>,`))
	marked = bytes.ReplaceAll(marked, []byte(`,"",`), []byte(`,<<EMPTY>>,`))
	return csvCells(marked, func(text string) bool { return text == "" }, func(col int, text string) (string, error) {
		switch {
		case text == "<<EMPTY>>":
			return "", nil
		case strings.HasSuffix(kinds[col], "[]"):
			c, err := fromJSON(kinds[col], json.RawMessage(text))
			return c.text, err
		case kinds[col] == "BOOLEAN":
			return text[:1], nil
		}
		return text, nil
	})
}

// fromArrow is a value of Arrow as PostgreSQL prints it.
func fromArrow(kind string, a arrow.Array, i int) cell {
	if a.IsNull(i) {
		return cell{null: true}
	}
	if l, ok := a.(*array.List); ok {
		elem := strings.TrimSuffix(kind, "[]")
		from, to := l.ValueOffsets(i)
		var parts []string
		for k := int(from); k < int(to); k++ {
			if c := fromArrow(elem, l.ListValues(), k); c.null {
				parts = append(parts, "NULL")
			} else {
				parts = append(parts, quoteElement(canonical(elem, c).text))
			}
		}
		return cell{text: "{" + strings.Join(parts, ",") + "}"}
	}
	text := arrowtest.Text(a, i)
	if kind == "BOOLEAN" {
		text = text[:1]
	}
	return cell{text: text}
}

func arrowCells(r array.RecordReader, err error, kinds []string) (rows [][]cell, _ error) {
	if err != nil {
		return nil, err
	}
	defer r.Release()
	for r.Next() {
		b := r.RecordBatch()
		for i := range int(b.NumRows()) {
			row := make([]cell, b.NumCols())
			for c := range row {
				row[c] = fromArrow(kinds[c], b.Column(c), i)
			}
			rows = append(rows, row)
		}
	}
	return rows, r.Err()
}

func (d *Doors) arrowRows(t testing.TB, sql string, kinds []string) ([][]cell, error) {
	b, err := d.body(t, sql, "arrow")
	if err != nil {
		return nil, err
	}
	r, err := ipc.NewReader(bytes.NewReader(b))
	return arrowCells(r, err, kinds)
}

func (d *Doors) parquetRows(t testing.TB, sql string, kinds []string) ([][]cell, error) {
	b, err := d.body(t, sql, "parquet")
	if err != nil {
		return nil, err
	}
	f, err := file.NewParquetReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	tbl, err := r.ReadTable(t.Context())
	if err != nil {
		return nil, err
	}
	defer tbl.Release()
	return arrowCells(array.NewTableReader(tbl, 0), nil, kinds)
}

func (d *Doors) ticketRows(t testing.TB, sql string, kinds []string) ([][]cell, error) {
	r, err := ticketReader(d.FlightClient(t, d.root).Client.DoGet(t.Context(), &flight.Ticket{Ticket: []byte(sql)}))
	return arrowCells(r, err, kinds)
}

func (d *Doors) flightSQLRows(t testing.TB, sql string, kinds []string) ([][]cell, error) {
	c := d.FlightClient(t, d.root)
	info, err := c.Execute(t.Context(), sql)
	if err != nil {
		return nil, err
	}
	r, err := flightReader(c.DoGet(t.Context(), info.Endpoint[0].Ticket))
	return arrowCells(r, err, kinds)
}
