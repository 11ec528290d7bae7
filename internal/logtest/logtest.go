// Package logtest lets tests wait for lines of a log.
package logtest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Watch is a slog.Handler that keeps records and lets tests wait for one.
type Watch struct {
	mu      sync.Mutex
	records []string
	changed chan struct{}
}

func (l *Watch) Enabled(context.Context, slog.Level) bool { return true }
func (l *Watch) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *Watch) WithGroup(string) slog.Handler            { return l }

func (l *Watch) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%v", a.Key, a.Value); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, b.String())
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return nil
}

// Has says whether a record with part is there.
func (l *Watch) Has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.records, func(r string) bool { return strings.Contains(r, part) })
}

// Wait returns the first record with all of parts, which may come yet.
func (l *Watch) Wait(t testing.TB, parts ...string) string {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		for _, r := range l.records {
			if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(r, p) }) {
				l.mu.Unlock()
				return r
			}
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			require.Fail(t, "no such log record", "%q in %q", parts, l.records)
		}
	}
}

// All are the records until now.
func (l *Watch) All() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records)
}
