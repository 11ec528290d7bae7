package pgtest

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const bigCopy = "COPY (SELECT i, repeat('x', 100) FROM generate_series(1, 100000) i) TO STDOUT"

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestProxyCutsACopyInTheMiddle(t *testing.T) {
	p := NewProxy(t, Get(t, Newest))
	conn := connect(t, p.URL("postgres"))
	p.CutAfter(1_000_000)
	var got countingWriter
	_, err := conn.PgConn().CopyTo(t.Context(), &got, bigCopy)
	if err == nil || !(errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF)) {
		t.Fatalf("the copy ended with %v, want a broken connection", err)
	}
	if got > 1_000_000 {
		t.Errorf("%d bytes arrived, the cut was after 1000000", got)
	}
	if p.Cuts() != 1 {
		t.Errorf("Cuts() = %d, want 1", p.Cuts())
	}
	got = 0
	if _, err := connect(t, p.URL("postgres")).PgConn().CopyTo(t.Context(), &got, bigCopy); err != nil || got < 10_000_000 {
		t.Errorf("the second copy gave %d bytes and %v, want all", got, err)
	}
}

func TestProxyRefuses(t *testing.T) {
	p := NewProxy(t, Get(t, Newest))
	conn := connect(t, p.URL("postgres"))
	p.RefuseAfter(100_000)
	if _, err := conn.PgConn().CopyTo(t.Context(), io.Discard, bigCopy); err == nil {
		t.Error("the copy ended well")
	}
	if _, err := pgx.Connect(t.Context(), p.URL("postgres")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connecting gave %v, want connection refused", err)
	}
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	connect(t, p.URL("postgres"))
}

func TestProxyStalls(t *testing.T) {
	p := NewProxy(t, Get(t, Newest))
	conn := connect(t, p.URL("postgres"))
	p.Stall()
	answer := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "SELECT 1")
		answer <- err
	}()
	select {
	case err := <-answer:
		t.Fatalf("an answer came through: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	p.Flow()
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a cut connection answered")
	}
}

func TestProxyURLKeepsTheRest(t *testing.T) {
	s := Get(t, Newest)
	p := NewProxy(t, s)
	want := strings.Replace(s.URL("x"), s.URL("")[:strings.LastIndex(s.URL(""), "/")], "", 1)
	if !strings.HasSuffix(p.URL("x"), want) || p.URL("x") == s.URL("x") {
		t.Errorf("URL = %s", p.URL("x"))
	}
}

type countingWriter int64

func (w *countingWriter) Write(b []byte) (int, error) {
	*w += countingWriter(len(b))
	return len(b), nil
}
