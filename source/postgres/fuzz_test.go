//go:build unix

package postgres

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/change/types"
)

// scripted is a connection whose server says what a test wrote down, in pieces of a given size.
type scripted struct {
	data []byte
	step int
}

func (c *scripted) Read(b []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.data[:min(len(c.data), c.step)])
	c.data = c.data[n:]
	return n, nil
}
func (c *scripted) Write(b []byte) (int, error)      { return len(b), nil }
func (c *scripted) Close() error                     { return nil }
func (c *scripted) LocalAddr() net.Addr              { return nil }
func (c *scripted) RemoteAddr() net.Addr             { return nil }
func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }

func message(kind byte, body ...byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body))), body...)
}

func tuple(fs ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(fs)))
	for _, f := range fs {
		if f == nil {
			b = binary.BigEndian.AppendUint32(b, 0xffffffff)
			continue
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return b
}

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

var copyHead = append(append([]byte{}, copySignature...), 0, 0, 0, 0, 0, 0, 0, 0)

// fuzzTypes has every kind of value, the larger ones last.
func fuzzTypes() []types.Type {
	var ts []types.Type
	for _, c := range []struct {
		oid uint32
		mod int32
	}{{16, -1}, {21, -1}, {23, -1}, {20, -1}, {26, -1}, {5069, -1}, {700, -1}, {701, -1}, {1700, 4<<16 + 4}, {1700, 9<<16 | 2 + 4}, {1700, 12<<16 | 2 + 4}, {1700, 38<<16 | 10 + 4},
		{17, -1}, {2950, -1}, {1082, -1}, {1083, -1}, {1266, -1}, {1114, -1}, {1184, -1}, {1186, -1}, {114, -1}, {3802, -1}, {25, -1}, {1007, -1}, {1009, -1}, {1231, 12<<16 | 2 + 4}} {
		ts = append(ts, types.Of(c.oid, c.mod, nil))
	}
	return ts
}

// guarded is memory whose end is the end of what may be read.
func guarded(t testing.TB, n int) []byte {
	page := os.Getpagesize()
	size := (n + page - 1) / page * page
	m, err := syscall.Mmap(-1, 0, size+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(m) })
	if err := syscall.Mprotect(m[size:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return m[size-n : size : size]
}

// FuzzCopyReader feeds the reader with anything a server could send, in pieces of any size. It must end, with rows or an
// error, and read no byte beyond its buffer.
func FuzzCopyReader(f *testing.F) {
	ts := fuzzTypes()
	null := make([][]byte, len(ts))
	full := [][]byte{{1}, {0, 7}, {0, 0, 0, 7}, make([]byte, 8), {0, 0, 0, 1}, make([]byte, 8), make([]byte, 4), make([]byte, 8),
		{0, 1, 0, 0, 0, 0, 0, 0, 0, 5}, {0, 1, 0, 0, 0x40, 0, 0, 2, 0, 5}, {0, 2, 0, 0, 0, 0, 0, 2, 0, 5, 0x13, 0x88}, {0, 0, 0, 0, 0xc0, 0, 0, 0},
		{0xff}, make([]byte, 16), {0, 0, 0, 1}, make([]byte, 8), make([]byte, 12), make([]byte, 8), make([]byte, 8), make([]byte, 16), []byte("{}"), []byte("\x01{}"), []byte("a text of some length"),
		{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25},
		{0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 6, 0xa4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}}
	end := join(message('c'), message('C', []byte("COPY 2\x00")...), message('Z', 'T'))
	trailer := message('d', 0xff, 0xff)
	refusal, _ := (&pgproto3.ErrorResponse{Severity: "ERROR", Code: "57014", Message: "canceling"}).Encode(nil)
	whole := join(message('H', 1, 0, 0), message('d', append(append([]byte{}, copyHead...), tuple(null...)...)...), message('d', tuple(full...)...), trailer, end)
	f.Add(whole, uint16(7), false)
	f.Add(join(message('H', 1, 0, 0), message('d', append(append([]byte{}, copyHead...), 0xff, 0xff)...), end), uint16(1000), false)
	f.Add(join(message('H', 1, 0, 0), message('d', copyHead...), message('N', 0), message('d', tuple(null...)...), refusal, message('Z', 'E')), uint16(3), false)
	f.Add(join(message('T', 0, 0), message('D', tuple(null...)...), message('C', 'F', 0), message('Z', 'T'), message('T', 0, 0), message('C', 'F', 0), message('Z', 'T')), uint16(64), true)
	f.Add(join(refusal, message('Z', 'E')), uint16(1), true)
	f.Add([]byte{'H', 0xff, 0xff, 0xff, 0xff}, uint16(1), false)
	f.Add([]byte{'H', 0, 0, 0, 3}, uint16(1), false)
	config, err := pgconn.ParseConfig("host=localhost")
	if err != nil {
		f.Fatal(err)
	}
	buf, chunk := guarded(f, 64<<10+types.Slack), newChunk(ts)
	f.Fuzz(func(t *testing.T, data []byte, step uint16, cursor bool) {
		if len(data) > 32<<10 {
			return
		}
		conn := &scripted{data: data, step: int(step) + 1}
		w := &wire{buf: buf}
		defer w.release()
		w.attach(context.Background(), conn)
		s := &stream{session: &session{src: &Source{}, wire: w}, decoder: types.NewDecoder(ts), first: true, stop: func() bool { return true },
			hijack: &pgconn.HijackedConn{Conn: conn, Config: config}}
		if cursor {
			s.fetch = "FETCH"
		}
		if err := s.begin(0); err != nil {
			return
		}
		rows := 0
		for range 1000 {
			chunk.lend()
			n, _, err := s.read(&chunk.Chunk)
			if err != nil {
				return
			}
			if n == 0 {
				if string(data) == string(whole) && rows != 2 {
					t.Fatalf("%d rows", rows)
				}
				return
			}
			rows += n
			for i := range n {
				for k := range ts {
					types.AppendField(nil, &ts[k], &chunk.Vectors[k], i)
				}
			}
		}
		t.Fatal("no end")
	})
}
