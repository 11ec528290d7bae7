//go:build !linux

package postgres

import (
	"context"
	"errors"
	"net"
)

// rawSocket is for linux only; elsewhere the connection is read through Go.
type rawSocket struct{}

func (s *rawSocket) on() bool          { return false }
func (s *rawSocket) attach(c net.Conn) {}
func (s *rawSocket) detach() error     { return nil }
func (s *rawSocket) read(context.Context, []byte) (int, error) {
	return 0, errors.ErrUnsupported
}
