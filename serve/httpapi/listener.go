package httpapi

import (
	"errors"
	"net"
	"sync"
	"syscall"

	"github.com/pintaildb/pintail/internal/fault"
)

func listenError(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fault.New(fault.Config, "another server.http.listen, or end the program that has the port", "listen on %s: the address is in use", address)
	case errors.Is(err, syscall.EACCES):
		return fault.New(fault.Config, "ports below 1024 need a right of their own", "listen on %s: %w", address, err)
	}
	return fault.New(fault.Config, "check server.http.listen", "listen on %s: %w", address, err)
}

// limitedListener accepts at most so many connections at a time; further ones wait in the system's own queue.
type limitedListener struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func limitConnections(l net.Listener, n int) net.Listener {
	return &limitedListener{Listener: l, slots: make(chan struct{}, n), done: make(chan struct{})}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, free: func() { <-l.slots }}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	once sync.Once
	free func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.free)
	return err
}
