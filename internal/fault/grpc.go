package fault

import grpc "google.golang.org/grpc/codes"

// grpcCodes is each code's status of gRPC. Clients try Unavailable again by themselves, and Aborted from further up.
var grpcCodes = map[Code]grpc.Code{
	Config:            grpc.FailedPrecondition,
	Usage:             grpc.InvalidArgument,
	NotFound:          grpc.NotFound,
	Running:           grpc.Aborted,
	Unauthenticated:   grpc.Unauthenticated,
	Forbidden:         grpc.PermissionDenied,
	InvalidSQL:        grpc.InvalidArgument,
	ResultChanged:     grpc.Aborted,
	Limit:             grpc.ResourceExhausted,
	Locked:            grpc.Unavailable,
	SourceUnavailable: grpc.Unavailable,
	SourceConflict:    grpc.Aborted,
	SourceSQL:         grpc.FailedPrecondition,
	SourcePrivilege:   grpc.FailedPrecondition,
	SourceTimeout:     grpc.Unavailable,
	SlotLost:          grpc.FailedPrecondition,
	SchemaLost:        grpc.FailedPrecondition,
	ShapeMismatch:     grpc.FailedPrecondition,
	DataMismatch:      grpc.FailedPrecondition,
	DuplicateKey:      grpc.FailedPrecondition,
	NullKey:           grpc.FailedPrecondition,
	OutOfRange:        grpc.OutOfRange,
	CapReached:        grpc.FailedPrecondition,
	DiskFull:          grpc.ResourceExhausted,
	OutOfMemory:       grpc.ResourceExhausted,
	Cancelled:         grpc.Canceled,
	Unavailable:       grpc.Unavailable,
	Differences:       grpc.FailedPrecondition,
	Internal:          grpc.Internal,
}

// GRPCCode reads err's row.
func GRPCCode(err error) grpc.Code {
	if err == nil {
		return grpc.OK
	}
	return grpcCodes[CodeOf(err)]
}
