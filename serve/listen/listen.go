// Package listen opens the doors' ports.
package listen

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/pintaildb/pintail/internal/fault"
)

// Open listens at an address that the configuration has under key.
func Open(ctx context.Context, key, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fault.New(fault.Config, "another "+key+", or end the program that has the port", "listen on %s: the address is in use", address)
	case errors.Is(err, syscall.EACCES):
		return nil, fault.New(fault.Config, "ports below 1024 need a right of their own", "listen on %s: %w", address, err)
	case err != nil:
		return nil, fault.New(fault.Config, "check "+key, "listen on %s: %w", address, err)
	}
	return l, nil
}
