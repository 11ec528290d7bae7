package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pintaildb/pintail/change"
)

// The messages of pgoutput, protocol versions 1 and 2: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html.
// What is parsed points into the message.

// relation is what the stream says of a table before its first row, and again whenever that has changed.
type relationMessage struct {
	oid          uint32
	schema, name string
	identity     byte // d default, n nothing, f full, i index
	columns      []relationColumn
}

type relationColumn struct {
	name   string
	key    bool // part of the replica identity
	oid    uint32
	typmod int32
}

type beginMessage struct {
	commit change.LSN // of the commit record
	at     time.Time
	xid    uint32
}

type commitMessage struct {
	commit, end change.LSN // of the commit record: where it begins, where it ends
	at          time.Time
}

// rowMessage is an insert, update or delete. old is nil, the old key (kind K), or the whole old row (kind O).
type rowMessage struct {
	kind     byte // I U D
	relation uint32
	old, new tupleData
	oldKind  byte
}

// streamStartMessage begins a block of changes of a running transaction. first says that it is the first one of this
// transaction.
type streamStartMessage struct {
	xid   uint32
	first bool
}

type streamCommitMessage struct {
	xid    uint32
	commit commitMessage
}

// streamAbortMessage ends a subtransaction of a running transaction, or with both ids the same the transaction.
type streamAbortMessage struct{ xid, sub uint32 }

type truncateMessage struct {
	relations []uint32
}

// logicalMessage is what pg_logical_emit_message wrote.
type logicalMessage struct {
	transactional bool
	prefix        string
	content       []byte
}

// tupleData is a row as it lies in a message: a 16-bit number of columns, then each one's kind (n NULL, u unchanged and not sent,
// t text, b binary) and for the last two a 32-bit length and the value.
type tupleData []byte

func (t tupleData) columns() int { return int(binary.BigEndian.Uint16(t)) }

// field is one value of a tuple; b is nil for NULL and unchanged.
type field struct {
	kind byte
	b    []byte
}

// next cuts the field at an offset and returns where the next one begins. The tuple is known to be whole.
func (t tupleData) next(at int) (field, int) {
	kind := t[at]
	if kind == 'n' || kind == 'u' {
		return field{kind: kind}, at + 1
	}
	n := int(binary.BigEndian.Uint32(t[at+1:]))
	return field{kind, t[at+5 : at+5+n : at+5+n]}, at + 5 + n
}

// cutter cuts one message from front to back. After the first failure all further reads give nothing.
type cutter struct {
	b      []byte
	failed bool
}

func (m *cutter) take(n int) []byte {
	if n < 0 || n > len(m.b) {
		m.failed, m.b = true, nil
		return nil
	}
	b := m.b[:n:n]
	m.b = m.b[n:]
	return b
}

func (m *cutter) byte() byte {
	if b := m.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (m *cutter) uint16() uint16 {
	if b := m.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (m *cutter) uint32() uint32 {
	if b := m.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (m *cutter) uint64() uint64 {
	if b := m.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (m *cutter) lsn() change.LSN { return change.LSN(m.uint64()) }

// time is in microseconds since 2000.
func (m *cutter) time() time.Time {
	return time.UnixMicro(int64(m.uint64()) + epoch2000).UTC()
}

// text ends with a zero byte.
func (m *cutter) text() string {
	i := bytes.IndexByte(m.b, 0)
	if i < 0 {
		m.failed, m.b = true, nil
		return ""
	}
	return string(m.take(i + 1)[:i])
}

func (m *cutter) tuple() tupleData {
	all := m.b
	for range m.uint16() {
		switch m.byte() {
		case 'n', 'u':
		case 't', 'b':
			m.take(int(int32(m.uint32())))
		default:
			m.failed = true
		}
		if m.failed {
			return nil
		}
	}
	n := len(all) - len(m.b)
	return tupleData(all[:n:n])
}

// end is the failure of a message that is cut off, goes on behind its end, or holds what cannot be.
func (m *cutter) end(kind byte) error {
	if m.failed || len(m.b) > 0 {
		return fmt.Errorf("%w: message %q of the replication stream", errProtocol, kind)
	}
	return nil
}

func parseRelation(b []byte) (*relationMessage, error) {
	m := cutter{b: b}
	r := &relationMessage{oid: m.uint32(), schema: m.text(), name: m.text(), identity: m.byte()}
	if r.schema == "" {
		r.schema = "pg_catalog"
	}
	for range m.uint16() {
		c := relationColumn{key: m.byte()&1 != 0, name: m.text(), oid: m.uint32(), typmod: int32(m.uint32())}
		if m.failed {
			break
		}
		r.columns = append(r.columns, c)
	}
	return r, m.end('R')
}

func parseBegin(b []byte) (beginMessage, error) {
	m := cutter{b: b}
	return beginMessage{m.lsn(), m.time(), m.uint32()}, m.end('B')
}

func parseCommit(b []byte) (commitMessage, error) {
	m := cutter{b: b}
	m.byte()
	return commitMessage{m.lsn(), m.lsn(), m.time()}, m.end('C')
}

func parseStreamStart(b []byte) (streamStartMessage, error) {
	m := cutter{b: b}
	return streamStartMessage{m.uint32(), m.byte() == 1}, m.end('S')
}

func parseStreamCommit(b []byte) (streamCommitMessage, error) {
	m := cutter{b: b}
	xid := m.uint32()
	c, err := parseCommit(m.b)
	if m.failed || err != nil {
		m.failed = true
	}
	m.b = nil
	return streamCommitMessage{xid, c}, m.end('c')
}

func parseStreamAbort(b []byte) (streamAbortMessage, error) {
	m := cutter{b: b}
	return streamAbortMessage{m.uint32(), m.uint32()}, m.end('A')
}

func parseRow(kind byte, b []byte) (r rowMessage, err error) {
	m := cutter{b: b}
	r.kind, r.relation = kind, m.uint32()
	part := m.byte()
	if (part == 'K' || part == 'O') && kind != 'I' {
		r.oldKind, r.old = part, m.tuple()
		if kind == 'U' {
			part = m.byte()
		}
	}
	if kind != 'D' {
		if part != 'N' {
			m.failed = true
		}
		r.new = m.tuple()
	} else if r.old == nil {
		m.failed = true
	}
	return r, m.end(kind)
}

func parseTruncate(b []byte) (truncateMessage, error) {
	m := cutter{b: b}
	n := int(m.uint32())
	m.byte() // CASCADE and RESTART IDENTITY, which change nothing for a copy
	var t truncateMessage
	for i := 0; i < n && !m.failed; i++ {
		t.relations = append(t.relations, m.uint32())
	}
	return t, m.end('T')
}

func parseLogical(b []byte) (l logicalMessage, err error) {
	m := cutter{b: b}
	l.transactional = m.byte()&1 != 0
	m.lsn()
	l.prefix = m.text()
	l.content = m.take(int(int32(m.uint32())))
	return l, m.end('M')
}
