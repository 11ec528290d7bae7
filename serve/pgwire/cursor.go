package pgwire

import (
	"strconv"
	"strings"
)

const declareTag = "DECLARE CURSOR"

func declareCommand(_ *conn, s *scanner) (*command, error) {
	name, ok := s.name()
	if !ok {
		return nil, s.unexpected()
	}
	for more := true; more; {
		switch {
		case s.accept("no", "scroll"), s.accept("insensitive"), s.accept("asensitive"):
		case s.accept("binary"):
			return nil, newError("0A000", "binary cursors are not supported", "ask for the binary format by the extended protocol")
		case s.accept("scroll"):
			return nil, newError("0A000", "cursors go forward only", "leave SCROLL out")
		default:
			more = false
		}
	}
	if !s.accept("cursor") {
		return nil, s.unexpected()
	}
	hold := s.accept("with", "hold")
	if !hold {
		s.accept("without", "hold")
	}
	if !s.accept("for") {
		return nil, s.unexpected()
	}
	return &command{tag: declareTag, query: s.rest(), run: func(c *conn, declaring *portal) (string, error) {
		if !hold && !c.tx.open {
			return "", newError("25P01", "DECLARE CURSOR can only be used in transaction blocks", "send BEGIN first, or declare it WITH HOLD")
		}
		if declaring.st.inner == nil { // it has run before
			if err := c.prepareCursor(declaring.st, declaring.st.params); err != nil {
				return "", err
			}
		}
		st := declaring.st.inner
		declaring.st.inner = nil
		st.dropped = true // with its cursor
		p := c.newPortal(name, st, declaring.values)
		p.cursor, p.hold = true, hold
		if err := c.put(p); err != nil {
			return "", err
		}
		return declareTag, nil
	}}, nil
}

// prepareCursor prepares what a DECLARE reads, so that its parameters are known when they are bound.
func (c *conn) prepareCursor(st *statement, declared []uint32) error {
	c.values = st.cmd.tag != declareTag // an INSERT takes the rows
	inner, err := c.prepare(st.cmd.query, declared)
	c.values = false
	if err == nil && !inner.selects() {
		err = newError("42601", "a cursor needs a SELECT", "")
	}
	if err != nil {
		if inner != nil {
			inner.release()
		}
		return err
	}
	st.inner, st.params = inner, inner.params
	return nil
}

// selects says whether st is a SELECT, which cursors and PREPARE take.
func (st *statement) selects() bool { return st.cmd == nil && !st.empty && st.explain == nil }

// cursorNamed finds what FETCH and CLOSE name.
func (c *conn) cursorNamed(name string) (*portal, error) {
	if p := c.portals[name]; p != nil && name != "" {
		return p, nil
	}
	return nil, newError("34000", `cursor "`+clip(name)+`" does not exist`, "")
}

// count of a FETCH; 0 is ALL.
func fetchCount(s *scanner) (n int64, err error) {
	number := func() (int64, error) {
		if s.acceptSymbol("-") {
			return 0, errBackward
		}
		if s.tok.kind != number {
			return 1, nil
		}
		n, err := strconv.ParseInt(s.next().val, 10, 64)
		if err != nil {
			return 0, newError("42601", "the count of rows is no number", "")
		}
		if n == 0 {
			return 0, newError("0A000", "the row at which a cursor stands cannot be fetched again", "")
		}
		return n, nil
	}
	switch {
	case s.accept("next"):
		return 1, nil
	case s.accept("all"), s.accept("forward", "all"):
		return 0, nil
	case s.accept("forward"):
		return number()
	case s.tok.is("prior", "first", "last", "absolute", "relative", "backward"):
		return 0, errBackward
	}
	return number()
}

var errBackward = newError("55000", "cursor can only scan forward", "declare it again to read from the beginning")

func fetchCommand(_ *conn, s *scanner) (*command, error) {
	tag := strings.ToUpper(newScanner(s.sql).tok.val)
	n, err := fetchCount(s)
	if err != nil {
		return nil, err
	}
	if !s.accept("from") {
		s.accept("in")
	}
	name, ok := s.name()
	if !ok || !s.done() {
		return nil, s.unexpected()
	}
	if tag == "MOVE" {
		return &command{tag: tag, run: func(c *conn, p *portal) (string, error) {
			cur, err := c.cursorNamed(name)
			if err != nil {
				return "", err
			}
			p.source = cur
			c.retarget(p)
			if err := c.start(cur); err != nil {
				return "", err
			}
			moved, _, err := c.rows(cur, n, nil)
			return countTag("MOVE", moved), err
		}}, nil
	}
	return &command{tag: tag,
		columns: func(c *conn) ([]column, error) {
			cur, err := c.cursorNamed(name)
			if err != nil {
				return nil, err
			}
			return cur.columns, nil
		},
		run: func(c *conn, p *portal) (string, error) {
			cur, err := c.cursorNamed(name)
			if err != nil {
				return "", err
			}
			p.source, p.most = cur, n
			c.retarget(p)
			return "", c.start(cur)
		}}, nil
}

func closeCommand(_ *conn, s *scanner) (*command, error) {
	if s.accept("all") {
		return plain("CLOSE CURSOR ALL", s, func(c *conn) error {
			c.endPortals(false)
			return nil
		})
	}
	name, ok := s.name()
	if !ok {
		return nil, s.unexpected()
	}
	return plain("CLOSE CURSOR", s, func(c *conn) error {
		p, err := c.cursorNamed(name)
		if err != nil {
			return err
		}
		p.close()
		delete(c.portals, name)
		return nil
	})
}
