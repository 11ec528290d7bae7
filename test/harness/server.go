package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a running `pintail serve`.
type Server struct {
	*Process
	t       testing.TB
	project *Project
	Base    string
	Token   string // bearer token of the helpers below; "" is none
	stopped bool
}

const (
	// StopTimeout is how long SIGTERM may take: the product's promise, and a second for the machine.
	StopTimeout  = 11 * time.Second
	readyTimeout = 60 * time.Second
	// RunTimeout bounds a run that is followed to its end.
	RunTimeout = 90 * time.Second
)

// Serve starts the server and waits until /readyz says yes: the start-up syncs are over then. It is stopped by SIGTERM at
// the end of the test and has to end well.
func (p *Project) Serve() *Server {
	p.t.Helper()
	s := p.ServeNow()
	s.AwaitReady()
	return s
}

// ServeNow starts the server and waits only until it answers.
func (p *Project) ServeNow() *Server {
	p.t.Helper()
	s := &Server{Process: p.Start("serve"), t: p.t, project: p, Base: p.URL()}
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("log of the server, without the requests it answered well:\n%s", Tail(s.Log(), 40))
		}
		if !s.stopped {
			s.Stop()
		}
	})
	Eventually(p.t, readyTimeout, "the server answers", func() bool {
		if s.Ended() {
			r, _ := s.Wait(time.Second)
			s.stopped = true
			p.t.Fatalf("the server ended: %s", r)
		}
		status, _, err := s.try(http.MethodGet, "/healthz", nil)
		return err == nil && status == http.StatusOK
	})
	return s
}

// For is the server for a subtest, whose failures the helpers then report.
func (s *Server) For(t testing.TB) *Server {
	c := *s
	c.t, c.stopped = t, true
	return &c
}

// AwaitReady waits until /readyz says yes.
func (s *Server) AwaitReady() {
	s.t.Helper()
	var last []byte
	deadline := time.Now().Add(readyTimeout)
	for {
		status, body, err := s.try(http.MethodGet, "/readyz", nil)
		if err == nil && status == http.StatusOK {
			return
		}
		last = body
		if s.Ended() || time.Now().After(deadline) {
			s.t.Fatalf("the server is not ready: %s\n%s", last, Tail(s.Log(), 20))
		}
		time.Sleep(pollEvery)
	}
}

// Stop sends SIGTERM and waits for a good end.
func (s *Server) Stop() Result {
	s.t.Helper()
	s.stopped = true
	s.Signal(syscall.SIGTERM)
	begun := time.Now()
	r, ok := s.Wait(StopTimeout)
	r.Took = time.Since(begun)
	if !ok || r.Code != 0 {
		s.t.Errorf("the server did not stop well within %s after SIGTERM: exit code %d\n%s", StopTimeout, r.Code, Tail(r.Stderr, 30))
	}
	return r
}

// Crash kills the server.
func (s *Server) Crash() {
	s.stopped = true
	s.Kill()
}

// Log is what the server logged, without requests that were answered well.
func (s *Server) Log() string {
	var keep []string
	for line := range strings.Lines(s.Stderr()) {
		if !strings.Contains(line, `"level":"INFO","msg":"http"`) {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep, "")
}

// Tail is the last lines of a text.
func Tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// client gives up before a test does. Redirects are answers.
var client = &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (s *Server) request(method, path string, body any) *http.Request {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			panic(err) // a test's own literal
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, s.Base+path, r)
	if err != nil {
		panic(err) // as above
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	return req
}

func (s *Server) try(method, path string, body any) (int, []byte, error) {
	res, err := client.Do(s.request(method, path, body))
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, b, err
}

// Do sends a request, with body as JSON if not nil, and returns status and body.
func (s *Server) Do(method, path string, body any) (int, []byte) {
	s.t.Helper()
	status, b, err := s.try(method, path, body)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", method, path, err, Tail(s.Log(), 20))
	}
	return status, b
}

// JSON sends a request that has to be answered with this status, and decodes the answer into into, if not nil.
func (s *Server) JSON(status int, method, path string, body, into any) {
	s.t.Helper()
	got, b := s.Do(method, path, body)
	if got != status {
		s.t.Fatalf("%s %s: want status %d, got %d: %s", method, path, status, got, b)
	}
	if into == nil {
		return
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		s.t.Fatalf("%s %s: %v in %s", method, path, err, b)
	}
}

// Error is the body of a refused request.
type Error struct {
	Error struct{ Code, Message, Hint string } `json:"error"`
}

// Refused sends a request that has to be answered with this status, and returns the error.
func (s *Server) Refused(status int, method, path string, body any) Error {
	s.t.Helper()
	var e Error
	s.JSON(status, method, path, body, &e)
	if e.Error.Code == "" || e.Error.Message == "" {
		s.t.Errorf("%s %s: the answer is not the form of all errors: %+v", method, path, e)
	}
	return e
}

// Run is a run as the API shows it.
type Run struct {
	ID          string          `json:"id"`
	Dataset     string          `json:"dataset"`
	Kind        string          `json:"kind"`
	State       string          `json:"state"`
	Reason      string          `json:"reason"`
	StartedAt   time.Time       `json:"started_at"`
	EndedAt     *time.Time      `json:"ended_at"`
	RowsRead    int64           `json:"rows_read"`
	RowsWritten int64           `json:"rows_written"`
	Bytes       int64           `json:"bytes"`
	Progress    float64         `json:"progress"`
	Error       *string         `json:"error"`
	Code        string          `json:"code"`
	Hint        string          `json:"hint"`
	Detail      json.RawMessage `json:"detail"`
}

// Status is a dataset's status, or a table's.
type Status struct {
	State                  string             `json:"state"`
	Rows                   int64              `json:"rows"`
	SyncType               *string            `json:"sync_type"`
	LastSync               *time.Time         `json:"last_sync"`
	LastIncremental        *time.Time         `json:"last_incremental"`
	IncrementalRows        int64              `json:"incremental_rows"`
	Watermarks             map[string]*string `json:"watermarks"`
	Truncated              bool               `json:"truncated"`
	Error                  *string            `json:"error"`
	RefreshIntervalMinutes float64            `json:"refresh_interval_minutes"`
	IncrementalColumn      *string            `json:"incremental_column"`
	Dataset                string             `json:"dataset"`
	Code                   string             `json:"code"`
	Hint                   string             `json:"hint"`
	RunID                  string             `json:"run_id"`
	Paused                 bool               `json:"paused"`
	NextRun                *time.Time         `json:"next_run"`
	Guarantee              string             `json:"guarantee"`
}

// Statuses reads the status of every dataset.
func (s *Server) Statuses() map[string]Status {
	s.t.Helper()
	var all struct {
		Datasets map[string]Status `json:"datasets"`
	}
	s.JSON(http.StatusOK, http.MethodGet, "/api/store/status", nil, &all)
	return all.Datasets
}

// Status reads one status key.
func (s *Server) Status(key string) Status {
	s.t.Helper()
	st, ok := s.Statuses()[key]
	if !ok {
		s.t.Fatalf("there is no status of %s", key)
	}
	return st
}

// Sync runs a dataset to its good end.
func (s *Server) Sync(dataset string) Run {
	s.t.Helper()
	return s.good(s.Follow(s.Begin("/api/store/sync/" + url.PathEscape(dataset))))
}

// SyncFull rebuilds a dataset to its good end.
func (s *Server) SyncFull(dataset string) Run {
	s.t.Helper()
	return s.good(s.Follow(s.Begin("/api/store/sync/" + url.PathEscape(dataset) + "?full=true")))
}

// SyncFails runs a dataset that has to fail with this code.
func (s *Server) SyncFails(dataset, code string) Run {
	s.t.Helper()
	r := s.Follow(s.Begin("/api/store/sync/" + url.PathEscape(dataset)))
	if r.State != "error" || r.Code != code || r.Error == nil {
		s.t.Fatalf("want an error with code %s, got %s", code, Show(r))
	}
	return r
}

func (s *Server) good(r Run) Run {
	s.t.Helper()
	if r.State != "ready" {
		s.t.Fatalf("the run failed: %s", Show(r))
	}
	return r
}

// Begin posts to a path that starts a run, and returns the run's id. A run of the schedule that is under way is waited for.
func (s *Server) Begin(path string) string {
	s.t.Helper()
	var started struct {
		RunID string `json:"run_id"`
	}
	Eventually(s.t, RunTimeout, "the dataset's run under way ends", func() bool {
		status, b := s.Do(http.MethodPost, path, nil)
		if status == http.StatusConflict {
			return false
		}
		if status != http.StatusAccepted {
			s.t.Fatalf("POST %s: %d %s", path, status, b)
		}
		if err := json.Unmarshal(b, &started); err != nil || started.RunID == "" {
			s.t.Fatalf("POST %s: no run id in %s", path, b)
		}
		return true
	})
	return started.RunID
}

// RunByID reads a run.
func (s *Server) RunByID(id string) Run {
	s.t.Helper()
	var one struct{ Run Run }
	s.JSON(http.StatusOK, http.MethodGet, "/api/store/runs/"+id, nil, &one)
	return one.Run
}

// Follow waits for a run's end, good or bad.
func (s *Server) Follow(id string) Run {
	s.t.Helper()
	var r Run
	Eventually(s.t, RunTimeout, "run "+id+" ends", func() bool {
		r = s.RunByID(id)
		return r.State != "running"
	})
	return r
}

// Runs reads a dataset's history, newest first.
func (s *Server) Runs(dataset string) []Run {
	s.t.Helper()
	var page struct{ Runs []Run }
	s.JSON(http.StatusOK, http.MethodGet, "/api/store/runs?dataset="+url.QueryEscape(dataset), nil, &page)
	return page.Runs
}

// SQL runs a statement and returns its rows, values as JSON gives them (numbers as json.Number).
func (s *Server) SQL(sql string, params ...any) [][]any {
	s.t.Helper()
	_, rows := s.table(sql, params...)
	return rows
}

type sqlResult struct {
	Columns  []struct{ Name, Type string }
	Rows     [][]any
	RowCount int64 `json:"row_count"`
	Error    *struct{ Code, Message, Hint string }
}

func (s *Server) table(sql string, params ...any) ([]column, [][]any) {
	s.t.Helper()
	body := map[string]any{"sql": sql}
	if len(params) > 0 {
		body["params"] = params
	}
	var res sqlResult
	s.JSON(http.StatusOK, http.MethodPost, "/v0/sql", body, &res)
	if res.Error != nil {
		s.t.Fatalf("%s: %+v", sql, *res.Error)
	}
	if res.RowCount != int64(len(res.Rows)) {
		s.t.Fatalf("%s: row_count is %d, there are %d rows", sql, res.RowCount, len(res.Rows))
	}
	cols := make([]column, len(res.Columns))
	for i, c := range res.Columns {
		cols[i] = column{c.Name, c.Type}
	}
	return cols, res.Rows
}

// One is the single value that a statement gives, as text.
func (s *Server) One(sql string, params ...any) string {
	s.t.Helper()
	rows := s.SQL(sql, params...)
	if len(rows) != 1 || len(rows[0]) != 1 {
		s.t.Fatalf("%s: want one value, got %v", sql, rows)
	}
	return fmt.Sprint(rows[0][0])
}

// Show prints a value for a message.
func Show(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Sprintf("%+v", v)
	}
	return string(b)
}
