package harness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/pintaildb/pintail/internal/arrowtest"
)

// Doors are the ways into one server, each of them open.
type Doors struct {
	*Server
	PGWire, Flight string // addresses
	root           string // an administrator's token
	entered        *Server
}

// OpenDoors is Head with every door open, and endpoints in the folder of that name.
func (p *Project) OpenDoors(url string) (head string, d *Doors) {
	p.t.Helper()
	d = &Doors{PGWire: FreePort(p.t), Flight: FreePort(p.t)}
	if err := os.MkdirAll(filepath.Join(p.Dir, "endpoints"), 0o700); err != nil {
		p.t.Fatal(err)
	}
	doors := fmt.Sprintf("server: {pgwire: {listen: %q}, flight: {listen: %q}, ", d.PGWire, d.Flight)
	return strings.Replace(p.Head(url), "server: {", doors, 1) + "endpoints: {path: endpoints, reload: 100ms}\n", d
}

// Enter says which server the doors are of; root is the token of an administrator.
func (d *Doors) Enter(s *Server, root string) *Doors {
	d.Server, d.root, d.entered = s.For(s.t), root, s
	d.Token = root
	return d
}

// Answer is what a door says to a statement.
type Answer struct {
	Rows    [][]string // values as text; of a refused statement those that came before the error
	Code    string     // of the error, as HTTP calls it; "" is none. A command's is "failed"
	State   string     // SQLSTATE, at doors that have one
	Message string
	Raw     []byte // what came, at doors that give bytes
}

// OK says that the statement ran.
func (a Answer) OK() bool { return a.Code == "" }

func (a Answer) String() string {
	if a.OK() {
		return fmt.Sprintf("%d rows", len(a.Rows))
	}
	return strings.TrimSpace(a.Code + " " + a.State + " " + a.Message)
}

// Door is one way in. Ask runs a statement as the user of a token.
type Door struct {
	Name string
	Ask  func(t testing.TB, token, sql string) Answer
}

// Read are the doors that take a statement and give rows.
func (d *Doors) Read() []Door {
	return []Door{
		{"http", d.HTTP},
		{"endpoint", d.Endpoint},
		{"pgwire simple", d.Simple},
		{"pgwire extended", d.Extended},
		{"pgwire COPY", d.Copy},
		{"flight ticket", d.Ticket},
		{"flight action", d.Action},
		{"flight sql statement", d.Statement},
		{"flight sql prepared", d.Prepared},
		{"command", d.Command},
	}
}

const askTimeout = 90 * time.Second

func failed(code, message string) Answer { return Answer{Code: code, Message: message} }

// HTTP asks POST /v0/sql.
func (d *Doors) HTTP(t testing.TB, token, sql string) Answer {
	t.Helper()
	return d.web(t, token, http.MethodPost, "/v0/sql", `{"format": "ndjson", "sql": `+rawJSON(sql)+`}`)
}

// rawJSON is a text as JSON that keeps bytes which are no UTF-8.
func rawJSON(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c < 0x20:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + `"`
}

func (d *Doors) web(t testing.TB, token, method, path, body string) Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, d.Base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return ndjson(t, res.StatusCode, b)
}

// ndjson reads rows and the error that may come behind them.
func ndjson(t testing.TB, status int, body []byte) Answer {
	t.Helper()
	a := Answer{Raw: body}
	for line := range bytes.Lines(body) {
		var e Error
		if json.Unmarshal(line, &e) == nil && e.Error.Code != "" {
			a.Code, a.Message = e.Error.Code, e.Error.Message
			return a
		}
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.UseNumber()
		if _, err := dec.Token(); err != nil {
			t.Fatalf("status %d with %q", status, clip(string(body)))
		}
		var row []string
		for dec.More() {
			var v any
			if _, err := dec.Token(); err != nil { // the name
				t.Fatal(err)
			}
			if err := dec.Decode(&v); err != nil {
				t.Fatal(err)
			}
			if v == nil {
				v = "NULL"
			}
			row = append(row, fmt.Sprint(v))
		}
		a.Rows = append(a.Rows, row)
	}
	if status != http.StatusOK {
		t.Fatalf("status %d without an error's form: %q", status, clip(string(body)))
	}
	return a
}

// EndpointName is the name of the endpoint that Publish makes of a statement.
func EndpointName(sql string) string { return fmt.Sprintf("e%x", sha256.Sum256([]byte(sql)))[:24] }

// Publish makes endpoints of statements, and waits until the server has them.
func (d *Doors) Publish(t testing.TB, statements ...string) {
	t.Helper()
	dir := filepath.Join(d.project.Dir, "endpoints")
	all := append(slices.Clone(statements), fmt.Sprintf("SELECT %d", time.Now().UnixNano()))
	for _, sql := range all {
		path := filepath.Join(dir, EndpointName(sql)+".sql")
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := os.WriteFile(path, []byte("-- summary: of a test\n\n"+sql), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	last := "/v0/endpoints/" + EndpointName(all[len(all)-1])
	Eventually(t, readyTimeout, "the endpoints are read", func() bool {
		return d.web(t, d.root, http.MethodGet, last+".ndjson", "").OK()
	})
}

// Endpoint asks for the answer of a statement that Publish has made an endpoint of.
func (d *Doors) Endpoint(t testing.TB, token, sql string) Answer {
	t.Helper()
	if _, err := os.Stat(filepath.Join(d.project.Dir, "endpoints", EndpointName(sql)+".sql")); err != nil {
		d.Publish(t, sql)
	}
	return d.web(t, token, http.MethodGet, "/v0/endpoints/"+EndpointName(sql)+".ndjson", "")
}

// PG is a session at the door of PostgreSQL's protocol, which ends with the test.
func (d *Doors) PG(t testing.TB, token string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig("postgres://" + d.PGWire + "/pintail?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Password = d.userOf(token), token
	c, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatalf("connect as %s: %v", cfg.User, err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// userOf is the user of a token: tests' tokens are "token-of-NAME-…".
func (d *Doors) userOf(token string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(token, "token-of-"), "-")
	return name
}

func pgAnswer(results []*pgconn.Result, err error) Answer {
	var a Answer
	for _, r := range results {
		for _, row := range r.Rows {
			var out []string
			for _, v := range row {
				if v == nil {
					out = append(out, "NULL")
				} else {
					out = append(out, string(v))
				}
			}
			a.Rows = append(a.Rows, out)
		}
		if err == nil {
			err = r.Err
		}
	}
	return a.with(err)
}

// PGAnswer is what an error of a driver of PostgreSQL says.
func PGAnswer(err error) Answer { return Answer{}.with(err) }

// with enters an error of a driver of PostgreSQL.
func (a Answer) with(err error) Answer {
	var e *pgconn.PgError
	switch {
	case err == nil:
	case errors.As(err, &e):
		a.Code, a.State, a.Message = codeOfState(e.Code), e.Code, e.Message
	default:
		a.Code, a.Message = "broken", err.Error()
	}
	return a
}

func codeOfState(state string) string {
	switch {
	case state == "42501" || state == "25006":
		return "forbidden"
	case state == "53400":
		return "limit_exceeded"
	case state == "57014":
		return "cancelled"
	case strings.HasPrefix(state, "57P"):
		return "unavailable"
	case strings.HasPrefix(state, "28"):
		return "unauthenticated"
	case strings.HasPrefix(state, "XX"):
		return "internal"
	case strings.HasPrefix(state, "08"):
		return "usage"
	}
	return "invalid_sql"
}

func (d *Doors) within(t testing.TB, ask func(ctx context.Context) Answer) Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), askTimeout)
	defer cancel()
	return ask(ctx)
}

// Simple asks by the simple query protocol.
func (d *Doors) Simple(t testing.TB, token, sql string) Answer {
	t.Helper()
	return d.within(t, func(ctx context.Context) Answer {
		c := d.PG(t, token)
		defer c.Close(ctx)
		return pgAnswer(c.PgConn().Exec(ctx, sql).ReadAll())
	})
}

// Extended asks by the extended query protocol, for results as text.
func (d *Doors) Extended(t testing.TB, token, sql string) Answer {
	t.Helper()
	return d.within(t, func(ctx context.Context) Answer {
		c := d.PG(t, token)
		defer c.Close(ctx)
		return pgAnswer([]*pgconn.Result{c.PgConn().ExecParams(ctx, sql, nil, nil, nil, nil).Read()}, nil)
	})
}

// Copy asks by COPY (…) TO STDOUT.
func (d *Doors) Copy(t testing.TB, token, sql string) Answer {
	t.Helper()
	return d.within(t, func(ctx context.Context) Answer {
		c := d.PG(t, token)
		defer c.Close(ctx)
		var out bytes.Buffer
		_, err := c.PgConn().CopyTo(ctx, &out, "COPY ("+sql+") TO STDOUT (FORMAT csv)")
		a := Answer{Raw: out.Bytes()}.with(err)
		if rows, err := csv.NewReader(&out).ReadAll(); err == nil {
			a.Rows = rows
		}
		return a
	})
}

// FlightClient is a client of Flight SQL, which ends with the test.
func (d *Doors) FlightClient(t testing.TB, token string) *flightsql.Client {
	t.Helper()
	opts := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20))}
	if token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearer(token)))
	}
	c, err := flightsql.NewClient(d.Flight, nil, nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Client.Close() })
	return c
}

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}
func (bearer) RequireTransportSecurity() bool { return false }

// FlightAnswer is what an error of Flight says.
func FlightAnswer(err error) Answer {
	if err == nil {
		return Answer{}
	}
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if in, ok := detail.(*errdetails.ErrorInfo); ok {
			return failed(in.Reason, in.Metadata["message"])
		}
	}
	return failed("grpc "+st.Code().String(), st.Message())
}

// Records reads batches as text.
func Records(r array.RecordReader, err error) Answer {
	if err != nil {
		return FlightAnswer(err)
	}
	defer r.Release()
	var rows [][]string
	for r.Next() {
		b := r.RecordBatch()
		for i := range int(b.NumRows()) {
			var row []string
			for _, c := range b.Columns() {
				if c.IsNull(i) {
					row = append(row, "NULL")
				} else {
					row = append(row, arrowtest.Text(c, i))
				}
			}
			rows = append(rows, row)
		}
	}
	a := FlightAnswer(r.Err())
	a.Rows = rows
	return a
}

// Ticket asks by DoGet of a ticket that is SQL.
func (d *Doors) Ticket(t testing.TB, token, sql string) Answer {
	t.Helper()
	return d.within(t, func(ctx context.Context) Answer {
		return Records(ticketReader(d.FlightClient(t, token).Client.DoGet(ctx, &flight.Ticket{Ticket: []byte(sql)})))
	})
}

func ticketReader(stream flight.FlightService_DoGetClient, err error) (array.RecordReader, error) {
	if err != nil {
		return nil, err
	}
	return flight.NewRecordReader(stream)
}

// Action asks by the action query.
func (d *Doors) Action(t testing.TB, token, sql string) Answer {
	t.Helper()
	return d.within(t, func(ctx context.Context) Answer {
		stream, err := d.FlightClient(t, token).Client.DoAction(ctx, &flight.Action{Type: "query", Body: []byte(sql)})
		if err != nil {
			return FlightAnswer(err)
		}
		var out Answer
		for {
			res, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return out
			}
			if err != nil {
				return FlightAnswer(err)
			}
			if len(res.GetBody()) == 0 {
				continue
			}
			a := Records(ipcReader(ipc.NewReader(bytes.NewReader(res.GetBody()))))
			out.Rows = append(out.Rows, a.Rows...)
			if !a.OK() {
				return a
			}
		}
	})
}

func ipcReader(r *ipc.Reader, err error) (array.RecordReader, error) { return r, err }

// Statement asks by Flight SQL's CommandStatementQuery.
func (d *Doors) Statement(t testing.TB, token, sql string) Answer {
	t.Helper()
	return d.within(t, func(ctx context.Context) Answer {
		c := d.FlightClient(t, token)
		info, err := c.Execute(ctx, sql)
		return readInfo(ctx, c, info, err)
	})
}

func readInfo(ctx context.Context, c *flightsql.Client, info *flight.FlightInfo, err error) Answer {
	if err != nil {
		return FlightAnswer(err)
	}
	return Records(flightReader(c.DoGet(ctx, info.Endpoint[0].Ticket)))
}

func flightReader(r *flight.Reader, err error) (array.RecordReader, error) { return r, err }

// Prepared asks by a prepared statement of Flight SQL.
func (d *Doors) Prepared(t testing.TB, token, sql string) Answer {
	t.Helper()
	return d.within(t, func(ctx context.Context) Answer {
		c := d.FlightClient(t, token)
		p, err := c.Prepare(ctx, sql)
		if err != nil {
			return FlightAnswer(err)
		}
		defer p.Close(ctx)
		info, err := p.Execute(ctx)
		return readInfo(ctx, c, info, err)
	})
}

// Command asks by `pintail query -`.
func (d *Doors) Command(t testing.TB, token, sql string) Answer {
	t.Helper()
	r := d.As(t, token).RunInput(sql, "query", "--format", "csv", "-")
	if r.Code != 0 {
		return failed("failed", strings.TrimPrefix(strings.TrimSpace(r.Stderr), "pintail: "))
	}
	a := Answer{Raw: []byte(r.Stdout)}
	if rows, err := csv.NewReader(strings.NewReader(r.Stdout)).ReadAll(); err == nil && len(rows) > 0 {
		a.Rows = rows[1:]
	}
	return a
}

// As is the project with commands that are run as the user of a token.
func (d *Doors) As(t testing.TB, token string) *Project {
	p := *d.project
	p.t = t
	p.Env = append(slices.Clone(p.Env), "PINTAIL_TOKEN="+token)
	return &p
}

// By is the server as HTTP's helpers see it as the user of a token.
func (d *Doors) By(t testing.TB, token string) *Server {
	s := d.For(t)
	s.Token = token
	return s
}

// Path is a path of segments for HTTP.
func Path(segments ...string) string {
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return "/" + strings.Join(segments, "/")
}

// Gone says that the test has ended the server itself.
func (d *Doors) Gone() { d.entered.stopped = true }
