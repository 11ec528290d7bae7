package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
)

// Bounds of cursors. A page is in memory as a whole, and the last one stays there so that it can be asked for again.
const (
	cursorsMax     = 64
	cursorsPerUser = 8
	cursorIdle     = time.Minute
	pageRowsMax    = 100_000
	pageBytes      = 2 << 20
)

// cursors are the statements that wait for their next page to be asked for.
type cursors struct {
	idle time.Duration // that one waits at most

	mu     sync.Mutex
	all    map[string]*cursor
	closed bool
}

// cursor is a statement of which pages are taken. Everything below mu belongs to who holds it.
type cursor struct {
	id   string
	who  access.Principal
	list *cursors

	mu     sync.Mutex
	res    *query.Result // nil: it has ended, and only the last page is there still
	out    outgoing
	cancel context.CancelFunc
	rows   int64 // of a page
	synced map[string]time.Time
	timer  *time.Timer
	last   page
}

// page is an answer.
type page struct {
	number      int
	body        []byte
	contentType string
	position    string
	truncated   bool
	next        string // the cursor of the one after; "" is none
}

func noCursor() error {
	return fault.New(fault.NotFound, "run the statement again: a cursor ends a minute after its last page, when the server stops, and when its statement has run as long as it may", "there is no such cursor, or not any more")
}

// room says whether who may open one more. It forgets one that has ended if that makes it possible.
func (l *cursors) room(who access.Principal) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fault.New(fault.Unavailable, "try again when it is back", "the server is stopping")
	}
	mine := 0
	for _, c := range l.all {
		if c.who.User == who.User {
			mine++
		}
	}
	if mine < cursorsPerUser && len(l.all) < cursorsMax {
		return nil
	}
	for _, c := range l.all {
		if mine >= cursorsPerUser && c.who.User != who.User || !c.mu.TryLock() { // the other order of the locks would wait
			continue
		}
		ended := c.res == nil
		if ended {
			c.forget()
		}
		c.mu.Unlock()
		if ended {
			return nil
		}
	}
	return fault.New(fault.Limit, "read one to its end, or DELETE /v0/cursors/{cursor}", "there are as many cursors as may be open: %d of yours, %d of all", mine, len(l.all))
}

func (l *cursors) add(c *cursor) error {
	if err := l.room(c.who); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[c.id] = c
	return nil
}

// find gives a cursor of who's, and the number of the page that token means.
func (l *cursors) find(who access.Principal, token string) (c *cursor, number int, err error) {
	id, digits, _ := strings.Cut(token, ".")
	number, err = strconv.Atoi(digits)
	l.mu.Lock()
	defer l.mu.Unlock()
	c = l.all[id]
	if err != nil || c == nil || c.who.User != who.User || c.who.Role != who.Role {
		return nil, 0, noCursor()
	}
	return c, number, nil
}

// close ends all, and no new one is opened.
func (l *cursors) close() {
	l.mu.Lock()
	l.closed = true
	var all []*cursor
	for _, c := range l.all {
		all = append(all, c)
	}
	l.mu.Unlock()
	for _, c := range all {
		c.cancel()
		c.mu.Lock()
		c.drop()
		c.mu.Unlock()
	}
}

// openCursor starts a statement and gives its first page. The statement goes on when ctx ends, unless that happens before there is one.
func (s *Server) openCursor(ctx context.Context, req query.Request, format string, rows int64) (page, error) {
	who := infoOf(ctx).who
	if err := s.cursors.room(who); err != nil {
		return page{}, err
	}
	c := &cursor{id: rand.Text(), who: who, list: &s.cursors, rows: rows, synced: s.opts.SyncedAt(), last: page{number: -1}}
	var own context.Context
	own, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.mu.Lock()
	defer c.mu.Unlock()
	defer context.AfterFunc(ctx, c.cancel)()
	res, err := s.opts.Queries.Run(own, who, req)
	if err != nil {
		c.cancel()
		return page{}, err
	}
	c.res, c.out = res, newOutgoing(res, format, int(rows))
	if err = c.out.first(); err == nil {
		err = c.read()
	}
	if err == nil && c.res != nil {
		err = s.cursors.add(c)
	}
	if err != nil {
		c.drop()
		return page{}, err
	}
	if c.res != nil {
		c.timer = time.AfterFunc(s.cursors.idle, c.expire)
	}
	return c.last, nil
}

// nextPage gives the page that token means: the next one, or the one before it again.
func (s *Server) nextPage(ctx context.Context, token string) (page, error) {
	c, number, err := s.cursors.find(infoOf(ctx).who, token)
	if err != nil {
		return page{}, err
	}
	if !c.mu.TryLock() {
		return page{}, fault.New(fault.Running, "wait for it", "a page of this cursor is being read")
	}
	defer c.mu.Unlock()
	switch {
	case c.timer == nil:
		return page{}, noCursor()
	case number == c.last.number:
	case number != c.last.number+1 || c.res == nil:
		return page{}, noCursor()
	default:
		c.timer.Stop()
		stop := context.AfterFunc(ctx, c.cancel)
		err := c.read()
		stop()
		if err != nil {
			c.drop()
			return page{}, err
		}
	}
	c.timer.Reset(s.cursors.idle)
	return c.last, nil
}

// read makes the next page the last one. It looks whether there are rows after it, so that there is no cursor where there are none.
func (c *cursor) read() error {
	if err := c.res.Ended(); err != nil {
		return err
	}
	begin := time.Now()
	var body memorySink
	err := c.out.send(&body, c.rows, pageBytes)
	if err != nil {
		return err
	}
	more, err := c.out.more()
	if err != nil {
		return err
	}
	p := page{number: c.last.number + 1, contentType: c.out.contentType(), position: positionHeader(c.res.Positions()), truncated: c.res.Truncated()}
	if more {
		p.next = c.id + "." + strconv.Itoa(p.number+1)
	}
	if err := c.out.end(&body, summary{rows: c.out.rows(), truncated: p.truncated, elapsed: time.Since(begin), position: position(c.res, c.synced), cursor: p.next}); err != nil {
		return err
	}
	p.body = body.Bytes()
	c.last = p
	if more {
		c.res.Pause()
	} else {
		c.end()
	}
	return nil
}

// end closes the statement.
func (c *cursor) end() {
	if c.res != nil {
		c.out.close()
		c.res.Close()
		c.cancel()
	}
	c.res, c.out = nil, nil
}

// drop ends the cursor.
func (c *cursor) drop() {
	c.end()
	c.list.mu.Lock()
	c.forget()
	c.list.mu.Unlock()
}

// forget takes the cursor off the list, whose lock the caller holds too.
func (c *cursor) forget() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	delete(c.list.all, c.id)
}

func (c *cursor) expire() {
	// Whoever reads a page sets the timer again.
	if c.mu.TryLock() {
		c.drop()
		c.mu.Unlock()
	}
}

// memorySink gathers an answer.
type memorySink struct{ bytes.Buffer }

func (*memorySink) Flush() error { return nil }

// sendPage answers with a page.
func (s *Server) sendPage(w http.ResponseWriter, p page, coding string) {
	h := w.Header()
	if p.position != "" {
		h.Set(positionName, p.position)
	}
	if p.next != "" {
		h.Set(cursorName, p.next)
	}
	h.Set(truncatedName, strconv.FormatBool(p.truncated))
	body := newBodyWriter(w, s.writeTimeout, p.contentType, coding)
	if len(p.body) == 0 {
		body.start()
	}
	_, _ = body.Write(p.body) // body keeps the error
	body.close(false)
	if body.err != nil {
		panic(http.ErrAbortHandler)
	}
}

type closeCursorInput struct {
	Cursor string `path:"cursor"`
}

func (s *Server) closeCursor(ctx context.Context, in *closeCursorInput) (*doneOutput, error) {
	c, _, err := s.cursors.find(infoOf(ctx).who, in.Cursor)
	if err != nil {
		return nil, err
	}
	c.cancel() // a page under way ends
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
	return done("The cursor is closed"), nil
}
