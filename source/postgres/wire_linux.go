package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	// lowWater is how much the kernel gathers before it wakes the reader, once rows flow: five times fewer reads than
	// without, since a server sends 8 KiB at a time.
	lowWater = 64 << 10
	// streamBytes of one statement must have come before lowWater is asked for: an answer of a few rows is not to wait.
	streamBytes = 256 << 10
	// receiveBytes is asked for as the socket's buffer.
	receiveBytes = 4 << 20
	// gatherWait is how long bytes short of lowWater are held back, and firstWait how long a read waits that has nothing
	// to gather; after either the context is looked at.
	gatherWait = 4 * time.Millisecond
	firstWait  = 50 * time.Millisecond
)

// rawSocket reads a plain TCP or UNIX socket by blocking system calls of its own. Go's netpoller would park and wake a
// goroutine for every read: a second of CPU in five million rows.
type rawSocket struct {
	conn  syscall.RawConn
	fd    int
	tcp   bool
	total int
	low   bool
	wide  bool // the receive buffer is set, for the connection's life
}

func (s *rawSocket) on() bool { return s.conn != nil }

// attach makes the descriptor blocking; where that cannot be, the socket stays Go's.
func (s *rawSocket) attach(c net.Conn) {
	*s = rawSocket{wide: s.wide}
	switch c.(type) {
	case *net.TCPConn:
		s.tcp = true
	case *net.UnixConn:
	default:
		return // TLS
	}
	rc, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return
	}
	err2 := error(nil)
	err = rc.Control(func(fd uintptr) {
		s.fd = int(fd)
		if err2 = setTimeout(s.fd, firstWait); err2 == nil {
			err2 = syscall.SetNonblock(s.fd, false)
		}
		if s.tcp && !s.wide && err2 == nil && (loopback(c) || wideBuffers()) {
			_ = syscall.SetsockoptInt(s.fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBytes)
			s.wide = true
		}
	})
	if err == nil && err2 == nil {
		s.conn = rc
	}
}

// detach undoes attach.
func (s *rawSocket) detach() error {
	if s.conn == nil {
		return nil
	}
	var err error
	if e := s.conn.Control(func(fd uintptr) {
		if s.low {
			err = syscall.SetsockoptInt(s.fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, 1)
		}
		if err == nil {
			err = setTimeout(s.fd, 0)
		}
		if err == nil {
			err = syscall.SetNonblock(s.fd, true)
		}
	}); e != nil {
		err = e
	}
	s.conn = nil
	return err
}

func (s *rawSocket) read(ctx context.Context, b []byte) (int, error) {
	if s.tcp && !s.low && s.total > streamBytes {
		// The timeout first: a high mark without it could hold back the end of an answer.
		s.low = setTimeout(s.fd, gatherWait) == nil && syscall.SetsockoptInt(s.fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, lowWater) == nil
	}
	for {
		n, err := s.readOnce(b)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.ErrUnexpectedEOF
		default:
			s.total += n
			return n, nil
		}
	}
}

// readOnce blocks for gatherWait at most once rows flow. It then keeps the goroutine's processor: handing that over around
// each of thousands of short waits costs more than the wait, and gatherWait is what a stop of the world may take longer.
func (s *rawSocket) readOnce(b []byte) (int, error) {
	if !s.low {
		return syscall.Read(s.fd, b)
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func setTimeout(fd int, d time.Duration) error {
	tv := syscall.NsecToTimeval(int64(d))
	return syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv)
}

func loopback(c net.Conn) bool {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// wideBuffers says whether the kernel grants receiveBytes. A smaller grant would be for good, and narrower than what the
// kernel's own tuning reaches on a long way.
var wideBuffers = sync.OnceValue(func() bool {
	b, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return err == nil && n >= receiveBytes
})
