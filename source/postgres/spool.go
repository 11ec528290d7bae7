package postgres

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/pintaildb/pintail/internal/fault"
)

// spoolExt ends the names of a spool's files: the transaction's id, and this.
const spoolExt = ".spool"

// tailMax is how much of one transaction is kept in memory at most, before it is written to its file.
const tailMax = 1 << 20

// spool keeps the changes of transactions that the server sends while they run, each in memory as long as it is small, then
// in a file. No other process reads a file, and what is left of a former stream is removed: the server sends it again. So
// the format has no version. A file is a run of
//
//	4 bytes  n, big-endian: the length of the rest
//	1 byte   kind of the message: I U D T R M
//	n-1      its body as pgoutput has it outside of running transactions, without the transaction's id
//
// The receiving goroutine alone uses it, but for bytes.
type spool struct {
	dir      string
	tail     int // of one transaction
	memory   int // of all tails
	buffered int
	bytes    atomic.Int64
	open     map[uint32]*spooled // by the id of the transaction
	create   func(name string) (*os.File, error)
}

// spooled is one running transaction. Positions count from the begin of its file, and go on in the tail.
type spooled struct {
	spool *spool
	xid   uint32
	name  string
	made  bool             // the file
	size  int64            // of the file
	tail  []byte           // what follows
	subs  map[uint32]int64 // where the first change of each subtransaction lies
}

// openSpool makes the folder, if need be, and empties it.
func openSpool(dir string, memory int64) (*spool, error) {
	const hint = "The folder must be one that Pintail may write to."
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(fault.Config, hint, "making the folder for running transactions: %w", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return nil, fault.New(fault.Config, hint, "looking into the folder for running transactions: %w", err)
	}
	for _, f := range left {
		if filepath.Ext(f.Name()) != spoolExt {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return nil, fault.New(fault.Config, hint, "removing what is left of a former stream: %w", err)
		}
	}
	s := &spool{dir: dir, open: map[uint32]*spooled{}, create: func(name string) (*os.File, error) {
		return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}}
	s.tail, s.memory = int(min(memory/16, tailMax)), int(memory/8)
	return s, nil
}

// close removes all files.
func (s *spool) close() error {
	var all error
	for _, t := range s.open {
		all = errors.Join(all, t.drop())
	}
	return all
}

// failed is a file that cannot be written. The stream ends with it, and nothing is lost: what is in the spool was never
// confirmed.
func (s *spool) failed(err error, doing string) error {
	code, hint := fault.Internal, "Check the folder and its disk."
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		code, hint = fault.DiskFull, "Free space on the disk of "+s.dir+": changes of transactions that still run in the source are kept there. They are sent again."
	}
	return fault.New(code, hint, "%s a large running transaction's changes: %w", doing, err)
}

// start is the transaction whose changes come next. With first, those that came of it before count no more.
func (s *spool) start(xid uint32, first bool) (*spooled, error) {
	if t := s.open[xid]; t != nil {
		if !first {
			return t, nil
		}
		if err := t.drop(); err != nil {
			return nil, err
		}
	}
	t := &spooled{spool: s, xid: xid, name: filepath.Join(s.dir, strconv.FormatUint(uint64(xid), 10)+spoolExt), subs: map[uint32]int64{}}
	s.open[xid] = t
	return t, nil
}

// end is where the next change will lie.
func (t *spooled) end() int64 { return t.size + int64(len(t.tail)) }

// add keeps one message; sub is the transaction or subtransaction that it is of.
func (t *spooled) add(sub uint32, kind byte, body []byte) error {
	if _, ok := t.subs[sub]; !ok && sub != t.xid {
		t.subs[sub] = t.end()
	}
	s, n := t.spool, 5+len(body)
	s.bytes.Add(int64(n))
	if len(t.tail)+n > s.tail {
		if err := t.flush(); err != nil {
			return err
		}
	}
	head := append(binary.BigEndian.AppendUint32(t.tail, uint32(1+len(body))), kind)
	if n > s.tail {
		return t.write(head, body)
	}
	s.buffered += n
	t.tail = append(head, body...)
	if s.buffered > s.memory {
		largest := t
		for _, o := range s.open {
			if len(o.tail) > len(largest.tail) {
				largest = o
			}
		}
		return largest.flush()
	}
	return nil
}

func (t *spooled) flush() error {
	if len(t.tail) == 0 {
		return nil
	}
	err := t.write(t.tail)
	t.spool.buffered -= len(t.tail)
	t.tail = t.tail[:0]
	return err
}

// write appends to the file, which is open only meanwhile: many transactions may run.
func (t *spooled) write(parts ...[]byte) error {
	f, err := t.open()
	if err != nil {
		return t.spool.failed(err, "keeping")
	}
	for _, b := range parts {
		n, err := f.Write(b)
		t.size += int64(n)
		if err != nil {
			return t.spool.failed(errors.Join(err, f.Close()), "keeping")
		}
	}
	if err := f.Close(); err != nil {
		return t.spool.failed(err, "keeping")
	}
	return nil
}

func (t *spooled) open() (*os.File, error) {
	if t.made {
		return os.OpenFile(t.name, os.O_WRONLY|os.O_APPEND, 0)
	}
	f, err := t.spool.create(t.name)
	t.made = err == nil
	return f, err
}

// abort forgets a subtransaction's changes. They lie at the end, together with those of its own subtransactions: until it
// ends nothing else of the transaction writes, and the server tells of its end before it sends what was written later. The
// same goes for descriptions of tables, which the server sends again after it.
func (t *spooled) abort(sub uint32) error {
	at, ok := t.subs[sub]
	if !ok {
		return nil // no change of it came
	}
	for x, begin := range t.subs {
		if begin >= at {
			delete(t.subs, x)
		}
	}
	s := t.spool
	s.bytes.Add(at - t.end())
	if at >= t.size {
		s.buffered -= len(t.tail) - int(at-t.size)
		t.tail = t.tail[:at-t.size]
		return nil
	}
	s.buffered -= len(t.tail)
	t.tail, t.size = t.tail[:0], at
	if err := os.Truncate(t.name, at); err != nil {
		return s.failed(err, "forgetting")
	}
	return nil
}

// drop forgets all.
func (t *spooled) drop() error {
	s := t.spool
	delete(s.open, t.xid)
	s.bytes.Add(-t.end())
	s.buffered -= len(t.tail)
	t.tail, t.size = nil, 0
	if t.made {
		if err := os.Remove(t.name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return s.failed(err, "forgetting")
		}
	}
	return nil
}

// each gives all messages. A body stays as it is until the next.
func (t *spooled) each(message func(kind byte, body []byte) error) error {
	if err := t.eachOfFile(message); err != nil {
		return err
	}
	for tail := t.tail; len(tail) > 0; {
		n := 4 + int(binary.BigEndian.Uint32(tail))
		if err := message(tail[4], tail[5:n:n]); err != nil {
			return err
		}
		tail = tail[n:]
	}
	return nil
}

// eachOfFile is each of what lies in the file, which ends between two messages.
func (t *spooled) eachOfFile(message func(kind byte, body []byte) error) error {
	if t.size == 0 {
		return nil
	}
	f, err := os.Open(t.name)
	if err != nil {
		return t.spool.failed(err, "reading")
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 256<<10)
	var head [5]byte
	var b []byte
	for left := t.size; left > 0; {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return t.spool.failed(err, "reading")
		}
		n := int64(binary.BigEndian.Uint32(head[:])) - 1
		if left -= 5 + n; n < 0 || left < 0 {
			return t.spool.failed(errors.New("the file is damaged"), "reading")
		}
		if int64(cap(b)) < n {
			b = make([]byte, n)
		}
		b = b[:n]
		if _, err := io.ReadFull(r, b); err != nil {
			return t.spool.failed(err, "reading")
		}
		if err := message(head[4], b); err != nil {
			return err
		}
		if n > arenaBytes {
			b = nil // what is kept of it lies there
		}
	}
	return nil
}

// streamed is a message of a running transaction. Within a block they begin with the id of the transaction or
// subtransaction.
func (s *changeStream) streamed(kind byte, b []byte) error {
	switch kind {
	case 'E':
		s.block = nil
		return nil
	case 'I', 'U', 'D', 'R', 'T', 'M', 'Y':
		m := cutter{b: b}
		xid := m.uint32()
		if rest := m.b; !m.failed {
			if kind == 'Y' {
				return nil
			}
			if kind == 'M' {
				l, err := parseLogical(rest)
				if _, _, ok := parseAltered(&l); err != nil || !ok {
					return err
				}
				return s.block.add(xid, kind, rest)
			}
			if relation := m.uint32(); kind != 'T' && s.tables[relation] == nil {
				return nil
			}
			return s.block.add(xid, kind, rest)
		}
	case 'O':
		return nil
	}
	return fmt.Errorf("%w: message %q of a running transaction", errProtocol, kind)
}

// streaming begins and ends running transactions.
func (s *changeStream) streaming(kind byte, b []byte) (err error) {
	if s.spool == nil || s.begun {
		return errProtocol
	}
	switch kind {
	case 'S':
		m, err := parseStreamStart(b)
		if err != nil {
			return err
		}
		s.block, err = s.spool.start(m.xid, m.first)
		return err
	case 'A':
		m, err := parseStreamAbort(b)
		if err != nil {
			return err
		}
		t := s.spool.open[m.xid]
		switch {
		case t == nil:
			return nil
		case m.sub == m.xid:
			return t.drop()
		}
		return t.abort(m.sub)
	}
	m, err := parseStreamCommit(b)
	if err != nil {
		return err
	}
	t, err := s.spool.start(m.xid, false)
	if err != nil {
		return err
	}
	return s.replay(t, m)
}

// replay takes in a transaction that has committed, as if it had come now.
func (s *changeStream) replay(t *spooled, m streamCommitMessage) error {
	if err := s.begin(beginMessage{m.commit.commit, m.commit.at, m.xid}); err != nil {
		return err
	}
	if err := t.each(s.message); err != nil {
		return err
	}
	if err := t.drop(); err != nil {
		return err
	}
	return s.commit(&m.commit)
}
