package flightsql

import (
	"context"
	"errors"
	"log/slog"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query/ingest"
)

// errorDomain names who gave the reason of an error's details.
const errorDomain = "pintail"

// status makes err what gRPC sends: the text, a second line with the hint, since most clients show nothing but the text, and code
// and hint as details. What is a defect of ours is logged, and its text kept from all but administrators.
func (c *call) status(ctx context.Context, err error) *status.Status {
	if err == nil {
		return status.New(codes.OK, "")
	}
	err = ctxError(ctx, err)
	var f *fault.Error
	if !errors.As(err, &f) {
		if st, ok := status.FromError(err); ok { // of gRPC or arrow's dispatcher, which name what is wrong with the request
			return st
		}
	}
	code, text, hint := fault.CodeOf(err), err.Error(), fault.HintOf(err)
	if code == fault.Internal {
		c.s.log.LogAttrs(ctx, slog.LevelError, "flight call failed", slog.String("call", c.id), slog.String("error", text))
		if c.s.opts.Access.CanAdmin(c.who) != nil {
			text = "internal error; the server's log has it under call " + c.id
		}
	}
	shown := text
	if hint != "" {
		shown += "\nhint: " + hint
	}
	kind := fault.GRPCCode(err)
	if errors.Is(err, ingest.ErrExists) {
		kind = codes.AlreadyExists
	}
	st := status.New(kind, shown)
	details, derr := st.WithDetails(&errdetails.ErrorInfo{Reason: string(code), Domain: errorDomain, Metadata: map[string]string{"message": text, "hint": hint}})
	if derr != nil {
		return st
	}
	return details
}
