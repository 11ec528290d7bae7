package flightsql

import (
	"context"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc/stats"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Session options that clients may set.
const (
	optionCatalog  = "catalog"
	optionSchema   = "schema"
	optionTimeZone = "time_zone"
)

// session is what a connection has of its own.
type session struct {
	mu   sync.Mutex
	set  store.Settings
	puts int // since the last transaction began
}

// sessions are made and ended with their connections: clients need not keep cookies for them.
type sessions struct{}

func newSessions() *sessions { return &sessions{} }

type sessionKey struct{}

// TagConn implements stats.Handler.
func (*sessions) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return context.WithValue(ctx, sessionKey{}, &session{})
}

// HandleConn implements stats.Handler.
func (*sessions) HandleConn(context.Context, stats.ConnStats) {}

// TagRPC implements stats.Handler.
func (*sessions) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (*sessions) HandleRPC(context.Context, stats.RPCStats) {}

func sessionOf(ctx context.Context) *session { return ctx.Value(sessionKey{}).(*session) }

func (se *session) settings() store.Settings {
	se.mu.Lock()
	defer se.mu.Unlock()
	return se.set
}

func (se *session) count(puts int) {
	se.mu.Lock()
	defer se.mu.Unlock()
	se.puts += puts
}

// takePuts gives how many there were, and begins anew.
func (se *session) takePuts() int {
	se.mu.Lock()
	defer se.mu.Unlock()
	n := se.puts
	se.puts = 0
	return n
}

// SetSessionOptions sets the time zone; catalog and schema are there to be confirmed, as there is one of each that names without
// them mean.
func (s *sqlServer) SetSessionOptions(ctx context.Context, req *flight.SetSessionOptionsRequest) (*flight.SetSessionOptionsResult, error) {
	se := sessionOf(ctx)
	res := &flight.SetSessionOptionsResult{Errors: map[string]*flight.SetSessionOptionsResultError{}}
	wrong := func(name string, why pb.SetSessionOptionsResult_ErrorValue) {
		res.Errors[name] = &flight.SetSessionOptionsResultError{Value: why}
	}
	for name, v := range req.GetSessionOptions() {
		text, isText := v.GetOptionValue().(*pb.SessionOptionValue_StringValue)
		var value string
		if isText {
			value = text.StringValue
		} else if v.GetOptionValue() != nil {
			wrong(name, flight.SetSessionOptionsResultErrorInvalidValue)
			continue
		}
		switch name {
		case optionCatalog, optionSchema:
			if want := map[string]string{optionCatalog: s.opts.Catalog.Name(), optionSchema: mainSchema}[name]; value != "" && value != want {
				wrong(name, flight.SetSessionOptionsResultErrorInvalidValue)
			}
		case optionTimeZone:
			set := store.Settings{TimeZone: value}
			err := s.opts.Core.Session(doorName, whoOf(ctx), store.Settings{}).Set(ctx, set)
			switch {
			case fault.CodeOf(err) == fault.InvalidSQL:
				wrong(name, flight.SetSessionOptionsResultErrorInvalidValue)
			case err != nil:
				return nil, err
			default:
				se.mu.Lock()
				se.set = set
				se.mu.Unlock()
			}
		default:
			wrong(name, flight.SetSessionOptionsResultErrorInvalidName)
		}
	}
	return res, nil
}

// GetSessionOptions gives those that SetSessionOptions takes.
func (s *sqlServer) GetSessionOptions(ctx context.Context, _ *flight.GetSessionOptionsRequest) (*flight.GetSessionOptionsResult, error) {
	zone := sessionOf(ctx).settings().TimeZone
	if zone == "" {
		zone = "UTC"
	}
	options, err := flight.NewSessionOptionValues(map[string]any{optionCatalog: s.opts.Catalog.Name(), optionSchema: mainSchema, optionTimeZone: zone})
	if err != nil {
		return nil, err
	}
	return &flight.GetSessionOptionsResult{SessionOptions: options}, nil
}

// CloseSession forgets the connection's options. Handles end by their own time: other connections of the client may use them.
func (s *sqlServer) CloseSession(ctx context.Context, _ *flight.CloseSessionRequest) (*flight.CloseSessionResult, error) {
	se := sessionOf(ctx)
	se.mu.Lock()
	defer se.mu.Unlock()
	se.set, se.puts = store.Settings{}, 0
	return &flight.CloseSessionResult{Status: flight.CloseSessionResultClosed}, nil
}
