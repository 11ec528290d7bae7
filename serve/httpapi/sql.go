package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
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
	Body           SQLRequest
}

// SQLRequest is one statement.
type SQLRequest struct {
	SQL      string            `json:"sql" minLength:"1" doc:"One SELECT over tables that the role may read." example:"SELECT status, count(*) FROM messages WHERE created_at > $1 GROUP BY 1"`
	Params   Params            `json:"params,omitempty"`
	Format   string            `json:"format,omitempty" enum:"json,ndjson,csv,arrow,parquet" doc:"Of the answer; without it the Accept header decides, and then json. arrow and parquet are not available in this version."`
	Limit    int64             `json:"limit,omitempty" minimum:"1" doc:"Rows at most; truncated says whether there were more."`
	MinLSN   map[string]string `json:"min_lsn,omitempty" doc:"How far datasets of mode: cdc must be in their source's log before the statement reads: the answer of pg_current_wal_lsn() there, after one's own commit. It is waited for until the deadline, 5s without one and 1m at most; then the answer is 504." example:"{\"shop\":\"0/16B3748\"}"`
	Deadline string            `json:"deadline,omitempty" doc:"From the request's arrival to the last row, as 500ms, 5s or 2m." example:"5s"`
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

// Schema is a list or an object of values.
func (Params) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Values for $1, $2 or ? as a list, or for $name as an object.", OneOf: []*huma.Schema{
		{Type: huma.TypeArray, Items: &huma.Schema{}}, {Type: huma.TypeObject, AdditionalProperties: true}}}
}

func (s *Server) sqlRoute(api huma.API, tag string) {
	op := huma.Operation{OperationID: "sql", Method: http.MethodPost, Path: "/v0/sql", Tags: []string{tag}, Summary: "Run a SELECT and stream its rows",
		Description: "The first rows are sent before the last are computed. A failure after that ends the answer: json gets the member error, ndjson a last line {\"error\": …}, and ndjson and csv are cut off in the middle of HTTP's framing, so that no client takes them for whole. gzip when Accept-Encoding asks for it.",
		Errors:      []int{400, 413, 415, 429, 503, 504}}
	op.Responses = map[string]*huma.Response{"200": {Description: "OK", Headers: map[string]*huma.Param{positionName: {
		Description: "Where the rows read stand in their sources' logs: position's lsn by dataset, for every format.", Schema: &huma.Schema{Type: huma.TypeString}, Example: "shop=0/16B3748"}}, Content: map[string]*huma.MediaType{
		"application/json":     {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[SQLResult](), true, "")},
		"application/x-ndjson": {Schema: &huma.Schema{Type: huma.TypeString, Description: "One object a row."}},
		"text/csv":             {Schema: &huma.Schema{Type: huma.TypeString, Description: "A header line, then one line a row; NULL is empty, an empty text is \"\"."}},
	}}}
	register(s, api, op, s.sql)
}

func (s *Server) sql(ctx context.Context, in *sqlInput) (*huma.StreamResponse, error) {
	req := query.Request{SQL: in.Body.SQL, Params: in.Body.Params.list, Named: in.Body.Params.named, Limit: in.Body.Limit, Positions: true}
	format, err := formatOf(in.Body.Format, in.Accept)
	if err != nil {
		return nil, err
	}
	if in.Body.Deadline != "" {
		if req.Deadline, err = time.ParseDuration(in.Body.Deadline); err != nil || req.Deadline <= 0 {
			return nil, fault.New(fault.Usage, "write it as 500ms, 5s or 2m", "deadline %q is no duration", in.Body.Deadline)
		}
	}
	for dataset, text := range in.Body.MinLSN {
		lsn, err := change.ParseLSN(text)
		if err != nil {
			return nil, fault.New(fault.Usage, "write it as pg_current_wal_lsn() gives it", "min_lsn: dataset %q: %w", dataset, err)
		}
		if req.MinLSN == nil {
			req.MinLSN = map[string]change.LSN{}
		}
		req.MinLSN[dataset] = lsn
	}
	synced := s.opts.SyncedAt() // before the statement starts: what it reads is at least as new
	res, err := s.opts.Queries.Run(ctx, infoOf(ctx).who, req)
	if err != nil {
		return nil, err
	}
	out := newEncoder(format, res.Columns())
	// The first chunk decides the status: until it is there, an error is an ordinary one.
	chunk, n, err := res.Next()
	if err != nil {
		res.Close()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer res.Close()
		_, w := humago.Unwrap(hc)
		if at := positionHeader(res.Positions()); at != "" {
			w.Header().Set(positionName, at)
		}
		body := newBodyWriter(w, s.writeTimeout, out.contentType(), acceptsGzip(in.AcceptEncoding))
		st := &stream{res: res, out: out, body: body, buf: out.begin(nil)}
		for chunk != nil && err == nil {
			if err = st.send(chunk, n); err == nil {
				chunk, n, err = res.Next()
			}
		}
		switch {
		case body.err != nil:
			body.close()
			panic(http.ErrAbortHandler) // the client is gone
		case err != nil && !body.started:
			body.close()
			w.Header().Del(positionName)
			s.fail(ctx, err).write(w)
			return
		}
		sum := summary{rows: st.sent, truncated: res.Truncated(), elapsed: res.Elapsed(), position: position(res, synced)}
		var end []byte
		cut := false
		if err == nil {
			end = out.end(st.buf, sum)
		} else {
			end, cut = out.fail(nil, sum, s.fail(ctx, err).Detail)
		}
		body.write(end)
		body.close()
		if cut || body.err != nil {
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// stream carries rows from a result to a body.
type stream struct {
	res  *query.Result
	out  encoder
	body *bodyWriter
	buf  []byte // not yet sent
	sent int64  // rows
}

// chunkBytes is when a part of a chunk of long rows is sent on by itself.
const chunkBytes = 64 << 10

// send encodes a chunk's first n rows and sends them, so that a slow statement's rows are not held back. Rows that the
// role's limit on bytes refuses are not sent, not even in part.
func (st *stream) send(chunk rowChunk, n int) error {
	var rows int64
	for i := range n {
		st.buf = st.out.row(st.buf, chunk, i)
		rows++
		if len(st.buf) < chunkBytes && i < n-1 {
			continue
		}
		if err := st.res.Sent(len(st.buf)); err != nil {
			return err
		}
		st.body.write(st.buf)
		st.buf, st.sent, rows = st.buf[:0], st.sent+rows, 0
	}
	st.body.flush()
	return st.body.err
}

// SQLResult is the answer in JSON.
type SQLResult struct {
	Columns   []SQLColumn         `json:"columns"`
	Rows      [][]any             `json:"rows"`
	RowCount  int64               `json:"row_count"`
	Truncated bool                `json:"truncated" doc:"There were more rows than limit, or than the role may have."`
	Position  map[string]Position `json:"position" doc:"As of when the answer holds, by dataset read; it may be newer."`
	ElapsedMS float64             `json:"elapsed_ms"`
	Error     *ErrorDetail        `json:"error,omitempty" doc:"Why the rows end early."`
}

// SQLColumn is a column with its DuckDB type.
type SQLColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Position says as of when a dataset's data holds.
type Position struct {
	SyncedAt    *time.Time `json:"synced_at,omitempty" doc:"By the source's clock; the rows read may be newer."`
	LSN         string     `json:"lsn,omitempty" doc:"Of a dataset of mode: cdc, exactly: the rows read are those of all transactions whose commit record lies before in the source's log, and of none after."`
	CommittedAt *time.Time `json:"committed_at,omitempty" doc:"Commit of the last of these transactions, by the source's clock."`
	Behind      []string   `json:"behind,omitempty" doc:"Tables read of which lsn does not hold: they are older, because they are being copied anew or are in quarantine."`
}

func position(res *query.Result, synced map[string]time.Time) map[string]Position {
	out := map[string]Position{}
	at := res.Positions()
	for _, d := range res.Datasets() {
		var p Position
		if t, ok := synced[d]; ok {
			p.SyncedAt = orNoTime(t)
		}
		if r, ok := at[d]; ok {
			p.LSN, p.CommittedAt, p.Behind = r.LSN.String(), orNoTime(r.CommittedAt), r.Behind
		}
		if p.SyncedAt != nil || p.LSN != "" {
			out[d] = p
		}
	}
	return out
}

// positionName is the header that has the positions for every format.
const positionName = "X-Pintail-Position"

// positionHeader is its value: dataset=lsn, with commas between. Datasets of which it does not hold for every table read
// are left out.
func positionHeader(at map[string]query.Position) string {
	var parts []string
	for _, d := range slices.Sorted(maps.Keys(at)) {
		if p := at[d]; len(p.Behind) == 0 {
			parts = append(parts, d+"="+p.LSN.String())
		}
	}
	return strings.Join(parts, ", ")
}

// mediaTypes are the formats that Accept may name.
var mediaTypes = map[string]string{
	"application/json":                    "json",
	"application/x-ndjson":                "ndjson",
	"application/jsonl":                   "ndjson",
	"text/csv":                            "csv",
	"application/vnd.apache.arrow.stream": "arrow",
	"application/vnd.apache.parquet":      "parquet",
	"application/*":                       "json",
	"*/*":                                 "json",
	"text/*":                              "csv",
}

// formatOf takes the body's word, then the best of Accept, then json.
func formatOf(format, accept string) (string, error) {
	if format == "" {
		best := 0.0
		for part := range strings.SplitSeq(accept, ",") {
			media, params, err := mime.ParseMediaType(strings.TrimSpace(part))
			f := mediaTypes[media]
			q := 1.0
			if v, err := strconv.ParseFloat(params["q"], 64); err == nil {
				q = v
			}
			if err == nil && f != "" && q > best {
				format, best = f, q
			}
		}
	}
	switch format {
	case "":
		return "json", nil
	case "arrow", "parquet":
		return "", fault.New(fault.Usage, "ask for json, ndjson or csv", "format %s is not available in this version", format)
	}
	return format, nil
}
