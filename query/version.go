package query

import (
	"context"
	"slices"

	"github.com/pintaildb/pintail/access"
)

// Version names the state in which what a gated statement reads is now: a Result with the same one has the rows that the statement would
// give now, though perhaps in another order where the statement does not say one. "" is no version: the statement depends on the time, on
// chance or on more than tables, or a commit is under way. It neither waits nor runs anything.
func (c *Core) Version(ctx context.Context, gated access.Statement) (string, error) {
	if !gated.Stable() {
		return "", nil
	}
	var targets []string
	for _, t := range gated.Targets {
		targets = append(targets, t...)
	}
	slices.Sort(targets)
	version, views, err := c.store.Version(ctx, targets)
	if err != nil || slices.ContainsFunc(views, access.Volatile) {
		return "", err
	}
	if gated.Audience != "" {
		version += "-" + gated.Audience
	}
	return version, nil
}

// VersionOf is Version of a statement that it gates for p as Run does.
func (c *Core) VersionOf(ctx context.Context, p access.Principal, sql string) (string, error) {
	se, err := c.store.Session(ctx)
	if err != nil {
		return "", err
	}
	defer se.Close()
	gated, err := c.access.Gate(ctx, p, sql, se)
	if err != nil {
		return "", err
	}
	return c.Version(ctx, gated)
}

// Version names the state that the statement has read, as Core.Version does; "" is none. It is to be asked after the first Next.
func (r *Result) Version(ctx context.Context) string {
	if r.version == "" {
		return ""
	}
	if now, err := r.core.Version(ctx, r.gated); err != nil || now != r.version {
		return ""
	}
	return r.version
}
