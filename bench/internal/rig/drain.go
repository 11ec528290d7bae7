package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// DrainCopy reads the table's COPY over one connection and throws it away: what reading costs at the least, since the
// bytes are not even looked at. It reads as pintail does, by blocking calls on the plain socket with a large buffer.
func DrainCopy(ctx context.Context, url string) (rows int64, err error) {
	// The server ends the connection after the copy, so the end needs no parsing.
	ask, err := (&pgproto3.Query{String: "COPY public." + Table + " TO STDOUT (FORMAT binary)"}).Encode(nil)
	if err != nil {
		return 0, err
	}
	if ask, err = (&pgproto3.Terminate{}).Encode(ask); err != nil {
		return 0, err
	}
	f, err := plainSocket(ctx, url)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Write(ask); err != nil {
		return 0, err
	}
	fd := int(f.Fd())
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, 64<<10) // fewer calls; the end comes through anyway
	buf := make([]byte, 1<<20)
	const endBytes = 512
	var end []byte // the last bytes: CopyDone, "COPY n", ReadyForQuery; or why there was no copy
	for {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 0, os.NewSyscallError("read", err)
		}
		if n <= 0 {
			break
		}
		end = append(end, buf[max(0, n-endBytes):n]...)
		end = end[max(0, len(end)-endBytes):]
	}
	before := bytes.LastIndex(end, []byte("COPY "))
	digits, _, whole := bytes.Cut(end[max(before, 0):], []byte{0})
	if before < 0 || !whole {
		return 0, fmt.Errorf("the copy did not end well: its last bytes are %q", end)
	}
	return strconv.ParseInt(string(digits[len("COPY "):]), 10, 64)
}

// plainSocket logs in, and is the connection's socket: blocking, and of its own.
func plainSocket(ctx context.Context, url string) (*os.File, error) {
	c, err := pgconn.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	h, err := c.Hijack()
	if err != nil {
		return nil, err
	}
	defer h.Conn.Close()
	tcp, ok := h.Conn.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("the connection is %T, want TCP without TLS", h.Conn)
	}
	f, err := tcp.File()
	if err != nil {
		return nil, err
	}
	if err := syscall.SetNonblock(int(f.Fd()), false); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	_ = syscall.SetsockoptInt(int(f.Fd()), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<20) // what the kernel grants
	return f, nil
}
