package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

type dataInput struct {
	Dataset   string `path:"dataset" doc:"Name of the dataset, or one of its status keys." example:"monitoring"`
	Page      int64  `query:"page" minimum:"1" maximum:"1000000000" default:"1"`
	PageSize  int64  `query:"page_size" minimum:"1" maximum:"500" default:"50"`
	SortBy    string `query:"sort_by" doc:"Column to sort by; without it the time column, newest first. NULLs come last, and equal rows in the order of all other columns, so that pages fit together."`
	SortDir   string `query:"sort_dir" enum:"asc,desc" default:"desc"`
	Columns   string `query:"columns" doc:"Names of the columns to return, with commas between; all without it." example:"created_at,status"`
	TimeStart string `query:"time_start" doc:"Only rows at or after it, by the incremental column if that holds times, else timestamp or created_at." example:"2026-02-13T10:00:00Z"`
	TimeEnd   string `query:"time_end" doc:"Only rows at or before it."`
	Search    string `query:"search" doc:"Only rows with this text in one of the text columns, without regard to case."`

	query url.Values
}

// Resolve keeps the query string, whose other parameters are filters.
func (in *dataInput) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	in.query = u.Query()
	return nil
}

// dataParams are the parameters that are no filters.
var dataParams = []string{"page", "page_size", "sort_by", "sort_dir", "columns", "time_start", "time_end", "search"}

// DataRow is a row: column → value.
type DataRow json.RawMessage

// MarshalJSON gives it as it is.
func (r DataRow) MarshalJSON() ([]byte, error) { return r, nil }

// Schema is an object.
func (DataRow) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// Data is a page of rows.
type Data struct {
	Success  bool      `json:"success"`
	Data     []DataRow `json:"data"`
	Total    int64     `json:"total" doc:"Rows that the filters let through, counted together with the page."`
	Page     int64     `json:"page"`
	PageSize int64     `json:"page_size"`
}

type dataOutput struct{ Body Data }

func (s *Server) dataRoute(api huma.API, tag string) {
	free := true
	op := huma.Operation{OperationID: "data", Method: http.MethodGet, Path: "/api/store/data/{dataset}", Tags: []string{tag},
		Summary: "Rows of a dataset, page by page", Errors: []int{400, 404, 503},
		Description: "Any parameter that has a column's name lets only rows through that hold this value there; given twice, either value.",
		Parameters: []*huma.Param{{Name: "filters", In: "query", Style: "form", Explode: &free, Description: "column=value",
			Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: &huma.Schema{Type: huma.TypeString}}}}}
	register(s, api, op, s.data)
}

func (s *Server) data(ctx context.Context, in *dataInput) (*dataOutput, error) {
	rel, err := s.relation(ctx, in.Dataset)
	if err != nil {
		return nil, err
	}
	q, err := dataQuery(rel, in)
	if err != nil {
		return nil, err
	}
	out := &dataOutput{Body: Data{Success: true, Data: []DataRow{}, Page: in.Page, PageSize: in.PageSize}}
	err = s.collect(ctx, q.sql, q.params, func(row []json.RawMessage) {
		_ = json.Unmarshal(row[0], &out.Body.Total) // a BIGINT that DuckDB counted
		if string(row[1]) == "null" {
			return // the page is empty; the row is there for the count
		}
		object := []byte{'{'}
		for i, name := range q.names {
			if i > 0 {
				object = append(object, ',')
			}
			object = append(append(append(object, jsonName(name)...), ':'), row[i+2]...)
		}
		out.Body.Data = append(out.Body.Data, append(object, '}'))
	})
	if err != nil {
		return nil, fault.Wrap(unfit(err), "read %s", in.Dataset)
	}
	return out, nil
}

// statement is SQL put together of quoted names and numbered parameters.
type statement struct {
	sql    string
	params []any
	names  []string // of the columns behind the first two
}

func (q *statement) bind(v any) string {
	q.params = append(q.params, v)
	return fmt.Sprintf("$%d", len(q.params))
}

// rowMark tells a row of the page from the row that only carries the count.
const rowMark = "_pintail_row"

// dataQuery gives count and page in one statement, so that both hold at the same moment: total, mark, columns…
func dataQuery(rel *relation, in *dataInput) (*statement, error) {
	q := &statement{}
	if err := q.choose(rel, in.Columns); err != nil {
		return nil, err
	}
	order, err := orderBy(rel, in)
	if err != nil {
		return nil, err
	}
	where, err := q.where(rel, in)
	if err != nil {
		return nil, err
	}
	selected := make([]string, len(q.names))
	for i, n := range q.names {
		selected[i] = "p." + quote(n)
	}
	q.sql = fmt.Sprintf(`SELECT t.n, p.%[1]q, %[2]s FROM (SELECT count(*) AS n FROM %[3]s%[4]s) AS t LEFT JOIN (SELECT *, true AS %[1]q FROM %[3]s%[4]s ORDER BY %[5]s LIMIT %[6]s OFFSET %[7]s) AS p ON true ORDER BY %[8]s`,
		rowMark, strings.Join(selected, ", "), rel.name, where, strings.Join(order, ", "),
		q.bind(in.PageSize), q.bind((in.Page-1)*in.PageSize), "p."+strings.Join(order, ", p."))
	return q, nil
}

func (q *statement) choose(rel *relation, list string) error {
	if list == "" {
		for _, c := range rel.columns {
			q.names = append(q.names, c.Name)
		}
		return nil
	}
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if rel.column(name) == nil {
			return noColumn(rel, "columns", name)
		}
		if !slices.Contains(q.names, name) {
			q.names = append(q.names, name)
		}
	}
	return nil
}

func noColumn(rel *relation, param, name string) error {
	names := make([]string, len(rel.columns))
	for i, c := range rel.columns {
		names[i] = c.Name
	}
	return fault.New(fault.Usage, "it has "+strings.Join(names, ", "), "%s: %s has no column %q", param, rel.status.Key, name)
}

// orderBy is a total order: after the chosen column all others.
func orderBy(rel *relation, in *dataInput) ([]string, error) {
	first := ""
	if in.SortBy != "" {
		if rel.column(in.SortBy) == nil {
			return nil, noColumn(rel, "sort_by", in.SortBy)
		}
		first = in.SortBy
	} else if c := rel.timeColumn(); c != nil {
		first = c.Name
	}
	var out []string
	if first != "" {
		out = append(out, quote(first)+" "+strings.ToUpper(in.SortDir)+" NULLS LAST")
	}
	for _, c := range rel.columns {
		if c.Name != first {
			out = append(out, quote(c.Name)+" ASC NULLS LAST")
		}
	}
	return out, nil
}

func (q *statement) where(rel *relation, in *dataInput) (string, error) {
	var all []string
	if in.TimeStart != "" || in.TimeEnd != "" {
		c := rel.timeColumn()
		if c == nil {
			return "", fault.New(fault.Usage, "filter by another column, or POST /v0/sql", "%s has no column of times: neither its incremental column nor timestamp nor created_at is one", rel.status.Key)
		}
		for _, b := range []struct{ op, value string }{{">=", in.TimeStart}, {"<=", in.TimeEnd}} {
			if b.value != "" {
				all = append(all, fmt.Sprintf("%s %s CAST(%s AS %s)", quote(c.Name), b.op, q.bind(b.value), c.Type))
			}
		}
	}
	if in.Search != "" {
		var any []string
		pattern := q.bind("%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(in.Search) + "%")
		for _, c := range rel.columns {
			if c.Type == "VARCHAR" || c.Type == "JSON" {
				any = append(any, fmt.Sprintf(`%s ILIKE %s ESCAPE '\'`, quote(c.Name), pattern))
			}
		}
		if any == nil {
			return "", fault.New(fault.Usage, "filter by column=value", "search: %s has no text columns", rel.status.Key)
		}
		all = append(all, "("+strings.Join(any, " OR ")+")")
	}
	names := make([]string, 0, len(in.query))
	for name := range in.query {
		names = append(names, name)
	}
	slices.Sort(names) // the same request gives the same statement
	for _, name := range names {
		if slices.Contains(dataParams, name) {
			if len(in.query[name]) > 1 {
				return "", fault.New(fault.Usage, "give it once", "parameter %s is given twice", name)
			}
			continue
		}
		c := rel.column(name)
		if c == nil {
			return "", noColumn(rel, "parameter "+name, name)
		}
		var any []string
		for _, v := range in.query[name] {
			any = append(any, equals(c, q.bind(v)))
		}
		all = append(all, "("+strings.Join(any, " OR ")+")")
	}
	if all == nil {
		return "", nil
	}
	return " WHERE " + strings.Join(all, " AND "), nil
}

// equals compares in the column's own type, so that 1.50 finds 1.5 and statistics can skip rows; types whose text has
// no cast worth the name are compared by their text.
func equals(c *store.ResultColumn, param string) string {
	base, _, _ := strings.Cut(c.Type, "(")
	switch base {
	case "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
		"FLOAT", "DOUBLE", "DECIMAL", "DATE", "TIME", "TIME WITH TIME ZONE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS",
		"TIMESTAMP WITH TIME ZONE", "UUID", "VARCHAR":
		if !strings.HasSuffix(c.Type, "]") {
			return fmt.Sprintf("%s = CAST(%s AS %s)", quote(c.Name), param, c.Type)
		}
	}
	return fmt.Sprintf("CAST(%s AS VARCHAR) = %s", quote(c.Name), param)
}
