package pgwire

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
)

// blockBytes is how much of a COPY one thread decodes at a time.
const blockBytes = 256 << 10

// eol is how lines end: what the first one has, all have.
type eol byte

const (
	eolUnknown eol = iota
	eolNL
	eolCRNL
	eolCR
)

// copyBlock is some whole rows of the input. Nothing changes them: they may be decoded more than once.
type copyBlock struct {
	data []byte
	line int64 // lines before it; of binary rows
	rows int64
	done atomic.Bool // all were decoded
}

// splitter cuts what comes into blocks of whole rows.
type splitter struct {
	plan   *copyPlan
	buf    []byte
	begin  int // of the last row, which is not whole yet
	rows   int64
	line   int64 // lines before buf
	lines  int64 // lines in buf[:begin]
	scan   lineScan
	header bool // the header, or the signature, is still to come
	ended  bool // the data say that they have ended
}

func (s *splitter) init(plan *copyPlan) {
	s.plan = plan
	s.header = plan.header || plan.form == "binary"
	s.scan.init(plan)
}

var errRowSize = newError("54000", "a row of the COPY is larger than 256 MB", "")

// add takes the next bytes, and gives a block when there is enough for one.
func (s *splitter) add(data []byte) (*copyBlock, error) {
	if s.ended {
		if s.plan.form == "binary" && len(data) > 0 {
			return nil, newError("22P04", "received copy data after EOF marker", "")
		}
		return nil, nil
	}
	if cap(s.buf) == 0 {
		s.buf = make([]byte, 0, blockBytes+blockBytes/4)
	}
	s.buf = append(s.buf, data...)
	if err := s.cut(false); err != nil {
		return nil, err
	}
	if len(s.buf)-s.begin > copyRowMax {
		return nil, errRowSize
	}
	if s.begin < blockBytes {
		return nil, nil
	}
	return s.take(), nil
}

// finish gives what is left.
func (s *splitter) finish() (*copyBlock, error) {
	if err := s.cut(true); err != nil {
		return nil, err
	}
	if s.plan.form == "binary" && !s.ended && s.begin < len(s.buf) {
		return nil, newError("22P04", "unexpected EOF in COPY data", "")
	}
	return s.take(), nil
}

// take hands the whole rows over, and keeps the rest.
func (s *splitter) take() *copyBlock {
	if s.rows == 0 {
		s.buf = append(s.buf[:0], s.buf[s.begin:]...)
		s.line, s.lines = s.line+s.lines, 0
		s.scan.moved(s.begin)
		s.begin = 0
		return nil
	}
	b := &copyBlock{data: s.buf[:s.begin:s.begin], line: s.line, rows: s.rows}
	rest := s.buf[s.begin:]
	s.buf = append(make([]byte, 0, max(blockBytes+blockBytes/4, len(rest)+blockBytes/4)), rest...)
	s.line, s.lines, s.rows = s.line+s.lines, 0, 0
	s.scan.moved(s.begin)
	s.begin = 0
	return b
}

// cut finds the ends of rows; last says that nothing follows.
func (s *splitter) cut(last bool) error {
	for !s.ended && s.begin < len(s.buf) {
		if s.plan.form == "binary" {
			if more, err := s.tuple(); !more || err != nil {
				return err
			}
			continue
		}
		end, ok := s.scan.next(s.buf, last)
		if !ok {
			if s.scan.quoted && last {
				return s.at(newRowError("22P04", "unterminated CSV quoted field"))
			}
			return nil
		}
		line := s.buf[s.begin:end]
		if s.plan.eol == eolUnknown { // no block is decoded yet
			s.plan.eol = s.scan.eol
		}
		if s.header {
			s.header = false
			s.line, s.lines = s.line+s.scan.lines, 0
			s.scan.lines = 0
			if err := s.plan.headerLine(line, s.line); err != nil {
				return err
			}
			s.buf = s.buf[end:]
			s.scan.moved(end)
			s.begin = 0
			continue
		}
		if isEnd(line) {
			s.ended = true
			return nil
		}
		s.lines += s.scan.lines
		s.scan.lines = 0
		s.begin = end
		s.rows++
	}
	return nil
}

func (s *splitter) at(e *sqlError) error {
	e.where = s.plan.context(s.line+s.lines+1, "", nil)
	return e
}

// isEnd says whether the line is the mark behind all rows that files of COPY may have.
func isEnd(line []byte) bool {
	return len(line) >= 2 && line[0] == '\\' && line[1] == '.' && len(bytes.TrimRight(line, "\r\n")) == 2
}

// lineScan finds the ends of lines. It goes on where it was when there was no end yet.
type lineScan struct {
	csv           bool
	quote, escape byte
	eol           eol
	at            int
	quoted        bool // within quotes
	escaped       bool // behind an escape within quotes
	lines         int64
}

func (l *lineScan) init(p *copyPlan) {
	l.csv, l.quote, l.escape = p.form == "csv", p.quote, p.escape
	l.eol = p.eol
}

// moved tells that n bytes before the present line are gone.
func (l *lineScan) moved(n int) { l.at = max(l.at-n, 0) }

// next is where the line ends; lines counts those that the quotes hold, and itself.
func (l *lineScan) next(b []byte, last bool) (end int, ok bool) {
	if !l.csv && (l.eol == eolNL || l.eol == eolCRNL) {
		return l.text(b, last)
	}
	for ; l.at < len(b); l.at++ {
		c := b[l.at]
		if l.csv {
			if l.quoted && c == l.escape && l.escape != l.quote {
				l.escaped = !l.escaped
				continue
			}
			if c == l.quote && !l.escaped {
				l.quoted = !l.quoted
			}
			l.escaped = false
			if l.quoted {
				if c == '\n' && l.eol != eolCR || c == '\r' && l.eol == eolCR {
					l.lines++
				}
				continue
			}
		} else if c == '\\' {
			if l.at+1 == len(b) && !last {
				return 0, false
			}
			l.at++
			continue
		}
		switch {
		case c == '\n' && l.eol != eolCR:
			if l.eol == eolUnknown {
				l.eol = eolNL
			}
			return l.found(l.at + 1)
		case c == '\r' && l.eol == eolCR:
			return l.found(l.at + 1)
		case c == '\r' && l.eol == eolUnknown:
			if l.at+1 == len(b) && !last {
				return 0, false
			}
			if l.at+1 < len(b) && b[l.at+1] == '\n' {
				l.eol = eolCRNL
				return l.found(l.at + 2)
			}
			l.eol = eolCR
			return l.found(l.at + 1)
		}
	}
	if last && !l.quoted && len(b) > 0 {
		return l.found(len(b))
	}
	return 0, false
}

func (l *lineScan) found(end int) (int, bool) {
	l.at = end
	l.lines++
	return end, true
}

// text is next for lines whose end is known, in which a newline behind a backslash is none.
func (l *lineScan) text(b []byte, last bool) (end int, ok bool) {
	for {
		i := bytes.IndexByte(b[l.at:], '\n')
		if i < 0 {
			if last && len(b) > 0 {
				return l.found(len(b))
			}
			// A backslash at the end may belong to what comes.
			for l.at = len(b); l.at > 0 && b[l.at-1] == '\\'; l.at-- {
			}
			return 0, false
		}
		end := l.at + i
		slashes := 0
		for end-slashes > 0 && b[end-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return l.found(end + 1)
		}
		l.at = end + 1
	}
}

var copySignature = []byte("PGCOPY\n\xff\r\n\x00")

// tuple takes a binary row, or what comes before the first; more is false until there are more bytes.
func (s *splitter) tuple() (more bool, err error) {
	b := s.buf[s.begin:]
	if s.header {
		n := len(copySignature)
		if !bytes.HasPrefix(copySignature, b[:min(n, len(b))]) {
			return false, newError("22P04", "COPY file signature not recognized", "")
		}
		if len(b) < n+8 {
			return false, nil
		}
		flags, extra := binary.BigEndian.Uint32(b[n:]), binary.BigEndian.Uint32(b[n+4:])
		switch {
		case flags&(1<<16) != 0:
			return false, newError("22P04", "invalid COPY file header (WITH OIDS)", "")
		case flags>>16 != 0:
			return false, newError("22P04", "unrecognized critical flags in COPY file header", "")
		case extra > messageBytesMax:
			return false, newError("22P04", "invalid COPY file header (wrong length)", "")
		case len(b) < n+8+int(extra):
			return false, nil
		}
		s.header = false
		s.buf = s.buf[s.begin+n+8+int(extra):]
		s.begin = 0
		return true, nil
	}
	end, trailer, err := tupleEnd(b, len(s.plan.columns))
	if err != nil {
		e := describe(err)
		e.where = s.plan.context(s.line+s.lines+1, "", nil)
		return false, e
	}
	if trailer {
		s.ended = true
		if len(b) > 2 {
			return false, newError("22P04", "received copy data after EOF marker", "")
		}
		return false, nil
	}
	if end == 0 {
		return false, nil
	}
	s.begin += end
	s.rows++
	s.lines++
	return true, nil
}

// tupleEnd is where the first tuple of b ends; 0: behind b.
func tupleEnd(b []byte, columns int) (end int, trailer bool, err error) {
	if len(b) < 2 {
		return 0, false, nil
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	switch {
	case n == -1:
		return 2, true, nil
	case n != columns:
		return 0, false, newRowError("22P04", "row field count is "+itoa(n)+", expected "+itoa(columns))
	}
	at := 2
	for range n {
		if at+4 > len(b) {
			return 0, false, nil
		}
		size := int(int32(binary.BigEndian.Uint32(b[at:])))
		at += 4
		if size == -1 {
			continue
		}
		if size < 0 {
			return 0, false, newRowError("22P04", "invalid field size")
		}
		if at += size; at > copyRowMax {
			return 0, false, errRowSize
		}
	}
	if at > len(b) {
		return 0, false, nil
	}
	return at, false, nil
}
