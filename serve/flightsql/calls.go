package flightsql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
)

// call is what interceptors know of a call, for handlers and the log.
type call struct {
	s      *Server
	id     string
	method string
	remote string
	begun  time.Time
	who    access.Principal // zero before authentication, and in a handshake
	detail []slog.Attr      // of the log line
}

type callKey struct{}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

func whoOf(ctx context.Context) access.Principal { return callOf(ctx).who }

// begin makes the context of a call: it ends with the client's, and when the server must stop.
func (s *Server) begin(ctx context.Context, fullMethod string) (*call, context.Context, func()) {
	c := &call{s: s, id: uuid.Must(uuid.NewV7()).String(), method: fullMethod[strings.LastIndexByte(fullMethod, '/')+1:], begun: time.Now()}
	if p, ok := peer.FromContext(ctx); ok {
		c.remote = p.Addr.String()
	}
	ctx = query.WithTraceParent(ctx, sentHeader(ctx, "traceparent"), sentHeader(ctx, "tracestate"))
	ctx, cancel := context.WithCancelCause(context.WithValue(access.WithRemote(ctx, c.remote), callKey{}, c))
	stop := context.AfterFunc(s.ending, func() { cancel(context.Cause(s.ending)) })
	return c, ctx, func() { stop(); cancel(nil) }
}

// sentHeader is one that came with the call, "" without.
func sentHeader(ctx context.Context, name string) string {
	if values := metadata.ValueFromIncomingContext(ctx, name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// enter is everything that may refuse a call before its handler runs. It returns headers for the answer.
func (c *call) enter(ctx context.Context) (metadata.MD, error) {
	if c.s.stopping.Load() {
		return nil, errStopping
	}
	if c.method == "Handshake" {
		return nil, nil
	}
	return c.authenticate(ctx)
}

// protect turns a panic into an error, so that one call cannot end the process.
func (c *call) protect(ctx context.Context, run func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.s.log.LogAttrs(ctx, slog.LevelError, "flight call panicked", slog.String("call", c.id), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = fault.New(fault.Internal, "", "internal error; the server's log has it under call %s", c.id)
		}
	}()
	return run()
}

// end logs and counts the call, and makes err what gRPC sends.
func (c *call) end(ctx context.Context, err error) error {
	st := c.status(ctx, err)
	took := time.Since(c.begun)
	c.s.metrics.call(c.method, st.Code(), took)
	level := slog.LevelInfo
	if st.Code() == codes.Internal || st.Code() == codes.Unknown {
		level = slog.LevelWarn
	}
	attrs := append([]slog.Attr{slog.String("method", c.method), slog.String("code", st.Code().String()), slog.Duration("took", took),
		slog.String("user", c.who.User), slog.String("remote", c.remote), slog.String("call", c.id)}, c.detail...)
	c.s.log.LogAttrs(ctx, level, "flight", attrs...)
	return st.Err()
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	c, ctx, done := s.begin(ctx, info.FullMethod)
	defer done()
	err = c.protect(ctx, func() error {
		header, err := c.enter(ctx)
		if err != nil {
			return err
		}
		if header != nil {
			if err := grpc.SetHeader(ctx, header); err != nil {
				return err
			}
		}
		answer, err = handler(ctx, req)
		return err
	})
	if err = c.end(ctx, err); err != nil {
		return nil, err
	}
	return answer, nil
}

// stream runs the handler beside itself: a handler that waits for a client which neither takes nor sends can be left only so.
// Its next use of the stream then fails.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	c, ctx, done := s.begin(ss.Context(), info.FullMethod)
	defer done()
	w := &watched{ServerStream: ss, ctx: ctx, limit: s.stallTimeout, cut: make(chan error, 1)}
	result := make(chan error, 1)
	s.calls.Go(func() {
		result <- c.protect(ctx, func() error {
			header, err := c.enter(ctx)
			if err != nil {
				return err
			}
			if header != nil {
				if err := ss.SetHeader(header); err != nil {
					return err
				}
			}
			return handler(srv, w)
		})
	})
	var err error
	select {
	case err = <-result:
	case err = <-w.cut:
	}
	return c.end(ctx, err)
}

// watched is a stream whose client must not stall.
type watched struct {
	grpc.ServerStream
	ctx   context.Context //nolint:containedctx // It is the stream's own.
	limit time.Duration
	once  sync.Once
	cut   chan error
}

func (w *watched) Context() context.Context { return w.ctx }

// leaveAfter is how long a call that was cancelled may still wait for its client.
const leaveAfter = 200 * time.Millisecond

func (w *watched) leave(err error) { w.once.Do(func() { w.cut <- err }) }

// waits says that the client is waited for, until the returned function is called.
func (w *watched) waits(what string) func() {
	t := time.AfterFunc(w.limit, func() {
		w.leave(fault.New(fault.Limit, "take what is sent, and send what is to be taken, without such pauses", "the client did not %s for %s", what, w.limit))
	})
	stop := context.AfterFunc(w.ctx, func() {
		time.AfterFunc(leaveAfter, func() { w.leave(fmt.Errorf("%w", context.Cause(w.ctx))) })
	})
	return func() { t.Stop(); stop() }
}

func (w *watched) SendMsg(m any) error {
	defer w.waits("take")()
	return w.ServerStream.SendMsg(m)
}

func (w *watched) RecvMsg(m any) error {
	defer w.waits("send")()
	return w.ServerStream.RecvMsg(m)
}

// loopback says whether the other end of the connection is on this machine.
func loopback(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// ctxError prefers why a call was ended to what its parts say about it.
func ctxError(ctx context.Context, err error) error {
	var f *fault.Error
	if cause := context.Cause(ctx); cause != nil && errors.As(cause, &f) {
		return cause
	}
	return err
}
