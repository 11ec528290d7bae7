package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
)

type sqlInput struct {
	Accept         string `header:"Accept" hidden:"true"`
	AcceptEncoding string `header:"Accept-Encoding" hidden:"true"`
	IfNoneMatch    string `header:"If-None-Match" doc:"ETag of an answer to the same request: 304 when it still holds."`
	Body           SQLRequest
}

// SQLRequest is one statement.
type SQLRequest struct {
	SQL      string            `json:"sql,omitempty" doc:"One SELECT over tables that the role may read." example:"SELECT status, count(*) FROM messages WHERE created_at > $1 GROUP BY 1"`
	Params   Params            `json:"params,omitempty"`
	Format   string            `json:"format,omitempty" enum:"json,ndjson,csv,arrow,parquet" doc:"Of the answer; without it the Accept header decides, and then json."`
	Limit    int64             `json:"limit,omitempty" minimum:"1" doc:"Rows at most; truncated says whether there were more."`
	Page     int64             `json:"page,omitempty" minimum:"1" maximum:"100000" doc:"Rows of a page at most; it also ends at about 2 MiB. All pages are of one state of the data, whatever is committed meanwhile."`
	Cursor   string            `json:"cursor,omitempty" doc:"Asks for the page that it names, and stands alone. It ends a minute after the last page was asked for."`
	MinLSN   map[string]string `json:"min_lsn,omitempty" doc:"How far datasets of mode: cdc must be in their source's log before the statement reads: the answer of pg_current_wal_lsn() there, after one's own commit. It is waited for until the deadline, 5s without one and 1m at most; then the answer is 504." example:"{\"shop\":\"0/16B3748\"}"`
	Deadline string            `json:"deadline,omitempty" doc:"From the request's arrival to the last row, of the last page too, as 500ms, 5s or 2m." example:"5s"`
}

// Params are bound, never pasted: a list for $1, $2 or ?, or an object for $name.
type Params struct {
	list  []any
	named map[string]any
}

// UnmarshalJSON keeps numbers as they were written, so that integers beyond 2^53 and decimals stay exact.
func (p *Params) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err
	}
	if deeper(v, paramDepthMax+1) { // the list or object of all is the first
		return fmt.Errorf("params: lists may be nested %d deep", paramDepthMax)
	}
	switch v := v.(type) {
	case nil:
	case []any:
		p.list = v
	case map[string]any:
		p.named = v
	default:
		return fmt.Errorf("params is a list or an object")
	}
	return nil
}

// paramDepthMax is how deep lists may lie in each other: DuckDB goes into the types of values by recursion.
const paramDepthMax = 16

func deeper(v any, depth int) bool {
	if depth == 0 {
		switch v.(type) {
		case []any, map[string]any:
			return true
		}
		return false
	}
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, func(x any) bool { return deeper(x, depth-1) })
	case map[string]any:
		for _, x := range v {
			if deeper(x, depth-1) {
				return true
			}
		}
	}
	return false
}

// Schema is a list or an object of values.
func (Params) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Values for $1, $2 or ? as a list, or for $name as an object.", OneOf: []*huma.Schema{
		{Type: huma.TypeArray, Items: &huma.Schema{}}, {Type: huma.TypeObject, AdditionalProperties: true}}}
}

func (s *Server) sqlRoute(api huma.API, tag string) {
	text := func(about string) *huma.MediaType {
		return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: about}}
	}
	binary := func(about string) *huma.MediaType {
		return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary", Description: about}}
	}
	header := func(about, example string) *huma.Param {
		return &huma.Param{Description: about, Schema: &huma.Schema{Type: huma.TypeString}, Example: example}
	}
	op := huma.Operation{OperationID: "sql", Method: http.MethodPost, Path: "/v0/sql", Tags: []string{tag}, Summary: "Run a SELECT and stream its rows",
		Description: "The first rows are sent before the last are computed. A failure after that ends the answer: json gets the member error, ndjson a last line {\"error\": …}, and all formats but json are cut off in the middle of HTTP's framing, so that no client takes them for whole. gzip or zstd when Accept-Encoding asks for it. With page, the answer is the first page, and cursor asks for the one after.",
		Errors:      []int{400, 404, 406, 409, 413, 415, 429, 503, 504}}
	op.Responses = map[string]*huma.Response{
		"200": {Description: "OK", Headers: map[string]*huma.Param{
			positionName:  header("Where the rows read stand in their sources' logs: position's lsn by dataset, for every format.", "shop=0/16B3748"),
			cursorName:    header("Of the next page, when page was asked for and there is one.", "K5QXA3TMZ7LHEYVB4CNDWOUR2G.1"),
			truncatedName: header("true when a limit has cut rows off, for every format. Behind the answer as a trailer, but before it with page.", "false"),
			"ETag":        header("Of answers that change only with the tables read.", `W/"q1zXlSa0mFQmYbYzv9E6Q0yM"`),
		}, Content: map[string]*huma.MediaType{
			"application/json":                    {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[SQLResult](), true, "")},
			"application/x-ndjson":                text("One object a row."),
			"text/csv":                            text("A header line, then one line a row; NULL is empty, an empty text is \"\"."),
			"application/vnd.apache.arrow.stream": binary("Arrow's IPC stream: the schema, then record batches."),
			"application/vnd.apache.parquet":      binary("A Parquet file, compressed with zstd."),
		}},
		"304": {Description: "The answer of which If-None-Match has the ETag still holds"},
	}
	register(s, api, op, s.sql)
	register(s, api, huma.Operation{OperationID: "close-cursor", Method: http.MethodDelete, Path: "/v0/cursors/{cursor}", Tags: []string{tag},
		Summary: "Close a cursor before its last page", Errors: []int{404}}, s.closeCursor)
}

func (s *Server) sql(ctx context.Context, in *sqlInput) (*huma.StreamResponse, error) {
	if in.Body.Cursor != "" {
		return s.sqlPage(ctx, in)
	}
	req, err := in.Body.request()
	if err != nil {
		return nil, err
	}
	format, err := formatOf(in.Body.Format, in.Accept)
	if err != nil {
		return nil, err
	}
	coding, err := codingOf(in.AcceptEncoding, format == "parquet")
	if err != nil {
		return nil, err
	}
	if in.Body.Page > 0 {
		p, err := s.openCursor(ctx, req, format, in.Body.Page)
		if err != nil {
			return nil, err
		}
		return respond(func(w http.ResponseWriter) { s.sendPage(w, p, coding) }), nil
	}
	who := infoOf(ctx).who
	etag := func(version string) string {
		return etagOf(version, req.SQL, req.Params, req.Named, req.Limit, s.opts.Access.Limits(who).Rows, format)
	}
	if in.IfNoneMatch != "" && len(req.MinLSN) == 0 {
		version, err := s.opts.Queries.VersionOf(ctx, who, req.SQL)
		if err != nil {
			return nil, err
		}
		if tag := etag(version); unchanged(in.IfNoneMatch, tag) {
			return respond(func(w http.ResponseWriter) { notModified(w, tag) }), nil
		}
	}
	r := reply{coding: coding, synced: s.opts.SyncedAt()} // before the statement starts: what it reads is at least as new
	if r.res, err = s.opts.Queries.Run(ctx, who, req); err != nil {
		return nil, err
	}
	r.out = newOutgoing(r.res, format, 0)
	// The first rows decide the status: until they are there, an error is an ordinary one.
	if err := r.out.first(); err != nil {
		r.out.close()
		r.res.Close()
		return nil, err
	}
	if r.etag = etag(r.res.Version(ctx)); in.IfNoneMatch != "" && unchanged(in.IfNoneMatch, r.etag) {
		r.out.close()
		r.res.Close()
		return respond(func(w http.ResponseWriter) { notModified(w, r.etag) }), nil
	}
	return respond(func(w http.ResponseWriter) { s.stream(ctx, w, r) }), nil
}

func (s *Server) sqlPage(ctx context.Context, in *sqlInput) (*huma.StreamResponse, error) {
	if b := in.Body; b.SQL != "" || b.Format != "" || b.Limit != 0 || b.Page != 0 || b.Deadline != "" || b.MinLSN != nil || b.Params.list != nil || b.Params.named != nil {
		return nil, fault.New(fault.Usage, "send the cursor alone: it is of one statement, and has its format and its page", "cursor goes with no other member")
	}
	p, err := s.nextPage(ctx, in.Body.Cursor)
	if err != nil {
		return nil, err
	}
	coding, err := codingOf(in.AcceptEncoding, p.contentType == "application/vnd.apache.parquet")
	if err != nil {
		return nil, err
	}
	return respond(func(w http.ResponseWriter) { s.sendPage(w, p, coding) }), nil
}

func respond(f func(w http.ResponseWriter)) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		f(w)
	}}
}

func (b *SQLRequest) request() (req query.Request, err error) {
	req = query.Request{SQL: b.SQL, Params: b.Params.list, Named: b.Params.named, Limit: b.Limit, Positions: true, Door: "http"}
	if b.SQL == "" {
		return req, fault.New(fault.Usage, "GET /openapi.json describes every request", "there is neither sql nor cursor")
	}
	if b.Deadline != "" {
		if req.Deadline, err = time.ParseDuration(b.Deadline); err != nil || req.Deadline <= 0 {
			return req, fault.New(fault.Usage, "write it as 500ms, 5s or 2m", "deadline %q is no duration", b.Deadline)
		}
	}
	req.MinLSN, err = minLSN(b.MinLSN)
	return req, err
}

// minLSN reads positions by dataset.
func minLSN(texts map[string]string) (map[string]change.LSN, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	at := map[string]change.LSN{}
	for dataset, text := range texts {
		lsn, err := change.ParseLSN(text)
		if err != nil {
			return nil, fault.New(fault.Usage, "write it as pg_current_wal_lsn() gives it", "min_lsn: dataset %q: %w", dataset, err)
		}
		at[dataset] = lsn
	}
	return at, nil
}

// minPosition reads the header of that name, which is written as positionName is.
func minPosition(header string) (map[string]change.LSN, error) {
	texts := map[string]string{}
	for part := range strings.SplitSeq(header, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		dataset, lsn, ok := strings.Cut(part, "=")
		if _, twice := texts[dataset]; !ok || twice {
			return nil, fault.New(fault.Usage, "write it as dataset=LSN, with commas between, as "+positionName+" has it", "header %s: %q is no position of a dataset", minPositionName, part)
		}
		texts[dataset] = lsn
	}
	return minLSN(texts)
}

// SQLResult is the answer in JSON.
type SQLResult struct {
	Columns   []SQLColumn         `json:"columns"`
	Rows      [][]any             `json:"rows"`
	RowCount  int64               `json:"row_count"`
	Truncated bool                `json:"truncated" doc:"There were more rows than limit, or than the role may have."`
	Position  map[string]Position `json:"position" doc:"As of when the answer holds, by dataset read; it may be newer."`
	Cursor    string              `json:"cursor,omitempty" doc:"Of the next page, when page was asked for and there is one."`
	ElapsedMS float64             `json:"elapsed_ms"`
	Error     *ErrorDetail        `json:"error,omitempty" doc:"Why the rows end early."`
}

// SQLColumn is a column with its DuckDB type.
type SQLColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
}
