package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
)

// FreeAddress is an address of this machine that nothing listens on.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Server is a running `pintail serve`.
type Server struct {
	base    string
	http    http.Client
	process *pgtest.Bound
	log     *os.File
}

// Serve starts `pintail serve` on the copy, and returns once it answers.
func (c *Copy) Serve(ctx context.Context) (*Server, error) {
	log, err := os.OpenFile(filepath.Join(c.Dir, "serve.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.binary, "serve", "-c", c.Config)
	cmd.Stdout, cmd.Stderr = log, log
	s := &Server{base: "http://" + c.listen, log: log}
	if s.process, err = pgtest.StartBound(cmd, syscall.SIGTERM); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	late, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := s.call(late, http.MethodGet, "/healthz", nil, &struct{}{})
		if err == nil {
			return s, nil
		}
		select {
		case <-s.process.Done:
			return nil, errors.Join(fmt.Errorf("pintail serve ended at once: %w", s.process.Err()), s.logEnd(), log.Close())
		case <-late.Done():
			return nil, errors.Join(fmt.Errorf("pintail serve does not answer: %w", err), s.logEnd(), s.Stop())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Stop ends the server with SIGTERM, and waits for it.
func (s *Server) Stop() error {
	defer s.log.Close()
	s.http.CloseIdleConnections()
	select {
	case <-s.process.Done: // by itself
		return errors.Join(fmt.Errorf("pintail serve ended before it was asked to: %w", s.process.Err()), s.logEnd())
	default:
	}
	if err := syscall.Kill(s.process.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	select {
	case <-s.process.Done:
		if err := s.process.Err(); err != nil {
			return errors.Join(fmt.Errorf("pintail serve, asked to end: %w", err), s.logEnd())
		}
		return nil
	case <-late.C:
		_ = syscall.Kill(s.process.Pid, syscall.SIGKILL)
		<-s.process.Done
		return errors.New("pintail serve did not end within 20s of SIGTERM and was killed")
	}
}

// logEnd is the last 4 KiB of the log, as an error.
func (s *Server) logEnd() error {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err
	}
	return fmt.Errorf("its log ends:\n%s", text[max(0, len(text)-4096):])
}

// URL is where the server answers.
func (s *Server) URL() string { return s.base }

// Pid is the server's process id.
func (s *Server) Pid() int { return s.process.Pid }

// call sends a request and decodes the answer into to.
func (s *Server) call(ctx context.Context, method, path string, body, to any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, r)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		var e struct {
			Error struct{ Code, Message, Hint string }
		}
		if json.Unmarshal(text, &e) != nil || !fault.Valid(fault.Code(e.Error.Code)) {
			return fmt.Errorf("%s %s: %s: %.500s", method, path, res.Status, text)
		}
		return fault.New(fault.Code(e.Error.Code), e.Error.Hint, "%s %s: %s", method, path, e.Error.Message)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(to)
}

// Trigger starts a run of the dataset, and returns the time just before it was asked for. While the end of the run
// before is still being tidied up it asks again, with a new time.
func (s *Server) Trigger(ctx context.Context, full bool) (id string, at time.Time, err error) {
	path := "/api/store/sync/" + Dataset
	if full {
		path += "?full=true"
	}
	return s.begin(ctx, path)
}

func (s *Server) begin(ctx context.Context, path string) (id string, at time.Time, err error) {
	for {
		var started struct {
			RunID string `json:"run_id"`
		}
		at = time.Now()
		err := s.call(ctx, http.MethodPost, path, nil, &started)
		if fault.CodeOf(err) != fault.Running {
			return started.RunID, at, err
		}
		if err := pause(ctx); err != nil {
			return "", at, err
		}
	}
}

// RunResult is how a run ended.
type RunResult struct {
	Kind        string `json:"kind"`
	State       string `json:"state"`
	Reason      string `json:"reason"`
	RowsRead    int64  `json:"rows_read"`
	RowsWritten int64  `json:"rows_written"`
	Error       string `json:"error"`
}

// Await asks every millisecond until the run is ready; one that ended in another way is an error.
func (s *Server) Await(ctx context.Context, id string) (RunResult, error) {
	for {
		var answer struct{ Run RunResult }
		if err := s.call(ctx, http.MethodGet, "/api/store/runs/"+id, nil, &answer); err != nil {
			return answer.Run, err
		}
		switch answer.Run.State {
		case "ready":
			return answer.Run, nil
		case "running":
		default:
			return answer.Run, errors.Join(fmt.Errorf("run %s ended as %s: %s", id, answer.Run.State, answer.Run.Error), s.logEnd())
		}
		if err := pause(ctx); err != nil {
			return answer.Run, err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Millisecond):
		return nil
	}
}

// Sync triggers a run and waits until it is ready.
func (s *Server) Sync(ctx context.Context, full bool) (RunResult, error) {
	id, _, err := s.Trigger(ctx, full)
	if err != nil {
		return RunResult{}, err
	}
	return s.Await(ctx, id)
}

// Verify compares the dataset with its source; a difference is an error.
func (s *Server) Verify(ctx context.Context) error {
	id, _, err := s.begin(ctx, "/api/store/verify/"+Dataset)
	if err == nil {
		_, err = s.Await(ctx, id)
	}
	return err
}

// Query asks POST /v0/sql for one row, by column name.
func (s *Server) Query(ctx context.Context, sql string, params ...any) (map[string]string, error) {
	var answer struct {
		Columns []struct{ Name string }
		Rows    [][]any
	}
	body := map[string]any{"sql": sql}
	if len(params) > 0 {
		body["params"] = params
	}
	if err := s.call(ctx, http.MethodPost, "/v0/sql", body, &answer); err != nil {
		return nil, err
	}
	if len(answer.Rows) != 1 || len(answer.Rows[0]) != len(answer.Columns) {
		return nil, fmt.Errorf("POST /v0/sql answered %d rows of %d columns, want one: %s", len(answer.Rows), len(answer.Columns), sql)
	}
	row := map[string]any{}
	for i, c := range answer.Columns {
		row[c.Name] = answer.Rows[0][i]
	}
	return texts(row), nil
}
