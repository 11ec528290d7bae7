package rig

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/change"
)

// DrainSlot reads a slot with pgoutput and throws everything away, until the first message from beyond end: what
// pg_recvlogical does, for machines that do not have it. An option of pgoutput is name=value.
func DrainSlot(ctx context.Context, url, slot string, options []string, end string) error {
	last, err := change.ParseLSN(end)
	if err != nil {
		return err
	}
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["replication"] = "database"
	c, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	h, err := c.Hijack()
	if err != nil {
		return err
	}
	defer h.Conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = h.Conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for i, o := range options {
		name, value, _ := strings.Cut(o, "=")
		options[i] = name + " '" + value + "'"
	}
	ask, err := (&pgproto3.Query{String: fmt.Sprintf(`START_REPLICATION SLOT "%s" LOGICAL 0/0 (%s)`, slot, strings.Join(options, ", "))}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := h.Conn.Write(ask); err != nil {
		return err
	}
	in := bufio.NewReaderSize(h.Conn, 1<<20)
	told := time.Now()
	for {
		head, err := in.Peek(5)
		if err != nil {
			return err
		}
		kind, length := head[0], int(binary.BigEndian.Uint32(head[1:]))
		switch kind {
		case 'd':
			b, err := in.Peek(14)
			if err != nil {
				return err
			}
			if b[5] == 'w' && binary.BigEndian.Uint64(b[6:]) > uint64(last) {
				return nil
			}
		case 'E':
			text := make([]byte, 1+length)
			if _, err := io.ReadFull(in, text); err != nil {
				return err
			}
			var e pgproto3.ErrorResponse
			if err := e.Decode(text[5:]); err != nil {
				return err
			}
			return fmt.Errorf("drain slot %s: %s", slot, e.Message)
		case 'c', 'C', 'Z':
			return errors.New("the server ended the stream before its end")
		}
		if _, err := in.Discard(1 + length); err != nil {
			return err
		}
		if time.Since(told) > statusEvery {
			told = time.Now()
			if _, err := h.Conn.Write(statusUpdate()); err != nil {
				return err
			}
		}
	}
}

// statusEvery is how often the server hears that the other side lives; it waits for a minute.
const statusEvery = 10 * time.Second

// statusUpdate is a Standby status update that confirms nothing.
func statusUpdate() []byte {
	b := append([]byte{'d', 0, 0, 0, 38, 'r'}, make([]byte, 33)...)
	b[13] = 1 // written up to 0/1; 0 would mean that nothing is known
	return b
}
