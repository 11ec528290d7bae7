package rig

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Drained is what a client got that throws away all it reads.
type Drained struct {
	Rows  int64
	Bytes int64         // of all messages, from the statement on
	First time.Duration // until the first row was there
	All   time.Duration
}

// DrainQuery reads the answer to sql over one connection and throws it away: what serving costs, without a client that makes anything
// of the rows. Text is asked for as psql does, by one Query; binary by the extended protocol. After the first row it looks at nothing
// but the last bytes, which hold the number of rows.
func DrainQuery(ctx context.Context, url, sql string, inBinary bool) (d Drained, err error) {
	var ask []byte
	for _, m := range askFor(sql, inBinary) {
		if ask, err = m.Encode(ask); err != nil {
			return d, err
		}
	}
	f, err := plainSocket(ctx, url)
	if err != nil {
		return d, err
	}
	defer f.Close()
	fd := int(f.Fd())
	begun := time.Now()
	if _, err := f.Write(ask); err != nil {
		return d, err
	}
	buf := make([]byte, 1<<20)
	var head []byte // until the first row is found in it
	const endBytes = 512
	var end []byte
	for {
		n, err := syscall.Read(fd, buf)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return d, os.NewSyscallError("read", err)
		}
		if n <= 0 {
			break
		}
		d.Bytes += int64(n)
		if d.First == 0 {
			head = append(head, buf[:n]...)
			row, err := firstRow(head)
			if err != nil {
				return d, fmt.Errorf("drain %s: %w", sql, err)
			}
			if row {
				d.First, head = time.Since(begun), nil
				_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, 64<<10) // fewer calls; the end comes through anyway
			}
		}
		end = append(end, buf[max(0, n-endBytes):n]...)
		end = end[max(0, len(end)-endBytes):]
	}
	d.All = time.Since(begun)
	before := bytes.LastIndex(end, []byte("SELECT "))
	digits, _, whole := bytes.Cut(end[max(before, 0):], []byte{0})
	if before < 0 || !whole {
		return d, fmt.Errorf("the answer to %s did not end well: its last bytes are %q", sql, end)
	}
	d.Rows, err = strconv.ParseInt(string(digits[len("SELECT "):]), 10, 64)
	return d, err
}

// askFor is what a client sends that wants one answer: the server then closes the connection, so the end needs no parsing.
func askFor(sql string, inBinary bool) []pgproto3.FrontendMessage {
	if !inBinary {
		return []pgproto3.FrontendMessage{&pgproto3.Query{String: sql}, &pgproto3.Terminate{}}
	}
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{ResultFormatCodes: []int16{1}}, &pgproto3.Describe{ObjectType: 'P'},
		&pgproto3.Execute{}, &pgproto3.Sync{}, &pgproto3.Terminate{}}
}

// firstRow says whether there is a DataRow among the messages; an ErrorResponse before it is an error.
func firstRow(messages []byte) (bool, error) {
	for len(messages) >= 5 {
		size := 1 + int(binary.BigEndian.Uint32(messages[1:]))
		switch messages[0] {
		case 'D':
			return true, nil
		case 'E':
			if len(messages) < size {
				return false, nil
			}
			var e pgproto3.ErrorResponse
			if err := e.Decode(messages[5:size]); err != nil {
				return false, err
			}
			return false, fmt.Errorf("%s: %s", e.Code, e.Message)
		}
		messages = messages[min(size, len(messages)):]
	}
	return false, nil
}
