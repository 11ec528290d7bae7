package pgtype

import "context"

// Session is what a statement may ask of the session it runs in: current_setting and its like.
type Session interface {
	// Setting is the value of a parameter as SHOW gives it; false when there is none of that name.
	Setting(name string) (string, bool)
}

type sessionKey struct{}

// WithSession hands a session to whoever translates a statement.
func WithSession(ctx context.Context, s Session) context.Context {
	return context.WithValue(ctx, sessionKey{}, s)
}

// SessionOf is what WithSession was given; nil without.
func SessionOf(ctx context.Context) Session {
	s, _ := ctx.Value(sessionKey{}).(Session)
	return s
}

type valuesKey struct{}

// WithValues asks for a statement whose columns have DuckDB's own types, where its rows are not written out for clients of PostgreSQL.
func WithValues(ctx context.Context) context.Context {
	return context.WithValue(ctx, valuesKey{}, true)
}

// ValuesOf says whether WithValues has asked.
func ValuesOf(ctx context.Context) bool {
	v, _ := ctx.Value(valuesKey{}).(bool)
	return v
}
