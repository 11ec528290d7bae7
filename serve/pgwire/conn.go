package pgwire

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/query"
)

// conn is one connection. Its goroutine uses it; what others touch is behind mu.
type conn struct {
	s        *Server
	nc       net.Conn // with TLS, once it is negotiated
	in       input
	backend  *pgproto3.Backend
	out      []byte // not yet sent
	sent     time.Time
	ctx      context.Context
	remote   netip.Addr
	secure   bool   // encrypted, or from this machine
	binding  []byte // of its channel, for SCRAM-SHA-256-PLUS; nil: none
	loggedIn bool
	admitted bool // counted as a session; Server.mu

	user       string
	who        access.Principal
	pid        uint32
	session    *query.Session
	settings   *settings
	tx         transaction
	statements map[string]*statement
	textBytes  int // of the statements' texts
	clock      int64
	portals    map[string]*portal
	values     bool // what is prepared now is not for the client: its columns keep DuckDB's types
	skipping   bool // messages, until the next Sync

	mu         sync.Mutex
	cancel     context.CancelCauseFunc // of what runs; nil between statements
	turn       int                     // counts what ran
	woken      bool                    // the server stops: no more reads
	terminated bool                    // somebody has ended the connection: no more reads
	readBy     time.Time               // of the startup
	writeBy    time.Time               // at the end
	copying    context.Context         // of the COPY whose rows are awaited; nil: of none
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{s: s, nc: nc, statements: map[string]*statement{}, portals: map[string]*portal{}, readBy: time.Now().Add(startupTimeout), sent: time.Now()}
	c.in.c = c
	if ap, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.remote = ap.Addr().Unmap()
	}
	c.secure = c.remote.IsLoopback()
	return c
}

var errGone = errors.New("the client is gone")

// serve is the whole life of the connection.
func (c *conn) serve(ctx context.Context) {
	c.ctx = access.WithRemote(ctx, c.nc.RemoteAddr().String())
	defer func() {
		if problem := recover(); problem != nil {
			c.s.log.LogAttrs(ctx, slog.LevelError, "pgwire connection panicked", slog.Any("panic", problem), slog.String("stack", string(debug.Stack())))
			c.fatal(&sqlError{state: "XX000", message: "internal error; the server's log has it"})
		}
		for _, p := range c.portals {
			p.close()
		}
		for _, st := range c.statements {
			st.release()
		}
		if c.session != nil {
			c.session.Leave()
		}
		if c.pid != 0 {
			c.s.cancels.remove(c.pid)
		}
		c.nc.Close()
	}()
	if !c.startup() {
		return
	}
	since := time.Now()
	err := c.loop()
	if e := new(sqlError); errors.As(err, &e) {
		c.fatal(e)
	}
	c.s.log.LogAttrs(ctx, slog.LevelInfo, "pgwire disconnected", slog.String("user", c.who.User), slog.String("remote", c.remote.String()), slog.Duration("after", time.Since(since)))
}

// fatal tells the client why the connection ends; it may be gone already.
func (c *conn) fatal(e *sqlError) {
	f := *e
	f.severity = "FATAL"
	c.send(f.response())
	_ = c.flush()
	c.s.metrics.refused.WithLabelValues(f.state).Inc()
}

// send appends a message to what flush sends.
func (c *conn) send(m pgproto3.BackendMessage) {
	if out, err := m.Encode(c.out); err == nil { // lengths are bounded before
		c.out = out
	}
}

// flush sends. What is kept of the memory is enough for rows.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.mu.Lock()
	by := time.Now().Add(writeTimeout)
	if !c.writeBy.IsZero() {
		by = c.writeBy
	}
	err := c.nc.SetWriteDeadline(by)
	c.mu.Unlock()
	if err == nil {
		_, err = c.nc.Write(c.out)
	}
	if c.out = c.out[:0]; cap(c.out) > 1<<20 {
		c.out = nil
	}
	c.sent = time.Now()
	if err != nil {
		return errGone
	}
	return nil
}

// wake ends a read that waits for the next message.
func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.woken = true
	_ = c.nc.SetReadDeadline(past) // fails only when it is closed
}

// hurry gives what is still being sent a last moment.
func (c *conn) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBy = time.Now().Add(time.Second)
	_ = c.nc.SetWriteDeadline(c.writeBy)
}

// use changes the connection to nc, which is the same one within TLS.
func (c *conn) use(nc net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc = nc
}

var past = time.Unix(1, 0)

// expect sets until when a read waits: for the startup's end, for the moment when an idle cursor is closed, or for ever.
func (c *conn) expect() error {
	by := time.Time{}
	if !c.loggedIn {
		by = c.readBy
	} else if len(c.portals) > 0 {
		by = time.Now().Add(time.Minute)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.copying != nil { // a stop lets it end
		if c.copying.Err() != nil {
			return context.Cause(c.copying)
		}
		return c.nc.SetReadDeadline(time.Now().Add(copyIdle))
	}
	if c.woken {
		return errStopping()
	}
	if c.terminated {
		return errTerminated
	}
	return c.nc.SetReadDeadline(by)
}

// copyUntil has reads end with ctx, or when nothing comes for long, until it is undone.
func (c *conn) copyUntil(ctx context.Context) (undo func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.copying = ctx
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.copying == ctx {
			_ = c.nc.SetReadDeadline(past)
		}
	})
	return func() {
		stop()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.copying = nil
	}
}

// stalled is why a read of a COPY's rows has found none in time; nil when it is none.
func (c *conn) stalled() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.copying == nil:
		return nil
	case c.copying.Err() != nil:
		return context.Cause(c.copying)
	case c.woken:
		return nil // the deadline was the stop's
	}
	return newError("57014", "nothing came from the client for "+copyIdle.String(), "send the rows without such a pause")
}

// input is what the protocol is read from.
type input struct {
	c      *conn
	peeked []byte // comes first
	failed bool   // nothing comes any more
}

// Read implements io.Reader.
func (in *input) Read(p []byte) (int, error) {
	if len(in.peeked) > 0 {
		n := copy(p, in.peeked)
		in.peeked = in.peeked[n:]
		return n, nil
	}
	for {
		if err := in.c.expect(); err != nil {
			return 0, err
		}
		n, err := in.c.nc.Read(p)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !in.c.loggedIn {
			in.failed = err != nil
			return n, err
		}
		if err := in.c.stalled(); err != nil {
			return 0, err
		}
		in.c.closeIdle()
	}
}

// watchAfter is how long a statement runs before its client is watched: most have ended by then.
const watchAfter = 100 * time.Millisecond

// peekedMax is how much of what a client sends ahead is read while its statement runs, to see whether it is still there.
const peekedMax = 4 << 10

// watch cancels the turn when the client goes away while nothing is read from it nor sent to it.
func (c *conn) watch(turn int) (stop func()) {
	done := make(chan struct{})
	t := time.AfterFunc(watchAfter, func() {
		defer close(done)
		c.mu.Lock()
		err := error(errGone)
		if !c.woken {
			err = c.nc.SetReadDeadline(time.Time{})
		}
		c.mu.Unlock()
		buf := make([]byte, peekedMax)
		n := copy(buf, c.in.peeked)
		for err == nil && n < len(buf) {
			var more int
			more, err = c.nc.Read(buf[n:])
			n += more
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				c.cancelTurn(turn, errGone)
			}
		}
		c.in.peeked = buf[:n]
	})
	return func() {
		if t.Stop() {
			return
		}
		for {
			// The deadline may come before the function has set its own.
			_ = c.nc.SetReadDeadline(past)
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// running runs fn, during which a CancelRequest, statement_timeout and the client's going away cancel ctx.
func (c *conn) running(ctx context.Context, cancel context.CancelCauseFunc, fn func() error) error {
	c.mu.Lock()
	outer := c.cancel // a DECLARE runs while it prepares its statement
	c.cancel = cancel
	if outer == nil {
		c.turn++
	}
	turn := c.turn
	c.mu.Unlock()
	if outer == nil {
		if d := c.settings.statementTimeout(); d > 0 {
			t := time.AfterFunc(d, func() {
				c.cancelTurn(turn, &sqlError{state: "57014", message: "canceling statement due to statement timeout"})
			})
			defer t.Stop()
		}
		defer c.watch(turn)()
	}
	err := fn()
	c.mu.Lock()
	c.cancel = outer
	c.mu.Unlock()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		if e := new(sqlError); errors.As(cause, &e) || errors.Is(cause, errGone) {
			return cause
		}
	}
	return err
}

// retarget has what cancels p cancel its source too.
func (c *conn) retarget(p *portal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = func(cause error) {
		p.cancel(cause)
		p.source.cancel(cause)
	}
}

// cancelTurn cancels what runs if it is still what ran when the turn was counted.
func (c *conn) cancelTurn(turn int, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil && c.turn == turn {
		c.cancel(cause)
	}
}

// cancelRunning is what a CancelRequest does: it cancels what runs at this moment, if anything does.
func (c *conn) cancelRunning() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel(&sqlError{state: "57014", message: "canceling statement due to user request"})
	}
}

// terminate ends the connection, as an administrator's pg_terminate_backend does; what runs fails.
func (c *conn) terminate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.terminated = true
	if c.cancel != nil {
		c.cancel(errTerminated)
	}
	_ = c.nc.SetReadDeadline(past) // fails only when it is closed
}

var errTerminated = &sqlError{severity: "FATAL", state: "57P01", message: "terminating connection due to administrator command"}

// loop answers messages until the client leaves (nil), breaks the protocol or is to be told of the end (*sqlError).
func (c *conn) loop() error {
	for {
		m, err := c.backend.Receive()
		if err != nil {
			return c.receiveError(err)
		}
		if c.s.isStopping() {
			if _, sync := m.(*pgproto3.Sync); sync { // of a statement that was let end: its client is told so first
				if err := c.ready(); err != nil {
					return err
				}
			}
			return errStopping()
		}
		if c.skipping {
			switch m.(type) {
			case *pgproto3.Sync, *pgproto3.Terminate:
			default:
				continue
			}
		}
		end, err := c.handle(m)
		if errors.Is(err, errGone) {
			return nil
		}
		if err != nil {
			e := describe(err)
			if e.severity == "FATAL" {
				return e
			}
			c.fail(e)
			if _, simple := m.(*pgproto3.Query); simple {
				err = c.ready()
			} else {
				c.skipping = true
				err = c.flush()
			}
		}
		if err == nil && len(c.out) >= bytesFlush { // of a client that asks much and never for the answers
			err = c.flush()
		}
		if end || errors.Is(err, errGone) {
			return nil
		}
	}
}

// receiveError sorts why no message came: the client has gone (nil), or what it sent is none.
func (c *conn) receiveError(err error) error {
	var e *sqlError
	switch {
	case errors.As(err, &e):
		return e
	case c.in.failed || errors.Is(err, errGone):
		return nil
	case errors.Is(err, io.EOF):
		return protocolError("invalid message format")
	}
	return protocolError(err.Error())
}

// fail sends an error, which fails an open transaction.
func (c *conn) fail(e *sqlError) {
	c.send(e.response())
	c.tx.fail()
}

// notice sends a warning.
func (c *conn) notice(state, message string) {
	c.send(&pgproto3.NoticeResponse{Severity: "WARNING", SeverityUnlocalized: "WARNING", Code: state, Message: message})
}

// ready ends a cycle of the protocol: what belonged to a transaction that is no block ends with it.
func (c *conn) ready() error {
	if c.tx.status() == 'I' {
		c.endPortals(true)
	}
	c.settings.report(c)
	c.send(&pgproto3.ReadyForQuery{TxStatus: c.tx.status()})
	return c.flush()
}

func (c *conn) handle(m pgproto3.FrontendMessage) (end bool, err error) {
	switch m := m.(type) {
	case *pgproto3.Query:
		return false, c.simpleQuery(m.String)
	case *pgproto3.Parse:
		return false, c.parse(m)
	case *pgproto3.Bind:
		return false, c.bind(m)
	case *pgproto3.Describe:
		return false, c.describe(m)
	case *pgproto3.Execute:
		return false, c.execute(m)
	case *pgproto3.Close:
		return false, c.closeMessage(m)
	case *pgproto3.Flush:
		return false, c.flush()
	case *pgproto3.Sync:
		c.skipping = false
		return false, c.ready()
	case *pgproto3.Terminate:
		return true, nil
	case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail:
		return false, nil // left over from a COPY that was refused
	case *pgproto3.FunctionCall:
		c.fail(newError("0A000", "function calls by the protocol are not supported", "call it by SELECT"))
		return false, c.ready()
	}
	unexpected := protocolError("this message is not expected here")
	unexpected.severity = "FATAL"
	return false, unexpected
}
