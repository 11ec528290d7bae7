package pgtest

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy stands between a client and a server and breaks the wire where a test asks for it: after a number of bytes,
// by silence, or by refusing. It counts what the server sends, since that is where a COPY is cut.
type Proxy struct {
	server string // host:port
	addr   string // its own
	source *url.URL

	mu       sync.Mutex
	listener net.Listener // nil while refusing
	links    map[*link]struct{}
	received int64         // bytes from the server, of all connections
	cutAt    int64         // value of received at which to cut
	refuse   bool          // refuse new connections once cut
	cuts     int           // times that CutAfter struck
	gate     chan struct{} // closed: bytes flow
	closed   bool
	wg       sync.WaitGroup
}

// link is one client's connection and its counterpart.
type link struct{ client, server *net.TCPConn }

// cut ends both sides with a reset, as a dying host does, not with a proper goodbye.
func (l *link) cut() {
	for _, c := range []*net.TCPConn{l.client, l.server} {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// NewProxy starts a proxy to s on a free port of 127.0.0.1; it ends with the test. It forwards everything until told
// otherwise.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	u, err := url.Parse(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{server: u.Host, addr: l.Addr().String(), source: u, links: map[*link]struct{}{},
		cutAt: math.MaxInt64, gate: make(chan struct{})}
	close(p.gate)
	p.serve(l)
	t.Cleanup(p.close)
	return p
}

// URL reaches a database through the proxy, as Server.URL does without it.
func (p *Proxy) URL(db string) string {
	u := *p.source
	u.Host, u.Path = p.addr, "/"+db
	return u.String()
}

// CutAfter resets all connections once the server has sent n more bytes, counted over all of them. It strikes once;
// connections made afterwards live.
func (p *Proxy) CutAfter(n int64) { p.arm(n, false) }

// RefuseAfter is CutAfter for a server that does not come back: new connections are refused until Accept.
func (p *Proxy) RefuseAfter(n int64) { p.arm(n, true) }

func (p *Proxy) arm(n int64, refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAt, p.refuse = p.received+n, refuse
}

// Cut resets the connections that exist now.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAll()
}

// cutAll is Cut; the caller holds mu.
func (p *Proxy) cutAll() {
	for l := range p.links {
		l.cut()
	}
}

// Stall holds every byte back, in both directions, until Flow. Connections stay open.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
		p.gate = make(chan struct{})
	default: // stalled already
	}
}

// Flow ends Stall.
func (p *Proxy) Flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flow()
}

// flow is Flow; the caller holds mu.
func (p *Proxy) flow() {
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
}

// Refuse makes connecting fail as if no server listened. Existing connections live; Cut ends them.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuseNew()
}

// refuseNew is Refuse; the caller holds mu.
func (p *Proxy) refuseNew() {
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
}

// Accept ends Refuse and RefuseAfter.
func (p *Proxy) Accept() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.closed {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("listen again: %w", err)
	}
	p.serve(l)
	return nil
}

// Received is how many bytes the server has sent so far.
func (p *Proxy) Received() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.received
}

// Cuts is how often CutAfter or RefuseAfter struck: a test asserts that its fault happened.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// Open is how many connections exist.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.refuseNew()
	p.cutAll()
	p.flow()
	p.mu.Unlock()
	p.wg.Wait()
}

// serve accepts from l until it is closed.
func (p *Proxy) serve(l net.Listener) {
	p.listener = l
	p.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.forward(client.(*net.TCPConn)) })
		}
	})
}

// forward joins a client to the server until one of them ends.
func (p *Proxy) forward(client *net.TCPConn) {
	defer client.Close()
	conn, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = client.SetLinger(0) // the server is gone: the client sees a reset
		return
	}
	defer conn.Close()
	l := &link{client, conn.(*net.TCPConn)}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pump(l.server, l.client, func(n int) int { return n }) })
	both.Go(func() { p.pump(l.client, l.server, p.count) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// count notes n bytes from the server and says how many of them may pass before the cut.
func (p *Proxy) count(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	pass := int(min(int64(n), p.cutAt-p.received))
	p.received += int64(pass)
	return pass
}

// strike cuts; what was armed is spent.
func (p *Proxy) strike() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cutAt == math.MaxInt64 {
		return // another connection reached it at the same time
	}
	p.cutAt = math.MaxInt64
	p.cuts++
	if p.refuse {
		p.refuseNew()
	}
	p.cutAll()
}

// pump copies from src to dst and then closes dst for writing, so that the other direction may finish.
func (p *Proxy) pump(dst, src *net.TCPConn, allow func(int) int) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		p.mu.Lock()
		gate := p.gate
		p.mu.Unlock()
		<-gate
		if pass := allow(n); pass < n {
			_, _ = dst.Write(buf[:pass])
			p.strike()
			return
		}
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				_ = src.Close()
				return
			}
		}
		if errors.Is(err, io.EOF) {
			_ = dst.CloseWrite()
			return
		}
		if err != nil {
			_ = dst.Close()
			return
		}
	}
}
