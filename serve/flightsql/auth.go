package flightsql

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/internal/fault"
)

const (
	authHeader = "authorization"
	// oldAuthHeader is where clients of the first form of handshake put what it gave them.
	oldAuthHeader = "auth-token-bin"
)

// creds are what a call brings.
type creds struct{ bearer, user, password string }

func readCredentials(ctx context.Context) (creds, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if old := md.Get(oldAuthHeader); len(old) > 0 {
		return creds{bearer: old[0]}, nil
	}
	values := md.Get(authHeader)
	if len(values) == 0 {
		return creds{}, nil
	}
	scheme, rest, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	rest = strings.TrimLeft(rest, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer") && rest != "":
		return creds{bearer: rest}, nil
	case strings.EqualFold(scheme, "Basic") && rest != "":
		text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(rest, "="))
		user, password, ok := strings.Cut(string(text), ":")
		if err == nil && ok {
			return creds{user: user, password: password}, nil
		}
	}
	return creds{}, fault.New(fault.Unauthenticated, "send Authorization: Bearer TOKEN, or Basic with user and password", "the header authorization is malformed")
}

func (c *call) login(ctx context.Context, cr creds) (err error) {
	c.who, err = c.s.opts.Access.Authenticate(ctx, cr.bearer, cr.user, cr.password, loopback(c.remote))
	return err
}

// authenticate says who calls. A client that sent user and password gets a token in the answer's headers.
func (c *call) authenticate(ctx context.Context) (metadata.MD, error) {
	cr, err := readCredentials(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.login(ctx, cr); err != nil {
		return nil, err
	}
	if cr.bearer != "" || cr.user == "" {
		return nil, nil
	}
	return bearerHeader(c.token(cr)), nil
}

func bearerHeader(token string) metadata.MD { return metadata.Pairs(authHeader, "Bearer "+token) }

// token is what the client is to send from now on.
func (c *call) token(cr creds) string {
	if cr.bearer != "" {
		return cr.bearer
	}
	if token, ok := c.s.opts.Access.SessionToken(c.who); ok {
		return token
	}
	return access.Local().User // nobody has to log in here, but clients insist on a token
}

// handshake trades user and password for a token. They come as header, or as the first message.
func (c *call) handshake(ctx context.Context, stream flight.FlightService_HandshakeServer) error {
	cr, err := readCredentials(ctx)
	if err != nil {
		return err
	}
	payload := cr == (creds{})
	if payload {
		// The client may as well send nothing and close: then it has no credentials.
		if first, err := stream.Recv(); err == nil && len(first.Payload) > 0 {
			var basic pb.BasicAuth
			if err := proto.Unmarshal(first.Payload, &basic); err != nil {
				return fault.New(fault.Unauthenticated, "send a BasicAuth message, or the header authorization", "the handshake's payload is no BasicAuth message")
			}
			cr.user, cr.password = basic.Username, basic.Password
		}
	}
	if err := c.login(ctx, cr); err != nil {
		return err
	}
	token := c.token(cr)
	if err := stream.SetHeader(bearerHeader(token)); err != nil {
		return err
	}
	stream.SetTrailer(bearerHeader(token))
	if payload {
		return stream.Send(&flight.HandshakeResponse{Payload: []byte(token)})
	}
	return nil
}
