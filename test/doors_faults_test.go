package test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/test/harness"
)

// wide gives more bytes than all buffers between a server and a client that takes nothing hold.
const (
	wideRows = 400_000
	wide     = "SELECT a.id, b.id AS other, repeat('x', 100) AS filler FROM orders a, orders b WHERE b.id <= 80"
)

// reading is an answer that a client has begun to take: rest takes what is left and says how many rows there were in all, and leave
// closes the connection without a word.
type reading struct {
	rest  func() (rows int, err error)
	leave func()
}

// begun starts wide at every protocol, and takes the first rows.
func begun(t *testing.T, d *harness.Doors, user string) map[string]reading {
	t.Helper()
	token := tokenOf(user)
	all := map[string]reading{}

	web := func(method, path, body string) reading {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, method, d.Base+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		tr := &http.Transport{DisableCompression: true}
		res, err := (&http.Client{Transport: tr}).Do(req) //nolint:bodyclose // The reading closes it.
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, res.StatusCode)
		in := bufio.NewReader(res.Body)
		_, err = in.ReadString('\n')
		require.NoError(t, err)
		return reading{func() (int, error) {
			defer res.Body.Close()
			rows := 1
			for {
				line, err := in.ReadString('\n')
				switch {
				case strings.HasPrefix(line, `{"error"`):
					return rows, errors.New(line)
				case err == io.EOF:
					return rows, nil
				case err != nil:
					return rows, err
				}
				rows++
			}
		}, func() { cancel(); tr.CloseIdleConnections() }}
	}
	sql, err := json.Marshal(map[string]string{"sql": wide, "format": "ndjson"})
	require.NoError(t, err)
	all["http"] = web(http.MethodPost, "/v0/sql", string(sql))
	d.Publish(t, wide)
	all["endpoint"] = web(http.MethodGet, "/v0/endpoints/"+harness.EndpointName(wide)+".ndjson", "")

	postgres := func(start func(c *pgconn.PgConn) *pgconn.ResultReader) reading {
		c := d.PG(t, token).PgConn()
		r := start(c)
		require.True(t, r.NextRow())
		return reading{func() (int, error) {
			rows := 1
			for r.NextRow() {
				rows++
			}
			_, err := r.Close()
			return rows, err
		}, func() { _ = c.Conn().Close() }}
	}
	all["pgwire extended"] = postgres(func(c *pgconn.PgConn) *pgconn.ResultReader {
		return c.ExecParams(t.Context(), wide, nil, nil, nil, []int16{1})
	})
	all["pgwire simple"] = postgres(func(c *pgconn.PgConn) *pgconn.ResultReader {
		m := c.Exec(t.Context(), wide)
		require.True(t, m.NextResult())
		return m.ResultReader()
	})

	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	client := d.FlightClient(t, token).Client
	stream, err := client.DoGet(ctx, &flight.Ticket{Ticket: []byte(wide)})
	require.NoError(t, err)
	r, err := flight.NewRecordReader(stream)
	require.NoError(t, err)
	require.True(t, r.Next(), "%v", r.Err())
	all["flight"] = reading{func() (int, error) {
		rows := int(r.RecordBatch().NumRows())
		for r.Next() {
			rows += int(r.RecordBatch().NumRows())
		}
		return rows, r.Err()
	}, func() { _ = client.Close() }}
	return all
}

// SIGTERM: what runs is sent to its end, by every protocol; what comes is refused in a way that clients try again; the process ends well.
func TestDoorsDrain(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		_, d := doors(t, url)
		idle := d.PG(t, tokenOf("all"))
		require.NoError(t, idle.Ping(t.Context()))
		flightIdle := d.FlightClient(t, tokenOf("all"))
		require.True(t, harness.FlightAnswer(errOf(flightIdle.Execute(t.Context(), "SELECT 1"))).OK())
		under := begun(t, d, "all")
		d.Signal(syscall.SIGTERM)
		begunAt := time.Now()
		harness.Eventually(t, 5*time.Second, "it stops", func() bool { return strings.Contains(d.Stderr(), `"stopping"`) })

		// The idle session is told, a new one is not taken, and neither are calls of Flight and HTTP.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var e *pgconn.PgError
		if err := idle.Ping(ctx); errors.As(err, &e) {
			require.Equal(t, "57P01", e.Code)
		} else {
			require.Error(t, err)
		}
		require.Error(t, dialPG(ctx, d))
		_, err := flightIdle.Execute(ctx, "SELECT 1")
		require.Contains(t, []string{"unavailable", "grpc Unavailable"}, harness.FlightAnswer(err).Code, "%v", err)
		res, err := http.Get(d.Base + "/readyz")
		if err == nil {
			require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
			res.Body.Close()
		} else {
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		}

		var wg sync.WaitGroup
		for name, r := range under {
			wg.Go(func() {
				if rows, err := r.rest(); err != nil || rows != wideRows {
					t.Errorf("%s: %d rows of %d, %v", name, rows, wideRows, err)
				}
			})
		}
		wg.Wait()
		end, ok := d.Wait(harness.StopTimeout - time.Since(begunAt))
		require.True(t, ok)
		require.Equal(t, 0, end.Code, harness.Tail(end.Stderr, 20))
		require.Empty(t, end.Stdout)
		d.Gone()
	})
}

// A second signal ends the process at once, whoever is still reading.
func TestDoorsSecondSignal(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		_, d := doors(t, url)
		under := begun(t, d, "all")
		d.Signal(syscall.SIGTERM)
		harness.Eventually(t, 5*time.Second, "it stops", func() bool { return strings.Contains(d.Stderr(), `"stopping"`) })
		require.False(t, d.Ended())
		d.Signal(syscall.SIGTERM)
		end, ok := d.Wait(2 * time.Second)
		require.True(t, ok)
		require.Equal(t, 130, end.Code)
		for name, r := range under {
			if rows, err := r.rest(); name != "http" && name != "endpoint" && err == nil || rows == wideRows {
				t.Errorf("%s: %d rows look like a whole answer", name, rows)
			}
		}
		d.Gone()
	})
}

func errOf[T any](_ T, err error) error { return err }

func dialPG(ctx context.Context, d *harness.Doors) error {
	c, err := pgconn.Connect(ctx, "postgres://all:"+tokenOf("all")+"@"+d.PGWire+"/pintail?sslmode=disable")
	if err == nil {
		_ = c.Close(ctx)
	}
	return err
}

// Clients that vanish in the midst of an answer, at every door and again and again, leave nothing: their slots, memory and
// goroutines are given back.
func TestVanishedClientsGiveBack(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		_, d := doors(t, url)
		root := d.By(t, tokenOf("root"))
		nobody := func() bool { return len(queries(root)) == 0 }
		round := func() {
			under := begun(t, d, "all")
			require.Len(t, queries(root), len(under))
			for _, r := range under {
				r.leave()
			}
			harness.Eventually(t, 20*time.Second, "their statements have ended", nobody)
		}
		round() // what is made once is there then
		gauges := func() (goroutines, resident, fds int) {
			return gauge(t, root, "go_goroutines"), gauge(t, root, "process_resident_memory_bytes"), gauge(t, root, "process_open_fds")
		}
		before, residentBefore, fdsBefore := gauges()
		for range 12 { // more of them than there are slots
			round()
		}
		harness.Eventually(t, 30*time.Second, "goroutines and connections are given back", func() bool {
			now, _, fds := gauges()
			return now <= before+10 && fds <= fdsBefore+10
		})
		_, resident, _ := gauges()
		require.Less(t, resident-residentBefore, 256<<20, "memory grew from %d MiB by what is not given back", residentBefore>>20)
		for _, door := range d.Read() {
			require.Equal(t, "5000", door.Ask(t, tokenOf("all"), "SELECT count(*) FROM orders").Rows[0][0], door.Name)
		}
	})
}

func gauge(t testing.TB, s *harness.Server, name string) int {
	t.Helper()
	status, body := s.Do(http.MethodGet, "/metrics", nil)
	require.Equal(t, 200, status)
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(body)
	require.NotNil(t, m, "no metric %s", name)
	f, err := strconv.ParseFloat(string(m[1]), 64)
	require.NoError(t, err)
	return int(f)
}

// A thousand requests to cancel, with keys that are nobody's, cancel nothing; one with the right key cancels one statement.
func TestCancelStorm(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		_, d := doors(t, url)
		root := d.By(t, tokenOf("root"))
		mine, others := d.PG(t, tokenOf("all")).PgConn(), d.PG(t, tokenOf("root")).PgConn()
		run := func(c *pgconn.PgConn) chan error {
			ended := make(chan error, 1)
			go func() { _, err := c.Exec(t.Context(), forever).ReadAll(); ended <- err }()
			return ended
		}
		endMine, endOthers := run(mine), run(others)
		harness.Eventually(t, 20*time.Second, "both run", func() bool { return len(queries(root)) == 2 })
		cancelRequest := func(pid uint32, secret []byte) {
			c, err := net.Dial("tcp", d.PGWire)
			require.NoError(t, err)
			defer c.Close()
			b := binary.BigEndian.AppendUint32(nil, uint32(12+len(secret)))
			b = binary.BigEndian.AppendUint32(b, 80877102)
			b = binary.BigEndian.AppendUint32(b, pid)
			_, err = c.Write(append(b, secret...))
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
			_, err = io.Copy(io.Discard, c)
			require.NoError(t, err, "the server closes the connection")
		}
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := range 125 {
					key := append([]byte{}, mine.SecretKey()...)
					switch i % 5 {
					case 0:
						key[i%len(key)] ^= byte(1 + worker)
					case 1:
						key = key[:len(key)-1]
					case 2:
						key = nil
					case 3:
						key = others.SecretKey()
					case 4:
						key = append(key, 0)
					}
					cancelRequest(mine.PID(), key)
					cancelRequest(uint32(i), mine.SecretKey())
				}
			})
		}
		wg.Wait()
		require.Len(t, queries(root), 2)
		// Others are served meanwhile, and afterwards.
		require.Equal(t, "5000", d.Simple(t, tokenOf("all"), "SELECT count(*) FROM orders").Rows[0][0])
		cancelRequest(mine.PID(), mine.SecretKey())
		var e *pgconn.PgError
		require.ErrorAs(t, <-endMine, &e)
		require.Equal(t, "57014", e.Code)
		require.Len(t, queries(root), 1)
		// The session goes on; a request that comes too late does nothing.
		for range 100 {
			cancelRequest(mine.PID(), mine.SecretKey())
		}
		r := mine.ExecParams(t.Context(), "SELECT count(*) FROM orders", nil, nil, nil, nil).Read()
		require.NoError(t, r.Err)
		require.Equal(t, "5000", string(r.Rows[0][0]))
		cancelRequest(others.PID(), others.SecretKey())
		require.ErrorAs(t, <-endOthers, &e)
		require.Equal(t, "57014", e.Code)
		require.NotContains(t, d.Stderr(), fmt.Sprintf("%x", mine.SecretKey()))
	})
}

// Connections on which nothing, half a greeting or nonsense comes do not keep others out, and are closed.
func TestHalfOpenConnections(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		_, d := doors(t, url)
		root := d.By(t, tokenOf("root"))
		fds := gauge(t, root, "process_open_fds")
		web := strings.TrimPrefix(d.Base, "http://")
		begins := map[string][]string{
			d.PGWire: {"", "\x00", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "\x16\x03\x01\x02\x00\x01\x00", "\x00\x00\x27\x10\x00\x03\x00\x00user", "\xff\xff\xff\xff\xff\xff\xff\xff", "\x00\x00\x00\x09\x00\x03\x00\x00\x00", "GET / HTTP/1.1\r\n\r\n", "\x00\x00\x00\x00\x00\x03\x00\x00"},
			d.Flight: {"", "PRI * HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff", "GET / HTTP/1.1\r\n\r\n"},
			web:      {"", "G", "GET /healthz HTTP/1.1\r\nHost: x", "\x16\x03\x01\x02\x00\x01\x00", "POST /v0/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nContent-Type: application/json\r\n\r\n{", "\xff\xff\xff\xff"},
		}
		type opened struct {
			net.Conn
			text string
		}
		var open []opened
		for range 10 {
			for at, texts := range begins {
				for _, text := range texts {
					c, err := net.Dial("tcp", at)
					require.NoError(t, err)
					open = append(open, opened{c, text})
					_, err = c.Write([]byte(text))
					require.NoError(t, err)
				}
			}
		}
		for _, door := range d.Read() {
			begun := time.Now()
			require.Equal(t, "5000", door.Ask(t, tokenOf("all"), "SELECT count(*) FROM orders").Rows[0][0], door.Name)
			require.Less(t, time.Since(begun), 10*time.Second, door.Name)
		}
		// Each is closed by the server in the time that it gives for a greeting.
		doors := map[string]string{d.PGWire: "pgwire", d.Flight: "flight", web: "http"}
		var wg sync.WaitGroup
		for _, c := range open {
			wg.Go(func() {
				defer c.Close()
				require.NoError(t, c.SetReadDeadline(time.Now().Add(25*time.Second)))
				if _, err := io.Copy(io.Discard, c); isTimeout(err) {
					t.Errorf("%s: %q is still open", doors[c.RemoteAddr().String()], c.text)
				}
			})
		}
		wg.Wait()
		harness.Eventually(t, 20*time.Second, "their descriptors are given back", func() bool { return gauge(t, root, "process_open_fds") <= fds+10 })
		require.False(t, d.Ended())
	})
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// Requests of HTTP whose end two readers may see in two places: none carries a second one in.
func TestSmuggledRequests(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		_, d := doors(t, url)
		web := strings.TrimPrefix(d.Base, "http://")
		inner := "POST /api/store/sync/orders?full=true HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tokenOf("root") + "\r\nContent-Length: 0\r\n\r\n"
		before := len(d.Runs("orders"))
		head := "POST /v0/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer " + tokenOf("none") + "\r\n"
		for name, request := range map[string]string{
			"length and chunks":       head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
			"two lengths":             head + "Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + inner,
			"a list of lengths":       head + "Content-Length: 0, 0\r\n\r\n" + inner,
			"a length with a sign":    head + "Content-Length: +0\r\n\r\n" + inner,
			"a negative length":       head + "Content-Length: -1\r\n\r\n" + inner,
			"a length beyond all":     head + "Content-Length: 99999999999999999999\r\n\r\n" + inner,
			"another coding":          head + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + inner,
			"chunked twice":           head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
			"a blank before a colon":  head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + inner,
			"a folded header":         head + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
			"a chunk that is no size": head + "Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n" + inner,
			"a chunk beyond all":      head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n" + inner,
			"two hosts":               "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
			"a NUL in a header":       "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
			"a bare CR":               "GET /healthz HTTP/1.1\r\nHost: localhost\rAuthorization: Bearer " + tokenOf("root") + "\r\n\r\n",
			"an upgrade":              "GET /v0/queries HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
			"headers without end":     "GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 2000) + "\r\n",
			"a path without end":      "GET /" + strings.Repeat("a", 4<<20) + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"a path with dots":        "GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"an address as path":      "GET http://evil.example/v0/queries HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"a tunnel":                "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
		} {
			c, err := net.Dial("tcp", web)
			require.NoError(t, err)
			require.NoError(t, c.SetDeadline(time.Now().Add(15*time.Second)))
			_, _ = c.Write([]byte(request)) // it may be refused before its end
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				require.False(t, isTimeout(err), "%s: no answer", name)
				c.Close()
				continue // closed without a word
			}
			require.GreaterOrEqual(t, res.StatusCode, 400, name)
			require.True(t, res.StatusCode < 500 || res.StatusCode == http.StatusNotImplemented, "%s: %d", name, res.StatusCode)
			res.Body.Close()
			c.Close()
		}
		require.Len(t, d.Runs("orders"), before, "a request within a request was run")
		require.Equal(t, "5000", d.HTTP(t, tokenOf("all"), "SELECT count(*) FROM orders").Rows[0][0])
	})
}

// While a table is rebuilt again and again, and gets another column, every door gives all of one generation.
func TestDoorsDuringSwaps(t *testing.T) {
	newest(t, func(t *testing.T, url string) {
		_, d := doors(t, url)
		harness.PG(t, url, "ALTER TABLE orders ADD COLUMN gen int NOT NULL DEFAULT 0")
		d.SyncFull("orders")
		const sql = "SELECT min(gen), max(gen), count(*) FROM orders"
		d.Publish(t, sql)
		ctx, stop := context.WithCancel(t.Context())
		var asked atomic.Int64
		var wg sync.WaitGroup
		check := func(name string, row []string) {
			asked.Add(1)
			if len(row) != 3 || row[0] != row[1] || row[2] != "5000" {
				t.Errorf("%s: %v is no generation", name, row)
			}
		}
		for _, door := range d.Read() {
			if door.Name == "command" {
				continue
			}
			wg.Go(func() {
				for ctx.Err() == nil {
					a := door.Ask(t, tokenOf("all"), sql)
					if !a.OK() || len(a.Rows) != 1 {
						t.Errorf("%s: %s", door.Name, a)
						return
					}
					check(door.Name, a.Rows[0])
				}
			})
		}
		// One that stays prepared, and one that reads whole rows: with another column it has to be prepared again.
		wg.Go(func() {
			c := d.PG(t, tokenOf("all")).PgConn()
			for _, name := range []string{"narrow", "whole"} {
				text := map[string]string{"narrow": sql, "whole": "SELECT * FROM orders WHERE id = 1"}[name]
				if _, err := c.Prepare(t.Context(), name, text, nil); err != nil {
					t.Error(err)
				}
			}
			for ctx.Err() == nil {
				r := c.ExecPrepared(t.Context(), "narrow", nil, nil, nil).Read()
				if r.Err != nil {
					t.Errorf("prepared: %v", r.Err)
					return
				}
				check("prepared", []string{string(r.Rows[0][0][0:]), string(r.Rows[0][1]), string(r.Rows[0][2])})
				var e *pgconn.PgError
				if r := c.ExecPrepared(t.Context(), "whole", nil, nil, nil).Read(); r.Err != nil && (!errors.As(r.Err, &e) || e.Code != "0A000") {
					t.Errorf("prepared, of whole rows: %v", r.Err)
					return
				}
			}
		})
		for gen := 1; gen <= 6; gen++ {
			harness.PG(t, url, fmt.Sprintf("UPDATE orders SET gen = %d", gen))
			if gen == 3 {
				harness.PG(t, url, "ALTER TABLE orders ADD COLUMN later text DEFAULT 'x'")
			}
			d.SyncFull("orders")
		}
		stop()
		wg.Wait()
		require.Greater(t, asked.Load(), int64(50))
		harness.Compare(t, url, "SELECT * FROM orders", d, "orders", "id")
	})
}
