package main

import (
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
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pintaildb/pintail/demo"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/internal/pgtest"
)

type options struct {
	pintail  string
	messages int
	rate     float64
	port     int
	once     bool
}

// show is one statement that the demo proposes, or runs with --once.
type show struct{ What, SQL string }

var shows = []show{
	{"messages by partner and status", "SELECT name, status, count(*) AS messages FROM messages_by_partner JOIN errors_partners USING (partner_id) GROUP BY ALL ORDER BY messages DESC LIMIT 10"},
	{"the commonest errors", "SELECT name, split_part(error, chr(10), 1) AS first_line, count(*) AS times, max(updated_at) AS last_seen FROM errors GROUP BY ALL ORDER BY times DESC LIMIT 5"},
	{"the same source as it is now, followed change by change", "SELECT status, count(*) AS messages, max(updated_at) AS last_change FROM live.messages GROUP BY ALL ORDER BY ALL"},
	{"language model metrics", "SELECT metric_name, count(*) AS results, round(avg(metric_score), 4) AS mean FROM monitoring_data GROUP BY ALL ORDER BY ALL"},
}

// run is the whole demo. It returns nil when ctx ended it, and after one round; an error when a part failed, or when
// something could not be taken down again.
func run(ctx context.Context, o options, out io.Writer) error {
	var undo []func() error
	err := o.run(ctx, out, &undo)
	if ctx.Err() != nil {
		fmt.Fprintln(out, "\nstopping")
		err = nil // whatever was under way was interrupted
	}
	for _, f := range slices.Backward(undo) {
		err = errors.Join(err, f())
	}
	return err
}

// run puts up one part after the other, and in undo how each is taken down.
func (o options) run(ctx context.Context, out io.Writer, undo *[]func() error) error {
	pintail, err := filepath.Abs(o.pintail)
	if err == nil {
		_, err = exec.LookPath(pintail)
	}
	if err != nil {
		return fault.New(fault.Usage, "Build it with `make build`, or name another with -pintail.", "find pintail: %w", err)
	}
	dir, release, err := pgtest.TempDir(ctx)
	if err != nil {
		return err
	}
	*undo = append(*undo, func() error {
		defer release()
		return os.RemoveAll(dir)
	})

	fmt.Fprintf(out, "starting PostgreSQL %d (the first time, its binaries are downloaded)\n", pgtest.Newest)
	server, err := pgtest.Start(ctx, pgtest.Options{Major: pgtest.Newest, Dir: dir})
	if err != nil {
		return err
	}
	*undo = append(*undo, server.Close)
	start := time.Now()
	if err := makeSource(ctx, server, o.messages); err != nil {
		return err
	}
	fmt.Fprintf(out, "seeded %d messages in %.1fs\n", o.messages, time.Since(start).Seconds())

	p, err := o.startPintail(ctx, pintail, dir, server.Port, out)
	if err != nil {
		return err
	}
	*undo = append(*undo, p.stop)

	writing, stopWriting := context.WithCancel(ctx)
	written := make(chan struct{})
	var writeErr error
	go func() {
		defer close(written)
		writeErr = demo.Write(writing, server.URL(database), o.rate)
	}()
	*undo = append(*undo, func() error {
		stopWriting()
		<-written
		return nil
	})

	start = time.Now()
	if err := p.awaitSynced(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "first sync of every dataset done %.1fs later\n\n", time.Since(start).Seconds())
	if o.once {
		stopWriting()
		<-written
		return errors.Join(writeErr, p.oneRound(ctx, out))
	}
	if err := proposals.Execute(out, map[string]any{
		"Pintail": relative(pintail), "Config": p.config, "HTTP": p.url, "PSQL": p.psql, "Flight": p.flight, "Rate": o.rate, "Dir": dir,
		"PostgreSQL": server.URL(database), "Log": p.logPath, "Shows": shows,
	}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-p.process.Done:
		return p.died()
	case <-written:
		return fault.Wrap(writeErr, "the source's writer")
	}
}

// database is the source's name, as pintail.yaml has it.
const database = "integrations"

func makeSource(ctx context.Context, s *pgtest.Server, messages int) error {
	conn, err := pgx.Connect(ctx, s.SocketURL("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+database+" TEMPLATE template0 ENCODING 'UTF8'")
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return err
	}
	return demo.Seed(ctx, s.URL(database), messages)
}

// writeConfig fills the demo's configuration in, so that commands in another terminal need no variables.
func writeConfig(dir string, postgresPort int, doors [3]int) (string, error) {
	text := strings.NewReplacer("${DEMO_PG_PORT}", fmt.Sprint(postgresPort), "${DEMO_DIR}", dir, "${DEMO_HTTP_PORT:-8500}", fmt.Sprint(doors[0]),
		"${DEMO_PGWIRE_PORT:-5439}", fmt.Sprint(doors[1]), "${DEMO_FLIGHT_PORT:-8815}", fmt.Sprint(doors[2])).Replace(demo.Config)
	path := filepath.Join(dir, "pintail.yaml")
	return path, errors.Join(os.WriteFile(path, []byte(text), 0o600), os.CopyFS(dir, demo.Endpoints))
}

// freePort is want, or another when that one is taken.
func freePort(want int) (int, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", want))
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// awaitSynced waits until pintail is ready and every dataset has had its first sync.
func (p *pintail) awaitSynced(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		waiting, err := p.waiting(ctx)
		if err != nil || len(waiting) == 0 {
			return err
		}
		select {
		case <-p.process.Done:
			return p.died()
		case <-ctx.Done():
			return fmt.Errorf("pintail did not finish its first sync: still waiting for %s; its log ends:\n%s",
				strings.Join(waiting, ", "), p.logTail())
		case <-tick.C:
		}
	}
}

// waiting names what is not ready yet. A dataset that failed is an error.
func (p *pintail) waiting(ctx context.Context) ([]string, error) {
	if code, _ := p.get(ctx, "/readyz"); code != http.StatusOK {
		return []string{"/readyz"}, nil
	}
	code, body := p.get(ctx, "/api/store/status")
	if code != http.StatusOK {
		return []string{"/api/store/status"}, nil
	}
	var status struct {
		Datasets map[string]struct {
			State string `json:"state"`
			Error any    `json:"error"`
		} `json:"datasets"`
	}
	if err := json.Unmarshal(body, &status); err != nil {
		return nil, fmt.Errorf("read /api/store/status: %w", err)
	}
	var waiting []string
	for name, d := range status.Datasets {
		switch d.State {
		case "ready":
		case "error":
			return nil, fmt.Errorf("the first sync of %s failed: %v", name, d.Error)
		default:
			waiting = append(waiting, name)
		}
	}
	if len(status.Datasets) == 0 {
		waiting = append(waiting, "datasets")
	}
	slices.Sort(waiting)
	return waiting, nil
}

// get asks pintail; code 0 means no answer.
func (p *pintail) get(ctx context.Context, path string) (code int, body []byte) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		return 0, nil
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}

// oneRound shows what the copy holds and proves it against the source, which nobody changes any more.
func (p *pintail) oneRound(ctx context.Context, out io.Writer) error {
	commands := [][]string{{"status"}}
	for _, s := range shows {
		commands = append(commands, []string{"query", s.SQL})
	}
	// A full sync takes in what increments cannot see (deleted rows), so verify has to find both sides equal.
	commands = append(commands, []string{"sync", "--full"}, []string{"verify"})
	for _, args := range commands {
		fmt.Fprintf(out, "$ pintail %s\n", strings.Join(args, " "))
		if err := p.command(ctx, out, args...); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	return nil
}

// relative shortens a path for the reader, if it lies below the working folder.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil || !filepath.IsLocal(rel) {
		return path
	}
	return rel
}

var proposals = template.Must(template.New("").Parse(`The source changes {{.Rate}} times a second, and pintail follows. In another terminal:

  {{.Pintail}} status -c {{.Config}}
  {{.Pintail}} runs   -c {{.Config}}
  {{.Pintail}} verify -c {{.Config}}
{{range .Shows}}
  # {{.What}}
  {{$.Pintail}} query -c {{$.Config}} \
    "{{.SQL}}"
{{end}}
  # the endpoints, in a browser
  {{.HTTP}}/v0/endpoints

  # the HTTP API
  curl -s {{.HTTP}}/api/store/status
  curl -s -X POST '{{.HTTP}}/api/store/sync/monitoring?full=true'
  curl -s '{{.HTTP}}/v0/endpoints/top_errors.json?days=30'
  curl -s {{.HTTP}}/v0/sql -H 'Content-Type: application/json' -d '{"sql": "SELECT count(*) FROM errors"}'

  # the copy, as a PostgreSQL; Arrow Flight SQL is at {{.Flight}}
  psql '{{.PSQL}}' -c '\dt' -c 'SELECT status, count(*) FROM messages_by_partner GROUP BY 1'

  # the source
  psql '{{.PostgreSQL}}'

The log is {{.Log}}; warnings appear below. Ctrl-C stops everything and removes {{.Dir}}.

`))
