package test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

const tourSQL = `CREATE TABLE partners (id int PRIMARY KEY, name text NOT NULL);
	CREATE TABLE messages (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, partner_id int NOT NULL, status text NOT NULL, amount numeric(12,2), updated_at timestamptz NOT NULL DEFAULT now());
	CREATE INDEX ON messages (updated_at);
	INSERT INTO partners VALUES (1, 'Bergen Freight'), (2, 'Northern Lights'), (3, 'Oslo Cargo');
	INSERT INTO messages (partner_id, status, amount, updated_at)
		SELECT 1 + g % 3, (ARRAY['failed', 'pending', 'pending', 'processed'])[1 + (g / 3) % 4], g * 1.37, now() - interval '1 day' FROM generate_series(1, 20000) g;
	ANALYZE`

// tourStep is one command of the tour, and what the page shows as its output.
type tourStep struct{ command, output string }

// tour reads the commands of a ```console block: each begins with "$ " and goes on while a quotation mark is open.
func tour(t testing.TB, page, heading string) []tourStep {
	t.Helper()
	_, rest, ok := strings.Cut(page, heading)
	require.True(t, ok, heading)
	_, rest, ok = strings.Cut(rest, "```console\n")
	require.True(t, ok)
	block, _, ok := strings.Cut(rest, "```")
	require.True(t, ok)
	var steps []tourStep
	for line := range strings.Lines(block) {
		command, isCommand := strings.CutPrefix(line, "$ ")
		last := len(steps) - 1
		switch {
		case isCommand:
			steps = append(steps, tourStep{command: strings.TrimSuffix(command, "\n")})
		case strings.Count(steps[last].command, `"`)%2 == 1:
			steps[last].command += "\n" + strings.TrimSuffix(line, "\n")
		default:
			steps[last].output += line
		}
	}
	return steps
}

// shape is an output without what differs from one run to the next: numbers, times, sizes, widths and line breaks.
func shape(output string) string {
	for _, r := range []struct{ from, to string }{
		{`[0-9]+([,.:+-][0-9]+)*`, "0"}, {`0 0`, "0"}, {`\b0(ms|m|s)\b`, "0s"}, {`\b[KM]iB\b`, "MiB"}, {`\b(row|range|table)s?\b`, "$1"}, {`─+`, "─"}, {`\s+`, " "},
	} {
		output = regexp.MustCompile(r.from).ReplaceAllString(output, r.to)
	}
	return strings.TrimSpace(output)
}

var (
	tourPSQL = regexp.MustCompile(`^psql shop -c "([^"]+)" && (pintail .*)$`)
	tourCurl = regexp.MustCompile(`^curl -s -H '([^:]+): ([^']+)' 127\.0\.0\.1:8500(\S+) -d '([^']*)'$`)
)

// The five minutes of the README, command by command as they stand there, give what is printed there.
func TestReadmeTour(t *testing.T) {
	newest(t, func(t *testing.T, pgURL string) {
		harness.PG(t, pgURL, tourSQL)
		u, err := url.Parse(pgURL)
		require.NoError(t, err)
		u.User = url.User(u.User.Username())
		p := harness.New(t)
		p.Env = []string{"PGPASSWORD=" + pgtest.Password}
		path := t.TempDir()
		require.NoError(t, os.Symlink(harness.Binary(t), filepath.Join(path, "pintail")))
		shell := func(command string) string {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), harness.CommandTimeout)
			defer cancel()
			cmd := exec.CommandContext(ctx, "bash", "-c", command)
			cmd.Dir, cmd.Env = p.Dir, append(harness.Environment(p.Env), "PATH="+path+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s\n%s", command, out)
			return string(out)
		}
		makefile := readFile(t, "../Makefile")
		page := readFile(t, "../README.md")
		for _, target := range regexp.MustCompile(`(?m)^(?:\$ )?make (\w+)`).FindAllStringSubmatch(page, -1) {
			contains(t, makefile, "\n"+target[1]+":")
		}
		ran := map[string]bool{}
		var s *harness.Server
		for _, step := range tour(t, page, "## Five minutes with your own database") {
			out := ""
			command := step.command
			ran[strings.Join(strings.Fields(command)[:2], " ")] = true
			switch {
			case strings.HasPrefix(command, "make build && export PATH=$PWD/bin:$PATH"): // the binary under test is built and found already
				contains(t, makefile, "-o bin/pintail ./cmd/pintail")
			case strings.HasPrefix(command, "pintail init "):
				out = shell("pintail init '" + u.String() + "'")
				p.Write(strings.Replace(readFile(t, p.Config), "127.0.0.1:8500", p.Listen, 1))
			case strings.HasPrefix(command, "psql "):
				m := tourPSQL.FindStringSubmatch(command)
				require.NotNil(t, m, command)
				harness.PG(t, pgURL, m[1])
				out = shell(m[2])
			case command == "pintail serve &":
				s = p.Serve()
			case strings.HasPrefix(command, "curl "):
				m := tourCurl.FindStringSubmatch(command)
				require.NotNil(t, m, command)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL()+m[3], strings.NewReader(m[4]))
				require.NoError(t, err)
				req.Header.Set(m[1], m[2])
				res, err := http.DefaultClient.Do(req)
				require.NoError(t, err)
				body, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, http.StatusOK, res.StatusCode, "%s", body)
				require.True(t, json.Valid(body))
				out = string(body)
			default:
				out = shell(command)
			}
			require.Equal(t, shape(step.output), shape(out), "%s\nprints\n%s", command, out)
		}
		for _, command := range []string{"pintail init", "pintail check", "pintail sync", "psql shop", "pintail query", "pintail verify", "pintail status", "pintail serve", "curl -s"} {
			require.True(t, ran[command], "the tour does not have %s: it has changed its form", command)
		}
		harness.Compare(t, pgURL, "SELECT * FROM messages", s, "messages", "id")
	})
}
